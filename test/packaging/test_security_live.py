"""SROS2 in force: the graph's nodes hear each other, and nobody else hears a pose or a heart rate.

Needs sros2's keystore tool and a middleware with security, which a ROS installation has and the
wheels from PyPI have not.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from skin_video import video

EAR = Path(__file__).with_name("ear.py")
TOPICS = ("/pose3d:HumanPose3DArray", "/heart_rate:HeartRate")
NOTHING = {"/pose3d": 0, "/heart_rate": 0}
START_S, LISTEN_S = 90.0, 6.0
NO_SECURITY = "doesn't have the security libraries"

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(
        find_spec("sros2") is None,
        reason="SROS2's keystore tool is not installed (apt: ros-$ROS_DISTRO-sros2)",
    ),
]


def keystore(folder: Path, domain_id: str, policy: Path) -> Path:
    """Make keys and permissions as `ros2 security generate_artifacts` does."""
    from sros2.api import _artifact_generation

    before = os.environ["ROS_DOMAIN_ID"]
    os.environ["ROS_DOMAIN_ID"] = domain_id
    try:
        _artifact_generation.generate_artifacts(folder, [], [policy])
    finally:
        os.environ["ROS_DOMAIN_ID"] = before
    return folder


def enforced(environment: dict[str, str], keys: Path) -> dict[str, str]:
    """Return the variables that put SROS2 in force."""
    return {
        **environment,
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(keys),
    }


def graph(folder: Path) -> list[str]:
    """Return the arguments of a graph that tells poses in space and heart rates."""
    face = {"source": video(folder / "skin.avi"), "at_end": "loop", "method": "pos"}
    words = [f"face_{name}:={value}" for name, value in face.items()]
    return ["everything", "emulated:=true", "radars:=false", "face_region:=8 8 40 32", *words]


def policy_of(folder: Path, words: list[str]) -> Path:
    """Write a graph's policy, with that of `radar-pose view`."""
    from radar_pose_ros import cli

    path = folder / "policy.xml"
    assert cli.main(["policy", *words, "--viewer", "--out", str(path)]) == 0
    return path


@pytest.fixture
def listen(ros_environment: dict[str, str]) -> Callable[..., Any]:
    """Return what runs a process that listens, and gives what it heard."""

    def run(environment: dict[str, str], enclave: str, seconds: float = LISTEN_S) -> Any:
        words = [sys.executable, str(EAR), str(seconds), enclave, *TOPICS]
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=seconds + 60
        )
        if NO_SECURITY in done.stderr:
            pytest.skip("the middleware was built without security, as that of the wheels is")
        said = [line for line in done.stdout.splitlines() if line.startswith("HEARD ")]
        return json.loads(said[0].removeprefix("HEARD ")) if said else done.stderr[-2000:]

    return run


@contextlib.contextmanager
def started(environment: dict[str, str], words: list[str], log: Path) -> Iterator[None]:
    """Run a graph; what it says goes to a file."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "radar_pose_ros.cli", "up", *words],
            env=environment,
            stdout=file,
            stderr=file,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(15.0)


def test_only_who_may_hears_poses_and_heart_rates(
    ros_environment: dict[str, str], tmp_path: Path, listen: Callable[..., Any]
) -> None:
    """The viewer hears both; who has no keys, those of another node or of a stranger, neither."""
    words, domain_id = graph(tmp_path), ros_environment["ROS_DOMAIN_ID"]
    policy = policy_of(tmp_path, words)
    secure = enforced(ros_environment, keystore(tmp_path / "keys", domain_id, policy))
    strange = enforced(ros_environment, keystore(tmp_path / "other_keys", domain_id, policy))
    assert listen(secure, "/viewer", 0.5) == NOTHING  # or is skipped
    with started(secure, words, tmp_path / "log"):
        deadline_s = time.monotonic() + START_S
        heard: Any = NOTHING
        while not all(heard.values()) and time.monotonic() < deadline_s:
            heard = listen(secure, "/viewer", 3.0)
            assert isinstance(heard, dict), heard
        assert all(heard.values()), f"{heard}\n{(tmp_path / 'log').read_text()[-5000:]}"

        assert listen(ros_environment, "") == NOTHING
        assert listen(strange, "/viewer") == NOTHING
        of_other_node = listen(secure, "/camera_source")
        assert isinstance(of_other_node, dict), of_other_node
        assert all(n == 0 or "denied" in str(n) for n in of_other_node.values()), of_other_node
        of_nobody = listen(secure, "/nobody")  # no keys: it does not even start
        assert not isinstance(of_nobody, dict) and "nobody" in of_nobody
        again = listen(secure, "/viewer", 3.0)
        assert all(again.values()), f"the graph fell silent meanwhile: {again}"


def test_a_node_may_not_say_what_is_not_its_own(
    ros_environment: dict[str, str],
    tmp_path: Path,
    listen: Callable[..., Any],
) -> None:
    """Who took the keys of the camera cannot publish poses or heart rates with them."""
    policy = policy_of(tmp_path, graph(tmp_path))
    keys = keystore(tmp_path / "keys", ros_environment["ROS_DOMAIN_ID"], policy)
    secure = enforced(ros_environment, keys)
    assert listen(secure, "/viewer", 0.1) == NOTHING  # or is skipped
    program = (
        "import rclpy, sys; from radar_pose_ros import msg\n"
        "rclpy.init(args=['--ros-args', '--enclave', '/camera_source'])\n"
        "node = rclpy.create_node('camera_source')\n"
        "from sensor_msgs.msg import Image\n"
        "node.create_publisher(Image, 'image', 1)\n"
        "print('may publish image', flush=True)\n"
        "node.create_publisher(msg.HeartRate, 'heart_rate', 1)\n"
        "print('may publish heart_rate', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=secure, capture_output=True, text=True, timeout=60
    )
    assert "may publish image" in done.stdout, done.stderr
    assert "may publish heart_rate" not in done.stdout and done.returncode, done.stderr
