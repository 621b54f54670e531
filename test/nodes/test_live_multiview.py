"""Multi-view pose, live: emulated and hand-made rigs, and what may be wrong with them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from radar_pose_ros.datasets import pose2sim
from radar_pose_ros.datasets.multiview import interleaved
from radar_pose_ros.models import weights
from radar_pose_ros.models.densewarper import PRESETS, DenseWarper
from radar_pose_ros.simulation.body import random_sequence
from radar_pose_ros.simulation.multiview import rig
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.camera import PinholeCamera

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

NODE, EMULATOR = "densewarper", "rig_emulator"
VIEWS = ("camera_0", "camera_1", "camera_2", "camera_3")
LENS = (-0.15, 0.03, 0.001, -0.001, 0.005)
WORLD_AT = (5.0, -3.0, 0.2)  # where the hand-made rig stands in the map, turned by 90 degrees
WORLD_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def message_of(live: LiveGraph) -> str:
    status = live.diagnostics().get(NODE)
    return status.message if status else ""


def value(live: LiveGraph, key: str) -> str:
    status = live.diagnostics().get(NODE)
    return {v.key: v.value for v in status.values}.get(key, "") if status else ""


def wait_for(live: LiveGraph, sentence: str, there: bool = True) -> None:
    """Wait until the diagnostics say a sentence, or do not any more."""
    live.wait(
        lambda: (sentence in message_of(live)) is there and message_of(live),
        60.0,
        f"{'' if there else 'end of '}{sentence!r} in the diagnostics",
    )


def near(text: str, wanted: float) -> bool:
    """Whether a value of the diagnostics is there, and within 5 of what it should be."""
    return bool(text) and abs(float(text) - wanted) <= 5


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def joints(message: Any) -> np.ndarray:
    """Return the positions of a message's only person, (joints, 3)."""
    (person,) = message.poses
    points = (keypoint.position for keypoint in person.keypoints)
    return np.array([(p.x, p.y, p.z) for p in points])


class Stream:
    """Keeps poses and the truth, by their stamps."""

    def __init__(self, live: LiveGraph) -> None:
        from rclpy.qos import QoSProfile

        from radar_pose_ros import msg

        self._live = live
        qos = QoSProfile(depth=500)
        self.poses = live.collect(msg.HumanPose3DArray, "/pose3d", qos)
        self.truths = live.collect(msg.HumanPose3DArray, "/ground_truth", qos)

    def begin(self) -> None:
        """Wait until both arrive: on a busy machine one may be found seconds before the other."""
        self._live.wait(lambda: min(len(self.poses), len(self.truths)) > 60, 90.0, "poses")

    def error_m(self, poses: Sequence[Any]) -> float:
        """Return the mean distance of known joints from the truth, where there is a person."""
        last_ns = stamp_ns(poses[-1])
        self._live.wait(lambda: stamp_ns(self.truths[-1]) >= last_ns, what="the truth")
        truths = {stamp_ns(message): joints(message) for message in self.truths}
        errors = [
            np.linalg.norm(joints(message) - truths[stamp_ns(message)], axis=-1)
            for message in poses
            if message.poses and stamp_ns(message) in truths
        ]
        people = sum(bool(message.poses) for message in poses)
        assert len(errors) > 0.9 * len(poses), f"{people} with a person, {len(truths)} truths"
        return float(np.nanmean(errors))

    def next(self, live: LiveGraph, count: int, told: Callable[[Any], bool]) -> list[Any]:
        """Return the next poses for which something holds, without a break."""
        begin = len(self.poses)

        def found() -> list[Any]:
            tail: list[Any] = []
            for message in self.poses[begin:]:
                tail = [*tail, message] if told(message) else []
                if len(tail) == count:
                    return tail
            return []

        return live.wait(found, 60.0, f"{count} such poses")


