"""Point clouds of people who walk about before a radar, with their true places.

For trackers: what is drawn here is how many echoes a person gives, where on the body, how fast,
and when none; not how they come about. People walk between random places, stand still for a while,
step around each other, come in by the sides, late, and leave there. A cloud has the faults of real
ones: echoes become fewer with distance, and almost none when somebody stands still or behind
another; places and velocities lie on the detector's grid, and nothing is at zero velocity, as with
clutter removed; clutter comes anywhere; now and then somebody's echoes appear again, farther away,
for a moment; frames are lost, one by one and in bursts.

All numbers are choices, set before a tracker was tried on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FIELD_RAD = np.radians(55.0)  # to either side of the boresight
NEAREST_M, FARTHEST_M = 1.0, 7.0
HALF_WIDTH_M = 3.0
_RANGE_CELL_M, _AZIMUTH_CELL_RAD, _DOPPLER_CELL_MPS = 0.05, 0.033, 0.08


@dataclass(frozen=True)
class Crowd:
    """What is drawn.

    Parameters
    ----------
    people : int
        In all; not everybody is there all the time.
    seconds : float
    rate_hz : float
        Frames per second.
    standing : float
        Share of stops at which people stand still for 3 to 8 s; else they walk on.
    clutter : float
        False echoes per frame, on average.
    lost : float
        Share of frames that are lost one by one; besides, one burst of 0.3 s in 15 s.
    ghosts_per_s : float
        How often somebody's echoes appear again behind them, for 0.1 to 0.4 s.
    """

    people: int = 3
    seconds: float = 40.0
    rate_hz: float = 20.0
    standing: float = 0.3
    clutter: float = 3.0
    lost: float = 0.03
    ghosts_per_s: float = 0.2


class Recorded(NamedTuple):
    """Clouds and truth, of those frames that were not lost.

    Attributes
    ----------
    times_s : ndarray, shape (frames,)
    clouds : list of ndarray, float64 (n, 5)
        x, y, z, m; radial velocity, m/s, positive moving away; signal-to-noise ratio, dB.
    ids : list of ndarray of int
        Who is before the radar, by frame.
    position_m : list of ndarray, shape (people, 2)
        Where they are.
    """

    times_s: np.ndarray
    clouds: list[np.ndarray]
    ids: list[np.ndarray]
    position_m: list[np.ndarray]


def record(crowd: Crowd, seed: int) -> Recorded:
    """Draw a crowd.

    Parameters
    ----------
    crowd : Crowd
    seed : int
    """
    rng = np.random.default_rng(seed)
    frames = round(crowd.seconds * crowd.rate_hz)
    place_m, velocity, there = _walks(crowd, frames, rng)
    lost = rng.random(frames) < crowd.lost
    for start in rng.integers(0, frames, round(crowd.seconds / 15)):
        lost[start : start + round(0.3 * crowd.rate_hz)] = True
    clouds = _clouds(crowd, place_m, velocity, there, rng)
    kept = np.flatnonzero(~lost)
    present = [np.flatnonzero(there[k]) for k in kept]
    return Recorded(
        kept / crowd.rate_hz,
        [clouds[k] for k in kept],
        present,
        [place_m[k, who] for k, who in zip(kept, present, strict=True)],
    )


def _walks(
    crowd: Crowd, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places and velocities (frames, people, 2), and who is there (frames, people)."""
    people, step_s = crowd.people, 1 / crowd.rate_hz
    door_m = np.column_stack([np.full(people, 2.0), np.where(rng.random(people) < 0.5, -4.5, 4.5)])
    came_s = np.append(0.0, rng.uniform(0, crowd.seconds / 2, people - 1))
    left_s = rng.uniform(0.6 * crowd.seconds, 1.4 * crowd.seconds, people)
    here, speed = door_m.copy(), np.zeros((people, 2))
    goal = np.stack([_somewhere(rng) for _ in range(people)])
    pace = rng.uniform(0.6, 1.5, people)
    standing_s = np.zeros(people)
    place_m, velocity = np.empty((2, frames, people, 2))
    for frame in range(frames):
        for k in np.flatnonzero(came_s <= frame * step_s).tolist():
            if frame * step_s > left_s[k]:
                goal[k], standing_s[k] = door_m[k], 0.0
            elif standing_s[k] <= 0 and np.hypot(*(goal[k] - here[k])) < 0.3:
                goal[k], pace[k] = _somewhere(rng), rng.uniform(0.6, 1.5)
                if rng.random() < crowd.standing:
                    standing_s[k] = rng.uniform(3, 8)
            standing_s[k] -= step_s
            wanted = np.zeros(2) if standing_s[k] > 0 else _way(here, k, goal[k], pace[k])
            change = wanted - speed[k]
            limit = 2.0 * step_s  # m/s^2
            speed[k] += change * min(1.0, limit / max(float(np.hypot(*change)), 1e-9))
            here[k] += speed[k] * step_s
        place_m[frame], velocity[frame] = here, speed
    bearing = np.arctan2(place_m[..., 1], place_m[..., 0])
    return place_m, velocity, np.abs(bearing) < FIELD_RAD


def _way(here_m: np.ndarray, person: int, goal_m: np.ndarray, pace: float) -> np.ndarray:
    """Return the velocity that somebody wants to have, who steps around others, to the right."""
    way = goal_m - here_m[person]
    wanted = pace * way / max(float(np.hypot(*way)), 0.3)
    for other in np.delete(here_m, person, axis=0):
        away = here_m[person] - other
        apart_m = max(float(np.hypot(*away)), 0.05)
        if apart_m < 0.8:
            aside = np.array([away[1], -away[0]])
            wanted = wanted + (0.8 - apart_m) * 3 * (away + aside) / apart_m
    return wanted


