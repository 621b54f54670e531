"""Windows of recordings, as the network takes them and varied as training wants them.

Recordings hold range-Doppler cubes, one value per antenna. What is made of the antennas, one angle
or two, and which of the two radars is looked at, is chosen here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from radar_pose_ros.datasets.recordings import Recording, Window, gather, windows
from radar_pose_ros.models.millimamba import MilliMambaConfig
from radar_pose_ros.radar.heatmap import angle_matrix, four_dimensional_transform
from radar_pose_ros.training import processes

# Which of a recording's radars a network is for.
RADARS = {"both": slice(0, 2), "horizontal": slice(0, 1), "vertical": slice(1, 2)}


@functools.lru_cache(maxsize=8)
def _antenna_matrix(angle_bins: int, elevation_bins: int, antennas: int) -> Tensor:
    """Return the transform over antennas as a real matrix, (channels * angle, parts * antennas).

    Channels are (elevation, part), parts the real and the imaginary one.
    """
    if elevation_bins == 1:
        transform = angle_matrix(angle_bins, antennas)[None]
    else:
        each = np.eye(antennas, dtype=np.complex64)[..., None, None]
        grid = four_dimensional_transform(each, angle_bins, elevation_bins)
        transform = grid.reshape(antennas, angle_bins, elevation_bins).T
    real = np.empty((elevation_bins, 2, angle_bins, 2, antennas), np.float32)
    real[:, 0, :, 0] = real[:, 1, :, 1] = transform.real
    real[:, 1, :, 0] = transform.imag
    real[:, 0, :, 1] = -transform.imag
    return torch.from_numpy(real.reshape(-1, 2 * antennas))


def network_input(cubes: np.ndarray, angle_bins: int, elevation_bins: int = 1) -> Tensor:
    """Turn range-Doppler cubes into the channels that the network takes.

    With one elevation bin this is `angle_transform`, with more HuPR's `four_dimensional_transform`
    (but range rising), both in real numbers, so that the parts come out as channels.

    Parameters
    ----------
    cubes : ndarray of complex64, shape (..., antennas, doppler, range)

    Returns
    -------
    Tensor
        float32, shape (..., 2 * elevation_bins, angle_bins, doppler, range), elevation slower than
        part; not normalised: the network does that.
    """
    *batch, antennas, doppler, ranges = cubes.shape
    matrix = _antenna_matrix(angle_bins, elevation_bins, antennas)
    parts = np.stack([cubes.real, cubes.imag], axis=-4).reshape(-1, 2 * antennas, doppler * ranges)
    channels = matrix @ torch.from_numpy(parts)
    return channels.view(*batch, 2 * elevation_bins, angle_bins, doppler, ranges)


def input_for(config: MilliMambaConfig, cubes: np.ndarray) -> Tensor:
    """Return the input of a network of this configuration; see `network_input`."""
    return network_input(cubes, config.angle_bins, config.input_channels // 2)


@dataclass(frozen=True)
class Augmentation:
    """How windows are varied before the network sees them [choice].

    Parameters
    ----------
    noise_ratio : float
        White noise is added to each window, its root mean square drawn between 0 and this share
        of the echo's.
    empty_ratio : float
        Share of windows in which nobody is: noise alone, which is what static clutter leaves
        behind when it is removed.
    dropped_view_ratio : float
        Share of windows in which one radar, either with the same chance, is missing.
    dropped_frames_ratio : float
        Share of windows in which single frames of single radars are missing: each with a chance
        that is drawn between 0 and 1/2 for the window.
    """

    noise_ratio: float = 0.3
    empty_ratio: float = 0.0
    dropped_view_ratio: float = 0.0
    dropped_frames_ratio: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"augmentation: {name} must be 0 to 1, got {value!r}")


class Batch(NamedTuple):
    """Windows to learn from.

    Attributes
    ----------
    heatmaps : Tensor
        ``(batch, radars, frames, channels, angle, doppler, range)``.
    valid : Tensor
        bool ``(batch, radars, frames)``: False where a radar's frame is missing.
    keypoints_px : Tensor
        ``(batch, frames, joints, 2)``; NaN where nobody is.
    area_px2 : Tensor
        ``(batch, frames)``, see `Recording.areas_px2`.
    """

    heatmaps: Tensor
    valid: Tensor
    keypoints_px: Tensor
    area_px2: Tensor


def add_noise(cubes: np.ndarray, noise_ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return a window with a random phase per frame and radar and white noise of a random level.

    The phase is what a displacement of the radar by less than a wavelength would change.

    Parameters
    ----------
    cubes : ndarray of complex64, shape (radars, frames, antennas, doppler, range)
        Root mean square 1.
    noise_ratio : float
        Largest root mean square of the noise.
    """
    phases = np.exp(2j * np.pi * rng.random((*cubes.shape[:2], 1, 1, 1))).astype(np.complex64)
    noisy = white_noise(cubes.shape, rng)
    noisy *= np.float32(rng.uniform(0, noise_ratio))
    noisy += cubes * phases
    return noisy


