"""How far and how wide a radar sees, and the lines that show it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from radar_pose_ros.radar.field_of_view import FieldOfView
from radar_pose_ros.radar.ti_config import load_cfg

CONFIG = load_cfg(Path(__file__).resolve().parents[2] / "config" / "iwr1843.cfg")


def angles(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distance, azimuth to the left and elevation of points, in m and degrees."""
    x, y, z = np.moveaxis(points, -1, 0)
    return (
        np.linalg.norm(points, axis=-1),
        np.rad2deg(np.arctan2(y, x)),
        np.rad2deg(np.arctan2(z, np.hypot(x, y))),
    )


def test_it_reaches_as_far_as_the_waveform_and_as_wide_as_the_antennas() -> None:
    """The reference board: 256 bins of 4.29 cm, 50 degrees to the sides, 20 up and down."""
    field = FieldOfView.of(CONFIG)
    assert abs(field.range_m - 256 * CONFIG.waveform.range_resolution_m) < 1e-9
    ends = field.segments().reshape(-1, 3)
    distance_m, azimuth, elevation = angles(ends[np.linalg.norm(ends, axis=1) > 0])
    assert np.isclose(distance_m.max(), 10.990, atol=0.001)
    for values, widest in ((azimuth, 50.0), (elevation, 20.0)):
        assert np.isclose(values.max(), widest) and np.isclose(values.min(), -widest)
    outermost = distance_m > 10.9
    corners = outermost & np.isclose(np.abs(azimuth), 50) & np.isclose(np.abs(elevation), 20)
    found = np.column_stack([azimuth, elevation])[corners].round().tolist()
    assert {*map(tuple, found)} == {(a, e) for a in (-50.0, 50.0) for e in (-20.0, 20.0)}


def test_there_is_a_ring_every_two_metres() -> None:
    """In the plane of the azimuth, without gaps."""
    segments = FieldOfView(6.5, np.deg2rad(40), np.deg2rad(10)).segments()
    flat = segments[(segments[..., 2] == 0).all(axis=1)]
    radii = np.linalg.norm(flat, axis=-1)
    assert sorted({round(r, 9) for r in radii.ravel()}) == [2.0, 4.0, 6.0]
    for ring_m in (2.0, 4.0, 6.0):
        ring = flat[np.isclose(radii[:, 0], ring_m)]
        np.testing.assert_allclose(ring[1:, 0], ring[:-1, 1])
        np.testing.assert_allclose(angles(ring[[0, -1], [0, 1]])[1], [-40, 40])


def test_a_board_of_unknown_antennas_shows_how_far_it_sees_only() -> None:
    field = FieldOfView.of(replace(CONFIG, device="IWR6843ISK"))
    assert np.isnan(field.azimuth) and np.isnan(field.elevation)
    np.testing.assert_allclose(field.segments(), [[(0, 0, 0), (field.range_m, 0, 0)]])
