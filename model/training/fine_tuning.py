"""Fine-tune a whole network with its heads, epoch by epoch, with early stopping.

A checkpoint is saved after every epoch, and every random draw is seeded by configuration, epoch
and image, so an interrupted training resumes exactly.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from model.data.augmentation import augment
from model.errors import TrainingError
from model.networks.encoder import cell_weights, pool_features
from model.networks.linear_probe import (
    NEIGHBOUR_MASS,
    ProbeData,
    build_head,
    class_weights,
    fit_head,
)
from model.networks.schemes import SUBTYPE, soft_targets
from model.runtime.engines import has_bf16
from model.training.checkpoint import Checkpoint, Epoch
from model.training.distributed import SINGLE_PROCESS
from model.training.memory import bytes_per_pixel, free_bytes, is_out_of_memory, micro_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.framing import Frame, Framing
    from model.networks.encoder import Encoder
    from model.networks.schemes import Head, Scheme
    from model.training.config import TrainingConfig
    from model.training.distributed import ProcessGroup

_CACHE_BYTES = 2_000_000_000
"""Size of the cache of training frames."""

_PREFETCHED = 3
"""Batches that are loaded in advance."""

_HEAD_LR_FACTOR = 10.0
_WARMUP_SHARE = 0.05  # of all steps
_WEIGHT_DECAY = 1e-4


@dataclass(slots=True)
class TrainingTask:
    """One network to train, and the results.

    Args:
        encoder: The network; it is changed in place.
        name: Its name in the bundle.
        heads: Names of its heads.
        scheme: Defines the classes of the heads.
        framing: How fields become frames.
        train: Training examples.
        validation: Examples that select the best epoch.
        fitted_heads: The heads, after the training.
        epochs: Results of all epochs, including those before an interruption.
    """

    encoder: Encoder
    name: str
    heads: tuple[str, ...]
    scheme: Scheme
    framing: Framing
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    fitted_heads: dict[str, Head] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)

    def select_examples(self, examples: Sequence[Example]) -> list[Example]:
        """Return the examples that at least one of the heads has a class for."""
        return [
            example
            for example in examples
            if any(self.scheme.target(head, example.code) is not None for head in self.heads)
        ]


def fine_tune(
    task: TrainingTask,
    config: TrainingConfig,
    checkpoint_folder: Path,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Epoch]:
    """Train a network and its heads together.

    Args:
        task: Network and examples; afterwards it holds the best epoch's network and heads.
        config: The training configuration.
        checkpoint_folder: Created if missing; a checkpoint in it is resumed.
        processes: Processes that train this task together; they share the folder.

    Yields:
        The result of each epoch.

    Raises:
        TrainingError: The loss is not finite, the disk refused a write, or a GPU failed.
    """
    device = torch.device(_select_device(config))
    try:
        yield from _train_epochs(task, config, checkpoint_folder, processes, device)
    except RuntimeError as error:  # CUDA reports errors at any later call
        if device.type == "cpu":
            raise
        raise TrainingError(
            f"The GPU {device} does not answer any more ({error}); start again, it goes on "
            "from the last epoch, or set model.device to cpu."
        ) from error


def _train_epochs(
    task: TrainingTask,
    config: TrainingConfig,
    checkpoint_folder: Path,
    processes: ProcessGroup,
    device: torch.device,
) -> Iterator[Epoch]:
    layers = nn.ModuleDict(
        {
            _module_key(name): nn.Linear(task.encoder.channels, len(task.scheme.heads()[name]))
            for name in task.heads
        }
    )
    encoder = task.encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers.to(device)
    train, validation = task.select_examples(task.train), task.select_examples(task.validation)
    frame_cache = _FrameCache(task.framing)
    targets = _Targets(task, config)
    state = _TrainState(
        encoder,
        layers,
        device,
        _use_bf16(config, device, encoder.backbone.arch),
        frame_cache,
        targets,
        processes,
    )
    sampler = _Sampler(train, targets, config)
    steps = max(1, -(-len(sampler.sample(0)) // config.batch))
    optimizer = torch.optim.AdamW(
        [
            {"params": encoder.parameters(), "lr": config.learning_rate},
            {"params": layers.parameters(), "lr": config.learning_rate * _HEAD_LR_FACTOR},
        ],
        weight_decay=_WEIGHT_DECAY,
        fused=True,
    )
    lr_schedule = _lr_schedule(config, steps)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    checkpoint = Checkpoint(
        checkpoint_folder, task.name, encoder, layers, optimizer, is_writer=processes.is_main
    )
    completed, best_loss, waited = checkpoint.restore(task.epochs)
    processes.require_equal(
        str(completed), "it does not see the state that the first one goes on from."
    )
    if not completed and config.start == "probe" and encoder.backbone.pretrained:
        _fit_initial_heads(state, task, train, config)
    memory = _MemoryBudget.measure(encoder) if device.type == "cpu" else None
    step, parts = completed * steps, 1
    for number in range(completed + 1, config.epochs + 1):
        if waited >= config.patience:
            break
        encoder.train()
        losses = []
        for batch in _iter_batches(sampler.sample(number), train, state, config, number):
            optimizer.zero_grad()
            parts = max(parts, memory.count_parts(batch)) if memory else parts
            loss, parts = _accumulate_gradients(state, batch, parts)
            loss = _all_reduce_gradients(state, loss)
            if not np.isfinite(loss):
                raise TrainingError(
                    f"The loss of {task.name} is no number any more after {number} epochs; "
                    "train with a smaller learning rate."
                )
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * lr_schedule(step)
            nn.utils.clip_grad_norm_([*encoder.parameters(), *layers.parameters()], 5.0)
            optimizer.step()
            step += 1
            losses.append(loss)
        encoder.eval()
        processes.all_reduce_mean(
            buffer for buffer in encoder.buffers() if buffer.is_floating_point()
        )
        val_loss, accuracy = _validate(state, validation)
        is_best = val_loss < best_loss
        best_loss, waited = (val_loss, 0) if is_best else (best_loss, waited + 1)
        mean = float(np.mean(losses))
        task.epochs.append(Epoch(number, mean, val_loss, accuracy, is_best, parts))
        checkpoint.save(task.epochs, best_loss, waited)
        yield task.epochs[-1]
    checkpoint.restore_best()
    encoder.eval()
    centre = _mean_embedding(state, train)
    task.encoder = encoder.to("cpu")
    for name in task.heads:
        task.fitted_heads[name] = _build_head(task, name, layers[_module_key(name)], centre)


# ------------------------------------------------------------------ data loading


class _FrameCache:
    """Frames of examples, cached while they fit into memory."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._cached: dict[str, list[Frame]] = {}
        self._bytes = 0

    def frames(self, example: Example) -> list[Frame]:
        if example.key in self._cached:
            return self._cached[example.key]
        frames = self._framing.frames(example.load())
        size = sum(frame.pixels.nbytes + frame.valid.nbytes for frame in frames)
        if self._bytes + size <= _CACHE_BYTES:
            self._bytes += size
            self._cached[example.key] = frames
        return frames


