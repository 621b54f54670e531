"""The sliding window and the queue in front of it."""

from __future__ import annotations

import threading
import time

from radar_pose_ros.nodes.window import FrameWindow
from radar_pose_ros.nodes.worker import Mailbox, Worker

MS = 1_000_000


def test_window_slides() -> None:
    window: FrameWindow[int] = FrameWindow(3, max_gap_ns=150 * MS)
    assert [window.add(k * 100 * MS, k) for k in range(5)] == [0] * 5
    assert window.is_full
    assert window.items == [2, 3, 4]
    assert window.stamps_ns == [200 * MS, 300 * MS, 400 * MS]


def test_window_starts_anew_once_per_jump() -> None:
    """R6: forwards, backwards, and the same stamp twice."""
    for jump in (3_600_000 * MS, -10_000 * MS, 0):
        window: FrameWindow[int] = FrameWindow(3, max_gap_ns=150 * MS)
        for k in range(3):
            window.add(k * 100 * MS, k)
        begin = 200 * MS + jump
        assert window.add(begin, 3) == (jump or -1)
        assert window.items == [3]
        assert [window.add(begin + k * 100 * MS, 3 + k) for k in (1, 2)] == [0, 0]
        assert window.is_full  # back after one window


def test_mailbox_keeps_the_newest() -> None:
    """R8: a slow consumer sees the newest items; the rest is counted."""
    mailbox: Mailbox[int] = Mailbox(2)
    assert [mailbox.put(k) for k in range(5)] == [0, 0, 1, 1, 1]
    assert mailbox.take_all(0.0) == [3, 4]
    assert mailbox.take_all(0.0) == []


def test_mailbox_wakes_its_reader() -> None:
    mailbox: Mailbox[int] = Mailbox(2)
    threading.Timer(0.05, mailbox.put, [7]).start()
    begin_s = time.monotonic()
    assert mailbox.take_all(5.0) == [7]
    assert time.monotonic() - begin_s < 4.0


def test_worker_ends_when_asked() -> None:
    worker = Worker("test", lambda stop: stop.wait(60.0) and None, lambda error: None)
    assert worker.stop(5.0)


def test_worker_reports_what_ended_it() -> None:
    failures: list[Exception] = []
    arrived = threading.Event()

    def report(error: Exception) -> None:
        failures.append(error)
        arrived.set()

    Worker("test", lambda stop: 1 / 0 and None, report)
    assert arrived.wait(5.0)
    assert isinstance(failures[0], ZeroDivisionError)


def test_worker_that_does_not_end_is_told() -> None:
    release = threading.Event()
    worker = Worker("test", lambda stop: release.wait(10.0) and None, lambda error: None)
    assert not worker.stop(0.05)
    release.set()
    assert worker.stop(5.0)
