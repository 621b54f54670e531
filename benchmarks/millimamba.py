"""milliMamba: its kernels, its networks of the paper's size, and `edge` live."""

from __future__ import annotations

from typing import Any

from benchmarks import _live, _paper, _scan


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return the rows of all parts; each says what it measures."""
    return [row for part in (_scan, _paper, _live) for row in part.run(quick)]
