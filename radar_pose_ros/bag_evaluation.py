"""``radar-pose evaluate bag``: what a recorded run is worth against the truth.

The truth is what emulators and imported data sets say: poses on a topic with ``ground_truth`` as a
part of its name, in the run's bag or in another one. It is compared with poses at their instants,
by stamps: between two instants of the truth that are no farther than `MAX_TRUTH_GAP_S` apart it
is interpolated by cubic splines, joint by joint, and beyond it is not known. Truth in another
frame is brought to that of the poses by the transforms in the bags; truth in space is brought to
an image by the camera's ``camera_info``. Joints of another skeleton are made as
`skeleton.mapping` says or, where it says nothing, joints of the same name are compared.

Without a truth no error is known, and what is told is what there is, and how well poses in space
fit what cameras saw at the same instant, which is no error but grows with it.
"""

from __future__ import annotations

import argparse
import math
import os.path
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radar_pose_ros import bag_contents, measurements
from radar_pose_ros.bag_contents import POSES_2D, POSES_3D, Contents, Fact, Poses
from radar_pose_ros.datasets.multiview import SampledJoints
from radar_pose_ros.evaluation import MAX_TRUTH_GAP_S, PCK_THRESHOLD
from radar_pose_ros.metrics import keypoints, pose3d
from radar_pose_ros.recording import BagReader, RecordingError
from radar_pose_ros.run_comparison import matched_people
from radar_pose_ros.skeleton import definitions, mapping
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import (
    CAMERA_FRAME,
    CAMERA_HEIGHT_M,
    CENTRE_PX,
    FOCAL_LENGTH_PX,
    IMAGE_SIZE_PX,
)
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.frames import FrameTree, Placement

TRUTH = "ground_truth"
_RIG_FRAME = "radar_rig"  # the frame in which `skeleton.projection` has its world
_TRANSFORMS, _CAMERA = "tf2_msgs/msg/TFMessage", "sensor_msgs/msg/CameraInfo"
_NANOSECONDS = 1_000_000_000
_NO_INSTANT = "no instant in common"
_DATES_FROM_NS = 10**17  # stamps before are no dates but counted from a start [choice]


class Scene(NamedTuple):
    """Where frames are, the lenses of cameras by their frames, and what of this is no good."""

    frames: FrameTree
    lenses: dict[str, PinholeCamera]
    faults: dict[str, None]


