"""``radar-pose reproduce mixsynthformer``: the paper's tables, small enough for two cores.

Every row of ``recipes/mixsynthformer/ablations/table.yaml`` is trained with the same budget and
several seeds (`ablations`), and measured on the same movements with the same errors of a detector:
those of recorded people whom no network has seen. The claims are judged by a rule that was fixed
before (`claims`).

    OUT/report.md, .json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros.models import deciwatch, mixsynthformer
from radar_pose_ros.models.deciwatch import DeciWatchConfig
from radar_pose_ros.models.mixsynthformer import MixSynthFormerConfig
from radar_pose_ros.training import ablations, report
from radar_pose_ros.training import mixsynthformer as training
from radar_pose_ros.training.claims import Measure, Results, Table, Verdict
from radar_pose_ros.training.mixsynthformer import BASELINES, HORIZONS_S, RECIPES, Recipe
from radar_pose_ros.training.pose_tracks import refine_sequence
from radar_pose_ros.training.recipe import count

TABLE = RECIPES / "ablations" / "table.yaml"
_TENTH = {
    "mpjpe_mm": Measure("MPJPE, mm", style="{:.2f}"),
    "p_mpjpe_mm": Measure("P-MPJPE, mm", style="{:.2f}"),
    "accel_mm": Measure("Accel, mm per frame²", "mm per frame²", style="{:.2f}"),
}
_AHEAD = {
    f"mpjpe_mm_{round(1e3 * s)}": Measure(f"{round(1e3 * s)} ms, mm", style="{:.2f}")
    for s in HORIZONS_S
}
MEASURES = {**_TENTH, **_AHEAD}
PREDICTIONS = ("zero_velocity", "constant_velocity")
# People to measure on if there are no recorded ones.
_SIMULATED_TEST = 24


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Parameters
    ----------
    what : str
    method : str
        An interpolation or extrapolation; empty for a network.
    recipe : str
        The recipe that is followed.
    preset : str
        Another preset than the recipe's; empty for that.
    model : dict
        What is to be other than in the preset.
    """

    what: str
    method: str = ""
    recipe: str = "mocap_3d"
    preset: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method and self.method not in (*BASELINES, *PREDICTIONS):
            raise ValueError(f"{self.what}: there is no method {self.method!r}")

    def __str__(self) -> str:
        return self.what

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Row:
        """Return the row of an entry of the table."""
        return cls(**entries)

    def of_recipe(self) -> Recipe:
        """Return what the row is trained by, or measured with."""
        recipe = Recipe.load(RECIPES / f"{self.recipe}.yaml")
        return replace(recipe, preset=self.preset or recipe.preset, model=self.model)


Job = ablations.MethodJob[Recipe]


def carry_out(job: Job) -> str:
    """Train and measure one row with one seed, unless that is done; see `ablations`.

    Raises
    ------
    ValueError
        If there is nothing to measure on.
    """
    return ablations.carry_out(job, _train_and_measure, _line)


def _train_and_measure(job: Job) -> dict[str, Any]:
    config = job.recipe.network
    network, minutes, best_step = None, 0.0, 0
    if not job.method:
        started_s = time.monotonic()
        network, fitted = training.fit_recipe(
            job.recipe,
            training.tracks_of(job.recipe, "train", mocap=job.data),
            training.tracks_of(job.recipe, "validation", mocap=job.data),
            job.directory,
            resume=job.was_begun,
            report=job.report,
        )
        minutes, best_step = (time.monotonic() - started_s) / 60, fitted.step
    tracks = training.tracks_of(job.recipe, "test", mocap=job.data)
    if isinstance(config, MixSynthFormerConfig) and job.recipe.objective == "future":
        measured = training.measure_prediction(
            tracks, config, job.recipe.data, network or job.method
        )
    else:
        found = training.cases(tracks, config.interval, job.recipe.data)
        if network is not None:
            model = network
            measured = training.measure_all(
                found, lambda case: refine_sequence(model, case.keyframes)
            )
        else:
            method = partial(
                training.estimate_by_method, interval=config.interval, method=job.method
            )
            measured = training.measure_all(found, method)
    if not measured or not next(iter(measured.values())):
        raise ValueError(f"{job.row}: there is no movement to measure on")
    return {
        "by_recording": measured,
        "whole": {name: float(np.mean(values)) for name, values in measured.items()},
        "network": _size(config) if network is not None else {},
        "training": {"minutes": minutes, "best_step": best_step},
    }


