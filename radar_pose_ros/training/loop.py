"""The one training loop, for every model.

It knows nothing of radars or poses: a model, a function from batch to losses, a function from
model to validation scores, and a recipe. What it adds is what every training needs: warm-up and
cosine decay, gradient clipping, mixed precision, an exponential moving average of the weights,
curves as CSV, the best checkpoint on validation, and resuming.
"""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    learning_rate : float
        Peak of the schedule.
    warmup_steps : int
        Steps of linear rise from zero to the peak.
    final_learning_rate_ratio : float
        The cosine ends at this share of the peak.
    weight_decay : float
        Decoupled decay (AdamW) of matrices; vectors (biases, norms, A_log, D) are not decayed.
    gradient_clip : float
        Largest norm of the gradient; larger ones are scaled down to it.
    ema_decay : float
        Decay of the moving average of the weights, which is what is validated and saved; 0 turns
        it off.
    bfloat16 : bool
        Run the forward pass under autocast to bfloat16.
    validate_every : int
        Steps between validations.
    seed : int
        Seed of torch's generator.
    """

    steps: int
    learning_rate: float
    warmup_steps: int = 100
    final_learning_rate_ratio: float = 0.02
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    ema_decay: float = 0.0
    bfloat16: bool = False
    validate_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.validate_every < 1:
            raise ValueError("steps and validate_every must be at least 1")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of optimiser step ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        floor = self.final_learning_rate_ratio
        return self.learning_rate * (floor + (1 - floor) * cosine)


@dataclass(frozen=True)
class FitResult:
    """Where training ended.

    Attributes
    ----------
    state : dict of str to Tensor
        The weights that scored best on validation.
    scores : dict of str to float
        Their validation scores.
    step : int
        After how many steps they were reached.
    """

    state: dict[str, Tensor]
    scores: dict[str, float]
    step: int


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Split parameters into decayed matrices and undecayed vectors.

    A parameter may opt out by carrying the attribute ``_no_weight_decay`` (Mamba's ``A_log``).
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in model.parameters():
        plain = parameter.ndim < 2 or getattr(parameter, "_no_weight_decay", False)
        (kept if plain else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]


def fit(
    model: nn.Module,
    batch_at: Callable[[int], Any],
    losses: Callable[[nn.Module, Any, int], dict[str, Tensor]],
    validate: Callable[[nn.Module], dict[str, float]],
    config: LoopConfig,
    directory: Path,
    *,
    best_by: str,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> FitResult:
    """Train ``model`` and return its best weights on validation.

    Parameters
    ----------
    model : nn.Module
        Trained in place.
    batch_at : callable
        ``(step) -> batch``, the same for the same step, so that resuming changes nothing.
    losses : callable
        ``(model, batch, step) -> {"loss": scalar, ...}``; "loss" is minimised, the rest is logged.
    validate : callable
        ``(model) -> scores``.
    config : LoopConfig
    directory : Path
        Gets ``curves.csv`` and ``last.pt``; those of an earlier run are replaced unless resuming.
    best_by : str
        The score to maximise.
    resume : bool
        Continue from ``last.pt`` in ``directory``; ``FileNotFoundError`` if it is not there.
    report : callable
        Takes one line of progress at a time.

    Raises
    ------
    ValueError
        If it is to resume a training that had other settings.
    FloatingPointError
        If a loss is not finite: training that has diverged is of no use to anyone.
    """
    torch.manual_seed(config.seed)
    directory.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.AdamW(
        parameter_groups(model, config.weight_decay), lr=config.learning_rate
    )
    averaged = copy.deepcopy(model).requires_grad_(False) if config.ema_decay else model
    best = FitResult(state={}, scores={best_by: -math.inf}, step=0)
    first_step = 0
    checkpoint_path, curves_path = directory / "last.pt", directory / "curves.csv"
    if resume:
        saved = torch.load(checkpoint_path, weights_only=True)
        if saved["config"] != asdict(config):
            raise ValueError(
                f"{checkpoint_path} belongs to a training with other settings: {saved['config']}"
            )
        model.load_state_dict(saved["model"])
        averaged.load_state_dict(saved["averaged"])
        optimiser.load_state_dict(saved["optimiser"])
        best = FitResult(**saved["best"])
        first_step = saved["step"]
        torch.set_rng_state(saved["rng"])
    else:
        curves_path.unlink(missing_ok=True)

    device_type = next(model.parameters()).device.type
    running: dict[str, float] = {}
    started_s = time.monotonic()
    for step in range(first_step, config.steps):
        model.train()
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate_at(step)
        with torch.autocast(device_type, dtype=torch.bfloat16, enabled=config.bfloat16):
            terms = losses(model, batch_at(step), step)
        loss = terms["loss"]
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss became {loss.item()} at step {step}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimiser.step()
        if config.ema_decay:
            _average(averaged, model, min(config.ema_decay, (step + 1) / (step + 10)))
        for name, value in terms.items():
            running[name] = 0.98 * running.get(name, value.item()) + 0.02 * value.item()

        done = step + 1
        if done % config.validate_every and done != config.steps:
            continue
        averaged.eval()
        scores = validate(averaged)
        row = {
            "step": done,
            "minutes": (time.monotonic() - started_s) / 60,
            "learning_rate": config.learning_rate_at(step),
            **{f"train_{name}": value for name, value in running.items()},
            **scores,
        }
        _append_row(curves_path, row)
        report("  ".join(f"{name} {value:.4g}" for name, value in row.items()))
        if scores[best_by] > best.scores[best_by]:
            state = {name: value.detach().clone() for name, value in averaged.state_dict().items()}
            best = FitResult(state=state, scores=scores, step=done)
        # Interrupted while it is written, it must not replace the one before.
        partial_path = checkpoint_path.with_suffix(".part")
        torch.save(
            {
                "model": model.state_dict(),
                "averaged": averaged.state_dict(),
                "optimiser": optimiser.state_dict(),
                "best": {"state": best.state, "scores": best.scores, "step": best.step},
                "step": done,
                "rng": torch.get_rng_state(),
                "config": asdict(config),
            },
            partial_path,
        )
        partial_path.replace(checkpoint_path)
    return best


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    for mean, value in zip(
        averaged.state_dict().values(), model.state_dict().values(), strict=True
    ):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _append_row(path: Path, row: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
