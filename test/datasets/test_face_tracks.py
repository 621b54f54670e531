"""Face tracks: who is followed, that truth and thumbnails are the video's, and what is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radar_pose_ros.datasets import face_tracks, face_video_sets
from radar_pose_ros.datasets.face_tracks import PER_LEVEL, load, save, track, track_simulated
from radar_pose_ros.datasets.face_videos import FaceVideo, Trace
from radar_pose_ros.simulation.faces import SimulatedFaceVideo, draw_scene, write_video
from radar_pose_ros.vision.face import Face, FaceTracker
from radar_pose_ros.vision.skin import FaceSample, thumbnail_of
from radar_pose_ros.vision.video import GivenFrames

RATE_HZ = 20.0


class Told:
    """A tracker that finds what it is told to: faces by the number of the frame."""

    regions = ("all",)

    def __init__(self, faces, thumbnail_px=4):
        self.faces, self.px, self.number = faces, thumbnail_px, -1

    def update(self, image_bgr, time_s):
        self.number += 1
        return self.faces(self.number)

    def sample(self, image_bgr, face):
        level = np.float32(100 + face.id + self.number / 300)
        thumbnail = np.full((self.px, self.px, 3), level) if self.px else None
        return FaceSample(np.full((1, 3), level), np.ones(1, np.float32), thumbnail, 90.0, 0.0)


def recording(seconds=5.0):
    """Sixty beats per minute in even frames; a pulse that is known from 1 s on."""
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    image = np.zeros((8, 8, 3), np.uint8)
    sensor_s = np.arange(1.0, seconds + 1, 0.01)
    return FaceVideo(
        name="set/someone-1",
        subject="someone",
        open=lambda: GivenFrames(lambda: ((t, image) for t in times_s), "given", "names"),
        pulse=Trace(sensor_s, np.sin(2 * np.pi * sensor_s)),
        heart_rate=Trace(np.array([0.0, 2.0, 4.0]), np.array([60.0, 62.0, 64.0])),
        rate_hz=RATE_HZ,
        attributes={"light": "lamp"},
    )


def face(id=0, width=50.0, at=(100.0, 100.0)):
    return Face(id, (at[0] - width / 2, at[1] - width / 2, width, width), 0.0)


# -- following -----------------------------------------------------------------------------------


def test_the_largest_face_is_the_recordings_person_and_has_its_truth():
    [found] = track(recording(), Told(lambda n: [face(3, 40), face(7, 60), face(9, 50)]))
    assert (found.name, found.subject, found.rate_hz) == ("set/someone-1", "someone", RATE_HZ)
    assert dict(found.attributes) == {"light": "lamp"}
    assert len(found) == 100 and found.seconds == pytest.approx(4.95)
    np.testing.assert_allclose(found.times_s, np.arange(100) / RATE_HZ)
    np.testing.assert_allclose(found.colours[:, 0, 1], 107 + np.arange(100) / 300, atol=1e-5)
    assert np.isnan(found.pulse[:20]).all()
    np.testing.assert_allclose(found.pulse[20:], np.sin(2 * np.pi * found.times_s[20:]), atol=1e-3)
    assert found.heart_rate_bpm[60] == pytest.approx(63.0)
    assert np.isnan(found.heart_rate_bpm[-1])


def test_thumbnails_keep_less_than_a_level():
    [found] = track(recording(), Told(lambda n: [face()]))
    assert found.thumbnails.dtype == np.uint16 and found.images().dtype == np.float32
    levels = found.images(slice(10, 40))[:, 2, 3, 1]
    np.testing.assert_allclose(levels, 100 + np.arange(10, 40) / 300, atol=0.5 / PER_LEVEL + 1e-5)


def test_a_face_that_comes_back_as_another_one_is_another_track():
    def faces(number):
        return [face(1 if number < 100 else 2)] if not 80 <= number < 105 else []

    found = track(recording(12.0), Told(faces))
    assert [(one.name, len(one)) for one in found] == [
        ("set/someone-1", 80),
        ("set/someone-1#2", 135),
    ]
    assert found[1].times_s[0] == pytest.approx(105 / RATE_HZ)
    # of less than three seconds there is no track
    assert track(recording(12.0), Told(lambda n: [face()] if n < 60 else [])) == []


def test_samples_without_thumbnails_are_refused():
    with pytest.raises(ValueError, match="thumbnail_px is 0"):
        track(recording(), Told(lambda n: [face()], thumbnail_px=0))


def test_simulated_people_are_told_apart_by_where_they_are():
    scene = draw_scene(
        np.random.default_rng(5), faces=2, duration_s=4.0, rate_hz=RATE_HZ, motion="still"
    )
    scene = replace(scene, dropped=0.1, stamp_error_s=0.003)
    video = SimulatedFaceVideo(scene)

    def faces(number):
        boxes = [video.box(video.times_s[number], person) for person in (1, 0)]
        middles = [box[:2] + box[2:] / 2 + 0.2 * box[2] for box in boxes]
        false = face(99, 20.0, (5.0, 300.0))
        return [false, *(face(k, 20.0, tuple(at)) for k, at in enumerate(middles))]

    found = track_simulated(video, Told(faces), "sim/00003")
    assert sorted(one.subject for one in found) == ["sim/00003/0", "sim/00003/1"]
    assert len({one.name for one in found}) == 2
    for one in found:
        person = int(one.subject[-1])
        assert one.attributes["skin_tone"] == str(scene.people[person].tone)
        assert one.colours[0, 0, 0] == pytest.approx(100 + 1 - person)
        # frames have wrong stamps, and the truth of when they were taken
        np.testing.assert_array_equal(one.times_s, video.stamps_s)
        np.testing.assert_array_equal(one.pulse, video.pulse(video.times_s, person))
        np.testing.assert_array_equal(
            one.heart_rate_bpm, video.heart_rate_bpm(video.times_s, person)
        )


def test_a_drawn_face_is_found_and_its_pulse_is_in_the_thumbnails():
    scene = draw_scene(
        np.random.default_rng(2),
        duration_s=6.0,
        rate_hz=RATE_HZ,
        width_px=160,
        height_px=160,
        tone=2,
        motion="still",
        light="bright",
        jpeg_quality=None,
        pulse=0.02,
        drift=0.0,
        pumping=0.0,
        flicker=0.0,
    )
    video = SimulatedFaceVideo(scene)
    [found] = track_simulated(video, FaceTracker(thumbnail_px=16), "sim")
    assert found.seconds > 5.0 and found.colours.shape[1:] == (3, 3)
    middle = found.images()[:, 6:10, 5:11, 1].mean(axis=(1, 2))
    middle = middle - np.convolve(np.pad(middle, 15, "edge"), np.ones(31) / 31, "valid")
    assert np.corrcoef(middle, found.pulse)[0, 1] < -0.8  # more blood, less light
    number = 60
    image = [image for _, image in video.frames()][number]
    box = tuple(video.box(video.times_s[number]))
    at = int(np.searchsorted(found.times_s, video.stamps_s[number]))
    assert np.abs(found.images()[at] - thumbnail_of(image, box, 16)).mean() < 8


# -- files ---------------------------------------------------------------------------------------


def test_tracks_come_back_from_files_as_they_were(tmp_path):
    def faces(number):
        return [face(1 if number < 100 else 2)]

    made = track(recording(12.0), Told(faces))
    save(made, tmp_path / "deep" / "one.npz")
    found = load(tmp_path / "deep" / "one.npz")
    assert len(found) == len(made) == 2
    for one, other in zip(made, found, strict=True):
        for name in ("name", "subject", "rate_hz", "attributes"):
            assert getattr(one, name) == getattr(other, name)
        for name in (*face_tracks._ARRAYS, "thumbnails"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert isinstance(other.thumbnails, np.memmap)  # is not read before it is needed


def test_a_video_without_a_face_has_a_file_too(tmp_path):
    save([], tmp_path / "none.npz")
    assert load(tmp_path / "none.npz") == []


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "one.npz"
    with pytest.raises(FileNotFoundError):
        load(path)
    save(track(recording(), Told(lambda n: [face()])), path)
    thumbnails = tmp_path / "one.thumbnails.npy"
    np.save(thumbnails, np.load(thumbnails)[:-1])
    with pytest.raises(ValueError, match="100 frames, but 99 thumbnails"):
        load(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"one\.npz is damaged"):
        load(path)


# -- data sets -----------------------------------------------------------------------------------


def test_scenes_hold_every_combination_once():
    scenes = [face_tracks.scene("test", k, seconds=10.0, seed=1) for k in range(108)]
    kinds = [(s.people[0].tone, s.motion, s.light, s.jpeg_quality is None) for s in scenes]
    assert len(set(kinds)) == 108
    for part in range(4):
        assert set(Counter(kind[part] for kind in kinds[:54]).values()) in ({9}, {18}, {27})
    assert len({s.people[0].seed for s in scenes}) == 108
    assert max(s.rate_hz for s in scenes) == 30.0
    other = face_tracks.scene("train", 0, seconds=10.0, seed=1)
    assert other.people[0].seed != scenes[0].people[0].seed
    assert face_tracks.scene("test", 3, seconds=10.0, seed=1) == scenes[3]
    with pytest.raises(ValueError, match="unknown split 'valid'"):
        face_tracks.scene("valid", 0, seconds=10.0, seed=1)


def simulate(root: Path, count: int, said: list[str], **changes):
    settings = {"seconds": 4.0, "seed": 1, "thumbnail_px": 8} | changes
    return face_tracks.simulated(root, "train", count, report=said.append, **settings)


def test_only_missing_videos_are_made_and_other_settings_are_refused(tmp_path):
    said: list[str] = []
    [first] = simulate(tmp_path, 1, said)
    path = tmp_path / "simulated" / "train" / "00000.npz"
    written = path.stat().st_mtime_ns
    found = simulate(tmp_path, 2, said)
    assert said == ["simulated train: 1 of 1", "simulated train: 2 of 2"]
    assert path.stat().st_mtime_ns == written
    assert [one.name for one in found] == ["simulated/train/00000", "simulated/train/00001"]
    assert len({one.subject for one in found}) == 2
    np.testing.assert_array_equal(found[0].colours, first.colours)
    assert first.thumbnails.shape[1:] == (8, 8, 3)
    with pytest.raises(ValueError, match=r"'seed': 1.*not .*'seed': 2.*name another folder"):
        simulate(tmp_path, 1, said, seed=2)


def test_recordings_are_followed_by_several_processes(tmp_path):
    for number in (1, 2):
        folder = tmp_path / "ubfc" / f"subject{number}"
        folder.mkdir(parents=True)
        scene = draw_scene(
            np.random.default_rng(number),
            duration_s=4.0,
            rate_hz=15.0,
            tone=number,
            motion="still",
            light="bright",
            dropped=0.0,
        )
        truth = np.genfromtxt(
            write_video(scene, folder / "vid.avi", "MJPG"), delimiter=",", names=True
        )
        lines = (truth["pulse_0"], truth["heart_rate_bpm_0"], truth["time_s"])
        text = "\n".join(" ".join(f"{value:.6f}" for value in line) for line in lines)
        (folder / "ground_truth.txt").write_text(text)
    videos = face_video_sets.load("ubfc_rppg", tmp_path / "ubfc", lambda line: None)
    said: list[str] = []
    found = face_tracks.recorded(
        tmp_path / "tracks",
        "ubfc_rppg",
        tmp_path / "ubfc",
        videos,
        thumbnail_px=8,
        processes=2,
        report=said.append,
    )
    assert said == ["ubfc_rppg: 1 of 2", "ubfc_rppg: 2 of 2"]
    assert [one.name for one in found] == ["ubfc_rppg/subject1", "ubfc_rppg/subject2"]
    assert (tmp_path / "tracks" / "ubfc_rppg" / "subject2.npz").is_file()
    for one, video in zip(found, videos, strict=True):
        assert one.seconds > 3.0
        np.testing.assert_allclose(one.pulse, video.pulse_at(one.times_s))
