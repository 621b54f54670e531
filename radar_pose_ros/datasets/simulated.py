"""Simulated recordings of one moving person before two radars, for training and evaluation.

A data set is a folder per split and, in it, a folder per recording::

    train/00017/range_doppler.npy   float16 (frames, 2 radars, antennas, Doppler, range, 2 parts)
    train/00017/keypoints_px.npy    float32 (frames, 14, 2), in the rig camera's image
    train/00017/joints_m.npy        float32 (frames, 14, 3), in the rig's frame
    train/00017/recording.json      seed, body, motions, settings of radar and heatmap

Stored is the cube before the angle transform: with 12 antennas instead of 64 angle bins it takes a
fifth of the space, and the transform is one small matrix product. Each cube is divided by its own
root mean square so that 16 bits suffice; the network's normalisation removes that scale anyway.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros import documents
from radar_pose_ros.datasets.recordings import Recording, load_array
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor
from radar_pose_ros.simulation.body import SPLITS, MotionClip, random_sequence
from radar_pose_ros.simulation.radar import RadarSimulator, StaticScene, default_placements
from radar_pose_ros.skeleton.projection import project

# Recordings of different splits never share a random stream.
_SPLIT_STREAM = {split: stream for stream, split in enumerate(SPLITS)}


def load_recording(path: Path) -> Recording:
    """Open a recording's folder; ``ValueError`` if it is damaged, or its parts do not match."""
    try:
        details = documents.read_json(path / "recording.json")
        motions = tuple(details.pop("motions"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path / 'recording.json'} is damaged, remove the folder: {error}"
        ) from error
    recording = Recording(
        path=path,
        range_doppler=load_array(path / "range_doppler.npy"),
        keypoints_px=np.array(load_array(path / "keypoints_px.npy")),
        joints_m=np.array(load_array(path / "joints_m.npy")),
        motions=motions,
        details=details,
    )
    lengths = {
        len(recording.range_doppler),
        len(recording.keypoints_px),
        len(recording.joints_m),
        len(recording.motions),
    }
    if len(lengths) != 1:
        raise ValueError(f"{path}: parts of different lengths, {sorted(lengths)} frames")
    return recording


def simulate_recording(
    clip: MotionClip, radar: RadarConfig, heatmap: HeatmapConfig, seed: int
) -> np.ndarray:
    """Simulate what both radars see of a clip in a room of its own, up to the angle transform.

    Returns
    -------
    ndarray of float16, shape (frames, 2, antennas, doppler, range, 2)
        Horizontal radar first; real and imaginary part; root mean square 1 per frame and radar.
    """
    processor = HeatmapProcessor(radar, heatmap)
    room = StaticScene.room(seed)
    views = []
    for number, placement in enumerate(default_placements()):
        simulator = RadarSimulator(radar, placement, scene=room, seed=2 * seed + number)
        cubes = (simulator.range_doppler(clip, start_s, processor) for start_s in clip.times_s)
        views.append(np.stack([_to_half(cube) for cube in cubes]))
    return np.stack(views, axis=1)


def _to_half(cube: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.mean(cube.real**2 + cube.imag**2))
    scaled = cube / scale if scale > 0 else cube
    return np.stack([scaled.real, scaled.imag], axis=-1).astype(np.float16)


def write_recording(
    path: Path, clip: MotionClip, radar: RadarConfig, heatmap: HeatmapConfig, seed: int, split: str
) -> None:
    """Simulate a clip and store it under ``path``; the last file written makes it complete."""
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / "range_doppler.npy", simulate_recording(clip, radar, heatmap, seed))
    np.save(path / "keypoints_px.npy", project(clip.joints_m).astype(np.float32))
    np.save(path / "joints_m.npy", clip.joints_m.astype(np.float32))
    details = {
        **_settings(radar, heatmap, seed, split),
        "body": asdict(clip.shape),
        "motions": list(clip.motions),
    }
    partial = path / "recording.json.part"
    partial.write_text(json.dumps(details, indent=1))
    partial.replace(path / "recording.json")


def _settings(radar: RadarConfig, heatmap: HeatmapConfig, seed: int, split: str) -> dict[str, Any]:
    return {
        "split": split,
        "seed": seed,
        "rate_hz": radar.waveform.frame_rate_hz,
        "radar": {"device": radar.device, "waveform": asdict(radar.waveform)},
        "heatmap": asdict(heatmap),
    }


