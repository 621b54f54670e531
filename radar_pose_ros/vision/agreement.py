"""Whether the views of a rig agree, and which of them is likely wrong if not.

Three numbers are looked at, all relative to how large the person is in a view's image:

* the offset of a view: the median, along both axes, of what is left between its own shots and the
  poses at their instants. Noise, and movement that was not foreseen, point to all sides and go
  away in it; a camera that is not where its calibration says keeps an offset;
* the spread: from all views at an instant, how far off a coordinate is that is seen by n views,
  ``sqrt(sum of squared errors / (2 n - 3))``, median over joints and instants. Nothing is left out
  as wrong here. It is large if views do not see the same person, or not through their own lens;
* the same with two views exchanged, or with one left out: if that makes it much smaller, these
  views are named. One that was left out is named only if it also has the largest offset, and no
  other does nearly as well.

Detectors see a joint elsewhere from behind than from the front, always. In simulated rigs of two
to four cameras, of which each has each coordinate of a joint wrong by 8 px of 450 px, offsets were
below 0.012 and spreads below 0.036; OpenPose's views in Pose2Sim's balancing trial, calibrated as
published, have 0.024 and 0.021. One camera 10 cm higher than it says made offsets of 0.016 to
0.048, 20 cm 0.018 to 0.115. 10 cm towards the person change next to nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.vision.alignment import at_instant
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.interleaving import Window
from radar_pose_ros.vision.triangulation import triangulate

LIMIT = 0.03  # of an offset: above all that real detectors do [choice]
SPREAD_LIMITS = 1.5  # the spread may be so much larger
SHOTS = 30  # of each view that are looked at [choice]: two seconds of 15 Hz
FEWEST_SHOTS = 8
MOST_INSTANTS = 24  # of which the spread is computed; more cost time and say the same
# A spread that falls to this share speaks for an exchange, or against the view that was left out.
EXCHANGED = 0.5
WITHOUT = 0.8
CLEARLY = 0.9  # and to this share of what it is without any other view
SOMEBODY_ELSE = 0.1  # of the person's size: who is farther off is another one [choice]
STEADY = 0.4  # of a bone's length: half of all poses lie within so much [choice]
_TRUNK = [H36M17.index(name) for name in ("pelvis", "spine", "thorax", "head")]
_LEGS = [
    [H36M17.index(f"{side}_{part}") for part in ("hip", "knee", "ankle")]
    for side in ("left", "right")
]


class _Instant(NamedTuple):
    """What was seen at a window's instant."""

    view: int
    keypoints_px: np.ndarray  # (views, joints, 2), brought to the instant
    confidence: np.ndarray  # (views, joints)
    left_px: np.ndarray  # (joints, 2): of the view's own shot, what was seen less what is expected
    errors_px: np.ndarray  # (views, joints)
    joints_m: np.ndarray  # (joints, 3)


