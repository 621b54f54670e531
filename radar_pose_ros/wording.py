"""Sentences that tell somebody who misspelt a name which ones there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return the allowed names that are like this one, in words; all of them if none is."""
    names = list(allowed)
    near = difflib.get_close_matches(name, names, n=2)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"allowed are {', '.join(names)}" if names else "there are none"
