"""Rotations: known ones, round trips, what is no rotation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tolerances import assert_close

from radar_pose_ros.skeleton.rotations import axis_angle_from_6d, axis_angle_to_6d

KNOWN = [
    ([0.0, 0.0, 0.0], [1, 0, 0, 0, 1, 0]),
    ([0.0, 0.0, math.pi / 2], [0, 1, 0, -1, 0, 0]),
    ([math.pi / 2, 0.0, 0.0], [1, 0, 0, 0, 0, 1]),
    ([0.0, math.pi, 0.0], [-1, 0, 0, 0, 1, 0]),
]


@pytest.mark.parametrize(("axis_angle", "columns"), KNOWN)
def test_quarter_and_half_turns(axis_angle: list, columns: list) -> None:
    assert_close(axis_angle_to_6d(axis_angle), np.array(columns, float))
    back = Rotation.from_rotvec(axis_angle_from_6d(columns))
    assert_close((back * Rotation.from_rotvec(axis_angle).inv()).magnitude(), 0.0)


def test_round_trip(rng: np.random.Generator) -> None:
    """Whole bodies, (poses, 24 joints); angles under half a turn are unique."""
    axes = rng.normal(size=(50, 24, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    poses = axes * rng.uniform(0, 3.1, size=(50, 24, 1))
    sixes = axis_angle_to_6d(poses)
    assert sixes.shape == (50, 24, 6)
    matrices = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(50, 24, 3, 3)
    assert_close(sixes, np.concatenate([matrices[..., 0], matrices[..., 1]], axis=-1))
    np.testing.assert_allclose(axis_angle_from_6d(sixes), poses, atol=1e-7)  # arccosine at 3.1


def test_columns_need_not_be_orthonormal(rng: np.random.Generator) -> None:
    """What a network gives: the first column counts, the second as far as it differs."""
    sixes = axis_angle_to_6d(rng.normal(size=(20, 3)))
    first, second = sixes[:, :3], sixes[:, 3:]
    skewed = np.concatenate([2.5 * first, 0.3 * second - 0.7 * first], axis=1)
    assert_close(axis_angle_from_6d(skewed), axis_angle_from_6d(sixes))


def test_there_is_no_seam() -> None:
    """A turn through 180 degrees is a jump of the axis and angle, none of the six numbers."""
    sixes = axis_angle_to_6d([[0.0, 0.0, math.pi - 1e-3], [0.0, 0.0, -math.pi + 1e-3]])
    assert np.abs(np.diff(sixes, axis=0)).max() < 3e-3


def test_what_is_no_rotation_is_nan() -> None:
    for six in ([0, 0, 0, 0, 1, 0], [1, 0, 0, 2, 0, 0], [1, 0, 0, np.nan, 0, 0]):
        assert np.isnan(axis_angle_from_6d([six, [1, 0, 0, 0, 1, 0]])).tolist() == [
            [True] * 3,
            [False] * 3,
        ]
    assert np.isnan(axis_angle_to_6d([np.nan, 0, 0])).all()
    with pytest.raises(ValueError, match=r"rotations must be \(..., 6\), got \(2, 3\)"):
        axis_angle_from_6d(np.zeros((2, 3)))
