# ruff: noqa: E402
"""What is logged for each kind of message: entities, metres, pixels, colours, times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rerun_files import rows_of

rr = pytest.importorskip("rerun", reason="rerun-sdk is not installed: Python 3.11 and later only")

from radar_pose_ros.recording import message_class
from radar_pose_ros.skeleton import projection
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.view import drawer as drawing
from radar_pose_ros.view.command import new_recording
from radar_pose_ros.view.drawer import DRAWN, SURE, UNSURE, Drawer

NOW_NS = 1_790_000_000_250_000_000
OURS = "radar_pose_ros/msg/"


def make(type_name: str, **fields: Any) -> Any:
    """Return a message; of ROS's packages by the full name, of ours by the last part."""
    return message_class(type_name if "/" in type_name else OURS + type_name)(**fields)


def header(frame: str, time_ns: int = NOW_NS) -> Any:
    stamp = make("builtin_interfaces/msg/Time", sec=time_ns // 10**9, nanosec=time_ns % 10**9)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


class Reader:
    """Draws messages, and gives back what a viewer would read."""

    def __init__(self, folder: Path, namespace: str = "") -> None:
        self._file = folder / "view.rrd"
        self._recording = new_recording()
        self._recording.save(self._file)
        self.drawer = Drawer(self._recording, namespace)
        self._rows: dict[str, list[dict[str, Any]]] | None = None

    def take(self, topic: str, message: Any, received_ns: int = NOW_NS) -> None:
        self.drawer.take(topic, message.__msgtype__, message, received_ns)

    def rows(self, path: str) -> list[dict[str, Any]]:
        """Return what was logged to an entity, in order; a value that was not logged is None."""
        if self._rows is None:
            self._recording.disconnect()
            self._rows = rows_of(self._file)
        return self._rows.get(path, [])

    def last(self, path: str, component: str) -> Any:
        """Return the newest value of an entity's component."""
        values = [row[component] for row in self.rows(path) if row.get(component) is not None]
        assert values, f"{path} has no {component}, only {[list(r) for r in self.rows(path)]}"
        return values[-1]

    @property
    def entities(self) -> set[str]:
        self.rows("")
        return set(self._rows or {})


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    rr.set_strict_mode(True)  # what the viewer would not understand is an error here
    return Reader(tmp_path)


def rgb(values: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return red, green, blue of Rerun's colours."""
    return [((v >> 24) & 255, (v >> 16) & 255, (v >> 8) & 255) for v in values]


def person_in_space(joints: np.ndarray, confidence: float = 1.0, number: int = 3) -> Any:
    point = message_class("geometry_msgs/msg/Point")
    keypoints = [
        make(
            "Keypoint3D",
            position=point(x=x, y=y, z=z),
            confidence=confidence,
            covariance=np.zeros(6, np.float32),
            origin=0,
            **{name: k for k, name in enumerate(("OBSERVED", "INTERPOLATED", "PREDICTED"))},
        )
        for x, y, z in joints.tolist()
    ]
    return make("HumanPose3D", id=number, confidence=1.0, root_relative=False, keypoints=keypoints)


def poses(people: list[Any], model: str = "some", frame: str = "map", **more: Any) -> Any:
    about = {"skeleton": "hupr14", "model": model, "missing_sources": [], "poses": people}
    return make("HumanPose3DArray", header=header(frame, **more), **about)


def transform(parent: str, child: str, place: tuple, turn: tuple = (0.0, 0.0, 0.0, 1.0)) -> Any:
    vector, quaternion = (f"geometry_msgs/msg/{n}" for n in ("Vector3", "Quaternion"))
    where = make(
        "geometry_msgs/msg/Transform",
        translation=make(vector, **dict(zip("xyz", place, strict=True))),
        rotation=make(quaternion, **dict(zip("xyzw", turn, strict=True))),
    )
    return make(
        "geometry_msgs/msg/TransformStamped",
        header=header(parent),
        child_frame_id=child,
        transform=where,
    )


def transforms(*rows: Any) -> Any:
    return make("tf2_msgs/msg/TFMessage", transforms=list(rows))


JOINTS = np.random.default_rng(1).uniform(0.0, 2.0, (14, 3))


def test_bones_and_joints_stand_where_the_message_says(reader: Reader) -> None:
    reader.take("/pose3d", poses([person_in_space(JOINTS)]))
    strips = reader.last("world/pose3d/bones", "LineStrips3D:strips")
    assert len(strips) == len(HUPR14.edges)
    for (first, second), strip in zip(HUPR14.edges, strips, strict=True):
        np.testing.assert_allclose(strip, JOINTS[[first, second]], atol=1e-6)
    places = reader.last("world/pose3d/joints", "Points3D:positions")
    np.testing.assert_allclose(places, JOINTS, atol=1e-6)
    assert reader.last("world/pose3d/names", "Points3D:labels") == ["person 3"]
    assert reader.last("world/pose3d/bones", "CoordinateFrame:frame") == ["map"]
    assert reader.last("world", "CoordinateFrame:frame") == ["map"]
    assert not reader.drawer.refused


def test_the_time_is_the_stamp_of_the_header(reader: Reader) -> None:
    received_ns = NOW_NS + 80_000_000
    reader.take("/pose3d", poses([person_in_space(JOINTS)]), received_ns)
    [row] = reader.rows("world/pose3d/joints")
    assert row["time"] == NOW_NS
    assert reader.last("latency/pose3d", "Scalars:scalars") == pytest.approx([80.0])


def test_stamps_of_another_clock_have_no_age(reader: Reader) -> None:
    reader.take("/pose3d", poses([person_in_space(JOINTS)], time_ns=10**9))
    assert "latency/pose3d" not in reader.entities
    assert reader.rows("world/pose3d/joints")


def test_unknown_joints_are_not_drawn(reader: Reader) -> None:
    """Neither at the origin nor anywhere else; nor are their bones."""
    joints = JOINTS.copy()
    knee, ankle = HUPR14.index("left_knee"), HUPR14.index("left_ankle")
    joints[knee] = np.nan
    reader.take("/pose3d", poses([person_in_space(joints)]))
    places = np.array(reader.last("world/pose3d/joints", "Points3D:positions"))
    assert len(places) == 13 and np.isfinite(places).all()
    strips = np.array(reader.last("world/pose3d/bones", "LineStrips3D:strips"))
    assert len(strips) == len(HUPR14.edges) - 2  # thigh and shank
    assert np.linalg.norm(strips, axis=-1).min() > 0.1
    assert not (abs(strips - joints[ankle]).max(axis=-1) < 1e-6).any()


def test_nobody_takes_those_away_who_were_there(reader: Reader) -> None:
    reader.take("/pose3d", poses([person_in_space(JOINTS)]))
    reader.take("/pose3d", poses([], time_ns=NOW_NS + 10**8))
    assert reader.last("world/pose3d/bones", "LineStrips3D:strips") == []
    assert reader.last("world/pose3d/joints", "Points3D:positions") == []


def test_people_relative_to_their_root_have_no_place(reader: Reader) -> None:
    person = person_in_space(JOINTS)
    person.root_relative = True
    reader.take("/pose3d", poses([person]))
    assert reader.last("world/pose3d/joints", "Points3D:positions") == []


@pytest.mark.parametrize(
    ("confidence", "colour"), [(1.0, SURE), (0.0, UNSURE), (math.nan, SURE), (0.5, None)]
)
def test_colours_tell_confidence(reader: Reader, confidence: float, colour: Any) -> None:
    reader.take("/pose3d", poses([person_in_space(JOINTS, confidence)]))
    middle = tuple(round((a + b) / 2) for a, b in zip(SURE, UNSURE, strict=True))
    for path, component in (
        ("world/pose3d/joints", "Points3D:colors"),
        ("world/pose3d/bones", "LineStrips3D:colors"),
    ):
        for seen in rgb(reader.last(path, component)):
            assert seen == pytest.approx(colour or middle, abs=1)


def test_the_truth_is_pale_and_dashed(reader: Reader) -> None:
    reader.take("/ground_truth", poses([person_in_space(JOINTS)], model="simulation"))
    dashes = np.array(reader.last("world/ground_truth/bones", "LineStrips3D:strips"))
    bones = JOINTS[np.array(HUPR14.edges)]
    drawn_m = np.linalg.norm(dashes[:, 1] - dashes[:, 0], axis=1)
    total_m = np.linalg.norm(bones[:, 1] - bones[:, 0], axis=1).sum()
    assert len(dashes) > 2 * len(bones) and drawn_m.max() < 0.15
    assert 0.45 < drawn_m.sum() / total_m < 0.65
    assert rgb(reader.last("world/ground_truth/bones", "LineStrips3D:colors")) == [(200,) * 3]
    assert "latency/ground_truth" not in reader.entities


def test_people_in_an_image_are_in_its_pixels(reader: Reader) -> None:
    pixels = np.random.default_rng(2).uniform(20.0, 200.0, (14, 2))
    pixels[5] = np.nan
    constants = {name: k for k, name in enumerate(("OBSERVED", "INTERPOLATED", "PREDICTED"))}
    keypoints = [
        make("Keypoint2D", x=x, y=y, confidence=1.0, origin=0, **constants)
        for x, y in pixels.tolist()
    ]
    person = make("HumanPose2D", id=-1, confidence=1.0, keypoints=keypoints)
    frame = projection.CAMERA_FRAME
    message = make(
        "HumanPose2DArray",
        header=header(frame),
        skeleton="hupr14",
        model="some",
        image_width=256,
        image_height=256,
        missing_sources=[],
        poses=[person],
    )
    reader.take("/pose2d", message)
    path = f"cameras/{frame}"
    places = np.array(reader.last(f"{path}/pose2d/joints", "Points2D:positions"))
    np.testing.assert_allclose(places, np.delete(pixels, 5, axis=0), atol=1e-4)
    assert reader.last(f"{path}/pose2d/names", "Points2D:positions") == []  # not tracked
    lens = np.array(reader.last(path, "Pinhole:image_from_camera")[0]).reshape(3, 3).T
    np.testing.assert_allclose(lens, [[200, 0, 128], [0, 200, 128], [0, 0, 1]])
    assert reader.last(path, "Pinhole:parent_frame") == [frame]


def test_frames_hang_on_the_root_of_the_tree(reader: Reader) -> None:
    reader.take("/pose3d", poses([person_in_space(JOINTS)], frame="radar_rig"))
    turn = (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))
    rows = [
        transform("map", "radar_rig", (0.0, 0.0, 0.0)),
        transform("/radar_rig", "radar_v_link", (0.0, 0.05, 1.0), turn),
    ]
    reader.take("/tf_static", transforms(*rows))
    assert reader.last("world", "CoordinateFrame:frame") == ["map"]
    path = "transforms/radar_v_link"
    assert reader.last(path, "Transform3D:parent_frame") == ["radar_rig"]
    assert reader.last(path, "Transform3D:child_frame") == ["radar_v_link"]
    [place] = reader.last(path, "Transform3D:translation")
    assert place == pytest.approx([0.0, 0.05, 1.0])
    assert reader.last(path, "Transform3D:quaternion")[0] == pytest.approx(turn)
    assert reader.last("world/frames/radar_v_link", "TransformAxes3D:axis_length")[0] > 0
    low, high = reader.drawer.extent_m
    np.testing.assert_allclose([low, high], [JOINTS.min(axis=0), JOINTS.max(axis=0)])


def heatmap(frame: str, spot: tuple[int, int] = (40, 20)) -> Any:
    """A map of one target: bin of the sine of its angle, bin of its range."""
    values = np.full((64, 4, 32, 2), 1e-3, np.float32)
    values[spot[0], :, spot[1]] = 10.0
    return make(
        "RadarHeatmap",
        header=header(frame),
        frame_index=0,
        epoch=0,
        angle_bins=64,
        doppler_bins=4,
        range_bins=32,
        data=values.ravel(),
        sin_angle_first=-1.0,
        sin_angle_step=2 / 64,
        velocity_first_mps=-1.0,
        velocity_step_mps=0.5,
        range_first_m=1.0,
        range_step_m=0.1,
        valid_ratio=1.0,
    )


def picture(blob: Any) -> np.ndarray:
    """Return a logged JPEG as an image, blue, green, red."""
    return cv2.imdecode(np.asarray(blob, np.uint8).ravel(), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("upright", [True, False])
def test_a_target_is_bright_where_it_is(reader: Reader, upright: bool) -> None:
    """3 m away, at a sine of 0.25: 0.75 m to the left, or up, and 2.9 m ahead."""
    turn = (0.0, 0.0, 0.0, 1.0) if upright else (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))
    reader.take("/tf_static", transforms(transform("map", "radar_link", (0.0, 0.0, 1.0), turn)))
    reader.take("/radar/heatmap", heatmap("radar_link"))
    seen = picture(reader.last("heatmaps/radar_link/image", "EncodedImage:blob"))
    red = cv2.GaussianBlur(seen[:, :, 2].astype(np.float32), (0, 0), 3.0)
    row, column = np.unravel_index(red.argmax(), red.shape)
    ahead_m, aside_m = 3.0 * math.sqrt(1 - 0.25**2), 0.75
    # the picture begins half the first range ahead and ends at 4.2 m; 1.68 m to each side; 2 cm
    near_m, far_m, side_m = 0.5, 4.2, 1.68
    if upright:
        expected = ((far_m - ahead_m) / 0.02, (side_m - aside_m) / 0.02)
    else:
        expected = ((side_m - aside_m) / 0.02, (ahead_m - near_m) / 0.02)
    assert (row, column) == pytest.approx(expected, abs=4.0)
    words = reader.last("heatmaps/radar_link/words", "Points2D:labels")
    assert {"1 m", "3 m"} <= set(words)
    assert ("↑ m ahead" in words) == upright and ("↑ m up" in words) != upright
    places = np.array(reader.last("world/radars/radar_link/heatmap", "Mesh3D:vertex_positions"))
    assert len(places)  # in the radar's own frame, whichever way it is turned
    np.testing.assert_allclose(places.mean(axis=0), [ahead_m, aside_m, 0.0], atol=0.1)
    lines = np.array(
        reader.last("world/radars/radar_link/field_of_view", "LineStrips3D:strips")
    )  # the board, and so how wide it sees, is not known
    np.testing.assert_allclose(lines, [[[0, 0, 0], [4.2, 0, 0]]], atol=1e-6)


def test_a_field_of_view_is_as_wide_as_the_boards_and_as_far_as_its_waveform(
    reader: Reader,
) -> None:
    numbers = dict.fromkeys(
        [
            "start_frequency_hz",
            "slope_hz_per_s",
            "sample_rate_hz",
            "idle_time_s",
            "adc_start_time_s",
            "ramp_end_time_s",
            "rx_gain_db",
            "frame_period_s",
            "range_resolution_m",
            "max_velocity_mps",
            "velocity_resolution_mps",
        ],
        1.0,
    )
    message = make(
        "RadarConfig",
        header=header("radar_link"),
        **{"device": "IWR1843", "source": "", "commands": "", "samples": 1, "loops": 1},
        **{"tx_order": np.ones(1, np.uint8), "rx_antennas": np.ones(1, np.uint8)},
        **{"IQ": 0, "QI": 1, "iq_order": 0, "lvds_lanes": 2, "max_range_m": 6.0},
        **numbers,
    )
    reader.take("/radar_config", message)
    strips = reader.last("world/radars/radar_link/field_of_view", "LineStrips3D:strips")
    ends = np.array(strips).reshape(-1, 3)
    far = ends[np.linalg.norm(ends, axis=1) > 5.99]
    assert np.linalg.norm(far, axis=1).max() == pytest.approx(6.0, abs=1e-4)
    azimuth = np.degrees(np.arctan2(far[:, 1], far[:, 0]))
    assert (azimuth.min(), azimuth.max()) == pytest.approx((-50.0, 50.0), abs=0.1)
    assert reader.last("world/names/radar_link", "Points3D:labels") == ["radar"]


def test_heatmaps_come_ten_times_a_second_at_most(reader: Reader) -> None:
    for k in range(20):
        message = heatmap("radar_link")
        message.header = header("radar_link", NOW_NS + k * 50_000_000)
        reader.take("/radar/heatmap", message)
    assert len(reader.rows("heatmaps/radar_link/image")) == 10
    ages = [row.get("Scalars:scalars") for row in reader.rows("latency/radar/heatmap")]
    assert len([age for age in ages if age]) == 20


def cloud(fields: dict[str, list[float]]) -> Any:
    table = np.stack([np.array(c, np.float32) for c in fields.values()], axis=1)
    kinds = ("INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "FLOAT32", "FLOAT64")
    constants = {name: k + 1 for k, name in enumerate(kinds)}
    return make(
        "sensor_msgs/msg/PointCloud2",
        header=header("radar_link"),
        height=1,
        width=len(table),
        fields=[
            make(
                "sensor_msgs/msg/PointField",
                name=name,
                offset=4 * k,
                datatype=7,
                count=1,
                **constants,
            )
            for k, name in enumerate(fields)
        ],
        is_bigendian=False,
        point_step=4 * len(fields),
        row_step=4 * len(fields) * len(table),
        data=np.frombuffer(table.tobytes(), np.uint8),
        is_dense=True,
    )


def test_points_have_the_colour_of_their_doppler(reader: Reader) -> None:
    xyz = {"x": [1.0, 2.0, 3.0, math.nan], "y": [0.0] * 4, "z": [1.0] * 4}
    reader.take("/points", cloud({**xyz, "doppler": [-2.0, 0.0, 2.0, 0.0]}))
    places = np.array(reader.last("world/points", "Points3D:positions"))
    np.testing.assert_allclose(places, [[1, 0, 1], [2, 0, 1], [3, 0, 1]])
    colours = rgb(reader.last("world/points", "Points3D:colors"))
    assert colours == [drawing.NEARING, drawing.STANDING, drawing.LEAVING]


def test_points_without_doppler_have_the_colour_of_their_strength(reader: Reader) -> None:
    xyz = {"x": [1.0, 2.0], "y": [0.0] * 2, "z": [1.0] * 2}
    reader.take("/points", cloud({**xyz, "snr": [0.0, 30.0]}))
    weak, strong = rgb(reader.last("world/points", "Points3D:colors"))
    assert sum(weak) < 200 < 400 < sum(strong)
    assert strong[0] > strong[2]  # yellow: the bright end of the scale


def test_large_images_are_made_smaller_and_stay_in_place(reader: Reader) -> None:
    pixels = np.zeros((960, 1280, 3), np.uint8)
    pixels[240:480, 640:960] = (0, 0, 250)  # red, in OpenCV's order
    message = make(
        "sensor_msgs/msg/Image",
        header=header("eye"),
        height=960,
        width=1280,
        encoding="bgr8",
        is_bigendian=0,
        step=3840,
        data=pixels.ravel(),
    )
    reader.take("/image", message)
    seen = picture(reader.last("cameras/eye/image", "EncodedImage:blob"))
    assert seen.shape == (480, 640, 3)
    assert seen[180, 400, 2] > 230 and seen[100, 400].max() < 20
    shrunk = reader.last("cameras/eye/image", "CoordinateFrame:frame")[0]
    assert reader.last(f"transforms/{shrunk}", "Transform3D:scale")[0] == pytest.approx([2.0] * 3)
    parent = reader.last(f"transforms/{shrunk}", "Transform3D:parent_frame")
    assert parent == reader.last("cameras/eye", "CoordinateFrame:frame")


def heart_rate(rate: float, error: float, state: int, face: int, time_ns: int) -> Any:
    constants = {name: k for k, name in enumerate(drawing.STATES)}
    return make(
        "HeartRate",
        header=header("eye", time_ns),
        face_id=face,
        state=state,
        heart_rate_bpm=rate,
        standard_error_bpm=error,
        signal_quality=0.9,
        respiration_rate_bpm=math.nan,
        window=make("builtin_interfaces/msg/Duration", sec=10, nanosec=0),
        method="pos",
        **constants,
    )


def test_a_heart_rate_has_its_error_and_state(reader: Reader) -> None:
    reader.take("/heart_rate", heart_rate(math.nan, math.nan, 1, 0, NOW_NS))
    reader.take("/heart_rate", heart_rate(72.0, 1.5, 0, 0, NOW_NS + 10**9))
    reader.take("/heart_rate", heart_rate(math.nan, math.nan, 2, -1, NOW_NS + 2 * 10**9))
    rates = [r["Scalars:scalars"] for r in reader.rows("heart_rate/face_0/rate") if "time" in r]
    assert math.isnan(rates[0][0])  # not known: a gap, not zero
    assert rates[1] == [72.0]
    assert reader.last("heart_rate/face_0/low", "Scalars:scalars") == [70.5]
    assert reader.last("heart_rate/face_0/high", "Scalars:scalars") == [73.5]
    states = [row.get("StateChange:state") for row in reader.rows("heart_rate/face_0/state")]
    assert [state for state in states if state] == [["WARMING_UP"], ["OK"]]
    assert reader.last("heart_rate/no_face/state", "StateChange:state") == ["NO_FACE"]
    assert "heart_rate/no_face/rate" not in reader.entities
    table = reader.last("readings", "TextDocument:text")[0]
    assert "| face 0 | **72** ± 1.5 | OK |" in table
    assert "| no face | not known | NO_FACE |" in table


def test_samples_of_a_pulse_stand_at_their_own_times(reader: Reader) -> None:
    wave = make(
        "PulseWave",
        header=header("eye"),
        face_id=1,
        sample_rate_hz=25.0,
        samples=np.array([0.5, -0.5, 1.0], np.float32),
        signal_quality=0.9,
        method="pos",
    )
    reader.take("/robot/pulse_wave", wave)
    rows = [row for row in reader.rows("pulse/robot/face_1") if row.get("time") is not None]
    assert [row["time"] for row in rows] == [NOW_NS + k * 40_000_000 for k in range(3)]
    assert [row["Scalars:scalars"] for row in rows] == [[0.5], [-0.5], [1.0]]


def diagnostics(level: int, message: str, time_ns: int) -> Any:
    constants = {name: k for k, name in enumerate(("OK", "WARN", "ERROR", "STALE"))}
    status = make(
        "diagnostic_msgs/msg/DiagnosticStatus",
        level=level,
        name="/radar_h/radar_driver",
        message=message,
        hardware_id="",
        values=[],
        **constants,
    )
    return make("diagnostic_msgs/msg/DiagnosticArray", header=header("", time_ns), status=[status])


def test_diagnostics_are_news_with_their_level(reader: Reader) -> None:
    for second, (level, said) in enumerate(
        [(0, "running"), (0, "running"), (2, "adc silent for 1.0 s"), (2, "adc silent for 2.0 s")]
    ):
        reader.take("/diagnostics", diagnostics(level, said, NOW_NS + second * 10**9))
    rows = reader.rows("diagnostics/radar_h_radar_driver")
    assert [row["TextLog:level"] for row in rows] == [["INFO"], ["ERROR"]]
    assert rows[1]["TextLog:text"] == ["radar_h/radar_driver: adc silent for 1.0 s"]
    assert rows[1]["time"] == NOW_NS + 2 * 10**9


def test_a_namespace_is_taken_off(tmp_path: Path) -> None:
    reader = Reader(tmp_path, "robot")
    reader.take("/robot/pose3d", poses([person_in_space(JOINTS)]))
    assert "world/pose3d/joints" in reader.entities


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"skeleton": "octopus8"}, "skeleton 'octopus8' is not defined yet"),
        ({"skeleton": "h36m17"}, "pose of 14 joints, its skeleton has 17"),
    ],
)
def test_what_does_not_fit_together_is_counted(reader: Reader, change: dict, said: str) -> None:
    message = poses([person_in_space(JOINTS)])
    for name, value in change.items():
        setattr(message, name, value)
    reader.take("/pose3d", message)
    assert reader.drawer.refused == {f"/pose3d: {said}": 1}


def test_damaged_measurements_are_counted(reader: Reader) -> None:
    short = heatmap("radar_link")
    short.data = short.data[:-2]
    endless = heatmap("radar_link")
    endless.range_step_m = math.inf
    points = cloud({"x": [1.0], "y": [1.0]})
    for topic, message in (("/a", short), ("/b", endless), ("/c", points)):
        reader.take(topic, message)
    assert [reason.split(": ")[0] for reason in reader.drawer.refused] == ["/a", "/b", "/c"]
    assert reader.drawer.refused.total() == 3


def test_every_kind_that_is_drawn_is_a_known_type() -> None:
    for type_name in DRAWN:
        if not type_name.startswith("rcl_interfaces"):
            assert message_class(type_name)
    assert not drawing.is_drawn("/radar_h/adc", OURS + "RadarAdcFrame")
    assert not drawing.is_drawn("/radar_h/heatmap/preview", "sensor_msgs/msg/Image")
    assert drawing.is_drawn("/camera/image", "sensor_msgs/msg/Image")
