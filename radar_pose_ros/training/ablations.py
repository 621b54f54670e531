"""What ``radar-pose reproduce`` does for every network: rows of a table, trained and measured.

Every row is trained with the same budget from several seeds. What is done is kept: a run that was
interrupted goes on, and rows that are there are not trained again.

    OUT/<row>/<seed>/result.json    what was measured, and the recipe
    OUT/<row>/<seed>/curves.csv     training, validation

How a row is trained and measured is each network's affair.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from radar_pose_ros import measurements
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.claims import Table
from radar_pose_ros.training.recipe import count

R = TypeVar("R", bound=recipes.Recipe)


@dataclass(frozen=True)
class Job(Generic[R]):
    """One row with one seed.

    Parameters
    ----------
    row : str
    seed : int
    recipe : Recipe
        The network's.
    data : Path, optional
        What the command line names.
    out : Path
    threads : int
    """

    row: str
    seed: int
    recipe: R
    data: Path | None
    out: Path
    threads: int

    @property
    def directory(self) -> Path:
        """Where its results are."""
        return self.out / self.row / str(self.seed)

    @property
    def settings(self) -> dict[str, Any]:
        """What its results are kept with: they are for a job with the same."""
        return recipes.settings(self.recipe)

    @property
    def was_begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.directory / "last.pt").exists()

    def report(self, line: str) -> None:
        """Print a line of the training's progress."""
        print(f"{self.row} {self.seed}: {line}", flush=True)


@dataclass(frozen=True)
class MethodJob(Job[R]):
    """One row that may train nothing; ``data`` is the file of motion capture.

    Parameters
    ----------
    method : str
        As of the row; empty for a network.
    """

    method: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe and the recorded movements."""
        return {**super().settings, "mocap": self.data.name if self.data else ""}


J = TypeVar("J", bound=Job)


def jobs_of(
    arguments: argparse.Namespace, table: Table, recipe_of: Callable[[str], R]
) -> Iterator[Job[R]]:
    """Return all rows of a seed before the next seed: early on there is a table of one seed.

    Raises
    ------
    ValueError
        If a row is asked for that there is not.
    """
    rows = arguments.rows.split(",") if arguments.rows else list(table.rows)
    for row in rows:
        if row not in table.rows:
            raise ValueError(f"--rows: {row!r} is none of {', '.join(table.rows)}")
    for seed in range(arguments.seeds):
        for row in rows:
            recipe: Any = recipe_of(row)
            steps = arguments.steps or recipe.loop.steps
            recipe = replace(recipe, loop=replace(recipe.loop, seed=seed, steps=steps))
            yield Job(row, seed, recipe, arguments.data, arguments.out, arguments.threads)


def method_jobs_of(
    arguments: argparse.Namespace, table: Table, recipe_of: Callable[[str], R]
) -> Iterator[MethodJob[R]]:
    """Return `jobs_of` a table whose rows have a ``method``; those that train nothing once."""
    for job in jobs_of(arguments, table, recipe_of):
        method = table.rows[job.row].method
        if not (method and job.seed):
            yield MethodJob(**vars(job), method=method)


def carry_out(
    job: J, work: Callable[[J], dict[str, Any]], line: Callable[[Mapping[str, Any]], str]
) -> str:
    """Train and measure one row with one seed, unless that is done; returns a line of progress.

    Parameters
    ----------
    job : Job
    work : callable
        Trains and measures, and returns "whole", "by_recording", "network" and "training" of the
        result.
    line : callable
        Makes the line of a result.

    Raises
    ------
    ValueError
        If results that are there were made by another recipe.
    """
    path = job.directory / "result.json"
    if path.exists():
        result = json.loads(path.read_text())
        if result["recipe"] != job.settings:
            raise ValueError(
                f"{path} was made by another recipe: name another folder, or remove this one"
            )
        return line(result) + " (kept)"
    torch.set_num_threads(job.threads)
    result = {
        "row": job.row,
        "seed": job.seed,
        **work(job),
        "machine": measurements.machine(),
        "recipe": job.settings,
    }
    measurements.write_json(path, result)
    (job.directory / "last.pt").unlink(missing_ok=True)
    return line(result)


def run(carry_out: Callable[[J], str], jobs: Sequence[J], at_once: int) -> None:
    """Carry out jobs, so many at the same time, and print what they say."""
    if at_once == 1 or not jobs:
        _print_all(map(carry_out, jobs))
        return
    with multiprocessing.get_context("spawn").Pool(at_once) as pool:
        _print_all(pool.imap_unordered(carry_out, jobs))


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def results_of(
    directory: Path, rows: Iterable[str], budget: Callable[[Mapping[str, Any]], Any]
) -> dict[str, list[dict[str, Any]]]:
    """Read what is there, by row; seeds rising.

    Parameters
    ----------
    directory : Path
    rows : iterable of str
    budget : callable
        What must be the same in the recipes of all rows with the same objective: data, steps.

    Raises
    ------
    ValueError
        If it is not: they cannot be compared.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    firsts: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths = sorted(directory.glob(f"{row}/*/result.json"), key=lambda p: int(p.parent.name))
        results[row] = [json.loads(path.read_text()) for path in paths]
        for result in results[row]:
            first = firsts.setdefault(result["recipe"].get("objective", ""), result)
            if budget(result["recipe"]) != budget(first["recipe"]):
                raise ValueError(
                    f"{directory}: {row} {result['seed']} had other data or another budget than "
                    f"{first['row']} {first['seed']}: name another folder, or remove one of them"
                )
    return results


def add_arguments(parser: argparse.ArgumentParser, out: str) -> None:
    """Declare the options of every ``radar-pose reproduce``."""
    parser.add_argument("--out", type=Path, default=Path(out), help="results, report")
    parser.add_argument(
        "--rows", metavar="NAME,...", help="only these rows (default: all of the table)"
    )
    parser.add_argument("--seeds", type=count, default=3, help="of each row (default 3)")
    parser.add_argument("--steps", type=count, help="of each training (default: the recipe's)")
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
