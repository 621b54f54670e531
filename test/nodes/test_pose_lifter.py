"""pose_lifter, live: poses in an image at 30 Hz in, poses in space out. The weights are random."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from radar_pose_ros.models import lifting, weights
from radar_pose_ros.models.diffhpe import PRESETS, DiffHPE
from radar_pose_ros.models.hypotheses import SpreadCalibration
from radar_pose_ros.radar.heatmap import angle_transform
from radar_pose_ros.radar.person_range import RADARS, in_link
from radar_pose_ros.radar.virtual_array import VirtualArray
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.skeleton.placement import PELVIS_BEHIND_M, RANGE_SPREAD_M
from radar_pose_ros.skeleton.projection import CAMERA_FRAME

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

NODE = "pose_lifter"
FRAMES, STRIDE, WAIT = 27, 9, 9
HOUR = 30 * 3600
OBSERVED, INTERPOLATED, PREDICTED = range(3)
FAULTS = (
    "skeleton cannot be lifted",
    "image of unknown size",
    "pose with infinity",
    "pose out of bounds",
    "confidence outside 0..1",
)
ANYBODY = np.stack([100.0 + 10 * np.arange(14), 90.0 + 5 * np.arange(14)], axis=1)
FOCAL_PX, CENTRE_PX, SIZE_PX = (700.0, 690.0), (330.0, 235.0), (640, 480)
# Of the joints of hupr14, those of h36m17.
PLACES = [H36M17.index("thorax" if name == "neck" else name) for name in HUPR14.joints]


def root_m(k: int) -> np.ndarray:
    """Return where somebody is who walks to the right and away."""
    return np.array([-0.5 + 0.01 * k, 0.1, 6.0 + 0.02 * k])


def save_random_weights(folder: Path, rate_hz: float = 0.0) -> Path:
    """Save a network that was never trained, with a rate that it would have been trained at."""
    torch.manual_seed(2)
    about = {"training_data": {"licence": "none"}, "git_revision": "0"}
    spread = SpreadCalibration((2.0,) * len(H36M17.joints), 5)
    entry = weights.save(
        DiffHPE(PRESETS["2d"]),
        folder,
        "2d",
        command="random weights, for a test",
        metrics={"split": "none"},
        spread=spread.as_dict(),
        **about,
    )
    if rate_hz:
        poses = {"skeleton": "h36m17", "unit": "m", "root_relative": True, "rate_hz": rate_hz}
        text = json.dumps({"weights": [entry | {"poses": poses}]})
        (folder / weights.MANIFEST).write_text(text)
    return folder / entry["file"]


class Twin:
    """Lifts as the node does: fresh weights give the same poses whatever they see, run by run."""

    def __init__(self, file: Path) -> None:
        self._windows, self.name = lifting.load(str(file))
        anything = np.linspace(100, 200, len(H36M17.joints))[:, None]
        self._anything = np.broadcast_to(anything, (1, FRAMES, len(H36M17.joints), 2))

    def run(self, frames: Iterable[int], newest: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return poses and covariances of the next run, by frame; the last one of all is known."""
        found = self._windows.lift(self._anything, SIZE_PX)
        places = {k: FRAMES - 1 - (newest - k) for k in frames}
        return {k: (found.poses_m[0, p], found.covariance_m2[0, p]) for k, p in places.items()}


