"""DenseWarper: published sizes, parts against plain re-statements, and that it can learn."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from tolerances import assert_close
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from radar_pose_ros.models.densewarper import (
    PRESETS,
    DenseWarper,
    DenseWarperConfig,
    multiply_accumulates,
    slot_targets,
    smooth_loss,
    warp_loss,
)
from radar_pose_ros.models.heatmaps import render_heatmaps, soft_argmax
from radar_pose_ros.models.ops.deformable_conv import deformable_conv
from radar_pose_ros.models.ops.epipolar import fuse, fuse_slot

SMALL = DenseWarperConfig(joints=3, size=16, blocks=2, channels=8, dilations=(1, 3))
TIMED = dataclasses.replace(SMALL, time_channels=True, time_unit_s=0.1)
COARSE = dataclasses.replace(TIMED, stride=2, offset_kernel=1)
PER_PAIR = dataclasses.replace(SMALL, shared=False, views=3)


def build(config: DenseWarperConfig, *, trained: bool = False) -> DenseWarper:
    """Untrained, or with numbers everywhere as if it were not."""
    torch.manual_seed(0)
    network = DenseWarper(config).eval()
    if trained:
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "offsets" in name or "kernels" in name:
                    parameter.add_(0.3 * torch.randn_like(parameter))
            for name, buffer in network.named_buffers():
                if "running" in name:
                    buffer.add_(0.5 * torch.rand_like(buffer))
    return network


def maps(views: int = 3, batch: int = 2, joints: int = 3, size: int = 16) -> tuple[Tensor, ...]:
    """Heatmaps, fused ones (of noise) and times."""
    generator = torch.Generator().manual_seed(views)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    heatmaps = uniform(batch, views, joints, size, size)
    fused = uniform(batch, views, views, joints, size, size)
    seen_s = uniform(batch, views)
    return heatmaps, fused, seen_s[:, None, :] - seen_s[:, :, None]


# -- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("paper", 7_878_480), ("h36m17", 7_558_605), ("paper_per_pair", 12 * 7_878_480)],
)
def test_published_sizes(preset: str, parameters: int) -> None:
    with torch.device("meta"):
        network = DenseWarper(PRESETS[preset])
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_published_multiplications() -> None:
    assert round(multiply_accumulates(PRESETS["paper"])["total"] / 1e9, 1) == 72.5
    assert round(multiply_accumulates(PRESETS["h36m17"])["total"] / 1e9, 1) == 69.6


def test_light_is_light() -> None:
    assert multiply_accumulates(PRESETS["light"])["total"] < 0.25e9


@pytest.mark.parametrize("config", [SMALL, TIMED, COARSE], ids=["small", "timed", "coarse"])
def test_multiply_accumulates_agree_with_torch(config: DenseWarperConfig) -> None:
    heatmaps, fused, dt_s = maps(2, 1)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        build(config).warp_slot(heatmaps, fused[:, :, 1], 1, dt_s[:, :, 1])
    deformable = multiply_accumulates(config)["deformable"]  # of which torch may not know
    counted = counter.get_total_flops() // 2
    assert multiply_accumulates(config)["total"] in (counted, counted + deformable)


# -- what it does --------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SMALL, COARSE, PER_PAIR], ids=["small", "coarse", "per_pair"])
def test_untrained_it_moves_nothing(config: DenseWarperConfig) -> None:
    """To the last bit, whatever the fused heatmaps are."""
    heatmaps, fused, dt_s = maps()
    with torch.no_grad():
        warped = build(config)(heatmaps, fused, dt_s)
    assert torch.equal(warped, heatmaps[:, :, None].expand_as(warped))


def warp_as_written(network: DenseWarper, own: Tensor, fused: Tensor, time: list[float]) -> Tensor:
    """One pair, (joints, rows, columns), with the released code's order of things."""
    warper, c = network.warpers[0], network.config
    rows, columns = own.shape[-2:]
    constant = torch.tensor(time)[:, None, None].expand(len(time), rows, columns)
    x = warper.features(torch.cat((fused - own, constant))[None])
    total = torch.zeros(1, *own.shape)
    for dilation, layer, kernel in zip(c.dilations, warper.offsets, warper.kernels, strict=True):
        offset = layer(x)
        if c.stride > 1:
            offset = F.interpolate(offset, (rows, columns), mode="bilinear")
        total += deformable_conv(own[None], offset, kernel, dilation)
    return total[0] / len(c.dilations)


