"""MARS: rehabilitation movements before a radar, and the Kinect's joints beside its points.

One file per subject, ``mars_subject1.npz``. The radar's frames come at 10 Hz; the Kinect's joints
are in the radar's frame, with nothing known about the radar's height above the floor. Frames that
the radar lost, and those of subject 1 for which no joints were published, are NaN here. The
Kinect's joints are an estimate, not motion capture: limbs change their length by centimetres.

The published split cuts every movement of every subject into parts, so that everybody is in all of
them. Here sequences are whole, to be split by subject.

An and Ogras, "MARS: mmWave-based Assistive Rehabilitation System for Smart Healthcare", ACM TECS
20(5s), 2021; MIT licence.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radar_pose_ros.datasets import kinect, object_arrays
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.skeleton.definitions import H36M17

RATE_HZ = 10.0
# An hour; a subject's recordings take 40 minutes, of which a movement is two.
_LONGEST_FRAMES = 36_000
_LICENCE = "MIT, (c) 2021 SizheAn"
# From x right, y away from the radar, z up, to the rig's x away, y left, z up.
_TO_RIG = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.float32)


def load(path: Path | str) -> list[PoseSequence]:
    """Read the Kinect's joints of one subject.

    Parameters
    ----------
    path : Path
        A file ``mars_subject<number>.npz``.

    Returns
    -------
    list of PoseSequence
        One per movement, in H36M17; subject "mars1", action "movement 1". Axes are the rig's (x
        away from the radar, y left, z up), from the radar.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of this layout.
    """
    path = Path(path)
    subject = path.stem.removeprefix("mars_subject")
    if not subject.isdigit():
        raise ValueError(f"{path}: the name does not say whose file it is: mars_subject<number>")
    wanted = ("kinect_joints_m", "joint_names", "movement", "radar_frame")
    file = object_arrays.read(path, wanted, ())
    source_m = object_arrays.numbers(file["kinect_joints_m"], f"{path}: kinect_joints_m")
    joints_m = kinect.to_h36m17(source_m, file["joint_names"], str(path))
    movements, frames = (
        object_arrays.numbers(file[name], f"{path}: {name}")
        for name in ("movement", "radar_frame")
    )
    for name, values in (("movement", movements), ("radar_frame", frames)):
        if values.dtype.kind not in "iu" or values.shape != joints_m.shape[:1]:
            raise ValueError(
                f"{path}: {name} wants one whole number for each of {len(joints_m)} frames, got "
                f"{values.dtype} of shape {values.shape}"
            )
    joints_m = joints_m @ _TO_RIG.T
    sequences = []
    for movement in np.unique(movements):
        chosen = movements == movement
        places = frames[chosen].astype(np.int64) - int(frames[chosen].min())
        if (np.diff(places) <= 0).any() or places.max() >= _LONGEST_FRAMES:
            raise ValueError(
                f"{path}: radar_frame of movement {movement} does not rise, or by more than "
                f"{_LONGEST_FRAMES}"
            )
        track_m = np.full((places.max() + 1, len(H36M17.joints), 3), np.nan, np.float32)
        track_m[places] = joints_m[chosen]
        sequences.append(
            PoseSequence(
                name=f"mars{subject}_{movement:02d}",
                subject=f"mars{subject}",
                action=f"movement {movement}",
                rate_hz=RATE_HZ,
                skeleton=H36M17.name,
                joints_m=track_m,
                licence=_LICENCE,
            )
        )
    return sequences
