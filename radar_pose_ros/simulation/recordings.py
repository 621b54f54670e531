"""Recordings of a simulated person, in the files that a capture card and a labeller would leave.

One folder per recording::

    radar_h.bin, radar_v.bin   raw samples as the DCA1000 sends them: int16, two LVDS lanes, frame
                               after frame, no headers
    truth.npz                  times_s (frames,), joints_m (frames, 14, 3) in the rig's frame,
                               keypoints_px (frames, 14, 2) in the rig camera's image,
                               motions (frames,) names
    recording.json             radar configuration, where the radars stand, body, seed

Frame k of the ``.bin`` files begins at ``times_s[k]``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.simulation.body import BodyShape, MotionClip, generate, random_sequence
from radar_pose_ros.simulation.radar import RadarPlacement, RadarSimulator, default_placements
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import project

RADARS = ("radar_h", "radar_v")
RANDOM_MOTION = "random"


def make_clip(
    config: RadarConfig, seconds: float, seed: int, split: str, motion: str = RANDOM_MOTION
) -> MotionClip:
    """Return one person's movement, sampled at the radar's frame rate; see `make_movement`."""
    return make_movement(config.waveform.frame_rate_hz, seconds, seed, split, motion)


def make_movement(
    rate_hz: float, seconds: float, seed: int, split: str, motion: str = RANDOM_MOTION
) -> MotionClip:
    """Return one person's movement.

    Parameters
    ----------
    rate_hz, seconds : float
        How often it is sampled, and how long it is.
    seed : int
        The same seed gives the same movement.
    split : str
        Which range of bodies and motions: "train", "validation" or "test".
    motion : str
        One motion's name, or "random" for several in a row.

    Raises
    ------
    ValueError
        If split or motion are not known, or rate or length are not positive.
    """
    rng = np.random.default_rng(seed)
    if motion == RANDOM_MOTION:
        return random_sequence(rng, seconds, rate_hz, split)
    return generate(motion, BodyShape.sample(rng, split), seconds, rate_hz, rng)


def write_recording(
    folder: Path,
    clip: MotionClip,
    config: RadarConfig,
    seed: int,
    details: dict[str, Any],
    placements: tuple[RadarPlacement, ...] | None = None,
) -> int:
    """Simulate what both radars see of a clip, and write it.

    Parameters
    ----------
    folder : Path
        Is made; must not exist.
    clip : MotionClip
    config : RadarConfig
        Of both radars.
    seed : int
        Of their noise.
    details : dict
        Further entries of ``recording.json``.
    placements : tuple of RadarPlacement, optional
        Where the radars stand; default `default_placements`.

    Returns
    -------
    int
        Frames written per radar.

    Raises
    ------
    FileExistsError
        If the folder exists.
    """
    folder.mkdir(parents=True)
    where = tuple(default_placements()) if placements is None else placements
    for number, (name, placement) in enumerate(zip(RADARS, where, strict=True)):
        simulator = RadarSimulator(config, placement, seed=2 * seed + number)
        with (folder / f"{name}.bin").open("wb") as stream:
            for adc in simulator.frames(clip):
                stream.write(np.ascontiguousarray(adc, "<i2").tobytes())
    frames = len(clip.times_s)
    np.savez_compressed(
        folder / "truth.npz",
        times_s=clip.times_s,
        joints_m=clip.joints_m,
        keypoints_px=project(clip.joints_m),
        motions=np.array(clip.motions),
    )
    content = {
        "frames": frames,
        "adc_shape": list(config.adc_shape),
        "bytes_per_frame": config.bytes_per_frame,
        "iq_order": config.iq_order,
        "device": config.device,
        "tx_order": list(config.tx_order),
        "rx_antennas": list(config.rx_antennas),
        "waveform": asdict(config.waveform),
        "commands": list(config.commands),
        "placements": dict(zip(RADARS, map(asdict, where), strict=True)),
        "skeleton": HUPR14.name,
        "joints": list(HUPR14.joints),
        "body": asdict(clip.shape),
        "seed": seed,
        **details,
    }
    text = json.dumps(content, indent=2, default=_plain)
    (folder / "recording.json").write_text(text + "\n", encoding="utf-8")
    return frames


def _plain(value: Any) -> Any:
    """Return a numpy value as what JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def write_recordings(
    root: Path,
    config: RadarConfig,
    *,
    count: int,
    seconds: float,
    seed: int,
    split: str,
    motion: str = RANDOM_MOTION,
    report: Callable[[str], None] = print,
) -> tuple[int, float]:
    """Write several recordings to ``root/00000``, ``root/00001`` and so on.

    Parameters
    ----------
    root : Path
        Is made if needed; a recording that is there already is an error.
    config : RadarConfig
    count : int
        Recordings; the k-th has the seed ``seed + k``.
    seconds : float
        Length of each.
    seed : int
    split, motion : str
        See `make_clip`.
    report : callable
        Gets one line per recording.

    Returns
    -------
    frames : int
        Frames written per radar, over all recordings.
    seconds : float
        Time it took.

    Raises
    ------
    FileExistsError
        If one of the folders exists.
    """
    begin_s = time.monotonic()
    frames = 0
    for number in range(count):
        clip = make_clip(config, seconds, seed + number, split, motion)
        folder = root / f"{number:05d}"
        written = write_recording(
            folder, clip, config, seed + number, {"split": split, "motion": motion}
        )
        frames += written
        report(
            f"{folder}: {written} frames of two radars, {', '.join(dict.fromkeys(clip.motions))}"
        )
    return frames, time.monotonic() - begin_s
