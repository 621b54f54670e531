"""Stored outputs of every preset, and how to make them: ``python test/golden.py [PRESET ...]``.

Input and weights are drawn by numpy's ``RandomState``, whose numbers never change. Only ``edge``
has the weights that this package ships. A file holds the float32 output for one window:
``keypoints`` (frames, joints, 2) in pixels and ``confidence`` (frames, joints).
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch

from radar_pose_ros.models import weights
from radar_pose_ros.models.millimamba import PRESETS, MilliMamba, MilliMambaConfig

FOLDER = Path(__file__).parent / "models" / "golden"


def lively(config: MilliMambaConfig, seed: int = 0) -> MilliMamba:
    """Return a network with seeded weights whose output depends visibly on all of its input.

    As initialised for training it would not: every joint lies near the middle of the image.
    """
    random = np.random.RandomState(seed)
    network = MilliMamba(config).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        kind = name.rpartition(".")[-1]
        noise = torch.from_numpy(random.standard_normal(tuple(parameter.shape)))
        if kind == "dt_bias":
            parameter.copy_(noise - 4)  # steps of about 0.02
        elif kind in ("weight", "conv_weight", "x_proj", "dt_proj") and parameter.dim() > 1:
            transposed = kind in ("x_proj", "dt_proj")  # (2, inputs, outputs)
            fan_in = parameter.shape[1] if transposed else math.prod(parameter.shape[1:])
            if kind == "conv_weight":  # (2, channels, kernel)
                fan_in = parameter.shape[2]
            parameter.copy_(noise * fan_in**-0.5)
        elif kind == "weight" or kind == "D":
            parameter.fill_(1.0)
        elif kind != "A_log":
            parameter.copy_(0.5 * noise)
    return network


def scene(config: MilliMambaConfig, frames: int | None = None, seed: int = 0) -> np.ndarray:
    """Return complex64 heatmaps, (frames, views, angle, doppler, range): noise, and a bright spot.

    The spot moves over angle and range from frame to frame.
    """
    c = config
    frames = c.frames if frames is None else frames
    shape = (frames, c.views, c.angle_bins, c.doppler_bins, c.range_bins, 2)
    random = np.random.RandomState(seed)
    heatmaps = random.standard_normal(shape).astype(np.float32).view(np.complex64)[..., 0]
    for t in range(frames):
        angle, range_ = (c.angle_bins // 3 + t, c.range_bins // 2 - t)
        heatmaps[t, :, angle : angle + 3, :3, range_ : range_ + 3] += 30
    return heatmaps


def network(preset: str) -> tuple[MilliMamba, str]:
    """Return the network that a golden output belongs to, and what its weights are."""
    config = PRESETS[preset]
    if preset != "edge":
        return lively(config), "seeded"
    state, entry = weights.load(preset)
    shipped = MilliMamba(config).eval().requires_grad_(False)
    shipped.load_state_dict(state)
    return shipped, entry["sha256"]


def channels(heatmaps: np.ndarray) -> torch.Tensor:
    """Turn (frames, views, ...) complex into (1, views, frames, 2, ...), the network's input."""
    planes = np.stack([heatmaps.real, heatmaps.imag], axis=2)
    return torch.from_numpy(planes.swapaxes(0, 1)[None])


@torch.inference_mode()
def write(preset: str) -> None:
    """Make the stored output anew."""
    model, name = network(preset)
    output = model(channels(scene(model.config)))
    np.savez(
        FOLDER / f"{preset}.npz",
        keypoints=output.keypoints[0].numpy(),
        confidence=output.confidence[0].numpy(),
        weights=np.array(name),
    )


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for preset_name in sys.argv[1:] or PRESETS:
        write(preset_name)
