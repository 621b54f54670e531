"""Samples with time stamps, and the filters that a pulse goes through.

Cameras do not deliver frames at a constant rate, and faces are lost for moments. So stamps decide
where a sample lies, and what is unknown is NaN from the first function to the last: none of them
invents a value, and none lets a NaN spread to its neighbours. Time is the first axis of arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solveh_banded
from scipy.signal import butter, sosfiltfilt

LOW_HZ, HIGH_HZ = 0.65, 3.0  # 39 to 180 beats per minute
GAP_S = 0.25  # a choice: a third of a beat at 80 beats per minute

# Of the time between two known samples: so near one of them is at it.
_AT_A_SAMPLE = 1e-6
# How much the straight line over an unknown stretch counts against a known sample in `detrend`:
# nothing where it matters, but enough for gaps of minutes to leave equations that can be solved.
_GUESSED = 1e-6
_PROTOCOL_HZ = 30.0


class Uniform(NamedTuple):
    """Samples at a constant rate.

    Attributes
    ----------
    start_s : float
        The time of the first sample.
    rate_hz : float
    values : ndarray, shape (T, ...)
        NaN is unknown.
    """

    start_s: float
    rate_hz: float
    values: np.ndarray

    @property
    def times_s(self) -> np.ndarray:
        """The time of each sample, shape (T,)."""
        return self.start_s + np.arange(len(self.values)) / self.rate_hz


class Filled(NamedTuple):
    """Samples without NaN, for filters that need numbers.

    Attributes
    ----------
    values : ndarray, shape (T, ...)
    known : ndarray of bool, shape (T, ...)
        False where a value was invented.
    """

    values: np.ndarray
    known: np.ndarray


def resample(
    times_s: ArrayLike, values: ArrayLike, rate_hz: float, gap_s: float = GAP_S
) -> Uniform:
    """Bring stamped samples to a constant rate.

    Straight lines between the samples, by their stamps: they never overshoot, and a sample acts
    only up to its neighbours. Where samples come 1.5 times as fast as asked for or faster, each
    output is the mean of as many lines' points as samples fall on it, or flicker of the light
    would be folded into the band of the pulse.

    Parameters
    ----------
    times_s : array_like, shape (T,)
        They must increase.
    values : array_like, shape (T, ...)
        A NaN is no sample; the others of the same time are.
    rate_hz : float
    gap_s : float
        Inside longer times between two samples the output is NaN.

    Returns
    -------
    Uniform
        From the first stamp to the last; float32 stays float32.

    Raises
    ------
    ValueError
        If times do not increase, there are not as many as values, or the rate is not positive.
    """
    times = np.asarray(times_s, np.float64)
    samples = np.asarray(values)
    if not np.issubdtype(samples.dtype, np.floating):
        samples = samples.astype(np.float64)
    _check_rate(rate_hz)
    if times.ndim != 1 or len(times) == 0 or samples.shape[:1] != times.shape:
        raise ValueError(
            f"want one time per value, got times {times.shape} and values {samples.shape}"
        )
    if not np.isfinite(times).all():
        raise ValueError(f"time {np.flatnonzero(~np.isfinite(times))[0]} is not a number")
    steps = np.diff(times)
    if (steps <= 0).any():
        late = int(np.argmax(steps <= 0))
        raise ValueError(
            f"times must increase, but sample {late + 1} at {times[late + 1]:.6f} s follows"
            f" {times[late]:.6f} s"
        )
    columns = samples.reshape(len(samples), -1)
    # The last is there although its time may not be the grid's to the last bit.
    grid = times[0] + np.arange(int((times[-1] - times[0]) * rate_hz + _AT_A_SAMPLE) + 1) / rate_hz
    parts = max(1, round(1 / (np.median(steps) * rate_hz))) if len(steps) else 1
    offsets = ((np.arange(parts) + 0.5) / parts - 0.5) / rate_hz
    found = np.zeros((len(grid), columns.shape[1]), samples.dtype)
    for offset in offsets:
        at = np.clip(grid + offset, times[0], times[-1])
        found += interpolate(at, times, columns, gap_s)
    found /= samples.dtype.type(parts)
    return Uniform(float(times[0]), float(rate_hz), found.reshape(-1, *samples.shape[1:]))


def interpolate(
    at_s: np.ndarray, times_s: np.ndarray, values: np.ndarray, gap_s: float = GAP_S
) -> np.ndarray:
    """Return samples at other times, on straight lines between those that are known.

    Parameters
    ----------
    at_s : ndarray of float64, shape (M,)
    times_s : ndarray of float64, shape (T,)
        They must increase.
    values : ndarray of floats, shape (T, ...)
        A NaN is no sample; the others of the same time are.
    gap_s : float
        Inside longer times between two samples nothing is known.

    Returns
    -------
    ndarray, shape (M, ...)
        NaN is unknown: inside gaps, before the first sample and after the last.
    """
    columns = values.reshape(len(values), -1)
    found = np.full((len(at_s), columns.shape[1]), np.nan, columns.dtype)
    for which, rows in _patterns(~np.isnan(columns)):
        times = times_s[rows]
        if len(times) == 0:
            continue
        samples = columns[rows][:, which]
        right = np.clip(np.searchsorted(times, at_s), min(1, len(times) - 1), len(times) - 1)
        left = np.maximum(right - 1, 0)
        wide = times[right] - times[left]
        share = (at_s - times[left]) / np.where(wide > 0, wide, 1.0)
        between = (share > _AT_A_SAMPLE) & (share < 1 - _AT_A_SAMPLE)
        end = np.where(wide > 0, 1.0, 0.0)
        outside = (share < -_AT_A_SAMPLE) | (share > end + _AT_A_SAMPLE)
        share = np.clip(share, 0, 1).astype(columns.dtype)[:, None]
        made = (1 - share) * samples[left] + share * samples[right]
        made[outside | between & (wide > gap_s)] = np.nan
        found[:, which] = made
    return found.reshape(len(at_s), *values.shape[1:])


def fill(values: ArrayLike) -> Filled:
    """Lay straight lines over what is unknown, and say where.

    Before the first known sample and after the last it is theirs; without any it is 0. To be used
    only on the way through a filter, with NaN put back behind it.

    Parameters
    ----------
    values : array_like, shape (T, ...)
        At a constant rate; NaN is unknown.
    """
    samples = np.array(values, np.float64)
    known = ~np.isnan(samples)
    columns, mask = samples.reshape(len(samples), -1), known.reshape(len(samples), -1)
    index = np.arange(len(samples), dtype=np.float64)
    for which, rows in _patterns(mask):
        if not rows.any():
            columns[:, which] = 0.0
        elif not rows.all():
            ends = index[rows][[0, -1]]
            at = np.clip(index, *ends)
            columns[:, which] = interpolate(at, index, columns[:, which], np.inf)
    return Filled(columns.reshape(samples.shape), known)


def detrend(values: ArrayLike, rate_hz: float, smoothness: float = 100.0) -> np.ndarray:
    """Subtract the slow part of a signal, found with a smoothness prior.

    The trend ``z`` minimises ``|x - z|^2 + smoothness^2 |D z|^2`` over the known samples, ``D``
    the second difference (Tarvainen et al., IEEE TBME 49(2), 2002). Its band matrix is solved in
    time proportional to the samples.

    Parameters
    ----------
    values : array_like, shape (T, ...)
        At a constant rate; NaN is unknown and remains so.
    rate_hz : float
    smoothness : float
        As at 30 Hz, where 100, which the public protocols use, halves at 0.48 Hz; at other rates
        it is changed with their square, which keeps that frequency.

    Raises
    ------
    ValueError
        If there are fewer than 3 samples, or the rate is not positive.
    """
    _check_rate(rate_hz)
    filled = fill(values)
    samples = filled.values
    if len(samples) < 3:
        raise ValueError(f"a trend wants 3 samples or more, got {len(samples)}")
    squared = (smoothness * (rate_hz / _PROTOCOL_HZ) ** 2) ** 2
    bands = np.zeros((3, len(samples)))  # upper bands of D^T D
    bands[0, 2:] = 1.0
    bands[1, 1:-1] -= 2.0
    bands[1, 2:] -= 2.0
    bands[2, :-2] += 1.0
    bands[2, 1:-1] += 4.0
    bands[2, 2:] += 1.0
    columns = samples.reshape(len(samples), -1)
    found = np.empty_like(columns)
    for which, rows in _patterns(filled.known.reshape(columns.shape)):
        weights = np.where(rows, 1.0, _GUESSED)
        equations = squared * bands
        equations[2] += weights
        trend = solveh_banded(equations, weights[:, None] * columns[:, which], check_finite=False)
        found[:, which] = columns[:, which] - trend
    return np.where(filled.known, found.reshape(samples.shape), np.nan)


def band_pass(
    values: ArrayLike,
    rate_hz: float,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
    order: int = 1,
) -> np.ndarray:
    """Keep a band of frequencies, without delay.

    A Butterworth filter, forwards and backwards; of order 1 as the public protocols have it, which
    lets a quarter of the power through at the edges.

    Parameters
    ----------
    values : array_like, shape (T, ...)
        At a constant rate; NaN is unknown and remains so. Inside gaps the filter sees a straight
        line.
    rate_hz : float
    low_hz, high_hz : float
        Where the amplitude is halved.
    order : int

    Raises
    ------
    ValueError
        If the band does not lie between 0 and half the rate.
    """
    _check_rate(rate_hz)
    if not 0 < low_hz < high_hz < rate_hz / 2:
        raise ValueError(
            f"a band must lie between 0 and {rate_hz / 2:g} Hz, half the rate,"
            f" got {low_hz:g} to {high_hz:g} Hz"
        )
    filled = fill(values)
    if len(filled.values) == 0:
        return filled.values
    sections = _sections(order, low_hz, high_hz, rate_hz)
    slowest = min(len(filled.values) - 1, round(rate_hz / low_hz))
    found = sosfiltfilt(sections, filled.values, axis=0, padlen=slowest)
    return np.where(filled.known, found, np.nan)


@lru_cache(maxsize=64)
def _sections(order: int, low_hz: float, high_hz: float, rate_hz: float) -> np.ndarray:
    return butter(order, (low_hz, high_hz), "bandpass", fs=rate_hz, output="sos")


def _patterns(known: np.ndarray) -> Iterator[tuple[np.ndarray | slice, np.ndarray]]:
    """Yield columns that are known in the same rows: which columns, and which rows (T,)."""
    if known.shape[1] and (known == known[:, :1]).all():
        yield slice(None), known[:, 0]
        return
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for k, rows in enumerate(patterns.T):
        yield np.flatnonzero(which.ravel() == k), rows


def _check_rate(rate_hz: float) -> None:
    if not 0 < rate_hz < np.inf:
        raise ValueError(f"the rate must be more than 0 Hz, got {rate_hz}")
