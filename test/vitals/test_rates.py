"""Rates against scipy's spectra, and against pulses and breaths whose rates are known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from tolerances import assert_close

from radar_pose_ros.vitals import rates, signals

RATE_HZ = 30.0


def pulse(hertz: float | np.ndarray, seconds: float = 10.0, start: float = 0.0) -> np.ndarray:
    """Return a wave with a second harmonic; frequencies may change from sample to sample."""
    samples = round(seconds * RATE_HZ)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, samples)) / RATE_HZ + start
    return np.sin(phase) + 0.3 * np.sin(2 * phase + 0.5)


def noisy(rng: np.random.Generator, wave: np.ndarray, noise: float) -> np.ndarray:
    return signals.band_pass(wave + rng.normal(0, noise, len(wave)), RATE_HZ)


def peak_bpm(frequency: np.ndarray, density: np.ndarray) -> float:
    inside = (frequency >= 0.65) & (frequency <= 3.0)
    return 60 * float(frequency[inside][density[inside].argmax()])


def test_rates_are_scipys_peaks(rng: np.random.Generator) -> None:
    """200 pulses, of 5 s to 60 s, in noise: the highest line of very fine spectra."""
    for _ in range(200):
        hertz, seconds = rng.uniform(0.75, 2.5), rng.uniform(5, 60)
        wave = noisy(rng, pulse(hertz, seconds, rng.uniform(0, 6)), rng.uniform(0, 2))
        welch = scipy.signal.welch(wave, RATE_HZ, nperseg=min(len(wave), 256), nfft=2**15)
        whole = scipy.signal.periodogram(wave, RATE_HZ, nfft=2**16)
        found = rates.spectrum_rate(wave, RATE_HZ, "welch").bpm
        assert found == pytest.approx(peak_bpm(*welch), abs=0.5)
        found = rates.spectrum_rate(wave, RATE_HZ, "periodogram").bpm
        assert found == pytest.approx(peak_bpm(*whole), abs=0.5)


def test_the_peak_is_found_between_the_lines() -> None:
    """Without noise, Welch's window leaves a pulse where it is; 10 s of a periodogram do not."""
    for bpm in np.linspace(50, 150, 23):
        wave = pulse(bpm / 60, 60)
        assert rates.spectrum_rate(wave, RATE_HZ, "welch").bpm == pytest.approx(bpm, abs=0.02)
        assert rates.spectrum_rate(wave, RATE_HZ).bpm == pytest.approx(bpm, abs=0.01)
        short = rates.spectrum_rate(wave[:300], RATE_HZ)
        assert short.bpm == pytest.approx(bpm, abs=0.25)


@pytest.mark.parametrize(
    ("how", "seconds"), [("periodogram", 10), ("periodogram", 30), ("welch", 30)]
)
def test_errors_are_as_large_as_said(
    rng: np.random.Generator, how: rates.How, seconds: float
) -> None:
    """Where the peak is the pulse's, errors over standard errors spread about 1."""
    for noise in (0.1, 0.5, 1.0, 2.0):
        ratios = []
        for _ in range(150):
            hertz = rng.uniform(0.8, 2.6)
            wave = noisy(rng, pulse(hertz, seconds, rng.uniform(0, 6)), noise)
            found = rates.spectrum_rate(wave, RATE_HZ, how)
            if abs(found.bpm - 60 * hertz) < 60 / seconds:
                ratios.append((found.bpm - 60 * hertz) / found.standard_error_bpm)
        assert len(ratios) > 140
        assert 0.6 < np.sqrt(np.mean(np.square(ratios))) < 1.5


def test_errors_of_a_changing_rate_are_as_large_as_said(rng: np.random.Generator) -> None:
    ratios = []
    for _ in range(200):
        hertz = rng.uniform(0.9, 2.4) * (1 + np.cumsum(rng.normal(0, 0.001, 300)))
        found = rates.spectrum_rate(noisy(rng, pulse(hertz), 0.3), RATE_HZ)
        ratios.append((found.bpm - 60 * hertz.mean()) / found.standard_error_bpm)
    assert 0.6 < np.sqrt(np.mean(np.square(ratios))) < 1.5


def test_a_gap_moves_no_rate(rng: np.random.Generator) -> None:
    wave = noisy(rng, pulse(1.3, 20), 0.3)
    wave[200:260] = np.nan
    for how in ("periodogram", "welch"):
        found = rates.spectrum_rate(wave, RATE_HZ, how)
        assert found.bpm == pytest.approx(78, abs=0.5)
        assert 0 < found.standard_error_bpm < 0.5


