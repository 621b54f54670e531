"""Rates of the heart and of the breath from a pulse wave, and how sure they are.

A wave is ``(T,)`` at a constant rate, rising with the volume of blood, NaN where unknown. Times
count from its first sample. Where nothing speaks for a rate it is NaN; whether a wave is a pulse
at all is not asked here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import next_fast_len, rfft
from scipy.signal import find_peaks, get_window, peak_prominences, welch
from scipy.signal.windows import boxcar, hann

from radar_pose_ros.vitals import signals
from radar_pose_ros.vitals.signals import HIGH_HZ, LOW_HZ

How = Literal["periodogram", "welch"]
Convention = Literal["power", "doubled"]

SEGMENT_S = 256 / 30  # of the public protocol with Welch's method: 256 frames at 30 Hz
HALF_WIDTH_HZ = 0.1  # 6 beats per minute: around a rate and its double, what is pulse in `snr_db`
SHORTEST_S, LONGEST_S = 0.33, 1.5  # intervals between beats: 182 to 40 beats per minute
BREATH_LOW_HZ, BREATH_HIGH_HZ = 0.1, 0.5  # 6 to 30 breaths per minute

# Lines of a spectrum per line that the length of the wave tells apart; a parabola does the rest.
_FINER = 8
_FEWEST_PERIODS = 2  # of the slowest rate: the known part of a wave must be that long
_NOISE_HZ = 0.75  # so near the peak noise is measured: farther off the band's edges have less
# Times the seconds of the wave squared: how far a periodogram's peak is off without any noise, by
# leakage from its image and its double and by the filter's ends. Measured: 0.15 at 10 s.
_LEAKAGE_BPM = 15.0
_FEWEST_BREATHS = 3
_FAINT_BEAT = 0.3  # of the usual prominence of a peak: less is no beat
# A rate is a slower heart's double if that has so many times its power, before the band's filter.
_FUNDAMENTAL = 1.25
_HALF_BPM = 5.0  # so near half of a rate that heart beats
_ODD_INTERVAL = 0.3  # so far from the middle one, a beat was missed or invented beside it
_BY_CHANCE = 1e-3  # a rhythm of breath that noise has more often is none
_BREATH_HZ = 4.0  # the rate at which what breath changes is looked at


class Rate(NamedTuple):
    """How often per minute, and how far that is off.

    Attributes
    ----------
    bpm : float
        Per minute; NaN if there is none.
    standard_error_bpm : float
        NaN if not known.
    """

    bpm: float
    standard_error_bpm: float


NO_RATE = Rate(float("nan"), float("nan"))


class Spectrum(NamedTuple):
    """The power of a wave by frequency.

    Attributes
    ----------
    frequency_hz : ndarray, shape (F,)
        From 0 to half the rate, eight times finer than the length of the wave can tell apart.
    density : ndarray, shape (F,)
        One-sided, the wave's unit squared per Hz.
    """

    frequency_hz: np.ndarray
    density: np.ndarray

    def power(self, around_hz: float, half_width_hz: float) -> float:
        """Return the power within a distance of a frequency, the wave's unit squared."""
        near = np.abs(self.frequency_hz - around_hz) <= half_width_hz
        return float(self.density[near].sum() * self.frequency_hz[1])

    def peak_hz(self, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ) -> float:
        """Return where the highest local maximum between two frequencies is, NaN without one.

        A parabola through the logarithms finds it between the lines.
        """
        frequency, density = self
        inside = (frequency[1:-1] >= low_hz) & (frequency[1:-1] <= high_hz)
        inside &= (density[1:-1] > density[:-2]) & (density[1:-1] >= density[2:])
        peaks = 1 + np.flatnonzero(inside)
        if len(peaks) == 0:
            return float("nan")
        top = peaks[density[peaks].argmax()]
        return float((top + _parabola(np.log(density[top - 1 : top + 2]))) * frequency[1])

    def snr_db(
        self,
        bpm: float,
        convention: Convention = "power",
        *,
        low_hz: float = LOW_HZ,
        high_hz: float = HIGH_HZ,
    ) -> float:
        """Return the power at a rate and its double over the rest; see `snr_db`."""
        if convention not in ("power", "doubled"):
            raise ValueError(f"an SNR is by convention power or doubled, got {convention!r}")
        frequency, density = self
        pulse = np.abs(frequency - bpm / 60) <= HALF_WIDTH_HZ
        pulse |= np.abs(frequency - 2 * bpm / 60) <= HALF_WIDTH_HZ
        signal = density[pulse].sum()
        rest = density[(frequency >= low_hz) & (frequency <= high_hz) & ~pulse].sum()
        if not (signal > 0 and rest > 0):
            return float("nan")
        return float((20 if convention == "doubled" else 10) * np.log10(signal / rest))


