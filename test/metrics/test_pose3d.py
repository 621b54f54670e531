"""Measures of 3-D poses against closed forms and published numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tolerances import assert_close

from radar_pose_ros.metrics import pose3d as metrics
from radar_pose_ros.skeleton import rotations
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14, LSP14


def poses(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 0.4, (*shape, 17, 3))


def test_known_offsets(rng: np.random.Generator) -> None:
    """Joints 3 m and 4 m off along two axes are 5 m off; the others not at all."""
    true = poses(rng, 2)
    predicted = true.copy()
    predicted[0, 5, :2] += (3.0, 4.0)
    assert_close(metrics.mpjpe(predicted, true), 5.0 / 34)
    assert_close(metrics.joint_errors(predicted, true)[0, 5], 5.0)
    assert_close(metrics.pck3d(predicted, true), 33 / 34)
    predicted[0, 5] = true[0, 5] + (0.0, 0.0, 0.14)
    assert metrics.pck3d(predicted, true) == 1.0
    assert_close(metrics.pck3d(predicted, true, threshold_m=0.1), 33 / 34)


def test_mpjpe_of_actions(rng: np.random.Generator) -> None:
    """Both takes of an action together, each window as much as another; names in their order."""
    true = poses(rng, 4, 9)
    predicted = true + np.array([0.02, 0.05, 0.05, 0.1])[:, None, None, None] * [0.0, 0.6, 0.8]
    predicted[3, :, 5] = np.nan
    found = metrics.mpjpe_by_action(predicted, true, ["Walking", "Walking", "Walking", "Eating"])
    assert list(found) == ["Eating", "Walking"]
    assert_close(list(found.values()), [0.1, 0.04])
    with pytest.raises(ValueError, match="1 actions are named for 4 windows"):
        metrics.mpjpe_by_action(predicted, true, ["Walking"])


def test_unknown_joints_are_left_out_and_counted(rng: np.random.Generator) -> None:
    true = poses(rng, 3)
    predicted = true + [0.0, 0.3, 0.4]
    predicted[0, 2] = np.nan
    true[1, 4:6, 1] = np.nan
    assert_close(metrics.mpjpe(predicted, true), 0.5)
    assert metrics.count_joints(predicted, true) == (48, 1, 2)
    predicted[1, 7] = true[1, 7]
    assert_close(metrics.mpjpe(predicted, true), 0.5 * 47 / 48)
    # a joint that nobody estimated is not a good one
    assert_close(metrics.pck3d(predicted, true), 1 / 49)
    for measure in (metrics.mpjpe, metrics.p_mpjpe, metrics.n_mpjpe, metrics.pck3d):
        assert math.isnan(measure(predicted, np.full_like(true, np.nan)))


def test_roots(rng: np.random.Generator) -> None:
    joints = poses(rng, 4)
    relative = metrics.relative_to_root(joints)
    assert_close(relative[:, 0], np.zeros((4, 3)))
    assert_close(relative[:, 5], joints[:, 5] - joints[:, 0])
    for skeleton in (HUPR14, LSP14):
        hips = [skeleton.index("left_hip"), skeleton.index("right_hip")]
        relative = metrics.relative_to_root(joints[:, :14], skeleton)
        assert_close(relative[:, hips].mean(1), np.zeros((4, 3)))
    joints[1, 0] = np.nan
    relative = metrics.relative_to_root(joints)
    assert np.isnan(relative[1]).all() and np.isfinite(relative[[0, 2, 3]]).all()


def test_procrustes_undoes_a_similarity(rng: np.random.Generator) -> None:
    true = poses(rng, 6)
    turn = Rotation.random(6, random_state=0).as_matrix()
    predicted = 1.7 * true @ turn.swapaxes(-1, -2) + rng.normal(size=(6, 1, 3))
    assert metrics.mpjpe(predicted, true) > 0.3
    assert_close(metrics.align_procrustes(predicted, true), true)
    # and so it does where some joints are not known
    predicted[:, 3] = np.nan
    true[2, 9:] = np.nan
    assert metrics.p_mpjpe(predicted, true) < 1e-12
    assert np.isfinite(metrics.align_procrustes(predicted, true)[2, 9:]).all()


def test_procrustes_does_not_reflect(rng: np.random.Generator) -> None:
    """A mirrored body stays wrong, as in scipy's alignment of rotations."""
    true = poses(rng, 1)
    true -= true.mean(-2, keepdims=True)
    mirrored = true * [-1.0, 1.0, 1.0]
    rotation, _ = Rotation.align_vectors(true[0], mirrored[0])
    turned = rotation.apply(mirrored[0])
    scale = (turned * true[0]).sum() / (turned**2).sum()
    assert_close(metrics.align_procrustes(mirrored, true)[0], scale * turned)
    assert metrics.p_mpjpe(mirrored, true) > 0.05


