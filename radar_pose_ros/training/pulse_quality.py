"""Whether the quality that a heart rate is told with can be relied on, and what it is weighed by.

    python -m radar_pose_ros.training.pulse_quality --tracks DIR [--weights FILE] [--skin DIR]

`vitals.evidence.quality` states at least how often rates with such evidence are right. Its weights
are fitted here, by logistic regression, to what a `PulseMeter` reads of simulated faces: living
ones, whose rate is right within 5 beats per minute of the truth, and photographs, of which no rate
is right. The shipped constants are lower than the fitted ones, which `evidence.WEIGHTS` explains.

How often rates were right is then counted by what the shipped weights state, on people and
photographs that nothing was fitted to or chosen by; and, if there are such, on recordings of skin
without a known pulse. Windows overlap by nine tenths, and all methods read the same ones: there
are far fewer people than rates.

Methods that look at colours share their weights; a network has others, and wants them fitted anew
when it is trained anew. It may know the people that networks are trained on, so that the faces of
the fit are drawn for this alone, `drawn`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from radar_pose_ros import measurements
from radar_pose_ros.datasets import face_tracks
from radar_pose_ros.datasets.face_tracks import FaceTrack
from radar_pose_ros.models.pulse import PulseNetwork
from radar_pose_ros.simulation.body import SPLITS
from radar_pose_ros.simulation.face_drawing import TONES
from radar_pose_ros.simulation.faces import (
    LIGHTS,
    FaceScene,
    SimulatedFaceVideo,
    draw_scene,
    write_video,
)
from radar_pose_ros.training import physmamba
from radar_pose_ros.training.recipe import count
from radar_pose_ros.vision.face import Face, FaceTracker, FixedRegion, RegionTracker
from radar_pose_ros.vision.skin import FaceSample
from radar_pose_ros.vision.video import Frame, VideoFile
from radar_pose_ros.vitals import classical, evidence, rates, signals
from radar_pose_ros.vitals.evidence import Kind
from radar_pose_ros.vitals.meter import (
    SMALLEST_THUMBNAIL_PX,
    ClassicalMethod,
    MeterSettings,
    PulseMeter,
    PulseMethod,
    Reading,
    kind_of,
)

RIGHT_BPM = 5.0  # a rate that is nearer to the truth is right
EVERY_S = 1.0  # from one reading to the next
SECONDS = 12.0  # of a drawn face
# How many faces are drawn for each split: photographs and people.
DRAWN = {"train": (60, 60), "validation": (20, 20)}
# The colours of the recordings of skin without a known pulse are read from here.
SKIN_PX = (4.0, 4.0, 192.0, 192.0)
_RIDGE = 1e-3
_BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_CODEC = "mp4v"
_FOLDER = "quality_2"  # of drawn faces: another one when they are drawn otherwise
_STREAM = 0x7175616C  # keeps these people apart from those that networks learn from


# -- reading tracks ------------------------------------------------------------------------------


class TrackReplay:
    """What a tracker found in a video, once more; the images are not looked at.

    Parameters
    ----------
    track : FaceTrack
    """

    def __init__(self, track: FaceTrack) -> None:
        self.regions = tuple(str(number) for number in range(track.colours.shape[1]))
        self._track = track
        self._number = -1

    def update(self, image_bgr: np.ndarray, time_s: float) -> list[Face]:
        """Return the only face, in its next frame."""
        self._number += 1
        return [Face(0, (0.0, 0.0, 1.0, 1.0), time_s)]

    def sample(self, image_bgr: np.ndarray, face: Face) -> FaceSample:
        """Return what was sampled then."""
        track, k = self._track, self._number
        return FaceSample(
            track.colours[k],
            track.pixels[k],
            track.images(slice(k, k + 1))[0],
            float(track.brightness[k]),
            float(track.motion[k]),
        )


class Window(NamedTuple):
    """A reading and the truth about it.

    Attributes
    ----------
    reading : Reading
    bpm : float
        The rate of the reading's wave, told or not; NaN if there is none.
    true_bpm : float
        The rate of the true wave, read in the same way; NaN if there is none, or it is not known.
    """

    reading: Reading
    bpm: float
    true_bpm: float


_NO_IMAGE = np.zeros((1, 1, 3), np.uint8)


def read(
    track: FaceTrack,
    method: PulseMethod,
    settings: MeterSettings | None = None,
    every_s: float = EVERY_S,
) -> Iterator[Window]:
    """Yield what a `PulseMeter` reads of a track, from the first whole window on."""
    settings = settings or MeterSettings()
    meter = PulseMeter(TrackReplay(track), method, settings)
    due_s = track.times_s[0] + settings.window_s
    for time_s in track.times_s:
        meter.see(_NO_IMAGE, float(time_s))
        if time_s < due_s:
            continue
        due_s += every_s
        (reading,) = meter.readings()
        wave = reading.wave
        bpm = np.nan if wave is None else rates.rate_of_wave(wave.values, wave.rate_hz).bpm
        inside = track.times_s >= time_s - settings.window_s
        inside &= track.times_s <= time_s
        yield Window(
            reading, bpm, true_rate(track.times_s[inside], track.pulse[inside], settings.rate_hz)
        )


def true_rate(times_s: np.ndarray, pulse: np.ndarray, rate_hz: float) -> float:
    """Return the rate of a true wave (T,) in beats per minute; NaN if it has none."""
    wave = signals.resample(times_s, pulse, rate_hz).values
    return rates.rate_of_wave(signals.band_pass(wave, rate_hz), rate_hz).bpm


# -- faces ---------------------------------------------------------------------------------------


class _Compressed(SimulatedFaceVideo):
    """A simulated video that went through a video file."""

    def frames(self) -> Iterator[Frame]:
        """Yield each frame's stamp in seconds and picture, as `SimulatedFaceVideo`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "face.mp4"
            write_video(self.scene, path, _CODEC)
            images = (image for _, image in VideoFile(path).frames())
            yield from zip((float(stamp_s) for stamp_s in self.stamps_s), images, strict=True)


