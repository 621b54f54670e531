"""``radar-pose reproduce diffhpe``: the paper's comparisons, small enough for two cores.

Every row of ``recipes/diffhpe/ablations/table.yaml`` is trained with the same budget and several
seeds, and measured on the same windows of people and cameras that no row has seen: clean, and
under every pattern of missing joints. The claims are judged by a rule that was fixed before
(`claims`). What is done is kept: a run that was interrupted goes on, and rows that are there are
not trained again.

    OUT/<row>/<seed>/result.json            what was measured, and the recipe
    OUT/<row>/<seed>/network.safetensors    the weights; MixSTE's are the Wrapper's condition
    OUT/<row>/<seed>/curves.csv             training, validation
    OUT/report.md, .json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml

from radar_pose_ros import measurements
from radar_pose_ros.models.mixste import MixSTE
from radar_pose_ros.training import camera_windows, claims, diffhpe
from radar_pose_ros.training.camera_windows import OCCLUSIONS, Windows, fixed_windows, lift
from radar_pose_ros.training.claims import Verdict
from radar_pose_ros.training.diffhpe import RECIPES, Recipe, RecipeError

ABLATIONS = RECIPES / "ablations"
# All in millimetres, less is better. Each is measured on clean windows; with a pattern's name
# behind it, under that pattern.
MEASURES = {
    "mpjpe_mm": "MPJPE",
    "p_mpjpe_mm": "P-MPJPE",
    "symmetry_gap_mm": "symmetry gap",
    "segment_consistency_mm": "segment consistency",
}
# The mean over all patterns of missing joints that the row was not trained with.
MISMATCH = "mpjpe_mm_mismatch"
_PATTERNS = tuple(name for name in OCCLUSIONS if name not in ("none", "all"))
# Windows that are measured, evenly from all test movements.
TEST_WINDOWS = 240


@dataclass(frozen=True)
class Claim:
    """A published claim: weights of rows, positive for those that it says are better.

    Raises
    ------
    ValueError
        If there is no such measure, or the weights are no contrast.
    """

    name: str
    published: str
    contrast: Mapping[str, float]
    measure: str = "mpjpe_mm"

    def __post_init__(self) -> None:
        if self.measure not in measure_names():
            raise ValueError(f"claim {self.name}: there is no measure {self.measure!r}")
        _ = self.as_lengths()

    def as_lengths(self) -> claims.Claim:
        """Return the same of a measure that `claims` knows, of which less is better as well."""
        return claims.Claim(self.name, self.published, self.contrast, "error_px")


@dataclass(frozen=True)
class Table:
    """Rows and claims, as ``recipes/diffhpe/ablations/table.yaml`` lists them."""

    rows: Mapping[str, str]
    claims: tuple[Claim, ...]
    not_testable: tuple[Mapping[str, str], ...] = ()

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read a table; ``ValueError`` says what is wrong in it."""
        try:
            entries = yaml.safe_load(path.read_text())
            # YAML takes a name such as 2d for text, but 3 for a number
            rows = {str(name): what for name, what in entries["rows"].items()}
            found = tuple(Claim(**claim) for claim in entries["claims"])
            table = cls(rows, found, tuple(entries.get("not_testable", ())))
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
    """One training: a row with a seed."""

    row: str
    seed: int
    recipe: Recipe
    data: Path | None
    out: Path
    threads: int

    @property
    def directory(self) -> Path:
        """Where its results are."""
        return self.out / self.row / str(self.seed)


def measure_names() -> list[str]:
    """Return the names of everything that is measured."""
    occluded = [f"{measure}_{pattern}" for measure in MEASURES for pattern in _PATTERNS]
    return [*MEASURES, *occluded, MISMATCH]


def condition_row(row: str) -> str:
    """Return the row whose network a row of the Wrapper goes by."""
    return row.replace("wrapper", "mixste", 1)


