"""People as REP-155 tells of them, by value; hri_msgs' classes are stood in for."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")

from std_msgs.msg import Header
from transforms3d.quaternions import quat2mat

from radar_pose_ros.nodes import hri_messages
from radar_pose_ros.nodes.hri_messages import SKELETON2D, Bodies
from radar_pose_ros.nodes.people import Person
from radar_pose_ros.skeleton.definitions import COCO17, H36M17, HUPR14
from radar_pose_ros.vision.frames import Placement

HEAD = Header(frame_id="camera_optical_frame")
SIZE_PX = (640, 480)


class StandIn(SimpleNamespace):
    """A message that keeps what it was made of."""


KINDS = SimpleNamespace(
    **{n: StandIn for n in ("Skeleton2D", "NormalizedPointOfInterest2D")},
    NormalizedRegionOfInterest2D=StandIn,
)


def somebody(number: int = -1, joints: int = 14, dims: int = 3, **about: Any) -> Person:
    return Person(np.ones((joints, dims)), np.ones(joints), 1.0, number, **about)


# -- ids -------------------------------------------------------------------------------------


def see(bodies: Bodies, numbers: list[int], now_s: float, model: str = "points") -> list[str]:
    seen, _ = bodies.see(False, model, [somebody(n) for n in numbers], now_s)
    return [body.id for body, _ in seen]


def test_a_number_keeps_its_id_and_goes_when_nobody_sees_it() -> None:
    bodies = Bodies("r")
    assert see(bodies, [3, 7], 0.0) == ["r3", "r7"]
    assert see(bodies, [7], 1.0) == ["r7"]
    assert bodies.ids == ["r3", "r7"]
    assert bodies.forget(0.5) == ["r3"]
    assert bodies.ids == ["r7"]
    assert see(bodies, [3], 2.0) == ["r3"]  # the node that numbers people says it is the same
    assert bodies.forget(1.5) == ["r7"] and bodies.ids == ["r3"]


def test_a_lone_person_without_a_number_is_somebody_new_after_nobody() -> None:
    bodies = Bodies("r")
    assert see(bodies, [-1], 0.0) == see(bodies, [-1], 0.5) == ["r_u1"]
    bodies.forget(0.6)
    assert see(bodies, [-1], 2.0) == ["r_u2"]


def test_of_several_without_a_number_nobody_is_told() -> None:
    bodies = Bodies("r")
    people = [somebody(-1), somebody(-1), somebody(4), somebody(4)]
    seen, others = bodies.see(False, "", people, 0.0)
    assert [body.id for body, _ in seen] == ["r4"] and others == 3
    nobody = somebody(5)
    nobody.keypoints[:] = math.nan  # of whom nothing is known
    assert bodies.see(False, "", [nobody], 0.0) == ([], 0)


def test_who_was_lifted_is_who_is_in_the_image() -> None:
    """As the name of the model says; people of another source are others."""
    bodies = Bodies("r")
    planar = bodies.see(True, "milliMamba", [somebody(2, dims=2)], 0.0)[0][0][0]
    lifted = bodies.see(False, "mixste of milliMamba", [somebody(2)], 0.1)[0][0][0]
    assert planar is lifted and planar.id == "rp2"
    assert bodies.ids == ["rp2"]
    assert see(bodies, [2], 0.2, model="densewarper of simulation") == ["r2"]
    assert bodies.ids == ["rp2", "r2"]


# -- in an image -----------------------------------------------------------------------------


def test_a_skeleton_in_an_image_is_in_openposes_order_and_relative() -> None:
    """Unknown joints and those outside are all zero, as is what the skeleton has not."""
    pixels = np.column_stack([np.linspace(0, 640, 14), np.linspace(480, 0, 14)])
    pixels[HUPR14.index("left_knee")] = np.nan
    pixels[HUPR14.index("right_wrist")] = (641.0, 100.0)
    confidence = np.linspace(0.1, 0.75, 14)
    confidence[HUPR14.index("left_hip")] = np.nan
    person = Person(pixels, confidence, 0.5)
    message = hri_messages.skeleton2d(KINDS, HEAD, HUPR14, person, SIZE_PX)
    assert message.header is HEAD and len(message.skeleton) == 18
    found = {n: (p.x, p.y, p.c) for n, p in zip(SKELETON2D, message.skeleton, strict=True)}
    hip = HUPR14.index("right_hip")
    assert found["right_hip"] == (0.0, 1.0, pytest.approx(0.1)) and hip == 0
    assert found["left_hip"][2] == 1.0  # given, and its source states no confidence
    for name in ("left_knee", "right_wrist", "nose", "left_eye", "right_ear"):
        assert found[name] == (0.0, 0.0, 0.0), name
    left, right = (HUPR14.index(f"{side}_shoulder") for side in ("left", "right"))
    expected = (*(pixels[[left, right]].mean(0) / SIZE_PX), confidence[[left, right]].min())
    assert found["neck"] == pytest.approx(expected)
    ankle = HUPR14.index("right_ankle")
    assert found["right_ankle"] == pytest.approx((*(pixels[ankle] / SIZE_PX), confidence[ankle]))


def test_faces_are_told_where_the_skeleton_has_ears() -> None:
    """The nose of Human3.6M is another joint."""
    for skeleton, there in ((COCO17, True), (H36M17, False)):
        joints = len(skeleton.joints)
        person = Person(np.full((joints, 2), 48.0), np.full(joints, 0.9), 0.9)
        points = hri_messages.skeleton2d(KINDS, HEAD, skeleton, person, SIZE_PX).skeleton
        nose = points[SKELETON2D.index("nose")]
        expected = (0.075, 0.1, 0.9) if there else (0.0, 0.0, 0.0)
        assert (nose.x, nose.y, nose.c) == pytest.approx(expected)


def test_the_region_is_around_the_known_joints_and_in_the_image() -> None:
    pixels = np.full((14, 2), np.nan)
    pixels[0], pixels[1] = (64.0, 240.0), (700.0, 48.0)
    person = Person(pixels, np.ones(14), math.nan)
    found = hri_messages.region(KINDS, HEAD, person, SIZE_PX)
    edges = (found.xmin, found.ymin, found.xmax, found.ymax)
    assert edges == pytest.approx((0.1, 0.1, 1.0, 0.5)) and found.c == 1.0


def test_openposes_order_is_that_of_the_message() -> None:
    """Where hri_msgs is there, its constants are asked."""
    kinds = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    numbers = {n: getattr(kinds.Skeleton2D, n.upper()) for n in SKELETON2D}
    assert numbers == {name: number for number, name in enumerate(SKELETON2D)}


# -- in space --------------------------------------------------------------------------------


def test_names_of_joints_and_frames_bear_the_id() -> None:
    head = Header(frame_id="radar_link")
    head.stamp.sec = 12
    states = hri_messages.joint_states(head, "r3", {"l_elbow": 0.5, "waist": 0.0})
    assert list(states.name) == ["l_elbow_r3", "waist_r3"]
    assert list(states.position) == [0.5, 0.0]
    assert states.header.stamp.sec == 12
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    body = Placement(turn, np.array([1.0, 2.0, 3.0]))
    wrist = Placement(np.eye(3), np.array([0.0, 0.2, 0.4]))
    root, link = hri_messages.transforms(head, "r3", body, {"l_wrist": wrist})
    assert (root.header.frame_id, root.child_frame_id) == ("radar_link", "body_r3")
    assert (link.header.frame_id, link.child_frame_id) == ("body_r3", "l_wrist_r3")
    assert root.header.stamp.sec == link.header.stamp.sec == 12
    q, at = root.transform.rotation, root.transform.translation
    np.testing.assert_allclose(quat2mat([q.w, q.x, q.y, q.z]), turn, atol=1e-12)
    assert (at.x, at.y, at.z) == (1.0, 2.0, 3.0)
    at = link.transform.translation
    assert (at.x, at.y, at.z) == (0.0, 0.2, 0.4)
