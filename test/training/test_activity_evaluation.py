"""What is measured of people without known joints: pairings and rates by hand, and RadHAR's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros import cli
from radar_pose_ros.datasets import radhar
from radar_pose_ros.datasets.radhar import Clip
from radar_pose_ros.metrics.sense import ACTIVITY_CHECKS, SHAPE_CHECKS, Take
from radar_pose_ros.models.points import PointPose, PointPoseConfig
from radar_pose_ros.training import activity_evaluation
from radar_pose_ros.training.activity_evaluation import about, lines, measure, others, rows

FRAMES = 40
SMALL = PointPoseConfig(frames=8, points=8, width=16, decoder_width=16, decoder_layers=1)


def clip(activity: str, seed: int = 0, frames: int = 3 * FRAMES) -> Clip:
    """Points about (1.5, 0, -0.3), 30 frames a second."""
    rng = np.random.default_rng(seed)
    clouds = [
        rng.normal([1.5, 0, -0.3, 0, 30], [0.1, 0.1, 0.2, 0.5, 3], (6, 5)).astype(np.float32)
        for _ in range(frames)
    ]
    return Clip(f"{activity}_{seed}", activity, 100 + np.arange(frames) / 30 + 0.001, clouds)


def network() -> PointPose:
    torch.manual_seed(0)
    made = PointPose(SMALL).eval()
    rng = np.random.default_rng(0)
    made.head.fit_poses(rng.normal([2.0, -0.2, 0.1], 0.3, (50, 25, 3)).astype(np.float32))
    made.fit_middle(np.float32([[2.0, 0.0, 0.4, 0, 0]]))
    return made


def test_the_points_of_half_a_second_are_described():
    nothing = np.zeros((0, 5), np.float32)
    one = np.array([[1, 2, 3, 0, 0]], np.float32)
    clouds = [nothing, one, nothing, 3 * one, nothing, nothing, nothing, nothing, nothing]
    found = about(clouds, 10.0)
    assert np.isnan(found[0]).all()
    assert_close(found[1], np.tile([1.0, 2.0, 3.0], (3, 1)))
    assert_close(found[2], found[1])
    assert_close(found[3], np.outer([1.2, 2.0, 2.8], [1.0, 2.0, 3.0]))
    assert_close(found[5], found[3])
    assert_close(found[6], np.tile([3.0, 6.0, 9.0], (3, 1)))  # the first is half a second old
    assert_close(found[8], found[6])  # there are none left


def test_others_are_of_every_other_activity():
    def made(value: float, frames: int) -> Take:
        return Take(np.full((frames, 25, 3), value), np.full((frames, 3, 3), value), 10.0)

    takes = {"walk": [made(1, 5), made(2, 5)], "jump": [made(3, 4)], "squats": [made(4, 6)]}
    found = others(takes)
    assert {name: len(some) for name, some in found.items()} == {"walk": 4, "jump": 2, "squats": 2}
    pairs = [(t.points_m[0, 0, 0], t.joints_m[0, 0, 0], len(t.joints_m)) for t in found["walk"]]
    assert pairs == [(1, 3, 4), (1, 4, 5), (2, 3, 4), (2, 4, 5)]
    assert all(len(t.joints_m) == len(t.points_m) for some in found.values() for t in some)


def test_the_mean_pose_stands_where_the_points_are_and_moved_points_take_poses_back():
    """A new network says the mean pose beside the points, at the height that it has learnt."""
    found = measure([clip("walk"), clip("jump", 1)], network())
    assert set(found) == set(activity_evaluation.METHODS)
    own, mean = found["points"]["walk"][0], found["mean_pose"]["walk"][0]
    assert own.joints_m.shape == (FRAMES - SMALL.frames, 25, 3)
    assert_close(np.median(mean.joints_m, 1), mean.points_m[:, 1])
    # What has learnt with points about (2, 0, 0.4) says poses of points about (1.5, 0, -0.3).
    expected = network().head.mean_m.numpy() - [0.5, 0, 0]
    np.testing.assert_allclose(own.joints_m.mean(0), expected, atol=0.1)
    moved = found["moved"]["walk"][0]
    np.testing.assert_allclose(moved.joints_m.mean(0), expected - [0, 0, 0.7], atol=0.1)


def test_rows_and_tables_say_the_same():
    takes = measure([clip("walk"), clip("jump", 1)], network())
    found = {row["id"]: row for row in rows(takes)}
    shapes = len(SHAPE_CHECKS) * 3  # both activities, and all
    sense = len(ACTIVITY_CHECKS["walk"]) + len(ACTIVITY_CHECKS["jump"])
    assert len(found) == len(activity_evaluation.METHODS) * (shapes + sense)
    assert found["radhar.place"]["against"] == f"{2 * (FRAMES - SMALL.frames)} poses"
    assert found["radhar.walk_place"]["against"] == f"{FRAMES - SMALL.frames} poses"
    assert found["radhar.mean_pose_place"]["value"] == 1.0
    assert found["radhar.walk_travels"]["value"] == 0.0
    assert found["radhar.walk_travels"]["against"] == "1 recordings"
    said = list(lines(takes))
    place = next(line for line in said if line.startswith("| place")).split(" | ")
    expected = [found[f"radhar.{name}place"]["value"] for name in ("walk_", "jump_", "")]
    assert [int(cell) for cell in place[1:4]] == [round(100 * value) for value in expected]
    travels = next(line for line in said if "travels" in line)
    assert travels.startswith("| walk | travels | 1 | 0 | 0 |")


@pytest.mark.parametrize(
    ("clips", "said"),
    [
        ([clip("swimming")], "no recording is labelled squats, walk, jack, boxing, jump"),
        ([clip("walk", frames=24)], "walk_0 has 7 frames"),
        ([clip("walk")._replace(clouds=[np.zeros((0, 5), np.float32)] * 120)], "some want points"),
    ],
)
def test_what_cannot_be_judged_is_refused(clips, said):
    with pytest.raises(ValueError, match=said):
        measure(clips, network())


def test_a_folder_without_recordings_is_refused(tmp_path, capsys):
    assert cli.main(["evaluate", "radhar", "--data", str(tmp_path)]) == cli.USAGE_ERROR
    assert "has no .npz files of RadHAR" in capsys.readouterr().err


def test_shipped_weights_on_one_recording_of_each_activity(shared_data, monkeypatch, tmp_path):
    folder = shared_data / "radar_points_radhar"
    chosen = {c.activity: c for c in radhar.load(folder / "radhar_train_subset.npz")}
    monkeypatch.setattr(radhar, "load", lambda path: list(chosen.values()))
    path = tmp_path / "radhar.json"
    words = ["evaluate", "radhar", "--data", str(folder), "--threads", "1", "--json", str(path)]
    assert cli.main(words) == 0
    found = {row["id"]: row["value"] for row in json.loads(path.read_text())["results"]}
    assert all(0 <= value <= 1 for value in found.values())
    assert found["radhar.upright"] > 0.95 and found["radhar.reach"] > 0.95
    assert found["radhar.walk_travels"] == 1.0 and found["radhar.others_walk_travels"] < 0.5
