# ruff: noqa: E402
"""``radar-pose view``: from a bag to a file and to a picture, and what it refuses."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rerun_files import rows_of

from radar_pose_ros import cli
from radar_pose_ros.recording import BagWriter, RecordingError, message_class
from radar_pose_ros.skeleton.definitions import HUPR14

NOW_NS = 1_790_000_000_000_000_000
PERIOD_NS = 100_000_000
STANDING = np.array(  # somebody two metres ahead: hips, legs, neck and head, arms
    [
        *((2.0, -0.1, 0.9), (2.0, -0.1, 0.5), (2.0, -0.1, 0.1)),
        *((2.0, 0.1, 0.9), (2.0, 0.1, 0.5), (2.0, 0.1, 0.1)),
        *((2.0, 0.0, 1.45), (2.0, 0.0, 1.7)),
        *((2.0, 0.2, 1.4), (2.0, 0.35, 1.2), (2.0, 0.45, 1.0)),
        *((2.0, -0.2, 1.4), (2.0, -0.35, 1.2), (2.0, -0.45, 1.0)),
    ]
)


def test_without_rerun_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert cli.main(["view", "bag"]) == cli.USAGE_ERROR
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    [pinned] = re.findall(r"^rerun-sdk==\S+", (root / "requirements.txt").read_text(), re.M)
    assert f"`pip install {pinned}`" in said


rr = pytest.importorskip("rerun", reason="rerun-sdk is not installed: Python 3.11 and later only")

from radar_pose_ros.view import browser, command
from radar_pose_ros.view.drawer import SURE


def pose(frame: int, shift_m: float = 0.0, confidence: float = 1.0) -> Any:
    """Somebody who walks to the left, one decimetre a frame."""
    point, stamp = (message_class(n) for n in ("geometry_msgs/msg/Point", TIME))
    joints = STANDING + (0.0, 0.1 * frame + shift_m, 0.0)
    ours = "radar_pose_ros/msg/"
    numbers = {name: k for k, name in enumerate(("OBSERVED", "INTERPOLATED", "PREDICTED"))}
    keypoints = [
        message_class(ours + "Keypoint3D")(
            position=point(x=x, y=y, z=z),
            confidence=confidence,
            covariance=np.full(6, math.nan, np.float32),
            origin=0,
            **numbers,
        )
        for x, y, z in joints.tolist()
    ]
    person = message_class(ours + "HumanPose3D")(
        id=1, confidence=1.0, root_relative=False, keypoints=keypoints
    )
    time_ns = NOW_NS + frame * PERIOD_NS
    return message_class(ours + "HumanPose3DArray")(
        header=message_class("std_msgs/msg/Header")(
            stamp=stamp(sec=time_ns // 10**9, nanosec=time_ns % 10**9), frame_id="map"
        ),
        skeleton=HUPR14.name,
        model="some",
        missing_sources=[],
        poses=[person],
    )


TIME = "builtin_interfaces/msg/Time"


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of poses on two topics, received 50 ms after the instants that they describe."""
    path = tmp_path_factory.mktemp("view") / "bag"
    with BagWriter(path) as writer:
        for frame in range(10):
            received_ns = NOW_NS + frame * PERIOD_NS + 50_000_000
            writer.write_message("/pose3d", received_ns, pose(frame))
            writer.write_message("/robot/pose3d", received_ns, pose(frame, 0.5, 0.0))
    return path


def view(*words: str) -> int:
    rr.set_strict_mode(True)
    return cli.main(["view", *words])


