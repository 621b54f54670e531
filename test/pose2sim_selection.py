"""Which views Pose2Sim makes each marker of, and where it puts it: what its own files are made by.

Written from its documentation and from what its configuration says, to be compared with. Lenses do
not count in it by default.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

# What Config.toml of the published trials says.
LIKELIHOOD = 0.3
REPROJECTION_PX = 15.0
FEWEST_CAMERAS = 2


def select(
    matrices: np.ndarray, pixels: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return Pose2Sim's points before interpolation, and the views that they are of.

    Views below the likelihood are out. If the mean distance of the others from the projected point
    is above the threshold, that one is left out without which it is least; then two, and so on.

    Parameters
    ----------
    matrices : ndarray, shape (views, 3, 4)
        Projections.
    pixels : ndarray, shape (views, ..., 2)
    score : ndarray, shape (views, ...)

    Returns
    -------
    points_m : ndarray, shape (..., 3)
        NaN where it interpolates, because no selection was good enough.
    kept : ndarray of bool, shape (views, ...)
        None where it interpolates.
    """
    points_m = np.full((*score.shape[1:], 3), np.nan)
    kept = np.zeros(score.shape, bool)
    for out in range(len(matrices) - FEWEST_CAMERAS + 1):
        least_px = np.full(score.shape[1:], REPROJECTION_PX)
        missing = ~kept.any(0)
        for left_out in combinations(range(len(matrices)), out):
            chosen = (score >= LIKELIHOOD) & np.isfinite(pixels).all(-1)
            chosen[list(left_out)] = False
            found_m, errors_px = _linear(matrices, pixels, np.where(chosen, score, 0.0))
            count = chosen.sum(0)
            total_px = np.where(chosen, errors_px, 0.0).sum(0)
            mean_px = np.where(count < FEWEST_CAMERAS, np.inf, total_px / np.maximum(count, 1))
            better = missing & (mean_px <= least_px)
            least_px[better], points_m[better] = mean_px[better], found_m[better]
            kept[:, better] = chosen[:, better]
    return points_m, kept


def _linear(
    matrices: np.ndarray, pixels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted linear points (..., 3), and distances in pixels (views, ...)."""
    seen = np.nan_to_num(pixels)
    given = matrices.reshape(len(seen), *(1,) * (seen.ndim - 2), 3, 4)
    rows = weights[..., None, None] * (seen[..., None] * given[..., 2:, :] - given[..., :2, :])
    stacked = np.moveaxis(rows, 0, -3).reshape(*seen.shape[1:-1], -1, 4)
    homogeneous = np.linalg.svd(stacked)[2][..., -1, :]
    projected = np.einsum("vij,...j->v...i", matrices, homogeneous)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = projected[..., :2] / projected[..., 2:] - seen
        return homogeneous[..., :3] / homogeneous[..., 3:], np.linalg.norm(off, axis=-1)
