"""``radar-pose reproduce physmamba``: the network beside what learns nothing, and what is refused.

The rows of ``recipes/physmamba/ablations/table.yaml`` that train something are trained with the
same budget and several seeds (`ablations`). All are measured on the same simulated people, whom no
row has seen: 40 to 180 beats per minute, all tones of skin, motions and lights, with and without
compression. The claims are judged by a rule that was fixed before (`claims`).

Then a `PulseMeter` watches what shows no pulse, or not enough of it, and two people at once.

    OUT/<row>/<seed>/network.safetensors    the weights
    OUT/report.md, .json, .png
    OUT/refusals.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch

from radar_pose_ros import measurements
from radar_pose_ros.datasets.face_tracks import FaceTrack
from radar_pose_ros.metrics import heart_rate
from radar_pose_ros.models.physmamba import PhysMamba
from radar_pose_ros.models.pulse import PulseNetwork
from radar_pose_ros.simulation.face_drawing import TONES
from radar_pose_ros.simulation.faces import (
    LIGHTS,
    MOTIONS,
    FaceScene,
    SimulatedFaceVideo,
    draw_scene,
)
from radar_pose_ros.training import ablations, physmamba, pulse_quality, report
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.claims import Measure, Results, Table, Verdict
from radar_pose_ros.training.physmamba import RECIPES, Recipe
from radar_pose_ros.training.physmamba_evaluation import Windows, read_windows
from radar_pose_ros.training.pulse_quality import RIGHT_BPM
from radar_pose_ros.training.recipe import count
from radar_pose_ros.vision.face import Face, FaceTracker
from radar_pose_ros.vision.video import Frame
from radar_pose_ros.vitals import classical, signals
from radar_pose_ros.vitals.meter import (
    SMALLEST_THUMBNAIL_PX,
    ClassicalMethod,
    MeterSettings,
    PulseMeter,
    PulseMethod,
    Reading,
    State,
)

ABLATIONS = RECIPES / "ablations"
CLASSICAL = (*classical.METHODS, "combined")
_BEST = "best"  # of these, on validation
_WEIGHTS = "network.safetensors"
# A window without any rate is off as if the band's middle was told.
_MIDDLE_BPM = 30 * (signals.LOW_HZ + signals.HIGH_HZ)
_PARTS = {
    "motion": tuple(MOTIONS),
    "light": tuple(LIGHTS),
    "compression": ("none", "jpeg"),
    "skin_tone": tuple(str(tone) for tone in range(1, TONES + 1)),
}
# Okabe and Ito's.
_COLOURS = (
    "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#000000", "#F0E442",
)  # fmt: skip
_WORDS = {"none": "not compressed", "jpeg": "JPEG"}


def _measure_name(part: str, value: str) -> str:
    return f"mae_bpm_tone_{value}" if part == "skin_tone" else f"mae_bpm_{value}"


_WHOLE = {
    "mae_bpm": Measure("MAE, bpm", "bpm"),
    "pearson": Measure("r", "", more_is_better=True, style="{:.2f}"),
    "snr_db": Measure("SNR, dB", "dB", more_is_better=True),
    "told": Measure("told, %", "%", 100.0, True, "{:.0f}"),
    "told_mae_bpm": Measure("MAE of those, bpm", "bpm", style="{:.2f}"),
}
_SCENES = {
    _measure_name(part, value): Measure(_WORDS.get(value, value), "bpm")
    for part, values in _PARTS.items()
    for value in values
    if part != "skin_tone"
}
_TONES = {
    _measure_name("skin_tone", value): Measure(f"tone {value}", "bpm")
    for value in _PARTS["skin_tone"]
}
MEASURES = {**_WHOLE, **_SCENES, **_TONES}


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Parameters
    ----------
    what : str
    method : str
        One of `CLASSICAL`, or "best", that of them with the least error on validation; empty for a
        network.
    model : dict
        What is to be other than in the preset.
    """

    what: str
    method: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method and self.method not in (*CLASSICAL, _BEST):
            raise ValueError(f"{self.what}: there is no method {self.method!r}")

    def __str__(self) -> str:
        return self.what

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Row:
        """Return the row of an entry of the table."""
        return cls(**entries)


