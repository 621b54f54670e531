"""What milliMamba is trained to make small.

The paper's loss is ``L_oks + 0.05 L_vel``. It prints no formula for the first; ours is one minus
the similarity that the metric uses. Its gradient vanishes for estimates that are far off, so an L1
term leads the way at first, and a small term teaches the confidence head; both are our choice.

Coordinates are pixels of the image plane. Velocity and L1 terms are computed in units of the
image's size: the weight 0.05 would act 65,536 times as strongly on squared pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from radar_pose_ros.models.millimamba import MilliMambaOutput
from radar_pose_ros.skeleton.definitions import HUPR14


@dataclass(frozen=True)
class PoseLossConfig:
    """Weights of the terms.

    Parameters
    ----------
    velocity_weight : float
        Of L_vel [paper].
    l1_weight, l1_floor, l1_anneal_ratio : float
        The L1 term's weight falls in a straight line from ``l1_weight`` to ``l1_floor`` over this
        share of training, and stays there [choice].
    confidence_weight : float
        Of the confidence term, which is only there if the network has the head [choice].
    supervision_weight : float
        Of the earlier decoder layers' mean pose loss, if the network returns them [choice].
    """

    velocity_weight: float = 0.05
    l1_weight: float = 1.0
    l1_floor: float = 0.0
    l1_anneal_ratio: float = 0.1
    confidence_weight: float = 0.05
    supervision_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in (
            "velocity_weight",
            "l1_weight",
            "l1_floor",
            "confidence_weight",
            "supervision_weight",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)!r}")
        if not 0 <= self.l1_anneal_ratio <= 1:
            raise ValueError(f"l1_anneal_ratio must be 0 to 1, got {self.l1_anneal_ratio!r}")

    def l1_weight_at(self, progress: float) -> float:
        """Weight of the L1 term when this share (0 to 1) of the training is done."""
        if progress >= self.l1_anneal_ratio:
            return self.l1_floor
        done = progress / self.l1_anneal_ratio
        return self.l1_weight + done * (self.l1_floor - self.l1_weight)


def half_box_area(keypoints_px: Tensor) -> Tensor:
    """Return half the area of the box around the joints, at least 1 px^2.

    That half is what HuPR calls a person's area. HuPR takes the box from its annotation; where
    there is none, the joints span it.

    Parameters
    ----------
    keypoints_px : Tensor
        ``(..., joints, 2)``.

    Returns
    -------
    Tensor
        ``(...)``, px^2.
    """
    extent = keypoints_px.amax(-2) - keypoints_px.amin(-2)
    return (0.5 * extent.prod(-1)).clamp_min(1.0)


def keypoint_similarity(
    estimate_px: Tensor,
    truth_px: Tensor,
    area_px2: Tensor,
    sigmas: tuple[float, ...] = HUPR14.oks_sigmas,
) -> Tensor:
    """Return the similarity ``exp(-d^2 / (2 A (2 sigma)^2))`` of each joint.

    Parameters
    ----------
    estimate_px, truth_px : Tensor
        ``(..., joints, 2)``.
    area_px2 : Tensor
        ``(...)``, see `half_box_area`.
    sigmas : tuple of float
        One per joint.

    Returns
    -------
    Tensor
        ``(..., joints)``, 0 to 1.
    """
    variances = (2 * torch.tensor(sigmas, dtype=truth_px.dtype, device=truth_px.device)) ** 2
    distance2 = (estimate_px - truth_px).square().sum(-1)
    return torch.exp(-distance2 / (2 * area_px2[..., None] * variances))


def oks_loss(estimate_px: Tensor, truth_px: Tensor, area_px2: Tensor) -> Tensor:
    """Return L_oks, one minus the mean similarity; arguments as in `keypoint_similarity`."""
    return 1 - keypoint_similarity(estimate_px, truth_px, area_px2).mean()


def velocity_loss(estimate: Tensor, truth: Tensor) -> Tensor:
    """Return L_vel, the mean squared error of the movement from frame to frame.

    The paper prints it with and without the division by the number of joints; this is with.

    Parameters
    ----------
    estimate, truth : Tensor
        ``(batch, frames, joints, 2)``, in units of the image's size. One frame gives 0.
    """
    if estimate.shape[1] < 2:
        return estimate.new_zeros(())
    return (estimate.diff(dim=1) - truth.diff(dim=1)).square().sum(-1).mean()


def l1_loss(estimate: Tensor, truth: Tensor) -> Tensor:
    """Return the mean absolute error of a coordinate, in units of the image's size."""
    return (estimate - truth).abs().mean()


