"""A radar whose frames are small enough to simulate a minute of them in a test."""

from __future__ import annotations

import pytest

from radar_pose_ros import resources
from radar_pose_ros.radar.ti_config import parse_cfg


@pytest.fixture(scope="session")
def small_radar():
    """The reference radar with a quarter of its samples: 64 loops of 128 in the same time."""
    text = resources.resolve("iwr1843.cfg", "config").read_text()
    for before, after in (
        (
            "profileCfg 0 77 7 6 65 0 0 60.012 1 256 4400",
            "profileCfg 0 77 79 6 65 0 0 60.012 1 128 4400",
        ),
        ("frameCfg 0 2 128", "frameCfg 0 2 64"),
    ):
        assert before in text
        text = text.replace(before, after)
    return parse_cfg(text, source="small.cfg")
