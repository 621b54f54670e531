"""milliMamba: the 2-D pose of a person from two radars (Kini et al., WACV 2026, arXiv 2512.20128).

The whole network is in this file::

    heatmaps of both radars, T frames
      -> per radar: merge Doppler, residual convolutions, one vector per patch     (stem)
      -> one long sequence of tokens: range fastest, then angle, view, frame
      -> Vision Mamba layers, each scanned in both directions                      (encoder)
      -> one query per joint and frame: attention over the joints of a frame, over the frames of
         a joint, and over all tokens                                              (decoder)
      -> an MLP: image coordinates of each joint in each frame

No code or weights of the paper are public. What the paper states is marked "paper" below; the
bidirectional layer follows the published description of Vision Mamba (Zhu et al. 2024, variant
"v2"), marked "vim"; everything else is our own choice, marked "choice".
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radar_pose_ros.models.ops.causal_conv import bidirectional_conv
from radar_pose_ros.models.ops.selective_scan import bidirectional_scan


@dataclass(frozen=True)
class MilliMambaConfig:
    """Sizes and options; the defaults are the preset ``paper``.

    Raises
    ------
    ValueError
        If the numbers do not fit together; the sentence says which.
    """

    # input
    views: int = 2  # paper: horizontal and vertical radar; 1 is its single-view ablation
    frames: int = 9  # paper: T; its ablation tries 3 to 15
    input_channels: int = 2  # paper: real and imaginary part; 2 * elevation bins for a 4-D heatmap
    angle_bins: int = 64  # paper
    doppler_bins: int = 8  # paper
    range_bins: int = 256  # paper
    normalisation: Literal["rms", "zscore", "none"] = "rms"  # choice, see `normalise`
    input_features: Literal["complex", "complex_magnitude", "magnitude"] = "complex"  # paper
    # stem, one per view
    merge_channels: int = 16  # choice; the paper merges Doppler first, all bins at once
    merge_kernel: int = 1  # choice: angle and range extent of the merging convolution
    merge_stride: int = 1  # choice
    block_channels: tuple[int, ...] = (
        32,
        64,
    )  # choice; each residual block halves angle and range
    temporal_kernel: int = 3  # choice: frames that a convolution sees
    causal: bool = False  # choice: it sees past frames only, no later ones
    patch: tuple[int, int] = (1, 1)  # choice: angle x range cells that become one token
    # encoder
    width: int = 192  # choice: channels of a token
    encoder: Literal["mamba", "transformer"] = "mamba"  # paper; "transformer" is its ablation
    encoder_layers: int = 4  # choice
    state_size: int = 16  # vim
    expand: int = 2  # vim
    conv_kernel: int = 4  # vim
    average_directions: bool = False  # vim: halve the sum of both directions
    zigzag: bool = False  # choice: plain raster; True reverses the range of odd angle rows
    # decoder
    joints: int = 14  # paper
    decoder_layers: int = 4  # choice
    heads: int = 8  # choice
    feed_forward: int = 4  # choice: hidden channels of an MLP, in multiples of the width
    dropout: float = 0.1  # choice
    many_to_one: bool = False  # paper's ablation: queries for the middle frame only
    deep_supervision: bool = False  # choice: every decoder layer's estimate is returned
    confidence_head: bool = True  # choice: not in the paper, which estimates (x, y) only
    image_size_px: int = 256  # paper

    def __post_init__(self) -> None:
        if self.views not in (1, 2):
            raise ValueError(f"views must be 1 or 2, got {self.views}")
        if self.temporal_kernel % 2 == 0 or self.merge_kernel % 2 == 0:
            raise ValueError(
                f"temporal_kernel and merge_kernel must be odd, got {self.temporal_kernel} and "
                f"{self.merge_kernel}"
            )
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads")
        if self.input_channels % 2:
            raise ValueError(f"input_channels must be even, got {self.input_channels}")
        if self.many_to_one and self.frames % 2 == 0:
            raise ValueError(f"many_to_one needs a middle frame: frames {self.frames} is even")
        stride = self.stem_stride
        for name, bins, patch in (
            ("angle_bins", self.angle_bins, self.patch[0]),
            ("range_bins", self.range_bins, self.patch[1]),
        ):
            if bins % (stride * patch):
                raise ValueError(f"{name} {bins} is no multiple of {stride * patch}")

    @property
    def stem_stride(self) -> int:
        """Cells of the heatmap per cell of the stem's last feature map, along angle and range."""
        return int(self.merge_stride * 2 ** len(self.block_channels))

    @property
    def streams(self) -> bool:
        """Whether a frame's tokens never change when later frames come."""
        return self.causal or self.temporal_kernel == 1

    @property
    def past_frames(self) -> int:
        """Frames before a window that its tokens depend on, through causal convolutions."""
        layers = 2 * len(self.block_channels)
        return layers * (self.temporal_kernel - 1) if self.causal else 0

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens of one view and frame: (angle, range)."""
        return (
            self.angle_bins // self.stem_stride // self.patch[0],
            self.range_bins // self.stem_stride // self.patch[1],
        )

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of all views of one frame."""
        return self.views * self.grid[0] * self.grid[1]

    @property
    def output_frames(self) -> int:
        """Frames for which a pose is estimated."""
        return 1 if self.many_to_one else self.frames

    @property
    def stem_channels(self) -> int:
        """Channels into the merging convolution: features x Doppler bins."""
        per_value = {"complex": 2, "complex_magnitude": 3, "magnitude": 1}[self.input_features]
        return self.input_channels // 2 * per_value * self.doppler_bins


