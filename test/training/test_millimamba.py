"""Training and evaluation of milliMamba on data sets small enough to be made on the spot."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from radar_pose_ros import cli
from radar_pose_ros.datasets import hupr, hupr_simulated, simulated
from radar_pose_ros.datasets.recordings import Window, gather
from radar_pose_ros.models import weights
from radar_pose_ros.models.baselines import MeanPoseBaseline
from radar_pose_ros.models.confidence import Calibration
from radar_pose_ros.models.millimamba import PRESETS, MilliMamba
from radar_pose_ros.skeleton.projection import project
from radar_pose_ros.training import millimamba, processes
from radar_pose_ros.training import millimamba_evaluation as evaluation
from radar_pose_ros.training.loop import FitResult
from radar_pose_ros.training.millimamba import RECIPES, Recipe
from radar_pose_ros.training.millimamba_batches import Augmentation, TrainingBatches, input_for
from radar_pose_ros.training.recipe import RecipeError

EDGE = PRESETS["edge"]
FRAMES = EDGE.frames
SMALL = {"width": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 1}


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    recipe = yaml.safe_load((RECIPES / "edge.yaml").read_text())
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
    millimamba.prepare_data(recipe.data, folder, simulated.SPLITS, jobs=1, report=len)
    return folder


def test_shipped_recipes_are_valid():
    paths = [*RECIPES.glob("*.yaml"), *RECIPES.glob("fine_tuning/*.yaml")]
    assert len(paths) == 4
    for path in paths:
        recipe = Recipe.load(path)
        assert path.stem == recipe.preset
        assert recipe.is_preset


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "huge"}, "'huge' is none of edge, "),
        ({"views": "left"}, "views 'left' is none of both, horizontal, vertical"),
        ({"model": {"wdth": 3}}, "wdth"),
        ({"model": {"width": 30}}, "width 30 does not divide into 8 heads"),
        ({"augmentation": {"empty_ratio": 2}}, "empty_ratio must be 0 to 1, got 2"),
        ({"bach": 3}, "bach"),
        ({"loop": {"steps": 0, "learning_rate": 1.0}}, "at least 1"),
        ({"model": {"angle_bins": 16}}, "angle_bins 32, but the network wants 16"),
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
        ("", "no recipe"),
        ("preset: edge", "there is no entry 'data'"),
        ("data: {heatmap: {angle_bins: 0}}", "angle_bins must be at least 1, got 0"),
        ("data: {heatmap: {}, recordings: {train: 1}}", "data: there is no entry 'seed'"),
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


def test_a_recipe_says_what_is_other_than_in_its_base(tmp_path, recipe_file):
    path = recipe_file.with_name("derived.yaml")
    change = {"base": recipe_file.name, "views": "vertical", "loss": {"velocity_weight": 7.0}}
    change["model"] = {"frames": 3, "block_channels": [48]}
    path.write_text(yaml.safe_dump(change))
    recipe, base = Recipe.load(path), Recipe.load(recipe_file)
    assert recipe.loss == dataclasses.replace(base.loss, velocity_weight=7.0)
    assert (recipe.data, recipe.loop) == (base.data, base.loop)
    assert recipe.network == dataclasses.replace(EDGE, frames=3, block_channels=(48,), views=1)
    assert base.is_preset and not recipe.is_preset
    assert millimamba.MilliMamba(recipe.network).config.tokens_per_frame == 16


def test_one_batch_can_be_learnt_by_heart(root):
    """Gradients reach everything that matters: the error on two windows falls to under a third."""
    recordings = simulated.load_split(root, "train")
    batch = TrainingBatches(recordings, EDGE, 2, Augmentation(noise_ratio=0.0), seed=0)(0)
    torch.manual_seed(0)
    model = MilliMamba(dataclasses.replace(EDGE, **SMALL))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    errors = []
    for _ in range(60):
        error = (model(batch.heatmaps).keypoints - batch.keypoints_px).abs().mean()
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
    assert set(state) == set(MilliMamba(EDGE).state_dict())
    assert len(Calibration.of_weights(entry).raw) > 2

    parser = argparse.ArgumentParser()
    millimamba.add_evaluate_arguments(parser)
    json_file, figure = tmp_path / "numbers.json", tmp_path / "figure.png"
    arguments = ["--weights", str(path), "--json", str(json_file), "--figure", str(figure)]
    assert millimamba.evaluate(parser.parse_args([*arguments, *common])) == 0
    values = {row["id"]: row["value"] for row in json.loads(json_file.read_text())["results"]}
    assert 0 <= values["test.ap"] <= 1
    for name in ("mean_pose", "mean_pose_in_true_place", "horizontal", "vertical"):
        assert 0 <= values[f"test.ap_{name}"] <= 1
    assert 0 <= values["test.confidence_error"] <= 1
    assert figure.stat().st_size > 10_000
    assert "test.joint.left_wrist.ap" in capsys.readouterr().out


def test_a_training_may_start_from_weights(root, recipe_file, tmp_path):
    """By the recipe for that; with a learning rate next to 0 they are what comes out."""
    parser = argparse.ArgumentParser()
    millimamba.add_train_arguments(parser)
    recipe = yaml.safe_load(recipe_file.read_text())
    recipe["loop"] |= {"learning_rate": 1e-12, "matrix_learning_rate": 1e-12, "ema_decay": 0.0}
    path = recipe_file.with_name("still.yaml")
    path.write_text(yaml.safe_dump(recipe))
    common = ["--data", str(root), "--processes", "1", "--threads", "1", "--init", "edge"]
    arguments = [*common, "--out", str(tmp_path), "--recipe", str(path)]
    assert millimamba.train(parser.parse_args(arguments)) == 0
    shipped, _ = weights.load("edge")
    state, entry = weights.load(tmp_path / "millimamba_edge.safetensors")
    assert all(torch.allclose(state[name], shipped[name], atol=1e-6) for name in shipped)
    assert entry["command"].endswith("--recipe still.yaml --init edge")

    options = parser.parse_args([*common, "--preset", "edge_single_frame"])
    assert millimamba._recipe(options).loop.learning_rate == 0.0005
    with pytest.raises(RecipeError, match="edge holds weights of the preset 'edge'; this"):
        millimamba._initial_state("edge", millimamba._recipe(options))


def test_recordings_beyond_the_recipe_are_left_alone(root, recipe_file, tmp_path):
    for number in ("00000", "00001"):
        shutil.copytree(root / "train" / "00000", tmp_path / "train" / number)
    (recording,) = millimamba.recordings_of(Recipe.load(recipe_file).data, tmp_path, "train")
    assert recording.path.name == "00000"


@pytest.mark.parametrize("command", ["train", "evaluate", "reproduce"])
def test_people_are_simulated_only_where_it_is_asked_for(command, tmp_path, capsys, monkeypatch):
    """A mistyped --data is refused; the default's folder is made, and an empty one is filled."""
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(simulated, "generate", lambda root, *_, **__: asked.append(root) or [])
    (tmp_path / "parent" / "HUPR").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun" / "train" / "00000").mkdir(parents=True)
    for name, wrong in (("typo", "there is no such folder"), ("parent", "holds no recordings")):
        assert cli.main([command, "millimamba", "--data", name]) == cli.USAGE_ERROR
        said = capsys.readouterr().err
        assert f"{name}: {wrong}" in said and said.count("\n") == 1
    assert not asked and not (tmp_path / "typo").exists()
    data = Recipe.load(millimamba.RECIPES / "edge.yaml").data
    for name in ("empty", "begun", "out/simulated"):
        millimamba.prepare_data(data, Path(name), ("test",), 1)
    assert asked == [Path("empty"), Path("begun"), Path("out/simulated")]


