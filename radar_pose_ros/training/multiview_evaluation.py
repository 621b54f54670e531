"""How good poses are of cameras that fire one after another, beside cameras that fire together.

Of a recording in which all cameras fire together most shots are taken away, so that each camera
has one of every few frames, and methods make poses of what is left, one for each shot:

* `views_N_interleaved`: N of the cameras in turn, evenly; the mean over all choices of N;
* `views_N_random`: all N cameras, each evenly from an instant that is drawn.

What is right is the recording's truth or, where there is none, the triangulation of all cameras at
the full rate: a joint then counts at the instants at which every camera has it with a confidence
of `SEEN_WELL` or more and the triangulation left none out. No method is measured before every view
has had its first shot, and all are compared over the joints of which each of them has a pose.
Without a truth the detector's errors are in both, and all cameras at the full rate have none by
definition; with fewer cameras most of the error is theirs. What comes of the shutters alone is
given beside it: the distance from the same cameras at the full rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from radar_pose_ros import measurements
from radar_pose_ros.datasets.multiview import MultiViewRecording, random_shutters
from radar_pose_ros.vision import comparators
from radar_pose_ros.vision.comparators import Method, Poses
from radar_pose_ros.vision.windows import aligned

SEEN_WELL = 0.3  # confidence; three of four detections in the balancing trial have it [choice]
EVERY = 4  # frames per shot of a camera: four cameras in turn have one each
DRAWS = 5  # of random shutters

METHODS: dict[str, Method] = {
    "hold_last": comparators.hold_last,
    "linear_causal": partial(comparators.linear, causal=True),
    "linear": comparators.linear,
    "slerp": comparators.slerp,
    "aligned": aligned,
}


class Case(NamedTuple):
    """Cameras with most of their shots taken away, and with all of them.

    Attributes
    ----------
    thinned, full : MultiViewRecording
        Of the same cameras.
    together : MultiViewRecording or None
        As many shots as in ``thinned``, but of all cameras at once.
    """

    thinned: MultiViewRecording
    full: MultiViewRecording
    together: MultiViewRecording | None = None


class Reference(NamedTuple):
    """What poses are compared with.

    Attributes
    ----------
    stamps_s : ndarray, shape (n,)
    joints_m : ndarray, shape (n, joints, 3)
        NaN where a joint does not count.
    against : str
        What it is, in words.
    """

    stamps_s: np.ndarray
    joints_m: np.ndarray
    against: str


def results_of(
    recording: MultiViewRecording,
    methods: Mapping[str, Method] | None = None,
    every: int = EVERY,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return rows of results: each method on each case, and what could be had at best.

    Parameters
    ----------
    recording : MultiViewRecording
        All cameras fire together, evenly.
    methods : mapping of str to Method, optional
        What is measured beside `METHODS`; the names become those of the rows.
    every : int
        One of so many frames is left to each camera.
    draws : int
        Of random shutters; with 0 there are none.
    seed : int
        Of these.

    Returns
    -------
    list of dict
        Rows of `radar_pose_ros.measurements`: ``<case>.<method>.mpjpe_mm``;
        ``<case>.<method>.from_synchronous_mm``, the distance from the same cameras at the full
        rate, over the same joints; and ``<case>.<method>.known``, the share of the joints that
        count of which the method has a pose. Beside the methods there are "synchronous", the same
        cameras at the full rate, and, of interleaved cameras, "slerp_together": all fire at once,
        as seldom as each does in turn, and `comparators.slerp` does the rest.

    Raises
    ------
    ValueError
        If the cameras did not fire together, there are fewer than two, or of fewer frames than
        ``every``.
    """
    views = len(recording.views)
    right = reference(recording)
    if len(right.stamps_s) <= every:
        raise ValueError(
            f"{recording.name}: want more than {every} frames, got {len(right.stamps_s)}"
        )
    named = METHODS | dict(methods or {})
    rows = []
    for count in range(views, 1, -1):
        found = _interleaved_cases(recording, count, every)
        rows += _rows(f"views_{count}_interleaved", found, named, right)
    if draws:
        found = _random_cases(recording, every, draws, np.random.default_rng(seed))
        rows += _rows(f"views_{views}_random", found, named, right)
    return rows


