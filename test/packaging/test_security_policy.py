"""The policies of SROS2 say what nodes really publish, read and answer: all of it, and no more."""

from __future__ import annotations

import fnmatch
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from radar_pose_ros import bringup, cli
from radar_pose_ros.graphs import BringupError, NodeSpec
from radar_pose_ros.sros2_policy import Permissions, declared, graph_permissions, permissions

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    path.stem
    for path in (ROOT / "radar_pose_ros" / "nodes").glob("*.py")
    if (ROOT / "config" / "parameters" / path.name).with_suffix(".yaml").is_file()
}
EMULATED = {"emulated": True}
# Graphs with all that they can have.
LARGE: dict[str, dict[str, Any]] = {
    "radar_pose": {**EMULATED, "refiner": True, "lifter": True, "points": True},
    "points_pose": EMULATED,
    "multiview": {**EMULATED, "refiner": True},
    "heart_rate": {},
    "everything": {**EMULATED, "face_source": "face.mp4"},
}


def allowed_in(graph: str, **given: Any) -> dict[str, Permissions]:
    """Return what each node of a graph may do, by its full name."""
    of = graph_permissions(bringup.graph(graph).nodes(given))
    return {name: one for members in of.values() for name, one in members.items()}


# -- on paper ------------------------------------------------------------------------------------


def test_every_program_has_its_permissions() -> None:
    """No node without any, and none for a node that is not there."""
    assert set(declared()) == PROGRAMS


def test_names_get_namespaces_and_remappings() -> None:
    """Relative, absolute, private, remapped ones; views; and what else stands for several."""
    node = NodeSpec("densewarper", "rig", "lab", {"views": "left right"}, (("pose3d", "people"),))
    may = permissions(node)
    assert {"/lab/people", "/lab/skeleton", "/diagnostics"} < may.publish
    assert "/lab/rig/transition_event" in may.publish and "/lab/pose3d" not in may.publish
    assert may.subscribe == {
        *("/clock", "/tf", "/tf_static", "/lab/left/camera_info", "/lab/right/camera_info"),
        *("/lab/left/pose2d", "/lab/right/pose2d"),
    }
    assert "/lab/rig/set_parameters" in may.reply
    usual = permissions(NodeSpec("densewarper", "densewarper")).subscribe
    assert "/camera_3/pose2d" in usual and not any("{" in name for name in usual)
    recorder = permissions(NodeSpec("recorder", "recorder"), ["/adc", "/lab/people"])
    assert recorder.subscribe == {"/clock", "/adc", "/lab/people"}


@pytest.mark.parametrize("graph", sorted(LARGE))
def test_in_a_graph_who_reads_may_and_who_is_read_may(graph: str) -> None:
    """What a node of the graph reads of another one, that one may publish, by the same name."""
    of = allowed_in(graph, namespace="lab", record="bag", **LARGE[graph])
    published = {name for one in of.values() for name in one.publish}
    assert of["/lab/recorder"].subscribe - {"/clock"} == {
        name for node, one in of.items() if node != "/lab/recorder" for name in one.publish
    }
    for node, one in of.items():
        ours = {name for name in one.publish if name.startswith("/lab")}
        others = {name for name in published if not name.startswith("/lab")}
        assert ours, node
        assert others <= {"/tf", "/tf_static", "/diagnostics", "/parameter_events", "/rosout"}


PERSONAL = ("image", "image/compressed", "pose2d", "pose3d", "heart_rate", "pulse_wave", "overlay")


def test_few_may_read_of_people() -> None:
    """Images, poses and heart rates: nobody may read them who has no use for them."""
    of = allowed_in("everything", **LARGE["everything"])
    readers = {
        node: sorted(
            name for name in one.subscribe if name.strip("/").removeprefix("refined/") in PERSONAL
        )
        for node, one in of.items()
    }
    assert {node: names for node, names in readers.items() if names} == {
        "/rppg": ["/image", "/image/compressed"],
        "/visualizer": ["/heart_rate", "/pose2d", "/pose3d", "/refined/pose2d", "/refined/pose3d"],
    }


