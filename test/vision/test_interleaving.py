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


def counted(interleaver: Interleaver) -> list[tuple[int, int, int, int, int]]:
    return [(c.taken, c.late, c.ahead, c.repeated, c.resets) for c in interleaver.counts]


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
    assert counted(interleaver) == [(3, 0, 0, 0, 0), (2, 0, 0, 0, 0), (1, 1, 0, 0, 0)]


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
    assert counted(interleaver) == [(1, 0, 0, 1, 0), (1, 0, 0, 0, 0), (0, 0, 0, 0, 0)]


def test_a_jump_back_in_time_empties_it() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    for view in range(3):
        taken(interleaver, view, 100.0 + 0.01 * view)
    assert push(interleaver, 1, 5.0) is None  # it may be a straggler
    assert taken(interleaver, 0, 5.01).missing == (1, 2)
    assert taken(interleaver, 2, 5.02).missing == (1,)
    assert taken(interleaver, 1, 5.03).missing == ()
    assert [count.resets for count in interleaver.counts] == [1, 0, 0]
    assert [count.late for count in interleaver.counts] == [0, 1, 0]
    interleaver.clear()
    assert taken(interleaver, 2, 1.0).missing == (0, 1)


@pytest.mark.parametrize("cameras", [CAMERAS[:1], CAMERAS[:2], CAMERAS])
def test_a_recording_that_is_played_again_loses_one_shot(cameras: tuple[str, ...]) -> None:
    interleaver = Interleaver(cameras, longest_s=0.1)
    steps = [(number % len(cameras), 50 + number / 50) for number in range(60)]
    for _ in range(3):
        refused = [push(interleaver, *step) is None for step in steps]
        assert not any(refused[2:])
    assert sum(count.resets for count in interleaver.counts) == 2
    assert sum(count.late for count in interleaver.counts) == 2


def test_one_straggler_empties_nothing() -> None:
    """Nor do others after it, each with one in time between."""
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    for number in range(30):
        window = taken(interleaver, number % 3, 50 + number / 50)
        assert window.missing == tuple(view for view in (0, 1, 2) if view > number)
        if number > 10 and number % 3 == 1:
            assert push(interleaver, 1, 48 + number / 50) is None
    # Two in a row, but the second is not later than the first.
    assert push(interleaver, 0, 49.0) is None and push(interleaver, 0, 48.9) is None
    assert [count.late for count in interleaver.counts] == [2, 6, 0]
    assert not any(count.resets for count in interleaver.counts)


@pytest.mark.parametrize("views", [2, 3, 4])
def test_shots_that_come_late_at_random_empty_nothing(
    views: int, rng: np.random.Generator
) -> None:
    """By up to 1.2 s, where 0.5 s are allowed: those beyond are late, whoever comes in between.

    Nor do two of them that agree show that the others, which are in time, were ahead.
    """
    stamps = np.arange(16 * 15 * views) / (15 * views)
    for _ in range(10):
        interleaver = Interleaver([f"camera_{number}" for number in range(views)], longest_s=0.5)
        order = np.argsort(stamps + rng.uniform(0, 1.2, len(stamps)))
        for number in order.tolist():
            push(interleaver, number % views, 10 + stamps[number])
        counts = interleaver.counts
        assert not any(count.resets for count in counts)
        assert sum(count.taken + count.late + count.ahead for count in counts) == len(stamps)
        assert sum(count.ahead for count in counts) < 0.01 * len(stamps)
        assert 0.2 < sum(count.late for count in counts) / len(stamps) < 0.6


@pytest.mark.parametrize("cameras", [CAMERAS[:1], CAMERAS])
def test_a_short_recording_that_is_played_again_loses_eleven_shots(
    cameras: tuple[str, ...],
) -> None:
    """It is no longer than what late shots may have."""
    interleaver = Interleaver(cameras, longest_s=0.5)
    steps = [(number % len(cameras), 50 + number / 50) for number in range(150)]
    for _ in range(3):
        refused = [push(interleaver, *step) is None for step in steps]
    first = next(number for number, gone in enumerate(refused) if not gone)
    assert first == 11 and not any(refused[first:])
    assert sum(count.resets for count in interleaver.counts) == 2


def test_a_camera_that_is_always_late_empties_nothing() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    for stamp in np.arange(100) / 50 + 7:
        taken(interleaver, 0, stamp)
        assert taken(interleaver, 1, stamp + 0.01).missing == (2,)
        assert push(interleaver, 2, stamp - 2) is None
    assert counted(interleaver) == [(100, 0, 0, 0, 0), (100, 0, 0, 0, 0), (0, 100, 0, 0, 0)]
    offset = interleaver.offsets[2]
    assert offset is not None and offset.others == (0, 1)
    assert_close(offset.by_s, -2.01)  # from view 1


