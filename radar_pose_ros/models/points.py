"""Pose from a radar's points: who has a board that sends point clouds, and no raw samples.

A window of frames, of which each is a cloud of any number of points, none if it was lost::

    points of all frames: place, speed, strength, age
      -> at most so many of each frame                                       (`choose_points`)
      -> in space-time order: frame slowest, then height, lowest first
      -> one vector per point, one more per frame
      -> Vision Mamba layers over all points, scanned in both directions     (encoder)
      -> what a frame's points say together, one vector per frame
      -> Vision Mamba layers over frames, in both directions                 (decoder)
      -> for each frame: where the person stands, and 25 joints relative to that

Where somebody stands on the floor plan does not matter: places are seen from the middle of the
window's points, and poses are told from there. A network that sees where it is learns the spot on
which people stood, and holds on to it elsewhere. Heights are the radar's, for a radar stays where
it is mounted, and its points tell the height of a body badly.

A cloud has no order, but a scan needs one, and its short convolution sees neighbours only: so
neighbours in the sequence should be neighbours in time, and at one time in space. Frames are
slowest, as time is what windows add; within a frame the order is by height, along which a standing
body is longest. It is worth little: of people who were left out, MARS's three in turn, networks
were 14.9 and 14.7 cm off in two trainings each, with points as they come (``order``: "given")
15.1 cm in one.

The layers are those of `millimamba`. Everything here is our own choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from radar_pose_ros.models.millimamba import FeedForward, MilliMambaConfig, VisionMambaLayer
from radar_pose_ros.skeleton.definitions import KINECT25

# Of a point: x, y, z in m (x away from the radar, y left, z up), speed away from it in m/s,
# strength in dB above any level. Speed and strength may be NaN, unknown.
VALUES = 5
# Sizes of what goes into the network: of the body in m, of speeds in m/s, of strengths in dB.
_BODY_M, _SPEED_MPS, _STRENGTH_DB = 0.5, 1.0, 10.0
_FEATURES = 10


@dataclass(frozen=True)
class PointPoseConfig:
    """Sizes and options; the defaults are the preset ``points``.

    Parameters
    ----------
    frames : int
        Of a window.
    rate_hz : float
        Frames per second.
    points : int
        Tokens of a frame, the most points that are looked at.
    order : {"height", "given"}
        Of points within a frame: lowest first, or as they come.
    width, encoder_layers, state_size, expand, conv_kernel
        Of the scan over points, as in `MilliMambaConfig`.
    decoder_width, decoder_layers : int
        Of the scan over frames.
    dropout : float

    Raises
    ------
    ValueError
        If a size is less than 1.
    """

    frames: int = 24
    rate_hz: float = 10.0
    points: int = 16
    order: Literal["height", "given"] = "height"
    width: int = 64
    encoder_layers: int = 1
    state_size: int = 8
    expand: int = 2
    conv_kernel: int = 4
    decoder_width: int = 96
    decoder_layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("frames", "points", "width", "encoder_layers", "decoder_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.order not in ("height", "given"):
            raise ValueError(f"order must be height or given, got {self.order!r}")

    def layer(self, width: int) -> MilliMambaConfig:
        """Return what `millimamba`'s layers read, of so many channels."""
        return replace(
            MilliMambaConfig(),
            width=width,
            heads=1,
            state_size=self.state_size,
            expand=self.expand,
            conv_kernel=self.conv_kernel,
            feed_forward=2,
            dropout=self.dropout,
        )


PRESETS: dict[str, PointPoseConfig] = {"points": PointPoseConfig()}


