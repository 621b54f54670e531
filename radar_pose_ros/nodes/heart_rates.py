"""From stamped images to messages of hearts: in order, of one camera, each sample once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Duration

from radar_pose_ros import msg
from radar_pose_ros.nodes.convert import NANOSECONDS, InvalidMessageError, header, to_array
from radar_pose_ros.vision.face_detectors import Detector, cascade_detector, yunet_detector
from radar_pose_ros.vision.skin import Box
from radar_pose_ros.vitals.meter import NOBODY, PulseMeter, Reading
from radar_pose_ros.vitals.signals import Uniform

ANEW_S = 1.0  # an image that is older than the last one by more is the beginning of something new
SETTLED_S = 1.0  # the newest samples of a wave change with what follows: younger ones are not sent
TOLD_S = 1.0  # so long a face is where somebody said that it is
_WHOLE = 1e-6  # of a sample: so near to one it is that one


def parse_region(text: str) -> Box:
    """Return x, y, width and height, apart by spaces or commas.

    Raises
    ------
    ValueError
        If these are not four finite numbers.
    """
    try:
        x, y, width, height = (float(word) for word in text.replace(",", " ").split())
    except ValueError:
        x = y = width = height = math.nan
    if not all(map(math.isfinite, (x, y, width, height))):
        raise ValueError(f'region wants "x y width height" in pixels or "topic", got {text!r}')
    return x, y, width, height


def face_detector(yunet: str) -> Detector:
    """Return the detector of that file, OpenCV's cascade if it is "".

    Raises
    ------
    OSError, ValueError, RuntimeError
        As `cascade_detector` and `yunet_detector`.
    """
    return yunet_detector(Path(yunet).expanduser()) if yunet else cascade_detector()


class ToldBox:
    """A `Detector` that finds a face where somebody else did.

    Attributes
    ----------
    width_px : int
        Of the images that boxes were found in; those that it is asked about may be smaller.
    """

    def __init__(self) -> None:
        self.width_px = 0
        self._told: tuple[Box, float] | None = None

    def tell(self, box_px: Box, now_s: float) -> None:
        """Say where the face is, by a steady clock; a box without area is no face."""
        self._told = (box_px, now_s) if min(box_px[2:]) > 0 else None

    def __call__(self, image_bgr: np.ndarray) -> list[Box]:
        """Return the box in an image, no box if the last one was told too long ago."""
        told = self._told
        if told is None or time.monotonic() - told[1] > TOLD_S:
            return []
        by = image_bgr.shape[1] / self.width_px
        x, y, width, height = told[0]
        return [(by * x, by * y, by * width, by * height)]


# -- images that come when they like -----------------------------------------------------------


class StampedMeter:
    """Measures images with stamps, and tells when there is something to tell.

    Parameters
    ----------
    make : callable
        Returns a new meter.
    period_s : float
        Of the images' time: how often there are readings.
    """

    def __init__(self, make: Callable[[], PulseMeter], period_s: float) -> None:
        self._make = make
        self._period_s = period_s
        self._meter: PulseMeter | None = None
        self._view: tuple[object, ...] = ()
        self._first_ns = self._last_ns = 0
        self._due_s = period_s
        self._pieces = WavePieces()

    def see(self, image_bgr: np.ndarray, stamp_ns: int, frame_id: str) -> str:
        """Look at an image; return why this is a new beginning, "" if it is none.

        Raises
        ------
        InvalidMessageError
            If the image is not after the last one, or cannot be used.
        """
        view = (frame_id, *image_bgr.shape)
        reason = self._break(stamp_ns, view)
        if reason or self._meter is None:
            self._meter, self._view = self._make(), view
            self._first_ns, self._due_s = stamp_ns, self._period_s
            self._pieces = WavePieces()
        self._last_ns = stamp_ns
        try:
            self._meter.see(image_bgr, self._now_s)
        except ValueError as error:
            raise InvalidMessageError("image cannot be used", str(error)) from None
        return reason

    def readings(self) -> list[Reading]:
        """Return what is known now, once per period; between that nothing."""
        if self._meter is None or self._now_s < self._due_s:
            return []
        periods = math.floor((self._now_s - self._due_s) / self._period_s) + 1
        self._due_s += periods * self._period_s
        return self._meter.readings()

    def pieces(self, readings: Iterable[Reading]) -> list[tuple[Reading, Uniform]]:
        """Return the samples of each face that were not returned before."""
        return self._pieces.cut(readings, self._now_s)

    def stamp_ns(self, time_s: float) -> int:
        """Return the stamp for a time of a reading or a piece."""
        return self._first_ns + round(time_s * NANOSECONDS)

    @property
    def _now_s(self) -> float:
        """Time of the last image: since the first one, for a stamp in seconds is not exact."""
        return (self._last_ns - self._first_ns) / NANOSECONDS

    def _break(self, stamp_ns: int, view: tuple[object, ...]) -> str:
        """Return why an image does not belong to those before it."""
        if self._meter is None:
            return ""
        late_s = (self._last_ns - stamp_ns) / NANOSECONDS
        if late_s > ANEW_S:
            return f"time went back by {late_s:.1f} s: begun anew"
        if late_s >= 0:
            raise InvalidMessageError(
                "image not after the last one", f"{late_s * 1e3:.1f} ms before it"
            )
        if view != self._view:
            before, now = (f"{w} x {h} of {name!r}" for name, h, w, _ in (self._view, view))
            return f"images of {before} became {now}: begun anew"
        return ""


class WavePieces:
    """Cuts the waves of windows that overlap into pieces that follow each other.

    The samples of a face lie on one grid in time, that of its first window, as long as windows
    reach back to where the last piece ended. Where one does not, what lies between is not known,
    and a new grid begins with it.
    """

    def __init__(self) -> None:
        self._next_s: dict[int, float] = {}

    def cut(self, readings: Iterable[Reading], now_s: float) -> list[tuple[Reading, Uniform]]:
        """Return the samples of each face that came since the last call and have settled.

        Parameters
        ----------
        readings : iterable of Reading
            Of all faces; one that is not among them is gone, unless there are none at all.
        now_s : float
            Samples after ``now_s - SETTLED_S`` have not settled.
        """
        readings = list(readings)
        if not readings:
            return []
        self._next_s = {r.face_id: self._next_s.get(r.face_id, -math.inf) for r in readings}
        found = []
        for reading in readings:
            if reading.wave is not None:
                piece = self._piece(reading.face_id, reading.wave, now_s - SETTLED_S)
                if len(piece.values):
                    found.append((reading, piece))
        return found

    def _piece(self, face_id: int, wave: Uniform, end_s: float) -> Uniform:
        begin_s = self._next_s[face_id]
        if begin_s < wave.start_s - _WHOLE / wave.rate_hz:
            begin_s = wave.start_s
        end_s = min(end_s, float(wave.times_s[-1]))
        count = max(0, math.floor((end_s - begin_s) * wave.rate_hz + _WHOLE) + 1)
        places = (begin_s - wave.start_s) * wave.rate_hz + np.arange(count)
        self._next_s[face_id] = begin_s + count / wave.rate_hz
        return Uniform(begin_s, wave.rate_hz, between(wave.values, places))


def between(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return a signal between its samples, by the cubic through the four around (Lagrange).

    At 3 Hz of 30 Hz it is off by less than half a per cent of the amplitude.

    Parameters
    ----------
    values : ndarray, shape (T,)
        Four or more; NaN is unknown.
    places : ndarray, shape (N,)
        In samples from the first one.

    Returns
    -------
    ndarray, shape (N,)
        NaN where one of the samples that it takes is; at a sample only that one is.
    """
    near = np.rint(places)
    places = np.where(np.abs(places - near) < _WHOLE, near, places)
    left = np.clip(np.floor(places).astype(int), 1, len(values) - 3)
    x = (places - left)[:, None]
    numbers = np.arange(-1, 3)
    shares = np.ones((len(places), 4))
    for number in numbers:
        others = numbers != number
        shares[:, others] *= (x - number) / (numbers[others] - number)
    around = values[left[:, None] + numbers]
    return np.where(shares == 0, 0.0, shares * around).sum(axis=1)