def test_where_there_is_no_rate(rng: np.random.Generator) -> None:
    wave = pulse(1.3)
    half = wave.copy()
    half[140:] = np.nan
    for nothing in (np.full(300, np.nan), np.full(300, 0.1), np.zeros(300), half, wave[:60]):
        assert np.isnan(rates.spectrum_rate(nothing, RATE_HZ)).all()
        assert np.isnan(rates.spectrum_rate(nothing, RATE_HZ, "welch")).all()


def test_the_band_is_the_callers() -> None:
    """A stronger rhythm outside it is not the heart's."""
    wave = pulse(1.3, 30) + 2 * np.sin(2 * np.pi * 2.7 * np.arange(900) / RATE_HZ)
    assert rates.spectrum_rate(wave, RATE_HZ).bpm == pytest.approx(162, abs=0.2)
    found = rates.spectrum_rate(wave, RATE_HZ, low_hz=0.75, high_hz=2.5)
    assert found.bpm == pytest.approx(78, abs=0.2)


@pytest.mark.parametrize("bpm", [41.0, 44.0, 48.0])
def test_a_slow_heart_is_not_told_at_twice_its_rate(bpm: float) -> None:
    """The band's filter takes half of the pulse, and nothing of its second harmonic."""
    turns = 2 * np.pi * bpm / 60 * np.arange(300) / RATE_HZ
    wave = signals.band_pass(np.sin(turns) + 0.75 * np.sin(2 * turns + 1.0), RATE_HZ)
    assert rates.spectrum_rate(wave, RATE_HZ).bpm == pytest.approx(2 * bpm, abs=1)
    found = rates.rate_of_wave(wave, RATE_HZ)
    assert found.bpm == pytest.approx(bpm, abs=1)
    assert found.standard_error_bpm < 3


@pytest.mark.parametrize("bpm", [84.0, 96.0, 150.0])
def test_a_heart_that_is_fast_remains_so(bpm: float) -> None:
    turns = 2 * np.pi * bpm / 60 * np.arange(300) / RATE_HZ
    wave = signals.band_pass(np.sin(turns) + 0.6 * np.sin(turns / 2 + 1.0), RATE_HZ)
    assert rates.rate_of_wave(wave, RATE_HZ).bpm == pytest.approx(bpm, abs=1)


@pytest.mark.parametrize(("slow", "bpm"), [(1.05, 84.0), (1.2, 42.0)])
def test_a_slower_rhythm_must_be_stronger_by_a_quarter(slow: float, bpm: float) -> None:
    """In power: 1.1 times as much as that of twice its rate is not enough, 1.4 times is."""
    turns = 2 * np.pi * 0.7 * np.arange(900) / RATE_HZ
    wave = signals.band_pass(slow * np.sin(turns) + np.sin(2 * turns), RATE_HZ)
    assert rates.spectrum_rate(wave, RATE_HZ).bpm == pytest.approx(84, abs=0.5)
    assert rates.rate_of_wave(wave, RATE_HZ).bpm == pytest.approx(bpm, abs=0.5)


@pytest.mark.parametrize(("slow_bpm", "bpm"), [(45.0, 45.0), (49.0, 84.0)])
def test_a_slower_rhythm_must_be_near_half_of_the_rate(slow_bpm: float, bpm: float) -> None:
    times = np.arange(900) / RATE_HZ
    slow, fast = (np.sin(2 * np.pi * rate / 60 * times) for rate in (slow_bpm, 84.0))
    wave = signals.band_pass(1.3 * slow + fast, RATE_HZ)
    assert rates.rate_of_wave(wave, RATE_HZ).bpm == pytest.approx(bpm, abs=0.5)


def test_what_is_near_the_rate_hides_no_slower_rhythm() -> None:
    """The last of the three is the second strongest that the filter leaves."""
    times = np.arange(900) / RATE_HZ
    rhythms = [np.sin(2 * np.pi * rate / 60 * times) for rate in (42.0, 84.0, 74.0)]
    wave = signals.band_pass(np.array([1.3, 1.0, 0.95]) @ rhythms, RATE_HZ)
    assert rates.spectrum_rate(wave, RATE_HZ).bpm == pytest.approx(84, abs=0.5)
    assert rates.rate_of_wave(wave, RATE_HZ).bpm == pytest.approx(42, abs=0.5)


