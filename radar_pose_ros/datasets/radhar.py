"""RadHAR: five activities before a radar, as points and nothing else.

The published clips are text, what ``rostopic echo`` prints of the messages of TI's ROS driver: one
message for each point. `load` reads many clips out of one ``.npz`` file, `load_dump` one clip of
text. Frames come in pairs, 1.7 ms and 58 ms apart: 33 of them in a second, by the computer's clock
when they arrived. Still objects are left in; most points do not move.

The driver's points are x away from the radar, y to the *right* (its bearing, clockwise, has the
sign of y), z up; here y is to the left.

Singh et al., "RadHAR: Human Activity Recognition from Point Clouds Generated through a
Millimeter-wave Radar", mmNets 2019; BSD 3-clause licence, (c) 2019 UCLA Networked & Embedded
Systems Laboratory.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from radar_pose_ros import documents
from radar_pose_ros.datasets import object_arrays

# 20 s of text are 3.4 MB.
LARGEST_DUMP_BYTES = 256 * 2**20
_LONGEST_LINE = 200
# x from and to, y and z the same, in which its people are. Outside are the antenna's own echoes,
# walls and ceiling, and mirror images.
ROOM_M = (0.6, 2.6, -1.5, 1.5, -1.2, 1.0)
_TO_LEFT = np.array([1, -1, 1, 1, 1], np.float32)
# One message, line by line; None: without a value.
_MESSAGE = (
    ("header", None),
    ("seq", int),
    ("stamp", None),
    ("secs", int),
    ("nsecs", int),
    ("frame_id", str),
    ("point_id", int),
    ("x", float),
    ("y", float),
    ("z", float),
    ("range", float),
    ("velocity", float),
    ("doppler_bin", int),
    ("bearing", float),
    ("intensity", float),
)


class Clip(NamedTuple):
    """One recording of one activity.

    Attributes
    ----------
    name : str
    activity : str
        Empty if it is not known.
    times_s : ndarray, shape (frames,)
        Unix time, rising.
    clouds : list of ndarray, float32 (n, 5)
        x away from the radar, y to the left, z up, m; radial velocity, m/s; intensity, dB.
    """

    name: str
    activity: str
    times_s: np.ndarray
    clouds: list[np.ndarray]


def load(path: Path | str) -> list[Clip]:
    """Read clips out of one file.

    Parameters
    ----------
    path : Path
        A ``.npz`` file with ``points`` (n, 5), ``points_per_frame`` and ``frame_time_unix_s``
        (frames,), ``clip_start_frame``, ``clip_label`` and ``clip_name`` (clips,).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not of this layout: names it and says what.
    """
    names = ("points", "points_per_frame", "frame_time_unix_s", "clip_start_frame")
    file = object_arrays.read_arrays(path, (*names, "clip_label", "clip_name"), ())
    points, sizes, times_s, starts = (
        object_arrays.numbers(file[name], f"{path}: {name}") for name in names
    )
    if points.ndim != 2 or points.shape[1] != 5:
        raise ValueError(f"{path}: points want the shape (n, 5), got {points.shape}")
    for name, values in (("points_per_frame", sizes), ("clip_start_frame", starts)):
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise ValueError(f"{path}: {name} wants whole numbers in a row")
    sizes, starts = sizes.astype(np.int64), starts.astype(np.int64)
    if times_s.shape != sizes.shape or (sizes < 0).any() or sizes.sum() != len(points):
        raise ValueError(
            f"{path}: frame_time_unix_s and points_per_frame want a number for each frame, and "
            f"{len(points)} points in all"
        )
    ends = np.append(starts[1:], len(sizes))
    if not len(starts) or starts[0] != 0 or (ends <= starts).any():
        raise ValueError(f"{path}: clip_start_frame must rise from 0 to below {len(sizes)}")
    labels, clips = (np.ravel(file[name]) for name in ("clip_label", "clip_name"))
    if not len(labels) == len(clips) == len(starts):
        raise ValueError(f"{path}: want a label and a name for each of {len(starts)} clips")
    clouds = np.split((points * _TO_LEFT).astype(np.float32), np.cumsum(sizes)[:-1])
    found = []
    for name, label, start, end in zip(clips, labels, starts, ends, strict=True):
        times = times_s[start:end].astype(np.float64)
        if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise ValueError(f"{path}: frame_time_unix_s of {name} does not rise")
        found.append(Clip(str(name), str(label), times, clouds[start:end]))
    return found


def gathered(clip: Clip, rate_hz: float) -> list[np.ndarray]:
    """Return clouds of another rate: the points in `ROOM_M` of each span of time, from the first.

    Parameters
    ----------
    clip : Clip
    rate_hz : float
        Lower than the clip's. The last span, which may be cut, is left out.

    Returns
    -------
    list of ndarray, float32 (n, 5)
        Columns as in a `Clip`. There may be spans without points.
    """
    span = np.floor((clip.times_s - clip.times_s[0]) * rate_hz).astype(int)
    points = np.concatenate(clip.clouds)
    span_of = np.repeat(span, [len(cloud) for cloud in clip.clouds])
    low, high = np.array(ROOM_M[::2]), np.array(ROOM_M[1::2])
    inside = ((points[:, :3] >= low) & (points[:, :3] <= high)).all(1)
    points, span_of = points[inside], span_of[inside]
    return np.split(points, np.searchsorted(span_of, np.arange(1, span[-1] + 1)))[:-1]


def load_dump(path: Path | str, activity: str = "") -> Clip:
    """Read one clip of text.

    Parameters
    ----------
    path : Path
        As the data set has it, or compressed (``.gz``).
    activity : str
        Which it is: files do not say, the published folders are named by it.

    Returns
    -------
    Clip
        Named like the file. A frame begins where ``point_id`` does not rise, and its time is that
        of its first point; points that the driver left out are no damage.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the text is damaged or cut: names file and line, and says what.
    """
    path = Path(path)
    times_s: list[float] = []
    frames: list[list[list[float]]] = []
    last = math.inf
    with documents.open_file(path) as file, contextlib.ExitStack() as stack:
        stream: io.BufferedIOBase = file
        if path.suffix == ".gz":
            stream = stack.enter_context(gzip.GzipFile(fileobj=file))
        try:
            for number, time_s, point, values in _messages(stream, path):
                if point < 0:
                    raise ValueError(f"{path} line {number}: point_id must not be negative")
                if point <= last:
                    if times_s and time_s <= times_s[-1]:
                        raise ValueError(
                            f"{path} line {number}: time does not rise from one frame to the next"
                        )
                    times_s.append(time_s)
                    frames.append([])
                frames[-1].append(values)
                last = point
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: its compression is damaged: {error}") from error
    if not frames:
        raise ValueError(f"{path}: holds no message")
    name = path.name.removesuffix(".gz").removesuffix(".txt")
    clouds = [np.array(frame, np.float32) * _TO_LEFT for frame in frames]
    return Clip(name, activity, np.array(times_s), clouds)


def _messages(
    stream: io.BufferedIOBase, path: Path
) -> Iterator[tuple[int, float, int, list[float]]]:
    """Yield each message's last line, time, point, and x, y, z, velocity and intensity."""
    read = 0
    number = 0
    while True:
        found: dict[str, int | float | str | None] = {}
        for field, kind in (*_MESSAGE, ("---", None)):
            line = stream.readline(_LONGEST_LINE)
            read += len(line)
            number += 1
            if read > LARGEST_DUMP_BYTES:
                raise ValueError(f"{path}: longer than {LARGEST_DUMP_BYTES} bytes")
            if not line and field == _MESSAGE[0][0]:
                return
            found[field] = _value(line, field, kind, f"{path} line {number}")
        time_s = float(found["secs"]) + 1e-9 * float(found["nsecs"])  # type: ignore[arg-type]
        names = ("x", "y", "z", "velocity", "intensity")
        values = [float(found[name]) for name in names]  # type: ignore[arg-type]
        yield number, time_s, int(found["point_id"]), values  # type: ignore[arg-type]


def _value(line: bytes, field: str, kind: type | None, where: str) -> int | float | str | None:
    if len(line) == _LONGEST_LINE:
        raise ValueError(f"{where}: longer than {_LONGEST_LINE} bytes")
    if not line.endswith(b"\n"):
        raise ValueError(f"{where}: the text ends within a message")
    name, _, text = line.decode("ascii", "replace").strip().partition(":")
    if name != field:
        raise ValueError(f"{where}: want {field!r}, got {name[:40]!r}")
    if kind is None or kind is str:
        return text.strip()
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{where}: {field} wants a number, got {text.strip()[:40]!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"{where}: {field} is not finite")
    return value
