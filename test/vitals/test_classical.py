"""The classical methods on skin as a reflection model has it, and against their papers' loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.vitals import classical, rates, signals

RATE_HZ = 30.0
SKIN = np.array([180.0, 120.0, 95.0])  # diffuse, red, green, blue
# How much of each colour a pulse takes, of white light on skin (de Haan & van Leest 2014).
PULSE = np.array([0.33, 0.77, 0.53])
METHODS = pytest.mark.parametrize("method", classical.METHODS.values(), ids=classical.METHODS)


def smooth_noise(
    rng: np.random.Generator, samples: int, low_hz: float, high_hz: float
) -> np.ndarray:
    """Noise of a band, with a standard deviation of 1."""
    found = signals.band_pass(rng.normal(size=samples), RATE_HZ, low_hz, high_hz, order=2)
    return found / found.std()


def volume(samples: int, bpm: float) -> np.ndarray:
    """Return the volume of blood: fast up, slow down."""
    phase = 2 * np.pi * bpm / 60 * np.arange(samples) / RATE_HZ
    return np.sin(phase) + 0.3 * np.sin(2 * phase + 0.8)


def face(
    rng: np.random.Generator,
    blood: np.ndarray,
    *,
    specular: float = 0.0,
    intensity: float = 0.0,
    noise: float = 0.0,
) -> np.ndarray:
    """Return colours (T, 3): light times what the surface mirrors and what comes from inside.

    Head movements change, in the band of the pulse, what is mirrored (white) and the light.
    """
    samples = len(blood)
    light = 1 + intensity * smooth_noise(rng, samples, 0.3, 2.5)
    light += 0.1 * np.linspace(-1, 1, samples)  # the lamp warms up
    mirrored = 20 + 20 * specular * smooth_noise(rng, samples, 0.3, 2.5)
    inside = SKIN * (1 - 0.004 * blood[:, None] * PULSE)
    return light[:, None] * (mirrored[:, None] + inside) + rng.normal(0, noise, (samples, 3))


def banded(wave: np.ndarray) -> np.ndarray:
    return signals.band_pass(signals.detrend(wave, RATE_HZ), RATE_HZ)


def likeness(wave: np.ndarray, blood: np.ndarray) -> float:
    return float(np.corrcoef(banded(wave), banded(blood))[0, 1])


@METHODS
def test_the_wave_rises_with_the_volume_of_blood(
    method: Callable[..., np.ndarray], rng: np.random.Generator
) -> None:
    blood = volume(600, 72.0)
    wave = method(face(rng, blood, noise=0.02), RATE_HZ)
    assert wave.shape == (600,)
    assert likeness(wave, blood) > 0.98


def test_moving_light_hides_the_pulse_from_green_alone(rng: np.random.Generator) -> None:
    """Ten faces that move: the light alone changes six times as much as green does with a beat."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in classical.METHODS}
    for bpm in np.linspace(50, 140, 10):
        blood = volume(600, bpm)
        colours = face(rng, blood, specular=0.05, intensity=0.02, noise=0.02)
        for name, method in classical.METHODS.items():
            wave = method(colours, RATE_HZ)
            error = rates.spectrum_rate(banded(wave), RATE_HZ).bpm - bpm
            found[name].append((likeness(wave, blood), abs(error)))
    alike = {name: np.median([pair[0] for pair in pairs]) for name, pairs in found.items()}
    right = {name: sum(pair[1] < 2 for pair in pairs) for name, pairs in found.items()}
    assert right["chrom"] >= 9 and right["pos"] >= 9 and right["green"] <= 3
    assert alike["chrom"] > 0.7 and alike["pos"] > 0.7 and alike["green"] < 0.3


@METHODS
def test_units_of_colours_do_not_matter(
    method: Callable[..., np.ndarray], rng: np.random.Generator
) -> None:
    colours = face(rng, volume(300, 80.0), specular=0.02, noise=0.1)
    np.testing.assert_allclose(
        method(colours, RATE_HZ), method(colours / 255, RATE_HZ), atol=1e-12
    )


@METHODS
def test_unknown_stretches_stay_where_they_are(
    method: Callable[..., np.ndarray], rng: np.random.Generator
) -> None:
    blood = volume(600, 72.0)
    whole = face(rng, blood, specular=0.02, noise=0.02)
    colours = whole.copy()
    colours[100:140] = np.nan
    colours[300, 1] = np.nan
    colours[:20] = np.nan
    wave = method(colours, RATE_HZ)
    np.testing.assert_array_equal(np.isnan(wave), np.isnan(colours).any(1))
    known = ~np.isnan(wave)
    assert np.corrcoef(wave[known], method(whole, RATE_HZ)[known])[0, 1] > 0.97
    assert np.isnan(method(np.full((300, 3), np.nan), RATE_HZ)).all()


