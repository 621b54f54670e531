"""From raw samples of one radar frame to an angle-Doppler-range heatmap.

`HeatmapProcessor` is milliMamba's front end: clutter removal, eight chirps, range transform,
Doppler transform, and one transform over all twelve virtual antennas, "without grouping" them by
row. The published steps are all linear, so they are reordered until nothing is computed that is
thrown away:

* only the chirps that are kept are decoded; the others enter as one integer sum, the clutter;
* the Doppler transform comes first, as a product with a small real matrix. Window, frequency
  shift, clutter removal, missing chirps and the phase of the transmit time slots are columns and
  factors of that matrix;
* hence 96 range transforms instead of 1536, cropped before the angle transform;
* the angle transform is a product with a 64 x 12 matrix, without padding.

`four_dimensional` is the conventional chain of the HuPR data set, with separate azimuth and
elevation transforms; it is here for comparison and to read and write that data set's files.

All transforms use the kernel ``exp(-2 pi j n k / N)`` and are not normalised: an amplitude of one
ADC count comes out as the product of the lengths (of the windows' sums, if there are windows).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft

from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.virtual_array import VirtualArray
from radar_pose_ros.radar.waveform import sine_axis


@dataclass(frozen=True)
class HeatmapConfig:
    """Choices of the heatmap chain.

    Parameters
    ----------
    angle_bins, doppler_bins : int
        Lengths of the angle and Doppler axes; the paper has 64 and 8.
    range_first, range_bins : int
        First range bin kept and number of bins kept. The paper keeps all 256; bins 31..94, a
        living room with the reference waveform, are what HuPR keeps.
    chirps : {"subsample", "central_doppler"}
        How the loops of a frame become ``doppler_bins``. "subsample" takes every
        ``loops // doppler_bins``-th loop, from the first, as in the paper; velocities beyond the
        span of those few chirps (0.28 m/s of 4.5 m/s with the reference waveform) are aliased.
        "central_doppler" takes the bins around standstill out of a transform over all loops, as
        HuPR does; faster movement is left out instead.
    clutter_removal : bool
        Subtract from each antenna's sample its mean over chirps.
    clutter_mean : {"all", "kept"}
        Over which chirps that mean goes when chirps are subsampled: over all chirps of the frame
        (the order of steps as published), or over the kept ones only, which costs less. The
        latter makes the zero-Doppler bin zero (without a window), and with it whatever movement
        is aliased there.
    window : {"none", "hann"}
        Applied over the samples and over the chirps. The paper names none. Not applied over
        antennas: the twelve do not stand on one line.
    tdm_compensation : bool
        Undo the phase that a movement gathers between the transmitters' time slots. It relies on
        the Doppler bin's velocity and is therefore wrong for aliased movement. HuPR leaves it out.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    angle_bins: int = 64
    doppler_bins: int = 8
    range_first: int = 0
    range_bins: int = 256
    chirps: Literal["subsample", "central_doppler"] = "subsample"
    clutter_removal: bool = True
    clutter_mean: Literal["all", "kept"] = "all"
    window: Literal["none", "hann"] = "none"
    tdm_compensation: bool = False

    def __post_init__(self) -> None:
        for name in ("angle_bins", "doppler_bins", "range_bins"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.range_first < 0:
            raise ConfigError(f"range_first must not be negative, got {self.range_first!r}")
        for name, allowed in (
            ("chirps", ("subsample", "central_doppler")),
            ("clutter_mean", ("all", "kept")),
            ("window", ("none", "hann")),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )


def hann_window(length: int) -> np.ndarray:
    """Return the Hann window ``sin(pi (n + 1/2) / length) ** 2``, float64 of shape ``(length,)``.

    Sampled half a step off the usual definition, so that it is symmetric and has no zero: with
    eight chirps, none is wasted. Its transform has the usual three non-zero bins, 1/2 and twice
    1/4.
    """
    return np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2


@functools.lru_cache(maxsize=8)
def angle_matrix(angle_bins: int, antennas: int) -> np.ndarray:
    """Return the zero-padded, shifted transform over antennas as a matrix.

    Returns
    -------
    ndarray of complex64, shape (angle_bins, antennas)
        ``exp(-2 pi j (k - angle_bins // 2) n / angle_bins)``, read-only. Row k looks towards the
        sine of `radar_pose_ros.radar.waveform.sine_axis`.
    """
    if antennas > angle_bins:
        raise ConfigError(f"{antennas} antennas do not fit into angle_bins = {angle_bins}")
    turns = np.outer(np.arange(angle_bins) - angle_bins // 2, np.arange(antennas)) / angle_bins
    matrix = np.exp(-2j * np.pi * turns).astype(np.complex64)
    matrix.flags.writeable = False
    return matrix


def angle_transform(range_doppler: np.ndarray, angle_bins: int = 64) -> np.ndarray:
    """Transform over the virtual antennas, all as one vector.

    Parameters
    ----------
    range_doppler : ndarray of complex64, shape (..., antennas, doppler, range)
        As `HeatmapProcessor.range_doppler` returns it; leading axes are a batch.
    angle_bins : int
        Length of the transform.

    Returns
    -------
    ndarray of complex64, shape (..., angle_bins, doppler, range)
    """
    if range_doppler.ndim < 3:
        raise ValueError(
            f"want shape (..., antennas, doppler, range), got {tuple(range_doppler.shape)}"
        )
    *batch, antennas, doppler, ranges = range_doppler.shape
    matrix = angle_matrix(angle_bins, antennas)
    columns = range_doppler.reshape(*batch, antennas, doppler * ranges)
    return (matrix @ columns).reshape(*batch, angle_bins, doppler, ranges)


class HeatmapProcessor:
    """Computes heatmaps from frames of one radar.

    Parameters
    ----------
    config : RadarConfig
        The radar: shape and order of its samples, antennas.
    heatmap : HeatmapConfig
        The chain; the paper's by default.

    Attributes
    ----------
    loops_used : ndarray of int
        The loops that enter the Doppler transform.
    chirps_used : ndarray of int
        The same as indices into the frame's chirps ``(loops * transmitters,)`` in time order.

    Raises
    ------
    ConfigError
        If the chain does not fit the radar: too few loops, samples or angle bins.

    Notes
    -----
    *Missing chirps.* A frame may come with a mask of the chirps that arrived complete. The others
    are left out of the clutter mean and count as zero after clutter removal, that is, as neither
    echo nor clutter; nothing is interpolated and nothing rescaled. Movement smears over the
    Doppler axis in proportion to what is missing, which `valid_ratio` tells.
    """

    def __init__(self, config: RadarConfig, heatmap: HeatmapConfig | None = None) -> None:
        self.config = config
        self.heatmap = heatmap = HeatmapConfig() if heatmap is None else heatmap
        self.array = VirtualArray.for_config(config)
        loops, _, _, samples = config.adc_shape
        if samples % 2:
            raise ConfigError(f"the capture card stores samples in pairs, but {samples} is odd")
        if heatmap.doppler_bins > loops:
            raise ConfigError(
                f"doppler_bins = {heatmap.doppler_bins}, but a frame has only {loops} loops"
            )
        if heatmap.range_first + heatmap.range_bins > samples:
            raise ConfigError(
                f"range bins {heatmap.range_first} to "
                f"{heatmap.range_first + heatmap.range_bins - 1} were asked for, "
                f"but {samples} samples give bins 0 to {samples - 1}"
            )
        angle_matrix(heatmap.angle_bins, len(self.array))  # raises if they do not fit

        subsample = heatmap.chirps == "subsample"
        self.stride = loops // heatmap.doppler_bins if subsample else 1
        self.loops_used = (
            np.arange(heatmap.doppler_bins) * self.stride if subsample else np.arange(loops)
        )
        self._external_clutter = (
            subsample and heatmap.clutter_removal and heatmap.clutter_mean == "all"
        )
        slots = np.arange(config.waveform.transmitters)
        self.chirps_used = (self.loops_used[:, None] * len(slots) + slots).ravel()
        self._doppler = self._doppler_transform()
        self._doppler_complete = self._real_matrix(
            np.ones((len(self.loops_used), len(slots)), bool)
        )
        self._range_window = (
            hann_window(samples).astype(np.float32) if heatmap.window == "hann" else None
        )

    def __call__(self, adc: np.ndarray, chirp_valid: np.ndarray | None = None) -> np.ndarray:
        """Return the heatmap of a frame, ``angle(range_doppler(adc, chirp_valid))``."""
        return self.angle(self.range_doppler(adc, chirp_valid))

    def angle(self, range_doppler: np.ndarray) -> np.ndarray:
        """Transform ``(..., antennas, doppler, range)`` to ``(..., angle, doppler, range)``."""
        return angle_transform(range_doppler, self.heatmap.angle_bins)

    def range_doppler(self, adc: np.ndarray, chirp_valid: np.ndarray | None = None) -> np.ndarray:
        """Return the range-Doppler map of each virtual antenna.

        Parameters
        ----------
        adc : ndarray of int16
            Samples of one frame in the order of the capture card, flat or of any shape:
            ``(loops, transmitters, receivers, samples / 2, 2, 2)``, the last two axes being the
            parts of a complex number (in the order ``config.iq_order``) and two successive
            samples.
        chirp_valid : array_like, optional
            Which chirps arrived complete, ``(loops * transmitters,)`` in time order; all by
            default.

        Returns
        -------
        ndarray of complex64, shape (antennas, doppler_bins, range_bins)
            Antennas by rising transmitter, then receiver; zero Doppler at ``doppler_bins // 2``.

        Raises
        ------
        ValueError
            If the frame or the mask has the wrong size or type.
        """
        loops, slots, receivers, samples = self.config.adc_shape
        frame = checked_frame(adc, self.config).reshape(loops, slots, receivers * samples * 2)
        valid = checked_mask(chirp_valid, self.config)
        if valid is None:
            matrix = self._doppler_complete
        else:
            matrix = self._real_matrix(valid[self.loops_used])
        bins = self.heatmap.doppler_bins
        first, ranges = self.heatmap.range_first, self.heatmap.range_bins
        # Real and imaginary part of the matrix times either part of the samples, as real numbers:
        # (slots, part of the matrix, bins, receivers, pairs of samples, part, which of the pair).
        products = (matrix @ self._rows(frame, valid).transpose(1, 0, 2)).reshape(
            slots, 2, bins, receivers, samples // 2, 2, 2
        )
        real, imaginary = (0, 1) if self.config.iq_order == "IQ" else (1, 0)
        chirps = np.empty((slots, receivers, bins, samples // 2, 2), np.complex64)
        sums = chirps.transpose(0, 2, 1, 3, 4)
        for sample in (0, 1):  # one at a time: an innermost loop over two would be slow
            of_real = products[..., real, sample]
            of_imaginary = products[..., imaginary, sample]
            np.subtract(of_real[:, 0], of_imaginary[:, 1], out=sums.real[..., sample])
            np.add(of_imaginary[:, 0], of_real[:, 1], out=sums.imag[..., sample])
        by_range = chirps.reshape(slots * receivers, bins, samples)
        if self._range_window is not None:
            by_range *= self._range_window
        spectrum = scipy.fft.fft(by_range, axis=-1, overwrite_x=True)
        return spectrum[self.array.order, :, first : first + ranges]

    def valid_ratio(self, chirp_valid: np.ndarray | None = None) -> float:
        """Return the share of the chirps used that are valid, 0..1."""
        valid = checked_mask(chirp_valid, self.config)
        return 1.0 if valid is None else float(valid[self.loops_used].mean())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a heatmap: (angle bins, Doppler bins, range bins)."""
        return self.heatmap.angle_bins, self.heatmap.doppler_bins, self.heatmap.range_bins

    @property
    def range_axis_m(self) -> np.ndarray:
        """Range of each kept bin, shape ``(range_bins,)``."""
        first = self.heatmap.range_first
        return self.config.waveform.range_axis_m()[first : first + self.heatmap.range_bins]

    @property
    def velocity_axis_mps(self) -> np.ndarray:
        """Radial velocity of each Doppler bin, positive moving away, shape ``(doppler_bins,)``."""
        signed = np.arange(self.heatmap.doppler_bins) - self.heatmap.doppler_bins // 2
        waveform = self.config.waveform
        period_s = self._doppler_length * waveform.loop_time_s
        return signed * (waveform.wavelength_m / (2 * period_s))

    @property
    def sine_axis(self) -> np.ndarray:
        """Sine of the angle of each angle bin, positive to the left, shape ``(angle_bins,)``.

        Exact for antennas in order on one line, as in
        ``angle_transform(range_doppler[array.azimuth_row])``. The paper's vector of all twelve is
        not on one line: the strongest bin of an echo is up to 7 of 64 bins off.
        """
        return sine_axis(self.heatmap.angle_bins)

    @property
    def _doppler_length(self) -> int:
        """Loops that the Doppler transform spans."""
        if self.heatmap.chirps == "subsample":
            return self.heatmap.doppler_bins * self.stride
        return self.config.waveform.loops

    def _doppler_transform(self) -> np.ndarray:
        """Transform of the used chirps, complex128 of shape (slots, doppler_bins, loops used)."""
        signed = np.arange(self.heatmap.doppler_bins) - self.heatmap.doppler_bins // 2
        turns = np.outer(signed, self.loops_used) / self._doppler_length
        transform = np.exp(-2j * np.pi * turns)
        if self.heatmap.window == "hann":
            transform = transform * hann_window(len(self.loops_used))
        slots = np.arange(self.config.waveform.transmitters)
        if not self.heatmap.tdm_compensation:
            return np.broadcast_to(transform, (1, *transform.shape))
        # A slot is 1 / transmitters of a loop later.
        late_turns = np.outer(slots / len(slots), signed) / self._doppler_length
        return np.exp(-2j * np.pi * late_turns)[..., None] * transform

    def _real_matrix(self, valid: np.ndarray) -> np.ndarray:
        """Doppler transform, clutter removal and mask as one matrix of real numbers.

        Parameters
        ----------
        valid : ndarray of bool, shape (loops used, slots)

        Returns
        -------
        ndarray of float32, shape (slots or 1, 2 * doppler_bins, rows)
            Real parts above imaginary parts, to be multiplied with `_rows`.
        """
        weights = valid.T[:, None, :]  # (slots, 1, loops used)
        matrix = self._doppler * weights
        if self.heatmap.clutter_removal:
            total = matrix.sum(axis=-1, keepdims=True)
            if self._external_clutter:
                matrix = np.concatenate([matrix, -total], axis=-1)
            else:  # the mean over the used chirps is a sum of the same rows
                counts = np.maximum(weights.sum(axis=-1, keepdims=True), 1)
                matrix = matrix - total * weights / counts
        stacked = np.concatenate([matrix.real, matrix.imag], axis=1).astype(np.float32)
        identical = valid.all() and not self.heatmap.tdm_compensation
        return stacked[:1] if identical else stacked

    def _rows(self, frame: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
        """What the Doppler matrix is multiplied with: the used chirps, then perhaps the clutter.

        Returns float32 of shape (loops used or one more, slots, values of a chirp).
        """
        loops = len(self.loops_used)
        rows = np.empty((loops + self._external_clutter, *frame.shape[1:]), np.float32)
        rows[:loops] = frame[: self._doppler_length : self.stride]
        if self._external_clutter:
            rows[loops] = _mean_over_loops(frame, valid)
        return rows


def checked_frame(adc: np.ndarray, config: RadarConfig) -> np.ndarray:
    """Return the samples of a frame if they are what the radar's configuration says.

    Raises
    ------
    ValueError
        If they are not int16, or too few or too many.
    """
    adc = np.asarray(adc)
    if adc.dtype != np.int16:
        raise ValueError(f"samples must be int16 as the capture card sends them, got {adc.dtype}")
    wanted = config.bytes_per_frame // 2
    if adc.size != wanted:
        loops, transmitters, receivers, samples = config.adc_shape
        raise ValueError(
            f"a frame of {loops} loops x {transmitters} transmitters x {receivers} receivers "
            f"x {samples} complex samples is {wanted} int16 values, got {adc.size}"
        )
    return adc


def checked_mask(chirp_valid: np.ndarray | None, config: RadarConfig) -> np.ndarray | None:
    """Return a mask of chirps as bool of shape (loops, transmitters), or None if all are valid.

    Raises
    ------
    ValueError
        If it does not have one value per chirp.
    """
    if chirp_valid is None:
        return None
    loops, slots = config.adc_shape[:2]
    valid = np.asarray(chirp_valid)
    if valid.size != loops * slots:
        raise ValueError(
            f"chirp_valid wants one value per chirp, {loops} loops x {slots} transmitters = "
            f"{loops * slots}, got {valid.size}"
        )
    valid = valid.reshape(loops, slots) != 0
    return None if valid.all() else valid


def _mean_over_loops(frame: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Mean of each transmitter's valid chirps, float64 of shape (slots, values of a chirp).

    The sum is exact: 32 bits hold 65536 int16 values.
    """
    if valid is None:
        return np.add.reduce(frame, axis=0, dtype=np.int32) / len(frame)
    mean = np.zeros(frame.shape[1:])
    for slot, mask in enumerate(valid.T):
        if mask.any():
            mean[slot] = np.add.reduce(frame[mask, slot], axis=0, dtype=np.int32) / mask.sum()
    return mean


@functools.lru_cache(maxsize=4)
def _four_dimensional_matrix(azimuth_bins: int, elevation_bins: int) -> np.ndarray:
    """HuPR's transforms over the antennas, complex64 of shape (12, azimuth * elevation)."""
    grid = np.zeros((elevation_bins, azimuth_bins, 12), complex)  # (row, column, antenna)
    array = VirtualArray("IWR1843")
    for antenna, (x, z) in enumerate(array.positions_half_wavelengths.astype(int)):
        grid[z, x, antenna] = 1
    both_rows = slice(2, 6)  # columns with an antenna in either row; the others are left alone
    grid[:, both_rows] = np.fft.fft(grid[:, both_rows], axis=0)
    grid = np.fft.fftshift(np.fft.fft(grid, axis=1), axes=(0, 1))
    grid = grid[::-1, ::-1].transpose(2, 1, 0)  # (antenna, azimuth, elevation), both reversed
    matrix = np.ascontiguousarray(grid.reshape(12, -1), np.complex64)
    matrix.flags.writeable = False
    return matrix


def four_dimensional_transform(
    range_doppler: np.ndarray, azimuth_bins: int = 64, elevation_bins: int = 8
) -> np.ndarray:
    """HuPR's separate transforms over azimuth and elevation.

    Parameters
    ----------
    range_doppler : ndarray of complex64, shape (..., 12, doppler, range)
        By rising transmitter and receiver, range rising, Doppler shifted.
    azimuth_bins, elevation_bins : int
        Lengths of the transforms.

    Returns
    -------
    ndarray of complex64, shape (..., doppler, range, azimuth_bins, elevation_bins)
        In HuPR's order: range falling, azimuth and elevation shifted and then reversed. Only the
        four columns of the array with two antennas are transformed over elevation; the others stay
        in the first elevation row, so in all bins of the shifted axis but one they are missing.
    """
    if range_doppler.ndim < 3 or range_doppler.shape[-3] != 12:
        raise ValueError(
            f"want shape (..., 12, doppler, range), got {tuple(range_doppler.shape)}: the "
            "four-dimensional chain needs all three transmitters and four receivers"
        )
    by_antenna = np.ascontiguousarray(np.moveaxis(range_doppler[..., ::-1], -3, -1))
    grid = by_antenna @ _four_dimensional_matrix(azimuth_bins, elevation_bins)
    return grid.reshape(*grid.shape[:-1], azimuth_bins, elevation_bins)


def four_dimensional(
    adc: np.ndarray,
    config: RadarConfig,
    *,
    chirp_valid: np.ndarray | None = None,
    doppler_bins: int = 16,
    range_first: int = 31,
    range_bins: int = 64,
    azimuth_bins: int = 64,
    elevation_bins: int = 8,
) -> np.ndarray:
    """Compute the four-dimensional heatmap of the HuPR data set from a frame.

    Clutter removal, transform over all chirps and samples without windows, the central Doppler
    bins, then azimuth and elevation. As published, but computed only for the bins that are kept.

    Parameters
    ----------
    adc, chirp_valid
        As for `HeatmapProcessor.range_doppler`.
    config : RadarConfig
        A radar with three transmitters and four receivers.
    doppler_bins, range_first, range_bins, azimuth_bins, elevation_bins : int
        HuPR's by default.

    Returns
    -------
    ndarray of complex64, shape (doppler_bins, range_bins, azimuth_bins, elevation_bins)
        Orders as in `four_dimensional_transform`. HuPR's files hold the same as complex128.
    """
    chain = HeatmapConfig(
        doppler_bins=doppler_bins,
        range_first=range_first,
        range_bins=range_bins,
        chirps="central_doppler",
    )
    range_doppler = HeatmapProcessor(config, chain).range_doppler(adc, chirp_valid)
    return four_dimensional_transform(range_doppler, azimuth_bins, elevation_bins)
