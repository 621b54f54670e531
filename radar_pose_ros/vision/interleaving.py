"""What each of several cameras saw last, by the stamps of their images.

Cameras that know nothing of each other fire at instants of their own, and their images arrive when
they like. For every shot there is a window: of each view the newest shot up to that instant, and
the one before it. Nothing is computed here of what was seen, and no clock is read: a recording
that is played fast, slowly or again gives the same windows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

# Stamps in seconds since 1970 are rounded to 0.2 microseconds: limits are meant up to this.
_ROUNDED_S = 1e-6


@dataclass(frozen=True, eq=False)
class Shot:
    """What one camera saw at one instant.

    Attributes
    ----------
    stamp_s : float
        When the shutter was open, seconds on the clock of all cameras.
    keypoints_px : ndarray of float64, shape (joints, 2)
        NaN is unknown.
    confidence : ndarray of float64, shape (joints,)
        0 where a keypoint is not known.
    """

    stamp_s: float
    keypoints_px: np.ndarray = field(repr=False)
    confidence: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class Window:
    """What is known of all views at the instant of a shot.

    Attributes
    ----------
    stamp_s : float
        The instant.
    view : int
        Which camera's shot it is.
    newest : tuple of (Shot or None)
        Of each view the newest shot up to the instant; None if it is too old or there is none.
    before : tuple of (Shot or None)
        Of each view the shot before that one; None if the two are too far apart, or there is none.
    after : tuple of (Shot or None)
        Of each view the shot after the newest, for whoever could wait for it; None if the two are
        too far apart, or there is none. Empty if nobody waited.
    """

    stamp_s: float
    view: int
    newest: tuple[Shot | None, ...]
    before: tuple[Shot | None, ...]
    after: tuple[Shot | None, ...] = ()

    @property
    def missing(self) -> tuple[int, ...]:
        """The views without a shot."""
        return tuple(number for number, shot in enumerate(self.newest) if shot is None)

    @property
    def age_s(self) -> np.ndarray:
        """By how much each view's newest shot is older than the instant, (views,); else NaN."""
        stamps = [np.nan if shot is None else shot.stamp_s for shot in self.newest]
        return self.stamp_s - np.array(stamps)

    @property
    def keypoints_px(self) -> np.ndarray:
        """Each view's newest keypoints, (views, joints, 2); NaN where a view is missing."""
        known = next(shot for shot in self.newest if shot is not None)
        none = np.full_like(known.keypoints_px, np.nan)
        return np.stack([none if shot is None else shot.keypoints_px for shot in self.newest])

    @property
    def confidence(self) -> np.ndarray:
        """Of each view's newest keypoints, (views, joints); 0 where a view is missing."""
        known = next(shot for shot in self.newest if shot is not None)
        none = np.zeros_like(known.confidence)
        return np.stack([none if shot is None else shot.confidence for shot in self.newest])


@dataclass
class Counts:
    """What became of the shots of one view.

    Attributes
    ----------
    taken, late, repeated : int
        Of these the last two were refused.
    resets : int
        How often one of them showed that time went back; these were taken.
    """

    taken: int = 0
    late: int = 0
    repeated: int = 0
    resets: int = 0


