"""State space duality: every form against the recurrence, gradients, and large steps."""

from __future__ import annotations

import pytest
import torch
from tolerances import assert_close
from torch import Tensor

from radar_pose_ros.models.ops import ssd as module
from radar_pose_ros.models.ops.ssd import ssd, ssd_chunked, ssd_quadratic, ssd_reference

FORMS = {
    "quadratic": ssd_quadratic,
    "chunked": lambda *arguments: ssd_chunked(*arguments, chunk=5),
    "reference": ssd_reference,
}
FAST = ["quadratic", "chunked"]


def inputs(
    length: int = 12,
    heads: int = 4,
    groups: int = 1,
    batch: int = 2,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length + 10 * groups)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, dt = normal(batch, length, heads, 3), normal(batch, length, heads).abs()
    B, C = normal(batch, length, groups, 5), normal(batch, length, groups, 5)
    A, D = -normal(heads).exp(), normal(heads)
    return [value.to(dtype) for value in (x, dt, A, B, C, D)]


# -- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_numbers_worked_out_by_hand(form: str) -> None:
    """A decay of one half: states 1, 2.5, 4.25; with steps of 2 a quarter, and twice the input."""
    x = torch.tensor([1.0, 2.0, 3.0, 1.0]).double().view(1, 4, 1, 1)
    dt = torch.tensor([1.0, 1.0, 1.0, 2.0]).double().view(1, 4, 1)
    A = -torch.tensor([2.0]).double().log()
    B = torch.ones(1, 4, 1, 1).double()
    C = torch.tensor([1.0, 2.0, -1.0, 16.0]).double().view(1, 4, 1, 1)
    states = [1.0, 2.5, 4.25, 4.25 / 4 + 2]
    expected = [1.0, 5.0, -4.25, 16 * states[3]]
    assert_close(FORMS[form](x, dt, A, B, C).flatten(), torch.tensor(expected).double())
    D = torch.tensor([10.0]).double()
    expected = [11.0, 25.0, 25.75, 16 * states[3] + 10]
    assert_close(FORMS[form](x, dt, A, B, C, D).flatten(), torch.tensor(expected).double())


@pytest.mark.parametrize("form", FAST)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 4, 5, 23])
def test_forms_are_the_recurrence(form: str, groups: int, length: int) -> None:
    arguments = inputs(length, groups=groups)
    assert_close(FORMS[form](*arguments), ssd_reference(*arguments))
    assert_close(FORMS[form](*arguments[:5]), ssd_reference(*arguments[:5]))


@pytest.mark.parametrize("backend", ["auto", "quadratic", "chunked"])
@pytest.mark.parametrize("length", [80, 300])
def test_single_precision_against_double(backend: str, length: int) -> None:
    """As the network calls it: 8 heads of 16, 64 states."""
    torch.manual_seed(0)
    x = torch.randn(1, length, 8, 16).double()
    dt = (torch.rand(1, length, 8) * 0.1).double()
    A = -torch.linspace(1, 16, 8).double()
    B, C = torch.randn(2, 1, length, 1, 64).double() / 8
    D = torch.ones(8).double()
    arguments = (x, dt, A, B, C, D)
    result = ssd(*(value.float() for value in arguments), backend=backend)
    assert result.dtype == torch.float32
    assert_close(result, ssd_reference(*arguments))


@pytest.mark.parametrize(
    ("length", "batch", "heads", "groups", "size", "states"),
    [(1, 1, 1, 1, 1, 1), (80, 1, 8, 1, 16, 64), (23, 3, 6, 3, 20, 5), (40, 2, 4, 2, 37, 66)],
)
def test_the_compiled_recurrence(
    kernels: None, length: int, batch: int, heads: int, groups: int, size: int, states: int
) -> None:
    """Of sizes around its vectors, with and without a direct path, against double precision."""
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(batch, length, heads, size, generator=generator)
    dt = torch.rand(batch, length, heads, generator=generator) * 0.2
    B, C = torch.randn(2, batch, length, groups, states, generator=generator) / states**0.5
    A, D = -torch.linspace(0.5, 16, heads), torch.linspace(-1, 1, heads)
    for arguments in ((x, dt, A, B, C, D), (x, dt, A, B, C)):
        exact = ssd_reference(*(value.double() for value in arguments))
        assert_close(ssd(*arguments, backend="compiled"), exact)
        apart = [value.mT.contiguous().mT if value.dim() > 1 else value for value in arguments]
        assert_close(ssd(*apart, backend="compiled"), exact)


