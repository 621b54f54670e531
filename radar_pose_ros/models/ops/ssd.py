"""State space duality: the recurrence of Mamba-2 (Dao and Gu 2024), and its dual, a matrix.

For every head ``h`` with one decay rate ``A``, step ``dt``, input ``x`` of ``p`` numbers and
vectors ``B``, ``C`` of ``n`` numbers::

    S[t] = exp(dt[t] A) S[t-1] + dt[t] x[t] B[t]^T          state, (p, n)
    y[t] = S[t] C[t] + D x[t]

The same without a state, over all pairs of tokens, as attention with a mask of decays::

    Y = (L o C B^T) (dt X) + D X,    L[i, j] = exp(sum of dt A from j + 1 to i), 0 for i < j

Forms with one meaning:

* `ssd_reference` writes the recurrence down, step by step, to be compared with;
* `ssd_quadratic` is the matrix: work and memory grow with the square of the length;
* `ssd_chunked` is the matrix within chunks and the recurrence from chunk to chunk;
* `ssd` is what models call: on CUDA the kernel of mamba-ssm, where it is installed and takes the
  type; on a CPU, without a gradient, the recurrence of the compiled kernels (`native`); else the
  form that is faster at this length.

Shapes and names are those of mamba-ssm's ``mamba_chunk_scan_combined``. Exponents are sums of
terms of one sign, taken as differences of sums in float64, and never of infinite numbers: large
steps lead to zeros, never to NaN, in the gradient neither.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from radar_pose_ros.models.ops import native

Backend = Literal["auto", "reference", "quadratic", "chunked", "compiled", "mamba_ssm"]

# Tokens of a chunk, and up to how many the matrix is taken: on a CPU chunks overtake it at 110 (a
# batch of 8) to 190 tokens (a batch of 1).
CHUNK = 32
QUADRATIC_UP_TO = 128
_KERNEL_CHUNK = 64  # of mamba-ssm's kernel
_LOG2_E = math.log2(math.e)


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Let tokens see those before them, with the fastest form that there is for these tensors.

    Parameters
    ----------
    x : Tensor
        Input, ``(batch, length, heads, head size)``.
    dt : Tensor
        Step size, final and not negative, ``(batch, length, heads)``.
    A : Tensor
        Decay rates, negative, ``(heads,)``.
    B, C : Tensor
        Input and output vectors, ``(batch, length, groups, states)``, where group g serves the
        g-th equal share of the heads.
    D : Tensor, optional
        Weight of the direct path from input to output, ``(heads,)``.
    backend : {"auto", "reference", "quadratic", "chunked", "compiled", "mamba_ssm"}
        Which form; "auto" chooses.

    Returns
    -------
    Tensor
        ``(batch, length, heads, head size)`` in the type of ``x``; half precision is computed in
        single precision.

    Raises
    ------
    ValueError
        If shapes do not belong together, there is no such backend, or it cannot be used here.
    """
    if backend == "auto":
        if _mamba_ssm(x) is not None:
            backend = "mamba_ssm"
        elif _compiled_takes(x, dt, A, B, C, D):
            backend = "compiled"
        else:
            backend = "quadratic" if x.shape[1] <= QUADRATIC_UP_TO else "chunked"
    if backend not in _FORMS:
        raise ValueError(f"backend {backend!r} is none of auto, {', '.join(_FORMS)}")
    return _FORMS[backend](x, dt, A, B, C, D)


def ssd_reference(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None
) -> Tensor:
    """Go step by step; parameters as in `ssd`. float64 stays float64."""
    _check_shapes(x, dt, A, B, C, D)
    kind, share = x.dtype, x.shape[2] // B.shape[2]
    x, dt, A, B, C = _in_working_type(x, dt, A, B, C)
    B, C = B.repeat_interleave(share, dim=2), C.repeat_interleave(share, dim=2)
    state = x.new_zeros(x.shape[0], *x.shape[2:], B.shape[3])  # (batch, heads, head size, states)
    outputs = []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * A)[:, :, None, None]
        driven = (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None, :]
        state = decay * state + driven
        outputs.append((state * C[:, t, :, None, :]).sum(-1))
    return _with_direct_path(torch.stack(outputs, dim=1), x, D).to(kind)


