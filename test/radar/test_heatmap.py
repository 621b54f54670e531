"""The heatmap chain against physics, against the published steps written out, and a real frame.

The oracle for point targets is the beat signal itself, from the ways between the antennas and a
moving target, in double precision. It shares no code with the chain or the simulator.
"""

import dataclasses

import numpy as np
import pytest

from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.heatmap import (
    HeatmapConfig,
    HeatmapProcessor,
    angle_matrix,
    angle_transform,
    four_dimensional,
    four_dimensional_transform,
    hann_window,
)
from radar_pose_ros.radar.ti_config import load_mmwave_studio
from radar_pose_ros.radar.virtual_array import VirtualArray
from radar_pose_ros.radar.waveform import Waveform

LIGHT = 299_792_458.0
REFERENCE = RadarConfig(
    "IWR1843",
    Waveform(77e9, 60.012e12, 4.4e6, 256, 7e-6, 6e-6, 65e-6, 128, 3, 0.1),
    (1, 2, 3),
    (1, 2, 3, 4),
    "QI",
)
SMALL = RadarConfig(
    "IWR1843",
    Waveform(77e9, 60.012e12, 4.4e6, 16, 7e-6, 6e-6, 65e-6, 18, 3, 0.1),
    (1, 3, 2),
    (1, 2, 3, 4),
    "IQ",
)
# Half wavelengths in the link frame's (y, z), from the board's drawing.
TX = {1: (0, 0), 2: (-2, 1), 3: (-4, 0)}
RX = {1: (0, 0), 2: (-1, 0), 3: (-2, 0), 4: (-3, 0)}


def centre_frequency_hz(config):
    """Mean frequency while samples are taken: what phases over antennas and chirps belong to."""
    w = config.waveform
    middle_s = w.adc_start_time_s + (w.samples - 1) / 2 / w.sample_rate_hz
    return w.start_frequency_hz + w.slope_hz_per_s * middle_s


def beat_signal(config, position_m, velocity_mps, amplitude=500.0):
    """Beat signal of a target that moves along the line of sight, (loops, tx, rx, samples).

    ``exp(2 pi j way / c (f0 + S t))``, the way from transmitter over target to receiver being that
    at the moment of each sample. ``position_m`` is where the target is in the middle of the frame.
    """
    w = config.waveform
    loops, slots, _, samples = config.adc_shape
    half = LIGHT / centre_frequency_hz(config) / 2
    ramp_s = w.adc_start_time_s + np.arange(samples) / w.sample_rate_hz
    frequency_hz = w.start_frequency_hz + w.slope_hz_per_s * ramp_s
    chirp_s = (np.arange(loops * slots) * w.chirp_time_s).reshape(loops, slots, 1)
    time_s = chirp_s + w.idle_time_s + ramp_s - loops * slots * w.chirp_time_s / 2
    moving = np.exp(2j * np.pi * (2 * velocity_mps * time_s) / LIGHT * frequency_hz)
    still_m = [
        [
            sum(np.linalg.norm(position_m - half * np.array([0, *at])) for at in (TX[i], RX[j]))
            for j in config.rx_antennas
        ]
        for i in config.tx_order
    ]
    still = np.exp(2j * np.pi * np.array(still_m)[..., None] / LIGHT * frequency_hz)
    return amplitude * moving[:, :, None, :] * still


