"""Windows that networks learn from to fuse cameras that fire one after another.

For each window somebody's movement, a rig of cameras around it and an interval between the shots
of each camera are drawn, and what a detector makes of the shots of each view. Known is where the
joints really were at the instant of the newest shot, and what the detector would have made of
shots of all views at that instant.

It is the latter that a warper learns [choice]. A detector's errors stay for a while, and differ
from view to view: what learns the truth learns to draw views together whose joints nothing but the
detector has parted, and loses by it where cameras are many or their shots dense.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from radar_pose_ros.datasets import cmu_mocap, simulated_poses
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.models.densewarper import DenseWarperConfig, slot_targets
from radar_pose_ros.models.multiview import Views, crop, in_heatmaps, views_of
from radar_pose_ros.simulation.cameras import CameraRanges, PinholeCamera
from radar_pose_ros.simulation.detector_noise import DetectorNoise
from radar_pose_ros.simulation.multiview import Detector, observe, rig
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.training import recipe
from radar_pose_ros.training.movements import MovementData, check_split, of_split
from radar_pose_ros.vision.alignment import Aligned
from radar_pose_ros.vision.interleaving import Shot, Window
from radar_pose_ros.vision.triangulation import triangulate

# A rig is aimed at the middle of where somebody is during this time [choice].
_AIM_S = 4.0
# Keeps the random streams of windows to be measured apart from those to be learnt from.
_FIXED = 0x72696773
_SPLINE_FRAMES = 4  # on both sides of what is asked for


@dataclass(frozen=True)
class RigData(MovementData):
    """Also the rigs; ``seed`` is of the rigs of measured windows, too. All defaults are choices.

    Parameters
    ----------
    views : (int, int)
        Fewest and most cameras of a rig.
    cameras : CameraRanges
        Where cameras are put; the azimuths begin anywhere.
    arc : (float, float)
        Radians: a rig takes up so much of the circle around the person.
    interval_s : (float, float)
        Between two shots of a camera; its logarithm is drawn evenly.
    random_share : float
        Of the windows whose cameras know nothing of each other; those of the others fire in turn,
        evenly, in any order.
    detector : Detector
        Pixels, of an image as wide as the cameras' (1000).
    noise_factor : (float, float)
        Range of a factor on jitter, drift, outliers and bias: detectors of different worth.
    margin : (float, float)
        Range of what training cuts out around a person, see `crop`.
    sureness : (float, float)
        Range of a factor on the detector's confidences.
    learn_truth : bool
        Whether a warper is to move joints to where they really are, instead of to where the
        view's detector would have them.
    """

    rate_hz: float = 60.0
    views: tuple[int, int] = (2, 4)
    cameras: CameraRanges = field(default_factory=CameraRanges)
    arc: tuple[float, float] = (2.0, 2 * np.pi)
    interval_s: tuple[float, float] = (0.04, 0.4)
    random_share: float = 0.5
    detector: Detector = field(default_factory=Detector)
    noise_factor: tuple[float, float] = (1.0, 1.0)
    margin: tuple[float, float] = (1.2, 1.6)
    sureness: tuple[float, float] = (1.0, 1.0)
    learn_truth: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        lowest = {"views": 2, "arc": 0, "interval_s": 1e-3, "noise_factor": 0, "margin": 1}
        lowest |= {"sureness": 0}
        for name, least in lowest.items():
            ends = getattr(self, name)
            if len(ends) != 2 or not least <= ends[0] <= ends[1] < np.inf:
                raise ValueError(f"data: {name} must be a range from {least} up, got {ends}")
        if not 0 <= self.random_share <= 1:
            raise ValueError(f"data: random_share must be 0 to 1, got {self.random_share}")

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> RigData:
        """Return what plain entries say, as YAML or JSON have them."""
        made: dict[str, Any] = _with_tuples(entries)
        cameras = _with_tuples(made.get("cameras", {}))
        made["cameras"] = recipe.made(CameraRanges, cameras, "data: cameras")
        detector = dict(made.get("detector", {}))
        noise = _with_tuples(detector.get("noise", {}))
        detector["noise"] = recipe.made(DetectorNoise, noise, "data: detector: noise")
        made["detector"] = recipe.made(Detector, detector, "data: detector")
        return recipe.made(cls, made, "data")

    def disturbing(self, rng: np.random.Generator) -> Detector:
        """Return a detector of a worth that is drawn."""
        factor, noise = rng.uniform(*self.noise_factor), self.detector.noise
        worse = {name: factor * getattr(noise, name) for name in ("white", "drift", "outlier")}
        bias = factor * self.detector.bias
        sureness = rng.uniform(*self.sureness)
        names = ("confidence", "hidden_confidence")
        sure = {name: min(1.0, sureness * getattr(self.detector, name)) for name in names}
        return replace(self.detector, noise=replace(noise, **worse), bias=bias, **sure)


def _with_tuples(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()
    }


def load(data: RigData, split: str, mocap: Path | None = None) -> list[PoseSequence]:
    """Return the movements of a split.

    Parameters
    ----------
    data : RigData
    split : {"train", "validation", "test"}
    mocap : Path, optional
        ``cmu_60hz.npz``, which is added to the simulated people.

    Raises
    ------
    FileNotFoundError, ValueError
        As the data set raises them, or if there is no such split.
    """
    check_split(split)
    recorded = of_split(cmu_mocap.load_sequences(mocap), data, split, mocap) if mocap else []
    people = simulated_poses.simulate_sequences(
        data.simulated[split], data.seconds, data.rate_hz, split, data.seed
    )
    people += recorded
    return [piece for person in people for piece in person.resampled(data.rate_hz).whole_pieces()]


@dataclass(frozen=True, eq=False)
class RigWindow:
    """What a rig saw last of somebody, and the truth.

    Attributes
    ----------
    source : str
        The movement that it is from.
    cameras : tuple of PinholeCamera
        Without distortion.
    window : Window
        Of every view the newest shot and the one before.
    together : tuple of Shot
        What every view would report of the window's instant.
    joints_m : ndarray, shape (joints, 3)
        The truth at that instant, in the cameras' world.
    """

    source: str
    cameras: tuple[PinholeCamera, ...]
    window: Window
    together: tuple[Shot, ...]
    joints_m: np.ndarray

    @property
    def projections(self) -> np.ndarray:
        """Of the cameras, (views, 3, 4)."""
        return np.stack([camera.projection_matrix for camera in self.cameras])


def draw(
    source: PoseSequence,
    instant_s: float,
    views: int,
    slot: int,
    data: RigData,
    rng: np.random.Generator,
) -> RigWindow:
    """Let a rig that is drawn see somebody.

    Parameters
    ----------
    source : PoseSequence
        Without gaps, at ``data.rate_hz``.
    instant_s : float
        Of the newest shot; twice the longest interval after the first frame at least.
    views, slot : int
        How many cameras there are, and which of them fires last.
    data : RigData
    rng : numpy.random.Generator
        Source of all choices.
    """
    arc, begin = rng.uniform(*data.arc), rng.uniform(-np.pi, np.pi)
    interval_s = float(np.exp(rng.uniform(*np.log(data.interval_s))))
    if rng.random() < data.random_share:
        ages = interval_s * rng.uniform(size=views)
    else:
        turn = rng.permutation(views)
        ages = interval_s * ((turn - turn[slot]) % views) / views
    ages[slot] = 0.0
    frame = round(instant_s * data.rate_hz)
    around = round(_AIM_S * data.rate_hz / 2)
    near = source.joints_m[max(frame - around, 0) : frame + around]
    ranges = replace(data.cameras, azimuth=(begin, begin + arc))
    cameras = rig(views, near.mean((0, 1)), rng, ranges)
    joints_at = _movement(source, instant_s - 2 * interval_s, instant_s)
    stamps = [
        np.unique([instant_s - age - interval_s, instant_s - age, instant_s])
        for age in ages.tolist()
    ]
    seen = observe(joints_at, H36M17, cameras, stamps, rng, data.disturbing(rng))
    # of the view that fires at the instant itself the newest shot is the last one
    before, newest, together = (
        tuple(
            Shot(float(view.stamps_s[shot]), view.keypoints_px[shot], view.score[shot])
            for view in seen
            for shot in [min(place, len(view.stamps_s) - 1)]
        )
        for place in range(3)
    )
    truth = joints_at(np.array([instant_s]))[0]
    window = Window(instant_s, slot, newest, before)
    name = source.name.partition("@")[0]
    return RigWindow(name, tuple(cameras), window, together, truth)


def _movement(
    source: PoseSequence, first_s: float, last_s: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the joints as a function of time, good from one instant to another."""
    rate_hz = source.rate_hz
    first = max(int(first_s * rate_hz) - _SPLINE_FRAMES, 0)
    end = int(np.ceil(last_s * rate_hz)) + _SPLINE_FRAMES
    joints = source.joints_m[first:end].astype(np.float64)
    return CubicSpline((first + np.arange(len(joints))) / rate_hz, joints)


