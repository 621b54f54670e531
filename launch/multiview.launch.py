"""Cameras that fire when they like, and a person in space.

    ros2 launch radar_pose_ros multiview.launch.py emulated:=true     no cameras needed
    ros2 launch radar_pose_ros multiview.launch.py                    poses of your own detectors
    ros2 launch radar_pose_ros multiview.launch.py detector:=FILE     images of your own cameras
    ros2 launch radar_pose_ros multiview.launch.py --show-args        all arguments

The graph itself is data in `radar_pose_ros.bringup`, which `radar-pose up multiview` reads too.
"""

from launch import LaunchDescription

from radar_pose_ros.nodes.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Return the graph's arguments, its nodes, and RViz if asked for."""
    return describe("multiview")
