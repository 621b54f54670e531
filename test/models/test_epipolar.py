"""Epipolar maxima: against a loop over pixels, and where the answer is known on paper."""

from __future__ import annotations

import math

import pytest
import torch
from tolerances import assert_close
from torch import Tensor

from radar_pose_ros.models.heatmaps import render_heatmaps
from radar_pose_ros.models.ops.epipolar import (
    epipolar_maximum,
    fundamental_matrices,
    fuse,
    fuse_slot,
    heatmap_projections,
)

KERNEL = "line_maxima"  # of the fixture `form`


def camera(centre_m: Tensor, looks_at_m: Tensor, focal_px: float, middle_px: float) -> Tensor:
    """(3, 4): x to the right, y down, z forward, upright."""
    forward = looks_at_m - centre_m
    forward = forward / forward.norm()
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0, 1], dtype=torch.float64))
    right = right / right.norm()
    rotation = torch.stack((right, torch.linalg.cross(forward, right), forward))
    intrinsic = torch.tensor(
        [[focal_px, 0, middle_px], [0, focal_px, middle_px], [0, 0, 1]], dtype=torch.float64
    )
    return intrinsic @ torch.cat((rotation, -(rotation @ centre_m)[:, None]), 1)


def rig(views: int, seed: int = 0, size: int = 32) -> Tensor:
    """Cameras all around, 2.5 to 5 m away: (views, 3, 4) into heatmaps."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    cameras = []
    for view in range(views):
        angle = 2 * math.pi * (view + 0.8 * float(uniform(1))) / views
        centre = (2.5 + 2.5 * uniform(1)) * torch.tensor([math.cos(angle), math.sin(angle), 0])
        centre[2] = 1 + 2 * uniform(1)[0]
        looks_at = torch.tensor([0.0, 0, 1], dtype=torch.float64) + 0.5 * (uniform(3) - 0.5)
        cameras.append(camera(centre, looks_at, 1.3 * size, size / 2))
    return torch.stack(cameras)


def project(projections: Tensor, points_m: Tensor) -> Tensor:
    """(views, 3, 4), (joints, 3) -> (views, joints, 2)."""
    homogeneous = torch.cat((points_m, torch.ones_like(points_m[:, :1])), 1)
    image = torch.einsum("vij,nj->vni", projections, homogeneous)
    return image[..., :2] / image[..., 2:]


def person(joints: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(joints, 3, generator=generator, dtype=torch.float64) - 0.5
    return points + torch.tensor([0.0, 0, 1], dtype=torch.float64)


def loop(source: Tensor, target: Tensor, other: Tensor, size: tuple[int, int]) -> Tensor:
    """The definition for one pair, pixel by pixel: points at two depths, projected, and a line
    through them at every column and every row."""
    channels, rows, columns = source.shape
    inverse = torch.linalg.inv(target[:, :3])
    centre = -inverse @ target[:, 3]
    result = torch.zeros(channels, *size, dtype=source.dtype)
    for v in range(size[0]):
        for u in range(size[1]):
            direction = inverse @ torch.tensor([u, v, 1], dtype=torch.float64)
            (x0, y0), (x1, y1) = project(
                other[None], torch.stack([centre + depth * direction for depth in (1.0, 5.0)])
            )[0].tolist()
            found = []
            if x0 != x1:
                slope = (y1 - y0) / (x1 - x0)
                found += [(round(y0 + slope * (x - x0)), x) for x in range(columns)]
            if y0 != y1:
                slope = (x1 - x0) / (y1 - y0)
                found += [(y, round(x0 + slope * (y - y0))) for y in range(rows)]
            for y, x in found:
                if 0 <= y < rows and 0 <= x < columns:
                    result[:, v, u] = torch.maximum(result[:, v, u], source[:, y, x])
    return result


@pytest.mark.parametrize(("seed", "size"), [(0, (24, 24)), (1, (17, 30)), (2, (30, 13))])
def test_agrees_with_a_loop(form: None, seed: int, size: tuple[int, int]) -> None:
    """Of two heatmaps, and three targets at once; noise, so that every pixel counts."""
    cameras = rig(5, seed, 24)
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(2, 3, *size, generator=generator)
    others = torch.stack((cameras[[1, 2, 3]], cameras[[0, 2, 4]]))
    own = torch.stack((cameras[0], cameras[3]))
    fundamental = fundamental_matrices(others, own[:, None].expand_as(others))
    got = epipolar_maximum(source, fundamental, (12, 15))
    assert got.shape == (2, 3, 3, 12, 15)
    for i in range(2):
        for t in range(3):
            assert_close(got[i, t], loop(source[i], others[i, t], own[i], (12, 15)))


def test_both_forms_agree_in_size(form: None) -> None:
    """At the size that is used, and in float64."""
    cameras = rig(2, 7, 64)
    source = torch.rand(1, 17, 64, 64, generator=torch.Generator().manual_seed(0))
    fundamental = fundamental_matrices(cameras[1], cameras[0])[None, None]
    got = epipolar_maximum(source, fundamental, (64, 64))
    assert_close(got, epipolar_maximum(source.double(), fundamental, (64, 64)).float())


def test_lines_through_the_image_of_a_point() -> None:
    """F x passes through where a point on the ray of x is seen."""
    cameras = rig(2)
    points = person(20)
    in_target, in_source = project(cameras, points)
    fundamental = fundamental_matrices(cameras[0], cameras[1])
    ones = torch.ones(20, 1, dtype=torch.float64)
    line = torch.cat((in_target, ones), 1) @ fundamental.T
    distance = (line * torch.cat((in_source, ones), 1)).sum(1) / line[:, :2].norm(dim=1)
    assert distance.abs().max() < 1e-9


def matrix(a: float, b: float, c: float) -> Tensor:
    """One line for all pixels: (1, 1, 3, 3)."""
    return torch.tensor([[0, 0, a], [0, 0, b], [0, 0, c]], dtype=torch.float64)[None, None]


@pytest.mark.parametrize(
    ("a", "b", "c", "maximum"),
    [
        (0, 1, -2, 25),  # row 2
        (0, -3, 6.3, 25),
        (1, 0, -5, 35),  # column 5
        (1, -1, 0, 33),  # the diagonal
        (1, 1, -3, 30),
        (-10, 1, 20, 32),  # steep, through column 2 above
        (0, 1, 2, 0),  # above the image
        (0, 1, -3.6, 0),  # below
        (1, 0, 1e300, 0),
        (0, 0, 1, 0),  # the line at infinity
        (0, 0, 0, 0),  # none
        (1e-300, 0, -5e-300, 35),
    ],
)
def test_lines_on_paper(form: None, a: float, b: float, c: float, maximum: float) -> None:
    """Row y and column x of 4 rows and 6 columns hold 10 y + x."""
    source = 10 * torch.arange(4.0)[:, None] + torch.arange(6.0)
    got = epipolar_maximum(source[None, None], matrix(a, b, c), (2, 3))
    assert torch.equal(got, torch.full((1, 1, 1, 2, 3), float(maximum)))


def test_parallel_cameras_see_the_same_row(form: None) -> None:
    """Side by side, looking the same way: lines are rows, whatever the columns."""
    left = torch.tensor([[20.0, 0, 8, 0], [0, 20, 6, 0], [0, 0, 1, 0]], dtype=torch.float64)
    right = left.clone()
    right[:, 3] = -left[:, :3] @ torch.tensor([0.3, 0, 0], dtype=torch.float64)
    source = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    fundamental = fundamental_matrices(left, right)[None, None]
    got = epipolar_maximum(source, fundamental, (12, 16))
    assert_close(got[:, 0], source.amax(-1, keepdim=True).expand(1, 3, 12, 16))


def test_an_epipole_in_the_image(form: None) -> None:
    """One camera straight behind the other: lines are spokes about the middle, which has none."""
    front = torch.tensor([[20.0, 0, 8, 0], [0, 20, 8, 0], [0, 0, 1, 0]], dtype=torch.float64)
    back = front.clone()
    back[:, 3] = -front[:, :3] @ torch.tensor([0, 0, -2.0], dtype=torch.float64)
    source = torch.zeros(1, 1, 17, 17)
    source[..., 8, 12] = 1  # to the right of the middle: on the spoke of row 8 alone
    got = epipolar_maximum(source, fundamental_matrices(front, back)[None, None], (17, 17))[0, 0]
    assert got[0, 8, 8] == 0
    assert (got[0, 8, :8] == 1).all() and (got[0, 8, 9:] == 1).all()
    assert not got[0, :8, 8].any()


def test_cameras_in_the_same_place(form: None) -> None:
    """Turned or not, they have no lines: 0, and the fused heatmap is half of the own one."""
    centre = torch.tensor([3.0, -2, 1.5], dtype=torch.float64)
    cameras = torch.stack(
        [camera(centre, torch.tensor(at, dtype=torch.float64), 40.0, 16.0)
         for at in ([0.0, 0, 1], [0.5, 0, 1], [0.0, 0, 1])]
    )  # fmt: skip
    heatmaps = torch.rand(1, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    fused = fuse(heatmaps, cameras)
    for v in range(3):
        for s in range(3):
            assert_close(fused[:, v, s], heatmaps[:, v] * (1.0 if v == s else 0.5))


# [m] from the world's origin to the middle of a rig, as of one on a map.
FAR = torch.tensor([5e6, -4e5, 30.0], dtype=torch.float64)


def moved(cameras: Tensor, by_m: Tensor) -> Tensor:
    made = cameras.clone()
    made[..., 3] -= cameras[..., :3] @ by_m
    return made


@pytest.mark.parametrize("apart_m", [5.0, 0.01])
def test_lines_do_not_depend_on_the_world_s_origin(apart_m: float) -> None:
    """5000 km away cameras 1 cm apart are still two, with the same lines."""
    one = camera(torch.tensor([3.0, -2, 1.5]).double(), FAR.new_tensor([0.0, 0, 1]), 40.0, 16.0)
    other = camera(
        torch.tensor([3.0, apart_m - 2, 1.5]).double(), FAR.new_tensor([0.0, 0.5, 1]), 40.0, 16.0
    )
    expected = fundamental_matrices(one, other)
    got = fundamental_matrices(moved(one, FAR), moved(other, FAR))
    assert expected.abs().max() > 0
    assert (got - expected).abs().max() < 1e-6 / apart_m * expected.abs().max()
    turned = camera(torch.tensor([3.0, -2, 1.5]).double(), FAR, 40.0, 16.0)
    for by_m in (0 * FAR, FAR):
        assert not fundamental_matrices(moved(one, by_m), moved(turned, by_m)).any()


def test_nothing_negative(form: None) -> None:
    """Around the image is 0, and every line leaves it."""
    cameras = rig(2)
    fundamental = fundamental_matrices(cameras[0], cameras[1])[None, None]
    got = epipolar_maximum(-torch.ones(1, 1, 32, 32), fundamental, (32, 32))
    assert torch.equal(got, torch.zeros(1, 1, 1, 32, 32))


def test_fusion_peaks_where_the_joints_are(form: None) -> None:
    """Exact heatmaps of the same moment: every fused one has its maximum where its own has."""
    cameras = rig(4, 3, 64)
    keypoints = project(cameras, person(6)).float()
    heatmaps = render_heatmaps(keypoints, None, (64, 64))[None]
    fused = fuse(heatmaps, cameras)
    assert fused.shape == (1, 4, 4, 6, 64, 64)
    peak = fused.flatten(-2).argmax(-1)
    places = torch.stack((peak % 64, peak // 64), -1)[0]
    assert (places - keypoints[:, None]).abs().max() < 2
    assert (fused.flatten(-2).amax(-1) > 0.9).all()


def test_a_joint_that_one_view_misses() -> None:
    """The other view leaves the ridge of its line, half as high."""
    cameras = rig(2, 3, 64)
    keypoints = project(cameras, person(1)).float()
    heatmaps = render_heatmaps(keypoints, torch.tensor([[0.0], [1.0]]), (64, 64))[None]
    fused = fuse_slot(heatmaps, cameras, 1)
    u, v = keypoints[0, 0].round().long().tolist()
    assert 0.45 < float(fused[0, 0, 0, v, u]) <= 0.5
    assert torch.equal(fused[:, 1], heatmaps[:, 1])


def test_slots_are_those_of_all() -> None:
    cameras = torch.stack((rig(3, 0), rig(3, 1)))
    heatmaps = torch.rand(2, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    fused = fuse(heatmaps, cameras, 0.25)
    for s in range(3):
        assert torch.equal(fused[:, :, s], fuse_slot(heatmaps, cameras, s, 0.25))
    fundamental = fundamental_matrices(cameras[:, 2:], cameras[:, :1])
    maximum = epipolar_maximum(heatmaps[:, 0], fundamental, (32, 32))[:, 0]
    assert_close(fused[:, 2, 0], 0.25 * heatmaps[:, 2] + 0.75 * maximum)


def test_what_is_not_finite_counts_as_nothing(form: None) -> None:
    heatmaps = torch.rand(1, 2, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    broken = heatmaps.clone()
    broken[0, 0, 1], broken[0, 1, 0, 3, 3], broken[0, 1, 1, 4, 4] = math.nan, math.inf, -math.inf
    cleaned = torch.where(broken.isfinite(), broken, 0)
    fused = fuse(broken, rig(2, size=16))
    assert fused.isfinite().all()
    assert torch.equal(fused, fuse(cleaned, rig(2, size=16)))


def test_gradients() -> None:
    heatmaps = torch.rand(1, 2, 2, 6, 7, generator=torch.Generator().manual_seed(0)).double()
    cameras = rig(2, size=6)
    assert torch.autograd.gradcheck(lambda x: fuse(x, cameras), heatmaps.requires_grad_())


def test_crops() -> None:
    """A heatmap a quarter as large as a crop that begins at (100, 40)."""
    to_heatmap = torch.tensor([[0.25, 0, -25], [0, 0.25, -10]])
    cameras = rig(2, size=400)
    expected = (project(cameras, person(5)) - torch.tensor([100, 40])) / 4
    assert_close(project(heatmap_projections(cameras, to_heatmap), person(5)), expected)


def test_bad_input() -> None:
    cameras = rig(2)
    source = torch.zeros(1, 2, 8, 8)
    with pytest.raises(ValueError, match=r"projections must be \(\.\.\., 3, 4\)"):
        heatmap_projections(cameras[..., :3], torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"to_heatmap must be \(\.\.\., 2, 3\)"):
        heatmap_projections(cameras, torch.zeros(3, 3))
    with pytest.raises(ValueError, match="target holds numbers that are not finite"):
        fundamental_matrices(cameras * math.nan, cameras)
    with pytest.raises(ValueError, match="not that of a camera"):
        fundamental_matrices(cameras, 0 * cameras)
    with pytest.raises(ValueError, match=r"source must be \(batch, channels, rows, columns\)"):
        epipolar_maximum(source[0], matrix(0, 1, 0), (8, 8))
    with pytest.raises(ValueError, match=r"fundamental must be \(1, targets, 3, 3\)"):
        epipolar_maximum(source, matrix(0, 1, 0)[0], (8, 8))
    heatmaps = torch.zeros(2, 2, 1, 8, 8)
    with pytest.raises(ValueError, match=r"heatmaps must be \(batch, views, joints"):
        fuse(heatmaps[0], cameras)
    with pytest.raises(ValueError, match=r"projections must be \(2, 2, 3, 4\) or \(2, 3, 4\)"):
        fuse(heatmaps, rig(3))
    with pytest.raises(ValueError, match="slot must be 0 to 1, got 2"):
        fuse_slot(heatmaps, cameras, 2)
    with pytest.raises(ValueError, match="own_share must be 0 to 1, got 2"):
        fuse(heatmaps, cameras, 2)
