"""How a program of nodes begins and ends, so that it ends at once when it is asked to.

Importing takes seconds, much of it inside of libraries where Python cannot listen to signals; and
so does taking an interpreter apart that has imported so much. Standard library only, so that every
program can import it first.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_USAGE = 2  # the exit code of a program that was called wrongly: starting it again is no use
RESTARTED = "RADAR_POSE_RESTARTED"  # set in a process that takes the place of one that ended


def die_when_asked() -> None:
    """Let SIGINT and SIGTERM end this process at once: as yet it has nothing to say goodbye to."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def run_and_leave(main: Callable[[], int]) -> NoReturn:
    """Run a program and end the process with its exit code, without taking everything apart."""
    gc.freeze()  # what was imported stays: looking through it at the end would take long
    code = main()
    gc.collect()  # the middleware frees its shared memory when nobody knows its objects any more
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
