"""Real nodes in real processes over real DDS, and a node in this process that watches them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from radar_pose_ros.nodes import transport

FASTDDS_PROFILES = "FASTDDS_DEFAULT_PROFILES_FILE"  # read with the first participant of a process


class LiveGraph:
    """Starts node processes and talks to them; everything ends with the test."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self._rclpy = rclpy
        self._folder = folder
        # The observer too sends and receives images, larger than the default has room for.
        large = {FASTDDS_PROFILES: str(transport.profile())}
        os.environ.update(large)
        self.environment = {**environment, **large, "OMP_NUM_THREADS": "1"}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=int(environment["ROS_DOMAIN_ID"]))
        self.node = rclpy.create_node("observer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._processes: list[subprocess.Popen[str]] = []
        self._clients: dict[str, Any] = {}  # of services, by name
        self._logs: dict[int, list[str]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self.diagnostics()  # from now on

    def _spin(self) -> None:
        while not self._closing.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def start(self, module: str, namespace: str = "", **parameters: Any) -> subprocess.Popen[str]:
        """Start a node with these parameters."""
        command = [sys.executable, "-m", "radar_pose_ros.nodes", module]
        command += ["--ros-args", "-r", f"__ns:=/{namespace}"]
        if parameters:
            file = self._folder / f"{module}_{len(self._processes)}.yaml"
            file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
            command += ["--params-file", str(file)]
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: list[str] = []
        self._logs[process.pid] = lines

        def read() -> None:
            assert process.stdout is not None
            lines.extend(iter(process.stdout.readline, ""))

        threading.Thread(target=read, daemon=True).start()
        self._processes.append(process)
        return process

    def log(self, process: subprocess.Popen[str]) -> str:
        """Return what a process printed so far."""
        return "".join(self._logs[process.pid])

    def printed(self) -> str:
        """Return what all processes printed so far."""
        return "\n".join("".join(lines) for lines in self._logs.values())

    def collect(self, message_type: type, topic: str, qos: Any) -> list[Any]:
        """Subscribe; return the list that messages are appended to."""
        messages: list[Any] = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def wait(self, condition: Callable[[], Any], timeout_s: float = 20.0, what: str = "") -> Any:
        """Wait until the condition is true and return its value; fail after the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        seen = self.printed()
        said = "\n".join(
            f"{name}: {status.message}; {', '.join(f'{v.key} {v.value}' for v in status.values)}"
            for name, status in self.diagnostics().items()
        )
        pytest.fail(
            f"no {what or 'luck'} in {timeout_s} s; the nodes printed:\n{seen}\nand said:\n{said}"
        )

    def call(
        self,
        service_type: type,
        name: str,
        request: Any,
        timeout_s: float = 10.0,
        tries: int = 1,
    ) -> Any:
        """Call a service and return its response.

        On a busy machine the service may not have found a new client yet when it answers, and its
        answer is lost. What may be asked twice is asked again, with several ``tries``.
        """
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(service_type, name)
        self.wait(client.service_is_ready, what=f"service {name}")
        for _ in range(tries - 1):
            future = client.call_async(request)
            deadline_s = time.monotonic() + timeout_s
            while time.monotonic() < deadline_s:
                if future.done():
                    return future.result()
                time.sleep(0.02)
        future = client.call_async(request)
        self.wait(future.done, timeout_s, f"answer of {name}")
        return future.result()

    def state(self, node: str) -> str:
        """Return the label of a node's lifecycle state."""
        from lifecycle_msgs.srv import GetState

        response = self.call(GetState, f"/{node}/get_state", GetState.Request(), 5.0, 3)
        return response.current_state.label

    def change(self, node: str, transition: str) -> bool:
        """Ask for a transition by its label; return whether it succeeded."""
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request()
        request.transition.label = transition
        return self.call(ChangeState, f"/{node}/change_state", request).success

    def set(self, node: str, name: str, value: Any) -> tuple[bool, str]:
        """Set a parameter; return success and the reason for a refusal."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        result = self.call(SetParameters, f"/{node}/set_parameters", request, 5.0, 3).results[0]
        return result.successful, result.reason

    def diagnostics(self) -> dict[str, Any]:
        """Return the newest diagnostic status of each node, by its name without first slash."""
        from diagnostic_msgs.msg import DiagnosticArray

        if not hasattr(self, "_diagnostics"):
            self._diagnostics = self.collect(DiagnosticArray, "/diagnostics", 50)
        return {s.name.lstrip("/"): s for report in self._diagnostics for s in report.status}

    @staticmethod
    def interrupt(process: subprocess.Popen[str], timeout_s: float = 10.0) -> int:
        """Send SIGINT; return the exit code."""
        process.send_signal(signal.SIGINT)
        return process.wait(timeout_s)

    def close(self) -> None:
        """End everything.

        Nodes are asked first: those that are killed leave their shared memory behind, megabytes
        each.
        """
        alive = [process for process in self._processes if process.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGINT)
        deadline_s = time.monotonic() + 10.0
        for process in alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline_s - time.monotonic()))
            process.kill()
            process.wait()
        self._closing.set()
        self._thread.join()
        self._executor.remove_node(self.node)
        self.node.destroy_node()
        self._rclpy.shutdown(context=self._context)


@pytest.fixture
def live(ros_environment: dict[str, str], tmp_path: Path) -> Iterator[LiveGraph]:
    """A graph in a ROS domain of its own."""
    graph = LiveGraph(ros_environment, tmp_path)
    yield graph
    printed = graph.printed()
    graph.close()  # of nodes that are still being imported, the interrupt prints a traceback
    assert "Traceback" not in printed
