"""Poses of single windows, as they come, without a network: see `vision.comparators`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from radar_pose_ros.vision.alignment import ALIGNED, HELD, Aligned, Alignment
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.comparators import LONGEST_S, Poses, Recording, windows_of
from radar_pose_ros.vision.interleaving import Window
from radar_pose_ros.vision.triangulation import triangulate

# From windows and the views' cameras to a pose for each window.
WindowMethod = Callable[[Sequence[Window], Sequence[PinholeCamera]], Poses]


def triangulate_windows(
    windows: Sequence[Window], cameras: Sequence[PinholeCamera], alignment: Alignment = ALIGNED
) -> Poses:
    """Return a pose for each window, at its instant.

    Parameters
    ----------
    windows : sequence of Window
        At least one; a view that is missing has no part in the pose.
    cameras : sequence of PinholeCamera
        One per view.
    alignment : Alignment
        What brings views to one instant.

    Returns
    -------
    Poses
        As `triangulate_aligned`.

    Raises
    ------
    ValueError
        If there are fewer than two views, or not as many cameras.
    """
    aligned = alignment(windows, cameras)
    return triangulate_aligned(windows, cameras, aligned, aligned.keypoints_px)


def triangulate_aligned(
    windows: Sequence[Window],
    cameras: Sequence[PinholeCamera],
    aligned: Aligned,
    keypoints_px: np.ndarray,
) -> Poses:
    """Return a pose for each window, of keypoints that belong to its instant.

    Parameters
    ----------
    windows : sequence of Window
    cameras : sequence of PinholeCamera
        One per view.
    aligned : Aligned
        What the keypoints come from, and how much they count.
    keypoints_px : ndarray, shape (windows, views, joints, 2)
        Pixels of the images without distortion; NaN is unknown.

    Returns
    -------
    Poses
        ``errors_px`` are of images without distortion, between the pose and the keypoints together
        with what was taken off them. The covariance does not know how far a joint may be off that
        was guessed.
    """
    perfect = [camera.with_perfect_lens for camera in cameras]
    found = triangulate(keypoints_px.swapaxes(0, 1), aligned.weight.swapaxes(0, 1), perfect)
    poses = Poses.of([window.stamp_s for window in windows], found)
    if not aligned.taken_off_px.any():
        return poses
    points = np.stack([camera.project(found.points_m) for camera in perfect], axis=1)
    errors = np.linalg.norm(keypoints_px + aligned.taken_off_px - points, axis=-1)
    return replace(
        poses, errors_px=np.where(np.isfinite(poses.errors_px), errors, poses.errors_px)
    )


METHODS: dict[str, WindowMethod] = {
    "aligned": triangulate_windows,
    "linear": partial(triangulate_windows, alignment=Alignment()),
    "hold_last": partial(triangulate_windows, alignment=HELD),
}


def aligned(recording: Recording, longest_s: float = LONGEST_S) -> Poses:
    """Return the poses of a recording's windows, brought to one instant by `ALIGNED`.

    Parameters
    ----------
    recording : Recording
        With one shot at least.
    longest_s : float
        A view whose newest shot is older is left out.
    """
    windows = list(windows_of(recording, longest_s))
    return triangulate_windows(windows, [view.camera for view in recording.views])