def test_live_emulated_rig(live: LiveGraph) -> None:
    """Near the truth at four times the rate; a view unplugged and back; two views exchanged."""
    live.start(EMULATOR, seed=3)
    process = live.start(NODE, input_timeout_s=20.0)
    live.diagnostics()
    stream = Stream(live)
    stream.begin()
    whole = stream.next(live, 120, lambda message: not message.missing_sources)
    assert stream.error_m(whole) < 0.05
    stamps = np.array([stamp_ns(message) for message in whole])
    slots = np.diff(stamps) * 60 / 1e9  # on a busy machine, not every one is computed
    np.testing.assert_allclose(slots, np.rint(slots), atol=0.01)
    assert slots.min() == pytest.approx(1, abs=0.01)
    for message in whole[::20]:
        assert (message.header.frame_id, message.skeleton) == ("map", "h36m17")
        assert message.model == "aligned of simulation"
        (person,) = message.poses
        known = np.isfinite(joints(message)).all(-1)
        trust = np.array([keypoint.confidence for keypoint in person.keypoints])
        spread = np.array([keypoint.covariance for keypoint in person.keypoints])
        assert (trust[known] > 0).all() and not trust[~known].any()
        assert (spread[known][:, [0, 3, 5]] > 0).all() and np.isnan(spread[~known]).all()
    live.wait(lambda: near(value(live, "skew_ms"), 50), what="50 ms: three fired since")
    assert all(0 < float(value(live, f"{view} error_px")) < 12 for view in VIEWS)
    assert float(value(live, "latency_ms")) > 0

    assert live.set(EMULATOR, "silent", "camera_2")[0]
    alone = stream.next(live, 60, lambda message: message.missing_sources == ["camera_2"])
    wait_for(live, "camera_2 is missing")
    assert stream.error_m(alone) < 0.09
    assert live.set(EMULATOR, "silent", "")[0]
    stream.next(live, 30, lambda message: not message.missing_sources)
    wait_for(live, "is missing", there=False)

    only = "camera_0, camera_1, camera_2, camera_3"
    assert live.set(EMULATOR, "silent", "camera_2 camera_7") == (
        False,
        f"silent: there is no view camera_7, only {only}",
    )
    assert live.set(EMULATOR, "exchanged", "camera_2") == (
        False,
        f"exchanged: want two of the views {only}, or none, got 'camera_2'",
    )
    assert "disagree" not in live.printed()
    assert live.set(EMULATOR, "exchanged", "camera_0 camera_3")[0]
    wait_for(live, "exchanged, camera_0 and camera_3 would leave")
    assert live.set(EMULATOR, "exchanged", "")[0]
    wait_for(live, "disagree", there=False)
    assert live.interrupt(process) == 0


def test_live_shots_that_are_late_are_told(live: LiveGraph) -> None:
    """Each by up to 0.3 s: most have no pose, which the diagnostics say of every view."""
    live.start(EMULATOR, seed=3)
    live.start(NODE, input_timeout_s=20.0)
    live.diagnostics()
    stream = Stream(live)
    stream.begin()
    assert live.set(EMULATOR, "late_s", 0.3)[0]
    why = "shots that come after the pose of their instant have none of their own: "
    shares = re.compile(r"(\d+) of (camera_\d)'s last 30, up to (\d+) ms late")

    def told() -> list[tuple[str, ...]]:
        found = shares.findall(message_of(live).partition(why)[2])
        return found if len(found) == len(VIEWS) else []

    found = live.wait(told, 60.0, "what is late, of all views")
    assert [view for _, view, _ in found] == list(VIEWS)
    for count, _, late_ms in found:
        assert 8 <= int(count) <= 29  # 21 on the mean
        assert 20 < int(late_ms) < 500
    begin = len(stream.poses)
    assert live.set(EMULATOR, "late_s", 0.0)[0]
    wait_for(live, why, there=False)
    stamps = [stamp_ns(message) for message in stream.poses[begin:]]
    assert stamps == sorted(stamps)


def test_live_wrong_and_missing_calibration(live: LiveGraph) -> None:
    """A camera said to be 20 cm higher is named; one that was never calibrated is left out."""
    wrong = {"displaced": "camera_1", "displacement_m": [0.0, 0.0, 0.2]}
    live.start(EMULATOR, seed=3, uncalibrated="camera_3", clip_s=600.0, **wrong)
    live.start(NODE, input_timeout_s=20.0)
    live.diagnostics()
    stream = Stream(live)
    stream.begin()
    wait_for(live, "camera_3 is left out: camera not known: camera_info: camera not calibrated")
    assert "K is all zero" in message_of(live) and "is missing" not in message_of(live)
    wait_for(live, "without camera_1 it is")
    poses = stream.next(live, 60, lambda message: message.missing_sources == ["camera_3"])
    assert stream.error_m(poses) < 0.16


