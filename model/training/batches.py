"""Draw, load and stack the batches of an epoch; class balance is per head."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from model.data.augmentation import augment
from model.networks.linear_probe import NEIGHBOUR_MASS, class_weights
from model.networks.schemes import SUBTYPE, soft_targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from model.data.dataset import Example
    from model.framing import Frame, Framing
    from model.training.config import TrainingConfig
    from model.training.distributed import ProcessGroup
    from model.training.task import TrainingTask

_CACHE_BYTES = 2_000_000_000
"""Size of the cache of training frames."""

_PREFETCHED = 3
"""Batches that are loaded in advance."""


class FrameCache:
    """Frames of examples, cached while they fit into memory."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._cached: dict[str, list[Frame]] = {}
        self._bytes = 0

    def frames(self, example: Example) -> list[Frame]:
        """Return the frames of an example."""
        if example.key in self._cached:
            return self._cached[example.key]
        frames = self._framing.frames(example.load())
        size = sum(frame.pixels.nbytes + frame.valid.nbytes for frame in frames)
        if self._bytes + size <= _CACHE_BYTES:
            self._bytes += size
            self._cached[example.key] = frames
        return frames


class Targets:
    """Soft targets and class weights of each head."""

    def __init__(self, task: TrainingTask, config: TrainingConfig) -> None:
        self._scheme, self.heads = task.scheme, task.heads
        self._ordinal = config.loss == "ordinal"
        self.weights: dict[str, NDArray[np.float64]] = {}
        for head in self.heads:
            targets = [task.scheme.target(head, example.code) for example in task.train]
            classes = [target for target in targets if target is not None]
            kind = config.sampling if config.sampling == "weighted" else "none"
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


class Sampler:
    """Rows of an epoch: for each head as many as it has a class for, balanced over its classes.

    A network with several heads gets as many images as separate networks would; every image trains
    all heads that have a class for it.
    """

    def __init__(
        self, examples: Sequence[Example], targets: Targets, config: TrainingConfig
    ) -> None:
        self._seed = config.seed
        codes = [example.code for example in examples]
        self._heads: list[tuple[NDArray[np.intp], NDArray[np.float64]]] = []
        for head in targets.heads:
            rows, soft, _ = targets.encode(head, codes)
            classes = soft.numpy().argmax(1)
            kind = config.sampling if config.sampling in ("oversample", "sqrt") else "none"
            weights = class_weights(list(classes), kind)[classes]
            self._heads.append((np.array(rows, np.intp), weights / weights.sum()))

    def sample(self, epoch: int) -> NDArray[np.intp]:
        """Return the rows of an epoch in random order; the same for the same seed and epoch."""
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
class Batch:
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

    def select(self, rows: NDArray[np.intp]) -> Batch:
        """Return some of its images."""
        return Batch(
            self.pixels[rows],
            self.valid[rows],
            tuple(self.codes[row] for row in rows),
            tuple(self.counts[row] for row in rows),
            self.total,
        )


_PendingBatch: TypeAlias = "tuple[int, list[Future[tuple[Frame, Example]]]]"
"""A batch being loaded: its size over all processes, and the images of this process."""


def iter_batches(
    sampled: NDArray[np.intp],
    examples: Sequence[Example],
    config: TrainingConfig,
    epoch: int,
    *,
    frame_cache: FrameCache,
    processes: ProcessGroup,
) -> Iterator[Batch]:
    """Yield the batches of an epoch; the images of the next ones are prefetched."""

    def load(position: int) -> tuple[Frame, Example]:
        example = examples[sampled[position]]
        rng = np.random.default_rng([config.seed, epoch, position, _hash_key(example.key)])
        frames = frame_cache.frames(example)
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


def _stack(total: int, futures: Sequence[Future[tuple[Frame, Example]]]) -> Batch:
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
    return Batch(pixels, valid, codes, tuple(example.weight for _, example in loaded), total)


def _hash_key(key: str) -> int:
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)
