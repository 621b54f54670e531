"""The comparisons' machinery, on a network and a budget too small to say anything."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from pulse_tracks import face_track

from radar_pose_ros.models.physmamba import PRESETS
from radar_pose_ros.training import physmamba, physmamba_reproduce
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.claims import Table
from radar_pose_ros.training.physmamba_reproduce import ABLATIONS, CASES, CLASSICAL, MEASURES, Row
from radar_pose_ros.vitals.meter import ClassicalMethod, State

SMALL = {"size": 8, "width": 16, "blocks": 1, "head_size": 8, "state_size": 4, "drop_path": 0.0}
TABLE = {
    "rows": {
        "green": {"what": "green", "method": "green"},
        "best": {"what": "best", "method": "best"},
        "full": {"what": "all"},
        "alone": {"what": "own queries", "model": {"cross_attention": False}},
    },
    "claims": [
        {"name": "queries help", "published": "1", "contrast": {"full": 1, "alone": -1}},
        {
            "name": "best is better",
            "published": "2",
            "measure": "mae_bpm_moving",
            "contrast": {"best": 1, "green": -1},
        },
    ],
}


def people(count: int, first: int, **more) -> list:
    """People of some rates; every second one moves, and has a pulse that is hard to see."""
    made = []
    for number in range(count):
        attributes = {
            "motion": ("still", "moving")[number % 2],
            "light": "dim",
            "compression": "none",
            "skin_tone": str(1 + number % 2),
        }
        noise = 0.05 if number % 2 == 0 else 1.0
        seed = first + number
        made.append(face_track(50.0 + 20 * number, noise=noise, seed=seed, **attributes, **more))
    return made


@pytest.fixture
def ablations(tmp_path, monkeypatch):
    """Four rows, of people without a video, and two cases of refusal."""
    folder = tmp_path / "ablations"
    folder.mkdir()
    base = recipes.entries(ABLATIONS / "base.yaml")
    base["model"] = SMALL
    base["batch"] = 3
    base["loop"] |= {"steps": 2, "warmup_steps": 1, "validate_every": 1}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    (folder / "table.yaml").write_text(yaml.safe_dump(TABLE, sort_keys=False))
    monkeypatch.setattr(physmamba_reproduce, "ABLATIONS", folder)
    few = {name: CASES[name]._replace(first_s=2.0) for name in ("noise",)}
    monkeypatch.setattr(physmamba_reproduce, "CASES", few)
    monkeypatch.setattr(physmamba_reproduce, "_CASE_SECONDS", 3.5)
    parts = {"train": people(3, 0), "validation": people(2, 10), "test": people(4, 20)}
    monkeypatch.setattr(physmamba, "tracks_of", lambda _, split, *__, **___: parts[split])
    return folder


def run(out, *options) -> int:
    parser = argparse.ArgumentParser()
    physmamba_reproduce.add_reproduce_arguments(parser)
    arguments = ["--out", str(out), "--jobs", "1", "--videos", "1", "--device", "cpu", *options]
    return physmamba_reproduce.reproduce(parser.parse_args(arguments))


def test_the_shipped_table_is_valid() -> None:
    table = Table.load(ABLATIONS / "table.yaml", MEASURES, Row.of)
    assert {row.method for row in table.rows.values()} == {"", "best", *CLASSICAL}
    networks = {
        name: physmamba_reproduce._recipe_of(name, table).network
        for name, row in table.rows.items()
        if not row.method
    }
    edge = PRESETS["edge"]
    assert networks == {
        "full": edge,
        "no_cross_attention": replace(edge, cross_attention=False),
        "as_released": replace(edge, sum_all_scales=False, advance_query_index=False),
    }
    short = physmamba_reproduce._recipe_of("full", table, steps=5).loop
    assert (short.steps, short.warmup_steps, short.validate_every) == (5, 5, 5)
    # an error by part is of tracks that there are
    assert {claim.measure for claim in table.claims} <= {
        "mae_bpm", "mae_bpm_moving", "mae_bpm_jpeg", "mae_bpm_dim"
    }  # fmt: skip


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no method 'ica'"):
        Row("x", method="ica")


def test_everything_is_trained_once_and_reported(ablations, tmp_path, monkeypatch, capsys) -> None:
    out, numbers = tmp_path / "out", tmp_path / "numbers.json"
    fit_recipe, begun = physmamba.fit_recipe, []

    def counted(recipe, *arguments, **options):
        begun.append((recipe.network.cross_attention, recipe.loop.seed))
        return fit_recipe(recipe, *arguments, **options)

    monkeypatch.setattr(physmamba, "fit_recipe", counted)
    assert run(out, "--seeds", "2", "--json", str(numbers)) == 0
    assert begun == [(True, 0), (False, 0), (True, 1), (False, 1)]
    assert sorted(str(p.parent.relative_to(out)) for p in out.glob("*/*/result.json")) == [
        "alone/0", "alone/1", "best/0", "full/0", "full/1", "green/0"
    ]  # fmt: skip
    assert (out / "full" / "1" / "network.safetensors").exists()
    text = (out / "report.md").read_text()
    assert "| queries help | 1 |" in text and "| `alone`: own queries | 2 |" in text
    assert "The best classical method on validation is `" in text
    assert "| grey noise | full | 2 | 100.0% | 100.0% | 0.0% |" in text
    values = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    found = json.loads((out / "green" / "0" / "result.json").read_text())
    assert values["reproduce.green.mae_bpm"] == pytest.approx(found["whole"]["mae_bpm"])
    assert len(found["by_recording"]["mae_bpm"]) == 4
    assert len(found["by_recording"]["mae_bpm_moving"]) == 2
    assert values["reproduce.claim.queries_help.reproduced"] in (0.0, 1.0)
    picture = cv2.imread(str(out / "report.png"))
    assert picture.shape[1] > 900 and len(np.unique(picture)) > 10
    assert "full 1: mae_bpm" in capsys.readouterr().out
    assert run(out, "--seeds", "2") == 0
    assert len(begun) == 4  # all was kept


def test_measures_of_people_whose_rates_are_plain_or_hidden() -> None:
    """Who stands still has no error and is told; a pulse in noise is not told."""
    test = people(2, 30) + people(2, 32, strength=1e-5)[1:]
    found = physmamba_reproduce.measure_all(test, ClassicalMethod("pos"))
    assert found["by_recording"]["mae_bpm"][0] == pytest.approx(0.0, abs=0.5)
    assert found["whole"]["mae_bpm_still"] == found["by_recording"]["mae_bpm"][0]
    assert found["whole"]["mae_bpm_moving"] == np.mean(found["by_recording"]["mae_bpm"][1:])
    assert found["whole"]["mae_bpm_tone_1"] == found["whole"]["mae_bpm_still"]
    assert found["by_recording"]["snr_db"][0] > 5 > found["by_recording"]["snr_db"][2]
    assert found["whole"]["told"] < 1 and found["whole"]["told_mae_bpm"] < 0.5
    assert np.isnan(found["whole"]["mae_bpm_jpeg"])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_case_gets_the_right_answer(name: str, monkeypatch) -> None:
    """A reason that fits, in 99 of 100 readings; and no rate that is wrong."""
    monkeypatch.setattr(physmamba_reproduce, "CASES", {name: CASES[name]})
    (found,) = physmamba_reproduce.refusals({"combined": ClassicalMethod("combined")}, 3)
    assert found["windows"] >= 6
    assert found["right"] >= 0.99 and found["wrong"] == 0.0
    if name != "two":
        assert found["refused"] == 1.0


def test_a_case_is_right_by_its_reason_only(monkeypatch) -> None:
    """Too few frames are a right reason where there are too few, not where nobody is."""
    few = CASES["noise"]._replace(first_s=2.0, states=(State.TOO_FEW_FRAMES,))
    monkeypatch.setattr(physmamba_reproduce, "CASES", {"noise": few})
    monkeypatch.setattr(physmamba_reproduce, "_CASE_SECONDS", 3.5)
    (found,) = physmamba_reproduce.refusals({"pos": ClassicalMethod("pos")}, 1)
    assert found == {
        "case": "noise",
        "method": "pos",
        "windows": 2,
        "refused": 1.0,
        "right": 0.0,
        "wrong": 0.0,
    }