def test_poses_that_would_fit_anything_are_unknown(rng: np.random.Generator) -> None:
    true = poses(rng, 2)
    predicted = poses(rng, 2)
    predicted[0, 2:] = np.nan
    predicted[1] = 0.5
    assert math.isnan(metrics.p_mpjpe(predicted, true))
    assert math.isnan(metrics.n_mpjpe(np.zeros_like(true), true))


def test_scale(rng: np.random.Generator) -> None:
    true = poses(rng, 5)
    assert metrics.n_mpjpe(0.3 * true, true) < 1e-12
    predicted = poses(rng, 5)
    fitted = metrics.align_scale(predicted, true)
    for factor in (0.99, 1.01):  # the least squares
        assert ((factor * fitted - true) ** 2).sum() > ((fitted - true) ** 2).sum()


def test_mmpose_vectors(shared_data: Path) -> None:
    """mmpose aligns with all joints, and leaves joints out of the mean only."""
    path = shared_data / "vectors" / "keypoint_metrics_mmpose.json"
    vector = json.loads(path.read_text())["vectors"]["mpjpe"]
    predicted, true = np.array(vector["output"]), np.array(vector["target"])
    masked = true.copy()
    masked[np.array(vector["mask"]) == 0] = np.nan
    expected = vector["expected"]
    got = {
        "none": metrics.mpjpe(predicted, masked),
        "procrustes": metrics.mpjpe(metrics.align_procrustes(predicted, true), masked),
        "scale": metrics.mpjpe(metrics.align_scale(predicted, true), masked),
    }
    assert got == pytest.approx(expected, abs=1e-4)  # upstream's own tolerance


def test_acceleration_of_a_parabola(rng: np.random.Generator) -> None:
    """A joint that accelerates by 2 m/s^2 more than the truth, at 10 Hz 20 mm per frame^2."""
    true = np.cumsum(rng.normal(0, 0.01, (50, 17, 3)), axis=0)
    time_s = np.arange(50) / 10
    predicted = true + np.array([0.0, 0.6, 0.8]) * time_s[:, None, None] ** 2
    assert_close(metrics.acceleration_error(predicted, true, 10.0), 2.0)
    assert_close(metrics.acceleration_error_mm(predicted, true), 20.0)
    # neither place nor speed count; leading axes do not matter
    assert metrics.acceleration_error_mm(true + 1.0 + time_s[:, None, None], true) < 1e-9
    assert_close(metrics.acceleration_error_mm(predicted[None], true[None]), 20.0)


def test_acceleration_wants_three_frames_in_a_row(rng: np.random.Generator) -> None:
    true = np.zeros((5, 17, 3))
    predicted = np.zeros((5, 17, 3))
    predicted[4, :, 0] = 1.0
    assert_close(metrics.acceleration_error_mm(predicted, true), 1000 / 3)
    predicted[1] = np.nan  # the second difference that is left is the one with the step
    assert_close(metrics.acceleration_error_mm(predicted, true), 1000.0)
    predicted[2] = np.nan
    assert math.isnan(metrics.acceleration_error_mm(predicted, true))


def sixes(*vectors: object) -> np.ndarray:
    """Rotation vectors in degrees as six numbers, (..., joints, 6)."""
    return rotations.axis_angle_to_6d(np.radians(np.array(vectors, float)))


