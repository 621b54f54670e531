"""Shots of several views, brought to one instant.

A joint moves in a straight line from shot to shot of its view. What views still disagree by at an
instant to which all of them can be brought is no movement: a detector sees a joint elsewhere from
behind than from the front, and a calibration is a little off. Where that is taken off, the newest
shots can be given more say than those that are guessed: else it would be their view's errors that
have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.interleaving import Shot, Window
from radar_pose_ros.vision.triangulation import triangulate

SAME_INSTANT_S = 1e-6  # stamps this close are one instant


class Aligned(NamedTuple):
    """What views have at the instants of windows.

    Attributes
    ----------
    keypoints_px : ndarray, shape (windows, views, joints, 2)
        Pixels of the images without distortion; NaN is unknown.
    confidence : ndarray, shape (windows, views, joints)
        Of the shots.
    age_s : ndarray, shape (windows, views)
        From when the view looked to the window's instant; NaN where it did not.
    taken_off_px : ndarray, shape (windows, views, joints, 2)
        What makes of ``keypoints_px`` again what views had said.
    weight : ndarray, shape (windows, views, joints)
        The confidence with which joints are triangulated.
    """

    keypoints_px: np.ndarray
    confidence: np.ndarray
    age_s: np.ndarray
    taken_off_px: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Alignment:
    """How shots are brought to one instant.

    Parameters
    ----------
    extrapolation : float
        See `at_instant`; 0 holds what was seen last.
    reconciled : bool
        Whether `disagreement_px` is taken off.
    fading_s : float
        So old a shot counts half: its confidence times ``1 / (1 + age / fading_s)``. With 0 all
        count alike.

    Raises
    ------
    ValueError
        If a number is out of range; the sentence says which.
    """

    extrapolation: float = 1.0
    reconciled: bool = False
    fading_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.extrapolation <= 1:
            raise ValueError(f"extrapolation must be 0 to 1, got {self.extrapolation}")
        if not 0 <= self.fading_s < np.inf:
            raise ValueError(f"fading_s must be 0 or more, got {self.fading_s}")

    def __call__(self, windows: Sequence[Window], cameras: Sequence[PinholeCamera]) -> Aligned:
        """Return what views have at the windows' instants.

        Parameters
        ----------
        windows : sequence of Window
            One or more, of the same views.
        cameras : sequence of PinholeCamera
            One per view.
        """
        found = [at_instant(window, self.extrapolation) for window in windows]
        keypoints, confidence = (np.stack(part) for part in zip(*found, strict=True))
        for view, camera in enumerate(cameras):
            keypoints[:, view] = camera.undistort(keypoints[:, view])
        taken_off = np.zeros(keypoints.shape)
        if self.reconciled:
            taken_off = disagreement_px(windows, cameras)
        ages = np.stack([window.age_s for window in windows])
        weight = confidence
        if self.fading_s:
            weight = confidence / (1 + np.nan_to_num(ages)[..., None] / self.fading_s)
        return Aligned(keypoints - taken_off, confidence, ages, taken_off, weight)


# Best on Pose2Sim's balancing trial at 4 to 30 shots per second of a camera, and simulated people
# lose nothing by it [choice].
ALIGNED = Alignment(extrapolation=0.85, reconciled=True, fading_s=0.1)
# Each view has what it saw last.
HELD = Alignment(extrapolation=0.0)


def at_instant(
    window: Window, extrapolation: float = 1.0, after: Sequence[Shot | None] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each view's joints are at the window's instant, if they move evenly.

    Parameters
    ----------
    window : Window
    extrapolation : float
        From 0 to 1: by what share of an even movement joints go on from the newest shot, where
        it is not known where they went. They go on no further than they came from the shot before:
        of two shots that follow each other closely, noise would be taken for speed.
    after : sequence of (Shot or None)
        Of each view the shot after the newest, from whoever could wait for it; None if there is
        none. Empty if nobody waited.

    Returns
    -------
    keypoints_px : ndarray, shape (views, joints, 2)
        On the line to the next shot where that is known, else on the line from the one before;
        where neither knows the joint, where the newest shot has it. NaN where a view is missing.
    confidence : ndarray, shape (views, joints)
        The lesser one of those that were used.
    """
    keypoints, confidence = window.keypoints_px, window.confidence
    following = after or (None,) * len(window.newest)
    for view, shots in enumerate(zip(window.newest, window.before, following, strict=True)):
        newest, before, next_shot = shots
        if newest is None or window.stamp_s - newest.stamp_s <= SAME_INSTANT_S:
            continue  # of its own shot no other one has a say
        for other, share in ((before, extrapolation), (next_shot, 1.0)):
            if other is None or share == 0:
                continue
            furthest_s = max(2 * newest.stamp_s - other.stamp_s, other.stamp_s)
            moved = _on_line(newest, other, min(window.stamp_s, furthest_s))
            known = ~np.isnan(moved).any(-1)
            held = newest.keypoints_px[known]
            keypoints[view, known] = held + share * (moved[known] - held)
            lesser = np.minimum(newest.confidence, other.confidence)
            confidence[view, known] = lesser[known]
    return keypoints, confidence


def disagreement_px(windows: Sequence[Window], cameras: Sequence[PinholeCamera]) -> np.ndarray:
    """Return by how much views disagree when none of them has to be guessed.

    That is in the middle of the time in which every view is between its last two shots. The
    cameras' points there are triangulated, which leaves what is returned.

    Parameters
    ----------
    windows : sequence of Window
    cameras : sequence of PinholeCamera
        One per view.

    Returns
    -------
    ndarray, shape (windows, views, joints, 2)
        Pixels of the images without distortion, from the triangulated point to the keypoint. 0
        where it is not known, and where a view is so far off that it was left out.
    """
    if not windows:
        return np.zeros((0, len(cameras), 0, 2))
    seen = np.full((len(windows), *windows[0].keypoints_px.shape), np.nan)
    confidence = np.zeros(seen.shape[:-1])
    for number, window in enumerate(windows):
        _meet(window.before, window.newest, seen[number], confidence[number])
    for view, camera in enumerate(cameras):
        seen[:, view] = camera.undistort(seen[:, view])
    perfect = [camera.with_perfect_lens for camera in cameras]
    found = triangulate(seen.swapaxes(0, 1), confidence.swapaxes(0, 1), perfect)
    points = np.stack([camera.project(found.points_m) for camera in perfect], axis=1)
    return np.where(found.used.swapaxes(0, 1)[..., None], seen - points, 0.0)


def _meet(
    first: Sequence[Shot | None],
    second: Sequence[Shot | None],
    seen: np.ndarray,
    confidence: np.ndarray,
) -> None:
    """Bring views to the middle of the time that is between both shots of each, in place."""
    known = [
        (view, one, other)
        for view, (one, other) in enumerate(zip(first, second, strict=True))
        if one is not None and other is not None
    ]
    begin_s = max((one.stamp_s for _, one, _ in known), default=0.0)
    end_s = min((other.stamp_s for _, _, other in known), default=0.0)
    if len(known) < 2 or begin_s > end_s + SAME_INSTANT_S:
        return
    for view, one, other in known:
        seen[view] = _on_line(one, other, (begin_s + end_s) / 2)
        confidence[view] = np.minimum(one.confidence, other.confidence)


def _on_line(one: Shot, other: Shot, stamp_s: float) -> np.ndarray:
    """Return where joints (joints, 2) are that move evenly through both shots."""
    share = (stamp_s - one.stamp_s) / (other.stamp_s - one.stamp_s)
    return one.keypoints_px + share * (other.keypoints_px - one.keypoints_px)