def test_live_recording_is_played_again_and_again(live: LiveGraph, shared_data: Path) -> None:
    """Pose2Sim's trial, one view after another: a round of all frames, and the first again."""
    from rclpy.qos import QoSProfile

    from radar_pose_ros import msg

    trial = (
        shared_data
        / "multiview_pose2sim"
        / "S00_P00_SingleParticipant"
        / "S00_P00_T01_BalancingTrial"
    )
    seen = interleaved(pose2sim.load(trial)).views[1]
    received = live.collect(msg.HumanPose2DArray, "/camera_1/pose2d", QoSProfile(depth=100))
    live.start(EMULATOR, recording=str(trial))
    count = len(seen.stamps_s)
    live.wait(lambda: len(received) > count, 60.0, "all of it")
    places = [[(k.x, k.y) for k in message.poses[0].keypoints] for message in received]
    found = np.array(places[: count + 1], np.float32)
    first = next(k for k in range(count) if np.array_equal(found[0], seen.keypoints_px[k], True))
    order = (first + np.arange(count + 1)) % count
    np.testing.assert_array_equal(found, seen.keypoints_px[order])
    assert received[0].skeleton == "body25b"
    assert (received[0].image_width, received[0].image_height) == seen.camera.size_px
    steps_ns = np.diff([stamp_ns(message) for message in received[: count + 1]])
    np.testing.assert_allclose(steps_ns, 1e9 / 15, atol=1e3)
    assert received[0].model == "recording S00_P00_T01_BalancingTrial"


class HandMadeRig:
    """Cameras with bent lenses, whose every message the test makes itself."""

    def __init__(self, live: LiveGraph, views: Sequence[str] = VIEWS) -> None:
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import CameraInfo

        from radar_pose_ros import msg
        from radar_pose_ros.nodes import convert

        rng = np.random.default_rng(7)
        clip = random_sequence(rng, 1.0, 30.0, "test")
        self.joints_m = mapping.convert(clip.joints_m[0], "hupr14", "h36m17")
        middle = self.joints_m.mean(0)
        self.cameras = {
            view: PinholeCamera(
                camera.focal_px,
                camera.centre_px,
                camera.size_px,
                camera.rotation,
                camera.position_m,
                LENS,
            )
            for view, camera in zip(views, rig(len(views), middle, rng), strict=True)
        }
        self.start_ns = time.time_ns()
        self._live, self._convert, self._msg = live, convert, msg
        self._poses, self._infos = {}, {}
        for view in views:
            kind = msg.HumanPose2DArray
            self._poses[view] = live.node.create_publisher(
                kind, f"/{view}/pose2d", QoSProfile(depth=100)
            )
            self._infos[view] = live.node.create_publisher(
                CameraInfo, f"/{view}/camera_info", QoSProfile(depth=10)
            )

    def wait(self) -> None:
        """Wait until somebody listens to everything, with room for what discovery takes."""
        for publisher in self._poses.values():
            self._live.wait(publisher.get_subscription_count, 90.0, "a subscriber")
        time.sleep(1.0)

    def publish_cameras(self) -> None:
        for view, camera in self.cameras.items():
            head = self._convert.header(self.start_ns, f"{view}_eye")
            for _ in range(3):  # best-effort
                self._infos[view].publish(self._convert.camera_to_message(camera, head))

    def publish_transforms(self, views: Sequence[str]) -> None:
        """Tell where cameras are in a rig that is turned and moved in the map."""
        from radar_pose_ros.nodes.transforms import (
            StaticTransforms,
            camera_transform,
            transform_message,
        )

        rig_in_map = transform_message("map", "rig", WORLD_AT, (0.0, 0.0, np.pi / 2), 1)
        placed = [camera_transform("rig", f"{v}_eye", self.cameras[v], 1) for v in views]
        if not hasattr(self, "_transforms"):
            self._transforms = StaticTransforms(self._live.node)
        self._transforms.send([rig_in_map, *placed])

    def fire(self, view: str, at_s: float, people: Sequence[Any] = (), **about: Any) -> None:
        """Publish what a view sees at an instant after the start, of whom stands there."""
        from radar_pose_ros.nodes.people import Person

        camera = self.cameras[view]
        standing = Person(camera.project(self.joints_m), np.full(17, 0.9), 0.9, number=4)
        common = {"skeleton": "h36m17", "model": "test"}
        common |= {"image_width": camera.size_px[0], "image_height": camera.size_px[1]} | about
        message = self._convert.people_to_message(
            self._msg.HumanPose2DArray,
            people or [standing],
            self._convert.header(self.start_ns + round(at_s * 1e9), f"{view}_eye"),
            **common,
        )
        self._poses[view].publish(message)
        time.sleep(0.01)


