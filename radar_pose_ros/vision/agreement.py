"""Whether the views of a rig agree, and which of them is likely wrong if not.

Three numbers are looked at, all relative to the longer side of an image:

* the offset of a view: the median, along both axes, of what is left between its own shots and the
  poses at their instants. Noise, and movement that was not foreseen, point to all sides and go
  away in it; a camera that is not where its calibration says keeps an offset;
* the spread: from all views at an instant, how far off a coordinate is that is seen by n views,
  ``sqrt(sum of squared errors / (2 n - 3))``, median over joints and instants. Nothing is left out
  as wrong here. It is large if views do not see the same person, or not through their own lens;
* the same with two views exchanged, or with one left out: if that makes it much smaller, these
  views are named.

In simulated rigs of two to four cameras of 1000 px with a detector's errors, offsets were below
1 px and spreads below 9 px; with one of the cameras 10 cm higher than it says, offsets were 9 to
20 px; with two views exchanged, the spread was 32 px and more. 10 cm towards the person change
next to nothing: neither what is seen, nor the poses (2 mm).
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

LIMIT = 0.006  # of an offset [choice]; the spread may be three times as large
SPREAD_LIMITS = 3.0
SHOTS = 30  # of each view that are looked at [choice]: two seconds of 15 Hz
FEWEST_SHOTS = 8
MOST_INSTANTS = 24  # of which the spread is computed; more cost time and say the same
# A spread that falls to this share speaks for an exchange, or against the view that was left out.
EXCHANGED = 0.5
WITHOUT = 0.8
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
        Largest offset, relative to the longer side of a view's image.
    shots : int
        Of each view that are looked at.
    """

    def __init__(self, names: Sequence[str], limit: float = LIMIT, shots: int = SHOTS) -> None:
        self.names = tuple(names)
        self.limit = limit
        self._instants: deque[_Instant] = deque(maxlen=shots * len(self.names))
        self._cameras: tuple[PinholeCamera, ...] = ()

    def clear(self) -> None:
        """Forget all poses."""
        self._instants.clear()

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

    def complaint(self) -> str:
        """Return a sentence that says which views disagree; empty while they agree."""
        if len(self._instants) < FEWEST_SHOTS:
            return ""
        sides = np.array([max(camera.size_px) for camera in self._cameras])
        offsets_px = self.offsets_px
        most = int(np.argmax(np.nan_to_num(offsets_px / sides)))
        chosen = list(self._instants)[-MOST_INSTANTS:]
        keypoints = np.stack([i.keypoints_px for i in chosen], axis=1)
        confidence = np.stack([i.confidence for i in chosen], axis=1)
        there = [view for view in range(len(sides)) if (confidence[view] > 0).any()]
        before = spread(keypoints[there], confidence[there], [self._cameras[v] for v in there])
        off = bool(offsets_px[most] / sides[most] > self.limit)
        if not off and not before > SPREAD_LIMITS * self.limit:  # a NaN is no complaint
            return ""
        side = float(sides.max())
        amount = f"{before * side:.0f} px" if np.isfinite(before) else "more than can be told"
        said = f"the views disagree by {amount}"
        if off:
            said += f", on the mean by {offsets_px[most]:.0f} px in {self.names[most]}"
            said += f" (allowed {self.limit * sides[most]:.0f})"
        culprits = _culprits(keypoints, confidence, self._cameras, there, before)
        return f"{said}: {_advice([self.names[v] for v in culprits.views], culprits, side)}"


class _Culprits(NamedTuple):
    views: tuple[int, ...]  # two that are exchanged, one that is off, or none
    spread: float  # without their fault


def _advice(names: Sequence[str], culprits: _Culprits, side_px: float) -> str:
    after = f"{culprits.spread * side_px:.0f} px"
    if len(names) == 2:
        return f"exchanged, {names[0]} and {names[1]} would leave {after}: are they swapped?"
    if names:
        return f"without {names[0]} it is {after}: check its calibration and its clock"
    return "check calibration and clocks, and that all see the same person"


def _culprits(
    keypoints: np.ndarray,
    confidence: np.ndarray,
    cameras: Sequence[PinholeCamera],
    there: Sequence[int],
    before: float,
) -> _Culprits:
    """Try all exchanges of two views, and to do without each; return what helps most."""
    best = _Culprits((), before)
    if before > 0:
        for pair in combinations(there, 2):
            turn = dict(zip(pair, pair[::-1], strict=True))
            order = [turn.get(view, view) for view in there]
            found = spread(keypoints[order], confidence[order], [cameras[v] for v in there])
            if found < min(best.spread, EXCHANGED * before):
                best = _Culprits(pair, found)
    if not best.views and len(there) > 2:
        for view in there:
            others = [other for other in there if other != view]
            found = spread(keypoints[others], confidence[others], [cameras[v] for v in others])
            if found < min(best.spread, WITHOUT * before):
                best = _Culprits((view,), found)
    return best


def spread(
    keypoints_px: np.ndarray, confidence: np.ndarray, cameras: Sequence[PinholeCamera]
) -> float:
    """Return how far off a coordinate is, as views say of each other.

    Parameters
    ----------
    keypoints_px : ndarray, shape (views, instants, joints, 2)
        NaN is unknown.
    confidence : ndarray, shape (views, instants, joints)
    cameras : sequence of PinholeCamera

    Returns
    -------
    float
        Relative to the longer side of the images; median over what two views or more see, NaN if
        that is nothing. Infinite if most rays do not meet before the cameras.
    """
    if len(cameras) < 2:
        return np.nan
    found = triangulate(keypoints_px, confidence, cameras, threshold_px=np.inf, steps=1)
    errors = found.errors_px / np.array([max(camera.size_px) for camera in cameras])[:, None, None]
    seen = np.isfinite(keypoints_px).all(-1) & (confidence > 0)
    count = seen.sum(0)
    squares = np.where(seen, np.where(np.isnan(errors), np.inf, errors), 0.0) ** 2
    values = np.sqrt(squares.sum(0) / np.maximum(2 * count - 3, 1))[count >= 2]
    return float(np.median(values)) if values.size else np.nan


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
