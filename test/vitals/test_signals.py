"""Stamped samples, and filters that leave unknown what is unknown, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, filtfilt
from tolerances import assert_close

from radar_pose_ros.vitals import signals


def test_samples_on_the_grid_remain() -> None:
    times = 5.0 + np.arange(31) / 30
    values = np.sin(times)
    found = signals.resample(times, values, 30.0)
    assert (found.start_s, found.rate_hz) == (5.0, 30.0)
    assert_close(found.values, values)
    assert_close(found.times_s, times)
    assert signals.resample(times, values.astype(np.float32), 30.0).values.dtype == np.float32


def test_stamps_decide_where_a_sample_lies(rng: np.random.Generator) -> None:
    """A line stays the line however its samples are spread; each channel is its own."""
    times = np.sort(rng.uniform(0, 10, 290))
    found = signals.resample(times, np.stack([times, 3 - 2 * times], axis=1), 30.0, gap_s=1.0)
    assert_close(found.values[:, 0], found.times_s)
    assert_close(found.values[:, 1], 3 - 2 * found.times_s)
    assert found.times_s[-1] <= times[-1] < found.times_s[-1] + 1 / 30


def test_gaps_are_unknown_and_only_they() -> None:
    times = np.delete(np.arange(91) / 30, np.arange(31, 45))  # between 1.0 s and 1.5 s
    found = signals.resample(times, times, 30.0)
    inside = (found.times_s > 1.0 + 1e-9) & (found.times_s < 1.5 - 1e-9)
    assert inside.sum() == 14
    np.testing.assert_array_equal(np.isnan(found.values), inside)
    assert_close(found.values[~inside], found.times_s[~inside])
    assert np.isfinite(signals.resample(times, times, 30.0, gap_s=0.51).values).all()


def test_a_missing_value_is_no_sample() -> None:
    times = np.arange(61) / 30
    values = np.stack([times, times, np.full_like(times, np.nan)], axis=1)
    values[10, 0] = np.nan  # bridged
    values[20:40, 1] = np.nan  # a gap of 0.7 s, in this channel alone
    values[:5, 0] = np.nan  # nothing before it
    found = signals.resample(times, values, 30.0).values
    assert_close(found[5:, 0], times[5:])
    unknown = np.isnan(values)
    unknown[10, 0] = False
    np.testing.assert_array_equal(np.isnan(found), unknown)


def test_values_between_samples_and_their_gaps() -> None:
    times = np.array([0.0, 0.1, 0.2, 0.6, 0.7])
    values = np.array([[0.0, 5.0], [1.0, np.nan], [2.0, 7.0], [6.0, 8.0], [7.0, np.nan]])
    at = np.array([-0.01, 0.0, 0.05, 0.1, 0.4, 0.6, 0.65, 0.7, 0.8])
    found = signals.interpolate(at, times, values, gap_s=0.25)
    nan = np.nan
    assert_close(found[:, 0], np.array([nan, 0, 0.5, 1, nan, 6, 6.5, 7, nan]))
    assert_close(found[:, 1], np.array([nan, 5, 5.5, 6, nan, 8, nan, nan, nan]))
    assert_close(signals.interpolate(at, times, values[:, 0], gap_s=0.5)[4], np.array(4.0))
    alone = signals.interpolate(np.array([0.0, 0.1]), np.array([0.1]), np.array([3.0]))
    assert_close(alone, np.array([nan, 3.0]))
    assert np.isnan(signals.interpolate(at, times, np.full(5, nan))).all()


def test_flicker_is_not_folded_into_the_pulse() -> None:
    """28 Hz at 60 frames a second would be 2 Hz at 30."""
    times = np.arange(600) / 60
    found = signals.resample(times, np.sin(2 * np.pi * 28 * times), 30.0)
    assert np.abs(found.values[1:-1]).max() < 0.02
    kept = signals.resample(times, np.sin(2 * np.pi * 2 * times), 30.0)
    assert np.abs(kept.values).max() > 0.97


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ([0.0, 0.2, 0.2], "sample 2 at 0.200000 s follows 0.200000 s"),
        ([0.0, 0.2, 0.1], "sample 2 at 0.100000 s follows 0.200000 s"),
        ([0.0, np.nan, 0.1], "time 1 is not a number"),
        ([0.0, 0.1], "one time per value"),
    ],
)
def test_times_that_make_no_sense(times: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        signals.resample(times, [1.0, 2.0, 3.0], 30.0)


def test_rates_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="more than 0 Hz, got 0"):
        signals.resample([0.0, 1.0], [0.0, 1.0], 0.0)
    with pytest.raises(
        ValueError, match=r"between 0 and 2\.5 Hz, half the rate, got 0\.65 to 3 Hz"
    ):
        signals.band_pass(np.zeros(50), 5.0)
    with pytest.raises(ValueError, match="3 samples or more, got 2"):
        signals.detrend([1.0, 2.0], 30.0)


def test_fill() -> None:
    values = np.array([[np.nan, 1.0, np.nan], [2.0, 1.0, np.nan], [np.nan, 4.0, np.nan]])
    values = np.concatenate([values, [[6.0, np.nan, np.nan], [np.nan, 0.0, np.nan]]])
    found = signals.fill(values)
    np.testing.assert_array_equal(found.known, ~np.isnan(values))
    assert_close(found.values.T, [[2, 2, 4, 6, 6], [1, 1, 4, 2, 0], [0, 0, 0, 0, 0]])


def test_detrend_solves_the_smoothness_prior(rng: np.random.Generator) -> None:
    """Against the formula with whole matrices, lambda 100 at 30 Hz as in the public protocols."""
    values = rng.normal(size=(200, 3)).cumsum(0)
    second = np.diff(np.eye(200), 2, axis=0)
    trend = np.linalg.solve(np.eye(200) + 100.0**2 * second.T @ second, values)
    np.testing.assert_allclose(signals.detrend(values, 30.0), values - trend, atol=1e-8)


def test_detrend_halves_the_same_frequency_at_any_rate() -> None:
    for rate_hz in (20.0, 30.0, 60.0):
        times = np.arange(int(60 * rate_hz)) / rate_hz
        left = signals.detrend(np.sin(2 * np.pi * 0.477 * times), rate_hz)
        assert np.abs(left[len(left) // 3 : -len(left) // 3]).max() == pytest.approx(0.5, abs=0.01)


def test_detrend_with_gaps(rng: np.random.Generator) -> None:
    """Unknown samples have no part in the trend: it is that of the weighted prior."""
    values = rng.normal(size=300).cumsum()
    values[100:130] = np.nan
    values[7] = np.nan
    known = ~np.isnan(values)
    second = np.diff(np.eye(300), 2, axis=0)
    system = np.diag(known.astype(float)) + 100.0**2 * second.T @ second
    trend = np.linalg.solve(system, np.where(known, values, 0.0))
    found = signals.detrend(values, 30.0)
    np.testing.assert_array_equal(np.isnan(found), ~known)
    np.testing.assert_allclose(found[known], (values - trend)[known], atol=2e-3)
    # a line has no residue, even where ten minutes are missing
    line = np.arange(30000) / 30
    line[5000:23000] = np.nan
    np.testing.assert_allclose(np.nan_to_num(signals.detrend(line, 30.0)), 0.0, atol=1e-6)


def test_band_pass_is_the_protocols_filter(rng: np.random.Generator) -> None:
    values = rng.normal(size=600)
    peer = filtfilt(*butter(1, [0.75, 2.5], "bandpass", fs=30.0), values)
    found = signals.band_pass(values, 30.0, 0.75, 2.5)
    np.testing.assert_allclose(found[60:-60], peer[60:-60], atol=1e-3)  # ends are padded longer


def test_band_pass_has_no_delay_and_halves_at_its_edges() -> None:
    times = np.arange(1800) / 30
    for hertz, gain in ((0.65, 0.5), (1.396, 1.0), (3.0, 0.5)):
        wave = np.sin(2 * np.pi * hertz * times)
        found = signals.band_pass(wave, 30.0)
        np.testing.assert_allclose(found[300:-300], gain * wave[300:-300], atol=0.01)


def test_filters_leave_unknown_what_is_unknown(rng: np.random.Generator) -> None:
    values = 100 + rng.normal(size=(300, 2, 3)).cumsum(0)
    values[50:80, 0, 1] = np.nan
    values[:9, 1, 2] = np.nan
    values[:, 1, 0] = np.nan
    unknown = np.isnan(values)
    for found in (signals.detrend(values, 30.0), signals.band_pass(values, 30.0)):
        np.testing.assert_array_equal(np.isnan(found), unknown)
