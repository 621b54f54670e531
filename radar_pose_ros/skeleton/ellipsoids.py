"""Ellipsoids in which a joint lies with a given probability, if its error is Gaussian."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaincinv

NEGATIVE = 1e-6  # of the largest variance: what rounding to float32 may leave below zero


def half_axes(covariance_m2: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the half axes of such an ellipsoid, and where they point.

    A Gaussian in space lies in the ellipsoid of ``n`` standard deviations with the probability
    that chi square with three degrees of freedom is below ``n^2``: the regularised incomplete
    gamma function of 3/2 at ``n^2 / 2``.

    Parameters
    ----------
    covariance_m2 : ndarray, shape (3, 3)
    level : float
        Probability, between 0 and 1.

    Returns
    -------
    lengths_m : ndarray, shape (3,)
        Rising; 0 along a direction without doubt.
    axes : ndarray, shape (3, 3)
        A rotation whose columns are their directions.

    Raises
    ------
    ValueError
        If the matrix is not finite, or no covariance: it has a negative variance in a direction.
    """
    if not np.isfinite(covariance_m2).all():
        raise ValueError(f"covariance is not finite: {np.asarray(covariance_m2).tolist()}")
    variances, axes = np.linalg.eigh(covariance_m2)
    if variances[0] < -NEGATIVE * abs(variances[2]):
        raise ValueError(f"no covariance: a direction has the variance {variances[0]:g} m^2")
    if np.linalg.det(axes) < 0:
        axes[:, 0] *= -1
    return np.sqrt(variances.clip(min=0) * 2 * gammaincinv(1.5, level)), axes
