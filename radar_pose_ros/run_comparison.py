"""``radar-pose compare``: the poses of two runs side by side, by the bags that hold them.

Runs are of the same recording: of a replay before and after a change, or of a replay and the live
run that it was recorded from. Poses of a topic are matched by their stamps, which have to be
equal, and people of one instant so that they are as near to each other as can be. What is compared
is how far the two runs are from each other: neither is the truth.
"""

from __future__ import annotations

import datetime
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment

from radar_pose_ros import bag_contents, measurements
from radar_pose_ros.drawing import (
    BACKGROUND,
    FRAME_COLOUR,
    LEFT_COLOUR,
    RIGHT_COLOUR,
    TEXT_COLOUR,
    write_png,
)
from radar_pose_ros.recording import BagReader, RecordingError, stamp_ns
from radar_pose_ros.resources import PACKAGE
from radar_pose_ros.skeleton import definitions

UNITS = {f"{PACKAGE}/msg/HumanPose2DArray": "px", f"{PACKAGE}/msg/HumanPose3DArray": "m"}
_FAR = 1e9  # stands for the distance of people who have no known joint in common
_DPI = 100
_LINE_LENGTH = 130  # of what stands above the drawing
_USUAL_SIZE = {"px": 100.0, "m": 1.7}  # of a person, so that px and m can be compared, [choice]


@dataclass(frozen=True)
class Instant:
    """The people of one message.

    Parameters
    ----------
    positions : ndarray, shape (people, joints, 2 or 3)
        In px or m; NaN where it is not known.
    rest : ndarray, shape (people, values)
        All else that the message says of them: ids, confidences, origins, covariances.
    """

    positions: np.ndarray
    rest: np.ndarray

    def equals(self, other: Instant) -> bool:
        """Whether both say exactly the same."""
        return all(
            np.array_equal(a, b, equal_nan=True)
            for a, b in ((self.positions, other.positions), (self.rest, other.rest))
        )


@dataclass(frozen=True)
class Run:
    """The poses of one topic in one bag.

    Parameters
    ----------
    instants : dict of int to Instant
        By stamp, ns.
    models : tuple of str
        What estimated them.
    joints : sequence of str
    rate_hz : float
        From the stamps; NaN with fewer than two.
    age_ms : (float, float)
        Median and 95th percentile, see `bag_contents.typical_age_ms`.
    left_out : int
        Messages that have another skeleton than the first one, or other joints.
    repeated : int
        Messages with a stamp that another had before; the last one counts.
    """

    instants: Mapping[int, Instant]
    models: tuple[str, ...]
    joints: Sequence[str]
    rate_hz: float
    age_ms: tuple[float, float]
    left_out: int
    repeated: int

    @property
    def times(self) -> str:
        """When its first and its last instant were, in words."""
        ends_ns = (min(self.instants), max(self.instants))
        utc = datetime.timezone.utc
        begin, end = (datetime.datetime.fromtimestamp(ns / 1e9, utc) for ns in ends_ns)
        return f"from {begin:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class TopicComparison:
    """Two runs of one topic.

    Parameters
    ----------
    topic, unit, skeleton : str
        The unit is "px" or "m".
    joints : sequence of str
    runs : (Run, Run)
    times_s : ndarray, shape (matched,)
        Of the instants that both runs have, from the first of them.
    distances : ndarray, shape (matched, joints)
        Between the same joint in both runs, mean over the people; NaN where one of them does not
        know it.
    identical : int
        Matched instants at which both say exactly the same.
    other_people : int
        Matched instants at which one run sees more people than the other.
    known_once : float
        Share of the joints of matched people that only one of the runs knows; NaN if there are
        none.
    """

    topic: str
    unit: str
    skeleton: str
    joints: Sequence[str]
    runs: tuple[Run, Run]
    times_s: np.ndarray
    distances: np.ndarray
    identical: int
    other_people: int
    known_once: float

    @property
    def matched(self) -> int:
        """Number of instants that both runs have."""
        return len(self.times_s)

    @property
    def mean_distance(self) -> float:
        """Over all joints that both know; NaN if there are none."""
        return _mean(self.distances)


