"""Markers by value: gaps, colours, ellipsoids, texts, and what is taken away again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
msg = pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from std_msgs.msg import Header  # noqa: E402
from transforms3d.quaternions import quat2mat  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

from radar_pose_ros.nodes import markers  # noqa: E402
from radar_pose_ros.nodes.convert import InvalidMessageError, message_to_covariances  # noqa: E402
from radar_pose_ros.nodes.people import Person  # noqa: E402
from radar_pose_ros.radar.field_of_view import FieldOfView  # noqa: E402
from radar_pose_ros.skeleton.definitions import HUPR14  # noqa: E402
from radar_pose_ros.skeleton.placement import Intrinsics  # noqa: E402

HEAD = Header(frame_id="radar_rig")
JOINTS_M = np.arange(42.0).reshape(14, 3)


def person(confidence: float = 1.0, **about: Any) -> Person:
    return Person(JOINTS_M.copy(), np.full(14, confidence), confidence, **about)


def places(marker: Marker) -> np.ndarray:
    return np.array([(p.x, p.y, p.z) for p in marker.points])


def test_a_joint_that_is_not_known_leaves_a_gap() -> None:
    """So do the bones that end there; nothing that RViz refuses is left."""
    someone = person()
    knee = HUPR14.index("right_knee")
    someone.keypoints[knee, 1] = np.nan
    lines, spheres = markers.bones(HEAD, markers.LIFTED, 3, HUPR14, someone, 0.5)
    assert (lines.id, spheres.id, lines.ns) == (6, 7, "lifted")
    np.testing.assert_allclose(places(spheres), np.delete(JOINTS_M, knee, axis=0))
    ends = places(lines).reshape(-1, 2, 3)
    expected = [JOINTS_M[list(edge)] for edge in HUPR14.edges if knee not in edge]
    np.testing.assert_allclose(ends, expected)
    assert len(lines.colors) == len(lines.points)
    assert (lines.lifetime.sec, lines.lifetime.nanosec) == (0, 500_000_000)
    nowhere = person()
    nowhere.keypoints[:] = np.nan
    assert markers.bones(HEAD, markers.LIFTED, 0, HUPR14, nowhere, 0.5) == []


@pytest.mark.parametrize(
    ("kind", "confidence", "colour"),
    [
        (markers.ESTIMATED, 1.0, (0.0, 0.62, 0.45)),
        (markers.ESTIMATED, 0.0, (0.84, 0.37, 0.0)),
        (markers.LIFTED, 0.5, (0.42, 0.495, 0.225)),
        (markers.LIFTED, math.nan, (0.94, 0.89, 0.26)),
        (markers.REFINED_LIFTED, math.nan, (0.34, 0.71, 0.91)),
        (markers.TRUTH, 1.0, (0.72, 0.72, 0.72)),
    ],
)
def test_confidence_is_a_colour(
    kind: markers.Kind, confidence: float, colour: tuple[float, ...]
) -> None:
    """From unsure to sure, and another one where none is stated."""
    spheres = markers.bones(HEAD, kind, 0, HUPR14, person(confidence), 0.5)[1]
    np.testing.assert_allclose([(c.r, c.g, c.b) for c in spheres.colors], [colour] * 14)


@pytest.mark.parametrize(
    ("number", "confidence", "text"),
    [
        (4, 0.816, "3D: person 4, confidence 0.82"),
        (4, math.nan, "3D: person 4"),
        (-1, 0.5, "3D: confidence 0.50"),
        (-1, math.nan, None),
    ],
)
def test_a_label_stands_above_the_head(number: int, confidence: float, text: str | None) -> None:
    made = markers.label(HEAD, markers.LIFTED, 0, person(confidence, number=number), 0.5)
    assert [m.text for m in made] == ([] if text is None else [text])
    if made:
        at = made[0].pose.position
        assert (at.x, at.y, at.z) == (39.0, 40.0, 41.25)
        assert made[0].ns == "lifted_label"


def test_up_is_minus_y_in_an_optical_frame() -> None:
    head = Header(frame_id="camera_optical_frame")
    at = markers.label(head, markers.LIFTED, 0, person(), 0.5)[0].pose.position
    assert (at.x, at.y, at.z) == (0.0, 0.75, 2.0)  # the first joint has the least y


def test_ellipsoids_have_the_covariances_axes() -> None:
    """Of 90 % of a Gaussian: 2.5003 standard deviations, along the matrix's own directions."""
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    deviations_m = np.array([0.05, 0.1, 0.3])
    spread = turn @ np.diag(deviations_m**2) @ turn.T
    covariance = np.full((14, 3, 3), np.nan)
    covariance[2], covariance[3] = spread, 0.0  # the others are not known, one is exact
    found = markers.ellipsoids(HEAD, markers.LIFTED, 1, person(covariance=covariance), 0.9, 0.5)
    assert [(m.ns, m.id, m.type) for m in found] == [("lifted_uncertainty", 16, Marker.SPHERE)]
    scale, turned = found[0].scale, found[0].pose.orientation
    lengths_m = np.array([scale.x, scale.y, scale.z])
    np.testing.assert_allclose(lengths_m, 2 * 2.50028 * deviations_m, rtol=1e-4)
    axes = quat2mat([turned.w, turned.x, turned.y, turned.z])
    again = axes @ np.diag((lengths_m / 2 / 2.50028) ** 2) @ axes.T
    np.testing.assert_allclose(again, spread, atol=1e-6)
    at = found[0].pose.position
    assert (at.x, at.y, at.z) == tuple(JOINTS_M[2])
    assert found[0].color.a == pytest.approx(0.04 / 0.75, rel=1e-3)  # large ones are faint
    assert markers.ellipsoids(HEAD, markers.LIFTED, 0, person(), 0.9, 0.5) == []