def white_noise(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Return complex noise of root mean square 1."""
    parts = rng.standard_normal((*shape, 2), np.float32)
    parts *= np.float32(math.sqrt(0.5))
    return parts.view(np.complex64)[..., 0]


def draw_valid(
    shape: tuple[int, int], augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """Draw which frames of which radar a window has; see `Augmentation`.

    Returns
    -------
    ndarray of bool, shape (radars, frames)
        All true for one radar: what is to be learnt without any?
    """
    valid = np.ones(shape, bool)
    if shape[0] == 1:
        return valid
    if rng.random() < augmentation.dropped_view_ratio:
        valid[rng.integers(shape[0])] = False
    if rng.random() < augmentation.dropped_frames_ratio:
        valid &= rng.random(shape) >= rng.uniform(0, 0.5)
    return valid


class TrainingBatches:
    """Random windows of recordings, varied; the same for the same step.

    With several processes each draws its share, and all of them together what one would draw.

    Parameters
    ----------
    recordings : sequence of Recording
    config : MilliMambaConfig
        Of the network.
    batch : int
        Windows per step.
    augmentation : Augmentation
    seed : int
    radars : {"both", "horizontal", "vertical"}

    Raises
    ------
    ValueError
        If no recording is as long as a window.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        config: MilliMambaConfig,
        batch: int,
        augmentation: Augmentation,
        seed: int,
        radars: str = "both",
    ) -> None:
        self.recordings = recordings
        self.config = config
        self.batch = batch
        self.augmentation = augmentation
        self.seed = seed
        self.radars = RADARS[radars]
        self._areas = [recording.areas_px2() for recording in recordings]
        self._windows = windows(recordings, config.frames)
        if not self._windows:
            raise ValueError(f"no recording has the {config.frames} frames of a window")

    def __call__(self, step: int) -> Batch:
        """Return this process's windows of a step."""
        mine = range(self.batch)[processes.share(self.batch)]
        draws = [np.random.default_rng([self.seed, step, number]) for number in mine]
        chosen = [self._windows[rng.integers(len(self._windows))] for rng in draws]
        length = self.config.frames
        cubes, keypoints_px = gather(self.recordings, chosen, length)
        cubes = cubes[:, self.radars]
        valid = np.empty(cubes.shape[:3], bool)
        for place, rng in enumerate(draws):
            if rng.random() < self.augmentation.empty_ratio:
                cubes[place] = white_noise(cubes.shape[1:], rng)
                keypoints_px[place] = np.nan
            else:
                cubes[place] = add_noise(cubes[place], self.augmentation.noise_ratio, rng)
            valid[place] = draw_valid((cubes.shape[1], length), self.augmentation, rng)
        return Batch(
            input_for(self.config, cubes),
            torch.from_numpy(valid),
            torch.from_numpy(keypoints_px),
            _areas_of(self._areas, chosen, length),
        )


def gather_batch(
    recordings: Sequence[Recording],
    chosen: Sequence[Window],
    length: int,
    config: MilliMambaConfig,
    radars: str = "both",
) -> Batch:
    """Collect windows of any length as they are."""
    cubes, keypoints_px = gather(recordings, chosen, length)
    cubes = cubes[:, RADARS[radars]]
    return Batch(
        input_for(config, cubes),
        torch.ones(cubes.shape[:3], dtype=torch.bool),
        torch.from_numpy(keypoints_px),
        _areas_of([recording.areas_px2() for recording in recordings], chosen, length),
    )


def _areas_of(areas_px2: Sequence[np.ndarray], chosen: Sequence[Window], length: int) -> Tensor:
    rows = [areas_px2[window.recording][window.first :][:length] for window in chosen]
    return torch.from_numpy(np.stack(rows))
