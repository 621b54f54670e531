"""What speaks for a wave being somebody's pulse, and how good its rate is.

A spectrum has a highest peak whether there is a pulse or not, and a network that has learnt pulses
finds one in noise. So a wave is held against the colours it was made of. A pulse is in all of the
face at once and noise is not; blood takes more of the green than of the red, while light, motion
and a video's compression move the colours in other proportions. And a pulse is in the face alone:
what swings around it as well is light, or a camera's exposure.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.signal.windows import hann

from radar_pose_ros.vitals import classical, rates, signals

# How much red, green and blue fall when blood rises, each as share of its mean (de Haan & van
# Leest, Physiol. Meas. 35(9), 2014): direction only.
BLOOD = np.array([0.33, 0.77, 0.53]) / np.linalg.norm([0.33, 0.77, 0.53])

_NEAR_HZ = 0.15  # around the rate, where waves are compared: what a window of 10 s smears
Kind = Literal["colours", "images"]  # what a method looks at: mean colours, or the face itself
# Of a constant, SNR, coherence and likeness to blood; see `features`. The constants are lower than
# those fitted, by 0.9 and 0.6: else noise that all of a face shares is told in 6 % of windows
# [choice].
WEIGHTS: dict[Kind, np.ndarray] = {
    "colours": np.array([-4.62, 0.64, 1.97, 0.55]),
    "images": np.array([-3.22, 1.67, 1.26, 0.37]),
}
LEAST_SNR_DB = -3.0  # below, a spectrum's highest peak is too often not the pulse's: quality is 0
# Above, quality is 0 [choice]. Of 1500 right rates of 108 simulated people that were clear without
# asking for light, 3 % had more.
MOST_LIGHT = 0.25
_KNOWN = 0.5  # regions that are known for less of the time have no say


class Evidence(NamedTuple):
    """What speaks for a rate, and against it; NaN where it cannot be told.

    Attributes
    ----------
    snr_db : float
        Of the wave: power at the rate and its double over the rest of the band, `rates.snr_db`.
    coherence : float
        How much what `classical.pos` makes of each region swings with the wave near the rate, mean
        of the regions, -1 to 1.
    blood : float
        How alike the swing of red, green and blue near the rate is to that of `BLOOD`, -1 to 1.
    light : float
        How much of the face's swing with the wave near the rate everything around it has: 0 is
        none, 1 as much, of the place that has least. Places that swing by chance have now more,
        now less than nothing, so that the least of them is often below 0.
    """

    snr_db: float
    coherence: float
    blood: float
    light: float


NOTHING = Evidence(*4 * (float("nan"),))


def weigh(
    wave: ArrayLike,
    colours: ArrayLike,
    rate_hz: float,
    bpm: float,
    surroundings: ArrayLike | None = None,
) -> Evidence:
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
    surroundings : array_like, shape (T, P, 3), optional
        Mean RGB of places around the face, as `skin.surroundings` has them; NaN is unknown.

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
    line = _lines(wave[:, None], rate_hz, bpm)
    lines = _lines(of_regions, rate_hz, bpm)
    power = np.sqrt((abs(line) ** 2).sum(0) * (abs(lines) ** 2).sum(0))
    together = (lines * line.conj()).sum(0).real / np.where(power > 0, power, np.nan)
    swing = _swing(whole(colours), line, rate_hz, bpm)
    along = -swing.real
    length = np.linalg.norm(along)
    return Evidence(
        snr_db=rates.snr_db(wave, rate_hz, bpm),
        coherence=float(together.mean()),
        blood=float(along @ BLOOD / length) if length > 0 else float("nan"),
        light=_light(swing, surroundings, line, rate_hz, bpm),
    )


def _light(
    swing: np.ndarray, around: ArrayLike | None, line: np.ndarray, rate_hz: float, bpm: float
) -> float:
    """Return how much of the swing of a face, (3,), places around it (T, P, 3) have at least."""
    places = np.empty((len(line), 0, 3)) if around is None else np.asarray(around, np.float64)
    power = float((abs(swing) ** 2).sum())
    shares = [
        float((_swing(place, line, rate_hz, bpm) * swing.conj()).sum().real) / power
        for place in np.moveaxis(places, 1, 0)
        if power > 0 and np.isfinite(place).all(-1).mean() > _KNOWN
    ]
    return min(shares, default=float("nan"))


def _swing(colours: np.ndarray, line: np.ndarray, rate_hz: float, bpm: float) -> np.ndarray:
    """Return how colours (T, 3), as shares of their means, go with a wave's line: complex (3,)."""
    relative = colours / np.nanmean(colours, axis=0)
    return np.asarray((_lines(relative, rate_hz, bpm) * line.conj()).sum(0))


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


def quality(found: Evidence, kind: Kind = "colours") -> float:
    """Return at least how often such rates are within 5 beats per minute of the truth.

    A logistic function of the evidence, fitted by `training.pulse_quality` to simulated faces,
    living ones and photographs, and then lowered (`WEIGHTS`); 0 below `LEAST_SNR_DB` and above
    `MOST_LIGHT`. In simulated faces that no weights of it were fitted to, nine tenths of the rates
    of 0.5 to 0.7 were right, and all but 2 of 1460 of 0.9 and more. A lamp that shines on the face
    alone and swings at the rate of a heart in the colour of blood is taken for one.

    Parameters
    ----------
    found : Evidence
    kind : {"colours", "images"}
        What the method that made the wave looks at. What networks make of noise is seldom as clear
        as what they make of a pulse, so that their SNR says more. What counts how much is fitted
        to the network of the shipped weights, `edge`.

    Returns
    -------
    float
        0 to 1; NaN if something of the evidence is. Light that is not known has no say.
    """
    return float(stated(np.array([found]), WEIGHTS[kind])[0])


def stated(found: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """Return the `quality`, (N,), of evidence (N, 4) with these weights (4,)."""
    logistic = 1 / (1 + np.exp(-(features(found) @ np.asarray(weights))))
    return np.where(refused(found), 0.0, logistic)


def refused(found: ArrayLike) -> np.ndarray:
    """Return of which evidence (N, 4) the quality is 0 whatever the weights are, bool (N,)."""
    snr_db, _, _, light = np.asarray(found, np.float64).T
    return (snr_db < LEAST_SNR_DB) | (light > MOST_LIGHT)


def features(found: ArrayLike) -> np.ndarray:
    """Return what `WEIGHTS` weigh, (N, 4), of evidence (N, 4): a constant and its first three.

    Coherence and likeness count by how near they are to 1. Beyond 0.95 the latter counts no more:
    lamps and cameras differ by as much.
    """
    snr_db, coherence, blood, _ = np.asarray(found, np.float64).T
    return np.stack(
        [
            np.ones_like(snr_db),
            np.clip(snr_db, -8, 8) / 3,
            -np.log(1.03 - np.clip(coherence, -1, 1)),
            -np.log(1.03 - np.clip(blood, -1, 0.95)),
        ],
        axis=-1,
    )
