"""Training and evaluation of milliMamba on simulated people."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from radar_pose_ros import measurements, resources
from radar_pose_ros.datasets import simulated
from radar_pose_ros.datasets.simulated import Recording, Window
from radar_pose_ros.models import weights
from radar_pose_ros.models.baselines import MeanPoseBaseline
from radar_pose_ros.models.losses import (
    PoseLossConfig,
    half_box_area,
    keypoint_similarity,
    pose_loss,
)
from radar_pose_ros.models.millimamba import PRESETS, MilliMamba
from radar_pose_ros.radar.heatmap import HeatmapConfig
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.training import evaluation
from radar_pose_ros.training.evaluation import network_input
from radar_pose_ros.training.loop import FitResult, LoopConfig, fit

RECIPES = Path(__file__).with_name("recipes")


class RecipeError(ValueError):
    """A recipe that cannot be followed: says which file, which entry, what is allowed."""


@dataclass(frozen=True)
class DataConfig:
    """Which simulated recordings to train on.

    Parameters
    ----------
    seed : int
        Of the whole data set.
    seconds : float
        Length of a recording.
    recordings : dict of str to int
        How many per split.
    radar : str
        Name of the radar's configuration in ``config/``.
    heatmap : HeatmapConfig
    """

    seed: int
    seconds: float
    recordings: dict[str, int]
    radar: str
    heatmap: HeatmapConfig

    def __post_init__(self) -> None:
        missing = [split for split in simulated.SPLITS if split not in self.recordings]
        if missing:
            raise ValueError(f"data: recordings has no entry {', '.join(missing)}")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a training.

    Parameters
    ----------
    preset : str
        Name of the network's configuration.
    data : DataConfig
    batch : int
        Windows per step.
    noise_ratio : float
        Augmentation: white noise is added to each window, its root mean square drawn between 0 and
        this share of the echo's.
    loss : PoseLossConfig
    loop : LoopConfig
    """

    preset: str
    data: DataConfig
    batch: int
    noise_ratio: float
    loss: PoseLossConfig
    loop: LoopConfig

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe; `RecipeError` names the file and what is wrong in it."""
        try:
            entries = yaml.safe_load(path.read_text())
            heatmap = HeatmapConfig(**entries["data"]["heatmap"])
            entries["data"] = DataConfig(**{**entries["data"], "heatmap": heatmap})
            entries["loss"] = PoseLossConfig(**entries["loss"])
            entries["loop"] = LoopConfig(**entries["loop"])
            recipe = cls(**entries)
        except KeyError as error:
            raise RecipeError(f"{path}: there is no entry {error}") from error
        except (TypeError, ValueError, yaml.YAMLError) as error:
            raise RecipeError(f"{path}: {error}") from error
        if recipe.preset not in PRESETS:
            raise RecipeError(
                f"{path}: preset {recipe.preset!r} is none of {', '.join(sorted(PRESETS))}"
            )
        return recipe


def prepare_data(
    data: DataConfig,
    root: Path,
    splits: Sequence[str],
    processes: int,
    report: Callable[[str], None] = print,
) -> None:
    """Simulate whatever recordings of these splits ``root`` does not hold yet."""
    lines = simulated.generate(
        root,
        {split: data.recordings[split] for split in splits},
        load_cfg(resources.find("config", data.radar)),
        data.heatmap,
        seconds=data.seconds,
        seed=data.seed,
        processes=processes,
    )
    for line in lines:
        report(line)


def recordings_of(data: DataConfig, root: Path, split: str) -> list[Recording]:
    """Open the recordings of a split, no more than the recipe asks for."""
    return simulated.load_split(root, split)[: data.recordings[split]]


def augment(cubes: np.ndarray, noise_ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Vary windows in ways that leave the pose as it is.

    Each frame of each radar gets a random phase, as a displacement of the radar by less than a
    wavelength would give it, and each window white noise of a random level.

    Parameters
    ----------
    cubes : ndarray of complex64, shape (batch, radars, frames, antennas, doppler, range)
        Root mean square 1.
    noise_ratio : float
        Largest root mean square of the noise.
    """
    phases = np.exp(2j * np.pi * rng.random((*cubes.shape[:3], 1, 1, 1))).astype(np.complex64)
    levels = rng.uniform(0, noise_ratio, (len(cubes), 1, 1, 1, 1, 1)) * np.sqrt(0.5)
    noise = rng.standard_normal((*cubes.shape, 2), np.float32).view(np.complex64)[..., 0]
    return cubes * phases + levels.astype(np.float32) * noise


