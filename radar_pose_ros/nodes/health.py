"""What a node knows about its own state: rates, ages, counters. The material of diagnostics."""

from __future__ import annotations

import enum
import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 5.0
RATE_SAMPLES = 256


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
    """

    timeout_s: float = math.inf
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
        self.failure = ""

    def watch(self, name: str, timeout_s: float = math.inf) -> None:
        """Start a meter anew; what it counted stays in the total of that name."""
        with self._lock:
            self._meters[name] = Meter(timeout_s)
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

    def warn(self, key: str, sentence: str) -> None:
        """Set a lasting warning, or clear it with an empty sentence."""
        with self._lock:
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
