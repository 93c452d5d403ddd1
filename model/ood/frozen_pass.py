"""Run the frozen network once over a field: feature maps for heads, scores and kept features.

The network is never fine-tuned on steel: fine-tuned features drop what no class needs, frozen
features retain it. The memory of a pass is that of its expanded channels, 200 MB per million
pixels. In strips of rows it does not grow with the frame, and the maps are those of the whole frame
bit for bit, as a strip includes the rows next to it that its maps depend on.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from model.block_statistics import GreySums, map_values, mean_colour, share_of_blocks
from model.framing import Field, Frame, Framing
from model.networks.architecture import IMAGENET_MEAN, IMAGENET_STD, STRIDES, EarlyPart
from model.networks.stored_backbone import StoredBackbone
from model.runtime.conversion import Recipe
from model.runtime.engines import Engine, OpenVinoRunner, choose_engine, has_bf16_convolutions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from model.networks.backbones import Backbone

    BorrowingRunner = Callable[
        [Sequence[NDArray[np.generic]]], AbstractContextManager[list[NDArray[np.float32]]]
    ]
    """Takes the inputs of a network; its maps are valid within the context."""


# --- run the parts of the frozen network with the fastest engine on this CPU ----------------------
# OpenVINO runs what was converted of a stored backbone once, without PyTorch.


class FrozenBackbone(Protocol):
    """A backbone that is never fine-tuned: with its layers, or stored."""

    @property
    def arch(self) -> str:
        """One of `ARCHITECTURES`."""
        ...

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four feature maps, fine to coarse."""
        ...

    @property
    def weights_hash(self) -> str:
        """SHA-256 of its weights."""
        ...

    def early_parts(self) -> tuple[EarlyPart, ...]:
        """Return the first three stages as parts."""
        ...

    def __hash__(self) -> int:
        """Return a hash, by which a pass is shared."""
        ...

    def load(self) -> Backbone:
        """Return it with its layers, in eval mode."""
        ...


