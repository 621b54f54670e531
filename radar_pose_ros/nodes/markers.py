"""Markers for RViz: people, how sure one is of them, what sensors see, and how hearts beat."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion
from std_msgs.msg import ColorRGBA, Header
from transforms3d.quaternions import mat2quat
from visualization_msgs.msg import Marker, MarkerArray

from radar_pose_ros import msg
from radar_pose_ros.nodes.convert import InvalidMessageError
from radar_pose_ros.nodes.people import Person
from radar_pose_ros.radar.field_of_view import FieldOfView
from radar_pose_ros.skeleton.definitions import Skeleton
from radar_pose_ros.skeleton.ellipsoids import half_axes
from radar_pose_ros.skeleton.placement import Intrinsics
from radar_pose_ros.vision.frustum import frustum

Colour = tuple[float, float, float]

# Told apart with any colour vision (Okabe and Ito).
BLUISH_GREEN: Colour = (0.0, 0.62, 0.45)
VERMILION: Colour = (0.84, 0.37, 0.0)
YELLOW: Colour = (0.94, 0.89, 0.26)
BLUE: Colour = (0.0, 0.45, 0.7)
PURPLE: Colour = (0.8, 0.47, 0.65)
SKY_BLUE: Colour = (0.34, 0.71, 0.91)
GREY: Colour = (0.72, 0.72, 0.72)
WHITE: Colour = (1.0, 1.0, 1.0)
BONE_M, JOINT_M, LINE_M, TEXT_M = 0.03, 0.06, 0.01, 0.12
ABOVE_M = 0.25  # of the highest joint, where a person's label stands
# Ellipsoids with longer half axes are fainter, so that several of them still let a person through.
NEAR_DOUBT_M, DENSITY_M = 0.12, 0.04
THINNEST_M = 0.002  # RViz complains of ellipsoids that are flat
FRUSTUM_DEPTH_M = 0.5
HEARTS_AT_M = np.array([0.0, 0.0, 1.0])  # before a camera: nobody says where faces are
HEARTS_ABOVE_M = np.array([0.0, 0.0, 2.2])  # in another frame

# What a heart rate that is not OK is called.
STATES = {
    msg.HeartRate.WARMING_UP: "measuring",
    msg.HeartRate.NO_FACE: "no face",
    msg.HeartRate.STILL_IMAGE: "still image",
    msg.HeartRate.TOO_DARK: "too dark",
    msg.HeartRate.MOTION: "no pulse stands out: motion",
    msg.HeartRate.TOO_FEW_FRAMES: "too few frames",
    msg.HeartRate.LOW_SIGNAL: "no pulse stands out",
}


class Kind:
    """How a kind of pose is drawn.

    Parameters
    ----------
    name : str
        The markers' namespace; labels and ellipsoids have their own, which begin with it.
    title : str
        What labels begin with.
    sure, unsure : tuple of float
        Colours of joints of confidence 1 and 0, red, green and blue.
    unstated : tuple of float
        Of joints without a confidence.
    """

    def __init__(
        self, name: str, title: str, sure: Colour, unsure: Colour, unstated: Colour
    ) -> None:
        self.name, self.title = name, title
        self._ends = np.array([unsure, sure])
        self._unstated = unstated

    def colours(self, confidence: np.ndarray) -> list[ColorRGBA]:
        """Return the colours of joints, by their confidence, (joints,)."""
        return [
            paint(self._unstated if math.isnan(c) else (1 - c) * self._ends[0] + c * self._ends[1])
            for c in np.clip(confidence, 0.0, 1.0)
        ]


ESTIMATED = Kind("pose2d", "2D", BLUISH_GREEN, VERMILION, YELLOW)
REFINED = Kind("refined", "refined 2D", BLUE, PURPLE, SKY_BLUE)
LIFTED = Kind("lifted", "3D", BLUISH_GREEN, VERMILION, YELLOW)
REFINED_LIFTED = Kind("refined_lifted", "refined 3D", BLUE, PURPLE, SKY_BLUE)
TRUTH = Kind("ground_truth", "truth", GREY, GREY, GREY)
RADAR_FIELDS, CAMERA_FRUSTA, HEART_RATES = "radar_fields", "camera_frusta", "heart_rates"


def paint(colour: Sequence[float], alpha: float = 0.9) -> ColorRGBA:
    """Return a colour for a message."""
    red, green, blue = map(float, colour)
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)


def marker(
    head: Header, name: str, number: int, kind: int, size_m: float, lifetime_s: float
) -> Marker:
    """Return a marker without points at the origin of its frame."""
    made = Marker(header=head, ns=name, id=number, type=kind, action=Marker.ADD)
    made.lifetime = Duration(sec=int(lifetime_s), nanosec=int(lifetime_s % 1 * 1e9))
    made.pose.orientation.w = 1.0
    made.scale.x = made.scale.y = made.scale.z = size_m
    return made


def text(
    head: Header, name: str, number: int, words: str, at_m: np.ndarray, lifetime_s: float
) -> Marker:
    """Return a text that faces whoever looks, of ASCII letters: RViz's font has no others.

    Parameters
    ----------
    at_m : ndarray, shape (3,)
        Its middle.
    """
    made = marker(head, name, number, Marker.TEXT_VIEW_FACING, TEXT_M, lifetime_s)
    made.scale.x = made.scale.y = 0.0  # x would be the width of a space
    made.pose.position = points(at_m[None])[0]
    made.color, made.text = paint(WHITE), words
    return made


def points(values: np.ndarray) -> list[Point]:
    """Return points for a message, of ``(n, 3)``."""
    return [Point(x=x, y=y, z=z) for x, y, z in values.tolist()]


# -- people ----------------------------------------------------------------------------------


def bones(
    head: Header, kind: Kind, number: int, skeleton: Skeleton, person: Person, lifetime_s: float
) -> list[Marker]:
    """Return bones and joints of a person in space; joints that are not known leave gaps."""
    known = person.known
    ends = [k for edge in skeleton.edges if known[list(edge)].all() for k in edge]
    colours = kind.colours(person.joint_confidence)
    result = []
    for place, (shape, size_m, chosen) in enumerate(
        (
            (Marker.LINE_LIST, BONE_M, ends),
            (Marker.SPHERE_LIST, JOINT_M, np.flatnonzero(known).tolist()),
        )
    ):
        made = marker(head, kind.name, 2 * number + place, shape, size_m, lifetime_s)
        made.points = points(person.keypoints[chosen])
        made.colors = [colours[k] for k in chosen]
        result += [made] if chosen else []
    return result


def label(
    head: Header, kind: Kind, number: int, person: Person, lifetime_s: float
) -> list[Marker]:
    """Return a text with a person's id and confidence above the head; none if neither is known."""
    known = person.keypoints[person.known]
    words = [f"person {person.number}"] if person.number >= 0 else []
    words += [] if math.isnan(person.confidence) else [f"confidence {person.confidence:.2f}"]
    if not words or not len(known):
        return []
    # REP-103: optical frames have y down, all others z up.
    up = np.array(
        [0.0, -1.0, 0.0] if head.frame_id.endswith("_optical_frame") else [0.0, 0.0, 1.0]
    )
    at_m = known[np.argmax(known @ up)] + ABOVE_M * up
    told = f"{kind.title}: {', '.join(words)}"
    return [text(head, f"{kind.name}_label", number, told, at_m, lifetime_s)]


