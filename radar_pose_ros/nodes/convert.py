"""Between messages and what the ground floor works with: arrays, configurations, skeletons.

Arrays travel as `array.array`: assigned to a message field they are taken as they are, while a
numpy array or a list is checked element by element, which takes ten times longer than sending it.

Everything that comes in is checked before it is used. What a message says about itself may be
wrong in every way; then `InvalidMessageError` is raised, and the receiver counts and drops it. A
coordinate of a pose that nothing can have is such an error (`skeleton.plausible`).
"""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from radar_pose_ros import msg
from radar_pose_ros.nodes.people import Person
from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.points import PointCloud
from radar_pose_ros.radar.waveform import Waveform
from radar_pose_ros.skeleton.definitions import Skeleton
from radar_pose_ros.skeleton.placement import Intrinsics
from radar_pose_ros.skeleton.plausible import FARTHEST_M, FARTHEST_PX
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.frames import Placement

NANOSECONDS = 1_000_000_000
MAX_ADC_VALUES = 32 * 1024 * 1024  # 64 MiB of int16, the largest frame that a driver accepts
MAX_HEATMAP_VALUES = 16 * 1024 * 1024
# No radar of these tells ranges or speeds better, or sees farther: a centimetre, 300 m and 100 m/s
# are much [choice].
FINEST_SEEN_M, FARTHEST_SEEN_M, FASTEST_SEEN_MPS = 1e-3, 1000.0, 1000.0
LOUDEST = 1e13  # of a heatmap: int16 over 4096 samples, 1024 chirps and 12 antennas is 2e12
MAX_KEYPOINTS = 1024
MAX_POINTS = 100_000
FASTEST_BPM = 300.0  # no heart beats faster
LONGEST_DETAIL = 300  # characters of what was found: names in messages have no end
POINT_FIELDS = ("x", "y", "z", "doppler", "snr")
_TYPECODES = {"int16": "h", "float32": "f", "uint8": "B", "uint16": "H"}
_UPPER = np.triu_indices(3)  # xx xy xz yy yz zz
_IQ_ORDERS = {"IQ": msg.RadarConfig.IQ, "QI": msg.RadarConfig.QI}


class InvalidMessageError(ValueError):
    """A message that must not be used.

    Parameters
    ----------
    reason : str
        A few words, the same for all messages with this fault: the name of a counter.
    detail : str
        What exactly was found.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        if len(detail) > LONGEST_DETAIL:
            detail = f"{detail[:LONGEST_DETAIL]}..."
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def require(condition: bool, reason: str, detail: str = "") -> None:
    """Raise `InvalidMessageError` unless the condition holds."""
    if not condition:
        raise InvalidMessageError(reason, detail)


# -- time ------------------------------------------------------------------------------------


def to_stamp(time_ns: int) -> Time:
    """Return a time stamp for nanoseconds since the epoch."""
    return Time(sec=time_ns // NANOSECONDS, nanosec=time_ns % NANOSECONDS)


def to_nanoseconds(stamp: Time) -> int:
    """Return a time stamp as nanoseconds since the epoch; zero and negative ones are invalid."""
    time_ns = stamp.sec * NANOSECONDS + stamp.nanosec
    require(time_ns > 0 and stamp.nanosec < NANOSECONDS, "time stamp not set")
    return time_ns


def header(time_ns: int, frame_id: str) -> Header:
    """Return a header."""
    return Header(stamp=to_stamp(time_ns), frame_id=frame_id)


# -- arrays ----------------------------------------------------------------------------------


def to_array(values: np.ndarray) -> array.array:
    """Return a copy of a numpy array, flattened, as the type that message fields take fast."""
    flat = np.ascontiguousarray(values)
    result = array.array(_TYPECODES[flat.dtype.name])
    result.frombytes(memoryview(flat).cast("B"))
    return result


def _product(name: str, sizes: Sequence[int], limit: int) -> int:
    count = math.prod(sizes)
    require(0 < count <= limit, f"{name} of impossible size", f"{list(sizes)}")
    return count


# -- radar -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class AdcFrame:
    """A checked RadarAdcFrame; ``data`` is a view of the message's own memory."""

    stamp_ns: int
    frame_id: str
    frame_index: int
    epoch: int
    adc_shape: tuple[int, int, int, int]  # (loops, tx, rx, samples)
    data: np.ndarray  # int16, flat
    chirp_valid: np.ndarray  # uint8 (loops * tx,)


