"""Simulated people in HuPR's files, to try everything that reads HuPR without having it.

A folder then holds what HuPR's archives and its script leave, for the first recordings of each
official split::

    raw_data/iwr1843/HuPR/single_<k>/{hori,vert}/adc_data.bin
    data/HuPR/single_<k>/{hori,vert}/000000123.npy               on request
    annotations/hrnet_annot_{train,val,test}.json

Annotations have an entry for every recording of the split; those that are not there are empty.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from radar_pose_ros import resources
from radar_pose_ros.datasets.hupr import ANNOTATIONS, LAYOUT_FILE, RADARS, Layout
from radar_pose_ros.datasets.hupr_files import SampleWriter, annotate, raw_folder
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.heatmap import four_dimensional
from radar_pose_ros.simulation.body import MotionClip
from radar_pose_ros.simulation.radar import RadarSimulator, StaticScene, default_placements
from radar_pose_ros.simulation.recordings import make_clip
from radar_pose_ros.skeleton.projection import project


def write(
    root: Path,
    counts: Mapping[str, int],
    *,
    seconds: float = 60.0,
    seed: int = 0,
    layout: str = "hupr",
    raw: bool = True,
    preprocessed: bool = False,
) -> Iterator[str]:
    """Simulate a data set in HuPR's files; bodies and motions of the splits differ.

    Parameters
    ----------
    root : Path
        Is made if needed.
    counts : mapping of str to int
        How many recordings of each split: the first of its official numbers.
    seconds : float
        Length of each; HuPR's have 60 s.
    seed : int
        The same seed gives the same files.
    layout : {"hupr", "transhupr"}
        Which of ``config/`` describes the files; what is not HuPR's is copied to the root.
    raw, preprocessed : bool
        Which files to write: raw samples (8 MB per radar and second), HuPR's heatmaps (84 MB).

    Yields
    ------
    str
        One line per recording.

    Raises
    ------
    FileExistsError
        If a recording is there already.
    ValueError
        If there is no such split, or it has fewer recordings.
    """
    root.mkdir(parents=True, exist_ok=True)
    if layout != "hupr" and not (root / LAYOUT_FILE).exists():
        shutil.copyfile(resources.find("config", f"{layout}.yaml"), root / LAYOUT_FILE)
    files = Layout.of(root)
    for split, count in counts.items():
        if split not in ANNOTATIONS:
            raise ValueError(f"unknown split {split!r}, there are {', '.join(ANNOTATIONS)}")
        if count > len(files.splits[split]):
            raise ValueError(
                f"the split {split} of {files.name} has {len(files.splits[split])} recordings, "
                f"not {count}"
            )
    for split, count in counts.items():
        numbers = files.splits[split]
        for number in numbers[:count]:
            # A recording has one number in all splits, hence its own random stream.
            stream = np.random.SeedSequence([seed, number])
            clip_seed, room_seed = map(int, stream.generate_state(2))
            clip = make_clip(files.radar, seconds, clip_seed, split)
            name = f"single_{number}"
            if raw:
                _write_raw(raw_folder(root, number), clip, files.radar, room_seed)
            if preprocessed:
                folder = root / "data" / "HuPR" / name
                _write_heatmaps(folder, clip, files.radar, room_seed)
            frames = range(len(clip.times_s))
            annotate(root, split, numbers, number, frames, project(clip.joints_m))
            yield f"{split}: {name}, {len(clip.times_s)} frames"


def _frames(
    clip: MotionClip, config: RadarConfig, seed: int, radar: int
) -> Iterator[tuple[int, np.ndarray]]:
    simulator = RadarSimulator(
        config, default_placements()[radar], scene=StaticScene.room(seed), seed=2 * seed + radar
    )
    return enumerate(simulator.frames(clip))


def _write_raw(folder: Path, clip: MotionClip, config: RadarConfig, seed: int) -> None:
    with SampleWriter(folder) as writer:
        both = (_frames(clip, config, seed, radar) for radar in range(len(RADARS)))
        for (_, horizontal), (_, vertical) in zip(*both, strict=True):
            writer.add((horizontal, vertical))


def _write_heatmaps(folder: Path, clip: MotionClip, config: RadarConfig, seed: int) -> None:
    folder.mkdir(parents=True)
    for radar, name in enumerate(RADARS):
        (folder / name).mkdir()
        for frame, adc in _frames(clip, config, seed, radar):
            heatmap = four_dimensional(adc, config).astype(np.complex128)
            np.save(folder / name / f"{frame:09d}.npy", heatmap)
