"""The node graphs as plain data, and a runner for machines without ROS's launch.

`GRAPHS` says which nodes a graph has, with which parameters and environment, and which arguments
it takes. ``launch/*.launch.py`` turns that into launch actions; `GraphRunner` starts the same
processes itself. The data part needs neither rclpy nor launch.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from radar_pose_ros import resources
from radar_pose_ros.environment import local_environment, ros_is_ready
from radar_pose_ros.nodes import parameters as declared
from radar_pose_ros.nodes import transport
from radar_pose_ros.wording import nearest

EXIT_USAGE = 2  # what a node returns that was called wrongly: starting it again is no use
STOP_TIMEOUT_S = 5.0  # a node that is importing torch on a busy machine needs some of it
BACKOFF_S = (1.0, 30.0)  # first and longest wait before a node is started again
ERROR = "error: "  # begins the line in which a node says why it ends
STEADY_AFTER_S = 30.0  # a node that lived this long starts its back-off anew

RADARS = ("radar_h", "radar_v")
# Parameters that rclpy gives every node.
_OF_RCLPY = ("use_sim_time", "start_type_description_service")


class BringupError(ValueError):
    """An argument of a graph that cannot be used: says which, and what is allowed."""


@dataclass(frozen=True)
class NodeSpec:
    """One process of a graph.

    Parameters
    ----------
    executable : str
        Name of the program, and of its module in ``radar_pose_ros.nodes``.
    name, namespace : str
        Where it stands in the graph.
    parameters : mapping
        Parameter values that differ from the node's defaults.
    remappings : sequence of (str, str)
        Names and what they become.
    parameter_files : sequence of str
        ROS parameter files; what they set wins over `parameters`, later ones over earlier ones.
    environment : mapping
        Variables to set for the process.
    outlives_others : bool
        Whether to end this node only after the others, which may want to say goodbye to it.
    ends_graph : bool
        Whether the others have nothing to do when this node has ended.
    """

    executable: str
    name: str
    namespace: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: Sequence[tuple[str, str]] = ()
    parameter_files: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    outlives_others: bool = False
    ends_graph: bool = False

    @property
    def label(self) -> str:
        """The name with its namespace, for messages."""
        return f"{self.namespace}/{self.name}".strip("/")


@dataclass(frozen=True)
class Argument:
    """One argument of a graph; its default fixes its type."""

    name: str
    default: bool | int | float | str
    description: str

    def parse(self, text: str) -> bool | int | float | str:
        """Return a value from text; `BringupError` says what is allowed."""
        if isinstance(self.default, bool):
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise BringupError(f"{self.name}: want true or false, got {text!r}")
        try:
            return type(self.default)(text)
        except ValueError:
            kind = "a whole number" if isinstance(self.default, int) else "a number"
            raise BringupError(f"{self.name}: want {kind}, got {text!r}") from None


@dataclass(frozen=True)
class Graph:
    """A named graph: what it is for, its arguments, and what they make."""

    description: str
    arguments: tuple[Argument, ...]
    build: Callable[..., list[NodeSpec]]

    def nodes(self, given: Mapping[str, str | bool | int | float] | None = None) -> list[NodeSpec]:
        """Return the nodes for these arguments, as text or typed; all others get their defaults.

        Raises
        ------
        BringupError
            If an argument is not known, or has a value of the wrong type or one that a node
            would refuse.
        """
        known = {argument.name: argument for argument in self.arguments}
        values: dict[str, Any] = {argument.name: argument.default for argument in self.arguments}
        for name, value in (given or {}).items():
            if name not in known:
                raise BringupError(f"there is no argument {name!r}, only {', '.join(known)}")
            values[name] = known[name].parse(str(value))
        nodes = self.build(**values)
        for node in nodes:
            check_parameters(node)
        return nodes


def check_parameters(node: NodeSpec) -> None:
    """Raise `BringupError` if the node would refuse one of its values: better now than running."""
    specs = declared.load(node.executable)
    for name, value in node.parameters.items():
        if name not in specs:
            raise BringupError(f"{node.label} has no parameter {name!r}")
        if type(value) is not declared.TYPES[specs[name].type]:
            raise BringupError(
                f"{node.label}: parameter {name} is {value!r}, want {specs[name].type}"
            )
        try:
            specs[name].check(value)
        except declared.ParameterError as error:
            raise BringupError(f"{node.label}: {error}") from None


def check_parameter_file(
    path: str, of: Graph, given: Mapping[str, str | bool | int | float] | None = None
) -> list[str]:
    """Check the names in a ROS parameter file, which ROS ignores if they are misspelt.

    Nodes that the graph has with other arguments than those given may be named, too.

    Returns
    -------
    list of str
        The names in the file of nodes that are not started.

    Raises
    ------
    BringupError
        If there is no such file, it is none of parameters, or it names a node or a parameter that
        there is not; says which are like it.
    """
    if not Path(path).is_file():
        raise BringupError(f"there is no parameter file {path!r}")
    try:
        sections = list(_sections(yaml.safe_load(Path(path).read_text("utf-8"))))
    except (yaml.YAMLError, UnicodeDecodeError, BringupError) as error:
        raise BringupError(f"{path}: {' '.join(str(error).split())}") from None
    switched = {a.name: True for a in of.arguments if isinstance(a.default, bool)}
    filled = {a.name: "any" for a in of.arguments if a.default == ""}
    all_nodes = [node for some in (switched, filled, given or {}) for node in of.nodes(some)]
    nodes = {f"/{node.label}": node for node in all_nodes}
    started = [f"/{node.label}" for node in of.nodes(given or {})]
    idle = []
    for name, values in sections:
        named = [nodes[label] for label in nodes if re.fullmatch(_pattern(name), label)]
        if not named:
            raise BringupError(f"{path}: there is no node {name}: {nearest(name, nodes)}")
        if not any(re.fullmatch(_pattern(name), label) for label in started):
            idle.append(name)
        known = {key: None for node in named for key in declared.load(node.executable)}
        for parameter in _names(values):
            ours = parameter in known or parameter in _OF_RCLPY
            if not ours and not parameter.startswith("qos_overrides."):
                raise BringupError(
                    f"{path}: {name} has no parameter {parameter!r}: {nearest(parameter, known)}"
                )
    return idle


def _sections(content: Any, name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the full name of each node in a parameter file, wildcards and all, and its values."""
    if not isinstance(content, Mapping):
        raise BringupError(
            f"want names of nodes, below them ros__parameters, got {content!r} at {name or '/'}"
        )
    for key, value in content.items():
        if key != "ros__parameters":
            yield from _sections(value, f"{name}/{str(key).strip('/')}")
        elif isinstance(value, Mapping):
            yield name, value
        else:
            raise BringupError(f"{name}: want parameters with their values, got {value!r}")


