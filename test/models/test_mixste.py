"""MixSTE: sizes, parts against plain re-statements, what it may depend on."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from radar_pose_ros.models import mixste
from radar_pose_ros.models.mixste import (
    PRESETS,
    Block,
    DropPath,
    MixSTE,
    MixSTEConfig,
    multiply_accumulates,
)

SMALL = MixSTEConfig(frames=5, width=16, depth=2, heads=4)


def build(config: MixSTEConfig = SMALL) -> MixSTE:
    """A network with positions that are not zero."""
    torch.manual_seed(0)
    network = MixSTE(config).eval()
    nn.init.normal_(network.joint_position)
    nn.init.normal_(network.frame_position)
    return network


def keypoints(config: MixSTEConfig = SMALL, batch: int = 2) -> Tensor:
    shape = (batch, 2, config.joints, config.frames)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_number_of_parameters() -> None:
    """539,139 with the last linear layer of 195, 16 blocks of 33,472."""
    network = MixSTE(PRESETS["paper"])
    assert count(network) == 539_139
    assert count(network.without_head()) == 538_944
    assert {count(block) for block in (*network.spatial, *network.temporal)} == {33_472}


def test_published_number_of_multiplications() -> None:
    """268.7 M: products, and five operations for each number that a norm reads."""
    work = multiply_accumulates(PRESETS["paper"])
    assert work["total"] + work["norms"] == pytest.approx(268.7e6, abs=0.05e6)


@pytest.mark.parametrize("config", [SMALL, dataclasses.replace(PRESETS["paper"], depth=1)])
def test_multiply_accumulates_as_torch_counts_them(config: MixSTEConfig) -> None:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        MixSTE(config).eval()(keypoints(config, batch=1))
    assert counter.get_total_flops() == 2 * multiply_accumulates(config)["total"]


def test_block_is_attention_and_mlp() -> None:
    """Head by head, with the softmax written out."""
    torch.manual_seed(0)
    block = Block(SMALL, 0.0)
    x = torch.randn(3, 7, 16)
    y = block.norm1(x)
    query, key, value = block.qkv(y).split(16, dim=-1)
    heads = []
    for head in range(4):
        part = slice(4 * head, 4 * head + 4)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(4)
        heads.append(scores.softmax(-1) @ value[..., part])
    expected = x + block.out(torch.cat(heads, dim=-1))
    expected = expected + block.down(nn.functional.gelu(block.up(block.norm2(expected))))
    assert_close(block(x).detach().numpy(), expected.detach().numpy())


def test_order_of_the_layers() -> None:
    """Spatial, norm, temporal, norm; the frames' positions once, before the first temporal one."""
    network = build()
    c = network.config
    x = network.embed(keypoints().permute(0, 3, 2, 1)) + network.joint_position
    for number in range(c.depth):
        frames = [network.spatial_norm(network.spatial[number](x[:, t])) for t in range(c.frames)]
        x = torch.stack(frames, dim=1)
        if number == 0:
            x = x + network.frame_position[:, None]
        joints = [
            network.temporal_norm(network.temporal[number](x[:, :, j])) for j in range(c.joints)
        ]
        x = torch.stack(joints, dim=2)
    expected = network.head(network.norm(x)).permute(0, 3, 2, 1)
    assert_close(network(keypoints()).detach().numpy(), expected.detach().numpy())


def test_first_spatial_blocks_see_one_frame_only() -> None:
    """What a frame changes before the first temporal block stays in it."""
    network = build(dataclasses.replace(SMALL, depth=1))
    nn.init.zeros_(network.temporal[0].out.weight)  # no look at other frames
    x = keypoints()
    changed = x.clone()
    changed[..., 3] += 1
    moved = (network(changed) - network(x)).abs().amax((0, 1, 2))
    assert moved[3] > 1e-3
    assert moved[[0, 1, 2, 4]].max() == 0


def test_features_are_what_the_head_is_given() -> None:
    network = build()
    features = network.features(keypoints())
    assert features.shape == (2, 16, 17, 5)
    assert_close(features.mean(1).detach().numpy(), torch.zeros(2, 17, 5).numpy())  # normalised
    poses = network.head(features.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
    assert torch.equal(poses, network(keypoints()))
    bare = network.without_head().eval()
    assert torch.equal(bare.features(keypoints()), features)
    with pytest.raises(ValueError, match="has no head"):
        bare(keypoints())


def test_drop_path_keeps_the_mean_and_drops_whole_samples() -> None:
    torch.manual_seed(0)
    layer = DropPath(0.25).train()
    y = layer(torch.ones(20_000, 3))
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(y[:, 0], y[:, 2])
    assert float(y.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(layer.eval()(y), y)
    rates = [block.drop_path.probability for block in MixSTE(PRESETS["paper"]).spatial]
    assert rates == pytest.approx([0.1 * k / 7 for k in range(8)])


def test_wrong_shapes_and_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"2, 17 joints, 5 frames\), got \(2, 2, 5, 17\)"):
        build()(keypoints().transpose(2, 3))
    with pytest.raises(ValueError, match="width 30 does not divide into 8 heads"):
        MixSTEConfig(width=30)
    with pytest.raises(ValueError, match=r"drop_path must lie in \[0, 1\), got 1"):
        MixSTEConfig(drop_path=1)


def test_attention_is_the_same_in_training_and_in_use() -> None:
    """The form that is faster to learn with, and torch's own; values and gradients."""
    torch.manual_seed(0)
    parts = [torch.randn(3, 8, 17, 8, requires_grad=True) for _ in range(3)]
    ours = mixste._attention(*parts)
    theirs = torch.nn.functional.scaled_dot_product_attention(*parts)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    weights = torch.randn_like(ours)
    gradients = [torch.autograd.grad((out * weights).sum(), parts) for out in (ours, theirs)]
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)
