"""The weights of a rate's quality: the fit, what is counted, and recordings without a pulse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pulse_tracks import face_track

from radar_pose_ros.datasets import face_tracks
from radar_pose_ros.simulation.faces import SimulatedFaceVideo
from radar_pose_ros.training import pulse_quality
from radar_pose_ros.training.pulse_quality import Judged
from radar_pose_ros.vitals import classical, evidence
from radar_pose_ros.vitals.evidence import Evidence
from radar_pose_ros.vitals.meter import ClassicalMethod, MeterSettings, State

POS = ClassicalMethod("pos")


def drawn_evidence(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.stack(
        [
            rng.uniform(-8, 8, count),
            rng.uniform(-1, 1, count),
            rng.uniform(-1, 0.95, count),
            rng.uniform(-1, 0.5, count),
        ],
        axis=1,
    )


@pytest.mark.parametrize("kind", evidence.WEIGHTS)
def test_the_fit_finds_the_weights_that_made_the_outcomes(rng, kind: evidence.Kind) -> None:
    weights = evidence.WEIGHTS[kind]
    found = drawn_evidence(rng, 40000)
    right = rng.uniform(size=len(found)) < evidence.stated(found, weights)
    fitted = pulse_quality.fit(found, right, ridge=0.0)
    np.testing.assert_allclose(fitted, weights, atol=0.15)
    pulled = pulse_quality.fit(found, right, ridge=1.0)
    assert (np.abs(pulled[1:]) < np.abs(fitted[1:])).all()


@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_fit_needs_right_and_wrong_rates(rng, all_of_them: bool) -> None:
    with pytest.raises(ValueError, match="rates that are right and rates that are wrong"):
        pulse_quality.fit(drawn_evidence(rng, 10), np.full(10, all_of_them))


def test_the_stated_quality_is_the_shipped_one(rng) -> None:
    found = drawn_evidence(rng, 20)
    for kind, weights in evidence.WEIGHTS.items():
        shipped = [evidence.quality(Evidence(*one), kind) for one in found]
        np.testing.assert_allclose(evidence.stated(found, weights), shipped)


def test_a_track_is_read_as_it_was_filmed() -> None:
    windows = list(pulse_quality.read(face_track(72.0), POS, every_s=2.0))
    assert len(windows) == 3  # of 10 s in 16 s, each 2 s
    for window in windows:
        assert window.reading.state == State.OK
        assert window.bpm == window.reading.rate.bpm
        assert abs(window.bpm - 72) < 0.5 and abs(window.true_bpm - 72) < 0.5
        assert window.reading.window_s == pytest.approx(10.0, abs=0.1)


def test_a_photograph_has_no_true_rate_and_none_is_told() -> None:
    photograph = face_track(strength=0.0, seed=3)
    for window in pulse_quality.read(photograph, POS):
        assert window.reading.state == State.LOW_SIGNAL and np.isnan(window.reading.rate.bpm)
        assert np.isfinite(window.bpm) and np.isnan(window.true_bpm)


def test_who_is_judged_right() -> None:
    """A living rate near the truth is, one far from it and all of photographs are not."""
    methods = {"pos": POS}
    living = pulse_quality.judge([face_track(72.0)], methods, photograph=False)
    assert len(living.right) == 6 and living.right.all() and not living.photograph.any()
    weak = face_track(72.0, strength=1e-5, noise=1.0)
    assert not pulse_quality.judge([weak], methods, photograph=False).right.all()
    dead = pulse_quality.judge([face_track(strength=0.0)], methods, photograph=True)
    assert len(dead.right) == 6 and not dead.right.any() and dead.photograph.all()
    unknown = face_track(strength=0.0)
    assert not len(pulse_quality.judge([unknown], methods, photograph=False).right)
    both = pulse_quality.together([living, dead])
    assert len(both.right) == 12 and both.only(both.photograph).right.sum() == 0


def test_shares_that_a_threshold_tells_and_keeps() -> None:
    good, bad = (12.0, 0.99, 0.99, 0.0), (-8.0, -0.5, -0.5, 0.0)
    judged = Judged(
        np.array([good, good, good, bad, bad, good]),
        np.array([True, True, False, True, False, False]),
        np.array(["pos", "pos", "pos", "pos", "green", "green"]),
        np.array(["colours"] * 6),
        np.array([False, False, False, False, True, True]),
    )
    rows = pulse_quality.thresholds(judged, evidence.WEIGHTS, 0.9)
    values = {row["id"]: row["value"] for row in rows}
    assert values["quality.pos.people_told"] == 0.75
    assert values["quality.pos.wrong_told"] == 1.0
    assert values["quality.pos.right_kept"] == pytest.approx(2 / 3)
    assert values["quality.pos.told_right"] == pytest.approx(2 / 3)
    assert values["quality.green.photographs_told"] == 0.5
    assert values["quality.all.wrong_told"] == pytest.approx(2 / 3)
    assert np.isnan(values["quality.pos.photographs_told"])
    table = list(pulse_quality.reliability(judged, evidence.WEIGHTS))
    assert table[0].endswith("| 0.9 to 1 |")
    assert table[2].startswith("| pos | 100% of 1 |") and table[2].endswith("| 67% of 3 |")
    assert table[-1].startswith("| all | 50% of 2 |") and table[-1].endswith("| 50% of 4 |")


def test_each_kind_of_method_has_weights_of_its_own(rng) -> None:
    found = np.concatenate([drawn_evidence(rng, 2000), drawn_evidence(rng, 2000)])
    kind = np.array(["colours"] * 2000 + ["images"] * 2000)
    likely = np.where(kind == "colours", found[:, 1], found[:, 2])
    right = rng.uniform(-1, 1, len(found)) < likely
    judged = Judged(found, right, kind, kind, np.zeros(len(found), bool))
    weights = pulse_quality.fitted(judged)
    assert weights["colours"][2] > 5 * abs(weights["colours"][3])
    assert weights["images"][3] > 5 * abs(weights["images"][2])
    told = judged.told(weights, 0.7)
    both = [evidence.stated(found, weights[each]) >= 0.7 for each in ("colours", "images")]
    np.testing.assert_array_equal(told, np.where(kind == "colours", *both))
    assert list(pulse_quality.fitted(judged.only(kind == "colours"))) == ["colours"]


def test_faces_are_drawn_once_and_go_through_a_codec(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pulse_quality, "SECONDS", 4.5)
    scene = pulse_quality.scene("photograph", "train", 2)
    assert scene.people[0].heart is None and scene.pumping <= 0.01
    assert 0.02 <= pulse_quality.scene("photograph", "train", 4).pumping <= 0.06
    assert scene != pulse_quality.scene("photograph", "validation", 2)
    assert pulse_quality.scene("person", "train", 2).people[0].heart is not None
    made = [pulse_quality.drawn("photograph", "train", n, tmp_path, 32) for n in (1, 2)]
    compressions = [track.attributes["compression"] for tracks in made for track in tracks]
    assert compressions == ["none", "mp4v"]
    assert not made[1][0].pulse.any() and made[1][0].thumbnails.shape[1:] == (32, 32, 3)
    video, file = SimulatedFaceVideo(scene), pulse_quality._Compressed(scene)
    pairs = list(zip(video.frames(), file.frames(), strict=True))
    assert all(a[0] == b[0] for a, b in pairs)
    apart = np.mean([np.abs(a[1].astype(float) - b[1]).mean() for a, b in pairs])
    assert 0.1 < apart < 10
    monkeypatch.setattr(face_tracks, "track_simulated", None)  # nothing is made again
    again = pulse_quality.drawn("photograph", "train", 2, tmp_path, 32)
    np.testing.assert_array_equal(again[0].colours, made[1][0].colours)


@pytest.mark.slow
@pytest.mark.parametrize("method", [*classical.METHODS, "combined"])
def test_recorded_skin_without_a_known_pulse_is_refused(shared_data: Path, method: str) -> None:
    """Of windows of compressed forehead and cheek, 99 of 100 or more."""
    paths = sorted((shared_data / "rppg" / "bias_eval_skin").glob("*.avi"))
    if not paths:
        pytest.skip("needs the recordings of bias_eval_skin")
    readings = [
        reading
        for path in paths
        for reading in pulse_quality.skin_readings(path, ClassicalMethod(method), MeterSettings())
    ]
    refused = [reading.state in (State.LOW_SIGNAL, State.MOTION) for reading in readings]
    assert len(refused) > 100 and np.mean(refused) >= 0.99
