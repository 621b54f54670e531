"""Pinhole cameras around a person: where random ones stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.vision.camera import PinholeCamera as PinholeCamera


@dataclass(frozen=True)
class CameraRanges:
    """Where `random_camera` puts cameras: ranges to draw from evenly.

    All defaults are choices: a room with cameras at its walls, the person filling a third to three
    quarters of the image.

    Parameters
    ----------
    distance_m : (float, float)
        On the floor, from the person.
    height_m : (float, float)
        Above the floor.
    azimuth : (float, float)
        Radians, from +x towards +y, where the camera stands as seen by the person.
    focal_to_width : (float, float)
        Focal length over the image's width; 1.15 is a view of 47 degrees.
    aim_m : float
        The camera aims beside the person's middle by up to so much, in each direction.
    roll : float
        Radians; up to so much in both directions.
    size_px : (int, int)
        Width and height of the image.
    """

    distance_m: tuple[float, float] = (3.5, 6.0)
    height_m: tuple[float, float] = (0.6, 2.2)
    azimuth: tuple[float, float] = (-np.pi, np.pi)
    focal_to_width: tuple[float, float] = (1.0, 1.3)
    aim_m: float = 0.15
    roll: float = float(np.radians(3.0))
    size_px: tuple[int, int] = (1000, 1000)


def random_camera(
    joints_m: ArrayLike, rng: np.random.Generator, ranges: CameraRanges | None = None
) -> PinholeCamera:
    """Put a camera somewhere around a person, aimed at it.

    Parameters
    ----------
    joints_m : array_like, shape (..., 3)
        The person's joints at all times; the camera aims at their mean, NaN left out. z is up, the
        floor is at 0.
    rng : numpy.random.Generator
        Source of all choices.
    ranges : CameraRanges, optional

    Raises
    ------
    ValueError
        If no joint is known.
    """
    ranges = CameraRanges() if ranges is None else ranges
    joints = np.asarray(joints_m, np.float64).reshape(-1, 3)
    joints = joints[~np.isnan(joints).any(-1)]
    if not len(joints):
        raise ValueError("a camera cannot be aimed at a person of whom no joint is known")
    target = joints.mean(axis=0)
    return camera_around(target, rng.uniform(*ranges.azimuth), rng, ranges)


def camera_around(
    target_m: ArrayLike, azimuth: float, rng: np.random.Generator, ranges: CameraRanges
) -> PinholeCamera:
    """Put a camera on one side of a place, aimed at it.

    Parameters
    ----------
    target_m : array_like, shape (3,)
        z is up, the floor is at 0.
    azimuth : float
        Radians, in place of those of the ranges.
    rng : numpy.random.Generator
        Source of all other choices.
    ranges : CameraRanges
    """
    target = np.asarray(target_m, np.float64)
    distance_m = rng.uniform(*ranges.distance_m)
    place = target[:2] + distance_m * np.array([np.cos(azimuth), np.sin(azimuth)])
    return PinholeCamera.looking_at(
        position_m=[*place, rng.uniform(*ranges.height_m)],
        target_m=target + rng.uniform(-ranges.aim_m, ranges.aim_m, 3),
        focal_px=ranges.size_px[0] * rng.uniform(*ranges.focal_to_width),
        size_px=ranges.size_px,
        roll=rng.uniform(-ranges.roll, ranges.roll),
    )
