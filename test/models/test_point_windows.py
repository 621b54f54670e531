"""Windows of people in clouds: which points are in them, and where in time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radar_pose_ros.datasets import mars
from radar_pose_ros.models import weights
from radar_pose_ros.models.point_windows import PersonWindow, PointWindows
from radar_pose_ros.models.points import PRESETS, choose_points
from radar_pose_ros.simulation.crowds import Crowd, record

PERIOD_NS = 100_000_000
BEGIN_NS = 1_700_000_000_123_456_789
# As shipped, but of so many points that none is left out; and as shipped.
ALL = replace(PRESETS["points"], points=200)
SHIPPED = PRESETS["points"]


def body(rng: np.random.Generator, points: int = 40, x: float = 2.0, y: float = 0.0) -> np.ndarray:
    """Echoes of somebody who moves on the spot, (points, 5)."""
    place = rng.normal((x, y, 0.0), (0.1, 0.15, 0.4), (points, 3))
    return np.column_stack([place, rng.normal(0, 0.5, points), rng.uniform(10, 25, points)])


def bodies(rng: np.random.Generator, frames: int, **about: float) -> list[np.ndarray]:
    return [body(rng, **about) for _ in range(frames)]  # type: ignore[arg-type]


def feed(windows: PointWindows, clouds: list[np.ndarray], step_ns: int = PERIOD_NS) -> None:
    for number, cloud in enumerate(clouds):
        windows.add(cloud, BEGIN_NS + number * step_ns)


def the_one(windows: PointWindows) -> PersonWindow:
    (person,) = windows.people()
    return person


def rows(frame: np.ndarray) -> np.ndarray:
    """Points of a frame of a window, in an order of their own."""
    there = frame[np.isfinite(frame[:, 0])]
    return there[np.lexsort(there.T)]


def same(frame: np.ndarray, cloud: np.ndarray) -> None:
    np.testing.assert_array_equal(rows(frame), rows(cloud.astype(np.float32)))


@pytest.mark.parametrize("shape", [(4, 3), (0, 4), (5,)])
def test_points_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    windows = PointWindows(SHIPPED)
    with pytest.raises(ValueError, match=r"points must be \(n, 5\): x, y, z, speed, strength"):
        windows.add(np.zeros(shape), 0)
    assert windows.statistics.clouds == 0


def test_a_window_holds_the_chosen_points_of_the_last_clouds(rng: np.random.Generator) -> None:
    """Those before the person was followed as well: all that the network is given offline."""
    clouds = bodies(rng, 30)
    windows = PointWindows(SHIPPED)
    for number in range(30):
        windows.add(clouds[number], BEGIN_NS + number * PERIOD_NS)
        people = windows.people()
        if number < 3:
            assert people == []  # half of the tracker's half second has not passed
            continue
        (person,) = people
        window = clouds[max(0, number - 23) : number + 1]
        expected = np.full((24, 16, 5), np.nan, np.float32)
        expected[24 - len(window) :] = [choose_points(cloud, 16) for cloud in window]
        np.testing.assert_array_equal(person.points, expected)
        assert person.points.dtype == np.float32
        np.testing.assert_array_equal(person.seen, np.arange(24) >= 24 - len(window))
        assert person.id == 1
    assert windows.stamps_ns == [BEGIN_NS + k * PERIOD_NS for k in range(6, 30)]
    assert windows.statistics == (30, 0, 0, 0)
    assert windows.rate_hz == pytest.approx(10.0)


def test_frames_without_a_cloud_keep_their_place(rng: np.random.Generator) -> None:
    clouds = bodies(rng, 20)
    windows = PointWindows(ALL)
    kept = [k for k in range(20) if k not in (11, 15, 16)]
    for k in kept:
        windows.add(clouds[k], BEGIN_NS + k * PERIOD_NS)
    person = the_one(windows)
    for k in range(20):
        same(person.points[4 + k], clouds[k] if k in kept else np.zeros((0, 5)))
    np.testing.assert_array_equal(np.flatnonzero(~person.seen) - 4, [-4, -3, -2, -1, 11, 15, 16])
    assert windows.statistics.lost == 3
    assert windows.stamps_ns == [BEGIN_NS + k * PERIOD_NS for k in range(20)]


def test_late_clouds_stay_in_their_frames(rng: np.random.Generator) -> None:
    """Up to 65 ms late, as on a busy machine; 3 ms early."""
    clouds = bodies(rng, 24)
    late_ns = (np.append(0, rng.uniform(-3, 65, 23)) * 1e6).astype(int)
    windows = PointWindows(ALL)
    for k, cloud in enumerate(clouds):
        windows.add(cloud, BEGIN_NS + k * PERIOD_NS + int(late_ns[k]))
    assert windows.statistics.lost == 0
    for frame, cloud in zip(the_one(windows).points, clouds, strict=True):
        same(frame, cloud)


def test_a_radar_of_another_rate(rng: np.random.Generator) -> None:
    """Clouds of a faster one share frames; between those of a slower one there are empty ones."""
    clouds = bodies(rng, 48)
    windows = PointWindows(ALL)
    feed(windows, clouds, PERIOD_NS // 2)
    for k, frame in enumerate(the_one(windows).points):
        same(frame, np.concatenate(clouds[2 * k : 2 * k + 2]))
    assert windows.rate_hz == pytest.approx(20.0) and windows.statistics.lost == 0
    windows = PointWindows(ALL)
    feed(windows, clouds, 2 * PERIOD_NS)
    frames = the_one(windows).points
    for k in range(12):
        same(frames[23 - 2 * k], clouds[47 - k])
    assert not np.isfinite(frames[::2]).any()
    assert windows.rate_hz == pytest.approx(5.0)


def test_gaps_and_jumps_empty_the_window(rng: np.random.Generator) -> None:
    """A gap of the window's length does not, a longer one and time that goes back do."""
    windows = PointWindows(ALL)
    feed(windows, bodies(rng, 24))
    last_ns = windows.stamps_ns[-1]
    again = body(rng)
    assert windows.add(again, last_ns) == 0  # twice the same instant: not used
    assert windows.statistics == (25, 0, 1, 0)
    assert windows.add(again, last_ns + 24 * PERIOD_NS) == 0
    assert windows.statistics.lost == 23 and len(windows.stamps_ns) == 24
    last_ns += 24 * PERIOD_NS
    assert windows.add(again, last_ns + 25 * PERIOD_NS) == 25 * PERIOD_NS
    assert windows.stamps_ns == [last_ns + 25 * PERIOD_NS]
    assert windows.add(again, last_ns) == -25 * PERIOD_NS
    assert windows.stamps_ns == [last_ns]
    assert windows.statistics.emptied == 2
    assert windows.people() == []  # a new time, in which nobody was followed yet


