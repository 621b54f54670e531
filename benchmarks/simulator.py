"""The radar simulator: frames per second for two radars that see the same walking person.

One "frame" is a pair of frames of 12 virtual antennas x 128 chirps x 256 samples, from joints to
int16 in the order of the capture card, with noise and clutter. Each radar has a thread of its own,
the matrix products one thread each, on as many cores as there are up to two.

The short way (`RadarSimulator.range_doppler`, echoes straight to 12 x 8 x 64 range-Doppler maps)
is measured against the long one (frame, then `HeatmapProcessor`) in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks import CONFIG, print_rows, run_alone
from radar_pose_ros.measurements import result
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor
from radar_pose_ros.simulation.body import BodyShape, generate
from radar_pose_ros.simulation.radar import RadarSimulator, default_placements

TARGET_PAIRS_PER_S = 10.0


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure in a process of its own."""
    return run_alone("benchmarks.simulator", quick)


def measure(quick: bool) -> list[dict[str, Any]]:
    """Return the rows; medians over turns."""
    turns, pairs = (3, 5) if quick else (9, 20)
    clip = generate("walk", BodyShape.average(), 10.0, 10.0, np.random.default_rng(0))
    simulators = [
        RadarSimulator(CONFIG, placement, seed=number)
        for number, placement in enumerate(default_placements())
    ]
    processor = HeatmapProcessor(CONFIG, HeatmapConfig(range_first=31, range_bins=64))

    def frame(simulator: RadarSimulator, start_s: float) -> None:
        simulator.frame(clip, start_s)

    def long_way(simulator: RadarSimulator, start_s: float) -> None:
        processor.range_doppler(simulator.frame(clip, start_s))

    def short_way(simulator: RadarSimulator, start_s: float) -> None:
        simulator.range_doppler(clip, start_s, processor)

    ways: dict[str, Callable[[RadarSimulator, float], None]] = {
        "frames": frame,
        "long": long_way,
        "short": short_way,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with ThreadPoolExecutor(len(simulators)) as pool:
        for _ in range(turns + 1):
            for name, way in ways.items():
                begin = time.perf_counter()
                for start_s in clip.times_s[:pairs]:
                    list(pool.map(way, simulators, [float(start_s)] * len(simulators)))
                rates[name].append(pairs / (time.perf_counter() - begin))
    # The first turn warms up.
    median = {name: float(np.median(values[1:])) for name, values in rates.items()}
    return [
        result("simulator.frames_per_s", median["frames"], "Hz", TARGET_PAIRS_PER_S),
        result("simulator.heatmaps_per_s", median["long"], "Hz"),
        result("simulator.direct_heatmaps_per_s", median["short"], "Hz"),
        result(
            "simulator.direct_speedup",
            median["short"] / median["long"],
            "x",
            against="frame and range-Doppler transform, same process",
        ),
    ]


if __name__ == "__main__":
    print_rows(measure)
