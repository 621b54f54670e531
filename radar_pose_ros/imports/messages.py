"""The messages that nodes publish, made without ROS: the same fields from the same numbers.

All functions return objects of the classes of `recording.message_class`. Stamps are in nanoseconds
since 1970.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from radar_pose_ros.radar.assembler import AssembledFrame
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.recording import message_class
from radar_pose_ros.resources import PACKAGE
from radar_pose_ros.skeleton.definitions import Skeleton
from radar_pose_ros.vision.camera import PinholeCamera

POINT_FIELDS = ("x", "y", "z", "doppler", "snr")
JPEG_QUALITY = 90
_NANOSECONDS = 1_000_000_000
_FLOAT32 = 7  # sensor_msgs/PointField
_WAVEFORM = (
    "start_frequency_hz",
    "slope_hz_per_s",
    "sample_rate_hz",
    "samples",
    "idle_time_s",
    "adc_start_time_s",
    "ramp_end_time_s",
    "loops",
    "frame_period_s",
    "range_resolution_m",
    "max_range_m",
    "max_velocity_mps",
    "velocity_resolution_mps",
)


def header(stamp_ns: int, frame_id: str) -> Any:
    """Return a header."""
    stamp = message_class("builtin_interfaces/msg/Time")(
        sec=stamp_ns // _NANOSECONDS, nanosec=stamp_ns % _NANOSECONDS
    )
    return message_class("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id)


def radar_config(config: RadarConfig, stamp_ns: int, frame_id: str) -> Any:
    """Return a radar's configuration."""
    kind = message_class(f"{PACKAGE}/msg/RadarConfig")
    return kind(
        header=header(stamp_ns, frame_id),
        device=config.device,
        source=config.source,
        commands="\n".join(config.commands),
        rx_gain_db=config.rx_gain_db,
        tx_order=np.array(config.tx_order, np.uint8),
        rx_antennas=np.array(config.rx_antennas, np.uint8),
        iq_order=kind.QI if config.iq_order == "QI" else kind.IQ,
        lvds_lanes=2,
        **{name: getattr(config.waveform, name) for name in _WAVEFORM},
    )


def adc_frame(frame: AssembledFrame, config: RadarConfig, stamp_ns: int, frame_id: str) -> Any:
    """Return a frame of raw samples, with what is missing in it."""
    loops, transmitters, receivers, samples = config.adc_shape
    return message_class(f"{PACKAGE}/msg/RadarAdcFrame")(
        header=header(stamp_ns, frame_id),
        frame_index=frame.index,
        epoch=frame.epoch,
        loops=loops,
        transmitters=transmitters,
        receivers=receivers,
        samples=samples,
        data=frame.data,
        chirp_valid=frame.chirp_valid,
        bytes_missing=frame.bytes_missing,
    )


def points(cloud: np.ndarray, stamp_ns: int, frame_id: str) -> Any:
    """Return a radar's points, (n, 5): x, y, z in m, doppler in m/s, snr in dB; NaN is unknown."""
    table = np.ascontiguousarray(cloud, np.float32)
    field = message_class("sensor_msgs/msg/PointField")
    step = 4 * len(POINT_FIELDS)
    return message_class("sensor_msgs/msg/PointCloud2")(
        header=header(stamp_ns, frame_id),
        height=1,
        width=len(table),
        fields=[
            field(name=name, offset=4 * k, datatype=_FLOAT32, count=1)
            for k, name in enumerate(POINT_FIELDS)
        ],
        is_bigendian=False,
        point_step=step,
        row_step=step * len(table),
        data=table.view(np.uint8).reshape(-1),
        is_dense=bool(np.isfinite(table).all()),
    )


def skeleton(definition: Skeleton) -> Any:
    """Return the meaning of keypoints' order."""
    return message_class(f"{PACKAGE}/msg/SkeletonDefinition")(
        name=definition.name,
        joints=list(definition.joints),
        edges=np.array(definition.edges, np.uint16).reshape(-1),
        root=definition.root,
        left_right=np.array(definition.left_right, np.uint16).reshape(-1),
        oks_sigmas=np.array(definition.oks_sigmas, np.float32),
    )