class Batch(NamedTuple):
    """Windows to learn from.

    Attributes
    ----------
    views : Views
    target_px : Tensor
        float32 ``(windows, views, 1, joints, 2)``: where each view would see the joints at the
        newest shot's instant, pixels of its heatmap; NaN where it would not.
    seen : Tensor
        bool ``(windows, views, joints)``: what was reported.
    """

    views: Views
    target_px: Tensor
    seen: Tensor


class RigBatches:
    """Random windows of movements as random rigs see them; the same for the same step.

    All windows of a step have as many views, and the same view is the newest.

    Parameters
    ----------
    sources : sequence of PoseSequence
    pairs : int
        Views to be moved per step, of all processes together: fewer windows of more views.
    network : DenseWarperConfig
        Of what is to learn.
    data : RigData
    seed : int

    Raises
    ------
    ValueError
        If no movement is long enough, or there are fewer pairs than one window has.
    """

    def __init__(
        self,
        sources: Sequence[PoseSequence],
        pairs: int,
        network: DenseWarperConfig,
        data: RigData,
        seed: int,
    ) -> None:
        if pairs < data.views[1] - 1:
            raise ValueError(f"{data.views[1]} views have more pairs than a batch of {pairs}")
        self.places = _Places(sources, data)
        self.pairs, self.network, self.data, self.seed = pairs, network, data, seed

    def shape(self, step: int) -> tuple[int, int, int]:
        """Return the windows of a step, their views, and which of these is the newest."""
        rng = np.random.default_rng([self.seed, step])
        views = int(rng.integers(self.data.views[0], self.data.views[1] + 1))
        return self.pairs // (views - 1), views, int(rng.integers(views))

    def __call__(self, step: int, mine: slice = slice(None)) -> Batch:
        """Return the windows of a step, or these of them."""
        count, views, slot = self.shape(step)
        # a trailing 0 would change nothing: see `shape`
        streams = [np.random.default_rng([self.seed, step, n + 1]) for n in range(count)[mine]]
        windows = [draw(*self.places.draw(rng), views, slot, self.data, rng) for rng in streams]
        margins = np.stack([rng.uniform(*self.data.margin, views) for rng in streams])
        return stack(windows, self.network, margins, self.data.learn_truth)


