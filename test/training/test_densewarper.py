"""Training and evaluation of DenseWarper, on networks too small to be good at it."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml

from radar_pose_ros.datasets.multiview import simulate
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.datasets.simulated_poses import simulate_sequence
from radar_pose_ros.models import densewarper as densewarper_model
from radar_pose_ros.models import weights
from radar_pose_ros.models.densewarper import PRESETS, DenseWarper
from radar_pose_ros.simulation.multiview import DETECTOR, Detector, rig, shutter_times
from radar_pose_ros.training import densewarper, multiview_windows
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.densewarper import RECIPES, SCORE, Recipe
from radar_pose_ros.training.multiview_windows import RigBatches, fixed_windows
from radar_pose_ros.training.recipe import RecipeError
from radar_pose_ros.vision import calibration_files

SMALL = {
    "size": 24,
    "blocks": 1,
    "channels": 8,
    "dilations": [2],
    "stride": 1,
    "offset_kernel": 1,
    "extrapolation": 0.0,
    "reconciled": False,
    "fading_s": 0.0,
}


def entries(**changes: object) -> dict:
    """The shipped recipe, tiny."""
    made = recipes.entries(RECIPES / "light.yaml")
    made["model"] = SMALL
    made["data"] |= {"seconds": 2.0, "held_out": {}}
    made["data"]["simulated"] = {"train": 2, "validation": 1, "test": 1}
    made["loop"] |= {"steps": 4, "warmup_steps": 1, "validate_every": 2}
    return made | {"batch": 6, "validation_windows": 6} | changes


def recipe(**changes: object) -> Recipe:
    return Recipe.of(copy.deepcopy(entries(**changes)))


@pytest.fixture(scope="module")
def people() -> dict:
    data = recipe().data
    return {s: multiview_windows.load(data, s) for s in ("train", "validation", "test")}


@pytest.fixture
def small_preset(monkeypatch):
    """The preset tiny, also to what saves weights."""
    monkeypatch.setitem(densewarper_model.PRESETS, "light", recipe().network)


# -- recipes -------------------------------------------------------------------------------------


def test_the_shipped_recipe_is_valid() -> None:
    found = Recipe.load(RECIPES / "light.yaml")
    assert found.preset == "light" and found.is_preset
    noise = dataclasses.replace(DETECTOR.noise, white=1.5, drift=4.0)
    assert found.data.detector == dataclasses.replace(
        DETECTOR,
        noise=noise,
        bias=8.0,
        hidden_factor=2.0,
        hidden_missing_rate=0.05,
        hidden_confidence=0.6,
    )
    assert found.network == PRESETS["light"]
    plain = json.loads(json.dumps(dataclasses.asdict(found)))
    assert Recipe.of(plain) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "dark"}, "'dark' is none of paper"),
        ({"batch": 0}, "must be a whole number above 0"),
        ({"preset": "paper", "model": {}}, "want a network of 17 joints, got 20"),
        ({"preset": "paper_per_pair", "model": {"joints": 17}}, "is for 4 views"),
        ({"colour": 3}, "colour"),
        ({"data": {"simulated": {"train": 1}}}, "no entry validation, test"),
    ],
)
def test_wrong_recipes_are_named(tmp_path, change, message) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(entries() | change))
    with pytest.raises(RecipeError, match=message) as error:
        Recipe.load(path)
    assert str(path) in str(error.value)


# -- training ------------------------------------------------------------------------------------


def gliding(people, speed: float) -> list[PoseSequence]:
    """Somebody stiff who glides to the left."""
    person = people["train"][0]
    times = np.arange(len(person.joints_m))[:, None, None] / 60
    return [
        dataclasses.replace(
            person, joints_m=person.joints_m[:1] + times * np.array([0.0, speed, 0.0])
        )
    ]


def test_the_loss_is_that_of_the_newest_instant(people) -> None:
    """Of who stands still there is none but the heatmaps' rounding; else it is by hand."""
    exact = dataclasses.replace(recipe().data, detector=Detector())
    network = DenseWarper(recipe().network)
    still = RigBatches(gliding(people, 0.0), 6, recipe().network, exact, 0)(0)
    assert float(densewarper.loss_of(network.warp_slot, still, 24).detach()) < 1
    moving = RigBatches(gliding(people, 1.0), 6, recipe().network, exact, 0)(0)
    loss = float(densewarper.loss_of(network.warp_slot, moving, 24).detach())
    distance = (moving.views.keypoints_px - moving.target_px[:, :, 0]).abs().sum(-1)
    counts = moving.seen.sum(1, keepdim=True) >= min(3, moving.seen.shape[1])
    distance = torch.where(counts & moving.seen, distance, 0)
    by_hand = 0.8 * (1 - (distance.square() / 768 + 1) ** -5)
    assert loss == pytest.approx(1000 * float(by_hand.mean()), rel=0.05)


