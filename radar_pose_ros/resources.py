"""Where the package's data files are: beside the sources, or in an installation's share folder."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = "radar_pose_ros"


def share_directory() -> Path:
    """Return the folder that holds ``config/``, ``launch/`` and ``weights/``.

    It is the source tree where the package is run from one (or linked into a workspace), else
    ``<prefix>/share/radar_pose_ros`` of the first prefix in ``AMENT_PREFIX_PATH`` that has it.

    Raises
    ------
    FileNotFoundError
        If there is neither: says where it looked.
    """
    sources = Path(__file__).resolve().parents[1]
    if (sources / "package.xml").is_file() and (sources / "config").is_dir():
        return sources
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    # <prefix>/lib/python3.x/site-packages/radar_pose_ros/resources.py
    prefixes += list(Path(__file__).resolve().parents)[4:5]
    for prefix in prefixes:
        share = prefix / "share" / PACKAGE
        if (share / "config").is_dir():
            return share
    looked_in = ", ".join(str(p) for p in (sources, *prefixes))
    raise FileNotFoundError(
        f"no data files of {PACKAGE} in any of {looked_in}: source the workspace's setup.bash"
    )


def find(*parts: str) -> Path:
    """Return the path of a data file, for example ``find("config", "iwr1843.cfg")``.

    Raises
    ------
    FileNotFoundError
        If the file is not part of the package's data.
    """
    path = share_directory().joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(
            f"{PACKAGE} has no data file {os.path.join(*parts)} in {path.parent}"
        )
    return path


def resolve(text: str, folder: str) -> Path:
    """Return the file that a user means: an existing path, else a name in a data folder.

    Raises
    ------
    FileNotFoundError
        If it is neither.
    """
    path = Path(text).expanduser()
    if path.is_file():
        return path
    candidate = share_directory() / folder / text
    if candidate.is_file():
        return candidate
    raise FileNotFoundError(
        f"there is no file {text!r}, nor one of that name in {candidate.parent}"
    )
