"""Training and evaluation of DenseWarper on keypoints that simulated rigs of cameras see.

The network that finds heatmaps in images plays no part: keypoints are drawn as heatmaps, which the
warper learns to move to the instant of the newest shot. What it learns from comes from
`multiview_windows`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from radar_pose_ros import measurements
from radar_pose_ros.datasets import pose2sim
from radar_pose_ros.datasets.multiview import MultiViewRecording
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.models import multiview, weights
from radar_pose_ros.models.densewarper import (
    PRESETS,
    DenseWarper,
    DenseWarperConfig,
    warp_loss,
)
from radar_pose_ros.models.multiview import DenseWarperMethod, Warp
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.training import multiview_evaluation, multiview_windows, processes
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.loop import FitResult, LoopConfig, fit
from radar_pose_ros.training.multiview_windows import (
    Batch,
    RigBatches,
    RigData,
    RigWindow,
    errors_mm,
    fixed_windows,
    shown,
    together,
)
from radar_pose_ros.training.recipe import count
from radar_pose_ros.vision.alignment import at_instant

RECIPES = recipes.RECIPES / "densewarper"
# What is maximised on validation.
SCORE = "validation_minus_mpjpe_mm"
# Seconds between two shots of a camera, at which networks are measured.
INTERVALS_S = (1 / 15, 2 / 15, 4 / 15)

# Keypoints of all views at a window's instant, and how much they count.
Seen = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Recipe(recipes.Recipe):
    """Everything that decides the outcome of a training.

    Parameters
    ----------
    preset : str
        Which network, of Human3.6M's 17 joints.
    data : RigData
    batch : int
        Pairs of a view and the newest shot per step, of all processes together.
    loop : LoopConfig
    validation_windows : int
        By which the best weights are chosen.
    model : dict
        What is to be other than in the preset, by the fields' names in its configuration.
    """

    presets = PRESETS

    preset: str
    data: RigData
    batch: int
    loop: LoopConfig
    validation_windows: int = 200
    model: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is none of {', '.join(PRESETS)}")
        for name in ("batch", "validation_windows"):
            recipes.require_whole(name, getattr(self, name))
        network, views = self.network, self.data.views
        if network.joints != len(H36M17.joints):
            raise ValueError(
                f"want a network of {len(H36M17.joints)} joints, got {network.joints}"
            )
        if not network.shared and views != (network.views, network.views):
            raise ValueError(f"{self.preset} is for {network.views} views, got {views}")

    @property
    def network(self) -> DenseWarperConfig:
        """The network's configuration."""
        changes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.model.items()
        }
        return recipes.changed(PRESETS[self.preset], changes)

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Recipe:
        """Return the recipe of plain entries, as YAML or JSON have them."""
        made = dict(entries)
        made["data"] = RigData.of(made["data"])
        made["loop"] = recipes.made(LoopConfig, made["loop"], "loop")
        return recipes.made(cls, made)


class SlotWarper(nn.Module):
    """A network that is called for one slot, as what spreads it over processes wants it."""

    def __init__(self, network: DenseWarper) -> None:
        super().__init__()
        self.network = network

    def forward(self, heatmaps: Tensor, fused: Tensor, slot: int, dt_s: Tensor) -> Tensor:
        """As `DenseWarper.warp_slot`."""
        return self.network.warp_slot(heatmaps, fused, slot, dt_s)


def loss_of(warp: Warp | nn.Module, batch: Batch, size: int) -> Tensor:
    """Return `warp_loss` of a batch, at the newest shot's instant.

    Parameters
    ----------
    warp : callable
        As `DenseWarper.warp_slot`.
    batch : Batch
    size : int
        Rows and columns of a heatmap.
    """
    own, fused = multiview.heatmaps_of(batch.views, size)
    maps = warp(own, fused, batch.views.slot, batch.views.dt_s)
    return warp_loss(maps.float()[:, :, None], batch.target_px, batch.seen)


def hold_last(windows: Sequence[RigWindow]) -> list[Seen]:
    """Return for each window what every view saw last."""
    return [(one.window.keypoints_px, one.window.confidence) for one in windows]


def linear(windows: Sequence[RigWindow]) -> list[Seen]:
    """Return for each window where joints are if they move evenly from shot to shot."""
    return [at_instant(one.window) for one in windows]


def unmoved(windows: Sequence[RigWindow], network: DenseWarperConfig) -> list[Seen]:
    """Return for each window what heatmaps are drawn of."""
    seen = [shown([one], network) for one in windows]
    return [(one.keypoints_px[0], one.weight[0]) for one in seen]