def test_without_points_there_is_nobody_after_a_moment(rng: np.random.Generator) -> None:
    """Half a second is bridged; who is back soon has the same number."""
    windows = PointWindows(ALL)
    clouds = [*bodies(rng, 24), *[np.zeros((0, 5))] * 10, *bodies(rng, 6)]
    told = []
    for number, cloud in enumerate(clouds):
        windows.add(cloud, BEGIN_NS + number * PERIOD_NS)
        told.append([person.id for person in windows.people() if person.tells(-1)])
    assert told[5:24] == [[1]] * 19
    assert told[24:34] == [[1]] * 5 + [[]] * 5
    assert told[34:] == [[1]] * 6
    only_empty = PointWindows(ALL)
    feed(only_empty, [np.zeros((0, 5))] * 30)
    assert only_empty.people() == [] and only_empty.statistics.lost == 0


def test_a_pose_takes_enough_frames_around_it() -> None:
    points = np.zeros((24, 1, 5), np.float32)

    def tells(seen: list[int], frame: int) -> bool:
        return PersonWindow(1, points, np.isin(np.arange(24), seen)).tells(frame)

    assert tells([18, 19, 20, 21, 22, 23], -1) and not tells([19, 20, 21, 22, 23], -1)
    assert tells([13, 14, 15, 16, 17, 18], -1) and not tells([12, 13, 14, 15, 16, 17], -1)
    assert tells([17, 18, 19, 20, 21, 22], -12) and not tells([18, 19, 20, 21, 22, 23], -12)


def test_limbs_and_reflections_are_the_only_persons(rng: np.random.Generator) -> None:
    """Arms stretched out by 0.8 m, and a tenth as many echoes 2.5 m away: one person has all."""
    clouds = []
    for _ in range(40):
        arms = [body(rng, 12, y=side) * [1, 1, 0.2, 1, 1] for side in (-0.8, 0.8)]
        clouds.append(np.concatenate([body(rng), *arms, body(rng, 7, x=4.5)]))
    windows = PointWindows(ALL)
    feed(windows, clouds)
    person = the_one(windows)
    assert person.id == 1
    for frame, cloud in zip(person.points, clouds[-24:], strict=True):
        same(frame, cloud)


