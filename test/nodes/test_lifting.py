"""Windows over a stream of people, by hand: which frames come when, and what they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.models.diffhpe import LiftingStoppedError
from radar_pose_ros.models.lifting import LiftedWindows
from radar_pose_ros.models.refiner import Origin
from radar_pose_ros.nodes.lifting import ImagePlane, PeopleLifter, Placing, camera_of, pace_warning
from radar_pose_ros.nodes.pacing import Allowance
from radar_pose_ros.nodes.people import Person
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.skeleton.placement import PELVIS_BEHIND_M, RIG_PLANE, Intrinsics
from radar_pose_ros.skeleton.projection import CAMERA_FRAME

NAN = math.nan
FRAMES = 9
STEP_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
JOINTS = len(H36M17.joints)


class Lift:
    """Takes the pixels for metres, with the depth 1, and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []

    def __call__(self, pixels: np.ndarray) -> LiftedWindows:
        self.given.append(pixels)
        poses = np.concatenate([np.nan_to_num(pixels), np.ones((*pixels.shape[:-1], 1))], axis=-1)
        return LiftedWindows(poses, np.broadcast_to(np.eye(3) * 4e-4, (*poses.shape, 3)))


def person(k: float, number: int = -1, confidence: float = 0.8) -> Person:
    """Return somebody all of whose joints are at (k, 2 k)."""
    keypoints = np.tile([float(k), 2.0 * k], (len(HUPR14.joints), 1))
    return Person(keypoints, np.full(len(keypoints), confidence), confidence, number)


def stream(lift: Lift, **changes: Any) -> PeopleLifter:
    settings = {"stride": 3, "wait": 3, "gap_s": 0.5} | changes
    return PeopleLifter(lift, FRAMES, HUPR14.name, **settings)


def stamp(k: float) -> int:
    return START_NS + round(k * STEP_NS)


def numbers(frames: list[Any]) -> list[int]:
    return [round((frame.stamp_ns - START_NS) / STEP_NS) for frame in frames]


def test_each_frame_comes_once_as_late_as_stated() -> None:
    """Stride 3, wait 3: a run whenever three frames more have three behind them."""
    lift = Lift()
    people = stream(lift)
    came: dict[int, list[int]] = {}
    for k in range(20):
        assert people.add(stamp(k), [person(k)], ["radar_v"] if k == 4 else []) == []
        if people.due:
            frames = people.run()
            came[k] = numbers(frames)
            for number, frame in zip(came[k], frames, strict=True):
                assert_close(frame.people[0].keypoints, np.tile([number, 2 * number, 1], (17, 1)))
                assert frame.missing_sources == (["radar_v"] if number == 4 else [])
    assert came == {5: [0, 1, 2], 8: [3, 4, 5], 11: [6, 7, 8], 14: [9, 10, 11], 17: [12, 13, 14]}
    assert people.period_ns == STEP_NS
    assert numbers(people.flush()) == [15, 16, 17, 18, 19]
    assert people.flush() == []
    assert not +people.counts
    # A young stream's window begins with its first frame again and again, a full one with its own.
    assert_close(lift.given[0][0, :, 0, 0], [0, 0, 0, 0, 1, 2, 3, 4, 5])
    assert_close(lift.given[1][0, :, 0, 0], np.arange(9.0))
    assert_close(lift.given[2][0, :, 0, 0], np.arange(9.0) + 3)


def test_a_slow_network_gives_more_at_once_and_loses_only_what_the_window_lost() -> None:
    lift = Lift()
    people = stream(lift)
    for k in range(12):  # two runs are missed; frames 0 to 2 leave the window unseen
        people.add(stamp(k), [person(k)])
    assert numbers(people.run()) == [3, 4, 5, 6, 7, 8]
    assert +people.counts == {"lost": 3, "skipped_runs": 1}
    assert not people.due
    for k in range(12, 15):
        people.add(stamp(k), [person(k)])
    assert people.due
    assert numbers(people.run()) == [9, 10, 11]
    assert len(lift.given) == 2


@pytest.mark.parametrize(("step", "restarts"), [(6.0, 1), (-1.0, 1), (0.0, 0), (4.0, 0)])
def test_gaps_and_jumps_end_a_stream(step: float, restarts: int) -> None:
    """0.5 s are the limit, backwards is none; the same stamp is nothing new."""
    lift = Lift()
    people = stream(lift)
    for k in range(5):
        people.add(stamp(k), [person(k)])
    ended = people.add(stamp(4 + step), [person(40)])
    assert numbers(ended) == ([0, 1, 2, 3, 4] if restarts else [])
    assert people.counts["restarts"] == restarts
    assert people.counts["repeats"] == (step == 0)
    if restarts:
        assert_close(lift.given[0][0, :, 0, 0], [0, 0, 0, 0, 0, 1, 2, 3, 4])
        assert numbers(people.flush()) == [round(4 + step)]
        assert_close(lift.given[1][0, :, 0, 0], np.full(9, 40.0))  # nothing from before


