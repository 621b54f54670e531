"""Finds ROS for a process: the one that was sourced, or the one that ``make`` built.

On a robot nothing happens here: ``setup.bash`` was sourced and everything is importable. On a
machine without a ROS installation the repository holds two prefixes, the virtual environment with
the ROS 2 wheels and the workspace ``.ws/install`` with this package's messages. The dynamic loader
reads its path once, when a process starts: so the process sets its environment and starts itself
again, once.

Standard library only, so that every command can import it first.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Mapping, MutableMapping
from importlib.util import find_spec
from pathlib import Path

SOURCE_ROOT = Path(__file__).resolve().parents[1]
RESTARTED = "_RADAR_POSE_ROS_RESTARTED"
"""Set in a process that has started itself again, so that it does so once at the most."""

WHEELS_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"
"""Set where the library path holds the wheels' libraries; their start-up hook looks at it."""


class RosNotFoundError(RuntimeError):
    """There is no ROS to use; the message says what to do."""


def ros_is_ready() -> bool:
    """Whether ``rclpy`` and this package's generated messages can be found by this process."""
    return find_spec("rclpy") is not None and find_spec("radar_pose_ros.msg") is not None


def underlay_environment(prefix: Path, libraries: Path) -> dict[str, str]:
    """Return the variables that make a virtual environment with ROS 2 wheels a ROS prefix.

    Parameters
    ----------
    prefix : Path
        The virtual environment.
    libraries : Path
        Its ``site-packages``, where the wheels keep the libraries that they were linked against.

    Returns
    -------
    dict of str to str
        Variables to set. ``PATH``-like ones hold only what is to be put in front.
    """
    bundled = sorted(str(folder) for folder in libraries.glob("ros_*.libs"))
    return {
        "AMENT_PREFIX_PATH": str(prefix),
        "CMAKE_PREFIX_PATH": str(prefix),
        "LD_LIBRARY_PATH": os.pathsep.join([str(prefix / "lib"), *bundled]),
        "PATH": str(prefix / "bin"),
        # In front of another ROS that may have been sourced, whose rclpy is for another Python.
        "PYTHONPATH": str(libraries),
        "ROS_DISTRO": "kilted",
        "ROS_PYTHON_VERSION": "3",
        "ROS_VERSION": "2",
        WHEELS_GUARD: "1",
    }


def workspace_environment(root: Path, python_version: tuple[int, int]) -> dict[str, str]:
    """Return the variables of the workspace that ``make build`` fills, all of them ``PATH``-like.

    Parameters
    ----------
    root : Path
        The repository.
    python_version : (int, int)
        Major and minor version of the Python that the messages were generated for.
    """
    packages = sorted(
        folder.parent.parent for folder in (root / ".ws" / "install").glob("*/share/ament_index")
    )
    site_packages = f"lib/python{python_version[0]}.{python_version[1]}/site-packages"
    # The repository stands in front, so that an edit is seen without another build.
    python_path = [str(root), *(str(package / site_packages) for package in packages)]
    return {
        "AMENT_PREFIX_PATH": os.pathsep.join(map(str, packages)),
        "LD_LIBRARY_PATH": os.pathsep.join(str(package / "lib") for package in packages),
        "PYTHONPATH": os.pathsep.join(python_path),
    }


def prepend(environment: MutableMapping[str, str], variables: Mapping[str, str]) -> None:
    """Put `variables` into `environment`: in front of ``PATH``-like ones, over all others.

    Entries that are there already move to the front, so doing it twice changes nothing.
    """
    for name, value in variables.items():
        if name == "PATH" or name.endswith("_PATH") or name == "PYTHONPATH":
            new = [part for part in value.split(os.pathsep) if part]
            old = [part for part in environment.get(name, "").split(os.pathsep) if part]
            value = os.pathsep.join(new + [part for part in old if part not in new])
        environment[name] = value


def local_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return `base` with the repository's own ROS in front.

    Raises
    ------
    RosNotFoundError
        If this Python has no ROS 2 wheels, or the workspace is not built.
    """
    prefix = Path(sys.prefix)
    if not (prefix / "share" / "rclpy" / "package.xml").is_file():
        raise RosNotFoundError(
            "ROS 2 is not here: source a ROS installation and this package's workspace "
            f"(`. install/setup.bash`), or run `make build` in {SOURCE_ROOT} and use its .venv."
        )
    if not (SOURCE_ROOT / ".ws/install/radar_pose_ros/share/radar_pose_ros").is_dir():
        raise RosNotFoundError(f"The messages are not built: run `make build` in {SOURCE_ROOT}.")
    environment = dict(base)
    environment.pop("RMW_IMPLEMENTATION", None)  # the wheels bring Fast DDS and no other
    # What another such environment left would hide this one's libraries.
    if environment.pop(WHEELS_GUARD, None):
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(
            part
            for part in environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)
            if part and not part.endswith(".libs")
        )
    prepend(environment, underlay_environment(prefix, Path(site.getsitepackages()[0])))
    prepend(environment, workspace_environment(SOURCE_ROOT, sys.version_info[:2]))
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return environment


def ensure_ros_environment() -> None:
    """Return if ROS can be used; else start this process again in an environment where it can.

    Call it first in a program's ``main``, before anything from ROS is imported.

    Raises
    ------
    RosNotFoundError
        If there is neither a sourced ROS nor one that ``make build`` made.
    """
    if ros_is_ready():
        return
    if os.environ.get(RESTARTED):
        raise RosNotFoundError(
            f"ROS 2 is in {sys.prefix} but cannot be imported: run `make clean build` "
            f"in {SOURCE_ROOT}."
        )
    environment = local_environment(os.environ)
    environment[RESTARTED] = "1"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