def measure_all(
    estimates: Mapping[str, np.ndarray], windows: Windows, trained_with: str
) -> dict[str, Any]:
    """Return everything in `measure_names`, over all windows and by movement.

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
        "by_recording": {name: [one[name] for one in movements] for name in measure_names()},
        "whole": measured(np.ones(len(sources), bool)),
    }


def carry_out(job: Job) -> str:
    """Train and measure one row with one seed, unless that is done; returns a line of progress.

    Raises
    ------
    ValueError
        If results that are there were made by another recipe, or a Wrapper's MixSTE is missing.
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
    network, fitted = diffhpe.fit_recipe(
        job.recipe,
        camera_windows.load(data, "train", job.data),
        camera_windows.load(data, "validation", job.data),
        job.directory,
        condition=_condition(job) if job.recipe.preset == "wrapper" else None,
        resume=(job.directory / "last.pt").exists(),
        report=lambda line: print(f"{job.row} {job.seed}: {line}", flush=True),
    )
    seconds = time.monotonic() - started_s
    test = camera_windows.load(data, "test", job.data)
    windows = fixed_windows(test, job.recipe.frames, data, most=TEST_WINDOWS)
    estimates = {}
    for pattern in ("none", *_PATTERNS):
        lifter = diffhpe.estimator(network, job.recipe.hypotheses, job.recipe.sampler)
        poses = lift(lifter, windows.keypoints(pattern))
        estimates[pattern] = poses.mean(0) if poses.ndim == 5 else poses
    result = {
        "row": job.row,
        "seed": job.seed,
        **measure_all(estimates, windows, data.occlusion),
        "network": {"parameters": sum(p.numel() for p in network.parameters())},
        "training": {"minutes": seconds / 60, "best_step": fitted.step, **fitted.scores},
        "machine": measurements.machine(),
        "recipe": settings,
    }
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(state, job.directory / "network.safetensors")
    measurements.write_json(path, result)
    (job.directory / "last.pt").unlink()
    return _line(result)


def _condition(job: Job) -> MixSTE:
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


