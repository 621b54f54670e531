"""The scan against published vectors, closed forms, its reference and finite differences."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tolerances import assert_close
from torch import Tensor

from radar_pose_ros.models.ops import selective_scan as ops
from radar_pose_ros.models.ops.causal_conv import causal_conv

FORMS = [ops.selective_scan_reference, ops.selective_scan_chunked, ops.selective_scan]


def inputs(
    dtype: torch.dtype = torch.float64, length: int = 19, groups: int = 2, seed: int = 0
) -> list[Tensor]:
    """Random arguments: two in the batch, three channels per group, five states."""
    generator = torch.Generator().manual_seed(seed)
    batch, channels, states = 2, 3 * groups, 5

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return [
        normal(batch, channels, length),  # u
        normal(batch, channels, length),  # dt
        -normal(channels, states).abs() - 0.1,  # A
        normal(batch, groups, states, length),  # B
        normal(batch, groups, states, length),  # C
        normal(channels),  # D
        normal(batch, channels, length),  # z
        normal(channels),  # dt_bias
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", range(4))
def test_published_vectors(shared_data: Path, form, case: int) -> None:
    """float64 vectors with and without D, z, bias and softplus, of up to 512 tokens."""
    with np.load(shared_data / "vectors" / "selective_scan_float64.npz") as vectors:

        def get(name: str) -> Tensor | None:
            key = f"case{case}_{name}"
            return torch.from_numpy(vectors[key]) if key in vectors else None

        got = form(
            *(get(name) for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")),
            dt_softplus=bool(vectors[f"case{case}_delta_softplus"]),
        )
        assert_close(got.numpy(), get("out").numpy())


@pytest.mark.parametrize("form", FORMS)
def test_constant_input_is_a_geometric_series(form) -> None:
    """u = B = C = 1, dt = 0.1, A = -2: y[t] = 0.1 (1 - q^(t+1)) / (1 - q) with q = exp(-0.2)."""
    ones = torch.ones(1, 1, 50, dtype=torch.float64)
    y = form(ones, 0.1 * ones, torch.full((1, 1), -2.0, dtype=torch.float64), ones, ones)
    q = math.exp(-0.2)
    expected = [0.1 * (1 - q ** (t + 1)) / (1 - q) for t in range(50)]
    assert_close(y[0, 0].numpy(), expected)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("buffer_elements", [1, 1 << 10, 1 << 18])
def test_chunked_equals_reference(
    monkeypatch: pytest.MonkeyPatch, reverse: bool, groups: int, buffer_elements: int
) -> None:
    """Whatever the length of a chunk, also where the last one is shorter."""
    monkeypatch.setattr(ops, "_BUFFER_ELEMENTS", buffer_elements)
    arguments = inputs(length=37, groups=groups)
    expected = ops.selective_scan_reference(*arguments, True, reverse)
    got = ops.selective_scan_chunked(*arguments, True, reverse)
    assert_close(got.numpy(), expected.numpy())


def test_reverse_is_the_flipped_scan_of_flipped_input() -> None:
    arguments = inputs()
    flipped = [x.flip(-1) if x.dim() > 2 else x for x in arguments]
    expected = ops.selective_scan_reference(*flipped, True).flip(-1)
    assert_close(ops.selective_scan(*arguments, True, reverse=True).numpy(), expected.numpy())


@pytest.mark.parametrize("reverse", [False, True])
def test_gradient_against_finite_differences(
    monkeypatch: pytest.MonkeyPatch, reverse: bool
) -> None:
    """Of every argument, across chunks of eight tokens."""
    monkeypatch.setattr(ops, "_BUFFER_ELEMENTS", 1)
    arguments = [x.requires_grad_() for x in inputs(length=11)]
    assert torch.autograd.gradcheck(
        lambda *a: ops.selective_scan_chunked(*a, True, reverse), arguments
    )


def test_gradient_without_optional_arguments() -> None:
    arguments = [x.requires_grad_() for x in inputs(length=11)[:5]]
    assert torch.autograd.gradcheck(
        lambda u, dt, *rest: ops.selective_scan_chunked(u, dt.exp(), *rest), arguments
    )


def test_single_precision_error() -> None:
    """At most 1e-5 of the largest value, over 600 tokens (target of RELIABILITY 3.4)."""
    arguments = inputs(torch.float32, length=600)
    exact = ops.selective_scan_reference(*(x.double() for x in arguments), True)
    for form in FORMS:
        error = (form(*arguments, True).double() - exact).abs().max() / exact.abs().max()
        assert error < 1e-5


def test_half_precision_error_and_type() -> None:
    """At most 2e-2 of the largest value, and the answer in bfloat16 (RELIABILITY 3.4)."""
    arguments = inputs(torch.bfloat16, length=600)
    exact = ops.selective_scan_reference(*(x.double() for x in arguments), True)
    for form in FORMS:
        got = form(*arguments, True)
        assert got.dtype == torch.bfloat16
        assert (got.double() - exact).abs().max() / exact.abs().max() < 2e-2


def test_autocast_does_not_change_the_scan() -> None:
    arguments = [x.requires_grad_() for x in inputs(torch.float32, length=30)]
    expected = ops.selective_scan(*arguments, True)
    wanted = torch.autograd.grad(expected.sum(), arguments)
    with torch.autocast("cpu", torch.bfloat16):
        got = ops.selective_scan(*arguments, True)
        gradients = torch.autograd.grad(got.sum(), arguments)
    assert torch.equal(got, expected)
    assert all(torch.equal(a, b) for a, b in zip(gradients, wanted, strict=True))


def test_extreme_steps_stay_finite() -> None:
    """Steps that forget everything, or nothing, neither overflow nor give NaN gradients."""
    arguments = inputs(torch.float32, length=40)
    arguments[1] = torch.where(arguments[1] > 0, 1e4, -1e4)
    arguments = [x.requires_grad_() for x in arguments]
    y = ops.selective_scan(*arguments, True)
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(y.sum(), arguments))


@pytest.mark.parametrize(
    ("number", "shape", "sentence"),
    [
        (0, (2, 6), "u must be"),
        (1, (2, 6, 18), "dt must be"),
        (2, (5, 5), "A must be"),
        (3, (2, 4, 5, 19), "do not divide into 4 groups"),
        (4, (2, 2, 4, 19), "C must be"),
        (5, (5,), "D must be"),
        (6, (2, 6, 1), "z must be"),
        (7, (1,), "dt_bias must be"),
    ],
)
def test_wrong_shapes_are_named(number: int, shape: tuple[int, ...], sentence: str) -> None:
    arguments = inputs()
    arguments[number] = torch.zeros(shape, dtype=torch.float64)
    for form in FORMS:
        with pytest.raises(ValueError, match=sentence):
            form(*arguments)


def test_causal_conv_equals_conv1d() -> None:
    """torch's grouped convolution, padded on the left, as the public code of Mamba uses it."""
    torch.manual_seed(0)
    x = torch.randn(2, 9, 3, 5, dtype=torch.float64)
    weight, bias = torch.randn(2, 5, 4).double(), torch.randn(2, 5).double()
    for d in range(2):
        channels_first = x[d].permute(1, 2, 0)  # (batch, channels, length)
        expected = torch.nn.functional.conv1d(
            channels_first, weight[d, :, None], bias[d], padding=3, groups=5
        )[..., :9]
        got = causal_conv(x, weight, bias)[d].permute(1, 2, 0)
        assert_close(got.numpy(), expected.numpy())


def test_causal_conv_gradient() -> None:
    torch.manual_seed(0)
    arguments = [torch.randn(2, 6, 2, 3), torch.randn(2, 3, 4), torch.randn(2, 3)]
    arguments = [x.double().requires_grad_() for x in arguments]
    assert torch.autograd.gradcheck(causal_conv, arguments)
