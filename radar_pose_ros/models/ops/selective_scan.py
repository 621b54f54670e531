"""Selective scan: the state-space recurrence of Mamba (Gu and Dao 2023, section 3.2).

For every channel ``d`` and state ``n``, with step ``dt`` and input ``u``::

    h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] u[t]
    y[t] = sum_n C[t, n] h[t, n] + D u[t]

Forms with one meaning:

* `selective_scan_reference` writes the recurrence down, step by step, to be compared with;
* `selective_scan_chunked` is the fast form in plain torch, with its own gradient;
* `selective_scan` is what models call: on a CPU the compiled kernel (`native`), on CUDA that of
  mamba-ssm, where they are installed and take the types; else the chunked form;
* `bidirectional_scan` is the same for both directions and the gate at once, and
  `bidirectional_scan_chunked` its form in plain torch.

Shapes and names are those of mamba-ssm's ``selective_scan_fn``, except for what is said to have
tokens first: that is the layout in which the compiled kernel and the chunked form compute.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from radar_pose_ros.models.ops import native

# Elements of one work buffer of the chunked form: 1 MiB of float32, the second-level cache of the
# machine it was tuned on. Half or twice as much makes little difference.
_BUFFER_ELEMENTS = 1 << 18
_LOG2_E = math.log2(math.e)


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    reverse: bool = False,
) -> Tensor:
    """Scan with the fastest form that there is for these tensors.

    Parameters
    ----------
    u, dt : Tensor
        Input and step size, ``(batch, channels, length)``.
    A : Tensor
        Decay rates, negative, ``(channels, states)``.
    B, C : Tensor
        Input and output vectors, ``(batch, states, length)``, or with groups
        ``(batch, groups, states, length)``, where group g serves the g-th equal share of the
        channels.
    D : Tensor, optional
        Weight of the direct path from input to output, ``(channels,)``.
    z : Tensor, optional
        Gate, ``(batch, channels, length)``: the output is multiplied by ``silu(z)``.
    dt_bias : Tensor, optional
        Added to ``dt``, ``(channels,)``.
    dt_softplus : bool
        Whether ``softplus`` is applied to ``dt`` after the bias.
    reverse : bool
        Scan from the last token to the first.

    Returns
    -------
    Tensor
        ``(batch, channels, length)`` in the type of ``u``.

    Raises
    ------
    ValueError
        If shapes do not belong together.
    """
    _check_shapes(u, dt, A, B, C, D, z, dt_bias)
    groups = B.shape[1] if B.dim() == 4 else 1
    dtype = native.working_type([u, dt, B, C, z], [A, D, dt_bias])
    if dtype is None or groups > native.MAX_GROUPS:
        cuda_kernel = _mamba_ssm(u)
        if cuda_kernel is not None:
            return _scan_on_cuda(cuda_kernel, u, dt, A, B, C, D, z, dt_bias, dt_softplus, reverse)
        return selective_scan_chunked(u, dt, A, B, C, D, z, dt_bias, dt_softplus, reverse)
    shares = (groups, u.shape[1] // groups)
    y = native.scan(
        _tokens_first(u, groups, dtype),
        _tokens_first(dt, groups, dtype),
        A.unflatten(0, shares).transpose(1, 2),
        _tokens_first(B, groups, dtype),
        _tokens_first(C, groups, dtype),
        None if D is None else D.unflatten(0, shares),
        None if z is None else _tokens_first(z, groups, dtype),
        None if dt_bias is None else dt_bias.unflatten(0, shares),
        dt_softplus=dt_softplus,
        reverse=(reverse,) * groups,
        add_up=False,
    )
    return y.flatten(2).permute(1, 2, 0).to(u.dtype)


def bidirectional_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    dt_bias: Tensor,
) -> Tensor:
    """Scan forward and backward, add up and gate: the middle of a bidirectional Mamba layer.

    Everything is in the order of the tokens; direction 0 is scanned from the first to the last,
    direction 1 from the last to the first.

    Parameters
    ----------
    u, dt : Tensor
        Input and step size before ``softplus(dt + dt_bias)``, ``(length, batch, 2, channels)``.
    A : Tensor
        Decay rates, negative, ``(2, states, channels)``.
    B, C : Tensor
        ``(length, batch, 2, states)``.
    D, dt_bias : Tensor
        ``(2, channels)``.
    z : Tensor
        Gate, ``(length, batch, channels)``.

    Returns
    -------
    Tensor
        ``(forward scan + backward scan) * silu(z)``, ``(length, batch, channels)`` in the type of
        ``u``.

    Raises
    ------
    ValueError
        If shapes do not belong together.
    """
    _check_bidirectional(u, dt, A, B, C, D, z, dt_bias)
    dtype = native.working_type([u, dt, B, C, z], [A, D, dt_bias])
    if dtype is not None:
        y = native.scan(
            u.to(dtype),
            dt.to(dtype),
            A,
            B.to(dtype),
            C.to(dtype),
            D,
            z.to(dtype),
            dt_bias,
            dt_softplus=True,
            reverse=(False, True),
            add_up=True,
        )
        return y.to(u.dtype)
    cuda_kernel = _mamba_ssm(u)
    if cuda_kernel is not None:
        return _bidirectional_on_cuda(cuda_kernel, u, dt, A, B, C, D, z, dt_bias)
    return bidirectional_scan_chunked(u, dt, A, B, C, D, z, dt_bias)


def selective_scan_reference(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    reverse: bool = False,
) -> Tensor:
    """Scan step by step; parameters as in `selective_scan`. float64 stays float64."""
    _check_shapes(u, dt, A, B, C, D, z, dt_bias)
    dtype = _working_type(u)
    inputs, step = u.to(dtype), _step_size(dt, dt_bias, dt_softplus, dtype)
    B_channels, C_channels = (_per_channel(x.to(dtype), u.shape[1]) for x in (B, C))
    length = u.shape[-1]
    h = inputs.new_zeros(*u.shape[:2], A.shape[1])
    outputs: list[Tensor] = []
    for t in reversed(range(length)) if reverse else range(length):
        decay = torch.exp(step[:, :, t, None] * A.to(dtype))  # (batch, channels, states)
        h = decay * h + (step[:, :, t] * inputs[:, :, t])[..., None] * B_channels[..., t]
        outputs.append((h * C_channels[..., t]).sum(-1))
    if reverse:
        outputs.reverse()
    y = torch.stack(outputs, -1)
    if D is not None:
        y = y + inputs * D.to(dtype)[:, None]
    return _gate(y, z).to(u.dtype)


def selective_scan_chunked(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    reverse: bool = False,
) -> Tensor:
    """Scan chunk by chunk; parameters as in `selective_scan`.

    Everything that does not depend on the previous state is computed for a chunk of tokens at
    once, in buffers that stay in the cache; what is left of the recurrence is one fused
    multiply-add per token. Factors are at most 1 and are never divided by, so nothing can
    overflow. For the gradient only the inputs and one state per chunk are kept; the states in
    between are computed again.
    """
    _check_shapes(u, dt, A, B, C, D, z, dt_bias)
    dtype = _working_type(u)
    groups = B.shape[1] if B.dim() == 4 else 1
    shares = (groups, u.shape[1] // groups)
    y = scan_tokens_first(
        _tokens_first(u, groups, dtype),
        _tokens_first(_step_size(dt, dt_bias, dt_softplus, dtype), groups, dtype),
        A.to(dtype).unflatten(0, shares).transpose(1, 2),
        _tokens_first(B, groups, dtype),
        _tokens_first(C, groups, dtype),
        None if D is None else D.to(dtype).unflatten(0, shares),
        reverse,
    )
    return _gate(y.flatten(2).permute(1, 2, 0), z).to(u.dtype)


def bidirectional_scan_chunked(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    dt_bias: Tensor,
) -> Tensor:
    """Do what `bidirectional_scan` does, in plain torch; any type, any device."""
    _check_bidirectional(u, dt, A, B, C, D, z, dt_bias)
    dtype = _working_type(u)
    inputs, step = u.to(dtype), F.softplus(dt.to(dtype) + dt_bias.to(dtype))
    A, B, C, D = (x.to(dtype) for x in (A, B, C, D))
    both = []
    for direction in range(2):
        one = slice(direction, direction + 1)
        both.append(
            scan_tokens_first(
                inputs[:, :, one],
                step[:, :, one],
                A[one],
                B[:, :, one],
                C[:, :, one],
                D[one],
                reverse=direction == 1,
            ).squeeze(2)
        )
    # the gate has no memory: one multiplication serves both directions
    return _gate(both[0] + both[1], z).to(u.dtype)


def scan_tokens_first(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """Scan in the layout that the chunked form computes in, without conversions around it.

    Parameters
    ----------
    u, dt : Tensor
        Input and step size (final: no bias or softplus is applied), float32 or float64,
        ``(length, batch, groups, channels per group)``.
    A : Tensor
        ``(groups, states, channels per group)``.
    B, C : Tensor
        ``(length, batch, groups, states)``.
    D : Tensor, optional
        ``(groups, channels per group)``.
    reverse : bool
        Scan from the last token to the first.

    Returns
    -------
    Tensor
        ``(length, batch, groups, channels per group)``.
    """
    with torch.autocast(u.device.type, enabled=False):
        result: Tensor = _ChunkedScan.apply(u, dt, A, B, C, D, reverse)
    return result


class _ChunkedScan(torch.autograd.Function):
    """`scan_tokens_first` with a gradient that keeps one state per chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        reverse: bool,
    ) -> Tensor:
        length, batch = u.shape[:2]
        chunk = _chunk_length(length, batch * A.numel())
        y = u.new_empty(u.shape)
        shape = (chunk, batch, *A.shape)
        decay, h = u.new_empty(shape), u.new_empty(shape)
        state = u.new_zeros(shape[1:])
        first_states = []
        for part in _chunks(length, chunk, reverse):
            first_states.append(state)
            size = part.stop - part.start
            _states(
                dt[part], dt[part] * u[part], A, B[part], state, reverse, decay[:size], h[:size]
            )
            torch.matmul(C[part].unsqueeze(-2), h[:size], out=y[part].unsqueeze(-2))
            if D is not None:
                y[part].addcmul_(u[part], D)
            state = h[0 if reverse else size - 1].clone()
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(u, dt, A, B, C, D, *first_states)
            ctx.chunk, ctx.reverse = chunk, reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, A, B, C, D, *first_states = ctx.saved_tensors
        with torch.autocast(u.device.type, enabled=False):
            return _scan_gradients(
                grad_y.to(u.dtype), u, dt, A, B, C, D, first_states, ctx.chunk, ctx.reverse
            )


