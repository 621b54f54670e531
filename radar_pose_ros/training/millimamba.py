"""Training and evaluation of milliMamba, on simulated people or on recordings in HuPR's layout."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from radar_pose_ros import measurements, resources
from radar_pose_ros.datasets import hupr, simulated
from radar_pose_ros.datasets.recordings import Recording, Window, windows
from radar_pose_ros.models import confidence as confidence_of
from radar_pose_ros.models import weights
from radar_pose_ros.models.baselines import MeanPoseBaseline
from radar_pose_ros.models.confidence import Calibration
from radar_pose_ros.models.losses import (
    PoseLossConfig,
    keypoint_similarity,
    pose_loss,
)
from radar_pose_ros.models.millimamba import PRESETS, MilliMamba, MilliMambaConfig
from radar_pose_ros.radar.heatmap import HeatmapConfig
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.training import millimamba_evaluation, processes
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.loop import FitResult, LoopConfig, fit
from radar_pose_ros.training.millimamba_batches import (
    RADARS,
    Augmentation,
    Batch,
    TrainingBatches,
    gather_batch,
)
from radar_pose_ros.training.recipe import RecipeError, count

RECIPES = recipes.RECIPES / "millimamba"
SIMULATED = Path("out/simulated")  # the only folder that is made if it is missing


@dataclass(frozen=True)
class DataConfig:
    """Which recordings to train on, and which heatmaps to make of them.

    A data set in HuPR's layout brings its own recordings and radar; then only ``heatmap`` counts.

    Parameters
    ----------
    seed : int
        Of the whole simulated data set.
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
class Recipe(recipes.Recipe):
    """Everything that decides the outcome of a training.

    Parameters
    ----------
    preset : str
        Name of the network's configuration.
    data : DataConfig
    batch : int
        Windows per step, of all processes together.
    augmentation : Augmentation
    loss : PoseLossConfig
    loop : LoopConfig
    model : dict
        What is to be other than in the preset, by the fields' names in `MilliMambaConfig`.
    views : {"both", "horizontal", "vertical"}
        Which radars the network is for.
    """

    presets = PRESETS

    preset: str
    data: DataConfig
    batch: int
    augmentation: Augmentation
    loss: PoseLossConfig
    loop: LoopConfig
    model: Mapping[str, Any] = field(default_factory=dict)
    views: str = "both"

    def __post_init__(self) -> None:
        recipes.require_whole("batch", self.batch)
        for name, given, allowed in (
            ("preset", self.preset, PRESETS),
            ("views", self.views, RADARS),
        ):
            if given not in allowed:
                raise ValueError(f"{name} {given!r} is none of {', '.join(sorted(allowed))}")
        for name in ("angle_bins", "doppler_bins", "range_bins"):
            given, wanted = getattr(self.data.heatmap, name), getattr(self.network, name)
            if given != wanted:
                raise ValueError(f"heatmaps have {name} {given}, but the network wants {wanted}")

    @property
    def network(self) -> MilliMambaConfig:
        """The network's configuration."""
        changes: dict[str, Any] = {} if self.views == "both" else {"views": 1}
        for name, value in self.model.items():
            changes[name] = tuple(value) if isinstance(value, list) else value
        return recipes.changed(PRESETS[self.preset], changes)

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Recipe:
        """Return the recipe of plain entries, as YAML has them."""
        data = dict(entries["data"])
        data["heatmap"] = recipes.made(HeatmapConfig, data["heatmap"], "data: heatmap")
        parts = {
            "data": recipes.made(DataConfig, data, "data"),
            "augmentation": recipes.made(Augmentation, entries["augmentation"], "augmentation"),
            "loss": recipes.made(PoseLossConfig, entries["loss"], "loss"),
            "loop": recipes.made(LoopConfig, entries["loop"], "loop"),
        }
        return recipes.made(cls, {**entries, **parts})


def suited(data: DataConfig, root: Path) -> DataConfig:
    """Return the same, with the nearest heatmaps that a data set in HuPR's layout can give."""
    if not hupr.is_hupr(root):
        return data
    return replace(data, heatmap=hupr.suited_heatmap(root, data.heatmap))


