"""What is measured of heart rates: every one, those that are told, scene by scene, and drawn."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pulse_tracks import face_track

from radar_pose_ros.models import physmamba as physmamba_model
from radar_pose_ros.models import weights
from radar_pose_ros.models.physmamba import PhysMamba, PhysMambaConfig
from radar_pose_ros.training import physmamba, physmamba_evaluation
from radar_pose_ros.training.loop import FitResult
from radar_pose_ros.training.physmamba_evaluation import measure_videos, read_windows
from radar_pose_ros.vitals.meter import ClassicalMethod

SMALL = PhysMambaConfig(
    size=8, width=16, blocks=1, head_size=8, state_size=4, stem_kernel=3, merge_kernel=3
)
METHODS = {name: ClassicalMethod(name) for name in ("pos", "green")}


def scene(motion: str, tone: int) -> dict[str, str]:
    return {"motion": motion, "light": "dim", "compression": "none", "skin_tone": str(tone)}


@pytest.fixture(scope="module")
def tracks() -> list:
    """Two whose pulse is plain, and one whose pulse is hidden by noise; the last one is fast."""
    return [
        face_track(60.0, seed=1, **scene("still", 1)),
        face_track(90.0, seed=2, strength=1e-5, noise=1.0, **scene("moving", 2)),
        face_track(165.0, seed=3, **scene("still", 2)),
    ]


def test_every_rate_counts_and_once_more_only_what_is_told(tracks) -> None:
    windows = read_windows(tracks, METHODS)
    assert [track.name for track in windows.tracks] == [t.name for t in tracks for _ in range(2)]
    np.testing.assert_allclose(windows.true_bpm, [60, 60, 90, 90, 165, 165], atol=0.5)
    plain = np.array([0, 1, 4, 5])
    np.testing.assert_allclose(windows.bpm["pos"][plain], windows.true_bpm[plain], atol=0.5)
    np.testing.assert_allclose(windows.told_bpm["pos"][plain], windows.bpm["pos"][plain])
    assert np.isfinite(windows.bpm["pos"]).all()
    assert np.isnan(windows.told_bpm["pos"][2:4]).all()
    assert (windows.snr_db["pos"][plain] > 5).all() and (windows.snr_db["pos"][2:4] < 0).all()
    assert (
        windows.chosen({"motion": "still", "skin_tone": "2"}).tolist() == [False] * 4 + [True] * 2
    )


def test_whole_videos_are_of_hearts_in_the_published_band(tracks) -> None:
    videos = measure_videos(tracks, METHODS)
    assert [track.name for track in videos.tracks] == [track.name for track in tracks[:2]]
    np.testing.assert_allclose(videos.true_bpm, [60, 90], atol=0.5)
    assert abs(videos.estimated_bpm["green"][0] - 60) < 0.5


def test_rows_and_tables_say_the_same(tracks) -> None:
    windows, videos = read_windows(tracks, METHODS), measure_videos(tracks, METHODS)
    values = {row["id"]: row["value"] for row in physmamba_evaluation.rows(windows, videos)}
    error = np.abs(windows.bpm["pos"] - windows.true_bpm)
    assert values["windows.pos.mae_bpm"] == pytest.approx(error.mean())
    assert values["told.pos.mae_bpm"] == pytest.approx(error[[0, 1, 4, 5]].mean())
    assert values["windows.pos.coverage"] == 1.0
    assert values["told.pos.coverage"] == pytest.approx(4 / 6)
    assert values["windows.pos.snr_doubled_db"] == pytest.approx(2 * values["windows.pos.snr_db"])
    part = "motion_moving.light_dim.compression_none"
    assert values[f"windows.green.{part}.mae_bpm"] == pytest.approx(
        np.abs(windows.bpm["green"] - windows.true_bpm)[2:4].mean()
    )
    assert values[f"told.green.{part}.coverage"] == 0.0
    assert values["told.pos.skin_tone_2.coverage"] == 0.5
    text = "\n".join(physmamba_evaluation.lines(windows, videos))
    assert "## 6 windows of 10 s" in text and "## 2 whole videos" in text
    assert f"| moving, dim, none | 2 | {error[2:4].mean():.1f}; 0% |" in text
    assert "| still, dim, none | 4 | 0.0; 100%, 0.0 | 0.0; 100%, 0.0 |" in text


def test_attributes_that_nobody_has_make_no_table() -> None:
    windows = read_windows([face_track()], {"pos": METHODS["pos"]})
    videos = measure_videos([face_track()], {"pos": METHODS["pos"]})
    assert not any("By " in line for line in physmamba_evaluation.lines(windows, videos))


def run(*options: str) -> int:
    parser = argparse.ArgumentParser()
    physmamba_evaluation.add_evaluate_arguments(parser)
    return physmamba_evaluation.evaluate(parser.parse_args(["--threads", "1", *options]))


@pytest.fixture
def on_tracks(tracks, monkeypatch) -> None:
    monkeypatch.setattr(physmamba, "tracks_of", lambda *_, **__: tracks)


def test_the_command_needs_no_weights_for_what_has_learnt_nothing(
    on_tracks, tmp_path: Path, capsys
) -> None:
    numbers, out = tmp_path / "numbers.json", tmp_path / "drawn"
    assert run("--method", "chrom", "--json", str(numbers), "--out", str(out)) == 0
    assert "| chrom |" in capsys.readouterr().out
    values = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    assert values["told.chrom.mae_bpm"] < 0.5
    picture = cv2.imread(str(out / "agreement_chrom.png"))
    assert picture.shape[1] > 2 * picture.shape[0] and len(np.unique(picture)) > 10


def test_the_command_measures_given_weights_beside_all_others(
    on_tracks, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setitem(physmamba_model.PRESETS, "edge", SMALL)
    torch.manual_seed(0)
    network = PhysMamba(SMALL)
    recipe = physmamba.Recipe.load(physmamba.RECIPES / "edge.yaml")
    fitted = FitResult(network.state_dict(), {}, 1)
    physmamba.save(network, recipe, fitted, [face_track()], tmp_path, command="-")
    path = weights.read_manifest(tmp_path)[0]["file"]
    assert run("--weights", str(tmp_path / path)) == 0
    said = capsys.readouterr().out
    for name in physmamba_evaluation.METHODS:
        assert f"| {name} |" in said
    with pytest.raises(ValueError, match="asked for was --preset paper"):
        run("--weights", str(tmp_path / path), "--preset", "paper")


def test_nothing_to_measure_on_is_said(monkeypatch) -> None:
    monkeypatch.setattr(physmamba, "tracks_of", lambda *_, **__: [face_track(seconds=5.0)])
    with pytest.raises(ValueError, match="no track shows a known pulse for 10 s"):
        run("--method", "pos")
