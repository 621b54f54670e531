"""``radar-pose evaluate mars``: poses of people who were never seen, from a radar's points.

Two protocols. *People*: leave one subject out; networks are trained on the others and tested on
the one. *Blocks*: the split of MARS's paper, 60, 20 and 20 % of each movement of each subject;
everybody and every movement is in training, and the test begins where training ends.

Three methods on the same frames: `PointPose`, MARS's own small network `MarsCnn`, and the mean
pose of the training frames. All of MARS's people stand on the same spot, so the networks are also
asked with every recording moved elsewhere (`MOVED`), `PointPose` also with everything carried
along as if people walked (`WALKING`). Trainings are kept in a folder, from which a later call
takes them. Or weights that are there are measured on people whom they have not seen, beside their
mean pose.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from radar_pose_ros import measurements
from radar_pose_ros.datasets import mars
from radar_pose_ros.datasets.mars import PointSequence
from radar_pose_ros.metrics import pose3d
from radar_pose_ros.models import weights
from radar_pose_ros.skeleton.definitions import KINECT25
from radar_pose_ros.training import points
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.loop import CHECKPOINT
from radar_pose_ros.training.points import RECIPES, Network, Recipe
from radar_pose_ros.training.recipe import count

PROTOCOLS = ("people", "blocks")
NETWORKS = ("points", "mars_cnn")
MEAN_POSE = "mean_pose"
# A recording's points are moved by up to so much along x, y and z, and its poses moved back.
MOVED, _MOVED_M = "_moved", (1.0, 1.0, 0.3)
# At the speed of somebody who walks in a room, in any direction [choice].
WALKING, _WALKING_MPS = "_walking", 1.0
# What `mars.loso_mpjpe_m` is to stay under, as shares of the others' errors.
_OF_CNN, _OF_MEAN_POSE = 0.85, 0.65
# Less than this share of the mean pose's error, or a movement or a joint fails [choice].
_FAILS_ABOVE = 0.85
_ID_OF_PROTOCOL = {"people": "loso", "blocks": "split"}


class Fold(NamedTuple):
    """Who is learnt from, and who is tested."""

    name: str
    training: list[PointSequence]
    test: list[PointSequence]


class Poses(NamedTuple):
    """What a method says of a person's frames, those with a known pose only.

    Attributes
    ----------
    subject : str
    actions : ndarray of str, shape (frames,)
    true_m : ndarray, shape (frames, 25, 3)
    found_m : dict of str to ndarray, shape (frames, 25, 3)
        By method; NaN where it says nothing.
    """

    subject: str
    actions: np.ndarray
    true_m: np.ndarray
    found_m: dict[str, np.ndarray]


def folds(
    people: Mapping[int, Sequence[PointSequence]], protocol: str, tested: Sequence[int]
) -> list[Fold]:
    """Return what is trained on and tested.

    Parameters
    ----------
    people : mapping of int to sequence of PointSequence
        Recordings by subject.
    protocol : str
        One of `PROTOCOLS`.
    tested : sequence of int
        The subjects who are tested.

    Raises
    ------
    ValueError
        If one of them has no frame with a known pose to test, or no points.
    """
    for number in tested:
        if not any(_known(one).any() for one in people[number]):
            raise ValueError(f"subject {number} has no frame with all 25 joints to test")
        if not any(len(one.points) for one in people[number]):
            raise ValueError(f"subject {number} has no points to test")
    if protocol == "blocks":
        parts = {
            part: [s.part(part) for one in people.values() for s in one if _has(s, part)]
            for part in ("train", "test")
        }
        names = {f"mars{number}" for number in tested}
        test = [one for one in parts["test"] if one.subject in names and _known(one).any()]
        for name in sorted(names - {one.subject for one in test}):
            raise ValueError(
                f"{name} has no frame with all 25 joints in the last fifth of a movement, which "
                "the paper's split tests: name --protocol people"
            )
        return [Fold("blocks", parts["train"], test)]
    return [
        Fold(
            f"without_{number}",
            [s for other, one in people.items() if other != number for s in one],
            [s for s in people[number] if _known(s).any()],
        )
        for number in tested
    ]


def _known(sequence: PointSequence) -> np.ndarray:
    return np.isfinite(sequence.joints_m).all((1, 2))


def _has(sequence: PointSequence, part: str) -> bool:
    return bool((sequence.parts == mars.PARTS.index(part)).any())


def trained(
    recipe: Recipe,
    fold: Fold,
    folder: Path,
    *,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Network:
    """Return the network of a fold, from the folder if it is there, else trained now.

    A training that was interrupted goes on.

    Raises
    ------
    ValueError
        If the folder holds a training by another recipe, or on other recordings.
    """
    path = folder / f"{_model(recipe)}_{recipe.preset}.safetensors"
    if not path.is_file():
        report(f"{recipe.preset}, {fold.name}: training")
        model, result = points.fit_recipe(
            recipe,
            fold.training,
            [],
            folder,
            resume=(folder / CHECKPOINT).is_file(),
            report=report,
            device=device,
        )
        command = "radar-pose evaluate mars"
        points.save(model, recipe, result, fold.training, folder, command=command)
    recipes.keep(recipe, folder, resume=True)  # or the error of another recipe
    network, entry = weights.network(path)
    if entry["training_data"].get("sha256") != points.digest(fold.training):
        raise ValueError(f"{folder} holds a training on other recordings: name another --out")
    return network


def _model(recipe: Recipe) -> str:
    return "mars_cnn" if recipe.preset == "mars_cnn" else "points"


def mean_pose(training: Sequence[PointSequence]) -> np.ndarray:
    """Return the mean of all known poses, (25, 3)."""
    return np.concatenate([one.joints_m[_known(one)] for one in training]).mean(0)


def late(name: str, frames: int, rate_hz: float) -> str:
    """Return what a network is called that says a frame's pose so many frames after it."""
    return f"{name}_late_{frames / rate_hz:.1f}s" if frames else name


