"""R9: faults of rigs, one of each kind."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from faults.view_rows import FAULTS, faulty_rigs

pytestmark = pytest.mark.ros


def test_faulty_rigs(ros_environment: dict[str, str]) -> None:
    """R9."""
    outcome = faulty_rigs(len(FAULTS), 9)
    assert outcome.held, outcome.figures
