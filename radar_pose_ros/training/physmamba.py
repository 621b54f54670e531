"""Training and evaluation of PhysMamba: the pulse from videos of faces.

On simulated people, or on recordings of the public sets. What it learns from are face tracks
(`face_tracks`), which are made once and kept in a folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from radar_pose_ros.datasets import face_tracks, face_video_sets
from radar_pose_ros.datasets.face_tracks import FaceTrack
from radar_pose_ros.metrics import heart_rate
from radar_pose_ros.models import weights
from radar_pose_ros.models.physmamba import PRESETS, PhysMamba, PhysMambaConfig
from radar_pose_ros.models.pulse import PulseNetwork
from radar_pose_ros.simulation.body import SPLITS
from radar_pose_ros.training import processes
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.loop import FitResult, LoopConfig, fit
from radar_pose_ros.training.pulse_clips import ClipBatches, Variation, rate_of
from radar_pose_ros.training.pulse_losses import PulseLoss
from radar_pose_ros.training.recipe import count
from radar_pose_ros.vitals import classical, rates, signals

RECIPES = recipes.RECIPES / "physmamba"
# What is maximised on validation.
SCORE = "validation_minus_mae_bpm"
WINDOW_S, HOP_S = 10.0, 5.0  # of which a heart rate is measured, and from one to the next
# At this rate waves are compared [the sets' own, and the network's].
_RATE_HZ = 30.0
# Of the public protocol for whole videos, beside its Welch's segments: the band [code].
_PROTOCOL_HZ = (0.75, 2.5)
_MIDDLE_BPM = 30 * (signals.LOW_HZ + signals.HIGH_HZ)
_NAMES = {"train": "train", "validation": "valid", "test": "test"}  # of splits in the sets

# Returns the pulse wave of a track at `_RATE_HZ`, from its first stamp on.
Method = Callable[[FaceTrack], np.ndarray]


@dataclass(frozen=True)
class FaceData:
    """Simulated people.

    Parameters
    ----------
    simulated : dict of str to int
        Videos per split; each shows somebody else. All 0 if the recipe is for recordings.
    seconds : dict of str to float
        Their length, per split.
    seed : int

    Raises
    ------
    ValueError
        If there is no such split, or a number is out of range.
    """

    simulated: Mapping[str, int]
    seconds: Mapping[str, float]
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("simulated", "seconds"):
            if set(getattr(self, name)) != set(SPLITS):
                raise ValueError(f"data: {name} wants {', '.join(SPLITS)}")
        for split in SPLITS:
            number, seconds = self.simulated[split], self.seconds[split]
            if type(number) is not int or number < 0:
                raise ValueError(f"data: simulated: {split} must be 0 or more, got {number!r}")
            if not seconds >= WINDOW_S:
                raise ValueError(
                    f"data: seconds: {split} must be at least {WINDOW_S:g}, got {seconds!r}"
                )


@dataclass(frozen=True)
class Recipe(recipes.Recipe):
    """Everything that decides the outcome of a training.

    Parameters
    ----------
    preset : str
        Which network.
    data : FaceData
    batch : int
        Clips per step, of all processes together.
    loop : LoopConfig
    split : str
        Which split of recordings, as `face_video_sets.splits` has them.
    loss : PulseLoss
    variation : Variation
    model : dict
        What is to be other than in the preset, by the fields' names in its configuration.
    """

    presets = PRESETS

    preset: str
    data: FaceData
    batch: int
    loop: LoopConfig
    split: str = "disjoint"
    loss: PulseLoss = field(default_factory=PulseLoss)
    variation: Variation = field(default_factory=Variation)
    model: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is none of {', '.join(PRESETS)}")
        recipes.require_whole("batch", self.batch)
        _ = self.network  # or the error of what does not fit

    @property
    def network(self) -> PhysMambaConfig:
        """The network's configuration."""
        return recipes.changed(PRESETS[self.preset], self.model)

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Recipe:
        """Return the recipe of plain entries, as YAML or JSON have them."""
        parts = {
            "data": recipes.made(FaceData, entries["data"], "data"),
            "loop": recipes.made(LoopConfig, entries["loop"], "loop"),
            "loss": recipes.made(PulseLoss, _tuples(entries.get("loss", {})), "loss"),
            "variation": recipes.made(
                Variation, _tuples(entries.get("variation", {})), "variation"
            ),
        }
        return recipes.made(cls, {**entries, **parts})


