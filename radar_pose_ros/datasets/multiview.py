"""One person as several cameras see it, each at instants of its own.

What networks that fuse views of cameras that fire one after another are trained and evaluated on,
whatever data set it comes from. Nothing here asks that the cameras fire together, equally often or
evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from radar_pose_ros.datasets.pose_sequences import PoseSequence, runs
from radar_pose_ros.simulation.cameras import PinholeCamera
from radar_pose_ros.simulation.multiview import Detector, observe
from radar_pose_ros.skeleton import definitions, mapping
from radar_pose_ros.vision.alignment import SAME_INSTANT_S

# From instants in seconds, shape (instants,), to joints in metres, shape (instants, joints, 3).
JointsAt = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ViewShots:
    """What one camera saw.

    Parameters
    ----------
    name : str
        The camera's.
    camera : PinholeCamera
    stamps_s : ndarray of float64, shape (shots,)
        When the shutter was open, strictly increasing.
    keypoints_px : ndarray of float32, shape (shots, joints, 2)
        Detected or projected; NaN is unknown.
    confidence : ndarray of float32, shape (shots, joints)
        From 0 to 1; made 0 where a keypoint is not known.

    Raises
    ------
    ValueError
        If the shapes do not belong together, or stamps do not increase.
    """

    name: str
    camera: PinholeCamera
    stamps_s: np.ndarray = field(repr=False)
    keypoints_px: np.ndarray = field(repr=False)
    confidence: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        stamps = np.asarray(self.stamps_s, np.float64)
        keypoints = np.asarray(self.keypoints_px, np.float32)
        confidence = np.asarray(self.confidence, np.float32)
        if stamps.ndim != 1 or not np.isfinite(stamps).all() or (np.diff(stamps) <= 0).any():
            raise ValueError(f"{self.name}: want finite, increasing stamps, shape (shots,)")
        if keypoints.ndim != 3 or keypoints.shape[2] != 2 or len(keypoints) != len(stamps):
            raise ValueError(
                f"{self.name}: want keypoints ({len(stamps)}, joints, 2), got {keypoints.shape}"
            )
        if confidence.shape != keypoints.shape[:2]:
            raise ValueError(
                f"{self.name}: want confidences {keypoints.shape[:2]}, got {confidence.shape}"
            )
        known = ~np.isnan(keypoints).any(-1)
        confidence = np.where(known & ~np.isnan(confidence), confidence, np.float32(0))
        object.__setattr__(self, "stamps_s", stamps)
        object.__setattr__(self, "keypoints_px", keypoints)
        object.__setattr__(self, "confidence", confidence)

    def only(self, shots: ArrayLike) -> ViewShots:
        """Return some of the shots: their numbers in increasing order, or flags of all."""
        chosen = np.asarray(shots)
        return replace(
            self,
            stamps_s=self.stamps_s[chosen],
            keypoints_px=self.keypoints_px[chosen],
            confidence=self.confidence[chosen],
        )


@dataclass(frozen=True)
class MultiViewRecording:
    """One person's movement as several cameras see it.

    Parameters
    ----------
    name : str
        Unique within its data set.
    subject, action : str
        Who moves, by which splits are made, and what is done.
    skeleton : str
        Name of the skeleton.
    views : tuple of ViewShots
        One for each camera; all stamps are on one clock.
    truth : callable, optional
        From instants, seconds, shape ``(instants,)``, to the true joints in metres in the
        cameras' world, shape ``(instants, joints, 3)``; NaN is unknown. None if there is none.
    licence : str
        On which terms it may be used.

    Raises
    ------
    ValueError
        If the keypoints are not the skeleton's, or names of cameras repeat.
    """

    name: str
    subject: str
    action: str
    skeleton: str
    views: tuple[ViewShots, ...] = field(repr=False)
    truth: JointsAt | None = field(default=None, repr=False)
    licence: str = ""

    def __post_init__(self) -> None:
        count = len(definitions.get(self.skeleton).joints)
        for view in self.views:
            if view.keypoints_px.shape[1] != count:
                raise ValueError(
                    f"{self.name}, {view.name}: {self.skeleton} wants {count} keypoints, got "
                    f"{view.keypoints_px.shape[1]}"
                )
        names = [view.name for view in self.views]
        if len({*names}) != len(names):
            raise ValueError(f"{self.name}: names of cameras repeat: {', '.join(names)}")
        object.__setattr__(self, "views", tuple(self.views))

    @property
    def cameras(self) -> tuple[PinholeCamera, ...]:
        """The views' cameras."""
        return tuple(view.camera for view in self.views)

    def joints_at(self, stamps_s: ArrayLike) -> np.ndarray:
        """Return the true joints at any instants.

        Parameters
        ----------
        stamps_s : array_like, shape (instants,)
            Seconds on the cameras' clock.

        Returns
        -------
        ndarray of float64, shape (instants, joints, 3)
            Metres, in the cameras' world; NaN where the truth is not known.
        """
        stamps = np.asarray(stamps_s, np.float64)
        shape = (len(stamps), len(definitions.get(self.skeleton).joints), 3)
        if self.truth is None:
            return np.full(shape, np.nan)
        return np.asarray(self.truth(stamps), np.float64).reshape(shape)

    def in_order(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all shots in the order of their stamps.

        Returns
        -------
        stamps_s : ndarray of float64, shape (all shots,)
        views, shots : ndarray of int64, shapes (all shots,)
            Number of the camera, and of the shot of that camera; of shots at the same instant the
            camera of the lower number comes first.
        """
        stamps = np.concatenate([view.stamps_s for view in self.views] or [np.zeros(0)])
        counts = [len(view.stamps_s) for view in self.views]
        views = np.repeat(np.arange(len(counts)), counts)
        shots = np.concatenate([np.arange(count) for count in counts] or [np.zeros(0, int)])
        order = np.lexsort((views, stamps))
        return stamps[order], views[order], shots[order]

    def converted(self, skeleton: str) -> MultiViewRecording:
        """Return the recording in another skeleton; see `radar_pose_ros.skeleton.mapping`.

        The confidence of a joint that is made of several is the least of these.
        """
        if skeleton == self.skeleton:
            return self
        recipe = mapping.formulas(self.skeleton, skeleton)
        theirs, ours = definitions.get(self.skeleton), definitions.get(skeleton)
        views = []
        for view in self.views:
            confidence = np.zeros((len(view.stamps_s), len(ours.joints)), np.float32)
            for name, weights in recipe.items():
                parts = [theirs.index(part) for part in weights]
                confidence[:, ours.index(name)] = view.confidence[:, parts].min(axis=1)
            keypoints = mapping.convert(view.keypoints_px, self.skeleton, skeleton)
            views.append(replace(view, keypoints_px=keypoints, confidence=confidence))
        truth, source = self.truth, self.skeleton
        return replace(
            self,
            skeleton=skeleton,
            views=tuple(views),
            truth=None
            if truth is None
            else lambda stamps_s: mapping.convert(truth(stamps_s), source, skeleton),
        )


class SampledJoints:
    """True joints between the instants at which they are known, by cubic splines.

    Parameters
    ----------
    stamps_s : array_like, shape (samples,)
        Strictly increasing.
    joints_m : array_like, shape (samples, joints, 3)
        NaN is unknown: a joint is interpolated over every run of samples in which it is known, and
        is unknown between the last sample before a gap and the first one after it.
    longest_gap_s : float
        Nothing is interpolated over more time than this between two samples.

    Raises
    ------
    ValueError
        If the shapes do not belong together, or the stamps do not increase.
    """

    def __init__(
        self, stamps_s: ArrayLike, joints_m: ArrayLike, longest_gap_s: float = np.inf
    ) -> None:
        self.stamps_s = np.asarray(stamps_s, np.float64)
        self.joints_m = np.asarray(joints_m, np.float64)
        if self.joints_m.ndim != 3 or self.stamps_s.shape != self.joints_m.shape[:1]:
            raise ValueError(
                f"want stamps (samples,) and joints (samples, joints, 3), got "
                f"{self.stamps_s.shape} and {self.joints_m.shape}"
            )
        steps_s = np.diff(self.stamps_s)
        if not (steps_s > 0).all():
            raise ValueError("the stamps of true joints have to increase")
        broken = np.flatnonzero(steps_s > longest_gap_s) + 1
        self._pieces = list(self._splines(broken))

    def _splines(self, broken: np.ndarray) -> Iterable[tuple[np.ndarray, float, float, Callable]]:
        """Yield joints that are known together, from when until when, and their movement."""
        known = ~np.isnan(self.joints_m).any(-1)
        patterns, pattern_of = np.unique(known, axis=1, return_inverse=True)
        for number, pattern in enumerate(patterns.T):
            joints = np.flatnonzero(pattern_of.ravel() == number)
            for first, end in runs(pattern):
                inside = broken[(broken > first) & (broken < end)].tolist()
                for start, stop in zip([first, *inside], [*inside, end], strict=True):
                    stamps = self.stamps_s[start:stop]
                    values = self.joints_m[start:stop, joints]
                    movement = (
                        CubicSpline(stamps, values) if len(stamps) > 1 else _Constant(values[0])
                    )
                    yield joints, stamps[0], stamps[-1], movement

    def __call__(self, stamps_s: ArrayLike) -> np.ndarray:
        """Return the joints at some instants, shape ``(instants, joints, 3)``."""
        at = np.asarray(stamps_s, np.float64)
        made = np.full((len(at), *self.joints_m.shape[1:]), np.nan)
        for joints, first_s, last_s, movement in self._pieces:
            inside = (at >= first_s - SAME_INSTANT_S) & (at <= last_s + SAME_INSTANT_S)
            if inside.any():
                made[np.ix_(inside, joints)] = movement(np.clip(at[inside], first_s, last_s))
        return made


@dataclass(frozen=True)
class _Constant:
    value: np.ndarray

    def __call__(self, at: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.value, (len(at), *self.value.shape))


def simulate(
    sequence: PoseSequence,
    cameras: Sequence[PinholeCamera],
    stamps_s: Sequence[ArrayLike],
    rng: np.random.Generator,
    detector: Detector | None = None,
    boxes_m: ArrayLike = (),
) -> MultiViewRecording:
    """Let cameras see a sequence, each at instants of its own.

    Parameters
    ----------
    sequence : PoseSequence
        In the cameras' world; its first frame is at 0 s.
    cameras : sequence of PinholeCamera
    stamps_s : sequence of array_like, each of shape (shots,)
        For each camera, as `radar_pose_ros.simulation.multiview.shutter_times` makes them.
    rng : numpy.random.Generator
        Source of the detector's errors.
    detector : Detector, optional
        A perfect one by default.
    boxes_m : array_like, shape (boxes, 2, 3)
        Furniture, see `radar_pose_ros.simulation.multiview.observe`.

    Raises
    ------
    ValueError
        As `radar_pose_ros.simulation.multiview.observe` raises it.
    """
    times_s = np.arange(len(sequence.joints_m)) / sequence.rate_hz
    truth = SampledJoints(times_s, sequence.joints_m)
    seen = observe(
        truth, definitions.get(sequence.skeleton), cameras, stamps_s, rng, detector, boxes_m
    )
    return MultiViewRecording(
        name=sequence.name,
        subject=sequence.subject,
        action=sequence.action,
        skeleton=sequence.skeleton,
        views=tuple(
            ViewShots(f"camera{number}", view.camera, view.stamps_s, view.keypoints_px, view.score)
            for number, view in enumerate(seen)
        ),
        truth=truth,
        licence=sequence.licence,
    )


def interleaved(recording: MultiViewRecording, every: int | None = None) -> MultiViewRecording:
    """Thin a synchronous recording so that the cameras fire one after another.

    View c keeps the shots c, c + every, c + 2 every, and so on.

    Parameters
    ----------
    recording : MultiViewRecording
        All views with the same stamps.
    every : int, optional
        By default the number of views, so that there is one shot at each instant; at less,
        several views share an instant.

    Raises
    ------
    ValueError
        If the stamps of the views differ, or ``every`` is not positive.
    """
    every = len(recording.views) if every is None else every
    if every < 1:
        raise ValueError(f"{recording.name}: want every 1st shot or fewer, got {every}")
    first = recording.views[0].stamps_s if recording.views else np.zeros(0)
    for view in recording.views:
        if len(view.stamps_s) != len(first) or not np.allclose(
            view.stamps_s, first, rtol=0, atol=SAME_INSTANT_S
        ):
            raise ValueError(
                f"{recording.name}: {view.name} and {recording.views[0].name} did not fire "
                f"together; only a synchronous recording can be interleaved"
            )
    views = [
        view.only(np.arange(number % every, len(first), every))
        for number, view in enumerate(recording.views)
    ]
    return replace(recording, views=tuple(views))


def named(recording: MultiViewRecording, names: Sequence[str]) -> MultiViewRecording:
    """Return a recording whose cameras are called otherwise.

    Raises
    ------
    ValueError
        If there are not as many names as cameras, or they repeat.
    """
    if len(names) != len(recording.views):
        raise ValueError(
            f"{recording.name} has {len(recording.views)} cameras, but there are {len(names)} "
            f"names: {', '.join(names)}"
        )
    views = [replace(view, name=name) for view, name in zip(recording.views, names, strict=True)]
    return replace(recording, views=tuple(views))


def random_shutters(
    recording: MultiViewRecording, rate_hz: float, rng: np.random.Generator
) -> MultiViewRecording:
    """Thin a recording to cameras that fire evenly, but know nothing of each other.

    Each view's first shutter time is drawn evenly from the first interval; of each shutter time
    the nearest shot is kept, with its own stamp.

    Parameters
    ----------
    recording : MultiViewRecording
    rate_hz : float
        Of each camera, at most that of the recording.
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If the rate is not positive.
    """
    if not rate_hz > 0:
        raise ValueError(f"{recording.name}: the rate must be positive, got {rate_hz} Hz")
    stamps, _, _ = recording.in_order()
    views = []
    for view in recording.views:
        first = rng.uniform(0.0, 1.0 / rate_hz)
        if not len(view.stamps_s):
            views.append(view)
            continue
        shutters = np.arange(stamps[0] + first, stamps[-1] + SAME_INSTANT_S, 1.0 / rate_hz)
        after = np.searchsorted(view.stamps_s, shutters).clip(0, len(view.stamps_s) - 1)
        before = (after - 1).clip(0)
        nearer = np.abs(view.stamps_s[before] - shutters) < np.abs(view.stamps_s[after] - shutters)
        views.append(view.only(np.unique(np.where(nearer, before, after))))
    return replace(recording, views=tuple(views))
