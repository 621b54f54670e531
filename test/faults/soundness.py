"""What no message of this package may say, and which messages nobody may take: read from `msg/`.

Written without `nodes/convert.py`, whose answers it judges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from sensor_msgs.msg import (
    CameraInfo,
    CompressedImage,
    Image,
    JointState,
    PointCloud2,
    RegionOfInterest,
)
from std_msgs.msg import ColorRGBA
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from radar_pose_ros import msg
from radar_pose_ros.skeleton.definitions import SKELETONS

# Nothing is farther than that from anything, whatever it was multiplied by on the way.
FARTHEST = 1e6
LONGEST_TEXT = 30_000  # what came in may go on, as a name; nothing may grow
LARGEST = 1 << 26  # elements of an array
BYTES = {"mono8": 1, "bgr8": 3, "rgb8": 3, "bgra8": 4, "rgba8": 4}
DEVICES = ("IWR1843", "IWR6843ISK")


def unsound(message: Any) -> str:
    """Say what is wrong with a message that a node published; "" if nothing is."""
    about = _SAID.get(type(message))
    found = about(message) if about else ""
    return found or _walk(message, type(message).__name__)


def wrong(message: Any, skeletons: tuple[str, ...] = ("hupr14",)) -> str:
    """Say why a node must not take a message; "" if it may.

    Parameters
    ----------
    message : object
    skeletons : tuple of str
        That the node knows.
    """
    about = _TAKEN.get(type(message))
    if isinstance(message, msg.HumanPose2DArray | msg.HumanPose3DArray):
        return _wrong_pose(message, skeletons)
    return about(message) if about else ""


# -- what goes out -----------------------------------------------------------------------------


def _walk(value: Any, where: str) -> str:
    """Look for infinity, texts without end and places that nothing has."""
    places = isinstance(value, Point | Vector3)
    known = isinstance(value, Pose | Quaternion | ColorRGBA)
    for name in _names(value):
        part = getattr(value, name)
        here = f"{where}.{name}"
        if _names(part):
            found = _walk(part, here)
        elif isinstance(part, float):
            found = _number(part, here, places, known)
        elif isinstance(part, str):
            found = f"{here} has {len(part)} letters" if len(part) > LONGEST_TEXT else ""
        elif isinstance(part, (int, bool, bytes)) or not len(part):
            found = ""
        elif _names(part[0]):
            found = next(filter(None, (_walk(p, f"{here}[{k}]") for k, p in enumerate(part))), "")
        elif isinstance(part[0], str):
            found = f"{here} is too long" if sum(map(len, part)) > LONGEST_TEXT else ""
        else:
            infinite = np.isinf(np.asarray(part)).any()
            found = f"infinity in {here}" if infinite else ""
        if found:
            return found
    return ""


def _names(value: Any) -> list[str]:
    """Return the fields of a message, or of what stands in for one; of anything else none."""
    if hasattr(value, "get_fields_and_field_types"):
        return list(value.get_fields_and_field_types())
    return list(vars(value)) if isinstance(value, SimpleNamespace) else []


def _number(value: float, where: str, is_place: bool, is_known: bool) -> str:
    if math.isinf(value) or (is_known and math.isnan(value)):
        return f"{where} is {value}"
    if is_place and abs(value) > FARTHEST:
        return f"{where} is {value}"
    return ""


def _is_stamped(message: Any) -> bool:
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec > 0 and stamp.nanosec < 10**9


def _said_pose(message: Any) -> str:
    planar = isinstance(message, msg.HumanPose2DArray)
    if not _is_stamped(message):
        return f"a pose of the time {message.header.stamp}"
    if message.skeleton not in SKELETONS:
        return f"a pose of the skeleton {message.skeleton!r}"
    joints, farthest = len(SKELETONS[message.skeleton].joints), 1e5 if planar else 1e4
    for person in message.poses:
        if len(person.keypoints) != joints:
            return f"{len(person.keypoints)} joints of {message.skeleton}"
        for k in person.keypoints:
            place = (k.x, k.y) if planar else (k.position.x, k.position.y, k.position.z)
            known = [math.isfinite(value) for value in place]
            if any(known) != all(known) or any(abs(value) > farthest for value in place):
                return f"a joint at {place}"
            if not (math.isnan(k.confidence) or -1e-6 <= k.confidence <= 1 + 1e-6):
                return f"a joint of confidence {k.confidence}"
            if all(known) and k.origin > 2:
                return f"a joint of origin {k.origin}"
            if not planar and any(k.covariance[axis] < 0 for axis in (0, 3, 5)):
                return f"a covariance of {list(k.covariance)}"
        if not (math.isnan(person.confidence) or -1e-6 <= person.confidence <= 1 + 1e-6):
            return f"a person of confidence {person.confidence}"
    return ""


def _said_heatmap(message: msg.RadarHeatmap) -> str:
    steps = (message.range_step_m, message.velocity_step_mps, message.sin_angle_step)
    if not all(0 < step < math.inf for step in steps):
        return f"a heatmap with steps of {steps}"
    if not 0 <= message.valid_ratio <= 1:
        return f"a heatmap of which {message.valid_ratio} is valid"
    return _wrong_heatmap(message)


def _said_cloud(message: PointCloud2) -> str:
    values = np.frombuffer(message.data, np.float32)
    if len(message.data) != message.point_step * message.width * message.height:
        return "a cloud that is not packed as it says"
    finite = np.isfinite(values).all()
    return "" if finite or not message.is_dense else "a cloud with NaN that says it has none"


def _said_markers(message: MarkerArray) -> str:
    for marker in message.markers:
        if any(not math.isfinite(v) for p in marker.points for v in (p.x, p.y, p.z)):
            return f"a marker {marker.ns} with a point that is none"
        size = marker.scale
        if any(not 0 <= v < FARTHEST for v in (size.x, size.y, size.z)):
            return f"a marker {marker.ns} of size {size}"
        for colour in (marker.color, *marker.colors):
            if any(not -1e-6 <= v <= 1 + 1e-6 for v in (colour.r, colour.g, colour.b, colour.a)):
                return f"a marker {marker.ns} with the colour {colour}"
        if marker.ns == "heart_rates" and ("nan" in marker.text or "inf" in marker.text):
            return f"a heart of {marker.text!r}"
    return ""


def _said_rate(message: msg.HeartRate) -> str:
    fine = message.state == msg.HeartRate.OK
    if fine and not 30 <= message.heart_rate_bpm <= 240:
        return f"a heart of {message.heart_rate_bpm}"
    if not fine and not math.isnan(message.heart_rate_bpm):
        return f"a heart of {message.heart_rate_bpm} in state {message.state}"
    return "" if _is_stamped(message) else "a heart without a time"


def _said_transforms(message: TFMessage) -> str:
    return "; ".join(filter(None, map(_wrong_transform, message.transforms)))


def _said_angles(message: JointState) -> str:
    return "" if all(map(math.isfinite, message.position)) else "an angle that is none"


# -- what comes in -----------------------------------------------------------------------------


def _wrong_stamp(message: Any) -> str:
    return "" if _is_stamped(message) else "no time"


def _wrong_size(sizes: tuple[int, ...], given: int) -> str:
    count = math.prod(sizes)
    return "" if 0 < count <= LARGEST and count == given else f"{sizes} in {given}"


def _wrong_pose(message: Any, skeletons: tuple[str, ...]) -> str:
    planar = isinstance(message, msg.HumanPose2DArray)
    if not _is_stamped(message):
        return "no time"
    if message.skeleton not in skeletons:
        return "skeleton"
    joints, farthest = len(SKELETONS[message.skeleton].joints), 1e5 if planar else 1e4
    for person in message.poses:
        if len(person.keypoints) != joints:
            return "joints"
        for k in person.keypoints:
            place = (k.x, k.y) if planar else (k.position.x, k.position.y, k.position.z)
            if any(abs(value) > farthest for value in place):
                return "place"
            if k.confidence < 0 or k.confidence > 1:
                return "confidence"
        if person.confidence < 0 or person.confidence > 1:
            return "confidence"
    return ""


def _wrong_heatmap(message: msg.RadarHeatmap) -> str:
    sizes = (message.angle_bins, message.doppler_bins, message.range_bins, 2)
    finite = np.isfinite(np.asarray(message.data)).all()
    return (
        _wrong_stamp(message)
        or _wrong_size(sizes, len(message.data))
        or ("" if finite else "a heatmap with NaN or infinity")
    )


def _wrong_samples(message: msg.RadarAdcFrame) -> str:
    chirps = message.loops * message.transmitters
    sizes = (chirps, message.receivers, message.samples, 2)
    return (
        _wrong_stamp(message)
        or _wrong_size(sizes, len(message.data))
        or ("" if len(message.chirp_valid) == chirps else "chirps")
    )


def _wrong_config(message: msg.RadarConfig) -> str:
    names = [name for name in message.get_fields_and_field_types() if name.endswith(("hz", "_s"))]
    antennas = (len(message.tx_order), len(message.rx_antennas))
    values = math.prod((message.samples, message.loops, *antennas, 2))
    if not 0 < values <= LARGEST:
        return "size"
    if any(not math.isfinite(getattr(message, name)) for name in names):
        return "a time that is none"
    if message.device not in DEVICES:
        return "device"
    return "iq_order or lanes" if message.iq_order > 1 or message.lvds_lanes != 2 else ""


def _wrong_image(message: Image) -> str:
    pixel = BYTES.get(message.encoding)
    if pixel is None:
        return "encoding"
    if message.step < message.width * pixel:
        return "step"
    return _wrong_stamp(message) or _wrong_size((message.height, message.step), len(message.data))


def _wrong_compressed(message: CompressedImage) -> str:
    return _wrong_stamp(message) or ("" if len(message.data) else "empty")


def _wrong_cloud(message: PointCloud2) -> str:
    count = message.width * message.height
    packed = len(message.data) == count * message.point_step and not message.is_bigendian
    return _wrong_stamp(message) or ("" if packed and count <= 100_000 else "size")


def _wrong_camera(message: CameraInfo) -> str:
    fx, cx, fy, cy = (message.k[place] for place in (0, 2, 4, 5))
    usable = all(map(math.isfinite, (fx, cx, fy, cy, *message.d))) and fx > 0 and fy > 0
    if not usable:
        return "lens"
    return "size" if not (message.width and message.height) else ""


def _wrong_transform(message: Any) -> str:
    shift, turn = message.transform.translation, message.transform.rotation
    values = np.array([shift.x, shift.y, shift.z, turn.x, turn.y, turn.z, turn.w])
    with np.errstate(over="ignore", invalid="ignore"):
        unit = abs(np.linalg.norm(values[3:]) - 1) < 2e-3
    named = message.child_frame_id.strip("/") and message.header.frame_id.strip("/")
    return "" if np.isfinite(values).all() and unit and named else f"a transform of {values}"


def _wrong_transforms(message: TFMessage) -> str:
    return next(filter(None, map(_wrong_transform, message.transforms)), "")


def _wrong_skeleton(message: msg.SkeletonDefinition) -> str:
    joints = len(message.joints)
    pairs = (message.edges, message.left_right)
    if not 0 < joints <= 1024 or any(len(pair) % 2 for pair in pairs):
        return "size"
    beyond = any(joint >= joints for pair in pairs for joint in pair)
    return "joint" if beyond or not -1 <= message.root < joints else ""


def _wrong_rate(message: msg.HeartRate) -> str:
    if message.state == msg.HeartRate.OK and not 0 < message.heart_rate_bpm < 1000:
        return "rate"
    return _wrong_stamp(message)


def _wrong_region(message: RegionOfInterest) -> str:
    return ""  # every box is one; where it is not in the image no face is


_SAID: dict[type, Callable[[Any], str]] = {
    msg.HumanPose2DArray: _said_pose,
    msg.HumanPose3DArray: _said_pose,
    msg.RadarHeatmap: _said_heatmap,
    msg.HeartRate: _said_rate,
    PointCloud2: _said_cloud,
    Image: _wrong_image,
    MarkerArray: _said_markers,
    TFMessage: _said_transforms,
    JointState: _said_angles,
}
_TAKEN: dict[type, Callable[[Any], str]] = {
    msg.RadarHeatmap: _wrong_heatmap,
    msg.RadarAdcFrame: _wrong_samples,
    msg.RadarConfig: _wrong_config,
    msg.SkeletonDefinition: _wrong_skeleton,
    msg.HeartRate: _wrong_rate,
    Image: _wrong_image,
    CompressedImage: _wrong_compressed,
    PointCloud2: _wrong_cloud,
    CameraInfo: _wrong_camera,
    RegionOfInterest: _wrong_region,
    TFMessage: _wrong_transforms,
}
