"""DiffHPE: published sizes, the network against its specification, the fast one against both."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._diffhpe import predict_noise, sample_literal
from radar_pose_ros.models.diffhpe import (
    FAST,
    GROUPS,
    PRESETS,
    BatchNorm,
    DiffHPE,
    DiffHPEConfig,
    Lifter,
    adjacency,
    multiply_accumulates,
    pooled_joints,
    step_table,
)
from radar_pose_ros.models.diffusion import Sampler
from radar_pose_ros.models.mixste import MixSTE
from radar_pose_ros.skeleton.definitions import H36M17

SMALL = DiffHPEConfig(
    frames=5, width=16, blocks=3, step_channels=8, mixste_width=24, mixste_depth=1
)
CONFIGS = {
    "2d": SMALL,
    "wrapper": dataclasses.replace(SMALL, condition="mixste"),
    "aligned": dataclasses.replace(SMALL, misaligned_pooling=False),
    "paper": dataclasses.replace(PRESETS["2d"], blocks=2),
}


def build(config: DiffHPEConfig = SMALL) -> DiffHPE:
    """A network as if trained: nothing is zero, norms have seen data."""
    torch.manual_seed(0)
    network = DiffHPE(config)
    nn.init.normal_(network.leave.weight, std=0.3)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def draw(config: DiffHPEConfig = SMALL, channels: int = 3, batch: int = 2, seed: int = 1):
    shape = (batch, channels, config.joints, config.frames)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def count(module: nn.Module, trainable: bool = False) -> int:
    parameters = [p for p in module.parameters() if p.requires_grad or not trainable]
    return sum(p.numel() for p in parameters)


# -- sizes ---------------------------------------------------------------------------------------


def test_published_numbers_of_parameters() -> None:
    """The Wrapper's 3,749,043 are with the 538,944 of MixSTE without its linear head."""
    network, wrapper = DiffHPE(PRESETS["2d"]), DiffHPE(PRESETS["wrapper"])
    assert count(network) == count(network, trainable=True) == 3_201_971
    assert count(wrapper) == 3_749_043
    assert count(wrapper, trainable=True) == 3_210_099
    assert count(wrapper.mixste) == 538_944
    assert count(wrapper.lift) == 256
    for block in (*network.blocks, *wrapper.blocks):
        assert count(block) == 197_763
        assert count(block.temporal) - count(block.temporal.norm) == 24_813
        assert count(block.spatial) == 139_456  # this one with its norm


def test_published_numbers_of_multiplications() -> None:
    """277.6 M and 281.2 M, by a tool with two habits.

    It adds two operations for each number that a batch norm reads, and it counts the sum over
    neighbours for one graph only instead of for all of them.
    """
    for name, published in (("2d", 277.6e6), ("wrapper", 281.2e6)):
        work = multiply_accumulates(PRESETS[name])
        of_one_graph = 16 * 2 * 17 * 17 * (27 + 64)
        tool = work["denoiser"] + work["norms"] - work["neighbours"] + of_one_graph
        assert tool == pytest.approx(published, abs=0.1e6)
    assert work["denoiser"] == 309_522_496


def test_multiply_accumulates_as_torch_counts_the_specification() -> None:
    for name in ("2d", "aligned", "paper"):
        network = build(CONFIGS[name])
        c = network.config
        with FlopCounterMode(display=False) as counter:
            predict_noise(network, draw(c, batch=1), 3, draw(c, 2, batch=1))
        assert counter.get_total_flops() == 2 * multiply_accumulates(c)["denoiser"]


# -- parts ---------------------------------------------------------------------------------------


def test_adjacency() -> None:
    """The thorax takes a fifth from itself, spine, nose and both shoulders; rows sum to 1."""
    matrix = adjacency()
    assert_close(matrix.sum(1).numpy(), np.ones(17, np.float32))
    thorax = H36M17.index("thorax")
    near = {H36M17.joints[k] for k in matrix[thorax].nonzero().flatten().tolist()}
    assert near == {"thorax", "spine", "nose", "left_shoulder", "right_shoulder"}
    assert_close(matrix[thorax, thorax].numpy(), np.float32(0.2))
    assert int((matrix > 0).sum()) == 17 + 2 * 16


def test_pools_of_joints() -> None:
    """As meant, and as the authors' code does it: the last joint is in no pool."""
    assert pooled_joints(misaligned=False) == list(GROUPS)
    assert pooled_joints(misaligned=True) == [
        (2, 3),
        (5, 6),
        (1, 4),
        (0, 7),
        (8, 9),
        (10, 15),
        (16, 12),
        (13, 11),
    ]


