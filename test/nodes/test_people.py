"""People as arrays, and confidence between two sightings, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.nodes.people import (
    HALF_LIFE_S,
    Person,
    Sightings,
    by_key,
    doubles,
    liftable,
    origins_are_known,
    without_points,
    without_small,
    without_strays,
)

NAN = math.nan


def person(*known: bool, confidence: tuple[float, ...] = (), number: int = -1) -> Person:
    keypoints = np.array([(1.0, 2.0) if k else (NAN, NAN) for k in known])
    return Person(keypoints, np.array(confidence or [0.5] * len(known)), 0.5, number)


def test_people_are_told_apart_by_number_or_by_place() -> None:
    people = [person(True), person(True, number=7), person(False, False), person(True)]
    assert by_key(people) == {-1: people[0], 7: people[1], -4: people[3]}


def test_of_two_people_with_one_number_the_first_is_taken_and_the_other_counted() -> None:
    people = [
        person(True, number=7),
        person(True),
        person(True, number=7),
        person(False, number=7),
    ]
    assert by_key(people) == {7: people[0], -2: people[1]}
    assert doubles(people) == 1  # of the last one nothing is known
    assert doubles(people[:2]) == 0


def test_origins_are_those_of_the_messages() -> None:
    strange = replace(person(True, False), origin=np.array([2, 9], np.uint8))
    assert origins_are_known([person(True), strange])  # without meaning where nothing is known
    strange = replace(strange, origin=np.array([3, 0], np.uint8))
    assert not origins_are_known([person(True), strange])


def test_confidence_goes_straight_from_one_sighting_to_the_next() -> None:
    """Never outside of the two; a joint that was not seen at one of them is not held by that."""
    sightings = Sightings(0.01)
    sightings.add(1.0, person(True, True, confidence=(0.2, 0.9)))
    sightings.add(1.1, person(True, False, confidence=(0.6, 0.05)))
    sightings.add(1.2, person(True, True, confidence=(0.4, 0.7)))
    for time_s, expected in ((1.0, (0.2, 0.9)), (1.05, (0.4, 0.85)), (1.15, (0.5, 0.75))):
        joints, whole = sightings.confidence(time_s)
        assert_close(joints, expected)
        assert whole == 0.5


def test_confidence_halves_after_the_last_sighting() -> None:
    sightings = Sightings(0.02)
    sightings.add(0.0, person(True, True, False, confidence=(0.8, 0.6, 0.3)))
    sightings.add(0.1, person(True, False, False, confidence=(0.4, 0.1, 0.3)))
    joints, whole = sightings.confidence(0.1 + 2 * HALF_LIFE_S)
    assert_close(joints, [0.1, 0.6 * 0.5 ** (0.1 / HALF_LIFE_S + 2), 0.0])  # the last: never seen
    assert_close(whole, 0.125)
    assert_close(sightings.confidence(0.115)[0][0], 0.4)  # within half a frame it was seen


def test_confidence_halves_before_the_first_sighting_too() -> None:
    """A joint that was seen later only was not seen."""
    sightings = Sightings(0.02)
    sightings.add(0.0, person(True, False, confidence=(0.8, 0.1)))
    sightings.add(0.1, person(True, True, confidence=(0.8, 0.6)))
    joints, whole = sightings.confidence(0.0)
    assert_close(joints, [0.8, 0.6 * 0.5 ** (0.1 / HALF_LIFE_S)])
    assert whole == 0.5
    assert_close(sightings.confidence(0.085)[0][1], 0.6)  # within half a frame it was seen


def test_confidence_of_what_is_known_at_two_instants_only() -> None:
    """What was seen in between, more surely, does not count; nor does what was seen after."""
    sightings = Sightings(0.02)
    for k, value in enumerate((0.2, 0.9, 0.9, 0.5, 0.9)):
        sightings.add(k * 0.1, person(True, confidence=(value,)))
    for time_s, expected in ((0.0, 0.2), (0.1, 0.3), (0.2, 0.4), (0.3, 0.5)):
        assert_close(sightings.confidence(time_s, (0.0, 0.3))[0], [expected])
    assert_close(sightings.confidence(0.3 + HALF_LIFE_S, (0.3, 0.3))[0], [0.25])
    joints, whole = sightings.confidence(0.4, (0.3, 0.3))
    assert_close(joints, [0.5 * 0.5 ** (0.1 / HALF_LIFE_S)])
    assert_close(whole, 0.5 * 0.5 ** (0.1 / HALF_LIFE_S))


def test_a_confidence_that_was_not_stated_stays_unknown() -> None:
    sightings = Sightings(0.01)
    sightings.add(0.0, person(True, True, confidence=(NAN, 0.5)))
    joints, _ = sightings.confidence(0.3)
    assert math.isnan(joints[0])
    assert joints[1] == pytest.approx(0.5 * 0.5 ** (0.3 / HALF_LIFE_S))


def test_old_sightings_are_forgotten() -> None:
    sightings = Sightings(0.01)
    for k in range(10):
        sightings.add(k * 0.1, person(True, confidence=(k / 10,)))
    sightings.forget(0.45)
    assert_close(sightings.confidence(0.2)[0], [0.5 * 0.5 ** (0.3 / HALF_LIFE_S)])
    assert_close(sightings.confidence(0.65)[0], [0.65])
    sightings.forget(9.0)  # the last one says how surely somebody was seen who is gone
    assert_close(sightings.confidence(0.9)[0], [0.9])


def test_joints_far_from_the_image_are_nobody_s() -> None:
    """One side of it is the limit; where its size is not known, nothing is far."""
    keypoints = np.array([[100.0, 50.0], [512.0, -256.0], [513.0, 0.0], [NAN, 0.0], [0.0, -1e4]])
    people = [person(True), Person(keypoints, np.ones(5), 0.7, 3)]
    found, strays = without_strays(people, (256, 256))
    assert strays == 2
    np.testing.assert_array_equal(found[1].known, [True, True, False, False, False])
    assert (found[1].number, found[1].confidence) == (3, 0.7)
    assert without_strays(people)[1] == 0


def test_joints_far_from_the_others_are_nobody_s() -> None:
    keypoints = np.zeros((5, 3))
    keypoints[2, 1] = 400.0
    found, strays = without_strays([Person(keypoints, np.ones(5), 0.7)])
    assert strays == 1
    np.testing.assert_array_equal(found[0].known, [True, True, False, True, True])


def test_who_cannot_be_lifted_keeps_the_place() -> None:
    wide = Person(np.array([[10.0, 10.0], [10.0, 46.0]]), np.ones(2), 0.7)
    found, beyond = liftable([person(True, True), person(False), wide], (256, 256))
    assert beyond == 1
    assert by_key(found) == {-3: wide}


def test_who_is_a_point_or_small_keeps_the_place() -> None:
    """12 % of the longer side, 30.7 of 256 px, is the bound."""
    small = Person(np.array([[10.0, 10.0], [10.0, 40.0]]), np.ones(2), 0.7)
    large = Person(np.array([[10.0, 10.0], [10.0, 41.0]]), np.ones(2), 0.7)
    people = [person(True, True), person(False, False), small, large]
    found, points = without_points(people)
    assert points == 1
    assert by_key(found) == {-3: small, -4: large}
    found, few = without_small(people, (200, 256))
    assert few == 2
    assert by_key(found) == {-4: large}
