"""Training and evaluation of DiffHPE and MixSTE, on networks too small to be good at it."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml

from radar_pose_ros.datasets import camera_views
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.metrics import pose3d
from radar_pose_ros.models import diffhpe as diffhpe_model
from radar_pose_ros.models import mixste as mixste_model
from radar_pose_ros.models import weights
from radar_pose_ros.models.diffhpe import DiffHPE
from radar_pose_ros.models.diffusion import Sampler
from radar_pose_ros.models.mixste import MixSTE
from radar_pose_ros.simulation.cameras import random_camera
from radar_pose_ros.training import camera_windows, diffhpe
from radar_pose_ros.training import mixste as mixste_command
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.camera_windows import Batch, ViewBatches, fixed_windows
from radar_pose_ros.training.diffhpe import PRESETS, RECIPES, SCORE, Recipe
from radar_pose_ros.training.recipe import RecipeError

FRAMES = 9
ONE_EACH = {"train": 1, "validation": 1, "test": 1}
SMALL_MIXSTE = {"frames": FRAMES, "width": 16, "depth": 1}
SMALL = {
    "frames": FRAMES,
    "width": 16,
    "blocks": 2,
    "step_channels": 16,
    "mixste_width": 16,
    "mixste_depth": 1,
}


def entries(preset: str, **changes: object) -> dict:
    """The shipped recipe, tiny."""
    made = recipes.entries(RECIPES / f"{preset}.yaml")
    made["model"] = SMALL_MIXSTE if preset == "mixste" else SMALL
    made["data"] |= {"rate_hz": 25, "seconds": 3.0, "held_out": {}}
    made["data"]["simulated"] = {"train": 2, "validation": 1, "test": 1}
    made["loop"] |= {"steps": 4, "warmup_steps": 1, "validate_every": 2}
    return made | {"batch": 4, "validation_windows": 6, "hypotheses": 3} | changes


def recipe(preset: str, **changes: object) -> Recipe:
    return Recipe.of(copy.deepcopy(entries(preset, **changes)))


@pytest.fixture(scope="module")
def people() -> dict:
    data = recipe("mixste").data
    return {split: camera_windows.load(data, split) for split in ("train", "validation", "test")}


@pytest.fixture
def condition() -> MixSTE:
    torch.manual_seed(0)
    return MixSTE(recipe("mixste").network)


@pytest.fixture
def small_presets(monkeypatch):
    """All presets tiny, and known to what saves weights."""
    for preset, name in (("mixste", "MixSTE"), ("diffhpe", "DiffHPE")):
        monkeypatch.setitem(weights.NETWORKS, preset, name)
    configs = {preset: recipe(preset).network for preset in PRESETS}
    for preset, config in configs.items():
        monkeypatch.setitem(PRESETS, preset, config)
    monkeypatch.setitem(mixste_model.PRESETS, "paper", configs["mixste"])
    for preset in ("2d", "wrapper"):
        monkeypatch.setitem(diffhpe_model.PRESETS, preset, configs[preset])


def tiny_file(folder, preset: str, **changes: object):
    path = folder / f"{preset}.yaml"
    path.write_text(yaml.safe_dump({**entries(preset, **changes), "model": {}}))
    return path


# -- recipes -------------------------------------------------------------------------------------


def test_shipped_recipes_are_valid() -> None:
    assert {path.stem for path in RECIPES.glob("*.yaml")} == set(PRESETS)
    for preset in PRESETS:
        found = Recipe.load(RECIPES / f"{preset}.yaml")
        assert found.preset == preset and found.is_preset
        assert found.data.noise.white == 2.5
        assert json.loads(json.dumps(dataclasses.asdict(found))) == json.loads(
            json.dumps(dataclasses.asdict(Recipe.of(dataclasses.asdict(found))))
        )


def test_networks_of_recipes() -> None:
    assert recipe("2d").network == dataclasses.replace(PRESETS["2d"], **SMALL)
    assert not recipe("2d").is_preset
    assert recipe("wrapper").network.mixste == dataclasses.replace(
        recipe("mixste").network, head=False
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "3d"}, "'3d' is none of mixste, 2d, wrapper"),
        ({"batch": 0}, "must be a whole number above 0"),
        ({"model": {"wdth": 3}}, "model: there is no such entry as 'wdth': did you mean width"),
        ({"sampler": {"method": "euler"}}, "'euler' is none of ancestral"),
        ({"colour": 3}, "there is no such entry as 'colour': allowed are preset, data, batch, "),
        (
            {"sampler": {"methodz": "ddim"}},
            "sampler: there is no such entry as 'methodz': did you ",
        ),
        (
            {"data": {"seconds": 0.3, "rate_hz": 25, "simulated": ONE_EACH}},
            "8 frames, fewer than the 9 of a window",
        ),
        ({"data": {"cameras": {"azimut": 1}}}, "data: cameras: there is no such entry as 'azimut"),
        ({"data": {"simulated": {"train": 1}}}, "no entry validation, test"),
    ],
)
def test_wrong_recipes_are_named(tmp_path, change, message) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(entries("2d") | change))
    with pytest.raises(RecipeError, match=message) as error:
        Recipe.load(path)
    assert str(path) in str(error.value)


def test_missing_entries_are_named(tmp_path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("preset: 2d")
    with pytest.raises(RecipeError, match="there is no entry 'data'"):
        Recipe.load(path)


# -- losses --------------------------------------------------------------------------------------


def test_noise_loss_of_a_network_that_says_nothing_is_one(people) -> None:
    """The mean square of noise of standard deviation 1."""
    torch.manual_seed(0)
    small = recipe("2d")
    model = DiffHPE(small.network)
    torch.nn.init.zeros_(model.leave.bias)
    batch = ViewBatches(people["train"], FRAMES, 32, small.data, 0)(0)
    losses = diffhpe.noise_losses(model, model, batch, small)
    assert list(losses) == ["loss"]
    assert losses["loss"].item() == pytest.approx(1.0, abs=0.05)


def test_bone_losses_of_a_body_that_is_one(people) -> None:
    """A rigid, symmetric body has none; stretched by a tenth in half of the frames it has."""
    poses = ViewBatches(people["train"], FRAMES, 8, recipe("2d").data, 0)(0).poses
    segments, symmetry = diffhpe.bone_losses(poses)
    assert float(segments) < 1e-6 and float(symmetry) < 1e-5
    even = poses[..., :8].clone()
    even[..., ::2] *= 1.1
    grown, _ = diffhpe.bone_losses(even)
    a, b = np.array(diffhpe.H36M17.edges).T
    squares = (poses[:, :, b] - poses[:, :, a]).square().sum(1).mean()
    assert float(grown) == pytest.approx(float(squares) * 0.05**2, rel=0.02)
    longer = poses.clone()
    longer[:, :, 12:14] += longer[:, :, [12]] - longer[:, :, [11]]  # the left upper arm, twice
    _, gap = diffhpe.bone_losses(longer)
    upper = (poses[:, :, 12] - poses[:, :, 11]).square().sum(1).mean()
    assert float(gap) == pytest.approx(float(upper) / 6, rel=0.02)


def test_regularisers_are_for_what_the_noise_implies(people) -> None:
    """A network that says the noise exactly implies the true poses, which are bodies."""

    class Exact(DiffHPE):
        def forward(self, poses, step, condition):
            left = torch.as_tensor(self.config.diffusion.signal, dtype=poses.dtype)[step]
            left = left[:, None, None, None]
            return (poses - left.sqrt() * self.truth) / (1 - left).sqrt()

    small = recipe("2d", segment_weight=1.0, symmetry_weight=1.0)
    batch = ViewBatches(people["train"], FRAMES, 8, small.data, 0)(0)
    model = Exact(small.network)
    model.truth = batch.poses
    losses = diffhpe.noise_losses(model, model, batch, small)
    assert set(losses) == {"loss", "noise", "segments", "symmetry"}
    assert all(float(loss) < 1e-4 for loss in losses.values())


# -- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_training_and_its_resumption(preset, people, condition, tmp_path, monkeypatch) -> None:
    """Interrupted after a checkpoint, it gives the weights of an uninterrupted one."""
    small = recipe(preset)
    trained = {"condition": condition if preset == "wrapper" else None, "report": len}
    data = people["train"], people["validation"]
    model, result = diffhpe.fit_recipe(small, *data, tmp_path / "whole", **trained)
    assert result.scores[SCORE] == -result.scores["validation_mpjpe_mm"]
    assert 50 < result.scores["validation_mpjpe_mm"] < 2000
    call, calls = ViewBatches.__call__, []

    def until_step_3(self, step, mine=slice(None)):
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return call(self, step, mine)

    monkeypatch.setattr(ViewBatches, "__call__", until_step_3)
    with pytest.raises(KeyboardInterrupt):
        diffhpe.fit_recipe(small, *data, tmp_path / "parts", **trained)
    again, _ = diffhpe.fit_recipe(small, *data, tmp_path / "parts", resume=True, **trained)
    assert calls == [0, 1, 2, 3, 2, 3]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)
    with pytest.raises(ValueError, match="holds a training by another recipe"):
        diffhpe.fit_recipe(
            dataclasses.replace(small, batch=8), *data, tmp_path / "parts", resume=True, **trained
        )


def test_the_condition_stays_as_it_was_trained(people, condition, tmp_path) -> None:
    before = {k: v.clone() for k, v in condition.state_dict().items()}
    model, _ = diffhpe.fit_recipe(
        recipe("wrapper"),
        people["train"],
        people["validation"],
        tmp_path,
        condition=condition,
        report=len,
    )
    for name, value in model.mixste.state_dict().items():
        assert torch.equal(value, before[name]), name
    with pytest.raises(ValueError, match="wrapper wants the weights of a trained MixSTE"):
        diffhpe.build(recipe("wrapper").network)


def test_mixste_learns(people) -> None:
    """On windows that it has seen it is soon much better than their mean pose."""
    torch.manual_seed(0)
    small = recipe("mixste")
    model = MixSTE(small.network)
    batches = ViewBatches(people["train"], FRAMES, 16, small.data, 0)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    fixed: Batch = batches(0)
    mean = (fixed.poses - fixed.poses.mean((0, 3), keepdim=True)).norm(dim=1).mean()
    for _ in range(100):
        error = (model(fixed.keypoints) - fixed.poses).norm(dim=1).mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    assert float(error.detach()) < 0.85 * float(mean)


# -- measuring -----------------------------------------------------------------------------------


def test_measures_of_known_errors(people) -> None:
    windows = fixed_windows(people["test"], FRAMES, recipe("2d").data)
    true = windows.poses_m
    exact = diffhpe.measure(true, true)
    assert exact["mpjpe_mm"] == 0 and exact["p_mpjpe_mm"] < 1e-6
    assert exact["symmetry_gap_mm"] < 3 and exact["segment_consistency_mm"] < 3
    moved = diffhpe.measure(1.1 * true + [0.0, 0.03, 0.04], true)
    assert moved["p_mpjpe_mm"] < 1e-6
    assert moved["symmetry_gap_mm"] == pytest.approx(1.1 * exact["symmetry_gap_mm"])
    shifted = diffhpe.measure(true + [0.0, 0.03, 0.04], true)
    assert shifted["mpjpe_mm"] == pytest.approx(50)


def test_strategies_are_ordered(people) -> None:
    """Best before average before worst; by reprojection what was right is found."""
    windows = fixed_windows(people["test"], FRAMES, recipe("2d").data)
    rng = np.random.default_rng(0)
    true = windows.poses_m
    poses = true + 0.1 * rng.standard_normal((5, *true.shape)) * rng.uniform(
        0.5, 2, (5, len(true), 1, 1, 1)
    )
    right = rng.integers(0, 5, true.shape[:-1])
    np.put_along_axis(poses, right[None, ..., None], true[None], axis=0)
    exact = dataclasses.replace(windows, pixels=windows.project(windows.joints_m))
    made = diffhpe.strategies(poses, exact, "none")
    errors = {name: diffhpe.measure(value, true)["mpjpe_mm"] for name, value in made.items()}
    assert errors["reprojection_true_pelvis"] < 1e-6
    assert errors["average"] < errors["best"] < errors["worst"]


def walks(takes: dict[str, int], rate_hz: float = 25.0) -> list[PoseSequence]:
    """Takes, each of so many windows, by names such as "S9 Walking 1"."""
    joints_m = _walk()
    return [
        PoseSequence(
            take,
            take.split()[0],
            take.split()[1],
            rate_hz,
            "h36m17",
            np.resize(joints_m, (count * FRAMES, 17, 3)),
            "",
        )
        for take, count in takes.items()
    ]


def test_calibration_of_a_network(monkeypatch) -> None:
    """It holds for the one of two people who is further off, though he is seen in one take only.

    Hypotheses 10 mm from their mean along each axis have a covariance of 100 mm^2 times 1; the
    mean is off by 20 and by 60 mm: 4 and 36 in its units, of which chi-square has 6.25 at 90 %.
    """
    small = recipe("2d")
    takes = {f"S1 Walking {k}": 1 for k in range(19)} | {"S5 Walking": 1}
    off_m = np.where([take.startswith("S1") for take in takes], 0.02, 0.06)
    corners = 0.01 * np.concatenate([np.eye(3), -np.eye(3)])[:, None, None, None]

    def lift(network, keypoints):
        assert keypoints.shape == (20, 2, 17, FRAMES)
        wrong = true + off_m[:, None, None, None] * [0.0, 0.0, 1.0]
        return wrong + np.sqrt(5 / 2) * corners

    true = fixed_windows(walks(takes), FRAMES, small.data).poses_m
    monkeypatch.setattr(diffhpe, "lift", lift)
    found = diffhpe.calibrate(DiffHPE(small.network), small, walks(takes))
    # and a floor of 1 mm^2
    wanted = 60**2 / (10**2 + 1) / 6.2514
    np.testing.assert_allclose(found.factors, [wanted] * 17, rtol=1e-4)
    assert (found.hypotheses, found.level) == (6, 0.9)


# -- published for Human3.6M ---------------------------------------------------------------------


@pytest.fixture
def human36m(monkeypatch, tmp_path):
    """A MixSTE that is off by as much as each take says, in mm, on three takes of a data set.

    Returns what evaluates it, as a dictionary of results, and what it estimated.
    """
    takes = {"S9 Walking": 1, "S9 Walking 1": 3, "S11 Eating": 2}
    off_m = {"S9 Walking": 0.03, "S9 Walking 1": 0.06, "S11 Eating": 0.09}
    camera = random_camera(_walk(), np.random.default_rng(0))
    made, seen = [camera_views.view(walk, camera) for walk in walks(takes)], []

    def cut(sources, frames, data, *, most=None):
        seen[:] = [fixed_windows(sources, frames, data, most=most)]
        return seen[0]

    def lift(network, keypoints):
        windows = seen[0]
        off = np.array([off_m[name] for name in windows.sources])[:, None, None, None]
        poses = windows.poses_m + off * [0.0, 0.6, 0.8]
        poses[..., 11, :] += [0.0, 0.0, 1e-3]  # a left shoulder beside its place
        return poses

    small = MixSTE(recipe("mixste").network)
    entry = {"model": "mixste", "preset": "paper", "file": "any.safetensors", "sha256": "0123"}
    monkeypatch.setattr(diffhpe, "load", lambda *_: (small, entry))
    monkeypatch.setattr(camera_windows, "load", lambda *_: made)
    monkeypatch.setattr(diffhpe, "fixed_windows", cut)
    monkeypatch.setattr(diffhpe, "lift", lift)

    def evaluate(*options) -> dict[str, dict]:
        numbers = tmp_path / "numbers.json"
        common = "--weights", "any.safetensors", "--json", numbers
        assert run(diffhpe.add_evaluate_arguments, diffhpe.evaluate, *common, *options) == 0
        return {row["id"]: row for row in json.loads(numbers.read_text())["results"]}

    return evaluate, lambda: (lift(None, None), len(seen[0].sources))


def test_mpjpe_per_action_and_their_mean(human36m, tmp_path) -> None:
    """Of Walking's takes, 30 mm in one window and 60 in three; each action counts as much."""
    evaluate, _ = human36m
    rows = evaluate("--data", tmp_path)
    value = {name: row["value"] for name, row in rows.items()}
    # a joint of 17 is 1 mm further away along z: by 0.8 mm, and a little
    extra = 0.8 / 17
    assert value["test.none.mpjpe_mm"] == pytest.approx(65 + extra, abs=1e-3)
    assert value["test.none.mpjpe_mm.Walking"] == pytest.approx(52.5 + extra, abs=1e-3)
    assert value["test.none.mpjpe_mm.Eating"] == pytest.approx(90 + extra, abs=1e-3)
    over = rows["test.right_leg.mpjpe_mm_over_actions"]
    assert over["value"] == pytest.approx(71.25 + extra, abs=1e-3)
    assert over["against"] == "mean of 2 actions"
    assert "test.right_leg.mpjpe_mm.Walking" not in value
    assert not [name for name in evaluate() if "actions" in name or "Walking" in name]


