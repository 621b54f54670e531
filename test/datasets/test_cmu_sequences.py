"""The clips of CMU's database as whole sequences in the skeleton of Human3.6M."""

import numpy as np
import pytest

from radar_pose_ros.datasets.cmu_mocap import load, load_sequences
from radar_pose_ros.datasets.pose_sequences import check_sides, minutes_by_subject
from radar_pose_ros.metrics.pose3d import segment_consistency, symmetry_gap
from radar_pose_ros.skeleton.definitions import CMU23, H36M17, HUPR14

FILE_NAMES = [name.replace("left_", "l_").replace("right_", "r_") for name in CMU23.joints]


def write(path, names):
    """Two clips of three and two frames."""
    joints = np.arange(5 * len(names) * 3, dtype=np.float32).reshape(5, len(names), 3)
    np.savez(
        path,
        joints_m=joints,
        joint_names=names,
        fps=60.0,
        clip_start=[0, 3],
        clip_name=["07_01", "08_02"],
        clip_subject=["cmu07", "cmu08"],
    )
    return joints


def test_clips_are_cut_and_joints_found_by_name(tmp_path):
    names = FILE_NAMES[::-1]
    source = write(tmp_path / "cmu.npz", names)
    first, second = load_sequences(tmp_path / "cmu.npz", smooth_below_hz=None)
    assert (second.name, second.subject, second.action) == ("08_02", "cmu08", "cmu_08_02")
    assert first.rate_hz == 60 and "not to be resold" in first.licence
    assert [len(first.joints_m), len(second.joints_m)] == [3, 2]
    for name, at in (("left_wrist", "l_wrist"), ("right_hip", "r_hip"), ("thorax", "neck")):
        np.testing.assert_array_equal(
            second.joints_m[:, H36M17.index(name)], source[3:, names.index(at)]
        )
    write(tmp_path / "other.npz", [*names[1:], "tail"])
    with pytest.raises(ValueError, match=r"other\.npz: its joints are not those of cmu23"):
        load_sequences(tmp_path / "other.npz")


def test_whole_clips_in_the_skeleton_of_human36m(shared_data):
    sequences = load_sequences(shared_data / "mocap" / "cmu_60hz.npz")
    assert len(sequences) == 27 and len({s.name for s in sequences}) == 27
    minutes = minutes_by_subject(sequences)
    assert minutes == pytest.approx({"cmu01": 7.62, "cmu02": 1.78, "cmu13": 1.40}, abs=0.005)
    for sequence in sequences:
        assert sequence.rate_hz == 60 and np.isfinite(sequence.joints_m).all()
        check_sides(sequence.joints_m, "h36m17", sequence.name)
        # optical: limbs are rigid, and the same on both sides to a few per cent
        assert segment_consistency(sequence.joints_m) < 0.006
        assert symmetry_gap(sequence.joints_m) < 0.02
    walk = next(s for s in sequences if s.name == "02_01").joints_m
    speed_mps = np.linalg.norm(walk[-1, 0, :2] - walk[0, 0, :2]) / (len(walk) - 1) * 60
    assert 0.8 < speed_mps < 1.8
    assert 1.55 < np.median(walk[:, H36M17.index("head"), 2]) < 1.8


def test_the_same_joints_as_before_the_rig(shared_data):
    """A piece differs from its clip by a turn, a shift and the low-pass filter."""
    path = shared_data / "mocap" / "cmu_60hz.npz"
    whole = next(s for s in load_sequences(path) if s.name == "13_29").converted("hupr14")
    piece = next(clip for clip in load(path) if clip.motions[0] == "cmu_13_29")
    first = whole.joints_m[: len(piece.track_m)]
    distance_m = [
        np.linalg.norm(
            joints[:, HUPR14.index("right_ankle")] - joints[:, HUPR14.index("left_wrist")],
            axis=-1,
        )
        for joints in (first, piece.track_m)
    ]
    np.testing.assert_allclose(distance_m[0], distance_m[1], atol=0.03)


def test_what_is_fast_is_mostly_noise(shared_data):
    path = shared_data / "mocap" / "cmu_60hz.npz"
    raw, smooth = (
        np.concatenate(
            [np.linalg.norm(np.diff(s.joints_m, n=2, axis=0), axis=-1).ravel() for s in chosen]
        )
        for chosen in (load_sequences(path, smooth_below_hz=None), load_sequences(path))
    )
    assert 7 < np.median(raw) * 60**2 < 10  # m/s^2
    assert 1.5 < np.median(smooth) * 60**2 < 3.0
