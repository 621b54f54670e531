"""Where somebody stands whose shape is known, by the joints in one image.

A network that lifts joints to space gives metres from the hip. A camera whose focal length is
known says the rest: shifted to where it belongs, the shape projects onto the joints that were
seen. Each joint of the shape at ``P + t`` on the ray ``(x, y, 1)`` gives two equations that are
linear in the shift t::

    P_x + t_x = x (P_z + t_z)        P_y + t_y = y (P_z + t_z)

What solves them with the least squares is where a few steps of Gauss and Newton begin, which make
the errors in pixels the smallest (Hartley and Zisserman, Multiple View Geometry, chapter 7, with a
known rotation). Which errors are expected is our choice, marked as such.

Where a radar has measured how far away the person is, that distance takes the place of what the
size says (`at_range`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.skeleton import checks, projection
from radar_pose_ros.skeleton.definitions import H36M17

FEWEST_JOINTS = 4  # choice: two would do without errors
NEAREST_M = 0.2  # choice: nobody is nearer to a camera
# How a person's size, and so its distance, differs from what one image lets expect, relative: the
# standard deviation of adults' statures [choice].
SIZE_SPREAD = 0.055
PIXEL_SPREAD = 0.002  # least error of a joint, relative to the image's width [choice]
LARGEST_SPREAD = 0.5  # of the distance, relative; beyond it nothing is known [choice]
# What returns most strongly is the body's front: so far behind it, along the line of sight, is the
# pelvis; mean and standard deviation of 16 simulated people of the training split, 10 s of each,
# seen by the rig as `radar.person_range` has it. The means of people differ by 0.03 m.
PELVIS_BEHIND_M = 0.113
RANGE_SPREAD_M = 0.060
ANKLE_HEIGHT_M = 0.09  # of the ankle's joint above the ground [choice]
ANKLE_SPREAD_M = 0.04  # its standard deviation: shoes, heels that are up [choice]
# By so much a ground may ask for another size, or a radar for another distance, than the shape
# has in the image [choice].
SCALES = (0.67, 1.5)
_ANKLES = [H36M17.index("right_ankle"), H36M17.index("left_ankle")]
_STEPS = 5  # from so near, three make a difference [choice]
_DISTORTIONS = (0, 4, 5, 8, 12, 14)  # numbers of coefficients that OpenCV knows


@dataclass(frozen=True)
class Intrinsics:
    """How a camera maps its optical frame (x right, y down, z forward) to pixels.

    Parameters
    ----------
    focal_px, centre_px : (float, float)
        Focal lengths and principal point, horizontal and vertical.
    size_px : (int, int)
        Width and height of the image.
    distortion : tuple of float
        OpenCV's k1, k2, p1, p2, k3 and so on; empty for a perfect lens.

    Raises
    ------
    ValueError
        If a focal length or size is not positive, a number is not finite, or there are not so many
        coefficients.
    """

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    size_px: tuple[int, int]
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        lengths = (*self.focal_px, *self.size_px)
        if not (np.isfinite(lengths).all() and min(lengths) > 0):
            raise ValueError(
                f"focal lengths and size must be positive, got {self.focal_px} and {self.size_px}"
            )
        for name in ("centre_px", "distortion"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        if len(self.distortion) not in _DISTORTIONS:
            raise ValueError(
                f"distortion must have {', '.join(map(str, _DISTORTIONS))} coefficients, got "
                f"{len(self.distortion)}"
            )

    def rays(self, pixels: ArrayLike) -> np.ndarray:
        """Return the points at depth 1 that are seen at these pixels, ``(n, 2)`` of the same."""
        values = np.asarray(pixels, np.float64)
        flat = (values - self.centre_px) / self.focal_px
        known = np.isfinite(flat).all(-1)
        if any(self.distortion) and known.any():
            lens = np.array(self.distortion)
            flat[known] = cv2.undistortPoints(flat[known][:, None], np.eye(3), lens)[:, 0]
        return flat


RIG_PLANE = Intrinsics(
    focal_px=(projection.FOCAL_LENGTH_PX,) * 2,
    centre_px=(projection.CENTRE_PX,) * 2,
    size_px=(projection.IMAGE_SIZE_PX,) * 2,
)


@dataclass(frozen=True)
class Ground:
    """A level floor that somebody stands on.

    Parameters
    ----------
    camera_height_m : float
        Of the camera above it.
    pitch : float
        Radians by which the camera looks down; it does not roll.

    Raises
    ------
    ValueError
        If the camera is not clearly above the ankles, or the pitch is not finite.
    """

    camera_height_m: float
    pitch: float = 0.0

    def __post_init__(self) -> None:
        checks.real("camera_height_m", self.camera_height_m)
        checks.real("pitch", self.pitch)
        if self.camera_height_m < ANKLE_HEIGHT_M + 0.2:
            raise ValueError(
                f"a camera {self.camera_height_m:g} m above the floor does not see by the feet "
                f"how far away somebody is: at least {ANKLE_HEIGHT_M + 0.2:g} m"
            )

    @property
    def up(self) -> np.ndarray:
        """The way up in the camera's optical frame, (3,)."""
        return np.array([0.0, -np.cos(self.pitch), -np.sin(self.pitch)])


