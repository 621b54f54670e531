"""Whether the clocks of those who send agree with this machine's, and with each other.

Stamps of several machines are compared as they are, so their clocks must agree (docs/hosts.md).
What a receiver can tell of that: a message comes no earlier than it was stamped. The least delay
of many messages is the time of the way there, plus what the receiver's clock is ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

NANOSECONDS = 1_000_000_000
MESSAGES = 300  # of a source that count [choice]: one of 30 s of a radar is seldom kept waiting
FEWEST = 10
JUMP_NS = NANOSECONDS  # a delay that far off the last one: the time or the bag was set anew
FUTURE_NS = 1_000_000  # less is a matter of rounding


class ClockComparison:
    """Compares the clocks of sources by the least delays of their messages.

    Parameters
    ----------
    sources : sequence of str
        Their names, two at the most.
    tolerance_ns : int
        By how much the least delays of two sources may differ.
    """

    def __init__(self, sources: Sequence[str], tolerance_ns: int) -> None:
        self.tolerance_ns = tolerance_ns
        self._delays: dict[str, deque[int]] = {s: deque(maxlen=MESSAGES) for s in sources}

    def add(self, source: str, stamp_ns: int, now_ns: int) -> None:
        """Note a message that came now."""
        delays = self._delays[source]
        delay_ns = now_ns - stamp_ns
        if delays and abs(delay_ns - delays[-1]) > JUMP_NS:
            for of_one in self._delays.values():
                of_one.clear()
        delays.append(delay_ns)

    def least_delay_s(self, source: str) -> float | None:
        """Return the least delay of the last messages; None if they were too few."""
        delays = self._delays[source]
        return min(delays) / NANOSECONDS if len(delays) >= FEWEST else None

    def warning(self) -> str:
        """Return what is wrong, with how much, in one sentence; ``""`` if nothing is."""
        known = {s: d for s in self._delays if (d := self.least_delay_s(s)) is not None}
        ahead = [
            f"the stamps of {source} are {-delay_s:.3f} s ahead of this machine's clock"
            for source, delay_s in known.items()
            if delay_s * NANOSECONDS < -FUTURE_NS
        ]
        if ahead:
            return f"{' and '.join(ahead)}, at least: set the clocks by each other"
        if len(known) < 2:
            return ""
        (first, first_s), (second, second_s) = known.items()
        apart_s = second_s - first_s
        if abs(apart_s) * NANOSECONDS <= self.tolerance_ns:
            return ""
        late, early = (second, first) if apart_s > 0 else (first, second)
        return (
            f"messages of {late} come {abs(apart_s):.3f} s later after their stamps than those of "
            f"{early}: their machines' clocks differ, or one has that much longer a way"
        )
