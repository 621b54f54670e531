"""IntelliRehabDS (IRDS): rehabilitation gestures before a Kinect V2, for evaluation only.

The file ``irds_kinect_30hz.npz`` holds clips of a second or more, 25 joints in the Kinect's frame
and time stamps with real dropped frames. The data set itself is under CC BY 4.0 (Zenodo 4610859),
but the copy that the file comes from says nothing about a licence: poses may be measured against
it, and no weights that are shipped may be trained on it.

The gestures' names say the other side than the joints do: in "shoulder abduction left" it is the
arm called right that moves. The joints fit the Kinect's convention (its x grows to its own left,
where somebody who faces it has the right hand), so that they are kept as they are.

Miron, Sadawi, Ismail, Hussain, Grosan, "IntelliRehabDS (IRDS): a dataset of physical
rehabilitation movements", Data 6(5), 46, 2021.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros.datasets import kinect, object_arrays
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.skeleton.definitions import H36M17

RATE_HZ = 30.0
_LICENCE = "CC BY 4.0, unconfirmed for this copy: for evaluation only, never for shipped weights"
_TRACKED = 2
# Clips take some seconds; stamps that say otherwise are wrong.
_LONGEST_S = 600.0
# The Kinect's x is to its left, y up, z away from it; the rig's x is away, y left, z up.
_RIG_AXES = (2, 0, 1)


def load(path: Path | str, *, keep_inferred: bool = False) -> list[PoseSequence]:
    """Read the clips.

    Parameters
    ----------
    path : Path
        The file ``irds_kinect_30hz.npz``.
    keep_inferred : bool
        Keep joints that the Kinect did not see but guessed; NaN otherwise.

    Returns
    -------
    list of PoseSequence
        In H36M17, at 30 Hz by the time stamps, NaN where frames were dropped; subject "irds215",
        action the gesture's name. Axes are the rig's (x away from the Kinect, y left, z up), from
        the Kinect; its tilt is not known.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of this layout.
    """
    wanted = {"joints_m", "joint_names", "tracking", "timestamps_raw", "clip_start", "subject"}
    wanted |= {"gesture", "gesture_names", "repetition"}
    arrays = object_arrays.read_arrays(path, wanted, ())
    source_m = object_arrays.numbers(arrays["joints_m"], f"{path}: joints_m").copy()
    time_s = _checked_time_s(arrays, source_m, path)
    if not keep_inferred:
        source_m[arrays["tracking"] != _TRACKED] = np.nan
    joints_m = kinect.to_h36m17(source_m, arrays["joint_names"], str(path))[..., _RIG_AXES]
    bounds = list(pairwise([*arrays["clip_start"].tolist(), len(joints_m)]))
    for number, (first, end) in enumerate(bounds):
        since_s = time_s[first:end] - time_s[first]
        if not ((since_s >= 0) & (since_s < _LONGEST_S)).all():
            raise ValueError(
                f"{path}: a time stamp of clip {number} is before its first one or not within "
                f"{_LONGEST_S:.0f} s of it"
            )
    return [
        PoseSequence(
            name=f"irds_{number:03d}_{arrays['subject'][number]}_{arrays['gesture'][number]}"
            f"_{arrays['repetition'][number]}",
            subject=f"irds{arrays['subject'][number]}",
            action=str(arrays["gesture_names"][arrays["gesture"][number]]),
            rate_hz=RATE_HZ,
            skeleton=H36M17.name,
            joints_m=_evenly(joints_m[first:end], time_s[first:end]),
            licence=_LICENCE,
        )
        for number, (first, end) in enumerate(bounds)
    ]


def _checked_time_s(arrays: dict[str, Any], source_m: np.ndarray, path: Path | str) -> np.ndarray:
    """Return each frame's time, if the arrays are of one layout."""
    frames, clips = source_m.shape[0] if source_m.ndim else 0, np.size(arrays["clip_start"])
    shapes = {
        "joints_m": (frames, len(kinect.JOINT_NAMES), 3),
        "tracking": (frames, len(kinect.JOINT_NAMES)),
        "timestamps_raw": (frames, 3),
        **dict.fromkeys(("clip_start", "subject", "gesture", "repetition"), (clips,)),
    }
    for name, shape in shapes.items():
        if np.shape(arrays[name]) != shape:
            raise ValueError(
                f"{path}: {name} wants the shape {shape}, got {np.shape(arrays[name])}"
            )
    starts, gestures = (
        object_arrays.numbers(arrays[name], f"{path}: {name}")
        for name in ("clip_start", "gesture")
    )
    ends = np.append(starts[1:], frames)
    if starts.dtype.kind not in "iu" or starts[:1].tolist() != [0] or (ends <= starts).any():
        raise ValueError(f"{path}: clip_start does not rise from 0 to one of the {frames} frames")
    if np.ndim(arrays["gesture_names"]) != 1:
        raise ValueError(f"{path}: gesture_names wants texts in a row")
    known = len(arrays["gesture_names"])
    if gestures.dtype.kind not in "iu" or (gestures < 0).any() or (gestures >= known).any():
        raise ValueError(f"{path}: gesture wants whole numbers of {known} gesture_names")
    try:  # counter, a constant, milliseconds
        return arrays["timestamps_raw"][:, 2].astype(float) / 1000
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: timestamps_raw: {error}") from error


def _evenly(joints_m: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Put frames at the nearest of evenly spaced instants; of two at one, the later stays."""
    places = np.round((time_s - time_s[0]) * RATE_HZ).astype(int)
    track_m = np.full((places.max() + 1, *joints_m.shape[1:]), np.nan, np.float32)
    track_m[places] = joints_m
    return track_m