@dataclass(frozen=True)
class Comparison:
    """One topic's poses beside the truth, of all people whom the truth knows.

    Parameters
    ----------
    topic, truth, unit : str
        Names of the topics; "px" or "m".
    joints : sequence of str
        Those that are compared.
    found, true : ndarray, shape (people, joints, 2 or 3)
        NaN is unknown; all of a person who was not found. Positions are NaN where only the pose
        relative to the root is known.
    relative, true_relative : ndarray or None
        The same relative to the root, in m; None if the joints have no root, or are in an image.
    torso_px : ndarray, shape (people,)
        In an image, from the neck to the middle of the hips, by the truth.
    instants : int
        Messages at whose stamp the truth is known.
    with_somebody : int
        Those of them that say where somebody is.
    exact : int
        Those of them whose stamp is one of the truth's; at the others it is interpolated.
    truth_instants, covered : int
        Instants of the truth, and those of them at which, within half a step of the slower of
        both, there is a pose of somebody.
    other_people : int
        Instants at which there are more or fewer people than in the truth.
    notes : sequence of str
    """

    topic: str
    truth: str
    unit: str
    joints: Sequence[str]
    found: np.ndarray = field(repr=False)
    true: np.ndarray = field(repr=False)
    relative: np.ndarray | None = field(repr=False)
    true_relative: np.ndarray | None = field(repr=False)
    torso_px: np.ndarray = field(repr=False)
    instants: int
    with_somebody: int
    exact: int
    truth_instants: int
    covered: int
    other_people: int
    notes: Sequence[str] = ()

    @property
    def numbers(self) -> dict[str, tuple[float, str]]:
        """All measures of the whole body, with their units; NaN is unknown."""
        made: dict[str, tuple[float, str]] = {}
        if self.unit == "px":
            made["error"] = keypoints.end_point_error(self.found, self.true), "px"
            right = keypoints.correct_keypoints(
                self.found, self.true, self.torso_px, PCK_THRESHOLD
            )
            made["pck_0_2"] = _mean(right), ""
            missing = np.isnan(self.found).any(-1) & ~np.isnan(self.true).any(-1)
            total = int((~np.isnan(self.true).any(-1)).sum())
            made["joints_missing"] = (missing.sum() / total if total else math.nan), ""
        else:
            made["mpjpe"] = pose3d.mpjpe(self.found, self.true), "m"
            if self.relative is not None and self.true_relative is not None:
                made["root_relative_mpjpe"] = (
                    pose3d.mpjpe(self.relative, self.true_relative),
                    "m",
                )
            shape = self.shape
            made["p_mpjpe"] = pose3d.p_mpjpe(*shape), "m"
            count = pose3d.count_joints(*shape)
            total = count.compared + count.missing
            made["joints_missing"] = (count.missing / total if total else math.nan), ""
        return made

    @property
    def shape(self) -> tuple[np.ndarray, np.ndarray]:
        """Estimate and truth of poses wherever they are: relative to the root, if it has one."""
        if self.relative is not None and self.true_relative is not None:
            return self.relative, self.true_relative
        return self.found, self.true

    @property
    def by_joint(self) -> dict[str, float]:
        """Mean distance of each joint; relative to the root if nothing else is known."""
        found, true = self.found, self.true
        if np.isnan(found).all() and self.unit == "m":
            found, true = self.shape
        errors = np.linalg.norm(found - true, axis=-1)
        return {name: _mean(errors[:, k]) for k, name in enumerate(self.joints)}


class Fit(NamedTuple):
    """How well poses in space fit what a camera saw at the same instants.

    Attributes
    ----------
    topic, view : str
        Of poses in space, and in the image.
    instants : int
    median_px, p90_px : float
        Of the distances of joints that both know.
    """

    topic: str
    view: str
    instants: int
    median_px: float
    p90_px: float


@dataclass(frozen=True)
class Evaluation:
    """What a run is worth.

    Parameters
    ----------
    run : str
    truth_bag : str
        Where the truth is from; empty if there is none.
    contents : sequence of Contents
    models : dict of str to tuple of str
        By topic, what estimated its poses.
    comparisons : sequence of Comparison
    fits : sequence of Fit
    notes : sequence of str
        What could not be compared, and why.
    """

    run: str
    truth_bag: str
    contents: Sequence[Contents]
    models: dict[str, tuple[str, ...]]
    comparisons: Sequence[Comparison]
    fits: Sequence[Fit]
    notes: Sequence[str]


def measure(run: str | Path, truth: str | Path | None = None) -> Evaluation:
    """Read a run and compare its poses with the truth, if there is one.

    Parameters
    ----------
    run : path
        A bag.
    truth : path, optional
        Another bag, whose truth is taken; by default the run's own.

    Raises
    ------
    RecordingError
        If a bag cannot be read, or the other one has no truth, or nothing can be compared with it.
    """
    with BagReader(run) as reader:
        estimates, own = _all_poses(reader)
        contents = [bag_contents.of_poses(poses) for poses in (*estimates, *own)]
        seen = {one.topic for one in contents}
        contents += [
            bag_contents.of_topic(reader, t) for t in reader.details if t.name not in seen
        ]
        scene = Scene(FrameTree(), {}, {})
        _add_scene(scene, reader)
    truths = own
    if truth is not None:
        with BagReader(truth) as reader:
            truths = _all_poses(reader)[1]
            _add_scene(scene, reader)
        if not truths:
            raise RecordingError(f"{truth} holds no truth: no poses on a topic {TRUTH}")
    comparisons, notes = _compare_all(estimates, truths, scene)
    if truth is not None and not comparisons:
        why = "; ".join(notes) or f"{run} holds no poses"
        raise RecordingError(f"{run} cannot be compared with {truth}: {why}")
    return Evaluation(
        run=str(run),
        truth_bag=str(truth or run) if truths else "",
        contents=sorted(contents, key=lambda one: one.topic),
        models={poses.topic: poses.models for poses in (*estimates, *own)},
        comparisons=comparisons,
        fits=_fits(estimates, scene),
        notes=[*notes, *scene.faults],
    )


