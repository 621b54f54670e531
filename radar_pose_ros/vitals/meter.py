"""From the faces in a video to their heart rates, or to the reason why there is none."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from radar_pose_ros.vision.face import Face, RegionTracker
from radar_pose_ros.vision.skin import FaceSample, surroundings
from radar_pose_ros.vitals import classical, evidence, rates, signals
from radar_pose_ros.vitals.evidence import Evidence, Kind, whole
from radar_pose_ros.vitals.rates import NO_RATE, Rate
from radar_pose_ros.vitals.signals import Uniform

NOBODY = -1  # the face of a reading when there is none
# Methods that look at no thumbnails have some, too: they show whether a picture stands still.
SMALLEST_THUMBNAIL_PX = 32
FULL = 0.95  # share of a window from which on it is read


class State(IntEnum):
    """What a reading is worth; the numbers are those of the message HeartRate."""

    OK = 0
    WARMING_UP = 1
    NO_FACE = 2
    STILL_IMAGE = 3
    TOO_DARK = 4
    MOTION = 5
    TOO_FEW_FRAMES = 6
    LOW_SIGNAL = 7


@dataclass(frozen=True)
class MeterSettings:
    """When there is a reading.

    Parameters
    ----------
    window_s : float
        Length of the signal that a rate is read from.
    rate_hz : float
        Signals are brought to this rate; that of the network's training.
    least_quality : float
        Rates whose quality (`evidence.quality`) is lower are not told.
    least_frame_rate_hz : float
        Of frames that show the face; at 10 Hz a pulse of 180 beats per minute has three samples.
    least_brightness : float
        Of skin, 0 to 255.
    least_picture_brightness : float
        0 to 255, that a tenth of a picture has; where no face is found in a darker one, that is
        the reason. Of drawn pictures that were dimmed until OpenCV's cascade found no face, 93 %
        are darker; of those in full light, none.
    least_change : float
        By which values of a thumbnail (0 to 255) change from frame to frame, the mean over its
        pixels; a camera's noise alone gives ten times that, a picture in a file almost nothing.
    most_motion_hz : float
        Box widths per second above which a poor signal is blamed on motion.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    window_s: float = 10.0
    rate_hz: float = 30.0
    least_quality: float = 0.9
    least_frame_rate_hz: float = 10.0
    least_brightness: float = 20.0
    least_picture_brightness: float = 45.0
    least_change: float = 0.02
    most_motion_hz: float = 0.15

    def __post_init__(self) -> None:
        for name, least, most in (
            ("window_s", 5.0, 120.0),
            ("rate_hz", 15.0, 240.0),
            ("least_quality", 0.0, 1.0),
            ("least_frame_rate_hz", 7.0, self.rate_hz),
            ("least_brightness", 0.0, 255.0),
            ("least_picture_brightness", 0.0, 255.0),
            ("least_change", 0.0, 255.0),
            ("most_motion_hz", 0.0, 100.0),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name} must be {least:g} to {most:g}, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class FaceWindow:
    """A face at a constant rate; NaN is unknown.

    Parameters
    ----------
    rate_hz : float
    colours : ndarray, shape (T, R, 3)
        Mean RGB of the skin in each region.
    thumbnails : ndarray, shape (T, S, S, 3)
        RGB of the face.
    """

    rate_hz: float
    colours: np.ndarray
    thumbnails: np.ndarray

    @cached_property
    def colour(self) -> np.ndarray:
        """Mean RGB of those regions that are known, (T, 3)."""
        return whole(self.colours)


class PulseMethod(Protocol):
    """What makes a pulse wave of a face."""

    @property
    def name(self) -> str:
        """As messages call it."""
        ...

    @property
    def thumbnail_px(self) -> int:
        """Side of the thumbnails that it looks at; 0 if it looks at none."""
        ...

    def wave_of(self, window: FaceWindow) -> np.ndarray:
        """Return the wave (T,), rising with the volume of blood, in its band; NaN is unknown."""
        ...


