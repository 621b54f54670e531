"""Depth-wise causal convolution along a sequence, with its own gradient.

Torch's grouped ``conv1d`` wants time innermost; the rest of a Mamba layer wants channels there.
This form needs no transposition, and over a training step of the ``edge`` preset it takes 0.6 of
the time of ``conv1d`` with the two transpositions around it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve every channel with its own kernel over the present and past tokens.

    Parameters
    ----------
    x : Tensor
        ``(directions, length, batch, channels)``.
    weight, bias : Tensor
        ``(directions, channels, kernel)``, the last tap for the present token, and
        ``(directions, channels)``.

    Returns
    -------
    Tensor
        The shape and type of ``x``: ``y[t] = bias + sum_k weight[..., -1 - k] x[t - k]``.
    """
    result: Tensor = _CausalConv.apply(x, weight.to(x.dtype), bias.to(x.dtype))
    return result


class _CausalConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        length = x.shape[1]
        taps = weight[:, None, None].unbind(-1)[::-1]  # taps[k] (directions, 1, 1, channels)
        y = x * taps[0]
        y += bias[:, None, None]
        for k, tap in enumerate(taps[1:], start=1):
            y[:, k:].addcmul_(x[:, : length - k], tap)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        length = x.shape[1]
        taps = weight[:, None, None].unbind(-1)[::-1]
        grad_x = grad_y * taps[0]
        grad_taps = []
        work = torch.empty_like(x)
        for k, tap in enumerate(taps):
            if k:
                grad_x[:, : length - k].addcmul_(grad_y[:, k:], tap)
            product = torch.mul(grad_y[:, k:], x[:, : length - k], out=work[:, k:])
            grad_taps.append(product.sum((1, 2)))
        return grad_x, torch.stack(grad_taps[::-1], -1), grad_y.sum((1, 2))
