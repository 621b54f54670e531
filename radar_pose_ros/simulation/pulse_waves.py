"""Hearts: the pulse wave in the skin, its rate over time, and the breathing that moves both.

The phase of the pulse is known in closed form, so that the truth exists at any moment and needs no
steps in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

LOWEST_BPM, HIGHEST_BPM = 40.0, 180.0
# Waves slower than breathing: from there to the Mayer waves of the blood pressure at 0.1 Hz (Task
# Force of the European Society of Cardiology, "Heart rate variability", 1996).
_DRIFT_HZ = (0.01, 0.11)
_DRIFTS = 4
_TABLE = 2048


@dataclass(frozen=True)
class Heart:
    """One person's heart and breathing.

    Parameters
    ----------
    bpm : float
        Mean rate at the beginning.
    end_bpm : float
        Mean rate after ``ramp_s``; in between it changes linearly.
    ramp_s : float
        Length of the change.
    sinus_bpm : float
        Amplitude of the respiratory sinus arrhythmia: the rate rises and falls with the breath.
    drift_bpm : float
        Standard deviation of the slow changes of the rate.
    breaths_per_minute : float
    breath_amplitude : float
        By which share the pulse's height follows the breath.
    notch : float
        Height of the second, dicrotic, wave as share of the first one.
    seed : int
        Draws the phases.

    Raises
    ------
    ValueError
        If the mean rate leaves 40..180 bpm, or a length or share is out of range.
    """

    bpm: float
    end_bpm: float
    ramp_s: float = 15.0
    sinus_bpm: float = 2.0
    drift_bpm: float = 1.0
    breaths_per_minute: float = 15.0
    breath_amplitude: float = 0.1
    notch: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        for rate in (self.bpm, self.end_bpm):
            if not LOWEST_BPM <= rate <= HIGHEST_BPM:
                raise ValueError(
                    f"a heart beats at {LOWEST_BPM:.0f} to {HIGHEST_BPM:.0f} bpm, got {rate}"
                )
        if not (self.ramp_s > 0 and self.breaths_per_minute > 0):
            raise ValueError(
                f"ramp_s {self.ramp_s} and breaths_per_minute {self.breaths_per_minute} "
                "must be positive"
            )
        if not (0 <= self.breath_amplitude < 1 and 0 <= self.notch <= 1):
            raise ValueError(
                f"breath_amplitude {self.breath_amplitude} and notch {self.notch} "
                "must be from 0 to 1"
            )

    def rate_bpm(self, times_s: ArrayLike) -> np.ndarray:
        """Return the momentary rate, in beats per minute, in the shape of the times."""
        times = np.asarray(times_s, np.float64)
        ramp = np.clip(times / self.ramp_s, 0.0, 1.0)
        rate = self.bpm + (self.end_bpm - self.bpm) * ramp
        for amplitude, frequency_hz, phase in self._waves:
            rate = rate + amplitude * np.cos(2 * np.pi * frequency_hz * times + phase)
        return rate

    def beats(self, times_s: ArrayLike) -> np.ndarray:
        """Return how many beats have passed since time 0, the integral of the rate."""
        times = np.asarray(times_s, np.float64)
        inside = np.clip(times, 0.0, self.ramp_s)
        slope = (self.end_bpm - self.bpm) / self.ramp_s
        total = self.bpm * times + slope * (
            inside**2 / 2 + self.ramp_s * np.maximum(times - self.ramp_s, 0.0)
        )
        for amplitude, frequency_hz, phase in self._waves:
            turn = 2 * np.pi * frequency_hz
            total = total + amplitude / turn * (np.sin(turn * times + phase) - np.sin(phase))
        return total / 60 + self._start

    def breath(self, times_s: ArrayLike) -> np.ndarray:
        """Return the breath, from -1 (out) to 1 (in)."""
        _, frequency_hz, phase = self._waves[0]
        return np.cos(2 * np.pi * frequency_hz * np.asarray(times_s, np.float64) + phase)

    def wave(self, times_s: ArrayLike) -> np.ndarray:
        """Return the pulse wave: it rises with the blood volume, peak to peak 1, mean 0.

        The breath changes its height by `breath_amplitude`.
        """
        turns = np.mod(self.beats(times_s), 1.0)
        table = _pulse_table(self.notch)
        height = 1 + self.breath_amplitude * self.breath(times_s)
        return height * np.interp(turns, np.linspace(0, 1, _TABLE + 1), table)

    @property
    def _start(self) -> float:
        return float(np.random.default_rng([self.seed, 1]).uniform())

    @property
    def _waves(self) -> list[tuple[float, float, float]]:
        """Waves of the rate: amplitude in bpm, frequency in Hz, phase; the breath is the first."""
        rng = np.random.default_rng([self.seed, 2])
        phases = rng.uniform(0, 2 * np.pi, 1 + _DRIFTS)
        frequencies = rng.uniform(*_DRIFT_HZ, _DRIFTS)
        each = self.drift_bpm * np.sqrt(2 / _DRIFTS)
        breath = (self.sinus_bpm, self.breaths_per_minute / 60, float(phases[0]))
        return [
            breath,
            *((each, float(f), float(p)) for f, p in zip(frequencies, phases[1:], strict=True)),
        ]


@lru_cache(maxsize=64)
def _pulse_table(notch: float) -> np.ndarray:
    """Return one beat at `_TABLE` + 1 places, of mean 0 and height 1.

    Two Gaussians over the phase, the kind of model of Tang et al., "Synthetic photoplethysmogram
    generation using two Gaussian functions", Scientific Reports 10 (2020); places and widths are
    choices. The shape over the phase is the same at all rates.
    """
    phase = np.linspace(0, 1, _TABLE + 1)
    wave = np.zeros_like(phase)
    for height, centre, width in ((1.0, 0.22, 0.09), (notch, 0.52, 0.13)):
        for turn in (-1, 0, 1):
            wave += height * np.exp(-0.5 * ((phase - centre - turn) / width) ** 2)
    wave -= wave[:-1].mean()
    return wave / np.ptp(wave)


def draw_heart(rng: np.random.Generator, **fixed: float) -> Heart:
    """Return a random heart; what is in ``fixed`` is as told.

    The mean rate is uniform over 40..180 bpm, so that no rate is learnt as the likely one; one
    heart in four speeds up or slows down by up to 25 bpm; arrhythmia and drift are choices within
    what resting adults show, and like everything else here they do not depend on the rate.
    """
    bpm = rng.uniform(LOWEST_BPM, HIGHEST_BPM)
    change = rng.uniform(-25.0, 25.0) if rng.uniform() < 0.25 else 0.0
    drawn = {
        "ramp_s": rng.uniform(8.0, 30.0),
        "sinus_bpm": rng.uniform(0.5, 4.0),
        "drift_bpm": rng.uniform(0.3, 2.0),
        "breaths_per_minute": rng.uniform(8.0, 26.0),
        "breath_amplitude": rng.uniform(0.0, 0.2),
        "notch": rng.uniform(0.15, 0.6),
    }
    seed = int(rng.integers(2**31))
    drawn.update({name: value for name, value in fixed.items() if name != "seed"})
    drawn.setdefault("bpm", bpm)
    drawn.setdefault("end_bpm", float(np.clip(drawn["bpm"] + change, LOWEST_BPM, HIGHEST_BPM)))
    return Heart(**drawn, seed=int(fixed.get("seed", seed)))
