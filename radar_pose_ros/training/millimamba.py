"""Training of milliMamba on simulated people: ``radar-pose train millimamba``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from radar_pose_ros import resources
from radar_pose_ros.datasets import simulated
from radar_pose_ros.datasets.simulated import Recording, Window
from radar_pose_ros.models.losses import (
    PoseLossConfig,
    half_box_area,
    keypoint_similarity,
    pose_loss,
)
from radar_pose_ros.models.millimamba import PRESETS, MilliMamba
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.heatmap import HeatmapConfig, angle_matrix
from radar_pose_ros.radar.ti_config import load_cfg
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
    heatmap : dict
        Settings of `HeatmapConfig`.
    """

    seed: int
    seconds: float
    recordings: dict[str, int]
    radar: str
    heatmap: dict[str, Any]


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
        entries = yaml.safe_load(path.read_text())
        try:
            entries["data"] = DataConfig(**entries["data"])
            entries["loss"] = PoseLossConfig(**entries["loss"])
            entries["loop"] = LoopConfig(**entries["loop"])
            recipe = cls(**entries)
        except (TypeError, KeyError, ValueError) as error:
            raise RecipeError(f"{path}: {error}") from error
        if recipe.preset not in PRESETS:
            raise RecipeError(
                f"{path}: preset {recipe.preset!r} is none of {', '.join(sorted(PRESETS))}"
            )
        return recipe


def prepare_data(
    recipe: Recipe, root: Path, processes: int, report: Callable[[str], None] = print
) -> tuple[RadarConfig, HeatmapConfig]:
    """Simulate whatever recordings of the recipe ``root`` does not hold yet."""
    radar = load_cfg(resources.find("config", recipe.data.radar))
    heatmap = HeatmapConfig(**recipe.data.heatmap)
    for line in simulated.generate(
        root,
        recipe.data.recordings,
        radar,
        heatmap,
        seconds=recipe.data.seconds,
        seed=recipe.data.seed,
        processes=processes,
    ):
        report(line)
    return radar, heatmap


def network_input(cubes: np.ndarray, angle_bins: int) -> Tensor:
    """Turn range-Doppler cubes into the channels that the network takes.

    The same as `angle_transform`, computed with real numbers so that the parts come out as channels.

    Parameters
    ----------
    cubes : ndarray of complex64, shape (..., antennas, doppler, range)

    Returns
    -------
    Tensor
        float32, shape (..., 2, angle_bins, doppler, range), not normalised: the network does that.
    """
    *batch, antennas, doppler, ranges = cubes.shape
    transform = angle_matrix(angle_bins, antennas)
    matrix = np.block([[transform.real, -transform.imag], [transform.imag, transform.real]])
    parts = np.stack([cubes.real, cubes.imag], axis=-4).reshape(-1, 2 * antennas, doppler * ranges)
    channels = torch.from_numpy(matrix) @ torch.from_numpy(parts)
    return channels.view(*batch, 2, angle_bins, doppler, ranges)


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
    """Endless random windows of recordings, augmented.

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
        self._rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            numbers = self._rng.integers(len(self._windows), size=self.batch)
            chosen = [self._windows[number] for number in numbers]
            cubes, keypoints_px = simulated.gather(self.recordings, chosen, self.frames)
            cubes = augment(cubes, self.noise_ratio, self._rng)
            yield network_input(cubes, self.angle_bins), torch.from_numpy(keypoints_px)


@torch.no_grad()
def estimate_recording(
    model: MilliMamba, recording: Recording, batch: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Slide the network over a recording and keep the middle frame of every window.

    Returns
    -------
    keypoints_px : ndarray, shape (frames - window + 1, joints, 2)
        Estimates for frames ``window // 2`` onwards.
    confidence : ndarray, shape (frames - window + 1, joints)
    """
    model.eval()
    length = model.config.frames
    starts = simulated.windows([recording], length)
    keypoints, confidences = [], []
    for first in range(0, len(starts), batch):
        cubes, _ = simulated.gather([recording], starts[first : first + batch], length)
        output = model(network_input(cubes, model.config.angle_bins))
        middle = output.keypoints.shape[1] // 2
        keypoints.append(output.keypoints[:, middle].float().numpy())
        confidences.append(output.confidence[:, middle].float().numpy())
    return np.concatenate(keypoints), np.concatenate(confidences)


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


def train(
    recipe: Recipe,
    root: Path,
    directory: Path,
    *,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> tuple[MilliMamba, FitResult]:
    """Follow a recipe on the recordings under ``root``; curves and checkpoints go to ``directory``."""
    training = simulated.load_split(root, "train")
    validation = simulated.load_split(root, "validation")
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

    def losses(network: nn.Module, batch: object, step: int) -> dict[str, Tensor]:
        heatmaps, truth_px = batch  # type: ignore[misc]
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
