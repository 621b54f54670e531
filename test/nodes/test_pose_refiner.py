"""pose_refiner, live: poses at 10 Hz in, refined ones at 30 Hz out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from radar_pose_ros.skeleton.definitions import HUPR14

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

JOINTS = len(HUPR14.joints)
MS = 1_000_000
HOUR_NS = 3_600_000 * MS
OBSERVED, INTERPOLATED, PREDICTED = range(3)


def place(time_s: np.ndarray | float, values: int = 2) -> np.ndarray:
    """Return where the joints are, (..., joints, values): each moves at a constant velocity."""
    rng = np.random.default_rng(3)
    start = rng.uniform(50, 200, (JOINTS, values))
    velocity = rng.uniform(-20, 20, (JOINTS, values))
    return start + velocity * np.asarray(time_s)[..., None, None]


class Source:
    """Publishes poses in the motion of `place`, and keeps what the refiner makes of them."""

    def __init__(self, live: LiveGraph, topic: str = "pose2d") -> None:
        from rclpy.qos import QoSProfile

        from radar_pose_ros import msg
        from radar_pose_ros.nodes import convert
        from radar_pose_ros.nodes.base import LATCHED

        self._convert = convert
        self._type = msg.HumanPose2DArray if topic == "pose2d" else msg.HumanPose3DArray
        self._values = 2 if topic == "pose2d" else 3
        self._live = live
        self._publisher = live.node.create_publisher(self._type, f"/{topic}", QoSProfile(depth=50))
        self.skeletons = live.node.create_publisher(msg.SkeletonDefinition, "/skeleton", LATCHED)
        self.skeletons.publish(convert.skeleton_to_message(HUPR14))
        self.received: list[tuple[float, Any]] = []
        live.node.create_subscription(
            self._type,
            f"/refined/{topic}",
            lambda message: self.received.append((time.time(), message)),
            QoSProfile(depth=500),
        )
        live.wait(self._publisher.get_subscription_count, 40.0, "a subscriber of the poses")
        live.wait(self.skeletons.get_subscription_count, what="a subscriber of the skeleton")
        time.sleep(1.0)  # the subscriber may learn of the publishers a moment later
        self.start_ns = time.time_ns()

    def publish(self, at_ms: float, *people: Any, jump_ns: int = 0, **about: Any) -> None:
        """Publish people, by default the one of `place`, with a stamp so long after the start."""
        self._publisher.publish(self._message(at_ms, *people, jump_ns=jump_ns, **about))

    def _message(self, at_ms: float, *people: Any, jump_ns: int = 0, **about: Any) -> Any:
        from radar_pose_ros.nodes.people import Person

        if not people:
            keypoints = place(at_ms / 1e3, self._values)
            people = (Person(keypoints, np.full(JOINTS, 0.8), 0.8),)
        stamp_ns = self.start_ns + round(at_ms * MS) + jump_ns
        head = self._convert.header(stamp_ns, "camera")
        there = [person for person in people if person is not None]
        size = {"image_width": 256, "image_height": 256} if self._values == 2 else {}
        common = {"skeleton": "hupr14", "model": "test/edge@0", **size, **about}
        return self._convert.people_to_message(self._type, there, head, **common)

    def burst(self, times_ms: list[float]) -> None:
        """Publish the person of `place` at these times after the start, as fast as it goes."""
        for message in [self._message(at_ms) for at_ms in times_ms]:
            self._publisher.publish(message)

    def play(self, times_ms: list[float]) -> None:
        """Publish the person of `place` at these times after the start, when they have come."""
        for at_ms in times_ms:
            time.sleep(max(0.0, self.start_ns / 1e9 + at_ms / 1e3 - time.time()))
            self.publish(at_ms)

    def stamps_ns(self) -> list[int]:
        """Return the stamps of what came, since the start."""
        return [
            self._convert.to_nanoseconds(message.header.stamp) - self.start_ns
            for _, message in self.received
        ]

    def table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return keypoints, confidence and origin of the first person in all that came."""
        people = [
            self._convert.message_to_people(message, JOINTS)[0] for _, message in self.received
        ]
        return (
            np.array([person.keypoints for person in people]),
            np.array([person.joint_confidence for person in people]),
            np.array([person.origin for person in people]),
        )

    def ages_s(self) -> np.ndarray:
        """Return how old each frame was when it came, by the clock that stamped the poses."""
        stamps = np.array(self.stamps_ns()) + self.start_ns
        return np.array([at_s for at_s, _ in self.received]) - stamps / 1e9