def test_live_faults_one_by_one(live: LiveGraph) -> None:
    """Exact to a millimetre through lenses and a chain of frames; every refusal by name."""
    from radar_pose_ros.nodes.people import Person

    made = HandMadeRig(live)
    live.start(NODE, input_timeout_s=20.0)
    live.diagnostics()
    stream = Stream(live)
    made.wait()
    made.fire("camera_0", 0.0)
    wait_for(
        live, "camera_0 is left out: camera not known: no camera_info on camera_0/camera_info"
    )
    made.publish_cameras()
    made.publish_transforms(VIEWS[:3])
    time.sleep(0.5)
    made.fire("camera_3", 0.1)
    wait_for(
        live, "camera_3 is left out: camera without a place: there is no frame 'camera_3_eye'"
    )

    def fire(view: str, at_s: float, *people: Any) -> Any:
        """Let a view fire; return the pose of that instant, None if there is none."""
        made.fire(view, at_s, people)
        wanted = made.start_ns + round(at_s * 1e9)
        for _ in range(40):  # a node that is woken late would take what has come in any order
            found = [message for message in stream.poses if stamp_ns(message) == wanted]
            if found:
                return found[-1]
            time.sleep(0.01)
        return None

    def round_at(at_s: float, newest: str = "camera_0") -> Any:
        """Let all views fire within 30 ms, one last; return the pose of that instant."""
        for number, view in enumerate(view for view in VIEWS if view != newest):
            fire(view, at_s - 0.03 + 0.01 * number)
        return fire(newest, at_s)

    expected = made.joints_m @ WORLD_TURN.T + WORLD_AT
    three = round_at(1.0)
    assert three.missing_sources == ["camera_3"] and three.model == "aligned of test"
    np.testing.assert_allclose(joints(three), expected, atol=1e-3)
    made.publish_transforms(VIEWS)
    time.sleep(0.5)
    four = round_at(2.0)
    assert four.missing_sources == []
    np.testing.assert_allclose(joints(four), expected, atol=1e-3)
    wait_for(live, "is left out", there=False)

    # R9: the age of the oldest view, within 5 ms of what was injected
    for number, skew_ms in enumerate((0, 40, 200, 500)):
        at_s = 4.0 + 2.0 * number
        fire("camera_2", at_s - skew_ms / 1e3)
        fire("camera_0", at_s - skew_ms / 2e3)
        fire("camera_1", at_s)
        live.wait(
            lambda wanted=skew_ms: near(value(live, "skew_ms"), wanted), what=f"{skew_ms} ms"
        )
        assert "camera_3" in stream.poses[-1].missing_sources
    fire("camera_1", 12.0)
    fire("camera_2", 12.0 - 0.51)  # too old to be part of it, and late
    wait_for(live, "camera_2: shots that came too late")
    wait_for(live, "no poses: they take two views or more")

    # What is in the image: of two people the one with the same id, and another image's size.
    standing = made.cameras["camera_0"].project(made.joints_m)
    couple = [
        Person(standing + 150.0, np.full(17, 1.0), 1.0, number=9),
        Person(standing, np.full(17, 0.3), 0.3, number=4),
    ]
    for view in VIEWS[1:]:
        fire(view, 13.0)
    np.testing.assert_allclose(joints(fire("camera_0", 13.01, *couple)), expected, atol=1e-3)
    wait_for(live, "camera_0 sees 2 people, of whom one is taken")
    made.fire("camera_0", 13.1, image_width=640)
    wait_for(live, "image of another size than the camera's: 640 x 1000 px instead of 1000 x 1000")
    made.fire("camera_0", 13.11, skeleton="octopus8")
    live.wait(
        lambda: value(live, "dropped: camera_0/pose2d: skeleton cannot be used"), what="a refusal"
    )

    # Time goes back by an hour: a new stream but for its first shot, as exact as the old one.
    assert fire("camera_0", -3600.1) is None
    back = round_at(-3600.0, "camera_2")
    np.testing.assert_allclose(joints(back), expected, atol=1e-3)
    live.wait(lambda: value(live, "streams begun anew after a jump back in time"), what="a count")
    assert "time went back, a new stream begins" in live.printed()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_live_camera_with_a_clock_of_its_own(live: LiveGraph, count: int) -> None:
    """A second ahead: it alone is left out, by name, and back when its clock is right.

    0.3 s ahead: it is named, not the others, whose shots come later.
    """
    views = VIEWS[:count]
    wrong = views[-1]
    made = HandMadeRig(live, views)
    live.start(NODE, views=" ".join(views), input_timeout_s=20.0)
    live.diagnostics()
    stream = Stream(live)
    made.wait()
    made.publish_cameras()
    made.publish_transforms(views)
    time.sleep(0.5)
    fired = iter(range(10000))

    def play(shots: int, ahead_s: float) -> list[Any]:
        """Let views fire in turn, evenly; return the poses of these shots."""
        begin = len(stream.poses)
        for _ in range(shots):
            number = next(fired)
            view = views[number % count]
            made.fire(view, number / 50 + (ahead_s if view == wrong else 0.0))
            time.sleep(0.01)
        time.sleep(0.3)
        return stream.poses[begin:]

    def play_until(sentence: str, ahead_s: float) -> str:
        for _ in range(20):
            play(count * 10, ahead_s)
            if sentence in message_of(live):
                return message_of(live)
        pytest.fail(f"no {sentence!r}: {message_of(live)}\n{live.printed()}")

    expected = made.joints_m @ WORLD_TURN.T + WORLD_AT
    poses = play(count * 30, 1.0)
    if count == 2:
        said = play_until("camera_0's stamps are 1.0 s behind camera_1's and left out", 1.0)
        assert "of two views nobody can tell which" in said and not poses
    else:
        said = play_until(f"{wrong}'s stamps are 1.0 s ahead of the others'", 1.0)
        assert len(poses) > 0.8 * 30 * (count - 1)
        assert all(message.missing_sources == [wrong] for message in poses[count:])
        np.testing.assert_allclose(joints(poses[-1]), expected, atol=1e-3)
        assert value(live, f"dropped: {wrong}: shots ahead of all others")
    assert "is missing" not in said

    poses = play(count * 30, 0.0)
    assert poses[-1].missing_sources == []
    np.testing.assert_allclose(joints(poses[-1]), expected, atol=1e-3)
    wait_for(live, "stamps are", there=False)
    if count > 2:  # ahead by less than what leaves a view out
        said = play_until("s ahead of all others", 0.3)
        assert re.search(rf"{wrong} is 0\.(2[5-9]|3[0-5]) s ahead of all others", said), said
        assert "'s last 30" not in said


