"""Measures of heart rates against numbers worked out by hand and against numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from tolerances import assert_close

from radar_pose_ros.metrics import heart_rate as metrics


def test_by_hand() -> None:
    """Errors 3, -4, 0 and 5 beats per minute."""
    true = np.array([60.0, 80.0, 100.0, 50.0])
    predicted = true + [3.0, -4.0, 0.0, 5.0]
    assert_close(metrics.mae(predicted, true), (3.0, math.sqrt(3.5) / 2))
    assert_close(metrics.mape_percent(predicted, true).value, (5.0 + 5.0 + 0.0 + 10.0) / 4)
    assert_close(metrics.mape_percent(predicted, true).standard_error, np.std([5, 5, 0, 10]) / 2)
    squared = np.array([9.0, 16.0, 0.0, 25.0])
    assert_close(metrics.rmse(predicted, true), (math.sqrt(12.5), math.sqrt(squared.std() / 2)))
    sd = np.std([3, -4, 0, 5], ddof=1)
    assert_close(metrics.bland_altman(predicted, true), (1.0, 1 - 1.96 * sd, 1 + 1.96 * sd))


def test_pearson_is_scipys(rng: np.random.Generator) -> None:
    true = rng.uniform(50, 120, 40)
    predicted = true + rng.normal(0, 12, 40)
    found = metrics.pearson(predicted, true)
    r = scipy.stats.pearsonr(predicted, true).statistic
    slope_error = scipy.stats.linregress(predicted, true).stderr
    assert_close(found, (r, slope_error * predicted.std() / true.std()))
    assert_close(metrics.pearson(2 * true + 1, true), (1.0, 0.0))


def test_no_rate_is_no_error_but_is_counted() -> None:
    true = np.array([60.0, 70.0, np.nan, 80.0, 90.0])
    predicted = np.array([62.0, np.nan, 75.0, np.nan, 90.0])
    count = metrics.count_rates(predicted, true)
    assert count == (2, 2, 1)
    assert count.coverage == 0.5
    assert_close(metrics.mae(predicted, true).value, 1.0)
    assert_close(metrics.bland_altman(predicted, true).bias, 1.0)
    assert math.isnan(metrics.count_rates([1.0], [np.nan]).coverage)


def test_limits_of_agreement_hold_what_they_say(rng: np.random.Generator) -> None:
    true = rng.uniform(50, 120, 20000)
    difference = rng.normal(2.0, 5.0, 20000)
    found = metrics.bland_altman(true + difference, true)
    assert_close(found.bias, difference.mean())
    inside = (difference > found.lower) & (difference < found.upper)
    assert inside.mean() == pytest.approx(0.95, abs=0.005)


def test_nothing_to_compare_is_nan() -> None:
    for measure in (metrics.mae, metrics.rmse, metrics.mape_percent, metrics.pearson):
        assert np.isnan(measure([np.nan], [60.0])).all()
    assert np.isnan(metrics.bland_altman([], [])).all()
    assert np.isnan(metrics.bland_altman([61.0], [60.0])[1:]).all()
    assert np.isnan(metrics.pearson([60.0, 61.0], [60.0, 62.0])).all()  # two points fit any line
    assert np.isnan(metrics.pearson([70.0, 70.0, 70.0], [60.0, 62.0, 64.0])).all()
    assert np.isnan(metrics.mean_snr_db([])).all()


def test_snr() -> None:
    assert_close(metrics.mean_snr_db([1.0, 3.0, np.nan, 5.0]), (3.0, np.std([1, 3, 5]) / 3**0.5))


def test_scores_are_the_measures(rng: np.random.Generator) -> None:
    true = rng.uniform(50, 120, 30)
    predicted = true + rng.normal(0, 3, 30)
    predicted[4] = np.nan
    found = metrics.scores(predicted, true, [1.0, 2.0])
    assert found.rates == (29, 1, 0)
    assert found.mae_bpm == metrics.mae(predicted, true)
    assert found.rmse_bpm == metrics.rmse(predicted, true)
    assert found.mape_percent == metrics.mape_percent(predicted, true)
    assert found.pearson == metrics.pearson(predicted, true)
    assert found.agreement_bpm == metrics.bland_altman(predicted, true)
    assert found.snr_db.value == 1.5


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match=r"estimates \(2,\) and true rates \(3,\) must match"):
        metrics.mae([1.0, 2.0], [1.0, 2.0, 3.0])