def test_a_policy_is_of_the_form_that_sros2_reads(tmp_path: Path) -> None:
    """Enclaves with profiles with rules, nothing denied in words, each process its own enclave."""
    path = tmp_path / "policy.xml"
    words = ["radar_pose", "emulated:=true", "composed:=true", "namespace:=lab"]
    assert cli.main(["policy", *words, "--viewer", "--out", str(path)]) == 0
    root = ElementTree.parse(path).getroot()
    assert (root.tag, root.attrib) == ("policy", {"version": "0.2.0"})
    enclaves = {e.get("path"): e for e in root.findall("enclaves/enclave")}
    nodes = bringup.graph("radar_pose").nodes(
        {"emulated": True, "composed": True, "namespace": "lab"}
    )
    assert list(enclaves) == [*(node.enclave for node in nodes), "/viewer"]
    for node in nodes:
        at = node.words.index("--enclave")
        assert node.words[at + 1] == node.enclave and node.words.count("--enclave") == 1
    chain = enclaves["/lab/radar_chain"].findall("profiles/profile")
    assert [(p.get("ns"), p.get("node")) for p in chain] == [
        *(("/lab/radar_h", "radar_driver"), ("/lab/radar_h", "radar_preprocessor")),
        *(("/lab/radar_v", "radar_driver"), ("/lab/radar_v", "radar_preprocessor")),
        ("/lab", "mamba_pose"),
    ]
    rules = {(rule.tag, *rule.attrib.items()) for p in chain for rule in p}
    assert rules == {
        ("topics", ("publish", "ALLOW")),
        ("topics", ("subscribe", "ALLOW")),
        ("services", ("reply", "ALLOW")),
    }
    assert [e.text for e in chain[0].findall("topics[@subscribe]/topic")] == ["/clock"]
    viewer = {e.text for e in enclaves["/viewer"].iterfind(".//topics[@subscribe]/topic")}
    assert {"/lab/pose2d", "/lab/radar_h/heatmap", "/lab/markers"} < viewer


def test_what_a_bag_holds_may_be_published_again(tmp_path: Path) -> None:
    """By the replayer, and only that; a bag that is not there is said plainly."""
    with pytest.raises(BringupError, match="nothing"):
        permissions(
            NodeSpec("replayer", "replayer", parameters={"bag": str(tmp_path / "nothing")})
        )


# -- the nodes as they are -----------------------------------------------------------------------


Variant = tuple[str, dict[str, Any], bool]
"""A program, its parameters, and whether to activate it: some have all topics before that."""


def variants(folder: Path) -> Iterator[Variant]:
    """Yield what shows, taken together, every topic of each program that can be started here."""
    from faults.node_cases import NODES

    def of(case: str, **more: Any) -> Variant:
        own = folder / "_".join((case, *map(str, more.values())))
        own.mkdir()
        return NODES[case].node, {**NODES[case].parameters(own), **more}, True

    for case, known in NODES.items():
        if known.node not in ("hri_bridge", "viewer"):  # no topics of fixed names
            yield of(case)
    for case in ("pose_lifter", "visualizer"):
        yield of(case, heatmap_transport="compressed")
    for transport in ("raw", "compressed"):
        yield "camera_source", {"transport": transport}, False
    yield "radar_driver", {}, False
    yield "radar_driver", {"source": "uart", "config_file": "iwr1843_points.cfg"}, False
    yield "radar_emulator", {}, False
    yield "rig_emulator", {"views": "a b"}, False
    yield "uart_emulator", {}, False


@contextmanager
def node_at_work(program: str, parameters: dict[str, Any], activate: bool) -> Iterator[Any]:
    """A real node in this process, in a context of its own."""
    import rclpy
    from rclpy.parameter import Parameter

    from radar_pose_ros.nodes.base import SUCCESS
    from radar_pose_ros.nodes.composition import node_class

    context = rclpy.Context()
    rclpy.init(context=context)
    values = {"autostart": False, **parameters}
    node = node_class(program)(
        context=context,
        parameter_overrides=[Parameter(key, value=value) for key, value in values.items()],
    )
    try:
        assert node.trigger_configure() is SUCCESS, node.health.failure
        if activate:
            assert node.trigger_activate() is SUCCESS, node.health.failure
        yield node
    finally:
        node.release()
        node.destroy_node()
        rclpy.shutdown(context=context)


def names(node: Any) -> Permissions:
    """Return what a node has made for itself."""
    return Permissions(
        frozenset(p.topic_name for p in node.publishers),
        frozenset(s.topic_name for s in node.subscriptions),
        frozenset(s.service_name for s in node.services),
    )


