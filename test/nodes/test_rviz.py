"""The files for RViz, which is not here: their form, and whether graphs publish what they show."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import yaml

from radar_pose_ros import bringup

if TYPE_CHECKING:
    from conftest import LiveGraph

FILES = sorted((Path(__file__).resolve().parents[2] / "rviz").glob("*.rviz"))
# What the plugins of RViz for ROS 2 read, by class; another name is ignored without a word.
COMMON = {"Class", "Name", "Enabled", "Value"}
PROPERTIES = {
    "Grid": {"Reference Frame", "Plane Cell Count", "Cell Size", "Color", "Alpha"},
    "TF": {"Show Names", "Show Axes", "Show Arrows", "Marker Scale", "Update Interval"}
    | {"Frame Timeout"},
    "MarkerArray": {"Namespaces", "Topic"},
    "Image": {"Normalize Range", "Min Value", "Max Value", "Topic"},
    "PointCloud2": {"Alpha", "Autocompute Intensity Bounds", "Channel Name", "Color Transformer"}
    | {"Decay Time", "Invert Rainbow", "Max Intensity", "Min Intensity", "Position Transformer"}
    | {"Size (m)", "Style", "Use rainbow", "Topic"},
}
TOPIC = {
    "Depth": range(1, 101),
    "History Policy": ("Keep Last",),
    "Reliability Policy": ("Reliable", "Best Effort"),
    "Durability Policy": ("Volatile", "Transient Local"),
}
TYPES = {
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Image": "sensor_msgs/msg/Image",
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
}


def displays(path: Path) -> list[dict[str, Any]]:
    """Return the displays of a file, with the class without its package."""
    found = yaml.safe_load(path.read_text("utf-8"))["Visualization Manager"]["Displays"]
    for display in found:
        package, display["Class"] = display["Class"].split("/")
        assert package == "rviz_default_plugins"
    return found


def test_every_graph_has_its_file() -> None:
    assert {path.stem for path in FILES} == set(bringup.GRAPHS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_plugins_read_every_property(path: Path) -> None:
    content = yaml.safe_load(path.read_text("utf-8"))
    manager = content["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"]
    view = manager["Views"]["Current"]
    assert view["Class"] == "rviz_default_plugins/Orbit"
    assert {"Distance", "Focal Point", "Pitch", "Yaw", "Target Frame"} <= set(view)
    shown = displays(path)
    assert len({display["Name"] for display in shown}) == len(shown)
    for display in shown:
        unread = set(display) - COMMON - PROPERTIES[display["Class"]]
        assert not unread, f"{display['Name']}: {unread}"
        assert display["Value"] == display["Enabled"]
        if "Topic" in PROPERTIES[display["Class"]]:
            topic = display["Topic"]
            assert set(topic) == {*TOPIC, "Value"}, display["Name"]
            assert all(topic[name] in allowed for name, allowed in TOPIC.items()), display["Name"]
            assert not topic["Value"].startswith("/")  # it goes with the graph's namespace


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_namespaces_are_those_that_are_drawn(path: Path) -> None:
    """One that is called otherwise could be switched on and off without an effect."""
    pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
    markers = importlib.import_module("radar_pose_ros.nodes.markers")
    kinds = (markers.ESTIMATED, markers.REFINED, markers.LIFTED, markers.REFINED_LIFTED)
    drawn = {markers.RADAR_FIELDS, markers.CAMERA_FRUSTA, markers.HEART_RATES, markers.TRUTH.name}
    drawn |= {kind.name + suffix for kind in kinds for suffix in ("", "_label", "_uncertainty")}
    for display in displays(path):
        assert set(display.get("Namespaces", ())) <= drawn


def offered(live: LiveGraph, topic: str) -> set[tuple[str, bool, bool]]:
    """Return type, reliability and durability of a topic's publishers."""
    from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

    return {
        (
            publisher.topic_type,
            publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
            publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        )
        for publisher in live.node.get_publishers_info_by_topic(topic)
    }


