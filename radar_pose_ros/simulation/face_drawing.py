"""Faces drawn from soft shapes: the light that comes back, where blood is, and what shines.

Everything is linear light. Lengths are in half face widths: u to the right, v down, the origin
between the eyes and the nose. The proportions are choices, near those that drawing books teach
(the eyes half way down the head, five eye widths across it) and such that OpenCV's face cascade
finds the faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

# CIELAB (D65) of the skin of Fitzpatrick's types I..VI. Their individual typology angles, 58, 46,
# 33, 15, -16 and -50 degrees, lie in the six classes of Chardon et al. (Int. J. Cosmet. Sci. 13,
# 1991: > 55 > 41 > 28 > 10 > -30), which are commonly taken for the six types; the numbers inside
# the classes are choices.
_SKIN_LAB = (
    (71.0, 8.0, 13.0),
    (66.0, 10.0, 15.5),
    (61.0, 11.0, 17.0),
    (55.0, 12.0, 18.5),
    (45.0, 12.0, 17.0),
    (35.0, 10.0, 12.5),
)
TONES = len(_SKIN_LAB)
# Hair, linear RGB: black, dark brown, brown, blond, grey; only tones I to III have the last three.
_HAIR = np.array(
    [(0.012, 0.010, 0.009), (0.03, 0.02, 0.014), (0.08, 0.045, 0.025), (0.30, 0.21, 0.10)]
    + [(0.22, 0.22, 0.22)]
)
_IRIS = np.array([(0.04, 0.02, 0.01), (0.08, 0.05, 0.02), (0.08, 0.13, 0.2), (0.06, 0.1, 0.05)])
_IRIS_OF_TONE = (4, 4, 4, 2, 2, 2)  # so many of them are likely
# What is drawn, in half face widths: left, right, top, bottom.
_EXTENT = (-4.0, 4.0, -2.6, 6.0)
_EYES = (-0.78, 0.78, -0.36, 0.12)
_MOUTH = (-0.55, 0.55, 0.45, 1.12)
LID_STATES = 3
MOUTH_STATES = 6


class Layer(NamedTuple):
    """Part of a person's picture.

    Attributes
    ----------
    colour : ndarray of float32, shape (height, width, 4)
        Share of the light sent back diffusely, RGB times alpha, and alpha.
    pulse : ndarray of float32, shape (height, width)
        Its strength: 1 where the blood flow is average, 0 where there is no skin.
    gloss : ndarray of float32, shape (height, width)
        How much shines back from the surface, about 1 at the shiniest places of a face.
    """

    colour: np.ndarray
    pulse: np.ndarray
    gloss: np.ndarray


@dataclass(frozen=True)
class Portrait:
    """A person, drawn once.

    Attributes
    ----------
    body : Layer
        Head, neck and shoulders; eyes closed, mouth closed.
    eyes, mouths : tuple of Layer
        The eyes from open to closed; the mouth from closed to open.
    eyes_at, mouth_at : (slice, slice)
        Their places in the body.
    origin_px : (float, float)
        x, y of the face's centre in the body.
    half_px : float
        Half the face's width.
    """

    body: Layer
    eyes: tuple[Layer, ...]
    mouths: tuple[Layer, ...]
    eyes_at: tuple[slice, slice]
    mouth_at: tuple[slice, slice]
    origin_px: tuple[float, float]
    half_px: float


def skin_albedo(tone: int) -> np.ndarray:
    """Return the linear RGB share of light that skin of a tone sends back.

    Parameters
    ----------
    tone : int
        Fitzpatrick's type, 1 to 6.

    Raises
    ------
    ValueError
        If there is no such tone.
    """
    if not 1 <= tone <= TONES:
        raise ValueError(f"skin tones are 1 to {TONES}, Fitzpatrick's I to VI, got {tone}")
    lab = np.array(_SKIN_LAB[tone - 1], np.float32).reshape(1, 1, 3)
    return cv2.cvtColor(lab, cv2.COLOR_Lab2LRGB).reshape(3).astype(np.float64)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell_px: float) -> np.ndarray:
    """Return a random field of standard deviation about 1 that varies over ``cell_px``."""
    height, width = shape
    cells = (max(2, round(height / cell_px) + 1), max(2, round(width / cell_px) + 1))
    coarse = rng.standard_normal(cells).astype(np.float32)
    return 1.3 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def draw_background(rng: np.random.Generator, width_px: int, height_px: int) -> np.ndarray:
    """Return a room: a wall, some objects with edges, texture; linear RGB, float32."""
    shape = (height_px, width_px)
    wall = np.exp(rng.uniform(np.log(0.06), np.log(0.45)))
    tint = np.exp(rng.normal(0, 0.12, 3))
    picture = np.empty((*shape, 3), np.float32)
    picture[:] = wall * tint
    for _ in range(rng.integers(2, 7)):
        corner = rng.uniform(-0.2, 0.9, 2) * (width_px, height_px)
        size = rng.uniform(0.1, 0.6, 2) * (width_px, height_px)
        colour = np.exp(rng.uniform(np.log(0.02), np.log(0.5))) * np.exp(rng.normal(0, 0.25, 3))
        turned = (tuple(map(float, corner)), tuple(map(float, size)), rng.uniform(-12, 12))
        box = cv2.boxPoints(turned).astype(np.int32)
        cv2.fillConvexPoly(picture, box, tuple(map(float, colour)), cv2.LINE_AA)
    blurred = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 2.5))
    texture = 0.10 * smooth_noise(rng, shape, 0.2 * width_px) + 0.03 * smooth_noise(rng, shape, 3)
    return np.clip(blurred * np.exp(texture)[..., None], 0.004, 0.9).astype(np.float32)


def draw_portrait(tone: int, half_px: float, seed: int) -> Portrait:
    """Draw a person.

    Parameters
    ----------
    tone : int
        Fitzpatrick's type of the skin, 1 to 6.
    half_px : float
        Half the face's width, in pixels.
    seed : int
        Draws shape, hair, clothes and texture.

    Returns
    -------
    Portrait
    """
    return _Painter(tone, half_px, seed).portrait()


class _Painter:
    """Paints on a grid; every shape is soft over about a pixel."""

    def __init__(self, tone: int, half_px: float, seed: int) -> None:
        rng = self.rng = np.random.default_rng(seed)
        left, right, top, bottom = _EXTENT
        self.half_px = half_px
        self.origin = (-left * half_px, -top * half_px)
        width, height = int((right - left) * half_px) + 2, int((bottom - top) * half_px) + 2
        self.colour = np.zeros((height, width, 4), np.float32)
        self.pulse, self.gloss = np.zeros((2, height, width), np.float32)
        self.jaw = rng.uniform(0.14, 0.34)  # by so much the face is narrower at the chin
        self.long = rng.uniform(1.28, 1.45)  # height over width
        # A person's own colour: melanin varies inside a tone, the blood's red from one to another.
        shade = np.exp(rng.normal(0, 0.07)) * np.exp(rng.normal(0, 0.015, 3))
        self.skin = (skin_albedo(tone) * shade).astype(np.float32)
        self.hair = _HAIR[rng.integers(5 if tone <= 3 else 2)].astype(np.float32)
        self.iris = _IRIS[rng.integers(_IRIS_OF_TONE[tone - 1])].astype(np.float32)
        self.clothes = np.exp(rng.uniform(np.log(0.02), np.log(0.5))) * np.exp(
            rng.normal(0, 0.35, 3)
        )
        self.long_hair = rng.uniform() < 0.4
        self.beard = 0.0 if self.long_hair or rng.uniform() < 0.7 else rng.uniform(0.3, 0.8)
        self.hairline = rng.uniform(-1.08, -0.86)
        self.brow = rng.uniform(0.045, 0.075)
        self.eye_height = rng.uniform(0.075, 0.1)

    def portrait(self) -> Portrait:
        self._torso()
        self._head()
        eyes_at, mouth_at = self._slices(_EYES), self._slices(_MOUTH)
        eyes = tuple(self._eyes(eyes_at, closed) for closed in np.linspace(0.0, 1.0, LID_STATES))
        mouths = tuple(
            self._mouth(mouth_at, opened) for opened in np.linspace(0.0, 1.0, MOUTH_STATES)
        )
        body = Layer(self.colour, self.pulse, self.gloss)
        for at, layer in ((eyes_at, eyes[-1]), (mouth_at, mouths[0])):
            for canvas, part in zip(body, layer, strict=True):
                canvas[at] = part
        return Portrait(body, eyes, mouths, eyes_at, mouth_at, self.origin, self.half_px)

    # --- tools -----------------------------------------------------------------------------

    def _slices(self, extent: tuple[float, float, float, float]) -> tuple[slice, slice]:
        left, right, top, bottom = (round(value * self.half_px) for value in extent)
        x, y = round(self.origin[0]), round(self.origin[1])
        return slice(y + top, y + bottom), slice(x + left, x + right)

    def _grid(self, at: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = at
        u = (np.arange(columns.start, columns.stop) - self.origin[0]) / self.half_px
        v = (np.arange(rows.start, rows.stop) - self.origin[1]) / self.half_px
        return u[None, :].astype(np.float32), v[:, None].astype(np.float32)

    def _inside(self, distance: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """Return 1 where the signed distance is negative, soft over a pixel or ``soft``."""
        return np.clip(0.5 - distance / max(soft, 1.2 / self.half_px), 0.0, 1.0)

    @staticmethod
    def _ellipse(u: np.ndarray, v: np.ndarray, a: float, b: float) -> np.ndarray:
        """Return about the signed distance from an ellipse."""
        return (np.sqrt((u / a) ** 2 + (v / b) ** 2) - 1) * min(a, b)

    @staticmethod
    def _spot(u: np.ndarray, v: np.ndarray, a: float, b: float) -> np.ndarray:
        return np.exp(-0.5 * ((u / a) ** 2 + (v / b) ** 2))

    def _lay(
        self,
        at: tuple[slice, slice],
        mask: np.ndarray,
        colour: np.ndarray,
        pulse: np.ndarray | float = 0.0,
        gloss: np.ndarray | float = 0.0,
    ) -> None:
        """Paint a shape over what is there."""
        rest = 1 - mask
        canvas = self.colour[at]
        canvas[..., :3] = canvas[..., :3] * rest[..., None] + mask[..., None] * colour
        canvas[..., 3] = canvas[..., 3] * rest + mask
        self.pulse[at] = self.pulse[at] * rest + mask * pulse
        self.gloss[at] = self.gloss[at] * rest + mask * gloss

    # --- parts -----------------------------------------------------------------------------

    def _torso(self) -> None:
        if self.long_hair:
            at = self._slices((-1.7, 1.7, -1.7, 2.4))
            u, v = self._grid(at)
            fall = self._inside(self._ellipse(u, v - 0.25, 1.35, 1.85))
            self._lay(at, fall, self.hair * self._strands(at), 0.0, 0.01)
        at = self._slices((-1.0, 1.0, 0.6, 2.6))
        u, v = self._grid(at)
        width = 0.56 + 0.25 * np.maximum(v - 1.5, 0) ** 2
        neck = self._inside(np.abs(u) - width) * self._inside(0.6 - v)
        # The chin's shadow falls on it.
        shade = (0.75 - 0.3 * self._spot(u, v - 1.35, 0.8, 0.35)) * (1 - 0.25 * (u / 0.8) ** 2)
        self._lay(at, neck, self.skin * shade[..., None], 0.6, 0.008)
        at = self._slices((*_EXTENT[:2], 1.6, _EXTENT[3]))
        u, v = self._grid(at)
        top = 1.95 + 0.18 * np.abs(u) ** 1.6 - 0.25 * self._spot(u, 0 * v, 0.9, 1.0)
        neckline = self._ellipse(u, v - 1.75, 0.62, 0.55)
        mask = (
            self._inside(top - v)
            * self._inside(np.abs(u) - 2.4 - 0.1 * v)
            * self._inside(-neckline)
        )
        cloth = np.exp(0.12 * smooth_noise(self.rng, mask.shape, 0.4 * self.half_px))
        self._lay(at, mask, self.clothes * cloth[..., None])

    def _strands(self, at: tuple[slice, slice]) -> np.ndarray:
        rows, columns = at
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        return np.exp(0.2 * smooth_noise(self.rng, shape, 0.06 * self.half_px))[..., None]

    def _outline(self, u: np.ndarray, v: np.ndarray, grown: float = 0.0) -> np.ndarray:
        narrower = 1 - self.jaw * np.clip(v / self.long, 0, 1) ** 1.5
        power = 2.3
        radius = (np.abs(u / narrower) ** power + np.abs(v / self.long) ** power) ** (1 / power)
        return radius - 1 - grown

    def _head(self) -> None:
        rng = self.rng
        at = self._slices((-1.6, 1.6, -2.3, 1.7))
        u, v = self._grid(at)
        self._lay(
            at, self._inside(self._ellipse(u, v + 0.45, 1.16, 1.42)), self.hair * self._strands(at)
        )
        for side in (-1, 1):
            ear = self._inside(self._ellipse(u - side * 1.02, v - 0.05, 0.12, 0.3))
            self._lay(at, ear, self.skin * 0.75, 0.8, 0.01)
        face = self._inside(self._outline(u, v))
        texture = 0.03 * smooth_noise(rng, face.shape, 0.35 * self.half_px)
        texture = texture + 0.02 * smooth_noise(rng, face.shape, 2.0)
        shade = self._relief(u, v) * np.exp(texture)
        colour = self.skin * shade[..., None]
        cheeks = self._spot(np.abs(u) - 0.55, v - 0.35, 0.25, 0.25)
        flush = np.array([0.02, -0.05, -0.04], np.float32) * rng.uniform(0, 1.2)
        colour = colour * (1 + cheeks[..., None] * flush)
        shadow = self._beard(u, v)
        colour = colour * (1 - shadow[..., None]) + self.hair * shadow[..., None]
        # Forehead and cheeks pulse most (Verkruysse et al., Opt. Express 16, 2008); how much more,
        # and the patches, are choices.
        flow = 0.8 + 0.35 * cheeks + 0.3 * self._spot(u, v + 0.7, 0.6, 0.3)
        flow = flow * np.exp(0.25 * smooth_noise(rng, face.shape, 0.4 * self.half_px))
        self._lay(at, face, colour, flow * (1 - shadow), self._shine(u, v) * (1 - shadow))
        line = (
            self.hairline + 0.35 * u**2 + 0.02 * smooth_noise(rng, face.shape, 0.15 * self.half_px)
        )
        hair = self._inside(v - line, 0.05) * self._inside(self._outline(u, v, 0.12), 0.05)
        self._lay(at, hair, self.hair * self._strands(at), 0.0, 0.01)
        for side in (-1, 1):
            bow = v + 0.36 + 0.25 * (side * u - 0.4) ** 2 * 2.0
            brow = self._inside(np.abs(bow) - self.brow, 0.05) * self._inside(
                np.abs(side * u - 0.43) - 0.26, 0.08
            )
            self._lay(at, 0.85 * brow, np.minimum(self.hair, 0.5 * self.skin))

    def _beard(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return how much of the skin hair covers on cheeks and chin."""
        if not self.beard:
            return np.zeros(np.broadcast_shapes(u.shape, v.shape), np.float32)
        below = self._inside(0.62 - v - 0.25 * np.abs(u) ** 2, 0.15)
        lips = self._spot(u, v - 0.72, 0.4, 0.12)
        return self.beard * below * (1 - lips)

    @staticmethod
    def _relief(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the shading that tells eye sockets, nose, lips and the face's roundness."""
        spot = _Painter._spot
        light = 1.0 - 0.32 * np.abs(u) ** 3 - 0.10 * np.clip(v - 0.9, 0, None)
        for side in (-1, 1):
            light = light - 0.36 * spot(u - side * 0.42, v + 0.16, 0.26, 0.15)
            light = light - 0.16 * spot(u - side * 0.19, v - 0.2, 0.06, 0.26)
            light = light + 0.08 * spot(u - side * 0.55, v - 0.3, 0.22, 0.2)
            light = light - 0.55 * spot(u - side * 0.1, v - 0.455, 0.045, 0.025)
        light = light + 0.12 * spot(u, v - 0.12, 0.075, 0.3) + 0.06 * spot(u, v + 0.7, 0.6, 0.25)
        light = light - 0.22 * spot(u, v - 0.5, 0.16, 0.05) - 0.18 * spot(u, v - 0.93, 0.25, 0.05)
        return np.clip(light, 0.15, 1.25)

    @staticmethod
    def _shine(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return where it shines: all skin a little, forehead, nose and cheekbones more."""
        spot = _Painter._spot
        places = 0.5 * spot(u - 0.08, v + 0.72, 0.4, 0.18) + spot(u, v - 0.3, 0.09, 0.12)
        for side in (-1, 1):
            places = places + 0.4 * spot(u - side * 0.55, v - 0.12, 0.2, 0.14)
        return 0.25 + places

    def _copy(self) -> _Painter:
        """Return a painter that leaves the body as it is."""
        part = object.__new__(_Painter)
        part.__dict__.update(self.__dict__)
        part.colour, part.pulse, part.gloss = (
            canvas.copy() for canvas in (self.colour, self.pulse, self.gloss)
        )
        return part

    def _eyes(self, at: tuple[slice, slice], closed: float) -> Layer:
        part = self._copy()
        u, v = self._grid(at)
        height = self.eye_height * (1 - closed)
        for side in (-1, 1):
            du, dv = u - side * 0.42, v + 0.12
            lid = self._inside(np.abs(dv - 0.04 * closed + 0.5 * height) - 0.025) * self._inside(
                np.abs(du) - 0.19, 0.06
            )
            if height > 0.01:
                white = self._inside(self._ellipse(du, dv, 0.19, height))
                part._lay(at, white, np.array([0.5, 0.48, 0.46]) * 0.7)
                iris = self._inside(self._ellipse(du, dv, 0.085, 0.085)) * white
                part._lay(at, iris, self.iris)
                pupil = self._inside(self._ellipse(du, dv, 0.035, 0.035)) * white
                part._lay(at, pupil, np.full(3, 0.004))
            part._lay(at, 0.8 * lid, np.minimum(self.hair, 0.25 * self.skin))
        return Layer(part.colour[at].copy(), part.pulse[at].copy(), part.gloss[at].copy())

    def _mouth(self, at: tuple[slice, slice], opened: float) -> Layer:
        part = self._copy()
        u, v = self._grid(at)
        gap = 0.14 * opened
        dv = v - 0.72 - 0.5 * gap
        width = 0.34 - 0.05 * opened
        lips = self._inside(self._ellipse(u, dv, width, 0.095 + 0.75 * gap), 0.03)
        red = self.skin * np.array([0.85, 0.6, 0.62], np.float32)
        part._lay(at, 0.85 * lips, red, 1.2, 0.4)
        inner = self._inside(self._ellipse(u, dv, width - 0.04, 0.012 + 0.6 * gap), 0.02)
        part._lay(at, 0.9 * inner, np.array([0.03, 0.01, 0.01]))
        return Layer(part.colour[at].copy(), part.pulse[at].copy(), part.gloss[at].copy())
