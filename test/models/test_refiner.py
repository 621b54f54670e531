"""The refiner against motions and streams whose answer is known on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros.models.deciwatch import DeciWatch, DeciWatchConfig
from radar_pose_ros.models.interpolation import interpolate
from radar_pose_ros.models.mixsynthformer import PRESETS, MixSynthFormer
from radar_pose_ros.models.refiner import (
    InterpolationModel,
    NetworkModel,
    Origin,
    RefinedPoses,
    Refiner,
    fill,
)

RATE_HZ = 30.0
JOINTS, VALUES = 4, 3
OBSERVED, INTERPOLATED, PREDICTED, MISSING = Origin


def line(times_s: np.ndarray) -> np.ndarray:
    """Every joint moves at a constant velocity: (times, joints, values)."""
    rng = np.random.default_rng(0)
    start, velocity = rng.normal(size=(2, JOINTS, VALUES))
    return start + np.asarray(times_s)[:, None, None] * velocity


def wiggle(times_s: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    phase, rate = rng.uniform(0, 6, size=(2, JOINTS, VALUES))
    return np.sin(phase + rate * np.asarray(times_s)[:, None, None])


def refiner(method: str = "linear", segments: int = 4, **options: object) -> Refiner:
    model = InterpolationModel(method, 3, segments, options.pop("future_frames", 0))
    return Refiner(model, JOINTS, VALUES, RATE_HZ, **options)  # type: ignore[arg-type]


def assert_same(one: RefinedPoses, other: RefinedPoses) -> None:
    np.testing.assert_array_equal(one.times_s, other.times_s)
    np.testing.assert_array_equal(one.poses, other.poses)
    np.testing.assert_array_equal(one.origin, other.origin)
    np.testing.assert_array_equal(one.keyframes_s, other.keyframes_s)


# -- blending ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taper", "blend", "weights"),
    [
        (True, 2, [[3, 2, 1], [1, 2, 3]]),
        (True, 3, [[3, 2, 1], [4, 5, 4], [1, 2, 3]]),  # the last 9 frames count 1 to 5 and to 1
        (False, 3, [[1, 1, 1]] * 3),
        (True, 1, [[1, 1, 1]]),
    ],
)
def test_frames_are_the_weighted_mean_of_the_windows_that_cover_them(
    taper: bool, blend: int, weights: list[list[int]]
) -> None:
    """Against windows evaluated one by one: a cubic gives other curves in each.

    By window, of which the segment is the last one, the last but one and so on, and by frame.
    """
    segments, interval = 4, 3
    times_s = np.arange(12) * 0.1
    result = refiner("cubic", segments, blend=blend, taper=taper).push_many(
        times_s, wiggle(times_s)
    )
    shares = np.array(weights) / np.sum(weights, axis=0)
    for frame in range(20, 26):  # in full swing
        segment = (frame - 1) // interval  # between keyframes `segment` and `segment` + 1
        expected = np.zeros((JOINTS, VALUES))
        for k in range(blend):
            last = segment + 1 + k
            part = slice(last - segments, last + 1)
            window = interpolate(
                times_s[part], wiggle(times_s[part]), [frame / RATE_HZ], "cubic"
            ).poses[0]
            expected += shares[k, (frame - 1) % interval] * window
        assert_close(result.times_s[frame], frame / RATE_HZ)
        assert_close(result.poses[frame], expected)


# -- motions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("blend", [1, 2, 4])
@pytest.mark.parametrize("jitter_s", [0.0, 0.012, 0.04])
def test_a_linear_motion_comes_back_exactly(blend: int, jitter_s: float) -> None:
    """In time or late; each frame once, in order, on the grid of the first pose."""
    rng = np.random.default_rng(3)
    times_s = 7.0 + np.arange(40) * 0.1
    times_s[1:] += rng.uniform(0.0, jitter_s, 39)
    subject = refiner(blend=blend)
    result = RefinedPoses.join([subject.push_many(times_s, line(times_s)), subject.flush()])
    numbers = np.round((result.times_s - times_s[0]) * RATE_HZ).astype(int)
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    assert len(result) >= 3 * 38
    assert_close(result.poses, line(result.times_s))
    assert set(np.unique(result.origin)) <= {OBSERVED, INTERPOLATED}


@pytest.mark.parametrize("baseline_s", [0.008, 0.05])
def test_nothing_is_extrapolated_from_two_poses(baseline_s: float) -> None:
    """A pose 10 ms before a point of the grid stands for it, and the next one corrects that."""
    times_s = np.array([0.0, 0.09 - baseline_s, 0.09, 0.2])
    poses = np.zeros((4, JOINTS, VALUES))
    poses[2:] = 0.1  # 12 m/s if 8 ms were enough to tell
    result = refiner(segments=1).push_many(times_s[:3], poses[:3])
    assert len(result) == 4
    assert_close(result.poses[:, 0, 0], 0.1 * np.arange(4) / 3)
    # the one before it lies between two keyframes, and only shapes the line
    expected = [OBSERVED, INTERPOLATED, INTERPOLATED, OBSERVED]
    np.testing.assert_array_equal(result.origin[:, 0], expected)
    later = refiner(segments=2, blend=2)
    poses[3] = 0.21
    result = RefinedPoses.join([later.push_many(times_s, poses), later.flush()])
    assert_close(result.poses[6, 0, 0], 0.21)
    # window 2 alone covers the last segment, and has 0.11 at 0.1 s
    assert_close(result.poses[4:6, 0, 0], 0.11 + 0.1 * np.array([1, 2]) / 3)


@pytest.mark.parametrize("rate_hz", [10.05, 9.95, 10.3, 9.7])
@pytest.mark.parametrize("blend", [1, 3])
def test_a_clock_that_drifts(rate_hz: float, blend: int) -> None:
    """Three minutes: no frame and no window is left out, and latency does not add up."""
    model = Counting("linear", 3, 4)
    subject = Refiner(model, JOINTS, VALUES, RATE_HZ, blend=blend)
    numbers, ages = [], []
    for k in range(1800):
        time_s = k / rate_hz
        result = subject.push(time_s, line([time_s])[0])
        if len(result):
            ages.append(time_s - result.times_s[0])
            numbers += np.round(result.times_s * RATE_HZ).astype(int).tolist()
    assert numbers == list(range(len(numbers)))
    last = math.floor(1799 / rate_hz * RATE_HZ + 0.5)
    assert numbers[-1] == (last // 3 - blend + 1) * 3
    assert model.windows == last // 3 - 3  # one for each point of the grid, once the first is full
    half_frame_s = 0.5 / RATE_HZ
    assert max(ages[1:]) < subject.latency_s + max(0.1, 1 / rate_hz)
    assert min(ages[1:]) >= subject.latency_s - half_frame_s - 1e-9


class Counting(InterpolationModel):
    """Counts its windows."""

    windows = 0

    def refine(self, keyframes: np.ndarray) -> np.ndarray:
        object.__setattr__(self, "windows", self.windows + 1)
        return super().refine(keyframes)


def test_other_keyframe_rates_are_brought_onto_the_grid() -> None:
    """Twice as many, two thirds as many, and ones with gaps below the limit."""
    for step_s, hole in ((0.05, ()), (0.15, ()), (0.1, (10, 11, 12, 13))):
        times_s = np.delete(np.arange(0.0, 4.0, step_s), hole)
        result = refiner(blend=1).push_many(times_s, line(times_s))
        assert len(result) > 100
        assert_close(result.poses, line(result.times_s))


def test_origin_of_regular_keyframes() -> None:
    times_s = np.arange(10) * 0.1
    result = refiner().push_many(times_s, line(times_s))
    expected = np.where(np.arange(len(result)) % 3 == 0, OBSERVED, INTERPOLATED)
    np.testing.assert_array_equal(result.origin, np.repeat(expected[:, None], JOINTS, axis=1))


def sine(times_s: np.ndarray) -> np.ndarray:
    """Every joint swings by 100 units, 1.5 times a second: (times, joints, values)."""
    swing = 100.0 * np.sin(2 * np.pi * 1.5 * np.asarray(times_s))
    return np.broadcast_to(swing[:, None, None], (len(swing), JOINTS, VALUES))


@pytest.mark.parametrize("input_hz", [10, 15, 30])
def test_observed_is_only_what_was_measured_at_that_instant(input_hz: int) -> None:
    """A curve that straight lines miss: exact where OBSERVED, which no frame between them is."""
    times_s = np.arange(3 * input_hz) / input_hz
    result = refiner(segments=1).push_many(times_s, sine(times_s))
    off = np.abs(result.poses - sine(result.times_s)).max(axis=2)
    # at 15 Hz every second keyframe lies between two poses
    seen = np.arange(len(result)) % (6 if input_hz == 15 else 3) == 0
    expected = np.where(seen, OBSERVED, INTERPOLATED)
    np.testing.assert_array_equal(result.origin, np.repeat(expected[:, None], JOINTS, axis=1))
    assert off[~seen].max() > 9
    np.testing.assert_allclose(off[result.origin == OBSERVED], 0, atol=1e-9)


@pytest.mark.parametrize("input_hz", [10, 15, 30])
def test_everything_beyond_the_last_keyframe_is_predicted(input_hz: int) -> None:
    """Even where a pose came: the model goes on in a straight line, and knows nothing of it."""
    subject = refiner(segments=1, future_frames=3)
    looked, off, kinds, at_s = [], [], [], []
    for time_s in np.arange(3 * input_hz) / input_hz:
        final = subject.push(time_s, sine(np.array([time_s]))[0])
        seen = RefinedPoses.join([final, subject.preview(time_s)])
        if not len(looked) and not len(seen):
            continue
        new = seen.times_s > (looked[-1] if looked else -1) + 1e-9
        looked += seen.times_s[new].tolist()
        off += np.abs(seen.poses - sine(seen.times_s)).max(axis=(1, 2))[new].tolist()
        kinds += seen.origin[new, 0].tolist()
        at_s += seen.keyframes_s[new].tolist()
    numbers = np.round(np.array(looked) * RATE_HZ).astype(int)
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    beyond = numbers > np.round(np.array(at_s)[:, 1] * RATE_HZ)
    np.testing.assert_array_equal(np.array(kinds) == PREDICTED, beyond)
    np.testing.assert_allclose(np.array(off)[np.array(kinds) == OBSERVED], 0, atol=1e-9)
    if input_hz > 10:
        assert np.array(off)[beyond].max() > 20


def test_the_keyframes_around_each_frame() -> None:
    """Frame 4 of 10 lies between those of frames 3 and 6; what is beyond the last has that."""
    subject = refiner(segments=1, future_frames=3)
    times_s = 7.0 + np.arange(4) * 0.1
    parts = [subject.push_many(times_s, line(times_s)), subject.preview(8.0)]
    result = RefinedPoses.join(parts)
    numbers = np.minimum(np.arange(13), 9)
    expected = 7.0 + 0.1 * np.stack([numbers // 3, -(-numbers // 3)], axis=1)
    assert_close(result.keyframes_s, expected)


def test_one_at_a_time_or_all_at_once() -> None:
    """With gaps, missing joints, a jump and irregular times."""
    rng = np.random.default_rng(5)
    times_s = np.cumsum(rng.uniform(0.02, 0.25, 80))
    times_s[40:] += 5.0
    poses = wiggle(times_s)
    poses[rng.uniform(size=poses.shape[:2]) < 0.3] = np.nan
    at_once = refiner("cubic").push_many(times_s, poses)
    subject = refiner("cubic")
    parts = []
    for time_s, pose in zip(times_s, poses, strict=True):
        subject.preview(time_s)  # looking changes nothing
        parts.append(subject.push(time_s, pose))
    assert_same(RefinedPoses.join(parts), at_once)
    assert len(at_once) > 100


# -- latency -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("segments", "blend"), [(1, 1), (4, 1), (4, 2), (4, 4)])
def test_latency_is_what_it_says(segments: int, blend: int) -> None:
    """The age of the oldest frame that a keyframe makes final; at the start the whole window."""
    subject = refiner(segments=segments, blend=blend)
    assert_close(subject.latency_s, (3 * blend - 1) / RATE_HZ)
    ages = []
    for time_s in np.arange(30) * 0.1:
        result = subject.push(time_s, line([time_s])[0])
        if len(result):
            ages.append(time_s - result.times_s[0])
    assert_close(ages[0], segments * 0.1)
    assert_close(ages[1:], np.full(len(ages) - 1, subject.latency_s))


def test_preview_removes_the_latency() -> None:
    """A constant velocity goes on beyond the last keyframe, as far as the model predicts."""
    subject = refiner(future_frames=3)
    times_s = np.arange(8) * 0.1
    final = subject.push_many(times_s, line(times_s))
    seen = subject.preview(0.7 + 2 / RATE_HZ)
    np.testing.assert_allclose(seen.times_s[0] - final.times_s[-1], 1 / RATE_HZ)
    np.testing.assert_allclose(seen.times_s[-1], 0.7 + 2 / RATE_HZ)
    assert_close(seen.poses, line(seen.times_s))
    assert (seen.origin[-2:] == PREDICTED).all() and (seen.origin[:-2] != PREDICTED).all()
    assert len(subject.preview(9.0)) == len(seen) + 1  # no further than three frames
    assert len(subject.preview(0.2)) == 0  # those are final
    assert len(refiner().preview(1.0)) == 0


# -- gaps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("blend", "final"), [(1, 27), (2, 24), (3, 21), (4, 21)])
@pytest.mark.parametrize("back_s", [1.0, 0.95])
def test_a_missing_joint_is_interpolated_once_it_is_back(
    blend: int, final: int, back_s: float
) -> None:
    """Out of the keyframes of frames 24 and 27, seen last at 21; back at a grid point or before.

    What was final before it came back, up to frame ``final``, is held; all others are exact.
    """
    times_s = np.arange(20) * 0.1
    times_s[10] = back_s
    poses = line(times_s)
    poses[8:10, 1] = np.nan
    subject = refiner(segments=4, blend=blend)
    result = RefinedPoses.join([subject.push_many(times_s, poses), subject.flush()])
    others = [0, 2, 3]
    numbers = np.arange(len(result))
    assert_close(result.poses[:, others], line(result.times_s)[:, others])
    held = (numbers > 21) & (numbers <= final)
    assert_close(result.poses[~held, 1], line(result.times_s)[~held, 1])
    assert_close(result.poses[held, 1], np.tile(line([0.7])[0, 1], (held.sum(), 1)))
    assert (result.origin[held, 1] == PREDICTED).all()
    assert (result.origin[max(final, 21) + 1 : 28, 1] == INTERPOLATED).all()
    assert (result.origin[24, others] == OBSERVED).all()
    assert (result.origin[~held] != PREDICTED).all()


def test_a_flush_right_after_a_joint_is_back_knows_of_it() -> None:
    """Between two points of the grid: what is not final yet is told anew."""
    times_s = np.array([0.0, 0.1, 0.2, 0.3, 0.35])
    poses = line(times_s)
    poses[3, 1] = np.nan
    subject = refiner(segments=2, blend=2)
    final = subject.push_many(times_s, poses)
    assert len(final) == 7
    ahead, rest = subject.preview(0.3), subject.flush()
    assert_same(ahead, rest)
    assert_close(rest.poses, line(rest.times_s))
    assert (rest.origin[:, 1] == INTERPOLATED).all()


def test_a_joint_that_was_away_too_long_is_not_interpolated() -> None:
    """Frames that still wait keep saying that they were predicted when it is back."""
    times_s = np.arange(12) * 0.1
    poses = line(times_s)
    poses[5:8, 2] = np.nan
    subject = refiner(segments=4, blend=4, gap_s=0.25)
    result = RefinedPoses.join([subject.push_many(times_s, poses), subject.flush()])
    assert (result.origin[13:19, 2] == PREDICTED).all()
    assert (result.origin[19:24, 2] == MISSING).all()
    assert (result.origin[24::3, 2] == OBSERVED).all()


# -- poses that were not observed themselves -----------------------------------------------------


def test_an_origin_is_carried_through() -> None:
    """What was predicted stays predicted; between two poses the worse of both counts."""
    times_s = np.arange(6) * 0.1
    origins = np.zeros((6, JOINTS), int)
    origins[2, 1] = PREDICTED
    origins[3, 2] = INTERPOLATED
    poses = line(times_s)
    poses[3, 3], origins[3, 3] = np.nan, 9  # without meaning
    subject = refiner(segments=1)
    parts = [subject.push(*each) for each in zip(times_s, poses, origins, strict=True)]
    result = RefinedPoses.join(parts)
    assert_close(result.poses[:, :3], line(result.times_s)[:, :3])
    o, i, p = OBSERVED, INTERPOLATED, PREDICTED
    expected = [
        [o, i, i, o, i, i, o, i, i, o, i, i, o, i, i, o],
        [o, i, i, o, p, p, p, p, p, o, i, i, o, i, i, o],
        [o, i, i, o, i, i, o, i, i, i, i, i, o, i, i, o],
        [o, i, i, o, i, i, o, p, p, p, i, i, o, i, i, o],
    ]
    np.testing.assert_array_equal(result.origin.T, expected)


def test_the_better_of_two_poses_within_a_frame_counts() -> None:
    subject = refiner(segments=2)
    for time_s, kind in ((0.0, OBSERVED), (0.095, PREDICTED), (0.1, OBSERVED), (0.104, PREDICTED)):
        subject.push(time_s, line([time_s])[0], [kind] * JOINTS)
    assert (subject.flush().origin[3] == OBSERVED).all()


def test_a_joint_that_stays_away_is_held_and_then_missing() -> None:
    times_s = np.arange(30) * 0.1
    poses = line(times_s)
    poses[10:, 2] = np.nan
    result = refiner(segments=2, blend=1, gap_s=0.5).push_many(times_s, poses)
    after = result.times_s - 0.9
    held = (after > 0.01) & (after < 0.51)
    np.testing.assert_allclose(
        result.poses[held, 2], np.broadcast_to(line([0.9])[0, 2], (held.sum(), VALUES))
    )
    assert (result.origin[held, 2] == PREDICTED).all()
    assert np.isnan(result.poses[after > 0.51, 2]).all()
    assert (result.origin[after > 0.51, 2] == MISSING).all()
    assert np.isfinite(result.poses[:, [0, 1, 3]]).all()


def test_a_joint_that_appears_late_is_missing_before() -> None:
    times_s = np.arange(12) * 0.1
    poses = line(times_s)
    poses[:6, 0] = np.nan
    result = refiner(segments=3, blend=1).push_many(times_s, poses)
    early = result.times_s < 0.59
    assert (result.origin[early, 0] == MISSING).all()
    assert np.isnan(result.poses[early, 0]).all()
    assert_close(result.poses[~early, 0], line(result.times_s)[~early, 0])


def test_nobody_there() -> None:
    """Nothing before somebody comes; the end of a stream is flushed after the gap."""
    nobody = np.full((JOINTS, VALUES), np.nan)
    subject = refiner(segments=2, gap_s=0.5)
    assert len(subject.push(0.0, nobody)) == 0 and len(subject.flush()) == 0
    times_s = 0.1 + np.arange(10) * 0.1
    parts = [subject.push_many(times_s, line(times_s))]
    parts += [subject.push(1.1 + k * 0.1, nobody) for k in range(12)]
    result = RefinedPoses.join(parts)
    assert_close(result.times_s[0], 0.1)
    assert result.times_s[-1] == pytest.approx(1.5)
    assert (result.origin[result.times_s > 1.01] == PREDICTED).all()
    again = subject.push_many(times_s + 3.0, line(times_s))
    assert_close(again.times_s[0], 3.1)


@pytest.mark.parametrize("jump_s", [-0.5, 1.6])
def test_a_jump_in_time_flushes(jump_s: float) -> None:
    """What was pending comes out; the new grid begins at the new pose; nothing spans the jump."""
    subject = refiner(gap_s=1.0)
    before_s = 1.0 + np.arange(12) * 0.1
    after_s = before_s[-1] + jump_s + np.arange(12) * 0.1
    first = subject.push_many(before_s, line(before_s))
    second = subject.push_many(after_s, -line(after_s))
    split = 34 - len(first)  # 34 frames from the first to the last keyframe
    rest, new = second.times_s[:split], second.times_s[split:]
    assert_close(rest[-1], before_s[-1])
    assert_close(new[0], after_s[0])
    assert_close(second.poses[:split], line(rest))
    assert_close(second.poses[split:], -line(new))


def test_short_streams_come_out_when_flushed() -> None:
    subject = refiner(segments=4)
    assert len(subject.push_many([0.0, 0.1], line([0.0, 0.1]))) == 0
    result = subject.flush()
    assert_close(result.times_s, np.arange(4) / RATE_HZ)
    assert_close(result.poses, line(result.times_s))
    assert len(subject.flush()) == 0


def test_the_same_time_twice_counts_once() -> None:
    subject = refiner(segments=1)
    times_s = [0.0, 0.1, 0.1, 0.2]
    poses = line(times_s)
    poses[2] += 1.0
    assert_close(subject.push_many(times_s, poses).poses, line(np.arange(7) / RATE_HZ))


def test_what_is_kept_does_not_grow() -> None:
    subject = refiner(blend=2)
    for k in range(500):
        subject.push(k * 0.033, line([k * 0.033])[0])
        assert len(subject._pending) <= 4 * 3 + 3


def test_fill() -> None:
    nan = np.nan
    keyframes = np.array([[[nan], [1.0], [nan]], [[2.0], [3.0], [nan]], [[nan], [5.0], [nan]]])
    assert_close(fill(keyframes)[:, 0, 0], [2.0, 2.0, 2.0])
    assert_close(fill(keyframes)[:, 2, 0], [1.5, 2.5, 3.5])
    keyframes[2, 0] = 8.0
    keyframes[1, 0] = nan
    keyframes[0, 0] = 4.0
    assert_close(fill(keyframes)[:, 0, 0], [4.0, 6.0, 8.0])


# -- networks ------------------------------------------------------------------------------------


def test_a_network_that_begins_as_interpolation_is_one() -> None:
    """Fresh weights of our presets, in a stream, equal the linear method in float32."""
    torch.manual_seed(0)
    times_s = np.arange(30) * 0.1
    for name in ("pose_3d", "pose_3d_fast"):
        network = MixSynthFormer(PRESETS[name])
        poses = np.random.default_rng(0).normal(size=(30, 17, 3))
        model = NetworkModel(network)
        got = Refiner(model, 17, 3, RATE_HZ).push_many(times_s, poses)
        straight = InterpolationModel("linear", model.interval, model.segments)
        want = Refiner(straight, 17, 3, RATE_HZ).push_many(times_s, poses)
        np.testing.assert_allclose(got.poses, want.poses, atol=1e-5)


def test_a_root_is_taken_off_and_added_again() -> None:
    torch.manual_seed(0)
    config = DeciWatchConfig(joints=JOINTS, interval=3, segments=2, width=16, layers=1, heads=2)
    network = DeciWatch(config).eval()
    keyframes = wiggle(np.arange(3) * 0.1)
    roots = keyframes[:, [0, 1]].mean(1, keepdims=True)
    with torch.no_grad():
        relative = network(torch.from_numpy(keyframes - roots).float()[None])[0].numpy()
    expected = relative + interpolate([0, 3, 6], roots, np.arange(7.0)).poses
    np.testing.assert_allclose(
        NetworkModel(network, (0, 1)).refine(keyframes), expected, atol=1e-6
    )


def test_a_missing_joint_is_never_nan_to_a_network() -> None:
    torch.manual_seed(0)
    network = MixSynthFormer(PRESETS["pose_3d"])
    subject = Refiner(NetworkModel(network), 17, 3, RATE_HZ)
    times_s = np.arange(30) * 0.1
    poses = np.random.default_rng(0).normal(size=(30, 17, 3))
    poses[:, 4] = np.nan
    result = subject.push_many(times_s, poses)
    assert np.isnan(result.poses[:, 4]).all()
    assert np.isfinite(np.delete(result.poses, 4, axis=1)).all()


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blend": 5}, "blend must be a whole number, 1 to 4, got 5"),
        ({"gap_s": 0.05}, "at least the 0.1 s from keyframe to keyframe, got 0.05"),
        ({"rate_hz": 0.0}, "rate_hz must be a finite number above 0, got 0.0"),
        ({"rate_hz": "30"}, "rate_hz must be a finite number above 0, got '30'"),
        ({"blend": 1.5}, "blend must be a whole number, 1 to 4, got 1.5"),
        ({"gap_s": math.inf}, "gap_s must be a finite number, got inf"),
        ({"joints": 0}, "joints must be a whole number, 1 or more, got 0"),
        ({"values": "3"}, "values must be a whole number, 1 or more, got '3'"),
    ],
)
def test_wrong_settings_are_named(options: dict, message: str) -> None:
    options = {"joints": JOINTS, "values": VALUES, "rate_hz": RATE_HZ, **options}
    with pytest.raises(ValueError, match=message):
        Refiner(InterpolationModel(segments=4), **options)


def test_wrong_poses_are_named() -> None:
    with pytest.raises(ValueError, match=r"a pose must be \(4 joints, 3 values\), got \(3, 4\)"):
        refiner().push(0.0, np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"must be numbers, \(4 joints, 3 values\), got <U1"):
        refiner().push(0.0, [["1"] * VALUES] * JOINTS)
    with pytest.raises(ValueError, match="time_s must be a finite number, got nan"):
        refiner().push(float("nan"), np.zeros((JOINTS, VALUES)))
    with pytest.raises(ValueError, match="until_s must be a finite number, got 'now'"):
        refiner().preview("now")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as many times as poses, got 2 for 1"):
        refiner().push_many([0.0, 0.1], line([0.0]))
    with pytest.raises(ValueError, match=r"0 to 2 for each of the 4 joints, got \[0, 0, 3, 0\]"):
        refiner().push(0.0, np.zeros((JOINTS, VALUES)), [0, 0, 3, 0])
    with pytest.raises(ValueError, match=r"each of the 4 joints, got \[0, 1\]"):
        refiner().push(0.0, np.zeros((JOINTS, VALUES)), [0, 1])


def test_wrong_windows_are_named() -> None:
    with pytest.raises(ValueError, match="segments must be a whole number, 1 or more, got 0"):
        InterpolationModel(segments=0)
    with pytest.raises(ValueError, match=r"interval must be a whole number, 1 or more, got 1\.5"):
        InterpolationModel(interval=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method 'straight' is none of nearest, linear"):
        InterpolationModel("straight")
    for method, least in (("quadratic", 2), ("cubic", 3)):
        InterpolationModel(method, 3, least)
        with pytest.raises(ValueError, match=f"'{method}' needs segments of {least} or more, got"):
            InterpolationModel(method, 3, least - 1)
    model = InterpolationModel(segments=4)
    with pytest.raises(ValueError, match=r"\(5 keyframes, joints, values\), got \(0,\)"):
        model.refine(np.array([]))
    network = NetworkModel(MixSynthFormer(PRESETS["radar_2d_fast"]))
    with pytest.raises(ValueError, match=r"2 keyframes, 14 joints, 2 values\), got \(2, 0, 2\)"):
        network.refine(np.zeros((2, 0, 2)))
    with pytest.raises(ValueError, match="a window must be finite"):
        network.refine(np.full((2, 14, 2), np.nan))
    with pytest.raises(ValueError, match=r"keyframes, joints, values\), got \(0, 4, 3\)"):
        fill(np.zeros((0, 4, 3)))


@pytest.mark.parametrize("absurd", [np.inf, 1e30, -1e30, 100_001.0])
def test_an_absurd_joint_is_not_known_and_moves_no_other(absurd: float) -> None:
    """To the bit as if it were NaN, also to a network; 100 000 is a number as any."""
    torch.manual_seed(0)
    model = NetworkModel(MixSynthFormer(PRESETS["radar_2d_fast"]))
    times_s = np.arange(8) * 0.1
    rng = np.random.default_rng(2)
    poses = rng.uniform(50, 200, (8, 14, 2))
    results = []
    for value in (np.nan, absurd):
        poses[4, 3, 1] = value
        results.append(Refiner(model, 14, 2, RATE_HZ).push_many(times_s, poses))
    assert_same(*results)
    assert np.isfinite(results[1].poses).all()
    assert (results[1].origin[12, :3] == OBSERVED).all()
    assert results[1].origin[12, 3] == PREDICTED
    poses[4, 3, 1] = 100_000.0
    found = Refiner(InterpolationModel(), 14, 2, RATE_HZ).push_many(times_s, poses)
    assert_close(found.poses[12, 3, 1], 100_000.0)
