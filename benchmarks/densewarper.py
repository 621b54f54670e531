"""Fusion along epipolar lines and DenseWarper's preset `light`, from keypoints to poses.

``epipolar``
    What one view knows of three others, 17 joints, 64 x 64 pixels. The peer goes from pixel to
    pixel as the method is written: its ray at two depths, the line through both in the other
    image, the maximum of all joints at the pixels nearest to it in every column and every row;
    what belongs to one pixel is vectorised in numpy.
``deformable``
    Three pairs of the preset's deformable convolutions, beside torch's own operations, and both
    beside the same in float64. Offsets are random, of a pixel.
``light``
    Shots of four cameras in turn: each is a window, and then a pose. In pairs, of which each core
    computes one, as a node does that has found two waiting, and one by one. Weights are random:
    what they are changes the time only by where offsets lead.

One thread of torch, as the node has it: in work this small two wait for each other for longer than
they gain. Calls are interleaved in one process; values are medians.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import interleaved_medians_ms, print_rows, run_alone
from radar_pose_ros.datasets.multiview import simulate
from radar_pose_ros.datasets.simulated_poses import simulate_sequence
from radar_pose_ros.measurements import result
from radar_pose_ros.models.densewarper import PRESETS, DenseWarper
from radar_pose_ros.models.heatmaps import render_heatmaps
from radar_pose_ros.models.multiview import DenseWarperMethod, crop, heatmaps_of, views_of
from radar_pose_ros.models.ops import deformable_conv, epipolar, native
from radar_pose_ros.simulation.multiview import DETECTOR, rig, shutter_times
from radar_pose_ros.vision.comparators import windows_of

TARGET_EPIPOLAR = 50.0
TARGET_POSES_PER_S = 60.0
TARGET_ERROR = 1e-5
VIEWS, RATE_HZ, CORES = 4, 15.0, 2
LIGHT = PRESETS["light"]
_DEPTHS_M = (1.0, 5.0)


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure in a process of its own."""
    return run_alone("benchmarks.densewarper", quick)


