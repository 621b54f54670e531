"""Videos of faces beside the pulse that a sensor on the body measured: what all their sets share.

Times are seconds from that of the first frame on. Sensors have their own rates and stamps: their
values are brought to other times by straight lines between samples (`Trace.at`), never by counting
samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros import documents
from radar_pose_ros.vision.video import Frame, Video, check_times
from radar_pose_ros.vitals import signals

# A heart rate is not known inside of longer gaps: devices give one per second or more often.
HEART_RATE_GAP_S = 2.5


@dataclass(frozen=True)
class Trace:
    """Samples of a sensor, in the order of their times, one for each time.

    Attributes
    ----------
    times_s : ndarray of float64, shape (n,)
        Increasing; n is 2 or more.
    values : ndarray of float64, shape (n,)
        NaN is unknown.
    """

    times_s: np.ndarray
    values: np.ndarray

    def at(self, times_s: ArrayLike, gap_s: float) -> np.ndarray:
        """Return values at other times, along straight lines between the known samples.

        Parameters
        ----------
        times_s : array_like, shape (m,)
        gap_s : float
            Between samples that are further apart nothing is known.

        Returns
        -------
        ndarray of float64, shape (m,)
            NaN in gaps, before the first sample and after the last.
        """
        wanted = np.asarray(times_s, np.float64)
        return signals.interpolate(wanted, self.times_s, self.values, gap_s)


def trace(times_s: ArrayLike, values: ArrayLike, where: str) -> Trace:
    """Return samples in the order of their times; of several at one time, the first in the file.

    Parameters
    ----------
    times_s, values : array_like, shape (n,)
    where : str
        What the error names.

    Raises
    ------
    ValueError
        If there are fewer than two, times do not increase, nothing is known, or there are not as
        many times as values.
    """
    found = np.asarray(values, np.float64)
    found = np.where(np.isfinite(found), found, np.nan)
    times = check_times(times_s, where)
    if found.shape != times.shape or len(times) < 2:
        raise ValueError(
            f"{where}: want two values or more, and a time for each, got {found.shape} values and "
            f"{times.shape} times"
        )
    if not np.isfinite(found).any():
        raise ValueError(f"{where}: no value is known")
    times, kept = np.unique(times, return_index=True)
    return Trace(times, found[kept])


def positive(rates: ArrayLike) -> np.ndarray:
    """Return heart rates as float64, where what is not above 0 is unknown: NaN."""
    found = np.asarray(rates, np.float64)
    return np.where(found > 0, found, np.nan)


@dataclass(frozen=True)
class FaceVideo:
    """One recording.

    Parameters
    ----------
    name : str
        Of the recording, with that of its set: "pure/01-02".
    subject : str
        Who is seen; the same person has the same name within a set.
    open : callable
        Returns its frames (`Video`); nothing is kept between two calls.
    pulse : Trace
        The wave as the device gives it, in its own unit.
    heart_rate : Trace, optional
        As the device says it, beats per minute. Devices average: it lags behind the wave.
    rate_hz : float
        Frames per second, nominal; NaN is unknown.
    attributes : mapping of str to str
        What the set says of it. Where it says them, ``skin_tone`` is the Fitzpatrick type, and
        ``motion`` and ``light`` are the set's own words.
    """

    name: str
    subject: str
    open: Callable[[], Video] = field(repr=False)
    pulse: Trace = field(repr=False)
    heart_rate: Trace | None = field(default=None, repr=False)
    rate_hz: float = math.nan
    attributes: Mapping[str, str] = field(default_factory=dict)

    def frames(self) -> Iterator[Frame]:
        """Yield time in seconds and image, uint8 (height, width, 3), blue, green and red."""
        yield from self.open().frames()

    def pulse_at(self, times_s: ArrayLike) -> np.ndarray:
        """Return the wave at times of frames, float64 (m,); NaN is unknown."""
        return self.pulse.at(times_s, signals.GAP_S)

    def heart_rate_at(self, times_s: ArrayLike) -> np.ndarray:
        """Return the device's beats per minute at some times, float64 (m,); NaN is unknown."""
        if self.heart_rate is None:
            return np.full(np.shape(times_s), np.nan)
        return self.heart_rate.at(times_s, HEART_RATE_GAP_S)


def read_numbers(line: str, where: str) -> np.ndarray:
    """Return the numbers of a line, between blanks or commas, float64.

    Raises
    ------
    ValueError
        If something else is among them.
    """
    parts = line.replace(",", " ").split()
    try:
        return np.array([float(part) for part in parts])
    except ValueError as error:
        raise ValueError(f"{where}: want numbers only: {error!s:.120}") from None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises
    ------
    ValueError
        If it is no text, or empty.
    """
    lines = documents.read_text(path).splitlines()
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path}: it is empty")
    return lines


def check_root(root: Path | str) -> Path:
    """Return the folder of a set.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    if not Path(root).is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder")
    return Path(root)