class _Targets:
    """Soft targets and class weights of each head."""

    def __init__(self, task: TrainingTask, config: TrainingConfig) -> None:
        self._scheme, self.heads = task.scheme, task.heads
        self._ordinal = config.loss == "ordinal"
        self.weights: dict[str, NDArray[np.float64]] = {}
        for head in self.heads:
            targets = [task.scheme.target(head, example.code) for example in task.train]
            classes = [target for target in targets if target is not None]
            kind = config.imbalance if config.imbalance == "weighted" else "none"
            weights = class_weights(classes, kind) if classes else np.ones(0)
            missing = len(task.scheme.heads()[head]) - len(weights)
            self.weights[head] = np.pad(weights, (0, missing), constant_values=1.0)

    def encode(self, head: str, codes: Sequence[str]) -> tuple[list[int], Tensor, Tensor]:
        """Return the rows that a head has a class for, their targets and their class weights.

        Returns:
            Row numbers, (n, k) float32 soft targets, (n,) float32 weights.
        """
        targets = [self._scheme.target(head, code) for code in codes]
        rows = [row for row, target in enumerate(targets) if target is not None]
        indices = [target for target in targets if target is not None]
        n_classes = len(self._scheme.heads()[head])
        soft = soft_targets(
            indices,
            n_classes,
            neighbour=NEIGHBOUR_MASS if self._ordinal and head.startswith("size:") else 0.0,
            smoothing=0.05 if self._ordinal and head == SUBTYPE else 0.0,
        )
        weights = torch.from_numpy(self.weights[head][indices].astype(np.float32))
        return rows, torch.from_numpy(soft), weights


