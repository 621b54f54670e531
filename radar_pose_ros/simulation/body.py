"""People that move: a body, and motions chained into a clip.

Frame: x forward from the rig, y left, z up from the floor; see
`radar_pose_ros.simulation.anatomy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from scipy.interpolate import CubicSpline

from radar_pose_ros.simulation.anatomy import (
    LEFT,
    RIGHT,
    SPLITS,
    BodyShape,
    Place,
    Posture,
    forward_kinematics,
)
from radar_pose_ros.simulation.motions import PLANNERS, random_place

__all__ = [
    "HELD_OUT_MOTIONS",
    "MOTIONS",
    "SPLITS",
    "BodyShape",
    "Breathing",
    "MotionClip",
    "Place",
    "generate",
    "random_sequence",
]

_TRACK_RATE_HZ = 100.0

MOTIONS = tuple(PLANNERS)
# Motions that no sequence of the training and validation splits contains.
HELD_OUT_MOTIONS = ("kick", "lunge", "arm_circle")
_TRAIN_MOTIONS = tuple(name for name in MOTIONS if name not in HELD_OUT_MOTIONS)
# How often a motion is drawn, against 1 for the others.
_WEIGHTS = {"walk": 3.0, "wave": 1.5}


@dataclass(frozen=True)
class Breathing:
    """Movement of the chest: ``amplitude_m * sin(2 pi rate_hz t + phase)``, outwards."""

    rate_hz: float = 0.25
    amplitude_m: float = 0.004
    phase: float = 0.0

    def chest_m(self, time_s: np.ndarray) -> np.ndarray:
        """How far the front of the chest is out at each instant."""
        return self.amplitude_m * np.sin(
            2 * np.pi * self.rate_hz * np.asarray(time_s) + self.phase
        )


@dataclass(frozen=True)
class MotionClip:
    """A person's movement.

    Parameters
    ----------
    times_s : ndarray, shape (F,)
        Evenly spaced instants, from 0.
    joints_m : ndarray, shape (F, 14, 3)
        Joints at these instants, in the order of HUPR14, in the rig's frame.
    motions : tuple of str
        Name of the motion at each of these instants.
    shape : BodyShape
        The body.
    breathing : Breathing
        Movement of the chest, which no joint shows.
    subject : str
        Who was recorded; empty for simulated people.
    track_times_s, track_m : ndarray, shapes (K,) and (K, 14, 3)
        The same movement sampled densely enough to interpolate it.
    """

    times_s: np.ndarray
    joints_m: np.ndarray
    motions: tuple[str, ...]
    shape: BodyShape
    track_times_s: np.ndarray
    track_m: np.ndarray
    breathing: Breathing = Breathing()
    subject: str = ""

    @property
    def rate_hz(self) -> float:
        """Instants per second."""
        return (len(self.times_s) - 1) / float(self.times_s[-1] - self.times_s[0])

    @cached_property
    def _spline(self) -> CubicSpline:
        return CubicSpline(self.track_times_s, self.track_m)

    def joints_at(self, times_s: np.ndarray | float) -> np.ndarray:
        """Interpolate the joints at any instants within the clip.

        Parameters
        ----------
        times_s : float or ndarray, shape (N,)
            Instants, clipped to those of the track.

        Returns
        -------
        ndarray, shape (N, 14, 3) or (14, 3)
        """
        first_s, last_s = self.track_times_s[0], self.track_times_s[-1]
        return self._spline(np.clip(times_s, first_s, last_s))


def _with_sway(posture: Posture, time_s: np.ndarray, rng: np.random.Generator) -> None:
    """Add the small slow movements of somebody who stands: a few millimetres, below 1 Hz."""

    def drift(size: float) -> np.ndarray:
        rates_hz = rng.uniform(0.1, 0.7, 3)
        phases = rng.uniform(0, 2 * np.pi, 3)
        return size * np.sin(2 * np.pi * np.outer(time_s, rates_hz) + phases).mean(axis=1)

    for axis in (0, 1):
        posture.pelvis_m[:, axis] += drift(rng.uniform(0.004, 0.012))
    posture.lean += drift(np.radians(1.2))
    posture.roll += drift(np.radians(0.8))
    posture.twist += drift(np.radians(1.5))
    posture.nod += drift(np.radians(3.0))
    posture.look += drift(np.radians(2.0))
    for side in (LEFT, RIGHT):
        posture.flexion[:, side] += drift(np.radians(2.0))
        posture.elbow[:, side] += drift(np.radians(2.0))


def _chain(
    choose: Callable[[int], str],
    shape: BodyShape,
    place: Place,
    duration_s: float,
    rate_hz: float,
    rng: np.random.Generator,
) -> MotionClip:
    """Chain motions until the time is full and evaluate them."""
    if not (duration_s > 0 and rate_hz > 0):
        raise ValueError(f"duration and rate must be positive, got {duration_s} s, {rate_hz} Hz")
    frames = max(2, round(duration_s * rate_hz))
    times_s = np.arange(frames) / rate_hz
    # The track runs on beyond the last instant, for the radar frame that starts there.
    track_s = np.arange(0.0, times_s[-1] + 0.3, 1 / _TRACK_RATE_HZ)
    names: list[str] = []
    begins_s: list[float] = []
    parts: list[Posture] = []
    begin_s, next_sample = 0.0, 0
    while next_sample < len(track_s):
        name = choose(len(names))
        plan = PLANNERS[name](shape, place, rng)
        names.append(name)
        begins_s.append(begin_s)
        end_sample = int(np.searchsorted(track_s, begin_s + plan.duration_s))
        if end_sample > next_sample:
            parts.append(plan.evaluate(track_s[next_sample:end_sample] - begin_s))
        begin_s, next_sample, place = begin_s + plan.duration_s, end_sample, plan.end
    posture = Posture(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Posture)
        }
    )
    _with_sway(posture, track_s, rng)
    track_m = forward_kinematics(posture, shape)
    which = np.searchsorted(begins_s, times_s, side="right") - 1
    return MotionClip(
        times_s=times_s,
        joints_m=CubicSpline(track_s, track_m)(times_s),
        motions=tuple(names[index] for index in which),
        shape=shape,
        track_times_s=track_s,
        track_m=track_m,
        breathing=Breathing(
            rate_hz=float(rng.uniform(0.2, 0.35)),
            amplitude_m=float(rng.uniform(0.002, 0.006)),
            phase=float(rng.uniform(0, 2 * np.pi)),
        ),
    )


def generate(
    motion: str,
    shape: BodyShape,
    duration_s: float,
    rate_hz: float,
    rng: np.random.Generator,
    place: Place | None = None,
) -> MotionClip:
    """Let a body do one motion, again and again with new random choices, for the whole duration.

    Parameters
    ----------
    motion : str
        One of `MOTIONS`.
    shape : BodyShape
        The body.
    duration_s, rate_hz : float
        Length of the clip and rate of its instants.
    rng : numpy.random.Generator
        Source of all choices: the same state gives the same clip.
    place : Place, optional
        Where to begin; random by default.

    Raises
    ------
    ValueError
        If the motion is not known, or duration or rate are not positive.
    """
    if motion not in PLANNERS:
        raise ValueError(f"unknown motion {motion!r}, there are {', '.join(MOTIONS)}")
    place = random_place(rng) if place is None else place
    return _chain(lambda _: motion, shape, place, duration_s, rate_hz, rng)


def random_sequence(
    rng: np.random.Generator, duration_s: float, rate_hz: float, split: str = "train"
) -> MotionClip:
    """Let a random body do random motions, one after the other.

    Bodies and motions of the test split differ from the others: its bodies have heights that no
    training body has, and its first motion and a third of the following ones are of
    `HELD_OUT_MOTIONS`.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all choices: the same state gives the same clip.
    duration_s, rate_hz : float
        Length of the clip and rate of its instants.
    split : str
        One of `SPLITS`; "validation" draws from the same bodies and motions as "train".

    Raises
    ------
    ValueError
        If the split is not known, or duration or rate are not positive.
    """
    shape = BodyShape.sample(rng, split)
    previous = ""

    def choose(number: int) -> str:
        nonlocal previous
        held_out = split == "test" and (number == 0 or rng.random() < 1 / 3)
        names: Sequence[str] = HELD_OUT_MOTIONS if held_out else _TRAIN_MOTIONS
        names = [name for name in names if name != previous]
        weights = np.array([_WEIGHTS.get(name, 1.0) for name in names])
        previous = str(rng.choice(names, p=weights / weights.sum()))
        return previous

    return _chain(choose, shape, random_place(rng), duration_s, rate_hz, rng)
