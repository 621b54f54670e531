"""Refined people on one grid of frames, against motions whose answer is known on paper."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros.models import weights
from radar_pose_ros.models.interpolation import METHODS
from radar_pose_ros.models.mixsynthformer import PRESETS, MixSynthFormer
from radar_pose_ros.models.refiner import Origin
from radar_pose_ros.nodes import parameters
from radar_pose_ros.nodes.people import HALF_LIFE_S, Person, without_points
from radar_pose_ros.nodes.refining import (
    KINDS,
    NamedModel,
    PeopleRefiner,
    RefinedFrame,
    interpolation,
    load_network,
    refiner_factory,
)
from radar_pose_ros.skeleton.definitions import HUPR14

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
JOINTS = 4


def subject(
    predict: bool = False, blend: int = 1, segments: int = 2, gap_s: float = 0.5
) -> PeopleRefiner:
    model = interpolation("linear", 3, segments, predict).model
    make = refiner_factory(model, 2, 30.0, blend, gap_s)
    return PeopleRefiner(partial(make, JOINTS), gap_s)


def place(stamp_ns: int, who: int = 0) -> np.ndarray:
    """Return where a person's joints are, (joints, 2): they move at constant velocities."""
    velocity = np.array([[30.0 + 10 * k, -20.0 * k] for k in range(JOINTS)])
    return 100.0 * who + 50.0 + velocity * ((stamp_ns - START_NS) / 1e9)


def seen(stamp_ns: int, who: int = 0, confidence: float = 0.8) -> Person:
    return Person(place(stamp_ns, who), np.full(JOINTS, confidence), confidence, who)


def stamps(count: int, first_ns: int = START_NS) -> list[int]:
    return [first_ns + k * 100 * MS for k in range(count)]


def assert_even(frames: list[RefinedFrame], first_ns: int) -> None:
    steps = [round(k * 1e9 / 30) for k in range(len(frames))]
    assert [frame.stamp_ns - first_ns for frame in frames] == steps


def assert_on_the_line(frames: list[RefinedFrame], who: int = 0) -> None:
    for frame in frames:
        (person,) = (p for p in frame.people if p.number == who)
        np.testing.assert_allclose(person.keypoints, place(frame.stamp_ns, who), atol=1e-5)


def test_frames_lie_on_an_even_grid_and_on_the_line() -> None:
    """At irregular times; each frame once, in order, from the first pose on."""
    rng = np.random.default_rng(0)
    times = [START_NS + k * 100 * MS + int(rng.uniform(0, 40) * MS) for k in range(20)]
    times[0] = START_NS
    refiner = subject()
    frames = [frame for at in times for frame in refiner.push(at, [seen(at)])]
    frames += refiner.flush()
    assert len(frames) > 3 * 18
    assert_even(frames, times[0])
    assert_on_the_line(frames)
    assert not +refiner.counts


def test_confidence_and_origin_of_each_joint() -> None:
    """A joint is away for two poses: predicted while it is, interpolated once it is back."""
    refiner = subject()
    frames = []
    for k, at in enumerate(stamps(9)):
        person = seen(at, confidence=0.5 + 0.05 * k)
        if k in (4, 5):
            person.keypoints[2] = np.nan
            person.joint_confidence[2] = 0.02
        frames += refiner.push(at, [person])
    table = np.array([frame.people[0].joint_confidence for frame in frames])
    origin = np.array([frame.people[0].origin for frame in frames])
    numbers = np.arange(len(frames))
    assert_close(table[:, 0], 0.5 + 0.05 * numbers / 3)
    assert_close([f.people[0].confidence for f in frames], 0.5 + 0.05 * numbers / 3)
    np.testing.assert_array_equal(origin[:, 0], np.where(numbers % 3, 1, 0))
    away = np.arange(10, 16)  # final with the poses without it: predicted, at 0.65 and falling
    assert (origin[away, 2] == Origin.PREDICTED).all()
    assert_close(table[away, 2], 0.65 * 0.5 ** ((away - 9) / 30 / HALF_LIFE_S))
    back = np.arange(16, 18)  # between the sightings of frame 9 and frame 18
    assert (origin[back, 2] == Origin.INTERPOLATED).all()
    assert_close(table[back, 2], 0.65 + (back - 9) / 9 * 0.15)
    assert_on_the_line(frames[16:])


