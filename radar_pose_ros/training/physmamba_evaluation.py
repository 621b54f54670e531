"""``radar-pose evaluate physmamba``: heart rates by every method, told or not, scene by scene.

Two protocols. *Windows* of 10 s are read as they are live, by a `PulseMeter`: once every rate
counts, however poor, and once only those that it tells (``told``); how many these are is their
coverage. *Videos* are read whole, as the public toolboxes for remote pulse do: no trend, 0.75 to
2.5 Hz, Welch's method; only those count whose heart stays in that band.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from radar_pose_ros import measurements, pulse_drawing
from radar_pose_ros.datasets.face_tracks import FaceTrack
from radar_pose_ros.metrics import heart_rate
from radar_pose_ros.metrics.heart_rate import Measure, Scores
from radar_pose_ros.models import weights
from radar_pose_ros.models.pulse import PulseNetwork
from radar_pose_ros.training import physmamba, pulse_quality
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.physmamba import RECIPES, Measured, Recipe
from radar_pose_ros.training.recipe import RecipeError
from radar_pose_ros.vitals import classical, rates, signals
from radar_pose_ros.vitals.meter import ClassicalMethod, FaceWindow, MeterSettings, PulseMethod

NETWORK = "physmamba"
METHODS = (*classical.METHODS, "combined", NETWORK)
EVERY_S = 5.0  # from one window to the next
# Attributes of tracks by which errors are told apart, all combinations of them; and by itself.
SCENE = ("motion", "light", "compression")
PERSON = "skin_tone"
# Hearts that the public protocol can see.
_PROTOCOL_BPM = (45.0, 150.0)


class Windows(NamedTuple):
    """Heart rates of windows; NaN is none.

    Attributes
    ----------
    tracks : list of FaceTrack
        Of each window.
    true_bpm : ndarray, shape (windows,)
    bpm : dict of str to ndarray, shape (windows,)
        By method, told or not.
    told_bpm : dict of str to ndarray, shape (windows,)
        Only what is told.
    snr_db : dict of str to ndarray, shape (windows,)
        At the true rate, as ratio of powers.
    """

    tracks: list[FaceTrack]
    true_bpm: np.ndarray
    bpm: dict[str, np.ndarray]
    told_bpm: dict[str, np.ndarray]
    snr_db: dict[str, np.ndarray]

    def chosen(self, attributes: Mapping[str, str]) -> np.ndarray:
        """Return which windows are of tracks with these attributes, bool (windows,)."""
        return np.array(
            [
                all(track.attributes.get(name) == value for name, value in attributes.items())
                for track in self.tracks
            ],
            bool,
        )


def read_windows(
    tracks: Sequence[FaceTrack],
    methods: Mapping[str, PulseMethod],
    settings: MeterSettings | None = None,
) -> Windows:
    """Return what a `PulseMeter` reads of tracks, a window each `EVERY_S`.

    True rates are read from the true wave in the same way: what a heart does within a window is
    no error of a method.
    """
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in methods}
    owners: list[FaceTrack] = []
    truth: list[float] = []
    for track in tracks:
        for number, (name, method) in enumerate(methods.items()):
            for window in pulse_quality.read(track, method, settings, EVERY_S):
                if number == 0:
                    owners.append(track)
                    truth.append(window.true_bpm)
                wave = window.reading.wave
                snr = np.nan
                if wave is not None:
                    snr = rates.snr_db(wave.values, wave.rate_hz, window.true_bpm)
                found[name].append((window.bpm, window.reading.rate.bpm, snr))
    columns = {name: np.array(rows, float).reshape(-1, 3).T for name, rows in found.items()}
    bpm, told_bpm, snr_db = ({name: of[k] for name, of in columns.items()} for k in range(3))
    return Windows(owners, np.array(truth), bpm, told_bpm, snr_db)


def measure_videos(tracks: Sequence[FaceTrack], methods: Mapping[str, PulseMethod]) -> Measured:
    """Return heart rates of whole tracks by the public protocol, of hearts in its band."""
    low_bpm, high_bpm = _PROTOCOL_BPM
    slow = [
        track
        for track in tracks
        if not np.any((track.heart_rate_bpm < low_bpm) | (track.heart_rate_bpm > high_bpm))
    ]
    waves = {name: _whole_wave(method) for name, method in methods.items()}
    return physmamba.measure_videos(slow, waves)


def _whole_wave(method: PulseMethod) -> Callable[[FaceTrack], np.ndarray]:
    rate_hz = MeterSettings().rate_hz

    def wave(track: FaceTrack) -> np.ndarray:
        colours, thumbnails = (
            signals.resample(track.times_s, values, rate_hz).values
            for values in (track.colours, track.images())
        )
        return method.wave_of(FaceWindow(rate_hz, colours, thumbnails))

    return wave


# -- the report ----------------------------------------------------------------------------------


def rows(windows: Windows, videos: Measured) -> list[dict[str, Any]]:
    """Return all measures.

    Returns
    -------
    list of dict
        Rows of `radar_pose_ros.measurements`: ``windows``, ``told`` and ``videos``, then the
        method and the measure, and between them the scene or the skin's tone if it is of such
        windows only.
    """
    found = []
    for name, bpm in windows.bpm.items():
        found += _rows(f"windows.{name}", bpm, windows.true_bpm, windows.snr_db[name])
        told = windows.told_bpm[name]
        snr_db = np.where(np.isnan(told), np.nan, windows.snr_db[name])
        found += _rows(f"told.{name}", told, windows.true_bpm, snr_db)
    for attributes in (*_scenes(windows), *_values(windows, PERSON)):
        chosen = windows.chosen(attributes)
        part = ".".join(f"{name}_{value}" for name, value in attributes.items())
        for name in windows.bpm:
            for protocol, bpm in (
                ("windows", windows.bpm[name]),
                ("told", windows.told_bpm[name]),
            ):
                scores = heart_rate.scores(bpm[chosen], windows.true_bpm[chosen])
                found += [
                    _row(f"{protocol}.{name}.{part}.mae_bpm", scores.mae_bpm, "bpm", scores),
                    measurements.result(
                        f"{protocol}.{name}.{part}.coverage", scores.rates.coverage
                    ),
                ]
    for name, bpm in videos.estimated_bpm.items():
        found += _rows(f"videos.{name}", bpm, videos.true_bpm, videos.snr_db[name])
    return found


def _rows(
    name: str, bpm: np.ndarray, true_bpm: np.ndarray, snr_db: np.ndarray
) -> list[dict[str, Any]]:
    scores = heart_rate.scores(bpm, true_bpm, snr_db)
    snr = scores.snr_db
    return [
        _row(f"{name}.mae_bpm", scores.mae_bpm, "bpm", scores),
        _row(f"{name}.rmse_bpm", scores.rmse_bpm, "bpm", scores),
        _row(f"{name}.mape_percent", scores.mape_percent, "%", scores),
        _row(f"{name}.pearson", scores.pearson, "", scores),
        _row(f"{name}.snr_db", snr, "dB", scores),
        _row(
            f"{name}.snr_doubled_db", Measure(2 * snr.value, 2 * snr.standard_error), "dB", scores
        ),
        measurements.result(f"{name}.coverage", scores.rates.coverage),
    ]


def _row(name: str, measure: Measure, unit: str, scores: Scores) -> dict[str, Any]:
    compared = scores.rates.compared
    against = f"standard error {measure.standard_error:.2g}, {compared} heart rates"
    return measurements.result(name, measure.value, unit, against=against)


def lines(windows: Windows, videos: Measured) -> Iterator[str]:
    """Yield tables for people to read, in Markdown."""
    true_bpm = windows.true_bpm
    yield f"## {len(true_bpm)} windows of {MeterSettings().window_s:g} s: every rate\n"
    yield from _table(windows.bpm, true_bpm, windows.snr_db)
    yield "\n## The same: only rates that are told\n"
    snr_db = {
        name: np.where(np.isnan(windows.told_bpm[name]), np.nan, values)
        for name, values in windows.snr_db.items()
    }
    yield from _table(windows.told_bpm, true_bpm, snr_db)
    title = "mean absolute error of every rate, bpm; the share that is told, and its error"
    for heading, parts in (
        ("motion, light, compression", list(_scenes(windows))),
        ("skin tone", list(_values(windows, PERSON))),
    ):
        if parts:
            yield f"\n## By {heading}: {title}\n"
            yield from _part_table(windows, parts)
    yield f"\n## {len(videos.true_bpm)} whole videos, by the public protocol\n"
    yield from _table(videos.estimated_bpm, videos.true_bpm, videos.snr_db)


def _table(
    bpm: Mapping[str, np.ndarray], true_bpm: np.ndarray, snr_db: Mapping[str, np.ndarray]
) -> Iterator[str]:
    yield "| method | MAE, bpm | RMSE, bpm | MAE, % | r | SNR, dB | SNR doubled, dB | coverage |"
    yield "|---" * 8 + "|"
    for name, values in bpm.items():
        s = heart_rate.scores(values, true_bpm, snr_db[name])
        cells = [
            *(_said(measure, 1) for measure in (s.mae_bpm, s.rmse_bpm, s.mape_percent)),
            _said(s.pearson, 2),
            _said(s.snr_db, 1),
            f"{2 * s.snr_db.value:.1f}",
            f"{s.rates.coverage:.0%}",
        ]
        yield f"| {name} | " + " | ".join(cells) + " |"


def _said(measure: Measure, digits: int) -> str:
    if np.isnan(measure.value):
        return ""
    return f"{measure.value:.{digits}f} ± {measure.standard_error:.{digits}f}"


def _part_table(windows: Windows, parts: Sequence[Mapping[str, str]]) -> Iterator[str]:
    yield "| | windows | " + " | ".join(windows.bpm) + " |"
    yield "|---" * (2 + len(windows.bpm)) + "|"
    for attributes in parts:
        chosen = windows.chosen(attributes)
        true_bpm = windows.true_bpm[chosen]
        cells = []
        for name, bpm in windows.bpm.items():
            told = windows.told_bpm[name][chosen]
            share = heart_rate.count_rates(told, true_bpm).coverage
            cell = f"{heart_rate.mae(bpm[chosen], true_bpm).value:.1f}; {share:.0%}"
            if share > 0:
                cell += f", {heart_rate.mae(told, true_bpm).value:.1f}"
            cells.append(cell)
        named = ", ".join(attributes.values())
        yield f"| {named} | {chosen.sum()} | " + " | ".join(cells) + " |"


def _values(windows: Windows, name: str) -> Iterator[dict[str, str]]:
    """Yield each value of an attribute that a track has."""
    for value in sorted({t.attributes[name] for t in windows.tracks if name in t.attributes}):
        yield {name: value}


def _scenes(windows: Windows) -> Iterator[dict[str, str]]:
    """Yield all combinations of the scene's attributes that there are."""
    values = [found for name in SCENE if (found := list(_values(windows, name)))]
    for combination in product(*values):
        attributes = {name: value for part in combination for name, value in part.items()}
        if attributes and windows.chosen(attributes).any():
            yield attributes