def test_two_people_have_their_own_points(rng: np.random.Generator) -> None:
    """Or, if only one is to be told, the one who shows more has none of the other's."""
    left, right = bodies(rng, 40, y=1.0), bodies(rng, 40, y=-1.0, x=2.5, points=30)
    both = [np.concatenate(pair) for pair in zip(left, right, strict=True)]
    windows = PointWindows(ALL, most_people=2)
    feed(windows, both)
    people = {person.points[-1, 0, 1] > 0: person for person in windows.people()}
    assert sorted(person.id for person in people.values()) == [1, 2]
    for side, clouds in ((True, left), (False, right)):
        for frame, cloud in zip(people[side].points, clouds[-24:], strict=True):
            same(frame, cloud)
    windows = PointWindows(ALL, most_people=1)
    feed(windows, both)
    for frame, cloud in zip(the_one(windows).points, left[-24:], strict=True):
        same(frame, cloud)


def test_who_is_told_is_not_exchanged_lightly(rng: np.random.Generator) -> None:
    """Until another shows half as many points again, over the whole window."""
    windows = PointWindows(ALL, most_people=1)
    told = []
    for number in range(90):
        few = 30 if number < 40 else 20
        clouds = [body(rng, few, y=1.0), body(rng, 25, y=-1.0), body(rng, 0)]
        if number >= 70:
            clouds[2] = body(rng, 25, y=-1.0)
        windows.add(np.concatenate(clouds), BEGIN_NS + number * PERIOD_NS)
        told.append([bool(np.nanmedian(p.points[-1, :, 1]) > 0) for p in windows.people()])
    assert told[10:70] == [[True]] * 60
    assert told[-1] == [False]


def test_what_is_no_point_is_left_out(rng: np.random.Generator) -> None:
    wrong = np.array(
        [
            [np.nan, 0, 0, 0.3, 12],
            [2, np.inf, 0, 0.3, 12],
            [1e9, 0, 0, 0.3, 12],
        ]
    )
    clouds = bodies(rng, 30)
    clouds[-1][0, 3:] = np.nan  # of an unknown velocity and strength, but a point
    windows = PointWindows(ALL)
    feed(windows, [np.concatenate([wrong, cloud]) for cloud in clouds])
    for frame, cloud in zip(the_one(windows).points, clouds[-24:], strict=True):
        same(frame, cloud)


def test_walkers_keep_their_numbers() -> None:
    """Two in a simulated crowd who show enough: two windows, each on its own person."""
    crowd = record(Crowd(people=2, rate_hz=10.0, clutter=1.0, seconds=30.0), seed=8)
    windows = PointWindows(SHIPPED, most_people=2)
    right, together, seen = 0, 0, set()
    for time_s, cloud, ids, place_m in zip(*crowd, strict=True):
        windows.add(cloud, BEGIN_NS + round(time_s * 1e9))
        people = [person for person in windows.people() if person.seen[-1] and person.tells(-1)]
        assert len(people) <= 2
        if len(people) == len(ids) == 2:
            together += 1
            middles = [np.nanmedian(person.points[-1, :, :2], axis=0) for person in people]
            straight = sum(np.hypot(*(m - p)) < 0.6 for m, p in zip(middles, place_m, strict=True))
            crossed = sum(
                np.hypot(*(m - p)) < 0.6 for m, p in zip(middles, place_m[::-1], strict=True)
            )
            right += max(straight, crossed) == 2
            seen |= {person.id for person in people}
    assert together > 30
    assert right / together > 0.8
    assert len(seen) <= 3


def test_following_costs_one_person_next_to_nothing(shared_data: Path) -> None:
    """MARS, a movement with reflections: as far off as with all points, within 5 %."""
    import torch

    file = shared_data / "radar_points_mars" / "mars_subject3.npz"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    sequence = mars.load_points(file)[6]
    network, _ = weights.network("points", "points")
    windows = PointWindows(network.config)
    followed, everything, chosen = [], [], []
    for frame in np.flatnonzero(sequence.parts >= 0):
        windows.add(sequence.cloud(frame), BEGIN_NS + int(frame) * PERIOD_NS)
        if frame >= 24 and frame % 6 == 0:
            followed.append(the_one(windows).points)
            last = range(frame - 23, frame + 1)
            everything.append(np.stack([choose_points(sequence.cloud(k), 16) for k in last]))
            chosen.append(frame)
    errors_m = []
    for points in (followed, everything):
        with torch.inference_mode():
            joints_m = network(torch.from_numpy(np.stack(points)))[:, -1].numpy()
        errors_m.append(np.linalg.norm(joints_m - sequence.joints_m[chosen], axis=-1).mean())
    assert errors_m[0] < 1.05 * errors_m[1]
    assert errors_m[1] < 0.12  # these weights have seen this person
