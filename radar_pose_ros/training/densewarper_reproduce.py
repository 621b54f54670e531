"""``radar-pose reproduce densewarper``: what fusion and warper are worth, for two cores.

The rows of ``recipes/densewarper/ablations/table.yaml`` that train something are trained with the
same budget and several seeds (`ablations`). All are measured on the same windows of people and
rigs that no row has seen, with several intervals between the shots of a camera. The claims are
judged by a rule that was fixed before (`claims`).

    OUT/<row>/<seed>/network.safetensors    the weights
    OUT/report.md, .json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import safetensors.torch

from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.models.densewarper import (
    DenseWarper,
    DenseWarperConfig,
    multiply_accumulates,
)
from radar_pose_ros.training import ablations, densewarper, multiview_windows, report
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.claims import Measure, Results, Table, Verdict
from radar_pose_ros.training.densewarper import INTERVALS_S, RECIPES, Recipe, Seen
from radar_pose_ros.training.multiview_windows import (
    RigData,
    RigWindow,
    errors_mm,
    fixed_windows,
    together,
)
from radar_pose_ros.training.recipe import add_mocap_argument
from radar_pose_ros.vision.alignment import HELD

ABLATIONS = RECIPES / "ablations"
MEASURES = {
    "mpjpe_mm": Measure("all intervals"),
    **{f"mpjpe_mm_{round(1e3 * s)}": Measure(f"{round(1e3 * s)} ms") for s in INTERVALS_S},
    "from_together_mm": Measure("all, from all views at once"),
}
# Of each test movement, for each interval.
WINDOWS = 10
_SHORTEST_S = 1.0  # of recorded movements that are measured on


def _fused(windows: Sequence[RigWindow], network: DenseWarperConfig) -> list[Seen]:
    """Take the fused heatmaps of what each view saw last as they are."""
    held = replace(network, **asdict(HELD))
    return densewarper.moved(lambda own, fused, slot, dt_s: fused, held, windows)


# What trains nothing: from windows, and the network of the other rows, to keypoints.
METHODS: dict[str, Callable[[Sequence[RigWindow], DenseWarperConfig], list[Seen]]] = {
    "hold_last": lambda windows, _: densewarper.hold_last(windows),
    "linear": lambda windows, _: densewarper.linear(windows),
    "unmoved": densewarper.unmoved,
    "fusion": _fused,
    "together": lambda windows, _: together(windows),
}


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Parameters
    ----------
    what : str
    method : str
        One of `METHODS`; empty for a network.
    model, data : dict
        What is to be other than in the preset, and in what is learnt from.
    """

    what: str
    method: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method and self.method not in METHODS:
            raise ValueError(f"{self.what}: there is no method {self.method!r}")

    def __str__(self) -> str:
        return self.what

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Row:
        """Return the row of an entry of the table."""
        return cls(**entries)


Job = ablations.MethodJob[Recipe]


def carry_out(job: Job) -> str:
    """Train and measure one row with one seed, unless that is done; see `ablations`."""
    return ablations.carry_out(job, _train_and_measure, _line)


def measure_all(
    test: Sequence[PoseSequence],
    data: RigData,
    method: Callable[[Sequence[RigWindow]], list[Seen]],
) -> dict[str, Any]:
    """Return everything in `MEASURES`, over all windows and by movement.

    Parameters
    ----------
    test : sequence of PoseSequence
        One for each recording, each longer than two of the longest `INTERVALS_S`.
    data : RigData
        But for the intervals.
    method : callable
        From windows to the keypoints of each.
    """
    found: dict[str, list[list[float]]] = {"mpjpe_mm": [], "from_together_mm": []}
    for interval_s in INTERVALS_S:
        some = replace(data, interval_s=(interval_s, interval_s))
        windows = [  # each movement by itself, so that it has as many as the others
            window
            for number, one in enumerate(test)
            for window in fixed_windows([one], replace(some, seed=number), WINDOWS)
        ]
        seen = method(windows)
        for name, right in (("mpjpe_mm", None), ("from_together_mm", together(windows))):
            errors = errors_mm(windows, seen, right).reshape(len(test), -1)
            found[name].append(np.nanmean(errors, axis=1).tolist())
    by_recording = {name: np.mean(values, axis=0).tolist() for name, values in found.items()}
    for interval_s, values in zip(INTERVALS_S, found["mpjpe_mm"], strict=True):
        by_recording[f"mpjpe_mm_{round(1e3 * interval_s)}"] = values
    return {
        "by_recording": by_recording,
        "whole": {name: float(np.mean(values)) for name, values in by_recording.items()},
    }


