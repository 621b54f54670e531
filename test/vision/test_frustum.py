"""What a camera sees, as lines."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.skeleton.placement import Intrinsics
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.frustum import frustum


@pytest.mark.parametrize("distortion", [(), (-0.2, 0.05, 0.001, -0.002, 0.0)])
def test_the_corners_are_those_of_the_image(distortion: tuple[float, ...]) -> None:
    """Points at the pyramid's corners are seen at the corners of the image, lens and all."""
    lens = Intrinsics((500.0, 510.0), (310.0, 250.0), (640, 480), distortion)
    camera = PinholeCamera(
        lens.focal_px, lens.centre_px, lens.size_px, np.eye(3), np.zeros(3), lens.distortion
    )
    edges = frustum(lens, 0.8)
    assert edges.shape == (10, 2, 3)
    assert not edges[:4, 0].any()  # from the camera
    corners = edges[:4, 1]
    np.testing.assert_allclose(corners[:, 2], 0.8)
    expected = [(0, 0), (640, 0), (640, 480), (0, 480)]
    # OpenCV takes a lens's bend away to some hundredths of a pixel
    np.testing.assert_allclose(camera.project(corners), expected, atol=0.1)
    np.testing.assert_allclose(edges[4:8, 0], corners)
    np.testing.assert_allclose(edges[4:8, 1], np.roll(corners, -1, axis=0))


def test_the_gable_is_above_the_image() -> None:
    """An optical frame has y down."""
    top = frustum(Intrinsics((100.0, 100.0), (50.0, 50.0), (100, 100)), 1.0)[8, 1]
    np.testing.assert_allclose(top, [0.0, -0.75, 1.0])
