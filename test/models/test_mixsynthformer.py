"""MixSynthFormer: published sizes, parts against plain re-statements, options, learning."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.special import erf
from tolerances import assert_close
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from radar_pose_ros.models import deciwatch
from radar_pose_ros.models.interpolation import interpolate
from radar_pose_ros.models.mixsynthformer import (
    PRESETS,
    MixSynthAttention,
    MixSynthFormer,
    MixSynthFormerConfig,
    SyntheticAttention,
    multiply_accumulates,
    recovery_matrix,
)

SMALL = MixSynthFormerConfig(
    joints=5,
    values=2,
    interval=4,
    segments=3,
    width=12,
    layers=2,
    spatial_reduction=2,
    dropout=0.0,
)


def build(config: MixSynthFormerConfig = SMALL, **changes: object) -> MixSynthFormer:
    torch.manual_seed(0)
    return MixSynthFormer(dataclasses.replace(config, **changes)).eval()


def keyframes(config: MixSynthFormerConfig, batch: int = 3) -> Tensor:
    shape = (batch, config.keyframes, config.joints, config.values)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# -- sizes ---------------------------------------------------------------------------------------

# Preset, reductions over frames and channels, parameters, and thousands of multiplications per
# frame, of linear layers alone and with the products of attention.
PUBLISHED = [
    ("h36m_fcn", 1, 1, 261_771, 131.8, 177.2),
    ("h36m_fcn", 4, 1, 211_003, 118.8, 144.7),
    ("h36m_fcn", 1, 4, 229_707, 123.6, 156.7),
    ("h36m_fcn", 4, 4, 178_939, 110.6, 124.2),
    ("pw3d_spin", 4, 1, 54_391, 30.9, 38.1),
    ("pw3d_eft", 4, 1, 54_391, 30.9, 38.1),
    ("pw3d_pare", 4, 1, 109_778, 34.6, 43.5),
    ("pw3d_pare_smpl", 4, 1, 159_549, 124.1, 146.7),
    ("jhmdb_simplepose", 4, 1, 556_127, 505.6, 596.5),
    ("aist_spin", 4, 1, 709_045, 535.8, 641.4),
    ("aist_spin_smpl", 4, 1, 735_259, 563.0, 668.6),
]


@pytest.mark.parametrize(("preset", "r_t", "r_s", "parameters", "linear", "all_"), PUBLISHED)
def test_published_sizes(
    preset: str, r_t: int, r_s: int, parameters: int, linear: float, all_: float
) -> None:
    """To the last parameter, and to the last digit of the multiplications.

    The column with attention was made by a tool that also counts norms.
    """
    config = PRESETS[preset]
    assert (config.temporal_reduction, config.spatial_reduction) == (4, 1)
    config = dataclasses.replace(config, temporal_reduction=r_t, spatial_reduction=r_s)
    with torch.device("meta"):
        assert count(MixSynthFormer(config)) == parameters
    work = multiply_accumulates(config)
    thousands = 1000 * config.frames
    assert round(work["linear"] / thousands, 1) == linear
    assert round((work["total"] + work["norms"]) / thousands, 1) == all_


@pytest.mark.parametrize(
    ("preset", "pose_size", "segments", "frames", "width", "layers"),
    [
        ("jhmdb_simplepose", 30, 1, 11, 128, 5),
        ("h36m_fcn", 51, 10, 101, 64, 4),
        ("pw3d_spin", 42, 5, 51, 32, 4),
        ("pw3d_eft", 42, 5, 51, 32, 4),
        ("pw3d_pare", 42, 10, 101, 32, 4),
        ("pw3d_pare_smpl", 144, 5, 51, 64, 4),
        ("aist_spin", 42, 10, 101, 128, 5),
        ("aist_spin_smpl", 144, 10, 101, 128, 5),
    ],
)
def test_published_tasks(
    preset: str, pose_size: int, segments: int, frames: int, width: int, layers: int
) -> None:
    c = PRESETS[preset]
    assert (c.pose_size, c.segments, c.frames) == (pose_size, segments, frames)
    assert (c.width, c.layers, c.interval, c.dropout) == (width, layers, 10, 0.1)


def test_motion_prediction_sees_ten_frames_and_gives_ten() -> None:
    c = PRESETS["h36m_prediction"]
    assert (c.keyframes, c.past_frames, c.frames, c.width, c.layers) == (10, 10, 20, 64, 4)


OPTIONS = {
    "as_published": {},
    "no_reduction": {"temporal_reduction": 1, "spatial_reduction": 1},
    "per_channel": {"mixing": "per_channel"},
    "no_excitation": {"excitation": False},
    "no_weighted_sum": {"weighted_sum": False},
    "no_temporal": {"temporal": False},
    "no_spatial": {"spatial": False},
    "linear": {"recovery": "linear"},
    "cubic": {"recovery": "cubic"},
    "damped": {"recovery": "damped", "future_frames": 4},
    "future": {"future_frames": 4},
    "centred": {"centre": True, "scale": 256.0},
    "one_segment": {"segments": 1, "temporal_reduction": 1},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_multiply_accumulates_as_torch_counts_them(name: str) -> None:
    network = build(**OPTIONS[name])
    with FlopCounterMode(display=False) as counter:
        network(keyframes(network.config, batch=1))
    assert counter.get_total_flops() == 2 * multiply_accumulates(network.config)["total"]


def test_a_fifth_of_the_work_of_deciwatch() -> None:
    ours = multiply_accumulates(PRESETS["h36m_fcn"])["total"]
    theirs = deciwatch.multiply_accumulates(deciwatch.PRESETS["deciwatch_h36m"])["total"]
    assert theirs > 5 * ours


def test_our_presets() -> None:
    """Sampled at 10 Hz, refined to 30 Hz; nothing idle; a tenth of a second with Q = 1."""
    for name in ("radar_2d", "radar_2d_fast", "radar_2d_live", "pose_3d", "pose_3d_fast"):
        c = PRESETS[name]
        assert c.interval == 3
        assert count(MixSynthFormer(c)) < 100_000
        names = [name for name, _ in MixSynthFormer(c).named_parameters()]
        assert not any("spatial.value" in name for name in names)
        assert any("temporal.value" in name for name in names) == (c.temporal_reduction > 1)
    assert PRESETS["radar_2d_fast"].frames == 4
    assert PRESETS["radar_2d"].pose_size == 28
    assert PRESETS["pose_3d"].pose_size == 51


# -- parts ---------------------------------------------------------------------------------------


def plain_attention(layer: SyntheticAttention, x: np.ndarray) -> np.ndarray:
    """One matrix (rows, columns), as the specification puts it."""
    p = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    scores = x @ p["map.weight"].T + p["map.bias"]
    if layer.excitation is not None:
        hidden = np.maximum(p["excitation.0.weight"] @ scores.mean(axis=1), 0)
        scores = scores / (1 + np.exp(-p["excitation.2.weight"] @ hidden))[:, None]
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    value = x
    if layer.reduces:
        value = p["value.weight"] @ x + p["value.bias"][:, None]
    return weights @ value


@pytest.mark.parametrize("reduction", [1, 4])
@pytest.mark.parametrize("excitation", [False, True])
def test_attention_is_what_the_specification_says(reduction: int, excitation: bool) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, excitation=excitation)
    layer = SyntheticAttention(13, 12, reduction, config).double()
    x = torch.randn(2, 13, 12, dtype=torch.float64)
    expected = np.stack([plain_attention(layer, matrix.numpy()) for matrix in x])
    assert_close(layer(x).detach().numpy(), expected)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / math.sqrt(2))) / 2


@pytest.mark.parametrize("mixing", ["per_frame", "per_channel"])
def test_branches_are_mixed_as_code_and_paper_say(mixing: str) -> None:
    """The code gives each frame its weights, the paper each channel; they sum to 1."""
    torch.manual_seed(0)
    layer = MixSynthAttention(dataclasses.replace(SMALL, mixing=mixing)).double()
    x = torch.randn(1, 13, 12, dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    temporal = plain_attention(layer.temporal, x[0].numpy())  # type: ignore[arg-type]
    spatial = plain_attention(layer.spatial, x[0].numpy().T).T  # type: ignore[arg-type]
    per_frame = mixing == "per_frame"
    summary = (temporal + spatial).mean(axis=1 if per_frame else 0)
    hidden = p["weights.0.weight"] @ summary + p["weights.0.bias"]
    hidden = gelu(hidden) if per_frame else np.maximum(hidden, 0)
    assert hidden.shape == (3,)  # a quarter of 13 frames, or of 12 channels
    raw = (p["weights.2.weight"] @ hidden + p["weights.2.bias"]).reshape(-1, 2)
    share = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    first, second = (share[:, k, None] if per_frame else share[None, :, k] for k in (0, 1))
    mixed = first * temporal + second * spatial
    expected = mixed @ p["out.weight"].T + p["out.bias"]
    assert_close(layer(x)[0].detach().numpy(), expected)


def test_branches_without_weights() -> None:
    torch.manual_seed(0)
    layer = MixSynthAttention(dataclasses.replace(SMALL, weighted_sum=False))
    x = torch.randn(2, 13, 12)
    assert layer.temporal is not None and layer.spatial is not None
    both = layer.temporal(x) + layer.spatial(x.transpose(1, 2)).transpose(1, 2)
    assert_close(layer(x).detach().numpy(), layer.out(both / 2).detach().numpy())


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_recovery_matrix_is_interpolation(method: str) -> None:
    poses = np.random.default_rng(0).normal(size=(6, 5, 2))
    matrix = recovery_matrix(6, 4, 24, method)
    expected = interpolate(np.arange(6) * 4.0, poses, np.arange(21.0), method).poses
    assert_close(np.tensordot(matrix[:21], poses, axes=1), expected)
    assert_close(matrix[21:], np.tile([0.0, 0, 0, 0, 0, 1], (3, 1)))
    assert_close(matrix.sum(axis=1), np.ones(24))
    with pytest.raises(ValueError, match="'mct' is none of learned, linear, cubic"):
        recovery_matrix(6, 4, 24, "mct")


def test_a_damped_movement_goes_on_by_less_and_less() -> None:
    """After 1 per keyframe 0.9 more after the next one, and 0.81 more after that."""
    matrix = recovery_matrix(3, 2, 9, "damped")
    assert_close(matrix[:5], recovery_matrix(3, 2, 5))
    assert_close(matrix.sum(axis=1), np.ones(9))
    ahead = matrix[5:] @ np.array([0.0, 1.0, 2.0]) - 2
    np.testing.assert_allclose(ahead[1::2], [0.9, 0.9 + 0.81], atol=1e-6)
    assert 0.4 < ahead[0] < 0.5 and 0.9 < ahead[2] < 1.71


def test_initial_matrices() -> None:
    """Glorot: uniform up to sqrt(6 / (inputs + outputs)), everywhere."""
    for name, parameter in build(PRESETS["h36m_fcn"]).named_parameters():
        if parameter.ndim == 2:
            bound = math.sqrt(6 / sum(parameter.shape))
            largest = parameter.abs().max().item()
            assert 0.9 * bound < largest <= bound, name


def test_it_may_begin_as_linear_interpolation() -> None:
    """The recovery is that, the head adds nothing; what lies ahead repeats the last keyframe."""
    for options in ({}, {"centre": True, "scale": 256.0}, {"recovery": "linear"}):
        network = build(start="interpolation", future_frames=2, **options)
        x = 100 * keyframes(SMALL)
        got = network(x).detach().numpy()
        for k in range(3):
            expected = interpolate(np.arange(4) * 4.0, x[k].numpy(), np.arange(13.0)).poses
            np.testing.assert_allclose(got[k, :13], expected, atol=1e-3)
            np.testing.assert_allclose(got[k, 13:], x[k, -1:].expand(2, -1, -1), atol=1e-3)


# -- the network ---------------------------------------------------------------------------------


def test_what_comes_in_is_the_base_of_what_comes_out() -> None:
    """The whole way from its parts: recovery, embedding, blocks, norm, head, sum."""
    network = build()
    x = keyframes(SMALL)
    assert network.recovery is not None
    recovered = network.recovery(x.flatten(2).transpose(1, 2)).transpose(1, 2)
    y = network.embedding(recovered)
    for block in network.blocks:
        y = block.attention_norm(y + block.attention(y))
        hidden = torch.from_numpy(gelu(block.up(y).detach().numpy())).float()
        y = block.mlp_norm(y + block.down(hidden))
    expected = recovered + network.head(network.norm(y))
    got = network(x)
    assert got.shape == (3, 13, 5, 2)
    assert_close(got.flatten(2).detach().numpy(), expected.detach().numpy())


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_runs_and_learns_everywhere(name: str) -> None:
    """Every parameter gets a gradient, but for the idle layers that the published count has."""
    network = build(**OPTIONS[name]).train()
    c = network.config
    output = network(keyframes(c))
    assert output.shape == (3, c.frames, 5, 2)
    output.square().mean().backward()
    unreduced = [
        branch for branch in ("temporal", "spatial") if getattr(c, f"{branch}_reduction") == 1
    ]
    for parameter_name, parameter in network.named_parameters():
        idle = any(f"{branch}.value" in parameter_name for branch in unreduced)
        assert (parameter.grad is None) == idle, parameter_name
        if not idle:
            assert parameter.grad.abs().max() > 0, parameter_name


def test_idle_layers_are_left_out_on_request() -> None:
    with_ = build(spatial_reduction=1)
    without = build(spatial_reduction=1, idle_values=False)
    assert count(with_) - count(without) == 2 * (12 * 12 + 12)
    without.load_state_dict(
        {k: v for k, v in with_.state_dict().items() if k in without.state_dict()}
    )
    x = keyframes(SMALL)
    assert torch.equal(with_(x), without(x))


def test_a_place_does_not_matter_to_a_centred_network() -> None:
    network = build(centre=True)
    x = keyframes(SMALL)
    offset = torch.tensor([3.0, -2.0])
    assert_close(
        (network(x + offset) - offset).detach().numpy(),
        network(x).detach().numpy(),
    )
    assert not torch.allclose(build()(x + offset) - offset, build()(x), atol=1e-2)


def test_a_scale_is_a_unit() -> None:
    plain, scaled = build(), build(scale=256.0)
    x = keyframes(SMALL)
    assert_close(scaled(256 * x).detach().numpy() / 256, plain(x).detach().numpy())


def test_windows_of_a_batch_do_not_mix() -> None:
    network, x = build(), keyframes(SMALL)
    assert_close(network(x)[1:2].detach().numpy(), network(x[1:2]).detach().numpy())


def test_one_batch_can_be_learnt_by_heart() -> None:
    """The loss on windows of waves falls far under that of linear interpolation."""
    network = build(start="interpolation", width=32).train()
    c = network.config
    phase = torch.rand(8, 1, c.joints, c.values, generator=torch.Generator().manual_seed(0))
    times = torch.arange(c.frames)[:, None, None] / c.interval
    truth = torch.sin(6.28 * phase + 1.5 * times)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        loss = (network(truth[:, :: c.interval]) - truth).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segments": 0}, "segments must be at least 1, got 0"),
        ({"future_frames": -1}, "future_frames must not be negative, got -1"),
        ({"scale": 0.0}, "scale must be positive, got 0.0"),
        ({"temporal": False, "spatial": False}, "both off"),
        ({"mixing": "per_fram"}, "mixing must be one of per_frame, per_channel, got 'per_fram'"),
        ({"start": "interp"}, "start must be one of xavier, interpolation, got 'interp'"),
        ({"recovery": "mct"}, "recovery must be one of learned, linear, cubic, damped, got 'mct'"),
        ({"temporal_reduction": 14}, "temporal_reduction must be 1 to 13 frames, got 14"),
        ({"spatial_reduction": 0}, "spatial_reduction must be 1 to 12 channels, got 0"),
    ],
)
def test_wrong_configurations_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_wrong_keyframes_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"4 keyframes, 5 joints, 2 values\), got \(3, 13, 5, 2\)"
    ):
        build()(torch.zeros(3, 13, 5, 2))