def test_weights_of_a_changed_preset_are_refused_before_training(recipe_file, root, tmp_path):
    path = recipe_file.with_name("changed.yaml")
    path.write_text(yaml.safe_dump({"base": recipe_file.name, "model": {"width": 64}}))
    parser = argparse.ArgumentParser()
    millimamba.add_train_arguments(parser)
    arguments = ["--recipe", str(path), "--data", str(root), "--out", str(tmp_path / "out")]
    with pytest.raises(RecipeError, match="changes the preset 'edge'"):
        millimamba.train(parser.parse_args(arguments))
    assert not (tmp_path / "out").exists()


def test_one_of_several_processes_saves_when_all_is_trained(
    root, recipe_file, tmp_path, monkeypatch
):
    """By then it is alone: what the confidence is worth is measured on whole batches."""

    @contextlib.contextmanager
    def joined():
        with monkeypatch.context() as together:
            together.setattr(processes, "size", lambda: 2)
            yield

    monkeypatch.setattr(processes, "joined", joined)
    monkeypatch.setattr(processes, "wait", lambda: None)
    fitted, saved = FitResult({}, {}, 3), []
    monkeypatch.setattr(
        millimamba, "fit_recipe", lambda *_, **__: (f"of {processes.size()}", fitted)
    )
    monkeypatch.setattr(
        millimamba, "save", lambda model, *_: saved.append((model, processes.size()))
    )
    parser = argparse.ArgumentParser()
    millimamba.add_train_arguments(parser)
    arguments = ["--recipe", str(recipe_file), "--data", str(root), "--out", str(tmp_path)]
    assert millimamba.train(parser.parse_args([*arguments, "--processes", "1"])) == 0
    assert saved == [("of 2", 1)]


