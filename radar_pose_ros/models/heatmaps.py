"""Heatmaps of joints: rendered from coordinates, and read again to a fraction of a pixel.

Pixel ``(u, v)`` is column u and row v; the centre of the first one is ``(0, 0)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGMA_PX = 3.0
"""Of a joint's Gaussian [DenseWarper's code]."""

TEMPERATURE = 0.05  # DenseWarper's code
WINDOW_PX = 15.0  # the same: five times the sigma
THRESHOLD = 0.01  # the same: no joint where a map is nowhere higher


def render_heatmaps(
    keypoints_px: Tensor,
    confidence: Tensor | None,
    size: tuple[int, int],
    sigma_px: float = SIGMA_PX,
) -> Tensor:
    """Draw each joint as a Gaussian as high as the joint is certain.

    Parameters
    ----------
    keypoints_px : Tensor
        ``(..., 2)``, column and row in pixels of the heatmap.
    confidence : Tensor, optional
        ``(...)``, the height; by default 1.
    size : tuple of int
        Rows and columns.
    sigma_px : float
        Standard deviation.

    Returns
    -------
    Tensor
        ``(..., rows, columns)`` in the type of the keypoints: ``confidence exp(-d^2 / (2
        sigma^2))`` at the distance d, and 0 beyond 4 sigma in rows or columns. All zero where a
        joint lies in no pixel of the map, or its coordinates or confidence are not finite.

    Raises
    ------
    ValueError
        If shapes do not belong together, or the size or the sigma is not positive.
    """
    if keypoints_px.shape[-1:] != (2,):
        raise ValueError(f"keypoints must be (..., 2), got {tuple(keypoints_px.shape)}")
    if confidence is None:
        confidence = torch.ones_like(keypoints_px[..., 0])
    if confidence.shape != keypoints_px.shape[:-1]:
        raise ValueError(
            f"confidence must be {tuple(keypoints_px.shape[:-1])}, got {tuple(confidence.shape)}"
        )
    rows, columns = size
    if min(rows, columns) < 1 or not sigma_px > 0:
        raise ValueError(f"size and sigma must be positive, got {size} and {sigma_px}")
    extent = keypoints_px.new_tensor((columns, rows))
    inside = ((keypoints_px >= -0.5) & (keypoints_px < extent - 0.5)).all(-1)
    inside &= confidence.isfinite()
    # zeros first, so that what is not finite has no part in a gradient either
    u, v = torch.where(inside[..., None], keypoints_px, 0).unbind(-1)
    height = torch.where(inside, confidence, 0).to(keypoints_px.dtype)

    def profile(centre: Tensor, count: int) -> Tensor:  # (...) -> (..., count)
        places = torch.arange(count, dtype=centre.dtype, device=centre.device)
        steps = (places - centre[..., None]) / sigma_px
        # choice: 0 from 3e-4 on; where a map is 0, deformable convolutions have nothing to do
        return torch.where(steps.abs() <= 4, torch.exp(-0.5 * steps.square()), 0)

    across = height[..., None] * profile(u, columns)
    return profile(v, rows)[..., None] * across[..., None, :]


def soft_argmax(
    heatmaps: Tensor,
    temperature: float = TEMPERATURE,
    window_px: float = WINDOW_PX,
    threshold: float = THRESHOLD,
) -> Tensor:
    """Find each joint to a fraction of a pixel.

    The mean place of the pixels in a circle about the highest one, weighted by the softmax of
    what they hold [DenseWarper's code]. Where that finds no joint it says (0, 0); we say NaN.

    Parameters
    ----------
    heatmaps : Tensor
        ``(..., rows, columns)``.
    temperature : float
        The softmax is taken of the map divided by this.
    window_px : float
        Diameter of the circle.
    threshold : float
        There is no joint in a map that is nowhere higher.

    Returns
    -------
    Tensor
        ``(..., 2)``, column and row; NaN where there is no joint or the map holds NaN or
        infinities. Differentiable; where there is no joint the gradient is 0.

    Raises
    ------
    ValueError
        If the maps are empty, or temperature or window are not positive.
    """
    if heatmaps.ndim < 2 or 0 in heatmaps.shape[-2:]:
        raise ValueError(f"heatmaps must be (..., rows, columns), got {tuple(heatmaps.shape)}")
    if not (temperature > 0 and window_px > 0):
        raise ValueError(
            f"temperature and window must be positive, got {temperature} and {window_px}"
        )
    rows, columns = heatmaps.shape[-2:]
    flat = heatmaps.flatten(-2)  # (..., rows * columns)
    with torch.no_grad():
        highest, index = flat.max(-1)
        found = (highest > threshold) & flat.sum(-1).isfinite()
        # the pixels of the window, (..., pixels), as numbers in the flat map
        reach = int(window_px / 2)
        steps = torch.arange(-reach, reach + 1, device=flat.device)
        down, right = torch.meshgrid(steps, steps, indexing="ij")
        circle = down.square() + right.square() <= (window_px / 2) ** 2
        row = (index // columns)[..., None] + down[circle]
        column = (index % columns)[..., None] + right[circle]
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        pixels = torch.where(inside, row * columns + column, index[..., None])
    value = flat.gather(-1, pixels)
    value = torch.where(found[..., None], value, 0)  # no NaN into a gradient
    value = torch.where(inside, value / temperature, -torch.inf)
    weight = torch.softmax(value, -1)  # the pixel in the middle is always inside
    place = torch.stack(((weight * column).sum(-1), (weight * row).sum(-1)), -1)
    return torch.where(found[..., None], place, torch.nan)
