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


def save(network: Any, folder: Path, confidence: dict[str, Any] | None = None) -> Path:
    """Write its weights with a manifest, as training does."""
    from radar_pose_ros.models import weights

    entry = weights.save(
        network,
        folder,
        "edge",
        training_data={"name": "none", "licence": "none"},
        git_revision="0",
        command="test",
        metrics={"split": "none"},
        heatmap={"range_first": RANGE_FIRST},
        confidence=confidence,
    )
    return folder / entry["file"]


@pytest.fixture
def weights_file(network: Any, tmp_path: Path) -> Path:
    """Weights without a calibration."""
    return save(network, tmp_path)


def heatmaps(network: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    c = network.config
    shape = (count, 2, c.angle_bins, c.doppler_bins, c.range_bins)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def expected(
    network: Any, frames: np.ndarray, valid: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints and confidence of the middle frame, from the whole network at once."""
    import torch

    from radar_pose_ros.models.millimamba import normalise

    with torch.inference_mode():
        window = torch.stack([normalise(torch.from_numpy(views)) for views in frames], dim=1)
        output = network(window[None], None if valid is None else torch.from_numpy(valid)[None])
    middle = len(frames) // 2
    return output.keypoints[0, middle].numpy(), output.confidence[0, middle].numpy()


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
        time.sleep(0.5)  # the subscriber may learn of the publisher a moment later

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


def poses_by_stamp(poses: list[Any]) -> dict[int, Any]:
    from radar_pose_ros.nodes import convert

    return {convert.to_nanoseconds(pose.header.stamp): pose for pose in poses}


def said(live: LiveGraph) -> list[tuple[int, str]]:
    """Return level and sentence of all diagnostics of the node so far."""
    live.diagnostics()
    return [
        (found.level[0], found.message)
        for report in live._diagnostics
        for found in report.status
        if found.name == "/mamba_pose"
    ]


def counters(live: LiveGraph) -> dict[str, str]:
    found = live.diagnostics().get("mamba_pose")
    return {v.key: v.value for v in found.values} if found else {}


def start(live: LiveGraph, weights_file: Path, **parameters: Any) -> Any:
    common = {"threads": 1, "queue_size": 16, "precision": "float32"}
    return live.start("mamba_pose", weights=str(weights_file), **common, **parameters)


def test_live_poses_equal_the_networks(
    live: LiveGraph, network: Any, weights_file: Path, rng: np.random.Generator
) -> None:
    """The middle of each window, estimated as the whole network would; R6 and R5 on the way."""
    from rclpy.qos import QoSProfile

    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.base import LATCHED
    from radar_pose_ros.skeleton.definitions import HUPR14

    process = start(live, weights_file)
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
    keypoints_px, confidence = expected(network, frames)
    pose = poses[0]
    assert convert.to_nanoseconds(pose.header.stamp) == stamps[4]
    assert pose.header.frame_id == "rig_camera_optical_frame"
    assert pose.skeleton == "hupr14"
    assert pose.model.startswith("millimamba/edge@")
    assert (pose.image_width, pose.image_height) == (256, 256)
    (person,) = convert.message_to_pose2d(pose, 14)
    np.testing.assert_allclose(person[:, :2], keypoints_px, atol=0.01)
    np.testing.assert_allclose(person[:, 2], confidence, atol=1e-4)
    assert pose.missing_sources == []

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

    code = live.interrupt(process)
    assert code == 0


def test_live_one_radar_fails_and_comes_back(
    live: LiveGraph, network: Any, weights_file: Path, rng: np.random.Generator
) -> None:
    """Poses go on, from what is left, and say so; with both radars gone they end."""
    from rclpy.qos import QoSProfile

    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert

    start(live, weights_file, input_timeout_s=3.0)
    live.diagnostics()
    poses = live.collect(msg.HumanPose2DArray, "/pose2d", QoSProfile(depth=50))
    radars = Radars(live)
    frames = heatmaps(network, 28, rng)
    valid = np.ones((2, 28), bool)
    valid[1, 9:18] = False  # radar_v fails
    valid[:, 18] = False  # one frame is lost by both
    begin_ns = time.time_ns()
    stamps = [begin_ns + k * PERIOD_NS for k in range(28)]
    for k in range(28):
        time.sleep(max(0, stamps[k] - time.time_ns()) / 1e9)  # none comes before it was seen
        for radar in (1, 0):  # a failed radar_v comes back before its partner has gone on alone
            if valid[radar, k]:
                radars.publish(frames[k], stamps[k], radars=(radar,))
        if k == 17:
            live.wait(lambda: (1, "radar_v is missing") in said(live), what="a warning")
        if k >= 8 and k not in (9, 10, 18):  # two frames wait for radar_v, the third does not
            live.wait(lambda: stamps[k - 4] in poses_by_stamp(poses), what=f"pose {k - 4}")  # noqa: B023
    warned = len(said(live))
    live.wait(lambda: said(live)[-1][0] == 2, what="an error")
    assert (0, "running") in said(live)[warned - 1 :]
    assert said(live)[-1][1].startswith("heatmaps silent for")
    assert not any("radar_h is missing" in sentence for _, sentence in said(live))
    assert "windows emptied by a gap or a jump in time" not in counters(live)

    found = poses_by_stamp(poses)
    wanted = {stamps[k] for k in range(4, 24) if k != 14}  # nothing came to estimate that one from
    assert wanted - {stamps[5], stamps[6]} <= set(found) <= wanted  # those if there was time
    for frame in (4, 8, 13, 16, 18, 22, 23):
        window = slice(frame - 4, frame + 5)
        pose = found[stamps[frame]]
        keypoints_px, confidence = expected(network, frames[window], valid[:, window])
        (person,) = convert.message_to_pose2d(pose, 14)
        np.testing.assert_allclose(person[:, :2], keypoints_px, atol=0.01)
        np.testing.assert_allclose(person[:, 2], confidence, atol=1e-4)
        missing = np.array(["radar_h", "radar_v"])[~valid[:, frame]]
        assert pose.missing_sources == missing.tolist()


def test_live_every_third_frame(
    live: LiveGraph, network: Any, weights_file: Path, rng: np.random.Generator
) -> None:
    """A third of the poses, and the same ones: the windows hold the other frames as well."""
    from rclpy.qos import QoSProfile

    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert

    start(live, weights_file, every_nth_frame=3)
    live.diagnostics()
    poses = live.collect(msg.HumanPose2DArray, "/pose2d", QoSProfile(depth=50))
    radars = Radars(live)
    frames = heatmaps(network, 17, rng)
    begin_ns = time.time_ns()
    stamps = [begin_ns + k * PERIOD_NS for k in range(17)]
    for views, stamp_ns in zip(frames, stamps, strict=True):
        radars.publish(views, stamp_ns)
    live.wait(lambda: len(poses) >= 3, what="poses")
    time.sleep(0.5)
    found = poses_by_stamp(poses)
    assert set(found) == {stamps[4], stamps[7], stamps[10]}
    for frame in (4, 7, 10):
        (person,) = convert.message_to_pose2d(found[stamps[frame]], 14)
        keypoints_px, confidence = expected(network, frames[frame - 4 : frame + 5])
        np.testing.assert_allclose(person[:, :2], keypoints_px, atol=0.01)
        np.testing.assert_allclose(person[:, 2], confidence, atol=1e-4)


def test_live_what_is_not_known_is_not_stated(
    live: LiveGraph, network: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Joints below the weights' threshold are NaN; below the one for a person there is nobody."""
    from rclpy.qos import QoSProfile

    from radar_pose_ros import msg
    from radar_pose_ros.models.confidence import Calibration
    from radar_pose_ros.nodes import convert

    frames = np.repeat(heatmaps(network, 1, rng), 9, axis=0)
    keypoints_px, raw = expected(network, frames)
    # Half of what is forecast comes true, and half of the joints are good enough.
    calibration = Calibration((0.0, 1.0), (0.0, 0.5), float(np.median(raw)) / 2, 0.1)
    file = save(network, tmp_path, calibration.as_dict())
    start(live, file)
    live.diagnostics()
    poses = live.collect(msg.HumanPose2DArray, "/pose2d", QoSProfile(depth=50))
    radars = Radars(live)

    def look() -> Any:
        poses.clear()
        begin_ns = time.time_ns()
        for k in range(100):
            radars.publish(frames[0], begin_ns + k * PERIOD_NS)
            if poses:
                break
        return poses[0]

    message = look()
    (person,) = convert.message_to_pose2d(message, 14)
    np.testing.assert_allclose(person[:, 2], raw / 2, atol=1e-4)
    placed = raw > np.median(raw)
    np.testing.assert_allclose(person[placed, :2], keypoints_px[placed], atol=0.01)
    assert placed.sum() == 7
    assert np.isnan(person[~placed, :2]).all()
    assert message.poses[0].confidence == pytest.approx(raw.mean() / 2, abs=1e-4)

    for transition in ("deactivate", "cleanup"):
        assert live.change("mamba_pose", transition)
    assert live.set("mamba_pose", "person_min_confidence", 0.9) == (True, "")
    for transition in ("configure", "activate"):
        assert live.change("mamba_pose", transition)
    radars = Radars(live)
    assert look().poses == []
    live.wait(lambda: int(counters(live).get("scenes without a person", 0)) > 0, what="a count")


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
