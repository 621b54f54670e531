"""Images with stamps to readings, overlapping waves to pieces, readings to messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
msg = pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from rclpy.parameter import Parameter  # noqa: E402

from radar_pose_ros.nodes import heart_rates, parameters  # noqa: E402
from radar_pose_ros.nodes.convert import InvalidMessageError  # noqa: E402
from radar_pose_ros.nodes.heart_rates import StampedMeter, ToldBox, WavePieces  # noqa: E402
from radar_pose_ros.vision.face import FixedRegion  # noqa: E402
from radar_pose_ros.vitals.meter import (  # noqa: E402
    NOBODY,
    ClassicalMethod,
    MeterSettings,
    PulseMeter,
    Reading,
    State,
)
from radar_pose_ros.vitals.rates import NO_RATE, Rate  # noqa: E402
from radar_pose_ros.vitals.signals import Uniform  # noqa: E402

NOW_NS = 1_700_000_000_123_456_789
BPM = 78.0
RATE_HZ = 30.0


# -- slices of waves -------------------------------------------------------------------------


def pulse(times_s: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * 1.3 * np.asarray(times_s))


def window(start_s: float, samples: int = 300, face: int = 0) -> Reading:
    """Return the reading of a window, with the phase of its own first frame."""
    times_s = start_s + np.arange(samples) / RATE_HZ
    reading = Reading(face, start_s, 10.0, State.OK, "", Rate(BPM, 0.5))
    return reading._replace(wave=Uniform(start_s, RATE_HZ, pulse(times_s)))


def test_pieces_of_overlapping_windows_join() -> None:
    """One grid, each sample once, in time with the pulse, whatever the phase of a window."""
    pieces = WavePieces()
    starts_s = [0.0, 1.013, 2.009, 2.993, 4.021]
    found = [pieces.cut([window(s)], s + 10.0)[0][1] for s in starts_s]
    assert [len(piece.values) for piece in found[:2]] == [271, 30]  # 0 to 9.0 s, then to 10.013 s
    joined = np.concatenate([piece.values for piece in found])
    times_s = np.concatenate([piece.times_s for piece in found])
    np.testing.assert_allclose(times_s, np.arange(len(joined)) / RATE_HZ, atol=1e-9)
    assert times_s[-1] <= 4.021 + 9.0 < times_s[-1] + 1 / RATE_HZ
    # by linear interpolation it were off by 0.9 %
    np.testing.assert_allclose(joined, pulse(times_s), atol=1e-3)
    assert not pieces.cut([window(4.021)], 14.021)  # nothing that was not sent before


def test_samples_of_a_window_that_nothing_went_before_are_its_own() -> None:
    reading = window(3.7)
    [(same, piece)] = WavePieces().cut([reading], 13.7)
    assert same is reading and piece.start_s == 3.7
    np.testing.assert_array_equal(piece.values, reading.wave.values[:271])


def test_a_gap_that_no_window_covers_is_a_new_start() -> None:
    pieces = WavePieces()
    pieces.cut([window(0.0)], 10.0)  # up to 9.0 s
    assert not pieces.cut([window(0.0)._replace(wave=None)], 12.0)
    [(_, piece)] = pieces.cut([window(5.0)], 15.0)  # the window reaches back: nothing is missing
    assert piece.start_s == pytest.approx(9.0 + 1 / RATE_HZ)
    [(_, piece)] = pieces.cut([window(20.5)], 30.5)  # this one does not
    assert (piece.start_s, len(piece.values)) == (20.5, 271)


def test_what_is_unknown_stays_unknown() -> None:
    pieces = WavePieces()
    pieces.cut([window(0.0)], 10.0)
    reading = window(1.01)
    reading.wave.values[250:260] = np.nan  # 9.343 s to 9.643 s
    [(_, piece)] = pieces.cut([reading], 11.01)
    unknown_s = piece.times_s[np.isnan(piece.values)]
    # at the border one more, whose cubic would need an unknown one
    assert 9.343 - 2 / RATE_HZ < unknown_s[0] <= 9.343 + 1 / RATE_HZ
    assert 9.643 - 1 / RATE_HZ <= unknown_s[-1] < 9.643 + 2 / RATE_HZ
    known = ~np.isnan(piece.values)
    np.testing.assert_allclose(piece.values[known], pulse(piece.times_s[known]), atol=1e-3)


def test_faces_have_waves_of_their_own_and_end() -> None:
    pieces = WavePieces()
    assert len(pieces.cut([window(0.0, face=3), window(4.0, face=5)], 14.0)) == 2
    [(reading, piece)] = pieces.cut([window(5.0, face=5)], 15.0)  # 3 is gone
    assert reading.face_id == 5 and piece.start_s == pytest.approx(13.0 + 1 / RATE_HZ)
    [(_, piece)] = pieces.cut([window(6.0, face=3)], 16.0)
    assert piece.start_s == 6.0


def test_between_samples_is_a_cubic() -> None:
    """It is exact for polynomials of the third degree, also beyond the inner samples."""
    times = np.arange(8.0)
    places = np.array([0.0, 0.4, 2.5, 3.0, 6.9, 7.0])
    values = 0.1 * times**3 - times**2 + 2.0
    np.testing.assert_allclose(
        heart_rates.between(values, places), 0.1 * places**3 - places**2 + 2.0, atol=1e-12
    )


# -- stamps ----------------------------------------------------------------------------------


def skin(time_s: float, rng: np.random.Generator, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Return a picture of nothing but skin with a pulse, BGR."""
    blood = 0.01 * np.sin(2 * np.pi * BPM / 60 * time_s)
    colour = np.array([110.0, 130.0, 180.0]) * (1 - blood * np.array([0.53, 0.77, 0.33]))
    return np.clip(colour + rng.normal(0, 2, (*size, 3)), 0, 255).round().astype(np.uint8)