def results_of(directory: Path, rows: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Read what is there, by row; seeds rising.

    Raises
    ------
    ValueError
        If trainings had different movements or budgets: they cannot be compared.
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
    data = {**recipe["data"], "occlusion": None, "occluded_ratio": None}
    return [data, recipe["batch"], recipe["loop"]["steps"]]


def judge(claim: Claim, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> Verdict:
    """Compare a claim with results, by the rule of `claims`."""
    renamed = {
        row: [
            {"seed": one["seed"], "by_recording": {"error_px": one["by_recording"][claim.measure]}}
            for one in found
        ]
        for row, found in results.items()
    }
    return claims.judge(claim.as_lengths(), renamed)


def report(
    table: Table,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    verdicts: Sequence[Verdict],
) -> str:
    """Return the report, in Markdown."""
    some = next((found[0] for found in results.values() if found), None)
    lines = ["# DiffHPE, on simulated people and cameras that no row has seen\n"]
    if some is not None:
        movements = len(some["by_recording"][MISMATCH])
        lines.append(
            f"{some['recipe']['loop']['steps']} steps of {some['recipe']['batch']} windows for "
            "each training (the Wrapper's MixSTE has had as many before), windows of "
            f"{movements} test movements. Mean ± standard deviation over seeds, in mm. A claim "
            "is *reproduced in direction* if the difference is above 0 by more than chance over "
            f"seeds and over movements (Student's t, one-sided, {claims.CONFIDENCE:.0%}; "
            "*needed* is the larger of the two margins)."
        )
    lines += ["\n## Claims\n", "| claim | published | difference, mm | needed | outcome |"]
    lines.append("|---" * 5 + "|")
    for claim, verdict in zip(table.claims, verdicts, strict=True):
        measured = "" if np.isnan(verdict.difference) else f"{verdict.difference:+.2f}"
        needed = "" if np.isnan(verdict.margins).any() else f"> {max(verdict.margins):.2f}"
        outcome = f"**{verdict.outcome}**" + (f": {verdict.remark}" if verdict.remark else "")
        lines.append(f"| {claim.name} | {claim.published} | {measured} | {needed} | {outcome} |")
    for item in table.not_testable:
        lines.append(f"| | {item['published']} | | | **not testable here**: {item['why']} |")
    lines += ["\n## Clean windows\n", *_row_lines(table, results, MEASURES)]
    titles = {f"mpjpe_mm_{p}": p.replace("_", " ") for p in _PATTERNS}
    titles[MISMATCH] = "all but the one trained with"
    lines += ["\n## MPJPE under patterns of missing joints\n"]
    lines += _row_lines(table, results, titles)
    return "\n".join(lines) + "\n"


def _row_lines(
    table: Table, results: Mapping[str, Sequence[Mapping[str, Any]]], titles: Mapping[str, str]
) -> Iterator[str]:
    yield "| row | seeds | parameters | " + " | ".join(titles.values()) + " |"
    yield "|---" * (len(titles) + 3) + "|"
    for row, what in table.rows.items():
        found = results.get(row, ())
        if not found:
            yield f"| `{row}`: {what} | 0 |" + " |" * (len(titles) + 1)
            continue
        cells = [f"`{row}`: {what}", str(len(found)), f"{found[0]['network']['parameters']:,}"]
        for name in titles:
            values = [one["whole"][name] for one in found]
            spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread}")
        yield "| " + " | ".join(cells) + " |"


def rows_of(
    table: Table,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    verdicts: Sequence[Verdict],
) -> list[dict[str, Any]]:
    """Return means over seeds by row, and by claim 1 if reproduced, 0 if not, else NaN."""
    found = [
        measurements.result(
            f"reproduce.{row}.{name}", float(np.mean([one["whole"][name] for one in seeds])), "mm"
        )
        for row, seeds in results.items()
        if seeds
        for name in measure_names()
    ]
    outcomes = {"reproduced in direction": 1.0, "not reproduced": 0.0}
    for claim, verdict in zip(table.claims, verdicts, strict=True):
        name = f"reproduce.claim.{claim.name.replace(' ', '_').replace(',', '')}"
        found += [
            measurements.result(f"{name}.reproduced", outcomes.get(verdict.outcome, np.nan)),
            measurements.result(f"{name}.difference", verdict.difference, "mm", 0.0),
        ]
    return found


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose reproduce diffhpe``."""
    parser.add_argument(
        "--data", type=Path, help="cmu_60hz.npz, which is added to simulated people"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/reproduce_diffhpe"), help="results, report"
    )
    parser.add_argument(
        "--rows", metavar="NAME,...", help="only these rows (default: all of the table)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="of each row (default 3)")
    parser.add_argument("--steps", type=int, help="of each training (default: the recipe's)")
    cores = measurements.cores_available()
    parser.add_argument("--jobs", type=int, default=cores, help="trainings at the same time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each (default 1)")
    parser.add_argument(
        "--report-only", action="store_true", help="train nothing, report on what is there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")


def reproduce(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose reproduce diffhpe``."""
    table = Table.load(ABLATIONS / "table.yaml")
    jobs = list(_jobs(arguments, table))
    if not arguments.report_only:
        for line in _carry_out_all(jobs, arguments.jobs):
            print(line, flush=True)
    results = results_of(arguments.out, list(table.rows))
    verdicts = [judge(claim, results) for claim in table.claims]
    text = report(table, results, verdicts)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "report.md").write_text(text, encoding="utf-8")
    rows = rows_of(table, results, verdicts)
    measurements.write_results(arguments.out / "report.json", rows)
    print(text)
    if arguments.json:
        measurements.write_results(arguments.json, rows)
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
            recipe = replace(recipe, loop=loop)
            if recipe.preset == "wrapper" and condition_row(row) not in table.rows:
                raise RecipeError(f"row {row} goes by {condition_row(row)}, which is no row")
            yield Job(row, seed, recipe, arguments.data, arguments.out, arguments.threads)


def _carry_out_all(jobs: Sequence[Job], at_once: int) -> Iterator[str]:
    """Carry out jobs; Wrappers when all networks that they go by are there."""
    wrappers = [job for job in jobs if job.recipe.preset == "wrapper"]
    for phase in ([job for job in jobs if job not in wrappers], wrappers):
        if at_once == 1:
            yield from map(carry_out, phase)
        elif phase:
            with multiprocessing.get_context("spawn").Pool(at_once) as pool:
                yield from pool.imap_unordered(carry_out, phase)
