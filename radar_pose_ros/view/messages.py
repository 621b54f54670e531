"""Messages as arrays, whoever decoded them: rclpy or the reader of a bag.

Both give the fields as attributes. What does not fit together raises ``ValueError`` with one
sentence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from radar_pose_ros.skeleton.definitions import Skeleton
from radar_pose_ros.skeleton.plausible import FARTHEST_M, FARTHEST_PX
from radar_pose_ros.vision.frames import placed as placed

MOST_KEYPOINTS = 1024
MOST_PIXELS = 64 * 1024 * 1024
POINT_FIELDS = ("x", "y", "z", "doppler", "snr")
_FLOAT32 = 7  # sensor_msgs/PointField
# Encoding: bytes of a pixel, and what makes blue, green and red of them.
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "bgr8": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
}


@dataclass(frozen=True)
class SeenPerson:
    """One person of a pose message.

    Parameters
    ----------
    number : int
        The id; -1 if the person is not tracked.
    joints : ndarray, shape (joints, 2 or 3)
        px or m; NaN where a joint is not known.
    confidence : ndarray, shape (joints,)
        0..1; NaN if it is not stated.
    """

    number: int
    joints: np.ndarray
    confidence: np.ndarray


def frame_of(message: Any) -> str:
    """Return ``header.frame_id`` without the slash that it began with in ROS 1."""
    return str(message.header.frame_id).lstrip("/")


def skeleton(message: Any) -> Skeleton:
    """Return the skeleton of a SkeletonDefinition."""
    edges, pairs = ([int(k) for k in row] for row in (message.edges, message.left_right))
    if len(edges) % 2 or len(pairs) % 2 or len(message.joints) > MOST_KEYPOINTS:
        raise ValueError(f"skeleton {message.name!r} has half a pair of joints, or too many")
    return Skeleton(
        name=message.name,
        joints=tuple(message.joints),
        edges=tuple(zip(edges[::2], edges[1::2], strict=True)),
        left_right=tuple(zip(pairs[::2], pairs[1::2], strict=True)),
        oks_sigmas=tuple(float(s) for s in message.oks_sigmas),
        root=int(message.root),
    )


def people(message: Any, joints: int) -> list[SeenPerson]:
    """Return the people of a pose message who have a place in its frame.

    Those of HumanPose3DArray that are relative to their own root are left out.
    """
    found = []
    for pose in message.poses:
        if getattr(pose, "root_relative", False):
            continue
        if len(pose.keypoints) != joints:
            raise ValueError(f"pose of {len(pose.keypoints)} joints, its skeleton has {joints}")
        places = [getattr(k, "position", k) for k in pose.keypoints]
        axes = "xyz" if pose.keypoints and hasattr(pose.keypoints[0], "position") else "xy"
        values = np.array([[getattr(p, axis) for axis in axes] for p in places], np.float64)
        if (np.abs(values) > (FARTHEST_M if len(axes) == 3 else FARTHEST_PX)).any():
            raise ValueError("pose out of bounds")
        confidence = [k.confidence for k in pose.keypoints]
        found.append(
            SeenPerson(
                int(pose.id),
                values.reshape(joints, len(axes)),
                np.array(confidence, np.float64),
            )
        )
    return found


def heatmap(message: Any) -> np.ndarray:
    """Return a RadarHeatmap as complex64 (angle, doppler, range)."""
    shape = (message.angle_bins, message.doppler_bins, message.range_bins)
    values = np.asarray(message.data, np.float32)
    if not values.size or values.size != 2 * math.prod(shape):
        raise ValueError(f"heatmap of {values.size} numbers, want 2 x {shape}")
    steps = (message.range_step_m, message.sin_angle_step)
    firsts = (message.range_first_m, message.sin_angle_first)
    ends_m = (firsts[0], firsts[0] + steps[0] * shape[2])
    known = all(0 < step < math.inf for step in steps) and abs(firsts[1]) <= 1 + steps[1]
    if not known or not all(abs(end) <= FARTHEST_M for end in ends_m):
        raise ValueError(f"heatmap without axes: {firsts} and steps of {steps}")
    if not np.isfinite(values).all():
        raise ValueError("heatmap with NaN or infinity")
    return values.view(np.complex64).reshape(shape)


def points(message: Any) -> np.ndarray:
    """Return x, y, z (m), radial velocity (m/s) and strength (dB) of a PointCloud2, (n, 5).

    NaN where the message has no such field.
    """
    count, step = message.width * message.height, message.point_step
    raw = np.asarray(message.data, np.uint8)
    if raw.size != step * count or message.is_bigendian:
        raise ValueError(f"cloud of {raw.size} bytes, want {count} x {step} in little endian")
    fields = {field.name: field for field in message.fields}
    table = np.full((count, len(POINT_FIELDS)), np.nan, np.float32)
    for column, name in enumerate(POINT_FIELDS):
        field = fields.get(name)
        if field is None and name in "xyz":
            raise ValueError(f"cloud without the field {name}")
        if field is None or not count:
            continue
        if field.datatype != _FLOAT32 or field.offset + 4 > step:
            raise ValueError(f"cloud whose field {name} is no float32")
        part = raw.reshape(count, step)[:, field.offset : field.offset + 4]
        table[:, column] = np.ascontiguousarray(part).view("<f4")[:, 0]
    return table


def image_bgr(message: Any) -> np.ndarray:
    """Return an Image or CompressedImage as uint8 (height, width, 3): blue, green, red."""
    data = np.asarray(message.data, np.uint8)
    if not hasattr(message, "height"):
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        picture = cv2.imdecode(data, flags) if data.size else None
        if picture is None:
            raise ValueError(f"compressed image of {data.size} bytes that cannot be read")
        return picture
    if message.encoding not in _ENCODINGS:
        raise ValueError(f"image in {message.encoding!r}, want one of {', '.join(_ENCODINGS)}")
    channels, conversion = _ENCODINGS[message.encoding]
    height, width, step = message.height, message.width, message.step
    fits = step >= width * channels and data.size == height * step
    if not (0 < height * width <= MOST_PIXELS and fits):
        raise ValueError(f"image of {data.size} bytes that calls itself {width} x {height}")
    pixels = data.reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    return pixels if conversion is None else np.asarray(cv2.cvtColor(pixels, conversion))
