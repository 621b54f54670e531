"""What a camera sees of a sequence."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets.camera_views import view
from radar_pose_ros.datasets.simulated_poses import simulate_sequence
from radar_pose_ros.simulation.cameras import random_camera


def test_projected_truth_and_detections() -> None:
    sequence = simulate_sequence(0, 1.0, 25.0, "train")
    camera = random_camera(sequence.joints_m, np.random.default_rng(0))
    seen = view(sequence, camera, number=2)
    assert (seen.name, seen.subject, seen.rate_hz) == (
        "train_00000@camera2",
        sequence.subject,
        25.0,
    )
    assert seen.keypoints_px.shape == (25, 17, 2) and seen.joints_m.dtype == np.float32
    assert_close(seen.keypoints_px, camera.project(sequence.joints_m).astype(np.float32))
    assert_close(camera.to_world(seen.joints_m).astype(np.float32), sequence.joints_m)
    # detections may run on, but not be too few
    detected = np.concatenate([seen.keypoints_px + 1, np.zeros((3, 17, 2))])
    assert_close(view(sequence, camera, detected).keypoints_px, seen.keypoints_px + 1)
    with pytest.raises(ValueError, match=r"train_00000, camera 0: \(25, 17\) joints, but keypo"):
        view(sequence, camera, detected[:24])