def _somewhere(rng: np.random.Generator) -> np.ndarray:
    while True:
        place = np.array(
            [rng.uniform(NEAREST_M + 0.5, FARTHEST_M), rng.uniform(-HALF_WIDTH_M, HALF_WIDTH_M)]
        )
        if abs(np.arctan2(place[1], place[0])) < FIELD_RAD - 0.2:
            return place


def _clouds(
    crowd: Crowd,
    place_m: np.ndarray,
    velocity: np.ndarray,
    there: np.ndarray,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    sway = np.zeros((crowd.people, 2))
    ghost_frames = np.zeros(crowd.people, int)
    ghost_m = np.zeros(crowd.people)
    phase = rng.uniform(0, 2 * np.pi, crowd.people)
    clouds = []
    for frame in range(len(place_m)):
        sway = 0.85 * sway + rng.normal(0, 0.035, sway.shape)
        found = [_clutter(crowd, rng)]
        for k in np.flatnonzero(there[frame]).tolist():
            speed = float(np.hypot(*velocity[frame, k]))
            phase[k] += 2 * np.pi * 1.8 * speed / 1.3 / 2 / crowd.rate_hz
            others = np.delete(place_m[frame][there[frame]], _index(there[frame], k), axis=0)
            rate = _echo_rate(place_m[frame, k], speed, others)
            found.append(
                _person(
                    place_m[frame, k] + sway[k],
                    velocity[frame, k],
                    phase[k],
                    rng.poisson(rate),
                    rng,
                )
            )
            if not ghost_frames[k] and rng.random() < crowd.ghosts_per_s / crowd.rate_hz:
                ghost_frames[k] = max(round(rng.uniform(0.1, 0.4) * crowd.rate_hz), 1)
                ghost_m[k] = rng.uniform(0.8, 2.5)
            if ghost_frames[k]:
                ghost_frames[k] -= 1
                again = found[-1][rng.random(len(found[-1])) < 0.4].copy()
                distance = np.hypot(again[:, 0], again[:, 1])
                again[:, :2] *= (1 + ghost_m[k] / distance)[:, None]
                found.append(again)
        clouds.append(_detected(np.concatenate(found), rng))
    return clouds


def _index(there: np.ndarray, person: int) -> int:
    return int(there[:person].sum())


def _echo_rate(place_m: np.ndarray, speed: float, others_m: np.ndarray) -> float:
    """Mean number of echoes: 12 at 3 m from a walker; few from who stands, or behind others."""
    distance = float(np.hypot(*place_m))
    rate = float(np.clip(12 * (3 / distance) ** 1.5, 2, 20))
    rate *= 0.06 + 0.94 * min(speed / 0.4, 1.0)
    for other in others_m:
        nearer = float(np.hypot(*other))
        turn = np.arctan2(place_m[1], place_m[0]) - np.arctan2(other[1], other[0])
        if nearer < distance and abs(turn) * nearer < 0.25:
            rate *= 0.15
    return rate


def _person(
    place_m: np.ndarray, velocity: np.ndarray, phase: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Echoes of a trunk that is a box 0.4 m wide, and of limbs that swing along the walk."""
    limb = rng.random(count) < 0.35
    turn = rng.uniform(-0.2, 0.2, (count, 2)) * [0.6, 1.0]
    speed = float(np.hypot(*velocity))
    along = velocity / max(speed, 1e-6)
    side = np.sign(rng.random(count) - 0.5)
    swing = side * np.sin(phase) * 0.3 * min(speed, 1.0)
    swing_mps = side * np.cos(phase) * speed
    spot_m = place_m + turn + np.where(limb, swing, 0.0)[:, None] * along
    motion = velocity + np.where(limb, swing_mps, 0.0)[:, None] * along
    direction = spot_m / np.maximum(np.hypot(*spot_m.T), 0.1)[:, None]
    toward = spot_m - 0.08 * direction  # the skin faces the radar
    radial = (motion * direction).sum(axis=1) + rng.normal(0, 0.12, count)
    height = rng.uniform(-0.9, 0.5, count)
    return np.column_stack([toward, height, radial, rng.uniform(11, 25, count)])


def _clutter(crowd: Crowd, rng: np.random.Generator) -> np.ndarray:
    count = rng.poisson(crowd.clutter)
    distance = np.sqrt(rng.uniform(NEAREST_M**2, (FARTHEST_M + 1) ** 2, count))
    bearing = rng.uniform(-FIELD_RAD, FIELD_RAD, count)
    return np.column_stack(
        [
            distance * np.cos(bearing),
            distance * np.sin(bearing),
            rng.uniform(-1, 1, count),
            rng.normal(0, 0.6, count),
            rng.uniform(11, 14, count),
        ]
    )


def _detected(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the radar's noise and grid; nothing at zero velocity is left."""
    distance = np.hypot(points[:, 0], points[:, 1]) + rng.normal(0, 0.03, len(points))
    bearing = np.arctan2(points[:, 1], points[:, 0]) + rng.normal(0, 0.03, len(points))
    distance = _RANGE_CELL_M * np.round(distance / _RANGE_CELL_M)
    bearing = _AZIMUTH_CELL_RAD * np.round(bearing / _AZIMUTH_CELL_RAD)
    doppler = _DOPPLER_CELL_MPS * np.round(points[:, 3] / _DOPPLER_CELL_MPS)
    points = np.column_stack(
        [
            distance * np.cos(bearing),
            distance * np.sin(bearing),
            points[:, 2],
            doppler,
            points[:, 4],
        ]
    )
    return points[doppler != 0]
