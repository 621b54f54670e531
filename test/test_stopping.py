"""Ctrl-C ends a graph within 3 s, with exit code 0, whenever it comes; nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from radar_pose_ros import bringup
from radar_pose_ros.graph_runner import GraphRunner
from radar_pose_ros.graphs import NodeSpec

pytestmark = pytest.mark.ros

WITHIN_S = 3.0
MARK = "RADAR_POSE_TEST_STOPPING"


def left_over(mark: str) -> list[str]:
    """Return the command lines of the processes that were started with this mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


def segments(process_id: int) -> list[Path]:
    """Return the files in shared memory that a process made for the middleware."""
    lines = Path(f"/proc/{process_id}/maps").read_text().splitlines()
    names = {line.split()[-1] for line in lines if "/dev/shm/fastdds_" in line}
    return [Path(name) for name in names if "port" not in name]


def test_a_node_that_is_being_imported_ends_at_once(ros_environment: dict[str, str]) -> None:
    """Whoever has nothing to say goodbye to need not be waited for; that is no failure."""
    lines: list[str] = []
    spec = NodeSpec("mamba_pose", "mamba_pose")
    for begun_s in (0.05, 0.3, 0.8):
        runner = GraphRunner([spec], lines.append)
        runner.start()
        time.sleep(begun_s)
        begin_s = time.monotonic()
        runner.stop()
        assert time.monotonic() - begin_s < WITHIN_S
        assert runner.exit_code == 0
    assert lines == []  # no traceback of an import that was interrupted


NODE = """
import sys, threading, time
from radar_pose_ros.leaving import run_and_leave
from radar_pose_ros.nodes import base, parameters

parameters.load = lambda name, load=parameters.load: load("recorder")

class Slow(base.ManagedNode):
    def __init__(self):
        super().__init__("slow")

    def configure(self):
        print("configuring", flush=True)
        if sys.argv[1] == "configures":
            while True:
                time.sleep(0.01)

    def activate(self):
        self.start_worker("thread", self.compute)
        print("active", flush=True)

    def compute(self, stop):
        if sys.argv[1] == "computes":
            while True:  # does not look at `stop`
                sum(range(1000))
        stop.wait()

    def cleanup(self):
        print("released", flush=True)

run_and_leave(lambda: base.run(Slow, []))
"""


