"""Poses of a person whom several cameras see at different instants, without a network.

Four ways that whatever is learnt has to be better than:

* `hold_last`: each view's newest keypoints are triangulated as if they were of one instant;
* `linear`: each view's keypoints move on in a straight line, or lie on one between two shots;
* `slerp`: one pose per round of the cameras, and bones that turn evenly in between;
* `synchronous`: all cameras fire at every instant, which the others try to do without.

Each gives one pose for each instant at which there is a shot of any view. What is said of the
covariance holds for errors in the images: none of the four knows how far a person gets between two
shots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.skeleton import definitions
from radar_pose_ros.skeleton.definitions import Skeleton
from radar_pose_ros.vision.alignment import SAME_INSTANT_S, at_instant
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.interleaving import Interleaver, Shot, Window
from radar_pose_ros.vision.triangulation import Triangulation, triangulate

LONGEST_S = 0.5  # a view that is silent for longer is left out [choice]
# Bones whose directions are this near to opposite have no way to turn [choice].
_OPPOSITE = -1 + 1e-9


class View(Protocol):
    """What one camera saw, as `radar_pose_ros.datasets.multiview.ViewShots` has it."""

    @property
    def name(self) -> str:
        """The camera's name."""

    @property
    def camera(self) -> PinholeCamera:
        """The camera."""

    @property
    def stamps_s(self) -> np.ndarray:
        """Increasing, (shots,)."""

    @property
    def keypoints_px(self) -> np.ndarray:
        """NaN is unknown, (shots, joints, 2)."""

    @property
    def confidence(self) -> np.ndarray:
        """0 where a keypoint is not known, (shots, joints)."""


class Recording(Protocol):
    """Several views of one person."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def skeleton(self) -> str:
        """Name of the skeleton."""

    @property
    def views(self) -> Sequence[View]:
        """All on one clock."""


@dataclass(frozen=True, eq=False)
class Poses:
    """Poses in the cameras' world, one for each instant.

    Attributes
    ----------
    stamps_s : ndarray, shape (n,)
        Increasing.
    joints_m : ndarray, shape (n, joints, 3)
        NaN is unknown.
    covariance_m2 : ndarray, shape (n, joints, 3, 3)
    errors_px : ndarray, shape (n, views, joints)
        How far each view disagrees; see `Triangulation`. NaN where nothing was triangulated.
    used : ndarray of bool, shape (n, views, joints)
        Which views each joint is made of.
    """

    stamps_s: np.ndarray
    joints_m: np.ndarray = field(repr=False)
    covariance_m2: np.ndarray = field(repr=False)
    errors_px: np.ndarray = field(repr=False)
    used: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, stamps_s: ArrayLike, found: Triangulation) -> Poses:
        """Return the poses that were triangulated of keypoints (views, n, joints, 2)."""
        return cls(
            stamps_s=np.asarray(stamps_s, np.float64),
            joints_m=found.points_m,
            covariance_m2=found.covariance_m2,
            errors_px=found.errors_px.swapaxes(0, 1),
            used=found.used.swapaxes(0, 1),
        )


Method = Callable[[Recording], Poses]


def instants(recording: Recording) -> np.ndarray:
    """Return when any view has a shot, shape ``(n,)``; those within `SAME_INSTANT_S` are one."""
    stamps = np.sort(np.concatenate([view.stamps_s for view in recording.views] or [np.zeros(0)]))
    return stamps[np.diff(stamps, prepend=-np.inf) > SAME_INSTANT_S]


def rows_at(stamps_s: np.ndarray, at_s: ArrayLike) -> np.ndarray:
    """Return which of increasing stamps each instant is, shape ``(instants,)``; -1 for none."""
    at = np.asarray(at_s, np.float64)
    found = np.searchsorted(stamps_s, at - SAME_INSTANT_S)
    there = found < len(stamps_s)
    there[there] = stamps_s[found[there]] - at[there] <= SAME_INSTANT_S
    return np.where(there, found, -1)


def windows_of(recording: Recording, longest_s: float = LONGEST_S) -> Iterator[Window]:
    """Yield the windows of a recording's instants; of shots together the last one's.

    Parameters
    ----------
    recording : Recording
    longest_s : float
        A view whose newest shot is older is left out, and no two shots further apart belong
        together.
    """
    shots = [
        (stamp, number, shot)
        for number, view in enumerate(recording.views)
        for shot, stamp in enumerate(view.stamps_s.tolist())
    ]
    interleaver = Interleaver([view.name for view in recording.views], longest_s)
    last: Window | None = None
    for stamp, number, shot in sorted(shots):
        view = recording.views[number]
        window = interleaver.push(number, stamp, view.keypoints_px[shot], view.confidence[shot])
        assert window is not None  # in order, and no stamp twice
        if last is not None and window.stamp_s - last.stamp_s > SAME_INSTANT_S:
            yield last
        last = window
    if last is not None:
        yield last


def next_shots(window: Window, recording: Recording, longest_s: float) -> tuple[Shot | None, ...]:
    """Return each view's shot after its newest in a window; None if it is further away."""
    after: list[Shot | None] = []
    for view, newest in zip(recording.views, window.newest, strict=True):
        found = None
        following = int(np.searchsorted(view.stamps_s, window.stamp_s + SAME_INSTANT_S))
        if newest is not None and following < len(view.stamps_s):
            stamp_s = float(view.stamps_s[following])
            if stamp_s - newest.stamp_s <= longest_s:
                found = Shot(stamp_s, view.keypoints_px[following], view.confidence[following])
        after.append(found)
    return tuple(after)