def _tuples(entries: Any) -> Any:
    if not isinstance(entries, Mapping):
        return entries
    return {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}


# -- data ----------------------------------------------------------------------------------------


def tracks_of(
    recipe: Recipe,
    split: str,
    folder: Path,
    sets: Sequence[tuple[str, Path]] = (),
    *,
    jobs: int = 1,
    report: Callable[[str], None] = print,
) -> list[FaceTrack]:
    """Return the face tracks of a split, "train", "validation" or "test"; missing ones are made.

    Parameters
    ----------
    recipe : Recipe
    split : str
    folder : Path
        Keeps them.
    sets : sequence of (str, Path)
        Kinds of recordings and their folders (`face_video_sets.load`), in place of simulated
        people.
    jobs : int
        Videos in which faces are followed at the same time.
    report : callable
        Gets a line for each video, and what a reader of results has to know of the split.

    Raises
    ------
    ValueError
        If there is no video in the split, a set has no such split, or the folder holds tracks that
        were made otherwise.
    """
    data, size = recipe.data, recipe.network.size
    if not sets:
        if not data.simulated[split]:
            raise ValueError(
                "this recipe is for recordings: give a set and its folder, --data KIND DIR"
            )
        return face_tracks.simulated(
            folder,
            split,
            data.simulated[split],
            seconds=data.seconds[split],
            seed=data.seed,
            thumbnail_px=size,
            processes=jobs,
            report=report,
        )
    found = []
    for kind, source in sets:
        splits = face_video_sets.splits(kind, face_video_sets.load(kind, source, report))
        if recipe.split not in splits:
            raise ValueError(
                f"{kind} in {source} has no split {recipe.split!r}, there are {', '.join(splits)}"
            )
        chosen = splits[recipe.split]
        if chosen.note:
            report(f"{kind}, split {recipe.split}: {chosen.note}")
        found += face_tracks.recorded(
            folder,
            kind,
            source,
            getattr(chosen, _NAMES[split]),
            thumbnail_px=size,
            processes=jobs,
            report=report,
        )
    if not found:
        raise ValueError(f"split {recipe.split!r} has no face to follow in its {split} part")
    return found


# -- measuring -----------------------------------------------------------------------------------


def by_network(network: PhysMamba) -> Method:
    """Return how a network estimates the wave of a track."""
    estimator = PulseNetwork(network)

    def wave(track: FaceTrack) -> np.ndarray:
        return estimator.wave(_even(track, track.images()))

    return wave


