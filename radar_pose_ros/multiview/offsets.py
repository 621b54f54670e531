"""By how much the clocks of cameras differ, from what they see of one person.

Of a pixel in one view another view has an epipolar line, on which what it sees at the same instant
has to lie. If the clocks differ, somebody who moves is beside the line. For every two views the
mean squared distance (Sampson's, Hartley and Zisserman 11.4.3: to first order the reprojection
error of both) is computed at all lags in steps of a frame; the offsets of all cameras are those
with the least sum of these over all pairs, between the steps by cubic splines.

Somebody who does not move, or whom two cameras that face each other see alike, tells little of
time: what is found should be looked at beside the errors without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize

from radar_pose_ros.datasets.multiview import ViewShots
from radar_pose_ros.multiview.times import apart
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.comparators import LONGEST_S
from radar_pose_ros.vision.triangulation import THRESHOLD

REACH_S = 0.5
LARGEST_S = 0.1  # of offsets that are no reason for `doubt` [choice]
_MUCH_BETTER = 0.8  # what is left of the squared errors [choice]
_DOUBT_S = 20.0  # of a recording, in its middle, that `doubt` looks at
# Of a view's shots, so that lags at which those of two views lie between each other, and noise is
# a mean of two, do not look better [choice].
_SMOOTHING = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9
# Share of the most keypoints that a pair has at any lag: fewer say nothing [choice].
_FEWEST = 0.25


def find(views: Sequence[ViewShots], reach_s: float = REACH_S) -> np.ndarray:
    """Return by how many seconds each camera's frames were taken later than its times say.

    Parameters
    ----------
    views : sequence of ViewShots
    reach_s : float
        Offsets from minus this to this are looked at.

    Returns
    -------
    ndarray, shape (views,)
        Relative to the first camera, which has 0.

    Raises
    ------
    ValueError
        If a view has too few shots, two views never saw the same joints at times that are so
        near, an offset lies at the end of what was looked at, or makes little better.
    """
    offsets_s, at_end, left = _search(views, reach_s)
    large = np.abs(offsets_s - np.median(offsets_s)).max() > LARGEST_S
    if at_end or (large and left > _MUCH_BETTER):
        raise ValueError(
            f"no offsets within {reach_s:g} s of {views[0].name} fit much better than others: "
            "give what is known as --offsets, or record a person who moves more"
        )
    return offsets_s


def doubt(views: Sequence[ViewShots], given_s: Mapping[str, float]) -> str:
    """Return a sentence if cameras agree much better with other clocks; else nothing.

    Offsets of `LARGEST_S` are no doubt yet: where a detector sees joints otherwise from each side,
    a short recording has some hundredths of a second without reason.

    Parameters
    ----------
    views : sequence of ViewShots
    given_s : mapping of str to float
        By how much each camera's times were made later already: the sentence has the sums, which
        can be given in their place.
    """
    middle_s = float(np.median(np.concatenate([view.stamps_s for view in views])))
    chosen = [view.only(abs(view.stamps_s - middle_s) <= _DOUBT_S / 2) for view in views]
    try:
        offsets_s, at_end, left = _search(chosen, REACH_S)
    except ValueError:
        return ""  # too little to tell
    offsets_s = offsets_s - np.median(offsets_s)
    large = np.abs(offsets_s) > LARGEST_S
    if at_end or not large.any() or left > _MUCH_BETTER:
        return ""
    late_s = dict(given_s)
    for view, offset_s in zip(views, np.where(large, offsets_s, 0.0), strict=True):
        late_s[view.name] += round(float(offset_s), 2)
    better = " ".join(f"{name}={late:.12g}" for name, late in late_s.items() if late)
    return (
        f"the cameras agree best with other clocks, --offsets {better}: check their times, or let "
        "--find-offsets do it"
    )


def _search(views: Sequence[ViewShots], reach_s: float) -> tuple[np.ndarray, bool, float]:
    """Return offsets (views,), if one is at the end, and what share of the errors they leave."""
    for view in views:
        if len(view.stamps_s) < 2 * len(_SMOOTHING):
            raise ValueError(f"{view.name}: {len(view.stamps_s)} frames are too few for an offset")
    step_s = min(float(np.median(np.diff(view.stamps_s))) for view in views)
    steps = int(np.ceil(reach_s / step_s))
    lags_s = step_s * np.arange(-2 * steps, 2 * steps + 1)
    costs = {
        pair: CubicSpline(lags_s, _costs(views[pair[0]], views[pair[1]], lags_s))
        for pair in combinations(range(len(views)), 2)
    }

    def total(rest_s: Sequence[float]) -> float:
        offsets_s = [0.0, *rest_s]
        return sum(float(cost(offsets_s[j] - offsets_s[i])) for (i, j), cost in costs.items())

    found = np.zeros(len(views))
    grid_s = lags_s[steps:-steps]
    for known in (1, *[len(views)] * 2):  # the first time a camera knows only those before it
        for number in range(1, len(views)):
            sums = np.zeros(len(grid_s))
            for other in range(max(known, number)):
                if other < number:
                    sums += costs[other, number](grid_s - found[other])
                elif other > number:
                    sums += costs[number, other](found[other] - grid_s)
            found[number] = grid_s[int(sums.argmin())]
    near = [(offset_s - step_s, offset_s + step_s) for offset_s in found[1:]]
    rest_s = minimize(total, found[1:], method="Powell", bounds=near).x
    at_end = bool(np.abs(found).max() > (steps - 0.5) * step_s)
    left = total(rest_s.tolist()) / max(total([0.0] * len(rest_s)), 1e-12)
    return np.array([0.0, *rest_s]), at_end, left


def _costs(one: ViewShots, other: ViewShots, lags_s: np.ndarray) -> np.ndarray:
    """Return mean squared errors [px^2] if the other one was later by each lag, (lags,)."""
    matrix = _fundamental(one.camera, other.camera)
    limit = (THRESHOLD * max(*one.camera.size_px, *other.camera.size_px)) ** 2
    seen = [_smooth(view) for view in (one, other)]
    means, counts = np.full(len(lags_s), np.nan), np.zeros(len(lags_s), int)
    for number, lag_s in enumerate(lags_s):
        errors = np.concatenate(
            [
                _sampson(seen[0], _at(other.stamps_s + lag_s, seen[1], one.stamps_s), matrix),
                _sampson(_at(one.stamps_s - lag_s, seen[0], other.stamps_s), seen[1], matrix),
            ]
        )
        known = errors[np.isfinite(errors)]
        counts[number] = len(known)
        if len(known):
            means[number] = np.minimum(known, limit).mean()
    enough = counts > _FEWEST * counts.max()
    if not enough.any():
        why = apart([one, other])
        raise ValueError(
            f"{one.name} and {other.name} never saw the same joints: no offset can be found"
            + (f"; {why}" if why else "")
        )
    return np.where(enough, means, limit)


def _smooth(view: ViewShots) -> np.ndarray:
    """Return a view's keypoints without distortion, weighted over five shots, NaN at the ends."""
    keypoints = view.camera.undistort(view.keypoints_px)
    keypoints[~(view.confidence > 0)] = np.nan
    made = np.full_like(keypoints, np.nan)
    half = len(_SMOOTHING) // 2
    if len(keypoints) > 2 * half:
        inner = len(keypoints) - 2 * half
        made[half:-half] = sum(w * keypoints[k : k + inner] for k, w in enumerate(_SMOOTHING))
    return made


