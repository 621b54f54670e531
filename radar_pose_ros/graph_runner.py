"""Runs a graph of nodes on machines without ROS's launch: one process per node, looked after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from radar_pose_ros import shared_memory
from radar_pose_ros.environment import local_environment, ros_is_ready
from radar_pose_ros.graphs import NodeSpec
from radar_pose_ros.leaving import EXIT_USAGE, RESTARTED

STOP_TIMEOUT_S = 2.8  # for the whole graph
LAST_S = 0.5  # of it for those who outlive the others, at least
LAST_WORDS_S = 0.1  # for what a node that has ended said, at least
BACKOFF_S = (1.0, 30.0)  # first and longest wait before a node is started again
ERROR = "error: "  # begins the line in which a node says why it ends
STEADY_AFTER_S = 30.0  # a node that lived this long starts its back-off anew


def supervised() -> dict[str, str]:
    """Return the variables for nodes that this process starts, and starts again when they end.

    They do not outlive it, and do not stay where they cannot configure themselves.
    """
    return {
        "RADAR_POSE_EXIT_WITH_PARENT": str(os.getpid()),
        "RADAR_POSE_EXIT_UNCONFIGURED": "1",
    }


def command(node: NodeSpec) -> list[str]:
    """Return the command line of a process."""
    return [sys.executable, "-m", "radar_pose_ros.nodes", node.executable, *node.words]


@dataclass
class _Process:
    node: NodeSpec
    handle: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None
    started_s: float = 0.0
    next_start_s: float = 0.0
    backoff_s: float = BACKOFF_S[0]
    restarts: int = 0


class GraphRunner:
    """Runs one process per node and starts those again that end.

    Use it as a context manager, and call `poll` a few times per second.

    Parameters
    ----------
    nodes : sequence of NodeSpec
    output : callable
        Gets each line that a node prints, with the node's label in front.
    respawn : bool
        Start nodes again that end by themselves.

    Attributes
    ----------
    exit_code : int
        0; or 2 as soon as a node said, at its first start, that it was called wrongly; or 1 if
        without `respawn` a node ended, or one that ends the graph did not end with 0, or if one
        had to be killed or said at the end that it failed, a recorder whose disk is full for
        instance.
    failure : str
        Which node said that it was called wrongly, and what it said; empty if none did.
    """

    def __init__(
        self,
        nodes: Sequence[NodeSpec],
        output: Callable[[str], None] = print,
        respawn: bool = True,
    ) -> None:
        self.exit_code = 0
        self.failure = ""
        self._said: dict[str, str] = {}  # by label, a node's last error
        self._output = output
        self._respawn = respawn
        self._processes = [_Process(node) for node in nodes]
        self._environment: dict[str, str] = {}

    def __enter__(self) -> GraphRunner:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def process_ids(self) -> dict[str, int]:
        """Process id of each node that runs, by label."""
        return {p.node.label: p.handle.pid for p in self._processes if p.handle is not None}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each node was started again, by label."""
        return {p.node.label: p.restarts for p in self._processes}

    def start(self) -> None:
        """Start all nodes."""
        base = dict(os.environ) if ros_is_ready() else local_environment(os.environ)
        self._environment = {**base, **supervised(), "PYTHONUNBUFFERED": "1"}
        if not self._respawn:  # who does not want that, watches what the nodes say
            del self._environment["RADAR_POSE_EXIT_UNCONFIGURED"]
        for process in self._processes:
            self._start(process)

    def _start(self, process: _Process) -> None:
        node = process.node
        again = {RESTARTED: "1"} if process.restarts else {}
        handle = subprocess.Popen(
            command(node),
            env={**self._environment, **node.environment, **again},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the runner, and the runner ends the nodes
        )
        process.handle, process.started_s = handle, time.monotonic()
        process.reader = threading.Thread(
            target=self._forward, args=(node.label, handle), daemon=True
        )
        process.reader.start()

    def _forward(self, label: str, handle: subprocess.Popen[str]) -> None:
        assert handle.stdout is not None
        for line in handle.stdout:
            self._output(f"[{label}] {line.rstrip()}")
            if line.startswith(ERROR):
                self._said[label] = line.removeprefix(ERROR).strip()

    def poll(self) -> bool:
        """Look after the processes; return whether the graph should go on."""
        now_s = time.monotonic()
        for process in self._processes:
            if process.handle is None:
                if now_s >= process.next_start_s:
                    shared_memory.free_abandoned()  # else each that was killed leaves megabytes
                    process.restarts += 1
                    self._start(process)
                continue
            code = process.handle.poll()
            if code is None:
                continue
            process.handle = None
            # Who ran before was not called wrongly: what it lacks now may come back.
            wrongly = code == EXIT_USAGE and not process.restarts
            if wrongly or process.node.ends_graph or not self._respawn:
                label = process.node.label
                self._output(f"[{label}] ended with code {code}: stopping the graph")
                if code == EXIT_USAGE:
                    assert process.reader is not None
                    process.reader.join(1.0)  # its last words
                    self.failure = f"{label}: {self._said.get(label, 'called wrongly')}"
                done = process.node.ends_graph and code == 0
                self.exit_code = EXIT_USAGE if code == EXIT_USAGE else int(not done)
                return False
            if now_s - process.started_s > STEADY_AFTER_S:
                process.backoff_s = BACKOFF_S[0]
            wait_s = process.backoff_s
            process.next_start_s = now_s + wait_s
            process.backoff_s = min(2 * wait_s, BACKOFF_S[1])
            self._output(
                f"[{process.node.label}] ended with code {code}: starts again in {wait_s:.0f} s"
            )
        return True

    def stop(self) -> None:
        """End all nodes: ask first, and kill what has not ended after `STOP_TIMEOUT_S`.

        Nodes that outlive the others are asked when those have ended.
        """
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        last = [p for p in self._processes if p.node.outlives_others]
        others = [p for p in self._processes if not p.node.outlives_others]
        self._stop(others, deadline_s - LAST_S if last else deadline_s)
        self._stop(last, deadline_s)
        shared_memory.free_abandoned()

    def _stop(self, processes: Sequence[_Process], deadline_s: float) -> None:
        running = [(p, p.handle) for p in processes if p.handle is not None]
        for _, handle in running:
            # Not SIGINT, for which Python itself listens until the program has begun.
            handle.send_signal(signal.SIGTERM)
        for process, handle in running:
            try:
                handle.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._output(f"[{process.node.label}] did not end in time and was killed")
                handle.kill()
                handle.wait()
                self.exit_code = self.exit_code or 1
            if handle.returncode > 0:  # negative: by the signal
                self._output(f"[{process.node.label}] ended with code {handle.returncode}")
                self.exit_code = self.exit_code or 1
            process.handle = None
        for process, _ in running:
            assert process.reader is not None
            process.reader.join(max(LAST_WORDS_S, deadline_s - time.monotonic()))
