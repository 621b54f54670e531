"""Poses at a fixed rate from a stream of keyframes: at irregular times, with joints missing.

The engine behind a node, without ROS. Keyframes are brought onto a regular grid, a model estimates
all frames of a window of them, and windows that overlap are blended::

    pushed poses  *     *  x     *    *      any times; x: a joint is NaN
    keyframes     o     o     o     o        every K frames, from the pose that came first
    frames        . . . . . . . . . .        at the rate that was asked for

A frame is final when `Refiner.blend` windows have covered it; what is not final yet can be looked
at beforehand (`Refiner.preview`), the near future too. Everything here is our own choice, except
that windows overlap, which the evaluation of MixSynthFormer and of DeciWatch does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from radar_pose_ros.models.interpolation import DEGREES, METHODS, interpolate
from radar_pose_ros.skeleton import checks, plausible


class Origin(IntEnum):
    """Where a joint of a frame comes from.

    OBSERVED: in a keyframe that is made of a pose within half a frame. INTERPOLATED: between
    keyframes, whether a pose came near or not: it is made of those on both sides. So is a joint of
    a keyframe that was seen before and after. PREDICTED: beyond the last keyframe, or not seen
    since. MISSING: not known, NaN. What comes of a pose that itself was not observed is no better
    than that.
    """

    OBSERVED = 0
    INTERPOLATED = 1
    PREDICTED = 2
    MISSING = 3


@dataclass(frozen=True)
class RefinedPoses:
    """Consecutive frames.

    Attributes
    ----------
    times_s : ndarray of float64, shape (frames,)
    poses : ndarray of float64, shape (frames, joints, values)
        In the unit of what was pushed. NaN where not known.
    origin : ndarray of uint8, shape (frames, joints)
        Numbers of `Origin`.
    keyframes_s : ndarray of float64, shape (frames, 2)
        Times of the keyframes before and after each, one and the same for a frame at a keyframe;
        beyond the last keyframe twice that one's.
    """

    times_s: np.ndarray
    poses: np.ndarray
    origin: np.ndarray
    keyframes_s: np.ndarray

    def __len__(self) -> int:
        return len(self.times_s)

    @classmethod
    def join(cls, parts: Sequence[RefinedPoses]) -> RefinedPoses:
        """Return the frames of all parts, one after the other; there must be one at least."""
        return cls(
            np.concatenate([part.times_s for part in parts]),
            np.concatenate([part.poses for part in parts]),
            np.concatenate([part.origin for part in parts]),
            np.concatenate([part.keyframes_s for part in parts]),
        )


class WindowModel(Protocol):
    """What estimates the frames of a window.

    It reads ``segments`` + 1 keyframes, ``interval`` frames apart, and gives every frame from the
    first to the last of them, and ``future_frames`` more.
    """

    @property
    def interval(self) -> int: ...

    @property
    def segments(self) -> int: ...

    @property
    def future_frames(self) -> int: ...

    def refine(self, keyframes: np.ndarray) -> np.ndarray:
        """(keyframes, joints, values), finite -> (frames, joints, values)."""
        ...


@dataclass(frozen=True)
class InterpolationModel:
    """A window interpolated, without a network.

    Parameters
    ----------
    method : str
        One of `interpolation.METHODS`.
    interval, segments, future_frames : int
        See `WindowModel`.
        Beyond the last keyframe it goes on as from the last but one to that.

    Raises
    ------
    ValueError
        If there is no such method, a number is out of range, or there are too few keyframes for
        such a curve; the sentence says which.
    """

    method: str = "linear"
    interval: int = 3
    segments: int = 1
    future_frames: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method {self.method!r} is none of {', '.join(METHODS)}")
        checks.whole("interval", self.interval, 1)
        checks.whole("segments", self.segments, 1)
        checks.whole("future_frames", self.future_frames, 0)
        least = DEGREES.get(self.method, 1)
        if self.segments < least:  # or it would be a straight line by the name of a curve
            raise ValueError(
                f"method {self.method!r} needs segments of {least} or more, got {self.segments}"
            )

    def refine(self, keyframes: np.ndarray) -> np.ndarray:
        """See `WindowModel`."""
        count = self.segments + 1
        axes = f"({count} keyframes, joints, values)"
        keyframes = _window(keyframes, (count, None, None), axes)
        times = np.arange(self.segments + 1.0) * self.interval
        frames = np.arange(self.interval * self.segments + 1.0)
        past = interpolate(times, keyframes, frames, self.method).poses
        step = (keyframes[-1] - keyframes[-2]) / self.interval
        ahead = np.arange(1, self.future_frames + 1)[:, None, None]
        return np.concatenate([past, past[-1] + ahead * step])


class NetworkModel:
    """A network's estimate of a window.

    Parameters
    ----------
    network : nn.Module
        `mixsynthformer.MixSynthFormer` or `deciwatch.DeciWatch`.
    root : sequence of int
        For a network that was trained on poses relative to a root: the joints whose middle that
        is. The root itself goes straight from keyframe to keyframe.
    """

    def __init__(self, network: nn.Module, root: Sequence[int] = ()) -> None:
        config: Any = network.config
        self.network = network.eval()
        self.root = list(root)
        self.interval: int = config.interval
        self.segments: int = config.segments
        self.future_frames: int = config.future_frames
        self._device = next(network.parameters()).device
        self._shape = (config.segments + 1, config.joints, config.values)
        self._axes = "({} keyframes, {} joints, {} values)".format(*self._shape)

    @torch.inference_mode()
    def refine(self, keyframes: np.ndarray) -> np.ndarray:
        """See `WindowModel`."""
        keyframes = _window(keyframes, self._shape, self._axes)
        roots: np.ndarray | float = 0.0
        if self.root:
            middle = keyframes[:, self.root].mean(axis=1, keepdims=True)
            keyframes = keyframes - middle
            straight = InterpolationModel(
                "linear", self.interval, self.segments, self.future_frames
            )
            roots = straight.refine(middle)
        batch = torch.from_numpy(keyframes).float().unsqueeze(0).to(self._device)
        return self.network(batch)[0].double().cpu().numpy() + roots


def _window(keyframes: ArrayLike, shape: tuple[int | None, ...], axes: str) -> np.ndarray:
    """Return a window of keyframes; raise ``ValueError`` if it is none for a model."""
    found = checks.array("a window", keyframes, shape, axes)
    if not np.isfinite(found).all():
        raise ValueError("a window must be finite: `fill` puts numbers where joints are missing")
    return found


def _region_weights(interval: int, blend: int, taper: bool) -> np.ndarray:
    """Return how much the last frames of a window count beside other windows', (frames,)."""
    place = np.arange(1.0, blend * interval + 1)
    return np.minimum(place, place[::-1]) if taper else np.ones_like(place)


