"""What several poses say together: one pose, and how far it may be off.

Arrays hold the hypotheses on their first axis: ``(hypotheses, ..., joints, 3)``, metres. A network
that samples from what it holds possible gives a mean that is better than each sample, and a spread
that is worth knowing, but is not the error itself:

* The mean of H samples is off by more than their spread: the truth is one more sample, so that the
  error's covariance is ``1 + 1/H`` times theirs, if the network is right.
* The covariance of a handful of samples is itself uncertain; of fewer than four it is singular.
  Scaled by it, the squared error follows Hotelling's T^2 distribution, not chi-square: with 5
  samples its 90 % quantile is 55, not 6.25. `covariance` takes part of the uncertainty away by
  shrinking towards a sphere.
* Networks are not right. What a spread is worth is measured on poses that they were not trained
  on, joint by joint: `fit` returns the factor by which covariances have to be multiplied so that
  the ellipsoid that a reader will take for the 90 % one (he knows no more than the matrix, and
  uses chi-square) does hold 90 % of the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

# Choice: less than the error of any measurement of a joint. It keeps matrices from being singular,
# that of the root, which is 0 by definition, among them.
FLOOR_M = 1e-3
LEVEL = 0.9
# Of so many people a calibration must hold [choice].
_PEOPLE = 0.9


def average(poses_m: ArrayLike) -> np.ndarray:
    """Return the mean of the hypotheses, the authors' default: ``(..., joints, 3)``."""
    return _poses(poses_m).mean(0)


def best_by_reprojection(
    poses_m: ArrayLike,
    keypoints_px: ArrayLike,
    project: Callable[[np.ndarray], np.ndarray],
    root_m: ArrayLike | float = 0.0,
) -> np.ndarray:
    """Return, joint by joint and frame by frame, the hypothesis that the camera would see nearest.

    Parameters
    ----------
    poses_m : array_like, shape (hypotheses, ..., joints, 3)
        Relative to the root, in the frame that ``project`` takes.
    keypoints_px : array_like, shape (..., joints, 2)
        What was seen; NaN where a joint was not.
    project : callable
        ``(..., 3)`` metres to ``(..., 2)`` pixels.
    root_m : array_like, shape (..., 3), or 0
        Where the root is.

    Returns
    -------
    ndarray, shape (..., joints, 3)
        The mean of the hypotheses for joints that were not seen, or that no hypothesis puts in
        front of the camera.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    poses = _poses(poses_m)
    seen = np.asarray(keypoints_px, np.float64)
    if seen.shape != (*poses.shape[1:-1], 2):
        raise ValueError(f"keypoints must be {(*poses.shape[1:-1], 2)}, got {seen.shape}")
    roots = np.asarray(root_m, np.float64)
    placed = poses + (roots[..., None, :] if roots.ndim else roots)
    distance = np.linalg.norm(project(placed) - seen, axis=-1)  # (hypotheses, ..., joints)
    nearest = np.where(np.isnan(distance), np.inf, distance).argmin(0)
    chosen = np.take_along_axis(poses, nearest[None, ..., None], axis=0)[0]
    unknown = np.isnan(distance).all(0)
    return np.where(unknown[..., None], poses.mean(0), chosen)


def oracle(poses_m: ArrayLike, true_m: ArrayLike, *, worst: bool = False) -> np.ndarray:
    """Return the hypothesis with the least mean error, or the largest, window by window.

    It needs the truth: a bound, not an estimate.

    Parameters
    ----------
    poses_m : array_like, shape (hypotheses, ..., frames, joints, 3)
        A window is what the last three axes hold.
    true_m : array_like, shape (..., frames, joints, 3)
    worst : bool

    Returns
    -------
    ndarray, shape (..., frames, joints, 3)

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    poses, true = _poses(poses_m), np.asarray(true_m, np.float64)
    if poses.shape[1:] != true.shape or true.ndim < 3:
        raise ValueError(f"poses {poses.shape} do not fit the truth {true.shape}")
    errors = np.linalg.norm(poses - true, axis=-1).mean((-2, -1))  # (hypotheses, ...)
    chosen = errors.argmax(0) if worst else errors.argmin(0)
    return np.take_along_axis(poses, chosen[None, ..., None, None, None], axis=0)[0]


