"""The radar simulator against formulas: a direct sum, predicted bins, signs, noise, levels."""

from dataclasses import replace

import numpy as np
import pytest

from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor
from radar_pose_ros.radar.virtual_array import VirtualArray
from radar_pose_ros.radar.waveform import SPEED_OF_LIGHT_MPS, Waveform
from radar_pose_ros.simulation.body import BodyShape, Place, generate, random_sequence
from radar_pose_ros.simulation.radar import (
    NOISE_COUNTS,
    AntennaPattern,
    RadarPlacement,
    RadarSimulator,
    StaticScene,
    default_placements,
)

WAVEFORM = Waveform(77e9, 60.012e12, 4.4e6, 256, 7e-6, 6e-6, 65e-6, 128, 3, 0.1)
CONFIG = RadarConfig("IWR1843", WAVEFORM, (1, 2, 3), (1, 2, 3, 4), "QI")
SMALL = replace(CONFIG, waveform=replace(WAVEFORM, loops=16))
HORIZONTAL, VERTICAL = default_placements()
AT_THE_ORIGIN = RadarPlacement("radar_link", (0.0, 0.0, 0.0))
ROOM_BINS = HeatmapConfig(range_first=31, range_bins=64)


def cube_of(adc, config):
    """Decode a frame independently of the package: complex (loops, tx, rx, samples)."""
    pairs = adc.reshape(-1, 2, 2).astype(float)
    if config.iq_order == "QI":
        pairs = pairs[:, ::-1]
    return (pairs[:, 0] + 1j * pairs[:, 1]).reshape(config.adc_shape)


def direct_sum(config, position_m, velocity_mps, amplitude):
    """Echo of a point in the radar's link, straight from the physics, in double precision."""
    waveform = config.waveform
    c = SPEED_OF_LIGHT_MPS
    in_ramp_s = waveform.adc_start_time_s + np.arange(waveform.samples) / waveform.sample_rate_hz
    middle_s = waveform.adc_start_time_s + waveform.samples / 2 / waveform.sample_rate_hz
    centre_hz = waveform.start_frequency_hz + waveform.slope_hz_per_s * middle_s
    half_m = c / centre_hz / 2
    tx_m = {1: (0, 0, 0), 2: (0, -2 * half_m, half_m), 3: (0, -4 * half_m, 0)}
    echo = np.empty(config.adc_shape, complex)
    for loop in range(waveform.loops):
        for slot, tx in enumerate(config.tx_order):
            chirp = loop * waveform.transmitters + slot
            time_s = chirp * waveform.chirp_time_s + waveform.idle_time_s + in_ramp_s
            point_m = position_m + time_s[:, None] * velocity_mps
            for rx in range(4):
                path_m = np.linalg.norm(point_m - tx_m[tx], axis=1)
                path_m += np.linalg.norm(point_m - (0, -rx * half_m, 0), axis=1)
                frequency_hz = waveform.start_frequency_hz + waveform.slope_hz_per_s * in_ramp_s
                echo[loop, slot, rx] = amplitude * np.exp(2j * np.pi * frequency_hz * path_m / c)
    return echo


def spectrum_of(adc, config):
    """Shifted (Doppler, antenna, range) spectrum, antennas by transmitter and receiver."""
    cube = cube_of(adc, config)[:, np.argsort(config.tx_order)]
    cube = cube.reshape(len(cube), -1, cube.shape[-1])
    return np.fft.fftshift(np.fft.fft(np.fft.fft(cube, axis=2), axis=0), axes=0)


# Echoes of points


