"""Weights made ready to lift: what comes out, and what is refused. The weights are random ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros.models import diffhpe, hypotheses, lifting, weights
from radar_pose_ros.models.diffhpe import (
    FAST,
    DiffHPE,
    DiffHPEConfig,
    Lifter,
    LiftingStoppedError,
)
from radar_pose_ros.models.diffusion import Sampler
from radar_pose_ros.models.hypotheses import SpreadCalibration
from radar_pose_ros.models.lifting import Calibration, EstimatedCalibration, WindowLifter
from radar_pose_ros.models.mixste import MixSTE, MixSTEConfig
from radar_pose_ros.skeleton.image import network_input
from radar_pose_ros.skeleton.placement import BY_SIZE, PlaceSpread

JOINTS = 17
SMALL = DiffHPEConfig(width=8, blocks=2, step_channels=8, frames=5)
ABOUT: dict[str, Any] = {
    "training_data": {"licence": "none"},
    "git_revision": "0",
    "command": "random weights, for a test",
    "metrics": {"split": "none"},
}


def network(config: DiffHPEConfig = SMALL) -> DiffHPE:
    torch.manual_seed(1)
    made = DiffHPE(config)
    torch.nn.init.normal_(made.leave.weight, std=0.1)
    return made.eval()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset that is fast."""
    monkeypatch.setitem(diffhpe.PRESETS, "2d", SMALL)


def test_mean_and_calibrated_covariance_of_the_hypotheses(rng: np.random.Generator) -> None:
    """By the ground floor's own parts, axis by axis."""
    calibration = SpreadCalibration(tuple(np.arange(1.0, 18.0)), 5)
    pixels = rng.uniform(0, 256, (2, 5, JOINTS, 2))
    pixels[0, 2] = np.nan
    found = WindowLifter(Lifter(network(), 5, FAST), calibration, seed=4).lift(pixels, (256, 256))
    keypoints = torch.from_numpy(network_input(pixels, (256, 256)))
    raw = Lifter(network(), 5, FAST).lift(keypoints, torch.Generator().manual_seed(4))
    poses = raw.double().permute(1, 0, 4, 3, 2).numpy()
    assert found.poses_m.shape == (2, 5, JOINTS, 3)
    assert_close(found.poses_m, poses.mean(0))
    assert_close(found.poses_m[1, 3, 7, 2], raw[1, :, 2, 7, 3].double().mean())
    expected = hypotheses.covariance(poses) * np.arange(1.0, 18.0)[:, None, None]
    assert_close(found.covariance_m2, expected)
    assert np.linalg.eigvalsh(found.covariance_m2).min() > 0


def test_without_its_calibration_a_spread_is_not_known(rng: np.random.Generator) -> None:
    pixels = rng.uniform(0, 256, (1, 5, JOINTS, 2))
    calibration = SpreadCalibration((1.0,) * JOINTS, 5)
    for count, given in ((5, None), (2, calibration), (1, calibration)):
        lifter = WindowLifter(Lifter(network(), count, FAST), given)
        assert lifter.calibration is None
        found = lifter.lift(pixels, (256, 256))
        assert np.isnan(found.covariance_m2).all() and np.isfinite(found.poses_m).all()


def test_what_comes_on_top_where_a_radar_network_estimated(rng: np.random.Generator) -> None:
    """Variances are added axis by axis; by the name of what made the poses in the image."""
    calibration = SpreadCalibration((2.0,) * JOINTS, 5)
    added = np.round(0.01 * np.arange(51).reshape(JOINTS, 3), 2)
    estimated = EstimatedCalibration("millimamba", added.tolist(), 0.03, 0.08)
    pixels = rng.uniform(0, 256, (1, 5, JOINTS, 2))
    models = ("hrnet", "mixsynthformer/radar_2d@1 of millimamba/edge@2", "nomillimamba@1")
    found = []
    for model in models:
        lifter = WindowLifter(Lifter(network(), 5, FAST), calibration, seed=4, estimated=estimated)
        found.append(lifter.lift(pixels, (256, 256), model))
    assert_close(found[0].poses_m, found[1].poses_m)
    more = found[1].covariance_m2 - found[0].covariance_m2
    assert_close(more[0, 0], added[:, :, None] ** 2 * np.eye(3))
    assert_close(found[2].covariance_m2, found[0].covariance_m2)
    known = [lifter.calibration_for(model) for model in models]
    assert [c.place for c in known if c] == [BY_SIZE, PlaceSpread(0.03, 0.08), BY_SIZE]
    assert EstimatedCalibration.of_weights(estimated.as_dict()) == estimated
    bare = WindowLifter(Lifter(network(), 2, FAST), calibration, estimated=estimated)
    assert bare.calibration_for(models[1]) is None
    with pytest.raises(ValueError, match=r"must be \(17, 3\) numbers of 0 or more, got \(2, 3\)"):
        Calibration(calibration, [[0.1] * 3] * 2)
    with pytest.raises(ValueError, match="no calibration of estimates"):
        EstimatedCalibration.of_weights({"of": "millimamba"})


