"""Carries out ``radar-pose video``: heart rates from a video of faces, or why there are none.

The video is read once, and what is made of it is written on the way. Only the meter's windows are
kept, a row per second and face, and the best window's wave. Not a medical measurement.
"""

from __future__ import annotations

import csv
import queue
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from radar_pose_ros import measurements, pulse_drawing, pulse_methods
from radar_pose_ros.drawing import write_png
from radar_pose_ros.vision.face import Face, FaceTracker, FixedRegion, RegionTracker
from radar_pose_ros.vision.face_detectors import yunet_detector
from radar_pose_ros.vision.skin import Box
from radar_pose_ros.vision.video import CAMERA, Frame, Video, open_video
from radar_pose_ros.vitals.meter import (
    FULL,
    NOBODY,
    SMALLEST_THUMBNAIL_PX,
    MeterSettings,
    PulseMeter,
    Reading,
    State,
)
from radar_pose_ros.vitals.signals import Uniform

NOT_MEDICAL = "Not a medical device: nothing here is fit to diagnose or to watch over anybody."
RATE_COLUMNS = (
    *("time_s", "face", "state", "reason", "heart_rate_bpm", "standard_error_bpm"),
    *("signal_quality", "respiration_rate_bpm", "middle_s", "window_s", "method"),
)
PULSE_COLUMNS = ("time_s", "face", "wave")
FILM = "annotated.mp4"

_TOLD_EVERY_S = 60.0  # of a file
_FACES_TOLD = 4  # in the answer
_AHEAD_FRAMES = 90  # of a camera that may wait while a rate is estimated

Timed = tuple[float, Reading]


@dataclass(frozen=True)
class Options:
    """What to look at, and how.

    Parameters
    ----------
    source : str
        A video file, a folder of images, or ``camera:`` and its number.
    out : str
        Folder to write to.
    method : str
        One of `pulse_methods.METHODS`.
    weights : str
        Of the network: a preset's name or a file; "" for those shipped.
    region_px : (float, float, float, float), optional
        x, y, width and height of a place that stays, instead of faces.
    yunet : str
        Model of the face detector YuNet (.onnx); by default OpenCV's cascade.
    rate_hz : float, optional
        Frames per second, instead of what the video says.
    times : str
        File with the time of each frame, instead of that.
    window_s : float
        Length of the signal that a rate is read from.
    overlay : bool
        Whether to write ``annotated.mp4``; else one of an earlier run is removed.
    """

    source: str
    out: str
    method: str = pulse_methods.AUTO
    weights: str = ""
    region_px: Box | None = None
    yunet: str = ""
    rate_hz: float | None = None
    times: str = ""
    window_s: float = MeterSettings.window_s
    overlay: bool = True


