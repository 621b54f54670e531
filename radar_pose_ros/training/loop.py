"""The one training loop, for every model.

It knows nothing of radars or poses: a model, a function from batch to losses, a function from
model to validation scores, and a recipe. What it adds is what every training needs: warm-up and
cosine decay, gradient clipping, mixed precision, an exponential moving average of the weights,
curves as CSV (and for tensorboard where that is installed), the best checkpoint on validation,
resuming, and several processes (`processes`).
"""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from radar_pose_ros.training import processes

CHECKPOINT = "last.pt"  # in a training's folder
PACE_STEPS = 5  # after so many it is said how long the training will take


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    learning_rate : float
        Peak of the schedule.
    matrix_learning_rate : float
        Peak for the hidden layers' matrices, which Muon then updates; 0 leaves them to AdamW like
        everything else. Its updates are scaled to the size of AdamW's, so that the two rates are
        comparable.
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
    matrix_learning_rate: float = 0.0
    warmup_steps: int = 100
    final_learning_rate_ratio: float = 0.02
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    ema_decay: float = 0.0
    bfloat16: bool = False
    validate_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, str):
                raise ValueError(
                    f"{entry.name} must be a number, got the text {value!r} (YAML wants 1.0e-3, "
                    "with a point, for 1e-3)"
                )
        if self.steps < 1 or self.validate_every < 1:
            raise ValueError("steps and validate_every must be at least 1")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")

    def schedule(self, step: int) -> float:
        """Share of the peak learning rates at optimiser step ``step``, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        floor = self.final_learning_rate_ratio
        return floor + (1 - floor) * cosine


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


# Thinner matrices, such as those of a last layer, have nothing to make orthogonal.
_MUON_LEAST_SIDE = 16


def optimisers_for(model: nn.Module, config: LoopConfig) -> list[torch.optim.Optimizer]:
    """Return what updates the parameters: AdamW, and Muon (Jordan et al. 2024) if it is wanted.

    Vectors are not decayed. A larger parameter may opt out of decay and of Muon by carrying the
    attribute ``_no_weight_decay`` (Mamba's ``A_log``, embeddings).
    """
    matrices: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.ndim < 2 or getattr(parameter, "_no_weight_decay", False):
            kept.append(parameter)
        elif (
            config.matrix_learning_rate
            and parameter.ndim == 2
            and min(parameter.shape) >= _MUON_LEAST_SIDE
        ):
            matrices.append(parameter)
        else:
            decayed.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=config.learning_rate)]
    if matrices:
        optimisers.append(
            torch.optim.Muon(
                matrices,
                lr=config.matrix_learning_rate,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimisers


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
        ``(step) -> batch``, the same for the same step, so that resuming changes nothing. With
        several processes it returns this one's part (`processes.share`).
    losses : callable
        ``(model, batch, step) -> {"loss": scalar, ...}``; "loss" is minimised, the rest is logged.
        All are means over the batch: then several processes do what one would do, but for
        dropout, which each draws for itself.
    validate : callable
        ``(model) -> scores``. Every process validates everything and comes to the same result.
    config : LoopConfig
    directory : Path
        Gets ``curves.csv``, ``last.pt`` and tensorboard's files; those of an earlier run are
        replaced unless resuming.
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
    directory.mkdir(parents=True, exist_ok=True)
    writes = processes.rank() == 0
    network = model
    if processes.size() > 1:  # also gives every process the weights of the first
        network = DistributedDataParallel(model)
    optimisers = optimisers_for(model, config)
    peaks = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimisers]
    averaged = copy.deepcopy(model).requires_grad_(False) if config.ema_decay else model
    best = FitResult(state={}, scores={best_by: -math.inf}, step=0)
    first_step = 0
    running: dict[str, float] = {}
    started_s = time.monotonic()
    checkpoint_path, curves_path = directory / CHECKPOINT, directory / "curves.csv"
    if resume:
        saved = _load_checkpoint(checkpoint_path)
        if LoopConfig(**saved["config"]) != config:
            raise ValueError(
                f"{checkpoint_path} belongs to a training with other settings: {saved['config']}"
            )
        model.load_state_dict(saved["model"])
        averaged.load_state_dict(saved["averaged"])
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        best = FitResult(**saved["best"])
        first_step, running = saved["step"], saved.get("running", {})
        started_s -= 60 * saved.get("minutes", 0.0)
    elif writes:  # to go on from another training's checkpoint would be to mix the two
        curves_path.unlink(missing_ok=True)
        checkpoint_path.unlink(missing_ok=True)

    device = next(model.parameters()).device
    tensorboard = _tensorboard(directory) if writes else None
    for step in range(first_step, config.steps):
        model.train()
        for optimiser, rates in zip(optimisers, peaks, strict=True):
            for group, peak in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = peak * config.schedule(step)
        # As `batch_at`: the same for the same step, and not the same in each process.
        stream = (config.seed * config.steps + step) * processes.size() + processes.rank()
        torch.manual_seed(stream)
        batch = _to_device(batch_at(step), device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.bfloat16):
            terms = losses(network, batch, step)
        values = processes.mean(torch.stack([term.detach().float() for term in terms.values()]))
        logged = dict(zip(terms, values.tolist(), strict=True))
        if not math.isfinite(logged["loss"]):
            raise FloatingPointError(f"the loss became {logged['loss']} at step {step}")
        model.zero_grad(set_to_none=True)
        terms["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        for optimiser in optimisers:
            optimiser.step()
        if config.ema_decay:
            _average(averaged, model, min(config.ema_decay, (step + 1) / (step + 10)))
        for name, value in logged.items():
            running[name] = 0.98 * running.get(name, value) + 0.02 * value

        done = step + 1
        if done == first_step + 1:  # the first one also warms up
            warm_s = time.monotonic()
        if writes and done == first_step + PACE_STEPS:
            report(pace(done, (time.monotonic() - warm_s) / (PACE_STEPS - 1), config))
        if done % config.validate_every and done != config.steps:
            continue
        averaged.eval()
        scores = validate(averaged)
        row = {
            "step": done,
            "minutes": (time.monotonic() - started_s) / 60,
            "learning_rate": config.learning_rate * config.schedule(step),
            **{f"train_{name}": value for name, value in running.items()},
            **scores,
        }
        if scores[best_by] > best.scores[best_by]:
            state = {name: value.detach().clone() for name, value in averaged.state_dict().items()}
            best = FitResult(state=state, scores=scores, step=done)
        if not writes:
            continue
        _append_row(curves_path, row)
        if tensorboard is not None:
            for name, value in row.items():
                tensorboard.add_scalar(name, value, done)
            tensorboard.flush()
        report("  ".join(f"{name} {value:.4g}" for name, value in row.items()))
        # Interrupted while it is written, it must not replace the one before.
        partial_path = checkpoint_path.with_suffix(".part")
        torch.save(
            {
                "model": model.state_dict(),
                "averaged": averaged.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                "best": {"state": best.state, "scores": best.scores, "step": best.step},
                "step": done,
                "running": running,
                "minutes": row["minutes"],
                "config": asdict(config),
            },
            partial_path,
        )
        partial_path.replace(checkpoint_path)
    return best


def pace(done: int, step_s: float, config: LoopConfig) -> str:
    """Return how long a training will take that needs ``step_s`` for a step, as a line."""
    next_line = min(config.steps, config.validate_every * (done // config.validate_every + 1))
    return (
        f"{step_s:.2g} s per step: about {_duration((config.steps - done) * step_s)} for "
        f"{config.steps - done} more, {_duration((next_line - done) * step_s)} to the next line"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _load_checkpoint(path: Path) -> dict[str, Any]:
    try:
        saved: dict[str, Any] = torch.load(path, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch's reader raises whatever it stumbles over
        text = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged, begin anew without it: {text}") from error
    return saved


def _to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors in a batch: a tensor, or a tuple (named or not) of batches."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, tuple):
        moved = [_to_device(entry, device) for entry in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else tuple(moved)
    return batch


def _tensorboard(directory: Path) -> Any:
    """Return a writer of tensorboard's files, or None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(directory))


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