def _scan_gradients(
    grad_y: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    first_states: list[Tensor],
    chunk: int,
    reverse: bool,
) -> tuple[Tensor | None, ...]:
    """Go through the chunks in the opposite order: states again, then their gradients."""
    length, batch = u.shape[:2]
    grad_u, grad_dt = u.new_empty(u.shape), u.new_empty(u.shape)
    grad_A, grad_B, grad_C = torch.zeros_like(A), B.new_empty(B.shape), C.new_empty(C.shape)
    grad_D = None if D is None else torch.zeros_like(D)
    shape = (chunk, batch, *A.shape)
    decay, h, grad_h, work = (u.new_empty(shape) for _ in range(4))
    carry = u.new_zeros(shape[1:])  # decay[t+1] dL/dh[t+1] of the chunk done before
    parts = _chunks(length, chunk, reverse)
    for part, first_state in zip(reversed(parts), reversed(first_states), strict=True):
        size = part.stop - part.start
        a, s, g, w = decay[:size], h[:size], grad_h[:size], work[:size]
        part_u, part_dt, gy = u[part], dt[part], grad_y[part]
        dtu = part_dt * part_u
        _states(part_dt, dtu, A, B[part], first_state, reverse, a, s)
        torch.matmul(gy.unsqueeze(-2), s.mT, out=grad_C[part].unsqueeze(-2))
        # dL/dh[t] = C[t] dL/dy[t] + decay[t+1] dL/dh[t+1]
        torch.mul(C[part].unsqueeze(-1), gy.unsqueeze(-2), out=g)
        order = range(size) if reverse else range(size - 1, -1, -1)
        gs, decays = g.unbind(0), a.unbind(0)
        gs[order[0]].add_(carry)
        for after, now in itertools.pairwise(order):
            gs[now].addcmul_(decays[after], gs[after])
        torch.mul(decays[order[-1]], gs[order[-1]], out=carry)
        torch.matmul(dtu.unsqueeze(-2), g.mT, out=grad_B[part].unsqueeze(-2))
        grad_dtu = torch.matmul(B[part].unsqueeze(-2), g).squeeze(-2)
        # w = dL/d(dt A) = dL/dh[t] decay[t] h[t-1]
        torch.mul(a, g, out=w)
        previous = s[1:] if reverse else s[:-1]
        (w[:-1] if reverse else w[1:]).mul_(previous)
        w[-1 if reverse else 0].mul_(first_state)
        torch.mul(w, part_dt.unsqueeze(-2), out=g)
        grad_A += g.sum((0, 1))
        torch.sum(w.mul_(A), -2, out=grad_dt[part])
        grad_dt[part].addcmul_(grad_dtu, part_u)
        torch.mul(grad_dtu, part_dt, out=grad_u[part])
        if D is not None and grad_D is not None:
            grad_u[part].addcmul_(gy, D)
            grad_D += (gy * part_u).sum((0, 1))
    return grad_u, grad_dt, grad_A, grad_B, grad_C, grad_D, None


