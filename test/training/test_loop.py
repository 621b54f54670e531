"""The training loop against closed forms."""

from __future__ import annotations

import csv
import sys
import types
from typing import NamedTuple

import pytest
import torch
from torch import nn

from radar_pose_ros.training.loop import LoopConfig, fit, optimisers_for, pace


def regression_batch(step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(32, 3, generator=generator)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.25


def squared_error(model, batch, step):
    x, y = batch
    return {"loss": (model(x) - y).square().mean()}


def interrupted_at(last):
    def losses(model, batch, step):
        if step == last:
            raise KeyboardInterrupt
        return squared_error(model, batch, step)

    return losses


def closeness(model):
    return {"score": -squared_error(model, regression_batch(10**6), 0)["loss"].item()}


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


class Named(NamedTuple):
    inputs: torch.Tensor
    name: str


def test_batches_reach_the_losses_as_they_are(tmp_path):
    """Tuples stay tuples of their type, whatever else is in them; tensors come to the device."""
    seen = []

    def losses(model, batch, step):
        seen.append(batch)
        return {"loss": model(batch[0].inputs).square().mean()}

    fit(
        nn.Linear(2, 1),
        lambda step: (Named(torch.full((1, 2), float(step)), "a"), 7),
        losses,
        lambda model: {"score": 0.0},
        LoopConfig(steps=1, learning_rate=0.1),
        tmp_path,
        best_by="score",
        report=len,
    )
    ((named, number),) = seen
    assert isinstance(named, Named)
    assert (named.name, number) == ("a", 7)
    torch.testing.assert_close(named.inputs, torch.zeros(1, 2))


def test_how_long_it_will_take_is_said_early(tmp_path):
    """After some steps, each time it begins; and rightly."""
    _, _, lines = run(tmp_path, steps=100)
    assert lines[0].endswith("to the next line") and "for 95 more" in lines[0]
    config = LoopConfig(steps=5000, learning_rate=0.1, validate_every=500)
    assert pace(5, 6.0, config) == (
        "6 s per step: about 8.3 h for 4995 more, 50 min to the next line"
    )
    assert pace(4600, 0.1, config) == (
        "0.1 s per step: about 40 s for 400 more, 40 s to the next line"
    )


def test_dropout_is_the_same_for_the_same_step(tmp_path):
    """Resumed or not, what is random in the network depends on seed and step alone."""
    drops = []

    def losses(model, batch, step):
        drops.append(nn.functional.dropout(torch.ones(50), 0.5))
        if len(drops) == 3:
            raise KeyboardInterrupt
        return squared_error(model, batch, step)

    settings = {"validate_every": 2}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, steps=4, losses=losses, settings=settings)
    run(tmp_path, steps=4, losses=losses, settings=settings, resume=True)
    assert len(drops) == 5  # steps 0, 1, 2, and after the checkpoint 2, 3
    assert not torch.equal(drops[0], drops[1])
    torch.testing.assert_close(drops[2], drops[3], atol=0, rtol=0)


def test_curves_go_to_tensorboard_where_it_is_installed(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, directory):
            self.directory = directory

        def add_scalar(self, name, value, step):
            written.append((self.directory, name, step, value))

        def flush(self):
            pass

    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    run(tmp_path, steps=100)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    scores = [entry for entry in written if entry[1] == "score"]
    assert scores == [(str(tmp_path), "score", int(r["step"]), float(r["score"])) for r in rows]