def grid(count: int, first_ns: int = 0) -> list[int]:
    return [first_ns + round(k * 1e9 / 30) for k in range(count)]


def counters(live: LiveGraph) -> dict[str, str]:
    found = live.diagnostics().get("pose_refiner")
    return {v.key: v.value for v in found.values} if found else {}


def test_live_poses_at_30_hz(live: LiveGraph) -> None:
    """Even stamps, a straight line, a joint that is away for a while, a gap, a jump in time."""
    from radar_pose_ros.nodes.people import HALF_LIFE_S, Person

    process = live.start("pose_refiner", max_gap_s=0.5)
    live.diagnostics()
    source = Source(live)
    away = 3
    about = {"image_width": 256, "image_height": 200, "missing_sources": ["radar_v"]}
    for k in range(40):
        if k in (31, 32, 33):  # three poses are lost: 0.4 s are no gap yet
            continue
        due_s = source.start_ns / 1e9 + k * 0.1
        time.sleep(max(0.0, due_s - time.time()))
        keypoints = place(k * 0.1)
        confidence = np.full(JOINTS, 0.8)
        if k in (20, 21):
            keypoints[away], confidence[away] = np.nan, 0.05
        person = Person(keypoints, confidence, 0.7, 5)
        source.publish(k * 100.0, person, **about)
    live.wait(lambda: len(source.received) >= 118, what="all frames")
    time.sleep(0.3)
    assert source.stamps_ns() == grid(118)  # from the first pose to the last one, each once

    keypoints, confidence, origin = source.table()
    numbers = np.arange(118)
    others = np.delete(np.arange(JOINTS), away)
    np.testing.assert_allclose(keypoints[:, others], place(numbers / 30)[:, others], atol=1e-3)
    lost = (numbers > 90) & (numbers < 102)
    assert (origin[numbers % 3 == 0][:, others][~lost[::3]] == OBSERVED).all()
    assert (origin[numbers % 3 != 0][:, others] == INTERPOLATED).all()
    assert (origin[lost][:, others] == INTERPOLATED).all()
    np.testing.assert_allclose(confidence[:, others], 0.8, atol=1e-6)
    # While it is away it stays where it was, and says so; when it is back the line is closed.
    held = (numbers > 57) & (numbers <= 63)
    np.testing.assert_allclose(keypoints[held, away], np.tile(place(1.9)[away], (6, 1)), atol=1e-3)
    assert (origin[held, away] == PREDICTED).all()
    falling = 0.8 * 0.5 ** ((numbers[held] - 57) / 30 / HALF_LIFE_S)
    np.testing.assert_allclose(confidence[held, away], falling, atol=1e-6)
    np.testing.assert_allclose(keypoints[~held, away], place(numbers / 30)[~held, away], atol=1e-3)
    assert (origin[64:66, away] == INTERPOLATED).all()
    np.testing.assert_allclose(confidence[~held, away], 0.8, atol=1e-6)

    message = source.received[0][1]
    assert (message.header.frame_id, message.skeleton) == ("camera", "hupr14")
    assert message.model == "linear of test/edge@0"
    assert (message.image_width, message.image_height) == (256, 200)
    assert message.missing_sources == ["radar_v"]
    assert (message.poses[0].id, message.poses[0].confidence) == (5, pytest.approx(0.7))

    # Evenly, and as late as stated: bursts of three would have most steps near zero.
    arrivals_s = np.array([at_s for at_s, _ in source.received])
    assert 0.015 < np.median(np.diff(arrivals_s)) < 0.06
    assert counters(live)["latency_ms"] == "66.7"
    assert 0.06 < np.median(source.ages_s()) < 0.067 + 0.05 + 0.2

    # The clock jumps by an hour: what waited comes out, a new stream begins, once.
    for k in range(10):
        time.sleep(0.05)
        source.publish(4000.0 + k * 100, jump_ns=HOUR_NS, **about)
    live.wait(lambda: len(source.received) >= 118 + 28, what="frames after the jump")
    assert source.stamps_ns()[118:] == grid(28, 4000 * MS + HOUR_NS)
    keypoints, _, _ = source.table()
    np.testing.assert_allclose(keypoints[118:], place(4.0 + np.arange(28) / 30), atol=1e-3)
    key = "streams begun anew after a gap or a jump in time"
    live.wait(lambda: counters(live).get(key) == "1", what="one new stream")
    assert live.log(process).count("a new stream begins") == 1

    # Another estimator: nothing is interpolated between the two's poses.
    for k in range(2):
        source.publish(4950.0 + k * 100, jump_ns=HOUR_NS, **(about | {"model": "other"}))
    live.wait(lambda: len(source.received) >= 146 + 4, what="frames of the other one")
    assert source.stamps_ns()[146:] == grid(4, 4950 * MS + HOUR_NS)
    assert source.received[-1][1].model == "linear of other"
    key = "streams ended by another skeleton, image or model"
    live.wait(lambda: counters(live).get(key) == "1", what="another new stream")
    assert not any(name.startswith("dropped") for name in counters(live))
    assert live.interrupt(process) == 0


