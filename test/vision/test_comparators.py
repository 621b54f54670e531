"""Poses without a network: points on straight and round tracks, whose answers are on paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.skeleton.definitions import BODY25B, H36M17, HUPR14, Skeleton
from radar_pose_ros.vision import comparators
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.comparators import (
    Poses,
    hold_last,
    instants,
    linear,
    slerp,
    synchronous,
    turn_between,
)

JOINTS = len(HUPR14.joints)


@dataclass
class Shots:
    name: str
    camera: PinholeCamera
    stamps_s: np.ndarray
    keypoints_px: np.ndarray
    confidence: np.ndarray


@dataclass
class Views:
    views: list[Shots]
    name: str = "r"
    skeleton: str = "hupr14"
    at_rest_m: np.ndarray = field(default_factory=lambda: np.zeros((JOINTS, 3)))


def film(stamps_s: list[np.ndarray], velocity: tuple[float, float, float]) -> Views:
    """Joints that move evenly, parallel to the image of cameras that are far away.

    From 1000 m a metre is the same number of pixels wherever it is, nearly.
    """
    rest = np.random.default_rng(3).uniform(-0.5, 0.5, (JOINTS, 3))
    views = []
    for number, stamps in enumerate(stamps_s):
        angle = 2.0 * number + 0.3  # none opposite to another
        place = [1000 * np.cos(angle), 1000 * np.sin(angle), 0.0]
        camera = PinholeCamera.looking_at(place, [0, 0, 0], 1e6, (4000, 4000))
        joints = rest + np.multiply.outer(stamps, velocity)[:, None]
        pixels = camera.project(joints)
        views.append(Shots(f"c{number}", camera, stamps, pixels, np.ones(pixels.shape[:2])))
    return Views(views, at_rest_m=rest)


def in_turn(count: int = 3, step_s: float = 0.02, shots: int = 6) -> list[np.ndarray]:
    return [step_s * (number + count * np.arange(shots)) for number in range(count)]


def test_an_even_movement_is_a_straight_line_in_each_view() -> None:
    """Lines find it before and after; what is held is behind by each view's age."""
    seen = film(in_turn(), (0.0, 0.0, 1.0))
    truth = seen.at_rest_m + np.multiply.outer(instants(seen), [0.0, 0.0, 1.0])[:, None]
    between = linear(seen)
    assert_close(between.stamps_s.round(9), (np.arange(18) * 0.02).round(9))
    assert np.abs(between.joints_m[3:-2] - truth[3:-2]).max() < 1e-3
    ahead = linear(seen, causal=True)
    assert np.abs(ahead.joints_m[6:] - truth[6:]).max() < 1e-3
    assert np.abs(ahead.joints_m[-2:] - between.joints_m[-2:]).max() < 1e-3
    held = hold_last(seen)
    # the mean age of the views is (0 + 20 + 40) / 3 ms; here all see a metre upwards alike
    behind = truth[3:] - held.joints_m[3:]
    np.testing.assert_allclose(behind[..., 2], 0.02, rtol=0.02)
    assert held.used[3:].all() and held.errors_px.shape == (18, 3, JOINTS)


def test_who_stands_still_is_the_same_to_all() -> None:
    stamps = np.arange(10) * 0.02
    together = synchronous(film([stamps] * 3, (0, 0, 0)))
    seen = film(in_turn(), (0, 0, 0))
    for method in (hold_last, linear, partial(linear, causal=True), slerp):
        poses = method(seen)
        known = ~np.isnan(poses.joints_m).any((1, 2))
        assert known[3:16].all()
        assert np.abs(poses.joints_m[known] - seen.at_rest_m).max() < 1e-6
    assert np.abs(together.joints_m - seen.at_rest_m).max() < 1e-6
    assert together.used.all() and together.covariance_m2.shape == (10, JOINTS, 3, 3)


def test_one_view_alone_gives_nothing_and_neither_do_old_ones() -> None:
    seen = film([np.array([0.0, 1.0]), np.array([0.1, 3.0])], (0, 0, 0))
    held = hold_last(seen, longest_s=0.5)
    assert_close(held.stamps_s, [0.0, 0.1, 1.0, 3.0])
    assert (~np.isnan(held.joints_m)).all((1, 2)).tolist() == [False, True, False, False]
    assert held.used.any((1, 2)).tolist() == [False, True, False, False]
    line = linear(seen, longest_s=0.95)  # the shots of the first are further apart than that
    assert (~np.isnan(line.joints_m)).all((1, 2)).tolist() == [False, True, True, False]


def test_a_joint_that_the_next_shot_lacks_goes_on_as_it_went() -> None:
    stamps = [np.array([0.0, 0.1, 0.2]), np.array([0.05, 0.15])]
    seen = film(stamps, (0.0, 0.0, 1.0))
    seen.views[0].keypoints_px[2, 4:6] = np.nan
    seen.views[0].confidence[2] = 0.5
    seen.views[0].confidence[2, 4:6] = 0.0
    seen.views[0].keypoints_px[0, 5] = np.nan
    poses = linear(seen)
    height = poses.joints_m[3, :, 2] - seen.at_rest_m[:, 2]  # at 0.15 s
    np.testing.assert_allclose(np.delete(height, 5), 0.15, atol=1e-3)
    np.testing.assert_allclose(height[5], (0.10 + 0.15) / 2, atol=1e-3)  # only one shot has it
    # A line takes the lesser confidence: 1 / (0.5^2 + 1^2) beside 1 / (1^2 + 1^2).
    ratio = poses.covariance_m2[3, 0, 2, 2] / poses.covariance_m2[1, 0, 2, 2]
    np.testing.assert_allclose(ratio, 1.6, rtol=1e-2)


