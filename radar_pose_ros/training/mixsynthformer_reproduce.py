"""``radar-pose reproduce mixsynthformer``: the paper's tables, small enough for two cores.

Every row of ``recipes/mixsynthformer/ablations/table.yaml`` is trained with the same budget and
several seeds, and measured on the same movements with the same errors of a detector: those of
recorded people whom no network has seen. The claims are judged by a rule that was fixed before
(`claims`). What is done is kept: a run that was interrupted goes on, and rows that are there are
not trained again.

    OUT/<row>/<seed>/result.json    what was measured, and the recipe
    OUT/<row>/<seed>/curves.csv     training, validation
    OUT/report.md, report.json
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from radar_pose_ros import measurements
from radar_pose_ros.models import deciwatch, mixsynthformer
from radar_pose_ros.models.deciwatch import DeciWatchConfig
from radar_pose_ros.models.mixsynthformer import MixSynthFormerConfig
from radar_pose_ros.training import mixsynthformer as training
from radar_pose_ros.training.claims import Verdict, margin
from radar_pose_ros.training.millimamba import count
from radar_pose_ros.training.mixsynthformer import BASELINES, HORIZONS_S, RECIPES, Recipe
from radar_pose_ros.training.pose_tracks import refine_sequence

TABLE = RECIPES / "ablations" / "table.yaml"
# Less is better of all of them.
MEASURES = {
    "mpjpe_mm": "MPJPE, mm",
    "p_mpjpe_mm": "P-MPJPE, mm",
    "accel_mm": "Accel, mm per frame²",
    **{f"mpjpe_mm_{round(1e3 * s)}": f"{round(1e3 * s)} ms, mm" for s in HORIZONS_S},
}
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

    def of_recipe(self) -> Recipe:
        """Return what the row is trained by, or measured with."""
        recipe = Recipe.load(RECIPES / f"{self.recipe}.yaml")
        return replace(recipe, preset=self.preset or recipe.preset, model=self.model)


@dataclass(frozen=True)
class Claim:
    """A published claim: weights of rows, positive for those that it says are better."""

    name: str
    published: str
    contrast: Mapping[str, float]
    measure: str = "mpjpe_mm"

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ValueError(f"claim {self.name}: there is no measure {self.measure!r}")
        weights = list(self.contrast.values())
        if not weights or max(weights) <= 0 or not math.isclose(sum(weights), 0, abs_tol=1e-9):
            raise ValueError(f"claim {self.name}: the contrast's weights must sum to 0")


@dataclass(frozen=True)
class Table:
    """Rows and claims, as ``recipes/mixsynthformer/ablations/table.yaml`` lists them."""

    rows: Mapping[str, Row]
    claims: tuple[Claim, ...]
    not_testable: tuple[Mapping[str, str], ...]

    @classmethod
    def load(cls, path: Path = TABLE) -> Table:
        """Read a table; ``ValueError`` says what is wrong in it."""
        try:
            entries = yaml.safe_load(path.read_text())
            table = cls(
                {name: Row(**row) for name, row in entries["rows"].items()},
                tuple(Claim(**claim) for claim in entries["claims"]),
                tuple(entries["not_testable"]),
            )
        except KeyError as error:
            raise ValueError(f"{path}: there is no entry {error}") from error
        except (TypeError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: {error}") from error
        for claim in table.claims:
            unknown = set(claim.contrast) - set(table.rows)
            if unknown:
                raise ValueError(f"{path}: claim {claim.name} names no row {min(unknown)!r}")
        return table


@dataclass(frozen=True)
class Job:
    """One row with one seed."""

    name: str
    row: Row
    recipe: Recipe
    mocap: Path | None
    directory: Path
    threads: int


def carry_out(job: Job) -> str:
    """Train and measure one row with one seed, unless that is done; returns a line of progress.

    Raises
    ------
    ValueError
        If results that are there were made by another recipe, or there is nothing to measure on.
    """
    path = job.directory / "result.json"
    settings = json.loads(json.dumps(asdict(job.recipe)))
    settings["mocap"] = job.mocap.name if job.mocap else ""
    if path.exists():
        result = json.loads(path.read_text())
        if result["recipe"] != settings:
            raise ValueError(
                f"{path} was made by another recipe: name another folder, or remove this one"
            )
        return _line(result) + " (kept)"
    torch.set_num_threads(job.threads)
    config = job.recipe.network
    network, minutes, best_step = None, 0.0, 0
    if not job.row.method:
        started_s = time.monotonic()
        network, fitted = training.fit_recipe(
            job.recipe,
            training.tracks_of(job.recipe, "train", mocap=job.mocap),
            training.tracks_of(job.recipe, "validation", mocap=job.mocap),
            job.directory,
            resume=(job.directory / "last.pt").exists(),
            report=lambda line: print(f"{job.name} {job.recipe.loop.seed}: {line}", flush=True),
        )
        minutes, best_step = (time.monotonic() - started_s) / 60, fitted.step
    tracks = training.tracks_of(job.recipe, "test", mocap=job.mocap)
    if isinstance(config, MixSynthFormerConfig) and job.recipe.objective == "future":
        measured = training.measure_prediction(
            tracks, config, job.recipe.data, network or job.row.method
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
                training.estimate_by_method, interval=config.interval, method=job.row.method
            )
            measured = training.measure_all(found, method)
    if not measured or not next(iter(measured.values())):
        raise ValueError(f"{job.name}: there is no movement to measure on")
    result = {
        "row": job.name,
        "seed": job.recipe.loop.seed,
        "by_recording": measured,
        "whole": {name: float(np.mean(values)) for name, values in measured.items()},
        "network": _size(config) if network is not None else {},
        "training": {"minutes": minutes, "best_step": best_step},
        "machine": measurements.machine(),
        "recipe": settings,
    }
    measurements.write_json(path, result)
    (job.directory / "last.pt").unlink(missing_ok=True)
    return _line(result)


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


def results_in(directory: Path, rows: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Read what is there, by row; seeds rising.

    Raises
    ------
    ValueError
        If rows that are compared had different data or budgets.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    budgets: dict[str, tuple[list[Any], str]] = {}
    for row in rows:
        paths = sorted(directory.glob(f"{row}/*/result.json"), key=lambda p: int(p.parent.name))
        results[row] = [json.loads(path.read_text()) for path in paths]
        for result in results[row]:
            recipe = result["recipe"]
            budget = [recipe["data"], recipe["mocap"], recipe["batch"]]
            budget.append({**recipe["loop"], "seed": None})
            first, name = budgets.setdefault(recipe["objective"], (budget, row))
            if budget != first:
                raise ValueError(
                    f"{directory}: {row} had other data or another budget than {name}: name "
                    "another folder, or remove one of them"
                )
    return results


def judge(claim: Claim, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> Verdict:
    """Compare a claim with results, by the rule of `claims`.

    Rows that train nothing have one result; it counts for every seed of the others.
    """
    taken = {row: results.get(row, ()) for row in claim.contrast}
    if not all(taken.values()):
        return Verdict("not measured yet", "a row has no results")
    trained = [
        {result["seed"] for result in found} for found in taken.values() if found[0]["network"]
    ]
    seeds = sorted(set.intersection(*trained)) if trained else [0]
    positive = sum(weight for weight in claim.contrast.values() if weight > 0)
    values = np.zeros(())
    for row, weight in claim.contrast.items():
        of_seed = {r["seed"]: r["by_recording"][claim.measure] for r in taken[row]}
        fixed = next(iter(of_seed.values())) if not taken[row][0]["network"] else None
        rows = np.array([fixed or of_seed[seed] for seed in seeds], float)  # (seeds, recordings)
        values = values - weight / positive * rows
    if not seeds:
        return Verdict("not measured yet", "rows have no seed in common")
    difference = float(values.mean())
    margins = (margin(values.mean(1)), margin(values.mean(0)))
    if math.isnan(sum(margins)):
        return Verdict("not measured yet", "one seed or recording is not enough", difference)
    if difference > max(margins):
        return Verdict("reproduced in direction", "", difference, margins)
    remark = "opposite" if -difference > max(margins) else "not clear"
    return Verdict("not reproduced", remark, difference, margins)


def report(
    table: Table,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    verdicts: Sequence[Verdict],
) -> str:
    """Return the report, in Markdown."""
    measured = [result for found in results.values() for result in found]
    recordings = max(
        (len(next(iter(result["by_recording"].values()))) for result in measured), default=0
    )
    lines = [
        "# MixSynthFormer: what was reproduced",
        "",
        f"Mean over {recordings} movements and over seeds, ± the standard deviation over seeds.",
    ]
    for title, names in (
        ("A tenth of the frames", [n for n in MEASURES if n[-1] == "m"]),
        ("Motion prediction", [n for n in MEASURES if n[-1] != "m"]),
    ):
        rows = [row for row in table.rows if any(names[0] in r["whole"] for r in results[row])]
        if not rows:
            continue
        heads = ["", "seeds", "parameters", "k MACs per frame", *(MEASURES[n] for n in names)]
        lines += ["", f"## {title}", "", "| " + " | ".join(heads) + " |"]
        lines.append("|" + "---|" * len(heads))
        for row in rows:
            found = results[row]
            size = found[0]["network"]
            cells = [table.rows[row].what, str(len(found)) if size else ""]
            cells += [f"{size['parameters']:,}", f"{size['kmacs']:.0f}"] if size else ["", ""]
            cells += [_spread([result["whole"][name] for result in found]) for name in names]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## Claims", "", "| claim | published | here | difference | margins |"]
    lines.append("|---|---|---|---|---|")
    for claim, verdict in zip(table.claims, verdicts, strict=True):
        outcome = verdict.outcome + (f": {verdict.remark}" if verdict.remark else "")
        margins = ", ".join(f"{m:.2f}" for m in verdict.margins)
        lines.append(
            f"| {claim.name} | {claim.published} | {outcome} | "
            f"{verdict.difference:.2f} {MEASURES[claim.measure].split(', ')[1]} | {margins} |"
        )
    lines += ["", "Margins: over seeds, over movements; positive differences are in the claim's"]
    lines += ["direction.", "", "## Not testable here", ""]
    lines += [f"* {entry['published']}: {entry['why'].strip()}" for entry in table.not_testable]
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def rows_of(
    table: Table,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    verdicts: Sequence[Verdict],
) -> list[dict[str, Any]]:
    """Return rows of results, as ``--json`` writes them."""
    rows = [
        measurements.result(
            f"{row}.{name}",
            float(np.mean([result["whole"][name] for result in found])),
            "mm",
            against=f"{len(found)} seeds" if found[0]["network"] else None,
        )
        for row, found in results.items()
        if found
        for name in found[0]["whole"]
    ]
    rows += [
        measurements.result(
            f"claim: {claim.name}", verdict.difference, "mm", against=verdict.outcome
        )
        for claim, verdict in zip(table.claims, verdicts, strict=True)
    ]
    return rows


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose reproduce mixsynthformer``."""
    parser.add_argument(
        "--mocap",
        type=Path,
        metavar="FILE",
        help="recorded movements, cmu_60hz.npz (default: simulated people are measured on)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/reproduce_mixsynthformer"), help="results, report"
    )
    parser.add_argument(
        "--rows", metavar="NAME,...", help="only these rows (default: all of the table)"
    )
    parser.add_argument("--seeds", type=count, default=3, help="of each row (default 3)")
    parser.add_argument(
        "--steps", type=count, help="of each training (default: the recipe's, 2000)"
    )
    parser.add_argument("--people", type=count, help="simulated people to train on")
    parser.add_argument(
        "--jobs",
        type=count,
        default=measurements.cores_available(),
        help="trainings at the same time",
    )
    parser.add_argument("--threads", type=count, default=1, help="threads of each (default 1)")
    parser.add_argument(
        "--report-only", action="store_true", help="train nothing, report on what is there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")


