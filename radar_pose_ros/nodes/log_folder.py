"""Where ROS writes its logs: it does not begin without a folder for them."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "ROS_LOG_DIR"


def provide_log_folder(environment: MutableMapping[str, str]) -> None:
    """Name a temporary folder in the variables where the usual one cannot be written to."""
    if environment.get(VARIABLE):
        return
    usual = Path(environment.get("ROS_HOME") or "~/.ros").expanduser() / "log"
    try:
        usual.mkdir(parents=True, exist_ok=True)
        if os.access(usual, os.W_OK):
            return
    except OSError:
        pass
    folder = Path(tempfile.gettempdir()) / f"ros_log_{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():  # somebody else's
        folder = Path(tempfile.mkdtemp(prefix="ros_log_"))
    environment[VARIABLE] = str(folder)
