"""Videos of drawn faces whose pulse is known, for training and tests of pulse from video.

The light follows the model of the skin's reflection of Wang, den Brinker, Stuijk and de Haan,
"Algorithmic Principles of Remote PPG", IEEE Trans. Biomed. Eng. 64 (2017): what the camera sees is
the light's colour and strength, times the sum of what comes back diffusely from the skin, which
the blood changes a little, and of what shines back from its surface, which moves with the head.
It is computed in linear light; then come shot and read noise, the sRGB curve, 8 bits, and
compression.

The pulse changes the skin's diffuse light and nothing else: no motion, no light and no noise
follows the heart, and no other number of a scene is drawn with it. What real videos have and these
have not: faces that turn in depth, changing expressions, the jolt of the heartbeat on the head, a
pulse that arrives later in one place than in another, and noise reduction in the camera.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.simulation.face_drawing import (
    LID_STATES,
    MOUTH_STATES,
    Layer,
    Portrait,
    draw_background,
    draw_portrait,
)
from radar_pose_ros.simulation.face_scenes import (
    LIGHTS,
    MOTIONS,
    FaceScene,
    Lamp,
    Person,
    draw_scene,
)

__all__ = ["FaceScene", "Lamp", "Person", "SimulatedFaceVideo", "draw_scene", "write_video"]

_GAMMA = 2.2  # so many per cent more light give one per cent more value in the picture

# A small sensor, choices: electrons at white in bright light, and electrons of read noise.
_WHITE_ELECTRONS = 8000.0
_READ_ELECTRONS = 4.0

# Where OpenCV's cascade "frontalface_alt2" puts its box on these faces: the centre's distance
# below the face's centre and the width, in face widths (means over detections in all tones).
_BOX_BELOW, _BOX_WIDTH = 0.065, 1.21

_TREMOR = (0.003, 4.0, 12.0)  # of a hand that holds a photograph: face widths, from and to Hz
_BREATH_SHIFT = 0.004  # face widths that a breath lifts head and shoulders
_BREATH_BASELINE = 0.3  # the breath's part in the blood volume, as share of the pulse
_GLOSS_TURN = 6.0  # per face width moved, the logarithm of the highlights' strength: a choice
_FARTHEST = 0.3  # no head leaves its place by more face widths


class SimulatedFaceVideo:
    """The pictures of a scene, and the truth about them.

    Parameters
    ----------
    scene : FaceScene

    Attributes
    ----------
    scene : FaceScene
    faces : int
        How many faces are in the picture.
    times_s : ndarray of float64, shape (T,)
        When the frames were taken.
    stamps_s : ndarray of float64, shape (T,)
        When they say that they were.
    """

    def __init__(self, scene: FaceScene) -> None:
        self.scene = scene
        self.faces = len(scene.people)
        rng = np.random.default_rng([scene.seed, 0])
        period_s = 1 / scene.rate_hz
        times_s = np.arange(max(1, round(scene.duration_s * scene.rate_hz))) * period_s
        # Nothing is so late that the order changes.
        times_s = times_s + _within(rng, scene.jitter_s, 0.2 * period_s, len(times_s))
        stamps_s = times_s + _within(rng, scene.stamp_error_s, 0.2 * period_s, len(times_s))
        kept = rng.uniform(size=len(times_s)) >= scene.dropped
        kept[0] = True
        self.times_s, self.stamps_s = times_s[kept], stamps_s[kept]
        self._actors = [_Actor(person, scene) for person in scene.people]
        room = draw_background(
            np.random.default_rng([scene.seed, 1]), scene.width_px, scene.height_px
        )
        self._background = np.moveaxis(room, 2, 0).copy()
        self._lighting = _Lighting(scene)

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield each frame's stamp in seconds and picture, BGR uint8 (height, width, 3)."""
        first = None
        for index, (time_s, stamp_s) in enumerate(zip(self.times_s, self.stamps_s, strict=True)):
            if first is None or self.scene.kind != "frozen":
                first = self._picture(float(time_s), index)
            yield float(stamp_s), first.copy()

    def pulse(self, times_s: ArrayLike, face: int = 0) -> np.ndarray:
        """Return the pulse wave of a face, as `Heart.wave`; 0 everywhere where there is none."""
        heart = self.scene.people[face].heart
        return np.zeros(np.shape(times_s)) if heart is None else heart.wave(times_s)

    def heart_rate_bpm(self, times_s: ArrayLike, face: int = 0) -> np.ndarray:
        """Return the momentary heart rate of a face; NaN where it has no pulse."""
        heart = self.scene.people[face].heart
        return np.full(np.shape(times_s), np.nan) if heart is None else heart.rate_bpm(times_s)

    @property
    def breaths_per_minute(self) -> tuple[float, ...]:
        """Breaths per minute of each face; NaN where it is a picture."""
        hearts = (person.heart for person in self.scene.people)
        return tuple(np.nan if h is None else h.breaths_per_minute for h in hearts)

    def box(self, times_s: ArrayLike, face: int = 0) -> np.ndarray:
        """Return x, y, width, height in pixels, (..., 4), about as OpenCV's cascade draws it."""
        poses = self._actors[face].pose(np.asarray(times_s, np.float64))
        person = self.scene.people[face]
        width = _BOX_WIDTH * person.face_px * poses.scale
        below = _BOX_BELOW * person.face_px * poses.scale
        x = poses.x_px - np.sin(poses.roll_rad) * below
        y = poses.y_px + np.cos(poses.roll_rad) * below
        return np.stack([x - width / 2, y - width / 2, width, width], axis=-1)

    def _picture(self, time_s: float, index: int) -> np.ndarray:
        light = self._background
        shine = np.zeros(light.shape[1:], np.float32)
        for actor in self._actors:
            light, shine = actor.onto(light, shine, time_s)
        light = (light + shine) * self._lighting.at(time_s)
        rng = np.random.default_rng([self.scene.seed, 2, index])
        return _camera(light, LIGHTS[self.scene.light], self.scene.jpeg_quality, rng)


