"""Benchmarks, run by ``radar-pose bench NAME``.

A benchmark is a module in this folder with a function ``run(quick: bool = False)`` that returns a
list of rows ``{"id", "value", "unit", "target", "against"}`` (`radar_pose_ros.measurements.result`
makes one). A value is best a ratio against a named peer that was measured in the same process,
interleaved, median of many repetitions.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any


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
