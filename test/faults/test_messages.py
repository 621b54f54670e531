"""R5: damaged messages to every subscriber, a few; `make campaign` sends more."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from faults.message_rows import fuzzed
from faults.node_cases import NODES
from faults.wire_message_rows import bytes_to_recorder, live

pytestmark = pytest.mark.ros
SEED = 5


@pytest.mark.parametrize("name", NODES)
def test_damaged_messages(name: str, ros_environment: dict[str, str]) -> None:
    """R5; replay with the seed that is printed."""
    missing = [package for package in NODES[name].needs if find_spec(package) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    outcome = fuzzed(name, 25, SEED)
    print(outcome.figures)
    assert outcome.held, outcome.figures


def test_bytes_to_the_recorder(ros_environment: dict[str, str]) -> None:
    """R5: it keeps what it cannot read."""
    outcome = bytes_to_recorder(300, SEED)
    assert outcome.held, outcome.figures


def test_damaged_messages_over_the_wire(ros_environment: dict[str, str]) -> None:
    """R5: one node; `messages_over_the_wire` has more."""
    assert live("radar_preprocessor", 200, SEED) == []