PRESETS: dict[str, MilliMambaConfig] = {
    # The paper's input, window and order of tokens; sizes chosen so that the counted work comes
    # near the 34.4 GMACs that the paper states.
    "paper": MilliMambaConfig(),
    # The same size for a stream: a new frame leaves the tokens of those before it as they are.
    "paper_streaming": MilliMambaConfig(causal=True),
    # For two cores without a graphics card, 10 frames per second, and short training: half the
    # angle bins (12 antennas fill no more), range bins 31 to 94, an early stride, frames encoded
    # one by one, 32 tokens per frame.
    "edge": MilliMambaConfig(
        angle_bins=32,
        range_bins=64,
        input_features="complex_magnitude",
        merge_channels=32,
        merge_kernel=3,
        merge_stride=2,
        block_channels=(64,),
        temporal_kernel=1,
        patch=(2, 4),
        width=128,
        encoder_layers=3,
        state_size=8,
        decoder_layers=2,
        dropout=0.0,
    ),
}
# The same network without a memory, to compare with.
PRESETS["edge_single_frame"] = replace(PRESETS["edge"], frames=1)


class MilliMambaOutput(NamedTuple):
    """An estimate for every frame of the window.

    Attributes
    ----------
    keypoints : Tensor
        ``(batch, frames, joints, 2)``, pixels, x to the right, y down.
    confidence : Tensor
        ``(batch, frames, joints)``, 0 to 1: the similarity to the truth that the network expects
        of each joint (`losses.confidence_loss`); NaN without a confidence head.
    intermediate : tuple of Tensor
        With deep supervision the keypoints after each decoder layer but the last, else empty.
    """

    keypoints: Tensor
    confidence: Tensor
    intermediate: tuple[Tensor, ...] = ()


def normalise(heatmap: Tensor, method: str = "rms") -> Tensor:
    """Turn complex heatmaps into the network's real channels, free of the receiver's gain.

    Parameters
    ----------
    heatmap : Tensor
        Complex, ``(..., angle, doppler, range)``, one frame of one radar in the last three.
    method : {"rms", "zscore", "none"}
        "rms": divide by the frame's root mean square magnitude, which keeps the phase [choice].
        "zscore": as HuPR, each of the two planes is scaled to 0..1 and then to mean 0 and standard
        deviation 1, per Doppler bin.

    Returns
    -------
    Tensor
        float32, ``(..., 2, angle, doppler, range)``, real and imaginary part. A frame of zeros
        stays zero.
    """
    channels = torch.view_as_real(heatmap).movedim(-1, -4).float()
    return normalise_channels(channels, method)


