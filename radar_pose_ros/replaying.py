"""What is computed again from a bag: by which nodes of which graph, and from which topics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from radar_pose_ros.graphs import BringupError
from radar_pose_ros.resources import PACKAGE

RADARS = ("radar_h", "radar_v")
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
_NAMES = {  # of what is computed from, unless it is a radar's of two
    **{_POSES_2D: "pose2d", _POSES_3D: "pose3d", _POINTS: "points"},
    **{_IMAGE: "image", _COMPRESSED: "image/compressed"},
}
_NO_VIEWS = {"refined", "ground_truth"}
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


# What a graph computes in the end, and from which levels on.
_COMPUTED = {
    "radar_pose": ("pose2d", ("sensor", "adc", "heatmap")),
    "points_pose": ("pose3d", ("sensor", "adc")),
    "multiview": ("pose3d", ("sensor", "pose")),
    "heart_rate": ("heart_rate", ("sensor",)),
}


class Played(NamedTuple):
    """What a graph gets of a bag.

    Attributes
    ----------
    topics : list of str
        Those to play; empty for all of the level.
    views : str
        Names of the views, with spaces; empty if the graph has none.
    """

    topics: list[str]
    views: str


def played(
    bag: str, of: str, level: str, values: Mapping[str, Any], namespace: str = ""
) -> Played:
    """Return what a graph computes from, of what a bag holds.

    Parameters
    ----------
    bag : str
        One that is not there is left to the node `replayer`, which says so.
    of, level : str
        Of `FROM_LEVEL`.
    values : mapping
        Arguments of the graph `of`. Views that are "" are taken from the bag.
    namespace : str
        Of the graph.

    Raises
    ------
    BringupError
        If the bag cannot be read, holds nothing that the graph computes from, or holds it under
        other names.
    """
    from radar_pose_ros import recording  # takes a while, and other graphs do without

    given = str(values.get("views", ""))
    if not bag or not Path(bag).exists():
        return Played([], given)
    try:
        with recording.BagReader(bag) as reader:
            types = {topic.name: topic.type_name for topic in reader.details if topic.count}
            if level == "all":
                seen = (topic for topic, kind in types.items() if kind == _POSES_2D)
                return Played([], given or " ".join(_views(seen, "pose2d", namespace)))
            kinds = _wanted(of, level, values)
            wanted = [kind for kind in kinds if kind in types.values()]
            of_level = recording.topics_of_level(reader, level) if wanted else []
    except recording.RecordingError as error:
        raise BringupError(str(error)) from error
    held = [topic for topic in of_level if types.get(topic) in wanted]
    if not held:
        raise BringupError(
            f"{bag} holds no {' or '.join(_short(kinds))} of the level {level}, from which "
            f"{of} computes; it holds {', '.join(sorted(_short({*types.values()}))) or 'nothing'}"
        )
    several = of == "multiview"
    named = given.split()
    views = (named or _views(held, _NAMES[kinds[0]], namespace)) if several else []
    if len({*_read(of, level, kinds, views, namespace)} & {*held}) < (2 if several else 1):
        read = _read(of, level, kinds, named or ["<view>"], namespace)
        raise BringupError(
            f"{bag}: {of} computes from {' or '.join(read)}{' of two views' if several else ''}, "
            f"and of that kind the bag holds {', '.join(held)}: want namespace"
            f"{' and views' if several else ''} of the recording"
        )
    if of == "radar_pose":
        return Played([], "")
    others = _MEASURED.difference(wanted)
    topics = [topic for topic in of_level if types.get(topic) not in others]
    return Played(topics, " ".join(views))


def _short(types: Iterable[str]) -> list[str]:
    return [kind.rpartition("/")[2] for kind in types]


def _read(
    of: str, level: str, kinds: Iterable[str], views: Iterable[str], namespace: str
) -> list[str]:
    """Return the topics of these types that a graph computes from."""
    names = [_NAMES[kind] for kind in kinds if kind in _NAMES]
    if of == "radar_pose" and level != "pose":
        names = [f"{radar}/{'heatmap' if level == 'heatmap' else 'adc'}" for radar in RADARS]
    elif of == "multiview":
        names = [f"{view}/{name}" for name in names for view in views]
    return [_absolute(name, namespace) for name in names]


def _views(topics: Iterable[str], name: str, namespace: str) -> list[str]:
    """Return the views that have a topic of this name in a namespace."""
    pattern = re.escape(_absolute("", namespace)) + r"([A-Za-z]\w*)/" + re.escape(name)
    found = (re.fullmatch(pattern, topic, re.ASCII) for topic in topics)
    return sorted({view[1] for view in found if view} - _NO_VIEWS)


def _absolute(name: str, namespace: str) -> str:
    return "/".join(["", *filter(None, namespace.split("/")), name])


def warning_if_empty(run: str, of: str, level: str, namespace: str = "") -> str:
    """Return a warning if a recorded replay holds nothing of what was to be computed, or "".

    Parameters
    ----------
    run : str
        The bag that was recorded.
    of, level : str
        Of `FROM_LEVEL`.
    namespace : str
        Of the graph.
    """
    from radar_pose_ros import recording

    name, levels = _COMPUTED[of]
    topic = _absolute(name, namespace)
    try:
        with recording.BagReader(run) as reader:
            computed = bool(reader.counts.get(topic))
    except recording.RecordingError:
        return ""  # who recorded it has said why
    if computed or level not in levels:
        return ""
    return f"{run} holds no message on {topic}: {of} computed none from the bag"
