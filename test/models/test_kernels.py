"""The compiled kernels and their stand-ins, for every instruction set that this processor has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tolerances import assert_close
from torch import Tensor

from radar_pose_ros.models.ops import native
from radar_pose_ros.models.ops import selective_scan as ops
from radar_pose_ros.models.ops.causal_conv import bidirectional_conv

# around the kernel's tiles of tokens, vectors of channels, and blocks of 8, 4 and 1 states
SIZES = [
    # length, batch, channels, states
    (1, 2, 3, 1),
    (2, 1, 16, 4),
    (15, 1, 33, 5),
    (16, 3, 16, 8),
    (17, 2, 40, 13),
    (70, 2, 64, 16),
]


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(native.ENVIRONMENT, "off")
    native._library.cache_clear()
    yield
    native._library.cache_clear()


def scan_inputs(
    length: int, batch: int, channels: int, states: int, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Arguments of `bidirectional_scan`: steps from 0.01 to 1, rates from 0.1 to 8."""
    generator = torch.Generator().manual_seed(length + channels)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    activations = [
        normal(length, batch, 2, channels),  # u
        normal(length, batch, 2, channels),  # dt
        normal(length, batch, 2, states),  # B
        normal(length, batch, 2, states),  # C
        normal(length, batch, channels),  # z
    ]
    u, dt, B, C, z = (x.to(dtype) for x in activations)
    A = -0.1 - 8 * torch.rand(2, states, channels, generator=generator)
    return [u, dt, A, B, C, normal(2, channels), z, normal(2, channels) - 2]


def reference(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    dt_bias: Tensor,
) -> Tensor:
    """`bidirectional_scan` in float64, token by token."""

    def one(direction: int) -> Tensor:
        return ops.selective_scan_reference(
            *(x[:, :, direction].permute(1, 2, 0).double() for x in (u, dt)),
            A[direction].t().double(),
            *(x[:, :, direction].permute(1, 2, 0).double() for x in (B, C)),
            D[direction].double(),
            z.permute(1, 2, 0).double(),
            dt_bias[direction].double(),
            dt_softplus=True,
            reverse=direction == 1,
        )

    return (one(0) + one(1)).permute(2, 0, 1)


def error(got: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest value."""
    return float((got.double() - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def gradients(form: Callable[..., Tensor], arguments: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of a weighted sum of what a form returns."""
    arguments = [x.detach().requires_grad_() for x in arguments]
    y = form(*arguments)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y.dtype)
    return torch.autograd.grad((y * weight).sum(), arguments)


# -- scan ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_scan_in_both_directions(kernels: None, size: tuple[int, ...]) -> None:
    """1e-5 of the largest value in float32 (RELIABILITY 3.4)."""
    arguments = scan_inputs(*size)
    expected = reference(*arguments)
    assert error(ops.bidirectional_scan(*arguments), expected) < 1e-5
    assert error(ops.bidirectional_scan_chunked(*arguments), expected) < 1e-5


@pytest.mark.parametrize("size", SIZES)
def test_scan_in_half_precision(kernels: None, size: tuple[int, ...]) -> None:
    """2e-2 of the largest value in bfloat16 (RELIABILITY 3.4), and the type stays."""
    arguments = scan_inputs(*size, dtype=torch.bfloat16)
    with torch.no_grad():
        got = ops.bidirectional_scan(*arguments)
    assert got.dtype == torch.bfloat16
    assert error(got, reference(*arguments)) < 2e-2


@pytest.mark.parametrize("size", SIZES)
def test_scan_gradients(kernels: None, size: tuple[int, ...]) -> None:
    """Of every argument, against the chunked form in float64."""
    arguments = scan_inputs(*size)
    wanted = gradients(ops.bidirectional_scan_chunked, [x.double() for x in arguments])
    for name, got, expected in zip(
        ("u", "dt", "A", "B", "C", "D", "z", "dt_bias"),
        gradients(ops.bidirectional_scan, arguments),
        wanted,
        strict=True,
    ):
        assert error(got, expected) < 1e-5, name


