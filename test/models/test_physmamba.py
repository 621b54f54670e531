"""PhysMamba: sizes, parts against plain re-statements, options, learning."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tolerances import assert_close
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from radar_pose_ros.models import weights
from radar_pose_ros.models.ops.ssd import ssd_reference
from radar_pose_ros.models.physmamba import (
    PRESETS,
    Block,
    FrequencyFeedForward,
    Merge,
    Mixer,
    PhysMamba,
    PhysMambaConfig,
    Stem,
    multiply_accumulates,
    normalise,
)

SMALL = PhysMambaConfig(
    frames=32,
    size=16,
    stem_kernel=3,
    merge_kernel=3,
    width=16,
    blocks=2,
    scales=3,
    head_size=8,
    state_size=6,
)


def random_norms(network: nn.Module) -> nn.Module:
    """Give batch normalisations the statistics and weights of a trained network."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for value in (module.running_mean, module.bias):
                nn.init.normal_(value, std=0.3)  # type: ignore[arg-type]
            for value in (module.running_var, module.weight):
                nn.init.uniform_(value, 0.5, 2.0)  # type: ignore[arg-type]
    return network


def build(config: PhysMambaConfig = SMALL, **changes: object) -> PhysMamba:
    torch.manual_seed(0)
    network = PhysMamba(dataclasses.replace(config, **changes))  # type: ignore[arg-type]
    random_norms(network)
    return network.eval()


def clips(config: PhysMambaConfig = SMALL, batch: int = 2, seed: int = 0) -> Tensor:
    shape = (batch, config.frames, 3, config.size, config.size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# -- sizes ---------------------------------------------------------------------------------------


def test_parameters_of_the_released_layout() -> None:
    """4,514,217, part by part; of each part two, for the two pathways."""
    config = dataclasses.replace(PRESETS["paper"], unused_parameters=True)
    network = PhysMamba(config)
    assert count(network.self_blocks) == 2_037_312
    assert count(network.cross_blocks) == 2_336_832
    assert count(network.stem) == 2 * 18_568
    assert count(network.merge) == 2 * 51_392
    assert count(network.head) == 129
    assert count(network) == 4_514_217
    block = network.self_blocks[0]
    assert count(block.mixer) == 34_712
    assert count(block.mixer.in_proj) == 64 * 392
    assert count(block.feed_forward) == 49_792
    assert count(network.cross_blocks[0].unused) == 12_352 + 128


def test_parameters_that_do_something() -> None:
    """Without convolutions never called, off-diagonal numbers, and queries that are replaced."""
    replaced = 24 * (64 * 64 + 64 * 4 + 64)
    assert count(PhysMamba(PRESETS["paper"])) == 4_514_217 - 299_544 - 48 * 32_512 - replaced
    assert count(PhysMamba(PRESETS["edge"])) == 445_777


def test_work_of_the_paper_preset() -> None:
    """14.6 GMACs, 95 % of them in convolutions."""
    work = multiply_accumulates(PRESETS["paper"])
    assert work["stem"] == 2 * 160 * 36_929_536
    assert work["merge"] == 2 * 80 * 256 * 51_200
    assert work["states"] == 48 * 2_304_000
    assert work["total"] == pytest.approx(14.6e9, rel=0.005)
    assert (work["stem"] + work["merge"]) / work["total"] == pytest.approx(0.95, abs=0.01)
    assert work["performed"] < work["total"]
    assert multiply_accumulates(PRESETS["edge"])["performed"] < 0.25e9


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sum_all_scales": False, "unused_parameters": True},
        {"cross_attention": False, "stem_kernel": 5, "scales": 1},
    ],
)
def test_multiply_accumulates_as_torch_counts_them(changes: dict) -> None:
    network = build(**changes)
    with FlopCounterMode(display=False) as counter:
        network(clips(batch=1))
    assert counter.get_total_flops() == 2 * multiply_accumulates(network.config)["performed"]


# -- parts ---------------------------------------------------------------------------------------


