"""``radar-pose import``: what is in the files is in the bag, to the last bit, and nothing else."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from radar_pose_ros import cli, resources
from radar_pose_ros.datasets import hupr_simulated, kinect
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.dca1000 import encode_data_packet
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.recording import BagReader, stamp_ns, topics_of_level
from radar_pose_ros.skeleton.definitions import COCO17, HUPR14, KINECT25
from radar_pose_ros.skeleton.projection import CAMERA_FRAME
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.camera import PinholeCamera

START_NS = 1000 * 10**9
PERIOD_NS = 10**8


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    """A radar with frames of 24 KiB: two loops."""
    text = resources.find("config", "iwr1843.cfg").read_text()
    path = tmp_path / "small.cfg"
    path.write_text(text.replace("frameCfg 0 2 128 ", "frameCfg 0 2 2 "))
    assert load_cfg(path).bytes_per_frame == 24_576
    return path


def run(*words: Any) -> int:
    return cli.main(["import", *map(str, words)])


def by_topic(bag: Path) -> dict[str, list[Any]]:
    with BagReader(bag) as reader:
        found: dict[str, list[Any]] = {topic: [] for topic in reader.topics}
        for item in reader.messages():
            found[item.topic].append(item)
    return found


def keypoints(message: Any) -> np.ndarray:
    (person,) = message.poses
    return np.array([(k.x, k.y) for k in person.keypoints])


def joints(message: Any) -> np.ndarray:
    (person,) = message.poses
    places = [k.position for k in person.keypoints]
    return np.array([(p.x, p.y, p.z) for p in places])


# -- raw samples -----------------------------------------------------------------------------


def write_samples(path: Path, config: RadarConfig, frames: float, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(-(2**15), 2**15, int(frames * 12_288), np.int16)
    values.tofile(path)
    return values[: int(frames) * 12_288].reshape(int(frames), -1)


def test_files_of_two_radars(tmp_path, cfg, capsys):
    """Frame k of both at start + k periods; the bytes after the last whole frame are left out."""
    config = load_cfg(cfg)
    files = [tmp_path / f"{name}.bin" for name in "hv"]
    sent = [write_samples(files[0], config, 3, 0), write_samples(files[1], config, 2.5, 1)]
    bag = tmp_path / "bag"
    start = "2024-11-19T20:02:23+01:00"
    assert run("dca1000", *files, "--config", cfg, "--start", start, "--out", bag) == 0
    found = by_topic(bag)
    begin_ns = 1_732_042_943 * 10**9
    for radar, values in zip(("radar_h", "radar_v"), sent, strict=True):
        frames = [item.message for item in found[f"/{radar}/adc"]]
        np.testing.assert_array_equal([frame.data for frame in frames], values)
        assert [stamp_ns(f) for f in frames] == [
            begin_ns + k * PERIOD_NS for k in range(len(frames))
        ]
        assert [frame.frame_index for frame in frames] == list(range(len(values)))
        shapes = {(f.loops, f.transmitters, f.receivers, f.samples) for f in frames}
        assert shapes == {config.adc_shape}
        assert all(f.bytes_missing == 0 and f.chirp_valid.tolist() == [1] * 6 for f in frames)
        (about,) = [item.message for item in found[f"/{radar}/radar_config"]]
        assert about.header.frame_id == frames[0].header.frame_id == f"{radar}_link"
        assert about.commands.splitlines() == list(config.commands)
        assert (about.tx_order.tolist(), about.rx_antennas.tolist()) == ([1, 2, 3], [1, 2, 3, 4])
        assert (about.iq_order, about.frame_period_s) == (about.QI, 0.1)
        assert about.range_resolution_m == config.waveform.range_resolution_m
    printed = notes_of(bag, capsys)
    assert "counted from 1.73204e+09 s since 1970, 10 frames per second" in printed[0]
    assert printed[2:] == [
        f"{files[1]}: the last 12288 bytes are no whole frame of 24576 bytes and are ignored",
        "radar_v has 2 frames, 1 fewer than radar_h: the last of radar_h are alone",
    ]
    with BagReader(bag) as reader:
        latched = {topic.name for topic in reader.details if topic.latched}
        assert latched == {"/radar_h/radar_config", "/radar_v/radar_config"}
        assert topics_of_level(reader, "sensor") == topics_of_level(reader, "adc")
        received = [at for _, at, _ in reader.serialized()]
        assert received == sorted(received)


def notes_of(bag: Path, capsys) -> list[str]:
    """The notes that were printed, which are those in the bag."""
    told = capsys.readouterr()
    assert not told.err
    printed = [line[6:] for line in told.out.splitlines() if line.startswith("note: ")]
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["custom_data"]["import"].splitlines() == printed
    return printed


def write_capture(path: Path, config: RadarConfig, values: np.ndarray, lost: set[int]) -> None:
    """Packets of 1456 bytes, one each millisecond, but for those that are lost."""
    raw = values.astype("<i2").tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for number, begin in enumerate(range(0, len(raw), 1456)):
            if number in lost:
                continue
            payload = encode_data_packet(number + 1, begin, raw[begin : begin + 1456])
            udp = struct.pack(">HHHH", 4098, 4098, 8 + len(payload), 0) + payload
            head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
            packet = head + bytes([192, 168, 33, 180, 192, 168, 33, 30]) + udp
            seconds, ticks = 1_700_000_000 + number // 1000, number % 1000 * 1000
            file.write(struct.pack("<IIII", seconds, ticks, len(packet), len(packet)))
            file.write(packet)


def test_a_capture_tells_its_losses_as_the_driver_does(tmp_path, cfg, capsys):
    """Of four frames of 24,576 bytes, 17 packets each: one packet of the second did not come."""
    config = load_cfg(cfg)
    values = write_samples(tmp_path / "x", config, 4, 1)
    capture, bag = tmp_path / "card.pcap", tmp_path / "bag"
    write_capture(capture, config, values, {19})
    words = ("pcap", capture, "--config", cfg, "--radar", "radar_v", "--out", bag)
    assert run(*words, "--max-missing", 0.1) == 0
    frames = [item.message for item in by_topic(bag)["/radar_v/adc"]]
    assert [frame.frame_index for frame in frames] == [0, 1, 2, 3]
    assert [frame.bytes_missing for frame in frames] == [0, 1456, 0, 0]
    assert frames[1].chirp_valid.tolist() == [0, 0, 1, 1, 1, 1]  # from 3088 to 4544: two chirps
    gap = slice(19 * 1456 // 2 - 12_288, 20 * 1456 // 2 - 12_288)
    expected = values[1].copy()
    expected[gap] = 0
    np.testing.assert_array_equal(frames[1].data, expected)
    np.testing.assert_array_equal(frames[3].data, values[3])
    # by the capture's clock: the first packet of each frame
    first = [0, 16, 33, 50]
    assert [stamp_ns(f) for f in frames] == pytest.approx(
        [1_700_000_000 * 10**9 + 10**6 * k for k in first], abs=1000
    )
    assert (
        "67 packets, 1 lost; 1456 bytes missing; frames: 3 complete, 1" in capsys.readouterr().out
    )
    # at the driver's own limit of 1 % that frame is dropped
    assert run(*words[:-1], tmp_path / "strict") == 0
    frames = [item.message for item in by_topic(tmp_path / "strict")["/radar_v/adc"]]
    assert [frame.frame_index for frame in frames] == [0, 2, 3]


@pytest.mark.parametrize("missing_bytes", [1, 780, 800])
def test_a_capture_that_was_cut_off_keeps_its_whole_frames(tmp_path, cfg, capsys, missing_bytes):
    """Within the last packet's data, its addresses or its record's head: the others are taken."""
    config = load_cfg(cfg)
    values = write_samples(tmp_path / "x", config, 4, 1)
    capture, bag = tmp_path / "card.pcap", tmp_path / "bag"
    write_capture(capture, config, values, set())
    cut = capture.stat().st_size - missing_bytes
    os.truncate(capture, cut)
    assert run("pcap", capture, "--config", cfg, "--out", bag) == 0
    frames = [item.message for item in by_topic(bag)["/radar_h/adc"]]
    np.testing.assert_array_equal([frame.data for frame in frames], values[:3])
    first, second = notes_of(bag, capsys)
    assert first == (
        f"{capture}: was cut off within a packet, at byte {cut}; the 67 packets before are taken"
    )
    assert "frames: 3 complete, 0 with gaps, 1 dropped as they lack more than 1 %" in second


def test_hupr_s_layout(tmp_path):
    """Both radars' samples, and the annotations in the image plane of this package."""
    root, bag = tmp_path / "set", tmp_path / "bag"
    list(hupr_simulated.write(root, {"test": 1}, seconds=0.3))
    assert run("hupr", root, "--out", bag) == 0
    found = by_topic(bag)
    folder = next(root.rglob("single_15"))
    for radar, name in (("radar_h", "hori"), ("radar_v", "vert")):
        sent = np.fromfile(folder / name / "adc_data.bin", "<i2").reshape(3, -1)
        frames = [item.message for item in found[f"/{radar}/adc"]]
        np.testing.assert_array_equal([frame.data for frame in frames], sent)
        assert [stamp_ns(frame) for frame in frames] == [
            START_NS + k * PERIOD_NS for k in range(3)
        ]
    lists = json.loads(next(root.rglob("hrnet_annot_test.json")).read_text())
    truths = [item.message for item in found["/pose2d/ground_truth"]]
    for truth, entry in zip(truths, lists[0], strict=True):
        np.testing.assert_array_equal(keypoints(truth), np.float32(entry["joints"]))
        assert (truth.skeleton, truth.model) == ("hupr14", "truth (HuPR)")
        assert (truth.header.frame_id, truth.image_width) == (CAMERA_FRAME, 256)
        assert np.isnan(truth.poses[0].confidence)
    (skeleton,) = [item.message for item in found["/skeleton"]]
    assert tuple(skeleton.joints) == HUPR14.joints


