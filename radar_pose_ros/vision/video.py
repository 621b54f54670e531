"""Images, each with the time at which it was taken: of a video file, a folder of images, a camera.

Frames of phones and of webcams do not come evenly, and a rhythm that is read from them is only as
true as their times. So each image comes with its own, in seconds from the first one's on, and
always after the one before; `Video.stamps` says where the times are from:

============  ==================================================================================
"times file"  given for each frame
"container"   of each frame, as the video file has it
"names"       of each image, in its file's name
"arrival"     when the camera's image reached this program
"frame rate"  nobody knows: frames are taken for even, at the rate that was given or that the
              video file says
============  ==================================================================================

What is missing, a file that breaks off for instance, is told by `Video.notes`, a sentence each.
"""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros import documents

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
# Beyond is what some files say instead of that they do not know it.
FASTEST_HZ = 1000.0
CAMERA = re.compile(r"(?:/dev/video|camera:)?(\d+)")  # how people name a camera: by its number
# Of so many times, as a share, each may be not after the one before [choice]; such frames are left
# out. More of them are no times.
DISORDER = 0.01
# So many frames, or such a share of them, may be fewer than the container says: it may have
# estimated them [choice].
_MISSING_FRAMES, _MISSING_SHARE = 2, 0.01
_PROBED_FRAMES = 30
# Frames that are farther apart, most of them, are no video: their times are in milliseconds, say.
_SLOWEST_S = 2.0
# Digits in the name of an image: milli-, micro- or nanoseconds since 1970, from 2001 to 2286.
_DIGITS_PER_S = {13: 10**3, 16: 10**6, 19: 10**9}

# Time in seconds, and the image: uint8 (height, width, 3), blue, green and red.
Frame = tuple[float, np.ndarray]


class Video(Protocol):
    """Images with their times.

    Attributes
    ----------
    source : str
        What messages call it.
    stamps : str
        Where the times are from: see the module.
    rate_hz : float
        Frames per second, nominal; NaN is unknown.
    notes : list of str
        What is missing or was assumed. Complete after the last frame.
    """

    source: str
    stamps: str
    rate_hz: float
    notes: list[str]

    def frames(self) -> Iterator[Frame]:
        """Yield the images in order, each with its time: seconds from that of the first one."""
        ...


def open_video(
    source: Path | str | int, *, rate_hz: float | None = None, times: Path | str | None = None
) -> Video:
    """Open a video file, a folder of images, or a camera.

    Parameters
    ----------
    source : Path, str or int
        A number, also as text, is that of a camera.
    rate_hz : float, optional
        Frames per second, instead of what the file or the images' names say.
    times : Path, optional
        File with the time of each frame, see `read_times`, instead of that.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If it cannot be read, nobody says when its images were taken, or most of these times are
        more than 2 s apart.
    """
    if rate_hz is not None and times is not None:
        raise ValueError(f"{source}: a frame rate and a file of times: which one is true?")
    if isinstance(source, int) or (isinstance(source, str) and source.isdecimal()):
        if rate_hz is not None or times is not None:
            raise ValueError(f"camera {source}: its images have the times of their arrival")
        return Camera(int(source))
    times_s = None
    if times is not None:
        times_s = read_times(times)
        step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
        if step_s > _SLOWEST_S:
            raise ValueError(
                f"{times}: its frames are {step_s:.4g} s apart (median), want up to "
                f"{_SLOWEST_S:g} s: are times given in seconds?"
            )
    kind = ImageFolder if Path(source).is_dir() else VideoFile
    return kind(source, rate_hz=rate_hz, times_s=times_s)


