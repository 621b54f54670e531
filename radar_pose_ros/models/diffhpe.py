"""DiffHPE: several 3-D poses that may stand behind the joints of an image (arXiv 2309.01575).

The whole network is in this file::

    17 joints in 27 frames, image coordinates
      -> a condition, once per window: the coordinates themselves ("keypoints"), or what a trained
         MixSTE knows of them ("mixste", the paper's DiffHPE-Wrapper)
      -> poses of pure noise, one per hypothesis
      -> several times: a graph network says how much of the poses is noise, some of it is removed
      -> poses in metres, relative to the hip

A block of the graph network looks along the frames of a joint, then across its channels, each time
with weights of its own for every joint and a sum over the joints beside it in the skeleton; then
all joints look at pairs of joints; a gate decides what goes on and what goes out.

`DiffHPE` is the network for training. `Lifter` is the same network for use: everything that does
not depend on the noisy poses is computed beforehand and all hypotheses go through it at once.

Poses are ``(batch, channels, joints, frames)`` outside. Inside they are ``(joints, frames, batch,
channels)``: there every layer is one product of matrices per joint, or one for all of them,
without a transposition between. Sizes and oddities are those of the authors' code; what is our own
is marked "choice".
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radar_pose_ros.models.diffusion import Diffusion, Sampler, sample
from radar_pose_ros.models.mixste import MixSTE, MixSTEConfig
from radar_pose_ros.models.mixste import multiply_accumulates as mixste_multiply_accumulates
from radar_pose_ros.skeleton import checks
from radar_pose_ros.skeleton.definitions import H36M17

# The joints of H36M17 that are looked at together, in this order.
GROUPS = ((2, 3), (5, 6), (1, 4), (0, 7), (8, 9, 10), (15, 16), (12, 13), (11, 14))

# Few steps for live use [choice]. The first estimates hold a thirtieth of the signal: unbounded,
# an error of theirs is thirty times as large, and six steps do not take it back. No joint is 1.5 m
# from the hip. New noise on the way takes back errors, which steps without it add up: with a small
# network, trained for minutes, six of these steps were as good as all fifty (132 mm against 134
# on 60 windows), four to ten without noise, of either kind, 10 to 56 mm worse.
FAST = Sampler("ddim", steps=6, eta=1.0, spacing="log_snr", limit=1.5)

# Hypotheses times windows that go through the network at once: what fits into the cache [choice].
_AT_ONCE = 5


@dataclass(frozen=True)
class DiffHPEConfig:
    """Sizes and options; the defaults are the preset ``2d``.

    Raises
    ------
    ValueError
        If the numbers do not fit together; the sentence says which.
    """

    condition: Literal["keypoints", "mixste"] = "keypoints"
    frames: int = 27  # weights are tied to it
    width: int = 64
    blocks: int = 16
    step_channels: int = 128  # of what tells the step of the diffusion
    dropout: float = 0.032
    misaligned_pooling: bool = True  # quirk, see `pooled_joints`; False is what was meant
    mixste_width: int = 64
    mixste_depth: int = 8
    diffusion_steps: int = 50
    schedule: Literal["cosine", "quadratic", "linear"] = "cosine"

    def __post_init__(self) -> None:
        if self.condition not in ("keypoints", "mixste"):
            raise ValueError(f"condition {self.condition!r} is none of keypoints, mixste")
        if self.width % 2 or self.step_channels % 2:
            raise ValueError(
                f"width and step_channels must be even, got {self.width}, {self.step_channels}"
            )
        if self.blocks < 1 or self.frames < 1:
            raise ValueError("blocks and frames must be at least 1")

    @property
    def joints(self) -> int:
        """Joints of the skeleton."""
        return len(H36M17.joints)

    @property
    def mixste(self) -> MixSTEConfig:
        """The network that the condition comes from."""
        return MixSTEConfig(
            frames=self.frames, width=self.mixste_width, depth=self.mixste_depth, head=False
        )

    @property
    def diffusion(self) -> Diffusion:
        """The schedule of the noise."""
        return Diffusion(self.diffusion_steps, self.schedule)

    @property
    def pose_channels(self) -> int:
        """Channels of the noisy poses where they meet the condition."""
        return 3 if self.condition == "keypoints" else self.width

    @property
    def condition_channels(self) -> int:
        """Channels of the condition."""
        return 2 if self.condition == "keypoints" else self.mixste_width


PRESETS: dict[str, DiffHPEConfig] = {
    "2d": DiffHPEConfig(),
    "wrapper": DiffHPEConfig(condition="mixste", dropout=0.27038),
}


def adjacency() -> Tensor:
    """Return how much each joint takes from each: itself and its neighbours alike, (17, 17).

    Rows sum to 1. Symmetrised edges of the skeleton and loops, divided by their number.
    """
    matrix = torch.eye(len(H36M17.joints))
    for a, b in H36M17.edges:
        matrix[a, b] = matrix[b, a] = 1.0
    return matrix / matrix.sum(1, keepdim=True)


def pooled_joints(misaligned: bool) -> list[tuple[int, ...]]:
    """Return which joints are pooled to one, eight times.

    The groups are `GROUPS`. The authors' code pools pairs of neighbours in the order of all groups
    behind one another; after the group of three the pairs no longer are the groups, and the last
    joint, the right shoulder, is left out. A quirk, but weights trained with it need it.
    """
    if not misaligned:
        return list(GROUPS)
    order = list(itertools.chain(*GROUPS))
    return list(zip(order[0:16:2], order[1:16:2], strict=True))


def step_table(steps: int, channels: int) -> Tensor:
    """Return sines and cosines of each step's number, ``(steps, channels)``.

    The frequencies rise from 1 to 10,000 with equal ratios: unusual, for they alias, but so they
    are. Computed in double precision, because float32 has no sine of 490,000.
    """
    half = channels // 2
    frequencies = 10.0 ** (4.0 * torch.arange(half, dtype=torch.float64) / max(half - 1, 1))
    phases = torch.arange(steps, dtype=torch.float64)[:, None] * frequencies
    return torch.cat((phases.sin(), phases.cos()), dim=1).float()


class BatchNorm(nn.Module):
    """As torch's, without its count of batches: an integer has no place among weights."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, features, ...), unchanged shape."""
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, self.weight, self.bias, self.training)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return the factor and the summand that it is in use, ``(features,)`` in float64."""
        gain = self.weight.double() / torch.sqrt(self.running_var.double() + 1e-5)
        return gain, self.bias.double() - self.running_mean.double() * gain


class GraphLayer(nn.Module):
    """Each joint takes from itself and from its neighbours, by weights that each joint has.

    Over time its features are the frames of one channel, else the channels of one frame.
    """

    own: Tensor
    others: Tensor

    def __init__(self, features: int, dropout: float, over_time: bool) -> None:
        super().__init__()
        joints = len(H36M17.joints)
        self.over_time = over_time
        # [0] what a joint makes of itself, [1] what it gives to its neighbours
        self.weight = nn.Parameter(torch.empty(2, joints, features, features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.norm = BatchNorm(features)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.weight, gain=1.414)  # with torch's fans of four axes
        weights = adjacency()
        self.register_buffer("own", weights.diagonal().clone(), persistent=False)
        self.register_buffer("others", weights - weights.diagonal().diag(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(joints, frames, batch * channels) or (joints, frames * batch, channels); the same."""
        if self.over_time:
            weight = self.weight.transpose(-1, -2)
            kept, given = weight[0] @ x, weight[1] @ x
            bias = self.bias[:, None]
        else:
            kept, given = x @ self.weight[0], x @ self.weight[1]
            bias = self.bias
        y = self.own[:, None, None] * kept + (self.others @ given.flatten(1)).view_as(x) + bias
        # statistics over everything but the features
        y = self.norm(y) if self.over_time else self.norm(y.flatten(0, 1)).view_as(x)
        # the authors' code has a second ReLU after the dropout, which changes nothing
        return self.dropout(F.relu(y))


