"""Run the frozen network once over a field: feature maps for heads, scores and kept features.

The network is never fine-tuned on steel: fine-tuned features drop what no class needs, frozen
features retain it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

from model.block_statistics import map_values, mean_colour, share_of_blocks
from model.framing import CELL_PX, Framing
from model.networks.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    STRIDES,
    frozen_lite0,
    hash_state_dict,
)
from model.networks.encoder import cell_weights
from model.runtime.engines import OpenVinoRunner, choose_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from model.framing import Field, Frame
    from model.networks.backbones import Backbone
    from model.runtime.engines import Engine

    _Compute = Callable[..., list[NDArray[np.float32]]]

UM_PER_PX: Final = 0.25
"""Pixel size that every field is resampled to, µm; a field without a scale stays as it is. Lengths
in µm below hold at it; in a native pass they are this many pixels, whatever their size."""

JOINED: Final = 1
"""Layer that is joined with the next one to the finest map that is scored."""

WHOLE: Final = 1
"""Version of a pass in which every layer sees the whole field."""

TILED: Final = 2
"""Version of a pass whose last stage sees tiles. Its receptive field is larger than a tile, so in a
whole field each of its cells averages over most of the field."""

TILE_CELLS: Final = 8
"""Side of a tile in cells of the last layer: 64 µm."""

_LARGEST_PX = 4096
"""Only the middle of a larger field is evaluated, 820 µm a side; twice that needs 10 GB."""

_STRIP_PX = 1_000_000
"""Pixels of a strip that the first stage of a large frame is computed in. It needs 190 MB per
million pixels, as much as all others together."""

_LARGE_PX = 2_000_000
"""Pixels of a frame above which there are strips. MEASURED: they take 15 % longer, and their maps
are those of the whole frame bit for bit."""

_HALO_PX = 32
"""Rows next to a strip that its cells depend on: more than the first stage of any backbone sees."""

_TILES_AT_ONCE = 16
"""Tiles that are computed together: as fast as all at once, in less memory. MEASURED: one by one
they take a third longer; every tile's result is the same bit for bit."""

_LARGEST_HALF = 65504.0
"""Largest float16."""

_NORMALIZED = (torch.zeros(1, 3, 64, 64),)
"""What `_EarlyStages` takes, as an example for a runner."""

_DARKEST = 8.0
"""Mean grey value below which brightness is no longer scaled up: there is only noise."""


@dataclass(frozen=True, slots=True)
class FieldMaps:
    """Feature maps of one field, or of a piece of it.

    Args:
        frame: What the network saw.
        maps: Per layer (c, rows, columns) float32, fine to coarse.
        joined: (rows, columns, c), layers `JOINED` and the next one on the finer grid, smoothed
            over neighbours; float16 from a pass in tiles, else float32.
        weights: Per layer (rows, columns) float32, share of steel in each cell.
        tile_cells: Side of the tiles that the last layer was computed in, in its cells; 0: it saw
            the whole frame.
        inner: (rows, columns) bool, cells of the last layer that are not at the edge of a tile;
            None without tiles.
    """

    frame: Frame
    maps: tuple[NDArray[np.float32], ...]
    joined: NDArray[np.float16] | NDArray[np.float32]
    weights: tuple[NDArray[np.float32], ...]
    tile_cells: int = 0
    inner: NDArray[np.bool_] | None = None