# -- what is in the bags ---------------------------------------------------------------------


def _all_poses(reader: BagReader) -> tuple[list[Poses], list[Poses]]:
    """Return poses that were estimated, and those that are the truth."""
    found: tuple[list[Poses], list[Poses]] = ([], [])
    for topic in reader.details:
        if topic.type_name in (POSES_2D, POSES_3D):
            poses = bag_contents.read_poses(reader, topic.name)
            if poses is not None:
                found[TRUTH in topic.name.split("/")].append(poses)
    return found


def _add_scene(scene: Scene, reader: BagReader) -> None:
    """Read where frames are, and lenses; the last word counts."""
    rig = Placement(
        np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
        np.array([0.0, 0.0, CAMERA_HEIGHT_M]),
    )
    scene.frames.put(_RIG_FRAME, CAMERA_FRAME, rig)
    scene.lenses[CAMERA_FRAME] = PinholeCamera(
        focal_px=(FOCAL_LENGTH_PX, FOCAL_LENGTH_PX),
        centre_px=(CENTRE_PX, CENTRE_PX),
        size_px=(IMAGE_SIZE_PX, IMAGE_SIZE_PX),
        rotation=np.eye(3),
        position_m=np.zeros(3),
    )
    wanted = [t for t, kind in reader.topics.items() if kind in (_TRANSFORMS, _CAMERA)]
    known: set[str] = set()
    for item in reader.messages(wanted):
        where = f"{item.topic} of {reader.path}"
        if reader.topics[item.topic] == _TRANSFORMS:
            for child, fault in scene.frames.put_all(item.message.transforms).items():
                scene.faults[f"{where}: {child!r} is not used: {fault}"] = None
        elif item.topic not in known:
            known.add(item.topic)  # a lens does not change
            try:
                lens = PinholeCamera.from_camera_info(item.message)
            except ValueError as error:
                scene.faults[f"{where} is not used: {error}"] = None
            else:
                scene.lenses[item.message.header.frame_id] = lens


# -- comparing -------------------------------------------------------------------------------


def _compare_all(
    estimates: Sequence[Poses], truths: Sequence[Poses], scene: Scene
) -> tuple[list[Comparison], list[str]]:
    comparisons = []
    others: dict[str, list[Poses]] = {}  # by why they are not compared
    for poses in estimates:
        reasons: list[str] = []
        for truth in sorted(truths, key=partial(_remoteness, poses)):
            try:
                comparisons.append(_compare(poses, truth, scene))
                break
            except _NotComparableError as error:
                reasons.append(str(error))
        else:
            for reason in reasons[:1]:
                others.setdefault(reason, []).append(poses)
    return comparisons, [_not_compared(group, reason) for reason, group in others.items()]


def _not_compared(group: Sequence[Poses], reason: str) -> str:
    topics = ", ".join(poses.topic for poses in group)
    if reason.startswith(_NO_INSTANT):
        topics += f" ({_span(np.concatenate([poses.stamps_ns for poses in group]))})"
    return f"{topics} {'is' if len(group) == 1 else 'are'} not compared: {reason}"


class _NotComparableError(Exception):
    """Poses and a truth that have nothing to do with each other: says why."""


