"""Graphs as launch descriptions, for ROS's own launch; where that is missing, see `bringup.up`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from radar_pose_ros import resources
from radar_pose_ros.bringup import graph, prepared
from radar_pose_ros.graph_runner import BACKOFF_S, STOP_TIMEOUT_S, supervised
from radar_pose_ros.graphs import BringupError, NodeSpec
from radar_pose_ros.leaving import EXIT_USAGE

SIGTERM_AFTER_S = STOP_TIMEOUT_S - 0.8  # after SIGINT, for whoever was not told


def node_action(node: NodeSpec) -> Node:
    """Return the launch action that starts a process."""
    return Node(
        package="radar_pose_ros",
        executable=node.executable,
        additional_env={**node.environment, **supervised()},
        output="screen",
        respawn=not node.ends_graph,
        respawn_delay=BACKOFF_S[0],
        sigterm_timeout=str(SIGTERM_AFTER_S),
        sigkill_timeout=str(STOP_TIMEOUT_S - SIGTERM_AFTER_S),
        on_exit=_after(node),
        **({"arguments": node.words} if node.parts else _of_one_node(node)),
    )


def _of_one_node(node: NodeSpec) -> dict[str, Any]:
    """Return how launch is told of a node; a namespace that was pushed comes before its own.

    Parameters go the way they go under `GraphRunner`: from those that launch itself writes to a
    file, ROS would take another value where a file of the user has one for all nodes.
    """
    return {
        "name": node.name,
        "namespace": node.namespace,
        "remappings": list(node.remappings),
        "ros_arguments": [*node.enclave_words, *node.parameter_words, *node.log_words],
    }


def _after(
    node: NodeSpec,
) -> Callable[[ProcessExited, LaunchContext], list[LaunchDescriptionEntity]]:
    """Return what happens when a process has ended: as `GraphRunner` does it."""

    def react(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        code = event.returncode
        if context.is_shutdown or not (node.ends_graph or code == EXIT_USAGE):
            return []
        if code:  # that is how launch itself ends with an exit code
            raise BringupError(f"{node.label} ended with code {code}")
        return [Shutdown(reason=f"{node.label} has ended")]

    return react


def actions(context: LaunchContext, name: str) -> list[LaunchDescriptionEntity]:
    """Return a graph's nodes for the arguments that were given, and RViz if that was asked for."""
    names = [argument.name for argument in graph(name).arguments]
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    nodes, notes = prepared(name, (), given)
    rviz = LaunchConfiguration("rviz").perform(context).lower() == "true"
    # What is computed again from a bag looks as it did, but for the clock.
    shown = name if given.get("of", "radar_pose") == "radar_pose" else given["of"]
    return [
        *(LogInfo(msg=note) for note in notes),
        *(node_action(node) for node in nodes),
        *([rviz_action(shown, given)] if rviz else []),
    ]


def rviz_action(name: str, given: Mapping[str, str]) -> Node:
    """Return the action that starts RViz with a graph's file, whose topics are relative."""
    path = resources.share_directory() / "rviz" / f"{name}.rviz"
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=given["namespace"].strip("/"),
        parameters=[{"use_sim_time": given["use_sim_time"].lower() == "true"}],
        arguments=["-d", str(path)],
    )


def text(value: bool | int | float | str) -> str:
    """Return a default as launch wants it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe(name: str) -> LaunchDescription:
    """Return a graph's arguments, its nodes, and RViz with the file of its name if asked for."""
    arguments = [
        DeclareLaunchArgument(
            a.name,
            default_value=text(a.default),
            description=a.description,
            choices=a.choices or None,
        )
        for a in graph(name).arguments
    ]
    rviz = DeclareLaunchArgument(
        "rviz", default_value="false", description="Start RViz too.", choices=["true", "false"]
    )
    return LaunchDescription([*arguments, rviz, OpaqueFunction(function=actions, args=[name])])
