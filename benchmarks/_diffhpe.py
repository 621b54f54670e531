"""DiffHPE: a window of 27 frames with 5 hypotheses, in use against the paper's procedure.

The peer is DiffHPE as its specification reads, and as its released program runs. Nothing of it is
clever: every layer as it is described, the condition computed anew at each step, one hypothesis
after the other (`sample_literal`); of its 250 passes through the network, which are all alike,
some are timed. The tests compare the package's network with it.

The sampler of few steps is `models.diffhpe.FAST`. For times weights are random: they do not change
them. Calls are interleaved in one process; values are ratios of medians. What few steps cost in
accuracy is measured with the shipped weights, on simulated people of the test set.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import THREADS, interleaved_medians_ms, print_rows, run_alone
from radar_pose_ros.measurements import result
from radar_pose_ros.metrics import pose3d
from radar_pose_ros.models import weights
from radar_pose_ros.models.diffhpe import (
    FAST,
    GROUPS,
    PRESETS,
    DiffHPE,
    GraphLayer,
    Lifter,
    NonLocalLayer,
    adjacency,
)
from radar_pose_ros.models.diffusion import Sampler
from radar_pose_ros.training import camera_windows
from radar_pose_ros.training.diffhpe import RECIPES, Recipe, estimator

HYPOTHESES = 5
TARGET = 20.0
_PASSES = 5


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure in a process of its own."""
    return run_alone("benchmarks._diffhpe", quick)


def measure(quick: bool) -> list[dict[str, Any]]:
    """Return the speed-up, with few steps and of a step, of both presets."""
    torch.set_num_threads(THREADS)
    turns = 3 if quick else 15
    return [
        *_rows("diffhpe", "2d", turns),
        *_rows("diffhpe_wrapper", "wrapper", turns),
        _accuracy(quick),
    ]


def _accuracy(quick: bool) -> dict[str, Any]:
    """Return by how much the error with few steps is above that with all of them.

    With ``quick`` it is not judged: two windows say nothing of it.
    """
    windows = 2 if quick else 40
    network, _ = weights.network("wrapper", "diffhpe")
    data = Recipe.load(RECIPES / "wrapper.yaml").data
    data = replace(data, simulated={**data.simulated, "test": 8})
    test = camera_windows.load(data, "test")
    fixed = camera_windows.fixed_windows(test, network.config.frames, data, most=windows)
    error_mm = {}
    for name, sampler in (("few", FAST), ("all", Sampler())):
        poses = camera_windows.lift(estimator(network, HYPOTHESES, sampler), fixed.keypoints())
        error_mm[name] = 1e3 * pose3d.mpjpe(poses.mean(0), fixed.poses_m)
    return result(
        "diffhpe_wrapper.mpjpe_above_literal",
        error_mm["few"] - error_mm["all"],
        "mm",
        None if quick else 1.0,
        f"{network.config.diffusion_steps} steps: {error_mm['all']:.1f} mm, {windows} windows"
        + (", too few to judge" if quick else ""),
        at_most=True,
    )


