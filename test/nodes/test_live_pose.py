"""mamba_pose, live: heatmaps of two radars in, poses out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

RANGE_FIRST = 31
PERIOD_NS = 100_000_000
NANOSECONDS = 1_000_000_000


@pytest.fixture(scope="module")
def network() -> Any:
    """An `edge` network with random, fixed weights."""
    import torch

    from radar_pose_ros.models.millimamba import PRESETS, MilliMamba

    torch.manual_seed(0)
    return MilliMamba(PRESETS["edge"]).eval()


@pytest.fixture
def weights_file(network: Any, tmp_path: Path) -> Path:
    """Its weights with a manifest, as training writes them."""
    from radar_pose_ros.models import weights

    entry = weights.save(
        network,
        tmp_path,
        "edge",
        training_data={"name": "none", "licence": "none"},
        git_revision="0",
        command="test",
        metrics={"split": "none"},
        heatmap={"range_first": RANGE_FIRST},
    )
    return tmp_path / entry["file"]


def heatmaps(network: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    c = network.config
    shape = (count, 2, c.angle_bins, c.doppler_bins, c.range_bins)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


class Radars:
    """Publishes heatmaps of both radars."""

    def __init__(self, live: LiveGraph) -> None:
        from rclpy.qos import QoSProfile

        from radar_pose_ros import msg

        self.publishers = [
            live.node.create_publisher(msg.RadarHeatmap, f"/{radar}/heatmap", QoSProfile(depth=10))
            for radar in ("radar_h", "radar_v")
        ]
        for publisher in self.publishers:
            live.wait(publisher.get_subscription_count, 40.0, "a subscriber of the heatmap")

    def publish(self, views: np.ndarray, stamp_ns: int, radars: tuple[int, ...] = (0, 1)) -> None:
        from radar_pose_ros import msg
        from radar_pose_ros.nodes import convert

        for radar in radars:
            message = msg.RadarHeatmap(header=convert.header(stamp_ns, "radar"))
            message.angle_bins, message.doppler_bins, message.range_bins = views[radar].shape
            message.range_first_m, message.range_step_m = RANGE_FIRST * 0.043, 0.043
            message.data = convert.to_array(views[radar].view(np.float32))
            self.publishers[radar].publish(message)
        time.sleep(0.06)


def counters(live: LiveGraph) -> dict[str, str]:
    status = live.diagnostics().get("mamba_pose")
    return {v.key: v.value for v in status.values} if status else {}


def test_live_poses_equal_the_networks(
    live: LiveGraph, network: Any, weights_file: Path, rng: np.random.Generator
) -> None:
    """The middle of each window, estimated as the whole network would; R6 and R5 on the way."""
    import torch
    from rclpy.qos import QoSProfile

    from radar_pose_ros import msg
    from radar_pose_ros.models.millimamba import normalise
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.base import LATCHED
    from radar_pose_ros.skeleton.definitions import HUPR14

    process = live.start("mamba_pose", weights=str(weights_file), threads=1, queue_size=16)
    live.diagnostics()
    poses = live.collect(msg.HumanPose2DArray, "/pose2d", QoSProfile(depth=50))
    skeletons = live.collect(msg.SkeletonDefinition, "/skeleton", LATCHED)
    radars = Radars(live)
    live.wait(lambda: skeletons, what="the skeleton")
    assert tuple(skeletons[0].joints) == HUPR14.joints

    frames = heatmaps(network, 9, rng)
    begin_ns = time.time_ns()
    stamps = [begin_ns + k * PERIOD_NS for k in range(9)]
    for views, stamp_ns in zip(frames, stamps, strict=True):
        radars.publish(views, stamp_ns)
    live.wait(lambda: poses, what="a pose")
    with torch.inference_mode():
        window = torch.stack([normalise(torch.from_numpy(views)) for views in frames], dim=1)
        expected = network(window[None])
    pose = poses[0]
    assert convert.to_nanoseconds(pose.header.stamp) == stamps[4]
    assert pose.header.frame_id == "rig_camera_optical_frame"
    assert pose.skeleton == "hupr14"
    assert pose.model.startswith("millimamba/edge@")
    assert (pose.image_width, pose.image_height) == (256, 256)
    (person,) = convert.message_to_pose2d(pose, 14)
    np.testing.assert_allclose(person[:, :2], expected.keypoints[0, 4].numpy(), atol=0.01)
    np.testing.assert_allclose(person[:, 2], expected.confidence[0, 4].numpy(), atol=1e-4)

    # R6: the clock jumps by an hour; the window starts anew once, and poses come back with it.
    for k, views in enumerate(frames):
        radars.publish(views, begin_ns + 3600 * NANOSECONDS + k * PERIOD_NS)
    live.wait(lambda: len(poses) >= 2, what="a pose after the jump")
    (again,) = convert.message_to_pose2d(poses[-1], 14)
    np.testing.assert_allclose(again, person, atol=1e-3)
    key = "windows emptied by a gap or a jump in time"
    live.wait(lambda: counters(live).get(key) == "1", what="one emptied window")

    # R5: another shape, NaN, no stamp.
    radars.publish(frames[0][:, :16], time.time_ns())
    bad = frames[0].copy()
    bad[:, 0, 0, 0] = np.nan
    radars.publish(bad, time.time_ns())
    radars.publish(frames[0], 0)
    reasons = [
        "heatmap of another shape than the network's",
        "heatmap with NaN or infinity",
        "time stamp not set",
    ]
    wanted = {
        f"dropped: {radar}/heatmap: {reason}"
        for radar in ("radar_h", "radar_v")
        for reason in reasons
    }
    live.wait(lambda: wanted <= counters(live).keys(), what=f"{wanted}")

    # One radar falls silent: no estimate, and the diagnostics say which one.
    count = len(poses)
    deadline_s = time.monotonic() + 8.0
    while time.monotonic() < deadline_s:
        radars.publish(frames[0], time.time_ns(), radars=(0,))
        status = live.diagnostics()["mamba_pose"]
        if status.level == b"\x02":
            break
    assert status.message.startswith("radar_v/heatmap silent for")
    assert "radar_h" not in status.message
    assert len(poses) == count
    code, took_s = live.interrupt(process)
    assert code == 0
    assert took_s < 3.0


def test_without_trained_weights_it_does_not_come_up(live: LiveGraph, weights_file: Path) -> None:
    """R4: FAILURE with one sentence; never a pose from random weights."""
    node = "mamba_pose"
    live.environment["RADAR_POSE_WEIGHTS"] = str(weights_file.parent)
    process = live.start(node, weights="huge")
    live.diagnostics()
    live.wait(lambda: node in live.diagnostics(), 40.0, "diagnostics")

    def refused(sentence: str) -> None:
        def failed() -> bool:
            status = live.diagnostics()[node]
            return status.level == b"\x02" and sentence in status.message

        live.wait(failed, what=sentence)
        assert live.diagnostics()[node].message.startswith("cannot configure")
        assert live.state(node) == "unconfigured"
        assert not live.change(node, "activate")

    refused("there are no weights 'huge'")
    assert live.set(node, "weights", str(weights_file)) == (True, "")
    content = bytearray(weights_file.read_bytes())
    content[-1] ^= 1
    weights_file.write_bytes(content)
    assert not live.change(node, "configure")
    refused("SHA-256 begins with")
    weights_file.unlink()
    assert not live.change(node, "configure")
    refused("there is no file of weights")
    assert "Traceback" not in live.log(process)
