"""What moves: before a radar, by frames, and before a camera, by joints.

A radar's motion energy is the power of what moves, times its radial speed squared, over all ranges
and antennas. A camera's is the root mean square speed of the joints in the image, in lengths of
the person per second. Both are logarithms in the end: echoes differ by powers of ten.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from radar_pose_ros.collect.bags import CameraTrack, Frame
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor, angle_transform

NEAREST_M, FARTHEST_M = 0.5, 5.0  # where people are looked for [choice]
LONGEST_GAP_S = 0.1  # over which a joint is interpolated
MOST_BLOCKS = 40  # left out in turn for an uncertainty, which needs no more [choice]
_ANGLES = 64
_DOPPLER_BINS = 64
_ABOVE_NOISE = 2.0  # times the median of a frame's power counts as noise [choice]
_FLOOR = 1e-3  # of the median energy: so little is no movement [choice]
_SLOW_PER_S = 0.05  # lengths of the person per second, likewise [choice]
_RATE_HZ = 60.0  # at which a camera's movement is sampled
_SMOOTH_S = 0.09  # standard deviation of the window over a camera's keypoints [choice]


@dataclass(frozen=True)
class RadarMotion:
    """What moved before one radar.

    Parameters
    ----------
    stamps_s : ndarray, shape (frames,)
        Of the first chirps, rising.
    middle_s : float
        From there to the middle of a frame's chirps.
    complete : ndarray of bool, shape (frames,)
        Whether no packet was lost.
    energy : ndarray, shape (frames,)
        Power times radial speed squared; NaN of frames that are not complete.
    maps : ndarray of float32, shape (frames, range, angle)
        Power of what moves, by the antennas that are in one row; of the vertical radar, whose
        angles nothing is made of, their sum.
    ranges_m, sines : ndarray
        Axes of the maps; a sine is that of the angle to the left of the radar's boresight, NaN of
        a sum.
    """

    stamps_s: np.ndarray
    middle_s: float
    complete: np.ndarray
    energy: np.ndarray
    maps: np.ndarray
    ranges_m: np.ndarray
    sines: np.ndarray

    @property
    def log_energy(self) -> np.ndarray:
        """Logarithm of the energy, shape (frames,)."""
        return np.log(self.energy + _FLOOR * np.nanmedian(self.energy))


class MotionMeter:
    """Measures what moves in frames of one radar."""

    def __init__(self, config: RadarConfig) -> None:
        wave = config.waveform
        axis_m = wave.range_axis_m()
        kept = np.flatnonzero((axis_m >= NEAREST_M) & (axis_m <= FARTHEST_M))
        if len(kept) < 8:
            raise ValueError(
                f"the radar sees {len(kept)} range bins from {NEAREST_M:g} to {FARTHEST_M:g} m, "
                "want 8 or more"
            )
        self._processor = HeatmapProcessor(
            config,
            HeatmapConfig(
                angle_bins=_ANGLES,
                doppler_bins=min(_DOPPLER_BINS, wave.loops),
                range_first=int(kept[0]),
                range_bins=len(kept),
                chirps="central_doppler",
                tdm_compensation=True,
            ),
        )
        self.ranges_m = self._processor.range_axis_m
        self.sines = self._processor.sine_axis
        self._speed2 = self._processor.velocity_axis_mps[:, None] ** 2

    def __call__(self, frame: Frame) -> tuple[float, np.ndarray]:
        """Return the energy of a frame, and its map (range, angle)."""
        valid = None if frame.complete else frame.chirp_valid
        cube = self._processor.range_doppler(frame.samples, valid)
        power = np.square(np.abs(cube)).sum(axis=0)
        heard = np.maximum(power - _ABOVE_NOISE * np.median(power), 0.0)
        row = angle_transform(cube[self._processor.array.azimuth_row], _ANGLES)
        by_angle = np.square(np.abs(row)).sum(axis=1)
        return float((heard * self._speed2).sum()), by_angle.T.astype(np.float32)


def radar_motions(
    frames: Iterable[Frame],
    configs: tuple[RadarConfig, RadarConfig],
    report: Callable[[int], None] = lambda _: None,
    *,
    maps: bool = True,
) -> tuple[RadarMotion, RadarMotion]:
    """Measure the motion in all frames of both radars.

    Parameters
    ----------
    frames : iterable of Frame
    configs : (RadarConfig, RadarConfig)
    report : callable
        Gets the number of frames so far, after each.
    maps : bool
        Whether they are kept; else theirs are without ranges and angles.
    """
    meters = [MotionMeter(config) for config in configs]
    seen: tuple[dict[float, tuple[bool, float, np.ndarray]], ...] = ({}, {})
    for number, frame in enumerate(frames, 1):
        energy, by_angle = meters[frame.radar](frame)
        if not maps:
            by_angle = np.empty((0, 0), np.float32)
        elif frame.radar:
            by_angle = by_angle.sum(axis=1, keepdims=True)
        seen[frame.radar][frame.stamp_s] = frame.complete, energy, by_angle
        report(number)
    made = []
    sines = meters[0].sines, np.array([np.nan])
    for of_radar, meter, config, axis in zip(seen, meters, configs, sines, strict=True):
        stamps = sorted(of_radar)
        rows = [of_radar[stamp] for stamp in stamps]
        complete = np.array([row[0] for row in rows], bool)
        energies = np.array([row[1] for row in rows])
        made.append(
            RadarMotion(
                stamps_s=np.array(stamps),
                middle_s=config.waveform.active_time_s / 2,
                complete=complete,
                energy=np.where(complete, energies, np.nan),
                maps=np.stack([row[2] for row in rows]),
                ranges_m=meter.ranges_m,
                sines=axis,
            )
        )
    return made[0], made[1]


def blocks(times_s: np.ndarray, length_s: float) -> np.ndarray:
    """Return in which block of so many seconds each instant is, to leave one out at a time.

    Parameters
    ----------
    times_s : ndarray, shape (instants,)
        Rising.
    length_s : float
        Longer if there would be more than `MOST_BLOCKS`.

    Returns
    -------
    ndarray of int, shape (instants,)
    """
    after_s = times_s - times_s[0]
    length_s = max(length_s, after_s[-1] / MOST_BLOCKS)
    return np.minimum(after_s // length_s, MOST_BLOCKS - 1).astype(int)


def interpolate(stamps_s: np.ndarray, values: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Return joints at other instants, on straight lines over gaps of less than `LONGEST_GAP_S`.

    Parameters
    ----------
    stamps_s : ndarray, shape (images,)
        Rising.
    values : ndarray, shape (images, joints, dims)
        NaN where not known.
    times_s : ndarray, shape (instants,)

    Returns
    -------
    ndarray, shape (instants, joints, dims)
        NaN where the gap is longer, and beyond both ends.
    """
    made = np.full((len(times_s), *values.shape[1:]), np.nan)
    for joint in range(values.shape[1]):
        known = np.isfinite(values[:, joint]).all(-1)
        stamps = stamps_s[known]
        if len(stamps) < 2:
            continue
        after = np.clip(np.searchsorted(stamps, times_s), 1, len(stamps) - 1)
        begin_s, end_s = stamps[after - 1], stamps[after]
        within = (times_s >= begin_s) & (times_s <= end_s) & (end_s - begin_s < LONGEST_GAP_S)
        share = ((times_s - begin_s) / (end_s - begin_s))[:, None]
        first, second = values[known, joint][after - 1], values[known, joint][after]
        made[within, joint] = (first + share * (second - first))[within]
    return made


