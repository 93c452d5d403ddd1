"""Teach with several processes, one per GPU, as `torchrun` starts them.

In:  what torchrun says to each process. Out: a `World`. Next: `training` and `fitting`.
Every process takes its share of each batch, and gradients are added up before each step, so a plan
means the same with one process or with many. They are added up after the backward pass, not during
it as by DistributedDataParallel: a process that halves its batch for want of memory would leave the
others waiting in the middle.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed

from model.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

_PATIENCE = timedelta(days=1)
"""How long a process waits for the others, which may wait for a whole import; torchrun ends all
of them as soon as one has failed."""


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes that teach together, as one of them sees it.

    Args:
        rank: Which of them this is, from 0; the first one leads: it alone writes.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def barrier(self) -> None:
        """Go on when every process has come so far."""
        self.all_reduce_sum([torch.zeros(1)])

    def all_reduce_sum(self, tensors: Iterable[Tensor]) -> None:
        """Put the sum over all processes into each tensor; every process gives the same shapes."""
        if self.size > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)

    def all_reduce_mean(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over all processes into each tensor."""
        for tensor in tensors:
            self.all_reduce_sum([tensor])
            tensor.div_(self.size)

    def require_equal(self, told: str, otherwise: str) -> None:
        """Go on only if every process tells the same.

        Raises:
            TrainingError: One tells something else; `otherwise` says what that means.
        """
        if self.size > 1:
            all_told: list[str | None] = [None] * self.size
            distributed.all_gather_object(all_told, told)
            if other := [rank for rank, one in enumerate(all_told) if one != all_told[0]]:
                raise TrainingError(f"Process {other[0]} of {self.size}: {otherwise}")


SINGLE_PROCESS = ProcessGroup()


@contextmanager
def init_process_group(device: str = "auto") -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started; without torchrun this one is alone.

    Args:
        device: As in `Plan`; with GPUs every process takes its own.

    Raises:
        TrainingError: There are fewer GPUs than processes, or the others cannot be reached.
    """
    if not distributed.is_torchelastic_launched():
        yield SINGLE_PROCESS
        return
    _take_gpu(device, distributed.get_node_local_rank())
    try:
        distributed.init_process_group(timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"The processes that torchrun started do not reach each other: {error}"
        ) from error
    try:
        yield ProcessGroup(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def _take_gpu(device: str, local_rank: int) -> None:
    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return
    if local_rank >= torch.cuda.device_count():
        raise TrainingError(
            f"torchrun started more processes here than there are GPUs "
            f"({torch.cuda.device_count()}); give --nproc-per-node {torch.cuda.device_count()}."
        )
    torch.cuda.set_device(local_rank)
