"""Look at fields through networks: frames of one shape together, and one sight per field.

In:  `Field`s, and networks made ready. Out: a `Sight` each. Next: `classify` and `training`.
Where a GPU looks, the next fields are framed, and the last ones judged, while it does (`ahead`).
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from model.inference.saliency import crop_to_field
from model.networks.encoder import cell_weights
from model.networks.schemes import HeadLayer
from model.runtime.cuda import GpuRunner, uploader
from model.runtime.engines import SequentialRunner, build_runner

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.framing import Field, Frame, Framing
    from model.networks.encoder import Encoder
    from model.networks.schemes import Head
    from model.runtime.engines import Engine, FrameFeatures, Runner

_HANDS = min(8, os.cpu_count() or 1)
"""Threads that frame fields for a GPU and copy them to it."""

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class DeviceFrame:
    """One frame, and its pixels where the networks run.

    Args:
        frame: What is shown of a field.
        picture: (h, w, 3) uint8.
    """

    frame: Frame
    picture: torch.Tensor


@dataclass(frozen=True, slots=True)
class FieldFeatures:
    """What one network saw of one field.

    Args:
        by_cell: Per head that looks through it one (k, rows, columns) float32 per frame: the logits
            that every cell would have as a field of its own.
        weights: One (rows, columns) float32 per frame: how much each cell counts.
        embedding: (c,) float32, the mean over all cells that count.
    """

    by_cell: Mapping[str, Sequence[NDArray[np.float32]]]
    weights: Sequence[NDArray[np.float32]]
    embedding: NDArray[np.float32]


class FeatureExtractor:
    """Networks made ready to look at fields, framed one way.

    Args:
        framing: How fields become frames.
        eyes: Networks by name.
        engine: What runs them.
        cache: Folder for compiled forms, or None.
        heads: What is asked of what they see; none where only embeddings are wanted.
    """

    def __init__(
        self,
        framing: Framing,
        eyes: Mapping[str, Encoder],
        engine: Engine,
        cache: Path | None = None,
        heads: Collection[Head] = (),
    ) -> None:
        self.engine = engine
        self._framing = framing
        self._strides = {name: eye.stride for name, eye in eyes.items()}
        self._layers = {
            name: HeadLayer.of([head for head in heads if head.eye == name], eye.channels)
            for name, eye in eyes.items()
        }
        self._runners: dict[str, Runner] = {
            name: GpuRunner(eye, engine, self._layers[name])
            if engine.on_gpu
            else SequentialRunner(build_runner(eye, engine, cache), self._layers[name])
            for name, eye in eyes.items()
        }
        self._upload = uploader(engine.device) if engine.on_gpu else torch.from_numpy

    @property
    def eyes(self) -> tuple[str, ...]:
        """Names of the networks."""
        return tuple(self._runners)

    def frames(self, fields: Sequence[Field]) -> list[list[DeviceFrame]]:
        """Frame every field, and bring it to where the networks run."""
        if not self.engine.on_gpu:
            return [self._framed(field) for field in fields]
        with ThreadPoolExecutor(_HANDS) as hands:
            return list(hands.map(self._framed, fields))

    def _framed(self, field: Field) -> list[DeviceFrame]:
        return [self.shown(frame) for frame in self._framing.frames(field)]

    def shown(self, frame: Frame) -> DeviceFrame:
        """Bring a frame to where the networks run."""
        return DeviceFrame(frame, self._upload(np.require(frame.pixels, requirements=["C", "W"])))

    def look(self, eye: str, framed: Sequence[Sequence[DeviceFrame]]) -> list[FieldFeatures]:
        """See every field through one network, frames of one shape together."""
        weights = [[_weights(one.frame, self._strides[eye]) for one in shown] for shown in framed]
        by_shape: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
        for at, shown in enumerate(framed):
            for number, one in enumerate(shown):
                by_shape[one.frame.valid.shape].append((at, number))
        found: dict[tuple[int, int], FrameFeatures] = {}
        for places in by_shape.values():
            glimpses = self._runners[eye].look(
                [framed[at][number].picture for at, number in places],
                [weights[at][number] for at, number in places],
            )
            found.update(zip(places, glimpses, strict=True))
        return [
            self._sight(eye, [found[at, number] for number in range(len(own))], own)
            for at, own in enumerate(weights)
        ]

    def _sight(
        self, eye: str, glimpses: Sequence[FrameFeatures], weights: Sequence[NDArray[np.float32]]
    ) -> FieldFeatures:
        counted = sum(float(weight.sum()) for weight in weights)
        total = np.sum([glimpse.total for glimpse in glimpses], axis=0)
        per_frame = [self._layers[eye].of_each(glimpse.by_cell) for glimpse in glimpses]
        by_cell = {head: [one[head] for one in per_frame] for head in per_frame[0]}
        return FieldFeatures(by_cell, weights, np.asarray(total / counted, dtype=np.float32))

    def stride(self, eye: str) -> int:
        """Pixels of a frame per cell of a network's map."""
        return self._strides[eye]


def prefetch(
    work: Callable[[Given], Made], items: Iterable[Given], hands: int = 1
) -> Iterator[Made]:
    """Do what `map` does, the next items, one a hand, being worked at while one is used."""
    with ThreadPoolExecutor(hands) as pool:
        coming: deque[Future[Made]] = deque()
        for item in items:
            coming.append(pool.submit(work, item))
            if len(coming) > hands:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def over_whole(
    shown: Field, frames: Sequence[Frame], maps: Sequence[NDArray[np.float32]], stride: int
) -> NDArray[np.float16]:
    """Join the maps of a field's frames to one over the whole field; 0 where nobody looked."""
    fine = any(side % stride for frame in frames for side in frame.extent)
    parts = [
        crop_to_field(m, f.extent, stride, fine=fine) for m, f in zip(maps, frames, strict=True)
    ]
    height, width = shown.valid.shape
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


def _weights(frame: Frame, stride: int) -> NDArray[np.float32]:
    if frame.valid.all():
        return np.ones([side // stride for side in frame.valid.shape], np.float32)
    found: NDArray[np.float32] = cell_weights(torch.from_numpy(frame.valid)[None], stride)[
        0
    ].numpy()
    return found