def test_angles_between_rotations() -> None:
    """About one axis the difference; about two of them at right angles, a third of a turn."""
    true = sixes([0, 0, 30], [0, 0, 0], [0, 90, 0], [0, 0, 170])
    predicted = sixes([0, 0, 70], [0, 0, 0], [90, 0, 0], [0, 0, -170])
    angles = [40.0, 0.0, 120.0, 20.0]
    np.testing.assert_allclose(metrics.rotation_errors_deg(predicted, true), angles, atol=1e-5)
    assert metrics.rotation_error_deg(predicted, true) == pytest.approx(45.0)
    # lengths and angles between columns do not matter: the second one by its share at right angles
    scaled = predicted * ([2.0] * 3 + [0.5] * 3)
    scaled[:, 3:] += 0.3 * scaled[:, :3]
    np.testing.assert_allclose(metrics.rotation_errors_deg(scaled, true), angles, atol=1e-5)


def test_rotations_that_are_not_known_are_left_out() -> None:
    true = sixes(*[[0, 0, 30]] * 4)
    predicted = sixes([0, 0, 40], *[[0, 0, 50]] * 3)
    true[1, 2], predicted[2, 5] = np.nan, np.nan
    predicted[3] = 0.0  # no rotation
    errors = metrics.rotation_errors_deg(predicted, true)
    np.testing.assert_allclose(errors, [10.0, np.nan, np.nan, np.nan], atol=1e-6)
    assert metrics.rotation_error_deg(predicted, true) == pytest.approx(10.0)
    assert math.isnan(metrics.rotation_error_deg(predicted[1:], true[1:]))


def test_angular_acceleration() -> None:
    """The angle 1.5 t^2 grows by 1.5, 4.5, 7.5 degrees: by 3 more in each frame."""
    frames = np.arange(8.0)[:, None, None]
    turning = sixes(*(frames * [0.0, 0.0, 10.0]))  # evenly, (8, 1, 6)
    faster = sixes(*(1.5 * frames**2 * [0.0, 0.6, 0.8]))
    error = metrics.rotation_acceleration_error_deg
    assert error(faster, turning) == pytest.approx(3.0)
    assert error(turning, faster) == pytest.approx(3.0)
    # past half a turn it goes on, and a turn of the whole movement does not count
    assert error(sixes(*(frames * [0.0, 0.0, 50.0])), turning) == pytest.approx(0.0, abs=1e-5)
    turn = Rotation.from_euler("xyz", [20, 30, 40], degrees=True).as_matrix()
    other = np.concatenate([faster[..., :3] @ turn.T, faster[..., 3:] @ turn.T], axis=-1)
    assert error(other, faster) == pytest.approx(0.0, abs=1e-5)
    assert error(other[None], turning[None]) == pytest.approx(3.0)
    faster[2] = faster[5] = np.nan  # never three in a row
    assert math.isnan(error(faster, turning))


def straight_body(frames: int = 27) -> np.ndarray:
    """H36M17 with the spine at 1.2 m, the thorax at 1.5 m, shoulders 0.3 m aside of it."""
    joints = np.zeros((frames, 17, 3))
    sides = {"hip": (0.1, 1), "knee": (0.1, 0.5), "ankle": (0.1, 0.1)}
    sides |= {"shoulder": (0.3, 1.5), "elbow": (0.3, 1.2), "wrist": (0.3, 1.0)}
    for name, (aside, height) in sides.items():
        joints[:, H36M17.index(f"left_{name}")] = (0, aside, height)
        joints[:, H36M17.index(f"right_{name}")] = (0, -aside, height)
    for name, height in zip(H36M17.joints[7:11], (1.2, 1.5, 1.6, 1.7), strict=True):
        joints[:, H36M17.index(name), 2] = height
    joints[:, 0, 2] = 1.0
    return joints


def test_symmetry_gap() -> None:
    joints = straight_body()
    assert metrics.symmetry_gap(joints) < 1e-12
    joints[:, H36M17.index("left_wrist"), 2] -= 0.06
    assert_close(metrics.symmetry_gap(joints), 0.06 / 6)
    joints[:, H36M17.index("right_wrist")] = np.nan  # a pair that cannot be compared
    assert metrics.symmetry_gap(joints) < 1e-12


