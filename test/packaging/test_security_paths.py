"""Parameters that name a file: what is none is refused with a sentence, and never waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.ros

# Node and parameter, what else it takes to come into play, and which kinds may be meant.
PATHS: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("radar_driver", "config_file", {}, ()),
    ("radar_emulator", "config_file", {}, ()),
    ("mamba_pose", "weights", {}, ()),
    ("mamba_pose", "weights", {"input": "points"}, ()),
    ("pose_refiner", "weights", {}, ()),
    ("pose_lifter", "weights", {}, ()),
    ("densewarper", "weights", {"method": "densewarper"}, ()),
    ("densewarper", "calibration_file", {}, ()),
    ("rppg", "weights", {"method": "physmamba"}, ()),
    ("rppg", "yunet", {"method": "pos"}, ()),
    ("keypoint_detector", "model", {}, ()),
    ("camera_source", "source", {}, ()),
    ("rig_emulator", "recording", {}, ()),
    ("uart_emulator", "recording", {}, ()),
    ("replayer", "bag", {}, ()),
    ("recorder", "bag", {}, ("nothing",)),  # the folder to make
]
PROMPT_S = 30.0  # for all of them, on a busy machine


@pytest.fixture(scope="module")
def no_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return paths of what is no file to read."""
    folder = tmp_path_factory.mktemp("paths")
    (folder / "folder.safetensors").mkdir()
    os.mkfifo(folder / "pipe.safetensors")
    return {
        "nothing": str(folder / "nothing.safetensors"),
        "folder": str(folder / "folder.safetensors"),
        "pipe": str(folder / "pipe.safetensors"),
        "device": "/dev/zero",
        "process": "/proc/self/mem",
        "text": "x" * 5000,
        "null": "a\0b",
    }


@pytest.fixture
def promptly() -> Iterator[None]:
    """What waits for ever is interrupted."""

    def interrupt(*_: Any) -> None:
        raise TimeoutError("waited for what is no file")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, PROMPT_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("node", "name", "others", "meant"), PATHS)
def test_a_path_that_is_no_file_is_refused(
    ros_environment: dict[str, str],
    no_files: dict[str, str],
    promptly: None,
    node: str,
    name: str,
    others: dict[str, Any],
    meant: tuple[str, ...],
) -> None:
    """Missing, a folder, a pipe that nobody writes to, a device without end, no path at all."""
    import rclpy
    from rclpy.parameter import Parameter

    from radar_pose_ros.nodes.base import FAILURE
    from radar_pose_ros.nodes.composition import node_class
    from radar_pose_ros.nodes.parameters import ParameterError

    context = rclpy.Context()
    rclpy.init(context=context)
    refusals: list[str] = []
    try:
        for kind, path in no_files.items():
            if kind in meant:
                continue
            values = {"autostart": False, **others, name: path}
            overrides = [Parameter(key, value=value) for key, value in values.items()]
            try:
                made = node_class(node)(context=context, parameter_overrides=overrides)
            except ParameterError as error:  # too long, for instance
                refusals.append(str(error))
                continue
            try:
                assert made.trigger_configure() is FAILURE, kind
                said = made.health.failure
                assert "waited for" not in said, (kind, said)
                assert said.startswith("cannot configure: ") and "Traceback" not in said, kind
                assert len(said) < 1000, kind
            finally:
                made.release()
                made.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    assert all(f"parameter {name} " in said for said in refusals)