@pytest.mark.parametrize("config", [SMALL, TIMED, COARSE], ids=["small", "timed", "coarse"])
def test_each_pair_on_its_own(config: DenseWarperConfig) -> None:
    network = build(config, trained=True)
    heatmaps, fused, dt_s = maps()
    with torch.no_grad():
        warped = network(heatmaps, fused, dt_s)
        for b in range(2):
            for v in range(3):
                for s in range(3):
                    dt = float(dt_s[b, v, s])
                    time = [dt / 0.1, math.copysign(1, dt)] if config.time_channels else []
                    expected = heatmaps[b, v]
                    if v != s:
                        expected = warp_as_written(network, expected, fused[b, v, s], time)
                    assert_close(warped[b, v, s], expected)


@pytest.mark.parametrize("config", [SMALL, COARSE, PER_PAIR], ids=["small", "coarse", "per_pair"])
def test_a_slot_alone_is_that_slot_of_all(config: DenseWarperConfig) -> None:
    network = build(config, trained=True)
    heatmaps, fused, dt_s = maps()
    with torch.no_grad():
        warped = network(heatmaps, fused, dt_s)
        for s in range(3):
            alone = network.warp_slot(heatmaps, fused[:, :, s], s, dt_s[:, :, s])
            assert_close(alone, warped[:, :, s])


@pytest.mark.parametrize("config", [TIMED, COARSE, PER_PAIR])
def test_for_inference_it_computes_the_same(config: DenseWarperConfig) -> None:
    network = build(config, trained=True)
    heatmaps, fused, dt_s = maps()
    folded = network.for_inference()
    assert not [name for name, _ in folded.named_buffers() if "running" in name]
    assert [name for name, _ in network.named_buffers() if "running" in name]
    with torch.no_grad():
        assert_close(folded(heatmaps, fused, dt_s), network(heatmaps, fused, dt_s))


def test_pairs_have_warpers_of_their_own() -> None:
    """Numbered view by view: 0-1, 0-2, 1-0, 1-2, 2-0, 2-1. The fourth changes view 1, slot 2."""
    network = build(PER_PAIR)
    heatmaps, fused, _ = maps()
    with torch.no_grad():
        network.warpers[3].kernels.zero_()
        warped = network(heatmaps, fused)
    changed = (warped != heatmaps[:, :, None]).flatten(3).any(-1).any(0)
    assert changed.nonzero().tolist() == [[1, 2]]
    assert not warped[:, 1, 2].any()


@pytest.mark.parametrize("views", [2, 3, 5])
def test_any_number_of_views_and_any_size(views: int) -> None:
    heatmaps, fused, dt_s = maps(views, 1, size=13)
    with torch.no_grad():
        assert build(COARSE)(heatmaps, fused, dt_s).shape == (1, views, views, 3, 13, 13)


def test_time_matters_where_it_is_told() -> None:
    heatmaps, fused, dt_s = maps()
    with torch.no_grad():
        for config, matters in ((TIMED, True), (SMALL, False)):
            network = build(config, trained=True)
            a, b = network(heatmaps, fused, dt_s), network(heatmaps, fused, -dt_s)
            assert torch.equal(a, b) != matters


def test_views_do_not_mix_in_a_batch() -> None:
    network = build(COARSE, trained=True)
    heatmaps, fused, dt_s = maps()
    with torch.no_grad():
        both = network(heatmaps, fused, dt_s)
        assert_close(network(heatmaps[1:], fused[1:], dt_s[1:]), both[1:])


def test_what_is_not_finite_counts_as_nothing() -> None:
    network = build(SMALL, trained=True)
    heatmaps, fused, _ = maps()
    broken, cleaned = heatmaps.clone(), heatmaps.clone()
    broken[0, 0, 0, :2], broken[1, 1, 1, 3, 3] = math.nan, math.inf
    cleaned[0, 0, 0, :2], cleaned[1, 1, 1, 3, 3] = 0, 0
    with torch.no_grad():
        got = network(broken, fused)
        assert got.isfinite().all()
        assert torch.equal(got, network(cleaned, fused))


# -- loss ----------------------------------------------------------------------------------------


def test_smooth_loss() -> None:
    """0.8 (1 - (x^2 / 768 + 1)^-5): x = 0, 8 (12/13), and far."""
    values = smooth_loss(torch.tensor([0.0, 8.0, 1e6], dtype=torch.float64))
    expected = torch.tensor([0, 0.8 * (1 - (12 / 13) ** 5), 0.8], dtype=torch.float64)
    assert_close(values, expected)


def camera(x_m: float) -> Tensor:
    """At (x, 0, 0), looking along z: 10 px focal length, middle at (8, 8)."""
    return torch.tensor([[10.0, 0, 8, -10 * x_m], [0, 10, 8, 0], [0, 0, 1, 0]])


def test_targets_are_those_of_the_slot() -> None:
    """A joint at x = 0.2 s, z = 2: view v at x = v sees it at u = 8 + 5 (0.2 s - v) in slot s,
    not in slot v."""
    joints = torch.tensor([[0.2 * s, 0.0, 2.0] for s in range(3)])[None, :, None]
    projections = torch.stack([camera(v) for v in range(3)])[None]
    targets = slot_targets(joints, projections)
    assert targets.shape == (1, 3, 3, 1, 2)
    for v in range(3):
        for s in range(3):
            assert_close(targets[0, v, s, 0], torch.tensor([8 + 5 * (0.2 * s - v), 8.0]))


