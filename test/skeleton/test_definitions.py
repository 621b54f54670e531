"""Skeletons: orders, bones and sides."""

from __future__ import annotations

import math

import pytest

from radar_pose_ros.skeleton import definitions
from radar_pose_ros.skeleton.definitions import (
    BODY25,
    BODY25B,
    COCO17,
    H36M17,
    HALPE26,
    HUPR14,
    MPI17,
    SKELETONS,
    SMPL24,
    Skeleton,
)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_sides_are_named_and_complete(skeleton: Skeleton) -> None:
    for left, right in skeleton.left_right:
        side, part = skeleton.joints[left].split("_", 1)
        assert side == "left" and skeleton.joints[right] == f"right_{part}"
    sided = sum(name.startswith(("left_", "right_")) for name in skeleton.joints)
    assert 2 * len(skeleton.left_right) == sided
    mirrored = skeleton.mirrored()
    assert [mirrored[joint] for joint in mirrored] == list(range(len(skeleton.joints)))
    # whatever is a bone on the left is one on the right
    bones = {frozenset(edge) for edge in skeleton.edges}
    assert {frozenset(mirrored[joint] for joint in bone) for bone in bones} == bones


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_every_joint_hangs_on_a_bone(skeleton: Skeleton) -> None:
    assert {joint for edge in skeleton.edges for joint in edge} == set(range(len(skeleton.joints)))
    assert definitions.get(skeleton.name) is skeleton


def test_human36m_is_published_order() -> None:
    assert H36M17.parents() == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    assert {left for left, _ in H36M17.left_right} == {4, 5, 6, 11, 12, 13}
    assert {right for _, right in H36M17.left_right} == {1, 2, 3, 14, 15, 16}
    assert H36M17.root == 0 == H36M17.index("pelvis")
    assert [H36M17.index(f"{side}_wrist") for side in ("left", "right")] == [13, 16]
    assert all(map(math.isnan, H36M17.oks_sigmas))


def test_smpl_is_published_order() -> None:
    parents = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
    assert SMPL24.parents() == parents
    assert (SMPL24.index("left_knee"), SMPL24.index("head"), SMPL24.root) == (4, 15, 0)
    assert [SMPL24.index(f"{side}_elbow") for side in ("left", "right")] == [18, 19]


def test_openpose_and_mpi_are_published_orders() -> None:
    """OpenPose's output format: numbers of wrists, of the neck and of heels."""
    wrists = ("left_wrist", "right_wrist", "left_heel", "right_heel", "nose")
    assert [BODY25.index(name) for name in wrists] == [7, 4, 21, 24, 0]
    assert [BODY25B.index(name) for name in wrists] == [9, 10, 21, 24, 0]
    assert (BODY25.index("neck"), BODY25.index("pelvis"), BODY25.root) == (1, 8, 8)
    assert (BODY25B.index("upper_neck"), BODY25B.index("head_top")) == (17, 18)
    assert HALPE26.joints[:17] == COCO17.joints  # the rest as in Halpe-FullBody and Pose2Sim
    extra = ("head_top", "upper_neck", "pelvis", "left_big_toe", "right_big_toe")
    extra += ("left_small_toe", "right_small_toe", "left_heel", "right_heel")
    assert [HALPE26.index(name) for name in extra] == [*range(17, 26)] and HALPE26.root == 19
    parents = (-1, 16, 15, 2, 3, 4, 2, 6, 7, 0, 9, 10, 0, 12, 13, 0, 2)
    assert MPI17.parents() == parents and MPI17.index("left_wrist") == 8


def test_coco_is_published_order() -> None:
    names = ("nose", "left_ear", "right_wrist", "left_hip", "right_ankle")
    assert [COCO17.index(name) for name in names] == [0, 3, 10, 11, 16]
    assert len(COCO17.edges) == 19
    # pycocotools' kpt_oks_sigmas
    tenths = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
    assert [round(1000 * sigma) for sigma in COCO17.oks_sigmas] == tenths


def test_bones_that_are_no_tree_have_no_parents() -> None:
    with pytest.raises(ValueError, match="hupr14: neck has two parents"):
        HUPR14.parents()
    apart = Skeleton("apart", ("a", "b", "c"), ((0, 1),), (), (0.1,) * 3, root=0)
    with pytest.raises(ValueError, match="apart: its bones do not hang together"):
        apart.parents()


def test_roots() -> None:
    assert definitions.get("h36m17").root_joints() == [0]
    assert definitions.get("hupr14").root_joints() == [3, 0]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="skeleton 'coco', known are body25, body25b, cmu23"):
        definitions.get("coco")
