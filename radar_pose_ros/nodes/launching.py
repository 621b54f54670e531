"""Graphs as launch descriptions, for ROS's own launch; where that is missing, see `bringup.up`."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from radar_pose_ros import resources
from radar_pose_ros.bringup import BACKOFF_S, Graph, NodeSpec, graph


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
        respawn=not node.ends_graph,
        respawn_delay=BACKOFF_S[0],
        on_exit=[Shutdown(reason=f"{node.label} has ended")] if node.ends_graph else [],
    )


def node_actions(context: LaunchContext, of: Graph) -> list[LaunchDescriptionEntity]:
    """Return a graph's nodes for the arguments that were given."""
    given = {a.name: LaunchConfiguration(a.name).perform(context) for a in of.arguments}
    return [node_action(node) for node in of.nodes(given)]


def text(value: bool | int | float | str) -> str:
    """Return a default as launch wants it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe(name: str) -> LaunchDescription:
    """Return a graph's arguments, its nodes, and RViz with the file of its name if asked for."""
    of = graph(name)
    arguments = [
        DeclareLaunchArgument(a.name, default_value=text(a.default), description=a.description)
        for a in of.arguments
    ]
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(resources.share_directory() / "rviz" / f"{name}.rviz")],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription(
        [
            *arguments,
            DeclareLaunchArgument("rviz", default_value="false", description="Start RViz too."),
            OpaqueFunction(function=node_actions, args=[of]),
            rviz,
        ]
    )
