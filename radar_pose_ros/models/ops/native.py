"""The compiled kernels for CPUs (``src/``), if they have been built.

They are looked for in this order: the file that ``RADAR_POSE_KERNELS`` names (``off`` for none),
the installation or workspace that this module belongs to, the prefixes in ``AMENT_PREFIX_PATH``.
Without them everything works, in plain torch.

`scan` and `conv` compute what `selective_scan` and `causal_conv` define, with gradients; `deform`
and `sample` do the same for `deformable_conv`, `line_maxima` for `epipolar`, `ssd` for `ssd`. The
structures here are those of ``src/kernels.h``.
"""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LIBRARY = "libradar_pose_kernels.so"
ENVIRONMENT = "RADAR_POSE_KERNELS"

_VERSION = 1  # of the interface: radar_pose_kernels_version()
MAX_TAPS = 16
"""The longest kernel that `conv` can take."""

MAX_GROUPS = 63
"""The most groups that `scan` can take."""

_FRAME = 2  # rows and columns of zeros around the input of `deform` and `sample`


class _Rows(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("row", ctypes.c_int64),
        ("group", ctypes.c_int64),
    )


class _ScanArguments(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("length", "batch", "groups", "channels", "states")),
        *((name, ctypes.c_int64) for name in ("reversed", "softplus", "bfloat16", "threads")),
        *((name, _Rows) for name in ("u", "dt", "B", "C", "z", "y", "ungated")),
        *((name, ctypes.c_void_p) for name in ("A", "D", "dt_bias", "checkpoints")),
        ("parts", ctypes.c_int64),
        *((name, _Rows) for name in ("grad_y", "grad_u", "grad_dt", "grad_z")),
        *((name, ctypes.c_void_p) for name in ("grad_B", "grad_C")),
        *((name, ctypes.c_void_p) for name in ("grad_A", "grad_D", "grad_dt_bias")),
    )


class _ConvArguments(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("length", "batch", "channels", "taps")),
        *((name, ctypes.c_int64) for name in ("bfloat16", "threads")),
        *((name, _Rows) for name in ("x", "y")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias")),
        *((name, _Rows) for name in ("grad_y", "grad_x")),
        *((name, ctypes.c_void_p) for name in ("grad_weight", "grad_bias")),
    )


class _SampleArguments(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "channels", "groups", "outputs")),
        *((name, ctypes.c_int64) for name in ("height", "width", "kernel", "dilation")),
        *((name, ctypes.c_int64) for name in ("halved", "threads")),
        *((name, ctypes.c_void_p) for name in ("x", "offset", "weight", "y", "columns")),
        *((name, ctypes.c_void_p) for name in ("grad_columns", "grad_x", "grad_offset")),
    )


class _LineArguments(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("maps", "targets", "channels", "height", "width")),
        *((name, ctypes.c_int64) for name in ("target_height", "target_width", "threads")),
        ("tolerance", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("table", "fundamental", "y")),
    )


class _SsdArguments(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "length", "heads", "size", "groups")),
        *((name, ctypes.c_int64) for name in ("states", "threads")),
        *((name, ctypes.c_void_p) for name in ("x", "dt", "A", "B", "C", "D", "y")),
    )


def available() -> bool:
    """Whether the kernels can be used."""
    return not isinstance(_library(), str)


def offers(name: str) -> bool:
    """Whether the kernels can be used and have this one, which an earlier build may lack."""
    library = _library()
    return not isinstance(library, str) and hasattr(library, f"radar_pose_{name}")


def describe() -> str:
    """Say which instruction set the kernels use and where they are, or why there are none."""
    library = _library()
    if isinstance(library, str):
        return library
    return f"{library.radar_pose_instruction_set().decode()}, {library._name}"


def use(instruction_set: str) -> bool:
    """Change to another instruction set, to test it; return whether this processor has it.

    Parameters
    ----------
    instruction_set : {"AVX-512", "AVX2", "plain"}
        By default it is the first of these that the processor has.
    """
    return bool(_loaded().radar_pose_use(instruction_set.encode()))


