"""Sets of face videos: what is read is what was written in their layouts."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import scipy.io

from radar_pose_ros.datasets import face_video_sets, mmpd, mmse_hr, pure, ubfc_rppg, vipl_hr
from radar_pose_ros.datasets.face_videos import FaceVideo, Trace, trace
from radar_pose_ros.vision.video import GivenFrames

SIZE = (64, 48)
FRAMES = 12
EPOCH_NS = 1392643993642815000


def still(number):
    """Return an image that is more blue than red, and tells its number."""
    image = np.full((SIZE[1], SIZE[0], 3), 20 * number, np.uint8)
    image[..., 0] += 12
    return image


def write_video(path, rate_hz, count=FRAMES):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), rate_hz, SIZE)
    assert writer.isOpened()
    for number in range(count):
        writer.write(still(number))
    writer.release()


def check_frames(face_video, times_s):
    """All frames are there, in order, at these times; blue comes first."""
    found = list(face_video.frames())
    np.testing.assert_allclose([time_s for time_s, _ in found], times_s, atol=1e-6)
    for number, (_, image) in enumerate(found):
        assert image.dtype == np.uint8
        assert round(float(image[..., 2].mean()) / 20) == number
        assert image[..., 0].mean() > image[..., 2].mean() + 6


def silent(line):
    """Take a line of a report."""


# --- the common type -----------------------------------------------------------------------------


def test_traces_follow_stamps_and_know_their_gaps():
    found = trace([0.0, 0.1, 0.2, 0.3, 1.0, 1.1], [0, 1, 2, 3, 10, np.inf], "x")
    np.testing.assert_array_equal(found.values, [0, 1, 2, 3, 10, np.nan])
    asked = [-0.01, 0.0, 0.05, 0.25, 0.3, 0.5, 1.0, 1.05]
    np.testing.assert_allclose(
        found.at(asked, gap_s=0.25), [np.nan, 0, 0.5, 2.5, 3, np.nan, 10, np.nan]
    )
    np.testing.assert_allclose(found.at([0.5], gap_s=1.0), [5])


def test_a_trace_of_one_known_value_knows_no_other():
    found = Trace(np.array([0.0, 1.0]), np.array([3.0, np.nan])).at([0.0, 0.5, 1.0], 2)
    np.testing.assert_array_equal(found, [3.0, np.nan, np.nan])


def test_a_few_samples_may_be_late_or_at_one_time():
    times_s = np.arange(200) / 60
    times_s[50] = times_s[49]
    times_s[[70, 71]] = times_s[[71, 70]]
    found = trace(times_s, np.arange(200), "x")
    assert np.delete(np.arange(200), 50).tolist() == [
        *found.values[:69],
        *found.values[[70, 69]],
        *found.values[71:],
    ]
    assert (np.diff(found.times_s) > 0).all()


@pytest.mark.parametrize(
    ("times_s", "values", "sentence"),
    [
        ([0, 1], [1, 2, 3], r"here: want two values or more, and a time for each, got \(3,\)"),
        ([0], [1], "here: want two values or more"),
        ([], [], "here: want one time or more"),
        ([0, 1], [np.nan, np.nan], "here: no value is known"),
        ([0, np.inf, 2], [1, 2, 3], "here: time 2 of 3 is not finite"),
        ([2, 1, 0], [1, 2, 3], "here: times have to increase, but 2 of 3"),
    ],
)
def test_wrong_traces_are_named(times_s, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        trace(times_s, values, "here")


def face_video(subject, name=None, **attributes):
    pulse = Trace(np.arange(3) / 2, np.array([0.0, 1.0, 0.0]))
    frames = GivenFrames(lambda: ((n / 30, still(n)) for n in range(3)), "made", "names")
    return FaceVideo(name or subject, subject, lambda: frames, pulse, attributes=attributes)


def test_frames_may_come_from_a_program():
    made = face_video("s")
    check_frames(made, np.arange(3) / 30)
    np.testing.assert_array_equal(made.pulse_at([0.0, 0.25, 0.5]), [0, np.nan, 1])
    assert np.isnan(made.heart_rate_at([0.0, 1.0])).all()


# --- UBFC-rPPG -----------------------------------------------------------------------------------


def write_ubfc(root, subject="subject1", count=FRAMES, start_s=0.0):
    """Write a recording whose frames are not even; return when they were taken."""
    times_s = start_s + np.arange(count) / 29.5 + 0.004 * (np.arange(count) % 2)
    rows = [np.sin(np.arange(count)), 70 + np.arange(count), times_s]
    write_video(root / subject / "vid.avi", 30.0)
    text = "\n".join("   ".join(f"{value: .7e}" for value in row) for row in rows)
    (root / subject / "ground_truth.txt").write_text(text + "\n")
    return times_s


def test_ubfc_frames_have_the_times_beside_their_pulse(tmp_path):
    times_s = write_ubfc(tmp_path, start_s=0.5) - 0.5
    [video] = ubfc_rppg.load(tmp_path)
    assert (video.name, video.subject) == ("ubfc_rppg/subject1", "subject1")
    assert video.attributes == {"part": "dataset 2"}
    check_frames(video, times_s)
    np.testing.assert_allclose(video.pulse_at(times_s), np.sin(np.arange(FRAMES)), atol=1e-5)
    np.testing.assert_allclose(video.heart_rate_at(times_s), 70 + np.arange(FRAMES), atol=1e-3)
    assert video.rate_hz == pytest.approx((FRAMES - 1) / times_s[-1])
    assert video.open().stamps == "times file"


def test_ubfc_dataset_1_has_an_oximeter_of_its_own(tmp_path):
    write_video(tmp_path / "DATASET_1" / "7-gt" / "vid-007.avi", 28.0)
    stamps_ms = 16 * np.arange(60)
    rows = [f"{ms},{0 if ms < 100 else 84},98,{ms % 70}" for ms in stamps_ms]
    (tmp_path / "DATASET_1" / "7-gt" / "gtdump.xmp").write_text("\n".join(rows))
    write_ubfc(tmp_path / "DATASET_2")
    first, second = ubfc_rppg.load(tmp_path)
    assert (first.subject, second.subject) == ("7-gt", "subject1")
    assert first.attributes == {"part": "dataset 1"}
    check_frames(first, np.arange(FRAMES) / 28)
    np.testing.assert_allclose(first.pulse.values, stamps_ms % 70)
    np.testing.assert_allclose(first.pulse_at([0.008]), [8])
    np.testing.assert_array_equal(first.heart_rate_at([0.096, 0.2]), [np.nan, 84])


def test_ubfc_is_sorted_by_number_and_says_what_it_leaves_out(tmp_path):
    for subject in ("subject10", "subject9", "subject1"):
        write_ubfc(tmp_path, subject)
    (tmp_path / "subject9" / "vid.avi").unlink()
    lines = []
    videos = ubfc_rppg.load(tmp_path, lines.append)
    assert [video.subject for video in videos] == ["subject1", "subject10"]
    assert lines == [f"{tmp_path / 'subject9'}: 0 files vid*.avi, want one: left out"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it is empty"),
        ("1 2 3\n70 70 70\n", "want 3 lines, the pulse wave, the heart rate, times, got 2"),
        ("1 2 3\n70 70\n0 1 2\n", "want as many numbers in each line, got 3, 2 and 3"),
        ("1 2 3\n70 x 70\n0 1 2\n", "line 2: want numbers only: .*'x'"),
        ("0 1 2\n70 70 70\n3 1 2\n", "line 3: times have to increase"),
        ("1\n70\n0\n", "want two values"),
    ],
)
def test_ubfc_wrong_files_are_named(tmp_path, text, sentence):
    write_ubfc(tmp_path)
    path = tmp_path / "subject1" / "ground_truth.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence) as error:
        ubfc_rppg.load(tmp_path)
    assert str(error.value).startswith(str(path))


def test_ubfc_dataset_1_wrong_line_is_named(tmp_path):
    write_video(tmp_path / "a" / "vid.avi", 28.0)
    (tmp_path / "a" / "gtdump.xmp").write_text("0,80,98,1\n16,80,98\n")
    with pytest.raises(ValueError, match=r"gtdump\.xmp line 2: want 4 numbers, got 3"):
        ubfc_rppg.load(tmp_path)


# --- PURE ----------------------------------------------------------------------------------------


def pure_content(count=FRAMES, samples=30):
    """Return a file of PURE's: frames at 30 Hz, samples at 60 Hz from 5 ms later on."""
    frames = [EPOCH_NS + 33_345_000 * n for n in range(count)]
    stamps = [EPOCH_NS + 5_000_000 + 16_700_000 * n for n in range(samples)]
    value = {"pulseRate": 71, "probeError": False, "searching": False, "o2saturation": 97}
    return {
        "/Image": [{"Timestamp": stamp, "Value": {}} for stamp in frames],
        "/FullPackage": [
            {"Timestamp": stamp, "Value": {**value, "waveform": 2 * n}}
            for n, stamp in enumerate(stamps)
        ],
    }


