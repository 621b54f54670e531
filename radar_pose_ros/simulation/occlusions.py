"""The kinds of bad 2-D input that DiffHPE is tested on.

Joints that are missing are NaN; the networks want them as 0 in normalised coordinates
(`radar_pose_ros.skeleton.image`), which is the middle of the image. The shares are those of
DiffHPE's released code, of its 27 frames 5 or 10. Two things differ: the noise is in pixels,
where the code adds 5 to coordinates of size 1, and all randomness comes from the generator that is
given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.skeleton.definitions import H36M17, Skeleton

# In this order "all" draws from the others.
PATTERNS = ("random", "frames", "right_leg", "left_arm_right_leg", "noisy", "all")
_JOINT_SHARE = 0.2
_FRAME_SHARE = 0.2
_LIMB_SHARE = 0.4
_RIGHT_LEG = ("right_hip", "right_knee", "right_ankle")
_LEFT_ARM = ("left_shoulder", "left_elbow", "left_wrist")


def occlude(
    keypoints_px: ArrayLike,
    pattern: str,
    rng: np.random.Generator,
    *,
    skeleton: Skeleton = H36M17,
    noise_px: float = 5.0,
) -> np.ndarray:
    """Return a window of keypoints with joints missing, or with noise.

    * "random": each joint in each frame with a probability of 0.2;
    * "frames": all joints in a run of a fifth of the frames;
    * "right_leg": hip, knee and ankle in a run of 0.4 of the frames;
    * "left_arm_right_leg": these and shoulder, elbow and wrist in 0.4 of the frames, anywhere;
    * "noisy": nothing missing, Gaussian noise on every coordinate;
    * "all": one of these for the window, each as likely.

    Parameters
    ----------
    keypoints_px : array_like, shape (frames, joints, 2)
    pattern : str
        One of `PATTERNS`.
    rng : numpy.random.Generator
        Source of all choices.
    skeleton : Skeleton
    noise_px : float
        Standard deviation of "noisy", a choice; the authors' unit is in doubt.

    Returns
    -------
    ndarray, shape (frames, joints, 2)
        A copy; NaN is missing.

    Raises
    ------
    ValueError
        If there is no such pattern, or the keypoints are not the skeleton's.
    """
    keypoints = np.array(keypoints_px, np.float64)
    count = len(skeleton.joints)
    if keypoints.ndim != 3 or keypoints.shape[1] != count:
        raise ValueError(f"{skeleton.name} wants (frames, {count}, 2), got {keypoints.shape}")
    if pattern not in PATTERNS:
        raise ValueError(f"unknown pattern {pattern!r}, there are {', '.join(PATTERNS)}")
    if pattern == "all":
        pattern = str(rng.choice(PATTERNS[:-1]))
    if pattern == "noisy":
        return keypoints + noise_px * rng.standard_normal(keypoints.shape)
    keypoints[_missing(pattern, len(keypoints), skeleton, rng)] = np.nan
    return keypoints


def _missing(
    pattern: str, frames: int, skeleton: Skeleton, rng: np.random.Generator
) -> np.ndarray:
    missing = np.zeros((frames, len(skeleton.joints)), bool)
    if pattern == "random":
        return rng.random(missing.shape) < _JOINT_SHARE
    if pattern == "frames":
        missing[_run(frames, int(_FRAME_SHARE * frames), rng)] = True
        return missing
    if pattern == "right_leg":
        joints = [skeleton.index(name) for name in _RIGHT_LEG]
        missing[_run(frames, int(_LIMB_SHARE * frames), rng), joints] = True
        return missing
    joints = [skeleton.index(name) for name in (*_RIGHT_LEG, *_LEFT_ARM)]
    chosen = rng.choice(frames, int(_LIMB_SHARE * frames), replace=False)
    missing[np.ix_(chosen, np.array(joints))] = True
    return missing


def _run(frames: int, length: int, rng: np.random.Generator) -> slice:
    first = int(rng.integers(frames - length + 1))
    return slice(first, first + length)
