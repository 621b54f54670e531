"""What a node knows about its own state: rates, ages, counters. The material of diagnostics."""

from __future__ import annotations

import enum
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW_S = 5.0
RATE_SAMPLES = 256
LASTING_S = 2.0  # a trouble that is over sooner is in the diagnostics only
LINES_APART_S = 5.0  # least time between two lines of the log about one thing
STARTING_S = 30.0  # so long it may take until something comes for the first time


class Level(enum.IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass
class Meter:
    """Rate and age of something that should keep happening.

    Parameters
    ----------
    timeout_s : float
        Silence longer than this is an error; infinite if silence is nothing to worry about.
    log : bool
        Whether the log tells of silence, too.
    """

    timeout_s: float = math.inf
    log: bool = True
    total: int = 0
    started_s: float = field(default_factory=time.monotonic)
    times_s: deque[float] = field(default_factory=lambda: deque(maxlen=RATE_SAMPLES))

    def rate_hz(self, now_s: float) -> float:
        """Return events per second over the last seconds; 0 if there were fewer than two.

        It follows from the steps between them. Of a burst after a pause those say nothing: it is
        no more than one event above those that there were lets it be.
        """
        begin_s = max(now_s - WINDOW_S, self.started_s)
        if len(self.times_s) == RATE_SAMPLES:  # what was before the oldest is not known
            begin_s = max(begin_s, self.times_s[0])
        recent = [t for t in self.times_s if t >= begin_s]
        if len(recent) < 2:
            return 0.0
        step_s = (recent[-1] - recent[0]) / (len(recent) - 1)
        return 1 / max(step_s, (now_s - begin_s) / (len(recent) + 1))

    def age_s(self, now_s: float) -> float:
        """Return the time since the last event; NaN before the first."""
        return now_s - self.times_s[-1] if self.times_s else math.nan

    def silence_s(self, now_s: float) -> float:
        """Return the time since the last event, or since the start if there was none."""
        return now_s - (self.times_s[-1] if self.times_s else self.started_s)


@dataclass
class _Trouble:
    since_s: float
    seen_s: float = -math.inf
    sentence: str = ""
    told: bool = False
    line_s: float = -math.inf


class Journal:
    """Turns troubles that last into lines of a log: one when they begin, one when they are over.

    What is away for less than `LINES_APART_S` is not over, nor does a thing get two lines within
    that time. What changes in a sentence meanwhile gets none.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Trouble] = {}

    def look(
        self, troubles: Mapping[str, str], now_s: float, active: bool
    ) -> tuple[list[str], list[str]]:
        """Return the sentences that begin and those that are over; call it often.

        Parameters
        ----------
        troubles : mapping of str to str
            Sentences of what there is now, by name.
        now_s : float
            Time of a steady clock.
        active : bool
            Whether the node runs; with one that does not, troubles vanish without being over.
        """
        begun, over = [], []
        for name, sentence in troubles.items():
            trouble = self._known.setdefault(name, _Trouble(since_s=now_s))
            trouble.seen_s, trouble.sentence = now_s, sentence
            lasts = now_s - trouble.since_s >= LASTING_S
            if lasts and not trouble.told and now_s - trouble.line_s >= LINES_APART_S:
                trouble.told, trouble.line_s = True, now_s
                begun.append(sentence)
        for name in [name for name in self._known if name not in troubles]:
            trouble = self._known[name]
            trouble.told &= active
            if now_s - max(trouble.seen_s, trouble.line_s) < LINES_APART_S:
                continue
            if trouble.told:
                trouble.told, trouble.line_s = False, now_s
                over.append(f"over: {trouble.sentence}")
            else:
                del self._known[name]
        return begun, over


class Health:
    """Meters, counters and notes of one node; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meters: dict[str, Meter] = {}
        self._totals: dict[str, int] = {}  # of all meters that there were
        self._counts: dict[str, int] = {}
        self._drops: dict[str, int] = {}
        self._reported_drops: dict[str, int] = {}
        self._values: dict[str, str] = {}
        self._warnings: dict[str, str] = {}
        self._not_logged: set[str] = set()  # names of warnings
        self.failure = ""

    def watch(self, name: str, timeout_s: float = math.inf, log: bool = True) -> None:
        """Start a meter anew; what it counted stays in the total of that name.

        `log` is False for a silence of which the caller writes in the log.
        """
        with self._lock:
            self._meters[name] = Meter(timeout_s, log)
            self._totals.setdefault(name, 0)

    def unwatch(self) -> None:
        """Forget all meters: the node no longer runs."""
        with self._lock:
            self._meters.clear()

    def tick(self, name: str) -> None:
        """Note that the thing of that name happened now."""
        with self._lock:
            meter = self._meters.setdefault(name, Meter())
            meter.total += 1
            meter.times_s.append(time.monotonic())
            self._totals[name] = self._totals.get(name, 0) + 1

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter that is only shown."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + by

    def drop(self, reason: str, by: int = 1) -> None:
        """Add to a counter of lost or refused things: a growing one is a warning."""
        if by:
            with self._lock:
                self._drops[reason] = self._drops.get(reason, 0) + by

    def drops(self) -> dict[str, int]:
        """Return what was dropped so far, by reason."""
        with self._lock:
            return dict(self._drops)

    def show(self, name: str, value: object) -> None:
        """Set a value that is only shown."""
        with self._lock:
            self._values[name] = str(value)

    def show_duration(self, name: str, duration_ns: int) -> None:
        """Set a value in ms; NaN for less than none, which only a clock that jumped gives."""
        self.show(name, f"{duration_ns / 1e6:.1f}" if duration_ns >= 0 else "nan")

    def warn(self, key: str, sentence: str, log: bool = True) -> None:
        """Set a lasting warning, or clear it with an empty sentence.

        `log` is False for a warning that the caller writes in the log, or that does not belong
        there.
        """
        with self._lock:
            (self._not_logged.discard if log else self._not_logged.add)(key)
            if sentence:
                self._warnings[key] = sentence
            else:
                self._warnings.pop(key, None)

    @property
    def is_silent(self) -> bool:
        """Whether something that should keep happening does not."""
        now_s = time.monotonic()
        with self._lock:
            return any(meter.silence_s(now_s) > meter.timeout_s for meter in self._meters.values())

    def troubles(self) -> dict[str, str]:
        """Return the sentences of what is wrong now and belongs in the log, by name.

        What never came is silent only after `STARTING_S`: others may still be starting.
        """
        now_s = time.monotonic()
        with self._lock:
            found = {
                f"{name} silent": f"{name} silent for {meter.silence_s(now_s):.1f} s"
                for name, meter in self._meters.items()
                if meter.log and meter.silence_s(now_s) > _patience_s(meter)
            }
            told = (key for key in self._warnings if key not in self._not_logged)
            return {**found, **{key: self._warnings[key] for key in told}}

    def report(self, active: bool) -> tuple[Level, str, dict[str, str]]:
        """Return level, one sentence, and all values, for one diagnostic message.

        Drops since the previous call count as news, so there should be one caller.
        """
        now_s = time.monotonic()
        with self._lock:
            values = dict(self._values)
            for name, meter in self._meters.items():
                values[f"{name} rate_hz"] = f"{meter.rate_hz(now_s):.2f}"
                values[f"{name} age_s"] = f"{meter.age_s(now_s):.3f}"
            values.update({f"{name} total": str(total) for name, total in self._totals.items()})
            values.update({name: str(count) for name, count in self._counts.items()})
            values.update({f"dropped: {reason}": str(n) for reason, n in self._drops.items()})
            level, message = self._judge(active, now_s)
            self._reported_drops = dict(self._drops)
        return level, message, values

    def _judge(self, active: bool, now_s: float) -> tuple[Level, str]:
        if self.failure:
            return Level.ERROR, self.failure
        expected = {n: m for n, m in self._meters.items() if math.isfinite(m.timeout_s)}
        silent = {
            name: meter.silence_s(now_s)
            for name, meter in expected.items()
            if meter.silence_s(now_s) > meter.timeout_s
        }
        waiting = [name for name, meter in expected.items() if not meter.total]
        fresh = {
            reason: n - self._reported_drops.get(reason, 0)
            for reason, n in self._drops.items()
            if n > self._reported_drops.get(reason, 0)
        }
        reasons = [f"{n} dropped: {reason}" for reason, n in fresh.items()]
        reasons += self._warnings.values()
        if active and silent:
            sentences = [f"{name} silent for {age_s:.1f} s" for name, age_s in silent.items()]
            return Level.ERROR, "; ".join([*sentences, *reasons])
        if active and waiting:
            return Level.STALE, "; ".join([f"waiting for {', '.join(waiting)}", *reasons])
        if reasons:
            return Level.WARN, "; ".join(reasons)
        return Level.OK, "running" if active else "not active"


def _patience_s(meter: Meter) -> float:
    return meter.timeout_s if meter.total else max(meter.timeout_s, STARTING_S)
