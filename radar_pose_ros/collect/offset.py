"""The time offset between radars and camera, by when both see somebody move.

The camera's speed of joints is moved in time until it goes best with the radars' motion energy:
the correlation of both logarithms is highest. What lasts for seconds is taken off first: somebody
who walks now and stands then would go with everything that is so. Near the lag that is found, it
counts as well how they go together as they are: of both, what moves less when a part of the
recording is left out. A parabola gives more than the lags' step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from radar_pose_ros.collect.bags import CameraTrack
from radar_pose_ros.collect.motion import RadarMotion, blocks, joint_speeds, log_speed

SEARCH_S = 2.0  # to both sides of what the recorder's clock says
_STEP_S = 0.01
_LEAST_OVERLAP_S = 10.0
_BLOCK_S = 4.0  # left out in turn, for the uncertainty: longer than a movement [choice]
_PEAK_S = 0.4  # so near to the peak, correlations are its flanks [choice]
_NEAR_S = 0.2  # from the sharp peak to the one that counts [choice]
_GAP_PERIODS = 3.5  # of frames, beyond which the other radar's energy is not known [choice]
_SLOW_S = 1.0  # standard deviation of the window whose mean is taken off [choice]
# All of these are choices, made so that of 240 pairs of a radar and another person's camera
# hardly any is taken.
STILL_PER_S = 0.15  # the fastest tenth of the time is slower: nobody moves
LEAST_CORRELATION = 0.3
LEAST_ABOVE = 3.0  # standard deviations of the correlations far from the peak
AMBIGUOUS = 0.7  # share of the peak that another one may not reach
LARGEST_SD_S = 0.025
# What stays when many simulated recordings are averaged: limbs do not move alike for both.
SYSTEMATIC_S = 0.005


class OffsetError(ValueError):
    """An offset that cannot be told: says why, and what would help."""


@dataclass(frozen=True)
class Curves:
    """What is compared, and how well it agrees by lag.

    Parameters
    ----------
    radar_s, radar : ndarray, shape (frames,)
        Middles of frames, and the logarithm of the motion energy, without mean, over its standard
        deviation.
    camera_s, camera : ndarray, shape (samples,)
        The same of the speed of the joints, by the camera's stamps.
    lags_s : ndarray, shape (lags,)
    correlation : ndarray, shape (lags,)
        Of both as they are.
    sharp : ndarray, shape (lags,)
        Of both without what is slow.
    """

    radar_s: np.ndarray
    radar: np.ndarray
    camera_s: np.ndarray
    camera: np.ndarray
    lags_s: np.ndarray
    correlation: np.ndarray
    sharp: np.ndarray


@dataclass(frozen=True)
class Offset:
    """By how much a camera's stamps are late.

    Parameters
    ----------
    seconds : float
        What the radars see at the stamp t, the camera stamps t + seconds.
    sd_s : float
        Standard deviation: by leaving out a part of the recording at a time, and `SYSTEMATIC_S`.
    correlation, second : float
        Without what is slow: at the peak, and the highest elsewhere.
    overlap_s : float
        Length of what was compared.
    """

    seconds: float
    sd_s: float
    correlation: float
    second: float
    overlap_s: float

    def __str__(self) -> str:
        return (
            f"camera stamps are {1e3 * self.seconds:+.0f} ms late (standard deviation "
            f"{1e3 * self.sd_s:.0f} ms); correlation {self.correlation:.2f}, elsewhere at most "
            f"{self.second:.2f}, over {self.overlap_s:.0f} s"
        )


def curves(
    radars: Sequence[RadarMotion],
    camera: CameraTrack,
    least_confidence: float,
    near_s: float = 0.0,
    search_s: float = SEARCH_S,
) -> Curves:
    """Correlate both motions at lags around one.

    Parameters
    ----------
    radars : sequence of RadarMotion
    camera : CameraTrack
    least_confidence : float
        Of joints that count.
    near_s, search_s : float
        Lags from ``near_s - search_s`` to ``near_s + search_s``.

    Raises
    ------
    OffsetError
        If both were not recorded at one time, or nobody moves.
    """
    try:
        camera_s, speed = joint_speeds(camera, least_confidence)
    except ValueError as error:
        raise OffsetError(str(error)) from None
    fast = float(np.nanpercentile(speed, 90))
    if fast < STILL_PER_S:
        raise OffsetError(
            f"the person hardly moves: in nine tenths of the time joints are slower than "
            f"{fast:.2f} of the person's height per second, want {STILL_PER_S:g} or more; move "
            "arms and legs, at irregular times"
        )
    camera_values = _scaled(log_speed(speed))
    first = radars[0]
    radar_s = first.stamps_s + first.middle_s
    energies = [_scaled(first.log_energy)]
    for other in radars[1:]:
        energies.append(
            _scaled(_over_gaps(other.stamps_s + other.middle_s, other.log_energy, radar_s))
        )
    radar_values = _scaled(np.mean(energies, axis=0))
    lags_s = near_s + np.arange(-search_s, search_s + _STEP_S / 2, _STEP_S)
    least_s = min(
        min(radar_s[-1] + lag, camera_s[-1]) - max(radar_s[0] + lag, camera_s[0])
        for lag in (lags_s[0], lags_s[-1])
    )
    if least_s < _LEAST_OVERLAP_S:
        raise OffsetError(
            f"radars and camera have {max(least_s, 0.0):.1f} s in common by their stamps, want "
            f"{_LEAST_OVERLAP_S:g} s or more at all lags: the radars' are from {radar_s[0]:.1f} "
            f"to {radar_s[-1]:.1f}, the camera's from {camera_s[0]:.1f} to {camera_s[-1]:.1f}"
        )
    correlations = []
    for radar, moving in (
        (radar_values, camera_values),
        (_fast(radar_s, radar_values), _fast(camera_s, camera_values)),
    ):
        by_lag = [_correlation(radar, _at(camera_s, moving, radar_s + lag)) for lag in lags_s]
        correlations.append(np.array(by_lag))
    return Curves(radar_s, radar_values, camera_s, camera_values, lags_s, *correlations)


def estimate(found: Curves) -> Offset:
    """Return the offset.

    Raises
    ------
    OffsetError
        If motions do not go together at any lag, at several, or too vaguely.
    """
    lags_s, sharp = found.lags_s, found.sharp
    best = int(np.argmax(sharp))
    far = np.abs(lags_s - lags_s[best]) > _PEAK_S
    elsewhere = sharp[far]
    peak, second = float(sharp[best]), float(elsewhere.max())
    above = (peak - float(np.median(elsewhere))) / max(float(elsewhere.std()), 1e-9)
    said = f"the correlation of both motions is {peak:.2f} at best"
    if peak < LEAST_CORRELATION:
        raise OffsetError(
            f"{said}, want {LEAST_CORRELATION:g} or more: is this the camera that sees the person "
            "before the radars, and does the person move?"
        )
    if above < LEAST_ABOVE and second <= AMBIGUOUS * peak:
        raise OffsetError(
            f"{said}, only {above:.1f} standard deviations above those at other lags: record "
            "longer, with movements at irregular times"
        )
    if second > AMBIGUOUS * peak:
        other_s = float(lags_s[far][elsewhere.argmax()])
        raise OffsetError(
            f"{said}, at {1e3 * lags_s[best]:+.0f} ms, and {second:.2f} at {1e3 * other_s:+.0f} "
            "ms: ambiguous, as of movements that repeat evenly; move at irregular times"
        )
    near = np.abs(lags_s - lags_s[best]) <= _NEAR_S
    told = []
    for correlation, radar, camera in (
        (found.correlation, found.radar, found.camera),
        (sharp, _fast(found.radar_s, found.radar), _fast(found.camera_s, found.camera)),
    ):
        peak_s = _peak(lags_s[near], correlation[near])
        if lags_s[near][0] < peak_s < lags_s[near][-1]:
            told.append((_left_out(found, radar, camera, peak_s), peak_s))
    if not told:
        raise OffsetError(
            f"{said}, at {1e3 * lags_s[best]:+.0f} ms, at the end of the lags that were tried: "
            "try more of them, --search"
        )
    sd_s, seconds = min(told)
    if not sd_s <= LARGEST_SD_S:
        raise OffsetError(
            f"{said}, at {1e3 * seconds:+.0f} ms, but its peak is flat: without a part of the "
            f"recording it moves, by a standard deviation of {1e3 * sd_s:.0f} ms, want "
            f"{1e3 * LARGEST_SD_S:.0f} ms or less; record longer, with faster movements"
        )
    radar_s = found.radar_s + seconds
    overlap_s = min(radar_s[-1], found.camera_s[-1]) - max(radar_s[0], found.camera_s[0])
    return Offset(seconds, float(np.hypot(sd_s, SYSTEMATIC_S)), peak, second, float(overlap_s))


def pooled(offsets: Sequence[Offset]) -> tuple[float, float, bool]:
    """Return the mean offset of recordings with the same clocks.

    Returns
    -------
    seconds, sd_s : float
        Weighted by the standard deviations; what is systematic does not average out.
    agree : bool
        Whether they differ no more than these allow, by chi-squared at three standard deviations.
    """
    values = np.array([offset.seconds for offset in offsets])
    variances = np.array([offset.sd_s**2 for offset in offsets])
    weights = 1 / variances
    mean = float(values @ weights / weights.sum())
    degrees = len(values) - 1
    excess = float(weights @ (values - mean) ** 2)
    agree = excess <= degrees + 3 * np.sqrt(2 * degrees)
    random = weights**2 @ (variances - SYSTEMATIC_S**2) / weights.sum() ** 2
    return mean, float(np.sqrt(random + SYSTEMATIC_S**2)), bool(agree)


def _scaled(values: np.ndarray) -> np.ndarray:
    return (values - np.nanmean(values)) / max(float(np.nanstd(values)), 1e-9)


def _fast(times_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values at even times without their mean over a window of seconds."""
    step_s = float(np.median(np.diff(times_s)))
    known = np.isfinite(values)
    weight = gaussian_filter1d(known.astype(float), _SLOW_S / step_s)
    slow = gaussian_filter1d(np.where(known, values, 0.0), _SLOW_S / step_s)
    return _scaled(values - slow / np.maximum(weight, 1e-6))


