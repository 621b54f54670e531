"""How far and how wide a radar sees, and the lines that show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radar_pose_ros.radar.config import RadarConfig

# Angles from the boresight, azimuth and elevation, at which an antenna's gain has fallen by 6 dB
# [IWR1843BOOST's user guide, SPRUIM4]. Of other boards no such number is known here.
_SIX_DECIBEL_DEG = {"IWR1843": (50.0, 20.0)}
RING_STEP_M = 2.0
FARTHEST_M = 1000.0
_ARC_STEP = np.deg2rad(5.0)


@dataclass(frozen=True)
class FieldOfView:
    """What a radar sees, in its link: x along the boresight, y to the left, z up.

    Parameters
    ----------
    range_m : float
        Farthest distance that the waveform can tell.
    azimuth, elevation : float
        Half widths in rad, between which an antenna's gain is within 6 dB of its highest; NaN if
        that is not known.

    Raises
    ------
    ValueError
        If no radar sees so far.
    """

    range_m: float
    azimuth: float
    elevation: float

    def __post_init__(self) -> None:
        if not 0 < self.range_m <= FARTHEST_M:
            raise ValueError(f"a range must be above 0 and up to {FARTHEST_M:g} m: {self.range_m}")

    @classmethod
    def of(cls, config: RadarConfig) -> FieldOfView:
        """Return the field of view of a board with a waveform."""
        return cls.of_board(config.device, config.waveform.max_range_m)

    @classmethod
    def of_board(cls, device: str, range_m: float) -> FieldOfView:
        """Return the field of view of a board, by its name, that sees so far."""
        azimuth, elevation = np.deg2rad(_SIX_DECIBEL_DEG.get(device, (np.nan, np.nan)))
        return cls(range_m, float(azimuth), float(elevation))

    def segments(self) -> np.ndarray:
        """Return lines, ``(n, 2, 3)`` in m: where it begins and ends, and rings between.

        The rings are `RING_STEP_M` apart in the plane of the azimuth, so that one can read off
        distances. Where the widths are not known there is the boresight only, up to the range.
        """
        if not np.isfinite((self.azimuth, self.elevation)).all():
            return np.array([[(0.0, 0.0, 0.0), (self.range_m, 0.0, 0.0)]])
        sides, heights = (np.array([-w, w]) for w in (self.azimuth, self.elevation))
        corners = _at(self.range_m, *np.meshgrid(sides, heights)).reshape(-1, 3)
        lines = [np.stack([np.zeros_like(corners), corners], axis=1)]
        across, upwards = _steps(self.azimuth), _steps(self.elevation)
        lines += [_joined(_at(self.range_m, across, height)) for height in heights]
        lines += [_joined(_at(self.range_m, side, upwards)) for side in sides]
        for ring_m in np.arange(RING_STEP_M, self.range_m, RING_STEP_M):
            lines.append(_joined(_at(ring_m, across, 0.0)))
        return np.concatenate(lines)


def _steps(width: float) -> np.ndarray:
    return np.linspace(-width, width, 1 + 2 * int(np.ceil(width / _ARC_STEP)))


def _at(range_m: float, azimuth: np.ndarray | float, elevation: np.ndarray | float) -> np.ndarray:
    """Return points at a distance in these directions, ``(..., 3)``."""
    flat = np.cos(elevation)
    parts = (flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation))
    return range_m * np.stack(np.broadcast_arrays(*parts), axis=-1)


def _joined(points: np.ndarray) -> np.ndarray:
    """Return the lines between points ``(n, 3)`` that follow each other, ``(n - 1, 2, 3)``."""
    return np.stack([points[:-1], points[1:]], axis=1)
