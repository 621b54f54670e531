"""Windows that networks learn to lift from: joints in a camera's image, and the truth behind them.

Movements are seen by cameras that are drawn for each window, or, where a data set has its own
views (Human3.6M), by those. What a detector would make of the image is drawn, too, and which
joints are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from radar_pose_ros.datasets import cmu_mocap, human36m, simulated_poses
from radar_pose_ros.datasets.camera_views import CameraView
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.metrics.pose3d import relative_to_root
from radar_pose_ros.simulation.cameras import CameraRanges, PinholeCamera, random_camera
from radar_pose_ros.simulation.detector_noise import DetectorNoise, disturb
from radar_pose_ros.simulation.occlusions import PATTERNS, occlude
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.skeleton.image import network_input
from radar_pose_ros.training.movements import MovementData, check_split, of_split

OCCLUSIONS = ("none", *PATTERNS)
Source = PoseSequence | CameraView

# A drawn camera is aimed at the middle of where somebody is during this time [choice].
_AIM_S = 4.0
# Keeps the random streams of windows to be measured apart from those to be learnt from.
_FIXED = 0x66697865


@dataclass(frozen=True)
class ViewData(MovementData):
    """Also how bad the detector is; ``seed`` is of the cameras of measured windows, too.

    Parameters
    ----------
    noise : DetectorNoise
        Pixels, of an image as wide as the cameras' (1000).
    noise_factor : (float, float)
        Range of a factor on jitter, drift and outliers, drawn evenly for each window: detectors
        of different worth.
    cameras : CameraRanges
        Where cameras are put, for a data set without views of its own.
    occlusion : str
        Joints missing in training: "none", or one of `occlusions.PATTERNS`.
    occluded_ratio : float
        In this share of the windows.
    mirrored : bool
        Every second training window is a mirror image; not those of a data set's own views.
    """

    rate_hz: float = 50.0
    noise: DetectorNoise = field(default_factory=DetectorNoise)
    noise_factor: tuple[float, float] = (1.0, 1.0)
    cameras: CameraRanges = field(default_factory=CameraRanges)
    occlusion: str = "none"
    occluded_ratio: float = 1.0
    mirrored: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.occlusion not in OCCLUSIONS:
            raise ValueError(
                f"data: occlusion {self.occlusion!r} is none of {', '.join(OCCLUSIONS)}"
            )
        if not 0 <= self.occluded_ratio <= 1:
            raise ValueError(f"data: occluded_ratio must be 0 to 1, got {self.occluded_ratio}")
        if len(self.noise_factor) != 2 or not 0 <= self.noise_factor[0] <= self.noise_factor[1]:
            raise ValueError(
                f"data: noise_factor must be a range from 0 up, got {list(self.noise_factor)}"
            )

    def disturbed(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return what a detector makes of true pixels, shape (frames, 17, 2), NaN: missing."""
        factor = rng.uniform(*self.noise_factor)
        noise = replace(
            self.noise,
            **{name: factor * getattr(self.noise, name) for name in ("white", "drift", "outlier")},
        )
        return disturb(pixels, H36M17, self.rate_hz, noise, rng)


def load(
    data: ViewData, split: str, root: Path | None = None, mocap: Path | None = None
) -> list[Source]:
    """Return the movements of a split.

    Parameters
    ----------
    data : ViewData
    split : {"train", "validation", "test"}
    root : Path, optional
        A folder with Human3.6M in VideoPose3D's files and its ``cameras.yaml``
        (`datasets.human36m`), which takes the place of all others. There S8 is held out for
        validation, and detections are used if a file of them is in the folder, one at most.
    mocap : Path, optional
        ``cmu_60hz.npz``, which is added to the simulated people.

    Raises
    ------
    FileNotFoundError, ValueError
        As the data sets raise them, or if there is no such split.
    """
    check_split(split)
    if root is not None:
        if mocap is not None:
            raise ValueError(f"{root} takes the place of other people: --mocap is not for it")
        if not root.is_dir():
            raise ValueError(
                f"{root} is no folder with Human3.6M; recorded movements are --mocap FILE"
            )
        return list(_human36m(root, split))
    recorded = of_split(cmu_mocap.load_sequences(mocap), data, split, mocap) if mocap else []
    people = simulated_poses.simulate_sequences(
        data.simulated[split], data.seconds, data.rate_hz, split, data.seed
    )
    people += recorded
    return [piece for person in people for piece in person.resampled(data.rate_hz).whole_pieces()]


