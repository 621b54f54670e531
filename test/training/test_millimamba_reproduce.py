"""The ablations' machinery, on networks and budgets too small to say anything."""

from __future__ import annotations

import argparse
import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml

from radar_pose_ros.datasets import simulated
from radar_pose_ros.datasets.recordings import Recording, Window
from radar_pose_ros.metrics.keypoints import average_precision, oks, person_area
from radar_pose_ros.models.millimamba import MilliMamba
from radar_pose_ros.training import millimamba
from radar_pose_ros.training import millimamba_reproduce as reproduce
from radar_pose_ros.training.ablations import Job
from radar_pose_ros.training.millimamba import Recipe
from radar_pose_ros.training.millimamba_report import MEASURES
from radar_pose_ros.training.millimamba_reproduce import ABLATIONS, STRETCH_FRAMES, STRETCHES

TABLE = {
    "rows": {"base": "as it is", "vertical": "vertical radar", "frames_3": "3 frames"},
    "claims": [
        {"name": "both beat one", "published": "1 2", "contrast": {"base": 1, "vertical": -1}},
        {"name": "3 beat 9", "published": "3 4", "contrast": {"frames_3": 1, "base": -1}},
    ],
    "not_testable": [{"published": "on the Moon", "why": "too far"}],
}


@pytest.fixture(scope="module")
def ablations(tmp_path_factory):
    """A table of three rows of tiny networks, on recordings of 3.2 s."""
    folder = tmp_path_factory.mktemp("ablations")
    base = yaml.safe_load((ABLATIONS / "base.yaml").read_text())
    base["model"] |= {"width": 16, "heads": 2, "encoder_layers": 1}
    base["data"] |= {"seconds": 3.2, "recordings": {"train": 1, "validation": 1, "test": 2}}
    base["batch"] = 2
    base["loop"] |= {"steps": 4, "warmup_steps": 1, "validate_every": 2}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    for row in ("vertical", "frames_3"):
        (folder / f"{row}.yaml").write_text((ABLATIONS / f"{row}.yaml").read_text())
    (folder / "table.yaml").write_text(yaml.safe_dump(TABLE, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def root(ablations, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    data = Recipe.load(ablations / "base.yaml").data
    millimamba.prepare_data(data, folder, simulated.SPLITS, jobs=1, report=len)
    return folder


def run(ablations, root, out, monkeypatch, *options):
    monkeypatch.setattr(reproduce, "ABLATIONS", ablations)
    monkeypatch.setattr(reproduce, "costs", lambda config: iter(()))
    parser = argparse.ArgumentParser()
    reproduce.add_reproduce_arguments(parser)
    arguments = ["--data", str(root), "--out", str(out), "--jobs", "1", *options]
    return reproduce.reproduce(parser.parse_args(arguments))


def test_everything_is_trained_once_and_reported(ablations, root, tmp_path, monkeypatch, capsys):
    out, numbers = tmp_path / "out", tmp_path / "numbers.json"
    fit_recipe, begun = millimamba.fit_recipe, []

    def interrupted(recipe, *arguments, **options):
        begun.append((recipe.network.frames, recipe.views, options["resume"]))
        if len(begun) == 2:
            raise KeyboardInterrupt
        return fit_recipe(recipe, *arguments, **options)

    monkeypatch.setattr(millimamba, "fit_recipe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(ablations, root, out, monkeypatch, "--seeds", "2")
    assert [path.parent.parent.name for path in out.glob("*/*/result.json")] == ["base"]
    assert run(ablations, root, out, monkeypatch, "--seeds", "2", "--json", str(numbers)) == 0
    assert begun[2:] == [
        (9, "vertical", False),
        (3, "both", False),
        (9, "both", False),
        (9, "vertical", False),
        (3, "both", False),
    ]
    assert not list(out.glob("*/*/last.pt"))

    report = (out / "report.md").read_text()
    assert "| both beat one | 1 2 |" in report
    assert "**not testable here**: too far" in report
    assert "| `frames_3`: 3 frames | 2 |" in report
    assert (out / "report.png").stat().st_size > 5000
    values = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    found = [
        json.loads((out / "vertical" / seed / "result.json").read_text()) for seed in ("0", "1")
    ]
    assert found[0]["seed"] == 0 and found[1]["seed"] == 1
    assert found[0]["whole"]["error_px"] != found[1]["whole"]["error_px"]
    errors = [result["whole"]["error_px"] for result in found]
    assert values["reproduce.vertical.error_px"] == pytest.approx(np.mean(errors))
    assert values["reproduce.claim.both_beat_one.reproduced"] in (0.0, 1.0)
    assert "vertical 1: AP" in capsys.readouterr().out


def test_a_training_that_was_begun_goes_on(ablations, root, tmp_path, monkeypatch):
    """Interrupted after a checkpoint, it gives the numbers of an uninterrupted one."""
    recipe = Recipe.load(ablations / "frames_3.yaml")
    jobs = [Job("frames_3", 0, recipe, root, tmp_path / name, 1) for name in ("whole", "parts")]
    reproduce.carry_out(jobs[0])
    pose_loss, calls = millimamba.pose_loss, []

    def until_step_3(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return pose_loss(*arguments)

    monkeypatch.setattr(millimamba, "pose_loss", until_step_3)
    with pytest.raises(KeyboardInterrupt):
        reproduce.carry_out(jobs[1])
    assert (jobs[1].directory / "last.pt").exists()
    reproduce.carry_out(jobs[1])
    assert len(calls) == 4 + 2  # steps 0 to 3, and from the checkpoint 2 and 3
    whole, parts = (
        json.loads((job.directory / "result.json").read_text())["by_recording"] for job in jobs
    )
    for name in MEASURES:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-6)


def test_results_of_another_recipe_are_not_mixed_in(ablations, root, tmp_path):
    recipe = Recipe.load(ablations / "frames_3.yaml")
    job = Job("frames_3", 0, recipe, root, tmp_path, 1)
    first = reproduce.carry_out(job)
    assert reproduce.carry_out(job) == first + " (kept)"
    other = dataclasses.replace(job, recipe=dataclasses.replace(recipe, batch=4))
    with pytest.raises(ValueError, match="made by another recipe: name another folder"):
        reproduce.carry_out(other)


def test_other_budgets_are_not_compared(ablations, root, tmp_path, monkeypatch):
    for row, steps in (("base", 1), ("vertical", 2)):
        recipe = Recipe.load(ablations / f"{row}.yaml")
        loop = dataclasses.replace(recipe.loop, steps=steps, seed=7)
        recipe = dataclasses.replace(recipe, loop=loop)
        reproduce.carry_out(Job(row, 7, recipe, root, tmp_path, 1))
    with pytest.raises(
        ValueError, match="vertical 7 had other data or another budget than base 7"
    ):
        run(ablations, root, tmp_path, monkeypatch, "--report-only")


def test_other_data_sets_are_refused(ablations, tmp_path, monkeypatch):
    (tmp_path / "single_1" / "hori").mkdir(parents=True)
    (tmp_path / "hrnet_annot_test.json").write_text("[]")
    with pytest.raises(ValueError, match="ablations are for simulated people"):
        run(ablations, tmp_path, tmp_path / "out", monkeypatch)


def test_unknown_rows_are_named(ablations, root, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'sideways' is none of base, vertical, frames_3"):
        run(ablations, root, tmp_path, monkeypatch, "--rows", "base,sideways")


def still(frames, path="nowhere"):
    """A recording of somebody who stands still."""
    keypoints_px = np.tile(np.arange(28.0, dtype=np.float32).reshape(14, 2), (frames, 1, 1))
    parts = np.zeros((frames, 2, 12, 8, 64, 2), np.float16)
    return Recording(path, parts, keypoints_px, np.zeros((frames, 14, 3)), ("stand",) * frames)


def test_frames_that_are_measured_fit_every_window():
    recordings = [still(300), still(30)]
    chosen = reproduce.stretches(recordings)
    assert [w.recording for w in chosen] == [0] * STRETCHES + [1] * STRETCHES
    for w in chosen:
        assert w.first >= 7  # a window of 15 frames around the first frame
        assert w.first + STRETCH_FRAMES + 7 <= len(recordings[w.recording].keypoints_px)
    assert chosen[0].first == 7 and chosen[3].first == 300 - 7 - STRETCH_FRAMES
    with pytest.raises(ValueError, match=r"nowhere has 29 frames; .* at least 30"):
        reproduce.stretches([still(29)])


@pytest.mark.parametrize("row", ["base", "vertical", "frames_3"])
def test_estimates_are_those_of_single_windows(ablations, root, row):
    recipe = Recipe.load(ablations / f"{row}.yaml")
    recordings = simulated.load_split(root, "test")
    torch.manual_seed(0)
    model = MilliMamba(recipe.network).eval()
    estimate_px, truth_px = reproduce.estimate(model, recipe, recordings)
    assert estimate_px.shape == truth_px.shape == (2, STRETCHES, STRETCH_FRAMES, 14, 2)
    start = reproduce.stretches(recordings)[STRETCHES + 2]
    frame = start.first + 5
    np.testing.assert_array_equal(truth_px[1, 2, 5], recordings[1].keypoints_px[frame])
    length = model.config.frames
    batch = reproduce.gather_batch(
        recordings,
        [Window(1, frame - length // 2)],
        length,
        model.config,
        recipe.views,
    )
    with torch.no_grad():
        window = model(batch.heatmaps).keypoints[0, length // 2]
    np.testing.assert_allclose(estimate_px[1, 2, 5], window, atol=1e-3)


def test_measures_of_known_movements():
    """Estimates shifted by (3, 4) px, and of the second recording along a cubic, too."""
    shape = (2, STRETCHES, STRETCH_FRAMES, 14, 2)
    truth_px = np.broadcast_to(still(1).keypoints_px[0] * 5, shape).astype(float)
    estimate_px = truth_px + [3.0, 4.0]
    times = np.arange(STRETCH_FRAMES, dtype=float)
    estimate_px[1, ..., 0] += 0.1 * times[:, None] ** 3
    measured = reproduce.measure(estimate_px, truth_px)
    by_recording = measured["by_recording"]
    assert set(by_recording) == set(MEASURES)
    assert by_recording["error_px"][0] == pytest.approx(5.0)
    # velocity 0.1 (3 t^2 + 3 t + 1) from frame t to the next; third difference 0.1 * 6
    assert by_recording["velocity_error_px"] == pytest.approx(
        [0.0, np.mean(0.1 * (3 * times**2 + 3 * times + 1)[:-1])], abs=1e-9
    )
    assert by_recording["jerk_px"] == pytest.approx([0.0, 0.6], abs=1e-9)
    assert measured["whole"]["jerk_px"] == pytest.approx(0.3)
    assert measured["whole"]["jerk_of_truth_px"] == pytest.approx(0)
    similarity = oks(estimate_px, truth_px, person_area(truth_px))
    assert measured["whole"]["ap"] == pytest.approx(
        average_precision(similarity.ravel(), "fraction")
    )
    assert np.mean(by_recording["ap"]) == pytest.approx(measured["whole"]["ap"])


@pytest.mark.parametrize("encoder", ["mamba", "transformer"])
def test_cost_of_a_layer(ablations, encoder):
    """Four times the tokens take longer; their gradient takes memory for the tokens at least."""
    config = dataclasses.replace(Recipe.load(ablations / "base.yaml").network, encoder=encoder)
    short, long = (
        reproduce.encoder_cost(dataclasses.replace(config, frames=frames), True, tokens=500)
        for frames in (1, 16)
    )
    assert (short["encoder"], short["frames"], long["frames"]) == (encoder, 1, 16)
    assert 0 < short["seconds"] < long["seconds"]
    assert long["mebibytes"] >= 16 * 500 * 16 * 4 / 2**20
