"""DenseWarper: heatmaps of views that were not looking, from those that were (arXiv 2605.14525).

Cameras take turns: at each slot one of them has an image. The whole network is in this file::

    each view's own heatmaps, of the slot when it looked
      -> fused along epipolar lines with those of a view that looked at another slot
         (`ops.epipolar.fuse`)
      -> difference of fused and own heatmap -> residual blocks -> offsets
      -> deformable convolutions with these offsets move the own heatmap to the other slot

so that every view has heatmaps at every slot, and a pose can be triangulated at each.

No weights of the paper are public. Sizes are those of its released code, marked "code" below;
where the paper and that differ, or we differ from both, it is marked "choice".
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from radar_pose_ros.models.heatmaps import soft_argmax
from radar_pose_ros.models.ops.deformable_conv import deformable_conv
from radar_pose_ros.models.pose_resnet import BasicBlock
from radar_pose_ros.vision.alignment import ALIGNED, Alignment

_KERNEL = 3  # of the deformable convolutions [code]
_POINTS = _KERNEL * _KERNEL
_PART_ELEMENTS = 1 << 22  # of offsets in training: 16 MB, which the allocator keeps


@dataclass(frozen=True)
class DenseWarperConfig:
    """Sizes and options; the defaults are the preset ``paper``.

    Raises
    ------
    ValueError
        If a number is none; the sentence says which.
    """

    joints: int = 20  # code: Human3.6M's 17 and three of others
    size: int = 96  # code: rows and columns of a heatmap; others are possible
    blocks: int = 20  # code
    channels: int = 128  # code
    dilations: tuple[int, ...] = (3, 6, 12, 18, 24)  # code, pixels of the heatmap
    shared: bool = True  # paper: one warper for all pairs; False is the code, one for each
    views: int = 4  # how many there must be if it is not shared; else there may be any number
    time_channels: bool = False  # choice: the warper is told how far the other slot is
    time_unit_s: float = 0.02  # choice: of that; paper: the step from slot to slot
    stride: int = 1  # choice: pixels of the heatmap per pixel of the features
    offset_kernel: int = 3  # code: of the convolutions that give offsets; 1 is our choice
    # choice, of a stream: see `Alignment`; by default each view has what it saw last
    extrapolation: float = 0.0
    reconciled: bool = False
    fading_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("joints", "size", "blocks", "channels", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(f"dilations must be at least 1, got {self.dilations}")
        if self.views < 2:
            raise ValueError(f"views must be at least 2, got {self.views}")
        if self.offset_kernel not in (1, 3):
            raise ValueError(f"offset_kernel must be 1 or 3, got {self.offset_kernel}")
        _ = self.alignment  # says what is wrong with it
        if not (self.time_unit_s > 0 and math.isfinite(self.time_unit_s)):
            raise ValueError(f"time_unit_s must be positive, got {self.time_unit_s}")

    @property
    def alignment(self) -> Alignment:
        """What makes of shots the keypoints that heatmaps are drawn of."""
        return Alignment(self.extrapolation, self.reconciled, self.fading_s)

    @property
    def inputs(self) -> int:
        """Channels that the blocks are given."""
        return self.joints + (2 if self.time_channels else 0)

    @property
    def offsets(self) -> int:
        """Channels of offsets per deformable convolution: down and right, point and joint."""
        return 2 * _POINTS * self.joints


_PAPER = DenseWarperConfig()
PRESETS: dict[str, DenseWarperConfig] = {
    "paper": _PAPER,
    "paper_per_pair": replace(_PAPER, shared=False),
    "h36m17": replace(_PAPER, joints=17),
    # For a stream on two cores: 4 cameras, 15 images per second each, keypoints given [choice].
    "light": DenseWarperConfig(
        joints=17,
        size=64,
        blocks=4,
        channels=32,
        dilations=(3, 6, 12),
        time_channels=True,
        time_unit_s=1 / 60,
        stride=2,
        offset_kernel=1,
        **asdict(ALIGNED),
    ),
}


class Warper(nn.Module):
    """Moves one view's heatmaps to the slot of another.

    As it is made, before training, it gives them back as they are [choice]: all offsets are 0 and
    each kernel is the identity.
    """

    def __init__(self, config: DenseWarperConfig) -> None:
        super().__init__()
        c = self.config = config
        self.features = nn.Sequential(
            BasicBlock(c.inputs, c.channels, c.stride),
            *(BasicBlock(c.channels, c.channels, 1) for _ in range(1, c.blocks)),
        )
        self.offsets = nn.ModuleList()
        for dilation in c.dilations:
            reach = dilation if c.offset_kernel == 3 else 0
            layer = nn.Conv2d(
                c.channels,
                c.offsets,
                c.offset_kernel,
                padding=reach,
                dilation=max(1, reach),
                bias=False,
            )
            nn.init.zeros_(layer.weight)
            self.offsets.append(layer)
        kernels = torch.zeros(len(c.dilations), c.joints, c.joints, _KERNEL, _KERNEL)
        kernels[:, range(c.joints), range(c.joints), _KERNEL // 2, _KERNEL // 2] = 1
        self.kernels = nn.Parameter(kernels)

    def forward(self, own: Tensor, fused: Tensor, dt_s: Tensor | None) -> Tensor:
        """Warp pairs of a view and a slot.

        Parameters
        ----------
        own, fused : Tensor
            ``(pairs, joints, rows, columns)``: the view's heatmaps at its own slot, and these
            fused with those of the view that looked at the other slot.
        dt_s : Tensor, optional
            ``(pairs,)``, seconds from the own slot to the other; for ``time_channels``.

        Returns
        -------
        Tensor
            As ``own``.
        """
        x = fused - own
        if self.config.time_channels and dt_s is not None:
            steps = (dt_s / self.config.time_unit_s).to(x.dtype)
            time = torch.stack((steps, steps.sign()), 1)  # (pairs, 2)
            x = torch.cat((x, time[:, :, None, None].expand(-1, -1, *x.shape[2:])), 1)
        x = self.features(x).contiguous()
        # Offsets of half the size are interpolated where they are used. To learn it is faster to
        # do that here, with fewer channels; before a 1x1 convolution it comes to the same.
        halves = (own.shape[2], own.shape[3]) == (2 * x.shape[2], 2 * x.shape[3])
        if x.shape[2:] != own.shape[2:] and not (
            halves and self.config.offset_kernel == 1 and not torch.is_grad_enabled()
        ):
            x = F.interpolate(x, own.shape[2:], mode="bilinear")
        if not torch.is_grad_enabled():
            return own + self._change(own, x)
        # In parts, whose offsets are computed again for the gradient: they would take 15 MB per
        # pair of ``light``, 66 MB of ``paper``.
        size = max(1, _PART_ELEMENTS // (self.config.offsets * own.shape[2] * own.shape[3]))
        parts = zip(own.split(size), x.split(size), strict=True)
        changes = [checkpoint(self._change, *part, use_reentrant=False) for part in parts]
        return own + torch.cat(changes)

    def _change(self, own: Tensor, features: Tensor) -> Tensor:
        """Return the mean of the moved heatmaps [code: 0.2 times the sum], less the heatmaps.

        As what they change, for where they change nothing not a bit shall be lost.
        """
        change = torch.zeros_like(own)
        for dilation, layer, kernel in zip(
            self.config.dilations, self.offsets, self.kernels, strict=True
        ):
            change += deformable_conv(own, layer(features), kernel, dilation) - own
        return change / len(self.config.dilations)


class DenseWarper(nn.Module):
    """The network, without the one that finds heatmaps in images (`PoseResNet`).

    Parameters
    ----------
    config : DenseWarperConfig
        For instance ``PRESETS["paper"]``.
    """

    def __init__(self, config: DenseWarperConfig) -> None:
        super().__init__()
        c = self.config = config
        count = 1 if c.shared else c.views * (c.views - 1)
        self.warpers = nn.ModuleList(Warper(c) for _ in range(count))

    def forward(self, heatmaps: Tensor, fused: Tensor, dt_s: Tensor | None = None) -> Tensor:
        """Estimate the heatmaps of every view at every slot.

        Parameters
        ----------
        heatmaps : Tensor
            ``(batch, views, joints, rows, columns)``, each at its view's own slot.
        fused : Tensor
            ``(batch, views, slots, joints, rows, columns)``, from `ops.epipolar.fuse`; as many
            slots as views.
        dt_s : Tensor, optional
            ``(batch, views, slots)``, seconds from when the view looked to the slot. Only with
            ``time_channels``, which cannot do without; else it plays no part.

        Returns
        -------
        Tensor
            As ``fused``: a view's own heatmaps at its own slot, warped ones at the others. What is
            not finite in the heatmaps counts as 0.

        Raises
        ------
        ValueError
            If shapes do not belong together, or times are missing or not finite.
        """
        views = self._check(heatmaps)
        wanted = (len(heatmaps), views, *heatmaps.shape[1:])
        if tuple(fused.shape) != wanted:
            raise ValueError(f"fused must be {wanted}, got {tuple(fused.shape)}")
        self._check_times(dt_s, wanted[:3])
        pairs = [(v, s) for v in range(views) for s in range(views) if v != s]
        v, s = (list(numbers) for numbers in zip(*pairs, strict=True))
        heatmaps = _finite(heatmaps)
        result = heatmaps[:, :, None].repeat(1, 1, views, 1, 1, 1)
        times = None if dt_s is None else dt_s[:, v, s]
        result[:, v, s] = self._warp(pairs, heatmaps[:, v], fused[:, v, s], times)
        return result

    def warp_slot(
        self, heatmaps: Tensor, fused: Tensor, slot: int, dt_s: Tensor | None = None
    ) -> Tensor:
        """Estimate the heatmaps of every view at one slot, as for a stream the newest.

        Parameters
        ----------
        heatmaps : Tensor
            As for `forward`.
        fused : Tensor
            ``(batch, views, joints, rows, columns)``, from `ops.epipolar.fuse_slot`.
        slot : int
            Number of the view that looked then.
        dt_s : Tensor, optional
            ``(batch, views)``, seconds from when the view looked to the slot; as for `forward`.

        Returns
        -------
        Tensor
            ``(batch, views, joints, rows, columns)``.

        Raises
        ------
        ValueError
            As `forward`, or if there is no such slot.
        """
        views = self._check(heatmaps)
        if fused.shape != heatmaps.shape:
            raise ValueError(f"fused must be {tuple(heatmaps.shape)}, got {tuple(fused.shape)}")
        if not 0 <= slot < views:
            raise ValueError(f"slot must be 0 to {views - 1}, got {slot}")
        self._check_times(dt_s, (len(heatmaps), views))
        v = [view for view in range(views) if view != slot]
        heatmaps = _finite(heatmaps)
        times = None if dt_s is None else dt_s[:, v]
        warped = self._warp([(view, slot) for view in v], heatmaps[:, v], fused[:, v], times)
        return torch.cat((warped[:, :slot], heatmaps[:, slot : slot + 1], warped[:, slot:]), 1)

    def for_inference(self) -> DenseWarper:
        """Return a copy that computes the same faster, and cannot be trained: norms are folded."""
        made = copy.deepcopy(self).eval()
        for block in made.modules():
            if isinstance(block, BasicBlock):
                block.fold_norms()
                for conv in (block.conv1, block.conv2):
                    conv.weight.data = conv.weight.contiguous(memory_format=torch.channels_last)
        return made

    def _warp(
        self,
        pairs: Sequence[tuple[int, int]],
        own: Tensor,
        fused: Tensor,
        dt_s: Tensor | None,
    ) -> Tensor:
        """(batch, pairs, joints, rows, columns), twice, and (batch, pairs) -> as the first."""
        fused = _finite(fused)
        if self.config.shared:
            times = None if dt_s is None else dt_s.flatten()
            warped = self.warpers[0](own.flatten(0, 1), fused.flatten(0, 1), times)
            return warped.view_as(own)
        results = []
        for i, (v, s) in enumerate(pairs):
            number = v * (self.config.views - 1) + s - (s > v)
            times = None if dt_s is None else dt_s[:, i]
            results.append(self.warpers[number](own[:, i], fused[:, i], times))
        return torch.stack(results, 1)

    def _check(self, heatmaps: Tensor) -> int:
        c = self.config
        if heatmaps.ndim != 5 or heatmaps.shape[2] != c.joints or 0 in heatmaps.shape[3:]:
            raise ValueError(
                f"heatmaps must be (batch, views, {c.joints} joints, rows, columns), got "
                f"{tuple(heatmaps.shape)}"
            )
        views = heatmaps.shape[1]
        if views < 2 or not (c.shared or views == c.views):
            needed = "at least 2" if c.shared else str(c.views)
            raise ValueError(f"this DenseWarper needs {needed} views, got {views}")
        return views

    def _check_times(self, dt_s: Tensor | None, shape: tuple[int, ...]) -> None:
        if dt_s is None:
            if self.config.time_channels:
                raise ValueError(f"this DenseWarper needs dt_s, {shape}, got none")
        elif tuple(dt_s.shape) != shape:
            raise ValueError(f"dt_s must be {shape}, got {tuple(dt_s.shape)}")
        elif not dt_s.isfinite().all():
            raise ValueError("dt_s holds times that are not finite")


def _finite(heatmaps: Tensor) -> Tensor:
    return torch.nan_to_num(heatmaps, 0.0, 0.0, 0.0)


def slot_targets(joints: Tensor, projections: Tensor) -> Tensor:
    """Return where each view sees the joints of each slot.

    Those of slot s, for every view: the released code takes the slot when the view itself looked,
    and so teaches the warper to leave everything where it is.

    Parameters
    ----------
    joints : Tensor
        ``(batch, slots, joints, 3)``, in the world.
    projections : Tensor
        ``(batch, views, 3, 4)``, from the world into the heatmaps.

    Returns
    -------
    Tensor
        ``(batch, views, slots, joints, 2)``, pixels of the heatmap; NaN behind a camera.

    Raises
    ------
    ValueError
        If shapes do not belong together.
    """
    if joints.ndim != 4 or joints.shape[-1] != 3:
        raise ValueError(f"joints must be (batch, slots, joints, 3), got {tuple(joints.shape)}")
    if projections.ndim != 4 or tuple(projections.shape[::2]) != (len(joints), 3):
        raise ValueError(
            f"projections must be ({len(joints)}, views, 3, 4), got {tuple(projections.shape)}"
        )
    homogeneous = F.pad(joints, (0, 1), value=1.0).to(projections.dtype)
    image = torch.einsum("bvij,bsnj->bvsni", projections, homogeneous)
    depth = torch.where(image[..., 2:] > 0, image[..., 2:], torch.nan)
    return image[..., :2] / depth


def smooth_loss(distance_px: Tensor, alpha: float = -10.0, scale_px: float = 8.0) -> Tensor:
    """Return the loss of a distance, which grows as its square up to the scale and then levels.

    ``(|a| - 2) / a (((x / c)^2 / |a - 2| + 1)^(a / 2) - 1)`` [code: a = -10, c = 8]: the general
    loss of Barron (CVPR 2019), but for the first factor, ``|a - 2| / a`` there.

    Parameters
    ----------
    distance_px : Tensor
        Any shape.
    alpha, scale_px : float
        The a, neither 0 nor 2, and c of the formula.
    """
    bracket = (distance_px / scale_px).square() / abs(alpha - 2) + 1
    return (abs(alpha) - 2) / alpha * (bracket.pow(alpha / 2) - 1)


def warp_loss(maps: Tensor, target_px: Tensor, seen: Tensor | None = None) -> Tensor:
    """Return what is made small in training: how far the joints of heatmaps are from the truth.

    Parameters
    ----------
    maps : Tensor
        ``(batch, views, slots, joints, rows, columns)``, what `DenseWarper` gives.
    target_px : Tensor
        ``(batch, views, slots, joints, 2)``, from `slot_targets`; NaN where there is none.
    seen : Tensor, optional
        bool, ``(batch, views, joints)``. A joint that fewer than three views see, or fewer than
        all of two [choice], does not count [code].

    Returns
    -------
    Tensor
        1000 times the mean over all maps of `smooth_loss` of ``|du| + |dv|``; those without a
        joint, a target or enough views add nothing.

    Raises
    ------
    ValueError
        If shapes do not belong together.
    """
    if tuple(target_px.shape) != (*maps.shape[:4], 2):
        raise ValueError(f"target_px must be {(*maps.shape[:4], 2)}, got {tuple(target_px.shape)}")
    error = soft_argmax(maps) - target_px
    counts = error.isfinite().all(-1)
    if seen is not None:
        wanted = (*maps.shape[:2], maps.shape[3])
        if tuple(seen.shape) != wanted:
            raise ValueError(f"seen must be {wanted}, got {tuple(seen.shape)}")
        enough = seen.sum(1) >= min(3, maps.shape[1])  # (batch, joints)
        counts = counts & enough[:, None, None]
    distance = torch.where(counts[..., None], error, 0).abs().sum(-1)  # smooth_loss(0) is 0
    return 1000 * smooth_loss(distance).mean()


def multiply_accumulates(config: DenseWarperConfig, size: int | None = None) -> dict[str, int]:
    """Count the multiplications of one pair of view and slot, by part.

    Convolutions only, outside of training: no norms, and not what is interpolated. A window of V
    views has V (V - 1) pairs; a stream computes V - 1 of them for each new image.

    Parameters
    ----------
    config : DenseWarperConfig
    size : int, optional
        Rows and columns of a heatmap, by default the configuration's.
    """
    c = config
    size = c.size if size is None else size
    pixels, coarse = size**2, math.ceil(size / c.stride) ** 2
    first = c.channels * (9 * (c.inputs + c.channels))
    if c.stride > 1 or c.inputs != c.channels:
        first += c.channels * c.inputs
    features = coarse * (first + (c.blocks - 1) * 18 * c.channels**2)
    dilations = len(c.dilations)
    halves = c.offset_kernel == 1 and 2 * math.ceil(size / c.stride) == size
    where = coarse if halves else pixels
    offsets = where * dilations * c.offset_kernel**2 * c.channels * c.offsets
    deformable = pixels * dilations * _POINTS * c.joints**2
    return {
        "features": features,
        "offsets": offsets,
        "deformable": deformable,
        "total": features + offsets + deformable,
    }