def build_batch_runner(
    backbone: FrozenBackbone, engine: Engine
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function that computes the map of the last part for a whole batch.

    Args:
        backbone: The network.
        engine: From `choose_engine`.
    """
    if engine.name == "openvino":
        return _compile(backbone, "last", engine).run_batch
    import torch  # noqa: PLC0415 - the engine

    network, _ = build_part(backbone, "last")

    @torch.inference_mode()
    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = network(torch.from_numpy(batch)).numpy()
        return features

    return run


def build_borrowing_runner(backbone: FrozenBackbone, part: str, engine: Engine) -> BorrowingRunner:
    """Return a function that lends the maps of one image by a part; see `build_part`."""
    if engine.name == "openvino":
        return _compile(backbone, part, engine).borrow_maps
    import torch  # noqa: PLC0415 - the engine

    network, _ = build_part(backbone, part)

    @torch.inference_mode()
    def run(
        inputs: Sequence[NDArray[np.generic]],
    ) -> AbstractContextManager[list[NDArray[np.float32]]]:
        batch = (torch.from_numpy(np.ascontiguousarray(array[None])) for array in inputs)
        outputs = network(*batch)
        maps = outputs if isinstance(outputs, tuple) else (outputs,)
        return nullcontext([feature_map[0].numpy() for feature_map in maps])

    return run


def _compile(backbone: FrozenBackbone, part: str, engine: Engine) -> OpenVinoRunner:
    if isinstance(backbone, StoredBackbone):
        key = f"{part} of {backbone.arch} {backbone.weights_hash}"
        return OpenVinoRunner(Recipe(key, partial(build_part, backbone, part)), engine, None)
    network, example = build_part(backbone, part)
    return OpenVinoRunner(network, engine, None, example)


@lru_cache(maxsize=1)
def _load(backbone: StoredBackbone) -> Backbone:
    """Load the layers once for all parts."""
    return backbone.load()


def build_part(backbone: FrozenBackbone, part: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Build a part as a network of PyTorch in eval mode, and its example for a conversion.

    Args:
        backbone: The network.
        part: "part 0" and so on of its early parts; "join" for the map that joins two layers;
            "last" for its last stage.
    """
    import torch  # noqa: PLC0415 - builds layers

    from model.ood import networks  # noqa: PLC0415

    channels = backbone.channels
    if part == "join":
        maps = tuple(torch.zeros(1, channels[i], 16 // i, 16 // i) for i in (1, 2))
        return networks.Join((channels[1], channels[2])).eval(), maps
    loaded = _load(backbone) if isinstance(backbone, StoredBackbone) else backbone.load()
    if part == "last":
        return networks.LastStage(loaded).eval(), (torch.zeros(2, channels[2], 16, 16),)
    index = int(part.removeprefix("part "))
    early = backbone.early_parts()[index]
    side = 16 if early.stride > 1 else 64
    return networks.StagePart(loaded, index).eval(), (torch.zeros(1, early.channels, side, side),)


# --- run the frozen network once over a field: feature maps for heads, scores and kept features ---


UM_PER_PX: Final = 0.25
"""Pixel size that every field is resampled to, µm; a field without a scale stays as it is. Lengths
in µm below hold at it; in a native pass they are this many pixels, whatever their size."""

_VERSION: Final = 2
"""Raise it when the same frame and network would give other maps: kept features are of one."""

TILE_CELLS: Final = 8
"""Side in cells of the tiles that the last layer sees: 64 µm. Its receptive field is larger: in a
whole field each of its cells would average over most of the field."""

_LARGEST_PX = 4096
"""Only the middle of a larger field is evaluated, 820 µm a side; twice that needs 10 GB."""

_LEAST_TILES_AT_ONCE, _TILES_AT_ONCE = 4, 16
"""Fewest and most tiles that are computed together: as fast as all at once, in less memory.
MEASURED: one by one they take a third longer; every tile's result is the same bit for bit."""

DARKEST = 8.0
"""Mean grey value below which brightness is no longer scaled up: there is only noise."""


@dataclass(frozen=True, slots=True)
class FieldMaps:
    """Feature maps of one field, or of a piece of it.

    Args:
        frame: What the network saw.
        maps: Per layer (c, rows, columns) float32, fine to coarse.
        weights: Per layer (rows, columns) float32, share of steel in each cell.
        grey: Sums of the pixels of the frame, which several looks and measures need.
        inner: (rows, columns) bool, cells of the last layer that are not at the edge of a tile.
    """

    frame: Frame
    maps: tuple[NDArray[np.float32], ...]
    weights: tuple[NDArray[np.float32], ...]
    grey: GreySums
    inner: NDArray[np.bool_]


class FrozenPass:
    """Frozen network with its framing; deterministic for a field.

    Args:
        backbone: From `frozen_lite0`, or any other backbone with four stages, also a stored one.
        precision: "fp32" or "bf16"; fp32 is used where the processor lacks bf16 or OpenVINO is
            absent, see `has_bf16_convolutions`.
        usual_um_per_px: Pixel size in µm that is assumed for a field without one.
        is_native: Whether fields keep their pixels, in place of the common pixel size.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        precision: str = "fp32",
        usual_um_per_px: float = UM_PER_PX,
        *,
        is_native: bool = False,
    ) -> None:
        self.backbone = backbone
        is_low = precision == "bf16" and has_bf16_convolutions()
        self.engine = choose_engine("cpu", "bf16" if is_low else "fp32")
        self.framing = Framing(
            "native" if is_native else "scale", _LARGEST_PX, UM_PER_PX, usual_um_per_px
        )
        self._weights_hash = backbone.weights_hash
        self.joiner = MapJoiner(backbone, self.engine)
        self._early = EarlyStages(backbone, self.engine)
        self._compute_last = build_batch_runner(backbone, self.engine)

    @property
    def made_by(self) -> str:
        """What the maps of a field with a scale depend on besides the field."""
        native = " native" if self.is_native else ""
        return f"pass {_VERSION} {self.backbone.arch} {self._weights_hash} {self.engine}{native}"

    @property
    def is_native(self) -> bool:
        """Whether fields keep their pixels, in place of the common pixel size."""
        return self.framing.is_native

    def run(self, field: Field) -> FieldMaps:
        """Return the maps of a field; padding and pixels without steel have weight 0."""
        return self.run_frame(self.framing.frames(field)[0])

    def run_frame(self, frame: Frame) -> FieldMaps:
        """Return the maps of a frame."""
        weights, grey = _steel_weights(frame), GreySums.of(frame.pixels)
        maps = self._early.compute(frame.pixels, _mean_colour(frame))
        last, inner = _compute_in_tiles(self._compute_last, maps[-1], self.backbone.channels[3])
        return FieldMaps(frame, (*maps, last), weights, grey, inner)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the maps of a fixed frame, as hex.

        It is equal on two PCs only if both compute in the same precision to the same bits.
        """
        rng = np.random.default_rng(0)
        coarse = rng.integers(40, 200, (16, 20, 3)).repeat(16, axis=0).repeat(16, axis=1)
        pixels = (coarse + rng.integers(0, 40, coarse.shape)).astype(np.uint8)
        seen = self.run(Field(pixels, np.ones(pixels.shape[:2], np.bool_), UM_PER_PX))
        digest = hashlib.sha256()
        for array in (*seen.maps, self.joiner.join(seen.maps)):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def spread_starts(length: int, side: int) -> list[int]:
    """Return the starts of the fewest parts of a side that cover a length."""
    count = max(1, -(-length // side))
    return [round(start) for start in np.linspace(0, max(0, length - side), count)]


def _mean_colour(frame: Frame) -> NDArray[np.float32]:
    """Return the mean colour of the steel, (3,) float32, at least `DARKEST`."""
    rows, columns = frame.extent
    pixels, valid = frame.pixels[:rows, :columns], frame.valid[:rows, :columns]
    if not valid.any():
        pixels, valid = frame.pixels, np.ones_like(frame.valid)
    return np.maximum(mean_colour(pixels, valid), DARKEST).astype(np.float32)


def _compute_in_tiles(
    compute: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    features: NDArray[np.float32],
    channels: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Compute the last layer tile by tile from the one before it, on twice as many cells.

    Returns:
        The layer, and which of its cells are not at the edge of their tile.
    """
    rows, columns = (length // 2 for length in features.shape[1:])
    height, width = min(TILE_CELLS, rows), min(TILE_CELLS, columns)
    last = np.empty((channels, rows, columns), np.float32)
    inner = np.zeros((rows, columns), np.bool_)
    starts = [
        (top, left)
        for top in spread_starts(rows, TILE_CELLS)
        for left in spread_starts(columns, TILE_CELLS)
    ]
    at_once = _choose_batch(len(starts))
    for first in range(0, len(starts), at_once):
        part = starts[first : first + at_once]
        tiles = [
            features[:, 2 * top : 2 * (top + height), 2 * left : 2 * (left + width)]
            for top, left in part
        ]
        for (top, left), tile in zip(part, compute(np.stack(tiles)), strict=True):
            bottom, right = top + height, left + width
            last[:, top:bottom, left:right] = tile
            inner[top:bottom, left:right] = False
            inner[top + 1 : bottom - 1, left + 1 : right - 1] = True
    return last, inner


def _choose_batch(count: int) -> int:
    """Return how many of so many tiles are computed together.

    They are of one number where any is left, else of about one: MEASURED, 35 tiles: by seven 115
    ms, by twelve 119 ms, as OpenVINO prepares again for the last eleven.
    """
    for size in range(_TILES_AT_ONCE, _LEAST_TILES_AT_ONCE - 1, -1):
        if count % size == 0:
            return size
    return -(-count // -(-count // _TILES_AT_ONCE))


def _steel_weights(frame: Frame) -> tuple[NDArray[np.float32], ...]:
    """Return per layer the share of steel in each cell, (rows, columns)."""
    valid = frame.valid if frame.valid.any() else np.ones_like(frame.valid)
    shares = [share_of_blocks(valid, STRIDES[0])]
    for _ in STRIDES[1:]:  # shares of a power of two pixels, so averages of averages are exact
        tall = shares[-1][::2] + shares[-1][1::2]
        shares.append(np.asarray((tall[:, ::2] + tall[:, 1::2]) / np.float32(4), np.float32))
    return tuple(shares)


@lru_cache(maxsize=4)
def build_frozen_pass(
    backbone: FrozenBackbone,
    precision: str,
    usual_um_per_px: float = UM_PER_PX,
    *,
    is_native: bool = False,
) -> FrozenPass:
    """Return the cached pass of a backbone; building one takes a second."""
    return FrozenPass(backbone, precision, usual_um_per_px, is_native=is_native)


def is_frozen_lite0(backbone: Backbone) -> bool:
    """Return whether a backbone is the frozen network of the out-of-distribution check."""
    from model.networks.backbones import frozen_lite0  # noqa: PLC0415 - PyTorch

    return (
        backbone.arch == frozen_lite0().arch
        and backbone.weights_hash == frozen_lite0().weights_hash
    )


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

    run: BorrowingRunner
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
