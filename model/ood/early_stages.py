"""Compute the first three stages of the frozen network, and join two of them, in strips of rows.

The memory of a pass is that of its expanded channels, 200 MB per million pixels. In strips it does
not grow with the frame, and the maps are those of the whole frame bit for bit, as a strip includes
the rows next to it that its maps depend on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from model.block_statistics import map_values
from model.networks.architecture import IMAGENET_MEAN, IMAGENET_STD, STRIDES
from model.ood.part_runners import build_borrowing_runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from model.ood.part_runners import FrozenBackbone
    from model.runtime.engines import Engine

    _Run = Callable[
        [Sequence[NDArray[np.generic]]], AbstractContextManager[list[NDArray[np.float32]]]
    ]
    """Takes the inputs of a network; its maps are valid within the context."""


JOINED: Final = 1
"""Layer that is joined with the next one."""

_HALO_PX, _GRAIN_PX = (16, 16), 16
_STRIP_PX = 1_600_000


class EarlyStages:
    """First three stages of a backbone.

    MEASURED, EfficientNet-Lite0 in OpenVINO: 1216 × 1600 px need 270 MB instead of 390, 2400 ×
    3200 px 330 MB instead of 1540.

    Args:
        backbone: In eval mode, or stored.
        engine: From `choose_engine`.
    """

    def __init__(self, backbone: FrozenBackbone, engine: Engine) -> None:
        self._parts = [
            (part, build_borrowing_runner(backbone, f"part {index}", engine))
            for index, part in enumerate(backbone.early_parts())
        ]

    def compute(
        self, pixels: NDArray[np.uint8], mean: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        """Compute the maps of a frame.

        Args:
            pixels: (h, w, 3) uint8, sides multiples of 32.
            mean: (3,) float32, mean colour of the steel, without padding.

        Returns:
            Three maps (c, rows, columns) float32, fine to coarse.
        """
        shape_px = pixels.shape[:2]
        maps: list[NDArray[np.float32]] = []
        taken: NDArray[np.generic] = pixels
        for index, (part, run) in enumerate(self._parts):
            strips = Strips(run, shape_px, part.halo_px, part.strip_px, part.grain_px)
            outputs = strips.compute((taken,), None if index else mean)
            taken = outputs[-1]
            maps += outputs[: part.maps]
        return maps


class MapJoiner:
    """Joins two maps on the grid of the coarser one, in strips of rows.

    Args:
        backbone: The network of the maps.
        engine: Their engine.
    """

    def __init__(self, backbone: FrozenBackbone, engine: Engine) -> None:
        self._run = build_borrowing_runner(backbone, "join", engine)

    def join(self, maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float16]:
        """Join the maps of a frame.

        Args:
            maps: Per layer (c, rows, columns) float32.

        Returns:
            (rows, columns, c) float16.
        """
        rows, columns = (side * STRIDES[JOINED] for side in maps[JOINED].shape[1:])
        strips = Strips(self._run, (rows, columns), _HALO_PX, _STRIP_PX, _GRAIN_PX)
        (joined,) = strips.compute((maps[JOINED], maps[JOINED + 1]), axis=0)
        return joined.astype(np.float16, copy=False)


class _Strip(NamedTuple):
    """Rows of a frame, in pixels.

    Attributes:
        start: First row that the network takes.
        stop: End of the rows that it takes.
        top: First row whose maps are kept.
        bottom: End of those rows.
    """

    start: int
    stop: int
    top: int
    bottom: int


@dataclass(frozen=True, slots=True)
class Strips:
    """Strips of one shape, in which a network is run over a frame.

    They are as high as each other, and no higher than covers the frame: what strips compute twice
    is their halo and less than one grain each.

    Args:
        run: The network.
        shape_px: Rows and columns of the frame, multiples of 32.
        halo_px: Rows above and below a strip that its maps depend on; None: the frame is one strip.
        strip_px: Most pixels in a strip with its halo, where the halo leaves any.
        grain_px: Strips start at multiples of it.
    """

    run: _Run
    shape_px: tuple[int, int]
    halo_px: tuple[int, int] | None
    strip_px: int
    grain_px: int

    def __iter__(self) -> Iterator[_Strip]:
        rows, _ = self.shape_px
        above, below = self.halo_px or (0, 0)
        count = self._count()
        height = -(-(rows + (count - 1) * (above + below)) // (count * self.grain_px))
        height = min(rows, height * self.grain_px)
        top = 0
        for index in range(count):
            start = min(index * (height - above - below), rows - height)
            bottom = rows if index == count - 1 else start + height - below
            yield _Strip(start, start + height, top, bottom)
            top = bottom

    def _count(self) -> int:
        rows, columns = self.shape_px
        if self.halo_px is None or rows * columns <= self.strip_px:
            return 1
        halo = sum(self.halo_px)
        own = self.strip_px // columns // self.grain_px * self.grain_px - halo
        return -(-(rows - halo) // max(own, self.grain_px))

    def compute(
        self,
        inputs: Sequence[NDArray[np.generic]],
        mean: NDArray[np.float32] | None = None,
        *,
        axis: int = 1,
    ) -> list[NDArray[np.float32]]:
        """Run the network over all strips.

        Args:
            inputs: Pixels (rows, columns, 3) uint8, or maps (c, rows, columns).
            mean: Mean colour by which pixels are normalised; None for maps.
            axis: Axis of the rows in the outputs: 1 of (c, rows, columns), 0 of (rows, columns, c).
        """
        rows, _ = self.shape_px
        whole: list[NDArray[np.float32]] = []
        for strip in self:
            cut = [_cut(array, strip, rows, 1 if mean is None else 0) for array in inputs]
            with self.run(cut if mean is None else [_normalize(cut[0], mean)]) as maps:
                whole = whole or [_allocate(own, strip, rows, axis) for own in maps]
                for target, own in zip(whole, maps, strict=True):
                    _copy_rows(np.moveaxis(own, axis, 0), np.moveaxis(target, axis, 0), strip, rows)
        return whole


def _cut(array: NDArray[Any], strip: _Strip, rows: int, axis: int) -> NDArray[Any]:
    """Return the rows of an array that the network takes, of a frame of so many rows."""
    by_rows = np.moveaxis(array, axis, 0)
    stride = rows // len(by_rows)
    return np.moveaxis(by_rows[strip.start // stride : strip.stop // stride], 0, axis)


def _allocate(own: NDArray[np.float32], strip: _Strip, rows: int, axis: int) -> NDArray[np.float32]:
    """Return an empty map of the whole frame for the map of a strip."""
    shape = list(own.shape)
    shape[axis] = shape[axis] * rows // (strip.stop - strip.start)
    return np.empty(shape, own.dtype)


def _copy_rows(
    own: NDArray[np.float32], target: NDArray[np.float32], strip: _Strip, rows: int
) -> None:
    """Copy the kept rows of a strip's map into the map of the frame; rows are the first axis."""
    stride = rows // len(target)
    start, top, bottom = strip.start // stride, strip.top // stride, strip.bottom // stride
    target[top:bottom] = own[top - start : bottom - start]


def _normalize(pixels: NDArray[np.uint8], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each channel to ImageNet's mean and standard deviation.

    MEASURED, 1216 × 1600 px: inside the network it takes 17 ms, by a table 3 ms, to the same bits.

    Args:
        pixels: (h, w, 3) uint8.
        mean: (3,) float32, mean colour of the steel, without padding.

    Returns:
        (3, h, w) float32, 0 where a channel has its mean.
    """
    contrast = np.asarray(IMAGENET_MEAN, np.float32) / np.asarray(IMAGENET_STD, np.float32)
    gain = contrast / mean
    table = gain[:, None] * np.arange(256, dtype=np.float32) - contrast[:, None]
    return map_values(pixels, np.asarray(table, np.float32))
