"""The image plane: axes, known points, and the way back."""

import numpy as np
import pytest

from radar_pose_ros.skeleton.projection import IMAGE_SIZE_PX, project, unproject


def test_the_axis_hits_the_centre_of_the_image():
    np.testing.assert_allclose(project(np.array([2.5, 0.0, 1.0])), [128.0, 128.0])
    assert IMAGE_SIZE_PX == 256


def test_left_of_the_rig_is_left_in_the_image_and_up_is_up():
    u, v = project(np.array([2.0, 0.5, 1.5]))
    assert (u, v) == (78.0, 78.0)  # 128 - 200 * 0.5 / 2


def test_it_agrees_with_a_camera_matrix_in_the_optical_frame():
    points_m = np.random.default_rng(0).uniform([1.0, -1.0, 0.0], [4.0, 1.0, 2.0], (50, 3))
    # REP-103: optical x is -y, optical y is -z, optical z is x.
    optical = np.array([[0, -1, 0, 0.0], [0, 0, -1, 1.0], [1, 0, 0, 0.0]])
    camera = np.array([[200.0, 0, 128], [0, 200.0, 128], [0, 0, 1]])
    homogeneous = np.c_[points_m, np.ones(50)] @ (camera @ optical).T
    np.testing.assert_allclose(project(points_m), homogeneous[:, :2] / homogeneous[:, 2:])


def test_points_beside_or_behind_the_camera_are_unknown():
    assert np.isnan(project(np.array([[0.0, 1.0, 1.0], [-1.0, 0.0, 1.0]]))).all()


def test_the_way_back():
    points_m = np.random.default_rng(1).uniform([1.0, -1.0, 0.0], [4.0, 1.0, 2.0], (4, 7, 3))
    np.testing.assert_allclose(unproject(project(points_m), points_m[..., 0]), points_m)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(\.\.\., 3\), got \(5, 2\)"):
        project(np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"\(\.\.\., 2\), got \(5, 3\)"):
        unproject(np.zeros((5, 3)), 1.0)