def test_symmetry_gap_of_other_skeletons() -> None:
    """HUPR14: thighs, shanks, hips to neck, neck to shoulders, upper arms, forearms."""
    joints = np.zeros((14, 3))
    joints[HUPR14.index("left_elbow"), 0] = 0.3  # lengthens upper arm and forearm
    assert_close(metrics.symmetry_gap(joints, HUPR14), 0.6 / 6)


def test_legacy_shoulders_hang_on_the_spine() -> None:
    """A left shoulder 0.4 m from the thorax is 0.5 m from the spine; the right one 0.42 m."""
    joints = straight_body()
    joints[:, H36M17.index("left_shoulder"), 1] = 0.4
    joints[:, H36M17.index("left_elbow"), 1] = 0.4
    joints[:, H36M17.index("left_wrist"), 1] = 0.4
    assert_close(metrics.symmetry_gap(joints), 0.1 / 6)
    legacy = metrics.symmetry_gap(joints, legacy_shoulder_parent=True)
    assert_close(legacy, (0.5 - math.hypot(0.3, 0.3)) / 6)
    with pytest.raises(ValueError, match="is for h36m17, not for hupr14"):
        metrics.symmetry_gap(np.zeros((14, 3)), HUPR14, legacy_shoulder_parent=True)


def test_segment_consistency() -> None:
    """A forearm whose length is 0.2 and 0.3 m by turns; 27 values, 14 of them 0.2 m."""
    joints = straight_body()
    assert metrics.segment_consistency(joints) < 1e-12
    joints[1::2, H36M17.index("left_wrist"), 2] -= 0.1
    spread = np.std([0.2, 0.3] * 13 + [0.2], ddof=1)
    assert_close(metrics.segment_consistency(joints), spread / 16)
    windows = np.stack([joints, straight_body()])
    assert_close(metrics.segment_consistency(windows), spread / 32)
    # only two frames of it are known, one of each length
    joints[2:, H36M17.index("left_wrist")] = np.nan
    assert_close(metrics.segment_consistency(joints), np.std([0.2, 0.3], ddof=1) / 16)
    joints[1:, H36M17.index("left_wrist")] = np.nan
    assert metrics.segment_consistency(joints) < 1e-12


def test_legacy_segments() -> None:
    """A thorax that moves up and down changes the bones at it, not those to the spine."""
    joints = straight_body()
    shoulders = [H36M17.index("left_shoulder"), H36M17.index("right_shoulder")]
    joints[1::2, H36M17.index("thorax"), 2] = 1.1  # 0.3, 0.5 and 0.1, 0.6 of four bones
    right = metrics.segment_consistency(joints)
    legacy = metrics.segment_consistency(joints, legacy_shoulder_parent=True)
    lengths = np.linalg.norm(joints[:, shoulders[0]] - joints[:, 8], axis=-1)
    assert_close(16 * (right - legacy), 2 * lengths.std(ddof=1))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: metrics.mpjpe(np.zeros((17, 3)), np.zeros((14, 3))), "of one shape"),
        (lambda: metrics.mpjpe(np.zeros((17, 2)), np.zeros((17, 2))), r"\(\.\.\., joints, 3\)"),
        (lambda: metrics.acceleration_error_mm(np.zeros((17, 3)), np.zeros((17, 3))), "frames"),
        (lambda: metrics.segment_consistency(np.zeros((17, 3))), "frames"),
        (lambda: metrics.rotation_error_deg(*np.zeros((2, 24, 3))), r"\(\.\.\., joints, 6\)"),
        (lambda: metrics.rotation_acceleration_error_deg(*np.zeros((2, 24, 6))), "frames, joints"),
        (lambda: metrics.relative_to_root(np.zeros((14, 3))), r"h36m17 wants \(\.\.\., 17, 3\)"),
    ],
)
def test_bad_input_is_named(call: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()  # type: ignore[operator]
