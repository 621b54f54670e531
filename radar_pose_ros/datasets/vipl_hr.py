"""VIPL-HR: 107 people before several cameras, in nine situations.

::

    [data/]p<N>/v<M>/source<K>/video.avi   cameras 1 to 3; camera 4 sees near infrared: left out
                               wave.csv    pulse wave, about 60 Hz, without times
                               gt_HR.csv   heart rate (bpm), one per second
                               time.txt    of each frame, ms; not of camera 2

The videos were made for storage: what their files say of frame rates is wrong, ``time.txt`` is
right. Where it is there, the wave is taken to span the video, as the set's users do; else to have
60 Hz (attribute ``pulse_times``), and the frames to have the times of the video file. So pulses
are known better of cameras 1 and 3.

Niu, Shan, Han and Chen, "RhythmNet", IEEE Transactions on Image Processing 29, 2020; the layout
as its users describe it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from radar_pose_ros.datasets.face_videos import FaceVideo, check_root, positive, trace
from radar_pose_ros.vision.video import VideoFile, by_number, read_column, read_times

WAVE_HZ = 60.0
_INFRARED = "source4"
_FOLDERS = (re.compile(r"p\d+"), re.compile(r"v[\d-]+"), re.compile(r"source\d+"))
_NEEDED = ("video.avi", "wave.csv", "gt_HR.csv")


def load(root: Path | str, report: Callable[[str], None] = print) -> list[FaceVideo]:
    """Read what belongs to the videos, but no video yet.

    Parameters
    ----------
    root : Path
        Folder with the subjects' folders, or with ``data`` in it.
    report : callable
        Gets a line about what is left out.

    Returns
    -------
    list of FaceVideo
        Attributes: ``situation`` ("v1"), ``camera`` ("source1"), ``pulse_times`` ("spans the
        video" or "60 Hz").

    Raises
    ------
    FileNotFoundError
        If there is no recording.
    ValueError
        If a file is damaged: says the line.
    """
    root = check_root(root)
    base = root / "data" if (root / "data").is_dir() else root
    videos = []
    for folder in sorted(base.glob("p*/v*/source*"), key=lambda path: by_number(str(path))):
        names = folder.relative_to(base).parts
        if folder.name == _INFRARED or not all(
            known.fullmatch(name) for known, name in zip(_FOLDERS, names, strict=True)
        ):
            continue
        missing = [name for name in _NEEDED if not (folder / name).is_file()]
        if missing:
            report(f"{folder}: there is no {', '.join(missing)}: left out")
        else:
            videos.append(_recording(folder, names))
    if not videos:
        raise FileNotFoundError(f"{root}: no recording in it, a folder such as p1/v1/source1")
    return videos


def _recording(folder: Path, names: tuple[str, ...]) -> FaceVideo:
    wave, rates = (read_column(folder / name) for name in _NEEDED[1:])
    video, rate_hz, times_s = folder / "video.avi", np.nan, None
    wave_s = np.arange(len(wave)) / WAVE_HZ
    if (folder / "time.txt").is_file():
        times_s = read_times(folder / "time.txt", 1e-3)
        if len(times_s) < 2:
            raise ValueError(f"{folder / 'time.txt'}: want two times or more")
        times_s = times_s - times_s[0]
        rate_hz = (len(times_s) - 1) / float(times_s.max())
        wave_s = np.linspace(0, times_s.max(), len(wave))
    return FaceVideo(
        name="vipl_hr/" + "/".join(names),
        subject=names[0],
        open=lambda: VideoFile(video, times_s=times_s),
        pulse=trace(wave_s, wave, str(folder / "wave.csv")),
        heart_rate=trace(np.arange(len(rates)), positive(rates), str(folder / "gt_HR.csv")),
        rate_hz=rate_hz,
        attributes={
            "situation": names[1],
            "camera": names[2],
            "pulse_times": f"{WAVE_HZ:g} Hz" if times_s is None else "spans the video",
        },
    )