@pytest.mark.ros
def test_nodes_have_the_topics_that_they_may_have(
    ros_environment: dict[str, str], tmp_path: Path
) -> None:
    """Over all parameters that choose topics: each that is allowed is there, and no other."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    real: dict[str, Permissions] = {}
    allowed: dict[str, Permissions] = {}
    for program, parameters, activate in variants(tmp_path):
        may = permissions(NodeSpec(program, program, parameters=parameters))
        allowed[program] = allowed.get(program, Permissions()) | may
        with node_at_work(program, parameters, activate) as node:
            real[program] = real.get(program, Permissions()) | names(node)
    assert real.keys() == PROGRAMS - {"hri_bridge", "recorder", "replayer", "viewer"}
    for program, one in real.items():
        own = allowed[program]
        by_rcl = {"/rosout", "/clock", f"/{program}/transition_event"}
        assert one.publish == own.publish - by_rcl, program
        assert one.subscribe == own.subscribe - by_rcl, program
        assert one.reply <= own.reply, program


@pytest.mark.ros
def test_what_every_node_has(ros_environment: dict[str, str]) -> None:
    """Also what ROS itself makes for it: its log, its services, the clock of simulations."""
    import time

    values = {"views": "a b", "use_sim_time": True}
    may = permissions(NodeSpec("visualizer", "visualizer", parameters=values))
    with node_at_work("visualizer", values, True) as node:
        of = (node.get_name(), node.get_namespace())
        for _ in range(50):  # until the middleware has told the node of itself
            has = Permissions(
                frozenset(name for name, _ in node.get_publisher_names_and_types_by_node(*of)),
                frozenset(name for name, _ in node.get_subscriber_names_and_types_by_node(*of)),
                frozenset(name for name, _ in node.get_service_names_and_types_by_node(*of)),
            )
            if has.publish == may.publish and has.reply == may.reply:
                break
            time.sleep(0.1)
    assert has.publish == may.publish and has.reply == may.reply
    assert has.subscribe == may.subscribe - {
        f"/{radar}/heatmap/compressed" for radar in ("radar_h", "radar_v")
    }


@pytest.mark.ros
def test_what_reads_and_plays_everything(ros_environment: dict[str, str], tmp_path: Path) -> None:
    """Recorder and replayer: of their own they have what every node has."""
    from radar_pose_ros.recording import BagWriter

    with node_at_work("recorder", {"bag": str(tmp_path / "new")}, False) as node:
        assert names(node).subscribe == frozenset()
        assert names(node).publish <= permissions(NodeSpec("recorder", "recorder")).publish
    bag = tmp_path / "old"
    writer = BagWriter(str(bag))
    for topic in ("/lab/one", "/two"):
        writer.add_topic(topic, "std_msgs/msg/Bool", reliable=True, latched=False)
        writer.write(topic, 1_000_000_000, b"\0\1\0\0\1")
    writer.close()
    for values in ({"bag": str(bag)}, {"bag": str(bag), "topics": "one"}):
        may = permissions(NodeSpec("replayer", "replayer", parameters=values))
        with node_at_work("replayer", values, False) as node:
            assert names(node).publish == may.publish - {"/rosout", "/replayer/transition_event"}
            assert ("/two" in may.publish) is (
                "topics" not in values
            ) and "/lab/one" in may.publish


@pytest.mark.ros
def test_what_is_told_of_bodies(ros_environment: dict[str, str]) -> None:
    """Topics below /humans bear the ids of people: a star stands for them."""
    from faults.bench import Bench
    from faults.node_cases import NODES, hri_msgs

    may = permissions(NodeSpec("hri_bridge", "hri_bridge")).publish
    patterns = {name for name in may if name.startswith("/humans")} | {"/tf"}
    with hri_msgs(), Bench("hri_bridge", {}) as bench:
        bench.start()
        assert bench.subscriptions.keys() == {"pose2d", "pose3d"}
        for topic in ("pose2d", "pose3d"):
            bench.deliver(topic, NODES["hri_bridge"].valid(topic, 1))
        sent = {message.topic for message in bench.take_sent()}
    for topic in sent:
        assert any(fnmatch.fnmatch(topic, pattern) for pattern in patterns), topic
    for pattern in patterns:
        assert fnmatch.filter(sent, pattern), pattern
