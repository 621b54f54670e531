"""Human3.6M in the files of VideoPose3D, which MixSTE, DiffHPE and others use.

* ``data_3d_h36m.npz``: ``positions_3d[subject][action]``, ``(frames, 32, 3)`` metres in the world,
  z up, at 50 Hz;
* ``data_2d_h36m_<detector>.npz``: ``positions_2d[subject][action]``, for each of four cameras
  ``(frames, 17, 2)`` pixels.

Both hold pickled dictionaries; `radar_pose_ros.datasets.object_arrays` reads them without running
them. Neither holds the cameras. Whoever has the data set has their calibration, too, and writes it
to a YAML file::

    S1:                                     # for each subject, its cameras in the files' order
    - size_px: [1000, 1002]                 # width and height
      focal_px: [1145.0, 1144.0]
      centre_px: [512.0, 515.0]
      distortion: [0.0, 0.0, 0.0, 0.0, 0.0] # OpenCV's k1 k2 p1 p2 k3; may be left out
      orientation: [1.0, 0.0, 0.0, 0.0]     # quaternion w x y z, camera to world
      position_m: [0.0, 0.0, 0.0]           # in the world

The data set's licence allows academic use only and forbids passing it on. No file of it was at
hand: this is written from the description of its layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from radar_pose_ros import documents
from radar_pose_ros.datasets import object_arrays
from radar_pose_ros.datasets.camera_views import CameraView, view
from radar_pose_ros.datasets.pose_sequences import PoseSequence, check_sides
from radar_pose_ros.simulation.cameras import PinholeCamera
from radar_pose_ros.skeleton.definitions import H36M17

RATE_HZ = 50.0
# The usual protocol; DiffHPE's code chooses its model on the test subjects. A choice: hold out S8
# of the training subjects for that.
TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")
# Of the 32 recorded joints, those of H36M17 in its order.
KEPT_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
_RECORDED_JOINTS = 32
_DETECTED = "data_2d_h36m_"
_LICENCE = "Human3.6M: academic use only, not to be passed on"
# Frames of which the sides are checked: every so many.
_CHECK_EVERY = 25


def load(path: Path | str, subjects: Sequence[str] | None = None) -> list[PoseSequence]:
    """Read the joints.

    Parameters
    ----------
    path : Path
        ``data_3d_h36m.npz``.
    subjects : sequence of str, optional
        For instance `TRAIN_SUBJECTS`; all by default.

    Returns
    -------
    list of PoseSequence
        In H36M17 and the world's frame, named "S9 Walking 1"; the action is "Walking", so that
        both takes of an action are averaged together.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of this layout, lacks a subject, or left is right in it.
    """
    people = _tree(path, "positions_3d", subjects)
    sequences = []
    for subject, actions in people.items():
        for take, joints in actions.items():
            joints_m = object_arrays.numbers(joints, f"{path}: {subject}, {take}")
            if joints_m.ndim != 3 or joints_m.shape[1:] != (_RECORDED_JOINTS, 3):
                raise ValueError(
                    f"{path}: {subject}, {take}: want (frames, {_RECORDED_JOINTS}, 3), got "
                    f"{joints_m.shape}"
                )
            sequences.append(
                PoseSequence(
                    name=f"{subject} {take}",
                    subject=subject,
                    action=take.rstrip("0123456789 "),
                    rate_hz=RATE_HZ,
                    skeleton=H36M17.name,
                    joints_m=joints_m[:, list(KEPT_JOINTS)],
                    licence=_LICENCE,
                )
            )
    if sequences:
        every = np.concatenate([sequence.joints_m[::_CHECK_EVERY] for sequence in sequences])
        check_sides(every, H36M17.name, str(path))
    return sequences


def detections(root: Path | str, name: str | None = None) -> Path | None:
    """Return the file of detected keypoints in a folder.

    Parameters
    ----------
    root : Path
    name : str, optional
        The detector's, "cpn_ft_h36m_dbb" for ``data_2d_h36m_cpn_ft_h36m_dbb.npz``; by default the
        folder may hold one such file only.

    Returns
    -------
    Path or None
        None if there is no such file and no name was given.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or none of the files is that detector's: names those there are.
    ValueError
        If there are several, and it is not said which: names them.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    found = {path.stem.removeprefix(_DETECTED): path for path in root.glob(f"{_DETECTED}*.npz")}
    there = ", ".join(sorted(found))
    if name is not None:
        if name not in found:
            raise FileNotFoundError(
                f"{root}: no {_DETECTED}{name}.npz, there are keypoints of {there or 'nobody'}"
            )
        return found[name]
    if len(found) > 1:
        raise ValueError(f"{root}: keypoints of {there}; say of which")
    return next(iter(found.values()), None)