def to_wire(cube, iq_order):
    """Complex (loops, tx, rx, samples) to flat int16 in the capture card's order."""
    wire = np.empty((*cube.shape[:-1], cube.shape[-1] // 2, 2, 2), np.int16)
    pairs = cube.reshape(wire.shape[:-1])
    first, second = (pairs.real, pairs.imag) if iq_order == "IQ" else (pairs.imag, pairs.real)
    wire[..., 0, :] = np.rint(first)
    wire[..., 1, :] = np.rint(second)
    return wire.ravel()


def from_wire(adc, config):
    """Flat int16 to complex128 (loops, tx, rx, samples), written out sample by sample."""
    values = adc.reshape(-1, 4).astype(float)
    first, second = values[:, :2].ravel(), values[:, 2:].ravel()
    samples = first + 1j * second if config.iq_order == "IQ" else second + 1j * first
    return samples.reshape(config.adc_shape)


def literal_chain(adc, config, heatmap, chirp_valid=None):
    """The published steps one after the other on the whole cube, in double precision."""
    cube = from_wire(adc, config)
    loops, slots, _, samples = cube.shape
    valid = np.ones((loops, slots), bool)
    if chirp_valid is not None:
        valid = np.asarray(chirp_valid).reshape(loops, slots) != 0
    if heatmap.chirps == "subsample":
        stride = loops // heatmap.doppler_bins
        kept = np.arange(heatmap.doppler_bins) * stride
    else:
        kept = np.arange(loops)
    for slot in range(slots):
        in_mean = valid[:, slot].copy()
        if heatmap.clutter_mean == "kept":
            in_mean &= np.isin(np.arange(loops), kept)
        if heatmap.clutter_removal and in_mean.any():
            cube[:, slot] -= cube[in_mean, slot].mean(axis=0)
        cube[~valid[:, slot], slot] = 0
    cube = cube[kept]
    if heatmap.window == "hann":
        for axis in (0, 3):
            n = np.arange(cube.shape[axis]) + 0.5
            shape = [-1 if a == axis else 1 for a in range(4)]
            cube = cube * (0.5 - 0.5 * np.cos(2 * np.pi * n / len(n))).reshape(shape)
    spectrum = np.fft.fftshift(np.fft.fft(np.fft.fft(cube, axis=3), axis=0), axes=0)
    bins = np.arange(len(kept)) - len(kept) // 2
    if heatmap.tdm_compensation:
        late = np.arange(slots) / slots
        spectrum *= np.exp(-2j * np.pi * np.outer(bins / len(kept), late))[:, :, None, None] ** (
            len(kept) / (heatmap.doppler_bins * stride if heatmap.chirps == "subsample" else loops)
        )
    middle = len(kept) // 2
    spectrum = spectrum[
        middle - heatmap.doppler_bins // 2 : middle + (heatmap.doppler_bins + 1) // 2
    ]
    by_transmitter = np.argsort(config.tx_order)
    antennas = spectrum[:, by_transmitter].reshape(heatmap.doppler_bins, -1, samples)
    angle = np.fft.fftshift(np.fft.fft(antennas, n=heatmap.angle_bins, axis=1), axes=1)
    first = heatmap.range_first
    return angle.transpose(1, 0, 2)[..., first : first + heatmap.range_bins]


def relative_error(actual, expected):
    return np.abs(actual - expected).max() / np.abs(expected).max()


def noise_frame(config, seed, full_scale=3000):
    rng = np.random.default_rng(seed)
    return rng.integers(-full_scale, full_scale, config.bytes_per_frame // 2).astype(np.int16)


def spherical(range_m, azimuth, elevation):
    return range_m * np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )


def wrapped(difference, period):
    return (difference + period / 2) % period - period / 2


# --- point targets ---------------------------------------------------------------------------


@pytest.mark.parametrize(("tx_order", "iq_order"), [((1, 2, 3), "QI"), ((1, 3, 2), "IQ")])
def test_random_point_targets_land_in_the_predicted_bins(tx_order, iq_order):
    """250 targets in either order: range, Doppler and angle within one bin.

    The angle bin of all twelve antennas as one vector is predicted from the array's manifold and
    the phase that the movement gathers between the time slots; from a few directions it has two
    peaks within 1 % of each other, and either will do. Velocities alias in eight chirps, which is
    predicted too.
    """
    config = dataclasses.replace(REFERENCE, tx_order=tx_order, iq_order=iq_order)
    processor = HeatmapProcessor(config)
    array = VirtualArray.for_config(config)
    w = config.waveform
    wavelength_m = LIGHT / centre_frequency_hz(config)
    velocity_bin_mps = wavelength_m / (2 * w.active_time_s)
    rng = np.random.default_rng(12)
    worst = np.zeros(3)
    for _ in range(250):
        range_m = rng.uniform(0.5, 10.0)
        azimuth, elevation = np.deg2rad(rng.uniform(-60, 60)), np.deg2rad(rng.uniform(-15, 15))
        # Above one bin, so that it is not clutter; below 2 m/s, so that it stays in a range bin.
        velocity_mps = rng.choice([-1, 1]) * rng.uniform(velocity_bin_mps, 2.0)
        position_m = spherical(range_m, azimuth, elevation)
        heatmap = processor(to_wire(beat_signal(config, position_m, velocity_mps), iq_order))
        angle, doppler, distance = np.unravel_index(np.abs(heatmap).argmax(), heatmap.shape)

        late_s = array.firing_slot * w.chirp_time_s
        phase = array.phase(position_m / range_m)
        phase += 2 * np.pi * (2 * velocity_mps / wavelength_m) * late_s
        spectrum = np.abs(np.fft.fftshift(np.fft.fft(np.exp(1j * phase), n=64)))
        highest = np.flatnonzero(spectrum > 0.99 * spectrum.max())
        errors = (
            np.abs(wrapped(angle - highest, 64)).min(),
            wrapped(doppler - (4 + velocity_mps / velocity_bin_mps), 8),
            distance - range_m / w.range_resolution_m,
        )
        worst = np.maximum(worst, np.abs(errors))
    assert np.all(worst <= 1), f"largest error in bins (angle, Doppler, range): {worst}"


def test_azimuth_row_alone_has_the_closed_form_bin():
    """Eight elements on a line: bin = 32 + 32 sin(azimuth) cos(elevation)."""
    processor = HeatmapProcessor(REFERENCE, HeatmapConfig(tdm_compensation=True))
    row = VirtualArray.for_config(REFERENCE).azimuth_row
    w = REFERENCE.waveform
    rng = np.random.default_rng(5)
    for _ in range(60):
        azimuth, elevation = np.deg2rad(rng.uniform(-65, 65)), np.deg2rad(rng.uniform(-20, 20))
        position_m = spherical(rng.uniform(1, 9), azimuth, elevation)
        velocity_mps = rng.choice([-1, 1]) * rng.uniform(1.0, 3.0) * w.velocity_resolution_mps
        adc = to_wire(beat_signal(REFERENCE, position_m, velocity_mps), "QI")
        power = np.abs(angle_transform(processor.range_doppler(adc)[row]))
        angle, doppler, distance = np.unravel_index(power.argmax(), power.shape)
        range_m = np.linalg.norm(position_m)
        sine = position_m[1] / range_m
        assert abs(angle - (32 + 32 * sine)) <= 1
        assert abs(processor.sine_axis[angle] - sine) <= 1 / 32
        assert (
            abs(processor.velocity_axis_mps[doppler] - velocity_mps) <= w.velocity_resolution_mps
        )
        assert abs(processor.range_axis_m[distance] - range_m) <= w.range_resolution_m


def test_central_doppler_bins_leave_out_fast_movement():
    processor = HeatmapProcessor(REFERENCE, HeatmapConfig(chirps="central_doppler"))
    resolution_mps = REFERENCE.waveform.velocity_resolution_mps
    power = []
    for bins in (3, 20):
        cube = beat_signal(REFERENCE, (3.0, 0.2, 0.0), bins * resolution_mps)
        heatmap = np.abs(processor(to_wire(cube, "QI")))
        power.append(heatmap.max())
        if bins == 3:
            assert heatmap.max(axis=(0, 2)).argmax() == 4 + 3
    assert power[1] < 0.1 * power[0]
    assert power[0] == pytest.approx(500 * 256 * 128 * 12, rel=0.15)


def test_tdm_compensation_brings_a_moving_target_to_its_angle():
    """At 1.5 m/s the slots of Tx1 and Tx3 are 0.7 rad apart: the angle is off by 3 degrees."""
    position_m, velocity_mps = spherical(3.0, np.deg2rad(20.0), 0.0), 1.5
    adc = to_wire(beat_signal(REFERENCE, position_m, velocity_mps), "QI")
    row = VirtualArray.for_config(REFERENCE).azimuth_row
    w = REFERENCE.waveform
    found = {}
    for compensation in (False, True):
        chain = HeatmapConfig(
            chirps="central_doppler", doppler_bins=64, tdm_compensation=compensation
        )
        cube = HeatmapProcessor(REFERENCE, chain).range_doppler(adc)
        power = np.abs(angle_transform(cube[row], 512))
        angle, _, _ = np.unravel_index(power.argmax(), power.shape)
        found[compensation] = (angle - 256) / 256
    assert found[True] == pytest.approx(np.sin(np.deg2rad(20.0)), abs=1 / 256)
    # Two slots later, four half wavelengths on.
    late_turns = 2 * velocity_mps * centre_frequency_hz(REFERENCE) / LIGHT * 2 * w.chirp_time_s
    assert found[False] - found[True] == pytest.approx(2 * late_turns / 4, abs=0.02)


# --- identities ------------------------------------------------------------------------------


@pytest.mark.parametrize("clutter_removal", [True, False])
def test_parseval(clutter_removal):
    """Energy of the heatmap = 64 * 8 * 256 times the energy of the samples that went in."""
    adc = noise_frame(REFERENCE, seed=1)
    heatmap = HeatmapProcessor(REFERENCE, HeatmapConfig(clutter_removal=clutter_removal))(adc)
    cube = from_wire(adc, REFERENCE)
    if clutter_removal:
        cube = cube - cube.mean(axis=0)
    energy = 64 * 8 * 256 * np.sum(np.abs(cube[::16]) ** 2)
    assert np.sum(np.abs(heatmap.astype(complex)) ** 2) == pytest.approx(energy, rel=1e-6)


@pytest.mark.parametrize(
    "chain",
    [
        HeatmapConfig(),
        HeatmapConfig(clutter_removal=False),
        HeatmapConfig(clutter_mean="kept"),
        HeatmapConfig(window="hann"),
        HeatmapConfig(tdm_compensation=True),
        HeatmapConfig(range_first=31, range_bins=64),
        HeatmapConfig(doppler_bins=16, angle_bins=128, window="hann", tdm_compensation=True),
        HeatmapConfig(chirps="central_doppler"),
        HeatmapConfig(chirps="central_doppler", clutter_removal=False, window="hann"),
        HeatmapConfig(chirps="central_doppler", tdm_compensation=True, doppler_bins=16),
        HeatmapConfig(chirps="central_doppler", doppler_bins=128),
    ],
)
@pytest.mark.parametrize("lost", [0, 40])
def test_fast_chain_equals_the_published_steps(chain, lost):
    adc = noise_frame(REFERENCE, seed=2)
    adc = (adc // 2 + np.tile(noise_frame(REFERENCE, seed=3)[: 3 * 2048], 128) // 2).astype(
        np.int16
    )
    chirp_valid = None
    if lost:
        chirp_valid = np.ones(384, np.uint8)
        chirp_valid[np.random.default_rng(4).choice(384, lost, replace=False)] = 0
    heatmap = HeatmapProcessor(REFERENCE, chain)(adc, chirp_valid)
    assert heatmap.dtype == np.complex64
    assert heatmap.shape == (chain.angle_bins, chain.doppler_bins, chain.range_bins)
    assert relative_error(heatmap, literal_chain(adc, REFERENCE, chain, chirp_valid)) < 1e-5


@pytest.mark.parametrize("chirps", ["subsample", "central_doppler"])
@pytest.mark.parametrize("doppler_bins", [4, 5, 18])
def test_odd_shapes(chirps, doppler_bins):
    """18 loops that eight does not divide, 16 samples, firing order 1, 3, 2, two transmitters."""
    chain = HeatmapConfig(chirps=chirps, doppler_bins=doppler_bins, range_bins=16)
    adc = noise_frame(SMALL, seed=6)
    assert (
        relative_error(HeatmapProcessor(SMALL, chain)(adc), literal_chain(adc, SMALL, chain))
        < 1e-5
    )
    two = RadarConfig(
        "IWR6843ISK", dataclasses.replace(SMALL.waveform, transmitters=2), (3, 1), (1, 2), "QI"
    )
    adc = noise_frame(two, seed=7)
    assert relative_error(HeatmapProcessor(two, chain)(adc), literal_chain(adc, two, chain)) < 1e-5


def test_crop_equals_slice():
    adc = noise_frame(REFERENCE, seed=8)
    whole = HeatmapProcessor(REFERENCE)
    crop = HeatmapProcessor(REFERENCE, HeatmapConfig(range_first=31, range_bins=64))
    assert relative_error(crop(adc), whole(adc)[..., 31:95]) < 1e-6
    assert np.array_equal(crop.range_axis_m, whole.range_axis_m[31:95])
    assert crop.range_axis_m[[0, -1]] == pytest.approx([1.33, 4.03], abs=0.01)


def test_clutter_is_removed_and_movement_stays():
    wall = beat_signal(REFERENCE, (2.0, 0.0, 0.0), 0.0, amplitude=8000)
    person = beat_signal(REFERENCE, (3.0, 0.0, 0.0), 0.14, amplitude=50)
    adc = to_wire(wall + person, "QI")
    profile = np.abs(HeatmapProcessor(REFERENCE)(adc)).max(axis=(0, 1))
    assert profile.argmax() == round(3.0 / REFERENCE.waveform.range_resolution_m)
    raw = np.abs(HeatmapProcessor(REFERENCE, HeatmapConfig(clutter_removal=False))(adc))
    assert raw.max(axis=(0, 1)).argmax() == round(2.0 / REFERENCE.waveform.range_resolution_m)


def test_kept_mean_empties_the_zero_doppler_bin_and_all_mean_does_not():
    """A velocity that eight chirps alias to standstill survives only the mean over all chirps."""
    alias_mps = 8 * REFERENCE.waveform.velocity_resolution_mps
    adc = to_wire(beat_signal(REFERENCE, (3.0, 0.0, 0.0), alias_mps), "QI")
    with_all = np.abs(HeatmapProcessor(REFERENCE)(adc)).max(axis=(0, 2))
    with_kept = np.abs(HeatmapProcessor(REFERENCE, HeatmapConfig(clutter_mean="kept"))(adc))
    assert with_all.argmax() == 4
    assert with_kept[:, 4].max() < 1e-5 * with_all[4]


def test_hann_window():
    window = hann_window(8)
    spectrum = np.abs(np.fft.fft(window))
    assert window.min() > 0
    assert spectrum == pytest.approx([4, 2, 0, 0, 0, 0, 0, 2], abs=1e-12)
    # A target far away must not hide another one 40 dB weaker, twenty bins off.
    resolution_m = REFERENCE.waveform.range_resolution_m
    strong = beat_signal(REFERENCE, (40.5 * resolution_m, 0, 0), 0.14, amplitude=8000)
    adc = to_wire(strong, "QI")
    leakage = {}
    for name in ("none", "hann"):
        profile = np.abs(HeatmapProcessor(REFERENCE, HeatmapConfig(window=name))(adc)).max((0, 1))
        leakage[name] = 20 * np.log10(profile[61] / profile.max())
    assert leakage["none"] > -40
    assert leakage["hann"] < -70


# --- missing chirps, wrong input --------------------------------------------------------------


def test_missing_chirps_do_not_disturb_a_still_scene():
    """Zeros of lost chirps would look like movement of everything; the mask prevents it."""
    adc = to_wire(beat_signal(REFERENCE, (2.0, 0.5, 0.0), 0.0, amplitude=8000), "QI")
    chirp_valid = np.ones(384, np.uint8)
    chirp_valid[[0, 48, 100, 101, 102, 200, 384 - 48]] = 0
    adc.reshape(384, -1)[chirp_valid == 0] = 0
    for chirps in ("subsample", "central_doppler"):
        processor = HeatmapProcessor(REFERENCE, HeatmapConfig(chirps=chirps))
        blind = np.abs(processor(adc)).max()
        masked = np.abs(processor(adc, chirp_valid)).max()
        assert masked < 1e-3 * blind


def test_all_chirps_of_a_transmitter_missing():
    adc = noise_frame(REFERENCE, seed=9)
    chirp_valid = np.ones((128, 3), np.uint8)
    chirp_valid[:, 1] = 0
    for chirps in ("subsample", "central_doppler"):
        processor = HeatmapProcessor(REFERENCE, HeatmapConfig(chirps=chirps))
        cube = processor.range_doppler(adc, chirp_valid)
        assert np.all(cube[4:8] == 0)
        assert np.all(np.isfinite(cube))
        assert np.array_equal(cube[:4], processor.range_doppler(adc)[:4])


def test_valid_ratio_counts_the_chirps_used():
    chirp_valid = np.ones(384, np.uint8)
    chirp_valid[[3, 4, 5]] = 0  # loop 1, which subsampling leaves out
    chirp_valid[48] = 0  # loop 16, first transmitter
    subsample = HeatmapProcessor(REFERENCE)
    assert subsample.chirps_used.tolist() == [48 * i + slot for i in range(8) for slot in range(3)]
    assert subsample.valid_ratio(chirp_valid) == pytest.approx(23 / 24)
    central = HeatmapProcessor(REFERENCE, HeatmapConfig(chirps="central_doppler"))
    assert central.valid_ratio(chirp_valid) == pytest.approx(380 / 384)
    assert central.valid_ratio() == 1.0
    assert np.array_equal(central.chirps_used, np.arange(384))


@pytest.mark.parametrize(
    ("adc", "mask", "sentence"),
    [
        (np.zeros(100, np.int16), None, "786432 int16 values, got 100"),
        (np.zeros(786432, np.float32), None, "int16.*float32"),
        (np.zeros(786432, np.int16), np.ones(128), "128 loops x 3 transmitters = 384, got 128"),
    ],
)
def test_wrong_frames_are_refused(adc, mask, sentence):
    with pytest.raises(ValueError, match=sentence):
        HeatmapProcessor(REFERENCE)(adc, mask)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"doppler_bins": 0}, "doppler_bins must be at least 1"),
        ({"doppler_bins": 200}, "doppler_bins = 200.*128 loops"),
        ({"range_first": -1}, "range_first must not be negative"),
        ({"range_first": 200, "range_bins": 64}, "200 to 263.*bins 0 to 255"),
        ({"angle_bins": 8}, "12 antennas do not fit into angle_bins = 8"),
        ({"chirps": "first"}, "one of subsample, central_doppler, got 'first'"),
        ({"window": "kaiser"}, "one of none, hann"),
        ({"clutter_mean": "some"}, "one of all, kept"),
    ],
)
def test_wrong_choices_are_refused(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        HeatmapProcessor(REFERENCE, HeatmapConfig(**values))


def test_odd_number_of_samples_is_refused():
    odd = dataclasses.replace(SMALL, waveform=dataclasses.replace(SMALL.waveform, samples=15))
    with pytest.raises(ConfigError, match="pairs, but 15 is odd"):
        HeatmapProcessor(odd, HeatmapConfig(range_bins=8))


# --- module functions ------------------------------------------------------------------------


def test_angle_transform_of_stored_cubes():
    adc = noise_frame(REFERENCE, seed=10)
    processor = HeatmapProcessor(REFERENCE)
    cube = processor.range_doppler(adc)
    batch = np.stack([[cube, 2 * cube], [cube * 1j, -cube], [cube, cube]])
    result = angle_transform(batch)
    assert result.shape == (3, 2, 64, 8, 256)
    assert relative_error(result[1, 0], 1j * processor(adc)) < 1e-6
    assert relative_error(result[0, 1], 2 * processor(adc)) < 1e-6
    assert not angle_matrix(64, 12).flags.writeable
    with pytest.raises(ValueError, match=r"antennas, doppler, range.*\(8, 256\)"):
        angle_transform(cube[0])


def literal_antenna_plane(lower, upper, azimuth_bins, elevation_bins):
    """HuPR's transforms over antennas for one range-Doppler cell, one vector at a time.

    Returns (azimuth, elevation), shifted and reversed.
    """
    plane = np.zeros((elevation_bins, azimuth_bins), complex)
    plane[0, :8] = lower
    plane[1, 2:6] = upper
    for column in (2, 3, 4, 5):
        plane[:, column] = np.fft.fft(plane[:, column])
    for row in range(elevation_bins):
        plane[row] = np.fft.fft(plane[row])
    return np.fft.fftshift(plane).T[::-1, ::-1]


def literal_four_dimensional(adc, config, ranges, doppler_bins, azimuth_bins, elevation_bins):
    """HuPR's steps as the specification lists them."""
    cube = from_wire(adc, config)
    loops, _, receivers, _ = cube.shape
    slot = {tx: index for index, tx in enumerate(config.tx_order)}

    def spectrum(tx, receiver):
        chirps = cube[:, slot[tx], receiver]
        return np.fft.fftshift(np.fft.fft2(chirps - chirps.mean(axis=0)), axes=0)

    lower = np.array([spectrum(tx, rx) for tx in (1, 3) for rx in range(receivers)])
    upper = np.array([spectrum(2, rx) for rx in range(receivers)])
    result = np.zeros((doppler_bins, len(ranges), azimuth_bins, elevation_bins), complex)
    for doppler in range(doppler_bins):
        loop = loops // 2 - doppler_bins // 2 + doppler
        for index, sample in enumerate(reversed(ranges)):  # far to near
            result[doppler, index] = literal_antenna_plane(
                lower[:, loop, sample], upper[:, loop, sample], azimuth_bins, elevation_bins
            )
    return result


def test_four_dimensional_equals_the_specification_written_out():
    adc = noise_frame(SMALL, seed=11)
    result = four_dimensional(
        adc, SMALL, doppler_bins=6, range_first=3, range_bins=5, azimuth_bins=16, elevation_bins=8
    )
    expected = literal_four_dimensional(adc, SMALL, range(3, 8), 6, 16, 8)
    assert result.shape == (6, 5, 16, 8)
    assert relative_error(result, expected) < 1e-5


def test_four_dimensional_places_a_target():
    """HuPR's file layout: (Doppler, range falling, azimuth reversed, elevation reversed)."""
    waveform = dataclasses.replace(REFERENCE.waveform, loops=64)
    config = dataclasses.replace(REFERENCE, waveform=waveform)
    array = VirtualArray.for_config(config)
    rng = np.random.default_rng(13)
    for _ in range(20):
        azimuth, elevation = np.deg2rad(rng.uniform(-60, 60)), np.deg2rad(rng.uniform(-40, 40))
        range_bin, doppler_bin = int(rng.integers(32, 94)), int(rng.choice([-3, -2, -1, 1, 2, 3]))
        position_m = spherical(range_bin * waveform.range_resolution_m, azimuth, elevation)
        signal = beat_signal(config, position_m, doppler_bin * waveform.velocity_resolution_mps)
        heatmap = np.abs(four_dimensional(to_wire(signal, "QI"), config))
        assert heatmap.shape == (16, 64, 64, 8)
        doppler, distance, column, row = np.unravel_index(heatmap.argmax(), heatmap.shape)
        assert abs(doppler - (8 + doppler_bin)) <= 1
        assert abs(distance - (94 - range_bin)) <= 1

        direction = spherical(1.0, azimuth, elevation)
        phase = array.phase(direction)
        phase += 2 * np.pi * doppler_bin * array.firing_slot / (3 * 64)
        steering = np.exp(1j * phase)
        plane = np.abs(
            literal_antenna_plane(steering[array.azimuth_row], steering[array.upper_row], 64, 8)
        )
        expected = np.unravel_index(plane.argmax(), plane.shape)
        assert abs(column - expected[0]) <= 1
        assert row == expected[1]
        # The published azimuth axis runs from left to right.
        assert abs(column - (31 - 32 * direction[1])) <= 3


def test_four_dimensional_needs_all_antennas():
    with pytest.raises(ValueError, match="all three transmitters and four receivers"):
        four_dimensional_transform(np.zeros((8, 16, 64), np.complex64))


def test_the_benchmarks_peers_compute_the_same():
    """The chains it is compared with are no straw men: same frame, same result."""
    from benchmarks import heatmap as peers

    adc = noise_frame(peers.CONFIG, seed=14)
    whole = np.fft.fftshift(peers.conventional_four_dimensional(adc), axes=(0, 1, 2))
    kept = whole[:, :, 64 - 8 : 64 + 8, 94:30:-1].transpose(2, 3, 1, 0)[:, :, ::-1, ::-1]
    assert relative_error(four_dimensional(adc, peers.CONFIG), kept) < 1e-5
    assert relative_error(HeatmapProcessor(peers.CONFIG)(adc), peers.textbook(adc)) < 1e-5


# --- recordings ------------------------------------------------------------------------------


def profile_db(config, adc, **chain):
    """Power per range bin in dB, mean over antennas and Doppler."""
    chain = HeatmapConfig(range_bins=config.waveform.samples, window="hann", **chain)
    processor = HeatmapProcessor(config, chain)
    power = np.mean(np.abs(processor.range_doppler(adc)) ** 2, axis=(0, 1))
    return processor.range_axis_m, 10 * np.log10(power)


@pytest.fixture
def recorded(shared_data):
    """A frame of a real IWR6843ISK in a room where nobody moves: configuration, samples."""
    folder = shared_data / "radar_adc" / "iwr6843_frame"
    config = load_mmwave_studio(
        folder / "mmwaveDevice.mmwave.json", folder / "CaptureSetup.setup.json"
    )
    return config, np.fromfile(folder / "adc_data.bin", np.int16)


def test_recorded_room_has_its_furniture_and_its_wall(recorded):
    """Furniture between 1 and 4 m and a wall near 8.4 m, well above the floor between them."""
    config, adc = recorded
    range_m, profile = profile_db(config, adc, clutter_removal=False)
    furniture = profile[(range_m > 1.0) & (range_m < 4.0)]
    between = np.median(profile[(range_m > 5.0) & (range_m < 7.0)])
    near_wall = (range_m > 7.5) & (range_m < 9.5)
    wall_m = range_m[near_wall][profile[near_wall].argmax()]
    assert wall_m == pytest.approx(8.4, abs=0.15)
    assert profile[near_wall].max() > between + 20
    assert furniture.max() > between + 35
    assert np.mean(furniture > between + 10) > 0.8
    # Strongest return of all, leaving out the antennas' own coupling in the first bins.
    assert 1.0 < range_m[8:][profile[8:].argmax()] < 4.0


def test_recorded_samples_are_in_phase_first(recorded):
    """The other order of I and Q mirrors the range axis: the room would end behind the wall."""
    config, adc = recorded
    assert config.iq_order == "IQ"
    for iq_order, share in (("IQ", 0.9), ("QI", 0.1)):
        config = dataclasses.replace(config, iq_order=iq_order)
        range_m, profile = profile_db(config, adc, clutter_removal=False)
        power = 10 ** (profile / 10)
        low = power[range_m < config.waveform.max_range_m / 2].sum() / power.sum()
        assert (low > share) == (iq_order == "IQ")


def test_recorded_room_stands_still(recorded):
    """Clutter removal takes the wall away; what is left moves by no more than one Doppler bin."""
    config, adc = recorded
    range_m, still = profile_db(config, adc, clutter_removal=False)
    _, moving = profile_db(config, adc)
    wall = np.argmin(np.abs(range_m - 8.48))
    assert still[wall] - moving[wall] > 25
    chain = HeatmapConfig(doppler_bins=85, chirps="central_doppler", range_bins=110)
    spectrum = np.abs(HeatmapProcessor(config, chain).range_doppler(adc)) ** 2
    by_doppler = spectrum.sum(axis=(0, 2))
    floor = np.median(by_doppler)
    assert by_doppler[[41, 43]].min() > 30 * floor
    assert np.delete(by_doppler, slice(38, 47)).max() < 3 * floor
    assert by_doppler[42] < 1e-3 * floor


def test_recorded_wall_lies_in_front(recorded):
    """The wall's reflection comes from near the boresight, in the row and in all twelve."""
    config, adc = recorded
    processor = HeatmapProcessor(config, HeatmapConfig(clutter_removal=False, window="hann"))
    cube = processor.range_doppler(adc)[..., 211:222]
    for antennas in (processor.array.azimuth_row, slice(None)):
        power = np.sum(np.abs(angle_transform(cube[antennas])) ** 2, axis=(1, 2))
        assert abs(processor.sine_axis[power.argmax()]) < 0.1


def test_openradar_example_moves_both_ways(shared_data):
    """A person 60 bins away, limbs both ways; phases over the eight antennas on a line."""
    stored = np.load(shared_data / "radar_adc" / "openradar" / "doppler_example_1.npy")
    # The file holds the 16-bit patterns of the samples as unsigned numbers.
    parts = np.stack([stored.real, stored.imag], axis=-1).astype(np.uint16).view(np.int16)
    cube = parts[..., 0] + 1j * parts[..., 1].astype(float)
    waveform = dataclasses.replace(REFERENCE.waveform, samples=128, transmitters=2)
    config = RadarConfig("IWR1843", waveform, (1, 3), (1, 2, 3, 4), "IQ")
    chain = HeatmapConfig(doppler_bins=128, range_bins=128, chirps="central_doppler")
    processor = HeatmapProcessor(config, chain)
    spectrum = processor.range_doppler(to_wire(cube.reshape(config.adc_shape), "IQ"))
    power = np.sum(np.abs(spectrum) ** 2, axis=0)
    doppler, distance = np.unravel_index(power.argmax(), power.shape)
    assert 60 <= distance <= 80
    floor = np.median(power)
    for side in (slice(50, 64), slice(65, 79)):
        assert power[side, 60:80].max() > 300 * floor
    phase = np.unwrap(np.angle(spectrum[:, doppler, distance]))
    slope, offset = np.polyfit(np.arange(8), phase, 1)
    assert np.abs(phase - (slope * np.arange(8) + offset)).max() < 0.3
    angle = np.abs(processor.angle(spectrum)[:, doppler, distance]).argmax()
    assert processor.sine_axis[angle] == pytest.approx(slope / np.pi, abs=2 / 64)
