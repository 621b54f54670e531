"""What functions here and in the models ask of their arguments, said in a sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def whole(name: str, value: Any, lowest: int, highest: int | None = None) -> int:
    """Return a whole number, such as ``3`` or numpy's; ``3.0``, ``"3"`` and ``True`` are none.

    Raises
    ------
    ValueError
        If it is none, or out of range.
    """
    allowed = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
    fits = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not fits or value < lowest or (highest is not None and value > highest):
        raise ValueError(f"{name} must be a whole number, {allowed}, got {value!r}")
    return int(value)


def real(name: str, value: Any, *, positive: bool = False) -> float:
    """Return a finite number.

    Raises
    ------
    ValueError
        If it is none, such as ``"3"``, or not above 0 where it must be.
    """
    is_number = isinstance(value, int | float | np.integer | np.floating)
    is_number = is_number and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or (positive and value <= 0):
        allowed = "a finite number above 0" if positive else "a finite number"
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return float(value)


def array(name: str, values: Any, shape: tuple[int | None, ...], axes: str) -> np.ndarray:
    """Return numbers as float64; NaN and infinity are numbers.

    Parameters
    ----------
    name : str
    values : array_like
    shape : tuple of int or None
        None: any length, from 1 on.
    axes : str
        What the axes are, such as "(frames, 17 joints, 2)".

    Raises
    ------
    ValueError
        If there is text among them, or the shape is another.
    """
    try:
        found = np.asarray(values)
    except ValueError:  # lists of several lengths
        raise ValueError(f"{name} must be {axes}, got lists of several lengths") from None
    if found.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers, {axes}, got {found.dtype} {found.shape}")
    lengths = zip(found.shape, shape, strict=False)
    if len(found.shape) != len(shape) or not all(n == m or (m is None and n) for n, m in lengths):
        raise ValueError(f"{name} must be {axes}, got {found.shape}")
    return found.astype(np.float64, copy=False)