# -- messages ----------------------------------------------------------------------------------


def heart_rate_to_message(reading: Reading, stamp_ns: int, frame_id: str) -> msg.HeartRate:
    """Return the message of a reading; the stamp is that of its middle."""
    window_ns = round(reading.window_s * NANOSECONDS)
    return msg.HeartRate(
        header=header(stamp_ns, frame_id),
        face_id=reading.face_id,
        state=int(reading.state),
        heart_rate_bpm=float(reading.rate.bpm),
        standard_error_bpm=float(reading.rate.standard_error_bpm),
        signal_quality=float(reading.signal_quality),
        respiration_rate_bpm=float(reading.respiration_rate_bpm),
        window=Duration(sec=window_ns // NANOSECONDS, nanosec=window_ns % NANOSECONDS),
        method=reading.method,
    )


def wave_to_message(
    reading: Reading, piece: Uniform, stamp_ns: int, frame_id: str
) -> msg.PulseWave:
    """Return the message of a piece of a reading's wave; the stamp is that of its first sample."""
    return msg.PulseWave(
        header=header(stamp_ns, frame_id),
        face_id=reading.face_id,
        sample_rate_hz=float(piece.rate_hz),
        samples=to_array(piece.values.astype(np.float32)),
        signal_quality=float(reading.signal_quality),
        method=reading.method,
    )


def in_words(reading: Reading) -> str:
    """Return a reading as a person would say it, for diagnostics and logs: without the rate.

    Logs are kept on the disk, and both are read by more programs than heart rates are meant for.
    """
    if reading.face_id == NOBODY:
        return reading.reason
    if not reading.reason:
        return f"face {reading.face_id}: a rate is told"
    return f"face {reading.face_id}: {reading.state.name}, {reading.reason}"