def _human36m(root: Path, split: str) -> list[CameraView]:
    held_out = ("S8",)  # choice: the authors choose their model on the test subjects
    subjects = {
        "train": tuple(s for s in human36m.TRAIN_SUBJECTS if s not in held_out),
        "validation": held_out,
        "test": human36m.TEST_SUBJECTS,
    }[split]
    sequences = human36m.load(root / "data_3d_h36m.npz", subjects)
    detected = human36m.detections(root)
    keypoints = human36m.load_keypoints(detected) if detected else None
    return human36m.views(sequences, human36m.load_cameras(root / "cameras.yaml"), keypoints)


class Batch(NamedTuple):
    """Windows.

    Attributes
    ----------
    keypoints : Tensor
        float32 ``(batch, 2, joints, frames)``, normalised, 0 where a joint is missing.
    poses : Tensor
        float32 ``(batch, 3, joints, frames)``, metres in the camera's frame, from the hip.
    """

    keypoints: Tensor
    poses: Tensor


class ViewBatches:
    """Random windows of movements as random cameras see them; the same for the same step.

    Parameters
    ----------
    sources : sequence of PoseSequence or CameraView
    frames : int
        Length of a window.
    batch : int
        Windows per step, of all processes together.
    data : ViewData
    seed : int

    Raises
    ------
    ValueError
        If nothing is as long as a window.
    """

    def __init__(
        self, sources: Sequence[Source], frames: int, batch: int, data: ViewData, seed: int
    ) -> None:
        self.sources = [source for source in sources if len(source.joints_m) >= frames]
        if not self.sources:
            raise ValueError(f"no movement has the {frames} frames of a window")
        self.frames, self.batch, self.data, self.seed = frames, batch, data, seed
        self._ends = np.cumsum([len(source.joints_m) - frames + 1 for source in self.sources])

    def __call__(self, step: int, mine: slice = slice(None)) -> Batch:
        """Return the windows of a step, or of these of them."""
        windows = [
            self._window(np.random.default_rng([self.seed, step, number]))
            for number in range(self.batch)[mine]
        ]
        keypoints, poses = (np.concatenate(part) for part in zip(*windows, strict=True))
        return Batch(torch.from_numpy(keypoints), torch.from_numpy(poses))

    def _window(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return one window as a batch has it: (1, 2 and 3, joints, frames)."""
        place = int(rng.integers(self._ends[-1]))
        number = int(np.searchsorted(self._ends, place, side="right"))
        first = place - (int(self._ends[number - 1]) if number else 0)
        source, data = self.sources[number], self.data
        mirror = data.mirrored and rng.random() < 0.5
        pixels, joints_m, size = _seen(source, first, self.frames, data.cameras, rng, mirror)
        if isinstance(source, PoseSequence):
            pixels = data.disturbed(pixels, rng)
        if data.occlusion != "none" and rng.random() < data.occluded_ratio:
            pixels = occlude(pixels, data.occlusion, rng)
        poses = np.ascontiguousarray(relative_to_root(joints_m).T[None], np.float32)
        return network_input(pixels[None], size), poses


def _seen(
    source: Source,
    first: int,
    frames: int,
    cameras: CameraRanges,
    rng: np.random.Generator,
    mirror: bool,
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return pixels, joints in the camera's frame, and the image's size, of some frames."""
    window = slice(first, first + frames)
    if isinstance(source, CameraView):
        return source.keypoints_px[window], source.joints_m[window], source.camera.size_px
    camera = _aimed(source, first, frames, cameras, rng)
    joints_m = source.joints_m[window]
    if mirror:  # about the plane through the camera's axis
        seen = camera.to_camera(joints_m)[:, H36M17.mirrored()] * [-1.0, 1.0, 1.0]
        joints_m = camera.to_world(seen)
    return camera.project(joints_m), camera.to_camera(joints_m), camera.size_px


def _aimed(
    sequence: PoseSequence,
    first: int,
    frames: int,
    cameras: CameraRanges,
    rng: np.random.Generator,
) -> PinholeCamera:
    around = max(round(_AIM_S * sequence.rate_hz / 2), frames // 2)
    middle = first + frames // 2
    return random_camera(
        sequence.joints_m[max(middle - around, 0) : middle + around], rng, cameras
    )


@dataclass(frozen=True)
class Windows:
    """Windows that stay what they are, to be measured.

    Attributes
    ----------
    sources : tuple of str
        By window, the movement that it is from.
    subjects : tuple of str
        By window, who moves.
    actions : tuple of str
        By window, what is done; the same for all takes of an action.
    pixels : ndarray, shape (windows, frames, joints, 2)
        As detected, no pattern of missing joints applied; NaN is unknown.
    joints_m : ndarray, shape (windows, frames, joints, 3)
        The truth in the camera's frame.
    cameras : tuple of PinholeCamera
        By window.
    """

    sources: tuple[str, ...]
    subjects: tuple[str, ...]
    actions: tuple[str, ...]
    pixels: np.ndarray
    joints_m: np.ndarray
    cameras: tuple[PinholeCamera, ...]

    @property
    def poses_m(self) -> np.ndarray:
        """The truth relative to the hip, (windows, frames, joints, 3)."""
        return relative_to_root(self.joints_m)

    def keypoints(self, occlusion: str = "none", seed: int = 0) -> Tensor:
        """Return the network's input under a pattern of missing joints.

        Parameters
        ----------
        occlusion : str
            One of `OCCLUSIONS`; the same joints are missing whenever it is drawn.
        seed : int

        Returns
        -------
        Tensor
            float32 ``(windows, 2, joints, frames)``
        """
        pairs = zip(self.seen(occlusion, seed), self.cameras, strict=True)
        found = [network_input(pixels[None], camera.size_px) for pixels, camera in pairs]
        return torch.from_numpy(np.concatenate(found))

    def seen(self, occlusion: str = "none", seed: int = 0) -> np.ndarray:
        """Return the same in pixels, (windows, frames, joints, 2), NaN where missing."""
        if occlusion == "none":
            return self.pixels
        number = OCCLUSIONS.index(occlusion)
        return np.stack(
            [
                occlude(pixels, occlusion, np.random.default_rng([_FIXED, seed, number, place]))
                for place, pixels in enumerate(self.pixels)
            ]
        )

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """Return the pixels of points in the cameras' frames, shape (..., windows, n, m, 3)."""
        found = [
            camera.project(camera.to_world(points_m[..., number, :, :, :]))
            for number, camera in enumerate(self.cameras)
        ]
        return np.stack(found, axis=-4)


def fixed_windows(
    sources: Sequence[Source],
    frames: int,
    data: ViewData,
    *,
    cameras: int = 4,
    most: int | None = None,
) -> Windows:
    """Cut movements into windows one after the other, each seen by one of their cameras.

    A movement without views of its own has as many cameras as are asked for, in turn; each goes
    with the person from window to window. Training draws its own: it has never seen these.

    Parameters
    ----------
    sources : sequence of PoseSequence or CameraView
    frames : int
        Length of a window; what is left over at a movement's end is left out.
    data : ViewData
    cameras : int
    most : int, optional
        So many windows at most, evenly chosen.

    Raises
    ------
    ValueError
        If nothing is as long as a window.
    """
    places = [
        (source, first)
        for source in sources
        for first in range(0, len(source.joints_m) - frames + 1, frames)
    ]
    if not places:
        raise ValueError(f"no movement has the {frames} frames of a window")
    if most is not None and most < len(places):
        places = [places[k] for k in np.linspace(0, len(places) - 1, most).round().astype(int)]
    pixels, joints, used = [], [], []
    for source, first in places:
        name = np.frombuffer(source.name.encode(), np.uint8).tolist()
        if isinstance(source, CameraView):
            camera = source.camera
            seen = source.keypoints_px[first : first + frames]
            truth = source.joints_m[first : first + frames]
        else:
            turn = first // frames
            stream = [_FIXED, data.seed, *name, turn % cameras]
            camera = _aimed(source, first, frames, data.cameras, np.random.default_rng(stream))
            world = source.joints_m[first : first + frames]
            noise = np.random.default_rng([*stream, turn])
            seen = data.disturbed(camera.project(world), noise)
            truth = camera.to_camera(world)
        pixels.append(seen)
        joints.append(truth)
        used.append(camera)
    return Windows(
        tuple(source.name.partition("@")[0] for source, _ in places),
        tuple(source.subject for source, _ in places),
        tuple(source.action for source, _ in places),
        np.stack(pixels),
        np.stack(joints),
        tuple(used),
    )


def lift(network: Callable[[Tensor], Tensor], keypoints: Tensor, batch: int = 16) -> np.ndarray:
    """Apply something that lifts, some windows at a time.

    Parameters
    ----------
    network : callable
        ``(batch, 2, joints, frames)`` to ``(batch, [hypotheses,] 3, joints, frames)``.
    keypoints : Tensor
        ``(windows, 2, joints, frames)``

    Returns
    -------
    ndarray of float64, shape ([hypotheses,] windows, frames, joints, 3)
    """
    with torch.no_grad():
        found = torch.cat([network(part) for part in keypoints.split(batch)])
    poses = found.transpose(-1, -3).double().cpu().numpy()
    return np.moveaxis(poses, 1, 0) if poses.ndim == 5 else poses