def draw(windows: Windows, folder: Path) -> list[Path]:
    """Draw how well each method agrees with the truth, left every rate, right what is told.

    Returns
    -------
    list of Path
        ``<folder>/agreement_<method>.png``.

    Raises
    ------
    OSError
        If one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in windows.bpm:
        pictures = [
            pulse_drawing.bland_altman(bpm, windows.true_bpm, f"{name}, {what}")
            for what, bpm in (("every rate", windows.bpm[name]), ("told", windows.told_bpm[name]))
        ]
        path = folder / f"agreement_{name}.png"
        if not cv2.imwrite(str(path), np.concatenate(pictures, axis=1)[..., ::-1]):
            raise OSError(f"{path} cannot be written")
        paths.append(path)
    return paths


# -- the command line ----------------------------------------------------------------------------


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose evaluate physmamba``."""
    physmamba.add_evaluate_arguments(parser)
    parser.add_argument(
        "--method",
        action="append",
        choices=METHODS,
        help="may be given again (default: all of them)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="also draw how well rates agree")


def evaluate(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose evaluate physmamba``.

    Raises
    ------
    ValueError
        If there is nothing to measure on, or the weights are of another preset than was asked for.
    """
    torch.set_num_threads(arguments.threads)
    names = arguments.method or METHODS
    methods: dict[str, PulseMethod] = {
        name: ClassicalMethod(name) for name in names if name != NETWORK
    }
    preset = arguments.preset or "edge"
    if NETWORK in names:
        network, entry = weights.network(arguments.weights, "physmamba")
        recipes.announce(entry, arguments.preset)
        preset = entry["preset"]
        methods[NETWORK] = PulseNetwork(network.to(arguments.device))
    recipe = Recipe.load(arguments.recipe or RECIPES / f"{preset}.yaml")
    if recipe.preset != preset:
        raise RecipeError(f"{arguments.recipe} is for preset {recipe.preset}, not {preset}")
    sets = [(kind, Path(source)) for kind, source in arguments.data]
    test = physmamba.tracks_of(recipe, "test", arguments.tracks, sets, jobs=arguments.jobs)
    windows, videos = read_windows(test, methods), measure_videos(test, methods)
    if not np.isfinite(windows.true_bpm).any():
        raise ValueError(f"no track shows a known pulse for {MeterSettings().window_s:g} s")
    print(*lines(windows, videos), sep="\n")
    if arguments.out:
        print("written:", *draw(windows, arguments.out))
    if arguments.json:
        measurements.write_results(arguments.json, rows(windows, videos))
    return 0