def normalise_channels(heatmaps: Tensor, method: str = "rms") -> Tensor:
    """Do what `normalise` does to heatmaps that are already ``(..., 2, angle, doppler, range)``.

    The network does it to its input, so it does not matter whether the caller has done it too.
    """
    if method == "none":
        return heatmaps
    if method == "rms":
        # the mean of |X|^2 is twice the mean of the squares of the parts
        norm = torch.linalg.vector_norm(heatmaps, dim=(-4, -3, -2, -1), keepdim=True)
        return heatmaps * (math.sqrt(math.prod(heatmaps.shape[-4:]) / 2) / norm.clamp_min(1e-20))
    if method == "zscore":
        # scaling to 0..1 first, as HuPR does, changes nothing: the z-score undoes it
        centred = heatmaps - heatmaps.mean((-3, -1), keepdim=True)
        variance = centred.square().mean((-3, -1), keepdim=True)
        return centred * variance.clamp_min(1e-30).rsqrt()
    raise ValueError(f"normalisation {method!r} is none of rms, zscore, none")


# What causal convolutions have seen of a stream: the last `temporal_kernel` - 1 frames that went
# into each of them.
History = dict[nn.Module, Tensor]


class FrameConv(nn.Module):
    """A 3-D convolution over (frame, angle, range), carried out as a 2-D one.

    Neighbouring frames are laid side by side as channels. The numbers are those of ``Conv3d``; on
    a CPU torch takes a slow path for float32 ``Conv3d`` with batch 1, and with a temporal kernel
    of 1 there is nothing three-dimensional about it. Channels stay innermost in memory, which
    makes a training step of the stem 1.8 times as fast as with channels first.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        temporal_kernel: int = 1,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.temporal_kernel = temporal_kernel
        self.causal = causal
        self.conv = nn.Conv2d(
            temporal_kernel * inputs, outputs, kernel, stride, kernel // 2, bias=False
        )

    def forward(self, x: Tensor, history: History | None = None) -> Tensor:
        """(batch, frames, angle, range, channels) -> the same with new sizes and channels.

        Beyond the first and the last frame there are zeros. With a ``history`` a causal
        convolution goes on where it left off instead, and leaves there what it needs next time.
        """
        batch, frames = x.shape[:2]
        if self.temporal_kernel > 1:
            around = self.temporal_kernel - 1
            after = 0 if self.causal else around // 2
            if self.causal and history is not None and self in history:
                padded = torch.cat((history[self], x), dim=1)
            else:
                padded = F.pad(x, (0, 0, 0, 0, 0, 0, around - after, after))
            if self.causal and history is not None:
                history[self] = padded[:, frames:]
            x = torch.cat([padded[:, k : k + frames] for k in range(self.temporal_kernel)], dim=-1)
        y = self.conv(x.flatten(0, 1).permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1).unflatten(0, (batch, frames))


class FrameNorm(nn.GroupNorm):
    """Group normalisation within one frame of one view.

    Its statistics come from that frame alone: the same result for a frame that streams in and for
    one in a window, in training and in use, whatever the batch.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(math.gcd(8, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, angle, range, channels), unchanged shape."""
        y = super().forward(x.flatten(0, 1).permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


class ResidualBlock(nn.Module):
    """Two 3 x 3 (x temporal kernel) convolutions beside a 1 x 1 one; halves angle and range."""

    def __init__(self, inputs: int, outputs: int, temporal_kernel: int, causal: bool) -> None:
        super().__init__()
        self.conv1 = FrameConv(inputs, outputs, 3, 2, temporal_kernel, causal)
        self.norm1 = FrameNorm(outputs)
        self.conv2 = FrameConv(outputs, outputs, 3, 1, temporal_kernel, causal)
        self.norm2 = FrameNorm(outputs)
        self.shortcut = FrameConv(inputs, outputs, 1, 2)

    def forward(self, x: Tensor, history: History | None = None) -> Tensor:
        """(batch, frames, H, W, inputs) -> (batch, frames, H/2, W/2, outputs)."""
        y = F.relu(self.norm1(self.conv1(x, history)))
        y = self.norm2(self.conv2(y, history))
        return F.relu(y + self.shortcut(x))


class Stem(nn.Module):
    """What happens to one radar's heatmaps before the two meet (the paper's MNet)."""

    def __init__(self, config: MilliMambaConfig) -> None:
        super().__init__()
        c = config
        self.merge = FrameConv(c.stem_channels, c.merge_channels, c.merge_kernel, c.merge_stride)
        self.merge_norm = FrameNorm(c.merge_channels)
        channels = (c.merge_channels, *c.block_channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(a, b, c.temporal_kernel, c.causal)
            for a, b in itertools.pairwise(channels)
        )
        self.patch = nn.Conv2d(channels[-1], c.width, c.patch, c.patch)

    def forward(self, x: Tensor, history: History | None = None) -> Tensor:
        """(batch, frames, angle, range, features * doppler) -> (batch, frames, tokens, width)."""
        return self.embed(self.merge_doppler(x), history)

    def merge_doppler(self, x: Tensor) -> Tensor:
        """Do the first part, which looks at each frame alone."""
        return F.relu(self.merge_norm(self.merge(x)))

    def embed(self, x: Tensor, history: History | None = None) -> Tensor:
        """Do the rest: (batch, frames, angle, range, channels) -> tokens."""
        batch, frames = x.shape[:2]
        for block in self.blocks:
            x = block(x, history)
        x = self.patch(
            x.flatten(0, 1).permute(0, 3, 1, 2)
        )  # (batch * frames, width, angle, range)
        return x.flatten(2).transpose(1, 2).unflatten(0, (batch, frames))


class VisionMambaLayer(nn.Module):
    """A bidirectional Mamba layer on a residual stream (Vim, variant "v2").

    Both directions have their own convolution, projections and state matrices and share the
    outer projections. Tokens stand in one order throughout; what belongs to a direction has an
    index of 0 (first to last) or 1 (last to first).
    """

    def __init__(self, config: MilliMambaConfig) -> None:
        super().__init__()
        c = config
        inner, states = c.expand * c.width, c.state_size
        self.rank = math.ceil(c.width / 16)  # vim
        self.states = states
        self.scale = 0.5 if c.average_directions else 1.0
        self.norm = nn.RMSNorm(c.width, eps=1e-5)
        self.in_proj = nn.Linear(c.width, 2 * inner, bias=False)
        # the leading 2 counts the directions: forward, backward
        self.conv_weight = nn.Parameter(torch.empty(2, inner, c.conv_kernel))
        self.conv_bias = nn.Parameter(torch.empty(2, inner))
        self.x_proj = nn.Parameter(torch.empty(2, inner, self.rank + 2 * states))
        self.dt_proj = nn.Parameter(torch.empty(2, self.rank, inner))
        self.dt_bias = nn.Parameter(torch.empty(2, inner))
        self.A_log = nn.Parameter(torch.empty(2, states, inner))
        self.D = nn.Parameter(torch.empty(2, inner))
        self.out_proj = nn.Linear(inner, c.width, bias=False)
        self.reset_parameters()
        for parameter in (self.conv_bias, self.dt_bias, self.A_log, self.D):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]  # read by the training loop

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise as Mamba does: slow states, step sizes spread over 1e-3 to 1e-1."""
        kernel, inner = self.conv_weight.shape[-1], self.conv_weight.shape[1]
        nn.init.uniform_(self.conv_weight, -(kernel**-0.5), kernel**-0.5)  # as nn.Conv1d
        nn.init.uniform_(self.conv_bias, -(kernel**-0.5), kernel**-0.5)
        nn.init.uniform_(self.x_proj, -(inner**-0.5), inner**-0.5)  # as nn.Linear
        nn.init.uniform_(self.dt_proj, -(self.rank**-0.5), self.rank**-0.5)
        low, high = math.log(1e-3), math.log(1e-1)
        step = torch.exp(low + (high - low) * torch.rand_like(self.dt_bias)).clamp_min(1e-4)
        self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))  # inverse of softplus
        self.A_log.copy_(torch.arange(1.0, self.states + 1).log()[:, None].expand_as(self.A_log))
        nn.init.ones_(self.D)

    def forward(self, residual: Tensor) -> Tensor:
        """(length, batch, width) float32 -> the same."""
        x, z = self.in_proj(self.norm(residual)).chunk(2, dim=-1)  # (length, batch, inner) each
        x = bidirectional_conv(x, self.conv_weight, self.conv_bias)  # (length, batch, 2, inner)
        rows = x.permute(2, 0, 1, 3).flatten(1, 2)  # (2, length * batch, inner)
        low, B, C = torch.bmm(rows, self.x_proj).split((self.rank, self.states, self.states), -1)
        dt = torch.bmm(low, self.dt_proj)

        def by_token(t: Tensor) -> Tensor:  # (2, length * batch, k) -> (length, batch, 2, k)
            return t.unflatten(1, x.shape[:2]).permute(1, 2, 0, 3)

        A = -torch.exp(self.A_log.float())
        y = bidirectional_scan(
            x, by_token(dt), A, by_token(B), by_token(C), self.D, z, self.dt_bias
        )
        return torch.add(residual, self.out_proj(y), alpha=self.scale)


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and MLP; takes the place of `VisionMambaLayer` in an ablation."""

    def __init__(self, config: MilliMambaConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = FeedForward(config)

    def forward(self, residual: Tensor) -> Tensor:
        """(length, batch, width) -> the same."""
        x = residual.transpose(0, 1)
        return self.mlp(self.attention(x)).transpose(0, 1)


class Attention(nn.Module):
    """Pre-norm multi-head attention on a residual stream, to itself or to a memory."""

    def __init__(self, config: MilliMambaConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        # none on the attention weights: torch's fused attention, four times as fast, has none
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, memory: Tensor | None = None, key_position: Tensor | None = None
    ) -> Tensor:
        """Attend from x (batch, queries, width) to memory (batch, tokens, width), or to itself.

        ``key_position`` (tokens, width) is added to what the keys are made of, not to the values.
        """
        y = self.norm(x)
        source = y if memory is None else memory
        placed = source if key_position is None else source + key_position

        def split(t: Tensor) -> Tensor:  # (batch, n, width) -> (batch, heads, n, width / heads)
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        # each head's keys side by side: over a long memory that saves a fifth of the attention
        attended = F.scaled_dot_product_attention(
            split(self.query(y)),
            split(self.key(placed)).contiguous(),
            split(self.value(source)).contiguous(),
        )
        return x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))


class FeedForward(nn.Module):
    """Pre-norm MLP on a residual stream."""

    def __init__(self, config: MilliMambaConfig) -> None:
        super().__init__()
        hidden = config.feed_forward * config.width
        self.norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, hidden)
        self.down = nn.Linear(hidden, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same."""
        return x + self.dropout(self.down(F.gelu(self.up(self.norm(x)))))


