"""Chirp arithmetic against numbers worked out by hand."""

import dataclasses

import numpy as np
import pytest

from radar_pose_ros.radar.waveform import SPEED_OF_LIGHT_MPS, Waveform, sine_axis

REFERENCE = Waveform(
    start_frequency_hz=77e9,
    slope_hz_per_s=60.012e12,
    sample_rate_hz=4.4e6,
    samples=256,
    idle_time_s=7e-6,
    adc_start_time_s=6e-6,
    ramp_end_time_s=65e-6,
    loops=128,
    transmitters=3,
    frame_period_s=0.1,
)


def test_reference_waveform_has_the_known_scales():
    assert REFERENCE.sampled_bandwidth_hz == pytest.approx(3.4916e9, rel=1e-4)
    assert REFERENCE.range_resolution_m == pytest.approx(0.04293, rel=1e-3)
    assert REFERENCE.max_range_m == pytest.approx(10.990, rel=1e-4)
    assert REFERENCE.loop_time_s == pytest.approx(216e-6)
    assert REFERENCE.active_time_s == pytest.approx(27.648e-3)
    # 77 GHz + 60.012 MHz/us * (6 us + 127.5 / 4.4 us) = 79.0991 GHz
    assert REFERENCE.wavelength_m == pytest.approx(299.792458e6 / 79.0991e9, rel=1e-6)
    assert REFERENCE.max_velocity_mps == pytest.approx(4.3867, rel=1e-4)
    assert REFERENCE.velocity_resolution_mps == pytest.approx(0.068542, rel=1e-4)
    assert REFERENCE.frame_rate_hz == pytest.approx(10.0)


def test_a_range_bin_is_where_the_beat_makes_one_more_turn():
    """2 R / c * S is the beat; bin k of a transform over N samples turns k times in N / fs."""
    ranges_m = REFERENCE.range_axis_m()
    beat_hz = 2 * ranges_m / SPEED_OF_LIGHT_MPS * REFERENCE.slope_hz_per_s
    turns = beat_hz * REFERENCE.samples / REFERENCE.sample_rate_hz
    np.testing.assert_allclose(turns, np.arange(256), atol=1e-9)


@pytest.mark.parametrize(("bins", "stride"), [(None, 1), (8, 16), (8, 1), (64, 2)])
def test_a_doppler_bin_is_where_the_phase_makes_one_more_turn(bins, stride):
    axis_mps = REFERENCE.velocity_axis_mps(bins, stride)
    count = len(axis_mps)
    phase = 4 * np.pi * axis_mps * REFERENCE.loop_time_s * stride / REFERENCE.wavelength_m
    np.testing.assert_allclose(
        phase * count / (2 * np.pi), np.arange(count) - count // 2, atol=1e-9
    )


def test_sine_axis_is_that_of_antennas_at_half_a_wavelength():
    assert sine_axis(64)[[0, 32, 48]] == pytest.approx([-1.0, 0.0, 0.5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_frequency_hz": 0.0}, "start_frequency_hz must be a positive number"),
        ({"slope_hz_per_s": float("nan")}, "slope_hz_per_s must be a positive number"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"idle_time_s": -1e-6}, "idle_time_s must not be negative"),
        ({"samples": 512}, "sampling ends 122.36 us after the start of the ramp"),
        ({"loops": 1000}, "take 216.00 ms, more than the frame period of 100.00 ms"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(REFERENCE, **change)
