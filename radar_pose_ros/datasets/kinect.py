"""The joints of Kinect for Windows V2 as data sets name them: "HandTipLeft"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17, KINECT25


def _spelled(joint: str) -> str:
    """Return Kinect's spelling of a joint: "left_hand_tip" becomes "HandTipLeft"."""
    words = joint.split("_")
    if words[0] in ("left", "right"):
        words = [*words[1:], words[0]]
    return "".join(word.capitalize() for word in words)


JOINT_NAMES = tuple(_spelled(joint) for joint in KINECT25.joints)


def to_h36m17(joints_m: np.ndarray, names: Sequence[str], where: str) -> np.ndarray:
    """Map Kinect's joints to Human3.6M's.

    Parameters
    ----------
    joints_m : ndarray, shape (..., 25, 3)
    names : sequence of str
        Kinect's names of these joints, in any order.
    where : str
        What the error names.

    Returns
    -------
    ndarray, shape (..., 17, 3)

    Raises
    ------
    ValueError
        If the names are not those of the 25 joints, or there are not so many joints.
    """
    given = [str(name) for name in np.atleast_1d(np.asarray(names))]
    if sorted(given) != sorted(JOINT_NAMES):
        raise ValueError(f"{where}: its joints are not the 25 of Kinect V2")
    if joints_m.ndim < 2 or joints_m.shape[-2:] != (len(given), 3):
        raise ValueError(f"{where}: want (..., {len(given)}, 3) joints, got {joints_m.shape}")
    order = [given.index(name) for name in JOINT_NAMES]
    return mapping.convert(joints_m[..., order, :], KINECT25.name, H36M17.name)
