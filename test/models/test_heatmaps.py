"""Heatmaps: their values, and coordinates that come back to a hundredth of a pixel."""

from __future__ import annotations

import math

import pytest
import torch
from tolerances import assert_close
from torch import Tensor

from radar_pose_ros.models.heatmaps import render_heatmaps, soft_argmax

NAN = math.nan


def test_values() -> None:
    """exp(-d^2 / 18) of a joint at (5, 3)."""
    maps = render_heatmaps(torch.tensor([[5.0, 3.0]]), None, (8, 10))
    assert maps.shape == (1, 8, 10)
    assert maps[0, 3, 5] == 1
    assert_close(maps[0, 3, 8], torch.tensor(math.exp(-0.5)))
    assert_close(maps[0, 7, 2], torch.tensor(math.exp(-25 / 18)))


def test_nothing_far_away() -> None:
    """4 sigma: 12 columns and rows."""
    maps = render_heatmaps(torch.tensor([[30.0, 30.0]]), None, (64, 64))
    assert (maps[0, 18:43, 18:43] > 1e-7).all()
    assert int((maps > 0).sum()) == 25**2


def test_as_high_as_it_is_certain() -> None:
    keypoints = torch.tensor([[4.0, 4.0], [4.0, 4.0]])
    maps = render_heatmaps(keypoints, torch.tensor([0.25, 0.0]), (9, 9), sigma_px=1.0)
    assert_close(maps[0, 4, 3:6], 0.25 * torch.tensor([math.exp(-0.5), 1, math.exp(-0.5)]))
    assert not maps[1].any()


@pytest.mark.parametrize(
    ("u", "v", "confidence"),
    [
        (NAN, 3, 1),
        (3, NAN, 1),
        (math.inf, 3, 1),
        (3, 3, NAN),
        (3, 3, math.inf),
        (-0.51, 3, 1),
        (9.5, 3, 1),
        (3, 7.5, 1),
        (3, -1e30, 1),
    ],
)
def test_nothing_where_no_joint_is(u: float, v: float, confidence: float) -> None:
    keypoints = torch.tensor([[u, v]], dtype=torch.float, requires_grad=True)
    maps = render_heatmaps(keypoints, torch.tensor([confidence], dtype=torch.float), (8, 10))
    assert not maps.any()
    maps.sum().backward()
    assert keypoints.grad is not None and not keypoints.grad.any()


def test_the_border_belongs_to_the_map() -> None:
    maps = render_heatmaps(torch.tensor([[-0.5, 7.49]]), None, (8, 10))
    assert_close(maps[0, 7, 0], torch.tensor(math.exp(-(0.5**2 + 0.49**2) / 18)))


def places(count: int = 200) -> Tensor:
    """Far enough from the borders of 64 x 64 for the whole window."""
    generator = torch.Generator().manual_seed(0)
    return 10 + 43 * torch.rand(count, 2, generator=generator)


@pytest.mark.parametrize(
    ("confidence", "error_px"), [(1.0, 0.002), (0.6, 0.02), (0.3, 0.15), (0.1, 0.4)]
)
def test_what_was_drawn_is_found(confidence: float, error_px: float) -> None:
    """The lower a map, the more the window, which lies on whole pixels, has its say."""
    maps = render_heatmaps(places(), torch.full((200,), confidence), (64, 64))
    error = (soft_argmax(maps) - places()).norm(dim=-1)
    assert error.max() < error_px


def test_the_window_keeps_out_other_people() -> None:
    """A second, almost as high peak 20 px away: the mean of both would lie between them."""
    maps = render_heatmaps(torch.tensor([[20.3, 30.0], [40.0, 30.0]]), None, (64, 64))
    found = soft_argmax(maps[0] + 0.95 * maps[1])
    assert (found - torch.tensor([20.3, 30.0])).norm() < 0.02


def test_one_high_pixel() -> None:
    """In a corner: the window is cut, and 1e9 times the others' weight is with the one."""
    maps = torch.zeros(3, 12, 16)
    maps[0, 0, 0] = maps[1, 11, 15] = maps[2, 4, 9] = 2.0
    found = soft_argmax(maps)
    assert_close(found, torch.tensor([[0.0, 0.0], [15.0, 11.0], [9.0, 4.0]]))


def test_two_equal_pixels() -> None:
    maps = torch.zeros(20, 20)
    maps[10, 10] = maps[10, 12] = 3.0
    assert_close(soft_argmax(maps), torch.tensor([11.0, 10.0]))


def test_no_joint() -> None:
    maps = torch.zeros(4, 8, 8)
    maps[1, 2, 2] = 0.01  # not higher than the threshold
    maps[2, 3, 3], maps[2, 0, 0] = 1.0, NAN
    maps[3, 3, 3] = math.inf
    maps.requires_grad_()
    found = soft_argmax(maps)
    assert found.isnan().all()
    found.nansum().backward()
    assert maps.grad is not None and not maps.grad.any()


def test_maps_below_zero() -> None:
    """As a network may give them: no joint where all are, the peak where one is not."""
    maps = render_heatmaps(torch.tensor([[9.25, 7.5]]), None, (16, 20)) - 0.3
    assert (soft_argmax(maps) - torch.tensor([9.25, 7.5])).norm() < 0.01
    assert soft_argmax(maps - 1).isnan().all()


def test_shapes_are_kept() -> None:
    keypoints = places(24).reshape(2, 3, 4, 2)
    maps = render_heatmaps(keypoints, torch.ones(2, 3, 4), (64, 70))
    assert maps.shape == (2, 3, 4, 64, 70)
    assert soft_argmax(maps).shape == (2, 3, 4, 2)
    assert render_heatmaps(keypoints[:0], None, (64, 70)).shape == (0, 3, 4, 64, 70)
    assert soft_argmax(maps[:0]).shape == (0, 3, 4, 2)


def test_gradients() -> None:
    keypoints = torch.tensor([[5.2, 6.7], [8.4, 3.9]], dtype=torch.float64, requires_grad=True)
    confidence = torch.tensor([0.9, 0.4], dtype=torch.float64, requires_grad=True)

    def there_and_back(keypoints: Tensor, confidence: Tensor) -> Tensor:
        return soft_argmax(render_heatmaps(keypoints, confidence, (12, 14)))

    assert torch.autograd.gradcheck(there_and_back, (keypoints, confidence))


def test_bad_input() -> None:
    keypoints = torch.zeros(5, 2)
    with pytest.raises(ValueError, match=r"keypoints must be \(\.\.\., 2\), got \(5, 3\)"):
        render_heatmaps(torch.zeros(5, 3), None, (8, 8))
    with pytest.raises(ValueError, match=r"confidence must be \(5,\), got \(4,\)"):
        render_heatmaps(keypoints, torch.zeros(4), (8, 8))
    for size, sigma in (((0, 8), 3.0), ((8, 8), 0.0)):
        with pytest.raises(ValueError, match="size and sigma must be positive"):
            render_heatmaps(keypoints, None, size, sigma)
    with pytest.raises(ValueError, match=r"heatmaps must be \(\.\.\., rows, columns\)"):
        soft_argmax(torch.zeros(3, 0, 8))
    for temperature, window in ((0.0, 15.0), (0.05, -1.0)):
        with pytest.raises(ValueError, match="temperature and window must be positive"):
            soft_argmax(torch.zeros(8, 8), temperature, window)
