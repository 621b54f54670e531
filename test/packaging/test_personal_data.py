"""Images, poses and heart rates are personal: nothing of them stays on a disk unless asked for."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from skin_video import video

from radar_pose_ros import bringup
from radar_pose_ros.graphs import flat
from radar_pose_ros.nodes import parameters

ROOT = Path(__file__).resolve().parents[2]
WRITES = {"write_text", "write_bytes", "savez", "save", "imwrite", "VideoWriter", "BagWriter"}
FIRST_READING, START_S = "face 0: WARMING_UP", 60.0
MAY_WRITE = {
    "recorder.py": {"BagWriter"},  # what it is for
    "viewer.py": {"save"},  # if its parameter `file` names one
}


@pytest.mark.parametrize("graph", sorted(bringup.GRAPHS))
def test_no_graph_records_by_default(graph: str) -> None:
    """Its arguments are off, and no node is there that writes."""
    of = bringup.graph(graph)
    assert {a.name: a.default for a in of.arguments}["record"] == ""
    given = {"bag": "any"} if graph == "replay" else {}
    nodes = flat(of.nodes(given))
    assert not {node.executable for node in nodes} & {"recorder", "viewer"}
    [recorder, *_] = of.nodes({**given, "record": "folder"})
    assert recorder.executable == "recorder" and recorder.parameters["bag"] == "folder"


def test_who_writes_has_to_be_told_where() -> None:
    """The file names of recorder and viewer are empty, and cannot be changed from outside."""
    for node, name in (("recorder", "bag"), ("viewer", "file")):
        spec = parameters.load(node)[name]
        assert spec.default == "" and spec.read_only
    assert "127.0.0.1" in parameters.load("viewer")["url"].default
    assert parameters.load("viewer")["url"].read_only


def calls(path: Path) -> set[str]:
    """Return the last names of all that a file calls, and how it opens files if to write."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
        modes += [k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)]
        if name == "open" and any(isinstance(m, str) and set(m) & set("wax+") for m in modes):
            found.add("open to write")
        found.add(name)
    return found


def test_no_other_node_writes_files() -> None:
    """Nothing on the upper floor but the recorder and the viewer."""
    for path in sorted((ROOT / "radar_pose_ros" / "nodes").glob("*.py")):
        writing = calls(path) & (WRITES | {"open to write"})
        assert writing == MAY_WRITE.get(path.name, set()), path.name


@pytest.mark.ros
def test_a_graph_leaves_nothing_but_logs(ros_environment: dict[str, str], tmp_path: Path) -> None:
    """Cameras, poses in space, a face: home, working folder and that for temporary files."""
    folders = {name: tmp_path / name.lower() for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR")}
    work = tmp_path / "work"
    for folder in (work, *folders.values()):
        folder.mkdir()
    environment = {**ros_environment, **{name: str(path) for name, path in folders.items()}}
    environment.pop("ROS_LOG_DIR")
    words = ["everything", "emulated:=true", "radars:=false", "face_method:=pos"]
    words += [f"face_source:={video(tmp_path / 'skin.avi')}", "face_region:=8 8 40 32"]
    log = tmp_path / "said"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "radar_pose_ros.cli", "up", *words],
            env=environment,
            cwd=work,
            stdout=file,
            stderr=file,
        )
        deadline_s = time.monotonic() + START_S
        while FIRST_READING not in log.read_text() and time.monotonic() < deadline_s:
            time.sleep(0.2)
        time.sleep(2.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(15.0) == 0, log.read_text()
    assert FIRST_READING in log.read_text(), log.read_text()
    files = {path for folder in (work, *folders.values()) for path in folder.rglob("*")}
    logs = folders["HOME"] / ".ros" / "log"
    left = {p for p in files if p.is_file() and logs not in p.parents}
    assert not left
    assert any(path.parent == logs for path in files), files  # it did look in the right place


def test_the_viewer_tells_its_makers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rerun counts its users, in files below their homes, unless it is told not to."""
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    from radar_pose_ros.view import command

    for name in ("CI", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with command.viewer(command.free_ports(), web=True, say=lambda _: None) as process:
        assert process.poll() is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
