"""A bag in place of sensors, and what is computed again from it.

    ros2 launch radar_pose_ros replay.launch.py bag:=my_bag                     from heatmaps on
    ros2 launch radar_pose_ros replay.launch.py bag:=my_bag from_level:=adc     from raw samples on
    ros2 launch radar_pose_ros replay.launch.py bag:=my_bag of:=heart_rate      from images on
    ros2 launch radar_pose_ros replay.launch.py --show-args                     all arguments

The graph itself is data in `radar_pose_ros.bringup`, which `radar-pose up replay` reads too.
"""

from launch import LaunchDescription

from radar_pose_ros.nodes.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Return the graph's arguments, its nodes, and RViz if asked for."""
    return describe("replay")
