"""Images of people whose joints are round spots, each of another colour."""

from __future__ import annotations

import cv2
import numpy as np

from radar_pose_ros.skeleton.definitions import HUPR14

JOINTS = len(HUPR14.joints)
_LEVELS = (0.0, 0.5, 1.0)
# 14 colours, none of them black or grey
COLOURS = np.array(
    [c for c in np.stack(np.meshgrid(*[_LEVELS] * 3), -1).reshape(-1, 3) if len({*c}) > 1][:JOINTS]
)


def spots(
    places: np.ndarray, size: tuple[int, int], radius: float, colours: np.ndarray = COLOURS
) -> np.ndarray:
    """Draw a round spot for each joint, BGR, on black; NaN is left out."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for place, colour in zip(places, colours, strict=True):
        if np.isfinite(place).all():
            bgr = [round(255 * part) for part in colour[::-1]]
            at = np.round(place * 16).astype(int).tolist()
            cv2.circle(image, at, round(radius * 16), bgr, -1, cv2.LINE_AA, 4)
    return image
