"""Scenes of simulated faces: everything that decides a video, and random ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from radar_pose_ros.simulation.face_drawing import TONES
from radar_pose_ros.simulation.pulse_waves import Heart, draw_heart
from radar_pose_ros.vitals.evidence import BLOOD

KINDS = ("person", "photograph", "frozen", "empty")

# The pulse, peak to peak, as share of the picture's green value, for tones I to VI. Choices: light
# skin shows about half a per cent, and melanin takes its share of the light on the way in and out.
_PULSE_OF_TONE = (0.0055, 0.0050, 0.0040, 0.0030, 0.0020, 0.0014)

# Lamps and cameras turn the colour of the pulse: standard deviation along each of both axes across
# `BLOOD`, a choice.
_BLOOD_TURN_RAD = np.radians(3.0)
_RHYTHM_HZ = (0.65, 3.0)  # of lamps, the band of the pulse

# Names -> light as share of the bright one, and the picture's light after the camera's gain.
LIGHTS = {"bright": (1.0, 1.0), "medium": (0.3, 0.7), "dim": (0.04, 0.4)}


_MEAN_BLOOD = (float(BLOOD[0]), float(BLOOD[1]), float(BLOOD[2]))


class Motion(NamedTuple):
    """How a head moves; all numbers are choices.

    Attributes
    ----------
    shift : float
        Standard deviation of the place in x and in y, in face widths.
    roll_rad, scale : float
        Standard deviations of the rotation in the picture and of the size.
    lowest_hz, highest_hz : float
        From and to this frequency it moves; slow movements are larger, as 1 / sqrt(f).
    talks : bool
        Whether the mouth moves.
    """

    shift: float
    roll_rad: float
    scale: float
    lowest_hz: float
    highest_hz: float
    talks: bool


MOTIONS = {
    "still": Motion(0.002, 0.002, 0.001, 0.05, 1.0, False),
    "talking": Motion(0.02, 0.025, 0.008, 0.1, 3.0, True),
    "moving": Motion(0.10, 0.09, 0.04, 0.2, 2.5, True),
}


class Lamp(NamedTuple):
    """A lamp or a screen whose light changes, beside the light that stays.

    Attributes
    ----------
    colour : (float, float, float)
        RGB of its light, each as share of the other light; of length 1.
    drift : float
        Standard deviation of its changes within seconds, as share of the other light.
    rhythm : float
        Amplitude of its rhythmic changes.
    rhythm_hz : float
        Their frequency.
    """

    colour: tuple[float, float, float]
    drift: float
    rhythm: float
    rhythm_hz: float


@dataclass(frozen=True)
class Person:
    """A face in a scene.

    Parameters
    ----------
    tone : int
        Fitzpatrick's type of the skin, 1 to 6.
    face_px : float
        Width of the face.
    centre : (float, float)
        x, y of its middle as share of the picture.
    heart : Heart or None
        None is a face without a pulse, a picture of a face.
    pulse : float
        Height of the pulse, peak to peak, as share of the picture's green value on average skin.
    gloss : float
        Share of the light that the shiniest places send back from the surface.
    seed : int
        Draws the looks and the movements.
    """

    tone: int
    face_px: float
    centre: tuple[float, float]
    heart: Heart | None
    pulse: float
    gloss: float
    seed: int


@dataclass(frozen=True)
class FaceScene:
    """Everything that decides a video.

    Parameters
    ----------
    kind : str
        "person"; "photograph", a print in a hand that trembles; "frozen", a picture that stands
        still to the last bit; "empty", a room.
    people : tuple of Person
        None in an empty room, one or two people, else one.
    width_px, height_px : int
    rate_hz, duration_s : float
    motion, light : str
        One of `MOTIONS`, one of `LIGHTS`.
    light_colour : (float, float, float)
        RGB, after the camera's white balance.
    gradient : float
        By which share the light differs over the width of the picture.
    gradient_rad : float
        Direction in which it grows.
    tint : float
        By which share the light's red grows and its blue falls over the width of the picture in
        that direction, as between a window and a lamp.
    drift : float
        By which share (standard deviation) the light and its gradient change within seconds.
    flicker_hz : float
        The mains' light, 100 or 120; the camera sees it aliased.
    flicker : float
        Its amplitude after the exposure, as share of the light.
    lamps : tuple of Lamp
        What changes the light in other proportions than `drift`, which keeps its colour.
    blood : (float, float, float)
        How much red, green and blue fall when blood rises, each as share of its mean: direction
        only, green is more than 0.
    pumping : float
        By which share (standard deviation) the automatic exposure goes up and down.
    jpeg_quality : int or None
        Each picture goes through JPEG with half the colours' resolution; None leaves it out.
    dropped : float
        Probability that a frame is missing.
    jitter_s : float
        Standard deviation of the moments at which the camera takes its frames; the stamps say so.
    stamp_error_s : float
        Standard deviation of the stamps from these moments.
    seed : int

    Raises
    ------
    ValueError
        If a name is unknown, or a number out of range.
    """

    kind: str
    people: tuple[Person, ...]
    width_px: int = 240
    height_px: int = 240
    rate_hz: float = 30.0
    duration_s: float = 10.0
    motion: str = "still"
    light: str = "bright"
    light_colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gradient: float = 0.0
    gradient_rad: float = 0.0
    tint: float = 0.0
    drift: float = 0.0
    flicker_hz: float = 100.0
    flicker: float = 0.0
    pumping: float = 0.0
    jpeg_quality: int | None = None
    dropped: float = 0.0
    jitter_s: float = 0.0
    stamp_error_s: float = 0.0
    seed: int = 0
    lamps: tuple[Lamp, ...] = ()
    blood: tuple[float, float, float] = _MEAN_BLOOD

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("motion", MOTIONS), ("light", LIGHTS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}, there are {', '.join(known)}"
                )
        allowed = {"person": (1, 2), "photograph": (1,), "frozen": (1,), "empty": (0,)}[self.kind]
        if len(self.people) not in allowed:
            raise ValueError(f"{self.kind!r} wants {allowed} faces, got {len(self.people)}")
        if not (15 <= self.rate_hz <= 60 and self.duration_s > 0):
            raise ValueError(
                f"want a rate_hz of 15 to 60 and a positive duration_s, got {self.rate_hz} "
                f"and {self.duration_s}"
            )
        if not 0 <= self.dropped <= 0.9:
            raise ValueError(f"dropped must be from 0 to 0.9, got {self.dropped}")
        if not self.blood[1] > 0:
            raise ValueError(f"blood must be more than 0 in green, got {self.blood}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality must be from 1 to 100, got {self.jpeg_quality}")


def draw_scene(rng: np.random.Generator, **fixed: Any) -> FaceScene:
    """Return a random scene; what is in ``fixed`` is as told, the rest as it would be without.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all choices.
    **fixed
        Fields of `FaceScene`; ``faces``, their number; ``tone``, ``face_px``, ``pulse`` and
        ``gloss`` of every `Person`; and fields of the `Heart` of every living one.

    Returns
    -------
    FaceScene

    Raises
    ------
    ValueError
        If a name is none of these, or a number out of range.
    """
    ours = {field.name for field in fields(FaceScene)}
    persons = {"tone", "face_px", "pulse", "gloss"}
    hearts = {field.name for field in fields(Heart)} - ours
    if unknown := set(fixed) - ours - persons - hearts - {"faces"}:
        raise ValueError(f"a scene has no {', '.join(sorted(unknown))}")
    drawn: dict[str, Any] = {
        "kind": "person",
        "motion": str(rng.choice(list(MOTIONS))),
        "light": str(rng.choice(list(LIGHTS))),
        "light_colour": tuple(float(c) for c in np.exp(rng.normal(0, (0.06, 0.02, 0.08)))),
        "gradient": rng.uniform(0.0, 0.6),
        "gradient_rad": rng.uniform(-np.pi, np.pi),
        "tint": rng.uniform(0.0, 0.3),
        "drift": rng.uniform(0.0, 0.01),
        "flicker_hz": float(rng.choice([100.0, 120.0])),
        "flicker": rng.uniform(0.0, 0.01) if rng.uniform() < 0.5 else 0.0,
        "pumping": rng.uniform(0.0, 0.01) if rng.uniform() < 0.3 else 0.0,
        "jpeg_quality": int(rng.integers(40, 96)) if rng.uniform() < 0.5 else None,
        "rate_hz": float(rng.choice([15.0, 20.0, 25.0, 30.0, 30.0, 30.0, 60.0])),
        "dropped": rng.uniform(0.0, 0.05) if rng.uniform() < 0.3 else 0.0,
        "jitter_s": rng.uniform(0.0, 0.005) if rng.uniform() < 0.3 else 0.0,
        "stamp_error_s": rng.uniform(0.0, 0.003) if rng.uniform() < 0.3 else 0.0,
        "seed": int(rng.integers(2**31)),
    }
    seeds = rng.integers(2**31, size=2)
    drawn.update({name: value for name, value in fixed.items() if name in ours})
    kind = drawn["kind"]
    # From a generator of their own: the other choices of a seed stay what they were.
    own = np.random.default_rng([drawn["seed"], 5])
    lamps, blood = _draw_lamps(own), _draw_blood(own)
    drawn.setdefault("lamps", lamps)
    drawn.setdefault("blood", blood)
    count = 0 if kind == "empty" else int(fixed.get("faces", 1))
    if count > 2:
        raise ValueError(f"a scene wants one or two faces, got {count}")
    drawn.setdefault("width_px", 400 if count == 2 else 240)
    drawn.setdefault("height_px", 240)
    if "people" not in drawn:
        told = {name: fixed[name] for name in persons & set(fixed)}
        beats = {name: fixed[name] for name in hearts & set(fixed)}
        drawn["people"] = tuple(
            _draw_person(
                np.random.default_rng(int(seeds[index])),
                (drawn["width_px"], drawn["height_px"]),
                (0.27, 0.73)[index] if count == 2 else 0.5,
                draw_heart(np.random.default_rng([int(seeds[index]), 1]), **beats)
                if kind == "person"
                else None,
                told,
            )
            for index in range(count)
        )
    return FaceScene(**drawn)


def _draw_lamps(rng: np.random.Generator) -> tuple[Lamp, ...]:
    """Return up to two lamps; one in four has a rhythm, of any frequency in the pulse's band.

    Strengths are choices: peak to peak, a rhythm is at most as strong as the pulse of the darkest
    skin, a quarter of that of the lightest.
    """
    lamps = []
    for _ in range(rng.integers(3)):
        colour = np.abs(rng.normal(size=3))
        red, green, blue = (colour / np.linalg.norm(colour)).tolist()
        drift, rhythm = rng.uniform(0, 0.005), rng.uniform(0, 0.0015)
        rhythmic, rhythm_hz = rng.uniform() < 0.25, rng.uniform(*_RHYTHM_HZ)
        lamps.append(Lamp((red, green, blue), drift, rhythm if rhythmic else 0.0, rhythm_hz))
    return tuple(lamps)


def _draw_blood(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a direction near `BLOOD`."""
    away = rng.normal(0, _BLOOD_TURN_RAD, 3)
    away -= (away @ BLOOD) * BLOOD
    angle = float(np.linalg.norm(away))
    turned = np.cos(angle) * BLOOD + np.sin(angle) / angle * away
    red, green, blue = turned.tolist()
    return red, green, blue


def _draw_person(
    rng: np.random.Generator,
    size_px: tuple[int, int],
    middle: float,
    heart: Heart | None,
    fixed: dict[str, Any],
) -> Person:
    tone = int(rng.integers(1, TONES + 1))
    share, strength = rng.uniform(0.34, 0.5), np.exp(rng.normal(0, 0.2))
    centre = (middle + rng.uniform(-0.04, 0.04), rng.uniform(0.44, 0.52))
    gloss, seed = rng.uniform(0.02, 0.08), int(rng.integers(2**31))
    tone = fixed.get("tone", tone)
    if not 1 <= tone <= TONES:
        raise ValueError(f"skin tones are 1 to {TONES}, Fitzpatrick's I to VI, got {tone}")
    return Person(
        tone=tone,
        face_px=fixed.get("face_px", share * min(size_px)),
        centre=centre,
        heart=heart,
        pulse=fixed.get("pulse", float(_PULSE_OF_TONE[tone - 1] * strength)),
        gloss=fixed.get("gloss", gloss),
        seed=seed,
    )
