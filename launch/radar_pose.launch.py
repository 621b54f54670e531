"""Two radars, real or emulated, and the 2D pose that milliMamba sees in them.

    ros2 launch radar_pose_ros radar_pose.launch.py emulated:=true     no hardware needed
    ros2 launch radar_pose_ros radar_pose.launch.py                    two real boards
    ros2 launch radar_pose_ros radar_pose.launch.py --show-args        all arguments

The graph itself is data in `radar_pose_ros.bringup`, which `radar-pose up radar_pose` reads too.
"""

from launch import LaunchDescription

from radar_pose_ros.nodes.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Return the graph's arguments, its nodes, and RViz if asked for."""
    return describe("radar_pose")
