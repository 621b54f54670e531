"""Poses of single windows."""

from __future__ import annotations

import numpy as np

from radar_pose_ros.datasets.simulated_rigs import SimulatedRig
from radar_pose_ros.vision.comparators import hold_last, linear, windows_of
from radar_pose_ros.vision.windows import EXTRAPOLATIONS, triangulate_windows


def test_windows_give_what_recordings_give() -> None:
    """Window by window or a whole recording at once: the same poses."""
    seen = SimulatedRig(("a", "b", "c"), clip_s=2.0, seed=3).recording(0)
    windows = list(windows_of(seen))
    for method, expected in (
        ("linear", linear(seen, causal=True)),
        ("hold_last", hold_last(seen)),
    ):
        for window, row in zip(windows[30:40], range(30, 40), strict=True):
            found = triangulate_windows([window], seen.cameras, EXTRAPOLATIONS[method])
            np.testing.assert_array_equal(found.joints_m[0], expected.joints_m[row])
            np.testing.assert_array_equal(found.errors_px[0], expected.errors_px[row])
            np.testing.assert_array_equal(found.used[0], expected.used[row])
            assert found.stamps_s[0] == expected.stamps_s[row]
