"""Sequences of poses of the project's simulated people, at any rate and with exact truth."""

from __future__ import annotations

import numpy as np

from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.simulation.body import SPLITS, random_sequence
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14

LICENCE = "Apache-2.0: simulated by this package"
# Keeps these random streams apart from those of simulated radar recordings.
_STREAM = 0x706F7365


def simulate_sequence(
    number: int, seconds: float, rate_hz: float, split: str, seed: int = 0
) -> PoseSequence:
    """Simulate one person.

    Parameters
    ----------
    number : int
        Which person of the split, from 0.
    seconds, rate_hz : float
        Length and rate.
    split : str
        "train", "validation" or "test"; the last has bodies and motions of its own, see
        `radar_pose_ros.simulation.body.random_sequence`.
    seed : int
        The same seed, split, number, length and rate give the same sequence.

    Returns
    -------
    PoseSequence
        In H36M17 and the rig's frame (x away from the rig, y left, z up), named for instance
        "test_00003", which is the subject, too: each has a body of its own. The action lists the
        motions in their order.

    Raises
    ------
    ValueError
        If the split is not known, or length or rate are not positive.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, there are {', '.join(SPLITS)}")
    stream = np.random.SeedSequence([_STREAM, seed, SPLITS.index(split), number])
    clip = random_sequence(np.random.default_rng(stream), seconds, rate_hz, split)
    name = f"{split}_{number:05d}"
    return PoseSequence(
        name=name,
        subject=f"simulated_{seed}_{name}",
        action=", ".join(dict.fromkeys(clip.motions)),
        rate_hz=rate_hz,
        skeleton=H36M17.name,
        joints_m=mapping.convert(clip.joints_m, HUPR14.name, H36M17.name),
        licence=LICENCE,
    )


def simulate_sequences(
    count: int, seconds: float, rate_hz: float, split: str, seed: int = 0
) -> list[PoseSequence]:
    """Simulate the first ``count`` people of a split; arguments as in `simulate_sequence`."""
    return [simulate_sequence(number, seconds, rate_hz, split, seed) for number in range(count)]
