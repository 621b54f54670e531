"""Training and evaluation of milliMamba on a data set small enough to be made on the spot."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from radar_pose_ros.datasets import simulated
from radar_pose_ros.models import weights
from radar_pose_ros.models.baselines import MeanPoseBaseline
from radar_pose_ros.models.millimamba import PRESETS, MilliMamba
from radar_pose_ros.radar.heatmap import angle_transform
from radar_pose_ros.skeleton.projection import project
from radar_pose_ros.training import evaluation, millimamba
from radar_pose_ros.training.millimamba import RECIPES, Recipe, RecipeError, TrainingBatches

FRAMES = PRESETS["edge"].frames
ANGLE_BINS = PRESETS["edge"].angle_bins


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    recipe = yaml.safe_load((RECIPES / "millimamba_edge.yaml").read_text())
    recipe["data"] |= {"seconds": 2.0, "recordings": {"train": 1, "validation": 1, "test": 1}}
    recipe["batch"] = 2
    recipe["loop"] |= {"steps": 3, "warmup_steps": 1, "validate_every": 2}
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="module")
def root(recipe_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    recipe = Recipe.load(recipe_file)
    millimamba.prepare_data(recipe.data, folder, simulated.SPLITS, processes=1, report=len)
    return folder


def random_cubes(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((*shape, 2), np.float32)
    return parts.view(np.complex64)[..., 0]


def test_shipped_recipes_are_valid():
    for path in sorted(RECIPES.glob("*.yaml")):
        recipe = Recipe.load(path)
        assert path.stem == f"millimamba_{recipe.preset}"
        preset = PRESETS[recipe.preset]
        assert recipe.data.heatmap.angle_bins == preset.angle_bins
        assert recipe.data.heatmap.range_bins == preset.range_bins
        assert recipe.data.heatmap.doppler_bins == preset.doppler_bins


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "huge"}, "'huge' is none of edge, paper"),
        ({"bach": 3}, "bach"),
        ({"loop": {"steps": 0, "learning_rate": 1.0}}, "at least 1"),
    ],
)
def test_wrong_recipes_are_named(tmp_path, recipe_file, change, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(recipe_file.read_text()) | change))
    with pytest.raises(RecipeError, match=message) as error:
        Recipe.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("preset: [", "expected"),
        ("", "NoneType"),
        ("preset: edge", "there is no entry 'data'"),
        ("data: {heatmap: {angle_bins: 0}}", "angle_bins must be at least 1, got 0"),
        ("data: {heatmap: {}, recordings: {train: 1}}", "missing"),
    ],
)
def test_damaged_recipes_are_named(tmp_path, text, message):
    path = tmp_path / "damaged.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=rf"(?s)damaged\.yaml: .*{message}"):
        Recipe.load(path)


def test_a_recipe_wants_every_split(tmp_path, recipe_file):
    recipe = yaml.safe_load(recipe_file.read_text())
    del recipe["data"]["recordings"]["test"]
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(recipe))
    with pytest.raises(RecipeError, match="recordings has no entry test"):
        Recipe.load(path)


def test_network_input_is_the_angle_transform():
    cubes = random_cubes((2, 3, 12, 8, 5))
    expected = angle_transform(cubes, 32)
    channels = evaluation.network_input(cubes, 32).numpy()
    np.testing.assert_allclose(channels[..., 0, :, :, :], expected.real, atol=1e-4)
    np.testing.assert_allclose(channels[..., 1, :, :, :], expected.imag, atol=1e-4)


def test_augmentation_keeps_magnitudes_without_noise():
    cubes = random_cubes((2, 2, 4, 12, 8, 3))
    augmented = millimamba.augment(cubes, 0.0, np.random.default_rng(1))
    np.testing.assert_allclose(np.abs(augmented), np.abs(cubes), rtol=1e-5)
    turns = np.angle(augmented / cubes)
    assert np.ptp(turns[0, 0, 0]) == pytest.approx(0, abs=1e-4)  # one phase per frame of a radar
    assert abs(turns[0, 0, 0, 0, 0, 0] - turns[0, 0, 1, 0, 0, 0]) > 1e-3


def test_augmentation_noise_has_the_level_asked_for():
    """Power of noise: the mean of U(0, r)^2 is r^2 / 3."""
    silence = np.zeros((400, 1, 1, 12, 8, 3), np.complex64)
    noisy = millimamba.augment(silence, 0.3, np.random.default_rng(0))
    assert np.mean(np.abs(noisy) ** 2) == pytest.approx(0.03, rel=0.1)


def test_batches_depend_on_seed_and_step_alone(root):
    recordings = simulated.load_split(root, "train")
    batches = TrainingBatches(recordings, FRAMES, ANGLE_BINS, batch=2, noise_ratio=0.3, seed=5)
    heatmaps, keypoints_px = batches(7)
    assert heatmaps.shape == (2, 2, FRAMES, 2, ANGLE_BINS, 8, 64)
    assert keypoints_px.shape == (2, FRAMES, 14, 2)
    again = TrainingBatches(recordings, FRAMES, ANGLE_BINS, batch=2, noise_ratio=0.3, seed=5)(7)
    torch.testing.assert_close(heatmaps, again[0], atol=0, rtol=0)
    assert not torch.equal(heatmaps, batches(8)[0])


def test_one_batch_can_be_learnt_by_heart(root):
    """Gradients reach everything that matters: the error on two windows falls to under a third."""
    recordings = simulated.load_split(root, "train")
    batch = TrainingBatches(recordings, FRAMES, ANGLE_BINS, batch=2, noise_ratio=0.0, seed=0)(0)
    torch.manual_seed(0)
    sizes = {"width": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 1}
    model = MilliMamba(dataclasses.replace(PRESETS["edge"], **sizes))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    errors = []
    for _ in range(60):
        error = (model(batch[0]).keypoints - batch[1]).abs().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < errors[0] / 3


def test_train_then_evaluate(root, recipe_file, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    millimamba.add_train_arguments(parser)
    common = ["--recipe", str(recipe_file), "--data", str(root)]
    common += ["--processes", "1", "--threads", "1"]
    arguments = ["--out", str(tmp_path / "out"), *common]
    assert millimamba.train(parser.parse_args(arguments)) == 0

    path = tmp_path / "out" / "millimamba_edge.safetensors"
    state, entry = weights.load(path)
    assert entry["heatmap"]["range_first"] == 31
    assert entry["training_data"]["licence"].startswith("Apache-2.0")
    assert set(state) == set(MilliMamba(PRESETS["edge"]).state_dict())

    parser = argparse.ArgumentParser()
    millimamba.add_evaluate_arguments(parser)
    json_file, figure = tmp_path / "numbers.json", tmp_path / "figure.png"
    arguments = ["--weights", str(path), "--json", str(json_file), "--figure", str(figure)]
    assert millimamba.evaluate(parser.parse_args([*arguments, *common])) == 0
    values = {row["id"]: row["value"] for row in json.loads(json_file.read_text())["results"]}
    assert 0 <= values["test.ap"] <= 1
    assert 0 <= values["test.ap_mean_pose"] <= 1
    assert figure.stat().st_size > 10_000
    assert "test.joint.left_wrist.ap" in capsys.readouterr().out


def test_recordings_beyond_the_recipe_are_left_alone(root, recipe_file, tmp_path):
    for number in ("00000", "00001"):
        shutil.copytree(root / "train" / "00000", tmp_path / "train" / number)
    (recording,) = millimamba.recordings_of(Recipe.load(recipe_file).data, tmp_path, "train")
    assert recording.path.name == "00000"


def test_middle_frames_are_kept(root):
    (recording,) = simulated.load_split(root, "test")
    torch.manual_seed(0)
    model = MilliMamba(PRESETS["edge"]).eval()
    keypoints_px = evaluation.estimate_recording(model, recording, batch=5)
    assert keypoints_px.shape == (20 - FRAMES + 1, 14, 2)
    cubes, _ = simulated.gather([recording], [simulated.Window(0, 3)], FRAMES)
    with torch.no_grad():
        window = model(evaluation.network_input(cubes, ANGLE_BINS)).keypoints[0]
    np.testing.assert_allclose(keypoints_px[3], window[FRAMES // 2].numpy(), atol=1e-3)


def test_scores_of_the_truth_and_of_a_shift():
    truth_px = np.random.default_rng(0).uniform(60, 200, (6, 14, 2))
    assert evaluation.scores(truth_px, truth_px)["pck_0_2"] == 1.0
    assert evaluation.scores(truth_px, truth_px)["ap"] == pytest.approx(1.0)
    shifted = evaluation.scores(truth_px + np.array([3.0, 4.0]), truth_px)
    assert shifted["median_error_px"] == pytest.approx(5.0)


def test_rows_tell_known_and_unseen_motions_apart():
    truth_px = np.random.default_rng(0).uniform(60, 200, (4, 14, 2))
    good = np.array([True, True, False, False])
    estimates = evaluation.Estimates(
        truth_px=truth_px,
        estimate_px=np.where(good[:, None, None], truth_px, truth_px + 100),
        baseline_px=truth_px + 100,
        placed_px=truth_px,
        motions=np.array(["walk", "walk", "kick", "kick"]),
    )
    values = {row["id"]: row["value"] for row in evaluation.rows(estimates)}
    assert values["test.known_motions.pck_0_2"] == 1.0
    assert values["test.unseen_motions.pck_0_2"] == 0.0
    assert values["test.pck_0_2"] == 0.5
    assert values["test.pck_0_2_mean_pose"] == 0.0
    assert values["test.pck_0_2_mean_pose_in_true_place"] == 1.0
    assert values["test.motion.kick.ap"] == 0.0


def test_mean_pose_in_place_is_exact_for_one_who_holds_it(rng):
    """A flat person in the mean pose, wherever they stand and however far away."""
    offsets_m = rng.uniform(-0.8, 0.8, (14, 2))  # right and down
    baseline = MeanPoseBaseline(tuple(map(tuple, offsets_m)), 1.33, 0.043, 1)
    joints_m = np.stack([np.zeros(14), -offsets_m[:, 0], 1.0 - offsets_m[:, 1]], axis=-1)
    joints_m = joints_m + np.array([[[2.0, 0.3, 0.1]], [[3.1, -0.2, 0.0]]])
    truth_px = project(joints_m)
    placed_px = evaluation.mean_pose_in_place(baseline, truth_px, joints_m)
    np.testing.assert_allclose(placed_px, truth_px, atol=1e-9)


def test_loss_settings_reach_the_recipe(recipe_file):
    recipe = Recipe.load(recipe_file)
    assert recipe.loss.velocity_weight == 0.05  # the paper's
    assert dataclasses.asdict(recipe.loop)["steps"] == 3
