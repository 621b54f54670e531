"""Sequences of 3-D poses, whatever data set they come from.

What networks that see poses only (MixSynthFormer, DiffHPE) are trained and evaluated on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import butter, sosfiltfilt

from radar_pose_ros.skeleton import definitions, mapping

# An instant this close to a frame is that frame.
_SAME_INSTANT_FRAMES = 1e-6
# By so much a run is continued at both ends before it is filtered, if it is long enough.
_PADDING_FRAMES = 15
# What `check_sides` calls bent to the back: less is noise of people who stand upright.
_KNEES_BACK_M = -0.01


@dataclass(frozen=True)
class PoseSequence:
    """One person's movement.

    Parameters
    ----------
    name : str
        Unique within its data set.
    subject : str
        Who moves; splits are by subject. Unique over all data sets.
    action : str
        What is done, in the data set's words.
    rate_hz : float
        Frames per second, evenly spaced.
    skeleton : str
        Name of the skeleton.
    joints_m : ndarray of float32, shape (frames, joints, 3)
        Metres, right-handed; z is up unless the loader says otherwise. NaN is unknown.
    licence : str
        On which terms the movement may be used.

    Raises
    ------
    ValueError
        If the joints are not the skeleton's, or the rate is not positive.
    """

    name: str
    subject: str
    action: str
    rate_hz: float
    skeleton: str
    joints_m: np.ndarray = field(repr=False)
    licence: str

    def __post_init__(self) -> None:
        count = len(definitions.get(self.skeleton).joints)
        joints = np.asarray(self.joints_m, np.float32)
        if joints.ndim != 3 or joints.shape[1:] != (count, 3):
            raise ValueError(
                f"{self.name}: {self.skeleton} wants (frames, {count}, 3), got {joints.shape}"
            )
        if not self.rate_hz > 0:
            raise ValueError(f"{self.name}: the rate must be positive, got {self.rate_hz} Hz")
        object.__setattr__(self, "joints_m", joints)

    @property
    def duration_s(self) -> float:
        """Frames over rate."""
        return len(self.joints_m) / self.rate_hz

    def converted(self, skeleton: str) -> PoseSequence:
        """Return the sequence in another skeleton; see `radar_pose_ros.skeleton.mapping`."""
        joints_m = mapping.convert(self.joints_m, self.skeleton, skeleton)
        return replace(self, skeleton=skeleton, joints_m=joints_m)

    def resampled(self, rate_hz: float) -> PoseSequence:
        """Return the movement at another rate, from the same first instant.

        Each joint is interpolated by a cubic spline over every run of frames in which it is known;
        it is unknown between the last frame before a gap and the first one after it. Nothing is
        filtered: people move below some 10 Hz, and what is faster in the source aliases.

        Raises
        ------
        ValueError
            If the rate is not positive.
        """
        if not rate_hz > 0:
            raise ValueError(f"{self.name}: the rate must be positive, got {rate_hz} Hz")
        last = max(len(self.joints_m) - 1, 0)
        count = int(np.floor(last / self.rate_hz * rate_hz + _SAME_INSTANT_FRAMES)) + 1
        # instants in frames of the source
        at = np.minimum(np.arange(count) * (self.rate_hz / rate_hz), last)
        near = np.round(at)
        at = np.where(np.abs(at - near) < _SAME_INSTANT_FRAMES, near, at)
        if not len(self.joints_m):
            at = at[:0]
        joints_m = np.full((len(at), *self.joints_m.shape[1:]), np.nan, np.float32)
        for joints, first, end in self._known_runs():
            inside = (at >= first) & (at <= end - 1)
            source = self.joints_m[first:end, joints].astype(np.float64)
            if end - first > 1:
                values = CubicSpline(np.arange(first, end), source)(at[inside])
            else:
                values = np.broadcast_to(source, (inside.sum(), *source.shape[1:]))
            joints_m[np.ix_(inside, joints)] = values
        return replace(self, rate_hz=rate_hz, joints_m=joints_m)

    def smoothed(self, below_hz: float) -> PoseSequence:
        """Return the movement without what is faster than a frequency.

        A Butterworth filter of fourth order, forwards and backwards, so that nothing is late; over
        each run of frames in which a joint is known. Bones lose a little of their constant length.

        Parameters
        ----------
        below_hz : float
            Where the filter passes half of the power of each direction.

        Raises
        ------
        ValueError
            If the frequency is not between 0 and half the rate.
        """
        if not 0 < below_hz < self.rate_hz / 2:
            raise ValueError(
                f"{self.name}: want a frequency between 0 and {self.rate_hz / 2} Hz, "
                f"got {below_hz}"
            )
        sections = butter(4, below_hz, fs=self.rate_hz, output="sos")
        joints_m = self.joints_m.copy()
        for joints, first, end in self._known_runs():
            joints_m[first:end, joints] = sosfiltfilt(
                sections,
                self.joints_m[first:end, joints].astype(np.float64),
                axis=0,
                padlen=min(_PADDING_FRAMES, end - first - 1),
            )
        return replace(self, joints_m=joints_m)

    def _known_runs(self) -> Iterator[tuple[np.ndarray, int, int]]:
        """Yield joints that are known at the same times, and a run [first, end) of these."""
        known = ~np.isnan(self.joints_m).any(-1)
        patterns, pattern_of = np.unique(known, axis=1, return_inverse=True)
        for number, pattern in enumerate(patterns.T):
            joints = np.flatnonzero(pattern_of.ravel() == number)
            for first, end in runs(pattern):
                yield joints, first, end

    def whole_pieces(self, shortest_s: float = 0.0) -> list[PoseSequence]:
        """Return the stretches in which every joint is known, named by their first frames.

        Parameters
        ----------
        shortest_s : float
            Shorter ones are left out.
        """
        whole = ~np.isnan(self.joints_m).any((1, 2))
        return [
            replace(self, name=f"{self.name}@{first}", joints_m=self.joints_m[first:end])
            for first, end in runs(whole)
            if end - first >= shortest_s * self.rate_hz
        ]


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return the runs [first, end) of a series of flags, shape ``(frames,)``, that are set."""
    edges = np.diff(np.concatenate([[0], np.asarray(flags, np.int8), [0]]))
    firsts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(firsts.tolist(), ends.tolist(), strict=True))


