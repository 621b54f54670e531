"""Networks that see poses only: MixSynthFormer and DiffHPE, each beside a named peer."""

from __future__ import annotations

from typing import Any

from benchmarks import _diffhpe, _mixsynthformer


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return the rows of all parts; each says what it measures."""
    return [row for part in (_mixsynthformer, _diffhpe) for row in part.run(quick)]
