"""Notices readers and writers of a topic whose quality of service keeps them apart.

The middleware only does not connect them, and silence on a topic can mean anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible, qos_policy_name_from_kind
from rclpy.topic_endpoint_info import TopicEndpointInfo

from radar_pose_ros.nodes.health import Health


class QualityWatch:
    """Says in log and diagnostics that a reader or a writer is out of reach, while it is there.

    Parameters
    ----------
    node : Node
        Whose publishers and subscriptions it is about.
    health : Health
        Of this node.
    """

    def __init__(self, node: Node, health: Health) -> None:
        self._node, self._health = node, health
        # By topic, and whether others publish there.
        self._apart: dict[tuple[str, bool], str] = {}

    def of_subscription(self, topic: str) -> SubscriptionEventCallbacks:
        """Return what to create a subscription with."""
        told = partial(self._tell, self._node.resolve_topic_name(topic), True)
        return SubscriptionEventCallbacks(incompatible_qos=told)

    def of_publisher(self, topic: str) -> PublisherEventCallbacks:
        """Return what to create a publisher with."""
        told = partial(self._tell, self._node.resolve_topic_name(topic), False)
        return PublisherEventCallbacks(incompatible_qos=told)

    def _tell(self, topic: str, others_publish: bool, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        sentence = (
            f"{topic}: somebody publishes there with another {policy} than this node asks for: "
            "nothing is heard of that"
            if others_publish
            else f"{topic}: somebody asks there for another {policy} than this node offers: "
            "nothing gets there"
        )
        self._apart[topic, others_publish] = sentence
        self._health.warn(_key(topic, others_publish), sentence, log=False)
        self._node.get_logger().warning(sentence)

    def forget_those_who_left(self) -> None:
        """End the warnings of those that are no longer there; call it now and then."""
        for topic, others_publish in [*self._apart]:
            offered = self._node.get_publishers_info_by_topic(topic)
            wanted = self._node.get_subscriptions_info_by_topic(topic)
            if others_publish:
                wanted = self._own(wanted)
            else:
                offered = self._own(offered)
            if not any(_are_apart(*pair) for pair in itertools.product(offered, wanted)):
                sentence = self._apart.pop((topic, others_publish))
                self._health.warn(_key(topic, others_publish), "")
                self._node.get_logger().info(f"over: {sentence}")

    def _own(self, found: Sequence[TopicEndpointInfo]) -> list[TopicEndpointInfo]:
        """Return what belongs to the node itself."""
        own = (self._node.get_name(), self._node.get_namespace())
        return [end for end in found if (end.node_name, end.node_namespace) == own]


def _key(topic: str, others_publish: bool) -> str:
    return f"{'publisher' if others_publish else 'subscriber'} of {topic}"


def _are_apart(offered: TopicEndpointInfo, wanted: TopicEndpointInfo) -> bool:
    found, _ = qos_check_compatible(offered.qos_profile, wanted.qos_profile)
    return found == QoSCompatibility.ERROR
