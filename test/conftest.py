"""What every test may use: the shared recordings, seeds, and an environment for live graphs."""

from __future__ import annotations

import itertools
import os
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from radar_pose_ros import environment, shared_memory

ROOT = Path(__file__).resolve().parents[1]

# Domains up to 100 keep clear of the ports that Linux hands out itself.
_domains = itertools.count(os.getpid())


def _ros_missing() -> str:
    """Return why live tests cannot run in this process, or an empty string."""
    if find_spec("rclpy") is None:
        return "rclpy cannot be imported: source a ROS installation, or run `make test`"
    if not environment.ros_is_ready():
        return "the messages are not built or not sourced: run `make test`"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``ros`` where there is no ROS, and say why."""
    reason = _ros_missing()
    if reason:
        for item in items:
            if item.get_closest_marker("ros"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of published recordings and vectors that lies beside the repository."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"needs the recordings in {path}")
    return path


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Return a generator seeded by the test's name: the same on every run and in any order."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def ros_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Give the test a ROS domain of its own, for this process and for the programs it starts.

    Returns the environment to hand to ``subprocess.Popen``.
    """
    shared_memory.free_abandoned()  # of what tests killed: without room large messages get lost
    monkeypatch.setenv("ROS_DOMAIN_ID", str(1 + next(_domains) % 100))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros_log"))
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    return dict(os.environ)