def prepare_data(
    data: DataConfig,
    root: Path,
    splits: Sequence[str],
    jobs: int,
    report: Callable[[str], None] = print,
) -> None:
    """Simulate whatever recordings of these splits ``root`` does not hold yet.

    A data set in HuPR's layout is left as it is.

    Raises
    ------
    ValueError
        If ``root``, unless it is `SIMULATED`, is missing or holds something else: it may be the
        mistyped name of a data set's folder.
    """
    if hupr.is_hupr(root):
        return
    if root != SIMULATED and not simulated.is_simulated(root):
        wrong = "holds no recordings, neither HuPR's nor simulated ones"
        if not root.exists():
            wrong = "there is no such folder"
        raise ValueError(
            f"{root}: {wrong}; people are simulated without --data, or into a folder that is "
            "there and empty"
        )
    lines = simulated.generate(
        root,
        {split: data.recordings[split] for split in splits},
        load_cfg(resources.find("config", data.radar)),
        data.heatmap,
        seconds=data.seconds,
        seed=data.seed,
        processes=jobs,
    )
    for line in lines:
        report(line)


def recordings_of(
    data: DataConfig, root: Path, split: str, cache: Path | None = None
) -> list[Recording]:
    """Open the recordings of a split; simulated ones, no more than the recipe asks for.

    ``cache`` is a folder for what is computed of HuPR's raw samples; see `hupr.load_split`.
    """
    if hupr.is_hupr(root):
        found = hupr.load_split(root, split, data.heatmap, cache=cache, report=_say)
        return list(found)
    return simulated.load_split(root, split)[: data.recordings[split]]


def _say(line: str) -> None:
    """Report, but only once if there are several processes."""
    if processes.rank() == 0:
        print(line, flush=True)