@dataclass(frozen=True)
class PlaceSpread:
    """Errors of a place beyond those of joints that are off each by itself in the image.

    Parameters
    ----------
    sideways : float
        Standard deviation across the line of sight of what all joints are off by together,
        relative to the distance.
    depth : float
        Of the distance as it follows from the person's size, relative.
    """

    sideways: float = 0.0
    depth: float = SIZE_SPREAD

    def __post_init__(self) -> None:
        if not (0 <= self.sideways < np.inf and 0 <= self.depth < np.inf):
            raise ValueError(f"spreads of a place must be 0 or more, got {self}")


BY_SIZE = PlaceSpread()


@dataclass(frozen=True)
class Placement:
    """Where the shape's origin is, and how large the shape is.

    Attributes
    ----------
    root_m : ndarray, shape (3,)
        In the camera's optical frame.
    scale : float
        Factor on the shape; 1 without a ground.
    covariance_m2 : ndarray, shape (3, 3)
        Of ``root_m``: what the errors of the joints in the image leave open, and that of the
        person's size, or with a ground that of the ankles' height, or that of the radars' range.
    error_px : float
        What is left between the placed joints and those that were seen, root of the mean square.
    """

    root_m: np.ndarray
    scale: float
    covariance_m2: np.ndarray
    error_px: float


def place(
    joints_m: ArrayLike,
    pixels: ArrayLike,
    confidence: ArrayLike,
    camera: Intrinsics,
    ground: Ground | None = None,
    spread: PlaceSpread = BY_SIZE,
) -> Placement | None:
    """Place a shape so that it projects onto the joints that were seen.

    Without a ground the shape's size is believed. With one, shape and distance are scaled together
    until the lower one of the ankles that were seen is where an ankle is: that changes nothing in
    the image. Whoever jumps seems farther away.

    Parameters
    ----------
    joints_m : array_like, shape (joints, 3)
        In the axes of the camera's optical frame, from any origin; with a ground those of H36M17.
    pixels : array_like, shape (joints, 2)
        NaN where a joint was not seen.
    confidence : array_like, shape (joints,)
        Weights of the squared errors; NaN counts as 1.
    camera : Intrinsics
    ground : Ground, optional
    spread : PlaceSpread
        For the covariance.

    Returns
    -------
    Placement or None
        None if it cannot be told: fewer than `FEWEST_JOINTS` joints, all about the same ray, a
        joint behind the camera, or, with a ground, no ankle or one that is not below the camera.

    Raises
    ------
    ValueError
        If a shape is another, or there is text in it; the sentence says which.
    """
    count = None if ground is None else len(H36M17.joints)
    joints = checks.array("joints_m", joints_m, (count, 3), f"({count or 'joints'}, 3)")
    count = len(joints)
    seen = checks.array("pixels", pixels, (count, 2), f"({count}, 2), as many as joints_m")
    weights = checks.array("confidence", confidence, (count,), f"({count},), as many as joints_m")
    weights = np.nan_to_num(weights, nan=1.0)
    rays = camera.rays(seen)  # where a lens cannot be inverted, there is none
    known = np.isfinite(joints).all(-1) & np.isfinite(rays).all(-1) & (weights > 0)
    if known.sum() < FEWEST_JOINTS:
        return None
    solution = _shift(joints[known], rays[known], weights[known], camera)
    if solution is None:
        return None
    root, noise, error_px = solution
    noise = noise + (spread.sideways * np.linalg.norm(root)) ** 2 * _across(root)
    if ground is None:
        covariance = noise + spread.depth**2 * np.outer(root, root)
        return Placement(root, 1.0, covariance, error_px)
    feet = [joint for joint in _ANKLES if known[joint]]
    below_m = max((-ground.up @ (root + joints[joint]) for joint in feet), default=0.0)
    wanted_m = ground.camera_height_m - ANKLE_HEIGHT_M
    if not SCALES[0] * below_m <= wanted_m <= SCALES[1] * below_m or below_m <= 0:
        return None
    scale = wanted_m / below_m
    of_scale = (ANKLE_SPREAD_M**2 + scale**2 * ground.up @ noise @ ground.up) / wanted_m**2
    root, noise = scale * root, scale**2 * noise
    return Placement(root, scale, noise + of_scale * np.outer(root, root), error_px)