class Agreement:
    """Watches the views of a rig, pose by pose.

    Parameters
    ----------
    names : sequence of str
        Of the views.
    limit : float
        Largest offset, relative to how large the person is in a view's image.
    shots : int
        Of each view that are looked at.
    """

    def __init__(self, names: Sequence[str], limit: float = LIMIT, shots: int = SHOTS) -> None:
        self.names = tuple(names)
        self.limit = limit
        self._instants: deque[_Instant] = deque(maxlen=shots * len(self.names))
        self._cameras: tuple[PinholeCamera, ...] = ()
        self._added = 0  # poses since there was nothing to complain of
        self._searches = 0  # since then
        self._standing: _Culprits | None = None  # what they found

    def clear(self) -> None:
        """Forget all poses."""
        self._instants.clear()
        self._settle()

    def _settle(self) -> None:
        """Note that there is nothing to complain of."""
        self._added = self._searches = 0
        self._standing = None

    def add(
        self,
        window: Window,
        joints_m: np.ndarray,
        errors_px: np.ndarray,
        cameras: Sequence[PinholeCamera],
    ) -> None:
        """Take a pose.

        Parameters
        ----------
        window : Window
            What it was made of.
        joints_m : ndarray, shape (17, 3)
            In the order of H36M17.
        errors_px : ndarray, shape (views, 17)
            As `vision.comparators.Poses` has them.
        cameras : sequence of PinholeCamera
            One per view; of a view that is missing any.
        """
        self._cameras = tuple(cameras)
        self._added += 1
        shot = window.newest[window.view]
        assert shot is not None  # it is the shot of this instant
        left_px = shot.keypoints_px - cameras[window.view].project(joints_m)
        keypoints_px, confidence = at_instant(window)
        self._instants.append(
            _Instant(window.view, keypoints_px, confidence, left_px, errors_px, joints_m)
        )

    @property
    def errors_px(self) -> np.ndarray:
        """Median distance between what a view saw and the poses, (views,); NaN if not known."""
        found = np.full(len(self.names), np.nan)
        if self._instants:
            errors = np.stack([instant.errors_px for instant in self._instants])
            for view in range(len(found)):
                known = errors[:, view][~np.isnan(errors[:, view])]
                found[view] = np.median(known) if known.size else np.nan
        return found

    @property
    def offsets_px(self) -> np.ndarray:
        """How far each view is off on the median of both axes, (views,); NaN if not known."""
        found = np.full(len(self.names), np.nan)
        for view in range(len(found)):
            left = [i.left_px for i in self._instants if i.view == view]
            left = [one for one in left if np.isfinite(one).all(-1).any()]
            if len(left) >= FEWEST_SHOTS:
                joints = np.concatenate(left)
                found[view] = np.linalg.norm(
                    np.median(joints[np.isfinite(joints).all(-1)], axis=0)
                )
        return found

    @property
    def stature_m(self) -> float:
        """Length of the person, from ankles to crown along the bones, median; NaN if not known."""
        if not self._instants:
            return np.nan
        return stature_m(np.stack([i.joints_m for i in self._instants]))

    @property
    def strangers(self) -> list[int]:
        """The views that mostly do not see the person of the poses, see `agreeing`."""
        beyond = self.errors_px > SOMEBODY_ELSE * self.sizes_px
        return [int(view) for view in np.flatnonzero(beyond)]

    @property
    def sizes_px(self) -> np.ndarray:
        """How large the person is in each view: the diagonal around all joints, median, (views,).

        NaN if not known.
        """
        if not self._instants:
            return np.full(len(self.names), np.nan)
        joints_m = np.stack([instant.joints_m for instant in self._instants])
        return np.array([_size_px(camera.project(joints_m)) for camera in self._cameras])

    def complaint(self) -> str:
        """Return a sentence that says which views disagree; empty while they agree.

        Who is wrong is looked for when all that is tried was seen since the views agreed, and once
        more when all offsets were: it takes much longer than the rest.
        """
        if len(self._instants) < FEWEST_SHOTS:
            return ""
        sizes_px = self.sizes_px
        offsets = self.offsets_px / sizes_px
        most = int(np.argmax(np.nan_to_num(offsets)))
        trial = self._trial(sizes_px)
        before = trial.spread()
        off = bool(offsets[most] > self.limit)
        if not off and not before > SPREAD_LIMITS * self.limit:  # a NaN is no complaint
            self._settle()
            return ""
        found = self._culprits(trial, before, most)
        size_px = float(np.nanmax(sizes_px))
        amount = f"{before * size_px:.0f} px" if np.isfinite(before) else "more than can be told"
        said = f"the views disagree by {amount} of a person of {size_px:.0f} px"
        if off:
            where = f" in {self.names[most]}" if found.views == (most,) else " in one of them"
            said += f", on the mean by {offsets[most] * sizes_px[most]:.0f} px{where}"
            said += f" (allowed {self.limit * sizes_px[most]:.0f})"
        return f"{said}: {_advice([self.names[v] for v in found.views], found, size_px)}"

    def _trial(self, sizes_px: np.ndarray) -> _Trial:
        chosen = list(self._instants)[-MOST_INSTANTS:]
        keypoints = np.stack([i.keypoints_px for i in chosen], axis=1)
        confidence = np.stack([i.confidence for i in chosen], axis=1)
        return _Trial(keypoints, confidence, self._cameras, sizes_px)

    def _culprits(self, trial: _Trial, before: float, most: int) -> _Culprits:
        """Return who is wrong, as it was found before if that may still be so."""
        due = (self._added >= MOST_INSTANTS) + (self._added >= (self._instants.maxlen or 0))
        found, search = self._standing, due > self._searches
        if found is not None and found.views and not search:
            found = _Culprits(found.views, trial.of(found.views))
            search = not _helps(found, before)
        if search:
            found, self._searches = _search(trial, before, most), due
        self._standing = found
        return _Culprits((), before) if found is None else found


class _Culprits(NamedTuple):
    views: tuple[int, ...]  # two that are exchanged, one that is off, or none
    spread: float  # without their fault


def _advice(names: Sequence[str], culprits: _Culprits, size_px: float) -> str:
    after = f"{culprits.spread * size_px:.0f} px"
    if len(names) == 2:
        return f"exchanged, {names[0]} and {names[1]} would leave {after}: are they swapped?"
    if names:
        return (
            f"without {names[0]} it is {after}: check its calibration and its clock, or the "
            "detector sees the person otherwise from there"
        )
    return "check calibrations and clocks, and that all see the same person"


class _Trial(NamedTuple):
    """What was seen at some instants, and how large its spread is if it is taken otherwise."""

    keypoints: np.ndarray  # (views, instants, joints, 2)
    confidence: np.ndarray  # (views, instants, joints)
    cameras: Sequence[PinholeCamera]
    sizes_px: np.ndarray

    @property
    def there(self) -> list[int]:
        """The views that saw anything."""
        return [v for v, seen in enumerate(self.confidence) if (seen > 0).any()]

    def spread(self, turn: dict[int, int] | None = None, without: int = -1) -> float:
        """Return the spread if views see what others did, or one is left out."""
        views = [view for view in self.there if view != without]
        seen = [(turn or {}).get(view, view) for view in views]
        cameras = [self.cameras[view] for view in views]
        return spread(self.keypoints[seen], self.confidence[seen], cameras, self.sizes_px[views])

    def of(self, views: tuple[int, ...]) -> float:
        """Return the spread with two views exchanged, or without one."""
        if len(views) == 1:
            return self.spread(without=views[0])
        return self.spread(dict(zip(views, views[::-1], strict=True)))


