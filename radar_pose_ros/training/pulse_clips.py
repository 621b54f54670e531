"""Clips of faces for PhysMamba to learn from, cut out of tracks at random.

Cameras are not even and not alike, so a clip is brought to the network's rate on the frames'
stamps (`signals.resample`). The same is how time is stretched: a clip that is read at another rate
shows another heart rate, and nothing is interpolated twice.

A network sees z-scored clips. That takes out whatever makes a whole clip lighter or darker, or
changes its contrast, so nothing here does: what differs are the gains of the three colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from radar_pose_ros.datasets.face_tracks import FaceTrack
from radar_pose_ros.models.physmamba import PhysMambaConfig, normalise
from radar_pose_ros.skeleton import checks
from radar_pose_ros.vitals import evidence, rates, signals

# Between them hearts beat in stretched clips.
_LOWEST_BPM, _HIGHEST_BPM = 60 * signals.LOW_HZ, 60 * signals.HIGH_HZ
# A rate above is halved, one below is doubled [code].
_HALVED_BPM, _DOUBLED_BPM = 90.0, 75.0
_BLOOD = evidence.BLOOD / evidence.BLOOD[1]  # green as 1
# So far from the skin's colour, in logarithms, a pixel is skin; at twice as much it is none.
_SKIN = 0.1
_STREAM = 0x636C6970


class Batch(NamedTuple):
    """Clips and what is to be learnt of them.

    Attributes
    ----------
    clips : Tensor
        float32, ``(batch, frames, 3, size, size)``, z-scored.
    pulse : Tensor
        float32, ``(batch, frames)``, z-scored.
    """

    clips: Tensor
    pulse: Tensor


@dataclass(frozen=True)
class Variation:
    """How clips are made to differ from what was filmed.

    Parameters
    ----------
    stretch : (float, float)
        Least and largest factor by which a heart beats faster, and the clip runs faster. Drawn
        evenly by its logarithm from what keeps the rate within 39 and 180 beats per minute.
    doubled : float
        Probability that instead a rate above 90 is halved and one below 75 doubled [code: 0.5].
    flipped : float
        Probability that a clip is turned left to right [code: 0.5].
    colours : float
        Standard deviation of the logarithm of each colour's gain.
    noise : float
        Standard deviation, in levels, of the noise of each pixel; each clip has between none and
        this.
    amplified : float
        Probability that skin shows more of its own pulse: between a tenth and all of
        ``strongest``, drawn evenly by its logarithm. Few steps find a strong pulse, and what finds
        it finds weaker ones from there.
    strongest : float
        As share of the green light, peak to peak.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    stretch: tuple[float, float] = (0.7, 1.4)
    doubled: float = 0.0
    flipped: float = 0.5
    colours: float = 0.05
    noise: float = 0.5
    amplified: float = 0.0
    strongest: float = 0.03

    def __post_init__(self) -> None:
        low, high = (
            checks.real("variation: stretch", each, positive=True) for each in self.stretch
        )
        if low > high:
            raise ValueError(f"variation: stretch wants the least first, got {low}, {high}")
        for name in ("doubled", "flipped", "amplified"):
            if not 0 <= checks.real(f"variation: {name}", getattr(self, name)) <= 1:
                raise ValueError(f"variation: {name} must be 0 to 1, got {getattr(self, name)}")
        for name in ("colours", "noise", "strongest"):
            if checks.real(f"variation: {name}", getattr(self, name)) < 0:
                raise ValueError(f"variation: {name} must be 0 or more, got {getattr(self, name)}")


class _Run(NamedTuple):
    """Frames of a track without a gap, all with a known pulse."""

    track: FaceTrack
    frames: slice
    seconds: float


