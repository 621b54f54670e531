"""Points in space from where several calibrated cameras see them at the same time.

Every view gives two equations that are linear in the homogeneous point X, with the rows p of the
camera's projection matrix and the undistorted pixel (u, v)::

    c (u p3 - p1) X = 0        c (v p3 - p2) X = 0

The direct linear transform takes the X with the least squares (Hartley and Zisserman, Multiple
View Geometry, 12.2). The confidence c counts as one over a standard deviation: a view with half
of it may be twice as far off. A few steps of Gauss and Newton then make the errors in pixels,
weighted alike, the smallest, which the linear equations only come near to.

A view that is wrong is left out: where one is farther off than a threshold, the point of every
two views, and that of all that agree with it, is compared with all views. Those are kept that
agree with the best of these points. Its cost is the sum over the views of the squared error times
c^2, each no larger than at the threshold (MSAC: Torr and Zisserman, CVIU 2000, with all pairs
instead of random ones).

All of it is computed from the middle of the cameras: in the coordinates of a map, which begin
thousands of kilometres away, the equations would say nothing of metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.vision.camera import PinholeCamera

# Error beyond which a view is taken for wrong, relative to the longer side of its image [choice].
# In Pose2Sim's balancing trial, of 1920 px, OpenPose's views disagree by 13 px; there limbs keep
# their lengths best with 60 px, and vary twice as much with 15 px.
THRESHOLD = 0.03
NOISE_PX = 1.0  # least standard deviation of a coordinate whose confidence is 1 [choice]
STEPS = 3  # of Gauss and Newton; from so near, more change nothing [choice]
# Rays so parallel, by the condition of their equations, meet nowhere in particular [choice].
_LARGEST_CONDITION = 1e12
_POINTS_AT_ONCE = 4096  # times pairs of views, that memory lasts


@dataclass(frozen=True)
class Triangulation:
    """Points, how sure they are, and what each view says of them.

    Attributes
    ----------
    points_m : ndarray, shape (..., 3)
        In the world; NaN with fewer than two views, or where their rays do not meet in front of
        the cameras.
    covariance_m2 : ndarray, shape (..., 3, 3)
        ``s^2 (J^T W J)^-1``: J, (2 n, 3), is how the n pixels used move with the point, W has c^2
        on its diagonal, r are the errors, and ``s^2 = max(noise_px^2, r^T W r / (2 n - 3))``. It
        says nothing of errors of the calibration. NaN where the point is.
    errors_px : ndarray, shape (views, ...)
        Distance between the undistorted pixel and the point's projection, of views that were left
        out as wrong, too; infinite behind a camera, NaN where a view has no pixel or no confidence
        or there is no point.
    used : ndarray of bool, shape (views, ...)
        Which views the point is made of.
    suspect : ndarray of bool, shape (...)
        Whether views that were used disagree by more than the threshold. With two views that is
        all that can be told: not which of them is wrong.
    """

    points_m: np.ndarray
    covariance_m2: np.ndarray
    errors_px: np.ndarray
    used: np.ndarray
    suspect: np.ndarray


def triangulate(
    pixels: ArrayLike,
    confidence: ArrayLike | None,
    cameras: Sequence[PinholeCamera],
    *,
    threshold_px: float | None = None,
    steps: int = STEPS,
    noise_px: float = NOISE_PX,
) -> Triangulation:
    """Return the points in space that cameras see at these pixels.

    Parameters
    ----------
    pixels : array_like, shape (views, ..., 2)
        In the images as they were taken; NaN where a view does not see a point.
    confidence : array_like, shape (views, ...), optional
        Of each pixel; a view with 0, less, or NaN is left out. By default all are 1.
    cameras : sequence of PinholeCamera
        One per view.
    threshold_px : float, optional
        Views farther off are left out where two others agree; infinity keeps all. By default
        `THRESHOLD` of the longer side of each view's image. One wrong view of three or more is
        found; with three, unless it errs along the line on which another view has the point, for
        then two pairs agree equally well.
    steps : int
        Of Gauss and Newton; 0 for the linear solution.
    noise_px : float
        Least standard deviation that the covariance takes a coordinate of confidence 1 to have.

    Returns
    -------
    Triangulation

    Raises
    ------
    ValueError
        If there are fewer than two cameras, or shapes or parameters do not fit.
    """
    seen = np.asarray(pixels, np.float64)
    if len(cameras) < 2:
        raise ValueError(f"triangulation needs two cameras or more, got {len(cameras)}")
    if seen.ndim < 2 or seen.shape[-1] != 2 or len(seen) != len(cameras):
        raise ValueError(
            f"pixels must be ({len(cameras)}, ..., 2), a view per camera, got {seen.shape}"
        )
    weights = (
        np.ones(seen.shape[:-1]) if confidence is None else np.asarray(confidence, np.float64)
    )
    if weights.shape != seen.shape[:-1]:
        raise ValueError(f"confidence must be {seen.shape[:-1]}, got {weights.shape}")
    limits_px = np.array([THRESHOLD * max(camera.size_px) for camera in cameras])
    if threshold_px is not None:
        limits_px[:] = threshold_px
    if not limits_px.min() > 0 or not noise_px > 0 or steps < 0:
        raise ValueError(
            "threshold_px and noise_px must be positive, steps not negative, got "
            f"{threshold_px}, {noise_px}, {steps}"
        )
    flat = np.stack([camera.undistort(view) for camera, view in zip(cameras, seen, strict=True)])
    shape = flat.shape[1:-1]
    flat = flat.reshape(len(cameras), -1, 2).swapaxes(0, 1)  # (points, views, 2)
    weights = weights.reshape(len(cameras), -1).T  # (points, views)
    known = np.isfinite(flat).all(-1) & np.isfinite(weights) & (weights > 0)
    flat = np.where(known[..., None], flat, 0.0)
    weights = np.where(known, weights, 0.0)
    middle_m = np.mean([camera.position_m for camera in cameras], axis=0)
    matrices = np.stack([_projection(camera, middle_m) for camera in cameras])

    points = _linear(flat, weights, matrices)
    errors = _errors(points, flat, matrices)
    used = known & (known.sum(1, keepdims=True) >= 2)
    doubtful = (known.sum(1) > 2) & ~(np.where(known, errors, 0.0) <= limits_px).all(1)
    if doubtful.any():
        kept = _agreeing(flat[doubtful], weights[doubtful], matrices, limits_px)
        used[doubtful] &= kept
        points[doubtful] = _linear(flat[doubtful], weights[doubtful] * kept, matrices)
    weights = weights * used
    points, weighted, slopes = _refined(points, flat, weights, matrices, steps)
    errors = _errors(points, flat, matrices)
    points[(used & np.isinf(errors)).any(1)] = np.nan  # behind a camera
    found = np.isfinite(points).all(-1)
    used &= found[:, None]
    errors = np.where(known & found[:, None], errors, np.nan)
    covariance = _covariance(weighted, slopes, (weights > 0).sum(1), noise_px)
    covariance = np.where(found[:, None, None], covariance, np.nan)
    views = (len(cameras), *shape)
    return Triangulation(
        points_m=(points + middle_m).reshape(*shape, 3),
        covariance_m2=covariance.reshape(*shape, 3, 3),
        errors_px=errors.T.reshape(views),
        used=used.T.reshape(views),
        suspect=(used & (errors > limits_px)).any(1).reshape(shape),
    )


def _projection(camera: PinholeCamera, origin_m: np.ndarray) -> np.ndarray:
    """Return the projection (3, 4) of points that are given from another origin of the world."""
    shift_m = camera.rotation @ (origin_m - camera.position_m)
    return camera.matrix @ np.column_stack((camera.rotation, shift_m))


def _linear(flat: np.ndarray, weights: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Return the points (n, 3) of the equations above; NaN where fewer than two views weigh."""
    points = np.full((len(flat), 3), np.nan)
    enough = (weights > 0).sum(1) >= 2
    if not enough.any():
        return points
    pixels = flat[enough][..., None]  # (n, views, 2, 1)
    rows = pixels * matrices[:, None, 2] - matrices[:, :2]  # (n, views, 2, 4)
    rows = rows * weights[enough][..., None, None]
    _, sizes, axes = np.linalg.svd(rows.reshape(len(rows), -1, 4), full_matrices=False)
    solution = axes[:, 3]
    # A second direction that solves them as well, or a point at infinity, is no solution.
    good = sizes[:, 2] * np.sqrt(_LARGEST_CONDITION) > sizes[:, 0]
    good &= np.abs(solution[:, 3]) > 1e-9
    last = np.where(good, solution[:, 3], np.nan)[:, None]
    points[enough] = solution[:, :3] / last
    return points


