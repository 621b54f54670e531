"""What is computed again from a bag: by which nodes of which graph, and from which topics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radar_pose_ros.graphs import BringupError
from radar_pose_ros.resources import PACKAGE

SENSORS = ("radar_driver", "camera_source")
"""Nodes for which a bag stands."""

FROM_LEVEL: dict[str, dict[str, tuple[str, ...]]] = {
    "radar_pose": {
        "heatmap": ("radar_preprocessor",),
        "sensor": (),
        "adc": (),
        "pose": ("radar_preprocessor", "mamba_pose"),
        "all": ("radar_preprocessor", "mamba_pose", "pose_refiner", "pose_lifter"),
    },
    "points_pose": {"sensor": (), "adc": (), "pose": ("mamba_pose",), "all": ("mamba_pose",)},
    "multiview": {
        "sensor": (),
        "pose": ("keypoint_detector",),
        "all": ("keypoint_detector", "densewarper", "pose_refiner"),
    },
    "heart_rate": {"sensor": (), "all": ("rppg",)},
}
"""Which programs of a graph do not compute again, by the level of the bag's messages.

The first level of a graph is the one it begins from if none is named.
"""

_SAMPLES, _HEATMAP, _POSES_2D, _POSES_3D = (
    f"{PACKAGE}/msg/{name}"
    for name in ("RadarAdcFrame", "RadarHeatmap", "HumanPose2DArray", "HumanPose3DArray")
)
_POINTS, _IMAGE, _COMPRESSED = (
    f"sensor_msgs/msg/{name}" for name in ("PointCloud2", "Image", "CompressedImage")
)
_OF_RADARS = {"heatmap": (_HEATMAP,), "pose": (_POSES_2D, _POSES_3D)}
_MEASURED = {_SAMPLES, _POINTS, _POSES_2D, _IMAGE, _COMPRESSED}  # what one graph of several reads


def _wanted(of: str, level: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the types of messages that a graph with these arguments computes from."""
    if of == "radar_pose":
        return _OF_RADARS.get(level, (_SAMPLES,))
    if of == "points_pose":
        return (_POSES_3D,) if level == "pose" else (_POINTS,)
    if of == "multiview" and not (values["detector"] and level == "sensor"):
        return (_POSES_2D,)
    return (_COMPRESSED,) if values["transport"] == "compressed" else (_IMAGE,)


def topics_to_play(bag: str, of: str, level: str, values: Mapping[str, Any]) -> list[str]:
    """Return the topics of a bag that a graph computes from; empty for all of the level.

    Parameters
    ----------
    bag : str
        One that is not there is left to the node `replayer`, which says so.
    of, level : str
        Of `FROM_LEVEL`.
    values : mapping
        Arguments of the graph `of`.

    Raises
    ------
    BringupError
        If the bag cannot be read, or holds nothing that the graph computes from.
    """
    from radar_pose_ros import recording  # takes a while, and other graphs do without

    if level == "all" or not bag or not Path(bag).exists():
        return []
    try:
        with recording.BagReader(bag) as reader:
            types = {topic.name: topic.type_name for topic in reader.details if topic.count}
            wanted = [kind for kind in _wanted(of, level, values) if kind in types.values()]
            of_level = recording.topics_of_level(reader, level) if wanted else []
    except recording.RecordingError as error:
        raise BringupError(str(error)) from error
    if not any(types.get(topic) in wanted for topic in of_level):
        names = " or ".join(kind.rpartition("/")[2] for kind in _wanted(of, level, values))
        held = sorted({kind.rpartition("/")[2] for kind in types.values()})
        raise BringupError(
            f"{bag} holds no {names} of the level {level}, from which {of} computes; "
            f"it holds {', '.join(held) or 'nothing'}"
        )
    if of == "radar_pose":
        return []
    others = _MEASURED.difference(wanted)
    return [topic for topic in of_level if types.get(topic) not in others]