def _pattern(name: str) -> str:
    """Return a regular expression of a node's name: * is one part of it, ** any number."""
    wild = {"*": "/[^/]+", "**": "(?:/[^/]+)*"}
    return "".join(wild.get(part, "/" + re.escape(part)) for part in name.split("/")[1:])


def _names(values: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield the names of parameters; of those inside of others with dots, as ROS has them."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _names(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def _some(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the values of these arguments, for a node whose parameters are called alike."""
    return {name: values[name] for name in names}


def process_environment(threads: int) -> dict[str, str]:
    """Return the variables that every node of a graph gets.

    OpenMP's default of spinning while it waits makes several processes on few cores up to fifty
    times slower; the middleware's default loses messages as large as a frame of raw samples.
    """
    return {
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "FASTDDS_DEFAULT_PROFILES_FILE": str(transport.profile()),
    }


RADAR_POSE_ARGUMENTS = (
    Argument("emulated", False, "Emulate both boards instead of using real ones."),
    Argument("config_file", "iwr1843.cfg", "Radar configuration: a path, or a file of config/."),
    Argument("weights", "edge", "Network: a preset's name or a path to a safetensors file."),
    Argument("device", "auto", "Where the network runs: auto, cpu or cuda."),
    Argument("threads", 2, "CPU threads of the network."),
    Argument("output_frame", "center", "Frame of the window to publish: center or latest."),
    Argument("refiner", False, "Make poses of 30 Hz of those of 10 Hz; of lifted ones, too."),
    Argument("refiner_weights", "radar_2d", "Refiner: a preset, a path, or '': straight lines."),
    Argument("refiner_3d_weights", "pose_3d", "The same of the refiner of lifted poses."),
    Argument("lifter", False, "Start the node that lifts poses to space."),
    Argument("lifter_weights", "wrapper", "Lifter: a preset's name or a path."),
    Argument("visualizer", True, "Start the node that draws markers and overlay images."),
    Argument("motion", "random", "Emulator: what the person does; see docs/nodes.md."),
    Argument("split", "test", "Emulator: bodies and motions of train, validation or test."),
    Argument("seed", 0, "Emulator: seed of body, motion and noise."),
    Argument("prepare_s", 0.0, "Emulator: seconds of radar data to compute before it starts."),
    Argument("loss", 0.0, "Emulator: share of the data packets to lose, 0 to 1."),
    Argument("port_base", 4096, "Emulated boards: first UDP port; they take up to 104 from it."),
    Argument("radar_h_host_ip", "192.168.33.30", "Real boards: this host's address for radar_h."),
    Argument("radar_h_card_ip", "192.168.33.180", "Real boards: address of radar_h's card."),
    Argument("radar_h_serial_port", "/dev/ttyACM0", "Real boards: radar_h's command port, or ''."),
    Argument("radar_v_host_ip", "192.168.34.30", "Real boards: this host's address for radar_v."),
    Argument("radar_v_card_ip", "192.168.34.180", "Real boards: address of radar_v's card."),
    Argument("radar_v_serial_port", "/dev/ttyACM2", "Real boards: radar_v's command port, or ''."),
)


def _emulated_connection(radar: str, port_base: int) -> dict[str, Any]:
    number = RADARS.index(radar)
    first_port = port_base + 100 * number
    return {
        "host_ip": "127.0.0.1",
        "card_ip": f"127.0.0.{number + 2}",
        "config_port": first_port,
        "data_port": first_port + 2,
        "serial_port": str(_runtime_directory() / f"radar_pose_{port_base}_{radar}"),
    }


def _runtime_directory() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())