def test_a_movement_that_is_always_the_same_is_learnt(people) -> None:
    """Cameras on one side of somebody who always glides to the left: by so much per second."""
    torch.manual_seed(0)
    data = dataclasses.replace(
        recipe().data,
        detector=Detector(),
        views=(2, 2),
        arc=(0.5, 0.5),
        interval_s=(0.3, 0.3),
        cameras=dataclasses.replace(recipe().data.cameras, roll=0.0),
    )
    batches = RigBatches(gliding(people, 1.5), 4, recipe().network, data, 0)
    network = DenseWarper(recipe().network)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    fixed, losses = [batches(step) for step in range(2)], []
    for step in range(40):
        loss = densewarper.loss_of(network.warp_slot, fixed[step % 2], 24)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:2])


def test_training_and_its_resumption(people, tmp_path, monkeypatch) -> None:
    """Interrupted after a checkpoint, it gives the weights of an uninterrupted one."""
    small, data = recipe(), (people["train"], people["validation"])
    model, result = densewarper.fit_recipe(small, *data, tmp_path / "whole", report=len)
    assert isinstance(model, DenseWarper) and not model.training
    assert result.scores[SCORE] == -result.scores["validation_mpjpe_mm"]
    held = result.scores["validation_hold_last_mpjpe_mm"]
    assert 5 < held < 300
    assert result.scores["validation_mpjpe_mm"] == pytest.approx(held, rel=0.5)
    call, calls = RigBatches.__call__, []

    def until_step_3(self, step, mine=slice(None)):
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return call(self, step, mine)

    monkeypatch.setattr(RigBatches, "__call__", until_step_3)
    with pytest.raises(KeyboardInterrupt):
        densewarper.fit_recipe(small, *data, tmp_path / "parts", report=len)
    again, _ = densewarper.fit_recipe(small, *data, tmp_path / "parts", resume=True, report=len)
    assert calls == [0, 1, 2, 3, 2, 3]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)
    with pytest.raises(ValueError, match="holds a training by another recipe"):
        densewarper.fit_recipe(
            dataclasses.replace(small, batch=12), *data, tmp_path / "parts", resume=True
        )


# -- measuring -----------------------------------------------------------------------------------


def test_untrained_it_is_as_good_as_what_is_held(people) -> None:
    windows = fixed_windows(people["test"], recipe().data, 6)
    network = DenseWarper(recipe().network).eval()
    scores = densewarper.validation_scores(network, windows)
    held = scores["validation_hold_last_mpjpe_mm"]
    assert scores["validation_mpjpe_mm"] == pytest.approx(held, abs=1e-3)


def test_the_preset_begins_half_way_to_an_even_movement(people) -> None:
    """Untrained it has half of the error of what is held, where lines have none."""
    exact = dataclasses.replace(recipe().data, detector=Detector(), interval_s=(0.1, 0.1))
    windows = fixed_windows(gliding(people, 1.0), exact, 9)
    network = DenseWarper(dataclasses.replace(recipe().network, extrapolation=0.5)).eval()
    scores = densewarper.validation_scores(network, windows)
    half = scores["validation_hold_last_mpjpe_mm"] / 2
    assert scores["validation_unmoved_mpjpe_mm"] == pytest.approx(half, rel=0.1)
    assert scores["validation_mpjpe_mm"] == pytest.approx(
        scores["validation_unmoved_mpjpe_mm"], abs=1e-3
    )
    batches = [
        RigBatches(gliding(people, 1.0), 3, shown, exact, 0)(0)
        for shown in (recipe().network, network.config)
    ]
    errors = [
        (batch.views.keypoints_px - batch.target_px[:, :, 0]).norm(dim=-1)[batch.seen].mean()
        for batch in batches
    ]
    assert float(errors[1]) == pytest.approx(float(errors[0]) / 2, rel=0.1)


def test_lines_are_right_about_who_glides(people) -> None:
    """Straight in space is nearly straight in an image; what is held is behind."""
    exact = dataclasses.replace(recipe().data, detector=Detector(), interval_s=(0.1, 0.1))
    windows = fixed_windows(gliding(people, 1.0), exact, 9)
    found = densewarper.mean_errors_mm(
        windows, {"held": densewarper.hold_last(windows), "linear": densewarper.linear(windows)}
    )
    assert found["linear"] < 3 and 15 < found["held"] < 80


def test_methods_are_compared_over_joints_that_all_have(people) -> None:
    windows = fixed_windows(people["test"], recipe().data, 3)
    seen = densewarper.hold_last(windows)
    blind = [(pixels, np.zeros_like(score)) for pixels, score in seen[:2]] + seen[2:]
    both = densewarper.mean_errors_mm(windows, {"a": seen, "b": blind})
    alone = densewarper.mean_errors_mm(windows[2:], {"a": seen[2:]})
    assert both["a"] == both["b"] == pytest.approx(alone["a"])
    none = densewarper.mean_errors_mm(windows[:2], {"a": seen[:2], "b": blind[:2]})
    assert np.isnan([*none.values()]).all()