def _states(
    dt: Tensor,
    dtu: Tensor,
    A: Tensor,
    B: Tensor,
    state: Tensor,
    reverse: bool,
    decay: Tensor,
    h: Tensor,
) -> None:
    """Fill ``decay`` and ``h`` (tokens, batch, groups, states, channels) of one chunk."""
    # torch computes exp2 about three times as fast as exp on a CPU
    torch.mul(dt.unsqueeze(-2), A * _LOG2_E, out=decay).exp2_()
    torch.mul(B.unsqueeze(-1), dtu.unsqueeze(-2), out=h)
    steps = zip(decay.unbind(0), h.unbind(0), strict=True)
    for a, b in reversed(list(steps)) if reverse else steps:
        b.addcmul_(a, state)
        state = b


def _chunks(length: int, chunk: int, reverse: bool) -> list[slice]:
    parts = [slice(start, min(start + chunk, length)) for start in range(0, length, chunk)]
    return parts[::-1] if reverse else parts


def _chunk_length(length: int, elements_per_token: int) -> int:
    """Return as many tokens as keep a buffer in the cache, at least 8 if there are as many."""
    return min(length, max(8, _BUFFER_ELEMENTS // elements_per_token))


def _working_type(u: Tensor) -> torch.dtype:
    # as in mamba-ssm: half precision is scanned in single precision, for errors add up over tokens
    return torch.float64 if u.dtype == torch.float64 else torch.float32


def _step_size(
    dt: Tensor, dt_bias: Tensor | None, dt_softplus: bool, dtype: torch.dtype
) -> Tensor:
    step = dt.to(dtype)
    if dt_bias is not None:
        step = step + dt_bias.to(dtype)[:, None]
    return F.softplus(step) if dt_softplus else step


def _tokens_first(x: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """(batch, groups * k, length) or (batch, groups, k, length) -> (length, batch, groups, k)."""
    x = x.to(dtype)
    x = x if x.dim() == 4 else x.unflatten(1, (groups, -1))
    return x.permute(3, 0, 1, 2).contiguous()  # channels side by side: twice as fast with the copy


@functools.cache
def _import_mamba_ssm() -> Callable[..., Tensor] | None:
    try:
        module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    except ImportError:
        return None
    kernel: Callable[..., Tensor] = module.selective_scan_fn
    return kernel


def _mamba_ssm(u: Tensor) -> Callable[..., Tensor] | None:
    """Return the kernel of mamba-ssm if it can take this input: on CUDA, at most float32."""
    takes = u.device.type == "cuda" and u.dtype != torch.float64
    return _import_mamba_ssm() if takes else None


def _scan_on_cuda(
    kernel: Callable[..., Tensor],
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
    reverse: bool,
) -> Tensor:
    """Call mamba-ssm's kernel, which wants activations of one type and parameters in float32."""
    activations = [None if x is None else x.to(u.dtype) for x in (u, dt, B, C, z)]
    if reverse:
        activations = [None if x is None else x.flip(-1) for x in activations]
    u_, dt_, B_, C_, z_ = activations
    A_, D_, dt_bias_ = (None if p is None else p.float() for p in (A, D, dt_bias))
    y = kernel(u_, dt_, A_, B_, C_, D_, z_, dt_bias_, dt_softplus)
    return y.flip(-1) if reverse else y


def _bidirectional_on_cuda(
    kernel: Callable[..., Tensor],
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    dt_bias: Tensor,
) -> Tensor:
    """Let mamba-ssm's kernel scan the two directions as two groups of channels."""

    def in_order(x: Tensor) -> Tensor:  # -> (batch, 2, k, length), as each direction goes
        return torch.stack((x[:, :, 0], x[:, :, 1].flip(0))).permute(2, 0, 3, 1).contiguous()

    y = _scan_on_cuda(
        kernel,
        in_order(u).flatten(1, 2),
        in_order(dt).flatten(1, 2),
        A.transpose(1, 2).flatten(0, 1).contiguous(),
        in_order(B),
        in_order(C),
        D.flatten(),
        None,
        dt_bias.flatten(),
        dt_softplus=True,
        reverse=False,
    ).unflatten(1, (2, -1))
    y = (y[:, 0] + y[:, 1].flip(-1)).permute(2, 0, 1)
    return _gate(y, z).to(u.dtype)


def _per_channel(x: Tensor, channels: int) -> Tensor:
    """(batch, [groups,] states, length) -> (batch, channels or 1, states, length)."""
    if x.dim() == 3:
        return x[:, None]
    return x.repeat_interleave(channels // x.shape[1], dim=1)


def _gate(y: Tensor, z: Tensor | None) -> Tensor:
    return y if z is None else y * F.silu(z.to(y.dtype))


def _check_shapes(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
) -> None:
    if u.dim() != 3 or u.shape[-1] < 1:
        raise ValueError(f"u must be (batch, channels, length >= 1), got {tuple(u.shape)}")
    batch, channels, length = u.shape
    if A.dim() != 2 or A.shape[0] != channels:
        raise ValueError(f"A must be ({channels}, states), got {tuple(A.shape)}")
    groups = (B.shape[1],) if B.dim() == 4 else ()
    if groups and (groups[0] < 1 or channels % groups[0]):
        raise ValueError(f"{channels} channels do not divide into {groups[0]} groups")
    wanted = {
        "dt": (dt, tuple(u.shape)),
        "B": (B, (batch, *groups, A.shape[1], length)),
        "C": (C, (batch, *groups, A.shape[1], length)),
        "D": (D, (channels,)),
        "z": (z, tuple(u.shape)),
        "dt_bias": (dt_bias, (channels,)),
    }
    _check_wanted(wanted)


def _check_bidirectional(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    dt_bias: Tensor,
) -> None:
    if u.dim() != 4 or u.shape[0] < 1 or u.shape[2] != 2:
        raise ValueError(f"u must be (length >= 1, batch, 2, channels), got {tuple(u.shape)}")
    length, batch, _, channels = u.shape
    if A.dim() != 3 or A.shape[0] != 2 or A.shape[2] != channels:
        raise ValueError(f"A must be (2, states, {channels}), got {tuple(A.shape)}")
    wanted = {
        "dt": (dt, tuple(u.shape)),
        "B": (B, (length, batch, 2, A.shape[1])),
        "C": (C, (length, batch, 2, A.shape[1])),
        "D": (D, (2, channels)),
        "z": (z, (length, batch, channels)),
        "dt_bias": (dt_bias, (2, channels)),
    }
    _check_wanted(wanted)


def _check_wanted(wanted: Mapping[str, tuple[Tensor | None, tuple[int, ...]]]) -> None:
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")
