"""Training and evaluation of MixSynthFormer, and of DeciWatch's design beside it.

On simulated people and recorded movements with simulated errors of a detector, or on DeciWatch's
files of poses that detectors gave.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from radar_pose_ros import measurements, resources
from radar_pose_ros.metrics import keypoints, pose3d
from radar_pose_ros.models import deciwatch, mixsynthformer, weights
from radar_pose_ros.models.deciwatch import DeciWatch, DeciWatchConfig
from radar_pose_ros.models.interpolation import interpolate
from radar_pose_ros.models.mixsynthformer import MixSynthFormer, MixSynthFormerConfig
from radar_pose_ros.models.refiner import NetworkModel, RefinedPoses, Refiner
from radar_pose_ros.simulation.body import SPLITS
from radar_pose_ros.simulation.detector_noise import DetectorNoise
from radar_pose_ros.skeleton import definitions
from radar_pose_ros.training import estimated_tracks, pose_tracks, processes
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.loop import FitResult, LoopConfig, fit
from radar_pose_ros.training.movements import check_split
from radar_pose_ros.training.pose_tracks import (
    Batch,
    Track,
    TrackBatches,
    TrackData,
    refine_sequence,
)
from radar_pose_ros.training.recipe import RecipeError

RECIPES = recipes.RECIPES / "mixsynthformer"
DEFAULT = "radar_2d"  # preset to train and to measure, unless told otherwise
PRESETS: dict[str, MixSynthFormerConfig | DeciWatchConfig] = {
    **mixsynthformer.PRESETS,
    **deciwatch.PRESETS,
}

# Windows on which a training is validated; and the streams of random numbers of validation and
# test: the same errors of the detector for whatever is compared.
_VALIDATION_WINDOWS = 512
_VALIDATION_SEED = 0x76616C
_TEST_SEED = 0x74657374

# Interpolators and filters to compare with. The filters' settings are the best, or within 1 mm of
# it, of a grid on the validation people of mocap_3d and of pose_3d; those in pixels the best on
# radar_2d's. One-Euro's slope is in Hz per m/s, or per px/s.
BASELINES: dict[str, dict[str, Any]] = {
    "nearest": {},
    "linear": {},
    "quadratic": {},
    "cubic": {},
    "one_euro": {"cutoff_hz": 1.0, "slope": 2.0},
    "savgol": {"window": 5, "degree": 1},
}
_IN_PIXELS: dict[str, dict[str, Any]] = {
    "one_euro": {"cutoff_hz": 1.5, "slope": 0.1},
    "savgol": {"window": 7, "degree": 1},
}
# As Sub-JHMDB is measured [paper].
_PCK_THRESHOLDS = {"pck_0_05": 0.05, "pck_0_1": 0.1, "pck_0_2": 0.2}
# At this one by part of the body, too. The released code names parts by other joints' indices.
_PART_THRESHOLD = 0.2
# Numbers of a rotation, and what is done to places only.
_ROTATION = 6
_NOT_OF_ROTATIONS = ("image", "root_relative", "turned", "mirrored")
# What is predicted is measured at these times [paper].
HORIZONS_S = (0.08, 0.16, 0.32, 0.4)


@dataclass(frozen=True)
class Recipe(recipes.Recipe):
    """Everything that decides the outcome of a training.

    Parameters
    ----------
    preset : str
        Name of the network's configuration, MixSynthFormer's or DeciWatch's.
    data : TrackData
    batch : int
        Windows per step, of all processes together.
    loop : LoopConfig
    objective : {"all", "future"}
        "all": the mean absolute difference over all frames and numbers [code]; for DeciWatch the
        same of the denoised keyframes is added [paper]. "future": the mean distance of the joints
        in the predicted frames [paper].
    detected : dict of str to str
        "dataset" and "estimator" of DeciWatch's files to train on; empty for simulated errors.
        "values" may say which numbers of them: "joints", or "rotations" of SMPL's joints.
    model : dict
        What is to be other than in the preset, by the fields' names.
    """

    presets = PRESETS

    preset: str
    data: TrackData
    batch: int
    loop: LoopConfig
    objective: Literal["all", "future"] = "all"
    detected: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        recipes.require_whole("batch", self.batch)
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is none of {', '.join(sorted(PRESETS))}")
        if self.objective not in ("all", "future"):
            raise ValueError(f"objective {self.objective!r} is none of all, future")
        if self.detected and {*self.detected} - {"values"} != {"dataset", "estimator"}:
            raise ValueError("detected wants dataset and estimator, and may have values")
        if self.detected.get("values", "joints") not in ("joints", "rotations"):
            raise ValueError(
                f"detected: values {self.detected['values']!r} is none of joints, rotations"
            )
        network = self.network  # or the error of what does not fit
        if self.rotations != (network.values == _ROTATION):
            raise ValueError(
                f"preset {self.preset} has {network.values} numbers for a joint: only those with "
                f"{_ROTATION} are for rotations, and they want detected: {{values: rotations}}"
            )
        on = [name for name in _NOT_OF_ROTATIONS if getattr(self.data, name)]
        if self.rotations and on:
            raise ValueError(f"data: rotations want {', '.join(on)} to be false")
        if not self.detected and any(self.data.simulated.values()):
            recipes.require_length(self.data.seconds, self.data.rate_hz, network.frames)
        if self.objective == "future" and not network.future_frames:
            raise ValueError(f"preset {self.preset} predicts no future frames")

    @property
    def rotations(self) -> bool:
        """Whether poses are rotations of joints, not places."""
        return self.detected.get("values") == "rotations"

    @property
    def network(self) -> MixSynthFormerConfig | DeciWatchConfig:
        """The network's configuration."""
        return recipes.changed(PRESETS[self.preset], self.model)

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Recipe:
        """Return the recipe of plain entries, as YAML has them."""
        data = dict(entries["data"])
        data["noise"] = recipes.made(DetectorNoise, data.get("noise", {}), "data: noise")
        data["simulated"] = {**dict.fromkeys(SPLITS, 0), **data.get("simulated", {})}
        parts = {
            "data": recipes.made(TrackData, data, "data"),
            "loop": recipes.made(LoopConfig, entries["loop"], "loop"),
        }
        return recipes.made(cls, {**entries, **parts})