def write_video(scene: FaceScene, path: str | Path, codec: str = "mp4v") -> Path:
    """Write a scene as a video file and the truth about it beside it.

    Video files of OpenCV have a constant rate: where frames are dropped or late, only the truth
    says when they were taken.

    Parameters
    ----------
    scene : FaceScene
    path : str or Path
    codec : str
        Four letters that OpenCV's writer knows: "mp4v" compresses as MPEG-4, "FFV1" loses nothing.

    Returns
    -------
    Path
        The truth: the path with the ending ".csv"; a line per frame: time_s, and pulse_0,
        heart_rate_bpm_0, x_0, y_0, width_0, height_0 for each face; empty where there is no pulse.

    Raises
    ------
    ValueError
        If OpenCV cannot write such a file.
    """
    path = Path(path)
    video = SimulatedFaceVideo(scene)
    # VideoWriter.fourcc, unlike VideoWriter_fourcc, is in all of OpenCV 4 and 5.
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*codec), scene.rate_hz, (scene.width_px, scene.height_px)
    )
    if not writer.isOpened():
        raise ValueError(f"{path}: OpenCV cannot write a video there with the codec {codec!r}")
    for _, picture in video.frames():
        writer.write(picture)
    writer.release()
    names, columns = ["time_s"], [video.stamps_s]
    for face in range(video.faces):
        names += [f"{name}_{face}" for name in ("pulse", "heart_rate_bpm")]
        columns += [video.pulse(video.times_s, face), video.heart_rate_bpm(video.times_s, face)]
        names += [f"{name}_{face}" for name in ("x", "y", "width", "height")]
        columns += list(video.box(video.times_s, face).T)
    truth = path.with_suffix(".csv")
    with truth.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(names)
        for row in np.stack(columns, axis=1):
            table.writerow(["" if np.isnan(value) else f"{value:.6f}" for value in row])
    return truth


# --- what moves ----------------------------------------------------------------------------


def _within(rng: np.random.Generator, deviation: float, most: float, count: int) -> np.ndarray:
    return np.clip(deviation * rng.standard_normal(count), -most, most)


class _Wander:
    """A random smooth course of standard deviation 1: waves of amplitude 1 / sqrt(f)."""

    def __init__(
        self, rng: np.random.Generator, low_hz: float, high_hz: float, waves: int = 12
    ) -> None:
        self._turn = 2 * np.pi * np.exp(rng.uniform(np.log(low_hz), np.log(high_hz), waves))
        self._phase = rng.uniform(0, 2 * np.pi, waves)
        height = 1 / np.sqrt(self._turn)
        self._height = height * np.sqrt(2 / np.sum(height**2))

    def __call__(self, times_s: np.ndarray | float) -> np.ndarray:
        angle = np.multiply.outer(times_s, self._turn) + self._phase
        return np.sin(angle) @ self._height


