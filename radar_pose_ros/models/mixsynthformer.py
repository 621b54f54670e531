"""MixSynthFormer: poses at full rate from keyframes (Sun et al., ICCV 2023).

The whole network is in this file::

    keyframe poses, Q + 1 of them, K frames apart
      -> a linear map over time: a pose for each of the T = K Q + 1 frames       (recovery)
      -> one vector per frame                                                    (embedding)
      -> blocks: attention over frames and attention over channels, whose maps are made by a
         linear layer instead of queries and keys, added with learned weights; an MLP
      -> a linear map back to poses, added to what the recovery gave

What the paper or its released code states is marked "paper" or "code"; where the two differ the
code counts, since the published numbers of parameters are the code's, and the paper's variant is
an option. Everything else is our own choice, marked "choice".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import CubicSpline
from torch import Tensor, nn

Recovery = Literal["learned", "linear", "cubic", "damped"]
Start = Literal["xavier", "interpolation"]
Mixing = Literal["per_frame", "per_channel"]


@dataclass(frozen=True)
class MixSynthFormerConfig:
    """Sizes and options; the defaults are the preset ``h36m_fcn``.

    Raises
    ------
    ValueError
        If the numbers do not fit together; the sentence says which.
    """

    # poses
    joints: int = 17  # code
    values: int = 3  # code: per joint, 2 in an image, 3 in space, 6 of a rotation
    scale: float = 1.0  # choice: what 1 stands for in the network, in the unit of the poses
    centre: bool = False  # choice: take the window's mean position off, and add it again
    # window
    interval: int = 10  # code: K, frames from keyframe to keyframe
    segments: int = 10  # code: Q; Q + 1 keyframes are read, the last frame among them
    future_frames: int = 0  # paper: frames to predict beyond the last keyframe
    # network
    recovery: Recovery = "learned"  # code; "linear", paper; the others, choice
    start: Start = "xavier"  # code; see `reset_parameters`
    width: int = 64  # code: C
    layers: int = 4  # code: L
    feed_forward: int = 2  # code: hidden channels of an MLP, in multiples of the width
    temporal_reduction: int = 4  # code: r_t, columns of the map over frames are T / r_t
    spatial_reduction: int = 1  # code: r_s, columns of the map over channels are C / r_s
    dropout: float = 0.1  # code
    mixing: Mixing = "per_frame"  # code; the other one, paper
    idle_values: bool = True  # code: a layer that reduces values even where none are reduced
    # components, for the paper's ablation
    excitation: bool = True
    weighted_sum: bool = True
    temporal: bool = True
    spatial: bool = True

    def __post_init__(self) -> None:
        for name, choice in (("recovery", Recovery), ("start", Start), ("mixing", Mixing)):
            if getattr(self, name) not in get_args(choice):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(choice))}, got "
                    f"{getattr(self, name)!r}"
                )
        for name in ("joints", "values", "interval", "segments", "width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.future_frames < 0:
            raise ValueError(f"future_frames must not be negative, got {self.future_frames}")
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")
        if not (self.temporal or self.spatial):
            raise ValueError("temporal and spatial branch are both off: nothing would be mixed")
        for name, size, of in (
            ("temporal_reduction", self.frames, "frames"),
            ("spatial_reduction", self.width, "channels"),
        ):
            if not 1 <= getattr(self, name) <= size:
                raise ValueError(f"{name} must be 1 to {size} {of}, got {getattr(self, name)}")

    @property
    def pose_size(self) -> int:
        """Numbers of one pose (P)."""
        return self.joints * self.values

    @property
    def keyframes(self) -> int:
        """Keyframes of a window, Q + 1."""
        return self.segments + 1

    @property
    def past_frames(self) -> int:
        """Frames from the first keyframe to the last, K Q + 1."""
        return self.interval * self.segments + 1

    @property
    def frames(self) -> int:
        """Frames of a window (T), those to predict among them."""
        return self.past_frames + self.future_frames


PRESETS: dict[str, MixSynthFormerConfig] = {
    # The published tasks [code]: poses relative to the root in metres, in units of the image's
    # width and height, or of rotations as `skeleton.rotations` writes them.
    "h36m_fcn": MixSynthFormerConfig(),
    "jhmdb_simplepose": MixSynthFormerConfig(joints=15, values=2, segments=1, width=128, layers=5),
    "pw3d_spin": MixSynthFormerConfig(joints=14, segments=5, width=32),
    "pw3d_eft": MixSynthFormerConfig(joints=14, segments=5, width=32),
    "pw3d_pare": MixSynthFormerConfig(joints=14, width=32),
    "pw3d_pare_smpl": MixSynthFormerConfig(joints=24, values=6, segments=5),
    "aist_spin": MixSynthFormerConfig(joints=14, width=128, layers=5),
    "aist_spin_smpl": MixSynthFormerConfig(joints=24, values=6, width=128, layers=5),
    # Ten frames of the past, at 25 Hz, to ten of the future [paper]; that it begins by repeating
    # the last pose, and its sizes, are a choice.
    "h36m_prediction": MixSynthFormerConfig(
        interval=1, segments=9, future_frames=10, recovery="damped", start="interpolation"
    ),
}

# Our own: they begin as linear interpolation, which a short training improves on at once, and do
# not mind where in the room or in the image a person is.
_OURS = MixSynthFormerConfig(centre=True, start="interpolation", idle_values=False)
# The pose node's 14 joints in an image of 256 pixels, 10 Hz to 30 Hz: every third frame is a
# keyframe. 0.8 s are half a stride and more; longer windows make the first pose wait longer.
_RADAR = replace(_OURS, joints=14, values=2, scale=256.0, interval=3, segments=8, layers=3)
PRESETS |= {
    "radar_2d": _RADAR,
    # Q = 1: nothing but the keyframes before and after. Each frame is there as soon as the next
    # keyframe, 67 ms at most, and 0.1 s after the start; keyframes are hardly denoised. Of four
    # frames none can be spared in the attention.
    "radar_2d_fast": replace(_RADAR, segments=1, temporal_reduction=1),
    # Predicts until the next keyframe is due: no latency.
    "radar_2d_live": replace(_RADAR, segments=5, future_frames=3),
    # The same for lifted poses, 17 joints in metres.
    "pose_3d": replace(_RADAR, joints=17, values=3, scale=1.0),
    "pose_3d_fast": replace(
        _RADAR, joints=17, values=3, scale=1.0, segments=1, temporal_reduction=1
    ),
    # A tenth of the frames of motion capture, as on Human3.6M.
    "mocap_3d": replace(_OURS, joints=17),
}


# Of a velocity from frame to frame of 40 ms [choice]: of recorded movements that nothing here is
# measured on, what comes 80 to 400 ms later is foretold best by so much.
DAMPING = 0.9


def recovery_matrix(
    keyframes: int, interval: int, frames: int, method: str = "linear"
) -> np.ndarray:
    """Return the matrix by which keyframes are interpolated: all methods are linear maps.

    Parameters
    ----------
    keyframes, interval, frames : int
        How many keyframes, how many frames from one to the next, and how many frames there are to
        be, from the first keyframe on.
    method : {"linear", "cubic", "damped"}
        "cubic" is the spline whose third derivative is continuous next to the ends, too; "damped"
        is linear, and in the future goes on as between the last two keyframes, from keyframe to
        keyframe by `DAMPING` less.

    Returns
    -------
    ndarray, shape (frames, keyframes)
        Rows sum to 1. Frames of the future repeat the last keyframe [choice], but for "damped".

    Raises
    ------
    ValueError
        If there is no such method.
    """
    numbers = np.arange(keyframes)
    places = np.minimum(np.arange(frames) / interval, keyframes - 1)
    units = np.eye(keyframes)
    straight = np.stack([np.interp(places, numbers, unit) for unit in units], axis=1)
    if method == "linear":
        return straight
    if method == "damped":
        ahead = np.maximum(np.arange(frames) / interval - (keyframes - 1), 0)
        # the sum of DAMPING^1 to DAMPING^n, between whole numbers, too
        way = DAMPING * (1 - DAMPING**ahead) / (1 - DAMPING)
        return straight + np.multiply.outer(way, units[-1] - units[-2])
    if method == "cubic":
        return CubicSpline(numbers, units)(places)
    raise ValueError(f"recovery {method!r} is none of learned, linear, cubic, damped")


class SyntheticAttention(nn.Module):
    """Attention over rows, whose map comes from each row alone: (batch, rows, columns), unchanged.

    There are no queries and keys. A linear layer makes a coarse map of a row out of that row, and
    a squeeze-and-excitation weighs the rows of the map.
    """

    def __init__(self, rows: int, columns: int, reduction: int, config: MixSynthFormerConfig):
        super().__init__()
        reduced = rows // reduction
        self.reduces = reduction > 1
        self.map = nn.Linear(columns, reduced)
        self.excitation: nn.Module | None = None
        if config.excitation:
            hidden = _quarter(rows)
            self.excitation = nn.Sequential(
                nn.Linear(rows, hidden, bias=False),
                nn.ReLU(),
                nn.Linear(hidden, rows, bias=False),
                nn.Sigmoid(),
            )
        self.value: nn.Module | None = None
        if self.reduces or config.idle_values:
            self.value = nn.Linear(rows, reduced)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the rows."""
        scores = self.map(x)  # (batch, rows, reduced)
        if self.excitation is not None:
            scores = scores * self.excitation(scores.mean(-1)).unsqueeze(-1)
        if self.reduces and self.value is not None:
            x = self.value(x.transpose(1, 2)).transpose(1, 2)  # (batch, reduced, columns)
        return torch.bmm(scores.softmax(-1), x)


