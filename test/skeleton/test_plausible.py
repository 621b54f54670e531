"""Which joints may be somebody's, on either side of each bound."""

from __future__ import annotations

import numpy as np

from radar_pose_ros.skeleton import plausible

NAN = np.nan


def test_bounds() -> None:
    joints = np.array([[1.0, -1e5], [1e5 + 1, 0.0], [NAN, 0.0], [0.0, np.inf], [3.0, 1e30]])
    expected = np.full((5, 2), NAN)
    expected[0] = 1.0, -1e5
    np.testing.assert_array_equal(plausible.within(joints), expected)
    expected[0] = NAN
    np.testing.assert_array_equal(plausible.within(joints, plausible.FARTHEST_M), expected)
    assert joints[1, 0] == 1e5 + 1  # its own copy


def test_bounds_are_where_float32_still_tells_what_they_say() -> None:
    assert np.spacing(np.float32(plausible.FARTHEST_PX)) < 0.01
    assert np.spacing(np.float32(plausible.FARTHEST_M)) < 0.001


def test_one_side_of_the_image_around_it() -> None:
    sides = np.array([[-640, 960], [1280, -480], [-641, 0], [0, 961], [1281, 0], [0, -481]], float)
    found = plausible.near_image(sides, (640, 480))
    np.testing.assert_array_equal(found[:2], sides[:2])
    assert np.isnan(found[2:]).all()


def test_three_metres_from_the_middle_joint() -> None:
    joints = np.zeros((6, 3)) + [5.0, -2.0, 700.0]
    joints[4, 2] += 2.99
    joints[5, 0] -= 3.01
    joints[3] = NAN
    found = plausible.within_reach(joints)
    np.testing.assert_array_equal(np.isfinite(found).all(1), [1, 1, 1, 0, 1, 0])
    assert np.isnan(plausible.within_reach(np.full((6, 3), NAN))).all()
    assert np.isnan(plausible.within_reach(np.full((6, 3), 10_001.0))).all()


def test_who_is_lifted_fills_an_eighth_of_the_image_and_is_in_it() -> None:
    pixels = np.full((7, 4, 2), 50.0)
    pixels[1, 2, 0] += 76.7
    pixels[2, 2, 0] += 76.9
    pixels[3, 1:] = NAN
    pixels[4] = NAN
    pixels[5, :, 1] = [-10.0, 100.0, 200.0, 300.0]
    pixels[6, :, 1] = [-10.0, -20.0, 200.0, 300.0]
    found = plausible.can_be_lifted(pixels, (640, 480))
    np.testing.assert_array_equal(found, [False, False, True, False, False, True, False])


def test_who_is_smaller_by_half_of_the_joints() -> None:
    """The longer side of the box decides; of one joint of four no size is known."""
    pixels = np.full((4, 4, 2), 50.0)
    pixels[0, 1] += [30.0, -29.9]
    pixels[1, 1] += [0.0, 30.8]
    pixels[2, 2:] = NAN
    pixels[3, 1:] = NAN
    np.testing.assert_array_equal(plausible.is_smaller(pixels, 30.72), [True, False, True, False])


def test_nobody_s_joints_lie_on_one_point() -> None:
    """Half of them have to be known: two hips may well be seen in one place."""
    pixels = np.full((6, 4, 2), 50.0)
    pixels[1, 2] += [2.9, -2.9]
    pixels[2, 2, 1] += 3.1
    pixels[3, 2:] = NAN
    pixels[4, 1:] = NAN
    pixels[5] = NAN
    expected = [True, True, False, True, False, False]
    np.testing.assert_array_equal(plausible.is_point(pixels), expected)
    joints_m = np.zeros((3, 17, 3))
    joints_m[1, 5, 2] = 0.09
    joints_m[2, 5, 2] = 0.11
    np.testing.assert_array_equal(plausible.is_point(joints_m), [True, True, False])