class _Places:
    """Where in which movement the newest shot may be."""

    def __init__(self, sources: Sequence[PoseSequence], data: RigData) -> None:
        self.first_s = 2 * data.interval_s[1]
        # the last frame is at duration_s - 1 / rate_hz
        self.sources = [s for s in sources if s.duration_s - 1 / s.rate_hz > self.first_s]
        if not self.sources:
            raise ValueError(f"no movement is longer than two intervals, {self.first_s:g} s")
        spans = [s.duration_s - 1 / s.rate_hz - self.first_s for s in self.sources]
        self._ends = np.cumsum(spans)

    def draw(self, rng: np.random.Generator) -> tuple[PoseSequence, float]:
        return self.at(rng.random())

    def at(self, share: float) -> tuple[PoseSequence, float]:
        """Return the movement and the instant at a share of all time there is."""
        place = share * self._ends[-1]
        number = min(int(np.searchsorted(self._ends, place, side="right")), len(self._ends) - 1)
        before = float(self._ends[number - 1]) if number else 0.0
        return self.sources[number], self.first_s + float(place) - before


def shown(windows: Sequence[RigWindow], network: DenseWarperConfig) -> Aligned:
    """Return what a network is shown of windows of as many views, each of a rig of its own."""
    seen = [network.alignment([one.window], one.cameras) for one in windows]
    return Aligned(*(np.concatenate(part) for part in zip(*seen, strict=True)))


