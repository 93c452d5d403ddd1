"""Draw, load, augment and stack the batches of an epoch; class balance is per head."""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from model.framing import Frame, Framing
from model.networks.linear_probe import NEIGHBOUR_MASS, class_weights
from model.networks.schemes import SUBTYPE, soft_targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray
    from torch import Tensor

    from model.data.dataset import Example
    from model.training.config import TrainingConfig, TrainingTask
    from model.training.distributed import ProcessGroup


# --- training augmentation: rotation, mirroring, brightness, contrast, white balance, gamma, blur


VERSION = 1
"""Raise it when the same frame and random numbers would give another view."""


def augment(frame: Frame, rng: Generator, *, rotate: bool = True) -> Frame:
    """Augment a frame without changing its scale, which determines the size class.

    Args:
        frame: The frame; it is not changed.
        rng: Random generator.
        rotate: Whether to rotate by up to ±45° with reflection padding, in addition to the quarter
            turns and mirroring that are always applied.

    Source:
        Durmaz et al. 2023: rotation, flips, slight contrast, blur. Brightness, white balance and
        gamma are added, because microscopes differ in them.
    """
    pixels = torch.from_numpy(frame.pixels).permute(2, 0, 1)  # (3, h, w)
    valid = torch.from_numpy(frame.valid)[None]
    if rotate:
        pixels, valid = _rotate(pixels, valid, float(rng.uniform(-45.0, 45.0)))
    quarters = int(rng.integers(4)) if pixels.shape[1] == pixels.shape[2] else 2 * rng.integers(2)
    pixels, valid = (torch.rot90(t, int(quarters), (1, 2)) for t in (pixels, valid))
    if rng.random() < 0.5:  # noqa: PLR2004 - a coin
        pixels, valid = pixels.flip(2), valid.flip(2)
    return Frame(
        np.ascontiguousarray(_change_light(pixels, rng).permute(1, 2, 0).numpy()),
        np.ascontiguousarray(valid[0].numpy()),
        frame.extent,
        frame.box,
    )


def _rotate(
    pixels: torch.Tensor, valid: torch.Tensor, degrees: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate (3, h, w) pixels and their (1, h, w) mask with reflection padding."""
    height, width = pixels.shape[1:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Grid units are half the height and half the width, which differ.
    matrix = [[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]
    grid = functional.affine_grid(
        torch.tensor([matrix]), [1, 1, height, width], align_corners=False
    )

    def sample(image: torch.Tensor, mode: str) -> torch.Tensor:
        return functional.grid_sample(
            image[None].float(), grid, mode, padding_mode="reflection", align_corners=False
        )[0]

    mask = valid if valid.all() else sample(valid, "nearest").bool()
    return sample(pixels, "bilinear").round().to(torch.uint8), mask


def _change_light(pixels: torch.Tensor, rng: Generator) -> torch.Tensor:
    mean = float(pixels.float().mean())
    contrast, brightness = float(rng.uniform(0.8, 1.2)), float(rng.uniform(0.88, 1.12))
    balance = torch.from_numpy(rng.uniform(0.95, 1.05, (3, 1)))
    levels = (torch.arange(256.0) - mean) * contrast + mean * brightness
    levels = (levels[None] * balance).clamp(0, 255)  # (3, 256), a lookup table per channel
    levels = (255 * (levels / 255) ** float(rng.uniform(0.85, 1.18))).round().to(torch.uint8)
    changed = torch.stack(
        [table[channel.int()] for table, channel in zip(levels, pixels, strict=True)]
    )
    sigma = float(rng.uniform(0.0, 1.0))
    if sigma > 0.3:  # noqa: PLR2004 - a blur below that has no effect on a kernel of five pixels
        changed = _blur(changed.float(), sigma).round().to(torch.uint8)
    return changed


def _blur(pixels: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur (3, h, w) by a Gaussian kernel of 5 × 5 pixels.

    Sums of shifted images take a quarter of the time of torchvision's convolution.
    """
    near, far = math.exp(-0.5 / sigma**2), math.exp(-2.0 / sigma**2)
    total = 1 + 2 * near + 2 * far
    x = functional.pad(pixels[None], (2, 2, 2, 2), mode="reflect")[0]
    x = x[:, :, 2:-2] + near * (x[:, :, 1:-3] + x[:, :, 3:-1]) + far * (x[..., :-4] + x[..., 4:])
    x = x[:, 2:-2] + near * (x[:, 1:-3] + x[:, 3:-1]) + far * (x[:, :-4] + x[:, 4:])
    return x / total**2


# --- draw, load and stack the batches of an epoch; class balance is per head ----------------------


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
