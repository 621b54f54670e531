"""What was seen in the last seconds, for poses that describe the past."""

from __future__ import annotations

import threading
from typing import Any

from radar_pose_ros.nodes.pacing import NANOSECONDS

KEPT_NS = 3 * NANOSECONDS  # poses describe the past: keep what they will be drawn with
NEAR_NS = NANOSECONDS // 10


class Memory:
    """Things of the last seconds, found by their stamp."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: dict[int, Any] = {}

    def add(self, stamp_ns: int, item: Any) -> None:
        """Keep an item and forget those that are far from it in time, later or earlier."""
        with self._lock:
            self._items[stamp_ns] = item
            self._items = {s: v for s, v in self._items.items() if abs(s - stamp_ns) <= KEPT_NS}

    def nearest(self, stamp_ns: int) -> Any:
        """Return the item nearest to a stamp; None if that is not near."""
        with self._lock:
            if not self._items:
                return None
            best = min(self._items, key=lambda s: abs(s - stamp_ns))
            return self._items[best] if abs(best - stamp_ns) <= NEAR_NS else None