@dataclass
class Outcome:
    """What was found.

    Attributes
    ----------
    source, stamps : str
        What was looked at, and where its times are from; see `vision.video`.
    method : str
    window_s : float
        That was asked for.
    frames : int
    duration_s : float
        From the first frame to the last.
    rows : list of (float, Reading)
        One per second and face: when it was read, and what, without its wave.
    best : Reading or None
        With the highest quality of all that have a rate.
    notes : list of str
        What is missing or would make it better, a sentence each.
    interrupted : bool
        Whether the user stopped before a file's end.
    """

    source: str
    stamps: str
    method: str
    window_s: float
    frames: int = 0
    duration_s: float = 0.0
    rows: list[Timed] = field(default_factory=list)
    best: Reading | None = None
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def known(self) -> bool:
        """Whether there is a heart rate anywhere."""
        return any(reading.state == State.OK for _, reading in self.rows)

    @property
    def faces(self) -> list[int]:
        """Numbers of the faces that were seen."""
        return sorted({reading.face_id for _, reading in self.rows} - {NOBODY})

    def sentence(self) -> str:
        """Return the answer: what rate, or why there is none."""
        read = [reading for _, reading in self.rows]
        full = [reading for reading in read if reading.state != State.WARMING_UP]
        good: dict[int, list[float]] = {}
        for reading in read:
            if reading.state == State.OK:
                good.setdefault(reading.face_id, []).append(reading.rate.bpm)
        if good:
            each = [f"{np.median(bpm):.0f} beats per minute" for bpm in good.values()]
            if len(self.faces) > 1:
                each = [f"{rate} of face {face}" for face, rate in zip(good, each, strict=True)]
            if len(each) > _FACES_TOLD:
                each[_FACES_TOLD:] = [f"{len(each) - _FACES_TOLD} more in the table"]
            share = _share(sum(map(len, good.values())), len(full))
            median = "median" if len(each) == 1 else "medians"
            return f"heart rate: {', '.join(each)} ({median}), known in {share} after warming up"
        too_few = any(reading.state == State.TOO_FEW_FRAMES for reading in read)
        if self.duration_s < FULL * self.window_s and not too_few:
            face = ""
            if read and not self.faces:
                dark = read[-1].state == State.TOO_DARK
                face = ", and it is too dark to find a face in" if dark else ""
                face = face or ", and there is no face in it"
            whole = (
                not self.interrupted and self.stamps != "arrival"
            )  # of a camera there is no end
            length = f"{self.duration_s:.1f} s"
            length = f"the video is {length} long" if whole else f"{length} were seen"
            return f"no heart rate: {length}, {self.window_s:g} s are needed{face}"
        if not full:
            longest_s = max((reading.window_s for reading in read), default=0.0)
            return (
                f"no heart rate: no face was followed for {self.window_s:g} s, the longest for "
                f"{longest_s:.1f} s"
            )
        state, count = Counter(reading.state for reading in full).most_common(1)[0]
        last = next(reading.reason for reading in reversed(full) if reading.state == state)
        words = pulse_drawing.STATE_WORDS[state]
        return f"no heart rate: {words} in {_share(count, len(full))}; the last: {last}"


class JoinedWave:
    """One wave of one face, of windows that overlap, each tapered to its ends by a Hann window.

    Parameters
    ----------
    rate_hz : float
        Its samples are taken at multiples of 1 / rate.
    """

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._sums: dict[int, tuple[float, float]] = {}  # by number: of weighted waves, of weights

    def add(self, wave: Uniform) -> None:
        """Add a window's wave; its NaN are no samples."""
        count = len(wave.values)
        places = (np.arange(count) + 0.5) / count
        times_s = wave.start_s + np.arange(count) / wave.rate_hz
        numbers = np.arange(
            np.ceil(times_s[0] * self.rate_hz), np.floor(times_s[-1] * self.rate_hz) + 1
        )
        values = np.interp(numbers / self.rate_hz, times_s, wave.values)
        weights = np.interp(numbers / self.rate_hz, times_s, np.sin(np.pi * places) ** 2)
        for number, value, weight in zip(
            numbers.astype(int).tolist(), values.tolist(), weights.tolist(), strict=True
        ):
            if value == value:
                total, of_weights = self._sums.get(number, (0.0, 0.0))
                self._sums[number] = total + weight * value, of_weights + weight

    def take(self, before_s: float = np.inf) -> Iterator[tuple[float, float]]:
        """Yield times and values of what is earlier, and forget it."""
        for number in sorted(self._sums):
            if number / self.rate_hz < before_s:
                total, of_weights = self._sums.pop(number)
                yield number / self.rate_hz, total / of_weights


