"""Where the person before two radars is: on the floor, by what moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radar_pose_ros.collect.motion import RadarMotion
from radar_pose_ros.vision.frames import Placement

# Choices. Simulated people's skin is 0.10 to 0.13 m nearer to radars than the middle of the trunk.
SKIN_M = 0.11
TRUNK_HEIGHT_M = 1.0
HALF_WIDTH_M = 0.4  # of a person, along the range
LEAST_SHARE = 0.4  # of what moves, within the person
_SHARPER = 8  # power of the map that the mean angle is weighted with: echoes between lobes


@dataclass(frozen=True)
class PersonTrack:
    """A person's place, frame by frame of the horizontal radar.

    Parameters
    ----------
    stamps_s : ndarray, shape (frames,)
        Of the horizontal radar's first chirps.
    middle_s : float
        From there to the middle of a frame's chirps, to which places belong.
    floor_m : ndarray, shape (frames, 2)
        x and y in the rig's frame; NaN where nothing stands out.
    """

    stamps_s: np.ndarray
    middle_s: float
    floor_m: np.ndarray

    def at(self, times_s: np.ndarray, within_s: float = 1.0) -> np.ndarray:
        """Return the median place within so many seconds of instants; NaN if there is none."""
        known = np.isfinite(self.floor_m).all(-1)
        middles, places = self.stamps_s[known] + self.middle_s, self.floor_m[known]
        made = np.full((len(times_s), 2), np.nan)
        for row, time_s in enumerate(times_s):
            first, last = np.searchsorted(middles, (time_s - within_s, time_s + within_s))
            if last > first:
                made[row] = np.median(places[first:last], axis=0)
        return made


def partners(first_s: np.ndarray, second_s: np.ndarray, period_s: float) -> np.ndarray:
    """Return, for each frame of one radar, the number of the other's nearest frame, or -1.

    Frames are partners if they are less than half a period apart; each is of one partner only.
    """
    if not len(second_s):
        return np.full(len(first_s), -1)
    after = np.clip(np.searchsorted(second_s, first_s), 1, max(len(second_s) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(second_s) - 1)
    nearer = np.abs(second_s[before] - first_s) <= np.abs(second_s[after] - first_s)
    chosen = np.where(nearer, before, after)
    chosen[np.abs(second_s[chosen] - first_s) >= period_s / 2] = -1
    for number in np.unique(chosen[chosen >= 0]):
        rows = np.flatnonzero(chosen == number)
        nearest = rows[np.abs(second_s[number] - first_s[rows]).argmin()]
        chosen[rows[rows != nearest]] = -1
    return chosen


def person_track(
    radars: Sequence[RadarMotion], placement: Placement, period_s: float
) -> PersonTrack:
    """Return where the person is, by range of both radars and angle of the horizontal one.

    The person's elevation is not used: what returns to the vertical radar comes now from the
    trunk, now from a leg, and its mean is degrees off.

    Parameters
    ----------
    radars : (RadarMotion, RadarMotion)
        Horizontal one first; they stand beside each other.
    placement : Placement
        Of the horizontal radar in the rig, level.
    period_s : float
        From frame to frame.
    """
    horizontal, vertical = radars
    numbers = partners(horizontal.stamps_s, vertical.stamps_s, period_s)
    floor_m = np.full((len(horizontal.stamps_s), 2), np.nan)
    ranges_m = horizontal.ranges_m
    for row, number in enumerate(numbers):
        if number < 0 or not (horizontal.complete[row] and vertical.complete[number]):
            continue
        profiles = [motion.sum(axis=1) for motion in (horizontal.maps[row], vertical.maps[number])]
        above = np.sqrt(np.prod([np.maximum(p - np.median(p), 0.0) for p in profiles], axis=0))
        near = np.abs(ranges_m - ranges_m[above.argmax()]) <= HALF_WIDTH_M
        if not above[near].sum() > LEAST_SHARE * above.sum():
            continue
        range_m = float(ranges_m[near] @ above[near] / above[near].sum()) + SKIN_M
        by_angle = horizontal.maps[row][near].sum(axis=0)
        weight = (by_angle / by_angle.max()) ** _SHARPER
        sine = float(weight @ horizontal.sines / weight.sum())
        below_m = TRUNK_HEIGHT_M - placement.translation_m[2]
        ahead2 = range_m**2 * (1 - sine**2) - below_m**2
        if ahead2 > 0:
            point = placement.rotation @ [np.sqrt(ahead2), range_m * sine, 0.0]
            floor_m[row] = (point + placement.translation_m)[:2]
    return PersonTrack(horizontal.stamps_s, horizontal.middle_s, floor_m)
