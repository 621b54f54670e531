"""Cameras around a person: where random ones stand."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.simulation import cameras
from radar_pose_ros.simulation.cameras import CameraRanges


def test_random_cameras_stand_where_the_ranges_say() -> None:
    rng = np.random.default_rng(0)
    joints = rng.normal([2.0, 1.0, 0.9], [0.2, 0.2, 0.3], (50, 17, 3))
    joints[3] = np.nan
    ranges = CameraRanges(azimuth=(0.0, np.pi / 2))
    middle = np.nanmean(joints, axis=(0, 1))
    made = [cameras.random_camera(joints, rng, ranges) for _ in range(200)]
    offsets = np.array([camera.position_m for camera in made]) - [*middle[:2], 0.0]
    distance_m = np.linalg.norm(offsets[:, :2], axis=1)
    assert 3.5 <= distance_m.min() < 3.6 and 5.9 < distance_m.max() <= 6.0
    assert 0.6 <= offsets[:, 2].min() < 0.7 and 2.1 < offsets[:, 2].max() <= 2.2
    assert (offsets[:, :2] > 0).all()  # the quarter of +x and +y
    focal = np.array([camera.focal_px[0] for camera in made])
    assert focal.min() >= 1000 and focal.max() <= 1300
    pixels = np.array([camera.project(middle) for camera in made])
    # 0.15 m to the side and in height, at 3.5 m and 1300 px
    assert np.linalg.norm(pixels - 500, axis=1).max() < 1300 * 0.15 * np.sqrt(3) / 3.2
    assert np.mean([camera.sees(joints[:3]).mean() for camera in made]) > 0.99


def test_random_cameras_are_reproducible() -> None:
    first, again = (
        cameras.random_camera(np.ones((17, 3)), np.random.default_rng(5)) for _ in range(2)
    )
    np.testing.assert_array_equal(first.rotation, again.rotation)
    assert first.focal_px == again.focal_px


def test_nobody_to_aim_at() -> None:
    with pytest.raises(ValueError, match="no joint is known"):
        cameras.random_camera(np.full((17, 3), np.nan), np.random.default_rng(0))
