"""What networks that lift joints see: by hand, and the same in training and in use."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.skeleton import image
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.training import camera_windows
from radar_pose_ros.training.camera_windows import ViewBatches, ViewData, fixed_windows

JOINTS = len(H36M17.joints)
NAN = np.nan


def test_the_width_becomes_minus_one_to_one_and_what_is_missing_zero() -> None:
    pixels = np.full((1, 1, 3, 2), NAN)
    pixels[0, 0, 0] = 0, 0
    pixels[0, 0, 1] = 400, 100
    pixels[0, 0, 2] = 400, NAN  # half a joint is none
    found = image.network_input(pixels, (400, 200))
    assert (found.dtype, found.shape) == (np.float32, (1, 2, 3, 1))
    assert_close(found[0, :, :, 0].T, np.float32([[-1, -0.5], [1, 0], [0, 0]]))
    with pytest.raises(ValueError, match="windows, frames, joints, 2"):
        image.network_input(pixels[0], (400, 200))
    with pytest.raises(ValueError, match="a width and a height above 0 px, got \\(0, 200\\)"):
        image.network_input(pixels, (0, 200))


def test_normalised_pixels() -> None:
    corners = [[0, 0], [1000, 800], [500, 400]]
    expected = [[-1, -0.8], [1, 0.8], [0, 0]]
    assert_close(image.normalise(corners, (1000, 800)), expected)
    assert_close(image.denormalise(expected, (1000, 800)), np.array(corners, float))


def test_missing_joints_become_zero() -> None:
    keypoints = np.full((2, 3, 2), 0.5)
    keypoints[0, 1] = NAN
    keypoints[1, 2, 0] = NAN
    filled = image.fill_missing(keypoints)
    assert (filled[0, 1] == 0).all() and (filled[1, 2] == 0).all()
    assert filled.sum() == 4 * 2 * 0.5


@pytest.mark.parametrize("occlusion", ["none", "random", "frames"])
def test_training_and_use_give_the_same_input(
    occlusion: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit: windows that are measured, and those that are learnt from."""
    joints = rng.uniform([-0.3, -0.3, 0.0], [0.3, 0.3, 1.8], (40, JOINTS, 3))
    source = PoseSequence("jitter", "nobody", "none", 50.0, H36M17.name, joints, "none")
    data = ViewData(occlusion=occlusion)
    windows = fixed_windows([source], 9, data)
    sizes = {camera.size_px for camera in windows.cameras}
    assert sizes == {(1000, 1000)}
    used = image.network_input(windows.seen(occlusion), (1000, 1000))
    np.testing.assert_array_equal(used, windows.keypoints(occlusion).numpy())

    kept = []

    def keep(pixels: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
        kept.append((pixels, size_px))
        return image.network_input(pixels, size_px)

    monkeypatch.setattr(camera_windows, "network_input", keep)
    batch = ViewBatches([source], 9, 3, data, seed=1)(0)
    assert {size for _, size in kept} == {(1000, 1000)}
    used = image.network_input(np.concatenate([pixels for pixels, _ in kept]), (1000, 1000))
    np.testing.assert_array_equal(used, batch.keypoints.numpy())


def test_ends_repeat_the_nearest_frame_and_the_middle_stays_empty() -> None:
    keypoints = np.full((6, 2, 2), NAN)
    keypoints[1, 0] = 1.0
    keypoints[4, 1] = 4.0
    filled = image.fill_ends(keypoints)
    np.testing.assert_array_equal(filled[0], keypoints[1])
    np.testing.assert_array_equal(filled[1:5], keypoints[1:5])
    np.testing.assert_array_equal(filled[5], keypoints[4])
    assert np.isnan(image.fill_ends(np.full((3, 2, 2), NAN))).all()
