"""The heatmap chain against the chains it replaces: time and peak memory per frame.

All start from the same flat int16 frame of 12 virtual antennas x 128 chirps x 256 samples, and all
run in one process with one thread, in turns. Memory is the peak that tracemalloc sees above what
was held before the call (numpy and scipy.fft report to it). The chains:

``this``
    `radar_pose_ros.radar.heatmap.HeatmapProcessor`, to complex64 (64 angle, 8 Doppler, 256 range).
``4d``
    The conventional chain: clutter removal, transform over chirps and samples, then separate
    transforms over elevation (8) and azimuth (64) as HuPR does, for all Doppler and range bins.
    Its result is 8 x 64 x 128 x 256. Vectorised, scipy.fft, complex64; HuPR's published script
    does the same in Python loops and is many times slower. Final shifts and reversals are left out
    in its favour.
``4d_cropped``
    What HuPR keeps of that (16 Doppler x 64 range bins), computed the way this package does it:
    nothing that is thrown away. No target; it shows how much is due to the layout of the result
    and how much to the order of the steps.
``textbook``
    The paper's steps one after the other, numpy.fft: mean over chirps off the whole cube, every
    16th chirp, then range, Doppler and zero-padded angle transforms and shifts.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft

from benchmarks import CONFIG, interleaved_medians_ms, print_rows, run_alone
from radar_pose_ros.measurements import result
from radar_pose_ros.radar.dca1000 import decode_samples
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor, four_dimensional
from radar_pose_ros.radar.virtual_array import VirtualArray

# A fast chain is called more often in its turn, or the 4-D chain's traffic would empty the caches
# before every single call.
CALLS_PER_TURN = {
    **dict.fromkeys(("this", "cropped", "central_doppler", "textbook"), 20),
    "4d_cropped": 5,
}


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure in a process of its own."""
    return run_alone("benchmarks.heatmap", quick)


def conventional_four_dimensional(adc: np.ndarray) -> np.ndarray:
    """Return all of the 4-D heatmap, complex64 (elevation, azimuth, Doppler, range), unshifted."""
    array = VirtualArray.for_config(CONFIG)
    cube = _antenna_cube(adc)
    cube -= cube.mean(axis=0)
    spectrum = scipy.fft.fft2(cube, axes=(0, 2), overwrite_x=True).transpose(1, 0, 2)
    grid = np.zeros((8, 8, *spectrum.shape[1:]), np.complex64)
    grid[0] = spectrum[array.azimuth_row]
    grid[1, 2:6] = spectrum[array.upper_row]
    grid[:, 2:6] = scipy.fft.fft(grid[:, 2:6], axis=0)
    return scipy.fft.fft(grid, n=64, axis=1)


def textbook(adc: np.ndarray) -> np.ndarray:
    """Return the heatmap by the paper's steps, (angle, Doppler, range)."""
    cube = _antenna_cube(adc)
    cube = cube - cube.mean(axis=0)
    chirps = cube[:: len(cube) // 8]
    spectrum = np.fft.fft(np.fft.fft(chirps, axis=2), axis=0)
    angles = np.fft.fft(spectrum, n=64, axis=1)
    return np.fft.fftshift(angles, axes=(0, 1)).transpose(1, 0, 2)


def _antenna_cube(adc: np.ndarray) -> np.ndarray:
    """Complex64 (chirps, virtual antennas, samples); the firing order is the array's."""
    loops, transmitters, receivers, samples = CONFIG.adc_shape
    cube = decode_samples(adc, CONFIG.adc_shape, CONFIG.iq_order)
    return cube.reshape(loops, transmitters * receivers, samples)


def _peak_mib(chain: Callable[[], Any]) -> float:
    chain()  # what is cached on the first call is not counted
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        chain()
        return (tracemalloc.get_traced_memory()[1] - before) / 2**20
    finally:
        tracemalloc.stop()


def _measure(quick: bool) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    adc = rng.integers(-3000, 3000, CONFIG.bytes_per_frame // 2).astype(np.int16)
    processor = HeatmapProcessor(CONFIG)
    cropped = HeatmapProcessor(CONFIG, HeatmapConfig(range_first=31, range_bins=64))
    central = HeatmapProcessor(CONFIG, HeatmapConfig(chirps="central_doppler"))
    chains: dict[str, Callable[[], Any]] = {
        "this": lambda: processor(adc),
        "cropped": lambda: cropped(adc),
        "central_doppler": lambda: central(adc),
        "4d": lambda: conventional_four_dimensional(adc),
        "4d_cropped": lambda: four_dimensional(adc, CONFIG),
        "textbook": lambda: textbook(adc),
    }
    expected = textbook(adc)
    error = float(np.abs(processor(adc) - expected).max() / np.abs(expected).max())
    time_ms = interleaved_medians_ms(chains, 3 if quick else 15, CALLS_PER_TURN)
    memory_mib = {name: _peak_mib(chain) for name, chain in chains.items()}

    what = {
        "this": "(64, 8, 256), this package",
        "cropped": "the same, range bins 31 to 94 only",
        "central_doppler": "the same, 8 central Doppler bins of all 128 chirps",
        "4d": "conventional 4-D chain, all bins, vectorised, scipy.fft complex64",
        "4d_cropped": "4-D chain, only what HuPR keeps, this package",
        "textbook": "the paper's steps as written, numpy.fft complex64",
    }
    rows = []
    for peer, time_target, memory_target in (
        ("4d", 40.0, 11.0),
        ("textbook", None, None),
        ("4d_cropped", None, None),
    ):
        for quantity, measured, unit, target in (
            ("speedup", time_ms, "ms", time_target),
            ("memory", memory_mib, "MiB", memory_target),
        ):
            against = f"{what[peer]}: {measured[peer]:.3g} {unit}, one thread"
            ratio = measured[peer] / measured["this"]
            rows.append(result(f"heatmap.{quantity}_vs_{peer}", ratio, "x", target, against))
    for name, description in what.items():
        suffix = "" if name == "this" else f"_{name}"
        rows.append(result(f"heatmap.time{suffix}", time_ms[name], "ms", None, description))
        rows.append(result(f"heatmap.memory{suffix}", memory_mib[name], "MiB", None, description))
    rows.append(
        result(
            "heatmap.error", error, "", 1e-5, "largest difference from textbook / largest value"
        )
    )
    return rows


if __name__ == "__main__":
    print_rows(_measure)
