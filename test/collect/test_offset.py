"""The time offset between radars and camera: by value, and when it is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from radar_pose_ros.collect import offset
from radar_pose_ros.collect.bags import CameraTrack
from radar_pose_ros.collect.motion import RadarMotion, blocks, interpolate, joint_speeds
from radar_pose_ros.collect.offset import OffsetError

MIDDLE_S = 0.0138
BEGIN_S = 1.7e9


def camera(offset_s: float, speed, *, seconds=60.0, rate_hz=30.0, seed=0) -> CameraTrack:
    """A person of 300 px whose joints all swing so that their speed is `speed(t)` per second."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(0, seconds, 1 / rate_hz)
    fine_s = np.arange(0, seconds, 1e-3)
    path = np.cumsum(speed(fine_s)) * 1e-3 * 300
    keypoints = np.zeros((len(times_s), 14, 2))
    keypoints[..., 1] = 100 + np.linspace(0, 300, 14)
    keypoints[..., 0] = np.interp(times_s, fine_s, path)[:, None]
    keypoints += rng.normal(0, 1.0, keypoints.shape)
    return CameraTrack(
        "/camera/pose2d",
        "camera",
        "hupr14",
        "test",
        (640, 480),
        BEGIN_S + times_s + offset_s,
        keypoints,
        np.full((len(times_s), 14), 0.9),
        np.ones(len(times_s), int),
        0.0,
    )


def radar(speed, *, seconds=60.0, rate_hz=10.0, noise=0.2, seed=0, begin_s=BEGIN_S) -> RadarMotion:
    rng = np.random.default_rng(seed + 100)
    times_s = np.arange(0, seconds, 1 / rate_hz)
    energy = (speed(times_s + MIDDLE_S) + 0.05) ** 2 * np.exp(rng.normal(0, noise, len(times_s)))
    count = len(times_s)
    empty = np.zeros((count, 1, 1), np.float32)
    return RadarMotion(
        begin_s + times_s, MIDDLE_S, np.ones(count, bool), energy, empty, np.ones(1), np.zeros(1)
    )


def irregular(seed: int):
    """Bumps of half a second at random times."""
    centres = np.cumsum(np.random.default_rng(seed).uniform(0.7, 2.5, 80))
    return lambda t: sum(1.5 * np.exp(-(((t - c) / 0.2) ** 2)) for c in centres)


@pytest.mark.parametrize("wanted_s", [-0.35, 0.0, 0.137, 0.4])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_known_offset_is_found(wanted_s, seed):
    speed = irregular(seed)
    radars = [radar(speed, seed=seed), radar(speed, seed=seed + 1)]
    found = offset.estimate(offset.curves(radars, camera(wanted_s, speed, seed=seed), 0.3))
    assert found.seconds == pytest.approx(wanted_s, abs=0.005)
    assert found.sd_s < offset.SYSTEMATIC_S + 0.002
    assert found.overlap_s == pytest.approx(60, abs=0.6)


def test_frames_that_were_lost_do_no_harm():
    speed = irregular(3)
    whole = radar(speed)
    kept = np.random.default_rng(0).random(600) > 0.2
    energy = np.where(np.random.default_rng(1).random(600) > 0.1, whole.energy, np.nan)
    lossy = RadarMotion(
        whole.stamps_s[kept],
        MIDDLE_S,
        np.isfinite(energy[kept]),
        energy[kept],
        whole.maps[kept],
        whole.ranges_m,
        whole.sines,
    )
    found = offset.estimate(offset.curves([lossy, whole], camera(0.137, speed), 0.3))
    assert found.seconds == pytest.approx(0.137, abs=0.005)


def test_clocks_hours_apart_need_a_hint():
    speed = irregular(0)
    track = camera(3600.2, speed)
    with pytest.raises(OffsetError, match=r"have 0\.0 s in common by their stamps"):
        offset.curves([radar(speed)], track, 0.3)
    found = offset.estimate(offset.curves([radar(speed)], track, 0.3, near_s=3600.0))
    assert found.seconds == pytest.approx(3600.2, abs=0.005)
    assert found.overlap_s == pytest.approx(60, abs=0.6)


