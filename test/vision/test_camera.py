"""Cameras: axes, OpenCV's lens and its inverse, rays, matrices, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tolerances import assert_close

from radar_pose_ros.simulation import cameras
from radar_pose_ros.skeleton import projection
from radar_pose_ros.vision.camera import PinholeCamera

SIZE = (1000, 800)
LENSES = {
    "none": (),
    "four": (-0.2, 0.24, -0.001, 0.003),
    "barrel": (-0.3, 0.12, 0.001, -0.0005, -0.02),
    "pincushion": (0.25, 0.1, -0.002, 0.001, 0.05),
    "rational": (0.3, -0.1, 0.001, -0.002, 0.02, 0.5, -0.05, 0.01),
}


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


def lens_camera(lens: tuple[float, ...]) -> PinholeCamera:
    """Somewhere, turned somehow, with this lens."""
    return PinholeCamera(
        focal_px=(1145.0, 1143.0),
        centre_px=(512.0, 515.0),
        size_px=(1000, 1002),
        rotation=Rotation.random(random_state=1).as_matrix(),
        position_m=np.array([0.3, -1.0, 2.0]),
        distortion=lens,
    )


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_projection_is_opencv_s(lens: tuple[float, ...], rng: np.random.Generator) -> None:
    camera = lens_camera(lens)
    points = camera.to_world(rng.uniform([-1, -1, 2], [1, 1, 6], (30, 3)))
    turn = Rotation.from_matrix(camera.rotation).as_rotvec()
    coefficients = np.array(lens) if lens else None
    expected, _ = cv2.projectPoints(
        points, turn, camera.translation_m, camera.matrix, coefficients
    )
    np.testing.assert_allclose(camera.project(points), expected[:, 0], atol=1e-8)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_undistorted_pixels_distort_to_where_they_were(lens: tuple[float, ...]) -> None:
    """All over the image, to its corners, 1e-6 px."""
    camera = lens_camera(lens)
    seen = np.stack(np.meshgrid(np.linspace(0, 1000, 21), np.linspace(0, 1002, 19)), -1)
    flat = camera.undistort(seen)
    assert flat.shape == (19, 21, 2)
    depth = 3.0
    ahead = np.concatenate([(flat - camera.centre_px) / camera.focal_px, np.ones((19, 21, 1))], -1)
    np.testing.assert_allclose(camera.project(camera.to_world(ahead * depth)), seen, atol=1e-6)


def test_undistorting_by_hand() -> None:
    """x = 0.5 bends to 0.5 (1 - 0.2 / 4) = 0.475 with k1 = -0.2."""
    camera = PinholeCamera(
        (1000.0, 1000.0), (500.0, 500.0), (1000, 1000), np.eye(3), np.zeros(3), (-0.2, 0, 0, 0, 0)
    )
    assert_close(camera.project([1.0, 0.0, 2.0]), [975.0, 500.0])
    np.testing.assert_allclose(camera.undistort([975.0, 500.0]), [1000.0, 500.0], atol=1e-6)
    assert_close(camera.projection_matrix @ [1.0, 0.0, 2.0, 1.0], [2000.0, 1000.0, 2.0])


def test_no_ray_where_the_lens_does_not_reach() -> None:
    """With k1 = -0.3 no point is seen farther from the middle than 2/3 / sqrt(0.9) = 0.70 f."""
    camera = PinholeCamera(
        (1000.0, 1000.0), (500.0, 500.0), (1000, 1000), np.eye(3), np.zeros(3), (-0.3, 0, 0, 0)
    )
    pixels = [[1195.0, 500.0], [1210.0, 500.0], [np.nan, 3.0], [500.0, 500.0]]
    known = np.isfinite(camera.undistort(pixels)).all(-1)
    assert known.tolist() == [True, False, False, True]
    assert np.isnan(camera.ray(pixels)).any(-1).tolist() == [False, True, True, False]


def test_what_a_lens_folds_back_is_not_seen() -> None:
    """x (1 - 0.3 x^2) is largest at x = 1 / sqrt(0.9), 46.5 degrees off the axis.

    At 60 degrees it is 0.1 sqrt(3): it would be back in the image, at 673 px.
    """
    camera = PinholeCamera(
        (1000.0, 1000.0), (500.0, 500.0), (1000, 1000), np.eye(3), np.zeros(3), (-0.3, 0, 0, 0)
    )
    angles = np.radians([20.0, 46.0, 47.0, 60.0, 75.0])
    for axis in ([1.0, 0, 0], [0, -1.0, 0], [0.6, 0.8, 0]):
        points = np.cos(angles)[:, None] * [0, 0, 1] + np.sin(angles)[:, None] * np.array(axis)
        seen = np.isfinite(camera.project(points)).all(-1)
        assert seen.tolist() == [True, True, False, False, False]
        assert camera.sees(points).tolist() == [True, False, False, False, False]
    back = camera.undistort(camera.project(points[:2]))
    np.testing.assert_allclose(back, camera.with_perfect_lens.project(points[:2]), atol=1e-5)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_rays_lead_to_the_points(lens: tuple[float, ...], rng: np.random.Generator) -> None:
    camera = lens_camera(lens)
    points = camera.to_world(rng.uniform([-0.8, -0.8, 2], [0.8, 0.8, 6], (4, 5, 3)))
    expected = points - camera.position_m
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(camera.ray(camera.project(points)), expected, atol=1e-9)


def test_matrix_there_and_back(rng: np.random.Generator) -> None:
    """x_camera = R x_world + t, and the projection matrix is K [R | t]."""
    camera = lens_camera(())
    again = PinholeCamera.from_matrix(
        camera.matrix, camera.rotation, camera.translation_m, camera.size_px
    )
    assert_close(again.position_m, camera.position_m)
    assert again.focal_px == camera.focal_px and again.centre_px == camera.centre_px
    point = camera.to_world(rng.uniform([-1, -1, 2], [1, 1, 6]))
    assert_close(camera.rotation @ point + camera.translation_m, camera.to_camera(point))
    u, v, depth = camera.projection_matrix @ [*point, 1.0]
    assert_close(np.array([u, v]) / depth, camera.project(point))


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


def test_wrong_cameras_are_refused() -> None:
    with pytest.raises(ValueError, match="straight up or down"):
        PinholeCamera.looking_at([0, 0, 1], [0, 0, 3], 1000.0, SIZE)
    with pytest.raises(ValueError, match="rotation matrix of 3 x 3"):
        PinholeCamera((1, 1), (0, 0), (1, 1), np.diag([1.0, 1.0, -1.0]), np.zeros(3))
    with pytest.raises(ValueError, match="must be positive"):
        PinholeCamera((0, 1), (0, 0), (1, 1), np.eye(3), np.zeros(3))
    with pytest.raises(ValueError, match="must be positive"):
        PinholeCamera((float("nan"), 1), (0, 0), (1, 1), np.eye(3), np.zeros(3))
    with pytest.raises(ValueError, match="must be finite"):
        PinholeCamera((1, 1), (0, float("inf")), (1, 1), np.eye(3), np.zeros(3))
    with pytest.raises(ValueError, match="position of three metres"):
        PinholeCamera((1, 1), (0, 0), (1, 1), np.eye(3), np.array([0, np.nan, 0]))
    with pytest.raises(ValueError, match="0, 4, 5, 8 coefficients, got 3"):
        PinholeCamera((1, 1), (0, 0), (1, 1), np.eye(3), np.zeros(3), (0.1, 0.1, 0.1))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((3, 3)), "all zero: a CameraInfo says so that the camera is not calibrated"),
        (np.eye(4), "camera matrix of 3 x 3"),
        (np.diag([500.0, 500.0, 2.0]), "fx, 0, cx"),
        (np.diag([500.0, -500.0, 1.0]), "must be positive"),
        (np.full((3, 3), np.nan), "fx, 0, cx"),
    ],
)
def test_wrong_matrices_are_refused(matrix: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PinholeCamera.from_matrix(matrix, np.eye(3), np.zeros(3), (640, 480))


def test_a_camera_with_a_perfect_lens_sees_what_undistortion_says() -> None:
    bent = PinholeCamera.looking_at([3.0, 1.0, 1.5], [0, 0, 1], 500, (640, 480))
    assert bent.with_perfect_lens is bent
    bent = replace(bent, distortion=(-0.2, 0.05, 0.001, -0.002))
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3)) + [0, 0, 1]
    flat = bent.with_perfect_lens
    assert np.abs(flat.project(points) - bent.project(points)).max() > 0.5
    np.testing.assert_allclose(
        flat.project(points), bent.undistort(bent.project(points)), atol=1e-6
    )