class MixSynthAttention(nn.Module):
    """Attention over frames beside attention over channels, added with learned weights."""

    def __init__(self, config: MixSynthFormerConfig) -> None:
        super().__init__()
        c = config
        self.per_frame = c.mixing == "per_frame"
        self.temporal: nn.Module | None = None
        self.spatial: nn.Module | None = None
        self.weights: nn.Module | None = None
        if c.temporal:
            self.temporal = SyntheticAttention(c.frames, c.width, c.temporal_reduction, c)
        if c.spatial:
            self.spatial = SyntheticAttention(c.width, c.frames, c.spatial_reduction, c)
        if c.weighted_sum and c.temporal and c.spatial:
            size = c.frames if self.per_frame else c.width
            hidden = _quarter(size)
            activation = nn.GELU() if self.per_frame else nn.ReLU()
            self.weights = nn.Sequential(
                nn.Linear(size, hidden), activation, nn.Linear(hidden, 2 * size)
            )
        self.out = nn.Linear(c.width, c.width)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, width) -> the same."""
        branches = []
        if self.temporal is not None:
            branches.append(self.temporal(x))
        if self.spatial is not None:
            branches.append(self.spatial(x.transpose(1, 2)).transpose(1, 2))
        return self.dropout(self.out(self._mix(branches)))

    def _mix(self, branches: list[Tensor]) -> Tensor:
        if len(branches) == 1:
            return branches[0]
        temporal, spatial = branches
        if self.weights is None:  # choice: half of each
            return (temporal + spatial) / 2
        summary = (temporal + spatial).mean(-1 if self.per_frame else -2)
        share = self.weights(summary).unflatten(-1, (-1, 2)).softmax(-1)  # (batch, size, 2)
        share = share.unsqueeze(-2 if self.per_frame else -3)  # (batch, frames or 1, ... , 2)
        return share[..., 0] * temporal + share[..., 1] * spatial


class Block(nn.Module):
    """Attention and an MLP, each added to what comes in and then normalised."""

    def __init__(self, config: MixSynthFormerConfig) -> None:
        super().__init__()
        hidden = config.feed_forward * config.width
        self.attention = MixSynthAttention(config)
        self.attention_norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, hidden)
        self.down = nn.Linear(hidden, config.width)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, width) -> the same."""
        x = self.attention_norm(x + self.attention(x))
        y = self.dropout(self.down(self.dropout(F.gelu(self.up(x)))))
        return self.mlp_norm(x + y)