def test_finds_the_weights_of_a_linear_law(tmp_path):
    _, result, lines = run(tmp_path)
    torch.testing.assert_close(
        result.state["weight"], torch.tensor([[1.0, -2.0, 0.5]]), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(result.state["bias"], torch.tensor([0.25]), atol=1e-3, rtol=0)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [int(row["step"]) for row in rows] == [50, 100, 150, 200]
    assert result.scores["score"] == pytest.approx(max(float(row["score"]) for row in rows))
    assert len(lines) == 1 + 4  # how long it will take, then one per validation


def test_learning_rate_rises_then_follows_a_cosine():
    config = LoopConfig(steps=110, learning_rate=2.0, warmup_steps=10)
    assert config.schedule(0) == pytest.approx(0.1)
    assert config.schedule(9) == pytest.approx(1.0)
    assert config.schedule(60) == pytest.approx(0.02 + 0.98 * 0.5)
    assert config.schedule(110) == pytest.approx(0.02)


def test_resuming_gives_what_an_uninterrupted_run_gives(tmp_path):
    whole, _, _ = run(tmp_path / "whole", settings={"ema_decay": 0.9})
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", losses=interrupted_at(120), settings={"ema_decay": 0.9})
    resumed, result, _ = run(tmp_path / "parts", resume=True, settings={"ema_decay": 0.9})
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), atol=0, rtol=0)
    assert result.step in (50, 100, 150, 200)
    with pytest.raises(ValueError, match="other settings"):
        run(tmp_path / "parts", resume=True, settings={"ema_decay": 0.8})
    curves = [
        list(csv.DictReader((tmp_path / d / "curves.csv").open())) for d in ("whole", "parts")
    ]
    minutes = [[float(row.pop("minutes")) for row in rows] for rows in curves]
    assert curves[0] == curves[1]
    assert [int(row["step"]) for row in curves[1]] == [50, 100, 150, 200]
    assert minutes[1] == sorted(minutes[1])


def test_a_run_that_does_not_resume_starts_its_curves_anew(tmp_path):
    run(tmp_path, steps=100)
    run(tmp_path, steps=50)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [int(row["step"]) for row in rows] == [50]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.csv", "last.pt"]


def test_a_training_does_not_go_on_from_the_checkpoint_of_another(tmp_path):
    run(tmp_path, steps=100)
    with pytest.raises(KeyboardInterrupt):  # begun anew, and ended before its first checkpoint
        run(tmp_path, steps=100, losses=interrupted_at(20))
    with pytest.raises(FileNotFoundError):
        run(tmp_path, steps=100, resume=True)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.pt is damaged, begin anew without it"):
        run(tmp_path, resume=True)


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
    (adamw,) = optimisers_for(model, LoopConfig(steps=1, learning_rate=0.1, weight_decay=0.1))
    decayed, kept = adamw.param_groups
    assert decayed["params"] == []
    assert len(kept["params"]) == 4
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


def test_muon_gets_the_matrices_and_no_more():
    model = nn.ModuleDict(
        {
            "hidden": nn.Linear(32, 16),
            "thin": nn.Linear(32, 15),
            "volume": nn.Conv2d(16, 16, 3),
            "embedding": nn.Linear(32, 32, bias=False),
        }
    )
    model["embedding"].weight._no_weight_decay = True
    config = LoopConfig(steps=1, learning_rate=0.1, matrix_learning_rate=0.3, weight_decay=0.2)
    adamw, muon = optimisers_for(model, config)
    assert isinstance(muon, torch.optim.Muon)
    (group,) = muon.param_groups
    assert [id(p) for p in group["params"]] == [id(model["hidden"].weight)]
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
    decayed, kept = adamw.param_groups
    assert {id(p) for p in decayed["params"]} == {
        id(model["thin"].weight),
        id(model["volume"].weight),
    }
    assert len(kept["params"]) == 4


def test_a_checkpoint_of_before_an_option_existed_can_be_resumed(tmp_path):
    """What a checkpoint's settings do not name had its default."""
    whole, _, _ = run(tmp_path / "whole", steps=100)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", steps=100, losses=interrupted_at(60))
    checkpoint = tmp_path / "parts" / "last.pt"
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["config"].pop("matrix_learning_rate") == 0.0
    torch.save(saved, checkpoint)
    resumed, _, _ = run(tmp_path / "parts", steps=100, resume=True)
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), atol=0, rtol=0)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        LoopConfig(steps=0, learning_rate=0.1)
    with pytest.raises(ValueError, match=r"ema_decay must lie in \[0, 1\), got 1"):
        LoopConfig(steps=1, learning_rate=0.1, ema_decay=1)
    with pytest.raises(ValueError, match=r"learning_rate must be a number, got the text '1e-3'"):
        LoopConfig(steps=1, learning_rate="1e-3")