@pytest.mark.parametrize(
    ("doing", "said", "number"),
    [
        ("configures", "configuring", signal.SIGINT),
        ("computes", "active", signal.SIGTERM),
        ("runs", "active", signal.SIGINT),
    ],
)
def test_a_busy_node_ends_in_order(
    doing: str, said: str, number: int, ros_environment: dict[str, str]
) -> None:
    """It is released, and what it made in shared memory is gone."""
    process = subprocess.Popen(
        [sys.executable, "-c", NODE, doing],
        env=ros_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        while process.stdout.readline().strip() != said:
            assert process.poll() is None
        made = segments(process.pid)
        assert made
        begin_s = time.monotonic()
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(20.0) == 0, rest
    finally:
        process.kill()
    if doing != "computes":  # such a thread leaves hardly any time to others
        assert time.monotonic() - begin_s < 2 * WITHIN_S  # other tests may run beside this one
    assert ("released" in rest) is (doing != "computes")
    assert ("threads that did not end in time: thread" in rest) is (doing == "computes")
    assert "Traceback" not in rest
    if doing != "computes":  # a thread that runs on holds what it uses
        assert not any(path.exists() for path in made)


@pytest.mark.parametrize("module", ["recorder", "replayer", "camera_source"])
def test_a_node_leaves_nothing_in_shared_memory(
    module: str, ros_environment: dict[str, str], tmp_path: Path
) -> None:
    """Those, too, whose program looks at the node again at the end."""
    words = ["--ros-args", "-p", f"bag:={tmp_path / 'bag'}", "-p", "autostart:=false"]
    process = subprocess.Popen(
        [sys.executable, "-m", "radar_pose_ros.nodes", module, *words],
        env=ros_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline_s = time.monotonic() + 20.0
        while not segments(process.pid):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        time.sleep(1.0)  # until it has all of them, and listens to signals
        made = segments(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(20.0) == 0
    finally:
        process.kill()
    assert not any(path.exists() for path in made)


# -- whole graphs ----------------------------------------------------------------------------


def face_video(path: Path) -> str:
    """Write a grey video of ten seconds."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (160, 120))
    for _ in range(300):
        writer.write(np.full((120, 160, 3), 128, np.uint8))
    writer.release()
    return str(path)


def bag_of_poses(path: Path) -> str:
    """Write a bag of a minute with nobody in it."""
    from rclpy.serialization import serialize_message

    from radar_pose_ros import msg, recording

    with recording.BagWriter(path) as bag:
        bag.add_topic("/pose2d", "radar_pose_ros/msg/HumanPose2DArray")
        for second in range(60):
            poses = msg.HumanPose2DArray(model="millimamba/edge")
            poses.header.stamp.sec = 1_700_000_000 + second
            now_ns = poses.header.stamp.sec * 10**9
            bag.write("/pose2d", now_ns, serialize_message(poses))
    return str(path)


def arguments_of(name: str, folder: Path) -> list[str]:
    """Return what a graph needs to run without hardware."""
    face = folder / "face.avi"
    if name == "heart_rate":
        return [f"source:={face_video(face)}", "at_end:=loop"]
    if name == "replay":
        return [f"bag:={bag_of_poses(folder / 'bag')}", "from_level:=pose"]
    if name == "everything":
        return ["emulated:=true", f"face_source:={face_video(face)}", "radar_port_base:=23000"]
    return ["emulated:=true", *(["port_base:=23000"] if name == "radar_pose" else [])]


def stop_after(
    delay_s: float, name: str, arguments: list[str], environment: dict[str, str]
) -> None:
    """Start a graph, send Ctrl-C after this time, and look at how it ends."""
    mark = f"{os.getpid()} {name} {delay_s}"
    process = subprocess.Popen(
        [sys.executable, "-m", "radar_pose_ros.cli", "up", name, *arguments],
        env={**environment, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        time.sleep(delay_s)
        begin_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30.0)
    finally:
        process.kill()
    took_s = time.monotonic() - begin_s
    left = left_over(mark)
    assert process.returncode == 0, said
    assert took_s < WITHIN_S, f"{took_s:.2f} s\n{said}"
    assert "Traceback" not in said
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("name", [*sorted(bringup.GRAPHS), "radar_pose composed:=true"])
def test_every_graph_ends(
    name: str, delay_s: float, ros_environment: dict[str, str], tmp_path: Path
) -> None:
    """While it is imported, configured, or has found its pace."""
    graph, *more = name.split()
    arguments = [*arguments_of(graph, tmp_path), *more]
    stop_after(delay_s, graph, arguments, ros_environment)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["radar_pose", "points_pose"])
def test_graphs_without_their_boards_end(
    name: str, ros_environment: dict[str, str], tmp_path: Path
) -> None:
    """A card that does not answer, and serial ports at which nobody is, hold nothing up."""
    (tmp_path / "points").symlink_to("/dev/ptmx")
    arguments = {
        "radar_pose": [
            *("radar_h_host_ip:=127.0.0.1", "radar_h_card_ip:=127.0.0.9"),
            *("radar_v_host_ip:=127.0.0.1", "radar_v_card_ip:=127.0.0.8"),
            *("radar_h_serial_port:=/dev/ptmx", "radar_v_serial_port:=/dev/ptmx"),
        ],
        "points_pose": ["serial_port:=/dev/ptmx", f"points_port:={tmp_path / 'points'}"],
    }
    stop_after(8.0, name, arguments[name], ros_environment)
