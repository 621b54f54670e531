"""What `colcon build` installed: every program starts, every data file is there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    path.stem
    for path in (ROOT / "radar_pose_ros/nodes").glob("*.py")
    if re.search(r"^def main\(", path.read_text(), re.MULTILINE)
} | {"radar-pose"}

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def prefix() -> Path:
    """Return the prefix that this package is installed in."""
    for candidate in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep):
        if (Path(candidate) / "share/ament_index/resource_index/packages/radar_pose_ros").exists():
            return Path(candidate)
    raise AssertionError("AMENT_PREFIX_PATH has no radar_pose_ros")


def test_a_program_for_each_node(prefix: Path) -> None:
    """`ros2 run radar_pose_ros NAME` finds them: all, and nothing else."""
    assert {path.name for path in (prefix / "lib/radar_pose_ros").iterdir()} == PROGRAMS


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_program_imports_its_main(prefix: Path, name: str) -> None:
    """The file is executable and what it imports exists."""
    program = prefix / "lib/radar_pose_ros" / name
    assert os.access(program, os.X_OK)
    source = program.read_text()
    assert source.startswith("#!/usr/bin/env python3\n")
    [imported] = re.findall(r"^from .* import main$", source, re.MULTILINE)
    done = subprocess.run(
        ["python3", "-c", f"{imported}; assert callable(main)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_command_line_starts(prefix: Path) -> None:
    """The installed `radar-pose` explains itself."""
    done = subprocess.run(
        [prefix / "lib/radar_pose_ros/radar-pose", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: radar-pose" in done.stdout


@pytest.mark.parametrize("folder", ["config", "launch", "rviz", "weights", "msg"])
def test_data_files_are_installed(prefix: Path, folder: str) -> None:
    """Every file under the folder is in share, unchanged."""
    sources = [
        path
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sources, f"{folder} is empty"
    for path in sources:
        installed = prefix / "share/radar_pose_ros" / path.relative_to(ROOT)
        assert installed.is_file(), f"{installed} is missing"
        assert installed.read_bytes() == path.read_bytes(), installed


def test_python_files_are_installed(prefix: Path) -> None:
    """Beside the generated messages, without compiled leftovers."""
    [generated] = prefix.glob("lib/python3*/site-packages/radar_pose_ros/msg/__init__.py")
    package = generated.parents[1]
    for path in (ROOT / "radar_pose_ros").rglob("*.py"):
        assert (package / path.relative_to(ROOT / "radar_pose_ros")).is_file(), path


@pytest.mark.slow
def test_second_build_changes_nothing(prefix: Path) -> None:
    """colcon leaves the libraries of an unchanged tree alone."""
    workspace = ROOT / ".ws"
    if not prefix.is_relative_to(workspace):
        pytest.skip("built elsewhere, by another colcon")
    libraries = sorted((workspace / "build/radar_pose_ros").glob("*.so"))
    assert libraries
    before = [path.stat().st_mtime_ns for path in libraries]
    script = f'. "{ROOT}/.venv/setup.bash" && cd "{workspace}" && colcon build --symlink-install'
    clean = {"PATH": os.defpath, "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        ["/bin/bash", "-c", script], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [path.stat().st_mtime_ns for path in libraries] == before
