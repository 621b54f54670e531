"""Several processes do what one would do."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from radar_pose_ros.training import processes
from radar_pose_ros.training.loop import LoopConfig, fit

STEPS = 30


class Curve(torch.nn.Module):
    """Wide enough for Muon, and a last layer that is not."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 32), torch.nn.Tanh(), torch.nn.Linear(32, 16), torch.nn.Tanh()
        )
        self.last = torch.nn.Linear(16, 1)

    def forward(self, x):
        return self.last(self.layers(x))


def share_of_batch(step):
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(step))
    y = x.prod(-1, keepdim=True) + x[:, :1]
    mine = processes.share(len(x))
    return x[mine], y[mine]


def losses(model, batch, step):
    x, y = batch
    error = model(x) - y
    return {"loss": error.square().mean(), "absolute": error.abs().mean()}


def train(directory):
    # Each process begins with other weights: those of the first are what counts.
    torch.manual_seed(100 + processes.rank())
    model = Curve()
    config = LoopConfig(
        steps=STEPS,
        learning_rate=0.02,
        matrix_learning_rate=0.01,
        warmup_steps=3,
        gradient_clip=0.2,  # less than the gradients here: they are clipped after they are shared
        weight_decay=0.1,
        ema_decay=0.9,
        validate_every=10,
    )
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(10**6))
    result = fit(
        model,
        share_of_batch,
        losses,
        lambda network: {"score": -float(network(x).detach().square().mean())},
        config,
        directory,
        best_by="score",
        report=lambda line: print(f"process {processes.rank()}: {line}", flush=True),
    )
    torch.save(
        {"model": model.state_dict(), "best": result.state, "step": result.step},
        directory / f"weights_{processes.rank()}.pt",
    )


def test_two_processes_train_what_one_trains(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    train(alone)
    ran = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        + [__file__, str(together)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    expected = torch.load(alone / "weights_0.pt", weights_only=True)
    for rank in range(2):
        found = torch.load(together / f"weights_{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    rows = [list(csv.DictReader((path / "curves.csv").open())) for path in (alone, together)]
    assert [row["step"] for row in rows[1]] == ["10", "20", "30"]
    for one, two in zip(*rows, strict=True):
        for name in ("train_loss", "train_absolute", "score"):
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-4)
    assert ran.stdout.count("process 0: step") == 3  # the other one is silent
    assert "process 1" not in ran.stdout


def test_alone_one_does_everything():
    with processes.joined():
        assert (processes.size(), processes.rank()) == (1, 0)
        assert processes.share(5) == slice(0, 5)
        values = torch.tensor([1.0, 2.0])
        torch.testing.assert_close(processes.mean(values), values)
        processes.wait()


def test_a_batch_must_be_shared_equally(monkeypatch):
    monkeypatch.setattr(processes, "size", lambda: 3)
    monkeypatch.setattr(processes, "rank", lambda: 2)
    assert processes.share(12) == slice(8, 12)
    with pytest.raises(ValueError, match="batch of 16 cannot be shared equally by 3 processes"):
        processes.share(16)


if __name__ == "__main__":  # what torchrun starts
    torch.set_num_threads(1)
    with processes.joined():
        train(Path(sys.argv[1]))