def test_who_is_a_point_is_not_seen() -> None:
    """Of nobody no body comes out, and somebody who is one for a moment stays on the line."""
    point = Person(np.full((JOINTS, 2), 70.0) + [[0], [1], [0], [2]], np.ones(JOINTS), 0.9)
    refiner, frames = subject(), []
    for at in stamps(5):
        people, points = without_points([point])
        assert points == 1
        frames += refiner.push(at, people)
    assert frames and not any(frame.people for frame in frames)
    refiner, frames, counted = subject(), [], 0
    for k, at in enumerate(stamps(9, START_NS + 1000 * MS)):  # all begin in one place
        people, points = without_points([replace(point, number=0) if k == 4 else seen(at)])
        counted += points
        frames += refiner.push(at, people)
    frames += refiner.flush()
    assert counted == 1
    origin = np.array([frame.people[0].origin for frame in frames])
    assert (origin[13:15] == Origin.INTERPOLATED).all()
    assert_on_the_line([f for f in frames if (f.people[0].origin != Origin.PREDICTED).all()])


def test_an_unknown_joint_is_nan_without_confidence() -> None:
    refiner = subject()
    frames = []
    for at in stamps(5):
        person = seen(at)
        person.keypoints[1] = np.nan
        frames += refiner.push(at, [person])
    assert frames
    for frame in frames:
        (person,) = frame.people
        assert np.isnan(person.keypoints[1]).all()
        assert person.joint_confidence[1] == 0.0
        assert person.origin is not None and person.origin[1] == Origin.OBSERVED


def test_people_keep_their_numbers_and_share_the_frames() -> None:
    """The second comes 43 ms after the third pose of the first, and leaves again."""
    refiner = subject()
    times = sorted([*stamps(20), START_NS + 343 * MS])
    frames = []
    for at in times:
        there = [seen(at)] + ([seen(at, 1)] if 343 * MS <= at - START_NS <= 900 * MS else [])
        frames += refiner.push(at, there)
    assert_even(frames, START_NS)
    assert_on_the_line(frames)
    numbers = {frame.stamp_ns: [p.number for p in frame.people] for frame in frames}
    with_both = [at - START_NS for at, people in numbers.items() if people == [0, 1]]
    assert all(people in ([0], [0, 1]) for people in numbers.values())
    assert 343 * MS < min(with_both) < 600 * MS  # once a window is full
    assert 1300 * MS < max(with_both) <= 1434 * MS  # held for the gap of half a second
    # From the second keyframe on; of the one after 900 ms nothing is known but that.
    late = [f for f in frames if 433 * MS < f.stamp_ns - START_NS < 834 * MS and len(f.people) > 1]
    assert len(late) > 8
    assert_on_the_line(late, 1)


def test_nobody_is_an_empty_frame_and_the_next_person_begins_anew() -> None:
    """Frames go on at the same rate without anybody; who was away too long is forgotten."""
    refiner = subject()
    nobody, first, empty, second = stamps(31)[:5], stamps(31)[5:12], stamps(31)[12:22], 2217 * MS
    frames = [f for at in nobody for f in refiner.push(at, [])]
    assert_even(frames, START_NS)
    assert len(frames) == 13 and not any(frame.people for frame in frames)
    more = [f for at in first for f in refiner.push(at, [seen(at)])]
    more += [f for at in empty for f in refiner.push(at, [])]
    filled = [f for f in more if f.stamp_ns < first[0]]
    assert [f.stamp_ns - START_NS for f in filled] == [433_333_333, 466_666_667]
    rest = more[2:]
    assert_even(rest, first[0])
    there = [f.stamp_ns - first[0] for f in rest if f.people]
    assert there == [round(k * 1e9 / 30) for k in range(34)]  # 0.6 s, and half a second held
    assert_on_the_line(rest[:19])
    assert rest[-1].stamp_ns == empty[-1]
    again = [START_NS + second + k * 100 * MS for k in range(8)]
    last = [f for at in again for f in refiner.push(at, [seen(at)])]
    there = [f for f in last if f.people]
    assert_even(there, again[0])
    assert_on_the_line(there)
    assert not +refiner.counts


