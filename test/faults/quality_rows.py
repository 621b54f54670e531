"""R7: readers and writers of every topic with every quality of service that others may have."""

from __future__ import annotations

import itertools
import time
from importlib import import_module
from typing import Any, NamedTuple

from faults.every_node import CASES, Case
from faults.observer import WARN, FaultyError, Observer, surroundings
from faults.rows import Outcome, row
from faults.running import RunningGraph

WITHIN_S = 5.0
COMBINATIONS = tuple(
    itertools.product(("RELIABLE", "BEST_EFFORT"), ("VOLATILE", "TRANSIENT_LOCAL"))
)
# Of every node of ROS, and not for its work; tf2's listener and broadcaster see to their own.
OF_ROS = ("/parameter_events", "/rosout", "/clock", "/tf", "/tf_static")


class Endpoint(NamedTuple):
    """What a node reads or writes."""

    topic: str
    type_name: str
    is_read: bool


class Counterpart:
    """Somebody else at a node's topic: writes where it reads, and reads where it writes."""

    def __init__(self, observer: Observer, own: Endpoint, combination: tuple[str, str]) -> None:
        from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

        reliability, durability = combination
        profile = QoSProfile(
            depth=5,
            reliability=ReliabilityPolicy[reliability],
            durability=DurabilityPolicy[durability],
        )
        package, _, name = own.type_name.split("/")
        self._kind = getattr(import_module(f"{package}.msg"), name)
        self._node, self.own, self._profile = observer.node, own, profile
        self.is_connected = False
        if own.is_read:
            events = PublisherEventCallbacks(matched=self._match, use_default_callbacks=False)
            self._end: Any = self._node.create_publisher(
                self._kind, own.topic, profile, event_callbacks=events
            )
        else:
            heard = SubscriptionEventCallbacks(matched=self._match, use_default_callbacks=False)
            self._end = self._node.create_subscription(
                self._kind, own.topic, lambda _: None, profile, event_callbacks=heard
            )

    def _match(self, event: Any) -> None:
        self.is_connected = event.current_count > 0

    def policies_apart(self, node: str) -> list[str]:
        """Return in which policies it and the node are too different; empty if they get on."""
        from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

        if self.own.is_read:
            found = self._node.get_subscriptions_info_by_topic(self.own.topic)
        else:
            found = self._node.get_publishers_info_by_topic(self.own.topic)
        own = next(info.qos_profile for info in found if info.node_name == node)
        offered, wanted = (self._profile, own) if self.own.is_read else (own, self._profile)
        apart = []
        if (offered.reliability, wanted.reliability) == (
            ReliabilityPolicy.BEST_EFFORT,
            ReliabilityPolicy.RELIABLE,
        ):
            apart.append("reliability")
        if (offered.durability, wanted.durability) == (
            DurabilityPolicy.VOLATILE,
            DurabilityPolicy.TRANSIENT_LOCAL,
        ):
            apart.append("durability")
        return apart

    def publish(self) -> None:
        """Publish an empty message, if the node reads."""
        if self.own.is_read:
            self._end.publish(self._kind())

    def leave(self) -> None:
        """Go."""
        if self.own.is_read:
            self._node.destroy_publisher(self._end)
        else:
            self._node.destroy_subscription(self._end)


def endpoints(observer: Observer, node: str) -> list[Endpoint]:
    """Return what a node reads and writes for its work."""
    read = observer.node.get_subscriber_names_and_types_by_node(node, "/")
    written = observer.node.get_publisher_names_and_types_by_node(node, "/")
    found = [Endpoint(topic, types[0], True) for topic, types in read]
    found += [Endpoint(topic, types[0], False) for topic, types in written]
    return [
        end for end in found if end.topic not in OF_ROS and "transition_event" not in end.topic
    ]


