"""Simulated faces: their pulse is in the skin, as strong as told, and nowhere else."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from radar_pose_ros.simulation import face_drawing
from radar_pose_ros.simulation.face_drawing import skin_albedo
from radar_pose_ros.simulation.face_scenes import LIGHTS, MOTIONS, FaceScene, Person, draw_scene
from radar_pose_ros.simulation.faces import Lamp, SimulatedFaceVideo, write_video
from radar_pose_ros.simulation.pulse_waves import Heart, draw_heart
from radar_pose_ros.vitals.evidence import BLOOD

STEADY = {
    "motion": "still",
    "light": "bright",
    "drift": 0.0,
    "flicker": 0.0,
    "pumping": 0.0,
    "gradient": 0.0,
    "tint": 0.0,
    "jpeg_quality": None,
    "dropped": 0.0,
    "jitter_s": 0.0,
    "stamp_error_s": 0.0,
    "lamps": (),
    "blood": tuple(BLOOD),
}


def scene(seed: int = 0, **fixed: object) -> FaceScene:
    return draw_scene(np.random.default_rng(seed), **{**STEADY, "rate_hz": 30.0, **fixed})


def pictures(drawn: FaceScene) -> np.ndarray:
    return np.stack([picture for _, picture in SimulatedFaceVideo(drawn).frames()])


def without_people(drawn: FaceScene) -> FaceScene:
    return dataclasses.replace(drawn, kind="empty", people=())


def with_heart(drawn: FaceScene, **changes: float) -> FaceScene:
    (person,) = drawn.people
    assert person.heart is not None
    heart = dataclasses.replace(person.heart, **changes)
    return dataclasses.replace(drawn, people=(dataclasses.replace(person, heart=heart),))


# --- hearts --------------------------------------------------------------------------------


def test_beats_are_the_integral_of_the_rate() -> None:
    heart = draw_heart(np.random.default_rng(3), bpm=70.0, end_bpm=95.0, ramp_s=10.0)
    times_s = np.arange(0, 30, 1e-3)
    rate = heart.rate_bpm(times_s)
    summed = np.cumsum((rate[1:] + rate[:-1]) / 2) * 1e-3 / 60
    beats = heart.beats(times_s)
    np.testing.assert_allclose(beats[1:] - beats[0], summed, atol=1e-5)
    assert abs(rate[times_s > 15].mean() - 95) < 4 and abs(rate[:100].mean() - 70) < 8


def test_wave_of_a_steady_heart() -> None:
    heart = Heart(72.0, 72.0, sinus_bpm=0.0, drift_bpm=0.0, breath_amplitude=0.0, notch=0.5)
    times_s = np.arange(0, 10, 1e-3)
    wave = heart.wave(times_s)
    assert np.ptp(wave) == pytest.approx(1.0, abs=1e-3)
    assert wave.mean() == pytest.approx(0.0, abs=1e-3)
    spectrum = np.abs(np.fft.rfft(wave))
    assert np.argmax(spectrum) == 12  # 72 bpm in 10 s
    beat = wave[(heart.beats(times_s) % 1).argsort()][::8]
    tops = np.flatnonzero(np.diff(np.sign(np.diff(np.convolve(beat, np.ones(15) / 15)))) < 0)
    assert len([top for top in tops if 20 < top < len(beat)]) >= 2  # the dicrotic wave


def test_breath_moves_the_rate() -> None:
    heart = Heart(60.0, 60.0, sinus_bpm=5.0, drift_bpm=0.0, breaths_per_minute=12.0)
    rate = heart.rate_bpm(np.arange(0, 20, 0.01))
    assert np.ptp(rate) == pytest.approx(10.0, abs=0.01)
    assert np.argmax(np.abs(np.fft.rfft(rate - rate.mean()))) == 4  # 12 per minute in 20 s


def test_hearts_of_all_rates_are_alike() -> None:
    hearts = [draw_heart(np.random.default_rng(seed)) for seed in range(600)]
    bpm = np.array([heart.bpm for heart in hearts])
    assert np.histogram(bpm, 4, (40, 180))[0].min() > 110  # 150 each
    for name in ("sinus_bpm", "drift_bpm", "breaths_per_minute", "breath_amplitude", "notch"):
        values = [getattr(heart, name) for heart in hearts]
        assert abs(np.corrcoef(bpm, values)[0, 1]) < 0.13, name  # 3 sigma


def test_no_number_of_a_scene_tells_the_rate() -> None:
    """Scenes that differ in the heart alone are the same in everything else."""
    slow, fast = (scene(5, bpm=bpm, motion="moving") for bpm in (45.0, 170.0))
    assert with_heart(slow, bpm=170.0, end_bpm=fast.people[0].heart.end_bpm) == fast  # type: ignore[union-attr]
    drawn = [draw_scene(np.random.default_rng(seed)) for seed in range(400)]
    bpm = [one.people[0].heart.bpm for one in drawn]  # type: ignore[union-attr]
    for name in ("tone", "face_px", "pulse", "gloss"):
        values = [getattr(one.people[0], name) for one in drawn]
        assert abs(np.corrcoef(bpm, values)[0, 1]) < 0.16, name
    for name in ("gradient", "tint", "drift", "flicker", "pumping", "rate_hz", "dropped"):
        values = [getattr(one, name) for one in drawn]
        assert abs(np.corrcoef(bpm, values)[0, 1]) < 0.16, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bpm": 30.0}, "40 to 180 bpm, got 30"),
        ({"notch": 1.5}, "from 0 to 1"),
        ({"breaths_per_minute": 0.0}, "must be positive"),
    ],
)
def test_hearts_that_cannot_be(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Heart(**{"bpm": 60.0, "end_bpm": 60.0, **change})  # type: ignore[arg-type]


# --- pictures ------------------------------------------------------------------------------


def test_videos_are_reproducible_and_seeds_differ() -> None:
    drawn = scene(1, duration_s=0.2, motion="moving", jitter_s=0.003)
    np.testing.assert_array_equal(
        pictures(drawn),
        pictures(scene(1, **{"duration_s": 0.2, "motion": "moving", "jitter_s": 0.003})),
    )
    assert (pictures(drawn) != pictures(scene(2, duration_s=0.2, motion="moving"))).mean() > 0.5


def test_the_pulse_is_in_the_skin_alone() -> None:
    """Two videos whose hearts differ in phase: only skin differs, by what the model says."""
    drawn = scene(4, tone=2, pulse=0.2, duration_s=2.0, face_px=100.0)
    still = with_heart(drawn, breath_amplitude=0.0)
    none = dataclasses.replace(still, people=(dataclasses.replace(still.people[0], pulse=0.0),))
    video = SimulatedFaceVideo(still)
    difference = pictures(still).astype(float) - pictures(none).astype(float)
    x, y, width, _ = video.box(video.times_s)[0]
    rows = slice(int(y + 0.12 * width), int(y + 0.2 * width))
    forehead = (slice(None), rows, slice(int(x + 0.4 * width), int(x + 0.6 * width)))
    green = difference[forehead][..., 1].mean(axis=(1, 2))
    heart = still.people[0].heart
    assert heart is not None
    # Blood comes with the beat and, slowly, with the breath; more of it is darker.
    blood = np.stack([video.pulse(video.times_s), heart.breath(video.times_s)], axis=1)
    centred = blood - blood.mean(axis=0)
    fit, rest, *_ = np.linalg.lstsq(centred, green - green.mean(), rcond=None)
    assert fit[0] < 0 and rest[0] < 0.03 * np.sum((green - green.mean()) ** 2)
    strength = [np.ptp(difference[forehead][..., c].mean(axis=(1, 2))) for c in (2, 1, 0)]
    assert strength[1] > strength[0] and strength[1] > strength[2]
    # The room and the hair have no blood.
    assert np.abs(difference[:, :20, :20]).max() == 0
    assert np.abs(difference[:, :, -15:]).max() == 0


def test_strength_of_the_pulse_is_the_scene_s() -> None:
    drawn = scene(7, tone=1, pulse=0.006, duration_s=1.0, face_px=120.0, bpm=120.0, gloss=0.0)
    steady = with_heart(drawn, breath_amplitude=0.0, sinus_bpm=0.0, drift_bpm=0.0, end_bpm=120.0)
    video = SimulatedFaceVideo(steady)
    x, y, width, _ = video.box(0.0)
    values = pictures(steady)[..., 1][
        :,
        int(y + 0.5 * width) : int(y + 0.65 * width),
        int(x + 0.2 * width) : int(x + 0.35 * width),
    ].mean(axis=(1, 2))
    wave = video.pulse(video.times_s)
    slope = np.polyfit(wave, values / values.mean(), 1)[0]
    assert -0.012 < slope < -0.004  # times the place's blood flow, 0.6 to 1.6


def test_light_skin_is_lighter_and_has_more_pulse() -> None:
    greens = [skin_albedo(tone)[1] for tone in range(1, 7)]
    assert np.all(np.diff(greens) < 0) and 0.3 < greens[0] < 0.5 and 0.05 < greens[5] < 0.12
    pulses = [
        np.median([scene(seed, tone=tone).people[0].pulse for seed in range(60)])
        for tone in range(1, 7)
    ]
    assert np.all(np.diff(pulses) < 0)
    assert pulses[0] == pytest.approx(0.0055, rel=0.15)
    assert pulses[5] == pytest.approx(0.0014, rel=0.15)


def test_noise_of_the_lights() -> None:
    """The variance of what stands still, at the brightness where it is: shot and read noise."""
    found = {}
    for light in LIGHTS:
        room = without_people(scene(3, light=light, duration_s=1.5))
        found[light] = np.median(pictures(room).astype(float).std(axis=0))
    assert found["bright"] < found["medium"] < found["dim"]
    assert 1.0 < found["bright"] < 3.0 and 4.0 < found["dim"] < 15.0


def test_mains_light_is_seen_aliased() -> None:
    room = without_people(scene(3, duration_s=4.0, flicker=0.03, flicker_hz=100.0))
    rows = pictures(room)[..., 1].astype(float).mean(axis=2)
    first = rows[:, 0] - rows[:, 0].mean()
    assert np.argmax(np.abs(np.fft.rfft(first))) == 40  # 10 Hz in 4 s: 100 - 3 x 30
    # Rows are read one after the other: over 2/3 of a frame the light turns 2.2 times.
    spread = np.abs(np.fft.rfft(rows - rows.mean(axis=0), axis=0)[40])
    phase = np.unwrap(np.angle(np.fft.rfft(rows, axis=0)[40]))
    assert spread.min() > 0
    assert (phase[-1] - phase[0]) / (2 * np.pi) == pytest.approx(100 * 0.67 / 30, abs=0.1)


def linear(drawn: FaceScene) -> np.ndarray:
    """Return the mean RGB light of each picture, of which the sRGB curve is undone, (T, 3)."""
    values = pictures(drawn)[..., ::-1] / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return light.mean(axis=(1, 2))


def test_a_lamp_changes_the_light_in_its_own_colour() -> None:
    colour = np.array([0.8, 0.0, 0.6])
    lamp = Lamp((0.8, 0.0, 0.6), 0.0, 0.03, 1.5)
    light = linear(without_people(scene(3, duration_s=4.0, lamps=(lamp,))))
    swing = np.abs(np.fft.rfft(light / light.mean(axis=0), axis=0)) / len(light) * 2
    np.testing.assert_allclose(swing[6], 0.03 * colour, atol=0.0015)  # 1.5 Hz in 4 s
    assert np.delete(swing, [0, 6], axis=0).max() < 0.0015
    slow = Lamp((0.8, 0.0, 0.6), 0.03, 0.0, 1.5)
    light = linear(without_people(scene(3, duration_s=20.0, rate_hz=15.0, lamps=(slow,))))
    change = light / light.mean(axis=0) - 1
    # Of 0.03 x 0.8; what changes more slowly than 20 s is not in it.
    assert 0.008 < change[:, 0].std() < 0.036
    np.testing.assert_allclose(change[:, 2], 0.75 * change[:, 0], atol=0.003)
    assert change[:, 1].std() < 0.001


def test_lamps_differ_and_do_not_follow_the_heart() -> None:
    drawn = [draw_scene(np.random.default_rng(seed)) for seed in range(400)]
    lamps = [lamp for one in drawn for lamp in one.lamps]
    assert 340 < len(lamps) < 460  # one per scene on average
    colours = np.array([lamp.colour for lamp in lamps])
    np.testing.assert_allclose(np.linalg.norm(colours, axis=1), 1)
    assert (colours >= 0).all()
    assert (colours.argmax(axis=1) == 1).mean() == pytest.approx(1 / 3, abs=0.1)
    rhythmic = [lamp for lamp in lamps if lamp.rhythm > 0]
    assert len(rhythmic) == pytest.approx(len(lamps) / 4, rel=0.25)
    both = [
        (one.people[0].heart.bpm / 60, lamp.rhythm_hz)  # type: ignore[union-attr]
        for one in drawn
        for lamp in one.lamps
    ]
    hz = np.array(both)[:, 1]
    assert 0.65 < hz.min() < 0.75 and 2.9 < hz.max() < 3.0
    assert abs(np.corrcoef(np.array(both).T)[0, 1]) < 0.15  # 3 sigma


def test_the_colour_of_the_pulse_lies_around_blood_s() -> None:
    drawn = np.array([draw_scene(np.random.default_rng(seed)).blood for seed in range(400)])
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1)
    degrees = np.degrees(np.arccos(drawn @ BLOOD))
    # Of length 3 degrees times that of two normal numbers: 3 sqrt(pi / 2) in the mean.
    assert degrees.mean() == pytest.approx(3.76, rel=0.1) and degrees.max() < 13
    mean = drawn.mean(axis=0)
    assert mean / np.linalg.norm(mean) @ BLOOD > np.cos(np.radians(0.6))


@pytest.mark.parametrize("blood", [tuple(BLOOD), (0.2, 0.9, 0.4)])
def test_blood_falls_in_the_scene_s_direction(blood: tuple[float, float, float]) -> None:
    drawn = scene(4, tone=2, pulse=0.1, duration_s=1.0, face_px=100.0, gloss=0.0, blood=blood)
    none = dataclasses.replace(drawn, people=(dataclasses.replace(drawn.people[0], pulse=0.0),))
    video = SimulatedFaceVideo(drawn)
    x, y, width, _ = video.box(video.times_s)[0]
    rows = slice(int(y + 0.12 * width), int(y + 0.2 * width))
    forehead = (slice(None), rows, slice(int(x + 0.4 * width), int(x + 0.6 * width)))
    with_pulse, without = (
        pictures(one)[forehead][..., ::-1].mean(axis=(1, 2)) for one in (drawn, none)
    )
    share = np.ptp(with_pulse / without, axis=0)
    expected = np.array(blood) / blood[1]
    # The camera's curve is not a power to the last per cent.
    np.testing.assert_allclose(share / share[1], expected, rtol=0.1)


def test_new_choices_leave_those_of_a_seed() -> None:
    """What seed 8 drew before there were lamps."""
    drawn = draw_scene(np.random.default_rng(8))
    heart = Heart(
        bpm=179.76162006666,
        end_bpm=179.76162006666,
        ramp_s=8.590279676898293,
        sinus_bpm=0.9563453241826693,
        drift_bpm=0.5280560788557269,
        breaths_per_minute=9.712641667093383,
        breath_amplitude=0.11393508097059557,
        notch=0.414217924513022,
        seed=1468266423,
    )
    person = Person(
        tone=3,
        face_px=94.99105492525972,
        centre=(0.475219657652774, 0.45405098550942896),
        heart=heart,
        pulse=0.0037259259613246325,
        gloss=0.04587233404697622,
        seed=1346693904,
    )
    assert drawn.people == (person,)
    assert (drawn.motion, drawn.rate_hz, drawn.drift) == ("moving", 60.0, 0.0037274890308935304)
    assert (drawn.jpeg_quality, drawn.jitter_s) == (45, 0.002954514258827058)
    assert drawn.seed == 1747681613


def test_kinds() -> None:
    empty = SimulatedFaceVideo(scene(6, kind="empty", duration_s=0.2))
    assert empty.faces == 0 and empty.breaths_per_minute == ()
    frozen = scene(6, kind="frozen", duration_s=0.5)
    shown = pictures(frozen)
    assert (shown == shown[0]).all()
    video = SimulatedFaceVideo(frozen)
    assert np.isnan(video.heart_rate_bpm([0.0, 1.0])).all() and not video.pulse([0.0, 1.0]).any()
    assert np.isnan(video.breaths_per_minute).all()
    photograph = SimulatedFaceVideo(scene(6, kind="photograph", duration_s=2.0))
    places = photograph.box(photograph.times_s)[:, :2]
    assert 0.1 < np.ptp(places, axis=0).max() < 10  # the hand trembles
    assert photograph.scene.people[0].heart is None
    two = SimulatedFaceVideo(scene(6, faces=2, duration_s=0.1))
    assert two.faces == 2
    assert two.heart_rate_bpm(0.0, 0) != two.heart_rate_bpm(0.0, 1)
    assert two.box(0.0, 0)[0] + 80 < two.box(0.0, 1)[0]


@pytest.mark.parametrize("motion", MOTIONS)
def test_motion(motion: str) -> None:
    shifts = []
    for seed in range(12):
        video = SimulatedFaceVideo(scene(seed, motion=motion, duration_s=20.0, rate_hz=15.0))
        boxes = video.box(video.times_s)
        middle = boxes[:, :2] + boxes[:, 2:] / 2
        shifts.append(middle.std(axis=0) / video.scene.people[0].face_px)
    found = np.sqrt(np.mean(np.square(shifts)))
    expected = MOTIONS[motion].shift
    assert 0.5 * expected < found < 1.5 * expected + 0.003  # and the breath


def test_stamps_dropped_frames_and_jitter() -> None:
    drawn = scene(2, duration_s=30.0, dropped=0.1, jitter_s=0.003, stamp_error_s=0.002)
    video = SimulatedFaceVideo(drawn)
    assert 760 < len(video.times_s) < 860  # of 900
    assert (np.diff(video.times_s) > 0).all() and (np.diff(video.stamps_s) > 0).all()
    off = video.times_s - np.round(video.times_s * 30) / 30
    assert off.std() == pytest.approx(0.003, rel=0.15)
    assert (video.stamps_s - video.times_s).std() == pytest.approx(0.002, rel=0.15)


def test_fixed_numbers_leave_the_others() -> None:
    free = draw_scene(np.random.default_rng(8))
    told = draw_scene(np.random.default_rng(8), light="dim", pulse=0.003)
    assert told.light == "dim" and told.people[0].pulse == 0.003
    same = dataclasses.replace(
        told,
        light=free.light,
        people=(dataclasses.replace(told.people[0], pulse=free.people[0].pulse),),
    )
    assert same == free


def test_a_video_file_and_its_truth(tmp_path: Path) -> None:
    drawn = scene(2, duration_s=0.5, faces=2)
    truth = write_video(drawn, tmp_path / "two.mp4")
    assert truth == tmp_path / "two.csv"
    with truth.open() as file:
        lines = list(csv.DictReader(file))
    video = SimulatedFaceVideo(drawn)
    assert len(lines) == 15
    rates = [float(line["heart_rate_bpm_1"]) for line in lines]
    np.testing.assert_allclose(rates, video.heart_rate_bpm(video.times_s, 1), atol=1e-5)
    np.testing.assert_allclose(
        [float(line["pulse_0"]) for line in lines], video.pulse(video.times_s), atol=1e-5
    )
    capture = cv2.VideoCapture(str(tmp_path / "two.mp4"))
    read, picture = capture.read()
    assert read and capture.get(cv2.CAP_PROP_FPS) == 30
    true = next(video.frames())[1]
    assert np.abs(picture.astype(float) - true).mean() < 6
    assert (picture != true).any()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot write a video"):
        write_video(scene(2, duration_s=0.1), tmp_path / "no" / "two.mp4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"light": "blinding"}, "unknown light 'blinding', there are bright, medium, dim"),
        ({"motion": "dancing"}, "unknown motion"),
        ({"kind": "statue"}, "unknown kind"),
        ({"rate_hz": 5.0}, "rate_hz of 15 to 60"),
        ({"tone": 7}, "skin tones are 1 to 6"),
        ({"jpeg_quality": 0}, "jpeg_quality"),
        ({"lamp": 1}, "has no lamp"),
        ({"faces": 3}, "wants"),
        ({"blood": (0.5, 0.0, 0.5)}, "more than 0 in green"),
    ],
)
def test_scenes_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scene(0, **change)


def test_portraits_cover_the_face_with_skin() -> None:
    for tone in (1, 6):
        portrait = face_drawing.draw_portrait(tone, 50.0, 3)
        x, y = (round(value) for value in portrait.origin_px)
        body = portrait.body
        assert body.colour[y, x, 3] == 1 and body.pulse[y + 15, x + 25] > 0.4
        assert not body.pulse[:10].any()