def working_type(
    activations: Sequence[Tensor | None], parameters: Sequence[Tensor | None] = ()
) -> torch.dtype | None:
    """Return the type in which the kernels can take these activations, or None if they cannot.

    They work on a CPU, in float32 with gradients or, with half the memory traffic, in bfloat16
    without. Mixed types, as under autocast, and half precision with gradients go through float32.
    Parameters may have any type; they count only for whether there will be a gradient.
    """
    given = [tensor for tensor in activations if tensor is not None]
    types = {tensor.dtype for tensor in given}
    on_cpu = all(tensor.device.type == "cpu" for tensor in given)
    if not (on_cpu and types <= {torch.float32, torch.bfloat16, torch.float16} and available()):
        return None
    learns = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (*given, *parameters)
    )
    return torch.bfloat16 if types == {torch.bfloat16} and not learns else torch.float32


def scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    dt_softplus: bool,
    reverse: tuple[bool, ...],
    add_up: bool,
) -> Tensor:
    """Scan groups of channels, each in its own direction; for tensors in their `working_type`.

    Parameters
    ----------
    u, dt : Tensor
        ``(length, batch, groups, channels)``.
    A : Tensor
        float32, ``(groups, states, channels)``.
    B, C : Tensor
        ``(length, batch, groups, states)``.
    D, dt_bias : Tensor, optional
        float32, ``(groups, channels)``.
    z : Tensor, optional
        Gate, in the shape of the result.
    dt_softplus : bool
        Whether ``softplus`` is applied to ``dt + dt_bias``.
    reverse : tuple of bool
        For each group, whether it is scanned from the last token to the first.
    add_up : bool
        Whether the groups are added up, before the gate.

    Returns
    -------
    Tensor
        ``(length, batch, groups, channels)``, or ``(length, batch, channels)`` if they are added
        up; in the type of ``u``.
    """
    D, dt_bias = (None if p is None else p.float() for p in (D, dt_bias))
    result: Tensor = _Scan.apply(
        u, dt, A.float(), B, C, D, z, dt_bias, dt_softplus, reverse, add_up
    )
    return result


def conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute `causal_conv.bidirectional_conv`, for x in its `working_type`."""
    # the kernel wants the present token's tap first and neighbouring channels side by side
    taps_first = weight.float().flip(-1).transpose(1, 2).contiguous()
    result: Tensor = _Conv.apply(x, taps_first, bias.float().contiguous())
    return result


def deform(x: Tensor, offset: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Compute `deformable_conv.deformable_conv`, for float32 on a CPU and without a gradient.

    The offset may have half as many rows and columns as x, which then must have even ones.
    """
    outputs, _, kernel, _ = weight.shape
    x, offset, weight = F.pad(x, (_FRAME,) * 4), offset.contiguous(), weight.contiguous()
    arguments = _sample_arguments(x, offset, kernel, dilation)
    y = x.new_empty(len(x), outputs, arguments.height, arguments.width)
    arguments.outputs = outputs
    arguments.halved = offset.shape[2] != arguments.height
    arguments.weight, arguments.y = _address(weight), _address(y)
    _loaded().radar_pose_deform_forward(ctypes.byref(arguments))
    return y


def sample(x: Tensor, offset: Tensor, kernel: int, dilation: int) -> Tensor:
    """Compute `deformable_conv.sample`, for float32 on a CPU and without a gradient."""
    columns = x.new_empty(*x.shape[:2], kernel * kernel, *x.shape[2:])
    x, offset = F.pad(x, (_FRAME,) * 4), offset.contiguous()
    arguments = _sample_arguments(x, offset, kernel, dilation)
    arguments.columns = _address(columns)
    _loaded().radar_pose_sample_forward(ctypes.byref(arguments))
    return columns


