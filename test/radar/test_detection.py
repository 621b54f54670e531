"""The detector against physics (point targets, known noise) and on a real frame."""

import dataclasses

import numpy as np
import pytest

from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.detection import (
    DetectionConfig,
    Detector,
    cell_averaging_cfar,
)
from radar_pose_ros.radar.ti_config import load_mmwave_studio
from radar_pose_ros.radar.waveform import Waveform

LIGHT = 299_792_458.0
REFERENCE = RadarConfig(
    "IWR1843",
    Waveform(77e9, 60.012e12, 4.4e6, 256, 7e-6, 6e-6, 65e-6, 128, 3, 0.1),
    (1, 2, 3),
    (1, 2, 3, 4),
    "IQ",
)
# Half wavelengths in the link frame's (y, z), from the board's drawing.
TX = {1: (0, 0), 2: (-2, 1), 3: (-4, 0)}
RX = {1: (0, 0), 2: (-1, 0), 3: (-2, 0), 4: (-3, 0)}


def recording(config, targets, noise=20.0, seed=0):
    """Flat int16 samples of targets ``(position_m, velocity_mps, amplitude)`` in white noise.

    The exact ways between antennas and targets that move along the line of sight, mid-frame at
    their positions.
    """
    w = config.waveform
    loops, slots, receivers, samples = config.adc_shape
    ramp_s = w.adc_start_time_s + np.arange(samples) / w.sample_rate_hz
    frequency_hz = w.start_frequency_hz + w.slope_hz_per_s * ramp_s
    half = LIGHT / frequency_hz.mean() / 2
    chirp_s = (np.arange(loops * slots) * w.chirp_time_s).reshape(loops, slots, 1, 1)
    time_s = chirp_s + w.idle_time_s + ramp_s - loops * slots * w.chirp_time_s / 2
    rng = np.random.default_rng(seed)
    parts = noise * rng.standard_normal((2, *config.adc_shape))
    cube = parts[0] + 1j * parts[1]
    for position_m, velocity_mps, amplitude in targets:
        for slot, i in enumerate(config.tx_order):
            for channel, j in enumerate(config.rx_antennas):
                way_m = 2 * velocity_mps * time_s[:, slot, 0] + sum(
                    np.linalg.norm(np.subtract(position_m, half * np.array([0, *at])))
                    for at in (TX[i], RX[j])
                )
                cube[:, slot, channel] += amplitude * np.exp(
                    2j * np.pi * way_m / LIGHT * frequency_hz
                )
    pairs = np.stack([cube.real, cube.imag], axis=-2)  # (..., part, sample)
    pairs = pairs.reshape(loops, slots, receivers, 2, samples // 2, 2).swapaxes(3, 4)
    return np.rint(pairs).astype(np.int16).ravel()


def spherical(range_m, azimuth_deg, elevation_deg):
    azimuth, elevation = np.deg2rad([azimuth_deg, elevation_deg])
    return range_m * np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )


@pytest.mark.parametrize("tx_order", [(1, 2, 3), (1, 3, 2)])
def test_random_targets_are_found_where_they_are(tx_order):
    config = dataclasses.replace(REFERENCE, tx_order=tx_order)
    detector = Detector(config)
    rng = np.random.default_rng(3)
    errors = []
    for seed in range(20):
        position_m = spherical(rng.uniform(1, 6), rng.uniform(-55, 55), rng.uniform(-25, 25))
        velocity_mps = rng.choice([-1, 1]) * rng.uniform(0.2, 3.5)
        adc = recording(config, [(position_m, velocity_mps, 200.0)], seed=seed)
        cloud = detector(adc)
        found = np.array([cloud.x[0], cloud.y[0], cloud.z[0]])
        errors.append([*(np.abs(found - position_m)), abs(cloud.velocity[0] - velocity_mps)])
        assert np.all(np.diff(cloud.snr) <= 0)
    assert np.all(np.max(errors, axis=0) < [0.03, 0.03, 0.03, 0.01])