class Source:
    """Publishes `pose2d`, and keeps what the lifter makes of it."""

    def __init__(self, live: LiveGraph) -> None:
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import CameraInfo

        from radar_pose_ros import msg
        from radar_pose_ros.nodes import convert

        self._convert, self._type, self._live = convert, msg.HumanPose2DArray, live
        self._publisher = live.node.create_publisher(self._type, "/pose2d", QoSProfile(depth=500))
        self._cameras = live.node.create_publisher(CameraInfo, "/camera_info", 5)
        self.received: list[Any] = []
        live.node.create_subscription(
            msg.HumanPose3DArray, "/pose3d", self.received.append, QoSProfile(depth=500)
        )
        live.wait(self._publisher.get_subscription_count, 60.0, "a subscriber of the poses")
        live.wait(self._cameras.get_subscription_count, what="a subscriber of the camera")
        time.sleep(1.0)  # the subscriber may learn of the publishers a moment later
        self.start_ns = time.time_ns()

    def stamp_ns(self, k: int) -> int:
        return self.start_ns + round(k * 1e9 / 30)

    def publish(
        self,
        k: int,
        keypoints: np.ndarray,
        at: int = 0,
        pause_s: float = 0.01,
        frame_id: str = "camera",
        confidence: float = 0.8,
        **about: Any,
    ) -> None:
        """Publish the frame of this number, stamped as one so many frames later."""
        head = self._convert.header(self.stamp_ns(k + at), frame_id)
        trust = np.where(np.isnan(keypoints[:, 0]), 0.05, confidence)
        common = {"skeleton": "hupr14", "model": "test/edge@0", "image_width": SIZE_PX[0]}
        common |= {"image_height": SIZE_PX[1], "missing_sources": ["radar_v"]} | about
        message = self._convert.pose2d_to_message((keypoints, trust), head, **common)
        self._publisher.publish(message)
        time.sleep(pause_s)

    def publish_camera(self) -> None:
        """Publish the camera's calibration, often enough."""
        from sensor_msgs.msg import CameraInfo

        message = CameraInfo(width=SIZE_PX[0], height=SIZE_PX[1], distortion_model="plumb_bob")
        message.header.frame_id = "camera"
        (fx, fy), (cx, cy) = FOCAL_PX, CENTRE_PX
        message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
        message.d = [0.0] * 5
        for _ in range(5):
            self._cameras.publish(message)
            time.sleep(0.2)

    def publish_return(self, direction: np.ndarray, range_m: float, frames: Iterable[int]) -> None:
        """Publish heatmaps of both radars with one thing in a direction."""
        from rclpy.qos import QoSProfile

        from radar_pose_ros import msg

        place = round((range_m - 1.5) / 0.05)
        for radar in RADARS:
            publisher = self._live.node.create_publisher(
                msg.RadarHeatmap, f"/{radar}/heatmap", QoSProfile(depth=10)
            )
            self._live.wait(publisher.get_subscription_count, what=f"a subscriber of {radar}")
            time.sleep(0.5)
            values = np.zeros((12, 2, 60), np.complex64)
            values[:, 1, place] = VirtualArray("IWR1843").steering(in_link(direction, radar))
            heatmap = angle_transform(values, 16)
            for k in frames:
                message = msg.RadarHeatmap(
                    header=self._convert.header(self.stamp_ns(k), f"{radar}_link"),
                    data=self._convert.to_array(heatmap.view(np.float32)),
                    range_first_m=1.5,
                    range_step_m=0.05,
                )
                message.angle_bins, message.doppler_bins, message.range_bins = heatmap.shape
                publisher.publish(message)
                time.sleep(0.02)

    def frames(self) -> list[float]:
        """Return the numbers of the frames that came."""
        stamps = [self._convert.to_nanoseconds(message.header.stamp) for message in self.received]
        return [(stamp - self.start_ns) * 30 / 1e9 for stamp in stamps]


def seen(pose_m: np.ndarray, k: int) -> np.ndarray:
    """Return what the camera sees of a pose in a frame, (14, 2)."""
    points = (pose_m + root_m(k))[PLACES]
    return points[:, :2] / points[:, 2:] * FOCAL_PX + CENTRE_PX


def covariances(person: Any) -> np.ndarray:
    """Return the covariances of a message's joints, (17, 3, 3)."""
    values = np.array([keypoint.covariance for keypoint in person.keypoints])
    return values[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)


def positions(person: Any) -> np.ndarray:
    points = (keypoint.position for keypoint in person.keypoints)
    return np.array([(p.x, p.y, p.z) for p in points])


def counters(live: LiveGraph) -> dict[str, str]:
    found = live.diagnostics().get(NODE)
    return {v.key: v.value for v in found.values} if found else {}