def _size(config: MixSynthFormerConfig | DeciWatchConfig) -> dict[str, float]:
    """Return parameters, and thousands of multiplications per frame."""
    if isinstance(config, DeciWatchConfig):
        work = deciwatch.multiply_accumulates(config)
    else:
        work = mixsynthformer.multiply_accumulates(config)
    network = training.build(config)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "linear_kmacs": work["linear"] / config.frames / 1e3,
        "kmacs": work["total"] / config.frames / 1e3,
    }


def _line(result: Mapping[str, Any]) -> str:
    values = (f"{name} {value:.1f}" for name, value in result["whole"].items())
    return f"{result['row']} {result['seed']}: {', '.join(values)}"


def lines(table: Table, results: Results, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield the report, in Markdown."""
    yield "# MixSynthFormer, beside interpolation and DeciWatch's design\n"
    yield report.RULE
    yield from report.claim_lines(table, verdicts)
    others: dict[str, report.Column] = {
        "parameters": report.parameters,
        "k MACs per frame": _kmacs,
        "minutes": report.minutes,
    }
    for title, measures in (("A tenth of the frames", _TENTH), ("Motion prediction", _AHEAD)):
        measured = {
            row: what
            for row, what in table.rows.items()
            if any(set(measures) <= set(result["whole"]) for result in results[row])
        }
        if measured:
            yield f"\n## {title}\n"
            yield from report.row_lines(measured, results, measures, others)
    yield f"\n{report.budget_line(results)}"


def _kmacs(found: Sequence[Mapping[str, Any]]) -> str:
    return f"{found[0]['network']['kmacs']:.0f}" if found[0]["network"] else ""


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose reproduce mixsynthformer``."""
    parser.add_argument(
        "--mocap",
        dest="data",
        type=Path,
        metavar="FILE",
        help="recorded movements, cmu_60hz.npz (default: simulated people are measured on)",
    )
    parser.add_argument("--people", type=count, help="simulated people to train on")
    ablations.add_arguments(parser, "out/reproduce_mixsynthformer")


def reproduce(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose reproduce mixsynthformer``."""
    table = Table.load(TABLE, MEASURES, Row.of)
    recipe_of = partial(_recipe_of, table=table, arguments=arguments)
    jobs = list(ablations.method_jobs_of(arguments, table, recipe_of))
    if not arguments.report_only:
        ablations.run(carry_out, jobs, arguments.jobs)
    results = ablations.results_of(arguments.out, table.rows, _budget)
    verdicts = table.judge(results)
    report.publish(arguments, table, results, verdicts, lines(table, results, verdicts))
    return 0


def _recipe_of(row: str, table: Table, arguments: argparse.Namespace) -> Recipe:
    recipe = table.rows[row].of_recipe()
    steps = arguments.steps or recipe.loop.steps
    loop = replace(
        recipe.loop,
        warmup_steps=min(recipe.loop.warmup_steps, steps),
        validate_every=min(recipe.loop.validate_every, steps),
    )
    simulated = dict(recipe.data.simulated)
    if arguments.people:
        simulated["train"] = arguments.people
    if not arguments.data:
        simulated["test"] = _SIMULATED_TEST
    return replace(recipe, loop=loop, data=replace(recipe.data, simulated=simulated))


def _budget(recipe: Mapping[str, Any]) -> list[Any]:
    loop = {**recipe["loop"], "seed": None}
    return [recipe["data"], recipe["mocap"], recipe["batch"], loop]
