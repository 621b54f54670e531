"""Heart rates from video: state space duality, and PhysMamba on a face, as `video` does it.

``ssd``
    What a mixer of the network does with one clip: 80 tokens, 8 heads of 16 numbers, 64 states, as
    a whole and in halves, quarters and eighths. Here, the segments of a scale are a batch, for the
    form that the network calls, and for the matrix in plain torch. The peer goes from segment to
    segment and, in each, from token to token, as method and recurrence are written;
    ``ssd.speedup_vs_batched`` is against one that goes through the segments of a scale at once.
    One thread: all are small.
``rppg``
    An MPEG-4 file of 640 x 480 pixels at 30 Hz, of a drawn face that talks: decoding, following
    the face, and a reading per second of a window of 10 s. Timed is each second of the video once
    all buffers are full; the factor is of their median.
``physmamba``
    One clip of 160 frames through the network alone.

Weights are random: what they are does not change the time. Two threads but for ``ssd``.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks import THREADS, interleaved_medians_ms, print_rows, run_alone
from radar_pose_ros.measurements import result
from radar_pose_ros.models.ops.ssd import ssd, ssd_quadratic, ssd_reference
from radar_pose_ros.models.physmamba import PRESETS, PhysMamba
from radar_pose_ros.models.pulse import PulseNetwork
from radar_pose_ros.simulation.faces import SimulatedFaceVideo, draw_scene
from radar_pose_ros.vision.face import FaceTracker
from radar_pose_ros.vision.video import VideoFile
from radar_pose_ros.vitals.meter import (
    SMALLEST_THUMBNAIL_PX,
    ClassicalMethod,
    MeterSettings,
    PulseMeter,
    PulseMethod,
)

TARGET_SSD = 20.0
TARGET_ERROR = 1e-5
TARGET_REAL_TIME = 4.0
RATE_HZ, SIZE_PX = 30.0, (640, 480)
DRAWN_S = 5.0  # of frames that differ; the video goes forwards and backwards through them


class Pace(NamedTuple):
    """How long a second of video took, and what is in it."""

    second_s: float
    frame_ms: float
    reading_ms: float


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure in a process of its own."""
    return run_alone("benchmarks.rppg", quick)


def measure(quick: bool) -> list[dict[str, Any]]:
    """Return the rows of all parts."""
    torch.set_num_threads(THREADS)
    cv2.setNumThreads(THREADS)
    torch.manual_seed(0)
    with torch.inference_mode():
        return [*_ssd_rows(quick), *_clip_rows(quick), *_video_rows(quick)]


def _ssd_rows(quick: bool) -> list[dict[str, Any]]:
    c = PRESETS["paper"]
    rates, direct = -torch.rand(c.heads) * 15 - 1, torch.ones(c.heads)
    scales = []
    for k in range(c.scales):
        segments, tokens = 2**k, c.tokens // 2**k
        x = torch.randn(segments, tokens, c.heads, c.head_size)
        dt = torch.rand(segments, tokens, c.heads) * 0.1
        B, C = torch.randn(2, segments, tokens, 1, c.state_size)
        scales.append((x, dt, B, C))

    def go(form: Callable[..., Tensor], segments_at_once: bool) -> list[Tensor]:
        made = []
        for scale in scales:
            size = len(scale[0]) if segments_at_once else 1
            parts = zip(*(v.split(size) for v in scale), strict=True)
            made.append(torch.cat([form(x, dt, rates, B, C, direct) for x, dt, B, C in parts]))
        return made

    error = max(
        float((a - b).abs().max() / b.abs().max())
        for form in (ssd, ssd_quadratic)
        for a, b in zip(go(form, True), go(ssd_reference, False), strict=True)
    )
    torch.set_num_threads(1)
    time_ms = interleaved_medians_ms(
        {
            "ours": partial(go, ssd, True),
            "matrix": partial(go, ssd_quadratic, True),
            "batched": partial(go, ssd_reference, True),
            "naive": partial(go, ssd_reference, False),
        },
        turns=5 if quick else 50,
        each={"ours": 5, "matrix": 5},
    )
    torch.set_num_threads(THREADS)

    def faster(name: str, ours: str, peer: str, how: str, target: float | None) -> dict[str, Any]:
        times = f"{time_ms[peer]:.1f} ms; here {time_ms[ours]:.2f} ms, 1 thread"
        ratio = time_ms[peer] / time_ms[ours]
        return result(name, ratio, "x", target, f"token by token, {how}: {times}")

    alone, at_once = "each segment by itself", "segments at once"
    largest = "token by token, of the largest value"
    return [
        faster("ssd.speedup_vs_naive", "ours", "naive", alone, TARGET_SSD),
        faster("ssd.speedup_vs_batched", "ours", "batched", at_once, None),
        faster("ssd.matrix_speedup_vs_naive", "matrix", "naive", alone, None),
        result("ssd.error_vs_naive", error, "", TARGET_ERROR, largest, at_most=True),
    ]


