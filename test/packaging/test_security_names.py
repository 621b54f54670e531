"""Names that come from a network or a file: none of them runs a module or leaves its namespace."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.ros

NO_MESSAGES = (
    *("idlelib/idle/X", "pip/__main__/X", "antigravity/msg/Flying", "std_msgs/srv/Header"),
    *("std_msgs/msg/__loader__", "std_msgs/msg/header", "std_msgs.msg/msg/Header", "os/path/join"),
    *(
        "std_msgs/msg",
        "std_msgs/msg/Header/more",
        "",
        "/msg/Header",
        "../x/msg/Header",
        "a b/msg/C",
    ),
)


@pytest.mark.parametrize("name", NO_MESSAGES)
def test_only_types_of_messages_are_imported(name: str) -> None:
    """A participant that advertises another, or a bag with one, makes nobody import a module."""
    from radar_pose_ros.nodes.recorder import message_type

    before = set(sys.modules)
    with pytest.raises(ImportError):
        message_type(name)
    new = {module.split(".")[0] for module in set(sys.modules) - before}
    assert new <= {"std_msgs"}


def test_a_message_is_imported() -> None:
    from radar_pose_ros.nodes.recorder import message_type

    assert message_type("std_msgs/msg/Header").__name__ == "Header"


NO_VIEWS = ("/cmd other", "~/own other", "a/../b c", "a b-c", "a {b}", "1st 2nd", "a " * 65, "é b")


@pytest.mark.parametrize("views", NO_VIEWS)
@pytest.mark.parametrize("program", ["densewarper", "rig_emulator", "visualizer"])
def test_views_stay_in_the_namespace(
    program: str, views: str, configured: Callable[..., str]
) -> None:
    """What topics begin with cannot be absolute, another node's, or thousands."""
    assert "views" in configured(program, views=views)


@pytest.fixture
def configured(ros_environment: dict[str, str]) -> Callable[..., str]:
    """Return what configures a node and gives what it failed with."""
    import rclpy
    from rclpy.parameter import Parameter

    from radar_pose_ros.nodes.base import FAILURE
    from radar_pose_ros.nodes.composition import node_class

    def run(program: str, **values: str) -> str:
        context = rclpy.Context()
        rclpy.init(context=context)
        overrides = [Parameter(key, value=value) for key, value in values.items()]
        overrides.append(Parameter("autostart", value=False))
        node = node_class(program)(context=context, parameter_overrides=overrides)
        try:
            assert node.trigger_configure() is FAILURE
            return str(node.health.failure)
        finally:
            node.release()
            node.destroy_node()
            rclpy.shutdown(context=context)

    return run
