"""The pulse from mean colours of skin, without anything learnt.

Light from skin is what its surface mirrors, plus what comes back from inside; the latter falls
when blood fills the vessels, most in green and least in red (Wang et al., IEEE TBME 64(7), 2017).
All methods return a wave that rises with the volume of blood, in an arbitrary unit around zero.

Colours are ``(T, ..., 3)``: red, green, blue at a constant rate, as a camera has them. Where one
of the three is NaN the wave is. Where they are known it is known too, except that `chrom` and
`pos` want half of a window of 1.6 s: a shorter piece with nothing around it remains unknown.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import correlate1d
from scipy.signal.windows import boxcar, hann

from radar_pose_ros.vitals import rates, signals

WINDOW_S = 1.6  # of both papers; holds a beat from 38 beats per minute on

_FIRST, _SECOND = np.array([0.0, 1.0, -1.0]), np.array([-2.0, 1.0, 1.0])  # of `pos`


def green(colours: ArrayLike, rate_hz: float) -> np.ndarray:
    """Return how far green is below its mean (Verkruysse et al., Optics Express 16(26), 2008).

    Parameters
    ----------
    colours : array_like, shape (T, ..., 3)
    rate_hz : float
        Changes nothing: all methods are called alike.

    Returns
    -------
    ndarray, shape (T, ...)
        As a share of the mean of all samples. Nothing is filtered: slow changes are in it.

    Raises
    ------
    ValueError
        If the last axis is not 3.
    """
    values = _colours(colours)[..., 1]
    return 1 - values / _mean(values, axis=0)


def chrom(colours: ArrayLike, rate_hz: float) -> np.ndarray:
    """Return the difference of two chrominances (de Haan & Jeanne, IEEE TBME 60(10), 2013).

    ``X = 3 R - 2 G`` and ``Y = 1.5 R + G - 1.5 B`` of colours divided by their trend; ``X - a Y``
    with ``a`` such that both swing alike within a window in the band of the pulse, the windows
    added up with Hann's weights. The paper divides by the mean of the window instead, and returns
    the wave in the band: to pass it once more takes the slowest hearts for twice as fast.

    Parameters
    ----------
    colours : array_like, shape (T, ..., 3)
    rate_hz : float

    Returns
    -------
    ndarray, shape (T, ...)
        Not yet in the band of the pulse.

    Raises
    ------
    ValueError
        If the last axis is not 3, there are fewer than 3 samples, or the rate is too low for the
        band of the pulse.
    """
    values = _colours(colours)
    relative = values / _positive(values - signals.detrend(values, rate_hz)) - 1
    red, middle, blue = np.moveaxis(relative, -1, 0)
    both = np.stack([3 * red - 2 * middle, 1.5 * red + middle - 1.5 * blue], axis=-1)
    length = _window(len(values), rate_hz)
    _, variance, _ = _moments(signals.band_pass(both, rate_hz), length)
    factor = np.sqrt(np.maximum(variance[..., 0, 0], 0) / _positive(variance[..., 1, 1]))
    # without the zeros at Hann's ends, which nothing could be divided by
    [factor] = _overlap([factor], ~np.isnan(factor), hann(length + 2)[1:-1])
    return both[..., 0] - factor * both[..., 1]


def pos(colours: ArrayLike, rate_hz: float) -> np.ndarray:
    """Return the projection on a plane orthogonal to skin (Wang et al., IEEE TBME 64(7), 2017).

    In each window of 1.6 s, colours divided by their mean there: ``S1 = G - B`` and
    ``S2 = G + B - 2 R``, and of them ``S1 + a S2`` with ``a`` such that both swing alike; turned
    round, because light falls when blood rises. The mean of all windows that a sample lies in.

    Parameters
    ----------
    colours : array_like, shape (T, ..., 3)
    rate_hz : float

    Returns
    -------
    ndarray, shape (T, ...)
        Not yet in the band of the pulse.

    Raises
    ------
    ValueError
        If the last axis is not 3, or the rate is not positive.
    """
    values = _colours(colours)
    length = _window(len(values), rate_hz)
    relative = values / _positive(_mean(values, axis=0)) - 1
    mean, covariance, enough = _moments(relative, length)
    covariance = covariance / ((1 + mean)[..., None, :] * (1 + mean)[..., :, None])
    first, second = (
        np.einsum("...ij,i,j->...", covariance, plane, plane) for plane in (_FIRST, _SECOND)
    )
    ratio = np.sqrt(np.maximum(first, 0) / _positive(second))
    # What a window adds is linear in the colours: factors can be added up in place of samples.
    factors = (_FIRST + ratio[..., None] * _SECOND) / (1 + mean)
    constant = (factors * mean).sum(-1)
    usable = enough & ~np.isnan(ratio)
    *factor, constant = _overlap([*np.moveaxis(factors, -1, 0), constant], usable, boxcar(length))
    return constant - (np.stack(factor, axis=-1) * relative).sum(-1)


METHODS: dict[str, Callable[[ArrayLike, float], np.ndarray]] = {
    "green": green,
    "chrom": chrom,
    "pos": pos,
}


def combined(waves: ArrayLike, rate_hz: float) -> np.ndarray:
    """Return the mean of several waves of one pulse, each weighed by its spectrum.

    A wave's weight is the power at its rate and twice that over the rest of the band, as
    `rates.snr_db` measures it; one without a peak has none. What has a rhythm of its own is not
    told from a pulse: see that waves agree before you trust their mean.

    Parameters
    ----------
    waves : array_like, shape (T, waves)
        In the band of the pulse; each is divided by its own spread, so units do not matter.
    rate_hz : float

    Returns
    -------
    ndarray, shape (T,)
        At each time of the waves that are known then; NaN where none is.

    Raises
    ------
    ValueError
        If there are not two axes.
    """
    values = np.asarray(waves, np.float64)
    if values.ndim != 2:
        raise ValueError(f"want waves (T, waves), got {values.shape}")
    spectra = [rates.spectrum(wave, rate_hz) for wave in values.T]
    decibel = np.array([found.snr_db(60 * found.peak_hz()) for found in spectra])
    weights = np.nan_to_num(10 ** (decibel / 10))
    scaled = values / _positive(_spread(values.T).T)
    known = ~np.isnan(scaled)
    shares = known * weights
    total = np.where(known, scaled, 0.0) @ weights
    return total / _positive(shares.sum(1))


def _colours(colours: ArrayLike) -> np.ndarray:
    """Return colours of which either all three are known or none."""
    values = np.asarray(colours, np.float64)
    if values.ndim < 2 or values.shape[-1] != 3 or len(values) == 0:
        raise ValueError(f"want colours (T, ..., 3), got {values.shape}")
    return np.where(np.isnan(values).any(-1, keepdims=True), np.nan, values)


def _window(samples: int, rate_hz: float) -> int:
    """Return the length of a window in samples."""
    if not 0 < rate_hz < np.inf:
        raise ValueError(f"the rate must be more than 0 Hz, got {rate_hz}")
    return min(samples, max(2, round(WINDOW_S * rate_hz)))


def _moments(values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean (W, ..., C) and covariance (W, ..., C, C) of each window, and if it is known.

    Values (T, ..., C), around zero; windows start at each sample. NaN where less than half of a
    window is known.
    """
    known = ~np.isnan(values).any(-1, keepdims=True)
    numbers = np.where(known, values, 0.0)
    products = numbers[..., None, :] * numbers[..., :, None]
    ones = np.ones(length)
    count = _sums(known.astype(np.float64), ones)
    enough = count >= length / 2
    count = np.where(enough, count, np.nan)
    mean = _sums(numbers, ones) / count
    covariance = _sums(products, ones) / count[..., None]
    return mean, covariance - mean[..., None, :] * mean[..., :, None], enough[..., 0]


