"""People brought to the spot where a network has learnt them, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radar_pose_ros.models import weights
from radar_pose_ros.models.learnt_spot import LearntSpot

SPOT = LearntSpot(2.0, 0.1)


def someone(distance_m: float, bearing_rad: float, rng: np.random.Generator) -> np.ndarray:
    """A window whose points have their middle there, (24, 16, 5); some are missing."""
    points = rng.normal(0, 0.2, (24, 16, 5))
    points[:, 8:, :2] = -points[:, :8, :2]
    points[..., :2] += distance_m * np.array([math.cos(bearing_rad), math.sin(bearing_rad)])
    points[:5] = np.nan
    return points


@pytest.mark.parametrize(
    ("distance_m", "bearing_rad", "share"),
    [(2.2, 0.0, 0.0), (2.4375, 0.1, 0.5), (2.0, 0.35, 0.5), (3.5, 0.1, 1.0), (1.2, -0.6, 1.0)],
)
def test_who_is_elsewhere_is_brought_to_the_spot(
    distance_m: float, bearing_rad: float, share: float, rng: np.random.Generator
) -> None:
    points = someone(distance_m, bearing_rad, rng)
    way = SPOT.way_to(points)
    assert way.along_m == pytest.approx(share * (distance_m - 2.0), abs=1e-9)
    assert way.turn_rad == pytest.approx(share * (bearing_rad - 0.1), abs=1e-9)
    moved, again = SPOT.brought(points, -1)
    assert again == way
    np.testing.assert_array_equal(moved[..., 2:], points[..., 2:])
    np.testing.assert_allclose(way.go(moved[..., :3]), points[..., :3], atol=1e-12)
    if share == 1.0:
        x, y = np.nanmedian(moved[..., :2].reshape(-1, 2), axis=0)
        assert (x, y) == pytest.approx((2.0 * math.cos(0.1), 2.0 * math.sin(0.1)), abs=0.02)
    if share == 0.0:
        assert moved is points


def test_a_walker_is_where_the_frame_is(rng: np.random.Generator) -> None:
    """Not where the middle of the window was."""
    points = someone(2.0, 0.1, rng)
    points[..., 0] += np.where(np.arange(24) < 12, 0.0, 2.0)[:, None]
    assert SPOT.brought(points, -1)[1].along_m == pytest.approx(2.0, abs=0.05)
    assert SPOT.brought(points, 6)[1].along_m == pytest.approx(0.0, abs=0.05)


def test_a_turn_changes_no_distance_from_the_radar(rng: np.random.Generator) -> None:
    points = someone(2.0, 1.0, rng)
    moved, _ = SPOT.brought(points, -1)
    np.testing.assert_allclose(
        np.linalg.norm(moved[..., :3], axis=-1), np.linalg.norm(points[..., :3], axis=-1)
    )


def test_without_points_nobody_is_moved() -> None:
    nothing = np.full((24, 16, 5), np.nan)
    assert SPOT.way_to(nothing)[:2] == (0.0, 0.0)


def test_the_shipped_weights_have_learnt_people_two_metres_away() -> None:
    network, entry = weights.network("points", "points")
    spot = LearntSpot.of(network, entry)
    assert spot.distance_m == pytest.approx(1.95, abs=0.05)
    assert spot.bearing_rad == pytest.approx(0.0, abs=0.03)
