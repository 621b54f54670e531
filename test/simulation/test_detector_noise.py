"""Errors of a simulated detector: each kind alone, by its statistics."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.simulation import detector_noise
from radar_pose_ros.simulation.detector_noise import DetectorNoise, disturb
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14

FRAMES = 20_000
RATE_HZ = 50.0


def truth(dims: int = 2) -> np.ndarray:
    """Joint number k stands still at 100 k in the first coordinate."""
    joints = np.zeros((FRAMES, 17, dims))
    joints[..., 0] = 100.0 * np.arange(17)
    return joints


def disturbed(seed: int = 0, dims: int = 2, **settings: float) -> np.ndarray:
    """Return the errors of 400 s."""
    rng = np.random.default_rng(seed)
    return disturb(truth(dims), H36M17, RATE_HZ, DetectorNoise(**settings), rng) - truth(dims)


def test_a_perfect_detector_changes_nothing() -> None:
    assert not disturbed().any()


def test_white_noise() -> None:
    errors = disturbed(white=3.0, dims=3)
    assert errors.shape == (FRAMES, 17, 3)
    assert errors.std() == pytest.approx(3.0, rel=0.005)
    assert abs(errors.mean()) < 0.01
    assert abs(np.mean(errors[1:] * errors[:-1])) < 0.05


def test_drift_forgets_by_one_e_in_its_time() -> None:
    """0.3 s are 15 frames."""
    errors = disturbed(drift=4.0, drift_s=0.3)
    assert errors.std() == pytest.approx(4.0, rel=0.02)
    assert errors[0].std() == pytest.approx(4.0, rel=0.3)  # 34 numbers: from the start
    for lag in (5, 15, 30):
        correlation = np.mean(errors[lag:] * errors[:-lag]) / errors.var()
        assert correlation == pytest.approx(np.exp(-lag / 15), abs=0.02)


def test_joints_may_be_worse_than_others() -> None:
    errors = disturbed(white=1.0, drift=1.0, joint_factors=(1.0,) * 16 + (3.0,))
    spread = errors.std(axis=(0, 2))
    np.testing.assert_allclose(spread[:16], np.sqrt(2), rtol=0.05)
    assert spread[16] == pytest.approx(3 * np.sqrt(2), rel=0.05)


def test_outliers() -> None:
    errors = disturbed(outlier_rate=0.02, outlier=50.0)
    hit = errors.any(-1)
    assert hit.mean() == pytest.approx(0.02, rel=0.05)
    assert errors[hit].std() == pytest.approx(50.0, rel=0.02)


def test_swaps_exchange_legs_or_arms_for_runs_of_frames() -> None:
    """0.5 per second of 0.2 s each: 1 - exp(-0.1) of the time."""
    seen = truth() + disturbed(swap_hz=0.5, swap_s=0.2)
    numbers = seen[..., 0] / 100
    exchanged = numbers != np.arange(17)
    legs, arms = exchanged[:, 1], exchanged[:, 11]
    for joints, group in (([1, 2, 3, 4, 5, 6], legs), ([11, 12, 13, 14, 15, 16], arms)):
        assert (exchanged[:, joints] == group[:, None]).all()
        assert group.mean() == pytest.approx(1 - np.exp(-0.1), rel=0.2)
        mirrored = np.array(H36M17.mirrored())[joints]
        assert (numbers[group][:, joints] == mirrored).all()
    assert not exchanged[:, [0, 7, 8, 9, 10]].any()
    assert 0.003 < (legs & arms).mean() < 0.02  # each for itself
    begins = (legs[1:] & ~legs[:-1]).sum()
    assert legs.sum() / begins == pytest.approx(10, rel=0.2)  # frames


def test_missing_joints() -> None:
    missing = np.isnan(disturbed(missing_rate=0.1)).all(-1)
    assert missing.mean() == pytest.approx(0.1, rel=0.02)
    assert np.mean(missing[1:] & missing[:-1]) == pytest.approx(0.01, rel=0.1)


def test_occlusions_last() -> None:
    hidden = np.isnan(disturbed(occlusion_hz=0.25, occlusion_s=0.4)).any(-1)
    assert hidden.mean() == pytest.approx(1 - np.exp(-0.1), rel=0.1)
    begins = (hidden[1:] & ~hidden[:-1]).sum()
    assert hidden.sum() / begins == pytest.approx(0.4 * RATE_HZ, rel=0.1)


def test_windows_do_not_begin_whole() -> None:
    """The first frame of a short window is hidden as often as any other."""
    rng = np.random.default_rng(1)
    noise = DetectorNoise(occlusion_hz=0.5, occlusion_s=0.4)
    hidden = np.mean(
        [np.isnan(disturb(truth()[:9], H36M17, 25.0, noise, rng)[..., 0]) for _ in range(800)],
        axis=(0, 2),
    )
    np.testing.assert_allclose(hidden, 1 - np.exp(-0.2), rtol=0.1)


def test_the_same_detector_at_another_rate() -> None:
    noise = DetectorNoise(drift=1.0, drift_s=0.5, occlusion_hz=0.25, occlusion_s=1.0)
    seen = disturb(truth(), H36M17, 10.0, noise, np.random.default_rng(2)) - truth()
    assert np.isnan(seen).mean() == pytest.approx(1 - np.exp(-0.25), rel=0.1)
    correlation = np.nanmean(seen[5:] * seen[:-5]) / np.nanvar(seen)
    assert correlation == pytest.approx(np.exp(-1), abs=0.02)


def test_seeds_and_inputs() -> None:
    noise = detector_noise.IMAGE_NOISE_PX
    joints = np.random.default_rng(3).normal(size=(40, 14, 2)).astype(np.float32)
    before = joints.copy()
    first, again, other = (
        disturb(joints, HUPR14, 10.0, noise, np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32 and np.nanmax(np.abs(first - other)) > 1
    np.testing.assert_array_equal(joints, before)
    joints[:, 2] = np.nan
    assert np.isnan(
        disturb(joints, HUPR14, 10.0, DetectorNoise(), np.random.default_rng(0))[:, 2]
    ).all()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"missing_rate must be from 0 to 1\.0, got 20"):
        DetectorNoise(missing_rate=20)
    with pytest.raises(ValueError, match="white must be from 0 to inf, got -1"):
        DetectorNoise(white=-1)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"h36m17 wants \(frames, 17, dims\), got \(5, 14, 2\)"):
        disturb(np.zeros((5, 14, 2)), H36M17, 10.0, DetectorNoise(), rng)
    with pytest.raises(ValueError, match="want 17 joint_factors or none, got 2"):
        disturb(truth(), H36M17, 10.0, DetectorNoise(joint_factors=(1.0, 2.0)), rng)
    with pytest.raises(ValueError, match="rate must be positive"):
        disturb(truth(), H36M17, 0.0, DetectorNoise(), rng)
