"""What is measured of a graph that runs for long: memory, files, threads, poses, errors."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import psutil
from scipy import stats

BLOCKS = 60  # medians that a slope is of [choice]
FEWEST_BLOCKS = 8
LIMIT_MIB_PER_H = 1.0
# What grows by kilobytes in a minute, since streams begin and buffers fill, says nothing of hours.
LONG_ENOUGH_S = 1200.0  # [choice]
SURE = 2.0  # standard errors by which a slope is above or below the limit
END_SHARE = 0.1  # of the time after the warm-up: what is first, and last, is the median of that
MIB = 2.0**20
PERCENTILES = (50, 95, 99)

# What a node says that has met what it did not expect.
TROUBLE = re.compile(
    r"Traceback \(most recent call last\)|\[(ERROR|FATAL)\]|\] error: |terminate called"
    r"|Segmentation fault|Exception (ignored )?in|ended with code|did not end in time"
)
MOST_TROUBLES = 50  # that are kept word by word
LINES_AFTER = 15  # of a traceback


class Sample(NamedTuple):
    """One look at a process."""

    time_s: float  # since the beginning of the soak
    memory_mib: float  # resident, with what it shares with others
    files: int
    threads: int
    cpu_s: float  # so far


class Slope(NamedTuple):
    """How something grows."""

    per_h: float
    error: float  # standard
    span_s: float  # from the first sample to the last

    def verdict(self, limit: float) -> bool | None:
        """Return whether it is at most the limit; None if it is too uncertain to be told.

        It is, too, if it was seen for less than `LONG_ENOUGH_S`.
        """
        if not math.isfinite(self.per_h) or self.span_s < LONG_ENOUGH_S:
            return None
        if self.per_h - SURE * self.error > limit:
            return False
        return True if self.per_h + SURE * self.error <= limit else None


def slope(times_s: Sequence[float], values: Sequence[float]) -> Slope:
    """Return the slope per hour: Theil and Sen's, of the medians of equal pieces of the time.

    Single jumps and outliers move it little. Neighbouring samples are nearly the same, so their
    number says nothing of how certain it is: that follows from the medians, by Sen's interval.

    Returns
    -------
    Slope
        NaN with too few pieces.
    """
    times, given = np.asarray(times_s, float), np.asarray(values, float)
    pieces = min(BLOCKS, len(times))
    if pieces < FEWEST_BLOCKS or np.ptp(times) == 0:
        return Slope(math.nan, math.nan, 0.0)
    edges = np.linspace(times[0], times[-1], pieces + 1)
    number = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, pieces - 1)
    filled = np.unique(number)
    x = np.array([np.median(times[number == k]) for k in filled]) / 3600.0
    y = np.array([np.median(given[number == k]) for k in filled])
    if len(filled) < FEWEST_BLOCKS:
        return Slope(math.nan, math.nan, 0.0)
    found = stats.theilslopes(y, x, alpha=0.95)
    error = (found.high_slope - found.low_slope) / (2 * stats.norm.ppf(0.975))
    return Slope(float(found.slope), float(error), float(np.ptp(times)))


class Flatness(NamedTuple):
    """What a count was after the warm-up, at the end, and at most."""

    first: float
    last: float
    most: float

    @property
    def flat(self) -> bool | None:
        """Whether it has not grown; None if there was nothing to see."""
        return None if math.isnan(self.first) else self.last <= self.first


def flatness(values: Sequence[float]) -> Flatness:
    """Return what a count was at the beginning and at the end, as medians, and its maximum."""
    if not values:
        return Flatness(math.nan, math.nan, math.nan)
    share = max(1, int(END_SHARE * len(values)))
    ends = np.median(values[:share]), np.median(values[-share:])
    return Flatness(float(ends[0]), float(ends[1]), float(max(values)))


@dataclass(frozen=True)
class ProcessFindings:
    """How a process fared after the warm-up."""

    memory_mib: float  # at the end
    growth: Slope  # MiB per hour
    files: Flatness
    threads: Flatness
    cores: float  # mean


def findings(samples: Sequence[Sample], warm_up_s: float) -> ProcessFindings:
    """Return what samples of a process show, those before the warm-up left out."""
    warm = [sample for sample in samples if sample.time_s >= warm_up_s]
    cores = memory = math.nan
    if len(warm) > 1:
        cores = (warm[-1].cpu_s - warm[0].cpu_s) / (warm[-1].time_s - warm[0].time_s)
    if samples:
        memory = samples[-1].memory_mib
    return ProcessFindings(
        memory,
        slope([s.time_s for s in warm], [s.memory_mib for s in warm]),
        flatness([s.files for s in warm]),
        flatness([s.threads for s in warm]),
        cores,
    )


def together(samples: Mapping[str, Sequence[Sample]], warm_up_s: float) -> Slope:
    """Return how the memory of all processes together grows, in MiB per hour."""
    times: dict[float, list[float]] = {}
    for of_process in samples.values():
        for sample in of_process:
            if sample.time_s >= warm_up_s:
                times.setdefault(sample.time_s, []).append(sample.memory_mib)
    whole = {t: sum(all_) for t, all_ in times.items() if len(all_) == len(samples)}
    return slope([*whole], [*whole.values()])


class Processes:
    """Looks at processes again and again.

    Attributes
    ----------
    samples : dict
        By label, of the process that runs under it now: a new one begins anew.
    """

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = {}
        self._known: dict[str, psutil.Process] = {}

    def look(self, process_ids: Mapping[str, int], time_s: float) -> None:
        """Take a sample of each process, by label; those that have ended meanwhile have none."""
        for label, process_id in process_ids.items():
            process = self._known.get(label)
            try:
                if process is None or process.pid != process_id:
                    self._known[label] = process = psutil.Process(process_id)
                    self.samples[label] = []
                with process.oneshot():
                    used = process.cpu_times()
                    self.samples[label].append(
                        Sample(
                            time_s,
                            process.memory_info().rss / MIB,
                            process.num_fds(),
                            process.num_threads(),
                            used.user + used.system,
                        )
                    )
            except psutil.Error:
                continue

    @property
    def memory_mib(self) -> float:
        """All memory at the last look."""
        return sum(s[-1].memory_mib for s in self.samples.values() if s)


@dataclass
class Words:
    """What nodes print: keeps lines that speak of trouble, and the lines after them.

    Parameters
    ----------
    clock : callable
        Seconds since the beginning.

    Attributes
    ----------
    troubles : list of str
        The first of them, with time and node.
    count : int
        How many there were.
    warnings : dict of str to int
        Number of warnings, by node.
    """

    clock: Callable[[], float]
    troubles: list[str] = field(default_factory=list)
    count: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    _following: dict[str, int] = field(default_factory=dict)

    def take(self, line: str) -> bool:
        """Take a line ``[label] text``; return whether it speaks of trouble."""
        label, _, text = line.partition("] ")
        label = label.lstrip("[")
        if "[WARN]" in text:
            self.warnings[label] = self.warnings.get(label, 0) + 1
        found = TROUBLE.search(line) is not None
        # A traceback that was logged as an error is one trouble, not two.
        within = self._following.get(label, 0)
        new = found and not (within and "Traceback" in text)
        self.count += new
        if found:
            self._following[label] = LINES_AFTER
        elif within:
            self._following[label] = 0 if text.startswith("[") else within - 1
        if (found or self._following.get(label)) and len(self.troubles) < MOST_TROUBLES:
            self.troubles.append(f"{self.clock():.1f} s {line}")
        return new


@dataclass(frozen=True)
class PoseFindings:
    """How poses of a topic came."""

    count: int
    rate_hz: float  # from the first to the last
    age_ms: tuple[float, float, float]  # percentiles 50, 95, 99 from stamp to arrival


def pose_findings(arrivals_s: Iterable[float], ages_s: Iterable[float]) -> PoseFindings:
    """Return how poses came, by when they did and how old they were then."""
    arrived = np.asarray([*arrivals_s], float)
    ages = np.asarray([*ages_s], float)
    rate = (len(arrived) - 1) / np.ptp(arrived) if len(arrived) > 1 else math.nan
    known = ages[np.isfinite(ages)]
    shares = np.percentile(known, PERCENTILES) * 1e3 if len(known) else [math.nan] * 3
    return PoseFindings(len(arrived), float(rate), tuple(map(float, shares)))  # type: ignore[arg-type]


class RecentRate:
    """Counts what happened in the last seconds.

    Parameters
    ----------
    span_s : float
    """

    def __init__(self, span_s: float) -> None:
        self.span_s = span_s
        self._seen: deque[tuple[float, int]] = deque()

    def rate_hz(self, now_s: float, total: int) -> float:
        """Take how many there are by now; return the rate over the last seconds, NaN at first."""
        self._seen.append((now_s, total))
        while len(self._seen) > 1 and now_s - self._seen[1][0] >= self.span_s:
            self._seen.popleft()
        begin_s, before = self._seen[0]
        return (total - before) / (now_s - begin_s) if now_s > begin_s else math.nan
