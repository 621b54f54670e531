"""One training carried out by several processes, as torchrun starts them::

    torchrun --nproc-per-node 2 -m radar_pose_ros.cli train millimamba --data DIR

Each process computes its share of every batch and keeps the same weights as the others. A process
that is alone needs nothing of this: its share is everything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
from torch import Tensor, distributed


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Work together with the processes that torchrun started beside this one, if any.

    Over NCCL where there is a GPU for each, else over gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpus = torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if on_gpus:
        torch.cuda.set_device(local)
    # One process may simulate the data for hours while the others wait.
    distributed.init_process_group("nccl" if on_gpus else "gloo", timeout=timedelta(days=1))
    try:
        yield
    finally:
        distributed.destroy_process_group()


def size() -> int:
    """Return how many processes share the work."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process; 0 is the one that writes files and reports."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def wait() -> None:
    """Wait until every process has come here."""
    if size() > 1:
        distributed.barrier()


def share(count: int) -> slice:
    """Return which of ``count`` samples of a batch this process computes.

    Raises
    ------
    ValueError
        If they cannot be shared equally: only then is the mean over processes the batch's mean.
    """
    if count % size():
        raise ValueError(f"a batch of {count} cannot be shared equally by {size()} processes")
    each = count // size()
    return slice(rank() * each, (rank() + 1) * each)


def mean(values: Tensor) -> Tensor:
    """Return the mean over processes of a tensor that each of them has."""
    if size() > 1:
        values = values.clone()
        distributed.all_reduce(values)  # gloo has a sum only
        values /= size()
    return values
