"""Losses by value and by gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros.metrics import keypoints as metrics
from radar_pose_ros.models.losses import (
    PoseLossConfig,
    confidence_loss,
    half_box_area,
    keypoint_similarity,
    oks_loss,
    pose_loss,
    velocity_loss,
)
from radar_pose_ros.models.millimamba import MilliMambaOutput
from radar_pose_ros.skeleton.definitions import HUPR14


def poses(seed: int = 0, frames: int = 5) -> torch.Tensor:
    """Two windows of random person-sized poses in pixels, float64."""
    generator = torch.Generator().manual_seed(seed)
    return 60 + 130 * torch.rand(2, frames, 14, 2, generator=generator, dtype=torch.float64)


def output(keypoints: torch.Tensor, confidence: float = 0.5) -> MilliMambaOutput:
    return MilliMambaOutput(keypoints, torch.full_like(keypoints[..., 0], confidence))


def test_oks_loss_equals_the_metric() -> None:
    """The loss of training and the metric of evaluation are one formula."""
    estimate, truth = poses(1), poses(2)
    area = half_box_area(truth)
    assert_close(area.numpy(), metrics.person_area(truth.numpy()))
    similarity = metrics.joint_similarity(estimate.numpy(), truth.numpy(), area.numpy())
    assert_close(keypoint_similarity(estimate, truth, area).numpy(), similarity)
    assert_close(oks_loss(estimate, truth, area).item(), 1 - similarity.mean())


def test_oks_loss_closed_form() -> None:
    """All joints off by 2 sigma sqrt(2 area): 1 - 1 / e. Wrist, area 10,000: that is 17.5 px."""
    truth = poses()
    area = torch.full(truth.shape[:2], 1e4, dtype=torch.float64)
    distance = 2 * torch.tensor(HUPR14.oks_sigmas, dtype=torch.float64) * math.sqrt(2e4)
    estimate = truth.clone()
    estimate[..., 1] += distance
    assert_close(oks_loss(estimate, truth, area).item(), 1 - math.exp(-1))
    assert abs(distance[HUPR14.index("left_wrist")].item() - 17.54) < 0.01


def test_velocity_loss_closed_form() -> None:
    """A constant offset costs nothing; one joint's jump by (3, 4) counts twice, in and out."""
    truth = poses()
    assert_close(velocity_loss(truth + 7.0, truth).item(), 0.0)
    estimate = truth.clone()
    estimate[0, 2, 5] += torch.tensor([3.0, 4.0])
    batch, frames, joints = truth.shape[:3]
    assert_close(velocity_loss(estimate, truth).item(), 2 * 25 / (batch * (frames - 1) * joints))
    assert velocity_loss(truth[:, :1], truth[:, :1]).item() == 0


def test_confidence_loss_moves_only_the_confidence() -> None:
    confidence = torch.tensor([0.2, 0.9], requires_grad=True)
    similarity = torch.tensor([0.5, 0.5], requires_grad=True)
    loss = confidence_loss(confidence, similarity)
    loss.backward()
    assert_close(loss.detach().numpy(), (0.3**2 + 0.4**2) / 2)
    assert_close(confidence.grad.numpy(), np.array([-0.3, 0.4], np.float32))
    assert similarity.grad is None


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 1.0), (0.25, 0.6), (0.5, 0.2), (1.0, 0.2)])
def test_l1_weight_falls_in_a_straight_line(progress: float, weight: float) -> None:
    config = PoseLossConfig(l1_weight=1.0, l1_floor=0.2, l1_anneal_ratio=0.5)
    assert_close(config.l1_weight_at(progress), weight)


def test_total_is_the_weighted_sum() -> None:
    estimate, truth = poses(1), poses(2)
    config = PoseLossConfig(0.05, 1.0, 0.2, 0.5, confidence_weight=0.1)
    terms = pose_loss(output(estimate), truth, config, progress=0.25)
    expected = terms["oks"] + 0.05 * terms["velocity"] + 0.6 * terms["l1"]
    assert_close(terms["loss"].item(), (expected + 0.1 * terms["confidence"]).item())
    assert_close(terms["l1"].item(), (estimate - truth).abs().mean().item() / 256)
    assert_close(terms["velocity"].item(), velocity_loss(estimate / 256, truth / 256).item())


def test_perfect_estimate_costs_nothing() -> None:
    truth = poses()
    terms = pose_loss(output(truth, confidence=1.0), truth, PoseLossConfig(), 0.0)
    assert_close([value.item() for value in terms.values()], [0.0] * len(terms))


def test_gradient_against_finite_differences() -> None:
    truth = poses(2, frames=3)[:1, :, :]
    estimate = (truth + 3 * torch.randn(truth.shape, dtype=torch.float64)).requires_grad_()
    config = PoseLossConfig(confidence_weight=0.0)
    assert torch.autograd.gradcheck(
        lambda e: pose_loss(output(e), truth, config, 0.0)["loss"], (estimate,)
    )


def test_network_without_confidence_head() -> None:
    terms = pose_loss(output(poses(1), math.nan), poses(2), PoseLossConfig())
    assert "confidence" not in terms
    assert torch.isfinite(terms["loss"])


def test_deep_supervision_adds_the_mean_of_earlier_layers() -> None:
    truth, estimate = poses(2), poses(1)
    config = PoseLossConfig(confidence_weight=0.0, supervision_weight=0.5)
    plain = pose_loss(output(estimate), truth, config)["loss"]
    deep = output(estimate)._replace(intermediate=(estimate, estimate))
    assert_close(pose_loss(deep, truth, config)["loss"].item(), 1.5 * plain.item())


def test_many_to_one_is_compared_with_the_middle_frame() -> None:
    truth = poses()
    terms = pose_loss(output(truth[:, 2:3], 1.0), truth, PoseLossConfig())
    assert_close(terms["loss"].item(), 0.0)


@pytest.mark.parametrize("supervised", [False, True])
def test_every_term_is_a_mean_over_windows(supervised: bool) -> None:
    """Parts of a batch, one of them without anybody, teach on average what the whole one does."""
    truth = torch.cat([poses(2), poses(3)])
    truth[[0, 2, 3]] = torch.nan
    found = {}
    for name, parts in (("whole", [slice(0, 4)]), ("parts", [slice(0, 2), slice(2, 4)])):
        estimate = torch.cat([poses(4), poses(5)]).requires_grad_()
        each = []
        for part in parts:
            given = output(estimate[part])
            given = given._replace(intermediate=(given.keypoints + 1,) if supervised else ())
            each.append(pose_loss(given, truth[part], PoseLossConfig(), 0.0))
        terms = {term: torch.stack([t[term] for t in each]).mean() for term in each[0]}
        terms["loss"].backward()
        values = {term: value.item() for term, value in terms.items()}
        found[name] = {**values, "gradient": estimate.grad.numpy()}
    assert set(found["whole"]) == {"loss", "oks", "velocity", "l1", "confidence", "gradient"}
    for term, value in found["whole"].items():
        assert_close(found["parts"][term], value)
    assert_close(found["whole"]["l1"], (poses(4) - poses(2))[1].abs().mean().item() / 256 / 4)


@pytest.mark.parametrize("wrong", [{"l1_weight": -1.0}, {"l1_anneal_ratio": 2.0}])
def test_bad_weights_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PoseLossConfig(**wrong)
