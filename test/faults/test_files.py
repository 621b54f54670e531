"""R11 and R14: damaged bags, full disks, places that cannot be written to; a few of each."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from faults.bag_rows import damaged_bags, damaged_bags_played
from faults.file_rows import can_be_alone, come_up_alone, disk_full, unwritable_outputs

pytestmark = pytest.mark.ros
SEED = 14


def test_damaged_bags() -> None:
    """R11."""
    outcome = damaged_bags(60, SEED)
    assert outcome.held, outcome.figures


def test_damaged_bags_played(ros_environment: dict[str, str]) -> None:
    """R11."""
    outcome = damaged_bags_played(1, SEED)
    assert outcome.held, outcome.figures


def test_a_full_disk() -> None:
    """R14."""
    outcome = disk_full(8, SEED)
    assert outcome.held, outcome.figures


def test_outputs_that_cannot_be_written(ros_environment: dict[str, str]) -> None:
    """R14."""
    outcome = unwritable_outputs(2, SEED)
    assert outcome.held, outcome.figures


@pytest.mark.skipif(not can_be_alone(), reason="needs a network of its own: unshare and ip")
def test_no_network_and_no_home(ros_environment: dict[str, str]) -> None:
    """R14; one node, `no_network_no_home` starts all."""
    assert come_up_alone(["recorder"]) == []
