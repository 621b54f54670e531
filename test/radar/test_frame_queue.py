"""The queue between a source's thread and its reader: what is kept, told, and in which order."""

from __future__ import annotations

import threading
import time

import pytest

from radar_pose_ros.radar.frame_queue import FrameQueue


def opened(size: int = 3) -> FrameQueue[int]:
    queue: FrameQueue[int] = FrameQueue(size)
    queue.open()
    return queue


def test_the_newest_win_and_the_oldest_come_first():
    queue = opened(3)
    queue.put(range(3))
    assert (len(queue), queue.overwritten) == (3, 0)
    queue.put([3, 4])
    assert (len(queue), queue.overwritten) == (3, 2)
    assert [queue.get(0.0) for _ in range(4)] == [2, 3, 4, None]
    assert (queue.delivered, queue.overwritten, len(queue)) == (3, 2, 0)


def test_a_reader_waits_for_a_frame_no_longer_than_it_wants():
    queue = opened()
    begin_s = time.monotonic()
    assert queue.get(0.05) is None
    assert time.monotonic() - begin_s >= 0.05
    later = threading.Timer(0.05, queue.put, [[7]])
    later.start()
    assert queue.get(10.0) == 7
    later.join()


def test_closing_wakes_a_reader_and_leaves_what_there_is():
    queue = opened()
    later = threading.Timer(0.05, queue.close)
    later.start()
    begin_s = time.monotonic()
    assert queue.get(10.0) is None
    assert time.monotonic() - begin_s < 5
    later.join()
    queue.put([1])
    assert [queue.get(10.0), queue.get(10.0)] == [1, None]


def test_it_is_closed_until_it_is_opened():
    queue: FrameQueue[int] = FrameQueue(1)
    assert queue.get(10.0) is None


def test_a_failure_is_told_after_the_frames_and_forgotten_by_opening():
    queue = opened()
    queue.put([1])
    queue.fail(RuntimeError("the port was lost"))
    assert queue.get(10.0) == 1
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the port was lost") as told:
            queue.get(10.0)
        assert len(told.traceback) == 2  # it does not grow with every reading
    queue.close()
    with pytest.raises(RuntimeError, match="the port was lost"):
        queue.get(10.0)
    queue.open()
    assert queue.get(0.0) is None


def test_a_failure_wakes_a_reader():
    queue = opened()
    later = threading.Timer(0.05, queue.fail, [RuntimeError("lost")])
    later.start()
    with pytest.raises(RuntimeError, match="lost"):
        queue.get(10.0)
    later.join()


def test_a_queue_of_nothing_is_refused():
    with pytest.raises(ValueError, match="queue_frames must be at least 1"):
        FrameQueue(0)


def test_nothing_is_lost_between_two_threads():
    queue = opened(1000)
    writer = threading.Thread(target=lambda: [queue.put([k, k + 1]) for k in range(0, 1000, 2)])
    writer.start()
    assert [queue.get(10.0) for _ in range(1000)] == list(range(1000))
    writer.join()
    assert (queue.delivered, queue.overwritten) == (1000, 0)
