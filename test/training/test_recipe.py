"""What all recipes and trainings share; each network's own recipes are tested with it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

from radar_pose_ros.models.weights import WeightsError
from radar_pose_ros.training import diffhpe, millimamba, mixsynthformer, recipe
from radar_pose_ros.training.loop import LoopConfig
from radar_pose_ros.training.recipe import RECIPES, RecipeError


@pytest.mark.parametrize("module", [millimamba, mixsynthformer, diffhpe])
def test_folders_are_named_as_their_networks(module) -> None:
    """And recipes as their presets, all of which can be loaded by name."""
    name = module.__name__.rpartition(".")[2]
    assert RECIPES / name == module.RECIPES
    for path in module.RECIPES.glob("*.yaml"):
        found = module.Recipe.load(path)
        assert isinstance(found, recipe.Recipe)
        assert path.stem == found.preset
        recipe.require_preset(found, path)


def test_bases_of_bases_are_followed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text("x: {one: 1, two: [2]}\ny: 1")
    (tmp_path / "b.yaml").write_text("base: a.yaml\nx: {two: [3]}")
    (tmp_path / "deep" / "c.yaml").write_text("base: ../b.yaml\nx: {three: 4}\ny: {z: 5}")
    assert recipe.entries(tmp_path / "deep" / "c.yaml") == {
        "x": {"one": 1, "two": [3], "three": 4},
        "y": {"z": 5},
    }


def test_a_changed_preset_is_named(tmp_path: Path) -> None:
    path = tmp_path / "narrow.yaml"
    path.write_text(f"base: {millimamba.RECIPES / 'edge.yaml'}\nmodel: {{width: 64}}")
    with pytest.raises(RecipeError, match=r"narrow\.yaml changes the preset 'edge'"):
        recipe.require_preset(millimamba.Recipe.load(path), path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "no recipe: want entries, each with its name"),
        ("- 1", "no recipe"),
        ("base: wrong.yaml", "base wrong.yaml leads back to itself"),
        ("base: EDGE\nbatch: 0", "batch must be a whole number above 0, got 0"),
        ("base: EDGE\nbatch: many", "batch must be a whole number above 0, got 'many'"),
        ("base: EDGE\nloop: {learning_rate: 1e-3}", "learning_rate must be a number, .*'1e-3'"),
        *(
            (
                f"base: EDGE\nloop: {{learning_rate: {value}}}",
                f"loop: learning_rate must be a finite number above 0, got {said}$",
            )
            for value, said in ((".nan", "nan"), (".inf", "inf"), ("-0.1", "-0.1"), ("0", "0"))
        ),
        (
            "base: EDGE\nloop: {gradient_clip: .nan}",
            "loop: gradient_clip must be a finite .* nan$",
        ),
        ("base: EDGE\nloop: {weight_decay: -1}", "loop: weight_decay must be 0 or more, got -1$"),
    ],
)
def test_what_is_no_recipe_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content.replace("EDGE", str(millimamba.RECIPES / "edge.yaml")))
    with pytest.raises(RecipeError, match=rf"wrong\.yaml: .*{sentence}"):
        millimamba.Recipe.load(path)


def test_a_damaged_folder_is_noticed_before_training(tmp_path: Path) -> None:
    recipe.require_usable(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match=r"manifest\.json is no manifest"):
        recipe.require_usable(tmp_path)
    (tmp_path / "recipe.json").write_text("{")
    found = millimamba.Recipe.load(millimamba.RECIPES / "edge.yaml")
    with pytest.raises(ValueError, match=r"recipe\.json is damaged"):
        recipe.keep(found, tmp_path, resume=True)


def test_a_folder_with_a_training_wants_resume_or_another(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds a training already, last\.pt: name another fold"):
        recipe.require_usable(tmp_path)
    recipe.require_usable(tmp_path, resume=True)
    recipe.require_usable(tmp_path / "another")


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"steps": 1, "learning_rate": 0.1, "warmup": 3}, "'warmup': did you mean warmup_steps?"),
        ({"steps": 1}, "loop: there is no entry 'learning_rate'"),
        ({"steps": 1, "learning_rate": 0.1, 7: 7}, "no such entry as 7: allowed are steps, lear"),
        (None, "loop: want entries, each with its name, got None"),
    ],
)
def test_entries_that_there_are_not_are_named(entries, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        recipe.made(LoopConfig, entries, "loop")
    made = recipe.made(LoopConfig, {"steps": 1, "learning_rate": 0.1}, "loop")
    assert (made, recipe.changed(made, {"steps": 2}).steps) == (LoopConfig(1, 0.1), 2)


@pytest.mark.parametrize(("seconds", "fits"), [(0.2, False), (0.8, False), (0.84, True)])
def test_movements_are_as_long_as_a_window(seconds: float, fits: bool) -> None:
    """Of 25 frames at 30 Hz, which are 0.83 s."""
    if fits:
        recipe.require_length(seconds, 30.0, 25)
        return
    with pytest.raises(ValueError, match=r"fewer than the 25 of a window: want at least 0\.833"):
        recipe.require_length(seconds, 30.0, 25)


def test_the_weights_that_are_measured_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"file": "a_b.safetensors", "model": "a", "preset": "b", "sha256": "0123456789"}
    for asked in (None, "b"):
        recipe.announce(entry, asked)
        assert capsys.readouterr().out == "a_b.safetensors: a, preset b, 01234567\n"
    with pytest.raises(
        RecipeError, match=r"a_b\.safetensors holds weights of the preset b, asked"
    ):
        recipe.announce(entry, "c")


def test_commands_name_files_without_their_folders() -> None:
    given = {"recipe": None, "data": Path("/somewhere/cmu_60hz.npz"), "init": "edge"}
    assert recipe.command("mixste", "paper", **given) == (
        "radar-pose train mixste --preset paper --data cmu_60hz.npz --init edge"
    )


def test_counts_and_devices_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (recipe.count("12"), recipe.device("cpu")) == (12, "cpu")
    for text in ("0", "-1", "1.5", "two", "\u0663"):
        with pytest.raises(argparse.ArgumentTypeError, match="no whole number above 0"):
            recipe.count(text)
    with pytest.raises(argparse.ArgumentTypeError, match="'moon' is none of cpu, cuda, cuda:N"):
        recipe.device("moon")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(argparse.ArgumentTypeError, match="'cuda:0': torch finds no GPU here"):
        recipe.device("cuda:0")
