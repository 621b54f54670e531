"""What networks that refine poses learn from: true movements, and what a detector made of them.

Detections are a file's, where there is one (DeciWatch's), or drawn: `simulation.detector_noise`
makes the true keyframes as bad as a detector's. Gaps are filled as the refiner fills them, so that
a network is trained on what it will see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor, nn

from radar_pose_ros.datasets import cmu_mocap, deciwatch, simulated_poses
from radar_pose_ros.datasets.pose_sequences import PoseSequence, runs
from radar_pose_ros.metrics.keypoints import annotated_box_length
from radar_pose_ros.models.refiner import fill
from radar_pose_ros.simulation.detector_noise import DetectorNoise, disturb
from radar_pose_ros.skeleton import definitions, rotations
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14, JHMDB15, LSP14, SMPL24
from radar_pose_ros.skeleton.projection import IMAGE_SIZE_PX, project, to_camera
from radar_pose_ros.training.movements import MovementData, check_split, of_split

# Sub-JHMDB's videos.
_JHMDB_RATE_HZ = 30.0
# DeciWatch's folders' names of data sets, where `datasets.deciwatch` has others.
_NAMES = {"pw3d": "3dpw"}
# By so much a camera looks up or down, and rolls, radians [choice].
_TILT = (0.35, 0.1)
# Numbers of a rotation, and those of a joint that is not turned.
_ROTATION = 6
_NOT_TURNED = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Track:
    """One person's movement, every joint known in every frame.

    Parameters
    ----------
    name, subject : str
    rate_hz : float
    skeleton : str
        Name of the skeleton.
    truth : ndarray of float32, shape (frames, joints, values)
        Metres, pixels, shares of an image's sides, or rotations as `skeleton.rotations` writes
        them.
    detected : ndarray of float32, shape (frames, joints, values), optional
        What a detector said of each frame, NaN where nothing; drawn if it is not known.
    licence : str
    size_px : (int, int), optional
        Width and height of the image, for joints in shares of them.
    boxes_px : ndarray of float32, shape (frames, 4), optional
        Annotated around the person, x1, y1, x2, y2; NaN in frames without one. They want
        ``size_px``.

    Raises
    ------
    ValueError
        If boxes are not one for each frame, or come without the image's size.
    """

    name: str
    subject: str
    rate_hz: float
    skeleton: str
    truth: np.ndarray = field(repr=False)
    detected: np.ndarray | None = field(default=None, repr=False)
    licence: str = ""
    size_px: tuple[int, int] | None = None
    boxes_px: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.boxes_px is None:
            return
        if self.boxes_px.shape != (len(self), 4):
            raise ValueError(
                f"{self.name}: want boxes ({len(self)} frames, 4), got {self.boxes_px.shape}"
            )
        if self.size_px is None:
            raise ValueError(f"{self.name}: boxes want the size of the image")

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def unit(self) -> str:
        """Of the joints: "m"; in an image "px" of the rig's, or "share" of its sides.

        "rotation6d" of joints' rotations (`skeleton.rotations`).
        """
        if self.truth.shape[-1] == 3:
            return "m"
        if self.truth.shape[-1] == _ROTATION:
            return "rotation6d"
        return "px" if self.skeleton == HUPR14.name else "share"


@dataclass(frozen=True)
class TrackData(MovementData):
    """Also in which coordinates movements are, and how bad detections are.

    Parameters
    ----------
    image : bool
        Poses are HUPR14 in the rig's image, pixels; otherwise H36M17 in metres.
    estimated_by : str
        Weights of milliMamba: what it makes of simulated people before both radars is what is
        detected. Only with ``image``.
    axes : {"world", "camera", "any"}
        Of poses in space: with z up; in a camera's optical frame (x right, y down, z forward), as
        `pose_lifter` gives them; or, in training, one or the other, and measured in the camera's.
    root_relative : bool
        True and detected poses are taken relative to their roots, as published.
    noise : DetectorNoise
        In metres or pixels: the errors of a simulated detector. What was detected by a real one,
        or by a network, gets them on top in training, and as it is otherwise.
    turned : bool
        Training movements are turned about the vertical at random.
    mirrored : bool
        Every second training window is a mirror image.
    """

    image: bool = False
    estimated_by: str = ""
    axes: str = "world"
    root_relative: bool = False
    noise: DetectorNoise = field(default_factory=DetectorNoise)
    turned: bool = True
    mirrored: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image and self.turned:
            raise ValueError("data: poses in an image cannot be turned about the vertical")
        if self.estimated_by and not self.image:
            raise ValueError("data: estimated_by is for poses in the rig's image")
        if self.axes not in ("world", "camera", "any"):
            raise ValueError(f"data: axes {self.axes!r} is none of world, camera, any")
        if self.axes != "world" and self.image:
            raise ValueError("data: axes are of poses in space")


def load(data: TrackData, split: str, mocap: Path | None = None) -> list[Track]:
    """Return the movements of a split: simulated ones, and recorded ones of a file of CMU's.

    Raises
    ------
    ValueError
        If there is no such split, or somebody held out is not in the file.
    """
    check_split(split)
    recorded = _recorded(data, split, mocap) if mocap else []
    sequences = simulated_poses.simulate_sequences(
        data.simulated[split], data.seconds, data.rate_hz, split, data.seed
    )
    tracks = [track for sequence in sequences for track in _tracks(sequence, data)]
    return tracks + recorded


def _tracks(sequence: PoseSequence, data: TrackData) -> list[Track]:
    if sequence.rate_hz != data.rate_hz:
        sequence = sequence.resampled(data.rate_hz)
    found = []
    for piece in sequence.converted((HUPR14 if data.image else H36M17).name).whole_pieces():
        truth = project(piece.joints_m).astype(np.float32) if data.image else piece.joints_m
        found.append(
            Track(
                piece.name,
                piece.subject,
                data.rate_hz,
                piece.skeleton,
                truth,
                licence=piece.licence,
            )
        )
    return found


def _recorded(data: TrackData, split: str, mocap: Path) -> list[Track]:
    if data.image:  # in the image only as seen by the rig
        clips = cmu_mocap.load(mocap, rate_hz=data.rate_hz)
        tracks = [
            Track(
                f"{clip.motions[0]}@{number}",
                clip.subject,
                data.rate_hz,
                HUPR14.name,
                project(clip.joints_m).astype(np.float32),
                licence="see datasets.cmu_mocap",
            )
            for number, clip in enumerate(clips)
        ]
    else:
        sequences = cmu_mocap.load_sequences(mocap)
        tracks = [track for sequence in sequences for track in _tracks(sequence, data)]
    return of_split(tracks, data, split, mocap)


def load_detected(root: Path, dataset: str, estimator: str, split: str) -> list[Track]:
    """Return movements and detections of DeciWatch's files, "train" or "test".

    Poses in an image are in shares of its width and height, as MixSynthFormer's released code has
    them; those of 3DPW ("pw3d") are in LSP14. Frames without truth are left out: what lies between
    them are tracks of their own, named by their first frames.

    Raises
    ------
    FileNotFoundError, ValueError
        As `datasets.deciwatch.load_pairs`; also ``ValueError`` if an image's size is not known, or
        a box ends before it begins.
    """
    truth_path, detected_path = _paths(root, dataset, estimator, split)
    if dataset == "jhmdb":
        true_images = deciwatch.load_images(truth_path)
        seen_images = deciwatch.load_images(detected_path)
        if [(s.name, len(s.keypoints_px)) for s in true_images] != [
            (s.name, len(s.keypoints_px)) for s in seen_images
        ]:
            raise ValueError(f"{detected_path} does not hold the sequences of {truth_path}")
        tracks = []
        for true, seen in zip(true_images, seen_images, strict=True):
            size = np.array(true.size_px, np.float32)
            if not size.all():
                raise ValueError(
                    f"{truth_path}: {true.name} does not say how large its images are"
                )
            try:
                boxed = np.isfinite(annotated_box_length(true.boxes_px)).any()
            except ValueError as error:
                raise ValueError(f"{truth_path}: {true.name}: {error}") from error
            tracks.append(
                Track(
                    true.name,
                    true.name,
                    _JHMDB_RATE_HZ,
                    JHMDB15.name,
                    true.keypoints_px / size,
                    seen.keypoints_px / size,
                    size_px=true.size_px,
                    boxes_px=true.boxes_px if boxed else None,
                )
            )
    else:
        pairs = deciwatch.load_pairs(truth_path, detected_path, _NAMES.get(dataset, dataset))
        if dataset == "pw3d":  # its files have 17 joints, its networks 14
            pairs = [(a.converted(LSP14.name), b.converted(LSP14.name)) for a, b in pairs]
        tracks = [
            Track(
                true.name,
                true.subject,
                true.rate_hz,
                true.skeleton,
                true.joints_m,
                detected.joints_m,
                licence=true.licence,
            )
            for detected, true in pairs
        ]
    return [piece for track in tracks for piece in _known_pieces(track)]


def load_detected_rotations(root: Path, dataset: str, estimator: str, split: str) -> list[Track]:
    """Return true and detected rotations of SMPL's joints in DeciWatch's files.

    As `load_detected`, of SMPL24, six numbers for each joint; there are such files of 3DPW
    ("pw3d") and AIST++ ("aist").

    Raises
    ------
    FileNotFoundError, ValueError
        As `datasets.deciwatch.load_rotation_pairs`.
    """
    pairs = deciwatch.load_rotation_pairs(
        *_paths(root, dataset, estimator, split), _NAMES.get(dataset, dataset)
    )
    tracks = [
        Track(
            true.name,
            true.subject,
            true.rate_hz,
            SMPL24.name,
            true.rotations,
            detected.rotations,
            licence=true.licence,
        )
        for detected, true in pairs
    ]
    return [piece for track in tracks for piece in _known_pieces(track)]


def _paths(root: Path, dataset: str, estimator: str, split: str) -> tuple[Path, Path]:
    """Return where the truth is, and what a detector made of it."""
    return (
        root / "groundtruth_poses" / dataset / f"{dataset}_gt_{split}.npz",
        root / "detected_poses" / dataset / estimator / f"{dataset}_{estimator}_{split}.npz",
    )


def _known_pieces(track: Track) -> list[Track]:
    known = ~np.isnan(track.truth).any(axis=(1, 2))
    if known.all():
        return [track]
    return [
        replace(
            track,
            name=f"{track.name}@{first}",
            truth=track.truth[first:end],
            detected=None if track.detected is None else track.detected[first:end],
            boxes_px=None if track.boxes_px is None else track.boxes_px[first:end],
        )
        for first, end in runs(known)
    ]


def relative(poses: np.ndarray, skeleton: str) -> np.ndarray:
    """Return poses (frames, joints, values) relative to their roots."""
    return poses - poses[:, definitions.get(skeleton).root_joints()].mean(axis=1, keepdims=True)


def fill_rotations(keyframes: np.ndarray) -> np.ndarray:
    """Put rotations where there are none, as `models.refiner.fill` does it for places.

    Parameters
    ----------
    keyframes : ndarray, shape (keyframes, joints, 6)
        NaN where not known.

    Returns
    -------
    ndarray of float64, shape (keyframes, joints, 6)
        What is known is as it was. Between two keyframes a joint is turned evenly, the shorter way
        round; before the first one in which it is known, and after the last, it is as there. A
        joint that is never known is not turned.
    """
    known = np.isfinite(keyframes).all(axis=2)
    filled = keyframes.astype(np.float64)
    for joint in np.flatnonzero(~known.all(axis=0)):
        there, gaps = np.flatnonzero(known[:, joint]), np.flatnonzero(~known[:, joint])
        if not there.size:
            filled[:, joint] = _NOT_TURNED
            continue
        if there.size == 1:
            filled[gaps, joint] = filled[there[0], joint]
            continue
        turns = Rotation.from_rotvec(rotations.axis_angle_from_6d(filled[there, joint]))
        between = Slerp(there, turns)(np.clip(gaps, there[0], there[-1]))
        filled[gaps, joint] = rotations.axis_angle_to_6d(between.as_rotvec())
    return filled


def detections(
    truth: np.ndarray,
    detected: np.ndarray | None,
    track: Track,
    interval: int,
    data: TrackData,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return whole keyframes: what a detector says of every ``interval``-th frame, gaps filled.

    Parameters
    ----------
    truth, detected : ndarray, shape (frames, joints, values)
        Of the frames from the first keyframe to the last; without ``detected`` it is drawn.
    track : Track
        Says which joints they are, at which rate.
    interval : int
    data : TrackData
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (keyframes, joints, values)
        Relative to the root if ``data`` wants that.
    """
    if detected is not None:
        keyframes = detected[::interval]
    else:
        keyframes = disturb(
            truth[::interval],
            definitions.get(track.skeleton),
            track.rate_hz / interval,
            data.noise,
            rng,
        )
    if np.isnan(keyframes).any(axis=2).all():  # a detector that never saw anything: no sample
        keyframes = truth[::interval]
    rotated = keyframes.shape[-1] == _ROTATION
    filled = fill_rotations(keyframes) if rotated else fill(keyframes)
    return (relative(filled, track.skeleton) if data.root_relative else filled).astype(np.float32)


