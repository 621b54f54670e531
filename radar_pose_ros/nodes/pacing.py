"""An even pace for what comes in bursts, by a steady clock, and the rate at which things come."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

NANOSECONDS = 1_000_000_000
PERIOD_STEPS = 15  # a `Period` is the median of so many steps
FEWEST_STEPS = 3
RATE_TOLERANCE = 0.25  # by that share poses may come at another rate than a network was trained at
LEAK = 0.01  # seconds per second by which a `StreamClock` believes that a stream has become later


class Pacer(Generic[T]):
    """Hands out one item per period; what comes in a burst waits for its turn.

    Nothing is lost and nothing drifts: while more items wait than is comfortable the pace is
    faster, in proportion, so that a source of any speed finds its balance. An item that comes
    late makes those after it late by as much, until then.

    Parameters
    ----------
    period_s : float
        Time between two items.
    comfortable : int
        Items that may wait, at least 1: those of one burst, and a reserve for a late one.

    Raises
    ------
    ValueError
        If the period is not positive or nothing may wait.
    """

    def __init__(self, period_s: float, comfortable: int) -> None:
        if not period_s > 0 or comfortable < 1:
            raise ValueError(
                f"period_s must be positive and comfortable at least 1, got {period_s} and "
                f"{comfortable}"
            )
        self.period_s = period_s
        self.comfortable = comfortable
        self._items: deque[T] = deque()
        self._urgent = 0
        self._next_s = -math.inf

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Iterable[T], now_s: float) -> None:
        """Add items, oldest first, at a time of a steady clock in s."""
        if not self._items:
            self._next_s = max(self._next_s, now_s)
        self._items.extend(items)

    def flush(self) -> None:
        """Let all that waits be due at once: nothing follows on it."""
        self._urgent = len(self._items)

    def clear(self) -> int:
        """Forget all that waits; return how many items that were."""
        count = len(self._items)
        self._items.clear()
        self._urgent = 0
        return count

    def take(self, now_s: float) -> list[T]:
        """Return what is due, oldest first; all that became due, however late this is called."""
        due: list[T] = []
        while self._items and (self._urgent or self._next_s <= now_s):
            if self._urgent:
                self._urgent -= 1
            else:
                self._next_s += self.period_s * min(1.0, self.comfortable / len(self._items))
            due.append(self._items.popleft())
        return due

    def wait_s(self, now_s: float) -> float:
        """Return the time until the next item is due: 0 if one is, infinite if none waits."""
        if not self._items:
            return math.inf
        return 0.0 if self._urgent else max(0.0, self._next_s - now_s)


class Allowance:
    """Lets something happen so many times per second, and some times more in a row.

    Parameters
    ----------
    per_s : float
    in_a_row : int
        After a pause.
    share : float
        Of the time it may take, above 0: what takes long happens less often.
    """

    def __init__(self, per_s: float, in_a_row: int, share: float = 1.0) -> None:
        self.per_s, self.in_a_row, self.share = per_s, in_a_row, share
        self._left = float(in_a_row)
        self._at_s = -math.inf

    def take(self, now_s: float) -> bool:
        """Return whether it may happen now, by a steady clock in s; if so it has."""
        self._left = min(self._left + (now_s - self._at_s) * self.per_s, self.in_a_row)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def spend(self, took_s: float) -> None:
        """Say how long what was allowed last took."""
        self._left -= max(0.0, took_s * self.per_s / self.share - 1)


class StreamClock:
    """Tells which stamp a stream would bear now.

    A stamp is as far behind a steady clock as in the quickest of the last messages: one that
    comes late does not hold time up. If all of them come later than before it is believed slowly.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the stream."""
        self._behind_ns: float | None = None
        self._seen_s = 0.0

    def see(self, stamp_ns: int, now_s: float) -> None:
        """Note that a message of this stamp came, at a time of a steady clock in s."""
        behind_ns = now_s * NANOSECONDS - stamp_ns
        if self._behind_ns is not None:
            leak_ns = LEAK * (now_s - self._seen_s) * NANOSECONDS
            behind_ns = min(behind_ns, self._behind_ns + leak_ns)
        self._behind_ns, self._seen_s = behind_ns, now_s

    def now_ns(self, now_s: float) -> int | None:
        """Return the stamp for a time of that clock; None if there was no message."""
        if self._behind_ns is None:
            return None
        return round(now_s * NANOSECONDS - self._behind_ns)


class Period:
    """The time from message to message: the median of the last steps between their stamps."""

    def __init__(self) -> None:
        self._steps_ns: deque[int] = deque(maxlen=PERIOD_STEPS)

    def add(self, step_ns: int) -> None:
        """Note by how much a message's stamp is later than the last one's."""
        self._steps_ns.append(step_ns)

    def clear(self) -> None:
        """Forget the stream."""
        self._steps_ns.clear()

    @property
    def ns(self) -> int | None:
        """None until it is known."""
        steps = self._steps_ns
        return int(statistics.median(steps)) if len(steps) >= FEWEST_STEPS else None


def rate_warning(
    what: str,
    rate_hz: float,
    network: str,
    trained_hz: float,
    *,
    tolerance: float = RATE_TOLERANCE,
    so: str = "movements look faster or slower to it than they are",
) -> str:
    """Return a sentence if something has a rate that a network does not know; else "".

    Parameters
    ----------
    what : str
        Has the rate: such as "poses come at".
    rate_hz : float
        0 if it is not known.
    network : str
        Its name.
    trained_hz : float
        Of that which it was trained on; 0 likewise.
    tolerance : float
        By that share the rates may differ.
    so : str
        What comes of it.
    """
    if not rate_hz or not trained_hz or abs(rate_hz / trained_hz - 1) <= tolerance + 1e-9:
        return ""
    return f"{what} {rate_hz:.3g} Hz, but {network} was trained at {trained_hz:.3g} Hz: {so}"