def loop_maximum(source: np.ndarray, target: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the maxima (joints, rows, columns) along the lines of a target's pixels, in a loop.

    Parameters
    ----------
    source : ndarray, shape (joints, rows, columns)
        Heatmaps of the other view.
    target, other : ndarray, shape (3, 4)
        Projections into the heatmaps of both views.
    """
    rows, columns = source.shape[1:]
    inverse = np.linalg.inv(target[:, :3])
    centre = -inverse @ target[:, 3]
    every_column, every_row = np.arange(columns), np.arange(rows)
    result = np.zeros(source.shape, source.dtype)
    for row in range(rows):
        for column in range(columns):
            ray = inverse @ (column, row, 1.0)
            ends = [other @ (*(centre + depth * ray), 1.0) for depth in _DEPTHS_M]
            a, b, c = np.cross(*ends)
            # a pixel of every column, and one of every row
            v = np.concatenate(((-a * every_column - c) / b, every_row))
            u = np.concatenate((every_column, (-b * every_row - c) / a))
            u, v = np.rint(u), np.rint(v)
            inside = (u >= 0) & (u < columns) & (v >= 0) & (v < rows)
            u, v = u[inside].astype(int), v[inside].astype(int)
            result[:, row, column] = source[:, v, u].max(-1, initial=0.0)
    return result


def measure(quick: bool) -> list[dict[str, Any]]:
    """Return the rows of all parts."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.inference_mode():
        return [*_epipolar_rows(quick), *_deformable_rows(quick), *_light_rows(quick)]


def _recording() -> Any:
    """Two seconds of somebody before four cameras, by a detector with its errors."""
    person = simulate_sequence(0, 3.0, 60.0, "test")
    cameras = rig(VIEWS, person.joints_m.mean((0, 1)), np.random.default_rng(1))
    stamps = shutter_times(VIEWS, 2.0, RATE_HZ, "interleaved")
    return simulate(person, cameras, stamps, np.random.default_rng(2), DETECTOR)


def _epipolar_rows(quick: bool) -> list[dict[str, Any]]:
    recording = _recording()
    window = list(windows_of(recording))[40]
    cameras, size = recording.cameras, LIGHT.size
    seen = LIGHT.alignment([window], cameras)
    matrices = np.stack([camera.projection_matrix for camera in cameras])
    to_heatmap = crop(seen.keypoints_px, size)
    views = views_of(*seen[:3], matrices, window.view, to_heatmap)
    own, _ = heatmaps_of(views, size)
    others = [view for view in range(VIEWS) if view != window.view]
    source = own[0, window.view].numpy()
    projections = views.projections[0].numpy()

    def loop() -> np.ndarray:
        fused = own[0].numpy().copy()
        for view in others:
            line = loop_maximum(source, projections[view], projections[window.view])
            fused[view] = 0.5 * fused[view] + 0.5 * line
        return fused

    ours = partial(epipolar.fuse_slot, own, views.projections, window.view)
    error = float(np.abs(ours()[0].numpy() - loop()).max())
    time_ms = interleaved_medians_ms(
        {"ours": ours, "loop": loop}, turns=1 if quick else 9, each={"ours": 10}
    )
    peer = f"a loop over pixels: {time_ms['loop']:.0f} ms; here {time_ms['ours']:.2f} ms"
    ratio = time_ms["loop"] / time_ms["ours"]
    return [
        result("epipolar.speedup_vs_loop", ratio, "x", TARGET_EPIPOLAR, f"{peer}, {_how()}"),
        result(
            "epipolar.error_vs_loop", error, "", TARGET_ERROR, "largest difference", at_most=True
        ),
    ]


def _deformable_rows(quick: bool) -> list[dict[str, Any]]:
    pairs, joints, size = VIEWS - 1, LIGHT.joints, LIGHT.size
    places = torch.rand(pairs, joints, 2) * (size - 24) + 12
    x = render_heatmaps(places, None, (size, size))
    offsets = [torch.randn(pairs, LIGHT.offsets, size, size) for _ in LIGHT.dilations]
    weight = torch.randn(joints, joints, 3, 3)

    def convolve(dtype: torch.dtype) -> list[Tensor]:
        return [
            deformable_conv.deformable_conv(
                x.to(dtype), some.to(dtype), weight.to(dtype), dilation
            )
            for some, dilation in zip(offsets, LIGHT.dilations, strict=True)
        ]

    def by_torch() -> list[Tensor]:
        return [
            (weight.flatten(1) @ found.flatten(1, 2).flatten(2)).view_as(x)
            for some, dilation in zip(offsets, LIGHT.dilations, strict=True)
            for found in [deformable_conv.sample(x, some, 3, dilation)]
        ]

    exact = convolve(torch.float64)
    error = max(
        float((a - b).abs().max() / b.abs().max())
        for a, b in zip(convolve(torch.float32), exact, strict=True)
    )
    time_ms = interleaved_medians_ms(
        {"ours": partial(convolve, torch.float32), "torch": by_torch}, turns=2 if quick else 30
    )
    peer = f"torch's operations: {time_ms['torch']:.1f} ms; here {time_ms['ours']:.1f} ms"
    ratio = time_ms["torch"] / time_ms["ours"]
    exactly = "from float64, of the largest value"
    return [
        result("deformable.speedup_vs_torch", ratio, "x", None, f"{peer}, {_how()}"),
        result("deformable.error", error, "", TARGET_ERROR, exactly, at_most=True),
    ]


def _light_rows(quick: bool) -> list[dict[str, Any]]:
    recording = _recording()
    network = DenseWarper(LIGHT)
    for name, weight in network.named_parameters():
        if "offsets" in name:
            torch.nn.init.normal_(weight, std=0.01)
    method = DenseWarperMethod(network, threads=CORES)
    windows = list(windows_of(recording))[2 * VIEWS :]

    def stream(at_once: int) -> None:
        for first in range(0, len(windows), at_once):
            method.poses(windows[first : first + at_once], recording.cameras)

    time_ms = interleaved_medians_ms(
        {"pairs": partial(stream, CORES), "single": partial(stream, 1)}, turns=1 if quick else 15
    )
    rate_hz = len(windows) * 1e3 / time_ms["pairs"]
    window_ms = time_ms["single"] / len(windows)
    of = f"{VIEWS} views, {RATE_HZ:.0f} shots per second each"
    return [
        result(
            "densewarper.light_poses_per_s",
            rate_hz,
            "Hz",
            TARGET_POSES_PER_S,
            f"{of}; {CORES} at once, each by {_how()}",
        ),
        result("densewarper.light_window_ms", window_ms, "ms", None, f"one alone, {_how()}"),
    ]


def _how() -> str:
    kernels = "compiled kernels" if native.offers("deform_forward") else "no compiled kernels"
    return f"1 thread, {kernels}"


if __name__ == "__main__":
    print_rows(measure)
