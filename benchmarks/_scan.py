"""The bidirectional selective scan, and its gradient, against the forms that it replaces.

The size is that of the paper's network: 18,432 tokens, 256 channels, 16 states, one sequence.
Every form gets the same numbers in the layout that suits it and does all that the middle of a
Vision Mamba layer does: softplus of the steps, both directions, their sum, the gate. Calls are
interleaved in one process; values are ratios of medians.

``textbook``
    A loop over the tokens, as in the reference implementation of mamba-ssm, once per direction.
``chunked``
    `selective_scan_chunked`, plain torch in mamba-ssm's layout, once per direction.
``chunked_tokens_first``
    `bidirectional_scan_chunked`: the same arithmetic in the kernel's layout. No target; it shows
    what is due to the layout.
``conv1d``
    For the convolution: torch's grouped ``conv1d`` and ``silu``, once per direction.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import THREADS, print_rows, run_alone
from benchmarks._paper import textbook_scan
from radar_pose_ros.measurements import result
from radar_pose_ros.models.ops import native
from radar_pose_ros.models.ops.causal_conv import bidirectional_conv
from radar_pose_ros.models.ops.selective_scan import (
    bidirectional_scan,
    bidirectional_scan_chunked,
    selective_scan_chunked,
)

LENGTH, CHANNELS, STATES = 18_432, 256, 16
_NAMES = ("u", "dt", "A", "B", "C", "D", "z", "dt_bias")


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure in a process of its own."""
    return run_alone("benchmarks._scan", quick)