def stack(
    windows: Sequence[RigWindow],
    network: DenseWarperConfig,
    margins: np.ndarray,
    learn_truth: bool = False,
) -> Batch:
    """Return windows of as many views, with the same newest one, as a batch.

    Parameters
    ----------
    windows : sequence of RigWindow
    network : DenseWarperConfig
        What is shown the windows.
    margins : ndarray, shape (windows, views)
        See `crop`.
    learn_truth : bool
        See `RigData`.
    """
    seen = shown(windows, network)
    matrices = np.stack([one.projections for one in windows])
    slot = windows[0].window.view
    to_heatmap = crop(seen.keypoints_px, network.size, margins)
    views = views_of(*seen[:3], matrices, slot, to_heatmap)
    if learn_truth:
        joints = torch.from_numpy(np.stack([one.joints_m for one in windows]))
        targets = slot_targets(joints[:, None], views.projections)
    else:
        keypoints = np.stack([[shot.keypoints_px for shot in one.together] for one in windows])
        inside = in_heatmaps(keypoints, to_heatmap)
        targets = torch.from_numpy(inside)[:, :, None]
    return Batch(views, targets.float(), views.confidence > 0)


def fixed_windows(
    sources: Sequence[PoseSequence], data: RigData, most: int, views: int | None = None
) -> list[RigWindow]:
    """Return windows that stay what they are, to be measured: evenly over all movements.

    Parameters
    ----------
    sources : sequence of PoseSequence
    data : RigData
    most : int
        So many.
    views : int, optional
        Of every rig; by default as many in turn as ``data`` allows.

    Raises
    ------
    ValueError
        If no movement is long enough.
    """
    places = _Places(sources, data)
    low, high = data.views
    windows = []
    for number in range(most):
        rng = np.random.default_rng([_FIXED, data.seed, number])
        source, instant_s = places.at((number + 0.5) / most)
        count = low + number % (high + 1 - low) if views is None else views
        windows.append(draw(source, instant_s, count, int(rng.integers(count)), data, rng))
    return windows


def together(windows: Sequence[RigWindow]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each window what all views would report of its instant, and how surely."""
    return [
        (
            np.stack([shot.keypoints_px for shot in one.together]),
            np.stack([shot.confidence for shot in one.together]),
        )
        for one in windows
    ]


def errors_mm(
    windows: Sequence[RigWindow],
    seen: Sequence[tuple[np.ndarray, np.ndarray]],
    right: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
) -> np.ndarray:
    """Return how far off the joints are that are triangulated of keypoints.

    Parameters
    ----------
    windows : sequence of RigWindow
    seen : sequence of pairs of ndarray, shapes (views, joints, 2) and (views, joints)
        For each window: pixels, and their confidence.
    right : sequence of pairs of ndarray, optional
        As ``seen``: what they are compared with instead of the truth.

    Returns
    -------
    ndarray, shape (windows, joints)
        NaN where there is no joint.
    """
    errors = []
    for number, one in enumerate(windows):
        found = triangulate(*seen[number], one.cameras).points_m
        wanted = one.joints_m
        if right is not None:
            wanted = triangulate(*right[number], one.cameras).points_m
        errors.append(1e3 * np.linalg.norm(found - wanted, axis=-1))
    return np.stack(errors)