def spectrum(
    wave: ArrayLike,
    rate_hz: float,
    how: How = "periodogram",
    *,
    segment_s: float = SEGMENT_S,
    taper: str = "boxcar",
) -> Spectrum:
    """Return the power spectrum of what is known of a wave.

    Parameters
    ----------
    wave : array_like, shape (T,)
        NaN is unknown, and has no part in it.
    rate_hz : float
    how : {"periodogram", "welch"}
        All of the wave at once, or the mean of segments with Hann's window that overlap by half;
        what remains behind the last segment is not used, as in scipy.
    segment_s : float
        Length of Welch's segments; shorter waves are one.
    taper : str
        Window of the periodogram, by scipy's name.

    Raises
    ------
    ValueError
        If the wave has not one axis or is empty, or `how` is not one of the two.
    """
    values = _wave(wave)
    known = ~np.isnan(values)
    # what is unknown adds to no frequency
    numbers = np.where(known, values - (values[known].mean() if known.any() else 0.0), 0.0)
    if how == "welch":
        length = min(len(values), round(segment_s * rate_hz))
        return Spectrum(*welch(numbers, rate_hz, nperseg=length, nfft=_lines(length)))
    if how != "periodogram":
        raise ValueError(f"a spectrum is made by periodogram or welch, got {how!r}")
    # As scipy's, in less than a third of its time; and the power is that of what is known.
    weights = get_window(taper, len(values)) * known
    lines = _lines(len(values))
    energy = np.abs(rfft(weights * numbers, lines)) ** 2
    scale = 2 / (rate_hz * max((weights**2).sum(), 1.0))
    return Spectrum(np.arange(len(energy)) * (rate_hz / lines), scale * energy)


def spectrum_rate(
    wave: ArrayLike,
    rate_hz: float,
    how: How = "periodogram",
    *,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
    segment_s: float = SEGMENT_S,
) -> Rate:
    """Return the rate at the highest peak of a wave's spectrum.

    Two public protocols: the periodogram of the whole wave (0.75 to 2.5 Hz there), and Welch's
    method with segments of 256 frames (0.75 to 2.5 Hz), which is meant for waves of minutes.

    The standard error is what noise makes of the place of a sine's peak, from its power over the
    density of the noise beside it and from the window (for a periodogram the bound of Cramer and
    Rao), and 15 / T^2 for what a periodogram of T seconds is off without noise. If the rates of
    both halves differ by more than four times that, it is a quarter of their difference: a choice,
    for hearts whose rate changes. It says nothing of a peak that is not the pulse's.

    On simulated pulses of 10 s and 30 s with an `snr_db` from -3 to 14 dB, errors over standard
    errors had a root mean square of 0.8 to 1.5 for constant rates, and of 0.9 to 1.8 for rates
    that wander by 1 % in 13 s (9 dB and more). At -3 dB an eighth of the peaks in 10 s was not the
    pulse's, with Welch's method a quarter. Where a rate wanders by 6 % in 30 s, some errors are
    far larger.

    Parameters
    ----------
    wave : array_like, shape (T,)
        Without its trend, in the band of the pulse; NaN is unknown.
    rate_hz, how, segment_s
        As in `spectrum`.
    low_hz, high_hz : float
        Peaks are looked for between them; an edge is no peak.

    Returns
    -------
    Rate
        Beats per minute. NaN if less than half of the wave is known, or less than two of the
        slowest beats, or if nothing changes; the standard error also if pulse and harmonics leave
        no room to see the noise, or the peak does not stand out of it.
    """
    values = _wave(wave)
    if not _says_something(values, rate_hz, low_hz):
        return NO_RATE
    found = spectrum(values, rate_hz, how, segment_s=segment_s)
    peak_hz = found.peak_hz(low_hz, high_hz)
    if np.isnan(peak_hz):
        return NO_RATE
    # Hann's window keeps a strong line out of the noise beside it.
    tapered = spectrum(values, rate_hz, taper="hann")
    known = int((~np.isnan(values)).sum())
    line_hz = max(HALF_WIDTH_HZ, 2 * rate_hz / known)
    frequency = tapered.frequency_hz
    noise = (frequency >= low_hz) & (frequency <= high_hz)
    noise &= np.abs(frequency - peak_hz) < _NOISE_HZ
    noise &= np.abs(frequency - peak_hz) > line_hz
    noise &= np.abs(frequency - 2 * peak_hz) > line_hz
    density = tapered.density[noise].mean() if noise.any() else np.nan
    power = tapered.power(peak_hz, line_hz) - 2 * line_hz * density
    if not power > 0:
        return Rate(60 * peak_hz, float("nan"))
    variance = _place_variance(values, rate_hz, how, segment_s) * density * rate_hz / 2 / power
    noise_bpm = 60 * rate_hz / (2 * np.pi) * np.sqrt(variance)
    leakage_bpm = _LEAKAGE_BPM * (rate_hz / known) ** 2 if how == "periodogram" else 0.0
    change_bpm = abs(_change_bpm(values, rate_hz, peak_hz)) / 4
    return Rate(60 * peak_hz, float(max(np.hypot(noise_bpm, leakage_bpm), change_bpm)))