class Batch(NamedTuple):
    """Windows.

    Attributes
    ----------
    keyframes : Tensor
        float32, ``(batch, keyframes, joints, values)``.
    truth : Tensor
        float32, ``(batch, frames, joints, values)``.
    """

    keyframes: Tensor
    truth: Tensor


class TrackBatches:
    """Random windows, turned and mirrored; the same for the same step.

    Parameters
    ----------
    tracks : sequence of Track
    config : MixSynthFormerConfig or DeciWatchConfig
        Says what a window is.
    batch : int
        Windows per step, of all processes together.
    data : TrackData
    seed : int
    varied : bool
        Whether to turn and mirror, and to make worse what was detected.

    Raises
    ------
    ValueError
        If no track is as long as a window.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        config: Any,
        batch: int,
        data: TrackData,
        seed: int,
        varied: bool = True,
    ) -> None:
        self.tracks = [track for track in tracks if len(_window_starts(track, config.frames))]
        if not self.tracks:
            raise ValueError(
                f"no movement has the {config.frames} frames of a window, and a detection in the "
                "first of them"
            )
        self.config, self.data = config, data
        self.batch, self.seed, self.varied = batch, seed, varied
        self._starts = [_window_starts(track, config.frames) for track in self.tracks]
        # windows up to the end of each track
        self._ends = np.cumsum([len(starts) for starts in self._starts])

    def __call__(self, step: int, mine: slice = slice(None)) -> Batch:
        """Return the windows of a step, or of these of them."""
        windows = [
            self._window(np.random.default_rng([self.seed, step, number]))
            for number in range(self.batch)[mine]
        ]
        keyframes, truth = (np.stack(part) for part in zip(*windows, strict=True))
        return Batch(torch.from_numpy(keyframes), torch.from_numpy(truth))

    def _window(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        c = self.config
        place = int(rng.integers(self._ends[-1]))
        number = int(np.searchsorted(self._ends, place, side="right"))
        track = self.tracks[number]
        place -= int(self._ends[number - 1]) if number else 0
        first = int(self._starts[number][place])
        past = slice(first, first + c.interval * c.segments + 1)
        truth = track.truth[first : first + c.frames]
        detected = None if track.detected is None else track.detected[past]
        if self.varied:
            vary = _variation(track, self.data, rng)
            truth = vary(truth)
            detected = None if detected is None else self._worse(vary(detected), track, rng)
        else:
            truth = in_axes(truth, self.data)
            detected = None if detected is None else in_axes(detected, self.data)
        known = truth[: past.stop - first]
        keyframes = detections(known, detected, track, c.interval, self.data, rng)
        if self.data.root_relative:
            truth = relative(truth, track.skeleton)
        return keyframes, truth.astype(np.float32)

    def _worse(self, detected: np.ndarray, track: Track, rng: np.random.Generator) -> np.ndarray:
        """Return what was detected, (frames, joints, values), its keyframes made worse."""
        if self.data.noise == DetectorNoise():
            return detected
        interval = self.config.interval
        detected = detected.copy()
        detected[::interval] = disturb(
            detected[::interval],
            definitions.get(track.skeleton),
            track.rate_hz / interval,
            self.data.noise,
            rng,
        )
        return detected


def _window_starts(track: Track, frames: int) -> np.ndarray:
    """Return the frames at which a window may begin: detections may be rarer than frames."""
    starts = np.arange(len(track) - frames + 1)
    if track.detected is None:
        return starts
    return starts[~np.isnan(track.detected[starts]).any(axis=2).all(axis=1)]


def _variation(
    track: Track, data: TrackData, rng: np.random.Generator
) -> Callable[[np.ndarray], np.ndarray]:
    """Draw how a window is turned, mirrored and seen; returns what does it."""
    angle = rng.uniform(0, 2 * np.pi) if data.turned else 0.0
    mirror = data.mirrored and rng.random() < 0.5
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]], np.float32)
    order = definitions.get(track.skeleton).mirrored()
    # in an image from its other side, in space about the origin
    width = 0.0 if track.truth.shape[-1] == 3 else float(IMAGE_SIZE_PX if data.image else 1)
    view = _view(data, rng)

    def vary(poses: np.ndarray) -> np.ndarray:
        if data.turned:
            poses = poses @ turn.T
        if mirror:
            poses = poses[:, order].copy()
            poses[..., 0] = width - poses[..., 0]
        return view(poses)

    return vary


def _view(data: TrackData, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Draw from which axes a window is seen, after it was turned; returns what does it."""
    if data.axes == "world" or (data.axes == "any" and rng.random() < 0.5):
        return lambda poses: poses
    pitch, roll = (rng.uniform(-most, most) for most in _TILT)
    tilt = Rotation.from_euler("xz", [pitch, roll]).as_matrix().astype(np.float32)
    return lambda poses: in_axes(poses, data) @ tilt.T


