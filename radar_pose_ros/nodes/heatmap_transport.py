"""Heatmaps on their way: as they are, or made small for a wireless link.

As with images, the small ones are on a topic below the other, ``heatmap/compressed``, and made
only while somebody subscribes to them.
"""

from __future__ import annotations

import array
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert
from radar_pose_ros.radar import heatmap_codec
from radar_pose_ros.radar.config import ConfigError
from radar_pose_ros.radar.heatmap import angle_transform

if TYPE_CHECKING:
    from radar_pose_ros.nodes.base import ManagedNode

COMPRESSED = "heatmap/compressed"
_SAME = (  # fields that both messages have
    *("header", "frame_index", "epoch", "angle_bins", "doppler_bins", "range_bins"),
    *("sin_angle_first", "sin_angle_step", "velocity_first_mps", "velocity_step_mps"),
    *("range_first_m", "range_step_m", "valid_ratio"),
)


def compressed(heatmap: msg.RadarHeatmap, cube: np.ndarray) -> msg.CompressedRadarHeatmap:
    """Return the small message for a heatmap.

    Parameters
    ----------
    heatmap : RadarHeatmap
    cube : ndarray of complex64, shape (antennas, doppler, range)
        What its angle transform was made of.
    """
    packed = heatmap_codec.pack(cube)
    return msg.CompressedRadarHeatmap(
        **{name: getattr(heatmap, name) for name in _SAME},
        antennas=len(cube),
        encoding=heatmap_codec.ENCODING,
        step=packed.step,
        data=array.array("B", packed.data),
    )


def expanded(message: msg.CompressedRadarHeatmap) -> msg.RadarHeatmap:
    """Return the heatmap that a small message stands for.

    Raises `InvalidMessageError` if it cannot be one.
    """
    convert.require(
        message.encoding == heatmap_codec.ENCODING,
        "heatmap of unknown encoding",
        f"{message.encoding[:40]!r} instead of {heatmap_codec.ENCODING!r}",
    )
    shape = (message.antennas, message.doppler_bins, message.range_bins)
    whole = (message.angle_bins, *shape[1:])
    for sizes in (shape, whole):
        convert.require(
            0 < math.prod(sizes) <= convert.MAX_HEATMAP_VALUES // 2,
            "heatmap of impossible size",
            f"{list(sizes)}",
        )
    packed = heatmap_codec.PackedCube(shape, message.step, memoryview(message.data))
    try:
        heatmap = angle_transform(heatmap_codec.unpack(packed), message.angle_bins)
    except (heatmap_codec.HeatmapCodecError, ConfigError) as error:
        raise convert.InvalidMessageError("heatmap that cannot be unpacked", str(error)) from None
    return msg.RadarHeatmap(
        **{name: getattr(message, name) for name in _SAME},
        data=convert.to_array(heatmap.view(np.float32)),
    )


def subscribe(
    node: ManagedNode, radar: str, take: Callable[[msg.RadarHeatmap], None], lost: str = ""
) -> None:
    """Listen to a radar's heatmaps, on the topic that the parameter `heatmap_transport` says.

    Small ones are asked for again where they are lost: there is room for that. Large ones are not.
    What is lost all the same is counted under the name `lost`, see `ManagedNode.subscribe`.
    """
    from radar_pose_ros.nodes.base import RELIABLE, SENSOR_DATA

    if node.values.heatmap_transport == "raw":
        node.subscribe(msg.RadarHeatmap, f"{radar}/heatmap", SENSOR_DATA, take, lost=lost)
        return

    def take_small(message: msg.CompressedRadarHeatmap) -> None:
        take(expanded(message))

    topic = f"{radar}/{COMPRESSED}"
    node.subscribe(msg.CompressedRadarHeatmap, topic, RELIABLE, take_small, lost=lost)