def rate_of_wave(wave: ArrayLike, rate_hz: float) -> Rate:
    """Return the heart rate of a wave that `signals.band_pass` let through.

    Below 50 beats per minute the filter takes so much of the pulse that its second harmonic may be
    the higher peak. So half the rate of `spectrum_rate` is taken where there is a peak that was
    the stronger one before the filter.

    Parameters
    ----------
    wave : array_like, shape (T,)
        NaN is unknown.
    rate_hz : float

    Returns
    -------
    Rate
        NaN as of `spectrum_rate`.
    """
    found = spectrum_rate(wave, rate_hz)
    if not found.bpm / 2 > 60 * LOW_HZ - _HALF_BPM:
        return found
    half = spectrum_rate(wave, rate_hz, high_hz=0.75 * found.bpm / 60)
    if not abs(half.bpm - found.bpm / 2) < _HALF_BPM:
        return found
    tapered = spectrum(wave, rate_hz, taper="hann")
    before = [
        tapered.power(bpm / 60, HALF_WIDTH_HZ) / _passed(bpm / 60) for bpm in (half.bpm, found.bpm)
    ]
    return half if before[0] > _FUNDAMENTAL * before[1] else found


def snr_db(
    wave: ArrayLike,
    rate_hz: float,
    bpm: float,
    convention: Convention = "power",
    *,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
) -> float:
    """Return the power at a heart rate and its double over the rest of the band.

    Within 6 beats per minute of either (de Haan & Jeanne, IEEE TBME 60(10), 2013). A window of
    10 s smears a line over as much, so that not even a pure sine has much more than 10 dB there.

    Parameters
    ----------
    wave : array_like, shape (T,)
        Without its trend, in the band of the pulse; NaN is unknown.
    rate_hz : float
    bpm : float
        The true rate, or an estimate.
    convention : {"power", "doubled"}
        ``10 log10`` of the ratio, or ``20 log10`` as in the published tables of the toolboxes.
    low_hz, high_hz : float
        The band; 0.75 and 2.5 in those tables.

    Returns
    -------
    float
        dB; NaN if the rate is NaN, or the band holds nothing else.

    Raises
    ------
    ValueError
        If the convention is not one of the two.
    """
    return spectrum(wave, rate_hz).snr_db(bpm, convention, low_hz=low_hz, high_hz=high_hz)


def beats(wave: ArrayLike, rate_hz: float) -> np.ndarray:
    """Return when the beats of a wave are highest, in seconds from its first sample.

    Peaks of the wave between half and twice the rate of its spectrum, at least half of that rate's
    interval apart, none of them faint beside the others, to a fraction of a sample.

    Parameters
    ----------
    wave : array_like, shape (T,)
        NaN is unknown: no beat is found there.
    rate_hz : float

    Returns
    -------
    ndarray, shape (beats,)
        Empty if the wave has no rate.

    Raises
    ------
    ValueError
        If the wave has not one axis, or its rate is too low for the band of the pulse.
    """
    return _beats(_wave(wave), rate_hz)[0] / rate_hz


def inter_beat_intervals(wave: ArrayLike, rate_hz: float) -> np.ndarray:
    """Return the times from each of the `beats` to the next, shape (beats - 1,), in seconds.

    NaN where the wave between them is unknown somewhere, and where the time is not between 0.33 s
    and 1.5 s: a beat was missed then. One that came early is no error, and remains.
    """
    values = _wave(wave)
    return _intervals(values, _beats(values, rate_hz)[0], rate_hz)