def test_chunked_scan_gradients() -> None:
    arguments = [x.double().requires_grad_() for x in scan_inputs(11, 1, 3, 2)]
    assert torch.autograd.gradcheck(ops.bidirectional_scan_chunked, arguments)


def test_constant_input_is_two_geometric_series(kernels: None) -> None:
    """u = B = C = 1, step 0.1, A = -2: (g(t) + g(49 - t)) z / (1 + exp(-z)), with
    g(t) = 0.1 (1 - q^(t + 1)) / (1 - q) and q = exp(-0.2)."""
    ones = torch.ones(50, 1, 2, 1)
    before_softplus = float(np.log(np.expm1(0.1)))
    y = ops.bidirectional_scan(
        ones,
        torch.zeros_like(ones),
        torch.full((2, 1, 1), -2.0),
        ones,
        ones,
        torch.zeros(2, 1),
        torch.full((50, 1, 1), 3.0),
        torch.full((2, 1), before_softplus),
    )
    t, q = np.arange(50), np.exp(-0.2)
    series = 0.1 * (1 - q ** (t + 1)) / (1 - q)
    assert_close(y.flatten().numpy(), (series + series[::-1]) * 3 / (1 + np.exp(-3)))


@pytest.mark.parametrize("case", range(4))
def test_published_vectors(kernels: None, shared_data: Path, case: int) -> None:
    with np.load(shared_data / "vectors" / "selective_scan_float64.npz") as vectors:

        def get(name: str) -> Tensor | None:
            key = f"case{case}_{name}"
            return torch.from_numpy(vectors[key]).float() if key in vectors else None

        got = ops.selective_scan(
            *(get(name) for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")),
            dt_softplus=bool(vectors[f"case{case}_delta_softplus"]),
        )
        assert error(got, torch.from_numpy(vectors[f"case{case}_out"])) < 1e-5


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("complete", [False, True])
def test_scan_in_the_layout_of_mamba_ssm(kernels: None, reverse: bool, complete: bool) -> None:
    """Two groups of 20 channels; without D, gate, bias and softplus too."""
    torch.manual_seed(0)
    arguments = [
        torch.randn(2, 40, 37),
        torch.rand(2, 40, 37),
        -4 * torch.rand(40, 9),
        torch.randn(2, 2, 9, 37),
        torch.randn(2, 2, 9, 37),
    ]
    if complete:
        arguments += [torch.randn(40), torch.randn(2, 40, 37), torch.randn(40)]

    def native_form(*x: Tensor) -> Tensor:
        return ops.selective_scan(*x, dt_softplus=complete, reverse=reverse)

    def chunked_form(*x: Tensor) -> Tensor:
        return ops.selective_scan_chunked(*x, dt_softplus=complete, reverse=reverse)

    exact = [x.double() for x in arguments]
    assert error(native_form(*arguments), chunked_form(*exact)) < 1e-5
    wanted = gradients(chunked_form, exact)
    for got, expected in zip(gradients(native_form, arguments), wanted, strict=True):
        assert error(got, expected) < 1e-5


def test_steps_of_any_size(kernels: None) -> None:
    """From steps that change nothing to those that leave less of a state than a float can say."""
    arguments = scan_inputs(40, 2, 20, 8)
    arguments[1] = torch.linspace(-300, 300, 40)[:, None, None, None].expand(40, 2, 2, 20)
    assert error(ops.bidirectional_scan(*arguments), reference(*arguments)) < 1e-5
    wanted = gradients(ops.bidirectional_scan_chunked, [x.double() for x in arguments])
    for got, expected in zip(gradients(ops.bidirectional_scan, arguments), wanted, strict=True):
        assert error(got, expected) < 1e-5


def test_slow_states_remember(kernels: None) -> None:
    """Steps of 1e-4: a geometric series, to what one unit in the last place of the decay does to
    it over 5,000 tokens."""
    length = 5000
    ones = torch.ones(1, 1, length)
    y = ops.selective_scan(ones, 1e-4 * ones, -torch.ones(1, 1), ones, ones)
    expected = -np.expm1(-1e-4 * np.arange(1, length + 1)) * 1e-4 / -np.expm1(-1e-4)
    np.testing.assert_allclose(y.flatten(), expected, rtol=5000 * 2**-24)


def test_not_a_number_goes_where_the_state_goes(kernels: None) -> None:
    arguments = scan_inputs(40, 1, 20, 8)
    arguments[0][25, 0, 0, 3] = torch.nan  # forward: from token 25 on
    arguments[1][10, 0, 1, 7] = torch.nan  # backward: from token 10 down
    y = ops.bidirectional_scan(*arguments)
    unknown = torch.zeros(40, 1, 20, dtype=torch.bool)
    unknown[25:, :, 3] = True
    unknown[:11, :, 7] = True
    assert torch.equal(y.isnan(), unknown)


def test_views_as_the_layer_has_them(kernels: None) -> None:
    """Slices of wider rows, directions first in memory: as if copied, and gradients too."""
    length, batch, channels, states = 21, 2, 24, 4
    torch.manual_seed(0)
    wide = torch.randn(2, length * batch, channels + 2 * states)
    u, B, C = (
        x.unflatten(1, (length, batch)).permute(1, 2, 0, 3)
        for x in wide.split((channels, states, states), -1)
    )
    z = torch.randn(length, batch, 2 * channels)[..., channels:]
    _, dt, A, _, _, D, _, dt_bias = scan_inputs(length, batch, channels, states)
    views = [u, dt, A, B, C, D, z, dt_bias]
    copies = [x.contiguous() for x in views]
    assert not any(x.is_contiguous() for x in (u, B, C, z))
    assert torch.equal(ops.bidirectional_scan(*views), ops.bidirectional_scan(*copies))
    for a, b in zip(
        gradients(ops.bidirectional_scan, views),
        gradients(ops.bidirectional_scan, copies),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_threads_do_not_change_the_numbers(kernels: None) -> None:
    """Neither of one sequence, which threads share by its channels, nor of three."""
    for batch in (1, 3):
        arguments = scan_inputs(50, batch, 80, 8)
        x, weight, bias = torch.randn(70, batch, 80), torch.randn(2, 80, 4), torch.randn(2, 80)
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(
                [
                    ops.bidirectional_scan(*arguments),
                    *gradients(ops.bidirectional_scan, arguments),
                    bidirectional_conv(x, weight, bias),
                    *gradients(bidirectional_conv, [x, weight, bias]),
                ]
            )
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_gradients_from_tensors_that_were_moved(kernels: None) -> None:
    """Activation checkpointing and the like hand back copies of what was saved."""
    arguments = scan_inputs(40, 2, 20, 8)
    x, weight, bias = torch.randn(70, 2, 20), torch.randn(2, 20, 4), torch.randn(2, 20)

    def all_gradients() -> tuple[Tensor, ...]:
        return (
            *gradients(ops.bidirectional_scan, arguments),
            *gradients(bidirectional_conv, [x, weight, bias]),
        )

    wanted = all_gradients()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy().copy(), torch.from_numpy):
        got = all_gradients()
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_gradients_with_half_precision_go_through_float32(kernels: None) -> None:
    """As under autocast: activations in bfloat16, parameters in float32."""
    arguments = scan_inputs(40, 2, 20, 8, dtype=torch.bfloat16)
    exact = [x.double() for x in arguments]
    y = ops.bidirectional_scan(*[x.requires_grad_() for x in arguments])
    assert y.dtype == torch.bfloat16
    assert error(y.detach(), reference(*exact)) < 1e-2
    wanted = gradients(ops.bidirectional_scan_chunked, exact)
    for got, expected, x in zip(
        gradients(ops.bidirectional_scan, arguments), wanted, arguments, strict=True
    ):
        assert got.dtype == x.dtype
        assert error(got, expected) < 2e-2


def test_nothing_to_scan(kernels: None) -> None:
    """An empty batch has an empty result, and parameters no gradient from it."""
    arguments = scan_inputs(5, 0, 16, 8)
    assert ops.bidirectional_scan(*arguments).shape == (5, 0, 16)
    assert not gradients(ops.bidirectional_scan, arguments)[2].any()


@pytest.mark.parametrize(
    ("number", "shape", "sentence"),
    [
        (0, (5, 2, 1, 16), "u must be"),
        (1, (5, 2, 2, 1), "dt must be"),
        (2, (2, 16, 8), "A must be"),
        (3, (5, 2, 2, 7), "B must be"),
        (4, (5, 1, 2, 8), "C must be"),
        (5, (16,), "D must be"),
        (6, (5, 2, 2, 16), "z must be"),
        (7, (2, 1), "dt_bias must be"),
    ],
)
def test_wrong_shapes_of_a_scan(number: int, shape: tuple[int, ...], sentence: str) -> None:
    arguments = scan_inputs(5, 2, 16, 8)
    arguments[number] = torch.zeros(shape)
    for form in (ops.bidirectional_scan, ops.bidirectional_scan_chunked):
        with pytest.raises(ValueError, match=sentence):
            form(*arguments)


# -- convolution ---------------------------------------------------------------------------------


def conv1d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`bidirectional_conv` with torch's grouped convolution, as the public code of Mamba."""
    reach = weight.shape[-1] - 1

    def one(x: Tensor, direction: int) -> Tensor:
        padded = F.pad(x.permute(1, 2, 0), (reach, 0))
        taps = weight[direction, :, None]
        return F.conv1d(padded, taps, bias[direction], groups=len(taps)).permute(2, 0, 1)

    return F.silu(torch.stack((one(x, 0), one(x.flip(0), 1).flip(0)), 2))


CONV_SIZES = [
    # length, batch, channels, taps
    (1, 2, 3, 4),
    (3, 1, 16, 4),
    (32, 1, 33, 4),
    (33, 3, 40, 4),
    (70, 2, 20, 1),
    (70, 2, 20, 16),
]


def conv_inputs(length: int, batch: int, channels: int, taps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length + taps)
    shapes = ((length, batch, channels), (2, channels, taps), (2, channels))
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("size", CONV_SIZES)
def test_conv_in_both_directions(kernels: None, size: tuple[int, ...]) -> None:
    x, weight, bias = conv_inputs(*size)
    exact = [x.double(), weight.double(), bias.double()]
    expected = conv1d(*exact)
    assert error(bidirectional_conv(x, weight, bias), expected) < 1e-5
    assert error(bidirectional_conv(*exact), expected) < 1e-12
    with torch.no_grad():
        half = bidirectional_conv(x.bfloat16(), weight, bias)
    assert half.dtype == torch.bfloat16
    assert error(half, expected) < 2e-2


@pytest.mark.parametrize("size", CONV_SIZES)
def test_conv_gradients(kernels: None, size: tuple[int, ...]) -> None:
    arguments = conv_inputs(*size)
    exact = [x.double() for x in arguments]
    wanted = gradients(conv1d, exact)
    for got, plain, expected in zip(
        gradients(bidirectional_conv, arguments),
        gradients(bidirectional_conv, exact),
        wanted,
        strict=True,
    ):
        assert error(got, expected) < 1e-5
        assert error(plain, expected) < 1e-12


def test_more_taps_than_the_kernel_takes() -> None:
    arguments = conv_inputs(40, 1, 5, native.MAX_TAPS + 1)
    expected = conv1d(*(x.double() for x in arguments))
    assert error(bidirectional_conv(*arguments), expected) < 1e-5


@pytest.mark.parametrize(
    ("number", "shape", "sentence"),
    [(0, (5, 16), "x must be"), (1, (2, 15, 4), "weight must be"), (2, (16,), "bias must be")],
)
def test_wrong_shapes_of_a_convolution(number: int, shape: tuple[int, ...], sentence: str) -> None:
    arguments = conv_inputs(5, 2, 16, 4)
    arguments[number] = torch.zeros(shape)
    with pytest.raises(ValueError, match=sentence):
        bidirectional_conv(*arguments)


# -- what takes the kernels' place ---------------------------------------------------------------


def test_switched_off(no_kernels: None) -> None:
    assert not native.available()
    assert native.describe() == "switched off (RADAR_POSE_KERNELS=off)"
    arguments = scan_inputs(17, 2, 40, 8)
    assert error(ops.bidirectional_scan(*arguments), reference(*arguments)) < 1e-5
    arguments = conv_inputs(17, 2, 40, 4)
    expected = conv1d(*(x.double() for x in arguments))
    assert error(bidirectional_conv(*arguments), expected) < 1e-5


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "is no file"), (b"not a library", "cannot be loaded")]
)
def test_a_library_that_is_none(
    no_kernels: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    content: bytes | None,
    sentence: str,
) -> None:
    path = tmp_path / native.LIBRARY
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(native.ENVIRONMENT, str(path))
    native._library.cache_clear()
    with pytest.warns(UserWarning, match=f"plain torch instead: .*{sentence}"):
        assert not native.available()
    assert sentence in native.describe() and str(path) in native.describe()


