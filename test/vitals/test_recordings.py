"""Recorded pulses: red light through a finger, and an oximeter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import find_peaks

from radar_pose_ros.vitals import rates, signals

RATE_HZ = 30.0
WINDOW = 300  # 10 s


def pulse(values: np.ndarray) -> np.ndarray:
    return signals.band_pass(signals.detrend(values, RATE_HZ), RATE_HZ)


@pytest.fixture(scope="module")
def finger(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Stamps, and how dark the finger is in red; green and blue see nearly nothing."""
    path = shared_data / "rppg" / "finger_camera" / "finger_camera_rgb_60fps.csv"
    if not path.is_file():
        pytest.skip(f"needs the recording {path}")
    recording = np.genfromtxt(path, delimiter=",", names=True)
    return recording["t_s"], -recording["red"]


@pytest.fixture(scope="module")
def oximeter(shared_data: Path) -> np.ndarray:
    """354 samples at 30 Hz."""
    path = shared_data / "rppg" / "ppg_only" / "sample_vitals_1.csv"
    if not path.is_file():
        pytest.skip(f"needs the recording {path}")
    return np.genfromtxt(path, delimiter=",", names=True)


def beats_by_the_stamps(times_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return when the raw samples rise fastest, beat by beat, with nothing of what is tested."""
    rise = np.convolve(np.gradient(values, times_s), np.ones(7) / 7, "same")
    peaks, _ = find_peaks(rise, distance=27, prominence=0.05)
    return times_s[peaks]


def test_windows_of_the_finger(finger: tuple[np.ndarray, np.ndarray]) -> None:
    """Each 10 s, the spectrum has the rate of the beats in them, which goes from 82 to 94."""
    times, values = finger
    wave = signals.resample(times, values, RATE_HZ)
    beats = beats_by_the_stamps(times[60:], values[60:])
    assert np.diff(beats).min() > 0.55 and np.diff(beats).max() < 0.85
    errors, true = [], []
    for start in range(30, len(wave.values) - WINDOW + 1, 15):
        part = slice(start, start + WINDOW)
        begin, end = wave.times_s[start], wave.times_s[start + WINDOW - 1]
        inside = beats[(beats >= begin) & (beats <= end)]
        true.append(60 * (len(inside) - 1) / (inside[-1] - inside[0]))
        errors.append(rates.spectrum_rate(pulse(wave.values[part]), RATE_HZ).bpm - true[-1])
    assert len(errors) > 95
    assert min(true) > 82 and max(true) < 95
    assert np.mean(np.abs(errors) < 2) >= 0.95
    assert 88 < np.mean(true) + np.mean(errors) < 91


def test_the_gap_is_unknown(finger: tuple[np.ndarray, np.ndarray]) -> None:
    """The second frame comes 0.436 s after the first."""
    times, values = finger
    assert np.diff(times).max() == pytest.approx(0.436, abs=0.001) and times[1] > 0.4
    wave = signals.resample(times, values, RATE_HZ)
    unknown = np.isnan(wave.values)
    assert 0.40 < unknown.sum() / RATE_HZ < 0.50 and np.isfinite(wave.values[14:]).all()
    # one place in the numbering of frames is 0.42 s in time
    assert times[-1] - (len(times) - 1) / 60 == pytest.approx(0.42, abs=0.01)


def test_stamps_bridge_a_gap_that_counting_does_not(
    finger: tuple[np.ndarray, np.ndarray],
) -> None:
    """Take 0.44 s from the middle of each 10 s: by stamps the rate stays, by count it does not."""
    times, values = finger
    by_stamps, by_count = [], []
    for start in range(61, len(times) - 600, 60):
        kept = np.r_[start : start + 287, start + 313 : start + 600]
        whole = signals.resample(times[start : start + 600], values[start : start + 600], RATE_HZ)
        expected = rates.spectrum_rate(pulse(whole.values), RATE_HZ).bpm
        stamped = signals.resample(times[kept], values[kept], RATE_HZ)
        assert np.isnan(stamped.values).sum() >= 12
        by_stamps.append(rates.spectrum_rate(pulse(stamped.values), RATE_HZ).bpm - expected)
        counted = signals.resample(np.arange(len(kept)) / 60, values[kept], RATE_HZ)
        by_count.append(rates.spectrum_rate(pulse(counted.values), RATE_HZ).bpm - expected)
    assert np.abs(by_stamps).max() < 0.1
    assert np.median(np.abs(by_count)) > 2


def test_oximeter(oximeter: np.ndarray) -> None:
    """The file's own rate lags behind: it comes from 87 down to what its last seconds have."""
    wave = pulse(oximeter["ppg"])
    last = oximeter["hr_ppg"][-1]
    assert last == pytest.approx(76.27, abs=0.01)
    for how in ("periodogram", "welch"):
        assert rates.spectrum_rate(wave, RATE_HZ, how).bpm == pytest.approx(last, abs=2)
    assert rates.beat_rate(oximeter["ppg"], RATE_HZ).bpm == pytest.approx(last, abs=2)
    assert len(rates.beats(oximeter["ppg"], RATE_HZ)) == 14


def test_a_breath_and_a_half_are_no_rate(oximeter: np.ndarray) -> None:
    """8 breaths per minute for 11.8 s."""
    assert oximeter["rr"].min() > 7.9 and oximeter["rr"].max() < 8.5
    assert np.isnan(rates.respiration_rate(oximeter["ppg"], RATE_HZ))
