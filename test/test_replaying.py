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
    "/image": "sensor_msgs/msg/Image",
    "/left/image": "sensor_msgs/msg/Image",
    "/right/image": "sensor_msgs/msg/Image",
    "/left/image/compressed": "sensor_msgs/msg/CompressedImage",
    "/right/image/compressed": "sensor_msgs/msg/CompressedImage",
    "/image/compressed": "sensor_msgs/msg/CompressedImage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/heart_rate": f"{OURS}HeartRate",
}
IMAGES = {"/image", "/left/image", "/right/image"}
FACTS = {"/radar_h/radar_config", "/left/camera_info", "/tf_static"}
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
        "/right/pose2d": "simulation",
        "/refined/pose2d": "refiner of simulation",
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
        ({"of": "points_pose"}, {"/points"}),
        ({"of": "multiview"}, {"/left/pose2d", "/right/pose2d"}),
        ({"of": "multiview", "detector": "mine.onnx", "views": "left right"}, IMAGES),
        (
            {"of": "multiview", "detector": "mine.onnx", "transport": "compressed"},
            {f"{topic}/compressed" for topic in IMAGES},
        ),
        ({"of": "heart_rate"}, IMAGES),
        (
            {"of": "heart_rate", "transport": "compressed"},
            {f"{topic}/compressed" for topic in IMAGES},
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
    assert topics == (played | FACTS if played else set())


def test_views_that_are_not_named_are_those_of_the_bag(everything: str) -> None:
    """Of what is computed from: keypoints, or images in which they are sought."""
    for given in ({}, {"detector": "mine.onnx"}, {"from_level": "pose"}, {"from_level": "all"}):
        nodes = specs(of="multiview", bag=everything, **given)
        assert nodes["visualizer"].parameters["views"] == "left right"
        if given != {"from_level": "all"}:
            assert nodes["densewarper"].parameters["views"] == "left right"
    detectors = {
        node.label for node in specs(of="multiview", bag=everything, detector="a").values()
    }
    assert {"left/keypoint_detector", "right/keypoint_detector"} <= detectors
    # Nothing is known of a bag that is not there.
    usual = bringup.default("multiview", "views")
    assert specs(of="multiview", bag="x")["densewarper"].parameters["views"] == usual


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Before anything starts: else the bag is played to nobody."""
    poses = {"/lab/left/pose2d": "simulation", "/lab/right/pose2d": "simulation"}
    radars = {f"/lab/{name}/heatmap": f"{OURS}RadarHeatmap" for name in bringup.RADARS}
    path = bag(tmp_path / "lab", radars, poses)
    rig = (
        "of that kind the bag holds /lab/left/pose2d, /lab/right/pose2d: want namespace and views"
    )
    for given, sentence in (
        (
            {},
            "radar_pose computes from /radar_h/heatmap or /radar_v/heatmap, and of that kind the "
            "bag holds /lab/radar_h/heatmap, /lab/radar_v/heatmap: want namespace",
        ),
        (
            {"of": "multiview"},
            f"multiview computes from /<view>/pose2d of two views, and {rig}",
        ),
        (
            {"of": "multiview", "namespace": "lab", "views": "left cam"},
            f"multiview computes from /lab/left/pose2d or /lab/cam/pose2d of two views, and {rig}",
        ),
    ):
        with pytest.raises(BringupError) as caught:
            specs(bag=path, **given)
        assert str(caught.value) == f"{path}: {sentence} of the recording"
    assert specs(bag=path, namespace="/lab/")
    nodes = specs(bag=path, of="multiview", namespace="lab")
    assert nodes["lab/densewarper"].parameters["views"] == "left right"
    assert bringup.up("replay", bag=path) == 2
    # One radar is enough.
    one = bag(tmp_path / "one", {"/radar_v/heatmap": f"{OURS}RadarHeatmap"})
    assert specs(bag=one)


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


def test_a_run_in_which_nothing_was_computed_is_told(tmp_path: Path, everything: str) -> None:
    """By what the graph computes in the end; keypoints that were played do not count."""
    run = bag(tmp_path / "run", {}, {"/left/pose2d": "simulation", "/lab/pose2d": "net"})
    for of, topic in (
        ("radar_pose", "/pose2d"),
        ("points_pose", "/pose3d"),
        ("multiview", "/pose3d"),
        ("heart_rate", "/heart_rate"),
    ):
        sentence = f"{run} holds no message on {topic}: {of} computed none from the bag"
        for level in ("sensor", "all"):
            told = replaying.warning_if_empty(run, of, level)
            assert told == (sentence if level == "sensor" else "")
        assert replaying.warning_if_empty(everything, of, "sensor") == ""
    assert replaying.warning_if_empty(run, "radar_pose", "adc", "lab") == ""
    assert replaying.warning_if_empty(str(tmp_path / "none"), "radar_pose", "adc") == ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, True),
        ({"record_level": "pose"}, True),
        ({"record_level": "adc"}, False),
        ({"of": "heart_rate"}, True),
        ({"of": "heart_rate", "record_level": "pose"}, False),
        ({"record": ""}, False),
    ],
)
def test_only_what_would_have_been_recorded_is_missed(
    given: dict[str, str], expected: bool, tmp_path: Path
) -> None:
    run = bag(tmp_path / "run", {"/tf_static": TOPICS["/tf_static"]})
    of = bringup.graph("replay")
    assert bool(of.warning_after(of.values({"bag": "x", "record": run, **given}))) is expected


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
