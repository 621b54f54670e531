"""The training loop against closed forms."""

from __future__ import annotations

import csv

import pytest
import torch
from torch import nn

from radar_pose_ros.training.loop import LoopConfig, fit, parameter_groups


def regression_batch(step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(32, 3, generator=generator)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.25


def squared_error(model, batch, step):
    x, y = batch
    return {"loss": (model(x) - y).square().mean()}


def closeness(model):
    return {"score": -float(squared_error(model, regression_batch(10**6), 0)["loss"])}


def run(directory, steps=200, **options):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    settings = {"learning_rate": 0.1, "warmup_steps": 5, "weight_decay": 0.0, "validate_every": 50}
    config = LoopConfig(steps=steps, **{**settings, **options.pop("settings", {})})
    lines = []
    result = fit(
        model,
        regression_batch,
        options.pop("losses", squared_error),
        closeness,
        config,
        directory,
        best_by="score",
        report=lines.append,
        **options,
    )
    return model, result, lines


def test_finds_the_weights_of_a_linear_law(tmp_path):
    _, result, lines = run(tmp_path)
    torch.testing.assert_close(
        result.state["weight"], torch.tensor([[1.0, -2.0, 0.5]]), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(result.state["bias"], torch.tensor([0.25]), atol=1e-3, rtol=0)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [int(row["step"]) for row in rows] == [50, 100, 150, 200]
    assert result.scores["score"] == pytest.approx(max(float(row["score"]) for row in rows))
    assert len(lines) == 4


def test_learning_rate_rises_then_follows_a_cosine():
    config = LoopConfig(steps=110, learning_rate=2.0, warmup_steps=10)
    assert config.learning_rate_at(0) == pytest.approx(0.2)
    assert config.learning_rate_at(9) == pytest.approx(2.0)
    assert config.learning_rate_at(60) == pytest.approx(2.0 * (0.02 + 0.98 * 0.5))
    assert config.learning_rate_at(110) == pytest.approx(2.0 * 0.02)


def test_resuming_gives_what_an_uninterrupted_run_gives(tmp_path):
    whole, _, _ = run(tmp_path / "whole", settings={"ema_decay": 0.9})

    def interrupted(model, batch, step):
        if step == 120:
            raise KeyboardInterrupt
        return squared_error(model, batch, step)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", losses=interrupted, settings={"ema_decay": 0.9})
    resumed, result, _ = run(tmp_path / "parts", resume=True, settings={"ema_decay": 0.9})
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), atol=0, rtol=0)
    assert result.step in (50, 100, 150, 200)
    with pytest.raises(ValueError, match="other settings"):
        run(tmp_path / "parts", resume=True, settings={"ema_decay": 0.8})
    rows = list(csv.DictReader((tmp_path / "parts" / "curves.csv").open()))
    assert [int(row["step"]) for row in rows] == [50, 100, 150, 200]


def test_a_run_that_does_not_resume_starts_its_curves_anew(tmp_path):
    run(tmp_path, steps=100)
    run(tmp_path, steps=50)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [int(row["step"]) for row in rows] == [50]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.csv", "last.pt"]


def test_average_lags_behind(tmp_path):
    """After one step the average has moved by 1 - min(decay, 1 / 10) of the way."""
    torch.manual_seed(0)
    start = nn.Linear(3, 1).weight.detach().clone()
    model, result, _ = run(
        tmp_path, steps=1, settings={"ema_decay": 0.999, "validate_every": 1, "warmup_steps": 0}
    )
    expected = start + (1 - 0.1) * (model.weight.detach() - start)
    torch.testing.assert_close(result.state["weight"], expected)


def test_a_diverged_training_stops(tmp_path):
    def not_a_number(model, batch, step):
        return {"loss": squared_error(model, batch, step)["loss"] * float("nan")}

    with pytest.raises(FloatingPointError, match="nan at step 0"):
        run(tmp_path, losses=not_a_number)


def test_vectors_are_not_decayed():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    model[0].weight._no_weight_decay = True
    decayed, kept = parameter_groups(model, 0.1)
    assert decayed["params"] == []
    assert len(kept["params"]) == 4
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        LoopConfig(steps=0, learning_rate=0.1)
    with pytest.raises(ValueError, match=r"ema_decay must lie in \[0, 1\), got 1"):
        LoopConfig(steps=1, learning_rate=0.1, ema_decay=1)
