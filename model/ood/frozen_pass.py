"""Run the frozen network once over a field: feature maps for heads, scores and kept features.

The network is never fine-tuned on steel: fine-tuned features drop what no class needs, frozen
features retain it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

from model.block_statistics import share_of_blocks
from model.framing import Framing
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

UM_PER_PX: Final = 0.25
"""Pixel size that every field is resampled to, µm; a field without a scale stays as it is."""

JOINED: Final = 1
"""Layer that is joined with the next one to the finest map that is scored."""

VERSION: Final = 1
"""Raise it when the same field and network would give other maps."""

_LARGEST_PX = 4096
"""Only the middle of a larger field is evaluated, 820 µm a side; twice that needs 10 GB."""

_DARKEST = 8.0
"""Mean grey value below which brightness is no longer scaled up: there is only noise."""


@dataclass(frozen=True, slots=True)
class FieldMaps:
    """Feature maps of one field, or of a piece of it.

    Args:
        frame: What the network saw.
        maps: Per layer (c, rows, columns) float32, fine to coarse.
        joined: (c, rows, columns) float32, layers `JOINED` and the next one on the finer grid,
            smoothed over neighbours.
        weights: Per layer (rows, columns) float32, share of steel in each cell.
    """

    frame: Frame
    maps: tuple[NDArray[np.float32], ...]
    joined: NDArray[np.float32]
    weights: tuple[NDArray[np.float32], ...]


class FrozenPass:
    """Frozen network with its framing; deterministic for a field.

    Args:
        backbone: From `frozen_lite0`, or any other backbone with four stages.
        precision: "fp32" or "bf16"; fp32 is used where the processor lacks bf16 or OpenVINO is
            absent.
        usual_um_per_px: Pixel size in µm that is assumed for a field without one.
    """

    def __init__(
        self, backbone: Backbone, precision: str = "fp32", usual_um_per_px: float = UM_PER_PX
    ) -> None:
        self.backbone = backbone
        self.engine = choose_engine("cpu", precision)
        self.framing = Framing("scale", _LARGEST_PX, UM_PER_PX, usual_um_per_px)
        self._weights_hash = hash_state_dict(backbone.state_dict())
        self._compute = _build_runner(backbone, self.engine)

    @property
    def made_by(self) -> str:
        """What the maps of a field with a scale depend on besides the field."""
        return f"pass {VERSION} {self.backbone.arch} {self._weights_hash} {self.engine}"

    def run(self, field: Field) -> FieldMaps:
        """Return the maps of a field; padding and pixels without steel have weight 0."""
        return self.run_frame(self.framing.frames(field)[0])

    def run_frame(self, frame: Frame) -> FieldMaps:
        """Return the maps of a frame."""
        *maps, joined = self._compute(frame.pixels)
        return FieldMaps(frame, tuple(maps), joined, _steel_weights(frame))


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


def _join(finer: torch.Tensor, coarser: torch.Tensor) -> torch.Tensor:
    upsampled = functional.interpolate(coarser, size=finer.shape[2:], mode="bilinear")
    both = torch.cat([finer, upsampled], dim=1)
    return functional.avg_pool2d(both, 3, stride=1, padding=1, count_include_pad=False)


def _build_runner(
    backbone: Backbone, engine: Engine
) -> Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]:
    """Return a function that runs the network with the fastest engine on this CPU."""
    stages = _Stages(backbone).eval()
    if engine.name == "openvino":
        return OpenVinoRunner(stages, engine, None).maps

    @torch.inference_mode()
    def run(pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return [feature_map[0].numpy() for feature_map in stages(torch.from_numpy(pixels[None]))]

    return run


@lru_cache(maxsize=2)
def build_frozen_pass(
    backbone: Backbone, precision: str, usual_um_per_px: float = UM_PER_PX
) -> FrozenPass:
    """Return the cached pass of a backbone; building one takes a second."""
    return FrozenPass(backbone, precision, usual_um_per_px)


def is_frozen_lite0(backbone: Backbone) -> bool:
    """Return whether a backbone is the frozen network of the out-of-distribution check."""
    if backbone.arch != frozen_lite0().arch:
        return False
    return hash_state_dict(backbone.state_dict()) == hash_state_dict(frozen_lite0().state_dict())
