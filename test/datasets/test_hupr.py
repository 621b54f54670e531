"""HuPR's files: what is read from them is what was recorded, whichever files there are."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import yaml
from tolerances import assert_close

from radar_pose_ros import cli, resources
from radar_pose_ros.datasets import hupr, hupr_simulated, simulated
from radar_pose_ros.datasets.hupr import Layout
from radar_pose_ros.datasets.recordings import gather, windows
from radar_pose_ros.models import weights
from radar_pose_ros.radar.config import ConfigError
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor, four_dimensional
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.training import millimamba

CENTRAL = HeatmapConfig(range_first=31, range_bins=64, chirps="central_doppler")
SUBSAMPLED = HeatmapConfig(range_first=31, range_bins=64)
HUPR = Layout.load(resources.find("config", "hupr.yaml"))
LABEL = {"joints": [[100.5, 50.25]] * 14, "bbox": [80.0, 40.0, 120.0, 200.0]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two recordings for training, one for each other split, of 1.2 s."""
    folder = tmp_path_factory.mktemp("hupr")
    lines = hupr_simulated.write(folder, {"train": 2, "validation": 1, "test": 1}, seconds=1.2)
    assert len(list(lines)) == 4
    return folder


@pytest.fixture(scope="module")
def both_kinds(tmp_path_factory):
    """One recording of 0.2 s, raw and as HuPR's heatmaps."""
    folder = tmp_path_factory.mktemp("both")
    list(hupr_simulated.write(folder, {"test": 1}, seconds=0.2, preprocessed=True))
    return folder


def load(root, split="train", heatmap=CENTRAL, **options):
    return hupr.load_split(root, split, heatmap, **{"report": lambda line: None, **options})


def write_capture(root, number, frames, extra=b"", noise_seed=0):
    """Write raw files of white noise, far from real ones but of their size."""
    rng = np.random.default_rng(noise_seed)
    for radar in hupr.RADARS:
        folder = root / "raw" / f"single_{number}" / radar
        folder.mkdir(parents=True)
        samples = rng.integers(-99, 99, (frames, HUPR.radar.bytes_per_frame // 2)).astype("<i2")
        (folder / "adc_data.bin").write_bytes(samples.tobytes() + extra)


def write_labels(root, split, frames):
    """Write annotations; ``frames`` maps recordings to the frames that have a label."""
    lists = [
        [{"image": f"{frame:09d}.jpg", **LABEL} for frame in frames.get(number, ())]
        for number in HUPR.splits[split]
    ]
    (root / hupr.ANNOTATIONS[split]).write_text(json.dumps(lists))


# --- layouts ------------------------------------------------------------------------------------


def test_official_split():
    train, validation, test = (HUPR.splits[split] for split in simulated.SPLITS)
    assert [len(ids) for ids in (train, validation, test)] == [193, 21, 21]
    assert train[:3] == (2, 3, 4) and train[70:75] == (31, 32, 53, 54, 55) and train[-1] == 276
    assert validation[5:8] == (98, 56, 99)
    assert test[:8] == (15, 16, 38, 40, 41, 42, 17, 39)
    unused = {82, *range(111, 119), *range(125, 133), 136, *range(139, 147), 214}
    unused |= {*range(217, 223), 227, *range(237, 244)}
    assert set(range(1, 277)) - {*train, *validation, *test} == unused
    assert HUPR.radar.adc_shape == (64, 3, 4, 256)
    assert HUPR.radar.bytes_per_frame == 786_432


def test_transhupr_is_split_by_subject():
    layout = Layout.load(resources.find("config", "transhupr.yaml"))
    people = [{layout.subjects[number] for number in ids} for ids in layout.splits.values()]
    assert [len(names) for names in people] == [14, 4, 4]
    assert len(set.union(*people)) == 22
    assert sum(map(len, layout.splits.values())) == 440
    assert layout.radar.bytes_per_frame == 1_572_864
    assert "not comparable" in layout.note


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"loops": 0}, "loops must be at least 1"),
        ({"iq_order": "II"}, "neither 'IQ' nor 'QI'"),
        ({"splits": {"train": [1]}}, "no entry 'validation'"),
        ({"splits": {"train": ["s1"], "validation": [2], "test": [3]}}, "'s1' is no number"),
        ({"splits": {"train": ["1-3"], "validation": [2], "test": [4]}}, r"\[2\] are listed more"),
    ],
)
def test_wrong_layouts_are_named(tmp_path, change, sentence):
    entries = yaml.safe_load(resources.find("config", "hupr.yaml").read_text()) | change
    path = tmp_path / "layout.yaml"
    path.write_text(yaml.safe_dump(entries))
    with pytest.raises(ConfigError, match=sentence) as error:
        Layout.of(tmp_path)
    assert str(path) in str(error.value)


