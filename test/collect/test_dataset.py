"""From recordings to a data set: labels against the truth, what is left out, training on it."""

from __future__ import annotations

import csv
import dataclasses
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from radar_pose_ros import cli
from radar_pose_ros.collect import dataset
from radar_pose_ros.collect.bags import CameraTrack, Collected, Frame
from radar_pose_ros.collect.motion import RadarMotion
from radar_pose_ros.collect.person import PersonTrack
from radar_pose_ros.collect.rehearsal import OFFSET_S, Rehearsal, camera_of_rehearsal
from radar_pose_ros.datasets import hupr
from radar_pose_ros.radar.heatmap import HeatmapConfig
from radar_pose_ros.recording import BagReader, RecordingError, stamp_s
from radar_pose_ros.skeleton import projection
from radar_pose_ros.training import millimamba
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.camera import PinholeCamera

HEATMAP = HeatmapConfig(range_first=31, range_bins=64)


@pytest.fixture(scope="module")
def folder(small_radar, tmp_path_factory):
    """Two recordings, the camera's true place, and the data set that the command makes of them."""
    folder = tmp_path_factory.mktemp("own_data")
    for name, seconds, seed in (("anna", 26.0, 20), ("ben", 8.0, 3)):
        Rehearsal(small_radar, seconds, seed=seed).write(folder / name)
    camera = {"camera": camera_of_rehearsal()}
    calibration_files.write(camera, folder / "camera.toml", "pose2sim")
    return folder


@pytest.fixture(scope="module")
def written(folder):
    command = ["collect", "write", "--train", folder / "anna", "--validation", folder / "ben"]
    command += ["--camera", folder / "camera.toml", "--offset", OFFSET_S, "--out", folder / "data"]
    assert cli.main([*map(str, command), "--figure", str(folder / "labels.png")]) == 0
    assert (folder / "labels.png").read_bytes().startswith(b"\x89PNG")
    return folder / "data"


def truth(bag):
    with BagReader(bag) as reader:
        messages = [recorded.message for recorded in reader.messages(["/ground_truth"])]
    joints_m = [
        [(k.position.x, k.position.y, k.position.z) for k in message.poses[0].keypoints]
        for message in messages
    ]
    return np.array([stamp_s(message) for message in messages]), np.array(joints_m)


