"""R5, over the real transport: damaged messages, and bytes that are none, to live nodes."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from faults.bench import NOT_UNDERSTOOD, Bench
from faults.message_rows import Fuzzing, numbers_of
from faults.mutation import Mutator
from faults.node_cases import NODES, NodeCase
from faults.observer import FaultyError, Observer, surroundings
from faults.parameter_rows import Process
from faults.rows import Outcome, row
from faults.soundness import unsound
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message

from radar_pose_ros.nodes.recorder import message_type
from radar_pose_ros.recording import BagReader

# Of each kind of network, and of none.
LIVE = ("visualizer", "pose_refiner", "densewarper", "radar_preprocessor", "rppg", "mamba_pose")
OTHERS = ("/clock", "/parameter_events", "/rosout", "/diagnostics")
PAUSE_S = 0.002
WELL_WITHIN_S = 30.0
# Whoever is heard by readers of any quality.
FOR_ALL = QoSProfile(
    depth=20, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


class Sender:
    """Publishes whatever a live node listens to."""

    def __init__(self, case: NodeCase, observer: Observer, seed: int) -> None:
        self.case, self.seed, self._observer = case, seed, observer
        found = observer.wait(self._heard, 60.0, f"topics of {case.node}")
        self.publishers = {
            topic.strip("/"): observer.node.create_publisher(
                message_type(kinds[0]), topic, FOR_ALL
            )
            for topic, kinds in found
        }
        stand_in: Any = SimpleNamespace(subscriptions=self.publishers)
        self._valid = Fuzzing(case, stand_in, seed)
        self.k = 0
        time.sleep(1.0)  # the node may learn of the publishers a moment later

    def _heard(self) -> list[tuple[str, list[str]]]:
        node = self._observer.node
        told = node.get_subscriber_names_and_types_by_node(self.case.node, "/")
        return [(topic, kinds) for topic, kinds in told if topic not in OTHERS]

    def tell(self) -> None:
        """Publish what is valid at the next instant."""
        for topic in self._valid.topics:
            number = 0 if self._valid.is_fact(topic) else self.k % self.case.instants
            self.publishers[topic].publish(self._valid.valid(topic, number, self.k))
        self.k += 1

    def damage(self, number: int) -> None:
        """Publish something that is wrong, on one of the topics."""
        rng = random.Random(f"{self.seed}/{number}")
        topic = rng.choice(self._valid.topics)
        valid = self._valid.valid(topic, number % self.case.instants, self.k)
        if rng.random() < 0.5:
            message = Mutator(f"{self.seed}/{topic}/{number}").damaged(valid)
            if message is not None:
                self.publishers[topic].publish(message)
            return
        content = bytearray(serialize_message(valid))
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(4, len(content))] = rng.randrange(256)
        if rng.random() < 0.3:
            del content[rng.randrange(4, len(content)) :]
        self.publishers[topic].publish(bytes(content))


def live(name: str, volume: int, seed: int) -> list[str]:
    """Send so many damaged messages to a live node; say what was wrong."""
    case = NODES[name]
    faults: list[str] = []
    with surroundings() as folder, Observer() as observer:
        own = folder / name
        own.mkdir()
        process = Process(case.node, case.parameters(own), folder, observer)
        outputs: list[Any] = []
        try:
            observer.wait_active(case.node)
            sender = Sender(case, observer, seed)
            _listen(observer, case, outputs.append)
            for number in range(volume):
                if number % 10 == 0:
                    sender.tell()
                sender.damage(number)
                time.sleep(PAUSE_S)
            outputs += [None]  # what comes now is of valid messages

            def well() -> bool:
                sender.tell()
                time.sleep(case.period_s)
                after = outputs[outputs.index(None) + 1 :]
                return any(len(numbers_of(message)) for message in after)

            observer.wait(well, WELL_WITHIN_S, "valid output after it")
            if (state := observer.state(case.node)) != "active":
                faults.append(f"it is {state} now")
            values = observer.last(case.node).values
            faults += [f"{key}: {n}" for key, n in values.items() if NOT_UNDERSTOOD in key]
            faults += [said for message in outputs if message and (said := unsound(message))][:2]
        except FaultyError as error:
            faults.append(str(error))
        if fault := process.end():
            faults.append(fault)
    return [f"{name}: {fault}" for fault in faults]


def _listen(observer: Observer, case: NodeCase, take: Callable[[Any], None]) -> None:
    topic = f"/{case.output.strip('/')}"
    names = dict(observer.node.get_topic_names_and_types())
    kinds = observer.wait(lambda: names.get(topic) or _kinds(observer, topic), 20.0, topic)
    observer.node.create_subscription(message_type(kinds[0]), topic, take, 50)


def _kinds(observer: Observer, topic: str) -> list[str] | None:
    return dict(observer.node.get_topic_names_and_types()).get(topic)


@row(
    "R5",
    fault="damaged messages, and bytes that are no message, over the real transport",
    must_hold="the node is there and active, nothing is not understood, and for valid messages "
    "there is a sound output within 30 s",
    volume=5000,
    unit="messages per node",
)
def messages_over_the_wire(volume: int, seed: int) -> Outcome:
    """Send damaged messages to live nodes."""
    faults = [fault for name in LIVE for fault in live(name, volume, seed)]
    return Outcome(not faults, "; ".join([f"{len(LIVE)} nodes x {volume} messages", *faults[:4]]))


@row(
    "R5",
    fault="bytes that are no message, given to the recorder",
    must_hold="the bag has them all, byte for byte; nobody who reads one of them comes to harm",
    volume=100_000,
    unit="messages",
)
def bytes_to_recorder(volume: int, seed: int) -> Outcome:
    """Record what cannot be read."""
    from radar_pose_ros.nodes import collector

    rng = random.Random(seed)
    config = bytes(serialize_message(NODES["radar_preprocessor"].valid("radar_config", 0)))
    sent: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / "bag"
        with Bench("recorder", {"bag": str(bag)}) as bench:
            bench.start()
            topic = "radar_h/radar_config"
            bench.node._record(f"/{topic}", "radar_pose_ros/msg/RadarConfig", [FOR_ALL])
            store = bench.subscriptions[topic].callback
            for number in range(volume):
                content = bytearray(config)
                for _ in range(rng.randint(0, 8)):
                    content[rng.randrange(len(content))] = rng.randrange(256)
                del content[rng.choice([len(content), rng.randrange(len(content))]) :]
                sent.append(bytes(content))
                store(sent[-1], {"received_timestamp": 10**18 + number * 1000})
                if number % 10 == 0 and not collector.rate_hz(sent[-1]) >= 0:
                    return Outcome(False, f"seed {seed}, message {number}: no rate")
                if number % 1000 == 0:
                    bench.node._flush()
        with BagReader(bag) as reader:
            got = [bytes(data) for _, _, data in reader.serialized([f"/{topic}"])]
    return Outcome(got == sent, f"{len(got)} of {volume} messages are in the bag as they came")
