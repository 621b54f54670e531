"""R5: messages that are wrong, to each subscriber of each node."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from faults.bench import ENDED, NOT_UNDERSTOOD, Bench
from faults.mutation import Mutator
from faults.node_cases import BEGIN_NS, NODES, NodeCase, hri_msgs
from faults.rows import Outcome, row
from faults.soundness import unsound, wrong

from radar_pose_ros import msg

KEPT = 16  # valid messages of a topic, from which damaged ones are made
WELL_EVERY = 10  # after so many damaged messages everybody tells something valid
MOST_TOLD = 4  # faults that are told
MOST_KEYS, LONGEST_VALUE = 200, 4000  # of what a node says of itself
MOST_GROWN_MIB = 64.0  # in the second half


class Fuzzing:
    """One node, and everything that was ever done to it.

    Attributes
    ----------
    counts : Counter
        "delivered", "refused", "unreadable", "taken" and "outputs".
    faults : dict
        Of each kind of fault, how often and where first.
    """

    def __init__(self, case: NodeCase, bench: Bench, seed: int) -> None:
        self.case, self.bench, self.seed = case, bench, seed
        self.counts: Counter[str] = Counter()
        self.faults: dict[str, list[Any]] = {}
        self._k = 0  # of the next instant
        self._valid: dict[tuple[str, int], Any] = {}
        self._drops: dict[str, int] = {}
        self._last = np.zeros(0)  # numbers on the output

    @property
    def topics(self) -> list[str]:
        """All that the node listens to; what defines others comes last."""
        found = list(self.bench.subscriptions)
        return sorted(found, key=lambda topic: topic.endswith("skeleton"))

    def is_fact(self, topic: str) -> bool:
        """Whether that topic tells what does not change."""
        return any(topic == end or topic.endswith(f"/{end}") for end in self.case.facts)

    def valid(self, topic: str, number: int, k: int) -> Any:
        """Return the message of that number, stamped as of the k-th instant."""
        if (topic, number) not in self._valid:
            self._valid[topic, number] = self.case.valid(topic, number)
        message = self._valid[topic, number]
        if hasattr(message, "header") and message.header.stamp.sec:
            stamp_ns = BEGIN_NS + round(k * self.case.period_s * 1e9)
            stamp = message.header.stamp
            stamp.sec, stamp.nanosec = stamp_ns // 10**9, stamp_ns % 10**9
        return message

    def _deliver(self, topic: str, message: Any) -> None:
        if self.case.listen is not None and topic not in self.bench.subscriptions:
            self.case.listen(self.bench.node)  # it began anew
        self.bench.deliver(topic, message)

    def tell_facts(self) -> None:
        """Tell what does not change."""
        for end in self.case.facts:
            for topic in self.topics:
                if topic == end or topic.endswith(f"/{end}"):
                    self._deliver(topic, self.valid(topic, 0, self._k))

    def stream(self) -> np.ndarray:
        """Feed valid messages; return what the last output says, empty if it says nothing."""
        self._look("before a valid stream")
        self.tell_facts()
        self._last = np.zeros(0)
        for number in range(self.case.instants):
            for topic in self.topics:
                if not self.is_fact(topic):
                    self._deliver(topic, self.valid(topic, number, self._k))
            self._k += 1
        until_s = time.monotonic() + self.case.settles_s
        while time.monotonic() < until_s:
            time.sleep(0.02)
        refused = self._look("a valid stream")
        for key in refused:
            self._fault(f"valid messages refused: {key}", "in a stream")
        return self._last if self.case.output else np.ones(1)

    def tell(self, topic: str, number: int) -> None:
        """Deliver one damaged message, and judge what came of it."""
        if number % WELL_EVERY == 0:
            self.tell_facts()
            for other in self.topics:
                if not self.is_fact(other):
                    self._deliver(other, self.valid(other, number % KEPT, self._k))
            self._k += 1
            self._look(f"valid messages before message {number} of {topic}")
        where = f"{topic}, message {number}"
        valid = self.valid(topic, 0 if self.is_fact(topic) else number % KEPT, self._k)
        message = Mutator(f"{self.seed}/{topic}/{number}").damaged(valid)
        if message is None:
            self.counts["unreadable"] += 1
            return
        self._k += 1
        reason = wrong(message, self.case.skeletons)
        self._deliver(topic, message)
        self.counts["delivered"] += 1
        refused = self._look(where)
        mine = any(key.lstrip("/").startswith(f"{topic}: ") for key in refused)
        if self.case.listen is not None:  # it draws what it can, and counts the rest together
            mine, reason = any("cannot be drawn" in key for key in refused), ""
        self.counts["refused" if mine else "taken"] += 1
        if reason and not mine:
            self._fault(
                f"{topic} taken though wrong: {reason.split(' ')[0]}", f"{where}, {reason}"
            )

    def _look(self, where: str) -> dict[str, int]:
        """Return what was refused since the last time; judge what went out."""
        drops = self.bench.drops()
        new = {key: n - self._drops.get(key, 0) for key, n in drops.items()}
        self._drops = drops
        for key in new:
            if new[key] and (NOT_UNDERSTOOD in key or ENDED in key):
                said = next((s.text for s in reversed(self.bench.log.lines)), "")
                self._fault(f"{key}: {_last_line(said)}", where)
        for topic, message in self.bench.take_sent():
            self.counts["outputs"] += 1
            if topic == self.case.output and len(numbers := numbers_of(message)):
                self._last = numbers
            if fault := unsound(message):
                self._fault(f"published on {topic}: {fault[:60]}", f"{where}: {fault}")
        return {key: n for key, n in new.items() if n and (": " in key or "drawn" in key)}

    def look_at_health(self) -> None:
        """What the node says of itself must stay as long as it was."""
        self.bench.spin()
        _, message, values = self.bench.node.health.report(True)
        longest = max(map(len, (message, *values, *values.values())))
        if len(values) > MOST_KEYS or longest > LONGEST_VALUE:
            self._fault(f"diagnostics of {len(values)} values, one of {longest} letters", "")
        if not self.bench.node.is_active:
            self._fault("no longer active", "")

    def _fault(self, kind: str, where: str) -> None:
        self.faults.setdefault(kind, [0, where])[0] += 1


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    places = [line.strip() for line in lines if line.strip().startswith("File ")]
    return f"{lines[-1]} ({places[-1] if places else ''})" if lines else ""


def numbers_of(message: Any) -> np.ndarray:
    """Return what a message says, in numbers; empty if it says nothing that is known."""
    if isinstance(message, msg.HumanPose2DArray):
        found = [(k.x, k.y) for person in message.poses for k in person.keypoints]
    elif isinstance(message, msg.HumanPose3DArray):
        places = [k.position for person in message.poses for k in person.keypoints]
        found = [(p.x, p.y, p.z) for p in places]
    elif isinstance(message, msg.RadarHeatmap):
        found = [list(message.data)]
    elif isinstance(message, msg.HeartRate):
        found = [[message.heart_rate_bpm]]
    elif hasattr(message, "transforms"):
        shifts = [t.transform.translation for t in message.transforms]
        found = [(s.x, s.y, s.z) for s in shifts]
    else:
        found = [(p.x, p.y, p.z) for marker in message.markers for p in marker.points]
    values = np.array(found, np.float64).ravel()
    return values if np.isfinite(values).any() else np.zeros(0)


def fuzzed(name: str, volume: int, seed: int) -> Outcome:
    """Send so many damaged messages to each subscriber of a node."""
    case = NODES[name]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(hri_msgs())
        bench = stack.enter_context(Bench(case.node, case.parameters(folder)))
        bench.start()
        if case.listen is not None:
            case.listen(bench.node)
        fuzzing = Fuzzing(case, bench, seed)
        before = fuzzing.stream()
        if not len(before):
            return Outcome(False, f"{name}: not well before anything was wrong")
        process = psutil.Process()
        begin_bytes, half = 0, len(fuzzing.topics) * volume // 2
        for place, topic in enumerate(fuzzing.topics):
            for number in range(volume):
                if place * volume + number == half:  # what grows before is imported, or fills up
                    begin_bytes = process.memory_info().rss
                fuzzing.tell(topic, number)
            fuzzing.look_at_health()
        grown_mib = (process.memory_info().rss - begin_bytes) / 2**20
        topics = len(fuzzing.topics)
        after = fuzzing.stream()
        return _judged(name, topics, volume, seed, fuzzing, before, after, grown_mib)


def _judged(
    name: str,
    topics: int,
    volume: int,
    seed: int,
    fuzzing: Fuzzing,
    before: np.ndarray,
    after: np.ndarray,
    grown_mib: float,
) -> Outcome:
    faults = [
        f"{count} x {kind} (first: {where})" for kind, (count, where) in fuzzing.faults.items()
    ]
    if not len(after):
        faults.append("no valid output after it")
    elif np.isfinite(fuzzing.case.again_m):
        apart = np.abs(after - before).max() if after.shape == before.shape else np.inf
        if not apart <= fuzzing.case.again_m:
            faults.append(f"the valid output after it is {apart:g} off")
    if grown_mib > MOST_GROWN_MIB:
        faults.append("memory grew")
    c = fuzzing.counts
    figures = (
        f"{name}: {topics} subscribers x {volume} messages: {c['refused']} refused, "
        f"{c['taken']} taken, {c['unreadable']} unreadable, {c['outputs']} outputs, "
        f"{grown_mib:.0f} MiB grown in the second half"
    )
    if faults:
        more = f"; and {len(faults) - MOST_TOLD} more" if len(faults) > MOST_TOLD else ""
        figures += f"; seed {seed}: " + "; ".join(faults[:MOST_TOLD]) + more
    return Outcome(not faults, figures)


def _enter(name: str) -> None:
    def run(volume: int, seed: int) -> Outcome:
        return fuzzed(name, volume, seed)

    run.__name__ = f"messages_to_{name}"
    enter: Callable[[Any], Any] = row(
        "R5",
        fault=f"damaged messages to {name}, to each of its subscribers: any field empty, NaN, "
        "infinite, negative, huge or too long, bits flipped, times an hour off",
        must_hold="each is refused and counted, or harmless; nothing infinite, implausible or "
        "without a time goes out; no exception; active, and as before for valid messages",
        volume=100_000,
        unit="messages per subscriber",
    )
    enter(run)


for _name in NODES:
    _enter(_name)
