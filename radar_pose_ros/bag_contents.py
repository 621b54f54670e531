"""What a bag holds, by topic, in numbers that need no truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from radar_pose_ros.recording import BagReader, RecordingError, Topic, stamp_ns
from radar_pose_ros.resources import PACKAGE

POSES_2D, POSES_3D = (f"{PACKAGE}/msg/HumanPose{n}DArray" for n in (2, 3))
MAX_AGE_S = 30.0  # poses that seem older were stamped by another clock: their age says nothing
_NANOSECONDS = 1_000_000_000


class Fact(NamedTuple):
    """A number, and what it is of.

    Attributes
    ----------
    name : str
        With the unit at its end, if it has one that is not in `unit`.
    value : float
        NaN is unknown.
    unit : str
    """

    name: str
    value: float
    unit: str = ""


@dataclass(frozen=True)
class Contents:
    """What one topic holds.

    Parameters
    ----------
    topic, type_name : str
    messages : int
    rate_hz : float
        Messages per second by their stamps; NaN with fewer than two, or without stamps.
    facts : sequence of Fact
    """

    topic: str
    type_name: str
    messages: int
    rate_hz: float = math.nan
    facts: Sequence[Fact] = ()


@dataclass(frozen=True)
class Poses:
    """The poses of one topic.

    Parameters
    ----------
    topic, skeleton, frame_id : str
    models : tuple of str
        What estimated them.
    flat : bool
        In an image, in px; else in space, in m.
    size_px : (int, int)
        Of the image; 0 is unknown.
    stamps_ns, received_ns : int64 (n,)
        In the order of the stamps.
    people : list of ndarray, shape (people, joints, 2 or 3)
        NaN where a joint is not known; those of whom nothing is known are left out.
    numbers : list of list of int
        Of each of these people, the number, or its place in the message if it has none.
    placed : list of ndarray of bool, shape (people,)
        Whether positions are in the frame, and not relative to the root.
    left_out : int
        Messages of another skeleton, frame or number of joints than the first.
    """

    topic: str
    skeleton: str
    frame_id: str
    models: tuple[str, ...]
    flat: bool
    size_px: tuple[int, int]
    stamps_ns: np.ndarray
    received_ns: np.ndarray
    people: list[np.ndarray] = field(repr=False)
    numbers: list[list[int]] = field(repr=False)
    placed: list[np.ndarray] = field(repr=False)
    left_out: int

    @property
    def somebody(self) -> np.ndarray:
        """Which messages say where somebody is, bool (n,)."""
        return np.array([len(people) > 0 for people in self.people], bool)

    @property
    def age_ms(self) -> tuple[float, float]:
        """Median and 95th percentile, see `typical_age_ms`."""
        return typical_age_ms(self.received_ns - self.stamps_ns)


def typical_age_ms(late_ns: np.ndarray | Sequence[int]) -> tuple[float, float]:
    """Return median and 95th percentile of the time from an instant until its pose was recorded.

    Parameters
    ----------
    late_ns : int64 (n,)
        By how much each message was received after its stamp.

    Returns
    -------
    p50_ms, p95_ms : float
        NaN if there is no message, the stamps are not by the recorder's clock, or they are all
        that is known of the time: imported messages are stored at their own stamps.
    """
    if not len(late_ns) or not 0 < np.median(late_ns) <= MAX_AGE_S * _NANOSECONDS:
        return math.nan, math.nan
    p50, p95 = np.percentile(late_ns, [50, 95]) / 1e6
    return float(p50), float(p95)


def joints_of(message: Any, before: int) -> int | None:
    """Return how many joints the people of a topic have, None if those of a message disagree.

    Parameters
    ----------
    message : HumanPose2DArray or HumanPose3DArray
    before : int
        What the messages before it say; 0 if there was nobody in them.
    """
    counts = {len(person.keypoints) for person in message.poses}
    if not counts:
        return before
    if len(counts) > 1 or 0 in counts or counts - {before or max(counts)}:
        return None
    return max(counts)


def read_poses(reader: BagReader, topic: str) -> Poses | None:
    """Return the poses of a topic; None if it has no message.

    Raises
    ------
    RecordingError
        If a message is damaged.
    """
    flat = reader.topics[topic] == POSES_2D
    kept: list[tuple[int, int, Any]] = []
    left_out = joints = 0
    first: Any = None
    for item in reader.messages([topic]):
        message = item.message
        first = message if first is None else first
        about = (message.skeleton, message.header.frame_id)
        count = joints_of(message, joints)
        if count is None or about != (first.skeleton, first.header.frame_id):
            left_out += 1
            continue
        joints = count
        kept.append((stamp_ns(message), item.received_ns, message))
    if first is None:
        return None
    kept.sort(key=lambda entry: entry[0])
    people = [_people(message, flat, joints) for _, _, message in kept]
    return Poses(
        topic=topic,
        skeleton=str(first.skeleton),
        frame_id=str(first.header.frame_id),
        models=tuple(dict.fromkeys(str(message.model) for _, _, message in kept)),
        flat=flat,
        size_px=(int(first.image_width), int(first.image_height)) if flat else (0, 0),
        stamps_ns=np.array([stamp for stamp, _, _ in kept], np.int64),
        received_ns=np.array([received for _, received, _ in kept], np.int64),
        people=[positions for positions, _, _ in people],
        numbers=[numbers for _, numbers, _ in people],
        placed=[placed for _, _, placed in people],
        left_out=left_out,
    )


def _people(message: Any, flat: bool, joints: int) -> tuple[np.ndarray, list[int], np.ndarray]:
    positions = np.empty((len(message.poses), joints, 2 if flat else 3))
    for row, person in enumerate(message.poses):
        if flat:
            positions[row] = [(k.x, k.y) for k in person.keypoints]
        else:
            places = (k.position for k in person.keypoints)
            positions[row] = [(p.x, p.y, p.z) for p in places]
    known = np.asarray(np.isfinite(positions).all(-1))
    positions[~known] = np.nan
    there = np.asarray(known.any(-1))
    numbers = [p.id if p.id >= 0 else row for row, p in enumerate(message.poses) if there[row]]
    placed = np.array([flat or not p.root_relative for p in message.poses], bool)
    return positions[there], numbers, placed[there]


def rate_hz(stamps_ns: Iterable[int]) -> float:
    """Return how many there are per second, NaN for fewer than two instants."""
    stamps = np.fromiter(stamps_ns, np.int64)
    span_s = float(np.ptp(stamps)) / _NANOSECONDS if len(stamps) else 0.0
    return (len(stamps) - 1) / span_s if span_s > 0 else math.nan


def of_poses(poses: Poses) -> Contents:
    """Return what a topic with poses holds."""
    count = len(poses.stamps_ns)
    p50, p95 = poses.age_ms
    facts = [
        Fact("with_somebody", float(poses.somebody.mean()) if count else math.nan),
        Fact("most_people", max((len(people) for people in poses.people), default=0)),
        Fact("age_p50", p50, "ms"),
        Fact("age_p95", p95, "ms"),
    ]
    kind = POSES_2D if poses.flat else POSES_3D
    total = count + poses.left_out
    return Contents(poses.topic, kind, total, rate_hz(poses.stamps_ns), facts)


def of_topic(reader: BagReader, topic: Topic) -> Contents:
    """Return what a topic without poses holds.

    Raises
    ------
    RecordingError
        If a message is damaged, or what it says of its sizes cannot be.
    """
    measure = _MEASURES.get(topic.type_name)
    if measure is None or not topic.count:
        return Contents(topic.name, topic.type_name, topic.count)
    stamps: list[int] = []
    rows: list[Any] = []
    for item in reader.messages([topic.name]):
        stamps.append(stamp_ns(item.message))
        try:
            rows.append(measure.reduce(item.message))
        except (ValueError, IndexError) as error:
            raise RecordingError(
                f"{reader.path}: {topic.name} holds a message whose sizes disagree: {error}"
            ) from None
    facts = measure.facts(rows)
    return Contents(topic.name, topic.type_name, topic.count, rate_hz(stamps), facts)


class _Measure(NamedTuple):
    """What is kept of a message, for not all of them fit into memory, and what is told of all."""

    reduce: Callable[[Any], Any]
    facts: Callable[[list[Any]], list[Fact]]


def _reduce_samples(message: Any) -> tuple[int, int, int, float]:
    broken = 1.0 - float(np.mean(message.chirp_valid))
    return message.epoch, message.frame_index, message.bytes_missing, broken


def _facts_of_samples(rows: list[Any]) -> list[Fact]:
    lost = 0
    for epoch in {row[0] for row in rows}:
        numbers = sorted({row[1] for row in rows if row[0] == epoch})
        lost += numbers[-1] - numbers[0] + 1 - len(numbers)
    return [
        Fact("frames_lost_between", lost),
        Fact("frames_with_gaps", sum(row[2] > 0 for row in rows)),
        Fact("bytes_missing", sum(row[2] for row in rows)),
        Fact("chirps_incomplete", float(np.mean([row[3] for row in rows]))),
    ]


def _reduce_heatmap(message: Any) -> tuple[float, float]:
    shape = (message.angle_bins, message.doppler_bins, message.range_bins, 2)
    values = np.asarray(message.data, np.float32).reshape(shape)
    power = np.square(values).sum(-1).max((0, 1))
    strongest_m = message.range_first_m + message.range_step_m * int(power.argmax())
    return strongest_m, message.valid_ratio


def _facts_of_heatmaps(rows: list[Any]) -> list[Fact]:
    return [
        Fact("strongest_range", float(np.median([row[0] for row in rows])), "m"),
        Fact("chirps_used_complete", float(np.mean([row[1] for row in rows]))),
    ]


def _reduce_cloud(message: Any) -> tuple[int, float]:
    """Return how many points there are, and how far the strongest is; NaN if nobody knows."""
    count = message.width * message.height
    offsets = {f.name: f.offset for f in message.fields if f.datatype == _FLOAT32}
    if not count or not {"x", "y", "z", "snr"} <= offsets.keys():
        return count, math.nan
    raw = np.asarray(message.data, np.uint8)
    raw = raw[: count * message.point_step].reshape(count, message.point_step)
    x, y, z, snr = (
        raw[:, offsets[name] : offsets[name] + 4].copy().view("<f4")[:, 0]
        for name in ("x", "y", "z", "snr")
    )
    if np.isnan(snr).all():
        return count, math.nan
    strongest = int(np.nanargmax(snr))
    return count, math.hypot(x[strongest], y[strongest], z[strongest])


def _facts_of_clouds(rows: list[Any]) -> list[Fact]:
    counts = np.array([row[0] for row in rows])
    ranges_m = np.array([row[1] for row in rows])
    known = ranges_m[np.isfinite(ranges_m)]
    return [
        Fact("points_per_frame", float(counts.mean())),
        Fact("fewest_points", int(counts.min())),
        Fact("most_points", int(counts.max())),
        Fact("strongest_range", float(np.median(known)) if len(known) else math.nan, "m"),
    ]


def _reduce_rate(message: Any) -> float:
    return float(message.heart_rate_bpm) if message.state == message.OK else math.nan


def _facts_of_rates(rows: list[Any]) -> list[Fact]:
    known = np.array(rows)[np.isfinite(rows)]
    return [
        Fact("with_a_rate", len(known) / len(rows)),
        Fact("median_rate", float(np.median(known)) if len(known) else math.nan, "bpm"),
    ]


_FLOAT32 = 7  # sensor_msgs/PointField
_MEASURES = {
    f"{PACKAGE}/msg/RadarAdcFrame": _Measure(_reduce_samples, _facts_of_samples),
    f"{PACKAGE}/msg/RadarHeatmap": _Measure(_reduce_heatmap, _facts_of_heatmaps),
    "sensor_msgs/msg/PointCloud2": _Measure(_reduce_cloud, _facts_of_clouds),
    f"{PACKAGE}/msg/HeartRate": _Measure(_reduce_rate, _facts_of_rates),
}