class ClassicalMethod:
    """One of `classical.METHODS` on the mean of a face's regions, or "combined": all of them.

    Raises
    ------
    ValueError
        If there is no method of that name.
    """

    thumbnail_px = 0

    def __init__(self, name: str) -> None:
        if name not in (*classical.METHODS, "combined"):
            allowed = ", ".join((*classical.METHODS, "combined"))
            raise ValueError(f"there is no method {name!r}; there are {allowed}")
        self.name = name

    def wave_of(self, window: FaceWindow) -> np.ndarray:
        """Return the wave (T,) in the band of the pulse."""
        names = classical.METHODS if self.name == "combined" else (self.name,)
        made = [classical.METHODS[name](window.colour, window.rate_hz) for name in names]
        waves = np.stack(made, axis=-1)
        waves = signals.band_pass(waves, window.rate_hz)
        if self.name == "combined":
            return classical.combined(waves, window.rate_hz)
        return waves[:, 0]


def kind_of(method: PulseMethod) -> Kind:
    """Return what a method looks at, for `evidence.quality`."""
    return "images" if method.thumbnail_px else "colours"


class Reading(NamedTuple):
    """What is known of one heart.

    Attributes
    ----------
    face_id : int
        The same number for the same face; `NOBODY` if there is no face.
    middle_s : float
        The middle of the signal that it was read from, in the frames' time.
    window_s : float
        Its length; for how long nobody was seen if there is no face.
    state : State
    reason : str
        Why there is no rate, a sentence; empty if there is one.
    rate : Rate
        Beats per minute; NaN unless the state is OK.
    signal_quality : float
        0 to 1: at least how often rates with such evidence are right (`evidence.quality`); NaN if
        none was read, or nothing can be told of it.
    respiration_rate_bpm : float
        Breaths per minute; NaN if not known, or without a rate.
    wave : Uniform or None
        The pulse in the window, zero mean and unit variance; None where no method was asked.
    evidence : Evidence or None
    method : str
    notes : tuple of str
        What would make it better.
    """

    face_id: int
    middle_s: float
    window_s: float
    state: State
    reason: str
    rate: Rate = NO_RATE
    signal_quality: float = float("nan")
    respiration_rate_bpm: float = float("nan")
    wave: Uniform | None = None
    evidence: Evidence | None = None
    method: str = ""
    notes: tuple[str, ...] = ()


