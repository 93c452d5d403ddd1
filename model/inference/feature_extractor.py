"""Feature extraction: fields to embeddings and per-cell logits, on a GPU or CPU."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import numpy as np

from model.networks.architecture import STRIDES
from model.networks.schemes import Head, HeadLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from model.framing import Field, Frame, Framing
    from model.networks.backbones import Encoder
    from model.ood.features import OodFeatureExtractor
    from model.ood.frozen_pass import FieldMaps
    from model.runtime.engines import Engine, FrameFeatures, Runner


# --- saliency: signed evidence per cell, exact and without a backward pass ------------------------
# A prediction is the mean over cells followed by a linear head, so the gradient that Grad-CAM
# averages is the head's weight itself. A few logits per cell suffice; feature maps stay on the
# device.


_LARGEST_HALF = float(np.finfo(np.float16).max)


def compute_evidence(by_cell: NDArray[np.float32], head: Head, index: int) -> NDArray[np.float32]:
    """Compute the evidence of every cell for a class.

    Args:
        by_cell: (k, rows, columns) float32, the logits of every cell.
        head: The head that computed them.
        index: Index of the class.

    Returns:
        (rows, columns) float32, signed; its weighted mean over cells plus the head's bias is the
        logit of the class. 0 = as in the average training image.

    Source:
        Zhou et al. 2016, arXiv:1512.04150; equal to Grad-CAM (Selvaraju et al. 2017,
        arXiv:1610.02391) before its ReLU for a network that ends in mean and linear layer, except
        that the training mean of the features is subtracted, which moves a constant into the bias.
    """
    cell_evidence: NDArray[np.float32] = by_cell[index] - head.bias[index]
    return cell_evidence


def compute_contrast(
    by_cell: NDArray[np.float32], head: Head, index: int, other: int
) -> NDArray[np.float32]:
    """Compute the evidence of every cell for one class over another: "why 8 and not 7".

    Args:
        by_cell: (k, rows, columns) float32, the logits of every cell.
        head: The head that computed them.
        index: Index of the class that positive evidence supports.
        other: Index of the class that negative evidence supports.

    Returns:
        (rows, columns) float32; its weighted mean plus the difference of the biases is the
        difference of the logits.
    """
    return compute_evidence(by_cell, head, index) - compute_evidence(by_cell, head, other)


def compute_coarser_margin(by_cell: NDArray[np.float32], at: int) -> NDArray[np.float32]:
    """Compute by how many logits every cell favours a size coarser than the given one.

    Args:
        by_cell: (k, rows, columns) float32 from `logits_by_cell`, coarse to fine.
        at: Index of the given size, 1 to k - 1; no size is coarser than the coarsest.

    Returns:
        (rows, columns) float32: the largest logit of the coarser sizes minus the largest of all
        other sizes; above 0 the cell is coarser than the given size.
    """
    return np.asarray(by_cell[:at].max(axis=0) - by_cell[at:].max(axis=0), dtype=np.float32)


def compute_evidence_limit(values: Sequence[NDArray[np.float32]]) -> float:
    """Compute the evidence that is drawn in full colour, one value for all maps of a stage.

    Args:
        values: Evidence of valid cells, one array per validation image.

    Returns:
        The 99th percentile of the absolute evidence, in logits; 0 if `values` is empty.
    """
    magnitudes = np.abs(np.concatenate([v.ravel() for v in values])) if values else np.zeros(0)
    return float(np.percentile(magnitudes, 99)) if magnitudes.size else 0.0


def crop_to_field(
    evidence_map: NDArray[np.float32], extent: tuple[int, int], stride: int, *, fine: bool = False
) -> NDArray[np.float16]:
    """Crop a map to the part of its frame that shows the field.

    Args:
        evidence_map: (rows, columns) float32 over a frame.
        extent: Rows and columns of the frame that show the field, in pixels.
        stride: Pixels per cell.
        fine: Whether every cell is repeated 4 × 4 times even if the field ends between cells.

    Returns:
        (rows, columns) float16 over the field; evidence beyond its range is its largest number. If
        the field ends inside a cell, every cell is repeated 4 × 4 times, so that the map can be cut
        to a quarter of a cell.
    """
    height, width = extent
    half = evidence_map.clip(-_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
    if not fine and height % stride == 0 and width % stride == 0:
        return half[: height // stride, : width // stride]
    repeated = np.repeat(np.repeat(half, 4, axis=0), 4, axis=1)
    rows, columns = (max(1, round(4 * side / stride)) for side in extent)
    return repeated[:rows, :columns]


# --- feature extraction: fields to embeddings and per-cell logits, on a GPU or CPU ----------------


_UPLOAD_THREADS = min(8, os.cpu_count() or 1)
"""Threads that frame fields and copy them to a GPU."""

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class DeviceFrame:
    """A frame, and its pixels on the device of the encoders.

    Args:
        frame: The frame in host memory.
        picture: (h, w, 3) uint8, on the device; None where the frame itself is used.
    """

    frame: Frame
    picture: Tensor | None


@dataclass(frozen=True, slots=True)
class FieldFeatures:
    """Output of one encoder and its heads for one field.

    Args:
        by_cell: Head name → one (k, rows, columns) float32 per frame, the logits of every cell.
        weights: One (rows, columns) float32 per frame, weight of each cell in [0, 1].
        embedding: (c,) float32, weighted mean of the features over all cells of all frames.
        maps: Maps of the frozen pass if it served the heads, else None.
    """

    by_cell: Mapping[str, Sequence[NDArray[np.float32]]]
    weights: Sequence[NDArray[np.float32]]
    embedding: NDArray[np.float32]
    maps: FieldMaps | None = None


class FieldExtractor(Protocol):
    """Encoders ready for inference, with the framing of their input."""

    @property
    def engine(self) -> Engine:
        """The engine in use."""
        ...

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders."""
        ...

    @property
    def fields_per_group(self) -> int:
        """Most fields that are extracted together; 0: no limit."""
        ...

    def frames(self, fields: Sequence[Field]) -> list[list[DeviceFrame]]:
        """Frame every field."""
        ...

    def to_device(self, frame: Frame) -> DeviceFrame:
        """Copy a frame to the device."""
        ...

    def extract(self, encoder: str, frames: Sequence[Sequence[DeviceFrame]]) -> list[FieldFeatures]:
        """Extract the features of every field with one encoder."""
        ...

    def stride(self, encoder: str) -> int:
        """Return the pixels of a frame per cell of an encoder's evidence."""
        ...


