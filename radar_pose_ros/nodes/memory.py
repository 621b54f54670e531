"""What was seen in the last seconds, for poses that describe the past; what was told by name."""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

from radar_pose_ros.nodes.pacing import NANOSECONDS

T = TypeVar("T")

MOST_SKELETONS = 64  # that a node remembers

NEAR_NS = NANOSECONDS // 10


class Memory:
    """Things of the last seconds, found by their stamp.

    Parameters
    ----------
    kept_s : float
        Poses describe the past: what is so much older than what came last is forgotten.
    """

    def __init__(self, kept_s: float = 3.0) -> None:
        self._kept_ns = round(kept_s * NANOSECONDS)
        self._lock = threading.Lock()
        self._items: dict[int, Any] = {}

    def add(self, stamp_ns: int, item: Any) -> None:
        """Keep an item and forget those that are far from it in time, later or earlier."""
        with self._lock:
            self._items[stamp_ns] = item
            self._items = {
                s: v for s, v in self._items.items() if abs(s - stamp_ns) <= self._kept_ns
            }

    def nearest(self, stamp_ns: int) -> Any:
        """Return the item nearest to a stamp; None if that is not near."""
        with self._lock:
            if not self._items:
                return None
            best = min(self._items, key=lambda s: abs(s - stamp_ns))
            return self._items[best] if abs(best - stamp_ns) <= NEAR_NS else None

    def within(self, stamp_ns: int, span_ns: int) -> list[tuple[int, Any]]:
        """Return the items within a span of time of a stamp, each with how much later it is."""
        with self._lock:
            offsets = ((s - stamp_ns, item) for s, item in sorted(self._items.items()))
            return [(late_ns, item) for late_ns, item in offsets if abs(late_ns) <= span_ns]


class Recent(Generic[T]):
    """Things by their name, of which the last used ones are kept: names may be without end.

    Parameters
    ----------
    capacity : int
        Things that are kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lock = threading.Lock()
        self._items: dict[str, T] = {}  # the one that was used last is the last one

    def put(self, name: str, item: T) -> int:
        """Keep an item; return how many (0 or 1) were forgotten for it."""
        with self._lock:
            self._items.pop(name, None)
            self._items[name] = item
            forgotten = len(self._items) > self.capacity
            if forgotten:
                del self._items[next(iter(self._items))]
        return int(forgotten)

    def get(self, name: str) -> T | None:
        """Return the item of that name, None if there is none; it counts as used."""
        with self._lock:
            if name not in self._items:
                return None
            self._items[name] = item = self._items.pop(name)
        return item

    def all(self) -> dict[str, T]:
        """Return all items, by name."""
        with self._lock:
            return dict(self._items)
