"""Sequences of poses: rates, gaps, splits and sides."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets import pose_sequences, simulated_poses
from radar_pose_ros.datasets.pose_sequences import PoseSequence, check_sides
from radar_pose_ros.metrics.pose3d import symmetry_gap
from radar_pose_ros.skeleton.definitions import H36M17


def sequence(joints_m: np.ndarray, rate_hz: float = 10.0, **changes: str) -> PoseSequence:
    fields = {"name": "a", "subject": "s1", "action": "walk", "skeleton": "h36m17"}
    return PoseSequence(
        **{**fields, **changes}, rate_hz=rate_hz, joints_m=joints_m, licence="ours"
    )


def cubic(rate_hz: float, frames: int) -> np.ndarray:
    """Every joint on a cubic of its own, which a cubic spline follows exactly."""
    time_s = np.arange(frames)[:, None, None] / rate_hz
    factors = np.random.default_rng(0).normal(size=(4, 17, 3))
    return sum(factor * time_s**power for power, factor in enumerate(factors))


@pytest.mark.parametrize(("rate_hz", "frames"), [(50.0, 96), (25.0, 48), (7.0, 14), (10.0, 20)])
def test_resampling_follows_cubics(rate_hz: float, frames: int) -> None:
    """20 frames at 10 Hz last from 0 to 1.9 s."""
    resampled = sequence(cubic(10.0, 20)).resampled(rate_hz)
    assert resampled.rate_hz == rate_hz and len(resampled.joints_m) == frames
    assert_close(resampled.joints_m, cubic(rate_hz, frames).astype(np.float32))
    assert resampled.joints_m.dtype == np.float32


def test_rates_without_a_common_divisor_keep_the_last_instant() -> None:
    resampled = sequence(cubic(60.0, 61), 60.0).resampled(50.0)
    assert len(resampled.joints_m) == 51
    assert_close(resampled.joints_m[-1], cubic(60.0, 61)[-1].astype(np.float32))


def test_gaps_stay_gaps() -> None:
    """At twice the rate, the instant between a known and an unknown frame is unknown."""
    joints = cubic(10.0, 10)
    joints[4, 3] = np.nan
    joints[6:, 5, 0] = np.nan
    joints[:, 7] = np.nan
    joints[:9, 8] = np.nan  # one frame is left
    resampled = sequence(joints).resampled(20.0)
    unknown = np.isnan(resampled.joints_m).any(-1)
    np.testing.assert_array_equal(np.flatnonzero(unknown[:, 3]), [7, 8, 9])
    np.testing.assert_array_equal(np.flatnonzero(unknown[:, 5]), np.arange(11, 19))
    assert unknown[:, 7].all() and not unknown[:, [0, 1, 2, 4, 6, *range(9, 17)]].any()
    np.testing.assert_array_equal(np.flatnonzero(~unknown[:, 8]), [18])
    assert_close(resampled.joints_m[18, 8], joints[9, 8].astype(np.float32))
    assert_close(resampled.joints_m[:, 0], cubic(20.0, 19)[:, 0].astype(np.float32))


def test_short_ones_can_be_resampled() -> None:
    assert len(sequence(cubic(10.0, 1)).resampled(50.0).joints_m) == 1
    assert len(sequence(cubic(10.0, 0)).resampled(50.0).joints_m) == 0
    assert len(sequence(cubic(10.0, 2)).resampled(50.0).joints_m) == 6


@pytest.mark.parametrize("wave_hz", [1.0, 8.0, 10.0, 16.0])
def test_smoothing_keeps_slow_movements_and_removes_fast_ones(wave_hz: float) -> None:
    """Butterworth's power, 1 / (1 + f^8), once for each direction; frequencies as bent by it."""
    time_s = np.arange(600) / 60
    wave = np.broadcast_to(np.sin(2 * np.pi * wave_hz * time_s)[:, None, None], (600, 17, 3))
    smooth = sequence(wave, 60.0).smoothed(8.0).joints_m[180:420]
    bent = np.tan(np.pi * wave_hz / 60) / np.tan(np.pi * 8 / 60)
    # nothing is late: it is the same wave
    np.testing.assert_allclose(smooth, wave[180:420] / (1 + bent**8), atol=1e-4)


def test_smoothing_does_not_cross_gaps() -> None:
    joints = np.zeros((40, 17, 3))
    joints[20:] = 1.0
    joints[18:20, 4] = np.nan
    joints[:37, 5] = np.nan
    smooth = sequence(joints).smoothed(1.0).joints_m
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(joints))
    np.testing.assert_allclose(smooth[:18, 4], 0, atol=1e-6)
    np.testing.assert_allclose(smooth[20:, 4], 1, atol=1e-6)
    np.testing.assert_allclose(smooth[37:, 5], 1, atol=1e-6)  # three frames
    assert 0.3 < smooth[20, 0, 0] < 0.7
    with pytest.raises(ValueError, match=r"a: want a frequency between 0 and 5\.0 Hz, got 5"):
        sequence(joints).smoothed(5)


