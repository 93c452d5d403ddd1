"""Look at fields through networks: frames of one shape together, and one sight per field.

In:  `Field`s, and networks made ready. Out: a `Sight` each. Next: `classify` and `training`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.network import cells
from model.runtime import runner
from model.saliency import over_field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.frame import Field, Frame, Framing
    from model.network import Eye
    from model.runtime import Engine, Runner


@dataclass(frozen=True, slots=True)
class Sight:
    """What one network saw of one field.

    Args:
        features: One (c, rows, columns) float32 map per frame.
        weights: One (rows, columns) float32 per frame: how much each cell counts.
        embedding: (c,) float32, the mean over all cells that count.
    """

    features: tuple[NDArray[np.float32], ...]
    weights: tuple[NDArray[np.float32], ...]
    embedding: NDArray[np.float32]


class Gaze:
    """Networks made ready to look at fields, framed one way.

    Args:
        framing: How fields become frames.
        eyes: Networks by name.
        engine: What runs them.
        cache: Folder for compiled forms, or None.
    """

    def __init__(
        self, framing: Framing, eyes: Mapping[str, Eye], engine: Engine, cache: Path | None = None
    ) -> None:
        self.engine = engine
        self._framing = framing
        self._strides = {name: eye.stride for name, eye in eyes.items()}
        self._runners: dict[str, Runner] = {
            name: runner(eye, engine, cache) for name, eye in eyes.items()
        }

    @property
    def eyes(self) -> tuple[str, ...]:
        """Names of the networks."""
        return tuple(self._runners)

    def frames(self, fields: Sequence[Field]) -> list[list[Frame]]:
        """Frame every field."""
        return [self._framing.frames(field) for field in fields]

    def look(self, eye: str, framed: Sequence[Sequence[Frame]]) -> list[Sight]:
        """See every field through one network, frames of one shape together."""
        by_shape: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
        for at, frames in enumerate(framed):
            for number, frame in enumerate(frames):
                by_shape[frame.valid.shape].append((at, number))
        found: dict[tuple[int, int], NDArray[np.float32]] = {}
        for places in by_shape.values():
            pixels = np.stack([framed[at][number].pixels for at, number in places])
            maps = self._runners[eye].features(pixels)
            found.update(zip(places, maps, strict=True))
        return [
            _sight([found[at, number] for number in range(len(frames))], frames, self._strides[eye])
            for at, frames in enumerate(framed)
        ]

    def stride(self, eye: str) -> int:
        """Pixels of a frame per cell of a network's map."""
        return self._strides[eye]


def over_whole(
    shown: Field, frames: Sequence[Frame], maps: Sequence[NDArray[np.float32]], stride: int
) -> NDArray[np.float16]:
    """Join the maps of a field's frames to one over the whole field; 0 where nobody looked."""
    fine = any(side % stride for frame in frames for side in frame.extent)
    parts = [over_field(m, f.extent, stride, fine=fine) for m, f in zip(maps, frames, strict=True)]
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


def _sight(maps: Sequence[NDArray[np.float32]], frames: Sequence[Frame], stride: int) -> Sight:
    weights = [cells(torch.from_numpy(f.valid)[None], stride)[0].numpy() for f in frames]
    total = sum(float(w.sum()) for w in weights)
    summed = sum(
        np.einsum("chw,hw->c", m, w, dtype=np.float64) for m, w in zip(maps, weights, strict=True)
    )
    embedding = np.asarray(summed / total, dtype=np.float32)
    return Sight(tuple(maps), tuple(weights), embedding)
