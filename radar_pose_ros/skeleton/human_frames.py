"""A body's frames and joint angles as REP-155 has them, from the joints of H36M17.

REP-155 names the links and joints of a body, and the package ``human_description`` says how they
hang together: which axes the joints have and where they are zero. Upright with hanging arms all
angles are zero. A frame has x forward, y to the left and z up, along its bone towards the trunk.

The pose of the trunk is that of the hips and the base of the neck: y of ``body`` goes through the
hips, z is the direction to the neck without what of it goes along y, so the angle of the waist is
zero by definition. The torso has the same axes, at the base of the neck.

Angles of a joint follow in closed form from the directions of two bones. Three things are choices
here, where two bones do not say how the first one is turned about itself:

* a stretched limb, whose bones are within `STRAIGHT` of one line, is straight, and not turned
  about itself;
* a thigh is turned about itself by less than a right angle, so that a knee that was measured as
  bent forwards has a positive angle, which the model does not allow;
* nothing is said of the head's turn to a side (``y_head``): no joint shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.vision.frames import Placement

STRAIGHT = 0.15  # rad
SHORTEST_M = 0.01  # bones below have no direction
YAW_BEHIND = 1.1  # rad: how far an arm reaches behind the back sideways, as the model has it
SIDES = {"l": ("left", 1.0), "r": ("right", -1.0)}


def body_frame(joints_m: np.ndarray) -> Placement | None:
    """Return where the frame of a body is: the middle of the hips, x forward, z to the head.

    Parameters
    ----------
    joints_m : ndarray, shape (17, 3)
        Of H36M17; NaN is unknown.

    Returns
    -------
    Placement, or None
        None where hips and neck do not say: they are not known, or on one line.
    """
    left, right, neck = (_joint(joints_m, n) for n in ("left_hip", "right_hip", "thorax"))
    middle = (left + right) / 2
    across, upwards = left - right, neck - middle
    forward = np.cross(across, upwards)
    size = np.linalg.norm(across) * np.linalg.norm(upwards)
    if not np.isfinite(size) or np.linalg.norm(forward) <= 0.05 * size:
        return None
    x, y = forward / np.linalg.norm(forward), across / np.linalg.norm(across)
    return Placement(np.column_stack([x, y, np.cross(x, y)]), middle)


def angles(joints_m: np.ndarray) -> dict[str, float]:
    """Return the angles of a body's joints.

    Parameters
    ----------
    joints_m : ndarray, shape (17, 3)
        Of H36M17; NaN is unknown.

    Returns
    -------
    dict of float
        In rad, by REP-155's names; without those that are not known, empty without a body.
    """
    inside = _inside(joints_m)
    if inside is None:
        return {}
    found = {"waist": 0.0}
    tilt = _head(inside)
    if tilt is not None:
        found |= {"r_head": tilt[0], "p_head": tilt[1]}
    for side, limb in _limbs(inside):
        names = (f"y_{limb.upper}", f"p_{limb.upper}", f"r_{limb.upper}", limb.middle)
        found |= {f"{side}_{n}": angle for n, angle in zip(names, limb.angles, strict=True)}
    return found


def frames(joints_m: np.ndarray) -> dict[str, Placement]:
    """Return where the links of a body are, in the frame of the body.

    Parameters
    ----------
    joints_m : ndarray, shape (17, 3)
        Of H36M17; NaN is unknown.

    Returns
    -------
    dict of Placement
        By REP-155's names; without those of which a joint is not known, empty without a body.
        They are where the joints are. The head is turned like the torso, and tilted.
    """
    inside = _inside(joints_m)
    if inside is None:
        return {}
    found = {
        "waist": Placement(np.eye(3), np.zeros(3)),
        "torso": Placement(np.eye(3), _joint(inside, "thorax")),
    }
    tilt = _head(inside)
    if tilt is not None:
        roll, pitch = tilt
        found["head"] = Placement(_turn(0, roll) @ _turn(1, -pitch), _joint(inside, "head"))
    for side, limb in _limbs(inside):
        first, second = limb.rotations
        for name, turn in ((limb.upper, first), (limb.middle, second), (limb.end, second)):
            place = _joint(inside, f"{SIDES[side][0]}_{name}")
            found[f"{side}_{name}"] = Placement(turn, place)
    return found


# -- limbs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Limb:
    """Two bones, in a frame in which they hang down when all angles are zero.

    Parameters
    ----------
    first, second : ndarray, shape (3,)
        Directions of the bones, of length 1.
    sign : float
        1 on the left side, -1 on the right one.
    """

    first: np.ndarray
    second: np.ndarray
    sign: float
    upper: ClassVar[str]
    middle: ClassVar[str]
    end: ClassVar[str]

    @property
    def is_straight(self) -> bool:
        """Whether the bones do not say how the first one is turned about itself."""
        bend = np.linalg.norm(np.cross(self.first, self.second))
        return bool(np.arctan2(bend, self.first @ self.second) < STRAIGHT)


class _Arm(_Limb):
    """An arm: turns about z, x and z, then the elbow about -y."""

    upper, middle, end = "shoulder", "elbow", "wrist"

    @property
    def angles(self) -> tuple[float, float, float, float]:
        """Of y_shoulder, p_shoulder, r_shoulder and elbow."""
        x, y, z = self.first
        yaw = math.atan2(x, self.sign * y) if math.hypot(x, y) > 1e-9 else 0.0
        pitch = math.atan2(math.hypot(x, y), -z)
        if not -YAW_BEHIND < yaw < math.pi - YAW_BEHIND:  # behind the back the arm swings back
            yaw, pitch = yaw - math.copysign(math.pi, yaw), -pitch
        if self.is_straight:
            return yaw, pitch, 0.0, 0.0
        x, y, z = (_turn(2, -self.sign * yaw) @ _turn(0, self.sign * pitch)).T @ self.second
        return yaw, pitch, self.sign * math.atan2(y, x), math.atan2(math.hypot(x, y), -z)

    @property
    def rotations(self) -> tuple[np.ndarray, np.ndarray]:
        """Of upper arm and forearm."""
        yaw, pitch, roll, elbow = self.angles
        upper = _turn(2, -self.sign * yaw) @ _turn(0, self.sign * pitch)
        upper = upper @ _turn(2, self.sign * roll)
        return upper, upper @ _turn(1, -elbow)


class _Leg(_Limb):
    """A leg: turns about -z, x and -y, then the knee about -y."""

    upper, middle, end = "hip", "knee", "ankle"

    @property
    def angles(self) -> tuple[float, float, float, float]:
        """Of y_hip, p_hip, r_hip and knee."""
        if self.is_straight:
            x, y, z = self.first
            side = self.sign * math.atan2(y, -z)
            return 0.0, side, math.atan2(x, math.hypot(y, z)), 0.0
        hinge = np.cross(self.first, self.second)
        hinge *= math.copysign(1.0, hinge[1]) / np.linalg.norm(hinge)  # nobody's knee is behind
        yaw = math.atan2(hinge[0], hinge[1])
        side = self.sign * math.asin(hinge[2])
        inner = (_turn(2, -yaw) @ _turn(0, self.sign * side)).T
        swing, shin = (math.atan2(x, -z) for x, _, z in (inner @ self.first, inner @ self.second))
        return yaw, side, swing, math.remainder(shin - swing, math.tau)

    @property
    def rotations(self) -> tuple[np.ndarray, np.ndarray]:
        """Of thigh and shin."""
        yaw, side, swing, knee = self.angles
        thigh = _turn(2, -yaw) @ _turn(0, self.sign * side) @ _turn(1, -swing)
        return thigh, thigh @ _turn(1, -knee)


def _limbs(inside: np.ndarray) -> Iterator[tuple[str, _Arm | _Leg]]:
    """Yield the side and the limb, of those whose joints are known and apart."""
    for side, (name, sign) in SIDES.items():
        for kind in (_Arm, _Leg):
            ends = np.array(
                [_joint(inside, f"{name}_{j}") for j in (kind.upper, kind.middle, kind.end)]
            )
            bones = np.diff(ends, axis=0)
            lengths_m = np.linalg.norm(bones, axis=1)
            if (lengths_m > SHORTEST_M).all():
                first, second = bones / lengths_m[:, None]
                yield side, kind(first, second, sign)


def _head(inside: np.ndarray) -> tuple[float, float] | None:
    """Return roll and pitch of the head, None if it is not known."""
    up = _joint(inside, "head") - _joint(inside, "thorax")
    length_m = np.linalg.norm(up)
    if not length_m > SHORTEST_M:
        return None
    x, y, z = up / length_m
    return math.atan2(-y, z), -math.asin(x)


def _inside(joints_m: np.ndarray) -> np.ndarray | None:
    """Return the joints in the frame of the body, None without one."""
    body = body_frame(joints_m)
    return None if body is None else (joints_m - body.translation_m) @ body.rotation


def _joint(joints_m: np.ndarray, name: str) -> np.ndarray:
    return joints_m[H36M17.index(name)]


def _turn(axis: int, angle: float) -> np.ndarray:
    """Return the rotation about an axis, 0 for x."""
    cosine, sine = math.cos(angle), math.sin(angle)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = cosine
    turn[first, second], turn[second, first] = -sine, sine
    return turn
