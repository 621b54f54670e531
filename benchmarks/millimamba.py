"""milliMamba: its kernels, its networks of the paper's size. The parts say what they measure."""

from __future__ import annotations

from typing import Any

from benchmarks import _paper, _scan


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return the rows of all parts."""
    return [*_scan.run(quick), *_paper.run(quick)]
