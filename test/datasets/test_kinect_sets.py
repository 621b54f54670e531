"""MARS and IRDS: axes, sides, gaps and time, in tiny files and in the published ones."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets import irds, kinect, mars
from radar_pose_ros.datasets.pose_sequences import minutes_by_subject
from radar_pose_ros.metrics.pose3d import segment_consistency
from radar_pose_ros.skeleton.definitions import H36M17


def joint(joints_m, name):
    return joints_m[..., H36M17.index(name), :]


def write_mars(path, **changes):
    """Two movements of subject 7; the radar lost one frame of the second."""
    joints = np.arange(6 * 25 * 3, dtype=np.float32).reshape(6, 25, 3)
    joints[1] = np.nan
    arrays = {
        "kinect_joints_m": joints,
        "joint_names": np.array(kinect.JOINT_NAMES),
        "movement": np.array([1, 1, 1, 2, 2, 2], np.uint8),
        "radar_frame": np.array([8, 9, 10, 100, 101, 103], np.int32),
    }
    np.savez(path, **{**arrays, **changes})
    return joints


def write_irds(path, **changes):
    """Two clips; in the first, two frames were dropped and a hand was guessed."""
    joints = np.arange(6 * 25 * 3, dtype=np.float32).reshape(6, 25, 3)
    tracking = np.full((6, 25), 2, np.uint8)
    tracking[1, kinect.JOINT_NAMES.index("WristLeft")] = 1
    stamps = [18432, 18465, 18566, 18599, 90000, 90033]
    arrays = {
        "joints_m": joints,
        "joint_names": np.array(kinect.JOINT_NAMES),
        "tracking": tracking,
        "timestamps_raw": np.array([[str(n), "5", str(ms)] for n, ms in enumerate(stamps)]),
        "clip_start": np.array([0, 4]),
        "subject": np.array(["215", "216"]),
        "gesture": np.array([1, 0]),
        "gesture_names": np.array(["bow", "wave"]),
        "repetition": np.array([3, 4]),
    }
    np.savez(path, **{**arrays, **changes})
    return joints


def test_kinect_s_names():
    assert kinect.JOINT_NAMES[0] == "SpineBase" and kinect.JOINT_NAMES[-1] == "ThumbRight"
    assert kinect.JOINT_NAMES[21] == "HandTipLeft" and len(set(kinect.JOINT_NAMES)) == 25
    joints = np.random.default_rng(0).normal(size=(2, 25, 3))
    names = kinect.JOINT_NAMES[::-1]
    mapped = kinect.to_h36m17(joints, names, "here")
    assert_close(joint(mapped, "left_wrist"), joints[:, names.index("WristLeft")])
    with pytest.raises(ValueError, match="here: its joints are not the 25 of Kinect V2"):
        kinect.to_h36m17(joints, [*names[1:], "Tail"], "here")


# --- MARS ---------------------------------------------------------------------------------------


def test_mars_lost_frames_are_unknown_and_axes_are_the_rig_s(tmp_path):
    source = write_mars(tmp_path / "mars_subject7.npz")
    first, second = mars.load(tmp_path / "mars_subject7.npz")
    assert (first.name, first.subject, first.action) == ("mars7_01", "mars7", "movement 1")
    assert first.rate_hz == 10 and "MIT" in first.licence
    assert [np.isnan(s.joints_m).all((1, 2)).tolist() for s in (first, second)] == [
        [False, True, False],
        [False, False, True, False],
    ]
    x, y, z = source[5, kinect.JOINT_NAMES.index("KneeRight")]
    assert_close(joint(second.joints_m, "right_knee")[3], [y, -x, z])


def test_mars_wrong_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"mars_subject<number>"):
        mars.load(tmp_path / "subject1.npz")
    path = tmp_path / "mars_subject7.npz"
    with pytest.raises(FileNotFoundError):
        mars.load(path)
    np.savez(path, movement=np.zeros(3))
    with pytest.raises(ValueError, match="no array joint_names, kinect_joints_m, radar_frame"):
        mars.load(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"kinect_joints_m": np.zeros((6, 24, 3))},
            r"want \(\.\.\., 25, 3\) joints, got \(6, 24, 3",
        ),
        ({"kinect_joints_m": np.array(["a"])}, "kinect_joints_m: want an array of numbers"),
        ({"joint_names": np.array("Head")}, "its joints are not the 25"),
        ({"movement": np.ones(5, int)}, "movement wants one whole number for each of 6 frames"),
        ({"radar_frame": np.arange(6.0)}, "radar_frame wants one whole number"),
        (
            {"radar_frame": np.array([8, 8, 10, 1, 2, 3])},
            "radar_frame of movement 1 does not rise",
        ),
        (
            {"radar_frame": np.array([1, 2, 3, 1, 2, 2**40])},
            "radar_frame of movement 2 does not rise, or by more",
        ),
    ],
)
def test_mars_of_another_layout_is_refused(tmp_path, changes, sentence):
    path = tmp_path / "mars_subject7.npz"
    write_mars(path, **changes)
    with pytest.raises(ValueError, match=rf"mars_subject7\.npz: {sentence}"):
        mars.load(path)


def test_damaged_files_are_named(tmp_path):
    write_mars(tmp_path / "mars_subject7.npz")
    write_irds(tmp_path / "irds.npz")
    for load, name in ((mars.load, "mars_subject7.npz"), (irds.load, "irds.npz")):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(ValueError, match=rf"{name}: damaged, or no \.npz file: "):
            load(path)


def test_published_mars(shared_data):
    folder = shared_data / "radar_points_mars"
    sequences = [s for n in (1, 3, 4) for s in mars.load(folder / f"mars_subject{n}.npz")]
    assert len(sequences) == 29
    minutes = minutes_by_subject(sequences)
    assert minutes == pytest.approx({"mars1": 7.89, "mars3": 14.82, "mars4": 12.79}, abs=0.01)
    for sequence in sequences:
        known = sequence.joints_m[~np.isnan(sequence.joints_m).any((1, 2))]
        across = joint(known, "left_hip") - joint(known, "right_hip")
        # they face the radar: it has their left to its right, -y
        assert np.median(across[:, 1]) < -0.1 and abs(np.median(across[:, 0])) < 0.08
        assert 1.2 < np.median(joint(known, "pelvis")[:, 0]) < 2.6
        height_m = np.median(joint(known, "head")[:, 2] - joint(known, "left_ankle")[:, 2])
        assert 1.3 < height_m < 1.75
        # no motion capture: bones breathe by centimetres
        assert 0.002 < segment_consistency(known) < 0.06


# --- IRDS ---------------------------------------------------------------------------------------


def test_irds_frames_are_where_their_time_says(tmp_path):
    """33 and 101 ms after the first: frames 1 and 4 of 30 Hz are there, 2 and 3 are not."""
    source = write_irds(tmp_path / "irds.npz")
    first, second = irds.load(tmp_path / "irds.npz")
    assert (first.name, first.subject, first.action) == ("irds_000_215_1_3", "irds215", "wave")
    assert second.action == "bow" and len(second.joints_m) == 2
    assert "never for shipped weights" in first.licence
    lost = np.isnan(first.joints_m).all((1, 2))
    assert lost.tolist() == [False, False, True, True, False, False]
    x, y, z = source[3, kinect.JOINT_NAMES.index("ElbowLeft")]
    assert_close(joint(first.joints_m, "left_elbow")[5], [z, x, y])


def test_irds_guessed_joints_are_unknown(tmp_path):
    write_irds(tmp_path / "irds.npz")
    unknown = np.isnan(irds.load(tmp_path / "irds.npz")[0].joints_m[1]).any(-1)
    assert [H36M17.joints[k] for k in np.flatnonzero(unknown)] == ["left_wrist"]
    kept = irds.load(tmp_path / "irds.npz", keep_inferred=True)[0]
    assert np.isfinite(kept.joints_m[1]).all()


def test_irds_wrong_files_are_named(tmp_path):
    np.savez(tmp_path / "irds.npz", joints_m=np.zeros(3))
    with pytest.raises(ValueError, match=r"irds\.npz: no array clip_start, gesture, gesture_nam"):
        irds.load(tmp_path / "irds.npz")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"joints_m": np.zeros((6, 25))}, r"joints_m wants the shape \(6, 25, 3\), got \(6, 25\)"),
        ({"tracking": np.zeros((5, 25))}, r"tracking wants the shape \(6, 25\)"),
        ({"subject": np.array(["215"])}, r"subject wants the shape \(2,\), got \(1,\)"),
        (
            {"clip_start": np.array([0, 6])},
            "clip_start does not rise from 0 to one of the 6 frames",
        ),
        ({"clip_start": np.array([1, 4])}, "clip_start does not rise from 0"),
        ({"gesture": np.array([0, 2])}, "gesture wants whole numbers of 2 gesture_names"),
        ({"timestamps_raw": np.full((6, 3), "x")}, "timestamps_raw: could not convert"),
        (
            {"timestamps_raw": np.array([["0", "5", f"{ms}"] for ms in (0, 33, 66, 99, 50, 10)])},
            "a time stamp of clip 1 is before its first one or not within 600 s",
        ),
        (
            {"timestamps_raw": np.array([["0", "5", "9e9" if k == 2 else "1"] for k in range(6)])},
            "a time stamp of clip 0 is before its first one or not within 600 s",
        ),
    ],
)
def test_irds_of_another_layout_is_refused(tmp_path, changes, sentence):
    write_irds(tmp_path / "irds.npz", **changes)
    with pytest.raises(ValueError, match=rf"irds\.npz: {sentence}"):
        irds.load(tmp_path / "irds.npz")


def test_published_irds(shared_data):
    sequences = irds.load(shared_data / "mocap" / "irds_kinect_30hz.npz")
    assert len(sequences) == 127 and len({s.name for s in sequences}) == 127
    minutes = minutes_by_subject(sequences)
    assert minutes == pytest.approx({"irds215": 1.83, "irds216": 3.25}, abs=0.01)
    for sequence in sequences:
        across = joint(sequence.joints_m, "left_hip") - joint(sequence.joints_m, "right_hip")
        # they face the Kinect
        assert np.nanmedian(across[:, 1]) < -0.1
        assert 1.5 < np.nanmedian(joint(sequence.joints_m, "pelvis")[:, 0]) < 3.5


def test_published_irds_names_the_other_arm(shared_data):
    """The names of gestures and of joints do not agree on left, in any clip."""
    sequences = irds.load(shared_data / "mocap" / "irds_kinect_30hz.npz")
    for side, other in (("left", "right"), ("right", "left")):
        chosen = [s.joints_m for s in sequences if s.action == f"shoulder abduction {side}"]
        assert len(chosen) > 10
        for joints in chosen:
            rise = {s: np.nanmax(joint(joints, f"{s}_wrist")[:, 2]) for s in (side, other)}
            assert rise[side] < rise[other]
