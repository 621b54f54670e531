"""A graph under its runner, what flows in it, and kill -9 at random moments."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from faults.observer import FaultyError, Observer

from radar_pose_ros import graph_runner
from radar_pose_ros.graph_runner import GraphRunner
from radar_pose_ros.graphs import NodeSpec

POLL_S = 0.05
BACK_WITHIN_S = 10.0  # from the kill to an active node
QUIET_S = 3.0  # that long others may be held up while a node starts on the same cores [choice]
FLOWING_S = 1.5  # what came within that time flows
ALL_FLOW_WITHIN_S = 90.0
LATEST_S = 0.5  # a stamp that much ahead of the clock is one of the future
KILLED_AGAIN = 0.2  # share of kills that hit a node again while it starts


class RunningGraph:
    """Nodes under a `GraphRunner` that a thread polls, and what they print, with when."""

    def __init__(self, nodes: Sequence[NodeSpec]) -> None:
        self.lines: list[tuple[float, str]] = []
        self.runner = GraphRunner(nodes, lambda line: self.lines.append((time.monotonic(), line)))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self.ended = False

    def __enter__(self) -> RunningGraph:
        self.runner.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self.runner.stop()

    def _poll(self) -> None:
        while not self._closing.wait(POLL_S):
            if not self.runner.poll():
                self.ended = True
                return

    def printed(self, text: str, since_s: float = 0.0) -> list[str]:
        """Return the lines with this text in them, from a time on."""
        return [line for at_s, line in list(self.lines) if at_s >= since_s and text in line]

    def kill(self, label: str) -> float:
        """End a process without warning; return when."""
        os.kill(self.runner.process_ids[label], signal.SIGKILL)
        return time.monotonic()


@dataclass
class Flow:
    """A topic of a graph, its messages judged as they come.

    Parameters
    ----------
    topic : str
    kind : type
        Of its messages.
    check : callable
        Raises `ValueError` for a message that says nonsense.
    needs : set of str
        Labels of the processes without which it stands still.
    """

    topic: str
    kind: type
    check: Callable[[Any], None]
    needs: frozenset[str]
    arrivals_s: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _stamps_ns: dict[bytes, int] = field(default_factory=dict)  # the last one of each publisher

    def listen(self, observer: Observer) -> None:
        """Judge what comes from now on."""
        from radar_pose_ros.nodes.base import SENSOR_DATA

        observer.node.create_subscription(self.kind, self.topic, self._take, SENSOR_DATA)

    def _take(self, message: Any, about: Any) -> None:
        self.arrivals_s.append(time.monotonic())
        try:
            if hasattr(message, "header"):
                stamp = message.header.stamp
                self._check_stamp(
                    bytes(about["publisher_gid"]["data"]), stamp.sec * 10**9 + stamp.nanosec
                )
            self.check(message)
        except (ValueError, AssertionError) as error:
            self.faults.append(f"{self.topic}: {error}")

    def _check_stamp(self, publisher: bytes, stamp_ns: int) -> None:
        before_ns = self._stamps_ns.get(publisher, 0)
        self._stamps_ns[publisher] = stamp_ns
        if stamp_ns < before_ns:
            raise ValueError(f"stamp {stamp_ns} after {before_ns}")
        if stamp_ns > time.time_ns() + LATEST_S * 1e9:
            raise ValueError(f"stamp {stamp_ns} is of the future")

    def longest_pause_s(self, begin_s: float, end_s: float) -> float:
        """Return the longest time without a message between two instants."""
        inside = [t for t in list(self.arrivals_s) if begin_s <= t <= end_s]
        return float(np.diff([begin_s, *inside, end_s]).max())

    @property
    def flows(self) -> bool:
        """Whether a message came just now."""
        return bool(self.arrivals_s) and time.monotonic() - self.arrivals_s[-1] < FLOWING_S


# -- what may be in a message ----------------------------------------------------------------


def check_people(message: Any) -> None:
    """Raise if a message of poses says nonsense."""
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.skeleton.definitions import SKELETONS

    convert.message_to_people(message, len(SKELETONS[message.skeleton].joints))


def check_heatmap(message: Any) -> None:
    """Raise if a heatmap says nonsense."""
    from radar_pose_ros.nodes import convert

    convert.message_to_heatmap(message)


def check_samples(message: Any) -> None:
    """Raise if raw samples have not the size that they say."""
    shape = (message.loops, message.transmitters, message.receivers, message.samples, 2)
    if len(message.data) != math.prod(shape):
        raise ValueError(f"{len(message.data)} values, shape {shape}")


def check_cloud(message: Any) -> None:
    """Raise if a cloud has not the size that it says."""
    if len(message.data) != message.width * message.height * message.point_step:
        raise ValueError(f"{len(message.data)} bytes for {message.width} points")


def check_markers(message: Any) -> None:
    """Raise if a marker is nowhere."""
    for marker in message.markers:
        places = [marker.pose.position, *marker.points]
        if not np.isfinite([(p.x, p.y, p.z) for p in places]).all():
            raise ValueError(f"marker {marker.ns} is not in space")


def check_rate(message: Any) -> None:
    """Raise if a heart rate is none."""
    rate = message.heart_rate_bpm
    if (message.state == message.OK) != (39 <= rate <= 180):
        raise ValueError(f"{rate} beats per minute in state {message.state}")


def check_image(message: Any) -> None:
    """Raise if an image has not the size that it says."""
    if len(message.data) != message.step * message.height:
        raise ValueError(f"{len(message.data)} bytes for {message.height} rows of {message.step}")


# -- kill -9 ---------------------------------------------------------------------------------


@dataclass
class Kills:
    """What came of killing nodes of a graph.

    Attributes
    ----------
    count : int
        Kills so far.
    back_s : list of float
        How long each killed process was away: from its kill until all its nodes said that they
        are active.
    faults : list of str
        What did not hold.
    """

    count: int = 0
    back_s: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Killer:
    """Kills the processes of a running graph, one after the other, each at a random moment.

    A process that runs for less than the runner's `STEADY_AFTER_S` waits longer before it is
    started again: who is killed has run for longer than that, unless it is killed again on purpose
    while it starts.
    """

    def __init__(
        self,
        graph: RunningGraph,
        observer: Observer,
        nodes: Sequence[NodeSpec],
        flows: Iterable[Flow],
        rng: np.random.Generator,
    ) -> None:
        self._graph, self._observer, self._rng = graph, observer, rng
        self._nodes = {node.label: [part.label for part in node.each] for node in nodes}
        self._flows = list(flows)
        for flow in self._flows:
            flow.listen(observer)
        self._began_s = dict.fromkeys(self._nodes, -math.inf)  # anew, after a kill

    def wait_for_all(self) -> None:
        """Wait until every node is active and everything flows."""
        for label in [label for labels in self._nodes.values() for label in labels]:
            self._observer.wait_active(label, timeout_s=ALL_FLOW_WITHIN_S)

        def all_flow() -> bool:
            return all(flow.flows for flow in self._flows)

        try:
            self._observer.wait(all_flow, ALL_FLOW_WITHIN_S, "flow")
        except FaultyError:
            still = ", ".join(flow.topic for flow in self._flows if not flow.flows)
            raise FaultyError(f"nothing on {still} for {ALL_FLOW_WITHIN_S:g} s") from None

    def run(self, count: int) -> Kills:
        """Kill that often, each process as often as the others."""
        kills = Kills()
        order: list[str] = []
        for _ in range(count):
            order = order or list(self._rng.permutation(list(self._nodes)))
            try:
                self.wait_for_all()
                self._kill(order.pop(), kills)
            except FaultyError as error:
                kills.faults.append(str(error))
                break
        with contextlib.suppress(FaultyError):
            self.wait_for_all()
        kills.faults += [fault for flow in self._flows for fault in flow.faults]
        return kills

    def _kill(self, label: str, kills: Kills) -> None:
        steady_s = self._began_s[label] + graph_runner.STEADY_AFTER_S - time.monotonic()
        time.sleep(max(0.0, steady_s) + self._rng.uniform(0.0, 1.0))
        before = dict(self._graph.runner.process_ids)
        begin_s = killed_s = self._graph.kill(label)
        kills.count += 1
        if self._rng.random() < KILLED_AGAIN:
            first = before[label]
            self._observer.wait(
                lambda: self._graph.runner.process_ids.get(label, first) != first,
                BACK_WITHIN_S,
                f"second process of {label}",
            )
            time.sleep(self._rng.uniform(0.0, 3.0))
            killed_s = self._graph.kill(label)
        self._began_s[label] = time.monotonic()
        back_s = 0.0
        for node in self._nodes[label]:
            said = self._observer.wait_active(node, killed_s + 0.3, 3 * BACK_WITHIN_S)
            back_s = max(back_s, said.at_s - killed_s)
        kills.back_s.append(back_s)
        if back_s > BACK_WITHIN_S:
            kills.faults.append(f"{label} was away for {back_s:.1f} s")
        self._look_at_others(label, before, begin_s, kills)

    def _look_at_others(
        self, label: str, before: dict[str, int], begin_s: float, kills: Kills
    ) -> None:
        now, end_s = self._graph.runner.process_ids, time.monotonic()
        for other, nodes in self._nodes.items():
            if other == label:
                continue
            if now.get(other) != before[other]:
                kills.faults.append(f"{other} ended, too, when {label} was killed")
            for node in nodes:
                if any(said.state != "active" for said in self._observer.since(node, begin_s)):
                    kills.faults.append(f"{node} became inactive when {label} was killed")
        for flow in self._flows:
            pause_s = flow.longest_pause_s(begin_s, end_s)
            if label not in flow.needs and pause_s > QUIET_S:
                kills.faults.append(
                    f"{flow.topic} stood still for {pause_s:.1f} s when {label} was killed"
                )
