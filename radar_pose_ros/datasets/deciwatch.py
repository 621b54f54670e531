"""Poses in DeciWatch's files, in which MixSynthFormer is trained and evaluated.

``groundtruth_poses/<ds>/<ds>_gt_<split>.npz`` and ``detected_poses/<ds>/<estimator>/...npz`` hold
object arrays with one entry per sequence: ``imgname``, a list of file names; ``joints_3d``,
``(frames, 17 * 3)`` or ``(frames, 14 * 3)``; for Sub-JHMDB ``joints_2d``, ``(frames, 15 * 2)``,
with ``imgshape`` and ``bbox``; for 3DPW and AIST++ ``pose``, too, SMPL's rotations as axis and
angle, ``(frames, 24 * 3)``. SMPL's ``shape``, ``camera``, ``trans`` and ``scaling`` are not read.
They are pickles; `radar_pose_ros.datasets.object_arrays` reads them without running them.

DeciWatch's 17 joints begin with the left leg, those of VideoPose3D with the right one, and files
of both kinds are about; all else is the same. Which it is follows from the joints themselves: the
hips point as the shoulders do. No file of it was at hand: this is written from the description of
its layout.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros.datasets import object_arrays
from radar_pose_ros.datasets.pose_sequences import PoseSequence, check_sides
from radar_pose_ros.skeleton import definitions, rotations
from radar_pose_ros.skeleton.definitions import H36M17, JHMDB15, LSP14

RATES_HZ = {"h36m": 50.0, "3dpw": 30.0, "aist": 60.0}
_LICENCE = "DeciWatch's files: non-commercial, and the terms of the data set in them"
# H36M17's joints in the order with the left leg first, and the other way round.
LEFT_FIRST = (0, 4, 5, 6, 1, 2, 3, *range(7, 17))
# Between these a grown person's thigh is; a file in millimetres is not.
_THIGH_M = (0.2, 0.7)
_CHECK_EVERY = 25
SMPL_JOINTS = 24


@dataclass(frozen=True)
class ImageSequence:
    """One person's joints in the image.

    Parameters
    ----------
    name : str
    keypoints_px : ndarray of float32, shape (frames, 15, 2)
        In the order of JHMDB15.
    size_px : (int, int)
        Width and height of the image; (0, 0) if the file does not say it.
    boxes_px : ndarray of float32, shape (frames, 4)
        Around the person: x1, y1, x2, y2; NaN if the file does not say it.
    """

    name: str
    keypoints_px: np.ndarray = field(repr=False)
    size_px: tuple[int, int]
    boxes_px: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class RotationSequence:
    """How one person's joints are turned.

    Parameters
    ----------
    name, subject : str
        As in `load`.
    rate_hz : float
    rotations : ndarray of float32, shape (frames, 24, 6)
        Of SMPL's joints in its order, the first that of the whole body, the others relative to
        their parents; the first two columns of the matrices, as `skeleton.rotations` writes them.
        NaN is unknown.
    licence : str
    """

    name: str
    subject: str
    rate_hz: float
    rotations: np.ndarray = field(repr=False)
    licence: str = _LICENCE


def load(path: Path | str, dataset: str, *, metres_per_unit: float = 1.0) -> list[PoseSequence]:
    """Read 3-D poses, true or detected.

    Parameters
    ----------
    path : Path
        A file with ``joints_3d``.
    dataset : {"h36m", "3dpw", "aist"}
        Says the rate.
    metres_per_unit : float
        0.001 if the file is in millimetres.

    Returns
    -------
    list of PoseSequence
        In H36M17, or in LSP14 where there are 14 joints, named by the first image; the subject is
        "S9" and the like if names of images begin with that, else the name: splits are the files'.
        Coordinates are the file's, its vertical is not known.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of this layout, no bodies are in it, or left is right in it.
    """
    _check_dataset(dataset)
    content = object_arrays.read(path, ("imgname", "joints_3d"), ())
    names = _names(content, "joints_3d", path)
    skeleton = ""
    tracks = []
    for name, values in zip(names, content["joints_3d"], strict=True):
        flat = object_arrays.numbers(values, f"{path}: {name}: joints_3d").astype(np.float32)
        sizes = {3 * len(order.joints): order.name for order in (H36M17, LSP14)}
        if (
            flat.ndim != 2
            or flat.shape[1] not in sizes
            or skeleton not in ("", sizes[flat.shape[1]])
        ):
            raise ValueError(
                f"{path}: {name}: want (frames, 51) or, in all sequences, (frames, 42), got "
                f"{flat.shape}"
            )
        skeleton = sizes[flat.shape[1]]
        tracks.append(flat.reshape(len(flat), -1, 3) * np.float32(metres_per_unit))
    some = np.concatenate([track[::_CHECK_EVERY] for track in tracks])
    if skeleton == H36M17.name and _legs_exchanged(some):
        tracks = [track[:, list(LEFT_FIRST)] for track in tracks]
        some = some[:, list(LEFT_FIRST)]
    _check_size(some, skeleton, path)
    check_sides(some, skeleton, str(path))
    return [
        PoseSequence(
            name=name,
            subject=_subject(name),
            action="",
            rate_hz=RATES_HZ[dataset],
            skeleton=skeleton,
            joints_m=track,
            licence=_LICENCE,
        )
        for name, track in zip(names, tracks, strict=True)
    ]


def load_pairs(
    true_path: Path | str,
    detected_path: Path | str,
    dataset: str,
    *,
    metres_per_unit: float = 1.0,
) -> list[tuple[PoseSequence, PoseSequence]]:
    """Read detected and true 3-D poses that belong together, as (detected, true).

    Arguments and errors as in `load`; also ``ValueError`` if the files do not hold the same
    sequences of the same lengths.
    """
    true = load(true_path, dataset, metres_per_unit=metres_per_unit)
    detected = load(detected_path, dataset, metres_per_unit=metres_per_unit)
    _check_pairs(
        [[(s.name, s.joints_m.shape) for s in sequences] for sequences in (detected, true)],
        detected_path,
        true_path,
    )
    return list(zip(detected, true, strict=True))


def load_rotations(path: Path | str, dataset: str) -> list[RotationSequence]:
    """Read SMPL's rotations, true or detected.

    Parameters
    ----------
    path : Path
        A file with ``pose``.
    dataset : {"h36m", "3dpw", "aist"}
        Says the rate.

    Returns
    -------
    list of RotationSequence

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of this layout, or its angles are not radians.
    """
    _check_dataset(dataset)
    content = object_arrays.read(path, ("imgname", "pose"), ())
    sequences = []
    for name, values in zip(_names(content, "pose", path), content["pose"], strict=True):
        where = f"{path}: {name}"
        flat = object_arrays.numbers(values, f"{where}: pose")
        if flat.ndim != 2 or flat.shape[1] != 3 * SMPL_JOINTS:
            raise ValueError(
                f"{where}: want axis and angle of {SMPL_JOINTS} joints, (frames, "
                f"{3 * SMPL_JOINTS}), got {flat.shape}"
            )
        if np.isinf(flat).any():
            raise ValueError(f"{where}: an angle is infinite; what is not known should be NaN")
        vectors = flat.reshape(len(flat), SMPL_JOINTS, 3)
        angles = np.linalg.norm(vectors, axis=-1)
        known = angles[~np.isnan(angles)]
        # no joint of a person is turned by half a turn most of the time
        if known.size and np.median(known) > np.pi:
            raise ValueError(
                f"{where}: half of the joints are turned by {np.median(known):.4g} or more, which "
                f"is no angle in radians"
            )
        sequences.append(
            RotationSequence(
                name=name,
                subject=_subject(name),
                rate_hz=RATES_HZ[dataset],
                rotations=rotations.axis_angle_to_6d(vectors).astype(np.float32),
            )
        )
    return sequences


def load_rotation_pairs(
    true_path: Path | str, detected_path: Path | str, dataset: str
) -> list[tuple[RotationSequence, RotationSequence]]:
    """Read detected and true rotations that belong together, as (detected, true).

    Arguments and errors as in `load_rotations`; also ``ValueError`` if the files do not hold the
    same sequences of the same lengths.
    """
    true = load_rotations(true_path, dataset)
    detected = load_rotations(detected_path, dataset)
    _check_pairs(
        [[(s.name, s.rotations.shape) for s in sequences] for sequences in (detected, true)],
        detected_path,
        true_path,
    )
    return list(zip(detected, true, strict=True))


def load_images(path: Path | str) -> list[ImageSequence]:
    """Read 2-D poses of Sub-JHMDB, true or detected.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of this layout.
    """
    content = object_arrays.read(path, ("imgname", "joints_2d"), ("bbox", "imgshape"))
    names = _names(content, "joints_2d", path)
    for key in ("bbox", "imgshape"):
        if key in content and not (_is_list(content[key]) and len(content[key]) == len(names)):
            raise ValueError(f"{path}: {key} is not of the {len(names)} sequences")
    sequences = []
    for number, name in enumerate(names):
        where = f"{path}: {name}"
        flat = object_arrays.numbers(content["joints_2d"][number], f"{where}: joints_2d")
        if flat.ndim != 2 or flat.shape[1] != 2 * len(JHMDB15.joints):
            raise ValueError(f"{where}: want (frames, 30), got {flat.shape}")
        boxes = np.full((len(flat), 4), np.nan, np.float32)
        if "bbox" in content:
            boxes = object_arrays.numbers(content["bbox"][number], f"{where}: bbox")
            if boxes.ndim != 2 or boxes.shape[1] != 4:
                raise ValueError(f"{where}: want boxes (frames, 4), got {boxes.shape}")
        height, width = 0, 0
        if "imgshape" in content:
            # one for the sequence, or the same one for each frame
            height, width = _sides(content["imgshape"][number], f"{where}: imgshape")
        if len(boxes) != len(flat):
            raise ValueError(f"{where}: {len(flat)} frames, but {len(boxes)} boxes")
        keypoints = flat.reshape(len(flat), -1, 2).astype(np.float32)
        sequences.append(ImageSequence(name, keypoints, (width, height), boxes.astype(np.float32)))
    return sequences


def _names(content: dict[str, Any], key: str, path: Path | str) -> list[str]:
    """Return the sequences' names: their first images, without number and ending."""
    for wanted in ("imgname", key):
        if not _is_list(content[wanted]):
            raise ValueError(f"{path}: {wanted} wants one entry for each sequence")
    if len(content["imgname"]) != len(content[key]) or not len(content[key]):
        raise ValueError(
            f"{path}: {len(content[key])} sequences, but image names of {len(content['imgname'])}"
        )
    names = []
    for number, images in enumerate(content["imgname"]):
        for wanted, entry in (("imgname", images), (key, content[key][number])):
            if not _is_list(entry):
                raise ValueError(
                    f"{path}: {wanted} of sequence {number} wants one entry for each frame"
                )
        first = str(images[0]) if len(images) else f"sequence {number}"
        if len(images) != len(content[key][number]):
            raise ValueError(
                f"{path}: {first}: {len(content[key][number])} poses of {len(images)} images"
            )
        names.append(re.sub(r"[_/.]?\d*\.\w+$", "", first))
    return names


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _sides(shape: Any, where: str) -> tuple[int, int]:
    sides = object_arrays.numbers(shape, where)
    if sides.ndim not in (1, 2) or sides.shape[-1] < 2 or not sides.size:
        raise ValueError(f"{where}: want height and width, got the shape {sides.shape}")
    rows = sides.reshape(-1, sides.shape[-1])[:, :2]
    if (rows != rows[0]).any() or not (rows >= 1).all():
        raise ValueError(
            f"{where}: want one height and width for all frames, got {rows.min(0)} to "
            f"{rows.max(0)}"
        )
    return int(rows[0, 0]), int(rows[0, 1])


