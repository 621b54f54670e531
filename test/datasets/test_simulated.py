"""Simulated data sets: what is stored is what the radar chain gives, whoever draws it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from radar_pose_ros.datasets import simulated
from radar_pose_ros.datasets.recordings import Window, gather, windows
from radar_pose_ros.radar.heatmap import HeatmapConfig
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.simulation.anatomy import TEST_HEIGHT_BANDS_M
from radar_pose_ros.skeleton.projection import project

RADAR = load_cfg(Path(__file__).parents[2] / "config" / "iwr1843.cfg")
HEATMAP = HeatmapConfig(range_first=31, range_bins=64)


def generate(root, counts, **options):
    return list(simulated.generate(root, counts, RADAR, HEATMAP, seconds=1.5, **options))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    generate(folder, {"train": 2, "test": 1})
    return folder


def test_parts_belong_together(root):
    recording = simulated.load_split(root, "train")[0]
    assert recording.range_doppler.shape == (15, 2, 12, 8, 64, 2)
    assert recording.range_doppler.dtype == np.float16
    assert recording.keypoints_px.shape == (15, 14, 2)
    assert len(recording.motions) == 15
    np.testing.assert_allclose(recording.keypoints_px, project(recording.joints_m), atol=1e-3)
    assert recording.details["heatmap"]["range_first"] == 31


def test_cubes_have_unit_power(root):
    cubes = np.asarray(simulated.load_split(root, "train")[0].range_doppler, np.float32)
    power = (cubes**2).sum(-1).mean((2, 3, 4))
    np.testing.assert_allclose(power, 1.0, rtol=2e-3)  # half precision


def test_same_seed_same_data_other_seed_other_data(root, tmp_path):
    generate(tmp_path / "again", {"train": 1})
    generate(tmp_path / "other", {"train": 1}, seed=1)
    first, again, other = (
        simulated.load_split(folder, "train")[0].range_doppler
        for folder in (root, tmp_path / "again", tmp_path / "other")
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_number_of_processes_does_not_matter(root, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = dict(os.environ)
    assert len(generate(tmp_path, {"train": 2}, processes=2)) == 2
    assert dict(os.environ) == before
    for alone, beside in zip(
        simulated.load_split(root, "train"), simulated.load_split(tmp_path, "train"), strict=True
    ):
        np.testing.assert_array_equal(alone.keypoints_px, beside.keypoints_px)
        # sums may be rounded otherwise by another number of threads
        np.testing.assert_allclose(alone.range_doppler, beside.range_doppler, atol=1e-2)


def test_splits_do_not_share_bodies(root):
    def in_a_test_band(recording):
        height_m = recording.details["body"]["height_m"]
        return any(low <= height_m < high for low, high in TEST_HEIGHT_BANDS_M)

    (test,) = simulated.load_split(root, "test")
    assert in_a_test_band(test)
    assert not any(map(in_a_test_band, simulated.load_split(root, "train")))
    assert test.motions[0] in ("kick", "lunge", "arm_circle")


def test_complete_recordings_are_kept(root):
    path = root / "train" / "00000" / "range_doppler.npy"
    before = path.stat().st_mtime_ns
    assert generate(root, {"train": 2})[-1] == "train: 2 of 2"
    assert path.stat().st_mtime_ns == before


def test_recordings_of_another_data_set_are_refused(root):
    with pytest.raises(ValueError, match=r"00000 was simulated with seed = \d+, not \d+:"):
        generate(root, {"train": 1}, seed=1)
    cropped = HeatmapConfig(range_first=0, range_bins=64)
    with pytest.raises(ValueError, match=r"with heatmap = .*'range_first': 31.*, not .*: 0"):
        list(simulated.generate(root, {"train": 1}, RADAR, cropped, seconds=1.5))
    with pytest.raises(ValueError, match="00000 holds another movement"):
        list(simulated.generate(root, {"train": 1}, RADAR, HEATMAP, seconds=1.4))
    # how many angle bins there are is decided when a recording is read
    fewer_angles = dataclasses.replace(HEATMAP, angle_bins=32)
    assert len(list(simulated.generate(root, {"train": 1}, RADAR, fewer_angles, seconds=1.5))) == 1


def test_windows_and_batches(root):
    recordings = simulated.load_split(root, "train")
    chosen = windows(recordings, 9, stride=3)
    assert chosen == [Window(r, first) for r in (0, 1) for first in (0, 3, 6)]
    cubes, keypoints_px = gather(recordings, chosen[1:3], 9)
    assert cubes.shape == (2, 2, 9, 12, 8, 64)
    assert cubes.dtype == np.complex64
    stored = recordings[0].range_doppler[3 + 4, 1, 5, 2, 40].astype(np.float32)
    assert cubes[0, 1, 4, 5, 2, 40] == stored[0] + 1j * stored[1]
    np.testing.assert_array_equal(keypoints_px[1], recordings[0].keypoints_px[6:15])


def test_unusable_folders_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no recordings"):
        simulated.load_split(tmp_path, "train")
    with pytest.raises(ValueError, match="unknown split 'tset'"):
        generate(tmp_path, {"tset": 1})
    generate(tmp_path, {"train": 1})
    joints = tmp_path / "train" / "00000" / "joints_m.npy"
    np.save(joints, np.load(joints)[:-1])
    with pytest.raises(ValueError, match=r"different lengths, \[14, 15\] frames"):
        simulated.load_split(tmp_path, "train")
    joints.write_bytes(joints.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"joints_m\.npy is damaged"):
        simulated.load_split(tmp_path, "train")
    (joints.parent / "range_doppler.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"range_doppler\.npy is damaged"):
        simulated.load_split(tmp_path, "train")
    (joints.parent / "recording.json").write_text("{}")
    with pytest.raises(ValueError, match=r"recording\.json is damaged, remove .*'motions'"):
        simulated.load_split(tmp_path, "train")