@pytest.fixture
def meter() -> StampedMeter:
    make: Callable[[], PulseMeter] = lambda: PulseMeter(  # noqa: E731
        FixedRegion((8, 8, 40, 32), thumbnail_px=32), ClassicalMethod("pos")
    )
    return StampedMeter(make, 1.0)


def at(seconds: float) -> int:
    return NOW_NS + round(seconds * 1e9)


def test_readings_have_the_stamps_of_the_images(
    meter: StampedMeter, rng: np.random.Generator
) -> None:
    """A rate per second, a wave in phase with the truth; both by stamps, which are uneven."""
    times_s = np.cumsum(rng.uniform(0.6, 1.4, 14 * 25)) / 25
    readings, samples, stamps_ns = [], [], []
    for time_s in times_s:
        assert meter.see(skin(time_s, rng), at(time_s), "eye") == ""
        found = meter.readings()
        assert not meter.readings()  # once
        readings += found
        for _, piece in meter.pieces(found):
            samples.append(piece.values)
            stamps_ns.append(meter.stamp_ns(piece.start_s))
    seen_s = times_s[-1] - times_s[0]
    assert len(readings) == math.floor(seen_s)
    assert [r.state for r in readings[:9]] == [State.WARMING_UP] * 9
    assert len(readings) >= 12
    for reading in readings[10:]:
        assert reading.state is State.OK
        assert reading.rate.bpm == pytest.approx(BPM, abs=1.0)
        now_s = (meter.stamp_ns(reading.middle_s) - NOW_NS) / 1e9 + reading.window_s / 2
        assert np.abs(times_s - now_s).min() < 1e-6  # ends with an image
    assert stamps_ns[0] == pytest.approx(at(times_s[0]), abs=1000 * 10**6)
    steps_ns = np.diff(stamps_ns)
    counts = np.array([len(values) for values in samples[:-1]])
    np.testing.assert_allclose(steps_ns, counts * 1e9 / RATE_HZ, atol=2)
    wave = np.concatenate(samples)
    truth = np.sin(
        2 * np.pi * BPM / 60 * ((stamps_ns[0] - NOW_NS) / 1e9 + np.arange(len(wave)) / RATE_HZ)
    )
    assert np.corrcoef(wave, truth)[0, 1] > 0.95  # as blood rises: not turned over, not shifted


def test_images_out_of_order_are_refused(meter: StampedMeter, rng: np.random.Generator) -> None:
    meter.see(skin(0, rng), at(0.0), "eye")
    meter.see(skin(0, rng), at(0.1), "eye")
    for late_s in (0.1, 0.05, -0.4):
        with pytest.raises(InvalidMessageError, match="not after the last one: "):
            meter.see(skin(0, rng), at(late_s), "eye")
    assert meter.see(skin(0, rng), at(0.2), "eye") == ""  # goes on as if nothing had been


