"""The paper's tables: what is listed, the rule, a run that is interrupted and goes on."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
import yaml

from radar_pose_ros.training import mixsynthformer_reproduce as reproduce
from radar_pose_ros.training.mixsynthformer import BASELINES
from radar_pose_ros.training.mixsynthformer_reproduce import TABLE, Claim, Row, Table, judge


def test_the_table_has_every_row_of_the_paper() -> None:
    """Interpolators, DeciWatch, both reductions, each component left out, and prediction."""
    table = Table.load()
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
    for name, row in Table.load().rows.items():
        recipe = row.of_recipe()
        budgets.setdefault(recipe.objective, set()).add(
            (recipe.batch, recipe.loop, str(recipe.data))
        )
        assert row.what, name
    assert all(len(found) == 1 for found in budgets.values())


def result(seed: int, values: list[float], trained: bool = True) -> dict:
    network = {"parameters": 1} if trained else {}
    return {"seed": seed, "network": network, "by_recording": {"mpjpe_mm": values}}


def test_the_rule_by_hand() -> None:
    """Less is better; a row that trains nothing counts for every seed."""
    claim = Claim("x", "y", {"ours": 1, "theirs": -1})
    theirs = [result(0, [60.0, 70.0], trained=False)]
    ours = [result(0, [50.0, 59.0]), result(1, [51.0, 60.0])]
    verdict = judge(claim, {"ours": ours, "theirs": theirs})
    assert verdict.outcome == "reproduced in direction"
    assert verdict.difference == pytest.approx(10.0)
    # seeds 10.5 and 9.5, movements 9.5 and 10.5: t(0.95, 1) * sqrt(0.5) / sqrt(2)
    assert verdict.margins == pytest.approx((6.3138 / 2, 6.3138 / 2), rel=1e-4)
    other = judge(Claim("x", "y", {"theirs": 1, "ours": -1}), {"ours": ours, "theirs": theirs})
    assert (other.outcome, other.remark) == ("not reproduced", "opposite")
    unclear = [result(0, [50.0, 79.0]), result(1, [51.0, 80.0])]
    assert judge(claim, {"ours": unclear, "theirs": theirs}).remark == "not clear"
    assert judge(claim, {"ours": [], "theirs": theirs}).outcome == "not measured yet"
    assert judge(claim, {"ours": ours[:1], "theirs": theirs}).outcome == "not measured yet"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["claims"][0].update(contrast={"base": 1}), "must sum to 0"),
        (lambda t: t["claims"][0].update(contrast={"base": 1, "x": -1}), "names no row 'x'"),
        (lambda t: t["claims"][0].update(measure="oks"), "no measure 'oks'"),
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
        Table.load(path)


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
    table = Table.load()
    rows = {name: table.rows[name] for name in ROWS}
    rows["base"] = Row(rows["base"].what, model={"layers": 1, "width": 8})
    claims = tuple(claim for claim in table.claims if set(claim.contrast) <= set(rows))
    monkeypatch.setattr(
        Table, "load", classmethod(lambda cls: Table(rows, claims, table.not_testable))
    )
    monkeypatch.setattr(reproduce, "_SIMULATED_TEST", 2)
    load = reproduce.Recipe.load

    def shorter(path):
        recipe = load(path)
        data = reproduce.replace(
            recipe.data, seconds=4.0, simulated={"train": 2, "validation": 1, "test": 0}
        )
        return reproduce.replace(recipe, batch=2, data=data)

    monkeypatch.setattr(reproduce.Recipe, "load", shorter)


@pytest.mark.usefixtures("small")
def test_a_tiny_run_is_kept_and_reported(tmp_path, capsys, monkeypatch) -> None:
    run(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| linear interpolation |" in text and "## Motion prediction" in text
    assert "it beats linear interpolation" in text
    found = json.loads((tmp_path / "base" / "1" / "result.json").read_text())
    assert found["seed"] == 1 and len(found["by_recording"]["mpjpe_mm"]) == 2
    assert np.mean(found["by_recording"]["mpjpe_mm"]) == pytest.approx(found["whole"]["mpjpe_mm"])
    assert not (tmp_path / "base" / "1" / "last.pt").exists()
    assert [p.name for p in (tmp_path / "linear").iterdir()] == ["0"]
    values = json.loads((tmp_path / "report.json").read_text())["results"]
    assert {row["id"] for row in values} >= {"base.mpjpe_mm", "prediction.mpjpe_mm_80"}

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
    with pytest.raises(ValueError, match="had other data or another budget than linear"):
        run(tmp_path, "--report-only")
    with pytest.raises(ValueError, match="'nothing' is none of linear, base"):
        run(tmp_path, "--rows", "nothing")
