"""MARS's small network: the published features and sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros.models.mars_cnn import PRESETS, MarsCnn, images

NAN = float("nan")


def frame(*points):
    rows = np.full((1, 64, 5), np.nan, np.float32)
    rows[0, : len(points)] = points
    return torch.from_numpy(rows)


def test_points_stand_from_left_to_right_then_near_to_far_then_upwards():
    """The published order is by x (to the right), depth, height; here y is to the left."""
    points = frame(
        (2.0, -1.0, 0.0, 0.4, 10.0),
        (2.0, 1.0, 0.5, 0.3, 20.0),
        (1.0, 1.0, 0.9, 0.2, 30.0),
        (2.0, 1.0, 0.1, 0.1, 40.0),
    )
    found = images(points)
    assert found.shape == (1, 5, 8, 8)
    assert_close(found[0, :, 0, 0], [1.0, 1.0, 0.9, 0.2, 3.0])
    assert_close(found[0, :, 0, 1], [2.0, 1.0, 0.1, 0.1, 4.0])
    assert_close(found[0, :, 0, 2], [2.0, 1.0, 0.5, 0.3, 2.0])
    assert_close(found[0, :, 0, 3], [2.0, -1.0, 0.0, 0.4, 1.0])
    assert found[0, :, 0, 4:].abs().sum() == 0 and found[0, :, 1:].abs().sum() == 0


def test_points_without_a_place_are_not_there_and_unknown_values_are_zero():
    points = frame((NAN, 0.0, 0.0, 9.0, 9.0), (1.0, 0.0, 0.0, NAN, NAN))
    found = images(points)
    assert_close(found[0, :, 0, 0], [1.0, 0.0, 0.0, 0.0, 0.0])
    assert found[0, :, 0, 1:].abs().sum() == 0


def test_rows_of_the_image_are_filled_one_after_the_other():
    points = torch.zeros(1, 64, 5)
    points[0, :, 0] = torch.arange(64)
    assert_close(images(points)[0, 0], np.arange(64.0).reshape(8, 8))


def test_the_network_has_the_published_size():
    """5-16 and 16-32 channels of 3 x 3, 2048-512, 512-75 and three for the root; two norms."""
    made = MarsCnn(PRESETS["mars_cnn"])
    convolutions = 16 * (5 * 9 + 1) + 32 * (16 * 9 + 1)
    dense = 512 * (2048 + 1) + (3 + 75) * (512 + 1)
    norms = 2 * 32 + 2 * 512
    assert sum(p.numel() for p in made.parameters()) == convolutions + dense + norms


def test_frames_without_points_have_no_pose(rng):
    points = torch.from_numpy(rng.normal(size=(3, 1, 64, 5)).astype(np.float32))
    points[1] = NAN
    points[2, 0, 1:] = NAN
    made = MarsCnn(PRESETS["mars_cnn"]).eval()
    with torch.inference_mode():
        found = made(points)
    assert found.shape == (3, 1, 25, 3)
    assert found.isfinite().all((1, 2, 3)).tolist() == [True, False, True]


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"points must be \(batch, 1 frame, 64 points, 5\)"):
        MarsCnn(PRESETS["mars_cnn"])(torch.zeros(1, 2, 64, 5))
