"""What is around a face in its thumbnail."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.vision.skin import surroundings

SKIN = np.array([180.0, 130.0, 110.0])
WALL = np.array([90.0, 100.0, 120.0])


def thumbnails(size: int = 32, frames: int = 4) -> np.ndarray:
    """Return a wall, brighter in each frame, with skin in the middle of it."""
    made = np.tile(WALL, (frames, size, size, 1)) + np.arange(frames)[:, None, None, None]
    middle = slice(size // 5, size - size // 5)
    made[:, middle, middle] = SKIN
    return made.astype(np.float32)


@pytest.mark.parametrize("size", [32, 48, 128])
def test_the_wall_is_seen_on_three_sides(size: int) -> None:
    found = surroundings(thumbnails(size), SKIN)
    assert found.shape == (4, 3, 3)
    np.testing.assert_allclose(found, (WALL + np.arange(4)[:, None])[:, None].repeat(3, 1))


def test_places_are_left_right_and_above() -> None:
    images = thumbnails()
    images[:, :8, :4], images[:, :8, 28:], images[:, :3, 4:28] = 40, 80, 160
    images[:, 24:] = 255  # below nothing counts
    images[:, 8:24, :4], images[:, 8:24, 28:] = 40, 80
    np.testing.assert_allclose(surroundings(images, SKIN)[0], [[40] * 3, [80] * 3, [160] * 3])


@pytest.mark.parametrize("value", [SKIN, 0.6 * SKIN, np.full(3, 255.0), np.zeros(3)])
def test_skin_and_what_is_black_or_white_do_not_count(value: np.ndarray) -> None:
    """A hand beside the face has its pulse, too."""
    images = thumbnails()
    images[:, :, :4] = value
    found = surroundings(images, SKIN)
    assert np.isnan(found[:, 0]).all() and np.isfinite(found[:, 1:]).all()
    images[:, :24:2, :4] = WALL
    np.testing.assert_allclose(surroundings(images, SKIN)[:, 0], [WALL] * 4, rtol=1e-6)


def test_a_finger_on_the_lens_has_no_surroundings() -> None:
    images = np.tile(SKIN, (4, 32, 32, 1)) * np.linspace(0.5, 1, 32)[:, None]
    assert np.isnan(surroundings(images, SKIN)).all()


@pytest.mark.parametrize(("other", "counts"), [(0.08, False), (0.17, True)])
def test_what_is_redder_than_the_face_is_no_skin(other: float, counts: bool) -> None:
    """By more than skins of one face differ, 0.12 in the logarithm of red over green."""
    images = thumbnails()
    images[:, :, :4] = SKIN * np.exp([other, 0.0, 0.0])
    assert np.isfinite(surroundings(images, SKIN)[:, 0]).all() == counts


@pytest.mark.parametrize(("share", "counts"), [(2, False), (3, True)])
def test_a_few_pixels_are_no_surroundings(share: int, counts: bool) -> None:
    """Of the 24 rows of pixels beside the face, a tenth at least."""
    images = thumbnails()
    images[:, :, :4] = SKIN
    images[:, :share, :4] = WALL
    assert np.isfinite(surroundings(images, SKIN)[:, 0]).all() == counts


@pytest.mark.parametrize(
    ("value", "counts"), [(3.0, False), (5.0, True), (249.0, True), (251.0, False)]
)
def test_one_channel_that_cannot_swing_is_enough(value: float, counts: bool) -> None:
    images = thumbnails()
    images[:, :, :4] = [60.0, 60.0, value]
    assert np.isfinite(surroundings(images, SKIN)[:, 0]).all() == counts