@dataclass(frozen=True)
class Comparison:
    """Two bags.

    Parameters
    ----------
    bags : (str, str)
    topics : sequence of TopicComparison
    notes : sequence of str
        What could not be compared, and why.
    """

    bags: tuple[str, str]
    topics: Sequence[TopicComparison]
    notes: Sequence[str]


def compare(first: str | Path, second: str | Path) -> Comparison:
    """Compare the poses in two bags.

    Raises
    ------
    RecordingError
        If one of them cannot be read, or they have nothing in common.
    """
    with BagReader(first) as a, BagReader(second) as b:
        kinds = [
            {t: kind for t, kind in r.topics.items() if kind in UNITS and r.counts[t]}
            for r in (a, b)
        ]
        for reader, found in zip((a, b), kinds, strict=True):
            if not found:
                raise RecordingError(f"{reader.path} holds no poses")
        common = sorted(t for t in kinds[0] if kinds[1].get(t) == kinds[0][t])
        notes = [
            f"{topic} is only in {reader.path}"
            for reader, found in zip((a, b), kinds, strict=True)
            for topic in sorted(found)
            if topic not in common
        ]
        if not common:
            raise RecordingError(
                f"{first} and {second} have nothing in common: no topic with poses is in both "
                f"({', '.join(sorted(kinds[0]))}; {', '.join(sorted(kinds[1]))})"
            )
        topics = []
        for topic in common:
            compared = _compare_topic(a, b, topic, UNITS[kinds[0][topic]])
            if isinstance(compared, str):
                notes.append(compared)
            else:
                topics.append(compared)
    if not any(topic.matched for topic in topics):
        why = "; ".join(notes)
        if topics:
            one, other = (run.times for run in topics[0].runs)
            why = (
                f"no stamp of a pose is in both. {topics[0].topic} is {one} in the first and "
                f"{other} in the second: are these runs of the same recording?"
            )
        raise RecordingError(f"{first} and {second} have nothing in common: {why}")
    return Comparison((str(first), str(second)), topics, notes)


def _compare_topic(a: BagReader, b: BagReader, topic: str, unit: str) -> TopicComparison | str:
    """Return how a topic's runs compare, or a sentence that says why they cannot be."""
    (skeleton, run_a), (skeleton_b, run_b) = _read(a, topic, unit), _read(b, topic, unit)
    if skeleton != skeleton_b:
        return f"{topic} is of {skeleton} in one bag and of {skeleton_b} in the other"
    for reader, run in ((a, run_a), (b, run_b)):
        if not run.instants:
            return f"{topic} in {reader.path} holds people of different joints only"
    counts = len(run_a.joints), len(run_b.joints)
    if counts[0] != counts[1]:
        return f"{topic} has {counts[0]} joints in one bag and {counts[1]} in the other"
    stamps = sorted(run_a.instants.keys() & run_b.instants.keys())
    pairs = [(run_a.instants[stamp], run_b.instants[stamp]) for stamp in stamps]
    joints = len(run_a.joints)
    distances = np.full((len(pairs), joints), np.nan)
    once = total = 0
    for row, (one, other) in enumerate(pairs):
        between, only_one = people_distances(one.positions, other.positions)
        once, total = once + int(only_one.sum()), total + only_one.size
        known = ~np.isnan(between).all(axis=0) if len(between) else np.zeros(joints, bool)
        distances[row, known] = np.nanmean(between[:, known], axis=0)
    return TopicComparison(
        topic=topic,
        unit=unit,
        skeleton=skeleton,
        joints=run_a.joints,
        runs=(run_a, run_b),
        times_s=(np.array(stamps, np.int64) - (stamps[0] if stamps else 0)) / 1e9,
        distances=distances,
        identical=sum(one.equals(other) for one, other in pairs),
        other_people=sum(len(one.positions) != len(other.positions) for one, other in pairs),
        known_once=once / total if total else math.nan,
    )