@pytest.mark.parametrize("jump_ms", [-3_600_000, -50, 800, 3_600_000])
def test_a_jump_flushes_and_begins_anew(jump_ms: int) -> None:
    refiner = subject(blend=2)
    before = stamps(10)
    frames = [f for at in before for f in refiner.push(at, [seen(at)])]
    assert len(frames) == 25  # those up to the last keyframe but one, and no more
    after = stamps(10, before[-1] + jump_ms * MS)
    old, new = [], []
    for at in after:
        for frame in refiner.push(at, [seen(at)]):
            (old if len(frames) + len(old) < 28 else new).append(frame)
    assert +refiner.counts == {"restarts": 1}
    assert_even(frames + old, START_NS)
    assert_even(new, after[0])
    assert_on_the_line(frames + old + new)


def test_the_same_stamp_twice_counts_once() -> None:
    refiner = subject()
    frames = []
    for at in stamps(6):
        frames += refiner.push(at, [seen(at)])
        frames += refiner.push(at, [seen(at + MS)])
    assert +refiner.counts == {"repeats": 6}
    assert_even(frames, START_NS)
    assert_on_the_line(frames)


def test_missing_sources_are_those_of_the_messages_around() -> None:
    refiner = subject(segments=1)
    lacking = [[], ["radar_v"], [], [], ["radar_h", "radar_v"], []]
    frames = []
    for at, sources in zip(stamps(6), lacking, strict=True):
        frames += refiner.push(at, [seen(at)], sources)
    one, both = ["radar_v"], ["radar_h", "radar_v"]
    expected = [[], one, one, one, one, one, [], [], [], [], both, both, both, both, both, []]
    assert [frame.missing_sources for frame in frames] == expected


def test_latency_without_prediction() -> None:
    """A frame is final with the keyframe after it, or one later with two windows."""
    for blend, behind in ((1, 0), (2, 3)):
        refiner = subject(blend=blend)
        for k, at in enumerate(stamps(8)):
            frames = refiner.push(at, [seen(at)])
            if k >= 3:
                newest = round((frames[-1].stamp_ns - START_NS) * 30 / 1e9)
                assert (newest, len(frames)) == (3 * k - behind, 3)


def test_prediction_leaves_no_latency() -> None:
    """Each frame when it is due, once; a constant velocity goes on for a keyframe interval."""
    refiner = subject(predict=True)
    frames = []
    for at in stamps(12):
        given = refiner.push(at, [seen(at)])
        for wait_ms in (0, 34, 67):
            given += refiner.ahead(at + wait_ms * MS)
            frames += given
            if at - START_NS >= 300 * MS:
                assert len(given) == 1
                assert 0 <= at + wait_ms * MS - given[0].stamp_ns < MS
            given = []
    assert_even(frames, START_NS)
    assert_on_the_line(frames)
    origin = np.array([frame.people[0].origin for frame in frames])
    kinds = np.array([Origin.OBSERVED, Origin.PREDICTED, Origin.PREDICTED])
    np.testing.assert_array_equal(origin[12:, 0], np.tile(kinds, 20)[: len(origin) - 12])
    confidence = np.array([frame.people[0].joint_confidence[0] for frame in frames])
    decay = 0.5 ** (np.arange(3) / 30 / HALF_LIFE_S)
    assert_close(confidence[12:], np.tile(0.8 * decay, 20)[: len(confidence) - 12])
    assert refiner.ahead(stamps(12)[-1] + 9_000 * MS)[-1].stamp_ns - stamps(12)[-1] == 100 * MS


def test_prediction_from_poses_between_keyframes_is_one() -> None:
    """At 30 Hz two of three poses are beyond the last keyframe: it is from there that it falls."""
    refiner = subject(predict=True)
    frames = []
    for k in range(30):
        at = START_NS + round(k * 1e9 / 30)
        frames += refiner.push(at, [seen(at)]) + refiner.ahead(at + MS)
    assert_even(frames, START_NS)
    assert len(frames) == 30
    steady = frames[7:]
    beyond = np.arange(7, 30) % 3
    origin = np.array([frame.people[0].origin for frame in steady])
    expected = np.where(beyond, Origin.PREDICTED, Origin.OBSERVED)
    np.testing.assert_array_equal(origin, np.repeat(expected[:, None], JOINTS, axis=1))
    falling = 0.8 * 0.5 ** (beyond / 30 / HALF_LIFE_S)
    assert_close([frame.people[0].joint_confidence[0] for frame in steady], falling)
    assert_close([frame.people[0].confidence for frame in steady], falling)