class _Sampler:
    """Rows of an epoch: for each head as many as it has a class for, balanced over its classes.

    A network with several heads gets as many images as separate networks would; every image trains
    all heads that have a class for it.
    """

    def __init__(
        self, examples: Sequence[Example], targets: _Targets, config: TrainingConfig
    ) -> None:
        self._seed = config.seed
        codes = [example.code for example in examples]
        self._heads: list[tuple[NDArray[np.intp], NDArray[np.float64]]] = []
        for head in targets.heads:
            rows, soft, _ = targets.encode(head, codes)
            classes = soft.numpy().argmax(1)
            kind = config.imbalance if config.imbalance in ("oversample", "sqrt") else "none"
            weights = class_weights(list(classes), kind)[classes]
            self._heads.append((np.array(rows, np.intp), weights / weights.sum()))

    def sample(self, epoch: int) -> NDArray[np.intp]:
        rng = np.random.default_rng([self._seed, epoch, 1])
        return rng.permutation(
            np.concatenate([_resample_evenly(rows, weights, rng) for rows, weights in self._heads])
        )


def _resample_evenly(
    rows: NDArray[np.intp], weights: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Draw as many rows as there are by systematic resampling: no class depends on luck.

    Args:
        rows: (n,) rows to draw from.
        weights: (n,) probability of each, summing to 1.
        rng: Source of random numbers.
    """
    shuffled = rng.permutation(len(rows))
    cumulated = np.cumsum(weights[shuffled])
    positions = np.searchsorted(cumulated, (np.arange(len(rows)) + rng.random()) / len(rows))
    return rows[shuffled[np.minimum(positions, len(rows) - 1)]]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Part of a batch that this process computes.

    Args:
        pixels: (n, h, w, 3) uint8.
        valid: (n, h, w) bool.
        codes: Structure code of each image.
        counts: Weight of each image in the loss.
        total: Images of the whole batch, over all processes.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    codes: tuple[str, ...]
    counts: tuple[float, ...]
    total: int

    def select(self, rows: NDArray[np.intp]) -> _Batch:
        """Return some of its images."""
        return _Batch(
            self.pixels[rows],
            self.valid[rows],
            tuple(self.codes[row] for row in rows),
            tuple(self.counts[row] for row in rows),
            self.total,
        )


_PendingBatch: TypeAlias = "tuple[int, list[Future[tuple[Frame, Example]]]]"
"""A batch being loaded: its size over all processes, and the images of this process."""


def _iter_batches(
    sampled: NDArray[np.intp],
    examples: Sequence[Example],
    state: _TrainState,
    config: TrainingConfig,
    epoch: int,
) -> Iterator[_Batch]:
    """Yield the batches of an epoch; the images of the next ones are prefetched."""
    processes = state.processes

    def load(position: int) -> tuple[Frame, Example]:
        example = examples[sampled[position]]
        rng = np.random.default_rng([config.seed, epoch, position, _hash_key(example.key)])
        frames = state.frame_cache.frames(example)
        frame = frames[int(rng.integers(len(frames)))]
        return augment(frame, rng, rotate=config.rotate), example

    def submit(start: int, pool: ThreadPoolExecutor) -> _PendingBatch:
        end = min(start + config.batch, len(sampled))
        positions = range(start + processes.rank, end, processes.size)
        return end - start, [pool.submit(load, position) for position in positions]

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        pending: deque[_PendingBatch] = deque()
        for start in range(0, len(sampled), config.batch):
            pending.append(submit(start, pool))
            if len(pending) > _PREFETCHED:
                yield _stack(*pending.popleft())
        while pending:
            yield _stack(*pending.popleft())


def _stack(total: int, futures: Sequence[Future[tuple[Frame, Example]]]) -> _Batch:
    """Stack frames of several shapes; padding is not valid, so it has weight 0."""
    loaded = [future.result() for future in futures]
    frames = [frame for frame, _ in loaded]
    rows = max((frame.valid.shape[0] for frame in frames), default=0)
    columns = max((frame.valid.shape[1] for frame in frames), default=0)
    pixels = np.zeros((len(frames), rows, columns, 3), np.uint8)
    valid = np.zeros((len(frames), rows, columns), bool)
    for index, frame in enumerate(frames):
        height, width = frame.valid.shape
        padding = ((0, rows - height), (0, columns - width))
        pixels[index] = np.pad(frame.pixels, (*padding, (0, 0)), mode="symmetric")
        valid[index, :height, :width] = frame.valid
    codes = tuple(example.code for _, example in loaded)
    return _Batch(pixels, valid, codes, tuple(example.weight for _, example in loaded), total)


# ------------------------------------------------------------------ one step


@dataclass(frozen=True, slots=True)
class _TrainState:
    """Networks and data that every step uses."""

    encoder: Encoder
    layers: nn.ModuleDict
    device: torch.device
    use_bf16: bool
    frame_cache: _FrameCache
    targets: _Targets
    processes: ProcessGroup


@dataclass(slots=True)
class _MemoryBudget:
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
    def measure(cls, encoder: Encoder) -> _MemoryBudget:
        """Return the budget with the memory that is free now."""
        return cls(encoder, free_bytes())

    def count_parts(self, batch: _Batch) -> int:
        """Return into how many micro-batches a batch is split."""
        if not batch.codes:
            return 1
        rows, columns = batch.valid.shape[1:]
        self.per_pixel = self.per_pixel or bytes_per_pixel(self.encoder, rows, columns)
        return micro_batches(len(batch.codes), self.per_pixel * rows * columns, self.free)


def _accumulate_gradients(state: _TrainState, batch: _Batch, parts: int) -> tuple[float, int]:
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


def _run_micro_batches(state: _TrainState, batch: _Batch, parts: int) -> float | None:
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


def _all_reduce_gradients(state: _TrainState, loss: float) -> float:
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


def _compute_loss(state: _TrainState, batch: _Batch) -> Tensor:
    embedding = _embed(state, batch.pixels, batch.valid)
    total = embedding.new_zeros(())
    for head in state.targets.heads:
        rows, soft, weights = state.targets.encode(head, batch.codes)
        if not rows:
            continue
        logits = state.layers[_module_key(head)](embedding[rows])
        counts = weights * torch.tensor([batch.counts[row] for row in rows])
        cross_entropy = -(soft.to(state.device) * torch.log_softmax(logits.float(), dim=1)).sum(1)
        total = total + (cross_entropy * counts.to(state.device)).sum() / len(batch.codes)
    return total


def _embed(state: _TrainState, pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> Tensor:
    images = torch.from_numpy(pixels).to(state.device, non_blocking=True)
    steel = torch.from_numpy(valid).to(state.device, non_blocking=True)
    with torch.autocast(state.device.type, torch.bfloat16, enabled=state.use_bf16):
        features = state.encoder(images)
    return pool_features(features.float(), cell_weights(steel, state.encoder.stride))


@torch.inference_mode()
def _validate(state: _TrainState, examples: Sequence[Example]) -> tuple[float, float]:
    """Return mean loss and accuracy over the validation images."""
    processes = state.processes
    sums = torch.zeros(3, dtype=torch.float64)  # loss, correct, count
    for example in examples[processes.rank :: processes.size]:
        embedding = _embed_field(state, state.frame_cache.frames(example))
        for head in state.targets.heads:
            rows, soft, _ = state.targets.encode(head, [example.code])
            if not rows:
                continue
            log_probabilities = torch.log_softmax(
                state.layers[_module_key(head)](embedding).float(), dim=1
            ).cpu()
            correct = log_probabilities[0].argmax() == soft[0].argmax()
            sums += torch.stack(
                [-(soft * log_probabilities).sum(), correct, torch.ones(())]
            ).double()
    processes.all_reduce_sum([sums])
    loss, correct, count = sums.tolist()
    return (loss / count, correct / count) if count else (0.0, 0.0)


def _embed_field(state: _TrainState, frames: Sequence[Frame]) -> Tensor:
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
def _mean_embedding(state: _TrainState, examples: Sequence[Example]) -> NDArray[np.float64]:
    embeddings = [
        _embed_field(state, state.frame_cache.frames(example)).cpu().numpy()[0]
        for example in examples
    ]
    return np.asarray(np.mean(embeddings, axis=0), dtype=np.float64)


def _fit_initial_heads(
    state: _TrainState, task: TrainingTask, train: Sequence[Example], config: TrainingConfig
) -> None:
    """Initialise the heads by a linear probe on the pretrained network.

    Source:
        Kumar et al. 2022, arXiv:2202.10054: random heads send gradients that distort good features.
    """
    with torch.inference_mode():
        embeddings = [
            _embed_field(state, state.frame_cache.frames(example)).cpu().numpy()[0]
            for example in train
        ]
    data = ProbeData(
        embeddings=np.stack(embeddings),
        images=np.arange(len(train)),
        codes=[example.code for example in train],
        counts=np.array([example.weight for example in train]),
    )
    for name in task.heads:
        head = fit_head(
            task.scheme,
            name,
            task.name,
            data,
            imbalance=config.imbalance,
            ordinal=config.loss == "ordinal",
        ).head
        parameters = {
            "weight": torch.from_numpy(head.weight),
            "bias": torch.from_numpy(head.bias - head.weight @ head.centre),
        }
        state.layers[_module_key(name)].load_state_dict(parameters)


def _build_head(
    task: TrainingTask, name: str, layer: nn.Module, centre: NDArray[np.float64]
) -> Head:
    state = {
        key: tensor.detach().cpu().double().numpy() for key, tensor in layer.state_dict().items()
    }
    bias = state["bias"] + state["weight"] @ centre
    classes = task.scheme.heads()[name]
    return build_head(name, task.name, classes, (state["weight"], bias), centre)


def _lr_schedule(config: TrainingConfig, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the step."""
    total, warm = max(1, config.epochs * steps), max(1, int(_WARMUP_SHARE * config.epochs * steps))

    def factor(step: int) -> float:
        if config.schedule == "step":  # the paper's StepLR: a tenth after each third
            return float(0.1 ** (3 * step // total))
        if step < warm:
            return (step + 1) / warm
        return float(0.5 * (1 + np.cos(np.pi * min(1.0, (step - warm) / max(1, total - warm)))))

    return factor


def _select_device(config: TrainingConfig) -> str:
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cpu" if config.device == "pytorch" else config.device


def _use_bf16(config: TrainingConfig, device: torch.device, arch: str) -> bool:
    """Return whether to train in bf16: as configured, or because it is faster here.

    A CPU multiplies bf16 in hardware, except in depthwise convolutions. MEASURED with AMX, per
    image: a step of EfficientNet-Lite0 50 ms in bf16 and 44 ms in fp32, of ResNet-18 27 and 57 ms.
    """
    if config.precision != "auto":
        return config.precision == "bf16"
    return has_bf16(str(device)) and (device.type == "cuda" or arch.startswith("resnet"))


def _module_key(head: str) -> str:
    return head.replace(":", "_").replace(".", "_")


def _hash_key(key: str) -> int:
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)
