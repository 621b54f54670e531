"""DiffHPE: a window of 27 frames with 5 hypotheses, in use against the paper's procedure.

The peer computes all 50 steps of one hypothesis after the other and its condition at each step
(`_diffhpe.sample_literal`); of its 250 passes through the network, which are all alike, some are
timed. The sampler of few steps is `models.diffhpe.FAST`. Weights are random: they do not change
the time. Calls are interleaved; values are ratios of medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks._diffhpe import predict_noise
from radar_pose_ros import measurements
from radar_pose_ros.models.diffhpe import FAST, PRESETS, DiffHPE, Lifter

HYPOTHESES = 5
TARGET = 20.0
_PASSES = 5


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return the speed-up, with all steps and with few, of both presets."""
    return [row for preset in PRESETS for row in _rows(preset, 3 if quick else 15)]


def _rows(preset: str, repetitions: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    network = DiffHPE(PRESETS[preset]).eval()
    c = network.config
    keypoints = torch.randn(1, 2, c.joints, c.frames)
    noisy = torch.randn(1, 3, c.joints, c.frames)
    few, passes = Lifter(network, HYPOTHESES, FAST), HYPOTHESES * c.diffusion_steps
    x = torch.randn(HYPOTHESES, 3, c.joints, c.frames)

    def literal() -> None:
        for _ in range(_PASSES):
            predict_noise(network, noisy, 30, keypoints)

    def one_step() -> None:
        few.predict_noise(x, 30, condition)

    with torch.no_grad():
        condition = network.condition(keypoints).expand(HYPOTHESES, -1, -1, -1)
        times = _interleaved((literal, one_step, lambda: few.lift(keypoints)), repetitions)
    literal_s = times[0] / _PASSES * passes
    against = f"{passes} passes, one after the other: {literal_s:.2f} s"
    per_step = f"the same number of passes, one after the other: {literal_s / 50 * 1e3:.0f} ms"
    name = f"diffhpe_{preset}"
    return [
        measurements.result(
            f"{name}.speedup_vs_literal", literal_s / times[2], "x", TARGET, against
        ),
        measurements.result(
            f"{name}.speedup_of_a_step",
            literal_s / c.diffusion_steps / times[1],
            "x",
            None,
            per_step,
        ),
        measurements.result(
            f"{name}.window_ms", 1e3 * times[2], "ms", None, f"{FAST.method}, {FAST.steps} steps"
        ),
    ]


def _interleaved(calls: tuple[Callable[[], Any], ...], repetitions: int) -> list[float]:
    """Return the median time of each, in seconds."""
    seconds: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(repetitions):
        for call, taken in zip(calls, seconds, strict=True):
            started_s = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started_s)
    return [statistics.median(taken) for taken in seconds]