def test_step_table() -> None:
    """Frequencies from 1 to 10,000; sines, then cosines."""
    table = step_table(50, 128)
    assert table.shape == (50, 128)
    assert_close(table[0].numpy(), np.repeat([0, 1], 64).astype(np.float32))
    expected = [math.sin(3), math.sin(3 * 10 ** (4 / 63)), math.sin(3e4), math.cos(3)]
    assert_close(table[3, [0, 1, 63, 64]].numpy(), np.array(expected, np.float32))


def test_at_the_start_the_noise_is_constant_and_joints_do_not_look_at_each_other() -> None:
    network = DiffHPE(SMALL).eval()
    found = network(draw(), torch.tensor([3, 40]), draw(channels=2))
    assert torch.equal(found, network.leave.bias[:, None, None].expand_as(found))
    layer = network.blocks[0].non_local
    y = torch.randn(17, 10, 16)
    assert torch.equal(layer(y), y)


# -- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_network_is_what_the_specification_says(name: str) -> None:
    network = build(CONFIGS[name])
    c = network.config
    x, keypoints = draw(c), draw(c, 2)
    with torch.no_grad():
        condition = network.condition(keypoints)
        got = network(x, torch.tensor([30, 30]), condition)
        assert got.std() > 0.01
        assert_close(got.numpy(), predict_noise(network, x, 30, keypoints).numpy())
        # in use, with everything folded
        assert_close(Lifter(network).predict_noise(x, 30, condition).numpy(), got.numpy())


def test_each_sample_has_its_own_step() -> None:
    network = build()
    x, keypoints = draw(), draw(channels=2)
    with torch.no_grad():
        both = network(x, torch.tensor([7, 40]), keypoints)
        for row, step in enumerate((7, 40)):
            alone = predict_noise(network, x[[row]], step, keypoints[[row]])
            assert_close(both[[row]].numpy(), alone.numpy())


@pytest.mark.parametrize("name", ["2d", "wrapper", "aligned"])
def test_everything_is_learnt_but_the_condition(name: str) -> None:
    network = build(CONFIGS[name]).train()
    noise = network(draw(), torch.tensor([3, 40]), network.condition(draw(channels=2)))
    noise.square().sum().backward()
    for parameter_name, parameter in network.named_parameters():
        if parameter_name.startswith("mixste."):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, parameter_name
            # norms take away what a bias before them adds
            if not parameter_name.endswith(("poral.bias", "tial.bias", "non_local.out.bias")):
                assert parameter.grad.abs().max() > 0, parameter_name


def test_training_statistics_are_those_of_the_specified_axes() -> None:
    """Over time one mean per frame, across channels one per channel."""
    network = build().train()
    layer = network.blocks[0].temporal
    x = draw(batch=4, channels=16).permute(2, 3, 0, 1).flatten(2)  # (joints, frames, columns)
    layer(x)
    kept, given = (torch.einsum("jlc,jlm->jmc", x, w) for w in layer.weight)
    matrix = adjacency()
    own = matrix.diagonal().diag()
    y = torch.einsum("jk,klc->jlc", own, kept) + torch.einsum("jk,klc->jlc", matrix - own, given)
    y = y + layer.bias[:, None]
    before = build().blocks[0].temporal.norm
    mean = 0.9 * before.running_mean + 0.1 * y.mean((0, 2))
    variance = 0.9 * before.running_var + 0.1 * y.var((0, 2))
    assert_close(layer.norm.running_mean.numpy(), mean.detach().numpy())
    assert_close(layer.norm.running_var.numpy(), variance.detach().numpy())


def test_the_condition_comes_from_a_trained_mixste() -> None:
    config = CONFIGS["wrapper"]
    torch.manual_seed(3)
    mixste = MixSTE(dataclasses.replace(config.mixste, head=True)).eval()
    network = DiffHPE(config, mixste).train()
    keypoints = draw(channels=2)
    with torch.no_grad():  # no drop path
        assert torch.equal(network.condition(keypoints), mixste.features(keypoints))
    assert not network.condition(keypoints).requires_grad
    with pytest.raises(ValueError, match=r"mixste is MixSTEConfig\(frames=5, .* wanted is"):
        DiffHPE(config, MixSTE(dataclasses.replace(config.mixste, depth=2)))


