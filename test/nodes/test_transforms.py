"""Transforms out and in, with and without tf2_ros, which the wheels do not have."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from radar_pose_ros.vision.camera import PinholeCamera

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


CAMERA = PinholeCamera.looking_at((3.0, -2.0, 1.5), (0.0, 0.2, 1.0), 600.0, (640, 480), 0.1)


def test_a_camera_goes_out_and_comes_in_as_it_was(ros_environment: dict[str, str]) -> None:
    """Over /tf_static and /tf, through the rig's frame; what cannot be used harms nothing else."""
    from tf2_msgs.msg import TFMessage

    from radar_pose_ros.nodes.convert import InvalidMessageError
    from radar_pose_ros.nodes.transforms import (
        TransformReader,
        camera_transform,
        transform_message,
    )

    takes: dict[str, Callable[[Any], None]] = {}
    node = SimpleNamespace(subscribe=lambda kind, topic, qos, take: takes.update({topic: take}))
    reader = TransformReader(node)
    assert sorted(takes) == ["/tf", "/tf_static"]
    good = camera_transform("rig", "eye", CAMERA, 10**18)
    bad = camera_transform("rig", "ear", CAMERA, 10**18)
    bad.transform.rotation.w += 1.0
    with pytest.raises(InvalidMessageError, match="quaternion of length 1"):
        takes["/tf_static"](TFMessage(transforms=[bad, good]))
    with pytest.raises(ValueError, match="there is no frame 'map'"):
        reader.where("eye", "map")
    moved = transform_message("map", "rig", (10.0, 0.0, 0.0), (0.0, 0.0, np.pi / 2), 10**18)
    takes["/tf"](TFMessage(transforms=[moved]))
    found = reader.where("eye", "map")
    x, y, z = CAMERA.position_m
    np.testing.assert_allclose(found.translation_m, [10.0 - y, x, z], atol=1e-12)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(found.rotation, turn @ CAMERA.rotation.T, atol=1e-9)
    reader.close()


def test_the_listener_of_tf2_ros_is_used_and_taken_away(
    monkeypatch: pytest.MonkeyPatch, ros_environment: dict[str, str]
) -> None:
    from radar_pose_ros.nodes.transforms import TransformReader, camera_transform

    class TransformException(Exception):  # noqa: N818
        pass

    closed = []

    class Buffer:
        def lookup_transform(self, target: str, source: str, time: Any) -> Any:
            if (target, source, time.nanoseconds) != ("map", "eye", 0):
                raise TransformException("no such frame")
            return camera_transform("map", "eye", CAMERA, 10**18)

    module = ModuleType("tf2_ros")
    module.__spec__ = ModuleSpec("tf2_ros", None)
    module.Buffer, module.TransformException = Buffer, TransformException
    module.TransformListener = lambda buffer, node: SimpleNamespace(
        unregister=lambda: closed.append(node)
    )
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    reader = TransformReader("the node")
    found = reader.where("eye", "map")
    np.testing.assert_allclose(found.rotation, CAMERA.rotation.T, atol=1e-9)
    with pytest.raises(ValueError, match="no such frame"):
        reader.where("ear", "map")
    reader.close()
    reader.close()
    assert closed == ["the node"]
