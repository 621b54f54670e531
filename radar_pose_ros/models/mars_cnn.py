"""The small network of MARS, to compare with: one frame of points to one pose.

As published: the points of a frame in the order of their places, an 8 x 8 image of them with 5
channels, two 3 x 3 convolutions of 16 and 32 channels, a dense layer of 512, the joints. An and
Ogras, "MARS: mmWave-based Assistive Rehabilitation System for Smart Healthcare", ACM TECS 20(5s),
2021; dropout and batch normalisation stand where the authors' program has them. Joints are 25
where the paper has 19 of these, and numbers are scaled [choices].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from radar_pose_ros.models.points import VALUES, PoseHead

_SIDE = 8
# Of strengths, in dB, to be of the size of places in m [choice].
_STRENGTH_DB = 10.0


@dataclass(frozen=True)
class MarsCnnConfig:
    """The published sizes.

    Parameters
    ----------
    frames, points : int
        What it looks at: one frame, 64 points.
    rate_hz : float
        Frames per second.
    channels : tuple of int
        Of the two convolutions.
    hidden : int
        Of the dense layer.
    dropout : tuple of float
        After convolutions, and after the dense layer.
    """

    frames: int = 1
    points: int = _SIDE**2
    rate_hz: float = 10.0
    channels: tuple[int, int] = (16, 32)
    hidden: int = 512
    dropout: tuple[float, float] = (0.3, 0.4)


PRESETS: dict[str, MarsCnnConfig] = {"mars_cnn": MarsCnnConfig()}


class MarsCnn(nn.Module):
    """The network; takes and returns what `PointPose` does, of windows of one frame."""

    def __init__(self, config: MarsCnnConfig) -> None:
        super().__init__()
        c = self.config = config
        first, second = c.channels
        # batch normalisation's momentum is 1 - 0.95 in torch's terms
        self.layers = nn.Sequential(
            nn.Conv2d(VALUES, first, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(c.dropout[0]),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(c.dropout[0]),
            nn.BatchNorm2d(second, momentum=0.05),
            nn.Flatten(),
            nn.Linear(second * c.points, c.hidden),
            nn.ReLU(),
            nn.BatchNorm1d(c.hidden, momentum=0.05),
            nn.Dropout(c.dropout[1]),
        )
        self.head = PoseHead(c.hidden)

    def forward(self, points: Tensor) -> Tensor:
        """(batch, 1, 64, 5), NaN where there is no point -> joints in m, (batch, 1, 25, 3).

        NaN for a frame without points.

        Raises
        ------
        ValueError
            If the points have another shape.
        """
        c = self.config
        if points.dim() != 4 or tuple(points.shape[1:]) != (c.frames, c.points, VALUES):
            raise ValueError(
                f"points must be (batch, {c.frames} frame, {c.points} points, {VALUES}), got "
                f"{tuple(points.shape)}"
            )
        there = points[:, 0, :, :3].isfinite().all(-1)
        joints_m: Tensor = self.head(self.layers(images(points[:, 0])))[:, None]
        return joints_m.masked_fill(~there.any(1)[:, None, None, None], torch.nan)


def images(points: Tensor) -> Tensor:
    """Lay points out as the published features, (batch, 64, 5) -> (batch, 5, 8, 8).

    From the radar's left to its right, of equals the nearest first, then the lowest; zeros behind
    the last point, and for what is not known.
    """
    there = points[..., :3].isfinite().all(-1)
    order = torch.arange(points.shape[1], device=points.device).expand(points.shape[:2])
    for column, sign in ((2, 1.0), (0, 1.0), (1, -1.0)):  # the most important one last
        key = torch.where(there, sign * points[..., column], torch.inf).gather(1, order)
        order = order.gather(1, key.argsort(dim=1, stable=True))
    rows = points.gather(1, order[..., None].expand_as(points))
    scale = points.new_tensor([1.0, 1.0, 1.0, 1.0, 1 / _STRENGTH_DB])
    rows = torch.where(there.gather(1, order)[..., None], rows * scale, 0.0).nan_to_num(0.0)
    return rows.transpose(1, 2).unflatten(2, (_SIDE, _SIDE))
