"""What speaks for a wave being somebody's pulse, and how good its rate is.

A spectrum has a highest peak whether there is a pulse or not, and a network that has learnt pulses
finds one in noise. So a wave is held against the colours it was made of. A pulse is in all of the
face at once and noise is not; blood takes more of the green than of the red, while light, motion
and a video's compression move the colours in other proportions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.signal.windows import hann

from radar_pose_ros.vitals import classical, rates, signals

# How much red, green and blue fall when blood rises, each as share of its mean (de Haan & van
# Leest, Physiol. Meas. 35(9), 2014): direction only.
BLOOD = np.array([0.33, 0.77, 0.53]) / np.linalg.norm([0.33, 0.77, 0.53])

_NEAR_HZ = 0.15  # around the rate, where waves are compared: what a window of 10 s smears
# Of a constant, SNR, coherence and likeness to blood; see `features`.
WEIGHTS = np.array([-3.30, 0.83, 1.70, 0.95])
LEAST_SNR_DB = -3.0  # below, a spectrum's highest peak is too often not the pulse's: quality is 0
_KNOWN = 0.5  # regions that are known for less of the time have no say


class Evidence(NamedTuple):
    """What speaks for a rate; NaN where it cannot be told.

    Attributes
    ----------
    snr_db : float
        Of what `classical.pos` makes of the colours: power at the rate and its double over the
        rest of the band, `rates.snr_db`.
    coherence : float
        How much what `classical.pos` makes of each region swings with the wave near the rate, mean
        of the regions, -1 to 1.
    blood : float
        How alike the swing of red, green and blue near the rate is to that of `BLOOD`, -1 to 1.
    """

    snr_db: float
    coherence: float
    blood: float


NOTHING = Evidence(float("nan"), float("nan"), float("nan"))


def weigh(wave: ArrayLike, colours: ArrayLike, rate_hz: float, bpm: float) -> Evidence:
    """Hold a wave against the colours of the regions that it was made of.

    Parameters
    ----------
    wave : array_like, shape (T,)
        In the band of the pulse, rising with the volume of blood; NaN is unknown.
    colours : array_like, shape (T, R, 3)
        Mean RGB of each region at the same times; NaN is unknown.
    rate_hz : float
    bpm : float
        The rate that was read from the wave.

    Returns
    -------
    Evidence
    """
    wave = np.asarray(wave, np.float64)
    colours = np.asarray(colours, np.float64)
    regions = np.isfinite(colours).all(-1).mean(0) > _KNOWN
    if not (np.isfinite(bpm) and regions.any()):
        return NOTHING
    colours = colours[:, regions]
    of_regions = signals.band_pass(classical.pos(colours, rate_hz), rate_hz)
    face = whole(colours)
    of_face = signals.band_pass(classical.pos(face, rate_hz), rate_hz)
    line = _lines(wave[:, None], rate_hz, bpm)
    lines = _lines(of_regions, rate_hz, bpm)
    power = np.sqrt((abs(line) ** 2).sum(0) * (abs(lines) ** 2).sum(0))
    together = (lines * line.conj()).sum(0).real / np.where(power > 0, power, np.nan)
    along = -(_lines(face / np.nanmean(face, axis=0), rate_hz, bpm) * line.conj()).sum(0).real
    length = np.linalg.norm(along)
    return Evidence(
        snr_db=rates.snr_db(of_face, rate_hz, bpm),
        coherence=float(together.mean()),
        blood=float(along @ BLOOD / length) if length > 0 else float("nan"),
    )


def whole(colours: np.ndarray) -> np.ndarray:
    """Return the mean colour (T, 3) of those regions (T, R, 3) that are known."""
    known = np.isfinite(colours).all(-1, keepdims=True)
    total = np.where(known, colours, 0.0).sum(1)
    count = known.sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _lines(values: np.ndarray, rate_hz: float, bpm: float) -> np.ndarray:
    """Return the spectrum's lines near a rate, complex (F, C), of values (T, C)."""
    known = ~np.isnan(values)
    mean = np.where(known, values, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    numbers = np.where(known, values - mean, 0.0) * hann(len(values), sym=False)[:, None]
    at_hz = bpm / 60 + np.linspace(-_NEAR_HZ, _NEAR_HZ, 5)
    times_s = np.arange(len(values)) / rate_hz
    return np.asarray(np.exp(-2j * np.pi * at_hz[:, None] * times_s) @ numbers)


def quality(found: Evidence) -> float:
    """Return how often rates with such evidence are within 5 beats per minute of the truth.

    A logistic function of the evidence, fitted by `training.pulse_quality` to simulated faces,
    living ones and photographs; 0 below `LEAST_SNR_DB`. A lamp that swings at the rate of a heart
    in the colour of blood is taken for one: nothing in a face's own colours tells them apart.

    Parameters
    ----------
    found : Evidence

    Returns
    -------
    float
        0 to 1; NaN if something of the evidence is.
    """
    return float(stated(np.array([found]), WEIGHTS)[0])


def stated(found: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """Return the `quality`, (N,), of evidence (N, 3) with these weights (4,)."""
    logistic = 1 / (1 + np.exp(-(features(found) @ np.asarray(weights))))
    return np.where(np.asarray(found)[:, 0] < LEAST_SNR_DB, 0.0, logistic)


def features(found: ArrayLike) -> np.ndarray:
    """Return what `WEIGHTS` weigh, (N, 4), of evidence (N, 3): a constant and its three numbers.

    Coherence and likeness count by how near they are to 1. Beyond 0.95 the latter counts no more:
    lamps and cameras differ by as much.
    """
    snr_db, coherence, blood = np.asarray(found, np.float64).T
    return np.stack(
        [
            np.ones_like(snr_db),
            np.clip(snr_db, -8, 8) / 3,
            -np.log(1.03 - np.clip(coherence, -1, 1)),
            -np.log(1.03 - np.clip(blood, -1, 0.95)),
        ],
        axis=-1,
    )
