"""A real node in this process, without transport: its own callbacks, its own threads, its outputs.

Messages go to the very callbacks that `ManagedNode.subscribe` handed to ROS, guard and all; what
the node publishes is caught before it leaves. So ten thousand messages take a second.
"""

from __future__ import annotations

import threading
import time
from inspect import signature
from types import SimpleNamespace, TracebackType
from typing import Any, NamedTuple

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

from radar_pose_ros.nodes.base import SUCCESS, ManagedNode
from radar_pose_ros.nodes.composition import node_class
from radar_pose_ros.nodes.worker import Mailbox

IDLE_S = 20.0  # until a thread must have worked off what was put
NOT_UNDERSTOOD = "not understood"
ENDED = " ended: "  # of a thread, in the name of a counter


class Sent(NamedTuple):
    """What a node published."""

    topic: str
    message: Any


class Said(NamedTuple):
    """What a node logged."""

    level: str
    text: str


class QuietLogger:
    """Keeps the last lines instead of printing them."""

    def __init__(self) -> None:
        self.lines: list[Said] = []

    def __getattr__(self, level: str) -> Any:
        def say(text: str, **_: Any) -> None:
            self.lines = [*self.lines[-20:], Said(level, str(text))]

        return say


class Bench:
    """A node; `start` configures and activates it.

    Parameters
    ----------
    name : str
        Of the node's program.
    parameters : dict
    """

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        values = {"autostart": False, **parameters}
        self.node: ManagedNode = node_class(name)(
            context=self.context,
            parameter_overrides=[Parameter(key, value=value) for key, value in values.items()],
            start_parameter_services=False,
            enable_rosout=False,
        )
        self.log = QuietLogger()
        self.sent: list[Sent] = []
        self._threads = _Threads()
        self.node.get_logger = lambda: self.log  # type: ignore[method-assign]
        self.node.create_publisher = self._catching  # type: ignore[method-assign]
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)

    def __enter__(self) -> Bench:
        self._threads.watch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.node._workers:  # on a busy machine they may take their time
            worker.stop(IDLE_S)
        self.node.release()
        self._threads.forget()
        self._executor.remove_node(self.node)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def start(self) -> None:
        """Configure and activate it; `RuntimeError` says why that cannot be."""
        for trigger in (self.node.trigger_configure, self.node.trigger_activate):
            if trigger() is not SUCCESS:
                raise RuntimeError(self.node.health.failure)

    @property
    def subscriptions(self) -> dict[str, Any]:
        """What the node listens to, by topic without the first slash."""
        return {s.topic_name.strip("/"): s for s in self.node._active_subscriptions}

    def deliver(self, topic: str, message: Any) -> None:
        """Hand a message to the node, as the executor does, and wait until it is worked off."""
        subscription = self.subscriptions[topic]
        if len(signature(subscription.callback).parameters) > 1:
            numbers = {"publisher_gid": {"data": bytes(16)}, "publication_sequence_number": None}
            subscription.callback(message, numbers)
        else:
            subscription.callback(message)
        self.settle()

    def settle(self) -> None:
        """Wait until no thread has anything left to do."""
        until_s = time.monotonic() + IDLE_S
        while self._threads.busy and not self.node._broken.is_set():
            if time.monotonic() > until_s:
                raise TimeoutError(f"a thread was busy for {IDLE_S:g} s")
            time.sleep(0)
        if self.node._broken.is_set():
            self._threads.give_up()

    def spin(self) -> None:
        """Let timers fire that are due."""
        self._executor.spin_once(timeout_sec=0)

    def drops(self) -> dict[str, int]:
        """Return the node's counters of what was dropped."""
        return self.node.health.drops()

    def take_sent(self) -> list[Sent]:
        """Return what was published since the last time."""
        sent, self.sent = self.sent, []
        return sent

    def _catching(self, kind: type, topic: str, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(
            topic_name=topic,
            publish=lambda message: self.sent.append(Sent(topic, message)),
            get_subscription_count=lambda: 1,
        )


class _Threads:
    """Knows whether what was put into mailboxes has been worked off."""

    def __init__(self) -> None:
        self._boxes: list[SimpleNamespace] = []
        self._guard = threading.Lock()
        self._put, self._take_all = Mailbox.put, Mailbox.take_all

    def watch(self) -> None:
        """Begin to look at all mailboxes of this process."""
        threads = self

        def put(box: Any, item: Any) -> int:
            about = threads._of(box)
            about.put += 1
            pushed_out = threads._put(box, item)
            with threads._guard:
                about.done += pushed_out
            return pushed_out

        def take_all(box: Any, timeout_s: float) -> list[Any]:
            about = threads._of(box)
            with threads._guard:
                about.done += about.taken  # who asks again has finished
                about.taken = 0
            items = threads._take_all(box, timeout_s)
            about.taken = len(items)
            return items

        Mailbox.put, Mailbox.take_all = put, take_all  # type: ignore[method-assign]

    def forget(self) -> None:
        """Look no longer."""
        Mailbox.put = self._put  # type: ignore[method-assign]
        Mailbox.take_all = self._take_all  # type: ignore[method-assign]

    @property
    def busy(self) -> bool:
        """Whether something is still to be done."""
        return any(about.done < about.put for about in self._boxes)

    def give_up(self) -> None:
        """Wait no longer for what is still there: the thread that took it has ended."""
        with self._guard:
            self._boxes.clear()

    def _of(self, box: Any) -> SimpleNamespace:
        for about in self._boxes:
            if about.box is box:
                return about
        self._boxes.append(SimpleNamespace(box=box, put=0, taken=0, done=0))
        return self._boxes[-1]
