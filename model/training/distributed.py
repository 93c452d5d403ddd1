"""Train with several processes, one per GPU, started by `torchrun`.

Every process computes its share of each batch, and gradients are summed before each step, so a
configuration means the same for any number of processes. They are summed after the backward pass,
not during it as in DistributedDataParallel: a process that halves its micro-batch for lack of
memory would block the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from model.errors import TrainingError

_TIMEOUT = timedelta(days=1)
"""Timeout of collective calls: process 0 may import a whole archive first. torchrun ends all
processes as soon as one has failed."""


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """Rank of this process among those that train together, and their number.

    Args:
        rank: Index of this process, from 0; only process 0 writes.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until every process has reached this call."""
        self.all_reduce_sum([torch.zeros(1)])

    def all_reduce_sum(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes; shapes must agree."""
        if self.size > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)

    def all_reduce_mean(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all processes."""
        for tensor in tensors:
            self.all_reduce_sum([tensor])
            tensor.div_(self.size)

    def require_equal(self, value: str, message: str) -> None:
        """Raise if the processes pass different values.

        Args:
            value: Value of this process.
            message: What a difference means.

        Raises:
            TrainingError: The values differ.
        """
        if self.size > 1:
            values: list[str | None] = [None] * self.size
            distributed.all_gather_object(values, value)
            if differing := [
                rank for rank, other_value in enumerate(values) if other_value != values[0]
            ]:
                raise TrainingError(f"Process {differing[0]} of {self.size}: {message}")


SINGLE_PROCESS = ProcessGroup()


@contextmanager
def init_process_group(device: str = "auto") -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started; without torchrun this process is the only one.

    Args:
        device: As in `TrainingConfig`; with GPUs every process uses its own.

    Raises:
        TrainingError: There are fewer GPUs than processes, or the processes cannot connect.
    """
    if not distributed.is_torchelastic_launched():
        yield SINGLE_PROCESS
        return
    _select_gpu(device, distributed.get_node_local_rank())
    try:
        distributed.init_process_group(timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"The processes that torchrun started do not reach each other: {error}"
        ) from error
    try:
        yield ProcessGroup(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def _select_gpu(device: str, local_rank: int) -> None:
    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return
    if local_rank >= torch.cuda.device_count():
        raise TrainingError(
            f"torchrun started more processes here than there are GPUs "
            f"({torch.cuda.device_count()}); give --nproc-per-node {torch.cuda.device_count()}."
        )
    torch.cuda.set_device(local_rank)
