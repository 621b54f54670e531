"""From samples of faces to readings: when there is a rate, and what is said when there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from radar_pose_ros.vision.face import Face
from radar_pose_ros.vision.skin import REGIONS, FaceSample
from radar_pose_ros.vitals.meter import (
    NOBODY,
    ClassicalMethod,
    FaceWindow,
    MeterSettings,
    PulseMeter,
    Reading,
    State,
)

SKIN = np.array([180.0, 130.0, 110.0])
IMAGE = np.full((8, 8, 3), 90, np.uint8)


class Script:
    """A tracker that reads from a script what there is: face and time to sample, or nothing."""

    regions = REGIONS

    def __init__(self, sample: Callable[[int, float], FaceSample | None], faces: int = 1) -> None:
        self._sample, self._faces, self._now_s = sample, faces, 0.0

    def update(self, image_bgr: np.ndarray, time_s: float) -> list[Face]:
        self._now_s = time_s
        there = range(self._faces)
        return [
            Face(k, (0.0, 0.0, 100.0, 100.0), time_s)
            for k in there
            if self._sample(k, time_s) is not None
        ]

    def sample(self, image_bgr: np.ndarray, face: Face) -> FaceSample:
        found = self._sample(face.id, self._now_s)
        assert found is not None
        return found


def living(
    bpm: tuple[float, ...] = (72.0,),
    pulse: float = 0.006,
    noise: float = 0.1,
    brightness: float = 1.0,
    motion: float = 0.0,
    change: float = 0.3,
) -> Callable[[int, float], FaceSample]:
    """Return a script of faces with a pulse of so much of the green, and a camera's noise."""
    rng = np.random.default_rng(0)

    def sample(face: int, time_s: float) -> FaceSample:
        blood = pulse / 0.77 * np.array([0.33, 0.77, 0.53])
        wave = np.sin(2 * np.pi * bpm[face] / 60 * time_s)
        colour = SKIN * brightness * (1 - blood * wave)
        colours = colour + noise * rng.normal(size=(len(REGIONS), 3))
        thumbnail = colour + change * rng.normal(size=(32, 32, 3))
        return FaceSample(
            colours.astype(np.float32),
            np.full(len(REGIONS), 900.0, np.float32),
            thumbnail.astype(np.float32),
            float(colour.mean()),
            motion,
        )

    return sample


def watch(
    tracker: Script,
    seconds: float = 12.0,
    rate_hz: float = 30.0,
    method: str = "pos",
    settings: MeterSettings | None = None,
) -> PulseMeter:
    meter = PulseMeter(tracker, ClassicalMethod(method), settings)
    for k in range(round(seconds * rate_hz)):
        meter.see(IMAGE, 100.0 + k / rate_hz)
    return meter


def only(meter: PulseMeter) -> Reading:
    [reading] = meter.readings()
    return reading


@pytest.mark.parametrize("method", ["green", "chrom", "pos", "combined"])
def test_a_pulse_is_read_with_its_error(method: str) -> None:
    reading = only(watch(Script(living()), method=method))
    assert (reading.state, reading.reason, reading.method) == (State.OK, "", method)
    assert reading.rate.bpm == pytest.approx(72, abs=0.5)
    assert reading.rate.standard_error_bpm < 1
    assert reading.signal_quality > 0.9
    assert reading.window_s == pytest.approx(10, abs=0.05)
    assert reading.middle_s == pytest.approx(107, abs=0.05)


def test_the_wave_lies_where_blood_rises() -> None:
    wave = only(watch(Script(living()))).wave
    assert wave is not None
    truth = np.sin(2 * np.pi * 72 / 60 * wave.times_s)
    assert np.corrcoef(wave.values, truth)[0, 1] > 0.97
    assert (wave.values.mean(), wave.values.std()) == pytest.approx((0, 1), abs=1e-9)


def test_how_sure_it_has_to_be_is_the_callers() -> None:
    noise = living(pulse=0.0)
    poor = only(watch(Script(noise), settings=MeterSettings(least_quality=0.0)))
    assert poor.state is State.OK and poor.signal_quality < 0.5
    assert 39 <= poor.rate.bpm <= 180
    good = only(watch(Script(living())))
    strict = MeterSettings(least_quality=(1 + good.signal_quality) / 2)
    assert only(watch(Script(living()), settings=strict)).state is State.LOW_SIGNAL