def test_time_that_goes_back_begins_anew(meter: StampedMeter, rng: np.random.Generator) -> None:
    for k in range(60):
        meter.see(skin(0, rng), at(100 + k / 25), "eye")
        meter.readings()
    reason = meter.see(skin(0, rng), at(3.0), "eye")
    assert reason == "time went back by 99.4 s: begun anew"
    for k in range(1, 27):
        assert meter.see(skin(0, rng), at(3.0 + k / 25), "eye") == ""
    [reading] = meter.readings()  # a second after the new beginning
    assert reading.state is State.WARMING_UP and reading.window_s == pytest.approx(1.04, abs=0.05)
    assert meter.stamp_ns(reading.middle_s) == pytest.approx(at(3.52), abs=5 * 10**7)


def test_another_camera_or_size_begins_anew(meter: StampedMeter, rng: np.random.Generator) -> None:
    meter.see(skin(0, rng), at(0.0), "eye")
    reason = meter.see(skin(0, rng, (96, 128)), at(0.1), "eye")
    assert reason == "images of 64 x 48 of 'eye' became 128 x 96 of 'eye': begun anew"
    reason = meter.see(skin(0, rng, (96, 128)), at(0.2), "ear")
    assert reason == "images of 128 x 96 of 'eye' became 128 x 96 of 'ear': begun anew"


def test_a_region_that_is_not_in_the_image_is_told(
    meter: StampedMeter, rng: np.random.Generator
) -> None:
    with pytest.raises(InvalidMessageError, match=r"cannot be used: the region .* is not in"):
        meter.see(skin(0, rng, (32, 32)), at(0.0), "eye")
    assert not meter.readings()


def test_a_pause_makes_no_pile_of_readings(meter: StampedMeter, rng: np.random.Generator) -> None:
    meter.see(skin(0, rng), at(0.0), "eye")
    assert not meter.readings()
    meter.see(skin(0, rng), at(7.5), "eye")
    assert len(meter.readings()) == 1
    meter.see(skin(0, rng), at(7.9), "eye")
    assert not meter.readings()
    meter.see(skin(0, rng), at(8.0), "eye")  # in step with the first image
    assert len(meter.readings()) == 1


# -- parameters ------------------------------------------------------------------------------


def test_a_told_face_is_there_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    told, image = ToldBox(), np.zeros((120, 160, 3), np.uint8)
    told.width_px = 640  # the face was found in a larger one
    now_s = 50.0
    monkeypatch.setattr(heart_rates.time, "monotonic", lambda: now_s)
    assert told(image) == []
    told.tell((40, 80, 120, 100), 50.0)
    assert told(image) == [(10.0, 20.0, 30.0, 25.0)]
    now_s = 51.1
    assert told(image) == []
    told.tell((40, 80, 120, 100), 51.1)
    told.tell((0, 0, 0, 0), 51.1)  # nobody
    assert told(image) == []


@pytest.mark.parametrize("text", ["1 2 3", "1 2 3 4 5", "a b c d", "1 2 3 nan", "box"])
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='region wants "x y width height" in pixels or "topic"'):
        heart_rates.parse_region(text)


def test_a_region_is_four_numbers() -> None:
    assert heart_rates.parse_region("10,20.5,64, 48") == (10.0, 20.5, 64.0, 48.0)
    assert heart_rates.parse_region(" 10 20.5  64 48") == (10.0, 20.5, 64.0, 48.0)


def test_readings_are_refused_as_elsewhere() -> None:
    """The defaults are those of the library."""
    declared = parameters.load("rppg")
    for name in ("window_s", "least_quality"):
        assert declared[name].default == getattr(MeterSettings, name), name


# -- messages --------------------------------------------------------------------------------


def test_states_are_those_of_the_message() -> None:
    assert {state.name: int(state) for state in State} == {
        name: getattr(msg.HeartRate, name) for name in State.__members__
    }


