"""Compute loss and gradients of a batch within the memory there is, and the validation loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from model.errors import TrainingError
from model.networks.encoder import cell_weights, pool_features
from model.training.memory import bytes_per_pixel, free_bytes, is_out_of_memory, micro_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.framing import Frame
    from model.networks.encoder import Encoder
    from model.training.batches import Batch, FrameCache, Targets
    from model.training.distributed import ProcessGroup


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
