"""TI's people-counting capture: axes, signs and frames, in tiny files and the published ones."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets import gtrack

COLUMNS = np.array(["frame", "tid", "x", "y", "z", "vx", "vy"])


def write(folder, **changes):
    """Three frames with 1, 0 and 2 points; one person in the first two."""
    points = {
        "points": np.array(
            [[2.0, 0.0, -0.5, 10.0], [4.0, np.pi / 2, 0.25, 100.0], [1.0, -np.pi / 6, 0.0, 1.0]],
            np.float32,
        ),
        "offset": np.array([0, 1, 1, 3]),
        "frame_number": np.array([1, 2, 3]),
    }
    tracks = {
        "tracks": np.array([[1, 7, 0.5, 3.0, 1.0, 0.1, -0.2], [2, 7, 0.6, 2.9, 1.0, 0.1, -0.2]]),
        "cols": COLUMNS,
        "index_offset": np.array([0, 1, 1]),
        "first_frame": np.array(1),
    }
    for arrays, name in ((points, gtrack.POINTS_FILE), (tracks, gtrack.TRACKS_FILE)):
        arrays.update({key: changes[key] for key in arrays if key in changes})
        np.savez(folder / name, **arrays)
    return folder


def test_points_are_turned_to_the_radars_axes(tmp_path):
    capture = gtrack.load(write(tmp_path))
    assert_close(capture.times_s, np.array([0.0, 0.05, 0.1]))
    assert [len(cloud) for cloud in capture.clouds] == [1, 0, 2]
    assert_close(capture.clouds[0][0], np.array([2.0, 0.0, 0.0, -0.5, 10.0], np.float32))
    right, left = capture.clouds[2]
    assert_close(right, np.array([0.0, -4.0, 0.0, 0.25, 20.0], np.float32))
    assert_close(left, np.array([np.sqrt(3) / 2, 0.5, 0.0, 0.0, 0.0], np.float32))


def test_expected_people_are_turned_too(tmp_path):
    first, second = gtrack.load(write(tmp_path)).expected
    assert first.ids.tolist() == second.ids.tolist() == [7]
    assert_close(first.position_m, np.array([[3.0, -0.5]]))
    assert_close(second.velocity_mps, np.array([[-0.2, -0.1]]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"points": np.zeros((3, 3))}, r"points: want the shape \(n, 4\)"),
        ({"points": np.full((3, 4), np.nan)}, "not finite"),
        ({"points": np.zeros((3, 4))}, "ratios of powers above 0"),
        ({"offset": np.array([0, 1, 3])}, "offset wants 4 numbers"),
        ({"offset": np.array([0, 2, 1, 3])}, "offset must not fall"),
        ({"frame_number": np.array([1, 2, 4])}, "must rise by 1"),
        ({"frame_number": np.zeros(0, int), "offset": np.zeros(1, int)}, "holds no frame"),
        ({"frame_number": np.array([2, 3, 4])}, "first_frame must be that of the points, 2"),
        ({"first_frame": np.zeros(0, int)}, "first_frame must be that of the points, 1"),
        ({"frame_number": np.array([1.0, 2.0, 3.0])}, "whole numbers"),
        ({"cols": COLUMNS[::-1][:4]}, "cols has no frame, tid, x"),
        ({"tracks": np.ones((1, 5))}, r"tracks: want the shape \(n, 7\)"),
        ({"tracks": np.full((1, 7), 9.0)}, "tracks are of frames 1 to 2"),
        ({"index_offset": np.arange(9)}, "has 8 frames, the points only 3"),
    ],
)
def test_other_layouts_are_refused_in_one_sentence(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said) as error:
        gtrack.load(write(tmp_path, **changes))
    assert str(tmp_path) in str(error.value)


def test_a_folder_without_the_files_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        gtrack.load(tmp_path)


def test_the_published_capture(shared_data):
    capture = gtrack.load(shared_data / "radar_gtrack")
    assert len(capture.clouds) == 400
    assert sum(map(len, capture.clouds)) == 9876
    people = np.array([len(expected.ids) for expected in capture.expected])
    assert len(people) == 280
    assert np.flatnonzero(np.diff(people)).tolist() == [22, 56, 87, 210]  # 0-based, one before
    assert_close(capture.expected[23].position_m.round(2), np.array([[5.47, 1.56]]))
    near = capture.clouds[23][:, :2] - capture.expected[23].position_m
    assert np.abs(np.median(near, axis=0)).max() < 0.15
