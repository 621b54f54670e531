"""The design of DeciWatch, to compare with: keyframes denoised, then all frames recovered.

After the description in Zeng et al., "DeciWatch: A Simple Baseline for 10x Efficient 2D and 3D
Pose Estimation" (ECCV 2022)::

    keyframe poses -> embedding -> Transformer encoder -> poses, added to what came in  (denoise)
      -> a linear map over time: a pose for each frame
      -> convolution over frames -> Transformer decoder, which also looks at the encoder's
         features -> poses, added to what came in                                       (recover)

What the paper or its published settings state is marked "paper"; everything else is our own
choice, marked "choice". It takes and gives what `mixsynthformer.MixSynthFormer` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radar_pose_ros.models.mixsynthformer import recovery_matrix


@dataclass(frozen=True)
class DeciWatchConfig:
    """Sizes and options; the defaults are the preset ``deciwatch_h36m``.

    Raises
    ------
    ValueError
        If the numbers do not fit together; the sentence says which.
    """

    joints: int = 17  # paper
    values: int = 3  # paper: per joint, 2 in an image, 3 in space
    scale: float = 1.0  # choice: what 1 stands for in the network, in the unit of the poses
    centre: bool = False  # choice: take the window's mean position off, and add it again
    interval: int = 10  # paper: frames from keyframe to keyframe
    segments: int = 10  # paper: Q; Q + 1 keyframes are read
    start_from_interpolation: bool = False  # choice: begin as linear interpolation
    width: int = 128  # paper: 64 or 128
    layers: int = 5  # paper: of the encoder, and of the decoder
    heads: int = 4  # paper
    feed_forward: int = 2  # choice, in multiples of the width: 1.7 M parameters, as published
    kernel: int = 5  # paper: frames that the convolution sees
    dropout: float = 0.1  # paper

    def __post_init__(self) -> None:
        for name in ("joints", "values", "interval", "segments", "width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is no multiple of 2 x {self.heads} heads")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")

    @property
    def pose_size(self) -> int:
        """Numbers of one pose."""
        return self.joints * self.values

    @property
    def keyframes(self) -> int:
        """Keyframes of a window."""
        return self.segments + 1

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return self.interval * self.segments + 1

    @property
    def future_frames(self) -> int:
        """Frames beyond the last keyframe: it predicts none."""
        return 0


PRESETS: dict[str, DeciWatchConfig] = {
    "deciwatch_h36m": DeciWatchConfig(),
    "deciwatch_mocap_3d": DeciWatchConfig(centre=True, start_from_interpolation=True),
}
PRESETS["deciwatch_mocap_3d_64"] = replace(PRESETS["deciwatch_mocap_3d"], width=64)


class DeciWatchOutput(NamedTuple):
    """Both estimates, in the unit of the keyframes.

    Attributes
    ----------
    recovered : Tensor
        ``(batch, frames, joints, values)``.
    denoised : Tensor
        ``(batch, keyframes, joints, values)``.
    """

    recovered: Tensor
    denoised: Tensor


class Attention(nn.Module):
    """Multi-head attention, to the tokens themselves or to a memory."""

    def __init__(self, config: DeciWatchConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """(batch, tokens, width) looks at (batch, memory's tokens, width)."""

        def split(t: Tensor) -> Tensor:  # (batch, n, width) -> (batch, heads, n, width / heads)
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        attended = F.scaled_dot_product_attention(
            split(self.query(x)), split(self.key(memory)), split(self.value(memory))
        )
        return self.out(attended.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A pre-norm Transformer layer; with ``cross`` one that also looks at a memory."""

    def __init__(self, config: DeciWatchConfig, cross: bool) -> None:
        super().__init__()
        c = config
        self.norm = nn.LayerNorm(c.width)
        self.attention = Attention(c)
        self.cross_norm = nn.LayerNorm(c.width) if cross else None
        self.cross = Attention(c) if cross else None
        self.mlp_norm = nn.LayerNorm(c.width)
        self.up = nn.Linear(c.width, c.feed_forward * c.width)
        self.down = nn.Linear(c.feed_forward * c.width, c.width)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """(batch, tokens, width) -> the same."""
        y = self.norm(x)
        x = x + self.dropout(self.attention(y, y))
        if self.cross is not None and self.cross_norm is not None:
            assert memory is not None
            x = x + self.dropout(self.cross(self.cross_norm(x), memory))
        y = self.dropout(self.down(self.dropout(F.relu(self.up(self.mlp_norm(x))))))
        return x + y


class DeciWatch(nn.Module):
    """The network.

    Parameters
    ----------
    config : DeciWatchConfig
        For instance ``PRESETS["deciwatch_h36m"]``.
    """

    keyframe_places: Tensor
    frame_places: Tensor

    def __init__(self, config: DeciWatchConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embedding = nn.Linear(c.pose_size, c.width)
        self.encoder = nn.ModuleList(Layer(c, cross=False) for _ in range(c.layers))
        self.encoder_norm = nn.LayerNorm(c.width)
        self.denoised = nn.Linear(c.width, c.pose_size)
        self.recovery = nn.Linear(c.keyframes, c.frames)
        self.convolution = nn.Conv1d(c.pose_size, c.width, c.kernel, padding=c.kernel // 2)
        self.decoder = nn.ModuleList(Layer(c, cross=True) for _ in range(c.layers))
        self.decoder_norm = nn.LayerNorm(c.width)
        self.recovered = nn.Linear(c.width, c.pose_size)
        # keyframes stand where their frames do
        places = sinusoids(c.frames, c.width)
        self.register_buffer("frame_places", places, persistent=False)
        self.register_buffer("keyframe_places", places[:: c.interval], persistent=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise matrices after Glorot; the network may begin as linear interpolation."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        if self.config.start_from_interpolation:
            c = self.config
            straight = recovery_matrix(c.keyframes, c.interval, c.frames)
            self.recovery.weight.copy_(torch.from_numpy(straight))
            for parameter in (self.recovery.bias, *self.denoised.parameters()):
                nn.init.zeros_(parameter)
            for parameter in self.recovered.parameters():
                nn.init.zeros_(parameter)

    def forward(self, keyframes: Tensor, both: bool = False) -> Tensor | DeciWatchOutput:
        """Estimate the poses of all frames of a window.

        Parameters
        ----------
        keyframes : Tensor
            float32, ``(batch, keyframes, joints, values)``, finite; pixels or metres.
        both : bool
            Return the denoised keyframes, too: they have a loss of their own in training.

        Returns
        -------
        Tensor or DeciWatchOutput
            ``(batch, frames, joints, values)``, the same unit.

        Raises
        ------
        ValueError
            If the keyframes have another shape than the configuration says.
        """
        c = self.config
        if tuple(keyframes.shape[1:]) != (c.keyframes, c.joints, c.values):
            raise ValueError(
                f"keyframes must be (batch, {c.keyframes} keyframes, {c.joints} joints, "
                f"{c.values} values), got {tuple(keyframes.shape)}"
            )
        middle = keyframes.mean((1, 2), keepdim=True) if c.centre else keyframes.new_zeros(())
        poses = ((keyframes - middle) / c.scale).flatten(2)  # (batch, keyframes, P)
        x = self.embedding(poses) + self.keyframe_places
        for layer in self.encoder:
            x = layer(x)
        memory = self.encoder_norm(x)  # (batch, keyframes, width)
        denoised = poses + self.denoised(memory)
        between = self.recovery(denoised.transpose(1, 2))  # (batch, P, frames)
        x = self.convolution(between).transpose(1, 2) + self.frame_places
        for layer in self.decoder:
            x = layer(x, memory)
        recovered = between.transpose(1, 2) + self.recovered(self.decoder_norm(x))

        def restored(t: Tensor) -> Tensor:
            return t.unflatten(2, (c.joints, c.values)) * c.scale + middle

        if both:
            return DeciWatchOutput(restored(recovered), restored(denoised))
        return restored(recovered)


def sinusoids(places: int, width: int) -> Tensor:
    """Return sines and cosines of geometrically falling rates, ``(places, width)`` [choice].

    Column 2 i is the sine, 2 i + 1 the cosine of ``place / 10000^(2 i / width)`` (Vaswani et al.
    2017).
    """
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(places).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def multiply_accumulates(config: DeciWatchConfig) -> dict[str, int]:
    """Count the multiplications of one window, by part.

    ``linear`` are linear layers and the convolution, ``attention`` the products of attention, and
    ``total`` is both.
    """
    c = config
    d, frames, keyframes = c.width, c.frames, c.keyframes
    mlp = 2 * c.feed_forward * d * d
    parts = {
        "denoise": keyframes * (2 * c.pose_size * d + c.layers * (4 * d * d + mlp)),
        "interpolate": keyframes * frames * c.pose_size,
        "recover": frames * c.pose_size * d * (c.kernel + 1)
        + c.layers * (frames * (4 * d * d + 2 * d * d + mlp) + keyframes * 2 * d * d),
    }
    linear = sum(parts.values())
    attention = 2 * d * c.layers * (keyframes**2 + frames**2 + frames * keyframes)
    return {**parts, "linear": linear, "attention": attention, "total": linear + attention}
