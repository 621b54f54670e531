"""Face tracks without a video: three patches of skin, with a pulse or without."""

from __future__ import annotations

import numpy as np

from radar_pose_ros.datasets.face_tracks import PER_LEVEL, FaceTrack
from radar_pose_ros.vitals.evidence import BLOOD

SKIN = np.array([180.0, 130.0, 100.0])


def face_track(
    bpm: float = 72.0,
    *,
    seconds: float = 16.0,
    rate_hz: float = 30.0,
    strength: float = 0.02,
    noise: float = 0.05,
    size: int = 8,
    seed: int = 0,
    **attributes: str,
) -> FaceTrack:
    """Return somebody whose skin is darker when blood rises, in frames that are uneven.

    Parameters
    ----------
    bpm : float
    seconds : float
    rate_hz : float
    strength : float
        Amplitude of the pulse along `BLOOD`, as share of the light; 0 is a photograph.
    noise : float
        Standard deviation of the colours of each patch, in levels.
    size : int
        Side of the thumbnails.
    seed : int
    **attributes
    """
    rng = np.random.default_rng(seed)
    times_s = np.arange(round(rate_hz * seconds)) / rate_hz
    times_s = times_s + rng.uniform(-0.2, 0.2, len(times_s)) / rate_hz
    pulse = np.sin(2 * np.pi * (bpm / 60 * times_s + rng.uniform())) * (strength > 0)
    colours = SKIN * (1 - strength * pulse[:, None] * BLOOD)
    regions = colours[:, None] + rng.normal(0, noise, (len(times_s), 3, 3))
    images = np.zeros((len(times_s), size, size, 3)) + rng.uniform(20, 60, (1, size, size, 1))
    part = slice(size // 4, size - size // 4)
    images[:, part, part] = colours[:, None, None]
    images += rng.normal(0, 0.1, images.shape)
    return FaceTrack(
        name=f"somebody/{seed}",
        subject=f"somebody/{seed}",
        rate_hz=rate_hz,
        times_s=times_s,
        colours=regions.astype(np.float32),
        pixels=np.full((len(times_s), 3), 100, np.float32),
        thumbnails=np.rint(PER_LEVEL * images).astype(np.uint16),
        brightness=colours.mean(axis=1).astype(np.float32),
        motion=np.zeros(len(times_s), np.float32),
        pulse=pulse,
        heart_rate_bpm=np.full(len(times_s), bpm if strength else np.nan),
        attributes=attributes,
    )
