"""MixSTE: joints in the image over a window of frames, lifted to 3-D (Zhang et al., CVPR 2022).

The whole network is in this file::

    17 joints in 27 frames, image coordinates
      -> a token per joint and frame
      -> eight times: attention over the joints of a frame, then over the frames of a joint
      -> a linear layer: camera coordinates, relative to the hip

It is the small one, 64 channels wide, that DiffHPE (arXiv 2309.01575) takes its condition from and
compares itself with; the published MixSTE has 512. Sizes are those of DiffHPE's configuration;
what is our own choice is marked "choice".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class MixSTEConfig:
    """Sizes; the defaults are the preset ``paper``.

    Raises
    ------
    ValueError
        If the width does not divide into the heads, or a probability is none.
    """

    frames: int = 27
    joints: int = 17
    width: int = 64
    depth: int = 8  # pairs of a spatial and a temporal block
    heads: int = 8
    feed_forward: int = 2  # hidden channels of an MLP, in multiples of the width
    drop_path: float = 0.1  # of the last pair in training; rises from 0 with the depth
    head: bool = True  # False: features only, as DiffHPE's condition

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path must lie in [0, 1), got {self.drop_path}")


PRESETS: dict[str, MixSTEConfig] = {
    "paper": MixSTEConfig(),
}


class DropPath(nn.Module):
    """Leaves out a residual branch, sample by sample, and scales up the others (training only)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """(batch, ...), unchanged shape."""
        if not self.training or not self.probability:
            return x
        kept = 1 - self.probability
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * (x.new_empty(shape).bernoulli_(kept) / kept)


class Block(nn.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, config: MixSTEConfig, drop_path: float) -> None:
        super().__init__()
        width, hidden = config.width, config.feed_forward * config.width
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(sequences, tokens, width) -> the same."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (sequences, heads, tokens, width / heads) each
        attended = _attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.drop_path(self.out(attended))
        return x + self.drop_path(self.down(F.gelu(self.up(self.norm2(x)))))


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(sequences, heads, tokens, width of a head) each -> the same."""
    if torch.is_grad_enabled() and query.device.type == "cpu":
        # with heads of 8 the fused kernel learns 1.3 times, in bfloat16 3 times, as slowly
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return scores.softmax(-1) @ value
    return F.scaled_dot_product_attention(query, key, value)


class MixSTE(nn.Module):
    """The network.

    Parameters
    ----------
    config : MixSTEConfig
        For instance ``PRESETS["paper"]``.
    """

    def __init__(self, config: MixSTEConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embed = nn.Linear(2, c.width)
        self.joint_position = nn.Parameter(torch.zeros(c.joints, c.width))
        self.frame_position = nn.Parameter(torch.zeros(c.frames, c.width))
        rates = torch.linspace(0, c.drop_path, c.depth).tolist()
        self.spatial = nn.ModuleList(Block(c, rate) for rate in rates)
        self.temporal = nn.ModuleList(Block(c, rate) for rate in rates)
        self.spatial_norm = nn.LayerNorm(c.width, eps=1e-6)  # shared by all spatial blocks
        self.temporal_norm = nn.LayerNorm(c.width, eps=1e-6)
        self.norm = nn.LayerNorm(c.width)
        if c.head:
            self.head = nn.Linear(c.width, 3)
        for parameter in (self.joint_position, self.frame_position):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]  # read by the training loop

    def forward(self, keypoints: Tensor) -> Tensor:
        """Estimate the poses of a window.

        Parameters
        ----------
        keypoints : Tensor
            ``(batch, 2, joints, frames)``, normalised image coordinates, 0 where a joint is
            missing.

        Returns
        -------
        Tensor
            ``(batch, 3, joints, frames)``, metres in the camera's frame, relative to the hip.

        Raises
        ------
        ValueError
            If it is a network without a head, or the shape is another.
        """
        if not self.config.head:
            raise ValueError("this MixSTE has no head: it gives features only")
        return self.head(self._tokens(keypoints)).permute(0, 3, 2, 1)

    def features(self, keypoints: Tensor) -> Tensor:
        """Return what the head is given: ``(batch, width, joints, frames)``; see `forward`."""
        return self._tokens(keypoints).permute(0, 3, 2, 1)

    def without_head(self) -> MixSTE:
        """Return a copy that gives features only."""
        other = MixSTE(replace(self.config, head=False))
        state = {k: v for k, v in self.state_dict().items() if not k.startswith("head.")}
        other.load_state_dict(state)
        return other.to(self.embed.weight.device)

    def _tokens(self, keypoints: Tensor) -> Tensor:
        """(batch, 2, joints, frames) -> (batch, frames, joints, width)."""
        c = self.config
        if keypoints.ndim != 4 or tuple(keypoints.shape[1:]) != (2, c.joints, c.frames):
            raise ValueError(
                f"keypoints must be (batch, 2, {c.joints} joints, {c.frames} frames), got "
                f"{tuple(keypoints.shape)}"
            )
        batch = len(keypoints)
        x = self.embed(keypoints.permute(0, 3, 2, 1)) + self.joint_position
        for number, (spatial, temporal) in enumerate(
            zip(self.spatial, self.temporal, strict=True)
        ):
            x = self.spatial_norm(spatial(x.flatten(0, 1)))  # (batch * frames, joints, width)
            x = x.unflatten(0, (batch, c.frames)).transpose(1, 2)
            if number == 0:
                x = x + self.frame_position
            x = self.temporal_norm(temporal(x.flatten(0, 1)))  # (batch * joints, frames, width)
            x = x.unflatten(0, (batch, c.joints)).transpose(1, 2)
        return self.norm(x)


def multiply_accumulates(config: MixSTEConfig) -> dict[str, int]:
    """Count the multiplications of one window, by part.

    ``total`` is the sum of linear layers and the two products of attention. ``norms`` is not in
    it: five operations for each number that a layer normalisation reads, as some tools count them.
    """
    c = config
    tokens = c.frames * c.joints
    embedding = tokens * 2 * c.width
    linear = 2 * c.depth * tokens * c.width**2 * (4 + 2 * c.feed_forward)
    attention = c.depth * tokens * 2 * c.width * (c.joints + c.frames)
    head = tokens * 3 * c.width if c.head else 0
    return {
        "embedding": embedding,
        "linear": linear,
        "attention": attention,
        "head": head,
        "total": embedding + linear + attention + head,
        "norms": 5 * tokens * c.width * (6 * c.depth + 1),
    }