def measure(quick: bool) -> list[dict[str, Any]]:
    """Return the rows; with ``quick`` for a tenth of the tokens."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    length = LENGTH // 10 if quick else LENGTH
    arguments = _arguments(length)
    directions = [_one_direction(arguments, direction) for direction in range(2)]

    def per_direction(scan: Callable[[dict[str, Tensor]], Tensor]) -> Tensor:
        forward, backward = (scan(one) for one in directions)
        return forward + backward.flip(-1)

    half = [x.bfloat16() if x.dim() > 2 and len(x) == length else x for x in arguments]
    x, weight, bias = arguments[6], torch.randn(2, CHANNELS, 4), torch.randn(2, CHANNELS)
    with torch.no_grad():
        error = per_direction(_textbook).permute(2, 0, 1) - bidirectional_scan(*arguments)
        forward = _medians_ms(
            {
                "kernel": partial(bidirectional_scan, *arguments),
                "bfloat16": partial(bidirectional_scan, *half),
                "conv": partial(bidirectional_conv, x, weight, bias),
                "conv1d": partial(_conv1d, x.permute(1, 2, 0).contiguous(), weight, bias),
                "chunked_tokens_first": partial(bidirectional_scan_chunked, *arguments),
                "chunked": partial(per_direction, _chunked),
                "textbook": partial(per_direction, _textbook),
            },
            turns=3,
        )
    for x in arguments:
        x.requires_grad_()
    directions = [
        {name: x.detach().requires_grad_() for name, x in one.items()} for one in directions
    ]
    inputs = [x for one in directions for x in one.values()]
    gradient = _medians_ms(
        {
            "kernel": lambda: _gradient(bidirectional_scan(*arguments), arguments),
            "chunked_tokens_first": lambda: _gradient(
                bidirectional_scan_chunked(*arguments), arguments
            ),
            "chunked": lambda: _gradient(per_direction(_chunked), inputs),
        },
        turns=3,
    )
    instructions = native.describe().partition(",")[0]
    size = f"{length} tokens, {CHANNELS} channels, {STATES} states, {THREADS} threads"
    rows = []
    for name, times_ms, peer, target in (
        ("speedup_vs_textbook", forward, "textbook", 120.0),
        ("speedup_vs_chunked", forward, "chunked", 12.0),
        ("speedup_vs_chunked_tokens_first", forward, "chunked_tokens_first", None),
        ("gradient_speedup_vs_autograd", gradient, "chunked", 5.0),
        ("gradient_speedup_vs_chunked_tokens_first", gradient, "chunked_tokens_first", None),
    ):
        against = f"{peer}: {times_ms[peer]:.4g} ms, kernel {times_ms['kernel']:.3g} ms, {size}"
        ratio = times_ms[peer] / times_ms["kernel"]
        rows.append(result(f"scan.{name}", ratio, "x", target, against))
    against = f"conv1d: {forward['conv1d']:.3g} ms, kernel {forward['conv']:.3g} ms"
    ratio = forward["conv1d"] / forward["conv"]
    rows.append(result("scan.conv_speedup_vs_conv1d", ratio, "x", None, against))
    for name, value in (("time", forward["kernel"]), ("time_bfloat16", forward["bfloat16"])):
        rows.append(result(f"scan.{name}", value, "ms", None, f"{instructions}, {size}"))
    largest = float(error.abs().max() / bidirectional_scan(*arguments).detach().abs().max())
    rows.append(
        result("scan.error", largest, "", 1e-5, "difference from textbook / largest value")
    )
    return rows


def _arguments(length: int) -> list[Tensor]:
    """Return u, dt, A, B, C, D, z, dt_bias of `bidirectional_scan`, directions first in memory."""

    def activations(k: int) -> Tensor:
        return torch.randn(2, length, 1, k).permute(1, 2, 0, 3)

    decay_rates = -torch.arange(1.0, STATES + 1)[:, None].repeat(2, 1, CHANNELS)
    return [
        activations(CHANNELS),
        activations(CHANNELS),
        decay_rates,
        activations(STATES),
        activations(STATES),
        torch.randn(2, CHANNELS),
        torch.randn(length, 1, CHANNELS),
        torch.full((2, CHANNELS), -4.0),  # steps around 0.02
    ]


def _one_direction(arguments: list[Tensor], direction: int) -> dict[str, Tensor]:
    """Return the arguments of one direction in mamba-ssm's layout, in the order of its scan."""
    u, dt, A, B, C, D, z, dt_bias = arguments

    def activation(x: Tensor) -> Tensor:
        one = (x[:, :, direction] if x.dim() == 4 else x).permute(1, 2, 0)
        return (one.flip(-1) if direction else one).contiguous()

    return {
        **{name: activation(x) for name, x in zip("uBCz", (u, B, C, z), strict=True)},
        "dt": activation(dt),
        "A": A[direction].t().contiguous(),
        "D": D[direction],
        "dt_bias": dt_bias[direction],
    }


def _textbook(one: dict[str, Tensor]) -> Tensor:
    step = F.softplus(one["dt"] + one["dt_bias"][:, None])
    return textbook_scan(one["u"], step, *(one[name] for name in "ABCDz"))


def _chunked(one: dict[str, Tensor]) -> Tensor:
    u, dt, A, B, C, D, z, dt_bias = (one[name] for name in _NAMES)
    return selective_scan_chunked(u, dt, A, B, C, D, z, dt_bias, dt_softplus=True)


def _conv1d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    def one(x: Tensor, direction: int) -> Tensor:
        padded, taps = F.pad(x, (3, 0)), weight[direction, :, None]
        return F.silu(F.conv1d(padded, taps, bias[direction], groups=CHANNELS))

    return torch.stack((one(x, 0), one(x.flip(-1), 1).flip(-1)))


def _gradient(y: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(y.sum(), inputs)


def _medians_ms(forms: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Call what is fast more often in its turn: at most for a second."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(turns):
        for name, form in forms.items():
            end = time.perf_counter() + 1
            while True:
                start = time.perf_counter()
                form()
                now = time.perf_counter()
                times[name].append(1e3 * (now - start))
                if now >= end or len(times[name]) % 10 == 0:
                    break
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    print_rows(measure)
