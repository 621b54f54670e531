"""R4: weights that cannot be used, and GPUs that are not there or full; a few of each."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from faults.model_rows import DAMAGES, damaged_weights, full_gpu, without_gpu

pytestmark = pytest.mark.ros
SEED = 4


def test_damaged_weights(ros_environment: dict[str, str]) -> None:
    """R4; each damage to one node."""
    outcome = damaged_weights(len(DAMAGES), SEED)
    assert outcome.held, outcome.figures


def test_without_gpu(ros_environment: dict[str, str]) -> None:
    """R4."""
    outcome = without_gpu(1, SEED)
    assert outcome.held, outcome.figures


def test_full_gpu(ros_environment: dict[str, str]) -> None:
    """R4."""
    outcome = full_gpu(1, SEED)
    assert outcome.held, outcome.figures
