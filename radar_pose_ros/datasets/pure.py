"""PURE: ten people before a camera, in six setups of motion, each for about a minute.

::

    <ii>-<jj>/<ii>-<jj>/Image<nanoseconds>.png   subject ii in setup jj, 30 per second
    <ii>-<jj>/<ii>-<jj>.json                     /Image: stamps of the frames
                                                 /FullPackage: the oximeter's samples, about 60 Hz

Both lists have stamps of one clock in nanoseconds, and these say which pulse belongs to a frame.
Subject 6 has no setup 2.

Stricker, Mueller and Gross, "Non-contact Video-based Pulse Rate Measurement on a Mobile Service
Robot", RO-MAN 2014.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros import documents
from radar_pose_ros.datasets.face_videos import FaceVideo, check_root, positive, trace
from radar_pose_ros.vision.video import ImageFolder, list_images, name_stamps_ns

RATE_HZ = 30.0
SETUPS = {
    "01": "steady",
    "02": "talking",
    "03": "slow translation",
    "04": "fast translation",
    "05": "small rotation",
    "06": "medium rotation",
}
_RECORDING = re.compile(r"(\d\d)-(\d\d)")
# While one of these is true, the oximeter has no pulse.
_FLAGS = ("probeError", "searching")


def load(root: Path | str, report: Callable[[str], None] = print) -> list[FaceVideo]:
    """Read what belongs to the recordings, but no image yet.

    Parameters
    ----------
    root : Path
        Folder with the recordings' folders.
    report : callable
        Gets a line about what is left out or missing.

    Returns
    -------
    list of FaceVideo
        Attribute ``motion`` is the setup.

    Raises
    ------
    FileNotFoundError
        If there is no recording.
    ValueError
        If a file is damaged: says the key and the entry.
    """
    root = check_root(root)
    videos = []
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or not _RECORDING.fullmatch(folder.name):
            continue
        images = folder / folder.name
        path = folder / f"{folder.name}.json"
        if not path.is_file() or not images.is_dir() or not list_images(images):
            report(f"{folder}: want images in {images.name} and {path.name} beside it: left out")
        else:
            videos.append(_read(path, images, report))
    if not videos:
        raise FileNotFoundError(f"{root}: no recording in it, a folder such as 01-01")
    return videos


def _read(path: Path, images: Path, report: Callable[[str], None]) -> FaceVideo:
    content = documents.read_json(path)
    frames = _entries(content, "/Image", path)
    samples = _entries(content, "/FullPackage", path)
    stamps_ns = _frame_stamps(path, images, [_stamp(*entry) for entry in frames], report)
    times_s = [(_stamp(*entry) - stamps_ns[0]) / 1e9 for entry in samples]
    wave, rate = np.array([_sample(*entry) for entry in samples]).T
    frame_times_s = [(stamp - stamps_ns[0]) / 1e9 for stamp in stamps_ns]
    subject, setup = path.stem.split("-")
    return FaceVideo(
        name=f"pure/{path.stem}",
        subject=subject,
        open=lambda: ImageFolder(images, times_s=frame_times_s),
        pulse=trace(times_s, wave, f"{path}: /FullPackage"),
        heart_rate=trace(times_s, positive(rate), f"{path}: /FullPackage pulseRate"),
        rate_hz=RATE_HZ,
        attributes={"motion": SETUPS.get(setup, f"setup {setup}")},
    )


def _entries(content: Any, key: str, path: Path) -> list[tuple[Any, str]]:
    """Return the entries of a list, each with what an error calls it."""
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path}: want a list {key}, and something in it")
    return [(entry, f"{path}: {key}, entry {number}") for number, entry in enumerate(found, 1)]


def _stamp(entry: Any, where: str) -> int:
    stamp = entry.get("Timestamp") if isinstance(entry, dict) else None
    if not isinstance(stamp, int) or not 0 <= stamp < 2**63:
        raise ValueError(f"{where}: want a Timestamp in nanoseconds, got {stamp!r:.80}")
    return stamp


def _sample(entry: Any, where: str) -> tuple[float, float]:
    """Return wave and heart rate; NaN while the oximeter says that it has no pulse."""
    value = entry.get("Value")
    try:
        wave, rate = float(value["waveform"]), float(value["pulseRate"])
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: want numbers waveform and pulseRate: {error!r:.80}") from None
    return (np.nan, np.nan) if any(value.get(flag) for flag in _FLAGS) else (wave, rate)


def _frame_stamps(
    path: Path, images: Path, stamps_ns: list[int], report: Callable[[str], None]
) -> list[int]:
    """Return the stamp of each image in the folder: in its name, else in the order of /Image."""
    paths = list_images(images)
    named = name_stamps_ns(paths)
    if named is None:
        if len(paths) != len(stamps_ns):
            raise ValueError(
                f"{path}: /Image has {len(stamps_ns)} stamps, but there are {len(paths)} images, "
                "and their names do not say which is which"
            )
        return stamps_ns
    strange = {*named} - {*stamps_ns}
    if strange:
        raise ValueError(f"{path}: /Image has no frame {min(strange)}, but {images} has")
    missing = len({*stamps_ns} - {*named})
    if missing:
        report(f"{images}: {missing} of the {len(stamps_ns)} images in {path.name} are not there")
    return named