def test_bones_as_they_were_published(human36m, tmp_path) -> None:
    """Shoulders from the spine, beside the right definition."""
    evaluate, estimate = human36m
    rows = evaluate("--data", tmp_path)
    poses, _ = estimate()
    for name, measure in (
        ("symmetry_gap", pose3d.symmetry_gap),
        ("segment_consistency", pose3d.segment_consistency),
    ):
        right = rows[f"test.none.{name}_mm"]["value"]
        legacy = rows[f"test.none.{name}_legacy_mm"]["value"]
        assert right == pytest.approx(1e3 * measure(poses))
        assert legacy == pytest.approx(1e3 * measure(poses, legacy_shoulder_parent=True))
        assert legacy != pytest.approx(right, rel=1e-3)


def test_how_many_windows_are_measured(human36m, tmp_path, monkeypatch, capsys) -> None:
    """All of a data set's own test set, and so many of simulated people, unless it is said."""
    evaluate, estimate = human36m
    monkeypatch.setattr(diffhpe, "WINDOWS", 2)
    for options, wanted in (
        (("--data", tmp_path), 6),
        ((), 2),
        (("--windows", "all"), 6),
        (("--data", tmp_path, "--windows", 4), 4),
    ):
        evaluate(*options)
        assert estimate()[1] == wanted, options
    with pytest.raises(SystemExit):
        evaluate("--windows", "0")
    assert "'0' is no whole number above 0" in capsys.readouterr().err


