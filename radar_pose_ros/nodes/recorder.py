"""Writes topics to a bag (rosbag2, mcap), as they come, without decoding them."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from radar_pose_ros.leaving import RESTARTED
from radar_pose_ros.nodes.base import ManagedNode, run
from radar_pose_ros.recording import (
    HELD_NS,
    BagWriter,
    RecordingError,
    is_named,
    is_recorded_for,
)

DISCOVERY_PERIOD_S = 0.25
LEAST_DEPTH = 50  # messages kept while the disk is busy
_TYPE = re.compile(r"([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)")


def message_type(type_name: str) -> Any:
    """Return the class of a type such as ``std_msgs/msg/Header``; ``ImportError`` if none."""
    named = _TYPE.fullmatch(type_name)
    if named is None:  # it comes from the network or a bag: nothing else is imported for it
        raise ImportError(f"{type_name!r} is no type of a message, such as std_msgs/msg/Header")
    package, name = named.groups()
    loaded, spec = sys.modules.get(package), find_spec(package)
    places = getattr(loaded, "__path__", None) or (spec and spec.submodule_search_locations) or ()
    if not any(Path(place, "msg", "__init__.py").is_file() for place in places):
        raise ImportError(f"there are no messages of {package} here")
    module = importlib.import_module(f"{package}.msg")
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise ImportError(f"{package} has no message {name}") from error


class Recorder(ManagedNode):
    """Records every wanted topic as soon as somebody publishes it."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("recorder", **node_arguments)
        self._bag: BagWriter | None = None
        self._bag_lock = threading.Lock()
        self._has_recorded = bool(os.environ.get(RESTARTED))
        self._seen_topics: set[str] = set()
        self._periodic: list[Any] = []
        self.broke_off = False  # whether the disk was full

    def configure(self) -> None:
        """Make the bag."""
        if not self.values.bag:
            raise ValueError("parameter bag is empty: name the folder to record to")
        self._bag = BagWriter(self._path())

    def _path(self) -> Path:
        """Return where to record: beside the bag if this node, or who it replaces, has made it."""
        path = Path(self.values.bag)
        for number in itertools.count(2):
            if not (self._has_recorded and path.exists()):
                self._has_recorded = True
                return path
            path = Path(f"{self.values.bag}_{number}")
        raise AssertionError("not reached")

    def activate(self) -> None:
        """Look for topics, again and again: publishers come and go."""
        self._seen_topics.clear()
        self.health.watch("messages")
        self._discover()
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self._periodic = [
            self.create_timer(DISCOVERY_PERIOD_S, self._discover, clock=steady),
            self.create_timer(self.values.flush_period_s, self._flush, clock=steady),
        ]

    def deactivate(self) -> None:
        """Stop looking; keep what was written."""
        timers, self._periodic = self._periodic, []
        for timer in timers:
            self.destroy_timer(timer)
        self._flush()

    def cleanup(self) -> None:
        """Close the bag: index and metadata are written."""
        self._with_bag(BagWriter.close)
        writer, self._bag = self._bag, None
        if writer is not None:
            total = sum(writer.counts.values())
            self.get_logger().info(
                f"{total} messages of {len(writer.counts)} topics in {writer.path}"
            )

    def _discover(self) -> None:
        wanted, excluded = self.values.topics.split(), self.values.exclude.split()
        level = self.values.level
        for topic, types in self.get_topic_names_and_types():
            if topic in self._seen_topics or not types:
                continue
            if level == "all" and is_named(topic, excluded):
                continue
            if level != "all" and not is_recorded_for(level, topic, types[0]):
                continue
            if wanted and not is_named(topic, wanted):
                continue
            publishers = self.get_publishers_info_by_topic(topic)
            if publishers:  # a topic with readers only does not say how it will be published
                self._seen_topics.add(topic)
                self._record(topic, types[0], [p.qos_profile for p in publishers])

    def _record(self, topic: str, type_name: str, offered: list[QoSProfile]) -> None:
        # What all publishers offer is the most that can be asked for without losing one of them.
        reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
        latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
        # Some middleware does not tell how long their queues are: the bag says what is usual then.
        told = {"depth": depth} if (depth := max(q.depth for q in offered)) else {}
        profile = QoSProfile(
            depth=max(LEAST_DEPTH, depth),
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        try:
            kind = message_type(type_name)
            with self._bag_lock:
                if self._bag is None:
                    return
                self._bag.add_topic(topic, type_name, reliable=reliable, latched=latched, **told)
        except (ImportError, RecordingError) as error:
            self.get_logger().warning(f"{topic} is not recorded: {error}")
            return

        def store(serialized: bytes, info: dict[str, Any]) -> None:
            self._store(topic, serialized, info)

        self._active_subscriptions.append(
            self.create_subscription(kind, topic, store, profile, raw=True)
        )

    def _store(self, topic: str, serialized: bytes, info: dict[str, Any]) -> None:
        # The middleware's own time of arrival does not contain this process's waiting.
        received_ns = info.get("received_timestamp") or time.time_ns()
        if self._with_bag(lambda bag: bag.write(topic, received_ns, serialized)):
            self.health.tick("messages")

    def _flush(self) -> None:
        self._with_bag(lambda bag: bag.flush(time.time_ns() - HELD_NS))

    def _with_bag(self, do: Callable[[BagWriter], None]) -> bool:
        """Do something with the bag, if there is one; return whether it was done."""
        with self._bag_lock:
            if self._bag is None:
                return False
            try:
                do(self._bag)
            except RecordingError as error:  # the disk is full: the others go on without it
                self._bag = None
                self.broke_off = True
                self.health.failure = str(error)
                self.get_logger().error(self.health.failure)
                return False
        return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node; 1 if the bag could not be written to its end."""
    made: list[Recorder] = []

    def make() -> Recorder:
        made.append(Recorder())
        return made[0]

    return run(make, arguments) or int(any(node.broke_off for node in made))


if __name__ == "__main__":
    sys.exit(main())