# -- in use --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["2d", "wrapper"])
def test_one_hypothesis_is_the_literal_sample(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps with the same noise: 1 throughout, because the two draw it in another order."""
    network = build(dataclasses.replace(CONFIGS[name], diffusion_steps=6))
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: torch.ones(*shape))
    keypoints = draw(network.config, 2, batch=1)
    expected = sample_literal(network, keypoints, 2)
    found = Lifter(network, 2).lift(keypoints)
    assert found.shape == expected.shape == (1, 2, 3, 17, 5)
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", CONFIGS)
def test_lifting_is_the_sampler_with_the_network(name: str) -> None:
    """Several windows and hypotheses at once give what each alone does."""
    network = build(CONFIGS[name])
    c = network.config
    keypoints = draw(c, 2, batch=2)
    sampler = Sampler("ddim", 4)
    got = Lifter(network, 3, sampler).lift(keypoints, torch.Generator().manual_seed(4))
    assert got.shape == (2, 3, 3, 17, c.frames)
    noise = torch.randn(6, 3, 17, c.frames, generator=torch.Generator().manual_seed(4))
    diffusion = c.diffusion
    for row, x in enumerate(noise.split(1)):
        window = keypoints[[row // 3]]
        visited = sampler.visited(diffusion)
        with torch.no_grad():
            for step, following in zip(visited, [*visited[1:], None], strict=True):
                said = predict_noise(network, x, step, window)
                x = diffusion.start(x, step, said)
                if following is not None:
                    left = float(diffusion.signal[following])
                    x = math.sqrt(left) * x + math.sqrt(1 - left) * said
        error = (got[row // 3, row % 3] - x[0]).abs().max() / x.abs().max()
        assert error < 1e-4


def test_the_same_seed_gives_the_same_poses() -> None:
    lifter = Lifter(build(), 2, Sampler("ancestral"))
    keypoints = draw(channels=2)
    first, again, other = (
        lifter.lift(keypoints, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)
    assert not torch.allclose(first[:, 0], first[:, 1], atol=1e-3)


def test_a_lifter_keeps_the_weights_it_was_given() -> None:
    network = build(CONFIGS["wrapper"])
    lifter = Lifter(network, 1, Sampler("ddim", 2))
    keypoints = draw(channels=2)
    before = lifter.lift(keypoints, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(lifter.lift(keypoints, torch.Generator().manual_seed(1)), before)


def test_a_pose_can_be_learnt_by_heart() -> None:
    """Trained on two windows, each of which has one pose, it gives those poses back."""
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, width=32, blocks=2, dropout=0.0)
    network = DiffHPE(config).train()
    poses = 0.3 * draw(config)
    keypoints = torch.stack([torch.full((2, 17, 5), value) for value in (-1.0, 1.0)])
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    diffusion = config.diffusion
    for number in range(150):
        which = torch.arange(32) % 2
        step = torch.randint(0, 50, (32,))
        noise = torch.randn(32, *poses.shape[1:])
        said = network(diffusion.noised(poses[which], step, noise), step, keypoints[which])
        loss = (said - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1 - number / 150)
    for sampler in (Sampler(), FAST):
        lifter = Lifter(network.eval(), 5, sampler)
        found = lifter.lift(keypoints, torch.Generator().manual_seed(0))
        errors = (found.mean(1) - poses).norm(dim=1).mean((1, 2))
        swapped = (found.mean(1) - poses.flip(0)).norm(dim=1).mean((1, 2))
        assert (errors < swapped / 2).all(), sampler


def test_wrong_shapes_and_settings_are_named() -> None:
    network = build()
    with pytest.raises(ValueError, match=r"2, 17 joints, 5 frames\), got \(2, 2, 17, 6\)"):
        network.condition(torch.zeros(2, 2, 17, 6))
    with pytest.raises(ValueError, match=r"2, 17 joints, 5 frames\), got \(2, 2, 5, 17\)"):
        Lifter(network).lift(torch.zeros(2, 2, 5, 17))
    with pytest.raises(ValueError, match=r"2, 17 joints, 5 frames\), got \(0, 2, 17, 5\)"):
        Lifter(network).lift(torch.zeros(0, 2, 17, 5))
    for count in (0, 1.5, "5"):
        with pytest.raises(ValueError, match="hypotheses must be a whole number, 1 or more, got"):
            Lifter(network, count)  # type: ignore[arg-type]
    for changes, message in (
        ({"condition": "image"}, "'image' is none of keypoints, mixste"),
        ({"width": 33}, "width and step_channels must be even, got 33, 8"),
        ({"blocks": 0}, "blocks and frames must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(SMALL, **changes)


def test_condition_is_looked_at_once_per_window(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    features = MixSTE.features

    def counted(self: MixSTE, keypoints: Tensor) -> Tensor:
        calls.append(len(keypoints))
        return features(self, keypoints)

    monkeypatch.setattr(MixSTE, "features", counted)
    Lifter(build(CONFIGS["wrapper"]), 5).lift(draw(channels=2))
    assert calls == [2]