# -- from the command line -----------------------------------------------------------------------


def run(add, command, *options) -> int:
    parser = argparse.ArgumentParser()
    add(parser)
    return command(parser.parse_args([*map(str, options), "--threads", "1"]))


def test_train_then_evaluate(small_preset, tmp_path, capsys, monkeypatch) -> None:
    path = tmp_path / "light.yaml"
    path.write_text(yaml.safe_dump({**entries(), "model": {}}))
    out = tmp_path / "out"
    options = ("--recipe", path, "--out", out, "--device", "cpu")
    assert run(densewarper.add_train_arguments, densewarper.train, *options) == 0
    entry = weights.read_manifest(out)[0]
    assert entry["model"] == "densewarper" and entry["preset"] == "light"
    assert entry["poses"]["skeleton"] == "h36m17" and SCORE in entry["metrics"]
    assert "simulated by this package" in entry["training_data"]["licence"]
    network, _ = weights.network(out / entry["file"], "densewarper")
    assert network.config == recipe().network
    monkeypatch.setattr(densewarper, "RECIPES", tmp_path)
    monkeypatch.setattr(densewarper, "INTERVALS_S", (0.1,))
    table = tmp_path / "table.json"
    options = ("--weights", out / entry["file"], "--windows", 3, "--json", table)
    assert run(densewarper.add_evaluate_arguments, densewarper.evaluate, *options) == 0
    rows = {row["id"]: row["value"] for row in json.loads(table.read_text())["results"]}
    assert {name.split(".")[0] for name in rows} == {"views_2", "views_3", "views_4"}
    for method in ("densewarper", "unmoved", "hold_last", "linear"):
        for what in ("mpjpe", "from_together"):
            assert 1 < rows[f"views_4.interval_100_ms.{method}.{what}_mm"] < 1000
    assert rows["views_4.interval_100_ms.together.mpjpe_mm"] > 1
    assert rows["views_4.interval_100_ms.together.from_together_mm"] == 0
    assert "views_2.interval_100_ms.densewarper.mpjpe_mm" in capsys.readouterr().out


def test_a_trial_is_measured_at_the_rate_that_is_said(tmp_path, monkeypatch, capsys) -> None:
    """One whose files do not say it; without --rate it is asked for, once."""
    rng = np.random.default_rng(0)
    cameras = rig(2, np.array([0.0, 0.0, 1.0]), rng)
    (tmp_path / "calibration").mkdir()
    calibration_files.write(
        {"a": cameras[0], "b": cameras[1]}, tmp_path / "calibration" / "c.toml", "pose2sim"
    )
    np.savez(
        tmp_path / "pose.npz",
        keypoints=np.ones((2, 9, 1, 26, 3)),
        cams=np.array(["cam1", "cam2"]),
    )
    monkeypatch.setattr(weights, "network", lambda *name: (None, {}))
    seen = []
    monkeypatch.setattr(
        densewarper, "recording_rows", lambda _, trial, every: seen.append(trial) or []
    )
    options = ("--pose2sim", tmp_path)
    with pytest.raises(ValueError, match="frames per second with --rate; ") as raised:
        run(densewarper.add_evaluate_arguments, densewarper.evaluate, *options)
    assert str(raised.value).count(str(tmp_path)) == 1
    options += ("--rate", 25)
    assert run(densewarper.add_evaluate_arguments, densewarper.evaluate, *options) == 0
    np.testing.assert_allclose(seen[0].views[1].stamps_s, np.arange(9) / 25)


def test_a_recording_is_measured_beside_what_needs_no_network() -> None:
    """Untrained it holds what was seen last."""
    rng = np.random.default_rng(0)
    person = simulate_sequence(0, 1.0, 30.0, "test")
    cameras = rig(2, person.joints_m.mean((0, 1)), rng)
    stamps = shutter_times(2, 29.5 / 30, 30.0, "synchronous")
    seen = simulate(person, cameras, stamps, rng)
    made = densewarper.recording_rows(DenseWarper(recipe().network), seen)
    found = {row["id"]: row["value"] for row in made}
    for case in ("views_2_interleaved", "views_2_random"):
        held = found[f"{case}.hold_last.mpjpe_mm"]
        assert held > 1
        assert found[f"{case}.densewarper.mpjpe_mm"] == pytest.approx(held, rel=1e-3)


def test_a_recipe_that_changes_the_preset_cannot_be_saved(tmp_path) -> None:
    path = tmp_path / "light.yaml"
    path.write_text(yaml.safe_dump(entries()))
    options = ("--recipe", path, "--out", tmp_path, "--device", "cpu")
    with pytest.raises(RecipeError, match="changes the preset 'light'"):
        run(densewarper.add_train_arguments, densewarper.train, *options)
