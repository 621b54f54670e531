"""UBFC-rPPG: people before a webcam, sitting still (dataset 1) or playing a game (dataset 2).

Dataset 2 is what others report on, 42 videos, one of each subject::

    subject<N>/vid.avi
    subject<N>/ground_truth.txt   line 1: pulse wave, 2: heart rate (bpm), 3: time (s)

Its wave has a value for each frame, so line 3 says when the frames were taken. In dataset 1 the
oximeter has its own rate, and frames have the times of the video file::

    <name>/vid*.avi
    <name>/gtdump.xmp             in each line: time (ms), heart rate (bpm), oxygen (%), pulse wave

Whether a person is in both, or in two videos of dataset 1, is not said: `splits` are of dataset 2.

Bobbia, Macwan, Benezeth, Mansouri and Dubois, "Unsupervised skin tissue segmentation for remote
photoplethysmography", Pattern Recognition Letters 124, 2019; the formats as in its readme.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from radar_pose_ros.datasets.face_videos import (
    FaceVideo,
    check_root,
    positive,
    read_lines,
    read_numbers,
    trace,
)
from radar_pose_ros.vision.video import VideoFile, by_number, check_times

_TRUTHS = {"ground_truth.txt": "dataset 2", "gtdump.xmp": "dataset 1"}
_ROWS = ("the pulse wave", "the heart rate", "times")
_DEPTH = ("*", "*/*")  # DATASET_1 and DATASET_2 may lie beside each other


def load(root: Path | str, report: Callable[[str], None] = print) -> list[FaceVideo]:
    """Read what belongs to the videos, but no video yet.

    Parameters
    ----------
    root : Path
        Folder with the subjects' folders, or one above it.
    report : callable
        Gets a line about what is left out.

    Returns
    -------
    list of FaceVideo
        Attribute ``part`` is "dataset 1" or "dataset 2".

    Raises
    ------
    FileNotFoundError
        If there is no recording.
    ValueError
        If a file is damaged: says the line.
    """
    root = check_root(root)
    found = [root.glob(f"{depth}/{name}") for name in _TRUTHS for depth in _DEPTH]
    truths = sorted(itertools.chain(*found), key=lambda path: by_number(str(path)))
    videos = []
    for path in truths:
        files = sorted(path.parent.glob("vid*.avi"))
        if len(files) != 1:
            report(f"{path.parent}: {len(files)} files vid*.avi, want one: left out")
        elif path.name == "gtdump.xmp":
            videos.append(_first(path, files[0]))
        else:
            videos.append(_second(path, files[0]))
    if not videos:
        raise FileNotFoundError(
            f"{root}: no folder in it has {' or '.join(_TRUTHS)} beside its video"
        )
    return videos


def _second(path: Path, video: Path) -> FaceVideo:
    lines = [line for line in read_lines(path) if line.strip()]
    if len(lines) != len(_ROWS):
        raise ValueError(f"{path}: want 3 lines, {', '.join(_ROWS)}, got {len(lines)}")
    wave, rate, times = (
        read_numbers(line, f"{path} line {number}") for number, line in enumerate(lines, 1)
    )
    if not len(wave) == len(rate) == len(times):
        raise ValueError(
            f"{path}: want as many numbers in each line, got {len(wave)}, {len(rate)} and "
            f"{len(times)}"
        )
    times_s = check_times(times, f"{path} line 3") - times[0]
    pulse = trace(times_s, wave, f"{path} line 1")
    return FaceVideo(
        name=f"ubfc_rppg/{path.parent.name}",
        subject=path.parent.name,
        open=lambda: VideoFile(video, times_s=times_s),
        pulse=pulse,
        heart_rate=trace(times_s, positive(rate), f"{path} line 2"),
        rate_hz=(len(times) - 1) / float(pulse.times_s[-1] - pulse.times_s[0]),
        attributes={"part": _TRUTHS[path.name]},
    )


def _first(path: Path, video: Path) -> FaceVideo:
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            row = read_numbers(line, f"{path} line {number}")
            if len(row) != 4:
                raise ValueError(f"{path} line {number}: want 4 numbers, got {len(row)}")
            rows.append(row)
    times_ms, rate, _, wave = np.array(rows).T
    return FaceVideo(
        name=f"ubfc_rppg/{path.parent.name}",
        subject=path.parent.name,
        open=lambda: VideoFile(video),
        pulse=trace(times_ms / 1e3, wave, str(path)),
        heart_rate=trace(times_ms / 1e3, positive(rate), str(path)),
        attributes={"part": _TRUTHS[path.name]},
    )
