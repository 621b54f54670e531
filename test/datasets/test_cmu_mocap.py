"""Recorded movements: mapping, placement, and that they look like people."""

import numpy as np
import pytest

from radar_pose_ros.datasets.cmu_mocap import CENTRE_X_M, RADIUS_M, load, read, to_hupr14
from radar_pose_ros.skeleton.definitions import CMU23, HUPR14
from radar_pose_ros.skeleton.projection import project


@pytest.fixture(scope="module")
def clips(shared_data):
    return load(shared_data / "mocap" / "cmu_60hz.npz")


def joint(joints_m, name):
    return joints_m[..., HUPR14.index(name), :]


def test_joints_are_mapped_by_name():
    names = ["head", "head_top", "neck"]
    names += [f"{s}_{j}" for s in "lr" for j in ("hip", "knee", "ankle")]
    names += [f"{s}_{j}" for s in "lr" for j in ("shoulder", "elbow", "wrist")]
    source = np.arange(3.0 * len(names)).reshape(len(names), 3)
    mapped = to_hupr14(source, names)
    for name, at in (("left_hip", "l_hip"), ("right_wrist", "r_wrist"), ("neck", "neck")):
        np.testing.assert_array_equal(joint(mapped, name), source[names.index(at)])
    np.testing.assert_array_equal(joint(mapped, "head"), 2 * source[1] - source[0])


def test_most_of_the_recording_fits_before_the_rig(clips):
    minutes = sum(clip.times_s[-1] for clip in clips) / 60
    assert 9.5 < minutes < 10.8
    assert {clip.subject for clip in clips} == {"cmu01", "cmu02", "cmu13"}
    assert {clip.motions[0] for clip in clips} >= {"cmu_01_02", "cmu_13_29"}
    for clip in clips:
        hips_m = clip.joints_m[:, [0, 3], :2].mean(axis=1)
        offset_m = np.linalg.norm(hips_m - [CENTRE_X_M, 0.0], axis=1)
        assert offset_m.max() <= RADIUS_M + 1e-6
        assert hips_m[:, 0].min() > 1.7 and hips_m[:, 0].max() < 3.6
    pixels = project(np.concatenate([clip.joints_m for clip in clips]))
    assert np.mean((pixels >= 0) & (pixels <= 256)) > 0.99


def test_people_face_the_rig_and_stand_on_the_floor(clips):
    for clip in clips:
        across_m = (joint(clip.track_m, "left_hip") - joint(clip.track_m, "right_hip")).mean(
            axis=0
        )
        assert across_m[1] < 0 and abs(across_m[0]) < 1e-6
    walking = [clip for clip in clips if clip.motions[0] == "cmu_02_01"]
    ankles_m = np.concatenate([clip.joints_m[:, [2, 5], 2] for clip in walking]).min(axis=1)
    assert ankles_m.min() > 0.0 and np.median(ankles_m) < 0.12


def test_bodies_are_measured_and_limbs_keep_their_lengths(clips):
    for clip in clips:
        assert 1.6 < clip.shape.height_m < 1.8  # adults
        thigh_m = np.linalg.norm(
            joint(clip.track_m, "left_hip") - joint(clip.track_m, "left_knee"), axis=-1
        )
        assert np.median(thigh_m) == pytest.approx(clip.shape.thigh_m, rel=0.06)
        assert thigh_m.std() < 0.01


def test_clips_can_be_interpolated_and_do_not_jitter(clips):
    clip = max(clips, key=lambda clip: len(clip.times_s))
    np.testing.assert_allclose(clip.joints_at(clip.times_s), clip.joints_m, atol=1e-9)
    assert clip.rate_hz == pytest.approx(10.0)
    # Unfiltered, the rounding to millimetres is a velocity of 3 cm/s above 15 Hz.
    velocity_mps = np.diff(joint(clip.track_m, "neck"), axis=0) * 60
    spectrum = np.fft.rfft(velocity_mps * np.hanning(len(velocity_mps))[:, None], axis=0)
    power = np.sum(np.abs(spectrum) ** 2, axis=1)
    fast = power[np.fft.rfftfreq(len(velocity_mps), 1 / 60) > 15].sum() / power.sum()
    assert np.sqrt(fast) * velocity_mps.std() < 0.001


def test_files_of_another_layout_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", joints_m=np.zeros((2, 23, 3)), fps=60.0)
    with pytest.raises(
        ValueError, match="no array clip_name, clip_start, clip_subject, joint_nam"
    ):
        load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.npz")


def content(**changes):
    """Two clips, of 2 and 3 frames, as the file has them."""
    return {
        "joints_m": np.arange(5 * 23 * 3, dtype=np.float32).reshape(5, 23, 3),
        "joint_names": np.array(CMU23.joints),
        "fps": np.array(60.0),
        "clip_start": np.array([0, 2]),
        "clip_name": np.array(["01_01", "02_03"]),
        "clip_subject": np.array(["cmu01", "cmu02"]),
        **changes,
    }


def test_clips_are_cut_where_they_start(tmp_path):
    path = tmp_path / "cmu.npz"
    np.savez(path, **content(units=np.array("m")))
    recording = read(path)
    assert recording.clips == [
        ("01_01", "cmu01", slice(0, 2)),
        ("02_03", "cmu02", slice(2, 5)),
    ]
    assert recording.rate_hz == 60.0 and recording.joint_names == list(CMU23.joints)
    np.testing.assert_array_equal(recording.joints_m, content()["joints_m"])


def test_truncated_files_are_named(tmp_path):
    path = tmp_path / "cmu.npz"
    np.savez(path, **content())
    whole = path.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cmu\.npz: damaged, or no \.npz file: "):
            read(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"joints_m": np.zeros((5, 22, 3))},
            r"joints_m: want \(frames, 23, 3\), got \(5, 22, 3\)",
        ),
        ({"joints_m": np.full((5, 23, 3), np.nan)}, "joints_m: 345 are no numbers"),
        ({"joints_m": np.full((5, 23, 3), "x")}, "joints_m: want an array of numbers, got <U1"),
        (
            {"joint_names": np.array(["a", "b"])},
            r"joint_names: want 23 texts, got <U1 of .*\(2,\)",
        ),
        ({"fps": np.array(0.0)}, "fps: want a rate in Hz, got 0.0"),
        ({"fps": np.array([60.0, 60.0])}, r"fps: want a rate in Hz, got \[60\. 60\.\]"),
        ({"clip_start": np.array([0, 0])}, r"has to rise from 0 and .* 5 frames do, got \[0 0\]"),
        ({"clip_start": np.array([0, 5])}, r"has to rise from 0 .* got \[0 5\]"),
        ({"clip_start": np.array([1, 2])}, r"has to rise from 0 .* got \[1 2\]"),
        ({"clip_start": np.array([0.0, 2.0])}, "number of each clip's first frame, got float64"),
        ({"clip_start": np.array([0, 1, 2])}, r"clip_name: want 3 texts, got <U5 of shape \(2,\)"),
        ({"clip_subject": np.array([1, 2])}, "clip_subject: want 2 texts, got int64"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, change, sentence):
    path = tmp_path / "cmu.npz"
    np.savez(path, **content(**change))
    with pytest.raises(ValueError, match=rf"cmu\.npz: .*{sentence}"):
        read(path)
