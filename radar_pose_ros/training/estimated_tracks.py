"""What the pose node says of people it has never seen, beside the truth.

For the networks that refine its poses. Its errors are not those of a detector in images: they
hardly jitter, last for a second, and follow the movement. So people are simulated before both
radars, others than the pose network was trained on, and the trained network estimates them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from radar_pose_ros import resources
from radar_pose_ros.datasets.recordings import Recording
from radar_pose_ros.datasets.simulated import simulate_recording
from radar_pose_ros.models import weights
from radar_pose_ros.models.millimamba import MilliMamba
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.heatmap import HeatmapConfig
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.simulation.body import SPLITS, MotionClip, random_sequence
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import project
from radar_pose_ros.training import recipe
from radar_pose_ros.training.millimamba_evaluation import estimate_recording
from radar_pose_ros.training.pose_tracks import Track

RADAR = "iwr1843.cfg"
# Keeps these people apart from those of other data sets.
_STREAM = 0x65737469


def load(
    root: Path,
    split: str,
    count: int,
    *,
    seconds: float,
    rate_hz: float,
    seed: int,
    network: str = "edge",
    report: Callable[[str], None] = print,
) -> list[Track]:
    """Return the first ``count`` people of a split; those that ``root`` does not hold are made.

    Parameters
    ----------
    root : Path
        Folder that keeps them, ``<split>/<number>.npz``.
    split : {"train", "validation", "test"}
    seconds : float
        Length of a movement; a few frames at both ends have no estimate.
    rate_hz : float
        Of the truth, a multiple of the radars' frame rate.
    seed : int
    network : str
        Weights of milliMamba, see `weights.load`.

    Returns
    -------
    list of Track
        In pixels of the rig's image. ``detected`` is NaN in frames between the radars'.

    Raises
    ------
    ValueError
        If the rate is none of those, movements are shorter than the network's window, or ``root``
        holds people of another seed, length, rate or network.
    """
    radar = load_radar()
    every = round(rate_hz / radar.waveform.frame_rate_hz)
    if every < 1 or every * radar.waveform.frame_rate_hz != rate_hz:
        raise ValueError(
            f"data: rate_hz {rate_hz} is no multiple of the radars' "
            f"{radar.waveform.frame_rate_hz:g}"
        )
    model, entry = weights.network(network, "millimamba")
    recipe.require_length(seconds, radar.waveform.frame_rate_hz, model.config.frames)
    first = model.config.frames // 2
    made_with = f"seed {seed}, {seconds:g} s, {rate_hz:g} Hz, {entry['sha256'][:16]}"
    tracks = []
    for number in range(count):
        path = root / split / f"{number:05d}.npz"
        if not path.exists():
            clip = movement(split, number, seconds=seconds, seed=seed)
            cube = seen_by_radars(clip, HeatmapConfig(**entry["heatmap"]), split, number, seed)
            truth = _truth(clip, every, first)
            detected = np.full_like(truth, np.nan)
            detected[::every] = _estimates(clip, cube, model)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part.npz")
            np.savez(part, made_with=made_with, truth=truth, detected=detected)
            part.replace(path)
            report(f"{split}: {number + 1} of {count}")
        with np.load(path) as stored:
            cure = "name another folder, or remove this one"
            if str(stored["made_with"]) != made_with:
                raise ValueError(
                    f"{path} was made with {stored['made_with']}, not {made_with}: {cure}"
                )
            now = _truth(movement(split, number, seconds=seconds, seed=seed), every, first)
            if stored["truth"].shape != now.shape or np.abs(stored["truth"] - now).max() > 0.1:
                raise ValueError(
                    f"{path} holds a movement of another version of this package: {cure}"
                )
            tracks.append(
                Track(
                    f"{split}_{number:05d}",
                    f"estimated_{seed}_{split}_{number:05d}",
                    rate_hz,
                    HUPR14.name,
                    stored["truth"],
                    stored["detected"],
                    licence="Apache-2.0: simulated by this package",
                )
            )
    return tracks


def _stream(split: str, number: int, seed: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([_STREAM, seed, SPLITS.index(split), number])


def load_radar() -> RadarConfig:
    """Return the radar that both of the rig's are."""
    return load_cfg(resources.find("config", RADAR))


def movement(split: str, number: int, *, seconds: float, seed: int) -> MotionClip:
    """Return how somebody moves, at the radars' frames; arguments as for `load`."""
    rng = np.random.default_rng(_stream(split, number, seed))
    return random_sequence(rng, seconds, load_radar().waveform.frame_rate_hz, split)


def seen_by_radars(
    clip: MotionClip, heatmap: HeatmapConfig, split: str, number: int, seed: int
) -> np.ndarray:
    """Simulate what both radars see of somebody, in a room of their own.

    Returns
    -------
    ndarray
        As `simulate_recording` has it.
    """
    room = int(_stream(split, number, seed).generate_state(1)[0])
    return simulate_recording(clip, load_radar(), heatmap, room)


def times_s(clip: MotionClip, every: int, first: int) -> np.ndarray:
    """Return the instants of a track, ``every`` frames per radar frame, without both ends."""
    frames = len(clip.times_s) - 2 * first
    steps = np.arange((frames - 1) * every + 1) / (every * clip.rate_hz)
    return clip.times_s[first] + steps


def _truth(clip: MotionClip, every: int, first: int) -> np.ndarray:
    return project(clip.joints_at(times_s(clip, every, first))).astype(np.float32)


def _estimates(clip: MotionClip, range_doppler: np.ndarray, model: MilliMamba) -> np.ndarray:
    """Return what the network says of all radar frames but the first and last few."""
    recording = Recording(
        Path(),
        range_doppler,
        project(clip.joints_m).astype(np.float32),
        clip.joints_m.astype(np.float32),
        clip.motions,
    )
    return estimate_recording(model, recording)[0][0]
