"""The image plane in which two-dimensional poses are given.

A pinhole camera looks along the rig's +x from one metre above the floor. Its optical frame,
``rig_camera_optical_frame``, has z forward, x right and y down (REP-103), so that for a world
point ``(x, y, z)``::

    u = 128 - 200 y / x        v = 128 - 200 (z - 1) / x

This is the only definition: labels, metrics, drawing and messages all refer to it. The size of the
image is that of HuPR's annotations; focal length and height are choices, made so that a person
between 1.7 m and 3.6 m fits.
"""

from __future__ import annotations

import numpy as np

IMAGE_SIZE_PX = 256
FOCAL_LENGTH_PX = 200.0
CENTRE_PX = 128.0
CAMERA_HEIGHT_M = 1.0
CAMERA_FRAME = "rig_camera_optical_frame"


def project(points_m: np.ndarray) -> np.ndarray:
    """Project world points to the image plane.

    Parameters
    ----------
    points_m : ndarray, shape (..., 3)
        Points in the rig's frame: x forward, y left, z up from the floor.

    Returns
    -------
    ndarray, shape (..., 2)
        Pixel coordinates (u to the right, v downwards); NaN for points that are not in front of
        the camera and for NaN points. Points outside of the image keep their true coordinates.

    Raises
    ------
    ValueError
        If the last axis does not have three elements.
    """
    points_m = np.asarray(points_m)
    if points_m.shape[-1:] != (3,):
        raise ValueError(f"points must have shape (..., 3), got {points_m.shape}")
    depth_m = np.where(points_m[..., 0] > 0, points_m[..., 0], np.nan)
    return np.stack(
        (
            CENTRE_PX - FOCAL_LENGTH_PX * points_m[..., 1] / depth_m,
            CENTRE_PX - FOCAL_LENGTH_PX * (points_m[..., 2] - CAMERA_HEIGHT_M) / depth_m,
        ),
        axis=-1,
    )


def to_camera(points_m: np.ndarray) -> np.ndarray:
    """Return points of the rig's frame, shape ``(..., 3)``, in the camera's optical frame."""
    x, y, z = np.moveaxis(np.asarray(points_m), -1, 0)
    return np.stack((-y, CAMERA_HEIGHT_M - z, x), axis=-1)


def unproject(pixels: np.ndarray, depth_m: np.ndarray | float) -> np.ndarray:
    """Return the world points ``(..., 3)`` that `project` maps to ``pixels`` at a depth.

    Parameters
    ----------
    pixels : ndarray, shape (..., 2)
        Pixel coordinates (u, v).
    depth_m : float or ndarray, shape (...)
        Distance x in front of the camera.
    """
    pixels = np.asarray(pixels)
    if pixels.shape[-1:] != (2,):
        raise ValueError(f"pixels must have shape (..., 2), got {pixels.shape}")
    depth_m = np.broadcast_to(depth_m, pixels.shape[:-1])
    y_m = (CENTRE_PX - pixels[..., 0]) * depth_m / FOCAL_LENGTH_PX
    z_m = CAMERA_HEIGHT_M + (CENTRE_PX - pixels[..., 1]) * depth_m / FOCAL_LENGTH_PX
    return np.stack((depth_m, y_m, z_m), axis=-1)