def test_a_piece_too_short_for_a_window_is_unknown(rng: np.random.Generator) -> None:
    colours = face(rng, volume(300, 72.0), noise=0.02)
    colours[100:150] = np.nan
    colours[170:220] = np.nan  # 20 samples between, of 24 that half a window has
    for method in (classical.chrom, classical.pos):
        unknown = np.isnan(method(colours, RATE_HZ))
        assert unknown[100:220].all() and not unknown[:100].any() and not unknown[220:].any()


@METHODS
def test_regions_at_once_are_regions_one_by_one(
    method: Callable[..., np.ndarray], rng: np.random.Generator
) -> None:
    regions = [face(rng, volume(300, bpm), specular=0.02, noise=0.1) for bpm in (60, 80, 100)]
    regions[1][50:60] = np.nan
    together = method(np.stack(regions, axis=1), RATE_HZ)
    assert_close(together, np.stack([method(region, RATE_HZ) for region in regions], axis=1))


def test_pos_is_the_papers_loop(rng: np.random.Generator) -> None:
    colours = face(rng, volume(300, 72.0), specular=0.02, noise=0.3)
    length = 48
    total, count = np.zeros(300), np.zeros(300)
    for start in range(300 - length + 1):
        part = slice(start, start + length)
        relative = (colours[part] / colours[part].mean(0)).T
        first, second = np.array([[0, 1, -1], [-2, 1, 1]]) @ relative
        projected = first + first.std() / second.std() * second
        total[part] -= projected - projected.mean()
        count[part] += 1
    assert_close(classical.pos(colours, RATE_HZ), total / count)


def test_chrom_is_the_papers_loop(rng: np.random.Generator) -> None:
    colours = face(rng, volume(300, 72.0), specular=0.02, noise=0.3)
    relative = colours / (colours - signals.detrend(colours, RATE_HZ))
    both = (relative - 1) @ np.array([[3, -2, 0], [1.5, 1, -1.5]]).T
    (x, y), (x_passed, y_passed) = both.T, signals.band_pass(both, RATE_HZ).T
    length = 48
    hann = np.hanning(length + 2)[1:-1]
    total, weight = np.zeros(300), np.zeros(300)
    for start in range(300 - length + 1):
        part = slice(start, start + length)
        ratio = x_passed[part].std() / y_passed[part].std()
        total[part] += hann * (x[part] - ratio * y[part])
        weight[part] += hann
    assert_close(classical.chrom(colours, RATE_HZ), total / weight)


def test_green_by_hand() -> None:
    colours = np.array([[1.0, 90.0, 1.0], [1.0, 110.0, 1.0], [np.nan, 500.0, 1.0]])
    assert_close(classical.green(colours, RATE_HZ), [0.1, -0.1, np.nan])


def test_combined_leans_on_the_clear_waves(rng: np.random.Generator) -> None:
    blood = volume(300, 72.0)
    noises = np.array([0.3, 3.0, 3.0, 3.0])
    waves = np.stack(
        [k * blood + k * sd * rng.normal(size=300) for k, sd in enumerate(noises, 1)], 1
    )
    waves = signals.band_pass(waves, RATE_HZ)
    found = classical.combined(waves, RATE_HZ)
    plain = (waves / waves.std(0)).mean(1)
    assert likeness(found, blood) > 0.97 > likeness(plain, blood)
    # of what is unknown somewhere, the others are taken
    waves[100:120, 0] = np.nan
    waves[200] = np.nan
    np.testing.assert_array_equal(
        np.flatnonzero(np.isnan(classical.combined(waves, RATE_HZ))), 200
    )
    nothing = np.stack([np.full(300, np.nan), np.zeros(300)], axis=1)
    assert np.isnan(classical.combined(nothing, RATE_HZ)).all()


def test_a_still_picture_gives_no_wave_that_means_anything() -> None:
    """Rounding is not a pulse: unknown, or smaller than a thousandth of the faintest."""
    for method in classical.METHODS.values():
        wave = method(np.full((300, 3), 77.7), RATE_HZ)
        assert (np.isnan(wave) | (np.abs(wave) < 1e-9)).all()


def test_what_is_no_colour_is_refused() -> None:
    for method in classical.METHODS.values():
        with pytest.raises(ValueError, match=r"want colours \(T, ..., 3\), got \(300, 2\)"):
            method(np.zeros((300, 2)), RATE_HZ)
    with pytest.raises(ValueError, match=r"want waves \(T, waves\), got \(300,\)"):
        classical.combined(np.zeros(300), RATE_HZ)
    with pytest.raises(ValueError, match="more than 0 Hz, got 0"):
        classical.pos(np.ones((300, 3)), 0.0)
