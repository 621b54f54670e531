"""``radar-pose evaluate radhar``: do a network's poses of another radar's people make sense?

RadHAR has five activities, points, and no joints: what can be asked is whether poses are shaped
like people, and whether these do what is said of them (`radar_pose_ros.metrics.sense`). Nothing is
trained, and no number is chosen, on it.

Five sets of poses are judged by the same checks. *points*: what the network says of the newest
frame, as live use has it. *moved*: the same, but the points are moved first so that their middle,
over the recording, is where those were that the network has learnt from; its poses are moved back.
As the network follows on the floor plan anyway, what that changes is the height.
*mean_pose*: the network's mean pose, put at the points of the last half second. *others* and
*moved_others*: of each other activity one recording of *points* or *moved*, judged as if it were
of this one: a check that these pass proves nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radar_pose_ros import measurements
from radar_pose_ros.datasets import radhar
from radar_pose_ros.datasets.mars import COLUMNS, PointSequence
from radar_pose_ros.datasets.radhar import Clip
from radar_pose_ros.metrics.sense import ACTIVITY_CHECKS, SHAPE_CHECKS, Take
from radar_pose_ros.models import weights
from radar_pose_ros.models.points import PointPose
from radar_pose_ros.skeleton.definitions import KINECT25
from radar_pose_ros.training import points
from radar_pose_ros.training import recipe as recipes

METHODS = ("points", "moved", "mean_pose", "others", "moved_others")
# Points of so long describe where somebody is [choice].
_MIDDLE_S = 0.5
_PERCENTILES = (10, 50, 90)

# By method, the takes of each activity.
Takes = dict[str, dict[str, list[Take]]]


def files(folder: Path) -> list[Path]:
    """Return the ``.npz`` files of a folder.

    Raises
    ------
    ValueError
        If there are none.
    """
    found = sorted(folder.glob("*.npz"))
    if not found:
        raise ValueError(f"{folder} has no .npz files of RadHAR")
    return found


def about(clouds: Sequence[np.ndarray], rate_hz: float) -> np.ndarray:
    """Return of the points of the last `_MIDDLE_S` the 10th, 50th and 90th percentile of places.

    Returns
    -------
    ndarray, shape (frames, 3, 3)
        The second axis are the percentiles. Where there are no points, what was there last; NaN
        before the first.
    """
    spans = max(1, round(_MIDDLE_S * rate_hz))
    found = np.full((len(clouds), len(_PERCENTILES), 3), np.nan)
    for k in range(len(clouds)):
        places = np.concatenate(clouds[max(0, k + 1 - spans) : k + 1])[:, :3]
        if len(places):
            found[k] = np.percentile(places, _PERCENTILES, axis=0)
        elif k:
            found[k] = found[k - 1]
    return found


def takes_of(clip: Clip, network: PointPose) -> dict[str, Take]:
    """Return what methods but those of *others* say of a recording.

    The frames before the network's first full window are left out.

    Parameters
    ----------
    clip : Clip
    network : PointPose

    Raises
    ------
    ValueError
        If the recording is no longer than a window.
    """
    c = network.config
    clouds = radhar.gathered(clip, c.rate_hz)
    if len(clouds) <= c.frames or not any(len(cloud) for cloud in clouds):
        raise ValueError(
            f"{clip.name} has {len(clouds)} frames, of which some want points; a network of "
            f"{c.frames} needs more than those"
        )
    points_m = about(clouds, c.rate_hz)
    mean_m = network.head.mean_m.numpy()
    middle_m = np.median(mean_m, axis=0)
    shift_m = network.middle_m.numpy() - np.median(np.concatenate(clouds)[:, :3], axis=0)
    found = {
        "points": _estimate(network, clip, clouds),
        "moved": _estimate(network, clip, _moved(clouds, shift_m)) - shift_m,
        "mean_pose": mean_m - middle_m + points_m[:, 1, None],
    }
    first = c.frames - 1
    return {
        name: Take(joints_m[first:], points_m[first:], c.rate_hz)
        for name, joints_m in found.items()
    }


def _moved(clouds: Sequence[np.ndarray], shift_m: np.ndarray) -> list[np.ndarray]:
    return [cloud + np.append(shift_m, [0, 0]).astype(np.float32) for cloud in clouds]


def _estimate(network: PointPose, clip: Clip, clouds: Sequence[np.ndarray]) -> np.ndarray:
    frames = len(clouds)
    sequence = PointSequence(
        name=clip.name,
        subject="radhar",
        action=clip.activity,
        points=np.concatenate(clouds).reshape(-1, len(COLUMNS)),
        first=np.concatenate(([0], np.cumsum([len(cloud) for cloud in clouds]))),
        joints_m=np.full((frames, len(KINECT25.joints), 3), np.nan, np.float32),
        parts=np.full(frames, -1, np.int8),
        rate_hz=network.config.rate_hz,
        licence="BSD-3-Clause",
    )
    return points.estimate(network, sequence)[0]


def others(takes: Mapping[str, Sequence[Take]]) -> dict[str, list[Take]]:
    """Return takes that have the points of their activity, and poses of each other one.

    Parameters
    ----------
    takes : dict of str to sequence of Take
        By activity; of each other activity the one of the same number, from the first again where
        there are fewer.
    """
    found: dict[str, list[Take]] = {activity: [] for activity in takes}
    for activity, own in takes.items():
        for number, take in enumerate(own):
            for other, theirs in takes.items():
                if other != activity:
                    joints_m = theirs[number % len(theirs)].joints_m
                    frames = min(len(joints_m), len(take.joints_m))
                    found[activity].append(
                        Take(joints_m[:frames], take.points_m[:frames], take.rate_hz)
                    )
    return found


def measure(clips: Sequence[Clip], network: PointPose) -> Takes:
    """Return what each of `METHODS` says of recordings, by activity; see `takes_of`.

    Raises
    ------
    ValueError
        If no recording is of an activity that there are checks of, or one is too short.
    """
    found: Takes = {method: {} for method in METHODS}
    for activity in ACTIVITY_CHECKS:
        for clip in clips:
            if clip.activity == activity:
                for method, take in takes_of(clip, network).items():
                    found[method].setdefault(activity, []).append(take)
    if not found["points"]:
        raise ValueError(f"no recording is labelled {', '.join(ACTIVITY_CHECKS)}")
    found["others"] = others(found["points"])
    found["moved_others"] = others(found["moved"])
    return found


def shape_rate(takes: Sequence[Take], check: str) -> float:
    """Return the share of poses that pass a check of shape."""
    passed = [SHAPE_CHECKS[check](take) for take in takes]
    return float(np.concatenate(passed).mean()) if passed else float("nan")


def activity_rate(takes: Sequence[Take], activity: str, check: str) -> float:
    """Return the share of recordings that pass a check of an activity."""
    passed = [ACTIVITY_CHECKS[activity][check](take) for take in takes]
    return float(np.mean(passed)) if passed else float("nan")


# -- the report ----------------------------------------------------------------------------------


def rows(takes: Takes) -> list[dict[str, Any]]:
    """Return all rates: ``radhar.``, the method if it is not *points*, activity, check."""
    results = []
    for method, by_activity in takes.items():
        prefix = "radhar." + ("" if method == "points" else f"{method}_")
        every = [take for some in by_activity.values() for take in some]
        for check in SHAPE_CHECKS:
            for name, some in {"": every, **by_activity}.items():
                value = shape_rate(some, check)
                identifier = prefix + (f"{name}_" if name else "") + check
                poses = f"{sum(len(take.joints_m) for take in some)} poses"
                results.append(measurements.result(identifier, value, against=poses))
        for activity, some in by_activity.items():
            for check in ACTIVITY_CHECKS[activity]:
                value = activity_rate(some, activity, check)
                against = f"{len(some)} recordings"
                results.append(
                    measurements.result(f"{prefix}{activity}_{check}", value, against=against)
                )
    return results


def lines(takes: Takes) -> Iterator[str]:
    """Yield tables for people to read, in Markdown."""
    own = takes["points"]
    every = {m: [take for some in by.values() for take in some] for m, by in takes.items()}
    poses = sum(len(take.joints_m) for take in every["points"])
    yield f"## Shaped like people: share of {poses} poses that pass, in %\n"
    yield "| check | " + " | ".join(own) + " | all | " + " | ".join(METHODS[1:]) + " |"
    yield "|---" * (1 + len(own) + len(METHODS)) + "|"
    for check in SHAPE_CHECKS:
        cells = [*own.values(), *every.values()]
        yield f"| {check} | " + _cells([shape_rate(some, check) for some in cells]) + " |"
    recordings = len(every["points"])
    yield f"\n## Doing what is said: share of {recordings} recordings that pass, in %\n"
    yield "| activity | check | recordings | " + " | ".join(METHODS) + " |"
    yield "|---" * (3 + len(METHODS)) + "|"
    for activity in own:
        for check in ACTIVITY_CHECKS[activity]:
            rates = [activity_rate(takes[m][activity], activity, check) for m in METHODS]
            yield f"| {activity} | {check} | {len(own[activity])} | {_cells(rates)} |"


def _cells(rates: Sequence[float]) -> str:
    return " | ".join("" if np.isnan(rate) else f"{100 * rate:.0f}" for rate in rates)


# -- the command line ----------------------------------------------------------------------------


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose evaluate radhar``."""
    parser.description = "Do a network's poses of people make sense whose joints are not known?"
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="with .npz files of RadHAR"
    )
    parser.add_argument(
        "--weights", default="points", metavar="NAME|FILE", help="default: %(default)s, as shipped"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    recipes.add_threads_argument(parser)


def evaluate(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose evaluate radhar``.

    Raises
    ------
    FileNotFoundError, ValueError
        If the recordings are not there, or damaged.
    """
    torch.set_num_threads(arguments.threads)
    clips = [clip for path in files(arguments.data) for clip in radhar.load(path)]
    network, entry = weights.network(arguments.weights, "points")
    recipes.announce(entry)
    takes = measure(clips, network)
    print(*lines(takes), sep="\n")
    if arguments.json:
        measurements.write_results(arguments.json, rows(takes))
    return 0
