"""The paper's tables: what is listed, the rule, a run that is interrupted and goes on."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
import yaml

from radar_pose_ros.training import mixsynthformer_reproduce as reproduce
from radar_pose_ros.training.claims import Table
from radar_pose_ros.training.mixsynthformer import BASELINES
from radar_pose_ros.training.mixsynthformer_reproduce import MEASURES, TABLE, Row


def load(path=TABLE) -> Table:
    return Table.load(path, MEASURES, Row.of)


def test_the_table_has_every_row_of_the_paper() -> None:
    """Interpolators, DeciWatch, both reductions, each component left out, and prediction."""
    table = load()
    assert {row.method for row in table.rows.values()} >= set(BASELINES)
    configs = {name: row.of_recipe().network for name, row in table.rows.items() if not row.method}
    reductions = {
        (c.temporal_reduction, c.spatial_reduction)
        for name, c in configs.items()
        if name != "deciwatch"
    }
    assert reductions >= {(1, 1), (4, 1), (1, 4), (4, 4)}
    for name, part in (
        ("no_excitation", "excitation"),
        ("no_weighted_sum", "weighted_sum"),
        ("no_temporal", "temporal"),
        ("no_spatial", "spatial"),
    ):
        assert getattr(configs["base"], part) and not getattr(configs[name], part)
    assert configs["deciwatch"].keyframes == configs["base"].keyframes == 11
    assert configs["base"].frames == 101


def test_every_row_has_the_same_budget() -> None:
    budgets = {}
    for name, row in load().rows.items():
        recipe = row.of_recipe()
        budgets.setdefault(recipe.objective, set()).add(
            (recipe.batch, recipe.loop, str(recipe.data))
        )
        assert row.what, name
    assert all(len(found) == 1 for found in budgets.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["claims"][0].update(contrast={"base": 1}), "must sum to 0"),
        (lambda t: t["claims"][0].update(contrast={"base": 1, "x": -1}), "names no row 'x'"),
        (lambda t: t["claims"][0].update(measure="oks"), "measure 'oks' is none of mpjpe_mm, "),
        (lambda t: t["rows"]["linear"].update(method="spline"), "no method 'spline'"),
        (lambda t: t.pop("rows"), "no entry 'rows'"),
    ],
)
def test_wrong_tables_are_named(tmp_path, change, message: str) -> None:
    entries = yaml.safe_load(TABLE.read_text())
    change(entries)
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump(entries))
    with pytest.raises(ValueError, match=message):
        load(path)


ROWS = ["linear", "base", "zero_velocity", "prediction"]
BASE = ["--people", "2", "--seeds", "2", "--jobs", "1"]


def run(out, *more: str) -> None:
    parser = argparse.ArgumentParser()
    reproduce.add_reproduce_arguments(parser)
    arguments = ["--out", str(out), "--rows", ",".join(ROWS), "--steps", "1", *BASE, *more]
    assert reproduce.reproduce(parser.parse_args(arguments)) == 0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Movements of seconds, and a network of one layer."""
    table = load()
    rows = {name: table.rows[name] for name in ROWS}
    rows["base"] = Row(rows["base"].what, model={"layers": 1, "width": 8})
    claims = tuple(claim for claim in table.claims if set(claim.contrast) <= set(rows))
    small = Table(rows, claims, MEASURES, (), table.not_testable)
    monkeypatch.setattr(Table, "load", lambda *_: small)
    monkeypatch.setattr(reproduce, "_SIMULATED_TEST", 2)
    whole = reproduce.Recipe.load

    def shorter(path):
        recipe = whole(path)
        data = reproduce.replace(
            recipe.data, seconds=4.0, simulated={"train": 2, "validation": 1, "test": 0}
        )
        return reproduce.replace(recipe, batch=2, data=data)

    monkeypatch.setattr(reproduce.Recipe, "load", shorter)


@pytest.mark.usefixtures("small")
def test_a_tiny_run_is_kept_and_reported(tmp_path, capsys, monkeypatch) -> None:
    run(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| `linear`: linear interpolation | 1 |" in text and "## Motion prediction" in text
    assert "it beats linear interpolation" in text
    found = json.loads((tmp_path / "base" / "1" / "result.json").read_text())
    assert found["seed"] == 1 and len(found["by_recording"]["mpjpe_mm"]) == 2
    assert np.mean(found["by_recording"]["mpjpe_mm"]) == pytest.approx(found["whole"]["mpjpe_mm"])
    assert not (tmp_path / "base" / "1" / "last.pt").exists()
    assert [p.name for p in (tmp_path / "linear").iterdir()] == ["0"]
    values = json.loads((tmp_path / "report.json").read_text())["results"]
    assert {row["id"] for row in values} >= {
        "reproduce.base.mpjpe_mm",
        "reproduce.prediction.mpjpe_mm_80",
    }

    # nothing is trained again
    monkeypatch.setattr(reproduce.training, "fit_recipe", lambda *_, **__: pytest.fail("trained"))
    capsys.readouterr()
    run(tmp_path)
    assert capsys.readouterr().out.count("(kept)") == 6
    run(tmp_path, "--report-only")


@pytest.mark.usefixtures("small")
def test_other_budgets_are_not_mixed(tmp_path) -> None:
    run(tmp_path)
    with pytest.raises(ValueError, match="was made by another recipe"):
        run(tmp_path, "--steps", "2")
    path = tmp_path / "base" / "0" / "result.json"
    content = json.loads(path.read_text())
    content["recipe"]["batch"] = 3
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="had other data or another budget than linear 0"):
        run(tmp_path, "--report-only")
    with pytest.raises(ValueError, match="'nothing' is none of linear, base"):
        run(tmp_path, "--rows", "nothing")
