"""Recordings of several cameras: stamps, order, truth between frames, and thinning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets.multiview import (
    MultiViewRecording,
    SampledJoints,
    ViewShots,
    interleaved,
    random_shutters,
    simulate,
)
from radar_pose_ros.datasets.simulated_poses import simulate_sequence
from radar_pose_ros.simulation.cameras import PinholeCamera
from radar_pose_ros.simulation.multiview import DETECTOR, rig, shutter_times
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14

CAMERA = PinholeCamera.looking_at([4, 0, 1], [0, 0, 1], 1000.0, (1000, 1000))


def shots(stamps: np.ndarray, name: str = "one") -> ViewShots:
    """Keypoints that say which shot they are."""
    keypoints = np.tile(np.arange(len(stamps))[:, None, None], (1, 14, 2)).astype(np.float32)
    return ViewShots(name, CAMERA, stamps, keypoints, np.full((len(stamps), 14), 0.5))


def synchronous(count: int = 3, frames: int = 10) -> MultiViewRecording:
    stamps = 5.0 + np.arange(frames) / 50
    views = tuple(shots(stamps, f"camera{number}") for number in range(count))
    return MultiViewRecording("r", "someone", "walks", "hupr14", views)


def test_interleaved_views_keep_every_nth_shot() -> None:
    thinned = interleaved(synchronous())
    first, second, third = thinned.views
    assert_close(first.stamps_s, [5.0, 5.06, 5.12, 5.18])
    assert_close(second.stamps_s, [5.02, 5.08, 5.14])
    assert_close(third.keypoints_px[:, 0, 0], np.array([2, 5, 8], np.float32))
    stamps, views, numbers = thinned.in_order()
    assert_close(stamps, 5.0 + np.arange(10) / 50)
    assert views.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert numbers.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    two = interleaved(synchronous(), 2)
    assert [len(view.stamps_s) for view in two.views] == [5, 5, 5]
    assert_close(two.views[2].stamps_s, two.views[0].stamps_s)
    with pytest.raises(ValueError, match="r: camera1 and camera0 did not fire together"):
        interleaved(thinned)
    with pytest.raises(ValueError, match="want every 1st shot or fewer, got 0"):
        interleaved(synchronous(), 0)


def test_shots_at_one_instant_are_ordered_by_camera() -> None:
    stamps, views, numbers = synchronous(2, 2).in_order()
    assert_close(stamps, [5.0, 5.0, 5.02, 5.02])
    assert views.tolist() == [0, 1, 0, 1] and numbers.tolist() == [0, 0, 1, 1]
    empty = MultiViewRecording("r", "", "", "hupr14", ())
    assert [len(part) for part in empty.in_order()] == [0, 0, 0]


def test_random_shutters_keep_the_nearest_shots(rng: np.random.Generator) -> None:
    whole = synchronous(40, 500)
    thinned = random_shutters(whole, 10.0, rng)
    firsts = np.array([view.stamps_s[0] for view in thinned.views]) - 5.0
    assert firsts.min() >= 0 and firsts.max() <= 0.1 + 1e-9 and 0.03 < firsts.mean() < 0.07
    assert len(np.unique(firsts.round(6))) > 3
    for view in thinned.views:
        assert 99 <= len(view.stamps_s) <= 100
        assert_close(view.stamps_s, 5.0 + view.keypoints_px[:, 0, 0].astype(float) / 50)
        assert np.abs(np.diff(view.stamps_s) - 0.1).max() < 0.0201
    # more often than there are frames: each frame once
    assert len(random_shutters(whole, 500.0, rng).views[0].stamps_s) == 500
    with pytest.raises(ValueError, match="rate must be positive"):
        random_shutters(whole, 0.0, rng)


def test_truth_between_frames_is_a_cubic() -> None:
    stamps = np.array([0.0, 0.1, 0.25, 0.3, 0.5, 0.6])
    joints = np.stack([stamps**3, stamps, np.ones(6)], axis=-1)[:, None].repeat(2, axis=1)
    joints[3, 1] = np.nan
    truth = SampledJoints(stamps, joints)
    at = np.array([0.2, 0.28, 0.45, 0.6, 0.7, -0.1])
    made = truth(at)
    assert_close(made[:4, 0], np.stack([at**3, at, np.ones(6)], axis=-1)[:4])
    assert np.isnan(made[4:]).all()
    # the second joint is unknown from 0.25 s to 0.5 s
    assert np.isnan(made[1:3, 1]).all() and np.isfinite(made[[0, 3], 1]).all()
    assert_close(truth([0.25, 0.5])[:, 1, 1], [0.25, 0.5])


def test_nothing_is_made_up_over_long_gaps() -> None:
    stamps = np.array([0.0, 0.1, 1.0, 1.1, 3.0])
    truth = SampledJoints(stamps, np.ones((5, 1, 3)), longest_gap_s=0.5)
    made = truth([0.05, 0.5, 1.05, 2.0, 3.0])
    assert np.isfinite(made[[0, 2, 4]]).all() and np.isnan(made[[1, 3]]).all()
    with pytest.raises(ValueError, match="stamps of true joints have to increase"):
        SampledJoints([0.0, 0.0], np.ones((2, 1, 3)))
    with pytest.raises(ValueError, match=r"want stamps \(samples,\) and joints"):
        SampledJoints([0.0], np.ones((2, 1, 3)))


def test_simulated_recording(rng: np.random.Generator) -> None:
    sequence = simulate_sequence(0, 2.0, 50.0, "train")
    cameras = rig(4, sequence.joints_m.mean((0, 1)), rng)
    stamps = shutter_times(4, 1.9, 12.5, "interleaved")
    recording = simulate(sequence, cameras, stamps, rng)
    assert recording.cameras == tuple(cameras) and recording.skeleton == "h36m17"
    assert [view.name for view in recording.views] == [f"camera{k}" for k in range(4)]
    order, _, _ = recording.in_order()
    assert_close(np.diff(order), np.full(len(order) - 1, 0.02))
    # every slot of 20 ms is a frame of the sequence
    assert_close(recording.joints_at(order).astype(np.float32), sequence.joints_m[: len(order)])
    view = recording.views[2]
    pixels = cameras[2].project(recording.joints_at(view.stamps_s))
    seen = view.confidence > 0
    assert seen.mean() > 0.9
    assert_close(view.keypoints_px[seen], pixels[seen].astype(np.float32))
    assert np.isnan(view.keypoints_px[~seen]).all()
    worse = simulate(sequence, cameras, stamps, rng, DETECTOR)
    off = np.linalg.norm(worse.views[2].keypoints_px - pixels, axis=-1)
    assert 2 < np.nanmedian(off) < 12


def test_another_skeleton(rng: np.random.Generator) -> None:
    sequence = simulate_sequence(1, 1.0, 50.0, "train")
    stamps = [np.array([0.0, 0.5])]
    camera = PinholeCamera.looking_at([9, 9, 1], sequence.joints_m.mean((0, 1)), 900.0, (999, 999))
    recording = simulate(sequence, [camera], stamps, rng, DETECTOR)
    fourteen = recording.converted("hupr14")
    neck, thorax = HUPR14.index("neck"), H36M17.index("thorax")
    assert fourteen.views[0].confidence.shape == (2, 14)
    assert_close(fourteen.views[0].confidence[:, neck], recording.views[0].confidence[:, thorax])
    assert_close(fourteen.joints_at([0.3])[:, neck], recording.joints_at([0.3])[:, thorax])
    assert recording.converted("h36m17") is recording
    # a joint made of several is as sure as the least of them
    confidence = np.linspace(0.1, 0.9, 14)[None].repeat(10, axis=0)
    plain = synchronous(1)
    plain = replace(plain, views=(replace(plain.views[0], confidence=confidence),))
    hips = confidence[0, [HUPR14.index("left_hip"), HUPR14.index("right_hip")]]
    made = plain.converted("h36m17").views[0].confidence[:, H36M17.index("pelvis")]
    assert_close(made, np.full(10, hips.min(), np.float32))


def test_without_truth_it_is_unknown() -> None:
    assert np.isnan(synchronous().joints_at([5.0, 5.1])).all()
    assert synchronous().joints_at([5.0, 5.1]).shape == (2, 14, 3)


def test_unknown_keypoints_have_no_confidence() -> None:
    keypoints = np.zeros((1, 14, 2))
    keypoints[0, 3] = np.nan
    view = ViewShots("one", CAMERA, [0.0], keypoints, np.full((1, 14), 0.7))
    assert view.confidence[0, 3] == 0 and view.confidence[0, 4] == np.float32(0.7)


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="one: want finite, increasing stamps"):
        shots(np.array([1.0, 1.0]))
    with pytest.raises(
        ValueError, match=r"one: want keypoints \(1, joints, 2\), got \(2, 14, 2\)"
    ):
        ViewShots("one", CAMERA, [1.0], np.zeros((2, 14, 2)), np.zeros((2, 14)))
    with pytest.raises(ValueError, match=r"one: want confidences \(1, 14\), got \(1, 13\)"):
        ViewShots("one", CAMERA, [1.0], np.zeros((1, 14, 2)), np.zeros((1, 13)))
    with pytest.raises(ValueError, match="r, one: h36m17 wants 17 keypoints, got 14"):
        MultiViewRecording("r", "", "", "h36m17", (shots(np.zeros(1)),))
    with pytest.raises(ValueError, match="r: names of cameras repeat: one, one"):
        MultiViewRecording("r", "", "", "hupr14", (shots(np.zeros(1)), shots(np.zeros(1))))
