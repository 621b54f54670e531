"""What diagnostics say about a node."""

from __future__ import annotations

import time

import pytest

from radar_pose_ros.nodes.health import RATE_SAMPLES, Health, Level, Meter


def test_rate_and_age_of_regular_events() -> None:
    meter = Meter(started_s=10.0)
    meter.times_s.extend([10.0, 10.1, 10.2, 10.3])
    assert meter.rate_hz(10.4) == pytest.approx(10.0)
    assert meter.age_s(10.4) == pytest.approx(0.1)
    fast = Meter(started_s=0.0)
    fast.times_s.extend(0.01 * k for k in range(RATE_SAMPLES + 50))  # more than are remembered
    assert fast.rate_hz(0.01 * RATE_SAMPLES + 0.5) == pytest.approx(100.0)


def test_a_burst_after_a_pause_is_no_rate() -> None:
    """Three in 2 ms are three in five seconds; a stream that goes on has its own rate again."""
    meter = Meter(started_s=0.0)
    meter.times_s.extend([60.0, 60.001, 60.002])
    for now_s in (60.002, 61.0, 64.9):
        assert meter.rate_hz(now_s) == pytest.approx(4 / 5)
    meter.times_s.extend(60.1 + 0.1 * k for k in range(100))
    assert meter.rate_hz(70.01) == pytest.approx(10.0)
    young = Meter(started_s=60.0)
    young.times_s.extend([62.0, 62.0])
    assert young.rate_hz(62.0) == pytest.approx(3 / 2)


def test_rate_forgets_what_is_long_ago() -> None:
    meter = Meter(started_s=10.0)
    meter.times_s.extend([10.0, 10.1, 10.2])
    assert meter.rate_hz(30.0) == 0.0
    assert meter.silence_s(30.0) == pytest.approx(19.8)


def test_silence_counts_from_the_start_if_nothing_ever_came() -> None:
    """R1: a sensor that never spoke is as silent as one that stopped."""
    health = Health()
    health.watch("adc", timeout_s=0.05)
    assert health.report(active=True)[0] == Level.STALE
    time.sleep(0.08)
    level, message, _ = health.report(active=True)
    assert level == Level.ERROR
    assert message.startswith("adc silent for 0.")


def test_silence_says_what_was_dropped_meanwhile() -> None:
    """All messages are refused: the reason is in the sentence, once, and while it waits, too."""
    health = Health()
    health.watch("pose2d", timeout_s=0.05)
    health.drop("no time stamp", 2)
    waiting = health.report(active=True)[:2]
    assert waiting == (Level.STALE, "waiting for pose2d; 2 dropped: no time stamp")
    time.sleep(0.08)
    health.drop("confidence outside 0..1", 42)
    health.warn("camera", "camera_0 is left out")
    level, message, _ = health.report(active=True)
    assert level == Level.ERROR and message.startswith("pose2d silent for 0.")
    assert message.endswith(" s; 42 dropped: confidence outside 0..1; camera_0 is left out")
    assert "dropped" not in health.report(active=True)[1]


def test_levels_in_their_order() -> None:
    health = Health()
    health.watch("adc", timeout_s=5.0)
    health.tick("adc")
    assert health.report(active=True)[:2] == (Level.OK, "running")
    health.drop("bad stamp", 3)
    assert health.report(active=True)[:2] == (Level.WARN, "3 dropped: bad stamp")
    assert health.report(active=True)[0] == Level.OK  # only news is a warning
    health.warn("buffer", "receive buffer cut to 1 byte")
    assert health.report(active=True)[:2] == (Level.WARN, "receive buffer cut to 1 byte")
    health.warn("buffer", "")
    health.failure = "cannot configure: no file"
    assert health.report(active=False)[:2] == (Level.ERROR, "cannot configure: no file")


def test_an_inactive_node_is_not_silent() -> None:
    health = Health()
    health.watch("adc", timeout_s=0.0)
    assert health.report(active=False)[0] == Level.OK


def test_totals_of_drops_stay() -> None:
    health = Health()
    health.drop("bad stamp", 2)
    health.report(active=True)
    health.drop("bad stamp")
    assert health.report(active=True)[2]["dropped: bad stamp"] == "3"
    assert health.drops() == {"bad stamp": 3}


def test_totals_of_meters_stay() -> None:
    health = Health()
    for _ in range(2):
        health.watch("adc")
        health.tick("adc")
        health.unwatch()
    values = health.report(active=False)[2]
    assert values["adc total"] == "2" and "adc rate_hz" not in values


def test_dropping_nothing_is_no_news() -> None:
    health = Health()
    health.drop("late", 0)
    assert health.report(active=True)[0] == Level.OK


def test_a_silence_is_noticed_before_the_next_report() -> None:
    """R1: of what has a timeout, as long as the node runs."""
    health = Health()
    health.watch("adc", timeout_s=0.05)
    health.watch("heatmap")
    assert not health.is_silent
    time.sleep(0.08)
    assert health.is_silent
    health.tick("adc")
    assert not health.is_silent
    time.sleep(0.08)
    health.unwatch()
    assert not health.is_silent


def test_a_duration_below_zero_is_not_known() -> None:
    """R6: a clock that jumped back gives no negative times."""
    health = Health()
    for duration_ns, shown in ((1_234_567, "1.2"), (0, "0.0"), (-10_000_000_000, "nan")):
        health.show_duration("age_ms", duration_ns)
        assert health.report(active=True)[2]["age_ms"] == shown
