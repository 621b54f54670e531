"""Every node of the package, alone, with parameters that it can be activated with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros.graphs import NodeSpec, process_environment

BEGIN_NS = 1_700_000_000 * 10**9

Setting = Callable[[Path], Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """A node alone, without anything to work on.

    Parameters
    ----------
    name : str
        The node's, in this case.
    executable : str
    parameters : callable
        Gets a folder that is there for the case alone; makes files in it if need be.
    needs : sequence of str
        Python modules without which it does not configure.
    """

    name: str
    executable: str
    parameters: Setting = field(default=lambda folder: {})
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """The modules that are not here."""
        return ", ".join(name for name in self.needs if find_spec(name) is None)

    def spec(self, folder: Path, **more: Any) -> NodeSpec:
        """Return what to start."""
        parameters = {**self.parameters(folder), **more}
        environment = process_environment(1)
        return NodeSpec(self.executable, self.name, "", parameters, environment=environment)


def _pictures(folder: Path) -> dict[str, Any]:
    import cv2

    source = folder / "pictures"
    source.mkdir(exist_ok=True)
    for number in range(8):
        image = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
        cv2.imwrite(str(source / f"{number}.png"), image)
    return {"source": str(source), "frame_rate_hz": 15.0, "at_end": "loop"}


def _bag(folder: Path) -> dict[str, Any]:
    from radar_pose_ros import recording

    with recording.BagWriter(folder / "bag") as bag:
        bag.add_topic("/words", "std_msgs/msg/String")
        for number in range(10):
            words = recording.message_class("std_msgs/msg/String")(data=str(number))
            bag.write_message("/words", BEGIN_NS + number * 10**8, words)
    return {"bag": str(folder / "bag"), "exit_at_end": False, "wait_s": 0.0}


def _detector(folder: Path) -> dict[str, Any]:
    import onnx_models
    from drawn_spots import COLOURS

    model = onnx_models.colour_heatmaps(folder / "spots.onnx", COLOURS)
    model.with_suffix(".yaml").write_text(
        "skeleton: hupr14\ninput_size: [64, 48]\n" + onnx_models.PLAIN
    )
    return {"model": str(model)}


def _ports(folder: Path) -> dict[str, Any]:
    return {
        "points_port": str(folder / "points"),
        "command_port": str(folder / "command"),
    }


def _boards(folder: Path) -> dict[str, Any]:
    ports = {"radar_h_config_port": 24096, "radar_h_data_port": 24098}
    return ports | {"radar_v_config_port": 24196, "radar_v_data_port": 24198, "prepare_s": 0.2}


NO_CARD = {
    "host_ip": "127.0.0.1",
    "card_ip": "127.0.0.9",
    "config_port": 25096,
    "data_port": 25098,
}
CASES = (
    Case("radar_driver", "radar_driver", lambda folder: NO_CARD),
    Case(
        "radar_driver_of_points",
        "radar_driver",
        lambda folder: {
            "source": "uart",
            "config_file": "iwr1843_points.cfg",
            "serial_port": str(folder / "none"),
            "points_port": str(folder / "neither"),
        },
    ),
    Case("radar_preprocessor", "radar_preprocessor"),
    Case("radar_emulator", "radar_emulator", _boards),
    Case("uart_emulator", "uart_emulator", _ports),
    Case("mamba_pose", "mamba_pose", lambda folder: {"threads": 1}),
    Case("mamba_pose_of_points", "mamba_pose", lambda folder: {"input": "points", "threads": 1}),
    Case("pose_refiner", "pose_refiner", lambda folder: {"weights": "radar_2d"}),
    Case("pose_lifter", "pose_lifter", lambda folder: {"weights": "wrapper"}),
    Case("densewarper", "densewarper"),
    Case(
        "densewarper_network",
        "densewarper",
        lambda folder: {"method": "densewarper", "weights": "light", "threads": 1},
    ),
    Case("rig_emulator", "rig_emulator"),
    Case("camera_source", "camera_source", _pictures),
    Case("keypoint_detector", "keypoint_detector", _detector, ("onnx", "onnxruntime")),
    Case("rppg", "rppg"),
    Case("visualizer", "visualizer"),
    Case("recorder", "recorder", lambda folder: {"bag": str(folder / "new")}),
    Case("replayer", "replayer", _bag),
    Case("hri_bridge", "hri_bridge", needs=("hri_msgs",)),
    Case("viewer", "viewer", lambda folder: {"file": str(folder / "view.rrd")}, ("rerun",)),
)


def case(name: str) -> Case:
    """Return the case of that name."""
    return next(case for case in CASES if case.name == name)