def test_a_training_goes_on_by_its_own_recipe_only(root, recipe_file, tmp_path):
    recipe = Recipe.load(recipe_file)
    recordings = [simulated.load_split(root, split) for split in ("train", "validation")]
    millimamba.fit_recipe(recipe, *recordings, tmp_path, report=len)
    _, again = millimamba.fit_recipe(recipe, *recordings, tmp_path, resume=True, report=len)
    assert again.step in (2, 3)
    other = dataclasses.replace(recipe, batch=4)
    with pytest.raises(ValueError, match=r"a training by another recipe, see recipe\.json"):
        millimamba.fit_recipe(other, *recordings, tmp_path, resume=True, report=len)


def test_validation_wants_a_window(root, recipe_file, tmp_path):
    (whole,) = simulated.load_split(root, "train")
    short = dataclasses.replace(whole, keypoints_px=whole.keypoints_px[:8])
    with pytest.raises(ValueError, match="no recording for validation has the 9 frames"):
        millimamba.fit_recipe(Recipe.load(recipe_file), [whole], [short], tmp_path / "out")


@pytest.mark.parametrize("temporal_kernel", [1, 3])
@pytest.mark.parametrize("views", [(True, True), (False, True)])
def test_middle_frames_are_kept(root, temporal_kernel, views):
    """Frames encoded once or per window, with both radars or one: as the network by itself."""
    (recording,) = simulated.load_split(root, "test")
    torch.manual_seed(0)
    config = dataclasses.replace(EDGE, temporal_kernel=temporal_kernel, **SMALL)
    model = MilliMamba(config).eval()
    both, (keypoints_px, confidence) = evaluation.estimate_recording(
        model, recording, [(True, True), views], batch=5
    )
    assert keypoints_px.shape == (20 - FRAMES + 1, 14, 2)
    cubes, _ = gather([recording], [Window(0, 3)], FRAMES)
    valid = torch.tensor(views)[None, :, None].expand(1, 2, FRAMES)
    with torch.no_grad():
        window = model(input_for(config, cubes), valid)
    middle = FRAMES // 2
    np.testing.assert_allclose(keypoints_px[3], window.keypoints[0, middle], atol=1e-3)
    np.testing.assert_allclose(confidence[3], window.confidence[0, middle], atol=1e-5)
    assert np.array_equal(both[0], keypoints_px) == all(views)


def test_a_recording_shorter_than_a_window_is_named(root):
    (recording,) = simulated.load_split(root, "test")
    short = dataclasses.replace(recording, keypoints_px=recording.keypoints_px[:8])
    with pytest.raises(ValueError, match="8 frames are less than a window of 9"):
        evaluation.estimate_recording(MilliMamba(EDGE), short)
    baseline = MeanPoseBaseline(((0.0, 0.0),) * 14, 1.33, 0.043, 1)
    with pytest.raises(ValueError, match="none of 1 recordings has the 9 frames"):
        evaluation.estimate(MilliMamba(EDGE), baseline, [short], report=len)


def test_scores_of_the_truth_and_of_a_shift():
    truth_px = np.random.default_rng(0).uniform(60, 200, (6, 14, 2))
    area_px2 = np.full(6, 5000.0)
    assert evaluation.scores(truth_px, truth_px, area_px2)["pck_0_2"] == 1.0
    assert evaluation.scores(truth_px, truth_px, area_px2)["ap"] == pytest.approx(1.0)
    shifted = evaluation.scores(truth_px + np.array([3.0, 4.0]), truth_px, area_px2)
    assert shifted["median_error_px"] == pytest.approx(5.0)
    # a person of a tiny box must be met exactly
    assert evaluation.scores(truth_px + 5, truth_px, area_px2 / 1000)["ap"] == 0.0


