"""A video of nothing but skin, in which a heart beats."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

BEATS_PER_MINUTE = 72


def video(path: Path) -> Path:
    """Write 20 s of it, 64 x 48, 30 frames per second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (64, 48))
    for k in range(600):
        blood = 0.01 * np.sin(2 * np.pi * BEATS_PER_MINUTE / 60 * k / 30)
        colour = np.array([110.0, 130.0, 180.0]) * (1 - blood * np.array([0.53, 0.77, 0.33]))
        writer.write(np.full((48, 64, 3), colour.round(), np.uint8))
    writer.release()
    return path