def rows(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_the_offset_is_found(folder, capsys):
    figure = folder / "offset.png"
    assert cli.main(["collect", "align", str(folder / "anna"), "--figure", str(figure)]) == 0
    printed = capsys.readouterr().out
    found = float(printed.rpartition("--offset ")[2])
    assert found == pytest.approx(OFFSET_S, abs=0.015)
    assert "where the radars are is not in it" in printed
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_labels_are_the_truth_within_the_detectors_noise(folder, written):
    (recording, *others) = hupr.load_split(written, "train", HEATMAP, report=len)
    stamps, joints_m = truth(folder / "anna")
    errors = []
    for piece in (recording, *others):
        frames = piece.image_ids % 100_000
        listed = rows(written / "raw_data/iwr1843/HuPR/single_1/frames.csv")
        at = [np.abs(stamps - float(listed[frame]["stamp_s"])).argmin() for frame in frames]
        errors.append(piece.keypoints_px - projection.project(joints_m[at]))
    off = np.concatenate(errors)
    assert len(off) > 100
    # the detector's 4.7 px are 2.2 px here, in each coordinate
    assert np.median(np.linalg.norm(off, axis=-1)) < 4.0
    assert np.abs(np.median(off, axis=(0, 1))).max() < 1.0


def test_every_frame_is_accounted_for(folder, written):
    listed = rows(written / "raw_data/iwr1843/HuPR/single_1/frames.csv")
    outcomes = [row["outcome"] for row in listed]
    with Collected(folder / "anna") as collected:
        damaged = {round(f.stamp_s, 4) for f in collected.frames() if not f.complete}
        size = collected.configs[0].bytes_per_frame
    assert 3 <= len(damaged) <= 30
    for row in listed:
        lost = round(float(row["stamp_s"]), 4) in damaged
        assert (row["outcome"] == dataset.LOST_PACKETS) == lost
    labelled = sum(len(r.keypoints_px) for r in hupr.load_split(written, "train", HEATMAP))
    assert outcomes.count(dataset.LABELLED) == labelled
    for radar in hupr.RADARS:
        raw = written / "raw_data/iwr1843/HuPR/single_1" / radar / hupr.RAW_FILE
        assert raw.stat().st_size == len(listed) * size


def test_samples_are_those_of_the_bag(folder, written):
    with Collected(folder / "ben") as collected:
        frames = list(collected.frames())
    for radar, name in enumerate(hupr.RADARS):
        raw = np.fromfile(written / f"raw_data/iwr1843/HuPR/single_2/{name}/adc_data.bin", "<i2")
        wanted = np.concatenate([frame.samples for frame in frames if frame.radar == radar])
        np.testing.assert_array_equal(raw, wanted)


def test_frames_that_nobody_wants_do_not_wait(small_radar, tmp_path):
    """The horizontal radar is silent for 50 frames, and the vertical one goes on."""
    alive: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
    most = 0

    def frames():
        nonlocal most
        for number in range(60):
            for radar in (1, 0) if number < 5 or number >= 55 else (1,):
                samples = np.full(small_radar.bytes_per_frame // 2, number, np.int16)
                alive[2 * number + radar] = samples
                most = max(most, len(alive))
                yield SimpleNamespace(radar=radar, stamp_s=0.1 * number, samples=samples)
                del samples

    shown = [*range(5), *range(55, 60)]
    stamps_s = np.array([(0.1 * number, 0.1 * number) for number in shown])
    stamps_s[7] = np.nan
    labelled = dataset.Labelled(
        stamps_s, np.full((10, 14, 2), np.nan), [dataset.NOBODY] * 10, np.nan
    )
    collected = SimpleNamespace(configs=(small_radar, small_radar), frames=frames)
    dataset._write_samples(tmp_path / "raw", collected, labelled)
    assert most <= 6
    wanted = np.array(shown)
    wanted[7] = 0
    for name in hupr.RADARS:
        raw = np.fromfile(tmp_path / "raw" / name / hupr.RAW_FILE, "<i2").reshape(10, -1)
        np.testing.assert_array_equal(raw, np.broadcast_to(wanted[:, None], raw.shape))


def test_the_data_set_says_its_radar_and_its_splits(small_radar, written):
    layout = hupr.Layout.of(written)
    assert layout.radar.waveform == small_radar.waveform
    assert layout.radar.iq_order == small_radar.iq_order
    assert layout.splits == {"train": (1,), "validation": (2,), "test": ()}


def test_a_network_is_trained_on_it(written, tmp_path):
    path = tmp_path / "tiny.yaml"
    recipe = yaml.safe_load((millimamba.RECIPES / "edge.yaml").read_text())
    recipe["batch"] = 2
    recipe["loop"] |= {"steps": 2, "warmup_steps": 1, "validate_every": 2}
    small = {"width": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 1}
    path.write_text(yaml.safe_dump(recipe | {"model": small}))
    tiny = millimamba.Recipe.load(path)
    data = millimamba.suited(tiny.data, written)
    sets = [millimamba.recordings_of(data, written, split) for split in ("train", "validation")]
    _, result = millimamba.fit_recipe(
        dataclasses.replace(tiny, data=data), *sets, tmp_path / "out", report=len
    )
    assert all(np.isfinite(values.numpy()).all() for values in result.state.values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--train", "anna", "--validation", "anna"], "a recording is named twice"),
        (["--train", "anna", "--validation", "ben", "--out", "."], "is not empty"),
        (["--train", "anna", "--validation", "ben", "--camera", "none.toml"], "none.toml"),
        (["--train", "nothing", "--validation", "ben"], "there is no such bag"),
        (["--train", "anna", "--validation", "ben", "--poses", "x/pose2d"], "HumanPose2DArray: /"),
    ],
)
def test_mistakes_get_one_sentence(folder, options, words, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    given = {"--camera": "camera.toml", "--out": "another", "--offset": "0.1"}
    command = ["collect", "write", *options]
    for name, value in given.items():
        command += [name, value] if name not in options else []
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


# -- labels by value ------------------------------------------------------------------------------

PERIOD_S = 0.1
BEGIN_S = 1.7e9
SPEED_PX_PER_S = 100.0
RIG_CAMERA = PinholeCamera(
    (projection.FOCAL_LENGTH_PX,) * 2,
    (projection.CENTRE_PX,) * 2,
    (projection.IMAGE_SIZE_PX,) * 2,
    np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]),
    np.array([0.0, 0.0, projection.CAMERA_HEIGHT_M]),
)


