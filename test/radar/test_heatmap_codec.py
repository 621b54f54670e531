"""Heatmaps made small: what is lost by it, how small they are, and what damaged data does."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest

from radar_pose_ros import resources
from radar_pose_ros.datasets.simulated import simulate_recording
from radar_pose_ros.metrics.keypoints import pck
from radar_pose_ros.models import weights
from radar_pose_ros.models.engine import Engine
from radar_pose_ros.radar.heatmap import HeatmapConfig, angle_transform
from radar_pose_ros.radar.heatmap_codec import (
    STEPS_PER_RMS,
    HeatmapCodecError,
    PackedCube,
    pack,
    unpack,
)
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.simulation.recordings import make_clip
from radar_pose_ros.skeleton.projection import project

SHAPE = (12, 8, 64)


def noise(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))


@pytest.mark.parametrize("scale", [1e-20, 1.0, 3e4, 1e15])
def test_the_error_is_what_rounding_makes(rng, scale):
    """Uniform rounding: a step over sqrt(12) in each part, whatever the unit."""
    cube = noise(rng) * np.float32(scale)
    error = unpack(pack(cube)) - cube
    assert rms(error) / rms(cube) == pytest.approx(1 / (math.sqrt(6) * STEPS_PER_RMS), rel=0.02)
    step = rms(cube) / STEPS_PER_RMS
    assert np.abs(error.real).max() <= 0.5001 * step
    assert np.abs(error.imag).max() <= 0.5001 * step


def test_steps_are_kept_exactly(rng):
    """What is a multiple of the step comes back to the last bit, to both ends of an int16."""
    steps = rng.integers(-300, 301, (*SHAPE, 2)).astype(np.float32)
    cube = steps.view(np.complex64)[..., 0]
    packed = pack(cube, steps_per_rms=rms(cube))
    assert packed.step == pytest.approx(1.0)
    np.testing.assert_allclose(unpack(packed), cube, rtol=1e-6)
    strongest = np.zeros(SHAPE, np.complex64)
    strongest[3, 4, 5] = 1e6 - 1e6j
    found = unpack(pack(strongest))
    assert found[3, 4, 5] == pytest.approx(1e6 - 1e6j, rel=1e-3)
    assert np.count_nonzero(found) == 1


def test_noise_takes_six_bits_a_number_and_one_echo_one(rng):
    """Noise of 11.3 steps has 5.55 bits of entropy; one echo with all the energy, next to 0."""
    cube = noise(rng)
    bits = 8 * len(pack(cube).data) / (2 * cube.size)
    entropy = math.log2(STEPS_PER_RMS / math.sqrt(2) * math.sqrt(2 * math.pi * math.e))
    assert entropy < bits < 1.05 * entropy
    cube[2, 3, 10] += 1e4
    assert 8 * len(pack(cube).data) / (2 * cube.size) < 0.2


def test_nothing_stays_nothing():
    packed = pack(np.zeros(SHAPE, np.complex64))
    assert packed.step == 0
    assert len(packed.data) < 200
    np.testing.assert_array_equal(unpack(packed), np.zeros(SHAPE, np.complex64))


def test_damaged_data_is_refused(rng):
    packed = pack(noise(rng))
    bomb = zlib.compress(bytes(100_000_000), 9)
    for data in (b"", packed.data[:-1], packed.data + b"x", b"\0" * 50, bomb):
        with pytest.raises(HeatmapCodecError):
            unpack(PackedCube(SHAPE, packed.step, data))
    for shape in ((12, 8, 63), (12, 8, 65), (0, 8, 64)):
        with pytest.raises(HeatmapCodecError, match="another shape"):
            unpack(PackedCube(shape, packed.step, packed.data))
    for step in (-1.0, math.nan, math.inf, 1e38):
        with pytest.raises(HeatmapCodecError, match="step"):
            unpack(PackedCube(SHAPE, step, packed.data))


def test_no_bit_that_flips_ends_in_anything_but_numbers_or_a_refusal(rng):
    packed = pack(noise(rng))
    data = np.frombuffer(packed.data, np.uint8)
    refused = 0
    for _ in range(300):
        damaged = data.copy()
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            cube = unpack(PackedCube(SHAPE, packed.step, damaged.tobytes()))
        except HeatmapCodecError:
            refused += 1
        else:
            assert np.isfinite(cube).all()
    assert refused == 300  # zlib's sum finds each


def test_poses_from_packed_heatmaps_are_those_from_whole_ones():
    """A simulated person, both radars, the shipped network: what packing does to poses."""
    network, entry = weights.network("edge", "millimamba")
    radar = load_cfg(resources.find("config", "iwr1843.cfg"))
    clip = make_clip(radar, 3.0, seed=7, split="test", motion="walk")
    stored = simulate_recording(clip, radar, HeatmapConfig(**entry["heatmap"]), seed=7)
    cubes = stored.astype(np.float32).view(np.complex64)[..., 0]  # (frames, 2, antennas, ...)
    packed = [[pack(cube) for cube in views] for views in cubes]
    small = np.array([[unpack(cube) for cube in views] for views in packed])

    whole_bytes = 8 * 32 * 8 * 64
    mean_bytes = np.mean([len(cube.data) for views in packed for cube in views])
    assert whole_bytes / mean_bytes > 16
    truth_px = project(clip.joints_m)[4:-4]
    whole_px, small_px = (estimated(network, frames) for frames in (cubes, small))
    off_px = np.linalg.norm(small_px - whole_px, axis=-1)
    assert off_px.mean() < 0.3
    assert np.percentile(off_px, 95) < 1.0
    assert pck(small_px, truth_px) == pytest.approx(pck(whole_px, truth_px), abs=0.02)


def estimated(network, cubes: np.ndarray) -> np.ndarray:
    """Return the poses of the middle of each window, in pixels."""
    engine, poses = Engine(network, threads=1), []
    for views in cubes:
        engine.push(angle_transform(views, network.config.angle_bins), np.ones(2, bool))
        output = engine.estimate()
        if output is not None:
            poses.append(output.keypoints[0, len(output.keypoints[0]) // 2].numpy())
    return np.array(poses)
