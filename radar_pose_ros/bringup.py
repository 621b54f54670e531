"""The graphs of this package as plain data, and `up`, which runs one without ROS's launch.

`GRAPHS` says which nodes a graph has, with which parameters and environment, and which arguments
it takes. ``launch/*.launch.py`` turns that into launch actions; `GraphRunner` starts the same
processes itself. The data part needs neither rclpy nor launch.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from radar_pose_ros import resources
from radar_pose_ros.graph_runner import ERROR, GraphRunner
from radar_pose_ros.graphs import (
    DEFAULT,
    Argument,
    BringupError,
    Given,
    Graph,
    NodeSpec,
    check_parameter_file,
    process_environment,
    with_parameter_files,
)
from radar_pose_ros.leaving import EXIT_USAGE
from radar_pose_ros.replaying import FROM_LEVEL, SENSORS, played, warning_if_empty

RADARS = ("radar_h", "radar_v")
PARTS = ("radars", "inference", "view")  # of the graph radar_pose, for several machines


def _some(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the values of these arguments, for a node whose parameters are called alike."""
    return {name: values[name] for name in names}


def _of_emulator(name: str, default: int | float | str, description: str) -> Argument:
    return Argument(name, default, description, of_emulator=True)


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
    Argument("hri", False, "Tell poses to ROS4HRI, too (REP-155); needs hri_msgs."),
    Argument("points", False, "Publish what each radar sees as a cloud of points, too."),
    Argument("composed", False, "All but emulator and visualizer in one process: less memory."),
    Argument(
        "part",
        "all",
        "What runs on this machine: radars, inference, view or all.",
        ("all", *PARTS),
    ),
    Argument(
        "heatmap_transport",
        "raw",
        "Heatmaps as they are (raw), or made small for a wireless link (compressed).",
        ("raw", "compressed"),
    ),
    _of_emulator(
        "motion", "random", "Emulator: what the person does; see docs/nodes/radar_emulator.md."
    ),
    _of_emulator("split", "test", "Emulator: bodies and motions of train, validation or test."),
    _of_emulator("seed", 0, "Emulator: seed of body, motion and noise."),
    _of_emulator("prepare_s", 0.0, "Emulator: seconds of radar data to compute before it starts."),
    _of_emulator("loss", 0.0, "Emulator: share of the data packets to lose, 0 to 1."),
    _of_emulator(
        "port_base", 4096, "Emulated boards: first UDP port; they take up to 104 from it."
    ),
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
    before, radars = [], []
    if emulated:
        parameters: dict[str, Any] = {"config_file": values["config_file"]}
        for name in ("motion", "split", "seed", "prepare_s", "loss"):
            parameters[name] = values[name]
        for radar, connection in connections.items():
            parameters.update({f"{radar}_{name}": v for name, v in connection.items()})
        before = [
            NodeSpec(
                "radar_emulator", "radar_emulator", parameters=parameters, outlives_others=True
            )
        ]
    heatmap = heatmap_settings(values["weights"])
    if values["points"]:
        heatmap["publish_points"] = True
    for radar, connection in connections.items():
        driver = {"config_file": values["config_file"], "frame_id": f"{radar}_link", **connection}
        radars.append(NodeSpec("radar_driver", "radar_driver", radar, driver))
        radars.append(NodeSpec("radar_preprocessor", "radar_preprocessor", radar, heatmap))
    pose = _some(values, "weights", "device", "threads", "output_frame") | _transport(values)
    inference = [NodeSpec("mamba_pose", "mamba_pose", parameters=pose)]
    inference += _after_poses(values)
    parts = PARTS if values["part"] == "all" else (values["part"],)
    chain = [*(radars if "radars" in parts else []), *(inference if "inference" in parts else [])]
    if values["composed"] and chain:
        chain = [NodeSpec("composition", "radar_chain", parts=tuple(chain))]
    nodes = [*(before if "radars" in parts else []), *chain]
    nodes += _viewers(values) if "view" in parts else []
    if not nodes:
        raise BringupError("nothing to start: part is view, and visualizer and hri are off")
    threads = {"mamba_pose": values["threads"], "composition": values["threads"]}
    return _with_environment(nodes, threads)


