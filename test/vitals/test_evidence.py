"""What speaks for a pulse and against it, of colours whose swing is known."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.vitals import evidence, rates
from radar_pose_ros.vitals.evidence import Evidence
from radar_pose_ros.vitals.meter import ClassicalMethod, FaceWindow

SKIN = np.array([180.0, 130.0, 110.0])
RATE_HZ, BPM = 30.0, 72.0
TIMES_S = np.arange(300) / RATE_HZ
WAVE = np.sin(2 * np.pi * BPM / 60 * TIMES_S)
WHITE = np.ones(3) / 3**0.5


def skin(*strengths: float, colour: np.ndarray = evidence.BLOOD) -> np.ndarray:
    """Return regions (T, R, 3) that get darker with the wave by such shares, each its own."""
    return SKIN * (1 - WAVE[:, None, None] * np.array(strengths)[:, None] * colour)


def weigh(colours: np.ndarray, surroundings: np.ndarray | None = None) -> Evidence:
    return evidence.weigh(WAVE, colours, RATE_HZ, BPM, surroundings)


def test_noise_is_no_evidence_of_a_pulse() -> None:
    """Not its highest peak, and not if all regions have the same: lamps and codecs do that."""
    rng = np.random.default_rng(1)
    for together in (0.0, 0.3):
        qualities = []
        for _ in range(100):
            noise = 0.1 * rng.normal(size=(300, 3, 3)) + together * rng.normal(size=(300, 1, 3))
            window = FaceWindow(RATE_HZ, SKIN + noise, np.zeros((300, 0, 0, 3)))
            wave = ClassicalMethod("pos").wave_of(window)
            bpm = rates.rate_of_wave(wave, RATE_HZ).bpm
            found = evidence.weigh(wave, window.colours, RATE_HZ, bpm)
            qualities.append(evidence.quality(found))
        assert np.mean(np.array(qualities) > 0.9) <= 0.01


@pytest.mark.parametrize(("colour", "alike"), [(evidence.BLOOD, 1.0), (WHITE, 0.94)])
def test_blood_is_known_from_light(colour: np.ndarray, alike: float) -> None:
    noise = 0.01 * np.random.default_rng(2).normal(size=(300, 3, 3))
    found = weigh(skin(0.01, 0.01, 0.01, colour=colour) + noise)
    assert found.blood == pytest.approx(alike, abs=0.01)


def test_a_wave_that_is_turned_over_has_everything_against_it() -> None:
    found = weigh(skin(-0.01, -0.01, -0.01))
    assert (found.blood, found.coherence) == pytest.approx((-1, -1), abs=0.01)


def test_coherence_is_the_mean_of_the_regions() -> None:
    assert weigh(skin(0.01, 0.01, 0.01)).coherence == pytest.approx(1, abs=0.01)
    assert weigh(skin(0.01, 0.02, -0.005)).coherence == pytest.approx(1 / 3, abs=0.01)


def test_only_what_swings_at_the_rate_counts() -> None:
    """A lamp that swings ten times as much, but half a hertz faster, says nothing."""
    lamp = 0.1 * np.sin(2 * np.pi * (BPM / 60 + 0.5) * TIMES_S)[:, None, None]
    found = weigh(skin(0.01, 0.01, 0.01) * (1 + lamp), np.tile(90 * (1 + lamp), (1, 3, 3)))
    assert found.blood == pytest.approx(1, abs=0.02)
    assert found.light == pytest.approx(0, abs=0.1)


def test_regions_are_compared_near_the_rate_alone() -> None:
    """Another pulse in them, 0.4 Hz faster, is none of this wave's business."""
    other = 0.01 * np.sin(2 * np.pi * (BPM / 60 + 0.4) * TIMES_S)
    both = SKIN * (1 - (0.01 * WAVE + other)[:, None, None] * evidence.BLOOD)
    assert weigh(both).coherence == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("known", "coherence"), [(140, 1.0), (160, 0.0)])
