"""How far away somebody is: things whose place is known, noise, and a simulated person."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros import resources
from radar_pose_ros.datasets.simulated import simulate_recording
from radar_pose_ros.radar.heatmap import HeatmapConfig, angle_transform
from radar_pose_ros.radar.person_range import (
    RADARS,
    AntennaFrame,
    antennas_of,
    in_link,
    strongest_return,
)
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.radar.virtual_array import VirtualArray
from radar_pose_ros.simulation.body import random_sequence
from radar_pose_ros.simulation.radar import default_placements
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.placement import PELVIS_BEHIND_M
from radar_pose_ros.skeleton.projection import to_camera

FIRST_M, STEP_M, BINS = 1.5, 0.05, 60
AHEAD, LEFT = np.array([0.0, 0.1, 1.0]), np.array([-0.6, 0.1, 1.0])


def cube(things: list[tuple[np.ndarray, float, float]], radar: str) -> np.ndarray:
    """Return the antennas' values, (12, 4, 60), of things: direction, range, amplitude."""
    values = np.zeros((12, 4, BINS), np.complex64)
    for direction, range_m, amplitude in things:
        place = round((range_m - FIRST_M) / STEP_M)
        steering = VirtualArray("IWR1843").steering(in_link(direction, radar))
        values[:, 1, place] += amplitude * steering
    return values


def frames(*things: tuple[np.ndarray, float, float], at_s: float = 0.0):
    """Return a frame of both radars, by way of their heatmaps."""
    return [
        (
            at_s,
            AntennaFrame.of_heatmap(
                radar, angle_transform(cube(list(things), radar), 32), FIRST_M, STEP_M
            ),
        )
        for radar in RADARS
    ]


def test_antennas_come_back_from_a_heatmap(rng: np.random.Generator) -> None:
    values = (rng.normal(size=(12, 3, 5)) + 1j * rng.normal(size=(12, 3, 5))).astype(np.complex64)
    for bins in (12, 32, 64):
        assert_close(antennas_of(angle_transform(values, bins)), values)
    with pytest.raises(ValueError, match="8 angles do not tell 12 antennas apart"):
        antennas_of(np.zeros((8, 2, 2), np.complex64))


def test_directions_are_those_of_the_simulated_rig(rng: np.random.Generator) -> None:
    """The rig's radars stand as the simulation has them, its camera as the projection has it."""
    point = rng.uniform(1.0, 3.0, 3)
    for radar, placement in zip(RADARS, default_placements(), strict=True):
        assert placement.frame_id == f"{radar}_link"
        from_camera = to_camera(point + [0.0, 0.0, 1.0])
        expected = placement.rotation.T @ point / np.linalg.norm(point)
        assert_close(in_link(from_camera, radar), expected)


def test_a_lone_thing_is_where_it_is() -> None:
    """To the bin; all of its power is there, and three degrees beside it hardly less."""
    ((_, frame), _) = near = frames((AHEAD, 2.6, 7.0))
    profile = frame.profile(AHEAD)
    assert_close(profile, np.eye(BINS)[22])
    found = strongest_return(near, 3.0 * AHEAD)
    assert found is not None and found.clear
    assert_close([found.range_m, found.share], [2.6, 1.0])
    assert frame.profile(AHEAD + [0.05, 0.0, 0.0])[22] > 0.9
    assert frame.profile(LEFT)[22] < 0.1


def test_the_direction_says_whose_range_it_is() -> None:
    """Somebody to the left and nearer returns three times as much; each is found by itself.

    Their elevation is the same, so that the rolled radar hears both.
    """
    near = frames((AHEAD, 3.2, 1.0), (LEFT, 2.0, 1.7))
    for direction, range_m in ((AHEAD, 3.2), (LEFT, 2.0)):
        found = strongest_return(near, direction)
        assert found is not None and found.clear
        assert found.range_m == pytest.approx(range_m, abs=1e-3)


def test_two_things_in_one_direction_are_not_clear() -> None:
    """Of 9 to 4 the stronger one has 9/13, which is too little; of 9 to 1/4 it is 0.97."""
    for weak, clear in ((2.0, False), (0.5, True)):
        found = strongest_return(frames((AHEAD, 2.0, 3.0), (AHEAD, 3.5, weak)), AHEAD)
        assert found is not None
        assert found.share == pytest.approx(9 / (9 + weak**2), abs=1e-3)
        assert (found.range_m, found.clear) == (pytest.approx(2.0, abs=1e-3), clear)