def test_nobody_sees_behind_a_camera() -> None:
    targets = slot_targets(torch.tensor([0.0, 0, -2]).view(1, 1, 1, 3), camera(0)[None, None])
    assert targets.isnan().all()


def test_warp_loss() -> None:
    """Two views, two slots, two joints; one of the eight maps is 3 px off to the right and 1 px
    up."""
    truth = torch.full((1, 2, 2, 2, 2), 15.0)
    shifted = truth.clone()
    shifted[0, 1, 0, 1] += torch.tensor([3.0, -1.0])
    heatmaps = render_heatmaps(shifted, None, (32, 32))
    one = float(smooth_loss(torch.tensor(4.0)))
    assert float(warp_loss(heatmaps, truth)) == pytest.approx(1000 * one / 8, rel=1e-3)
    seen = torch.tensor([[[True, True], [True, False]]])
    assert float(warp_loss(heatmaps, truth, seen)) == pytest.approx(0, abs=1e-3)


def test_three_views_must_see_a_joint() -> None:
    truth = torch.full((1, 4, 4, 2, 2), 15.0)
    heatmaps = render_heatmaps(truth + 1, None, (32, 32))
    seen = torch.ones(1, 4, 2, dtype=torch.bool)
    whole = float(warp_loss(heatmaps, truth, seen))
    seen[0, 0, 0] = False
    assert float(warp_loss(heatmaps, truth, seen)) == pytest.approx(whole)
    seen[0, 1, 0] = False
    assert float(warp_loss(heatmaps, truth, seen)) == pytest.approx(whole / 2)


def test_maps_and_targets_that_are_none_add_nothing() -> None:
    truth = torch.full((1, 2, 2, 2, 2), 15.0)
    heatmaps = render_heatmaps(truth + 1, None, (32, 32))
    whole = float(warp_loss(heatmaps, truth))
    heatmaps[0, 0, 0, 0] = 0
    truth[0, 1, 1, 1] = math.nan
    heatmaps.requires_grad_()
    loss = warp_loss(heatmaps, truth)
    assert float(loss.detach()) == pytest.approx(whole * 6 / 8, rel=1e-5)
    loss.backward()
    assert heatmaps.grad is not None and heatmaps.grad.isfinite().all()
    assert not heatmaps.grad[0, 0, 0, 0].any() and not heatmaps.grad[0, 1, 1, 1].any()


# -- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SMALL, COARSE], ids=["small", "coarse"])
def test_every_parameter_learns(config: DenseWarperConfig) -> None:
    """From the start only the last layers; after a step of those, all."""
    network = build(config).train()
    heatmaps, fused, dt_s = maps()
    for wanted in (("offsets", "kernels"), ("features", "offsets", "kernels")):
        network.zero_grad()
        (network(heatmaps, fused, dt_s) * fused).sum().backward()
        for name, parameter in network.named_parameters():
            if any(part in name for part in wanted):
                assert parameter.grad is not None and parameter.grad.any(), name
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.sub_(1e-3 * parameter.grad.sign())


