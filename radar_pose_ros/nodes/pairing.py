"""Messages of two sources that belong to one instant, found by their stamps.

The policy is that of message_filters' ApproximateTimeSynchronizer in Python: two messages are a
pair if their stamps lie within ``slop``, and each is used once. Unlike there, a source may fail:
what waits for it in vain goes on alone. That is decided by stamps, not by the time of arrival, so
that a bag gives the same pairs as the live stream, at any speed.
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

PERIOD_STEPS = 15  # the period is the median of so many steps from frame to frame
FEWEST_STEPS = 3
PATIENCE_PERIODS = 2.5
NEVER_NS = -(1 << 62)


class StampPairing(Generic[T]):
    """Pair items of two sources by time.

    An item waits for the other source until that has passed it by more than the slop, or is lost:
    until its newest stamp lies two and a half periods behind, which is when two items are missing.
    For a lost source nothing waits; its next item brings it back.

    Parameters
    ----------
    sources : tuple of (str, str)
        Their names.
    slop_ns : int
        Largest difference between the stamps of a pair.
    lost_after_ns : int
        The most that a source may lie behind, and what it may as long as the period is not known.
        If neither is heard for this long, everything begins anew.

    Attributes
    ----------
    unused : int
        Items that never went on: the other one of their pair had gone on alone, or with another
        one; or they waited when time jumped; or their stamp came twice in a row.
    resets : int
        How often a stamp fell: time was set back, and everything begins anew.
    """

    def __init__(self, sources: tuple[str, str], slop_ns: int, lost_after_ns: int) -> None:
        if len(set(sources)) != 2 or slop_ns < 0 or lost_after_ns < 0:
            raise ValueError(
                "pairing wants two sources, slop_ns >= 0 and lost_after_ns >= 0, "
                f"got {sources}, {slop_ns} and {lost_after_ns}"
            )
        self.sources = sources
        self.slop_ns = slop_ns
        self.lost_after_ns = lost_after_ns
        self.unused = 0
        self.resets = 0
        self._steps: deque[int] = deque(maxlen=PERIOD_STEPS)
        self._queues: dict[str, dict[int, T]] = {source: {} for source in sources}
        self._newest: dict[str, int] = {}
        self._alone: dict[str, int] = {}  # of each source, the stamp of what went on alone last
        self._begin_ns = 0
        # Of what went on last, the stamp; of a pair, that of the first source.
        self._last_ns = NEVER_NS

    @property
    def waiting(self) -> int:
        """How many items wait for the other source."""
        return sum(map(len, self._queues.values()))

    def clear(self) -> None:
        """Forget everything that waits or was heard, but not the period."""
        for queue in self._queues.values():
            self.unused += len(queue)
            queue.clear()
        self._newest.clear()
        self._alone.clear()
        self._last_ns = NEVER_NS

    @property
    def period_ns(self) -> int | None:
        """Time between two frames of a source; None until it is known."""
        return int(statistics.median(self._steps)) if len(self._steps) >= FEWEST_STEPS else None

    @property
    def lost(self) -> list[str]:
        """Sources that are not waited for."""
        patience_ns, period_ns = self.lost_after_ns, self.period_ns
        if period_ns is not None:
            patience_ns = min(patience_ns, int(PATIENCE_PERIODS * period_ns))
        now_ns = max(self._newest.values(), default=0)
        heard = {source: self._newest.get(source, self._begin_ns) for source in self.sources}
        return [s for s, stamp_ns in heard.items() if now_ns - stamp_ns > patience_ns]

    def add(self, source: str, stamp_ns: int, item: T) -> list[dict[str, tuple[int, T]]]:
        """Take an item; return what goes on because of it, in order of time.

        Returns
        -------
        list of dict
            ``{source: (stamp_ns, item)}`` for pairs, the first source first, and for single items.
            The partner of an item is the one nearest to it.
        """
        if stamp_ns == self._newest.get(source):
            self.unused += 1
            return []
        self._note(source, stamp_ns)
        (other,) = set(self.sources) - {source}
        if other in self._alone and stamp_ns <= self._alone[other] + self.slop_ns:
            self.unused += 1
            return []
        self._queues[source][stamp_ns] = item
        near = [s for s in self._queues[other] if abs(s - stamp_ns) <= self.slop_ns]
        if near:
            pair = {source: stamp_ns, other: min(near, key=lambda s: abs(s - stamp_ns))}
            # Stamps of a source rise: what is older than its part of a pair goes on alone.
            alone = [(s, name) for name in pair for s in self._queues[name] if s < pair[name]]
        else:
            pair = {}
            alone = [(s, name) for name in self.sources for s in self._in_vain(name)]
        result = []
        for s, name in sorted(alone):
            single = self._queues[name].pop(s)
            self._alone[name] = s
            if s - self._last_ns > (self.period_ns or 0) // 4:
                result.append({name: (s, single)})
                self._last_ns = s
            else:  # a pair of nearly this instant has gone on already
                self.unused += 1
        if pair:
            result.append({s: (pair[s], self._queues[s].pop(pair[s])) for s in self.sources})
            self._last_ns = pair[self.sources[0]]
        return result

    def _note(self, source: str, stamp_ns: int) -> None:
        """Keep account of the time; begin anew where it jumps."""
        if stamp_ns < self._newest.get(source, stamp_ns):
            self.resets += 1
            self.clear()
        elif stamp_ns - max(self._newest.values(), default=stamp_ns) > self.lost_after_ns:
            self.clear()
        if source in self._newest:
            self._steps.append(stamp_ns - self._newest[source])
        elif not self._newest:
            self._begin_ns = stamp_ns
        self._newest[source] = stamp_ns

    def _in_vain(self, source: str) -> list[int]:
        """Return the stamps of waiting items for which no partner is to be expected."""
        (other,) = set(self.sources) - {source}
        waiting = sorted(self._queues[source])
        if other in self.lost:
            return waiting
        passed_ns = self._newest.get(other, self._begin_ns) - self.slop_ns
        return [s for s in waiting if s < passed_ns]