def reproduce(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose reproduce mixsynthformer``."""
    table = Table.load()
    jobs = list(_jobs(arguments, table))
    if not arguments.report_only:
        for line in _carry_out_all(jobs, arguments.jobs):
            print(line, flush=True)
    results = results_in(arguments.out, list(table.rows))
    verdicts = [judge(claim, results) for claim in table.claims]
    text = report(table, results, verdicts)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "report.md").write_text(text)
    rows = rows_of(table, results, verdicts)
    measurements.write_results(arguments.out / "report.json", rows)
    print(text)
    if arguments.json:
        measurements.write_results(arguments.json, rows)
    return 0


def _jobs(arguments: argparse.Namespace, table: Table) -> Iterator[Job]:
    names = arguments.rows.split(",") if arguments.rows else list(table.rows)
    for name in names:
        if name not in table.rows:
            raise ValueError(f"--rows: {name!r} is none of {', '.join(table.rows)}")
    for seed in range(arguments.seeds):
        for name in names:
            row = table.rows[name]
            if row.method and seed:
                continue
            recipe = row.of_recipe()
            steps = arguments.steps or recipe.loop.steps
            loop = replace(
                recipe.loop,
                seed=seed,
                steps=steps,
                warmup_steps=min(recipe.loop.warmup_steps, steps),
                validate_every=min(recipe.loop.validate_every, steps),
            )
            simulated = dict(recipe.data.simulated)
            if arguments.people:
                simulated["train"] = arguments.people
            if not arguments.mocap:
                simulated["test"] = _SIMULATED_TEST
            data = replace(recipe.data, simulated=simulated)
            yield Job(
                name,
                row,
                replace(recipe, loop=loop, data=data),
                arguments.mocap,
                arguments.out / name / str(seed),
                arguments.threads,
            )


def _carry_out_all(jobs: Sequence[Job], at_once: int) -> Iterator[str]:
    """All rows of a seed before the next seed: early on there is a whole table, of one seed."""
    if at_once == 1:
        yield from map(carry_out, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(at_once) as pool:
        yield from pool.imap_unordered(carry_out, jobs)