def motion(numbers, late_s, damaged):
    numbers = np.array(numbers)
    empty = np.zeros((len(numbers), 1, 1), np.float32)
    stamps_s = BEGIN_S + PERIOD_S * numbers + late_s
    complete = ~np.isin(numbers, damaged)
    return RadarMotion(stamps_s, 0.0138, complete, numbers * 1.0, empty, np.ones(1), np.ones(1))


def seen_at(times_s):
    """Joints below each other that go to the right together, px."""
    pixels = np.empty((len(times_s), 14, 2))
    pixels[..., 0] = SPEED_PX_PER_S * times_s[:, None]
    pixels[..., 1] = np.linspace(20, 240, 14)
    return pixels


def track_with_gaps():
    """Images 17 ms before and after each frame of 8 s, but for some, two of them of two people."""
    numbers = np.arange(-3, 245)
    numbers = numbers[(numbers < 92) | (numbers > 99)]  # from 3.05 to 3.35 s
    times_s = (numbers + 0.5) / 30
    people = np.where(np.isin(numbers, (3 * 25 - 1, 3 * 28)), 2, 1)
    pixels = np.where((people == 1)[:, None, None], seen_at(times_s), np.nan)
    return CameraTrack(
        "/camera/pose2d",
        "camera",
        "hupr14",
        "test",
        (256, 256),
        BEGIN_S + times_s + OFFSET_S,
        pixels,
        np.where((people == 1)[:, None], 0.9, np.zeros(14)),
        people,
        0.0,
    )


def test_each_frame_gets_the_pose_of_its_instant_or_the_reason_why_not():
    horizontal = motion([n for n in range(80) if n not in (10, 11)], 0.0, [20])
    vertical = motion([n for n in range(80) if n != 15], 0.002, [21])
    floor_m = np.tile([2.5, 0.0], (len(horizontal.stamps_s), 1))
    floor_m[horizontal.stamps_s > BEGIN_S + 4.95] = np.nan
    person = PersonTrack(horizontal.stamps_s, 0.0138, floor_m)
    made = dataset.label(
        (horizontal, vertical), PERIOD_S, person, track_with_gaps(), OFFSET_S, RIG_CAMERA, 0.3
    )
    numbers = [*range(10), -1, *range(12, 80)]  # of the frames; 10 and 11 are one row
    wanted = dict.fromkeys(numbers, dataset.LABELLED)
    wanted |= {-1: dataset.LOST_FRAME, 15: dataset.NO_PARTNER}
    wanted |= dict.fromkeys((20, 21), dataset.LOST_PACKETS)
    wanted |= dict.fromkeys((25, 28), dataset.NOBODY)
    wanted |= dict.fromkeys((31, 32, 33), dataset.NO_IMAGE)
    wanted |= dict.fromkeys(range(39, 60), dataset.OUTSIDE)  # beyond 256 + 128 px
    wanted |= dict.fromkeys(range(60, 80), dataset.NO_RANGE)  # a second after the last place
    assert made.outcomes == [wanted[number] for number in numbers]
    labelled = [number for number in numbers if wanted[number] == dataset.LABELLED]
    np.testing.assert_array_equal(np.array(numbers)[made.frames], labelled)
    # 30 ms would be 3 px
    np.testing.assert_allclose(
        made.keypoints_px[made.frames], seen_at(PERIOD_S * np.array(labelled)), atol=1e-3
    )
    assert np.isnan(np.delete(made.keypoints_px, made.frames, axis=0)).all()
    np.testing.assert_allclose(made.stamps_s[9] - BEGIN_S, [0.9, 0.902], atol=1e-6)
    assert np.isnan(made.stamps_s[10]).all()
    assert np.isnan(made.stamps_s[14]).tolist() == [False, True]
    # runs of 10, 3, 4, 3, 2, 2 and 5 frames
    assert [made.windows(length) for length in (1, 4, 9, 11)] == [29, 7 + 1 + 2, 2, 0]
    assert made.parallax_px == pytest.approx(0.0, abs=1e-6)
    assert made.counts[dataset.OUTSIDE] == 21


