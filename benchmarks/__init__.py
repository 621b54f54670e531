"""Benchmarks, run by ``radar-pose bench NAME``.

A benchmark is a module in this folder with a function ``run(quick: bool = False)`` that returns a
list of rows ``{"id", "value", "unit", "target", "against", "met"}``
(`radar_pose_ros.measurements.result` makes one). A value is best a ratio against a named peer that
was measured in the same process, interleaved, median of many repetitions.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros.measurements import cores_available
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.waveform import Waveform

# The reference radar: 12 virtual antennas x 128 chirps x 256 samples.
CONFIG = RadarConfig(
    "IWR1843",
    Waveform(77e9, 60.012e12, 4.4e6, 256, 7e-6, 6e-6, 65e-6, 128, 3, 0.1),
    (1, 2, 3),
    (1, 2, 3, 4),
    "QI",
)
# Of networks in use.
THREADS = min(2, cores_available())
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class BenchmarkError(ValueError):
    """A benchmark that does not exist or did not give what it should."""


def names() -> list[str]:
    """Return the names of the benchmarks there are."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def run(name: str, quick: bool = False) -> list[dict[str, Any]]:
    """Run one benchmark.

    Parameters
    ----------
    name : str
        One of `names`.
    quick : bool
        Fewer repetitions, for those benchmarks that offer it: to see that it works, not to quote.

    Raises
    ------
    BenchmarkError
        If there is no such benchmark, or it returned no rows.
    """
    if name not in names():
        raise BenchmarkError(f"no benchmark {name!r}, there are: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    if not hasattr(module, "run"):
        raise BenchmarkError(f"{module.__file__} has no function run()")
    offers_quick = "quick" in inspect.signature(module.run).parameters
    rows = module.run(quick=quick) if offers_quick else module.run()
    if not rows:
        raise BenchmarkError(f"benchmark {name!r} returned nothing")
    return list(rows)


def run_alone(module: str, quick: bool) -> list[dict[str, Any]]:
    """Run a benchmark's module in a process of its own, with one thread in the matrix products.

    Thread counts are fixed when numpy is imported. The module prints its rows as JSON.
    """
    search_path = [str(Path(__file__).resolve().parents[1]), *filter(None, sys.path)]
    environment = {
        **os.environ,
        **dict.fromkeys(_ONE_THREAD, "1"),
        "PYTHONPATH": os.pathsep.join(search_path),
    }
    command = [sys.executable, "-m", module, *(["--quick"] if quick else [])]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    rows: list[dict[str, Any]] = json.loads(output)
    return rows


def print_rows(measure: Callable[[bool], list[dict[str, Any]]]) -> None:
    """Do the part of a module that is run alone: print as JSON what it measures."""
    parser = argparse.ArgumentParser(description="Print the rows as JSON.")
    parser.add_argument("--quick", action="store_true", help="fewer turns: not to be quoted")
    json.dump(measure(parser.parse_args().quick), sys.stdout)


def interleaved_medians_ms(
    calls: Mapping[str, Callable[[], Any]], turns: int, each: Mapping[str, int] | None = None
) -> dict[str, float]:
    """Return the median time of each call; all are called in each turn, once or as ``each`` says.

    What the first call of all takes, which loads and reserves, does not count.
    """
    times_ms: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(turns):
        for name, call in calls.items():
            for _ in range((each or {}).get(name, 1)):
                start_s = time.perf_counter()
                call()
                times_ms[name].append(1e3 * (time.perf_counter() - start_s))
    return {name: float(np.median(values)) for name, values in times_ms.items()}