@torch.no_grad()
def validation_scores(
    model: nn.Module, recordings: Sequence[Recording], windows: Sequence[Window], views: str
) -> dict[str, float]:
    """Return the mean keypoint similarity and pixel error of the middle frames of some windows."""
    assert isinstance(model, MilliMamba)
    length = model.config.frames
    similarities, errors = [], []
    for first in range(0, len(windows), 16):
        batch = gather_batch(recordings, windows[first : first + 16], length, model.config, views)
        output = model(batch.heatmaps.to(model.position.device))
        estimate = output.keypoints[:, output.keypoints.shape[1] // 2].float().cpu()
        truth, area_px2 = batch.keypoints_px[:, length // 2], batch.area_px2[:, length // 2]
        similarities.append(keypoint_similarity(estimate, truth, area_px2).mean(-1))
        errors.append((estimate - truth).norm(dim=-1).mean(-1))
    return {
        "validation_oks": float(torch.cat(similarities).mean()),
        "validation_error_px": float(torch.cat(errors).mean()),
    }


@torch.no_grad()
def calibrate(
    model: MilliMamba, recipe: Recipe, recordings: Sequence[Recording], batches: int = 40
) -> Calibration:
    """Measure what the network's confidence is worth, best on validation recordings.

    Windows are varied as in training: with both radars, with one, with gaps, without anybody.
    """
    draw = TrainingBatches(
        recordings, model.config, recipe.batch, recipe.augmentation, seed=1, radars=recipe.views
    )
    confidence, similarity = [], []
    for step in range(batches):
        batch = draw(step)
        device = model.position.device
        output = model(batch.heatmaps.to(device), batch.valid.to(device))
        estimate = output.keypoints[:, output.keypoints.shape[1] // 2].cpu()
        confidence.append(output.confidence[:, output.confidence.shape[1] // 2].cpu())
        middle = model.config.frames // 2
        similarity.append(
            keypoint_similarity(estimate, batch.keypoints_px[:, middle], batch.area_px2[:, middle])
        )
    measured = torch.cat(similarity)
    inhabited = ~measured.isnan().any(1)
    return confidence_of.fit(
        torch.cat(confidence).numpy(), measured.nan_to_num(0.0).numpy(), inhabited.numpy()
    )


def fit_recipe(
    recipe: Recipe,
    training: Sequence[Recording],
    validation: Sequence[Recording],
    directory: Path,
    *,
    initial: Mapping[str, Tensor] | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
    device: str = "cpu",
) -> tuple[MilliMamba, FitResult]:
    """Train on the recordings ``training``, and keep what is best on ``validation``.

    Curves, checkpoints and the recipe go to ``directory``. ``initial`` is the network's state to
    start from, random by default.

    Raises
    ------
    ValueError
        If no recording is as long as a window, or it is to resume a training by another recipe.
    """
    torch.manual_seed(recipe.loop.seed)
    model = MilliMamba(recipe.network).to(device)
    if initial is not None:
        model.load_state_dict(initial)
    frames = model.config.frames
    batches = TrainingBatches(
        training, model.config, recipe.batch, recipe.augmentation, recipe.loop.seed, recipe.views
    )
    held_back = windows(validation, frames, stride=3 * frames)
    if not held_back:
        raise ValueError(f"no recording for validation has the {frames} frames of a window")
    recipes.keep(recipe, directory, resume)

    def losses(network: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        output = network(batch.heatmaps, batch.valid)
        progress = step / recipe.loop.steps
        return pose_loss(output, batch.keypoints_px, recipe.loss, progress, batch.area_px2)

    result = fit(
        model,
        batches,
        losses,
        lambda network: validation_scores(network, validation, held_back, recipe.views),
        recipe.loop,
        directory,
        best_by="validation_oks",
        resume=resume,
        report=report,
    )
    model.load_state_dict(result.state)
    return model.eval(), result


def save(
    model: MilliMamba,
    recipe: Recipe,
    result: FitResult,
    training: Sequence[Recording],
    validation: Sequence[Recording],
    root: Path,
    directory: Path,
    command: str = "",
) -> None:
    """Write the weights, their baseline and their manifest entry to ``directory``.

    ``root`` is where the recordings are from; ``command`` is what to call again to get the
    weights, by default that of the preset's own recipe.
    """
    baseline = millimamba_evaluation.fit_baseline(training, model.config.angle_bins)
    baseline_name = f"mean_pose_{recipe.preset}.json"
    directory.mkdir(parents=True, exist_ok=True)
    baseline.save(directory / baseline_name)
    frames = sum(len(recording.keypoints_px) for recording in training)
    amount = f"{len(training)} recordings, {frames} frames of two radars"
    origin = (
        {"description": f"{hupr.Layout.of(root).name}: {amount}", "licence": "its authors'"}
        if hupr.is_hupr(root)
        else {
            "description": f"simulated people: {amount}",
            "seed": recipe.data.seed,
            "licence": "Apache-2.0, made by this package",
        }
    )
    weights.save(
        model,
        directory,
        recipe.preset,
        training_data=origin,
        git_revision=recipes.revision(),
        command=command or recipes.command("millimamba", recipe.preset),
        metrics={"split": "validation", "steps": result.step, **result.scores},
        heatmap=asdict(recipe.data.heatmap),
        baseline=baseline_name,
        confidence=calibrate(model, recipe, validation).as_dict(),
    )


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose train millimamba``."""
    _add_common_arguments(parser)
    recipes.add_training_arguments(parser, "out/millimamba")
    parser.add_argument(
        "--init",
        metavar="WEIGHTS",
        help="start from these weights, a safetensors file or the name of a preset, instead of "
        "random ones, and by the recipe for fine tuning",
    )


def train(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose train millimamba``, in one process or as one of several."""
    recipe = _recipe(arguments)
    recipe = replace(recipe, data=suited(recipe.data, arguments.data))
    recipes.require_preset(recipe, arguments.recipe)
    recipes.require_usable(arguments.out, arguments.resume)
    initial = _initial_state(arguments.init, recipe) if arguments.init else None
    torch.set_num_threads(arguments.threads)
    root = arguments.data
    with processes.joined():
        writes = processes.rank() == 0
        if writes:
            prepare_data(recipe.data, root, ("validation", "train"), arguments.processes)
        processes.wait()
        training = recordings_of(recipe.data, root, "train", arguments.cache)
        validation = recordings_of(recipe.data, root, "validation", arguments.cache)
        model, result = fit_recipe(
            recipe,
            training,
            validation,
            arguments.out,
            initial=initial,
            resume=arguments.resume,
            device=arguments.device,
        )
    if writes:  # alone again: the calibration's windows are not to be shared
        command = recipes.command(
            "millimamba",
            recipe.preset,
            recipe=arguments.recipe,
            data=hupr.Layout.of(root).name if hupr.is_hupr(root) else None,
            init=arguments.init,
        )
        save(model, recipe, result, training, validation, root, arguments.out, command)
        print(f"weights of step {result.step} are in {arguments.out}: {result.scores}")
    return 0


def _initial_state(name: str, recipe: Recipe) -> dict[str, Tensor]:
    state, entry = weights.load(name, "millimamba")
    if entry["preset"] != recipe.preset:
        raise RecipeError(
            f"--init: {name} holds weights of the preset {entry['preset']!r}; this training is of "
            f"{recipe.preset!r}"
        )
    return state


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose evaluate millimamba``."""
    _add_common_arguments(parser)
    parser.add_argument("--weights", help="safetensors file (default: the shipped ones)")
    parser.add_argument(
        "--recordings", type=count, help="use only the first ones (default: the whole test set)"
    )
    parser.add_argument("--figure", type=Path, help="picture of the result, a PNG file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")


def evaluate(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose evaluate millimamba``."""
    torch.set_num_threads(arguments.threads)
    model, entry = _load(arguments.weights or arguments.preset, arguments.device)
    recipes.announce(entry)
    single_frame = f"{entry['preset']}_single_frame"  # if it lies beside
    data = _recipe(arguments).data
    count = min(data.recordings["test"], arguments.recordings or data.recordings["test"])
    # The weights, not the recipe, say which heatmaps they need.
    heatmap = HeatmapConfig(**entry["heatmap"])
    data = replace(data, recordings={**data.recordings, "test": count}, heatmap=heatmap)
    prepare_data(data, arguments.data, ("test",), arguments.processes)
    recordings = recordings_of(data, arguments.data, "test", arguments.cache)
    estimates = millimamba_evaluation.estimate(
        model,
        MeanPoseBaseline.load(entry),
        recordings[: arguments.recordings],
        _load(f"{entry['directory']}/millimamba_{single_frame}.safetensors", arguments.device)[0]
        if _listed(single_frame, entry["directory"])
        else None,
        Calibration.of_weights(entry),
    )
    rows = millimamba_evaluation.rows(estimates)
    print(measurements.table(rows))
    if arguments.figure:
        millimamba_evaluation.draw(estimates, arguments.figure)
    if arguments.json:
        measurements.write_results(arguments.json, rows)
    return 0


def _load(name: str, device: str) -> tuple[MilliMamba, dict[str, Any]]:
    model, entry = weights.network(name, "millimamba")
    return model.to(device), entry


def _listed(preset: str, directory: str) -> bool:
    return any(entry["preset"] == preset for entry in weights.read_manifest(Path(directory)))


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    recipes.add_recipe_arguments(parser, RECIPES, "edge")
    parser.add_argument(
        "--data",
        type=Path,
        default=SIMULATED,
        help="folder of a data set in HuPR's layout, or of simulated recordings, of which what is "
        "missing is simulated first; it may be empty, but has to be there (default: %(default)s, "
        "which is made)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        help="folder to keep what is computed of HuPR's raw samples (a thirtieth of their size)",
    )
    parser.add_argument(
        "--processes",
        type=count,
        default=measurements.cores_available(),
        help="recordings simulated at the same time",
    )
    recipes.add_device_argument(parser)
    recipes.add_threads_argument(parser)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    folder = RECIPES / "fine_tuning" if getattr(arguments, "init", None) else RECIPES
    return Recipe.load(arguments.recipe or folder / f"{arguments.preset}.yaml")