def in_axes(poses: np.ndarray, data: TrackData) -> np.ndarray:
    """Return poses (frames, joints, 3) with z up in the axes that ``data`` measures in."""
    return poses if data.axes == "world" else to_camera(poses).astype(np.float32)


@torch.inference_mode()
def refine_sequence(network: nn.Module, keyframes: np.ndarray, batch: int = 64) -> np.ndarray:
    """Refine a whole sequence: windows from every keyframe on, the mean where they overlap.

    As the evaluation of MixSynthFormer and DeciWatch, but to the last keyframe. The same as a
    `refiner.Refiner` without taper, except that a keyframe's own frame counts in the window that
    begins there, too, for which a stream does not wait.

    Parameters
    ----------
    network : nn.Module
        `MixSynthFormer` or `DeciWatch`.
    keyframes : ndarray, shape (keyframes, joints, values)
        Finite. Of a sequence that is shorter than a window the first one is taken for those that
        would have come before it.
    batch : int
        Windows at a time.

    Returns
    -------
    ndarray of float64, shape (frames, joints, values)
        From the first keyframe to the last.
    """
    c: Any = network.config
    lacking = max(0, c.segments + 1 - len(keyframes))
    padded = np.concatenate([np.repeat(keyframes[:1], lacking, axis=0), keyframes])
    past = c.interval * c.segments + 1
    total = np.zeros(((len(padded) - 1) * c.interval + 1, *keyframes.shape[1:]))
    weight = np.zeros((len(total), 1, 1))
    device = next(network.parameters()).device
    windows = torch.from_numpy(padded).float().unfold(0, c.segments + 1, 1).movedim(-1, 1)
    for start in range(0, len(windows), batch):
        estimates = network(windows[start : start + batch].contiguous().to(device)).cpu().numpy()
        for k, estimate in enumerate(estimates, start=start):
            frames = slice(k * c.interval, k * c.interval + past)
            total[frames] += estimate[:past]
            weight[frames] += 1
    return (total / weight)[lacking * c.interval :]
