"""Poses between keyframes without a network: what a network has to be better than.

One interface for all: poses at irregular times go in, poses at the times asked for come out. A
joint that is NaN in a keyframe is left out of that joint's curve alone; what cannot be
interpolated, before a joint's first keyframe or after its last, is NaN and flagged.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import make_interp_spline
from scipy.signal import savgol_filter

# Splines through the keyframes, by degree.
DEGREES = {"linear": 1, "quadratic": 2, "cubic": 3}
METHODS = ("nearest", *DEGREES, "one_euro", "savgol")


class Interpolated(NamedTuple):
    """Poses at the times that were asked for.

    Attributes
    ----------
    poses : ndarray of float64, shape (times, joints, values)
        NaN where not known.
    known : ndarray of bool, shape (times, joints)
    """

    poses: np.ndarray
    known: np.ndarray


def interpolate(
    times_s: ArrayLike,
    poses: ArrayLike,
    at_s: ArrayLike,
    method: str = "linear",
    **options: Any,
) -> Interpolated:
    """Interpolate each joint between the keyframes in which it is known.

    Parameters
    ----------
    times_s : array_like, shape (keyframes,)
        Rising; they need not be regular.
    poses : array_like, shape (keyframes, joints, values)
        NaN where a joint is not known.
    at_s : array_like, shape (times,)
        In any order.
    method : str
        One of `METHODS`. "nearest" takes the earlier one of two that are equally near. Of splines
        with fewer keyframes than they need the degree is lower. "one_euro" and "savgol" filter
        the keyframes and go straight from one to the next; "savgol" filters on a regular grid of
        the median distance.
    **options
        Of `one_euro` or `savitzky_golay`.

    Raises
    ------
    ValueError
        If there is no such method, shapes do not fit, or times do not rise.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is none of {', '.join(METHODS)}")
    times, values, at = (np.asarray(a, np.float64) for a in (times_s, poses, at_s))
    if values.ndim != 3 or times.shape != values.shape[:1] or at.ndim != 1:
        raise ValueError(
            "times must be (keyframes,), poses (keyframes, joints, values) and the times asked "
            f"for (times,), got {times.shape}, {values.shape} and {at.shape}"
        )
    _check_rising(times)
    result = np.full((len(at), *values.shape[1:]), np.nan)
    valid = np.isfinite(values).all(axis=2)  # (keyframes, joints)
    # joints that are known in the same keyframes go together
    patterns, group = np.unique(valid, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        joints = np.flatnonzero(group.ravel() == number)
        if not pattern.any():
            continue
        x = times[pattern]
        y = values[pattern][:, joints].reshape(len(x), -1)
        inside = (at >= x[0]) & (at <= x[-1])
        curve = _curve(x, y, at[inside], method, options)
        result[np.ix_(inside, joints)] = curve.reshape(-1, len(joints), values.shape[2])
    return Interpolated(result, np.asarray(np.isfinite(result).all(axis=2)))


def _curve(
    x: np.ndarray, y: np.ndarray, at: np.ndarray, method: str, options: dict[str, Any]
) -> np.ndarray:
    """Return the columns of y (keyframes, columns) at times between the first and the last."""
    if method == "nearest" or len(x) == 1:
        return y[np.searchsorted((x[1:] + x[:-1]) / 2, at)]
    if method == "one_euro":
        y = one_euro(x, y, **options)
    elif method == "savgol":
        step = float(np.median(np.diff(x)))
        grid = np.linspace(x[0], x[-1], max(2, round((x[-1] - x[0]) / step) + 1))
        y = savitzky_golay(make_interp_spline(x, y, k=1)(grid), **options)
        x = grid
    degree = min(DEGREES.get(method, 1), len(x) - 1)
    return make_interp_spline(x, y, k=degree)(at)


def one_euro(
    times_s: ArrayLike,
    values: ArrayLike,
    *,
    cutoff_hz: float = 1.0,
    slope: float = 0.5,
    derivative_cutoff_hz: float = 1.0,
) -> np.ndarray:
    """Filter with a low pass that opens when something moves (Casiez, Roussel, Vogel, CHI 2012).

    Parameters
    ----------
    times_s : array_like, shape (times,)
        Rising.
    values : array_like, shape (times, ...)
        Each number is filtered by itself. No NaN.
    cutoff_hz : float
        Cutoff at rest.
    slope : float
        By how much the cutoff rises with speed, in Hz per (unit / s).
    derivative_cutoff_hz : float
        Cutoff of the speed's own low pass.

    Returns
    -------
    ndarray of float64, shape (times, ...)
        It looks back only: it lags, the less the faster the movement.

    Raises
    ------
    ValueError
        If times do not rise or are not as many as the values.
    """
    times, raw = np.asarray(times_s, np.float64), np.asarray(values, np.float64)
    if times.shape != raw.shape[:1]:
        raise ValueError(f"{times.shape} times, but values of the shape {raw.shape}")
    _check_rising(times)

    def share(cutoff: ArrayLike, step: float) -> np.ndarray:
        """How much of the new value an exponential low pass takes."""
        return 1 / (1 + 1 / (2 * math.pi * np.asarray(cutoff) * step))

    filtered = raw.copy()
    speed = np.zeros(raw.shape[1:])
    for k in range(1, len(raw)):
        step = float(times[k] - times[k - 1])
        rate = (raw[k] - filtered[k - 1]) / step
        speed = speed + share(derivative_cutoff_hz, step) * (rate - speed)
        taken = share(cutoff_hz + slope * np.abs(speed), step)
        filtered[k] = filtered[k - 1] + taken * (raw[k] - filtered[k - 1])
    return filtered


def savitzky_golay(values: ArrayLike, *, window: int = 7, degree: int = 2) -> np.ndarray:
    """Fit a polynomial around each of regular samples (Savitzky and Golay 1964).

    Parameters
    ----------
    values : array_like, shape (samples, ...)
        Each number is filtered by itself. No NaN.
    window : int
        Samples in a fit, odd; fewer where there are fewer.
    degree : int
        Of the polynomial, less than the window.

    Returns
    -------
    ndarray of float64, shape (samples, ...)
        Unchanged if there are no more samples than the polynomial goes through.

    Raises
    ------
    ValueError
        If the window is even or not longer than the degree.
    """
    raw = np.asarray(values, np.float64)
    if window % 2 == 0 or not 0 <= degree < window:
        raise ValueError(f"window must be odd and exceed the degree, got {window} and {degree}")
    fitting = min(window, len(raw) - 1 + len(raw) % 2)
    if fitting <= degree:
        return raw.copy()
    return savgol_filter(raw, fitting, degree, axis=0)


def _check_rising(times: np.ndarray) -> None:
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError("times must be finite and rise from keyframe to keyframe")
