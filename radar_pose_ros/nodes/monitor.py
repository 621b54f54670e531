"""Watches a running graph from outside: what its nodes say of themselves, and the poses they make.

Not a program of its own: the command line uses it to show progress.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.base import RELIABLE
from radar_pose_ros.nodes.log_folder import provide_log_folder

RECENT_S = 3.0
TRANSITIONS = {
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "activate": Transition.TRANSITION_ACTIVATE,
}


@dataclass(frozen=True)
class NodeReport:
    """The latest diagnostic status of one node."""

    level: int
    message: str
    values: dict[str, str]
    count: int  # how many it has sent


@dataclass
class Snapshot:
    """What is known of the graph at one instant.

    Parameters
    ----------
    reports : dict
        By the node's full name.
    poses : int
        Poses received so far.
    pose_rate_hz : float
        Over the last seconds; 0 if there were fewer than two.
    pose_age_s : float
        From the instant that the newest pose describes to its arrival here; NaN before the first.
    """

    reports: dict[str, NodeReport] = field(default_factory=dict)
    poses: int = 0
    pose_rate_hz: float = 0.0
    pose_age_s: float = float("nan")

    def value(self, node: str, key: str) -> str:
        """Return one value that a node reported, or ``""``."""
        report = self.reports.get(node)
        return report.values.get(key, "") if report else ""


class Monitor:
    """Subscribes to diagnostics and poses in a thread of its own.

    Parameters
    ----------
    pose_topic : str
        Where poses are published.
    """

    def __init__(self, pose_topic: str = "/pose2d") -> None:
        self._guard = threading.Lock()
        self._reports: dict[str, NodeReport] = {}
        self._arrivals_s: deque[float] = deque(maxlen=256)
        self._poses = 0
        self._age_s = float("nan")
        self._context = Context()
        provide_log_folder(os.environ)
        # Ctrl-C belongs to whoever watches.
        no = SignalHandlerOptions.NO
        # What this program was called with is none of ROS's business.
        rclpy.init(args=[], context=self._context, signal_handler_options=no)
        self._node = rclpy.create_node("monitor", context=self._context)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._listen(pose_topic)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="monitor", daemon=True)
        self._thread.start()

    def _listen(self, pose_topic: str) -> None:
        self._node.create_subscription(msg.HumanPose2DArray, pose_topic, self._on_pose, RELIABLE)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._guard:
            for status in message.status:
                before = self._reports.get(status.name)
                self._reports[status.name] = NodeReport(
                    level=status.level[0],
                    message=status.message,
                    values={entry.key: entry.value for entry in status.values},
                    count=before.count + 1 if before else 1,
                )

    def _on_pose(self, message: msg.HumanPose2DArray) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        with self._guard:
            self._poses += 1
            self._arrivals_s.append(time.monotonic())
            try:
                stamp_ns = convert.to_nanoseconds(message.header.stamp)
            except convert.InvalidMessageError:
                return
            self._age_s = (now_ns - stamp_ns) / convert.NANOSECONDS

    def snapshot(self) -> Snapshot:
        """Return what is known now."""
        now_s = time.monotonic()
        with self._guard:
            recent = [t for t in self._arrivals_s if now_s - t <= RECENT_S]
            rate = (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0
            return Snapshot(dict(self._reports), self._poses, rate, self._age_s)

    def change_state(self, node: str, transition: str, timeout_s: float = 5.0) -> bool:
        """Ask a lifecycle node for a transition; return whether it was made in time."""
        client = self._node.create_client(ChangeState, f"{node}/change_state")
        try:
            if not client.wait_for_service(timeout_s):
                return False
            request = ChangeState.Request(transition=Transition(id=TRANSITIONS[transition]))
            future = client.call_async(request)
            done = threading.Event()
            future.add_done_callback(lambda _: done.set())
            return done.wait(timeout_s) and bool(future.result().success)
        finally:
            self._node.destroy_client(client)

    def close(self) -> None:
        """Stop watching."""
        self._executor.shutdown()
        rclpy.try_shutdown(context=self._context)
        self._thread.join(2.0)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
