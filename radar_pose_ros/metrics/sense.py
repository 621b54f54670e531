"""Whether poses make sense where no true pose is known: shaped like a person, doing what is said.

Checks of a body's shape judge every pose by itself or beside its neighbours in time
(`SHAPE_CHECKS`). Checks of an activity judge a whole recording (`ACTIVITY_CHECKS`), some of them
beside the radar's points. Whoever passes need not be right: a mean pose has a person's shape, so
every rate wants controls beside it.

Limits are those of adults. Statures are from 1.44 to 1.96 m, three standard deviations below the
mean of women and above that of men in ANSUR II (1.629 +- 0.064 m and 1.756 +- 0.069 m; Gordon et
al., "2012 Anthropometric Survey of U.S. Army Personnel", 2014). Segments are shares of the stature
by Drillis and Contini (1966), as D. A. Winter tabulates them ("Biomechanics and Motor Control of
Human Movement"). What is marked [choice] is none of theirs.

Axes: x away from the radar, y left, z up, metres. Joints are `KINECT25`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.signal import periodogram

from radar_pose_ros.skeleton.definitions import KINECT25

_SHORTEST_M, _TALLEST_M = 1.44, 1.96
# Shares of the stature.
_UPPER_ARM, _FOREARM, _THIGH, _SHANK, _TRUNK = 0.186, 0.146, 0.245, 0.246, 0.288
_HIP_HEIGHT, _SHOULDER_HEIGHT, _HAND = 0.530, 0.818, 0.108
# A Kinect's joints are not the anatomist's, and people differ in proportion, too [choice].
_OF_LENGTH = 0.25
# Both sides of a skeleton differ by a few per cent (Auerbach and Ruff, J. Human Evolution 50,
# 2006); this lets each end of a bone of 0.3 m be off by 3 cm [choice]. So does a bone's change.
_SIDES, _CHANGE = 0.2, 0.2
# From the hips to the fingertips of raised arms.
_REACH_M = (_SHOULDER_HEIGHT + _UPPER_ARM + _FOREARM + _HAND - _HIP_HEIGHT) * _TALLEST_M
# People run from some 2 m/s on (Hreljac, Medicine & Science in Sports & Exercise 25, 1993), which
# leaves half as much again for jumps [choice]; an Olympic boxer's fist reaches 9.1 m/s on average
# (Walilko, Viano and Bir, British J. Sports Medicine 39, 2005).
_ROOT_MPS, _JOINT_MPS = 3.0, 9.1
# The width of a man, upper arms included: ANSUR II's mean is 0.51 m.
_WIDTH_M = 0.5

# Half of what a squat to level thighs moves the hips, of the shortest.
_SQUAT_M = _THIGH * _SHORTEST_M / 2
# Much less than adults jump [choice].
_JUMP_M = 0.1
# A step of the shortest: 0.41 of the stature, as pedometers assume [choice].
_STEP_M = 0.41 * _SHORTEST_M
_ARM_M = (_UPPER_ARM + _FOREARM) * _SHORTEST_M
# Half of the variance is explained.
_CORRELATION = 0.5**0.5
# Of exercises that are repeated: from one in 5 s to three in 2 s [choice].
_BAND_HZ = (0.2, 1.5)

_ROOT = KINECT25.root
_HEAD, _NECK, _SHOULDERS = (KINECT25.index(name) for name in ("head", "neck", "spine_shoulder"))
_SIDED = ("left", "right")


def _both(joint: str) -> list[int]:
    return [KINECT25.index(f"{side}_{joint}") for side in _SIDED]


_WRISTS, _KNEES, _ANKLES = _both("wrist"), _both("knee"), _both("ankle")
# Bones: from, to, share of the stature. Left and right take turns, the trunk is last.
_LIMBS = (
    ("shoulder", "elbow", _UPPER_ARM),
    ("elbow", "wrist", _FOREARM),
    ("hip", "knee", _THIGH),
    ("knee", "ankle", _SHANK),
)
_BONES = [
    *(
        (a, b, share)
        for one, other, share in _LIMBS
        for a, b in zip(_both(one), _both(other), strict=True)
    ),
    (_ROOT, _SHOULDERS, _TRUNK),
]
_FROM, _TO = (np.array([bone[end] for bone in _BONES]) for end in (0, 1))
_SHARES = np.array([bone[2] for bone in _BONES])


class Take(NamedTuple):
    """One recording.

    Attributes
    ----------
    joints_m : ndarray, shape (frames, 25, 3)
        NaN is unknown, and passes no check.
    points_m : ndarray, shape (frames, 3, 3)
        Of the radar's points about each frame the 10th, 50th and 90th percentile (second axis) of
        x, y and z.
    rate_hz : float
    """

    joints_m: np.ndarray
    points_m: np.ndarray
    rate_hz: float


# -- a person's shape: each returns which poses pass, bool (frames,) ------------------------------


def lengths_m(joints_m: np.ndarray) -> np.ndarray:
    """Return the lengths of arms' and legs' bones, left and right in turn, and of the trunk."""
    return np.linalg.norm(joints_m[:, _FROM] - joints_m[:, _TO], axis=-1)


def bones(take: Take) -> np.ndarray:
    """Every bone is as long as those of some adult."""
    found = lengths_m(take.joints_m)
    least = (1 - _OF_LENGTH) * _SHARES * _SHORTEST_M
    most = (1 + _OF_LENGTH) * _SHARES * _TALLEST_M
    return np.asarray(((found >= least) & (found <= most)).all(1))


def sides(take: Take) -> np.ndarray:
    """Bones of arms and legs are as long on the left as on the right."""
    found = lengths_m(take.joints_m)[:, :-1].reshape(len(take.joints_m), -1, 2)
    return (found.min(2) >= (1 - _SIDES) * found.max(2)).all(1)


def rigid(take: Take) -> np.ndarray:
    """Bones are about as long as they mostly are in the recording."""
    found = lengths_m(take.joints_m)
    known = found[np.isfinite(found).all(1)]
    if not len(known):
        return np.zeros(len(found), bool)
    usual = np.median(known, axis=0)
    return (np.abs(found - usual) <= _CHANGE * usual).all(1)


def upright(take: Take) -> np.ndarray:
    """Head above shoulders, those above hips, hips above both knees, these above their ankles."""
    z = take.joints_m[..., 2]
    trunk = (z[:, _HEAD] > z[:, _SHOULDERS]) & (z[:, _SHOULDERS] > z[:, _ROOT])
    legs = (z[:, [_ROOT]] > z[:, _KNEES]) & (z[:, _KNEES] > z[:, _ANKLES])
    return trunk & legs.all(1)


def reach(take: Take) -> np.ndarray:
    """No joint is farther from the hips than the fingertips of the tallest."""
    offset = take.joints_m - take.joints_m[:, [_ROOT]]
    return (np.linalg.norm(offset, axis=-1) <= _REACH_M).all(1)


def speed(take: Take) -> np.ndarray:
    """Neither hips nor any joint are faster, from the pose before, than people move."""
    way_m = np.linalg.norm(np.diff(take.joints_m, axis=0, prepend=take.joints_m[:1]), axis=-1)
    mps = way_m * take.rate_hz
    return (mps[:, _ROOT] <= _ROOT_MPS) & (mps <= _JOINT_MPS).all(1)


def place(take: Take) -> np.ndarray:
    """On the floor plan, the hips are within a body's width of the middle of the points."""
    offset = take.joints_m[:, _ROOT, :2] - take.points_m[:, 1, :2]
    return np.linalg.norm(offset, axis=-1) <= _WIDTH_M


