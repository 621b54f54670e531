"""``radar-pose reproduce millimamba``: the paper's ablations, small enough for two cores.

Every row of ``recipes/millimamba/ablations/table.yaml`` is trained with the same budget and
several seeds (`ablations`), and measured on the same frames of the test recordings; the claims are
judged by a rule that was fixed before (`claims`).

    OUT/cost.json              time and memory of both encoders against the number of frames
    OUT/report.md, .json, .png
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
from radar_pose_ros.training import ablations, millimamba, millimamba_report, report
from radar_pose_ros.training.ablations import Job
from radar_pose_ros.training.claims import Table
from radar_pose_ros.training.millimamba import RECIPES, Recipe
from radar_pose_ros.training.millimamba_batches import gather_batch
from radar_pose_ros.training.millimamba_evaluation import decode_windows
from radar_pose_ros.training.millimamba_report import MEASURES

ABLATIONS = RECIPES / "ablations"

# Of each test recording these many stretches of consecutive frames are estimated: consecutive, for
# the jerk; stretches, because neighbouring frames tell little more than one of them.
STRETCHES = 4
STRETCH_FRAMES = 16
LONGEST_WINDOW = 15

# Frames and, per frame, tokens for the cost of the encoders: the paper's 2 x 16 x 64.
COST_FRAMES = (1, 3, 5, 9, 15)
COST_TOKENS = 2048


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
    """Return what `MEASURES` names, for all recordings and for each.

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


def carry_out(job: Job[Recipe]) -> str:
    """Train and measure one row with one seed, unless that is done; see `ablations`."""
    return ablations.carry_out(job, _train_and_measure, _line)


def _train_and_measure(job: Job[Recipe]) -> dict[str, Any]:
    assert job.data is not None
    train, validation, test = (
        millimamba.recordings_of(job.recipe.data, job.data, split)
        for split in ("train", "validation", "test")
    )
    started_s = time.monotonic()
    model, fitted = millimamba.fit_recipe(
        job.recipe,
        train,
        validation,
        job.directory,
        resume=job.was_begun,
        report=job.report,
    )
    seconds = time.monotonic() - started_s
    return {
        **measure(*estimate(model, job.recipe, test)),
        "network": {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "gmacs": multiply_accumulates(model.config)["total"] / 1e9,
            "tokens": model.config.frames * model.config.tokens_per_frame,
        },
        "training": {"minutes": seconds / 60, "best_step": fitted.step, **fitted.scores},
    }


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


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose reproduce millimamba``."""
    parser.add_argument(
        "--data",
        type=Path,
        default=millimamba.SIMULATED,
        help="folder of simulated recordings; what is missing there is simulated first "
        "(default: %(default)s, any other has to be there)",
    )
    ablations.add_arguments(parser, "out/reproduce")


def reproduce(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose reproduce millimamba``."""
    if hupr.is_hupr(arguments.data):
        raise ValueError(
            f"{arguments.data} is in HuPR's layout; ablations are for simulated people"
        )
    table = Table.load(ABLATIONS / "table.yaml", MEASURES)
    jobs = list(ablations.jobs_of(arguments, table, _recipe_of))
    cost_path = arguments.out / "cost.json"
    if not arguments.report_only:
        millimamba.prepare_data(
            jobs[0].recipe.data, arguments.data, simulated.SPLITS, arguments.jobs
        )
        ablations.run(carry_out, jobs, arguments.jobs)
        _write_costs(cost_path, _recipe_of("base").network)
    cost = json.loads(cost_path.read_text())["cost"] if cost_path.exists() else []
    results = ablations.results_of(arguments.out, table.rows, _budget)
    verdicts = table.judge(results)
    lines = millimamba_report.lines(table, results, verdicts, cost)
    report.publish(arguments, table, results, verdicts, lines)
    millimamba_report.draw(arguments.out / "report.png", results, cost)
    return 0


def _recipe_of(row: str) -> Recipe:
    return Recipe.load(ABLATIONS / f"{row}.yaml")


def _budget(recipe: Mapping[str, Any]) -> list[Any]:
    return [recipe["data"], recipe["batch"], {**recipe["loop"], "seed": None}]


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
