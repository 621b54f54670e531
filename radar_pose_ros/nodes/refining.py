"""The refiners of all people in a stream, on one grid of frames, and the model they share."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch

from radar_pose_ros.models import weights
from radar_pose_ros.models.interpolation import DEGREES
from radar_pose_ros.models.refiner import (
    InterpolationModel,
    NetworkModel,
    Origin,
    RefinedPoses,
    Refiner,
    WindowModel,
)
from radar_pose_ros.nodes.pacing import NANOSECONDS, Period, rate_warning
from radar_pose_ros.nodes.people import Person, Sightings, by_key, doubles
from radar_pose_ros.skeleton import checks
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14, Skeleton

# By that share frames may be asked for at another rate than a network was trained at: less than
# `pacing.RATE_TOLERANCE`, since what is asked for is exact.
ASKED_RATE_TOLERANCE = 0.1


class RefinedFrame(NamedTuple):
    """What is known of an instant: who is there, and which sensors did not see it."""

    stamp_ns: int
    people: list[Person]
    missing_sources: list[str]


class Kind(NamedTuple):
    """What the poses of a topic are: how many numbers a joint has, of what, in which unit."""

    values: int
    skeleton: Skeleton
    unit: str


# As `mamba_pose` and `pose_lifter` publish them.
KINDS = {"pose2d": Kind(2, HUPR14, "px"), "pose3d": Kind(3, H36M17, "m")}


class NamedModel(NamedTuple):
    """What refines, and for what.

    Parameters
    ----------
    model : WindowModel
    name : str
        For messages.
    joints : int
        Of a pose; 0 if any number will do.
    skeleton : str
        Of the poses that it was trained on; empty if that is not known, or any will do.
    rate_hz : float
        Of the frames that it was trained on; 0 likewise.
    prompt : bool
        Whether it was made to be early: a network that predicts.
    """

    model: WindowModel
    name: str
    joints: int
    skeleton: str = ""
    rate_hz: float = 0.0
    prompt: bool = False

    def windows(self, blend: int) -> int:
        """Return of how many windows a frame is the mean if that many are asked for, 0 for all.

        A network that was made to be early takes one, unless all are asked for: each further one
        makes a frame a keyframe interval later.
        """
        return min(blend, 1) if self.prompt else blend

    def rate_warning(self, rate_hz: float) -> str:
        """Return a sentence if frames are asked for at a rate that it does not know; else ""."""
        what = "frames are asked for at"
        return rate_warning(what, rate_hz, self.name, self.rate_hz, tolerance=ASKED_RATE_TOLERANCE)

    def pace_warning(self, period_ns: int | None) -> str:
        """Return a sentence if poses come less often than its keyframes did; else "".

        Of those that come more often it reads those at keyframes, as it was trained to.

        Parameters
        ----------
        period_ns : int, optional
            From pose to pose, if it is known.
        """
        keyframes_hz = self.rate_hz / self.model.interval
        come_hz = NANOSECONDS / period_ns if period_ns else 0.0
        return rate_warning(
            "poses come at",
            min(come_hz, keyframes_hz),
            f"{self.name} with its keyframes",
            keyframes_hz,
            so="what lies between is a straight line to it",
        )


def load_network(name: str, kind: Kind, predict: bool) -> NamedModel:
    """Return a trained network.

    Parameters
    ----------
    name : str
        See `weights.load`.
    kind : Kind
        Of the poses that it must take. Skeleton and unit are only looked at if the weights say
        what they were trained on.
    predict : bool
        Whether it must predict.

    Raises
    ------
    ValueError
        If there are no such weights, or they are for something else.
    """
    values = kind.values
    network, entry = weights.network(name, "mixsynthformer")
    config = network.config
    label = f"mixsynthformer/{entry['preset']}@{entry['sha256'][:8]}"
    if config.values != values:
        raise ValueError(f"{label} takes {config.values} values of a joint, not {values}")
    if predict and not config.future_frames:
        raise ValueError(f"{label} predicts no frames: take another, or set predict to false")
    said = entry.get("poses", {})
    skeleton, unit = said.get("skeleton", kind.skeleton.name), said.get("unit", kind.unit)
    if (skeleton, unit) != (kind.skeleton.name, kind.unit):
        raise ValueError(
            f"{label} was trained on poses of {skeleton} in {unit}, and does not fit those asked "
            f"for, of {kind.skeleton.name} in {kind.unit}"
        )
    torch.set_num_threads(1)  # a window is too small for more
    model = NetworkModel(network, kind.skeleton.root_joints() if said.get("root_relative") else ())
    # Once from nothing, so that memory is taken before poses come.
    if not np.isfinite(model.refine(np.zeros((config.keyframes, config.joints, values)))).all():
        raise ValueError(f"{label} estimates NaN: the file is damaged")
    return NamedModel(
        model,
        label,
        config.joints,
        said.get("skeleton", ""),
        float(said.get("rate_hz", 0.0)),
        prompt=config.future_frames > 0,
    )


def interpolation(method: str, interval: int, segments: int, predict: bool) -> NamedModel:
    """Return an interpolation; to predict it goes on as it went, for a keyframe interval.

    Raises
    ------
    ValueError
        If the window has too few keyframes for such a curve, or the method is unknown.
    """
    least = DEGREES.get(method, 1)
    if segments < least:
        raise ValueError(f"method {method} needs a window of {least} or more, got {segments}")
    model = InterpolationModel(method, interval, segments, interval if predict else 0)
    return NamedModel(model, method, 0)


def refiner_factory(
    model: WindowModel, values: int, rate_hz: float, blend: int, gap_s: float
) -> Callable[[int], Refiner]:
    """Return a function that makes a refiner for that many joints.

    Parameters
    ----------
    model : WindowModel
    values : int
        Numbers of a joint.
    rate_hz : float
    blend : int
        Windows whose mean a frame is, at most; 0 for as many as cover it.
    gap_s : float
        For so long somebody may be away. The refiner itself waits for a frame more, so that it
        never gives up first.

    Raises
    ------
    ValueError
        If a number is out of range; the sentence says which.
    """
    checks.whole("blend", blend, 0)
    checks.real("rate_hz", rate_hz, positive=True)
    if gap_s < model.interval / rate_hz:
        raise ValueError(
            f"max_gap_s must be at least the {model.interval / rate_hz:.3g} s from keyframe to "
            f"keyframe, got {gap_s}"
        )

    def make(joints: int) -> Refiner:
        return Refiner(
            model,
            joints,
            values,
            rate_hz,
            blend=min(blend, model.segments) or None,
            gap_s=gap_s + 1 / rate_hz,
        )

    return make


@dataclass
class _Track:
    """One person over time."""

    key: int  # see `by_key`
    refiner: Refiner
    sightings: Sightings
    last: Person  # as last seen
    seen_s: float  # then
    pushed_s: float  # when the refiner was last told anything
    # Poses of the other kind, relative to the root or placed, since they were last seen.
    others: list[tuple[float, Person]] = field(default_factory=list)
    following: int = 0  # the frame after the last one that the refiner gave
    began: bool = False  # whether it gave any


class PeopleRefiner:
    """Turns poses of people at irregular times into frames at a fixed rate.

    Frames begin with the first person's first pose. Who comes later joins the same frames, as
    soon as the first window is full: the first pose is taken for that of the nearest frame, by
    half a frame at most. Without anybody frames go on, empty, and begin anew with the next person,
    unless later ones than their first pose were given already. Poses of somebody which are placed
    where they were relative to the root, or the other way round, count as not seen for ``gap_s``.
    If it lasts longer, the person leaves and comes back as of the first of those poses: nothing
    lies between the two kinds.

    Parameters
    ----------
    make_refiner : callable
        Returns a new `Refiner`; all are alike.
    gap_s : float
        Poses farther apart than this, or out of order, start anew; a person who was not seen for
        longer is gone.

    Attributes
    ----------
    counts : Counter
        What happened so far: "restarts" of the stream; "repeats", poses of the same stamp as the
        last, which are ignored; "moved", people who began anew because their poses became
        relative to the root, or placed; "others", poses left out because they were so for no
        longer than ``gap_s``; "doubles", people left out because somebody before them in the
        message has their number.
    """

    def __init__(self, make_refiner: Callable[[], Refiner], gap_s: float) -> None:
        checks.real("gap_s", gap_s, positive=True)
        self.rate_hz = make_refiner().rate_hz
        self.gap_s = gap_s
        self.counts: Counter[str] = Counter()
        self._make_refiner = make_refiner
        self._inputs: deque[tuple[int, list[str]]] = deque()  # stamp and missing sources
        self._period = Period()
        self._reset()

    def _reset(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._waiting: dict[int, dict[int, Person]] = {}  # by frame and by `by_key`'s number
        self._start_ns: int | None = None  # of frame 0
        self._last_ns: int | None = None  # of the last message
        self._next = 0  # frame to give next
        self._inputs.clear()
        self._period.clear()

    @property
    def period_ns(self) -> int | None:
        """Time from message to message; None until it is known."""
        return self._period.ns

    @property
    def next_ns(self) -> int | None:
        """Stamp of the frame that comes next; None before the first message."""
        return None if self._start_ns is None else self._stamp_ns(self._next)

    @property
    def waiting(self) -> int:
        """How many frames up to the last message were not given yet."""
        if self._last_ns is None:
            return 0
        return max(0, math.floor(self._place(self._last_ns) + 1e-6) + 1 - self._next)

    def push(
        self, stamp_ns: int, people: Sequence[Person], missing_sources: Sequence[str] = ()
    ) -> list[RefinedFrame]:
        """Take the poses of an instant; return the frames that they make final.

        Frames are given once and in order; those that `ahead` gave do not come again.
        """
        frames = []
        if self._last_ns is not None:
            step_ns = stamp_ns - self._last_ns
            if step_ns == 0:
                self.counts["repeats"] += 1
                return []
            if not 0 < step_ns <= self.gap_s * NANOSECONDS:
                self.counts["restarts"] += 1
                frames += self.flush()
            else:
                self._period.add(step_ns)
        if self._start_ns is None:
            self._start_ns = stamp_ns
        self._last_ns = stamp_ns
        self._inputs.append((stamp_ns, list(missing_sources)))
        time_s = self._time_s(stamp_ns)
        self._forget_gone(stamp_ns)
        there = self._set_others_aside(by_key(people), time_s)
        self.counts["doubles"] += doubles(people)
        if there and not self._tracks:  # up to here nobody was there
            frames += self._give(max(self._nearest(stamp_ns), max(self._waiting, default=-1) + 1))
            if self._next <= self._nearest(stamp_ns):
                self._start_ns, self._next = stamp_ns, 0
                time_s = 0.0
        for key in [key for key in there if key not in self._tracks]:
            self._begin(key, [(time_s, there[key])])
        for key, track in self._tracks.items():
            if time_s > track.pushed_s:
                self._tell(track, time_s, there.get(key))
        return frames + self._give(self._horizon(stamp_ns))

    def ahead(self, until_ns: int) -> list[RefinedFrame]:
        """Return the frames up to a stamp that are not final yet, as far as they can be told."""
        if self._start_ns is None:
            return []
        until_s = self._time_s(until_ns)
        told = [(t, t.refiner.preview(until_s)) for t in self._tracks.values() if t.began]
        end = min((track.following + len(frames) for track, frames in told), default=0)
        for track, frames in told:
            self._collect(track, frames, end)
        return self._give(end)

    def flush(self) -> list[RefinedFrame]:
        """Return what is not final yet, as it is, and start anew."""
        for track in self._tracks.values():
            self._finish(track, track.refiner.flush())
            self.counts["others"] += len(track.others)
        frames = self._give(max(self._waiting, default=-1) + 1)
        self._reset()
        return frames

    # -- people ------------------------------------------------------------------------------

    def _begin(self, key: int, poses: Sequence[tuple[float, Person]]) -> None:
        """Begin with somebody's poses; the first one is taken for that of the nearest frame."""
        at_s, person = poses[0]
        at_s = round(at_s * self.rate_hz) / self.rate_hz
        track = _Track(
            key, self._make_refiner(), Sightings(0.5 / self.rate_hz), person, at_s, at_s
        )
        self._tracks[key] = track
        self._tell(track, at_s, person)
        for time_s, person in poses[1:]:
            if time_s > track.pushed_s:
                self._tell(track, time_s, person)

    def _tell(self, track: _Track, time_s: float, person: Person | None) -> None:
        """Let a person's refiner know what was seen of them, None for nothing."""
        keypoints, origin = np.full_like(track.last.keypoints, np.nan), None
        if person is not None:
            keypoints, origin = person.keypoints, person.origin
            track.last, track.seen_s = person, time_s
            track.sightings.add(time_s, person)
            self.counts["others"] += len(track.others)
            track.others.clear()
        track.pushed_s = time_s
        self._finish(track, track.refiner.push(time_s, keypoints, origin))

    def _set_others_aside(self, there: Mapping[int, Person], time_s: float) -> dict[int, Person]:
        """Return people without those who are placed and were not before, or the other way round.

        Their tracks remember them, in case that it lasts.
        """
        same = {}
        for key, person in there.items():
            track = self._tracks.get(key)
            if track is None or person.root_relative == track.last.root_relative:
                same[key] = person
            else:
                track.others.append((time_s, person))
        return same

    def _forget_gone(self, stamp_ns: int) -> None:
        """Forget who was not seen for too long; if they were of the other kind, begin anew."""
        now_s = self._time_s(stamp_ns)
        for key, track in list(self._tracks.items()):
            if now_s - track.seen_s <= self.gap_s + 1e-6:
                continue
            del self._tracks[key]
            self._collect(track, track.refiner.flush(), self._nearest(stamp_ns))
            if track.others and now_s - track.others[-1][0] <= self.gap_s + 1e-6:
                self.counts["moved"] += 1
                self._begin(key, track.others)
            else:
                self.counts["others"] += len(track.others)

    def _finish(self, track: _Track, frames: RefinedPoses) -> None:
        """Take a person's final frames."""
        if len(frames):
            track.following = round(frames.times_s[-1] * self.rate_hz) + 1
            track.began = True
            self._collect(track, frames, track.following)
            track.sightings.forget(frames.times_s[-1] - self.gap_s)

    def _collect(self, track: _Track, frames: RefinedPoses, end: int) -> None:
        """Put a person into the frames before this number that were not given yet.

        What a frame holds of them already is replaced.
        """
        for time_s, pose, origin, (before_s, after_s) in zip(
            frames.times_s, frames.poses, frames.origin, frames.keyframes_s, strict=True
        ):
            number = round(time_s * self.rate_hz)
            missing = origin == Origin.MISSING
            if not self._next <= number < end or missing.all():
                continue
            joints, confidence = track.sightings.confidence(time_s, (before_s, after_s))
            self._waiting.setdefault(number, {})[track.key] = replace(
                track.last,
                keypoints=pose,
                joint_confidence=np.where(missing, 0.0, joints),
                confidence=confidence,
                origin=np.where(missing, Origin.OBSERVED, origin).astype(np.uint8),
            )

    # -- frames ------------------------------------------------------------------------------

    def _stamp_ns(self, number: int) -> int:
        assert self._start_ns is not None
        return self._start_ns + round(number * NANOSECONDS / self.rate_hz)

    def _time_s(self, stamp_ns: int) -> float:
        """Return the time since frame 0."""
        assert self._start_ns is not None
        return (stamp_ns - self._start_ns) / NANOSECONDS

    def _place(self, stamp_ns: int) -> float:
        """Return a stamp as the number of a frame, with its fraction."""
        return self._time_s(stamp_ns) * self.rate_hz

    def _nearest(self, stamp_ns: int) -> int:
        """Return the number of the nearest frame."""
        return round(self._place(stamp_ns))

    def _horizon(self, stamp_ns: int) -> int:
        """Return the first frame that is not final for everybody."""
        if not self._tracks:  # looked, and nobody was there
            return math.floor(self._place(stamp_ns) + 1e-6) + 1
        return min((t.following for t in self._tracks.values() if t.began), default=0)

    def _give(self, end: int) -> list[RefinedFrame]:
        """Return the frames before this number that were not given yet."""
        frames = []
        for number in range(self._next, end):
            stamp_ns = self._stamp_ns(number)
            people = list(self._waiting.pop(number, {}).values())
            frames.append(RefinedFrame(stamp_ns, people, self._missing_sources(stamp_ns)))
        self._next = max(self._next, end)
        return frames

    def _missing_sources(self, stamp_ns: int) -> list[str]:
        """Return what the messages before and after lack, or the one within half a frame."""
        half_ns = 0.5 * NANOSECONDS / self.rate_hz
        while len(self._inputs) > 1 and self._inputs[1][0] <= stamp_ns:
            self._inputs.popleft()
        near = [sources for at_ns, sources in self._inputs if abs(at_ns - stamp_ns) <= half_ns]
        around = near[:1] or [sources for _, sources in list(self._inputs)[:2]]
        return sorted(set().union(*around))