def build(config: MixSynthFormerConfig | DeciWatchConfig) -> MixSynthFormer | DeciWatch:
    """Return a network of that configuration, with fresh weights."""
    if isinstance(config, DeciWatchConfig):
        return DeciWatch(config)
    return MixSynthFormer(config)


def tracks_of(
    recipe: Recipe,
    split: str,
    root: Path | None = None,
    mocap: Path | None = None,
    cache: Path = Path("out/estimated"),
) -> list[Track]:
    """Return the movements of a split, "train", "validation" or "test".

    Parameters
    ----------
    root : Path, optional
        DeciWatch's files.
    mocap : Path, optional
        Recorded movements.
    cache : Path
        Folder that keeps what a pose network estimated, see `estimated_tracks`.

    Returns
    -------
    list of Track

    DeciWatch's files have no validation split: every tenth of the training's subjects is held
    back for it, the last one where there are fewer.

    Raises
    ------
    ValueError
        If there is nothing to train on, or the recipe is for DeciWatch's files and no folder is
        given.
    """
    data = recipe.data
    if mocap is not None and (recipe.detected or data.estimated_by):
        raise ValueError("this recipe has detections of its own: --mocap is not for it")
    if data.estimated_by:
        check_split(split)
        return estimated_tracks.load(
            cache,
            split,
            data.simulated[split],
            seconds=data.seconds,
            rate_hz=data.rate_hz,
            seed=data.seed,
            network=data.estimated_by,
        )
    if not recipe.detected:
        return pose_tracks.load(data, split, mocap)
    if root is None:
        raise ValueError("this recipe is for DeciWatch's files: give their folder, --data DIR")
    load = pose_tracks.load_detected_rotations if recipe.rotations else pose_tracks.load_detected
    tracks = load(
        root,
        recipe.detected["dataset"],
        recipe.detected["estimator"],
        "test" if split == "test" else "train",
    )
    if split == "test":
        return tracks
    held_back = set(sorted({track.subject for track in tracks})[::-10])
    return [track for track in tracks if (track.subject in held_back) == (split == "validation")]


