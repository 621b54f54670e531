"""Names of views, with which topics begin."""

from __future__ import annotations

import re

MOST_VIEWS, LONGEST_NAME = 64, 100
_NAME = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)*", re.ASCII)


def view_names(text: str) -> list[str]:
    """Return the names that spaces separate.

    Raises
    ------
    ValueError
        If a topic cannot begin with one of them, or there are too many.
    """
    names = text.split()
    fit = all(_NAME.fullmatch(name) and len(name) <= LONGEST_NAME for name in names)
    if not fit or len(names) > MOST_VIEWS:
        raise ValueError(
            f"views: want at most {MOST_VIEWS} names of letters, digits and _, each of at most "
            f"{LONGEST_NAME}, got {text[:200]!r}"
        )
    return names