# --- raw samples --------------------------------------------------------------------------------


def test_samples_are_decoded_as_hupr_does(tmp_path):
    """Two samples' I, then their Q; receiver by receiver; transmitters 1, 2, 3 in turn.

    A tone in range bin 31 + 9 (hori) or 31 + 29 (vert) and Doppler bin +2, with a phase of its own
    for each virtual antenna.
    """
    turns = np.random.default_rng(0).random((3, 4))  # (transmitter, receiver)
    loop, sample = np.arange(64), np.arange(256)
    for radar, bin_kept in (("hori", 9), ("vert", 29)):
        phase = (
            2 * loop[:, None, None, None] / 64
            + turns[None, :, :, None]
            + (31 + bin_kept) * sample / 256
        )
        tone = 1000 * np.exp(2j * np.pi * phase)
        pairs = tone.reshape(-1, 2)
        groups = np.concatenate([pairs.real, pairs.imag], axis=1)  # I I Q Q
        folder = tmp_path / "raw_data" / "iwr1843" / "HuPR" / "single_15" / radar
        folder.mkdir(parents=True)
        groups.round().astype("<i2").tofile(folder / "adc_data.bin")
    write_labels(tmp_path, "test", {15: [0]})
    (recording,) = load(tmp_path, "test")
    parts = recording.range_doppler[0]
    cube = parts[..., 0] + 1j * parts[..., 1]
    for radar, bin_kept in enumerate((9, 29)):
        power = np.square(np.abs(cube[radar])).sum(0)
        assert np.unravel_index(power.argmax(), power.shape) == (4 + 2, bin_kept)
        seen = cube[radar, :, 4 + 2, bin_kept] * np.exp(-2j * np.pi * turns.ravel())
        np.testing.assert_allclose(seen, seen[0], rtol=2e-3)


def test_cubes_are_the_radar_chains_with_unit_power(root):
    recording = load(root)[1]
    assert recording.path.name == "single_3"
    assert recording.range_doppler.shape == (12, 2, 12, 8, 64, 2)
    whole = recording.range_doppler[:]
    np.testing.assert_allclose(np.square(whole).sum(-1).mean((2, 3, 4)), 1, rtol=1e-5)
    file = recording.path / "vert" / "adc_data.bin"
    adc = np.fromfile(file, "<i2").reshape(12, -1)[7]
    expected = HeatmapProcessor(HUPR.radar, CENTRAL).range_doppler(adc)
    expected /= np.sqrt(np.mean(np.abs(expected) ** 2))
    assert_close(whole[7, 1, ..., 0] + 1j * whole[7, 1, ..., 1], expected)


def test_frames_can_be_indexed_like_an_array(root):
    cubes = load(root)[0].range_doppler
    whole = cubes[:]
    assert len(cubes) == len(whole) == 12
    for index in (slice(3, 9), slice(None, None, -4), np.array([5, 0, 5]), -1, 2):
        np.testing.assert_array_equal(cubes[index], whole[index])
    with pytest.raises(IndexError):
        cubes[12]


