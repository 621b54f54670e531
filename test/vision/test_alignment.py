"""Shots brought to one instant: what moves evenly, what views always disagree by, and gaps."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.vision.alignment import at_instant, disagreement_px
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.interleaving import Shot, Window
from radar_pose_ros.vision.triangulation import triangulate

CAMERAS = [
    PinholeCamera.looking_at(place, [0, 0, 1], 800, (1000, 1000))
    for place in ([4, 0, 1.5], [0, 4, 1.0], [-4, 1, 1.2])
]


def shot(stamp_s: float, pixels: float, confidence: float = 1.0, joints: int = 2) -> Shot:
    return Shot(stamp_s, np.full((joints, 2), float(pixels)), np.full(joints, confidence))


def walking(stamp_s: float) -> np.ndarray:
    """Two joints that glide along."""
    return np.array([[0.0, 0.0, 1.0], [0.2, 0.1, 1.5]]) + stamp_s * np.array([0.4, 0.3, 0.0])


def seen(stamp_s: float, view: int, off_px: float = 0.0) -> Shot:
    pixels = CAMERAS[view].project(walking(stamp_s)) + off_px
    return Shot(stamp_s, pixels, np.ones(len(pixels)))


def test_an_even_movement_goes_on() -> None:
    """10 px in 0.1 s go on for 0.05 s: 5 px more, or half of that."""
    before = (shot(1.0, 100, 0.4), None)
    newest = (shot(1.1, 110, 0.8), shot(1.15, 7))
    window = Window(1.15, 1, newest, before)
    pixels, confidence = at_instant(window)
    np.testing.assert_allclose(pixels[0], 115.0, atol=1e-9)
    assert_close(pixels[1], np.full((2, 2), 7.0))
    assert_close(confidence, [[0.4, 0.4], [1.0, 1.0]])
    np.testing.assert_allclose(at_instant(window, 0.5)[0][0], 112.5, atol=1e-9)
    held, full = at_instant(window, 0.0)
    assert_close(held[0], np.full((2, 2), 110.0))
    assert_close(full[0], [0.8, 0.8])


def test_the_next_shot_says_where_to() -> None:
    """From 110 to 140 px in 0.2 s: a quarter of it after 0.05 s, whatever was before."""
    window = Window(
        1.15,
        1,
        (shot(1.1, 110, 0.8), shot(1.15, 7)),
        (shot(1.0, 500, 0.4), None),
    )
    after = shot(1.3, 140, 0.5), shot(1.2, 900)
    pixels, confidence = at_instant(window, 0.5, after)
    np.testing.assert_allclose(pixels[0], 117.5, atol=1e-9)
    assert_close(pixels[1], np.full((2, 2), 7.0))  # its own shot
    assert_close(confidence[0], [0.5, 0.5])


def test_a_joint_that_a_shot_does_not_know_is_taken_from_the_others() -> None:
    before, newest, after = shot(0.0, 10), shot(0.1, 20), shot(0.2, 100)
    after.keypoints_px[0], after.confidence[0] = np.nan, 0.0
    window = Window(0.15, 1, (newest, shot(0.15, 1)), (before, None))
    pixels, confidence = at_instant(window, after=(after, shot(0.16, 1)))
    np.testing.assert_allclose(pixels[0], [[25, 25], [60, 60]], atol=1e-9)
    before.keypoints_px[0] = np.nan
    assert_close(at_instant(window, after=(after, None))[0][0, 0], [20.0, 20.0])
    assert confidence[0].tolist() == [1.0, 1.0]
    missing = Window(0.15, 1, (None, shot(0.15, 1)), (None, None))
    pixels, confidence = at_instant(missing)
    assert np.isnan(pixels[0]).all() and confidence[0].tolist() == [0, 0]


@pytest.mark.parametrize("gap_s", [0.1, 0.01, 0.001])
def test_a_movement_goes_on_no_further_than_it_was_seen(gap_s: float) -> None:
    """Of two shots 3 px apart: not 60 px on, where they are bunched; before, all is as it was."""
    window = Window(
        1.16, 1, (shot(1.1, 110), shot(1.16, 7)), (shot(1.1 - gap_s, 107), shot(1.0, 7))
    )
    pixels, _ = at_instant(window)
    np.testing.assert_allclose(pixels[0], 110 + 3 * min(1.0, 0.06 / gap_s), atol=1e-6)
    half, _ = at_instant(window, 0.5)
    np.testing.assert_allclose(half[0] - 110, (pixels[0] - 110) / 2, atol=1e-6)


def window_of(off_px: list[float]) -> Window:
    """Cameras in turn, 0.1 s between shots of each, whose keypoints are off by so much."""
    ages = [0.0, 0.03, 0.06]
    before, newest = (
        tuple(seen(1.0 - age + shift, view, off_px[view]) for view, age in enumerate(ages))
        for shift in (-0.1, 0.0)
    )
    return Window(1.0, 0, newest, before)


def test_a_movement_is_no_disagreement() -> None:
    """A line in space is nearly one in an image: it leaves hundredths of a pixel of 20."""
    moved = np.abs(window_of([0, 0, 0]).keypoints_px[2] - seen(1.0, 2).keypoints_px)
    assert moved.max() > 3
    found = disagreement_px([window_of([0, 0, 0])], CAMERAS)
    assert found.shape == (1, 3, 2, 2) and np.abs(found).max() < 0.05


def test_what_is_always_wrong_is_found_whatever_the_movement() -> None:
    """Without it all views agree: their points are where the triangulation of the wrong is."""
    windows = [window_of([0, 0, 0]), window_of([4.0, -3.0, 2.0])]
    found = disagreement_px(windows, CAMERAS)[1]
    assert np.abs(found).max() > 1
    still = [seen(1.0, view, off).keypoints_px for view, off in enumerate([4.0, -3.0, 2.0])]
    agreed = np.stack(still) - found
    assert triangulate(np.stack(still), None, CAMERAS).errors_px.max() > 2
    assert triangulate(agreed, None, CAMERAS).errors_px.max() < 0.1


def test_a_view_that_is_far_off_is_not_made_to_agree() -> None:
    found = disagreement_px([window_of([0.0, 0.0, 0.0])], CAMERAS)
    four = [*CAMERAS, PinholeCamera.looking_at([1, -4, 1], [0, 0, 1], 800, (1000, 1000))]
    wrong = Shot(0.95, four[3].project(walking(0.95)) + 300, np.ones(2))
    earlier = Shot(0.85, four[3].project(walking(0.85)) + 300, np.ones(2))
    good = window_of([0.0, 0.0, 0.0])
    window = Window(1.0, 0, (*good.newest, wrong), (*good.before, earlier))
    with_it = disagreement_px([window], four)
    assert (with_it[0, 3] == 0).all()
    np.testing.assert_allclose(with_it[0, :3], found[0], atol=0.1)


def test_where_there_is_no_common_instant_nothing_is_taken_off() -> None:
    assert disagreement_px([], CAMERAS).shape == (0, 3, 0, 2)
    good = window_of([4.0, -3.0, 2.0])
    alone = Window(1.0, 0, good.newest, (None, None, good.before[2]))
    assert (disagreement_px([alone], CAMERAS) == 0).all()
    # the first view's shots are both younger than the others'
    first = tuple(seen(stamp, view, 5.0) for view, stamp in enumerate([0.8, 0.5, 0.55]))
    second = tuple(seen(stamp, view, -5.0) for view, stamp in enumerate([0.9, 0.6, 0.65]))
    assert (disagreement_px([Window(0.9, 0, second, first)], CAMERAS) == 0).all()
