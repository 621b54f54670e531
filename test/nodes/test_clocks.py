"""Whether clocks agree: what is said, with how much, and when nothing is."""

from __future__ import annotations

import numpy as np

from radar_pose_ros.nodes.clocks import FEWEST, MESSAGES, ClockComparison

RADARS = ("radar_h", "radar_v")
MS = 1_000_000
START_NS = 1_700_000_000_000_000_000


def compared(
    rng: np.random.Generator, ahead_ms: tuple[float, float], way_ms: float = 60, frames: int = 40
) -> ClockComparison:
    """Two radars whose clocks are ahead of ours, at 10 Hz, over a way of 60 to 90 ms."""
    clocks = ClockComparison(RADARS, tolerance_ns=30 * MS)
    for number in range(frames):
        for radar, ahead in zip(RADARS, ahead_ms, strict=True):
            stamp_ns = START_NS + number * 100 * MS
            now_ns = stamp_ns + int((way_ms + rng.uniform(0, 30) - ahead) * MS)
            clocks.add(radar, stamp_ns, now_ns)
    return clocks


def test_clocks_that_agree_are_not_spoken_of(rng):
    clocks = compared(rng, (0, 0))
    assert clocks.warning() == ""
    assert 0.060 <= clocks.least_delay_s("radar_h") <= 0.065


def test_stamps_from_the_future_are_measured(rng):
    warning = compared(rng, (0, 260)).warning()
    assert "the stamps of radar_v are 0.19" in warning or "are 0.200 s ahead" in warning
    assert "radar_h" not in warning
    warning = compared(rng, (3_600_000, 3_600_000)).warning()
    assert "radar_h are 3599.9" in warning and "radar_v are 3599.9" in warning


def test_clocks_that_differ_are_measured(rng):
    warning = compared(rng, (0, -120)).warning()
    assert warning.startswith("messages of radar_v come 0.1")
    said_s = float(warning.split(" come ")[1].split()[0])
    assert abs(said_s - 0.12) < 0.005
    assert "than those of radar_h" in warning
    assert compared(rng, (0, -25)).warning() == ""  # below the tolerance


def test_too_few_messages_say_nothing(rng):
    assert compared(rng, (0, 500), frames=FEWEST - 1).warning() == ""
    assert compared(rng, (0, 500), frames=FEWEST).warning() != ""


def test_one_source_alone_is_compared_with_us_only(rng):
    clocks = ClockComparison(RADARS, tolerance_ns=30 * MS)
    for number in range(20):
        clocks.add("radar_h", number * 100 * MS + 5, number * 100 * MS + 50 * MS)
    assert clocks.warning() == ""


def test_a_bag_that_begins_anew_is_no_clock_that_differs(rng):
    """What was before a jump says nothing about after it."""
    clocks = compared(rng, (0, 0))
    for number in range(3):  # radar_h begins anew first, 20 s earlier
        clocks.add("radar_h", START_NS - 20_000 * MS, START_NS + (4000 + 100 * number) * MS)
        assert clocks.warning() == ""


def test_a_clock_that_was_set_right_is_forgiven(rng):
    clocks = compared(rng, (0, 260))
    assert clocks.warning()
    for number in range(MESSAGES):
        for radar in RADARS:
            stamp_ns = START_NS + (40 + number) * 100 * MS
            clocks.add(radar, stamp_ns, stamp_ns + 70 * MS)
    assert clocks.warning() == ""