@pytest.mark.parametrize("hertz", [0.65, 0.8, 1.396, 2.4, 3.0])
def test_what_the_filter_passes_is_known(hertz: float) -> None:
    wave = np.sin(2 * np.pi * hertz * np.arange(1800) / RATE_HZ)
    passed = signals.band_pass(wave, RATE_HZ)[300:-300].var() / wave[300:-300].var()
    assert rates._passed(hertz) == pytest.approx(passed, rel=0.03)


def test_spectra_keep_the_power(rng: np.random.Generator) -> None:
    """A sine of amplitude 2 has a power of 2, whatever the window."""
    wave = 2 * np.sin(2 * np.pi * 1.5 * np.arange(1800) / RATE_HZ)
    for options in ({}, {"taper": "hann"}, {"how": "welch"}):
        found = rates.spectrum(wave, RATE_HZ, **options)
        assert found.power(1.5, 0.4) == pytest.approx(2.0, rel=0.02)
    frequency, density = scipy.signal.periodogram(wave, RATE_HZ, "hann", nfft=14400)
    found = rates.spectrum(wave, RATE_HZ, taper="hann")
    assert_close(found.frequency_hz, frequency)
    np.testing.assert_allclose(found.density[1:-1], density[1:-1], atol=1e-9)
    half = wave.copy()
    half[600:1200] = np.nan  # all the power is in what is known
    assert rates.spectrum(half, RATE_HZ).power(1.5, 0.6) == pytest.approx(2.0, rel=0.02)
    with pytest.raises(ValueError, match="made by periodogram or welch, got 'fft'"):
        rates.spectrum(wave, RATE_HZ, "fft")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"want a wave \(T,\), got \(3, 2\)"):
        rates.spectrum(np.zeros((3, 2)), RATE_HZ)


def test_snr_of_lines_of_known_power() -> None:
    """Pulse 1 and 0.09, something else 0.25, in units of a squared amplitude: 6.4 dB."""
    times = np.arange(6000) / RATE_HZ
    wave = np.sin(2 * np.pi * 1.2 * times) + 0.3 * np.sin(2 * np.pi * 2.4 * times)
    wave += 0.5 * np.sin(2 * np.pi * 1.8 * times)
    expected = 10 * np.log10(1.09 / 0.25)
    assert rates.snr_db(wave, RATE_HZ, 72.0) == pytest.approx(expected, abs=0.1)
    assert rates.snr_db(wave, RATE_HZ, 72.0, "doubled") == pytest.approx(2 * expected, abs=0.2)
    # six beats beside it are still the pulse's, of its double too, and no more
    beside = 10 * np.log10(1 / (0.25 + 0.09))
    assert rates.snr_db(wave, RATE_HZ, 72.0 + 5.0) == pytest.approx(beside, abs=0.4)
    assert rates.snr_db(wave, RATE_HZ, 72.0 + 7.0) < -15
    # at the wrong rate it is what is left
    wrong = 10 * np.log10(0.25 / 1.09)
    assert rates.snr_db(wave, RATE_HZ, 108.0) == pytest.approx(wrong, abs=0.1)
    assert np.isnan(rates.snr_db(wave, RATE_HZ, np.nan))
    with pytest.raises(ValueError, match="power or doubled, got 'triple'"):
        rates.snr_db(wave, RATE_HZ, 72.0, "triple")  # type: ignore[arg-type]


def test_beats_are_where_the_wave_is_highest() -> None:
    """To a hundredth of a second: a wave whose tops are known."""
    hertz = 1.25
    times = np.arange(600) / RATE_HZ
    wave = np.exp(2 * np.cos(2 * np.pi * hertz * (times - 0.4)))
    expected = 0.4 + np.arange(25) / hertz
    np.testing.assert_allclose(rates.beats(wave, RATE_HZ), expected[expected < 20], atol=0.01)
    intervals = rates.inter_beat_intervals(wave, RATE_HZ)
    np.testing.assert_allclose(intervals, 1 / hertz, atol=0.01)
    found = rates.beat_rate(wave, RATE_HZ)
    assert found.bpm == pytest.approx(75, abs=0.1) and found.standard_error_bpm < 0.1


def test_the_second_wave_of_a_beat_is_no_beat() -> None:
    """Behind each top, a third of a beat later, another of a third of its height."""
    phase = 2 * np.pi * 1.1 * np.arange(600) / RATE_HZ
    wave = np.exp(4 * (np.cos(phase) - 1)) + 0.3 * np.exp(6 * (np.cos(phase - 0.7 * np.pi) - 1))
    assert len(scipy.signal.find_peaks(wave)[0]) >= 43
    assert rates.beat_rate(wave, RATE_HZ).bpm == pytest.approx(66, abs=0.3)
    assert len(rates.beats(wave, RATE_HZ)) in (21, 22)