class PulseMeter:
    """Watches all faces in a video.

    Parameters
    ----------
    tracker : RegionTracker
        With thumbnails of `thumbnail_px` of the method, or of `SMALLEST_THUMBNAIL_PX`.
    method : PulseMethod
    settings : MeterSettings
    """

    BREATHING_S = 30.0  # of colours are kept to see breath in them

    def __init__(
        self, tracker: RegionTracker, method: PulseMethod, settings: MeterSettings | None = None
    ) -> None:
        self.tracker = tracker
        self.method = method
        self.settings = settings or MeterSettings()
        self._buffers: dict[int, _Buffer] = {}
        self._now_s = self._seen_s = float("nan")
        # Nine tenths of the last picture without a face are darker.
        self._brightness = float("nan")

    def see(self, image_bgr: np.ndarray, time_s: float) -> list[Face]:
        """Look at a frame and return the faces in it.

        Raises
        ------
        ValueError
            If it is not an image, or the time does not increase.
        """
        faces = self.tracker.update(image_bgr, time_s)
        self._now_s = time_s
        if faces or np.isnan(self._seen_s):
            self._seen_s = time_s
        if not faces:
            self._brightness = float(np.percentile(image_bgr[::8, ::8], 90))
        self._buffers = {face.id: self._buffers.get(face.id) or _Buffer() for face in faces}
        for face in faces:
            buffer = self._buffers[face.id]
            buffer.add(time_s, self.tracker.sample(image_bgr, face))
            buffer.forget(time_s - self.settings.window_s, time_s - self.BREATHING_S)
        return faces

    def readings(self) -> list[Reading]:
        """Return what is known now of each face; of `NOBODY` if none is found."""
        if self._buffers or np.isnan(self._now_s):
            return [self._reading(face_id) for face_id in sorted(self._buffers)]
        without_s = self._now_s - self._seen_s
        state, reason = State.NO_FACE, f"no face for {without_s:.1f} s"
        least = self.settings.least_picture_brightness
        if self._brightness < least:
            state = State.TOO_DARK
            most = f"nine tenths of it are below {self._brightness:.0f} of 255, want {least:g}"
            reason = f"the picture is too dark to find a face in: {most}"
        middle_s = self._now_s - without_s / 2
        return [Reading(NOBODY, middle_s, without_s, state, reason, method=self.method.name)]

    def _reading(self, face_id: int) -> Reading:
        buffer = self._buffers[face_id]
        times_s = np.array(buffer.times_s)
        seen_s = float(times_s[-1] - times_s[0])
        empty = Reading(
            face_id, float(times_s[0] + seen_s / 2), seen_s, State.OK, "", method=self.method.name
        )
        refusal = self._refusal(buffer, times_s)
        if refusal is not None:
            state, reason = refusal
            return empty._replace(state=state, reason=reason, notes=buffer.notes())
        return self._measured(empty, buffer, times_s)

    def _refusal(self, buffer: _Buffer, times_s: np.ndarray) -> tuple[State, str] | None:
        """Return why there is no use in asking for a pulse, None if there may be one."""
        s = self.settings
        seen_s = times_s[-1] - times_s[0]
        if seen_s < FULL * s.window_s:
            return State.WARMING_UP, f"{seen_s:.1f} s of {s.window_s:g} s"
        brightness = float(np.median(buffer.brightness))
        if brightness < s.least_brightness:
            want = f"want {s.least_brightness:g}"
            return State.TOO_DARK, f"skin has a brightness of {brightness:.0f} of 255, {want}"
        changes = np.array(buffer.change)[1:] >= s.least_change
        # Of a picture in a file only a few frames differ, those that its codec begins anew with.
        if changes.mean() < 0.1:
            return State.STILL_IMAGE, "nothing changes from frame to frame: a picture"
        rate_hz = changes.sum() / seen_s  # a frame that comes twice is one
        if rate_hz < s.least_frame_rate_hz:
            wanted = f"want {s.least_frame_rate_hz:g}"
            return State.TOO_FEW_FRAMES, f"{rate_hz:.1f} frames of the face per second, {wanted}"
        skin = np.isfinite(np.stack(buffer.colours)).all(-1).any(-1)
        if skin.mean() < 0.5:
            return State.LOW_SIGNAL, "no skin is seen in the face: covered, or too bright"
        return None

    def _measured(self, empty: Reading, buffer: _Buffer, times_s: np.ndarray) -> Reading:
        s = self.settings
        colours = signals.resample(times_s, np.stack(buffer.colours), s.rate_hz)
        images = np.stack(buffer.thumbnails)
        thumbnails = np.empty((len(colours.values), 0, 0, 3), np.float32)
        if self.method.thumbnail_px:
            thumbnails = signals.resample(times_s, images, s.rate_hz).values
        window = FaceWindow(s.rate_hz, colours.values, thumbnails)
        wave = self.method.wave_of(window)
        rate = rates.rate_of_wave(wave, s.rate_hz)
        empty = empty._replace(notes=buffer.notes())
        if np.isnan(rate.bpm):
            missing_s = float(np.diff(times_s).max())
            reason = f"frames are missing for up to {missing_s:.2f} s: no wave can be made"
            return empty._replace(state=State.TOO_FEW_FRAMES, reason=reason)
        around = surroundings(images, np.nanmean(window.colour, axis=0))
        around = signals.resample(times_s, around, s.rate_hz).values
        found = evidence.weigh(wave, colours.values, s.rate_hz, rate.bpm, around)
        quality = evidence.quality(found, kind_of(self.method))
        reading = empty._replace(
            signal_quality=quality, wave=colours._replace(values=_scaled(wave)), evidence=found
        )
        if quality >= s.least_quality:
            breath = buffer.respiration_rate(s.rate_hz)
            return reading._replace(rate=rate, respiration_rate_bpm=breath)
        if np.isnan(quality):
            reason = "skin is not seen for long enough to tell whether there is a pulse"
            return reading._replace(state=State.LOW_SIGNAL, reason=reason)
        if found.light > evidence.MOST_LIGHT:
            reason = "the light swings, or the exposure: what is around the face swings with it"
            return reading._replace(state=State.LOW_SIGNAL, reason=reason)
        moved_hz = float(np.nansum(buffer.motion) / empty.window_s)
        poor = f"no pulse stands out: quality {quality:.2f}, want {s.least_quality:g}"
        if moved_hz <= s.most_motion_hz:
            return reading._replace(state=State.LOW_SIGNAL, reason=poor)
        moves = f"the face moves by {moved_hz:.2f} of its width per second"
        return reading._replace(state=State.MOTION, reason=f"{moves}, and {poor}")


