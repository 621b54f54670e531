"""Names in the file system for pseudo-terminals, on which emulated ports lie."""

from __future__ import annotations

import os
from pathlib import Path

TERMINALS = "/dev/pts/"


def link_to_terminal(link: Path, terminal: str) -> None:
    """Let a symbolic link name a pseudo-terminal.

    Raises
    ------
    FileExistsError
        If there is something else of that name than such a link.
    """
    if link.is_symlink() and os.readlink(link).startswith(TERMINALS):
        link.unlink()
    if os.path.lexists(link):
        raise FileExistsError(f"{link} exists and is not a link to an emulated port")
    link.symlink_to(terminal)
