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

    def mirrored(self) -> list[int]:
        """Return, for each joint, the number of the joint on the other side of the body."""
        order = list(range(len(self.joints)))
        for left, right in self.left_right:
            order[left], order[right] = right, left
        return order


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

SKELETONS: dict[str, Skeleton] = {HUPR14.name: HUPR14}


def get(name: str) -> Skeleton:
    """Return the skeleton of that name; ``ValueError`` names the ones there are."""
    if name not in SKELETONS:
        raise ValueError(f"unknown skeleton {name!r}, known are {', '.join(sorted(SKELETONS))}")
    return SKELETONS[name]
