"""People in a message as arrays, and how sure one may be of them between two messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from radar_pose_ros.skeleton import plausible

# Confidence in what is only predicted halves in this time [choice]: in 0.1 s, until the next pose
# of a radar, it loses a quarter, and in a second nearly everything.
HALF_LIFE_S = 0.25
LAST_ORIGIN = 2  # of a joint, in the messages' numbers: PREDICTED


@dataclass(frozen=True)
class Person:
    """One person of a message.

    Parameters
    ----------
    keypoints : ndarray of float64, shape (joints, 2) or (joints, 3)
        px in an image, or m; NaN where not known.
    joint_confidence : ndarray of float64, shape (joints,)
        0..1; NaN where not stated.
    confidence : float
        Of the person, likewise.
    number : int
        The message's id: the same for the same person over time; -1 if not tracked.
    root_relative : bool
        In space: whether positions are relative to the root.
    origin : ndarray of uint8, shape (joints,), optional
        Where joints come from, in the messages' numbers; None: all were observed.
    covariance : ndarray of float64, shape (joints, 3, 3), optional
        In space: of the positions, m^2; None or NaN where not known.
    """

    keypoints: np.ndarray
    joint_confidence: np.ndarray
    confidence: float
    number: int = -1
    root_relative: bool = False
    origin: np.ndarray | None = None
    covariance: np.ndarray | None = None

    @property
    def known(self) -> np.ndarray:
        """Which joints have a position, bool (joints,)."""
        return np.isfinite(self.keypoints).all(axis=1)


def by_key(people: Sequence[Person]) -> dict[int, Person]:
    """Return people by what tells them apart over time: their number, else -1 - their place.

    Who has no known joint is not there. Of several people with one number the first one is taken,
    and `doubles` counts the others.
    """
    found: dict[int, Person] = {}
    for place, person in enumerate(people):
        if person.known.any():
            found.setdefault(person.number if person.number >= 0 else -1 - place, person)
    return found


def doubles(people: Sequence[Person]) -> int:
    """Return how many people `by_key` leaves out, because somebody before has their number."""
    return sum(bool(person.known.any()) for person in people) - len(by_key(people))


def origins_are_known(people: Sequence[Person]) -> bool:
    """Return whether all joints that have a position come from where the messages say one can."""
    return all(
        (person.origin[person.known] <= LAST_ORIGIN).all()
        for person in people
        if person.origin is not None
    )


def without_strays(
    people: Sequence[Person], size_px: tuple[int, int] = (0, 0)
) -> tuple[list[Person], int]:
    """Return people without the joints that cannot be theirs, and how many those were.

    In an image of known size those far outside of it (`plausible.near_image`), in space those far
    from the others (`plausible.within_reach`).
    """
    result, strays = [], 0
    for person in people:
        kept = person.keypoints
        if kept.shape[1] == 3:
            kept = plausible.within_reach(kept)
        elif min(size_px) > 0:
            kept = plausible.near_image(kept, size_px)
        result.append(replace(person, keypoints=kept))
        strays += int((person.known & ~result[-1].known).sum())
    return result, strays


def without_points(people: Sequence[Person]) -> tuple[list[Person], int]:
    """Return people, without the joints of those who are no body but a point; their number.

    See `plausible.is_point`.
    """
    return _without(people, plausible.is_point)


def without_small(people: Sequence[Person], size_px: tuple[int, int]) -> tuple[list[Person], int]:
    """Return people, without the joints of those too small for a network; their number.

    See `plausible.SMALLEST` and `plausible.is_smaller`.
    """
    least_px = plausible.SMALLEST * max(size_px)
    return _without(people, lambda pixels: plausible.is_smaller(pixels, least_px))


def liftable(people: Sequence[Person], size_px: tuple[int, int]) -> tuple[list[Person], int]:
    """Return people in an image, without the joints of those who cannot be lifted; their number.

    See `plausible.can_be_lifted`; somebody of whom no joint is known is not counted.
    """
    return _without(people, lambda pixels: not plausible.can_be_lifted(pixels, size_px))


def _without(
    people: Sequence[Person], excluded: Callable[[np.ndarray], Any]
) -> tuple[list[Person], int]:
    """Return people, without the joints of the excluded ones that have any; their number."""
    result, others = [], 0
    for person in people:
        if person.known.any() and excluded(person.keypoints):
            person = replace(person, keypoints=np.full_like(person.keypoints, np.nan))
            others += 1
        result.append(person)
    return result, others


class Sightings:
    """When somebody and each of the joints were seen, and how surely.

    Parameters
    ----------
    tolerance_s : float
        What was seen so long ago was seen now: half a frame.
    """

    def __init__(self, tolerance_s: float) -> None:
        self.tolerance_s = tolerance_s
        self._times_s: list[float] = []
        self._seen: list[np.ndarray] = []  # bool (joints + 1,): the last one is the person
        self._confidence: list[np.ndarray] = []

    def add(self, time_s: float, person: Person) -> None:
        """Note a person who is seen, later than the last time."""
        self._times_s.append(time_s)
        self._seen.append(np.append(person.known, True))
        self._confidence.append(np.append(person.joint_confidence, person.confidence))

    def forget(self, before_s: float) -> None:
        """Forget what was seen before this time, but for the last sighting."""
        count = sum(time_s < before_s for time_s in self._times_s[:-1])
        for column in (self._times_s, self._seen, self._confidence):
            del column[:count]

    def confidence(
        self, time_s: float, between_s: tuple[float, float] | None = None
    ) -> tuple[np.ndarray, float]:
        """Return the confidence of the joints, (joints,), and of the person, at any time.

        Between two sightings it goes straight from the one's to the other's; after the last one,
        and back in time before the first one, it halves every `HALF_LIFE_S`. What was never seen
        has 0.

        Parameters
        ----------
        time_s : float
        between_s : (float, float), optional
            For what is only known at two instants, not in between: confidence goes straight from
            the one's to the other's, and after the later one it halves as after a last sighting.
        """
        first_s, last_s = (time_s, time_s) if between_s is None else between_s
        share = (time_s - first_s) / (last_s - first_s) if last_s > first_s else 1.0
        known_s = min(time_s, last_s)
        times_s = np.array(self._times_s)
        table = np.array(self._confidence)
        result = np.zeros(table.shape[1])
        for column, seen in enumerate(np.array(self._seen).T):
            if seen.any():
                at_s, values = times_s[seen], table[seen, column]
                first, last = np.interp([first_s, last_s], at_s, values)
                age_s = max(known_s - at_s[-1], at_s[0] - known_s, 0.0) + time_s - known_s
                decay = 0.5 ** (age_s / HALF_LIFE_S) if age_s > self.tolerance_s else 1.0
                result[column] = (first + min(share, 1.0) * (last - first)) * decay
        return result[:-1], float(result[-1])
