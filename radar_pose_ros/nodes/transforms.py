"""Fixed transforms on /tf_static, and where frames are by /tf_static and /tf.

Where tf2_ros is installed its broadcaster and listener are used; elsewhere the same messages go
out and come in on the same topics with the same quality of service.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from math import pi
from typing import Any

from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from transforms3d.euler import euler2quat
from transforms3d.quaternions import mat2quat

from radar_pose_ros.nodes.base import LATCHED, ManagedNode
from radar_pose_ros.nodes.convert import InvalidMessageError, header
from radar_pose_ros.simulation.radar import RadarPlacement
from radar_pose_ros.skeleton.projection import CAMERA_FRAME, CAMERA_HEIGHT_M
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.frames import FrameTree, Placement, placement

WORLD_FRAME, RIG_FRAME = "map", "radar_rig"
# As tf2's listener has them: several nodes publish fixed transforms, of each the last message.
STATIC_TRANSFORMS = QoSProfile(
    depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
TRANSFORMS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
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
    return _message(parent, child, translation_m, euler2quat(*euler, axes="sxyz"), stamp_ns)


def camera_transform(
    parent: str, child: str, camera: PinholeCamera, stamp_ns: int
) -> TransformStamped:
    """Return the transform that places a camera's optical frame `child` in its world `parent`."""
    return _message(parent, child, camera.position_m, mat2quat(camera.rotation.T), stamp_ns)


def _message(
    parent: str, child: str, translation_m: Sequence[float], wxyz: Sequence[float], stamp_ns: int
) -> TransformStamped:
    w, x, y, z = (float(part) for part in wxyz)
    translation = Vector3(**dict(zip("xyz", map(float, translation_m), strict=True)))
    return TransformStamped(
        header=header(stamp_ns, parent),
        child_frame_id=child,
        transform=Transform(translation=translation, rotation=Quaternion(x=x, y=y, z=z, w=w)),
    )


def message_to_placement(message: TransformStamped) -> Placement:
    """Return where a transform places its child in its parent; `ValueError` if it cannot be."""
    shift, turn = message.transform.translation, message.transform.rotation
    return placement((shift.x, shift.y, shift.z), (turn.x, turn.y, turn.z, turn.w))


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


class TransformReader:
    """Says where frames are, as /tf_static and /tf told last.

    Parameters
    ----------
    node : ManagedNode
        About to be activated: what it listens to without tf2_ros ends with that.
    """

    def __init__(self, node: ManagedNode) -> None:
        self._tree = FrameTree()
        self._buffer: Any = None
        self._listener: Any = None
        if find_spec("tf2_ros"):
            from tf2_ros import Buffer, TransformListener

            self._buffer = Buffer()
            self._listener = TransformListener(self._buffer, node)
        else:
            from tf2_msgs.msg import TFMessage

            node.subscribe(TFMessage, "/tf_static", STATIC_TRANSFORMS, self._take)
            node.subscribe(TFMessage, "/tf", TRANSFORMS, self._take)

    def _take(self, message: Any) -> None:
        fault = ""
        for transform in message.transforms:
            try:
                self._tree.put(
                    transform.header.frame_id,
                    transform.child_frame_id,
                    message_to_placement(transform),
                )
            except ValueError as error:  # the others are as good as ever
                fault = str(error)
        if fault:
            raise InvalidMessageError("transform not usable", fault)

    def where(self, frame: str, other: str) -> Placement:
        """Return where a frame is in another one; `ValueError` says why that is not known."""
        if self._buffer is None:
            return self._tree.where(frame, other)
        from tf2_ros import TransformException

        try:
            return message_to_placement(self._buffer.lookup_transform(other, frame, Time()))
        except TransformException as error:
            raise ValueError(str(error)) from None

    def close(self) -> None:
        """Listen no longer."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.unregister()
