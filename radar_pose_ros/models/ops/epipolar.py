"""What another camera knows of a heatmap: the maximum along each pixel's epipolar line.

A pixel of one camera is a ray in the world, and a line in the image of another camera: if that
camera's heatmap is high anywhere along it, the joint may lie on the ray (AdaFuse, Zhang et al.
2021; DenseWarper, arXiv 2605.14525). A line is sampled at the pixels nearest to it in every column
and in every row; around the image is 0. A compiled kernel does it where there is one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from radar_pose_ros.models.ops import native

OWN_SHARE = 0.5
"""Of a view's own heatmap in a fused one [DenseWarper's code]."""

# Of what a camera's place is the sum of: cameras that are nearer to each other are kept apart by
# nothing but rounding [choice]. Some 1e-11 m at 5 m from the world's origin, 1e-5 m at 5000 km.
_SAME_PLACE = 1e-12
# Below this share of what it is the sum of, a number of a line is what rounding left [choice].
_TOLERANCE = 1e-12


def heatmap_projections(projections: Tensor, to_heatmap: Tensor) -> Tensor:
    """Return the projections into heatmaps that were cut out of images.

    Parameters
    ----------
    projections : Tensor
        ``(..., 3, 4)``, from the world into the image, pixels.
    to_heatmap : Tensor
        ``(..., 2, 3)``, the affine map from the image's pixels to the heatmap's.

    Returns
    -------
    Tensor
        float64, ``(..., 3, 4)``.

    Raises
    ------
    ValueError
        If a shape is another.
    """
    _check_matrices("projections", projections, (3, 4))
    _check_matrices("to_heatmap", to_heatmap, (2, 3))
    projections = projections.double()
    return torch.cat((to_heatmap.double() @ projections, projections[..., 2:, :]), -2)


def fundamental_matrices(target: Tensor, source: Tensor) -> Tensor:
    """Return the matrices that turn a pixel of the target into its line in the source.

    Parameters
    ----------
    target, source : Tensor
        ``(..., 3, 4)``, projections from the world into the heatmaps of two cameras, see
        `heatmap_projections`; float64, or errors of a pixel are possible.

    Returns
    -------
    Tensor
        float64, ``(..., 3, 3)``: ``F (u, v, 1) = (a, b, c)`` for the pixel in column u and row v
        is the line ``a x + b y + c = 0``. 0 for cameras in the same place, as far as float64 can
        tell, which have no such lines.

    Raises
    ------
    ValueError
        If shapes are others, or a projection is not finite or is none of a camera with a centre.
    """
    _check_matrices("target", target, (3, 4))
    _check_matrices("source", source, (3, 4))
    target, source = target.double(), source.double()
    inverse, centre, size = _inverse(target)
    _, source_centre, source_size = _inverse(source)
    baseline = centre - source_centre  # (..., 3)
    apart = baseline.norm(dim=-1) > _SAME_PLACE * torch.maximum(size, source_size)
    # the image of the target's centre, and that of the infinite end of a pixel's ray
    epipole = torch.where(apart[..., None], _apply(source[..., :3], baseline), 0)
    far_end = source[..., :3] @ inverse
    return torch.linalg.cross(epipole[..., None], far_end, dim=-2)


def epipolar_maximum(source: Tensor, fundamental: Tensor, size: tuple[int, int]) -> Tensor:
    """Return for each pixel of other views the maximum along its line in a heatmap.

    Parameters
    ----------
    source : Tensor
        ``(batch, channels, rows, columns)``, heatmaps of one view.
    fundamental : Tensor
        ``(batch, targets, 3, 3)``, from `fundamental_matrices` of each target and the source.
    size : tuple of int
        Rows and columns of the targets' heatmaps.

    Returns
    -------
    Tensor
        ``(batch, targets, channels, *size)``, in the type of the source, differentiable by it.
        Never below 0, which is around the image. 0 where a pixel has no line: in the epipole (the
        image of the source's place), and everywhere if both cameras are in the same place.

    Raises
    ------
    ValueError
        If shapes do not belong together or matrices are not finite.
    """
    if source.ndim != 4 or 0 in source.shape[1:]:
        raise ValueError(
            f"source must be (batch, channels, rows, columns), got {tuple(source.shape)}"
        )
    if fundamental.ndim != 4 or tuple(fundamental.shape[::2]) != (len(source), 3):
        raise ValueError(
            f"fundamental must be ({len(source)}, targets, 3, 3), got {tuple(fundamental.shape)}"
        )
    _check_matrices("fundamental", fundamental, (3, 3))
    fundamental = fundamental.to(source.device, torch.float64)
    learns = torch.is_grad_enabled() and source.requires_grad
    on_cpu = source.device.type == "cpu" and source.dtype == torch.float32
    if on_cpu and not learns and native.offers("line_maxima"):
        return native.line_maxima(source, fundamental, size, _TOLERANCE)
    maxima = [
        torch.stack([_maximum(heatmaps, matrix, size) for matrix in matrices])
        if len(matrices)
        else heatmaps.new_empty(0, len(heatmaps), *size)
        for heatmaps, matrices in zip(source, fundamental, strict=True)
    ]
    return torch.stack(maxima) if maxima else source.new_empty(0, *fundamental.shape[1:2], *size)


def fuse(heatmaps: Tensor, projections: Tensor, own_share: float = OWN_SHARE) -> Tensor:
    """Fuse the heatmaps of all views, each seen at its own time, in pairs.

    Parameters
    ----------
    heatmaps : Tensor
        ``(batch, views, joints, rows, columns)``; what is not finite counts as 0.
    projections : Tensor
        ``(batch, views, 3, 4)`` or ``(views, 3, 4)``, see `heatmap_projections`.
    own_share : float
        From 0 to 1.

    Returns
    -------
    Tensor
        ``(batch, views, slots, joints, rows, columns)``, as many slots as views: view v at the
        time of view s has ``own_share`` times its own heatmap plus the rest times the maximum of
        that of s along the line; its own heatmap at its own time.

    Raises
    ------
    ValueError
        If shapes do not belong together, or projections are none.
    """
    slots = range(heatmaps.shape[1] if heatmaps.ndim == 5 else 1)
    return torch.stack([fuse_slot(heatmaps, projections, s, own_share) for s in slots], 2)


def fuse_slot(
    heatmaps: Tensor, projections: Tensor, slot: int, own_share: float = OWN_SHARE
) -> Tensor:
    """Return of `fuse` the slot when one view was seen: ``(batch, views, joints, rows, columns)``.

    Parameters
    ----------
    heatmaps, projections, own_share
        As for `fuse`.
    slot : int
        Number of the view that was seen then.
    """
    if heatmaps.ndim != 5 or 0 in heatmaps.shape[1:]:
        raise ValueError(
            f"heatmaps must be (batch, views, joints, rows, columns), got {tuple(heatmaps.shape)}"
        )
    batch, views = heatmaps.shape[:2]
    if not 0 <= slot < views:
        raise ValueError(f"slot must be 0 to {views - 1}, got {slot}")
    if not 0 <= own_share <= 1:
        raise ValueError(f"own_share must be 0 to 1, got {own_share}")
    if tuple(projections.shape) not in ((views, 3, 4), (batch, views, 3, 4)):
        raise ValueError(
            f"projections must be ({batch}, {views}, 3, 4) or ({views}, 3, 4), got "
            f"{tuple(projections.shape)}"
        )
    heatmaps = torch.nan_to_num(heatmaps, 0.0, 0.0, 0.0)
    projections = projections.expand(batch, views, 3, 4)
    others = [view for view in range(views) if view != slot]
    own = projections[:, slot, None].expand(batch, len(others), 3, 4)
    fundamental = fundamental_matrices(projections[:, others], own)
    size = (heatmaps.shape[-2], heatmaps.shape[-1])
    maxima = epipolar_maximum(heatmaps[:, slot], fundamental, size)
    fused = torch.lerp(maxima, heatmaps[:, others], own_share)
    return torch.cat((fused[:, :slot], heatmaps[:, slot : slot + 1], fused[:, slot:]), 1)


def _maximum(heatmaps: Tensor, fundamental: Tensor, size: tuple[int, int]) -> Tensor:
    """(channels, rows, columns), (3, 3) -> (channels, *size)."""
    channels, rows, columns = heatmaps.shape
    pixels = _line_pixels(fundamental, (rows, columns), size)
    # one row per pixel of the source, the last for what is outside
    table = F.pad(heatmaps.flatten(1).T, (0, 0, 0, 1))
    maxima = F.embedding_bag(pixels, table, mode="max")  # (target pixels, channels)
    return maxima.T.reshape(channels, *size).clamp_min(0)


def _line_pixels(
    fundamental: Tensor, size: tuple[int, int], target_size: tuple[int, int]
) -> Tensor:
    """Return the numbers of the source's pixels along the line of each of the target's.

    Along a line closer to the horizontal those of every column; its pixels of every row are among
    them. Along another those of every row. ``rows * columns`` stands for outside.

    Returns
    -------
    Tensor
        int64, ``(target pixels, max(rows, columns))``.
    """
    rows, columns = size
    v, u = (torch.arange(n, dtype=torch.float64, device=fundamental.device) for n in target_size)
    pixel = torch.stack(torch.broadcast_tensors(u, v[:, None], u.new_ones(())), -1)
    summands = pixel.reshape(-1, 1, 3) * fundamental  # (target pixels, 3, 3)
    line = summands.sum(-1)
    vanishes = line.abs() <= _TOLERANCE * summands.abs().sum(-1)
    a, b = torch.where(vanishes, 0, line)[:, :2, None].unbind(1)  # (target pixels, 1)
    c = line[:, 2:]
    flat, exists = a.abs() <= b.abs(), (a != 0) | (b != 0)
    along, across = torch.where(flat, a, b), torch.where(flat, b, a)
    across = torch.where(exists, across, 1)  # nothing is divided by 0
    i = torch.arange(max(rows, columns), dtype=torch.float64, device=line.device)
    j = (-along / across * i - c / across).round()
    limit_i, limit_j = (
        torch.where(flat, *pair).double() for pair in ((columns, rows), (rows, columns))
    )
    inside = exists & (i < limit_i) & (j >= 0) & (j < limit_j)
    i, j = (torch.where(inside, number, 0).long() for number in (i, j))
    number = torch.where(flat, j * columns + i, i * columns + j)
    return torch.where(inside, number, rows * columns)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None]).squeeze(-1)


def _inverse(projection: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the inverse of the left 3x3 part, the camera's centre (..., 3), and the size (...)
    of the numbers that this is the sum of, to which its rounding is proportional."""
    inverse, info = torch.linalg.inv_ex(projection[..., :3])
    centre = -_apply(inverse, projection[..., 3])
    if info.any() or not (inverse.isfinite().all() and centre.isfinite().all()):
        raise ValueError("a projection is not that of a camera: its first three columns vanish")
    return inverse, centre, _apply(inverse.abs(), projection[..., 3].abs()).norm(dim=-1)


def _check_matrices(name: str, matrices: Tensor, shape: tuple[int, int]) -> None:
    if tuple(matrices.shape[-2:]) != shape:
        raise ValueError(
            f"{name} must be (..., {shape[0]}, {shape[1]}), got {tuple(matrices.shape)}"
        )
    if not matrices.isfinite().all():
        raise ValueError(f"{name} holds numbers that are not finite")
