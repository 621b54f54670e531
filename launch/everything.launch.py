"""Radars, cameras and a face camera in one graph.

    ros2 launch radar_pose_ros everything.launch.py emulated:=true     no hardware needed
    ros2 launch radar_pose_ros everything.launch.py cameras:=false     without one of the parts
    ros2 launch radar_pose_ros everything.launch.py emulated:=true face_source:=face.mp4
    ros2 launch radar_pose_ros everything.launch.py --show-args        all arguments

The graph itself is data in `radar_pose_ros.bringup`, which `radar-pose up everything` reads too.
"""

from launch import LaunchDescription

from radar_pose_ros.nodes.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Return the graph's arguments, its nodes, and RViz if asked for."""
    return describe("everything")
