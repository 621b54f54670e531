"""Poses from points: order, gaps, empty windows, and what a new network says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros.models import points as point_pose
from radar_pose_ros.models.points import (
    PRESETS,
    PointPose,
    PointPoseConfig,
    PoseHead,
    choose_points,
)
from radar_pose_ros.skeleton.definitions import KINECT25

SMALL = PointPoseConfig(
    frames=6, points=8, width=16, encoder_layers=1, decoder_width=16, decoder_layers=1
)


def network(config: PointPoseConfig = SMALL) -> PointPose:
    """A network that is not trained, but says something of its own in every frame."""
    torch.manual_seed(0)
    made = PointPose(config).eval()
    torch.nn.init.normal_(made.head.linear.weight, std=0.3)
    return made


def windows(rng: np.random.Generator, batch: int = 2, config: PointPoseConfig = SMALL):
    shape = (batch, config.frames, config.points, 5)
    return torch.from_numpy(rng.normal(size=shape).astype(np.float32))


def poses(of: torch.nn.Module, points: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return of(points).numpy()


def test_few_points_are_all_kept_and_the_rest_is_unknown():
    cloud = np.arange(10, dtype=np.float32).reshape(2, 5)
    chosen = choose_points(cloud, 4)
    assert_close(chosen[:2], cloud)
    assert chosen.shape == (4, 5) and np.isnan(chosen[2:]).all()
    assert np.isnan(choose_points(np.zeros((0, 5)), 3)).all()


def test_of_many_points_strong_and_weak_ones_are_kept():
    cloud = np.zeros((9, 5), np.float32)
    cloud[:, 4] = [3, 9, 1, 7, 5, 8, 2, 6, 4]
    assert choose_points(cloud, 3)[:, 4].tolist() == [9, 6, 3]
    cloud[1, 4] = np.nan  # counts as weak
    assert choose_points(cloud, 3)[:, 4].tolist() == [8, 5, 2]


def test_a_new_network_says_the_mean_pose(rng):
    known = rng.normal(size=(40, 25, 3)).astype(np.float32)
    known[3, 4, 1] = np.nan  # then the pose is left out
    made = PointPose(SMALL).eval()
    torch.nn.init.zeros_(made.head.linear.weight)
    made.head.fit_poses(known)
    mean = np.delete(known, 3, axis=0).mean(axis=0)
    points = windows(rng)
    assert_close(poses(made, points - points[1].flatten(0, 1).nanmedian(0).values)[1, 2], mean)
    # told from the middle of what was learnt
    made.fit_middle(points[1].numpy()[:, :-1] + np.float32([3, 4, 5, 0, 0]))
    middle = np.median(points[1, :, :-1, :3].reshape(-1, 3), axis=0) + [3, 4, 5]
    assert_close(made.middle_m, middle)
    moved = points - points[1].flatten(0, 1).nanmedian(0).values
    assert_close(poses(made, moved)[1, 2], mean - middle * [1, 1, 0])
    with pytest.raises(ValueError, match="no pose has all of its joints"):
        made.head.fit_poses(np.full((3, 25, 3), np.nan))


def test_the_root_moves_the_whole_body():
    """With the spreads 1, 2 and 3 m of the root, its three numbers are so many of these."""
    head = PoseHead(1)
    torch.nn.init.zeros_(head.linear.weight)
    root = torch.tensor([[0.0, 0.0, 0.0], [2.0, 4.0, 6.0]])
    body = torch.zeros(2, 25, 3)
    head.fit_poses((root[:, None] + body).numpy())
    with torch.no_grad():
        head.linear.bias[:3] = 1.0
        assert_close(head(torch.zeros(1, 1))[0], np.tile([2.0, 4.0, 6.0], (25, 1)))
    assert_close(head.root_spread_m, [1.0, 2.0, 3.0])


def test_the_order_in_which_points_come_does_not_matter(rng):
    points = windows(rng)
    mixed = points[:, :, torch.from_numpy(rng.permutation(SMALL.points))]
    for order, same in (("height", True), ("given", False)):
        made = network(dataclasses.replace(SMALL, order=order))
        assert np.allclose(poses(made, points), poses(made, mixed), atol=1e-4) == same


def test_a_pose_goes_where_the_points_go_on_the_floor_plan(rng):
    """Moved by 1.3 m and -0.7 m so is the pose; a height is the radar's, and says something."""
    points, made = windows(rng), network()
    points[0, 2, 3:, :3] = torch.nan
    found = poses(made, points)
    moved = points + torch.tensor([1.3, -0.7, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(poses(made, moved), found + [1.3, -0.7, 0.0], atol=1e-4)
    lifted = poses(made, points + torch.tensor([0.0, 0.0, 0.5, 0.0, 0.0]))
    assert np.abs(lifted - found - [0.0, 0.0, 0.5]).max() > 0.01


def test_a_second_person_does_not_pull_the_pose_over(rng):
    """Of whose echoes 40 % of a window are, 2 m aside: the middle stays in the first body."""
    made = PointPose(SMALL).eval()
    torch.nn.init.zeros_(made.head.linear.weight)
    made.head.fit_poses(np.zeros((4, 25, 3), np.float32))
    points = 0.1 * windows(rng, batch=1)
    points[:, :, 5:, 1] += 2.0  # 3 of 8
    other = rng.random((1, SMALL.frames, 5)) < 0.04
    points[:, :, :5, 1] += 2.0 * torch.from_numpy(other).float()
    share = float((points[..., 1] > 1.0).float().mean())
    assert 0.375 <= share <= 0.45
    assert abs(float(poses(made, points)[..., 1].max())) < 0.2


def test_points_that_are_not_there_say_nothing(rng):
    """Whatever stands beside an unknown place, and wherever in the frame it stands."""
    points = windows(rng)
    points[:, 1, 3:, :3] = torch.nan
    points[:, 4] = torch.nan  # a lost frame
    other = points.clone()
    other[:, 1, 3:, 3:] = 99.0
    other[:, 4, :, 3:] = -99.0
    made = network()
    found = poses(made, points)
    assert np.isfinite(found).all()
    assert_close(poses(made, other), found)
    assert_close(poses(made, points.flip(2)), found)


def test_unknown_speeds_and_strengths_are_allowed(rng):
    points = windows(rng)
    known = poses(network(), points)
    points[..., 3:] = torch.nan
    found = poses(network(), points)
    assert np.isfinite(found).all() and np.abs(found - known).max() > 1e-3
    points[..., 3:] = torch.inf
    assert_close(poses(network(), points), found)


def test_strengths_count_among_each_other_only(rng):
    points = windows(rng)
    found = poses(network(), points)
    points[..., 4] += 40.0
    assert_close(poses(network(), points), found)


def test_an_empty_window_has_no_pose(rng):
    points = windows(rng, batch=3)
    points[1] = torch.nan
    found = poses(network(), points)
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, 2]]).all()
    one = torch.full_like(points[:1], torch.nan)
    one[0, 2, 5] = 1.0  # one point is enough
    assert np.isfinite(poses(network(), one)).all()


