"""Whether large messages get through."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from radar_pose_ros import resources
from radar_pose_ros.nodes.transport import large_message_warning, profile, segment_bytes

FRAME_BYTES = 1_572_864


def test_defaults_are_too_small() -> None:
    assert segment_bytes({}) == 524_288
    warning = large_message_warning(FRAME_BYTES, {})
    assert "1572864 bytes" in warning
    assert "FASTDDS_DEFAULT_PROFILES_FILE" in warning


@pytest.mark.parametrize(("name", "mib"), [("large_messages", 16), ("little_room", 4)])
def test_the_shipped_profiles_are_large_enough(name: str, mib: int) -> None:
    path = resources.find("config", f"fastdds_{name}.xml")
    environment = {"FASTDDS_DEFAULT_PROFILES_FILE": str(path)}
    assert segment_bytes(environment) == mib * 1024 * 1024
    assert large_message_warning(FRAME_BYTES, environment) == ""
    # else Fast DDS refuses to use shared memory
    (largest,) = re.findall(r"<maxMessageSize>(\d+)<", path.read_text())
    assert int(largest) <= segment_bytes(environment)


@pytest.mark.parametrize(("free_mib", "name"), [(255, "little_room"), (256, "large_messages")])
def test_the_profile_fits_into_the_shared_memory(
    free_mib: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's 64 MiB hold a dozen segments of 4 MiB, and three of 16."""
    usage = SimpleNamespace(free=free_mib * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert profile().name == f"fastdds_{name}.xml"


def test_without_shared_memory_there_is_little_room(tmp_path: Path) -> None:
    assert profile(str(tmp_path / "none")).name == "fastdds_little_room.xml"


def test_a_profile_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    environment = {"FASTDDS_DEFAULT_PROFILES_FILE": str(tmp_path / "none.xml")}
    assert segment_bytes(environment) == 524_288


def test_other_ways_out() -> None:
    assert large_message_warning(FRAME_BYTES, {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}) == ""
    assert large_message_warning(FRAME_BYTES, {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}) == ""


def test_small_messages_need_nothing() -> None:
    assert large_message_warning(262_144, {}) == ""