def test_batches_are_gathered_from_it(root):
    recordings = load(root)
    chosen = windows(recordings, 9, stride=3)
    assert [(w.recording, w.first) for w in chosen] == [(0, 0), (0, 3), (1, 0), (1, 3)]
    cubes, keypoints_px = gather(recordings, chosen[1:3], 9)
    stored = recordings[0].range_doppler[3 + 4][1, 5, 2, 40]
    assert cubes[0, 1, 4, 5, 2, 40] == stored[0] + 1j * stored[1]
    np.testing.assert_array_equal(keypoints_px[1], recordings[1].keypoints_px[:9])


def test_a_partial_frame_at_the_end_is_left_out(tmp_path):
    write_capture(tmp_path, 15, 2, extra=bytes(1000))
    write_labels(tmp_path, "test", {15: range(4)})
    lines = []
    (recording,) = load(tmp_path, "test", report=lines.append)
    assert len(recording.range_doppler) == len(recording.keypoints_px) == 2
    assert sum("the last 1000 bytes are no whole frame" in line for line in lines) == 2
    assert any("radar data for 2 of 4 labelled frames" in line for line in lines)


def test_exchanged_parts_are_noticed(root, tmp_path):
    shutil.copytree(root / "annotations", tmp_path / "annotations")
    shutil.copytree(root / "raw_data", tmp_path / "raw_data")
    text = resources.find("config", "hupr.yaml").read_text()
    (tmp_path / "layout.yaml").write_text(text.replace("iq_order: IQ", "iq_order: QI"))
    with pytest.raises(ConfigError, match=r"adc_data\.bin: with iq_order 'QI' all echoes"):
        load(tmp_path)


# --- HuPR's own heatmaps ------------------------------------------------------------------------


def test_stored_heatmaps_are_hupr_s(both_kinds):
    folder = both_kinds / "data" / "HuPR" / "single_15"
    assert sorted(file.name for file in (folder / "hori").iterdir()) == [
        "000000000.npy",
        "000000001.npy",
    ]
    stored = np.load(folder / "vert" / "000000001.npy")
    assert stored.dtype == np.complex128 and stored.shape == (16, 64, 64, 8)
    raw = both_kinds / "raw_data" / "iwr1843" / "HuPR" / "single_15" / "vert" / "adc_data.bin"
    assert_close(stored, four_dimensional(np.fromfile(raw, "<i2").reshape(2, -1)[1], HUPR.radar))


@pytest.mark.parametrize(
    "heatmap",
    [
        CENTRAL,
        dataclasses.replace(CENTRAL, doppler_bins=16),
        dataclasses.replace(CENTRAL, doppler_bins=5, range_first=40, range_bins=11),
    ],
)
def test_stored_heatmaps_give_the_same_as_raw_samples(both_kinds, heatmap):
    (raw,) = load(both_kinds, "test", heatmap)
    (stored,) = load(both_kinds, "test", heatmap, source="preprocessed")
    assert "raw_data" in str(raw.path) and "raw_data" not in str(stored.path)
    np.testing.assert_allclose(stored.range_doppler[:], raw.range_doppler[:], atol=1e-4)
    np.testing.assert_array_equal(stored.keypoints_px, raw.keypoints_px)


def test_what_stored_heatmaps_cannot_give_is_named(both_kinds):
    for change, words in (
        ({"chirps": "subsample"}, "chirps = 'subsample'"),
        ({"range_first": 30}, "range_first = 30"),
        ({"range_bins": 65}, "range_bins = 65"),
        ({"window": "hann"}, "window = 'hann'"),
        ({"doppler_bins": 17}, "doppler_bins = 17"),
    ):
        with pytest.raises(ValueError, match=f"single_15: {words} wants raw samples"):
            load(both_kinds, "test", dataclasses.replace(CENTRAL, **change), source="preprocessed")


