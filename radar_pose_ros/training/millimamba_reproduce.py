"""``radar-pose reproduce millimamba``: the paper's ablations, small enough for two cores.

Every row of ``recipes/ablations/table.yaml`` is trained with the same budget and several seeds,
and measured on the same frames of the test recordings; the claims are judged by a rule that was
fixed before (`claims`). What is done is kept: a run that was interrupted goes on, and rows that
are there are not trained again.

    OUT/<row>/<seed>/result.json    what was measured, and the recipe
    OUT/<row>/<seed>/curves.csv     training, validation
    OUT/cost.json                   time and memory of both encoders against the number of frames
    OUT/report.md, .json, .png
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from radar_pose_ros import measurements
from radar_pose_ros.datasets import hupr, simulated
from radar_pose_ros.datasets.recordings import Recording, Window
from radar_pose_ros.metrics.keypoints import AP_THRESHOLDS, average_precision, oks, person_area
from radar_pose_ros.models.millimamba import (
    MilliMamba,
    MilliMambaConfig,
    TransformerLayer,
    VisionMambaLayer,
    multiply_accumulates,
)
from radar_pose_ros.training import millimamba, report
from radar_pose_ros.training.batches import gather_batch
from radar_pose_ros.training.claims import Table, judge
from radar_pose_ros.training.millimamba import RECIPES, Recipe
from radar_pose_ros.training.millimamba_evaluation import decode_windows

ABLATIONS = RECIPES / "ablations"

# Of each test recording these many stretches of consecutive frames are estimated: consecutive, for
# the jerk; stretches, because neighbouring frames tell little more than one of them.
STRETCHES = 4
STRETCH_FRAMES = 16
LONGEST_WINDOW = 15

# Frames and, per frame, tokens for the cost of the encoders: the paper's 2 x 16 x 64.
COST_FRAMES = (1, 3, 5, 9, 15)
COST_TOKENS = 2048


@dataclass(frozen=True)
class Job:
    """One training: a row with a seed."""

    row: str
    seed: int
    recipe: Recipe
    root: Path
    directory: Path
    threads: int


def stretches(recordings: Sequence[Recording]) -> list[Window]:
    """Choose the frames to measure: the same for every length of the window up to the longest.

    Returns
    -------
    list of Window
        `STRETCHES` of each recording, each the first of `STRETCH_FRAMES` frames.

    Raises
    ------
    ValueError
        If a recording is too short.
    """
    margin = LONGEST_WINDOW // 2
    chosen = []
    for number, recording in enumerate(recordings):
        last = len(recording.keypoints_px) - margin - STRETCH_FRAMES
        if last < margin:
            raise ValueError(
                f"{recording.path} has {len(recording.keypoints_px)} frames; ablations need at "
                f"least {STRETCH_FRAMES + 2 * margin}"
            )
        firsts = np.linspace(margin, last, STRETCHES).astype(int)
        chosen += [Window(number, int(first)) for first in firsts]
    return chosen


@torch.no_grad()
def estimate(
    model: MilliMamba, recipe: Recipe, recordings: Sequence[Recording]
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the chosen frames of recordings, each as the middle frame of its window.

    Returns
    -------
    estimate_px, truth_px : ndarray, shape (recordings, STRETCHES, STRETCH_FRAMES, joints, 2)

    Raises
    ------
    ValueError
        If the network's convolutions look at several frames: it cannot be run this way.
    """
    if model.config.temporal_kernel != 1:
        raise ValueError("ablations are for networks that encode frames one by one")
    model.eval()
    before = model.config.frames // 2
    chosen = stretches(recordings)
    estimates, truths = [], []
    for first in range(0, len(chosen), STRETCHES):
        windows = [Window(w.recording, w.first - before) for w in chosen[first:][:STRETCHES]]
        length = STRETCH_FRAMES + model.config.frames - 1
        batch = gather_batch(recordings, windows, length, model.config, recipe.views)
        tokens = model.encode_frames(batch.heatmaps)
        estimates.append(np.stack([decode_windows(model, row)[0] for row in tokens]))
        truths.append(batch.keypoints_px[:, before : before + STRETCH_FRAMES].numpy())
    return np.stack(estimates), np.stack(truths)