class _Buffer:
    """What was seen of one face, oldest first."""

    def __init__(self) -> None:
        self.times_s: deque[float] = deque()
        self.colours: deque[np.ndarray] = deque()
        self.thumbnails: deque[np.ndarray] = deque()
        self.brightness: deque[float] = deque()
        self.motion: deque[float] = deque()
        self.change: deque[float] = deque()
        self._long_times_s: deque[float] = deque()
        self._long_colours: deque[np.ndarray] = deque()

    def add(self, time_s: float, sample: FaceSample) -> None:
        """Keep a sample."""
        assert sample.thumbnail is not None, "the tracker was told to make none"
        before = self.thumbnails[-1] if self.thumbnails else None
        change = np.nan if before is None else float(np.abs(sample.thumbnail - before).mean())
        self.times_s.append(time_s)
        self.colours.append(sample.colours)
        self.thumbnails.append(sample.thumbnail)
        self.brightness.append(sample.brightness)
        self.motion.append(sample.motion)
        self.change.append(change)
        self._long_times_s.append(time_s)
        self._long_colours.append(whole(sample.colours[None])[0])

    def forget(self, before_s: float, long_before_s: float) -> None:
        """Let go of what is too old for a window, and for the breath."""
        short = (self.times_s, self.colours, self.thumbnails)
        while self.times_s and self.times_s[0] < before_s:
            for items in (*short, self.brightness, self.motion, self.change):
                items.popleft()
        while self._long_times_s and self._long_times_s[0] < long_before_s:
            self._long_times_s.popleft()
            self._long_colours.popleft()

    def respiration_rate(self, rate_hz: float) -> float:
        """Return breaths per minute, NaN if they cannot be told."""
        if self._long_times_s[-1] - self._long_times_s[0] < 10:
            return float("nan")
        colours = signals.resample(
            np.array(self._long_times_s), np.stack(self._long_colours), rate_hz
        )
        return rates.respiration_rate(classical.green(colours.values, rate_hz), rate_hz)

    def notes(self) -> tuple[str, ...]:
        """Return what would make readings better."""
        found = []
        if len(self.times_s) > 2:
            rate_hz = _frame_rate(np.array(self.times_s))
            if rate_hz < 20:
                found.append(f"{rate_hz:.0f} frames per second: 25 or more are better")
        brightness = np.array(self.brightness)
        brightness = brightness[np.isfinite(brightness)]
        if len(brightness) > 60:
            middle = np.median(brightness)
            slow = np.convolve(brightness, np.ones(30) / 30, "valid")
            swing = float(np.ptp(slow) / middle) if middle > 0 else 0.0
            if swing > 0.15:
                found.append(f"the brightness swings by {swing:.0%}: fix the exposure")
        return tuple(found)


def _scaled(wave: np.ndarray) -> np.ndarray:
    """Return a wave with zero mean and unit variance."""
    known = wave[np.isfinite(wave)]
    return (wave - known.mean()) / known.std() if len(known) and known.std() > 0 else wave


def _frame_rate(times_s: np.ndarray) -> float:
    """Return the frames per second, by the stamps of the first and the last."""
    return float((len(times_s) - 1) / (times_s[-1] - times_s[0]))