def hold_last(recording: Recording, longest_s: float = LONGEST_S) -> Poses:
    """Triangulate each view's newest keypoints as if they were of the same instant.

    Parameters
    ----------
    recording : Recording
    longest_s : float
        A view whose newest shot is older is left out.

    Raises
    ------
    ValueError
        If there are fewer than two views, or the time is not positive.
    """
    windows = list(windows_of(recording, longest_s))
    seen = [(window.keypoints_px, window.confidence) for window in windows]
    return _poses(recording, [window.stamp_s for window in windows], seen)


def linear(recording: Recording, causal: bool = False, longest_s: float = LONGEST_S) -> Poses:
    """Triangulate keypoints that move in straight lines from shot to shot of their view.

    Parameters
    ----------
    recording : Recording
    causal : bool
        Whether to go on from the last two shots of the view; else the next shot says where to,
        and a pose is known only after every other view has fired again. Where there is no next
        one, or it does not know the joint, it is as with ``causal``.
    longest_s : float
        A view whose newest shot is older is left out, and shots further apart are not joined by
        a line.

    Raises
    ------
    ValueError
        As `hold_last`.
    """
    windows = list(windows_of(recording, longest_s))
    seen = [
        at_instant(window, after=() if causal else next_shots(window, recording, longest_s))
        for window in windows
    ]
    return _poses(recording, [window.stamp_s for window in windows], seen)


def slerp(
    recording: Recording, at_s: ArrayLike | None = None, longest_s: float = LONGEST_S
) -> Poses:
    """Interpolate between one pose per round of the cameras: bones turn, their lengths follow.

    The poses between which it interpolates are those of `linear`, with the next shot known, at
    every shot of the view that has the fewest; with cameras that fire together, those of
    `synchronous`. The root goes straight, each bone of the tree that begins there turns evenly
    from direction to direction (spherical linear interpolation) and its length changes evenly.
    A joint goes straight where the joint before it is not known, or the bone between them turns
    round by 180 degrees. This is our reading of what is published as "+SLERP" beside networks that
    want all views at once [choice].

    Parameters
    ----------
    recording : Recording
    at_s : array_like, shape (n,), optional
        Instants, increasing; by default those with a shot.
    longest_s : float
        As for `linear`; nothing is interpolated over a longer time either.

    Returns
    -------
    Poses
        NaN before the first and after the last pose that is interpolated. The covariance is mixed
        as the poses are, which is no less than that of the mixture, however errors depend on each
        other. Between two poses no view has an error.

    Raises
    ------
    ValueError
        As `hold_last`, or if the skeleton's bones do not hang together.
    """
    skeleton = definitions.get(recording.skeleton)
    aligned = linear(recording, False, longest_s)
    fewest = min(recording.views, key=lambda view: len(view.stamps_s))
    keys = rows_at(aligned.stamps_s, fewest.stamps_s)
    stamps = aligned.stamps_s if at_s is None else np.asarray(at_s, np.float64)
    if not len(keys):
        return _poses(recording, stamps, [_nothing(recording)] * len(stamps))
    times = aligned.stamps_s[keys]
    after = np.searchsorted(times, stamps - SAME_INSTANT_S).clip(0, len(keys) - 1)
    exact = np.abs(times[after] - stamps) <= SAME_INSTANT_S
    before = np.where(exact, after, (after - 1).clip(0))
    length_s = times[after] - times[before]
    share = (stamps - times[before]) / np.where(length_s > 0, length_s, np.nan)
    share = np.where(exact, 0.0, share)
    inside = exact | ((share > 0) & (share < 1) & (length_s <= longest_s))
    share = np.where(inside, share, np.nan)  # so that all outside is NaN
    one, other = keys[before], keys[after]
    mixed = share[:, None, None, None]
    return Poses(
        stamps_s=stamps,
        joints_m=turn_between(aligned.joints_m[one], aligned.joints_m[other], share, skeleton),
        covariance_m2=(1 - mixed) * aligned.covariance_m2[one]
        + mixed * aligned.covariance_m2[other],
        errors_px=np.where(exact[:, None, None], aligned.errors_px[one], np.nan),
        used=inside[:, None, None] & aligned.used[one] & aligned.used[other],
    )


