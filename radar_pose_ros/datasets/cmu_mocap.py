"""Recorded movements of the CMU motion capture database, as poses and for the radar simulator.

The file ``cmu_60hz.npz`` holds 23 joints in metres at 60 Hz, z up, as clips of several subjects.
The radar simulator wants people in its area, so that each clip is cut into pieces during which the
person stays within a circle; each piece is turned and moved so that its circle lies before the rig
and the person faces the rig on average.

Licence: the database's terms (mocap.cs.cmu.edu) allow any use in research and inclusion in
commercial products, but not reselling the data directly, even converted. Nothing of it is part of
this package. "The data used in this project was obtained from mocap.cs.cmu.edu. The database was
created with funding from NSF EIA-0196217."
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import butter, sosfiltfilt

from radar_pose_ros.datasets import object_arrays
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.simulation.body import BodyShape, MotionClip
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import CMU23, H36M17, HUPR14

# The circle that a piece has to fit into, before the rig.
CENTRE_X_M = 2.65
RADIUS_M = 0.85
# A choice: the balls of standing feet lie so high above the floor.
_TOE_HEIGHT_M = 0.03
# The joints jitter by about a millimetre, half a wavelength of the echo's path; and most of what
# accelerations are computed from.
SMOOTH_BELOW_HZ = 8.0
_ARRAYS = ("joints_m", "joint_names", "fps", "clip_start", "clip_name", "clip_subject")
_SIDES = {"left": "l", "right": "r"}
_LICENCE = "CMU motion capture: free to use, also in products, but not to be resold as data"


@dataclass(frozen=True)
class Recording:
    """What the file holds.

    Attributes
    ----------
    joints_m : ndarray, shape (frames, 23, 3)
        All clips, one after the other; z up.
    joint_names : list of str
    rate_hz : float
    clips : list of (str, str, slice)
        Name, for instance "01_02", subject, for instance "cmu01", and frames of each clip.
    """

    joints_m: np.ndarray
    joint_names: list[str]
    rate_hz: float
    clips: list[tuple[str, str, slice]]


def read(path: Path | str) -> Recording:
    """Read the file as it is.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or not of this layout: names it and says what.
    """
    content = object_arrays.read_arrays(path, _ARRAYS, ())
    joints_m = object_arrays.numbers(content["joints_m"], f"{path}: joints_m").astype(float)
    joints = len(CMU23.joints)
    if joints_m.ndim != 3 or joints_m.shape[1:] != (joints, 3):
        raise ValueError(f"{path}: joints_m: want (frames, {joints}, 3), got {joints_m.shape}")
    if not np.isfinite(joints_m).all():
        raise ValueError(f"{path}: joints_m: {(~np.isfinite(joints_m)).sum()} are no numbers")
    starts = np.asarray(content["clip_start"])
    if starts.ndim != 1 or not starts.size or starts.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: clip_start: want the number of each clip's first frame, got "
            f"{starts.dtype} of shape {starts.shape}"
        )
    bounds = [*starts.tolist(), len(joints_m)]
    if bounds[0] != 0 or any(first >= end for first, end in pairwise(bounds)):
        raise ValueError(
            f"{path}: clip_start has to rise from 0 and end before {len(joints_m)} frames do, got "
            f"{starts}"
        )
    fps = np.asarray(content["fps"])
    if fps.shape or fps.dtype.kind not in "iuf" or not 0 < fps < np.inf:
        raise ValueError(f"{path}: fps: want a rate in Hz, got {fps}")
    clip_names, subjects, names = (
        _texts(content[name], count, f"{path}: {name}")
        for name, count in (
            ("clip_name", len(starts)),
            ("clip_subject", len(starts)),
            ("joint_names", joints),
        )
    )
    clips = [
        (name, subject, slice(first, end))
        for name, subject, (first, end) in zip(clip_names, subjects, pairwise(bounds), strict=True)
    ]
    return Recording(joints_m, names, float(fps), clips)


def _texts(values: Any, count: int, where: str) -> list[str]:
    texts = np.asarray(values)
    if texts.shape != (count,) or texts.dtype.kind != "U":
        raise ValueError(f"{where}: want {count} texts, got {texts.dtype} of shape {texts.shape}")
    return texts.tolist()


def load_sequences(
    path: Path | str, smooth_below_hz: float | None = SMOOTH_BELOW_HZ
) -> list[PoseSequence]:
    """Read the clips whole, where they were recorded, in H36M17 at the file's 60 Hz.

    The recordings hold some 0.3 to 1.5 mm of noise above 12 Hz. That is most of their
    acceleration, 8 m/s^2 or 2 mm/frame^2 on the median, where people have a quarter of it.

    Parameters
    ----------
    path : Path
        The file ``cmu_60hz.npz``.
    smooth_below_hz : float, optional
        See `PoseSequence.smoothed`; None leaves the joints as they were recorded.

    Returns
    -------
    list of PoseSequence
        Named as the clips, "01_02", of subjects "cmu01" and so on; the database does not name
        actions in this file, so that ``action`` is "cmu_01_02".

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of this layout.
    """
    recording = read(path)
    long = {short: side for side, short in _SIDES.items()}
    names = []
    for name in recording.joint_names:
        side, _, part = name.partition("_")
        names.append(f"{long[side]}_{part}" if side in long else name)
    if sorted(names) != sorted(CMU23.joints):
        raise ValueError(f"{path}: its joints are not those of {CMU23.name}")
    order = [names.index(name) for name in CMU23.joints]
    joints_m = mapping.convert(recording.joints_m[:, order], CMU23.name, H36M17.name)
    sequences = [
        PoseSequence(
            name=name,
            subject=subject,
            action=f"cmu_{name}",
            rate_hz=recording.rate_hz,
            skeleton=H36M17.name,
            joints_m=joints_m[frames],
            licence=_LICENCE,
        )
        for name, subject, frames in recording.clips
    ]
    if smooth_below_hz is None:
        return sequences
    return [sequence.smoothed(smooth_below_hz) for sequence in sequences]


def load(
    path: Path | str, *, rate_hz: float = 10.0, longest_s: float = 20.0, shortest_s: float = 1.0
) -> list[MotionClip]:
    """Read the clips and place them before the rig.

    Parameters
    ----------
    path : Path
        The file ``cmu_60hz.npz``.
    rate_hz : float
        Rate of the clips' instants; between them `MotionClip.joints_at` interpolates.
    longest_s, shortest_s : float
        A piece is cut after ``longest_s``; what leaves its circle within ``shortest_s`` is left
        out.

    Returns
    -------
    list of MotionClip
        ``subject`` is the database's, for instance "cmu01"; the motion is the clip, "cmu_01_02".

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of this layout.
    """
    recording = read(path)
    source_m, names, fps = recording.joints_m, recording.joint_names, recording.rate_hz
    joints_m = to_hupr14(source_m, names)
    toes_z_m = source_m[:, [names.index("l_toe_base"), names.index("r_toe_base")], 2]
    smooth = butter(4, SMOOTH_BELOW_HZ, fs=fps, output="sos")
    placed = []
    for name, subject, clip in recording.clips:
        track_m = sosfiltfilt(smooth, joints_m[clip], axis=0)
        track_m[..., 2] -= np.percentile(toes_z_m[clip].min(axis=1), 2) - _TOE_HEIGHT_M
        shape = BodyShape.measured(track_m, skin_seed=zlib.crc32(str(subject).encode()))
        for first, last in _pieces(track_m, round(longest_s * fps), round(shortest_s * fps)):
            placed.append(
                _clip(_before_the_rig(track_m[first:last]), fps, rate_hz, shape, name, subject)
            )
    return placed


def to_hupr14(joints_m: np.ndarray, names: list[str]) -> np.ndarray:
    """Map the database's joints, shape ``(..., 23, 3)``, to those of HUPR14, ``(..., 14, 3)``.

    The database's last joint of the head lies between the ears; the crown is about as far above it
    as it is above the joint before.
    """

    def joint(name: str) -> np.ndarray:
        return joints_m[..., names.index(name), :]

    def source(name: str) -> np.ndarray:
        if name == "neck":
            return joint("neck")
        if name == "head":
            return 2 * joint("head_top") - joint("head")
        side, part = name.split("_")
        return joint(f"{_SIDES[side]}_{part}")

    return np.stack([source(name) for name in HUPR14.joints], axis=-2)


def _hips_middle(track_m: np.ndarray) -> np.ndarray:
    hips = [HUPR14.index("left_hip"), HUPR14.index("right_hip")]
    return track_m[:, hips, :2].mean(axis=1)


def _pieces(track_m: np.ndarray, longest: int, shortest: int) -> Iterator[tuple[int, int]]:
    """Cut a track into pieces [first, last) during which the hips stay within the circle."""
    middle = _hips_middle(track_m)
    first = 0
    while first < len(middle):
        piece = middle[first : first + longest]
        low = np.minimum.accumulate(piece, axis=0)
        high = np.maximum.accumulate(piece, axis=0)
        # The box around the way so far fits into the circle.
        inside = np.linalg.norm(high - low, axis=1) <= 2 * RADIUS_M
        count = len(piece) if inside.all() else int(np.argmin(inside))
        if count >= shortest:
            yield first, first + count
        first += count


def _before_the_rig(track_m: np.ndarray) -> np.ndarray:
    """Turn a piece to face the rig on average, and centre it before the rig."""
    left, right = HUPR14.index("left_hip"), HUPR14.index("right_hip")
    across = (track_m[:, left] - track_m[:, right])[:, :2].mean(axis=0)
    # Who faces the rig, along -x, has the left hip towards -y.
    turn = -np.pi / 2 - np.arctan2(across[1], across[0])
    cosine, sine = np.cos(turn), np.sin(turn)
    rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    middle = _hips_middle(track_m)
    centre = (middle.min(axis=0) + middle.max(axis=0)) / 2
    return (track_m - [*centre, 0.0]) @ rotation.T + [CENTRE_X_M, 0.0, 0.0]


def _clip(
    track_m: np.ndarray, fps: float, rate_hz: float, shape: BodyShape, name: str, subject: str
) -> MotionClip:
    track_s = np.arange(len(track_m)) / fps
    # The last radar frame has to end within the track.
    times_s = np.arange(0.0, track_s[-1] - 0.1, 1 / rate_hz)
    return MotionClip(
        times_s=times_s,
        joints_m=CubicSpline(track_s, track_m)(times_s),
        motions=(f"cmu_{name}",) * len(times_s),
        shape=shape,
        track_times_s=track_s,
        track_m=track_m,
        subject=str(subject),
    )