def test_damaged_heatmaps_are_named(both_kinds, tmp_path):
    shutil.copytree(both_kinds, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "data" / "HuPR" / "single_15" / "vert" / "000000001.npy"
    (recording,) = load(tmp_path, "test", source="preprocessed")
    np.save(file, np.zeros((16, 64, 64, 8)))
    with pytest.raises(ValueError, match=r"000000001\.npy: want complex values .* float64"):
        recording.range_doppler[:]
    file.write_bytes(file.read_bytes()[:10_000])
    with pytest.raises(ValueError, match=r"000000001\.npy: "):
        recording.range_doppler[1]


def test_the_chain_is_adapted_to_what_there_is(both_kinds, root):
    assert hupr.suited_heatmap(root, SUBSAMPLED) == SUBSAMPLED
    assert hupr.suited_heatmap(both_kinds, SUBSAMPLED) == SUBSAMPLED
    assert hupr.suited_heatmap(both_kinds, SUBSAMPLED, source="preprocessed") == CENTRAL


# --- labels and frames --------------------------------------------------------------------------


def test_labels_belong_to_their_recordings(tmp_path):
    """Annotations are in the split's order, recordings come by rising number."""
    lists = [[] for _ in HUPR.splits["validation"]]
    for number in (98, 56):
        write_capture(tmp_path, number, 2)
        lists[HUPR.splits["validation"].index(number)] = [
            {"image": f"{frame:09d}.jpg", "joints": [[number, frame]] * 14, "bbox": LABEL["bbox"]}
            for frame in (1, 0)
        ]
    (tmp_path / "hrnet_annot_val.json").write_text(json.dumps(lists))
    recordings = load(tmp_path, "validation")
    assert [recording.details["recording"] for recording in recordings] == [56, 98]
    for recording, number in zip(recordings, (56, 98), strict=True):
        np.testing.assert_array_equal(recording.keypoints_px[:, 7], [[number, 0], [number, 1]])
        assert recording.image_ids.tolist() == [number * 100_000, number * 100_000 + 1]
        np.testing.assert_array_equal(recording.area_px2, 40 * 160 / 2)  # half of the box
        assert np.isnan(recording.joints_m).all()
        assert recording.motions == ("unknown", "unknown")


def test_gaps_in_the_labels_cut_a_recording(tmp_path):
    write_capture(tmp_path, 15, 6)
    write_labels(tmp_path, "test", {15: [0, 1, 3, 4, 5]})
    pieces = load(tmp_path, "test")
    assert [piece.details["first_frame"] for piece in pieces] == [0, 3]
    assert pieces[1].image_ids.tolist() == [1_500_003, 1_500_004, 1_500_005]
    write_labels(tmp_path, "test", {15: range(6)})
    (whole,) = load(tmp_path, "test")
    np.testing.assert_array_equal(pieces[1].range_doppler[:], whole.range_doppler[3:])


def test_simulated_labels_are_the_projected_joints(root):
    (recording,) = load(root, "validation")
    extent = np.ptp(recording.keypoints_px, axis=1)
    np.testing.assert_allclose(recording.area_px2, extent.prod(-1) / 2, rtol=1e-5)
    assert (extent[:, 1] > 30).all() and (recording.keypoints_px > 0).all()
    assert recording.details["radar"]["waveform"]["loops"] == 64
    assert recording.details["heatmap"]["range_first"] == 31


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[[]]", "holds 1 recordings, but its split has 21"),
        ("{", "Expecting property name"),
        ([{"image": "000000000.jpg", "joints": LABEL["joints"]}], "single_15: .* no 'bbox'"),
        ([{"image": "000000000.jpg", **LABEL, "joints": [[1, 2]]}], "single_15: want 14 x 2"),
        ([{"image": "000000000.jpg", **LABEL}] * 2, "single_15: a frame is labelled twice"),
        (
            [{"image": "000000007.jpg", **LABEL, "joints": [[1, float("nan")]] + [[1, 2]] * 13}],
            "single_15: frame 7 has a joint that is not finite",
        ),
    ],
)
def test_damaged_annotations_are_named(tmp_path, content, sentence):
    write_capture(tmp_path, 15, 1)
    text = content if isinstance(content, str) else json.dumps([content] + [[]] * 20)
    (tmp_path / "hrnet_annot_test.json").write_text(text)
    with pytest.raises(ValueError, match=rf"hrnet_annot_test\.json.*{sentence}"):
        load(tmp_path, "test")