def test_weights_say_the_rate_of_the_data(tmp_path) -> None:
    """Which is a data set's own, whatever the recipe draws for simulated people."""
    small = Recipe.of({**entries("2d"), "model": {}})
    assert small.data.rate_hz == 25
    camera = random_camera(_walk(), np.random.default_rng(0))
    views = [camera_views.view(walk, camera) for walk in walks({"S1 Walking": 1}, 50.0)]
    model = DiffHPE(small.network)
    result = diffhpe.FitResult(model.state_dict(), {"mpjpe": 1.0}, 1)
    entry = diffhpe.save(model, small, result, views, tmp_path, command="")
    assert entry["poses"]["rate_hz"] == 50.0


def test_a_recipe_chooses_the_sampler(people) -> None:
    """DPM-Solver of order 1 is DDIM without noise, of order 2 it is not."""
    windows = fixed_windows(people["test"], FRAMES, recipe("2d").data, most=2)
    torch.manual_seed(0)
    model = DiffHPE(recipe("2d").network)
    torch.nn.init.normal_(model.leave.weight, std=0.1)
    poses = []
    for chosen in (
        {"method": "ddim", "steps": 4},
        {"method": "dpm_solver", "steps": 4, "order": 1},
        {"method": "dpm_solver", "steps": 4},
    ):
        sampler = recipe("2d", sampler=chosen).sampler
        poses.append(diffhpe.lift(diffhpe.estimator(model, 2, sampler), windows.keypoints()))
    np.testing.assert_allclose(poses[1], poses[0], rtol=1e-5, atol=1e-5)
    assert np.abs(poses[2] - poses[0]).max() > 1e-3


