"""What the pose node says of people it has never seen, beside the truth.

For the networks that refine its poses. Its errors are not those of a detector in images: they
hardly jitter, last for a second, and follow the movement. So people are simulated before both
radars, others than the pose network was trained on, and the trained network estimates them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros import resources
from radar_pose_ros.datasets.recordings import Recording
from radar_pose_ros.datasets.simulated import simulate_recording
from radar_pose_ros.models import weights
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.heatmap import HeatmapConfig
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.simulation.body import SPLITS, random_sequence
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import project
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
        If the rate is none of those, or ``root`` holds people of another seed, length, rate or
        network.
    """
    radar = load_cfg(resources.find("config", RADAR))
    every = rate_hz / radar.waveform.frame_rate_hz
    if every != round(every) or every < 1:
        raise ValueError(
            f"data: rate_hz {rate_hz} is no multiple of the radars' "
            f"{radar.waveform.frame_rate_hz:g}"
        )
    _, entry = weights.load(network, "millimamba")
    made_with = f"seed {seed}, {seconds:g} s, {rate_hz:g} Hz, {entry['sha256'][:16]}"
    tracks = []
    for number in range(count):
        path = root / split / f"{number:05d}.npz"
        if not path.exists():
            made = _make(split, number, seconds, round(every), seed, radar, network)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part.npz")
            np.savez(part, made_with=made_with, **made)
            part.replace(path)
            report(f"{split}: {number + 1} of {count}")
        with np.load(path) as stored:
            if str(stored["made_with"]) != made_with:
                raise ValueError(
                    f"{path} was made with {stored['made_with']}, not {made_with}: name another "
                    "folder, or remove this one"
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


def _make(
    split: str,
    number: int,
    seconds: float,
    every: int,
    seed: int,
    radar: RadarConfig,
    network: str,
) -> dict[str, Any]:
    """Simulate one person before both radars, and let the network estimate."""
    stream = np.random.SeedSequence([_STREAM, seed, SPLITS.index(split), number])
    room = int(stream.generate_state(1)[0])
    rate_hz = radar.waveform.frame_rate_hz
    clip = random_sequence(np.random.default_rng(stream), seconds, rate_hz, split)
    model, entry = weights.network(network, "millimamba")
    heatmap = HeatmapConfig(**entry["heatmap"])
    recording = Recording(
        Path(),
        simulate_recording(clip, radar, heatmap, room),
        project(clip.joints_m).astype(np.float32),
        clip.joints_m.astype(np.float32),
        clip.motions,
    )
    ((estimates, _),) = estimate_recording(model, recording)
    first = model.config.frames // 2
    times_s = clip.times_s[first] + np.arange((len(estimates) - 1) * every + 1) / (every * rate_hz)
    truth = project(clip.joints_at(times_s)).astype(np.float32)
    detected = np.full_like(truth, np.nan)
    detected[::every] = estimates
    return {"truth": truth, "detected": detected}
