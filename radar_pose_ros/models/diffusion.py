"""Gaussian diffusion: a schedule of noise, and ways back from noise to data in many or few steps.

A sample x of the data becomes ``sqrt(a) x + sqrt(1 - a) e`` with noise e, where a, the share of
the signal's power, falls from step to step. A network learns to say e; the samplers here turn that
into samples of the data:

================  =================================================================================
``ancestral``     as trained (Ho et al., NeurIPS 2020): every step, new noise at each
``ddim``          Song et al., ICLR 2021: any number of steps; without new noise unless ``eta`` > 0
``dpm_solver``    DPM-Solver++ (Lu et al., 2022): the same equation, second order, fewer steps yet
================  =================================================================================

The schedulers of the library `diffusers` give the same coefficients (``DDPMScheduler`` with
``trained_betas`` and ``variance_type="fixed_small"`` agrees to 2e-7, as the tests compare where it
is installed), but they bring 19 packages that nothing else here needs, 90 MB of them, and their
import takes five seconds: too much on a robot for three short formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

# (x, step) -> the noise in x, of the same shape.
NoisePredictor = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Diffusion:
    """How much noise there is at each step; the defaults are those of DiffHPE.

    Parameters
    ----------
    steps : int
        Steps from data to noise.
    schedule : {"cosine", "quadratic", "linear"}
        "cosine": a = cos^2(pi/2 (u + offset)/(1 + offset)) at u = step/steps (Nichol and Dhariwal,
        ICML 2021), with no beta above ``last_beta``. The others go from ``first_beta`` to
        ``last_beta``, in equal steps of the square root or of beta itself.
    offset, first_beta, last_beta : float

    Raises
    ------
    ValueError
        If there are no steps, the schedule is none of those, or the betas do not lie in (0, 1).
    """

    steps: int = 50
    schedule: Literal["cosine", "quadratic", "linear"] = "cosine"
    offset: float = 0.008
    first_beta: float = 1e-4
    last_beta: float = 0.5

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a diffusion wants at least 1 step, got {self.steps}")
        if self.schedule not in ("cosine", "quadratic", "linear"):
            raise ValueError(f"schedule {self.schedule!r} is none of cosine, quadratic, linear")
        if not 0 < self.first_beta <= self.last_beta < 1:
            raise ValueError(
                f"betas must lie in (0, 1), got {self.first_beta} to {self.last_beta}"
            )

    @cached_property
    def betas(self) -> np.ndarray:
        """Share of the power that is replaced by noise, by step; float64 ``(steps,)``."""
        if self.schedule == "linear":
            return np.linspace(self.first_beta, self.last_beta, self.steps)
        if self.schedule == "quadratic":
            return np.linspace(self.first_beta**0.5, self.last_beta**0.5, self.steps) ** 2
        places = (np.arange(self.steps + 1) / self.steps + self.offset) / (1 + self.offset)
        left = np.cos(places * np.pi / 2) ** 2
        return np.minimum(1 - left[1:] / left[:-1], self.last_beta)

    @cached_property
    def signal(self) -> np.ndarray:
        """Share of the signal's power that is left, by step; the product of all 1 - beta."""
        return np.cumprod(1 - self.betas)

    def noised(self, x: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """Return data as it is after so many steps.

        Parameters
        ----------
        x, noise : Tensor
            ``(batch, ...)``; the noise of standard deviation 1.
        step : Tensor
            int, ``(batch,)``, 0 to ``steps`` - 1.
        """
        left = torch.as_tensor(self.signal, dtype=x.dtype, device=x.device)[step]
        left = left.view(-1, *(1,) * (x.ndim - 1))
        return left.sqrt() * x + (1 - left).sqrt() * noise

    def start(self, x: Tensor, step: int, noise: Tensor) -> Tensor:
        """Return the data that ``x`` was made of if ``noise`` is what was added."""
        left = float(self.signal[step])
        return (x - math.sqrt(1 - left) * noise) / math.sqrt(left)

    def chosen_steps(self, count: int, spacing: Literal["step", "log_snr"] = "step") -> list[int]:
        """Return ``count`` steps, falling, from the last to 0; the last alone if it is one.

        Parameters
        ----------
        count : int
        spacing : {"step", "log_snr"}
            As far as possible equal in the number of the step, or in the logarithm of the ratio of
            signal to noise.

        Raises
        ------
        ValueError
            If there are not so many.
        """
        if not 1 <= count <= self.steps:
            raise ValueError(f"steps of a sampler must be 1 to {self.steps}, got {count}")
        if spacing == "step":
            return [round(step) for step in np.linspace(self.steps - 1, 0, count)]
        ratio = np.log(self.signal / (1 - self.signal))
        wanted = np.linspace(ratio[-1], ratio[0], count)
        chosen: list[int] = []
        for place, target in enumerate(wanted):  # the nearest that leaves enough for the others
            most = chosen[-1] - 1 if chosen else self.steps - 1
            least = count - 1 - place
            nearest = int(np.abs(ratio - target).argmin())
            chosen.append(min(max(nearest, least), most))
        return chosen


@dataclass(frozen=True)
class Sampler:
    """Which way back to take, and in how many steps.

    Parameters
    ----------
    method : {"ancestral", "ddim", "dpm_solver"}
        "ancestral" takes all steps of the diffusion.
    steps : int
        Evaluations of the network, for the other two.
    eta : float
        Of ``ddim``: 0 adds no noise on the way, 1 as much as ``ancestral``.
    order : int
        Of ``dpm_solver``: 1, which is ``ddim`` without noise, or 2.
    spacing : {"step", "log_snr"}
        See `Diffusion.chosen_steps`.
    limit : float
        Of ``ddim`` and ``dpm_solver``: on the way estimates of the data are kept within this
        distance from 0; at the start they are uncertain. 0 lets them be.

    Raises
    ------
    ValueError
        If a value is none of those.
    """

    method: Literal["ancestral", "ddim", "dpm_solver"] = "ancestral"
    steps: int = 50
    eta: float = 0.0
    order: int = 2
    spacing: Literal["step", "log_snr"] = "step"
    limit: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("method", ("ancestral", "ddim", "dpm_solver")),
            ("order", (1, 2)),
            ("spacing", ("step", "log_snr")),
        ):
            if getattr(self, name) not in allowed:
                known = ", ".join(map(str, allowed))
                raise ValueError(f"sampler: {name} {getattr(self, name)!r} is none of {known}")
        if self.steps < 1 or self.limit < 0 or not 0 <= self.eta <= 1:
            raise ValueError("a sampler wants steps > 0, limit >= 0 and eta from 0 to 1")

    def visited(self, diffusion: Diffusion) -> list[int]:
        """Return the steps at which the network is asked, falling."""
        if self.method == "ancestral":
            return list(range(diffusion.steps))[::-1]
        return diffusion.chosen_steps(self.steps, self.spacing)