def _network(preset: str) -> PulseNetwork:
    return PulseNetwork(PhysMamba(PRESETS[preset]).eval(), name=f"physmamba/{preset}")


def _clip_rows(quick: bool) -> list[dict[str, Any]]:
    calls = {}
    for preset, config in PRESETS.items():
        shape = (config.frames, config.size, config.size, 3)
        clip = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        calls[preset] = partial(_network(preset).estimate, clip)
    time_ms = interleaved_medians_ms(calls, turns=1 if quick else 7, each={"edge": 5})
    rows = []
    for preset, value in time_ms.items():
        clip_s = PRESETS[preset].frames / PRESETS[preset].rate_hz
        against = f"a clip of {clip_s:.1f} s: {1e3 * clip_s / value:.1f} x real time; {_threads()}"
        rows.append(result(f"physmamba.{preset}_clip_ms", value, "ms", None, against))
    return rows


def _video_rows(quick: bool) -> list[dict[str, Any]]:
    # until what is kept of colours, for the breath, is as much as it will be
    filled_s = 12.0 if quick else PulseMeter.BREATHING_S + 1
    seconds = 4 if quick else 30
    with tempfile.TemporaryDirectory(prefix="radar_pose_bench_") as folder:
        path = _write_video(Path(folder) / "face.mp4", filled_s + seconds + 1)
        paces = {
            name: _pace(path, method, filled_s, seconds)
            for name, method in (
                ("edge", _network("edge")),
                ("classical", ClassicalMethod("combined")),
            )
        }
    learnt, classical = paces["edge"], paces["classical"]
    size = f"{SIZE_PX[0]} x {SIZE_PX[1]} at {RATE_HZ:g} Hz, a reading per second, {_threads()}"
    return [
        result("rppg.edge_realtime_factor", 1 / learnt.second_s, "x", TARGET_REAL_TIME, size),
        result("rppg.classical_realtime_factor", 1 / classical.second_s, "x", None, size),
        result("rppg.frame_ms", learnt.frame_ms, "ms", None, "following and sampling, mean"),
        result("rppg.edge_reading_ms", learnt.reading_ms, "ms", None, "median"),
        result("rppg.classical_reading_ms", classical.reading_ms, "ms", None, "median"),
    ]


def _write_video(path: Path, length_s: float) -> Path:
    scene = draw_scene(
        np.random.default_rng(2),
        duration_s=DRAWN_S,
        rate_hz=RATE_HZ,
        width_px=SIZE_PX[0],
        height_px=SIZE_PX[1],
        motion="talking",
        light="bright",
        dropped=0.0,
    )
    frames = [image for _, image in SimulatedFaceVideo(scene).frames()]
    there_and_back = itertools.cycle([*frames, *frames[-2:0:-1]])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE_HZ, SIZE_PX)
    for image in itertools.islice(there_and_back, round(length_s * RATE_HZ)):
        writer.write(image)
    writer.release()
    return path


def _pace(path: Path, method: PulseMethod, filled_s: float, seconds: int) -> Pace:
    """Watch a video, and time its seconds from ``filled_s`` on.

    Raises
    ------
    RuntimeError
        If the face was lost: then nothing was measured.
    """
    tracker = FaceTracker(thumbnail_px=method.thumbnail_px or SMALLEST_THUMBNAIL_PX)
    meter = PulseMeter(tracker, method, MeterSettings(rate_hz=RATE_HZ))
    frame_s, reading_s, second_s = [], [], []
    began_s = time.perf_counter()
    for number, (_, image) in enumerate(VideoFile(path).frames(), 1):
        before_s = time.perf_counter()
        faces = meter.see(image, number / RATE_HZ)
        frame_s.append(time.perf_counter() - before_s)
        if number % round(RATE_HZ):
            continue
        before_s = time.perf_counter()
        readings = meter.readings()
        now_s = time.perf_counter()
        reading_s.append(now_s - before_s)
        second_s.append(now_s - began_s)
        began_s = now_s
        if number > filled_s * RATE_HZ and not (faces and readings[0].wave is not None):
            raise RuntimeError(f"no wave of a face at {number / RATE_HZ:.0f} s: {readings}")
    last = slice(-seconds, None)
    frames = slice(-seconds * round(RATE_HZ), None)
    return Pace(
        float(np.median(second_s[last])),
        1e3 * float(np.mean(frame_s[frames])),
        1e3 * float(np.median(reading_s[last])),
    )


def _threads() -> str:
    return f"{THREADS} threads"


if __name__ == "__main__":
    print_rows(measure)
