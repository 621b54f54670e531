"""The comparisons' machinery, on networks and budgets too small to say anything."""

from __future__ import annotations

import argparse
import dataclasses
import json

import numpy as np
import pytest
import safetensors.torch
import yaml

from radar_pose_ros.training import camera_windows, diffhpe, diffhpe_reproduce
from radar_pose_ros.training.ablations import Job
from radar_pose_ros.training.camera_windows import fixed_windows
from radar_pose_ros.training.claims import Table
from radar_pose_ros.training.diffhpe import Recipe, RecipeError
from radar_pose_ros.training.diffhpe_reproduce import ABLATIONS, MEASURES, MISMATCH

TABLE = {
    "rows": {"mixste": "supervised", "2d": "diffusion", "wrapper": "both"},
    "claims": [
        {"name": "both beat one", "published": "1 2", "contrast": {"wrapper": 1, "mixste": -1}},
        {
            "name": "robust",
            "published": "3",
            "measure": MISMATCH,
            "contrast": {"2d": 1, "mixste": -1},
        },
    ],
    "not_testable": [{"published": "on the Moon", "why": "too far"}],
}


@pytest.fixture(scope="module")
def ablations(tmp_path_factory):
    """Three rows of tiny networks, on people who are seen for two seconds."""
    folder = tmp_path_factory.mktemp("ablations")
    base = yaml.safe_load((ABLATIONS / "base.yaml").read_text())
    base["data"] |= {"rate_hz": 25, "seconds": 2.0}
    base["data"]["simulated"] = {"train": 2, "validation": 1, "test": 2}
    base |= {"batch": 2, "validation_windows": 2, "hypotheses": 2}
    base["loop"] |= {"steps": 2, "warmup_steps": 1, "validate_every": 1}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    small = {"frames": 9, "width": 16}
    denoiser = {**small, "blocks": 1, "step_channels": 8, "mixste_width": 16, "mixste_depth": 1}
    for row, model in (("mixste", {**small, "depth": 1}), ("2d", denoiser)):
        text = yaml.safe_dump({"base": "base.yaml", "preset": row, "model": model})
        (folder / f"{row}.yaml").write_text(text)
    (folder / "wrapper.yaml").write_text((ABLATIONS / "wrapper.yaml").read_text())
    (folder / "table.yaml").write_text(yaml.safe_dump(TABLE, sort_keys=False))
    return folder


def run(ablations, out, monkeypatch, *options) -> int:
    monkeypatch.setattr(diffhpe_reproduce, "ABLATIONS", ablations)
    monkeypatch.setattr(diffhpe_reproduce, "TEST_WINDOWS", 6)
    parser = argparse.ArgumentParser()
    diffhpe_reproduce.add_reproduce_arguments(parser)
    return diffhpe_reproduce.reproduce(
        parser.parse_args(["--out", str(out), "--jobs", "1", *options])
    )


def test_shipped_table_and_rows_are_valid() -> None:
    """The same budget and data for all, and a MixSTE for each Wrapper."""
    table = Table.load(ABLATIONS / "table.yaml", MEASURES)
    recipes = {row: Recipe.load(ABLATIONS / f"{row}.yaml") for row in table.rows}
    budgets = []
    for row, recipe in recipes.items():
        budgets.append(diffhpe_reproduce._budget(dataclasses.asdict(recipe)))
        assert recipe.data.occlusion == ("right_leg" if row.endswith("right_leg") else "none")
        if recipe.preset == "wrapper":
            other = recipes[diffhpe_reproduce.condition_row(row)]
            assert dataclasses.replace(other.network, head=False) == recipe.network.mixste
            assert other.data == recipe.data
    assert all(budget == budgets[0] for budget in budgets)