SHAPE_CHECKS: dict[str, Callable[[Take], np.ndarray]] = {
    "bones": bones,
    "sides": sides,
    "rigid": rigid,
    "upright": upright,
    "reach": reach,
    "speed": speed,
    "place": place,
}


# -- an activity: each says whether a recording passes -------------------------------------------


def excursion_m(values_m: np.ndarray) -> np.ndarray:
    """Return the 95th minus the 5th percentile over the first axis."""
    return np.subtract(*np.percentile(values_m, [95, 5], axis=0))


def frequency_hz(values: np.ndarray, rate_hz: float) -> float:
    """Return where the spectrum of values, ``(frames, columns)``, is highest, columns together.

    Between `_BAND_HZ`; NaN if a value is not finite, or nothing changes.
    """
    if not np.isfinite(values).all():
        return np.nan
    frequencies, power = periodogram(values, rate_hz, detrend="linear", axis=0)
    total = np.where((frequencies >= _BAND_HZ[0]) & (frequencies <= _BAND_HZ[1]), power.sum(1), 0)
    return float(frequencies[np.argmax(total)]) if total.max() > 0 else np.nan


def _as_often(take: Take, values: np.ndarray) -> bool:
    """Return whether the frequency is the points', to one step of the spectrum.

    That of the points is of the three percentiles of their x and z.
    """
    points = take.points_m[..., [0, 2]].reshape(len(take.points_m), -1)
    own = frequency_hz(values.reshape(len(values), -1), take.rate_hz)
    step_hz = take.rate_hz / len(values)
    return bool(abs(own - frequency_hz(points, take.rate_hz)) <= 1.001 * step_hz)


