"""What a camera sees, as lines to draw."""

from __future__ import annotations

import numpy as np

from radar_pose_ros.skeleton.placement import Intrinsics


def frustum(lens: Intrinsics, depth_m: float) -> np.ndarray:
    """Return the edges of the pyramid that a camera sees, up to a depth.

    Parameters
    ----------
    lens : Intrinsics
    depth_m : float
        Of the pyramid's ground, along the optical axis.

    Returns
    -------
    ndarray, shape (10, 2, 3)
        In m in the optical frame (x right, y down, z forward): from the camera to the corners of
        the image, from corner to corner, and a gable above the upper edge that says where up is.
    """
    width, height = lens.size_px
    pixels = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    corners = depth_m * np.column_stack([lens.rays(pixels), np.ones(4)])
    upper_left, upper_right, _, lower_left = corners
    top = (upper_left + upper_right) / 2 + (upper_left - lower_left) / 4
    edges = [(np.zeros(3), corner) for corner in corners]
    edges += zip(corners, np.roll(corners, -1, axis=0), strict=True)
    return np.array([*edges, (upper_left, top), (top, upper_right)])
