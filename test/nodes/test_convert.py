"""Between messages and arrays; and what is refused."""

from __future__ import annotations

import array
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
msg = pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from sensor_msgs.msg import CameraInfo  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from radar_pose_ros.nodes import convert  # noqa: E402
from radar_pose_ros.nodes.convert import InvalidMessageError  # noqa: E402
from radar_pose_ros.nodes.people import Person  # noqa: E402
from radar_pose_ros.radar.config import RadarConfig  # noqa: E402
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor  # noqa: E402
from radar_pose_ros.radar.ti_config import load_cfg  # noqa: E402
from radar_pose_ros.skeleton.definitions import HUPR14  # noqa: E402
from radar_pose_ros.skeleton.placement import Intrinsics  # noqa: E402

NOW_NS = 1_700_000_000_123_456_789


@pytest.fixture(scope="module")
def config() -> RadarConfig:
    return load_cfg(Path(__file__).resolve().parents[2] / "config" / "iwr1843.cfg")


def assembled(config: RadarConfig, rng: np.random.Generator) -> SimpleNamespace:
    loops, transmitters = config.adc_shape[:2]
    count = config.bytes_per_frame // 2
    return SimpleNamespace(
        index=7,
        epoch=1,
        data=rng.integers(-2000, 2000, count, dtype=np.int16),
        chirp_valid=np.ones(loops * transmitters, np.uint8),
        bytes_missing=0,
    )


def test_stamps_round_trip_to_the_nanosecond() -> None:
    assert convert.to_nanoseconds(convert.to_stamp(NOW_NS)) == NOW_NS


def test_a_stamp_of_zero_is_invalid() -> None:
    with pytest.raises(InvalidMessageError, match="time stamp not set"):
        convert.to_nanoseconds(convert.to_stamp(0))


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8, np.uint16])
def test_arrays_keep_every_bit(dtype: type, rng: np.random.Generator) -> None:
    values = rng.integers(0, 200, (3, 5, 7)).astype(dtype)
    result = convert.to_array(values[:, ::2])  # not contiguous
    assert isinstance(result, array.array)
    np.testing.assert_array_equal(np.frombuffer(result, dtype), values[:, ::2].ravel())


def test_configuration_round_trip(config: RadarConfig) -> None:
    message = convert.config_to_message(config, NOW_NS, "radar_h_link")
    assert message.header.frame_id == "radar_h_link"
    assert message.range_resolution_m == pytest.approx(0.0429, abs=1e-4)
    back = convert.message_to_config(message)
    assert back == replace(config, unknown_commands=())


def test_frame_round_trip(config: RadarConfig, rng: np.random.Generator) -> None:
    frame = assembled(config, rng)
    message = convert.adc_to_message(frame, config.adc_shape, NOW_NS, "radar_h_link")
    back = convert.message_to_adc(message)
    np.testing.assert_array_equal(back.data, frame.data)
    assert back.adc_shape == config.adc_shape
    assert (back.stamp_ns, back.frame_index, back.epoch) == (NOW_NS, 7, 1)


def test_heatmap_round_trip(config: RadarConfig, rng: np.random.Generator) -> None:
    processor = HeatmapProcessor(config, HeatmapConfig(range_first=31, range_bins=64))
    frame = assembled(config, rng)
    adc = convert.message_to_adc(
        convert.adc_to_message(frame, config.adc_shape, NOW_NS, "radar_h_link")
    )
    heatmap = processor(adc.data)
    axes = (processor.sine_axis, processor.velocity_axis_mps, processor.range_axis_m)
    message = convert.heatmap_to_message(heatmap, axes, adc, 0.5)
    np.testing.assert_array_equal(convert.message_to_heatmap(message), heatmap)
    for name, axis in (("sin_angle_{}", 0), ("velocity_{}_mps", 1), ("range_{}_m", 2)):
        first = getattr(message, name.format("first"))
        step = getattr(message, name.format("step"))
        size = len(axes[axis])
        np.testing.assert_allclose(first + step * np.arange(size), axes[axis], atol=1e-5)


