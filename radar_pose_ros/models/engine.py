"""milliMamba on a stream: one frame in, the pose over the last frames out.

A window of T frames shares T - 1 frames with the one before it. `Engine` keeps what it has
computed of those, as far as the numbers are the same as for the whole window at once:

=======================================  =====================  ==============================
network                                  kept of a frame        computed anew at each step
=======================================  =====================  ==============================
temporal kernels of 1 (``edge``)         its tokens             encoder, decoder
causal kernels (``paper_streaming``)     its tokens, and the    encoder, decoder
                                         last inputs of the
                                         convolutions
kernels that look ahead (``paper``)      its merged heatmap     convolutions, encoder, decoder
=======================================  =====================  ==============================

The encoder scans the window from both ends, so that every token changes with every new frame.
"""

from __future__ import annotations

import copy
import ctypes
from collections import deque
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from radar_pose_ros.models.millimamba import (
    History,
    MilliMamba,
    MilliMambaOutput,
    multiply_accumulates,
)

Precision = Literal["auto", "float32", "bfloat16"]

# Multiply-accumulates of a window. `edge`, 0.6e9, is as fast in float32; `paper`, 35e9, is not.
_GAINS_BY_BFLOAT16 = 3e9


class Engine:
    """A network and its last frames, for one stream. Not to be used by two threads at once.

    Parameters
    ----------
    network : MilliMamba
        Is copied, on its device; later changes to it are not seen.
    precision : {"auto", "float32", "bfloat16"}
        In what convolutions, projections and attention are computed; states, norms and sums along
        the layers are float32 always. "auto": bfloat16 where the CPU has instructions for it and
        the network is large enough to gain by them.
    threads : int, optional
        Threads of torch, for the whole process. Default: as they are.

    Raises
    ------
    ValueError
        If ``precision`` is none of those, or ``threads`` less than 1.

    Notes
    -----
    The process keeps the memory that a window was computed in, for the next one: asking the system
    for it each time took a tenth (bfloat16) to a quarter (float32) of the time of ``paper``.
    """

    def __init__(
        self, network: MilliMamba, *, precision: Precision = "auto", threads: int | None = None
    ) -> None:
        if precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision {precision!r} is none of auto, float32, bfloat16")
        if threads is not None:
            if threads < 1:
                raise ValueError(f"threads must be at least 1, got {threads}")
            torch.set_num_threads(threads)
        _keep_freed_memory()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.config = c = network.config
        self.device = network.position.device
        if precision == "auto":
            large = multiply_accumulates(c)["total"] > _GAINS_BY_BFLOAT16
            fast = large and _computes_in_bfloat16(self.device)
            precision = "bfloat16" if fast else "float32"
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        if self.dtype != torch.float32:  # autocast would convert these anew for every frame
            for module in self.network.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.to(self.dtype)
        # of the last frames, oldest first: what is kept, and which views are valid
        self._window: deque[tuple[Tensor, Tensor]] = deque(maxlen=c.frames)
        self._history: History = {}

    @property
    def frames(self) -> int:
        """Frames that are held, at most as many as the window is long."""
        return len(self._window)

    def clear(self) -> None:
        """Forget all frames: what comes next does not follow on them."""
        self._window.clear()
        self._history.clear()

    @torch.inference_mode()
    def push(self, heatmaps: np.ndarray | Tensor, valid: np.ndarray | Tensor) -> None:
        """Take the next frame.

        Parameters
        ----------
        heatmaps : ndarray or Tensor
            complex64, ``(views, angle, doppler, range)``, or ``(views, elevation, ...)`` for a
            network of 4-D heatmaps; of any scale.
        valid : ndarray or Tensor
            bool, ``(views,)``: False where a radar's frame is missing. What stands in the heatmap
            there does not matter.

        Raises
        ------
        ValueError
            If either has another shape than the network wants.
        """
        frame = self._channels(torch.as_tensor(heatmaps))
        flags = self._flags(valid)[None, :, None]  # (batch, views, frames)
        with self._autocast():
            kept = self.network.merge_frames(frame, flags)
            if self.config.streams:
                kept = self.network.embed_frames(kept, flags, self._history)
        self._window.append((kept, flags))

    @torch.inference_mode()
    def estimate(self) -> MilliMambaOutput | None:
        """Estimate the poses of the last frames.

        Returns
        -------
        MilliMambaOutput or None
            With a batch of 1; None as long as there are fewer frames than the window is long.
        """
        if len(self._window) < self.config.frames:
            return None
        kept, flags = zip(*self._window, strict=True)
        with self._autocast():
            if self.config.streams:
                tokens = torch.cat(kept, dim=1)
            else:
                tokens = self.network.embed_frames(torch.cat(kept, dim=2), torch.cat(flags, dim=2))
            return self.network.decode_window(tokens)

    def _channels(self, heatmaps: Tensor) -> Tensor:
        """(views, [elevation,] angle, doppler, range) -> (1, views, 1, channels, ...), real."""
        c = self.config
        elevations = c.input_channels // 2
        bins = (c.angle_bins, c.doppler_bins, c.range_bins)
        wanted = (c.views, *([elevations] if elevations > 1 else []), *bins)
        if tuple(heatmaps.shape) != wanted or not heatmaps.is_complex():
            raise ValueError(
                f"heatmaps must be complex {wanted}, got {heatmaps.dtype} {tuple(heatmaps.shape)}"
            )
        planes = torch.view_as_real(heatmaps.to(self.device, torch.complex64))
        planes = planes.reshape(c.views, elevations, *bins, 2).movedim(-1, 2)
        return planes.flatten(1, 2)[None, :, None]

    def _flags(self, valid: np.ndarray | Tensor) -> Tensor:
        flags = torch.as_tensor(valid, dtype=torch.bool, device=self.device)
        if flags.shape != (self.config.views,):
            raise ValueError(f"valid must be ({self.config.views},), got {tuple(flags.shape)}")
        return flags

    def _autocast(self) -> torch.autocast:
        enabled = self.dtype != torch.float32
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def _keep_freed_memory() -> None:
    """Let glibc hand freed memory out again instead of returning it to the system.

    By default it maps blocks of 32 MB and more anew each time, gives back what lies free at the
    top of its heap, and keeps a heap for each thread that is smaller than a window's buffers.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mmap_max, trim_threshold, arena_max = -4, -1, -8  # malloc.h
    for option, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (arena_max, 1)):
        mallopt(option, value)


def _computes_in_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on this device."""
    if device.type != "cpu":
        return False
    features: dict[str, Any] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older torch does not say
    return any(features.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