def _sums(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted sums over windows that start at each sample, (W, ...) of (T, ...)."""
    middle = len(weights) // 2
    sums = correlate1d(values, weights, axis=0, mode="constant")
    return sums[middle : middle + len(values) - len(weights) + 1]


def _overlap(
    values: list[np.ndarray], usable: np.ndarray, weights: np.ndarray
) -> list[np.ndarray]:
    """Return the weighted mean of what windows (W, ...) say of each sample, (T, ...)."""
    beyond = len(weights) - 1

    def total(of_windows: np.ndarray) -> np.ndarray:
        around = [(beyond, beyond)] + [(0, 0)] * (of_windows.ndim - 1)
        return _sums(np.pad(of_windows, around), weights)

    weight = _positive(total(usable.astype(np.float64)))
    return [total(np.where(usable, value, 0.0)) / weight for value in values]


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of what is known, the axis kept; NaN where nothing is."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis, keepdims=True)
    return total / _positive(known.sum(axis, keepdims=True))


def _spread(values: np.ndarray) -> np.ndarray:
    """Return the standard deviation of what is known along the last axis, which is kept."""
    return np.sqrt(_mean((values - _mean(values, axis=-1)) ** 2, axis=-1))


def _positive(values: np.ndarray) -> np.ndarray:
    """Return what can be divided by: NaN in place of anything else."""
    return np.where(values > 0, values, np.nan)