def test_live_poses_at_30_hz(live: LiveGraph, tmp_path: Path) -> None:
    """Every frame once, where the camera saw it; a joint away, a gap, a jump in time."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import LATCHED

    file = save_random_weights(tmp_path)
    twin = Twin(file)
    process = live.start(NODE, weights=str(file), stride=STRIDE, input_timeout_s=60.0)
    live.diagnostics()
    skeletons = live.collect(msg.SkeletonDefinition, "/skeleton", LATCHED)
    source = Source(live)
    live.wait(lambda: skeletons, what="the skeleton")
    assert (skeletons[0].name, tuple(skeletons[0].joints)) == ("h36m17", H36M17.joints)
    away = HUPR14.index("left_wrist")

    def play(numbers: Iterable[int], poses: dict[int, Any], at: int = 0) -> None:
        for k in numbers:
            keypoints = seen(poses[k][0], k) if k in poses else ANYBODY + k
            if k in (12, 13):
                keypoints[away] = np.nan
            source.publish(k, keypoints, at)

    # Nobody has told of the camera yet: relative to the root, as the network has it.
    expected = twin.run(range(9), 17)
    later = twin.run(range(9, 18), 26)
    play(range(18), later)
    live.wait(lambda: len(source.received) >= 9, 60.0, "the first run's frames")
    for k, message in enumerate(source.received):
        (person,) = message.poses
        assert person.root_relative
        np.testing.assert_allclose(positions(person), expected[k][0], atol=1e-6)
        np.testing.assert_allclose(covariances(person), expected[k][1], rtol=1e-5, atol=1e-9)
    assert (message.header.frame_id, message.skeleton) == ("camera", "h36m17")
    assert message.model == f"{twin.name} of test/edge@0"
    assert message.missing_sources == ["radar_v"]
    live.wait(lambda: "no camera_info" in live.diagnostics()[NODE].message, what="a warning")

    # A camera: whoever was projected with its numbers is placed where they were.
    source.publish_camera()
    last = twin.run(range(18, 27), 35)
    play(range(18, 27), last)
    live.wait(lambda: len(source.received) >= 18, 60.0, "the second run's frames")
    play(range(27, 36), {})
    live.wait(lambda: len(source.received) >= 27, 60.0, "the third run's frames")
    wrist = H36M17.index("left_wrist")
    for k, message in enumerate(source.received[9:27], start=9):
        pose, spread = (later | last)[k]
        (person,) = message.poses
        assert not person.root_relative
        np.testing.assert_allclose(positions(person), pose + root_m(k), atol=2e-3)
        found = covariances(person)
        assert np.linalg.eigvalsh(found).min() > 0
        of_root = found - spread
        np.testing.assert_allclose(of_root, np.broadcast_to(of_root[0], found.shape), atol=1e-5)
        share = np.sqrt(of_root[0, 2, 2]) / root_m(k)[2]
        assert 0.055 < share < 0.06  # what is not known of the person's size
        origins = [keypoint.origin for keypoint in person.keypoints]
        interpolated = [j for j, origin in enumerate(origins) if origin == INTERPOLATED]
        assert interpolated == ([wrist] if k in (12, 13) else [])
        trust = [keypoint.confidence for keypoint in person.keypoints]
        np.testing.assert_allclose(trust, 0.8, atol=1e-6)
    # Nine frames more wait, and come out when the clock jumps by an hour.
    play(range(36, 40), {}, HOUR)
    live.wait(lambda: len(source.received) >= 36, 60.0, "what was left")
    np.testing.assert_allclose(source.frames(), np.arange(36), atol=1e-4)
    key = "streams begun anew after a gap or a jump in time"
    live.wait(lambda: counters(live).get(key) == "1", what="one new stream")
    assert live.log(process).count("a new stream begins") == 1

    # What must be refused is counted, and changes nothing.
    good = ANYBODY
    source.publish(40, good, HOUR, skeleton="octopus8")
    source.publish(40, good, HOUR, image_width=0)
    source.publish(40, np.full((14, 2), np.inf), HOUR)
    source.publish(40, good + 1e30, HOUR)
    source.publish(40, good, HOUR, confidence=7.0)
    source.publish(39, good, HOUR)
    wanted = {f"dropped: pose2d: {fault}" for fault in FAULTS} | {
        "dropped: poses of the same instant"
    }
    live.wait(lambda: wanted <= counters(live).keys(), what=f"{wanted}")
    assert float(counters(live)["latency_ms"]) == pytest.approx(17e3 / 30, abs=0.1)
    assert "dropped: poses that there was no time to lift" not in counters(live)
    assert len(source.received) == 36
    assert live.interrupt(process) == 0


def test_live_it_never_falls_behind(live: LiveGraph, tmp_path: Path) -> None:
    """Poses at eight times the pace: some are lost, and all of them are accounted for."""
    file = save_random_weights(tmp_path, rate_hz=50.0)
    settings = {"weights": str(file), "stride": STRIDE, "hypotheses": 10}  # twice as slow
    live.start(NODE, output_frames="latest", input_timeout_s=1.0, **settings)
    live.diagnostics()
    source = Source(live)
    for k in range(300):
        source.publish(k, ANYBODY, pause_s=0.004)
    live.wait(lambda: "streams ended by silence" in counters(live), 60.0, "the end")
    lost = "dropped: poses that there was no time to lift"

    def accounted() -> bool:
        values = counters(live)
        pushed_out = int(values.get("dropped: poses for which there was no time", 0))
        taken = int(values["pose2d total"]) - pushed_out
        return 0 < taken == len(source.received) + int(values.get(lost, 0))

    live.wait(accounted, 20.0, "an account of every pose")
    assert int(counters(live)[lost]) > 0
    assert int(counters(live)["runs that there was no time for"]) > 0
    frames = source.frames()
    assert (np.diff(frames) > 0.5).all()
    assert frames[-1] == pytest.approx(299, abs=1e-4)  # the newest wins
    warning = "poses come at 30 Hz, but the network was trained at 50 Hz"
    assert warning in live.diagnostics()[NODE].message
    assert live.change(NODE, "deactivate")
    live.wait(lambda: warning not in live.diagnostics()[NODE].message, what="no warning")


def test_live_what_cannot_be_lifted_is_nobody(live: LiveGraph, tmp_path: Path) -> None:
    """Outside the image, on one point, and a joint that is; then stamps that fall."""
    live.start(NODE, weights=str(save_random_weights(tmp_path)), input_timeout_s=1.0)
    live.diagnostics()
    source = Source(live)
    stray = HUPR14.index("left_wrist")
    for k in range(27):
        keypoints = ANYBODY.copy()
        if k in (3, 4):
            keypoints += 5000.0
        elif k == 5:
            keypoints[:] = 100.0
        elif k > 20:
            keypoints[stray] = -700.0
        source.publish(k, keypoints)
    live.wait(lambda: len(source.received) == 27, 60.0, "all frames")
    assert [len(message.poses) for message in source.received] == [1] * 3 + [0] * 3 + [1] * 21
    wrist = H36M17.index("left_wrist")
    kinds = [message.poses[0].keypoints[wrist].origin for message in source.received[6:]]
    assert kinds == [OBSERVED] * 15 + [PREDICTED] * 6
    values = live.wait(
        lambda: counters(live) if "streams ended by silence" in counters(live) else None,
        what="the end",
    )
    assert values["dropped: joints far outside the image"] == str(2 * 14 + 6)
    assert (
        values["dropped: people too small, or too far outside of the image, to be lifted"] == "1"
    )

    # Each older than the last: a few are lifted, the others counted.
    source.received.clear()
    began_s = time.monotonic()
    for k in range(60):
        source.publish(200 - k, ANYBODY)
    key = "dropped: poses of streams that ended too soon after others"

    def accounted() -> bool:
        lost = int(counters(live).get(key, 0))
        total = int(counters(live)["pose2d total"])
        return total == 27 + 60 and lost > 0 and len(source.received) + lost == 60

    live.wait(accounted, 30.0, "an account of every pose")
    assert len(source.received) <= 4 + 2 * (time.monotonic() - began_s) + 1


def test_live_placed_by_the_radars(live: LiveGraph, tmp_path: Path) -> None:
    """By its size somebody is 2.9 m away; the radars see their front at 2.5 m, for 0.4 s."""
    file = save_random_weights(tmp_path)
    twin = Twin(file)
    live.start(NODE, weights=str(file), stride=STRIDE, placement="range", input_timeout_s=60.0)
    live.diagnostics()
    source = Source(live)
    direction = np.array([0.1, -0.05, 1.0]) / np.linalg.norm([0.1, -0.05, 1.0])
    expected = twin.run(range(9), 17) | twin.run(range(9, 18), 26)
    # A heatmap of 5 s later takes nothing away: poses at 5 Hz are lifted as late.
    source.publish_return(direction, 2.5, [*range(0, 10, 3), 150])
    about = {"frame_id": CAMERA_FRAME, "image_width": 256, "image_height": 256}
    for k in range(27):
        pose, _ = expected.get(k, expected[0])
        points = (pose + 2.9 * direction)[PLACES]
        source.publish(k, points[:, :2] / points[:, 2:] * 200.0 + 128.0, **about)
    live.wait(lambda: len(source.received) >= 18, 60.0, "two runs' frames")
    for k, message in enumerate(source.received[:18]):
        (person,) = message.poses
        pose, spread = expected[k]
        by_radar = k <= 12  # the last heatmap is that of frame 9, and 0.1 s are near
        root = (2.5 + PELVIS_BEHIND_M if by_radar else 2.9) * direction
        np.testing.assert_allclose(positions(person), pose + root, atol=2e-3)
        of_root = covariances(person)[0] - spread[0]
        along = np.sqrt(direction @ of_root @ direction)
        if by_radar:
            assert along == pytest.approx(RANGE_SPREAD_M, rel=1e-3)
        else:
            assert along > 0.055 * 2.9
    key = "people placed without the radars' range"
    live.wait(lambda: counters(live).get(key) == "5", what="an account of the others")


def test_live_a_long_run_is_given_up(live: LiveGraph, tmp_path: Path) -> None:
    """Fifty hypotheses take longer than a thread has to end."""
    file = save_random_weights(tmp_path)
    live.start(NODE, weights=str(file), stride=STRIDE, hypotheses=50, input_timeout_s=60.0)
    live.diagnostics()
    source = Source(live)
    for k in range(18):
        source.publish(k, ANYBODY)
    live.wait(lambda: counters(live).get("pose2d total") == "18", what="all poses")
    began_s = time.monotonic()
    assert live.change(NODE, "deactivate")
    assert time.monotonic() - began_s < 2.0
    assert live.state(NODE) == "inactive"
    if not source.received:  # the run had not ended before: it counts what it leaves
        values = live.wait(
            lambda: {k: v for k, v in counters(live).items() if k.startswith("dropped")},
            what="an account",
        )
        assert sum(map(int, values.values())) == 18
    assert live.change(NODE, "activate")


def test_live_refusals(live: LiveGraph, tmp_path: Path) -> None:
    """R4: what cannot be used is said in one sentence."""
    live.start(NODE, weights="2d_nowhere")
    live.diagnostics()
    live.wait(lambda: NODE in live.diagnostics(), 60.0, "diagnostics")

    def refused(sentence: str) -> None:
        def failed() -> bool:
            status = live.diagnostics()[NODE]
            return status.level == b"\x02" and sentence in status.message

        live.wait(failed, what=sentence)
        assert live.state(NODE) == "unconfigured"

    refused("there are no weights '2d_nowhere'")
    assert live.set(NODE, "weights", "edge") == (True, "")
    assert not live.change(NODE, "configure")
    refused("is a millimamba, not a diffhpe")
    assert live.set(NODE, "weights", str(save_random_weights(tmp_path))) == (True, "")
    assert live.set(NODE, "hypotheses", 3) == (True, "")
    assert not live.set(NODE, "placement", "air")[0]
    assert live.change(NODE, "configure") and live.change(NODE, "activate")
    warning = "no covariances: not calibrated for 3 hypotheses"
    live.wait(lambda: warning in live.diagnostics()[NODE].message, what=warning)