def _rows(name: str, preset: str, turns: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    network = DiffHPE(PRESETS[preset]).eval()
    c = network.config
    keypoints = torch.randn(1, 2, c.joints, c.frames)
    noisy = torch.randn(1, 3, c.joints, c.frames)
    few, passes = Lifter(network, HYPOTHESES, FAST), HYPOTHESES * c.diffusion_steps
    x = torch.randn(HYPOTHESES, 3, c.joints, c.frames)

    def literal() -> None:
        for _ in range(_PASSES):
            predict_noise(network, noisy, 30, keypoints)

    with torch.no_grad():
        condition = network.condition(keypoints).expand(HYPOTHESES, -1, -1, -1)
        calls = {
            "literal": literal,
            "step": lambda: few.predict_noise(x, 30, condition),
            "window": lambda: few.lift(keypoints),
        }
        time_ms = interleaved_medians_ms(calls, turns)
    literal_ms = time_ms["literal"] / _PASSES * passes
    step_ms = literal_ms / c.diffusion_steps
    what, steps = f"preset {preset}, {THREADS} threads", f"{FAST.method}, {FAST.steps} steps"
    return [
        result(
            f"{name}.speedup_vs_literal",
            literal_ms / time_ms["window"],
            "x",
            TARGET,
            f"{passes} passes, one after the other: {literal_ms / 1e3:.2f} s; {what}",
        ),
        result(
            f"{name}.speedup_of_a_step",
            step_ms / time_ms["step"],
            "x",
            None,
            f"{HYPOTHESES} passes, one after the other: {step_ms:.0f} ms",
        ),
        result(f"{name}.window_ms", time_ms["window"], "ms", None, steps),
    ]


# -- literal -------------------------------------------------------------------------------------


def predict_noise(network: DiffHPE, poses: Tensor, step: int, keypoints: Tensor) -> Tensor:
    """Do what the network's ``condition`` and ``forward`` do, one layer after the other.

    Parameters
    ----------
    network : DiffHPE
        In use, not in training.
    poses, keypoints : Tensor
        ``(batch, 3, joints, frames)``, ``(batch, 2, joints, frames)``
    step : int
    """
    c = network.config
    condition = keypoints
    if c.condition == "mixste":
        condition = network.mixste.features(keypoints)
        poses = _pointwise(network.lift, poses)
    x = F.relu(_pointwise(network.enter, torch.cat((poses, condition), dim=1)))
    embedded = network.step_mlp(network.table[[step]])
    skips = []
    for block in network.blocks:
        y = x + block.step(embedded)[:, :, None, None]
        y = _graph_layer(block.temporal, y.permute(0, 1, 3, 2)).permute(0, 1, 3, 2)
        y = _graph_layer(block.spatial, y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = _non_local(block.non_local, y, c.misaligned_pooling)
        gate, content = _pointwise(block.gate, y).chunk(2, dim=1)
        y = torch.sigmoid(gate) * torch.tanh(content)
        residual, skip = _pointwise(block.out, y).chunk(2, dim=1)
        x = (x + residual) / math.sqrt(2)
        skips.append(skip)
    total = torch.stack(skips).sum(0) / math.sqrt(len(skips))
    return _pointwise(network.leave, F.relu(_pointwise(network.gather, total)))


def _pointwise(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer to the channels of (batch, channels, joints, frames)."""
    return F.conv2d(x, layer.weight[:, :, None, None], layer.bias)


def _graph_layer(layer: GraphLayer, x: Tensor) -> Tensor:
    """Graphs of (batch, graphs, features, joints) -> the same."""
    shape = x.shape
    x = x.flatten(0, 1).transpose(1, 2)  # (graphs, joints, features)
    weight, matrix = layer.weight, adjacency().to(x)
    eye = torch.eye(len(matrix)).to(x)
    kept = torch.einsum("gjf,jfh->gjh", x, weight[0])
    given = torch.einsum("gjf,jfh->gjh", x, weight[1])
    y = (matrix * eye) @ kept + (matrix * (1 - eye)) @ given + layer.bias
    y = F.relu(F.relu(layer.norm(y.transpose(1, 2))))
    return y.view(shape)


def _non_local(layer: NonLocalLayer, x: Tensor, misaligned: bool) -> Tensor:
    """(batch, channels, joints, frames) -> the same."""
    order = [joint for group in GROUPS for joint in group]
    batch, _, joints, frames = x.shape
    graphs = x.permute(0, 3, 1, 2).flatten(0, 1)[:, :, order, None]  # (graphs, channels, 17, 1)
    query, key, value = (
        _pointwise(part, graphs)[..., 0] for part in (layer.query, layer.key, layer.value)
    )
    if misaligned:
        key, value = F.max_pool1d(key, 2), F.max_pool1d(value, 2)
    else:
        sizes = [len(group) for group in GROUPS]
        key, value = (
            torch.stack([part.amax(-1) for part in t.split(sizes, -1)], -1) for t in (key, value)
        )
    pairs = torch.cat(
        (
            query[..., None].expand(-1, -1, -1, key.shape[-1]),
            key[:, :, None].expand(-1, -1, joints, -1),
        ),
        dim=1,
    )  # (graphs, 64, 17, 8)
    weight = layer.affinity.flatten()[None, :, None, None]
    affinity = F.relu(F.conv2d(pairs, weight))[:, 0] / key.shape[-1]
    seen = (affinity @ value.transpose(1, 2)).transpose(1, 2)[..., None]
    y = graphs + layer.norm(_pointwise(layer.out, seen)[..., 0])[..., None]
    back = [order.index(joint) for joint in range(joints)]
    return y[:, :, back, 0].unflatten(0, (batch, frames)).permute(0, 2, 3, 1)


@torch.no_grad()
def sample_literal(
    network: DiffHPE,
    keypoints: Tensor,
    hypotheses: int = 5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sample a window as the paper has it: all steps, one hypothesis at a time.

    Parameters
    ----------
    keypoints : Tensor
        ``(1, 2, joints, frames)``

    Returns
    -------
    Tensor
        ``(1, hypotheses, 3, joints, frames)``
    """
    diffusion, c = network.config.diffusion, network.config
    found = []
    for _ in range(hypotheses):
        x = torch.randn(1, 3, c.joints, c.frames, generator=generator)
        for step in range(diffusion.steps)[::-1]:
            beta, left = diffusion.betas[step], diffusion.signal[step]
            noise = predict_noise(network, x, step, keypoints)
            x = (x - float(beta / (1 - left) ** 0.5) * noise) / float(1 - beta) ** 0.5
            if step > 0:
                before = diffusion.signal[step - 1]
                fresh = torch.randn(x.shape, generator=generator)
                x = x + float((1 - before) / (1 - left) * beta) ** 0.5 * fresh
        found.append(x)
    return torch.stack(found, dim=1)


if __name__ == "__main__":
    print_rows(measure)
