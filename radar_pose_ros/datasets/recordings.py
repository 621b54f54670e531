"""Recordings of two radars and a person's joints, and windows of them.

What every data set comes to in the end, be it simulated, in HuPR's layout or one's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros import documents
from radar_pose_ros.metrics.keypoints import person_area


@dataclass(frozen=True)
class Recording:
    """One recording; what is large is read when it is asked for.

    Attributes
    ----------
    range_doppler : ndarray of float16, shape (frames, radars, antennas, doppler, range, 2)
    keypoints_px : ndarray of float32, shape (frames, joints, 2)
    joints_m : ndarray of float32, shape (frames, joints, 3)
    motions : tuple of str
        Name of the motion in each frame.
    details : dict
        What else is known of it: radar, heatmap, person.
    """

    path: Path
    range_doppler: np.ndarray
    keypoints_px: np.ndarray
    joints_m: np.ndarray
    motions: tuple[str, ...]
    details: dict[str, Any] = field(repr=False, default_factory=dict)

    def areas_px2(self) -> np.ndarray:
        """Return what HuPR calls the person's area in each frame: half of the box, px^2.

        The annotated box where there is one, else that around the joints.
        """
        return person_area(self.keypoints_px).astype(np.float32)


@dataclass(frozen=True)
class Window:
    """Consecutive frames of one recording."""

    recording: int
    first: int


def load_array(path: Path) -> np.ndarray:
    """Map a numpy file into memory.

    Raises
    ------
    ValueError
        If it is damaged: names it.
    """
    documents.open_file(path).close()
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # a damaged file ends in whatever its readers meet
        raise ValueError(f"{path} is damaged, remove it: {error!s:.200}") from error


def windows(recordings: Sequence[Recording], length: int, stride: int = 1) -> list[Window]:
    """List every window of ``length`` frames, its start moving by ``stride``."""
    return [
        Window(number, first)
        for number, recording in enumerate(recordings)
        for first in range(0, len(recording.keypoints_px) - length + 1, stride)
    ]


def gather(
    recordings: Sequence[Recording], chosen: Sequence[Window], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Collect windows into one batch.

    Returns
    -------
    cubes : ndarray of complex64, shape (batch, radars, length, antennas, doppler, range)
    keypoints_px : ndarray of float32, shape (batch, length, joints, 2)
    """
    cubes, keypoints = [], []
    for window in chosen:
        recording = recordings[window.recording]
        frames = slice(window.first, window.first + length)
        parts = np.ascontiguousarray(recording.range_doppler[frames], np.float32)
        cubes.append(parts.view(np.complex64)[..., 0].swapaxes(0, 1))
        keypoints.append(recording.keypoints_px[frames])
    return np.stack(cubes), np.stack(keypoints)