class FeatureExtractor:
    """Encoders compiled for one engine, with the framing of their input.

    Args:
        framing: Turns fields into frames.
        encoders: Encoders by name.
        engine: From `choose_engine`.
        cache: Folder for compiled models, or None.
        heads: Heads to evaluate per cell; none if only embeddings are needed.
    """

    fields_per_group = 0

    def __init__(
        self,
        framing: Framing,
        encoders: Mapping[str, Encoder],
        engine: Engine,
        cache: Path | None = None,
        heads: Collection[Head] = (),
    ) -> None:
        # A bundle whose heads use the frozen pass does without these, and so without PyTorch.
        import torch  # noqa: PLC0415

        from model.runtime.torch_runner import (  # noqa: PLC0415  # noqa: PLC0415
            GpuRunner,
            SequentialRunner,
            build_runner,
            build_uploader,
        )

        self._engine = engine
        self._framing = framing
        self._strides = {name: encoder.stride for name, encoder in encoders.items()}
        self._layers = {
            name: HeadLayer.from_heads(
                [head for head in heads if head.encoder == name], encoder.channels
            )
            for name, encoder in encoders.items()
        }
        self._runners: dict[str, Runner] = {
            name: GpuRunner(encoder, engine, self._layers[name])
            if engine.on_gpu
            else SequentialRunner(build_runner(encoder, engine, cache), self._layers[name])
            for name, encoder in encoders.items()
        }
        self._upload = build_uploader(engine.device) if engine.on_gpu else torch.from_numpy

    @property
    def engine(self) -> Engine:
        """The engine in use."""
        return self._engine

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders."""
        return tuple(self._runners)

    def frames(self, fields: Sequence[Field]) -> list[list[DeviceFrame]]:
        """Frame every field, and copy the frames to the device."""
        if not self._engine.on_gpu:
            return [self._frame_field(field) for field in fields]
        with ThreadPoolExecutor(_UPLOAD_THREADS) as pool:
            return list(pool.map(self._frame_field, fields))

    def _frame_field(self, field: Field) -> list[DeviceFrame]:
        return [self.to_device(frame) for frame in self._framing.frames(field)]

    def to_device(self, frame: Frame) -> DeviceFrame:
        """Copy a frame to the device."""
        return DeviceFrame(frame, self._upload(np.require(frame.pixels, requirements=["C", "W"])))

    def extract(self, encoder: str, frames: Sequence[Sequence[DeviceFrame]]) -> list[FieldFeatures]:
        """Extract the features of every field with one encoder, batching frames of one shape.

        Args:
            encoder: Name of the encoder.
            frames: The frames of each field, from `frames`.
        """
        stride = self._strides[encoder]
        weights = [
            [_compute_weights(f.frame, stride) for f in field_frames] for field_frames in frames
        ]
        by_shape: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
        for at, field_frames in enumerate(frames):
            for number, device_frame in enumerate(field_frames):
                by_shape[device_frame.frame.valid.shape].append((at, number))
        extracted: dict[tuple[int, int], FrameFeatures] = {}
        for positions in by_shape.values():
            batch = self._runners[encoder].extract(
                [cast("Tensor", frames[at][number].picture) for at, number in positions],
                [weights[at][number] for at, number in positions],
            )
            extracted.update(zip(positions, batch, strict=True))
        return [
            self._merge_frames(
                encoder,
                [extracted[at, number] for number in range(len(field_weights))],
                field_weights,
            )
            for at, field_weights in enumerate(weights)
        ]

    def _merge_frames(
        self,
        encoder: str,
        frame_features: Sequence[FrameFeatures],
        weights: Sequence[NDArray[np.float32]],
    ) -> FieldFeatures:
        total_weight = sum(float(weight.sum()) for weight in weights)
        total = np.sum([features.total for features in frame_features], axis=0)
        layer = self._layers[encoder]
        per_frame = [layer.split_by_head(features.by_cell) for features in frame_features]
        by_cell = {head: [logits[head] for logits in per_frame] for head in per_frame[0]}
        return FieldFeatures(by_cell, weights, np.asarray(total / total_weight, dtype=np.float32))

    def stride(self, encoder: str) -> int:
        """Return the stride of an encoder: pixels of a frame per cell of its feature map."""
        return self._strides[encoder]


def prefetch(function: Callable[[In], Out], items: Iterable[In], threads: int = 1) -> Iterator[Out]:
    """Yield `function` of each item in order, computing the next `threads` items ahead."""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Out]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def stitch_maps(
    field: Field, frames: Sequence[Frame], maps: Sequence[NDArray[np.float32]], stride: int
) -> NDArray[np.float16]:
    """Stitch the maps of a field's frames to one map over the field.

    Args:
        field: The field.
        frames: Its frames.
        maps: (rows, columns) float32, one per frame.
        stride: Pixels of a frame per cell.

    Returns:
        (rows, columns) float16 over the whole field; 0 where no frame covers it.
    """
    fine = any(side % stride for frame in frames for side in frame.extent)
    parts = [
        crop_to_field(m, f.extent, stride, fine=fine) for m, f in zip(maps, frames, strict=True)
    ]
    height, width = field.valid.shape
    x0, y0, x1, y1 = frames[0].box
    if len(frames) == 1 and (x0, y0, x1, y1) == (0, 0, width, height):
        return parts[0]
    per_row, per_column = parts[0].shape[0] / (y1 - y0), parts[0].shape[1] / (x1 - x0)
    whole = np.zeros((round(height * per_row), round(width * per_column)), np.float16)
    for part, frame in zip(parts, frames, strict=True):
        top, left = round(frame.box[1] * per_row), round(frame.box[0] * per_column)
        rows, columns = whole[top : top + part.shape[0], left : left + part.shape[1]].shape
        whole[top : top + rows, left : left + columns] = part[:rows, :columns]
    return whole


def _compute_weights(frame: Frame, stride: int) -> NDArray[np.float32]:
    if frame.valid.all():
        return np.ones([side // stride for side in frame.valid.shape], np.float32)
    import torch  # noqa: PLC0415 - the encoder needs it as well

    from model.networks.backbones import cell_weights  # noqa: PLC0415

    weights: NDArray[np.float32] = cell_weights(torch.from_numpy(frame.valid)[None], stride)[
        0
    ].numpy()
    return weights


# --- heads on the frozen network: the pass that serves them also serves the OOD check -------------


class SharedPassExtractor:
    """Features of fields for heads, with the maps of the pass; always on the CPU.

    A GPU would gain nothing: the OOD check needs these maps on the CPU.

    Args:
        extractor: Has the network, and the embedding that the heads classify.
        encoder: Name of the encoder that the heads refer to.
        heads: Heads to evaluate per cell; none if only embeddings are needed.
    """

    fields_per_group = 1
    """The maps of a large field take about 40 MB, so they are used before the next field."""

    def __init__(
        self,
        extractor: OodFeatureExtractor,
        encoder: str,
        heads: Collection[Head] = (),
    ) -> None:
        self._pass, self._embedding = extractor.frozen_pass, extractor.embedding
        self._encoder = encoder
        channels = self._embedding.count_channels(self._pass.backbone.channels)
        self._layer = HeadLayer.from_heads(list(heads), channels)

    @property
    def engine(self) -> Engine:
        """The engine of the pass."""
        return self._pass.engine

    @property
    def encoders(self) -> tuple[str, ...]:
        """Name of the encoder."""
        return (self._encoder,)

    def frames(self, fields: Sequence[Field]) -> list[list[DeviceFrame]]:
        """Frame every field as the OOD check does."""
        return [[self.to_device(frame) for frame in self._frame(field)] for field in fields]

    def _frame(self, field: Field) -> list[Frame]:
        return self._pass.framing.frames(field)

    def to_device(self, frame: Frame) -> DeviceFrame:
        """Return the frame as it is."""
        return DeviceFrame(frame, None)

    def extract(self, encoder: str, frames: Sequence[Sequence[DeviceFrame]]) -> list[FieldFeatures]:
        """Run the network over every field.

        Args:
            encoder: Name of the encoder.
            frames: The frame of each field, from `frames`.

        Returns:
            Per field its features, with the maps.
        """
        if encoder != self._encoder:
            raise KeyError(encoder)
        return [self._extract(frame.frame) for (frame,) in frames]

    def _extract(self, frame: Frame) -> FieldFeatures:
        seen = self._pass.run_frame(frame)
        statistics = self._embedding.measure(seen.maps, seen.weights)
        by_cell = (
            self._layer.split_by_head(
                self._embedding.compute_logits_by_cell(seen.maps, statistics, self._layer)
            )
            if self._layer.heads
            else {}
        )
        return FieldFeatures(
            {head: [logits] for head, logits in by_cell.items()},
            [seen.weights[self._embedding.grid]],
            self._embedding.join(statistics),
            seen,
        )

    def stride(self, encoder: str) -> int:
        """Return the pixels of a frame per cell of the evidence."""
        if encoder != self._encoder:
            raise KeyError(encoder)
        return STRIDES[self._embedding.grid]