def split_by_subject(
    sequences: Iterable[PoseSequence], held_out: Sequence[str]
) -> tuple[list[PoseSequence], list[PoseSequence]]:
    """Return the sequences of all other people, and those of the people held out.

    Raises
    ------
    ValueError
        If one of the people is in none of the sequences.
    """
    sequences = list(sequences)
    subjects = {sequence.subject for sequence in sequences}
    unknown = set(held_out) - subjects
    if unknown:
        raise ValueError(
            f"no sequence of {', '.join(sorted(unknown))}, there are {', '.join(sorted(subjects))}"
        )
    rest = [sequence for sequence in sequences if sequence.subject not in held_out]
    return rest, [sequence for sequence in sequences if sequence.subject in held_out]


def minutes_by_subject(sequences: Iterable[PoseSequence]) -> dict[str, float]:
    """Return how long each subject is seen, frames without any known joint left out."""
    minutes: dict[str, float] = {}
    for sequence in sequences:
        seen = int((~np.isnan(sequence.joints_m).any(-1)).any(-1).sum())
        minutes.setdefault(sequence.subject, 0.0)
        minutes[sequence.subject] += seen / sequence.rate_hz / 60
    return minutes


def check_sides(joints_m: np.ndarray, skeleton: str, where: str) -> None:
    """Check by geometry that left is left: hips like shoulders, and knees that bend forward.

    Orders of joints differ between data sets, often in nothing but which leg comes first. The
    vector between the hips has to point as the one between the shoulders, on the mean; and the
    knees have to lie before the line from hip to ankle as somebody sees it whose left is there.

    Parameters
    ----------
    joints_m : ndarray, shape (frames, joints, 3)
        In any right-handed frame; poses in which somebody walks or sits, not only stands.
    skeleton : str
        Name of a skeleton with hips, knees, ankles and shoulders.
    where : str
        What the error names.

    Raises
    ------
    ValueError
        If the legs are exchanged, or both legs and arms, or the frame is left-handed.
    """
    order = definitions.get(skeleton)

    def joint(name: str) -> np.ndarray:
        return joints_m[:, order.index(name)].astype(np.float64)

    hips = joint("left_hip") - joint("right_hip")
    shoulders = joint("left_shoulder") - joint("right_shoulder")
    if np.nanmean((hips * shoulders).sum(-1)) < 0:
        raise ValueError(
            f"{where}: left and right of the hips are against those of the shoulders; the joints "
            f"are not in the order of {skeleton}"
        )
    trunk = (joint("left_shoulder") + joint("right_shoulder")) / 2 - (
        joint("left_hip") + joint("right_hip")
    ) / 2
    forward = np.cross(hips, trunk)
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    ahead = []
    for side in ("left", "right"):
        hip, knee, ankle = (joint(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
        leg = ankle - hip
        share = ((knee - hip) * leg).sum(-1) / (leg**2).sum(-1)
        ahead.append((((knee - hip) - share[:, None] * leg) * forward).sum(-1))
    mean_m = float(np.nanmean(ahead))
    if mean_m < _KNEES_BACK_M:
        raise ValueError(
            f"{where}: knees bend {-mean_m:.3f} m to the back on the mean; left and right are "
            f"exchanged, or the coordinates are left-handed"
        )