class VideoFile:
    """Frames of a video file. They are turned as the file says, as far as OpenCV does it.

    Parameters
    ----------
    path : Path
    rate_hz : float, optional
        Frames per second, instead of the container's times.
    times_s : array_like, optional, shape (frames,)
        Of each frame, instead of the container's.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read as a video, times do not increase, or there are none.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        rate_hz: float | None = None,
        times_s: ArrayLike | None = None,
    ) -> None:
        self.source = str(path)
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: there is no such file")
        said = container_times(path, _PROBED_FRAMES)
        container_hz, self._count = said.rate_hz, said.frames
        self._known_notes: list[str] = []
        self._times_s = None
        self.rate_hz = container_hz
        if times_s is not None:
            self.stamps = "times file"
            self._times_s = check_times(times_s, self.source)
            self.rate_hz = _rate_of(self._times_s)
        elif rate_hz is not None:
            self.stamps = "frame rate"
            self.rate_hz = _check_rate(rate_hz, self.source)
        elif said.increase:
            self.stamps = "container"
        elif math.isfinite(container_hz):
            self.stamps = "frame rate"
            self._known_notes.append(
                f"{path}: it does not say when each frame was taken; taken for even, "
                f"{container_hz:g} per second"
            )
        else:
            raise ValueError(
                f"{path}: it does not say when its frames were taken, nor how many there are in a "
                "second: give their rate, or a file with the time of each"
            )
        self.notes = list(self._known_notes)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames with their times, from the beginning."""
        self.notes = list(self._known_notes)
        capture = cv2.VideoCapture(self.source)
        clock = _Clock()
        read = broken = 0
        try:
            while capture.grab():
                time_s = clock.next(self._time(read, capture))
                read += 1
                if time_s is None:
                    continue
                good, image = capture.retrieve()
                if good:
                    yield time_s, np.asarray(image, np.uint8)
                else:
                    broken += 1
        finally:
            capture.release()
        self.notes += _undecoded(self.source, broken, read)
        if read < self._count - max(_MISSING_FRAMES, _MISSING_SHARE * self._count):
            self.notes.append(
                f"{self.source}: it breaks off: {read} of {self._count} frames can be read, the "
                "last perhaps in part"
            )
        if self._times_s is not None and len(self._times_s) != read:
            self.notes.append(f"{self.source}: {len(self._times_s)} times, but {read} frames")
        self.notes += clock.notes(self.source, read)

    def _time(self, number: int, capture: cv2.VideoCapture) -> float:
        if self._times_s is not None:
            return float(self._times_s[number]) if number < len(self._times_s) else math.nan
        if self.stamps == "frame rate":
            return number / self.rate_hz
        # after grab(), it is that frame's own
        return float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3