def confidence_loss(confidence: Tensor, similarity: Tensor) -> Tensor:
    """Return the mean squared error of the confidence as a forecast of the similarity.

    Least for a confidence equal to the similarity that is to be expected. The similarity is taken
    as it is: this term must not move the keypoints.
    """
    return (confidence - similarity.detach()).square().mean()


def pose_loss(
    output: MilliMambaOutput,
    truth_px: Tensor,
    config: PoseLossConfig,
    progress: float = 1.0,
    area_px2: Tensor | None = None,
    image_size_px: int = 256,
) -> dict[str, Tensor]:
    """Return the loss and its terms.

    Parameters
    ----------
    output : MilliMambaOutput
        The network's estimate.
    truth_px : Tensor
        ``(batch, frames, joints, 2)``; NaN in a window without anybody, which then teaches the
        confidence alone: no estimate is right there. If the network estimates the middle frame
        alone, that one is taken.
    config : PoseLossConfig
    progress : float
        Share of the training that is done, 0 to 1.
    area_px2 : Tensor, optional
        ``(batch, frames)``, half of each annotated box; by default of the box around the joints.
    image_size_px : int
        Width and height of the image plane.

    Returns
    -------
    dict of str to Tensor
        "loss", to be made small; "oks", "velocity", "l1" and, with a confidence head,
        "confidence": its terms for the last decoder layer, without their weights. Each is a mean
        over all windows, to which those without anybody add nothing but to the last.
    """
    area_px2 = half_box_area(truth_px) if area_px2 is None else area_px2
    if output.keypoints.shape[1] == 1 < truth_px.shape[1]:
        middle = slice(truth_px.shape[1] // 2, truth_px.shape[1] // 2 + 1)
        truth_px, area_px2 = truth_px[:, middle], area_px2[:, middle]
    inhabited = ~truth_px.isnan().flatten(1).any(1)
    share = inhabited.float().mean()  # so that terms are means over windows, whatever they hold
    truth_px, area_px2 = truth_px[inhabited], area_px2[inhabited]
    truth = truth_px / image_size_px

    def terms_of(estimate_px: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        estimate_px = estimate_px[inhabited]
        if not len(estimate_px):
            nothing = estimate_px.sum()  # 0, and so is its gradient
            return nothing, dict.fromkeys(("oks", "velocity", "l1"), nothing)
        estimate = estimate_px / image_size_px
        terms = {
            "oks": share * oks_loss(estimate_px, truth_px, area_px2),
            "velocity": share * velocity_loss(estimate, truth),
            "l1": share * l1_loss(estimate, truth),
        }
        total = terms["oks"] + config.velocity_weight * terms["velocity"]
        return total + config.l1_weight_at(progress) * terms["l1"], terms

    loss, terms = terms_of(output.keypoints)
    if output.intermediate:
        earlier = torch.stack([terms_of(estimate_px)[0] for estimate_px in output.intermediate])
        loss = loss + config.supervision_weight * earlier.mean()
    if not torch.isnan(output.confidence).any():
        similarity = torch.zeros_like(output.confidence)
        similarity[inhabited] = keypoint_similarity(
            output.keypoints.detach()[inhabited], truth_px, area_px2
        )
        terms["confidence"] = confidence_loss(output.confidence, similarity)
        loss = loss + config.confidence_weight * terms["confidence"]
    return {"loss": loss, **terms}
