"""Command files of TI's SDK."""

from __future__ import annotations

import re

from fuzz.material import Material, refusal

from radar_pose_ros import resources
from radar_pose_ros.radar.config import DEVICES, ConfigError, RadarConfig
from radar_pose_ros.radar.ti_config import Output, parse_cfg

_OUTPUTS: tuple[Output, Output] = ("samples", "points")


def one_input(data: bytes) -> None:
    """Read a file for one of the devices and outputs; what is read, is read again alike."""
    material = Material(data)
    options = material.number()
    device, output = DEVICES[options & 1], _OUTPUTS[options >> 1 & 1]
    found: list[RadarConfig] = []
    refused = refusal(
        lambda: found.append(parse_cfg(material.rest(), "fuzz.cfg", device, output)), ConfigError
    )
    if refused:
        assert re.match(r"fuzz\.cfg line \d+: ", refused), refused
        return
    (config,) = found
    assert 0 < config.bytes_per_frame <= 1 << 32
    again = parse_cfg("\n".join(config.commands), "fuzz.cfg", device, output)
    assert (again.waveform, again.tx_order, again.rx_antennas, again.iq_order) == (
        config.waveform,
        config.tx_order,
        config.rx_antennas,
        config.iq_order,
    )


def seeds() -> dict[str, bytes]:
    """The files that come with the package."""
    named = {"iwr1843.cfg": 0, "iwr6843isk.cfg": 1, "iwr1843_points.cfg": 2}
    return {
        name: bytes([options]) + resources.find("config", name).read_bytes()
        for name, options in named.items()
    }