def test_windows_do_not_mix(rng):
    points = windows(rng, batch=4)
    made = network()
    for k in range(4):
        assert_close(poses(made, points[k : k + 1])[0], poses(made, points)[k])


def test_every_frame_hears_of_the_others(rng):
    """Both scans go both ways: the first pose depends on the last frame, the last on the first."""
    points, made = windows(rng, batch=1), network()
    found = poses(made, points)
    for changed, read in ((0, -1), (-1, 0)):
        other = points.clone()
        other[0, changed] *= 1.5
        assert np.abs(poses(made, other)[0, read] - found[0, read]).max() > 1e-5


def test_gradients_reach_all_parameters_through_gaps(rng):
    points = windows(rng)
    points[0, 2, 4:] = torch.nan
    points[1, 3] = torch.nan
    made = network().train()
    made(points).square().mean().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("shape", [(1, 5, 8, 5), (1, 6, 9, 5), (1, 6, 8, 4), (6, 8, 5)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"points must be \(batch, 6 frames, 8 points, 5\), got"):
        network()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"points": 0}, "points must be at least 1"),
        ({"order": "up"}, "order must be height or given"),
    ],
)
def test_wrong_configurations_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(SMALL, **changes)


def test_the_preset_is_small():
    made = PointPose(PRESETS["points"])
    assert sum(p.numel() for p in made.parameters()) < 500_000
    assert made.head.mean_m.shape == (len(KINECT25.joints), 3)
    assert point_pose.VALUES == 5