class NonLocalLayer(nn.Module):
    """Every joint looks at the eight pools of joints of its frame; starts as the identity."""

    pools: Tensor

    def __init__(self, config: DiffHPEConfig) -> None:
        super().__init__()
        width, half = config.width, config.width // 2
        self.query = nn.Linear(width, half)
        self.key = nn.Linear(width, half)
        self.value = nn.Linear(width, half)
        self.affinity = nn.Parameter(torch.empty(2, half))  # of query and key
        self.out = nn.Linear(half, width)
        self.norm = BatchNorm(width)
        nn.init.uniform_(self.affinity, -(width**-0.5), width**-0.5)  # as nn.Linear
        nn.init.zeros_(self.norm.weight)
        pools = pooled_joints(config.misaligned_pooling)
        longest = max(map(len, pools))
        padded = [pool + pool[-1:] * (longest - len(pool)) for pool in pools]
        self.register_buffer("pools", torch.tensor(padded), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(joints, frames * batch, width), unchanged shape."""
        key = self.key(x)[self.pools].amax(1)  # (pools, frames * batch, half)
        value = self.value(x)[self.pools].amax(1)
        # w . [query; key] is the sum of two parts: (joints, 1, rows) + (pools, rows)
        affinity = F.relu((self.query(x) @ self.affinity[0])[:, None] + key @ self.affinity[1])
        seen = torch.einsum("jpn,pnc->jnc", affinity / len(self.pools), value)
        return x + self.norm(self.out(seen).flatten(0, 1)).view_as(x)


class Block(nn.Module):
    """A residual block: over time, across channels, across joints, and a gate."""

    def __init__(self, config: DiffHPEConfig) -> None:
        super().__init__()
        c = config
        self.step = nn.Linear(c.step_channels, c.width)
        self.temporal = GraphLayer(c.frames, c.dropout, over_time=True)
        self.spatial = GraphLayer(c.width, c.dropout, over_time=False)
        self.non_local = NonLocalLayer(c)
        self.gate = nn.Linear(c.width, 2 * c.width)
        self.out = nn.Linear(c.width, 2 * c.width)

    def forward(self, x: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return what goes on and what goes out, both (joints, frames, batch, width).

        Takes the same and (batch, step channels).
        """
        y = x + self.step(step)
        y = self.temporal(y.flatten(2))  # (joints, frames, batch * width)
        y = y.view_as(x).flatten(1, 2)  # (joints, frames * batch, width)
        gate, content = self.gate(self.non_local(self.spatial(y))).chunk(2, dim=-1)
        residual, skip = self.out(torch.sigmoid(gate) * torch.tanh(content)).chunk(2, dim=-1)
        return (x + residual.view_as(x)) / math.sqrt(2), skip.view_as(x)


class DiffHPE(nn.Module):
    """The network that says how much of noisy poses is noise, and what it is given to go by.

    Parameters
    ----------
    config : DiffHPEConfig
        For instance ``PRESETS["2d"]``.
    mixste : MixSTE, optional
        Trained, with or without its head: is copied and never trained again. Without it, weights
        for it are to be loaded.

    Raises
    ------
    ValueError
        If ``mixste`` is of another configuration.
    """

    table: Tensor
    blocks: list[Block]

    def __init__(self, config: DiffHPEConfig, mixste: MixSTE | None = None) -> None:
        super().__init__()
        c = self.config = config
        if c.condition == "mixste":
            self.mixste = (mixste or MixSTE(c.mixste)).without_head().requires_grad_(False).eval()
            if self.mixste.config != c.mixste:
                raise ValueError(f"mixste is {self.mixste.config}, wanted is {c.mixste}")
            self.lift = nn.Linear(3, c.width)
        self.step_mlp = nn.Sequential(
            nn.Linear(c.step_channels, c.step_channels),
            nn.SiLU(),
            nn.Linear(c.step_channels, c.step_channels),
            nn.SiLU(),
        )
        self.enter = nn.Linear(c.pose_channels + c.condition_channels, c.width)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.blocks))  # type: ignore[assignment]
        self.gather = nn.Linear(c.width, c.width)
        self.leave = nn.Linear(c.width, 3)
        nn.init.kaiming_normal_(self.enter.weight)
        nn.init.kaiming_normal_(self.gather.weight)
        nn.init.zeros_(self.leave.weight)
        table = step_table(c.diffusion_steps, c.step_channels)
        self.register_buffer("table", table, persistent=False)

    def train(self, mode: bool = True) -> DiffHPE:
        """Switch to training or back; the condition's network is in use always."""
        super().train(mode)
        if self.config.condition == "mixste":
            self.mixste.eval()
        return self

    @torch.no_grad()
    def condition(self, keypoints: Tensor) -> Tensor:
        """Return what is known of windows: ``(batch, channels, joints, frames)``.

        Parameters
        ----------
        keypoints : Tensor
            ``(batch, 2, joints, frames)``, normalised image coordinates, 0 where a joint is
            missing.

        Raises
        ------
        ValueError
            If the shape is another.
        """
        return _condition(self.config, getattr(self, "mixste", None), keypoints)

    def forward(self, poses: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        """Estimate the noise in noisy poses.

        Parameters
        ----------
        poses : Tensor
            ``(batch, 3, joints, frames)``
        step : Tensor
            int, ``(batch,)``: after how many steps of the diffusion, counted from 0.
        condition : Tensor
            As `condition` returns it.

        Returns
        -------
        Tensor
            ``(batch, 3, joints, frames)``
        """
        x = poses.permute(2, 3, 0, 1)  # (joints, frames, batch, 3)
        if self.config.condition == "mixste":
            x = self.lift(x)
        x = F.relu(self.enter(torch.cat((x, condition.permute(2, 3, 0, 1)), dim=-1)))
        embedded = self.step_mlp(self.table[step])  # (batch, step channels)
        total = torch.zeros_like(x)
        for block in self.blocks:
            x, skip = block(x, embedded)
            total = total + skip
        y = F.relu(self.gather(total / math.sqrt(len(self.blocks))))
        return self.leave(y).permute(2, 3, 0, 1)


def _condition(config: DiffHPEConfig, mixste: MixSTE | None, keypoints: Tensor) -> Tensor:
    c = config
    wanted = (2, c.joints, c.frames)
    if keypoints.ndim != 4 or tuple(keypoints.shape[1:]) != wanted or not len(keypoints):
        raise ValueError(
            f"keypoints must be (batch, 2, {c.joints} joints, {c.frames} frames), got "
            f"{tuple(keypoints.shape)}"
        )
    return keypoints if mixste is None else mixste.features(keypoints)


class _FoldedBlock:
    """A block in use: norms, factors and neighbouring linear layers made one, in float32.

    Joints are in the order of ``order``, in which those that are pooled stand side by side.
    """

    def __init__(self, block: Block, order: Sequence[int], scale: float, gather: Tensor) -> None:
        """Fold ``block``, whose input comes multiplied by ``scale``.

        Its first output goes on multiplied by ``scale`` times the root of 2, so that the residual
        is a plain sum. ``gather`` is a matrix that its second output is multiplied by.
        """
        temporal, spatial, joints = block.temporal, block.spatial, list(order)
        weights = adjacency().double()[joints][:, joints]
        own = weights.diagonal()[:, None, None]
        self.others = (weights - weights.diagonal().diag()).float()

        # over time: (joints, frames out, frames in) from the left
        gain, shift = temporal.norm.affine()
        weight = temporal.weight.double()[:, joints].transpose(-1, -2) * gain[:, None]
        self.temporal_own = (own * weight[0] / scale).float().contiguous()
        self.temporal_given = (weight[1] / scale).float().contiguous()
        # what the step adds to every frame of a channel, it adds after the layer as well
        reached = own * weight[0] + torch.einsum("jk,kab->jab", self.others.double(), weight[1])
        self.of_step = reached.sum(-1)[:, :, None, None].float()  # (joints, frames, 1, 1)
        self.temporal_bias = (temporal.bias * gain + shift).float()[:, None, None]

        # across channels: (joints, channels in, channels out) from the right
        gain, shift = spatial.norm.affine()
        weight = spatial.weight.double()[:, joints] * gain
        self.spatial_own = (own * weight[0]).float().contiguous()
        self.spatial_given = weight[1].float().contiguous()
        self.spatial_bias = (spatial.bias * gain + shift).float()

        # across joints: key, value and the query's part of the affinity in one product
        layer = block.non_local
        half = len(layer.affinity[0])
        of_query = layer.query.weight.double().T @ layer.affinity[0].double()
        looked = (layer.key.weight.double().T, layer.value.weight.double().T, of_query[:, None])
        self.look = torch.cat(looked, dim=1).float().contiguous()
        bias = layer.query.bias.double() @ layer.affinity[0].double()
        self.look_bias = torch.cat((layer.key.bias, layer.value.bias, bias[None].float()))
        self.of_key = layer.affinity[1].clone()
        self.half = half
        gain, shift = layer.norm.affine()
        out = layer.out.weight.double() * gain[:, None] / len(layer.pools)
        self.non_local_out = out.T.float().contiguous()
        # what it adds whatever the joints are goes into the gate's bias
        constant = layer.out.bias.double() * gain + shift

        # tanh(c) = 2 sigmoid(2 c) - 1: of torch's two, sigmoid is six times as fast
        width = block.gate.out_features // 2
        doubled = torch.ones(2 * width, dtype=torch.float64)
        doubled[width:] = 2.0
        gate = block.gate.weight.double() * doubled[:, None]
        self.gate = gate.T.float().contiguous()
        self.gate_bias = (block.gate.bias.double() * doubled + gate @ constant).float()
        residual, skip = block.out.weight.double().T.chunk(2, dim=1)
        residual_bias, skip_bias = block.out.bias.double().chunk(2)
        self.residual = (-residual * scale).float().contiguous()
        self.residual_bias = (residual_bias * scale).float()
        self.skip = (-skip @ gather).float().contiguous()
        self.skip_bias = (skip_bias @ gather).float()  # the caller's to add, once

    def __call__(self, x: Tensor, step: Tensor, total: Tensor, pools: _Pools) -> None:
        """Add to ``x`` and ``total``, (joints, frames, batch, width), in place.

        ``step`` is (width,), the same for all of the batch.
        """
        joints, frames, batch, width = x.shape
        columns = x.view(joints, frames, batch * width)
        given = torch.bmm(self.temporal_given, columns)
        y = torch.mm(self.others, given.view(joints, -1)).view_as(columns)
        y.baddbmm_(self.temporal_own, columns)
        y = y.view_as(x)
        y.add_(torch.addcmul(self.temporal_bias, self.of_step, step)).relu_()

        rows = y.view(joints, frames * batch, width)
        given = torch.bmm(rows, self.spatial_given)
        z = torch.mm(self.others, given.view(joints, -1)).view_as(rows)
        z.baddbmm_(rows, self.spatial_own)
        z.add_(self.spatial_bias).relu_()

        flat = z.view(-1, width)
        looked = torch.addmm(self.look_bias, flat, self.look).view(joints, frames * batch, -1)
        pooled = pools(looked[..., :-1])  # (pools, frames * batch, 2 * half)
        of_key = pooled[..., : self.half] @ self.of_key
        value = pooled[..., self.half :] @ self.non_local_out  # (pools, frames * batch, width)
        # (frames * batch, joints, pools) @ (frames * batch, pools, width); where the sum is to go
        # is said because torch would choose an order that its bmm is slow for
        affinity = x.new_empty(frames * batch, joints, len(pooled))
        torch.add(looked[..., -1].T[:, :, None], of_key.T[:, None], out=affinity).relu_()
        z.add_(torch.bmm(affinity, value.transpose(0, 1)).transpose(0, 1))

        both = torch.addmm(self.gate_bias, flat, self.gate).sigmoid_()
        gate, content = both[:, :width], both[:, width:]
        gated = torch.addcmul(gate, gate, content, value=-2.0)  # the negative of what is meant
        x.view(-1, width).add_(self.residual_bias).addmm_(gated, self.residual)
        total.view(-1, width).addmm_(gated, self.skip)


class _Pools:
    """The largest value of each pool of joints, where they stand side by side."""

    def __init__(self, misaligned: bool) -> None:
        pools = pooled_joints(misaligned)
        self.order = list(itertools.chain(*pools))
        self.order += [j for j in range(len(H36M17.joints)) if j not in self.order]
        firsts = list(itertools.accumulate(map(len, pools), initial=0))[:-1]
        self.regular = all(len(pool) == 2 for pool in pools)
        longest = max(map(len, pools))
        self.places = torch.tensor(
            [
                [first + min(k, len(pool) - 1) for k in range(longest)]
                for first, pool in zip(firsts, pools, strict=True)
            ]
        )

    def __call__(self, x: Tensor) -> Tensor:
        """(joints, ...) -> (pools, ...)."""
        if self.regular:
            last = 2 * len(self.places)
            return torch.maximum(x[0:last:2], x[1:last:2])
        return x[self.places].amax(1)


class LiftingStoppedError(Exception):
    """There are no poses: whoever asked for them wants them no more."""


class Lifter:
    """DiffHPE in use: windows of 2-D joints in, several 3-D poses for each out. On the CPU.

    Parameters
    ----------
    network : DiffHPE
        Its weights are folded as they are now; later changes to it are not seen.
    hypotheses : int
        Poses per window; the authors take 5.
    sampler : Sampler, optional
        By default all 50 steps, as the network was trained.

    Raises
    ------
    ValueError
        If ``hypotheses`` is no whole number of 1 or more.
    """

    def __init__(
        self, network: DiffHPE, hypotheses: int = 5, sampler: Sampler | None = None
    ) -> None:
        self.hypotheses = checks.whole("hypotheses", hypotheses, 1)
        self.sampler = sampler or Sampler()
        self.config = c = network.config
        self.diffusion = c.diffusion
        self._mixste = copy.deepcopy(network.mixste) if c.condition == "mixste" else None
        with torch.no_grad():
            self._fold(network)

    def _fold(self, network: DiffHPE) -> None:
        c = self.config
        self._pools = _Pools(c.misaligned_pooling)
        order = self._pools.order
        self._order, self._back = order, [order.index(joint) for joint in range(c.joints)]
        # the poses' and the condition's part of the first layer, the Wrapper's two in one
        enter = network.enter.weight.double()
        bias = network.enter.bias.double()
        of_pose, of_condition = enter[:, : c.pose_channels], enter[:, c.pose_channels :]
        if c.condition == "mixste":
            bias = bias + of_pose @ network.lift.bias.double()
            of_pose = of_pose @ network.lift.weight.double()
        self._of_pose = of_pose.T.float().contiguous()
        self._of_condition, self._enter_bias = of_condition.float(), bias.float()
        gather = network.gather.weight.double().T / math.sqrt(c.blocks)
        self._blocks = [
            _FoldedBlock(block, order, math.sqrt(2) ** number, gather)
            for number, block in enumerate(network.blocks)
        ]
        self._total_bias = network.gather.bias + sum(block.skip_bias for block in self._blocks)
        self._leave = network.leave.weight.T.clone()
        self._leave_bias = network.leave.bias.clone()
        embedded = network.step_mlp(network.table)  # (steps, step channels)
        self._of_step = [block.step(embedded) for block in network.blocks]

    @torch.inference_mode()
    def lift(
        self,
        keypoints: Tensor,
        generator: torch.Generator | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Return poses that may stand behind the joints of windows.

        Parameters
        ----------
        keypoints : Tensor
            float32, ``(batch, 2, joints, frames)``, normalised image coordinates, 0 where a joint
            is missing.
        generator : torch.Generator, optional
            Of all noise: the same state gives the same poses.
        stop : callable, optional
            Is asked before each pass through the network whether to give up.

        Returns
        -------
        Tensor
            ``(batch, hypotheses, 3, joints, frames)``, metres in the camera's frame, relative to
            the hip.

        Raises
        ------
        ValueError
            If the keypoints have another shape.
        LiftingStoppedError
            If ``stop`` said so.
        """
        known = self._enter(_condition(self.config, self._mixste, keypoints))
        known = known.repeat_interleave(self.hypotheses, dim=2)
        shape = (known.shape[2], 3, self.config.joints, self.config.frames)
        noise = torch.randn(shape, generator=generator).permute(2, 3, 0, 1)[self._order]
        poses = []  # (joints, frames, windows * hypotheses, 3)
        for here, x in zip(known.split(_AT_ONCE, 2), noise.split(_AT_ONCE, 2), strict=True):
            predict = functools.partial(self._predict_unless, stop, known=here)
            poses.append(sample(predict, x, self.diffusion, self.sampler, generator))
        found = torch.cat(poses, dim=2)[self._back].permute(2, 3, 0, 1)
        return found.unflatten(0, (-1, self.hypotheses)).contiguous()

    @torch.inference_mode()
    def predict_noise(self, poses: Tensor, step: int, condition: Tensor) -> Tensor:
        """Return what the network's ``forward`` does, for one step of the diffusion.

        Parameters
        ----------
        poses, condition : Tensor
            ``(batch, channels, joints, frames)``
        step : int
        """
        x = poses.permute(2, 3, 0, 1)[self._order]
        found = self._predict(x, step, self._enter(condition))
        return found[self._back].permute(2, 3, 0, 1)

    def _enter(self, condition: Tensor) -> Tensor:
        """Return the condition's part of the first layer, (joints, frames, batch, width)."""
        ordered = condition.permute(2, 3, 0, 1)[self._order]
        return F.linear(ordered, self._of_condition, self._enter_bias)

    def _predict_unless(
        self, stop: Callable[[], bool] | None, poses: Tensor, step: int, known: Tensor
    ) -> Tensor:
        if stop is not None and stop():
            raise LiftingStoppedError("given up before all steps were taken")
        return self._predict(poses, step, known)

    def _predict(self, poses: Tensor, step: int, known: Tensor) -> Tensor:
        """(joints, frames, batch, 3) -> the noise in it, joints in the order of the pools."""
        rows, width = known.numel() // known.shape[-1], known.shape[-1]
        x = torch.addmm(known.reshape(rows, width), poses.reshape(rows, 3), self._of_pose)
        x = x.relu_().view(known.shape)
        total = self._total_bias.expand(known.shape).contiguous()
        for block, of_step in zip(self._blocks, self._of_step, strict=True):
            block(x, of_step[step], total, self._pools)
        y = torch.addmm(self._leave_bias, total.view(rows, width).relu_(), self._leave)
        return y.view(poses.shape)


def multiply_accumulates(config: DiffHPEConfig) -> dict[str, int]:
    """Count the multiplications by part: of one window, one hypothesis, one step of the sampler.

    Counted are linear layers and products of matrices as they are written in the paper's code.
    ``denoiser`` is their sum. The condition's network ("mixste", once per window) and its encoder
    of poses ("lift") are not in it, nor are the ``norms``: two operations for each number that a
    batch norm reads, as some tools count them.
    """
    c = config
    joints, half = c.joints, c.width // 2
    places = joints * c.frames
    pools = len(pooled_joints(c.misaligned_pooling))
    parts = {
        "enter": places * (c.pose_channels + c.condition_channels) * c.width,
        "step": 2 * c.step_channels**2 + c.blocks * c.step_channels * c.width,
        "temporal": c.blocks * 2 * places * c.frames * c.width,
        "spatial": c.blocks * 2 * places * c.width**2,
        "neighbours": c.blocks * 4 * joints * places * c.width,
        "non_local": c.blocks
        * (4 * places * c.width * half + places * pools * c.width + places * pools * half),
        "gate": c.blocks * 4 * places * c.width**2,
        "leave": places * c.width * (c.width + 3),
    }
    wrapped = c.condition == "mixste"
    return {
        **parts,
        "denoiser": sum(parts.values()),
        "norms": c.blocks * 6 * places * c.width,
        "lift": places * 3 * c.width if wrapped else 0,
        "mixste": mixste_multiply_accumulates(c.mixste)["total"] if wrapped else 0,
    }
