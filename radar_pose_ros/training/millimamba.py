"""Training and evaluation of milliMamba, on simulated people or on recordings in HuPR's layout."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
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
from radar_pose_ros.training.batches import (
    RADARS,
    Augmentation,
    Batch,
    TrainingBatches,
    gather_batch,
)
from radar_pose_ros.training.loop import FitResult, LoopConfig, fit

RECIPES = Path(__file__).with_name("recipes")


class RecipeError(ValueError):
    """A recipe that cannot be followed: says which file, which entry, what is allowed."""


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
class Recipe:
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

    preset: str
    data: DataConfig
    batch: int
    augmentation: Augmentation
    loss: PoseLossConfig
    loop: LoopConfig
    model: Mapping[str, Any] = field(default_factory=dict)
    views: str = "both"

    def __post_init__(self) -> None:
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
        return replace(PRESETS[self.preset], **changes)

    @property
    def is_preset(self) -> bool:
        """Whether the network is a preset as it is, so that its weights can be loaded by name."""
        return self.network == PRESETS[self.preset]

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe; `RecipeError` names the file and what is wrong in it.

        A recipe that names another one as its ``base``, a file beside it, need only say what is
        different there.
        """
        try:
            entries = _read_recipe(path)
            heatmap = HeatmapConfig(**entries["data"]["heatmap"])
            entries["data"] = DataConfig(**{**entries["data"], "heatmap": heatmap})
            entries["augmentation"] = Augmentation(**entries["augmentation"])
            entries["loss"] = PoseLossConfig(**entries["loss"])
            entries["loop"] = LoopConfig(**entries["loop"])
            return cls(**entries)
        except KeyError as error:
            raise RecipeError(f"{path}: there is no entry {error}") from error
        except (TypeError, ValueError, yaml.YAMLError) as error:
            raise RecipeError(f"{path}: {error}") from error


def _read_recipe(path: Path) -> dict[str, Any]:
    entries = dict(yaml.safe_load(path.read_text()))
    base = entries.pop("base", None)
    return entries if base is None else _merge(_read_recipe(path.parent / base), entries)


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(base.get(name), Mapping)
        merged[name] = _merge(base[name], value) if both else value
    return merged


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
    """
    if hupr.is_hupr(root):
        return
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
    _keep_recipe(recipe, directory / "recipe.json", resume)

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


def _keep_recipe(recipe: Recipe, path: Path, resume: bool) -> None:
    settings = json.loads(json.dumps(asdict(recipe)))
    if resume and path.exists() and json.loads(path.read_text()) != settings:
        raise ValueError(
            f"{path.parent} holds a training by another recipe, see {path.name} there"
        )
    if processes.rank() == 0:
        measurements.write_json(path, settings)


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
        git_revision=_revision(),
        command=command or f"radar-pose train millimamba --preset {recipe.preset}",
        metrics={"split": "validation", "steps": result.step, **result.scores},
        heatmap=asdict(recipe.data.heatmap),
        baseline=baseline_name,
        confidence=calibrate(model, recipe, validation).as_dict(),
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
    if not recipe.is_preset:
        raise RecipeError(
            f"{arguments.recipe} changes the preset {recipe.preset!r}: its weights could not be "
            "loaded again. Such recipes are for `radar-pose reproduce`"
        )
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
            initial=_initial_state(arguments.init, recipe) if arguments.init else None,
            resume=arguments.resume,
            device=arguments.device,
        )
    if writes:  # alone again: the calibration's windows are not to be shared
        command = f"radar-pose train millimamba --preset {recipe.preset}"
        if arguments.recipe:
            command += f" --recipe {arguments.recipe.name}"
        if hupr.is_hupr(root):
            command += f" --data {hupr.Layout.of(root).name}"
        if arguments.init:
            command += f" --init {Path(arguments.init).name}"
        save(model, recipe, result, training, validation, root, arguments.out, command)
        print(f"weights of step {result.step} are in {arguments.out}: {result.scores}")
    return 0


def _initial_state(name: str, recipe: Recipe) -> dict[str, Tensor]:
    state, entry = weights.load(name)
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
    state, entry = weights.load(name)
    model = MilliMamba(PRESETS[entry["preset"]])
    model.load_state_dict(state)
    return model.to(device).eval(), entry


def _listed(preset: str, directory: str) -> bool:
    return any(entry["preset"] == preset for entry in weights.read_manifest(Path(directory)))


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
        help="folder of a data set in HuPR's layout, or of simulated recordings, of which what is "
        "missing is simulated first",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        help="folder to keep what is computed of HuPR's raw samples (a thirtieth of their size)",
    )
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where the network computes: cpu, cuda (default: %(default)s here)",
    )
    parser.add_argument(
        "--processes", type=count, default=cores, help="recordings simulated at the same time"
    )
    parser.add_argument("--threads", type=count, default=cores, help="threads of the network")


def count(text: str) -> int:
    """Read a whole number above 0 from the command line."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    folder = RECIPES / "fine_tuning" if getattr(arguments, "init", None) else RECIPES
    return Recipe.load(arguments.recipe or folder / f"millimamba_{arguments.preset}.yaml")
