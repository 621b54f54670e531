"""Measured numbers and the machine they were measured on, as every ``--json FILE`` writes them.

    {"machine": {...}, "results": [{"id", "value", "unit", "target", "against", "met"}, ...]}

`id` names the quantity, `target` is the value to reach (null if none is set), `against` says what
the value is relative to, `met` whether the target is reached (null if none is set).
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

RESULT_KEYS = ("id", "value", "unit", "target", "against")


def result(
    identifier: str,
    value: float,
    unit: str = "",
    target: float | None = None,
    against: str | None = None,
    *,
    at_most: bool = False,
) -> dict[str, Any]:
    """Return one row of results; a target is to be reached from below, or with `at_most` kept."""
    met = None
    if target is not None:
        met = bool(value <= target if at_most else value >= target)
    return {
        "id": identifier,
        "value": value,
        "unit": unit,
        "target": target,
        "against": against,
        "met": met,
    }


def cores_available() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _threads() -> int:
    """Return the number of threads numerical libraries use in this process."""
    torch = sys.modules.get("torch")  # asked only where it is loaded: importing it takes seconds
    if torch is not None:
        return int(torch.get_num_threads())
    configured = os.environ.get("OMP_NUM_THREADS", "")
    return int(configured) if configured.isdigit() else cores_available()


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that matter for speed and reproducibility."""
    return {
        "cpu": _cpu_name(),
        "cores": cores_available(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "threads": _threads(),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
    }


def finite(value: Any) -> Any:
    """Return the value with every NaN or infinity in it replaced by None: JSON has no such."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):  # a numpy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all; NaN becomes null.

    Raises ``OSError`` if the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(finite(content), indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def write_results(path: str | Path, results: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of results together with the machine's description.

    Raises
    ------
    ValueError
        If a row lacks one of `RESULT_KEYS`.
    OSError
        If the file cannot be written.
    """
    rows = [dict(row) for row in results]
    for row in rows:
        missing = [key for key in RESULT_KEYS if key not in row]
        if missing:
            raise ValueError(f"result {row.get('id', row)!r} lacks {', '.join(missing)}")
    write_json(path, {"machine": machine(), "results": rows})


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Return results as lines of text: value, unit, target and what it is measured against.

    Beside a target stands whether it is met, if the row says so.
    """
    judged = {True: ": met", False: ": MISSED", None: ""}
    rows = []
    for row in results:
        value = row["value"]
        number = f"{value:.4g}" if isinstance(value, float) else str(value)
        target = "" if row["target"] is None else f"target {row['target']:g}"
        target += judged[row.get("met")]
        against = f"against {row['against']}" if row["against"] else ""
        rows.append((str(row["id"]), number, str(row["unit"] or ""), target, against))
    widths = [max((len(r[k]) for r in rows), default=0) for k in range(5)]
    lines = []
    for identifier, number, unit, target, against in rows:
        lines.append(
            f"{identifier:<{widths[0]}}  {number:>{widths[1]}} {unit:<{widths[2]}}  "
            f"{target:<{widths[3]}}  {against}".rstrip()
        )
    return "\n".join(lines)