def test_several_targets():
    """Three at once, one of them 30 dB below the strongest; nothing else above 15 dB."""
    targets = [
        (spherical(1.5, -30, 5), -0.8, 600.0),
        (spherical(2.5, 0, -10), 1.2, 150.0),
        (spherical(4.0, 40, 0), 2.5, 19.0),
    ]
    cloud = Detector(REFERENCE)(recording(REFERENCE, targets))
    strong = cloud.snr > 15
    positions = np.stack([cloud.x, cloud.y, cloud.z], axis=1)
    for position_m, velocity_mps, _ in targets:
        near = np.linalg.norm(positions - position_m, axis=1) < 0.1
        near &= np.abs(cloud.velocity - velocity_mps) < 0.05
        assert np.any(near & strong)
        strong &= ~(np.abs(np.linalg.norm(positions, axis=1) - np.linalg.norm(position_m)) < 0.3)
    assert not strong.any()


def test_snr_is_power_over_noise():
    """Mean noise power in a cell against that of a target on the centres of its bins."""
    w = REFERENCE.waveform
    velocity_mps = 10 * w.wavelength_m / (2 * w.active_time_s)
    position_m = spherical(60 * w.range_resolution_m, 0, 0)
    amplitude, noise = 100.0, 50.0
    cloud = Detector(REFERENCE)(
        recording(REFERENCE, [(position_m, velocity_mps, amplitude)], noise)
    )
    # Two Hann windows of 256 and 128: gain N / 2 in amplitude, noise power N * 3 / 8; the ratio
    # is one plus the signal's share because the cell holds noise, too.
    gain = 256 * 128 * (0.5**2 / 0.375) ** 2
    expected = 10 * np.log10(1 + amplitude**2 / (2 * noise**2) * gain)
    assert cloud.snr[0] == pytest.approx(expected, abs=0.6)


def test_still_scene_gives_no_points_beyond_the_noise():
    still = recording(REFERENCE, [(spherical(3, 10, 0), 0.0, 8000.0)], noise=5.0)
    assert len(Detector(REFERENCE)(still)) == 0


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
def test_false_alarm_rate(rate):
    """On powers that are independent from cell to cell the rate is the one that was asked for."""
    rng = np.random.default_rng(8)
    power = rng.gamma(12, size=(512, 1024))
    detected, noise = cell_averaging_cfar(power, 12, rate)
    assert detected.mean() == pytest.approx(rate, rel=0.15)
    assert noise.mean() == pytest.approx(12, rel=0.01)


def test_false_alarms_of_the_whole_detector():
    settings = DetectionConfig(false_alarm_rate=0.01, peaks_only=False, max_points=10**6)
    cloud = Detector(REFERENCE, settings)(recording(REFERENCE, [], noise=100.0))
    cells = 128 * (256 - 7)
    # Directions that do not exist are dropped, so somewhat fewer than asked for.
    assert 0.004 < len(cloud) / cells < 0.012
    assert len(Detector(REFERENCE)(recording(REFERENCE, [], noise=100.0))) <= 2


def test_cfar_threshold_against_a_loop():
    """Sums over explicit cells, cyclic in Doppler, the end repeated in range."""
    rng = np.random.default_rng(2)
    power = rng.gamma(4, size=(20, 24))
    detected, noise = cell_averaging_cfar(power, 4, 0.05, (1, 2), (3, 2))
    padded = np.pad(np.pad(power, ((4, 4), (0, 0)), mode="wrap"), ((0, 0), (4, 4)), mode="edge")
    for doppler in range(20):
        for distance in range(24):
            window = padded[doppler : doppler + 9, distance : distance + 9].copy()
            training = np.ones_like(window, bool)
            training[3:6, 2:7] = False
            assert noise[doppler, distance] == pytest.approx(window[training].mean())
    assert 0 < detected.sum() < 60


def test_peaks_only_thins_and_max_points_keeps_the_strongest():
    adc = recording(
        REFERENCE, [(spherical(2, 0, 0), 1.0, 300.0), (spherical(4, 9, 0), -1.0, 100.0)]
    )
    every = Detector(REFERENCE, DetectionConfig(peaks_only=False))(adc)
    peaks = Detector(REFERENCE)(adc)
    assert 2 <= len(peaks) < len(every)
    one = Detector(REFERENCE, DetectionConfig(max_points=1))(adc)
    assert len(one) == 1
    assert one.snr[0] == peaks.snr[0]
    assert one.x[0] == pytest.approx(2.0, abs=0.02)