def moved(
    warp: Warp,
    network: DenseWarperConfig,
    windows: Sequence[RigWindow],
    device: torch.device | str = "cpu",
) -> list[Seen]:
    """Return for each window where a network has the joints of every view.

    Parameters
    ----------
    warp : callable
        As `DenseWarper.warp_slot`.
    network : DenseWarperConfig
        What heatmaps are drawn by.
    windows : sequence of RigWindow
        Of any numbers of views.
    device : torch.device or str
        Where ``warp`` computes.
    """
    found: dict[int, Seen] = {}
    for views, slot in sorted({_kind(one) for one in windows}):
        places = [n for n, one in enumerate(windows) if _kind(one) == (views, slot)]
        seen = shown([windows[n] for n in places], network)
        matrices = np.stack([windows[n].projections for n in places])
        pixels = multiview.move(warp, network.size, *seen[:3], matrices, slot, device=device)
        found |= {n: (pixels[i], seen.weight[i]) for i, n in enumerate(places)}
    return [found[n] for n in range(len(windows))]


def moved_by(
    network: DenseWarper, windows: Sequence[RigWindow], device: torch.device | str = "cpu"
) -> list[Seen]:
    """Return `moved` by a network in evaluation mode, as its configuration has it."""
    return moved(network.warp_slot, network.config, windows, device)


def _kind(one: RigWindow) -> tuple[int, int]:
    return len(one.cameras), one.window.view


def mean_errors_mm(
    windows: Sequence[RigWindow],
    methods: Mapping[str, Sequence[Seen]],
    right: Sequence[Seen] | None = None,
) -> dict[str, float]:
    """Return each method's mean error, over the joints that all of them have; see `errors_mm`."""
    errors = {name: errors_mm(windows, seen, right) for name, seen in methods.items()}
    common = np.isfinite(np.stack([*errors.values()])).all(0)
    return {
        name: float(values[common].mean()) if common.any() else float("nan")
        for name, values in errors.items()
    }