def test_everything_is_trained_once_and_reported(ablations, tmp_path, monkeypatch, capsys) -> None:
    out, numbers = tmp_path / "out", tmp_path / "numbers.json"
    fit_recipe, begun = diffhpe.fit_recipe, []

    def interrupted(recipe, *arguments, **options):
        begun.append((recipe.preset, recipe.loop.seed, options["resume"]))
        if len(begun) == 2:
            raise KeyboardInterrupt
        return fit_recipe(recipe, *arguments, **options)

    monkeypatch.setattr(diffhpe, "fit_recipe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(ablations, out, monkeypatch, "--seeds", "2")
    assert [path.parent.parent.name for path in out.glob("*/*/result.json")] == ["mixste"]
    assert run(ablations, out, monkeypatch, "--seeds", "2", "--json", str(numbers)) == 0
    assert begun[2:] == [
        ("2d", 0, False),
        ("mixste", 1, False),
        ("2d", 1, False),
        ("wrapper", 0, False),
        ("wrapper", 1, False),
    ]
    assert not list(out.glob("*/*/last.pt"))

    text = (out / "report.md").read_text()
    assert "| both beat one | 1 2 |" in text
    assert "**not testable here**: too far" in text
    assert "| `2d`: diffusion | 2 |" in text
    values = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    found = [json.loads((out / "2d" / s / "result.json").read_text()) for s in ("0", "1")]
    errors = [result["whole"]["mpjpe_mm"] for result in found]
    assert errors[0] != errors[1]
    assert values["reproduce.2d.mpjpe_mm"] == pytest.approx(np.mean(errors))
    assert values["reproduce.claim.both_beat_one.reproduced"] in (0.0, 1.0)
    assert "2d 1: MPJPE" in capsys.readouterr().out

    # each Wrapper goes by the MixSTE of its own seed
    for seed in ("0", "1"):
        own, other = (
            safetensors.torch.load_file(out / row / seed / "network.safetensors")
            for row in ("wrapper", "mixste")
        )
        assert (own["mixste.embed.weight"] == other["embed.weight"]).all()

    assert run(ablations, out, monkeypatch, "--seeds", "2") == 0
    assert len(begun) == 7  # all was kept


def test_results_of_another_recipe_are_not_mixed_in(ablations, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(diffhpe_reproduce, "TEST_WINDOWS", 2)
    recipe = Recipe.load(ablations / "mixste.yaml")
    job = Job("mixste", 0, recipe, None, tmp_path, 1)
    first = diffhpe_reproduce.carry_out(job)
    assert diffhpe_reproduce.carry_out(job) == first + " (kept)"
    other = dataclasses.replace(job, recipe=dataclasses.replace(recipe, batch=4))
    with pytest.raises(ValueError, match="made by another recipe: name another folder"):
        diffhpe_reproduce.carry_out(other)
    loop = dataclasses.replace(recipe.loop, steps=1)
    recipe = dataclasses.replace(Recipe.load(ablations / "2d.yaml"), loop=loop)
    diffhpe_reproduce.carry_out(Job("2d", 0, recipe, None, tmp_path, 1))
    with pytest.raises(ValueError, match="2d 0 had other data or another budget than mixste 0"):
        run(ablations, tmp_path, monkeypatch, "--report-only")


def test_a_wrapper_wants_its_mixste(ablations, tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"wrapper 0 goes by .*mixste/0/network.* is not there"):
        run(ablations, tmp_path, monkeypatch, "--rows", "wrapper", "--seeds", "1")


def test_unknown_rows_are_named(ablations, tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match="'3d' is none of mixste, 2d, wrapper"):
        run(ablations, tmp_path, monkeypatch, "--rows", "2d,3d")
    lonely = Table({"wrapper": "alone"}, (), MEASURES)
    monkeypatch.setattr(Table, "load", lambda *_: lonely)
    with pytest.raises(RecipeError, match="row wrapper goes by mixste, which is no row"):
        run(ablations, tmp_path, monkeypatch)


def test_measures_of_known_errors() -> None:
    """Exact on clean windows, 30 mm off under one pattern, 60 mm under the others."""
    data = camera_windows.ViewData(
        rate_hz=25, simulated={"train": 0, "validation": 0, "test": 2}, seconds=1.5
    )
    windows = fixed_windows(camera_windows.load(data, "test"), 9, data)
    true = windows.poses_m
    estimates = {name: true + [0.06, 0, 0] for name in camera_windows.OCCLUSIONS}
    estimates |= {"none": true, "right_leg": true + [0, 0, 0.03]}
    found = diffhpe_reproduce.measure_all(estimates, windows, "right_leg")
    whole = found["whole"]
    assert set(whole) == set(MEASURES)
    assert whole["mpjpe_mm"] == 0
    assert whole["mpjpe_mm_right_leg"] == pytest.approx(30)
    assert whole[MISMATCH] == pytest.approx(60)
    clean = diffhpe_reproduce.measure_all(estimates, windows, "none")["whole"]
    assert clean[MISMATCH] == pytest.approx((4 * 60 + 30) / 5)
    assert found["by_recording"]["mpjpe_mm_random"] == pytest.approx([60, 60])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": {"2d": "x"}}, "claim both beat one names no row"),
        (
            {"claims": [{**TABLE["claims"][0], "measure": "ap"}]},
            "'ap' is none of mpjpe_mm, ",
        ),
        ({"claims": [{**TABLE["claims"][0], "contrast": {"2d": 1}}]}, "must sum to 0"),
        ({"claims": [{"name": "x"}]}, "published"),
    ],
)
def test_wrong_tables_are_named(tmp_path, change, message) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump(TABLE | change))
    with pytest.raises(ValueError, match=message) as error:
        Table.load(path, MEASURES)
    assert str(path) in str(error.value)


def test_missing_entries_of_tables_are_named(tmp_path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text("claims: []")
    with pytest.raises(ValueError, match="there is no entry 'rows'"):
        Table.load(path, MEASURES)