def _transport(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameter of those who read heatmaps, if it is not as usual."""
    way = values.get("heatmap_transport", "raw")
    return {} if way == "raw" else {"heatmap_transport": way}


def _after_poses(values: Mapping[str, Any]) -> list[NodeSpec]:
    """Return the nodes that make something of the poses of two radars, as far as asked for."""
    nodes = []
    if values["refiner"]:
        refiner = {"weights": values["refiner_weights"]}
        nodes.append(NodeSpec("pose_refiner", "pose_refiner", parameters=refiner))
    if values["lifter"]:
        lifter = {"weights": values["lifter_weights"], "placement": "range"}
        lifter |= _transport(values)
        refined = (("pose2d", "refined/pose2d"),) if values["refiner"] else ()
        nodes.append(NodeSpec("pose_lifter", "pose_lifter", "", lifter, refined))
    if values["lifter"] and values["refiner"]:
        refiner = {"poses": "pose3d", "weights": values["refiner_3d_weights"]}
        nodes.append(NodeSpec("pose_refiner", "pose_refiner_3d", parameters=refiner))
    return nodes


def _viewers(
    values: Mapping[str, Any],
    views: str = "",
    refined: Sequence[str] = ("pose2d", "pose3d"),
    frame: str = "",
) -> list[NodeSpec]:
    """Return the nodes that show people to others, as far as they are asked for.

    `refined` is which topics `hri_bridge` reads refined, if there is a refiner; `frame` is where
    heart rates are written, if not in that of the camera.
    """
    nodes = []
    if values["visualizer"]:
        drawn = {"views": views} if views else {}
        if frame:
            drawn["heart_rate_frame"] = frame
        drawn |= _transport(values)
        nodes.append(NodeSpec("visualizer", "visualizer", parameters=drawn))
    if values["hri"]:
        names = refined if values.get("refiner") else ()
        read = tuple((name, f"refined/{name}") for name in names)
        nodes.append(NodeSpec("hri_bridge", "hri_bridge", remappings=read))
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
    Argument("transport", "raw", "Its images: on `<view>/image` (raw) or `.../compressed`."),
    Argument(
        "method",
        "aligned",
        "aligned, linear, hold_last or densewarper; see docs/nodes/densewarper.md.",
    ),
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
    Argument("hri", False, "Tell poses to ROS4HRI, too (REP-155); needs hri_msgs."),
    _of_emulator("rate_hz", 15.0, "Emulator: shots per second of each camera."),
    _of_emulator("shutters", "interleaved", "Emulator: synchronous, interleaved or random."),
    _of_emulator(
        "motion", "random", "Emulator: what the person does; see docs/nodes/radar_emulator.md."
    ),
    _of_emulator("split", "test", "Emulator: bodies and motions of train, validation or test."),
    _of_emulator("seed", 0, "Emulator: seed of cameras, body, motion and errors."),
    _of_emulator(
        "recording", "", "Emulator: Pose2Sim's trial to play; `views` may name its cameras."
    ),
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
        model = {"model": values["detector"], "transport": values["transport"]}
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
    return _with_environment([*nodes, *_viewers(values, values["views"])], {})


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
    Argument("visualizer", True, "Start the node that draws markers."),
)


def _heart_rate(**values: Any) -> list[NodeSpec]:
    nodes = []
    if values["camera"]:
        camera = _some(values, "source", "at_end", "transport")
        nodes.append(NodeSpec("camera_source", "camera_source", parameters=camera))
    meter = _some(values, "method", "weights", "region", "yunet", "threads", "transport")
    nodes.append(NodeSpec("rppg", "rppg", parameters=meter))
    nodes += _viewers({**values, "hri": False})
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
    Argument("hri", False, "Tell poses to ROS4HRI, too (REP-155); needs hri_msgs."),
    _of_emulator(
        "recording", "", "Emulator: a file mars_subject<number>.npz; '': simulated people."
    ),
    _of_emulator("movement", 0, "Emulator: the only movement of the recording to play; 0: all."),
    _of_emulator(
        "motion", "random", "Emulator: what simulated people do; see docs/nodes/radar_emulator.md."
    ),
    _of_emulator("seed", 0, "Emulator: seed of simulated people and faults."),
    _of_emulator("loss", 0.0, "Emulator: share of the packets to lose, 0 to 1."),
)


def _points_pose(**values: Any) -> list[NodeSpec]:
    if not values["config_file"]:
        values["serial_port"] = ""
    if values["movement"] and not values["recording"]:
        raise BringupError("movement is one of a recording: name its file with recording:=FILE")
    nodes = []
    if values["emulated"]:
        for name in ("serial_port", "points_port"):
            if values[name] == "auto":
                link = f"radar_pose_points_{os.getpid()}_{name}"  # other graphs have theirs
                values[name] = str(_runtime_directory() / link)
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
    return _with_environment([*nodes, *_viewers(values)], {"mamba_pose": values["threads"]})


# Arguments that all parts of `everything` share; the others have the part's name in front.
_SHARED = ("emulated", "device", "visualizer", "hri", "motion", "split", "seed")
_PARTS = {
    "radar": ("Radars", RADAR_POSE_ARGUMENTS),
    "camera": ("Cameras", MULTIVIEW_ARGUMENTS),
    "face": ("Face", HEART_RATE_ARGUMENTS),
}
# The radars' poses are not lifted where cameras see people in space.
_NOT_IN_EVERYTHING = ("lifter", "lifter_weights", "refiner_3d_weights", "part")


def _name_in_everything(part: str, name: str) -> str:
    return name if name in _SHARED or name.startswith(f"{part}_") else f"{part}_{name}"


def _arguments_of_parts() -> dict[str, Argument]:
    """Return the arguments of all parts by their names in `everything`."""
    arguments: dict[str, Argument] = {}
    for part, (title, of_part) in _PARTS.items():
        for argument in of_part:
            if argument.name in _SHARED:
                arguments.setdefault(argument.name, argument)
            elif argument.name not in _NOT_IN_EVERYTHING:
                name = _name_in_everything(part, argument.name)
                description = f"{title}: {argument.description}"
                arguments[name] = replace(argument, name=name, description=description)
    emulated, source = arguments["emulated"], arguments["face_source"]
    return {
        **arguments,
        "emulated": replace(emulated, description="Emulate radars and cameras; faces are not."),
        "face_source": replace(
            source,
            default="",
            description="Face: a video file, a folder of images, or a camera; '': the first "
            "camera, and if all else is emulated none.",
        ),
    }


EVERYTHING_ARGUMENTS = (
    Argument("radars", True, "Two radars and what they see."),
    Argument("cameras", True, "A rig of cameras and people in space."),
    Argument("face", True, "A camera for a face and its heart rate."),
    *_arguments_of_parts().values(),
)


def _values_of_part(part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values for the graph of a part, which shares the nodes that show people."""
    own = {
        a.name: values.get(_name_in_everything(part, a.name), a.default) for a in _PARTS[part][1]
    }
    return {**own, "visualizer": False, "hri": False}


def _everything(**values: Any) -> list[NodeSpec]:
    nodes = []
    if values["radars"]:
        nodes += _radar_pose(**_values_of_part("radar", values))
    if values["cameras"]:
        nodes += [
            _beside_radars(node) if values["radars"] else node
            for node in _multiview(**_values_of_part("camera", values))
        ]
    face = _values_of_part("face", values)
    face["source"] = face["source"] or ("" if values["emulated"] else "/dev/video0")
    if values["face"] and (face["source"] or not face["camera"]):
        nodes += _heart_rate(**face)
    if not nodes:
        raise BringupError("nothing to start: all of radars, cameras and face are off")
    refined = [
        name for name, of in (("pose2d", "radar"), ("pose3d", "camera")) if values[f"{of}_refiner"]
    ]
    shown = {**values, "refiner": bool(refined)}
    shown["heatmap_transport"] = values["radar_heatmap_transport"]
    # Nobody says where the camera for the face hangs.
    frame = values["camera_world_frame"] if values["radars"] or values["cameras"] else ""
    views = values["camera_views"] if values["cameras"] else ""
    viewers = _viewers(shown, views, refined, frame)
    return [*nodes, *_with_environment(viewers, {})]


def _beside_radars(node: NodeSpec) -> NodeSpec:
    """Return a node of the cameras' graph with names that the radars' graph does not have."""
    if node.executable == "rig_emulator":
        return replace(node, remappings=(("ground_truth", "cameras/ground_truth"),))
    return replace(node, name="pose_refiner_3d") if node.name == "pose_refiner" else node


_COMPUTING = (
    *("weights", "device", "threads", "output_frame"),
    *("refiner", "refiner_weights", "refiner_3d_weights", "lifter", "lifter_weights"),
    *("visualizer", "hri", "points", "most_people"),
    *("views", "detector", "method", "every", "max_age_s"),
    *("world_frame", "calibration_file", "unit_m", "region", "yunet", "transport"),
)


def _arguments_of_replayed() -> list[Argument]:
    """Return the arguments of all nodes that compute again; text, where graphs may differ."""
    tables = (
        RADAR_POSE_ARGUMENTS,
        POINTS_POSE_ARGUMENTS,
        MULTIVIEW_ARGUMENTS,
        HEART_RATE_ARGUMENTS,
    )
    first = {argument.name: argument for table in reversed(tables) for argument in table}
    views = first["views"]
    first["views"] = replace(views, description=f"{views.description} default: the bag's.")
    return [
        first[name]
        if isinstance(first[name].default, bool)
        else replace(first[name], default=DEFAULT)
        for name in _COMPUTING
    ]


REPLAY_ARGUMENTS = (
    Argument("bag", "", "Bag to play. Needed."),
    Argument(
        "of",
        "radar_pose",
        "The graph whose nodes compute again: radar_pose, points_pose, multiview or heart_rate. "
        "What is `default` below is as it is there.",
        tuple(FROM_LEVEL),
    ),
    Argument(
        "from_level",
        DEFAULT,
        "Compute again from sensor, adc, heatmap or pose on; all: nothing. default: heatmap of "
        "radar_pose, else sensor.",
        (DEFAULT, "sensor", "adc", "heatmap", "pose", "all"),
    ),
    Argument("rate", 1.0, "So many times as fast as it was recorded."),
    Argument("loop", False, "Begin anew after the end; else all nodes end with the bag."),
    Argument("from_s", 0.0, "Where to begin, seconds after the first message."),
    Argument("to_s", 0.0, "Where to end, likewise; 0 is the end of the bag."),
    *_arguments_of_replayed(),
)
LONGEST_IN_QUEUE = 16  # of mamba_pose: of what is replayed no frame is to be lost
STARTS_WITHIN_S = 120.0


def _level(values: Mapping[str, Any]) -> str:
    """Return the level from which a replay computes again."""
    of, level = values["of"], values["from_level"]
    levels = FROM_LEVEL[of]
    if level == DEFAULT:
        return next(iter(levels))
    if level not in levels:
        raise BringupError(f"from_level: {of} computes from {', '.join(levels)}, got {level!r}")
    return str(level)


def _replay(namespace: str, **values: Any) -> list[NodeSpec]:
    of, level = values["of"], _level(values)
    own = _values_of_replayed(values)
    looked_for = {"views": ""} if "views" in own and values["views"] == DEFAULT else {}
    topics, views = played(values["bag"], of, level, own | looked_for, namespace)
    own |= {"views": views} if views else {}
    nodes = [
        _patient(node)
        for node in graph(of).build(**own)
        if node.executable not in (*SENSORS, *FROM_LEVEL[of][level])
    ]
    player = _some(values, "bag", "rate", "loop", "from_s", "to_s")
    player |= {"from_level": level, "wait_s": STARTS_WITHIN_S}
    player["topics"] = " ".join(topics)
    replayer = NodeSpec(
        "replayer", "replayer", parameters=player, ends_graph=True, others_in="wait_for"
    )
    return [*nodes, *_with_environment([replayer], {})]


def _values_of_replayed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the own arguments of the graph that computes again."""
    of = graph(values["of"])
    own = {argument.name: argument.default for argument in of.own_arguments}
    usual = {argument.name: argument.default for argument in REPLAY_ARGUMENTS}
    given = {name: values[name] for name in _COMPUTING if values[name] != usual[name]}
    for name in given:
        if name not in own:
            raise BringupError(f"{name}: {values['of']} has no such argument")
    known = of.values(given)
    return {name: known[name] for name in own}


def _patient(node: NodeSpec) -> NodeSpec:
    if node.executable != "mamba_pose":
        return node
    return replace(node, parameters={**node.parameters, "queue_size": LONGEST_IN_QUEUE})


_WITH_HEATMAPS = (
    "heatmap radar_config pose2d pose3d skeleton ground_truth camera_info tf tf_static"
)


def _recorded_in_replay(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what to record of a replay: what was computed."""
    if values["of"] == "heart_rate":
        return {"topics": "heart_rate pulse_wave"}
    if values["of"] == "radar_pose" and _level(values) in ("sensor", "adc"):
        points = " points" if values["points"] else ""
        return {"topics": f"{_WITH_HEATMAPS}{points}"}
    return {"level": "pose"}


def _warning_after_replay(values: Mapping[str, Any]) -> str:
    """Return what is to be said of a replay that computed nothing, if it was recorded."""
    if not values["record"] or values["record_level"] not in (DEFAULT, "all", "pose"):
        return ""
    if values["of"] == "heart_rate" and values["record_level"] == "pose":
        return ""
    return warning_if_empty(values["record"], values["of"], _level(values), values["namespace"])


GRAPHS: dict[str, Graph] = {
    "radar_pose": Graph(
        "Two radars, real or emulated, and the 2D pose that milliMamba sees in them.",
        RADAR_POSE_ARGUMENTS,
        _radar_pose,
    ),
    "points_pose": Graph(
        "A radar that sends points, and people in space.",
        POINTS_POSE_ARGUMENTS,
        _points_pose,
    ),
    "multiview": Graph(
        "Cameras that fire when they like, and a person in space.",
        MULTIVIEW_ARGUMENTS,
        _multiview,
    ),
    "heart_rate": Graph(
        "A camera or a video file, and the heart rates of the faces in it.",
        HEART_RATE_ARGUMENTS,
        _heart_rate,
    ),
    "everything": Graph(
        "Radars, cameras and a face camera in one graph.",
        EVERYTHING_ARGUMENTS,
        _everything,
    ),
    "replay": Graph(
        "A bag in place of sensors, and what is computed again from it.",
        REPLAY_ARGUMENTS,
        _replay,
        _recorded_in_replay,
        in_namespace=True,
        warning_after=_warning_after_replay,
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


def prepared(
    graph_name: str, parameter_files: Sequence[str], arguments: Given
) -> tuple[list[NodeSpec], list[str]]:
    """Return a graph's nodes with these files of parameters, and what to note about the files.

    Raises `BringupError` if graph, argument or file are no good.
    """
    of = graph(graph_name)
    nodes = of.nodes(arguments)
    own = str(arguments.get("params_file", ""))
    notes = [
        f"{path}: {name} is not started by these arguments"
        for path in (*([own] if own else []), *parameter_files)
        for name in check_parameter_file(path, of, arguments)
    ]
    return with_parameter_files(nodes, parameter_files), notes


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
        if "rviz" in arguments:
            raise BringupError(
                "rviz is an argument of ROS's launch only; beside this run `rviz2 -d FILE` with "
                f"{resources.share_directory() / 'rviz' / graph_name}.rviz"
            )
        nodes, notes = prepared(graph_name, parameter_files, arguments)
    except (BringupError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
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
        of = graph(graph_name)
        if not runner.exit_code and (warning := of.warning_after(of.values(arguments))):
            print(f"warning: {warning}", file=sys.stderr)
        return runner.exit_code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
