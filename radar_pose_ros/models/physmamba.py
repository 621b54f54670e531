"""PhysMamba: the pulse in a video of a face (Yan et al., arXiv 2408.01077).

The whole network is in this file::

    video of a face, T frames, z-scored
      -> of each frame the image, and its differences to the frames around it: convolutions  (stem)
      -> pairs of frames and of pathways: a convolution, a soft mask, a mean over the image
      -> pathway 1, T / 2 tokens: blocks of state space duality on four scales of time
      -> pathway 2: the same, but it reads its states with the queries of pathway 1
      -> both side by side: a linear map, one number per token, for two frames each

The paper calls the pathways self-attention (SA) and cross-attention (CA), for state space duality
can be written as attention (`ops.ssd`). What the paper states is marked "paper", what its released
code does "code"; where they differ the paper's is the default and the code's an option:

==========================  =====================================================================
``sum_all_scales``          paper: a block adds up what it makes of the whole, its halves, quarters
                            and eighths. code: an assignment where an addition was meant; SA blocks
                            use the quarters and eighths only, CA blocks add up all
``advance_query_index``     paper: the i-th CA block reads with the queries of the i-th SA block.
                            code: the index stays 0, all read with those of the first
``unused_parameters``       code: stores numbers that nothing is computed with: off-diagonal ones
                            of the matrices of the feed-forward part, a convolution in each CA
                            block, one beside the stem, and the CA blocks' own queries. The
                            default has none of them; the results are the same
==========================  =====================================================================

Another network of the same name (Luo et al., arXiv 2409.12031) is not this one. Everything else
that neither states is our own choice, marked "choice".
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from radar_pose_ros.models.ops.ssd import ssd

PATHWAYS = 2
# Frames, of all clips, that the stem looks at at once: with one thread a fifth faster than all of
# them. Fewer bring nothing, and on a busy machine several threads wait for each other every time.
_FRAMES_AT_ONCE = 40
# Of the brightness: a clip that varies by less shows nothing.
_LEAST_CONTRAST = 1e-4


@dataclass(frozen=True)
class PhysMambaConfig:
    """Sizes and options; the defaults are the preset ``paper``.

    Raises
    ------
    ValueError
        If the numbers do not fit together; the sentence says which.
    """

    # input
    frames: int = 160  # code
    size: int = 128  # code: height and width of a frame in pixels
    rate_hz: float = 30.0  # code: frames per second
    # stem
    stem_kernel: int = 7  # code
    merge_kernel: int = 5  # code: extent in the image of the convolution over pairs of frames
    # blocks
    width: int = 64  # code: channels of a token
    blocks: int = 24  # code: of each pathway
    scales: int = 4  # paper: the whole sequence, halves, quarters, eighths
    expand: int = 2  # code
    head_size: int = 16  # code
    state_size: int = 64  # code
    conv_kernel: int = 4  # code
    feed_forward: int = 2  # code: hidden channels, in multiples of the width
    drop_path: float = 0.1  # code: of the last blocks; grows from 0
    # components, and where the code differs from the paper
    cross_attention: bool = True  # paper; False: CA blocks read with their own queries
    sum_all_scales: bool = True
    advance_query_index: bool = True
    unused_parameters: bool = False

    def __post_init__(self) -> None:
        if self.size < 8 or self.size % 8:
            raise ValueError(f"size must be a multiple of 8 pixels, got {self.size}")
        step = 2**self.scales
        if self.scales < 1 or self.frames < 1 or self.frames % step:
            raise ValueError(
                f"frames must be a multiple of {step} for {self.scales} scales, got {self.frames}"
            )
        if not self.rate_hz > 0:
            raise ValueError(f"rate_hz must be above 0, got {self.rate_hz}")
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width must be a multiple of 8 channels, got {self.width}")
        if self.stem_kernel % 2 == 0 or self.merge_kernel % 2 == 0:
            raise ValueError(
                f"stem_kernel and merge_kernel must be odd, got {self.stem_kernel} and "
                f"{self.merge_kernel}"
            )
        if self.inner % self.head_size:
            raise ValueError(f"{self.inner} channels do not divide into heads of {self.head_size}")
        if self.blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {self.blocks}")

    @property
    def tokens(self) -> int:
        """Tokens of a clip: one for two frames."""
        return self.frames // 2

    @property
    def inner(self) -> int:
        """Channels in a mixer."""
        return self.expand * self.width

    @property
    def heads(self) -> int:
        """Heads of a mixer."""
        return self.inner // self.head_size

    @property
    def stem_channels(self) -> tuple[int, int]:
        """Channels of a pathway after the first and the second convolution of the stem."""
        return self.width // 8, self.width // 4


PRESETS: dict[str, PhysMambaConfig] = {
    "paper": PhysMambaConfig(),
    # For two cores without a graphics card, and short training. The pulse is in the mean over
    # skin, which smaller frames keep; kernels cover at least the same share of the face.
    "edge": PhysMambaConfig(size=32, stem_kernel=3, merge_kernel=3, blocks=4),
}


def normalise(clips: Tensor) -> Tensor:
    """Z-score whole clips, as the network expects them.

    Parameters
    ----------
    clips : Tensor
        ``(..., frames, 3, height, width)`` in any unit.

    Returns
    -------
    Tensor
        Of mean 0 and standard deviation 1 over all frames, colours and pixels of each clip. A
        clip without contrast becomes zeros, or nearly.
    """
    deviation, mean = torch.std_mean(clips, dim=(-4, -3, -2, -1), correction=0, keepdim=True)
    least = (_LEAST_CONTRAST * mean.abs()).clamp_min(torch.finfo(clips.dtype).tiny)
    return (clips - mean) / torch.maximum(deviation, least)


class ConvNormPool(nn.Module):
    """A convolution, batch normalisation, ReLU, and the largest of 2 x 2 pixels."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, H, W) -> (batch, outputs, H / stride / 2, W / stride / 2)."""
        # of the largest, ReLU makes the same as the largest after ReLU
        return F.relu(F.max_pool2d(self.norm(self.conv(x)), 2), inplace=True)

    def fold_norms(self) -> None:
        """Let the convolution do what its normalisation does in evaluation mode."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class Stem(nn.Module):
    """What both pathways see of each frame: their channels side by side.

    They look at the same images with weights of their own, so one convolution does for both.
    """

    def __init__(self, config: PhysMambaConfig) -> None:
        super().__init__()
        first, second = (PATHWAYS * channels for channels in config.stem_channels)
        kernel = config.stem_kernel
        self.images = ConvNormPool(3, first, kernel, stride=2)
        self.changes = ConvNormPool(12, first, kernel, stride=2)
        self.after_both = ConvNormPool(first, second, kernel, groups=PATHWAYS)
        self.after_changes = ConvNormPool(first, second, kernel, groups=PATHWAYS)

    def forward(self, clips: Tensor) -> Tensor:
        """(batch, frames, 3, H, W) -> (batch * frames, 2 pathways * channels, H / 8, W / 8)."""
        batch, frames = clips.shape[:2]
        # from each frame to the next; beyond the ends frames repeat
        steps = F.pad(clips[:, 1:] - clips[:, :-1], (0, 0, 0, 0, 0, 0, 2, 2))
        # normalisation in training is over all frames at once
        share = frames if self.training else max(1, _FRAMES_AT_ONCE // batch)
        made = []
        for start in range(0, frames, share):
            images = clips[:, start : start + share]
            count = images.shape[1]
            changes = [steps[:, start + k : start + k + count] for k in range(4)]
            made.append(self._look(images, torch.cat(changes, dim=2)).unflatten(0, (batch, count)))
        return torch.cat(made, dim=1).flatten(0, 1)

    def _look(self, images: Tensor, changes: Tensor) -> Tensor:
        """(batch, frames, 3 and 12, H, W) -> (batch * frames, channels, H / 8, W / 8)."""
        images, changes = (
            # channels innermost: on a CPU torch pools several times as fast
            each.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            for each in (images, changes)
        )
        changes = self.changes(changes)
        both = 0.5 * (self.images(images) + changes)
        return 0.5 * (self.after_both(both) + self.after_changes(changes))


class Merge(nn.Module):
    """Pairs of frames become a token each: a convolution, a soft mask, a mean over the image."""

    def __init__(self, config: PhysMambaConfig) -> None:
        super().__init__()
        self.width = config.width
        inputs, outputs = 2 * PATHWAYS * config.stem_channels[1], PATHWAYS * config.width
        kernel = config.merge_kernel
        # in three dimensions, (2, kernel, kernel): frames of a pair are laid side by side
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=PATHWAYS)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch * frames, 2 pathways * channels, H, W) -> (batch * frames / 2, 2, width)."""
        pairs = x.unflatten(0, (-1, 2)).unflatten(2, (PATHWAYS, -1)).transpose(1, 2)
        x = self.norm(self.conv(pairs.flatten(1, 3))).flatten(2)
        # the mean of x m, with a mask m scaled to the mean 1/2
        mask = torch.sigmoid(x)
        mean = 0.5 * (x * mask).sum(-1) / mask.sum(-1)
        return mean.unflatten(1, (PATHWAYS, self.width))

    def fold_norms(self) -> None:
        """Let the convolution do what its normalisation does in evaluation mode."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class Mixer(nn.Module):
    """State space duality on several scales of time with the same weights.

    Parameters
    ----------
    config : PhysMambaConfig
    own_queries : bool
        Whether the mixer makes its queries, or is given them.
    scales : slice
        Those that are summed, of the whole, halves, quarters, eighths.
    """

    taps: Tensor

    def __init__(self, config: PhysMambaConfig, own_queries: bool, scales: slice) -> None:
        super().__init__()
        c = self.config = config
        self.summed = range(c.scales)[scales]
        stored_queries = own_queries or c.unused_parameters
        self.convolved = c.inner + (2 if stored_queries else 1) * c.state_size
        self.in_proj = nn.Linear(c.width, c.inner + self.convolved + c.heads, bias=False)
        # of each channel its own, the last tap for the present token
        self.conv_weight = nn.Parameter(torch.empty(self.convolved, c.conv_kernel))
        self.conv_bias = nn.Parameter(torch.empty(self.convolved))
        self.dt_bias = nn.Parameter(torch.empty(c.heads))
        self.A_log = nn.Parameter(torch.empty(c.heads))
        self.D = nn.Parameter(torch.ones(c.heads))
        self.norm_weight = nn.Parameter(torch.ones(c.inner))
        self.out_proj = nn.Linear(c.inner, c.width, bias=False)
        # which tokens, k before another, are in the same segment: (scales, 1, tokens, 1) per k
        lengths = c.tokens // 2 ** torch.arange(c.scales)
        place = torch.arange(c.tokens) % lengths[:, None]
        back = torch.arange(c.conv_kernel)[:, None, None]
        taps = (place >= back).float()[:, :, None, :, None]
        self.register_buffer("taps", taps, persistent=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the convolution, the steps and the decays as Mamba-2 does."""
        c = self.config
        bound = 1 / math.sqrt(c.conv_kernel)
        for parameter in (self.conv_weight, self.conv_bias):
            nn.init.uniform_(parameter, -bound, bound)
        span = math.log(1e-1) - math.log(1e-3)
        step = torch.exp(torch.rand(c.heads) * span + math.log(1e-3)).clamp_min(1e-4)
        self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))  # softplus makes it the step
        self.A_log.copy_(torch.empty(c.heads).uniform_(1, 16).log())

    def forward(self, x: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix tokens.

        Parameters
        ----------
        x : Tensor
            ``(batch, tokens, width)``.
        queries : Tensor, optional
            ``(scales, batch, tokens, states)`` of another mixer; its own if left out.

        Returns
        -------
        mixed : Tensor
            ``(batch, tokens, width)``.
        queries : Tensor
            With which states were read.
        """
        c = self.config
        # These and the last projection see one token at a time: once does for all scales.
        gate, convolved, dt = self.in_proj(x).split([c.inner, self.convolved, c.heads], dim=-1)
        dt = F.softplus(dt + self.dt_bias)
        rates = -torch.exp(self.A_log)
        convolved = F.silu(self._convolve(convolved))
        inputs = convolved[..., : c.inner].unflatten(-1, (c.heads, c.head_size))
        B = convolved[..., c.inner : c.inner + c.state_size].unsqueeze(-2)
        if queries is None:
            queries = convolved[..., c.inner + c.state_size :]
        C = queries.unsqueeze(-2)
        outputs = []
        for k in self.summed:
            segments = (2**k * x.shape[0], c.tokens // 2**k)
            parts = (v.reshape(*segments, *v.shape[2:]) for v in (inputs[k], dt, B[k], C[k]))
            u, step, b, q = parts
            outputs.append(ssd(u, step, rates, b, q, self.D).reshape(*x.shape[:2], c.inner))
        y = torch.stack(outputs) * F.silu(gate)
        y = F.rms_norm(y, (c.inner,), self.norm_weight, 1e-5).sum(0)
        return self.out_proj(y), queries

    def _convolve(self, x: Tensor) -> Tensor:
        """(batch, tokens, channels) -> (scales, ...): each with those before it in its segment."""
        tokens = x.shape[1]
        weights = self.conv_weight.unbind(-1)[::-1]  # of the present token first
        y = (x * weights[0] + self.conv_bias).expand(len(self.taps[0]), *x.shape)
        for k in range(1, len(weights)):
            before = F.pad(x, (0, 0, k, 0))[:, :tokens]
            y = torch.addcmul(y, self.taps[k], before * weights[k])
        return y


class FrequencyFeedForward(nn.Module):
    """Two linear layers, and between them a complex weight for each channel of the spectrum.

    ReLU acts on the real and the imaginary part of the spectrum over time. The released code
    stores square matrices for the weights and uses their diagonals.
    """

    def __init__(self, config: PhysMambaConfig) -> None:
        super().__init__()
        hidden = config.feed_forward * config.width
        shape = (hidden, hidden) if config.unused_parameters else (hidden,)
        self.up = nn.Linear(config.width, hidden, bias=False)
        self.up_norm: nn.Module = nn.BatchNorm1d(hidden)
        self.real = nn.Parameter(0.02 * torch.randn(shape))
        self.imaginary = nn.Parameter(0.02 * torch.randn(shape))
        self.real_bias = nn.Parameter(0.02 * torch.randn(hidden))
        self.imaginary_bias = nn.Parameter(0.02 * torch.randn(hidden))
        self.down = nn.Linear(hidden, config.width, bias=False)
        self.down_norm: nn.Module = nn.BatchNorm1d(config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) -> the same."""
        batch = x.shape[0]
        y = F.relu(self.up_norm(self.up(x.flatten(0, 1)))).unflatten(0, (batch, -1))
        spectrum = torch.fft.fft(y.to(self.real.dtype), dim=1, norm="ortho")
        a, b = spectrum.real, spectrum.imag
        r, i = (w.diagonal() if w.dim() == 2 else w for w in (self.real, self.imaginary))
        real = F.relu(a * r - b * i + self.real_bias)
        imaginary = F.relu(a * i + b * r + self.imaginary_bias)
        y = torch.fft.ifft(torch.complex(real, imaginary), dim=1, norm="ortho").real
        return self.down_norm(self.down(y.flatten(0, 1))).unflatten(0, (batch, -1))

    def fold_norms(self) -> None:
        """Let linear layers do what their normalisations do in evaluation mode."""
        if isinstance(self.up_norm, nn.BatchNorm1d):
            self.up, self.up_norm = fuse_linear_bn_eval(self.up, self.up_norm), nn.Identity()
        if isinstance(self.down_norm, nn.BatchNorm1d):
            folded = fuse_linear_bn_eval(self.down, self.down_norm)
            self.down, self.down_norm = folded, nn.Identity()


class Block(nn.Module):
    """A mixer and a feed-forward part, each added to what comes in.

    Parameters
    ----------
    config : PhysMambaConfig
    cross : bool
        Whether it is one of pathway 2.
    drop : float
        The share of clips in training that do without either part.
    """

    def __init__(self, config: PhysMambaConfig, cross: bool, drop: float) -> None:
        super().__init__()
        c = config
        self.drop = drop
        scales = slice(None) if cross or c.sum_all_scales else slice(-2, None)
        self.mixer_norm = nn.LayerNorm(c.width)
        self.mixer = Mixer(c, not (cross and c.cross_attention), scales)
        self.mixed_norm = nn.LayerNorm(c.width)
        self.feed_forward_norm = nn.LayerNorm(c.width)
        self.feed_forward = FrequencyFeedForward(c)
        if cross and c.unused_parameters:
            self.unused = nn.Sequential(nn.Conv1d(c.width, c.width, 3, 2), nn.BatchNorm1d(c.width))

    def forward(self, x: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(batch, tokens, width) -> the same, and the queries; see `Mixer`."""
        mixed, queries = self.mixer(self.mixer_norm(x), queries)
        x = x + self._dropped(self.mixed_norm(mixed))
        return x + self._dropped(self.feed_forward(self.feed_forward_norm(x))), queries

    def _dropped(self, x: Tensor) -> Tensor:
        if not (self.training and self.drop):
            return x
        kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.drop
        return x * kept / (1 - self.drop)


class PhysMamba(nn.Module):
    """The network.

    Parameters
    ----------
    config : PhysMambaConfig
        For instance ``PRESETS["edge"]``.
    """

    def __init__(self, config: PhysMambaConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = Stem(c)
        self.merge = Merge(c)
        # code: the growing shares begin with the second block
        drops = [0.0, *torch.linspace(0, c.drop_path, c.blocks).tolist()][: c.blocks]
        self.self_blocks = nn.ModuleList(Block(c, False, drop) for drop in drops)
        self.cross_blocks = nn.ModuleList(Block(c, True, drop) for drop in drops)
        self.head = nn.Linear(PATHWAYS * c.width, 1)
        if c.unused_parameters:
            self.unused = nn.Parameter(torch.zeros(24))  # a convolution
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise convolutions after LeCun and linear layers narrowly, as the code does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_in = module.weight[0].numel()
                nn.init.trunc_normal_(module.weight, std=1 / math.sqrt(fan_in))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Mixer):
                nn.init.kaiming_uniform_(module.out_proj.weight, a=math.sqrt(5))
                module.out_proj.weight /= math.sqrt(self.config.blocks)

    def forward(self, clips: Tensor) -> Tensor:
        """Estimate the pulse wave of clips.

        Parameters
        ----------
        clips : Tensor
            float32, ``(batch, frames, 3, size, size)``, RGB, z-scored (`normalise`).

        Returns
        -------
        Tensor
            ``(batch, frames)``, of any scale and offset; two neighbouring frames share a value.

        Raises
        ------
        ValueError
            If the clips have another shape than the configuration says.
        """
        c = self.config
        if clips.dim() != 5 or tuple(clips.shape[1:]) != (c.frames, 3, c.size, c.size):
            raise ValueError(
                f"clips must be (batch, {c.frames} frames, 3 colours, {c.size}, {c.size} pixels), "
                f"got {tuple(clips.shape)}"
            )
        tokens = self.merge(self.stem(clips)).unflatten(0, (-1, c.tokens))
        own, cross = tokens.unbind(2)
        queries = []
        for block in self.self_blocks:
            own, made = block(own)
            queries.append(made)
        for k, block in enumerate(self.cross_blocks):
            given = queries[k if c.advance_query_index else 0] if c.cross_attention else None
            cross, _ = block(cross, given)
        wave = self.head(torch.cat((own, cross), dim=-1)).squeeze(-1)
        return wave.repeat_interleave(2, dim=1)

    def for_inference(self) -> PhysMamba:
        """Return a copy that computes the same faster, and cannot be trained: norms are folded."""
        made = copy.deepcopy(self).eval()
        for module in made.modules():
            if isinstance(module, ConvNormPool | Merge | FrequencyFeedForward):
                module.fold_norms()
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.contiguous(memory_format=torch.channels_last)
        return made.requires_grad_(False)


def multiply_accumulates(config: PhysMambaConfig) -> dict[str, int]:
    """Count the multiplications of one clip, by part.

    Counted as tools do: convolutions of images, linear layers, and the products of state space
    duality in its quadratic form; not norms, activations, the depth-wise convolution or Fourier
    transforms. ``projections`` and ``total`` are those of the published network, whose mixers
    project every scale anew; ``performed`` is the sum of what is done here, once for all scales.
    """
    c = config
    first, second = c.stem_channels
    pixels = [(c.size // step) ** 2 for step in (2, 4, 8)]
    stem = c.frames * c.stem_kernel**2 * first * (15 * pixels[0] + 2 * second * pixels[1])
    merge = c.tokens * c.merge_kernel**2 * 2 * second * c.width * pixels[2]
    summed = [c.scales if c.sum_all_scales else min(2, c.scales), c.scales]
    own_queries = [True, not c.cross_attention or c.unused_parameters]
    mixers, mixers_once, states = 0, 0, 0
    for scales, queries in zip(summed, own_queries, strict=True):
        inside = 2 * c.inner + (2 if queries else 1) * c.state_size + c.heads
        once = c.tokens * c.width * (inside + c.inner)
        mixers_once += once
        mixers += c.scales * once
        lengths = [c.tokens // 2**k for k in range(c.scales)][-scales:]
        states += c.tokens * sum(lengths) * (c.state_size + c.inner)
    feed_forward = PATHWAYS * c.tokens * 2 * c.feed_forward * c.width**2
    parts = {
        "stem": PATHWAYS * stem,
        "merge": PATHWAYS * merge,
        "projections": c.blocks * (mixers + feed_forward),
        "states": c.blocks * states,
        "head": c.tokens * PATHWAYS * c.width,
    }
    total = sum(parts.values())
    return {
        **parts,
        "total": total,
        "performed": total - c.blocks * (mixers - mixers_once),
    }