class ClipBatches:
    """Batches of clips, the same for the same step.

    Parameters
    ----------
    tracks : sequence of FaceTrack
        With thumbnails of the network's size. A clip is of each with the same probability, however
        long it is.
    config : PhysMambaConfig
    batch : int
        Clips per step.
    variation : Variation
    seed : int

    Raises
    ------
    ValueError
        If no track is as long as a clip, or thumbnails have another size.
    """

    def __init__(
        self,
        tracks: Sequence[FaceTrack],
        config: PhysMambaConfig,
        batch: int,
        variation: Variation,
        seed: int,
    ) -> None:
        self.batch, self.variation, self.seed = batch, variation, seed
        self._frames, self._rate_hz = config.frames, config.rate_hz
        self._clip_s = (config.frames - 1) / config.rate_hz
        for track in tracks:
            if track.thumbnails.shape[1:] != (config.size, config.size, 3):
                raise ValueError(
                    f"{track.name}: want thumbnails of {config.size} pixels, "
                    f"got {track.thumbnails.shape[1:]}"
                )
        found = ([run for run in _runs(track) if run.seconds >= self._clip_s] for track in tracks)
        self._runs = [runs for runs in found if runs]
        # Each clip's noise is cut out of this: to draw as much anew takes longer than all else.
        each = config.frames * config.size**2 * 3
        self._noise = np.random.default_rng(seed).standard_normal(2 * each, np.float32)
        if not self._runs:
            raise ValueError(
                f"none of {len(tracks)} face tracks shows a face with its pulse for "
                f"{self._clip_s:.3g} s without a gap"
            )

    def __call__(self, step: int, share: slice = slice(None)) -> Batch:
        """Return the batch of a step, or a part of it."""
        drawn = [self._draw(step, place) for place in range(self.batch)[share]]
        images = torch.from_numpy(np.stack([clip for clip, _ in drawn]))
        waves = np.stack([wave for _, wave in drawn])
        waves -= waves.mean(axis=1, keepdims=True)
        waves /= np.maximum(waves.std(axis=1, keepdims=True), np.finfo(np.float32).eps)
        clips = normalise(images.permute(0, 1, 4, 2, 3).contiguous())
        return Batch(clips, torch.from_numpy(waves.astype(np.float32)))

    def _draw(self, step: int, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Return images (frames, S, S, 3), float32, and the pulse (frames,)."""
        rng = np.random.default_rng([_STREAM, self.seed, step, place])
        runs = self._runs[rng.integers(len(self._runs))]
        seconds = np.array([run.seconds for run in runs])
        track, frames, lasts_s = runs[rng.choice(len(runs), p=seconds / seconds.sum())]
        times_s = track.times_s[frames]
        start_s = times_s[0] + rng.uniform(0, lasts_s - self._clip_s)
        faster = self._faster(track, _within(track, frames, start_s, self._clip_s), lasts_s, rng)
        start_s = min(start_s, times_s[-1] - faster * self._clip_s)
        frames = _within(track, frames, start_s, faster * self._clip_s)
        images = self._resampled(track.times_s[frames], track.images(frames), faster)
        pulse = self._resampled(track.times_s[frames], track.pulse[frames], faster)
        if rng.uniform() < self.variation.amplified:
            strength = self.variation.strongest * 10 ** -rng.uniform()
            skin = np.nanmean(track.colours[frames], axis=(0, 1))
            images = _amplified(images, pulse, skin, strength)
        return self._varied(images, rng), pulse

    def _resampled(self, times_s: np.ndarray, values: np.ndarray, faster: float) -> np.ndarray:
        flat = values.reshape(len(values), -1)
        found = signals.resample(times_s, flat, self._rate_hz / faster).values[: self._frames]
        return found.reshape(self._frames, *values.shape[1:])

    def _faster(
        self, track: FaceTrack, frames: slice, lasts_s: float, rng: np.random.Generator
    ) -> float:
        """Return how many times as fast a clip of a run that lasts so long is to be."""
        v = self.variation
        bpm = rate_of(signals.resample(track.times_s[frames], track.pulse[frames], self._rate_hz))
        longest = lasts_s / self._clip_s
        if rng.uniform() < v.doubled:
            if bpm > _HALVED_BPM:
                return 0.5
            if bpm < _DOUBLED_BPM and longest >= 2:
                return 2.0
        low, high = v.stretch
        if not np.isnan(bpm):
            low, high = max(low, _LOWEST_BPM / bpm), min(high, _HIGHEST_BPM / bpm)
        high = min(high, longest)
        return float(np.exp(rng.uniform(np.log(min(low, high)), np.log(high))))

    def _varied(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        v = self.variation
        if rng.uniform() < v.flipped:
            images = images[:, :, ::-1]
        gains = np.exp(rng.normal(0, 1, 3) * v.colours).astype(np.float32)
        noise = np.float32(rng.uniform(0, 1) * v.noise)
        made = images * gains
        if noise:
            start = rng.integers(len(self._noise) - made.size + 1)
            made += noise * self._noise[start : start + made.size].reshape(made.shape)
        return made


def _amplified(
    images: np.ndarray, pulse: np.ndarray, skin: np.ndarray, strength: float
) -> np.ndarray:
    """Return images (frames, S, S, 3) in which what has the colour of skin, (3,), follows a pulse.

    Nothing is changed if the skin's colour is not known, NaN.
    """
    middle = images.mean(axis=0)
    off = np.log((middle + 1) / (skin + 1))
    off = np.abs(off - off.mean(axis=-1, keepdims=True)).max(axis=-1)  # whatever the shade
    share = np.nan_to_num(np.clip(2 - off / _SKIN, 0, 1))
    swing = (pulse - pulse.mean()) / max(np.ptp(pulse), np.finfo(np.float64).tiny)
    change = strength * swing[:, None, None, None] * share[..., None] * _BLOOD
    return images * (1 - change).astype(np.float32)


def rate_of(pulse: signals.Uniform) -> float:
    """Return the heart rate of a true wave in beats per minute, NaN if there is none."""
    if len(pulse.values) < 3:
        return float("nan")
    banded = signals.band_pass(pulse.values, pulse.rate_hz)
    return rates.spectrum_rate(banded, pulse.rate_hz).bpm


def _runs(track: FaceTrack) -> list[_Run]:
    """Return the stretches of a track in which nothing is unknown."""
    known = np.isfinite(track.pulse)
    broken = ~known[1:] | ~known[:-1] | (np.diff(track.times_s) > signals.GAP_S)
    ends = [0, *(1 + np.flatnonzero(broken)), len(track)]
    runs = []
    for first, end in pairwise(ends):
        lasts_s = float(track.times_s[end - 1] - track.times_s[first])
        runs.append(_Run(track, slice(first, end), lasts_s))
    return runs


def _within(track: FaceTrack, frames: slice, start_s: float, seconds: float) -> slice:
    """Return the frames of a run from the one before a time on, so many seconds and a little."""
    times_s = track.times_s[frames]
    first = max(0, int(np.searchsorted(times_s, start_s, side="right")) - 1)
    # to the last bit of a time the grid may end beyond the last frame it needs
    last = int(np.searchsorted(times_s, times_s[first] + seconds * (1 - 1e-9)))
    last = min(last, len(times_s) - 1)
    return slice(frames.start + first, frames.start + last + 1)
