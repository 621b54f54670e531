"""Where frames are in each other: transforms that chain, as tf2 has them.

Each frame is given in one other frame, its parent; those of one tree can be expressed in each
other. The newest transform counts, whatever its stamp: what is asked here stands still.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

MOST_FRAMES = 4096  # names may be without end
_UNIT = 1e-3  # by so much the length of a quaternion may differ from 1


class Placement(NamedTuple):
    """Where a frame is in another one: ``x_other = rotation x_frame + translation_m``.

    Attributes
    ----------
    rotation : ndarray of float64, shape (3, 3)
    translation_m : ndarray of float64, shape (3,)
        Where its origin is.
    """

    rotation: np.ndarray
    translation_m: np.ndarray

    def then(self, other: Placement) -> Placement:
        """Return where the frame is in the frame that ``other`` places its parent in."""
        return Placement(
            other.rotation @ self.rotation,
            other.rotation @ self.translation_m + other.translation_m,
        )

    @property
    def inverse(self) -> Placement:
        """Where the other frame is in this one."""
        return Placement(self.rotation.T, -self.rotation.T @ self.translation_m)


HERE = Placement(np.eye(3), np.zeros(3))


def placement(translation_m: Sequence[float], quaternion: Sequence[float]) -> Placement:
    """Return a placement.

    Parameters
    ----------
    translation_m : sequence of float
        x, y, z.
    quaternion : sequence of float
        x, y, z, w, in the messages' order, of length 1.

    Raises
    ------
    ValueError
        If a number is not finite, or the quaternion has another length.
    """
    values = np.array([*translation_m, *quaternion], np.float64)
    length = float(np.linalg.norm(values[3:]))
    if values.shape != (7,) or not np.isfinite(values).all() or abs(length - 1) > _UNIT:
        raise ValueError(
            "want a translation of three metres and a quaternion of length 1, got "
            f"{values.tolist()}"
        )
    return Placement(Rotation.from_quat(values[3:]).as_matrix(), values[:3])


def placed(transform: Any) -> tuple[str, str, Placement]:
    """Return parent, child, and where the child is in its parent, of a TransformStamped.

    Names are without the slash that they began with in ROS 1.

    Raises
    ------
    ValueError
        If it is no transform, as `placement` has it.
    """
    shift, turn = transform.transform.translation, transform.transform.rotation
    where = placement((shift.x, shift.y, shift.z), (turn.x, turn.y, turn.z, turn.w))
    parent, child = transform.header.frame_id, transform.child_frame_id
    return parent.lstrip("/"), child.lstrip("/"), where


class FrameTree:
    """Frames and their parents."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Placement]] = {}

    def put(self, parent: str, child: str, where: Placement) -> None:
        """Place a frame in its parent; a placement that was told before is replaced.

        Raises
        ------
        ValueError
            If a name is empty, both are the same, the parent is below its child, or there are
            too many frames.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            raise ValueError(f"want two different frames, got {parent!r} and {child!r}")
        if child in self._up(parent):
            raise ValueError(f"{child!r} cannot be in {parent!r}, which is in it")
        if child not in self._parents and len(self._parents) >= MOST_FRAMES:
            raise ValueError(f"more than {MOST_FRAMES} frames")
        self._parents[child] = parent, where

    def put_all(self, transforms: Iterable[Any]) -> dict[str, str]:
        """Place the children of TransformStamped messages, but for those that are no good.

        Returns
        -------
        dict of str to str
            Of each child that was left out, what is wrong with it.
        """
        faults = {}
        for transform in transforms:
            try:
                self.put(*placed(transform))
            except ValueError as error:
                faults[str(transform.child_frame_id)] = str(error)
        return faults

    def where(self, frame: str, other: str) -> Placement:
        """Return where a frame is in another one.

        Parameters
        ----------
        frame, other : str

        Returns
        -------
        Placement
            Maps coordinates in ``frame`` to those in ``other``.

        Raises
        ------
        ValueError
            If one of them was never told of, or nothing connects them.
        """
        ways = []
        for name in (frame.lstrip("/"), other.lstrip("/")):
            if not self._is_known(name):
                raise ValueError(f"there is no frame {name!r}")
            ways.append(self._up(name))
        shared = next((name for name in ways[0] if name in ways[1]), None)
        if shared is None:
            raise ValueError(f"nothing connects the frames {frame!r} and {other!r}")
        return ways[0][shared].then(ways[1][shared].inverse)

    def _is_known(self, name: str) -> bool:
        return name in self._parents or any(p == name for p, _ in self._parents.values())

    def _up(self, name: str) -> dict[str, Placement]:
        """Return the frames above this one, itself first, and where it is in each."""
        found, here = {name: HERE}, HERE
        while name in self._parents:
            name, step = self._parents[name]
            found[name] = here = here.then(step)
        return found