@dataclass(frozen=True)
class Job(ablations.Job[Recipe]):
    """One row with one seed; ``data`` is the folder of face tracks.

    Parameters
    ----------
    method : str
        As of the row.
    device : str
        Where networks are trained.
    """

    method: str = ""
    device: str = "cpu"


# -- rows ----------------------------------------------------------------------------------------


def carry_out(job: Job) -> str:
    """Train and measure one row with one seed, unless that is done; see `ablations`."""
    return ablations.carry_out(job, _train_and_measure, _line)


def _train_and_measure(job: Job) -> dict[str, Any]:
    test = _tracks(job, "test")
    if job.method:
        name = _best(_tracks(job, "validation")) if job.method == _BEST else job.method
        found = measure_all(test, ClassicalMethod(name))
        return {**found, "network": {}, "training": {"minutes": 0.0, "best_step": 0, "of": name}}
    started_s = time.monotonic()
    network, fitted = physmamba.fit_recipe(
        job.recipe,
        _tracks(job, "train"),
        _tracks(job, "validation"),
        job.directory,
        resume=job.was_begun,
        report=job.report,
        device=job.device,
    )
    seconds = time.monotonic() - started_s
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(state, job.directory / _WEIGHTS)
    return {
        **measure_all(test, PulseNetwork(network)),
        "network": {"parameters": sum(p.numel() for p in network.parameters())},
        "training": {"minutes": seconds / 60, "best_step": fitted.step, **fitted.scores},
    }


def _tracks(job: Job, split: str) -> list[FaceTrack]:
    assert job.data is not None, "the command line names a folder"
    return physmamba.tracks_of(job.recipe, split, job.data, report=job.report)


def _best(validation: Sequence[FaceTrack]) -> str:
    """Return the classical method with the least error."""
    windows = read_windows(validation, {name: ClassicalMethod(name) for name in CLASSICAL})
    errors = {name: np.nanmean(_errors(windows, name)) for name in CLASSICAL}
    return min(errors, key=lambda name: errors[name])


def _errors(windows: Windows, name: str) -> np.ndarray:
    bpm = windows.bpm[name]
    return np.abs(np.where(np.isnan(bpm), _MIDDLE_BPM, bpm) - windows.true_bpm)


def measure_all(test: Sequence[FaceTrack], method: PulseMethod) -> dict[str, Any]:
    """Return everything in `MEASURES`, and what there is of it by track.

    Windows without a rate are off as far as the middle of the band.
    """
    windows = read_windows(test, {"it": method})
    errors, snr_db = _errors(windows, "it"), windows.snr_db["it"]
    owners = np.array([track.name for track in windows.tracks])
    names = [track.name for track in test if (owners == track.name).any()]

    def by_track(values: np.ndarray, chosen: np.ndarray) -> list[float]:
        among = [chosen & (owners == name) & np.isfinite(values) for name in names]
        return [float(values[one].mean()) for one in among if one.any()]

    every = np.ones(len(owners), bool)
    by_recording = {"mae_bpm": by_track(errors, every), "snr_db": by_track(snr_db, every)}
    for part, allowed in _PARTS.items():
        for value in allowed:
            chosen = windows.chosen({part: value})
            by_recording[_measure_name(part, value)] = by_track(errors, chosen)
    told = windows.told_bpm["it"]
    return {
        "by_recording": by_recording,
        "whole": {
            **{
                name: float(np.mean(values)) if values else float("nan")
                for name, values in by_recording.items()
            },
            "pearson": heart_rate.pearson(windows.bpm["it"], windows.true_bpm).value,
            "told": heart_rate.count_rates(told, windows.true_bpm).coverage,
            "told_mae_bpm": heart_rate.mae(told, windows.true_bpm).value,
        },
    }


def _line(result: Mapping[str, Any]) -> str:
    values = (f"{name} {result['whole'][name]:.2f}" for name in ("mae_bpm", "snr_db", "told"))
    return f"{result['row']} {result['seed']}: {', '.join(values)}"


# -- refusals ------------------------------------------------------------------------------------

