"""What a radar detects in one frame: points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class PointCloud:
    """Detected echoes; all arrays float32, shape (points,).

    Parameters
    ----------
    x, y, z : ndarray
        Position in the radar's link frame, m: x along the boresight, y left, z up.
    velocity : ndarray
        Radial velocity, m/s, positive moving away; NaN if it is not known.
    snr : ndarray
        Power over the mean power of the noise around it, dB; NaN if it is not known.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    velocity: np.ndarray
    snr: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


class PointFrame(NamedTuple):
    """One frame of a radar that sends points instead of samples.

    Parameters
    ----------
    number : int
        As the board counts its frames; those that are missing were lost.
    time_s : float
        When the frame's first bytes arrived, by the host's clock.
    points : PointCloud
        In the order in which the board sent them; none if it detected nothing.
    """

    number: int
    time_s: float
    points: PointCloud