def _train_and_measure(job: Job) -> dict[str, Any]:
    data, shown = job.recipe.data, job.recipe.network
    test = multiview_windows.load(data, "test", job.data)
    test = [one for one in test if one.duration_s >= _SHORTEST_S]
    if job.method:
        found = measure_all(test, data, lambda windows: METHODS[job.method](windows, shown))
        return {**found, "network": {}, "training": {"minutes": 0.0, "best_step": 0}}
    train, validation = (
        multiview_windows.load(data, split, job.data) for split in ("train", "validation")
    )
    started_s = time.monotonic()
    network, fitted = densewarper.fit_recipe(
        job.recipe,
        train,
        validation,
        job.directory,
        resume=job.was_begun,
        report=job.report,
    )
    seconds = time.monotonic() - started_s
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(state, job.directory / "network.safetensors")
    return {
        **measure_all(test, data, partial(densewarper.moved_by, network)),
        "network": _size(network),
        "training": {"minutes": seconds / 60, "best_step": fitted.step, **fitted.scores},
    }


def _size(network: DenseWarper) -> dict[str, float]:
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "mmacs_per_pair": multiply_accumulates(network.config)["total"] / 1e6,
    }


def _line(result: Mapping[str, Any]) -> str:
    values = (f"{name} {value:.1f}" for name, value in result["whole"].items())
    return f"{result['row']} {result['seed']}: {', '.join(values)}"


def lines(table: Table, results: Results, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield the report, in Markdown."""
    yield "# DenseWarper, on simulated people and rigs that no row has seen\n"
    yield report.RULE
    yield from report.claim_lines(table, verdicts)
    others = {"parameters": report.parameters, "minutes": report.minutes}
    yield "\n## MPJPE at the newest shot's instant, by the interval of a camera's shots, mm\n"
    yield from report.row_lines(table.rows, results, MEASURES, others)
    yield f"\n{report.budget_line(results)}"


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose reproduce densewarper``."""
    add_mocap_argument(parser, dest="data")
    ablations.add_arguments(parser, "out/reproduce_densewarper")


def reproduce(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose reproduce densewarper``."""
    table = Table.load(ABLATIONS / "table.yaml", MEASURES, Row.of)
    recipe_of = partial(_recipe_of, table=table)
    jobs = list(ablations.method_jobs_of(arguments, table, recipe_of))
    if not arguments.report_only:
        ablations.run(carry_out, jobs, arguments.jobs)
    results = ablations.results_of(arguments.out, table.rows, _budget)
    verdicts = table.judge(results)
    report.publish(arguments, table, results, verdicts, lines(table, results, verdicts))
    return 0


def _recipe_of(row: str, table: Table) -> Recipe:
    recipe = Recipe.load(ABLATIONS / "base.yaml")
    change = table.rows[row]
    data = recipes.changed(recipe.data, change.data)
    return replace(recipe, model={**recipe.model, **change.model}, data=data)


def _budget(recipe: Mapping[str, Any]) -> list[Any]:
    data = {**recipe["data"], "learn_truth": None}
    return [data, recipe["mocap"], recipe["batch"], {**recipe["loop"], "seed": None}]
