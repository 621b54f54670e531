"""Pinhole cameras around a person, and what they see of its joints.

The camera's optical frame has z forward, x right and y down (REP-103). Lens distortion follows
OpenCV's five coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.skeleton.image import denormalise as denormalise
from radar_pose_ros.skeleton.image import normalise as normalise


@dataclass(frozen=True)
class PinholeCamera:
    """A camera and where it is.

    Parameters
    ----------
    focal_px, centre_px : (float, float)
        Focal lengths and principal point, horizontal and vertical.
    size_px : (int, int)
        Width and height of the image.
    rotation : ndarray, shape (3, 3)
        From the world's axes to the optical frame's.
    position_m : ndarray, shape (3,)
        Where the camera is in the world.
    distortion : (float, float, float, float, float)
        OpenCV's k1, k2, p1, p2, k3; all zero is a perfect lens.

    Raises
    ------
    ValueError
        If ``rotation`` is none, or a focal length or size is not positive.
    """

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    size_px: tuple[int, int]
    rotation: np.ndarray
    position_m: np.ndarray
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        rotation = np.asarray(self.rotation, np.float64)
        position = np.asarray(self.position_m, np.float64)
        proper = rotation.shape == (3, 3) and np.allclose(
            rotation @ rotation.T, np.eye(3), atol=1e-6
        )
        if not proper or np.linalg.det(rotation) < 0:
            raise ValueError(f"want a rotation matrix of 3 x 3, got {rotation.tolist()}")
        if position.shape != (3,):
            raise ValueError(f"want a position of three metres, got {position.tolist()}")
        if min(*self.focal_px, *self.size_px) <= 0:
            raise ValueError(
                f"focal lengths and size must be positive, got {self.focal_px} and {self.size_px}"
            )
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "position_m", position)

    @classmethod
    def looking_at(
        cls,
        position_m: ArrayLike,
        target_m: ArrayLike,
        focal_px: float,
        size_px: tuple[int, int],
        roll: float = 0.0,
    ) -> PinholeCamera:
        """Return a camera with square pixels that looks at a point.

        Parameters
        ----------
        position_m, target_m : array_like, shape (3,)
            z is up.
        focal_px : float
        size_px : (int, int)
            Width and height; the principal point is the middle.
        roll : float
            Radians about the optical axis; positive turns what is seen counter-clockwise.

        Raises
        ------
        ValueError
            If the camera would look straight up or down, or is at its target.
        """
        position = np.asarray(position_m, np.float64)
        forward = np.asarray(target_m, np.float64) - position
        right = np.cross(forward, [0.0, 0.0, 1.0])
        if np.linalg.norm(right) < 1e-6 * max(float(np.linalg.norm(forward)), 1e-3):
            raise ValueError("a camera that looks straight up or down has no upright image")
        forward /= np.linalg.norm(forward)
        right /= np.linalg.norm(right)
        upright = np.stack([right, np.cross(forward, right), forward])
        cosine, sine = np.cos(roll), np.sin(roll)
        about_axis = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        return cls(
            focal_px=(focal_px, focal_px),
            centre_px=(size_px[0] / 2, size_px[1] / 2),
            size_px=size_px,
            rotation=about_axis @ upright,
            position_m=position,
        )

    def to_camera(self, points_m: ArrayLike) -> np.ndarray:
        """Return world points, shape ``(..., 3)``, in the optical frame."""
        return (np.asarray(points_m, np.float64) - self.position_m) @ self.rotation.T

    def to_world(self, points_m: ArrayLike) -> np.ndarray:
        """Return points in the optical frame, shape ``(..., 3)``, in the world."""
        return np.asarray(points_m, np.float64) @ self.rotation + self.position_m

    def project(self, points_m: ArrayLike) -> np.ndarray:
        """Return the pixels of world points.

        Parameters
        ----------
        points_m : array_like, shape (..., 3)

        Returns
        -------
        ndarray, shape (..., 2)
            u to the right, v downwards; NaN for points that are not in front of the camera and for
            NaN points. Points outside of the image keep their true coordinates.
        """
        points = self.to_camera(points_m)
        depth = np.where(points[..., 2] > 0, points[..., 2], np.nan)
        x, y = points[..., 0] / depth, points[..., 1] / depth
        k1, k2, p1, p2, k3 = self.distortion
        r2 = x**2 + y**2
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
        v = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
        return np.stack([u, v], axis=-1) * self.focal_px + self.centre_px

    def sees(self, points_m: ArrayLike) -> np.ndarray:
        """Return whether each point lies in the image, shape ``(...)``; False for NaN."""
        pixels = self.project(points_m)
        return np.asarray(((pixels >= 0) & (pixels <= self.size_px)).all(-1))


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
    azimuth, distance_m = rng.uniform(*ranges.azimuth), rng.uniform(*ranges.distance_m)
    place = target[:2] + distance_m * np.array([np.cos(azimuth), np.sin(azimuth)])
    return PinholeCamera.looking_at(
        position_m=[*place, rng.uniform(*ranges.height_m)],
        target_m=target + rng.uniform(-ranges.aim_m, ranges.aim_m, 3),
        focal_px=ranges.size_px[0] * rng.uniform(*ranges.focal_to_width),
        size_px=ranges.size_px,
        roll=rng.uniform(-ranges.roll, ranges.roll),
    )
