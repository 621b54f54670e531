"""Which joints may be somebody's: the others are errors of whoever gave them, and not known.

A number that no sensor can have measured is worth no more than infinity, and a network believes
it: one joint of a pose at 10 000 px moved the others by 50 px.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# Nothing that a sensor sees is farther away from the origin [choice]. No image has sides of
# 100 000 px, and nobody is seen from 10 km; up to there float32, which networks compute in, still
# tells 0.01 px and 1 mm.
FARTHEST_PX = 100_000.0
FARTHEST_M = 10_000.0
# By so many sides of the image a joint may lie outside of it [choice]: whoever fills an image and
# stands at its edge ends half a side outside.
OUTSIDE = 1.0
# No joint is farther from the middle one of somebody's [choice]: the tallest person is 2.7 m.
REACH_M = 3.0
# Half of somebody's joints or more are never as near to each other as this [choice]: an estimator
# that says so has seen nobody, but a network makes a small body of it.
POINT_PX = 3.0
POINT_M = 0.1
# Whom a network lifts that has learnt people in the whole of an image [choice]. There nobody was
# smaller than an eighth of its longer side, crouching before the farthest camera: of people half
# as tall the 90 % ellipsoids held 47 % of the joints, and with every second joint outside 48 %.
# Networks that refine poses in an image make small people larger: at this bound by 15 to 34 %, at
# a third of it by 72 to 174 %.
SMALLEST = 0.12
INSIDE = 0.75  # of the joints


def within(joints: ArrayLike, farthest: float = FARTHEST_PX) -> np.ndarray:
    """Return joints, float64 (..., joints, values); NaN where one number is not within bounds.

    Parameters
    ----------
    joints : array_like, shape (..., joints, values)
    farthest : float
        In their unit. By default the larger of the two bounds, for joints of an unknown unit.
    """
    values = np.asarray(joints, np.float64)
    known = (np.abs(values) <= farthest).all(-1, keepdims=True)  # NaN and infinity are not
    return np.where(known, values, np.nan)


def near_image(pixels: ArrayLike, size_px: tuple[int, int]) -> np.ndarray:
    """Return joints, float64 (..., joints, 2); NaN where more than `OUTSIDE` of an image.

    Parameters
    ----------
    pixels : array_like, shape (..., joints, 2)
    size_px : (int, int)
        Width and height.
    """
    values, size = np.asarray(pixels, np.float64), np.asarray(size_px, np.float64)
    known = (np.abs(values - size / 2) <= (OUTSIDE + 0.5) * size).all(-1, keepdims=True)
    return np.where(known, values, np.nan)


def within_reach(joints_m: ArrayLike) -> np.ndarray:
    """Return one person's joints, float64 (joints, 3); NaN where one is not within `REACH_M`.

    It is measured from the medians of the coordinates of the joints that are known.
    """
    values = within(joints_m, FARTHEST_M)
    known = np.isfinite(values).all(1)
    if not known.any():
        return values
    distance_m = np.linalg.norm(values - np.median(values[known], axis=0), axis=1, keepdims=True)
    return np.where(distance_m <= REACH_M, values, np.nan)


def is_point(joints: ArrayLike) -> np.ndarray:
    """Return whose joints lie on about one point, which nobody's do, bool (...).

    All that are known, if those are half of them or more; see `POINT_PX` and `POINT_M`.

    Parameters
    ----------
    joints : array_like, shape (..., joints, 2) or (..., joints, 3)
        In px or in m, NaN where not known.
    """
    values = np.asarray(joints, np.float64)
    return is_smaller(values, POINT_PX if values.shape[-1] == 2 else POINT_M)


def is_smaller(joints: ArrayLike, least: float) -> np.ndarray:
    """Return who is smaller than that, bool (...).

    By the longest side of the box around the joints that are known, if those are half of them or
    more: of fewer nobody's size can be told.

    Parameters
    ----------
    joints : array_like, shape (..., joints, 2) or (..., joints, 3)
        NaN where not known.
    least : float
        In their unit.
    """
    values = np.asarray(joints, np.float64)
    known = np.asarray(np.isfinite(values).all(-1))
    enough = 2 * known.sum(-1) >= values.shape[-2]
    return np.asarray(enough & (_extent(values, known) < least))


def can_be_lifted(pixels: ArrayLike, size_px: tuple[int, int]) -> np.ndarray:
    """Return who is large enough and enough inside of an image, bool (...).

    One joint alone is not, nor is nobody, without any joint; see `SMALLEST` and `INSIDE`.

    Parameters
    ----------
    pixels : array_like, shape (..., joints, 2)
        NaN where not known.
    size_px : (int, int)
        Width and height.
    """
    values, size = np.asarray(pixels, np.float64), np.asarray(size_px, np.float64)
    known = np.asarray(np.isfinite(values).all(-1))
    large = _extent(values, known) >= SMALLEST * size.max()
    inside = ((values >= 0) & (values <= size)).all(-1)
    return np.asarray(large & (inside.sum(-1) >= INSIDE * known.sum(-1)))


def _extent(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the longest side of the box around the joints that are known; -inf without any."""
    highest = np.where(known[..., None], values, -np.inf).max(-2)
    lowest = np.where(known[..., None], values, np.inf).min(-2)
    return np.asarray((highest - lowest).max(-1))
