"""An even pace, against arrivals whose answer is known on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radar_pose_ros.nodes.pacing import (
    NANOSECONDS,
    Allowance,
    Pacer,
    Period,
    StreamClock,
    rate_warning,
)

PERIOD_S = 1 / 32  # exact in binary


def play(
    arrivals: list[tuple[float, int]], comfortable: int = 5, until_s: float = 10.0
) -> tuple[np.ndarray, list[int]]:
    """Put numbered items in bursts of the given times and sizes; return when each comes out.

    The pacer is asked whenever it says that something is due, and when something comes.
    """
    pacer: Pacer[int] = Pacer(PERIOD_S, comfortable)
    times_s: list[float] = []
    items: list[int] = []
    put = 0
    now_s = 0.0
    waiting = list(arrivals)
    while now_s < until_s and (waiting or len(pacer)):
        next_s = waiting[0][0] if waiting else math.inf
        now_s = min(next_s, now_s + pacer.wait_s(now_s))
        if waiting and now_s == next_s:
            _, count = waiting.pop(0)
            pacer.put(range(put, put + count), now_s)
            put += count
        due = pacer.take(now_s)
        times_s += [now_s] * len(due)
        items += due
    assert len(pacer) == 0
    return np.array(times_s), items


def test_bursts_come_out_evenly_and_at_once() -> None:
    """The first of each burst when it comes, the last right before the next burst."""
    times_s, items = play([(3 * k * PERIOD_S, 3) for k in range(20)])
    np.testing.assert_array_equal(times_s, np.arange(60) * PERIOD_S)
    assert items == list(range(60))


def test_a_late_burst_delays_what_follows_and_later_ones_leave_no_gap() -> None:
    late_s = 0.5 * PERIOD_S
    bursts_s = [3 * k * PERIOD_S for k in range(20)]
    bursts_s[4] += late_s
    bursts_s[9] += late_s
    times_s, _ = play([(at_s, 3) for at_s in bursts_s])
    expected_s = np.arange(60) * PERIOD_S
    expected_s[12:] += late_s
    np.testing.assert_allclose(times_s, expected_s, rtol=0, atol=1e-12)


def test_what_waits_too_long_is_caught_up() -> None:
    """24 at the start, as of a long first window: afterwards no more than is comfortable."""
    times_s, items = play([(0.0, 24)] + [(3 * k * PERIOD_S, 3) for k in range(1, 40)])
    assert items == list(range(24 + 3 * 39))
    steps_s = np.diff(times_s)
    assert (steps_s <= PERIOD_S + 1e-12).all()
    np.testing.assert_allclose(steps_s[0], PERIOD_S * 5 / 24)
    np.testing.assert_allclose(steps_s[-20:], PERIOD_S)
    # Item 24 + n would come out at n + 3 periods if none had waited before it.
    late = times_s[24:] / PERIOD_S - (np.arange(3 * 39) + 3)
    assert (late[-20:] < 5 - 3 + 1).all()  # the reserve, rounded up


@pytest.mark.parametrize("speed", [1.01, 2.0, 10.0])
def test_a_fast_source_finds_its_balance(speed: float) -> None:
    """Ten thousand items of a bag that is replayed faster: all, in order, never many in wait."""
    arrivals = [(3 * k * PERIOD_S / speed, 3) for k in range(3333)]
    times_s, items = play(arrivals, until_s=1000.0)
    assert items == list(range(9999))
    delays_s = times_s - np.repeat([at_s for at_s, _ in arrivals], 3)
    assert delays_s[:-100].max() <= (5 + 3) * PERIOD_S  # at any speed: comfortable, and a burst
    slower = 5 * (1 + math.log(speed)) + 3  # at the end the pace falls with what is left
    assert delays_s.max() <= slower * PERIOD_S


def test_a_late_call_gives_all_that_became_due() -> None:
    pacer: Pacer[int] = Pacer(PERIOD_S, 40)
    pacer.put(range(32), 5.0)
    assert pacer.take(5.0) == [0]
    assert pacer.wait_s(5.0) == PERIOD_S
    assert pacer.take(5.0 + 9.5 * PERIOD_S) == list(range(1, 10))
    assert pacer.wait_s(5.0 + 9.5 * PERIOD_S) == 0.5 * PERIOD_S  # back on the beat


def test_flush_lets_everything_go_at_once_and_the_beat_goes_on() -> None:
    pacer: Pacer[int] = Pacer(PERIOD_S, 5)
    pacer.put(range(4), 1.0)
    assert pacer.take(1.0) == [0]
    pacer.flush()
    pacer.put([4, 5], 1.0)
    assert pacer.wait_s(1.0) == 0.0
    assert pacer.take(1.0) == [1, 2, 3]
    assert pacer.take(1.0 + PERIOD_S) == [4]
    assert pacer.take(1.0 + 2 * PERIOD_S) == [5]
    assert pacer.wait_s(1.1) == math.inf


def test_what_is_forgotten_is_counted() -> None:
    pacer: Pacer[int] = Pacer(PERIOD_S, 5)
    pacer.put(range(4), 1.0)
    pacer.flush()
    assert pacer.clear() == 4
    assert pacer.clear() == 0
    pacer.put([4, 5], 1.0)
    assert pacer.take(1.0) == [4]  # nothing is urgent any more


def test_an_empty_pacer_gives_nothing_and_saves_nothing_up() -> None:
    pacer: Pacer[int] = Pacer(PERIOD_S, 5)
    assert pacer.take(100.0) == []
    pacer.put([0, 1], 200.0)
    assert pacer.take(200.0) == [0]  # not both for all the time without


@pytest.mark.parametrize(("period_s", "comfortable"), [(0.0, 3), (-1.0, 3), (0.1, 0)])
def test_impossible_paces_are_refused(period_s: float, comfortable: int) -> None:
    with pytest.raises(ValueError, match="period_s must be positive and comfortable at least 1"):
        Pacer(period_s, comfortable)


# -- the stream's own clock ------------------------------------------------------------------


def test_a_stream_clock_takes_the_quickest_message() -> None:
    """Stamps may be hours off; one that is late by 50 ms does not hold time up."""
    clock = StreamClock()
    assert clock.now_ns(1.0) is None
    start_ns = 1_700_000_000 * NANOSECONDS
    for k, late_s in enumerate([0.02, 0.0, 0.05, 0.03]):
        clock.see(start_ns + k * NANOSECONDS // 10, 7.0 + 0.1 * k + late_s)
    now_ns = clock.now_ns(7.5)
    assert now_ns is not None
    # Half a second after the start, but for 1 % of the 0.23 s since the quickest one.
    assert (now_ns - start_ns) / NANOSECONDS == pytest.approx(0.5 - 0.0023, abs=1e-6)


def test_a_stream_clock_believes_slowly_in_a_delay() -> None:
    clock = StreamClock()
    for k in range(300):
        late_s = 0.0 if k < 100 else 0.1
        clock.see(k * NANOSECONDS // 10, k * 0.1 + late_s)
    now_ns = clock.now_ns(30.0)
    assert now_ns is not None
    assert now_ns / NANOSECONDS == pytest.approx(30.0 - 0.1, abs=1e-6)
    clock.clear()
    assert clock.now_ns(30.0) is None


# -- rates -----------------------------------------------------------------------------------


def test_a_period_is_the_median_of_the_last_steps() -> None:
    """Of three at least, and of fifteen at most: one that is lost does not change it."""
    period = Period()
    for step_ns, expected in ((100, None), (300, None), (110, 110), (100, 105)):
        period.add(step_ns)
        assert period.ns == expected
    for _ in range(15):
        period.add(50)
    for _ in range(7):
        period.add(200)
    assert period.ns == 50
    period.add(200)
    assert period.ns == 200
    period.clear()
    assert period.ns is None


def test_a_rate_that_a_network_does_not_know_is_said() -> None:
    said = rate_warning("poses come at", 5.0, "net", 30.0)
    assert said == (
        "poses come at 5 Hz, but net was trained at 30 Hz: movements look faster or slower to it "
        "than they are"
    )
    assert rate_warning("a", 5.0, "b", 7.0, so="c") == "a 5 Hz, but b was trained at 7 Hz: c"
    assert rate_warning("a", 5.0, "b", 4.0) == rate_warning("a", 3.0, "b", 4.0) == ""
    assert rate_warning("a", 4.5, "b", 4.0, tolerance=0.1) != ""
    assert rate_warning("a", 0.0, "b", 4.0) == rate_warning("a", 4.0, "b", 0.0) == ""


def test_an_allowance_is_a_rate_and_a_few_in_a_row() -> None:
    """Asked eight times a second, two of them may; after a pause three, and no more."""
    allowance = Allowance(2.0, 3)
    taken = [allowance.take(k / 8) for k in range(25)]
    assert np.flatnonzero(taken).tolist() == [0, 1, 2, 4, 8, 12, 16, 20, 24]
    assert [allowance.take(100.0) for _ in range(5)] == [True, True, True, False, False]


def test_what_takes_long_may_happen_less_often() -> None:
    """Half a second each, of a quarter of the time: one in two seconds; short ones cost as one."""
    allowance = Allowance(2.0, 3, 0.25)
    taken = []
    for now_s in np.arange(0, 10, 0.25).tolist():
        if allowance.take(now_s):
            taken.append(now_s)
            allowance.spend(0.5)
    assert taken[:2] == [0.0, 1.0] and np.diff(taken[1:]).tolist() == [2.0] * 4
    short = Allowance(2.0, 3, 0.25)
    for _ in range(3):
        assert short.take(0.0)
        short.spend(0.1)
    assert not short.take(0.4) and short.take(0.5)
