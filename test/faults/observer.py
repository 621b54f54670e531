"""A node of this process that watches a graph from outside, without pytest: for rows and tests."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from radar_pose_ros import shared_memory
from radar_pose_ros.nodes import transport

OK, WARN, ERROR, STALE = range(4)
LONGEST_S = 60.0


class FaultyError(Exception):
    """Something did not hold, or did not come; the message says what."""


class Said(NamedTuple):
    """One diagnostic status of a node."""

    at_s: float  # when it came, by the steady clock
    level: int
    sentence: str
    values: dict[str, str]

    @property
    def state(self) -> str:
        """The node's lifecycle state then."""
        return self.values.get("state", "")

    def count(self, name: str) -> int:
        """Return a counter, 0 if there is none."""
        return int(self.values.get(name, 0))


@contextlib.contextmanager
def surroundings() -> Iterator[Path]:
    """Yield a folder of its own; nodes that are started within have a ROS domain of their own.

    The domain is that of ``ROS_DOMAIN_ID`` if it is set. Afterwards folder and variables are as
    before, and what killed processes left in shared memory is gone.
    """
    domain = os.environ.get("ROS_DOMAIN_ID") or str(1 + os.getpid() % 100)
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="radar_pose_faults_") as folder:
        os.environ.update(
            ROS_DOMAIN_ID=domain,
            ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
            ROS_LOG_DIR=f"{folder}/ros_log",
            OMP_WAIT_POLICY="passive",
            OMP_NUM_THREADS="1",
            PYTHONUNBUFFERED="1",
            FASTDDS_DEFAULT_PROFILES_FILE=str(transport.profile()),
        )
        try:
            yield Path(folder)
        finally:
            os.environ.clear()
            os.environ.update(before)
            shared_memory.free_abandoned()


class Observer:
    """Listens to a graph, publishes into it and calls its services; spins in its own thread.

    Use it as a context manager, within `surroundings`.
    """

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor

        self._rclpy = rclpy
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
        self.node = rclpy.create_node("observer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        self.said: dict[str, list[Said]] = {}  # by node, without the first slash
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._take_report, 200)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._executor.remove_node(self.node)
        self.node.destroy_node()
        self._rclpy.shutdown(context=self._context)

    def _spin(self) -> None:
        while not self._closing.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def _take_report(self, report: Any) -> None:
        now_s = time.monotonic()
        for status in report.status:
            values = {entry.key: entry.value for entry in status.values}
            said = Said(now_s, status.level[0], status.message, values)
            self.said.setdefault(status.name.lstrip("/"), []).append(said)

    def last(self, node: str) -> Said:
        """Return a node's newest report; an empty one if there is none."""
        reports = self.said.get(node)
        return reports[-1] if reports else Said(0.0, STALE, "", {})

    def since(self, node: str, begin_s: float) -> list[Said]:
        """Return a node's reports from a time on."""
        return [said for said in list(self.said.get(node, ())) if said.at_s >= begin_s]

    def wait(self, condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
        """Wait until something is true and return it; `FaultyError` names what does not come."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        raise FaultyError(f"no {what} within {timeout_s:g} s")

    def wait_active(self, node: str, since_s: float = 0.0, timeout_s: float = LONGEST_S) -> Said:
        """Wait until a node says that it is active; return what it said."""

        def active() -> Said | None:
            reports = self.since(node, since_s)
            return next((said for said in reports if said.state == "active"), None)

        return self.wait(active, timeout_s, f"active {node}")

    def call(
        self, service_type: type, name: str, request: Any, timeout_s: float = 10.0, tries: int = 3
    ) -> Any:
        """Call a service and return its answer; ask again if none comes."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(service_type, name)
        self.wait(client.service_is_ready, LONGEST_S, f"service {name}")
        for left in reversed(range(tries)):
            future = client.call_async(request)
            try:
                self.wait(future.done, timeout_s, f"answer of {name}")
            except FaultyError:
                if not left:
                    raise
                continue
            return future.result()
        raise AssertionError("not reached")

    def state(self, node: str) -> str:
        """Return the label of a node's lifecycle state."""
        from lifecycle_msgs.srv import GetState

        answer = self.call(GetState, f"/{node}/get_state", GetState.Request())
        return answer.current_state.label

    def change(self, node: str, transition: str = "", number: int = 0) -> bool:
        """Ask for a transition by its label or number; return whether it succeeded."""
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request()
        request.transition.label, request.transition.id = transition, number
        # Asked once: a second time it would be another transition.
        return self.call(ChangeState, f"/{node}/change_state", request, 60.0, 1).success

    def set(self, node: str, name: str, value: Any) -> None:
        """Set a parameter; `FaultyError` if that is refused."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        result = self.call(SetParameters, f"/{node}/set_parameters", request).results[0]
        if not result.successful:
            raise FaultyError(f"{node} refused {name}: {result.reason}")