def ellipsoids(
    head: Header,
    kind: Kind,
    number: int,
    person: Person,
    level: float,
    lifetime_s: float,
) -> list[Marker]:
    """Return, around each joint whose covariance is known, where it is with this probability.

    Raises
    ------
    InvalidMessageError
        If a covariance is none.
    """
    result: list[Marker] = []
    if person.covariance is None:
        return result
    colours = kind.colours(person.joint_confidence)
    usable = person.known & ~np.isnan(person.covariance).any(axis=(1, 2))
    for joint in np.flatnonzero(usable).tolist():
        try:
            lengths_m, axes = half_axes(person.covariance[joint], level)
        except ValueError as error:
            raise InvalidMessageError("covariance not usable", str(error)) from None
        if 2 * lengths_m[2] < THINNEST_M:  # known exactly
            continue
        place = number * len(usable) + joint
        made = marker(head, f"{kind.name}_uncertainty", place, Marker.SPHERE, 1.0, lifetime_s)
        made.scale.x, made.scale.y, made.scale.z = (2 * lengths_m).clip(THINNEST_M).tolist()
        w, x, y, z = mat2quat(axes).tolist()
        made.pose = Pose(
            position=points(person.keypoints[joint][None])[0],
            orientation=Quaternion(x=x, y=y, z=z, w=w),
        )
        made.color = colours[joint]
        made.color.a = DENSITY_M / max(lengths_m[2], NEAR_DOUBT_M)
        result.append(made)
    return result


