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
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# Shots in a row that are too old, after which time went back: two if they are older by so many
# times the longest age, else as many as late ones hardly come in order [choice].
_FAR = 10
_FEW, _MANY = 2, 12
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
    """

    stamp_s: float
    view: int
    newest: tuple[Shot | None, ...]
    before: tuple[Shot | None, ...]

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
    taken, late, ahead, repeated : int
        Of these only the first are in windows.
    resets : int
        How often one of them, which was taken, showed that time went back.
    """

    taken: int = 0
    late: int = 0
    ahead: int = 0
    repeated: int = 0
    resets: int = 0


class Offset(NamedTuple):
    """How far the stamps of a view are from those of the others that go on meanwhile.

    Attributes
    ----------
    by_s : float
        Ahead; what is late is less than 0.
    others : tuple of int
        These views. If it is one, nobody can tell which of the two is wrong.
    """

    by_s: float
    others: tuple[int, ...]


class Interleaver:
    """Keeps the last shots of each view, driven by their stamps.

    A shot may arrive after younger ones of other views, or of its own: up to ``late_s`` it is
    sorted in, and its window is the one it would have had in time, but for what comes later still.

    Lateness is measured from the newest shot that no other view contradicts: one of another view
    is not older by more than ``longest_s``. So no view alone makes the others late; where no two
    agree, it is measured from the newest shot of all. Views count while they go on: not those
    that have not fired while another one's stamps rose by ``longest_s``. A view alone that is
    ahead by more is left out: its shots are withdrawn as soon as one of another view is taken.

    Time went back, as when a recording is played again, if a shot is older than its view's newest
    by more than ten times ``longest_s``, and so is the one after it, of whatever view, without
    another one in time between: everything before is forgotten, the first of the two as well. If
    they are older by less, but by more than ``longest_s``, it takes twelve in a row, each view's
    in order. Fewer are only late. Time went back, too, if shots turn out to be ahead that were in
    windows: as many in a row have to show it as there are shots of those views, twelve at most.

    Shots that are late by random amounts, up to ten times ``longest_s``, hardly look like that: of
    2 to 8 views of 15 and 30 Hz, late by up to 2.4 times a ``longest_s`` of 0.5 s, never in 80
    simulated minutes; of three views of 5 Hz four times in 27.

    Parameters
    ----------
    cameras : sequence of str
        Their names, for errors; a view is a number of these.
    longest_s : float
        A shot that is older is not in a window any more, and no two further apart belong together.
    late_s : float, optional
        A shot that is late by more is refused; at most ``longest_s``, which it is by default.

    Attributes
    ----------
    counts : tuple of Counts
        By view, since the beginning.
    offsets : list of (Offset or None)
        By view, why its last shot was refused as late or will be withdrawn; None if neither.

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
        views = range(len(self.cameras))
        self.offsets: list[Offset | None] = [None for _ in views]
        self._last_s: list[float | None] = [None for _ in views]
        # Of each view, and each other one: the stamp of its first shot since that one fired.
        self._since_s: list[list[float | None]] = [[None for _ in views] for _ in views]
        self._ahead_s = [np.inf for _ in views]  # the first shot that was too far ahead
        self._stragglers: list[tuple[int, float]] = []  # views and stamps
        self._doubts = 0  # shots in a row that speak against what was in windows

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
            None if the shot came too late, or is a second one of this view and stamp. That of a
            shot that is too far ahead is worth nothing; see ``offsets``.

        Raises
        ------
        ValueError
            If there is no such view, the stamp is not finite, or the shapes are others than these
            or than before.
        """
        shot = self._checked(view, stamp_s, keypoints_px, confidence)
        counts = self.counts[view]
        newest_s = self._shots[view][-1].stamp_s if self._shots[view] else -np.inf
        behind_s = newest_s - shot.stamp_s
        if behind_s > self.longest_s + _ROUNDED_S:
            needed = _FEW if behind_s > _FAR * self.longest_s else _MANY
            if self._stragglers_with(view, shot.stamp_s) < needed:
                counts.late += 1
                return None
            counts.resets += 1
            self.clear()
        mine = self._shots[view]
        place = bisect_left(mine, shot.stamp_s, key=_stamp)
        if place < len(mine) and mine[place].stamp_s == shot.stamp_s:
            counts.repeated += 1
            return None
        others = self._note(view, shot.stamp_s)
        reference_s = self._reference_s(shot.stamp_s, others)
        by_s = shot.stamp_s - reference_s
        late = by_s < -self.late_s - _ROUNDED_S
        ahead = by_s > self.longest_s + _ROUNDED_S
        self.offsets[view] = Offset(by_s, others) if late or ahead else None
        if late:
            counts.late += 1
            return None
        mine.insert(place, shot)
        counts.taken += 1
        self._stragglers.clear()
        self._ahead_s[view] = min(self._ahead_s[view], shot.stamp_s) if ahead else np.inf
        self._newest_s = max(self._newest_s, reference_s)
        if not ahead:
            self._withdraw(view, reference_s)
        self._forget()
        return self._window(view, shot.stamp_s)

    def _stragglers_with(self, view: int, stamp_s: float) -> int:
        """Return how many shots from long ago came in a row, in order, with this one; note it."""
        before = self._stragglers
        if before and (
            abs(stamp_s - before[-1][1]) > self.longest_s + _ROUNDED_S
            or any(stamp_s <= other_s for other, other_s in before if other == view)
        ):
            before.clear()
        before.append((view, stamp_s))
        return len(before)

    def _note(self, view: int, stamp_s: float) -> tuple[int, ...]:
        """Note that a view fired; return which others go on meanwhile."""
        shots, mine = self._shots[view], self._since_s[view]
        self._last_s[view] = max(stamp_s, shots[-1].stamp_s) if shots else stamp_s
        for other, theirs in enumerate(self._since_s):
            theirs[view] = None
            since_s = mine[other]
            mine[other] = stamp_s if since_s is None else since_s
        return tuple(
            other
            for other, since_s in enumerate(mine)
            if other != view
            and self._last_s[other] is not None
            and since_s is not None
            and stamp_s - since_s <= self.longest_s + _ROUNDED_S
        )

    def _reference_s(self, stamp_s: float, others: Sequence[int]) -> float:
        """Return from what lateness is measured: the newest stamp that another one is near.

        If shots that were in windows are then ahead, only once that is believed.
        """
        known = [last_s for other in others if (last_s := self._last_s[other]) is not None]
        agreed_s = self._newest_agreed_s([stamp_s, *known])
        limit_s = agreed_s + self.longest_s + _ROUNDED_S
        newest_s, shots = -np.inf, 0
        for mine, ahead_s in zip(self._shots, self._ahead_s, strict=True):
            shown = mine[: bisect_left(mine, ahead_s, key=_stamp)]
            if shown and shown[-1].stamp_s > limit_s:
                newest_s, shots = max(newest_s, shown[-1].stamp_s), shots + len(shown)
        self._doubts = self._doubts + 1 if shots else 0
        if self._doubts >= min(_MANY, shots):
            return agreed_s
        goes_on = newest_s < stamp_s <= newest_s + self.longest_s + _ROUNDED_S
        return stamp_s if goes_on else newest_s

    def _newest_agreed_s(self, stamps_s: Sequence[float]) -> float:
        """Return the newest stamp that another one is near, else the newest."""
        stamps = sorted(stamps_s, reverse=True)
        for newer_s, older_s in pairwise(stamps):
            if newer_s - older_s <= self.longest_s + _ROUNDED_S:
                return newer_s
        return stamps[0]

    def _withdraw(self, view: int, reference_s: float) -> None:
        """Drop what is too far ahead, as a shot of this view shows."""
        limit_s = reference_s + self.longest_s + _ROUNDED_S
        back = False
        for counts, shots, ahead_s in zip(self.counts, self._shots, self._ahead_s, strict=True):
            first = bisect_right(shots, limit_s, key=_stamp)
            dropped = shots[first:]
            back |= bool(dropped) and dropped[0].stamp_s < ahead_s
            counts.taken -= len(dropped)
            counts.ahead += len(dropped)
            del shots[first:]
        if back:
            self.counts[view].resets += 1
            self._newest_s = reference_s

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