def write_pure(root, name="01-03", content=None, names=None):
    content = content or pure_content()
    images = root / name / name
    images.mkdir(parents=True)
    names = names or [f"Image{entry['Timestamp']}.png" for entry in content["/Image"]]
    for number, image in enumerate(names):
        cv2.imwrite(str(images / image), still(number))
    (root / name / f"{name}.json").write_text(json.dumps(content))
    return root / name


@pytest.mark.parametrize("names", [None, [f"{n}.png" for n in range(FRAMES)]])
def test_pure_pulse_belongs_to_frames_by_stamps(tmp_path, names):
    write_pure(tmp_path, names=names)
    [video] = pure.load(tmp_path)
    assert (video.name, video.subject, video.rate_hz) == ("pure/01-03", "01", 30.0)
    assert video.attributes == {"motion": "slow translation"}
    times_s = 0.033345 * np.arange(FRAMES)
    check_frames(video, times_s)
    expected = 2 * (times_s - 0.005) / 0.0167
    expected[0] = np.nan  # the oximeter began later
    np.testing.assert_allclose(video.pulse_at(times_s), expected, atol=1e-5)
    np.testing.assert_allclose(video.heart_rate_at([0.1]), [71])


def test_pure_samples_without_a_pulse_are_unknown(tmp_path):
    content = pure_content()
    content["/FullPackage"][10]["Value"]["probeError"] = True
    content["/FullPackage"][11]["Value"]["pulseRate"] = 0
    write_pure(tmp_path, content=content)
    [video] = pure.load(tmp_path)
    assert np.flatnonzero(np.isnan(video.pulse.values)).tolist() == [10]
    assert video.heart_rate is not None
    assert np.flatnonzero(np.isnan(video.heart_rate.values)).tolist() == [10, 11]


