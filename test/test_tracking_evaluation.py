"""What is measured of people who are followed: counted by hand, on TI's capture, and on crowds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from radar_pose_ros import cli, tracking_evaluation
from radar_pose_ros.radar.tracking import TrackedPerson
from radar_pose_ros.simulation import crowds
from radar_pose_ros.simulation.crowds import Crowd
from radar_pose_ros.tracking_evaluation import follow


def scripted(monkeypatch, frames):
    """Let a tracker say what is written: for each frame pairs of an id and a place."""

    class Tracker:
        def __init__(self, settings=None) -> None:
            self.frames = iter(frames)

        def update(self, points, time_s):
            nan = np.full(3, np.nan)
            none = np.zeros(0, int)
            return [
                TrackedPerson(k, np.array([*place, 0.0]), nan, nan, none, 1.0, 0)
                for k, place in next(self.frames)
            ]

    monkeypatch.setattr(tracking_evaluation, "PeopleTracker", Tracker)


def score(frames, truth):
    """Every frame lasts 0.5 s, so that two of them are not judged."""
    clouds = [np.zeros((0, 5))] * len(frames)
    return follow(
        0.5 * np.arange(len(frames)),
        clouds,
        [np.array([k for k, _ in people], int) for people in truth],
        [np.reshape([place for _, place in people], (-1, 2)) for people in truth],
    )


def test_counts_errors_and_switches_by_hand(monkeypatch):
    a, b, far = (2.0, 0.0), (3.0, 2.0), (6.0, -2.0)
    truth = [[(0, a), (1, b)]] * 8
    frames = [
        [], [],  # not judged
        [(1, a), (2, (3.0, 2.3))],  # all well
        [(1, a)],  # one is missing
        [(2, a), (1, b)],  # they changed places: two switches
        [(2, a), (1, b), (3, far)],  # one too many
        [(2, a), (4, far)],  # the right number, by chance
        [(2, a), (4, b)],  # a switch
    ]  # fmt: skip
    scripted(monkeypatch, frames)
    found = score(frames, truth)
    assert found.frames == 6
    assert found.count_right == 4
    assert (found.people, found.found, found.false) == (12, 10, 2)
    assert found.switches == 3
    assert sorted(found.errors_m) == pytest.approx([0.0] * 9 + [0.3])


def test_who_was_matched_last_is_matched_first(monkeypatch):
    truth = [[(0, (2.0, 0.0))]] * 4
    frames = [[], [], [(1, (2.0, 0.0))], [(1, (2.6, 0.0)), (2, (2.0, 0.1))]]
    scripted(monkeypatch, frames)
    found = score(frames, truth)
    assert found.switches == 0
    assert sorted(found.errors_m) == pytest.approx([0.0, 0.6])


def test_frames_are_settled_when_nobody_came_or_left_for_two_seconds(monkeypatch):
    one = [(0, (2.0, 0.0))]
    truth = [one] * 6 + [[]] * 6
    frames = [[(1, (2.0, 0.0))]] * 12
    scripted(monkeypatch, frames)
    found = score(frames, truth)
    assert (found.settled, found.settled_right) == (4, 2)
    assert (found.frames, found.count_right) == (10, 4)


def test_nothing_judged_is_not_a_number(monkeypatch):
    scripted(monkeypatch, [[]])
    for nothing in (score([[]], [[]]), score([], [])):
        told = {row["id"]: row["value"] for row in tracking_evaluation.rows("x", nothing, "")}
        assert np.isnan(told["x.count_right"])
        assert np.isnan(told["x.position_error_m"])
        assert told["x.identity_switches"] == 0
    assert np.isnan(told["x.update_ms"])


def test_the_capture_is_counted_and_placed(shared_data, tmp_path, capsys):
    """The targets: the number right in 90 % of frames, and within 0.35 m of TI's tracks."""
    written = tmp_path / "gtrack.json"
    folder = str(shared_data / "radar_gtrack")
    told = ["--data", folder, "--crowds", "0", "--json", str(written)]
    assert cli.main(["evaluate", "gtrack", *told]) == 0
    results = {row["id"]: row for row in json.loads(written.read_text())["results"]}
    assert results["gtrack.count_right"]["value"] >= 0.9
    assert results["gtrack.count_right"]["met"]
    assert results["gtrack.position_error_m"]["value"] < 0.35
    assert results["gtrack.position_error_m"]["met"]
    assert results["gtrack.identity_switches"]["value"] == 0
    assert results["gtrack_no_room.count_right"]["target"] is None
    assert "gtrack.count_right" in capsys.readouterr().out


def test_a_capture_that_is_not_there_is_said(tmp_path, capsys):
    assert cli.main(["evaluate", "gtrack", "--data", str(tmp_path)]) == cli.USAGE_ERROR
    assert "people_counting_points.npz: No such file" in capsys.readouterr().err
    told = ["--data", str(tmp_path), "--crowds", "-1"]
    assert cli.main(["evaluate", "gtrack", *told]) == cli.USAGE_ERROR
    assert "--crowds wants a number from 0 on, got -1" in capsys.readouterr().err


def test_a_crowd_is_what_was_asked_for():
    crowd = Crowd(people=3, seconds=20.0)
    drawn = crowds.record(crowd, 5)
    again = crowds.record(crowd, 5)
    np.testing.assert_array_equal(drawn.clouds[40], again.clouds[40])
    assert len(drawn.times_s) == len(drawn.clouds) == len(drawn.ids) == len(drawn.position_m)
    assert 0.85 * 400 < len(drawn.times_s) < 400  # some are lost
    assert max(len(who) for who in drawn.ids) >= 2
    points = np.concatenate(drawn.clouds)
    assert np.isfinite(points).all()
    assert (points[:, 3] != 0).all()
    for who, places in zip(drawn.ids, drawn.position_m, strict=True):
        assert places.shape == (len(who), 2)
        for i, j in np.argwhere(np.triu(np.ones((len(who),) * 2), 1)):
            assert np.hypot(*(places[i] - places[j])) > 0.2


def test_simulated_people_are_followed():
    drawn = [crowds.record(Crowd(people=2, seconds=20.0), seed) for seed in (11, 12)]
    found = tracking_evaluation.together([follow(*one) for one in drawn])
    assert found.frames == sum(
        len(one.times_s[one.times_s - one.times_s[0] >= 1]) for one in drawn
    )
    assert found.found / found.people > 0.85
    assert found.false / found.frames < 0.2
    assert np.median(found.errors_m) < 0.2
