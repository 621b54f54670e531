"""The last frames of a stream, as long as they follow each other."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from radar_pose_ros.nodes.memory import Recent

T = TypeVar("T")

# A step of that much more than whole periods is a frame more: stamps come late by parts of a
# period, but hardly early.
MISSING_FROM = 0.7
MOST_PUBLISHERS = 64  # whose last numbers are kept


class Heatmap(NamedTuple):
    """What one radar saw, complex64 (angle, doppler, range), and the number of its frame."""

    values: np.ndarray
    epoch: int  # frames of another epoch were numbered anew
    number: int


@dataclass(frozen=True)
class Frame:
    """What was seen at an instant, by both radars or by the one that has a heatmap of it.

    Parameters
    ----------
    heatmaps : mapping
        By radar, with their stamps (ns).
    period_ns : int, optional
        Time between two frames, as far as it was known then.
    """

    heatmaps: Mapping[str, tuple[int, Heatmap]]
    period_ns: int | None

    @property
    def stamp_ns(self) -> int:
        """The stamp of the first radar that is there."""
        return next(iter(self.heatmaps.values()))[0]


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
        self.added = 0  # frames so far, in all windows
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

    def begin(self, stamp_ns: int) -> int:
        """Make ready for a frame; return 0, or the step in ns that made the window start anew."""
        if not self._stamps:
            return 0
        step_ns = stamp_ns - self._stamps[-1]
        if 0 < step_ns <= self.max_gap_ns:
            return 0
        self.clear()
        return step_ns or -1  # the same stamp twice is a jump too

    def missing_before(
        self, stamp_ns: int, period_ns: int | None, at_most: float = math.inf
    ) -> list[int]:
        """Return the stamps of frames that are missing between the newest one and this one.

        There are no more of them than the window is long.

        Parameters
        ----------
        stamp_ns : int
        period_ns : int, optional
            Time between two frames; as long as it is not known, none are missing.
        at_most : float
            How many there are if the time that passed is not to be trusted.
        """
        if not self._stamps or not period_ns:
            return []
        step_ns = stamp_ns - self._stamps[-1]
        passed = max(step_ns / period_ns - MISSING_FROM, 0)
        count = int(min(passed, at_most, self._items.maxlen or 0))
        return [self._stamps[-1] + step_ns * (k + 1) // (count + 1) for k in range(count)]

    def add(self, stamp_ns: int, item: T) -> None:
        """Append a frame."""
        self.added += 1
        self._stamps.append(stamp_ns)
        self._items.append(item)

    def clear(self) -> None:
        """Forget all frames."""
        self._stamps.clear()
        self._items.clear()


class EveryNth:
    """Chooses every n-th frame of a stream: the first one, and then one each n frames.

    Where a chosen frame does not come, the next one is taken, and counting goes on from there.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._due = 0

    def takes(self, number: int) -> bool:
        """Return whether to take the frame of this number; numbers rise."""
        if number < self._due:
            return False
        self._due = number + self.n
        return True


class FrameNumbers:
    """Counts what is missing in a stream of numbered frames, on whatever way it was lost."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}

    def skipped(self, frame: Frame) -> float:
        """Return how many frames before this one are missing of both radars, at most.

        Infinite if the numbers do not tell.
        """
        missing = math.inf
        for radar, (_, heatmap) in frame.heatmaps.items():
            epoch, number = self._last.get(radar, (-1, -1))
            if heatmap.epoch == epoch and heatmap.number > number:
                missing = min(missing, heatmap.number - number - 1)
            self._last[radar] = heatmap.epoch, heatmap.number
        return missing


class PublisherNumbers:
    """Counts what is missing between the messages of each publisher, by the transport's numbers.

    What it dropped before the first message that came is not known.

    Attributes
    ----------
    before : int
        How many messages the publisher of the last one had published when it was heard for the
        first time; 0 if it was heard before.
    """

    def __init__(self) -> None:
        self._last: Recent[int] = Recent(MOST_PUBLISHERS)
        self.before = 0

    def missing(self, publisher: bytes, number: int | None) -> int:
        """Return how many of a publisher's messages are missing before this one.

        None is the number of a transport that does not count.
        """
        self.before = 0
        if number is None:
            return 0
        last = self._last.get(publisher.hex())
        self._last.put(publisher.hex(), number)
        self.before = number - 1 if last is None else 0
        return 0 if last is None else max(number - last - 1, 0)
