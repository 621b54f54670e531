"""Deformable convolution: each point of the kernel is looked up where an offset says.

Dai et al., "Deformable Convolutional Networks", ICCV 2017, with the order of offsets and the
borders of torchvision's ``deform_conv2d``. A compiled kernel does it where there is one; else what
the points find (`sample`) is torch's work, and the rest is a matrix product.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from radar_pose_ros.models.ops import native

_FRAME = 2  # rows and columns of zeros around an image: no corner of a position is outside
_PART_ELEMENTS = 1 << 22  # of what is sampled at once: 16 MB, which the allocator keeps


def deformable_conv(x: Tensor, offset: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Convolve with a kernel whose points are moved, differently at every pixel.

    ``y[o] = sum over c, k of weight[o, c, k] x[c](p + dilation k + offset[g(c), k](p))`` at each
    pixel p, with x bilinear between pixels and 0 around the image, so that the size stays.

    Parameters
    ----------
    x : Tensor
        ``(batch, channels, rows, columns)``.
    offset : Tensor
        ``(batch, 2 * groups * kernel * kernel, rows, columns)``, pixels: for each group of
        neighbouring channels and each point of the kernel, row by row, the way down and the way to
        the right. One that is not a number leads outside of the image. Where rows and columns are
        even there may be half as many here: offsets are bilinear between them.
    weight : Tensor
        ``(outputs, channels, kernel, kernel)``, the kernel odd.
    dilation : int
        Pixels from point to point of the kernel.

    Returns
    -------
    Tensor
        ``(batch, outputs, rows, columns)`` in the type of ``x``; computed in float32 at least.
        With gradients by all three tensors. That by an offset which leads to the centre of a pixel
        is the slope on the far side of it, as in torchvision.

    Raises
    ------
    ValueError
        If shapes do not belong together; says which.
    """
    _check_shapes(x, offset, weight, dilation)
    double = torch.float64 in (x.dtype, offset.dtype, weight.dtype)
    dtype = torch.float64 if double else torch.float32
    arguments = x.to(dtype), offset.to(dtype), weight.to(dtype)
    learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in arguments)
    if _native(arguments[0]) and not learns:
        return native.deform(*arguments, dilation).to(x.dtype)
    if offset.shape[2:] != x.shape[2:]:
        arguments = arguments[0], _widened(arguments[1], x), arguments[2]
    y: Tensor = _DeformableConv.apply(*arguments, dilation)
    return y.to(x.dtype)