def test_a_reading_is_a_message() -> None:
    reading = Reading(
        face_id=4,
        middle_s=5.0,
        window_s=9.75,
        state=State.OK,
        reason="",
        rate=Rate(72.5, 0.75),
        signal_quality=0.875,
        respiration_rate_bpm=15.5,
        method="pos",
    )
    message = heart_rates.heart_rate_to_message(reading, NOW_NS, "eye")
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123456789)
    assert (message.header.frame_id, message.face_id, message.state) == (
        "eye",
        4,
        msg.HeartRate.OK,
    )
    assert (message.heart_rate_bpm, message.standard_error_bpm) == (72.5, 0.75)
    assert (message.signal_quality, message.respiration_rate_bpm) == (0.875, 15.5)
    assert (message.window.sec, message.window.nanosec) == (9, 750_000_000)
    assert message.method == "pos"
    assert heart_rates.in_words(reading) == "face 4: a rate is told"  # not which: logs are kept


def test_what_is_not_known_is_nan_in_the_message() -> None:
    reading = Reading(NOBODY, 1.0, 2.0, State.NO_FACE, "no face for 2.0 s", NO_RATE)
    message = heart_rates.heart_rate_to_message(reading, NOW_NS, "eye")
    assert (message.face_id, message.state) == (-1, msg.HeartRate.NO_FACE)
    for name in ("heart_rate_bpm", "standard_error_bpm", "signal_quality", "respiration_rate_bpm"):
        assert math.isnan(getattr(message, name)), name
    assert heart_rates.in_words(reading) == "no face for 2.0 s"


def test_a_piece_is_a_message() -> None:
    values = np.array([0.5, np.nan, -1.25])
    message = heart_rates.wave_to_message(window(0.0, face=2), Uniform(3.0, 30.0, values), 10, "e")
    np.testing.assert_array_equal(np.array(message.samples), values.astype(np.float32))
    assert (message.face_id, message.sample_rate_hz) == (2, 30.0)
    assert (message.header.stamp.nanosec, message.header.frame_id) == (10, "e")


# -- what does not configure -----------------------------------------------------------------


@pytest.fixture
def configured(
    ros_environment: dict[str, str],
) -> Iterator[Callable[..., str]]:
    """Return what says why a node does not configure."""
    import rclpy

    from radar_pose_ros.nodes.base import FAILURE
    from radar_pose_ros.nodes.camera_source import CameraSource
    from radar_pose_ros.nodes.rppg import Rppg

    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []

    def failure(name: str, **values: Any) -> str:
        given = [Parameter(key, value=value) for key, value in values.items()]
        kind = {"rppg": Rppg, "camera_source": CameraSource}[name]
        nodes.append(
            kind(
                context=context,
                parameter_overrides=[Parameter("autostart", value=False), *given],
            )
        )
        assert nodes[-1].trigger_configure() is FAILURE
        return nodes[-1].health.failure

    yield failure
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.ros
@pytest.mark.parametrize(
    ("node", "parameters", "sentence"),
    [
        ("rppg", {"weights": "huge"}, "there are no weights 'huge' in "),
        (
            "rppg",
            {"method": "pos", "weights": "edge"},
            "weights are for physmamba, not for pos, got ",
        ),
        ("rppg", {"method": "pos", "yunet": "/no.onnx"}, "/no.onnx: there is no such "),
        ("rppg", {"method": "pos", "region": "1 2 3"}, 'region wants "x y width height" in '),
        (
            "rppg",
            {"method": "pos", "region": "1 2 3 4"},
            "a region wants x, y and at least ",
        ),
        (
            "rppg",
            {"method": "pos", "region": "topic", "yunet": "a.onnx"},
            "yunet finds faces, and region says where one is: which one is true?",
        ),
        ("camera_source", {"source": "/no.mp4"}, "/no.mp4: there is no such file"),
        ("camera_source", {"source": ""}, "there is no source: name a video file, a folder or "),
        (
            "camera_source",
            {"source": __file__},
            f"{__file__}: it cannot be read as a video",
        ),
        (
            "camera_source",
            {"source": str(Path(__file__).parent), "frame_rate_hz": 25.0},
            f"{Path(__file__).parent}: there is no image in it (",
        ),
    ],
)
def test_what_cannot_be_used_does_not_configure(
    node: str, parameters: dict[str, Any], sentence: str, configured: Callable[..., str]
) -> None:
    failure = configured(node, **parameters)
    assert failure.startswith(f"cannot configure: {sentence}"), failure
    assert "\n" not in failure
