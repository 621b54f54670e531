"""A program that reads poses as any other machine's might, and prints when each of them came.

One line per message: its stamp, the time (both in ns), and how many people are in it.
"""

from __future__ import annotations

import time

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert


def main() -> None:
    """Print until this process is ended."""
    rclpy.init()
    node = rclpy.create_node("pose_watcher")

    def take(message: msg.HumanPose2DArray) -> None:
        stamp_ns = convert.to_nanoseconds(message.header.stamp)
        print(stamp_ns, time.time_ns(), len(message.poses), flush=True)

    reliable = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
    node.create_subscription(msg.HumanPose2DArray, "pose2d", take, reliable)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
