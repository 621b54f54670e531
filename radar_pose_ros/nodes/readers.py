"""Who reads a topic: nodes that compute with it, and those that only look on."""

from __future__ import annotations

import re

from rclpy.node import Node

# By the names that they have unless somebody renames them: who records (this package, rosbag2) or
# shows, and ROS's command line, whose nodes are called _something.
_ONLOOKERS = re.compile(r"\w*recorder|viewer|rviz2?|rqt_gui_\w+|foxglove_bridge|_.*")


def readers(node: Node, topic: str) -> list[str]:
    """Return the names of the nodes that read a topic now, in order, without their namespaces.

    Those that the middleware has found without a name so far are left out.
    """
    names = {end.node_name for end in node.get_subscriptions_info_by_topic(topic)}
    return sorted(names - {"_NODE_NAME_UNKNOWN_"})


def computes(name: str) -> bool:
    """Return whether a node of this name does more with what it reads than to keep or show it."""
    return _ONLOOKERS.fullmatch(name) is None
