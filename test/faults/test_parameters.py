"""R13: parameters and services asked for nonsense, a few times."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from faults.parameter_rows import ACTIVE, asked, parameter_files

pytestmark = pytest.mark.ros
SEED = 13


def test_random_requests_to_an_unconfigured_node(ros_environment: dict[str, str]) -> None:
    """R13; of one node, all share what answers."""
    outcome = asked({"replayer": {}}, False, 40, SEED)
    assert outcome.held, outcome.figures


def test_random_requests_to_an_active_node(ros_environment: dict[str, str]) -> None:
    """R13."""
    node = "radar_preprocessor"
    outcome = asked({node: ACTIVE[node]}, True, 40, SEED)
    assert outcome.held, outcome.figures


def test_parameter_files(ros_environment: dict[str, str]) -> None:
    """R13."""
    outcome = parameter_files(3, SEED)
    assert outcome.held, outcome.figures