def config_to_message(config: RadarConfig, stamp_ns: int, frame_id: str) -> msg.RadarConfig:
    """Return the message for a radar's configuration."""
    wave = config.waveform
    message = msg.RadarConfig(
        header=header(stamp_ns, frame_id),
        device=config.device,
        source=config.source,
        commands="\n".join(config.commands),
        rx_gain_db=float(config.rx_gain_db),
        tx_order=array.array("B", config.tx_order),
        rx_antennas=array.array("B", config.rx_antennas),
        iq_order=_IQ_ORDERS[config.iq_order],
        lvds_lanes=2,
        max_range_m=wave.max_range_m,
        range_resolution_m=wave.range_resolution_m,
        max_velocity_mps=wave.max_velocity_mps,
        velocity_resolution_mps=wave.velocity_resolution_mps,
    )
    for name in ("samples", "loops"):
        setattr(message, name, int(getattr(wave, name)))
    for name in _WAVEFORM_TIMES:
        setattr(message, name, float(getattr(wave, name)))
    return message


_WAVEFORM_TIMES = (
    "start_frequency_hz",
    "slope_hz_per_s",
    "sample_rate_hz",
    "idle_time_s",
    "adc_start_time_s",
    "ramp_end_time_s",
    "frame_period_s",
)


def message_to_config(message: msg.RadarConfig) -> RadarConfig:
    """Return the configuration that a message describes."""
    orders = {number: name for name, number in _IQ_ORDERS.items()}
    require(message.iq_order in orders, "iq_order unknown", f"{message.iq_order}")
    require(message.lvds_lanes == 2, "LVDS lanes other than 2", f"{message.lvds_lanes}")
    _product(
        "frame",
        (message.samples, message.loops, len(message.tx_order), len(message.rx_antennas), 2),
        MAX_ADC_VALUES,
    )
    try:
        wave = Waveform(
            samples=message.samples,
            loops=message.loops,
            transmitters=len(message.tx_order),
            **{name: getattr(message, name) for name in _WAVEFORM_TIMES},
        )
        step_m, far_m, fast_mps = wave.range_resolution_m, wave.max_range_m, wave.max_velocity_mps
        require(
            step_m >= FINEST_SEEN_M and far_m <= FARTHEST_SEEN_M and fast_mps <= FASTEST_SEEN_MPS,
            "configuration not usable",
            f"it sees {step_m:g} m apart, {far_m:g} m far and up to {fast_mps:g} m/s, allowed are "
            f"{FINEST_SEEN_M:g} m, {FARTHEST_SEEN_M:g} m and {FASTEST_SEEN_MPS:g} m/s",
        )
        return RadarConfig(
            device=message.device,
            waveform=wave,
            tx_order=tuple(message.tx_order),
            rx_antennas=tuple(message.rx_antennas),
            iq_order=orders[message.iq_order],  # type: ignore[arg-type]
            rx_gain_db=message.rx_gain_db,
            commands=tuple(message.commands.splitlines()),
            source=message.source,
        )
    except InvalidMessageError:
        raise
    except (ConfigError, ValueError, OverflowError) as error:
        raise InvalidMessageError("configuration not usable", str(error)) from None


def adc_to_message(
    frame: Any, adc_shape: tuple[int, int, int, int], stamp_ns: int, frame_id: str
) -> msg.RadarAdcFrame:
    """Return the message for an `assembler.AssembledFrame`."""
    loops, transmitters, receivers, samples = adc_shape
    return msg.RadarAdcFrame(
        header=header(stamp_ns, frame_id),
        frame_index=int(frame.index),
        epoch=int(frame.epoch),
        loops=loops,
        transmitters=transmitters,
        receivers=receivers,
        samples=samples,
        data=to_array(frame.data),
        chirp_valid=to_array(frame.chirp_valid),
        bytes_missing=int(frame.bytes_missing),
    )


def message_to_adc(message: msg.RadarAdcFrame) -> AdcFrame:
    """Return a frame of raw samples after checking that its sizes agree."""
    shape = (message.loops, message.transmitters, message.receivers, message.samples)
    count = _product("frame", (*shape, 2), MAX_ADC_VALUES)
    require(len(message.data) == count, "frame size differs from its shape", f"{shape}")
    chirps = message.loops * message.transmitters
    require(len(message.chirp_valid) == chirps, "chirp_valid of wrong length")
    return AdcFrame(
        stamp_ns=to_nanoseconds(message.header.stamp),
        frame_id=message.header.frame_id,
        frame_index=message.frame_index,
        epoch=message.epoch,
        adc_shape=shape,
        data=np.frombuffer(message.data, np.int16),
        chirp_valid=np.frombuffer(message.chirp_valid, np.uint8),
    )