def test_pure_says_what_is_missing(tmp_path):
    folder = write_pure(tmp_path)
    (tmp_path / "06-02").mkdir()
    (folder / "01-03" / f"Image{EPOCH_NS}.png").unlink()
    lines = []
    [video] = pure.load(tmp_path, lines.append)
    assert len(lines) == 2
    assert "1 of the 12 images in 01-03.json are not there" in lines[0]
    assert "06-02: want images in 06-02 and 06-02.json beside it: left out" in lines[1]
    times_s = np.array([time_s for time_s, _ in video.frames()])
    np.testing.assert_allclose(times_s, 0.033345 * np.arange(FRAMES - 1), atol=1e-6)
    expected = 2 * (times_s + 0.033345 - 0.005) / 0.0167
    np.testing.assert_allclose(video.pulse_at(times_s), expected, atol=1e-5)


def broken_pure(**changes):
    """Return a file of PURE's with other entries; None takes one away."""
    content = pure_content() | changes
    return {key: value for key, value in content.items() if value is not None}


SAMPLE = {"Timestamp": EPOCH_NS, "Value": {"waveform": 1, "pulseRate": 70}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"/FullPackage": None}, "want a list /FullPackage, and something in it"),
        ({"/Image": []}, "want a list /Image"),
        ({"/FullPackage": [SAMPLE, {"Timestamp": EPOCH_NS + 1}]}, "entry 2: want numbers wavef"),
        ({"/FullPackage": [SAMPLE, {"Value": SAMPLE["Value"]}]}, "entry 2: want a Timestamp"),
        ({"/FullPackage": [SAMPLE, 3]}, "/FullPackage, entry 2: want"),
        ({"/FullPackage": [SAMPLE] * 3}, "/FullPackage: times have to increase"),
        ({"/FullPackage": [SAMPLE]}, "/FullPackage: want two values or more"),
        ({"/Image": [{"Timestamp": "now"}]}, "/Image, entry 1: want a Timestamp .* 'now'"),
        ({"/Image": [{"Timestamp": EPOCH_NS}]}, f"/Image has no frame {EPOCH_NS + 33345000}"),
    ],
)
def test_pure_wrong_entries_are_named(tmp_path, changes, sentence):
    names = [f"Image{EPOCH_NS + 33_345_000 * n}.png" for n in range(2)]
    folder = write_pure(tmp_path, content=broken_pure(**changes), names=names)
    with pytest.raises(ValueError, match=sentence) as error:
        pure.load(tmp_path)
    assert str(error.value).startswith(str(folder / "01-03.json"))