def test_skeleton_round_trip() -> None:
    back = convert.message_to_skeleton(convert.skeleton_to_message(HUPR14))
    assert (back.name, back.joints, back.edges, back.left_right, back.root) == (
        HUPR14.name,
        HUPR14.joints,
        HUPR14.edges,
        HUPR14.left_right,
        HUPR14.root,
    )
    np.testing.assert_allclose(back.oks_sigmas, HUPR14.oks_sigmas, rtol=1e-6)


def test_pose_round_trips(rng: np.random.Generator) -> None:
    keypoints, confidence = rng.uniform(0, 256, (14, 2)), rng.uniform(0, 1, 14)
    head = convert.header(NOW_NS, "camera")
    message = convert.pose2d_to_message((keypoints, confidence), head)
    (person,) = convert.message_to_pose2d(message, 14)
    np.testing.assert_allclose(person, np.c_[keypoints, confidence], rtol=1e-6)
    assert message.poses[0].confidence == pytest.approx(confidence.mean())
    joints = rng.normal(size=(14, 3))
    head = convert.header(NOW_NS, "map")
    truth = convert.pose3d_to_message(joints, head, "hupr14", "simulation")
    np.testing.assert_array_equal(convert.message_to_pose3d(truth, 14)[0], joints)


@pytest.mark.parametrize("values", [2, 3])
def test_people_round_trip(values: int, rng: np.random.Generator) -> None:
    """All that a message says, of several people; NaN stays NaN."""
    people = [
        Person(
            keypoints=rng.uniform(0, 256, (14, values)),
            joint_confidence=rng.uniform(0, 1, 14),
            confidence=0.25 * (number + 1),
            number=number,
            root_relative=values == 3 and number == 1,
            origin=rng.integers(0, 3, 14).astype(np.uint8),
        )
        for number in (-1, 1, 2)
    ]
    matrix = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    people[2] = replace(people[2], covariance=np.arange(14.0)[:, None, None] * matrix)
    people[0].keypoints[4] = np.nan
    people[1].joint_confidence[5] = np.nan
    kind = msg.HumanPose2DArray if values == 2 else msg.HumanPose3DArray
    head = convert.header(NOW_NS, "camera")
    message = convert.people_to_message(kind, people, head, skeleton="hupr14", model="x")
    assert (message.header, message.skeleton, message.model) == (head, "hupr14", "x")
    for person, back in zip(people, convert.message_to_people(message, 14), strict=True):
        np.testing.assert_allclose(back.keypoints, person.keypoints, rtol=1e-6)
        np.testing.assert_allclose(back.joint_confidence, person.joint_confidence, rtol=1e-6)
        np.testing.assert_array_equal(back.origin, person.origin)
        assert back.confidence == pytest.approx(person.confidence)
        assert (back.number, back.root_relative) == (person.number, person.root_relative)
    if values == 3:
        assert np.isnan(message.poses[0].keypoints[0].covariance).all()
        upper = message.poses[2].keypoints[2].covariance  # xx xy xz yy yz zz
        np.testing.assert_array_equal(upper, [2.0, 4.0, 6.0, 8.0, 10.0, 12.0])
    message.poses[2].keypoints[0].confidence = float("inf")
    with pytest.raises(InvalidMessageError, match="infinity"):
        convert.message_to_people(message, 14)


@pytest.mark.parametrize("kind", [msg.Keypoint2D, msg.Keypoint3D])
def test_origins_have_the_numbers_of_the_refiner(kind: type) -> None:
    """And what says nothing was observed."""
    from radar_pose_ros.models.refiner import Origin

    for name in ("OBSERVED", "INTERPOLATED", "PREDICTED"):
        assert getattr(kind, name) == Origin[name]
    assert kind().origin == Origin.OBSERVED


def test_nobody_is_an_empty_list() -> None:
    head = convert.header(NOW_NS, "camera")
    message = convert.pose2d_to_message(None, head, skeleton="hupr14", missing_sources=["radar_v"])
    assert convert.message_to_pose2d(message, 14) == []
    assert (message.header, message.skeleton) == (head, "hupr14")
    assert message.missing_sources == ["radar_v"]


