"""Which nodes of a graph compute again from a bag, and what is played for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from radar_pose_ros import bringup, recording, replaying
from radar_pose_ros.bringup import BringupError, NodeSpec

OURS = "radar_pose_ros/msg/"
TOPICS = {  # of a bag of everything
    "/radar_h/adc": f"{OURS}RadarAdcFrame",
    "/radar_h/radar_config": f"{OURS}RadarConfig",
    "/radar_h/heatmap": f"{OURS}RadarHeatmap",
    "/points": "sensor_msgs/msg/PointCloud2",
    "/left/camera_info": "sensor_msgs/msg/CameraInfo",
    "/left/image": "sensor_msgs/msg/Image",
    "/image/compressed": "sensor_msgs/msg/CompressedImage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/heart_rate": f"{OURS}HeartRate",
}
STAMP_NS = 1_700_000_000 * 10**9


def bag(path: Path, topics: dict[str, str], poses: dict[str, str] | None = None) -> str:
    """Write a bag with an empty message of each topic, and poses by what made them."""
    store = recording.type_store()

    def empty(kind: str) -> Any:
        """Return a message of zeros; arrays are empty."""
        values = []
        for _, (node, detail) in store.get_msgdef(kind).fields:
            name = detail[0] if node.name == "BASE" else ""
            if node.name == "NAME":
                values.append(empty(detail))
            elif node.name == "BASE":
                values.append("" if name == "string" else False if name == "bool" else 0)
            elif node.name == "ARRAY":
                values.append([0.0] * detail[1])
            else:
                values.append([])
        return store.types[kind](*values)

    with recording.BagWriter(path) as writer:
        for topic, kind in topics.items():
            writer.add_topic(topic, kind)
            writer.write(topic, STAMP_NS, b"\0" * 64)
        for topic, model in (poses or {}).items():
            kind = f"{OURS}HumanPose{'3D' if '3d' in topic else '2D'}Array"
            message = empty(kind)
            message.model = model
            writer.add_topic(topic, kind)
            writer.write(topic, STAMP_NS, bytes(store.serialize_cdr(message, kind)))
    return str(path)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> str:
    poses = {
        "/pose2d": "millimamba/edge@1234",
        "/left/pose2d": "simulation",
        "/pose3d": "aligned of simulation",
    }
    return bag(tmp_path_factory.mktemp("bags") / "everything", TOPICS, poses)


def specs(**arguments: Any) -> dict[str, NodeSpec]:
    return {node.label: node for node in bringup.graph("replay").nodes(arguments)}


@pytest.mark.parametrize(
    ("of", "level", "expected"),
    [
        ("points_pose", "sensor", {"mamba_pose", "visualizer"}),
        ("points_pose", "adc", {"mamba_pose", "visualizer"}),
        ("points_pose", "pose", {"visualizer"}),
        ("multiview", "sensor", {"densewarper", "pose_refiner", "visualizer"}),
        ("multiview", "pose", {"densewarper", "pose_refiner", "visualizer"}),
        ("multiview", "all", {"visualizer"}),
        ("heart_rate", "sensor", {"rppg", "visualizer"}),
        ("heart_rate", "all", {"visualizer"}),
    ],
)
def test_the_nodes_after_the_level_compute(of: str, level: str, expected: set[str]) -> None:
    """As in their graph, and the player waits for them."""
    given = {"refiner": True} if of == "multiview" else {}
    nodes = specs(of=of, from_level=level, bag="x", **given)
    assert set(nodes) == {*expected, "replayer"}
    assert set(nodes["replayer"].parameters["wait_for"].split()) == expected
    assert nodes["replayer"].parameters["from_level"] == level
    graph = {node.label: node for node in bringup.graph(of).nodes(given)}
    for label in expected:
        changed = {"queue_size": 16} if label == "mamba_pose" else {}
        assert nodes[label].parameters == {**graph[label].parameters, **changed}
        assert nodes[label].environment == graph[label].environment


def test_levels_that_are_not_named() -> None:
    levels = {of: specs(of=of, bag="x")["replayer"].parameters["from_level"] for of in OF}
    assert levels == {
        "radar_pose": "heatmap",
        "points_pose": "sensor",
        "multiview": "sensor",
        "heart_rate": "sensor",
    }


OF = tuple(replaying.FROM_LEVEL)


def test_arguments_are_of_the_graph_that_computes() -> None:
    nodes = specs(of="multiview", views="a b", max_age_s="0.2", threads=1, detector="mine.onnx")
    assert nodes["densewarper"].parameters["views"] == "a b"
    assert nodes["densewarper"].parameters["max_age_s"] == 0.2
    assert nodes["densewarper"].parameters["threads"] == 1
    detector = {"model": "mine.onnx", "transport": "raw"}
    assert nodes["a/keypoint_detector"].parameters == detector
    assert specs(of="points_pose")["mamba_pose"].parameters["weights"] == "points"
    assert specs()["mamba_pose"].parameters["weights"] == "edge"
    assert specs(of="heart_rate", weights="")["rppg"].parameters["weights"] == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"of": "chess"},
            "of: want radar_pose, points_pose, multiview or heart_rate, got 'chess'",
        ),
        ({"of": "heart_rate", "refiner": True}, "refiner: heart_rate has no such argument"),
        ({"of": "radar_pose", "views": "a"}, "views: radar_pose has no such argument"),
        ({"of": "multiview", "threads": "two"}, "threads: want a whole number, got 'two'"),
        (
            {"of": "heart_rate", "from_level": "adc"},
            "from_level: heart_rate computes from sensor, all, got 'adc'",
        ),
    ],
)
def test_what_a_graph_cannot_do_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BringupError) as caught:
        specs(bag="x", **arguments)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("arguments", "played"),
    [
        ({"of": "points_pose"}, {"/points", "/radar_h/radar_config", "/left/camera_info"}),
        ({"of": "multiview"}, {"/left/pose2d", "/radar_h/radar_config", "/left/camera_info"}),
        (
            {"of": "multiview", "detector": "mine.onnx", "views": "left"},
            {"/left/image", "/radar_h/radar_config", "/left/camera_info"},
        ),
        (
            {"of": "multiview", "detector": "mine.onnx", "transport": "compressed"},
            {"/image/compressed", "/radar_h/radar_config", "/left/camera_info"},
        ),
        ({"of": "heart_rate"}, {"/left/image", "/radar_h/radar_config", "/left/camera_info"}),
        (
            {"of": "heart_rate", "transport": "compressed"},
            {"/image/compressed", "/radar_h/radar_config", "/left/camera_info"},
        ),
        ({"of": "radar_pose"}, set()),  # what the level is
        ({"of": "heart_rate", "from_level": "all"}, set()),
    ],
)
def test_what_is_played_of_a_bag_of_everything(
    arguments: dict[str, Any], played: set[str], everything: str
) -> None:
    """What the graph reads, and facts; not what others measured, nor what was computed."""
    topics = set(specs(bag=everything, **arguments)["replayer"].parameters["topics"].split())
    assert topics == (played | {"/tf_static"} if played else set())


def test_a_bag_without_what_is_wanted_is_refused(tmp_path: Path) -> None:
    """Before anything starts."""
    radar = {name: TOPICS[name] for name in ("/radar_h/adc", "/radar_h/radar_config")}
    path = bag(tmp_path / "radar", radar)
    assert specs(bag=path, from_level="adc")
    for given, sentence in (
        ({"of": "points_pose"}, "no PointCloud2 of the level sensor, from which points_pose"),
        ({"of": "multiview"}, "no HumanPose2DArray of the level sensor, from which multiview"),
        ({"of": "heart_rate"}, "no Image of the level sensor, from which heart_rate"),
        ({}, "no RadarHeatmap of the level heatmap, from which radar_pose"),
    ):
        with pytest.raises(BringupError) as caught:
            specs(bag=path, **given)
        held = "it holds RadarAdcFrame, RadarConfig"
        assert str(caught.value) == f"{path} holds {sentence} computes; {held}"


def test_a_bag_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bag.mcap"
    path.write_bytes(b"nothing")
    with pytest.raises(BringupError, match=str(path)):
        specs(bag=str(path), of="multiview")


@pytest.mark.ros
def test_a_graph_without_a_bag_ends_with_code_2(
    ros_environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is broken likewise; the player's sentence comes last."""
    broken = tmp_path / "bag.mcap"
    broken.write_bytes(b"nothing")
    for path in (tmp_path / "none", broken):
        given = {"bag": str(path), "from_level": "all", "visualizer": False}
        assert bringup.up("replay", duration_s=60.0, output=lambda line: None, **given) == 2
        assert str(path) in capsys.readouterr().err.splitlines()[-1]
