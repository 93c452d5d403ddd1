"""Compute loss and gradients of a batch within the memory there is, and the validation loss."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from model.errors import TrainingError
from model.networks.backbones import Encoder, cell_weights, pool_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.framing import Frame
    from model.training.batches import Batch, FrameCache, Targets
    from model.training.distributed import ProcessGroup


# --- measure the memory that a training step needs, and split batches that would not fit ----------
# A CPU raises no error that could be caught: the operating system kills the process.


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


# --- compute loss and gradients of a batch within the memory there is, and the validation loss ----


@dataclass(frozen=True, slots=True)
class TrainState:
    """Networks and data that every step uses."""

    encoder: Encoder
    layers: nn.ModuleDict
    device: torch.device
    use_bf16: bool
    frame_cache: FrameCache
    targets: Targets
    processes: ProcessGroup


@dataclass(slots=True)
class MemoryBudget:
    """Memory that a CPU has for a training step.

    Args:
        encoder: The network.
        free: Bytes that were free before the training.
        per_pixel: Bytes that a step saves per pixel; measured with the first batch.
    """

    encoder: Encoder
    free: int
    per_pixel: float = 0.0

    @classmethod
    def measure(cls, encoder: Encoder) -> MemoryBudget:
        """Return the budget with the memory that is free now."""
        return cls(encoder, free_bytes())

    def count_parts(self, batch: Batch) -> int:
        """Return into how many micro-batches a batch is split."""
        if not batch.codes:
            return 1
        rows, columns = batch.valid.shape[1:]
        self.per_pixel = self.per_pixel or bytes_per_pixel(self.encoder, rows, columns)
        return micro_batches(len(batch.codes), self.per_pixel * rows * columns, self.free)


def accumulate_gradients(state: TrainState, batch: Batch, parts: int) -> tuple[float, int]:
    """Accumulate the gradients of a batch; on out of memory, restart with half the micro-batch.

    Args:
        state: Its networks have no gradients yet.
        batch: Part of the batch of this process.
        parts: Number of micro-batches of the previous batch.

    Returns:
        Its part of the loss of the whole batch, and the number of micro-batches.

    Raises:
        TrainingError: There is not enough memory for one image.
    """
    n = len(batch.codes)  # the last batch of an epoch can have fewer images than processes
    while n:
        total = _run_micro_batches(state, batch, min(parts, n))
        if total is not None:
            return total, parts
        parts *= 2
    return 0.0, parts


def _run_micro_batches(state: TrainState, batch: Batch, parts: int) -> float | None:
    """Accumulate the gradients of a batch in a number of parts; None on out of memory.

    Only the traceback references the tensors that did not fit; they are freed on return.
    """
    try:
        total = 0.0
        for rows in np.array_split(np.arange(len(batch.codes)), parts):
            loss = _compute_loss(state, batch.select(rows)) * (len(rows) / batch.total)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if parts == len(batch.codes):
            raise TrainingError(
                f"There is not enough memory on {state.device} to train on one frame of "
                f"{batch.pixels.shape[1]} px; take a smaller --frame."
            ) from error
        state.encoder.zero_grad()
        state.layers.zero_grad()
        return None
    return total


def all_reduce_gradients(state: TrainState, loss: float) -> float:
    """Sum the gradients over all processes, and the parts of the loss.

    A head without examples in any process has no gradient, as with a single process.
    """
    if state.processes.size == 1:
        return loss
    weights = [*state.encoder.parameters(), *state.layers.parameters()]
    has_gradient = torch.tensor(
        [weight.grad is not None for weight in weights], device=state.device
    ).int()
    total = torch.tensor([loss], device=state.device)
    state.processes.all_reduce_sum([has_gradient, total])
    for weight, count in zip(weights, has_gradient.tolist(), strict=True):
        if count and weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    state.processes.all_reduce_sum(weight.grad for weight in weights if weight.grad is not None)
    return float(total)


def _compute_loss(state: TrainState, batch: Batch) -> Tensor:
    embedding = _embed(state, batch.pixels, batch.valid)
    total = embedding.new_zeros(())
    for head in state.targets.heads:
        rows, soft, weights = state.targets.encode(head, batch.codes)
        if not rows:
            continue
        logits = state.layers[get_module_key(head)](embedding[rows])
        counts = weights * torch.tensor([batch.counts[row] for row in rows])
        cross_entropy = -(soft.to(state.device) * torch.log_softmax(logits.float(), dim=1)).sum(1)
        total = total + (cross_entropy * counts.to(state.device)).sum() / len(batch.codes)
    return total


def _embed(state: TrainState, pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> Tensor:
    images = torch.from_numpy(pixels).to(state.device, non_blocking=True)
    steel = torch.from_numpy(valid).to(state.device, non_blocking=True)
    with torch.autocast(state.device.type, torch.bfloat16, enabled=state.use_bf16):
        features = state.encoder(images)
    return pool_features(features.float(), cell_weights(steel, state.encoder.stride))


def embed_field(state: TrainState, frames: Sequence[Frame]) -> Tensor:
    """Return the (1, c) embedding of a field, over all its frames."""
    total, weight = None, 0.0
    for frame in frames:
        embedding = _embed(state, frame.pixels[None], frame.valid[None])
        n_steel = max(1.0, float(frame.valid.sum()))
        total = embedding * n_steel if total is None else total + embedding * n_steel
        weight += n_steel
    if total is None:
        raise TrainingError("A field has no frame.")
    return total / weight


@torch.inference_mode()
def compute_validation_loss(state: TrainState, examples: Sequence[Example]) -> tuple[float, float]:
    """Return mean loss and accuracy over the validation images."""
    processes = state.processes
    sums = torch.zeros(3, dtype=torch.float64)  # loss, correct, count
    for example in examples[processes.rank :: processes.size]:
        embedding = embed_field(state, state.frame_cache.frames(example))
        for head in state.targets.heads:
            rows, soft, _ = state.targets.encode(head, [example.code])
            if not rows:
                continue
            log_probabilities = torch.log_softmax(
                state.layers[get_module_key(head)](embedding).float(), dim=1
            ).cpu()
            correct = log_probabilities[0].argmax() == soft[0].argmax()
            sums += torch.stack(
                [-(soft * log_probabilities).sum(), correct, torch.ones(())]
            ).double()
    processes.all_reduce_sum([sums])
    loss, correct, count = sums.tolist()
    return (loss / count, correct / count) if count else (0.0, 0.0)


@torch.inference_mode()
def compute_mean_embedding(state: TrainState, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Return the (c,) mean embedding of examples."""
    embeddings = [
        embed_field(state, state.frame_cache.frames(example)).cpu().numpy()[0]
        for example in examples
    ]
    return np.asarray(np.mean(embeddings, axis=0), dtype=np.float64)


def get_module_key(head: str) -> str:
    """Return the name of a head's layer in a ModuleDict, which allows no dots and colons."""
    return head.replace(":", "_").replace(".", "_")