def reference(recording: MultiViewRecording) -> Reference:
    """Return what is right at each frame of a recording whose cameras fire together.

    Raises
    ------
    ValueError
        If they do not, or there are fewer than two.
    """
    best = comparators.synchronous(recording)
    if recording.truth is not None:
        return Reference(best.stamps_s, recording.joints_at(best.stamps_s), "the truth")
    confidence = np.stack([view.confidence for view in recording.views], axis=1)
    good = np.all((confidence >= SEEN_WELL) & best.used, axis=1)
    joints = np.where(good[..., None], best.joints_m, np.nan)
    return Reference(best.stamps_s, joints, f"{len(recording.views)} cameras at the full rate")


def errors_mm(poses: Poses, right: Reference, at_s: np.ndarray) -> np.ndarray:
    """Return how far joints are off at some instants, shape ``(instants, joints)``.

    NaN where the method has no pose of that instant, or the joint is unknown to it or does not
    count.
    """
    estimated = comparators.rows_at(poses.stamps_s, at_s)
    known = comparators.rows_at(right.stamps_s, at_s)
    distance = poses.joints_m[estimated] - right.joints_m[known]
    distance[(estimated < 0) | (known < 0)] = np.nan
    return 1e3 * np.linalg.norm(distance, axis=-1)


def _interleaved_cases(recording: MultiViewRecording, count: int, every: int) -> Iterator[Case]:
    for chosen in combinations(recording.views, count):
        full = replace(recording, views=chosen)
        frames = np.arange(len(chosen[0].stamps_s))
        thinned = tuple(
            view.only(frames[number * every // count :: every])
            for number, view in enumerate(chosen)
        )
        together = tuple(view.only(frames[::every]) for view in chosen)
        yield Case(replace(full, views=thinned), full, replace(full, views=together))


def _random_cases(
    recording: MultiViewRecording, every: int, draws: int, rng: np.random.Generator
) -> Iterator[Case]:
    rate_hz = 1 / (every * float(np.median(np.diff(recording.views[0].stamps_s))))
    for _ in range(draws):
        yield Case(random_shutters(recording, rate_hz, rng), recording)


def _rows(
    name: str, cases: Iterator[Case], methods: Mapping[str, Method], right: Reference
) -> list[dict[str, Any]]:
    """Return the rows of some cases together, each joint of each instant weighing the same."""
    measured: dict[str, list[np.ndarray]] = {}
    apart: dict[str, list[np.ndarray]] = {}
    counted = []
    for case in cases:
        stamps = comparators.instants(case.thinned)
        stamps = stamps[stamps >= max(view.stamps_s[0] for view in case.thinned.views)]
        found = {method: make(case.thinned) for method, make in methods.items()}
        if case.together is not None:
            found["slerp_together"] = comparators.slerp(case.together, stamps)
        found["synchronous"] = best = comparators.synchronous(case.full)
        same = Reference(best.stamps_s, best.joints_m, "the same cameras")
        for method, poses in found.items():
            measured.setdefault(method, []).append(errors_mm(poses, right, stamps))
            apart.setdefault(method, []).append(errors_mm(poses, same, stamps))
        here = comparators.rows_at(right.stamps_s, stamps)
        counted.append(~np.isnan(right.joints_m[here]).any(-1))
    errors = {method: np.concatenate(parts) for method, parts in measured.items()}
    counts = np.concatenate(counted)
    common = counts & ~np.isnan(np.stack([*errors.values()])).any(0)
    joints = f"{common.sum()} joints"
    rows = []
    for method, values in errors.items():
        for what, among, against in (
            ("mpjpe", values, right.against),
            ("from_synchronous", np.concatenate(apart[method]), "the same cameras"),
        ):
            mean_mm = float(among[common].mean()) if common.any() else float("nan")
            rows.append(
                measurements.result(
                    f"{name}.{method}.{what}_mm", mean_mm, "mm", against=f"{against}, {joints}"
                )
            )
        share = float((~np.isnan(values[counts])).mean()) if counts.any() else float("nan")
        rows.append(measurements.result(f"{name}.{method}.known", share))
    return rows
