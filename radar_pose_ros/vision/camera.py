"""The pinhole camera: where it is, how its lens bends, pixels from points and rays from pixels.

The camera's optical frame has z forward, x right and y down (REP-103). Lens distortion is
OpenCV's (Brown and Conrady's five coefficients, or eight with the rational model).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

DISTORTIONS = (0, 4, 5, 8)  # numbers of coefficients that are understood
LENS_MODELS = ("plumb_bob", "rational_polynomial")  # of ROS; "" counts as the first
LARGEST_ERROR_PX = 1e-6  # of a pixel that was undistorted and distorted again
_STEPS = 30  # of Newton; a usual lens needs four


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
    distortion : tuple of float
        OpenCV's k1, k2, p1, p2, then k3, then k4, k5, k6: so 0, 4, 5 or 8 numbers; all zero is a
        perfect lens.

    Raises
    ------
    ValueError
        If ``rotation`` is none, a number is not finite, a focal length or size is not positive, or
        there are not so many coefficients.
    """

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    size_px: tuple[int, int]
    rotation: np.ndarray
    position_m: np.ndarray
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        rotation = np.asarray(self.rotation, np.float64)
        position = np.asarray(self.position_m, np.float64)
        proper = rotation.shape == (3, 3) and np.allclose(
            rotation @ rotation.T, np.eye(3), atol=1e-6
        )
        if not proper or np.linalg.det(rotation) < 0:
            raise ValueError(f"want a rotation matrix of 3 x 3, got {rotation.tolist()}")
        if position.shape != (3,) or not np.isfinite(position).all():
            raise ValueError(f"want a position of three metres, got {position.tolist()}")
        if not np.isfinite((*self.focal_px, *self.size_px)).all() or (
            min(*self.focal_px, *self.size_px) <= 0
        ):
            raise ValueError(
                f"focal lengths and size must be positive, got {self.focal_px} and {self.size_px}"
            )
        if not np.isfinite((*self.centre_px, *self.distortion)).all():
            raise ValueError(
                "principal point and distortion must be finite, got "
                f"{self.centre_px} and {self.distortion}"
            )
        if len(self.distortion) not in DISTORTIONS:
            raise ValueError(
                f"distortion must have {', '.join(map(str, DISTORTIONS))} coefficients, got "
                f"{len(self.distortion)}"
            )
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "position_m", position)

    @classmethod
    def from_matrix(
        cls,
        matrix: ArrayLike,
        rotation: ArrayLike,
        translation_m: ArrayLike,
        size_px: tuple[int, int],
        distortion: ArrayLike = (),
    ) -> PinholeCamera:
        """Return the camera with ``x_camera = R x_world + t`` and pixels by a matrix K.

        Parameters
        ----------
        matrix : array_like, shape (3, 3)
            K, in pixels: ``[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]``.
        rotation : array_like, shape (3, 3)
            R, from the world's axes to the optical frame's.
        translation_m : array_like, shape (3,)
            t: the world's origin in the optical frame. It is not the camera's position, which is
            ``-R^T t``.
        size_px : (int, int)
            Width and height of the image.
        distortion : array_like, shape (0,), (4,), (5,) or (8,)
            As OpenCV orders it.

        Raises
        ------
        ValueError
            If the matrix is all zero, as in the CameraInfo of a camera that was never calibrated,
            is of another form, or one of the others is refused by the class.
        """
        values = np.asarray(matrix, np.float64)
        turn = np.asarray(rotation, np.float64)
        shift = np.asarray(translation_m, np.float64)
        if values.shape != (3, 3):
            raise ValueError(f"want a camera matrix of 3 x 3, got {values.tolist()}")
        if not values.any():
            raise ValueError(
                "the camera matrix is all zero: a CameraInfo says so that the camera is not "
                "calibrated"
            )
        expected = [[values[0, 0], 0, values[0, 2]], [0, values[1, 1], values[1, 2]], [0, 0, 1]]
        if not np.allclose(values, expected, atol=1e-9):
            raise ValueError(
                "want a camera matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], got "
                f"{values.tolist()}"
            )
        if shift.shape != (3,):
            raise ValueError(f"want a translation of three metres, got {shift.tolist()}")
        if turn.shape != (3, 3):
            raise ValueError(f"want a rotation matrix of 3 x 3, got {turn.tolist()}")
        return cls(
            focal_px=(float(values[0, 0]), float(values[1, 1])),
            centre_px=(float(values[0, 2]), float(values[1, 2])),
            size_px=size_px,
            rotation=turn,
            position_m=-turn.T @ shift,
            distortion=tuple(np.asarray(distortion, np.float64).ravel().tolist()),
        )

    @classmethod
    def from_camera_info(cls, message: Any) -> PinholeCamera:
        """Return the camera of a CameraInfo, at the origin; rectification is not looked at.

        Parameters
        ----------
        message : object
            With the fields of sensor_msgs/CameraInfo as attributes.

        Raises
        ------
        ValueError
            If the lens model is another one, such as that of a fisheye, whose coefficients mean
            something else; if the image is binned or a part of the sensor's; or as `from_matrix`.
        """
        if message.distortion_model not in ("", *LENS_MODELS):
            raise ValueError(
                f"lens model {message.distortion_model!r}, known are {', '.join(LENS_MODELS)}"
            )
        size_px = int(message.width), int(message.height)
        part_px = int(message.roi.width), int(message.roi.height)
        if max(message.binning_x, message.binning_y) > 1 or part_px not in ((0, 0), size_px):
            raise ValueError("image with binning or of a part only, want the whole sensor's")
        matrix = np.reshape(message.k, (3, 3))
        return cls.from_matrix(matrix, np.eye(3), np.zeros(3), size_px, message.d)

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

    @property
    def matrix(self) -> np.ndarray:
        """K, shape (3, 3), in pixels."""
        (fx, fy), (cx, cy) = self.focal_px, self.centre_px
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    @cached_property
    def with_perfect_lens(self) -> PinholeCamera:
        """The same camera without distortion: what `undistort` makes pixels of."""
        return replace(self, distortion=()) if any(self.distortion) else self

    @property
    def translation_m(self) -> np.ndarray:
        """t of ``x_camera = R x_world + t``: the world's origin in the optical frame, (3,)."""
        return -self.rotation @ self.position_m

    @property
    def projection_matrix(self) -> np.ndarray:
        """``K [R | t]``, shape (3, 4): from world points to pixels without distortion."""
        return self.matrix @ np.column_stack([self.rotation, self.translation_m])

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
            u to the right, v downwards; NaN for NaN points, for points that are not in front of
            the camera, and for those so far off its axis that the formula of its lens folds back,
            into the image or anywhere. Points outside of the image keep their true coordinates.
        """
        points = self.to_camera(points_m)
        depth = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
        seen = points[..., :2] / depth
        if any(self.distortion):
            with np.errstate(all="ignore"):  # what overflows is folded back, too
                seen, slopes = _distort(seen, self.distortion)
                seen = np.where(_unfolded(slopes)[..., None], seen, np.nan)
        return seen * self.focal_px + self.centre_px

    def undistort(self, pixels: ArrayLike) -> np.ndarray:
        """Return where a perfect lens would have put what is seen at these pixels.

        Newton's method on OpenCV's formula, to `LARGEST_ERROR_PX`.

        Parameters
        ----------
        pixels : array_like, shape (..., 2)
            In the image as it was taken.

        Returns
        -------
        ndarray, shape (..., 2)
            For the same focal lengths and principal point. NaN for NaN, and where no ray belongs
            to the pixel: far outside of the image a lens with a negative k1 reaches no further.
        """
        seen = np.asarray(pixels, np.float64)
        if not any(self.distortion):
            return seen.copy()
        wanted = (seen - self.centre_px) / self.focal_px
        flat = wanted.copy()
        with np.errstate(all="ignore"):  # what does not converge is NaN below
            for _ in range(_STEPS):
                bent, slopes = _distort(flat, self.distortion)
                flat = flat + _solve(slopes, wanted - bent)
                if not (np.abs(wanted - bent) > 1e-15).any():
                    break
            bent, slopes = _distort(flat, self.distortion)
            left_px = np.abs((wanted - bent) * self.focal_px).max(-1)
            good = (left_px <= LARGEST_ERROR_PX) & _unfolded(slopes)
        return np.where(good[..., None], flat, np.nan) * self.focal_px + self.centre_px

    def ray(self, pixels: ArrayLike) -> np.ndarray:
        """Return the directions, of length 1 and in the world's axes, in which pixels look.

        Parameters
        ----------
        pixels : array_like, shape (..., 2)
            In the image as it was taken.

        Returns
        -------
        ndarray, shape (..., 3)
            From ``position_m``; NaN where `undistort` is.
        """
        flat = (self.undistort(pixels) - self.centre_px) / self.focal_px
        ahead = np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], axis=-1)
        directions = ahead @ self.rotation
        return directions / np.linalg.norm(ahead, axis=-1, keepdims=True)

    def sees(self, points_m: ArrayLike) -> np.ndarray:
        """Return whether each point lies in the image, shape ``(...)``; False for NaN."""
        pixels = self.project(points_m)
        return np.asarray(((pixels >= 0) & (pixels <= self.size_px)).all(-1))


def _distort(points: np.ndarray, distortion: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return points at depth 1, (..., 2), as the lens bends them, and the slopes (..., 2, 2).

    OpenCV, calib3d: ``x (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6) +
    2 p1 x y + p2 (r^2 + 2 x^2)``, and y alike.
    """
    k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion, *[0.0] * (8 - len(distortion)))
    x, y = points[..., 0], points[..., 1]
    r2 = x**2 + y**2
    above = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = above / below
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
    v = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    # By r2; r2 itself changes by 2 x and 2 y.
    growth = (k1 + r2 * (2 * k2 + 3 * k3 * r2) - radial * (k4 + r2 * (2 * k5 + 3 * k6 * r2))) / (
        below
    )
    across = 2 * x * y * growth + 2 * p1 * x + 2 * p2 * y
    slopes = np.empty((*points.shape, 2))
    slopes[..., 0, 0] = radial + 2 * x**2 * growth + 2 * p1 * y + 6 * p2 * x
    slopes[..., 1, 1] = radial + 2 * y**2 * growth + 6 * p1 * y + 2 * p2 * x
    slopes[..., 0, 1] = slopes[..., 1, 0] = across
    return np.stack([u, v], axis=-1), slopes


def _unfolded(slopes: np.ndarray) -> np.ndarray:
    """Return where the lens keeps left, right, up and down as they are, shape (...)."""
    return np.asarray((slopes[..., 0, 0] > 0) & (_determinant(slopes) > 0))


def _determinant(slopes: np.ndarray) -> np.ndarray:
    return np.asarray(
        slopes[..., 0, 0] * slopes[..., 1, 1] - slopes[..., 0, 1] * slopes[..., 1, 0]
    )


def _solve(slopes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return what the slopes (..., 2, 2) map to the values (..., 2); NaN where they are flat."""
    determinant = _determinant(slopes)
    (a, b), (c, d) = np.moveaxis(slopes, (-2, -1), (0, 1))
    x, y = values[..., 0], values[..., 1]
    return np.stack([d * x - b * y, a * y - c * x], axis=-1) / determinant[..., None]