class MixSynthFormer(nn.Module):
    """The network.

    Parameters
    ----------
    config : MixSynthFormerConfig
        For instance ``PRESETS["radar_2d"]``.
    """

    fixed_recovery: Tensor

    def __init__(self, config: MixSynthFormerConfig) -> None:
        super().__init__()
        c = self.config = config
        self.recovery: nn.Linear | None = None
        if c.recovery == "learned":
            self.recovery = nn.Linear(c.keyframes, c.frames)
        else:
            matrix = recovery_matrix(c.keyframes, c.interval, c.frames, c.recovery)
            fixed = torch.from_numpy(matrix).float()
            self.register_buffer("fixed_recovery", fixed, persistent=False)
        self.embedding = nn.Linear(c.pose_size, c.width)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.head = nn.Linear(c.width, c.pose_size)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise every matrix after Glorot, as the released code does.

        ``start="interpolation"`` [choice] then makes the network linear interpolation: the
        recovery is that, and the head adds nothing.
        """
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        if self.config.start == "interpolation":
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
            if self.recovery is not None:
                c = self.config
                straight = recovery_matrix(c.keyframes, c.interval, c.frames)
                self.recovery.weight.copy_(torch.from_numpy(straight))
                nn.init.zeros_(self.recovery.bias)

    def forward(self, keyframes: Tensor) -> Tensor:
        """Estimate the poses of all frames of a window.

        Parameters
        ----------
        keyframes : Tensor
            float32, ``(batch, keyframes, joints, values)``: the poses of frames 0, K, ..., K Q of
            the window, whole and finite (`models.refiner` fills gaps). Pixels, metres or 6-D
            rotations.

        Returns
        -------
        Tensor
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
        recovered = self._recover(poses)  # (batch, frames, P)
        x = self.embedding(recovered)  # (batch, frames, width)
        for block in self.blocks:
            x = block(x)
        refined = recovered + self.head(self.norm(x))
        return refined.unflatten(2, (c.joints, c.values)) * c.scale + middle

    def _recover(self, poses: Tensor) -> Tensor:
        if self.recovery is None:
            return self.fixed_recovery @ poses
        return self.recovery(poses.transpose(1, 2)).transpose(1, 2)


