"""Poses of single windows, as they come, without a network: see `vision.comparators`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from radar_pose_ros.vision.alignment import at_instant
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.comparators import Poses
from radar_pose_ros.vision.interleaving import Window
from radar_pose_ros.vision.triangulation import triangulate

# From windows and the views' cameras to a pose for each window.
WindowMethod = Callable[[Sequence[Window], Sequence[PinholeCamera]], Poses]

# By how much of an even movement joints go on from each view's newest shot.
EXTRAPOLATIONS = {"linear": 1.0, "hold_last": 0.0}


def triangulate_windows(
    windows: Sequence[Window], cameras: Sequence[PinholeCamera], extrapolation: float = 1.0
) -> Poses:
    """Return a pose for each window, at its instant.

    Parameters
    ----------
    windows : sequence of Window
        At least one; a view that is missing has no part in the pose.
    cameras : sequence of PinholeCamera
        One per view.
    extrapolation : float
        See `vision.alignment.at_instant`.

    Raises
    ------
    ValueError
        If there are fewer than two views, or not as many cameras.
    """
    seen = [at_instant(window, extrapolation) for window in windows]
    keypoints, confidence = (np.stack(part, axis=1) for part in zip(*seen, strict=True))
    found = triangulate(keypoints, confidence, cameras)
    return Poses.of([window.stamp_s for window in windows], found)
