"""When frames of videos were taken: by files of times, videos, rates, and cameras' offsets."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from radar_pose_ros.datasets import pose2sim
from radar_pose_ros.datasets.multiview import ViewShots
from radar_pose_ros.vision.camera_names import find
from radar_pose_ros.vision.video import container_times, no_later, read_times

STAMPS = (".csv", ".txt")
# Some containers round times to a millisecond: so near to even ones, they are even.
_ROUNDED_S = 1.001e-3


def instants(
    folder: Path, name: str, frames: np.ndarray, video: Path | None, rate_hz: float | None
) -> tuple[np.ndarray, list[str]]:
    """Return when a camera's shots were taken, on its own clock, and notes on that.

    Parameters
    ----------
    folder : Path
    name : str
        The camera's.
    frames : ndarray of int64, shape (shots,)
        Numbers of frames, from 0, increasing.
    video : Path, optional
        Beside it a file of times is looked for; without one, in the folder.
    rate_hz : float, optional
        Frames per second if there is no file of times; by default what the video says of each
        frame or, without one, what the trial's .trc files say.

    Returns
    -------
    stamps_s : ndarray of float64, shape (shots,)
        Increasing; NaN where a file of times has one that is not after those before. It may have
        a few, see `vision.video.check_times`.
    notes : list of str

    Raises
    ------
    ValueError
        If there are not as many times as frames, they do not increase, or nobody says how many
        there are in a second.
    """
    base = folder / f"{name}.x" if video is None else video
    files = [path for ending in STAMPS if (path := base.with_suffix(ending)).is_file()]
    if len(files) > 1:
        raise ValueError(
            f"{files[0]}: and {files[1].name}: which one says when frames were taken?"
        )
    if files:
        stamps = read_times(files[0])
        wanted = int(frames[-1]) + 1
        if len(stamps) != wanted:
            raise ValueError(f"{files[0]}: {len(stamps)} times, but {wanted} frames")
        later = np.diff(np.maximum.accumulate(stamps), prepend=-np.inf) > 0
        notes = no_later(files[0], int((~later).sum()), len(stamps))
        return np.where(later, stamps, np.nan)[frames], notes
    if rate_hz is None and video is not None:
        return video_times(video, frames)
    if rate_hz is None:
        how = f"with --rate, or when each was taken in {name}.csv"
        rate_hz = pose2sim.find_rate(folder, how)
    return frames / rate_hz, []


def video_times(video: Path, frames: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return when frames were taken as their video says, from its first one on, and a note.

    Phones do not take frames evenly: each has a time of its own. If these do not increase, the
    frames are taken for even, which is what the note says.

    Parameters
    ----------
    video : Path
    frames : ndarray of int64, shape (shots,)

    Raises
    ------
    ValueError
        If it cannot be read, or the frames are even and it does not say their rate.
    """
    container = container_times(video, int(frames[-1]) + 1)
    times, rate_hz = container.times_s, container.rate_hz
    said = np.isfinite(rate_hz)
    if len(times) > frames[-1] and container.increase:
        times = times - times[0]
        even = said and (abs(times - np.arange(len(times)) / rate_hz) <= _ROUNDED_S).all()
        return (frames / rate_hz if even else times[frames]), []
    if not said:
        raise ValueError(
            f"{video}: it does not say how many frames per second it has: give --rate, or "
            f"{video.stem}.csv with the time of each frame beside it"
        )
    why = "does not say when each frame was taken"
    if len(times) <= frames[-1]:
        why = f"has {len(times)} frames, but there are keypoints of {frames[-1] + 1}"
    return frames / rate_hz, [f"{video}: it {why}; taken for even, {rate_hz:g} per second"]


def read_offsets(given: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Return by how much later than its own clock says each camera's frames were taken.

    Parameters
    ----------
    given : sequence of str
        ``NAME=SECONDS``, or a file of such pairs, ``NAME,SECONDS`` in each line.
    names : sequence of str
        Of the cameras; those that are not given have 0.

    Raises
    ------
    ValueError
        If one is not of this form, of no camera, or of one that was given before.
    """
    pairs: list[tuple[str, str, str]] = []
    for text in given:
        name, sign, value = text.partition("=")
        if sign:
            pairs.append((text, name, value))
            continue
        for number, row in enumerate(_rows(Path(text)), 1):
            if number == 1 and len(row) > 1 and _number(row[1]) is None:
                continue  # a header
            if len(row) != 2:
                raise ValueError(f"{text} line {number}: want NAME,SECONDS, got {','.join(row)}")
            pairs.append((f"{text} line {number}", row[0], row[1]))
    made: dict[str, float] = {}
    for where, name, value in pairs:
        camera = find(name, names, where)
        seconds = _number(value)
        if camera is None:
            raise ValueError(f"{where}: no camera {name!r}, there are {', '.join(names)}")
        if seconds is None:
            raise ValueError(f"{where}: want NAME=SECONDS, a finite number, got {value!r}")
        if camera in made:
            raise ValueError(f"{where}: a second offset of {camera}")
        made[camera] = seconds
    return {name: made.get(name, 0.0) for name in names}


def apart(views: Sequence[ViewShots]) -> str:
    """Return a sentence that names cameras by their times, if none is in the times of all.

    Cameras whose times overlap are named together, the fewest first: whose clock began elsewhere
    than that of the others stands there alone.

    Parameters
    ----------
    views : sequence of ViewShots
        With one shot at least each.

    Returns
    -------
    str
        Empty if they have a time in common.
    """
    spans = sorted((float(v.stamps_s[0]), float(v.stamps_s[-1]), v.name) for v in views)
    if spans[-1][0] <= min(end_s for _, end_s, _ in spans):
        return ""
    groups: list[list[tuple[float, float, str]]] = []
    for span in spans:
        if groups and span[0] <= max(end_s for _, end_s, _ in groups[-1]):
            groups[-1].append(span)
        else:
            groups.append([span])
    if len(groups) == 1:  # each overlaps another one, but not all of them
        groups = [[span] for span in spans]
    told = [
        f"{', '.join(name for _, _, name in group)} are {group[0][0]:.3f} to "
        f"{max(end_s for _, end_s, _ in group):.3f} s"
        for group in sorted(groups, key=len)
    ]
    return f"the times of {', of '.join(told)}: is a clock or an offset wrong?"


def _rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no text: {error}") from None
    rows = [[part.strip() for part in row] for row in csv.reader(text.splitlines())]
    return [row for row in rows if any(row)]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
