"""A camera or a video file, and the heart rates of the faces in it.

    ros2 launch radar_pose_ros heart_rate.launch.py                     the first camera
    ros2 launch radar_pose_ros heart_rate.launch.py source:=face.mp4    a video file
    ros2 launch radar_pose_ros heart_rate.launch.py camera:=false       images of your own driver
    ros2 launch radar_pose_ros heart_rate.launch.py --show-args         all arguments

The graph itself is data in `radar_pose_ros.bringup`, which `radar-pose up heart_rate` reads too.
"""

from launch import LaunchDescription

from radar_pose_ros.nodes.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Return the graph's arguments, its nodes, and RViz if asked for."""
    return describe("heart_rate")
