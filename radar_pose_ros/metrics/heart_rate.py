"""How good are heart rates: errors, agreement, and how often there is a rate at all.

All rates are beats per minute, one per window or per video. A rate that is NaN is none: it enters
no error, and `count_rates` says how many there are; no number here is complete without it. Errors
and their standard errors are those that the public toolboxes for remote pulse print, so that they
can be compared with published tables.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_LIMITS = 1.96  # standard deviations: 95 % of a normal distribution


class Measure(NamedTuple):
    """A number and its standard error, both NaN if there is nothing to compute it from."""

    value: float
    standard_error: float


class RateCount(NamedTuple):
    """How many rates a comparison rests on.

    Attributes
    ----------
    compared : int
        With estimate and truth.
    missing : int
        With truth, but without an estimate.
    unknown : int
        Without truth.
    """

    compared: int
    missing: int
    unknown: int

    @property
    def coverage(self) -> float:
        """The share of those with truth that have an estimate; NaN without any."""
        known = self.compared + self.missing
        return self.compared / known if known else float("nan")


class BlandAltman(NamedTuple):
    """Agreement of two ways to measure (Bland & Altman, The Lancet 327(8476), 1986).

    Attributes
    ----------
    bias : float
        Mean of estimate minus truth.
    lower, upper : float
        Limits of agreement: 95 % of the differences lie between them if they are normal.
    """

    bias: float
    lower: float
    upper: float


class Scores(NamedTuple):
    """All measures of one set of rates."""

    rates: RateCount
    mae_bpm: Measure
    rmse_bpm: Measure
    mape_percent: Measure
    pearson: Measure
    snr_db: Measure
    agreement_bpm: BlandAltman


def count_rates(predicted_bpm: ArrayLike, true_bpm: ArrayLike) -> RateCount:
    """Return how many rates are compared, and how many are left out.

    Parameters
    ----------
    predicted_bpm, true_bpm : array_like, shape (...)
        NaN is no rate.

    Raises
    ------
    ValueError
        If shapes differ.
    """
    predicted, true = _pair(predicted_bpm, true_bpm)
    known = ~np.isnan(true)
    compared = int((known & ~np.isnan(predicted)).sum())
    return RateCount(compared, int(known.sum()) - compared, int((~known).sum()))


def mae(predicted_bpm: ArrayLike, true_bpm: ArrayLike) -> Measure:
    """Return the mean absolute error; arguments as in `count_rates`."""
    predicted, true = _compared(predicted_bpm, true_bpm)
    return _mean(np.abs(predicted - true))


def rmse(predicted_bpm: ArrayLike, true_bpm: ArrayLike) -> Measure:
    """Return the root of the mean squared error; arguments as in `count_rates`.

    With it, as the toolboxes have it, the root of the standard error of the mean squared error. It
    is larger than a standard error of the root would be.
    """
    predicted, true = _compared(predicted_bpm, true_bpm)
    squared = _mean((predicted - true) ** 2)
    return Measure(float(np.sqrt(squared.value)), float(np.sqrt(squared.standard_error)))


def mape_percent(predicted_bpm: ArrayLike, true_bpm: ArrayLike) -> Measure:
    """Return the mean absolute error as per cent of the truth; arguments as in `count_rates`."""
    predicted, true = _compared(predicted_bpm, true_bpm)
    return _mean(100 * np.abs((predicted - true) / true))


def pearson(predicted_bpm: ArrayLike, true_bpm: ArrayLike) -> Measure:
    """Return Pearson's correlation, with ``sqrt((1 - r^2) / (n - 2))``.

    Arguments as in `count_rates`; NaN for fewer than three rates, or if one side does not change.
    """
    predicted, true = _compared(predicted_bpm, true_bpm)
    if len(true) < 3 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return Measure(float("nan"), float("nan"))
    r = float(np.clip(np.corrcoef(predicted, true)[0, 1], -1.0, 1.0))
    return Measure(r, float(np.sqrt((1 - r**2) / (len(true) - 2))))


def mean_snr_db(snr_db: ArrayLike) -> Measure:
    """Return the mean of signal-to-noise ratios in dB; NaN is left out.

    Say by which convention they are: see `vitals.rates.snr_db`.
    """
    values = np.asarray(snr_db, np.float64).ravel()
    return _mean(values[~np.isnan(values)])


def bland_altman(predicted_bpm: ArrayLike, true_bpm: ArrayLike) -> BlandAltman:
    """Return bias and limits of agreement; arguments as in `count_rates`.

    The limits are 1.96 standard deviations, with ``n - 1`` in the denominator, from the bias; NaN
    for fewer than two rates.
    """
    predicted, true = _compared(predicted_bpm, true_bpm)
    difference = predicted - true
    bias = float(difference.mean()) if len(difference) else float("nan")
    reach = _LIMITS * float(difference.std(ddof=1)) if len(difference) > 1 else float("nan")
    return BlandAltman(bias, bias - reach, bias + reach)


def scores(predicted_bpm: ArrayLike, true_bpm: ArrayLike, snr_db: ArrayLike = ()) -> Scores:
    """Return all measures at once; arguments as in `count_rates` and `mean_snr_db`."""
    both = (predicted_bpm, true_bpm)
    return Scores(
        rates=count_rates(*both),
        mae_bpm=mae(*both),
        rmse_bpm=rmse(*both),
        mape_percent=mape_percent(*both),
        pearson=pearson(*both),
        snr_db=mean_snr_db(snr_db),
        agreement_bpm=bland_altman(*both),
    )


def _pair(predicted_bpm: ArrayLike, true_bpm: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    predicted, true = (np.asarray(side, np.float64) for side in (predicted_bpm, true_bpm))
    if predicted.shape != true.shape:
        raise ValueError(f"estimates {predicted.shape} and true rates {true.shape} must match")
    return predicted, true


def _compared(predicted_bpm: ArrayLike, true_bpm: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the rates of which estimate and truth are known, shape (compared,)."""
    predicted, true = _pair(predicted_bpm, true_bpm)
    both = ~np.isnan(predicted) & ~np.isnan(true)
    return predicted[both], true[both]


def _mean(values: np.ndarray) -> Measure:
    """Return the mean with its standard error, ``n`` in the denominator of the variance."""
    if not len(values):
        return Measure(float("nan"), float("nan"))
    return Measure(float(values.mean()), float(values.std() / np.sqrt(len(values))))