class TrainingBatches:
    """Random windows of recordings, augmented; the same for the same step.

    Parameters
    ----------
    recordings : sequence of Recording
    frames : int
        Length of a window.
    angle_bins : int
        Length of the angle axis.
    batch : int
        Windows per batch.
    noise_ratio : float
        See `augment`.
    seed : int
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        frames: int,
        angle_bins: int,
        batch: int,
        noise_ratio: float,
        seed: int,
    ) -> None:
        self.recordings = recordings
        self.frames = frames
        self.angle_bins = angle_bins
        self.batch = batch
        self.noise_ratio = noise_ratio
        self._windows = simulated.windows(recordings, frames)
        self.seed = seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return heatmaps ``(batch, radars, frames, 2, angle, doppler, range)`` and keypoints."""
        rng = np.random.default_rng([self.seed, step])
        numbers = rng.integers(len(self._windows), size=self.batch)
        chosen = [self._windows[number] for number in numbers]
        cubes, keypoints_px = simulated.gather(self.recordings, chosen, self.frames)
        cubes = augment(cubes, self.noise_ratio, rng)
        return network_input(cubes, self.angle_bins), torch.from_numpy(keypoints_px)


def validation_scores(
    model: nn.Module, recordings: Sequence[Recording], windows: Sequence[Window]
) -> dict[str, float]:
    """Return the mean keypoint similarity and pixel error of the middle frames of some windows."""
    assert isinstance(model, MilliMamba)
    length = model.config.frames
    similarities, errors = [], []
    with torch.no_grad():
        for first in range(0, len(windows), 16):
            cubes, truth = simulated.gather(recordings, windows[first : first + 16], length)
            output = model(network_input(cubes, model.config.angle_bins))
            estimate = output.keypoints[:, output.keypoints.shape[1] // 2].float()
            target = torch.from_numpy(truth[:, length // 2])
            area_px2 = half_box_area(target)
            similarities.append(keypoint_similarity(estimate, target, area_px2).mean(-1))
            errors.append((estimate - target).norm(dim=-1).mean(-1))
    return {
        "validation_oks": float(torch.cat(similarities).mean()),
        "validation_error_px": float(torch.cat(errors).mean()),
    }


def fit_recipe(
    recipe: Recipe,
    root: Path,
    directory: Path,
    *,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> tuple[MilliMamba, FitResult]:
    """Train on the recordings under ``root``; curves and checkpoints go to ``directory``."""
    training = recordings_of(recipe.data, root, "train")
    validation = recordings_of(recipe.data, root, "validation")
    torch.manual_seed(recipe.loop.seed)
    model = MilliMamba(PRESETS[recipe.preset])
    frames = model.config.frames
    batches = TrainingBatches(
        training,
        frames,
        model.config.angle_bins,
        recipe.batch,
        recipe.noise_ratio,
        seed=recipe.loop.seed,
    )
    held_back = simulated.windows(validation, frames, stride=3 * frames)

    def losses(network: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        heatmaps, truth_px = batch
        return pose_loss(network(heatmaps), truth_px, recipe.loss, step / recipe.loop.steps)

    result = fit(
        model,
        batches,
        losses,
        lambda network: validation_scores(network, validation, held_back),
        recipe.loop,
        directory,
        best_by="validation_oks",
        resume=resume,
        report=report,
    )
    model.load_state_dict(result.state)
    return model.eval(), result


def save(
    model: MilliMamba, recipe: Recipe, result: FitResult, root: Path, directory: Path
) -> None:
    """Write the weights, their baseline and their manifest entry to ``directory``."""
    training = recordings_of(recipe.data, root, "train")
    baseline = evaluation.fit_baseline(training, model.config.angle_bins)
    baseline_name = f"mean_pose_{recipe.preset}.json"
    directory.mkdir(parents=True, exist_ok=True)
    baseline.save(directory / baseline_name)
    frames = sum(len(recording.keypoints_px) for recording in training)
    weights.save(
        model,
        directory,
        recipe.preset,
        training_data={
            "description": f"{len(training)} simulated recordings, {frames} frames of two radars",
            "seed": recipe.data.seed,
            "licence": "Apache-2.0, made by this package",
        },
        git_revision=_revision(),
        command=f"radar-pose train millimamba --preset {recipe.preset}",
        metrics={"split": "validation", "steps": result.step, **result.scores},
        heatmap=asdict(recipe.data.heatmap),
        baseline=baseline_name,
    )


def _revision() -> str:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose train millimamba``."""
    _add_common_arguments(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("out/millimamba"), help="curves, checkpoints and weights"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")


def train(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose train millimamba``."""
    recipe = _recipe(arguments)
    torch.set_num_threads(arguments.threads)
    prepare_data(recipe.data, arguments.data, ("validation", "train"), arguments.processes)
    model, result = fit_recipe(recipe, arguments.data, arguments.out, resume=arguments.resume)
    save(model, recipe, result, arguments.data, arguments.out)
    print(f"weights of step {result.step} are in {arguments.out}: {result.scores}")
    return 0


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose evaluate millimamba``."""
    _add_common_arguments(parser)
    parser.add_argument("--weights", help="safetensors file (default: the shipped ones)")
    parser.add_argument(
        "--recordings", type=_count, help="use only the first ones (default: the whole test set)"
    )
    parser.add_argument("--figure", type=Path, help="picture of the result, a PNG file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")


def evaluate(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose evaluate millimamba``."""
    torch.set_num_threads(arguments.threads)
    state, entry = weights.load(arguments.weights or arguments.preset)
    model = MilliMamba(PRESETS[entry["preset"]])
    model.load_state_dict(state)
    data = _recipe(arguments).data
    count = min(data.recordings["test"], arguments.recordings or data.recordings["test"])
    # The weights, not the recipe, say which heatmaps they need.
    heatmap = HeatmapConfig(**entry["heatmap"])
    data = replace(data, recordings={**data.recordings, "test": count}, heatmap=heatmap)
    prepare_data(data, arguments.data, ("test",), arguments.processes)
    recordings = recordings_of(data, arguments.data, "test")
    estimates = evaluation.estimate(model.eval(), MeanPoseBaseline.load(entry), recordings)
    rows = evaluation.rows(estimates)
    print(measurements.table(rows))
    if arguments.figure:
        evaluation.draw(estimates, arguments.figure)
    if arguments.json:
        measurements.write_results(arguments.json, rows)
    return 0


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    cores = measurements.cores_available()
    parser.add_argument(
        "--preset",
        default="edge",
        choices=sorted(path.stem.removeprefix("millimamba_") for path in RECIPES.glob("*.yaml")),
    )
    parser.add_argument(
        "--recipe", type=Path, help="recipe file (default: the one shipped for the preset)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("out/simulated"),
        help="folder of simulated recordings; what is missing there is simulated first",
    )
    parser.add_argument(
        "--processes", type=_count, default=cores, help="recordings simulated at the same time"
    )
    parser.add_argument("--threads", type=_count, default=cores, help="threads of the network")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    return Recipe.load(arguments.recipe or RECIPES / f"millimamba_{arguments.preset}.yaml")
