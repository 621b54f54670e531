"""MixSynthFormer beside DeciWatch's design: Human3.6M's window of 101 frames from 11 keyframes.

Both are the published sizes, in plain torch, one window at a time; a window's time is shared by
its frames. One thread, as the nodes have it: in networks this small, threads wait for each other
for longer than they calculate. Weights are random: they do not change the time. Calls are
interleaved in one process; values are medians, and the ratio of multiplications is counted, not
measured.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks import interleaved_medians_ms, print_rows, run_alone
from radar_pose_ros.measurements import result
from radar_pose_ros.models import deciwatch, mixsynthformer
from radar_pose_ros.models.deciwatch import DeciWatch
from radar_pose_ros.models.mixsynthformer import MixSynthFormer

TARGET_MS_PER_FRAME = 0.05
TARGET_MACS = 5.0


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure in a process of its own."""
    return run_alone("benchmarks._mixsynthformer", quick)


def measure(quick: bool) -> list[dict[str, Any]]:
    """Return time per frame and multiplications, both beside DeciWatch's."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ours = mixsynthformer.PRESETS["h36m_fcn"]
    theirs = deciwatch.PRESETS["deciwatch_h36m"]
    networks = {"ours": MixSynthFormer(ours).eval(), "theirs": DeciWatch(theirs).eval()}
    keyframes = torch.randn(1, ours.keyframes, ours.joints, ours.values)
    with torch.inference_mode():
        window_ms = interleaved_medians_ms(
            {name: partial(network, keyframes) for name, network in networks.items()},
            turns=20 if quick else 300,
        )
    ours_ms, theirs_ms = (window_ms[name] / ours.frames for name in ("ours", "theirs"))
    design = f"DeciWatch's design: {theirs_ms:.4f} ms"
    ours_macs = mixsynthformer.multiply_accumulates(ours)["total"]
    theirs_macs = deciwatch.multiply_accumulates(theirs)["total"]
    return [
        result(
            "mixsynthformer.ms_per_frame",
            ours_ms,
            "ms",
            TARGET_MS_PER_FRAME,
            f"{design}; of a window of {ours.frames} frames, 1 thread",
            at_most=True,
        ),
        result("mixsynthformer.speedup_vs_deciwatch", theirs_ms / ours_ms, "x", None, design),
        result(
            "mixsynthformer.macs_vs_deciwatch",
            theirs_macs / ours_macs,
            "x",
            TARGET_MACS,
            f"DeciWatch's design: {theirs_macs / 1e6:.1f} M for a window, here "
            f"{ours_macs / 1e6:.1f} M",
        ),
    ]


if __name__ == "__main__":
    print_rows(measure)