def run(options: Options, progress: Callable[[str], None] = print) -> Outcome:
    """Look at a video and write what is in it.

    Ctrl-C ends it early, with all that was seen until then written.

    Parameters
    ----------
    options : Options
    progress : callable
        Is told, a line each, how far it is.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If something cannot be read or does not fit together; then nothing is written.
    """
    if options.region_px is not None and options.yunet:
        raise ValueError("a region stays where it is: --region and --yunet do not go together")
    camera = CAMERA.fullmatch(options.source)
    film = Path(options.out) / FILM
    if Path(options.source).resolve() == film.resolve():
        raise ValueError(f"{film}: it is the film that a run writes there: name another --out")
    video = open_video(
        int(camera[1]) if camera else Path(options.source),
        rate_hz=options.rate_hz,
        times=options.times or None,
    )
    meter, note = _meter(options)
    outcome = Outcome(video.source, video.stamps, meter.method.name, options.window_s)
    outcome.notes += [f"method {note}"] if note else []
    ahead = ReadAhead(video.frames())
    frames = iter(ahead) if camera else video.frames()
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{video.source}: no frame of it can be read")
    faces = meter.see(first[1], first[0])  # what is wrong is said before anything is written
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    tell_every_s = 1.0 if camera else _TOLD_EVERY_S
    with _Writer(folder, outcome, meter, video, options.overlay) as writer:
        try:
            writer.take(*first, faces)
            told_s = 0.0
            for time_s, image in frames:
                writer.take(time_s, image, meter.see(image, time_s))
                if time_s >= told_s + tell_every_s:
                    told_s = time_s
                    progress(f"{time_s:.0f} s: {writer.line()}")
        except KeyboardInterrupt:
            outcome.interrupted = not camera
    outcome.notes += [*video.notes, *writer.notes()]
    if ahead.left_out:
        outcome.notes.append(f"{ahead.left_out} frames came faster than they could be looked at")
    picture = pulse_drawing.figure(outcome.rows, outcome.best, outcome.sentence(), video.source)
    write_png(folder / "pulse.png", picture)
    measurements.write_json(folder / "summary.json", summary(outcome))
    return outcome


def _meter(options: Options) -> tuple[PulseMeter, str]:
    """Return what watches the faces, and what there is to say of it."""
    method, rate_hz, note = pulse_methods.choose(options.method, options.weights, options.window_s)
    settings = MeterSettings(window_s=options.window_s, rate_hz=rate_hz)
    size = method.thumbnail_px or SMALLEST_THUMBNAIL_PX
    tracker: RegionTracker
    if options.region_px is not None:
        tracker = FixedRegion(options.region_px, thumbnail_px=size)
    else:
        detector = yunet_detector(options.yunet) if options.yunet else None
        tracker = FaceTracker(detector, thumbnail_px=size)
    return PulseMeter(tracker, method, settings), note