def heatmap_to_message(
    heatmap: np.ndarray,
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
    frame: AdcFrame,
    valid_ratio: float,
) -> msg.RadarHeatmap:
    """Return the message for a complex64 heatmap of shape (angle, doppler, range).

    Parameters
    ----------
    axes : tuple of ndarray
        Sine of the angle, velocity (m/s) and range (m) of each bin, evenly spaced.
    frame : AdcFrame
        Where the heatmap comes from.
    """
    message = msg.RadarHeatmap(
        header=header(frame.stamp_ns, frame.frame_id),
        frame_index=frame.frame_index,
        epoch=frame.epoch,
        data=to_array(heatmap.astype(np.complex64, copy=False).view(np.float32)),
        valid_ratio=float(valid_ratio),
    )
    message.angle_bins, message.doppler_bins, message.range_bins = heatmap.shape
    sine, velocity, distance = ([float(v) for v in axis[:2]] for axis in axes)
    message.sin_angle_first, message.sin_angle_step = sine[0], sine[1] - sine[0]
    message.velocity_first_mps, message.velocity_step_mps = velocity[0], velocity[1] - velocity[0]
    message.range_first_m, message.range_step_m = distance[0], distance[1] - distance[0]
    return message


def message_to_heatmap(message: msg.RadarHeatmap) -> np.ndarray:
    """Return a heatmap as complex64 (angle, doppler, range), a view, after checking it."""
    to_nanoseconds(message.header.stamp)
    shape = (message.angle_bins, message.doppler_bins, message.range_bins)
    count = _product("heatmap", (*shape, 2), MAX_HEATMAP_VALUES)
    require(len(message.data) == count, "heatmap size differs from its shape", f"{shape}")
    values = np.frombuffer(message.data, np.float32)
    low, high = float(values.min()), float(values.max())  # NaN is both, if there is one
    require(math.isfinite(low) and math.isfinite(high), "heatmap with NaN or infinity")
    require(max(-low, high) <= LOUDEST, "heatmap out of bounds", f"{low:g} .. {high:g}")
    return values.view(np.complex64).reshape(shape)


def check_axes(message: msg.RadarHeatmap) -> None:
    """Refuse a heatmap whose bins are nowhere: not known, or farther than 10 km."""
    first_m, step_m = message.range_first_m, message.range_step_m
    sine, step = message.sin_angle_first, message.sin_angle_step
    near = -step_m <= first_m and first_m + step_m * message.range_bins <= FARTHEST_M
    wide = abs(sine) <= 1 + step and abs(sine + step * message.angle_bins) <= 1 + step
    require(
        0 < step_m < math.inf and 0 < step <= 2 and near and wide,
        "heatmap without axes",
        f"ranges from {first_m:g} m in steps of {step_m:g} m, sines from {sine:g} in {step:g}",
    )


def points_to_message(fields: dict[str, np.ndarray], head: Header) -> PointCloud2:
    """Return an unorganised cloud with one float32 field per entry, each of shape (n,)."""
    table = np.stack([np.asarray(column, np.float32) for column in fields.values()], axis=-1)
    step = 4 * len(fields)
    return PointCloud2(
        header=head,
        height=1,
        width=len(table),
        fields=[
            PointField(name=name, offset=4 * k, datatype=PointField.FLOAT32, count=1)
            for k, name in enumerate(fields)
        ],
        point_step=step,
        row_step=step * len(table),
        data=array.array("B", table.tobytes()),
        is_dense=bool(np.isfinite(table).all()),
    )


def cloud_to_message(cloud: PointCloud, head: Header) -> PointCloud2:
    """Return the message for a radar's points: x, y, z in m, doppler in m/s, snr in dB."""
    columns = (cloud.x, cloud.y, cloud.z, cloud.velocity, cloud.snr)
    return points_to_message(dict(zip(POINT_FIELDS, columns, strict=True)), head)