def _at(stamps_s: np.ndarray, keypoints: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """Return keypoints on straight lines between shots, (instants, joints, 2); NaN outside."""
    after = np.searchsorted(stamps_s, at_s).clip(1, len(stamps_s) - 1)
    step_s = stamps_s[after] - stamps_s[after - 1]
    share = (at_s - stamps_s[after - 1]) / step_s
    share = np.where((share >= 0) & (share <= 1) & (step_s <= LONGEST_S), share, np.nan)
    share = share[:, None, None]
    return (1 - share) * keypoints[after - 1] + share * keypoints[after]


def _fundamental(one: PinholeCamera, other: PinholeCamera) -> np.ndarray:
    """Return F, (3, 3): ``F (u, v, 1)`` is the line in the other view of a pixel in this one.

    Both without distortion; ``K'^-T [t]x R K^-1`` (Hartley and Zisserman 9.6).
    """
    turn = other.rotation @ one.rotation.T
    x, y, z = other.to_camera(one.position_m)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.linalg.inv(other.matrix).T @ cross @ turn @ np.linalg.inv(one.matrix)


def _sampson(one: np.ndarray, other: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return squared distances [px^2] of pixels (..., 2) that should be of one point, (...)."""
    first, second = (
        np.concatenate([pixels, np.ones((*pixels.shape[:-1], 1))], axis=-1)
        for pixels in (one, other)
    )
    lines, back = first @ matrix.T, second @ matrix
    beside = (second * lines).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):  # cameras in one place have no lines
        return beside**2 / ((lines[..., :2] ** 2).sum(-1) + (back[..., :2] ** 2).sum(-1))
