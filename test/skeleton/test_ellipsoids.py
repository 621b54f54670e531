"""Ellipsoids in which a joint lies with a given probability."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.skeleton.ellipsoids import half_axes


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_so_many_of_a_gaussians_draws_lie_within(level: float) -> None:
    """Counted: 200000 draws of a covariance with three different axes that are turned."""
    rng = np.random.default_rng(3)
    spread = rng.normal(size=(3, 3))
    covariance = spread @ spread.T
    lengths_m, axes = half_axes(covariance, level)
    draws = rng.normal(size=(200_000, 3)) @ spread.T
    within = (((draws @ axes) / lengths_m) ** 2).sum(axis=1) <= 1
    assert abs(within.mean() - level) < 4 * np.sqrt(level * (1 - level) / len(draws))
    assert np.isclose(np.linalg.det(axes), 1.0)  # a rotation, no mirror


def test_one_standard_deviation_of_a_known_matrix() -> None:
    """Chi square with three degrees of freedom is below 1 with the probability 0.1987."""
    lengths_m, axes = half_axes(np.diag([0.04, 0.01, 0.0]), 0.19874804)
    np.testing.assert_allclose(lengths_m, [0.0, 0.1, 0.2], atol=1e-6)
    np.testing.assert_allclose(np.abs(axes), np.eye(3)[:, ::-1], atol=1e-12)


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [(np.diag([1.0, -0.1, 1.0]), "variance -0.1"), (np.full((3, 3), np.nan), "not finite")],
)
def test_what_is_no_covariance_is_refused(matrix: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        half_axes(matrix, 0.9)
