"""Fixed transforms of the rig on /tf_static.

Where tf2_ros is installed its broadcaster is used; elsewhere the same message goes out on the same
topic with the same quality of service.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.node import Node

from radar_pose_ros.nodes.base import LATCHED
from radar_pose_ros.nodes.convert import header


def transform_message(
    parent: str,
    child: str,
    translation_m: Sequence[float],
    quaternion_xyzw: Sequence[float],
    stamp_ns: int,
) -> TransformStamped:
    """Return the transform that places the frame `child` in the frame `parent`."""
    x, y, z = (float(v) for v in translation_m)
    qx, qy, qz, qw = (float(v) for v in quaternion_xyzw)
    return TransformStamped(
        header=header(stamp_ns, parent),
        child_frame_id=child,
        transform=Transform(
            translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw)
        ),
    )


class StaticTransforms:
    """Publish fixed transforms, once, for every present and later reader."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher: Any = None
        self._broadcaster: Any = None
        if find_spec("tf2_ros"):
            from tf2_ros import StaticTransformBroadcaster

            self._broadcaster = StaticTransformBroadcaster(node)
        else:
            from tf2_msgs.msg import TFMessage

            self._message_type = TFMessage
            self._publisher = node.create_publisher(TFMessage, "/tf_static", LATCHED)

    def send(self, transforms: Sequence[TransformStamped]) -> None:
        """Publish these transforms; they replace the ones sent before."""
        if self._broadcaster is not None:
            self._broadcaster.sendTransform(list(transforms))
        else:
            self._publisher.publish(self._message_type(transforms=list(transforms)))

    def close(self) -> None:
        """Take the publisher away."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None