def test_poses_between_keyframes_are_not_what_frames_are_made_of() -> None:
    """At 30 Hz, sure of what lies between two keyframes only: nobody is surer of the line."""
    refiner = subject(segments=1)
    frames = []
    for k in range(19):
        at = START_NS + round(k * 1e9 / 30)
        frames += refiner.push(at, [seen(at, confidence=0.9 if k % 3 else 0.2 + 0.01 * k)])
    numbers = np.arange(19)
    assert_close([f.people[0].joint_confidence[0] for f in frames], 0.2 + 0.01 * numbers)
    origin = [int(frame.people[0].origin[0]) for frame in frames]  # type: ignore[index]
    assert origin == np.where(numbers % 3, Origin.INTERPOLATED, Origin.OBSERVED).tolist()


@pytest.mark.parametrize("poses", range(2, 22))
def test_somebody_may_leave_while_they_are_predicted(poses: int) -> None:
    """At whatever place of the grid: the last frames come, then there is nobody."""
    refiner = subject(predict=True)
    frames = []
    for number, at in enumerate(stamps(poses + 16)):
        frames += refiner.push(at, [seen(at)] if number < poses else [])
        for wait_ms in (34, 67):
            frames += refiner.ahead(at + wait_ms * MS)
    assert_even(frames, START_NS)
    assert frames[0].people and not frames[-1].people


def test_prediction_waits_for_a_late_pose_and_catches_up() -> None:
    """Three frames beyond the last keyframe and no more; then those that were due, in order."""
    refiner = subject(predict=True)
    frames = []
    for at in stamps(6):
        frames += refiner.push(at, [seen(at)]) + refiner.ahead(at)
    last = stamps(6)[-1]
    frames += refiner.ahead(last + 300 * MS)
    assert frames[-1].stamp_ns == last + 100 * MS
    assert refiner.ahead(last + 400 * MS) == []
    assert refiner.next_ns == last + 133_333_333
    late = last + 300 * MS
    frames += refiner.push(late, [seen(late)]) + refiner.ahead(late + 50 * MS)
    assert_even(frames, START_NS)
    assert_on_the_line(frames)
    assert frames[-1].stamp_ns == late + 33_333_333


def test_choices_are_methods_of_interpolation() -> None:
    """Not those that filter: their settings have units, px or m."""
    choices = parameters.load("pose_refiner")["method"].choices
    assert set(choices) == set(METHODS) - {"one_euro", "savgol"}
    for method in choices:
        frames = interpolation(method, 3, 4, False).model.refine(np.zeros((5, JOINTS, 2)))
        assert frames.shape == (13, JOINTS, 2)


@pytest.mark.parametrize(("method", "least"), [("nearest", 1), ("quadratic", 2), ("cubic", 3)])
def test_a_curve_wants_keyframes_enough(method: str, least: int) -> None:
    """Or it would be a straight line by the name of a curve."""
    interpolation(method, 3, least, False)
    if least > 1:
        with pytest.raises(ValueError, match=f"{method} needs a window of {least} or more, got"):
            interpolation(method, 3, least - 1, False)


def test_the_gap_is_named_as_it_was_given() -> None:
    model = interpolation("linear", 3, 1, False).model
    refiner_factory(model, 2, 10.0, 1, 0.3)
    with pytest.raises(ValueError, match=r"max_gap_s must be at least the 0\.3 s .*, got 0\.1$"):
        refiner_factory(model, 2, 10.0, 1, 0.1)


# -- poses that are relative to the root, or placed ------------------------------------------