class _Writer:
    """Takes a reading every second, and writes the tables and the film on the way."""

    def __init__(
        self, folder: Path, outcome: Outcome, meter: PulseMeter, video: Video, overlay: bool
    ) -> None:
        self._folder, self._outcome, self._meter = folder, outcome, meter
        self._film = None
        if overlay:
            self._film = pulse_drawing.Film(folder / FILM, video.rate_hz, outcome.window_s)
        else:
            (folder / FILM).unlink(missing_ok=True)  # an earlier run's, of other numbers
        self._files: list[TextIO] = []
        self._waves: dict[int, JoinedWave] = {}
        self._latest: dict[int, Reading] = {}
        self._read_s = 0.0
        self._advice: dict[
            str, tuple[str, int]
        ] = {}  # without its numbers: the last one, how often

    def __enter__(self) -> _Writer:
        self._rates = self._table("heart_rate.csv", RATE_COLUMNS)
        self._pulse = self._table("pulse.csv", PULSE_COLUMNS)
        return self

    def __exit__(self, *_: object) -> None:
        if self._outcome.duration_s > self._read_s:
            self._read(self._outcome.duration_s)
        for face, wave in self._waves.items():
            self._write_wave(face, wave.take())
        for file in self._files:
            file.close()
        if self._film is not None:
            self._film.close()

    def _table(self, name: str, columns: tuple[str, ...]) -> Any:
        file = (self._folder / name).open("w", newline="", encoding="utf-8")
        self._files.append(file)
        table = csv.writer(file)
        table.writerow(columns)
        return table

    def take(self, time_s: float, image_bgr: np.ndarray, faces: list[Face]) -> None:
        """Take notice of a frame and of the faces that the meter saw in it."""
        self._outcome.frames += 1
        self._outcome.duration_s = time_s
        if time_s >= np.floor(self._read_s) + 1:
            self._read(time_s)
        if self._film is not None:
            self._film.add(image_bgr, time_s, faces, self._latest)

    def _read(self, time_s: float) -> None:
        readings = self._meter.readings()
        self._read_s = time_s
        self._latest = {reading.face_id: reading for reading in readings}
        for reading in readings:
            self._outcome.rows.append((time_s, reading._replace(wave=None)))
            self._rates.writerow(_texts(time_s, reading))
            for note in reading.notes:
                key = re.sub(r"\d+", "", note)
                self._advice[key] = note, self._advice.get(key, ("", 0))[1] + 1
            if reading.state == State.OK and reading.wave is not None:
                best = self._outcome.best
                if best is None or reading.signal_quality > best.signal_quality:
                    self._outcome.best = reading
                rate_hz = self._meter.settings.rate_hz
                self._waves.setdefault(reading.face_id, JoinedWave(rate_hz)).add(reading.wave)
        for face in list(self._waves):
            gone = face not in self._latest
            final_s = np.inf if gone else time_s - self._outcome.window_s
            self._write_wave(face, self._waves[face].take(final_s))
            if gone:
                del self._waves[face]
        for file in self._files:
            file.flush()

    def _write_wave(self, face: int, samples: Iterator[tuple[float, float]]) -> None:
        self._pulse.writerows((f"{time_s:.6f}", face, f"{value:.4f}") for time_s, value in samples)

    def line(self) -> str:
        """Return what is known now."""
        return "; ".join(
            f"face {reading.face_id}: {pulse_drawing.label(reading)}"
            if reading.face_id != NOBODY
            else reading.reason
            for reading in self._latest.values()
        )

    def notes(self) -> list[str]:
        """Return what would make readings better, and how often it was said."""
        count = len(self._outcome.rows)
        return [f"{note}: in {_share(times, count)}" for note, times in self._advice.values()]


class ReadAhead:
    """Frames that a thread of its own reads, so that none waits for a rate to be stamped.

    Where `_AHEAD_FRAMES` wait already, the newest are left out.

    Parameters
    ----------
    frames : iterator of Frame

    Attributes
    ----------
    left_out : int
        How many.
    """

    def __init__(self, frames: Iterator[Frame]) -> None:
        self.left_out = 0
        self._frames = frames
        self._waiting: queue.Queue[Frame | Exception | None] = queue.Queue(_AHEAD_FRAMES)
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; what goes wrong in reading them is raised here."""
        threading.Thread(target=self._read, daemon=True).start()
        try:
            while (item := self._waiting.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self._stopped.set()

    def _read(self) -> None:
        ending: Exception | None = None
        try:
            for frame in self._frames:
                if self._stopped.is_set():
                    break
                if self._waiting.full():
                    self.left_out += 1
                else:
                    self._waiting.put(frame)
        except Exception as error:
            ending = error
        self._waiting.put(ending)


def _texts(time_s: float, reading: Reading) -> list[str]:
    def text(value: float, digits: int) -> str:
        return f"{value:.{digits}f}" if np.isfinite(value) else ""

    return [
        text(time_s, 3),
        str(reading.face_id),
        reading.state.name,
        reading.reason,
        text(reading.rate.bpm, 2),
        text(reading.rate.standard_error_bpm, 2),
        text(reading.signal_quality, 3),
        text(reading.respiration_rate_bpm, 1),
        text(reading.middle_s, 3),
        text(reading.window_s, 3),
        reading.method,
    ]


def _share(count: int, of: int) -> str:
    return f"{count} of {of} readings ({count / of:.0%})"


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return what ``summary.json`` holds; NaN is unknown."""
    return {
        "answer": outcome.sentence(),
        "notice": NOT_MEDICAL,
        "source": outcome.source,
        "stamps": outcome.stamps,
        "frames": outcome.frames,
        "duration_s": outcome.duration_s,
        "frame_rate_hz": _frame_rate(outcome),
        "interrupted": outcome.interrupted,
        "method": outcome.method,
        "window_s": outcome.window_s,
        "faces": [_of_face(outcome, face) for face in outcome.faces],
        "states": _states(outcome.rows),
        "notes": outcome.notes,
        "machine": measurements.machine(),
    }


