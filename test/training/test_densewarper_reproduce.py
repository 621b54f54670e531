"""The comparisons' machinery, on a network and a budget too small to say anything."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from radar_pose_ros.models.densewarper import PRESETS
from radar_pose_ros.simulation.multiview import Detector
from radar_pose_ros.training import densewarper, densewarper_reproduce, multiview_windows
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.claims import Table
from radar_pose_ros.training.densewarper import Recipe
from radar_pose_ros.training.densewarper_reproduce import ABLATIONS, MEASURES, METHODS, Row
from radar_pose_ros.vision.alignment import HELD

SMALL = {"size": 24, "blocks": 1, "channels": 4, "dilations": [2], "stride": 1}
TABLE = {
    "rows": {
        "no_fusion": {"what": "held", "method": "hold_last"},
        "fusion": {"what": "fused", "method": "fusion"},
        "warper": {"what": "warped", "model": {"channels": 5}},
    },
    "claims": [
        {"name": "fusion helps", "published": "1 2", "contrast": {"fusion": 1, "no_fusion": -1}},
        {
            "name": "the warper helps",
            "published": "3",
            "measure": "mpjpe_mm_267",
            "contrast": {"warper": 1, "no_fusion": -1},
        },
    ],
}


@pytest.fixture
def ablations(tmp_path, monkeypatch):
    """Three rows, of people who are seen for two seconds."""
    folder = tmp_path / "ablations"
    folder.mkdir()
    base = recipes.entries(ABLATIONS / "base.yaml")
    base["model"] = SMALL
    base["data"] |= {"seconds": 2.0, "simulated": {"train": 2, "validation": 1, "test": 2}}
    base |= {"batch": 3, "validation_windows": 2}
    base["loop"] |= {"steps": 2, "warmup_steps": 1, "validate_every": 1}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    (folder / "table.yaml").write_text(yaml.safe_dump(TABLE, sort_keys=False))
    monkeypatch.setattr(densewarper_reproduce, "ABLATIONS", folder)
    monkeypatch.setattr(densewarper_reproduce, "WINDOWS", 2)
    return folder


def run(out, *options) -> int:
    parser = argparse.ArgumentParser()
    densewarper_reproduce.add_reproduce_arguments(parser)
    return densewarper_reproduce.reproduce(
        parser.parse_args(["--out", str(out), "--jobs", "1", *options])
    )


def test_the_shipped_table_is_valid() -> None:
    table = Table.load(ABLATIONS / "table.yaml", MEASURES, Row.of)
    recipe = Recipe.load(ABLATIONS / "base.yaml")
    assert recipe.is_preset and recipe.data.views == (4, 4)
    assert {row.method for row in table.rows.values()} == {"", *METHODS}
    untold = densewarper_reproduce._recipe_of("warper_no_time", table)
    assert untold.network == replace(
        PRESETS["light"], time_channels=False, extrapolation=0.0, reconciled=False, fading_s=0.0
    )
    warper = densewarper_reproduce._recipe_of("warper", table)
    assert warper.network.alignment == HELD
    ahead = densewarper_reproduce._recipe_of("warper_ahead", table)
    assert ahead.network == replace(PRESETS["light"], reconciled=False, fading_s=0.0)
    assert densewarper_reproduce._recipe_of("warper_reconciled", table) == recipe
    of_truth = densewarper_reproduce._recipe_of("warper_of_truth", table)
    assert of_truth == replace(recipe, data=replace(recipe.data, learn_truth=True))


def test_everything_is_trained_once_and_reported(ablations, tmp_path, monkeypatch, capsys) -> None:
    out, numbers = tmp_path / "out", tmp_path / "numbers.json"
    fit_recipe, begun = densewarper.fit_recipe, []

    def counted(recipe, *arguments, **options):
        begun.append((recipe.network.channels, recipe.loop.seed))
        return fit_recipe(recipe, *arguments, **options)

    monkeypatch.setattr(densewarper, "fit_recipe", counted)
    assert run(out, "--seeds", "2", "--json", str(numbers)) == 0
    assert begun == [(5, 0), (5, 1)]
    assert sorted(str(p.parent.relative_to(out)) for p in out.glob("*/*/result.json")) == [
        "fusion/0",
        "no_fusion/0",
        "warper/0",
        "warper/1",
    ]
    assert (out / "warper" / "1" / "network.safetensors").exists()
    text = (out / "report.md").read_text()
    assert "| fusion helps | 1 2 |" in text and "| `warper`: warped | 2 |" in text
    values = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    found = json.loads((out / "no_fusion" / "0" / "result.json").read_text())
    assert values["reproduce.no_fusion.mpjpe_mm"] == pytest.approx(found["whole"]["mpjpe_mm"])
    assert len(found["by_recording"]["mpjpe_mm_67"]) == 2
    assert values["reproduce.claim.fusion_helps.reproduced"] in (0.0, 1.0)
    assert "warper 1: mpjpe_mm" in capsys.readouterr().out
    assert run(out, "--seeds", "2") == 0
    assert len(begun) == 2  # all was kept


def test_measures_of_known_errors() -> None:
    """Nothing is off where the truth is seen; what is held is off by more, the older it is.

    Without a detector's errors the fused heatmaps are nearer to it.
    """
    data = multiview_windows.RigData(
        simulated={"train": 0, "validation": 0, "test": 3},
        seconds=4.0,
        views=(4, 4),
        detector=Detector(),
    )
    test = multiview_windows.load(data, "test")

    def exact(windows):
        return [
            (np.stack([c.project(one.joints_m) for c in one.cameras]), np.ones((n, 17)))
            for one in windows
            for n in [len(one.cameras)]
        ]

    found = densewarper_reproduce.measure_all(test, data, exact)
    assert set(found["whole"]) == set(MEASURES)
    assert max(found["whole"].values()) < 1e-6
    held = densewarper_reproduce.measure_all(test, data, densewarper.hold_last)
    fused = densewarper_reproduce.measure_all(
        test, data, lambda w: METHODS["fusion"](w, PRESETS["light"])
    )
    assert fused["whole"]["mpjpe_mm"] < held["whole"]["mpjpe_mm"]
    whole = held["whole"]
    assert 1 < whole["mpjpe_mm_67"] < whole["mpjpe_mm_267"] < 200
    assert whole["mpjpe_mm"] == pytest.approx(
        np.mean([whole[f"mpjpe_mm_{interval_ms}"] for interval_ms in (67, 133, 267)])
    )
    lines = densewarper_reproduce.measure_all(test, data, densewarper.linear)["whole"]
    assert lines["mpjpe_mm"] < whole["mpjpe_mm"]
    assert whole["from_together_mm"] == pytest.approx(whole["mpjpe_mm"])  # these see the truth
    at_once = densewarper_reproduce.measure_all(
        test, data, lambda w: METHODS["together"](w, PRESETS["light"])
    )
    assert max(at_once["whole"].values()) < 1e-6
    assert np.mean(held["by_recording"]["mpjpe_mm_133"]) == pytest.approx(whole["mpjpe_mm_133"])


def test_unknown_rows_and_methods_are_named(ablations, tmp_path) -> None:
    with pytest.raises(ValueError, match="'magic' is none of no_fusion, fusion, warper"):
        run(tmp_path, "--rows", "magic")
    rows = {"no_fusion": {"what": "held", "method": "magic"}}
    (ablations / "table.yaml").write_text(yaml.safe_dump(TABLE | {"rows": rows}))
    with pytest.raises(ValueError, match="there is no method 'magic'"):
        run(tmp_path)