def test_placed_and_relative_poses_are_never_mixed() -> None:
    """Somebody alone is placed from 500 ms on, for longer than the gap of half a second."""
    refiner = subject()
    frames = []
    for k, at in enumerate(stamps(15)):
        frames += refiner.push(at, [replace(seen(at, k >= 5), number=0, root_relative=k < 5)])
    frames += refiner.flush()
    assert +refiner.counts == {"moved": 1}
    assert_even(frames, START_NS)
    assert len(frames) == 43
    # 0.9 s after the start it has lasted 0.5 s; what was given until then was held, and fell
    for number, frame in enumerate(frames):
        (person,) = frame.people
        assert person.origin is not None
        assert person.root_relative == (number < 28)
        if number <= 12 or number >= 28:
            expected = place(frame.stamp_ns, int(number >= 28))
            assert (person.origin < Origin.PREDICTED).all()
            assert person.confidence == pytest.approx(0.8)
        else:
            expected = place(START_NS + 400 * MS)
            assert (person.origin == Origin.PREDICTED).all()
            halvings = (number - 12) / 30 / HALF_LIFE_S
            assert person.confidence == pytest.approx(0.8 * 0.5**halvings)
        np.testing.assert_allclose(person.keypoints, expected, atol=1e-5)


@pytest.mark.parametrize("flips", [(10,), (10, 11, 12), (10, 13)])
def test_poses_of_the_other_kind_for_a_moment_are_not_seen(flips: tuple[int, ...]) -> None:
    """Frames go on as often as ever; what was final is held, and what was not is on the line."""
    refiner = subject(blend=2, segments=4)
    frames, came = [], []
    for k, at in enumerate(stamps(20)):
        pose = seen(at)
        if k in flips:
            pose = replace(seen(at, 7), number=0, root_relative=True)
        given = refiner.push(at, [pose])
        frames += given
        came.append(len(given))
    assert +refiner.counts == {"others": len(flips)}
    assert came[:4] == [0] * 4 and came[5:] == [3] * 15
    assert_even(frames, START_NS)
    held = set()
    for number, frame in enumerate(frames):
        (person,) = frame.people
        assert person.origin is not None and not person.root_relative
        if (person.origin == Origin.PREDICTED).all():
            held.add(number)
            assert person.confidence < 0.8
            continue
        np.testing.assert_allclose(person.keypoints, place(frame.stamp_ns), atol=1e-5)
        seen_now = number % 3 == 0 and number // 3 not in flips
        expected = Origin.OBSERVED if seen_now else Origin.INTERPOLATED
        assert (person.origin == expected).all()
    # two windows: what waits for fewer than two more poses is told anew when they are back
    assert held == (set(range(28, 34)) if len(flips) == 3 else set())


def test_others_go_on_when_somebody_is_placed() -> None:
    refiner = subject(predict=True)
    frames = []
    for k, at in enumerate(stamps(18)):
        frames += refiner.push(at, [seen(at), replace(seen(at, 1), root_relative=k < 6)])
        frames += refiner.ahead(at + 50 * MS)
    frames += refiner.flush()
    assert +refiner.counts == {"moved": 1}
    assert_even(frames, START_NS)
    assert_on_the_line(frames)
    for number, frame in enumerate(frames):
        kinds = [person.root_relative for person in frame.people if person.number == 1]
        assert kinds == [number < 32]  # those that were given until 1.1 s: it lasts for 0.5 s then
        assert len(frame.people) == 2
    assert_on_the_line(frames[32:], 1)


def test_both_kinds_after_a_long_change_stay_apart() -> None:
    """Placed poses for half a second, and a relative one right when those begin a track."""
    refiner = subject()
    frames = []
    for k, at in enumerate(stamps(20)):
        placed = 5 <= k < 10 or k > 10
        frames += refiner.push(at, [replace(seen(at, placed), number=0, root_relative=not placed)])
    frames += refiner.flush()
    assert +refiner.counts == {"moved": 1, "others": 1}
    assert_even(frames, START_NS)
    for frame in frames:
        (person,) = frame.people
        if person.origin is not None and (person.origin < Origin.PREDICTED).all():
            expected = place(frame.stamp_ns, not person.root_relative)
            np.testing.assert_allclose(person.keypoints, expected, atol=1e-5)


