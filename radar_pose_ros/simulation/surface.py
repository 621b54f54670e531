"""What a radar sees of a body: scatterers on the surfaces of its parts.

Arms, legs, neck and head are capsules, hands and feet small rounded bodies, the trunk is a stack
of elliptic slices. At 77 GHz skin and clothes reflect mostly like a rough mirror: a surface
returns much where its normal points at the radar and little where it does not. Each scatterer's
amplitude is

    sqrt(reflectivity * area) * (diffuse + (1 - diffuse) * cos(angle to the normal) ** exponent)

in metres, that is, the square root of a radar cross-section. A capsule's scatterers sit on the
line of its surface that is nearest to the radar, so that they slide over it when it turns; the
cosine then is the sine of the angle between its axis and the direction to the radar. A whole body
that faces the radar comes to about 0.3 square metres, in the middle of what is measured for people
(0.1 to 1). The scatterers are many wavelengths apart and add up with random but constant phases:
speckle, which is what a radar sees of people.

Reflectivity, diffuse share, exponents and girths are choices.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from radar_pose_ros.simulation.anatomy import BodyShape
from radar_pose_ros.skeleton.definitions import HUPR14

REFLECTIVITY = 0.6
DIFFUSE = 0.12
MIRROR_EXPONENT = 14.0
_TRUNK_SLICES = 9
_TRUNK_ANGLES = 12
_SHADOW_FLOOR = 0.1
_SKIN_SPREAD = 0.4  # of the logarithm of a scatterer's amplitude


@dataclass(frozen=True)
class Scatterers:
    """Points that reflect.

    Attributes
    ----------
    positions_m : ndarray, shape (T, S, 3)
        Where they are at each of T instants.
    amplitudes_m : ndarray of complex, shape (S,)
        Square root of their radar cross-section, with their own phase.
    """

    positions_m: np.ndarray
    amplitudes_m: np.ndarray


@dataclass(frozen=True)
class _Capsules:
    """Parts around a line: ends, as rows into the extended joints, radii and how they reflect."""

    begin: np.ndarray
    end: np.ndarray
    share: np.ndarray  # position of the scatterer between the ends
    radius_m: np.ndarray
    area_m2: np.ndarray
    rounded: np.ndarray  # reflects in all directions alike


class BodySurface:
    """Scatterers of one body.

    Parameters
    ----------
    shape : BodyShape
        The body; its ``skin_seed`` fixes the irregularities of its surface.
    """

    def __init__(self, shape: BodyShape) -> None:
        self.shape = shape
        self._capsules = _capsules(shape)
        trunk = _TRUNK_SLICES * _TRUNK_ANGLES
        count = len(self._capsules.share) + trunk
        skin = np.random.default_rng(shape.skin_seed)
        self._skin = np.exp(
            _SKIN_SPREAD * skin.standard_normal(count) + 2j * np.pi * skin.random(count)
        )

    def __len__(self) -> int:
        return len(self._skin)

    def scatterers(
        self,
        joints_m: np.ndarray,
        radar_m: np.ndarray,
        chest_m: float | np.ndarray = 0.0,
        *,
        occlusion: bool = True,
    ) -> Scatterers:
        """Place the scatterers for a radar.

        Parameters
        ----------
        joints_m : ndarray, shape (T, 14, 3)
            Joints at T instants, close enough together that visibility does not change; amplitudes
            are those of the middle one.
        radar_m : ndarray, shape (3,)
            Position of the radar in the same frame.
        chest_m : float or ndarray, shape (T,)
            How far the front of the trunk is pushed out by breathing.
        occlusion : bool
            Dim what lies behind the trunk.

        Returns
        -------
        Scatterers
            Those that return anything at all.
        """
        joints_m = np.asarray(joints_m, float)
        if joints_m.ndim != 3 or joints_m.shape[1:] != (len(HUPR14.joints), 3):
            raise ValueError(f"joints must have shape (instants, 14, 3), got {joints_m.shape}")
        middle = len(joints_m) // 2
        chest = np.broadcast_to(np.asarray(chest_m, float), (len(joints_m),))
        limbs, limb_gain = self._limbs(joints_m, radar_m, middle)
        trunk, trunk_gain, centres, radii = self._trunk(joints_m, radar_m, middle, chest)
        if occlusion:
            limb_gain = limb_gain * _shadow(limbs[middle], centres[middle], radii, radar_m)
        positions = np.concatenate([limbs, trunk], axis=1)
        gains = np.concatenate([limb_gain, trunk_gain])
        seen = gains > 0
        return Scatterers(positions[:, seen], (gains * self._skin)[seen])

    def _limbs(
        self, joints_m: np.ndarray, radar_m: np.ndarray, middle: int
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = self._capsules
        points = _extended(joints_m, self.shape)
        begin, end = points[:, parts.begin], points[:, parts.end]
        on_axis = begin + parts.share[:, None] * (end - begin)
        axis = _unit(end - begin)
        towards = _unit(radar_m - on_axis)
        across = towards - np.sum(towards * axis, axis=-1, keepdims=True) * axis
        sine = np.linalg.norm(across, axis=-1, keepdims=True)
        # Seen along its axis, a capsule has no nearest line; its scatterers then lie on the axis.
        normal = np.where(parts.rounded[:, None], towards, across / np.maximum(sine, 0.05))
        cosine = np.where(parts.rounded, 1.0, sine[middle, :, 0])
        gain = np.sqrt(REFLECTIVITY * parts.area_m2) * _lobe(cosine)
        return on_axis + parts.radius_m[:, None] * normal, gain

    def _trunk(
        self, joints_m: np.ndarray, radar_m: np.ndarray, middle: int, chest_m: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        shape = self.shape
        share, half_width, half_depth, chest = _trunk_profile(shape.height_m * shape.girth)
        hips = joints_m[:, _LEFT_HIP] - joints_m[:, _RIGHT_HIP]
        shoulders = joints_m[:, _LEFT_SHOULDER] - joints_m[:, _RIGHT_SHOULDER]
        bottom = (joints_m[:, _LEFT_HIP] + joints_m[:, _RIGHT_HIP]) / 2
        axis = joints_m[:, _NECK] - bottom
        up = _unit(axis)[:, None]  # (T, 1, 3), slices on the second axis
        across = hips[:, None] + share[:, None] * (shoulders - hips)[:, None]
        across = _unit(across - np.sum(across * up, axis=-1, keepdims=True) * up)
        front = np.cross(across, up)
        centres = bottom[:, None] + share[:, None] * axis[:, None]

        angle = 2 * np.pi * (np.arange(_TRUNK_ANGLES) + 0.5) / _TRUNK_ANGLES
        cosine, sine = np.cos(angle), np.sin(angle)
        # Breathing moves the front of chest and belly.
        out = chest_m[:, None, None] * chest[:, None] * np.maximum(sine, 0.0)
        depth = half_depth[:, None] * sine + out
        positions = (
            centres[:, :, None]
            + (half_width[:, None] * cosine)[..., None] * across[:, :, None]
            + depth[..., None] * front[:, :, None]
        )
        normal = _unit(
            (cosine / half_width[:, None])[..., None] * across[middle, :, None]
            + (sine / half_depth[:, None])[..., None] * front[middle, :, None]
        )
        slant = np.sum(normal * _unit(radar_m - positions[middle]), axis=-1)
        arc = np.hypot(half_width[:, None] * sine, half_depth[:, None] * cosine)
        area = arc * (2 * np.pi / _TRUNK_ANGLES) * shape.torso_m / len(share)
        gain = np.sqrt(REFLECTIVITY * area) * np.where(slant > 0, _lobe(slant), 0.0)
        radii = (half_width + half_depth) / 2
        return positions.reshape(len(joints_m), -1, 3), gain.ravel(), centres, radii


_RIGHT_HIP, _LEFT_HIP = HUPR14.index("right_hip"), HUPR14.index("left_hip")
_NECK, _HEAD = HUPR14.index("neck"), HUPR14.index("head")
_LEFT_SHOULDER, _RIGHT_SHOULDER = HUPR14.index("left_shoulder"), HUPR14.index("right_shoulder")
# Points beyond the joints, appended to them by `_extended`.
_EXTRA = ("left_hand", "right_hand", "left_heel", "right_heel", "left_toe", "right_toe", "chin")


def _point(name: str) -> int:
    if name in _EXTRA:
        return len(HUPR14.joints) + _EXTRA.index(name)
    return HUPR14.index(name)


def _extended(joints_m: np.ndarray, shape: BodyShape) -> np.ndarray:
    """Append hands, feet and chin to the joints: shape ``(T, 14 + 7, 3)``."""
    across = joints_m[:, _LEFT_HIP] - joints_m[:, _RIGHT_HIP]
    front = np.stack([across[:, 1], -across[:, 0], np.zeros(len(across))], axis=-1)
    front /= np.maximum(np.linalg.norm(front, axis=-1, keepdims=True), 1e-6)
    extra = []
    for side in ("left", "right"):
        wrist = joints_m[:, HUPR14.index(f"{side}_wrist")]
        forearm = wrist - joints_m[:, HUPR14.index(f"{side}_elbow")]
        extra.append(wrist + shape.hand_m * _unit(forearm))
    # Feet point to where the pelvis faces, level.
    ankles = [joints_m[:, HUPR14.index(f"{side}_ankle")] for side in ("left", "right")]
    below = np.array([0.0, 0.0, -0.5 * shape.ankle_height_m])
    extra += [ankle + below for ankle in ankles]
    extra += [ankle + below + shape.foot_m * front for ankle in ankles]
    neck, head = joints_m[:, _NECK], joints_m[:, _HEAD]
    extra.append(neck + 0.4 * (head - neck))
    return np.concatenate([joints_m, np.stack(extra, axis=1)], axis=1)


def _capsules(shape: BodyShape) -> _Capsules:
    unit_m = shape.height_m * shape.girth
    # begin, end, length, radius in units, scatterers, rounded
    parts: list[tuple[str, str, float, float, int, bool]] = [
        ("neck", "chin", 0.4 * shape.head_m, 0.033, 2, False),
        ("chin", "head", 0.6 * shape.head_m, 0.048, 4, True),
    ]
    for side in ("left", "right"):
        parts += [
            (f"{side}_shoulder", f"{side}_elbow", shape.upper_arm_m, 0.027, 6, False),
            (f"{side}_elbow", f"{side}_wrist", shape.forearm_m, 0.022, 6, False),
            (f"{side}_wrist", f"{side}_hand", shape.hand_m, 0.018, 2, True),
            (f"{side}_hip", f"{side}_knee", shape.thigh_m, 0.045, 8, False),
            (f"{side}_knee", f"{side}_ankle", shape.shank_m, 0.030, 8, False),
            (f"{side}_heel", f"{side}_toe", shape.foot_m, 0.020, 3, True),
        ]
    columns: list[tuple[int, int, float, float, float, bool]] = []
    for begin, end, length_m, radius, count, rounded in parts:
        area_m2 = 2 * radius * unit_m * length_m / count
        columns += [
            (_point(begin), _point(end), (k + 0.5) / count, radius * unit_m, area_m2, rounded)
            for k in range(count)
        ]
    return _Capsules(*(np.array(column) for column in zip(*columns, strict=True)))


@functools.lru_cache(maxsize=64)
def _trunk_profile(unit_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Slices of the trunk: place from hips to neck, half width, half depth, share of breathing."""
    share = (np.arange(_TRUNK_SLICES) + 0.5) / _TRUNK_SLICES
    knots = [0.0, 0.35, 0.7, 0.9, 1.0]
    half_width = np.interp(share, knots, [0.098, 0.082, 0.098, 0.10, 0.06]) * unit_m
    half_depth = np.interp(share, knots, [0.066, 0.060, 0.068, 0.058, 0.04]) * unit_m
    chest = np.interp(share, knots, [0.1, 0.6, 1.0, 0.6, 0.2])
    return share, half_width, half_depth, chest


def _lobe(cosine: np.ndarray) -> np.ndarray:
    """Amplitude of a rough mirror's reflection against that at normal incidence."""
    return DIFFUSE + (1 - DIFFUSE) * np.maximum(cosine, 0.0) ** MIRROR_EXPONENT


def _shadow(
    points_m: np.ndarray, centres_m: np.ndarray, radii_m: np.ndarray, radar_m: np.ndarray
) -> np.ndarray:
    """Dimming of points by spheres around the trunk's slices, shape ``(S,)``."""
    ray = points_m - radar_m
    distance = np.linalg.norm(ray, axis=-1)
    to_centre = centres_m - radar_m
    along = to_centre @ (ray / distance[:, None]).T  # (slices, S)
    miss = np.sqrt(np.maximum(np.sum(to_centre**2, axis=-1)[:, None] - along**2, 0.0))
    behind = distance > along + 0.5 * radii_m[:, None]
    grazing = np.clip((miss / radii_m[:, None] - 0.7) / 0.5, _SHADOW_FLOOR, 1.0)
    return np.where(behind, grazing, 1.0).min(axis=0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
