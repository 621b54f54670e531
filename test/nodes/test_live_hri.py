"""The bridge to ROS4HRI, live: poses in, bodies below /humans out."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from radar_pose_ros.skeleton import human_frames, mapping
from radar_pose_ros.skeleton.definitions import HUPR14

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros
needs_hri = pytest.mark.skipif(find_spec("hri_msgs") is None, reason="hri_msgs is not installed")


@pytest.mark.skipif(find_spec("hri_msgs") is not None, reason="hri_msgs is installed")
def test_without_hri_msgs_it_says_so(live: LiveGraph) -> None:
    """In one sentence, and does not configure itself; under `up` it ends with code 2."""
    live.environment["RADAR_POSE_EXIT_UNCONFIGURED"] = "1"
    process = live.start("hri_bridge")
    assert process.wait(60) == 2
    live.wait(lambda: "error: cannot configure" in live.log(process), what="a sentence")
    assert "hri_msgs" in live.log(process)


def joints_m(place: float) -> np.ndarray:
    """Return somebody's joints, (14, 3), upright and with a lifted forearm."""
    height = {"ankle": 0.1, "knee": 0.5, "hip": 0.9, "neck": 1.5, "head": 1.7}
    height |= {"shoulder": 1.45, "elbow": 1.2, "wrist": 0.95}
    joints = []
    for name in HUPR14.joints:
        side = 0.2 if name.startswith("left") else -0.2 if name.startswith("right") else 0.0
        joints.append((place, side, height[name.split("_")[-1]]))
    found = np.array(joints)
    found[HUPR14.index("left_wrist")] = found[HUPR14.index("left_elbow")] + (0.25, 0.0, 0.05)
    return found


@needs_hri
def test_bodies_come_with_their_topics_and_go(live: LiveGraph) -> None:
    """Ids persist and vanish; frames, angles and pixels are those of the poses."""
    from hri_msgs.msg import IdsList, Skeleton2D
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import JointState
    from tf2_msgs.msg import TFMessage

    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.people import Person

    process = live.start("hri_bridge", forget_s=1.0)
    qos = QoSProfile(depth=10)
    spatial = live.node.create_publisher(msg.HumanPose3DArray, "/pose3d", qos)
    planar = live.node.create_publisher(msg.HumanPose2DArray, "/pose2d", qos)
    tracked = live.collect(IdsList, "/humans/bodies/tracked", qos)
    frames = live.collect(TFMessage, "/tf", QoSProfile(depth=100))
    states = live.collect(JointState, "/humans/bodies/r3/joint_states", qos)
    skeletons = live.collect(Skeleton2D, "/humans/bodies/rp7/skeleton2d", qos)
    live.wait(spatial.get_subscription_count, what="a reader of pose3d")
    pixels = np.full((14, 2), 60.0)

    def people(message_type: type, keypoints: dict[int, np.ndarray], **about: Any) -> Any:
        head = convert.header(time.time_ns(), "radar_link")
        who = [Person(k, np.full(14, 0.5), 0.5, number) for number, k in keypoints.items()]
        return convert.people_to_message(message_type, who, head, skeleton="hupr14", **about)

    def publish(numbers: tuple[int, ...] = (3, 4)) -> bool:
        poses = {number: joints_m(float(number)) for number in numbers}
        spatial.publish(people(msg.HumanPose3DArray, poses, model="points"))
        size = {"image_width": 120, "image_height": 240}
        planar.publish(people(msg.HumanPose2DArray, {7: pixels}, model="test", **size))
        time.sleep(0.05)
        return bool(frames and states and skeletons)

    live.wait(publish, what="bodies")
    live.wait(lambda: publish() and set(tracked[-1].ids) == {"r3", "r4", "rp7"}, what="three ids")
    expected = mapping.convert(joints_m(3.0), "hupr14", "h36m17")
    body = human_frames.body_frame(expected)
    assert body is not None
    links = human_frames.frames(expected)
    seen = {t.child_frame_id: t for message in frames for t in message.transforms}
    assert len([name for name in seen if name.endswith("_r3")]) == 16  # 15 links and the body
    root = seen["body_r3"]
    assert root.header.frame_id == "radar_link"
    at = root.transform.translation
    np.testing.assert_allclose((at.x, at.y, at.z), body.translation_m, atol=1e-9)
    wrist = seen["l_wrist_r3"]
    assert wrist.header.frame_id == "body_r3"
    at = wrist.transform.translation
    np.testing.assert_allclose((at.x, at.y, at.z), links["l_wrist"].translation_m, atol=1e-9)
    angles = dict(zip(states[-1].name, states[-1].position, strict=True))
    told = {f"{name}_r3": angle for name, angle in human_frames.angles(expected).items()}
    assert angles == pytest.approx(told) and angles["l_elbow_r3"] > 1.5
    point = skeletons[-1].skeleton[Skeleton2D.LEFT_KNEE]
    assert (point.x, point.y, point.c) == (0.5, 0.25, 0.5)

    # One goes, the other stays.
    live.wait(lambda: publish((4,)) and set(tracked[-1].ids) == {"r4", "rp7"}, what="two ids")
    topics = dict(live.node.get_topic_names_and_types())
    assert "/humans/bodies/r4/joint_states" in topics
    live.wait(lambda: not tracked[-1].ids, what="nobody")  # all is silent now
    assert live.interrupt(process) == 0