# -- from the command line -----------------------------------------------------------------------


def run(add, command, *options) -> int:
    parser = argparse.ArgumentParser()
    add(parser)
    return command(parser.parse_args([*map(str, options), "--threads", "1"]))


def test_train_then_evaluate(small_presets, tmp_path, capsys) -> None:
    """MixSTE, the Wrapper that goes by it, and its numbers under every pattern."""
    out = tmp_path / "out"
    options = ["--out", out, "--recipe"]
    condition_out = tmp_path / "condition"
    train = diffhpe.add_train_arguments, diffhpe.train
    data = entries("mixste")["data"] | {
        "simulated": {"train": 1, "validation": 6, "test": 1},
        "seconds": 6.0,
    }
    mixste_file = tiny_file(tmp_path, "mixste", data=data)
    assert run(*train, "--out", condition_out, "--recipe", mixste_file) == 0
    trained = condition_out / "mixste_paper.safetensors"
    wrapper = tiny_file(tmp_path, "wrapper", data=data)
    assert run(*train, *options, wrapper, "--mixste", trained) == 0
    network, entry = diffhpe.load(out / "diffhpe_wrapper.safetensors")
    assert isinstance(network, DiffHPE)
    mixste, _ = diffhpe.load(trained)
    for name, value in network.mixste.state_dict().items():
        assert torch.equal(value, mixste.state_dict()[name]), name
    assert entry["config"]["frames"] == FRAMES and entry["config"]["diffusion_steps"] == 50
    assert Sampler(**{k: v for k, v in entry["sampling"].items() if k != "hypotheses"})
    assert len(entry["spread"]["factors"]) == 17
    assert entry["poses"] == {
        "skeleton": "h36m17",
        "unit": "m",
        "root_relative": True,
        "rate_hz": entries("wrapper")["data"]["rate_hz"],
    }
    assert entry["command"].endswith("--recipe wrapper.yaml --mixste mixste_paper.safetensors")
    assert "simulated" in entry["training_data"]["licence"]

    numbers = tmp_path / "numbers.json"
    people = [PoseSequence("a", "a", "", 25.0, "h36m17", _walk(), "none")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(camera_windows, "load", lambda *_: people)
        arguments = ["--weights", out / "diffhpe_wrapper.safetensors", "--json", numbers]
        evaluate = diffhpe.add_evaluate_arguments, diffhpe.evaluate
        assert run(*evaluate, *arguments, "--windows", 2) == 0
        short = capsys.readouterr().out.splitlines()
        assert run(*evaluate, *arguments, "--windows", 2, "--all") == 0
        with pytest.raises(weights.WeightsError, match="is a mixste, not a diffhpe"):
            run(*evaluate, "--weights", trained, "--windows", 2)
        evaluate = mixste_command.add_evaluate_arguments, mixste_command.evaluate
        assert run(*evaluate, "--weights", trained, "--windows", 2, "--all") == 0
    values = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    for pattern in camera_windows.OCCLUSIONS:
        assert values[f"test.{pattern}.best.mpjpe_mm"] <= values[f"test.{pattern}.worst.mpjpe_mm"]
        assert 0 <= values[f"test.{pattern}.coverage_90"] <= 1
    whole = capsys.readouterr().out
    assert "test.random.p_mpjpe_mm" in whole and "test.random.average.p_mpjpe_mm" in whole
    assert "mixste_paper.safetensors: mixste, preset paper, " in whole
    assert any(line.startswith("diffhpe_wrapper.safetensors: diffhpe, prese") for line in short)
    [clean] = [line for line in short if line.startswith("none")]
    assert f"{values['test.none.average.mpjpe_mm']:.1f} mm" in clean
    assert short[-1] == f"{len(values)} numbers in all: --all prints them"


def test_the_summary_is_of_what_is_used() -> None:
    """The mean of the hypotheses, or the one pose there is; no column without a number."""
    ids = {"none.average.mpjpe_mm": 83.04, "none.best.mpjpe_mm": 70.0, "none.coverage_90": 0.9}
    ids["random.mpjpe_mm"] = 85.0
    rows = [{"id": f"test.{name}", "value": value} for name, value in ids.items()]
    head, first, *_, last = diffhpe.summary(rows).splitlines()
    assert head == "missing joints        MPJPE  in 90 % ellipsoids"
    assert first.split() == ["none", "83.0", "mm", "90.0%"]
    [random] = [line for line in diffhpe.summary(rows).splitlines() if line.startswith("random")]
    assert random.split() == ["random", "85.0", "mm"]
    assert last == "4 numbers in all: --all prints them"


def test_a_training_is_not_overwritten(small_presets, tmp_path) -> None:
    """Refused before anything is simulated; with --resume it goes on."""
    file = tiny_file(tmp_path, "mixste")
    train = diffhpe.add_train_arguments, diffhpe.train
    options = "--out", tmp_path / "out", "--recipe", file
    assert run(*train, *options) == 0
    before = (tmp_path / "out" / "last.pt").read_bytes()
    with pytest.raises(ValueError, match=r"last\.pt: name another folder with --out, or .*--resu"):
        run(*train, *options)
    assert (tmp_path / "out" / "last.pt").read_bytes() == before
    assert run(*train, *options, "--resume") == 0


def _walk() -> np.ndarray:
    data = recipe("2d").data
    return camera_windows.load(data, "test")[0].joints_m[:20]


def test_only_presets_are_trained_for_use(tmp_path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(entries("2d")))
    with pytest.raises(RecipeError, match="changes the preset '2d'"):
        run(diffhpe.add_train_arguments, diffhpe.train, "--recipe", path)


def test_other_weights_are_no_condition(small_presets, tmp_path) -> None:
    small = Recipe.of({**entries("2d"), "model": {}})
    model = DiffHPE(small.network)
    result = diffhpe.FitResult(model.state_dict(), {"mpjpe": 1.0}, 1)
    diffhpe.save(model, small, result, walks({"S1 Walking": 1}), tmp_path, command="")
    with pytest.raises(RecipeError, match="holds no MixSTE"):
        diffhpe._condition(tmp_path / "diffhpe_2d.safetensors")