def _check_dataset(dataset: str) -> None:
    if dataset not in RATES_HZ:
        raise ValueError(f"unknown data set {dataset!r}, there are {', '.join(RATES_HZ)}")


def _check_pairs(kinds: list[list], detected_path: Path | str, true_path: Path | str) -> None:
    if kinds[0] != kinds[1]:
        raise ValueError(f"{detected_path} does not hold the sequences of {true_path}")


def _subject(name: str) -> str:
    found = re.match(r"(?:.*/)?(S\d+)[_/]", name)
    return found.group(1) if found else name


def _legs_exchanged(joints: np.ndarray) -> bool:
    hips = joints[:, H36M17.index("left_hip")] - joints[:, H36M17.index("right_hip")]
    shoulders = (
        joints[:, H36M17.index("left_shoulder")] - joints[:, H36M17.index("right_shoulder")]
    )
    return bool(np.nanmean((hips * shoulders).sum(-1)) < 0)


def _check_size(joints_m: np.ndarray, skeleton: str, path: Path | str) -> None:
    order = definitions.get(skeleton)
    thigh = joints_m[:, order.index("left_hip")] - joints_m[:, order.index("left_knee")]
    length_m = float(np.nanmedian(np.linalg.norm(thigh, axis=-1)))
    if not _THIGH_M[0] < length_m < _THIGH_M[1]:
        raise ValueError(
            f"{path}: thighs of {length_m:.4g} m; if the file is not in metres, give "
            f"metres_per_unit, 0.001 for millimetres"
        )
