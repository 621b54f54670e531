"""People elsewhere than where `PointPose` has learnt them, brought there and back.

MARS's people stand on one spot, and the network knows it: somebody 1 m behind it and 0.3 rad aside
it puts 1.1 m off. So the points of who stands elsewhere are turned about the radar, which changes
no radial velocity, and moved towards it or away, to the spot, and the pose goes the way back: 0.20
m off, and 0.23 to 0.26 m for half a metre or 0.3 rad alone. Near the spot the network knows better
than the points' middle does, and nothing is moved: 0.130 m off there, beside 0.126 m if nobody
ever were. These are MARS's people, as they are and moved, each seen by a network that has learnt
from the others; a real radar sees somebody farther away less well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from radar_pose_ros.models.points import PointPose
from radar_pose_ros.skeleton.definitions import KINECT25

# So far from the spot nobody is moved; from one and a half times as far on everybody is, to the
# spot, and between in proportion [choice]. MARS's people stay within that nearly always.
NEAR_M, NEAR_RAD = 0.35, 0.2
AROUND = 5  # frames: half a second, in which a walker goes half a metre [choice]


class Way(NamedTuple):
    """From the spot to where somebody is: away from the radar, then about its vertical axis.

    Attributes
    ----------
    along_m : float
    turn_rad : float
        To the left.
    bearing_rad : float
        Of the spot.
    """

    along_m: float
    turn_rad: float
    bearing_rad: float

    def go(self, places_m: np.ndarray) -> np.ndarray:
        """Return places, (..., 3) m, at the spot brought to where somebody is."""
        return _turned(places_m + self._step_m, self.turn_rad)

    def back(self, places_m: np.ndarray) -> np.ndarray:
        """Return places, (..., 3) m, where somebody is brought to the spot."""
        return _turned(places_m, -self.turn_rad) - self._step_m

    @property
    def _step_m(self) -> np.ndarray:
        ahead = np.array([math.cos(self.bearing_rad), math.sin(self.bearing_rad), 0.0])
        return self.along_m * ahead


@dataclass(frozen=True)
class LearntSpot:
    """Where the middle of people's points was, in what a network has learnt.

    Parameters
    ----------
    distance_m, bearing_rad : float
        On the floor plan, from the radar; to the left.
    """

    distance_m: float
    bearing_rad: float

    @classmethod
    def of(cls, network: PointPose, entry: Mapping[str, Any]) -> LearntSpot:
        """Return that of trained weights: the mean root, but for what joints stand aside."""
        x, y, _ = network.head.mean_m[KINECT25.root].tolist()
        y -= float(entry["training_data"].get("joints_left_of_points_m", 0.0))
        return cls(math.hypot(x, y), math.atan2(y, x))

    def way_to(self, points: np.ndarray) -> Way:
        """Return the way to where somebody's points are, (..., 5); none if they are near."""
        known = points[np.isfinite(points[..., 0])]
        if not len(known):
            return Way(0.0, 0.0, self.bearing_rad)
        x, y = np.median(known[:, :2], axis=0).tolist()
        along_m = math.hypot(x, y) - self.distance_m
        turn_rad = math.remainder(math.atan2(y, x) - self.bearing_rad, math.tau)
        apart = max(abs(along_m) / NEAR_M, abs(turn_rad) / NEAR_RAD)
        share = min(max(2 * (apart - 1), 0.0), 1.0)
        return Way(share * along_m, share * turn_rad, self.bearing_rad)

    def brought(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, Way]:
        """Return a window's points at the spot, and the way from there to where somebody is.

        Parameters
        ----------
        points : ndarray, shape (frames, points, 5)
        frame : int
            Where somebody is about then, `AROUND` frames before and after.
        """
        middle = frame % len(points)
        way = self.way_to(points[max(middle - AROUND, 0) : middle + AROUND + 1])
        if not (way.along_m or way.turn_rad):
            return points, way
        moved = points.copy()
        moved[..., :3] = way.back(points[..., :3])
        return moved, way


def _turned(places_m: np.ndarray, angle_rad: float) -> np.ndarray:
    turned = np.array(places_m)
    x, y = places_m[..., 0], places_m[..., 1]
    turned[..., 0] = math.cos(angle_rad) * x - math.sin(angle_rad) * y
    turned[..., 1] = math.sin(angle_rad) * x + math.cos(angle_rad) * y
    return turned
