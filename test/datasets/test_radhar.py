"""RadHAR: sides, frames and time, in tiny files and in the published ones; damage is refused."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets import radhar

MESSAGE = """header:
  seq: {seq}
  stamp:
    secs: {secs}
    nsecs: {nsecs}
  frame_id: "ti_mmwave"
point_id: {point}
x: {x}
y: 0.25
z: -0.5
range: 2.0
velocity: -0.615
doppler_bin: 15
bearing: 7.0
intensity: 29.5
---
"""


def dump(*points):
    """Text of points, each its number, its second and x."""
    return "".join(
        MESSAGE.format(seq=k, secs=1_500_000_000 + second, nsecs=250_000_000, point=point, x=x)
        for k, (point, second, x) in enumerate(points)
    )


TEXT = dump((0, 0, 1.0), (1, 0, 2.0), (3, 0, 3.0), (0, 1, 4.0), (0, 2, 5.0))


def test_a_dump_is_frames_of_points(tmp_path):
    path = tmp_path / "walk_20_1.txt"
    path.write_text(TEXT)
    clip = radhar.load_dump(path, "walk")
    assert clip.name == "walk_20_1"
    assert clip.activity == "walk"
    assert_close(clip.times_s - 1.5e9, np.array([0.25, 1.25, 2.25]))
    assert [cloud[:, 0].tolist() for cloud in clip.clouds] == [[1, 2, 3], [4], [5]]
    assert_close(clip.clouds[1][0], np.array([4.0, -0.25, -0.5, -0.615, 29.5], np.float32))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(TEXT, "", "holds no message", id="empty"),
        pytest.param(TEXT, TEXT[:-10], "line 79: the text ends within a message", id="cut"),
        pytest.param(TEXT, TEXT[:-4], "line 80: the text ends within a message", id="end"),
        ("x: 2.0", "x: two", "line 24: x wants a number, got 'two'"),
        ("x: 2.0", "x: nan", "line 24: x is not finite"),
        ("x: 2.0\n", "", "line 24: want 'x', got 'y'"),
        ("x: 2.0", "\x00\xff\n", "line 24: want 'x'"),
        pytest.param("x: 2.0", "x: " + 300 * "2", "line 24: longer than 200 bytes", id="long"),
        ("point_id: 3", "point_id: -3", "line 48: point_id must not be negative"),
        ("secs: 1500000002", "secs: 1500000001", "line 80: time does not rise"),
    ],
)
def test_a_damaged_dump_is_refused_in_one_sentence(tmp_path, old, new, said):
    path = tmp_path / "clip.txt"
    path.write_bytes(TEXT.replace(old, new, 1).encode("latin1"))
    with pytest.raises(ValueError, match=said) as error:
        radhar.load_dump(path)
    assert str(path) in str(error.value)


def test_damaged_compression_is_refused(tmp_path):
    path = tmp_path / "clip.txt.gz"
    whole = gzip.compress(TEXT.encode())
    path.write_bytes(whole)
    assert radhar.load_dump(path).name == "clip"
    for damaged in (whole[:-20], b"text", whole[:20] + b"\xff\xff" + whole[22:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"clip\.txt\.gz"):
            radhar.load_dump(path)


def test_an_endless_dump_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(radhar, "LARGEST_DUMP_BYTES", 1000)
    path = tmp_path / "clip.txt"
    path.write_text(TEXT)
    with pytest.raises(ValueError, match="longer than 1000 bytes"):
        radhar.load_dump(path)


def write(path, **changes):
    """Two clips, of two frames and one."""
    arrays = {
        "points": np.arange(20, dtype=np.float32).reshape(4, 5),
        "points_per_frame": np.array([1, 0, 3], np.uint16),
        "frame_time_unix_s": np.array([5.0, 5.1, 2.0]),
        "clip_start_frame": np.array([0, 2]),
        "clip_label": np.array(["walk", "squats"]),
        "clip_name": np.array(["a", "b"]),
    }
    np.savez(path, **{**arrays, **changes})
    return path


def test_clips_of_one_file(tmp_path):
    first, second = radhar.load(write(tmp_path / "clips.npz"))
    assert (first.name, first.activity) == ("a", "walk")
    assert (second.name, second.activity) == ("b", "squats")
    assert_close(first.times_s, np.array([5.0, 5.1]))
    assert [cloud.shape for cloud in first.clouds] == [(1, 5), (0, 5)]
    assert_close(second.clouds[0][0], np.array([5, -6, 7, 8, 9], np.float32))


def test_clouds_of_another_rate_are_spans_of_time_within_the_room():
    """Frames in pairs; the last span is cut."""
    inside, aside, far = ([1.0, 0, 0, 1, k] for k in range(3))
    aside[1], far[0] = 1.6, 4.8
    clouds = [
        np.array(rows, np.float32).reshape(-1, 5)
        for rows in ([inside], [inside, far], [], [aside], [far, inside, inside], [inside])
    ]
    times_s = 7.0 + np.array([0.0, 0.002, 0.06, 0.15, 0.31, 0.45])
    found = radhar.gathered(radhar.Clip("a", "walk", times_s, clouds), 10.0)
    assert [len(cloud) for cloud in found] == [2, 0, 0, 2]
    assert found[0].dtype == np.float32
    assert_close(found[3][0], clouds[4][1])
    assert radhar.gathered(radhar.Clip("a", "", times_s[:2], clouds[:2]), 10.0) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"points": np.zeros((4, 4))}, r"points want the shape \(n, 5\)"),
        ({"points": np.zeros((5, 5))}, "5 points in all"),
        ({"points_per_frame": np.array([1.0, 0.0, 3.0])}, "points_per_frame wants whole numbers"),
        ({"clip_start_frame": np.array([0, 3])}, "clip_start_frame must rise"),
        ({"clip_start_frame": np.array([1, 2])}, "clip_start_frame must rise"),
        ({"clip_name": np.array(["a"])}, "a label and a name for each of 2 clips"),
        ({"frame_time_unix_s": np.array([5.0, 5.0, 2.0])}, "of a does not rise"),
        ({"frame_time_unix_s": np.array([5.0, np.nan, 2.0])}, "of a does not rise"),
    ],
)
def test_other_layouts_are_refused(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        radhar.load(write(tmp_path / "clips.npz", **changes))


def test_the_published_text_is_one_of_the_published_clips(shared_data):
    folder = shared_data / "radar_points_radhar"
    clips = radhar.load(folder / "radhar_train_subset.npz")
    assert len(clips) == 65
    assert sum(len(clip.clouds) for clip in clips) == 39121
    assert {clip.activity for clip in clips} == {"boxing", "jack", "jump", "squats", "walk"}
    text = radhar.load_dump(folder / "raw_rostopic_echo_walk_20_1.txt.gz", "walk")
    clip = next(clip for clip in clips if clip.times_s[0] == text.times_s[0])
    assert clip.activity == text.activity
    np.testing.assert_array_equal(clip.times_s, text.times_s)
    for ours, published in zip(text.clouds, clip.clouds, strict=True):
        # the clips are rounded: to 1 mm and mm/s, and to 0.1 dB
        np.testing.assert_allclose(ours[:, :4], published[:, :4], atol=0.51e-3)
        np.testing.assert_allclose(ours[:, 4], published[:, 4], atol=0.051)
