"""How far away somebody is, by what the rig's radars see in a direction.

A pose in an image says where to the side somebody is, and a radar how far away. So the radars are
asked what returns from the direction of a person. Heatmaps are taken back to the antennas, which
are steered towards that direction; what the beams receive is summed over Doppler and over the
frames around the instant. The upright radar hardly tells elevations apart, and the rolled one
azimuths: what is to count must come from both, so that their geometric mean is taken, bin by bin.
The range is the middle of that around the strongest return: a hand or foot that is stretched out
moves the strongest bin by more than it moves the middle.

The 5 cm from the camera to each radar are neglected: on average over the two they cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.radar.heatmap import angle_matrix
from radar_pose_ros.radar.virtual_array import VirtualArray

RADARS = ("radar_h", "radar_v")
# Frames count from 1 at the instant straight down to 0 at this distance in time [choice]: three
# frame periods. Speckle and limbs in motion average out; who walks at 1 m/s changes little.
SPAN_S = 0.3
NEAREST_S = 0.1  # with no frame so near nothing is known [choice]: a frame period
HALF_WIDTH_M = 0.5  # around the strongest return, of a body with its limbs [choice]
# The least share of the power from that direction, above its median over the ranges, that must
# come from there [choice]. Of noise alone it is up to 0.76; of simulated people it is more in 95 %
# of the frames, and in the others the range is often that of something else.
LEAST_SHARE = 0.9


@dataclass(frozen=True)
class AntennaFrame:
    """What the antennas of one of the rig's radars received in a frame.

    Parameters
    ----------
    radar : {"radar_h", "radar_v"}
        Upright, or rolled by 90 degrees to its left.
    values : ndarray of complex64, shape (antennas, doppler, range)
        By rising transmitter, then receiver; the mean of their power is 1 in all, unless there is
        none.
    range_first_m, range_step_m : float
        Range of the first bin, and from bin to bin.
    """

    radar: str
    values: np.ndarray
    range_first_m: float
    range_step_m: float

    @classmethod
    def of_heatmap(
        cls, radar: str, heatmap: np.ndarray, range_first_m: float, range_step_m: float
    ) -> AntennaFrame:
        """Return the frame behind a heatmap, complex (angle, doppler, range).

        Raises
        ------
        ValueError
            As `of_antennas`, or if there are fewer angles than antennas.
        """
        return cls.of_antennas(radar, antennas_of(heatmap), range_first_m, range_step_m)

    @classmethod
    def of_antennas(
        cls, radar: str, values: np.ndarray, range_first_m: float, range_step_m: float
    ) -> AntennaFrame:
        """Return the frame of what antennas received, in any unit.

        Raises
        ------
        ValueError
            If there is no such radar, or ranges do not rise from 0 or more.
        """
        if radar not in RADARS:
            raise ValueError(f"radar {radar!r} is none of {', '.join(RADARS)}")
        if not (0 <= range_first_m < np.inf and 0 < range_step_m < np.inf):
            raise ValueError(
                f"ranges must rise from 0 or more, got {range_first_m:g} m and steps of "
                f"{range_step_m:g} m"
            )
        power = float(np.square(np.abs(values)).sum()) / len(values)
        scale = np.float32(1 / np.sqrt(power) if power > 0 else 1.0)
        return cls(radar, scale * values, range_first_m, range_step_m)

    @property
    def ranges_m(self) -> np.ndarray:
        """Range of each bin, (range,)."""
        return self.range_first_m + self.range_step_m * np.arange(self.values.shape[-1])

    def profile(self, direction: ArrayLike) -> np.ndarray:
        """Return how much comes from a direction by range, (range,), of a frame's power.

        A lone thing there gives 1 in all.

        Parameters
        ----------
        direction : array_like, shape (3,)
            In the axes of the rig's camera: x right, y down, z forward; of any length.
        """
        antennas, *shape = self.values.shape
        steering = _ARRAY.steering(in_link(direction, self.radar)).astype(np.complex64)
        beam = steering.conj() / antennas @ self.values.reshape(antennas, -1)
        return np.square(np.abs(beam)).reshape(shape).sum(0)


class Return(NamedTuple):
    """What returns most strongly from a direction.

    Attributes
    ----------
    range_m : float
        The middle of its power.
    share : float
        How much of the power from that direction is within `HALF_WIDTH_M` of the strongest bin;
        noise, as the median over the ranges has it, is not counted.
    """

    range_m: float
    share: float

    @property
    def clear(self) -> bool:
        """Whether it stands out: a single thing."""
        return self.share >= LEAST_SHARE


_ARRAY = VirtualArray("IWR1843")  # the other boards' antennas stand in the same places


def antennas_of(heatmap: np.ndarray) -> np.ndarray:
    """Return what `heatmap.angle_transform` made a heatmap of.

    The columns of that transform are orthogonal: its adjoint brings the antennas back.

    Parameters
    ----------
    heatmap : ndarray of complex, shape (angle, ...)

    Returns
    -------
    ndarray of complex, shape (antennas, ...)

    Raises
    ------
    ValueError
        If there are fewer angles than antennas.
    """
    bins = len(heatmap)
    if bins < len(_ARRAY):
        raise ValueError(f"{bins} angles do not tell {len(_ARRAY)} antennas apart")
    return np.tensordot(angle_matrix(bins, len(_ARRAY)).conj().T, heatmap, axes=1) / bins


def in_link(direction: ArrayLike, radar: str) -> np.ndarray:
    """Return a direction of the rig's camera as a unit vector in the link of a radar, (3,).

    From x right, y down, z forward to x forward, y left, z up; of the radar that is rolled, left
    is up and up is right.
    """
    right, down, forward = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    across = (-right, -down) if radar == RADARS[0] else (-down, right)
    return np.array([forward, *across])


def strongest_return(
    frames: Sequence[tuple[float, AntennaFrame]], direction: ArrayLike
) -> Return | None:
    """Return what returns most strongly from a direction at an instant.

    Parameters
    ----------
    frames : sequence of (float, AntennaFrame)
        Of both radars, or of the one that is there, each with the seconds by which it is later
        than the instant. Those with other ranges than the nearest in time has are left out.
    direction : array_like, shape (3,)
        In the axes of the rig's camera: x right, y down, z forward; of any length.

    Returns
    -------
    Return or None
        None if there is no frame within `NEAREST_S`, or nothing was received.
    """
    near = sorted(
        (item for item in frames if abs(item[0]) < SPAN_S), key=lambda item: abs(item[0])
    )
    if not near or abs(near[0][0]) > NEAREST_S:
        return None
    ranges_m = near[0][1].ranges_m
    profiles = {frame.radar: np.zeros(len(ranges_m)) for _, frame in near}
    for late_s, frame in near:
        if np.array_equal(frame.ranges_m, ranges_m):
            profiles[frame.radar] += (1 - abs(late_s) / SPAN_S) * frame.profile(direction)
    heard = [np.maximum(p - np.median(p), 0.0) for p in profiles.values() if p.any()]
    above = np.prod(heard, axis=0) ** (1 / max(len(heard), 1))
    if not heard or not above.any():
        return None
    around = np.abs(ranges_m - ranges_m[np.argmax(above)]) <= HALF_WIDTH_M
    power = above[around]
    return Return(float(ranges_m[around] @ power / power.sum()), float(power.sum() / above.sum()))
