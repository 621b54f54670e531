"""Training of networks that see a radar's points: `PointPose`, and `MarsCnn` to compare with.

On MARS: people before a radar, and a Kinect's joints beside. Few people are in it, so windows are
varied (`Variation`) to what a radar would see of somebody larger or slower, who walks, or in a
mirror, or if it were mounted at another height.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from radar_pose_ros.datasets import mars
from radar_pose_ros.datasets.mars import PointSequence
from radar_pose_ros.models import mars_cnn, weights
from radar_pose_ros.models import points as point_pose
from radar_pose_ros.models.mars_cnn import MarsCnn, MarsCnnConfig
from radar_pose_ros.models.points import VALUES, PointPose, PointPoseConfig, choose_points
from radar_pose_ros.skeleton.definitions import KINECT25
from radar_pose_ros.training import processes
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.loop import FitResult, LoopConfig, fit
from radar_pose_ros.training.recipe import count

RECIPES = recipes.RECIPES / "points"
# What is maximised on validation.
SCORE = "validation_minus_mpjpe_m"
PRESETS: dict[str, PointPoseConfig | MarsCnnConfig] = {**point_pose.PRESETS, **mars_cnn.PRESETS}
# Windows for validation are this many, spread evenly.
_VALIDATION_WINDOWS = 400
# Of a frame with more points, no more are kept to draw from.
_MOST_POINTS = 128
_FEET = [KINECT25.index(f"{side}_foot") for side in ("left", "right")]
_MIRRORED = KINECT25.mirrored()

Network = PointPose | MarsCnn


@dataclass(frozen=True)
class Variation:
    """How windows differ from the recordings; by default not at all.

    Points and joints change together, and speeds with them. If joints stand beside the points on
    average, as MARS's do, they still do so afterwards.

    Parameters
    ----------
    mirrored : float
        Share of windows in which left and right are exchanged.
    reversed : float
        Share in which time runs backwards.
    speed : (float, float)
        Factor of how fast people move.
    size : (float, float)
        Factor of how large everything is, about the floor below the radar.
    shift_m : (float, float, float)
        Largest displacement along x, y, z.
    turn : float
        Largest turn of the scene about the radar's vertical axis, rad.
    lifted, lift_m : float
        Share of windows of a radar at another height, and by how much at most, up or down.
    walking, walking_mps : float
        Share of windows in which everything goes along a straight way as well, and the greatest
        speed; speeds of points change by its radial part.
    turning : float
        Share of these in which the way is gone back from some moment on.
    kept : (float, float)
        Share of points that are kept.
    place_noise_m, speed_noise_mps : float
        Standard deviations, by point.
    lost_frames : float
        Share of frames that are lost, one by one.
    no_strength : float
        Share of windows without strengths.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    mirrored: float = 0.0
    reversed: float = 0.0
    speed: tuple[float, float] = (1.0, 1.0)
    size: tuple[float, float] = (1.0, 1.0)
    shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: float = 0.0
    lifted: float = 0.0
    lift_m: float = 0.0
    walking: float = 0.0
    walking_mps: float = 0.0
    turning: float = 0.0
    kept: tuple[float, float] = (1.0, 1.0)
    place_noise_m: float = 0.0
    speed_noise_mps: float = 0.0
    lost_frames: float = 0.0
    no_strength: float = 0.0

    def __post_init__(self) -> None:
        shares = ("mirrored", "reversed", "lifted", "walking", "turning")
        for name in (*shares, "lost_frames", "no_strength"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"variation: {name} must be 0 to 1, got {getattr(self, name)!r}")
        for name in ("speed", "size", "kept"):
            values = getattr(self, name)
            if len(values) != 2 or not 0 < values[0] <= values[1]:
                raise ValueError(
                    f"variation: {name} wants two numbers above 0, the least first, got {values!r}"
                )
        if self.kept[1] > 1:
            raise ValueError(f"variation: kept must be at most 1, got {self.kept!r}")
        if len(self.shift_m) != 3 or min(self.shift_m) < 0:
            raise ValueError(f"variation: shift_m wants three numbers, got {self.shift_m!r}")
        for name in ("turn", "lift_m", "walking_mps", "place_noise_m", "speed_noise_mps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"variation: {name} must be 0 or more")


@dataclass(frozen=True)
class PoseLoss:
    """What is minimised: a sum of mean distances in metres.

    Parameters
    ----------
    squared : bool
        Of all joints the mean squared error in place of distances.
    root, relative : float
        Weight of the root's distance, and of joints relative to the root, beside that of all
        joints where they are, which is 1.
    velocity : float
        Weight of the distance of joints' displacements from one frame to the next.
    """

    squared: bool = False
    root: float = 0.0
    relative: float = 0.0
    velocity: float = 0.0

    def __post_init__(self) -> None:
        for name in ("root", "relative", "velocity"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"loss: {name} must be 0 or more, got {getattr(self, name)!r}")

    def __call__(self, joints_m: Tensor, true_m: Tensor) -> dict[str, Tensor]:
        """Compare estimates with the truth, ``(batch, frames, joints, 3)``; NaN is left out.

        Raises
        ------
        ValueError
            If nothing can be compared.
        """
        known = (joints_m.isfinite() & true_m.isfinite()).all(-1).all(-1)  # (batch, frames)
        if not known.any():
            raise ValueError("no frame of the batch has a pose to compare with")
        found, true = joints_m[known], true_m[known]
        if self.squared:
            return {"loss": (found - true).square().mean()}
        root = KINECT25.root
        terms = {
            "mpjpe_m": _distance(found - true),
            "root_m": _distance(found[:, root] - true[:, root]),
            "relative_m": _distance(
                found - found[:, root, None] - true + true[:, root, None],
            ),
        }
        both = known[:, 1:] & known[:, :-1]
        steps = (values[:, 1:] - values[:, :-1] for values in (joints_m, true_m))
        found, true = (values[both] for values in steps)
        terms["velocity_m"] = _distance(found - true) if both.any() else found.sum()
        loss = (
            terms["mpjpe_m"]
            + self.root * terms["root_m"]
            + self.relative * terms["relative_m"]
            + self.velocity * terms["velocity_m"]
        )
        return {"loss": loss, **terms}


def _distance(difference: Tensor) -> Tensor:
    return difference.square().sum(-1).add(1e-8).sqrt().mean()


@dataclass(frozen=True)
class Recipe(recipes.Recipe):
    """Everything that decides the outcome of a training.

    Parameters
    ----------
    preset : str
        Which network.
    batch : int
        Windows per step, of all processes together.
    loop : LoopConfig
    loss : PoseLoss
    variation : Variation
    model : dict
        What is to be other than in the preset, by the fields' names in its configuration.
    """

    presets = PRESETS

    preset: str
    batch: int
    loop: LoopConfig
    loss: PoseLoss = field(default_factory=PoseLoss)
    variation: Variation = field(default_factory=Variation)
    model: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is none of {', '.join(PRESETS)}")
        recipes.require_whole("batch", self.batch)
        _ = self.network  # or the error of what does not fit

    @property
    def network(self) -> PointPoseConfig | MarsCnnConfig:
        """The network's configuration."""
        return recipes.changed(PRESETS[self.preset], self.model)

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Recipe:
        """Return the recipe of plain entries, as YAML or JSON have them."""
        parts = {
            "loop": recipes.made(LoopConfig, entries["loop"], "loop"),
            "loss": recipes.made(PoseLoss, entries.get("loss", {}), "loss"),
            "variation": recipes.made(
                Variation, _tuples(entries.get("variation", {})), "variation"
            ),
        }
        return recipes.made(cls, {**entries, **parts})


def _tuples(entries: Any) -> Any:
    if not isinstance(entries, Mapping):
        return entries
    return {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}


def network_of(config: PointPoseConfig | MarsCnnConfig) -> Network:
    """Return a new network."""
    return MarsCnn(config) if isinstance(config, MarsCnnConfig) else PointPose(config)


# -- windows -------------------------------------------------------------------------------------


class WindowBatches:
    """Varied windows of recordings; the same for the same step.

    Parameters
    ----------
    sequences : sequence of PointSequence
    network : PointPoseConfig or MarsCnnConfig
        Says how long windows are, and how many points a frame has.
    batch : int
    variation : Variation
    seed : int

    Raises
    ------
    ValueError
        If there is no frame with a pose.
    """

    def __init__(
        self,
        sequences: Sequence[PointSequence],
        network: PointPoseConfig | MarsCnnConfig,
        batch: int,
        variation: Variation,
        seed: int = 0,
    ) -> None:
        self.network, self.batch = network, batch
        self.variation, self.seed = variation, seed
        # Before and after each sequence there are frames without points and poses, so that windows
        # may reach beyond its ends.
        longest = int(np.ceil(network.frames * variation.speed[1]))
        largest = max((int(np.diff(one.first).max()) for one in sequences), default=1)
        width = max(1, min(largest, _MOST_POINTS))
        clouds, joints, anchors, start = [], [], [], longest
        for one in sequences:
            frames = len(one)
            clouds.append(_padded([choose_points(one.cloud(k), width) for k in range(frames)]))
            joints.append(one.joints_m)
            known = np.isfinite(one.joints_m).all((1, 2))
            anchors.append(start + np.flatnonzero(known))
            start += frames + longest
        between = [np.full((longest, width, VALUES), np.nan, np.float32)]
        unknown = [np.full((longest, len(KINECT25.joints), 3), np.nan, np.float32)]
        self.clouds = np.concatenate(between + [x for cloud in clouds for x in (cloud, *between)])
        self.joints_m = np.concatenate(unknown + [x for one in joints for x in (one, *unknown)])
        self.anchors = np.concatenate([np.zeros(0, int), *anchors])
        if not len(self.anchors):
            raise ValueError("no frame of the recordings has a pose to learn")
        self.floor_m = float(np.nanpercentile(self.joints_m[:, _FEET, 2], 5))
        self.aside_m = aside_m(sequences)

    def __call__(self, step: int, chosen: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return points ``(batch, frames, points, 5)`` and joints ``(batch, frames, 25, 3)``."""
        rng = np.random.default_rng((self.seed, step))
        points, joints_m = self._varied(*self._windows(rng), rng)
        return torch.from_numpy(points[chosen]), torch.from_numpy(joints_m[chosen])

    def _windows(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        v, frames = self.variation, self.network.frames
        slowest, fastest = np.log(v.speed)
        pace = np.exp(rng.uniform(slowest, fastest, self.batch)).astype(np.float32)
        # a frame with a pose, somewhere in the window
        offset = np.arange(frames) - rng.integers(frames, size=self.batch)[:, None]
        anchor = rng.choice(self.anchors, self.batch)[:, None]
        at = anchor + np.rint(offset * pace[:, None]).astype(int)
        backwards = rng.random(self.batch) < v.reversed
        at[backwards] = at[backwards, ::-1]
        points, joints_m = self.clouds[at], self.joints_m[at].copy()
        points = _drawn(points, self.network.points, v.kept, rng)
        points[..., 3] *= (pace * np.where(backwards, -1, 1))[:, None, None]
        return points, joints_m

    def _varied(
        self, points: np.ndarray, joints_m: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        v, batch = self.variation, self.batch
        places = points[..., :3]  # a view: what follows changes points
        joints_m[..., 1] -= self.aside_m
        mirror = rng.random(batch) < v.mirrored
        joints_m[mirror] = joints_m[mirror][:, :, _MIRRORED]
        factor = rng.uniform(*v.size, batch).astype(np.float32)
        turn = rng.uniform(-v.turn, v.turn, batch)
        rotation = np.zeros((batch, 1, 3, 3), np.float32)
        rotation[:, 0, 0, 0] = rotation[:, 0, 1, 1] = np.cos(turn)
        rotation[:, 0, 0, 1], rotation[:, 0, 1, 0] = np.sin(turn), -np.sin(turn)
        rotation[:, 0, 2, 2] = 1
        shift = rng.uniform(-1, 1, (batch, 1, 1, 3)) * np.array(v.shift_m)
        shift[..., 2] += ((1 - factor) * self.floor_m)[:, None, None]
        lift = rng.uniform(-v.lift_m, v.lift_m, batch) * (rng.random(batch) < v.lifted)
        shift[..., 2] += lift[:, None, None]
        for values in (places, joints_m):
            values[mirror, ..., 1] *= -1
            values *= factor[:, None, None, None]
            values[:] = values @ rotation + shift.astype(np.float32)
        joints_m[..., 1] += self.aside_m
        points[..., 3] *= factor[:, None, None]
        velocities = self._velocities(rng)
        way = np.cumsum(velocities, axis=1) / self.network.rate_hz
        way -= way.mean(1, keepdims=True)
        carry(points, way, velocities)
        joints_m[..., :2] += way[:, :, None]
        places += v.place_noise_m * rng.standard_normal(places.shape, np.float32)
        points[..., 3] += v.speed_noise_mps * rng.standard_normal(points.shape[:3], np.float32)
        points[rng.random(points.shape[:2]) < v.lost_frames] = np.nan
        points[rng.random(batch) < v.no_strength, ..., 4] = np.nan
        return points, joints_m

    def _velocities(self, rng: np.random.Generator) -> np.ndarray:
        """Draw how fast everything goes, x and y in m/s, (batch, frames, 2); mostly 0."""
        v, batch, frames = self.variation, self.batch, self.network.frames
        speed = rng.uniform(0, v.walking_mps, batch) * (rng.random(batch) < v.walking)
        way = rng.uniform(0, 2 * np.pi, batch)
        turns = rng.random(batch) < v.turning
        turn = np.where(turns, rng.uniform(0, frames, batch), frames)
        sign = np.where(np.arange(frames) < turn[:, None], 1, -1)
        heading = np.stack((np.cos(way), np.sin(way)), axis=-1)
        return (sign[..., None] * (speed[:, None] * heading)[:, None]).astype(np.float32)


def carry(points: np.ndarray, way_m: np.ndarray, velocities_mps: np.ndarray) -> None:
    """Let everything that a radar sees go along a way; changes the points.

    Parameters
    ----------
    points : ndarray of float32, shape (batch, frames, points, 5)
        Speeds change by what goes away from the radar.
    way_m, velocities_mps : ndarray, shape (batch, frames, 2)
        By how much all is moved along x and y, and how fast it goes then.
    """
    points[..., :2] += way_m[:, :, None]
    distance = np.linalg.norm(points[..., :3], axis=-1)
    along = (points[..., :2] * velocities_mps[:, :, None]).sum(-1)
    points[..., 3] += along / np.maximum(distance, 1e-6)


def _padded(clouds: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(clouds) if clouds else np.zeros((0, 1, VALUES), np.float32)


def _drawn(
    points: np.ndarray, most: int, kept: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Draw points of each frame, (batch, frames, any, 5) -> (batch, frames, most, 5)."""
    share = rng.uniform(*kept, (len(points), 1, 1))
    there = np.isfinite(points[..., 0])
    there &= rng.random(there.shape) < share
    order = np.argsort(np.where(there, rng.random(there.shape), 2.0), axis=-1)[..., :most]
    drawn = np.take_along_axis(points, order[..., None], axis=2)
    drawn[~np.take_along_axis(there, order, axis=2)] = np.nan
    missing = most - drawn.shape[2]
    if missing > 0:
        drawn = np.pad(drawn, ((0, 0), (0, 0), (0, missing), (0, 0)), constant_values=np.nan)
    return drawn


def estimate(
    network: Network,
    sequence: PointSequence,
    delays: Sequence[int] = (0,),
    *,
    every: int = 1,
    batch: int = 64,
    walking_mps: np.ndarray | None = None,
) -> np.ndarray:
    """Return a network's poses of a recording, as it would say them while frames come in.

    Parameters
    ----------
    network : PointPose or MarsCnn
        In evaluation mode.
    sequence : PointSequence
    delays : sequence of int
        How many frames after a frame its pose is said: less than a window's.
    every : int
        Look at every so many-th frame only; the others are NaN.
    walking_mps : ndarray, shape (frames, 2), optional
        How fast, along x and y, everything goes while a frame's window is seen; at the window's
        end it is where it was recorded. Delays must be 0 then.

    Returns
    -------
    ndarray of float32, shape (delays, frames, 25, 3)

    Raises
    ------
    ValueError
        If a delay is out of range.
    """
    c = network.config
    if not all(0 <= delay < c.frames for delay in delays):
        raise ValueError(f"delays must be 0 to {c.frames - 1} frames, got {list(delays)}")
    if walking_mps is not None and any(delays):
        raise ValueError(f"delays must be 0 of those who walk, got {list(delays)}")
    frames, late = len(sequence), max(delays)
    nothing = choose_points(np.zeros((0, VALUES), np.float32), c.points)
    clouds = np.stack(
        [nothing] * (c.frames - 1)
        + [choose_points(sequence.cloud(k), c.points) for k in range(frames)]
        + [nothing] * late
    )
    found = np.full((len(delays), frames, len(KINECT25.joints), 3), np.nan, np.float32)
    wanted = {k + delay for k in range(0, frames, every) for delay in delays}
    ends = np.array(sorted(wanted), int)  # the newest frame of each window
    for part in np.array_split(ends, max(1, -(-len(ends) // batch))):
        windows = clouds[part[:, None] + np.arange(c.frames)]
        if walking_mps is not None:
            velocities = np.repeat(walking_mps[part, None], c.frames, axis=1)
            ago_s = (np.arange(c.frames) - c.frames + 1) / c.rate_hz
            carry(windows, velocities * ago_s[:, None], velocities)
        with torch.inference_mode():
            poses = network(torch.from_numpy(windows)).numpy()
        for row, delay in zip(found, delays, strict=True):
            of = part - delay
            inside = (of >= 0) & (of < frames) & (of % every == 0)
            row[of[inside]] = poses[inside, c.frames - 1 - delay]
    return found


# -- training ------------------------------------------------------------------------------------


def fit_recipe(
    recipe: Recipe,
    training: Sequence[PointSequence],
    validation: Sequence[PointSequence],
    directory: Path,
    *,
    resume: bool = False,
    report: Callable[[str], None] = print,
    device: str = "cpu",
) -> tuple[Network, FitResult]:
    """Train on recordings ``training``, and keep what is best on ``validation``.

    Curves, checkpoints and the recipe go to ``directory``.

    Parameters
    ----------
    validation : sequence of PointSequence
        Of other people. If it is empty, what is measured are the people who are learnt from: then
        the end of the training is kept, or what comes next to it.

    Returns
    -------
    network : PointPose or MarsCnn
    result : FitResult
        Its scores are `SCORE` and the mean distance of joints in metres, of the newest frame.

    Raises
    ------
    ValueError
        If no frame has a pose, or it is to resume a training by another recipe.
    """
    torch.manual_seed(recipe.loop.seed)
    batches = WindowBatches(
        training, recipe.network, recipe.batch, recipe.variation, recipe.loop.seed
    )
    model = network_of(recipe.network)
    model.head.fit_poses(batches.joints_m)
    if isinstance(model, PointPose):
        model.fit_middle(batches.clouds)
    model.to(device)
    measured = validation or training
    every = max(1, sum(len(one) for one in measured) // _VALIDATION_WINDOWS)
    recipes.keep(recipe, directory, resume)

    def validate(network: nn.Module) -> dict[str, float]:
        assert isinstance(network, PointPose | MarsCnn)
        error = mean_error_m(network.cpu(), measured, every)
        network.to(device)
        return {SCORE: -error, "validation_mpjpe_m": error}

    result = fit(
        model,
        lambda step: batches(step, processes.share(recipe.batch)),
        lambda network, batch, _: recipe.loss(network(batch[0]).float(), batch[1]),
        validate,
        recipe.loop,
        directory,
        best_by=SCORE,
        resume=resume,
        report=report,
    )
    model.load_state_dict(result.state)
    return model.cpu().eval(), result


def mean_error_m(network: Network, sequences: Sequence[PointSequence], every: int = 1) -> float:
    """Return the mean distance of joints of the newest frame from their true places."""
    errors = [
        np.linalg.norm(estimate(network, one, every=every)[0] - one.joints_m, axis=-1).ravel()
        for one in sequences
    ]
    return float(np.nanmean(np.concatenate(errors)))


def save(
    model: Network,
    recipe: Recipe,
    result: FitResult,
    training: Sequence[PointSequence],
    directory: Path,
    *,
    command: str,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a network's weights and their entry in the folder's manifest.

    Parameters
    ----------
    metrics : mapping, optional
        "split" and what was reached there; default: what the training reached.

    Returns
    -------
    dict
        The entry.

    Raises
    ------
    WeightsError
        If the network is no preset as it is.
    """
    subjects = sorted({one.subject for one in training})
    known = sum(int(np.isfinite(one.joints_m).all((1, 2)).sum()) for one in training)
    return weights.save(
        model,
        directory,
        recipe.preset,
        training_data={
            "description": f"{len(training)} movements of {', '.join(subjects)}, {known} frames "
            "with a Kinect's joints: MARS",
            "subjects": subjects,
            "joints_left_of_points_m": round(aside_m(training), 3),
            "sha256": digest(training),
            "licence": "; ".join(sorted({one.licence for one in training})),
        },
        git_revision=recipes.revision(),
        command=command,
        metrics=metrics or {"split": "validation", "steps": result.step, **result.scores},
        poses={
            "skeleton": KINECT25.name,
            "unit": "m",
            "root_relative": False,
            "rate_hz": recipe.network.rate_hz,
            "axes": "world",
        },
    )


def aside_m(sequences: Sequence[PointSequence]) -> float:
    """Return how far joints stand to the left of the points, on average over frames with both.

    It is 0 where Kinect and radar agree on what is in front. A network says joints as far aside
    as those that it has learnt.
    """
    found = [np.zeros(0)]
    for one in sequences:
        counts = np.diff(one.first)
        total = np.diff(
            np.concatenate(([0.0], np.cumsum(one.points[:, 1], dtype=float)))[one.first]
        )
        known = np.isfinite(one.joints_m[:, KINECT25.root, 1]) & (counts > 0)
        middle = total[known] / counts[known]
        found.append(one.joints_m[known, KINECT25.root, 1] - middle)
    every = np.concatenate(found)
    return float(every.mean()) if len(every) else 0.0


def digest(sequences: Sequence[PointSequence]) -> str:
    """Return a hash of recordings."""
    found = hashlib.sha256()
    for one in sequences:
        found.update(one.name.encode())
        for values in (one.points, one.first, one.joints_m):
            found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


# -- the command line ----------------------------------------------------------------------------


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose train points``."""
    recipes.add_recipe_arguments(parser, RECIPES, "points")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="with mars_subject<number>.npz"
    )
    parser.add_argument(
        "--without",
        type=count,
        metavar="N",
        help="leave subject N out, and validate on that person (default: learn from all)",
    )
    recipes.add_training_arguments(parser, "out/points")
    recipes.add_device_argument(parser)
    recipes.add_threads_argument(parser)


def train(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose train points``, in one process or as one of several."""
    recipe = Recipe.load(arguments.recipe or RECIPES / f"{arguments.preset}.yaml")
    recipes.require_preset(recipe, arguments.recipe)
    recipes.require_usable(arguments.out, arguments.resume)
    torch.set_num_threads(arguments.threads)
    files = mars.files(arguments.data)
    left_out = require_subject(files, arguments.without) if arguments.without else None
    people = {number: mars.load_points(path) for number, path in files.items()}
    validation = people.pop(left_out) if left_out else []
    training = [one for sequences in people.values() for one in sequences]
    if not training:
        raise ValueError(f"there is nobody but subject {left_out}: nobody to learn from")
    with processes.joined():
        writes = processes.rank() == 0
        model, result = fit_recipe(
            recipe,
            training,
            validation,
            arguments.out,
            resume=arguments.resume,
            device=arguments.device,
        )
    if writes:
        command = recipes.command(
            "points", recipe.preset, recipe=arguments.recipe, data=arguments.data
        )
        command += f" --without {left_out}" if left_out else ""
        save(model, recipe, result, training, arguments.out, command=command)
        print(f"weights of step {result.step} are in {arguments.out}: {result.scores}")
    return 0


def require_subject(files: Mapping[int, Path], number: int) -> int:
    """Return the subject's number; ``ValueError`` names those there are."""
    if number not in files:
        there = ", ".join(str(one) for one in files)
        raise ValueError(f"there is no subject {number}, only {there}")
    return number
