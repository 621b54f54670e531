"""The emulated rig, live: what it sends, and what it says about it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from radar_pose_ros import bringup
from radar_pose_ros.graph_runner import GraphRunner
from radar_pose_ros.simulation.radar import default_placements
from radar_pose_ros.skeleton.projection import FOCAL_LENGTH_PX, project

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

PORTS = {
    "radar_h_config_port": 22096,
    "radar_h_data_port": 22098,
    "radar_v_config_port": 22196,
    "radar_v_data_port": 22198,
}


def matrix(transform: Any) -> np.ndarray:
    """Return a transform as a 4 x 4 matrix."""
    from scipy.spatial.transform import Rotation

    q, t = transform.rotation, transform.translation
    result = np.eye(4)
    result[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    result[:3, 3] = t.x, t.y, t.z
    return result


def seconds(message: Any) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def test_truth_transforms_and_frames_agree(live: LiveGraph, rng: np.random.Generator) -> None:
    """Both radars start together; every frame of radar_h has a truth with its stamp."""
    from rclpy.qos import QoSProfile
    from tf2_msgs.msg import TFMessage

    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.base import LATCHED

    live.start("radar_emulator", motion="wave", **PORTS)
    stamps: dict[str, list[float]] = {}
    for radar, ip in (("radar_h", "127.0.0.2"), ("radar_v", "127.0.0.3")):
        stamps[radar] = seen = []
        live.node.create_subscription(
            msg.RadarAdcFrame,
            f"/{radar}/adc",
            lambda message, seen=seen: seen.append(seconds(message)),
            QoSProfile(depth=10),
        )
        live.start(
            "radar_driver",
            radar,
            host_ip="127.0.0.1",
            card_ip=ip,
            config_port=PORTS[f"{radar}_config_port"],
            data_port=PORTS[f"{radar}_data_port"],
        )
    truths = live.collect(msg.HumanPose3DArray, "/ground_truth", QoSProfile(depth=50))
    transforms = live.collect(TFMessage, "/tf_static", LATCHED)
    live.wait(lambda: len(stamps["radar_h"]) > 10 and len(truths) > 10, 40.0, "frames and truths")
    live.wait(lambda: len(stamps["radar_v"]) > 10, what="frames of radar_v")

    # The driver stamps a frame when its first packet arrives, a moment after the emulator sent it.
    # On a busy machine many are late, but one of ten is not: a wrong stamp would move them all.
    truth_stamps = np.array([seconds(message) for message in truths])
    later = [s for s in stamps["radar_h"] if truth_stamps[1] < s < truth_stamps[-1]]
    delays = [s - truth_stamps[truth_stamps <= s].max() for s in later]
    assert min(delays) < 0.02
    both = [min(abs(s - other) for other in stamps["radar_v"]) for s in later]
    assert min(both) < 0.02

    (joints,) = convert.message_to_pose3d(truths[-1], 14)
    assert truths[-1].header.frame_id == "radar_rig"
    assert 1.2 < joints[:, 0].min() < joints[:, 0].max() < 4.1
    assert -0.2 < joints[:, 2].min() < joints[:, 2].max() < 2.2

    frames = {t.child_frame_id: t for t in transforms[0].transforms}
    assert frames["radar_rig"].header.frame_id == "map"
    points = rng.uniform((1, -1, 0), (4, 1, 2), (20, 3))
    for placement in default_placements():
        transform = frames[placement.frame_id]
        assert transform.header.frame_id == "radar_rig"
        local = np.linalg.inv(matrix(transform.transform)) @ np.c_[points, np.ones(20)].T
        np.testing.assert_allclose(local[:3].T, placement.to_link(points), atol=1e-9)
    camera = np.linalg.inv(matrix(frames["rig_camera_optical_frame"].transform))
    x, y, z = (camera @ np.c_[points, np.ones(20)].T)[:3]
    pixels = np.stack([128 + FOCAL_LENGTH_PX * x / z, 128 + FOCAL_LENGTH_PX * y / z], axis=1)
    np.testing.assert_allclose(pixels, project(points), atol=1e-6)


def wait(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def taken(address: tuple[str, int]) -> bool:
    """Whether somebody holds a UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(address)
        except OSError:
            return True
    return False


def test_a_port_in_use_is_named_and_can_be_had_later(live: LiveGraph) -> None:
    """The node says which address it wants, waits a moment, and can be configured again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.3", PORTS["radar_v_config_port"]))
        live.start("radar_emulator", motion="wave", **PORTS)
        sentence = "cannot configure: radar_v's card cannot be at 127.0.0.3:22196 (Address already"
        live.wait(
            lambda: (
                (status := live.diagnostics().get("radar_emulator"))
                and status.level == b"\x02"
                and sentence in status.message
            ),
            what="word of the address",
        )
        assert live.state("radar_emulator") == "unconfigured"
    assert live.change("radar_emulator", "configure")
    assert live.change("radar_emulator", "activate")


def test_a_graph_beside_another_emulator_ends_and_names_port_base(
    ros_environment: dict[str, str],
) -> None:
    """Its drivers would record the other's packets: exit code 2, and what to say instead."""
    (spec,) = [
        node
        for node in bringup.graph("radar_pose").nodes({"emulated": True, "port_base": 22096})
        if node.executable == "radar_emulator"
    ]
    address = ("127.0.0.2", 22096)
    lines: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(address)
        with GraphRunner([spec], lines.append) as runner:
            wait(lambda: not runner.poll())
    assert runner.exit_code == 2
    assert "radar_h's card cannot be at 127.0.0.2:22096 (Address already in use)" in runner.failure
    assert "take other ports: port_base" in runner.failure

    with GraphRunner([spec], lines.append) as runner:  # one that was killed has left its ports
        for restarts in (0, 1):
            wait(lambda: not runner.poll() or taken(address))
            assert runner.restarts == {"radar_emulator": restarts}
            if not restarts:
                os.kill(runner.process_ids["radar_emulator"], signal.SIGKILL)
                wait(lambda: not taken(address))
    assert runner.exit_code == 0
