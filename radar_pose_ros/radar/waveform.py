"""Arithmetic of a frequency-modulated continuous-wave (FMCW) radar frame.

One frame is ``loops`` repetitions of one chirp per transmitter (time-division MIMO). Every
quantity is in SI units and named after them. Velocities and angles follow from the wavelength in
the middle of the sampled band, where the phases of a range transform belong; tables that take the
start of the ramp instead come out 2.7 % higher with the reference waveform.

Sign conventions used everywhere in this package:

* the intermediate-frequency signal of a reflector at range R is
  ``exp(+j 2 pi (2 R / c) (f0 + S t))``: range shows at positive beat frequencies;
* radial velocity is the rate of change of range, so **positive means moving away**;
* the angle of arrival is measured from the boresight (+x of the radar's link), **positive to the
  left** (+y), as REP-103 counts yaw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPEED_OF_LIGHT_MPS = 299_792_458.0


@dataclass(frozen=True)
class Waveform:
    """Timing and frequency plan of one radar frame.

    Parameters
    ----------
    start_frequency_hz : float
        Carrier at the start of the ramp.
    slope_hz_per_s : float
        Slope of the ramp.
    sample_rate_hz : float
        Complex ADC samples per second.
    samples : int
        ADC samples per chirp.
    idle_time_s, adc_start_time_s, ramp_end_time_s : float
        Pause before the ramp; start of sampling and end of the ramp, both counted from its start.
    loops : int
        Repetitions of the chirp sequence in a frame, that is, chirps per transmitter.
    transmitters : int
        Chirps in the sequence, one per transmitter.
    frame_period_s : float
        From the start of a frame to the start of the next.

    Raises
    ------
    ValueError
        If a quantity is not positive, or sampling does not fit into the ramp, or the frame does
        not fit into its period.
    """

    start_frequency_hz: float
    slope_hz_per_s: float
    sample_rate_hz: float
    samples: int
    idle_time_s: float
    adc_start_time_s: float
    ramp_end_time_s: float
    loops: int
    transmitters: int
    frame_period_s: float

    def __post_init__(self) -> None:
        for name in ("start_frequency_hz", "slope_hz_per_s", "sample_rate_hz", "frame_period_s"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        for name in ("samples", "loops", "transmitters"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}")
        for name in ("idle_time_s", "adc_start_time_s", "ramp_end_time_s"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must not be negative, got {value!r}")
        tolerance_s = 1e-9
        sampling_end_s = self.adc_start_time_s + self.samples / self.sample_rate_hz
        if sampling_end_s > self.ramp_end_time_s + tolerance_s:
            raise ValueError(
                f"sampling ends {sampling_end_s * 1e6:.2f} us after the start of the ramp, which "
                f"itself ends after {self.ramp_end_time_s * 1e6:.2f} us"
            )
        if self.active_time_s > self.frame_period_s + tolerance_s:
            raise ValueError(
                f"the chirps of a frame take {self.active_time_s * 1e3:.2f} ms, more than the "
                f"frame period of {self.frame_period_s * 1e3:.2f} ms"
            )

    @property
    def centre_frequency_hz(self) -> float:
        """Mean carrier over the samples, to which phases over chirps and antennas belong."""
        middle_s = self.adc_start_time_s + (self.samples - 1) / 2 / self.sample_rate_hz
        return self.start_frequency_hz + self.slope_hz_per_s * middle_s

    @property
    def wavelength_m(self) -> float:
        """Wavelength at `centre_frequency_hz`."""
        return SPEED_OF_LIGHT_MPS / self.centre_frequency_hz

    @property
    def chirp_time_s(self) -> float:
        """From the start of a chirp to the start of the next one, of whichever transmitter."""
        return self.idle_time_s + self.ramp_end_time_s

    @property
    def loop_time_s(self) -> float:
        """From a chirp to the next chirp of the same transmitter."""
        return self.transmitters * self.chirp_time_s

    @property
    def active_time_s(self) -> float:
        """Time within a frame during which chirps are sent."""
        return self.loops * self.loop_time_s

    @property
    def sampled_bandwidth_hz(self) -> float:
        """Frequency swept while samples are taken."""
        return self.slope_hz_per_s * self.samples / self.sample_rate_hz

    @property
    def range_resolution_m(self) -> float:
        """Width of one range bin, c / (2 B)."""
        return SPEED_OF_LIGHT_MPS / (2 * self.sampled_bandwidth_hz)

    @property
    def max_range_m(self) -> float:
        """Range at which the beat frequency reaches the (complex) sample rate, c fs / (2 S)."""
        return SPEED_OF_LIGHT_MPS * self.sample_rate_hz / (2 * self.slope_hz_per_s)

    @property
    def max_velocity_mps(self) -> float:
        """Largest unambiguous speed, lambda / (4 T) with T the loop time."""
        return self.wavelength_m / (4 * self.loop_time_s)

    @property
    def velocity_resolution_mps(self) -> float:
        """Width of one Doppler bin of a transform over all loops."""
        return 2 * self.max_velocity_mps / self.loops

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return 1 / self.frame_period_s

    def range_axis_m(self) -> np.ndarray:
        """Range of each bin of a transform over all samples, shape ``(samples,)``."""
        return np.arange(self.samples) * self.range_resolution_m

    def velocity_axis_mps(self, bins: int | None = None, stride: int = 1) -> np.ndarray:
        """Velocity of each Doppler bin after a shift of zero to the middle, shape ``(bins,)``.

        Parameters
        ----------
        bins : int, optional
            Length of the transform; all chirps of one transmitter by default.
        stride : int
            Only every ``stride``-th chirp was kept: the unambiguous span shrinks by that factor.
        """
        bins = self.loops // stride if bins is None else bins
        span_mps = self.wavelength_m / (2 * self.loop_time_s * stride)
        return (np.arange(bins) - bins // 2) * (span_mps / bins)


def sine_axis(bins: int) -> np.ndarray:
    """Sine of the angle of each bin of a shifted transform over antennas at half a wavelength.

    Bin ``k`` stands for ``sin(theta) = 2 (k - bins // 2) / bins``; shape ``(bins,)``.
    """
    return 2.0 * (np.arange(bins) - bins // 2) / bins
