"""Node replayer: the messages of a bag, at the pace at which they were recorded."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.node import NodeNameNonExistentError
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from radar_pose_ros.nodes import transport
from radar_pose_ros.nodes.base import ManagedNode, run
from radar_pose_ros.nodes.convert import NANOSECONDS, to_stamp
from radar_pose_ros.nodes.recorder import message_type
from radar_pose_ros.recording import (
    BagReader,
    RecordingError,
    Topic,
    is_named,
    topics_of_level,
)

CLOCK = "/clock"
CLOCK_STEP_S = 0.01  # between two times on /clock
SETTLE_S = 1.0  # after the last one who was waited for: not all may have found each other yet
LINGER_S = 3.0  # after the last message, for those who still compute
MOST_FACTS = 1000  # that are told to those who come late, of each latched topic
LATE_S = 0.5  # messages that go out later than that after their turn are worth a warning
SHOW_S = 0.2  # between two updates of what diagnostics say
# Every node has those; who reads nothing else does not listen yet.
NOT_LISTENING = (CLOCK, "/parameter_events", "/rosout", "/diagnostics")


@dataclass(frozen=True)
class Part:
    """What to play of a bag: from when (inclusive) until when (exclusive), ns since 1970."""

    begin_ns: int
    end_ns: int

    @property
    def length_s(self) -> float:
        """In the time of the bag."""
        return (self.end_ns - self.begin_ns) / NANOSECONDS


def part_of(first_ns: int, last_ns: int, from_s: float, to_s: float) -> Part:
    """Return what to play; ``ValueError`` if that is nothing.

    Parameters
    ----------
    first_ns, last_ns : int
        When the first and the last message were received.
    from_s, to_s : float
        After the first message; `to_s` 0 is the end.
    """
    length_s = (last_ns - first_ns) / NANOSECONDS
    if from_s > length_s:
        raise ValueError(f"from_s is {from_s:g}, and the bag is {length_s:.3f} s long")
    if to_s and to_s <= from_s:
        raise ValueError(f"to_s is {to_s:g}, want more than from_s, {from_s:g}, or 0 for the end")
    begin_ns = first_ns + round(from_s * NANOSECONDS)
    end_ns = last_ns + 1
    if to_s:
        end_ns = min(end_ns, first_ns + round(to_s * NANOSECONDS))
    return Part(begin_ns, end_ns)


class Replayer(ManagedNode):
    """Publishes what a bag holds, byte for byte; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("replayer", **node_arguments)
        self._reader: BagReader | None = None
        self._outputs: dict[str, Any] = {}  # publishers, by topic
        self._times: Any = None
        self.broke_off = False  # whether the bag could not be read to its end

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Open the bag and create a publisher for each of its topics that is to be played."""
        values = self.values
        if not values.bag:
            raise ValueError("parameter bag is empty: name the bag to play")
        self._reader = reader = BagReader(values.bag)
        self._part = part_of(reader.begin_ns, reader.end_ns, values.from_s, values.to_s)
        chosen = self._chosen(reader)
        for topic in chosen:
            try:
                self._outputs[topic.name] = self._publisher(topic)
            except (ImportError, ValueError) as error:
                self.get_logger().warning(f"{topic.name} is not played: {error}")
        if not self._outputs:
            raise RecordingError(f"{values.bag}: none of its topics can be played")
        self._latched = {t.name for t in chosen if t.latched and t.name in self._outputs}
        if values.clock:
            self._times = self.create_publisher(Clock, CLOCK, 10)

    def activate(self) -> None:
        """Begin to play."""
        self.health.watch("messages")
        self.health.show("bag", self.values.bag)
        self.health.show("topics", " ".join(self._outputs))
        self._segment_bytes = transport.segment_bytes(os.environ)
        self.start_worker("player", self._play)

    def deactivate(self) -> None:
        """Forget what was said about the last run."""
        for key in ("end", "waiting", "late", "transport"):
            self.health.warn(key, "")

    def cleanup(self) -> None:
        """Close the bag and take the publishers away."""
        self.drop_publishers("_times")
        outputs, self._outputs = self._outputs, {}
        for publisher in outputs.values():
            self.destroy_publisher(publisher)
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _chosen(self, reader: BagReader) -> list[Topic]:
        """Return the topics to play; say which of those asked for cannot be."""
        values = self.values
        topics = {topic.name: topic for topic in reader.details if topic.count}
        if values.from_level != "all":
            of_level = topics_of_level(reader, values.from_level)
            topics = {name: topics[name] for name in of_level if name in topics}
        wanted = values.topics.split()
        for name in wanted:
            if not any(is_named(topic, [name]) for topic in topics):
                raise ValueError(f"topics: the bag has no messages on {name!r} to play")
        if values.clock:
            topics.pop(CLOCK, None)  # there is one clock only
        return [topic for name, topic in topics.items() if not wanted or is_named(name, wanted)]

    def _publisher(self, topic: Topic) -> Any:
        """Return a publisher as the recorded one was; ``ImportError`` says why there is none."""
        if not topic.as_today:
            raise ImportError(
                f"{topic.type_name} was another type when it was recorded than it is now"
            )
        reliability, durability = ReliabilityPolicy, DurabilityPolicy
        depth = topic.depth
        if topic.latched:  # of several publishers' topics, such as /tf_static, all stays told
            depth = min(max(depth, topic.count), MOST_FACTS)
        profile = QoSProfile(
            depth=depth,
            reliability=reliability.RELIABLE if topic.reliable else reliability.BEST_EFFORT,
            durability=durability.TRANSIENT_LOCAL if topic.latched else durability.VOLATILE,
        )
        name = topic.name if topic.name.startswith("/") else f"/{topic.name}"
        return self.create_publisher(message_type(topic.type_name), name, profile)

    # -- the player's thread -----------------------------------------------------------------

    def _play(self, stop: threading.Event) -> None:
        try:
            self._tell_facts()
            if not self._wait_for_readers(stop):
                return
            while self._play_once(stop) and self.values.loop:
                self.health.count("rounds")
        except RecordingError as error:
            self.broke_off = True
            self.health.failure = f"the bag broke off: {error}"
            self.get_logger().error(self.health.failure)
        if stop.is_set():
            return
        if self.values.exit_at_end:
            if not stop.wait(LINGER_S):
                os.kill(os.getpid(), signal.SIGINT)  # `run` ends as it does when it is asked to
        else:
            self.health.warn("end", f"{self.values.bag} has ended")

    def _tell_facts(self) -> None:
        """Publish what was told once, before the part to play, and does not change."""
        assert self._reader is not None
        if self._latched:
            before = self._reader.serialized(self._latched, None, self._part.begin_ns)
            for topic, _, data in before:
                self._send(topic, data)

    def _wait_for_readers(self, stop: threading.Event) -> bool:
        """Wait for those who are to listen; return whether to play."""
        deadline_s = time.monotonic() + self.values.wait_s
        while missing := self._missing():
            if time.monotonic() > deadline_s:
                self.get_logger().warning(f"begins though {missing}")
                break
            self.health.warn("waiting", missing, log=False)  # it begins all the same
            if stop.wait(0.1):
                return False
        self.health.warn("waiting", "")
        return not stop.wait(SETTLE_S)

    def _missing(self) -> str:
        """Return who does not listen yet, as a sentence; "" if nobody is missing."""
        wanted = self.values.wait_for.split()
        if not wanted:
            if any(output.get_subscription_count() for output in self._outputs.values()):
                return ""
            return "nobody reads its topics"
        missing = [name for name in wanted if not self._listens(name)]
        return f"{', '.join(missing)} does not listen" if missing else ""

    def _listens(self, name: str) -> bool:
        """Whether a node reads topics: those of this package do so when they are ready."""
        namespace, _, node = name.strip("/").rpartition("/")
        if (node, f"/{namespace}") not in self.get_node_names_and_namespaces():
            return False
        try:
            topics = self.get_subscriber_names_and_types_by_node(node, f"/{namespace}")
        except NodeNameNonExistentError:  # it has gone meanwhile
            return False
        return any(topic not in NOT_LISTENING for topic, _ in topics)

    def _play_once(self, stop: threading.Event) -> bool:
        """Publish all messages of the part; return whether that was not interrupted."""
        assert self._reader is not None
        part, rate = self._part, self.values.rate
        begin_s, shown_s, latest_s = time.monotonic(), -math.inf, 0.0
        sent = 0
        for topic, received_ns, data in self._reader.serialized(
            self._outputs, part.begin_ns, part.end_ns
        ):
            at_s = (received_ns - part.begin_ns) / NANOSECONDS
            if not self._wait_until(begin_s + at_s / rate, received_ns, rate, stop):
                return False
            self._send(topic, data)
            sent += 1
            now_s = time.monotonic()
            latest_s = max(latest_s, now_s - begin_s - at_s / rate)
            if now_s - shown_s > SHOW_S:
                shown_s = now_s
                self._show(at_s, latest_s)
        end_s = begin_s + part.length_s / rate
        if not self._wait_until(end_s, part.end_ns, rate, stop):
            return False
        self._show(part.length_s, latest_s)
        self.get_logger().info(
            f"{self.values.bag}: {sent} messages of {len(self._outputs)} topics in "
            f"{time.monotonic() - begin_s:.1f} s"
        )
        return True

    def _wait_until(self, due_s: float, now_ns: int, rate: float, stop: threading.Event) -> bool:
        """Wait for a time of the steady clock, and tell the bag's time meanwhile.

        Return False if the node is to stop.
        """
        while True:
            left_s = due_s - time.monotonic()
            step_s = min(left_s, CLOCK_STEP_S) if self._times is not None else left_s
            if stop.wait(max(0.0, step_s)):
                return False
            left_s = max(0.0, due_s - time.monotonic())
            self._tell_time(now_ns - round(left_s * rate * NANOSECONDS))
            if left_s <= 0:
                return True

    def _tell_time(self, now_ns: int) -> None:
        if self._times is not None:
            self._times.publish(Clock(clock=to_stamp(max(0, now_ns))))

    def _send(self, topic: str, data: bytes) -> None:
        if len(data) > self._segment_bytes:
            warning = transport.large_message_warning(len(data), os.environ)
            self.health.warn("transport", warning)
        self._outputs[topic].publish(data)
        self.health.tick("messages")

    def _show(self, at_s: float, late_s: float) -> None:
        part = self._part
        self.health.show("played", f"{at_s:.1f} of {part.length_s:.1f} s")
        self.health.show("late_s", f"{late_s:.3f}")
        late = f"messages go out up to {late_s:.1f} s late" if late_s > LATE_S else ""
        self.health.warn("late", late)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node; 1 if the bag could not be read to its end."""
    made: list[Replayer] = []

    def make() -> Replayer:
        made.append(Replayer())
        return made[0]

    return run(make, arguments) or int(any(node.broke_off for node in made))


if __name__ == "__main__":
    sys.exit(main())