@pytest.mark.parametrize("content", ["", "[1, 2", "[1, 2]", "no"])
def test_pure_broken_json_is_named(tmp_path, content):
    folder = write_pure(tmp_path)
    (folder / "01-03.json").write_text(content)
    with pytest.raises(ValueError, match=r"01-03\.json: (no JSON file|want a list)"):
        pure.load(tmp_path)


def test_pure_images_without_stamps_have_to_be_all(tmp_path):
    write_pure(tmp_path, names=["1.png", "2.png"])
    with pytest.raises(ValueError, match="12 stamps, but there are 2 images"):
        pure.load(tmp_path)


# --- MMPD ----------------------------------------------------------------------------------------


def mmpd_content(**changes):
    """Return a file of MMPD's; None takes a key away."""
    video = np.stack([still(n)[..., ::-1] for n in range(FRAMES)]) / 255
    content = {
        "video": video,
        "GT_ppg": np.sin(np.arange(FRAMES))[None],
        "light": "LED-low",
        "motion": "Watching Videos",
        "exercise": "False",
        "skin_color": 5,
        "gender": "female",
        "glasser": "True",
        "hair_cover": "False",
        "makeup": "False",
    }
    return {key: value for key, value in (content | changes).items() if value is not None}


def write_mmpd(root, subject=1, number=0, compressed=True, **changes):
    path = root / f"subject{subject}" / f"p{subject}_{number}.mat"
    path.parent.mkdir(exist_ok=True)
    scipy.io.savemat(path, mmpd_content(**changes), do_compression=compressed)
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_mmpd_says_skin_motion_and_light(tmp_path, compressed):
    write_mmpd(tmp_path, compressed=compressed)
    [video] = mmpd.load(tmp_path)
    assert (video.name, video.subject, video.rate_hz) == ("mmpd/p1_0", "subject1", 30.0)
    assert video.attributes == {
        "light": "LED-low",
        "motion": "Walking",
        "exercise": "False",
        "skin_tone": "5",
        "gender": "female",
        "glasses": "True",
        "hair_cover": "False",
        "makeup": "False",
    }
    times_s = np.arange(FRAMES) / 30
    check_frames(video, times_s)
    np.testing.assert_allclose(video.pulse_at(times_s), np.sin(np.arange(FRAMES)))
    assert video.heart_rate is None


def test_mmpd_pixels_are_rounded_and_the_wave_spans_the_video(tmp_path):
    values = np.full((3, 2, 2, 3), 100.6 / 255, np.float32)
    write_mmpd(tmp_path, video=values, GT_ppg=np.arange(5.0)[:, None])
    [video] = mmpd.load(tmp_path)
    assert {int(image.max()) for _, image in video.frames()} == {101}
    np.testing.assert_allclose(video.pulse_at(np.arange(3) / 30), [0, 2, 4], atol=1e-12)