def test_a_bag_becomes_a_file(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.rrd"
    assert view(str(bag), "--save", str(file)) == 0
    assert f"written: {file}" in capsys.readouterr().out
    rows = rows_of(file)
    joints = rows["world/pose3d/joints"]
    assert [row["time"] for row in joints] == [NOW_NS + k * PERIOD_NS for k in range(10)]
    places = np.array([row["Points3D:positions"] for row in joints])
    np.testing.assert_allclose(places[7], STANDING + (0.0, 0.7, 0.0), atol=1e-6)
    ages = [row.get("Scalars:scalars") for row in rows["latency/pose3d"]]
    np.testing.assert_allclose([age for age in ages if age], 50.0)
    assert "world/robot/pose3d/joints" in rows
    assert rows_of(file, blueprint=True)


def test_a_namespace_chooses_topics(bag: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.rrd"
    assert view(str(bag), "--namespace", "robot", "--save", str(file)) == 0
    rows = rows_of(file)
    [first, *_] = rows["world/pose3d/joints"]  # by its name below the namespace
    np.testing.assert_allclose(first["Points3D:positions"], STANDING + (0.0, 0.5, 0.0), atol=1e-6)
    assert "world/robot/pose3d/joints" not in rows


def test_nothing_after_the_instant_that_is_asked_for(bag: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.rrd"
    recording = command.new_recording()
    recording.save(file)
    command.show(recording, str(bag), at_s=0.45)
    recording.disconnect()
    times = [row["time"] for row in rows_of(file)["world/pose3d/joints"]]
    assert times == [NOW_NS + k * PERIOD_NS for k in range(5)]


def test_what_cannot_be_shown(
    bag: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, said in (
        (("no_bag", "--save", "a.rrd"), "no_bag: there is no such bag"),
        ((str(bag), "--at", "1"), "--at is the instant of a --picture"),
        (("--picture", "a.png"), "--picture wants a BAG"),
        ((str(bag), "--save", "a.rrd", "--picture", "a.png"), "not allowed with"),
        ((str(bag), "--port", "80"), "want 1024 to 65534, got '80'"),
        (
            (str(bag), "--save", "a.rrd", "--namespace", "elsewhere"),
            "holds nothing below /elsewhere that can be drawn; namespaces in it: /robot\n",
        ),
    ):
        assert view(*words) == cli.USAGE_ERROR, words
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())  # nothing is begun
    recording = command.new_recording()
    recording.save(tmp_path / "a.rrd")
    with pytest.raises(RecordingError, match=r"ends 0\.90 s after its first .*: --at 1000 is la"):
        command.show(recording, str(bag), at_s=1000.0)


def test_only_what_runs_now_needs_ros(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And before the viewer: to find ROS the program may begin anew."""
    steps: list[str] = []
    monkeypatch.setattr(cli, "_be_a_node", lambda: steps.append("ROS"))
    monkeypatch.setattr(command, "run", lambda options, live: steps.append("viewer") or 0)
    assert view() == 0 and steps == ["ROS", "viewer"]
    steps.clear()
    assert view(str(bag)) == 0 and steps == ["viewer"]


def test_a_port_that_is_taken_is_named(
    bag: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = command.free_ports()
    with socket.socket() as other:
        other.bind((command.LOOPBACK, port + 1))
        other.listen()
        assert view(str(bag), "--web", "--port", str(port)) == cli.USAGE_ERROR
    assert f"port {port + 1} is taken" in capsys.readouterr().err


def test_without_a_browser_it_says_how_to_get_one(
    bag: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert view(str(bag), "--picture", "a.png") == cli.USAGE_ERROR
    assert "`apt-get install chromium`" in capsys.readouterr().err


def test_the_page_is_served_to_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both addresses that are said work, and both stop with the viewer."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    port, said = command.free_ports(), []
    with command.viewer(port, True, said.append) as process:
        assert not command.is_free(port) and not command.is_free(port + 1)
        listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        sockets = [line.split()[1] for line in listening.splitlines() if " 0A " in line]
        of_it = [s for s in sockets if int(s.split(":")[1], 16) in (port, port + 1)]
        assert {s.split(":")[0] for s in of_it} == {"0100007F"} and len(of_it) == 2
    assert process.poll() is not None
    assert command.is_free(port) and command.is_free(port + 1)
    text = "\n".join(said)
    assert f"http://127.0.0.1:{port}/?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A{port + 1}" in text
    assert f"ssh -L {port}:127.0.0.1:{port} -L {port + 1}:127.0.0.1:{port + 1}" in text


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_the_viewer_ends_with_the_program(bag: Path, number: int, code: int) -> None:
    """Interrupted it ends with 0; however it ends, nobody listens afterwards."""
    port = command.free_ports()
    program = [sys.executable, "-m", "radar_pose_ros.cli", "view", str(bag), "--web"]
    process = subprocess.Popen(
        [*program, "--port", str(port)],
        cwd=bag.parents[0],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Ctrl-C ends"):
            break
    assert not command.is_free(port)
    process.send_signal(number)
    assert process.wait(30.0) == code
    deadline_s = time.monotonic() + 20.0
    while not (command.is_free(port) and command.is_free(port + 1)):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_a_picture_shows_the_skeleton(bag: Path, tmp_path: Path) -> None:
    """Drawn by Chromium without a display: not blank, with bones in the colour of sure ones."""
    try:
        browser.find()
    except browser.BrowserError as error:
        pytest.skip(str(error))
    path = tmp_path / "view.png"
    command.picture(str(bag), str(path), 0.9, size_px=(640, 480))
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert pixels.shape == (480, 640, 3)
    space = pixels[30:320]  # the view in space is above the curves
    sure = np.argwhere(abs(space - SURE).max(axis=2) < 40)
    assert len(sure) > 60, len(sure)
    high, wide = np.ptp(sure, axis=0)
    assert high > 40 and wide > 10, (high, wide)  # a standing person, not a dot
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
