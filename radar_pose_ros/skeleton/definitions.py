"""Skeletons: what each keypoint number means.

A skeleton is named in every pose message, so that nobody has to guess the order of the joints.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skeleton:
    """Names and bones of a set of joints.

    Parameters
    ----------
    name : str
        The name by which messages refer to it.
    joints : tuple of str
        Joint names in keypoint order.
    edges : tuple of (int, int)
        Bones, as pairs of joint numbers.
    left_right : tuple of (int, int)
        Joints that swap when left and right are exchanged, as (left, right).
    oks_sigmas : tuple of float
        Per joint, the standard deviation sigma of the keypoint similarity, relative to the square
        root of the person's area; NaN if none is published.
    root : int
        The root joint; -1 if it is the middle of the hips.
    """

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    left_right: tuple[tuple[int, int], ...]
    oks_sigmas: tuple[float, ...]
    root: int = -1

    def __post_init__(self) -> None:
        count = len(self.joints)
        if len(set(self.joints)) != count:
            raise ValueError(f"skeleton {self.name}: joint names repeat")
        if len(self.oks_sigmas) != count:
            raise ValueError(
                f"skeleton {self.name}: {count} joints, but {len(self.oks_sigmas)} sigmas"
            )
        for pair in (*self.edges, *self.left_right):
            if not all(0 <= joint < count for joint in pair):
                raise ValueError(f"skeleton {self.name}: {pair} is not a pair of joints")

    def index(self, joint: str) -> int:
        """Return the number of a joint; ``ValueError`` names the joints there are."""
        try:
            return self.joints.index(joint)
        except ValueError:
            raise ValueError(
                f"skeleton {self.name} has no joint {joint!r}, only {', '.join(self.joints)}"
            ) from None

    def root_joints(self) -> list[int]:
        """Return the joints in whose middle the root is: the root itself, or both hips."""
        if self.root >= 0:
            return [self.root]
        return [self.index("left_hip"), self.index("right_hip")]

    def mirrored(self) -> list[int]:
        """Return, for each joint, the number of the joint on the other side of the body."""
        order = list(range(len(self.joints)))
        for left, right in self.left_right:
            order[left], order[right] = right, left
        return order

    def parents(self) -> tuple[int, ...]:
        """Return each joint's parent, -1 for the root.

        Raises
        ------
        ValueError
            If the bones are not a tree whose pairs are (parent, child).
        """
        found = [-1] * len(self.joints)
        for parent, child in self.edges:
            if found[child] != -1 or child == self.root:
                raise ValueError(f"skeleton {self.name}: {self.joints[child]} has two parents")
            found[child] = parent
        if found.count(-1) != 1:
            raise ValueError(f"skeleton {self.name}: its bones do not hang together")
        return tuple(found)


HUPR14 = Skeleton(
    # The 14 joints that HuPR and milliMamba estimate, in the order of HuPR's annotation files.
    name="hupr14",
    joints=(
        "right_hip",
        "right_knee",
        "right_ankle",
        "left_hip",
        "left_knee",
        "left_ankle",
        "neck",
        "head",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "right_shoulder",
        "right_elbow",
        "right_wrist",
    ),
    edges=(
        (0, 1),
        (1, 2),
        (0, 3),
        (3, 4),
        (4, 5),
        (0, 6),
        (3, 6),
        (6, 7),
        (6, 8),
        (8, 9),
        (9, 10),
        (6, 11),
        (11, 12),
        (12, 13),
    ),
    left_right=((3, 0), (4, 1), (5, 2), (8, 11), (9, 12), (10, 13)),
    oks_sigmas=(
        0.107,
        0.087,
        0.089,
        0.107,
        0.087,
        0.089,
        0.1,
        0.1,
        0.079,
        0.072,
        0.062,
        0.079,
        0.072,
        0.062,
    ),
)

_UNPUBLISHED = float("nan")

H36M17 = Skeleton(
    # Human3.6M's 17 joints in the order of VideoPose3D, MixSTE and DiffHPE. "thorax" is the base
    # of the neck, "nose" the joint that is also called neck, "head" the crown. Bones are (parent,
    # child), in the order of the children.
    name="h36m17",
    joints=(
        "pelvis",
        "right_hip",
        "right_knee",
        "right_ankle",
        "left_hip",
        "left_knee",
        "left_ankle",
        "spine",
        "thorax",
        "nose",
        "head",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "right_shoulder",
        "right_elbow",
        "right_wrist",
    ),
    edges=(
        (0, 1),
        (1, 2),
        (2, 3),
        (0, 4),
        (4, 5),
        (5, 6),
        (0, 7),
        (7, 8),
        (8, 9),
        (9, 10),
        (8, 11),
        (11, 12),
        (12, 13),
        (8, 14),
        (14, 15),
        (15, 16),
    ),
    left_right=((4, 1), (5, 2), (6, 3), (11, 14), (12, 15), (13, 16)),
    oks_sigmas=(_UNPUBLISHED,) * 17,
    root=0,
)

LSP14 = Skeleton(
    # The 14 joints of Leeds Sports Poses, in which 3DPW and AIST++ are evaluated.
    name="lsp14",
    joints=(
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "neck",
        "head",
    ),
    edges=(
        (2, 1),
        (1, 0),
        (3, 4),
        (4, 5),
        (2, 12),
        (3, 12),
        (12, 13),
        (12, 8),
        (8, 7),
        (7, 6),
        (12, 9),
        (9, 10),
        (10, 11),
    ),
    left_right=((3, 2), (4, 1), (5, 0), (9, 8), (10, 7), (11, 6)),
    oks_sigmas=(_UNPUBLISHED,) * 14,
)

JHMDB15 = Skeleton(
    # The 15 joints of Sub-JHMDB, in the image only.
    name="jhmdb15",
    joints=(
        "neck",
        "belly",
        "face",
        "right_shoulder",
        "left_shoulder",
        "right_hip",
        "left_hip",
        "right_elbow",
        "left_elbow",
        "right_knee",
        "left_knee",
        "right_wrist",
        "left_wrist",
        "right_ankle",
        "left_ankle",
    ),
    edges=(
        (1, 0),
        (0, 2),
        (0, 3),
        (0, 4),
        (1, 5),
        (1, 6),
        (3, 7),
        (4, 8),
        (5, 9),
        (6, 10),
        (7, 11),
        (8, 12),
        (9, 13),
        (10, 14),
    ),
    left_right=((4, 3), (6, 5), (8, 7), (10, 9), (12, 11), (14, 13)),
    oks_sigmas=(_UNPUBLISHED,) * 15,
    root=1,
)

CMU23 = Skeleton(
    # The joints of ``cmu_60hz.npz``; "head" and "head_top" are the ends of the last two segments.
    name="cmu23",
    joints=(
        "pelvis",
        "left_hip",
        "left_knee",
        "left_ankle",
        "left_toe_base",
        "right_hip",
        "right_knee",
        "right_ankle",
        "right_toe_base",
        "spine1",
        "spine2",
        "thorax",
        "neck",
        "head",
        "head_top",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "left_hand",
        "right_shoulder",
        "right_elbow",
        "right_wrist",
        "right_hand",
    ),
    edges=(
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (0, 5),
        (5, 6),
        (6, 7),
        (7, 8),
        (0, 9),
        (9, 10),
        (10, 11),
        (11, 12),
        (12, 13),
        (13, 14),
        (11, 15),
        (15, 16),
        (16, 17),
        (17, 18),
        (11, 19),
        (19, 20),
        (20, 21),
        (21, 22),
    ),
    left_right=((1, 5), (2, 6), (3, 7), (4, 8), (15, 19), (16, 20), (17, 21), (18, 22)),
    oks_sigmas=(_UNPUBLISHED,) * 23,
    root=0,
)

KINECT25 = Skeleton(
    # The joints of Kinect for Windows V2; "head" is the middle of the head.
    name="kinect25",
    joints=(
        "spine_base",
        "spine_mid",
        "neck",
        "head",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "left_hand",
        "right_shoulder",
        "right_elbow",
        "right_wrist",
        "right_hand",
        "left_hip",
        "left_knee",
        "left_ankle",
        "left_foot",
        "right_hip",
        "right_knee",
        "right_ankle",
        "right_foot",
        "spine_shoulder",
        "left_hand_tip",
        "left_thumb",
        "right_hand_tip",
        "right_thumb",
    ),
    edges=(
        (0, 1),
        (1, 20),
        (20, 2),
        (2, 3),
        (20, 4),
        (4, 5),
        (5, 6),
        (6, 7),
        (20, 8),
        (8, 9),
        (9, 10),
        (10, 11),
        (0, 12),
        (12, 13),
        (13, 14),
        (14, 15),
        (0, 16),
        (16, 17),
        (17, 18),
        (18, 19),
        (7, 21),
        (6, 22),
        (11, 23),
        (10, 24),
    ),
    left_right=(
        (4, 8),
        (5, 9),
        (6, 10),
        (7, 11),
        (12, 16),
        (13, 17),
        (14, 18),
        (15, 19),
        (21, 23),
        (22, 24),
    ),
    oks_sigmas=(_UNPUBLISHED,) * 25,
    root=0,
)

SMPL24 = Skeleton(
    # The joints of the body model SMPL, whose rotations say how a person stands.
    name="smpl24",
    joints=(
        "pelvis",
        "left_hip",
        "right_hip",
        "spine1",
        "left_knee",
        "right_knee",
        "spine2",
        "left_ankle",
        "right_ankle",
        "spine3",
        "left_foot",
        "right_foot",
        "neck",
        "left_collar",
        "right_collar",
        "head",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hand",
        "right_hand",
    ),
    edges=(
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 4),
        (2, 5),
        (3, 6),
        (4, 7),
        (5, 8),
        (6, 9),
        (7, 10),
        (8, 11),
        (9, 12),
        (9, 13),
        (9, 14),
        (12, 15),
        (13, 16),
        (14, 17),
        (16, 18),
        (17, 19),
        (18, 20),
        (19, 21),
        (20, 22),
        (21, 23),
    ),
    left_right=(
        (1, 2),
        (4, 5),
        (7, 8),
        (10, 11),
        (13, 14),
        (16, 17),
        (18, 19),
        (20, 21),
        (22, 23),
    ),
    oks_sigmas=(_UNPUBLISHED,) * 24,
    root=0,
)

BODY25 = Skeleton(
    # OpenPose's BODY_25; "neck" is the middle of the shoulders.
    name="body25",
    joints=(
        "nose",
        "neck",
        "right_shoulder",
        "right_elbow",
        "right_wrist",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "pelvis",
        "right_hip",
        "right_knee",
        "right_ankle",
        "left_hip",
        "left_knee",
        "left_ankle",
        "right_eye",
        "left_eye",
        "right_ear",
        "left_ear",
        "left_big_toe",
        "left_small_toe",
        "left_heel",
        "right_big_toe",
        "right_small_toe",
        "right_heel",
    ),
    edges=(
        (8, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (1, 5),
        (5, 6),
        (6, 7),
        (8, 9),
        (9, 10),
        (10, 11),
        (8, 12),
        (12, 13),
        (13, 14),
        (1, 0),
        (0, 15),
        (15, 17),
        (0, 16),
        (16, 18),
        (14, 19),
        (19, 20),
        (14, 21),
        (11, 22),
        (22, 23),
        (11, 24),
    ),
    left_right=(
        (5, 2),
        (6, 3),
        (7, 4),
        (12, 9),
        (13, 10),
        (14, 11),
        (16, 15),
        (18, 17),
        (19, 22),
        (20, 23),
        (21, 24),
    ),
    oks_sigmas=(_UNPUBLISHED,) * 25,
    root=8,
)

BODY25B = Skeleton(
    # OpenPose's BODY_25B: as many joints as BODY_25, others of them and in another order.
    name="body25b",
    joints=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
        "upper_neck",
        "head_top",
        "left_big_toe",
        "left_small_toe",
        "left_heel",
        "right_big_toe",
        "right_small_toe",
        "right_heel",
    ),
    edges=(
        (17, 18),
        (17, 0),
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 4),
        (17, 5),
        (17, 6),
        (5, 7),
        (7, 9),
        (6, 8),
        (8, 10),
        (5, 11),
        (6, 12),
        (11, 12),
        (11, 13),
        (13, 15),
        (12, 14),
        (14, 16),
        (15, 19),
        (19, 20),
        (15, 21),
        (16, 22),
        (22, 23),
        (16, 24),
    ),
    left_right=(
        (1, 2),
        (3, 4),
        (5, 6),
        (7, 8),
        (9, 10),
        (11, 12),
        (13, 14),
        (15, 16),
        (19, 22),
        (20, 23),
        (21, 24),
    ),
    oks_sigmas=(_UNPUBLISHED,) * 25,
)

HALPE26 = Skeleton(
    # Halpe's 26 joints, as RTMPose's body models have them: COCO's 17, crown, upper end of the
    # neck, middle of the hips, and feet.
    name="halpe26",
    joints=(
        *BODY25B.joints[:17],
        "head_top",
        "upper_neck",
        "pelvis",
        "left_big_toe",
        "right_big_toe",
        "left_small_toe",
        "right_small_toe",
        "left_heel",
        "right_heel",
    ),
    edges=(
        (18, 17),
        (18, 0),
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 4),
        (18, 5),
        (18, 6),
        (5, 7),
        (7, 9),
        (6, 8),
        (8, 10),
        (19, 18),
        (19, 11),
        (19, 12),
        (11, 13),
        (13, 15),
        (12, 14),
        (14, 16),
        (15, 20),
        (20, 22),
        (15, 24),
        (16, 21),
        (21, 23),
        (16, 25),
    ),
    left_right=(
        *BODY25B.left_right[:8],
        (20, 21),
        (22, 23),
        (24, 25),
    ),
    oks_sigmas=(_UNPUBLISHED,) * 26,
    root=19,
)

MPI17 = Skeleton(
    # The 17 joints of MPI-INF-3DHP in which it is evaluated; "head" is the middle of the head.
    name="mpi17",
    joints=(
        "pelvis",
        "head_top",
        "neck",
        "right_shoulder",
        "right_elbow",
        "right_wrist",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "right_hip",
        "right_knee",
        "right_ankle",
        "left_hip",
        "left_knee",
        "left_ankle",
        "spine",
        "head",
    ),
    edges=(
        (0, 9),
        (9, 10),
        (10, 11),
        (0, 12),
        (12, 13),
        (13, 14),
        (0, 15),
        (15, 2),
        (2, 16),
        (16, 1),
        (2, 3),
        (3, 4),
        (4, 5),
        (2, 6),
        (6, 7),
        (7, 8),
    ),
    left_right=((6, 3), (7, 4), (8, 5), (12, 9), (13, 10), (14, 11)),
    oks_sigmas=(_UNPUBLISHED,) * 17,
    root=0,
)

COCO17 = Skeleton(
    # COCO's 17 keypoints, with COCO's bones: most detectors that are published give these.
    name="coco17",
    joints=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    edges=(
        (15, 13),
        (13, 11),
        (16, 14),
        (14, 12),
        (11, 12),
        (5, 11),
        (6, 12),
        (5, 6),
        (5, 7),
        (6, 8),
        (7, 9),
        (8, 10),
        (1, 2),
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 4),
        (3, 5),
        (4, 6),
    ),
    left_right=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    oks_sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
)

SKELETONS: dict[str, Skeleton] = {
    skeleton.name: skeleton
    for skeleton in (
        *(HUPR14, H36M17, LSP14, JHMDB15, CMU23, KINECT25, SMPL24),
        *(BODY25, BODY25B, HALPE26, MPI17, COCO17),
    )
}


def get(name: str) -> Skeleton:
    """Return the skeleton of that name; ``ValueError`` names the ones there are."""
    if name not in SKELETONS:
        raise ValueError(f"unknown skeleton {name!r}, known are {', '.join(sorted(SKELETONS))}")
    return SKELETONS[name]
