"""milliMamba: sizes, parts against plain re-statements, options, streaming, learning."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tolerances import assert_close
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from radar_pose_ros.models import millimamba
from radar_pose_ros.models.losses import PoseLossConfig, pose_loss
from radar_pose_ros.models.millimamba import (
    PRESETS,
    FrameConv,
    MilliMamba,
    MilliMambaConfig,
    VisionMambaLayer,
    multiply_accumulates,
    normalise,
    normalise_channels,
)
from radar_pose_ros.models.ops import native
from radar_pose_ros.models.ops.selective_scan import selective_scan_reference

SMALL = MilliMambaConfig(
    frames=3,
    angle_bins=16,
    doppler_bins=4,
    range_bins=32,
    input_features="complex_magnitude",
    merge_channels=8,
    merge_kernel=3,
    merge_stride=2,
    block_channels=(16,),
    temporal_kernel=1,
    patch=(2, 2),
    width=32,
    encoder_layers=2,
    state_size=4,
    decoder_layers=2,
    heads=4,
    dropout=0.0,
)


def build(config: MilliMambaConfig = SMALL, **changes: object) -> MilliMamba:
    torch.manual_seed(0)
    return MilliMamba(dataclasses.replace(config, **changes)).eval()


def heatmaps(config: MilliMambaConfig, batch: int = 2, seed: int = 0) -> Tensor:
    c = config
    shape = (
        batch,
        c.views,
        c.frames,
        c.input_channels,
        c.angle_bins,
        c.doppler_bins,
        c.range_bins,
    )
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# -- sizes ---------------------------------------------------------------------------------------


def test_parameters_of_a_vision_mamba_layer() -> None:
    """The sum for a width of 128 and 16 states: 134.8 thousand."""
    layer = VisionMambaLayer(MilliMambaConfig(width=128))
    assert count(layer.in_proj) == 65_536
    assert count(layer.out_proj) == 32_768
    assert count(layer.norm) == 128
    assert layer.conv_weight[0].numel() + layer.conv_bias[0].numel() == 1_280
    assert layer.x_proj[0].numel() == 10_240
    assert layer.dt_proj[0].numel() + layer.dt_bias[0].numel() == 2_304
    assert layer.A_log[0].numel() == 4_096
    assert layer.D[0].numel() == 256
    assert count(layer) == 65_536 + 32_768 + 2 * (1_280 + 10_240 + 2_304 + 4_096 + 256) + 128


def test_paper_preset_sizes() -> None:
    """Within 3 % of the 34.4 GMACs that the paper states, 18,432 tokens, 5.0 M parameters."""
    config = PRESETS["paper"]
    assert config.frames * config.tokens_per_frame == 18_432
    assert config.grid == (16, 64)
    work = multiply_accumulates(config)
    assert work["total"] == 35_322_447_744
    assert abs(work["total"] / 34.4e9 - 1) < 0.03
    with torch.device("meta"):
        assert count(MilliMamba(config)) == 5_037_443


def test_edge_preset_can_stream_and_is_small() -> None:
    config = PRESETS["edge"]
    with torch.device("meta"):
        network = MilliMamba(config)
    assert config.streams
    assert count(network) < 1.5e6
    assert multiply_accumulates(config)["total"] < 0.7e9


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temporal_kernel": 3, "merge_stride": 1, "block_channels": (8, 16), "patch": (1, 1)},
        {"deep_supervision": True, "many_to_one": True, "confidence_head": False},
        {"views": 1, "input_features": "magnitude"},
        {"encoder": "transformer"},
    ],
)
def test_multiply_accumulates_as_torch_counts_them(changes: dict) -> None:
    """torch counts the chunked scan's small matrix products too, states x tokens x layers."""
    network = build(**changes)
    # torch cannot look into its fused attention
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(heatmaps(network.config, batch=1))
    work = multiply_accumulates(network.config)
    scans = 0 if native.available() else work["scan_states"]
    assert counter.get_total_flops() == 2 * (work["total"] + scans)