class Interleaver:
    """Keeps the last shots of each view, driven by their stamps.

    A shot may arrive after younger ones of other views, or of its own: up to ``late_s`` it is
    sorted in, and its window is the one it would have had in time, but for what comes later still.

    Time went back, as when a recording is played again, if a view's shot is older than that
    view's newest by more than ``longest_s``: everything before is forgotten. So it is if a view's
    late shots go on for longer than ``longest_s`` while no view has one in time: then what they
    are measured by was itself wrong. A camera whose images always come very late is only late.

    Parameters
    ----------
    cameras : sequence of str
        Their names, for errors; a view is a number of these.
    longest_s : float
        A shot that is older is not in a window any more, and no two further apart belong together.
    late_s : float, optional
        A shot that is older than the newest of all views by more is refused; at most
        ``longest_s``, which it is by default.

    Attributes
    ----------
    counts : tuple of Counts
        By view, since the beginning.

    Raises
    ------
    ValueError
        If there is no camera, names repeat, or a number is out of range.
    """

    def __init__(
        self, cameras: Sequence[str], longest_s: float, late_s: float | None = None
    ) -> None:
        late_s = longest_s if late_s is None else late_s
        if not cameras or len({*cameras}) != len(cameras):
            raise ValueError(
                f"want cameras of different names, got {', '.join(cameras) or 'none'}"
            )
        if not (0 < longest_s < np.inf and 0 <= late_s <= longest_s):
            raise ValueError(
                "longest_s must be positive, and late_s from 0 to longest_s, got "
                f"{longest_s} and {late_s}"
            )
        self.cameras = tuple(cameras)
        self.longest_s = longest_s
        self.late_s = late_s
        self.counts = tuple(Counts() for _ in cameras)
        self._joints: int | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all shots, not what was counted."""
        self._shots: list[list[Shot]] = [[] for _ in self.cameras]
        self._newest_s = -np.inf
        self._late_since_s = [np.inf] * len(self.cameras)

    def push(
        self, view: int, stamp_s: float, keypoints_px: ArrayLike, confidence: ArrayLike
    ) -> Window | None:
        """Take a shot and return the window of its instant.

        Parameters
        ----------
        view : int
            Which of the cameras.
        stamp_s : float
            When the shutter was open.
        keypoints_px : array_like, shape (joints, 2)
            NaN is unknown.
        confidence : array_like, shape (joints,)
            From 0 to 1; NaN is 0.

        Returns
        -------
        Window or None
            None if the shot came too late, or is a second one of this view and stamp.

        Raises
        ------
        ValueError
            If there is no such view, the stamp is not finite, or the shapes are others than these
            or than before.
        """
        shot = self._checked(view, stamp_s, keypoints_px, confidence)
        counts, mine = self.counts[view], self._shots[view]
        if mine and mine[-1].stamp_s - shot.stamp_s > self.longest_s + _ROUNDED_S:
            counts.resets += 1
            self.clear()
        elif self._newest_s - shot.stamp_s > self.late_s + _ROUNDED_S:
            since_s = min(self._late_since_s[view], shot.stamp_s)
            if shot.stamp_s - since_s <= self.longest_s + _ROUNDED_S:
                self._late_since_s[view] = since_s
                counts.late += 1
                return None
            counts.resets += 1
            self.clear()
        mine = self._shots[view]
        place = bisect_left(mine, shot.stamp_s, key=_stamp)
        if place < len(mine) and mine[place].stamp_s == shot.stamp_s:
            counts.repeated += 1
            return None
        mine.insert(place, shot)
        counts.taken += 1
        self._late_since_s = [np.inf] * len(self.cameras)
        self._newest_s = max(self._newest_s, shot.stamp_s)
        self._forget()
        return self._window(view, shot.stamp_s)

    def _checked(
        self, view: int, stamp_s: float, keypoints_px: ArrayLike, confidence: ArrayLike
    ) -> Shot:
        if not 0 <= view < len(self.cameras):
            raise ValueError(f"want a view from 0 to {len(self.cameras) - 1}, got {view}")
        name = self.cameras[view]
        if not np.isfinite(stamp_s):
            raise ValueError(f"{name}: the stamp of a shot must be finite, got {stamp_s}")
        keypoints = np.array(keypoints_px, np.float64)  # copies: the caller may write on
        given = np.array(confidence, np.float64)
        shaped = keypoints.ndim == 2 and keypoints.shape[1] == 2
        if not shaped or self._joints not in (None, len(keypoints)):
            joints = "joints" if self._joints is None else self._joints
            raise ValueError(f"{name}: want keypoints ({joints}, 2), got {keypoints.shape}")
        if given.shape != keypoints.shape[:1]:
            raise ValueError(f"{name}: want confidences ({len(keypoints)},), got {given.shape}")
        self._joints = len(keypoints)
        known = np.isfinite(keypoints).all(-1)
        keypoints[~known] = np.nan
        return Shot(float(stamp_s), keypoints, np.where(known & ~np.isnan(given), given, 0.0))

    def _forget(self) -> None:
        """Drop what no window can ask for any more."""
        oldest_s = self._newest_s - self.late_s - 2 * self.longest_s - 3 * _ROUNDED_S
        for shots in self._shots:
            del shots[: bisect_left(shots, oldest_s, key=_stamp)]

    def _window(self, view: int, stamp_s: float) -> Window:
        newest: list[Shot | None] = []
        before: list[Shot | None] = []
        for shots in self._shots:
            last = bisect_right(shots, stamp_s, key=_stamp) - 1
            found = [shots[number] if number >= 0 else None for number in (last, last - 1)]
            instant_s = stamp_s
            for number, shot in enumerate(found):
                if shot is None or instant_s - shot.stamp_s > self.longest_s + _ROUNDED_S:
                    found[number:] = [None] * (len(found) - number)
                    break
                instant_s = shot.stamp_s
            newest.append(found[0])
            before.append(found[1])
        return Window(stamp_s, view, tuple(newest), tuple(before))


def _stamp(shot: Shot) -> float:
    return shot.stamp_s