class DecoderLayer(nn.Module):
    """Space-time cross-attention (the paper's STCA)."""

    def __init__(self, config: MilliMambaConfig) -> None:
        super().__init__()
        self.spatial = Attention(config)
        self.temporal = Attention(config)
        self.cross = Attention(config)
        self.mlp = FeedForward(config)

    def forward(self, queries: Tensor, memory: Tensor, key_position: Tensor) -> Tensor:
        """Queries (batch, frames, joints, width) look at each other, then at the memory."""
        batch, frames, joints, width = queries.shape
        x = self.spatial(queries.flatten(0, 1)).view(batch, frames, joints, width)
        x = self.temporal(x.transpose(1, 2).flatten(0, 1)).view(batch, joints, frames, width)
        x = x.transpose(1, 2).flatten(1, 2)  # (batch, frames * joints, width)
        x = self.mlp(self.cross(x, memory, key_position))
        return x.view(batch, frames, joints, width)


class MilliMamba(nn.Module):
    """The network.

    ``forward`` is `encode_frames` followed by `decode_window`. If the configuration `streams`, a
    frame's tokens do not depend on later frames, so a live program computes them once per frame
    and keeps the last ``frames`` of them (`radar_pose_ros.models.engine.Engine`).

    Parameters
    ----------
    config : MilliMambaConfig
        For instance ``PRESETS["edge"]``.
    """

    stems: list[Stem]
    token_order: Tensor

    def __init__(self, config: MilliMambaConfig) -> None:
        super().__init__()
        c = self.config = config
        tokens = c.grid[0] * c.grid[1]
        self.stems = nn.ModuleList(Stem(c) for _ in range(c.views))  # type: ignore[assignment]
        self.position = nn.Parameter(0.02 * torch.randn(c.views, tokens, c.width))
        self.missing = nn.Parameter(0.02 * torch.randn(c.views, c.width))
        self.frame_position = nn.Parameter(0.02 * torch.randn(c.frames, c.width))
        layer = VisionMambaLayer if c.encoder == "mamba" else TransformerLayer
        self.encoder = nn.ModuleList(layer(c) for _ in range(c.encoder_layers))
        self.encoder_norm = nn.RMSNorm(c.width, eps=1e-5)
        self.queries = nn.Parameter(0.02 * torch.randn(c.output_frames, c.joints, c.width))
        self.decoder = nn.ModuleList(DecoderLayer(c) for _ in range(c.decoder_layers))
        self.decoder_norm = nn.LayerNorm(c.width)
        self.head = nn.Sequential(
            nn.Linear(c.width, c.width),
            nn.GELU(),
            nn.Linear(c.width, c.width),
            nn.GELU(),
            nn.Linear(c.width, 3 if c.confidence_head else 2),
        )
        for parameter in (self.position, self.missing, self.frame_position, self.queries):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]
        self.register_buffer("token_order", _token_order(c), persistent=False)

    def forward(self, heatmaps: Tensor, valid: Tensor | None = None) -> MilliMambaOutput:
        """Estimate the poses of a window of frames.

        Parameters
        ----------
        heatmaps : Tensor
            float32, ``(batch, views, frames, channels, angle, doppler, range)``. A causal network
            may be given earlier frames too, ahead of the window: its convolutions see them, and
            with ``past_frames`` of them the window is as in a stream.
        valid : Tensor, optional
            bool, ``(batch, views, frames)``: False where a radar's frame is missing; what stands
            in the heatmap there does not matter, not even NaN. All valid by default.
        """
        tokens = self.encode_frames(heatmaps, valid)
        return self.decode_window(
            tokens[:, -self.config.frames :] if self.config.causal else tokens
        )

    def encode_frames(
        self, heatmaps: Tensor, valid: Tensor | None = None, history: History | None = None
    ) -> Tensor:
        """Turn heatmaps into tokens; any number of frames.

        Parameters
        ----------
        heatmaps, valid
            As in `forward`.
        history : History, optional
            For a causal network: an empty dictionary at the start of a stream and the same one
            afterwards, with the frames that follow.

        Returns
        -------
        Tensor
            ``(batch, frames, tokens per frame, width)``, tokens with view slowest, then angle,
            then range.

        Raises
        ------
        ValueError
            If the heatmaps have another shape than the configuration says.
        """
        return self.embed_frames(self.merge_frames(heatmaps, valid), valid, history)

    def merge_frames(self, heatmaps: Tensor, valid: Tensor | None = None) -> Tensor:
        """Do the part of `encode_frames` that looks at each frame alone.

        Returns
        -------
        Tensor
            ``(views, batch, frames, angle, range, channels)``.

        Raises
        ------
        ValueError
            If the heatmaps have another shape than the configuration says.
        """
        c = self.config
        wanted = (c.views, c.input_channels, c.angle_bins, c.doppler_bins, c.range_bins)
        shape = tuple(heatmaps.shape)
        if len(shape) != 7 or (shape[1], *shape[3:]) != wanted:
            raise ValueError(
                f"heatmaps must be (batch, {c.views} views, frames, {c.input_channels} channels, "
                f"{c.angle_bins} angle, {c.doppler_bins} Doppler, {c.range_bins} range bins), got "
                f"{shape}"
            )
        if valid is not None:
            if tuple(valid.shape) != shape[:3]:
                raise ValueError(f"valid must be {shape[:3]}, got {tuple(valid.shape)}")
            heatmaps = heatmaps.masked_fill(~valid[..., None, None, None, None], 0.0)
        x = self._features(heatmaps)
        return torch.stack([stem.merge_doppler(x[v]) for v, stem in enumerate(self.stems)])

    def embed_frames(
        self, merged: Tensor, valid: Tensor | None = None, history: History | None = None
    ) -> Tensor:
        """Do the rest of `encode_frames` with what `merge_frames` returned."""
        tokens = torch.stack(
            [stem.embed(merged[v], history) for v, stem in enumerate(self.stems)], dim=2
        )
        return self.place_tokens(tokens, valid)

    def place_tokens(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Tell tokens where they are, put stand-ins for missing ones, and line them up.

        Takes ``(batch, frames, views, tokens per view, width)``; ``valid`` as in `forward`.
        """
        if valid is not None:
            missing = self.missing[:, None].to(tokens.dtype)
            tokens = torch.where(valid.transpose(1, 2)[..., None, None], tokens, missing)
        tokens = (tokens + self.position).flatten(2, 3)
        return tokens[:, :, self.token_order] if self.config.zigzag else tokens

    def without_views(self, tokens: Tensor, there: Tensor) -> Tensor:
        """Take views out of tokens: what `encode_frames` would have given without them.

        Views meet in the encoder only, so that the tokens of the others are the same.

        Parameters
        ----------
        tokens : Tensor
            ``(batch, frames, tokens per frame, width)``.
        there : Tensor
            bool, ``(views,)``: False for a view to be taken out.
        """
        c = self.config
        per_view = c.tokens_per_frame // c.views
        nothing = tokens.new_zeros(1, 1, c.views, per_view, c.width)
        absent = self.place_tokens(nothing, torch.zeros_like(there)[None, :, None])
        return torch.where(there.repeat_interleave(per_view)[:, None], tokens, absent)

    def decode_window(self, features: Tensor) -> MilliMambaOutput:
        """Estimate the poses of a window from its frames' tokens (`encode_frames`).

        Raises
        ------
        ValueError
            If it is not a window of ``frames`` frames.
        """
        c = self.config
        if tuple(features.shape[1:]) != (c.frames, c.tokens_per_frame, c.width):
            raise ValueError(
                f"features must be (batch, {c.frames} frames, {c.tokens_per_frame} tokens, "
                f"{c.width}), got {tuple(features.shape)}"
            )
        if c.encoder == "transformer":  # attention alone cannot tell frames apart
            features = features + self.frame_position[:, None]
        # (length, batch, width), frame slowest: ((frame * views + view) * angle + angle) ...
        x = features.flatten(1, 2).transpose(0, 1).float()
        # with other strides than these, even of a batch of 1, torch's matmul takes a slow path
        x = x.flatten(0, 1).unflatten(0, x.shape[:2])
        for layer in self.encoder:
            x = layer(x)
        memory = self.encoder_norm(x).transpose(0, 1)  # (batch, tokens, width)
        return self._decode(memory)

    @torch.no_grad()
    def _features(self, heatmaps: Tensor) -> Tensor:
        """(B, V, T, C, angle, doppler, range) -> (V, B, T, angle, range, features * doppler)."""
        c = self.config
        x = normalise_channels(heatmaps, c.normalisation)
        # (B, V, T, elevation, part, angle, doppler, range)
        x = x.unflatten(3, (c.input_channels // 2, 2))

        def place(t: Tensor) -> Tensor:  # -> (V, B, T, angle, range, elevation, part, doppler)
            return t.permute(1, 0, 2, 5, 7, 3, 4, 6)

        if c.input_features == "complex":
            return place(x).flatten(5)
        # half the logarithm of the power; the floor, 40 dB under the mean, keeps 0 finite
        power = x[:, :, :, :, 0].square().addcmul_(x[:, :, :, :, 1], x[:, :, :, :, 1])
        magnitude = power.add_(1e-4).log_().mul_(0.5).unsqueeze(4)
        if c.input_features == "magnitude":
            return place(magnitude).flatten(5)
        both = x.new_empty(*place(x).shape[:6], 3, c.doppler_bins)
        both[..., :2, :] = place(x)
        both[..., 2:, :] = place(magnitude)
        return both.flatten(5)

    def _decode(self, memory: Tensor) -> MilliMambaOutput:
        c = self.config
        place = self.position.flatten(0, 1)
        if c.zigzag:
            place = place[self.token_order]
        key_position = (self.frame_position[:, None] + place).flatten(0, 1)
        queries = self.queries.expand(memory.shape[0], -1, -1, -1)
        estimates = []
        for number, layer in enumerate(self.decoder, start=1):
            queries = layer(queries, memory, key_position)
            if c.deep_supervision or number == c.decoder_layers:
                estimates.append(torch.sigmoid(self.head(self.decoder_norm(queries)).float()))
        keypoints = [estimate[..., :2] * c.image_size_px for estimate in estimates]
        last = estimates[-1]
        confidence = last[..., 2] if c.confidence_head else torch.full_like(last[..., 0], math.nan)
        return MilliMambaOutput(keypoints[-1], confidence, tuple(keypoints[:-1]))


def _token_order(config: MilliMambaConfig) -> Tensor:
    """For each place in a frame's sequence, the raster number of the token that stands there."""
    order = torch.arange(config.tokens_per_frame).view(config.views, *config.grid)
    if config.zigzag:
        order[:, 1::2] = order[:, 1::2].flip(-1)
    return order.flatten()


def multiply_accumulates(config: MilliMambaConfig) -> dict[str, int]:
    """Count the multiplications of one window, by part.

    Counted as tools do: linear layers, convolutions and the two products of attention; not norms,
    activations, the depth-wise convolution or the scan. ``scan_states`` are the scan's state
    updates (each one exponential and about four multiplications), which are not in ``total``.
    """
    c = config
    positions = c.frames * c.views * c.angle_bins * c.range_bins // c.merge_stride**2
    stem = positions * c.stem_channels * c.merge_kernel**2 * c.merge_channels
    channels = (c.merge_channels, *c.block_channels)
    for a, b in itertools.pairwise(channels):
        positions //= 4
        stem += positions * b * (9 * c.temporal_kernel * (a + b) + a)
    stem += positions * channels[-1] * c.width
    length, d = c.frames * c.tokens_per_frame, c.width
    inner, rank = c.expand * d, math.ceil(d / 16)
    if c.encoder == "mamba":
        projections = 3 * d * inner + 2 * inner * (2 * rank + 2 * c.state_size)
        encoder = c.encoder_layers * length * projections
    else:
        encoder = c.encoder_layers * length * d * (4 * d + 2 * length + 2 * c.feed_forward * d)
    frames, joints = c.output_frames, c.joints
    queries = frames * joints
    decoder_layer = (
        queries * d * (2 * (4 * d) + 2 * d + 2 * c.feed_forward * d)  # projections and MLP
        + queries * d * 2 * (joints + frames + length)  # products of attention
        + length * 2 * d * d  # keys and values of the memory
    )
    heads = c.decoder_layers if c.deep_supervision else 1
    head = heads * queries * d * (2 * d + (3 if c.confidence_head else 2))
    decoder = c.decoder_layers * decoder_layer + head
    states = 2 * inner * c.state_size * length * c.encoder_layers if c.encoder == "mamba" else 0
    return {
        "stem": stem,
        "encoder": encoder,
        "decoder": decoder,
        "total": stem + encoder + decoder,
        "scan_states": states,
    }
