"""The graphs as data, and the runner."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from radar_pose_ros import bringup, graph_runner
from radar_pose_ros.bringup import Argument, BringupError, GraphRunner, NodeSpec
from radar_pose_ros.models import weights
from radar_pose_ros.nodes import parameters


def specs(graph: str = "radar_pose", /, **arguments: Any) -> dict[str, NodeSpec]:
    return {node.label: node for node in bringup.graph(graph).nodes(arguments)}


def test_emulated_graph_has_one_driver_and_preprocessor_per_radar() -> None:
    assert set(specs(emulated=True)) == {
        "radar_emulator",
        "radar_h/radar_driver",
        "radar_h/radar_preprocessor",
        "radar_v/radar_driver",
        "radar_v/radar_preprocessor",
        "mamba_pose",
        "visualizer",
    }
    assert "radar_emulator" not in specs(emulated="false")
    assert "visualizer" not in specs(visualizer="false")


def test_the_refiner_is_there_if_asked_for() -> None:
    assert "pose_refiner" not in specs()
    refiner = specs(refiner="true", refiner_weights="radar_2d")["pose_refiner"]
    assert (refiner.namespace, refiner.remappings) == (
        "",
        (),
    )  # beside mamba_pose: no names change
    assert refiner.parameters == {"weights": "radar_2d"}
    assert refiner.environment["OMP_NUM_THREADS"] == "1"


def test_the_lifter_reads_refined_poses_where_there_are_any() -> None:
    assert "pose_lifter" not in specs(refiner=True)
    lifter = specs(lifter="true", lifter_weights="2d")["pose_lifter"]
    assert lifter.parameters == {"weights": "2d", "placement": "range"}  # the radars are there
    assert tuple(lifter.remappings) == ()
    lifter = specs(lifter=True, refiner=True)["pose_lifter"]
    assert lifter.parameters["weights"] == "wrapper"
    assert tuple(lifter.remappings) == (("pose2d", "refined/pose2d"),)
    assert lifter.environment["OMP_NUM_THREADS"] == "1"


def test_lifted_poses_are_refined_where_both_are_asked_for() -> None:
    assert not {"pose_refiner_3d"} & {*specs(lifter=True), *specs(refiner=True)}
    refiner = specs(lifter=True, refiner=True, refiner_3d_weights="")["pose_refiner_3d"]
    assert (refiner.executable, refiner.remappings) == ("pose_refiner", ())
    assert refiner.parameters == {"poses": "pose3d", "weights": ""}


def test_the_weights_of_the_graph_are_shipped() -> None:
    models = {
        "weights": "millimamba",
        "refiner_weights": "mixsynthformer",
        "refiner_3d_weights": "mixsynthformer",
        "lifter_weights": "diffhpe",
    }
    named = {a.name for a in bringup.RADAR_POSE_ARGUMENTS if a.name.endswith("weights")}
    assert named == set(models)
    for argument, model in models.items():
        assert weights.load(bringup.default("radar_pose", argument), model)


def test_a_rig_is_emulated_if_asked_for() -> None:
    assert set(specs("multiview")) == {"densewarper", "visualizer"}
    nodes = specs("multiview", emulated=True, views="left right", refiner=True, rate_hz=10.0)
    assert set(nodes) == {"rig_emulator", "densewarper", "pose_refiner", "visualizer"}
    for label in ("rig_emulator", "densewarper"):
        assert nodes[label].parameters["views"] == "left right"
        assert nodes[label].parameters["world_frame"] == "map"
    assert nodes["rig_emulator"].parameters["rate_hz"] == 10.0
    assert nodes["densewarper"].parameters["unit_m"] == 1.0
    nodes = specs("multiview", calibration_file="mm.toml", unit_m=0.001, refiner=True)
    assert nodes["densewarper"].parameters["unit_m"] == 0.001
    assert nodes["pose_refiner"].parameters == {"poses": "pose3d", "weights": "pose_3d"}
    assert weights.load(bringup.default("multiview", "refiner_weights"), "mixsynthformer")
    nodes = specs("multiview", method="densewarper", weights="light", threads=2)
    assert nodes["densewarper"].parameters["method"] == "densewarper"
    assert nodes["densewarper"].parameters["threads"] == 2
    assert nodes["densewarper"].environment["OMP_NUM_THREADS"] == "1"


def test_a_recording_is_played_by_some_of_its_cameras() -> None:
    nodes = specs("multiview", emulated=True, recording="trial", views="cam01 cam03")
    for label in ("rig_emulator", "densewarper"):
        assert nodes[label].parameters["views"] == "cam01 cam03"
    assert nodes["rig_emulator"].parameters["recording"] == "trial"


def test_every_view_has_a_detector_if_one_is_named() -> None:
    nodes = specs("multiview", views="left right", detector="mine.onnx")
    assert set(nodes) == {
        "left/keypoint_detector",
        "right/keypoint_detector",
        "densewarper",
        "visualizer",
    }
    for view in ("left", "right"):
        node = nodes[f"{view}/keypoint_detector"]
        detector = {"model": "mine.onnx", "transport": "raw"}
        assert (node.executable, node.parameters) == ("keypoint_detector", detector)
        assert tuple(node.remappings) == () and node.environment["OMP_NUM_THREADS"] == "1"
    with pytest.raises(BringupError, match="detector wants images, and emulated cameras give"):
        specs("multiview", detector="mine.onnx", emulated=True)


def test_parameters_of_a_view_s_detector_are_checked(tmp_path: Path) -> None:
    """Of the views that are given, with a detector or without one."""
    rig = bringup.graph("multiview")
    path = file_of(tmp_path, "left: {keypoint_detector: {ros__parameters: {every: 2}}}")
    bringup.check_parameter_file(path, rig, {"views": "left right", "detector": "mine.onnx"})
    with pytest.raises(BringupError, match="there is no node /left/keypoint_detector: did you"):
        bringup.check_parameter_file(path, rig)
    path = file_of(tmp_path, "/*/keypoint_detector: {ros__parameters: {every: 2}}")
    assert bringup.check_parameter_file(path, rig) == ["/*/keypoint_detector"]  # not started
    assert bringup.check_parameter_file(path, rig, {"detector": "mine.onnx"}) == []
    bringup.check_parameter_file(path, rig, {"emulated": "true"})


def test_the_network_of_the_rig_is_one_whose_weights_are_shipped() -> None:
    """It has to be asked for: what needs no network is as good."""
    assert bringup.default("multiview", "method") == "aligned"
    assert weights.load(bringup.default("multiview", "weights"), "densewarper")


def test_drivers_and_emulator_agree_on_addresses() -> None:
    nodes = specs(emulated=True, port_base=20000)
    emulator = nodes["radar_emulator"].parameters
    seen = set()
    for radar in bringup.RADARS:
        driver = nodes[f"{radar}/radar_driver"].parameters
        for name in ("host_ip", "card_ip", "config_port", "data_port", "serial_port"):
            assert driver[name] == emulator[f"{radar}_{name}"]
        assert driver["frame_id"] == f"{radar}_link"
        seen |= {driver["config_port"], driver["data_port"]}
    assert len(seen) == 4
    assert min(seen) == 20000


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"angle_bin": 64}, "radar_h/radar_preprocessor has no parameter 'angle_bin'"),
        ({"angle_bins": "64"}, "parameter angle_bins is '64', want int"),
        ({"angle_bins": 3}, "parameter angle_bins is 3, allowed is 16 .. 256"),
    ],
)
def test_a_manifest_that_the_preprocessor_would_refuse_is_refused(
    settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    entry = {"preset": "edge", "file": "mine.safetensors", "heatmap": settings}
    (tmp_path / "manifest.json").write_text(json.dumps({"weights": [entry]}))
    with pytest.raises(BringupError, match=re.escape(sentence)):
        specs(weights=str(tmp_path / "mine.safetensors"))


def test_a_face_is_watched_by_a_source_of_ours_or_by_a_driver() -> None:
    nodes = specs("heart_rate", source="face.mp4", at_end="loop", transport="compressed")
    assert set(nodes) == {"camera_source", "rppg", "visualizer"}
    camera = {"source": "face.mp4", "at_end": "loop", "transport": "compressed"}
    assert nodes["camera_source"].parameters == camera
    assert nodes["rppg"].parameters["transport"] == "compressed"  # one speaks as the other listens
    assert specs("heart_rate")["camera_source"].parameters["source"] == "/dev/video0"
    given = {"method": "pos", "region": "8 8 64 64", "threads": 2, "visualizer": False}
    nodes = specs("heart_rate", camera="false", **given)
    assert set(nodes) == {"rppg"}
    assert nodes["rppg"].parameters["method"] == "pos"
    assert nodes["rppg"].parameters["region"] == "8 8 64 64"
    assert nodes["rppg"].environment["OMP_NUM_THREADS"] == "2"


def test_a_radar_that_sends_points_is_real_or_emulated() -> None:
    real = specs("points_pose")
    assert set(real) == {"radar_driver", "mamba_pose", "visualizer"}
    driver = real["radar_driver"].parameters
    assert driver["source"] == "uart" and driver["config_file"] == "iwr1843_points.cfg"
    assert driver["serial_port"] == driver["points_port"] == "auto"  # the board on USB
    pose = real["mamba_pose"].parameters
    assert (pose["input"], pose["output_frame"], pose["weights"]) == ("points", "latest", "points")
    assert weights.load(pose["weights"], "points")
    assert real["mamba_pose"].environment["OMP_NUM_THREADS"] == "1"

    nodes = specs("points_pose", emulated=True, visualizer=False, board="IWR6843ISK")
    assert set(nodes) == {"uart_emulator", "radar_driver", "mamba_pose"}
    emulator, driver = nodes["uart_emulator"], nodes["radar_driver"].parameters
    assert emulator.outlives_others
    assert emulator.parameters["command_port"] == driver["serial_port"] != "auto"
    assert emulator.parameters["points_port"] == driver["points_port"] != "auto"
    assert str(os.getpid()) in driver["points_port"]  # another graph has links of its own
    assert emulator.parameters["device"] == driver["device"] == "IWR6843ISK"
    # Without a configuration there is nothing to tell it: it is on already.
    nodes = specs("points_pose", emulated=True, config_file="", points_port="here")
    assert nodes["uart_emulator"].parameters["command_port"] == ""
    assert nodes["radar_driver"].parameters["serial_port"] == ""
    assert nodes["radar_driver"].parameters["points_port"] == "here"


def test_a_replay_has_the_nodes_after_its_level() -> None:
    """And begins when they listen."""
    after = {
        "adc": [
            "radar_h/radar_preprocessor",
            "radar_v/radar_preprocessor",
            "mamba_pose",
            "visualizer",
        ],
        "heatmap": ["mamba_pose", "visualizer"],
        "pose": ["visualizer"],
        "all": ["visualizer"],
    }
    for level, expected in after.items():
        nodes = specs("replay", bag="x", from_level=level, rate=2.0, from_s=1.0)
        assert list(nodes) == [*expected, "replayer"]
        player = nodes["replayer"]
        assert player.ends_graph and not any(nodes[label].ends_graph for label in expected)
        assert player.parameters["wait_for"] == " ".join(expected)
        assert player.parameters["from_level"] == level
        assert (player.parameters["rate"], player.parameters["from_s"]) == (2.0, 1.0)
    live = specs("radar_pose", emulated=True)
    replayed = specs("replay", bag="x", from_level="adc", record="again", refiner=True)
    name = "radar_h/radar_preprocessor"
    assert replayed[name].parameters == live[name].parameters
    pose = {**live["mamba_pose"].parameters, "queue_size": 16}
    assert replayed["mamba_pose"].parameters == pose
    assert "heatmap" in replayed["recorder"].parameters["topics"].split()
    assert "pose_refiner" in replayed
    assert "pose_refiner" not in specs("replay", bag="x", from_level="all", refiner=True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"method": "rpos"}, "rppg: parameter method is 'rpos', allowed is \"auto\" | "),
        ({"at_end": "end"}, "camera_source: parameter at_end is 'end', allowed is \"stop\" | "),
        ({"transport": "h264"}, "camera_source: parameter transport is 'h264', allowed is "),
    ],
)
def test_what_a_node_of_the_graph_would_refuse_is_refused(
    arguments: dict[str, str], sentence: str
) -> None:
    with pytest.raises(BringupError) as caught:
        bringup.graph("heart_rate").nodes(arguments)
    assert str(caught.value).startswith(sentence)


ALL_OF = {  # arguments with which a graph has all its nodes
    "radar_pose": {"refiner": True, "lifter": True, "points": True},
    "multiview": {"refiner": True},
    "everything": {"radar_refiner": True, "camera_refiner": True, "face_source": "face.mp4"},
    "replay": {"from_level": "adc", "refiner": True, "lifter": True},
}


@pytest.mark.parametrize("name", sorted(bringup.GRAPHS))
@pytest.mark.parametrize("emulated", [True, False])
def test_every_parameter_is_declared_and_allowed(name: str, emulated: bool) -> None:
    """The data names no parameter that its node does not have, nor a value it refuses."""
    of = bringup.graph(name)
    switch = {"emulated": emulated} if "emulated" in {a.name for a in of.arguments} else {}
    for node in of.nodes({**ALL_OF.get(name, {}), **switch, "record": "bag"}):
        declared = parameters.load(node.executable)
        for parameter, value in node.parameters.items():
            assert parameter in declared, f"{node.label} has no parameter {parameter}"
            kind = parameters.TYPES[declared[parameter].type]
            assert type(value) is kind, f"{node.label}: {parameter}"
            declared[parameter].check(value)


@pytest.mark.parametrize("name", sorted(bringup.GRAPHS))
def test_what_every_graph_can_be_asked_for(name: str, tmp_path: Path) -> None:
    """One namespace before all, simulated time, a file of parameters, a level of logs, a bag."""
    of = bringup.graph(name)
    plain = of.nodes({})
    file = file_of(tmp_path, "{}")
    asked: dict[str, Any] = {"namespace": "/lab/left/", "use_sim_time": True, "record": "bag"}
    recorder, *nodes = of.nodes({**asked, "params_file": file, "log_level": "debug"})
    assert recorder.label == "lab/left/recorder" and recorder.parameters["bag"] == "bag"
    assert [node.label for node in nodes] == [f"lab/left/{node.label}" for node in plain]
    for node, usual in zip(nodes, plain, strict=True):
        assert node.parameters["use_sim_time"] is True and "use_sim_time" not in usual.parameters
        assert (node.parameter_files, usual.parameter_files) == ((file,), ())
        words = ["--log-level", f"{node.label.replace('/', '.')}:=debug"]
        assert node.words[-2:] == words and "--log-level" not in usual.words
        frames = [value for key, value in node.parameters.items() if "frame" in key]
        assert frames == [value for key, value in usual.parameters.items() if "frame" in key]
    with pytest.raises(BringupError, match="namespace: want names of letters"):
        of.nodes({"namespace": "my robot"})
    with pytest.raises(BringupError, match="log_level: want debug, info, warn, error or fatal"):
        of.nodes({"log_level": "loud"})


def test_what_is_recorded() -> None:
    """All but raw samples, or a level; of a replay, what was computed again."""

    def recorded(name: str, /, **arguments: Any) -> dict[str, Any]:
        return dict(specs(name, record="bag", **arguments)["recorder"].parameters)

    assert recorded("radar_pose") == {"bag": "bag", "level": "all"}
    assert recorded("radar_pose", record_level="adc") == {"bag": "bag", "level": "adc"}
    assert recorded("replay") == {"bag": "bag", "level": "pose"}
    assert recorded("replay", record_level="all") == {"bag": "bag", "level": "all"}
    again = "heatmap radar_config pose2d pose3d skeleton ground_truth camera_info tf tf_static"
    for level in ("adc", "sensor"):
        assert recorded("replay", from_level=level) == {"bag": "bag", "topics": again}
    with_points = {"bag": "bag", "topics": f"{again} points"}
    assert recorded("replay", from_level="adc", points=True) == with_points
    assert recorded("replay", of="points_pose", from_level="adc") == {
        "bag": "bag",
        "level": "pose",
    }
    hearts = {"bag": "bag", "topics": "heart_rate pulse_wave"}
    assert recorded("replay", of="heart_rate") == hearts


def test_parameters_of_nodes_in_a_namespace_are_checked(tmp_path: Path) -> None:
    of = bringup.graph("radar_pose")
    path = file_of(tmp_path, "/lab/radar_h/radar_driver: {ros__parameters: {autostart: true}}")
    given = {"namespace": "lab", "emulated": True}
    assert bringup.check_parameter_file(path, of, given) == []
    assert bringup.check_parameter_file(path, of, {**given, "composed": True}) == []
    with pytest.raises(BringupError, match="there is no node /lab/radar_h/radar_driver: did you"):
        bringup.check_parameter_file(path, of)
    nodes, notes = bringup.prepared("radar_pose", (), {**given, "params_file": path})
    assert notes == [] and all(node.parameter_files == (path,) for node in nodes)


def test_the_radars_nodes_can_share_a_process() -> None:
    """With the parameters that they have as processes of their own."""
    given = {"emulated": True, "refiner": True, "threads": 3, "namespace": "lab"}
    apart = specs("radar_pose", **given)
    emulator, chain, visualizer = bringup.graph("radar_pose").nodes({**given, "composed": True})
    assert emulator == apart["lab/radar_emulator"] and visualizer == apart["lab/visualizer"]
    assert (chain.executable, chain.environment["OMP_NUM_THREADS"]) == ("composition", "3")
    assert [part.label for part in chain.parts] == [
        *("lab/radar_h/radar_driver", "lab/radar_h/radar_preprocessor"),
        *("lab/radar_v/radar_driver", "lab/radar_v/radar_preprocessor"),
        *("lab/mamba_pose", "lab/pose_refiner"),
    ]
    words = ["--ros-args", "--enclave", "/lab/radar_chain", "--"]
    for part in chain.parts:
        own = apart[part.label].words
        place = own.index("--enclave")  # of a process
        words += [part.executable, *own[:place], *own[place + 2 :], "--"]
    assert chain.words == words
    with pytest.raises(BringupError, match="mamba_pose: parameter threads is 0"):
        specs("radar_pose", composed=True, threads=0)


def test_the_graph_is_split_over_machines() -> None:
    given = {"emulated": True, "refiner": True, "lifter": True}
    parts = {part: specs(part=part, **given) for part in bringup.PARTS}
    together = {label for nodes in parts.values() for label in nodes}
    assert sum(map(len, parts.values())) == len(together)
    assert together == set(specs(**given))
    assert "radar_emulator" in parts["radars"] and "radar_v/radar_driver" in parts["radars"]
    assert set(parts["view"]) == {"visualizer"}
    assert "mamba_pose" in parts["inference"] and "pose_lifter" in parts["inference"]
    assert set(specs(part="radars", composed=True)) == {"radar_chain"}
    with pytest.raises(BringupError, match="nothing to start: part is view"):
        specs(part="view", visualizer=False)


def test_who_reads_heatmaps_is_told_how_they_travel() -> None:
    nodes = specs(heatmap_transport="compressed", lifter=True)
    told = {label for label, node in nodes.items() if "heatmap_transport" in node.parameters}
    assert told == {"mamba_pose", "pose_lifter", "visualizer"}
    assert "heatmap_transport" not in specs()["mamba_pose"].parameters  # as the node has it
    everything = specs("everything", radar_heatmap_transport="compressed")
    assert everything["visualizer"].parameters["heatmap_transport"] == "compressed"


def test_everything_has_the_nodes_of_its_parts() -> None:
    """With the names and parameters that they have in graphs of their own, and one visualizer."""
    whole = specs("everything", emulated=True, face_source="face.mp4", radar_loss=0.1)
    radars = specs("radar_pose", emulated=True, loss=0.1)
    rig, face = specs("multiview", emulated=True), specs("heart_rate", source="face.mp4")
    assert set(whole) == {*radars, *rig, *face}
    for label, node in whole.items():
        single = {**face, **radars, **rig}[label]
        frame = {"heart_rate_frame": "map"} if label == "visualizer" else {}
        assert node.parameters == {**single.parameters, **frame}
        assert node.environment == single.environment
    assert whole["rig_emulator"].remappings == (("ground_truth", "cameras/ground_truth"),)
    assert not {"camera_source", "rppg"} & {*specs("everything", emulated=True)}  # none to look at
    assert specs("everything")["camera_source"].parameters["source"] == "/dev/video0"
    assert set(specs("everything", radars=False, cameras=False)) == {*face}
    alone = specs("everything", radars=False, emulated=True)
    assert set(alone) == {*rig} and alone["rig_emulator"].remappings == ()
    with pytest.raises(BringupError, match="nothing to start"):
        specs("everything", radars=False, cameras=False, face=False)


def test_the_refiners_of_everything_have_different_names() -> None:
    given = {"radar_refiner": True, "camera_refiner": True, "emulated": True}
    nodes = specs("everything", **given)
    assert nodes["pose_refiner"].parameters == {"weights": "radar_2d"}
    assert nodes["pose_refiner_3d"].parameters == {"poses": "pose3d", "weights": "pose_3d"}


def test_every_process_waits_passively_and_takes_large_messages() -> None:
    for node in specs(emulated=True).values():
        assert node.environment["OMP_WAIT_POLICY"] == "passive"
        assert Path(node.environment["FASTDDS_DEFAULT_PROFILES_FILE"]).is_file()
    assert specs(threads=3)["mamba_pose"].environment["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"emulatd": "true"}, "there is no argument 'emulatd', only emulated, "),
        ({"emulated": "yes"}, "emulated: want true or false, got 'yes'"),
        ({"seed": "1.5"}, "seed: want a whole number, got '1.5'"),
        ({"loss": "few"}, "loss: want a number, got 'few'"),
        ({"threads": "0"}, "mamba_pose: parameter threads is 0, allowed is 1 .. 64"),
        ({"device": "gpu"}, 'mamba_pose: parameter device is \'gpu\', allowed is "auto" | "cpu"'),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, str], sentence: str) -> None:
    with pytest.raises(BringupError) as caught:
        bringup.graph("radar_pose").nodes(arguments)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        (
            "points_pose",
            {"recording": "a.npz"},
            "recording is of the emulator: say emulated:=true",
        ),
        ("radar_pose", {"loss": 0.1}, "loss is of the emulator: say emulated:=true too"),
        ("multiview", {"rate_hz": 20.0}, "rate_hz is of the emulator: say emulated:=true too"),
        ("everything", {"radar_port_base": 5000}, "radar_port_base is of the emulator: say"),
        ("points_pose", {"emulated": True, "movement": 3}, "movement is one of a recording: name"),
    ],
)
def test_what_an_emulator_would_do_is_not_ignored(
    name: str, arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BringupError) as caught:
        specs(name, **arguments)
    assert str(caught.value).startswith(sentence)


def test_unknown_graph_names_the_known_ones() -> None:
    with pytest.raises(BringupError) as caught:
        bringup.graph("x")
    names = "everything, heart_rate, multiview, points_pose, radar_pose, replay"
    assert str(caught.value) == f"there is no graph 'x', only {names}"


def test_up_answers_a_mistake_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert bringup.up("no_such_graph") == 2
    assert bringup.up("radar_pose", ["/no/such/file.yaml"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("error: there is no graph 'no_such_graph'")
    assert errors[1] == "error: there is no parameter file '/no/such/file.yaml'"


def file_of(folder: Path, content: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(content)
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        "/radar_h/radar_driver: {ros__parameters: {max_missing_ratio: 0.05}}",
        "pose_refiner: {ros__parameters: {method: cubic, window: 3}}",  # of a node that is off
        "radar_v: {radar_driver: {ros__parameters: {max_missing_ratio: 0.05}}}",
        "/**: {ros__parameters: {autostart: true, use_sim_time: true, rate_hz: 20.0}}",
        "/*/radar_driver: {ros__parameters: {qos_overrides: {adc: {depth: 3}}}}",
        "/**/mamba_pose: {ros__parameters: {threads: 1}}",
        "pose_refiner_3d: {ros__parameters: {method: linear}}",
    ],
)
def test_parameter_files_that_ros_would_read(content: str, tmp_path: Path) -> None:
    bringup.check_parameter_file(file_of(tmp_path, content), bringup.graph("radar_pose"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "/pose_refinr: {ros__parameters: {method: cubic}}",
            "there is no node /pose_refinr: did you mean /pose_refiner or /pose_refiner_3d?",
        ),
        (
            "radar_driver: {ros__parameters: {}}",  # ROS wants its namespace
            "there is no node /radar_driver: did you mean /radar_",
        ),
        ("zebra: {ros__parameters: {}}", "there is no node /zebra: allowed are /radar_emulator, "),
        (
            "/pose_lifter: {ros__parameters: {max_gap: 0.3}}",
            "/pose_lifter has no parameter 'max_gap': did you mean max_gap_s?",
        ),
        (
            "/**: {ros__parameters: {autostrat: true}}",
            "/** has no parameter 'autostrat': did you mean autostart?",
        ),
        (
            "/mamba_pose: {ros__parameters: {weights: {file: a}}}",
            "/mamba_pose has no parameter 'weights.file': did you mean weights?",
        ),
        ("/mamba_pose: {threads: 1}", "want names of nodes, below them ros__parameters, got 1"),
        ("/mamba_pose: {ros__parameters: 1}", "/mamba_pose: want parameters with their values"),
        ("- 1", "want names of nodes, below them ros__parameters, got [1] at /"),
        ("a: [", "no YAML file: while parsing a flow node"),
    ],
)
def test_names_that_ros_would_ignore_are_refused(
    content: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path, content)
    assert bringup.up("radar_pose", [path]) == 2  # before anything starts
    assert capsys.readouterr().err.startswith(f"error: {path}: {sentence}")


def test_arguments_have_the_type_of_their_default() -> None:
    assert Argument("a", 1, "").parse("7") == 7
    assert Argument("a", 1.0, "").parse("7") == 7.0
    assert Argument("a", "x", "").parse("7") == "7"
    assert Argument("a", False, "").parse("True") is True


def test_command_line_of_a_node() -> None:
    node = NodeSpec(
        "radar_driver",
        "driver",
        "radar_h",
        parameters={"host_ip": "127.0.0.1", "serial_port": "", "timeout_s": 2.0, "on": True},
        remappings=[("adc", "raw")],
        parameter_files=["extra.yaml"],
        log_level="warn",
    )
    arguments = graph_runner.command(node)
    text = " ".join(arguments)
    assert arguments[1:4] == ["-m", "radar_pose_ros.nodes", "radar_driver"]
    assert "-r __node:=driver -r __ns:=/radar_h -r adc:=raw" in text
    assert '-p host_ip:="127.0.0.1" -p serial_port:="" -p timeout_s:=2.0 -p on:=true' in text
    # What comes later wins.
    assert text.endswith("--params-file extra.yaml --log-level radar_h.driver:=warn")


@pytest.mark.parametrize("module", ["rclpy", "launch", "launch_ros"])
def test_the_data_needs_no_ros(module: str) -> None:
    tree = ast.parse(Path(bringup.__file__).read_text("utf-8"))
    names = [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
    names += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert not any(name.split(".")[0] == module for name in names)


class Recorded:
    """Stands for a class of ROS's launch, which the wheels do not have: keeps what it is told."""

    def __init__(self, *values: Any, **named: Any) -> None:
        self.values, self.named = values, named

    def perform(self, context: dict[str, str]) -> str:
        return context[self.values[0]]