def by_colours(method: str) -> Method:
    """Return how one of `classical.METHODS` does, from the mean over all of the skin."""

    def wave(track: FaceTrack) -> np.ndarray:
        known = np.isfinite(track.colours)
        weighed = np.where(known, track.colours, 0.0) * track.pixels[..., None]
        total = (known * track.pixels[..., None]).sum(axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0 where there is no skin
            mean = weighed.sum(axis=1) / total
        return classical.METHODS[method](_even(track, mean), _RATE_HZ)

    return wave


def true_wave(track: FaceTrack) -> np.ndarray:
    """Return the truth of a track as a `Method`."""
    return _even(track, track.pulse)


def _even(track: FaceTrack, values: np.ndarray) -> np.ndarray:
    return signals.resample(track.times_s, values, _RATE_HZ).values


class Measured(NamedTuple):
    """Heart rates of windows, or of whole tracks.

    Attributes
    ----------
    true_bpm : ndarray, shape (windows,)
        NaN where the truth is not known.
    estimated_bpm, snr_db : dict of str to ndarray, shape (windows,)
        By method; NaN where it has no rate. The signal-to-noise ratio is at the true rate.
    tracks : list of FaceTrack
        Of each window.
    """

    true_bpm: np.ndarray
    estimated_bpm: dict[str, np.ndarray]
    snr_db: dict[str, np.ndarray]
    tracks: list[FaceTrack]


def measure_windows(tracks: Sequence[FaceTrack], methods: Mapping[str, Method]) -> Measured:
    """Return heart rates of windows of 10 s, one each 5 s, by the highest peak of the spectrum.

    True rates are read from the true wave in the same way: what a heart does within a window is
    no error of a method.
    """
    frames, hop = round(WINDOW_S * _RATE_HZ), round(HOP_S * _RATE_HZ)

    def pieces(track: FaceTrack, method: Method) -> list[np.ndarray]:
        banded = signals.band_pass(method(track), _RATE_HZ)
        return [banded[k : k + frames] for k in range(0, len(banded) - frames + 1, hop)]

    return _measured(tracks, methods, pieces, "periodogram", (signals.LOW_HZ, signals.HIGH_HZ))


def measure_videos(tracks: Sequence[FaceTrack], methods: Mapping[str, Method]) -> Measured:
    """Return heart rates of whole tracks as the public protocol has them.

    Without its trend, between 0.75 and 2.5 Hz, by Welch's method. What beats outside of that band
    has no true rate here.
    """

    def whole(track: FaceTrack, method: Method) -> list[np.ndarray]:
        flat = signals.detrend(method(track), _RATE_HZ)
        return [signals.band_pass(flat, _RATE_HZ, *_PROTOCOL_HZ)]

    found = _measured(tracks, methods, whole, "welch", _PROTOCOL_HZ)
    anywhere = [rate_of(signals.Uniform(0.0, _RATE_HZ, true_wave(track))) for track in tracks]
    low_bpm, high_bpm = (60 * edge_hz for edge_hz in _PROTOCOL_HZ)
    inside = [low_bpm <= bpm <= high_bpm for bpm in anywhere]
    return found._replace(true_bpm=np.where(inside, found.true_bpm, np.nan))


def _measured(
    tracks: Sequence[FaceTrack],
    methods: Mapping[str, Method],
    pieces: Callable[[FaceTrack, Method], list[np.ndarray]],
    how: rates.How,
    band_hz: tuple[float, float],
) -> Measured:
    low_hz, high_hz = band_hz

    def bpm_of(piece: np.ndarray) -> float:
        return rates.spectrum_rate(piece, _RATE_HZ, how, low_hz=low_hz, high_hz=high_hz).bpm

    true_bpm: list[float] = []
    owners: list[FaceTrack] = []
    estimated_bpm: dict[str, list[float]] = {name: [] for name in methods}
    snr_db: dict[str, list[float]] = {name: [] for name in methods}
    for track in tracks:
        truth = [bpm_of(piece) for piece in pieces(track, true_wave)]
        true_bpm += truth
        owners += [track] * len(truth)
        for name, method in methods.items():
            for bpm, piece in zip(truth, pieces(track, method), strict=True):
                estimated_bpm[name].append(bpm_of(piece))
                snr_db[name].append(
                    rates.snr_db(piece, _RATE_HZ, bpm, low_hz=low_hz, high_hz=high_hz)
                )
    return Measured(
        np.array(true_bpm),
        {name: np.array(values) for name, values in estimated_bpm.items()},
        {name: np.array(values) for name, values in snr_db.items()},
        owners,
    )


def mean_error_bpm(measured: Measured, name: str) -> float:
    """Return a method's mean absolute error; where it has no rate, it says the band's middle."""
    estimate = measured.estimated_bpm[name]
    estimate = np.where(np.isnan(estimate), _MIDDLE_BPM, estimate)
    return heart_rate.mae(estimate, measured.true_bpm).value


# -- training ------------------------------------------------------------------------------------


def fit_recipe(
    recipe: Recipe,
    training: Sequence[FaceTrack],
    validation: Sequence[FaceTrack],
    directory: Path,
    *,
    resume: bool = False,
    report: Callable[[str], None] = print,
    device: str = "cpu",
) -> tuple[PhysMamba, FitResult]:
    """Train on face tracks ``training``, and keep what is best on ``validation``.

    Curves, checkpoints and the recipe go to ``directory``.

    Returns
    -------
    network : PhysMamba
    result : FitResult
        Its scores are `SCORE`, and mean absolute errors of the heart rate in windows of 10 s in
        beats per minute: the network's, that of `classical.pos`, and that of whoever always says
        the same, the median of the true rates.

    Raises
    ------
    ValueError
        If no track is as long as a clip or none of the validation's as a window, or it is to
        resume a training by another recipe.
    """
    torch.manual_seed(recipe.loop.seed)
    model = PhysMamba(recipe.network).to(device)
    batches = ClipBatches(
        training, recipe.network, recipe.batch, recipe.variation, recipe.loop.seed
    )
    peers = measure_windows(validation, {"pos": by_colours("pos")})
    known = peers.true_bpm[np.isfinite(peers.true_bpm)]
    if not len(known):
        raise ValueError(f"no track for validation shows a pulse for {WINDOW_S:g} s")
    others = {
        "validation_pos_mae_bpm": mean_error_bpm(peers, "pos"),
        "validation_median_mae_bpm": float(np.abs(known - np.median(known)).mean()),
    }
    recipes.keep(recipe, directory, resume)

    def validate(network: nn.Module) -> dict[str, float]:
        assert isinstance(network, PhysMamba)
        measured = measure_windows(validation, {"network": by_network(network)})
        error = mean_error_bpm(measured, "network")
        return {SCORE: -error, "validation_mae_bpm": error, **others}

    result = fit(
        model,
        lambda step: batches(step, processes.share(recipe.batch)),
        lambda network, batch, _: recipe.loss(
            network(batch.clips).float(), batch.pulse, recipe.network.rate_hz
        ),
        validate,
        recipe.loop,
        directory,
        best_by=SCORE,
        resume=resume,
        report=report,
    )
    model.load_state_dict(result.state)
    return model.cpu().eval(), result


def save(
    model: PhysMamba,
    recipe: Recipe,
    result: FitResult,
    training: Sequence[FaceTrack],
    directory: Path,
    sets: Sequence[tuple[str, Path]] = (),
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
    subjects = {track.subject for track in training}
    minutes = sum(track.seconds for track in training) / 60
    people = ", ".join(kind for kind, _ in sets) or "simulated people"
    return weights.save(
        model,
        directory,
        recipe.preset,
        training_data={
            "description": f"{len(training)} face tracks of {len(subjects)} people, "
            f"{minutes:.0f} minutes: {people}",
            "seed": recipe.data.seed,
            **({"split": recipe.split} if sets else {}),
            "licence": f"that of {people}" if sets else "Apache-2.0: simulated by this package",
        },
        git_revision=recipes.revision(),
        command=command,
        metrics={"split": "validation", "steps": result.step, **result.scores},
    )


# -- the command line ----------------------------------------------------------------------------


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose train physmamba``."""
    _add_common_arguments(parser, "edge")
    recipes.add_training_arguments(parser, "out/physmamba")


def train(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose train physmamba``, in one process or as one of several."""
    recipe = Recipe.load(arguments.recipe or RECIPES / f"{arguments.preset}.yaml")
    recipes.require_preset(recipe, arguments.recipe)
    recipes.require_usable(arguments.out, arguments.resume)
    torch.set_num_threads(arguments.threads)
    sets = _sets(arguments)

    def load(report: Callable[[str], None]) -> list[list[FaceTrack]]:
        return [
            tracks_of(recipe, split, arguments.tracks, sets, jobs=arguments.jobs, report=report)
            for split in ("train", "validation")
        ]

    with processes.joined():
        writes = processes.rank() == 0
        if not writes:
            processes.wait()  # until the first one has made what is missing
        training, validation = load(print if writes else lambda line: None)
        if writes:
            processes.wait()
        model, result = fit_recipe(
            recipe,
            training,
            validation,
            arguments.out,
            resume=arguments.resume,
            device=arguments.device,
        )
    if writes:
        command = recipes.command("physmamba", recipe.preset, recipe=arguments.recipe)
        command += "".join(f" --data {kind} {source.name}" for kind, source in sets)
        save(model, recipe, result, training, arguments.out, sets, command=command)
        print(f"weights of step {result.step} are in {arguments.out}: {result.scores}")
    return 0


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose evaluate physmamba``."""
    _add_common_arguments(parser, None)  # that of the weights
    parser.add_argument(
        "--weights",
        default="edge",
        help="safetensors file, or a preset whose weights are shipped (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")


def _add_common_arguments(parser: argparse.ArgumentParser, preset: str | None) -> None:
    recipes.add_recipe_arguments(parser, RECIPES, preset)
    parser.add_argument(
        "--tracks",
        type=Path,
        default=Path("out/face_tracks"),
        metavar="DIR",
        help="keeps what was seen of faces in the videos (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        nargs=2,
        action="append",
        default=[],
        metavar=("KIND", "DIR"),
        help=f"recordings in place of simulated people: {', '.join(face_video_sets.KINDS)}, and "
        "their folder; may be given again",
    )
    parser.add_argument(
        "--jobs",
        type=count,
        default=1,
        help="videos in which faces are followed at the same time (default: %(default)s)",
    )
    recipes.add_device_argument(parser)
    recipes.add_threads_argument(parser)


def _sets(arguments: argparse.Namespace) -> list[tuple[str, Path]]:
    return [(kind, Path(source)) for kind, source in arguments.data]