_CASE_SECONDS = 14.0
_CASE_STREAM = 0x72656675
_UNSEEN = (State.LOW_SIGNAL, State.MOTION)


class Case(NamedTuple):
    """What a meter watches, and what it is right to say.

    Attributes
    ----------
    what : str
    states : tuple of State
        Why there is no rate. A rate within 5 beats per minute of the truth is right, too.
    fixed : dict
        Of the scene, as `draw_scene` has it; None is grey noise.
    every : int
        Of so many frames there is one.
    first_s : float
        Of the first reading; one follows each second.
    """

    what: str
    states: tuple[State, ...]
    fixed: Mapping[str, Any] | None
    every: int = 1
    first_s: float = 10.0


CASES = {
    "photograph": Case("a photograph in a hand", _UNSEEN, {"kind": "photograph"}),
    "pumping": Case(
        "the same, the exposure goes up and down by 5 %",
        _UNSEEN,
        {"kind": "photograph", "pumping": 0.05},
    ),
    "frozen": Case("a picture that stands still", (State.STILL_IMAGE,), {"kind": "frozen"}),
    "noise": Case("grey noise", (State.NO_FACE,), None),
    "empty": Case("an empty room", (State.NO_FACE,), {"kind": "empty"}),
    "5_hz": Case("a person, 5 frames per second", (State.TOO_FEW_FRAMES,), {"rate_hz": 30.0}, 6),
    "3_s": Case("a person, for 3 s", (State.WARMING_UP,), {"duration_s": 3.1}, 1, 1.0),
    "two": Case("two people", _UNSEEN, {"faces": 2}),
}


def refusals(
    methods: Mapping[str, PulseMethod], videos: int, settings: MeterSettings | None = None
) -> list[dict[str, Any]]:
    """Return what a `PulseMeter` says of each of `CASES`.

    Parameters
    ----------
    methods : mapping of str to PulseMethod
    videos : int
        Of each case; lights and JPEG take turns.
    settings : MeterSettings, optional

    Returns
    -------
    list of dict
        "case", "method", number of "windows", and of these the shares that are "refused", for
        which the "right" is said, and of which a rate is told that is "wrong".
    """
    settings = settings or MeterSettings()
    found = []
    for name, case in CASES.items():
        said: dict[str, list[tuple[bool, bool]]] = {method: [] for method in methods}
        for number in range(videos):
            video, frames = _film(name, number)
            for method, how in methods.items():
                said[method] += _watch(case, video, frames, how, settings)
        for method, answers in said.items():
            told, right = np.array(answers, bool).reshape(-1, 2).T
            found.append(
                {
                    "case": name,
                    "method": method,
                    "windows": len(told),
                    "refused": _share(~told),
                    "right": _share(right),
                    "wrong": _share(told & ~right),
                }
            )
    return found


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if len(chosen) else float("nan")


def _film(name: str, number: int) -> tuple[SimulatedFaceVideo | None, list[Frame]]:
    case = CASES[name]
    rng = np.random.default_rng([_CASE_STREAM, list(CASES).index(name), number])
    if case.fixed is None:
        times_s = np.arange(round(_CASE_SECONDS * 30)) / 30
        greys = (rng.normal(128, 40, (240, 240)).clip(0, 255).astype(np.uint8) for _ in times_s)
        return None, [
            (float(t), np.repeat(grey[..., None], 3, axis=2))
            for t, grey in zip(times_s, greys, strict=True)
        ]
    quality = int(rng.integers(40, 96))
    usual = {
        "duration_s": _CASE_SECONDS,
        "light": list(LIGHTS)[number % len(LIGHTS)],
        "jpeg_quality": quality if number % 2 else None,
        "rate_hz": 25.0,
        "dropped": 0.0,
    }
    scene: FaceScene = draw_scene(rng, **{**usual, **case.fixed})
    video = SimulatedFaceVideo(scene)
    return video, list(video.frames())[:: case.every]


