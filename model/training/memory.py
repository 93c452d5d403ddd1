"""Measure the memory that a training step needs, and split batches that would not fit.

A computer without a GPU has no error that could be caught: the system ends the program.
In:  a network and a batch's shape. Out: bytes, and into how many micro-batches a batch goes.
Next: `fitting`, which adds their gradients up.
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
"""Of the memory that is free; the rest is for frames made ahead and for other programs."""
WORK_SPACE = 1.5
"""Bytes of a training step for each byte that is saved for the backward pass: gradients of
activations come on top. MEASURED on a CPU, 1 to 8 images of 224 to 800 px: 0.74 to 1.05 with
EfficientNet-Lite0, 1.06 to 1.14 with ResNet-18 from 283 MB on; up to 45 MB more than is saved below
that (`tests/bench/micro_batches.py`)."""
FIXED_BYTES = 64_000_000
"""What a step takes besides, however small its images are."""
NO_ROOM = ("can't allocate memory", "not enough memory", "bad allocation")
"""What PyTorch says on a CPU, on Linux and on Windows, where memory is refused."""
_GROUP = Path("/sys/fs/cgroup")


def free_bytes(group: Path = _GROUP) -> int:
    """Return how many bytes this process may still take.

    Args:
        group: Folder of the control group: a container may have less than the computer.
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
    """Return what one training step keeps for its backward pass, by pixel of its images.

    One grey image goes through a copy of the network.

    Args:
        network: Takes (n, h, w, 3) uint8 images; it stays as it is.
        rows: Height of an image as it will be shown, px.
        columns: Its width, px.
    """
    held: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)  # else its place is given to the next one
        return tensor

    kept: list[Tensor] = []
    probe = copy.deepcopy(network).train()
    owned = {weight.untyped_storage().data_ptr() for weight in probe.parameters()}
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        probe(torch.full((1, rows, columns, 3), 128, dtype=torch.uint8))
    return sum(size for place, size in held.items() if place not in owned) / (rows * columns)


def micro_batches(images: int, bytes_each: float, free: float) -> int:
    """Return into how many parts a batch goes so that each fits.

    Args:
        images: Of the batch.
        bytes_each: What one image keeps for the backward pass.
        free: Bytes that were free before the training.
    """
    if not images:
        return 1
    room = USED_SHARE * free - FIXED_BYTES
    fitting = math.floor(room / max(1.0, WORK_SPACE * bytes_each))
    return math.ceil(images / max(1, min(images, fitting)))


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Return whether an error means that memory was refused, on a GPU or on a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error) for words in NO_ROOM)