def message_to_points(message: PointCloud2) -> np.ndarray:
    """Return x, y, z (m), radial velocity (m/s) and strength (dB) of a cloud's points, (n, 5).

    Velocities and strengths are NaN if the message has no such fields.
    """
    count, step = message.width * message.height, message.point_step
    require(count <= MAX_POINTS, "too many points", f"{count}, allowed is {MAX_POINTS}")
    fits = message.row_step == step * message.width and len(message.data) == step * count
    require(fits and not message.is_bigendian, "points that are not packed as they say")
    offsets = {field.name: field for field in message.fields}
    missing = [name for name in POINT_FIELDS[:3] if name not in offsets]
    require(not missing, "points without a place", f"there is no field {missing}")
    points = np.full((count, len(POINT_FIELDS)), np.nan, np.float32)
    for column, name in enumerate(POINT_FIELDS):
        field = offsets.get(name)
        if field is None:
            continue
        usable = field.datatype == PointField.FLOAT32 and field.offset + 4 <= step
        require(usable or not count, "points that are no float32", f"field {name}")
        if count:
            raw = np.frombuffer(message.data, np.uint8).reshape(count, step)
            values = raw[:, field.offset : field.offset + 4].copy().view("<f4")
            points[:, column] = values[:, 0]
    return points


# -- images ----------------------------------------------------------------------------------


def image_to_message(image: np.ndarray, head: Header) -> Image:
    """Return the message for a uint8 image, (height, width) grey or (height, width, 3) RGB."""
    return Image(
        header=head,
        height=image.shape[0],
        width=image.shape[1],
        encoding="mono8" if image.ndim == 2 else "rgb8",
        step=image.shape[1] * (1 if image.ndim == 2 else 3),
        data=to_array(image),
    )


def message_to_image(message: Image) -> np.ndarray:
    """Return a ``mono8`` or ``rgb8`` image as a uint8 view."""
    channels = {"mono8": 1, "rgb8": 3}.get(message.encoding, 0)
    require(channels > 0, "image encoding not known", f"{message.encoding!r}")
    count = _product("image", (message.height, message.width, channels), MAX_HEATMAP_VALUES)
    require(
        message.step == message.width * channels and len(message.data) == count,
        "image size differs from its shape",
    )
    pixels = np.frombuffer(message.data, np.uint8)
    shape = (message.height, message.width, channels)
    return pixels.reshape(shape[: 2 if channels == 1 else 3])


# -- hearts ----------------------------------------------------------------------------------


def check_heart_rate(message: msg.HeartRate) -> None:
    """Refuse a rate that no heart has, and doubts of it that are none."""
    to_nanoseconds(message.header.stamp)
    bpm, known = message.heart_rate_bpm, message.state == msg.HeartRate.OK
    require(not known or 0 < bpm <= FASTEST_BPM, "heart rate that no heart has", f"{bpm:g}")
    error_bpm, quality = message.standard_error_bpm, message.signal_quality
    require(math.isnan(error_bpm) or 0 <= error_bpm < math.inf, "heart rate with a wrong error")
    require(math.isnan(quality) or 0 <= quality <= 1, "heart rate of a wrong quality")


# -- cameras ---------------------------------------------------------------------------------


def message_to_camera(message: CameraInfo) -> Intrinsics:
    """Return what a message says of the raw image; its rectification is not looked at."""
    model = message.distortion_model
    require(any(message.k), "camera not calibrated", "K is all zero")
    require(model in ("", "plumb_bob", "rational_polynomial"), "lens not known", f"{model!r}")
    binned = max(message.binning_x, message.binning_y) > 1
    part = (message.roi.width, message.roi.height) not in (
        (0, 0),
        (message.width, message.height),
    )
    require(not (binned or part), "image with binning or of a part only")
    try:
        return Intrinsics(
            focal_px=(message.k[0], message.k[4]),
            centre_px=(message.k[2], message.k[5]),
            size_px=(message.width, message.height),
            distortion=tuple(message.d),
        )
    except ValueError as error:
        raise InvalidMessageError("camera not calibrated", str(error)) from None


def camera_at(lens: Intrinsics, where: Placement) -> PinholeCamera:
    """Return a camera whose optical frame is placed in the world."""
    try:
        return PinholeCamera(
            focal_px=lens.focal_px,
            centre_px=lens.centre_px,
            size_px=lens.size_px,
            rotation=where.rotation.T,
            position_m=where.translation_m,
            distortion=lens.distortion,
        )
    except ValueError as error:
        raise InvalidMessageError("camera not usable", str(error)) from None


def camera_to_message(camera: PinholeCamera, head: Header) -> CameraInfo:
    """Return what there is to say of a camera's lens; the image is not rectified."""
    return CameraInfo(
        header=head,
        width=camera.size_px[0],
        height=camera.size_px[1],
        distortion_model="rational_polynomial" if len(camera.distortion) > 5 else "plumb_bob",
        d=[*camera.distortion, *[0.0] * (5 - len(camera.distortion))],
        k=camera.matrix.ravel(),
        r=np.eye(3).ravel(),
        p=np.column_stack([camera.matrix, np.zeros(3)]).ravel(),
    )