# -- points ----------------------------------------------------------------------------------


def write_mars(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Two movements; the radar lost a frame of the second, and one frame has no joints."""
    truth = np.arange(6 * 25 * 3, dtype=np.float32).reshape(6, 25, 3)
    truth[1] = np.nan
    points = np.arange(8 * 5, dtype=np.float32).reshape(8, 5)
    points[:, 4] = [1, 10, 100, 1000, 0, np.nan, 1, 1]
    np.savez(
        path,
        points=points,
        points_cols=np.array(["x_m", "y_depth_m", "z_up_m", "doppler_mps", "intensity"]),
        points_per_frame=np.array([2, 0, 1, 3, 1, 1], np.uint16),
        kinect_joints_m=truth,
        joint_names=np.array(kinect.JOINT_NAMES),
        movement=np.array([1, 1, 1, 2, 2, 2], np.uint8),
        radar_frame=np.array([8, 9, 10, 100, 101, 103], np.int32),
    )
    return points, truth


def test_mars_in_the_axes_of_the_driver(tmp_path, capsys):
    points, truth = write_mars(tmp_path / "mars_subject7.npz")
    bag = tmp_path / "bag"
    assert run("mars", tmp_path / "mars_subject7.npz", "--start", 5, "--out", bag) == 0
    found = by_topic(bag)
    clouds = [item.message for item in found["/points"]]
    at_s = [stamp_ns(cloud) / 1e9 for cloud in clouds]
    assert at_s == [5.0, 5.1, 5.2, 15.3, 15.4, 15.6]  # 10 s after the end of the movement before
    assert [cloud.width for cloud in clouds] == [2, 0, 1, 3, 1, 1]
    last = clouds[-1]
    assert [field.name for field in last.fields] == ["x", "y", "z", "doppler", "snr"]
    x, y, z, doppler, _ = points[7]
    assert last.data.view("<f4").tolist() == [y, -x, z, doppler, 0.0]
    assert clouds[0].data.view("<f4").reshape(2, 5)[:, 4].tolist() == [0.0, 10.0]  # dB
    truths = [item.message for item in found["/ground_truth"]]
    assert [stamp_ns(one) / 1e9 for one in truths] == [5.0, 5.2, 15.3, 15.4, 15.6]
    assert {one.header.frame_id for one in truths} == {"radar_link"} == {last.header.frame_id}
    x, y, z = truth[5, kinect.JOINT_NAMES.index("KneeRight")]
    assert joints(truths[-1])[KINECT25.index("right_knee")].tolist() == [y, -x, z]
    assert "2 frames have no joints, or were lost" in capsys.readouterr().out
    again = tmp_path / "second"
    words = ("--movement", 2, "--frames", 2, "--out", again)
    assert run("mars", tmp_path / "mars_subject7.npz", *words) == 0
    assert [stamp_ns(item.message) / 1e9 for item in by_topic(again)["/points"]] == [1000, 1000.1]
    with BagReader(again) as reader:
        assert topics_of_level(reader, "sensor") == ["/ground_truth", "/points", "/skeleton"]


# -- videos ----------------------------------------------------------------------------------


def write_videos(folder: Path) -> dict[str, np.ndarray]:
    """Two cameras, five frames of 20 per second, each of another grey; keypoints beside."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    keypoints_px = {}
    cameras = {}
    for number, name in enumerate(("left-1", "right-2")):
        cameras[name] = PinholeCamera.looking_at(
            [3.0, 2.0 * number, 1.5], [0.0, 0.0, 1.0], 60.0, (64, 48)
        )
        codec = cv2.VideoWriter_fourcc(*"MJPG")
        video = cv2.VideoWriter(str(folder / f"{name}.avi"), codec, 20.0, (64, 48))
        for k in range(5):
            video.write(np.full((48, 64, 3), 40 * (k + 1), np.uint8))
        video.release()
        found = rng.uniform(0, 48, (5, 17, 2)).astype(np.float32)
        found[2] = np.nan
        keypoints_px[name] = found
        confidence = np.where(np.isnan(found[..., 0]), 0, 0.5).astype(np.float32)
        np.savez(
            folder / f"{name}.npz", keypoints_px=found, confidence=confidence, skeleton="coco17"
        )
    calibration_files.write(cameras, folder / "cameras.toml", "pose2sim")
    return keypoints_px


@pytest.mark.parametrize("images", ["compressed", "raw"])
def test_videos_with_their_cameras_and_keypoints(tmp_path, images):
    folder, bag = tmp_path / "videos", tmp_path / "bag"
    keypoints_px = write_videos(folder)
    offsets = ("--offsets", "right-2=0.01")
    assert run("videos", folder, "--images", images, *offsets, "--out", bag) == 0
    found = by_topic(bag)
    cameras = calibration_files.read(folder / "cameras.toml")
    (transforms,) = [item.message for item in found["/tf_static"]]
    places = {t.child_frame_id: t for t in transforms.transforms}
    for number, (name, view) in enumerate({"left-1": "left_1", "right-2": "right_2"}.items()):
        stamps = [START_NS + k * 50_000_000 + number * 10_000_000 for k in range(5)]
        poses = [item.message for item in found[f"/{view}/pose2d"]]
        infos = [item.message for item in found[f"/{view}/camera_info"]]
        shown = found[f"/{view}/image/compressed" if images == "compressed" else f"/{view}/image"]
        for messages in (poses, infos, [item.message for item in shown]):
            assert [stamp_ns(message) for message in messages] == stamps
            assert {m.header.frame_id for m in messages} == {f"{view}_optical_frame"}
        assert [len(message.poses) for message in poses] == [1, 1, 0, 1, 1]
        np.testing.assert_array_equal(keypoints(poses[4]), keypoints_px[name][4])
        assert (poses[0].skeleton, poses[0].image_width) == ("coco17", 64)
        assert poses[0].poses[0].confidence == 0.5 and " of " not in poses[0].model
        np.testing.assert_allclose(infos[0].k.reshape(3, 3), cameras[name].matrix)
        for k, item in enumerate(shown):
            data = item.message.data
            if images == "compressed":
                pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
            else:
                pixels = data.reshape(48, 64, 3)
            assert pixels.shape == (48, 64, 3)
            assert abs(float(pixels.mean()) - 40 * (k + 1)) < 3
        where = places[f"{view}_optical_frame"]
        assert where.header.frame_id == "map"
        shift = where.transform.translation
        np.testing.assert_allclose((shift.x, shift.y, shift.z), cameras[name].position_m)
    (skeleton,) = [item.message for item in found["/skeleton"]]
    assert tuple(skeleton.joints) == COCO17.joints
    with BagReader(bag) as reader:
        assert {*topics_of_level(reader, "sensor")} == {*found}


def test_videos_without_keypoints_and_with_times(tmp_path, capsys):
    folder, bag = tmp_path / "videos", tmp_path / "bag"
    write_videos(folder)
    for name in ("left-1", "right-2"):
        (folder / f"{name}.npz").unlink()
        times = [1_700_000_000.5 + 0.05 * k for k in range(5)]
        (folder / f"{name}.csv").write_text("\n".join(f"{at:.3f}" for at in times))
    assert run("videos", folder, "--out", bag) == 0
    found = by_topic(bag)
    assert "/left_1/pose2d" not in found and "/skeleton" not in found
    stamps = [stamp_ns(item.message) for item in found["/left_1/image/compressed"]]
    assert stamps == pytest.approx([1_700_000_000_500_000_000 + k * 5 * 10**7 for k in range(5)])
    printed = capsys.readouterr().out
    assert "no keypoints, so images only" in printed and "since 1970" in printed


@pytest.mark.parametrize("keypoints_too", [False, True])
def test_dates_are_of_all_cameras_and_leave_no_choice_of_a_start(tmp_path, capsys, keypoints_too):
    folder, bag = tmp_path / "videos", tmp_path / "bag"
    write_videos(folder)
    times = "\n".join(f"{1_700_000_000 + 0.05 * k:.3f}" for k in range(5))
    for name in ("left-1", "right-2"):
        if not keypoints_too:
            (folder / f"{name}.npz").unlink()
    (folder / "left-1.csv").write_text(times)
    assert run("videos", folder, "--out", bag) == cli.USAGE_ERROR
    said = capsys.readouterr().err
    assert "the times of left-1 are since 1970, those of right-2 since a beginning" in said
    (folder / "right-2.csv").write_text(times)
    assert run("videos", folder, "--start", 1000, "--out", bag) == cli.USAGE_ERROR
    assert "--start: the files beside the videos in" in capsys.readouterr().err
    assert not bag.exists()
    assert run("videos", folder, "--out", bag) == 0
    (folder / "left-1.csv").unlink()
    (folder / "right-2.csv").unlink()
    assert run("videos", folder, "--start", 5, "--out", tmp_path / "counted") == 0
    infos = by_topic(tmp_path / "counted")["/left_1/camera_info"]
    assert stamp_ns(infos[0].message) == 5 * 10**9


def test_all_people_of_an_image_come_as_pose2sim_has_them(tmp_path):
    """Two people in two cameras, the second of whom was not found in one frame."""
    folder, bag = tmp_path / "trial", tmp_path / "bag"
    folder.mkdir()
    names = ("cam01", "cam02")
    cameras = {
        name: PinholeCamera.looking_at([3.0, 2.0 * k, 1.5], [0.0, 0.0, 1.0], 60.0, (64, 48))
        for k, name in enumerate(names)
    }
    calibration_files.write(cameras, folder / "calibration.toml", "pose2sim")
    found = np.random.default_rng(5).uniform(0.1, 1, (2, 3, 2, 25, 3)).astype(np.float32)
    found[0, 1, 1] = np.nan
    np.savez(folder / "pose.npz", keypoints=found, cams=np.array(names), model="OpenPose BODY_25B")
    assert run("videos", folder, "--rate", 50, "--out", bag) == 0
    by_name = by_topic(bag)
    for camera, name in enumerate(names):
        poses = [item.message for item in by_name[f"/{name}/pose2d"]]
        assert [stamp_ns(pose) for pose in poses] == [START_NS + k * 20_000_000 for k in range(3)]
        for frame, pose in enumerate(poses):
            people = [p for p in found[camera, frame] if np.isfinite(p).any()]
            told = [[(k.x, k.y, k.confidence) for k in p.keypoints] for p in pose.poses]
            np.testing.assert_array_equal(told, people)
        assert {pose.skeleton for pose in poses} == {"body25b"}


# -- what cannot be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["dca1000", "no.bin", "--config", "iwr1843.cfg"], "no.bin: there is no such file"),
        (["dca1000", "short.bin", "--config", "iwr1843.cfg"], "less than one frame of 1572864"),
        (["dca1000", "a.dat", "--config", "iwr1843.cfg"], "a.dat: want a file of raw samples"),
        (["dca1000", "short.bin", "--config", "no.cfg"], "there is no file 'no.cfg'"),
        (
            ["dca1000", *["short.bin"] * 3, "--config", "iwr1843.cfg"],
            "want one file, or two, of radar_h and radar_v, got 3",
        ),
        (
            ["dca1000", *["short.bin"] * 2, "--config", "iwr1843.cfg", "--radar", "radar_v"],
            "--radar is for a single file",
        ),
        (
            ["dca1000", "short.bin", "--config", "iwr1843.cfg", "--start", "yesterday"],
            "want seconds since 1970, above 0, or a date",
        ),
        (["pcap", "short.bin", "--config", "iwr1843.cfg"], "want a capture that ends in .pcap"),
        (["pcap", "bad.pcap", "--config", "iwr1843.cfg"], "bad.pcap: is not a pcap file"),
        (
            ["pcap", "bad.pcap", "--config", "iwr1843.cfg", "--max-missing", "2"],
            "want a number from 0 to 1, got '2'",
        ),
        (["mars", "mars_subject9.npz"], "mars_subject9.npz"),
        (["mars", "mars_subject7.npz", "--movement", "3"], "mars_subject7.npz has no movement 3"),
        (["mars", "mars_subject7.npz", "--frames", "0"], "--frames: want a whole number above 0"),
        (["hupr", "."], "no single_<k> in it with hori/adc_data.bin and vert/adc_data.bin"),
        (["videos", "nowhere"], "nowhere: there is no such folder"),
        (["videos", "."], "no calibration in it"),
        (["chess", "."], "invalid choice: 'chess'"),
    ],
)
def test_a_mistake_gets_one_sentence_and_leaves_no_bag(
    tmp_path, monkeypatch, capsys, words, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.bin").write_bytes(bytes(100))
    (tmp_path / "bad.pcap").write_bytes(bytes(100))
    write_mars(tmp_path / "mars_subject7.npz")
    assert run(*words, "--out", "bag") == cli.USAGE_ERROR
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
    assert not (tmp_path / "bag").exists()


def test_a_bag_is_never_overwritten(tmp_path, capsys):
    write_mars(tmp_path / "mars_subject7.npz")
    bag = tmp_path / "bag"
    bag.mkdir()
    assert run("mars", tmp_path / "mars_subject7.npz", "--out", bag) == cli.USAGE_ERROR
    assert "exists already; a bag is never overwritten" in capsys.readouterr().err
    assert list(bag.iterdir()) == []
