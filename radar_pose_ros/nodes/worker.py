"""Threads of a node, and the queue that hands things from one to the next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker:
    """Run ``target(stop)`` in a thread; it should return soon after ``stop`` is set.

    Parameters
    ----------
    name : str
        Name of the thread, shown by debuggers and in messages.
    target : callable
        Gets the `threading.Event` that asks it to end.
    on_failure : callable
        Gets the exception that ended the thread, in that thread.
    """

    def __init__(
        self,
        name: str,
        target: Callable[[threading.Event], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._target = target
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._target(self._stop)
        except Exception as error:  # a thread has nobody above it: whatever it is, report it
            self._on_failure(error)

    @property
    def name(self) -> str:
        """Name of the thread."""
        return self._thread.name

    def ask(self) -> None:
        """Ask the thread to end."""
        self._stop.set()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Ask the thread to end and wait for it; return whether it ended in time."""
        self.ask()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()


class Mailbox(Generic[T]):
    """A bounded queue between two threads in which the newest item always finds room.

    Parameters
    ----------
    capacity : int
        Items that wait; a further one pushes out the oldest.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque(maxlen=capacity)
        self._filled = threading.Condition()

    def put(self, item: T) -> int:
        """Add an item; return how many (0 or 1) were pushed out for it."""
        with self._filled:
            pushed_out = int(len(self._items) == self._items.maxlen)
            self._items.append(item)
            self._filled.notify()
        return pushed_out

    def take_all(self, timeout_s: float) -> list[T]:
        """Return everything that waits, oldest first; wait for the first up to the timeout."""
        with self._filled:
            self._filled.wait_for(lambda: bool(self._items), timeout_s)
            items = list(self._items)
            self._items.clear()
        return items