class FakeBag:
    """A recording of frames whose samples are all the frame's number, or 100 more."""

    def __init__(self, config, end=None):
        self.configs = (config, config)
        self._end = end

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def frames(self):
        size = self.configs[0].bytes_per_frame // 2
        for number in (0, 3, 4, 5):
            for radar in (0, 1):
                samples = np.full(size, number + 100 * radar, np.int16)
                yield Frame(radar, number + 0.25 * radar, samples, np.ones(1, bool))
            if number == self._end:
                raise RecordingError("damaged")


STAMPS_S = np.array([[0.0, 0.25], [np.nan, np.nan], [3.0, 3.25], [4.0, np.nan], [5.0, 5.25]])
OUTCOMES = [dataset.LABELLED, dataset.LOST_FRAME, *[dataset.LABELLED] * 3]


def source(config, name="a", other=None, split="train", pixel=1.0):
    labelled = dataset.Labelled(STAMPS_S, np.full((5, 14, 2), pixel), OUTCOMES, 0.0)
    return dataset.Source(Path(name), split, (config, other or config), labelled)


def test_frames_that_are_missing_are_zero(small_radar, tmp_path):
    dataset.write(tmp_path / "data", [source(small_radar)], lambda _: FakeBag(small_radar), "x")
    folder = tmp_path / "data/raw_data/iwr1843/HuPR/single_1"
    for name, wanted in (("hori", [0, 0, 3, 4, 5]), ("vert", [100, 0, 103, 0, 105])):
        raw = np.fromfile(folder / name / "adc_data.bin", "<i2").reshape(5, -1)
        assert raw.nbytes == 5 * small_radar.bytes_per_frame
        np.testing.assert_array_equal(raw, np.broadcast_to(np.c_[wanted], raw.shape))
    stamps = [row["stamp_s"] for row in rows(folder / "frames.csv")]
    assert stamps == ["0.000000", "", "3.000000", "4.000000", "5.000000"]


def test_labels_are_in_the_file_of_their_split(small_radar, tmp_path):
    splits = ("train", "validation", "train")
    sources = [
        source(small_radar, split=split, pixel=number) for number, split in enumerate(splits, 1)
    ]
    dataset.write(tmp_path / "data", sources, lambda _: FakeBag(small_radar), "x")
    for split, numbers in (("train", (1, 3)), ("validation", (2,))):
        path = tmp_path / "data/annotations" / hupr.ANNOTATIONS[split]
        for number, labels in hupr.read_annotations(path, numbers).items():
            np.testing.assert_array_equal(labels.frames, [0, 2, 3, 4])
            assert (labels.keypoints_px == number).all()


def test_radars_of_other_antennas_are_refused_before_anything_is_written(small_radar, tmp_path):
    fewer = dataclasses.replace(small_radar, rx_antennas=(0, 1, 3, 2))
    sources = [source(small_radar), source(small_radar, "b", fewer)]
    with pytest.raises(ValueError, match="b: radar_v is set up otherwise than radar_h of a"):
        dataset.write(tmp_path / "data", sources, pytest.fail, "x")
    assert not (tmp_path / "data").exists()


def test_nothing_stays_of_a_data_set_that_failed(small_radar, tmp_path):
    with pytest.raises(RecordingError, match="damaged"):
        dataset.write(
            tmp_path / "data", [source(small_radar)], lambda _: FakeBag(small_radar, 3), "x"
        )
    assert not (tmp_path / "data").exists()


def test_pixels_move_to_the_virtual_camera_exactly_where_depth_is_known():
    camera = PinholeCamera.looking_at((0.3, -0.4, 1.6), (2.6, 0.2, 0.9), 500.0, (640, 480), 0.05)
    rng = np.random.default_rng(0)
    points_m = np.stack(
        [np.full((5, 14), 2.4), rng.uniform(-0.5, 0.5, (5, 14)), rng.uniform(0, 1.8, (5, 14))], -1
    )
    moved = dataset.to_rig_image(camera.project(points_m), camera, np.full(5, 2.4))
    np.testing.assert_allclose(moved, projection.project(points_m), atol=1e-6)
    assert np.isnan(dataset.to_rig_image(np.zeros((1, 14, 2)), camera, np.array([np.nan]))).all()
