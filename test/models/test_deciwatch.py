"""DeciWatch's design: sizes, parts against torch's own, learning."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tolerances import assert_close
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from radar_pose_ros.models.deciwatch import (
    PRESETS,
    DeciWatch,
    DeciWatchConfig,
    Layer,
    multiply_accumulates,
    sinusoids,
)
from radar_pose_ros.models.interpolation import interpolate

SMALL = DeciWatchConfig(
    joints=5, values=2, interval=4, segments=3, width=16, layers=2, heads=2, dropout=0.0
)


def build(**changes: object) -> DeciWatch:
    torch.manual_seed(0)
    return DeciWatch(dataclasses.replace(SMALL, **changes)).eval()


def keyframes(batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 4, 5, 2, generator=torch.Generator().manual_seed(1))


def test_published_size() -> None:
    """1.7 million parameters; about the 0.7 million multiplications per frame of the paper."""
    config = PRESETS["deciwatch_h36m"]
    with torch.device("meta"):
        parameters = sum(p.numel() for p in DeciWatch(config).parameters())
    assert parameters == 1_710_626
    work = multiply_accumulates(config)
    assert work["total"] == 110_540_885
    assert 0.7e6 < work["linear"] / config.frames < 1.0e6


@pytest.mark.parametrize("changes", [{}, {"centre": True}, {"kernel": 3, "segments": 3}])
def test_multiply_accumulates_as_torch_counts_them(changes: dict) -> None:
    network = build(**changes)
    # torch cannot look into its fused attention
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(keyframes(1))
    assert counter.get_total_flops() == 2 * multiply_accumulates(network.config)["total"]


@pytest.mark.parametrize("cross", [False, True])
def test_layers_are_torch_s_own(cross: bool) -> None:
    """Against nn.TransformerEncoderLayer and nn.TransformerDecoderLayer, pre-norm."""
    torch.manual_seed(0)
    ours = Layer(SMALL, cross).eval()
    kind = nn.TransformerDecoderLayer if cross else nn.TransformerEncoderLayer
    theirs = kind(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True).eval()
    attentions = {"self_attn": ours.attention}
    norms = [ours.norm, ours.mlp_norm]
    if cross:
        attentions["multihead_attn"] = ours.cross
        norms.insert(1, ours.cross_norm)
    with torch.no_grad():
        for name, attention in attentions.items():
            target = getattr(theirs, name)
            parts = (attention.query, attention.key, attention.value)
            target.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            target.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
            target.out_proj.load_state_dict(attention.out.state_dict())
        for number, norm in enumerate(norms, start=1):
            getattr(theirs, f"norm{number}").load_state_dict(norm.state_dict())
        theirs.linear1.load_state_dict(ours.up.state_dict())
        theirs.linear2.load_state_dict(ours.down.state_dict())
    x, memory = torch.randn(2, 7, 16), torch.randn(2, 4, 16)
    arguments = (x, memory) if cross else (x,)
    assert_close(ours(*arguments).detach().numpy(), theirs(*arguments).detach().numpy())


def test_sinusoids() -> None:
    places = sinusoids(5, 8)
    assert_close(places[3, 2].item(), np.sin(3 / 10000**0.25).astype(np.float32))
    assert_close(places[3, 7].item(), np.cos(3 / 10000**0.75).astype(np.float32))


def test_it_may_begin_as_linear_interpolation() -> None:
    network = build(start_from_interpolation=True, centre=True, scale=4.0)
    x = keyframes()
    output = network(x, both=True)
    assert_close(output.denoised.detach().numpy(), x.numpy())
    assert torch.equal(network(x), output.recovered)
    for k in range(3):
        expected = interpolate(np.arange(4) * 4.0, x[k].numpy(), np.arange(13.0)).poses
        np.testing.assert_allclose(output.recovered[k].detach(), expected, atol=1e-5)


def test_every_parameter_learns() -> None:
    """From the two losses of the paper: of the keyframes and of all frames."""
    network = build().train()
    output = network(keyframes(), both=True)
    assert output.recovered.shape == (3, 13, 5, 2) and output.denoised.shape == (3, 4, 5, 2)
    (output.recovered.square().mean() + output.denoised.square().mean()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # a softmax does not care for what all its inputs have in common
        assert parameter.grad.abs().max() > 0 or name.endswith("key.bias"), name


def test_windows_of_a_batch_do_not_mix() -> None:
    network, x = build(), keyframes()
    assert_close(network(x)[1:2].detach().numpy(), network(x[1:2]).detach().numpy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"width": 18}, "width 18 is no multiple of 2 x 2 heads"),
        ({"kernel": 4}, "kernel must be odd, got 4"),
        ({"scale": -1.0}, "scale must be positive, got -1.0"),
    ],
)
def test_wrong_configurations_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_wrong_keyframes_are_named() -> None:
    with pytest.raises(ValueError, match=r"4 keyframes, 5 joints, 2 values\), got \(3, 4, 2, 5\)"):
        build()(torch.zeros(3, 4, 2, 5))