def test_regions_that_are_seldom_known_have_no_say(known: int, coherence: float) -> None:
    colours = skin(0.01, -0.01)
    colours[known:, 1] = np.nan
    assert weigh(colours).coherence == pytest.approx(coherence, abs=0.15)
    assert weigh(colours).blood == pytest.approx(1, abs=0.01)


def test_nothing_speaks_for_what_is_not_seen() -> None:
    nothing = np.full((300, 3, 3), np.nan)
    assert weigh(nothing) == pytest.approx(evidence.NOTHING, nan_ok=True)
    without = evidence.weigh(WAVE, skin(0.01), RATE_HZ, float("nan"))
    assert without == pytest.approx(evidence.NOTHING, nan_ok=True)


def test_light_is_what_everything_around_the_face_has() -> None:
    face = skin(0.01, 0.01, 0.01)
    swing = 0.01 * WAVE[:, None] * evidence.BLOOD

    def light(*shares: float) -> float:
        walls = [90 * (1 - share * swing) for share in shares]
        return weigh(face, np.stack(walls, axis=1)).light

    assert light(1.0, 1.0, 1.0) == pytest.approx(1.0, abs=0.01)
    assert light(0.8, 0.3, 1.2) == pytest.approx(0.3, abs=0.01)
    assert light(1.0, 0.0) == pytest.approx(0.0, abs=0.01)
    assert light(-1.0) == pytest.approx(-1.0, abs=0.01)
    assert light(1.0, float("nan")) == pytest.approx(1.0, abs=0.01)
    assert np.isnan(light(float("nan")))
    assert np.isnan(weigh(face).light)


def test_somebody_else_beside_the_face_is_no_light() -> None:
    """Another heart's rate, on one side; of the wall on the other there is as little as ever."""
    other = 1 - 0.02 * np.sin(2 * np.pi * 1.6 * TIMES_S)[:, None] * evidence.BLOOD
    still = np.ones((300, 3))
    for places in ([90 * other, 90 * still], [90 * other]):
        found = weigh(skin(0.01, 0.01, 0.01), np.stack(places, axis=1))
        assert abs(found.light) < 0.1


@pytest.mark.parametrize(
    ("kind", "snr_db", "coherence", "blood", "weighed"),
    [
        ("colours", 6.0, 0.95, 0.9, (2.0, 0.95, 0.9)),
        ("images", 6.0, 0.95, 0.9, (2.0, 0.95, 0.9)),
        ("colours", -1.5, 0.3, -0.4, (-0.5, 0.3, -0.4)),
        ("images", 0.0, -0.2, 0.2, (0.0, -0.2, 0.2)),
        ("images", 11.0, 1.0, 0.99, (8 / 3, 1.0, 0.95)),  # what is beyond counts no more
    ],
)
def test_quality_is_the_logistic_function_of_the_evidence(
    kind: evidence.Kind,
    snr_db: float,
    coherence: float,
    blood: float,
    weighed: tuple[float, float, float],
) -> None:
    snr, together, alike = weighed
    weights = {"colours": (-4.62, 0.64, 1.97, 0.55), "images": (-3.22, 1.67, 1.26, 0.37)}[kind]
    terms = (1.0, snr, -np.log(1.03 - together), -np.log(1.03 - alike))
    want = 1 / (1 + np.exp(-np.dot(weights, terms)))
    assert evidence.quality(Evidence(snr_db, coherence, blood, 0.0), kind) == pytest.approx(want)


@pytest.mark.parametrize("kind", evidence.WEIGHTS)
def test_a_poor_spectrum_and_light_all_around_are_refused(kind: evidence.Kind) -> None:
    good = Evidence(6.0, 0.98, 0.95, float("nan"))
    assert evidence.quality(good, kind) > 0.9  # light that is unknown has no say
    for light in (-1.0, 0.1, 0.24):
        assert evidence.quality(good._replace(light=light), kind) == evidence.quality(good, kind)
    assert evidence.quality(good._replace(light=0.26), kind) == 0.0
    assert evidence.quality(good._replace(snr_db=-2.9), kind) > 0.0
    assert evidence.quality(good._replace(snr_db=-3.1), kind) == 0.0
    assert np.isnan(evidence.quality(evidence.NOTHING, kind))