def _at(times_s: np.ndarray, values: np.ndarray, wanted_s: np.ndarray) -> np.ndarray:
    return np.interp(wanted_s, times_s, values, np.nan, np.nan)


def _over_gaps(times_s: np.ndarray, values: np.ndarray, wanted_s: np.ndarray) -> np.ndarray:
    """Interpolate over what is not known, but for gaps of more than `_GAP_PERIODS`."""
    known = np.isfinite(values)
    if known.sum() < 2:
        return np.full(len(wanted_s), np.nan)
    longest_s = _GAP_PERIODS * float(np.median(np.diff(times_s)))
    times_s, values = times_s[known], values[known]
    after = np.clip(np.searchsorted(times_s, wanted_s), 1, len(times_s) - 1)
    near = times_s[after] - times_s[after - 1] <= longest_s
    near |= np.isin(wanted_s, times_s)
    return np.where(near, _at(times_s, values, wanted_s), np.nan)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 10 or not (one[known].std() and other[known].std()):
        return 0.0
    return float(np.corrcoef(one[known], other[known])[0, 1])


def _peak(lags_s: np.ndarray, correlation: np.ndarray) -> float:
    """Return where a parabola through the highest value and its neighbours is highest."""
    best = int(np.argmax(correlation))
    if best in (0, len(lags_s) - 1):
        return float(lags_s[best])
    before, here, after = correlation[best - 1 : best + 2]
    bend = before - 2 * here + after
    shift = (before - after) / (2 * bend) if bend < 0 else 0.0
    return float(lags_s[best] + np.clip(shift, -1, 1) * (lags_s[1] - lags_s[0]))