def sample_gradients(
    x: Tensor, offset: Tensor, kernel: int, dilation: int, grad_columns: Tensor, by_x: bool
) -> tuple[Tensor | None, Tensor]:
    """Return the gradients of `sample` by ``x``, if wanted, and ``offset``, given its result's."""
    x, offset = F.pad(x, (_FRAME,) * 4), offset.contiguous()
    grad_columns = grad_columns.contiguous()
    grad_x, grad_offset = torch.zeros_like(x) if by_x else None, torch.empty_like(offset)
    arguments = _sample_arguments(x, offset, kernel, dilation)
    arguments.grad_columns = _address(grad_columns)
    arguments.grad_x = None if grad_x is None else _address(grad_x)
    arguments.grad_offset = _address(grad_offset)
    _loaded().radar_pose_sample_backward(ctypes.byref(arguments))
    if grad_x is not None:
        grad_x = grad_x[..., _FRAME:-_FRAME, _FRAME:-_FRAME]
    return grad_x, grad_offset


def line_maxima(
    source: Tensor, fundamental: Tensor, size: tuple[int, int], tolerance: float
) -> Tensor:
    """Compute `epipolar.epipolar_maximum`, for float32 on a CPU and without a gradient.

    Parameters
    ----------
    source : Tensor
        float32, ``(maps, channels, rows, columns)``.
    fundamental : Tensor
        float64, ``(maps, targets, 3, 3)``.
    size : tuple of int
        Rows and columns of the targets.
    tolerance : float
        Below this share of what it is the sum of, a number of a line counts as 0.

    Returns
    -------
    Tensor
        ``(maps, targets, channels, *size)``.
    """
    maps, channels, height, width = source.shape
    targets = fundamental.shape[1]
    padded = -(-channels // 16) * 16  # the longest vectors
    # a row per pixel, one more for what is outside
    table = source.new_zeros(maps, height * width + 1, padded)
    table[:, :-1, :channels] = source.flatten(2).transpose(1, 2)
    fundamental = fundamental.contiguous()
    y = source.new_empty(maps, targets, *size, padded)
    arguments = _LineArguments(
        maps=maps,
        targets=targets,
        channels=padded,
        height=height,
        width=width,
        target_height=size[0],
        target_width=size[1],
        threads=torch.get_num_threads(),
        tolerance=tolerance,
        table=_address(table),
        fundamental=_address(fundamental),
        y=_address(y),
    )
    _loaded().radar_pose_line_maxima(ctypes.byref(arguments))
    return y[..., :channels].permute(0, 1, 4, 2, 3)


def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None) -> Tensor:
    """Compute `ssd.ssd`, for float32 on a CPU and without a gradient."""
    x, dt, A, B, C = (value.contiguous() for value in (x, dt, A, B, C))
    D = None if D is None else D.contiguous()
    batch, length, heads, size = x.shape
    y = torch.empty_like(x)
    arguments = _SsdArguments(
        batch=batch,
        length=length,
        heads=heads,
        size=size,
        groups=B.shape[2],
        states=B.shape[3],
        threads=torch.get_num_threads(),
        x=_address(x),
        dt=_address(dt),
        A=_address(A),
        B=_address(B),
        C=_address(C),
        D=_address(D),
        y=_address(y),
    )
    _loaded().radar_pose_ssd_forward(ctypes.byref(arguments))
    return y


@functools.cache
def _library() -> ctypes.CDLL | str:
    """Load the library once; where that is not possible, return why not.

    If it is one that was asked for, that is also said as a warning.
    """
    found = _find_library()
    named = os.environ.get(ENVIRONMENT, "")
    if isinstance(found, str) and named not in ("", "off"):
        warnings.warn(f"no compiled kernels, plain torch instead: {found}", stacklevel=2)
    return found


