"""Training and evaluation of DiffHPE and of MixSTE, which it is compared with and conditioned on.

Joints are in metres, in the camera's frame, relative to the hip. What networks see and what is
behind it comes from `camera_windows`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from radar_pose_ros import measurements
from radar_pose_ros.datasets.camera_views import CameraView
from radar_pose_ros.metrics import pose3d
from radar_pose_ros.models import diffhpe, hypotheses, mixste, weights
from radar_pose_ros.models.diffhpe import FAST, DiffHPE, DiffHPEConfig, Lifter
from radar_pose_ros.models.diffusion import Sampler
from radar_pose_ros.models.hypotheses import SpreadCalibration
from radar_pose_ros.models.mixste import MixSTE, MixSTEConfig
from radar_pose_ros.simulation.cameras import CameraRanges
from radar_pose_ros.simulation.detector_noise import DetectorNoise
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.training import camera_windows, processes
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.camera_windows import (
    OCCLUSIONS,
    Batch,
    Source,
    ViewBatches,
    ViewData,
    Windows,
    fixed_windows,
    lift,
)
from radar_pose_ros.training.loop import FitResult, LoopConfig, fit
from radar_pose_ros.training.recipe import RecipeError, count

RECIPES = recipes.RECIPES / "diffhpe"
PRESETS: dict[str, MixSTEConfig | DiffHPEConfig] = {
    "mixste": mixste.PRESETS["paper"],
    **diffhpe.PRESETS,
}
# What is maximised on validation.
SCORE = "validation_minus_mpjpe_mm"
# Columns of what `evaluate` prints: title, measure, form.
_SUMMARY = (
    ("MPJPE", "mpjpe_mm", "{:.1f} mm"),
    ("over actions", "mpjpe_mm_over_actions", "{:.1f} mm"),
    ("aligned", "p_mpjpe_mm", "{:.1f} mm"),
    ("symmetry gap", "symmetry_gap_mm", "{:.1f} mm"),
    ("bones change by", "segment_consistency_mm", "{:.1f} mm"),
    ("in 90 % ellipsoids", "coverage_90", "{:.1%}"),
)
# So many windows of simulated people and recorded movements are measured by default.
WINDOWS = 400


@dataclass(frozen=True)
class Recipe(recipes.Recipe):
    """Everything that decides the outcome of a training, but for the condition's weights.

    Parameters
    ----------
    preset : {"mixste", "2d", "wrapper"}
        Which network.
    data : ViewData
    batch : int
        Windows per step, of all processes together.
    loop : LoopConfig
    validation_windows : int
        By which the best weights are chosen.
    hypotheses : int
        Poses per window.
    sampler : Sampler
        For validation and calibration.
    segment_weight, symmetry_weight : float
        Of DiffHPE's optional losses on the poses that an estimate of the noise implies: by how
        much bones change their lengths over time, and differ between left and right. The authors
        leave both at 0.
    model : dict
        What is to be other than in the preset, by the fields' names in its configuration.
    """

    presets = PRESETS

    preset: str
    data: ViewData
    batch: int
    loop: LoopConfig
    validation_windows: int = 100
    hypotheses: int = 5
    sampler: Sampler = FAST
    segment_weight: float = 0.0
    symmetry_weight: float = 0.0
    model: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is none of {', '.join(PRESETS)}")
        for name in ("batch", "validation_windows", "hypotheses"):
            recipes.require_whole(name, getattr(self, name))
        frames = self.frames  # or the error of what does not fit
        if any(self.data.simulated.values()):
            recipes.require_length(self.data.seconds, self.data.rate_hz, frames)

    @property
    def network(self) -> MixSTEConfig | DiffHPEConfig:
        """The network's configuration."""
        return recipes.changed(PRESETS[self.preset], self.model)

    @property
    def network_preset(self) -> str:
        """The preset's name among those of its network."""
        return "paper" if self.preset == "mixste" else self.preset

    @property
    def frames(self) -> int:
        """Length of a window."""
        return self.network.frames

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Recipe:
        """Return the recipe of plain entries, as YAML or JSON have them."""
        made = dict(entries)
        data = dict(made["data"])
        noise = dict(data.get("noise", {}))
        noise["joint_factors"] = tuple(noise.get("joint_factors", ()))
        data["noise"] = recipes.made(DetectorNoise, noise, "data: noise")
        data["noise_factor"] = tuple(data.get("noise_factor", (1.0, 1.0)))
        cameras: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in data.get("cameras", {}).items()
        }
        data["cameras"] = recipes.made(CameraRanges, cameras, "data: cameras")
        made["data"] = recipes.made(ViewData, data, "data")
        made["loop"] = recipes.made(LoopConfig, made["loop"], "loop")
        if "sampler" in made:
            made["sampler"] = recipes.made(Sampler, made["sampler"], "sampler")
        return recipes.made(cls, made)