def choose_points(points: np.ndarray, most: int) -> np.ndarray:
    """Return so many rows, some of a cloud's points, and NaN where it has no more.

    Of a larger cloud those stay that stand evenly in the order of their strength, strong and weak
    ones [choice].

    Parameters
    ----------
    points : ndarray, shape (points, 5)
    most : int

    Returns
    -------
    ndarray of float32, shape (most, 5)
    """
    chosen = np.full((most, VALUES), np.nan, np.float32)
    if len(points) <= most:
        chosen[: len(points)] = points
    else:
        by_strength = np.argsort(-points[:, 4], kind="stable")  # NaN last
        chosen[:] = points[by_strength[np.arange(most) * len(points) // most]]
    return chosen


class PoseHead(nn.Module):
    """From a vector to a pose: where the root is, and the joints relative to it.

    Buffers hold mean and spread of the poses that were learnt (`fit_poses`): a new network says
    the mean pose.
    """

    mean_m: Tensor
    root_spread_m: Tensor
    spread_m: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        joints = len(KINECT25.joints)
        self.linear = nn.Linear(width, 3 + 3 * joints)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean_m", torch.zeros(joints, 3))
        self.register_buffer("root_spread_m", torch.ones(3))
        self.register_buffer("spread_m", torch.ones(joints, 3))

    @torch.no_grad()
    def fit_poses(self, joints_m: np.ndarray) -> None:
        """Take mean and spread of poses, ``(poses, 25, 3)``; those with unknown joints are out."""
        known = joints_m[np.isfinite(joints_m).all((1, 2))].astype(np.float64)
        if not len(known):
            raise ValueError("no pose has all of its joints: there is nothing to learn")
        root = known[:, KINECT25.root]
        relative = known - root[:, None]
        for buffer, values in (
            (self.mean_m, known.mean(0)),
            (self.root_spread_m, root.std(0)),
            (self.spread_m, relative.std(0)),
        ):
            buffer.copy_(torch.from_numpy(values))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> joints in metres, (..., 25, 3)."""
        y = self.linear(x).float().unflatten(-1, (-1, 3))
        root = y[..., :1, :] * self.root_spread_m
        return self.mean_m + root + y[..., 1:, :] * self.spread_m


class PointPose(nn.Module):
    """The network.

    Parameters
    ----------
    config : PointPoseConfig
        For instance ``PRESETS["points"]``.
    """

    middle_m: Tensor

    def __init__(self, config: PointPoseConfig) -> None:
        super().__init__()
        c = self.config = config
        points, frames = c.layer(c.width), c.layer(c.decoder_width)
        self.embed = nn.Sequential(
            nn.Linear(_FEATURES, c.width), nn.GELU(), nn.Linear(c.width, c.width)
        )
        self.nothing = nn.Parameter(0.02 * torch.randn(c.width))
        self.frame = nn.Parameter(0.02 * torch.randn(c.width))
        self.encoder = nn.ModuleList(VisionMambaLayer(points) for _ in range(c.encoder_layers))
        self.encoder_norm = nn.RMSNorm(c.width, eps=1e-5)
        # mean and largest of the points, the frame's own token, how many points, their middle
        self.gather = nn.Linear(3 * c.width + 1 + 4, c.decoder_width)
        self.dropout = nn.Dropout(c.dropout)
        self.frame_position = nn.Parameter(0.02 * torch.randn(c.frames, c.decoder_width))
        self.decoder = nn.ModuleList(VisionMambaLayer(frames) for _ in range(c.decoder_layers))
        self.mlp = FeedForward(frames)
        self.decoder_norm = nn.LayerNorm(c.decoder_width)
        self.head = PoseHead(c.decoder_width)
        # Of the points that were learnt, beside which the head's poses stand.
        self.register_buffer("middle_m", torch.zeros(3))
        for parameter in (self.nothing, self.frame, self.frame_position):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    @torch.no_grad()
    def fit_middle(self, points: np.ndarray) -> None:
        """Take the middle of points, ``(..., 5)``, beside which stand the poses of `fit_poses`."""
        places = points[..., :3].reshape(-1, 3)
        self.middle_m.copy_(torch.from_numpy(np.nanmedian(places, axis=0)))

    def forward(self, points: Tensor) -> Tensor:
        """Estimate the poses of a window of frames.

        Parameters
        ----------
        points : Tensor
            float32, ``(batch, frames, points, 5)``, as many points as the configuration says
            (`choose_points`). Where a place is NaN there is no point; NaN speeds and strengths are
            unknown.

        Returns
        -------
        Tensor
            Joints (`KINECT25`) in metres in the radar's frame, ``(batch, frames, 25, 3)``; NaN if
            there is no point in the whole window.

        Raises
        ------
        ValueError
            If the points have another shape than the configuration says.
        """
        c = self.config
        if points.dim() != 4 or tuple(points.shape[1:]) != (c.frames, c.points, VALUES):
            raise ValueError(
                f"points must be (batch, {c.frames} frames, {c.points} points, {VALUES}), got "
                f"{tuple(points.shape)}"
            )
        points = self._ordered(points)
        there = points[..., :3].isfinite().all(-1)
        points = points.masked_fill(~there[..., None], torch.nan)
        middle = points[..., :3].flatten(1, 2).nanmedian(1).values  # (batch, 3)
        features, middles = _features(points, there, middle)
        tokens = torch.where(there[..., None], self.embed(features), self.nothing)
        tokens = torch.cat((tokens, self.frame.expand(*tokens.shape[:2], 1, -1)), dim=2)
        x = _scan(self.encoder, tokens.flatten(1, 2)).unflatten(1, tokens.shape[1:3])
        x = self.encoder_norm(x)
        seen, own = x[:, :, :-1], x[:, :, -1]
        count = there.sum(-1, keepdim=True)
        mean = (seen * there[..., None]).sum(2) / count.clamp_min(1)
        largest = seen.masked_fill(~there[..., None], -torch.inf).amax(2)
        largest = largest.masked_fill(count == 0, 0.0)
        together = torch.cat((mean, largest, own, count / c.points, middles), dim=-1)
        x = self.dropout(self.gather(together)) + self.frame_position
        x = self.decoder_norm(self.mlp(_scan(self.decoder, x)))
        joints_m: Tensor = self.head(x)
        away_m = (middle - self.middle_m).nan_to_num(0.0)
        away_m[:, 2] = 0.0
        joints_m = joints_m + away_m[:, None, None]
        return joints_m.masked_fill(~there.any((1, 2))[:, None, None, None], torch.nan)

    def _ordered(self, points: Tensor) -> Tensor:
        if self.config.order == "given":
            return points
        order = points[..., 2].argsort(dim=-1)  # NaN last
        return points.gather(2, order[..., None].expand_as(points))


def _scan(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Run (batch, length, width) through Mamba layers, which want the length first."""
    batch, length = x.shape[:2]
    y = x.float().transpose(0, 1).flatten(0, 1).unflatten(0, (length, batch))
    for layer in layers:
        y = layer(y)
    return y.transpose(0, 1)


def _features(points: Tensor, there: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is told of points and of the middle of each frame's.

    Takes (batch, frames, points, 5), which of these are there, and the middle of each window's,
    (batch, 3). Returns features (batch, frames, points, 10), 0 where there is no point, and
    (batch, frames, 4): the height of the window's middle, and the frame's middle relative to it.
    """
    frames = points.shape[1]
    place, speed, strength = points[..., :3], points[..., 3:4], points[..., 4:]
    level = strength.flatten(1).nanmedian(1).values[:, None, None, None]
    middle = middle[:, None, None]
    own = place.nanmedian(2, keepdim=True).values
    ages = torch.linspace(-1, 1, frames, device=points.device, dtype=points.dtype)
    age = ages[:, None, None].expand(*points.shape[:3], 1)
    near = (place - middle) / _BODY_M
    parts = (
        near,
        place[..., 2:] / _BODY_M,
        torch.sin(torch.pi * near),
        speed / _SPEED_MPS,
        (strength - level) / _STRENGTH_DB,
        age,
    )
    features = torch.cat(parts, dim=-1).nan_to_num(0.0, 0.0, 0.0)  # infinity is unknown, too
    height = middle[..., 2:].expand_as(own[..., 2:])
    middles = torch.cat((height, own - middle), dim=-1).squeeze(2) / _BODY_M
    return features * there[..., None], middles.nan_to_num(0.0)