def _watch(
    case: Case,
    video: SimulatedFaceVideo | None,
    frames: Iterable[Frame],
    method: PulseMethod,
    settings: MeterSettings,
) -> Iterator[tuple[bool, bool]]:
    """Yield of each reading whether it tells a rate, and whether it is right."""
    size = method.thumbnail_px or SMALLEST_THUMBNAIL_PX
    meter = PulseMeter(FaceTracker(thumbnail_px=size), method, settings)
    due_s = case.first_s
    for time_s, image in frames:
        faces = {face.id: face for face in meter.see(image, time_s)}
        if time_s < due_s:
            continue
        due_s += 1.0
        for reading in meter.readings():
            told = reading.state is State.OK
            if told:
                true_bpm = _true_bpm(video, faces[reading.face_id], reading, settings.rate_hz)
                yield told, abs(reading.rate.bpm - true_bpm) < RIGHT_BPM
            else:
                yield told, reading.state in case.states


def _true_bpm(
    video: SimulatedFaceVideo | None, face: Face, reading: Reading, rate_hz: float
) -> float:
    """Return the heart rate of the person whose face it is; NaN if it is nobody's."""
    if video is None or not video.faces:
        return float("nan")
    begin_s, end_s = reading.middle_s + np.array([-0.5, 0.5]) * reading.window_s
    x, y, width, height = face.box_px
    boxes = [video.box(end_s, person) for person in range(video.faces)]
    apart = [np.hypot(*(box[:2] + box[2:] / 2 - (x + width / 2, y + height / 2))) for box in boxes]
    inside = (video.stamps_s >= begin_s) & (video.stamps_s <= end_s)
    times_s = video.times_s[inside]
    person = int(np.argmin(apart))
    return pulse_quality.true_rate(times_s, video.pulse(times_s, person), rate_hz)


def _refusal_lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| | method | readings | refused | the right said | a wrong rate told |"
    yield "|---" * 6 + "|"
    for one in found:
        shares = " | ".join(f"{one[name]:.1%}" for name in ("refused", "right", "wrong"))
        what = CASES[one["case"]].what
        yield f"| {what} | {one['method']} | {one['windows']} | {shares} |"


# -- the report ----------------------------------------------------------------------------------