def fill(keyframes: np.ndarray) -> np.ndarray:
    """Put numbers where there are none, because a network wants a whole pose.

    Parameters
    ----------
    keyframes : ndarray, shape (keyframes, joints, values)
        NaN where not known; of each keyframe at least one joint is.

    Returns
    -------
    ndarray of float64, shape (keyframes, joints, values)
        A joint is interpolated; before the first keyframe in which it is known, and after the
        last, it is as there. A joint that is never known stands in the middle of the others.

    Raises
    ------
    ValueError
        If the shape is another.
    """
    keyframes = checks.array(
        "keyframes", keyframes, (None, None, None), "(keyframes, joints, values)"
    )
    known = np.isfinite(keyframes).all(axis=2)
    if known.all():
        return keyframes
    numbers = np.arange(len(keyframes), dtype=float)
    filled = keyframes.copy()
    for joint in range(keyframes.shape[1]):
        there = known[:, joint]
        if there.any():
            for value in range(keyframes.shape[2]):
                column = keyframes[there, joint, value]
                filled[:, joint, value] = np.interp(numbers, numbers[there], column)
    never = ~known.any(axis=0)
    filled[:, never] = filled[:, ~never].mean(axis=1, keepdims=True)
    return filled


@dataclass
class _Frame:
    """A frame that is not final yet."""

    # By a window's last keyframe: how much it counts, and its (joints, values), NaN if not known.
    parts: dict[int, tuple[float, np.ndarray]]

    def pose(self) -> np.ndarray:
        """Return the weighted mean of the windows, (joints, values)."""
        total = weight = np.zeros((1, 1))
        for share, part in self.parts.values():
            known = ~np.isnan(part).any(axis=1, keepdims=True)
            total = total + np.where(known, share * part, 0.0)
            weight = weight + share * known
        return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)


@dataclass
class _Keyframe:
    """A grid point that time has passed."""

    number: int
    pose: np.ndarray  # (joints, values), NaN where no observation reaches
    origin: np.ndarray  # (joints,), of what is not NaN