def load_keypoints(path: Path | str) -> dict[str, list[np.ndarray]]:
    """Read detected keypoints.

    Parameters
    ----------
    path : Path
        ``data_2d_h36m_<detector>.npz``.

    Returns
    -------
    dict of str to list of ndarray, shapes (frames, 17, 2)
        By the sequences' names, "S9 Walking 1"; pixels, one array per camera.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of this layout.
    """
    found = {}
    for subject, actions in _tree(path, "positions_2d", None).items():
        for take, cameras in actions.items():
            where = f"{path}: {subject}, {take}"
            if not isinstance(cameras, list | tuple | np.ndarray):
                raise ValueError(f"{where}: want an array for each camera")
            views = [
                object_arrays.numbers(keypoints, f"{where}, camera {number}")
                for number, keypoints in enumerate(cameras)
            ]
            for number, keypoints in enumerate(views):
                if keypoints.ndim != 3 or keypoints.shape[1:] != (len(H36M17.joints), 2):
                    raise ValueError(
                        f"{path}: {subject}, {take}, camera {number}: want (frames, "
                        f"{len(H36M17.joints)}, 2), got {keypoints.shape}"
                    )
            found[f"{subject} {take}"] = views
    return found


def load_cameras(path: Path | str) -> dict[str, list[PinholeCamera]]:
    """Read the calibration that the user has written down, see the module.

    Returns
    -------
    dict of str to list of PinholeCamera
        By subject.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If an entry is missing or wrong: says which.
    """
    tree = documents.read_yaml(path)
    if not isinstance(tree, dict) or not all(isinstance(item, list) for item in tree.values()):
        raise ValueError(f"{path}: want a list of cameras for each subject")
    return {
        str(subject): [
            _camera(entries, f"{path}: {subject}, camera {number}")
            for number, entries in enumerate(cameras)
        ]
        for subject, cameras in tree.items()
    }


def _camera(entries: Any, where: str) -> PinholeCamera:
    lengths = {"size_px": 2, "focal_px": 2, "centre_px": 2, "orientation": 4, "position_m": 3}
    lengths["distortion"] = 5
    if not isinstance(entries, dict):
        raise ValueError(f"{where}: want entries {', '.join(lengths)}")
    entries = {"distortion": [0.0] * 5, **entries}
    if entries.keys() != lengths.keys():
        wrong = sorted(entries.keys() ^ lengths.keys())
        raise ValueError(f"{where}: missing or not known: {', '.join(map(str, wrong))}")
    values = {}
    for name, length in lengths.items():
        try:
            values[name] = np.asarray(entries[name], np.float64)
        except (TypeError, ValueError):
            values[name] = np.empty(0)
        if values[name].shape != (length,):
            raise ValueError(f"{where}: {name} wants {length} numbers, got {entries[name]}")
    if not np.isclose(np.linalg.norm(values["orientation"]), 1.0, atol=1e-3):
        raise ValueError(f"{where}: orientation is no unit quaternion: {entries['orientation']}")
    w, x, y, z = values["orientation"]
    k1, k2, p1, p2, k3 = values["distortion"].tolist()
    return PinholeCamera(
        focal_px=(float(values["focal_px"][0]), float(values["focal_px"][1])),
        centre_px=(float(values["centre_px"][0]), float(values["centre_px"][1])),
        size_px=(int(values["size_px"][0]), int(values["size_px"][1])),
        rotation=Rotation.from_quat([x, y, z, w]).inv().as_matrix(),
        position_m=values["position_m"],
        distortion=(k1, k2, p1, p2, k3),
    )


def views(
    sequences: Iterable[PoseSequence],
    cameras: dict[str, list[PinholeCamera]],
    keypoints: dict[str, list[np.ndarray]] | None = None,
) -> list[CameraView]:
    """Return every sequence as each camera sees it.

    Parameters
    ----------
    sequences : iterable of PoseSequence
        From `load`.
    cameras : dict of str to list of PinholeCamera
        From `load_cameras`.
    keypoints : dict of str to list of ndarray, optional
        From `load_keypoints`; the projected truth by default.

    Raises
    ------
    ValueError
        If a sequence has no cameras, no keypoints, or another number of them than of cameras.
    """
    made = []
    for sequence in sequences:
        if sequence.subject not in cameras:
            raise ValueError(f"{sequence.name}: no cameras of {sequence.subject}")
        count = len(cameras[sequence.subject])
        found: Sequence[np.ndarray | None] = [None] * count
        if keypoints is not None:
            if sequence.name not in keypoints:
                raise ValueError(f"{sequence.name}: no keypoints")
            found = keypoints[sequence.name]
        if len(found) != count:
            raise ValueError(f"{sequence.name}: {count} cameras, but keypoints of {len(found)}")
        made += [
            view(sequence, camera, pixels, number)
            for number, (camera, pixels) in enumerate(
                zip(cameras[sequence.subject], found, strict=True)
            )
        ]
    return made


def _tree(path: Path | str, key: str, subjects: Sequence[str] | None) -> dict[str, dict]:
    people = object_arrays.read(path, optional=[key]).get(key)
    if (
        not isinstance(people, dict)
        or not all(isinstance(actions, dict) for actions in people.values())
        or not all(isinstance(k, str) for k in (*people, *(a for p in people.values() for a in p)))
    ):
        raise ValueError(f"{path}: no dictionary {key}[subject][action]")
    absent = set(subjects or ()) - people.keys()
    if absent:
        raise ValueError(
            f"{path}: no subject {', '.join(sorted(absent))}, there are {', '.join(people)}"
        )
    return people if subjects is None else {subject: people[subject] for subject in subjects}
