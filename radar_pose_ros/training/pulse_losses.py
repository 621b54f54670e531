"""How far a pulse wave is from the true one: its shape, and where its power is.

PhysMamba's code adds up both for each clip. What it calls a cross-entropy takes shares of power
for logits: they lie between 0 and 1, so that the loss hardly changes whatever the network says.
Here the shares are the probabilities that they look like, unless asked for otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from radar_pose_ros.skeleton import checks

_LEAST = 1e-6  # of variances and probabilities: where nothing is, no gradient is infinite


@dataclass(frozen=True)
class PulseLoss:
    """The loss of a batch of waves.

    Parameters
    ----------
    shape : float
        Weight of 1 minus Pearson's correlation with the truth [code: 0.2].
    spectrum : float
        Weight of the cross-entropy of the power at each whole number of beats per minute with
        the one where the truth has most [code: 1].
    band_bpm : (int, int)
        First and last of these numbers [code: 45 to 149].
    as_logits : bool
        Whether shares of power are logits [code], or probabilities.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    shape: float = 1.0
    spectrum: float = 0.2
    band_bpm: tuple[int, int] = (39, 180)
    as_logits: bool = False

    def __post_init__(self) -> None:
        for name in ("shape", "spectrum"):
            if checks.real(f"loss: {name}", getattr(self, name), positive=False) < 0:
                raise ValueError(f"loss: {name} must be 0 or more, got {getattr(self, name)}")
        low, high = self.band_bpm
        if not 0 < low < high:
            raise ValueError(f"loss: band_bpm wants a lower and a higher rate, got {low}, {high}")

    def __call__(self, estimate: Tensor, truth: Tensor, rate_hz: float) -> dict[str, Tensor]:
        """Return means over the batch: "loss", and of what it is made, "shape" and "spectrum".

        Parameters
        ----------
        estimate, truth : Tensor
            ``(batch, frames)``, of any scale and offset.
        rate_hz : float
            Frames per second.
        """
        shape = 1 - correlation(estimate, truth)
        power = shares(estimate, rate_hz, self.band_bpm)
        beat = shares(truth, rate_hz, self.band_bpm).argmax(dim=1)
        if self.as_logits:
            spectrum = F.cross_entropy(power, beat, reduction="none")
        else:
            spectrum = -torch.log(power.gather(1, beat[:, None])[:, 0] + _LEAST)
        loss = self.shape * shape + self.spectrum * spectrum
        return {"loss": loss.mean(), "shape": shape.mean(), "spectrum": spectrum.mean()}


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation along the last axis; 0 where one side does not change."""
    first = first - first.mean(-1, keepdim=True)
    second = second - second.mean(-1, keepdim=True)
    product = (first * second).mean(-1)
    variance = first.square().mean(-1) * second.square().mean(-1)
    return product / torch.sqrt(variance + _LEAST**2)


def shares(waves: Tensor, rate_hz: float, band_bpm: tuple[int, int]) -> Tensor:
    """Return how the power of waves, under a Hann window, spreads over a band.

    Parameters
    ----------
    waves : Tensor, ``(batch, frames)``
    rate_hz : float
    band_bpm : (int, int)
        First and last number of beats per minute, both included.

    Returns
    -------
    Tensor
        ``(batch, beats per minute)``, adding up to 1; all 0 for a wave that does not change.
    """
    frames = waves.shape[1]
    seconds = torch.arange(frames, device=waves.device) / rate_hz
    rates = torch.arange(band_bpm[0], band_bpm[1] + 1, device=waves.device)
    turns = 2 * torch.pi * seconds[:, None] * rates / 60
    taper = torch.hann_window(frames, periodic=False, device=waves.device)
    tapered = (waves - waves.mean(1, keepdim=True)) * taper
    power = (tapered @ torch.cos(turns)).square() + (tapered @ torch.sin(turns)).square()
    return power / power.sum(1, keepdim=True).clamp_min(_LEAST)