def beat_rate(wave: ArrayLike, rate_hz: float) -> Rate:
    """Return the rate of the mean interval between beats.

    Intervals more than 30 % from the middle one are left out. The standard error is that of the
    mean of intervals that know nothing of each other.

    Parameters
    ----------
    wave : array_like, shape (T,)
        NaN is unknown.
    rate_hz : float

    Returns
    -------
    Rate
        Beats per minute; NaN without two intervals.
    """
    intervals = inter_beat_intervals(wave, rate_hz)
    intervals = intervals[~np.isnan(intervals)]
    if len(intervals) < 2:
        return NO_RATE
    middle = np.median(intervals)
    intervals = intervals[np.abs(intervals - middle) <= _ODD_INTERVAL * middle]
    if len(intervals) < 2:
        return NO_RATE
    mean = intervals.mean()
    error = intervals.std(ddof=1) / np.sqrt(len(intervals))
    return Rate(float(60 / mean), float(60 / mean**2 * error))


def respiration_rate(wave: ArrayLike, rate_hz: float) -> float:
    """Return how often somebody breathes, by what breath does to the pulse.

    It moves the wave's baseline, how high its beats are, and the time between them (Karlen et al.,
    IEEE TBME 60(7), 2013). Each of the three is looked at between 6 and 30 breaths per minute: one
    counts if its highest peak has so much of the power there that a thousandth of noises has it
    (Fisher, Proc. Roy. Soc. A 125, 1929). The rate is the mean of those that count.

    Parameters
    ----------
    wave : array_like, shape (T,)
        Not in the band of the pulse, which has no baseline: such as `classical.green` makes, or an
        oximeter. NaN is unknown.
    rate_hz : float

    Returns
    -------
    float
        Breaths per minute. NaN if none of the three counts, if they disagree by more than the
        length of the wave can tell apart, or if it holds fewer than three breaths: 10 s show only
        18 breaths per minute and more, and seldom those. Of simulated breaths it found two thirds
        in 20 s and nine of ten in 30 s; where nobody breathed it found some in 5 % of minutes.

    Raises
    ------
    ValueError
        As `beats`.
    """
    values = _wave(wave)
    rates, shares = [], []
    for series in _breath_series(values, rate_hz):
        found = _breath(series)
        if found is not None:
            rates.append(found.rate_bpm)
            shares.append(found.share)
    if not rates or max(rates) - min(rates) > 60 * rate_hz / len(values):
        return float("nan")
    return float(np.average(rates, weights=shares))


def _wave(wave: ArrayLike) -> np.ndarray:
    values = np.asarray(wave, np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"want a wave (T,), got {values.shape}")
    return values


def _says_something(values: np.ndarray, rate_hz: float, low_hz: float) -> bool:
    """Whether enough of a wave is known to look for a rate, and it is not constant."""
    known = values[~np.isnan(values)]
    enough = len(known) >= max(len(values) / 2, _FEWEST_PERIODS * rate_hz / low_hz)
    return bool(enough and known.min() < known.max())


def _passed(frequency_hz: float) -> float:
    """Return the share of the power that `signals.band_pass` of order 1 lets through."""
    off = (frequency_hz**2 - LOW_HZ * HIGH_HZ) / ((HIGH_HZ - LOW_HZ) * frequency_hz)
    return (1 + off**2) ** -2


def _lines(samples: int) -> int:
    return next_fast_len(_FINER * samples, real=True)


def _parabola(three: np.ndarray) -> float:
    """Return where a parabola through three samples has its top, from the middle one."""
    bend = three[0] - 2 * three[1] + three[2]
    return float((three[0] - three[2]) / (2 * bend)) if bend < 0 else 0.0


def _change_bpm(values: np.ndarray, rate_hz: float, peak_hz: float) -> float:
    """Return how far apart the peaks of both halves of a wave are, 0 where one has none."""
    reach_hz = 4 * rate_hz / len(values)
    halves = np.array_split(values, 2)
    first, second = (
        spectrum(half, rate_hz).peak_hz(peak_hz - reach_hz, peak_hz + reach_hz) for half in halves
    )
    return 0.0 if np.isnan(first + second) else 60 * (second - first)