def lines(
    table: Table,
    results: Results,
    verdicts: Sequence[Verdict],
    refused: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """Yield the report, in Markdown."""
    yield "# PhysMamba, on simulated people whom no row has seen\n"
    yield report.RULE
    yield from report.claim_lines(table, verdicts)
    others = {"parameters": report.parameters, "minutes": report.minutes}
    yield "\n## Heart rates in windows of 10 s\n"
    yield (
        "Every window counts for MAE, r and SNR; *told* is the share whose quality lets the rate "
        "be told.\n"
    )
    yield from report.row_lines(table.rows, results, _WHOLE, others)
    if best := results.get(_BEST):
        yield f"\nThe best classical method on validation is `{best[0]['training']['of']}`."
    yield "\n## Mean absolute error by scene, bpm\n"
    yield from report.row_lines(table.rows, results, _SCENES, {})
    yield "\n## Mean absolute error by tone of skin, bpm\n"
    yield "Fitzpatrick's types; darker skin shows a smaller pulse.\n"
    yield from report.row_lines(table.rows, results, _TONES, {})
    if refused:
        yield "\n## What is refused\n"
        yield (
            "A reading each second. Right is the reason that fits, and a rate within "
            f"{RIGHT_BPM:g} bpm of the truth.\n"
        )
        yield from _refusal_lines(refused)
    yield f"\n{report.budget_line(results)}"
    yield "\n![mean absolute error by scene and tone](report.png)"


def draw(path: Path, table: Table, results: Results) -> None:
    """Draw the mean absolute error of each row by scene and tone, mean over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    measures = {"mae_bpm": Measure("all"), **_SCENES, **_TONES}
    shown = [row for row in table.rows if results.get(row) and row != _BEST]
    figure, axis = plt.subplots(figsize=(11, 4.2), layout="constrained")
    for number, row in enumerate(shown):
        means = [report.statistics(results[row], name)[0] for name in measures]
        place = np.arange(len(means)) + 0.7 * ((number + 0.5) / len(shown) - 0.5)
        marker = "o" if results[row][0]["network"] else "s"
        axis.plot(place, means, marker, markersize=5, label=row, color=_COLOURS[number % 8])
    for edge in np.cumsum([1, *(len(_PARTS[p]) for p in ("motion", "light", "compression"))]):
        axis.axvline(edge - 0.5, color="0.7", linewidth=0.8)
    titles = [m.title for m in measures.values()]
    axis.set_xticks(range(len(titles)), titles, rotation=30, ha="right", rotation_mode="anchor")
    axis.set(ylabel="mean absolute error, bpm", ylim=(0, None))
    axis.grid(axis="y", color="0.9")
    axis.set_axisbelow(True)
    axis.legend(ncols=4, fontsize=8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


# -- the command line ----------------------------------------------------------------------------


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose reproduce physmamba``."""
    parser.add_argument(
        "--tracks",
        dest="data",
        type=Path,
        default=Path("out/face_tracks"),
        metavar="DIR",
        help="keeps what was seen of faces in the videos (default: %(default)s)",
    )
    parser.add_argument(
        "--videos",
        type=count,
        default=6,
        help="of each case in which there is no rate to tell (default: %(default)s)",
    )
    recipes.add_device_argument(parser)
    ablations.add_arguments(parser, "out/reproduce_physmamba")


def reproduce(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose reproduce physmamba``."""
    table = Table.load(ABLATIONS / "table.yaml", MEASURES, Row.of)
    jobs = list(_jobs(arguments, table))
    if not arguments.report_only:
        for split in ("train", "validation", "test"):  # before trainings that want them at once
            physmamba.tracks_of(jobs[0].recipe, split, arguments.data, jobs=arguments.jobs)
        ablations.run(carry_out, jobs, arguments.jobs)
    results = _with_nan(ablations.results_of(arguments.out, table.rows, _budget))
    verdicts = table.judge(results)
    refused = _refused(arguments, table, results)
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw(arguments.out / "report.png", table, results)
    report.publish(arguments, table, results, verdicts, lines(table, results, verdicts, refused))
    return 0


def _jobs(arguments: argparse.Namespace, table: Table) -> Iterator[Job]:
    recipe_of = partial(_recipe_of, table=table, steps=arguments.steps)
    for job in ablations.jobs_of(arguments, table, recipe_of):
        method = table.rows[job.row].method
        if not (method and job.seed):
            yield Job(**vars(job), method=method, device=arguments.device)


def _recipe_of(row: str, table: Table, steps: int | None = None) -> Recipe:
    recipe = Recipe.load(ABLATIONS / "base.yaml")
    loop = recipe.loop
    steps = steps or loop.steps
    loop = replace(
        loop,
        steps=steps,
        warmup_steps=min(loop.warmup_steps, steps),
        validate_every=min(loop.validate_every, steps),
    )
    return replace(recipe, loop=loop, model={**recipe.model, **table.rows[row].model})


def _with_nan(results: Results) -> Results:
    """Put NaN back where JSON has none: of methods that tell no rate, of scenes nobody is in."""
    return {
        row: [
            {
                **result,
                "whole": {k: np.nan if v is None else v for k, v in result["whole"].items()},
            }
            for result in found
        ]
        for row, found in results.items()
    }


def _budget(recipe: Mapping[str, Any]) -> list[Any]:
    return [recipe["data"], recipe["batch"], {**recipe["loop"], "seed": None}]


def _refused(
    arguments: argparse.Namespace, table: Table, results: Results
) -> list[dict[str, Any]]:
    """Return what is refused by all classical methods together and by the first network."""
    path = arguments.out / "refusals.json"
    if not arguments.report_only:
        methods: dict[str, PulseMethod] = {"combined": ClassicalMethod("combined")}
        weights = arguments.out / "full" / "0" / _WEIGHTS
        if weights.is_file():
            network = PhysMamba(_recipe_of("full", table).network)
            network.load_state_dict(safetensors.torch.load_file(weights))
            methods["full"] = PulseNetwork(network.eval())
        found = refusals(methods, arguments.videos)
        measurements.write_json(path, {"refusals": found, "machine": measurements.machine()})
    return json.loads(path.read_text())["refusals"] if path.is_file() else []
