"""Who reads a topic: nodes that compute with it, and those that only look on."""

from __future__ import annotations

import re

from rclpy.node import Node

# By the names that they have unless somebody renames them: who records (this package, rosbag2) or
# shows, ROS's command line, and whoever the middleware has found without a name so far.
_ONLOOKERS = re.compile(r"\w*recorder|viewer|rviz2?|rqt_gui_\w+|foxglove_bridge|_.*")


def readers(node: Node, topic: str) -> list[str]:
    """Return the names of the nodes that read a topic now, in order, without their namespaces."""
    return sorted({end.node_name for end in node.get_subscriptions_info_by_topic(topic)})


def computes(name: str) -> bool:
    """Return whether a node of this name does more with what it reads than to keep or show it."""
    return _ONLOOKERS.fullmatch(name) is None
