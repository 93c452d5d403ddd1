"""Measure the memory that a training step needs, and split batches that would not fit.

A CPU raises no error that could be caught: the operating system kills the process.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

USED_SHARE = 0.6
"""Share of the free memory; the rest is for prefetched frames and for other programs."""
WORK_SPACE = 1.5
"""Bytes of a training step for each byte that is saved for the backward pass: gradients of
activations come on top. MEASURED on a CPU, 1 to 8 images of 224 to 800 px: 0.74 to 1.05 with
EfficientNet-Lite0, 1.06 to 1.14 with ResNet-18 from 283 MB on; up to 45 MB more than is saved below
that (`tests/bench/micro_batches.py`)."""
FIXED_BYTES = 64_000_000
"""Memory of a step that does not depend on the size of its images."""
NO_ROOM = ("can't allocate memory", "not enough memory", "bad allocation")
"""PyTorch's messages when an allocation fails on a CPU, on Linux and on Windows."""
_GROUP = Path("/sys/fs/cgroup")


def free_bytes(group: Path = _GROUP) -> int:
    """Return how many bytes this process may still allocate.

    Args:
        group: Folder of the control group: a container may have less memory than the computer.
    """
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        used = int((group / "memory.current").read_text())
        listed = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return free
    return min(free, max(0, limit - used + int(listed.get("inactive_file", 0))))


def bytes_per_pixel(network: nn.Module, rows: int, columns: int) -> float:
    """Return the bytes that one training step saves for its backward pass, per pixel of its images.

    One grey image is passed through a copy of the network.

    Args:
        network: Takes (n, h, w, 3) uint8 images; it is not changed.
        rows: Height of a training image, px.
        columns: Its width, px.
    """
    storages: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)  # else the next tensor may reuse its address
        return tensor

    alive: list[Tensor] = []
    probe = copy.deepcopy(network).train()
    owned = {weight.untyped_storage().data_ptr() for weight in probe.parameters()}
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        probe(torch.full((1, rows, columns, 3), 128, dtype=torch.uint8))
    return sum(size for address, size in storages.items() if address not in owned) / (
        rows * columns
    )


def micro_batches(images: int, bytes_each: float, free: float) -> int:
    """Return into how many parts a batch is split so that each fits.

    Args:
        images: Number of images in the batch.
        bytes_each: Bytes that one image saves for the backward pass.
        free: Bytes that were free before the training.
    """
    if not images:
        return 1
    room = USED_SHARE * free - FIXED_BYTES
    fitting = math.floor(room / max(1.0, WORK_SPACE * bytes_each))
    return math.ceil(images / max(1, min(images, fitting)))


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Return whether an error means that an allocation failed, on a GPU or on a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error) for words in NO_ROOM)