def test_frames_that_did_not_come_are_empty_and_are_not_given() -> None:
    lift = Lift()
    people = stream(lift)
    for k in (0, 1, 2, 3, 4, 7, 8):
        people.add(stamp(k + 0.02 * (k % 2)), [person(k)])
    assert numbers(people.run()) == [0, 1, 2, 3, 4]
    assert_close(lift.given[0][0, :, 0, 0], [0, 1, 2, 3, 4, NAN, NAN, 7, 8])
    assert people.add(stamp(9), []) == []  # and who is gone is not invented
    frames = people.flush()
    assert numbers(frames) == [7, 8, 9]
    assert [len(frame.people) for frame in frames] == [1, 1, 0]
    assert_close(lift.given[1][0, -3:, 0, 0], [7, 8, 8])


def test_joints_say_where_they_come_from() -> None:
    """A knee away for two frames, a wrist that goes, an ankle that comes, an elbow never seen."""
    lift = Lift()
    people = stream(lift)
    knee, wrist, elbow = (HUPR14.index(f"left_{name}") for name in ("knee", "wrist", "elbow"))
    ankle = HUPR14.index("left_ankle")
    for k in range(6):
        one = person(k, number=7)
        one.joint_confidence[:] = 0.4 + 0.1 * k
        if k in (2, 3):
            one.keypoints[knee] = NAN
            one.joint_confidence[knee] = 0.05
        if k > 3:
            one.keypoints[wrist] = NAN
        if k < 2:
            one.keypoints[ankle] = NAN
            one.joint_confidence[ankle] = 0.05
        one.keypoints[elbow] = NAN
        one.joint_confidence[elbow] = 0.0
        one.joint_confidence[HUPR14.index("head")] = 0.9
        people.add(stamp(k), [one])
    frames = people.flush()
    found = [frame.people[0] for frame in frames]
    assert {(p.number, p.root_relative, p.confidence) for p in found} == {(7, True, 0.8)}
    knee, wrist, elbow = (H36M17.index(f"left_{name}") for name in ("knee", "wrist", "elbow"))
    ankle = H36M17.index("left_ankle")
    origin = np.array([p.origin for p in found])
    away = [Origin.OBSERVED] * 2 + [Origin.INTERPOLATED] * 2 + [Origin.OBSERVED] * 2
    assert origin[:, knee].tolist() == away
    assert origin[:, wrist].tolist() == [Origin.OBSERVED] * 4 + [Origin.PREDICTED] * 2
    confidence = np.array([p.joint_confidence for p in found])
    assert_close(confidence[:, knee], 0.4 + 0.1 * np.arange(6))  # straight from 0.5 to 0.8
    assert_close(confidence[:4, wrist], 0.4 + 0.1 * np.arange(4))
    assert_close(confidence[4, wrist] / 0.7, 0.5 ** (0.1 / 0.25))
    assert origin[:, ankle].tolist() == [Origin.PREDICTED] * 2 + [Origin.OBSERVED] * 4
    assert_close(confidence[:2, ankle] / 0.6, 0.5 ** (np.array([0.2, 0.1]) / 0.25))
    assert_close(confidence[2:, ankle], 0.4 + 0.1 * np.arange(2, 6))
    assert_close(confidence[:, elbow], np.zeros(6))
    nose = H36M17.index("nose")  # half neck, half head: as sure as the less sure one
    assert_close(confidence[:, nose], [0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert all(np.isnan(p.keypoints[elbow]).all() for p in found)
    assert all(np.isnan(p.covariance[elbow]).all() for p in found if p.covariance is not None)
    assert np.isfinite(np.array([np.delete(p.keypoints, elbow, 0) for p in found])).all()


def test_an_origin_of_before_is_kept() -> None:
    """What a refiner has interpolated, the lifter has not observed."""
    people = stream(Lift())
    one = person(1)
    origin = np.zeros(len(HUPR14.joints), np.uint8)
    origin[HUPR14.index("left_hip")] = Origin.INTERPOLATED
    people.add(stamp(0), [Person(one.keypoints, one.joint_confidence, 0.5, origin=origin)])
    (frame,) = people.flush()
    found = frame.people[0].origin
    assert found is not None
    names = [name for name, kind in zip(H36M17.joints, found, strict=True) if kind]
    assert names == ["pelvis", "left_hip", "spine"]  # what is made of it, too


def test_falling_stamps_cost_no_more_runs_than_others() -> None:
    """300 poses in 10 s, each older than the last: 4 runs in a row, then 2 a second.

    Without a limit there are 299. What is not lifted is counted.
    """
    lift, allowance, now_s = Lift(), Allowance(2.0, 4), 0.0
    people = stream(lift, may_end=lambda: allowance.take(now_s))
    lifted = 0
    for k in range(300):
        now_s = k / 30
        lifted += len(people.add(stamp(1000 - k), [person(k)]))
        assert not people.due
    assert lifted == len(lift.given) == 23  # 4 at once, and one each half second until 9.97 s
    assert +people.counts == {"restarts": 299, "hurried": 299 - 23}
    assert people.waiting == 1


def test_the_surest_are_lifted_and_the_others_counted() -> None:
    lift = Lift()
    people = stream(lift, most_people=2)
    for k in range(6):
        crowd = [person(k, 1, 0.5), person(k + 100, 2, 0.9), person(k + 200, 3, 0.7)]
        people.add(stamp(k), crowd)
    frames = people.run()
    assert [[p.number for p in frame.people] for frame in frames] == [[2, 3]] * 3
    assert lift.given[0].shape == (2, FRAMES, JOINTS, 2)
    assert people.counts["left_out"] == 3


def test_somebody_of_unstated_confidence_is_lifted_last() -> None:
    people = stream(Lift(), most_people=1)
    for k in range(6):
        people.add(stamp(k), [person(k, 1, math.nan), person(k + 100, 2, 0.1)])
    assert [[p.number for p in frame.people] for frame in people.run()] == [[2]] * 3
    people = stream(Lift(), most_people=1)  # and is lifted
    for k in range(6):
        people.add(stamp(k), [person(k, 1, math.nan)])
    assert [[p.number for p in frame.people] for frame in people.run()] == [[1]] * 3


def test_two_people_with_one_number_are_counted() -> None:
    people = stream(Lift(), most_people=2)
    for k in range(6):
        people.add(stamp(k), [person(k, 1), person(k + 100, 1)])
    frames = people.run()
    assert [[p.number for p in frame.people] for frame in frames] == [[1]] * 3
    assert_close(frames[2].people[0].keypoints[0], [2, 4, 1])  # the first of them
    assert +people.counts == {"doubles": 6}


def test_what_waits_is_known() -> None:
    """Without the frames that did not come; a message without people is one."""
    people = stream(Lift())
    assert people.waiting == 0
    for k in (0, 1, 2, 3, 4, 6):
        people.add(stamp(k), [person(k)] if k else [])
    assert people.waiting == 6
    assert numbers(people.run()) == [0, 1, 2, 3]
    assert people.waiting == 2
    people.flush()
    assert people.waiting == 0


@pytest.mark.parametrize(
    ("rate_hz", "trained_hz", "warns"),
    [(30.0, 30.0, False), (37.4, 30.0, False), (37.6, 30.0, True), (22.6, 30.0, False)]
    + [(22.4, 30.0, True), (10.0, 0.0, False), (10.0, 50.0, True)],
)
def test_a_pace_that_the_network_does_not_know(
    rate_hz: float, trained_hz: float, warns: bool
) -> None:
    """A quarter faster or slower is the limit; of weights that say nothing nothing is known."""
    warning = pace_warning(round(1e9 / rate_hz), trained_hz)
    assert bool(warning) == warns
    if warns:
        assert f"at {rate_hz:g} Hz, but the network was trained at {trained_hz:g} Hz" in warning
    assert pace_warning(None, trained_hz) == ""


def test_people_are_placed_where_the_camera_saw_them() -> None:
    """The shape is half a metre wide in a plane; its pixels say it is at 2.5 m."""
    rng = np.random.default_rng(5)
    shape = np.concatenate([rng.uniform(-0.5, 0.5, (JOINTS, 2)), np.zeros((JOINTS, 1))], axis=1)
    shape[H36M17.root] = 0.0
    root = np.array([0.2, -0.1, 2.5])

    def lift(pixels: np.ndarray) -> LiftedWindows:
        poses = np.broadcast_to(shape, (*pixels.shape[:-1], 3))
        return LiftedWindows(poses, np.broadcast_to(np.eye(3) * 4e-4, (*poses.shape, 3)))

    pixels = 200.0 * (shape + root)[:, :2] / root[2] + 128.0
    keypoints = np.full((len(HUPR14.joints), 2), 128.0)
    for place, name in enumerate(HUPR14.joints):
        keypoints[place] = pixels[H36M17.index("thorax" if name == "neck" else name)]
    seen = Person(keypoints, np.full(len(keypoints), 0.9), 0.9)
    people = PeopleLifter(lift, FRAMES, HUPR14.name, stride=1, wait=0, gap_s=1.0)
    people.add(stamp(0), [seen])
    (frame,) = people.run(Placing(RIG_PLANE))
    (found,) = frame.people
    assert not found.root_relative
    # in the made joints the mapping is not the shape, and they must not matter
    np.testing.assert_allclose(found.keypoints, shape + root, atol=1e-6)
    assert found.covariance is not None
    assert np.linalg.eigvalsh(found.covariance).min() >= 4e-4 - 1e-9
    added = found.covariance - np.eye(3) * 4e-4  # the same for all joints: that of the root
    assert_close(added, np.broadcast_to(added[0], added.shape))
    assert added[0, 2, 2] > (0.055 * 2.5) ** 2

    few = keypoints.copy()
    few[3:] = NAN
    people.add(stamp(1), [Person(few, np.full(len(few), 0.9), 0.9)])
    (frame,) = people.run(Placing(RIG_PLANE))
    assert frame.people[0].root_relative
    people.add(stamp(2), [seen])
    (frame,) = people.run()  # no camera
    assert frame.people[0].root_relative


def test_the_radars_say_how_far_away_people_are() -> None:
    """In the direction of the image; where they are silent, by size, and that is counted."""
    rng = np.random.default_rng(6)
    shape = rng.uniform(-0.5, 0.5, (JOINTS, 3))
    shape[H36M17.root] = 0.0
    root = np.array([0.2, -0.1, 2.5])
    pixels = 200.0 * (shape + root)[:, :2] / (shape + root)[:, 2:] + 128.0
    names = ["thorax" if name == "neck" else name for name in HUPR14.joints]
    keypoints = pixels[[H36M17.index(name) for name in names]]
    asked: list[tuple[int, np.ndarray]] = []

    def lift(pixels: np.ndarray) -> LiftedWindows:
        poses = np.broadcast_to(shape, (*pixels.shape[:-1], 3))
        return LiftedWindows(poses, np.zeros((*poses.shape, 3)))

    def range_at(stamp_ns: int, direction: np.ndarray) -> float | None:
        asked.append((stamp_ns, direction))
        return {0: 2.6, 1: None, 2: 9.0}[len(asked) - 1]

    people = PeopleLifter(lift, FRAMES, HUPR14.name, stride=3, wait=0, gap_s=1.0)
    for k in range(3):
        people.add(stamp(k), [Person(keypoints, np.full(len(keypoints), 0.9), 0.9)])
    frames = people.run(Placing(RIG_PLANE, range_at=range_at))
    found = [frame.people[0].keypoints[H36M17.root] for frame in frames]
    towards = root / np.linalg.norm(root)
    np.testing.assert_allclose(found[0], (2.6 + PELVIS_BEHIND_M) * towards, atol=1e-6)
    for place in found[1:]:  # nothing there, and something that is four times as far away
        np.testing.assert_allclose(place, root, atol=1e-6)
    assert +people.counts == {"without_range": 2}
    assert [stamp_ns for stamp_ns, _ in asked] == [stamp(0), stamp(1), stamp(2)]
    np.testing.assert_allclose(asked[0][1], root, atol=1e-6)


def test_what_was_not_lifted_still_waits() -> None:
    """A run that is given up leaves its frames to the next one, or to be counted."""

    def give_up(pixels: np.ndarray) -> LiftedWindows:
        raise LiftingStoppedError

    people = PeopleLifter(give_up, FRAMES, HUPR14.name, stride=3, wait=3, gap_s=0.5)
    for k in range(6):
        people.add(stamp(k), [person(k)])
    with pytest.raises(LiftingStoppedError):
        people.run()
    assert (people.waiting, people.due) == (6, True)


def test_the_rig_s_plane_is_known_and_others_are_told() -> None:
    image = ImagePlane("hupr14", CAMERA_FRAME, (256, 256), "")
    assert camera_of(image, {}) == RIG_PLANE
    assert camera_of(image._replace(size_px=(512, 512)), {}) is None
    assert camera_of(image._replace(frame_id="other"), {}) is None
    other = Intrinsics((300.0, 300.0), (160.0, 120.0), (320, 240))
    told = {"other": other, CAMERA_FRAME: other}
    assert camera_of(ImagePlane("hupr14", "other", (320, 240), ""), told) == other
    assert camera_of(image, told) is None  # the message wins, and is of another size


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="9 together at most, got 7 and 3"):
        stream(Lift(), stride=7)
    with pytest.raises(ValueError, match=r"stride must be a whole number, 1 or more, got 1\.5"):
        stream(Lift(), stride=1.5)
    with pytest.raises(ValueError, match="no mapping from jhmdb15"):
        PeopleLifter(Lift(), FRAMES, "jhmdb15", stride=1, wait=0, gap_s=1.0)