class FrozenPass:
    """Frozen network with its framing; deterministic for a field.

    Args:
        backbone: From `frozen_lite0`, or any other backbone with four stages.
        precision: "fp32" or "bf16"; fp32 is used where the processor lacks bf16 or OpenVINO is
            absent.
        usual_um_per_px: Pixel size in µm that is assumed for a field without one.
        version: `WHOLE` or `TILED`.
        is_native: Whether fields keep their pixels, in place of the common pixel size.
    """

    def __init__(
        self,
        backbone: Backbone,
        precision: str = "fp32",
        usual_um_per_px: float = UM_PER_PX,
        version: int = TILED,
        *,
        is_native: bool = False,
    ) -> None:
        self.backbone = backbone
        self.version = version
        self.engine = choose_engine("cpu", precision)
        self.framing = Framing(
            "native" if is_native else "scale", _LARGEST_PX, UM_PER_PX, usual_um_per_px
        )
        self._weights_hash = hash_state_dict(backbone.state_dict())
        self._compute_last: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
        if version == TILED:
            self._compute = _build_runner(_EarlyStages(backbone), self.engine, _NORMALIZED)
            self._compute_last = _build_batch_runner(
                _LastStage(backbone), self.engine, torch.zeros(2, backbone.channels[2], 16, 16)
            )
        else:
            self._compute = _build_runner(_Stages(backbone), self.engine)

    @property
    def made_by(self) -> str:
        """What the maps of a field with a scale depend on besides the field."""
        native = " native" if self.is_native else ""
        return (
            f"pass {self.version} {self.backbone.arch} {self._weights_hash} {self.engine}{native}"
        )

    @property
    def is_native(self) -> bool:
        """Whether fields keep their pixels, in place of the common pixel size."""
        return self.framing.kind == "native"

    def run(self, field: Field) -> FieldMaps:
        """Return the maps of a field; padding and pixels without steel have weight 0."""
        return self.run_frame(self.framing.frames(field)[0])

    def run_frame(self, frame: Frame) -> FieldMaps:
        """Return the maps of a frame."""
        weights = _steel_weights(frame)
        if self._compute_last is None:
            *maps, joined = self._compute(frame.pixels)
            return FieldMaps(frame, tuple(maps), np.moveaxis(joined, 0, 2), weights)
        *maps, joined = self._compute_early(frame.pixels, _mean_colour(frame))
        last, inner = _compute_in_tiles(self._compute_last, maps[-1], self.backbone.channels[3])
        return FieldMaps(frame, (*maps, last), joined, weights, TILE_CELLS, inner)

    def _compute_early(
        self, pixels: NDArray[np.uint8], mean: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        """Return the first three feature maps and the joined one."""
        if pixels.shape[0] * pixels.shape[1] <= _LARGE_PX:
            return self._compute(_normalize(pixels, mean))
        compute_first, compute_middle = self._large
        first = _compute_in_strips(lambda strip: compute_first(_normalize(strip, mean))[0], pixels)
        return [first, *compute_middle(first)]

    @cached_property
    def _large(self) -> tuple[_Compute, _Compute]:
        """The first stage and the next two, for large frames."""
        features = (torch.zeros(1, self.backbone.channels[0], 16, 16),)
        return (
            _build_runner(_FirstStage(self.backbone), self.engine, _NORMALIZED),
            _build_runner(_MiddleStages(self.backbone), self.engine, features),
        )


def spread_starts(length: int, side: int) -> list[int]:
    """Return the starts of the fewest parts of a side that cover a length."""
    count = max(1, -(-length // side))
    return [round(start) for start in np.linspace(0, max(0, length - side), count)]


def _mean_colour(frame: Frame) -> NDArray[np.float32]:
    """Return the mean colour of the steel, (3,) float32, at least `_DARKEST`."""
    rows, columns = frame.extent
    pixels, valid = frame.pixels[:rows, :columns], frame.valid[:rows, :columns]
    if not valid.any():
        pixels, valid = frame.pixels, np.ones_like(frame.valid)
    return np.maximum(mean_colour(pixels, valid), _DARKEST).astype(np.float32)


def _normalize(pixels: NDArray[np.uint8], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each channel to ImageNet's mean and standard deviation.

    MEASURED, 1216 × 1600 px: inside the network it takes 17 ms, by a table 3 ms, to the same bits.

    Args:
        pixels: (h, w, 3) uint8.
        mean: (3,) float32, mean colour of the steel, without padding.

    Returns:
        (3, h, w) float32, 0 where a channel has its mean.
    """
    contrast = np.array(IMAGENET_MEAN, np.float32) / np.array(IMAGENET_STD, np.float32)
    gain = contrast / mean
    values = np.arange(256, dtype=np.float32)
    return map_values(pixels, gain[:, None] * values - contrast[:, None])


def _compute_in_strips(
    compute: Callable[[NDArray[np.uint8]], NDArray[np.float32]], pixels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Compute the first feature map of an image strip by strip; the strips have one shape.

    Args:
        compute: Pixels, (h, w, 3) → their map, (c, h / 4, w / 4).
        pixels: (h, w, 3) uint8, sides multiples of 32.
    """
    rows, stride = len(pixels), STRIDES[0]
    count = -(-pixels.shape[0] * pixels.shape[1] // _STRIP_PX)
    step = -(-rows // (count * CELL_PX)) * CELL_PX
    height = min(rows, step + 2 * _HALO_PX)
    parts = []
    for top in range(0, rows, step):
        start = min(max(0, top - _HALO_PX), rows - height)
        part = compute(pixels[start : start + height])
        inside = slice((top - start) // stride, (min(top + step, rows) - start) // stride)
        parts.append(part[:, inside])
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


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
    for first in range(0, len(starts), _TILES_AT_ONCE):
        part = starts[first : first + _TILES_AT_ONCE]
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


def _steel_weights(frame: Frame) -> tuple[NDArray[np.float32], ...]:
    """Return per layer the share of steel in each cell, (rows, columns)."""
    valid = frame.valid if frame.valid.any() else np.ones_like(frame.valid)
    shares = torch.from_numpy(share_of_blocks(valid, STRIDES[0]))[None]
    return tuple(  # shares of a power of two pixels, so averages of averages are exact
        cell_weights(shares, stride // STRIDES[0])[0].numpy() for stride in STRIDES
    )


class _Stages(torch.nn.Module):
    """Backbone with its preprocessing: (1, h, w, 3) uint8 in, five feature maps out.

    Each channel is scaled to ImageNet's mean first, which removes brightness and white balance.
    Pixels without steel have the mean colour of the steel, so they change no mean. The fifth map
    joins two layers on the grid of the finer one, smoothed over neighbours.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.mean: torch.Tensor
        self.std: torch.Tensor

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        light = pixels.permute(0, 3, 1, 2).float()
        mean = light.mean(dim=(2, 3), keepdim=True).clamp_min(_DARKEST)
        normalized = (light / mean - 1.0) * (self.mean / self.std)
        maps = self.backbone.stages(normalized.contiguous(memory_format=torch.channels_last))
        return (*maps, _join(maps[JOINED], maps[JOINED + 1]))


class _FirstStage(torch.nn.Module):
    """First stage of a backbone: (1, 3, h, w) float32 from `_normalize` in, one feature map out."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, normalized: torch.Tensor) -> torch.Tensor:
        channels_last = normalized.contiguous(memory_format=torch.channels_last)
        return self.backbone.stages(channels_last, 0)[0]


class _EarlyStages(torch.nn.Module):
    """First three stages: (1, 3, h, w) float32 in, four feature maps out."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.first, self.middle = _FirstStage(backbone), _MiddleStages(backbone)

    def forward(self, normalized: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = self.first(normalized)
        return (first, *self.middle(first))


class _MiddleStages(torch.nn.Module):
    """Second and third stage: (1, c, rows, columns) float32 in, three feature maps out.

    The last one joins them; it is float16 and has its channels last.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.backbone.middle_stages(features)
        joined = _join(*maps).permute(0, 2, 3, 1)
        return (*maps, joined.clamp(-_LARGEST_HALF, _LARGEST_HALF).half())


class _LastStage(torch.nn.Module):
    """Last stage of a backbone: (n, c, rows, columns) float32 in, one feature map out."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.backbone.last_stage(features)


def _join(finer: torch.Tensor, coarser: torch.Tensor) -> torch.Tensor:
    upsampled = functional.interpolate(coarser, size=finer.shape[2:], mode="bilinear")
    both = torch.cat([finer, upsampled], dim=1)
    return functional.avg_pool2d(both, 3, stride=1, padding=1, count_include_pad=False)


def _build_runner(
    network: torch.nn.Module, engine: Engine, example: tuple[torch.Tensor, ...] = ()
) -> Callable[..., list[NDArray[np.float32]]]:
    """Return a function that runs a network with the fastest engine on this CPU.

    Args:
        network: `_Stages`, `_EarlyStages` or a part of it.
        engine: From `choose_engine`.
        example: A batch of one of everything that it takes; (): it takes images.
    """
    network.eval()
    if engine.name == "openvino":
        return OpenVinoRunner(network, engine, None, example).maps

    @torch.inference_mode()
    def run(*inputs: NDArray[np.generic]) -> list[NDArray[np.float32]]:
        batch = (torch.from_numpy(array[None]) for array in inputs)
        outputs = network(*batch)
        maps = outputs if isinstance(outputs, tuple) else (outputs,)
        return [feature_map[0].numpy() for feature_map in maps]

    return run


def _build_batch_runner(
    network: torch.nn.Module, engine: Engine, example: torch.Tensor
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function that runs a network on a whole batch with the fastest engine on this CPU.

    Args:
        network: `_LastStage`.
        engine: From `choose_engine`.
        example: A batch of two.
    """
    network.eval()
    if engine.name == "openvino":
        return OpenVinoRunner(network, engine, None, (example,)).run_batch

    @torch.inference_mode()
    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = network(torch.from_numpy(batch)).numpy()
        return features

    return run


@lru_cache(maxsize=2)
def build_frozen_pass(
    backbone: Backbone,
    precision: str,
    usual_um_per_px: float = UM_PER_PX,
    version: int = TILED,
    *,
    is_native: bool = False,
) -> FrozenPass:
    """Return the cached pass of a backbone; building one takes a second."""
    return FrozenPass(backbone, precision, usual_um_per_px, version, is_native=is_native)


def is_frozen_lite0(backbone: Backbone) -> bool:
    """Return whether a backbone is the frozen network of the out-of-distribution check."""
    if backbone.arch != frozen_lite0().arch:
        return False
    return hash_state_dict(backbone.state_dict()) == hash_state_dict(frozen_lite0().state_dict())
