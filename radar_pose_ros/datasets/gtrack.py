"""People counting: a capture of Texas Instruments' radar, and what their own tracker made of it.

A folder with two files. ``people_counting_points.npz`` holds the points of 400 frames: range,
azimuth from the boresight to the right, radial velocity, positive moving away, and the
signal-to-noise ratio, as ratio of powers. ``expected_tracks.npz`` holds the people that TI's
tracker followed in the first 280 of them: x to the right, y away from the radar.

The radar measured no height: points here lie in the plane of the antenna, at their slant range. So
do TI's x and y, which are compared with them. (The files' points in space have elevations that all
put them 1 m below the radar; they are not read.) Frames carry no time. How long they are, and the
room, is what TI's tracker was told when it made those tracks: ``deltaT`` and ``boundaryBox`` in
``gtrack/test/common/gtrackApp.c``.

Texas Instruments, gtrack library, use case people_counting; BSD 3-clause licence.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from radar_pose_ros.datasets import object_arrays

PERIOD_S = 0.05
# x from and to, y from and to. Points elsewhere are no people's to TI's tracker.
ROOM_M = (0.5, 7.5, -4.0, 4.0)
POINTS_FILE = "people_counting_points.npz"
TRACKS_FILE = "expected_tracks.npz"


class ExpectedPeople(NamedTuple):
    """Who TI's tracker followed in one frame.

    Attributes
    ----------
    ids : ndarray of int, shape (people,)
    position_m : ndarray, shape (people, 2)
        x away from the radar, y to the left.
    velocity_mps : ndarray, shape (people, 2)
    """

    ids: np.ndarray
    position_m: np.ndarray
    velocity_mps: np.ndarray


class Capture(NamedTuple):
    """Frames in the order of time.

    Attributes
    ----------
    times_s : ndarray, shape (frames,)
        From the first frame on, by `PERIOD_S`.
    clouds : list of ndarray, float32 (n, 5)
        x away from the radar, y to the left, z = 0, m; radial velocity, m/s; signal-to-noise
        ratio, dB.
    expected : list of ExpectedPeople
        Of the first frames; those after them have none.
    """

    times_s: np.ndarray
    clouds: list[np.ndarray]
    expected: list[ExpectedPeople]


def load(folder: Path | str) -> Capture:
    """Read the capture.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    FileNotFoundError
        If one of the two files is missing.
    ValueError
        If one is not of this layout: names the file and says what.
    """
    first, clouds = _clouds(Path(folder) / POINTS_FILE)
    expected = _expected(Path(folder) / TRACKS_FILE, first)
    if len(expected) > len(clouds):
        raise ValueError(
            f"{Path(folder) / TRACKS_FILE}: has {len(expected)} frames, the points only "
            f"{len(clouds)}"
        )
    return Capture(PERIOD_S * np.arange(len(clouds)), clouds, expected)


def _clouds(path: Path) -> tuple[int, list[np.ndarray]]:
    """Return the first frame's number, and all frames."""
    file = object_arrays.read_arrays(path, ("points", "offset", "frame_number"), ())
    points = _table(file["points"], f"{path}: points", 4)
    offset, numbers = (
        _whole(file[name], f"{path}: {name}") for name in ("offset", "frame_number")
    )
    if not len(numbers):
        raise ValueError(f"{path}: holds no frame")
    if len(offset) != len(numbers) + 1 or offset[0] != 0 or offset[-1] != len(points):
        raise ValueError(
            f"{path}: offset wants {len(numbers) + 1} numbers from 0 to {len(points)}, got "
            f"{len(offset)} from {offset[0] if len(offset) else 'nothing'}"
        )
    if (np.diff(offset) < 0).any() or (np.diff(numbers) != 1).any():
        raise ValueError(f"{path}: offset must not fall, and frame_number must rise by 1")
    range_m, azimuth, doppler, ratio = points.T
    if (ratio <= 0).any() or (range_m < 0).any():
        raise ValueError(f"{path}: ranges must not be negative, and ratios of powers above 0")
    cloud = np.column_stack(
        [
            range_m * np.cos(azimuth),
            -range_m * np.sin(azimuth),
            np.zeros_like(range_m),
            doppler,
            10 * np.log10(ratio),
        ]
    ).astype(np.float32)
    return int(numbers[0]), np.split(cloud, offset[1:-1])


def _expected(path: Path, first: int) -> list[ExpectedPeople]:
    file = object_arrays.read_arrays(path, ("tracks", "cols", "index_offset", "first_frame"), ())
    columns = [str(name) for name in np.atleast_1d(file["cols"])]
    wanted = ["frame", "tid", "x", "y", "vx", "vy"]
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ValueError(f"{path}: cols has no {', '.join(missing)}")
    table = _table(file["tracks"], f"{path}: tracks", len(columns))
    frame, identity, right, away, right_mps, away_mps = (
        table[:, columns.index(name)] for name in wanted
    )
    count = len(_whole(file["index_offset"], f"{path}: index_offset")) - 1
    told = _whole(np.atleast_1d(file["first_frame"]), f"{path}: first_frame")
    if told.tolist() != [first]:
        raise ValueError(f"{path}: first_frame must be that of the points, {first}, got {told}")
    if len(frame) and (frame.min() < first or frame.max() >= first + count):
        raise ValueError(
            f"{path}: tracks are of frames {first} to {first + count - 1}, got "
            f"{frame.min():g} to {frame.max():g}"
        )
    people = []
    for number in range(first, first + count):
        rows = frame == number
        people.append(
            ExpectedPeople(
                identity[rows].astype(int),
                np.column_stack([away, -right])[rows],
                np.column_stack([away_mps, -right_mps])[rows],
            )
        )
    return people


def _table(value: object, where: str, columns: int) -> np.ndarray:
    array = object_arrays.numbers(value, where)
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{where}: want the shape (n, {columns}), got {array.shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: holds numbers that are not finite")
    return array


def _whole(value: object, where: str) -> np.ndarray:
    array = object_arrays.numbers(value, where)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{where}: want whole numbers in a row, got {array.dtype} {array.shape}")
    return array.astype(np.int64)
