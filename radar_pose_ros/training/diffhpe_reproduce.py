"""``radar-pose reproduce diffhpe``: the paper's comparisons, small enough for two cores.

Every row of ``recipes/diffhpe/ablations/table.yaml`` is trained with the same budget and several
seeds (`ablations`), and measured on the same windows of people and cameras that no row has seen:
clean, and under every pattern of missing joints. The claims are judged by a rule that was fixed
before (`claims`).

    OUT/<row>/<seed>/network.safetensors    the weights; MixSTE's are the Wrapper's condition
    OUT/report.md, .json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import safetensors.torch

from radar_pose_ros.models.mixste import MixSTE
from radar_pose_ros.training import ablations, camera_windows, diffhpe, report
from radar_pose_ros.training.ablations import Job
from radar_pose_ros.training.camera_windows import OCCLUSIONS, Windows, fixed_windows, lift
from radar_pose_ros.training.claims import Measure, Results, Table, Verdict
from radar_pose_ros.training.diffhpe import RECIPES, Recipe, RecipeError
from radar_pose_ros.training.recipe import add_mocap_argument

ABLATIONS = RECIPES / "ablations"
# The mean over all patterns of missing joints that the row was not trained with.
MISMATCH = "mpjpe_mm_mismatch"
_PATTERNS = tuple(name for name in OCCLUSIONS if name not in ("none", "all"))
_CLEAN = {
    "mpjpe_mm": Measure("MPJPE"),
    "p_mpjpe_mm": Measure("P-MPJPE"),
    "symmetry_gap_mm": Measure("symmetry gap"),
    "segment_consistency_mm": Measure("segment consistency"),
}
# On clean windows; with a pattern's name behind it, under that pattern.
MEASURES = {
    **_CLEAN,
    **{f"{name}_{p}": Measure(p.replace("_", " ")) for name in _CLEAN for p in _PATTERNS},
    MISMATCH: Measure("all but the one trained with"),
}
# Windows that are measured, evenly from all test movements.
TEST_WINDOWS = 240


def condition_row(row: str) -> str:
    """Return the row whose network a row of the Wrapper goes by."""
    return row.replace("wrapper", "mixste", 1)


def measure_all(
    estimates: Mapping[str, np.ndarray], windows: Windows, trained_with: str
) -> dict[str, Any]:
    """Return everything in `MEASURES`, over all windows and by movement.

    Parameters
    ----------
    estimates : dict of str to ndarray, shape (windows, frames, joints, 3)
        By pattern of missing joints, "none" being clean; metres relative to the hip.
    windows : Windows
    trained_with : str
        The pattern that the row was trained with.
    """
    true = windows.poses_m
    sources = np.array(windows.sources)

    def measured(chosen: np.ndarray) -> dict[str, float]:
        values: dict[str, float] = {}
        for pattern in ("none", *_PATTERNS):
            found = diffhpe.measure(estimates[pattern][chosen], true[chosen])
            ending = "" if pattern == "none" else f"_{pattern}"
            values |= {f"{name}{ending}": value for name, value in found.items()}
        others = [f"mpjpe_mm_{p}" for p in _PATTERNS if p != trained_with]
        values[MISMATCH] = float(np.mean([values[name] for name in others]))
        return values

    movements = [measured(sources == name) for name in dict.fromkeys(windows.sources)]
    return {
        "by_recording": {name: [one[name] for one in movements] for name in MEASURES},
        "whole": measured(np.ones(len(sources), bool)),
    }


def carry_out(job: Job[Recipe]) -> str:
    """Train and measure one row with one seed, unless that is done; see `ablations`."""
    return ablations.carry_out(job, _train_and_measure, _line)


def _train_and_measure(job: Job[Recipe]) -> dict[str, Any]:
    data = job.recipe.data
    train, validation, test = (
        camera_windows.load(data, split, mocap=job.data)
        for split in ("train", "validation", "test")
    )
    started_s = time.monotonic()
    network, fitted = diffhpe.fit_recipe(
        job.recipe,
        train,
        validation,
        job.directory,
        condition=_condition(job) if job.recipe.preset == "wrapper" else None,
        resume=job.was_begun,
        report=job.report,
    )
    seconds = time.monotonic() - started_s
    windows = fixed_windows(test, job.recipe.frames, data, most=TEST_WINDOWS)
    estimates = {}
    for pattern in ("none", *_PATTERNS):
        lifter = diffhpe.estimator(network, job.recipe.hypotheses, job.recipe.sampler)
        poses = lift(lifter, windows.keypoints(pattern))
        estimates[pattern] = poses.mean(0) if poses.ndim == 5 else poses
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(state, job.directory / "network.safetensors")
    return {
        **measure_all(estimates, windows, data.occlusion),
        "network": {"parameters": sum(p.numel() for p in network.parameters())},
        "training": {"minutes": seconds / 60, "best_step": fitted.step, **fitted.scores},
    }


def _condition(job: Job[Recipe]) -> MixSTE:
    path = job.out / condition_row(job.row) / str(job.seed) / "network.safetensors"
    if not path.exists():
        raise ValueError(f"{job.row} {job.seed} goes by {path}, which is not there")
    recipe = Recipe.load(ABLATIONS / f"{condition_row(job.row)}.yaml")
    network = diffhpe.build(recipe.network)
    assert isinstance(network, MixSTE)
    network.load_state_dict(safetensors.torch.load_file(path))
    return network


def _line(result: Mapping[str, Any]) -> str:
    whole = result["whole"]
    return (
        f"{result['row']} {result['seed']}: MPJPE {whole['mpjpe_mm']:.1f} mm, under other "
        f"patterns {whole[MISMATCH]:.1f} mm"
    )


def lines(table: Table, results: Results, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield the report, in Markdown."""
    yield "# DiffHPE, on simulated people and cameras that no row has seen\n"
    yield report.RULE
    yield from report.claim_lines(table, verdicts)
    others = {"parameters": report.parameters, "minutes": report.minutes}
    yield "\n## Clean windows, mm\n"
    yield from report.row_lines(table.rows, results, _CLEAN, others)
    yield "\n## MPJPE under patterns of missing joints, mm\n"
    names = (*(f"mpjpe_mm_{pattern}" for pattern in _PATTERNS), MISMATCH)
    yield from report.row_lines(table.rows, results, {n: MEASURES[n] for n in names}, {})
    yield f"\n{report.budget_line(results)} The Wrapper's MixSTE has had as many before."


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose reproduce diffhpe``."""
    add_mocap_argument(parser, dest="data")
    ablations.add_arguments(parser, "out/reproduce_diffhpe")


def reproduce(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose reproduce diffhpe``."""
    table = Table.load(ABLATIONS / "table.yaml", MEASURES)
    jobs = list(ablations.jobs_of(arguments, table, partial(_recipe_of, table=table)))
    if not arguments.report_only:
        wrappers = [job for job in jobs if job.recipe.preset == "wrapper"]
        # they want the networks that they go by
        ablations.run(carry_out, [job for job in jobs if job not in wrappers], arguments.jobs)
        ablations.run(carry_out, wrappers, arguments.jobs)
    results = ablations.results_of(arguments.out, table.rows, _budget)
    verdicts = table.judge(results)
    report.publish(arguments, table, results, verdicts, lines(table, results, verdicts))
    return 0


def _recipe_of(row: str, table: Table) -> Recipe:
    recipe = Recipe.load(ABLATIONS / f"{row}.yaml")
    if recipe.preset == "wrapper" and condition_row(row) not in table.rows:
        raise RecipeError(f"row {row} goes by {condition_row(row)}, which is no row")
    return recipe


def _budget(recipe: Mapping[str, Any]) -> list[Any]:
    data = {**recipe["data"], "occlusion": None, "occluded_ratio": None}
    return [data, recipe["batch"], recipe["loop"]["steps"]]