def _remoteness(poses: Poses, truth: Poses) -> tuple[bool, int]:
    """Order truths: first those of as many dimensions, whose name begins as that of the poses."""
    return truth.flat != poses.flat, -len(os.path.commonpath([poses.topic, truth.topic]))


def _compare(poses: Poses, truth: Poses, scene: Scene) -> Comparison:
    if truth.flat and not poses.flat:
        raise _NotComparableError(f"{truth.topic} is in an image")
    matching = _matching(poses.skeleton, truth.skeleton)
    when = _Instants(truth)
    at = when.at(poses.stamps_ns)
    chosen = [k for k, people in enumerate(at) if len(people)]
    if not chosen:
        raise _NotComparableError(
            f"{_NO_INSTANT} with {truth.topic}, whose stamps are "
            f"{_span(truth.stamps_ns)}. A replay keeps the stamps of what it plays: is this a run "
            "of the same recording?"
        )
    bring = _bring(poses, truth, scene)
    found, true, placed = [], [], []
    other_people = 0
    for k in chosen:
        theirs, ours = matching.truth(bring(at[k])), matching.found(poses.people[k])
        other_people += len(theirs) != len(ours)
        rows, columns = matched_people(theirs, ours)
        padded, is_placed = np.full(theirs.shape, np.nan), np.zeros(len(theirs), bool)
        padded[rows], is_placed[rows] = ours[columns], poses.placed[k][columns]
        found.append(padded)
        true.append(theirs)
        placed.append(is_placed)
    all_found, all_true = np.concatenate(found), np.concatenate(true)
    relative = true_relative = None
    if not poses.flat and matching.skeleton:
        skeleton = definitions.get(matching.skeleton)
        relative, true_relative = (
            pose3d.relative_to_root(joints, skeleton) for joints in (all_found, all_true)
        )
    somewhere = np.concatenate(placed)[:, None, None]
    return Comparison(
        topic=poses.topic,
        truth=truth.topic,
        unit="px" if poses.flat else "m",
        joints=matching.joints,
        found=np.where(somewhere, all_found, np.nan),
        true=all_true,
        relative=relative,
        true_relative=true_relative,
        torso_px=_torso_px(all_true, matching.skeleton) if poses.flat else np.empty(0),
        instants=len(chosen),
        with_somebody=int(poses.somebody[chosen].sum()),
        exact=int(np.isin(poses.stamps_ns[chosen], when.stamps_ns).sum()),
        truth_instants=len(when.stamps_ns),
        covered=_covered(when.stamps_ns, poses),
        other_people=other_people,
        notes=matching.notes,
    )


class _Instants:
    """The truth at any instant: of each person, by number, cubic splines through what is known."""

    def __init__(self, truth: Poses) -> None:
        self.stamps_ns = np.unique(truth.stamps_ns[truth.somebody])
        self._begin_ns = int(truth.stamps_ns[0]) if len(truth.stamps_ns) else 0
        tracks: dict[int, dict[int, np.ndarray]] = {}
        for stamp, numbers, people in zip(
            truth.stamps_ns.tolist(), truth.numbers, truth.people, strict=True
        ):
            for number, joints in zip(numbers, people, strict=True):
                tracks.setdefault(number, {}).setdefault(stamp, joints)
        self._people = [
            SampledJoints(self._seconds([*track]), np.stack([*track.values()]), MAX_TRUTH_GAP_S)
            for track in tracks.values()
        ]

    def _seconds(self, stamps_ns: Iterable[int]) -> np.ndarray:
        return (np.fromiter(stamps_ns, np.int64) - self._begin_ns) / _NANOSECONDS

    def at(self, stamps_ns: np.ndarray) -> list[np.ndarray]:
        """Return the people of whom something is known, (people, joints, 2 or 3), by instant."""
        tracks = [person(self._seconds(stamps_ns)) for person in self._people]
        return [
            np.array([track[k] for track in tracks if np.isfinite(track[k]).any()])
            for k in range(len(stamps_ns))
        ]