def pose2d(
    people: Iterable[tuple[np.ndarray, np.ndarray]],
    stamp_ns: int,
    frame_id: str,
    *,
    skeleton: str,
    model: str,
    size_px: tuple[int, int],
) -> Any:
    """Return the people in an image.

    Parameters
    ----------
    people : iterable of (ndarray, ndarray)
        Of each, keypoints (joints, 2) in px, NaN where not known, and their confidence (joints,),
        NaN where none is stated; the mean of what is stated is the person's.
    """
    keypoint = message_class(f"{PACKAGE}/msg/Keypoint2D")
    person = message_class(f"{PACKAGE}/msg/HumanPose2D")
    return message_class(f"{PACKAGE}/msg/HumanPose2DArray")(
        header=header(stamp_ns, frame_id),
        skeleton=skeleton,
        model=model,
        image_width=size_px[0],
        image_height=size_px[1],
        missing_sources=[],
        poses=[
            person(
                id=-1,
                confidence=float(np.nanmean(stated)) if not np.isnan(stated).all() else math.nan,
                keypoints=[
                    keypoint(x=float(x), y=float(y), confidence=float(c), origin=keypoint.OBSERVED)
                    for (x, y), c in zip(keypoints, stated, strict=True)
                ],
            )
            for keypoints, stated in people
        ],
    )


def pose3d(
    joints_m: np.ndarray, stamp_ns: int, frame_id: str, *, skeleton: str, model: str
) -> Any:
    """Return one person in space, (joints, 3) m, NaN where not known; nothing states how sure."""
    keypoint = message_class(f"{PACKAGE}/msg/Keypoint3D")
    point = message_class("geometry_msgs/msg/Point")
    unknown = np.full(6, np.nan, np.float32)
    person = message_class(f"{PACKAGE}/msg/HumanPose3D")(
        id=0,
        confidence=math.nan,
        root_relative=False,
        keypoints=[
            keypoint(
                position=point(x=float(x), y=float(y), z=float(z)),
                confidence=0.0 if math.isnan(x + y + z) else math.nan,
                covariance=unknown,
                origin=keypoint.OBSERVED,
            )
            for x, y, z in joints_m
        ],
    )
    return message_class(f"{PACKAGE}/msg/HumanPose3DArray")(
        header=header(stamp_ns, frame_id),
        skeleton=skeleton,
        model=model,
        missing_sources=[],
        poses=[person],
    )


def camera_info(camera: PinholeCamera, stamp_ns: int, frame_id: str) -> Any:
    """Return what there is to say of a camera's lens; the image is not rectified."""
    region = message_class("sensor_msgs/msg/RegionOfInterest")
    lens = [*camera.distortion, *[0.0] * (5 - len(camera.distortion))]
    return message_class("sensor_msgs/msg/CameraInfo")(
        header=header(stamp_ns, frame_id),
        width=camera.size_px[0],
        height=camera.size_px[1],
        distortion_model="rational_polynomial" if len(camera.distortion) > 5 else "plumb_bob",
        d=np.array(lens, np.float64),
        k=camera.matrix.ravel().astype(np.float64),
        r=np.eye(3).ravel(),
        p=np.column_stack([camera.matrix, np.zeros(3)]).ravel().astype(np.float64),
        binning_x=0,
        binning_y=0,
        roi=region(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def image(pixels: np.ndarray, stamp_ns: int, frame_id: str) -> Any:
    """Return an image, uint8 (height, width, 3), blue, green and red."""
    height, width = pixels.shape[:2]
    return message_class("sensor_msgs/msg/Image")(
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding="bgr8",
        is_bigendian=0,
        step=3 * width,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def compressed_image(pixels: np.ndarray, stamp_ns: int, frame_id: str) -> Any:
    """Return the same as JPEG."""
    made, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert made
    return message_class("sensor_msgs/msg/CompressedImage")(
        header=header(stamp_ns, frame_id),
        format="bgr8; jpeg compressed bgr8",
        data=np.asarray(data, np.uint8).reshape(-1),
    )


def static_transforms(parent: str, cameras: Mapping[str, PinholeCamera], stamp_ns: int) -> Any:
    """Return where the optical frames of cameras, by the frames' names, are in their world."""
    vector = message_class("geometry_msgs/msg/Vector3")
    quaternion = message_class("geometry_msgs/msg/Quaternion")
    transform = message_class("geometry_msgs/msg/Transform")
    stamped = message_class("geometry_msgs/msg/TransformStamped")
    made = []
    for child, camera in cameras.items():
        turn: Sequence[float] = Rotation.from_matrix(camera.rotation.T).as_quat().tolist()
        made.append(
            stamped(
                header=header(stamp_ns, parent),
                child_frame_id=child,
                transform=transform(
                    translation=vector(*camera.position_m.tolist()), rotation=quaternion(*turn)
                ),
            )
        )
    return message_class("tf2_msgs/msg/TFMessage")(transforms=made)