def _seen_at(points: np.ndarray, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return homogeneous pixels (n, views, 3), and depth in their third."""
    homogeneous = np.inner(points, matrices[..., :3]) + matrices[:, :, 3]
    return homogeneous, homogeneous[..., 2]


def _errors(points: np.ndarray, flat: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Return the distances in pixels (n, views); infinite behind a camera, NaN without a point."""
    homogeneous, depth = _seen_at(points, matrices)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.linalg.norm(homogeneous[..., :2] / depth[..., None] - flat, axis=-1)
    return np.where(np.isnan(depth), np.nan, np.where(depth > 0, distance, np.inf))


def _agreeing(
    flat: np.ndarray, weights: np.ndarray, matrices: np.ndarray, limits_px: np.ndarray
) -> np.ndarray:
    """Return which views (n, views) agree with the best point; all where no two agree."""
    count, views = weights.shape
    pairs = list(combinations(range(views), 2))
    begin = np.zeros((len(pairs), 1, views), bool)
    for number, pair in enumerate(pairs):
        begin[number, 0, pair] = True
    agreeing = np.ones(weights.shape, bool)
    for first in range(0, count, _POINTS_AT_ONCE):
        some = slice(first, first + _POINTS_AT_ONCE)
        size = len(flat[some])
        pixels = np.tile(flat[some], (len(pairs), 1, 1))  # (pairs * size, views, 2)
        certain = np.tile(weights[some], (len(pairs), 1))
        chosen = np.broadcast_to(begin, (len(pairs), size, views)).reshape(-1, views)
        costs, choices = [], []
        for _ in range(2):  # the pair, then those that agree with it
            errors = _errors(_linear(pixels, certain * chosen, matrices), pixels, matrices)
            chosen = (certain > 0) & (errors <= limits_px)
            cost = (np.where(chosen, errors, limits_px) ** 2 * certain**2).sum(1)
            costs.append(np.where(chosen.sum(1) >= 2, cost, np.inf).reshape(-1, size))
            choices.append(chosen.reshape(-1, size, views))
        cost, choice = np.concatenate(costs), np.concatenate(choices)
        best, places = cost.argmin(0), np.arange(size)
        found = np.isfinite(cost[best, places])
        agreeing[first + places[found]] = choice[best, places][found]
    return agreeing


def _slopes(
    points: np.ndarray, flat: np.ndarray, weights: np.ndarray, matrices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted errors (n, 2 views) and how points move pixels (n, 2 views, 3)."""
    homogeneous, depth = _seen_at(points, matrices)
    inverse = 1 / np.where(depth > 0, depth, np.nan)
    projected = homogeneous[..., :2] * inverse[..., None]
    slopes = (matrices[:, :2, :3] - projected[..., None] * matrices[:, None, 2, :3]) * (
        inverse[..., None, None]
    )
    counted = (weights > 0)[..., None]
    errors = np.where(counted, (flat - projected) * weights[..., None], 0.0)
    slopes = np.where(counted[..., None], slopes * weights[..., None, None], 0.0)
    rows = 2 * len(matrices)
    return errors.reshape(len(points), rows), slopes.reshape(len(points), rows, 3)


def _normal(slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(J^T J)^-1``, (n, 3, 3), and for which points it exists, (n,)."""
    products = np.einsum("nki,nkj->nij", slopes, slopes)
    good = np.isfinite(products).all((1, 2))
    sizes = np.linalg.eigvalsh(np.where(good[:, None, None], products, np.eye(3)))
    good &= sizes[:, 0] * _LARGEST_CONDITION > sizes[:, 2]
    inverse = np.linalg.inv(np.where(good[:, None, None], products, np.eye(3)))
    return np.where(good[:, None, None], inverse, np.nan), good


def _refined(
    points: np.ndarray, flat: np.ndarray, weights: np.ndarray, matrices: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the points after so many steps, and what `_slopes` says of them.

    A step is taken only where it makes the errors smaller.
    """
    points = points.copy()
    errors, slopes = _slopes(points, flat, weights, matrices)
    active = np.flatnonzero(np.isfinite(points).all(-1))
    for _ in range(steps):
        if not active.size:
            break
        inverse, good = _normal(slopes[active])
        step = inverse @ np.einsum("nki,nk->ni", slopes[active], errors[active])[..., None]
        moved = points[active] + np.where(good[:, None], step[..., 0], 0.0)
        after = _slopes(moved, flat[active], weights[active], matrices)
        better = good & ((after[0] ** 2).sum(1) < (errors[active] ** 2).sum(1))
        active = active[better]
        points[active], errors[active], slopes[active] = (a[better] for a in (moved, *after))
    return points, errors, slopes


def _covariance(
    errors: np.ndarray, slopes: np.ndarray, views: np.ndarray, noise_px: float
) -> np.ndarray:
    """Return the covariance (n, 3, 3) as `Triangulation` has it, of so many views (n,)."""
    inverse, _ = _normal(slopes)
    variance = np.maximum((errors**2).sum(1) / np.maximum(2 * views - 3, 1), noise_px**2)
    return variance[:, None, None] * inverse