class ImageFolder:
    """Images in a folder, in the order of their names, where 2 is before 10.

    Those that are not as large as the first one are left out, which is told.

    Parameters
    ----------
    folder : Path
        Other files than images (`IMAGES`) in it do not count.
    rate_hz : float, optional
        Images per second, instead of the times in their names.
    times_s : array_like, optional, shape (images,)
        Of each image, instead of those.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If there is no image in it, times do not increase or are not as many as the images, or
        nobody says when they were taken. Names do if all of them end in milli-, micro- or
        nanoseconds since 1970, as in ``Image1392643993642815000.png``.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        rate_hz: float | None = None,
        times_s: ArrayLike | None = None,
    ) -> None:
        self.source = str(folder)
        self.notes: list[str] = []
        self._paths = list_images(folder)
        if not self._paths:
            raise ValueError(f"{folder}: there is no image in it ({', '.join(IMAGES)})")
        count = len(self._paths)
        if times_s is not None:
            self.stamps = "times file"
            self._times_s = check_times(times_s, self.source)
            if len(self._times_s) != count:
                raise ValueError(f"{folder}: {len(self._times_s)} times, but {count} images")
        elif rate_hz is not None:
            self.stamps = "frame rate"
            self._times_s = np.arange(count) / _check_rate(rate_hz, self.source)
        else:
            self.stamps = "names"
            stamps_ns = name_stamps_ns(self._paths)
            if stamps_ns is None:
                raise ValueError(
                    f"{folder}: its images' names do not say when they were taken, as "
                    "Image1392643993642815000.png does in nanoseconds: give their rate, or a file "
                    "with the time of each"
                )
            seconds = [(stamp - stamps_ns[0]) / 1e9 for stamp in stamps_ns]
            self._times_s = check_times(seconds, self.source)
        self.rate_hz = rate_hz or _rate_of(self._times_s)

    def frames(self) -> Iterator[Frame]:
        """Yield the images with their times, from the beginning.

        Raises
        ------
        ValueError
            If none of them can be read.
        """
        self.notes = []
        clock = _Clock()
        broken: list[str] = []
        shape: tuple[int, ...] = ()
        others: list[str] = []
        for path, given_s in zip(self._paths, self._times_s.tolist(), strict=True):
            time_s = clock.next(given_s)
            if time_s is None:
                continue
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                broken.append(path.name)
                continue
            shape = shape or image.shape
            if image.shape == shape:
                yield time_s, np.asarray(image, np.uint8)
            else:
                others.append(f"{path.name} ({image.shape[1]} x {image.shape[0]})")
        if others:
            self.notes.append(
                f"{self.source}: {len(others)} of {len(self._paths)} images are not of the first "
                f"one's size, {shape[1]} x {shape[0]} pixels, {others[0]} first: left out"
            )
        if broken:
            said = (
                f"{self.source}: {len(broken)} of {len(self._paths)} images cannot be read, "
                f"{broken[0]} first"
            )
            if len(broken) == len(self._paths):
                raise ValueError(said)
            self.notes.append(f"{said}: left out")
        self.notes += clock.notes(self.source, len(self._paths))


class Camera:
    """Images of a camera that is plugged in, until it gives no more. They can be had once.

    Times are those of the arrival here, on a clock that nobody sets.

    Parameters
    ----------
    number : int
        As the system counts cameras, from 0.

    Raises
    ------
    ValueError
        If it cannot be opened.
    """

    stamps = "arrival"

    def __init__(self, number: int) -> None:
        self.source = f"camera {number}"
        self.notes: list[str] = []
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise ValueError(
                f"{self.source}: it cannot be opened: there is none of this number, or another "
                "program has it"
            )
        rate_hz = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate_hz = rate_hz if 0 < rate_hz <= FASTEST_HZ else math.nan

    def frames(self) -> Iterator[Frame]:
        """Yield the images as they come, and let the camera go in the end."""
        clock = _Clock()
        read = broken = 0
        try:
            while self._capture.grab():
                time_s = clock.next(time.monotonic())
                read += 1
                good, image = self._capture.retrieve()
                if not good:
                    broken += 1
                elif time_s is not None:
                    yield time_s, np.asarray(image, np.uint8)
        finally:
            self._capture.release()
        self.notes += _undecoded(self.source, broken, read)
        self.notes.append(f"{self.source}: it gave no more images after {read}")


class GivenFrames:
    """Frames that a program has or makes.

    Parameters
    ----------
    make : callable
        Returns the frames from the beginning: times in seconds, and images, uint8 (height, width,
        3), blue, green and red.
    source, stamps, rate_hz
        As in `Video`.
    """

    def __init__(
        self,
        make: Callable[[], Iterable[Frame]],
        source: str,
        stamps: str,
        rate_hz: float = math.nan,
    ) -> None:
        self._make = make
        self.source, self.stamps, self.rate_hz = source, stamps, rate_hz
        self.notes: list[str] = []

    def frames(self) -> Iterator[Frame]:
        """Yield the frames with their times, from the beginning."""
        clock = _Clock()
        read = 0
        for given_s, image in self._make():
            read += 1
            time_s = clock.next(given_s)
            if time_s is not None:
                yield time_s, image
        self.notes = clock.notes(self.source, read)


class _Clock:
    """Counts times from the first one on, and finds those that are not after the one before."""

    def __init__(self) -> None:
        self._first_s = math.nan
        self._last_s = -math.inf
        self._refused = 0

    def next(self, time_s: float) -> float | None:
        """Return the time since the first frame; None if it is not after the last one."""
        if not time_s > self._last_s or not math.isfinite(time_s):
            self._refused += 1
            return None
        if math.isnan(self._first_s):
            self._first_s = time_s
        self._last_s = time_s
        return time_s - self._first_s

    def notes(self, source: str, read: int) -> list[str]:
        return no_later(source, self._refused, read)


def no_later(source: Path | str, count: int, read: int) -> list[str]:
    """Return the note on frames whose times are not after those before, none if there are none."""
    if not count:
        return []
    return [f"{source}: {count} of {read} frames have no time after the frame before: left out"]


def _undecoded(source: str, count: int, read: int) -> list[str]:
    if not count:
        return []
    return [f"{source}: {count} of {read} frames cannot be decoded: left out"]


def read_times(path: Path | str, unit_s: float = 1.0) -> np.ndarray:
    """Return the times of a file, in its first column, a frame each; a first line may be a header.

    Parameters
    ----------
    path : Path
        A ``.csv`` or ``.txt`` file.
    unit_s : float
        What it counts in, seconds.

    Returns
    -------
    ndarray of float64, shape (frames,)
        Seconds.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If one is no number (says the line), there is none, or they do not increase.
    """
    return check_times(np.array(read_column(path)) * unit_s, str(path))


def read_column(path: Path | str) -> list[float]:
    """Return the numbers in a file's first column; a first line may be a header.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If one is no finite number, says the line, or there is none.
    """
    text = documents.read_text(path)
    made: list[float] = []
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise ValueError(f"{path}: {error}") from None
    for number, row in enumerate(rows, 1):
        if not any(part.strip() for part in row):
            continue
        try:
            value = float(row[0])
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            made.append(value)
        elif number > 1:
            raise ValueError(f"{path} line {number}: want a number, got {row[0].strip()!r:.80}")
    if not made:
        raise ValueError(f"{path}: there is no number in it")
    return made


def check_times(times_s: ArrayLike, where: str) -> np.ndarray:
    """Return times of frames or samples as float64 (n,).

    A few, `DISORDER` of them, may be not after the one before.

    Parameters
    ----------
    times_s : array_like, shape (n,)
    where : str
        What the error names.

    Raises
    ------
    ValueError
        If there is none, they are not finite, or do not increase.
    """
    times = np.asarray(times_s, np.float64)
    if times.ndim != 1 or not len(times):
        raise ValueError(f"{where}: want one time or more, got {times.shape}")
    if not np.isfinite(times).all():
        first = int(np.flatnonzero(~np.isfinite(times))[0])
        raise ValueError(f"{where}: time {first + 1} of {len(times)} is not finite")
    late = np.flatnonzero(np.diff(times) <= 0)
    if len(late) > DISORDER * len(times):
        raise ValueError(
            f"{where}: times have to increase, but {len(late)} of {len(times)} are not after the "
            f"one before, number {late[0] + 2} first: {times[late[0]]:.12g} s, then "
            f"{times[late[0] + 1]:.12g} s"
        )
    return times


def list_images(folder: Path | str) -> list[Path]:
    """Return the images in a folder, in the order of their names, where 2 is before 10.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    paths = [
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in IMAGES and not path.name.startswith(".")
    ]
    return sorted(paths, key=lambda path: by_number(path.name))


