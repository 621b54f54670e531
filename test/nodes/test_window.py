"""The sliding window and the queue in front of it."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

from radar_pose_ros.nodes.window import (
    EveryNth,
    Frame,
    FrameNumbers,
    FrameWindow,
    Heatmap,
    PublisherNumbers,
)
from radar_pose_ros.nodes.worker import Mailbox, Worker

MS = 1_000_000


def add(window: FrameWindow[int], stamp_ns: int, item: int) -> int:
    jump_ns = window.begin(stamp_ns)
    window.add(stamp_ns, item)
    return jump_ns


def test_window_slides() -> None:
    window: FrameWindow[int] = FrameWindow(3, max_gap_ns=150 * MS)
    assert [add(window, k * 100 * MS, k) for k in range(5)] == [0] * 5
    assert window.is_full
    assert window.items == [2, 3, 4]
    assert window.stamps_ns == [200 * MS, 300 * MS, 400 * MS]


def test_window_starts_anew_once_per_jump() -> None:
    """R6: forwards, backwards, and the same stamp twice."""
    for jump in (3_600_000 * MS, -10_000 * MS, 0):
        window: FrameWindow[int] = FrameWindow(3, max_gap_ns=150 * MS)
        for k in range(3):
            add(window, k * 100 * MS, k)
        begin = 200 * MS + jump
        assert add(window, begin, 3) == (jump or -1)
        assert window.items == [3]
        assert [add(window, begin + k * 100 * MS, 3 + k) for k in (1, 2)] == [0, 0]
        assert window.is_full  # back after one window


def test_frames_are_counted_over_all_windows() -> None:
    window: FrameWindow[int] = FrameWindow(3, max_gap_ns=150 * MS)
    for k in range(5):
        add(window, k * 100 * MS, k)
    window.clear()
    add(window, 0, 5)
    assert window.added == 6


@pytest.mark.parametrize(
    ("n", "numbers", "taken"),
    [
        (1, range(9, 14), [9, 10, 11, 12, 13]),
        (3, range(9, 20), [9, 12, 15, 18]),
        (3, [9, 10, 11, 13, 14, 15, 16, 17], [9, 13, 16]),  # 12 did not come
        (4, [9, 30, 31, 34], [9, 30, 34]),
    ],
)
def test_every_nth_frame_is_taken(n: int, numbers: list[int], taken: list[int]) -> None:
    chosen = EveryNth(n)
    assert [number for number in numbers if chosen.takes(number)] == taken


@pytest.mark.parametrize(
    ("step_ms", "missing_ms"),
    [
        (60, []),
        (100, []),
        (160, []),  # late by more than half a period: still the next frame
        (200, [100]),
        (240, [120]),
        (300, [100, 200]),
        (390, [97, 195, 292]),
    ],
)
def test_missing_frames_are_found_by_the_time_that_passed(
    step_ms: int, missing_ms: list[int]
) -> None:
    window: FrameWindow[int] = FrameWindow(9, max_gap_ns=1000 * MS)
    assert window.missing_before(0, 100 * MS) == []  # nothing was before
    window.add(0, 0)
    found = window.missing_before(step_ms * MS, 100 * MS)
    assert [stamp // MS for stamp in found] == missing_ms
    assert window.missing_before(step_ms * MS, None) == []  # the period is not known
    assert window.missing_before(step_ms * MS, 100 * MS, at_most=0) == []  # stamps came late


def test_no_more_frames_are_missing_than_the_window_is_long() -> None:
    """Whatever nonsense the stamps are."""
    window: FrameWindow[int] = FrameWindow(9, max_gap_ns=1000 * MS)
    window.add(0, 0)
    missing = window.missing_before(1000 * MS, period_ns=1)
    assert missing == [100 * MS * k for k in range(1, 10)]


def frame(**numbers: tuple[int, int]) -> Frame:
    """Heatmaps of these epochs and numbers."""
    nothing = np.zeros((1, 1, 1), np.complex64)
    return Frame({radar: (0, Heatmap(nothing, *n)) for radar, n in numbers.items()}, None)


def test_numbers_tell_what_is_missing() -> None:
    numbers = FrameNumbers()
    assert numbers.skipped(frame(h=(0, 7))) == math.inf  # the first one
    assert [numbers.skipped(frame(h=(0, n))) for n in (8, 9, 12)] == [0, 0, 2]
    assert numbers.skipped(frame(h=(1, 13))) == math.inf  # numbered anew
    assert numbers.skipped(frame(h=(1, 14))) == 0
    assert numbers.skipped(frame(h=(1, 14))) == math.inf  # not numbered at all
    assert numbers.skipped(frame(h=(1, 3))) == math.inf


def test_missing_is_what_neither_radar_has() -> None:
    numbers = FrameNumbers()
    numbers.skipped(frame(h=(0, 7), v=(0, 107)))
    assert numbers.skipped(frame(h=(0, 8))) == 0
    assert numbers.skipped(frame(h=(0, 9), v=(0, 109))) == 0  # radar v lost one
    assert numbers.skipped(frame(h=(0, 12), v=(0, 112))) == 2
    assert numbers.skipped(frame(h=(1, 0), v=(0, 113))) == 0  # radar h was restarted


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


def test_what_the_transport_lost_is_counted_by_publisher() -> None:
    numbers = PublisherNumbers()
    given = [
        (b"a", 101),
        (b"a", 102),
        (b"b", 7),
        (b"a", 105),
        (b"b", 8),
        (b"a", 104),
        (b"b", None),
    ]
    found = [(numbers.missing(*each), numbers.before) for each in given]
    assert [missing for missing, _ in found] == [0, 0, 0, 2, 0, 0, 0]
    assert [before for _, before in found] == [100, 0, 6, 0, 0, 0, 0]