def test_what_is_missing_is_named(root, tmp_path):
    lines = []
    load(root, report=lines.append)
    assert lines == ["train: 191 of 193 not there: single_4, 5, 6, 7, 8 ..."]
    with pytest.raises(ValueError, match="unknown split 'val', there are train, validation, test"):
        load(root, "val")
    write_capture(tmp_path, 15, 1)
    with pytest.raises(FileNotFoundError, match=r"no hrnet_annot_test\.json in"):
        load(tmp_path, "test")
    write_labels(tmp_path, "train", {2: [0]})
    with pytest.raises(FileNotFoundError, match="none of the 193 recordings of train"):
        load(tmp_path, "train")


def test_it_is_told_from_other_folders(root, both_kinds, tmp_path):
    assert hupr.is_hupr(root)
    assert hupr.is_hupr(both_kinds / "data")  # recordings alone
    assert hupr.is_hupr(root / "annotations")
    assert not hupr.is_hupr(tmp_path / "nowhere")
    (tmp_path / "train" / "00000").mkdir(parents=True)
    (tmp_path / "train" / "00000" / "recording.json").write_text("{}")
    assert not hupr.is_hupr(tmp_path)


# --- cache --------------------------------------------------------------------------------------


def test_the_cache_holds_the_same(root, tmp_path):
    lines = []
    cached = load(root, cache=tmp_path, report=lines.append)[0].range_doppler
    assert isinstance(cached, np.memmap) and cached.dtype == np.float16
    assert sum(line.startswith("writing") for line in lines) == 2
    assert_close(cached[:], load(root)[0].range_doppler[:])
    before = sorted(tmp_path.iterdir())
    lines.clear()
    load(root, heatmap=dataclasses.replace(CENTRAL, angle_bins=32), cache=tmp_path)
    assert sorted(tmp_path.iterdir()) == before  # angles are transformed later
    load(root, heatmap=SUBSAMPLED, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * len(before)
    for path in before:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"single_2_.*\.npy is damaged, remove it"):
        load(root, cache=tmp_path)


def test_the_cache_follows_its_source(tmp_path):
    write_labels(tmp_path, "test", {15: range(2)})
    cubes = []
    for seed in (0, 1):
        shutil.rmtree(tmp_path / "raw", ignore_errors=True)
        write_capture(tmp_path, 15, 2, noise_seed=seed)
        cubes.append(load(tmp_path, "test", cache=tmp_path / "cache")[0].range_doppler)
    assert not np.array_equal(cubes[0], cubes[1])


# --- simulated sets and their use ---------------------------------------------------------------


def test_the_same_seed_gives_the_same_files(root, tmp_path):
    list(hupr_simulated.write(tmp_path, {"test": 1}, seconds=0.3))
    for radar in hupr.RADARS:
        file = f"raw_data/iwr1843/HuPR/single_15/{radar}/adc_data.bin"
        shorter = (tmp_path / file).read_bytes()
        assert len(shorter) == 3 * 786_432
    with pytest.raises(FileExistsError):
        list(hupr_simulated.write(tmp_path, {"test": 1}, seconds=0.3))
    again = tmp_path / "again"
    list(hupr_simulated.write(again, {"test": 1}, seconds=0.3))
    assert (again / file).read_bytes() == shorter
    other = tmp_path / "other"
    list(hupr_simulated.write(other, {"test": 1}, seconds=0.3, seed=1))
    assert (other / file).read_bytes() != shorter