def test_next_shots_are_those_after_the_newest() -> None:
    seen = film([np.array([0.0, 0.1, 0.9]), np.array([0.05, 0.15])], (0, 0, 0))
    known = [
        [shot and shot.stamp_s for shot in comparators.next_shots(window, seen, 0.5)]
        for window in comparators.windows_of(seen, 0.5)
    ]
    assert known == [[0.1, None], [0.1, 0.15], [None, 0.15], [None, None], [None, None]]


def line_skeleton() -> Skeleton:
    return Skeleton(
        "arm", ("root", "elbow", "hand"), ((0, 1), (1, 2)), (), (1.0, 1.0, 1.0), root=0
    )


def test_bones_turn_and_keep_their_length() -> None:
    """A quarter turn is half done at 45 degrees; a straight line would shorten the bone."""
    arm = line_skeleton()
    first = np.array([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]])
    second = np.array([[[0.0, 0, 2], [0, 1, 2], [0, 4, 2]]])  # the forearm grows from 1 to 3
    half = turn_between(first, second, [0.5], arm)[0]
    side = np.sqrt(0.5)
    assert_close(half[0], [0, 0, 1])
    assert_close(half[1], [side, side, 1])
    assert_close(half[2], [3 * side, 3 * side, 1])
    third = turn_between(first, second, [1 / 3], arm)[0, 1]
    assert_close(third, [np.cos(np.pi / 6), 0.5, 2 / 3])
    assert_close(turn_between(first, second, [0.0], arm), first)
    assert_close(turn_between(first, second, [1.0], arm), second)


def test_where_bones_cannot_turn_joints_go_straight() -> None:
    arm = line_skeleton()
    first = np.array([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]])
    opposite = np.array([[[0.0, 0, 0], [-1, 0, 0], [-1, 1, 0]]])
    half = turn_between(first, opposite, [0.5], arm)[0]
    assert_close(half[1], [0, 0, 0])
    assert_close(half[2], [np.sqrt(0.5), np.sqrt(0.5), 0])
    unknown = np.array([[[0.0, 0, 0], [np.nan, 1, 0], [2, 2, 0]]])
    half = turn_between(first, unknown, [0.5], arm)[0]
    assert np.isnan(half[1]).all()
    assert_close(half[2], [2, 1, 0])


@pytest.mark.parametrize("skeleton", [HUPR14, H36M17, BODY25B])
def test_each_joint_hangs_on_the_root_by_one_bone(skeleton: Skeleton) -> None:
    bones = comparators._bones_from_root(skeleton)
    assert sorted(child for _, child in bones) == list(range(len(skeleton.joints)))
    known = {-1}
    for parent, child in bones:
        assert parent in known
        known.add(child)
    loose = Skeleton("loose", ("a", "b", "c"), ((0, 1),), (), (1.0, 1.0, 1.0), root=0)
    with pytest.raises(ValueError, match="skeleton loose: its bones do not hang together"):
        comparators._bones_from_root(loose)


def test_slerp_goes_from_round_to_round() -> None:
    seen = film(in_turn(), (0.0, 0.0, 1.0))
    poses, line = slerp(seen), linear(seen)
    # from the second shot of the first camera on: at its first it is alone
    known = (~np.isnan(poses.joints_m)).all((1, 2))
    assert known.tolist() == [False] * 3 + [True] * 13 + [False] * 2
    key = [3, 6, 9, 12, 15]
    assert_close(poses.joints_m[key], line.joints_m[key])
    truth = seen.at_rest_m + np.multiply.outer(poses.stamps_s, [0.0, 0.0, 1.0])[:, None]
    assert np.abs(poses.joints_m[3:16] - truth[3:16]).max() < 1e-3
    assert np.isnan(poses.errors_px[4]).all() and poses.used[4].all()
    third = (2 * line.covariance_m2[3] + line.covariance_m2[6]) / 3
    np.testing.assert_allclose(poses.covariance_m2[4], third, rtol=1e-6)
    at = slerp(seen, [0.10, 0.105])
    assert_close(at.stamps_s, [0.10, 0.105])
    np.testing.assert_allclose(at.joints_m[0], poses.joints_m[5], atol=1e-9)
    assert np.isnan(slerp(seen, longest_s=0.05).joints_m[4]).all()


def test_rows_of_instants() -> None:
    stamps = np.array([0.0, 0.5, 1.0])
    assert comparators.rows_at(stamps, [0.5000004, 0.75, 1.0, -1.0, 2.0]).tolist() == [
        *(1, -1, 2, -1, -1)
    ]
    assert comparators.rows_at(np.zeros(0), [1.0]).tolist() == [-1]


def test_no_shots_no_poses() -> None:
    empty = film([np.zeros(0)] * 2, (0, 0, 0))
    for method in (hold_last, linear, slerp, synchronous):
        poses: Poses = method(empty)
        assert poses.joints_m.shape == (0, JOINTS, 3) and poses.used.shape == (0, 2, JOINTS)
    assert np.isnan(slerp(empty, [1.0]).joints_m).all()


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="r: c0 has 6 shots at 18 instants"):
        synchronous(film(in_turn(), (0, 0, 0)))
    with pytest.raises(ValueError, match="longest_s must be positive"):
        hold_last(film(in_turn(), (0, 0, 0)), longest_s=0)
    with pytest.raises(ValueError, match="two cameras or more, got 1"):
        hold_last(film(in_turn(1), (0, 0, 0)))