def test_two_faces_have_two_rates() -> None:
    readings = watch(Script(living((64.0, 97.0)), faces=2)).readings()
    assert [(r.face_id, round(r.rate.bpm)) for r in readings] == [(0, 64), (1, 97)]


@pytest.mark.parametrize(
    ("change", "seconds", "rate_hz", "state", "reason"),
    [
        ({}, 3.0, 30.0, State.WARMING_UP, "3.0 s of 10 s"),
        ({}, 9.4, 30.0, State.WARMING_UP, "9.4 s of 10 s"),
        ({}, 12.0, 5.0, State.TOO_FEW_FRAMES, "5.0 frames of the face per second, want 10"),
        ({}, 12.0, 9.0, State.TOO_FEW_FRAMES, "9.0 frames of the face per second, want 10"),
        ({"brightness": 0.1}, 12.0, 30.0, State.TOO_DARK, "brightness of 14 of 255, want 20"),
        ({"change": 0.0, "pulse": 0.0}, 9.7, 30.0, State.STILL_IMAGE, "nothing changes"),
        ({"change": 0.0, "pulse": 0.0}, 12.0, 30.0, State.STILL_IMAGE, "nothing changes"),
        ({"change": 0.012, "pulse": 0.0}, 12.0, 30.0, State.STILL_IMAGE, "nothing changes"),
        ({"change": 0.03, "pulse": 0.0}, 12.0, 30.0, State.LOW_SIGNAL, "no pulse stands out"),
        ({"pulse": 0.0}, 12.0, 30.0, State.LOW_SIGNAL, "no pulse stands out"),
        ({"pulse": 0.0, "motion": 0.0045}, 12.0, 30.0, State.LOW_SIGNAL, "no pulse stands out"),
        ({"pulse": 0.0, "motion": 0.0055}, 12.0, 30.0, State.MOTION, "moves by 0.1"),
        ({"pulse": 0.0, "motion": 0.02}, 12.0, 30.0, State.MOTION, "moves by 0.6"),
    ],
)
def test_a_refusal_says_why(
    change: dict[str, float], seconds: float, rate_hz: float, state: State, reason: str
) -> None:
    reading = only(watch(Script(living(**change)), seconds, rate_hz))  # type: ignore[arg-type]
    assert reading.state is state
    assert reason in reading.reason
    assert np.isnan(reading.rate.bpm)
    assert np.isnan(reading.rate.standard_error_bpm)
    assert np.isnan(reading.respiration_rate_bpm)
    assert "nan" not in reading.reason


def held(face: Callable[[int, float], FaceSample], rate_hz: float) -> Callable[..., FaceSample]:
    """Return a script of a camera that repeats frames: there are fewer than are sent."""
    kept: dict[float, FaceSample] = {}

    def sample(k: int, time_s: float) -> FaceSample:
        frame_s = np.floor(time_s * rate_hz + 1e-6) / rate_hz
        return kept.setdefault(frame_s, face(k, frame_s))

    return sample


def test_frames_that_come_twice_are_one() -> None:
    assert only(watch(Script(held(living(), 15.0)))).rate.bpm == pytest.approx(72, abs=1)
    few = only(watch(Script(held(living(), 6.0))))
    assert few.state is State.TOO_FEW_FRAMES
    assert few.reason.startswith("6.0 frames")


def test_a_codec_that_begins_anew_is_no_camera() -> None:
    """Of a picture in a file few frames differ; where more do, it is a camera that is slow."""
    assert only(watch(Script(held(living(), 2.5)))).state is State.STILL_IMAGE
    assert only(watch(Script(held(living(), 4.0)))).state is State.TOO_FEW_FRAMES


def test_a_face_without_skin_is_told() -> None:
    face = living()
    nothing = np.full((len(REGIONS), 3), np.nan, np.float32)
    covered = only(watch(Script(lambda k, s: face(k, s)._replace(colours=nothing))))
    assert covered.state is State.LOW_SIGNAL
    assert covered.reason == "no skin is seen in the face: covered, or too bright"