@pytest.mark.parametrize("views", [3, 4])
@pytest.mark.parametrize("first", [0, 2])
def test_one_view_that_is_ahead_is_left_out(views: int, first: int) -> None:
    """From the second round on; whichever fires first, and it is back when its clock is right."""
    interleaver = Interleaver([f"camera_{number}" for number in range(views)], longest_s=0.5)
    wrong = views - 1
    others = tuple(range(wrong))
    for number in range(200):
        view = (number + first) % views
        window = push(interleaver, view, 10 + number / 60 + (view == wrong))
        offset = interleaver.offsets[view]
        if number < 2 * views:
            continue
        assert window is not None
        if view == wrong:
            assert offset is not None and offset.others == others
            assert_close(offset.by_s, 1 + 1 / 60)
        else:
            assert offset is None and window.missing == (wrong,)
    counts = interleaver.counts
    assert sum(count.late for count in counts) <= 1  # of two that have begun, nobody can tell
    assert sum(count.resets for count in counts) <= 2
    assert counts[wrong].ahead >= 200 // views - 1
    for number in range(200, 200 + 2 * views):
        last = taken(interleaver, (number + first) % views, 10 + number / 60)
    assert last.missing == () and interleaver.offsets == [None] * views


def test_where_no_two_agree_the_newest_is_right() -> None:
    """After a break of all but two, and with three clocks of their own."""
    interleaver = Interleaver(CAMERAS, longest_s=0.5)
    for number in range(9):
        taken(interleaver, number % 3, number / 30)
    taken(interleaver, 0, 12.0)
    assert push(interleaver, 1, 11.49) is None
    assert [count.resets for count in interleaver.counts] == [0, 0, 0]
    apart = Interleaver(CAMERAS, longest_s=0.5)
    refused = [push(apart, n % 3, n / 30 + n % 3) is None for n in range(60)]
    assert refused[6:] == [True, True, False] * 18


def test_with_two_views_nobody_can_tell_who_is_wrong() -> None:
    """The older one is late; both say by how much they differ, and it ends with the fault."""
    interleaver = Interleaver(CAMERAS[:2], longest_s=0.5)
    for number in range(60):
        window = push(interleaver, number % 2, 10 + number / 60 + number % 2)
        assert (window is None) is (number % 2 == 0 and number > 0)
    assert interleaver.offsets[1] is None
    offset = interleaver.offsets[0]
    assert offset is not None and offset.others == (1,)
    assert_close(offset.by_s, -1 + 1 / 60)
    # Its clock is right again: so small a step back takes twelve of its own shots to be believed.
    windows = [push(interleaver, number % 2, 10 + number / 60) for number in range(60, 86)]
    assert windows[-1] is not None and windows[-1].missing == ()


def test_a_view_that_goes_on_alone_is_not_ahead() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    for number in range(9):
        taken(interleaver, number % 3, number / 30)
    offsets = []
    for stamp in np.arange(10, 40) / 30:
        taken(interleaver, 0, stamp)
        offsets.append(interleaver.offsets[0])
    # Two shots after 0.1 s, until it is clear that the others have stopped.
    assert sum(offset is not None for offset in offsets) <= 2 and offsets[-20:] == [None] * 20
    assert interleaver.counts[0].ahead == 0


def test_after_a_break_of_all_no_shot_is_lost() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    for number in range(9):
        taken(interleaver, number % 3, number / 30)
    for number, view in enumerate((2, 0, 1)):
        window = taken(interleaver, view, 10 + number / 30)
    assert window.missing == ()
    assert counted(interleaver) == [(4, 0, 0, 0, 0)] * 3


def test_one_stamp_from_the_future_does_not_silence_the_others_for_ever() -> None:
    interleaver = Interleaver(CAMERAS, longest_s=0.1)
    taken(interleaver, 0, 1.0)
    taken(interleaver, 2, 5000.0)
    stamps = 1.02 + np.arange(20) / 50
    windows = [taken(interleaver, (n + 1) % 2, stamp) for n, stamp in enumerate(stamps)]
    assert windows[1].missing == (2,)
    assert counted(interleaver) == [(11, 0, 0, 0, 0), (10, 0, 0, 0, 1), (0, 0, 1, 0, 0)]


def test_a_view_that_was_ahead_alone_is_believed_for_twelve_shots() -> None:
    """Its clock is a second ahead of two that come after it, and say the same."""
    interleaver = Interleaver(CAMERAS, longest_s=0.5)
    for number in range(60):
        taken(interleaver, 2, 11 + number / 15)
    refused = []
    for number in range(60, 90):
        for view in (0, 1):
            refused.append(push(interleaver, view, 10 + number / 15 + view / 45) is None)
        taken(interleaver, 2, 11 + number / 15)
    # Of each round all three count, as two of them are now known to agree.
    assert 7 <= sum(refused) <= 8 and not any(refused[8:])
    assert [count.resets for count in interleaver.counts] == [1, 0, 0]
    assert interleaver.counts[2].ahead > 20 and interleaver.offsets[:2] == [None, None]


def test_nor_does_it_with_two_views() -> None:
    interleaver = Interleaver(CAMERAS[:2], longest_s=0.1)
    taken(interleaver, 0, 1.0)
    taken(interleaver, 1, 5000.0)
    refused = [push(interleaver, 0, 1.02 + number / 50) is None for number in range(20)]
    # From 1.02 s to 1.12 s they are only late, then it is the stamp of 5000 s that was wrong.
    assert sum(refused) == 6 and not any(refused[6:])
    assert counted(interleaver) == [(15, 6, 0, 0, 1), (0, 0, 1, 0, 0)]


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