def heatmap_settings(weights: str) -> dict[str, Any]:
    """Return the preprocessor's parameters that a trained network needs, from its manifest.

    Empty if there is no such network: then `mamba_pose` says what is wrong with it.
    """
    named = os.environ.get("RADAR_POSE_WEIGHTS")
    if weights.endswith(".safetensors") or os.sep in weights:
        manifest = Path(weights).expanduser().parent / "manifest.json"
    elif named:
        manifest = Path(named).expanduser() / "manifest.json"
    else:
        manifest = resources.share_directory() / "weights" / "manifest.json"
    try:
        entries = json.loads(manifest.read_text("utf-8"))["weights"]
        for entry in entries:
            if weights == entry["preset"] or Path(weights).name == entry["file"]:
                return dict(entry["heatmap"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {}


def _radar_pose(**values: Any) -> list[NodeSpec]:
    emulated = values["emulated"]
    connections: dict[str, dict[str, Any]] = {}
    for radar in RADARS:
        if emulated:
            connections[radar] = _emulated_connection(radar, values["port_base"])
        else:
            names = ("host_ip", "card_ip", "serial_port")
            connections[radar] = {name: values[f"{radar}_{name}"] for name in names}
    nodes = []
    if emulated:
        parameters: dict[str, Any] = {"config_file": values["config_file"]}
        for name in ("motion", "split", "seed", "prepare_s", "loss"):
            parameters[name] = values[name]
        for radar, connection in connections.items():
            parameters.update({f"{radar}_{name}": v for name, v in connection.items()})
        nodes.append(
            NodeSpec(
                "radar_emulator", "radar_emulator", parameters=parameters, outlives_others=True
            )
        )
    for radar, connection in connections.items():
        driver = {"config_file": values["config_file"], "frame_id": f"{radar}_link", **connection}
        nodes.append(NodeSpec("radar_driver", "radar_driver", radar, driver))
        heatmap = heatmap_settings(values["weights"])
        nodes.append(NodeSpec("radar_preprocessor", "radar_preprocessor", radar, heatmap))
    pose = _some(values, "weights", "device", "threads", "output_frame")
    nodes.append(NodeSpec("mamba_pose", "mamba_pose", parameters=pose))
    nodes += _after_poses(values)
    return _with_environment(nodes, {"mamba_pose": values["threads"]})


def _after_poses(values: Mapping[str, Any]) -> list[NodeSpec]:
    """Return the nodes that read the poses of two radars, as far as they are asked for."""
    nodes = []
    if values["refiner"]:
        refiner = {"weights": values["refiner_weights"]}
        nodes.append(NodeSpec("pose_refiner", "pose_refiner", parameters=refiner))
    if values["lifter"]:
        lifter = {"weights": values["lifter_weights"], "placement": "range"}
        refined = (("pose2d", "refined/pose2d"),) if values["refiner"] else ()
        nodes.append(NodeSpec("pose_lifter", "pose_lifter", "", lifter, refined))
    if values["lifter"] and values["refiner"]:
        refiner = {"poses": "pose3d", "weights": values["refiner_3d_weights"]}
        nodes.append(NodeSpec("pose_refiner", "pose_refiner_3d", parameters=refiner))
    if values["visualizer"]:
        nodes.append(NodeSpec("visualizer", "visualizer"))
    return nodes


def _with_environment(nodes: Sequence[NodeSpec], threads: Mapping[str, int]) -> list[NodeSpec]:
    """Return nodes with their variables; those that are not named get one thread."""
    return [
        replace(node, environment=process_environment(threads.get(node.executable, 1)))
        for node in nodes
    ]


MULTIVIEW_ARGUMENTS = (
    Argument("emulated", False, "Emulate cameras and a detector instead of using real ones."),
    Argument("views", "camera_0 camera_1 camera_2 camera_3", "Names of the views, with spaces."),
    Argument("detector", "", "Detector's file: find keypoints in `<view>/image` of each view."),
    Argument("method", "aligned", "aligned, linear, hold_last or densewarper; see docs/nodes.md."),
    Argument("weights", "light", "Network of the method densewarper: a preset or a path."),
    Argument("threads", 2, "Instants that the network computes at once, if several wait."),
    Argument("every", 1, "Compute every so many-th instant only."),
    Argument("max_age_s", 0.5, "Views whose newest shot is older are missing."),
    Argument("world_frame", "map", "Frame of the poses, to which transforms lead from cameras."),
    Argument("calibration_file", "", "Calibration in place of camera_info and transforms."),
    Argument("unit_m", 1.0, "Metres of what the calibration counts in, 0.001 for millimetres."),
    Argument("refiner", False, "Make smooth poses of 30 Hz of them."),
    Argument("refiner_weights", "pose_3d", "Refiner: a preset, a path, or '': straight lines."),
    Argument("visualizer", True, "Start the node that draws markers."),
    Argument("rate_hz", 15.0, "Emulator: shots per second of each camera."),
    Argument("shutters", "interleaved", "Emulator: synchronous, interleaved or random."),
    Argument("motion", "random", "Emulator: what the person does; see docs/nodes.md."),
    Argument("split", "test", "Emulator: bodies and motions of train, validation or test."),
    Argument("seed", 0, "Emulator: seed of cameras, body, motion and errors."),
    Argument("recording", "", "Emulator: Pose2Sim's trial to play; `views` may name its cameras."),
)


def _multiview(**values: Any) -> list[NodeSpec]:
    nodes = []
    if values["emulated"]:
        names = ("rate_hz", "shutters", "motion", "split", "seed", "recording")
        emulator = _some(values, "views", "world_frame", *names)
        nodes.append(NodeSpec("rig_emulator", "rig_emulator", parameters=emulator))
    if values["detector"]:
        if values["emulated"]:
            raise BringupError("detector wants images, and emulated cameras give poses at once")
        model = {"model": values["detector"]}
        nodes += [
            NodeSpec("keypoint_detector", "keypoint_detector", view, model)
            for view in values["views"].split()
        ]
    names = ("method", "weights", "threads", "every", "max_age_s", "calibration_file")
    rig = _some(values, "views", "world_frame", "unit_m", *names)
    nodes.append(NodeSpec("densewarper", "densewarper", parameters=rig))
    if values["refiner"]:
        refiner = {"poses": "pose3d", "weights": values["refiner_weights"]}
        nodes.append(NodeSpec("pose_refiner", "pose_refiner", parameters=refiner))
    if values["visualizer"]:
        nodes.append(NodeSpec("visualizer", "visualizer"))
    return _with_environment(nodes, {})


HEART_RATE_ARGUMENTS = (
    Argument("camera", True, "Start the node that reads the source; false: you have a driver."),
    Argument("source", "/dev/video0", "A video file, a folder of images, or a camera."),
    Argument("at_end", "stop", "What comes after the last image of a file: stop or loop."),
    Argument("method", "auto", "auto, physmamba, combined, green, chrom or pos."),
    Argument("weights", "", "Network of physmamba: a preset, a path, or '': what is shipped."),
    Argument("region", "", "'x y width height' in pixels, topic, or '': faces are sought."),
    Argument("yunet", "", "File of a YuNet model to find faces with; '': OpenCV's cascade."),
    Argument("threads", 1, "CPU threads of the node that measures."),
    Argument("transport", "raw", "Images on `image` (raw) or on `image/compressed` (compressed)."),
)


def _heart_rate(**values: Any) -> list[NodeSpec]:
    nodes = []
    if values["camera"]:
        camera = _some(values, "source", "at_end", "transport")
        nodes.append(NodeSpec("camera_source", "camera_source", parameters=camera))
    meter = _some(values, "method", "weights", "region", "yunet", "threads", "transport")
    nodes.append(NodeSpec("rppg", "rppg", parameters=meter))
    return _with_environment(nodes, {"rppg": values["threads"]})


POINTS_POSE_ARGUMENTS = (
    Argument("emulated", False, "Emulate the board instead of using a real one."),
    Argument("config_file", "iwr1843_points.cfg", "Radar configuration; '': it is on already."),
    Argument("board", "IWR1843", "The board: IWR1843 or IWR6843ISK."),
    Argument("serial_port", "auto", "Command port; auto: of the only radar board on USB."),
    Argument("points_port", "auto", "Data port, likewise. Emulated: paths of links, or auto."),
    Argument("weights", "points", "Network: a preset's name or a path to a safetensors file."),
    Argument("device", "auto", "Where the network runs: auto, cpu or cuda."),
    Argument("threads", 1, "CPU threads of the network."),
    Argument("output_frame", "latest", "Frame of the window to publish: center or latest."),
    Argument("most_people", 4, "No more people are told, those who show the most points."),
    Argument("visualizer", True, "Start the node that draws markers."),
    Argument("record", "", "Folder to make and record all topics to; '': none is recorded."),
    Argument("recording", "", "Emulator: a file mars_subject<number>.npz; '': simulated people."),
    Argument("movement", 0, "Emulator: the only movement of the recording to play; 0: all."),
    Argument("motion", "random", "Emulator: what simulated people do; see docs/nodes.md."),
    Argument("seed", 0, "Emulator: seed of simulated people and faults."),
    Argument("loss", 0.0, "Emulator: share of the packets to lose, 0 to 1."),
)


def _points_pose(**values: Any) -> list[NodeSpec]:
    if not values["config_file"]:
        values["serial_port"] = ""
    nodes = []
    if values["emulated"]:
        for name in ("serial_port", "points_port"):
            if values[name] == "auto":
                values[name] = str(_runtime_directory() / f"radar_pose_points_{name}")
        names = ("points_port", "recording", "movement", "motion", "seed", "loss")
        emulator = {"command_port": values["serial_port"], "device": values["board"]}
        emulator |= _some(values, *names)
        nodes.append(
            NodeSpec("uart_emulator", "uart_emulator", parameters=emulator, outlives_others=True)
        )
    driver = {"source": "uart", "device": values["board"], "frame_id": "radar_link"}
    driver |= _some(values, "config_file", "serial_port", "points_port")
    nodes.append(NodeSpec("radar_driver", "radar_driver", parameters=driver))
    pose = {"input": "points"}
    pose |= _some(values, "weights", "device", "threads", "output_frame", "most_people")
    nodes.append(NodeSpec("mamba_pose", "mamba_pose", parameters=pose))
    if values["visualizer"]:
        nodes.append(NodeSpec("visualizer", "visualizer"))
    if values["record"]:
        nodes.append(NodeSpec("recorder", "recorder", parameters={"bag": values["record"]}))
    return _with_environment(nodes, {"mamba_pose": values["threads"]})


REPLAY_ARGUMENTS = (
    Argument("bag", "", "Bag of two radars to play. Needed."),
    Argument("from_level", "heatmap", "Compute again from adc, heatmap or pose on; all: nothing."),
    Argument("rate", 1.0, "So many times as fast as it was recorded."),
    Argument("loop", False, "Begin anew after the end; else all nodes end with the bag."),
    Argument("from_s", 0.0, "Where to begin, seconds after the first message."),
    Argument("to_s", 0.0, "Where to end, likewise; 0 is the end of the bag."),
    *(
        argument
        for argument in RADAR_POSE_ARGUMENTS
        if argument.name in ("weights", "device", "threads", "output_frame", "visualizer")
        or argument.name.startswith(("refiner", "lifter"))
    ),
    Argument("record", "", "Folder to make and record all poses to; '': none are recorded."),
)
LONGEST_IN_QUEUE = 16  # of mamba_pose: of what is replayed no frame is to be lost
STARTS_WITHIN_S = 120.0


def _replay(**values: Any) -> list[NodeSpec]:
    level = values["from_level"]
    nodes = []
    if level == "adc":
        heatmap = heatmap_settings(values["weights"])
        nodes += [
            NodeSpec("radar_preprocessor", "radar_preprocessor", radar, heatmap)
            for radar in RADARS
        ]
    if level in ("adc", "heatmap"):
        pose = _some(values, "weights", "device", "threads", "output_frame")
        pose["queue_size"] = LONGEST_IN_QUEUE
        nodes.append(NodeSpec("mamba_pose", "mamba_pose", parameters=pose))
    computed = values if level != "all" else {**values, "refiner": False, "lifter": False}
    nodes += _after_poses(computed)
    if values["record"]:
        recorder = {"bag": values["record"], "level": "pose"}
        nodes.append(NodeSpec("recorder", "recorder", parameters=recorder))
    player = _some(values, "bag", "from_level", "rate", "loop", "from_s", "to_s")
    player["wait_s"] = STARTS_WITHIN_S
    player["wait_for"] = " ".join(node.label for node in nodes)
    nodes.append(NodeSpec("replayer", "replayer", parameters=player, ends_graph=True))
    return _with_environment(nodes, {"mamba_pose": values["threads"]})


GRAPHS: dict[str, Graph] = {
    "radar_pose": Graph(
        description="Two radars, real or emulated, and the 2D pose that milliMamba sees in them.",
        arguments=RADAR_POSE_ARGUMENTS,
        build=_radar_pose,
    ),
    "points_pose": Graph(
        description="A radar that sends points, real or emulated, and a person in space.",
        arguments=POINTS_POSE_ARGUMENTS,
        build=_points_pose,
    ),
    "multiview": Graph(
        description="Cameras that fire when they like, real or emulated, and a person in space.",
        arguments=MULTIVIEW_ARGUMENTS,
        build=_multiview,
    ),
    "heart_rate": Graph(
        description="A camera or a video file, and the heart rates of the faces in it.",
        arguments=HEART_RATE_ARGUMENTS,
        build=_heart_rate,
    ),
    "replay": Graph(
        description="A bag of two radars, and what is computed again from its messages.",
        arguments=REPLAY_ARGUMENTS,
        build=_replay,
    ),
}


def default(graph_name: str, argument: str) -> Any:
    """Return the value of a graph's argument that is not given."""
    return {a.name: a.default for a in graph(graph_name).arguments}[argument]


def graph(name: str) -> Graph:
    """Return the graph of that name; `BringupError` names the ones there are."""
    if name not in GRAPHS:
        raise BringupError(f"there is no graph {name!r}, only {', '.join(sorted(GRAPHS))}")
    return GRAPHS[name]


def command(node: NodeSpec, parameter_file: Path) -> list[str]:
    """Return the command line of a node and write the file with its parameters."""
    content = {"/**": {"ros__parameters": dict(node.parameters)}}
    arguments = ["-r", f"__node:={node.name}", "-r", f"__ns:=/{node.namespace.strip('/')}"]
    for before, after in node.remappings:
        arguments += ["-r", f"{before}:={after}"]
    if node.parameters:
        parameter_file.write_text(yaml.safe_dump(content), encoding="utf-8")
        arguments += ["--params-file", str(parameter_file)]
    for path in node.parameter_files:
        arguments += ["--params-file", str(path)]
    program = [sys.executable, "-m", "radar_pose_ros.nodes", node.executable]
    return [*program, "--ros-args", *arguments]


@dataclass
class _Process:
    node: NodeSpec
    handle: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None
    started_s: float = 0.0
    next_start_s: float = 0.0
    backoff_s: float = BACKOFF_S[0]
    restarts: int = 0


class GraphRunner:
    """Runs one process per node and starts those again that end.

    Use it as a context manager, and call `poll` a few times per second.

    Parameters
    ----------
    nodes : sequence of NodeSpec
    output : callable
        Gets each line that a node prints, with the node's label in front.
    respawn : bool
        Start nodes again that end by themselves.

    Attributes
    ----------
    exit_code : int
        0; or 2 as soon as a node said that it was called wrongly; or 1 if without `respawn` a node
        ended, or one that ends the graph did not end with 0, or if one had to be killed.
    failure : str
        Which node said that it was called wrongly, and what it said; empty if none did.
    """

    def __init__(
        self,
        nodes: Sequence[NodeSpec],
        output: Callable[[str], None] = print,
        respawn: bool = True,
    ) -> None:
        self.exit_code = 0
        self.failure = ""
        self._said: dict[str, str] = {}  # by label, a node's last error
        self._output = output
        self._respawn = respawn
        self._processes = [_Process(node) for node in nodes]
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._environment: dict[str, str] = {}

    def __enter__(self) -> GraphRunner:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def process_ids(self) -> dict[str, int]:
        """Process id of each node that runs, by label."""
        return {p.node.label: p.handle.pid for p in self._processes if p.handle is not None}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each node was started again, by label."""
        return {p.node.label: p.restarts for p in self._processes}

    def start(self) -> None:
        """Start all nodes."""
        self._folder = tempfile.TemporaryDirectory(prefix="radar_pose_")
        base = dict(os.environ) if ros_is_ready() else local_environment(os.environ)
        base["RADAR_POSE_EXIT_WITH_PARENT"] = "1"
        base["PYTHONUNBUFFERED"] = "1"
        if self._respawn:  # who does not, watches what the nodes say
            base["RADAR_POSE_EXIT_UNCONFIGURED"] = "1"
        self._environment = base
        for process in self._processes:
            self._start(process)

    def _start(self, process: _Process) -> None:
        assert self._folder is not None
        node = process.node
        file = Path(self._folder.name) / f"{node.label.replace('/', '_')}.yaml"
        handle = subprocess.Popen(
            command(node, file),
            env={**self._environment, **node.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the runner, and the runner ends the nodes
        )
        process.handle, process.started_s = handle, time.monotonic()
        process.reader = threading.Thread(
            target=self._forward, args=(node.label, handle), daemon=True
        )
        process.reader.start()

    def _forward(self, label: str, handle: subprocess.Popen[str]) -> None:
        assert handle.stdout is not None
        for line in handle.stdout:
            self._output(f"[{label}] {line.rstrip()}")
            if line.startswith(ERROR):
                self._said[label] = line.removeprefix(ERROR).strip()

    def poll(self) -> bool:
        """Look after the processes; return whether the graph should go on."""
        now_s = time.monotonic()
        for process in self._processes:
            if process.handle is None:
                if now_s >= process.next_start_s:
                    process.restarts += 1
                    self._start(process)
                continue
            code = process.handle.poll()
            if code is None:
                continue
            process.handle = None
            if code == EXIT_USAGE or process.node.ends_graph or not self._respawn:
                label = process.node.label
                self._output(f"[{label}] ended with code {code}: stopping the graph")
                if code == EXIT_USAGE:
                    assert process.reader is not None
                    process.reader.join(1.0)  # its last words
                    self.failure = f"{label}: {self._said.get(label, 'called wrongly')}"
                done = process.node.ends_graph and code == 0
                self.exit_code = EXIT_USAGE if code == EXIT_USAGE else int(not done)
                return False
            if now_s - process.started_s > STEADY_AFTER_S:
                process.backoff_s = BACKOFF_S[0]
            wait_s = process.backoff_s
            process.next_start_s = now_s + wait_s
            process.backoff_s = min(2 * wait_s, BACKOFF_S[1])
            self._output(
                f"[{process.node.label}] ended with code {code}: starts again in {wait_s:.0f} s"
            )
        return True

    def stop(self) -> None:
        """End all nodes: ask first, and kill what has not ended after `STOP_TIMEOUT_S`.

        Nodes that outlive the others are asked when those have ended, and get as long.
        """
        for last in (False, True):
            self._stop([p for p in self._processes if p.node.outlives_others is last])
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _stop(self, processes: Sequence[_Process]) -> None:
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        running = [(p, p.handle) for p in processes if p.handle is not None]
        for _, handle in running:
            handle.send_signal(signal.SIGINT)
        for process, handle in running:
            try:
                handle.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._output(f"[{process.node.label}] did not end in time and was killed")
                handle.kill()
                handle.wait()
                self.exit_code = self.exit_code or 1
            process.handle = None


def up(
    graph_name: str,
    parameter_files: Sequence[str] = (),
    *,
    duration_s: float = math.inf,
    output: Callable[[str], None] = print,
    **arguments: str | bool | int | float,
) -> int:
    """Run a graph until Ctrl-C, SIGTERM, a node that was called wrongly, or the duration.

    Called wrongly is also one that cannot configure itself: its weights are not there, or damaged.

    Parameters
    ----------
    graph_name : str
    parameter_files : sequence of str
        ROS parameter files for the nodes.
    arguments : str, bool, int or float
        Arguments of the graph.

    Returns
    -------
    int
        Exit code: see `GraphRunner`; 2 with a sentence if graph, file or argument are no good.
    """
    try:
        nodes = graph(graph_name).nodes(arguments)
        for path in parameter_files:
            for name in check_parameter_file(path, graph(graph_name), arguments):
                print(f"note: {path}: {name} is not started by these arguments", file=sys.stderr)
    except (BringupError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    nodes = [replace(node, parameter_files=tuple(parameter_files)) for node in nodes]
    stopping = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopping.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    deadline_s = time.monotonic() + duration_s
    try:
        with GraphRunner(nodes, output) as runner:
            while not stopping.is_set() and time.monotonic() < deadline_s and runner.poll():
                stopping.wait(0.2)
        if runner.failure:
            print(f"{ERROR}{runner.failure}", file=sys.stderr)
        return runner.exit_code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
