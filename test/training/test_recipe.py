"""What all recipes and trainings share; each network's own recipes are tested with it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

from radar_pose_ros.models.weights import WeightsError
from radar_pose_ros.training import diffhpe, millimamba, mixsynthformer, recipe
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