def measure(estimate_px: np.ndarray, truth_px: np.ndarray) -> dict[str, Any]:
    """Return what `claims.MEASURES` names, for all recordings and for each.

    Parameters
    ----------
    estimate_px, truth_px : ndarray, shape (recordings, stretches, frames, joints, 2)

    Returns
    -------
    dict
        "by_recording", a list per measure. There "ap" is the share of frames that pass, averaged
        over the thresholds, which can be averaged over recordings. "whole", a number per measure,
        and beside "ap" also COCO's "ap_coco" and "ap50".
    """
    # (recordings, stretches, frames)
    similarity = oks(estimate_px, truth_px, person_area(truth_px))
    velocity_error = np.diff(estimate_px, axis=2) - np.diff(truth_px, axis=2)
    by_frame = {
        "ap": np.mean([similarity >= threshold for threshold in AP_THRESHOLDS], axis=0),
        "oks": similarity,
        "error_px": _length(estimate_px - truth_px),
        "velocity_error_px": _length(velocity_error),
        "jerk_px": _length(np.diff(estimate_px, n=3, axis=2)),
    }
    by_recording = {name: values.mean(axis=(1, 2)) for name, values in by_frame.items()}
    flat = similarity.ravel()
    return {
        "by_recording": {name: values.tolist() for name, values in by_recording.items()},
        "whole": {
            **{name: float(values.mean()) for name, values in by_recording.items()},
            "ap_coco": average_precision(flat),
            "ap50": average_precision(flat, thresholds=0.5),
            "jerk_of_truth_px": float(_length(np.diff(truth_px, n=3, axis=2)).mean()),
        },
    }


def _length(vectors: np.ndarray) -> np.ndarray:
    """Mean length over joints: (..., joints, 2) -> (...)."""
    return np.linalg.norm(vectors, axis=-1).mean(axis=-1)


def carry_out(job: Job) -> str:
    """Train and measure one row with one seed, unless that is done; returns a line of progress.

    Raises
    ------
    ValueError
        If results that are there were made by another recipe.
    """
    path = job.directory / "result.json"
    settings = json.loads(json.dumps(asdict(job.recipe)))
    if path.exists():
        result = json.loads(path.read_text())
        if result["recipe"] != settings:
            raise ValueError(
                f"{path} was made by another recipe: name another folder, or remove this one"
            )
        return _line(result) + " (kept)"
    torch.set_num_threads(job.threads)
    started_s = time.monotonic()
    data = job.recipe.data
    model, fitted = millimamba.fit_recipe(
        job.recipe,
        millimamba.recordings_of(data, job.root, "train"),
        millimamba.recordings_of(data, job.root, "validation"),
        job.directory,
        resume=(job.directory / "last.pt").exists(),
        report=lambda line: print(f"{job.row} {job.seed}: {line}", flush=True),
    )
    seconds = time.monotonic() - started_s
    recordings = millimamba.recordings_of(data, job.root, "test")
    result = {
        "row": job.row,
        "seed": job.seed,
        **measure(*estimate(model, job.recipe, recordings)),
        "network": {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "gmacs": multiply_accumulates(model.config)["total"] / 1e9,
            "tokens": model.config.frames * model.config.tokens_per_frame,
        },
        "training": {"minutes": seconds / 60, "best_step": fitted.step, **fitted.scores},
        "machine": measurements.machine(),
        "recipe": settings,
    }
    measurements.write_json(path, result)
    (job.directory / "last.pt").unlink()
    return _line(result)


def _line(result: Mapping[str, Any]) -> str:
    whole = result["whole"]
    return (
        f"{result['row']} {result['seed']}: AP {100 * whole['ap']:.1f}, "
        f"error {whole['error_px']:.1f} px"
    )


def encoder_cost(
    config: MilliMambaConfig, training: bool, tokens: int = COST_TOKENS
) -> dict[str, Any]:
    """Time one encoder layer on a window of so many tokens per frame; see what memory it takes.

    To be called in a process of its own, whose peak it reads.

    Returns
    -------
    dict
        ``seconds``, the median of three unless it takes long, and ``mebibytes``, the rise of the
        process's peak. With ``training``, of forward and backward.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mamba = config.encoder == "mamba"
    layer: nn.Module = VisionMambaLayer(config) if mamba else TransformerLayer(config)
    x = torch.randn(config.frames * tokens, 1, config.width, requires_grad=training)
    before = _memory_mebibytes("VmRSS")
    seconds: list[float] = []
    with torch.set_grad_enabled(training):
        while len(seconds) < 3 and sum(seconds) < 3:
            started_s = time.perf_counter()
            y = layer(x)
            if training:
                y.sum().backward()
            del y
            seconds.append(time.perf_counter() - started_s)
    return {
        "encoder": config.encoder,
        "frames": config.frames,
        "training": training,
        "seconds": float(np.median(seconds)),
        "mebibytes": _memory_mebibytes("VmHWM") - before,
    }


def _memory_mebibytes(entry: str) -> float:
    """Read a line of Linux's account of this process; NaN elsewhere."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) / 1024
    return math.nan