def _find_library() -> ctypes.CDLL | str:
    named = os.environ.get(ENVIRONMENT, "")
    if named == "off":
        return f"switched off ({ENVIRONMENT}=off)"
    path = next((path for path in _candidates(named) if path.is_file()), None)
    if path is None:
        return f"{named} is no file ({ENVIRONMENT})" if named else f"{LIBRARY} has not been built"
    try:
        library = ctypes.CDLL(str(path))
        version = library.radar_pose_kernels_version()
    except (OSError, AttributeError) as error:
        return f"{path} cannot be loaded: {error}"
    if version != _VERSION:
        return f"{path} has interface {version}, {_VERSION} is needed: build it again"
    library.radar_pose_instruction_set.restype = ctypes.c_char_p
    library.radar_pose_scan_checkpoints.restype = ctypes.c_int64
    return library


def _candidates(named: str) -> Iterator[Path]:
    if named:
        yield Path(named)
        return
    module = Path(__file__).resolve()
    yield module.parents[3] / ".ws" / "install" / "radar_pose_ros" / "lib" / LIBRARY
    # <prefix>/lib/python3.x/site-packages/radar_pose_ros/models/ops/native.py
    yield from (folder / LIBRARY for folder in module.parents if folder.name == "lib")
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix:
            yield Path(prefix) / "lib" / LIBRARY


def _loaded() -> ctypes.CDLL:
    library = _library()
    if isinstance(library, str):
        raise RuntimeError(f"no compiled kernels: {library}")
    return library


def _as_rows(x: Tensor) -> Tensor:
    """Return the tensor ``(length, batch, ..., k)`` as `_rows` can describe it; rarely a copy."""
    length, batch = x.shape[:2]
    in_step = length == 1 or batch == 1 or x.stride(0) == batch * x.stride(1)
    return x if in_step and (x.stride(-1) == 1 or x.shape[-1] == 1) else x.contiguous()


def _rows(x: Tensor | None) -> _Rows:
    if x is None:
        return _Rows(None, 0, 0)
    row = x.stride(1) if x.shape[1] > 1 else x.stride(0)
    return _Rows(x.data_ptr(), row, x.stride(2) if x.dim() == 4 else 0)


