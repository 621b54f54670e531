"""What networks that find keypoints in an image give, and where in the image that is.

=========== ===================================================================================
kind        outputs
=========== ===================================================================================
`heatmaps`  one, ``(images, joints, rows, columns)``: PoseResNet, HRNet, ViTPose
`simcc`     two, ``(images, joints, columns)`` and ``(images, joints, rows)``, in bins finer than
            pixels: RTMPose (SimCC, Li et al., ECCV 2022)
`keypoints` one, ``(images, joints, 2 or 3)``: pixels of the input, and a confidence
=========== ===================================================================================

Pixel ``(u, v)`` is column u and row v of the network's input, the centre of the first ``(0, 0)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from radar_pose_ros.models.heatmaps import soft_argmax

KINDS = ("heatmaps", "simcc", "keypoints")
_WANTED = {
    "heatmaps": "one output (images, joints, rows, columns)",
    "simcc": "two outputs (images, joints, columns) and (images, joints, rows)",
    "keypoints": "one output (images, joints, 2 or 3)",
}


def decode(
    outputs: Sequence[np.ndarray],
    size: tuple[int, int],
    joints: int,
    kind: str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the joints are in a network's input.

    Parameters
    ----------
    outputs : sequence of ndarray
        What the network gave.
    size : (int, int)
        Width and height of its input, pixels.
    joints : int
        How many there must be.
    kind : str
        One of `KINDS`, or "auto": by the shapes.

    Returns
    -------
    keypoints_px : ndarray of float64, shape (images, joints, 2)
        NaN where there is no joint.
    confidence : ndarray of float64, shape (images, joints)
        From 0 to 1; 0 where there is no joint.

    Raises
    ------
    ValueError
        If the shapes are those of another kind, or of another number of joints.
    """
    shapes = [tuple(output.shape) for output in outputs]
    found = _kind_of(shapes)
    if not found or kind not in ("auto", found):
        allowed = " or ".join(_WANTED.values()) if kind == "auto" else _WANTED[kind]
        given = ", ".join(map(str, shapes)) or "none"
        raise ValueError(f"the network's outputs have the shapes {given}; want {allowed}")
    if any(shape[1] != joints for shape in shapes):
        raise ValueError(f"the network gives {shapes[0][1]} joints, but its skeleton has {joints}")
    values = [np.asarray(output, np.float64) for output in outputs]
    if found == "heatmaps":
        pixels, score = decode_heatmaps(values[0], size)
    elif found == "simcc":
        pixels, score = decode_simcc(values[0], values[1], size)
    else:
        pixels, score = values[0][..., :2], np.ones(shapes[0][:2])
        if shapes[0][2] == 3:
            score = values[0][..., 2]
    known = np.isfinite(pixels).all(-1) & (score > 0)
    return np.where(known[..., None], pixels, np.nan), np.where(known, score, 0.0).clip(0, 1)


def decode_heatmaps(heatmaps: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints of heatmaps, by `heatmaps.soft_argmax`.

    Parameters
    ----------
    heatmaps : ndarray, shape (images, joints, rows, columns)
        About 0 to 1: a joint's confidence is the highest value of its map.
    size : (int, int)
        Width and height of the network's input. Pixel ``(u, v)`` of a map lies at ``(s u, t v)``
        of the input, s and t being how many times it is as wide and as high.
    """
    rows, columns = heatmaps.shape[-2:]
    places = soft_argmax(torch.from_numpy(heatmaps)).numpy()
    return places * (size[0] / columns, size[1] / rows), heatmaps.max((-2, -1))


def decode_simcc(
    across: np.ndarray, down: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints of a pair of outputs, each axis by its highest bin.

    Parameters
    ----------
    across : ndarray, shape (images, joints, columns)
        Bin b lies at the column ``b width / columns`` of the input.
    down : ndarray, shape (images, joints, rows)
    size : (int, int)
        Width and height of the network's input.

    Returns
    -------
    keypoints_px : ndarray, shape (images, joints, 2)
    confidence : ndarray, shape (images, joints)
        The lesser of the two highest values, as RTMPose has it.
    """
    places = [
        axis.argmax(-1) * (extent / axis.shape[-1])
        for axis, extent in zip((across, down), size, strict=True)
    ]
    return np.stack(places, axis=-1), np.minimum(across.max(-1), down.max(-1))


def _kind_of(shapes: Sequence[tuple[int, ...]]) -> str:
    """Return the kind that outputs of these shapes are of; empty if of none."""
    if not shapes or any(0 in shape for shape in shapes):
        return ""
    if len(shapes) == 1 and len(shapes[0]) == 4:
        return "heatmaps"
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][2] in (2, 3):
        return "keypoints"
    paired = len(shapes) == 2 and all(len(shape) == 3 for shape in shapes)
    return "simcc" if paired and shapes[0][:2] == shapes[1][:2] else ""