class _Matching(NamedTuple):
    """How the joints of an estimate and of a truth become the same.

    Attributes
    ----------
    found, truth : callable
        From (people, joints, 2 or 3) to the joints that are compared.
    joints : sequence of str
    skeleton : str
        Whose joints these are; empty if they are some of the same name only.
    notes : sequence of str
    """

    found: Any
    truth: Any
    joints: Sequence[str]
    skeleton: str
    notes: Sequence[str] = ()


def _matching(found: str, truth: str) -> _Matching:
    try:
        theirs, ours = definitions.get(truth), definitions.get(found)
    except ValueError as error:
        raise _NotComparableError(str(error)) from None
    for target in (ours, theirs):
        try:
            for source in (found, truth):
                mapping.formulas(source, target.name)
        except ValueError:
            continue
        made = "" if found == truth else f"joints of {truth} and {found} compared as {target.name}"
        return _Matching(
            _converter(found, target.name),
            _converter(truth, target.name),
            target.joints,
            target.name,
            [made] if made else [],
        )
    same = [name for name in ours.joints if name in theirs.joints]
    if not same:
        raise _NotComparableError(f"{found} has no joint of {truth}, the truth's skeleton")
    return _Matching(
        _chooser([ours.index(name) for name in same]),
        _chooser([theirs.index(name) for name in same]),
        same,
        "",
        [f"of {truth} and {found} the {len(same)} joints of the same name are compared"],
    )


def _converter(source: str, target: str) -> Any:
    count = len(definitions.get(target).joints)

    def convert(people: np.ndarray) -> np.ndarray:
        if not len(people):
            return np.empty((0, count, people.shape[-1]))
        try:
            return mapping.convert(people, source, target)
        except ValueError as error:
            raise _NotComparableError(str(error)) from None

    return convert


def _chooser(joints: Sequence[int]) -> Any:
    def choose(people: np.ndarray) -> np.ndarray:
        return people[:, joints] if len(people) else np.empty((0, len(joints), people.shape[-1]))

    return choose


def _bring(poses: Poses, truth: Poses, scene: Scene) -> Any:
    """Return what brings the truth, (people, joints, 2 or 3), to the frame of poses."""
    if truth.flat:
        if truth.frame_id != poses.frame_id:
            raise _NotComparableError(
                f"it is of the camera {poses.frame_id!r}, {truth.topic} of {truth.frame_id!r}"
            )
        if truth.size_px != poses.size_px and 0 not in (*truth.size_px, *poses.size_px):
            raise _NotComparableError(
                f"its images have {poses.size_px} px, those of {truth.topic} {truth.size_px}"
            )
        return lambda people: people
    where = None
    if truth.frame_id != poses.frame_id:
        try:
            where = scene.frames.where(truth.frame_id, poses.frame_id)
        except ValueError as error:
            raise _NotComparableError(f"{error} (the truth's and its own)") from None
    lens = scene.lenses.get(poses.frame_id) if poses.flat else None
    if poses.flat and lens is None:
        raise _NotComparableError(
            f"{truth.topic} is in space, and no camera_info says the lens of {poses.frame_id!r}"
        )

    def bring(people: np.ndarray) -> np.ndarray:
        if where is not None:
            people = people @ where.rotation.T + where.translation_m
        return people if lens is None else np.asarray(lens.project(people))

    return bring


def _torso_px(true_px: np.ndarray, skeleton: str) -> np.ndarray:
    try:
        return keypoints.torso_length(mapping.convert(true_px, skeleton, HUPR14.name))
    except ValueError:  # a skeleton without a neck or hips that are known
        return np.full(len(true_px), np.nan)


def _covered(truth_ns: np.ndarray, poses: Poses) -> int:
    """Return at how many instants of the truth there is a pose of somebody."""
    there = np.unique(poses.stamps_ns[poses.somebody])
    if not len(there):
        return 0
    steps = [np.median(np.diff(stamps)) for stamps in (truth_ns, there) if len(stamps) > 1]
    place = np.searchsorted(there, truth_ns)
    before, after = (np.take(there, place - k, mode="clip") for k in (1, 0))
    apart = np.minimum(np.abs(truth_ns - before), np.abs(truth_ns - after))
    return int((apart <= max(steps, default=0.0) / 2).sum())


