"""What lifted poses are worth where a radar network has estimated them: calibration and its proof.

::

    python -m radar_pose_ros.training.estimated_lifting --weights wrapper --cache out/estimated

The pose network estimates people that it was not trained on, as in `pose2d`; they are brought to
30 Hz as `pose_refiner` does it, lifted in windows, and placed as `pose_lifter` does it. What their
errors are beyond those of a detector (`lifting.EstimatedCalibration`) is fitted to people of the
validation split, and to some of the training split, whom only the refiner has learnt from; it is
proved on those of the test split, whose bodies and motions are others. ``--write`` puts it into
the weights' manifest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch

from radar_pose_ros import measurements
from radar_pose_ros.metrics.pose3d import relative_to_root
from radar_pose_ros.models import hypotheses, lifting, weights
from radar_pose_ros.models.diffhpe import Lifter
from radar_pose_ros.models.hypotheses import LEVEL, SpreadCalibration
from radar_pose_ros.models.lifting import Calibration, EstimatedCalibration
from radar_pose_ros.models.refiner import NetworkModel, Refiner, WindowModel
from radar_pose_ros.radar.heatmap import HeatmapConfig
from radar_pose_ros.radar.person_range import RADARS, AntennaFrame, strongest_return
from radar_pose_ros.skeleton import mapping, placement
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.skeleton.image import network_input
from radar_pose_ros.skeleton.placement import RIG_PLANE, Placement, PlaceSpread
from radar_pose_ros.skeleton.projection import IMAGE_SIZE_PX, to_camera
from radar_pose_ros.training import camera_windows, estimated_tracks, mixsynthformer
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.pose_tracks import Track

# The recipe whose people these are, and the refiner; the nodes' defaults beside them.
REFINER = "radar_2d"
BLEND = 2
STRIDE = 15
OF = "millimamba"
_EVERY = 3  # frame whose place is measured: they hardly differ from one to the next
_EVERY_WINDOW = 2  # is lifted, for the same reason
_STEPS = 40  # of a bisection


@dataclass(frozen=True)
class Lifted:
    """Somebody who was estimated and lifted.

    Attributes
    ----------
    times_s : ndarray, shape (frames,)
        In the movement.
    pixels : ndarray, shape (frames, 14, 2)
        Of HUPR14, refined.
    poses_m : ndarray, shape (hypotheses, frames, 17, 3)
        Relative to the hip, in the camera's axes.
    true_m : ndarray, shape (frames, 17, 3)
        In the camera's optical frame.
    frames : list of (float, AntennaFrame)
        What the radars saw, each with its time; empty where nobody asked for it.
    """

    times_s: np.ndarray
    pixels: np.ndarray
    poses_m: np.ndarray
    true_m: np.ndarray
    frames: list[tuple[float, AntennaFrame]]

    @property
    def errors_m(self) -> np.ndarray:
        """The truth less the mean of the hypotheses, relative to the hip, (frames, 17, 3)."""
        return relative_to_root(self.true_m) - hypotheses.average(self.poses_m)

    def places(self, spread: PlaceSpread, by_range: bool = False) -> list[Placement | None]:
        """Return where the image puts the person, or the radars, in every `_EVERY`-th frame."""
        measured = mapping.taken_over(HUPR14.name, H36M17.name)
        found = []
        for k in range(0, len(self.pixels), _EVERY):
            pixels = mapping.convert(self.pixels[k], HUPR14.name, H36M17.name)
            pixels[~measured] = np.nan
            pose_m = self.poses_m[:, k].mean(0)
            place = placement.place(pose_m, pixels, np.ones(17), RIG_PLANE, spread=spread)
            if place is not None and by_range:
                near = [(at_s - self.times_s[k], frame) for at_s, frame in self.frames]
                heard = strongest_return(near, place.root_m)
                if heard is not None and heard.clear:
                    place = placement.at_range(place, heard.range_m) or place
            found.append(place)
        return found


def refine(track: Track, model: WindowModel) -> tuple[np.ndarray, np.ndarray]:
    """Return a track's estimates at its full rate, and the place of each frame in it.

    Returns
    -------
    pixels : ndarray, shape (frames, 14, 2)
    numbers : ndarray of int, shape (frames,)
    """
    assert track.detected is not None
    refiner = Refiner(model, 14, 2, track.rate_hz, blend=min(BLEND, model.segments))
    seen = np.flatnonzero(np.isfinite(track.detected).any((1, 2)))
    parts = [refiner.push_many(seen / track.rate_hz, track.detected[seen]), refiner.flush()]
    numbers = np.concatenate([part.times_s for part in parts]) * track.rate_hz
    return np.concatenate([part.poses for part in parts]), np.rint(numbers).astype(int)


def lift(lifter: Lifter, pixels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Lift every second window, of each the frames in its middle.

    Parameters
    ----------
    lifter : Lifter
    pixels : ndarray, shape (frames, 14, 2)
    seed : int
        Of the noise.

    Returns
    -------
    poses_m : ndarray, shape (hypotheses, chosen frames, 17, 3)
    chosen : ndarray of int
        Which frames they are of.
    """
    length = lifter.config.frames
    first = np.arange(0, len(pixels) - length + 1, _EVERY_WINDOW * STRIDE)
    windows = mapping.convert(pixels, HUPR14.name, H36M17.name)[first[:, None] + range(length)]
    size_px = (IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    keypoints = torch.from_numpy(network_input(windows, size_px))
    generator = torch.Generator().manual_seed(seed)
    poses_m = camera_windows.lift(partial(lifter.lift, generator=generator), keypoints)
    middle = (length - STRIDE) // 2 + np.arange(STRIDE)
    chosen = first[:, None] + middle
    return poses_m[:, :, middle].reshape(len(poses_m), -1, *poses_m.shape[3:]), chosen.ravel()


def load(
    split: str,
    count: int,
    lifter: Lifter,
    cache: Path,
    *,
    ranges: bool = False,
    report: Callable[[str], None] = print,
) -> list[Lifted]:
    """Return the first people of a split, estimated, refined and lifted.

    Parameters
    ----------
    cache : Path
        See `estimated_tracks.load`.
    ranges : bool
        Simulate what the radars see, too.
    """
    data = mixsynthformer.Recipe.load(mixsynthformer.RECIPES / f"{REFINER}.yaml").data
    about: dict[str, Any] = {"seconds": data.seconds, "seed": data.seed}
    tracks = estimated_tracks.load(
        cache, split, count, rate_hz=data.rate_hz, network=data.estimated_by, **about
    )
    _, entry = weights.load(data.estimated_by, "millimamba")
    heatmap = HeatmapConfig(**entry["heatmap"])
    network, _ = weights.network(REFINER, "mixsynthformer")
    people = []
    for number, track in enumerate(tracks):
        clip = estimated_tracks.movement(split, number, **about)
        every = round(data.rate_hz / clip.rate_hz)
        times_s = estimated_tracks.times_s(clip, every, entry["config"]["frames"] // 2)
        pixels, numbers = refine(track, NetworkModel(network))
        poses_m, chosen = lift(lifter, pixels, number)
        at_s = times_s[numbers[chosen]]
        true_m = mapping.convert(to_camera(clip.joints_at(at_s)), HUPR14.name, H36M17.name)
        frames = []
        if ranges:
            cube = estimated_tracks.seen_by_radars(clip, heatmap, split, number, data.seed)
            frames = antenna_frames(cube, clip.times_s, heatmap)
        people.append(Lifted(at_s, pixels[chosen], poses_m, true_m, frames))
        report(f"{split}: {number + 1} of {count} lifted")
    return people


def antenna_frames(
    cube: np.ndarray, times_s: np.ndarray, heatmap: HeatmapConfig
) -> list[tuple[float, AntennaFrame]]:
    """Return what `simulated.simulate_recording` gave, frame by frame, each with its time."""
    step_m = estimated_tracks.load_radar().waveform.range_resolution_m
    parts = cube.astype(np.float32)
    values = parts[..., 0] + 1j * parts[..., 1]  # (frames, radars, antennas, doppler, range)
    return [
        (
            float(at_s),
            AntennaFrame.of_antennas(radar, of_radar, heatmap.range_first * step_m, step_m),
        )
        for at_s, of_frame in zip(times_s, values, strict=True)
        for radar, of_radar in zip(RADARS, of_frame, strict=True)
    ]


def calibrate(people: Sequence[Lifted], spread: SpreadCalibration) -> EstimatedCalibration:
    """Fit what comes on top of the errors that a detector's poses have.

    Of each joint and axis the mean square of the errors, times the factor with which the ellipsoid
    holds the share `LEVEL` of the errors of all people; of the place likewise, along the line of
    sight and across it.
    """
    errors_m = np.concatenate([person.errors_m for person in people])
    known = spread.covariance(np.concatenate([person.poses_m for person in people], axis=1))
    square = np.square(errors_m).mean(0)
    added = np.zeros_like(square)
    for joint in set(range(len(square))) - {H36M17.root}:
        of_joint = np.diag(square[joint])
        factor = _smallest(
            partial(_with, errors_m[:, joint], known[:, joint], of_joint),
            spread.level,
        )
        added[joint] = np.sqrt(factor * square[joint])
    sideways, depth = _place_spread(people, spread.level)
    return EstimatedCalibration(OF, added.tolist(), sideways, depth)


def _with(errors: np.ndarray, known: np.ndarray, added: np.ndarray, factor: float) -> np.ndarray:
    return hypotheses.squared_distance(errors, known + factor * added)


def _smallest(squared: Callable[[float], np.ndarray], level: float) -> float:
    """Return the smallest factor, up to 100, with which the ellipsoid holds the share."""
    low, high = 0.0, 100.0
    limit = scipy.stats.chi2.ppf(level, 3)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if (squared(middle) <= limit).mean() < level:
            low = middle
        else:
            high = middle
    return high


def _place_spread(people: Sequence[Lifted], level: float) -> tuple[float, float]:
    """Return the spread of places, across and along the line of sight, relative."""
    errors, noise, lines = [], [], []
    for person in people:
        roots = person.true_m[::_EVERY, H36M17.root]
        for root, found in zip(roots, person.places(PlaceSpread(0.0, 0.0)), strict=True):
            if found is not None:
                errors.append(root - found.root_m)
                noise.append(found.covariance_m2)
                lines.append(found.root_m)
    error, line = np.array(errors), np.array(lines)
    distance = np.linalg.norm(line, axis=1)
    towards = line / distance[:, None]
    along = (error * towards).sum(1)
    across = error - along[:, None] * towards
    sideways = float(np.square(across / distance[:, None]).sum(1).mean() / 2)
    depth = float(np.square(along / distance).mean())
    outer = towards[:, :, None] * towards[:, None]
    added = np.square(distance)[:, None, None] * (sideways * (np.eye(3) - outer) + depth * outer)
    factor = _smallest(partial(_with, error, np.array(noise), added), level)
    return float(np.sqrt(factor * sideways)), float(np.sqrt(factor * depth))


def rows(people: Sequence[Lifted], calibrations: dict[str, Calibration]) -> list[dict[str, Any]]:
    """Return how far people are off, and the share of the truth in the ellipsoids, by name.

    ``relative`` is of joints relative to the hip, the hip left out; ``placed`` of joints and
    ``root`` of hips where the image puts them, ``range_placed`` and ``range_root`` where the
    radars do.
    """
    row = measurements.result
    errors = [1e3 * np.linalg.norm(person.errors_m, axis=-1) for person in people]
    found = [row("test.mpjpe_mm", float(np.concatenate(errors).mean()), "mm")]
    for by_range in (False, True):
        if by_range and not all(person.frames for person in people):
            break
        name = "range" if by_range else "reprojection"
        found += _place_rows(f"test.{name}", people, by_range)
    for name, calibration in calibrations.items():
        inside = [
            _inside(person.errors_m, calibration.covariance(person.poses_m))[:, 1:].mean()
            for person in people
        ]
        found.append(row(f"test.{name}.relative", float(np.mean(inside))))
        for by_range in (False, True) if all(person.frames for person in people) else (False,):
            prefix = "range_" if by_range else ""
            shares = [_share_placed(person, calibration, by_range) for person in people]
            for what, share in zip(("placed", "root"), np.mean(shares, axis=0), strict=True):
                found.append(row(f"test.{name}.{prefix}{what}", float(share)))
    return found


def _place_rows(name: str, people: Sequence[Lifted], by_range: bool) -> list[dict[str, Any]]:
    """Return medians of how far hips are off: in all, along the line of sight and across it."""
    off: dict[str, list[float]] = {"place": [], "depth": [], "sideways": []}
    for person in people:
        roots = person.true_m[::_EVERY, H36M17.root]
        found = person.places(placement.BY_SIZE, by_range)
        for root, place in zip(roots, found, strict=True):
            if place is not None:
                towards = root / np.linalg.norm(root)
                error = place.root_m - root
                along = float(error @ towards)
                off["place"].append(float(np.linalg.norm(error)))
                off["depth"].append(abs(along))
                off["sideways"].append(float(np.linalg.norm(error - along * towards)))
    return [
        measurements.result(f"{name}.{part}_mm", 1e3 * float(np.median(values)), "mm")
        for part, values in off.items()
    ]


def _share_placed(person: Lifted, calibration: Calibration, by_range: bool) -> tuple[float, float]:
    """Return the share of joints, and of hips, inside the ellipsoid of a placed person."""
    covariance = calibration.covariance(person.poses_m)[::_EVERY]
    mean, true_m = person.poses_m.mean(0)[::_EVERY], person.true_m[::_EVERY]
    inside = [
        _inside(true_m[k] - mean[k] - place.root_m, covariance[k] + place.covariance_m2)
        for k, place in enumerate(person.places(calibration.place, by_range))
        if place is not None
    ]
    return float(np.mean(inside)), float(np.mean([of_frame[H36M17.root] for of_frame in inside]))


def _inside(errors_m: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    limit = scipy.stats.chi2.ppf(LEVEL, 3)
    return hypotheses.squared_distance(errors_m, covariances) <= limit


def write(calibration: EstimatedCalibration, entry: dict[str, Any]) -> None:
    """Put a calibration into the manifest's entry of weights that `weights.load` has found."""
    path = Path(entry["directory"]) / weights.MANIFEST
    entries = weights.read_manifest(path.parent)
    for other in entries:
        if other["file"] == entry["file"]:
            other["estimated_spread"] = calibration.as_dict()
    path.write_text(json.dumps({"weights": entries}, indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, prove, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", default="wrapper", help="DiffHPE: a preset or a file")
    parser.add_argument(
        "--cache", type=Path, default=Path("out/estimated"), help="keeps the estimated people"
    )
    parser.add_argument("--validation", type=recipes.count, default=8, help="people to fit to")
    parser.add_argument("--train", type=recipes.count, default=16, help="others, likewise")
    parser.add_argument("--test", type=recipes.count, default=16, help="people to prove it on")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    parser.add_argument("--write", action="store_true", help="put it into the weights' manifest")
    recipes.add_threads_argument(parser)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    network, entry = weights.network(given.weights, "diffhpe")
    spread = SpreadCalibration.of_weights(entry["spread"])
    lifter = Lifter(network, *lifting.sampling(entry))
    fitted_to = [
        *load("validation", given.validation, lifter, given.cache),
        *load("train", given.train, lifter, given.cache),
    ]
    calibration = calibrate(fitted_to, spread)
    people = load("test", given.test, lifter, given.cache, ranges=True)
    results = rows(
        people, {"as_a_detector": Calibration(spread), "estimated": calibration.on(spread)}
    )
    print(json.dumps(calibration.as_dict()))
    print(measurements.table(results))
    if given.json:
        measurements.write_results(given.json, results)
    if given.write:
        write(calibration, entry)
    return 0


if __name__ == "__main__":
    sys.exit(main())
