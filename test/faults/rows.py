"""The rows of the fault campaign: what goes wrong, what must hold, and what tries it.

The quick tests of this folder call the functions with small volumes, `campaign.py` with whole
ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What one run of a row showed.

    Attributes
    ----------
    held : bool
        Whether everything held that must hold.
    figures : str
        What was measured, as a table can show it: "10⁶ datagrams, 0 exceptions, 3.1 MiB grown".
        Where the row did not hold, also what was seen instead, and the case's own seed.
    """

    held: bool
    figures: str


@dataclass(frozen=True)
class Row:
    """One row; ``run(volume, seed)`` tries it ``volume`` times (``unit`` says of what).

    Several rows may bear one id: each is one fault of it.
    """

    id: str
    name: str
    fault: str
    must_hold: str
    volume: int
    unit: str
    run: Callable[[int, int], Outcome]


ROWS: list[Row] = []


def row(
    id: str, *, fault: str, must_hold: str, volume: int, unit: str
) -> Callable[[Callable[[int, int], Outcome]], Callable[[int, int], Outcome]]:
    """Enter a function into the campaign, under its own name; it stays callable as it is."""

    def enter(run: Callable[[int, int], Outcome]) -> Callable[[int, int], Outcome]:
        ROWS.append(Row(id, run.__name__, fault, must_hold, volume, unit, run))
        return run

    return enter
