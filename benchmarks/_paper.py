"""The paper's size of milliMamba: windows, streams, and what a longer window costs.

``eager`` is the same network in float32 as one would first write it: every direction of a Vision
Mamba layer by itself, with torch's grouped convolution and a scan that is a loop over the tokens,
as in the reference implementation of mamba-ssm. A window of ``paper`` comes whole: nothing of it
has been seen before. ``paper_streaming`` is given one frame, as it is live.

Memory is how far the resident size of a process rises over what it is with the network loaded, for
one stream of T frames and its estimate. The Transformer encoder has the width, the heads and the
number of layers of the Mamba one, and torch's fused attention, which needs no memory that is
quadratic in the tokens.
"""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import THREADS, print_rows, run_alone
from radar_pose_ros.measurements import result
from radar_pose_ros.models.engine import Engine
from radar_pose_ros.models.millimamba import (
    PRESETS,
    MilliMamba,
    MilliMambaConfig,
    VisionMambaLayer,
)

BOTH = np.array([True, True])


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure in a process of its own."""
    return run_alone("benchmarks._paper", quick)


def measure(quick: bool) -> list[dict[str, Any]]:
    """Return the rows; with ``quick`` each time is taken once, and windows are up to 15 frames."""
    torch.set_num_threads(THREADS)
    lengths = (9, 15) if quick else (9, 15, 30, 60)
    with torch.inference_mode():
        return [*_speed(1 if quick else 3), *_length(lengths)]


# -- eager ---------------------------------------------------------------------------------------


def textbook_scan(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor
) -> Tensor:
    """Scan token by token; ``u, dt, z`` (batch, channels, length), ``B, C`` (batch, N, length)."""
    decay = torch.exp(torch.einsum("bcl,cn->bcln", dt, A))
    driven = torch.einsum("bcl,bnl,bcl->bcln", dt, B, u)
    h = torch.zeros_like(decay[:, :, 0])
    outputs = []
    for t in range(u.shape[-1]):
        h = decay[:, :, t] * h + driven[:, :, t]
        outputs.append(torch.einsum("bcn,bn->bc", h, C[:, :, t]))
    return (torch.stack(outputs, -1) + u * D[:, None]) * F.silu(z)


def textbook_layer(layer: VisionMambaLayer, residual: Tensor) -> Tensor:
    """`VisionMambaLayer.forward` as its specification puts it, one direction after the other."""
    x, z = layer.in_proj(layer.norm(residual)).permute(1, 2, 0).chunk(2, dim=1)
    total = torch.zeros_like(x)
    for direction in range(2):
        u, gate = (t.flip(-1) if direction else t for t in (x, z))
        weight, bias = layer.conv_weight[direction, :, None], layer.conv_bias[direction]
        past = weight.shape[-1] - 1
        u = F.silu(F.conv1d(F.pad(u, (past, 0)), weight, bias, groups=len(weight)))
        projected = torch.einsum("bcl,ck->bkl", u, layer.x_proj[direction])
        low, B, C = projected.split((layer.rank, layer.states, layer.states), dim=1)
        dt = torch.einsum("brl,rc->bcl", low, layer.dt_proj[direction])
        dt = F.softplus(dt + layer.dt_bias[direction][:, None])
        A = -torch.exp(layer.A_log[direction].T)
        y = textbook_scan(u, dt, A, B, C, layer.D[direction], gate)
        total = total + (y.flip(-1) if direction else y)
    return residual + layer.scale * layer.out_proj(total.permute(2, 0, 1))


def eager(network: MilliMamba) -> MilliMamba:
    """Return a copy of the network with `textbook_layer` in its encoder."""
    network = copy.deepcopy(network)
    for layer in network.encoder:
        assert isinstance(layer, VisionMambaLayer)
        layer.forward = partial(textbook_layer, layer)  # type: ignore[method-assign]
    return network


# -- speed ---------------------------------------------------------------------------------------


def _speed(turns: int) -> list[dict[str, Any]]:
    """Time whole windows, and steps of a stream, against the eager form of the same network."""
    rows = []
    for preset, target, frames_anew in (("paper", 15.0, None), ("paper_streaming", 20.0, 1)):
        network = _network(PRESETS[preset])
        frames = _frames(network.config)
        planes = np.stack([frames.real, frames.imag], axis=2).swapaxes(0, 1)[None]
        new = frames if frames_anew is None else frames[-frames_anew:]
        ways: dict[str, Callable[[], Tensor]] = {}
        for name in ("auto", "float32"):
            engine = Engine(network, precision=name)
            for frame in frames[: len(frames) - len(new)]:
                engine.push(frame, BOTH)
            ways[name] = partial(_step, engine, new)
        ways["eager"] = partial(_whole, eager(network), torch.from_numpy(planes))
        # the first turn warms up; nothing has been seen before these frames, so all agree
        outputs = {name: way() for name, way in ways.items()}
        times_s: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(turns):
            for name, way in ways.items():
                for _ in range(1 if name == "eager" else 3):
                    begin = time.perf_counter()
                    way()
                    times_s[name].append(time.perf_counter() - begin)
        median_s = {name: float(np.median(values)) for name, values in times_s.items()}
        what = "a whole window" if frames_anew is None else "one new frame"
        against = f"float32, textbook scan, {median_s['eager']:.3g} s, {THREADS} threads; {what}"
        for suffix, name, wanted in (("", "auto", target), ("_float32", "float32", None)):
            ratio = median_s["eager"] / median_s[name]
            error_px = float((outputs[name] - outputs["eager"]).abs().max())
            rows += [
                result(f"{preset}.speedup_vs_eager{suffix}", ratio, "x", wanted, against),
                result(f"{preset}.time{suffix}", median_s[name] * 1e3, "ms", None, what),
                result(f"{preset}.error{suffix}", error_px, "px", None, "largest, from eager"),
            ]
    return rows


def _step(engine: Engine, frames: np.ndarray) -> Tensor:
    for frame in frames:
        engine.push(frame, BOTH)
    output = engine.estimate()
    assert output is not None
    return output.keypoints


def _whole(network: MilliMamba, planes: Tensor) -> Tensor:
    return network(planes).keypoints


def _network(config: MilliMambaConfig) -> MilliMamba:
    torch.manual_seed(0)
    return MilliMamba(config).eval().requires_grad_(False)


def _frames(config: MilliMambaConfig) -> np.ndarray:
    """Complex64 noise, (frames, views, angle, doppler, range): time does not depend on it."""
    c = config
    shape = (c.frames, c.views, c.angle_bins, c.doppler_bins, c.range_bins, 2)
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)
    return noise.view(np.complex64)[..., 0]


# -- length of the window ------------------------------------------------------------------------


def _length(lengths: tuple[int, ...]) -> list[dict[str, Any]]:
    """Memory of a stream, and time of a layer of either encoder, for windows of T frames."""
    rows = []
    peak_mib = {}
    # a process each: what one has freed must not serve the next
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for frames in lengths:
            peak_mib[frames] = pool.apply(_peak_mib, (frames,))
    for frames, mib in peak_mib.items():
        rows.append(result(f"paper_streaming.memory_t{frames}", mib, "MiB"))
    short, long = lengths[0], lengths[-1]
    growth = peak_mib[long] / long / (peak_mib[short] / short)
    against = f"memory per frame at T = {short}; linear is 1, quadratic {long / short:.3g}"
    name = f"paper_streaming.memory_growth_t{long}"
    rows.append(result(name, growth, "", 1.5, against, at_most=True))

    for frames in lengths:
        time_s = {}
        for encoder in ("mamba", "transformer"):
            config = dataclasses.replace(PRESETS["paper_streaming"], encoder=encoder)
            layer = _network(dataclasses.replace(config, encoder_layers=1)).encoder[0]
            x = torch.randn(frames * config.tokens_per_frame, 1, config.width)
            layer(x[: config.tokens_per_frame])
            begin = time.perf_counter()
            layer(x)
            time_s[encoder] = time.perf_counter() - begin
        ratio = time_s["transformer"] / time_s["mamba"]
        target = 10.0 if frames == 60 else None
        against = (
            f"Vision Mamba layer, {time_s['mamba']:.3g} s, {frames * config.tokens_per_frame} "
            f"tokens, width {config.width}, float32, {THREADS} threads"
        )
        rows.append(result(f"transformer.slowdown_t{frames}", ratio, "x", target, against))
    return rows


@torch.inference_mode()
def _peak_mib(frames: int) -> float:
    """Return what a stream of windows of T frames takes above the network itself."""
    torch.set_num_threads(THREADS)
    config = dataclasses.replace(PRESETS["paper_streaming"], frames=frames)
    engine = Engine(_network(config))
    frame = _frames(dataclasses.replace(config, frames=1))[0]
    engine.push(frame, BOTH)  # loads what the first call loads
    before = _resident_kib("VmRSS")
    for _ in range(frames + 1):
        engine.push(frame, BOTH)
        engine.estimate()
    return (_resident_kib("VmHWM") - before) / 1024


def _resident_kib(field: str) -> int:
    """Return the resident size of this process now (VmRSS) or its highest so far (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    print_rows(measure)