def ssd_quadratic(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None
) -> Tensor:
    """Multiply by the matrix of all pairs of tokens; parameters as in `ssd`."""
    _check_shapes(x, dt, A, B, C, D)
    kind = x.dtype
    with torch.autocast(x.device.type, enabled=False):
        x, dt, A, B, C = _in_working_type(x, dt, A, B, C)
        y = _attend(dt.unsqueeze(-1) * x, _summed(dt, A), B, C)
        return _with_direct_path(y, x, D).to(kind)


def ssd_chunked(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """Go chunk by chunk; parameters as in `ssd`, and how many tokens a chunk has."""
    _check_shapes(x, dt, A, B, C, D)
    kind, length = x.dtype, x.shape[1]
    with torch.autocast(x.device.type, enabled=False):
        x, dt, A, B, C = _in_working_type(x, dt, A, B, C)
        lacking = -length % chunk  # of tokens with a step of 0, which change nothing
        inputs = _in_chunks(dt.unsqueeze(-1) * x, lacking, chunk)
        B, C = (_in_chunks(v, lacking, chunk) for v in (B, C))
        total = _summed(_in_chunks(dt, lacking, chunk), A)
        y = _attend(*(v.flatten(0, 1) for v in (inputs, total, B, C))).view_as(inputs)
        y = y + _from_chunks_before(inputs, total, B, C)
        return _with_direct_path(y.flatten(1, 2)[:, :length], x, D).to(kind)


def _attend(inputs: Tensor, total: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return (L o C B^T) inputs, with the logarithms of decays as `_summed` has them.

    Of (batch, length, heads, head size). L, (batch, heads, length, length), takes one buffer.
    """
    heads, groups = inputs.shape[2], B.shape[2]
    total = total.transpose(1, 2).contiguous()  # (batch, heads, length)
    high = total.to(inputs.dtype)
    low = (total - high).to(inputs.dtype).detach()  # what rounding took: no part of the gradient
    decays = high.unsqueeze(-1) - high.unsqueeze(-2)
    decays.add_(low.unsqueeze(-1)).sub_(low.unsqueeze(-2))
    # added, for filling in a mask takes several times as long
    decays.add_(torch.full_like(decays[0, 0], -math.inf).triu_(1)).exp2_()
    pairs = torch.matmul(C.transpose(1, 2), B.permute(0, 2, 3, 1))
    weights = pairs.unsqueeze(2) * decays.unflatten(1, (groups, heads // groups))
    return torch.matmul(weights.flatten(1, 2), inputs.transpose(1, 2)).transpose(1, 2)


def _from_chunks_before(inputs: Tensor, total: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return what the states before each chunk add to (batch, chunks, tokens, heads, size)."""
    heads, size, groups = inputs.shape[3], inputs.shape[4], B.shape[3]
    shares = (groups, heads // groups)
    kind = inputs.dtype
    until_end = (total[:, :, -1:] - total).to(kind).exp2().unsqueeze(-1)
    # heads of a group side by side: (batch, chunks, groups, heads of it * head size, tokens)
    left = (until_end * inputs).unflatten(3, shares).flatten(4).permute(0, 1, 3, 4, 2)
    added = torch.matmul(left, B.transpose(2, 3)).unflatten(3, (shares[1], size))
    kept = total[:, :, -1].to(kind).exp2().unflatten(2, shares)[..., None, None]
    state = torch.zeros_like(added[:, 0])  # (batch, groups, heads of it, head size, states)
    before = []
    for k in range(inputs.shape[1]):
        before.append(state)
        state = kept[:, k] * state + added[:, k]
    states = torch.stack(before, dim=1).flatten(3, 4)
    seen = torch.matmul(C.transpose(2, 3), states.mT)  # (batch, chunks, groups, tokens, ...)
    seen = seen.transpose(2, 3).reshape(inputs.shape)
    return seen * total.to(kind).exp2().unsqueeze(-1)


def _summed(dt: Tensor, A: Tensor) -> Tensor:
    """Return the sum of dt A up to each token, as a power of 2, float64.

    In float32 the difference of two large sums would not tell small ones between them.
    """
    # torch computes exp2 about three times as fast as exp on a CPU
    return (dt * (A * _LOG2_E)).double().cumsum(-2)


def _in_chunks(x: Tensor, lacking: int, chunk: int) -> Tensor:
    """(batch, length, ...) -> (batch, chunks, tokens, ...), filled up with zeros."""
    padding = (0, 0) * (x.dim() - 2) + (0, lacking)
    return F.pad(x, padding).unflatten(1, (-1, chunk))


def _with_direct_path(y: Tensor, x: Tensor, D: Tensor | None) -> Tensor:
    return y if D is None else torch.addcmul(y, x, D.to(x.dtype).unsqueeze(-1))


def _in_working_type(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return tuple(value.to(dtype) for value in (x, *others))


@functools.cache
def _import_mamba_ssm() -> Callable[..., Tensor] | None:
    try:
        module = importlib.import_module("mamba_ssm.ops.triton.ssd_combined")
    except ImportError:
        return None
    kernel: Callable[..., Tensor] = module.mamba_chunk_scan_combined
    return kernel


def _mamba_ssm(x: Tensor) -> Callable[..., Tensor] | None:
    """Return the kernel of mamba-ssm if it can take this input: on CUDA, at most float32."""
    takes = x.device.type == "cuda" and x.dtype != torch.float64
    return _import_mamba_ssm() if takes else None


def _on_cuda(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None
) -> Tensor:
    """Call mamba-ssm's kernel, which wants activations of one type and parameters in float32."""
    _check_shapes(x, dt, A, B, C, D)
    kernel = _mamba_ssm(x)
    if kernel is None:
        raise ValueError(
            "backend 'mamba_ssm' wants mamba-ssm to be installed and tensors on CUDA of at most "
            f"32 bits, got {x.dtype} on {x.device.type}"
        )
    dt, B, C = (value.to(x.dtype).contiguous() for value in (dt, B, C))
    D = None if D is None else D.float()
    return kernel(x.contiguous(), dt, A.float(), B, C, _KERNEL_CHUNK, D=D)


def _compiled_takes(*arguments: Tensor | None) -> bool:
    """Whether the compiled recurrence can take this: on a CPU, at most float32, no gradient."""
    given = [tensor for tensor in arguments if tensor is not None]
    fit = all(v.device.type == "cpu" and v.dtype != torch.float64 for v in given)
    learns = torch.is_grad_enabled() and any(v.requires_grad for v in given)
    return fit and not learns and native.offers("ssd_forward")


def _compiled(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None
) -> Tensor:
    """Go step by step in the compiled kernels."""
    _check_shapes(x, dt, A, B, C, D)
    if not _compiled_takes(x, dt, A, B, C, D):
        raise ValueError(
            "backend 'compiled' wants the compiled kernels and tensors on a CPU of at most 32 "
            f"bits, without a gradient; got {x.dtype} on {x.device.type}; {native.describe()}"
        )
    D = None if D is None else D.float()
    y = native.ssd(x.float(), dt.float(), A.float(), B.float(), C.float(), D)
    return y.to(x.dtype)


_FORMS: dict[str, Callable[..., Tensor]] = {
    "reference": ssd_reference,
    "quadratic": ssd_quadratic,
    "chunked": ssd_chunked,
    "compiled": _compiled,
    "mamba_ssm": _on_cuda,
}


def _check_shapes(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None
) -> None:
    if x.dim() != 4 or x.shape[1] < 1:
        raise ValueError(f"x must be (batch, length >= 1, heads, size), got {tuple(x.shape)}")
    batch, length, heads, _ = x.shape
    if B.dim() != 4 or B.shape[2] < 1 or heads % B.shape[2]:
        raise ValueError(
            f"B must be (batch, length, groups, states) with groups that {heads} heads divide "
            f"into, got {tuple(B.shape)}"
        )
    wanted = {
        "dt": (dt, (batch, length, heads)),
        "A": (A, (heads,)),
        "B": (B, (batch, length, *B.shape[2:])),
        "C": (C, (batch, length, *B.shape[2:])),
        "D": (D, (heads,)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")