@pytest.fixture
def describe(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    """Run a launch file with stand-ins for ROS's launch; return what is in its description."""
    for module, names in {
        "launch": ("LaunchContext", "LaunchDescription", "LaunchDescriptionEntity"),
        "launch.actions": ("DeclareLaunchArgument", "LogInfo", "OpaqueFunction", "Shutdown"),
        "launch.events": (),
        "launch.events.process": ("ProcessExited",),
        "launch.substitutions": ("LaunchConfiguration",),
        "launch_ros": (),
        "launch_ros.actions": ("Node",),
    }.items():
        stand_in = ModuleType(module)
        vars(stand_in).update({kind: type(kind, (Recorded,), {}) for kind in names})
        monkeypatch.setitem(sys.modules, module, stand_in)
    # Imported anew, and taken away again afterwards.
    monkeypatch.setitem(sys.modules, "radar_pose_ros.nodes.launching", ModuleType("launching"))
    del sys.modules["radar_pose_ros.nodes.launching"]

    def run(name: str) -> list[Any]:
        path = root / "launch" / f"{name}.launch.py"
        assert len(path.read_text("utf-8").splitlines()) < 120
        return runpy.run_path(str(path))["generate_launch_description"]().values[0]

    return run


@pytest.mark.parametrize("name", sorted(bringup.GRAPHS))
def test_every_graph_has_a_launch_file(
    name: str, describe: Callable[[str], list[Any]], tmp_path: Path
) -> None:
    """It declares every argument, starts the graph's nodes, and RViz with a file that exists."""
    *declared, start = describe(name)
    graph = bringup.graph(name)
    defaults = {entry.values[0]: entry.named["default_value"] for entry in declared}
    assert list(defaults) == [*(argument.name for argument in graph.arguments), "rviz"]
    assert all(entry.named["description"].endswith(".") for entry in declared)
    file = file_of(tmp_path, "{}")
    given = {"emulated": "true"} if "emulated" in defaults else {}
    given |= {"namespace": "/lab/", "params_file": file, "log_level": "debug"}

    def started(**arguments: str) -> list[Any]:
        return start.named["function"]({**defaults, **given, **arguments}, *start.named["args"])

    *nodes, rviz = started(rviz="true")
    expected = graph.nodes(given)
    assert len(nodes) == len(started()) == len(expected)
    for node, spec in zip(nodes, expected, strict=True):
        assert node.named["executable"] == spec.executable
        assert (node.named["name"], node.named["namespace"]) == (spec.name, spec.namespace)
        words = node.named["ros_arguments"]  # enclave, parameters, files of them, level of logs
        assert words == spec.words[-len(words) :]
        assert "parameters" not in node.named and words[-4:-2] == ["--params-file", file]
        assert words.count("-p") == len(spec.parameters)
        assert node.named["respawn"] is not spec.ends_graph
        seconds = float(node.named["sigterm_timeout"]) + float(node.named["sigkill_timeout"])
        assert seconds == pytest.approx(graph_runner.STOP_TIMEOUT_S)
    assert Path(rviz.named["arguments"][1]).name == f"{name}.rviz"
    assert Path(rviz.named["arguments"][1]).is_file()
    assert rviz.named["namespace"] == "lab"


def test_a_launch_file_starts_several_nodes_in_one_process(
    describe: Callable[[str], list[Any]],
) -> None:
    *declared, start = describe("radar_pose")
    defaults = {entry.values[0]: entry.named["default_value"] for entry in declared}
    chain, _ = start.named["function"]({**defaults, "composed": "true"}, *start.named["args"])
    spec, _ = bringup.graph("radar_pose").nodes({"composed": True})
    assert (chain.named["executable"], chain.named["arguments"]) == ("composition", spec.words)
    assert "parameters" not in chain.named and chain.named["respawn"]


def test_a_launch_ends_as_the_runner_does(describe: Callable[[str], list[Any]]) -> None:
    """With a node that was called wrongly, which is an error, and with the one that ends it."""
    *declared, start = describe("replay")
    defaults = {entry.values[0]: entry.named["default_value"] for entry in declared}
    *_, visualizer, replayer = start.named["function"](defaults, *start.named["args"])

    def after(node: Any, code: int, is_shutdown: bool = False) -> list[Any]:
        context = SimpleNamespace(is_shutdown=is_shutdown)
        return node.named["on_exit"](SimpleNamespace(returncode=code), context)

    assert after(visualizer, 1) == after(visualizer, -9) == []  # it is started again
    assert [type(action).__name__ for action in after(replayer, 0)] == ["Shutdown"]
    assert after(replayer, 1, is_shutdown=True) == []
    for node, code in ((visualizer, 2), (replayer, 1), (replayer, 2)):
        with pytest.raises(BringupError, match=rf"^\w+ ended with code {code}$"):
            after(node, code)


def test_what_is_replayed_is_seen_as_its_graph_is(describe: Callable[[str], list[Any]]) -> None:
    *declared, start = describe("replay")
    defaults = {entry.values[0]: entry.named["default_value"] for entry in declared}
    for of, file in (("radar_pose", "replay"), ("multiview", "multiview")):
        given = {**defaults, "rviz": "true", "of": of}
        *_, rviz = start.named["function"](given, *start.named["args"])
        assert Path(rviz.named["arguments"][1]).name == f"{file}.rviz"


# -- live ------------------------------------------------------------------------------------


def wait(
    condition: Callable[[], Any], timeout_s: float, runner: GraphRunner | None = None
) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "not in time"
        if runner is not None:
            assert runner.poll()
        time.sleep(0.05)


PREPROCESSOR = NodeSpec("radar_preprocessor", "radar_preprocessor", "radar_h")


@pytest.mark.ros
def test_a_killed_node_is_started_again(ros_environment: dict[str, str]) -> None:
    """R2: kill -9; another process takes its place. Afterwards nothing is left."""
    lines: list[str] = []
    with GraphRunner([PREPROCESSOR], lines.append) as runner:
        label = PREPROCESSOR.label
        first = runner.process_ids[label]
        os.kill(first, signal.SIGKILL)
        wait(lambda: runner.restarts[label] == 1, 10.0, runner)
        second = runner.process_ids[label]
        assert second != first
    assert runner.exit_code == 0
    assert not psutil.pid_exists(second)
    assert any("starts again in 1 s" in line for line in lines)


@pytest.mark.ros
def test_a_misconfigured_node_ends_the_graph(ros_environment: dict[str, str]) -> None:
    """R13: starting it again would not help."""
    bad = NodeSpec("radar_preprocessor", "bad", parameters={"angle_bins": 3})
    lines: list[str] = []
    with GraphRunner([PREPROCESSOR, bad], lines.append) as runner:
        deadline_s = time.monotonic() + 15.0
        while runner.poll():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    assert runner.exit_code == 2
    assert any("[bad] error: parameter angle_bins" in line for line in lines)


@pytest.mark.ros
def test_unusable_weights_end_the_graph(
    ros_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Starting the node again would not help; its sentence comes last."""
    nodes = [
        PREPROCESSOR,
        NodeSpec("pose_refiner", "pose_refiner", parameters={"weights": "huge"}),
    ]
    graph = bringup.Graph("", (), lambda: nodes)
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bringup.GRAPHS, "small", graph)
        assert bringup.up("small", duration_s=60.0, output=lines.append) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: pose_refiner: cannot configure: there are no weights 'huge' in")
    assert any("ended with code 2: stopping the graph" in line for line in lines)


SCRIPT = """
import sys
from radar_pose_ros import bringup
nodes = [n for n in bringup.graph("radar_pose").nodes(
    {"emulated": True, "visualizer": False, "port_base": 21000}) if n.executable != "mamba_pose"]
bringup.GRAPHS["small"] = bringup.Graph("", (), lambda: nodes)
sys.exit(bringup.up("small"))
"""


def start_graph(environment: dict[str, str]) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    runner = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert runner.stdout is not None
    recording = 0
    for line in runner.stdout:
        recording += "recording from" in line
        if recording == 2:
            break
    return runner, psutil.Process(runner.pid).children(recursive=True)


@pytest.mark.ros
def test_ctrl_c_ends_the_whole_graph(ros_environment: dict[str, str]) -> None:
    """Five processes come up, both drivers record; SIGINT ends all in 3 s, exit code 0."""
    runner, children = start_graph(ros_environment)
    assert len(children) == 5
    begin_s = time.monotonic()
    runner.send_signal(signal.SIGINT)
    assert runner.wait(10.0) == 0
    assert time.monotonic() - begin_s < 3.5  # 3 s, and the interpreter's own end
    assert not any(child.is_running() for child in children)


@pytest.mark.ros
def test_nodes_end_with_a_runner_that_was_killed(ros_environment: dict[str, str]) -> None:
    runner, children = start_graph(ros_environment)
    runner.kill()
    runner.wait()
    wait(lambda: not any(child.is_running() for child in children), 6.0)


@pytest.mark.ros
def test_a_node_whose_starter_ended_before_it_began_ends(
    ros_environment: dict[str, str],
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    environment = {**ros_environment, "RADAR_POSE_EXIT_WITH_PARENT": str(ended.pid)}
    command = graph_runner.command(PREPROCESSOR)
    assert subprocess.run(command, env=environment, timeout=60.0, check=False).returncode == 0