# -- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "stride", "frames"), [(3, 1, 3), (3, 2, 1), (1, 2, 3)])
def test_frame_convolution_is_a_3d_convolution(kernel: int, stride: int, frames: int) -> None:
    torch.manual_seed(0)
    ours = FrameConv(4, 6, kernel, stride, frames).double()
    x = torch.randn(2, 5, 8, 12, 4, dtype=torch.float64)
    weight = ours.conv.weight.unflatten(1, (frames, 4)).transpose(1, 2)
    expected = F.conv3d(
        x.permute(0, 4, 1, 2, 3),
        weight,
        stride=(1, stride, stride),
        padding=(frames // 2, kernel // 2, kernel // 2),
    )
    assert_close(ours(x).detach().numpy(), expected.permute(0, 2, 3, 4, 1).detach().numpy())


def plain_vision_mamba(layer: VisionMambaLayer, residual: Tensor) -> Tensor:
    """The layer as the specification puts it, one direction after the other."""
    rank, states = layer.rank, layer.states
    x, z = layer.in_proj(layer.norm(residual)).permute(1, 2, 0).chunk(2, dim=1)
    total = torch.zeros_like(x)
    for direction in range(2):
        u, gate = (t.flip(-1) if direction else t for t in (x, z))
        inner = u.shape[1]
        weight = layer.conv_weight[direction, :, None]
        u = F.conv1d(F.pad(u, (3, 0)), weight, layer.conv_bias[direction], groups=inner)
        u = F.silu(u)
        projected = torch.einsum("bcl,ck->bkl", u, layer.x_proj[direction])
        low, B, C = projected.split((rank, states, states), dim=1)
        y = selective_scan_reference(
            u,
            torch.einsum("brl,rc->bcl", low, layer.dt_proj[direction]),
            -torch.exp(layer.A_log[direction].T),
            B,
            C,
            layer.D[direction],
            gate,
            layer.dt_bias[direction],
            dt_softplus=True,
        )
        total = total + (y.flip(-1) if direction else y)
    return residual + layer.scale * layer.out_proj(total.permute(2, 0, 1))


@pytest.mark.parametrize("average", [False, True])
def test_vision_mamba_layer_is_what_the_specification_says(average: bool) -> None:
    """Values and gradients of every parameter."""
    torch.manual_seed(0)
    layer = VisionMambaLayer(dataclasses.replace(SMALL, average_directions=average))
    residual = torch.randn(21, 2, 32)
    got, expected = layer(residual), plain_vision_mamba(layer, residual)
    assert_close(got.detach().numpy(), expected.detach().numpy())
    weight = torch.randn_like(got)
    parameters = dict(layer.named_parameters())
    ours = torch.autograd.grad((got * weight).sum(), list(parameters.values()))
    plain = torch.autograd.grad((expected * weight).sum(), list(parameters.values()))
    for name, a, b in zip(parameters, ours, plain, strict=True):
        error = (a - b).abs().max() / b.abs().max()
        assert error < 1e-4, name


def test_initial_step_sizes_and_decay_rates() -> None:
    torch.manual_seed(0)
    layer = VisionMambaLayer(SMALL)
    steps = F.softplus(layer.dt_bias)
    assert steps.min() >= 0.999e-3 and steps.max() <= 1.001e-1
    # log-uniform: as many below as above 1e-2
    assert 0.3 < (steps < 1e-2).float().mean() < 0.7
    assert_close(torch.exp(layer.A_log[1, :, 3]).detach().numpy(), np.float32([1, 2, 3, 4]))


def test_normalise_rms() -> None:
    """RMS magnitude 1 per frame and view, phase kept, zeros kept."""
    torch.manual_seed(0)
    heatmap = torch.randn(2, 3, 8, 4, 16, dtype=torch.complex64) * 1e4
    heatmap[1, 2] = 0
    channels = normalise(heatmap)
    assert channels.shape == (2, 3, 2, 8, 4, 16)
    power = channels.square().sum(2).mean((-3, -2, -1))
    assert_close(power.numpy(), np.float32([[1, 1, 1], [1, 1, 0]]))
    angle = torch.atan2(channels[0, 0, 1], channels[0, 0, 0])
    assert_close(angle.numpy(), heatmap[0, 0].angle().numpy())
    assert_close(normalise_channels(channels).numpy(), channels.numpy())  # a second time: nothing


def test_normalise_zscore() -> None:
    """HuPR's: each plane of each Doppler bin has mean 0 and variance 1."""
    torch.manual_seed(0)
    channels = normalise(torch.randn(8, 4, 16, dtype=torch.complex64) * 7 + 3, "zscore")
    assert_close(channels.mean((-3, -1)).numpy(), np.zeros((2, 4), np.float32))
    assert_close(channels.square().mean((-3, -1)).numpy(), np.ones((2, 4), np.float32))
    with pytest.raises(ValueError, match="none of rms, zscore, none"):
        normalise(torch.zeros(1, 1, 1, dtype=torch.complex64), "max")


def test_order_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Range fastest, then angle, view and frame: a changed cell changes the token there."""
    monkeypatch.setattr(millimamba.FrameNorm, "forward", lambda self, x: x)
    network = build(normalisation="none", input_features="complex")
    c = network.config
    angle_tokens, range_tokens = c.grid
    x = heatmaps(c, batch=1)
    before = network.encode_frames(x).flatten(1, 2)
    for frame, view, angle, range_ in ((0, 0, 0, 0), (1, 1, 0, 3), (2, 0, 1, 2), (0, 1, 1, 1)):
        changed = x.clone()
        rows, columns = (slice(8 * k + 2, 8 * k + 6) for k in (angle, range_))
        changed[:, view, frame, :, rows, :, columns] += 10
        moved = (network.encode_frames(changed).flatten(1, 2) - before).norm(dim=-1)[0]
        token = ((frame * c.views + view) * angle_tokens + angle) * range_tokens + range_
        assert moved.argmax() == token


def test_zigzag_reverses_the_range_of_odd_angle_rows() -> None:
    plain, zigzag = build(), build(zigzag=True)
    zigzag.load_state_dict(plain.state_dict())
    x = heatmaps(SMALL)
    assert SMALL.grid == (2, 4)
    order = [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11, 15, 14, 13, 12]
    tokens = plain.encode_frames(x)
    assert torch.equal(zigzag.encode_frames(x), tokens[:, :, order])
    # attention does not care for the order if keys keep their places: the decoder agrees
    memory = tokens.flatten(1, 2)
    shuffled = tokens[:, :, order].flatten(1, 2)
    assert_close(
        zigzag._decode(shuffled).keypoints.detach().numpy(),
        plain._decode(memory).keypoints.detach().numpy(),
    )


# -- the network ---------------------------------------------------------------------------------

OPTIONS = {
    "many_to_one": {"many_to_one": True},
    "single_view": {"views": 1},
    "transformer": {"encoder": "transformer"},
    "five_frames": {"frames": 5},
    "zigzag": {"zigzag": True},
    "average_directions": {"average_directions": True},
    "three_frame_kernels": {"temporal_kernel": 3},
    "causal": {"temporal_kernel": 3, "causal": True},
    "deep_supervision": {"deep_supervision": True},
    "no_confidence": {"confidence_head": False},
    "complex": {"input_features": "complex"},
    "magnitude": {"input_features": "magnitude"},
    "zscore": {"normalisation": "zscore"},
    "four_dimensional": {"input_channels": 2 * 8, "doppler_bins": 16},
    "dropout": {"dropout": 0.1},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_runs_and_learns_everywhere(name: str) -> None:
    """Shapes and ranges of the output; every parameter gets a gradient that is not all zero."""
    network = build(**OPTIONS[name]).train()
    c = network.config
    x = heatmaps(c)
    valid = torch.ones(2, c.views, c.frames, dtype=torch.bool)
    valid[0, :, 1] = False
    output = network(x, valid)
    assert output.keypoints.shape == (2, c.output_frames, 14, 2)
    assert output.confidence.shape == (2, c.output_frames, 14)
    assert (output.keypoints >= 0).all() and (output.keypoints <= 256).all()
    assert len(output.intermediate) == (c.decoder_layers - 1 if c.deep_supervision else 0)
    assert torch.isnan(output.confidence).all() == (not c.confidence_head)
    truth = 100 + 50 * torch.rand(2, c.frames, 14, 2, generator=torch.Generator().manual_seed(1))
    pose_loss(output, truth, PoseLossConfig(), 0.0)["loss"].backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        # with a single frame of queries there is nothing to attend to in time but itself
        if (
            not (c.many_to_one and ".temporal." in parameter_name)
            and "key.bias" not in parameter_name
        ):
            assert parameter.grad.abs().max() > 0, parameter_name


def test_streamed_frames_equal_the_whole_window() -> None:
    """Frame by frame, as the live node does it, within 1e-5 of the coordinates' range."""
    network = build(PRESETS["edge"])
    x = heatmaps(network.config, batch=1)
    whole = network(x)
    features = [network.encode_frames(x[:, :, t : t + 1]) for t in range(network.config.frames)]
    streamed = network.decode_window(torch.cat(features, dim=1))
    assert (streamed.keypoints - whole.keypoints).abs().max() < 1e-5 * 256
    assert (streamed.confidence - whole.confidence).abs().max() < 1e-5


def test_three_frame_kernels_do_not_stream() -> None:
    network = build(temporal_kernel=3)
    x = heatmaps(network.config, batch=1)
    assert not network.config.streams
    one_by_one = [network.encode_frames(x[:, :, t : t + 1]) for t in range(3)]
    assert not torch.allclose(torch.cat(one_by_one, 1), network.encode_frames(x), atol=1e-3)


def test_batch_entries_do_not_mix_and_runs_repeat() -> None:
    network = build()
    x = heatmaps(SMALL)
    both = network(x)
    assert torch.equal(both.keypoints, network(x).keypoints)
    alone = network(x[1:])
    assert_close(both.keypoints[1:].detach().numpy(), alone.keypoints.detach().numpy())


def test_what_stands_in_a_missing_frame_does_not_matter() -> None:
    for changes in ({}, {"temporal_kernel": 3}):
        network = build(**changes)
        x = heatmaps(SMALL)
        valid = torch.ones(2, 2, 3, dtype=torch.bool)
        everything = network(x, valid).keypoints
        assert torch.equal(everything, network(x).keypoints)
        valid[0, 1, 2] = valid[1, 0, 0] = False
        without = network(x, valid).keypoints
        x[0, 1, 2] = torch.nan
        x[1, 0, 0] = 1e9
        assert torch.equal(network(x, valid).keypoints, without)
        assert not torch.allclose(without, everything, atol=1e-3)


def test_a_view_taken_out_is_a_view_that_never_came() -> None:
    for changes in ({}, {"zigzag": True}, {"temporal_kernel": 3}):
        network = build(**changes)
        x = heatmaps(SMALL)
        there = torch.tensor([False, True])
        tokens = network.encode_frames(x)
        without = network.without_views(tokens, there)
        valid = there[:, None].expand(x.shape[:3])
        assert torch.equal(without, network.encode_frames(x, valid))
        assert not torch.equal(without, tokens)
        assert torch.equal(network.without_views(tokens, torch.tensor([True, True])), tokens)


def test_gain_of_the_receiver_does_not_matter() -> None:
    network = build()
    x = heatmaps(SMALL)
    assert_close(
        network(1000 * x).keypoints.detach().numpy(), network(x).keypoints.detach().numpy()
    )


def test_empty_scene_is_finite() -> None:
    assert torch.isfinite(build()(torch.zeros_like(heatmaps(SMALL))).keypoints).all()


def test_autocast_gives_single_precision_output() -> None:
    network = build()
    x = heatmaps(SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(x)
    assert output.keypoints.dtype == torch.float32
    assert (output.keypoints - network(x).keypoints).abs().max() < 0.05 * 256


def test_it_learns_two_windows_by_heart() -> None:
    network = build(encoder_layers=1, decoder_layers=1).train()
    x = heatmaps(SMALL)
    truth = 80 + 100 * torch.rand(2, 3, 14, 2, generator=torch.Generator().manual_seed(3))
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(250):
        terms = pose_loss(network(x), truth, PoseLossConfig(l1_floor=1.0), step / 250)
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
    error_px = (network(x).keypoints - truth).norm(dim=-1).mean()
    assert error_px < 8  # the spread of the truth itself is 40 px
    assert (network(x).confidence.mean() - (1 - terms["oks"])).abs() < 0.2


def test_parameters_without_weight_decay() -> None:
    """Biases, decay rates and embeddings of more than one dimension opt out of weight decay."""
    kept = {
        name.split(".")[-1]
        for name, parameter in build().named_parameters()
        if getattr(parameter, "_no_weight_decay", False)
    }
    assert kept == {
        "conv_bias",
        "dt_bias",
        "A_log",
        "D",
        "position",
        "missing",
        "frame_position",
        "queries",
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"views": 3}, "views must be 1 or 2"),
        ({"temporal_kernel": 2}, "must be odd"),
        ({"heads": 5}, "does not divide into 5 heads"),
        ({"input_channels": 3}, "must be even"),
        ({"frames": 4, "many_to_one": True}, "is even"),
        ({"range_bins": 36}, "range_bins 36 is no multiple of 8"),
    ],
)
def test_impossible_configurations_are_named(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(SMALL, **changes)


def test_wrong_input_is_named() -> None:
    network = build()
    with pytest.raises(ValueError, match=r"32 range bins\), got \(2, 2, 3, 2, 16, 4, 31\)"):
        network(heatmaps(SMALL)[..., :31])
    with pytest.raises(ValueError, match=r"valid must be \(2, 2, 3\)"):
        network(heatmaps(SMALL), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="3 frames, 16 tokens, 32"):
        network.decode_window(torch.zeros(1, 2, 16, 32))
