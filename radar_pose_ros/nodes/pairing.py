"""Messages of several sources that belong to one instant, found by their stamps.

The policy is that of message_filters' ApproximateTimeSynchronizer in Python: a set is complete
when there is one message per source and all stamps lie within ``slop``; each message is used once,
and a queue keeps the newest of each source. It is written here because the inputs of this package
are checked, and refused, before they may take part, and because a jump of the clock must empty it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class StampPairing(Generic[T]):
    """Group items of several sources by time.

    Parameters
    ----------
    sources : sequence of str
        Their names.
    slop_ns : int
        Largest difference between the stamps of a set.
    queue_size : int
        Items of each source that wait for a partner; the oldest ones give way.
    """

    def __init__(self, sources: Sequence[str], slop_ns: int, queue_size: int = 10) -> None:
        if slop_ns < 0 or queue_size < 1 or len(set(sources)) != len(sources):
            raise ValueError("pairing wants distinct sources, slop_ns >= 0 and queue_size >= 1")
        self.slop_ns = slop_ns
        self.queue_size = queue_size
        self.unpaired = 0
        self._queues: dict[str, dict[int, T]] = {source: {} for source in sources}

    def add(self, source: str, stamp_ns: int, item: T) -> dict[str, tuple[int, T]] | None:
        """Take an item; return ``{source: (stamp_ns, item)}`` if it completes a set, else None.

        The set is made of the item and, of every other source, the one nearest to it in time.
        """
        queue = self._queues[source]
        queue[stamp_ns] = item
        while len(queue) > self.queue_size:
            del queue[min(queue)]
            self.unpaired += 1
        chosen = {source: stamp_ns}
        for other, waiting in self._queues.items():
            if other == source:
                continue
            near = [stamp for stamp in waiting if abs(stamp - stamp_ns) <= self.slop_ns]
            if not near:
                return None
            chosen[other] = min(near, key=lambda stamp: abs(stamp - stamp_ns))
        if stamp_ns not in queue or max(chosen.values()) - min(chosen.values()) > self.slop_ns:
            return None
        found = {name: (stamp, self._queues[name].pop(stamp)) for name, stamp in chosen.items()}
        # Whatever is older than a completed set has missed its turn: stamps of a source rise.
        for name, stamp in chosen.items():
            late = [s for s in self._queues[name] if s < stamp]
            for s in late:
                del self._queues[name][s]
            self.unpaired += len(late)
        return {name: found[name] for name in self._queues}

    def clear(self) -> None:
        """Forget everything that waits."""
        for queue in self._queues.values():
            self.unpaired += len(queue)
            queue.clear()
