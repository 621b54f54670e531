"""What one camera sees of a sequence: keypoints in its image, and the truth in its frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.simulation.cameras import PinholeCamera


@dataclass(frozen=True)
class CameraView:
    """A sequence as one camera sees it.

    Parameters
    ----------
    name, subject, action : str
        The sequence's; the name ends in the camera's number.
    rate_hz : float
    skeleton : str
    camera : PinholeCamera
    keypoints_px : ndarray of float32, shape (frames, joints, 2)
        Detected or projected; NaN is unknown.
    joints_m : ndarray of float32, shape (frames, joints, 3)
        In the camera's optical frame (x right, y down, z forward); no root is subtracted.
    """

    name: str
    subject: str
    action: str
    rate_hz: float
    skeleton: str
    camera: PinholeCamera
    keypoints_px: np.ndarray = field(repr=False)
    joints_m: np.ndarray = field(repr=False)


def view(
    sequence: PoseSequence,
    camera: PinholeCamera,
    keypoints_px: ArrayLike | None = None,
    number: int = 0,
) -> CameraView:
    """Look at a sequence through a camera.

    Parameters
    ----------
    sequence : PoseSequence
        In the world.
    camera : PinholeCamera
    keypoints_px : array_like, optional, shape (frames, joints, 2)
        What a detector found; the projected truth by default. Frames beyond the sequence's last
        one are cut off: detections of Human3.6M run on after the motion capture has ended.
    number : int
        The camera's.

    Raises
    ------
    ValueError
        If there are too few keypoints.
    """
    joints_m = sequence.joints_m
    if keypoints_px is None:
        pixels = camera.project(joints_m)
    else:
        pixels = np.asarray(keypoints_px)[: len(joints_m)]
    if pixels.shape != (*joints_m.shape[:2], 2):
        raise ValueError(
            f"{sequence.name}, camera {number}: {joints_m.shape[:2]} joints, but keypoints of "
            f"shape {pixels.shape}"
        )
    return CameraView(
        name=f"{sequence.name}@camera{number}",
        subject=sequence.subject,
        action=sequence.action,
        rate_hz=sequence.rate_hz,
        skeleton=sequence.skeleton,
        camera=camera,
        keypoints_px=pixels.astype(np.float32),
        joints_m=camera.to_camera(joints_m).astype(np.float32),
    )
