"""MARS: rehabilitation movements before a radar, the radar's points and the Kinect's joints.

One file per subject, ``mars_subject1.npz``. The radar's frames come at 10 Hz; the Kinect's joints
are in the radar's frame, with nothing known about the radar's height above the floor. Frames that
the radar lost, and those of subject 1 for which no joints were published, are NaN here. The
Kinect's joints are an estimate, not motion capture: limbs change their length by centimetres.

A file holds these arrays, of ``n`` frames in the order of their movements and times:

* ``points`` float (all points, 5), one frame after the other, and ``points_cols``, their names:
  x_m (right), y_depth_m (away from the radar), z_up_m, doppler_mps (away), intensity
* ``points_per_frame`` int (n,)
* ``movement`` int (n,), and ``radar_frame`` int (n,), which rises within a movement, by 1 in 0.1 s
* ``kinect_joints_m`` float (n, 25, 3), axes as those of points, NaN where not known, and
  ``joint_names`` (25,), in the Kinect's words, as ``kinect.JOINT_NAMES``

The published split cuts every movement of every subject into parts, so that everybody is in all of
them (`PointSequence.parts`). Here sequences are whole, to be split by subject.

An and Ogras, "MARS: mmWave-based Assistive Rehabilitation System for Smart Healthcare", ACM TECS
20(5s), 2021; MIT licence.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radar_pose_ros.datasets import kinect, object_arrays
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.skeleton.definitions import H36M17, KINECT25

RATE_HZ = 10.0
# Columns of a point in a `PointSequence`.
COLUMNS = ("x", "y", "z", "doppler", "strength")
# What is done, in the data set's words.
MOVEMENTS = {
    1: "left upper limb extension",
    2: "right upper limb extension",
    3: "both upper limbs extension",
    4: "left front lunge",
    5: "right front lunge",
    6: "squat",
    7: "left side lunge",
    8: "right side lunge",
    9: "left limb extension",
    10: "right limb extension",
}
# Of the published split: rows of a movement, the last part takes the rest.
PARTS = ("train", "validation", "test")
_PART_SHARES = (0.6, 0.2)
# An hour; a subject's recordings take 40 minutes, of which a movement is two.
_LONGEST_FRAMES = 36_000
_LICENCE = "MIT, (c) 2021 SizheAn"
# From x right, y away from the radar, z up, to the rig's x away, y left, z up.
_TO_RIG = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
_PUBLISHED_COLUMNS = ("x_m", "y_depth_m", "z_up_m", "doppler_mps", "intensity")


@dataclass(frozen=True)
class PointSequence:
    """One person's movement before a radar.

    Parameters
    ----------
    name, subject, action, rate_hz, licence
        As in `PoseSequence`.
    points : ndarray of float32, shape (points, 5)
        Of all frames, one frame after the other: `COLUMNS`, position in metres (x away from the
        radar, y left, z up), speed away from the radar in m/s, strength in dB above an unknown
        level. Speed and strength may be NaN, unknown.
    first : ndarray of int, shape (frames + 1,)
        Where the points of each frame begin, and where those of the last one end. A frame that was
        lost has none.
    joints_m : ndarray of float32, shape (frames, 25, 3)
        The Kinect's joints (`KINECT25`) in the same axes; NaN is unknown.
    parts : ndarray of int8, shape (frames,)
        Which of `PARTS` a frame is in, in the published split; -1 for lost frames.

    Raises
    ------
    ValueError
        If the arrays do not belong together.
    """

    name: str
    subject: str
    action: str
    points: np.ndarray = field(repr=False)
    first: np.ndarray = field(repr=False)
    joints_m: np.ndarray = field(repr=False)
    parts: np.ndarray = field(repr=False)
    rate_hz: float = RATE_HZ
    licence: str = _LICENCE

    def __post_init__(self) -> None:
        frames, joints = len(self.joints_m), len(KINECT25.joints)
        fits = (
            self.joints_m.shape == (frames, joints, 3)
            and self.points.shape == (len(self.points), len(COLUMNS))
            and self.first.shape == (frames + 1,)
            and self.parts.shape == (frames,)
            and self.first[0] == 0
            and self.first[-1] == len(self.points)
            and bool((np.diff(self.first) >= 0).all())
        )
        if not fits:
            raise ValueError(
                f"{self.name}: points {self.points.shape}, beginnings {self.first.shape}, joints "
                f"{self.joints_m.shape} and parts {self.parts.shape} do not belong together"
            )

    def __len__(self) -> int:
        return len(self.joints_m)

    def cloud(self, frame: int) -> np.ndarray:
        """Return the points of a frame, ``(points, 5)``; none if it was lost."""
        return self.points[self.first[frame] : self.first[frame + 1]]

    def between(self, begin: int, end: int) -> PointSequence:
        """Return the frames from ``begin`` up to, but without, ``end``."""
        first = self.first[begin : end + 1]
        return replace(
            self,
            points=self.points[first[0] : first[-1]],
            first=first - first[0],
            joints_m=self.joints_m[begin:end],
            parts=self.parts[begin:end],
        )

    def part(self, name: str) -> PointSequence:
        """Return what the published split has in one of its `PARTS`, which are not empty."""
        frames = np.flatnonzero(self.parts == PARTS.index(name))
        return self.between(int(frames[0]), int(frames[-1]) + 1)


class _Movement(NamedTuple):
    number: int
    rows: np.ndarray  # of the file
    places: np.ndarray  # of these rows among all frames, from 0
    frames: int


def load(path: Path | str) -> list[PoseSequence]:
    """Read the Kinect's joints of one subject.

    Parameters
    ----------
    path : Path
        A file ``mars_subject<number>.npz``.

    Returns
    -------
    list of PoseSequence
        One per movement, in H36M17; subject "mars1", action "movement 1". Axes are the rig's (x
        away from the radar, y left, z up), from the radar.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of this layout.
    """
    path = Path(path)
    subject = _subject(path)
    file = object_arrays.read_arrays(path, ("kinect_joints_m", "joint_names", *_ROWS), ())
    joints_m = kinect.to_h36m17(_source_joints(file, path), file["joint_names"], str(path))
    joints_m = joints_m @ _TO_RIG.T
    sequences = []
    for movement in _movements(file, len(joints_m), path):
        track_m = np.full((movement.frames, len(H36M17.joints), 3), np.nan, np.float32)
        track_m[movement.places] = joints_m[movement.rows]
        sequences.append(
            PoseSequence(
                name=f"mars{subject}_{movement.number:02d}",
                subject=f"mars{subject}",
                action=f"movement {movement.number}",
                rate_hz=RATE_HZ,
                skeleton=H36M17.name,
                joints_m=track_m,
                licence=_LICENCE,
            )
        )
    return sequences


def load_points(path: Path | str) -> list[PointSequence]:
    """Read the radar's points of one subject, and the Kinect's joints beside them.

    Parameters and errors are those of `load`.

    Returns
    -------
    list of PointSequence
        One per movement, named as by `load`. Strength is ten times the logarithm of the published
        intensity, of which no unit is known. Parts are counted as in the published split: of the
        rows of a movement the first 60 %, the next 20 %, both rounded up, and the rest.
    """
    path = Path(path)
    subject = _subject(path)
    wanted = ("points", "points_cols", "points_per_frame", "kinect_joints_m", "joint_names")
    file = object_arrays.read_arrays(path, (*wanted, *_ROWS), ())
    source_m = _source_joints(file, path)
    kinect.to_h36m17(source_m, file["joint_names"], str(path))  # or the error of what is wrong
    names = [str(name) for name in np.atleast_1d(np.asarray(file["joint_names"]))]
    order = [names.index(name) for name in kinect.JOINT_NAMES]
    joints_m = (source_m[:, order] @ _TO_RIG.T).astype(np.float32)
    points, first = _points(file, len(joints_m), path)
    sequences = []
    for movement in _movements(file, len(joints_m), path):
        rows, places = movement.rows, movement.places
        track_m = np.full((movement.frames, *joints_m.shape[1:]), np.nan, np.float32)
        track_m[places] = joints_m[rows]
        counts = np.zeros(movement.frames, np.int64)
        counts[places] = first[rows + 1] - first[rows]
        parts = np.full(movement.frames, -1, np.int8)
        parts[places] = _parts(len(rows))
        clouds = [points[first[row] : first[row + 1]] for row in rows]
        sequences.append(
            PointSequence(
                name=f"mars{subject}_{movement.number:02d}",
                subject=f"mars{subject}",
                action=f"movement {movement.number}",
                points=np.concatenate(clouds),
                first=np.concatenate(([0], np.cumsum(counts))),
                joints_m=track_m,
                parts=parts,
            )
        )
    return sequences


def files(folder: Path | str) -> dict[int, Path]:
    """Return the subjects of a folder and their files, in the order of their numbers.

    Raises
    ------
    ValueError
        If the folder has no ``mars_subject<number>.npz``.
    """
    matches = {
        path: re.fullmatch(r"mars_subject(\d+)\.npz", path.name)
        for path in sorted(Path(folder).glob("mars_subject*.npz"))
    }
    found = {int(match[1]): path for path, match in matches.items() if match}
    if not found:
        raise ValueError(f"{folder} has no files mars_subject<number>.npz")
    return dict(sorted(found.items()))


_ROWS = ("movement", "radar_frame")


def _subject(path: Path) -> str:
    subject = path.stem.removeprefix("mars_subject")
    if not subject.isdigit():
        raise ValueError(f"{path}: the name does not say whose file it is: mars_subject<number>")
    return str(int(subject))


def _source_joints(file: dict[str, Any], path: Path) -> np.ndarray:
    joints_m = object_arrays.numbers(file["kinect_joints_m"], f"{path}: kinect_joints_m")
    if joints_m.ndim != 3:
        raise ValueError(f"{path}: kinect_joints_m wants (frames, 25, 3), got {joints_m.shape}")
    return np.where(np.isfinite(joints_m), joints_m, np.nan)


def _movements(file: dict[str, Any], rows: int, path: Path) -> list[_Movement]:
    """Return which rows are of which movement, and where they are in time."""
    movements, frames = (object_arrays.numbers(file[n], f"{path}: {n}") for n in _ROWS)
    for name, values in zip(_ROWS, (movements, frames), strict=True):
        if values.dtype.kind not in "iu" or values.shape != (rows,):
            raise ValueError(
                f"{path}: {name} wants one whole number for each of {rows} frames, got "
                f"{values.dtype} of shape {values.shape}"
            )
    found = []
    for movement in np.unique(movements):
        chosen = np.flatnonzero(movements == movement)
        places = frames[chosen].astype(np.int64) - int(frames[chosen].min())
        if (np.diff(places) <= 0).any() or places.max() >= _LONGEST_FRAMES:
            raise ValueError(
                f"{path}: radar_frame of movement {movement} does not rise, or by more than "
                f"{_LONGEST_FRAMES}"
            )
        found.append(_Movement(int(movement), chosen, places, int(places.max()) + 1))
    return found


def _points(file: dict[str, Any], rows: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return points in `COLUMNS` and where those of each row begin, (rows + 1,)."""
    columns = tuple(str(name) for name in np.atleast_1d(np.asarray(file["points_cols"])))
    if columns != _PUBLISHED_COLUMNS:
        raise ValueError(f"{path}: points_cols must be {', '.join(_PUBLISHED_COLUMNS)}")
    source = object_arrays.numbers(file["points"], f"{path}: points")
    if source.ndim != 2 or source.shape[1] != len(columns):
        raise ValueError(f"{path}: points wants (points, {len(columns)}), got {source.shape}")
    counts = object_arrays.numbers(file["points_per_frame"], f"{path}: points_per_frame")
    if counts.dtype.kind not in "iu" or counts.shape != (rows,) or (counts < 0).any():
        raise ValueError(
            f"{path}: points_per_frame wants one whole number for each of {rows} frames, got "
            f"{counts.dtype} of shape {counts.shape}"
        )
    first = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    if first[-1] != len(source):
        raise ValueError(
            f"{path}: points_per_frame counts {first[-1]} points, but there are {len(source)}"
        )
    if not np.isfinite(source[:, :3]).all():
        raise ValueError(f"{path}: points: a place is not a finite number")
    points = np.empty(source.shape, np.float32)
    points[:, :3] = source[:, :3] @ _TO_RIG.T
    points[:, 3] = source[:, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        strength = 10 * np.log10(source[:, 4])
    points[:, 4] = np.where(np.isfinite(strength), strength, np.nan)
    return points, first


def _parts(rows: int) -> np.ndarray:
    """Return which of `PARTS` each row of a movement is in."""
    ends = np.cumsum([math.ceil(share * rows) for share in _PART_SHARES])
    return np.searchsorted(ends, np.arange(rows), side="right").astype(np.int8)
