"""Whether large messages get through."""

from __future__ import annotations

from pathlib import Path

from radar_pose_ros import resources
from radar_pose_ros.nodes.transport import large_message_warning, segment_bytes

FRAME_BYTES = 1_572_864


def test_defaults_are_too_small() -> None:
    assert segment_bytes({}) == 524_288
    warning = large_message_warning(FRAME_BYTES, {})
    assert "1572864 bytes" in warning
    assert "FASTDDS_DEFAULT_PROFILES_FILE" in warning


def test_the_shipped_profile_is_large_enough() -> None:
    profile = resources.find("config", "fastdds_large_messages.xml")
    environment = {"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)}
    assert segment_bytes(environment) == 64 * 1024 * 1024
    assert large_message_warning(FRAME_BYTES, environment) == ""


def test_a_profile_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    environment = {"FASTDDS_DEFAULT_PROFILES_FILE": str(tmp_path / "none.xml")}
    assert segment_bytes(environment) == 524_288


def test_other_ways_out() -> None:
    assert large_message_warning(FRAME_BYTES, {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}) == ""
    assert large_message_warning(FRAME_BYTES, {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}) == ""


def test_small_messages_need_nothing() -> None:
    assert large_message_warning(262_144, {}) == ""