def test_threads_share_the_compiled_recurrence(kernels: None) -> None:
    arguments = [value.float() for value in inputs(700, heads=32, groups=4, batch=64)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together = ssd(*arguments, backend="compiled")
        torch.set_num_threads(1)
        assert torch.equal(ssd(*arguments, backend="compiled"), together)
    finally:
        torch.set_num_threads(threads)


def test_the_compiled_recurrence_forgets(kernels: None) -> None:
    x, dt, A, B, C, _ = inputs(dtype=torch.float32)
    y = ssd(x, torch.full_like(dt, 1e10), A, B, C, backend="compiled")
    assert_close(y / 1e10, x * (B * C).sum(-1, keepdim=True))


def test_the_compiled_recurrence_is_chosen_where_nothing_is_learnt(kernels: None) -> None:
    arguments = inputs(dtype=torch.float32)
    chosen = ssd(*arguments)
    assert torch.equal(chosen, ssd(*arguments, backend="compiled"))
    arguments[0].requires_grad_()
    assert ssd(*arguments).grad_fn is not None
    with pytest.raises(ValueError, match=r"'compiled' wants .* without a gradient"):
        ssd(*arguments, backend="compiled")


@pytest.mark.parametrize("form", FAST)
def test_no_token_sees_a_later_one(form: str) -> None:
    x, *others = inputs()
    later = x.clone()
    later[:, 7:] = 100.0
    before, after = FORMS[form](x, *others), FORMS[form](later, *others)
    assert_close(after[:, :7], before[:, :7])
    assert not torch.allclose(after[:, 7], before[:, 7])


# -- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_against_finite_differences(form: str, groups: int) -> None:
    arguments = inputs(length=7, heads=2, groups=groups, batch=1)
    for value in arguments:
        value.requires_grad_()
    assert torch.autograd.gradcheck(FORMS[form], arguments)


@pytest.mark.parametrize("form", FAST)
def test_gradients_of_single_precision(form: str) -> None:
    """Against those of the recurrence in double precision."""
    arguments = [value.requires_grad_() for value in inputs(40)]
    single = [value.detach().float().requires_grad_() for value in arguments]
    weights = torch.randn(2, 40, 4, 3, generator=torch.Generator().manual_seed(1)).double()
    (ssd_reference(*arguments) * weights).sum().backward()
    (FORMS[form](*single) * weights.float()).sum().backward()
    for exact, ours in zip(arguments, single, strict=True):
        assert ours.grad is not None and exact.grad is not None
        scale = exact.grad.abs().max()  # of sums, small elements have the error of large terms
        assert_close(ours.grad / scale, exact.grad / scale)


# -- large steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FAST)
@pytest.mark.parametrize("step", [1e2, 1e5, 1e10])
def test_large_steps_forget_and_give_no_nan(form: str, step: float) -> None:
    """exp(-step) is 0 in single precision: of all that was before nothing is left."""
    x, dt, A, B, C, _ = inputs(dtype=torch.float32)
    arguments = [value.requires_grad_() for value in (x, torch.full_like(dt, step), A, B, C)]
    y = FORMS[form](*arguments)
    alone = step * x * (B * C).sum(-1, keepdim=True)
    assert_close(y.detach() / step, alone.detach() / step)
    y.sum().backward()
    for value in arguments:
        assert value.grad is not None and torch.isfinite(value.grad).all()


@pytest.mark.parametrize("form", FAST)
def test_a_large_step_does_not_blur_those_after_it(form: str) -> None:
    """Sums in float32 would err by 6 % of the decays here."""
    arguments = inputs(length=30, dtype=torch.float32)
    arguments[1] = arguments[1] * 0.05
    arguments[1][:, 3] = 1e6
    exact = ssd_reference(*(value.double() for value in arguments))
    assert_close(FORMS[form](*arguments)[:, 4:], exact[:, 4:])


@pytest.mark.parametrize("form", FAST)
def test_steps_of_zero_change_nothing(form: str) -> None:
    x, dt, A, B, C, _ = inputs()
    dt[:, 5:9] = 0.0
    y = FORMS[form](x, dt, A, B, C)
    kept = [*range(5), *range(9, 12)]
    others = [value[:, kept] for value in (x, dt, B, C)]
    assert_close(y[:, kept], FORMS[form](others[0], others[1], A, others[2], others[3]))


# -- types, backends, errors ---------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_is_computed_in_single(form: str) -> None:
    arguments = inputs(dtype=torch.bfloat16)
    result = FORMS[form](*arguments)
    assert result.dtype == torch.bfloat16
    assert_close(result.float(), ssd_reference(*(v.float() for v in arguments)).bfloat16().float())


@pytest.mark.parametrize(
    ("length", "form"),
    [(module.QUADRATIC_UP_TO, "quadratic"), (module.QUADRATIC_UP_TO + 1, "chunked")],
)
def test_the_length_decides(length: int, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(module, "_compiled_takes", lambda *_: False)
    for name in FAST:
        monkeypatch.setitem(module._FORMS, name, lambda *_, name=name: called.append(name))
    ssd(*inputs(length))
    assert called == [form]


def test_the_kernel_is_called_as_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in of its signature: (x, dt, A, B, C, chunk_size, D=)."""

    def kernel(x, dt, A, B, C, chunk_size, D=None):  # type: ignore[no-untyped-def]
        assert {v.dtype for v in (x, dt, B, C)} == {torch.bfloat16}
        assert {v.dtype for v in (A, D)} == {torch.float32}
        assert all(v.is_contiguous() for v in (x, dt, B, C))
        assert chunk_size == 64
        return ssd_reference(x, dt, A, B, C, D)

    monkeypatch.setattr(module, "_mamba_ssm", lambda x: kernel)
    arguments = inputs(dtype=torch.bfloat16)
    expected = ssd_reference(*arguments)
    arguments[0] = arguments[0].mT.contiguous().mT
    assert_close(ssd(*arguments).float(), expected.float())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_cuda() -> None:
    arguments = inputs(80)
    on_device = [value.float().cuda() for value in arguments]
    assert_close(ssd(*on_device).cpu(), ssd_reference(*arguments))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({0: torch.zeros(2, 12, 4)}, r"x must be \(batch, length >= 1, heads, size\), got"),
        ({1: torch.zeros(2, 11, 4)}, r"dt must be \(2, 12, 4\), got \(2, 11, 4\)"),
        ({2: torch.zeros(3)}, r"A must be \(4,\), got \(3,\)"),
        ({3: torch.zeros(2, 12, 3, 5)}, r"groups that 4 heads divide into"),
        ({4: torch.zeros(2, 12, 1, 6)}, r"C must be \(2, 12, 1, 5\), got \(2, 12, 1, 6\)"),
        ({5: torch.zeros(1)}, r"D must be \(4,\), got \(1,\)"),
    ],
)
def test_shapes_that_do_not_fit(change: dict[int, Tensor], sentence: str) -> None:
    arguments = inputs()
    for number, value in change.items():
        arguments[number] = value
    with pytest.raises(ValueError, match=sentence):
        ssd(*arguments)


def test_backends_that_are_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"'cubic' is none of auto, reference, quadratic, chunked, compiled"
    ):
        ssd(*inputs(), backend="cubic")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"'mamba_ssm' wants .* on CUDA .* got torch.float32 on cpu"
    ):
        ssd(*inputs(dtype=torch.float32), backend="mamba_ssm")
