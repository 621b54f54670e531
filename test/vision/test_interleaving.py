"""The sliding window of unsynchronised views: what is in it, what is refused, what empties it."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.vision.interleaving import Interleaver, Window

CAMERAS = ("left", "middle", "right")


def push(interleaver: Interleaver, view: int, stamp_s: float, value: float = 0.0) -> Window | None:
    """Push a shot of two joints; the first one's u is the value, or the stamp."""
    keypoints = np.array([[value or stamp_s, 2.0], [3.0, 4.0]])
    return interleaver.push(view, stamp_s, keypoints, [0.5, 1.0])


def taken(interleaver: Interleaver, view: int, stamp_s: float, value: float = 0.0) -> Window:
    window = push(interleaver, view, stamp_s, value)
    assert window is not None
    return window


def counted(interleaver: Interleaver) -> list[tuple[int, int, int, int]]:
    return [(c.taken, c.late, c.repeated, c.resets) for c in interleaver.counts]


def test_three_cameras_in_turn() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    first = taken(interleaver, 0, 10.00)
    assert first.view == 0 and first.missing == (1, 2)
    assert_close(first.age_s, [0.0, np.nan, np.nan])
    assert first.keypoints_px.shape == (3, 2, 2)
    assert np.isnan(first.keypoints_px[1:]).all() and not first.confidence[1:].any()
    taken(interleaver, 1, 10.02)
    third = taken(interleaver, 2, 10.05)
    assert third.missing == () and third.before == (None, None, None)
    assert_close(third.age_s.round(9), [0.05, 0.03, 0.0])
    assert_close(third.keypoints_px[:, 0, 0], [10.00, 10.02, 10.05])
    assert_close(third.confidence, np.tile([0.5, 1.0], (3, 1)))
    fourth = taken(interleaver, 0, 10.06)
    assert_close(fourth.age_s.round(9), [0.0, 0.04, 0.01])
    before = fourth.before[0]
    assert before is not None and before.stamp_s == 10.00 and fourth.before[1:] == (None, None)
    assert_close(third.keypoints_px[:, 0, 0], [10.00, 10.02, 10.05])  # it stays what it was


def test_cameras_that_fire_together_wait_for_nobody() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    ages = [taken(interleaver, view, stamp).age_s for stamp in (1.0, 1.1) for view in range(3)]
    assert_close(ages[2], [0.0, 0.0, 0.0])
    assert_close(ages[3].round(9), [0.0, 0.1, 0.1])
    assert_close(ages[5], [0.0, 0.0, 0.0])


def test_a_view_vanishes_and_returns() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    taken(interleaver, 1, 0.0)
    windows = [taken(interleaver, 0, stamp) for stamp in (0.1, 0.101, 0.5)]
    assert [window.missing for window in windows] == [(2,), (1, 2), (1, 2)]
    # The shot before is too far away to say how the joints move.
    assert windows[1].before[0] is not None and windows[2].before[0] is None
    back = taken(interleaver, 1, 0.51)
    assert back.missing == (2,) and back.before == (None, None, None)
    again = taken(interleaver, 1, 0.55).before[1]
    assert again is not None and again.stamp_s == 0.51


def test_what_arrives_out_of_order_is_sorted_in() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1, late_s=0.03)
    for view, stamp in ((0, 0.00), (1, 0.01), (0, 0.04)):
        taken(interleaver, view, stamp)
    late = taken(interleaver, 2, 0.02)  # what is younger is not in its window
    assert late.stamp_s == 0.02
    assert_close(late.age_s.round(9), [0.02, 0.01, 0.0])
    between = taken(interleaver, 0, 0.03)  # of a view that has a younger one
    assert_close(between.keypoints_px[0, 0, 0], 0.03)
    newest = taken(interleaver, 1, 0.05)
    assert_close(newest.keypoints_px[:, 0, 0], [0.04, 0.05, 0.02])
    before = newest.before[0]
    assert before is not None and before.stamp_s == 0.03
    assert push(interleaver, 2, 0.0199) is None
    assert counted(interleaver) == [(3, 0, 0, 0), (2, 0, 0, 0), (1, 1, 0, 0)]


