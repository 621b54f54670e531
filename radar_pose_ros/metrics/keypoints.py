"""How good are 2-D keypoints: OKS, average precision, PCK and its area, mean distance.

Object keypoint similarity (OKS) and average precision (AP) follow COCO's evaluation with HuPR's
two changes: a person's area is half the area of the box, and the joints' sigmas are those of the
14-joint skeleton. All functions take numpy arrays; NaN stands for an estimate that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.skeleton.definitions import HUPR14, Skeleton

AP_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10))
_RECALLS = np.linspace(0.0, 1.0, 101)


def person_area(keypoints_px: ArrayLike, boxes_px: ArrayLike | None = None) -> np.ndarray:
    """Return what HuPR calls a person's area: half the area of the box.

    Parameters
    ----------
    keypoints_px : array_like, shape (..., joints, 2)
        True joints; they span the box where none is given.
    boxes_px : array_like, optional, shape (..., 4)
        Annotated boxes (x1, y1, x2, y2).

    Returns
    -------
    ndarray, shape (...)
        px^2, at least 1.
    """
    if boxes_px is None:
        keypoints = np.asarray(keypoints_px, np.float64)
        extent = np.nanmax(keypoints, axis=-2) - np.nanmin(keypoints, axis=-2)
    else:
        boxes = np.asarray(boxes_px, np.float64)
        extent = boxes[..., 2:] - boxes[..., :2]
    return np.maximum(0.5 * extent.prod(-1), 1.0)


def joint_similarity(
    predicted_px: ArrayLike,
    true_px: ArrayLike,
    area_px2: ArrayLike,
    sigmas: Sequence[float] = HUPR14.oks_sigmas,
) -> np.ndarray:
    """Return each joint's similarity ``exp(-d^2 / (2 area (2 sigma)^2))``.

    Parameters
    ----------
    predicted_px, true_px : array_like, shape (..., joints, 2)
    area_px2 : array_like, shape (...)
    sigmas : sequence of float
        One per joint.

    Returns
    -------
    ndarray, shape (..., joints)
        0 to 1; 0 where there is no estimate, NaN where the truth is not known.

    Raises
    ------
    ValueError
        If shapes do not belong together.
    """
    predicted, true = _pair(predicted_px, true_px)
    if true.shape[-2] != len(sigmas):
        raise ValueError(f"{true.shape[-2]} joints, but {len(sigmas)} sigmas")
    variances = (2 * np.asarray(sigmas, np.float64)) ** 2
    area = np.asarray(area_px2, np.float64)[..., None] + np.spacing(1)  # as COCO's code does
    similarity = np.exp(-((predicted - true) ** 2).sum(-1) / (2 * area * variances))
    similarity = np.where(np.isnan(predicted).any(-1), 0.0, similarity)
    return np.where(np.isnan(true).any(-1), np.nan, similarity)


def oks(
    predicted_px: ArrayLike,
    true_px: ArrayLike,
    area_px2: ArrayLike,
    sigmas: Sequence[float] = HUPR14.oks_sigmas,
) -> np.ndarray:
    """Return each person's similarity, the mean over the joints whose truth is known.

    Arguments as in `joint_similarity`; shape ``(...)``, NaN if no joint is known.
    """
    similarity = joint_similarity(predicted_px, true_px, area_px2, sigmas)
    known = ~np.isnan(similarity)
    count = known.sum(-1)
    total = np.where(known, similarity, 0.0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def average_precision(
    similarity: ArrayLike,
    definition: Literal["coco", "fraction"] = "coco",
    thresholds: float | Sequence[float] = AP_THRESHOLDS,
    scores: ArrayLike | None = None,
) -> float:
    """Return the average precision of one estimate per frame, one person in each.

    "coco" is what COCO's evaluation, and with it HuPR's and milliMamba's, gives: precision as a
    function of recall, made monotonous and read at 101 recalls. Frames enter in falling order of
    score; where all scores are equal, as in HuPR, in the order given. It therefore depends on that
    order, and exceeds the share of good frames if these come early. "fraction" is that share.

    Parameters
    ----------
    similarity : array_like, shape (frames,)
        OKS per frame in the order of the image numbers; NaN counts as a miss.
    definition : {"coco", "fraction"}
    thresholds : float or sequence of float
        Similarities from which on an estimate counts as right; the mean over them is returned. The
        default gives AP, 0.5 gives AP50, 0.75 gives AP75.
    scores : array_like, optional, shape (frames,)
        Confidence of each estimate; all equal by default. "fraction" does not use them.

    Returns
    -------
    float
        0 to 1; NaN without frames.

    Raises
    ------
    ValueError
        If there is no such definition, or shapes differ.
    """
    values = np.asarray(similarity, np.float64)
    if values.ndim != 1:
        raise ValueError(f"similarity must have one value per frame, got shape {values.shape}")
    if definition not in ("coco", "fraction"):
        raise ValueError(f"definition must be 'coco' or 'fraction', got {definition!r}")
    if not len(values):
        return float("nan")
    hits = values >= np.minimum(np.atleast_1d(thresholds), 1 - 1e-10)[:, None]
    if definition == "fraction":
        return float(hits.mean())
    if scores is not None:
        ranks = np.asarray(scores, np.float64)
        if ranks.shape != values.shape:
            raise ValueError(f"{len(values)} similarities, but scores of shape {ranks.shape}")
        hits = hits[:, np.argsort(-ranks, kind="stable")]
    return float(np.mean([interpolated_precision(row, len(values)) for row in hits]))


def interpolated_precision(hits: ArrayLike, people: int) -> float:
    """Return the mean over 101 recalls of COCO's interpolated precision.

    Parameters
    ----------
    hits : array_like of bool, shape (estimates,)
        Whether each estimate is right, in falling order of score.
    people : int
        How many there are to be found.
    """
    hits = np.asarray(hits, bool)
    found = np.cumsum(hits)
    recall = found / people
    precision = found / (np.arange(1, len(hits) + 1) + np.spacing(1))
    # the best precision at this recall or a higher one
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, _RECALLS, side="left")
    reached = places < len(precision)
    return float(precision[places[reached]].sum() / len(_RECALLS))


def joint_average_precision(
    predicted_px: ArrayLike,
    true_px: ArrayLike,
    area_px2: ArrayLike,
    definition: Literal["coco", "fraction"] = "coco",
    sigmas: Sequence[float] = HUPR14.oks_sigmas,
) -> np.ndarray:
    """Return the average precision of each joint by itself, shape ``(joints,)``.

    As `average_precision` with only that joint's similarity, over ``(frames, joints, 2)``.
    """
    similarity = joint_similarity(predicted_px, true_px, area_px2, sigmas)
    return np.array([average_precision(column, definition) for column in similarity.T])


def torso_length(keypoints_px: ArrayLike) -> np.ndarray:
    """Return the distance from the neck to the middle of the hips, shape ``(...)``.

    HuPR's skeleton; other papers take shoulder to opposite hip, or the head. Ours is a choice.
    """
    keypoints = np.asarray(keypoints_px, np.float64)
    hips = [HUPR14.index("right_hip"), HUPR14.index("left_hip")]
    middle = keypoints[..., hips, :].mean(-2)
    return np.linalg.norm(keypoints[..., HUPR14.index("neck"), :] - middle, axis=-1)


def box_length(keypoints_px: ArrayLike) -> np.ndarray:
    """Return the longer side of the box around the joints, shape ``(...)``."""
    keypoints = np.asarray(keypoints_px, np.float64)
    return (np.nanmax(keypoints, axis=-2) - np.nanmin(keypoints, axis=-2)).max(-1)


def annotated_box_length(boxes_px: ArrayLike) -> np.ndarray:
    """Return the longer side of annotated boxes.

    Parameters
    ----------
    boxes_px : array_like, shape (..., 4)
        x1, y1, x2, y2; NaN is unknown.

    Returns
    -------
    ndarray, shape (...)
        px; NaN where the box is not known.

    Raises
    ------
    ValueError
        If the last axis is not 4, or a box ends before it begins.
    """
    boxes = np.asarray(boxes_px, np.float64)
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must be (..., 4), got {boxes.shape}")
    sides = boxes[..., 2:] - boxes[..., :2]
    if (sides < 0).any():
        raise ValueError("boxes must be x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
    return sides.max(-1)


def correct_keypoints(
    predicted_px: ArrayLike, true_px: ArrayLike, length_px: ArrayLike, threshold: float
) -> np.ndarray:
    """Return for each joint whether it is closer than ``threshold`` times a length.

    Parameters
    ----------
    predicted_px, true_px : array_like, shape (..., joints, 2)
    length_px : array_like, shape (...)
        Reference length of each frame.
    threshold : float

    Returns
    -------
    ndarray of float, shape (..., joints)
        1 right, 0 wrong or without estimate, NaN where the truth or the length is not known or the
        length is not positive.
    """
    predicted, true = _pair(predicted_px, true_px)
    length = np.broadcast_to(np.asarray(length_px, np.float64)[..., None], true.shape[:-1])
    distance = np.linalg.norm(predicted - true, axis=-1)
    counted = ~np.isnan(true).any(-1) & (length > 0)
    return np.where(counted, (distance < threshold * length).astype(np.float64), np.nan)


def pck(
    predicted_px: ArrayLike,
    true_px: ArrayLike,
    threshold: float = 0.2,
    reference: Literal["torso", "box"] = "torso",
) -> float:
    """Return the share of correct keypoints (PCK) over all frames and joints.

    Parameters
    ----------
    predicted_px, true_px : array_like, shape (..., joints, 2)
    threshold : float
        Allowed distance in multiples of the reference length.
    reference : {"torso", "box"}
        `torso_length` or `box_length` of the true pose.

    Returns
    -------
    float
        0 to 1; NaN if nothing can be counted.
    """
    return float(_mean(_correct(predicted_px, true_px, threshold, reference).ravel()))


def joint_pck(
    predicted_px: ArrayLike,
    true_px: ArrayLike,
    threshold: float = 0.2,
    reference: Literal["torso", "box"] = "torso",
) -> np.ndarray:
    """Return the PCK of each joint, shape ``(joints,)``; arguments as in `pck`."""
    return _mean(_correct(predicted_px, true_px, threshold, reference))


def annotated_pck(
    predicted_px: ArrayLike, true_px: ArrayLike, boxes_px: ArrayLike, threshold: float = 0.2
) -> float:
    """Return the PCK of one sequence by its annotated boxes, as Sub-JHMDB's is published.

    A joint is right if it is closer than ``threshold`` times the longer side of its frame's box.
    Each joint's share of right frames comes first, then the mean over the joints. What is
    published is the mean of this over the sequences, however long they are, for 0.05, 0.1, 0.2.

    Parameters
    ----------
    predicted_px, true_px : array_like, shape (frames, joints, 2)
        Pixels, not shares of an image's sides: those are of different lengths.
    boxes_px : array_like, shape (frames, 4)
        x1, y1, x2, y2.
    threshold : float

    Returns
    -------
    float
        0 to 1, over the joints that can be counted in some frame; NaN if there are none.

    Raises
    ------
    ValueError
        If shapes do not belong together, or a box ends before it begins.
    """
    return float(_mean(annotated_joint_pck(predicted_px, true_px, boxes_px, threshold)))


def annotated_joint_pck(
    predicted_px: ArrayLike, true_px: ArrayLike, boxes_px: ArrayLike, threshold: float = 0.2
) -> np.ndarray:
    """Return each joint's share of right frames by annotated boxes, shape ``(joints,)``.

    NaN for a joint that cannot be counted in any frame; arguments and errors as in
    `annotated_pck`.
    """
    predicted, true = _pair(predicted_px, true_px)
    length = annotated_box_length(boxes_px)
    if true.ndim != 3 or length.shape != true.shape[:1]:
        raise ValueError(
            f"want keypoints (frames, joints, 2) and as many boxes, got {true.shape} and "
            f"{(*length.shape, 4)}"
        )
    return _mean(correct_keypoints(predicted, true, length, threshold))


def part_means(values: ArrayLike, skeleton: Skeleton) -> dict[str, float]:
    """Return the mean over both sides of a body of what each joint has, by the part's name.

    Parameters
    ----------
    values : array_like, shape (joints,)
        In the skeleton's order; NaN is left out.
    skeleton : Skeleton

    Returns
    -------
    dict of str to float
        "wrist" for "left_wrist" and "right_wrist", in the order in which parts come first; parts
        of which no joint has a value are left out.

    Raises
    ------
    ValueError
        If there are not as many values as joints.
    """
    parts: dict[str, list[float]] = {}
    for joint, value in zip(skeleton.joints, np.asarray(values, np.float64), strict=True):
        if not np.isnan(value):
            part = joint.removeprefix("left_").removeprefix("right_")
            parts.setdefault(part, []).append(float(value))
    return {part: float(np.mean(both)) for part, both in parts.items()}


def auc(
    predicted_px: ArrayLike, true_px: ArrayLike, length_px: float, thresholds: int = 20
) -> float:
    """Return the area under the curve of PCK over the threshold, from 0 to a length.

    As `keypoint_auc` of mmpose (Apache-2.0): the mean of the PCK at 0, 1/n, ..., (n - 1)/n of the
    length, each the mean over the joints of their shares of right frames.

    Parameters
    ----------
    predicted_px, true_px : array_like, shape (..., joints, 2)
        A joint without an estimate is wrong, one without truth is not counted.
    length_px : float
    thresholds : int
        n

    Returns
    -------
    float
        0 to 1; NaN if nothing can be counted.
    """
    predicted, true = _pair(predicted_px, true_px)
    shares = []
    for threshold in np.arange(thresholds) / thresholds:
        correct = correct_keypoints(predicted, true, length_px, threshold)
        shares.append(_mean(_mean(correct.reshape(-1, correct.shape[-1]))))
    return float(np.mean(shares))


def end_point_error(predicted_px: ArrayLike, true_px: ArrayLike) -> float:
    """Return the mean distance of the joints from their true places (EPE), in their unit.

    As `keypoint_epe` of mmpose (Apache-2.0): over all joints of all frames whose estimate and
    truth are known; NaN if there are none. Shapes are ``(..., joints, 2)``.
    """
    predicted, true = _pair(predicted_px, true_px)
    return float(_mean(np.linalg.norm(predicted - true, axis=-1).ravel()))


def _correct(
    predicted_px: ArrayLike, true_px: ArrayLike, threshold: float, reference: str
) -> np.ndarray:
    lengths = {"torso": torso_length, "box": box_length}
    if reference not in lengths:
        raise ValueError(f"reference must be 'torso' or 'box', got {reference!r}")
    predicted, true = _pair(predicted_px, true_px)
    correct = correct_keypoints(predicted, true, lengths[reference](true), threshold)
    return correct.reshape(-1, correct.shape[-1])


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is not NaN; NaN where there is nothing."""
    counted = ~np.isnan(values)
    count = counted.sum(0)
    total = np.where(counted, values, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _pair(predicted_px: ArrayLike, true_px: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    predicted, true = np.asarray(predicted_px, np.float64), np.asarray(true_px, np.float64)
    if predicted.shape != true.shape or true.ndim < 2 or true.shape[-1] != 2:
        raise ValueError(
            f"keypoints must be (..., joints, 2) and of one shape, got {predicted.shape} for the "
            f"estimate and {true.shape} for the truth"
        )
    return predicted, true