def matched_people(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match people so that they are as near to each other as can be.

    Parameters
    ----------
    first, second : ndarray, shape (people, joints, 2 or 3)
        NaN where a joint is not known.

    Returns
    -------
    rows, columns : int (matched,)
        Who in `first` is who in `second`: as many as there are where there are fewer, though some
        may have no known joint in common.
    """
    apart = np.linalg.norm(first[:, None] - second[None], axis=-1)
    known = ~np.isnan(apart)
    means = np.full(apart.shape[:2], _FAR)
    some = known.any(axis=-1)
    means[some] = np.nansum(apart, axis=-1)[some] / known.sum(axis=-1)[some]
    rows, columns = linear_sum_assignment(means)
    return rows, columns


def people_distances(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far the same joint of the same person is in one from in the other.

    Parameters
    ----------
    first, second : ndarray, shape (people, joints, 2 or 3)
        NaN where a joint is not known.

    Returns
    -------
    distances : ndarray, shape (matched, joints)
        NaN where one of both does not know the joint.
    only_one : bool (matched, joints)
        Where exactly one of both knows it.
    """
    rows, columns = matched_people(first, second)
    one, other = first[rows], second[columns]
    only_one = np.isnan(one).any(axis=-1) != np.isnan(other).any(axis=-1)
    return np.linalg.norm(one - other, axis=-1), only_one


def _read(reader: BagReader, topic: str, unit: str) -> tuple[str, Run]:
    """Return skeleton and poses of a topic; people of other joints than the first are left out."""
    instants: dict[int, Instant] = {}
    models: dict[str, None] = {}
    late_ns = []
    skeleton, count = "", 0
    left_out = repeated = 0
    for recorded in reader.messages([topic]):
        message = recorded.message
        skeleton = skeleton or str(message.skeleton)
        joints = bag_contents.joints_of(message, count)
        if joints is None or message.skeleton != skeleton:
            left_out += 1
            continue
        count = joints
        models[str(message.model)] = None
        stamp = stamp_ns(message)
        repeated += stamp in instants
        late_ns.append(recorded.received_ns - stamp)
        instants[stamp] = _instant(message, unit)
    names = _joint_names(skeleton, count)
    for stamp, instant in instants.items():
        if not len(instant.positions):  # nobody: of as many joints as the others have
            nobody = np.empty((0, len(names), 2 if unit == "px" else 3))
            instants[stamp] = Instant(nobody, instant.rest)
    span_s = (max(instants) - min(instants)) / 1e9 if instants else 0.0
    return skeleton, Run(
        instants,
        tuple(models),
        names,
        rate_hz=(len(instants) - 1) / span_s if span_s else math.nan,
        age_ms=bag_contents.typical_age_ms(late_ns),
        left_out=left_out,
        repeated=repeated,
    )


def _instant(message: Any, unit: str) -> Instant:
    positions: list[list[tuple[float, ...]]] = []
    rest: list[list[float]] = []
    for pose in message.poses:
        if unit == "px":
            positions.append([(k.x, k.y) for k in pose.keypoints])
            more = [(k.confidence, k.origin) for k in pose.keypoints]
            about = [pose.id, pose.confidence]
        else:
            positions.append([(k.position.x, k.position.y, k.position.z) for k in pose.keypoints])
            more = [(k.confidence, k.origin, *k.covariance) for k in pose.keypoints]
            about = [pose.id, pose.confidence, pose.root_relative]
        rest.append([*about, *(value for joint in more for value in joint)])
    return Instant(np.array(positions, float), np.array(rest, float))


def _joint_names(skeleton: str, count: int) -> Sequence[str]:
    """Return the names of joints; a count of 0 is not known, for nobody was seen."""
    try:
        joints = definitions.get(skeleton).joints
    except ValueError:
        joints = ()
    return joints if count in (0, len(joints)) else [f"joint {k}" for k in range(count)]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _p95(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.percentile(known, 95)) if len(known) else math.nan


# -- what is told ----------------------------------------------------------------------------


def table(comparison: Comparison) -> str:
    """Return the comparison as lines of text."""
    lines = [f"A: {comparison.bags[0]}", f"B: {comparison.bags[1]}"]
    for topic in comparison.topics:
        lines += ["", *_topic_lines(topic)]
    if comparison.notes:
        lines += ["", *(f"note: {note}" for note in comparison.notes)]
    return "\n".join(lines)


def _topic_lines(topic: TopicComparison) -> list[str]:
    lines = [f"{topic.topic}  {topic.skeleton}, {topic.unit}"]
    for letter, run in zip("AB", topic.runs, strict=True):
        p50, p95 = run.age_ms
        age = f"age p50 {p50:.0f} ms, p95 {p95:.0f} ms" if math.isfinite(p50) else "age not known"
        rate = f"{run.rate_hz:.2f} Hz" if math.isfinite(run.rate_hz) else "rate not known"
        poses = f"{len(run.instants)} poses, {rate}, {age}"
        lines.append(f"  {letter}  {poses}, by {' and '.join(run.models)}")
        if run.left_out:
            lines.append(f"     {run.left_out} more of another skeleton are left out")
        if run.repeated:
            lines.append(f"     {run.repeated} more with a stamp that comes again later")
    if not topic.matched:
        return [*lines, "  no stamp is in both"]
    lines.append(f"  {_agreement(topic)}")
    if topic.identical == topic.matched:
        return lines
    if topic.known_once > 0:
        lines.append(f"  {topic.known_once:.1%} of the joints are known to one of both only")
    width = max(map(len, topic.joints), default=0)
    lines.append(f"  {'distance':<{width}}  {'mean':>8}  {'p95':>8}")
    for name, values in (("all joints", topic.distances), *_by_joint(topic)):
        lines.append(f"  {name:<{width}}  {_number(_mean(values))}  {_number(_p95(values))}")
    return lines


def _agreement(topic: TopicComparison) -> str:
    identical = "all" if topic.identical == topic.matched else topic.identical or "none"
    said = f"{topic.matched} instants in both, {identical} of them identical"
    if topic.other_people:
        said += f", {topic.other_people} with another number of people"
    return said


def _by_joint(topic: TopicComparison) -> list[tuple[str, np.ndarray]]:
    return [(name, topic.distances[:, k]) for k, name in enumerate(topic.joints)]


def _number(value: float) -> str:
    return f"{value:8.3g}" if math.isfinite(value) else f"{'unknown':>8}"


def results(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the comparison as rows of numbers; NaN is unknown."""
    rows = []
    for topic in comparison.topics:
        name = f"compare.{topic.topic.strip('/')}"
        for letter, run in zip("ab", topic.runs, strict=True):
            rows += [
                measurements.result(f"{name}.{letter}.poses", len(run.instants)),
                measurements.result(f"{name}.{letter}.rate_hz", run.rate_hz, "Hz"),
                measurements.result(f"{name}.{letter}.age_p50_ms", run.age_ms[0], "ms"),
                measurements.result(f"{name}.{letter}.age_p95_ms", run.age_ms[1], "ms"),
            ]
        share = topic.identical / topic.matched if topic.matched else math.nan
        rows += [
            measurements.result(f"{name}.matched", topic.matched),
            measurements.result(f"{name}.identical_share", share),
            measurements.result(f"{name}.mean_distance", topic.mean_distance, topic.unit),
            measurements.result(f"{name}.known_once_share", topic.known_once),
            measurements.result(f"{name}.other_number_of_people", topic.other_people),
        ]
        rows += [
            measurements.result(f"{name}.joint.{joint}", _mean(values), topic.unit)
            for joint, values in _by_joint(topic)
        ]
    return rows


def draw(comparison: Comparison, path: str | Path) -> None:
    """Draw the distances over time and by joint as a PNG file.

    A row for each topic whose joints lie elsewhere, those that differ most first; what differs in
    nothing that could be drawn is one line of text.
    """
    matched = [topic for topic in comparison.topics if topic.matched]
    topics = sorted(filter(_has_distances, matched), key=_difference, reverse=True)
    lines = [f"A: {comparison.bags[0]}", f"B: {comparison.bags[1]}"]
    for why, some in _without_distances(matched).items():
        lines += textwrap.wrap(f"{why}: {', '.join(some)}", _LINE_LENGTH)
    heights = [max(2.2, 0.55 + 0.16 * len(topic.joints)) for topic in topics]
    text_height = 0.2 + 0.17 * len(lines)
    height = sum(heights) + text_height
    made = Figure(figsize=(11.0, height), dpi=_DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(made)
    title = "\n".join(lines)
    made.text(0.02, 1 - 0.08 / height, title, color=TEXT_COLOUR, fontsize=9, va="top")
    if topics:
        grid: Any = made.subplots(
            len(topics), 2, squeeze=False, height_ratios=heights, width_ratios=(3, 1.6)
        )
        for (over_time, by_joint), topic in zip(grid, topics, strict=True):
            _draw_topic(over_time, by_joint, topic)
        made.tight_layout(rect=(0, 0, 1, 1 - text_height / height))
    canvas.draw()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.asarray(canvas.buffer_rgba())[:, :, :3].copy())


def _has_distances(topic: TopicComparison) -> bool:
    return bool(np.nan_to_num(topic.distances).any())


def _difference(topic: TopicComparison) -> float:
    """Return the mean distance of a topic in parts of a person's size, about, to sort by."""
    return topic.mean_distance / _USUAL_SIZE[topic.unit]


def _without_distances(topics: Sequence[TopicComparison]) -> dict[str, list[str]]:
    """Return the topics that leave nothing to draw, by why, in words."""
    found: dict[str, list[str]] = {}
    for topic in topics:
        if _has_distances(topic):
            continue
        if topic.identical == topic.matched:
            why = "the same in both"
        elif np.isnan(topic.distances).all():
            why = "no joint is known to both"
        else:
            why = "all joints are where they are in the other, but not all else is the same"
        found.setdefault(why, []).append(topic.topic)
    return found


def _draw_topic(over_time: Any, by_joint: Any, topic: TopicComparison) -> None:
    for axis in (over_time, by_joint):
        axis.set_facecolor("#000000")
        axis.tick_params(colors=TEXT_COLOUR, labelsize=7, length=2)
        axis.grid(color=FRAME_COLOUR, linewidth=0.4)
        axis.set_axisbelow(True)
        for spine in axis.spines.values():
            spine.set_color(FRAME_COLOUR)
    over_time.set_title(
        f"{topic.topic}: {_agreement(topic)}", color=TEXT_COLOUR, fontsize=9, loc="left"
    )
    over_time.set_xlabel("time since the first of them, s", color=TEXT_COLOUR, fontsize=8)
    over_time.set_ylabel(f"distance, {topic.unit}", color=TEXT_COLOUR, fontsize=8)
    by_joint.set_title(
        f"by joint, {topic.unit}: mean, and p95 as a line",
        color=TEXT_COLOUR,
        fontsize=9,
        loc="left",
    )
    means = [_mean(row) for row in topic.distances]
    over_time.plot(topic.times_s, means, ".", color=LEFT_COLOUR, markersize=4)
    names, values = zip(*_by_joint(topic), strict=True)
    by_joint.barh(names, [_mean(v) for v in values], color=RIGHT_COLOUR)
    by_joint.plot([_p95(v) for v in values], names, "|", color=TEXT_COLOUR, markersize=7)
    by_joint.invert_yaxis()
    over_time.set_ylim(0, None)
    by_joint.set_xlim(0, None)