def loss_terms(network: nn.Module, batch: Batch, recipe: Recipe) -> dict[str, Tensor]:
    """Return the loss of a batch of windows, in units of the network's ``scale``."""
    config = recipe.network
    if recipe.objective == "future":
        estimate = network(batch.keyframes)
        ahead = slice(-config.future_frames, None)
        return {"loss": (estimate - batch.truth)[:, ahead].norm(dim=-1).mean() / config.scale}
    if isinstance(config, DeciWatchConfig):
        recovered, denoised = network(batch.keyframes, both=True)
        truth = batch.truth[:, :: config.interval]
        recovery = (recovered - batch.truth).abs().mean() / config.scale
        denoising = (denoised - truth).abs().mean() / config.scale
        return {"loss": recovery + denoising, "recovery": recovery, "denoising": denoising}
    return {"loss": (network(batch.keyframes) - batch.truth).abs().mean() / config.scale}


@torch.no_grad()
def validation_scores(
    network: nn.Module, batches: TrackBatches, recipe: Recipe
) -> dict[str, float]:
    """Return the mean distance of joints from the truth, and its negative in units of ``scale``.

    The latter serves to choose the best weights. Of rotations it is the distance of their six
    numbers.
    """
    device = next(network.parameters()).device
    future = recipe.network.future_frames if recipe.objective == "future" else 0
    errors = []
    for step in range(max(1, _VALIDATION_WINDOWS // batches.batch)):
        keyframes, truth = batches(step)
        error = (network(keyframes.to(device)).cpu() - truth).norm(dim=-1)
        errors.append(error[:, -future:].mean())
    mean = float(torch.stack(errors).mean())
    return {"validation_error": mean, "validation_score": -mean / recipe.network.scale}


def fit_recipe(
    recipe: Recipe,
    training: Sequence[Track],
    validation: Sequence[Track],
    directory: Path,
    *,
    resume: bool = False,
    report: Callable[[str], None] = print,
    device: str = "cpu",
) -> tuple[MixSynthFormer | DeciWatch, FitResult]:
    """Train on movements, and choose the weights that are best on others.

    Curves, checkpoints and the recipe go to ``directory``.

    Raises
    ------
    ValueError
        If no movement is as long as a window, or it is to resume a training by another recipe.
    """
    torch.manual_seed(recipe.loop.seed)
    model = build(recipe.network).to(device)
    batches = TrackBatches(training, recipe.network, recipe.batch, recipe.data, recipe.loop.seed)
    held_back = TrackBatches(
        validation, recipe.network, 64, recipe.data, _VALIDATION_SEED, varied=False
    )
    recipes.keep(recipe, directory, resume)
    result = fit(
        model,
        lambda step: batches(step, processes.share(recipe.batch)),
        lambda network, batch, step: loss_terms(network, batch, recipe),
        lambda network: validation_scores(network, held_back, recipe),
        recipe.loop,
        directory,
        best_by="validation_score",
        resume=resume,
        report=report,
    )
    model.load_state_dict(result.state)
    return model.eval(), result


class Case(NamedTuple):
    """A movement to measure on.

    Attributes
    ----------
    track : Track
    keyframes : ndarray, shape (keyframes, joints, values)
        What all methods are given.
    truth : ndarray, shape (frames, joints, values)
        From the first keyframe to the last.
    boxes_px : ndarray, shape (frames, 4), optional
        The track's boxes in these frames.
    """

    track: Track
    keyframes: np.ndarray
    truth: np.ndarray
    boxes_px: np.ndarray | None = None


def cases(tracks: Sequence[Track], interval: int, data: TrackData) -> list[Case]:
    """Return what to measure on: the same detections for every method and every seed.

    Movements shorter than two keyframes and three frames are left out, and those in which the
    detector saw no joint at all.
    """
    found = []
    for number, track in enumerate(tracks):
        last = (len(track) - 1) // interval
        if last < 1 or last * interval < 2:
            continue
        frames = slice(0, last * interval + 1)
        truth = pose_tracks.in_axes(track.truth[frames], data)
        detected = None
        if track.detected is not None:
            detected = pose_tracks.in_axes(track.detected[frames], data)
        if detected is not None and np.isnan(detected[::interval]).any(axis=2).all():
            continue
        rng = np.random.default_rng([_TEST_SEED, number])
        keyframes = pose_tracks.detections(truth, detected, track, interval, data, rng)
        if data.root_relative:
            truth = pose_tracks.relative(truth, track.skeleton)
        boxes_px = None if track.boxes_px is None else track.boxes_px[frames]
        found.append(Case(track, keyframes, truth, boxes_px))
    return found


def estimate_by_method(case: Case, interval: int, method: str) -> np.ndarray:
    """Return all frames of a case by one of `BASELINES`, shape (frames, joints, values)."""
    step_s = interval / case.track.rate_hz
    times_s = np.arange(len(case.keyframes)) * step_s
    # exactly the last keyframe's time, whatever the rounding
    at_s = np.minimum(np.arange(len(case.truth)) / case.track.rate_hz, times_s[-1])
    settings = BASELINES[method]
    if case.track.unit == "px":
        settings = _IN_PIXELS.get(method, settings)
    return interpolate(times_s, case.keyframes, at_s, method, **settings).poses


def node_blend(future_frames: int = 0) -> int:
    """Return how many windows the node `pose_refiner` takes the mean of, unless told otherwise.

    Of a network that predicts ``future_frames`` that is one.
    """
    if future_frames:
        return 1
    path = resources.find("config", "parameters", "pose_refiner.yaml")
    return int(yaml.safe_load(path.read_text())["blend"]["default"])


def estimate_as_node(case: Case, network: nn.Module, blend: int) -> np.ndarray:
    """Return all frames of a case as the node makes them, shape (frames, joints, values).

    Parameters
    ----------
    case : Case
    network : nn.Module
        `MixSynthFormer` or `DeciWatch`.
    blend : int
        Windows whose mean a frame is, at most; 0 for as many as cover it.
    """
    model, rate_hz = NetworkModel(network), case.track.rate_hz
    _, joints, values = case.keyframes.shape
    step_s = model.interval / rate_hz
    windows = min(blend, model.segments) or None
    stream = Refiner(model, joints, values, rate_hz, blend=windows, gap_s=2 * step_s)
    final = stream.push_many(np.arange(len(case.keyframes)) * step_s, case.keyframes)
    return RefinedPoses.join([final, stream.flush()]).poses


def measure(
    estimate: np.ndarray,
    truth: np.ndarray,
    size_px: tuple[int, int] | None = None,
    boxes_px: np.ndarray | None = None,
    skeleton: str = "",
) -> dict[str, float]:
    """Return how far an estimate of a movement is off.

    Parameters
    ----------
    estimate, truth : ndarray, shape (frames, joints, values)
        In metres; with two values, in an image; with six, rotations.
    size_px : (int, int), optional
        Width and height of the image, if joints are in shares of them.
    boxes_px : ndarray, shape (frames, 4), optional
        Annotated, in the image.
    skeleton : str
        Whose joints they are, to say what is right by part of the body, too.

    Returns
    -------
    dict
        ``mpjpe_mm``, ``p_mpjpe_mm`` and ``accel_mm`` (per frame squared); of rotations
        ``angle_deg`` and ``accel_deg`` (per frame squared); in an image ``error`` and ``accel``,
        in its unit, and with boxes ``pck_0_05``, ``pck_0_1`` and ``pck_0_2``
        (`keypoints.annotated_pck`), unless there is nothing to count; with a skeleton
        ``pck_0_2_wrist`` and so on, each joint by its own index.
    """
    if truth.shape[-1] == _ROTATION:
        return {
            "angle_deg": pose3d.rotation_error_deg(estimate, truth),
            "accel_deg": pose3d.rotation_acceleration_error_deg(estimate, truth),
        }
    if truth.shape[-1] == 3:
        return {
            "mpjpe_mm": 1e3 * pose3d.mpjpe(estimate, truth),
            "p_mpjpe_mm": 1e3 * pose3d.p_mpjpe(estimate, truth),
            "accel_mm": pose3d.acceleration_error_mm(estimate, truth),
        }
    difference = estimate - truth
    found = {
        "error": keypoints.end_point_error(estimate, truth),
        "accel": float(np.linalg.norm(np.diff(difference, n=2, axis=0), axis=-1).mean()),
    }
    if boxes_px is not None:
        size = (1, 1) if size_px is None else size_px
        for name, threshold in _PCK_THRESHOLDS.items():
            compared = estimate * size, truth * size, boxes_px, threshold
            share = keypoints.annotated_pck(*compared)
            if np.isnan(share):
                continue
            found[name] = share
            if skeleton and threshold == _PART_THRESHOLD:
                joints = keypoints.annotated_joint_pck(*compared)
                parts = keypoints.part_means(joints, definitions.get(skeleton))
                found |= {f"{name}_{part}": value for part, value in parts.items()}
    return found


def measure_all(
    found: Sequence[Case], estimate: Callable[[Case], np.ndarray]
) -> dict[str, list[float]]:
    """Return each measure, of each case that has it: without boxes there is no PCK."""
    measured: dict[str, list[float]] = {}
    for case in found:
        track = case.track
        row = measure(estimate(case), case.truth, track.size_px, case.boxes_px, track.skeleton)
        for name, value in row.items():
            measured.setdefault(name, []).append(value)
    return measured


@torch.no_grad()
def measure_prediction(
    tracks: Sequence[Track], config: MixSynthFormerConfig, data: TrackData, method: str | nn.Module
) -> dict[str, list[float]]:
    """Return the mean distance of joints at each of `HORIZONS_S`, in mm, for each movement.

    Parameters
    ----------
    tracks : sequence of Track
        Those that are shorter than a window are left out.
    config : MixSynthFormerConfig
        Says how long the past is; a window begins every half second.
    data : TrackData
    method : nn.Module or {"zero_velocity", "constant_velocity"}

    Returns
    -------
    dict
        "mpjpe_mm_80" and so on, by milliseconds; of those times only that the network predicts.
    """
    found: dict[str, list[float]] = {}
    for number, track in enumerate(tracks):
        starts = range(0, len(track) - config.frames + 1, max(1, round(track.rate_hz / 2)))
        if not starts:
            continue
        rng = np.random.default_rng([_TEST_SEED, number])
        past = slice(0, config.past_frames)
        windows = [track.truth[start : start + config.frames] for start in starts]
        keyframes = np.stack(
            [
                pose_tracks.detections(w[past], None, track, config.interval, data, rng)
                for w in windows
            ]
        )
        if data.root_relative:
            windows = [pose_tracks.relative(window, track.skeleton) for window in windows]
        ahead = np.stack(windows)[:, config.past_frames :]
        if isinstance(method, nn.Module):
            device = next(method.parameters()).device
            estimate = method(torch.from_numpy(keyframes).to(device)).cpu().numpy()
            estimate = estimate[:, config.past_frames :]
        else:
            velocity = (keyframes[:, -1:] - keyframes[:, -2:-1]) / config.interval
            steps = np.arange(1, config.future_frames + 1)[:, None, None]
            still = method == "zero_velocity"
            estimate = keyframes[:, -1:] + (0.0 if still else steps * velocity)
        error_mm = 1e3 * np.linalg.norm(estimate - ahead, axis=-1).mean(axis=(0, 2))
        for horizon_s in HORIZONS_S:
            frame = round(horizon_s * track.rate_hz)
            if 1 <= frame <= config.future_frames:
                name = f"mpjpe_mm_{round(1e3 * horizon_s)}"
                found.setdefault(name, []).append(float(error_mm[frame - 1]))
    return found


def results_of(
    model: MixSynthFormer | DeciWatch, recipe: Recipe, tracks: Sequence[Track]
) -> list[dict[str, Any]]:
    """Return rows of results: the network, and what it has to be better than.

    Of the network those of `refine_sequence`, which takes all windows over a frame, and with
    "_node" at the end of their id those of the node's own setting.
    """
    config = model.config
    rows: list[dict[str, Any]] = []
    if isinstance(config, MixSynthFormerConfig) and recipe.objective == "future":
        methods: dict[str, str | nn.Module] = {"": model}
        methods |= {f"_{name}": name for name in ("zero_velocity", "constant_velocity")}
        for name, method in methods.items():
            measured = measure_prediction(tracks, config, recipe.data, method)
            rows += _rows(measured, name)
        return rows
    found = cases(tracks, config.interval, recipe.data)
    rows += _rows(measure_all(found, lambda case: refine_sequence(model, case.keyframes)), "")
    as_node = partial(estimate_as_node, network=model, blend=node_blend(config.future_frames))
    rows += _rows(measure_all(found, as_node), "_node")
    for name in BASELINES:
        by_method = partial(estimate_by_method, interval=config.interval, method=name)
        rows += _rows(measure_all(found, by_method), f"_{name}")
    return rows


def _rows(measured: Mapping[str, Sequence[float]], suffix: str) -> list[dict[str, Any]]:
    return [
        measurements.result(
            f"test.{name}{suffix}",
            float(np.mean(values)),
            "mm" if "_mm" in name else "deg" if name.endswith("_deg") else "",
            against=f"mean over {len(values)} movements",
        )
        for name, values in measured.items()
    ]


def save(
    model: MixSynthFormer | DeciWatch,
    recipe: Recipe,
    result: FitResult,
    training: Sequence[Track],
    directory: Path,
    command: str = "",
) -> None:
    """Write the weights and their manifest entry to ``directory``.

    ``command`` is what to call again to get them; by default that of the preset's own recipe.
    """
    minutes = sum(len(track) / track.rate_hz for track in training) / 60
    licences = sorted({track.licence for track in training if track.licence})
    errors = "simulated errors of a detector"
    if recipe.detected:
        errors = f"detections by {recipe.detected['estimator']}"
    elif recipe.data.estimated_by:
        errors = f"estimates of milliMamba, {recipe.data.estimated_by}"
    # of DeciWatch's files the vertical is not known; an image and joints' rotations have no axes
    known = training[0].unit == "m" and not recipe.detected
    weights.save(
        model,
        directory,
        recipe.preset,
        training_data={
            "description": f"{len(training)} movements, {minutes:.0f} minutes, {errors}",
            "subjects": len({track.subject for track in training}),
            "licence": "; ".join(licences) or "not known",
        },
        git_revision=recipes.revision(),
        command=command or recipes.command("mixsynthformer", recipe.preset),
        metrics={"split": "validation", "steps": result.step, **result.scores},
        poses={
            "skeleton": training[0].skeleton,
            "unit": training[0].unit,
            **({"axes": recipe.data.axes} if known else {}),
            "root_relative": recipe.data.root_relative,
            "rate_hz": training[0].rate_hz,
        },
    )


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose train mixsynthformer``."""
    _add_common_arguments(parser, DEFAULT)
    recipes.add_training_arguments(parser, "out/mixsynthformer")


def train(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose train mixsynthformer``, in one process or as one of several."""
    recipe = _recipe(arguments)
    recipes.require_preset(recipe, arguments.recipe)
    recipes.require_usable(arguments.out, arguments.resume)
    torch.set_num_threads(arguments.threads)
    training, validation = (
        tracks_of(recipe, split, arguments.data, arguments.mocap, arguments.cache)
        for split in ("train", "validation")
    )
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
            "mixsynthformer",
            recipe.preset,
            recipe=arguments.recipe,
            data=arguments.data,
            mocap=arguments.mocap,
        )
        save(model, recipe, result, training, arguments.out, command)
        print(f"weights of step {result.step} are in {arguments.out}: {result.scores}")
    return 0


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose evaluate mixsynthformer``."""
    _add_common_arguments(parser, None)  # that of the weights
    parser.add_argument(
        "--weights", help=f"safetensors file (default: those shipped of --preset, or of {DEFAULT})"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")


def evaluate(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose evaluate mixsynthformer``.

    Raises
    ------
    ValueError
        If there is no movement to measure on, or the weights are another network's, or of another
        preset than was asked for.
    """
    torch.set_num_threads(arguments.threads)
    name = arguments.weights or arguments.preset or DEFAULT
    model, entry = weights.network(name)
    if not isinstance(model, MixSynthFormer | DeciWatch):
        raise weights.WeightsError(f"{name} is a {entry['model']}, not a mixsynthformer")
    recipe = Recipe.load(arguments.recipe or RECIPES / f"{entry['preset']}.yaml")
    if recipe.preset != entry["preset"]:
        raise RecipeError(
            f"{arguments.recipe} is for preset {recipe.preset}, {name} for {entry['preset']}"
        )
    recipes.announce(entry, arguments.preset)
    tracks = tracks_of(recipe, "test", arguments.data, arguments.mocap, arguments.cache)
    if not tracks:
        raise ValueError("there is no movement to test on: this recipe wants --mocap FILE")
    rows = results_of(model.to(arguments.device), recipe, tracks)
    print(measurements.table(rows))
    if arguments.json:
        measurements.write_results(arguments.json, rows)
    return 0


def _add_common_arguments(parser: argparse.ArgumentParser, preset: str | None) -> None:
    recipes.add_recipe_arguments(parser, RECIPES, preset)
    parser.add_argument("--data", type=Path, help="folder of DeciWatch's files, if one has them")
    parser.add_argument(
        "--mocap", type=Path, metavar="FILE", help="recorded movements, cmu_60hz.npz"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("out/estimated"),
        metavar="DIR",
        help="keeps what the pose network estimated, for the recipes that learn from it "
        "(default: %(default)s)",
    )
    recipes.add_device_argument(parser)
    recipes.add_threads_argument(parser)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    return Recipe.load(arguments.recipe or RECIPES / f"{arguments.preset}.yaml")
