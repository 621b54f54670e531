"""People followed in point clouds: who is where, for how long, and what cannot upset it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radar_pose_ros.radar import tracking
from radar_pose_ros.radar.tracking import PeopleTracker, TrackerSettings

PERIOD_S = 0.05


def echoes(rng, place_m, velocity_mps=(0.0, 0.0), count=10):
    """Points of a body at a place, 0.15 m about it, with the radial velocity it has there."""
    spots = np.asarray(place_m) + rng.normal(0, 0.15, (count, 2))
    radial = (spots * velocity_mps).sum(axis=1) / np.hypot(*spots.T)
    radial += 0.12 * np.sign(rng.random(count) - 0.5)  # something always moves
    height, snr = rng.uniform(-0.5, 0.5, count), np.full(count, 15.0)
    return np.column_stack([spots, height, radial, snr])


class Walk:
    """Runs a tracker and a clock."""

    def __init__(self, rng, **settings) -> None:
        self.rng = rng
        self.tracker = PeopleTracker(TrackerSettings(**settings))
        self.time_s = 100.0

    def step(self, *people):
        """One cloud of people, each a place and a velocity, or points as they are."""
        self.time_s += PERIOD_S
        clouds = [p if isinstance(p, np.ndarray) else echoes(self.rng, *p) for p in people]
        self.cloud = np.concatenate([np.zeros((0, 5)), *clouds])
        return self.tracker.update(self.cloud, self.time_s)

    def stand(self, seconds, *people):
        for _ in range(round(seconds / PERIOD_S)):
            found = self.step(*people)
        return found


def ids(people):
    return [person.id for person in people]


def test_a_walker_is_followed_with_place_and_velocity(rng):
    walk = Walk(rng)
    velocity = np.array([0.8, -0.9])
    places = np.array([2.0, 2.5]) + np.arange(80)[:, None] * PERIOD_S * velocity
    for place in places:
        people = walk.step((place, velocity))
    assert ids(people) == [1]
    person = people[0]
    assert np.hypot(*(person.position_m[:2] - places[-1])) < 0.2
    assert np.hypot(*(person.velocity_mps[:2] - velocity)) < 0.3
    assert abs(person.position_m[2]) < 0.2
    assert math.isnan(person.velocity_mps[2])
    assert person.misses == 0
    assert person.age_s == pytest.approx(79 * PERIOD_S)
    np.testing.assert_array_equal(person.extent_m, np.ptp(walk.cloud[person.points, :3], axis=0))


def test_everybody_gets_their_own_points(rng):
    walk = Walk(rng)
    near, far = ((2.0, 1.0), (0.0, 0.0), 12), ((4.0, -1.5), (0.0, 0.0), 8)
    people = walk.stand(2.0, near, far)
    rows = {person.id: set(person.points.tolist()) for person in people}
    assert len(rows) == 2
    owned = sorted(rows.values(), key=min)
    assert owned[0] <= set(range(12))
    assert owned[1] <= set(range(12, 20))
    assert len(owned[0]) >= 10
    assert len(owned[1]) >= 6


def test_people_who_cross_keep_their_ids(rng):
    walk = Walk(rng)
    left, right = np.array([3.0, 2.0]), np.array([3.6, -2.0])
    for step in range(80):
        gone = step * PERIOD_S
        one = (left - [0, gone], (0.0, -1.0))
        other = (right + [0, gone], (0.0, 1.0))
        people = walk.step(one, other)
        if step == 15:
            before = {person.id: person.position_m[1] for person in people}
    assert sorted(before) == ids(people) == [1, 2]
    for person in people:
        assert np.sign(person.position_m[1]) == -np.sign(before[person.id])


def test_two_who_come_in_side_by_side_are_two(rng):
    walk = Walk(rng)
    people = walk.stand(3.0, ((3.0, 0.45), (0.0, 0.0)), ((3.0, -0.45), (0.0, 0.0)))
    assert len(people) == 2
    assert sorted(round(person.position_m[1], 1) for person in people) == pytest.approx(
        [-0.45, 0.45], abs=0.15
    )


def test_one_person_stays_one(rng):
    walk = Walk(rng)
    for _ in range(400):
        assert len(walk.step(((2.5, 0.0), (0.0, 0.0), 15))) <= 1
    assert walk.step()[0].id == 1


def test_an_id_outlasts_a_second_unseen_and_is_never_used_again(rng):
    walk = Walk(rng)
    velocity = np.array([0.0, -1.0])

    def at(step):
        return (np.array([3.0, 2.0]) + step * PERIOD_S * velocity, velocity)

    for step in range(40):
        walk.step(at(step))
    for _ in range(20):
        people = walk.step()
        assert ids(people) == [1]
    assert people[0].misses == 20
    assert len(people[0].points) == 0
    assert np.isnan(people[0].extent_m).all()
    for step in range(60, 90):
        people = walk.step(at(step))
    assert ids(people) == [1]
    assert walk.stand(2.0) == []
    assert ids(walk.stand(1.0, ((3.0, 0.0),))) == [2]


def test_who_stands_still_is_waited_for_longer(rng):
    walk = Walk(rng)
    walk.stand(6.0, ((3.0, 1.0),))
    assert ids(walk.stand(4.0)) == [1]
    assert walk.stand(1.5) == []


def test_a_few_echoes_keep_who_stands_still(rng):
    walk = Walk(rng)
    walk.stand(3.0, ((3.0, 1.0),))
    for _ in range(300):
        people = walk.step(((3.0, 1.0), (0.0, 0.0), int(rng.random() < 0.5)))
    assert ids(people) == [1]
    assert np.hypot(*(people[0].position_m[:2] - [3.0, 1.0])) < 0.3


def test_clutter_starts_nobody_and_keeps_nobody(rng):
    walk = Walk(rng)

    def clutter(count):
        return np.column_stack(
            [
                rng.uniform(1, 7, count),
                rng.uniform(-3, 3, count),
                np.zeros(count),
                rng.normal(0, 0.6, count),
                np.full(count, 12.0),
            ]
        )

    for _ in range(200):
        assert walk.step(clutter(3)) == []
    for _ in range(60):
        people = walk.step(((3.0, 0.0),), clutter(3))
    assert len(people) == 1
    for _ in range(200):
        people = walk.step(clutter(3))
    assert people == []


def test_still_echoes_start_nobody_and_go_to_who_stands_there(rng):
    walk = Walk(rng)
    still = np.tile([3.0, 0.1, 0.0, 0.0, 20.0], (10, 1))
    assert walk.stand(2.0, still) == []
    people = walk.stand(2.0, ((3.0, 0.0), (0.0, 0.0), 12), still)
    assert set(range(12, 22)) <= set(people[0].points.tolist())


def test_echoes_straight_behind_somebody_need_to_be_more(rng):
    def second_after(place):
        walk = Walk(rng)
        for _ in range(60):
            walk.step(((2.0, 0.0), (0.0, 0.0)))
        for step in range(60):
            if len(walk.step(((2.0, 0.0), (0.0, 0.0)), (place, (0.0, 0.0), 2))) == 2:
                return step * PERIOD_S
        return math.inf

    assert second_after((4.0, 1.5)) < 0.5
    assert second_after((4.0, 0.0)) == math.inf


def test_echoes_outside_the_room_are_nobodys(rng):
    walk = Walk(rng, room_m=(0.5, 5.0, -2.0, 2.0))
    people = walk.stand(2.0, ((3.0, 0.0),), ((3.0, 4.0),))
    assert len(people) == 1
    assert walk.tracker.statistics.points_dropped == 400


def test_without_velocities_people_are_followed_too(rng):
    tracker = PeopleTracker()
    for step in range(60):
        place = np.array([2.0, 0.02 * step])
        people = tracker.update(echoes(rng, place)[:, :3], step * PERIOD_S)
    assert ids(people) == [1]
    assert np.hypot(*(people[0].position_m[:2] - place)) < 0.25
    assert people[0].velocity_mps[1] == pytest.approx(0.4, abs=0.3)


def test_empty_clouds_are_nothing_special():
    tracker = PeopleTracker()
    assert tracker.update(np.zeros((0, 5)), 0.0) == []
    assert tracker.update(np.zeros((0, 3), np.float32), 0.1) == []
    assert tracker.statistics.clouds == 2


def test_points_that_are_not_finite_or_too_near_are_dropped_and_counted(rng):
    walk = Walk(rng)
    bad = np.full((4, 5), 1.0)
    bad[0, 0], bad[1, 1], bad[2, 2], bad[3, :2] = np.nan, np.inf, -np.inf, 0.0
    for _ in range(30):
        people = walk.step(bad, ((3.0, 0.0),))
    assert ids(people) == [1]
    assert (people[0].points >= 4).all()
    assert walk.tracker.statistics.points_dropped == 120
    assert walk.tracker.statistics.points == 420


def test_unknown_velocities_and_ratios_do_not_hurt(rng):
    walk = Walk(rng)
    for _ in range(40):
        cloud = echoes(rng, (3.0, 0.0))
        cloud[:, 4] = np.nan
        cloud[::2, 3] = [np.nan, np.inf, 1e30, np.nan, -np.inf]
        people = walk.step(cloud)
    assert ids(people) == [1]
    assert np.isfinite(people[0].position_m).all()
    assert np.hypot(*people[0].velocity_mps[:2]) < 0.5


@pytest.mark.parametrize("jump_s", [-10.0, 3600.0])
def test_a_clock_that_jumps_restarts(rng, jump_s):
    walk = Walk(rng)
    walk.stand(1.0, ((3.0, 0.0),))
    walk.time_s += jump_s
    assert walk.step(((3.0, 0.0),)) == []
    assert walk.tracker.statistics.restarts == 1
    assert ids(walk.stand(1.0, ((3.0, 0.0),))) == [2]


def test_a_cloud_without_time_is_not_used(rng):
    walk = Walk(rng)
    walk.stand(1.0, ((3.0, 0.0),))
    people = walk.tracker.update(walk.cloud, math.nan)
    assert ids(people) == [1]
    assert len(people[0].points) == 0
    assert walk.tracker.statistics.clouds_without_time == 1
    assert ids(walk.stand(0.5, ((3.0, 0.0),))) == [1]


def test_frames_in_pairs_and_equal_stamps_are_fine(rng):
    tracker = PeopleTracker()
    for step in range(60):
        for late_s in (0.0, 0.0, 0.0017):
            people = tracker.update(echoes(rng, (3.0, 0.0), count=4), 0.06 * step + late_s)
    assert ids(people) == [1]


def test_of_two_clouds_at_the_same_time_points_are_the_later_ones():
    tracker = PeopleTracker()
    still = np.tile([3.0, 0.0, 0.0, 0.0, 20.0], (20, 1))
    moving = np.array([[3.0, 0.0, 0.0, 0.3, 20.0]])
    for step in range(9):
        assert tracker.update(np.concatenate([still, moving]), 0.05 * step) == []
    people = tracker.update(moving, 0.4)
    assert [person.points.tolist() for person in people] == [[0]]


@pytest.mark.parametrize(
    "points",
    [
        np.zeros(5),
        np.zeros((2, 4)),
        np.zeros((1, 2, 5)),
        [["a", "b", "c"]],
        np.zeros((2, 3), complex),
    ],
)
def test_wrong_shapes_are_refused_in_one_sentence(points):
    with pytest.raises(ValueError, match=r"^points (want the shape \(n, 3\)|must be real)"):
        PeopleTracker().update(points, 0.0)


def test_no_content_upsets_it(rng):
    tracker = PeopleTracker()
    special = np.array([np.nan, np.inf, -np.inf, 0.0, 1e-300, 1e300, -1e38, 3.0, 0.2])
    time_s = 0.0
    for step in range(300):
        count = int(rng.integers(0, 60))
        cloud = rng.normal(0, 10 ** rng.uniform(-3, 3), (count, 5))
        chosen = rng.random(cloud.shape) < 0.2
        cloud[chosen] = rng.choice(special, int(chosen.sum()))
        if step % 3 == 0:
            cloud = np.concatenate([cloud, np.tile([2.0, 0.0, 0.0, 0.5, 9.0], (30, 1))])
        time_s += rng.choice([0.0, 0.05, 0.05, 0.05, 0.5, -1.0, 100.0, np.nan])
        time_s = 0.0 if math.isnan(time_s) else time_s
        for person in tracker.update(cloud, time_s):
            assert np.isfinite(person.position_m).all()
            assert np.isfinite(person.velocity_mps[:2]).all()
            assert (person.points < len(cloud)).all()


def test_thousands_of_points_leave_bounded_memory_and_few_people(rng):
    walk = Walk(rng)
    for _ in range(20):
        cloud = rng.uniform([1, -4, -1, -2, 10], [8, 4, 1, 2, 20], (5000, 5))
        people = walk.step(cloud)
        assert len(walk.tracker._left) <= tracking._MOST_LEFT
    assert len(people) <= walk.tracker.settings.most_people


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"patience_s": 0.0}, "patience_s must be above 0"),
        ({"azimuth_sigma_rad": math.nan}, "azimuth_sigma_rad must be above 0"),
        ({"room_m": (1.0, 1.0, 0.0, 2.0)}, "room_m wants"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        TrackerSettings(**settings)
