"""Frames between the thread that receives them and whoever reads them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Frame = TypeVar("Frame")


class FrameQueue(Generic[Frame]):
    """A bounded queue in which the newest frames win.

    It is closed at first. Frames that are in it can be read after it was closed, or has failed.

    Parameters
    ----------
    size : int
        Frames that it holds.

    Attributes
    ----------
    delivered : int
        Frames that were read.
    overwritten : int
        Frames that were dropped because newer ones came before they were read.

    Raises
    ------
    ValueError
        If the size is less than 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("queue_frames must be at least 1")
        self.delivered = self.overwritten = 0
        self._size = size
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._is_open = False
        self._failure: Exception | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def open(self) -> None:
        """Let readers wait for frames; a failure is forgotten."""
        with self._changed:
            self._is_open, self._failure = True, None

    def close(self) -> None:
        """Wake those who wait: nothing more comes."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def fail(self, failure: Exception) -> None:
        """Let readers know, after the frames that came before, why none comes any more."""
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def put(self, frames: Iterable[Frame]) -> None:
        """Add frames, the oldest first."""
        with self._changed:
            for frame in frames:
                if len(self._frames) == self._size:
                    self._frames.popleft()
                    self.overwritten += 1
                self._frames.append(frame)
            self._changed.notify_all()

    def get(self, timeout_s: float) -> Frame | None:
        """Return the oldest frame, or None if none came in time or the queue is closed.

        Raises
        ------
        Exception
            What `fail` was told.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._frames or self._failure or not self._is_open, timeout_s
            )
            if self._frames:
                self.delivered += 1
                return self._frames.popleft()
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            return None