def _span(stamps_ns: np.ndarray) -> str:
    if not len(stamps_ns):
        return "none"
    first, last = int(stamps_ns.min()), int(stamps_ns.max())
    if first < _DATES_FROM_NS:
        return f"{first / _NANOSECONDS:.3f} to {last / _NANOSECONDS:.3f} s since 1970"
    dates = [datetime.fromtimestamp(at / _NANOSECONDS, timezone.utc) for at in (first, last)]
    return f"{dates[0]:%Y-%m-%d %H:%M:%S} to {dates[1]:%Y-%m-%d %H:%M:%S} UTC"


def _fits(estimates: Sequence[Poses], scene: Scene) -> list[Fit]:
    """Compare poses in space with those in images of the same stamps, where cameras are known."""
    found = []
    for poses in estimates:
        for view in estimates:
            seen = not poses.flat and view.flat and view.frame_id != CAMERA_FRAME
            if not seen or view.frame_id not in scene.lenses:
                continue
            try:
                errors_px, instants = _fit(poses, view, scene)
            except _NotComparableError:
                continue
            if len(errors_px):
                middle, most = np.percentile(errors_px, [50, 90])
                found.append(Fit(poses.topic, view.topic, instants, float(middle), float(most)))
    return found


def _fit(poses: Poses, view: Poses, scene: Scene) -> tuple[np.ndarray, int]:
    bring = _bring(view, poses, scene)
    try:
        shared = mapping.taken_over(view.skeleton, poses.skeleton)
    except ValueError as error:
        raise _NotComparableError(str(error)) from None
    convert = _converter(view.skeleton, poses.skeleton)
    errors: list[np.ndarray] = []
    _, ours, theirs = np.intersect1d(poses.stamps_ns, view.stamps_ns, return_indices=True)
    for k, other in zip(ours, theirs, strict=True):
        in_image = bring(poses.people[k][poses.placed[k]])
        detected = convert(view.people[other])
        rows, columns = matched_people(in_image, detected)
        apart = np.linalg.norm(in_image[rows] - detected[columns], axis=-1)[:, shared]
        errors.append(apart[np.isfinite(apart)])
    return (np.concatenate(errors) if errors else np.empty(0)), len(errors)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


# -- what is told ----------------------------------------------------------------------------


def table(evaluation: Evaluation) -> str:
    """Return all of it as lines of text."""
    lines = [f"run: {evaluation.run}"]
    width = max((len(one.topic) for one in evaluation.contents), default=0)
    lines += [f"  {one.topic:<{width}}  {_contents(one)}" for one in evaluation.contents]
    lines += [
        f"  {topic} is by {' and '.join(models)}" for topic, models in evaluation.models.items()
    ]
    for fit in evaluation.fits:
        lines.append(
            f"{fit.topic} fits {fit.view} at {fit.instants} instants: joints {fit.median_px:.1f} "
            f"px off in the middle, 90 % less than {fit.p90_px:.1f} px"
        )
    if not evaluation.truth_bag:
        lines.append(f"no truth is there (no poses on a topic {TRUTH}): no error is known")
    for one in evaluation.comparisons:
        lines += ["", *_comparison(one, evaluation.truth_bag)]
    return "\n".join([*lines, *(f"note: {note}" for note in evaluation.notes)])


def _contents(one: Contents) -> str:
    parts = [f"{one.messages} messages"]
    if math.isfinite(one.rate_hz):
        parts.append(f"{one.rate_hz:.2f} Hz")
    return ", ".join([*parts, *(_fact(fact) for fact in one.facts)])