def _quarter(size: int) -> int:
    """Hidden numbers of the small MLPs: a quarter of their input [code]."""
    return max(1, size // 4)


def multiply_accumulates(config: MixSynthFormerConfig) -> dict[str, int]:
    """Count the multiplications of one window, by part.

    Linear layers come first; their sum, ``linear``, is what the paper calls its FLOPs. To it
    ``attention`` adds the products of maps and values, which tools that look at layers overlook.
    ``norms``, which are not in ``total``, are five operations per normalised number and one per
    averaged one, as some tools count them.
    """
    c = config
    frames, width, layers = c.frames, c.width, c.layers
    maps = excitation = values = attention = 0
    for used, rows, columns, reduction in (
        (c.temporal, frames, width, c.temporal_reduction),
        (c.spatial, width, frames, c.spatial_reduction),
    ):
        if used:
            reduced = rows // reduction
            maps += rows * columns * reduced
            excitation += 2 * rows * _quarter(rows) if c.excitation else 0
            values += rows * columns * reduced if reduction > 1 else 0
            attention += rows * columns * reduced
    mixed = c.weighted_sum and c.temporal and c.spatial
    size = frames if c.mixing == "per_frame" else width
    parts = {
        "recovery": c.keyframes * frames * c.pose_size,
        "embedding": frames * c.pose_size * width,
        "maps": layers * maps,
        "excitation": layers * excitation,
        "values": layers * values,
        "mixing": layers * 3 * size * _quarter(size) if mixed else 0,
        "output": layers * frames * width**2,
        "mlp": layers * 2 * c.feed_forward * frames * width**2,
        "head": frames * width * c.pose_size,
    }
    linear = sum(parts.values())
    norms = frames * width * (5 * (2 * layers + 1) + (layers if mixed else 0))
    return {
        **parts,
        "linear": linear,
        "attention": layers * attention,
        "total": linear + layers * attention,
        "norms": norms,
    }