class _Lighting:
    """The light over the picture at each moment."""

    def __init__(self, scene: FaceScene) -> None:
        rng = np.random.default_rng([scene.seed, 3])
        self.scene = scene
        # Clouds and people that pass; and an exposure that hunts.
        self._strength, self._slope = _Wander(rng, 0.03, 1.0), _Wander(rng, 0.03, 1.0)
        self._exposure = _Wander(rng, 0.2, 1.5)
        self._level = float(np.exp(rng.normal(0, 0.08)))
        self._phase = rng.uniform(0, 2 * np.pi)
        rng = np.random.default_rng([scene.seed, 4])
        self._lamps = [
            (lamp, _Wander(rng, 0.03, 1.0), rng.uniform(0, 2 * np.pi)) for lamp in scene.lamps
        ]
        self._x = np.linspace(-0.5, 0.5, scene.width_px, dtype=np.float32)
        self._y = np.linspace(-0.5, 0.5, scene.height_px, dtype=np.float32)
        # The rows are read one after the other, over two thirds of a frame.
        self._row_s = np.linspace(0, 0.67 / scene.rate_hz, scene.height_px)

    def at(self, time_s: float) -> np.ndarray:
        """Return the light, float32 (3, height, width)."""
        scene = self.scene
        strength = 1 + scene.drift * self._strength(time_s)
        strength = strength * (1 + scene.pumping * self._exposure(time_s)) * self._level
        slope = scene.gradient + 3 * scene.drift * self._slope(time_s)
        along, down = np.cos(scene.gradient_rad), np.sin(scene.gradient_rad)
        place = np.float32(along) * self._x + np.float32(down) * self._y[:, None]
        turns = 2 * np.pi * scene.flicker_hz * (time_s + self._row_s) + self._phase
        flicker = 1 + scene.flicker * np.sin(turns)
        rows = (strength * flicker)[:, None].astype(np.float32)
        red, green, blue = np.array(scene.light_colour) * self._of_lamps(time_s)
        channels = [
            rows * np.float32(colour) * (1 + np.float32(slope + tint) * place)
            for colour, tint in ((red, scene.tint), (green, 0.0), (blue, -scene.tint))
        ]
        return np.stack(channels)

    def _of_lamps(self, time_s: float) -> np.ndarray:
        """Return by which factors the lamps change red, green and blue."""
        factors = np.ones(3)
        for lamp, wander, phase in self._lamps:
            swing = lamp.rhythm * np.sin(2 * np.pi * lamp.rhythm_hz * time_s + phase)
            factors += (lamp.drift * wander(time_s) + swing) * np.array(lamp.colour)
        return factors


class _Poses(NamedTuple):
    x_px: np.ndarray
    y_px: np.ndarray
    roll_rad: np.ndarray
    scale: np.ndarray
    away: np.ndarray  # (..., 2) from the resting place, in face widths