def _address(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _scan_arguments(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    ungated: Tensor | None,
    checkpoints: Tensor | None,
    softplus: bool,
    reverse: tuple[bool, ...],
) -> _ScanArguments:
    length, batch, groups, channels = u.shape
    return _ScanArguments(
        length=length,
        batch=batch,
        groups=groups,
        channels=channels,
        states=A.shape[1],
        reversed=sum(flag << group for group, flag in enumerate(reverse)),
        softplus=softplus,
        bfloat16=u.dtype == torch.bfloat16,
        threads=torch.get_num_threads(),
        u=_rows(u),
        dt=_rows(dt),
        B=_rows(B),
        C=_rows(C),
        z=_rows(z),
        ungated=_rows(ungated),
        A=_address(A),
        D=_address(D),
        dt_bias=_address(dt_bias),
        checkpoints=_address(checkpoints),
    )


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        z: Tensor | None,
        dt_bias: Tensor | None,
        softplus: bool,
        reverse: tuple[bool, ...],
        add_up: bool,
    ) -> Tensor:
        library = _loaded()
        u, dt, B, C = (_as_rows(x) for x in (u, dt, B, C))
        z = None if z is None else _as_rows(z)
        A = A.contiguous()
        D, dt_bias = (None if p is None else p.contiguous() for p in (D, dt_bias))
        tensors = (u, dt, A, B, C, D, z, dt_bias)
        y = u.new_empty((*u.shape[:2], u.shape[3]) if add_up else u.shape)
        learns = any(ctx.needs_input_grad)
        # sums of half precision would lose what they are made of
        keeps_sum = (learns and z is not None) or (add_up and u.dtype != torch.float32)
        ungated = y.new_empty(y.shape, dtype=torch.float32) if keeps_sum else None
        arguments = _scan_arguments(*tensors, ungated, None, softplus, reverse)
        arguments.y = _rows(y)
        if learns:
            checkpoints = u.new_empty(library.radar_pose_scan_checkpoints(ctypes.byref(arguments)))
            arguments.checkpoints = _address(checkpoints)
            ctx.save_for_backward(*tensors, ungated, checkpoints)
            ctx.options = (softplus, reverse)
        library.radar_pose_scan_forward(ctypes.byref(arguments))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # once: hooks may make new tensors at every access
        u, dt, A, _, _, D, z, dt_bias, _, _ = saved
        grad_y = _as_rows(grad_y)
        length, batch, groups, channels = u.shape
        # Several sequences are work enough for the threads; one is split by channels.
        parts = 1 if batch > 1 else min(2, -(-channels // 16))
        grad_u, grad_dt = torch.empty_like(u), torch.empty_like(dt)
        grad_z = None if z is None else torch.empty_like(z)
        grad_B, grad_C = (u.new_empty(parts, length, batch, groups, A.shape[1]) for _ in range(2))
        grad_A = A.new_empty(batch, *A.shape)
        grad_D, grad_dt_bias = (
            None if p is None else p.new_empty(batch, *p.shape) for p in (D, dt_bias)
        )
        arguments = _scan_arguments(*saved, *ctx.options)
        arguments.parts = parts
        arguments.grad_y = _rows(grad_y)
        arguments.grad_u, arguments.grad_dt = _rows(grad_u), _rows(grad_dt)
        arguments.grad_z = _rows(grad_z)
        arguments.grad_B, arguments.grad_C = _address(grad_B), _address(grad_C)
        arguments.grad_A, arguments.grad_D = _address(grad_A), _address(grad_D)
        arguments.grad_dt_bias = _address(grad_dt_bias)
        _loaded().radar_pose_scan_backward(ctypes.byref(arguments))
        return (
            grad_u,
            grad_dt,
            grad_A.sum(0),
            grad_B.sum(0) if parts > 1 else grad_B[0],
            grad_C.sum(0) if parts > 1 else grad_C[0],
            None if grad_D is None else grad_D.sum(0),
            grad_z,
            None if grad_dt_bias is None else grad_dt_bias.sum(0),
            *(None, None, None),
        )


def _conv_arguments(x: Tensor, taps: Tensor, bias: Tensor) -> _ConvArguments:
    length, batch, channels = x.shape
    return _ConvArguments(
        length=length,
        batch=batch,
        channels=channels,
        taps=taps.shape[1],
        bfloat16=x.dtype == torch.bfloat16,
        threads=torch.get_num_threads(),
        x=_rows(x),
        weight=_address(taps),
        bias=_address(bias),
    )


def _sample_arguments(
    framed: Tensor, offset: Tensor, kernel: int, dilation: int
) -> _SampleArguments:
    batch, channels, height, width = framed.shape
    return _SampleArguments(
        batch=batch,
        channels=channels,
        groups=offset.shape[1] // (2 * kernel * kernel),
        height=height - 2 * _FRAME,
        width=width - 2 * _FRAME,
        kernel=kernel,
        dilation=dilation,
        threads=torch.get_num_threads(),
        x=_address(framed),
        offset=_address(offset),
    )


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        x = _as_rows(x)
        length, batch, channels = x.shape
        # in memory the directions come first: what follows takes them one by one
        y = x.new_empty(2, length, batch, channels).permute(1, 2, 0, 3)
        arguments = _conv_arguments(x, taps, bias)
        arguments.y = _rows(y)
        ctx.save_for_backward(x, taps, bias)
        _loaded().radar_pose_conv_forward(ctypes.byref(arguments))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, taps, bias = ctx.saved_tensors
        grad_y = _as_rows(grad_y)
        grad_x = torch.empty_like(x)
        grad_taps = x.new_empty(x.shape[1], *taps.shape)
        grad_bias = x.new_empty(x.shape[1], *bias.shape)
        arguments = _conv_arguments(x, taps, bias)
        arguments.grad_y, arguments.grad_x = _rows(grad_y), _rows(grad_x)
        arguments.grad_weight, arguments.grad_bias = _address(grad_taps), _address(grad_bias)
        _loaded().radar_pose_conv_backward(ctypes.byref(arguments))
        return grad_x, grad_taps.sum(0), grad_bias.sum(0)
