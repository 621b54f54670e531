"""``radar-pose video``: videos of drawn faces whose rate is known, and videos without a pulse."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
import threading
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from radar_pose_ros import cli, pulse_video
from radar_pose_ros.pulse_video import JoinedWave
from radar_pose_ros.simulation.faces import SimulatedFaceVideo, draw_scene, write_video
from radar_pose_ros.vision.video import VideoFile
from radar_pose_ros.vitals import signals
from radar_pose_ros.vitals.meter import Reading, State
from radar_pose_ros.vitals.rates import Rate
from radar_pose_ros.vitals.signals import Uniform

BPM = 72.0
NEAR_BPM = 3.0
EASY = {
    **{"motion": "still", "light": "bright", "tone": 2, "pulse": 0.006, "jpeg_quality": None},
    **{"gradient": 0.2, "tint": 0.05, "drift": 0.001, "pumping": 0.0, "flicker": 0.0},
    **{"dropped": 0.0, "jitter_s": 0.0, "stamp_error_s": 0.0},
}
HEART = {"bpm": BPM, "end_bpm": BPM, "sinus_bpm": 1.0, "drift_bpm": 0.5}


def scene(**fixed):
    return draw_scene(np.random.default_rng(3), **{**EASY, **fixed})


@pytest.fixture(scope="module")
def person(tmp_path_factory) -> Path:
    """Sixteen seconds of a face at 30 Hz, 240 pixels."""
    path = tmp_path_factory.mktemp("person") / "person.avi"
    write_video(scene(duration_s=16.0, rate_hz=30.0, **HEART), path, "MJPG")
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    return [image for _, image in VideoFile(path).frames()]


def rewrite(path: Path, frames: list[np.ndarray], rate_hz: float) -> Path:
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate_hz, size)
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def video(source, out: Path, *options: str) -> int:
    return cli.main(["video", str(source), "--out", str(out), "--method", "combined", *options])


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "heart_rate.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rates(out: Path) -> np.ndarray:
    return np.array([float(row["heart_rate_bpm"]) for row in rows(out) if row["heart_rate_bpm"]])


def states(out: Path) -> set[str]:
    return {row["state"] for row in rows(out)}


def last_line(capsys) -> str:
    return capsys.readouterr().out.strip().splitlines()[-1]


class Seen(NamedTuple):
    """What the command left of the person."""

    out: Path
    code: int
    printed: str


@pytest.fixture(scope="module")
def seen(person, tmp_path_factory) -> Seen:
    out = tmp_path_factory.mktemp("seen")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = video(person, out, "--json", str(out / "numbers.json"))
    return Seen(out, code, printed.getvalue())


def test_the_rate_is_the_true_one(seen):
    assert seen.code == 0
    table = rows(seen.out)
    assert tuple(table[0]) == pulse_video.RATE_COLUMNS
    # a row per second, and one at the end
    np.testing.assert_allclose([float(row["time_s"]) for row in table], [*range(1, 16), 15.967])
    assert {(row["face"], row["method"]) for row in table} == {("0", "combined")}
    assert [row["state"] for row in table[:9]] == ["WARMING_UP"] * 9
    assert table[3]["reason"].endswith("of 10 s")
    late = table[9:]
    assert {row["state"] for row in late} == {"OK"}
    assert np.abs(rates(seen.out) - BPM).max() < NEAR_BPM
    for row in late:
        assert 0 < float(row["standard_error_bpm"]) < NEAR_BPM
        assert 0.5 <= float(row["signal_quality"]) <= 1
        window_s, middle_s = float(row["window_s"]), float(row["middle_s"])
        assert window_s == pytest.approx(10, abs=0.5)
        assert middle_s + window_s / 2 == pytest.approx(float(row["time_s"]), abs=0.002)


def test_the_numbers_say_the_same_everywhere(seen):
    median_bpm = np.median(rates(seen.out))
    *_, notice, answer = seen.printed.strip().splitlines()
    assert notice.startswith("Not a medical device")
    assert answer == (
        f"heart rate: {median_bpm:.0f} beats per minute (median), known in 7 of 7 readings "
        "(100%) after warming up"
    )
    summary = json.loads((seen.out / "summary.json").read_text())
    assert (summary["answer"], summary["notice"]) == (answer, notice)
    [face] = summary["faces"]
    assert (summary["frames"], face["readings"], face["readings_with_rate"]) == (480, 16, 7)
    assert face["states"] == {"WARMING_UP": 9, "OK": 7}
    assert face["heart_rate_bpm"]["median"] == pytest.approx(median_bpm, abs=0.01)
    [*_, of_face] = json.loads((seen.out / "numbers.json").read_text())["results"]
    assert of_face["id"] == "video.face_0.heart_rate_bpm"
    assert of_face["value"] == face["heart_rate_bpm"]["median"]
    assert cv2.imread(str(seen.out / "pulse.png")).shape == (760, 1100, 3)


def test_the_pulse_is_the_true_one(seen):
    """Joined from windows that begin off its grid, and as long as they all."""
    table = np.genfromtxt(seen.out / "pulse.csv", delimiter=",", names=True)
    assert table.dtype.names == pulse_video.PULSE_COLUMNS
    np.testing.assert_allclose(np.diff(table["time_s"]), 1 / 30, atol=2e-6)
    assert table["time_s"][0] < 0.5 and table["time_s"][-1] > 15.8
    true = SimulatedFaceVideo(scene(duration_s=16.0, rate_hz=30.0, **HEART))
    pulse = signals.band_pass(true.pulse(table["time_s"]), 30.0)
    assert np.corrcoef(pulse, table["wave"])[0, 1] > 0.9


def test_the_film_shows_every_frame_and_more_beneath(seen):
    frames = frames_of(seen.out / "annotated.mp4")
    assert len(frames) == 480
    assert frames[0].shape == (600, 480, 3)  # twice as large, and the pulse
    beneath = [int((frame[480:].max(-1) > 128).sum()) for frame in (frames[10], frames[400])]
    assert beneath[1] > beneath[0] + 1000


def test_fifteen_frames_per_second_are_enough_and_told(person, tmp_path, capsys):
    slow = rewrite(tmp_path / "slow.avi", frames_of(person)[::2], 15.0)
    assert video(slow, tmp_path / "out", "--no-overlay") == 0
    assert np.abs(rates(tmp_path / "out") - BPM).max() < NEAR_BPM
    assert "15 frames per second: 25 or more are better" in capsys.readouterr().out


def test_five_frames_per_second_are_not(person, tmp_path, capsys):
    slow = rewrite(tmp_path / "slow.avi", frames_of(person)[::6], 5.0)
    assert video(slow, tmp_path / "out", "--no-overlay") == 1
    assert not len(rates(tmp_path / "out"))
    assert "TOO_FEW_FRAMES" in states(tmp_path / "out")
    assert "too few frames" in last_line(capsys)


def test_three_seconds_are_too_short(person, tmp_path, capsys):
    short = rewrite(tmp_path / "short.avi", frames_of(person)[:90], 30.0)
    assert video(short, tmp_path / "out") == 1
    assert last_line(capsys) == "no heart rate: the video is 3.0 s long, 10 s are needed"
    assert states(tmp_path / "out") == {"WARMING_UP"}
    assert not len(rates(tmp_path / "out"))
    assert (tmp_path / "out" / "pulse.csv").read_text().split() == ["time_s,face,wave"]


def test_one_image_is_too_short(person, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "face.png"), frames_of(person)[0])
    assert video(tmp_path / "face.png", tmp_path / "out", "--rate", "30") == 1
    assert last_line(capsys) == "no heart rate: the video is 0.0 s long, 10 s are needed"
    assert len(frames_of(tmp_path / "out" / "annotated.mp4")) == 1


def test_a_photograph_has_no_rate(tmp_path, capsys):
    path = tmp_path / "photograph.avi"
    write_video(scene(kind="photograph", duration_s=13.0, rate_hz=20.0), path, "MJPG")
    assert video(path, tmp_path / "out", "--no-overlay") == 1
    assert not len(rates(tmp_path / "out"))
    full = states(tmp_path / "out") - {"WARMING_UP"}
    assert full and full <= {"LOW_SIGNAL", "STILL_IMAGE", "MOTION"}
    assert last_line(capsys).startswith("no heart rate: ")
    assert (tmp_path / "out" / "pulse.csv").read_text().split() == ["time_s,face,wave"]


def test_what_stands_still_is_a_picture(person, tmp_path, capsys):
    still = rewrite(tmp_path / "still.avi", frames_of(person)[:1] * 180, 15.0)
    assert video(still, tmp_path / "out", "--no-overlay") == 1
    assert states(tmp_path / "out") == {"WARMING_UP", "STILL_IMAGE"}
    assert last_line(capsys) == (
        "no heart rate: still picture in 3 of 3 readings (100%); the last: nothing changes from "
        "frame to frame: a picture"
    )


def test_an_empty_room_has_no_face(tmp_path, capsys):
    path = tmp_path / "room.avi"
    write_video(scene(kind="empty", duration_s=11.0, rate_hz=15.0), path, "MJPG")
    assert video(path, tmp_path / "out", "--no-overlay") == 1
    assert states(tmp_path / "out") == {"NO_FACE"}
    assert {row["face"] for row in rows(tmp_path / "out")} == {"-1"}
    assert last_line(capsys).startswith("no heart rate: no face in 11 of 11 readings (100%)")


def test_a_face_in_the_dark_is_not_called_nobody(person, tmp_path, capsys):
    frames = [frame // 7 for frame in frames_of(person)[:330:2]]
    dark = rewrite(tmp_path / "dark.avi", frames, 15.0)
    assert video(dark, tmp_path / "out", "--no-overlay") == 1
    assert states(tmp_path / "out") == {"TOO_DARK"}
    said = last_line(capsys)
    assert said.startswith("no heart rate: too dark in 11 of 11 readings (100%); the last: the pi")
    assert re.search(r"find a face in: nine tenths of it are below \d\d of 255, want 45$", said)
    video(rewrite(tmp_path / "dark.avi", frames[:30], 15.0), tmp_path / "out", "--no-overlay")
    assert last_line(capsys).endswith("10 s are needed, and it is too dark to find a face in")


def test_no_film_of_an_earlier_run_remains(person, tmp_path, capsys):
    short = rewrite(tmp_path / "short.avi", frames_of(person)[:10], 30.0)
    out = tmp_path / "out"
    video(short, out)
    assert (out / "annotated.mp4").is_file()
    for options in ([], ["--no-overlay"]):
        assert video(out / "annotated.mp4", out, *options) == cli.USAGE_ERROR
        assert "annotated.mp4: it is the film that a run writes there" in capsys.readouterr().err
    assert len(frames_of(out / "annotated.mp4")) == 10
    video(short, out, "--no-overlay")
    assert not (out / "annotated.mp4").exists()


def test_images_in_a_folder_with_their_times(person, tmp_path):
    """At 24 Hz on the mean, but unevenly, as their names say in milliseconds."""
    folder = tmp_path / "images"
    folder.mkdir()
    frames = frames_of(person)
    for number in itertools.accumulate(itertools.islice(itertools.cycle((1, 1, 1, 2)), 320)):
        stamp_ms = 1_700_000_000_000 + round(1000 * number / 30)
        cv2.imwrite(str(folder / f"image{stamp_ms}.png"), frames[number])
    assert video(folder, tmp_path / "out", "--no-overlay") == 0
    assert np.abs(rates(tmp_path / "out") - BPM).max() < NEAR_BPM
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["stamps"] == "names"


def test_a_region_instead_of_a_face(person, tmp_path):
    assert video(person, tmp_path / "out", "--no-overlay", "--region", "90,80,60,70") == 0
    table = rows(tmp_path / "out")
    assert table[0]["state"] == "WARMING_UP"  # from the first frame on
    assert np.abs(rates(tmp_path / "out") - BPM).max() < NEAR_BPM


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--region", "200,200,60,70"], "is not inside the image of 240 x 240 pixels"),
        (["--region", "1,2,3"], "want X,Y,W,H in pixels, got '1,2,3'"),
        (["--region", "1,2,30,30", "--yunet", "x.onnx"], "do not go together"),
        (["--yunet", "/no/x.onnx"], "/no/x.onnx: there is no such YuNet model"),
        (["--weights", "edge"], "weights are for physmamba, not for combined"),
        (["--window", "2"], "want 5 to 120 s, got '2'"),
        (["--rate", "30", "--times", "t.csv"], "which one is true?"),
        (["--times", "/no/t.csv"], "/no/t.csv"),
    ],
)
def test_a_mistake_gets_one_sentence_and_writes_nothing(person, tmp_path, capsys, options, words):
    assert video(person, tmp_path / "out", *options) == cli.USAGE_ERROR
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_named(tmp_path, capsys):
    assert video("/no/face.mp4", tmp_path / "out") == cli.USAGE_ERROR
    assert "/no/face.mp4: there is no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_camera_is_named(tmp_path, capsys):
    assert video("camera:97", tmp_path / "out") == cli.USAGE_ERROR
    assert "camera 97: it cannot be opened" in capsys.readouterr().err


def test_ctrl_c_leaves_what_was_read(person, tmp_path, monkeypatch, capsys):
    whole = VideoFile.frames

    def until_stopped(self):
        yield from itertools.islice(whole(self), 345)
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoFile, "frames", until_stopped)
    assert video(person, tmp_path) == cli.INTERRUPTED  # with a film
    monkeypatch.undo()
    assert [float(row["time_s"]) for row in rows(tmp_path)] == [*range(1, 12), 11.467]
    assert np.abs(rates(tmp_path) - BPM).max() < NEAR_BPM
    assert len(frames_of(tmp_path / "annotated.mp4")) == 345
    assert json.loads((tmp_path / "summary.json").read_text())["interrupted"]
    assert "stopped after 11.5 s" in capsys.readouterr().out


def test_without_weights_another_method_is_taken_and_told(person, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "manifest.json").write_text("[]")
    monkeypatch.setenv("RADAR_POSE_WEIGHTS", str(folder))
    short = rewrite(tmp_path / "short.avi", frames_of(person)[:60], 30.0)
    command = ["video", str(short), "--out", str(tmp_path / "out"), "--no-overlay"]
    assert cli.main(command) == 1
    assert "method combined, for there are no weights of physmamba" in capsys.readouterr().out
    assert cli.main([*command, "--method", "physmamba"]) == cli.USAGE_ERROR
    assert "weights" in capsys.readouterr().err


def test_the_network_wants_its_window(person, tmp_path, monkeypatch, capsys):
    """160 frames at 30 Hz, of which the meter may lack a twentieth."""
    pytest.importorskip("torch")
    from radar_pose_ros.models.physmamba import PRESETS, PhysMamba
    from radar_pose_ros.models.pulse import PulseNetwork

    def load(name):
        return PulseNetwork(PhysMamba(PRESETS["edge"]).eval(), name=f"physmamba/{name}")

    monkeypatch.setattr(PulseNetwork, "load", load)
    short = rewrite(tmp_path / "short.avi", frames_of(person)[:190], 30.0)
    command = ["video", str(short), "--out", str(tmp_path / "out"), "--no-overlay"]
    assert cli.main([*command, "--window", "5.6"]) == cli.USAGE_ERROR
    assert "physmamba/edge wants a window of 5.7 s, got 5.6" in capsys.readouterr().err
    cli.main([*command, "--window", "5.7"])
    assert {row["method"] for row in rows(tmp_path / "out")} == {"physmamba/edge"}
    [*_, last] = rows(tmp_path / "out")
    assert float(last["signal_quality"]) >= 0  # there was a wave


def test_windows_are_joined_off_the_grid():
    def sine(start_s: float) -> Uniform:
        times_s = start_s + np.arange(300) / 30
        return Uniform(start_s, 30.0, np.sin(2 * np.pi * times_s))

    joined = JoinedWave(30.0)
    joined.add(sine(0.011))
    joined.add(sine(3.007))
    first = list(joined.take(5.0))
    assert first[-1][0] == pytest.approx(5 - 1 / 30)
    samples = np.array([*first, *joined.take()])
    np.testing.assert_allclose(np.diff(samples[:, 0]), 1 / 30)
    np.testing.assert_allclose(samples[:, 1], np.sin(2 * np.pi * samples[:, 0]), atol=0.01)
    assert not list(joined.take())


def reading(face: int, bpm: float, state: State = State.OK) -> Reading:
    return Reading(face, 5.0, 10.0, state, "a reason", rate=Rate(bpm, 1.0))


def outcome(*readings: Reading, **known: Any) -> pulse_video.Outcome:
    timed = [(float(k), one) for k, one in enumerate(readings, 10)]
    given = {"duration_s": 60.0, "frames": 1800, **known}
    return pulse_video.Outcome("a.mp4", "container", "pos", 10.0, rows=timed, **given)


def test_each_face_has_its_own_answer():
    both = outcome(
        reading(0, 60), reading(3, 120), reading(0, 62), reading(3, 123), reading(0, 99)
    )
    assert both.sentence() == (
        "heart rate: 62 beats per minute of face 0, 122 beats per minute of face 3 (medians), "
        "known in 5 of 5 readings (100%) after warming up"
    )
    many = outcome(*(reading(face, 60 + face) for face in range(7)))
    assert "63 beats per minute of face 3, 3 more in the table (medians)" in many.sentence()


def test_the_most_frequent_reason_is_told():
    refused = [reading(0, np.nan, state) for state in (State.MOTION, *[State.TOO_DARK] * 2)]
    warming = [reading(0, np.nan, State.WARMING_UP)] * 5
    assert outcome(*warming, *refused).sentence() == (
        "no heart rate: too dark in 2 of 3 readings (67%); the last: a reason"
    )
    assert outcome(*warming).sentence() == (
        "no heart rate: no face was followed for 10 s, the longest for 10.0 s"
    )
    stopped = outcome(*warming, duration_s=4.0, interrupted=True).sentence()
    assert stopped == "no heart rate: 4.0 s were seen, 10 s are needed"


def test_what_is_unknown_is_not_joined():
    wave = np.ones(300)
    wave[100:130] = np.nan
    joined = JoinedWave(30.0)
    joined.add(Uniform(0.0, 30.0, wave))
    times_s = np.array([time_s for time_s, _ in joined.take()])
    assert not ((times_s > 99.5 / 30) & (times_s < 129.5 / 30)).any()
    assert len(times_s) == 270


def test_reading_ahead_keeps_order_and_errors():
    image = np.zeros((2, 2, 3), np.uint8)

    def some():
        for number in range(5):
            yield float(number), image
        raise ValueError("the cable is out")

    ahead = iter(pulse_video.ReadAhead(some()))
    assert [next(ahead)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="the cable is out"):
        next(ahead)


def test_frames_that_come_too_fast_are_counted(monkeypatch):
    monkeypatch.setattr(pulse_video, "_AHEAD_FRAMES", 2)
    image, finished = np.zeros((2, 2, 3), np.uint8), threading.Event()

    def some():
        for number in range(10):
            yield float(number), image
        finished.set()

    ahead = pulse_video.ReadAhead(some())
    frames = iter(ahead)
    found = [next(frames)[0]]
    assert finished.wait(5)
    found += [time_s for time_s, _ in frames]
    assert found == sorted(found) and found[0] == 0
    assert ahead.left_out == 10 - len(found) >= 6
