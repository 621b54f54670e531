"""Pictures of heart rates: the pulse, its spectrum, rates over time, and how two of them agree.

Where there is no rate, the reason stands in its place. Colours as in `drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from radar_pose_ros.drawing import BACKGROUND, FRAME_COLOUR, TEXT_COLOUR, rgb_bytes
from radar_pose_ros.metrics import heart_rate
from radar_pose_ros.vision.face import Face
from radar_pose_ros.vitals import rates
from radar_pose_ros.vitals.meter import NOBODY, Reading, State
from radar_pose_ros.vitals.signals import HIGH_HZ, LOW_HZ

STATE_WORDS = {
    State.OK: "heart rate",
    State.WARMING_UP: "warming up",
    State.NO_FACE: "no face",
    State.STILL_IMAGE: "still picture",
    State.TOO_DARK: "too dark",
    State.MOTION: "motion",
    State.TOO_FEW_FRAMES: "too few frames",
    State.LOW_SIGNAL: "no pulse stands out",
}

# Okabe and Ito's, without black.
_FACE_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
_DPI = 100
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FILM_PX = (960, 720)  # the image's width and height at the most, and at the least its width
_NARROWEST_PX = 480
_STRIPS_PX, _STRIPS = 120, 3  # height of what is under the image; faces that share it at the most
_FILM_HZ = (1.0, 60.0)
_USUAL_HZ = 30.0
_LONGEST_GAP_S = 2.0  # in which the film stands still; longer ones are cut to it
_LEGEND_FACES = 8
_COUNTED_FACES = 3  # whose readings are counted one by one
_GAP_S = 1.5  # between two readings of a face: it was away


def label(reading: Reading) -> str:
    """Return the rate, or in two or three words why there is none."""
    if reading.state != State.OK:
        return STATE_WORDS[reading.state]
    error = reading.rate.standard_error_bpm
    plus_minus = f" +- {error:.1f}" if np.isfinite(error) else ""
    return f"{reading.rate.bpm:.0f}{plus_minus} bpm"


class Film:
    """Writes the video again, with boxes, rates or reasons, and the latest pulse under it.

    It has a constant rate: frames are repeated or left out so that its time is the video's, but
    for gaps of more than 2 s, which are cut to that.

    Parameters
    ----------
    path : Path
    rate_hz : float
        Nominal, of the video; NaN is unknown.
    window_s : float
        How much of the pulse is shown.
    """

    def __init__(self, path: Path, rate_hz: float, window_s: float) -> None:
        self._path, self._window_s = path, window_s
        self._rate_hz = float(np.clip(rate_hz if np.isfinite(rate_hz) else _USUAL_HZ, *_FILM_HZ))
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)  # of the image in the film
        self._due_s = self._last_s = 0.0  # of the film's next frame; of the video's last one

    def add(
        self,
        image_bgr: np.ndarray,
        time_s: float,
        faces: Sequence[Face],
        latest: Mapping[int, Reading],
    ) -> None:
        """Add a frame; ``latest`` are the readings by face.

        Raises
        ------
        ValueError
            If OpenCV cannot write such a file.
        """
        cut_s = max(0.0, time_s - self._last_s - _LONGEST_GAP_S)
        self._due_s, self._last_s = self._due_s + cut_s, time_s
        if self._due_s > time_s + 0.5 / self._rate_hz:
            return
        picture = self._picture(image_bgr, time_s, faces, latest)
        if self._writer is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            size = picture.shape[1], picture.shape[0]
            self._writer = cv2.VideoWriter(str(self._path), code, self._rate_hz, size)
            if not self._writer.isOpened():
                raise ValueError(f"{self._path}: it cannot be written")
        while self._due_s <= time_s + 0.5 / self._rate_hz:
            self._writer.write(picture)
            self._due_s += 1 / self._rate_hz

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()

    def _picture(
        self,
        image_bgr: np.ndarray,
        time_s: float,
        faces: Sequence[Face],
        latest: Mapping[int, Reading],
    ) -> np.ndarray:
        height, width = image_bgr.shape[:2]
        if self._writer is None:
            by = min(_FILM_PX[0] / width, _FILM_PX[1] / height, max(1.0, _NARROWEST_PX / width))
            self._size = tuple(max(2, 2 * round(by * side / 2)) for side in (width, height))
        by_x, by_y = self._size[0] / width, self._size[1] / height
        how = cv2.INTER_AREA if by_x < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image_bgr, self._size, interpolation=how)
        for face in faces:
            reading = latest.get(face.id)
            x, y, wide, high = np.multiply(face.box_px, (by_x, by_y, by_x, by_y))
            colour = _bgr(face.id)
            corners = (round(x), round(y)), (round(x + wide), round(y + high))
            cv2.rectangle(image, *corners, colour, 2, cv2.LINE_AA)
            said = STATE_WORDS[State.WARMING_UP] if reading is None else label(reading)
            _write(image, f"face {face.id}: {said}", (corners[0][0], corners[0][1] - 8), colour)
        _write(image, f"{time_s:.1f} s", (6, 18), _bgr_of(TEXT_COLOUR))
        strips = np.empty((_STRIPS_PX, self._size[0], 3), np.uint8)
        strips[:] = _bgr_of(BACKGROUND)
        shown = list(latest.values())[:_STRIPS]
        for strip, reading in zip(np.array_split(strips, max(1, len(shown))), shown, strict=False):
            _draw_strip(strip, reading, time_s, self._window_s)
        return np.concatenate([image, strips])


def _draw_strip(strip: np.ndarray, reading: Reading, time_s: float, window_s: float) -> None:
    """Draw the pulse of the last seconds, now at the right; or why there is none."""
    colour = _bgr(reading.face_id)
    height, width = strip.shape[:2]
    cv2.line(strip, (0, 0), (width, 0), _bgr_of(FRAME_COLOUR), 1)
    if reading.state != State.OK or reading.wave is None:
        who = "" if reading.face_id == NOBODY else f"face {reading.face_id}: "
        cv2.putText(strip, who + reading.reason, (6, 20), _FONT, 0.4, colour, 1, cv2.LINE_AA)
        return
    wave = reading.wave
    times_s = wave.start_s + np.arange(len(wave.values)) / wave.rate_hz
    x = (1 - (time_s - times_s) / window_s) * width
    y = height / 2 - np.clip(wave.values / 3, -1, 1) * (height / 2 - 6)
    known = np.flatnonzero(np.isfinite(y))
    for part in np.split(known, 1 + np.flatnonzero(np.diff(known) > 1)):
        points = np.round(np.column_stack([x[part], y[part]])).astype(np.int32)
        cv2.polylines(strip, [points], False, colour, 1, cv2.LINE_AA)
    _write(strip, f"face {reading.face_id}, last {window_s:g} s", (6, 18), colour)


def _write(image: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, ...]) -> None:
    """Write inside of the picture, over whatever there is."""
    (wide, high), _ = cv2.getTextSize(text, _FONT, 0.5, 1)
    x = max(4, min(corner[0], image.shape[1] - wide - 4))
    y = max(high + 4, min(corner[1], image.shape[0] - 4))
    cv2.putText(image, text, (x, y), _FONT, 0.5, _bgr_of(BACKGROUND), 4, cv2.LINE_AA)
    cv2.putText(image, text, (x, y), _FONT, 0.5, colour, 1, cv2.LINE_AA)


def _colour(face: int) -> str:
    return TEXT_COLOUR if face == NOBODY else _FACE_COLOURS[face % len(_FACE_COLOURS)]


def _bgr(face: int) -> tuple[int, ...]:
    return _bgr_of(_colour(face))


def _bgr_of(colour: str) -> tuple[int, ...]:
    return rgb_bytes(colour)[::-1]


def figure(
    timed: Sequence[tuple[float, Reading]], best: Reading | None, answer: str, title: str
) -> np.ndarray:
    """Draw a pulse wave, its spectrum, and rates over time with what there is in their place.

    Parameters
    ----------
    timed : sequence of (float, Reading)
        When it was read, and what.
    best : Reading or None
        Whose wave and spectrum are shown; None if there is no rate.
    answer, title : str

    Returns
    -------
    uint8 (height, width, 3)
        RGB.
    """
    made = Figure(figsize=(11.0, 7.6), dpi=_DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(made)
    made.text(0.02, 0.965, title, color=TEXT_COLOUR, fontsize=11, weight="bold")
    made.text(0.02, 0.935, answer, color=TEXT_COLOUR, fontsize=9)
    _draw_wave(_axis(made, (0.075, 0.63, 0.53, 0.255)), best)
    _draw_spectrum(_axis(made, (0.68, 0.63, 0.3, 0.255)), best)
    of_rates = _axis(made, (0.075, 0.29, 0.905, 0.25))
    of_states = _axis(made, (0.17, 0.075, 0.81, 0.16))
    of_rates.set_position((0.17, 0.29, 0.81, 0.25))
    _draw_rates(of_rates, timed)
    _draw_states(of_states, timed)
    of_states.set_xlim(of_rates.get_xlim())
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _axis(made: Figure, area: tuple[float, float, float, float]) -> Any:
    axis: Any = made.add_axes(area, facecolor="#000000")
    axis.tick_params(colors=TEXT_COLOUR, labelsize=8, length=2)
    axis.grid(color=FRAME_COLOUR, linewidth=0.4)
    for spine in axis.spines.values():
        spine.set_color(FRAME_COLOUR)
    return axis


def _say(axis: Any, title: str, x: str, y: str) -> None:
    axis.set_title(title, color=TEXT_COLOUR, fontsize=9, pad=4)
    axis.set_xlabel(x, color=TEXT_COLOUR, fontsize=8, labelpad=2)
    axis.set_ylabel(y, color=TEXT_COLOUR, fontsize=8)


def _nothing(axis: Any, text: str) -> None:
    axis.text(
        0.5, 0.5, text, color=TEXT_COLOUR, fontsize=10, ha="center", transform=axis.transAxes
    )
    axis.set(xticks=[], yticks=[])


def _draw_wave(axis: Any, best: Reading | None) -> None:
    if best is None or best.wave is None:
        _say(axis, "pulse", "", "")
        _nothing(axis, "no pulse")
        return
    wave = best.wave
    times_s = wave.start_s + np.arange(len(wave.values)) / wave.rate_hz
    axis.plot(times_s, wave.values, color=_colour(best.face_id), linewidth=1.3)
    axis.margins(x=0)
    whose = f"pulse of face {best.face_id}, quality {best.signal_quality:.2f}"
    _say(axis, f"{whose}: the best window", "time, s", "blood volume,\nstandard deviations")


def _draw_spectrum(axis: Any, best: Reading | None) -> None:
    if best is None or best.wave is None:
        _say(axis, "spectrum", "", "")
        _nothing(axis, "no pulse")
        return
    found = rates.spectrum(best.wave.values, best.wave.rate_hz)
    per_minute = 60 * found.frequency_hz
    shown = (found.frequency_hz >= LOW_HZ) & (found.frequency_hz <= HIGH_HZ)
    power = found.density[shown] / found.density[shown].max()
    axis.fill_between(per_minute[shown], power, color=_colour(best.face_id), alpha=0.35)
    axis.plot(per_minute[shown], power, color=_colour(best.face_id), linewidth=1.0)
    axis.axvline(best.rate.bpm, color=TEXT_COLOUR, linewidth=0.8, linestyle="--")
    axis.set(xlim=(60 * LOW_HZ, 60 * HIGH_HZ), ylim=(0, 1.08))
    _say(axis, f"its spectrum: {label(best)}", "beats per minute", "power, of the highest")


def _draw_rates(axis: Any, timed: Sequence[tuple[float, Reading]]) -> None:
    faces = sorted({reading.face_id for _, reading in timed} - {NOBODY})
    drawn = 0
    for face in faces:
        rows = [row for row in timed if row[1].face_id == face]
        numbers = np.array([(time_s, *reading.rate) for time_s, reading in rows])
        absent = 1 + np.flatnonzero(np.diff(numbers[:, 0]) > _GAP_S)
        times_s, bpm, error = np.insert(numbers, absent, np.nan, axis=0).T
        if not np.isfinite(bpm).any():
            continue
        colour = _colour(face)
        axis.fill_between(times_s, bpm - error, bpm + error, color=colour, alpha=0.3, linewidth=0)
        name = f"face {face}" if drawn < _LEGEND_FACES else "_"
        marker = "." if len(rows) < 200 else ","
        axis.plot(times_s, bpm, color=colour, linewidth=1.2, marker=marker, label=name)
        drawn += 1
    last_s = max((time_s for time_s, _ in timed), default=1.0)
    axis.set_xlim(0, 1.01 * last_s)
    _say(axis, "heart rate and its standard error", "", "beats per minute")
    if not drawn:
        _nothing(axis, "no heart rate")
        return
    low, high = axis.get_ylim()
    middle, half = (low + high) / 2, max(10.0, 0.6 * (high - low))
    axis.set_ylim(middle - half, middle + half)
    if drawn > 1:
        axis.legend(
            fontsize=8,
            ncols=_LEGEND_FACES,
            loc="upper right",
            labelcolor=TEXT_COLOUR,
            facecolor=BACKGROUND,
            edgecolor=FRAME_COLOUR,
        )


def _draw_states(axis: Any, timed: Sequence[tuple[float, Reading]]) -> None:
    """Mark what each reading was worth: a row per state that there is, in it a line per face."""
    states = sorted({reading.state for _, reading in timed}, reverse=True)
    faces = sorted({reading.face_id for _, reading in timed} - {NOBODY})
    places: dict[tuple[int, State], list[float]] = {
        (reading.face_id, reading.state): [] for _, reading in timed
    }
    for time_s, reading in timed:
        places[reading.face_id, reading.state].append(time_s)
    high = 0.8 / max(1, len(faces))
    for (face, state), times_s in places.items():
        top = states.index(state) + 0.4
        bottom = top - 0.8
        if face != NOBODY:
            top -= high * faces.index(face)
            bottom = top - high
        axis.vlines(times_s, bottom, top, color=_colour(face), linewidth=2.0)
    axis.set_yticks(
        range(len(states)), [f"{STATE_WORDS[s]} ({_counted(places, s, faces)})" for s in states]
    )
    axis.set_ylim(-0.6, len(states) - 0.4)
    several = len(faces) > 1
    of = ", ".join(f"face {face}" for face in faces)
    of = of if len(faces) <= _LEGEND_FACES else f"{len(faces)} faces"
    _say(axis, f"readings, in each row from above: {of}" if several else "", "time, s", "")


def _counted(
    places: Mapping[tuple[int, State], Sequence[float]], state: State, faces: Sequence[int]
) -> str:
    """Return how many readings of each face have a state: "7 + 0 + 3"."""
    counts = [len(places.get((face, state), ())) for face in faces]
    nobody = len(places.get((NOBODY, state), ()))
    said = (
        " + ".join(map(str, counts)) if len(counts) <= _COUNTED_FACES else f"{sum(counts)} in all"
    )
    if not nobody:
        return said
    return f"{said}, nobody {nobody}" if any(counts) else str(nobody)


def bland_altman(
    predicted_bpm: ArrayLike, true_bpm: ArrayLike, title: str = "estimate and truth"
) -> np.ndarray:
    """Draw the differences of two ways to measure over their means, with the limits of agreement.

    Parameters
    ----------
    predicted_bpm, true_bpm : array_like, shape (...)
        NaN is no rate; how many there are is written beside.
    title : str

    Returns
    -------
    uint8 (height, width, 3)
        RGB.

    Raises
    ------
    ValueError
        If shapes differ.
    """
    count = heart_rate.count_rates(predicted_bpm, true_bpm)
    found = heart_rate.bland_altman(predicted_bpm, true_bpm)
    predicted, true = (np.ravel(np.asarray(v, np.float64)) for v in (predicted_bpm, true_bpm))
    made = Figure(figsize=(7.0, 4.6), dpi=_DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(made)
    axis = _axis(made, (0.11, 0.12, 0.7, 0.77))
    _say(
        axis,
        f"{title}: {count.compared} compared, {count.missing} without an estimate",
        "mean of both, beats per minute",
        "estimate - truth, beats per minute",
    )
    axis.plot((predicted + true) / 2, predicted - true, "o", color=_FACE_COLOURS[0], markersize=3)
    lines = (("bias", found.bias, "-"), ("95 %", found.lower, "--"), ("95 %", found.upper, "--"))
    for name, value, style in lines:
        if np.isfinite(value):
            axis.axhline(value, color=_FACE_COLOURS[1], linewidth=1.0, linestyle=style)
            axis.annotate(
                f"{name} {value:+.1f}",
                (1.01, value),
                xycoords=("axes fraction", "data"),
                color=TEXT_COLOUR,
                fontsize=8,
                va="center",
            )
    if not count.compared:
        _nothing(axis, "nothing to compare")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