def sample(
    predict: NoisePredictor,
    x: Tensor,
    diffusion: Diffusion,
    sampler: Sampler | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Turn noise into samples of the data.

    Parameters
    ----------
    predict : callable
        ``(x, step) -> noise``.
    x : Tensor
        Noise of standard deviation 1; is not changed.
    diffusion : Diffusion
    sampler : Sampler, optional
        ``ancestral`` by default.
    generator : torch.Generator, optional
        Of the noise that is added on the way.

    Returns
    -------
    Tensor
        Of the same shape. The last step returns the mean, without noise.
    """
    sampler = sampler or Sampler()
    if sampler.method == "ancestral":
        return _ancestral(predict, x, diffusion, generator)
    if sampler.method == "ddim":
        return _ddim(predict, x, diffusion, sampler, generator)
    return _dpm_solver(predict, x, diffusion, sampler)


def _ancestral(
    predict: NoisePredictor, x: Tensor, diffusion: Diffusion, generator: torch.Generator | None
) -> Tensor:
    """Ho et al. 2020, algorithm 2, with the smaller of its two variances."""
    for step in reversed(range(diffusion.steps)):
        beta, left = float(diffusion.betas[step]), float(diffusion.signal[step])
        x = (x - beta / math.sqrt(1 - left) * predict(x, step)) / math.sqrt(1 - beta)
        if step:
            before = float(diffusion.signal[step - 1])
            deviation = math.sqrt((1 - before) / (1 - left) * beta)
            x = x + deviation * _noise_like(x, generator)
    return x


def _ddim(
    predict: NoisePredictor,
    x: Tensor,
    diffusion: Diffusion,
    sampler: Sampler,
    generator: torch.Generator | None,
) -> Tensor:
    """Song et al. 2021, equations 12 and 16."""
    visited = sampler.visited(diffusion)
    for step, following in zip(visited, [*visited[1:], -1], strict=True):
        noise = predict(x, step)
        start = diffusion.start(x, step, noise)
        if following < 0:
            return start
        left, then = float(diffusion.signal[step]), float(diffusion.signal[following])
        if sampler.limit:
            start = start.clamp(-sampler.limit, sampler.limit)
            noise = (x - math.sqrt(left) * start) / math.sqrt(1 - left)
        fresh = sampler.eta * math.sqrt((1 - then) / (1 - left) * (1 - left / then))
        x = math.sqrt(then) * start + math.sqrt(max(1 - then - fresh**2, 0.0)) * noise
        if fresh:
            x = x + fresh * _noise_like(x, generator)
    raise AssertionError("a sampler visits at least one step")


def _dpm_solver(
    predict: NoisePredictor, x: Tensor, diffusion: Diffusion, sampler: Sampler
) -> Tensor:
    """DPM-Solver++ (Lu et al. 2022), algorithm 2 ("2M"); first and last step are of order 1."""
    visited = sampler.visited(diffusion)
    signal = np.sqrt(diffusion.signal)
    noise = np.sqrt(1 - diffusion.signal)
    ratio = np.log(signal / noise)
    earlier, width_before = None, 0.0
    for step, following in zip(visited, [*visited[1:], -1], strict=True):
        start = diffusion.start(x, step, predict(x, step))
        if following < 0:
            return start
        if sampler.limit:
            start = start.clamp(-sampler.limit, sampler.limit)
        width = float(ratio[following] - ratio[step])
        towards = start
        if earlier is not None and sampler.order == 2:
            towards = start + width / (2 * width_before) * (start - earlier)
        x = float(noise[following] / noise[step]) * x
        x = x - float(signal[following]) * math.expm1(-width) * towards
        earlier, width_before = start, width
    raise AssertionError("a sampler visits at least one step")


def _noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