def build(config: MixSTEConfig | DiffHPEConfig, condition: MixSTE | None = None) -> nn.Module:
    """Return a network with random weights, but for the condition's.

    Raises
    ------
    ValueError
        If a Wrapper is given no condition, or one of another configuration.
    """
    if isinstance(config, MixSTEConfig):
        return MixSTE(config)
    if config.condition == "mixste" and condition is None:
        raise ValueError("the preset wrapper wants the weights of a trained MixSTE")
    return DiffHPE(config, condition)


def estimator(
    network: nn.Module, count: int, sampler: Sampler, seed: int = 0
) -> Callable[[Tensor], Tensor]:
    """Return what lifts windows: a supervised network, or a sampler with as many hypotheses.

    The same windows in the same order get the same noise.
    """
    network.eval()
    if isinstance(network, MixSTE):
        return network
    assert isinstance(network, DiffHPE)
    lifter, generator = Lifter(network, count, sampler), torch.Generator().manual_seed(seed)
    return lambda keypoints: lifter.lift(keypoints, generator)


def noise_losses(
    network: nn.Module, model: DiffHPE, batch: Batch, recipe: Recipe
) -> dict[str, Tensor]:
    """Return DiffHPE's losses for a batch, each sample at a step of its own.

    Parameters
    ----------
    network : nn.Module
        What is called: ``model``, or what spreads it over processes.
    """
    diffusion = model.config.diffusion
    poses = batch.poses
    step = torch.randint(0, diffusion.steps, (len(poses),), device=poses.device)
    noise = torch.randn_like(poses)
    noisy = diffusion.noised(poses, step, noise)
    said = network(noisy, step, model.condition(batch.keypoints)).float()
    losses = {"loss": (said - noise).square().mean()}
    if recipe.segment_weight or recipe.symmetry_weight:
        left = torch.as_tensor(diffusion.signal, dtype=poses.dtype, device=poses.device)[step]
        left = left[:, None, None, None]
        implied = (noisy - (1 - left).sqrt() * said) / left.sqrt()
        segments, symmetry = bone_losses(implied)
        weighted = recipe.segment_weight * segments + recipe.symmetry_weight * symmetry
        losses = {
            "loss": losses["loss"] + weighted,
            "noise": losses["loss"],
            "segments": segments,
            "symmetry": symmetry,
        }
    return losses


