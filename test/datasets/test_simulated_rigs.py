"""Rigs without end."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.datasets.simulated_rigs import SimulatedRig


def test_cameras_stay_where_people_change() -> None:
    """Perfect detectors see the truth; the next person is another one, before the same cameras."""
    rig = SimulatedRig(("a", "b"), clip_s=2.0, rate_hz=10.0, seed=5, detector="perfect")
    first, second = rig.recording(0), rig.recording(1)
    assert first.skeleton == "h36m17" and [view.name for view in first.views] == ["a", "b"]
    assert first.cameras == second.cameras == rig.cameras
    for number, view in enumerate(first.views):
        np.testing.assert_allclose(view.stamps_s, 0.05 * number + 0.1 * np.arange(20), atol=1e-9)
        truth = view.camera.project(first.joints_at(view.stamps_s))
        known = np.isfinite(view.keypoints_px).all(-1)
        assert known.mean() > 0.9
        np.testing.assert_allclose(view.keypoints_px[known], truth[known], atol=1e-3)
    assert not np.allclose(first.joints_at([1.0]), second.joints_at([1.0]), atol=0.05)
    again = SimulatedRig(("a", "b"), clip_s=2.0, rate_hz=10.0, seed=6, detector="perfect")
    np.testing.assert_array_equal(again.recording(0).joints_at([1.0]), second.joints_at([1.0]))


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="unknown detector 'x', there are perfect"):
        SimulatedRig(("a", "b"), detector="x").recording(0)
    with pytest.raises(ValueError, match="unknown motion 'x'"):
        SimulatedRig(("a", "b"), motion="x").recording(0)