def single_beats(stamps_s: np.ndarray, seconds: float) -> np.ndarray:
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.exp(-(((times[:, None] - stamps_s) / 0.12) ** 2)).sum(1)


def test_a_missed_beat_is_no_interval() -> None:
    stamps = np.delete(0.5 + 0.8 * np.arange(24), 12)
    intervals = rates.inter_beat_intervals(single_beats(stamps, 20), RATE_HZ)
    assert np.isnan(intervals).sum() <= 1
    kept = intervals[~np.isnan(intervals)]
    assert len(kept) >= 21 and kept.min() >= 0.33 and kept.max() <= 1.5
    assert rates.beat_rate(single_beats(stamps, 20), RATE_HZ).bpm == pytest.approx(75, abs=1.5)


def test_an_early_beat_does_not_move_the_rate() -> None:
    stamps = 0.5 + 0.8 * np.arange(24)
    stamps[12] -= 0.25
    wave = single_beats(stamps, 20)
    intervals = rates.inter_beat_intervals(wave, RATE_HZ)
    known = intervals[~np.isnan(intervals)]
    assert 0.33 <= known.min() < 0.72 and 0.88 < known.max() <= 1.5
    assert rates.beat_rate(wave, RATE_HZ).bpm == pytest.approx(75, abs=1)


def test_no_beat_and_no_interval_where_the_wave_is_unknown() -> None:
    wave = pulse(1.5, 20)
    wave[200:215] = np.nan  # half a second: the interval over it would still be a possible one
    stamps = rates.beats(wave, RATE_HZ)
    assert not ((stamps > 200 / RATE_HZ) & (stamps < 214 / RATE_HZ)).any()
    intervals = rates.inter_beat_intervals(wave, RATE_HZ)
    over = np.flatnonzero((stamps[:-1] < 200 / RATE_HZ) & (stamps[1:] > 214 / RATE_HZ))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(intervals)), over)
    assert rates.beat_rate(wave, RATE_HZ).bpm == pytest.approx(90, abs=1)


def test_noise_makes_no_impossible_intervals(rng: np.random.Generator) -> None:
    for _ in range(50):
        intervals = rates.inter_beat_intervals(rng.normal(size=300), RATE_HZ)
        known = intervals[~np.isnan(intervals)]
        assert ((known >= 0.33) & (known <= 1.5)).all()
    assert len(rates.beats(np.zeros(300), RATE_HZ)) == 0
    assert np.isnan(rates.beat_rate(np.zeros(300), RATE_HZ)).all()


def breathing(
    rng: np.random.Generator, breaths: float, baseline: float, height: float, rate: float
) -> np.ndarray:
    """Return a minute of a pulse in noise, breath in its baseline, its height and its rate."""
    breath = np.sin(2 * np.pi * breaths / 60 * np.arange(1800) / RATE_HZ + rng.uniform(0, 6))
    wave = pulse(rng.uniform(0.9, 1.7) * (1 + rate * breath), 60)
    return (1 + height * breath) * wave + baseline * breath + rng.normal(0, 0.3, 1800)


@pytest.mark.parametrize(
    ("baseline", "height", "rate"),
    [(0.3, 0.0, 0.0), (0.0, 0.25, 0.0), (0.0, 0.0, 0.05), (0.3, 0.15, 0.03)],
)
def test_breath_is_seen_in_what_it_changes(
    rng: np.random.Generator, baseline: float, height: float, rate: float
) -> None:
    true = np.linspace(8, 25, 12)
    found = [
        rates.respiration_rate(breathing(rng, breaths, baseline, height, rate), RATE_HZ)
        for breaths in true
    ]
    known = np.isfinite(found)
    assert known.mean() > 0.7
    assert np.abs(np.array(found) - true)[known].max() < 1


def test_no_breath_is_no_rate(rng: np.random.Generator) -> None:
    found = [rates.respiration_rate(breathing(rng, 15, 0, 0, 0), RATE_HZ) for _ in range(40)]
    assert np.isnan(found).mean() > 0.85
    # nor is one breath, or what lasts too short for three
    assert np.isnan(rates.respiration_rate(breathing(rng, 15, 0.5, 0.2, 0.05)[:300], RATE_HZ))
    assert np.isnan(rates.respiration_rate(np.zeros(1800), RATE_HZ))
    assert np.isnan(rates.respiration_rate(np.full(1800, np.nan), RATE_HZ))
    assert_close(rates.NO_RATE, (np.nan, np.nan))