def test_mmpd_is_sorted_by_number(tmp_path):
    for subject, number in ((10, 0), (2, 10), (2, 9)):
        write_mmpd(tmp_path, subject, number)
    (tmp_path / "subject2" / "notes.mat").write_bytes(b"")
    lines = []
    names = [video.name for video in mmpd.load(tmp_path, lines.append)]
    assert names == ["mmpd/p2_9", "mmpd/p2_10", "mmpd/p10_0"]
    assert len(lines) == 1 and "notes.mat: not called" in lines[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"GT_ppg": None, "light": None}, "there is no GT_ppg, light in it"),
        ({"video": np.zeros((4, 5, 6))}, r"video: want \(frames, height, width, 3\), got \(4, 5"),
        ({"GT_ppg": "wave"}, "GT_ppg: want two numbers or more"),
        ({"GT_ppg": np.zeros((5, 5))}, "GT_ppg: want two numbers or more"),
        ({"GT_ppg": np.full(9, np.nan)}, "GT_ppg: no value is known"),
        ({"skin_color": [3, 4]}, "skin_color: want one word or number"),
    ],
)
def test_mmpd_wrong_keys_are_named(tmp_path, changes, sentence):
    path = write_mmpd(tmp_path, **changes)
    with pytest.raises(ValueError, match=sentence) as error:
        mmpd.load(tmp_path)
    assert str(error.value).startswith(str(path))


def test_mmpd_wrong_pixels_are_named(tmp_path):
    write_mmpd(tmp_path, video=np.full((3, 4, 5, 3), 200.0))
    [video] = mmpd.load(tmp_path)
    with pytest.raises(ValueError, match="video, frame 1: want floats from 0 to 1"):
        list(video.frames())


def test_mmpd_broken_files_are_named(tmp_path):
    path = write_mmpd(tmp_path)
    content = path.read_bytes()
    for kept in (content[:0], content[: len(content) // 3], b"nothing of MATLAB's" * 20):
        path.write_bytes(kept)
        with pytest.raises(ValueError, match=r"p1_0\.mat: (damaged|there is no)"):
            mmpd.load(tmp_path)
    newer = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512)
    path.write_bytes(newer)
    with pytest.raises(ValueError, match=r"p1_0\.mat: a file of MATLAB 7\.3, which is not read"):
        mmpd.load(tmp_path)


# --- VIPL-HR -------------------------------------------------------------------------------------


def write_vipl(root, name="p1/v1/source1", times_ms=None, wave=60, seconds=3):
    folder = root / name
    write_video(folder / "video.avi", 25.0)
    (folder / "wave.csv").write_text("Wave\n" + "\n".join(map(str, range(wave))) + "\n")
    (folder / "gt_HR.csv").write_text("HR\n" + "\n".join(str(70 + n) for n in range(seconds)))
    if times_ms is not None:
        (folder / "time.txt").write_text("".join(f"{ms}\n" for ms in times_ms))
    return folder


def test_vipl_times_come_from_their_file(tmp_path):
    times_ms = 7 + 60 * np.arange(FRAMES) + 5 * (np.arange(FRAMES) % 2)
    write_vipl(tmp_path / "data", times_ms=times_ms)
    write_vipl(tmp_path / "data", "p1/v1/source4", times_ms)
    [video] = vipl_hr.load(tmp_path)
    assert (video.name, video.subject) == ("vipl_hr/p1/v1/source1", "p1")
    assert video.attributes == {
        "situation": "v1",
        "camera": "source1",
        "pulse_times": "spans the video",
    }
    times_s = (times_ms - 7) / 1e3
    check_frames(video, times_s)
    assert video.rate_hz == pytest.approx((FRAMES - 1) / times_s[-1])
    np.testing.assert_allclose(video.pulse_at(times_s), 59 * times_s / times_s[-1], atol=1e-9)
    np.testing.assert_allclose(video.heart_rate_at([0.0, 0.5, 2.0]), [70, 70.5, 72])


def test_vipl_phones_have_no_times(tmp_path):
    write_vipl(tmp_path, "p2/v1-2/source2")
    [video] = vipl_hr.load(tmp_path)
    assert video.attributes["pulse_times"] == "60 Hz" and np.isnan(video.rate_hz)
    check_frames(video, np.arange(FRAMES) / 25)
    np.testing.assert_allclose(video.pulse_at([0.0, 0.5]), [0, 30])


def test_vipl_is_sorted_by_number_and_says_what_it_leaves_out(tmp_path):
    for name in ("p10/v1/source1", "p2/v1/source3", "p2/v1/source1"):
        write_vipl(tmp_path, name)
    (tmp_path / "p2/v1/source1/wave.csv").unlink()
    lines = []
    names = [video.name for video in vipl_hr.load(tmp_path, lines.append)]
    assert names == ["vipl_hr/p2/v1/source3", "vipl_hr/p10/v1/source1"]
    assert lines == [f"{tmp_path / 'p2/v1/source1'}: there is no wave.csv: left out"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("wave.csv", "Wave\n1\nx\n", r"wave\.csv line 3: want a number, got 'x'"),
        ("wave.csv", "", r"wave\.csv: there is no number"),
        ("wave.csv", "Wave\n1\n", r"wave\.csv: want two values"),
        ("gt_HR.csv", "HR\n0\n0\n", r"gt_HR\.csv: no value is known"),
        ("time.txt", "5\n4\n3\n", r"time\.txt: times have to increase"),
        ("time.txt", "5\n", r"time\.txt: want two times"),
    ],
)
def test_vipl_wrong_files_are_named(tmp_path, name, text, sentence):
    folder = write_vipl(tmp_path, times_ms=40 * np.arange(FRAMES))
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=sentence):
        vipl_hr.load(tmp_path)


