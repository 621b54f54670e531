"""Deformable convolution: against loops, a plain convolution and shifts, in every form."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tolerances import assert_close
from torch import Tensor

from radar_pose_ros.models.ops.deformable_conv import deformable_conv

KERNEL = "deform_forward"  # of the fixture `form`


SIZES = [
    # batch, channels, groups, outputs, kernel, dilation, rows, columns
    (1, 1, 1, 1, 1, 1, 7, 6),
    (2, 3, 3, 2, 3, 1, 5, 7),
    (1, 4, 2, 3, 3, 3, 9, 16),
    (1, 4, 1, 5, 3, 2, 6, 17),
    (2, 2, 2, 2, 5, 1, 8, 6),
]


def inputs(
    batch: int,
    channels: int,
    groups: int,
    outputs: int,
    kernel: int,
    dilation: int,
    rows: int,
    columns: int,
) -> tuple[Tensor, Tensor, Tensor, int]:
    generator = torch.Generator().manual_seed(rows * columns)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    offset = 3 * normal(batch, 2 * groups * kernel * kernel, rows, columns)
    offset.view(-1)[::5] = offset.view(-1)[::5].round()  # some lead to the centres of pixels
    weight = normal(outputs, channels, kernel, kernel)
    return normal(batch, channels, rows, columns), offset, weight, dilation


def between_centres(offset: Tensor) -> Tensor:
    """Away from the centres of pixels, where the slope jumps."""
    generator = torch.Generator().manual_seed(1)
    return offset.floor() + 0.1 + 0.8 * torch.rand(offset.shape, generator=generator)


def pixel(image: Tensor, row: int, column: int) -> float:
    inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
    return float(image[row, column]) if inside else 0.0


def between(image: Tensor, y: float, x: float) -> float:
    top, left = math.floor(y), math.floor(x)
    down, right = y - top, x - left
    return (
        (1 - down) * (1 - right) * pixel(image, top, left)
        + (1 - down) * right * pixel(image, top, left + 1)
        + down * (1 - right) * pixel(image, top + 1, left)
        + down * right * pixel(image, top + 1, left + 1)
    )


def loops(x: Tensor, offset: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """The definition, number by number, in float64."""
    x, offset, weight = x.double(), offset.double(), weight.double()
    batch, channels, rows, columns = x.shape
    kernel = weight.shape[-1]
    groups = offset.shape[1] // (2 * kernel * kernel)
    y = x.new_zeros(batch, len(weight), rows, columns)
    for b in range(batch):
        for c in range(channels):
            group = c // (channels // groups)
            for k in range(kernel * kernel):
                number = 2 * (group * kernel * kernel + k)
                for row in range(rows):
                    for column in range(columns):
                        down, right = offset[b, number : number + 2, row, column].tolist()
                        down += row + dilation * (k // kernel - kernel // 2)
                        right += column + dilation * (k % kernel - kernel // 2)
                        found = between(x[b, c], down, right)
                        y[b, :, row, column] += weight[:, c, k // kernel, k % kernel] * found
    return y


def error(got: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest value."""
    return float((got.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("size", SIZES)
def test_agrees_with_loops(form: None, size: tuple[int, ...]) -> None:
    x, offset, weight, dilation = inputs(*size)
    expected = loops(x, offset, weight, dilation)
    assert error(deformable_conv(x, offset, weight, dilation), expected) < 1e-5
    exact = deformable_conv(x.double(), offset.double(), weight.double(), dilation)
    assert exact.dtype == torch.float64
    assert error(exact, expected) < 1e-12


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("blob", [(slice(0, 2), slice(0, 3)), (slice(17, 20), slice(30, 40))])
def test_where_there_is_nothing_but_a_blob(form: None, blob: tuple, halved: bool) -> None:
    """Most is 0, one channel altogether; that costs nothing, and nothing is lost."""
    x, offset, weight, dilation = inputs(2, 4, 4, 5, 3, 6, 20, 40)
    sparse = torch.zeros_like(x)
    sparse[:, :3, blob[0], blob[1]] = x[:, :3, blob[0], blob[1]]
    offset = 3 * offset
    if halved:
        offset = offset[..., ::2, ::2].contiguous()
    whole = F.interpolate(offset, (20, 40), mode="bilinear") if halved else offset
    expected = deformable_conv(sparse.double(), whole.double(), weight.double(), dilation)
    assert expected.count_nonzero() > 100
    assert error(deformable_conv(sparse, offset, weight, dilation), expected) < 1e-5


@pytest.mark.parametrize("centred", [False, True])
def test_gradients_about_a_blob(form: None, centred: bool) -> None:
    """Also those next to it, and where no gradient by the image is asked for."""
    x, offset, weight, dilation = inputs(2, 4, 2, 5, 3, 2, 20, 18)
    sparse = torch.zeros_like(x)
    sparse[:, :, 8:11, 7:9] = x[:, :, 8:11, 7:9]
    offset = 0 * offset if centred else between_centres(offset)
    exact = [tensor.double().requires_grad_() for tensor in (sparse, offset, weight)]
    wanted = torch.autograd.grad(deformable_conv(*exact, dilation).square().sum(), exact)
    for learns in (True, False):
        single = [tensor.detach().requires_grad_() for tensor in (sparse, offset, weight)]
        single[0].requires_grad_(learns)
        y = deformable_conv(*single, dilation).square().sum()
        got = torch.autograd.grad(y, single[0 if learns else 1 :])
        for a, b in zip(got, wanted[0 if learns else 1 :], strict=True):
            assert error(a, b) < 2e-5


@pytest.mark.parametrize("dilation", [1, 4])
def test_without_offsets_it_is_a_convolution(form: None, dilation: int) -> None:
    x, offset, weight, _ = inputs(2, 3, 3, 2, 3, dilation, 11, 19)
    got = deformable_conv(x, 0 * offset, weight, dilation)
    assert error(got, F.conv2d(x, weight, padding=dilation, dilation=dilation).double()) < 1e-5


def test_one_offset_moves_the_image(form: None) -> None:
    """2 down and 3 to the left of every pixel is its new value; from outside come zeros."""
    x = 1 + torch.arange(120.0).view(1, 1, 6, 20)
    offset = torch.tensor([2.0, -3.0])[None, :, None, None].expand(1, 2, 6, 20)
    got = deformable_conv(x, offset, torch.ones(1, 1, 1, 1))
    assert torch.equal(got[0, 0, :4, 3:], x[0, 0, 2:, :-3])
    assert not got[0, 0, 4:].any() and not got[0, 0, :, :3].any()


def test_groups_have_their_own_offsets(form: None) -> None:
    """The first of two channels moves by half a pixel, the second not at all."""
    ramp = torch.arange(20.0).expand(4, 20)
    x = torch.stack((ramp, ramp))[None]
    offset = torch.tensor([0.0, 0.5, 0.0, 0.0])[None, :, None, None].expand(1, 4, 4, 20)
    got = deformable_conv(x, offset, torch.eye(2)[:, :, None, None])
    assert_close(got[0, 0, :, :-1], ramp[:, :-1] + 0.5)
    assert torch.equal(got[0, 1], ramp)


def test_an_identity_leaves_every_bit(form: None) -> None:
    x = torch.randn(2, 5, 9, 18, generator=torch.Generator().manual_seed(0))
    weight = torch.zeros(5, 5, 3, 3)
    weight[range(5), range(5), 1, 1] = 1
    assert torch.equal(deformable_conv(x, torch.zeros(2, 90, 9, 18), weight, 3), x)


@pytest.mark.parametrize("far", [1e4, 1e20, -1e9, math.inf, -math.inf, math.nan])
def test_far_away_is_nothing(form: None, far: float) -> None:
    x, offset, weight, dilation = inputs(*SIZES[2])
    tensors = [x, torch.full_like(offset, far), weight]
    for tensor in tensors:
        tensor.requires_grad_()
    y = deformable_conv(*tensors, dilation)
    assert not y.any()
    for gradient in torch.autograd.grad(y.sum(), tensors):
        assert not gradient.any()


@pytest.mark.parametrize("size", SIZES)
def test_gradients_of_both_forms(size: tuple[int, ...]) -> None:
    """In float64 against differences, in float32 against that."""
    x, offset, weight, dilation = inputs(*size)
    offset = between_centres(offset)
    exact = [tensor.double().requires_grad_() for tensor in (x, offset, weight)]
    if size[-1] < 16:
        assert torch.autograd.gradcheck(deformable_conv, (*exact, dilation), fast_mode=True)
    share = torch.linspace(-1, 2, size[0] * size[3] * size[-2] * size[-1])
    share = share.view(size[0], size[3], *size[-2:])
    wanted = torch.autograd.grad((deformable_conv(*exact, dilation) * share).sum(), exact)
    single = [tensor.requires_grad_() for tensor in (x, offset, weight)]
    got = torch.autograd.grad((deformable_conv(*single, dilation) * share).sum(), single)
    for a, b in zip(got, wanted, strict=True):
        assert error(a, b) < 1e-5


def test_gradients_with_each_instruction_set(form: None) -> None:
    x, offset, weight, dilation = inputs(*SIZES[3])
    offset = between_centres(offset)
    results = []
    for dtype in (torch.float64, torch.float32):
        tensors = [tensor.to(dtype).detach().requires_grad_() for tensor in (x, offset, weight)]
        y = deformable_conv(*tensors, dilation)
        results.append(torch.autograd.grad(y.square().sum(), tensors))
    for expected, got in zip(*results, strict=True):
        assert error(got, expected) < 2e-5


def test_every_element_of_a_gradient() -> None:
    x, offset, weight, dilation = inputs(1, 2, 2, 2, 3, 2, 3, 4)
    offset = between_centres(offset)
    exact = [tensor.double().requires_grad_() for tensor in (x, offset, weight)]
    assert torch.autograd.gradcheck(deformable_conv, (*exact, dilation))


def test_parts_of_a_batch(form: None, monkeypatch: pytest.MonkeyPatch) -> None:
    x, offset, weight, dilation = inputs(5, 3, 3, 2, 3, 1, 5, 7)
    tensors = [x.requires_grad_(), offset.requires_grad_(), weight.requires_grad_()]

    def everything() -> list[Tensor]:
        y = deformable_conv(*tensors, dilation)
        return [y.detach(), *torch.autograd.grad(y.square().sum(), tensors)]

    whole = everything()
    monkeypatch.setattr(
        "radar_pose_ros.models.ops.deformable_conv._PART_ELEMENTS", 2 * 3 * 9 * 5 * 7
    )
    for a, b in zip(everything(), whole, strict=True):
        assert_close(a, b)


def test_threads_do_not_change_the_numbers(form: None) -> None:
    x, offset, weight, dilation = inputs(2, 4, 2, 5, 3, 2, 20, 18)
    tensors = [x.requires_grad_(), offset.requires_grad_(), weight.requires_grad_()]
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        with torch.no_grad():
            y = deformable_conv(*tensors, dilation)
        learnt = deformable_conv(*tensors, dilation)
        results.append([y, *torch.autograd.grad(learnt.square().sum(), tensors)])
    for a, b in zip(*results, strict=True):
        assert_close(a, b)


def test_half_precision_is_computed_in_single() -> None:
    x, offset, weight, dilation = inputs(*SIZES[2])
    expected = loops(x.bfloat16(), offset, weight, dilation)
    got = deformable_conv(x.bfloat16(), offset, weight, dilation)
    assert got.dtype == torch.bfloat16
    assert error(got, expected) < 2**-8


@pytest.mark.parametrize("size", [(2, 2), (4, 6), (6, 34), (10, 16)])
def test_offsets_of_half_the_size(form: None, size: tuple[int, int]) -> None:
    """As if made larger before, in value and gradient."""
    x, _, weight, _ = inputs(2, 3, 3, 2, 3, 2, *size)
    half = 2 * inputs(2, 3, 3, 2, 3, 2, size[0] // 2, size[1] // 2)[1]
    larger = F.interpolate(half, size, mode="bilinear")
    expected = deformable_conv(x.double(), larger.double(), weight.double(), 2)
    assert error(deformable_conv(x, half, weight, 2), expected) < 1e-5
    half.requires_grad_()
    wanted = deformable_conv(x, F.interpolate(half, size, mode="bilinear"), weight, 2)
    got = deformable_conv(x, half, weight, 2)
    for a, b in zip(
        torch.autograd.grad(got.sum(), half), torch.autograd.grad(wanted.sum(), half), strict=True
    ):
        assert_close(a, b)


def test_an_empty_batch(form: None) -> None:
    x, offset, weight, dilation = inputs(*SIZES[2])
    assert deformable_conv(x[:0], offset[:0], weight, dilation).shape == (0, 3, 9, 16)


@pytest.mark.parametrize(
    ("x", "offset", "weight", "dilation", "sentence"),
    [
        ((4, 8, 8), (1, 18, 8, 8), (2, 4, 3, 3), 1, "x must be"),
        ((1, 4, 8, 8), (1, 18, 8, 8), (2, 3, 3, 3), 1, "weight must be"),
        ((1, 4, 8, 8), (1, 8, 8, 8), (2, 4, 2, 2), 1, "weight must be .* odd kernel"),
        ((1, 4, 8, 8), (1, 20, 8, 8), (2, 4, 3, 3), 1, "offset must be"),
        ((1, 4, 8, 8), (1, 54, 8, 8), (2, 4, 3, 3), 1, "groups that divide 4 channels"),
        ((1, 4, 8, 8), (1, 18, 8, 9), (2, 4, 3, 3), 1, "offset must be"),
        ((1, 4, 8, 9), (1, 18, 4, 4), (2, 4, 3, 3), 1, "offset must be"),
        ((1, 4, 8, 8), (1, 18, 8, 8), (2, 4, 3, 3), 0, "dilation must be at least 1, got 0"),
    ],
)
def test_bad_input(
    x: tuple[int, ...],
    offset: tuple[int, ...],
    weight: tuple[int, ...],
    dilation: int,
    sentence: str,
) -> None:
    with pytest.raises(ValueError, match=sentence):
        deformable_conv(torch.zeros(x), torch.zeros(offset), torch.zeros(weight), dilation)