def test_only_what_the_kernels_can_take() -> None:
    x = torch.zeros(1)
    half = x.bfloat16()
    if native.available():
        assert native.working_type([x, None]) == torch.float32
        assert native.working_type([half]) == torch.bfloat16
        assert native.working_type([half, x]) == torch.float32
        learning = torch.zeros(1, requires_grad=True)
        assert native.working_type([half], [learning]) == torch.float32
        with torch.no_grad():
            assert native.working_type([half], [learning]) == torch.bfloat16
    assert native.working_type([x.double()]) is None
    assert native.working_type([x.to("meta")]) is None


@pytest.fixture
def mamba_ssm(no_kernels: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A module with the signature of mamba-ssm's, which takes what that takes; and its calls."""
    calls: list[str] = []

    def selective_scan_fn(
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
    ) -> Tensor:
        assert not return_last_state
        assert all(x is None or x.dtype == u.dtype for x in (delta, B, C, z))
        assert all(x is None or x.dtype == torch.float32 for x in (A, D, delta_bias))
        calls.append(str(u.dtype))
        return ops.selective_scan_reference(u, delta, A, B, C, D, z, delta_bias, delta_softplus)

    module = ModuleType("mamba_ssm.ops.selective_scan_interface")
    module.selective_scan_fn = selective_scan_fn  # type: ignore[attr-defined]
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    ops._import_mamba_ssm.cache_clear()
    # as if the tensors were on a graphics card
    monkeypatch.setattr(ops, "_mamba_ssm", lambda u: ops._import_mamba_ssm())
    yield calls
    ops._import_mamba_ssm.cache_clear()


def test_mamba_ssm_scans_in_both_directions(mamba_ssm: list[str]) -> None:
    arguments = scan_inputs(17, 2, 6, 4)
    assert error(ops.bidirectional_scan(*arguments), reference(*arguments)) < 1e-5
    half = scan_inputs(17, 2, 6, 4, dtype=torch.bfloat16)
    half[5] = half[5].bfloat16()  # a parameter
    got = ops.bidirectional_scan(*half)
    assert got.dtype == torch.bfloat16
    assert error(got, reference(*half)) < 2e-2
    assert mamba_ssm == ["torch.float32", "torch.bfloat16"]


@pytest.mark.parametrize("reverse", [False, True])
def test_mamba_ssm_scans_its_own_layout(mamba_ssm: list[str], reverse: bool) -> None:
    torch.manual_seed(0)
    arguments = [
        torch.randn(2, 6, 17),
        torch.rand(2, 6, 17),
        -torch.rand(6, 4),
        torch.randn(2, 4, 17),
        torch.randn(2, 4, 17),
        torch.randn(6),
        torch.randn(2, 6, 17),
        torch.randn(6),
    ]
    got = ops.selective_scan(*arguments, True, reverse)
    expected = ops.selective_scan_reference(*(x.double() for x in arguments), True, reverse)
    assert error(got, expected) < 1e-5
    assert len(mamba_ssm) == 1


def test_mamba_ssm_is_for_cuda_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "_import_mamba_ssm", lambda: print)
    cuda = torch.device("cuda")
    assert ops._mamba_ssm(SimpleNamespace(device=cuda, dtype=torch.bfloat16)) is print
    assert ops._mamba_ssm(SimpleNamespace(device=cuda, dtype=torch.float64)) is None
    assert ops._mamba_ssm(torch.zeros(1)) is None