def at_range(found: Placement, range_m: float) -> Placement | None:
    """Move somebody along the line of sight to their pelvis, to where a radar has measured them.

    Parameters
    ----------
    found : Placement
        Of a shape whose origin is the pelvis, without a ground.
    range_m : float
        From the camera to what returns most strongly.

    Returns
    -------
    Placement or None
        Of the same scale. None if the range is that of something else: if it is not `SCALES` of
        the distance that is known.
    """
    distance_m = float(np.linalg.norm(found.root_m))
    wanted_m = range_m + PELVIS_BEHIND_M
    if not SCALES[0] * distance_m <= wanted_m <= SCALES[1] * distance_m:
        return None
    ratio, across = wanted_m / distance_m, _across(found.root_m)
    return replace(
        found,
        root_m=ratio * found.root_m,
        covariance_m2=ratio**2 * across @ found.covariance_m2 @ across
        + RANGE_SPREAD_M**2 * (np.eye(3) - across),
    )


def _across(root: np.ndarray) -> np.ndarray:
    """Return what takes away the part of a vector along the line of sight, (3, 3)."""
    return np.eye(3) - np.outer(root, root) / (root @ root)


def _shift(
    joints: np.ndarray, rays: np.ndarray, weights: np.ndarray, camera: Intrinsics
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Return the shift (3,), its covariance by the pixels' errors, and their size."""
    focal = np.array(camera.focal_px)
    share = np.sqrt(weights / weights.mean())[:, None]
    linear = _equations(rays) * share[..., None]
    wanted = (rays * joints[:, 2:] - joints[:, :2]) * share
    root, _, rank, _ = np.linalg.lstsq(linear.reshape(-1, 3), wanted.reshape(-1), rcond=1e-9)
    if rank < 3:
        return None
    for _ in range(_STEPS):
        points = joints + root
        depth = points[:, 2:]
        if depth.min() < NEAREST_M:
            return None
        predicted = points[:, :2] / depth
        left = focal * (rays - predicted)  # px
        slopes = (_equations(predicted) * (focal * share / depth)[..., None]).reshape(-1, 3)
        root = root + np.linalg.lstsq(slopes, (share * left).reshape(-1), rcond=None)[0]
    variance = ((share * left) ** 2).sum() / (left.size - 3)
    variance = max(variance, (PIXEL_SPREAD * camera.size_px[0]) ** 2)
    covariance = variance * np.linalg.inv(slopes.T @ slopes)
    if covariance[2, 2] > (LARGEST_SPREAD * root[2]) ** 2:
        return None
    return root, covariance, float(np.sqrt((left**2).sum(1).mean()))


def _equations(rays: np.ndarray) -> np.ndarray:
    """Return how far a shift moves points at depth 1 beside their rays, (n, 2, 3)."""
    rows = np.zeros((len(rays), 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = 1.0
    rows[:, :, 2] = -rays
    return rows