# --- MMSE-HR -------------------------------------------------------------------------------------


def write_mmse(images, signals, samples=600, wave="BP_mmHg.txt"):
    images.mkdir(parents=True)
    for number in range(FRAMES):
        cv2.imwrite(str(images / f"{number}.jpg"), still(number))
    signals.mkdir(parents=True, exist_ok=True)
    (signals / wave).write_text("\n".join(f"{80 + n / 10}" for n in range(samples)))
    (signals / "Pulse Rate_BPM.txt").write_text("\n".join(["88.5"] * samples))


@pytest.mark.parametrize("wave", ["BP_mmHg.txt", "BP_MMHG.txt"])
def test_mmse_images_and_signals_may_lie_apart(tmp_path, wave):
    write_mmse(
        tmp_path / "first 10 subjects 2D/F013/T1",
        tmp_path / "Phydatareleased/Phydata/F013/T1",
        wave=wave,
    )
    [video] = mmse_hr.load(tmp_path)
    assert (video.name, video.subject, video.rate_hz) == ("mmse_hr/F013/T1", "F013", 25.0)
    assert video.attributes == {"task": "T1", "gender": "female"}
    times_s = np.arange(FRAMES) / 25
    check_frames(video, times_s)
    np.testing.assert_allclose(video.pulse_at(times_s), 80 + 100 * times_s)
    np.testing.assert_allclose(video.heart_rate_at(times_s), 88.5)


def test_mmse_images_and_signals_may_lie_together(tmp_path):
    for name in ("M002/T10", "M002/T8"):
        write_mmse(tmp_path / name, tmp_path / name)
    (tmp_path / "M002" / "T8" / "BP_mmHg.txt").unlink()
    lines = []
    [video] = mmse_hr.load(tmp_path, lines.append)
    assert video.name == "mmse_hr/M002/T10" and video.attributes["gender"] == "male"
    assert len(lines) == 1 and "T8: no BP_mmHg.txt and Pulse Rate_BPM.txt" in lines[0]


def test_mmse_wrong_files_are_named(tmp_path):
    write_mmse(tmp_path / "a/F013/T1", tmp_path / "b/F013/T1")
    (tmp_path / "b/F013/T1/BP_mmHg.txt").write_text("80\n81\nmmHg\n")
    with pytest.raises(ValueError, match=r"BP_mmHg\.txt line 3: want a number, got 'mmHg'"):
        mmse_hr.load(tmp_path)
    write_mmse(tmp_path / "c/F013/T1", tmp_path / "d/F013/T1")
    with pytest.raises(ValueError, match=r"F013/T1 is there twice"):
        mmse_hr.load(tmp_path)


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", face_video_sets.KINDS)
def test_folders_without_a_recording_are_refused(tmp_path, kind):
    with pytest.raises(FileNotFoundError, match="no "):
        face_video_sets.load(kind, tmp_path)
    with pytest.raises(FileNotFoundError, match="none: there is no such folder"):
        face_video_sets.load(kind, tmp_path / "none")