def test_each_frame_comes_once_however_often_somebody_is_placed() -> None:
    """Poses 5 ms apart, and every one of another kind than the last: those of one are taken."""
    refiner = subject()
    frames = []
    for k in range(200):
        at = START_NS + k * 5 * MS
        frames += refiner.push(at, [replace(seen(at), root_relative=bool(k % 2))])
    frames += refiner.flush()
    assert +refiner.counts == {"others": 100}
    assert_even(frames, START_NS)
    for frame in frames:
        (person,) = frame.people
        assert not person.root_relative
        off = np.abs(person.keypoints - place(frame.stamp_ns)).max()
        # what is half a frame before a point of the grid stands for it, here that 5 ms before
        assert off < 60.0 * (0.5 / 30 + 0.005)
    assert len(refiner._waiting) == 0


@pytest.mark.parametrize(("first_ms", "come_ms", "given"), [(680, 699, 21), (640, 720, 22)])
def test_who_comes_when_later_frames_were_given_stays_on_their_grid(
    first_ms: int, come_ms: int, given: int
) -> None:
    """Seen until 300 ms and predicted until the next person's first pose, which comes late."""
    refiner = subject(predict=True, gap_s=0.3)
    frames = []
    for k, at in enumerate(stamps(7)):
        frames += refiner.push(at, [seen(at)] if k <= 3 else [])
    frames += refiner.ahead(START_NS + come_ms * MS)
    assert len(frames) == given and frames[-1].people
    for at in stamps(6, START_NS + first_ms * MS):
        frames += refiner.push(at, [seen(at, 1)])
        frames += refiner.ahead(at + (come_ms - first_ms) * MS)
    assert_even(frames, START_NS)
    there = [frame for frame in frames if [person.number for person in frame.people] == [1]]
    assert there == frames[given:]
    for frame in there:  # the first pose is taken for that of the nearest frame
        off = np.abs(frame.people[0].keypoints - place(frame.stamp_ns, 1)).max()
        assert off < 60.0 * 0.5 / 30


@pytest.mark.parametrize("seed", range(8))
def test_frames_are_in_order_and_nobody_is_in_one_twice(seed: int) -> None:
    """Three people who come, go, and are placed or not, for short and long; poses that jitter."""
    rng = np.random.default_rng(seed)
    predict, gap_s = bool(seed % 2), float(rng.choice([0.15, 0.3, 0.5]))
    refiner = subject(predict, blend=int(rng.integers(1, 3)), gap_s=gap_s)
    relative, there = rng.random(3) < 0.5, rng.random(3) < 0.5
    frames: list[RefinedFrame] = []
    at = START_NS
    for _ in range(200):
        relative ^= rng.random(3) < rng.choice([0.02, 0.3])
        there ^= rng.random(3) < 0.1
        people = [
            replace(seen(at, who), root_relative=bool(relative[who]))
            for who in range(3)
            if there[who]
        ]
        frames += refiner.push(at, people)
        step = int(rng.uniform(5, 1e3 * gap_s) * MS)
        if predict:
            for share in sorted(rng.uniform(0, 1.3, 3)):
                frames += refiner.ahead(at + int(share * step))
        at += step
    frames += refiner.flush()
    assert not refiner.counts["restarts"] and refiner.counts["moved"]
    steps = np.diff([frame.stamp_ns for frame in frames]) / 1e9 * 30
    assert steps.min() > 0.49 and steps.max() < 1.51
    for frame in frames:
        numbers = [person.number for person in frame.people]
        assert len(set(numbers)) == len(numbers)
    assert len(refiner._waiting) == 0


# -- where poses come from, and who is who ---------------------------------------------------


def test_an_origin_of_before_is_carried_through() -> None:
    refiner = subject(segments=1)
    frames = []
    for k, at in enumerate(stamps(5)):
        origin = np.zeros(JOINTS, np.uint8)
        origin[1] = Origin.PREDICTED if k == 2 else Origin.OBSERVED
        frames += refiner.push(at, [replace(seen(at), origin=origin)])
    origin = np.array([frame.people[0].origin for frame in frames])
    o, i, p = Origin.OBSERVED, Origin.INTERPOLATED, Origin.PREDICTED
    assert origin[:, 0].tolist() == [o, i, i] * 4 + [o]
    assert origin[:, 1].tolist() == [o, i, i, o, p, p, p, p, p, o, i, i, o]


def test_two_people_with_one_number_are_counted() -> None:
    """The first one stays themselves."""
    refiner = subject()
    frames = []
    for at in stamps(6):
        frames += refiner.push(at, [seen(at), replace(seen(at, 3), number=0)])
    assert +refiner.counts == {"doubles": 6}
    assert frames
    assert_on_the_line(frames)


