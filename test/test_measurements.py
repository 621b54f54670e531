"""The format of ``--json FILE``."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from radar_pose_ros import measurements


def test_results_are_written_with_the_machine(tmp_path):
    rows = [
        measurements.result("heatmap.speedup_vs_4d", 48.5, "x", 40.0, "vectorised scipy"),
        measurements.result("a.ratio", np.float32(0.5)),
        measurements.result("a.unknown", math.nan),
    ]
    measurements.write_results(tmp_path / "deep" / "r.json", rows)
    content = json.loads((tmp_path / "deep" / "r.json").read_text())
    assert set(content) == {"machine", "results"}
    assert content["results"][0] == {
        "id": "heatmap.speedup_vs_4d",
        "value": 48.5,
        "unit": "x",
        "target": 40.0,
        "against": "vectorised scipy",
        "met": True,
    }
    assert content["results"][1]["value"] == 0.5
    assert content["results"][2]["value"] is None  # JSON has no NaN
    for key in ("cpu", "cores", "memory_gib", "threads", "os", "python", "torch", "numpy"):
        assert key in content["machine"]
    assert content["machine"]["cores"] >= 1
    assert list(tmp_path.joinpath("deep").iterdir()) == [tmp_path / "deep" / "r.json"]


def test_a_row_that_lacks_something_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lacks target, against"):
        measurements.write_results(tmp_path / "r.json", [{"id": "x", "value": 1, "unit": ""}])
    assert not (tmp_path / "r.json").exists()


def test_finite_reaches_into_everything():
    value = {"a": [1.0, math.inf, (np.float64(-math.inf), "nan")], "b": {"c": np.int64(3)}}
    assert measurements.finite(value) == {"a": [1.0, None, [None, "nan"]], "b": {"c": 3}}


def test_table_shows_value_target_and_peer():
    rows = [
        measurements.result("simulator.frames_per_s", 13.456, "1/s", 10.0, "two radars"),
        measurements.result("x", 3),
    ]
    first, second = measurements.table(rows).splitlines()
    assert first == "simulator.frames_per_s  13.46 1/s  target 10: met  against two radars"
    assert second.split() == ["x", "3"]


@pytest.mark.parametrize(
    ("value", "target", "at_most", "met", "words"),
    [
        (40.0, 40.0, False, True, "target 40: met"),
        (39.9, 40.0, False, False, "target 40: MISSED"),
        (150.0, 150.0, True, True, "target 150: met"),
        (150.1, 150.0, True, False, "target 150: MISSED"),
        (math.nan, 1.0, True, False, "target 1: MISSED"),
        (3.0, None, False, None, ""),
    ],
)
def test_targets_are_marked(value, target, at_most, met, words):
    row = measurements.result("x", value, "", target, at_most=at_most)
    assert row["met"] is met
    assert measurements.table([row]).endswith(words)
    del row["met"]  # as an older file has it
    assert "met" not in measurements.table([row]) and "MISSED" not in measurements.table([row])
