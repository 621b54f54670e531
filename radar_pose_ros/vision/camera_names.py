"""Which camera is meant: names of files, folders and views beside those of a calibration.

One camera is "cam1" in one program's files and "Cam_01" in another's. A name means the camera that
is called exactly so; where there is none, the one whose name has the same letters and digits:
case, separators and leading zeros do not count. Where these are several, nobody can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def plain(name: str) -> str:
    """Return what counts of a camera's name: letters and digits, numbers without leading zeros."""
    unpadded = re.sub(r"\d+", lambda found: str(int(found[0])), name.lower())
    return re.sub(r"[\W_]", "", unpadded)


def find(name: str, cameras: Iterable[str], where: str) -> str | None:
    """Return which of some cameras a name means; None if it is none of them.

    Parameters
    ----------
    name : str
    cameras : iterable of str
        Their names.
    where : str
        What errors call the place that they are from.

    Raises
    ------
    ValueError
        If it may be several.
    """
    known = list(dict.fromkeys(cameras))
    if name in known:
        return name
    alike = [camera for camera in known if plain(camera) == plain(name)]
    if len(alike) > 1:
        raise ValueError(f"{where}: {name} may be {' or '.join(alike)}: call it like one of them")
    return alike[0] if alike else None


def pair(
    names: Sequence[str], cameras: Iterable[str], where: str, in_order: bool = False
) -> dict[str, str]:
    """Return which camera each name means.

    Parameters
    ----------
    names : sequence of str
    cameras : iterable of str
        Their names.
    where : str
        What errors call the place that they are from.
    in_order : bool
        Whether as many cameras, none of which is called alike, belong together in the order of
        their names, as Pose2Sim has it.

    Raises
    ------
    ValueError
        If a name is that of no camera, or may be several's, or two names are of the same one.
    """
    cameras = list(cameras)
    found = {name: find(name, cameras, where) for name in names}
    made = {name: camera for name, camera in found.items() if camera is not None}
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