def measure(
    test: Sequence[PointSequence], networks: Mapping[str, Network], constant: np.ndarray
) -> list[Poses]:
    """Return what all methods say of each person.

    A network that looks at a window is asked three times: for its newest frame, as live use wants
    it, a quarter of a window later, and half of one later; and for the newest frame of those who
    walk. All are asked for those elsewhere. Where to, and which way, is drawn by the recording's
    name.

    Parameters
    ----------
    test : sequence of PointSequence
    networks : dict of str to PointPose or MarsCnn
    constant : ndarray, shape (25, 3)
        What `MEAN_POSE` says of every frame.
    """
    by_subject: dict[str, list[Poses]] = {}
    for one in test:
        known = _known(one)
        found = {}
        for name, network in networks.items():
            c = network.config
            delays = sorted({0, c.frames // 4, c.frames // 2})
            for delay, poses in zip(delays, points.estimate(network, one, delays), strict=True):
                found[late(name, delay, c.rate_hz)] = poses[known]
            rng = np.random.default_rng(list(one.name.encode()))
            shift_m = (rng.uniform(-1, 1, 3) * _MOVED_M).astype(np.float32)
            moved = replace(one, points=one.points + np.pad(shift_m, (0, 2)))
            found[name + MOVED] = points.estimate(network, moved)[0][known] - shift_m
            if c.frames > 1:
                way = rng.uniform(0, 2 * np.pi, len(one))
                velocities = _WALKING_MPS * np.stack((np.cos(way), np.sin(way)), axis=-1)
                walking = points.estimate(network, one, walking_mps=velocities.astype(np.float32))
                found[name + WALKING] = walking[0][known]
        found[MEAN_POSE] = np.broadcast_to(constant, found[next(iter(found))].shape)
        actions = np.full(known.sum(), one.action)
        by_subject.setdefault(one.subject, []).append(
            Poses(one.subject, actions, one.joints_m[known], found)
        )
    return [_joined(parts) for parts in by_subject.values()]


def _joined(parts: Sequence[Poses]) -> Poses:
    return Poses(
        parts[0].subject,
        np.concatenate([one.actions for one in parts]),
        np.concatenate([one.true_m for one in parts]),
        {name: np.concatenate([one.found_m[name] for one in parts]) for name in parts[0].found_m},
    )


class Scores(NamedTuple):
    """How far a method is off, in metres; means over people, each counting the same.

    Attributes
    ----------
    mae : ndarray, shape (3,)
        Along x, y, z.
    mpjpe, p_mpjpe : float
        As they are, and moved, turned and scaled to fit.
    missing : float
        Share of joints that it says nothing of.
    by_subject, by_action : dict of str to float
        MPJPE.
    by_joint : ndarray, shape (25,)
    """

    mae: np.ndarray
    mpjpe: float
    p_mpjpe: float
    missing: float
    by_subject: dict[str, float]
    by_action: dict[str, float]
    by_joint: np.ndarray


def scores(people: Sequence[Poses], name: str) -> Scores:
    """Return the scores of a method."""
    pairs = [(one.found_m[name], one.true_m) for one in people]
    errors = [pose3d.joint_errors(found, true) for found, true in pairs]
    actions = sorted({str(a) for one in people for a in one.actions}, key=_number)
    by_action = {
        action: [
            _mean(error[one.actions == action])
            for one, error in zip(people, errors, strict=True)
            if (one.actions == action).any()
        ]
        for action in actions
    }
    by_subject = {one.subject: _mean(e) for one, e in zip(people, errors, strict=True)}
    return Scores(
        mae=np.mean([np.nanmean(np.abs(f - t), axis=(0, 1)) for f, t in pairs], axis=0),
        mpjpe=float(np.mean(list(by_subject.values()))),
        p_mpjpe=float(np.mean([pose3d.p_mpjpe(f, t) for f, t in pairs])),
        missing=float(np.mean([np.isnan(e).mean() for e in errors])),
        by_subject=by_subject,
        by_action={action: float(np.mean(values)) for action, values in by_action.items()},
        by_joint=np.mean([np.nanmean(e, axis=0) for e in errors], axis=0),
    )


def _mean(errors: np.ndarray) -> float:
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan")


def _number(action: str) -> int:
    return int(action.removeprefix("movement "))


# -- the report ----------------------------------------------------------------------------------


def rows(people: Sequence[Poses], protocol: str) -> list[dict[str, Any]]:
    """Return all measures.

    Returns
    -------
    list of dict
        Rows of `radar_pose_ros.measurements`: ``mars.``, the method if it is not `PointPose`,
        ``loso`` or ``split``, ``moved`` or ``walking`` if people were, the subject, movement or
        joint if it is of these only, the measure.
    """
    found = {name: scores(people, name) for name in people[0].found_m}
    against = "mean over subjects " + ", ".join(one.subject[len("mars") :] for one in people)
    results = []
    for name, s in found.items():
        method = name.removesuffix(MOVED).removesuffix(WALKING)
        asked = name.removeprefix(method)
        prefix = f"mars.{_prefix(method)}{_ID_OF_PROTOCOL[protocol]}{asked}"
        target, remark = None, ""
        if name == "points" and _has_target(found, protocol):
            target = _target(found)
            remark = f"; target {_wanted()}"
        values = {
            "mpjpe_m": s.mpjpe,
            "p_mpjpe_m": s.p_mpjpe,
            **{f"mae_{axis}_m": value for axis, value in zip("xyz", s.mae, strict=True)},
            **{f"{subject}_mpjpe_m": value for subject, value in s.by_subject.items()},
            **{f"{a.replace(' ', '_')}_mpjpe_m": value for a, value in s.by_action.items()},
            **{f"{joint}_mpjpe_m": value for joint, value in _by_joint(s).items()},
        }
        for what, value in values.items():
            first = what == "mpjpe_m"
            results.append(
                measurements.result(
                    f"{prefix}_{what}",
                    float(value),
                    "m",
                    target if first else None,
                    against + (remark if first else ""),
                    at_most=True,
                )
            )
        results.append(measurements.result(f"{prefix}_missing", s.missing, against=against))
    return results


def _prefix(name: str) -> str:
    short = {"points": "", "mars_cnn": "cnn_", MEAN_POSE: f"{MEAN_POSE}_"}
    return short.get(name, name.removeprefix("points_").replace(".", "_") + "_")


def _has_target(found: Mapping[str, Scores], protocol: str) -> bool:
    return protocol == "people" and "mars_cnn" in found


def _target(found: Mapping[str, Scores]) -> float:
    return min(_OF_CNN * found["mars_cnn"].mpjpe, _OF_MEAN_POSE * found[MEAN_POSE].mpjpe)


def _wanted() -> str:
    return f"{1 - _OF_CNN:.0%} below mars_cnn and {1 - _OF_MEAN_POSE:.0%} below the mean pose"


def lines(people: Sequence[Poses], protocol: str) -> Iterator[str]:
    """Yield tables for people to read, in Markdown."""
    found = {name: scores(people, name) for name in people[0].found_m}
    title = {
        "people": "People who were never seen",
        "blocks": "The paper's split: the same people, later in each movement",
    }[protocol]
    frames = sum(len(one.true_m) for one in people)
    number = "1 person" if len(people) == 1 else f"{len(people)} people"
    yield f"## {title}: {number}, {frames} frames; errors in cm\n"
    subjects = list(found["points"].by_subject)
    yield "| method | MPJPE | P-MPJPE | MAE x | MAE y | MAE z | " + " | ".join(subjects) + " |"
    yield "|---" * (6 + len(subjects)) + "|"
    for name, s in found.items():
        cells = [s.mpjpe, s.p_mpjpe, *s.mae, *s.by_subject.values()]
        yield f"| {name} | " + _cells(cells) + " |"
    if _has_target(found, protocol):
        own, target = found["points"].mpjpe, _target(found)
        yield (
            f"\nTarget, {_wanted()}: {100 * target:.1f} cm, "
            + ("met." if own <= target else f"missed by {100 * (own - target):.1f} cm.")
        )
    yield "\n## By movement, MPJPE in cm\n"
    yield from _table("movement", found, lambda s: s.by_action, _movement)
    yield "\n## By joint, MPJPE in cm\n"
    yield from _table("joint", found, _by_joint)


def _table(
    title: str,
    found: Mapping[str, Scores],
    of: Callable[[Scores], Mapping[str, float]],
    said: Callable[[str], str] = str,
) -> Iterator[str]:
    """Yield a row for each part, then which of them fail."""
    parts = {name: of(s) for name, s in found.items()}
    yield f"| {title} | " + " | ".join(found) + " |"
    yield "|---" * (1 + len(found)) + "|"
    for part in parts["points"]:
        yield f"| {said(part)} | " + _cells([parts[name][part] for name in found]) + " |"
    failed = {
        part: 1 - error / parts[MEAN_POSE][part]
        for part, error in parts["points"].items()
        if not error <= _FAILS_ABOVE * parts[MEAN_POSE][part]
    }
    listed = ", ".join(f"{said(part)} ({gain:.0%})" for part, gain in failed.items()) or "none"
    yield f"\nLess than {1 - _FAILS_ABOVE:.0%} better than the mean pose: {listed}."


def _by_joint(scores: Scores) -> dict[str, float]:
    return dict(zip(KINECT25.joints, scores.by_joint.tolist(), strict=True))


def _cells(values: Sequence[float]) -> str:
    return " | ".join("" if np.isnan(value) else f"{100 * value:.1f}" for value in values)


def _movement(action: str) -> str:
    name = mars.MOVEMENTS.get(_number(action), "")
    return f"{_number(action)} {name}".strip()


# -- the command line ----------------------------------------------------------------------------


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose evaluate mars``."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="with mars_subject<number>.npz"
    )
    parser.add_argument(
        "--subject",
        type=count,
        action="append",
        metavar="N",
        help="test this person only; may be given again (default: everybody in the folder)",
    )
    parser.add_argument(
        "--protocol",
        action="append",
        choices=PROTOCOLS,
        help="people: trained on the others; blocks: the paper's split (default: both)",
    )
    parser.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="measure these, on people whom they have not seen, and train nothing",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/mars"),
        metavar="DIR",
        help="keeps trained networks, for the next call (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=count, help="of every training (default: what the recipes say)"
    )
    parser.add_argument(
        "--seed", type=count, help="of every training (default: 0, what the recipes say)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    recipes.add_device_argument(parser)
    recipes.add_threads_argument(parser)


def evaluate(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose evaluate mars``.

    Raises
    ------
    ValueError
        If there is no such subject, nobody to learn from, or ``--out`` holds other trainings.
    """
    torch.set_num_threads(arguments.threads)
    files = mars.files(arguments.data)
    tested = sorted(set(arguments.subject or files))
    for number in tested:
        points.require_subject(files, number)
    if arguments.weights:
        if arguments.protocol or arguments.steps or arguments.seed:
            raise ValueError(
                "--protocol, --steps and --seed are of trainings, and --weights trains nothing"
            )
        return _evaluate_weights(arguments, {number: files[number] for number in tested})
    if len(files) == 1:
        raise ValueError(
            f"there is nobody in {arguments.data} but subject {tested[0]}, nobody to learn from: "
            "measure weights that are there, --weights"
        )
    people = {number: mars.load_points(path) for number, path in files.items()}
    results = []
    for protocol in arguments.protocol or PROTOCOLS:
        measured: list[Poses] = []
        for fold in folds(people, protocol, tested):
            networks = {
                preset: trained(
                    _recipe(preset, arguments.steps, arguments.seed),
                    fold,
                    arguments.out / fold.name / preset,
                    device=arguments.device,
                )
                for preset in NETWORKS
            }
            measured += measure(fold.test, networks, mean_pose(fold.training))
        print(*lines(measured, protocol), sep="\n", end="\n\n")
        results += rows(measured, protocol)
    if arguments.json:
        measurements.write_results(arguments.json, results)
    return 0


def _evaluate_weights(arguments: argparse.Namespace, files: Mapping[int, Path]) -> int:
    """Measure trained weights on people whom they have not seen."""
    network, entry = weights.network(arguments.weights, "points")
    recipes.announce(entry)
    seen = entry["training_data"].get("subjects", [])
    for number in files:
        if f"mars{number}" in seen:
            raise ValueError(
                f"{entry['file']} was trained on {', '.join(seen)}, among them subject {number}: "
                "leave --weights out to train on the others"
            )
    people = {number: mars.load_points(path) for number, path in files.items()}
    test = [one for fold in folds(people, "people", list(files)) for one in fold.test]
    measured = measure(test, {"points": network}, network.head.mean_m.numpy())
    print(*lines(measured, "people"), sep="\n")
    if arguments.json:
        measurements.write_results(arguments.json, rows(measured, "people"))
    return 0


def _recipe(preset: str, steps: int | None, seed: int | None) -> Recipe:
    recipe = Recipe.load(RECIPES / f"{preset}.yaml")
    given = {"steps": steps, "seed": seed}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value}
    return replace(recipe, loop=replace(recipe.loop, **changes))