def bone_losses(poses: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much bones change over time, and differ between the sides, in square metres.

    Parameters
    ----------
    poses : Tensor
        ``(batch, 3, joints, frames)``

    Returns
    -------
    tuple of Tensor
        The mean variance of a bone's length over the frames, and the mean square of the
        difference between left and right.
    """
    parents = torch.tensor([a for a, _ in H36M17.edges])
    children = torch.tensor([b for _, b in H36M17.edges])
    lengths = (poses[:, :, children] - poses[:, :, parents]).norm(dim=1)  # (batch, bones, frames)
    place = {child: number for number, (_, child) in enumerate(H36M17.edges)}
    left, right = ([place[pair[k]] for pair in H36M17.left_right] for k in (0, 1))
    gap = lengths[:, left] - lengths[:, right]
    return lengths.var(dim=-1, unbiased=False).mean(), gap.square().mean()


def validation_scores(model: nn.Module, windows: Windows, recipe: Recipe) -> dict[str, float]:
    """Return the error on validation windows, of the mean of the hypotheses."""
    poses = lift(estimator(model, recipe.hypotheses, recipe.sampler), windows.keypoints())
    poses = poses.mean(0) if poses.ndim == 5 else poses
    error_mm = 1e3 * pose3d.mpjpe(poses, windows.poses_m)
    return {SCORE: -error_mm, "validation_mpjpe_mm": error_mm}


def fit_recipe(
    recipe: Recipe,
    training: Sequence[Source],
    validation: Sequence[Source],
    directory: Path,
    *,
    condition: MixSTE | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
    device: str = "cpu",
) -> tuple[nn.Module, FitResult]:
    """Train on movements ``training``, and keep what is best on ``validation``.

    Curves, checkpoints and the recipe go to ``directory``.

    Parameters
    ----------
    condition : MixSTE, optional
        Trained; for the preset "wrapper".

    Returns
    -------
    network : MixSTE or DiffHPE
    result : FitResult

    Raises
    ------
    ValueError
        If no movement is as long as a window, a condition is missing, or it is to resume a
        training by another recipe.
    """
    torch.manual_seed(recipe.loop.seed)
    model = build(recipe.network, condition).to(device)
    data = recipe.data
    batches = ViewBatches(training, recipe.frames, recipe.batch, data, recipe.loop.seed)
    windows = fixed_windows(validation, recipe.frames, data, most=recipe.validation_windows)
    recipes.keep(recipe, directory, resume)

    def losses(network: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        if isinstance(model, DiffHPE):
            return noise_losses(network, model, batch, recipe)
        return {"loss": (network(batch.keypoints).float() - batch.poses).square().mean()}

    def validate(network: nn.Module) -> dict[str, float]:
        on_cpu = network if device == "cpu" else _copied(network, recipe)
        return validation_scores(on_cpu, windows, recipe)

    result = fit(
        model,
        lambda step: batches(step, processes.share(recipe.batch)),
        losses,
        validate,
        recipe.loop,
        directory,
        best_by=SCORE,
        resume=resume,
        report=report,
    )
    model.load_state_dict(result.state)
    return model.cpu().eval(), result


def _copied(network: nn.Module, recipe: Recipe) -> nn.Module:
    config = recipe.network
    bare = MixSTE(config) if isinstance(config, MixSTEConfig) else DiffHPE(config)
    bare.load_state_dict({key: value.cpu() for key, value in network.state_dict().items()})
    return bare


def calibrate(
    model: DiffHPE, recipe: Recipe, validation: Sequence[Source], most: int = 400
) -> SpreadCalibration:
    """Measure on validation movements what the spread of the hypotheses is worth.

    It is meant to hold for nine people of ten, however many movements there are of each. Of one
    person, Human3.6M's S8, it says nothing about others.
    """
    windows = fixed_windows(validation, recipe.frames, recipe.data, most=most)
    poses = lift(estimator(model, recipe.hypotheses, recipe.sampler), windows.keypoints())
    return hypotheses.fit(poses, windows.poses_m, people=windows.subjects)


def save(
    model: nn.Module,
    recipe: Recipe,
    result: FitResult,
    training: Sequence[Source],
    directory: Path,
    *,
    command: str,
    calibration: SpreadCalibration | None = None,
) -> dict[str, Any]:
    """Write a network's weights and their entry in the folder's manifest.

    For DiffHPE it says, too, how it was validated (``sampling``) and what the spread of its
    hypotheses is worth.

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
    own_views = all(isinstance(source, CameraView) for source in training)
    return weights.save(
        model,
        directory,
        recipe.network_preset,
        training_data={
            "description": f"{len(training)} movements of {len(subjects)} people, seen by "
            + ("the data set's own cameras" if own_views else "random cameras"),
            "seed": recipe.data.seed,
            "licence": "; ".join(sorted({_licence(source) for source in training})),
        },
        git_revision=recipes.revision(),
        command=command,
        metrics={"split": "validation", "steps": result.step, **result.scores},
        sampling={"hypotheses": recipe.hypotheses, **asdict(recipe.sampler)}
        if isinstance(model, DiffHPE)
        else None,
        spread=calibration.as_dict() if calibration else None,
        poses={
            "skeleton": H36M17.name,
            "unit": "m",
            "root_relative": True,
            "rate_hz": training[0].rate_hz,
        },
    )


def load(name: Path | str, model: str = "") -> tuple[MixSTE | DiffHPE, dict[str, Any]]:
    """Return a trained network and its manifest entry; ``model`` may say which it must be.

    Raises
    ------
    WeightsError
        As `weights.load`, or if it is another network.
    """
    network, entry = weights.network(name, model)
    if not isinstance(network, MixSTE | DiffHPE):
        raise weights.WeightsError(f"{name} is a {entry['model']}, not a mixste or diffhpe")
    return network, entry


def _licence(source: Source) -> str:
    return getattr(source, "licence", "Human3.6M: academic use only")


def measure(estimate_m: np.ndarray, true_m: np.ndarray) -> dict[str, float]:
    """Return the measures of the paper in millimetres, and the one after alignment.

    Parameters
    ----------
    estimate_m, true_m : ndarray, shape (windows, frames, joints, 3)
        Relative to the hip.
    """
    return {
        "mpjpe_mm": 1e3 * pose3d.mpjpe(estimate_m, true_m),
        "p_mpjpe_mm": 1e3 * pose3d.p_mpjpe(estimate_m, true_m),
        "symmetry_gap_mm": 1e3 * pose3d.symmetry_gap(estimate_m),
        "segment_consistency_mm": 1e3 * pose3d.segment_consistency(estimate_m),
    }


def legacy_measures(estimate_m: np.ndarray) -> dict[str, float]:
    """Return the bones' measures in millimetres as the paper's numbers were computed.

    There shoulders are measured from the spine, not from the thorax: what is to be compared with
    published numbers. Arguments as in `measure`.
    """
    gap_m = pose3d.symmetry_gap(estimate_m, legacy_shoulder_parent=True)
    spread_m = pose3d.segment_consistency(estimate_m, legacy_shoulder_parent=True)
    return {
        "symmetry_gap_legacy_mm": 1e3 * gap_m,
        "segment_consistency_legacy_mm": 1e3 * spread_m,
    }


def strategies(poses_m: np.ndarray, windows: Windows, occlusion: str) -> dict[str, np.ndarray]:
    """Return what is made of hypotheses, by the strategy's name.

    Parameters
    ----------
    poses_m : ndarray, shape (hypotheses, windows, frames, joints, 3)
    windows : Windows
    occlusion : str
        Of what the network saw: joints that were missing have no reprojection.

    Returns
    -------
    dict of str to ndarray, shape (windows, frames, joints, 3)
        "average"; "reprojection_true_pelvis", joint by joint the nearest in the image, the pelvis
        being put where it truly is; "best" and "worst" window by window, by the error itself. Only
        the first one can be had without knowing the truth.
    """
    true, seen = windows.poses_m, windows.seen(occlusion)
    root = windows.joints_m[:, :, H36M17.root]
    return {
        "average": hypotheses.average(poses_m),
        "reprojection_true_pelvis": hypotheses.best_by_reprojection(
            poses_m, seen, windows.project, root
        ),
        "best": hypotheses.oracle(poses_m, true),
        "worst": hypotheses.oracle(poses_m, true, worst=True),
    }


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose train diffhpe``."""
    _add_common_arguments(parser)
    recipes.add_recipe_arguments(parser, RECIPES, "2d")
    parser.add_argument(
        "--mixste", type=Path, metavar="FILE", help="trained weights that the preset wrapper wants"
    )
    recipes.add_training_arguments(parser, "out/diffhpe")
    recipes.add_device_argument(parser)


def train(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose train diffhpe``, in one process or as one of several."""
    recipe = Recipe.load(arguments.recipe or RECIPES / f"{arguments.preset}.yaml")
    recipes.require_preset(recipe, arguments.recipe)
    recipes.require_usable(arguments.out, arguments.resume)
    torch.set_num_threads(arguments.threads)
    condition = _condition(arguments.mixste) if arguments.mixste else None
    training, validation = (
        camera_windows.load(recipe.data, split, arguments.data, arguments.mocap)
        for split in ("train", "validation")
    )
    with processes.joined():
        writes = processes.rank() == 0
        model, result = fit_recipe(
            recipe,
            training,
            validation,
            arguments.out,
            condition=condition,
            resume=arguments.resume,
            device=arguments.device,
        )
    if writes:
        command = recipes.command(
            "diffhpe",
            recipe.preset,
            recipe=arguments.recipe,
            data=arguments.data,
            mocap=arguments.mocap,
            mixste=arguments.mixste,
        )
        keep = partial(save, model, recipe, result, training, arguments.out, command=command)
        keep()  # whatever becomes of the calibration
        if isinstance(model, DiffHPE):
            keep(calibration=calibrate(model, recipe, validation))
        print(f"weights of step {result.step} are in {arguments.out}: {result.scores}")
    return 0


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose evaluate diffhpe``."""
    _add_common_arguments(parser)
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file")
    parser.add_argument(
        "--windows",
        type=_windows,
        metavar="N|all",
        help=f"measured at most (default: all of --data, else {WINDOWS})",
    )
    parser.add_argument(
        "--steps", type=count, help="of the sampler; 50 is as trained (default: the weights')"
    )
    parser.add_argument("--all", action="store_true", help="print all numbers, not the main ones")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")


def evaluate(arguments: argparse.Namespace, model: str = "diffhpe") -> int:
    """Carry out ``radar-pose evaluate`` of one of both networks.

    Raises
    ------
    ValueError
        If the weights are of another network, or there is nothing to measure on.
    """
    torch.set_num_threads(arguments.threads)
    network, entry = load(arguments.weights, model)
    recipes.announce(entry)
    preset = "mixste" if isinstance(network, MixSTE) else entry["preset"]
    recipe = Recipe.load(RECIPES / f"{preset}.yaml")
    settings = dict(entry.get("sampling", {"hypotheses": 1}))
    count, sampler = settings.pop("hypotheses"), Sampler(**settings)
    if arguments.steps and isinstance(network, DiffHPE):
        literal = arguments.steps == network.config.diffusion_steps
        sampler = Sampler() if literal else replace(FAST, steps=arguments.steps)
    test = camera_windows.load(recipe.data, "test", arguments.data, arguments.mocap)
    most = arguments.windows
    if most is None:
        most = 0 if arguments.data else WINDOWS
    windows = fixed_windows(test, network.config.frames, recipe.data, most=most or None)
    spread = entry.get("spread")
    calibration = SpreadCalibration.of_weights(spread) if spread else None
    # simulated people do several things in turn
    by_action = arguments.data is not None
    results = rows(network, windows, count, sampler, calibration, by_action=by_action)
    print(measurements.table(results) if arguments.all else summary(results))
    if arguments.json:
        measurements.write_results(arguments.json, results)
    return 0


def summary(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the main numbers of `rows` as a table: what is used, by pattern of missing joints."""
    values = {row["id"]: row["value"] for row in results}
    lines = [("missing joints", *(title for title, _, _ in _SUMMARY))]
    for occlusion in OCCLUSIONS:
        cells = []
        for _, name, form in _SUMMARY:
            used = (f"test.{occlusion}.{name}", f"test.{occlusion}.average.{name}")
            found = [values[place] for place in used if place in values]
            cells.append(form.format(found[0]) if found else "")
        lines.append((occlusion, *cells))
    kept = [column for column in zip(*lines, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in kept]
    table = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in zip(*kept, strict=True)
    ]
    return "\n".join([*table, f"{len(results)} numbers in all: --all prints them"])


def rows(
    network: nn.Module,
    windows: Windows,
    count: int,
    sampler: Sampler,
    calibration: SpreadCalibration | None = None,
    *,
    by_action: bool = False,
) -> list[dict[str, Any]]:
    """Return the measures under every pattern of missing joints, as rows of results.

    Parameters
    ----------
    network : MixSTE or DiffHPE
    windows : Windows
    count : int
        Hypotheses for each window.
    sampler : Sampler
    calibration : SpreadCalibration, optional
        Says how many joints the ellipsoids of 90 % should hold.
    by_action : bool
        Also the MPJPE as it is published for Human3.6M, the mean over the actions, and for clean
        windows that of each action.
    """
    true, found = windows.poses_m, []
    for occlusion in OCCLUSIONS:
        poses = lift(estimator(network, count, sampler), windows.keypoints(occlusion))
        chosen = {"": poses} if poses.ndim == 4 else strategies(poses, windows, occlusion)
        for strategy, estimate in chosen.items():
            prefix = ".".join(filter(None, ("test", occlusion, strategy)))
            found += [
                measurements.result(f"{prefix}.{name}", value, "mm")
                for name, value in (measure(estimate, true) | legacy_measures(estimate)).items()
            ]
            if by_action:
                actions = pose3d.mpjpe_by_action(estimate, true, windows.actions)
                found += _action_rows(actions, prefix, each=occlusion == "none")
        if poses.ndim == 5 and calibration is not None:
            held = hypotheses.coverage(poses, true, calibration)[1:].mean()  # the root is exact
            found.append(measurements.result(f"test.{occlusion}.coverage_90", float(held)))
    return found


def _action_rows(mpjpe_m: Mapping[str, float], prefix: str, *, each: bool) -> list[dict[str, Any]]:
    mean_mm, many = 1e3 * float(np.mean(list(mpjpe_m.values()))), f"mean of {len(mpjpe_m)} actions"
    found = [measurements.result(f"{prefix}.mpjpe_mm_over_actions", mean_mm, "mm", against=many)]
    if each:
        found += [
            measurements.result(f"{prefix}.mpjpe_mm.{action}", 1e3 * value, "mm")
            for action, value in mpjpe_m.items()
        ]
    return found


def _windows(text: str) -> int:
    """Read how many windows to measure from the command line, 0 for all."""
    return 0 if text == "all" else count(text)


def _condition(path: Path) -> MixSTE:
    network, _ = load(path)
    if not isinstance(network, MixSTE):
        raise RecipeError(f"--mixste: {path} holds no MixSTE")
    return network


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with Human3.6M in VideoPose3D's files, which takes the place of other people",
    )
    recipes.add_mocap_argument(parser)
    recipes.add_threads_argument(parser)