def test_the_order_of_arrival_does_not_matter_in_the_end(rng: np.random.Generator) -> None:
    shots = [(view, 0.02 * number + 0.007 * view) for number in range(30) for view in range(3)]
    in_order = Interleaver(CAMERAS, longest_s=0.2)
    shuffled = Interleaver(CAMERAS, longest_s=0.2)
    for view, stamp in sorted(shots, key=lambda shot: shot[1]):
        taken(in_order, view, stamp)
    for view, stamp in sorted(shots, key=lambda shot: shot[1] + rng.uniform(0, 0.15)):
        taken(shuffled, view, stamp)
    windows = [taken(interleaver, 0, 0.7) for interleaver in (in_order, shuffled)]
    assert_close(windows[0].keypoints_px, windows[1].keypoints_px)
    for one, other in zip(windows[0].before, windows[1].before, strict=True):
        assert (one and one.stamp_s) == (other and other.stamp_s)


def test_a_second_shot_of_the_same_stamp_is_refused() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    taken(interleaver, 0, 1.0, value=5.0)
    assert push(interleaver, 0, 1.0, value=6.0) is None
    assert_close(taken(interleaver, 1, 1.0).keypoints_px[0, 0, 0], 5.0)
    assert counted(interleaver) == [(1, 0, 1, 0), (1, 0, 0, 0), (0, 0, 0, 0)]


def test_a_jump_back_in_time_empties_it() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    for view in range(3):
        taken(interleaver, view, 100.0 + 0.01 * view)
    start = taken(interleaver, 1, 5.0)
    assert start.missing == (0, 2)
    assert taken(interleaver, 0, 5.01).missing == (2,)
    assert [count.resets for count in interleaver.counts] == [0, 1, 0]
    interleaver.clear()
    assert taken(interleaver, 2, 1.0).missing == (0, 1)


def test_a_camera_that_is_always_late_empties_nothing() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    for stamp in np.arange(100) / 50 + 7:
        taken(interleaver, 0, stamp)
        assert taken(interleaver, 1, stamp + 0.01).missing == (2,)
        assert push(interleaver, 2, stamp - 2) is None
    assert counted(interleaver) == [(100, 0, 0, 0), (100, 0, 0, 0), (0, 100, 0, 0)]


def test_one_stamp_from_the_future_does_not_silence_the_others_for_ever() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    taken(interleaver, 0, 1.0)
    taken(interleaver, 2, 5000.0)
    stamps = 1.02 + np.arange(20) / 50
    windows = [push(interleaver, 0 if n % 2 else 1, stamp) for n, stamp in enumerate(stamps)]
    refused = [window is None for window in windows]
    # From 1.02 s to 1.12 s they are only late, then it is the stamp of 5000 s that was wrong.
    assert sum(refused) == 6 and not any(refused[6:])
    assert windows[7] is not None and windows[7].missing == (2,)


def test_what_is_held_does_not_grow() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1, late_s=0.05)
    taken(interleaver, 2, 0.0)
    for stamp in np.arange(1000) / 100:
        taken(interleaver, 0, stamp + 0.001)
    assert [len(shots) for shots in interleaver._shots] == [26, 0, 0]


def test_what_is_not_known_has_no_confidence_and_buffers_are_copied() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    keypoints = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, 6.0]])
    window = interleaver.push(0, 0.0, keypoints, [0.9, np.nan, 0.8])
    keypoints[:] = 0
    assert window is not None
    assert_close(window.keypoints_px[0], [[np.nan, np.nan], [3.0, 4.0], [5.0, 6.0]])
    assert_close(window.confidence[0], [0.0, 0.0, 0.8])


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="cameras of different names, got none"):
        Interleaver((), 0.1)
    with pytest.raises(ValueError, match="cameras of different names, got a, a"):
        Interleaver(("a", "a"), 0.1)
    for longest_s, late_s in ((0.0, 0.0), (np.nan, 0.0), (0.1, 0.2), (0.1, -0.1)):
        with pytest.raises(ValueError, match="longest_s must be positive, and late_s from 0"):
            Interleaver(CAMERAS, longest_s, late_s)
    interleaver = Interleaver(CAMERAS, 0.1)
    with pytest.raises(ValueError, match="want a view from 0 to 2, got 3"):
        push(interleaver, 3, 0.0)
    with pytest.raises(ValueError, match="left: the stamp of a shot must be finite, got nan"):
        push(interleaver, 0, np.nan)
    with pytest.raises(ValueError, match=r"right: want keypoints \(joints, 2\), got \(2, 3\)"):
        interleaver.push(2, 0.0, np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ValueError, match=r"right: want confidences \(2,\), got \(3,\)"):
        interleaver.push(2, 0.0, np.zeros((2, 2)), np.zeros(3))
    push(interleaver, 0, 0.0)
    with pytest.raises(ValueError, match=r"middle: want keypoints \(2, 2\), got \(5, 2\)"):
        interleaver.push(1, 0.0, np.zeros((5, 2)), np.zeros(5))
