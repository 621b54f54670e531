"""Frees what processes that were killed left in shared memory: nobody else does.

Fast DDS keeps a segment of megabytes per process in ``/dev/shm``, and a file beside it, locked for
as long as the process lives. A process that ends in order removes both. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import time
from pathlib import Path

FOLDER = Path("/dev/shm")  # nosec B108 # where the middleware has its files
LOCK = re.compile(r"(fastdds_[0-9a-f]{16})_el")
BEING_MADE_S = 5.0  # a lock that young may be about to be taken [choice]


def free_abandoned(folder: Path = FOLDER) -> int:
    """Remove the segments of processes that are no more; return how many bytes that freed.

    Those of other users stay.
    """
    freed = 0
    for lock in folder.glob("fastdds_*_el"):
        found = LOCK.fullmatch(lock.name)
        with contextlib.suppress(OSError):  # gone meanwhile, held, or somebody else's
            if found is None or time.time() - lock.stat().st_mtime < BEING_MADE_S:
                continue
            segment = folder / found[1]
            with lock.open("rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                size = segment.stat().st_size if segment.exists() else 0
                segment.unlink(missing_ok=True)
                lock.unlink()
                freed += size
    return freed