def costs(config: MilliMambaConfig) -> Iterator[dict[str, Any]]:
    """Measure both encoders at every number of frames, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    for training in (False, True):
        for frames in COST_FRAMES:
            for encoder in ("mamba", "transformer"):
                one = replace(config, frames=frames, encoder=encoder)
                with context.Pool(1) as pool:
                    yield pool.apply(encoder_cost, (one, training))


def results_of(directory: Path, rows: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Read what is there, by row; seeds rising.

    Raises
    ------
    ValueError
        If trainings had different data or budgets: they cannot be compared.
    """
    results = {
        row: [
            json.loads(path.read_text())
            for path in sorted(
                directory.glob(f"{row}/*/result.json"), key=lambda path: int(path.parent.name)
            )
        ]
        for row in rows
    }
    first, *others = [result for row in rows for result in results[row]] or [{}]
    for result in others:
        if _budget(result) != _budget(first):
            raise ValueError(
                f"{directory}: {result['row']} {result['seed']} had other data or another budget "
                f"than {first['row']} {first['seed']}: name another folder, or remove one of them"
            )
    return results


def _budget(result: Mapping[str, Any]) -> list[Any]:
    recipe = result["recipe"]
    return [recipe["data"], recipe["batch"], {**recipe["loop"], "seed": None}]


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose reproduce millimamba``."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("out/simulated"),
        help="folder of simulated recordings; what is missing there is simulated first",
    )
    parser.add_argument("--out", type=Path, default=Path("out/reproduce"), help="results, report")
    parser.add_argument(
        "--rows", metavar="NAME,...", help="only these rows (default: all of the table)"
    )
    parser.add_argument(
        "--seeds", type=millimamba.count, default=3, help="of each row (default 3)"
    )
    parser.add_argument(
        "--steps", type=millimamba.count, help="of each training (default: the recipe's)"
    )
    cores = measurements.cores_available()
    parser.add_argument(
        "--jobs", type=millimamba.count, default=cores, help="trainings at the same time"
    )
    parser.add_argument(
        "--threads", type=millimamba.count, default=1, help="threads of each (default 1)"
    )
    parser.add_argument(
        "--report-only", action="store_true", help="train nothing, report on what is there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")


def reproduce(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose reproduce millimamba``."""
    if hupr.is_hupr(arguments.data):
        raise ValueError(
            f"{arguments.data} is in HuPR's layout; ablations are for simulated people"
        )
    table = Table.load(ABLATIONS / "table.yaml")
    jobs = list(_jobs(arguments, table))
    if not arguments.report_only:
        millimamba.prepare_data(
            jobs[0].recipe.data, arguments.data, simulated.SPLITS, arguments.jobs
        )
        for line in _carry_out_all(jobs, arguments.jobs):
            print(line, flush=True)
        _write_costs(arguments.out / "cost.json", Recipe.load(ABLATIONS / "base.yaml").network)
    results = results_of(arguments.out, list(table.rows))
    verdicts = [judge(claim, results) for claim in table.claims]
    cost_path = arguments.out / "cost.json"
    cost = json.loads(cost_path.read_text())["cost"] if cost_path.exists() else []
    report.write(arguments.out, table, results, verdicts, cost)
    print((arguments.out / "report.md").read_text())
    if arguments.json:
        measurements.write_results(arguments.json, report.rows(table, results, verdicts))
    return 0


def _jobs(arguments: argparse.Namespace, table: Table) -> Iterator[Job]:
    rows = arguments.rows.split(",") if arguments.rows else list(table.rows)
    for row in rows:
        if row not in table.rows:
            raise ValueError(f"--rows: {row!r} is none of {', '.join(table.rows)}")
    for seed in range(arguments.seeds):
        for row in rows:
            recipe = Recipe.load(ABLATIONS / f"{row}.yaml")
            loop = replace(recipe.loop, seed=seed)
            if arguments.steps:
                loop = replace(loop, steps=arguments.steps)
            directory = arguments.out / row / str(seed)
            recipe = replace(recipe, loop=loop)
            yield Job(row, seed, recipe, arguments.data, directory, arguments.threads)


def _carry_out_all(jobs: Sequence[Job], at_once: int) -> Iterator[str]:
    """All rows of a seed before the next seed: early on there is a whole table, of one seed."""
    if at_once == 1:
        yield from map(carry_out, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(at_once) as pool:
        yield from pool.imap_unordered(carry_out, jobs)


def _write_costs(path: Path, config: MilliMambaConfig) -> None:
    if path.exists():
        return
    rows = []
    for row in costs(config):
        rows.append(row)
        what = "forward and backward" if row["training"] else "forward"
        print(
            f"a {row['encoder']} layer, {row['frames']} frames, {what}: {row['seconds']:.2f} s, "
            f"{row['mebibytes']:.0f} MiB",
            flush=True,
        )
    content = {"machine": measurements.machine(), "width": config.width, "cost": rows}
    measurements.write_json(path, content)