def joint_speeds(track: CameraTrack, least_confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how fast a person's joints move in the image.

    Returns
    -------
    times_s : ndarray, shape (samples,)
    speed : ndarray, shape (samples,)
        Root mean square over the joints, in lengths of the person per second; NaN where no joint
        is known.

    Raises
    ------
    ValueError
        If there are too few keypoints.
    """
    sure = track.sure(least_confidence)
    known = np.isfinite(sure).all(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of images without anybody
        extent = np.nanmax(sure[..., 1], axis=1) - np.nanmin(sure[..., 1], axis=1)
        whole = known.mean(axis=1) > 0.7
        height_px = float(np.nanmedian(extent[whole])) if whole.any() else np.nan
    if not height_px > 0:
        raise ValueError(
            f"{track.topic} shows nobody whole: of {len(known)} images none has 70 % of the "
            f"joints with a confidence of {least_confidence:g} or more"
        )
    times_s = np.arange(track.stamps_s[0], track.stamps_s[-1], 1 / _RATE_HZ)
    squares = np.full((len(times_s), sure.shape[1]), np.nan)
    for joint in range(sure.shape[1]):
        stamps = track.stamps_s[known[:, joint]]
        if len(stamps) < 2:
            continue
        after = np.clip(np.searchsorted(stamps, times_s), 1, len(stamps) - 1)
        near = stamps[after] - stamps[after - 1] < 2 * LONGEST_GAP_S
        near &= (times_s >= stamps[0]) & (times_s <= stamps[-1])
        square = np.zeros(len(times_s))
        for axis in range(2):
            path = np.interp(times_s, stamps, sure[known[:, joint], joint, axis])
            rate = gaussian_filter1d(path, _SMOOTH_S * _RATE_HZ, order=1) * _RATE_HZ
            square += (rate / height_px) ** 2
        squares[near, joint] = square[near]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return times_s, np.sqrt(np.nanmean(squares, axis=1))


def log_speed(speed: np.ndarray) -> np.ndarray:
    """Return the logarithm of `joint_speeds`, to compare with `RadarMotion.log_energy`."""
    return np.log(speed + _SLOW_PER_S)