def test_live_prediction(live: LiveGraph) -> None:
    """Frames come when they are due: two of three before the pose that would make them final."""
    live.start("pose_refiner", predict=True, blend=0, window=3)
    live.diagnostics()
    source = Source(live)
    source.play([k * 100.0 for k in range(30)])
    live.wait(lambda: len(source.received) >= 90, what="all frames")
    stamps = source.stamps_ns()
    assert stamps == grid(len(stamps))
    keypoints, _, origin = source.table()
    np.testing.assert_allclose(keypoints, place(np.arange(len(stamps)) / 30), atol=1e-3)
    steady = slice(12, 84)
    assert counters(live)["latency_ms"] == "0.0"
    # A pose that comes late on a busy machine finds its frame predicted already.
    shares = [(origin[steady] == kind).mean() for kind in (OBSERVED, INTERPOLATED, PREDICTED)]
    assert shares[2] > 0.5 and shares[0] <= 0.34
    assert -0.05 < np.median(source.ages_s()[steady]) < 0.2


def test_live_bursts_and_what_a_deactivated_node_still_had(live: LiveGraph) -> None:
    """Of 60 poses at once none is lost; what waits for more of them is counted at the end."""
    live.start("pose_refiner", blend=0, window=3, input_timeout_s=60.0)
    live.diagnostics()
    source = Source(live)
    source.burst([k * 100.0 for k in range(60)])
    live.wait(lambda: len(source.received) >= 57 * 3 + 1, what="all frames but the last six")
    live.wait(lambda: counters(live).get("pose2d total") == "60", what="all poses")
    assert live.change("pose_refiner", "deactivate")
    key = "dropped: frames that waited when deactivated"
    live.wait(lambda: counters(live).get(key) == "6", what="six frames")
    assert source.stamps_ns() == grid(57 * 3 + 1)