def synchronous(recording: Recording) -> Poses:
    """Triangulate what all cameras saw at each instant.

    Raises
    ------
    ValueError
        If there are fewer than two views, or they did not fire together.
    """
    stamps = instants(recording)
    for view in recording.views:
        if len(view.stamps_s) != len(stamps) or not np.allclose(
            view.stamps_s, stamps, rtol=0, atol=SAME_INSTANT_S
        ):
            raise ValueError(
                f"{recording.name}: {view.name} has {len(view.stamps_s)} shots at {len(stamps)} "
                "instants; all cameras have to fire at each"
            )
    keypoints = np.stack([view.keypoints_px for view in recording.views], axis=1)
    confidence = np.stack([view.confidence for view in recording.views], axis=1)
    return _poses(recording, stamps, list(zip(keypoints, confidence, strict=True)))


def turn_between(
    first_m: ArrayLike, second_m: ArrayLike, share: ArrayLike, skeleton: Skeleton
) -> np.ndarray:
    """Return poses between two: the root moves straight, bones turn evenly, see `slerp`.

    Parameters
    ----------
    first_m, second_m : array_like, shape (n, joints, 3)
    share : array_like, shape (n,)
        0 at the first, 1 at the second.
    skeleton : Skeleton

    Returns
    -------
    ndarray, shape (n, joints, 3)

    Raises
    ------
    ValueError
        If the skeleton's bones do not hang together.
    """
    first, second = np.asarray(first_m, np.float64), np.asarray(second_m, np.float64)
    part = np.asarray(share, np.float64)[:, None]
    straight = first + part[..., None] * (second - first)
    straight[np.isnan(straight).any(-1)] = np.nan
    roots = skeleton.root_joints()
    made = np.full_like(straight, np.nan)
    begins = first[:, roots].mean(1), second[:, roots].mean(1)
    root = begins[0] + part * (begins[1] - begins[0])
    for parent, child in _bones_from_root(skeleton):
        if parent < 0:
            start, one, other = root, begins[0], begins[1]
        else:
            start, one, other = made[:, parent], first[:, parent], second[:, parent]
        turned = start + _turned(first[:, child] - one, second[:, child] - other, part)
        known = ~np.isnan(turned).any(-1, keepdims=True)
        made[:, child] = np.where(known, turned, straight[:, child])
    return made


def _bones_from_root(skeleton: Skeleton) -> list[tuple[int, int]]:
    """Return (parent, child) from the root outwards, each joint once; -1 is the hips' middle."""
    roots = skeleton.root_joints()
    found = [(-1, joint) for joint in roots]
    reached = {*roots}
    for _, parent in found:  # grows meanwhile
        for edge in skeleton.edges:
            if parent in edge:
                child = edge[1] if edge[0] == parent else edge[0]
                if child not in reached:
                    reached.add(child)
                    found.append((parent, child))
    if len(reached) != len(skeleton.joints):
        raise ValueError(f"skeleton {skeleton.name}: its bones do not hang together")
    return found


def _turned(one: np.ndarray, other: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return vectors (n, 3) between two, by angle and by length; NaN if they are opposite."""
    lengths = (
        np.linalg.norm(one, axis=-1, keepdims=True),
        np.linalg.norm(other, axis=-1, keepdims=True),
    )
    length = lengths[0] + part * (lengths[1] - lengths[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        units = one / lengths[0], other / lengths[1]
        cosine = (units[0] * units[1]).sum(-1, keepdims=True).clip(-1, 1)
        angle = np.arctan2(
            np.linalg.norm(units[1] - cosine * units[0], axis=-1, keepdims=True), cosine
        )
        # np.sinc is sin(pi x) / (pi x), and 1 at 0
        scale = np.sinc(angle / np.pi)
        first = (1 - part) * np.sinc((1 - part) * angle / np.pi) / scale
        second = part * np.sinc(part * angle / np.pi) / scale
        turned = length * (first * units[0] + second * units[1])
    turned = np.where(cosine > _OPPOSITE, turned, np.nan)
    # a bone without length, such as that from the root to itself, has no direction
    return np.where((lengths[0] > 0) & (lengths[1] > 0), turned, one + part * (other - one))


def _nothing(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    joints = len(definitions.get(recording.skeleton).joints)
    shape = (len(recording.views), joints)
    return np.full((*shape, 2), np.nan), np.zeros(shape)


def _poses(
    recording: Recording, stamps: ArrayLike, seen: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Poses:
    """Triangulate what is seen at each instant: keypoints (views, joints, 2) and confidence."""
    if not seen:
        keypoints, confidence = (part[:, None][:, :0] for part in _nothing(recording))
    else:
        keypoints = np.stack([pixels for pixels, _ in seen], axis=1)
        confidence = np.stack([score for _, score in seen], axis=1)
    cameras = [view.camera for view in recording.views]
    return Poses.of(stamps, triangulate(keypoints, confidence, cameras))