def arguments(graph: str, folder: Path) -> dict[str, str | bool | int]:
    """Return what a graph wants to run without hardware, with all that it can show."""
    radars = {"emulated": True, "port_base": 4596, "points": True, "threads": 1}
    ports = {"serial_port": str(folder / "command"), "points_port": str(folder / "points")}
    for number in range(3):  # of a camera, a second apart
        grey = np.full((64, 64, 3), 90, np.uint8)
        cv2.imwrite(str(folder / f"Image{1392643993 + number}000000000.png"), grey)
    return {
        "radar_pose": radars,
        "points_pose": {"emulated": True, **ports},
        "multiview": {"emulated": True},
        "heart_rate": {"source": str(folder), "at_end": "loop"},
        "everything": {
            **{"emulated": True, "face": True, "face_source": str(folder), "face_at_end": "loop"},
            **{"radar_port_base": 4596, "radar_points": True, "radar_threads": 1},
        },
    }[graph]


@pytest.mark.ros
@pytest.mark.parametrize(
    "name",
    [
        "points_pose",
        "multiview",
        "heart_rate",
        pytest.param("radar_pose", marks=pytest.mark.slow),
        pytest.param("everything", marks=pytest.mark.slow),
    ],
)
def test_the_graph_publishes_what_is_shown(
    name: str, live: LiveGraph, root: Path, tmp_path: Path
) -> None:
    """Every topic is there with its type and a quality of service that fits.

    Emulated, transforms connect the frames of all sensors with the one that RViz fixes.
    """
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from tf2_msgs.msg import TFMessage

    latched = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = live.collect(TFMessage, "/tf_static", latched)
    nodes = bringup.graph(name).nodes(arguments(name, tmp_path))
    path = root / "rviz" / f"{name}.rviz"
    topics = [display for display in displays(path) if "Topic" in display]
    with bringup.GraphRunner(nodes, print) as runner:

        def running() -> bool:
            assert runner.poll(), runner.failure
            return True

        for display in topics:
            topic = f"/{display['Topic']['Value']}"
            live.wait(lambda t=topic: running() and offered(live, t), 120, f"{topic}")
            reliable = display["Topic"]["Reliability Policy"] == "Reliable"
            kept = display["Topic"]["Durability Policy"] == "Transient Local"
            for kind, is_reliable, is_kept in offered(live, topic):
                assert kind == TYPES[display["Class"]], topic
                assert is_reliable >= reliable and is_kept >= kept, topic
        fixed = yaml.safe_load(path.read_text())["Visualization Manager"]["Global Options"]
        frames = SENSORS[name]
        live.wait(
            lambda: all(one_tree(static, fixed["Fixed Frame"], frame) for frame in frames),
            60,
            f"transforms between {fixed['Fixed Frame']} and {frames}",
        )
        assert running()
    if name == "points_pose":
        places = {t.child_frame_id: t.transform.translation for m in static for t in m.transforms}
        assert places["radar_link"].z == 1.0  # of a simulated radar


RADARS = ("radar_h_link", "radar_v_link", "rig_camera_optical_frame")
CAMERAS = tuple(f"camera_{number}_optical_frame" for number in range(4))
SENSORS = {
    "radar_pose": RADARS,
    "points_pose": ("radar_link", "map"),
    "multiview": CAMERAS,
    "heart_rate": (),  # one sensor, in its own frame
    "everything": (*RADARS, *CAMERAS),  # where the face camera is nobody says
}


def one_tree(messages: list[Any], frame: str, other: str) -> bool:
    """Return whether transforms lead from a frame to another one."""
    parents = {t.child_frame_id: t.header.frame_id for m in messages for t in m.transforms}

    def top(name: str) -> str:
        while name in parents:
            name = parents[name]
        return name

    return top(frame) == top(other)
