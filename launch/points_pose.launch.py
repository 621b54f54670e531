"""A radar that sends points, and people in space.

    ros2 launch radar_pose_ros points_pose.launch.py emulated:=true     no hardware needed
    ros2 launch radar_pose_ros points_pose.launch.py                    the only board on USB
    ros2 launch radar_pose_ros points_pose.launch.py --show-args        all arguments

The graph itself is data in `radar_pose_ros.bringup`, which `radar-pose up points_pose` reads too.
"""

from launch import LaunchDescription

from radar_pose_ros.nodes.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Return the graph's arguments, its nodes, and RViz if asked for."""
    return describe("points_pose")
