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

import numpy as np

from radar_pose_ros.datasets import kinect
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.skeleton.definitions import H36M17

RATE_HZ = 30.0
_LICENCE = "CC BY 4.0, unconfirmed for this copy: for evaluation only, never for shipped weights"
_TRACKED = 2
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
    with np.load(path, allow_pickle=False) as file:
        missing = wanted - {*file.files}
        if missing:
            raise ValueError(f"{path}: no array {', '.join(sorted(missing))}")
        arrays = {name: file[name] for name in wanted}
    source_m = arrays["joints_m"].copy()
    if not keep_inferred:
        source_m[arrays["tracking"] != _TRACKED] = np.nan
    joints_m = kinect.to_h36m17(source_m, arrays["joint_names"], str(path))[..., _RIG_AXES]
    # counter, a constant, milliseconds
    time_s = arrays["timestamps_raw"][:, 2].astype(float) / 1000
    bounds = pairwise([*arrays["clip_start"].tolist(), len(joints_m)])
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


def _evenly(joints_m: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Put frames at the nearest of evenly spaced instants; of two at one, the later stays."""
    places = np.round((time_s - time_s[0]) * RATE_HZ).astype(int)
    track_m = np.full((places.max() + 1, *joints_m.shape[1:]), np.nan, np.float32)
    track_m[places] = joints_m
    return track_m