@pytest.mark.parametrize(("share", "covered"), [(0.4, True), (0.6, False)])
def test_skin_must_be_seen_half_of_the_time(share: float, covered: bool) -> None:
    face = living()
    nothing = np.full((len(REGIONS), 3), np.nan, np.float32)

    def now_and_then(k: int, time_s: float) -> FaceSample:
        found = face(k, time_s)
        return found if (5 * time_s) % 1 < share - 1e-6 else found._replace(colours=nothing)

    reading = only(watch(Script(now_and_then)))
    assert (reading.reason == "no skin is seen in the face: covered, or too bright") is covered


def test_regions_that_are_seen_for_too_short_say_nothing() -> None:
    """Somebody is always seen, but of no region is more than a third of the window known."""
    face = living()

    def turning(k: int, time_s: float) -> FaceSample:
        found = face(k, time_s)
        colours = np.full_like(found.colours, np.nan)
        which = int(time_s) % 3
        colours[which] = found.colours[which]
        return found._replace(colours=colours)

    reading = only(watch(Script(turning)))
    assert reading.state is State.LOW_SIGNAL and np.isnan(reading.signal_quality)
    assert reading.reason.startswith("skin is not seen for long enough to tell")


def test_regions_that_are_known_in_turns_are_one_face() -> None:
    """A head that turns shows now this cheek, now that one."""
    face = living()

    def turning(k: int, time_s: float) -> FaceSample:
        found = face(k, time_s)
        colours = found.colours.copy()
        colours[1 + int(time_s) % 2] = np.nan
        return found._replace(colours=colours)

    reading = only(watch(Script(turning)))
    assert reading.rate.bpm == pytest.approx(72, abs=0.5)


def walled(lit: float) -> Callable[[int, float], FaceSample]:
    """Return a script of faces before a wall that has so much of what the skin's colours do."""
    face = living()

    def sample(k: int, time_s: float) -> FaceSample:
        found = face(k, time_s)
        assert found.thumbnail is not None
        swing = 1 + lit * (found.thumbnail.mean(axis=(0, 1)) / SKIN - 1)
        thumbnail = found.thumbnail.copy()
        thumbnail[:, [*range(6), *range(26, 32)]] = 90 * swing
        return found._replace(thumbnail=thumbnail)

    return sample


def test_what_the_wall_does_too_is_light() -> None:
    assert only(watch(Script(walled(0.0)))).state is State.OK
    assert only(watch(Script(walled(0.1)))).state is State.OK  # it reflects what faces send
    lamp = only(watch(Script(walled(1.0))))
    assert lamp.state is State.LOW_SIGNAL
    assert "what is around the face swings with it" in lamp.reason
    assert lamp.evidence is not None and lamp.evidence.light == pytest.approx(1.0, abs=0.1)
    assert lamp.signal_quality == 0.0


class Inventor:
    """A method that finds a pulse in everything, as a network does that has seen nothing else."""

    name, thumbnail_px = "inventor", 0

    def wave_of(self, window: FaceWindow) -> np.ndarray:
        return np.sin(2 * np.pi * 1.2 * np.arange(len(window.colours)) / window.rate_hz)


def test_a_pulse_that_is_invented_is_not_told() -> None:
    meter = PulseMeter(Script(living(pulse=0.0)), Inventor())
    told = []
    for k in range(70 * 30):
        meter.see(IMAGE, k / 30)
        if k >= 300 and k % 30 == 0:
            told.append(only(meter).state)
    assert told == [State.LOW_SIGNAL] * len(told)
    assert len(told) == 60


class Patient:
    """A method that wants a whole window, as networks do."""

    name, thumbnail_px = "patient", 0

    def wave_of(self, window: FaceWindow) -> np.ndarray:
        unknown = np.isnan(window.colours).any()
        return np.full(len(window.colours), np.nan) if unknown else window.colours[:, 0, 1]