def _place_variance(values: np.ndarray, rate_hz: float, how: How, segment_s: float) -> float:
    """Return the variance of a peak's place, in radian^2 per sample^2, for noise as strong as it.

    To first order the peak moves by the sum over samples of noise times ``g``, over a curvature:
    per segment, with weights ``w`` and times ``u`` about their mean, ``g`` is ``sum(w) w u`` and
    the curvature ``sum(w) sum(w u^2)``; segments add. With one segment and equal weights it is
    ``12 / T^3``, the bound of Cramer and Rao.
    """
    known = ~np.isnan(values)
    length = len(values)
    taper = boxcar(length)
    if how == "welch":
        length = min(length, round(segment_s * rate_hz))
        taper = hann(length, sym=False)
    lever, curvature = np.zeros(len(values)), 0.0
    hop = length - length // 2
    for start in range(0, len(values) - length + 1, hop):
        part = slice(start, start + length)
        weights = taper * known[part]
        total = weights.sum()
        if total > 0:
            index = np.arange(length)
            times = index - weights @ index / total
            lever[part] += total * weights * times
            curvature += total * (weights @ times**2)
    return float((lever**2).sum() / curvature**2)


def _beats(values: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where beats are highest and how far they rise there, in samples, unit of the wave."""
    banded = signals.band_pass(values, rate_hz)
    found = _says_something(values, rate_hz, LOW_HZ)
    hertz = spectrum(banded, rate_hz).peak_hz() if found else float("nan")
    if np.isnan(hertz):
        return np.empty(0), np.empty(0)
    filled, known = signals.fill(banded)
    highest = min(2 * hertz, 0.45 * rate_hz)
    smooth = signals.band_pass(filled, rate_hz, hertz / 2, highest, order=2)
    apart = max(SHORTEST_S, 0.5 / hertz) * rate_hz
    peaks, _ = find_peaks(smooth, distance=max(1, apart))
    rise = peak_prominences(smooth, peaks)[0]
    kept = known[peaks] & (rise >= _FAINT_BEAT * np.median(rise)) if len(peaks) else known[peaks]
    peaks, rise = peaks[kept], rise[kept]
    places = [k + _parabola(smooth[k - 1 : k + 2]) for k in peaks]
    return np.array(places, np.float64), rise


def _intervals(values: np.ndarray, peaks: np.ndarray, rate_hz: float) -> np.ndarray:
    """Return the times between peaks in seconds, NaN where they are no intervals of beats."""
    unknown = np.concatenate([[0], np.cumsum(np.isnan(values))])[np.round(peaks).astype(int)]
    intervals = np.diff(peaks) / rate_hz
    possible = (intervals >= SHORTEST_S) & (intervals <= LONGEST_S) & (np.diff(unknown) == 0)
    return np.where(possible, intervals, np.nan)


class _Breath(NamedTuple):
    rate_bpm: float
    share: float


def _breath_series(values: np.ndarray, rate_hz: float) -> list[np.ndarray]:
    """Return baseline, height of the beats and time between them, each (T,) at 4 Hz."""
    times = np.arange(len(values)) / rate_hz
    series = [signals.resample(times, values, _BREATH_HZ).values]
    peaks, rise = _beats(values, rate_hz)
    if len(peaks) > 1:
        at = peaks / rate_hz
        intervals = _intervals(values, peaks, rate_hz)
        for stamps, numbers in ((at, rise), (at[1:], intervals)):
            series.append(signals.resample(stamps, numbers, _BREATH_HZ, 2 * LONGEST_S).values)
    return series


def _breath(series: np.ndarray) -> _Breath | None:
    """Return the rhythm of a series at 4 Hz, if it has one that noise seldom has."""
    lasts_s = float((~np.isnan(series)).sum() / _BREATH_HZ)
    width_hz = BREATH_HIGH_HZ - BREATH_LOW_HZ
    if lasts_s * BREATH_HIGH_HZ < _FEWEST_BREATHS:
        return None
    band = (BREATH_LOW_HZ, BREATH_HIGH_HZ)
    found = spectrum(signals.band_pass(series, _BREATH_HZ, *band, order=2), _BREATH_HZ)
    peak_hz = found.peak_hz(*band)
    if not peak_hz * lasts_s >= _FEWEST_BREATHS:
        return None
    share = found.power(peak_hz, 1 / lasts_s) / found.power(sum(band) / 2, width_hz / 2)
    # Of n independent lines of noise, the highest has more than x of all with n (1 - x)^(n - 1).
    lines = width_hz * lasts_s
    if lines * (1 - min(share, 1.0)) ** (lines - 1) > _BY_CHANCE:
        return None
    return _Breath(60 * peak_hz, share)