def test_where_the_other_radar_pauses_nothing_is_compared():
    speed = irregular(3)
    whole, pausing = radar(speed), radar(speed, seed=1)
    times_s = whole.stamps_s - whole.stamps_s[0]
    kept = (times_s < 19.95) | (times_s > 29.95)
    kept[100:102] = False  # so few are interpolated
    part = replace(
        pausing,
        **{name: getattr(pausing, name)[kept] for name in ("stamps_s", "complete", "energy")},
    )
    found = offset.curves([whole, part], camera(0.137, speed), 0.3)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found.radar)), np.arange(200, 300))
    assert offset.estimate(found).seconds == pytest.approx(0.137, abs=0.005)


def test_there_are_forty_blocks_at_most():
    for seconds, count in ((60, 15), (160, 40), (3600, 40)):
        numbers = blocks(1e9 + np.arange(0, seconds, 0.1), 4.0)
        np.testing.assert_array_equal(np.unique(numbers), np.arange(count))
        assert np.ptp(np.bincount(numbers)) <= 1


def periodic(t):
    return 0.8 + 0.7 * np.sin(2 * np.pi * 1.1 * t)


@pytest.mark.parametrize(
    ("seen", "measured", "words"),
    [
        (lambda t: 0.01 + 0 * t, irregular(0), "hardly moves"),
        (irregular(0), irregular(1), "is this the camera|ambiguous"),
        (periodic, periodic, "ambiguous, as of movements that repeat evenly"),
    ],
    ids=["standing still", "another person", "even movement"],
)
def test_what_cannot_be_told_is_refused(seen, measured, words):
    radars = [radar(measured)]
    with pytest.raises(OffsetError, match=words):
        offset.estimate(offset.curves(radars, camera(0.1, seen), 0.3))


def test_somebody_else_is_never_taken():
    """Of many pairs of unrelated movements."""
    taken = []
    for seed in range(12):
        curves = offset.curves([radar(irregular(seed))], camera(0.0, irregular(seed + 50)), 0.3)
        try:
            taken.append(offset.estimate(curves))
        except OffsetError:
            continue
    assert taken == []


def test_nobody_whole_is_said():
    track = camera(0.0, irregular(0))
    track.confidence[:, 5:] = 0.0
    with pytest.raises(OffsetError, match="shows nobody whole"):
        offset.curves([radar(irregular(0))], track, 0.3)


def made(seconds, sd_s):
    return offset.Offset(seconds, sd_s, 0.5, 0.1, 60.0)


def test_recordings_are_pooled_by_their_uncertainty():
    seconds, sd_s, agree = offset.pooled([made(0.130, 0.01), made(0.142, 0.02)])
    assert seconds == pytest.approx((0.130 * 4 + 0.142) / 5)
    systematic = offset.SYSTEMATIC_S**2
    random = 0.8**2 * (0.01**2 - systematic) + 0.2**2 * (0.02**2 - systematic)
    assert sd_s == pytest.approx(np.sqrt(random + systematic))
    assert offset.pooled([made(0.130, 0.01)])[1] == pytest.approx(0.01)
    assert agree
    assert not offset.pooled([made(0.130, 0.01), made(0.230, 0.01)])[2]


def test_interpolation_stops_at_gaps():
    stamps = np.array([0.0, 0.05, 0.2, 0.25])
    values = np.arange(4.0)[:, None, None] * [[[1.0, 2.0]]]
    got = interpolate(stamps, values, np.array([-0.01, 0.025, 0.1, 0.21, 0.3]))
    np.testing.assert_allclose(got[1, 0], [0.5, 1.0])
    np.testing.assert_allclose(got[3, 0], [2.2, 4.4])
    assert np.isnan(got[[0, 2, 4]]).all()


def test_speed_is_in_lengths_of_the_person():
    steady = camera(0.0, lambda t: 0.6 + 0 * t, seed=1)
    _, speed = joint_speeds(steady, 0.3)
    assert np.median(speed) == pytest.approx(0.6, rel=0.03)