def test_what_waits_is_known() -> None:
    refiner = subject(blend=2)
    assert refiner.waiting == 0
    given = 0
    for k, at in enumerate(stamps(6)):
        given += len(refiner.push(at, [seen(at)]))
        assert refiner.waiting == 3 * k + 1 - given
    assert refiner.waiting == len(refiner.flush()) == 3
    assert refiner.waiting == 0


# -- networks --------------------------------------------------------------------------------


def save(folder: Path, preset: str, **poses: Any) -> Path:
    """Save fresh weights, and what they say that they were trained on."""
    torch.manual_seed(0)
    entry = weights.save(
        MixSynthFormer(PRESETS[preset]),
        folder,
        preset,
        training_data={"name": "none", "licence": "none"},
        git_revision="0",
        command="test",
        metrics={"split": "none"},
    )
    if poses:
        manifest = json.loads((folder / weights.MANIFEST).read_text())
        manifest["weights"][-1]["poses"] = poses
        (folder / weights.MANIFEST).write_text(json.dumps(manifest))
    return folder / entry["file"]


def test_a_network_is_loaded_and_named(tmp_path: Path) -> None:
    """Fresh weights are linear interpolation, in half precision's rounding."""
    file = save(tmp_path, "radar_2d_live")
    network = load_network(str(file), KINDS["pose2d"], predict=True)
    digest = weights.load(file)[1]["sha256"][:8]
    assert network.name == f"mixsynthformer/radar_2d_live@{digest}"
    assert (network.joints, network.model.interval) == (14, 3)
    keyframes = np.random.default_rng(0).uniform(50, 200, (6, 14, 2))
    expected = interpolation("linear", 3, 5, False).model.refine(keyframes)
    np.testing.assert_allclose(network.model.refine(keyframes)[:16], expected, atol=0.2)


def test_no_more_windows_are_blended_than_there_are() -> None:
    """With straight lines one; the latency follows."""
    lines, curves = (interpolation("linear", 3, n, False).model for n in (1, 3))
    for model, blend, intervals in (
        (lines, 2, 1),
        (curves, 2, 2),
        (curves, 64, 3),
        (curves, 0, 3),
    ):
        refiner = refiner_factory(model, 2, 30.0, blend, 1.0)(14)
        assert refiner.latency_s == pytest.approx((3 * intervals - 1) / 30)


@pytest.mark.parametrize(
    ("preset", "blend", "frames"),
    [
        ("radar_2d", 2, 5),
        ("radar_2d_live", 2, 2),
        ("radar_2d_live", 0, 14),
        ("radar_2d_fast", 2, 2),
    ],
)
def test_how_late_a_preset_is_with_the_node_s_blend(
    tmp_path: Path, preset: str, blend: int, frames: int
) -> None:
    """In frames, in full swing: what is made to be early is three frames earlier."""
    if blend:
        assert parameters.load("pose_refiner")["blend"].default == blend
    network = load_network(str(save(tmp_path, preset)), KINDS["pose2d"], predict=False)
    make = refiner_factory(network.model, 2, 30.0, network.windows(blend), 1.0)
    people = PeopleRefiner(partial(make, 14), 1.0)
    ages = []
    for k, at in enumerate(stamps(20)):
        given = people.push(at, [Person(np.full((14, 2), 50.0 + k), np.ones(14), 1.0)])
        ages += [(at - given[0].stamp_ns) * 30 / 1e9] if given and k > 10 else []
    np.testing.assert_allclose(ages, np.full(9, frames), atol=1e-6)
    assert make(14).latency_s == pytest.approx(frames / 30)


