"""Watches a graph for hours, as `monitor` does, keeps when poses came, and works the faults.

Not a program of its own: `radar-pose soak` uses it.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Sequence
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.monitor import Monitor

# Who only watches must not hold up who publishes.
WATCHED = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


class Arrivals:
    """When the messages of a topic came, in s of a steady clock, and how old they were, in s."""

    def __init__(self) -> None:
        self.times_s: array[float] = array("d")
        self.ages_s: array[float] = array("f")


class SoakWatch(Monitor):
    """Hears diagnostics and the poses of several topics.

    Parameters
    ----------
    topics : sequence of str
        Full names; those that end with 2d hold HumanPose2DArray, others HumanPose3DArray.

    Attributes
    ----------
    arrivals : dict of str to Arrivals
        By topic.
    silences_s : dict of str to float
        By node, the longest time between two of its reports.
    """

    def __init__(self, topics: Sequence[str]) -> None:
        self.arrivals = {topic: Arrivals() for topic in topics}
        self.silences_s: dict[str, float] = {}
        self._reported_s: dict[str, float] = {}
        super().__init__()

    def __enter__(self) -> SoakWatch:
        return self

    def _listen(self, pose_topic: str) -> None:
        for topic, arrivals in self.arrivals.items():
            kind = msg.HumanPose2DArray if topic.endswith("2d") else msg.HumanPose3DArray
            take = partial(self._take, arrivals)
            self._node.create_subscription(kind, topic, take, WATCHED)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        super()._on_diagnostics(message)
        now_s = time.monotonic()
        for status in message.status:
            silence_s = now_s - self._reported_s.get(status.name, now_s)
            self.silences_s[status.name] = max(silence_s, self.silences_s.get(status.name, 0.0))
            self._reported_s[status.name] = now_s

    def _take(self, arrivals: Arrivals, message: Any) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        try:
            stamp_ns = convert.to_nanoseconds(message.header.stamp)
        except convert.InvalidMessageError:
            return
        arrivals.times_s.append(time.monotonic())
        arrivals.ages_s.append((now_ns - stamp_ns) / convert.NANOSECONDS)

    def set_parameter(self, node: str, name: str, value: Any, timeout_s: float = 5.0) -> bool:
        """Set a parameter of a node, by its full name; return whether it took it in time."""
        client = self._node.create_client(SetParameters, f"{node}/set_parameters")
        try:
            if not client.wait_for_service(timeout_s):
                return False
            parameter = Parameter(name, value=value).to_parameter_msg()
            future = client.call_async(SetParameters.Request(parameters=[parameter]))
            done = threading.Event()
            future.add_done_callback(lambda _: done.set())
            return done.wait(timeout_s) and bool(future.result().results[0].successful)
        finally:
            self._node.destroy_client(client)