# -- sensors and hearts ----------------------------------------------------------------------


class Sensors:
    """Lines that show what sensors see, by the topic that says it.

    Parameters
    ----------
    lifetime_s : float
        How long they stay when they are not told again.
    """

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._told: dict[str, tuple[str, object]] = {}
        self._markers: dict[str, Marker] = {}

    def take_radar(self, topic: str, frame_id: str, field: FieldOfView, colour: Colour) -> None:
        """Draw a radar's field of view from now on."""
        if self._is_new(topic, frame_id, field):
            self._draw(topic, frame_id, RADAR_FIELDS, field.segments(), colour)

    def take_camera(self, topic: str, frame_id: str, lens: Intrinsics) -> None:
        """Draw the frustum of a camera from now on."""
        if self._is_new(topic, frame_id, lens):
            self._draw(topic, frame_id, CAMERA_FRUSTA, frustum(lens, FRUSTUM_DEPTH_M), WHITE)

    def markers(self) -> list[Marker]:
        """Return them all."""
        return list(self._markers.values())

    def _is_new(self, topic: str, frame_id: str, seen: object) -> bool:
        before, self._told[topic] = self._told.get(topic), (frame_id, seen)
        return before != (frame_id, seen)

    def _draw(
        self, topic: str, frame_id: str, name: str, segments_m: np.ndarray, colour: Colour
    ) -> None:
        """Draw lines ``(n, 2, 3)`` that stay fixed to a frame, whenever that is."""
        number = list(self._told).index(topic)
        head = Header(frame_id=frame_id)
        made = marker(head, name, number, Marker.LINE_LIST, LINE_M, self._lifetime_s)
        made.frame_locked = True
        made.points = points(segments_m.reshape(-1, 3))
        made.color = paint(colour, 0.3)
        self._markers[topic] = made


class Hearts:
    """What is known of the hearts that a camera sees, as one text.

    Parameters
    ----------
    kept_s : float
        A face of which nothing came for so long is gone.
    frame_id : str
        Frame of the text; "": it stands before the camera.
    """

    def __init__(self, kept_s: float, frame_id: str = "") -> None:
        self._kept_s = kept_s
        self._frame_id = frame_id
        self._rates: dict[int, tuple[msg.HeartRate, float]] = {}

    def take(self, rate: msg.HeartRate) -> Marker:
        """Take what is told of a face, and return the text with a line for each of them."""
        now_s = time.monotonic()
        nobody = rate.face_id < 0
        self._rates = {
            face: (known, since_s)
            for face, (known, since_s) in self._rates.items()
            if now_s - since_s <= self._kept_s and not nobody and face >= 0
        }
        self._rates[rate.face_id] = rate, now_s
        head = Header(frame_id=self._frame_id or rate.header.frame_id)
        lines = [in_words(self._rates[face][0]) for face in sorted(self._rates)]
        at_m = HEARTS_ABOVE_M if self._frame_id else HEARTS_AT_M
        return text(head, HEART_RATES, 0, "\n".join(lines), at_m, self._kept_s)


def in_words(rate: msg.HeartRate) -> str:
    """Return a line about a face: its rate, or why there is none."""
    face = f"face {rate.face_id}: " if rate.face_id >= 0 else ""
    if rate.state != msg.HeartRate.OK:
        return face + STATES.get(rate.state, f"state {rate.state}")
    error_bpm, quality = rate.standard_error_bpm, rate.signal_quality
    spread = "" if math.isnan(error_bpm) else f" +- {error_bpm:.0f}"
    trust = "" if math.isnan(quality) else f", quality {quality:.2f}"
    return f"{face}{rate.heart_rate_bpm:.0f}{spread} beats per minute{trust}"


# -- arrays ----------------------------------------------------------------------------------


class Shown:
    """What is drawn now, by groups that are drawn anew as a whole."""

    def __init__(self) -> None:
        self._before: dict[str, dict[tuple[str, int], str]] = {}

    def array(self, group: str, markers: Sequence[Marker]) -> MarkerArray:
        """Return a group's markers, and the end of those that it had and has no longer."""
        now = {(m.ns, m.id): m.header.frame_id for m in markers}
        ended = [
            Marker(header=Header(frame_id=frame_id), ns=name, id=number, action=Marker.DELETE)
            for (name, number), frame_id in self._before.get(group, {}).items()
            if (name, number) not in now
        ]
        self._before[group] = now
        return MarkerArray(markers=[*markers, *ended])
