"""From raw samples of one radar frame to a point cloud: constant false alarm rate detection.

The heatmap's eight chirps alias all but slow movement, so detection runs its own chain over all
chirps: range transform, clutter removal, Doppler transform, power summed over the virtual
antennas, cell-averaging CFAR, then one direction per detected cell. With the reference waveform
that takes about ten times as long as a heatmap (6 ms on one core, 4 ms up to 4.5 m).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.ndimage import maximum_filter, uniform_filter1d
from scipy.special import fdtri

from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.dca1000 import decode_samples
from radar_pose_ros.radar.heatmap import checked_frame, checked_mask, hann_window
from radar_pose_ros.radar.points import PointCloud
from radar_pose_ros.radar.virtual_array import VirtualArray
from radar_pose_ros.radar.waveform import sine_axis

_AZIMUTH_BINS = 128


@dataclass(frozen=True)
class DetectionConfig:
    """Choices of the detector.

    Parameters
    ----------
    range_min_m, range_max_m : float
        Only echoes from between these ranges are looked for; less range is less work.
    false_alarm_rate : float
        Probability that a cell with nothing but noise is detected, before `peaks_only`.
    guard_cells, training_cells : tuple of int
        In Doppler and in range, on either side: cells around the cell under test that are left out
        of the noise estimate, and cells beyond those that make it.
    peaks_only : bool
        Keep only cells that are the strongest of their three by three neighbours.
    max_points : int
        Keep at most so many points, the ones with the highest signal-to-noise ratio.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    range_min_m: float = 0.3
    range_max_m: float = float("inf")
    false_alarm_rate: float = 1e-6
    guard_cells: tuple[int, int] = (2, 2)
    training_cells: tuple[int, int] = (4, 8)
    peaks_only: bool = True
    max_points: int = 256

    def __post_init__(self) -> None:
        if not 0 <= self.range_min_m < self.range_max_m:
            raise ConfigError(
                "want 0 <= range_min_m < range_max_m, got "
                f"{self.range_min_m!r} and {self.range_max_m!r}"
            )
        if not 0 < self.false_alarm_rate < 1:
            raise ConfigError(
                f"false_alarm_rate must lie between 0 and 1, got {self.false_alarm_rate!r}"
            )
        if min(self.guard_cells) < 0 or min(self.training_cells) < 1:
            raise ConfigError(
                "guard_cells must not be negative and training_cells at least 1, got "
                f"{self.guard_cells!r} and {self.training_cells!r}"
            )
        if self.max_points < 1:
            raise ConfigError(f"max_points must be at least 1, got {self.max_points!r}")


def cell_averaging_cfar(
    power: np.ndarray,
    integrated: int,
    false_alarm_rate: float,
    guard_cells: tuple[int, int] = (2, 2),
    training_cells: tuple[int, int] = (4, 8),
) -> tuple[np.ndarray, np.ndarray]:
    """Find the cells that stand out from the mean of their surroundings.

    Parameters
    ----------
    power : ndarray, shape (doppler, range)
        Sum of the powers of ``integrated`` antennas. Doppler is cyclic; beyond the ends of the
        range axis the nearest training cells are repeated.
    integrated : int
        Number of independent complex Gaussian noise values summed in each cell.
    false_alarm_rate, guard_cells, training_cells
        See `DetectionConfig`.

    Returns
    -------
    detected : ndarray of bool, shape (doppler, range)
    noise : ndarray of float, shape (doppler, range)
        Mean power of the training cells.

    Raises
    ------
    ConfigError
        If the windows do not fit into the map.

    Notes
    -----
    Cell and mean of K training cells are Gamma distributed with shapes N and N K, their ratio is F
    distributed with (2 N, 2 N K) degrees of freedom, and the threshold is that distribution's
    quantile. A window in the transforms makes neighbouring cells alike, so that fewer of the K are
    independent and the rate of false alarms is somewhat higher than asked for.
    """
    inner = [2 * guard + 1 for guard in guard_cells]
    outer = [size + 2 * training for size, training in zip(inner, training_cells, strict=True)]
    if outer[0] > power.shape[0] or outer[1] > power.shape[1]:
        raise ConfigError(
            f"windows of {outer[0]} Doppler x {outer[1]} range cells do not fit into a map of "
            f"{power.shape[0]} x {power.shape[1]}"
        )
    power = np.asarray(power, np.float64)  # float32 running sums would drift behind a strong echo

    def box_sum(size: list[int]) -> np.ndarray:
        across = uniform_filter1d(power, size[0], axis=0, mode="wrap")
        return uniform_filter1d(across, size[1], axis=1, mode="nearest") * (size[0] * size[1])

    cells = outer[0] * outer[1] - inner[0] * inner[1]
    noise = (box_sum(outer) - box_sum(inner)) / cells
    factor = fdtri(2 * integrated, 2 * integrated * cells, 1 - false_alarm_rate)
    return power > factor * noise, noise