def test_live_rig_of_two_with_one_unplugged(live: LiveGraph) -> None:
    """No poses, the reason and the view by name; and again as before when it is back."""
    live.start(EMULATOR, seed=3, views="camera_0 camera_1")
    live.start(NODE, views="camera_0 camera_1", input_timeout_s=20.0)
    live.diagnostics()
    stream = Stream(live)
    stream.begin()
    assert live.set(EMULATOR, "silent", "camera_1")[0]
    wait_for(live, "no poses: they take two views or more")
    assert "camera_1 is missing" in message_of(live)
    count = len(stream.poses)
    time.sleep(1.0)
    assert len(stream.poses) == count
    assert live.set(EMULATOR, "silent", "")[0]
    stream.next(live, 20, lambda message: not message.missing_sources)
    wait_for(live, "no poses", there=False)


def test_live_network_with_views_that_fail(live: LiveGraph) -> None:
    """One never calibrated, one unplugged and back: poses of what is left, near the truth."""
    presets = {
        (entry["model"], entry["preset"])
        for entry in weights.read_manifest(weights.weights_directory())
    }
    if ("densewarper", "light") not in presets:
        pytest.skip("weights/manifest.json has no weights light of densewarper yet")
    live.start(EMULATOR, seed=3, uncalibrated="camera_3", clip_s=600.0)
    live.start(NODE, method="densewarper", weights="light", every=4, input_timeout_s=20.0)
    live.diagnostics()
    stream = Stream(live)
    live.wait(lambda: len(stream.poses) > 5, 90.0, "poses")
    wait_for(live, "camera_3 is left out: camera not known: camera_info: camera not calibrated")
    three = stream.next(live, 10, lambda message: message.missing_sources == ["camera_3"])
    assert stream.error_m(three) < 0.12
    assert live.set(EMULATOR, "silent", "camera_1")[0]
    both = ["camera_1", "camera_3"]
    stream.next(live, 10, lambda message: message.missing_sources == both)
    wait_for(live, "camera_1 is missing")
    assert live.set(EMULATOR, "silent", "")[0]
    stream.next(live, 10, lambda message: message.missing_sources == ["camera_3"])
    wait_for(live, "is missing", there=False)


