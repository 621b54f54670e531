"""Human bodies of different sizes, their postures, and from there to joints.

A posture says where the pelvis is, how the trunk leans, the angles of the arms, and where the
ankles are. Forward kinematics turns it into the 14 joints of
`radar_pose_ros.skeleton.definitions.HUPR14`; knees follow from hips and ankles (two bones, law of
cosines), so that feet stand still where they should.

Frame: x forward from the rig, y left, z up from the floor. A heading of 0 looks along +x, that is,
away from the rig; a heading of pi looks at it. "Left" is the person's left.

The joint "head" is the crown, as in the MPII and LSP keypoint sets; "neck" is the base of the
neck. Proportions follow Drillis and Contini's segment lengths as tabulated in D. A. Winter,
"Biomechanics and Motor Control of Human Movement"; the spread between people is a choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from radar_pose_ros.skeleton.definitions import HUPR14

LEFT, RIGHT = 0, 1
SIDE_SIGN = np.array([1.0, -1.0])  # of the y axis, for LEFT and RIGHT
SPLITS = ("train", "validation", "test")

# Bodies of the test split have heights inside of these bands, all others outside of them.
TEST_HEIGHT_BANDS_M = ((1.55, 1.60), (1.70, 1.75), (1.85, 1.90))
HEIGHT_RANGE_M = (1.50, 1.95)


@dataclass(frozen=True)
class BodyShape:
    """Lengths and girths of a body, in metres.

    Parameters
    ----------
    height_m : float
        From the floor to the crown when standing upright.
    thigh_m, shank_m, ankle_height_m : float
        Hip to knee, knee to ankle, ankle to floor.
    hip_half_width_m, torso_m : float
        Middle of the hips to a hip joint, and to the base of the neck.
    shoulder_half_width_m, shoulder_drop_m : float
        Neck to a shoulder joint, sideways and down.
    upper_arm_m, forearm_m, hand_m, head_m, foot_m : float
        Shoulder to elbow, elbow to wrist, wrist to the middle of the fingers, neck to crown, ankle
        to the ball of the foot.
    girth : float
        Factor on all radii; 1 is average.
    skin_seed : int
        Seed of the small irregularities of the surface.
    """

    height_m: float
    thigh_m: float
    shank_m: float
    ankle_height_m: float
    hip_half_width_m: float
    torso_m: float
    shoulder_half_width_m: float
    shoulder_drop_m: float
    upper_arm_m: float
    forearm_m: float
    hand_m: float
    head_m: float
    foot_m: float
    girth: float = 1.0
    skin_seed: int = 0

    @classmethod
    def average(cls, height_m: float = 1.75, girth: float = 1.0, skin_seed: int = 0) -> BodyShape:
        """Return a body of average proportions."""
        return cls.proportioned(height_m, girth=girth, skin_seed=skin_seed)

    @classmethod
    def proportioned(
        cls,
        height_m: float,
        *,
        legs: float = 1.0,
        knees: float = 1.0,
        arms: float = 1.0,
        shoulders: float = 1.0,
        hips: float = 1.0,
        girth: float = 1.0,
        skin_seed: int = 0,
    ) -> BodyShape:
        """Return a body whose proportions are multiples of the average ones.

        The trunk and the head take up what the legs leave of the height. ``knees`` moves the knees
        up (> 1) or down at constant leg length.
        """
        ankle_m = 0.039 * height_m
        leg_m = 0.491 * height_m * legs
        shank_m = 0.246 / 0.491 * leg_m * knees
        rest_m = height_m - ankle_m - leg_m
        return cls(
            height_m=height_m,
            thigh_m=leg_m - shank_m,
            shank_m=shank_m,
            ankle_height_m=ankle_m,
            hip_half_width_m=0.053 * height_m * hips,
            torso_m=0.67 * rest_m,
            shoulder_half_width_m=0.107 * height_m * shoulders,
            shoulder_drop_m=0.027 * height_m,
            upper_arm_m=0.176 * height_m * arms,
            forearm_m=0.146 * height_m * arms,
            hand_m=0.06 * height_m,
            head_m=0.33 * rest_m,
            foot_m=0.10 * height_m,
            girth=girth,
            skin_seed=skin_seed,
        )

    @classmethod
    def sample(cls, rng: np.random.Generator, split: str = "train") -> BodyShape:
        """Draw a body; test bodies and training bodies have no height in common.

        Raises
        ------
        ValueError
            If ``split`` is not one of `SPLITS`.
        """
        check_split(split)
        while True:
            height_m = float(rng.uniform(*HEIGHT_RANGE_M))
            in_band = any(low <= height_m < high for low, high in TEST_HEIGHT_BANDS_M)
            if in_band == (split == "test"):
                break
        ratios = np.clip(rng.normal(1.0, (0.02, 0.02, 0.025, 0.05, 0.06)), 0.88, 1.12)
        names = ("legs", "knees", "arms", "shoulders", "hips")
        return cls.proportioned(
            height_m,
            **dict(zip(names, map(float, ratios), strict=True)),
            girth=float(rng.uniform(0.85, 1.25)),
            skin_seed=int(rng.integers(2**31)),
        )

    @classmethod
    def measured(cls, joints_m: np.ndarray, skin_seed: int = 0) -> BodyShape:
        """Estimate a body from joints, shape ``(frames, 14, 3)``, by the median of each length."""
        left_right = HUPR14.mirrored()

        def length(a: str, b: str) -> float:
            first, second = HUPR14.index(a), HUPR14.index(b)
            pairs = [(first, second), (left_right[first], left_right[second])]
            return float(
                np.mean(
                    [
                        np.median(np.linalg.norm(joints_m[:, a] - joints_m[:, b], axis=-1))
                        for a, b in pairs
                    ]
                )
            )

        hips = joints_m[:, [HUPR14.index("left_hip"), HUPR14.index("right_hip")]].mean(axis=1)
        torso_m = float(
            np.median(np.linalg.norm(joints_m[:, HUPR14.index("neck")] - hips, axis=-1))
        )
        thigh_m, shank_m = length("left_hip", "left_knee"), length("left_knee", "left_ankle")
        head_m = length("neck", "head")
        height_m = (thigh_m + shank_m + torso_m + head_m) / (1 - 0.039)
        return replace(
            cls.average(height_m, skin_seed=skin_seed),
            thigh_m=thigh_m,
            shank_m=shank_m,
            torso_m=torso_m,
            head_m=head_m,
            hip_half_width_m=length("left_hip", "right_hip") / 2,
            shoulder_half_width_m=length("left_shoulder", "right_shoulder") / 2,
            upper_arm_m=length("left_shoulder", "left_elbow"),
            forearm_m=length("left_elbow", "left_wrist"),
        )

    @property
    def leg_m(self) -> float:
        """Hip to ankle of the straight leg."""
        return self.thigh_m + self.shank_m

    @property
    def standing_pelvis_m(self) -> float:
        """Height of the hip joints in the neutral posture, knees not quite straight."""
        return self.ankle_height_m + 0.996 * self.leg_m


def check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, there are {', '.join(SPLITS)}")


@dataclass
class Posture:
    """A posture at each of F instants. Angles in radians; the side axis is (left, right).

    Attributes
    ----------
    pelvis_m : ndarray, shape (F, 3)
        Middle of the hip joints.
    heading : ndarray, shape (F,)
        Direction that the pelvis faces, from +x towards +y.
    lean, roll, twist : ndarray, shape (F,)
        Trunk: forward, to the person's right, and shoulders turned to the left against the
        heading.
    nod, look : ndarray, shape (F,)
        Head against the trunk: forward, and to the person's right (a tilt).
    flexion, abduction, rotation, elbow : ndarray, shape (F, 2)
        Arms: upper arm raised forward, raised sideways, turned outwards about itself; elbow bent.
        All zero is an arm that hangs straight down.
    ankles_m : ndarray, shape (F, 2, 3)
        Where the ankles are; lifted if the leg would be too short.
    knees_out : ndarray, shape (F, 2)
        How far the knees point outwards of the heading.
    """

    pelvis_m: np.ndarray
    heading: np.ndarray
    lean: np.ndarray
    roll: np.ndarray
    twist: np.ndarray
    nod: np.ndarray
    look: np.ndarray
    flexion: np.ndarray
    abduction: np.ndarray
    rotation: np.ndarray
    elbow: np.ndarray
    ankles_m: np.ndarray
    knees_out: np.ndarray


@dataclass(frozen=True)
class Place:
    """Where somebody stands and which way they face."""

    x_m: float
    y_m: float
    heading: float

    @property
    def position_m(self) -> np.ndarray:
        """Point on the floor, shape ``(3,)``."""
        return np.array([self.x_m, self.y_m, 0.0])


def neutral(shape: BodyShape, place: Place, count: int) -> Posture:
    """Return ``count`` times the neutral standing posture at a place."""
    ground = np.tile(place.position_m, (count, 1))
    posture = Posture(
        pelvis_m=ground + np.array([0.0, 0.0, shape.standing_pelvis_m]),
        heading=np.full(count, place.heading),
        **{name: np.zeros(count) for name in ("lean", "roll", "twist", "nod", "look")},
        flexion=np.full((count, 2), np.radians(2.0)),
        abduction=np.full((count, 2), np.radians(8.0)),
        rotation=np.full((count, 2), np.radians(-10.0)),
        elbow=np.full((count, 2), np.radians(14.0)),
        ankles_m=np.empty((count, 2, 3)),
        knees_out=np.full((count, 2), np.radians(6.0)),
    )
    for side in (LEFT, RIGHT):
        posture.ankles_m[:, side] = foot_at(ground, posture.heading, shape, side)
    return posture


def foot_at(
    ground_m: np.ndarray, heading: np.ndarray, shape: BodyShape, side: int, spread: float = 1.15
) -> np.ndarray:
    """Return the ankle of a foot under its hip, shape ``(F, 3)``; at spread 1 exactly under it."""
    across = np.stack([-np.sin(heading), np.cos(heading), np.zeros_like(heading)], axis=-1)
    ankle = ground_m + SIDE_SIGN[side] * spread * shape.hip_half_width_m * across
    ankle[..., 2] = shape.ankle_height_m
    return ankle


def _rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Right-handed rotations about a coordinate axis, shape ``(..., 3, 3)``."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., first, first] = matrix[..., second, second] = np.cos(angle)
    matrix[..., second, first] = np.sin(angle)
    matrix[..., first, second] = -np.sin(angle)
    return matrix


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def forward_kinematics(posture: Posture, shape: BodyShape) -> np.ndarray:
    """Return the joints of a posture, shape ``(F, 14, 3)``, in the order of HUPR14.

    The lengths of thighs, shanks, arms, head, trunk and the widths of hips and shoulders are those
    of the shape, exactly.
    """
    joints = np.empty((len(posture.heading), len(HUPR14.joints), 3))

    def put(name: str, value: np.ndarray) -> None:
        joints[:, HUPR14.index(name)] = value

    # The pelvis takes part of the trunk's turn, the other way round, as in walking.
    pelvis = _rotation(2, posture.heading - 0.4 * posture.twist)
    upright = _rotation(2, posture.heading)
    trunk = (
        upright
        @ _rotation(1, posture.lean)
        @ _rotation(0, posture.roll)
        @ _rotation(2, posture.twist)
    )
    head = (
        upright
        @ _rotation(1, 0.6 * posture.lean + posture.nod)
        @ _rotation(0, 0.5 * posture.roll + posture.look)
    )
    neck = posture.pelvis_m + shape.torso_m * trunk[..., 2]
    put("neck", neck)
    put("head", neck + shape.head_m * head[..., 2])

    reached = _reachable_ankles(posture, pelvis[..., 1], shape)
    for side, name in ((LEFT, "left"), (RIGHT, "right")):
        sign = SIDE_SIGN[side]
        shoulder = neck + trunk @ np.array(
            [0.0, sign * shape.shoulder_half_width_m, -shape.shoulder_drop_m]
        )
        arm = (
            trunk
            @ _rotation(1, -posture.flexion[:, side])
            @ _rotation(0, sign * posture.abduction[:, side])
            @ _rotation(2, sign * posture.rotation[:, side])
        )
        elbow = shoulder - shape.upper_arm_m * arm[..., 2]
        forearm = arm @ _rotation(1, -posture.elbow[:, side])
        put(f"{name}_shoulder", shoulder)
        put(f"{name}_elbow", elbow)
        put(f"{name}_wrist", elbow - shape.forearm_m * forearm[..., 2])

        hip = posture.pelvis_m + sign * shape.hip_half_width_m * pelvis[..., 1]
        across = (pelvis @ _rotation(2, sign * posture.knees_out[:, side]))[..., 1]
        put(f"{name}_hip", hip)
        put(f"{name}_knee", _knee(hip, reached[:, side], across, shape))
        put(f"{name}_ankle", reached[:, side])
    return joints


def _reachable_ankles(posture: Posture, across: np.ndarray, shape: BodyShape) -> np.ndarray:
    """Ankles, lifted as the heel of the rear foot in walking where the leg would be too short."""
    reach_m = 0.999 * shape.leg_m
    hips = (
        posture.pelvis_m[:, None]
        + (SIDE_SIGN[:, None] * shape.hip_half_width_m) * across[:, None, :]
    )
    ankles = posture.ankles_m.copy()
    horizontal = ankles[..., :2] - hips[..., :2]
    distance = np.linalg.norm(horizontal, axis=-1, keepdims=True)
    limit = 0.9 * reach_m
    ankles[..., :2] = hips[..., :2] + horizontal * np.minimum(
        1.0, limit / np.maximum(distance, 1e-9)
    )
    distance = np.minimum(distance, limit)
    lowest = hips[..., 2] - np.sqrt(reach_m**2 - distance[..., 0] ** 2)
    # A smooth maximum, the smoother the more the leg is slanted: a sharp one would jerk the knee
    # when the heel leaves the floor.
    smooth_m = 0.004 + 0.12 * distance[..., 0] ** 2
    gap = ankles[..., 2] - lowest
    ankles[..., 2] = (ankles[..., 2] + lowest + np.hypot(gap, smooth_m)) / 2
    return ankles


def _knee(hip: np.ndarray, ankle: np.ndarray, across: np.ndarray, shape: BodyShape) -> np.ndarray:
    """Knee between hip and ankle, bent to the front of the plane whose normal is ``across``."""
    leg = ankle - hip
    distance = np.linalg.norm(leg, axis=-1, keepdims=True)
    along = leg / distance
    front = _unit(np.cross(along, across))
    share = (shape.thigh_m**2 - shape.shank_m**2 + distance**2) / (2 * distance)
    height = np.sqrt(np.maximum(shape.thigh_m**2 - share**2, 0.0))
    return hip + share * along + height * front