def test_whole_pieces() -> None:
    joints = cubic(10.0, 12)
    joints[4, 3] = np.nan
    joints[7:9] = np.nan
    pieces = sequence(joints).whole_pieces(shortest_s=0.3)
    assert [(piece.name, len(piece.joints_m)) for piece in pieces] == [("a@0", 4), ("a@9", 3)]
    assert_close(pieces[1].joints_m, joints[9:].astype(np.float32))
    assert [piece.name for piece in sequence(joints).whole_pieces()] == ["a@0", "a@5", "a@9"]


def test_splits_are_by_subject() -> None:
    people = [sequence(cubic(10.0, 60), name=n, subject=s) for n, s in ("ax", "by", "cx", "dz")]
    rest, held_out = pose_sequences.split_by_subject(people, ["x"])
    assert [s.name for s in rest] == ["b", "d"] and [s.name for s in held_out] == ["a", "c"]
    with pytest.raises(ValueError, match="no sequence of w, there are x, y, z"):
        pose_sequences.split_by_subject(people, ["w"])
    minutes = pose_sequences.minutes_by_subject(people)
    assert minutes == pytest.approx({"x": 0.2, "y": 0.1, "z": 0.1})
    joints = cubic(10.0, 60)
    joints[30:] = np.nan
    assert pose_sequences.minutes_by_subject([sequence(joints)]) == pytest.approx({"s1": 0.05})


def test_wrong_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a: h36m17 wants \(frames, 17, 3\), got \(5, 14, 3\)"):
        sequence(np.zeros((5, 14, 3)))
    with pytest.raises(ValueError, match="a: the rate must be positive, got 0 Hz"):
        sequence(np.zeros((5, 17, 3)), rate_hz=0)
    with pytest.raises(ValueError, match="the rate must be positive"):
        sequence(np.zeros((5, 17, 3))).resampled(-1.0)
    with pytest.raises(ValueError, match="no mapping from h36m17 to cmu23"):
        sequence(np.zeros((5, 17, 3))).converted("cmu23")


# --- simulated people ---------------------------------------------------------------------------


def test_simulated_people_are_reproducible_and_keep_their_bones() -> None:
    first, second = simulated_poses.simulate_sequences(2, 4.0, 50.0, "test")
    assert len(first.joints_m) == 200 and first.duration_s == 4.0
    again = simulated_poses.simulate_sequence(0, 4.0, 50.0, "test")
    np.testing.assert_array_equal(first.joints_m, again.joints_m)
    assert np.isfinite(first.joints_m).all() and first.skeleton == "h36m17"
    assert (first.name, first.subject) == ("test_00000", "simulated_0_test_00000")
    assert first.action.split(", ")[0] in ("kick", "lunge", "arm_circle")
    assert np.abs(first.joints_m[0] - second.joints_m[0]).max() > 0.01
    assert symmetry_gap(first.joints_m) < 1e-6
    shank_m = np.linalg.norm(first.joints_m[:, 2] - first.joints_m[:, 3], axis=-1)
    assert np.ptp(shank_m) < 1e-3
    check_sides(first.joints_m, first.skeleton, "simulated")
    with pytest.raises(ValueError, match="unknown split 'val'"):
        simulated_poses.simulate_sequence(0, 1.0, 50.0, "val")


def test_a_simulated_movement_is_the_same_at_every_rate() -> None:
    fast = simulated_poses.simulate_sequence(3, 3.02, 50.0, "train")
    slow = simulated_poses.simulate_sequence(3, 3.02, 25.0, "train")
    assert_close(fast.joints_m[::2][:75], slow.joints_m[:75])


# --- sides --------------------------------------------------------------------------------------


def test_exchanged_sides_are_noticed() -> None:
    joints = simulated_poses.simulate_sequence(1, 20.0, 10.0, "train").joints_m
    check_sides(joints, "h36m17", "here")
    legs = [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]
    with pytest.raises(ValueError, match="here: left and right of the hips are against"):
        check_sides(joints[:, legs], "h36m17", "here")
    with pytest.raises(ValueError, match=r"here: knees bend 0\.0\d+ m to the back on the mean"):
        check_sides(joints[:, H36M17.mirrored()], "h36m17", "here")
    with pytest.raises(ValueError, match="or the coordinates are left-handed"):
        check_sides(joints * [1, 1, -1], "h36m17", "here")
    turned = joints @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # a camera's axes
    check_sides(turned, "h36m17", "here")