def test_sets_are_loaded_by_name(tmp_path):
    write_vipl(tmp_path)
    [video] = face_video_sets.load("vipl_hr", tmp_path, silent)
    assert video.subject == "p1"
    with pytest.raises(
        ValueError, match="no set of face videos 'ubfc', there are ubfc_rppg, pure"
    ):
        face_video_sets.load("ubfc", tmp_path)


def names_of(videos):
    return [video.name for video in videos]


def ubfc_videos(count=42):
    videos = [face_video(f"subject{n}", part="dataset 2") for n in range(1, count + 1)]
    return [*videos, face_video("5-gt", part="dataset 1")]


def test_the_papers_split_of_ubfc_sorts_names_as_text_and_leaks():
    split = face_video_sets.splits("ubfc_rppg", ubfc_videos())["paper"]
    in_order = sorted(f"subject{n}" for n in range(1, 43))
    assert in_order[:3] == ["subject1", "subject10", "subject11"]
    assert sorted(names_of(split.train)) == in_order[:30]
    assert sorted(names_of(split.test)) == in_order[30:]
    assert split.valid == split.test
    assert split.note.startswith("valid is test:") and "flatter" in split.note
    fewer = face_video_sets.splits("ubfc_rppg", ubfc_videos(41))["paper"]
    assert "41 subjects, not 42" in fewer.note


def test_the_papers_split_of_pure_is_by_subject():
    videos = [
        face_video(f"{subject:02d}", f"{subject:02d}-{setup:02d}")
        for subject in range(1, 11)
        for setup in range(1, 7)
    ]
    made = face_video_sets.splits("pure", videos)
    assert names_of(made["paper"].train) == names_of(videos[:36])
    assert names_of(made["paper"].test) == names_of(videos[36:])
    assert made["paper"].valid == made["paper"].test and "valid is test" in made["paper"].note
    assert names_of(made["cross"].train) == names_of(videos[:48])
    assert names_of(made["cross"].valid) == names_of(videos[48:])
    assert made["cross"].test == ()


def test_the_papers_split_of_mmpd_has_no_leak():
    videos = [face_video(f"subject{n}") for n in range(1, 34)]
    made = face_video_sets.splits("mmpd", videos)
    parts = [names_of(part) for part in made["paper"][:3]]
    assert parts == [names_of(videos[:23]), names_of(videos[23:26]), names_of(videos[26:])]
    assert made["paper"].note == ""
    assert made["cross"] == ((), (), tuple(videos), "")


@pytest.mark.parametrize("kind", face_video_sets.KINDS)
def test_our_split_has_nobody_twice(kind):
    videos = [
        face_video(f"s{subject}", f"s{subject}_{n}", part="dataset 2")
        for subject in range(20)
        for n in range(3)
    ]
    split = face_video_sets.splits(kind, videos)["disjoint"]
    people = [{video.subject for video in part} for part in split[:3]]
    assert [len(names) for names in people] == [12, 4, 4]
    assert len(set.union(*people)) == 20
    assert sum(map(len, split[:3])) == 60
    again = face_video_sets.splits(kind, videos[::-1])["disjoint"]
    assert [{video.subject for video in part} for part in again[:3]] == people
    assert people[0] != {f"s{n}" for n in range(12)}


def test_too_few_people_are_not_split():
    assert "disjoint" not in face_video_sets.splits("vipl_hr", [face_video("a"), face_video("b")])
    with pytest.raises(ValueError, match="ubfc_rppg: there is no video to split"):
        face_video_sets.splits("ubfc_rppg", ubfc_videos(0))
    with pytest.raises(ValueError, match="no set of face videos 'x'"):
        face_video_sets.splits("x", [])