class Judge:
    """Puts counterparts at all topics of a node and looks what becomes of it."""

    def __init__(self, graph: RunningGraph, observer: Observer, node: str) -> None:
        self._graph, self._observer, self._node = graph, observer, node
        self.connected = self.warned = 0
        self.faults: list[str] = []

    def try_combination(self, combination: tuple[str, str]) -> None:
        """Judge all topics with counterparts of one quality of service."""
        begin_s = time.monotonic()
        there = [
            Counterpart(self._observer, own, combination)
            for own in endpoints(self._observer, self._node)
        ]
        for other in there:
            about = f"{self._node}, {other.own.topic}, {' and '.join(combination).lower()}"
            try:
                self._judge(other, begin_s, about)
            except FaultyError as error:
                self.faults.append(f"{about}: {error}")
        for other in there:
            other.leave()
        left_s = time.monotonic()
        try:
            self._observer.wait(
                lambda: any(
                    "somebody" not in said.sentence
                    for said in self._observer.since(self._node, left_s)
                ),
                WITHIN_S,
                "end of the warning",
            )
        except FaultyError as error:
            self.faults.append(f"{self._node}: {error}")

    def _judge(self, other: Counterpart, begin_s: float, about: str) -> None:
        apart = other.policies_apart(self._node)
        if not apart:
            self._observer.wait(lambda: other.is_connected, WITHIN_S, "connection")
            if other.own.is_read:
                self._wait_for_data(other)
            self.connected += 1
            return

        def told() -> bool:
            return any(
                said.level >= WARN
                and other.own.topic in said.sentence
                and any(policy in said.sentence for policy in apart)
                for said in self._observer.since(self._node, begin_s)
            )

        self._observer.wait(told, begin_s + WITHIN_S - time.monotonic(), "warning")
        logged = self._graph.printed(other.own.topic, begin_s)
        if not any("[WARN]" in line and any(p in line for p in apart) for line in logged):
            self.faults.append(f"{about}: no warning in the log")
        if other.is_connected:
            self.faults.append(f"{about}: connected nevertheless")
        self.warned += 1

    def _wait_for_data(self, other: Counterpart) -> None:
        """Wait until the node says that a message came."""
        came = f"{other.own.topic.lstrip('/')}: came"
        before = self._observer.last(self._node).count(came)
        other.publish()
        self._observer.wait(
            lambda: self._observer.last(self._node).count(came) > before, WITHIN_S, "data"
        )


# These look for whatever is published, and ask for no more than is offered.
CHOOSERS = ("recorder", "viewer", "replayer")


def judge_node(case: Case, combinations: list[tuple[str, str]]) -> tuple[int, int, list[str]]:
    """Return how many ends were connected, how many warned of, and what did not hold."""
    with surroundings() as folder:
        node = case.spec(folder)
        with RunningGraph([node]) as graph, Observer() as observer:
            judge = Judge(graph, observer, node.label)
            try:
                observer.wait_active(node.label)
                observer.wait(
                    lambda: node.label in observer.node.get_node_names(), 10.0, "name of the node"
                )
                for combination in combinations:
                    judge.try_combination(combination)
            except FaultyError as error:
                judge.faults.append(str(error))
            if graph.printed("Traceback"):
                judge.faults.append(f"a traceback of {node.label}")
    return judge.connected, judge.warned, judge.faults


JUDGED = tuple(case for case in CASES if case.name not in CHOOSERS)


@row(
    "R7",
    fault="4 combinations of reliability and durability of somebody at every topic of every node",
    must_hold="data flows, or WARN in log and diagnostics names topic and policy within 5 s",
    volume=len(JUDGED) * len(COMBINATIONS),
    unit="combinations",
)
def mismatch_quality(volume: int, seed: int) -> Outcome:
    """Node by node, in an order that the seed gives; all combinations of each."""
    import numpy as np

    connected, warned, faults, missing = 0, 0, [], []
    order = np.random.default_rng(seed).permutation(len(JUDGED)) if seed else range(len(JUDGED))
    left = volume
    for number in order:
        case = JUDGED[number]
        combinations = list(COMBINATIONS[:left])
        left -= len(combinations)
        if not combinations:
            break
        if case.missing:
            missing.append(case.name)
            continue
        found = judge_node(case, combinations)
        connected, warned, faults = connected + found[0], warned + found[1], faults + found[2]
    figures = f"{connected} connected, {warned} warned of"
    figures += f"; not installed: {', '.join(missing)}" if missing else ""
    return Outcome(not faults, "; ".join([figures, *faults[:6]]))