def validation_scores(
    network: DenseWarper, windows: Sequence[RigWindow], device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Return the errors on validation windows: of the network, without it, of what is held."""
    methods = {
        "": moved_by(network, windows, device),
        "unmoved_": unmoved(windows, network.config),
        "hold_last_": hold_last(windows),
    }
    named: dict[str, float] = {}
    for what, right in (("mpjpe", None), ("from_together", together(windows))):
        found = mean_errors_mm(windows, methods, right)
        named |= {f"validation_{name}{what}_mm": value for name, value in found.items()}
    return {SCORE: -named["validation_mpjpe_mm"], **named}


def fit_recipe(
    recipe: Recipe,
    training: Sequence[PoseSequence],
    validation: Sequence[PoseSequence],
    directory: Path,
    *,
    resume: bool = False,
    report: Callable[[str], None] = print,
    device: str = "cpu",
) -> tuple[DenseWarper, FitResult]:
    """Train on movements ``training``, and keep what is best on ``validation``.

    Curves, checkpoints and the recipe go to ``directory``.

    Returns
    -------
    network : DenseWarper
    result : FitResult

    Raises
    ------
    ValueError
        If no movement is long enough, or it is to resume a training by another recipe.
    """
    torch.manual_seed(recipe.loop.seed)
    model = SlotWarper(DenseWarper(recipe.network)).to(device)
    size = recipe.network.size
    batches = RigBatches(training, recipe.batch, recipe.network, recipe.data, recipe.loop.seed)
    windows = fixed_windows(validation, recipe.data, recipe.validation_windows)
    recipes.keep(recipe, directory, resume)

    def validate(averaged: nn.Module) -> dict[str, float]:
        assert isinstance(averaged, SlotWarper)
        return validation_scores(averaged.network, windows, device)

    result = fit(
        model,
        lambda step: batches(step, processes.share(batches.shape(step)[0])),
        lambda network, batch, _: {"loss": loss_of(network, batch, size)},
        validate,
        recipe.loop,
        directory,
        best_by=SCORE,
        resume=resume,
        report=report,
    )
    model.load_state_dict(result.state)
    return model.network.cpu().eval(), result


def save(
    model: DenseWarper,
    recipe: Recipe,
    result: FitResult,
    training: Sequence[PoseSequence],
    directory: Path,
    *,
    command: str,
) -> dict[str, Any]:
    """Write a network's weights and their entry in the folder's manifest.

    Returns
    -------
    dict
        The entry.

    Raises
    ------
    WeightsError
        If the network is no preset as it is.
    """
    subjects = {source.subject for source in training}
    return weights.save(
        model,
        directory,
        recipe.preset,
        training_data={
            "description": f"{len(training)} movements of {len(subjects)} people, seen by random "
            "rigs of cameras",
            "seed": recipe.data.seed,
            "licence": "; ".join(sorted({source.licence for source in training})),
        },
        git_revision=recipes.revision(),
        command=command,
        metrics={"split": "validation", "steps": result.step, **result.scores},
        poses={
            "skeleton": H36M17.name,
            "unit": "px",
            "root_relative": False,
            "rate_hz": recipe.data.rate_hz,
        },
    )


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose train densewarper``."""
    _add_common_arguments(parser)
    recipes.add_recipe_arguments(parser, RECIPES, "light")
    recipes.add_training_arguments(parser, "out/densewarper")
    recipes.add_device_argument(parser)


def train(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose train densewarper``, in one process or as one of several."""
    recipe = Recipe.load(arguments.recipe or RECIPES / f"{arguments.preset}.yaml")
    recipes.require_preset(recipe, arguments.recipe)
    recipes.require_usable(arguments.out, arguments.resume)
    torch.set_num_threads(arguments.threads)
    training, validation = (
        multiview_windows.load(recipe.data, split, arguments.mocap)
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
            "densewarper", recipe.preset, recipe=arguments.recipe, mocap=arguments.mocap
        )
        save(model, recipe, result, training, arguments.out, command=command)
        print(f"weights of step {result.step} are in {arguments.out}: {result.scores}")
    return 0


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose evaluate densewarper``."""
    _add_common_arguments(parser)
    parser.add_argument(
        "--weights",
        default="light",
        help="safetensors file, or a preset whose weights are shipped (default: %(default)s)",
    )
    parser.add_argument(
        "--windows",
        type=count,
        default=300,
        help="measured for each number of views and interval (default: %(default)s)",
    )
    parser.add_argument(
        "--pose2sim",
        type=Path,
        metavar="TRIAL",
        help="measure on a recorded trial in Pose2Sim's layout, most of whose shots are taken "
        "away, in place of simulated people",
    )
    parser.add_argument(
        "--every",
        type=count,
        default=multiview_evaluation.EVERY,
        help="of a recorded trial: one frame of so many is left to each camera "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=float,
        metavar="HZ",
        help="frames per second of a recorded trial (default: what its .trc files say)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")


def evaluate(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose evaluate densewarper``."""
    torch.set_num_threads(arguments.threads)
    network, entry = weights.network(arguments.weights, "densewarper")
    if arguments.pose2sim:
        trial = pose2sim.load(arguments.pose2sim, rate_hz=arguments.rate, how_rate="with --rate")
        results = recording_rows(network, trial, arguments.every)
    else:
        recipe = Recipe.load(RECIPES / f"{entry['preset']}.yaml")
        test = multiview_windows.load(recipe.data, "test", arguments.mocap)
        results = rows(network, test, recipe.data, arguments.windows)
    print(measurements.table(results))
    if arguments.json:
        measurements.write_results(arguments.json, results)
    return 0


def rows(
    network: DenseWarper, test: Sequence[PoseSequence], data: RigData, most: int
) -> list[dict[str, Any]]:
    """Return errors by number of views and interval, beside methods without a network.

    Parameters
    ----------
    network : DenseWarper
    test : sequence of PoseSequence
    data : RigData
        But for the intervals, which are `INTERVALS_S`.
    most : int
        Windows of each.

    Returns
    -------
    list of dict
        Rows of `radar_pose_ros.measurements`: ``views_N.interval_M_ms.<method>.mpjpe_mm``, the
        error at the newest shot's instant over the joints that all methods have, and
        ``.from_together_mm``, the distance from "together", what all views give at once.
        "unmoved" is what the network begins with.
    """
    network.eval()
    found = []
    for views, interval_s in product(range(data.views[1], data.views[0] - 1, -1), INTERVALS_S):
        some = replace(data, interval_s=(interval_s, interval_s))
        windows = fixed_windows(test, some, most, views)
        methods = {
            "densewarper": moved_by(network, windows),
            "unmoved": unmoved(windows, network.config),
            "linear": linear(windows),
            "hold_last": hold_last(windows),
            "together": together(windows),
        }
        name = f"views_{views}.interval_{1e3 * interval_s:.0f}_ms"
        for what, right in (("mpjpe", None), ("from_together", methods["together"])):
            found += [
                measurements.result(f"{name}.{method}.{what}_mm", value, "mm")
                for method, value in mean_errors_mm(windows, methods, right).items()
            ]
    return found


def recording_rows(
    network: DenseWarper, recording: MultiViewRecording, every: int = multiview_evaluation.EVERY
) -> list[dict[str, Any]]:
    """Return errors on a recording whose cameras fire together, as `multiview_evaluation` has it.

    The network's rows are called "densewarper".
    """
    seen = recording.converted(H36M17.name)
    methods = {"densewarper": DenseWarperMethod(network)}
    return multiview_evaluation.results_of(seen, methods, every)


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    recipes.add_mocap_argument(parser)
    recipes.add_threads_argument(parser)