def test_live_a_skeleton_that_gets_another_number_of_joints(live: LiveGraph) -> None:
    """The name stays the same: what was refined before is another stream. So small is no fault."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.people import Person

    process = live.start("pose_refiner")
    live.diagnostics()
    source = Source(live)

    def refined() -> int:
        return int(counters(live).get("poses refined", 0))

    def publish_until_taken(at_ms: float, person: Person) -> None:
        """Again and again until the skeleton has come: the same instant counts once."""
        before = refined()

        def taken() -> bool:
            source.publish(at_ms, person, skeleton="own")
            return refined() > before

        live.wait(taken, what="a pose of the skeleton")

    for joints, first_ms in ((3, 0.0), (5, 300.0)):
        names = [f"joint {k}" for k in range(joints)]
        none = [float("nan")] * joints
        source.skeletons.publish(
            msg.SkeletonDefinition(name="own", joints=names, root=0, oks_sigmas=none)
        )
        for k in range(3):
            keypoints = 100.0 + np.outer(np.arange(joints), [4.0, 2.0]) + 3.0 * k
            publish_until_taken(first_ms + 100.0 * k, Person(keypoints, np.ones(joints), 0.8))
    live.wait(lambda: len(source.received) >= 14, what="the frames of both")
    assert source.stamps_ns() == grid(7) + grid(7, 300 * MS)
    for count, (_, message) in zip([3] * 7 + [5] * 7, source.received, strict=True):
        assert len(message.poses[0].keypoints) == count
    last = [(k.x, k.y) for k in source.received[-1][1].poses[0].keypoints]
    np.testing.assert_allclose(last, 106.0 + np.outer(np.arange(5), [4.0, 2.0]), atol=1e-3)
    assert "Traceback" not in live.log(process)


def test_live_every_pose_of_a_flood_is_accounted_for(live: LiveGraph) -> None:
    """300 at once are more than the queues hold: used, dropped, refused or lost, each once."""
    live.start("pose_refiner", input_timeout_s=60.0, queue_size=20)
    live.diagnostics()
    source = Source(live)
    source.publish(0.0)  # from here on the transport's losses are known
    live.wait(lambda: counters(live).get("pose2d total") == "1", what="the first pose")
    source.burst([100.0 * k for k in range(1, 301)] + [30_000.0])

    def accounted() -> bool:
        values = counters(live)

        def of(*names: str) -> int:
            return sum(int(values.get(name, 0)) for name in names)

        used = of("poses refined", "dropped: poses of the same instant")
        late = of("dropped: poses for which there was no time")
        lost = of("dropped: poses lost on the way here")
        return of("pose2d total") + lost == 302 and of("pose2d total") == used + late

    live.wait(accounted, what="an account of every pose")


def test_live_people_in_space(live: LiveGraph) -> None:
    """A bag at full speed: two people, nobody, everything in order, and nothing is lost."""
    from radar_pose_ros.nodes.people import Person

    live.start("pose_refiner", poses="pose3d", max_gap_s=0.3, input_timeout_s=1.0)
    live.diagnostics()
    source = Source(live, "pose3d")

    def person(number: int, at_ms: float) -> Person:
        keypoints = place(at_ms / 1e3, 3) / 100 + number
        return Person(keypoints, np.full(JOINTS, np.nan), 0.9, number, root_relative=number == 2)

    for k in range(60):
        at_ms = k * 100.0
        people = [person(1, at_ms)] if k < 40 else []
        people += [person(2, at_ms)] if 10 <= k < 40 else []
        source.publish(at_ms, *(people or [None]))
        time.sleep(0.02)
    live.wait(lambda: len(source.received) >= 178, what="all frames")
    assert source.stamps_ns() == grid(178)
    ids = [[pose.id for pose in message.poses] for _, message in source.received]
    assert ids[:31] == [[1]] * 31
    assert ids[33:117] == [[1, 2]] * 84
    assert ids[130:] == [[]] * 48  # 0.3 s after they left
    for number in (31 + 5, 60, 117):
        message = source.received[number][1]
        for pose in message.poses:
            got = np.array([(k.position.x, k.position.y, k.position.z) for k in pose.keypoints])
            expected = place(number / 30, 3) / 100 + pose.id
            np.testing.assert_allclose(got, expected, atol=1e-5)
            assert pose.root_relative == (pose.id == 2)
            assert np.isnan(pose.keypoints[0].covariance).all()
            assert np.isnan(pose.keypoints[0].confidence)  # its source states none

    # Placed for a moment, which is not seen, then for longer than the gap: the person begins anew.
    source.received.clear()
    for k in range(10):
        relative = k in (0, 2)
        one = Person(place(0.0, 3) / 100, np.ones(JOINTS), 0.9, 3, root_relative=relative)
        source.publish(50_000.0 + k * 100, one)
        time.sleep(0.02)
    live.wait(lambda: len(source.received) >= 28, what="frames of both kinds")
    kinds = [message.poses[0].root_relative for _, message in source.received]
    assert kinds == [True] * 16 + [False] * 12
    key = "people begun anew because root_relative changed"
    live.wait(lambda: counters(live).get(key) == "1", what="a count")
    key = "dropped: poses whose root_relative differed for a moment"
    live.wait(lambda: counters(live).get(key) == "1", what="a count")

    # A stream that just ends: what waited for its next keyframe comes out.
    source.received.clear()
    for k in range(2):
        source.publish(60_000.0 + k * 50, Person(place(0.0, 3) / 100, np.ones(JOINTS), 0.9))
    live.wait(lambda: len(source.received) == 1, what="the frame of the first pose")
    live.wait(lambda: "streams ended by silence" in counters(live), what="a count")


def test_live_weights_and_refusals(live: LiveGraph, tmp_path: Path) -> None:
    """R4: what cannot be used is said in one sentence; a network is used, and named."""
    import torch

    from radar_pose_ros.models import weights
    from radar_pose_ros.models.mixsynthformer import PRESETS, MixSynthFormer
    from radar_pose_ros.nodes.people import Person

    node = "pose_refiner"
    process = live.start(node, weights="radar_2d_nowhere")
    live.diagnostics()
    live.wait(lambda: node in live.diagnostics(), 40.0, "diagnostics")

    def refused(sentence: str) -> None:
        def failed() -> bool:
            status = live.diagnostics()[node]
            return status.level == b"\x02" and sentence in status.message

        live.wait(failed, what=sentence)
        assert live.state(node) == "unconfigured"

    refused("there are no weights 'radar_2d_nowhere'")
    assert live.set(node, "weights", "") == (True, "")
    for name, value, good, sentence in (
        ("keyframe_interval", 60, 3, "from keyframe to keyframe"),
    ):
        assert live.set(node, name, value) == (True, "")
        assert not live.change(node, "configure")
        refused(sentence)
        assert live.set(node, name, good) == (True, "")

    torch.manual_seed(0)
    network = MixSynthFormer(PRESETS["radar_2d_fast"])
    about = {"training_data": {"licence": "none"}, "git_revision": "0", "command": "test"}
    entry = weights.save(network, tmp_path, "radar_2d_fast", metrics={"split": "none"}, **about)
    assert live.set(node, "weights", str(tmp_path / entry["file"])) == (True, "")

    def trained_on(skeleton: str) -> None:
        poses = {"skeleton": skeleton, "unit": "px", "root_relative": False, "rate_hz": 25.0}
        text = json.dumps({"weights": [entry | {"poses": poses}]})
        (tmp_path / weights.MANIFEST).write_text(text)

    trained_on("lsp14")
    assert not live.change(node, "configure")
    refused("was trained on poses of lsp14 in px, and does not fit those asked for, of hupr14 in")
    trained_on("hupr14")
    for transition in ("configure", "activate"):
        assert live.change(node, transition)
    source = Source(live)
    source.publish(-500.0, image_width=640, image_height=480)
    reason = "image of another size than the network's"
    live.wait(lambda: any(reason in v.key for v in live.diagnostics()[node].values), what=reason)
    source.play([k * 100.0 for k in range(8)])
    live.wait(lambda: len(source.received) >= 22, what="all frames")
    assert source.stamps_ns() == grid(22)
    # Fresh weights are linear interpolation, in half precision's rounding.
    np.testing.assert_allclose(source.table()[0], place(np.arange(22) / 30), atol=0.2)
    named = f"mixsynthformer/radar_2d_fast@{entry['sha256'][:8]} of test/edge@0"
    assert source.received[0][1].model == named

    live.wait(
        lambda: (
            "frames are asked for at 30 Hz, but mixsynthformer/radar_2d_fast"
            in live.diagnostics()[node].message
        ),
        what="a warning",
    )

    # R5: a skeleton that nobody defined, infinity, no stamp, an origin that there is not, the same
    # instant twice, and the same person.
    origin = np.full(JOINTS, 3, np.uint8)
    source.publish(800.0, Person(place(0.8), np.ones(JOINTS), 1.0, origin=origin))
    source.publish(800.0, *[Person(place(0.8), np.ones(JOINTS), 1.0, 4)] * 2)
    infinite = Person(np.full((JOINTS, 2), np.inf), np.ones(JOINTS), 1.0)
    source.publish(800.0, skeleton="octopus8")
    source.publish(800.0, infinite)
    for absurd in (1e30, 5000.0):  # the one is refused, the other without that joint
        keypoints = place(0.8)
        keypoints[3] = absurd
        source.publish(800.0, Person(keypoints, np.ones(JOINTS), 1.0))
    source.publish(800.0, Person(np.full((JOINTS, 2), 100.0), np.ones(JOINTS), 1.0))
    source.publish(800.0, Person(100.0 + 0.1 * place(0.8), np.ones(JOINTS), 1.0))
    source.publish(800.0, Person(place(0.8), np.full(JOINTS, -1.0), 1.0))
    source.publish(0.0, jump_ns=-source.start_ns)
    source.publish(800.0)
    wanted = {
        "dropped: pose2d: skeleton not defined yet",
        "dropped: pose2d: pose with infinity",
        "dropped: pose2d: pose out of bounds",
        "dropped: pose2d: confidence outside 0..1",
        "dropped: joints far outside the image",
        "dropped: people whose joints lie on one point",
        "dropped: people too small for the network",
        "dropped: pose2d: time stamp not set",
        "dropped: pose2d: pose of unknown origin",
        "dropped: poses of the same instant",
        "dropped: people with the id of another one in the same message",
    }
    live.wait(lambda: wanted <= counters(live).keys(), what=f"{wanted}")

    # Half as many poses as it had keyframes are said, too.
    source.burst([2000.0 + 200 * k for k in range(6)])
    sentence = "poses come at 5 Hz, but mixsynthformer/radar_2d_fast"
    live.wait(lambda: sentence in live.diagnostics()[node].message, what=sentence)
    assert "Traceback" not in live.log(process)
