"""From one skeleton to another.

Joints of the same name are taken over. Where the names or the places differ, a formula makes the
joint as a sum of weighted joints of the source; what neither gives is NaN. The weights of a joint
sum up to one, so that the formulas hold in any frame, in metres and in pixels; in pixels a point
on a slanted bone is moved slightly, because a camera does not keep ratios.

The formulas are choices. They put every joint where Human3.6M has it as far as the source can
tell, and the same way for all sources, so that a network sees one kind of body:

* pelvis: middle of the hips;
* thorax, the base of the neck: the source's neck, for Kinect its "SpineShoulder"; for BODY_25B and
  Halpe, whose neck is the upper end, the middle between that and the shoulders; for COCO, which
  has no neck, the middle of the shoulders;
* spine: middle of pelvis and thorax where the source has no joint in the trunk;
* head, the crown: the last joint of CMU's and Kinect's head, and as far again above it as it is
  above the joint before; for BODY_25 and COCO, which have nothing above the ears, 1.6 times as far
  from the neck as the ears;
* nose: the source's, else the middle of thorax and head. The true one lies a few centimetres
  before that line, in a direction that 14 joints do not show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.skeleton import definitions

# DeciWatch's way from its 17 joints (those of H36M17, the left leg first) to 14: LSP14.
DECIWATCH_17_TO_14 = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)

Formula = dict[str, float]

_PELVIS: Formula = {"left_hip": 0.5, "right_hip": 0.5}
_FROM_14: dict[str, Formula] = {
    "pelvis": _PELVIS,
    "spine": {"left_hip": 0.25, "right_hip": 0.25, "neck": 0.5},
    "thorax": {"neck": 1.0},
    "nose": {"neck": 0.5, "head": 0.5},
}
_NECK_OF_17: dict[str, Formula] = {"neck": {"thorax": 1.0}}
_CMU_HEAD: Formula = {"head_top": 2.0, "head": -1.0}
_KINECT_HEAD: Formula = {"head": 2.0, "neck": -1.0}
_BODY25_HEAD: Formula = {"left_ear": 0.8, "right_ear": 0.8, "neck": -0.6}
_SHOULDERS: Formula = {"left_shoulder": 0.5, "right_shoulder": 0.5}
_COCO_HEAD: Formula = {
    **{"left_ear": 0.8, "right_ear": 0.8},
    **{"left_shoulder": -0.3, "right_shoulder": -0.3},
}
_LOWER_NECK: Formula = {"left_shoulder": 0.25, "right_shoulder": 0.25, "upper_neck": 0.5}
_TOP: Formula = {"head_top": 1.0}
_UPPER_NECK_TO_17: dict[str, Formula] = {
    "pelvis": _PELVIS,
    "spine": {
        **{"left_hip": 0.25, "right_hip": 0.25},
        **{"left_shoulder": 0.125, "right_shoulder": 0.125, "upper_neck": 0.25},
    },
    "thorax": _LOWER_NECK,
    "head": _TOP,
}
_UPPER_NECK_TO_14: dict[str, Formula] = {"neck": _LOWER_NECK, "head": _TOP}

# (source, target) -> what is not simply taken over
_FORMULAS: dict[tuple[str, str], dict[str, Formula]] = {
    ("hupr14", "h36m17"): _FROM_14,
    ("lsp14", "h36m17"): _FROM_14,
    ("hupr14", "lsp14"): {},
    ("lsp14", "hupr14"): {},
    ("h36m17", "hupr14"): _NECK_OF_17,
    ("h36m17", "lsp14"): _NECK_OF_17,
    ("cmu23", "h36m17"): {
        "pelvis": _PELVIS,
        "spine": {"spine1": 0.5, "spine2": 0.5},
        "thorax": {"neck": 1.0},
        "nose": {"neck": 0.5, "head_top": 1.0, "head": -0.5},
        "head": _CMU_HEAD,
    },
    ("cmu23", "hupr14"): {"head": _CMU_HEAD},
    ("kinect25", "h36m17"): {
        "pelvis": _PELVIS,
        "spine": {"spine_mid": 1.0},
        "thorax": {"spine_shoulder": 1.0},
        "nose": {"spine_shoulder": 0.5, "head": 1.0, "neck": -0.5},
        "head": _KINECT_HEAD,
    },
    ("kinect25", "hupr14"): {"neck": {"spine_shoulder": 1.0}, "head": _KINECT_HEAD},
    ("body25", "h36m17"): {
        "spine": {"pelvis": 0.5, "neck": 0.5},
        "thorax": {"neck": 1.0},
        "head": _BODY25_HEAD,
    },
    ("body25", "hupr14"): {"head": _BODY25_HEAD},
    ("body25b", "h36m17"): _UPPER_NECK_TO_17,
    ("body25b", "hupr14"): _UPPER_NECK_TO_14,
    ("halpe26", "h36m17"): _UPPER_NECK_TO_17,
    ("halpe26", "hupr14"): _UPPER_NECK_TO_14,
    ("coco17", "h36m17"): {
        "pelvis": _PELVIS,
        "spine": {
            **{"left_hip": 0.25, "right_hip": 0.25},
            **{"left_shoulder": 0.25, "right_shoulder": 0.25},
        },
        "thorax": _SHOULDERS,
        "head": _COCO_HEAD,
    },
    ("coco17", "hupr14"): {"neck": _SHOULDERS, "head": _COCO_HEAD},
    ("mpi17", "h36m17"): {
        "thorax": {"neck": 1.0},
        "nose": {"neck": 0.5, "head_top": 0.5},
        "head": _TOP,
    },
    ("mpi17", "hupr14"): {"head": _TOP},
}


def formulas(source: str, target: str) -> dict[str, Formula]:
    """Return, for each joint of the target that can be made, its weighted joints of the source.

    Parameters
    ----------
    source, target : str
        Names of skeletons.

    Raises
    ------
    ValueError
        If a skeleton is not known, or there is no mapping between the two.
    """
    theirs, ours = definitions.get(source).joints, definitions.get(target).joints
    if source == target:
        return {name: {name: 1.0} for name in ours}
    if (source, target) not in _FORMULAS:
        known = ", ".join(f"{a} to {b}" for a, b in _FORMULAS)
        raise ValueError(f"no mapping from {source} to {target}, there are {known}")
    made = _FORMULAS[source, target]
    same = {name: {name: 1.0} for name in ours if name in theirs}
    return {name: (same | made)[name] for name in ours if name in same or name in made}


def convert(joints: ArrayLike, source: str, target: str) -> np.ndarray:
    """Return the joints of another skeleton.

    Parameters
    ----------
    joints : array_like, shape (..., joints, dims)
        Joints of the source, in two or three dimensions and in any unit; NaN is unknown.
    source, target : str
        Names of skeletons.

    Returns
    -------
    ndarray, shape (..., joints of the target, dims)
        In the input's precision; NaN where the source has nothing to make a joint of, and where a
        joint that it is made of is NaN.

    Raises
    ------
    ValueError
        If there is no such mapping, or the number of joints is not the source's.
    """
    values = np.asarray(joints)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    recipe = formulas(source, target)
    theirs, ours = definitions.get(source), definitions.get(target)
    if values.ndim < 2 or values.shape[-2] != len(theirs.joints):
        raise ValueError(
            f"{source} has {len(theirs.joints)} joints, got an array of shape {values.shape}"
        )
    made = np.full((*values.shape[:-2], len(ours.joints), values.shape[-1]), np.nan, values.dtype)
    for name, weights in recipe.items():
        terms = [weight * values[..., theirs.index(part), :] for part, weight in weights.items()]
        made[..., ours.index(name), :] = sum(terms)
    return made


def carry(
    values: ArrayLike, source: str, target: str, combine: Callable[[np.ndarray], Any] = np.min
) -> np.ndarray:
    """Return what is known of each joint, such as a confidence, for another skeleton's joints.

    Parameters
    ----------
    values : array_like, shape (joints,)
        Of the source.
    source, target : str
        Names of skeletons.
    combine : callable
        What becomes of the values of all joints that one is made of; by default the least.

    Returns
    -------
    ndarray of float64, shape (joints of the target,)
        NaN where the source has nothing to make a joint of.

    Raises
    ------
    ValueError
        As `formulas` raises it.
    """
    given = np.asarray(values)
    theirs, ours = definitions.get(source), definitions.get(target)
    made = np.full(len(ours.joints), np.nan)
    for name, weights in formulas(source, target).items():
        made[ours.index(name)] = combine(given[[theirs.index(part) for part in weights]])
    return made


def taken_over(source: str, target: str) -> np.ndarray:
    """Return which joints of the target are a joint of the source, and not made of several.

    Returns
    -------
    ndarray of bool, shape (joints of the target,)

    Raises
    ------
    ValueError
        As `formulas` raises it.
    """
    recipe = formulas(source, target)
    return np.array([len(recipe.get(name, ())) == 1 for name in definitions.get(target).joints])