def by_number(name: str) -> list[tuple[int, str]]:
    """Return a key to sort names by, in which 2 is before 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def name_stamps_ns(paths: Iterable[Path]) -> list[int] | None:
    """Return the times at which files' names end, nanoseconds since 1970; None if one has none."""
    made = []
    for path in paths:
        number = re.search(r"(\d+)$", path.stem)
        if number is None or len(number[1]) not in _DIGITS_PER_S:
            return None
        made.append(int(number[1]) * 10**9 // _DIGITS_PER_S[len(number[1])])
    return made


class ContainerTimes(NamedTuple):
    """What a video file says of its times.

    Attributes
    ----------
    times_s : ndarray of float64, shape (n,)
        Of its first frames, as it says them.
    rate_hz : float
        Frames per second; NaN if it does not say it, or says more than `FASTEST_HZ`.
    frames : int
        How many there are in all; 0 if it does not say it.
    """

    times_s: np.ndarray
    rate_hz: float
    frames: int

    @property
    def increase(self) -> bool:
        """Whether each of the times is after the one before: else they are none."""
        return bool(np.isfinite(self.times_s).all() and (np.diff(self.times_s) > 0).all())


def container_times(path: Path | str, most: int) -> ContainerTimes:
    """Return what a video file says of its times, of so many frames at most.

    Raises
    ------
    ValueError
        If it cannot be read as a video.
    """
    capture = cv2.VideoCapture(str(path))
    try:
        rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
        count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        found: list[float] = []
        while len(found) < most and capture.grab():
            found.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3)
    finally:
        capture.release()
    if not found:
        raise ValueError(f"{path}: it cannot be read as a video")
    return ContainerTimes(
        np.array(found),
        rate_hz if 0 < rate_hz <= FASTEST_HZ else math.nan,
        int(count) if count > 0 else 0,
    )


def _rate_of(times_s: np.ndarray) -> float:
    """Return how many times there are in a second, on average; NaN for one alone."""
    span_s = float(times_s.max() - times_s.min())
    return (len(times_s) - 1) / span_s if span_s > 0 else math.nan


def _check_rate(rate_hz: float, source: str) -> float:
    if not 0 < rate_hz <= FASTEST_HZ:
        raise ValueError(
            f"{source}: want up to {FASTEST_HZ:g} frames per second, and more than 0, got "
            f"{rate_hz:g}"
        )
    return float(rate_hz)
