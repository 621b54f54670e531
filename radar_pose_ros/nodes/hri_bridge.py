"""Node hri_bridge: poses of people as ROS4HRI (REP-155) has them; needs the package hri_msgs."""

from __future__ import annotations

import re
import sys
import time
from importlib import import_module
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert, hri_messages
from radar_pose_ros.nodes.base import RELIABLE, SENSOR_DATA, ManagedNode, run
from radar_pose_ros.nodes.hri_messages import Bodies, Body
from radar_pose_ros.nodes.people import Person
from radar_pose_ros.skeleton import human_frames, mapping
from radar_pose_ros.skeleton.definitions import H36M17, SKELETONS, Skeleton

BODIES = "/humans/bodies"
PREFIX = re.compile("[A-Za-z][A-Za-z0-9]*")
LOOK_S = 0.1  # how often bodies are forgotten
WITHOUT_ID = "people without an id among several"
WITHOUT_PLACE = "people whose place is not known"
WITHOUT_FRAME = "bodies without a frame: hips or neck are not known"


class HriBridge(ManagedNode):
    """Publishes bodies below ``/humans``; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("hri_bridge", **node_arguments)
        self._outputs: dict[str, dict[str, Any]] = {}  # publishers, by id and topic
        self._timer: Any = None

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Look for hri_msgs, and create what does not depend on who is there."""
        try:
            self._kinds = import_module("hri_msgs.msg")
        except ImportError:
            raise RuntimeError(
                "the package hri_msgs, which the messages of REP-155 come from, is not installed "
                "or not sourced"
            ) from None
        prefix = self.values.id_prefix
        if not PREFIX.fullmatch(prefix):
            raise ValueError(f"id_prefix: want letters and digits after a letter, got {prefix!r}")
        self._tracked = self.create_publisher(self._kinds.IdsList, f"{BODIES}/tracked", RELIABLE)
        self._frames = self.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))

    def activate(self) -> None:
        """Listen to poses, and forget people whom nobody sees."""
        v = self.values
        self._bodies = Bodies(v.id_prefix)
        for topic in ("pose2d", "pose3d"):
            self.health.watch(topic)
        self.health.watch("input", v.input_timeout_s)
        self.subscribe(msg.HumanPose2DArray, "pose2d", SENSOR_DATA, self._take_in_image)
        self.subscribe(msg.HumanPose3DArray, "pose3d", SENSOR_DATA, self._take_in_space)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(LOOK_S, self._forget, clock=steady)

    def deactivate(self) -> None:
        """Nobody is tracked any longer."""
        timer, self._timer = self._timer, None
        if timer is not None:
            self.destroy_timer(timer)
            self._bodies = Bodies(self.values.id_prefix)
            self._tell(self.get_clock().now().to_msg())
        for body_id in list(self._outputs):
            self._close(body_id)

    def cleanup(self) -> None:
        """Take the publishers away."""
        self.drop_publishers("_tracked", "_frames")

    # -- poses -------------------------------------------------------------------------------

    def _take_in_image(self, message: msg.HumanPose2DArray) -> None:
        size_px = (message.image_width, message.image_height)
        convert.require(min(size_px) > 0, "image of unknown size", f"{size_px}")
        skeleton = _known(message.skeleton)
        head = message.header
        for body, person in self._see(True, message, skeleton):
            self._publish(
                body,
                skeleton2d=hri_messages.skeleton2d(self._kinds, head, skeleton, person, size_px),
                roi=hri_messages.region(self._kinds, head, person, size_px),
            )

    def _take_in_space(self, message: msg.HumanPose3DArray) -> None:
        skeleton = _known(message.skeleton)
        convert.require(bool(message.header.frame_id.strip("/")), "pose without a frame")
        transforms = []
        for body, person in self._see(False, message, skeleton):
            joints_m = mapping.convert(person.keypoints, skeleton.name, H36M17.name)
            place = human_frames.body_frame(joints_m)
            self.health.count(WITHOUT_FRAME, place is None)
            if place is None:
                continue
            links = human_frames.frames(joints_m) if self.values.joint_frames else {}
            transforms += hri_messages.transforms(message.header, body.id, place, links)
            angles = human_frames.angles(joints_m)
            states = hri_messages.joint_states(message.header, body.id, angles)
            self._publish(body, joint_states=states)
        if transforms:
            self._frames.publish(TFMessage(transforms=transforms))

    def _see(self, planar: bool, message: Any, skeleton: Skeleton) -> list[tuple[Body, Person]]:
        """Return the bodies of the people in a message, and tell who is tracked."""
        people = convert.message_to_people(message, len(skeleton.joints))
        placed = [person for person in people if not person.root_relative]
        self.health.count(WITHOUT_PLACE, len(people) - len(placed))
        self.health.tick("pose2d" if planar else "pose3d")
        self.health.tick("input")
        seen, others = self._bodies.see(planar, message.model, placed, time.monotonic())
        self.health.drop(WITHOUT_ID, others)
        self._tell(message.header.stamp)
        return seen

    # -- output ------------------------------------------------------------------------------

    def _tell(self, stamp: Any) -> None:
        message = self._kinds.IdsList(ids=self._bodies.ids)
        message.header.stamp = stamp
        self._tracked.publish(message)
        self.health.show("bodies", " ".join(self._bodies.ids))

    def _publish(self, body: Body, **messages: Any) -> None:
        """Publish messages on topics of a body, which it has from its first message on."""
        outputs = self._outputs.setdefault(body.id, {})
        for topic, message in messages.items():
            if topic not in outputs:
                name = f"{BODIES}/{body.id}/{topic}"
                outputs[topic] = self.create_publisher(type(message), name, RELIABLE)
            outputs[topic].publish(message)

    def _forget(self) -> None:
        gone = self._bodies.forget(time.monotonic() - self.values.forget_s)
        for body_id in gone:
            self._close(body_id)
        if gone:
            self._tell(self.get_clock().now().to_msg())

    def _close(self, body_id: str) -> None:
        for publisher in self._outputs.pop(body_id, {}).values():
            self.destroy_publisher(publisher)


def _known(name: str) -> Skeleton:
    """Return a skeleton whose joints this package knows."""
    try:
        mapping.formulas(name, H36M17.name)
    except ValueError as error:
        raise convert.InvalidMessageError("skeleton cannot be used", str(error)) from None
    return SKELETONS[name]


def main() -> int:
    """Run the node."""
    return run(HriBridge)


if __name__ == "__main__":
    sys.exit(main())