def test_a_run_is_given_up_when_asked_to(rng: np.random.Generator) -> None:
    """Before each pass: 12 hypotheses are 3 groups of 2 steps, of which the 4th is not taken."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    sampler = Sampler("ddim", steps=2, eta=1.0, spacing="log_snr", limit=1.5)
    lifter = WindowLifter(Lifter(network(), 12, sampler))
    pixels = rng.uniform(0, 256, (1, 5, JOINTS, 2))
    with pytest.raises(LiftingStoppedError):
        lifter.lift(pixels, (256, 256), stop=stop)
    assert len(asked) == 4
    asked.clear()
    lifter.lift(pixels, (256, 256), stop=lambda: bool(asked.append(1)))
    assert len(asked) == 6


def test_the_manifest_says_how_to_sample(tmp_path: Path, small: None) -> None:
    sampler = Sampler("ddim", steps=3, eta=0.5, spacing="log_snr", limit=1.0)
    calibration = SpreadCalibration((2.0,) * JOINTS, 4)
    said = {"hypotheses": 4, "method": "ddim", "steps": 3, "eta": 0.5, "limit": 1.0}
    entry = weights.save(
        network(), tmp_path, "2d", sampling=said, spread=calibration.as_dict(), **ABOUT
    )
    assert lifting.sampling(entry) == (4, sampler)
    assert lifting.sampling({}) == (5, FAST)
    lifter, name = lifting.load(str(tmp_path / entry["file"]))
    assert name == f"diffhpe/2d@{entry['sha256'][:8]}"
    assert (lifter.frames, lifter.hypotheses, lifter.calibration) == (5, 4, calibration)
    lifter, _ = lifting.load(str(tmp_path / entry["file"]), 3)
    assert (lifter.hypotheses, lifter.calibration) == (3, None)


def test_what_cannot_be_used_is_refused(tmp_path: Path, small: None) -> None:
    with pytest.raises(ValueError, match="there are no weights '2d_nowhere'"):
        lifting.load("2d_nowhere")
    torch.manual_seed(0)
    entry = weights.save(MixSTE(MixSTEConfig()), tmp_path, "paper", **ABOUT)
    with pytest.raises(ValueError, match="is a mixste, not a diffhpe"):
        lifting.load(str(tmp_path / entry["file"]))
    spread = SpreadCalibration((2.0,) * JOINTS, 5).as_dict()
    entry = weights.save(network(), tmp_path, "2d", spread=spread, **ABOUT)
    entry["estimated_spread"] = {"of": "m", "added_m": [[0.1] * 3], "sideways": 0.0, "depth": 0.1}
    (tmp_path / weights.MANIFEST).write_text(json.dumps({"weights": [entry]}))
    with pytest.raises(ValueError, match=r"numbers of 0 or more, got \(1, 3\)"):
        lifting.load(str(tmp_path / entry["file"]))
    wrong = SpreadCalibration((2.0,) * 3, 5).as_dict()
    entry = weights.save(network(), tmp_path, "2d", spread=wrong, **ABOUT)
    with pytest.raises(ValueError, match="5 hypotheses of 3 joints"):
        lifting.load(str(tmp_path / entry["file"]))
    with pytest.raises(ValueError, match="method 'magic' is none of"):
        lifting.sampling({"sampling": {"method": "magic"}})


# -- what nobody saw -------------------------------------------------------------------------


def calibrated() -> WindowLifter:
    calibration = SpreadCalibration((1.0,) * JOINTS, 5)
    return WindowLifter(Lifter(network(), 5, FAST), calibration, seed=4)


def test_of_what_a_window_does_not_show_nothing_comes_out(rng: np.random.Generator) -> None:
    """A window without anybody, one without a joint, and one in which it is there once."""
    pixels = rng.uniform(0, 256, (3, 5, JOINTS, 2))
    pixels[0] = np.nan
    pixels[1:, :, 7] = np.nan
    pixels[2, 4, 7] = 30.0
    found = calibrated().lift(pixels, (256, 256))
    known = np.ones((3, 5, JOINTS), bool)
    known[0] = known[1, :, 7] = False
    np.testing.assert_array_equal(np.isfinite(found.poses_m).all(-1), known)
    np.testing.assert_array_equal(np.isfinite(found.covariance_m2).all((-2, -1)), known)


@pytest.mark.parametrize("absurd", [-257.0, 513.0, 5000.0, 1e30, np.inf])
def test_a_joint_far_outside_the_image_is_not_known(
    absurd: float, rng: np.random.Generator
) -> None:
    """To the bit as if it were NaN; one side of the image is the limit."""
    pixels = rng.uniform(0, 256, (1, 5, JOINTS, 2))
    found = []
    for value in (np.nan, absurd):
        pixels[0, 2, 4, 0] = value
        found.append(calibrated().lift(pixels, (256, 256)).poses_m)
    np.testing.assert_array_equal(found[0], found[1])
    pixels[0, 2, 4, 0] = 512.0 if absurd > 0 else -256.0
    assert np.abs(calibrated().lift(pixels, (256, 256)).poses_m - found[0]).max() > 1e-6
    outside = calibrated().lift(pixels + 5000.0, (256, 256))
    assert np.isnan(outside.poses_m).all()


def test_joints_on_one_point_have_no_shape(rng: np.random.Generator) -> None:
    """2 % of 640 px are the limit: 12.8 px."""
    pixels = np.full((1, 5, JOINTS, 2), 100.0)
    assert np.isnan(calibrated().lift(pixels, (640, 480)).poses_m).all()
    pixels[..., 3, 1] = 176.7
    assert np.isnan(calibrated().lift(pixels, (640, 480)).poses_m).all()
    pixels[..., 3, 1] = 176.9
    assert np.isfinite(calibrated().lift(pixels, (640, 480)).poses_m).all()


@pytest.mark.parametrize(
    ("pixels", "size_px", "message"),
    [
        (np.zeros((0, 5, 17, 2)), (256, 256), r"pixels must be .windows, 5 frames, 17 joints, 2"),
        (np.zeros((1, 0, 17, 2)), (256, 256), r"got \(1, 0, 17, 2\)"),
        (np.zeros((1, 6, 17, 2)), (256, 256), r"got \(1, 6, 17, 2\)"),
        ([], (256, 256), r"got \(0,\)"),
        ([[1.0], [1.0, 2.0]], (256, 256), "got lists of several lengths"),
        (np.full((1, 5, 17, 2), "3"), (256, 256), "pixels must be numbers, .* got <U1"),
        (np.zeros((1, 5, 17, 2)), (0, 256), r"a width and a height above 0 px, got \(0, 256\)"),
        (np.zeros((1, 5, 17, 2)), (256,), r"size_px must be \(width, height\), got \(1,\)"),
        (np.zeros((1, 5, 17, 2)), ("256", "256"), "size_px must be numbers"),
    ],
)
def test_wrong_windows_are_named(pixels: Any, size_px: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrated().lift(pixels, size_px)


def test_wrong_settings_are_named() -> None:
    for count in (-1, 1.5, "5"):
        with pytest.raises(ValueError, match="count must be a whole number, 0 or more, got"):
            lifting.load("wrapper", count)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed must be a whole number, 0 or more, got 'x'"):
        WindowLifter(Lifter(network(), 5, FAST), seed="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate_hz must be a finite number, got '30'"):
        WindowLifter(Lifter(network(), 5, FAST), rate_hz="30")  # type: ignore[arg-type]