class Detector:
    """Detects echoes in frames of one radar.

    Parameters
    ----------
    config : RadarConfig
        The radar.
    detection : DetectionConfig
        Choices of the detector.

    Raises
    ------
    ConfigError
        If the detector's windows do not fit the radar's frame.

    Notes
    -----
    *Direction.* The azimuth row's eight elements give the sine u_y (strongest of a zero-padded
    transform, refined by a parabola); the phase between elements that stand above each other gives
    u_z, unambiguous over the half space because they are half a wavelength apart. One direction
    per range-Doppler cell: of two echoes in a cell the stronger is reported, between the two if
    they are alike. Without the raised transmitter u_z is taken as zero. Cells whose sines have no
    direction (u_y^2 + u_z^2 > 1) are dropped.

    *Movement between the transmitters' time slots* is taken out using the cell's velocity;
    directions of echoes faster than the unambiguous velocity are wrong, as their velocities are.

    *Missing chirps* are left out of the clutter mean and count as zero, as for the heatmap.
    """

    def __init__(self, config: RadarConfig, detection: DetectionConfig | None = None) -> None:
        self.config = config
        self.detection = detection = DetectionConfig() if detection is None else detection
        self.array = VirtualArray.for_config(config)
        if len(self.array.azimuth_row) < 2:
            raise ConfigError(
                "a direction takes at least two antennas in the azimuth row, but transmitters "
                f"{config.tx_order} and receivers {config.rx_antennas} have "
                f"{len(self.array.azimuth_row)}"
            )
        w = config.waveform
        self._first = int(np.ceil(detection.range_min_m / w.range_resolution_m))
        last = min(detection.range_max_m / w.range_resolution_m, w.samples - 1)
        self._range_bins = int(last) + 1 - self._first
        outer = [
            2 * (guard + training) + 1
            for guard, training in zip(
                detection.guard_cells, detection.training_cells, strict=True
            )
        ]
        if self._range_bins < outer[1] or w.loops < outer[0]:
            raise ConfigError(
                f"CFAR windows of {outer[0]} Doppler x {outer[1]} range cells do not fit into "
                f"{w.loops} loops x {max(self._range_bins, 0)} range bins"
            )
        self._range_window = hann_window(w.samples).astype(np.float32)
        self._doppler_window = hann_window(w.loops).astype(np.float32)[:, None, None, None]
        self._velocity_bin_mps = w.wavelength_m / (2 * w.active_time_s)

    def __call__(self, adc: np.ndarray, chirp_valid: np.ndarray | None = None) -> PointCloud:
        """Return the point cloud of a frame, strongest signal-to-noise ratio first.

        Parameters
        ----------
        adc, chirp_valid
            As for `radar_pose_ros.radar.heatmap.HeatmapProcessor.range_doppler`.
        """
        spectrum = self._range_doppler(adc, chirp_valid)
        power = np.sum(spectrum.real**2 + spectrum.imag**2, axis=1)
        settings = self.detection
        detected, noise = cell_averaging_cfar(
            power,
            len(self.array),
            settings.false_alarm_rate,
            settings.guard_cells,
            settings.training_cells,
        )
        if settings.peaks_only:
            detected &= power == maximum_filter(power, 3, mode=("wrap", "nearest"))
        doppler, distance = np.nonzero(detected)
        ratio = power[doppler, distance] / noise[doppler, distance]
        strongest = np.argsort(-ratio, kind="stable")[: settings.max_points]
        doppler, distance, ratio = doppler[strongest], distance[strongest], ratio[strongest]

        loops = len(power)
        doppler_bin = doppler + _parabola_peak(power, doppler, distance, axis=0)
        doppler_bin -= loops * (doppler_bin >= loops / 2)
        range_bin = self._first + distance + _parabola_peak(power, doppler, distance, axis=1)
        slots = self.config.waveform.transmitters
        late_turns = np.outer(doppler_bin, self.array.firing_slot) / (slots * loops)
        antennas = spectrum[doppler, :, distance] * np.exp(-2j * np.pi * late_turns)
        left, up = self._sines(antennas)
        forward_squared = 1 - left**2 - up**2
        seen = forward_squared >= 0
        range_m = range_bin[seen] * self.config.waveform.range_resolution_m
        return PointCloud(
            x=(range_m * np.sqrt(forward_squared[seen])).astype(np.float32),
            y=(range_m * left[seen]).astype(np.float32),
            z=(range_m * up[seen]).astype(np.float32),
            velocity=(doppler_bin[seen] * self._velocity_bin_mps).astype(np.float32),
            snr=(10 * np.log10(ratio[seen])).astype(np.float32),
        )

    def _range_doppler(self, adc: np.ndarray, chirp_valid: np.ndarray | None) -> np.ndarray:
        """Windowed map, complex64 of shape (loops, antennas, range bins), zero Doppler first."""
        config = self.config
        valid = checked_mask(chirp_valid, config)
        cube = decode_samples(checked_frame(adc, config), config.adc_shape, config.iq_order)
        cube *= self._range_window
        spectrum = scipy.fft.fft(cube, axis=-1, overwrite_x=True)
        spectrum = np.ascontiguousarray(
            spectrum[..., self._first : self._first + self._range_bins]
        )
        if valid is None:
            spectrum -= spectrum.mean(axis=0)
        else:
            weights = valid[..., None, None].astype(np.float32)
            counts = np.maximum(weights.sum(axis=0), 1)
            spectrum -= np.sum(spectrum * weights, axis=0) / counts
            spectrum *= weights
        spectrum *= self._doppler_window
        spectrum = scipy.fft.fft(spectrum, axis=0, overwrite_x=True)
        return spectrum.reshape(len(spectrum), -1, self._range_bins)[:, self.array.order]

    def _sines(self, antennas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Direction cosines to the left and up, each shape (points,), from (points, antennas)."""
        array = self.array
        columns = array.positions_half_wavelengths[array.azimuth_row, 0]
        steering = np.exp(-1j * np.pi * np.outer(columns, sine_axis(_AZIMUTH_BINS)))
        beams = np.abs(antennas[:, array.azimuth_row] @ steering) ** 2
        best = beams.argmax(axis=1)
        cyclic = np.pad(beams, ((0, 0), (1, 1)), mode="wrap")
        best = best + _parabola_peak(cyclic, np.arange(len(best)), best + 1, axis=1)
        left = 2 * (best - _AZIMUTH_BINS // 2) / _AZIMUTH_BINS
        lower, upper = array.elevation_pairs.T
        lead = np.sum(antennas[:, upper] * antennas[:, lower].conj(), axis=1)
        return left, -np.angle(lead) / np.pi


def _parabola_peak(
    power: np.ndarray, row: np.ndarray, column: np.ndarray, axis: int
) -> np.ndarray:
    """Offset of the peak from each cell along an axis, by a parabola through the logarithms.

    Between -1/2 and 1/2; 0 at the end of the second axis and where the cell is not a peak. The
    first axis is cyclic.
    """
    rows, columns = power.shape
    before, after = (
        ((row + step) % rows, column)
        if axis == 0
        else (row, np.clip(column + step, 0, columns - 1))
        for step in (-1, 1)
    )
    tiny = np.finfo(np.float32).tiny
    left, middle, right = (
        np.log(np.maximum(power[cell], tiny)) for cell in (before, (row, column), after)
    )
    curvature = left - 2 * middle + right
    peak = (middle >= left) & (middle >= right) & (curvature < 0)
    if axis == 1:
        peak &= (column > 0) & (column < columns - 1)
    offset = np.where(peak, 0.5 * (left - right) / np.where(peak, curvature, 1), 0.0)
    return np.clip(offset, -0.5, 0.5)