def test_stem_frame_by_frame() -> None:
    """Each pathway by itself: neighbours by repeating the edges, four differences, two paths."""
    torch.manual_seed(0)
    stem = random_norms(Stem(SMALL)).double().eval()
    x = clips().double()
    _, frames = x.shape[:2]
    first, second = SMALL.stem_channels

    def layer(y: Tensor, part: nn.Module, pathway: int, channels: int, stride: int) -> Tensor:
        own = slice(pathway * channels, (pathway + 1) * channels)
        y = F.conv2d(y, part.conv.weight[own], part.conv.bias[own], stride, 1)
        n = part.norm
        y = F.batch_norm(y, n.running_mean[own], n.running_var[own], n.weight[own], n.bias[own])
        return F.max_pool2d(F.relu(y), 2)

    expected = []
    for t in range(frames):
        near = [x[:, min(max(t + k, 0), frames - 1)] for k in range(-2, 3)]
        differences = torch.cat([b - a for a, b in itertools.pairwise(near)], dim=1)
        pathways = []
        for p in range(2):
            raw = layer(x[:, t], stem.images, p, first, 2)
            diff = layer(differences, stem.changes, p, first, 2)
            path1 = layer(0.5 * raw + 0.5 * diff, stem.after_both, p, second, 1)
            path2 = layer(diff, stem.after_changes, p, second, 1)
            pathways.append(0.5 * path1 + 0.5 * path2)
        expected.append(torch.cat(pathways, dim=1))
    assert_close(stem(x).detach(), torch.stack(expected, dim=1).flatten(0, 1).detach())


def test_merge_is_a_3d_convolution_and_a_soft_mask() -> None:
    torch.manual_seed(0)
    merge = random_norms(Merge(SMALL)).double().eval()
    channels, width = SMALL.stem_channels[1], SMALL.width
    x = torch.randn(2, SMALL.frames, 2, channels, 3, 5).double()
    for p in range(2):
        own = slice(p * width, (p + 1) * width)
        weight = merge.conv.weight[own].unflatten(1, (2, channels)).transpose(1, 2)
        y = F.conv3d(
            x[:, :, p].transpose(1, 2), weight, merge.conv.bias[own], (2, 1, 1), (0, 1, 1)
        )
        n = merge.norm
        y = F.batch_norm(y, n.running_mean[own], n.running_var[own], n.weight[own], n.bias[own])
        mask = torch.sigmoid(y)
        mask = mask / mask.sum((-1, -2), keepdim=True) * (3 * 5) * 0.5
        expected = (y * mask).mean((-1, -2)).transpose(1, 2)
        ours = merge(x.flatten(0, 1).flatten(1, 2))[:, p].unflatten(0, (2, -1))
        assert_close(ours.detach(), expected.detach())


@pytest.mark.parametrize("summed", [slice(None), slice(-2, None)])
@pytest.mark.parametrize("own_queries", [True, False])
def test_mixer_segment_by_segment(summed: slice, own_queries: bool) -> None:
    """A causal convolution and a scan of each segment by itself, put back in place."""
    torch.manual_seed(0)
    c = SMALL
    mixer = Mixer(c, own_queries, summed).double()
    x = torch.randn(2, c.tokens, c.width).double()
    given = None if own_queries else torch.randn(c.scales, 2, c.tokens, c.state_size).double()
    expected, queries = torch.zeros_like(x), torch.zeros(c.scales, 2, c.tokens, c.state_size)
    for scale in range(c.scales):
        length = c.tokens // 2**scale
        for start in range(0, c.tokens, length):
            place = slice(start, start + length)
            z, v, dt = mixer.in_proj(x[:, place]).split(
                [c.inner, mixer.convolved, c.heads], dim=-1
            )
            v = F.conv1d(
                F.pad(v.mT, (3, 0)),
                mixer.conv_weight[:, None],
                mixer.conv_bias,
                groups=v.shape[-1],
            )
            v = F.silu(v.mT)
            u, B, C = v[..., : c.inner], v[..., c.inner :][..., :6], v[..., c.inner + 6 :]
            C = given[scale][:, place] if given is not None else C
            queries[scale][:, place] = C
            y = ssd_reference(
                u.unflatten(-1, (c.heads, c.head_size)),
                F.softplus(dt + mixer.dt_bias),
                -mixer.A_log.exp(),
                B.unsqueeze(2),
                C.unsqueeze(2),
                mixer.D,
            ).flatten(2)
            y = y * F.silu(z)
            y = y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * mixer.norm_weight
            if scale in range(c.scales)[summed]:
                expected[:, place] += mixer.out_proj(y)
    mixed, made = mixer(x, given)
    assert_close(mixed.detach(), expected.detach())
    assert_close(made.detach().float(), queries.detach())


