"""Where a person is by the radars, and frames of two radars that belong together."""

from __future__ import annotations

import numpy as np

from radar_pose_ros.collect.bags import Frame
from radar_pose_ros.collect.motion import MotionMeter, radar_motions
from radar_pose_ros.collect.person import SKIN_M, partners, person_track
from radar_pose_ros.simulation.radar import RadarSimulator, StaticScene, default_placements
from radar_pose_ros.vision.frames import Placement


def frames_of_a_target(config, positions_m, velocity_mps, lost=()):
    """Yield frames of both radars in which one thing moves, which is elsewhere in each."""
    loops, transmitters, _, _ = config.adc_shape
    for radar, placement in enumerate(default_placements()):
        simulator = RadarSimulator(config, placement, scene=StaticScene.empty(), seed=radar)
        for number, position_m in enumerate(positions_m):
            samples = simulator.points(position_m, velocity_mps, 300.0, noise=True)
            valid = np.ones(loops * transmitters, bool)
            valid[5] = (radar, number) not in lost
            yield Frame(radar, 100.0 + 0.1 * number + 0.01 * radar, samples, valid)


def test_a_moving_thing_is_where_it_is(small_radar):
    positions_m = np.array([[2.0, 0.0, 1.0], [2.5, 0.7, 1.0], [3.0, -0.9, 1.0], [3.4, 0.3, 1.0]])
    lost = {(0, 3)}
    frames = frames_of_a_target(small_radar, positions_m, (0.5, 0.2, 0.0), lost)
    radars = radar_motions(frames, (small_radar, small_radar))
    place = default_placements()[0]
    track = person_track(radars, Placement(place.rotation, np.array(place.position_m)), 0.1)
    # what returns is the skin: the middle of a person is as much farther off
    distance_m = np.linalg.norm(positions_m[:, :2] - [0.0, 0.05], axis=1, keepdims=True)
    wanted_m = [0.0, 0.05] + (positions_m[:, :2] - [0.0, 0.05]) * (1 + SKIN_M / distance_m)
    np.testing.assert_allclose(track.floor_m[:3], wanted_m[:3], atol=0.05)
    assert np.isnan(track.floor_m[3]).all(), "packets were lost in this frame"
    np.testing.assert_allclose(track.at(np.array([100.1]), 0.06), track.floor_m[[1]])
    assert np.isnan(track.at(np.array([110.0]))).all()


def test_energy_is_power_times_speed_squared(small_radar):
    position_m = np.array([[2.5, 0.0, 1.0]])
    meter = MotionMeter(small_radar)
    slow, fast = (
        meter(next(frames_of_a_target(small_radar, position_m, (speed, 0, 0))))[0]
        for speed in (0.6, 1.2)
    )
    assert 3.0 < fast / slow < 5.0


def test_each_frame_has_one_partner_at_most():
    first = np.array([0.0, 0.1, 0.2, 0.4])
    second = np.array([0.01, 0.16, 0.43])
    np.testing.assert_array_equal(partners(first, second, 0.1), [0, -1, 1, 2])
    np.testing.assert_array_equal(partners(first, np.array([]), 0.1), [-1] * 4)
    np.testing.assert_array_equal(partners(first, np.array([0.11]), 0.1), [-1, 0, -1, -1])
