"""When the runner starts nodes again, and what it frees after those that were killed."""

from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from radar_pose_ros import graph_runner, shared_memory
from radar_pose_ros.graph_runner import GraphRunner
from radar_pose_ros.graphs import NodeSpec
from radar_pose_ros.leaving import RESTARTED


class Clock:
    """A steady clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Process:
    """Stands for a process that ends when it is told to."""

    started: ClassVar[list[tuple[float, dict[str, str]]]] = []
    clock: ClassVar[Clock]

    def __init__(self, *_: object, env: dict[str, str], **__: object) -> None:
        self.started.append((self.clock.now_s, env))
        self.returncode: int | None = None
        self.stdout: list[str] = []
        self.pid = len(self.started)

    def poll(self) -> int | None:
        return self.returncode


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Processes and time that do nothing by themselves."""
    clock = Clock()
    monkeypatch.setattr(graph_runner.time, "monotonic", clock)
    monkeypatch.setattr(graph_runner.subprocess, "Popen", Process)
    monkeypatch.setattr(graph_runner, "ros_is_ready", lambda: True)
    monkeypatch.setattr(Process, "started", [])
    monkeypatch.setattr(Process, "clock", clock, raising=False)
    return clock


def wait_until_started(runner: GraphRunner, clock: Clock, count: int) -> None:
    for _ in range(2000):
        assert runner.poll()
        if len(Process.started) == count:
            return
        clock.now_s += 0.1
    raise AssertionError("it was not started again")


def end(runner: GraphRunner, code: int) -> None:
    handle = runner._processes[0].handle
    assert handle is not None
    handle.returncode = code


NODE = NodeSpec("radar_preprocessor", "radar_preprocessor")


def test_waits_between_starts_double_up_to_30_s(clock: Clock) -> None:
    """R2: of a node that ends again and again; after half a minute of life it begins anew."""
    lines: list[str] = []
    runner = GraphRunner([NODE], lines.append)
    runner.start()
    for count in range(2, 11):
        end(runner, -9)
        wait_until_started(runner, clock, count)
    clock.now_s += graph_runner.STEADY_AFTER_S + 1.0
    end(runner, 1)
    wait_until_started(runner, clock, 11)
    times_s = [at_s for at_s, _ in Process.started]
    waits_s = [later - earlier for earlier, later in itertools.pairwise(times_s)]
    assert waits_s[:-1] == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30, 30], abs=0.15)
    assert waits_s[-1] == pytest.approx(graph_runner.STEADY_AFTER_S + 2.0, abs=0.15)
    assert runner.restarts == {NODE.label: 10}
    assert lines[-1] == "[radar_preprocessor] ended with code 1: starts again in 1 s"


def test_only_who_never_ran_was_called_wrongly(clock: Clock) -> None:
    """A node that ran, was killed, and lacks something when it starts again does not end all."""
    runner = GraphRunner([NODE], lambda line: None)
    runner.start()
    end(runner, -9)
    wait_until_started(runner, clock, 2)
    again = [env.get(RESTARTED) for _, env in Process.started]
    assert again == [None, "1"]
    end(runner, 2)
    assert runner.poll()
    assert (runner.exit_code, runner.failure) == (0, "")
    wait_until_started(runner, clock, 3)

    other = GraphRunner([NODE], lambda line: None)
    other.start()
    end(other, 2)
    assert not other.poll()
    assert other.exit_code == 2


HOLDER = """
import fcntl, sys, time
lock = open(sys.argv[1], "rb")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def make_segment(folder: Path, name: str, size: int, age_s: float = 60.0) -> Path:
    segment, lock = folder / name, folder / f"{name}_el"
    segment.write_bytes(bytes(size))
    lock.touch()
    os.utime(lock, (time.time() - age_s,) * 2)
    return segment


def test_what_killed_processes_left_is_freed(tmp_path: Path) -> None:
    """And nothing else: not what is in use, new, or of somebody else."""
    left = make_segment(tmp_path, "fastdds_0123456789abcdef", 1000)
    used = make_segment(tmp_path, "fastdds_1123456789abcdef", 1000)
    young = make_segment(tmp_path, "fastdds_2123456789abcdef", 1000, age_s=0.0)
    port = make_segment(tmp_path, "fastdds_port7413", 1000)
    other = tmp_path / "sem.fastdds_port7413_mutex"
    other.touch()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, f"{used}_el"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        assert shared_memory.free_abandoned(tmp_path) == 1000
        assert not left.exists() and not Path(f"{left}_el").exists()
        assert all(path.exists() for path in (used, young, port, other))
    finally:
        holder.kill()
        holder.wait()
    assert shared_memory.free_abandoned(tmp_path) == 1000
    assert not used.exists()
    with (tmp_path / "fastdds_2123456789abcdef_el").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody has kept it
