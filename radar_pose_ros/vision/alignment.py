"""Shots of several views, brought to one instant.

A joint moves in a straight line from shot to shot of its view. What views still disagree by at an
instant to which all of them can be brought is no movement: a detector sees a joint elsewhere from
behind than from the front, and a calibration is a little off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.interleaving import Shot, Window
from radar_pose_ros.vision.triangulation import triangulate

SAME_INSTANT_S = 1e-6  # stamps this close are one instant


def at_instant(window: Window, extrapolation: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return where each view's joints are at the window's instant, if they move evenly.

    Parameters
    ----------
    window : Window
    extrapolation : float
        From 0 to 1: by what share of an even movement joints go on from the newest shot, where
        it is not known where they went.

    Returns
    -------
    keypoints_px : ndarray, shape (views, joints, 2)
        On the line to the next shot where that is known, else on the line from the one before;
        where neither knows the joint, where the newest shot has it. NaN where a view is missing.
    confidence : ndarray, shape (views, joints)
        The lesser one of those that were used.
    """
    keypoints, confidence = window.keypoints_px, window.confidence
    following = window.after or (None,) * len(window.newest)
    for view, shots in enumerate(zip(window.newest, window.before, following, strict=True)):
        newest, before, after = shots
        if newest is None or window.stamp_s - newest.stamp_s <= SAME_INSTANT_S:
            continue  # of its own shot no other one has a say
        for other, share in ((before, extrapolation), (after, 1.0)):
            if other is None or share == 0:
                continue
            moved = _on_line(newest, other, window.stamp_s)
            known = ~np.isnan(moved).any(-1)
            held = newest.keypoints_px[known]
            keypoints[view, known] = held + share * (moved[known] - held)
            lesser = np.minimum(newest.confidence, other.confidence)
            confidence[view, known] = lesser[known]
    return keypoints, confidence


def distance_s(window: Window) -> np.ndarray:
    """Return how far the window's instant is from what each view saw, (views,); NaN if missing.

    Positive is the age of the newest shot; negative the time from the nearer one of two shots
    between which the instant is.
    """
    distance = window.age_s
    for view, shot in enumerate(window.after):
        if shot is not None and distance[view] > SAME_INSTANT_S:
            distance[view] = -min(distance[view], shot.stamp_s - window.stamp_s)
    return distance


def disagreement_px(windows: Sequence[Window], cameras: Sequence[PinholeCamera]) -> np.ndarray:
    """Return by how much views disagree when none of them has to be guessed.

    That is in the middle of the time in which every view is between two of its shots; of two such
    times, before the window's instant and after it, the mean. The cameras' points there are
    triangulated, which leaves what is returned.

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
    shape = (len(windows), *windows[0].keypoints_px.shape)
    total, count = np.zeros(shape), np.zeros(shape[:-1])
    pairs = [[(w.before, w.newest) for w in windows]]
    if any(w.after for w in windows):
        none = (None,) * len(cameras)
        pairs.append([(w.newest, w.after or none) for w in windows])
    for each in pairs:
        seen = np.full(shape, np.nan)
        confidence = np.zeros(shape[:-1])
        for number, (first, second) in enumerate(each):
            _meet(first, second, seen[number], confidence[number])
        for view, camera in enumerate(cameras):
            seen[:, view] = camera.undistort(seen[:, view])
        perfect = [camera.with_perfect_lens for camera in cameras]
        found = triangulate(seen.swapaxes(0, 1), confidence.swapaxes(0, 1), perfect)
        points = np.stack([camera.project(found.points_m) for camera in perfect], axis=1)
        used = found.used.swapaxes(0, 1)
        total[used] += (seen - points)[used]
        count += used
    return total / np.maximum(count, 1)[..., None]


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
