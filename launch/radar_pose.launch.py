"""Two radars, real or emulated, and the 2D pose that milliMamba sees in them.

    ros2 launch radar_pose_ros radar_pose.launch.py emulated:=true     no hardware needed
    ros2 launch radar_pose_ros radar_pose.launch.py                    two real boards
    ros2 launch radar_pose_ros radar_pose.launch.py --show-args        all arguments

The graph itself is data in `radar_pose_ros.bringup`, which `radar-pose up radar_pose` reads too.
"""

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from radar_pose_ros import resources
from radar_pose_ros.bringup import BACKOFF_S, NodeSpec, graph

GRAPH = graph("radar_pose")


def node_action(node: NodeSpec) -> Node:
    """Return the launch action that starts a node."""
    return Node(
        package="radar_pose_ros",
        executable=node.executable,
        name=node.name,
        namespace=node.namespace,
        parameters=[dict(node.parameters)] if node.parameters else [],
        remappings=list(node.remappings),
        additional_env=dict(node.environment),
        output="screen",
        respawn=True,
        respawn_delay=BACKOFF_S[0],
    )


def node_actions(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the graph's nodes for the arguments that were given."""
    given = {a.name: LaunchConfiguration(a.name).perform(context) for a in GRAPH.arguments}
    return [node_action(node) for node in GRAPH.nodes(given)]


def text(value: bool | int | float | str) -> str:
    """Return a default as launch wants it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def generate_launch_description() -> LaunchDescription:
    """Return the graph's arguments, its nodes, and RViz if asked for."""
    arguments = [
        DeclareLaunchArgument(a.name, default_value=text(a.default), description=a.description)
        for a in GRAPH.arguments
    ]
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(resources.share_directory() / "rviz" / "radar_pose.rviz")],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription(
        [
            *arguments,
            DeclareLaunchArgument("rviz", default_value="false", description="Start RViz too."),
            OpaqueFunction(function=node_actions),
            rviz,
        ]
    )