def test_the_figure_calls_motions_alike_above_and_below():
    """PCK from 0 to 1, of frames that are right and such as are not; the legend is outside."""
    truth_px = np.random.default_rng(0).uniform(50, 200, (4, 14, 2))
    motions = np.array(["arm_raise", "arm_raise", "kick", "kick"])
    good = np.array([True, True, False, False])
    figure = evaluation._figure(estimates_of(truth_px, good, motions=motions))
    above, below = figure.subfigs
    bars = above.axes[0]
    assert bars.get_ylim() == (0, 1)
    assert [bar.get_height() for bar in bars.containers[1]] == [1.0, 0.0]
    assert [label.get_text() for label in bars.get_xticklabels()] == ["arm\nraise", "kick*"]
    assert bars.get_legend() is None
    named = [text.get_text() for text in above.legends[0].get_texts()]
    assert named[1] == "milliMamba" and len(named) == 3
    said = {axis.get_xlabel() for axis in below.axes}
    assert "OKS 1.00, arm raise" in said and "OKS 0.00, kick*" in said


def estimates_of(truth_px, good, **changes):
    """Estimates that are right where ``good`` and 100 px off elsewhere."""
    pixels = np.where(good[:, None, None], truth_px, truth_px + 100)
    entries = {
        "truth_px": truth_px,
        "estimate_px": pixels,
        "baseline_px": truth_px + 100,
        "placed_px": truth_px,
        "area_px2": np.full(len(truth_px), 5000.0),
        "confidence": np.where(good[:, None], 0.9, 0.2) * np.ones((len(truth_px), 14)),
        "motions": np.array(["walk", "walk", "kick", "kick"]),
        "others_px": {"horizontal": truth_px + 100, "vertical": truth_px},
    }
    return evaluation.Estimates(**{**entries, **changes})


def test_rows_tell_known_and_unseen_motions_apart():
    truth_px = np.random.default_rng(0).uniform(60, 200, (4, 14, 2))
    estimates = estimates_of(truth_px, np.array([True, True, False, False]))
    values = {row["id"]: row["value"] for row in evaluation.rows(estimates)}
    assert values["test.known_motions.pck_0_2"] == 1.0
    assert values["test.unseen_motions.pck_0_2"] == 0.0
    assert values["test.pck_0_2"] == 0.5
    assert values["test.pck_0_2_mean_pose"] == 0.0
    assert values["test.pck_0_2_mean_pose_in_true_place"] == 1.0
    assert values["test.motion.kick.ap"] == 0.0
    assert values["test.ap_horizontal"] == 0.0
    assert values["test.ap_vertical"] == pytest.approx(1.0)
    assert values["test.joint.neck.ap_fraction"] == 0.5
    # half of the joints are perfect and said 0.9, half are hopeless and said 0.2
    assert values["test.confidence_error"] == pytest.approx((0.1 + 0.2) / 2)


def test_rows_without_what_is_not_known():
    """As of real recordings: neither the motions nor where the hips are in space."""
    truth_px = np.random.default_rng(0).uniform(60, 200, (4, 14, 2))
    nowhere = np.full_like(truth_px, np.nan)
    estimates = estimates_of(
        truth_px, np.ones(4, bool), placed_px=nowhere, motions=np.array(["unknown"] * 4)
    )
    names = {row["id"] for row in evaluation.rows(estimates)}
    assert "test.ap" in names
    assert not [name for name in names if "motion" in name or "true_place" in name]


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


def test_heatmaps_that_a_data_set_can_give_are_taken(recipe_file, tmp_path):
    """HuPR's own heatmaps have the central Doppler bins, not subsampled chirps."""
    list(hupr_simulated.write(tmp_path, {"train": 1}, seconds=0.2, raw=False, preprocessed=True))
    data = Recipe.load(recipe_file).data
    assert data.heatmap.chirps == "subsample"
    assert millimamba.suited(data, tmp_path).heatmap.chirps == "central_doppler"
    (recording,) = millimamba.recordings_of(millimamba.suited(data, tmp_path), tmp_path, "train")
    assert isinstance(recording, hupr.HuprRecording)
    assert recording.range_doppler.shape == (2, 2, 12, 8, 64, 2)