def test_a_camera_is_what_its_raw_image_is() -> None:
    message = CameraInfo(width=640, height=480, distortion_model="plumb_bob")
    message.k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    message.d = [0.1, -0.2, 0.0, 0.01, 0.3]
    expected = Intrinsics((500.0, 510.0), (320.0, 240.0), (640, 480), (0.1, -0.2, 0.0, 0.01, 0.3))
    assert convert.message_to_camera(message) == expected
    message.distortion_model = "equidistant"
    with pytest.raises(InvalidMessageError, match="lens not known"):
        convert.message_to_camera(message)
    with pytest.raises(InvalidMessageError, match="camera not calibrated"):
        convert.message_to_camera(CameraInfo(width=640, height=480))


def test_image_round_trip(rng: np.random.Generator) -> None:
    for shape in ((4, 6), (4, 6, 3)):
        image = rng.integers(0, 255, shape, dtype=np.uint8)
        message = convert.image_to_message(image, Header())
        np.testing.assert_array_equal(convert.message_to_image(message), image)


def test_points_have_the_documented_fields() -> None:
    columns = {
        name: np.arange(3.0) + k for k, name in enumerate(["x", "y", "z", "doppler", "snr"])
    }
    cloud = convert.points_to_message(columns, Header())
    assert [field.name for field in cloud.fields] == list(columns)
    table = np.frombuffer(cloud.data, np.float32).reshape(3, 5)
    np.testing.assert_array_equal(table, np.stack(list(columns.values()), 1))


def test_points_keep_their_values(rng: np.random.Generator) -> None:
    """In the order of `POINT_FIELDS`, whatever lies between; what is not there is NaN."""
    columns = {name: rng.normal(size=7) for name in ("snr", "x", "colour", "z", "y")}
    found = convert.message_to_points(convert.points_to_message(columns, Header()))
    wanted = [columns.get(name, np.full(7, np.nan)) for name in convert.POINT_FIELDS]
    np.testing.assert_array_equal(found, np.stack(wanted, 1).astype(np.float32))
    nothing = convert.points_to_message({name: np.zeros(0) for name in "xyz"}, Header())
    assert convert.message_to_points(nothing).shape == (0, 5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"width": 100_001}, "too many points: 100001, allowed is 100000"),
        ({"row_step": 11}, "points that are not packed as they say"),
        ({"is_bigendian": True}, "points that are not packed as they say"),
        ({"fields": []}, "points without a place: there is no field"),
    ],
)
def test_points_that_cannot_be_read_are_refused(change: dict[str, Any], sentence: str) -> None:
    cloud = convert.points_to_message({name: np.zeros(3) for name in "xyz"}, Header())
    for name, value in change.items():
        setattr(cloud, name, value)
    with pytest.raises(convert.InvalidMessageError, match=sentence):
        convert.message_to_points(cloud)


# -- R5: what must be refused ----------------------------------------------------------------


def small_frame() -> msg.RadarAdcFrame:
    return msg.RadarAdcFrame(
        header=convert.header(NOW_NS, "radar_h_link"),
        loops=2,
        transmitters=1,
        receivers=1,
        samples=4,
        data=array.array("h", range(16)),
        chirp_valid=array.array("B", [1, 1]),
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loops": 3}, "frame size differs from its shape"),
        ({"loops": 0}, "frame of impossible size"),
        ({"samples": 2_000_000_000}, "frame of impossible size"),
        ({"data": array.array("h")}, "frame size differs from its shape"),
        ({"chirp_valid": array.array("B", [1])}, "chirp_valid of wrong length"),
        ({"header": Header()}, "time stamp not set"),
    ],
)
def test_bad_frames_are_refused(change: dict, reason: str) -> None:
    convert.message_to_adc(small_frame())
    message = small_frame()
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InvalidMessageError) as caught:
        convert.message_to_adc(message)
    assert caught.value.reason == reason