@pytest.mark.parametrize("config", [SMALL, COARSE], ids=["small", "coarse"])
def test_parts_are_the_whole(config: DenseWarperConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """To learn, pairs are warped in parts, and offsets interpolated elsewhere."""
    network = build(config, trained=True)
    heatmaps, fused, dt_s = maps()
    with torch.no_grad():
        whole = network(heatmaps, fused, dt_s)
    gradients = []
    for part in (1 << 22, 2 * 54 * 16 * 16, 1):
        monkeypatch.setattr("radar_pose_ros.models.densewarper._PART_ELEMENTS", part)
        got = network(heatmaps, fused, dt_s)
        assert_close(got.detach(), whole)
        gradients.append(torch.autograd.grad((got * fused).sum(), list(network.parameters())))
    for other in gradients[1:]:
        for a, b in zip(other, gradients[0], strict=True):
            assert float((a - b).norm()) <= 1e-4 * float(b.norm())


def test_it_learns_a_motion() -> None:
    """A point walks 2.5 px per step across two views: untrained it is that far off, trained less
    than half as far."""
    config = dataclasses.replace(COARSE, joints=1, channels=16)
    network = build(config).train()
    generator = torch.Generator().manual_seed(0)
    cameras = torch.stack((camera(0.0), camera(0.0)))
    cameras[1] = torch.tensor([[-8.0, 0, 10, 8 * 2], [-8, 10, 0, 8 * 2], [-1, 0, 0, 2]])

    def batch(count: int) -> tuple[Tensor, ...]:
        start = torch.rand(count, 3, generator=generator) * 0.8 - 0.4
        joints = torch.stack((start, start), 1)
        joints[..., 2] += 2
        joints[:, 1, :2] += torch.tensor([0.35, 0.35])
        joints[..., 0] -= 0.2
        truth = slot_targets(joints[:, :, None], cameras.expand(count, 2, 3, 4))
        own = truth[:, [0, 1], [0, 1]]
        heatmaps = render_heatmaps(own, None, (16, 16), sigma_px=2.0)
        dt_s = torch.tensor([[0.0, 0.1], [-0.1, 0.0]]).expand(count, 2, 2)
        return heatmaps, fuse(heatmaps, cameras), dt_s, truth

    def error_px(network: DenseWarper) -> float:
        heatmaps, fused, dt_s, truth = batch(64)
        with torch.no_grad():
            found = soft_argmax(network(heatmaps, fused, dt_s))
        off = (found - truth).norm(dim=-1)
        return float(off[:, [0, 1], [1, 0]].nanmean())

    before = error_px(network.eval())
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    network.train()
    for _ in range(80):
        heatmaps, fused, dt_s, truth = batch(8)
        optimizer.zero_grad()
        warp_loss(network(heatmaps, fused, dt_s), truth).backward()
        optimizer.step()
    after = error_px(network.eval())
    assert before > 1.5
    assert after < before / 2


# -- refusals ------------------------------------------------------------------------------------


def test_bad_input() -> None:
    heatmaps, fused, dt_s = maps()
    with pytest.raises(ValueError, match=r"heatmaps must be \(batch, views, 3 joints"):
        build(SMALL)(heatmaps[:, :, :2], fused)
    with pytest.raises(ValueError, match=r"fused must be \(2, 3, 3, 3, 16, 16\)"):
        build(SMALL)(heatmaps, fused[:, :, :2])
    with pytest.raises(ValueError, match="needs at least 2 views, got 1"):
        build(SMALL)(heatmaps[:, :1], fused[:, :1, :1])
    with pytest.raises(ValueError, match="needs 3 views, got 2"):
        build(PER_PAIR)(heatmaps[:, :2], fused[:, :2, :2])
    with pytest.raises(ValueError, match=r"needs dt_s, \(2, 3, 3\), got none"):
        build(TIMED)(heatmaps, fused)
    with pytest.raises(ValueError, match=r"dt_s must be \(2, 3, 3\), got \(2, 3\)"):
        build(TIMED)(heatmaps, fused, dt_s[:, 0])
    with pytest.raises(ValueError, match="dt_s holds times that are not finite"):
        build(TIMED)(heatmaps, fused, dt_s / 0)
    with pytest.raises(ValueError, match="slot must be 0 to 2, got 3"):
        build(SMALL).warp_slot(heatmaps, fused[:, :, 0], 3)
    with pytest.raises(ValueError, match=r"fused must be \(2, 3, 3, 16, 16\)"):
        build(SMALL).warp_slot(heatmaps, fused, 0)
    with pytest.raises(ValueError, match=r"joints must be \(batch, slots, joints, 3\)"):
        slot_targets(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"projections must be \(1, views, 3, 4\)"):
        slot_targets(torch.zeros(1, 2, 5, 3), torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="target_px must be"):
        warp_loss(fused, torch.zeros(2, 3, 3, 2))
    with pytest.raises(ValueError, match=r"seen must be \(2, 3, 3\)"):
        warp_loss(fused, torch.zeros(2, 3, 3, 3, 2), torch.ones(2, 3))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"dilations": ()}, r"dilations must be at least 1, got \(\)"),
        ({"views": 1}, "views must be at least 2, got 1"),
        ({"offset_kernel": 2}, "offset_kernel must be 1 or 3, got 2"),
        ({"time_unit_s": 0.0}, "time_unit_s must be positive, got 0"),
        ({"extrapolation": 1.5}, "extrapolation must be 0 to 1, got 1.5"),
    ],
)
def test_configurations_that_are_none(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(SMALL, **change)


def test_one_slot_of_a_stream() -> None:
    """The preset for it, from keypoints to heatmaps at the newest slot."""
    network = build(PRESETS["light"])
    keypoints = 10 + 40 * torch.rand(1, 4, 17, 2, generator=torch.Generator().manual_seed(0))
    heatmaps = render_heatmaps(keypoints, None, (64, 64))
    cameras = torch.stack([4 * camera(0.5 * v) for v in range(4)])
    fused = fuse_slot(heatmaps, cameras, 3)
    with torch.no_grad():
        warped = network.warp_slot(heatmaps, fused, 3, torch.arange(3, -1, -1)[None] / 60)
    assert_close(soft_argmax(warped), soft_argmax(heatmaps))
