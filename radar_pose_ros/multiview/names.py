"""Which camera is meant: names of videos, keypoints and offsets beside those of a calibration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from radar_pose_ros.vision.camera import PinholeCamera


def plain(name: str) -> str:
    """Return what counts of a camera's name: letters and digits, numbers without leading zeros."""
    unpadded = re.sub(r"\d+", lambda found: str(int(found[0])), name.lower())
    return re.sub(r"[\W_]", "", unpadded)


def pair(
    names: Sequence[str], cameras: Mapping[str, PinholeCamera], where: str, in_order: bool = False
) -> dict[str, str]:
    """Return which camera of a calibration each name means.

    Parameters
    ----------
    names : sequence of str
    cameras : mapping of str to PinholeCamera
    where : str
        What errors call the calibration.
    in_order : bool
        Whether as many cameras, none of which is called alike, belong together in the order of
        their names, as Pose2Sim has it.

    Raises
    ------
    ValueError
        If a name is that of no camera, or of several, or two names are of the same one.
    """
    made: dict[str, str] = {}
    for name in names:
        alike = [camera for camera in cameras if plain(camera) == plain(name)]
        chosen = [name] if name in cameras else alike
        if len(chosen) == 1:
            made[name] = chosen[0]
    if in_order and not made and len(names) == len(cameras):
        return dict(zip(sorted(names), sorted(cameras), strict=True))
    missing = [name for name in names if name not in made]
    if missing:
        raise ValueError(
            f"{where}: no camera of the name {', '.join(missing)}; there are {', '.join(cameras)}"
        )
    if len({*made.values()}) != len(made):
        pairs = ", ".join(f"{name} is {camera}" for name, camera in made.items())
        raise ValueError(f"{where}: a camera has two names: {pairs}")
    return made
