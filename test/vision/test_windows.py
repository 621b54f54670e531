"""Poses of single windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tolerances import assert_close

from radar_pose_ros.datasets.simulated_rigs import SimulatedRig
from radar_pose_ros.vision.alignment import ALIGNED
from radar_pose_ros.vision.comparators import hold_last, linear, windows_of
from radar_pose_ros.vision.windows import METHODS, aligned, triangulate_windows


def test_windows_give_what_recordings_give() -> None:
    """Window by window or a whole recording at once: the same poses."""
    seen = SimulatedRig(("a", "b", "c"), clip_s=2.0, seed=3).recording(0)
    windows = list(windows_of(seen))
    for method, expected in (
        ("linear", linear(seen, causal=True)),
        ("hold_last", hold_last(seen)),
    ):
        for window, row in zip(windows[30:40], range(30, 40), strict=True):
            found = METHODS[method]([window], seen.cameras)
            assert_close(found.joints_m[0], expected.joints_m[row])
            np.testing.assert_allclose(found.errors_px[0], expected.errors_px[row], atol=1e-6)
            np.testing.assert_array_equal(found.used[0], expected.used[row])
            assert found.stamps_s[0] == expected.stamps_s[row]


def test_aligned_views_agree_and_the_old_ones_count_less() -> None:
    """Of views that are always off the pose is that of all, and errors are what they are off."""
    seen = SimulatedRig(("a", "b", "c"), clip_s=2.0, seed=3).recording(0)
    whole = aligned(seen)
    windows = list(windows_of(seen))
    for row in (30, 37):
        found = METHODS["aligned"]([windows[row]], seen.cameras)
        assert_close(found.joints_m[0], whole.joints_m[row])
    views = ALIGNED([windows[30]], seen.cameras)
    assert np.abs(views.taken_off_px).max() > 0.5
    ages = np.nan_to_num(views.age_s)[..., None]
    assert_close(views.weight, views.confidence / (1 + ages / 0.1))
    perfect = [camera.with_perfect_lens for camera in seen.cameras]
    points = [camera.project(whole.joints_m[30]) for camera in perfect]
    off = np.linalg.norm(views.keypoints_px[0] + views.taken_off_px[0] - points, axis=-1)
    np.testing.assert_allclose(whole.errors_px[30], off, atol=1e-6)
    plain = triangulate_windows([windows[30]], seen.cameras, replace(ALIGNED, reconciled=False))
    assert not np.allclose(plain.joints_m[0], whole.joints_m[30], atol=1e-3, equal_nan=True)