@pytest.mark.parametrize("stored", [False, True])
def test_feed_forward_mixes_the_spectrum(stored: bool) -> None:
    """With whole matrices, of which only the diagonals count."""
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, unused_parameters=stored)
    part = random_norms(FrequencyFeedForward(config)).double().eval()
    x = torch.randn(2, 16, 16).double()
    y = F.relu(part.up_norm(part.up(x).mT)).mT
    tokens = y.shape[1]
    turn = torch.arange(tokens).double()
    angle = -2 * math.pi * turn[:, None] * turn / tokens
    fourier = torch.polar(torch.ones_like(angle), angle) / math.sqrt(tokens)
    spectrum = torch.einsum("kt,btc->bkc", fourier, y.to(torch.complex128))
    r, i = (
        torch.diag(w.diagonal()) if stored else torch.diag(w) for w in (part.real, part.imaginary)
    )
    real = F.relu(spectrum.real @ r - spectrum.imag @ i + part.real_bias)
    imaginary = F.relu(spectrum.imag @ r + spectrum.real @ i + part.imaginary_bias)
    mixed = torch.einsum("kt,bkc->btc", fourier.conj(), torch.complex(real, imaginary)).real
    expected = part.down_norm(part.down(mixed).mT).mT
    assert_close(part(x).detach(), expected.detach())


# -- the whole -----------------------------------------------------------------------------------


def test_two_frames_share_a_value_and_clips_do_not_see_each_other() -> None:
    network = build()
    x = clips(batch=3)
    with torch.no_grad():
        wave = network(x)
        alone = network(x[1:2])
    assert wave.shape == (3, 32)
    assert_close(wave[:, ::2], wave[:, 1::2])
    assert_close(wave[1:2], alone)
    assert wave[0].std() > 0.01


@pytest.mark.parametrize("advance", [True, False])
def test_queries_of_which_block(advance: bool) -> None:
    """Of the block with the same number, or of the first [code]."""
    network = build(advance_query_index=advance)
    c, x = network.config, clips()
    with torch.no_grad():
        own, cross = network.merge(network.stem(x)).unflatten(0, (-1, c.tokens)).unbind(2)
        own1, first = network.self_blocks[0](own)
        own2, second = network.self_blocks[1](own1)
        cross, _ = network.cross_blocks[0](cross, first)
        cross, _ = network.cross_blocks[1](cross, second if advance else first)
        expected = network.head(torch.cat((own2, cross), -1)).squeeze(-1)
        assert_close(network(x)[:, ::2], expected)


def test_without_cross_attention_pathways_meet_in_the_head_only() -> None:
    x = clips(batch=1)
    for cross, meets in ((True, True), (False, False)):
        network = build(cross_attention=cross)
        c = network.config
        with torch.no_grad():
            network.head.weight[:, : c.width] = 0  # of what pathway 1 says itself
            before = network(x)
            network.self_blocks[0].mixer.in_proj.weight.mul_(2)
            network.self_blocks[1].mixer.in_proj.weight.mul_(2)
            assert torch.allclose(network(x), before) != meets


def test_unused_parameters_change_nothing() -> None:
    """Neither the result, and none of them learns: 299,544 of the paper's get no gradient."""
    small, large = build(), build(unused_parameters=True)
    state = large.state_dict()
    inner = SMALL.inner
    for name, value in small.state_dict().items():
        target = state[name]
        if target.shape == value.shape:
            target.copy_(value)
        elif "feed_forward" in name:
            target.diagonal().copy_(value)
        else:  # of a cross block's mixer, without queries: [z, x, B, C, dt] or [x, B, C]
            before = 2 * inner + 6 if "in_proj" in name else inner + 6
            target[:before].copy_(value[:before])
            target[before + 6 :].copy_(value[before:])
    x = clips()
    assert_close(large(x).detach(), small(x).detach())
    paper = dataclasses.replace(PRESETS["paper"], blocks=24, size=16, unused_parameters=True)
    network = PhysMamba(paper)
    network(clips(paper, batch=1)).sum().backward()
    idle = [p.numel() for p in network.parameters() if p.grad is None]
    assert sum(idle) == 299_544