class _Actor:
    """A face that moves, or its print."""

    def __init__(self, person: Person, scene: FaceScene) -> None:
        self.person, self.scene = person, scene
        self.motion = MOTIONS[scene.motion]
        rng = np.random.default_rng([person.seed, 1])
        self._wanders = [
            _Wander(rng, self.motion.lowest_hz, self.motion.highest_hz) for _ in range(4)
        ]
        self._tremor = [_Wander(rng, *_TREMOR[1:]) for _ in range(2)]
        self._syllables, self._phrases = _Wander(rng, 2.0, 5.0), _Wander(rng, 0.1, 0.4)
        count = rng.poisson(scene.duration_s / 4)  # a blink every 4 s
        self._blinks_s = rng.uniform(0, scene.duration_s, count)
        portrait = draw_portrait(person.tone, person.face_px / 2, person.seed)
        self.printed = scene.kind == "photograph"
        self.portrait = _print_of(portrait, person.seed) if self.printed else portrait
        lamp_rad = rng.uniform(-np.pi, np.pi)
        self._lamp = np.array([np.cos(lamp_rad), np.sin(lamp_rad)])
        blood = np.array(scene.blood) / scene.blood[1]
        self._amplitude = (-person.pulse * _GAMMA * blood).astype(np.float32)

    def pose(self, times_s: np.ndarray) -> _Poses:
        motion, person = self.motion, self.person
        away = motion.shift * np.stack([wander(times_s) for wander in self._wanders[:2]], -1)
        away = _FARTHEST * np.tanh(away / _FARTHEST)
        if self.printed:
            away = away + _TREMOR[0] * np.stack([t(times_s) for t in self._tremor], -1)
        if person.heart is not None:
            away[..., 1] = away[..., 1] - _BREATH_SHIFT * person.heart.breath(times_s)
        return _Poses(
            person.centre[0] * self.scene.width_px + person.face_px * away[..., 0],
            person.centre[1] * self.scene.height_px + person.face_px * away[..., 1],
            motion.roll_rad * self._wanders[2](times_s),
            np.exp(motion.scale * self._wanders[3](times_s)),
            away,
        )

    def onto(
        self, light: np.ndarray, shine: np.ndarray, time_s: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return diffuse and surface light with the person before what was there."""
        pose = self.pose(np.float64(time_s))
        if not self.printed:
            self._expression(time_s)
        x, y = self.portrait.origin_px
        turn = pose.scale * np.array(
            [
                [np.cos(pose.roll_rad), -np.sin(pose.roll_rad)],
                [np.sin(pose.roll_rad), np.cos(pose.roll_rad)],
            ]
        )
        to = np.array([pose.x_px, pose.y_px])
        size = (self.scene.width_px, self.scene.height_px)
        matrix = np.column_stack([turn, to - turn @ (x, y)])
        # The highlights stay with the lamp: on the skin they go against the head's movement.
        lag = to - 0.3 * self.person.face_px * pose.away
        lagging = np.column_stack([turn, lag - turn @ (x, y)])
        body = self.portrait.body
        colour = cv2.warpAffine(body.colour, matrix, size)
        pulse = cv2.warpAffine(body.pulse, matrix, size)
        gloss = cv2.warpAffine(body.gloss, lagging, size)
        *planes, alpha = cv2.split(colour)
        rest = 1 - alpha
        # A head that moves also turns: its highlights grow and fade.
        turned = np.exp(_GLOSS_TURN * np.sum(pose.away * self._lamp))
        shine = shine * rest + gloss * alpha * np.float32(self.person.gloss * turned)
        light = light * rest
        for plane, seen, amplitude in zip(
            light, planes, self._blood(time_s) * self._amplitude, strict=True
        ):
            plane += seen * (1 + amplitude * pulse)
        return light, shine

    def _blood(self, time_s: float) -> np.float32:
        heart = self.person.heart
        if heart is None:
            return np.float32(0)
        return np.float32(heart.wave(time_s) + _BREATH_BASELINE * heart.breath(time_s))

    def _expression(self, time_s: float) -> None:
        """Put eyes and mouth of this moment into the body."""
        portrait = self.portrait
        closed = np.exp(-0.5 * ((time_s - self._blinks_s) / 0.07) ** 2).max(initial=0.0)
        opened = 0.0
        if self.motion.talks and self._phrases(time_s) > -0.7:
            opened = float(np.clip(0.35 + 0.4 * self._syllables(time_s), 0, 1))
        for layers, at, share in (
            (portrait.eyes, portrait.eyes_at, closed * (LID_STATES - 1)),
            (portrait.mouths, portrait.mouth_at, opened * (MOUTH_STATES - 1)),
        ):
            low = min(int(share), len(layers) - 2)
            part = np.float32(share - low)
            for canvas, before, after in zip(
                portrait.body, layers[low], layers[low + 1], strict=True
            ):
                canvas[at] = before + part * (after - before)


def _print_of(portrait: Portrait, seed: int) -> Portrait:
    """Return a photograph of a person: a sheet with a white border, without blood."""
    half, (x, y) = portrait.half_px, portrait.origin_px
    body = portrait.body
    body.colour[portrait.eyes_at] = portrait.eyes[0].colour
    rows = slice(max(0, round(y - 2.1 * half)), round(y + 2.2 * half))
    columns = slice(round(x - 1.7 * half), round(x + 1.7 * half))
    colour = body.colour[rows, columns]
    wall = draw_background(np.random.default_rng([seed, 2]), colour.shape[1], colour.shape[0])
    picture = colour[..., :3] + wall * (1 - colour[..., 3:])
    border, outside = round(0.1 * half) + 1, 2
    picture = np.pad(picture, ((border, border), (border, border), (0, 0)), constant_values=0.8)
    sheet = np.concatenate([picture, np.ones((*picture.shape[:2], 1), np.float32)], axis=2)
    sheet = np.pad(sheet, ((outside, outside), (outside, outside), (0, 0)))
    alpha = sheet[..., 3].copy()
    edge = border + outside
    origin = (x - columns.start + edge, y - rows.start + edge)
    none = (slice(0), slice(0))
    return Portrait(
        Layer(sheet, np.zeros_like(alpha), 0.2 * alpha), (), (), none, none, origin, half
    )


# --- camera --------------------------------------------------------------------------------


def _srgb_table() -> np.ndarray:
    linear = np.arange(65536) / 65535
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)


_SRGB = _srgb_table()


def _camera(
    light: np.ndarray,
    level: tuple[float, float],
    jpeg_quality: int | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the picture, BGR uint8 (height, width, 3), of linear RGB light (3, height, width)."""
    share, gain = level
    electrons = _WHITE_ELECTRONS * share / gain  # at white: gain takes its part of the well
    signal = light * np.float32(gain)
    variance = signal * np.float32(1 / electrons) + np.float32((_READ_ELECTRONS / electrons) ** 2)
    signal += cv2.sqrt(variance) * rng.standard_normal(signal.shape, np.float32)
    np.clip(signal, 0, 1, out=signal)
    signal *= 65535
    picture = cv2.merge(list(_SRGB[signal.astype(np.uint16)][::-1]))
    if jpeg_quality is not None:
        # OpenCV's encoder halves the colours' resolution unless told otherwise.
        _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
        picture = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return picture