def small_heatmap() -> msg.RadarHeatmap:
    return msg.RadarHeatmap(
        header=convert.header(NOW_NS, "radar_h_link"),
        angle_bins=2,
        doppler_bins=1,
        range_bins=3,
        data=array.array("f", range(12)),
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_heatmaps_that_are_not_finite_are_refused(value: float) -> None:
    message = small_heatmap()
    message.data[5] = value
    with pytest.raises(InvalidMessageError, match="NaN or infinity"):
        convert.message_to_heatmap(message)


def test_poses_with_infinity_are_refused_and_with_nan_are_not() -> None:
    keypoints = np.full((14, 2), 5.0)
    keypoints[3] = np.nan
    message = convert.pose2d_to_message((keypoints, np.ones(14)), convert.header(NOW_NS, ""))
    assert np.isnan(convert.message_to_pose2d(message, 14)[0][3, 0])
    message.poses[0].keypoints[4].x = float("inf")
    with pytest.raises(InvalidMessageError, match="infinity"):
        convert.message_to_pose2d(message, 14)
    with pytest.raises(InvalidMessageError, match="another number of joints"):
        convert.message_to_pose2d(message, 13)


@pytest.mark.parametrize("values", [2, 3])
def test_absurd_coordinates_are_refused(values: int) -> None:
    """As infinity is, with a sentence; 100 000 px and 10 km are the last ones that are not."""
    kind, farthest = (msg.HumanPose2DArray, 1e5) if values == 2 else (msg.HumanPose3DArray, 1e4)
    unit = "px" if values == 2 else "m"
    keypoints = np.full((14, values), 5.0)
    for value, fits in ((farthest, True), (-farthest, True), (1.01 * farthest, False)) + (
        (1e30, False),
        (-1e30, False),
    ):
        keypoints[3, 1] = value
        people = [Person(np.zeros((14, values)), np.ones(14), 1.0)]
        people.append(Person(keypoints, np.ones(14), 1.0))
        message = convert.people_to_message(kind, people, convert.header(NOW_NS, ""))
        if fits:
            assert convert.message_to_people(message, 14)[1].keypoints[3, 1] == value
            continue
        with pytest.raises(InvalidMessageError) as caught:
            convert.message_to_people(message, 14)
        assert caught.value.reason == "pose out of bounds"
        assert str(caught.value) == (
            f"pose out of bounds: y of joint 3 of person 1 is {value:g} {unit}, allowed is "
            f"-{farthest:.0f} to {farthest:.0f}, or NaN if it is not known"
        )


@pytest.mark.parametrize("kind", [msg.HumanPose2DArray, msg.HumanPose3DArray])
@pytest.mark.parametrize("whose", ["joint 2 of person 0", "person 0"])
def test_confidence_is_0_to_1_or_not_stated(kind: type, whose: str) -> None:
    planar = kind is msg.HumanPose2DArray
    person = Person(np.zeros((14, 2 if planar else 3)), np.ones(14), 1.0)
    message = convert.people_to_message(kind, [person], convert.header(NOW_NS, ""))
    pose = message.poses[0]
    where = pose.keypoints[2] if whose.startswith("joint") else pose
    for value in (0.0, 1.0, np.nan):
        where.confidence = value
        (read,) = convert.message_to_people(message, 14)
        found = read.joint_confidence[2] if whose.startswith("joint") else read.confidence
        np.testing.assert_equal(found, value)
    readers = [convert.message_to_people] + [convert.message_to_pose2d] * planar
    for value in (-1.0, 7.0, 1.5):
        where.confidence = value
        for read_ in readers:
            with pytest.raises(InvalidMessageError) as caught:
                read_(message, 14)
            assert caught.value.reason == "confidence outside 0..1"
            said = f"that of {whose} is {value:g}, allowed is 0 to 1, or NaN if it is not stated"
            assert said in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("device", "IWR9999", "configuration not usable"),
        ("slope_hz_per_s", float("nan"), "configuration not usable"),
        ("samples", 0, "frame of impossible size"),
        ("loops", 4_000_000_000, "frame of impossible size"),
        ("iq_order", 7, "iq_order unknown"),
        ("lvds_lanes", 4, "LVDS lanes other than 2"),
        ("tx_order", array.array("B"), "frame of impossible size"),
    ],
)
def test_bad_configurations_are_refused(
    config: RadarConfig, field: str, value: object, reason: str
) -> None:
    message = convert.config_to_message(config, NOW_NS, "radar_h_link")
    setattr(message, field, value)
    with pytest.raises(InvalidMessageError) as caught:
        convert.message_to_config(message)
    assert caught.value.reason == reason