def test_a_gap_is_told_to_whom_it_matters() -> None:
    face = living()
    for method, state in ((Patient(), State.TOO_FEW_FRAMES), (ClassicalMethod("pos"), State.OK)):
        meter = PulseMeter(Script(face), method)
        for k in range(360):
            if not 200 <= k < 209:
                meter.see(IMAGE, k / 30)
        reading = only(meter)
        assert reading.state is state
    assert only(meter).rate.bpm == pytest.approx(72, abs=0.5)
    gap = PulseMeter(Script(face), Patient())
    for k in range(360):
        if not 200 <= k < 209:
            gap.see(IMAGE, k / 30)
    assert only(gap).reason == "frames are missing for up to 0.33 s: no wave can be made"


def test_nobody_is_a_reading_too() -> None:
    reading = only(watch(Script(lambda face, time_s: None), 12.0))
    assert (reading.face_id, reading.state) == (NOBODY, State.NO_FACE)
    assert reading.reason == "no face for 12.0 s"
    assert PulseMeter(Script(living()), ClassicalMethod("pos")).readings() == []


@pytest.mark.parametrize(("value", "state"), [(44, State.TOO_DARK), (45, State.NO_FACE)])
def test_nobody_in_a_dark_picture_may_be_there(value: int, state: State) -> None:
    image = np.full((160, 160, 3), value, np.uint8)
    image[:8] = 200  # a lamp
    meter = PulseMeter(Script(lambda face, time_s: None), ClassicalMethod("pos"))
    meter.see(image, 0.0)
    meter.see(image, 1.0)
    reading = only(meter)
    assert (reading.face_id, reading.state, reading.window_s) == (NOBODY, state, 1.0)
    dark = "the picture is too dark to find a face in: nine tenths of it are below 44 of 255, want"
    assert reading.reason == (f"{dark} 45" if state is State.TOO_DARK else "no face for 1.0 s")


def test_a_black_curtain_is_no_darkness() -> None:
    """Whoever turns away before it is lit well."""
    image = np.zeros((160, 160, 3), np.uint8)
    image[40:100, 50:110] = 150
    meter = PulseMeter(Script(lambda face, time_s: None), ClassicalMethod("pos"))
    meter.see(image, 0.0)
    assert only(meter).state is State.NO_FACE


def test_a_face_that_returns_warms_up_anew() -> None:
    face = living()
    away = watch(Script(lambda k, s: None if 112 < s < 114 else face(k, s)), 18.0)
    assert only(away).state is State.WARMING_UP


def test_frames_that_are_missing_move_no_rate() -> None:
    """Stamps decide: every third frame is lost, in bursts."""
    meter = PulseMeter(Script(living()), ClassicalMethod("pos"))
    for k in range(360):
        if k % 12 >= 4:
            meter.see(IMAGE, k / 30)
    assert only(meter).rate.bpm == pytest.approx(72, abs=0.5)


def test_the_notes_tell_what_would_help() -> None:
    face = living()

    def pumping(k: int, time_s: float) -> FaceSample:
        by = 1 + 0.3 * np.sin(2 * np.pi * 0.2 * time_s)
        found = face(k, time_s)
        return found._replace(colours=found.colours * by, brightness=found.brightness * by)

    assert only(watch(Script(face))).notes == ()
    [note] = only(watch(Script(pumping))).notes
    assert "brightness swings by 5" in note
    [note] = only(watch(Script(face), rate_hz=15.0)).notes
    assert note == "15 frames per second: 25 or more are better"
    assert only(watch(Script(face), rate_hz=21.0)).notes == ()
    assert len(only(watch(Script(face), rate_hz=19.0)).notes) == 1


def test_breath_is_read_from_more_than_the_window() -> None:
    face = living()

    def breathing(k: int, time_s: float) -> FaceSample:
        by = 1 + 0.01 * np.sin(2 * np.pi * 15 / 60 * time_s)
        found = face(k, time_s)
        return found._replace(colours=found.colours * np.float32(by))

    reading = only(watch(Script(breathing), 40.0))
    assert reading.respiration_rate_bpm == pytest.approx(15, abs=1)
    assert np.isnan(only(watch(Script(face), 40.0)).respiration_rate_bpm)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no method 'magic'; there are green, chrom, pos, comb"):
        ClassicalMethod("magic")
    with pytest.raises(ValueError, match="window_s must be 5 to 120, got 1"):
        MeterSettings(window_s=1.0)
    with pytest.raises(ValueError, match="least_brightness must be 0 to 255, got -1"):
        MeterSettings(least_brightness=-1)