def _check_stored(path: Path, clip: MotionClip, wanted: dict[str, Any]) -> None:
    """Raise `ValueError` if a stored recording is not of this clip and these settings."""
    cure = "name another folder, or remove this one"
    recording = load_recording(path)
    stored = recording.details
    # The number of angle bins is chosen when a recording is read.
    stored["heatmap"]["angle_bins"] = wanted["heatmap"]["angle_bins"]
    for name, value in wanted.items():
        if stored[name] != value:
            raise ValueError(
                f"{path} was simulated with {name} = {stored[name]}, not {value}: {cure}"
            )
    joints_m = recording.joints_m
    if joints_m.shape != clip.joints_m.shape or np.abs(joints_m - clip.joints_m).max() > 1e-3:
        raise ValueError(
            f"{path} holds another movement, of another length or simulated by another version "
            f"of this package: {cure}"
        )


def _write_numbered(
    number: int,
    root: Path,
    split: str,
    seconds: float,
    seed: int,
    radar: RadarConfig,
    heatmap: HeatmapConfig,
) -> None:
    path = root / split / f"{number:05d}"
    stream = np.random.SeedSequence([seed, _SPLIT_STREAM[split], number])
    recording_seed = int(stream.generate_state(1)[0])
    clip = random_sequence(
        np.random.default_rng(stream), seconds, radar.waveform.frame_rate_hz, split
    )
    if (path / "recording.json").exists():
        _check_stored(path, clip, _settings(radar, heatmap, recording_seed, split))
        return
    write_recording(path, clip, radar, heatmap, recording_seed, split)


def generate(
    root: Path,
    counts: dict[str, int],
    radar: RadarConfig,
    heatmap: HeatmapConfig,
    *,
    seconds: float = 30.0,
    seed: int = 0,
    processes: int = 1,
) -> Iterator[str]:
    """Write a data set; recordings that are already there are kept, if they are the same.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    counts : dict of str to int
        Recordings per split, for instance ``{"train": 100, "validation": 10, "test": 20}``.
    seconds : float
        Length of each recording.
    seed : int
        The same seed gives the same data set, whatever the number of processes.
    processes : int
        Recordings simulated at the same time.

    Yields
    ------
    str
        One line of progress per recording.

    Raises
    ------
    ValueError
        If there is no such split, or a recording that is there was simulated with other settings.
    """
    for split in counts:
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, there are {', '.join(SPLITS)}")
    for split, count in counts.items():
        write = partial(
            _write_numbered,
            root=root,
            split=split,
            seconds=seconds,
            seed=seed,
            radar=radar,
            heatmap=heatmap,
        )
        if processes == 1:
            for number in range(count):
                write(number)
                yield f"{split}: {number + 1} of {count}"
            continue
        with _pool(processes) as pool:
            for done, _ in enumerate(pool.imap_unordered(write, range(count)), start=1):
                yield f"{split}: {done} of {count}"


def is_simulated(root: Path) -> bool:
    """Return whether a folder is empty or holds, in part at least, what `generate` writes."""
    begun = any(any(root.glob(f"{split}/[0-9][0-9][0-9][0-9][0-9]")) for split in SPLITS)
    return begun or (root.is_dir() and not any(root.iterdir()))


def _pool(processes: int) -> Pool:
    """Return a pool of processes that compute with one thread each.

    With a thread per core in each of them, simulating takes three times as long.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update(dict.fromkeys(names, "1"))  # read when a process imports numpy
    try:
        # spawn, not fork: OpenMP's threads do not survive a fork
        return multiprocessing.get_context("spawn").Pool(processes)
    finally:
        for name in names:
            del os.environ[name]
        os.environ.update(before)


def load_split(root: Path, split: str) -> list[Recording]:
    """Open every complete recording of a split, in order.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    folders = sorted(path.parent for path in (root / split).glob("*/recording.json"))
    if not folders:
        raise FileNotFoundError(
            f"{root / split} holds no recordings; `radar-pose train millimamba --data {root}` "
            "simulates what is missing"
        )
    return [load_recording(folder) for folder in folders]