# -- poses -----------------------------------------------------------------------------------


def skeleton_to_message(skeleton: Skeleton) -> msg.SkeletonDefinition:
    """Return the message for a skeleton."""
    return msg.SkeletonDefinition(
        name=skeleton.name,
        joints=list(skeleton.joints),
        edges=array.array("H", [joint for edge in skeleton.edges for joint in edge]),
        root=skeleton.root,
        left_right=array.array("H", [joint for pair in skeleton.left_right for joint in pair]),
        oks_sigmas=array.array("f", skeleton.oks_sigmas),
    )


def message_to_skeleton(message: msg.SkeletonDefinition) -> Skeleton:
    """Return the skeleton that a message defines."""
    require(0 < len(message.joints) <= MAX_KEYPOINTS, "skeleton of impossible size")
    require(
        len(message.edges) % 2 == 0 and len(message.left_right) % 2 == 0,
        "skeleton with half a pair of joints",
    )
    require(-1 <= message.root < len(message.joints), "skeleton without its root")
    try:
        return Skeleton(
            name=message.name,
            joints=tuple(message.joints),
            edges=tuple(zip(message.edges[::2], message.edges[1::2], strict=True)),
            left_right=tuple(zip(message.left_right[::2], message.left_right[1::2], strict=True)),
            oks_sigmas=tuple(message.oks_sigmas),
            root=message.root,
        )
    except ValueError as error:
        raise InvalidMessageError("skeleton not usable", str(error)) from None


def pose2d_to_message(
    pose: tuple[np.ndarray, np.ndarray] | None, head: Header, **about: Any
) -> msg.HumanPose2DArray:
    """Return the message for one person, or for nobody.

    Parameters
    ----------
    pose : tuple of ndarray, or None
        Keypoints ``(joints, 2)`` in px, NaN where not known, and their confidence ``(joints,)``,
        0..1, whose mean is the person's. None: nobody was found.
    about : Any
        Other fields of HumanPose2DArray: skeleton, model, image_width, image_height,
        missing_sources.
    """
    message = msg.HumanPose2DArray(header=head, **about)
    if pose is not None:
        keypoints_px, confidence = pose
        person = msg.HumanPose2D(id=-1, confidence=float(np.mean(confidence)))
        person.keypoints = [
            msg.Keypoint2D(x=float(x), y=float(y), confidence=float(c))
            for (x, y), c in zip(keypoints_px, confidence, strict=True)
        ]
        message.poses = [person]
    return message


def _check_coordinates(values: np.ndarray, person: int, farthest: float, unit: str) -> None:
    """Refuse infinity, and what is as good as that; NaN is a joint that is not known."""
    require(not np.isinf(values).any(), "pose with infinity")
    far = np.argwhere(np.abs(values) > farthest)
    if len(far):
        joint, axis = far[0]
        raise InvalidMessageError(
            "pose out of bounds",
            f"{'xyz'[axis]} of joint {joint} of person {person} is {values[joint, axis]:g} "
            f"{unit}, allowed is {-farthest:.0f} to {farthest:.0f}, or NaN if it is not known",
        )


def _check_confidence(values: np.ndarray, person: int) -> None:
    """Refuse what is not 0..1; NaN is a confidence that is not stated.

    Takes those of a person's joints and, as the last one, the person's own.
    """
    require(not np.isinf(values).any(), "pose with infinity")
    wrong = np.flatnonzero((values < 0) | (values > 1))
    if len(wrong):
        whose = f"joint {wrong[0]} of " if wrong[0] < len(values) - 1 else ""
        raise InvalidMessageError(
            "confidence outside 0..1",
            f"that of {whose}person {person} is {values[wrong[0]]:g}, allowed is 0 to 1, or NaN "
            "if it is not stated",
        )


def message_to_pose2d(message: msg.HumanPose2DArray, joints: int) -> list[np.ndarray]:
    """Return one (joints, 3) array of x, y (px) and confidence per person; NaN where unknown."""
    to_nanoseconds(message.header.stamp)
    people = []
    for number, person in enumerate(message.poses):
        require(len(person.keypoints) == joints, "pose with another number of joints")
        values = np.array([(k.x, k.y, k.confidence) for k in person.keypoints], np.float64)
        _check_coordinates(values[:, :2], number, FARTHEST_PX, "px")
        _check_confidence(np.append(values[:, 2], person.confidence), number)
        people.append(values)
    return people