def _of_face(outcome: Outcome, face: int) -> dict[str, Any]:
    rows = [row for row in outcome.rows if row[1].face_id == face]
    bpm = np.array([reading.rate.bpm for _, reading in rows if reading.state == State.OK])
    breaths = np.array([reading.respiration_rate_bpm for _, reading in rows])
    breaths = breaths[np.isfinite(breaths)]
    return {
        "face": face,
        "first_s": rows[0][0],
        "last_s": rows[-1][0],
        "readings": len(rows),
        "readings_with_rate": len(bpm),
        "heart_rate_bpm": {
            "median": float(np.median(bpm)) if len(bpm) else np.nan,
            "lowest": float(bpm.min()) if len(bpm) else np.nan,
            "highest": float(bpm.max()) if len(bpm) else np.nan,
        },
        "respiration_rate_bpm": float(np.median(breaths)) if len(breaths) else np.nan,
        "states": _states(rows),
    }


def _states(rows: list[Timed]) -> dict[str, int]:
    return dict(Counter(reading.state.name for _, reading in rows))


def _frame_rate(outcome: Outcome) -> float:
    return (outcome.frames - 1) / outcome.duration_s if outcome.duration_s > 0 else np.nan


def table(outcome: Outcome) -> str:
    """Return what was found as lines of text; the last one is the answer."""
    rate = f", {_frame_rate(outcome):.1f} per second" if outcome.frames > 1 else ""
    entries = {
        "frames": f"{outcome.frames}{rate}, {outcome.duration_s:.1f} s; times: {outcome.stamps}",
        "method": f"{outcome.method}, windows of {outcome.window_s:g} s",
    }
    for face in outcome.faces:
        found = _of_face(outcome, face)
        bpm, count = found["heart_rate_bpm"], found["readings_with_rate"]
        said = "no rate"
        if count:
            said = f"{bpm['median']:.1f} bpm in the middle, {bpm['lowest']:.1f} to "
            said += f"{bpm['highest']:.1f}, in {_share(count, found['readings'])}"
        states = ", ".join(
            f"{pulse_drawing.STATE_WORDS[State[name]]} {number}"
            for name, number in found["states"].items()
            if name != State.OK.name
        )
        entries[f"face {face}"] = f"{said}; {states}" if states else said
    width = max(map(len, entries))
    lines = [f"{outcome.source}:"]
    lines += [f"  {entry:<{width}}  {value}" for entry, value in entries.items()]
    lines += [f"note: {note}" for note in outcome.notes]
    if outcome.interrupted:
        lines.append(f"note: stopped after {outcome.duration_s:.1f} s, the rest was not looked at")
    return "\n".join([*lines, NOT_MEDICAL, outcome.sentence()])


def results(outcome: Outcome) -> list[dict[str, Any]]:
    """Return rows of results."""
    made = [
        measurements.result("video.readings", len(outcome.rows)),
        measurements.result(
            "video.readings_with_rate", _states(outcome.rows).get(State.OK.name, 0)
        ),
    ]
    for face in outcome.faces:
        found = _of_face(outcome, face)
        against = f"median of {found['readings_with_rate']} readings"
        value = found["heart_rate_bpm"]["median"]
        name = f"video.face_{face}.heart_rate_bpm"
        made.append(measurements.result(name, value, "1/min", None, against))
    return made