def test_the_middle_of_a_body_counts() -> None:
    """A hand 0.4 m before the chest, a third as strong: a quarter of the way towards it."""
    found = strongest_return(frames((AHEAD, 2.4, 1.0), (AHEAD, 2.0, 3**-0.5)), AHEAD)
    assert found is not None
    assert found.range_m == pytest.approx(2.3, abs=1e-6)


def test_noise_is_not_clear(rng: np.random.Generator) -> None:
    for bins in (60, 250):
        shape = (5, 2, 12, 8, bins)
        values = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
        near = [
            (0.1 * (k - 2), AntennaFrame.of_antennas(radar, of_radar, FIRST_M, STEP_M))
            for k, pair in enumerate(values)
            for radar, of_radar in zip(RADARS, pair, strict=True)
        ]
        found = strongest_return(near, AHEAD)
        assert found is not None and not found.clear


def test_frames_count_by_how_near_they_are() -> None:
    """Somebody walks away: the mean of the frames around the instant is the place."""
    steps = range(-4, 5)
    walk = [x for k in steps for x in frames((AHEAD, 2.5 + 0.1 * k, 1.0), at_s=0.1 * k)]
    found = strongest_return(walk, AHEAD)
    assert found is not None
    assert found.range_m == pytest.approx(2.5, abs=1e-6)
    # 40 ms after a frame: of -0.24, -0.14, -0.04, 0.06, 0.16, 0.26 s
    late = [(at_s - 0.04, frame) for at_s, frame in walk]
    weights = 1 - np.abs(np.array([-0.24, -0.14, -0.04, 0.06, 0.16, 0.26])) / 0.3
    found = strongest_return(late, AHEAD)
    assert found is not None
    expected = weights @ [2.3, 2.4, 2.5, 2.6, 2.7, 2.8] / weights.sum()
    assert found.range_m == pytest.approx(expected, abs=1e-6)


def test_without_a_frame_of_the_instant_there_is_nothing() -> None:
    assert strongest_return([], AHEAD) is None
    assert strongest_return(frames((AHEAD, 2.5, 1.0), at_s=0.11), AHEAD) is None
    assert strongest_return(frames(at_s=0.0), AHEAD) is None  # both radars hear nothing
    other = AntennaFrame.of_antennas("radar_h", cube([(AHEAD, 3.5, 9.0)], "radar_h"), 0.0, STEP_M)
    found = strongest_return([*frames((AHEAD, 2.5, 1.0)), (0.05, other)], AHEAD)
    assert found is not None
    assert_close(found.range_m, 2.5)  # other ranges than the nearest's: not counted


def test_what_is_no_frame_is_refused() -> None:
    values = cube([], "radar_h")
    with pytest.raises(ValueError, match="'radar_x' is none of radar_h, radar_v"):
        AntennaFrame.of_antennas("radar_x", values, 0.0, 0.1)
    for first, step in ((0.0, 0.0), (-1.0, 0.1), (np.nan, 0.1), (0.0, np.inf)):
        with pytest.raises(ValueError, match="ranges must rise from 0 or more"):
            AntennaFrame.of_antennas("radar_h", values, first, step)


def test_simulated_people_of_the_test_split() -> None:
    """Their pelvis is where the range and the offset of training people say: 0.08 m, median."""
    radar = load_cfg(resources.find("config", "iwr1843.cfg"))
    heatmap = HeatmapConfig(angle_bins=32, range_first=31, range_bins=64)
    step_m = radar.waveform.range_resolution_m
    hips = [HUPR14.index("left_hip"), HUPR14.index("right_hip")]
    errors, clear = [], []
    for seed in (1, 2):
        clip = random_sequence(np.random.default_rng(seed), 3.0, 10.0, "test")
        parts = simulate_recording(clip, radar, heatmap, seed).astype(np.float32)
        values = parts[..., 0] + 1j * parts[..., 1]
        seen = [
            (at_s, AntennaFrame.of_antennas(name, of_radar, 31 * step_m, step_m))
            for at_s, pair in zip(clip.times_s, values, strict=True)
            for name, of_radar in zip(RADARS, pair, strict=True)
        ]
        for at_s, pelvis in zip(
            clip.times_s, to_camera(clip.joints_m)[:, hips].mean(1), strict=True
        ):
            near = [(when - at_s, frame) for when, frame in seen]
            found = strongest_return(near, pelvis)
            assert found is not None
            clear.append(found.clear)
            errors.append(found.range_m + PELVIS_BEHIND_M - np.linalg.norm(pelvis))
    assert np.mean(clear) > 0.8
    assert np.median(np.abs(errors)) < 0.08
