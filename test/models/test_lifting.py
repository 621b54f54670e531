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