def _left_out(found: Curves, radar: np.ndarray, camera: np.ndarray, seconds: float) -> float:
    """Return the jackknife's standard deviation of the peak, leaving out a block at a time."""
    lags_s = seconds + np.arange(-_PEAK_S, _PEAK_S + _STEP_S / 2, _STEP_S)
    moved = [_at(found.camera_s, camera, found.radar_s + lag) for lag in lags_s]
    numbers = blocks(found.radar_s, _BLOCK_S)
    peaks = []
    for number in np.unique(numbers):
        kept = numbers != number
        correlation = [_correlation(radar[kept], values[kept]) for values in moved]
        peaks.append(_peak(lags_s, np.array(correlation)))
    spread = np.array(peaks) - np.mean(peaks)
    return float(np.sqrt((len(peaks) - 1) / len(peaks) * (spread**2).sum()))


def draw(named: Sequence[tuple[str, Curves, Offset | None]], path: str | Path) -> None:
    """Draw, for each recording, the correlation by lag and both motions over time, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(11.0, 2.6 * len(named) + 0.2), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(made)
    grid: Any = made.subplots(len(named), 2, squeeze=False, width_ratios=(1, 2))
    for (by_lag, over_time), (name, found, offset) in zip(grid, named, strict=True):
        by_lag.plot(1e3 * found.lags_s, found.correlation, color="#999999", label="as it is")
        by_lag.plot(1e3 * found.lags_s, found.sharp, color="#0072B2", label="without slow")
        by_lag.legend(fontsize=7)
        by_lag.set(xlabel="lag, ms", ylabel="correlation")
        shift_s = 0.0
        title = f"{name}: refused"
        if offset is not None:
            shift_s = offset.seconds
            by_lag.axvline(1e3 * shift_s, color="#D55E00", linewidth=1)
            title = f"{name}: {1e3 * shift_s:+.0f} ms, sd {1e3 * offset.sd_s:.0f} ms"
        by_lag.set_title(title, fontsize=9)
        begin_s = found.radar_s[0]
        over_time.plot(
            found.camera_s - shift_s - begin_s, found.camera, color="#D55E00", linewidth=0.9
        )
        over_time.plot(found.radar_s - begin_s, found.radar, ".-", color="#0072B2", linewidth=0.7)
        over_time.set_title("log motion: radars blue, camera (moved) orange", fontsize=9)
        over_time.set(xlabel="time, s", xlim=(0, min(20.0, found.radar_s[-1] - begin_s)))
        for axis in (by_lag, over_time):
            axis.grid(linewidth=0.3)
            axis.tick_params(labelsize=7)
    canvas.draw()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, format="png")
