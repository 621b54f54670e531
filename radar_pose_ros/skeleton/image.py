"""Joints in an image as networks that lift them to space take them.

Training and use go through the same functions: a network sees what it was trained on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.skeleton import checks


def normalise(pixels: ArrayLike, size_px: tuple[int, int]) -> np.ndarray:
    """Scale pixels so that the image's width becomes -1 to 1, its height by the same factor.

    ``2 p / w - (1, h / w)``, as VideoPose3D and DiffHPE have it.

    Parameters
    ----------
    pixels : array_like, shape (..., 2)
    size_px : (int, int)
        Width and height.
    """
    width, height = size_px
    return 2 * np.asarray(pixels, np.float64) / width - [1.0, height / width]


def denormalise(points: ArrayLike, size_px: tuple[int, int]) -> np.ndarray:
    """Return the pixels, shape ``(..., 2)``, that `normalise` maps to these points."""
    width, height = size_px
    return (np.asarray(points, np.float64) + [1.0, height / width]) * width / 2


def check_size(size_px: tuple[int, int]) -> None:
    """Raise ``ValueError`` unless this is the width and height of an image, in px."""
    found = checks.array("size_px", size_px, (2,), "(width, height)")
    if not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(f"size_px must be a width and a height above 0 px, got {size_px!r}")


def fill_missing(keypoints: ArrayLike) -> np.ndarray:
    """Return normalised keypoints with 0 in place of NaN; a joint is either whole or missing."""
    keypoints = np.asarray(keypoints)
    return np.where(np.isnan(keypoints).any(-1, keepdims=True), 0.0, keypoints)


def fill_ends(keypoints: ArrayLike) -> np.ndarray:
    """Return windows in which frames without any joint, at either end, repeat the nearest other.

    Parameters
    ----------
    keypoints : array_like, shape (frames, joints, 2)
        NaN where not known. A frame in the middle stays empty; a window without any joint, too.
    """
    keypoints = np.asarray(keypoints, np.float64)
    there = np.flatnonzero(np.isfinite(keypoints).all(-1).any(-1))
    if not len(there):
        return keypoints.copy()
    return keypoints[np.clip(np.arange(len(keypoints)), there[0], there[-1])]


def network_input(pixels: ArrayLike, size_px: tuple[int, int]) -> np.ndarray:
    """Return windows as DiffHPE and MixSTE take them.

    Parameters
    ----------
    pixels : array_like, shape (windows, frames, joints, 2)
        NaN where not known.
    size_px : (int, int)
        Width and height of the image.

    Returns
    -------
    ndarray of float32, shape (windows, 2, joints, frames)
        Normalised; 0 where a joint is missing.

    Raises
    ------
    ValueError
        If the shape is another, there is nothing in it, or the image has no size.
    """
    values = checks.array("pixels", pixels, (None, None, None, 2), "(windows, frames, joints, 2)")
    check_size(size_px)
    filled = fill_missing(normalise(values, size_px))
    return np.ascontiguousarray(filled.swapaxes(1, 3), np.float32)
