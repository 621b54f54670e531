"""MMSE-HR: 40 people whose emotions are roused, 102 videos.

Images and signals come in archives of their own; they may lie anywhere up to five folders below
the root, in folders of the same subject and task::

    .../F013/T1/*.jpg                 25 per second, in the order of their names
    .../F013/T1/BP_mmHg.txt           blood pressure (mmHg), 1 kHz: the pulse wave
    .../F013/T1/Pulse Rate_BPM.txt    heart rate (bpm), 1 kHz

Nothing says when the first sample was taken: as its users do, it is taken for that of the first
image.

Zhang et al., "Multimodal Spontaneous Emotion Corpus for Human Behavior Analysis", CVPR 2016; the
layout as its users describe it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from radar_pose_ros.datasets.face_videos import FaceVideo, Trace, check_root, positive, trace
from radar_pose_ros.vision.video import ImageFolder, by_number, list_images, read_column

RATE_HZ = 25.0
SIGNAL_HZ = 1000.0
_WAVE, _RATE = "bp_mmhg.txt", "pulse rate_bpm.txt"  # in whichever case
_DEPTH = 5
_SUBJECT, _TASK = re.compile(r"[FM]\d{3}"), re.compile(r"T\d+")


def load(root: Path | str, report: Callable[[str], None] = print) -> list[FaceVideo]:
    """Read what belongs to the recordings, but no image yet.

    Parameters
    ----------
    root : Path
    report : callable
        Gets a line about what is left out.

    Returns
    -------
    list of FaceVideo
        Attributes: ``task`` ("T1"), and ``gender`` ("female" or "male", the subject's letter).

    Raises
    ------
    FileNotFoundError
        If there is no recording.
    ValueError
        If a file is damaged (says the line), or a recording is there twice.
    """
    root = check_root(root)
    images: dict[tuple[str, str], Path] = {}
    waves: dict[tuple[str, str], Path] = {}
    rates: dict[tuple[str, str], Path] = {}
    for folder in _folders(root, _DEPTH):
        key = folder.parent.name, folder.name
        files = {path.name.lower(): path for path in folder.iterdir()}
        for found, path in (
            (images, folder if list_images(folder) else None),
            (waves, files.get(_WAVE)),
            (rates, files.get(_RATE)),
        ):
            if path is not None and found.setdefault(key, path) != path:
                raise ValueError(f"{path}: {'/'.join(key)} is there twice, also {found[key]}")
    videos = []
    for key in sorted(images, key=lambda key: by_number("/".join(key))):
        if key in waves and key in rates:
            videos.append(_recording(key, images[key], waves[key], rates[key]))
        else:
            report(f"{images[key]}: no BP_mmHg.txt and Pulse Rate_BPM.txt of it: left out")
    if not videos:
        raise FileNotFoundError(
            f"{root}: no images and signals of one recording, in folders such as F013/T1"
        )
    return videos


def _folders(root: Path, depth: int) -> Iterator[Path]:
    """Yield the folders of tasks, in order."""
    for path in sorted(root.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        if _TASK.fullmatch(path.name) and _SUBJECT.fullmatch(root.name):
            yield path
        elif depth > 0:
            yield from _folders(path, depth - 1)


def _recording(key: tuple[str, str], images: Path, wave: Path, rate: Path) -> FaceVideo:
    subject, task = key
    return FaceVideo(
        name=f"mmse_hr/{subject}/{task}",
        subject=subject,
        open=lambda: ImageFolder(images, rate_hz=RATE_HZ),
        pulse=_signal(read_column(wave), wave),
        heart_rate=_signal(positive(read_column(rate)), rate),
        rate_hz=RATE_HZ,
        attributes={"task": task, "gender": "female" if subject[0] == "F" else "male"},
    )


def _signal(values: list[float] | np.ndarray, path: Path) -> Trace:
    return trace(np.arange(len(values)) / SIGNAL_HZ, values, str(path))