def test_ten_thousand_damaged_messages_raise_nothing_else(config: RadarConfig) -> None:
    """R5: whatever the fields hold, the answer is a value or InvalidMessageError."""
    random_ = random.Random(5)
    sizes = [0, 1, 2, 3, 4, 16, 1 << 16, (1 << 32) - 1]
    floats = [0.0, -1.0, 1e38, float("nan"), float("inf"), float("-inf")]
    refused = 0
    for k in range(10_000):
        if k % 3 == 0:
            message, read = small_frame(), convert.message_to_adc
            names = ["loops", "transmitters", "receivers", "samples"]
        elif k % 3 == 1:
            message, read = small_heatmap(), convert.message_to_heatmap
            names = ["angle_bins", "doppler_bins", "range_bins"]
            message.data[random_.randrange(12)] = random_.choice(floats)
        else:
            message = convert.config_to_message(config, NOW_NS, "x")
            read = convert.message_to_config  # type: ignore[assignment]
            names = ["samples", "loops"]
            message.frame_period_s = random_.choice(floats)
            message.iq_order = random_.randrange(256)
        setattr(message, random_.choice(names), random_.choice(sizes))
        if random_.random() < 0.1:
            message.header.stamp.sec = random_.choice([0, -5])
            message.header.stamp.nanosec = random_.choice([0, (1 << 32) - 1])
        try:
            read(message)
        except InvalidMessageError:
            refused += 1
    assert refused > 5_000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": 0, "heart_rate_bpm": float("nan")}, "heart rate that no heart has"),
        ({"state": 0, "heart_rate_bpm": 301.0}, "heart rate that no heart has"),
        ({"state": 1, "standard_error_bpm": -1.0}, "heart rate with a wrong error"),
        ({"state": 1, "signal_quality": 1.5}, "heart rate of a wrong quality"),
        ({"header": Header()}, "time stamp not set"),
    ],
)
def test_hearts_that_none_has_are_refused(change: dict[str, Any], reason: str) -> None:
    fields = {"header": convert.header(NOW_NS, "eye"), "heart_rate_bpm": 72.0}
    convert.check_heart_rate(msg.HeartRate(**fields))
    with pytest.raises(InvalidMessageError) as caught:
        convert.check_heart_rate(msg.HeartRate(**{**fields, **change}))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "change",
    [
        {"range_step_m": 0.0},
        {"range_step_m": float("nan")},
        {"range_first_m": -1e9},
        {"range_step_m": 1e8},
        {"sin_angle_step": float("inf")},
        {"sin_angle_first": 7.0},
    ],
)
def test_heatmaps_whose_bins_are_nowhere_are_refused(change: dict[str, float]) -> None:
    message = small_heatmap()
    message.range_first_m, message.range_step_m = 1.0, 0.04
    message.sin_angle_first, message.sin_angle_step = -1.0, 1.0
    convert.check_axes(message)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InvalidMessageError, match="heatmap without axes"):
        convert.check_axes(message)


def test_what_no_radar_measures_is_refused(config: RadarConfig) -> None:
    heatmap = small_heatmap()
    heatmap.data[3] = 1e14
    with pytest.raises(InvalidMessageError, match="heatmap out of bounds"):
        convert.message_to_heatmap(heatmap)
    for name, value in (("slope_hz_per_s", 1.0), ("slope_hz_per_s", 1.7e308)):
        message = convert.config_to_message(config, NOW_NS, "x")
        setattr(message, name, value)
        with pytest.raises(InvalidMessageError, match="configuration not usable: it sees "):
            convert.message_to_config(message)
    skeleton = convert.skeleton_to_message(HUPR14)
    skeleton.root = 14
    with pytest.raises(InvalidMessageError, match="skeleton without its root"):
        convert.message_to_skeleton(skeleton)


def test_a_covariance_larger_than_the_world_is_refused() -> None:
    joints = np.zeros((14, 3))
    message = convert.pose3d_to_message(joints, convert.header(NOW_NS, "map"), "hupr14", "x")
    message.poses[0].keypoints[2].covariance[5] = 1e37
    with pytest.raises(InvalidMessageError, match="covariance out of bounds"):
        convert.message_to_covariances(message)


def test_what_was_found_is_told_in_a_line_of_some_length() -> None:
    error = InvalidMessageError("skeleton not defined yet", "x" * 10_000)
    assert len(str(error)) < 400 and str(error).endswith("...")