@pytest.mark.parametrize("tx_order", [(1, 2, 3), (1, 3, 2)])
@pytest.mark.parametrize("iq_order", ["IQ", "QI"])
def test_a_moving_point_agrees_with_the_direct_sum(tx_order, iq_order):
    config = replace(SMALL, tx_order=tx_order, iq_order=iq_order)
    simulator = RadarSimulator(config, AT_THE_ORIGIN)
    for position_m, velocity_mps in (
        ([2.2, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ([2.0, 0.9, -0.4], [0.3, -1.0, 0.7]),
        ([1.2, -0.8, 0.6], [-1.5, 0.2, -0.5]),
    ):
        expected = direct_sum(config, np.array(position_m), np.array(velocity_mps), 20000.0)
        found = cube_of(simulator.points(position_m, velocity_mps, 20000.0), config)
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        # Within a block of 16 loops the beat frequency stays (and 1.5 m/s is 5 mm).
        assert error < (1e-3 if not np.any(velocity_mps) else 0.08)
        # What matters for Doppler and angle, the phase of each antenna and chirp, is exact.
        phase = np.angle(np.sum(found * expected.conj(), axis=-1))
        assert np.abs(phase).max() < 0.05


def test_points_add_up():
    simulator = RadarSimulator(SMALL, HORIZONTAL)
    near, far = [1.5, 0.3, 1.2], [3.0, -0.5, 0.8]
    both = simulator.points([near, far], amplitudes=[500.0, 700.0j])
    alone = simulator.points(near, amplitudes=500.0) + simulator.points(far, amplitudes=700.0j)
    assert np.abs(both.astype(int) - alone).max() <= 1  # rounding


@pytest.mark.parametrize("placement", [HORIZONTAL, VERTICAL])
def test_points_land_in_the_predicted_bins(placement, rng):
    simulator = RadarSimulator(CONFIG, placement)
    wavelength_m = SPEED_OF_LIGHT_MPS / simulator.centre_frequency_hz
    count = 40
    range_m = rng.uniform(1.0, 9.0, count)
    # Within 50 degrees of the boresight in any direction.
    directions = np.array([[1.0, y, z] for y, z in rng.uniform(-0.8, 0.8, (count, 2))])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    speed_mps = rng.uniform(-3.5, 3.5, count)
    for distance_m, direction, radial_mps in zip(range_m, directions, speed_mps, strict=True):
        world_m = placement.position_m + distance_m * placement.rotation @ direction
        velocity_mps = radial_mps * placement.rotation @ direction
        spectrum = np.abs(spectrum_of(simulator.points(world_m, velocity_mps, 300.0), CONFIG))
        doppler, range_bin = np.unravel_index(
            spectrum.sum(axis=1).argmax(), (128, WAVEFORM.samples)
        )
        middle_m = distance_m + radial_mps * WAVEFORM.active_time_s / 2
        assert abs(range_bin - middle_m / WAVEFORM.range_resolution_m) <= 1
        bin_mps = wavelength_m / 2 / WAVEFORM.loop_time_s / 128
        assert abs(doppler - 64 - radial_mps / bin_mps) <= 1
        row = spectrum_of(simulator.points(world_m, None, 300.0), CONFIG)[64]
        middle_bin = round(distance_m / WAVEFORM.range_resolution_m)
        azimuth = VirtualArray.for_config(CONFIG).azimuth_row
        angle = np.abs(np.fft.fftshift(np.fft.fft(row[azimuth, middle_bin], 64))).argmax()
        assert abs(angle - 32 - 32 * direction[1]) <= 1


def test_the_peak_has_the_amplitude_of_the_point():
    range_m = 50 * WAVEFORM.range_resolution_m
    simulator = RadarSimulator(CONFIG, AT_THE_ORIGIN)
    peak = np.abs(spectrum_of(simulator.points([range_m, 0, 0], None, 400.0), CONFIG))[64, 0, 50]
    assert peak == pytest.approx(400.0 * 128 * 256, rel=0.01)


def test_signs_of_velocity_and_angle():
    simulator = RadarSimulator(CONFIG, HORIZONTAL)
    away = np.abs(spectrum_of(simulator.points([2, 0.05, 1], [1.0, 0, 0]), CONFIG)).sum(
        axis=(1, 2)
    )
    assert away.argmax() > 64
    towards = np.abs(spectrum_of(simulator.points([2, 0.05, 1], [-1.0, 0, 0]), CONFIG))
    assert towards.sum(axis=(1, 2)).argmax() < 64
    processor = HeatmapProcessor(CONFIG, replace(ROOM_BINS, chirps="central_doppler"))

    def row_angle(placement, position_m):
        # Slow, so that it is neither clutter nor beyond the kept Doppler bins.
        velocity_mps = 0.15 * (np.array(position_m) - placement.position_m)
        adc = RadarSimulator(CONFIG, placement).points(position_m, velocity_mps)
        maps = processor.range_doppler(adc)[processor.array.azimuth_row]
        doppler, range_bin = np.unravel_index(np.abs(maps[0]).argmax(), maps.shape[1:])
        spectrum = np.fft.fftshift(np.fft.fft(maps[:, doppler, range_bin], 64))
        return int(np.abs(spectrum).argmax()) - 32

    assert row_angle(HORIZONTAL, [2.0, 0.8, 1.0]) > 5  # left
    assert row_angle(HORIZONTAL, [2.0, -0.8, 1.0]) < -5
    assert row_angle(VERTICAL, [2.0, -0.05, 1.8]) > 5  # up
    assert row_angle(VERTICAL, [2.0, -0.05, 0.2]) < -5
    assert abs(row_angle(VERTICAL, [2.0, 0.8, 1.0])) <= 1


def test_antennas_sit_half_a_wavelength_apart_as_the_virtual_array_says(rng):
    simulator = RadarSimulator(SMALL, AT_THE_ORIGIN)
    direction = np.array([0.8, 0.5, -np.sqrt(1 - 0.8**2 - 0.5**2)])
    cube = cube_of(simulator.points(300.0 * direction, None, 9000.0), SMALL)
    middle = cube[0, :, :, WAVEFORM.samples // 2].ravel()
    array = VirtualArray.for_config(SMALL)
    expected = array.steering(direction)
    np.testing.assert_allclose(middle / middle[0], expected / expected[0], atol=0.02)


def test_placements_are_the_rigs():
    assert HORIZONTAL.frame_id == "radar_h_link" and VERTICAL.frame_id == "radar_v_link"
    np.testing.assert_allclose(HORIZONTAL.position_m, [0, 0.05, 1])
    np.testing.assert_allclose(VERTICAL.position_m, [0, -0.05, 1])
    # The vertical radar's left is up; its own up is the world's right.
    np.testing.assert_allclose(VERTICAL.to_link([2.0, -0.05, 1.5]), [2.0, 0.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(VERTICAL.to_link([2.0, -0.55, 1.0]), [2.0, 0.0, 0.5], atol=1e-12)
    tilted = RadarPlacement("x", (0, 0, 0), roll=0.3, pitch=-0.2, yaw=1.1)
    np.testing.assert_allclose(tilted.rotation @ tilted.rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(
        RadarPlacement("x", (0, 0, 0), pitch=0.2).rotation[:, 0],  # REP-103: pitch dips the nose
        [np.cos(0.2), 0, -np.sin(0.2)],
    )


# Quantisation, noise, clutter


def test_samples_saturate():
    adc = RadarSimulator(SMALL, HORIZONTAL).points([2.0, 0.0, 1.0], None, 60000.0)
    assert adc.dtype == np.int16 and adc.size == SMALL.bytes_per_frame // 2
    assert adc.max() == 32767 and adc.min() == -32768


def test_noise_has_its_level_and_is_white_and_seeded():
    def silence(seed):
        simulator = RadarSimulator(CONFIG, scene=StaticScene.empty(), seed=seed)
        return simulator.points([2.0, 0, 1.0], None, 0.0, noise=True)

    adc = silence(1)
    assert adc.std() == pytest.approx(np.hypot(NOISE_COUNTS, np.sqrt(1 / 12)), rel=0.01)
    assert abs(adc.mean()) < 0.1
    samples = cube_of(adc, CONFIG)
    neighbours = np.mean(samples[..., 1:] * samples[..., :-1].conj())
    assert abs(neighbours) < 0.01 * np.mean(np.abs(samples) ** 2)
    np.testing.assert_array_equal(silence(1), adc)
    assert not np.array_equal(silence(2), adc)


def test_clutter_stands_still_and_the_back_wall_is_beyond_four_metres():
    for seed in range(5):
        scene = StaticScene.room(seed)
        simulator = RadarSimulator(CONFIG, scene=scene, noise_counts=0.0)
        cube = cube_of(simulator.points([2.0, 0, 1.0], None, 0.0, noise=True), CONFIG)
        assert np.abs(cube - cube[:1]).max() == 0
        assert 20 < np.abs(cube).max() < 5000
        on_back_wall = np.isclose(scene.positions_m[:, 0], scene.positions_m[:, 0].max())
        assert on_back_wall.sum() > 10 and scene.positions_m[on_back_wall, 0].min() > 4.2
    # The chain removes it completely, whatever it was.
    assert (
        np.abs(
            HeatmapProcessor(CONFIG).range_doppler(
                simulator.points([2.0, 0, 1.0], None, 0.0, noise=True)
            )
        ).max()
        < 1.0
    )


def test_odd_numbers_of_samples_are_refused():
    odd = replace(CONFIG, waveform=replace(WAVEFORM, samples=255), source="a.cfg")
    with pytest.raises(ConfigError, match=r"a\.cfg: 255 samples per chirp, want an even number"):
        RadarSimulator(odd)


def test_other_geometries_work():
    for loops, samples in ((1, 64), (85, 512), (50, 100), (127, 30)):
        config = replace(
            CONFIG,
            waveform=replace(
                WAVEFORM, loops=loops, samples=samples, sample_rate_hz=10e6, adc_start_time_s=5e-6
            ),
        )
        simulator = RadarSimulator(config, AT_THE_ORIGIN)
        adc = simulator.points([2.0, 0.5, 0.2], [0.0, 0.0, 0.0], 20000.0)
        expected = direct_sum(config, np.array([2.0, 0.5, 0.2]), np.zeros(3), 20000.0)
        # The outer antennas' paths are off by 2 mm where they multiply the slope: at the ends of
        # the band of 3 GHz that is 0.06 rad.
        np.testing.assert_allclose(cube_of(adc, config), expected, atol=0.06 * 20000.0)


# People


def test_the_pattern_has_its_beam_widths():
    pattern = AntennaPattern()

    def loss_db(azimuth_degrees, elevation_degrees):
        azimuth, elevation = np.radians([azimuth_degrees, elevation_degrees])
        point = [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
        # Amplitude after both ways falls like power after one.
        return -10 * np.log10(pattern.gain(3.0 * np.array(point)))

    assert loss_db(0, 0) == pytest.approx(0)
    assert loss_db(33, 0) == pytest.approx(3, abs=0.15)
    assert loss_db(-45, 0) == pytest.approx(6, abs=0.15)
    assert loss_db(0, 14) == pytest.approx(3, abs=0.15)
    assert loss_db(0, -20) == pytest.approx(6, abs=0.15)
    assert pattern.gain(np.array([-1.0, 0.1, 0.0])) == 0


def clip_at(x_m, y_m, motion="walk", seed=0, duration_s=4.0):
    rng = np.random.default_rng(seed)
    place = Place(x_m, y_m, np.arctan2(-y_m, -x_m))
    return generate(motion, BodyShape.average(1.75, skin_seed=5), duration_s, 10.0, rng, place)


def test_echoes_of_people_have_sensible_levels():
    for x_m in (1.9, 3.4):
        simulator = RadarSimulator(CONFIG, scene=StaticScene.empty(), noise_counts=0.0)
        peak = np.abs(simulator.frame(clip_at(x_m, 0.0, "stand"), 1.0)).max()
        assert 30 < peak < 1500


@pytest.mark.parametrize(("placement", "axis"), [(HORIZONTAL, 1), (VERTICAL, 2)])
def test_people_are_seen_where_they_are(placement, axis):
    processor = HeatmapProcessor(CONFIG, ROOM_BINS)
    row = processor.array.azimuth_row
    for seed, (x_m, y_m) in enumerate(((2.2, 0.5), (2.6, -0.6), (3.2, 0.2))):
        clip = clip_at(x_m, y_m, "wave", seed)
        simulator = RadarSimulator(CONFIG, placement, seed=seed)
        power = np.zeros((64, 64))
        for start_s in clip.times_s[5:25]:
            maps = processor.range_doppler(simulator.frame(clip, start_s))[row]
            spectrum = np.fft.fftshift(np.fft.fft(maps, 64, axis=0), axes=0)
            power += (np.abs(spectrum) ** 2).sum(axis=1)
        angle, range_bin = np.unravel_index(power.argmax(), power.shape)
        joints_m = clip.joints_m[5:25].reshape(-1, 3)
        link_m = placement.to_link(joints_m)
        ranges_m = np.linalg.norm(link_m, axis=1)
        sines = link_m[:, 1] / ranges_m
        # The near surface is up to a trunk's depth before the joints.
        assert ranges_m.min() - 0.3 < processor.range_axis_m[range_bin] < ranges_m.max()
        assert sines.min() - 0.06 < processor.sine_axis[angle] < sines.max() + 0.06
        if axis == 1:
            assert processor.sine_axis[angle] == pytest.approx(y_m / np.hypot(x_m, y_m), abs=0.2)


def test_a_punch_shows_its_velocity():
    clip = clip_at(2.5, 0.0, "box", seed=4)
    wrists_m = clip.joints_at(np.arange(0, 4, 0.01))[:, [10, 13]]
    speed_mps = np.gradient(
        np.linalg.norm(wrists_m - HORIZONTAL.position_m, axis=-1), 0.01, axis=0
    )
    start_s = 0.01 * speed_mps.min(axis=1).argmin() - 0.014
    fastest_mps = speed_mps.min()
    assert fastest_mps < -1.0
    spectrum = spectrum_of(RadarSimulator(CONFIG).frame(clip, start_s), CONFIG)
    power = (np.abs(spectrum[:, :, 31:80]) ** 2).sum(axis=(1, 2))
    strong = np.flatnonzero(power > 30 * np.median(power))
    velocity_mps = WAVEFORM.velocity_axis_mps()[strong]
    assert velocity_mps.min() == pytest.approx(
        fastest_mps, abs=0.5
    )  # the hand is beyond the wrist
    assert velocity_mps.max() < 1.0


def test_breathing_keeps_who_stands_visible():
    processor = HeatmapProcessor(CONFIG, ROOM_BINS)
    clip = clip_at(2.5, 0.0, "stand")
    with_person = processor.range_doppler(RadarSimulator(CONFIG, seed=1).frame(clip, 1.0))
    simulator = RadarSimulator(CONFIG, seed=1)
    empty = processor.range_doppler(simulator.points([2.5, 0, 1], None, 0.0, noise=True))
    assert np.abs(with_person).max() > 5 * np.abs(empty).max()


def test_frames_follow_the_clip_and_are_reproducible():
    clip = clip_at(2.5, 0.3, duration_s=0.5)
    one = list(RadarSimulator(CONFIG, seed=3).frames(clip))
    assert len(one) == 5
    simulator = RadarSimulator(CONFIG, seed=3)
    for frame, start_s in zip(one, clip.times_s, strict=True):
        np.testing.assert_array_equal(frame, simulator.frame(clip, start_s))
    assert not np.array_equal(one[0], one[1])


# The short way


@pytest.mark.parametrize(
    "heatmap",
    [
        HeatmapConfig(),
        ROOM_BINS,
        replace(ROOM_BINS, chirps="central_doppler"),
        replace(ROOM_BINS, clutter_mean="kept"),
    ],
)
@pytest.mark.parametrize("tx_order", [(1, 2, 3), (1, 3, 2)])
def test_the_short_way_gives_the_same_echo(heatmap, tx_order):
    config = replace(CONFIG, tx_order=tx_order)
    clip = random_sequence(np.random.default_rng(1), 5.0, 10.0, "train")
    # Loud, so that rounding to counts hides nothing.
    simulator = RadarSimulator(
        config, VERTICAL, scene=StaticScene.empty(), noise_counts=0.0, gain_counts_m=40000.0
    )
    processor = HeatmapProcessor(config, heatmap)
    for start_s in (0.5, 2.0):
        long = processor.range_doppler(simulator.frame(clip, start_s))
        short = simulator.range_doppler(clip, start_s, processor)
        assert short.dtype == np.complex64 and short.shape == long.shape
        error = np.linalg.norm(short - long) / np.linalg.norm(long)
        assert error < 2e-3


@pytest.mark.parametrize(
    "heatmap",
    [
        ROOM_BINS,
        replace(ROOM_BINS, clutter_mean="kept"),
        replace(ROOM_BINS, chirps="central_doppler"),
    ],
)
def test_the_short_way_has_the_same_noise(heatmap):
    processor = HeatmapProcessor(CONFIG, heatmap)
    simulator = RadarSimulator(CONFIG, scene=StaticScene.room(2), seed=5)
    long = np.stack(
        [
            processor.range_doppler(simulator.points([2, 0, 1], None, 0.0, noise=True))
            for _ in range(12)
        ]
    )
    short = np.stack([simulator._range_doppler_noise(processor) for _ in range(12)])

    def covariance(maps):
        by_doppler = np.moveaxis(maps, 2, 0).reshape(maps.shape[2], -1)
        return by_doppler @ by_doppler.conj().T / by_doppler.shape[1]

    scale = np.trace(covariance(long)).real / len(covariance(long))
    np.testing.assert_allclose(covariance(short) / scale, covariance(long) / scale, atol=0.06)


def test_the_short_way_says_what_it_cannot_do():
    clip = clip_at(2.5, 0.0, duration_s=0.5)
    simulator = RadarSimulator(CONFIG)
    for heatmap in (
        replace(ROOM_BINS, window="hann"),
        replace(ROOM_BINS, tdm_compensation=True),
        replace(ROOM_BINS, clutter_removal=False),
    ):
        with pytest.raises(ValueError, match="only without window"):
            simulator.range_doppler(clip, 0.0, HeatmapProcessor(CONFIG, heatmap))
