"""Fixed transforms with tf2_ros in place, which the wheels do not have."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

pytestmark = pytest.mark.ros


def test_the_broadcaster_of_tf2_ros_is_used_and_taken_away(
    monkeypatch: pytest.MonkeyPatch, ros_environment: dict[str, str]
) -> None:
    """R3: nothing stays behind, although tf2_ros offers no way to close a broadcaster."""
    from radar_pose_ros.nodes.transforms import StaticTransforms, transform_message

    sent, destroyed = [], []

    class Broadcaster:
        def __init__(self, node: object) -> None:
            self.pub_ = "the publisher"

        def sendTransform(self, transforms: list) -> None:  # noqa: N802
            sent.append(transforms)

    module = ModuleType("tf2_ros")
    module.__spec__ = ModuleSpec("tf2_ros", None)
    module.StaticTransformBroadcaster = Broadcaster
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    transforms = StaticTransforms(SimpleNamespace(destroy_publisher=destroyed.append))
    message = transform_message("map", "radar_rig", (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), 10**18)
    transforms.send((message,))
    transforms.close()
    transforms.close()
    assert sent == [[message]]
    assert destroyed == ["the publisher"]