def test_too_many_recordings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="the split test of HuPR has 21 recordings, not 22"):
        list(hupr_simulated.write(tmp_path, {"test": 22}))
    with pytest.raises(ValueError, match="unknown split 'val'"):
        list(hupr_simulated.write(tmp_path, {"val": 1}))


def test_command_line_writes_every_split(tmp_path, capsys):
    out = tmp_path / "hupr"
    arguments = ["simulate", "--layout", "hupr", "--out", str(out), "--seconds", "0.2"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train: single_2, 2 frames",
        "validation: single_1, 2 frames",
        "test: single_15, 2 frames",
    ]
    for split in simulated.SPLITS:
        assert len(load(out, split)) == 1
    assert cli.main([*arguments, "--motion", "walk"]) == cli.USAGE_ERROR
    assert "a data set holds all motions" in capsys.readouterr().err
    assert cli.main([*arguments, "--json", str(tmp_path / "numbers.json")]) == cli.USAGE_ERROR
    assert "--json are for --layout recording" in capsys.readouterr().err
    assert cli.main([*arguments, "--config", "iwr1843.cfg"]) == cli.USAGE_ERROR
    assert "config/hupr.yaml names its radar" in capsys.readouterr().err


def test_command_line_writes_transhupr(tmp_path):
    arguments = ["simulate", "--layout", "transhupr", "--out", str(tmp_path), "--split", "test"]
    assert cli.main([*arguments, "--seconds", "0.2"]) == 0
    lines = []
    (recording,) = load(tmp_path, "test", report=lines.append)
    assert recording.details["dataset"] == "TransHuPR"
    assert recording.details["subject"] == "s19"
    assert recording.details["radar"]["waveform"]["loops"] == 128
    assert recording.range_doppler.shape[0] == 2
    assert any("not comparable" in line for line in lines)
    samples = recording.path / "hori" / "adc_data.bin"
    config = load_cfg(resources.find("config", "iwr1843.cfg"))
    assert samples.stat().st_size == 2 * config.bytes_per_frame


def test_train_and_evaluate(root, tmp_path):
    """The two commands that a stranger with HuPR needs: two steps, then AP beside a baseline."""
    recipe = yaml.safe_load((millimamba.RECIPES / "edge.yaml").read_text())
    recipe["batch"] = 2
    recipe["loop"] |= {"steps": 2, "warmup_steps": 1, "validate_every": 2}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    out, numbers, figure = (tmp_path / name for name in ("out", "numbers.json", "figure.png"))
    common = ["--recipe", str(tmp_path / "tiny.yaml"), "--data", str(root), "--threads", "1"]
    common += ["--cache", str(tmp_path / "cache"), "--device", "cpu"]
    weights_file = out / "millimamba_edge.safetensors"
    for command in (
        ["train", "millimamba", "--out", str(out)],
        ["evaluate", "millimamba", "--weights", str(weights_file), "--json", str(numbers)]
        + ["--figure", str(figure)],
    ):
        assert cli.main([*command, *common]) == 0

    assert not (root / "train").exists()  # nothing was simulated
    assert len(list((tmp_path / "cache").iterdir())) == 4
    _, entry = weights.load(weights_file)
    assert entry["training_data"] == {
        "description": "HuPR: 2 recordings, 24 frames of two radars",
        "licence": "its authors'",
    }
    assert entry["heatmap"]["chirps"] == "subsample"
    values = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    assert values["test.ap"] < 0.2  # nothing is learnt in two steps
    assert values["test.median_error_px"] > 5
    assert 0 <= values["test.ap_mean_pose"] <= 1
    assert not any("motion" in name or "true_place" in name for name in values)
    assert figure.stat().st_size > 10_000
