"""The networks here are tiny: a second thread costs more than it brings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from radar_pose_ros.models.ops import native


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["AVX-512", "AVX2", "plain"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the test with each instruction set."""
    if not native.available():
        pytest.skip(f"needs the compiled kernels: {native.describe()}")
    if not native.use(request.param):
        pytest.skip(f"this processor has no {request.param}")
    yield
    next(best for best in ("AVX-512", "AVX2", "plain") if native.use(best))


@pytest.fixture(params=["torch", "AVX-512", "AVX2", "plain"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test in plain torch, and the module's ``KERNEL`` with each instruction set."""
    if request.param == "torch":
        monkeypatch.setattr(native, "offers", lambda name: False)
    elif not native.offers(request.module.KERNEL):
        pytest.skip(f"needs compiled kernels that have this one, not {native.describe()}")
    elif not native.use(request.param):
        pytest.skip(f"this processor has no {request.param}")
    yield
    if request.param != "torch":
        next(best for best in ("AVX-512", "AVX2", "plain") if native.use(best))