def scene(kind: str, split: str, number: int) -> FaceScene:
    """Return a scene for `drawn`: lights and tones take turns, JPEG is in every second one.

    Before every fifth photograph the exposure goes up and down by several per cent.
    """
    rng = np.random.default_rng([_STREAM, SPLITS.index(split), kind == "person", number])
    quality, pumping = int(rng.integers(40, 96)), rng.uniform(0.02, 0.06)
    hunting = {"pumping": pumping} if kind == "photograph" and number % 5 == 4 else {}
    return draw_scene(
        rng,
        kind=kind,
        **hunting,
        duration_s=SECONDS,
        tone=1 + number % TONES,
        light=list(LIGHTS)[number // TONES % len(LIGHTS)],
        jpeg_quality=quality if number // 2 % 2 else None,
        rate_hz=float(rng.choice([20.0, 25.0, 30.0, 30.0])),
    )


def drawn(kind: str, split: str, number: int, folder: Path, thumbnail_px: int) -> list[FaceTrack]:
    """Return the tracks of a face; they are made if they are not there.

    Every third goes through a video file of MPEG-4, of each tone and light alike many.

    Parameters
    ----------
    kind : {"photograph", "person"}
    split : {"train", "validation", "test"}
    number : int
    folder : Path
        Keeps them.
    thumbnail_px : int
    """
    name = f"{kind}_{number:05d}"
    path = folder / _FOLDER / f"{thumbnail_px}px" / split / f"{name}.npz"
    if not path.is_file():
        compressed = (number + number // TONES + number // (TONES * len(LIGHTS))) % 3 == 2
        video = (_Compressed if compressed else SimulatedFaceVideo)(scene(kind, split, number))
        tracker = FaceTracker(thumbnail_px=thumbnail_px)
        found = face_tracks.track_simulated(video, tracker, f"quality/{split}/{name}")
        codec = {"compression": _CODEC} if compressed else {}
        found = [replace(one, attributes={**one.attributes, **codec}) for one in found]
        face_tracks.save(found, path)
    return face_tracks.load(path)


# -- the fit -------------------------------------------------------------------------------------

Weights = Mapping[Kind, np.ndarray]


class Judged(NamedTuple):
    """Rates by which weights are fitted or measured.

    Attributes
    ----------
    found : ndarray, shape (N, 4)
        Their `evidence.Evidence`.
    right : ndarray of bool, shape (N,)
    method, kind : ndarray of str, shape (N,)
        The method's name, and what it looks at.
    photograph : ndarray of bool, shape (N,)
    """

    found: np.ndarray
    right: np.ndarray
    method: np.ndarray
    kind: np.ndarray
    photograph: np.ndarray

    def only(self, chosen: np.ndarray) -> Judged:
        """Return some of them."""
        return Judged(*(values[chosen] for values in self))

    def told(self, weights: Weights, least: float) -> np.ndarray:
        """Return which of them are told under these weights, bool (N,)."""
        return self.quality(weights) >= least

    def quality(self, weights: Weights) -> np.ndarray:
        """Return the `evidence.quality` of each under these weights, (N,)."""
        stated = {kind: evidence.stated(self.found, of_kind) for kind, of_kind in weights.items()}
        return np.select([self.kind == kind for kind in stated], list(stated.values()), np.nan)


def judge(
    tracks: Iterable[FaceTrack], methods: Mapping[str, PulseMethod], *, photograph: bool
) -> Judged:
    """Return all rates of tracks with evidence, and whether they are right."""
    found, right, names, kinds = [], [], [], []
    for track in tracks:
        for name, method in methods.items():
            for window in read(track, method):
                weighed = window.reading.evidence
                known = photograph or np.isfinite(window.true_bpm)
                if weighed is None or not (known and np.isfinite(weighed[:3]).all()):
                    continue
                found.append(weighed)
                right.append(abs(window.bpm - window.true_bpm) < RIGHT_BPM)
                names.append(name)
                kinds.append(kind_of(method))
    return Judged(
        np.array(found, np.float64).reshape(-1, 4),
        np.array(right, bool),
        np.array(names, str),
        np.array(kinds, str),
        np.full(len(right), photograph),
    )


def together(parts: Sequence[Judged]) -> Judged:
    """Return all of several."""
    return Judged(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def fit(found: np.ndarray, right: np.ndarray, ridge: float = _RIDGE) -> np.ndarray:
    """Return the weights of `evidence.features` under which what was right is most likely.

    Parameters
    ----------
    found : ndarray, shape (N, 4)
        What is `evidence.refused` has no say.
    right : ndarray of bool, shape (N,)
    ridge : float
        Pulls all weights but the constant's towards 0.

    Returns
    -------
    ndarray, shape (4,)

    Raises
    ------
    ValueError
        If all of them are right or none is: any threshold would do.
    """
    weighed = ~evidence.refused(found)
    found, right = found[weighed], right[weighed]
    if right.all() or not right.any():
        raise ValueError("want rates that are right and rates that are wrong to fit weights to")
    terms = evidence.features(found)
    pulled = np.array([0.0, *np.ones(terms.shape[1] - 1)])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score = terms @ weights
        value = np.mean(np.logaddexp(0, score) - right * score) + ridge * pulled @ weights**2
        slope = terms.T @ (1 / (1 + np.exp(-score)) - right) / len(right)
        return float(value), slope + 2 * ridge * pulled * weights

    return np.asarray(minimize(loss, np.zeros(terms.shape[1]), jac=True).x)


def fitted(judged: Judged) -> dict[Kind, np.ndarray]:
    """Return the weights of each kind of method that there is; see `fit`."""
    return {
        kind: fit(judged.found[judged.kind == kind], judged.right[judged.kind == kind])
        for kind in evidence.WEIGHTS
        if (judged.kind == kind).any()
    }


# -- the report ----------------------------------------------------------------------------------


def reliability(judged: Judged, weights: Weights) -> Iterator[str]:
    """Yield how often rates are right by the quality they are told with, in Markdown."""
    quality = judged.quality(weights)
    yield "| method | " + " | ".join(f"{a:g} to {b:g}" for a, b in _pairs()) + " |"
    yield "|---" * len(_BINS) + "|"
    for name in _names(judged):
        cells = []
        for low, high in _pairs():
            chosen = (quality >= low) & ((quality < high) | (high == 1.0))
            chosen &= (judged.method == name) | (name == "all")
            cells.append(
                f"{judged.right[chosen].mean():.0%} of {chosen.sum()}" if chosen.any() else ""
            )
        yield f"| {name} | " + " | ".join(cells) + " |"


def thresholds(judged: Judged, weights: Weights, least: float) -> list[dict[str, object]]:
    """Return what refusing rates of less than some quality is worth.

    Returns
    -------
    list of dict
        Rows of `radar_pose_ros.measurements`, for each method and for all: the shares of people's
        rates that are told, of wrong ones that are, of photographs' that are, of right ones that
        are kept, and of those told that are right.
    """
    told = judged.told(weights, least)
    rows = []
    for name in _names(judged):
        mine = (judged.method == name) | (name == "all")
        for what, chosen, values in (
            ("people_told", mine & ~judged.photograph, told),
            ("wrong_told", mine & ~judged.right, told),
            ("photographs_told", mine & judged.photograph, told),
            ("right_kept", mine & judged.right, told),
            ("told_right", mine & told, judged.right),
        ):
            share = float(values[chosen].mean()) if chosen.any() else float("nan")
            against = f"of {chosen.sum()}"
            rows.append(measurements.result(f"quality.{name}.{what}", share, against=against))
    return rows


def _pairs() -> list[tuple[float, float]]:
    return list(pairwise(_BINS))


def _names(judged: Judged) -> list[str]:
    return [*dict.fromkeys(judged.method.tolist()), "all"]


def skin_readings(
    path: Path, method: PulseMethod, settings: MeterSettings | None = None
) -> list[Reading]:
    """Return what is read each `EVERY_S` of a video of skin, from the first whole window on.

    Parameters
    ----------
    path : Path
        A video with skin in `SKIN_PX`.
    method : PulseMethod
    settings : MeterSettings, optional
    """
    settings = settings or MeterSettings()
    size = method.thumbnail_px or SMALLEST_THUMBNAIL_PX
    tracker: RegionTracker = FixedRegion(SKIN_PX, thumbnail_px=size)
    meter = PulseMeter(tracker, method, settings)
    due_s, found = settings.window_s, []
    for time_s, image in VideoFile(path).frames():
        meter.see(image, time_s)
        if time_s >= due_s:
            due_s += EVERY_S
            found += meter.readings()
    return found


# -- the command line ----------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit the weights, and print them and what they are worth."""
    parser = argparse.ArgumentParser(prog="pulse_quality", description=main.__doc__)
    parser.add_argument("--tracks", type=Path, default=Path("out/face_tracks"), metavar="DIR")
    parser.add_argument("--weights", metavar="FILE", help="a network's, to be judged too")
    parser.add_argument("--skin", type=Path, metavar="DIR", help="videos of skin, *.avi")
    parser.add_argument("--jobs", type=count, default=1, help="videos simulated at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    options = parser.parse_args(arguments)
    methods: dict[str, PulseMethod] = {
        name: ClassicalMethod(name) for name in (*classical.METHODS, "combined")
    }
    if options.weights:
        methods["physmamba"] = PulseNetwork.load(options.weights)
    recipe = physmamba.Recipe.load(physmamba.RECIPES / "edge.yaml")
    size = recipe.network.size
    parts = {}
    for split, counts in DRAWN.items():
        judged = []
        for kind, number in zip(("photograph", "person"), counts, strict=True):
            make = partial(drawn, kind, split, folder=options.tracks, thumbnail_px=size)
            tracks = (one for k in range(number) for one in make(k))
            judged.append(judge(tracks, methods, photograph=kind == "photograph"))
        parts[split] = together(judged)
    people = physmamba.tracks_of(recipe, "test", options.tracks, jobs=options.jobs)
    others = together([parts["validation"], judge(people, methods, photograph=False)])
    weights = fitted(parts["train"])
    for each, values in weights.items():
        count_of = int((parts["train"].kind == each).sum())
        print(f"{each}: {count_of} rates, weights {np.round(values, 2).tolist()}")
        print(f"{each}: shipped {evidence.WEIGHTS[each].tolist()}")
    print("Of the shipped weights:", *reliability(others, evidence.WEIGHTS), sep="\n")
    rows = thresholds(others, evidence.WEIGHTS, MeterSettings().least_quality)
    if options.skin:
        rows += _skin_rows(sorted(options.skin.glob("*.avi")), methods, evidence.WEIGHTS)
    print(measurements.table(rows))
    if options.json:
        measurements.write_results(options.json, rows)
    return 0


def _skin_rows(
    paths: Sequence[Path], methods: Mapping[str, PulseMethod], weights: Weights
) -> list[dict[str, object]]:
    least, rows = MeterSettings().least_quality, []
    for name, method in methods.items():
        found = [reading.evidence for path in paths for reading in skin_readings(path, method)]
        weighed = [one for one in found if one is not None and np.isfinite(one[:3]).all()]
        of_kind = weights[kind_of(method)]
        told = int((evidence.stated(np.array(weighed).reshape(-1, 4), of_kind) >= least).sum())
        share = told / len(found) if found else float("nan")
        rows.append(
            measurements.result(f"quality.{name}.skin_told", share, against=f"of {len(found)}")
        )
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