def covariance(poses_m: ArrayLike) -> np.ndarray:
    """Return the hypotheses' covariance, joint by joint and frame by frame.

    ``(1 - s) S + s tr(S)/3 I``, and `FLOOR_M` squared on the diagonal: S is the sample covariance
    with H - 1 in the denominator; s, 0 to 1, is what is best for normally distributed samples, for
    each matrix by itself (oracle approximating shrinkage: Chen, Wiesel, Eldar and Hero, IEEE
    Transactions on Signal Processing 58(10), 2010, equation 23, with H - 1 for the number of
    samples, because their mean is not known).

    Parameters
    ----------
    poses_m : array_like, shape (hypotheses, ..., joints, 3)

    Returns
    -------
    ndarray, shape (..., joints, 3, 3)
        Square metres, of rank 3.

    Raises
    ------
    ValueError
        If there are fewer than 2 hypotheses.
    """
    poses = _poses(poses_m)
    freedom = len(poses) - 1
    if freedom < 1:
        raise ValueError("a covariance wants at least 2 hypotheses, got 1")
    off = poses - poses.mean(0)
    found = np.einsum("h...i,h...j->...ij", off, off) / freedom
    trace = np.trace(found, axis1=-2, axis2=-1)
    power = (found**2).sum((-2, -1))  # the trace of S^2
    above = (1 - 2 / 3) * power + trace**2
    below = (freedom + 1 - 2 / 3) * (power - trace**2 / 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(below > 0, np.minimum(above / below, 1.0), 1.0)
    sphere = (share * trace / 3 + FLOOR_M**2)[..., None, None] * np.eye(3)
    return (1 - share)[..., None, None] * found + sphere


def squared_distance(errors_m: ArrayLike, covariances: ArrayLike) -> np.ndarray:
    """Return errors in units of their covariance, squared (Mahalanobis): ``(...)``.

    Takes ``(..., 3)`` metres and ``(..., 3, 3)`` square metres.
    """
    errors = np.asarray(errors_m, np.float64)[..., None]
    return (errors * np.linalg.solve(np.asarray(covariances), errors)).sum((-2, -1))


@dataclass(frozen=True)
class SpreadCalibration:
    """What the spread of a network's hypotheses is worth.

    Parameters
    ----------
    factors : sequence of float
        By joint: covariances are multiplied by them.
    hypotheses : int
        For so many; with another number the factors are others.
    level : float
        For which ellipsoid they were fitted.

    Raises
    ------
    ValueError
        If a factor is not positive, or the level is none.
    """

    factors: tuple[float, ...]
    hypotheses: int
    level: float = LEVEL

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(float(v) for v in self.factors))
        if not self.factors or not all(0 < v < math.inf for v in self.factors):
            raise ValueError(f"factors of a calibration must be positive, got {self.factors}")
        if not 0 < self.level < 1:
            raise ValueError(f"level of a calibration must lie in (0, 1), got {self.level}")

    @classmethod
    def of_weights(cls, fields: Mapping[str, Any]) -> SpreadCalibration:
        """Return what `as_dict` made, as a manifest of weights keeps it.

        Raises
        ------
        ValueError
            If it is none.
        """
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"no calibration of a spread: {error}") from error

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, factors to four decimals."""
        return {**asdict(self), "factors": [round(value, 4) for value in self.factors]}

    def covariance(self, poses_m: ArrayLike) -> np.ndarray:
        """Return calibrated covariances, ``(..., joints, 3, 3)``; see `covariance`.

        Raises
        ------
        ValueError
            If the poses are not as many, or have other joints, than it was fitted to.
        """
        shape = np.shape(poses_m)
        if shape[0] != self.hypotheses or shape[-2] != len(self.factors):
            raise ValueError(
                f"calibrated are {self.hypotheses} hypotheses of {len(self.factors)} joints, got "
                f"an array of shape {shape}"
            )
        return covariance(poses_m) * np.array(self.factors)[:, None, None]


def fit(
    poses_m: ArrayLike,
    true_m: ArrayLike,
    level: float = LEVEL,
    people: Sequence[str] | None = None,
) -> SpreadCalibration:
    """Fit a calibration to poses whose truth is known, best of a validation set.

    For each joint the smallest factor with which the ellipsoid holds the share ``level`` of the
    errors of the mean, and one pose more, as in conformal prediction. People differ by more than
    their poses do: where it is known who is who, it holds that share of nine people of ten.

    Parameters
    ----------
    poses_m : array_like, shape (hypotheses, ..., joints, 3)
    true_m : array_like, shape (..., joints, 3)
        NaN where it is not known.
    level : float
        0 to 1
    people : sequence of str, optional
        Who is in each of the poses, along the first axis behind the hypotheses.

    Raises
    ------
    ValueError
        If shapes do not fit, or a joint is known in too few poses for the level.
    """
    poses, true = _poses(poses_m), np.asarray(true_m, np.float64)
    if poses.shape[1:] != true.shape:
        raise ValueError(f"poses {poses.shape} do not fit the truth {true.shape}")
    squared = squared_distance(true - poses.mean(0), covariance(poses))
    if people is None:
        found = _quantiles(squared, level)
    else:
        if len(people) != len(squared):
            raise ValueError(f"{len(people)} people are named for {len(squared)} poses")
        names = np.asarray(people)
        each = np.sort([_quantiles(squared[names == n], level) for n in sorted(set(people))], 0)
        found = each[min(math.ceil((len(each) + 1) * _PEOPLE), len(each)) - 1]
    # the root is where it is: no spread, no error, and no reason to shrink the floor
    factors = np.maximum(found / scipy.stats.chi2.ppf(level, 3), 1e-3)
    return SpreadCalibration(tuple(factors.tolist()), len(poses), level)


def _quantiles(squared: np.ndarray, level: float) -> np.ndarray:
    """Return by joint what the share ``level`` of (..., joints), and one more, is not above."""
    found = []
    for joint, values in enumerate(squared.reshape(-1, squared.shape[-1]).T):
        values = np.sort(values[np.isfinite(values)])
        place = math.ceil((len(values) + 1) * level) - 1
        if not 0 <= place < len(values):
            raise ValueError(
                f"joint {joint} is known in {len(values)} poses: too few for a level of {level}"
            )
        found.append(values[place])
    return np.array(found)


def coverage(
    poses_m: ArrayLike, true_m: ArrayLike, calibration: SpreadCalibration, level: float = LEVEL
) -> np.ndarray:
    """Return by joint the share of the truth inside the ellipsoid of a level: ``(joints,)``."""
    poses = _poses(poses_m)
    errors = np.asarray(true_m, np.float64) - poses.mean(0)
    squared = squared_distance(errors, calibration.covariance(poses))
    known = np.isfinite(squared)
    inside = known & (squared <= scipy.stats.chi2.ppf(level, 3))
    axes = tuple(range(squared.ndim - 1))
    return inside.sum(axes) / known.sum(axes)


def _poses(poses_m: ArrayLike) -> np.ndarray:
    poses = np.asarray(poses_m, np.float64)
    if poses.ndim < 3 or poses.shape[-1] != 3 or not len(poses):
        raise ValueError(f"poses must be (hypotheses, ..., joints, 3), got {poses.shape}")
    return poses
