"""R10: hearts of a few rates; what has no pulse is in test_physmamba_reproduce.py (slow)."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from faults.pulse_rows import every_rate

pytestmark = pytest.mark.ros


def test_hearts_of_every_rate(ros_environment: dict[str, str]) -> None:
    """R10."""
    outcome = every_rate(4, 10)
    assert outcome.held, outcome.figures