def _search(trial: _Trial, before: float, most: int) -> _Culprits:
    """Try all exchanges of two views, then to do without each; return what helps.

    ``most`` is the view of the largest offset.
    """
    nobody = _Culprits((), before)
    if not before > 0:
        return nobody
    pairs = [_Culprits(pair, trial.of(pair)) for pair in combinations(trial.there, 2)]
    best = min(pairs, key=_spread, default=nobody)
    if _helps(best, before):
        return best
    if len(trial.there) < 3:
        return nobody
    singles = sorted((_Culprits((v,), trial.of((v,))) for v in trial.there), key=_spread)
    best, second = singles[:2]
    clearly = _helps(best, before) and best.spread < CLEARLY * second.spread
    return best if clearly and best.views == (most,) else nobody


def _helps(culprits: _Culprits, before: float) -> bool:
    """Whether it speaks against these that there is so much less without their fault."""
    share = EXCHANGED if len(culprits.views) == 2 else WITHOUT
    return culprits.spread < share * before


def _spread(culprits: _Culprits) -> float:
    return np.inf if np.isnan(culprits.spread) else culprits.spread


def _size_px(pixels: np.ndarray) -> float:
    """Return the median diagonal of the boxes around joints (instants, joints, 2)."""
    known = np.isfinite(pixels).all(-1)
    pixels, known = pixels[known.any(-1)], known[known.any(-1), :, None]
    if not len(pixels):
        return np.nan
    highest = np.where(known, pixels, -np.inf).max(1)
    lowest = np.where(known, pixels, np.inf).min(1)
    return float(np.median(np.linalg.norm(highest - lowest, axis=-1)))


def spread(
    keypoints_px: np.ndarray,
    confidence: np.ndarray,
    cameras: Sequence[PinholeCamera],
    sizes_px: np.ndarray,
) -> float:
    """Return how far off a coordinate is, as views say of each other.

    Parameters
    ----------
    keypoints_px : ndarray, shape (views, instants, joints, 2)
        NaN is unknown.
    confidence : ndarray, shape (views, instants, joints)
    cameras : sequence of PinholeCamera
    sizes_px : ndarray, shape (views,)
        What errors are relative to.

    Returns
    -------
    float
        Median over what two views or more see, NaN if
        that is nothing. Infinite if most rays do not meet before the cameras.
    """
    if len(cameras) < 2:
        return np.nan
    found = triangulate(keypoints_px, confidence, cameras, threshold_px=np.inf, steps=1)
    errors = found.errors_px / sizes_px[:, None, None]
    seen = np.isfinite(keypoints_px).all(-1) & (confidence > 0)
    count = seen.sum(0)
    squares = np.where(seen, np.where(np.isnan(errors), np.inf, errors), 0.0) ** 2
    values = np.sqrt(squares.sum(0) / np.maximum(2 * count - 3, 1))[count >= 2]
    return float(np.median(values)) if values.size else np.nan


def agreeing(
    joints_m: np.ndarray, errors_px: np.ndarray, cameras: Sequence[PinholeCamera]
) -> np.ndarray:
    """Return which views see the person of a pose, and not somebody else: bool, (views,).

    Parameters
    ----------
    joints_m : ndarray, shape (joints, 3)
    errors_px : ndarray, shape (views, joints)
        As `vision.comparators.Poses` has them; a view without any is none of them.
    cameras : sequence of PinholeCamera
    """
    found = np.zeros(len(cameras), bool)
    for view, (errors, camera) in enumerate(zip(errors_px, cameras, strict=True)):
        known = errors[~np.isnan(errors)]
        if known.size:
            size_px = _size_px(camera.project(joints_m)[None])
            found[view] = np.median(known) <= SOMEBODY_ELSE * size_px
    return found


def stature_m(joints_m: np.ndarray) -> float:
    """Return how tall somebody is, however they bend: the lengths of the bones, added up.

    Parameters
    ----------
    joints_m : ndarray, shape (poses, 17, 3)
        In the order of H36M17.

    Returns
    -------
    float
        From the ankles to the crown: medians over the poses, of the legs the mean of both, or the
        one that is known. NaN if neither is, or a bone of the trunk is not: it was never seen, or
        its length varies too much to be one, as where two cameras face each other.
    """

    def length(chain: list[int]) -> float:
        bones_m = np.linalg.norm(np.diff(joints_m[:, chain], axis=1), axis=-1)
        total_m = 0.0
        for bone_m in bones_m.T:
            known_m = bone_m[~np.isnan(bone_m)]
            low, middle, high = (
                np.quantile(known_m, (0.25, 0.5, 0.75)) if known_m.size else 3 * (np.nan,)
            )
            total_m += middle if high - low <= STEADY * middle else np.nan
        return float(total_m)

    legs = [found for leg in _LEGS if not np.isnan(found := length(leg))]
    return length(_TRUNK) + float(np.mean(legs)) if legs else np.nan