def hips_go_down(take: Take) -> bool:
    """The hips' height changes by half of a squat to level thighs, 0.18 m."""
    return bool(excursion_m(take.joints_m[:, _ROOT, 2]) >= _SQUAT_M)


def hips_as_often(take: Take) -> bool:
    """The hips' height repeats as often as the points do."""
    return _as_often(take, take.joints_m[:, _ROOT, 2])


def hops(take: Take) -> bool:
    """The hips' height changes by 0.1 m."""
    return bool(excursion_m(take.joints_m[:, _ROOT, 2]) >= _JUMP_M)


def travels(take: Take) -> bool:
    """The hips travel by a step, 0.59 m."""
    return bool(np.hypot(*excursion_m(take.joints_m[:, _ROOT, :2])) >= _STEP_M)


def as_far(take: Take) -> bool:
    """The hips travel between half and twice as far as the middle of the points [choice]."""
    own, points = (
        np.hypot(*excursion_m(values))
        for values in (take.joints_m[:, _ROOT, :2], take.points_m[:, 1, :2])
    )
    return bool(points / 2 <= own <= 2 * points)


def with_points(take: Take) -> bool:
    """Along the points' longest way half of the hips' variance is the points'."""
    points = take.points_m[:, 1, :2] - take.points_m[:, 1, :2].mean(0)
    if not np.isfinite(points).all():
        return False
    way = np.linalg.svd(points, full_matrices=False)[2][0]
    own = take.joints_m[:, _ROOT, :2] @ way
    if not own.std() > 0:  # NaN, too
        return False
    return bool(np.corrcoef(own, points @ way)[0, 1] >= _CORRELATION)


def _hands_up_m(take: Take) -> np.ndarray:
    """Return how high both wrists are above the shoulders, (frames, 2)."""
    return take.joints_m[:, _WRISTS, 2] - take.joints_m[:, [_SHOULDERS], 2]


def hands_go_up(take: Take) -> bool:
    """Both wrists come above the shoulders, and go down below them by an upper arm, 0.27 m."""
    up_m = _hands_up_m(take)
    high, low = np.percentile(up_m.min(1), 95), np.percentile(up_m.max(1), 5)
    return bool(high > 0 and low < -_UPPER_ARM * _SHORTEST_M)


def hands_as_often(take: Take) -> bool:
    """The wrists' height above the shoulders repeats as often as the points do."""
    return _as_often(take, _hands_up_m(take))


def _reach_m(take: Take) -> np.ndarray:
    """Return how far the wrists are ahead of the shoulders, towards the radar, (frames, 2)."""
    shoulders = take.joints_m[:, [_SHOULDERS], :2]
    towards = -shoulders / np.linalg.norm(shoulders, axis=-1, keepdims=True)
    return ((take.joints_m[:, _WRISTS, :2] - shoulders) * towards).sum(-1)


def hands_reach(take: Take) -> bool:
    """A wrist comes ahead of the shoulders, towards the radar, by half an arm, 0.24 m."""
    return bool(np.percentile(_reach_m(take).max(1), 95) >= _ARM_M / 2)


def hands_come_and_go(take: Take) -> bool:
    """A wrist's reach towards the radar changes by a forearm, 0.21 m."""
    return bool(excursion_m(_reach_m(take)).max() >= _FOREARM * _SHORTEST_M)


ACTIVITY_CHECKS: dict[str, dict[str, Callable[[Take], bool]]] = {
    "squats": {"hips_go_down": hips_go_down, "hips_as_often": hips_as_often},
    "walk": {"travels": travels, "as_far": as_far, "with_points": with_points},
    "jack": {"hands_go_up": hands_go_up, "hands_as_often": hands_as_often},
    "boxing": {"hands_reach": hands_reach, "hands_come_and_go": hands_come_and_go},
    "jump": {"hops": hops},
}
