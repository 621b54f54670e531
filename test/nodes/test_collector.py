"""The recorder of own data in a process of its own: it says what is missing, and at which rate."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from radar_pose_ros.recording import BagReader

pytestmark = pytest.mark.ros


@pytest.fixture
def talker(ros_environment):
    """A node of this process."""
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("talker", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_what_is_missing_is_said_and_the_rest_recorded(root, tmp_path, ros_environment, talker):
    """Both radars' configurations, one radar's frames and poses come; no frame of the other."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.base import LATCHED, RELIABLE

    for radar in ("radar_h", "radar_v"):
        latched = talker.create_publisher(msg.RadarConfig, f"{radar}/radar_config", LATCHED)
        latched.publish(msg.RadarConfig(frame_period_s=0.05))
    frames = talker.create_publisher(msg.RadarAdcFrame, "radar_h/adc", RELIABLE)
    poses = talker.create_publisher(msg.HumanPose2DArray, "camera/pose2d", RELIABLE)
    heatmaps = talker.create_publisher(msg.RadarHeatmap, "radar_h/heatmap", RELIABLE)
    bag = tmp_path / "bag"
    process = subprocess.Popen(
        [sys.executable, "-m", "radar_pose_ros.cli", "collect", "record", "--out", bag],
        cwd=root,
        env={**ros_environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    try:
        deadline_s = time.monotonic() + 60
        samples = convert.to_array(np.arange(8, dtype=np.int16))
        while not any("want 19.0 Hz or more" in line for line in lines):
            assert time.monotonic() < deadline_s and process.poll() is None, "".join(lines)
            frames.publish(msg.RadarAdcFrame(data=samples))
            poses.publish(msg.HumanPose2DArray(skeleton="coco17"))
            heatmaps.publish(msg.RadarHeatmap())
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 1
    finally:
        process.kill()
    reader.join(10)
    said = "".join(lines)
    assert "missing: radar_v/adc" in said
    assert f"{bag}: nothing came of radar_v/adc: it is no use for training" in said
    with BagReader(bag) as reader_of_bag:
        counts = reader_of_bag.counts
    assert set(counts) == {
        "/radar_h/adc",
        "/radar_h/radar_config",
        "/radar_v/radar_config",
        "/camera/pose2d",
    }
    assert counts["/radar_h/adc"] > 10
    assert counts["/radar_v/radar_config"] == 1


def test_a_bag_is_never_overwritten(root, tmp_path, ros_environment):
    ended = subprocess.run(
        [sys.executable, "-m", "radar_pose_ros.cli", "collect", "record", "--out", tmp_path],
        cwd=root,
        env=ros_environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2
    assert "exists already; a bag is never overwritten" in ended.stderr
