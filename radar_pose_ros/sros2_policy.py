"""A graph's policy for SROS2: what each node may publish, read and answer; all else is denied.

``config/sros2/nodes.yaml`` says it by node. Here names get the namespaces and remappings of a
graph, and what comes out is what ``ros2 security generate_artifacts`` takes. Needs no ROS.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import yaml

from radar_pose_ros import resources
from radar_pose_ros.graphs import BringupError, NodeSpec
from radar_pose_ros.nodes import parameters

EVERYTHING, OF_BAG, VIEW = "everything", "bag", "{view}"
VIEWER = NodeSpec("viewer", "viewer")
"""What `radar-pose view` starts beside a graph."""


@dataclass(frozen=True)
class Permissions:
    """Names of topics to publish and to subscribe to, and of services to answer."""

    publish: frozenset[str] = frozenset()
    subscribe: frozenset[str] = frozenset()
    reply: frozenset[str] = frozenset()

    def __or__(self, other: Permissions) -> Permissions:
        return Permissions(
            self.publish | other.publish,
            self.subscribe | other.subscribe,
            self.reply | other.reply,
        )


@lru_cache
def declared() -> Mapping[str, Permissions]:
    """Return what ``nodes.yaml`` says of each program, with what every node has."""
    content = yaml.safe_load(resources.find("config", "sros2", "nodes.yaml").read_text("utf-8"))
    read = {
        name: Permissions(**{kind: frozenset(names) for kind, names in kinds.items()})
        for name, kinds in content.items()
    }
    every = read.pop("every_node")
    return {name: every | of for name, of in read.items()}


def permissions(node: NodeSpec, everything: Iterable[str] = ()) -> Permissions:
    """Return what a node may do, by full names.

    Parameters
    ----------
    node : NodeSpec
        One node, of no others made.
    everything : iterable of str
        What the other nodes of its graph publish.
    """
    of = declared()[node.executable]
    bag = _topics_of_bag(node) if OF_BAG in of.publish else []
    stands_for = {EVERYTHING: sorted(everything), OF_BAG: bag}
    views = _views(node)

    def full(names: Iterable[str]) -> frozenset[str]:
        filled = [name for raw in names for name in stands_for.get(raw, _each_view(raw, views))]
        return frozenset(_full(node, name) for name in filled)

    return Permissions(full(of.publish), full(of.subscribe), full(of.reply))


def _each_view(name: str, views: Sequence[str]) -> list[str]:
    return [name.replace(VIEW, view) for view in views] if VIEW in name else [name]


def _views(node: NodeSpec) -> list[str]:
    specs = parameters.load(node.executable)
    if "views" not in specs:
        return []
    return str(node.parameters.get("views", specs["views"].default)).split()


def _topics_of_bag(node: NodeSpec) -> list[str]:
    """Return the topics that `replayer` plays."""
    from radar_pose_ros import recording  # takes a while, and other graphs do without

    try:
        with recording.BagReader(str(node.parameters["bag"])) as reader:
            held = [topic.name for topic in reader.details if topic.count]
    except (recording.RecordingError, OSError) as error:
        raise BringupError(str(error)) from error
    wanted = str(node.parameters.get("topics", "")).split()
    return [
        f"/{name.lstrip('/')}" for name in held if not wanted or recording.is_named(name, wanted)
    ]


def _full(node: NodeSpec, name: str) -> str:
    """Return a name as it is in the graph, remapped."""
    renamed = dict(node.remappings).get(name, name)
    if renamed.startswith("/"):
        return renamed
    if renamed.startswith("~/"):
        return f"/{node.label}{renamed[1:]}"
    return "/".join(("", *filter(None, (node.namespace.strip("/"), renamed))))


def graph_permissions(nodes: Sequence[NodeSpec]) -> dict[str, dict[str, Permissions]]:
    """Return what each node of a graph may do, by enclave and the node's full name.

    A process has one enclave, whose keys and permissions all of its nodes share.
    """
    each = [part for node in nodes for part in node.each]
    published = {
        part.label: permissions(part).publish for part in each if part.executable != "recorder"
    }
    found: dict[str, dict[str, Permissions]] = {}
    for node in nodes:
        for part in node.each:
            others = (names for label, names in published.items() if label != part.label)
            everything = frozenset().union(*others)
            of = permissions(part, everything)
            found.setdefault(node.enclave, {})[f"/{part.label}"] = of
    return found


def policy(nodes: Sequence[NodeSpec]) -> str:
    """Return a graph's policy in the XML of SROS2, version 0.2.0."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<policy version="0.2.0">', "  <enclaves>"]
    for enclave, members in graph_permissions(nodes).items():
        lines += [f'    <enclave path="{html.escape(enclave)}">', "      <profiles>"]
        for name, of in members.items():
            namespace, _, own_name = name.rpartition("/")
            attributes = f'ns="{html.escape(namespace or "/")}" node="{html.escape(own_name)}"'
            lines.append(f"        <profile {attributes}>")
            lines += _rule("topic", "publish", of.publish)
            lines += _rule("topic", "subscribe", of.subscribe)
            lines += _rule("service", "reply", of.reply)
            lines.append("        </profile>")
        lines += ["      </profiles>", "    </enclave>"]
    return "\n".join([*lines, "  </enclaves>", "</policy>", ""])


def _rule(kind: str, what: str, names: Iterable[str]) -> list[str]:
    inside = [f"            <{kind}>{html.escape(name)}</{kind}>" for name in sorted(names)]
    if not inside:
        return []
    return [f'          <{kind}s {what}="ALLOW">', *inside, f"          </{kind}s>"]
