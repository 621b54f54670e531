"""Commands of README and docs that take longer, run as they stand; `documented.py` says which."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import documented
import numpy as np
import pytest
from documented import Command, Run
from drawn_boards import around

from radar_pose_ros.recording import BagReader
from radar_pose_ros.vision import calibration_files

pytestmark = pytest.mark.slow

RUNS_S = 12.0  # a graph, before Ctrl-C
ENDS_S = 90.0  # one that ends by itself, on a busy machine


def cases(story: str):
    """Return the commands of a story for a test, each with its changes."""
    found = documented.story(story)
    return pytest.mark.parametrize(
        ("command", "way"), found, ids=lambda value: getattr(value, "text", "")
    )


def start(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command of a page, with the package of this tree."""
    programs = {
        "radar-pose": [sys.executable, "-m", "radar_pose_ros.cli"],
        "python": [sys.executable],
    }
    path = f"{documented.ROOT}:{environment.get('PYTHONPATH', '')}"
    return subprocess.Popen(
        [*programs[words[0]], *words[1:]],
        cwd=folder,
        env={**environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, and so would what we start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(words: list[str], folder: Path, environment: dict[str, str], codes=(0,)) -> str:
    """Run a command to its end, and return what it says."""
    return ended(start(words, folder, environment), 600.0, codes)


def ended(process: subprocess.Popen[str], within_s: float, codes=(0,)) -> str:
    """Wait for the end of a command, and return what it says; nothing of it stays."""
    try:
        said, _ = process.communicate(timeout=within_s)
    finally:
        process.kill()
    assert process.returncode in codes, said
    return said


def interrupt(process: subprocess.Popen[str], after_s: float, codes=(0,)) -> str:
    """Let a command run, then press Ctrl-C: it ends as if all were well."""
    time.sleep(after_s)
    assert process.poll() is None, process.communicate()[0]
    process.send_signal(signal.SIGINT)
    said = ended(process, 60.0, codes)
    assert "Traceback" not in said, said
    return said


# -- a pulse -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def face(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the face that docs/command_line.md draws, as a film and as images."""
    import cv2

    folder = tmp_path_factory.mktemp("face")
    text = (root / "docs" / "command_line.md").read_text("utf-8")
    [block] = [b for kind, b in documented.FENCE.findall(text) if "write_video" in b]
    exec(compile(block.replace('"face.avi"', f"{str(folder / 'face.avi')!r}"), "page", "exec"), {})
    shutil.copy(folder / "face.avi", folder / "face.mp4")  # what a file is its name does not say
    film = cv2.VideoCapture(str(folder / "face.avi"))
    (folder / "images").mkdir()
    times = []
    while (read := film.read())[0]:
        cv2.imwrite(str(folder / "images" / f"{1_000_000 + len(times):09d}.png"), read[1])
        times.append(len(times) / 30)
    (folder / "times.csv").write_text("\n".join(f"{t:.6f}" for t in times))
    return folder


@cases("videos")
def test_a_pulse(command: Command, way: Run, face: Path) -> None:
    """A face that is drawn has a rate; a place in its images may have one or not."""
    codes = (0, 1) if "--region" in command.text else (0,)
    said = run(documented.changed(command, way), face, dict(os.environ), codes)
    assert (face / "pulse" / "heart_rate.csv").is_file(), said


@cases("benches")
def test_benches(command: Command, way: Run, tmp_path: Path) -> None:
    assert "targets met" in run(documented.changed(command, way), tmp_path, dict(os.environ))


# -- graphs --------------------------------------------------------------------------------------


@pytest.fixture
def desk(root: Path, tmp_path: Path, face: Path) -> Path:
    """A folder with every file that a graph on a page names."""
    models = importlib.import_module("onnx_models")
    shutil.copy(face / "face.mp4", tmp_path)
    left, right = around()[:2]
    calibration_files.write({"left": left, "right": right}, tmp_path / "cameras.toml", "pose2sim")
    models.answering(tmp_path / "rtmpose.onnx", np.zeros((1, 17, 3), np.float32))
    (tmp_path / "rtmpose.yaml").write_text("skeleton: coco17\n")
    page = (root / "docs" / "command_line.md").read_text("utf-8")
    [block] = [b for kind, b in documented.FENCE.findall(page) if "max_missing_ratio" in b]
    (tmp_path / "my_parameters.yaml").write_text(block)
    recorded = root.parent / "shared" / "data" / "radar_points_mars" / "mars_subject3.npz"
    if recorded.is_file():
        shutil.copy(recorded, tmp_path)
    return tmp_path


@pytest.mark.ros
@cases("graphs")
def test_graphs_run_until_ctrl_c(
    command: Command, way: Run, desk: Path, ros_environment: dict[str, str]
) -> None:
    words = documented.changed(command, way)
    named = re.search(r"\w+\.npz", command.text)
    if named and not (desk / named.group()).is_file():
        pytest.skip(f"needs the recording {named.group()}")
    interrupt(start(words, desk, ros_environment), RUNS_S)


# -- bags ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `walk/bag`, a recording of emulated radars: the first step of the tutorial."""
    folder = tmp_path_factory.mktemp("recorded")
    environment = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    environment.pop("ROS_DOMAIN_ID", None)  # demo takes one of its own
    [(command, way)] = [pair for pair in documented.story("bags") if " demo " in pair[0].text]
    run(documented.changed(command, way), folder, environment)
    return folder


@pytest.fixture
def shelf(recorded: Path, tmp_path: Path) -> Path:
    """The recording by every name that pages give one, and a second run of it."""
    bag = recorded / "walk" / "bag"
    for name in ("walk", "again", "demo_out/bag", "before", "after"):
        shutil.copytree(bag, tmp_path / name)
    return tmp_path


def of_bags(*parts: str):
    """Return the cases of the story "bags" that have one of some words in them."""
    found = [p for p in documented.story("bags") if any(part in p[0].text for part in parts)]
    return pytest.mark.parametrize(
        ("command", "way"), found, ids=lambda value: getattr(value, "text", "")
    )


@pytest.mark.ros
@of_bags(" compare ", " repair ", " evaluate ")
def test_what_bags_say(command: Command, way: Run, shelf: Path) -> None:
    said = run(documented.changed(command, way), shelf, dict(os.environ))
    assert "pose2d" in said or "messages of" in said
    if "--out" in command.text:
        assert (shelf / "compared" / "compare.png").is_file()


@pytest.mark.ros
@of_bags(" replay ")
def test_replays(command: Command, way: Run, shelf: Path, ros_environment: dict[str, str]) -> None:
    """They end with the bag, or go on until Ctrl-C; what is computed again is recorded."""
    words = documented.changed(command, way)
    if "walk/bag" in command.text:
        shutil.copytree(shelf / "walk", shelf / "moved")
        shutil.rmtree(shelf / "walk")
        shutil.copytree(shelf / "moved", shelf / "walk" / "bag")
    made = re.search(r"record:=(\w+)", command.text)
    if made:
        shutil.rmtree(shelf / made.group(1), ignore_errors=True)
    process = start(words, shelf, ros_environment)
    if "--loop" in words:
        interrupt(process, RUNS_S)
        return
    ended(process, ENDS_S)
    if made:
        with BagReader(shelf / made.group(1)) as bag:
            assert bag.counts["/pose2d"] > 10


@pytest.mark.ros
@of_bags(" record ")
def test_records(command: Command, way: Run, shelf: Path, ros_environment: dict[str, str]) -> None:
    """Beside a bag that is played, the recorder writes what it is told to."""
    shutil.rmtree(shelf / "walk")
    recorder = start(documented.changed(command, way), shelf, ros_environment)
    time.sleep(3.0)
    run(["radar-pose", "replay", "again", "--wait-for", "recorder"], shelf, ros_environment)
    said = interrupt(recorder, 1.0)
    folder = shelf / re.search(r"recording to (\S+);", said).group(1)
    with BagReader(folder) as bag:
        seen = {topic.rsplit("/", 1)[-1] for topic, count in bag.counts.items() if count}
    if "--level" in command.text:
        assert "adc" in seen and "heatmap" not in seen
    else:
        assert {"pose2d", "heatmap"} <= seen and "adc" not in seen


@pytest.mark.ros
@cases("views")
def test_views(command: Command, way: Run, shelf: Path, ros_environment: dict[str, str]) -> None:
    """They write a file or a picture, or show something until Ctrl-C."""
    pytest.importorskip("rerun", reason="needs rerun-sdk")
    words = [word for word in documented.changed(command, way) if word not in ("--port", "9090")]
    if not {"--save", "--picture"} & set(words):  # of two that nobody else has
        words += [
            "--port",
            str(importlib.import_module("radar_pose_ros.view.command").free_ports()),
        ]
    file = next((shelf / word for word in words if word.endswith((".rrd", ".png"))), None)
    if file is None:
        # 130 where Ctrl-C comes before the node is there.
        interrupt(start(words, shelf, ros_environment), RUNS_S, codes=(0, 130))
        return
    if file.suffix == ".png" and not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs Chromium")
    run(words, shelf, ros_environment)
    assert file.stat().st_size > 10_000


@cases("own")
def test_rehearsals(command: Command, way: Run, tmp_path: Path) -> None:
    run(documented.changed(command, way), tmp_path, dict(os.environ))
    with BagReader(tmp_path / re.search(r"--out (\S+)", command.text).group(1)) as bag:
        assert sum(count for topic, count in bag.counts.items() if topic.endswith("adc")) > 30


# -- recordings of others ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pages import, in which one command goes on where the last one ended."""
    folder = tmp_path_factory.mktemp("others")
    shutil.copy(shared_data / "radar_points_mars" / "mars_subject3.npz", folder)
    simulated = ["simulate", "--layout", "hupr", "--out", "HUPR", "--seconds", "0.3"]
    run(["radar-pose", *simulated], folder, dict(os.environ))
    (folder / "bags").mkdir()
    (folder / "runs").mkdir()
    return folder


@pytest.mark.ros
@cases("imports")
def test_import_replay_evaluate(
    command: Command, way: Run, others: Path, ros_environment: dict[str, str]
) -> None:
    words = documented.changed(command, way)
    if made := re.search(r"(?:--out |record:=)(\S+)", command.text):
        shutil.rmtree(others / made.group(1), ignore_errors=True)
    if "runs/walk" in command.text:
        shutil.copytree(others / "runs" / "mars", others / "runs" / "walk")
    run(words, others, ros_environment)
    if made:
        with BagReader(others / made.group(1)) as bag:
            assert sum(bag.counts.values()) > 0
