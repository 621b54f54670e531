"""Fixed transforms of the rig on /tf_static.

Where tf2_ros is installed its broadcaster is used; elsewhere the same message goes out on the same
topic with the same quality of service.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from math import pi
from typing import Any

from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.node import Node
from transforms3d.euler import euler2quat

from radar_pose_ros.nodes.base import LATCHED
from radar_pose_ros.nodes.convert import header
from radar_pose_ros.simulation.radar import RadarPlacement
from radar_pose_ros.skeleton.projection import CAMERA_FRAME, CAMERA_HEIGHT_M

WORLD_FRAME, RIG_FRAME = "map", "radar_rig"
CAMERA_EULER = (-pi / 2, 0.0, -pi / 2)  # an optical frame: z forward, x right, y down


def transform_message(
    parent: str,
    child: str,
    translation_m: Sequence[float],
    euler: Sequence[float],
    stamp_ns: int,
) -> TransformStamped:
    """Return the transform that places the frame `child` in the frame `parent`.

    ``euler`` are roll, pitch and yaw in rad about fixed axes, as in URDF.
    """
    w, x, y, z = (float(part) for part in euler2quat(*euler, axes="sxyz"))
    translation = Vector3(**dict(zip("xyz", map(float, translation_m), strict=True)))
    return TransformStamped(
        header=header(stamp_ns, parent),
        child_frame_id=child,
        transform=Transform(translation=translation, rotation=Quaternion(x=x, y=y, z=z, w=w)),
    )


def rig_transforms(placements: Sequence[RadarPlacement], stamp_ns: int) -> list[TransformStamped]:
    """Return where the rig, its virtual camera and its radars are."""
    nowhere = (0.0, 0.0, 0.0)
    camera_m = (0.0, 0.0, CAMERA_HEIGHT_M)
    return [
        transform_message(WORLD_FRAME, RIG_FRAME, nowhere, nowhere, stamp_ns),
        transform_message(RIG_FRAME, CAMERA_FRAME, camera_m, CAMERA_EULER, stamp_ns),
        *(
            transform_message(
                RIG_FRAME, p.frame_id, p.position_m, (p.roll, p.pitch, p.yaw), stamp_ns
            )
            for p in placements
        ),
    ]


class StaticTransforms:
    """Publish fixed transforms, once, for every present and later reader."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher: Any = None
        self._broadcaster: Any = None
        if find_spec("tf2_ros"):
            from tf2_ros import StaticTransformBroadcaster

            self._broadcaster = StaticTransformBroadcaster(node)
            self._publisher = self._broadcaster.pub_
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
            self._publisher = self._broadcaster = None
