"""Whether the middleware is set up for messages as large as a frame of raw samples."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from radar_pose_ros import resources

DEFAULT_SEGMENT_BYTES = 512 * 1024
SHARED_MEMORY_BYTES = 256 * 2**20  # for the segments of all processes of a graph
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def profile(shared_memory: str = "/dev/shm") -> Path:  # nosec B108 # only looks
    """Return the profile for every process of a graph, by the room there is for its segments.

    A process without room for its segment sends and receives by UDP alone, and loses what is
    large.
    """
    try:
        room = shutil.disk_usage(shared_memory).free
    except OSError:
        room = 0
    large = room >= SHARED_MEMORY_BYTES
    return resources.find("config", f"fastdds_{'large_messages' if large else 'little_room'}.xml")


def segment_bytes(environment: Mapping[str, str]) -> float:
    """Return the largest message that Fast DDS carries through shared memory, in bytes.

    Infinite where another middleware or Fast DDS's own mode for large data is chosen: the limit is
    that of Fast DDS's default transports alone.
    """
    if "fastrtps" not in environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        return float("inf")
    if environment.get("FASTDDS_BUILTIN_TRANSPORTS", "").startswith("LARGE_DATA"):
        return float("inf")
    for variable in PROFILE_VARIABLES:
        path = Path(environment.get(variable, ""))
        if path.is_file():
            text = path.read_text("utf-8", errors="replace")
            sizes = re.findall(r"<segment_size>\s*(\d+)\s*</segment_size>", text)
            return float(max(map(int, sizes), default=DEFAULT_SEGMENT_BYTES))
    return float(DEFAULT_SEGMENT_BYTES)


def large_message_warning(message_bytes: int, environment: Mapping[str, str]) -> str:
    """Return one sentence with the cure if messages of that size get lost, else ``""``."""
    limit = segment_bytes(environment)
    if message_bytes <= limit:
        return ""
    return (
        f"messages of {message_bytes} bytes do not fit into Fast DDS's shared-memory segment of "
        f"{limit:.0f} bytes and get lost on the way to best-effort readers: in every process set "
        f"{PROFILE_VARIABLES[0]} to the package's config/fastdds_large_messages.xml"
    )