def _widened(offset: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(offset, x.shape[2:], mode="bilinear")


class _DeformableConv(torch.autograd.Function):
    """In parts of the batch; what was sampled is sampled again for the gradient, not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offset: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, offset, weight)
        ctx.dilation = dilation
        if _native(x):
            return native.deform(x, offset, weight, dilation)
        kernel = weight.shape[-1]
        y = x.new_empty(len(x), len(weight), *x.shape[2:])
        for part in _parts(x, kernel):
            # (batch, channels, points, rows, columns) -> (batch, channels * points, pixels)
            columns = _sample(x[part], offset[part], kernel, dilation).flatten(1, 2).flatten(2)
            torch.matmul(weight.flatten(1), columns, out=y[part].flatten(2))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, offset, weight = ctx.saved_tensors
        kernel, dilation = weight.shape[-1], ctx.dilation
        by_x = ctx.needs_input_grad[0]
        grad_x, grad_offset = torch.empty_like(x) if by_x else None, torch.empty_like(offset)
        grad_weight = torch.zeros_like(weight)
        for part in _parts(x, kernel):
            grad = grad_y[part].flatten(2)
            if ctx.needs_input_grad[2]:
                columns = _sample(x[part], offset[part], kernel, dilation)
                columns = columns.flatten(1, 2).flatten(2)
                grad_weight += (grad @ columns.mT).sum(0).view_as(weight)
            grad_columns = weight.flatten(1).T @ grad
            grad_columns = grad_columns.view(len(grad), x.shape[1], kernel * kernel, *x.shape[2:])
            by_part, grad_offset[part] = _sample_gradients(
                x[part], offset[part], kernel, dilation, grad_columns, by_x
            )
            if grad_x is not None and by_part is not None:
                grad_x[part] = by_part
        return grad_x, grad_offset, grad_weight, None


def sample(x: Tensor, offset: Tensor, kernel: int, dilation: int) -> Tensor:
    """Return what each point of the kernel finds at each pixel, in plain torch.

    Parameters
    ----------
    x, offset, dilation
        As for `deformable_conv`.
    kernel : int
        Rows, and columns, of the kernel.

    Returns
    -------
    Tensor
        ``(batch, channels, kernel * kernel, rows, columns)``.
    """
    batch, channels, height, width = x.shape
    points = kernel * kernel
    groups = offset.shape[1] // (2 * points)
    # the image with its frame: (batch, groups, channels / groups, pixels)
    framed = F.pad(x, (_FRAME,) * 4).unflatten(1, (groups, -1)).flatten(-2)
    reach = torch.arange(kernel, dtype=x.dtype, device=x.device) - kernel // 2
    down, right = torch.meshgrid(dilation * reach, dilation * reach, indexing="ij")
    rows, columns = (torch.arange(n, dtype=x.dtype, device=x.device) for n in (height, width))
    offset = offset.view(batch, groups, points, 2, height, width)
    # (batch, groups, points, rows, columns) each
    v = _held(offset[:, :, :, 0] + (rows[:, None] + down.reshape(-1, 1, 1)), height)
    u = _held(offset[:, :, :, 1] + (columns + right.reshape(-1, 1, 1)), width)
    row, column = v.detach().floor(), u.detach().floor()
    framed_width = width + 2 * _FRAME
    pixel = ((row + _FRAME) * framed_width + column + _FRAME).long().flatten(2).unsqueeze(2)
    pixel = pixel.expand(-1, -1, channels // groups, -1)

    def corner(beyond: int) -> Tensor:  # (batch, groups, channels / groups, points * pixels)
        return framed.gather(-1, pixel + beyond)

    to_right = (u - column).flatten(2).unsqueeze(2)
    above, below = (
        torch.lerp(corner(start), corner(start + 1), to_right) for start in (0, framed_width)
    )
    result = torch.lerp(above, below, (v - row).flatten(2).unsqueeze(2))
    return result.view(batch, channels, points, height, width)


def _held(position: Tensor, size: int) -> Tensor:
    """Hold a position inside the frame; what is not a number goes outside of the image."""
    position = torch.where(position > -_FRAME, position, -_FRAME)
    return torch.where(position < size, position, size)


def _native(x: Tensor) -> bool:
    on_cpu = x.device.type == "cpu" and x.dtype == torch.float32
    return on_cpu and native.offers("deform_forward")


def _sample(x: Tensor, offset: Tensor, kernel: int, dilation: int) -> Tensor:
    return (native.sample if _native(x) else sample)(x, offset, kernel, dilation)


def _sample_gradients(
    x: Tensor, offset: Tensor, kernel: int, dilation: int, grad_columns: Tensor, by_x: bool
) -> tuple[Tensor | None, Tensor]:
    if _native(x):
        return native.sample_gradients(x, offset, kernel, dilation, grad_columns, by_x)
    with torch.enable_grad():
        inputs = x.detach().requires_grad_(by_x), offset.detach().requires_grad_()
        columns = sample(*inputs, kernel, dilation)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    *grad_x, grad_offset = torch.autograd.grad(columns, wanted, grad_columns)
    return (grad_x[0] if by_x else None), grad_offset


def _parts(x: Tensor, kernel: int) -> list[slice]:
    """Cut the batch; on a graphics card, which wants much at once, it stays whole."""
    batch = len(x)
    elements = x[:1].numel() * kernel * kernel
    size = max(1, _PART_ELEMENTS // max(1, elements)) if x.device.type == "cpu" else max(1, batch)
    return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]


def _check_shapes(x: Tensor, offset: Tensor, weight: Tensor, dilation: int) -> None:
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"x must be (batch, channels, rows, columns), got {tuple(x.shape)}")
    channels, kernel = x.shape[1], weight.shape[-1]
    odd = kernel % 2 == 1
    if weight.ndim != 4 or tuple(weight.shape[1:]) != (channels, kernel, kernel) or not odd:
        raise ValueError(
            f"weight must be (outputs, {channels}, kernel, kernel) with an odd kernel, got "
            f"{tuple(weight.shape)}"
        )
    per_group = 2 * kernel * kernel
    groups = offset.shape[1] // per_group if offset.ndim == 4 else 0
    rows, columns = x.shape[2:]
    start = (len(x), groups * per_group)
    allowed = [(*start, rows, columns)]
    if rows % 2 == 0 == columns % 2:
        allowed.append((*start, rows // 2, columns // 2))
    if groups < 1 or tuple(offset.shape) not in allowed or channels % groups:
        raise ValueError(
            f"offset must be ({len(x)}, {per_group} * groups, {rows}, {columns}) with groups that "
            f"divide {channels} channels, got {tuple(offset.shape)}"
        )
    if dilation < 1:
        raise ValueError(f"dilation must be at least 1, got {dilation}")
