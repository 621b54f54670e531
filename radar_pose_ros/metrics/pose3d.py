"""How good are 3-D poses: position, acceleration, rotations, and whether bodies stay bodies.

Functions take metres and return metres unless their name says ``_mm`` or ``_deg``. All take numpy
arrays; a joint of which a coordinate is NaN is not known. A joint enters a measure only where
estimate and truth are both known, and `count_joints` says how many were left out: no number here
is complete without it. Nothing is aligned unless the name says so; the usual protocol subtracts
the root first (`relative_to_root`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from radar_pose_ros.skeleton import rotations
from radar_pose_ros.skeleton.definitions import H36M17, Skeleton

# A similarity in space is fixed by three points.
_FEWEST_TO_ALIGN = 3


class JointCount(NamedTuple):
    """How many joints a comparison rests on.

    Attributes
    ----------
    compared : int
        Joints with estimate and truth.
    missing : int
        Joints with truth, but without an estimate.
    unknown : int
        Joints without truth.
    """

    compared: int
    missing: int
    unknown: int


def count_joints(predicted_m: ArrayLike, true_m: ArrayLike) -> JointCount:
    """Return how many joints are compared, and how many are left out; shapes as in `mpjpe`."""
    predicted, true = _pair(predicted_m, true_m)
    known = ~np.isnan(true).any(-1)
    compared = int((known & ~np.isnan(predicted).any(-1)).sum())
    return JointCount(compared, int(known.sum()) - compared, int((~known).sum()))


def relative_to_root(joints_m: ArrayLike, skeleton: Skeleton = H36M17) -> np.ndarray:
    """Return joints relative to the skeleton's root joint, or to the middle of its hips.

    Parameters
    ----------
    joints_m : array_like, shape (..., joints, 3)
    skeleton : Skeleton
        Its ``root`` says which; for HUPR14 and LSP14 it is the middle of the hips.

    Returns
    -------
    ndarray, shape (..., joints, 3)
        All NaN where the root is not known.

    Raises
    ------
    ValueError
        If the joints are not the skeleton's.
    """
    joints = _joints(joints_m, skeleton)
    return joints - joints[..., skeleton.root_joints(), :].mean(-2, keepdims=True)


def joint_errors(predicted_m: ArrayLike, true_m: ArrayLike) -> np.ndarray:
    """Return the distance of each joint from its true place, shape ``(..., joints)``.

    NaN where estimate or truth is not known; arguments as in `mpjpe`.
    """
    predicted, true = _pair(predicted_m, true_m)
    return np.linalg.norm(predicted - true, axis=-1)


def mpjpe(predicted_m: ArrayLike, true_m: ArrayLike) -> float:
    """Return the mean distance of the joints from their true places (MPJPE).

    Parameters
    ----------
    predicted_m, true_m : array_like, shape (..., joints, 3)
        In one frame, the root subtracted or not as the protocol says.

    Returns
    -------
    float
        The mean over all joints that can be compared; NaN if there are none.

    Raises
    ------
    ValueError
        If shapes differ, or the last axis is not 3.
    """
    return _mean(joint_errors(predicted_m, true_m))


def mpjpe_by_action(
    predicted_m: ArrayLike, true_m: ArrayLike, actions: Sequence[str]
) -> dict[str, float]:
    """Return the MPJPE of each action, by its name, in alphabetical order.

    What is published for Human3.6M is the plain mean of these, however long the actions are; all
    takes of an action, by all people and in all views, count as one.

    Parameters
    ----------
    predicted_m, true_m : array_like, shape (windows, ..., joints, 3)
        As in `mpjpe`.
    actions : sequence of str
        By window, what is done.

    Raises
    ------
    ValueError
        As `mpjpe`, or if there are not as many actions as windows.
    """
    errors = joint_errors(predicted_m, true_m)
    if len(actions) != len(errors):
        raise ValueError(f"{len(actions)} actions are named for {len(errors)} windows")
    named = np.asarray(actions)
    return {action: _mean(errors[named == action]) for action in sorted(set(actions))}


def n_mpjpe(predicted_m: ArrayLike, true_m: ArrayLike) -> float:
    """Return the MPJPE after `align_scale`; arguments as in `mpjpe`."""
    return mpjpe(align_scale(predicted_m, true_m), true_m)


def p_mpjpe(predicted_m: ArrayLike, true_m: ArrayLike) -> float:
    """Return the MPJPE after `align_procrustes`; arguments as in `mpjpe`."""
    return mpjpe(align_procrustes(predicted_m, true_m), true_m)


def align_scale(predicted_m: ArrayLike, true_m: ArrayLike) -> np.ndarray:
    """Scale each estimated pose so that it fits the true one best.

    The factor is ``sum(predicted * true) / sum(predicted^2)`` about the origin, as in mmpose; the
    poses should be relative to their root.

    Parameters
    ----------
    predicted_m, true_m : array_like, shape (..., joints, 3)

    Returns
    -------
    ndarray, shape (..., joints, 3)
        Poses with nothing to compare, or all in the origin, are NaN.
    """
    predicted, true = _pair(predicted_m, true_m)
    known = _both_known(predicted, true)[..., None]
    along = np.where(known, predicted * true, 0.0).sum((-2, -1), keepdims=True)
    power = np.where(known, predicted**2, 0.0).sum((-2, -1), keepdims=True)
    return predicted * np.where(power > 0, along / np.where(power > 0, power, 1.0), np.nan)


def align_procrustes(predicted_m: ArrayLike, true_m: ArrayLike) -> np.ndarray:
    """Move, turn and scale each estimated pose so that it fits the true one best.

    The similarity that minimises the squared distances, without reflection (Umeyama, IEEE TPAMI
    13(4), 1991), pose by pose, over the joints that both know.

    Parameters
    ----------
    predicted_m, true_m : array_like, shape (..., joints, 3)

    Returns
    -------
    ndarray, shape (..., joints, 3)
        Poses with fewer than three joints to compare, or with all of them in one place, are NaN:
        they would fit anything.
    """
    predicted, true = _pair(predicted_m, true_m)
    known = _both_known(predicted, true)[..., None]
    count = known.sum((-2, -1), keepdims=True)

    def centred(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total = np.where(known, points, 0.0).sum(-2, keepdims=True)
        centre = total / np.maximum(count, 1)
        return centre, np.where(known, points - centre, 0.0)

    centre, source = centred(predicted)
    true_centre, target = centred(true)
    # (..., 3, 3), rows of the target against columns of the source
    left, singular, right = np.linalg.svd(target.swapaxes(-1, -2) @ source)
    handedness = np.ones_like(singular)
    handedness[..., 2] = np.where(np.linalg.det(left) * np.linalg.det(right) < 0, -1.0, 1.0)
    rotation = (left * handedness[..., None, :]) @ right
    power = (source**2).sum((-2, -1), keepdims=True)
    usable = (count >= _FEWEST_TO_ALIGN) & (power > 0)
    strength = (singular * handedness).sum(-1)[..., None, None]
    scale = np.where(usable, strength / np.where(usable, power, 1.0), np.nan)
    return scale * (predicted - centre) @ rotation.swapaxes(-1, -2) + true_centre


def pck3d(predicted_m: ArrayLike, true_m: ArrayLike, threshold_m: float = 0.15) -> float:
    """Return the share of joints closer than a distance to the truth (PCK-3D).

    150 mm is the threshold of MPI-INF-3DHP. A joint without an estimate is wrong, a joint without
    truth is not counted; arguments as in `mpjpe`. NaN if nothing can be counted.
    """
    predicted, true = _pair(predicted_m, true_m)
    known = ~np.isnan(true).any(-1)
    near = np.linalg.norm(predicted - true, axis=-1) < threshold_m  # False for NaN
    return float(near[known].mean()) if known.any() else float("nan")


def acceleration_error_mm(predicted_m: ArrayLike, true_m: ArrayLike) -> float:
    """Return DeciWatch's "Accel": the error of the acceleration in mm per frame squared.

    The mean over instants and joints of the norm of the difference of the second differences. It
    depends on the rate: compare only sequences of the same one, or use `acceleration_error`.

    Parameters
    ----------
    predicted_m, true_m : array_like, shape (..., frames, joints, 3)

    Returns
    -------
    float
        Over all joints that are known in three frames in a row; NaN if there are none.

    Raises
    ------
    ValueError
        If shapes differ or there is no axis of frames.
    """
    return 1e3 * _second_difference_error(predicted_m, true_m)


def acceleration_error(predicted_m: ArrayLike, true_m: ArrayLike, rate_hz: float) -> float:
    """Return the mean error of the acceleration in m/s^2.

    As `acceleration_error_mm`, times the rate squared.
    """
    return rate_hz**2 * _second_difference_error(predicted_m, true_m)


def rotation_errors_deg(predicted_6d: ArrayLike, true_6d: ArrayLike) -> np.ndarray:
    """Return the angle by which each joint is turned away from how it really is.

    Parameters
    ----------
    predicted_6d, true_6d : array_like, shape (..., joints, 6)
        As `skeleton.rotations` writes them; columns need not be orthogonal or of length 1.

    Returns
    -------
    ndarray, shape (..., joints)
        Degrees, 0 to 180; NaN where estimate or truth is not known or says nothing of a rotation.

    Raises
    ------
    ValueError
        If shapes differ, or the last axis is not 6.
    """
    predicted, true = _turns(predicted_6d, true_6d)
    return np.degrees(np.linalg.norm(_from_to(true, predicted), axis=-1))


def rotation_error_deg(predicted_6d: ArrayLike, true_6d: ArrayLike) -> float:
    """Return the mean of `rotation_errors_deg` over all joints that can be compared.

    NaN if there are none; arguments and errors as there.
    """
    return _mean(rotation_errors_deg(predicted_6d, true_6d))


def rotation_acceleration_error_deg(predicted_6d: ArrayLike, true_6d: ArrayLike) -> float:
    """Return the error of the angular acceleration in degrees per frame squared.

    The turn from each frame to the next, axis times angle in the joint's own axes, is a velocity.
    This is the mean over instants and joints of the norm of the difference of its differences. An
    estimate that is turned by the same rotation in all frames, seen from the parent, has no error.

    Parameters
    ----------
    predicted_6d, true_6d : array_like, shape (..., frames, joints, 6)

    Returns
    -------
    float
        Over all joints that are known in three frames in a row; NaN if there are none.

    Raises
    ------
    ValueError
        If shapes differ, the last axis is not 6, or there is no axis of frames.
    """
    both = _turns(predicted_6d, true_6d)
    if both[0].ndim < 3:
        raise ValueError(f"want (..., frames, joints, 6), got {np.shape(true_6d)}")
    predicted, true = (
        np.diff(_from_to(turns[..., :-1, :, :], turns[..., 1:, :, :]), axis=-3) for turns in both
    )
    return float(np.degrees(_mean(np.linalg.norm(predicted - true, axis=-1))))


def symmetry_gap(
    joints_m: ArrayLike, skeleton: Skeleton = H36M17, *, legacy_shoulder_parent: bool = False
) -> float:
    """Return the mean difference in length between left and right bones.

    Parameters
    ----------
    joints_m : array_like, shape (..., joints, 3)
    skeleton : Skeleton
        Of H36M17 six pairs are compared: hips, thighs, shanks, shoulders, upper arms, forearms.
    legacy_shoulder_parent : bool
        Measure shoulders from the spine, as DiffHPE's published numbers do, instead of from the
        thorax; for H36M17 only.

    Returns
    -------
    float
        Over all pairs and frames in which both bones are known; NaN if there are none.
    """
    joints = _joints(joints_m, skeleton)
    mirrored = skeleton.mirrored()
    left = {pair[0] for pair in skeleton.left_right}
    gaps = []
    for a, b in _bones(skeleton, legacy_shoulder_parent):
        other = (mirrored[a], mirrored[b])
        # each pair once, from its left bone; a bone across the body is its own mirror image
        if left & {a, b} and set(other) != {a, b}:
            gaps.append(np.abs(_length(joints, (a, b)) - _length(joints, other)))
    return _mean(np.stack(gaps, axis=-1))


def segment_consistency(
    joints_m: ArrayLike, skeleton: Skeleton = H36M17, *, legacy_shoulder_parent: bool = False
) -> float:
    """Return the standard deviation of bone lengths over time, mean over bones and windows.

    Parameters
    ----------
    joints_m : array_like, shape (..., frames, joints, 3)
        Windows; DiffHPE's have 27 frames.
    skeleton : Skeleton
    legacy_shoulder_parent : bool
        As in `symmetry_gap`.

    Returns
    -------
    float
        With ``n - 1`` in the denominator, as torch has it; a bone that is known in fewer than two
        frames of a window is left out. NaN if there are none.

    Raises
    ------
    ValueError
        If the joints are not the skeleton's, or there is no axis of frames.
    """
    joints = _joints(joints_m, skeleton)
    if joints.ndim < 3:
        raise ValueError(f"want (..., frames, joints, 3), got {joints.shape}")
    lengths = np.stack(
        [_length(joints, bone) for bone in _bones(skeleton, legacy_shoulder_parent)], axis=-1
    )
    known = ~np.isnan(lengths)
    count = known.sum(-2)
    mean = np.where(known, lengths, 0.0).sum(-2) / np.maximum(count, 1)
    spread = np.where(known, lengths - mean[..., None, :], 0.0)
    variance = (spread**2).sum(-2) / np.maximum(count - 1, 1)
    return _mean(np.where(count > 1, np.sqrt(variance), np.nan))


def _second_difference_error(predicted_m: ArrayLike, true_m: ArrayLike) -> float:
    predicted, true = _pair(predicted_m, true_m)
    if true.ndim < 3:
        raise ValueError(f"want (..., frames, joints, 3), got {true.shape}")
    return _mean(np.linalg.norm(np.diff(predicted - true, n=2, axis=-3), axis=-1))


def _bones(skeleton: Skeleton, legacy_shoulder_parent: bool) -> list[tuple[int, int]]:
    if not legacy_shoulder_parent:
        return list(skeleton.edges)
    if skeleton != H36M17:
        raise ValueError(f"legacy_shoulder_parent is for h36m17, not for {skeleton.name}")
    spine = skeleton.index("spine")
    shoulders = {skeleton.index("left_shoulder"), skeleton.index("right_shoulder")}
    return [(spine if child in shoulders else parent, child) for parent, child in skeleton.edges]


def _length(joints: np.ndarray, bone: tuple[int, int]) -> np.ndarray:
    return np.linalg.norm(joints[..., bone[0], :] - joints[..., bone[1], :], axis=-1)


def _both_known(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    return ~(np.isnan(predicted) | np.isnan(true)).any(-1)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _joints(joints_m: ArrayLike, skeleton: Skeleton) -> np.ndarray:
    joints = np.asarray(joints_m, np.float64)
    if joints.ndim < 2 or joints.shape[-2:] != (len(skeleton.joints), 3):
        raise ValueError(
            f"{skeleton.name} wants (..., {len(skeleton.joints)}, 3), got {joints.shape}"
        )
    return joints


def _turns(predicted_6d: ArrayLike, true_6d: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return both as axis times angle, (..., joints, 3)."""
    predicted, true = _pair(predicted_6d, true_6d, 6)
    return rotations.axis_angle_from_6d(predicted), rotations.axis_angle_from_6d(true)


def _from_to(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the turns from the first to the second in the first's axes, NaN if unknown.

    All are axis times angle, shape (..., 3).
    """
    known = ~(np.isnan(first) | np.isnan(second)).any(-1)
    between = np.full(first.shape, np.nan)
    if known.any():
        start, end = Rotation.from_rotvec(first[known]), Rotation.from_rotvec(second[known])
        between[known] = (start.inv() * end).as_rotvec()
    return between


def _pair(
    predicted_m: ArrayLike, true_m: ArrayLike, values: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    predicted, true = np.asarray(predicted_m, np.float64), np.asarray(true_m, np.float64)
    if predicted.shape != true.shape or true.ndim < 2 or true.shape[-1] != values:
        raise ValueError(
            f"poses must be (..., joints, {values}) and of one shape, got {predicted.shape} for "
            f"the estimate and {true.shape} for the truth"
        )
    return predicted, true
