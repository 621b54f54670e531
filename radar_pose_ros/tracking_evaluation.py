"""``radar-pose evaluate gtrack``: people followed in point clouds, counted and placed.

Three kinds of rows. *gtrack*: TI's people-counting capture, against what TI's own tracker made of
it, which is a peer and not the truth; both are told the same limits of the room. *gtrack_no_room*:
the same without these limits. *crowd*: simulated people with known places, whose seeds no number
of the tracker was chosen on.

The number of people is judged in every frame after the first second. People are matched one to
one, at the least total distance and within `MATCH_M`, those first who were matched with each
other last; position errors are on the floor plan, of those matched. An identity switch is a person
who is matched with another track than last time.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from radar_pose_ros import measurements
from radar_pose_ros.datasets import gtrack
from radar_pose_ros.radar.tracking import PeopleTracker, TrackerSettings
from radar_pose_ros.simulation import crowds
from radar_pose_ros.simulation.crowds import Crowd

MATCH_M = 1.0
FIRST_S = 1.0
# As long as nobody came or left for that time, a crowd is settled.
SETTLED_S = 2.0
# What changes from one simulated crowd to the next.
CROWDS = {
    "one": Crowd(people=1),
    "three": Crowd(people=3),
    "five": Crowd(people=5),
    "standing": Crowd(people=3, standing=0.9),
    "10_hz": Crowd(people=3, rate_hz=10.0),
    "clutter": Crowd(people=3, clutter=10.0, ghosts_per_s=1.0),
}
FIRST_SEED = 1000


class Score(NamedTuple):
    """How well people were followed.

    Attributes
    ----------
    frames : int
        Judged.
    count_right : int
        Frames with the right number of people.
    settled, settled_right : int
        The same of frames when nobody has come or left for `SETTLED_S`.
    errors_m : ndarray, shape (matched,)
    people, found, false : int
        Over all judged frames: people who are there, those of them who were matched, and tracks
        without a person.
    switches : int
    update_ms : ndarray, shape (frames,)
    """

    frames: int
    count_right: int
    settled: int
    settled_right: int
    errors_m: np.ndarray
    people: int
    found: int
    false: int
    switches: int
    update_ms: np.ndarray


def follow(
    times_s: np.ndarray,
    clouds: Sequence[np.ndarray],
    ids: Sequence[np.ndarray],
    position_m: Sequence[np.ndarray],
    settings: TrackerSettings | None = None,
) -> Score:
    """Run a tracker over clouds and compare it with who is there.

    Parameters
    ----------
    times_s : ndarray, shape (frames,)
    clouds : sequence of ndarray, shape (points, 3) or (points, 5)
    ids : sequence of ndarray, shape (people,)
        Who is there, by frame; may end before the clouds, which are judged no farther.
    position_m : sequence of ndarray, shape (people, 2)
    settings : TrackerSettings, optional
    """
    tracker = PeopleTracker(settings)
    partner: dict[int, int] = {}
    errors: list[float] = []
    update_ms = []
    frames = right = settled = settled_right = people = false = switches = 0
    present: set[int] = set()
    first_s = changed_s = next(iter(times_s), math.nan)
    for time_s, cloud, who, places in zip(times_s, clouds, ids, position_m, strict=False):
        if present != set(who.tolist()):
            present, changed_s = set(who.tolist()), time_s
        began = time.perf_counter()
        tracked = tracker.update(cloud, float(time_s))
        update_ms.append(1e3 * (time.perf_counter() - began))
        if time_s - first_s < FIRST_S:
            continue
        frames += 1
        right += len(tracked) == len(who)
        if time_s - changed_s >= SETTLED_S:
            settled += 1
            settled_right += len(tracked) == len(who)
        people += len(who)
        found_m = np.reshape([person.position_m[:2] for person in tracked], (-1, 2))
        apart_m = np.linalg.norm(places[:, None] - found_m[None], axis=-1)
        numbers = np.array([person.id for person in tracked], int)
        pairs = _matched(apart_m, who, numbers, partner)
        false += len(tracked) - len(pairs)
        for i, j in pairs:
            errors.append(float(apart_m[i, j]))
            switches += partner.get(int(who[i]), numbers[j]) != numbers[j]
            partner[int(who[i])] = int(numbers[j])
    return Score(
        frames,
        right,
        settled,
        settled_right,
        np.array(errors),
        people,
        len(errors),
        false,
        switches,
        np.array(update_ms),
    )


def _matched(
    apart_m: np.ndarray, who: np.ndarray, numbers: np.ndarray, partner: dict[int, int]
) -> list[tuple[int, int]]:
    """Return pairs of a person and a track, as indices."""
    cost = np.where(apart_m < MATCH_M, apart_m, 10 * MATCH_M)
    old = np.array([[partner.get(int(i)) == j for j in numbers] for i in who], bool)
    cost = cost - 5 * MATCH_M * (old.reshape(cost.shape) & (apart_m < MATCH_M))
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return [(int(i), int(j)) for i, j in pairs if apart_m[i, j] < MATCH_M]


def together(scores: Sequence[Score]) -> Score:
    """Return the scores of several recordings as one."""
    return Score(
        sum(score.frames for score in scores),
        sum(score.count_right for score in scores),
        sum(score.settled for score in scores),
        sum(score.settled_right for score in scores),
        np.concatenate([score.errors_m for score in scores]),
        sum(score.people for score in scores),
        sum(score.found for score in scores),
        sum(score.false for score in scores),
        sum(score.switches for score in scores),
        np.concatenate([score.update_ms for score in scores]),
    )


def rows(name: str, score: Score, against: str, targets: bool = False) -> list[dict[str, Any]]:
    """Return the score as rows of results.

    Parameters
    ----------
    name : str
        Before the dot of each id.
    score : Score
    against : str
        Who says where people are.
    targets : bool
        Whether the targets for TI's capture stand beside.
    """
    seen = f"{against}, {score.frames} frames"

    def row(
        what: str, value: float, unit: str = "", target: float | None = None
    ) -> dict[str, Any]:
        at_most = what == "position_error_m"
        return measurements.result(f"{name}.{what}", value, unit, target, seen, at_most=at_most)

    told = [
        row("count_right", _share(score.count_right, score.frames), "", 0.9 if targets else None),
        row("position_error_m", _median(score.errors_m), "m", 0.35 if targets else None),
        row("identity_switches", score.switches),
        row("people_found", _share(score.found, score.people)),
        row("false_per_frame", _share(score.false, score.frames)),
        measurements.result(f"{name}.update_ms", _median(score.update_ms), "ms"),
    ]
    if not targets:
        told.insert(1, row("count_right_settled", _share(score.settled_right, score.settled)))
    return told


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``radar-pose evaluate gtrack``."""
    parser.description = (
        "Follow the people in TI's people-counting capture and in simulated crowds."
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the capture")
    parser.add_argument(
        "--crowds", type=int, default=5, metavar="N", help="of each kind (default 5; 0: none)"
    )
    parser.add_argument("--json", metavar="FILE", help="write machine and numbers here")


def evaluate(arguments: argparse.Namespace) -> None:
    """Print the tables.

    Raises
    ------
    FileNotFoundError, ValueError
        If the capture is not there, or damaged.
    """
    if arguments.crowds < 0:
        raise ValueError(f"--crowds wants a number from 0 on, got {arguments.crowds}")
    capture = gtrack.load(Path(arguments.data))
    recorded = (
        capture.times_s,
        capture.clouds,
        [people.ids for people in capture.expected],
        [people.position_m for people in capture.expected],
    )
    score = follow(*recorded, TrackerSettings(room_m=gtrack.ROOM_M))
    results = rows("gtrack", score, "TI's tracker", targets=True)
    results += rows("gtrack_no_room", follow(*recorded), "TI's tracker")
    print(measurements.table(results), flush=True)
    if arguments.crowds:
        seeds = range(FIRST_SEED, FIRST_SEED + arguments.crowds)
        for name, crowd in CROWDS.items():
            score = together([follow(*crowds.record(crowd, seed)) for seed in seeds])
            told = rows(f"crowd_{name}", score, "the truth")
            print(measurements.table(told), flush=True)
            results += told
    if arguments.json:
        measurements.write_results(arguments.json, results)
