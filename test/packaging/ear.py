"""Listens to topics for a while and says what came; a program of test_security_live.py."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy

from radar_pose_ros import msg

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def main(seconds: float, topics: list[str], enclave: str) -> dict[str, Any]:
    """Return how many messages came on each topic, or why there is no subscription."""
    words = ["--ros-args", "--enclave", enclave] if enclave else []
    rclpy.init(args=words)
    # Called like the node that the enclave is for: its services have that in their names.
    node = rclpy.create_node(enclave.rpartition("/")[2] or "ear")
    heard: dict[str, Any] = {}

    def count(topic: str) -> Any:
        def take(_: Any) -> None:
            heard[topic] += 1

        return take

    for word in topics:
        topic, _, kind = word.partition(":")
        heard[topic] = 0
        try:
            node.create_subscription(getattr(msg, kind), topic, count(topic), BEST_EFFORT)
        except Exception as error:  # whatever the middleware says of what it denies
            heard[topic] = f"denied: {error}"
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        rclpy.spin_once(node, timeout_sec=0.1)
    return heard


if __name__ == "__main__":
    print("HEARD " + json.dumps(main(float(sys.argv[1]), sys.argv[3:], sys.argv[2])), flush=True)