def save_identity(folder: Path) -> Path:
    """Save a network that was never trained: it leaves joints where they were seen."""
    torch.manual_seed(0)
    entry = weights.save(
        DenseWarper(PRESETS["light"]),
        folder,
        "light",
        training_data={"licence": "none"},
        git_revision="0",
        command="as it is made, for a test",
        metrics={"split": "none"},
    )
    return folder / entry["file"]


def test_live_network_with_a_calibration_file(live: LiveGraph, tmp_path: Path) -> None:
    """Without weights it refuses; with a network that moves nothing it gives the truth."""
    made = HandMadeRig(live, VIEWS[:3])
    calibration_files.write(made.cameras, tmp_path / "rig.toml", "anipose")
    file = save_identity(tmp_path)
    live.start(
        NODE,
        method="densewarper",
        weights="edge",
        views="camera_0 camera_1 camera_2",
        calibration_file=str(tmp_path / "rig.toml"),
        world_frame="studio",
        every=2,
    )
    live.diagnostics()

    def refused(sentence: str) -> None:
        wait_for(live, sentence)
        assert live.state(NODE) == "unconfigured"

    refused("is a millimamba, not a densewarper")
    assert live.set(NODE, "weights", "") == (True, "")
    assert not live.change(NODE, "configure")
    refused("method densewarper needs weights: name a preset or a safetensors file")
    assert live.set(NODE, "views", " ".join(VIEWS)) == (True, "")
    assert not live.change(NODE, "configure")
    refused("rig.toml: no camera of the name camera_3; there are camera_0, camera_1, camera_2")
    assert live.set(NODE, "views", "camera_0 camera_1 camera_2") == (True, "")
    assert live.set(NODE, "weights", str(file)) == (True, "")
    assert live.change(NODE, "configure") and live.change(NODE, "activate")
    stream = Stream(live)
    made.wait()

    def play(first: int, count: int) -> None:
        for number in range(first, first + count):
            made.fire(VIEWS[number % 3], number / 45)
            time.sleep(0.1)

    play(0, 21)
    live.wait(lambda: len(stream.poses) >= 10, 60.0, "poses")
    for message in stream.poses:
        assert message.header.frame_id == "studio"
        assert message.model == f"{value(live, 'model')} of test"
        assert message.model.startswith("densewarper/light@")
    assert np.median(np.diff([stamp_ns(m) for m in stream.poses])) == pytest.approx(
        2e9 / 45, rel=0.01
    )
    np.testing.assert_allclose(joints(stream.poses[-1]), made.joints_m, atol=0.01)
    assert stream.poses[-1].missing_sources == []
    assert H36M17.name == stream.poses[-1].skeleton

    # The same rig, written in millimetres: all fits, but who stands there is a giant.
    calibration_files.write(made.cameras, tmp_path / "mm.toml", "anipose", unit_m=0.001)
    assert live.change(NODE, "deactivate") and live.change(NODE, "cleanup")
    assert live.set(NODE, "calibration_file", str(tmp_path / "mm.toml")) == (True, "")
    assert live.change(NODE, "configure") and live.change(NODE, "activate")
    made.wait()
    play(21, 12)
    wait_for(live, "is the calibration in millimetres? Then its unit_m is 0.001")