def test_range_limits():
    targets = [(spherical(2, 0, 0), 1.0, 300.0), (spherical(4, 9, 0), -1.0, 100.0)]
    adc = recording(REFERENCE, targets)
    cloud = Detector(REFERENCE, DetectionConfig(range_min_m=3.0, range_max_m=5.0))(adc)
    assert np.hypot(np.hypot(cloud.x, cloud.y), cloud.z).min() >= 3.0 - 0.03
    assert cloud.velocity[0] == pytest.approx(-1.0, abs=0.02)


def test_without_the_raised_transmitter_elevation_is_zero():
    waveform = dataclasses.replace(REFERENCE.waveform, transmitters=2)
    config = dataclasses.replace(REFERENCE, waveform=waveform, tx_order=(1, 3))
    cloud = Detector(config)(recording(config, [(spherical(3, 25, 0), 2.0, 200.0)]))
    assert cloud.z[0] == 0
    assert cloud.y[0] == pytest.approx(3 * np.sin(np.deg2rad(25)), abs=0.03)


def test_missing_chirps():
    """A still room with lost chirps shows no movement, and a person in it stays in place."""
    wall = (spherical(3.0, 10, 0), 0.0, 8000.0)
    person = (spherical(2.0, -15, 5), 0.9, 100.0)
    chirp_valid = np.ones(384, np.uint8)
    chirp_valid[[7, 80, 81, 82, 200]] = 0
    detector = Detector(REFERENCE)
    for targets, expected in (([wall], 0), ([wall, person], 1)):
        adc = recording(REFERENCE, targets)
        adc.reshape(384, -1)[chirp_valid == 0] = 0
        assert len(detector(adc)) > 5
        cloud = detector(adc, chirp_valid)
        assert np.count_nonzero(cloud.snr > 15) == expected
    assert [cloud.x[0], cloud.y[0], cloud.z[0]] == pytest.approx(person[0], abs=0.03)


def test_empty_frame_gives_an_empty_cloud():
    cloud = Detector(REFERENCE)(np.zeros(REFERENCE.bytes_per_frame // 2, np.int16))
    assert len(cloud) == 0
    assert cloud.x.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"range_min_m": 5.0, "range_max_m": 2.0}, "range_min_m < range_max_m"),
        ({"range_min_m": 10.9}, r"range cells do not fit into 128 loops x \d range bins"),
        ({"false_alarm_rate": 0.0}, "between 0 and 1"),
        ({"training_cells": (0, 8)}, "training_cells at least 1"),
        ({"training_cells": (80, 8)}, "do not fit"),
        ({"max_points": 0}, "max_points must be at least 1"),
    ],
)
def test_wrong_choices_are_refused(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Detector(REFERENCE, DetectionConfig(**values))


def test_raised_row_alone_is_refused():
    waveform = dataclasses.replace(REFERENCE.waveform, transmitters=1)
    config = dataclasses.replace(REFERENCE, waveform=waveform, tx_order=(2,))
    with pytest.raises(ConfigError, match="at least two antennas in the azimuth row"):
        Detector(config)


def test_wrong_frame_is_refused():
    with pytest.raises(ValueError, match="786432 int16 values, got 7"):
        Detector(REFERENCE)(np.zeros(7, np.int16))


def test_recorded_room_shows_only_slow_residues(shared_data):
    """Nobody moves in the real frame: what is found creeps (drift, swaying), within the room."""
    folder = shared_data / "radar_adc" / "iwr6843_frame"
    config = load_mmwave_studio(
        folder / "mmwaveDevice.mmwave.json", folder / "CaptureSetup.setup.json"
    )
    cloud = Detector(config)(np.fromfile(folder / "adc_data.bin", np.int16))
    assert len(cloud) > 0
    assert np.abs(cloud.velocity).max() < 0.1
    strongest_m = np.sqrt(cloud.x**2 + cloud.y**2 + cloud.z**2)[:10]
    assert np.all((strongest_m > 0.8) & (strongest_m < 8.6))
