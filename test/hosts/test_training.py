"""One training on two hosts: the weights that two processes on one of them give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hosts.network import Network, unavailable
from hosts.switch import Link

TRAINING = Path(__file__).parents[1] / "training" / "test_processes.py"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
CABLE = Link(delay_s=0.0005, rate_bps=1e9)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "there are hosts"),
]


def test_two_hosts_train_what_two_processes_train(tmp_path: Path) -> None:
    here, there = tmp_path / "one_host", tmp_path / "two_hosts"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"}
    subprocess.run(
        [*TORCHRUN, "--standalone", "--nproc-per-node=2", str(TRAINING), str(here)],
        env=environment | {"GLOO_SOCKET_IFNAME": "lo"},
        check=True,
        timeout=120,
        capture_output=True,
    )
    with Network({"desk": CABLE, "rack": CABLE}) as network:
        first, second = network.hosts.values()
        running = [
            host.start(
                [*TORCHRUN, "--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}"]
                + [f"--master-addr={first.ip}", "--master-port=29500", str(TRAINING), str(there)],
                environment,
            )
            for rank, host in enumerate((first, second))
        ]
        for process in running:
            said, _ = process.communicate(timeout=120)
            assert process.returncode == 0, said
    assert network.counts["rack"]["bytes"] > 100_000  # gradients went over the wire
    for rank in range(2):
        expected, found = (
            torch.load(folder / f"weights_{rank}.pt", weights_only=True)
            for folder in (here, there)
        )
        assert expected["step"] == found["step"]
        for of in ("model", "best"):
            for name, weights in expected[of].items():
                assert torch.equal(found[of][name], weights), name  # to the last bit
