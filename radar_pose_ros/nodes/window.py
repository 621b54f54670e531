"""The last frames of a stream, as long as they follow each other without a gap."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FrameWindow(Generic[T]):
    """A sliding window that starts anew when time jumps.

    Parameters
    ----------
    frames : int
        Length of the window.
    max_gap_ns : int
        Frames farther apart than this do not belong to one window.
    """

    def __init__(self, frames: int, max_gap_ns: int) -> None:
        self.max_gap_ns = max_gap_ns
        self._stamps: deque[int] = deque(maxlen=frames)
        self._items: deque[T] = deque(maxlen=frames)

    @property
    def is_full(self) -> bool:
        """Whether there are as many frames as the window is long."""
        return len(self._items) == self._items.maxlen

    @property
    def items(self) -> list[T]:
        """The frames, oldest first."""
        return list(self._items)

    @property
    def stamps_ns(self) -> list[int]:
        """Their stamps."""
        return list(self._stamps)

    def add(self, stamp_ns: int, item: T) -> int:
        """Append a frame; return 0, or the step in ns that made the window start anew."""
        jump_ns = 0
        if self._stamps:
            step_ns = stamp_ns - self._stamps[-1]
            if not 0 < step_ns <= self.max_gap_ns:
                jump_ns = step_ns or -1  # the same stamp twice is a jump too
                self.clear()
        self._stamps.append(stamp_ns)
        self._items.append(item)
        return jump_ns

    def clear(self) -> None:
        """Forget all frames."""
        self._stamps.clear()
        self._items.clear()