def _fact(fact: Fact) -> str:
    value = str(fact.value) if isinstance(fact.value, int) else f"{fact.value:.4g}"
    said = f"{value} {fact.unit}".rstrip() if math.isfinite(fact.value) else "unknown"
    return f"{fact.name.replace('_', ' ')} {said}"


def _comparison(one: Comparison, bag: str) -> Iterator[str]:
    yield f"{one.topic} beside the truth, {one.truth} of {bag}"
    between = one.instants - one.exact
    yield (
        f"  {one.instants} instants with a truth, {one.exact} at its own stamps, {between} "
        f"between two (cubic splines); with somebody {one.with_somebody / one.instants:.1%}"
    )
    yield f"  a pose at {one.covered} of the truth's {one.truth_instants} instants"
    if one.other_people:
        yield f"  at {one.other_people} instants the number of people differs"
    for note in one.notes:
        yield f"  {note}"
    width = max(map(len, _WORDS.values()))
    for name, (value, unit) in one.numbers.items():
        yield f"  {_WORDS[name]:<{width}}  {_number(value)} {unit}".rstrip()
    width = max(map(len, one.joints))
    for name, value in one.by_joint.items():
        yield f"    {name:<{width}}  {_number(value)} {one.unit}"


_WORDS = {
    "error": "mean error",
    "pck_0_2": "PCK at 0.2 of the torso",
    "mpjpe": "MPJPE",
    "root_relative_mpjpe": "MPJPE relative to the root",
    "p_mpjpe": "P-MPJPE",
    "joints_missing": "share of joints missing",
}


def _number(value: float) -> str:
    return f"{value:8.4g}" if math.isfinite(value) else f"{'unknown':>8}"


def results(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return all of it as rows of numbers; NaN is unknown."""
    rows = []
    for one in evaluation.contents:
        name = f"bag.{one.topic.strip('/')}"
        rows.append(measurements.result(f"{name}.messages", one.messages))
        rows.append(measurements.result(f"{name}.rate_hz", one.rate_hz, "Hz"))
        rows += [measurements.result(f"{name}.{f.name}", f.value, f.unit) for f in one.facts]
    for fit in evaluation.fits:
        name = f"bag.{fit.topic.strip('/')}.fit.{fit.view.strip('/')}"
        rows.append(measurements.result(f"{name}.median_px", fit.median_px, "px"))
        rows.append(measurements.result(f"{name}.p90_px", fit.p90_px, "px"))
    for compared in evaluation.comparisons:
        rows += _rows(compared)
    return rows


def _rows(one: Comparison) -> Iterator[dict[str, Any]]:
    name, against = f"bag.{one.topic.strip('/')}", one.truth
    counts = ("instants", "exact", "truth_instants", "covered", "other_people")
    for count in counts:
        yield measurements.result(f"{name}.{count}", getattr(one, count), against=against)
    share = one.with_somebody / one.instants
    yield measurements.result(f"{name}.instants_with_somebody", share, against=against)
    for what, (value, unit) in one.numbers.items():
        label = f"{name}.{what}_{unit}" if unit else f"{name}.{what}"
        yield measurements.result(label, value, unit, against=against)
    for joint, value in one.by_joint.items():
        yield measurements.result(f"{name}.joint.{joint}", value, one.unit, against=against)


# -- the command line ------------------------------------------------------------------------


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose evaluate bag``."""
    parser.description = "What a recorded run is worth, against the truth if there is one."
    parser.add_argument("run", metavar="RUN", help="bag of the run")
    parser.add_argument(
        "--truth", metavar="BAG", help="bag with the truth, as `import` makes it (default: RUN)"
    )
    parser.add_argument("--json", metavar="FILE", help="also write machine and numbers")


def evaluate(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose evaluate bag``.

    Raises
    ------
    RecordingError
        See `measure`.
    """
    evaluation = measure(arguments.run, arguments.truth)
    print(table(evaluation))
    if arguments.json:
        measurements.write_results(arguments.json, results(evaluation))
    return 0
