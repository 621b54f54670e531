"""What the emulated radars look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radar_pose_ros.nodes.scene import Lookahead, Scene
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.simulation.radar import RadarSimulator, default_placements
from radar_pose_ros.simulation.recordings import make_clip


@pytest.fixture(scope="module")
def config() -> RadarConfig:
    whole = load_cfg(Path(__file__).resolve().parents[2] / "config" / "iwr1843.cfg")
    return replace(whole, waveform=replace(whole.waveform, loops=8))


def scene(config: RadarConfig, clip_s: float = 2.0) -> Scene:
    return Scene(config, default_placements(), "wave", "test", 4, clip_s)


def test_frames_and_truth_are_those_of_the_clip(config: RadarConfig) -> None:
    clip = make_clip(config, 2.0, 4, "test", "wave")
    made = scene(config)
    for index in (0, 3):
        np.testing.assert_allclose(made.joints_m(index), clip.joints_m[index], atol=1e-9)
    placement = default_placements()[1]
    simulator = RadarSimulator(config, placement, seed=2 * 4 + 1)
    np.testing.assert_array_equal(scene(config).frame(1, 3), simulator.frame(clip, 0.3))


def test_another_person_follows(config: RadarConfig) -> None:
    clip = make_clip(config, 2.0, 5, "test", "wave")
    made = scene(config)
    frames = len(make_clip(config, 2.0, 4, "test", "wave").times_s)
    np.testing.assert_allclose(made.joints_m(frames + 2), clip.joints_m[2], atol=1e-9)


def test_prepared_frames_repeat_with_their_truth(config: RadarConfig) -> None:
    made = scene(config)
    progress: list[float] = []
    made.prepare(0.5, lambda ready_s: progress.append(ready_s) is None)
    assert made.is_prepared
    np.testing.assert_allclose(progress, [0.0, 0.1, 0.2, 0.3, 0.4])
    for radar in (0, 1):
        np.testing.assert_array_equal(made.frame(radar, 3), made.frame(radar, 13))
    np.testing.assert_array_equal(made.joints_m(3), made.joints_m(13))
    assert not np.array_equal(made.frame(0, 3), made.frame(1, 3))


def test_preparation_can_be_given_up(config: RadarConfig) -> None:
    made = scene(config)
    made.prepare(0.5, lambda ready_s: ready_s < 0.15)
    assert not made.is_prepared


def test_lookahead_gives_the_same_frames(config: RadarConfig) -> None:
    """Ahead of time or not, and in whatever portions."""
    other = scene(config)
    plain = [other.frame(0, k) for k in range(6)]
    ahead = Lookahead(scene(config), 0, depth=3)
    taken = []
    for k in range(6):
        taken.append(ahead.take(k))
        ahead.simulate_ahead(k, lambda: 1.0 if len(taken) % 2 else 0.0)
    np.testing.assert_array_equal(taken, plain)
