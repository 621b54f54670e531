"""MMPD: 33 people before a phone, in many kinds of light, motion and skin; and its small version.

::

    subject<N>/p<N>_<k>.mat   video (frames, height, width, 3), 0 to 1, red, green, blue; GT_ppg;
                              light, motion, exercise, skin_color, gender, glasser, hair_cover,
                              makeup

There are 30 frames per second, and the wave spans the video; the files hold no times. Files of
MATLAB 7.3 cannot be read.

Tang, Chen, Wang, Shi, Patel, McDuff and Liu, "MMPD: Multi-Domain Mobile Video Physiology Dataset",
EMBC 2023.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from radar_pose_ros.datasets.face_videos import FaceVideo, check_root, trace
from radar_pose_ros.vision.video import Frame, GivenFrames, by_number

RATE_HZ = 30.0
_ATTRIBUTES = {
    "light": "light",
    "motion": "motion",
    "exercise": "exercise",
    "skin_color": "skin_tone",
    "gender": "gender",
    "glasser": "glasses",
    "hair_cover": "hair_cover",
    "makeup": "makeup",
}
_FILE = re.compile(r"p(\d+)_(\d+)\.mat")
# How older versions call what the data set's own loader takes for walking.
_RENAMED = {"Watching Videos": "Walking"}


def load(root: Path | str, report: Callable[[str], None] = print) -> list[FaceVideo]:
    """Read what belongs to the videos, but no video yet.

    A video is read whole when its frames are asked for. In double precision, a minute of the small
    version's 80 x 60 px takes 0.2 GB of memory, of the large one's 320 x 240 px 3.3 GB.

    Parameters
    ----------
    root : Path
        Folder with the subjects' folders.
    report : callable
        Gets a line about what is left out.

    Returns
    -------
    list of FaceVideo
        Attributes are the file's.

    Raises
    ------
    FileNotFoundError
        If there is no recording.
    ValueError
        If a file is damaged, or of MATLAB 7.3: says which, and the key.
    """
    root = check_root(root)
    videos = []
    for path in sorted(root.glob("subject*/*.mat"), key=lambda path: by_number(str(path))):
        if _FILE.fullmatch(path.name):
            videos.append(_recording(path))
        else:
            report(f"{path}: not called p<subject>_<number>.mat: left out")
    if not videos:
        raise FileNotFoundError(f"{root}: no recording in it, such as subject1/p1_0.mat")
    return videos


def _recording(path: Path) -> FaceVideo:
    try:
        shapes = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
    except Exception as error:  # a damaged file ends in whatever its reader meets
        raise _unreadable(path, error) from None
    missing = [key for key in ("video", "GT_ppg", *_ATTRIBUTES) if key not in shapes]
    if missing:
        raise ValueError(f"{path}: there is no {', '.join(missing)} in it")
    shape = shapes["video"]
    if len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ValueError(f"{path}: video: want (frames, height, width, 3), got {shape}")
    content = _read(path, ["GT_ppg", *_ATTRIBUTES])
    wave = np.asarray(content["GT_ppg"])
    if wave.dtype.kind not in "biuf" or wave.size < 2 or wave.size != max(wave.shape):
        raise ValueError(
            f"{path}: GT_ppg: want two numbers or more in a row, got {wave.dtype} {wave.shape}"
        )
    times_s = np.linspace(0, (shape[0] - 1) / RATE_HZ, wave.size)
    return FaceVideo(
        name=f"mmpd/{path.stem}",
        subject=path.parent.name,
        open=lambda: GivenFrames(lambda: _frames(path), str(path), "frame rate", RATE_HZ),
        pulse=trace(times_s, wave.ravel(), f"{path}: GT_ppg"),
        rate_hz=RATE_HZ,
        attributes={
            name: _text(content[key], f"{path}: {key}") for key, name in _ATTRIBUTES.items()
        },
    )


def _frames(path: Path) -> Iterator[Frame]:
    video = np.asarray(_read(path, ["video"])["video"])
    for number, image in enumerate(video):
        if image.dtype != np.uint8:
            if image.dtype.kind != "f" or not (image.min() >= 0 and image.max() <= 1):
                raise ValueError(
                    f"{path}: video, frame {number + 1}: want floats from 0 to 1, or bytes"
                )
            image = np.round(image * 255).astype(np.uint8)
        yield number / RATE_HZ, np.ascontiguousarray(image[..., ::-1])


def _read(path: Path, keys: list[str]) -> dict[str, Any]:
    try:
        return scipy.io.loadmat(path, variable_names=keys)
    except Exception as error:  # a damaged file ends in whatever its reader meets
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ValueError:
    if isinstance(error, NotImplementedError):
        return ValueError(f"{path}: a file of MATLAB 7.3, which is not read: save it with -v7")
    return ValueError(f"{path}: damaged, or no file of MATLAB: {error!s:.120}")


def _text(value: Any, where: str) -> str:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "Ubiuf":
        raise ValueError(f"{where}: want one word or number, got {array.dtype} {array.shape}")
    item = array.item()
    text = f"{item:g}" if isinstance(item, int | float) else str(item).strip()
    return _RENAMED.get(text, text)