def pose3d_to_message(
    joints_m: np.ndarray, head: Header, skeleton: str, model: str
) -> msg.HumanPose3DArray:
    """Return the message for one person, (joints, 3) m, whose positions are known exactly."""
    person = msg.HumanPose3D(id=0, confidence=1.0, root_relative=False)
    person.keypoints = [
        msg.Keypoint3D(
            position=Point(x=float(x), y=float(y), z=float(z)),
            confidence=1.0,
            covariance=np.zeros(6, np.float32),
        )
        for x, y, z in joints_m
    ]
    return msg.HumanPose3DArray(header=head, skeleton=skeleton, model=model, poses=[person])


def message_to_pose3d(message: msg.HumanPose3DArray, joints: int) -> list[np.ndarray]:
    """Return one (joints, 3) array of positions (m) per person; NaN where unknown."""
    to_nanoseconds(message.header.stamp)
    people = []
    for number, person in enumerate(message.poses):
        require(len(person.keypoints) == joints, "pose with another number of joints")
        positions = (keypoint.position for keypoint in person.keypoints)
        values = np.array([(p.x, p.y, p.z) for p in positions], np.float64)
        _check_coordinates(values, number, FARTHEST_M, "m")
        people.append(values)
    return people


def message_to_covariances(message: msg.HumanPose3DArray) -> list[np.ndarray]:
    """Return one (joints, 3, 3) array of covariances (m^2) per person; NaN where not known."""
    people = []
    for person in message.poses:
        upper = np.array([k.covariance for k in person.keypoints], np.float64).reshape(-1, 6)
        require(not np.isinf(upper).any(), "covariance with infinity")
        far = np.abs(upper) > FARTHEST_M**2  # NaN is not
        require(not far.any(), "covariance out of bounds", f"{upper[far][:1]} m^2")
        spread = np.empty((len(upper), 3, 3))
        spread[:, _UPPER[0], _UPPER[1]] = spread[:, _UPPER[1], _UPPER[0]] = upper
        people.append(spread)
    return people


def message_to_people(
    message: msg.HumanPose2DArray | msg.HumanPose3DArray, joints: int
) -> list[Person]:
    """Return all that a message says of people, in an image or in space."""
    planar = isinstance(message, msg.HumanPose2DArray)
    read = message_to_pose2d if planar else message_to_pose3d
    people = []
    for number, (person, values) in enumerate(
        zip(message.poses, read(message, joints), strict=True)
    ):
        confidence = np.array([k.confidence for k in person.keypoints], np.float64)
        _check_confidence(np.append(confidence, person.confidence), number)
        people.append(
            Person(
                keypoints=values[:, :2] if planar else values,
                joint_confidence=confidence,
                confidence=person.confidence,
                number=person.id,
                root_relative=not planar and person.root_relative,
                origin=np.array([k.origin for k in person.keypoints], np.uint8),
            )
        )
    return people


def people_to_message(
    message_type: type, people: Sequence[Person], head: Header, **about: Any
) -> Any:
    """Return a HumanPose2DArray or HumanPose3DArray.

    Parameters
    ----------
    message_type : type
        Which of them.
    people : sequence of Person
    about : Any
        Other fields of the message.
    """
    planar = message_type is msg.HumanPose2DArray
    message = message_type(header=head, **about)
    for person in people:
        pose = msg.HumanPose2D() if planar else msg.HumanPose3D(root_relative=person.root_relative)
        pose.id, pose.confidence = person.number, float(person.confidence)
        joints = len(person.keypoints)
        origin = np.zeros(joints) if person.origin is None else person.origin
        spread = (
            np.full((joints, 3, 3), np.nan) if person.covariance is None else person.covariance
        )
        upper = spread[:, _UPPER[0], _UPPER[1]].astype(np.float32)
        for values, confidence, source, covariance in zip(
            person.keypoints.tolist(), person.joint_confidence.tolist(), origin, upper, strict=True
        ):
            common = {"confidence": confidence, "origin": int(source)}
            if planar:
                keypoint = msg.Keypoint2D(x=values[0], y=values[1], **common)
            else:
                point = Point(x=values[0], y=values[1], z=values[2])
                keypoint = msg.Keypoint3D(position=point, covariance=covariance, **common)
            pose.keypoints.append(keypoint)
        message.poses.append(pose)
    return message