class Refiner:
    """Turns a stream of keyframes into poses at a fixed rate.

    A joint that is missing stays where it was seen last, for ``gap_s`` at most. As soon as it is
    seen again it is interpolated between the two in all frames that are not final yet: with
    ``blend`` 1 those after the last keyframe without it, and a keyframe interval more for each
    further window. Frames that became final before stay PREDICTED. The cost of a pose is that of
    one window, or of as many as keyframes fit into ``gap_s``.

    Parameters
    ----------
    model : WindowModel
    joints, values : int
        Of a pose. Where a number of a joint is NaN, infinite or beyond `plausible.FARTHEST_PX`,
        whatever its unit, the joint is not known.
    rate_hz : float
        Of the frames that come out. Keyframes are expected at ``rate_hz / model.interval``; what
        comes at other times is interpolated linearly onto that grid. A pose up to half a frame
        before a point of the grid stands for it until the next one comes: nothing is extrapolated.
    blend : int, optional
        Windows whose mean a frame is, 1 to the model's ``segments``; by default that. Each costs
        a latency of a keyframe interval (`latency_s`); a window reads all its keyframes anyway.
    taper : bool
        A window counts the less the nearer its own ends are, so that nothing jumps where one
        window takes over from another. Otherwise all count the same, as published, and as
        `training.pose_tracks.refine_sequence` has it, which is compared with this.
    gap_s : float
        After so long without a pose, or if time runs backwards, it starts anew.

    Raises
    ------
    ValueError
        If a number is out of range; the sentence says which.
    """

    def __init__(
        self,
        model: WindowModel,
        joints: int,
        values: int,
        rate_hz: float,
        *,
        blend: int | None = None,
        taper: bool = True,
        gap_s: float = 1.0,
    ) -> None:
        blend = model.segments if blend is None else blend
        checks.whole("blend", blend, 1, model.segments)
        checks.real("rate_hz", rate_hz, positive=True)
        if checks.real("gap_s", gap_s) < model.interval / rate_hz:
            raise ValueError(
                f"gap_s must be at least the {model.interval / rate_hz:.3g} s from "
                f"keyframe to keyframe, got {gap_s}"
            )
        self.model = model
        self.joints = checks.whole("joints", joints, 1)
        self.values = checks.whole("values", values, 1)
        self.rate_hz = rate_hz
        self.blend = blend
        self.gap_s = gap_s
        self._weights = _region_weights(model.interval, blend, taper)
        self._reset()

    @property
    def latency_s(self) -> float:
        """How much later than a frame it becomes final, at most, once a window is full.

        If keyframes come when the grid wants them; else up to one keyframe interval more. The
        first window's frames wait for its last keyframe.
        """
        return (self.blend * self.model.interval - 1) / self.rate_hz

    def push(
        self, time_s: float, pose: ArrayLike, origin: ArrayLike | None = None
    ) -> RefinedPoses:
        """Take a keyframe and return the frames that it makes final.

        Parameters
        ----------
        time_s : float
            Of the pose. A time before the last one's, or more than ``gap_s`` after it, flushes:
            what was not final comes out as it is, and the grid starts anew. A pose of the very
            same time as the last one is ignored.
        pose : array_like, shape (joints, values)
            NaN where a joint is not known; all NaN if nobody is seen.
        origin : array_like of int, shape (joints,), optional
            Where its joints come from, OBSERVED to PREDICTED; all are OBSERVED if it is not given.
            Without meaning where they are not known.

        Raises
        ------
        ValueError
            If the pose has another shape, there is text in it, the time is not finite or there is
            no such origin.
        """
        shape = (self.joints, self.values)
        values = checks.array(
            "a pose", pose, shape, f"({self.joints} joints, {self.values} values)"
        )
        checks.real("time_s", time_s)
        values = plausible.within(values)
        origins = np.zeros(self.joints) if origin is None else np.asarray(origin)
        known = np.isfinite(values).all(axis=1)
        if origins.shape != known.shape or not np.isin(origins[known], range(3)).all():
            raise ValueError(
                f"origin must be 0 to {Origin.PREDICTED:d} for each of the {self.joints} joints, "
                f"got {np.array2string(origins, threshold=20, separator=', ')}"
            )
        parts = []
        if self._last_s is not None and not 0 <= time_s - self._last_s <= self.gap_s:
            parts.append(self.flush())
        if time_s != self._last_s:
            parts.append(self._advance(time_s, values, origins.astype(np.uint8)))
        return RefinedPoses.join(parts) if parts else self._nothing()

    def push_many(self, times_s: Iterable[float], poses: Iterable[ArrayLike]) -> RefinedPoses:
        """Take keyframes one after the other; the same as `push` for each.

        Raises
        ------
        ValueError
            As `push`, or if there are not as many times as poses.
        """
        times, many = list(times_s), list(poses)
        if len(times) != len(many):
            raise ValueError(
                f"there must be as many times as poses, got {len(times)} for {len(many)}"
            )
        parts = [self.push(time, pose) for time, pose in zip(times, many, strict=True)]
        return RefinedPoses.join([self._nothing(), *parts])

    def preview(self, until_s: float) -> RefinedPoses:
        """Return the frames after the last final one up to a time, as far as they can be told.

        They are what the windows so far say, then what the model predicts beyond the last
        keyframe: all that is PREDICTED, even where a pose has come since, of which it knows
        nothing yet. They are not final: a later call may say otherwise.

        Raises
        ------
        ValueError
            If the time is not finite.
        """
        checks.real("until_s", until_s)
        if self._start_s is None or not self._running:
            return self._nothing()
        last = math.floor((until_s - self._start_s) * self.rate_hz + 1e-6)
        last = min(last, self._last_frame + len(self._ahead))
        return self._frames(range(self._next_frame, last + 1))

    def flush(self) -> RefinedPoses:
        """Return the frames that are not final yet, as they are, and start anew.

        Of a stream that was shorter than a window the first keyframe is taken for those that
        would have come before it.
        """
        rest = self._nothing()
        if self._keyframes:
            if not self._running:
                self._run_window()
            rest = self._frames(range(self._next_frame, self._last_frame + 1))
        self._reset()
        return rest

    def _reset(self) -> None:
        self._start_s: float | None = None  # time of keyframe 0 and frame 0
        self._last_s: float | None = None  # of the last pose
        self._seen_s = np.full(self.joints, -np.inf)
        self._seen = np.full((self.joints, self.values), np.nan)
        self._seen_frame = np.full(self.joints, -1)  # the nearest one then
        self._seen_origin = np.zeros(self.joints, np.uint8)
        self._keyframes: deque[_Keyframe] = deque(maxlen=self.model.segments + 1)
        self._pending: dict[int, _Frame] = {}
        self._ahead = np.empty((0, self.joints, self.values))
        self._next_frame = 0
        self._running = False  # whether a window has been estimated

    @property
    def _last_frame(self) -> int:
        """Number of the frame at the last keyframe."""
        return self._keyframes[-1].number * self.model.interval

    def _nothing(self) -> RefinedPoses:
        return self._frames(range(0))

    def _time_s(self, frame: float) -> float:
        assert self._start_s is not None
        return self._start_s + frame / self.rate_hz

    def _advance(self, time_s: float, pose: np.ndarray, origin: np.ndarray) -> RefinedPoses:
        """Take a pose that is later than the last one."""
        visible = np.isfinite(pose).all(axis=1)
        if self._start_s is None:
            if not visible.any():
                return self._nothing()
            self._start_s = time_s
        self._last_s = time_s
        # half a frame too early is early enough
        number = math.floor((time_s - self._start_s) * self.rate_hz + 0.5 + 1e-6)
        back = visible & (time_s - self._seen_s <= self.gap_s)
        revised = self._withdraw(back)
        keyframes = self._reach(number, time_s, pose, visible, back, origin)
        self._seen_s[visible], self._seen[visible] = time_s, pose[visible]
        self._seen_frame[visible], self._seen_origin[visible] = number, origin[visible]
        if revised and not keyframes:
            self._run_window()
        parts = [self._nothing()]
        for keyframe in keyframes:
            if np.isnan(keyframe.pose).any(axis=1).all():  # nobody there any more
                parts.append(self.flush())
                if visible.any():
                    parts.append(self._advance(time_s, pose, origin))
                break
            self._keyframes.append(keyframe)
            if len(self._keyframes) == self.model.segments + 1:
                self._run_window()
                final = self._last_frame - (self.blend - 1) * self.model.interval
                parts.append(self._finish(final))
        return RefinedPoses.join(parts)

    def _withdraw(self, back: np.ndarray) -> bool:
        """Forget what windows told of joints that are back, from where those were held.

        The next window covers all frames that are not final. Returns whether there was anything.
        """
        guessed = {
            keyframe.number: back & (self._seen_frame < keyframe.number * self.model.interval)
            for keyframe in self._keyframes
        }
        if not any(joints.any() for joints in guessed.values()):
            return False
        parts = [item for frame in self._pending.values() for item in frame.parts.items()]
        for number, (_, part) in parts:
            part[guessed[number]] = np.nan
        return bool(parts)

    def _reach(
        self,
        number: int,
        time_s: float,
        pose: np.ndarray,
        visible: np.ndarray,
        back: np.ndarray,
        origin: np.ndarray,
    ) -> list[_Keyframe]:
        """Return the grid points up to a pose, and correct those in which its joints were held."""
        interval = self.model.interval
        following = self._keyframes[-1].number + 1 if self._keyframes else 0
        reached = [
            _Keyframe(
                k,
                np.full((self.joints, self.values), np.nan),
                np.full(self.joints, Origin.PREDICTED, np.uint8),
            )
            for k in range(following, number // interval + 1)
        ]
        between = np.maximum(np.maximum(origin, self._seen_origin), Origin.INTERPOLATED)
        for keyframe in [*self._keyframes, *reached]:
            frame = keyframe.number * interval
            at_s = self._time_s(frame)
            late = back & (self._seen_s < at_s)
            keyframe.pose[late] = self._line(at_s, time_s, pose)[late]
            late &= self._seen_frame < frame
            keyframe.origin[late] = between[late]
            if frame == number:
                keyframe.origin[back] = np.minimum(keyframe.origin, origin)[back]
        for keyframe in reached:
            at_s = self._time_s(keyframe.number * interval)
            held = ~visible & (at_s - self._seen_s <= self.gap_s)
            keyframe.pose[held] = self._seen[held]
            if keyframe.number * interval == number:
                new = visible & ~back
                keyframe.pose[new], keyframe.origin[new] = pose[new], origin[new]
        return reached

    def _line(self, at_s: float, time_s: float, pose: np.ndarray) -> np.ndarray:
        """Return poses on the straight way from where joints were last seen to this pose.

        After it they stay there: from two poses of nearly the same time no velocity can be told.
        """
        share = max(time_s - at_s, 0.0) / (time_s - self._seen_s)
        return pose - share[:, None] * (pose - self._seen)

    def _run_window(self) -> None:
        """Let the model estimate the window of the last keyframes, and add what it says."""
        model, region = self.model, len(self._weights)
        poses = np.stack([keyframe.pose for keyframe in self._keyframes])
        lacking = model.segments + 1 - len(poses)
        poses = np.concatenate([np.repeat(poses[:1], lacking, axis=0), poses])
        estimate = np.array(model.refine(fill(poses)), np.float64)
        # A joint is known in a frame if it is in the keyframes before and after.
        known = np.isfinite(poses).all(axis=2)
        places = np.arange(len(estimate)) / model.interval
        before = np.minimum(np.floor(places), model.segments).astype(int)
        after = np.minimum(np.ceil(places), model.segments).astype(int)
        estimate[~(known[before] & known[after])] = np.nan
        past = model.interval * model.segments + 1
        weights = np.zeros(past)
        if not self._running:
            weights[:] = 1.0  # nothing else covers what is before the region
        weights[past - region :] = self._weights
        first = self._last_frame - past + 1
        for k in range(max(0, self._next_frame - first), past):
            if weights[k]:
                part = (float(weights[k]), estimate[k])
                frame = self._pending.setdefault(first + k, _Frame({}))
                frame.parts[self._keyframes[-1].number] = part
        self._ahead = estimate[past:]
        self._running = True

    def _finish(self, last: int) -> RefinedPoses:
        """Return the frames up to this one, and forget them."""
        result = self._frames(range(self._next_frame, last + 1))
        for number in range(self._next_frame, last + 1):
            self._pending.pop(number, None)
        self._next_frame = max(self._next_frame, last + 1)
        return result

    def _frames(self, numbers: range) -> RefinedPoses:
        """Return frames as they are now."""
        poses = np.full((len(numbers), self.joints, self.values), np.nan)
        origin = np.full((len(numbers), self.joints), Origin.PREDICTED, np.uint8)
        around_s = np.empty((len(numbers), 2))
        times = np.array([self._time_s(number) for number in numbers], np.float64)
        for k, number in enumerate(numbers):
            before, after = self._around(number)
            around_s[k] = [
                self._time_s(each.number * self.model.interval) for each in (before, after)
            ]
            if number > self._last_frame:
                poses[k] = self._ahead[number - self._last_frame - 1]
                continue
            poses[k] = self._pending[number].pose()
            origin[k] = before.origin
            if before is not after:
                worse = np.maximum(before.origin, after.origin)
                origin[k] = np.maximum(worse, Origin.INTERPOLATED)
        origin[np.isnan(poses).any(axis=2)] = Origin.MISSING
        return RefinedPoses(times, poses, origin, around_s)

    def _around(self, frame: int) -> tuple[_Keyframe, _Keyframe]:
        """Return the keyframes before and after a frame that was not given yet.

        They are the same one at a keyframe, and beyond the last.
        """
        first, place = self._keyframes[0].number, frame / self.model.interval
        before, after = (
            self._keyframes[min(number - first, len(self._keyframes) - 1)]
            for number in (math.floor(place), math.ceil(place))
        )
        return before, after
