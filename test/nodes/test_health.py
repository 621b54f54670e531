"""What diagnostics say about a node."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from radar_pose_ros.nodes.health import RATE_SAMPLES, Health, Journal, Level, Meter


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


def lines(
    troubles: Callable[[float], dict[str, str]],
    end_s: float,
    active: Callable[[float], bool] = lambda _: True,
) -> list[tuple[float, str]]:
    """Return what a journal has written, and when, if it looks four times a second."""
    journal = Journal()
    written = []
    for quarter in range(int(4 * end_s)):
        now_s = 100.0 + quarter / 4
        at_s = quarter / 4
        begun, over = journal.look(troubles(at_s), now_s, active(at_s))
        written += [(at_s, f"WARN {line}") for line in begun]
        written += [(at_s, f"INFO {line}") for line in over]
    return written


def test_a_trouble_is_written_when_it_begins_and_when_it_is_over() -> None:
    """Its numbers change meanwhile; another one is told beside it."""

    def troubles(at_s: float) -> dict[str, str]:
        found = {"device": "no GPU"}
        if 10 <= at_s < 40:
            found["radar_h silent"] = f"radar_h silent for {at_s - 8:.1f} s"
        return found

    assert lines(troubles, 60.0) == [
        (2.0, "WARN no GPU"),
        (12.0, "WARN radar_h silent for 4.0 s"),
        (44.75, "INFO over: radar_h silent for 31.8 s"),
    ]


def test_a_trouble_of_a_moment_is_not_written() -> None:
    assert lines(lambda at_s: {"late": "late"} if at_s % 10 < 1.5 else {}, 60.0) == []


def test_a_trouble_that_comes_and_goes_is_one_line_in_five_seconds() -> None:
    """It is over when it has been away for five seconds."""
    often = lines(lambda at_s: {"view": "missing"} if at_s % 2 < 1 else {}, 60.0)
    assert often == [(2.0, "WARN missing")]
    rarely = lines(lambda at_s: {"view": "missing"} if at_s % 10 < 5 else {}, 90.0)
    assert rarely[:3] == [
        (2.0, "WARN missing"),
        (9.75, "INFO over: missing"),
        (14.75, "WARN missing"),
    ]
    times_s = [at_s for at_s, _ in rarely]
    assert min(late - early for early, late in itertools.pairwise(times_s)) == 5.0


def test_a_trouble_of_a_node_that_is_deactivated_is_not_over() -> None:
    """Who activates it again is told again."""

    def troubles(at_s: float) -> dict[str, str]:
        return {"view": "missing"} if at_s < 10 or at_s >= 30 else {}

    expected = [(2.0, "WARN missing"), (32.0, "WARN missing")]
    assert lines(troubles, 60.0, lambda at_s: not 10 <= at_s < 30) == expected


def test_what_belongs_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what the caller writes there, nor drops; what never came is silent after 30 s."""
    now_s = begin_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    health = Health()
    health.watch("image", timeout_s=2.0)
    health.watch("adc", timeout_s=1.0, log=False)
    health.watch("pose2d")
    health.warn("device", "no GPU")
    health.warn("end", "the file has ended", log=False)
    health.drop("bad stamp", 3)
    assert health.troubles() == {"device": "no GPU"}
    now_s = begin_s + 29.0
    assert health.report(active=True)[1].startswith("image silent for 29.0 s; adc silent")
    assert health.troubles() == {"device": "no GPU"}
    now_s = begin_s + 31.0
    assert health.troubles() == {"image silent": "image silent for 31.0 s", "device": "no GPU"}
    health.tick("image")
    health.warn("device", "")
    assert health.troubles() == {}
    now_s = begin_s + 33.5
    assert health.troubles() == {"image silent": "image silent for 2.5 s"}
    health.unwatch()
    assert health.troubles() == {}


@pytest.mark.ros
def test_a_node_writes_in_its_log_what_lasts(
    ros_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Active or not, by its own timer; and its end while it is active."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    from radar_pose_ros.nodes import health
    from radar_pose_ros.nodes.base import SUCCESS
    from radar_pose_ros.nodes.visualizer import Visualizer

    monkeypatch.setattr(health, "LASTING_S", 0.0)
    monkeypatch.setattr(health, "LINES_APART_S", 0.3)
    written: list[tuple[str, str]] = []

    class Logger:
        def warning(self, line: str) -> None:
            written.append(("WARN", line))

        def info(self, line: str) -> None:
            written.append(("INFO", line))

    context = rclpy.Context()
    rclpy.init(context=context)
    values = {"autostart": False, "input_timeout_s": 0.2}
    node = Visualizer(
        context=context,
        parameter_overrides=[Parameter(key, value=value) for key, value in values.items()],
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def wait(lines: int) -> list[tuple[str, str]]:
        end_s = time.monotonic() + 10.0
        while len(written) < lines and time.monotonic() < end_s:
            executor.spin_once(timeout_sec=0.05)
        return written[lines - 1 :]

    try:
        assert node.trigger_configure() is SUCCESS
        monkeypatch.setattr(node, "get_logger", Logger)
        node.health.warn("device", "no GPU")
        assert wait(1) == [("WARN", "no GPU")]
        assert node.trigger_activate() is SUCCESS
        node.health.tick("input")
        (silence,) = wait(2)
        assert silence[0] == "WARN" and silence[1].startswith("input silent for 0.")
        node.health.warn("device", "")
        assert wait(3) == [("INFO", "over: no GPU")]
        assert node.trigger_deactivate() is SUCCESS
        node.health.warn("device", "no GPU again")
        assert wait(4) == [("WARN", "no GPU again")]  # of the silence nothing more
    finally:
        node.release()
        node.destroy_node()
        rclpy.shutdown(context=context)