def test_every_parameter_learns() -> None:
    network = build().train()
    (network(clips()) * torch.randn(2, 32)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # ReLU lets nothing through of about half of a spectrum
        assert (parameter.grad != 0).float().mean() > 0.25, name


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stored", [False, True])
def test_for_inference_computes_the_same(threads: int, stored: bool) -> None:
    network = build(unused_parameters=stored)
    fast = network.for_inference()
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in _called(fast))
    x = clips()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            assert_close(fast(x), network(x))
            assert_close(fast.for_inference()(x), network(x))
    finally:
        torch.set_num_threads(before)
    assert any(isinstance(m, nn.BatchNorm1d) for m in network.modules())


def _called(network: PhysMamba) -> list[nn.Module]:
    return [m for name, m in network.named_modules() if "unused" not in name]


def test_dropped_paths() -> None:
    """0, 0, and growing to 0.1 with the last block; in the mean nothing changes."""
    network = PhysMamba(dataclasses.replace(SMALL, blocks=6))
    expected = [0, 0, 0.02, 0.04, 0.06, 0.08]
    assert [b.drop for b in network.self_blocks] == pytest.approx(expected)
    assert [b.drop for b in network.cross_blocks] == pytest.approx(expected)
    torch.manual_seed(0)
    block = Block(SMALL, False, 0.25).train()
    dropped = block._dropped(torch.ones(8_000, 2, 3))
    assert_close(dropped.unique(), torch.tensor([0, 4 / 3]))
    assert (dropped == dropped[:, :1, :1]).all()
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert_close(block.eval()._dropped(torch.ones(4, 2, 3)), torch.ones(4, 2, 3))


def test_normalise() -> None:
    x = 40 + 3 * clips()
    y = normalise(x)
    assert_close(y.mean((1, 2, 3, 4)), torch.zeros(2))
    assert_close(y.std((1, 2, 3, 4), correction=0), torch.ones(2))
    assert_close(normalise(7 + 0.1 * x), y)
    for value in (0.0, 127.3):
        flat = normalise(torch.full((1, 8, 3, 16, 16), value))
        assert flat.abs().max() < 0.01


def test_learns_a_pulse() -> None:
    """Green that brightens and darkens; phase and rate differ from clip to clip."""
    torch.manual_seed(0)
    network = PhysMamba(dataclasses.replace(SMALL, blocks=1, drop_path=0.0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    time = torch.arange(32) / 30

    def batch() -> tuple[Tensor, Tensor]:
        rate, phase = 1 + 1.5 * torch.rand(8, 1), 2 * math.pi * torch.rand(8, 1)
        wave = torch.sin(2 * math.pi * rate * time + phase)
        wave = wave - wave.mean(1, keepdim=True)
        video = 100 + 20 * torch.randn(8, 1, 3, 16, 16) + 0.3 * torch.randn(8, 32, 3, 16, 16)
        video[:, :, 1] -= wave[..., None, None]
        return normalise(video), wave

    def correlation(wave: Tensor, truth: Tensor) -> Tensor:
        return F.cosine_similarity(wave - wave.mean(1, keepdim=True), truth).mean()

    for _ in range(60):
        x, truth = batch()
        loss = 1 - correlation(network(x), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    x, truth = batch()
    with torch.no_grad():
        assert correlation(network(x), truth) > 0.8


def test_weights_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.NETWORKS, "physmamba", "PhysMamba")
    monkeypatch.setitem(PRESETS, "small", SMALL)
    network = build()
    weights.save(
        network, tmp_path, "small", training_data={}, git_revision="", command="", metrics={}
    )
    loaded, entry = weights.network(tmp_path / "physmamba_small.safetensors", "physmamba")
    assert entry["parameters"] == count(network)
    x = clips()
    with torch.no_grad():
        assert torch.allclose(loaded(x), network(x), atol=0.02)  # stored in half precision


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": 36}, "size must be a multiple of 8 pixels, got 36"),
        ({"frames": 150}, "frames must be a multiple of 16 for 4 scales, got 150"),
        ({"rate_hz": 0.0}, "rate_hz must be above 0, got 0"),
        ({"width": 60}, "width must be a multiple of 8 channels, got 60"),
        ({"stem_kernel": 4}, "must be odd, got 4 and 5"),
        ({"head_size": 48}, "128 channels do not divide into heads of 48"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
    ],
)
def test_numbers_that_do_not_fit(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PhysMambaConfig(**changes)


def test_clips_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"\(batch, 32 frames, 3 colours, 16, 16 pixels\), got"):
        build()(torch.zeros(1, 30, 3, 16, 16))
