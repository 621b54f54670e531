"""FMCW MIMO radars that look at moving people or points.

Every transmitter fires in its own time slot, every scatterer has its own exact (near-field,
bistatic) path to every antenna, and paths change during the frame with the scatterers' velocity
and acceleration. A sample n of chirp l from transmitter k at receiver m is the sum over scatterers
of

    a * exp(2 pi j D_km(t_lk) / c * (f_c + S (t_n - t_c)))      D_km = |p - tx_k| + |p - rx_m|

plus noise and static clutter, with f_c and t_c the middle of the sampled band. This is factored,
so that a frame is a product of two real matrices whose columns already are in the order of the
capture card. Phases at f_c are exact for each chirp and antenna. Simplified are:

* the path that multiplies S: that to the middle of the antennas, once per block of up to 16 loops
  (3.5 ms with the reference waveform, in which a scatterer at 4 m/s moves a third of a range bin);
* differences between receivers, also once per block;
* the amplitude, constant over the frame.

Levels are those of a link budget for the reference board: 12 dBm, 7 dBi antennas, 30 dB receiver
gain, 15 dB noise figure, full scale 1 V peak to peak at 16 bits. Half a square metre at 3 m then
returns about 90 counts, the noise is 8 counts in each of the parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor
from radar_pose_ros.radar.virtual_array import VirtualArray
from radar_pose_ros.radar.waveform import SPEED_OF_LIGHT_MPS
from radar_pose_ros.simulation.body import MotionClip
from radar_pose_ros.simulation.surface import BodySurface

GAIN_COUNTS_M = 1150.0  # counts = this * sqrt(cross-section in m^2) / range^2
NOISE_COUNTS = 8.0
_LOOPS_PER_BLOCK = 16


@dataclass(frozen=True)
class RadarPlacement:
    """Where a radar is: pose of its link (x boresight, y left, z up) in the world.

    Parameters
    ----------
    frame_id : str
        Name of the radar's link.
    position_m : tuple of float
        Origin of the link: the sum of transmit and receive antenna 1.
    roll, pitch, yaw : float
        Rotations about fixed x, then y, then z in radians (the URDF convention).
    """

    frame_id: str
    position_m: tuple[float, float, float]
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0

    @property
    def rotation(self) -> np.ndarray:
        """Rotation from the link to the world, shape ``(3, 3)``; columns are the link's axes."""
        (cr, cp, cy), (sr, sp, sy) = (
            function([self.roll, self.pitch, self.yaw]) for function in (np.cos, np.sin)
        )
        return np.array(
            [
                [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                [-sp, cp * sr, cp * cr],
            ]
        )

    def to_link(self, points_m: np.ndarray) -> np.ndarray:
        """Express world points, shape ``(..., 3)``, in the link."""
        return (np.asarray(points_m, float) - self.position_m) @ self.rotation


def default_placements() -> tuple[RadarPlacement, RadarPlacement]:
    """Return the rig's two radars: horizontal, and vertical, which is rolled to its left side.

    The vertical radar's left is up, so that its angle axis is elevation.
    """
    return (
        RadarPlacement("radar_h_link", (0.0, 0.05, 1.0)),
        RadarPlacement("radar_v_link", (0.0, -0.05, 1.0), roll=np.pi / 2),
    )


@dataclass(frozen=True)
class AntennaPattern:
    """Gain over direction: ``cos(azimuth) ** a * cos(elevation) ** e`` of the echo's amplitude.

    The amplitude of an echo falls like the one-way power. The defaults are a choice for a board
    with patch antennas like the IWR1843BOOST, which see much less up and down than sideways: one
    way, 3 dB at 33 degrees azimuth and 14 degrees elevation, 6 dB at 45 and 20 (the board's guide
    has 28 and 14, 50 and 20). Zero exponents make the antennas see in all directions in front
    alike.
    """

    azimuth_exponent: float = 4.0
    elevation_exponent: float = 22.0

    def gain(self, link_m: np.ndarray) -> np.ndarray:
        """Return the gain for points ``(..., 3)`` in the radar's link; nothing from behind."""
        x, y, z = np.moveaxis(link_m, -1, 0)
        flat = np.hypot(x, y)
        azimuth = np.maximum(x, 0.0) / np.maximum(flat, 1e-9)
        elevation = flat / np.maximum(np.hypot(flat, z), 1e-9)
        return azimuth**self.azimuth_exponent * elevation**self.elevation_exponent * (x > 0)


@dataclass(frozen=True)
class StaticScene:
    """Things that do not move.

    Parameters
    ----------
    positions_m : ndarray, shape (S, 3)
        In the world.
    amplitudes_m : ndarray of complex, shape (S,)
        Square root of the radar cross-section, with a phase.
    """

    positions_m: np.ndarray
    amplitudes_m: np.ndarray

    @classmethod
    def empty(cls) -> StaticScene:
        """Return a scene without anything in it."""
        return cls(np.zeros((0, 3)), np.zeros(0, complex))

    @classmethod
    def room(cls, seed: int = 0) -> StaticScene:
        """Return a room: a back wall beyond 4.3 m, side walls, floor, ceiling, some furniture."""
        rng = np.random.default_rng(seed)
        depth_m, half_width_m = rng.uniform(4.3, 6.5), rng.uniform(1.9, 2.8)
        height_m = rng.uniform(2.4, 3.0)
        low, high = [0.8, -half_width_m, 0.0], [depth_m, half_width_m, height_m]
        count = 60
        surfaces = rng.uniform(low, high, (count, 3))
        wall = rng.choice(5, count, p=[0.4, 0.2, 0.2, 0.1, 0.1])
        surfaces[wall == 0, 0] = depth_m
        surfaces[wall == 1, 1] = half_width_m
        surfaces[wall == 2, 1] = -half_width_m
        surfaces[wall == 3, 2] = 0.0
        surfaces[wall == 4, 2] = height_m
        furniture = rng.uniform(low, [depth_m, half_width_m, 1.0], (12, 3))
        positions_m = np.concatenate([surfaces, furniture])
        sizes = np.concatenate([rng.exponential(0.6, count), rng.exponential(0.3, len(furniture))])
        phases = np.exp(2j * np.pi * rng.random(len(positions_m)))
        return cls(positions_m, np.sqrt(sizes) * phases)


class RadarSimulator:
    """Simulates the frames of one radar.

    Parameters
    ----------
    config : RadarConfig
        The radar.
    placement : RadarPlacement
        Where it is; the rig's horizontal radar by default.
    scene : StaticScene, optional
        What stands around; ``StaticScene.room()`` by default.
    pattern : AntennaPattern, optional
        The antennas' gain over direction.
    noise_counts : float
        Standard deviation of the noise in each part of a sample.
    gain_counts_m : float
        Counts that one square metre at one metre returns on boresight.
    occlusion : bool
        Whether the trunk shadows what is behind it.
    seed : int
        Seed of the noise: the same calls in the same order give the same frames.

    Raises
    ------
    ConfigError
        If the number of samples per chirp is odd, which the capture card cannot store.
    """

    def __init__(
        self,
        config: RadarConfig,
        placement: RadarPlacement | None = None,
        *,
        scene: StaticScene | None = None,
        pattern: AntennaPattern | None = None,
        noise_counts: float = NOISE_COUNTS,
        gain_counts_m: float = GAIN_COUNTS_M,
        occlusion: bool = True,
        seed: int = 0,
    ) -> None:
        loops, transmitters, _, samples = config.adc_shape
        if samples % 2:
            raise ConfigError(f"{config.source}: {samples} samples per chirp, want an even number")
        self.config = config
        self.placement = default_placements()[0] if placement is None else placement
        self.pattern = AntennaPattern() if pattern is None else pattern
        self.noise_counts = noise_counts
        self.gain_counts_m = gain_counts_m
        self.occlusion = occlusion
        self._rng = np.random.Generator(np.random.SFC64(seed))
        self._surface: BodySurface | None = None

        waveform = config.waveform
        middle_s = waveform.adc_start_time_s + samples / waveform.sample_rate_hz / 2
        self.centre_frequency_hz = waveform.start_frequency_hz + waveform.slope_hz_per_s * middle_s
        self._samples = np.arange(samples) - samples / 2
        self._array = VirtualArray.for_config(config)
        self._tx_m, self._rx_m = self._antennas()

        # Instants of the middles of the ramps, as shares of the time from the first to the last.
        block = max(n for n in range(1, _LOOPS_PER_BLOCK + 1) if loops % n == 0)
        chirps = np.arange(loops * transmitters)
        instants_s = chirps * waveform.chirp_time_s + waveform.idle_time_s + middle_s
        self._span_s = max(instants_s[-1] - instants_s[0], waveform.chirp_time_s)
        share = (instants_s - instants_s[0]) / self._span_s
        self._chirp_share = share.reshape(loops // block, block, transmitters)
        self._block_share = self._chirp_share.mean(axis=(1, 2))
        self.instants_s = instants_s[0] + self._span_s * np.array([0.0, 0.5, 1.0])
        scene = StaticScene.room() if scene is None else scene
        self._clutter = self._static(scene)

    def frame(self, clip: MotionClip, start_s: float = 0.0) -> np.ndarray:
        """Simulate the frame of a person that starts at an instant of a clip.

        Parameters
        ----------
        clip : MotionClip
            The person's movement.
        start_s : float
            Start of the first chirp.

        Returns
        -------
        ndarray of int16, shape (loops * transmitters * receivers * samples * 2,)
            Samples in the order of the capture card, saturated at the limits of the type.
        """
        return self._quantised(self._wave(*self._person(clip, start_s)), noise=True)

    def frames(self, clip: MotionClip) -> Iterator[np.ndarray]:
        """Simulate a frame for each instant of a clip, which is where it starts."""
        for start_s in clip.times_s:
            yield self.frame(clip, float(start_s))

    def points(
        self,
        positions_m: np.ndarray,
        velocities_mps: np.ndarray | None = None,
        amplitudes: np.ndarray | float = 1000.0,
        *,
        noise: bool = False,
    ) -> np.ndarray:
        """Simulate a frame of point targets that move in straight lines.

        Parameters
        ----------
        positions_m : ndarray, shape (P, 3)
            In the world, at the start of the frame.
        velocities_mps : ndarray, shape (P, 3), optional
            In the world; standing by default.
        amplitudes : complex or ndarray, shape (P,)
            In ADC counts, whatever the range and direction.
        noise : bool
            Also add noise and static clutter.

        Returns
        -------
        ndarray of int16, shape (loops * transmitters * receivers * samples * 2,)
        """
        positions_m = np.atleast_2d(np.asarray(positions_m, float))
        if positions_m.ndim != 2 or positions_m.shape[1] != 3:
            raise ValueError(f"positions must have shape (points, 3), got {positions_m.shape}")
        velocities_mps = (
            np.zeros(3) if velocities_mps is None else np.asarray(velocities_mps, float)
        )
        tracks = positions_m + self.instants_s[:, None, None] * velocities_mps
        counts = np.broadcast_to(np.asarray(amplitudes, complex), len(positions_m))
        return self._quantised(self._wave(self.placement.to_link(tracks), counts), noise=noise)

    def range_doppler(
        self, clip: MotionClip, start_s: float, processor: HeatmapProcessor
    ) -> np.ndarray:
        """Simulate ``processor.range_doppler(self.frame(clip, start_s))`` the short way.

        Only what the processor keeps is computed, which makes this several times as fast. The echo
        is the same within rounding; noise (with that of the quantisation) has the same covariance
        but is another draw; saturation does not happen.

        Raises
        ------
        ValueError
            If the chain has a window, TDM compensation, or no clutter removal.
        """
        echo = self._range_doppler(*self._person(clip, start_s), processor)
        return echo + self._range_doppler_noise(processor)

    # ------------------------------------------------------------------------------------------
    # Echoes

    def _antennas(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of transmitters in firing order and receivers, ``(n, 3)`` in the link."""
        _, transmitters, receivers, _ = self.config.adc_shape
        half_wavelength_m = SPEED_OF_LIGHT_MPS / self.centre_frequency_hz / 2
        in_order = np.empty((transmitters * receivers, 2))
        in_order[self._array.order] = self._array.positions_half_wavelengths
        positions = in_order.reshape(transmitters, receivers, 2)

        def in_link(lateral_and_height: np.ndarray) -> np.ndarray:
            x, z = half_wavelength_m * lateral_and_height.T
            return np.stack([np.zeros_like(x), -x, z], axis=-1)

        return in_link(positions[:, 0]), in_link(positions[0] - positions[0, 0])

    def _person(self, clip: MotionClip, start_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Scatterers in the link at three instants, ``(3, S, 3)``, and their counts ``(S,)``."""
        if self._surface is None or self._surface.shape != clip.shape:
            self._surface = BodySurface(clip.shape)
        times_s = start_s + self.instants_s
        scatterers = self._surface.scatterers(
            clip.joints_at(times_s),
            np.asarray(self.placement.position_m),
            clip.breathing.chest_m(times_s),
            occlusion=self.occlusion,
        )
        link_m = self.placement.to_link(scatterers.positions_m)
        return link_m, self._counts(link_m[1], scatterers.amplitudes_m)

    def _counts(self, link_m: np.ndarray, amplitudes_m: np.ndarray) -> np.ndarray:
        """Radar equation: amplitude of an echo falls with the square of the range."""
        range_m = np.linalg.norm(link_m, axis=-1)
        return self.gain_counts_m * amplitudes_m * self.pattern.gain(link_m) / range_m**2

    def _paths(self, link_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Paths at three instants: transmitters plus origin, receivers less origin, mean."""
        origin = np.linalg.norm(link_m, axis=-1)[:, None]
        transmit = np.linalg.norm(link_m[:, None] - self._tx_m[:, None], axis=-1)
        receive = np.linalg.norm(link_m[:, None] - self._rx_m[:, None], axis=-1)
        return transmit + origin, receive - origin, transmit.mean(axis=1) + receive.mean(axis=1)

    def _factors(
        self, link_m: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Phases over chirps and receivers, and beat frequencies.

        Returns
        -------
        chirps : ndarray of complex64, shape (blocks, loops per block, transmitters, S)
        receivers : ndarray of complex64, shape (blocks, receivers, S)
            Includes the amplitudes.
        beat : ndarray of float, shape (blocks, S)
            Turns per sample.
        """
        to_transmitter, receiver_offset, mean_path = self._paths(link_m)
        turns_per_m = self.centre_frequency_hz / SPEED_OF_LIGHT_MPS
        transmitter = np.arange(to_transmitter.shape[1])
        path = _parabola(to_transmitter[:, transmitter], self._chirp_share[..., None])
        chirps = _phasor(path * turns_per_m)
        offset = _parabola(receiver_offset, self._block_share[:, None, None])
        receivers = _phasor(offset * turns_per_m) * counts.astype(np.complex64)

        waveform = self.config.waveform
        share = self._block_share[:, None]
        path = _parabola(mean_path, share)
        speed = _parabola_slope(mean_path, share) / self._span_s
        beat_hz = waveform.slope_hz_per_s * path + self.centre_frequency_hz * speed
        return chirps, receivers, beat_hz / SPEED_OF_LIGHT_MPS / waveform.sample_rate_hz

    def _wave(self, link_m: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Echoes in counts, float32 of shape (loops, transmitters * receivers * samples * 2)."""
        loops, transmitters, receivers, _ = self.config.adc_shape
        chirps, receive, beat = self._factors(link_m, counts)
        blocks, scatterers = beat.shape
        left = chirps[..., None, :] * receive[:, None, None]
        rows = loops // blocks * transmitters * receivers
        left = left.reshape(blocks, rows, scatterers).view(np.float32)
        return (left @ self._ramps(beat)).reshape(loops, -1)

    def _ramps(self, beat: np.ndarray) -> np.ndarray:
        """Phases over samples as a real matrix, float32 of shape (blocks, 2 S, samples * 2).

        Rows belong to the real and imaginary parts of the other factor, columns are in the order
        of the capture card: two samples of the first part, then two of the second.
        """
        samples = len(self._samples)
        fine = max(n for n in range(2, 17, 2) if samples % n == 0)
        coarse = _phasor(beat[..., None] * self._samples[::fine])
        ramp = coarse[..., None] * _phasor(beat[..., None] * np.arange(fine))[..., None, :]
        ramp = ramp.reshape(*beat.shape, samples // 2, 2)
        matrix = np.empty((*beat.shape, 2, samples // 2, 2, 2), np.float32)
        real, imaginary = (0, 1) if self.config.iq_order == "IQ" else (1, 0)
        matrix[:, :, 0, :, real] = matrix[:, :, 1, :, imaginary] = ramp.real
        matrix[:, :, 0, :, imaginary] = ramp.imag
        np.negative(ramp.imag, out=matrix[:, :, 1, :, real])
        return matrix.reshape(len(beat), 2 * beat.shape[1], 2 * samples)

    def _static(self, scene: StaticScene) -> np.ndarray:
        """Clutter of one loop in counts, float32 (transmitters * receivers * samples * 2,)."""
        link_m = self.placement.to_link(scene.positions_m)
        counts = self._counts(link_m, scene.amplitudes_m)
        chirps, receivers, beat = self._factors(
            np.broadcast_to(link_m, (3, *link_m.shape)), counts
        )
        left = chirps[:1, :1, :, None] * receivers[:1, None, None]
        rows, scatterers = chirps.shape[2] * receivers.shape[1], len(counts)
        left = left.reshape(1, rows, scatterers).view(np.float32)
        return (left @ self._ramps(beat[:1])).ravel()

    def _quantised(self, wave: np.ndarray, noise: bool) -> np.ndarray:
        """Add noise and clutter if asked for, round and saturate."""
        if noise:
            hiss = self._rng.standard_normal(wave.shape, np.float32)
            hiss *= np.float32(self.noise_counts)
            wave += hiss
            wave += self._clutter
        np.rint(wave, out=wave)
        limits = np.iinfo(np.int16)
        np.clip(wave, limits.min, limits.max, out=wave)
        return wave.astype(np.int16).ravel()

    # ------------------------------------------------------------------------------------------
    # The short way to range-Doppler maps

    def _range_doppler(
        self, link_m: np.ndarray, counts: np.ndarray, processor: HeatmapProcessor
    ) -> np.ndarray:
        """Echoes after the range and Doppler transforms, complex64 (antennas, Doppler, range)."""
        chirps, receive, beat = self._factors(link_m, counts)
        blocks, per_block, transmitters, scatterers = chirps.shape
        doppler = _doppler_matrix(processor).astype(np.complex64)
        bins = len(doppler)
        # (blocks, bins, loops per block) @ (blocks, loops per block, transmitters * S)
        by_block = doppler.reshape(bins, blocks, per_block).transpose(1, 0, 2)
        by_doppler = by_block @ chirps.reshape(blocks, per_block, -1)
        left = (
            by_doppler.reshape(blocks, bins, transmitters, 1, scatterers) * receive[:, None, None]
        )
        # (transmitters, receivers, bins, blocks, S)
        left = left.transpose(2, 3, 1, 0, 4).reshape(-1, blocks * scatterers)
        ranges = self._range_response(beat, processor.heatmap).reshape(blocks * scatterers, -1)
        cube = (left @ ranges).reshape(len(self._array), bins, -1)
        return cube[self._array.order]

    def _range_response(self, beat: np.ndarray, heatmap: HeatmapConfig) -> np.ndarray:
        """Transform unit echoes over samples: Dirichlet kernels, complex64 (blocks, S, bins)."""
        samples = len(self._samples)
        bins = heatmap.range_first + np.arange(heatmap.range_bins)
        # Keep off the kernel's removable singularity.
        off = beat[..., None] - bins / samples + 1e-9
        size = np.sin(np.pi * samples * off) / np.sin(np.pi * off)
        turns = (samples - 1) / 2 * off - samples / 2 * beat[..., None]
        return _phasor(turns) * size.astype(np.float32)

    def _range_doppler_noise(self, processor: HeatmapProcessor) -> np.ndarray:
        """Draw the noise of a range-Doppler map, complex64 (antennas, Doppler, range)."""
        doppler = _doppler_matrix(processor)
        # White over antennas and range; over Doppler its covariance is that of the transform.
        values, vectors = np.linalg.eigh(doppler @ doppler.conj().T)
        colour = vectors * np.sqrt(np.maximum(values, 0.0))
        rounding = 1 / 12  # variance of rounding to whole counts
        size = np.sqrt((self.noise_counts**2 + rounding) * len(self._samples))
        shape = (len(self._array), len(doppler), processor.heatmap.range_bins)
        white = self._rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]
        return (size * colour).astype(np.complex64) @ white


def _parabola(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Evaluate parabolas given at shares 0, 1/2 and 1, on the first axis of ``values``."""
    first, middle, last = values
    return first + share * (
        (-3 * first + 4 * middle - last) + share * (2 * (first - 2 * middle + last))
    )


def _parabola_slope(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Derivative of `_parabola` by the share."""
    first, middle, last = values
    return (-3 * first + 4 * middle - last) + share * (4 * (first - 2 * middle + last))


def _phasor(turns: np.ndarray) -> np.ndarray:
    """``exp(2 pi j turns)`` as complex64; whole turns are dropped in double precision first."""
    angle = ((turns - np.rint(turns)) * (2 * np.pi)).astype(np.float32)
    phasor = np.empty(angle.shape, np.complex64)
    np.cos(angle, out=phasor.real)
    np.sin(angle, out=phasor.imag)
    return phasor


def _doppler_matrix(processor: HeatmapProcessor) -> np.ndarray:
    """Clutter removal and Doppler transform over all loops, complex128 (Doppler bins, loops)."""
    heatmap = processor.heatmap
    if heatmap.window != "none" or heatmap.tdm_compensation or not heatmap.clutter_removal:
        raise ValueError(
            "range-Doppler maps can be simulated directly only without window, without TDM "
            f"compensation and with clutter removal, not with {heatmap}"
        )
    loops = processor.config.waveform.loops
    used = processor.loops_used
    length = heatmap.doppler_bins * processor.stride if heatmap.chirps == "subsample" else loops
    signed = np.arange(heatmap.doppler_bins) - heatmap.doppler_bins // 2
    kept = np.exp(-2j * np.pi * np.outer(signed, used) / length)
    matrix = np.zeros((heatmap.doppler_bins, loops), complex)
    matrix[:, used] = kept
    mean_over = used if heatmap.clutter_mean == "kept" else np.arange(loops)
    matrix[:, mean_over] -= kept.sum(axis=1, keepdims=True) / len(mean_over)
    return matrix