def test_what_is_no_covariance_is_refused() -> None:
    covariance = np.tile(np.diag([1.0, 1.0, -1.0]), (14, 1, 1))
    with pytest.raises(InvalidMessageError, match="covariance not usable"):
        markers.ellipsoids(HEAD, markers.LIFTED, 0, person(covariance=covariance), 0.9, 0.5)
    keypoint = msg.Keypoint3D(covariance=np.array([1, 2, 3, 4, 5, np.inf], np.float32))
    message = msg.HumanPose3DArray(poses=[msg.HumanPose3D(keypoints=[keypoint])])
    with pytest.raises(InvalidMessageError, match="infinity"):
        message_to_covariances(message)
    keypoint.covariance[5] = 6.0
    expected = [[1, 2, 3], [2, 4, 5], [3, 5, 6]]
    np.testing.assert_allclose(message_to_covariances(message)[0][0], expected)


def test_sensors_are_drawn_in_their_own_frames() -> None:
    """Once per topic, whenever that is asked; a new configuration replaces the old one."""
    sensors = markers.Sensors(3.0)
    field = FieldOfView(2.5, 0.8, 0.3)
    sensors.take_radar("radar_h/radar_config", "radar_h_link", field, markers.PURPLE)
    lens = Intrinsics((100.0, 100.0), (50.0, 50.0), (100, 100))
    sensors.take_camera("camera_0/camera_info", "camera_0_optical_frame", lens)
    sensors.take_camera("camera_0/camera_info", "camera_0_optical_frame", lens)
    radar, camera = sensors.markers()
    assert (radar.ns, radar.header.frame_id) == ("radar_fields", "radar_h_link")
    assert (camera.ns, camera.header.frame_id) == ("camera_frusta", "camera_0_optical_frame")
    np.testing.assert_allclose(places(radar), field.segments().reshape(-1, 3))
    assert len(camera.points) == 20
    assert (radar.color.r, radar.color.g, radar.color.b) == pytest.approx(markers.PURPLE)
    assert radar.frame_locked and radar.lifetime.sec == 3 and radar.header.stamp.sec == 0
    assert radar.id != camera.id
    sensors.take_radar(
        "radar_h/radar_config", "radar_h_link", FieldOfView(1.5, 0.8, 0.3), markers.PURPLE
    )
    assert np.linalg.norm(places(sensors.markers()[0]), axis=1).max() < 1.51


def heart(face_id: int, state: int = msg.HeartRate.OK, **about: float) -> Any:
    values = {"heart_rate_bpm": 71.6, "standard_error_bpm": 1.2, "signal_quality": 0.934} | about
    return msg.HeartRate(header=HEAD, face_id=face_id, state=state, **values)


def test_hearts_are_one_text_with_a_line_per_face() -> None:
    hearts = markers.Hearts(60.0)
    ok = "face 0: 72 +- 1 beats per minute, quality 0.93"
    assert hearts.take(heart(0)).text == ok
    text = hearts.take(heart(2, msg.HeartRate.MOTION))
    assert text.text == f"{ok}\nface 2: no pulse stands out: motion"
    assert (text.ns, text.type) == ("heart_rates", Marker.TEXT_VIEW_FACING)
    assert text.text.isascii() and text.scale.x == 0.0  # as RViz wants it
    assert hearts.take(heart(-1, msg.HeartRate.NO_FACE)).text == "no face"
    bare = heart(1, standard_error_bpm=math.nan, signal_quality=math.nan)
    assert hearts.take(bare).text == "face 1: 72 beats per minute"


def test_the_text_stands_before_the_camera_or_where_it_is_told() -> None:
    for frame_id, expected in (("", ("radar_rig", 1.0)), ("map", ("map", 2.2))):
        text = markers.Hearts(60.0, frame_id).take(heart(0))
        assert (text.header.frame_id, text.pose.position.z) == expected


def test_a_face_that_is_gone_is_not_told_any_longer() -> None:
    hearts = markers.Hearts(0.0)
    hearts.take(heart(0))
    assert hearts.take(heart(1)).text.startswith("face 1")


def test_every_state_of_a_heart_has_words() -> None:
    """A state that is added to the message wants some."""
    names = [n for n in dir(msg.HeartRate) if n.isupper() and n != "SLOT_TYPES"]
    values = {
        getattr(msg.HeartRate, n) for n in names if isinstance(getattr(msg.HeartRate, n), int)
    }
    assert values == {msg.HeartRate.OK, *markers.STATES}


def test_who_is_gone_is_taken_away() -> None:
    """Each group tells what it has no longer, once."""
    shown = markers.Shown()
    two = [
        m for k in range(2) for m in markers.bones(HEAD, markers.LIFTED, k, HUPR14, person(), 1)
    ]
    assert shown.array("lifted", two).markers == two
    left = shown.array("lifted", two[:2]).markers
    assert [(m.action, m.id) for m in left] == [(0, 0), (0, 1), (2, 2), (2, 3)]
    assert {m.header.frame_id for m in left} == {"radar_rig"}
    assert [m.id for m in shown.array("other", []).markers] == []
    assert [m.id for m in shown.array("lifted", two[:2]).markers] == [0, 1]
