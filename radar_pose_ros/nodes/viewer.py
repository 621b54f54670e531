"""Hands what the other nodes publish to Rerun, and never keeps one of them waiting."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from radar_pose_ros.nodes.base import ManagedNode, run
from radar_pose_ros.nodes.recorder import DISCOVERY_PERIOD_S, message_type
from radar_pose_ros.nodes.worker import Mailbox
from radar_pose_ros.view.command import free_recordings, is_in, new_recording
from radar_pose_ros.view.drawer import Drawer, is_drawn
from radar_pose_ros.view.layout import Content, blueprint

MOST_WAITING = 100  # messages that wait to be drawn: a further one pushes out the oldest
LAYOUT_AFTER_S = 1.0  # without something that was not there before
LATE, REFUSED = "messages for which there was no time", "messages that cannot be drawn"


class Viewer(ManagedNode):
    """Draws whatever can be drawn; see docs/nodes/viewer.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("viewer", **node_arguments)
        self._recording: Any = None
        self._discovery: Any = None
        self._seen_topics: set[str] = set()

    def configure(self) -> None:
        """Connect to a viewer, or open a file."""
        self._recording = new_recording()
        if self.values.file:
            self._recording.save(self.values.file)
        else:
            self._recording.connect_grpc(self.values.url)

    def activate(self) -> None:
        """Look for topics, again and again: publishers come and go."""
        self._seen_topics.clear()
        self._waiting: Mailbox[tuple[str, str, Any, int]] = Mailbox(MOST_WAITING)
        self.health.watch("messages")
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self._discovery = self.create_timer(DISCOVERY_PERIOD_S, self._discover, clock=steady)
        self.start_worker("drawer", self._draw)

    def deactivate(self) -> None:
        """Stop looking."""
        timer, self._discovery = self._discovery, None
        if timer is not None:
            self.destroy_timer(timer)

    def cleanup(self) -> None:
        """Send what was drawn, and let go of the viewer or the file."""
        if self._recording is not None:
            self._recording.disconnect()
            self._recording = None
            free_recordings()

    def _discover(self) -> None:
        for topic, types in self.get_topic_names_and_types():
            if topic in self._seen_topics or not types:
                continue
            if not (is_drawn(topic, types[0]) and is_in(topic, self.values.below)):
                continue
            publishers = self.get_publishers_info_by_topic(topic)
            if publishers:  # a topic with readers only does not say how it will be published
                self._seen_topics.add(topic)
                offered = [p.qos_profile.durability for p in publishers]
                latched = all(d == DurabilityPolicy.TRANSIENT_LOCAL for d in offered)
                self._listen(topic, types[0], latched)

    def _listen(self, topic: str, type_name: str, latched: bool) -> None:
        # A reader that is best-effort never makes a writer wait.
        profile = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        if latched:  # facts, of which none may be missed
            profile = QoSProfile(
                depth=100,
                reliability=ReliabilityPolicy.RELIABLE,
                durability=DurabilityPolicy.TRANSIENT_LOCAL,
            )

        def keep(message: Any) -> None:
            received_ns = self.get_clock().now().nanoseconds
            pushed_out = self._waiting.put((topic, type_name, message, received_ns))
            self.health.drop(LATE, pushed_out)

        self.subscribe(message_type(type_name), topic, profile, keep)

    def _draw(self, stop: threading.Event) -> None:
        drawer, content = Drawer(self._recording, self.values.below), Content()
        refused = 0
        news_s: float | None = None
        while not stop.is_set():
            for topic, type_name, message, received_ns in self._waiting.take_all(0.2):
                frame = message.header.frame_id if hasattr(message, "header") else ""
                if content.note(topic, type_name, frame.lstrip("/")):
                    news_s = time.monotonic()
                drawer.take(topic, type_name, message, received_ns)
                self.health.tick("messages")
                if stop.is_set():
                    break
            new = drawer.refused.total() - refused
            if new:
                refused += new
                self.health.drop(REFUSED, new)
                self.get_logger().warning(list(drawer.refused)[-1], throttle_duration_sec=5.0)
            if news_s is not None and time.monotonic() > news_s + LAYOUT_AFTER_S:
                news_s = None
                self._recording.send_blueprint(blueprint(content, drawer.extent_m))
        if news_s is not None:  # a file may end that soon
            self._recording.send_blueprint(blueprint(content, drawer.extent_m))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(Viewer, arguments)


if __name__ == "__main__":
    sys.exit(main())
