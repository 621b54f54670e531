"""What lifted poses of a radar network's are worth: errors that are put in come out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros.models import weights
from radar_pose_ros.models.hypotheses import SpreadCalibration
from radar_pose_ros.models.lifting import Calibration, EstimatedCalibration
from radar_pose_ros.models.refiner import InterpolationModel
from radar_pose_ros.radar.heatmap import HeatmapConfig
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.skeleton.image import normalise
from radar_pose_ros.training import estimated_lifting
from radar_pose_ros.training.estimated_lifting import Lifted, antenna_frames, calibrate, lift, rows
from radar_pose_ros.training.pose_tracks import Track

JOINTS = len(H36M17.joints)
PLACES = [H36M17.index("thorax" if name == "neck" else name) for name in HUPR14.joints]
SIDEWAYS, DEPTH = 0.03, 0.08
SPREAD = SpreadCalibration((1.0,) * JOINTS, 5)


def deviations() -> np.ndarray:
    """Return what the joints are off by, (17, 3): the farther down the list, the more."""
    return np.outer(0.01 * np.arange(JOINTS), [1.0, 0.5, 2.0])


def somebody(rng: np.random.Generator, frames: int = 900) -> Lifted:
    """Return somebody whose five hypotheses agree and are wrong, as are the places."""
    shape = rng.uniform(-0.5, 0.5, (JOINTS, 3))
    shape[H36M17.root] = 0.0
    root = np.array([0.2, 0.1, 2.7]) + rng.normal(0, 0.1, (frames, 3))
    distance = np.linalg.norm(root, axis=1, keepdims=True)
    towards = root / distance
    off = rng.normal(0, 1, (frames, 3))
    along = (off * towards).sum(1, keepdims=True) * towards
    seen_at = root + distance * (DEPTH * along + SIDEWAYS * (off - along))
    points = (shape + seen_at[:, None])[:, PLACES]
    true_m = shape + deviations() * rng.normal(0, 1, (frames, JOINTS, 3)) + root[:, None]
    return Lifted(
        np.arange(frames) / 30,
        points[..., :2] / points[..., 2:] * 200.0 + 128.0,
        np.broadcast_to(shape, (5, frames, JOINTS, 3)),
        true_m,
        [],
    )


def test_what_is_off_is_found_and_held(rng: np.random.Generator) -> None:
    """Normal errors: their standard deviations; nine tenths of others are in the ellipsoids."""
    found = calibrate([somebody(rng), somebody(rng)], SPREAD)
    assert found.of == "millimamba"
    np.testing.assert_allclose(found.added_m, deviations(), rtol=0.1, atol=1e-3)
    assert found.added_m[H36M17.root] == [0.0, 0.0, 0.0]
    assert (found.sideways, found.depth) == (
        pytest.approx(SIDEWAYS, rel=0.15),
        pytest.approx(DEPTH, rel=0.15),
    )
    measured = rows(
        [somebody(rng), somebody(rng)],
        {"detector": Calibration(SPREAD), "estimated": found.on(SPREAD)},
    )
    values: dict[str, Any] = {row["id"]: row["value"] for row in measured}
    for what in ("relative", "placed", "root"):
        assert values[f"test.estimated.{what}"] == pytest.approx(0.9, abs=0.03)
        assert values[f"test.detector.{what}"] < 0.7
    # the median of a normal's size, and of a Rayleigh's
    assert values["test.reprojection.depth_mm"] == pytest.approx(674 * DEPTH * 2.7, rel=0.1)
    assert values["test.reprojection.sideways_mm"] == pytest.approx(1177 * SIDEWAYS * 2.7, rel=0.1)
    assert not any("range" in name for name in values)  # nobody knows what the radars saw


def test_estimates_are_brought_to_the_tracks_rate() -> None:
    """By straight lines here: what moves evenly comes out where it was, frame by frame."""
    truth = np.arange(61.0)[:, None, None] * np.ones((1, 14, 2))
    seen = np.full_like(truth, np.nan)
    seen[::3] = truth[::3]
    track = Track("t", "s", 30.0, "hupr14", truth, seen, licence="")
    pixels, numbers = estimated_lifting.refine(track, InterpolationModel("linear", 3, 1))
    assert_close(numbers, np.arange(61))
    assert_close(pixels, truth)


def test_the_middle_of_each_window_is_taken() -> None:
    """Of 27 frames those from 6 to 20; 57 frames hold two windows, 30 apart."""

    class Flat:
        config = SimpleNamespace(frames=27)

        def lift(self, keypoints: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            deep = torch.cat([keypoints, torch.ones_like(keypoints[:, :1])], dim=1)
            return torch.stack([deep, 3 * deep], dim=1)

    pixels = np.arange(57.0)[:, None, None] * np.ones((1, 14, 2))
    lifter: Any = Flat()
    poses_m, chosen = lift(lifter, pixels, 0)
    assert_close(chosen, [*range(6, 21), *range(36, 51)])
    assert poses_m.shape == (2, 30, JOINTS, 3)
    expected = normalise(chosen[:, None] * np.ones(2), (256, 256))
    np.testing.assert_allclose(poses_m[0, :, 5, :2], expected, atol=1e-6)
    np.testing.assert_allclose(poses_m[1], 3 * poses_m[0], atol=1e-6)


def test_what_the_radars_saw_is_there_frame_by_frame(rng: np.random.Generator) -> None:
    cube = rng.normal(size=(2, 2, 12, 8, 64, 2)).astype(np.float16)
    found = antenna_frames(
        cube, np.array([0.0, 0.1]), HeatmapConfig(range_first=31, range_bins=64)
    )
    names = [(at_s, frame.radar) for at_s, frame in found]
    assert names == [(0.0, "radar_h"), (0.0, "radar_v"), (0.1, "radar_h"), (0.1, "radar_v")]
    values = cube[1, 0, ..., 0] + 1j * cube[1, 0, ..., 1].astype(np.float32)
    ratio = found[2][1].values / values
    np.testing.assert_allclose(ratio, np.full_like(ratio, ratio.flat[0]), rtol=1e-3)
    assert found[0][1].ranges_m[0] == pytest.approx(31 * 0.0429304378, abs=1e-6)


def test_it_is_written_beside_what_is_there(tmp_path) -> None:
    shipped = weights.weights_directory() / weights.MANIFEST
    (tmp_path / weights.MANIFEST).write_text(shipped.read_text())
    before = weights.read_manifest(tmp_path)
    calibration = EstimatedCalibration("millimamba", deviations().tolist(), 0.02, 0.07)
    entry = next(entry for entry in before if entry["preset"] == "wrapper")
    estimated_lifting.write(calibration, {**entry, "directory": str(tmp_path)})
    after = weights.read_manifest(tmp_path)
    (written,) = [entry for entry in after if entry["preset"] == "wrapper"]
    assert EstimatedCalibration.of_weights(written["estimated_spread"]) == calibration
    assert {**written, "estimated_spread": 0} == {**entry, "estimated_spread": 0}
    assert len(after) == len(before)
