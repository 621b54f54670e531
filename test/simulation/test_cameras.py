"""Cameras: axes, OpenCV's lens, where random ones stand, and normalised pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tolerances import assert_close

from radar_pose_ros.simulation import cameras
from radar_pose_ros.simulation.cameras import CameraRanges, PinholeCamera
from radar_pose_ros.skeleton import projection

SIZE = (1000, 800)


def front_camera() -> PinholeCamera:
    """At the origin, one metre up, looking along +x."""
    return PinholeCamera.looking_at([0, 0, 1], [3, 0, 1], 1200.0, SIZE)


def test_axes() -> None:
    """Left of somebody who looks along +x is +y; in the image it is left, and up is up."""
    camera = front_camera()
    assert_close(camera.to_camera([3.0, 0.5, 1.2]), [-0.5, -0.2, 3.0])
    assert_close(camera.project([3.0, 0.0, 1.0]), [500, 400])
    assert_close(camera.project([3.0, 0.5, 1.2]), [500 - 200, 400 - 80])


def test_it_is_the_rig_s_image_plane_with_its_numbers(rng: np.random.Generator) -> None:
    camera = PinholeCamera.looking_at([0, 0, 1], [1, 0, 1], 200.0, (256, 256))
    points = rng.uniform([1, -1, 0], [4, 1, 2], (20, 3))
    assert_close(camera.project(points), projection.project(points))


def test_roll_turns_the_picture_counter_clockwise() -> None:
    camera = PinholeCamera.looking_at([0, 0, 1], [3, 0, 1], 1200.0, SIZE, roll=np.pi / 2)
    assert_close(camera.project([3.0, 0.0, 1.2]), [500 - 80, 400])  # what was above is left


def test_projection_is_opencv_s(rng: np.random.Generator) -> None:
    camera = PinholeCamera(
        focal_px=(1145.0, 1143.0),
        centre_px=(512.0, 515.0),
        size_px=(1000, 1002),
        rotation=Rotation.random(random_state=1).as_matrix(),
        position_m=np.array([0.3, -1.0, 2.0]),
        distortion=(-0.2, 0.24, -0.001, 0.003, -0.02),
    )
    points = camera.to_world(rng.uniform([-1, -1, 2], [1, 1, 6], (30, 3)))
    matrix = np.array([[1145.0, 0, 512], [0, 1143.0, 515], [0, 0, 1]])
    turn = Rotation.from_matrix(camera.rotation).as_rotvec()
    shift = -camera.rotation @ camera.position_m
    expected, _ = cv2.projectPoints(points, turn, shift, matrix, np.array(camera.distortion))
    np.testing.assert_allclose(camera.project(points), expected[:, 0], atol=1e-8)


def test_what_cannot_be_seen() -> None:
    camera = front_camera()
    points = [[-1.0, 0, 1], [0, 0, 1], [np.nan, 0, 1], [3, 2.0, 1], [3, 0, 1]]
    pixels = camera.project(points)
    assert np.isnan(pixels[:3]).all()
    assert_close(pixels[3], [-300, 400])  # outside of the image
    assert camera.sees(points).tolist() == [False, False, False, False, True]


def test_there_and_back(rng: np.random.Generator) -> None:
    camera = cameras.random_camera(np.zeros((17, 3)) + [2.6, 0, 1], rng)
    points = rng.normal(size=(4, 17, 3))
    assert_close(camera.to_world(camera.to_camera(points)), points)


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


def test_normalised_pixels() -> None:
    corners = [[0, 0], [1000, 800], [500, 400]]
    expected = [[-1, -0.8], [1, 0.8], [0, 0]]
    assert_close(cameras.normalise(corners, SIZE), expected)
    assert_close(cameras.denormalise(expected, SIZE), np.array(corners, float))


def test_wrong_cameras_are_refused() -> None:
    with pytest.raises(ValueError, match="straight up or down"):
        PinholeCamera.looking_at([0, 0, 1], [0, 0, 3], 1000.0, SIZE)
    with pytest.raises(ValueError, match="rotation matrix of 3 x 3"):
        PinholeCamera((1, 1), (0, 0), (1, 1), np.diag([1.0, 1.0, -1.0]), np.zeros(3))
    with pytest.raises(ValueError, match="must be positive"):
        PinholeCamera((0, 1), (0, 0), (1, 1), np.eye(3), np.zeros(3))
    with pytest.raises(ValueError, match="no joint is known"):
        cameras.random_camera(np.full((17, 3), np.nan), np.random.default_rng(0))