def test_wrong_numbers_are_named() -> None:
    model = interpolation("linear", 3, 4, False).model
    with pytest.raises(ValueError, match=r"blend must be a whole number, 0 or more, got 1\.5"):
        refiner_factory(model, 2, 30.0, 1.5, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate_hz must be a finite number above 0, got '30'"):
        refiner_factory(model, 2, "30", 1, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gap_s must be a finite number above 0, got 0"):
        PeopleRefiner(partial(refiner_factory(model, 2, 30.0, 1, 1.0), JOINTS), 0)


def test_networks_for_something_else_are_refused(tmp_path: Path) -> None:
    file = save(tmp_path, "radar_2d_fast")
    with pytest.raises(ValueError, match="takes 2 values of a joint, not 3"):
        load_network(str(file), KINDS["pose3d"], predict=False)
    with pytest.raises(ValueError, match="predicts no frames"):
        load_network(str(file), KINDS["pose2d"], predict=True)
    with pytest.raises(weights.WeightsError, match="is a millimamba, not a mixsynthformer"):
        load_network("edge", KINDS["pose2d"], predict=False)
    with pytest.raises(weights.WeightsError, match="there are no weights 'radar_9d'"):
        load_network("radar_9d", KINDS["pose2d"], predict=False)


@pytest.mark.parametrize(
    ("kind", "preset", "skeleton", "unit"),
    [("pose2d", "radar_2d_fast", "lsp14", "px"), ("pose2d", "radar_2d_fast", "hupr14", "share")]
    + [("pose3d", "pose_3d_fast", "hupr14", "m")],
)
def test_networks_of_another_skeleton_or_unit_are_refused(
    tmp_path: Path, kind: str, preset: str, skeleton: str, unit: str
) -> None:
    file = save(tmp_path, preset, skeleton=skeleton, unit=unit, root_relative=False, rate_hz=30.0)
    asked = {"pose2d": "hupr14 in px", "pose3d": "h36m17 in m"}[kind]
    said = f"trained on poses of {skeleton} in {unit}, .* those asked for, of {asked}"
    with pytest.raises(ValueError, match=said):
        load_network(str(file), KINDS[kind], predict=False)


@pytest.mark.parametrize("root_relative", [False, True])
def test_a_network_for_relative_poses_gets_them(tmp_path: Path, root_relative: bool) -> None:
    about = {"skeleton": "h36m17", "unit": "m", "root_relative": root_relative, "rate_hz": 50.0}
    network = load_network(str(save(tmp_path, "pose_3d_fast", **about)), KINDS["pose3d"], False)
    assert (network.skeleton, network.rate_hz) == ("h36m17", 50.0)
    assert network.model.root == ([0] if root_relative else [])  # type: ignore[attr-defined]
    about |= {"skeleton": "hupr14", "unit": "px"}
    network = load_network(str(save(tmp_path, "radar_2d_fast", **about)), KINDS["pose2d"], False)
    hips = [HUPR14.index("left_hip"), HUPR14.index("right_hip")]
    assert network.model.root == (hips if root_relative else [])  # type: ignore[attr-defined]


def test_another_rate_than_the_network_s_is_a_warning() -> None:
    model = interpolation("linear", 3, 1, False).model
    network = NamedModel(model, "net", 14, "hupr14", 30.0)
    for rate_hz in (27.0, 30.0, 33.0):
        assert network.rate_warning(rate_hz) == ""
    for rate_hz in (26.9, 33.1):
        said = network.rate_warning(rate_hz)
        assert f"frames are asked for at {rate_hz} Hz, but net was trained at 30 Hz" in said
    assert interpolation("linear", 3, 1, False).rate_warning(200.0) == ""


def test_fewer_poses_than_the_network_s_keyframes_are_a_warning() -> None:
    """Its keyframes were at 10 Hz; of more poses it reads those at keyframes."""
    model = interpolation("linear", 3, 1, False).model
    network = NamedModel(model, "net", 14, "hupr14", 30.0)
    for step_ms, warns in ((33, False), (100, False), (133, False), (134, True), (200, True)):
        refiner = subject()
        for k in range(6):
            assert (refiner.period_ns is None) == (k < 4)
            refiner.push(START_NS + k * step_ms * MS, [])
        assert refiner.period_ns == step_ms * MS
        said = network.pace_warning(refiner.period_ns)
        assert bool(said) == warns
    assert "poses come at 5 Hz, but net with its keyframes was trained at 10 Hz" in said
    assert network.pace_warning(None) == ""
    assert interpolation("linear", 3, 1, False).pace_warning(9_000 * MS) == ""
    refiner.push(START_NS + 9_000 * MS, [])  # another stream
    assert refiner.period_ns is None
