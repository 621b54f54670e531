"""Rotations of a body model's joints, as networks like them: six numbers without a seam.

Three numbers, whichever, have places where a small turn makes a large difference; the first two
columns of the rotation matrix have none (Zhou et al., CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

# Two columns that are shorter, or span less, than this say nothing of a rotation.
_SMALLEST = 1e-8


def axis_angle_to_6d(axis_angle: ArrayLike) -> np.ndarray:
    """Return the first two columns of rotation matrices, one after the other.

    Parameters
    ----------
    axis_angle : array_like, shape (..., 3)
        Axis times angle, radians, as SMPL has it.

    Returns
    -------
    ndarray of float64, shape (..., 6)
        NaN where the input is.

    Raises
    ------
    ValueError
        If the last axis is not 3 long.
    """
    vectors = _last_axis(axis_angle, 3)
    matrices = _where_finite(vectors, lambda rows: Rotation.from_rotvec(rows).as_matrix(), (3, 3))
    return np.concatenate([matrices[..., 0], matrices[..., 1]], axis=-1)


def axis_angle_from_6d(rotations: ArrayLike) -> np.ndarray:
    """Return what `axis_angle_to_6d` was given; columns need not be orthogonal or of length 1.

    The first column gives its direction, the second what is at right angles to it (Gram-Schmidt).

    Parameters
    ----------
    rotations : array_like, shape (..., 6)

    Returns
    -------
    ndarray of float64, shape (..., 3)
        Radians, 0 to pi long. NaN where the input is, or where its columns vanish or are parallel.

    Raises
    ------
    ValueError
        If the last axis is not 6 long.
    """
    columns = _last_axis(rotations, 6)
    first = _unit(columns[..., :3])
    second = columns[..., 3:]
    along = (first * second).sum(-1, keepdims=True)
    second = _unit(second - along * first)
    matrices = np.stack([first, second, np.cross(first, second)], axis=-1)
    return _where_finite(matrices, lambda rows: Rotation.from_matrix(rows).as_rotvec(), (3,), 2)


def _last_axis(values: ArrayLike, length: int) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim < 1 or array.shape[-1] != length:
        raise ValueError(f"rotations must be (..., {length}), got {array.shape}")
    return array


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > _SMALLEST, length, np.nan)


def _where_finite(
    values: np.ndarray,
    convert: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, ...],
    axes: int = 1,
) -> np.ndarray:
    """Convert the rows that are finite, each the last ``axes`` of the array, to that shape."""
    before = values.shape[: values.ndim - axes]
    rows = values.reshape(-1, *values.shape[values.ndim - axes :])
    finite = np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
    converted = np.full((len(rows), *shape), np.nan)
    if finite.any():
        converted[finite] = convert(rows[finite])
    return converted.reshape(*before, *shape)
