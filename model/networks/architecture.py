"""What is known of the architectures without their layers, and so without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""RGB in [0, 1]; the normalisation of torchvision's and the Lite0 package's training."""

STRIDES = (4, 8, 16, 32)
"""Pixels per cell of the four feature maps of every architecture, fine to coarse."""

CHANNELS: Final[Mapping[str, tuple[int, ...]]] = {
    "resnet18": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
    "efficientnet-lite0": (24, 40, 112, 320),
    "tiny": (8, 8, 16, 16),
}
"""Channels of the four feature maps, fine to coarse."""


@dataclass(frozen=True, slots=True)
class EarlyPart:
    """Part of the first three stages, whose maps can be computed in strips of rows.

    Attributes:
        channels: Channels of its input.
        stride: Pixels of the image per cell of its input.
        halo_px: Pixels above and below a strip that its maps depend on, multiples of `grain_px`;
            None: all.
        strip_px: Most pixels of the image in a strip with its halo: it needs about 80 MB.
        maps: How many of the outputs, from the first, are feature maps.
        grain_px: Coarsest stride of its outputs; strips start at multiples of it.
    """

    channels: int
    stride: int
    halo_px: tuple[int, int] | None
    strip_px: int
    maps: int = 1
    grain_px: int = 4


def list_early_parts(arch: str, channels: Sequence[int]) -> tuple[EarlyPart, ...]:
    """Return the first three stages as parts; each takes the last output of the former.

    EfficientNet-Lite0: blocks 0 to 10 in parts that end before the channels are expanded. A block
    with a 3 × 3 kernel sees one cell on each side, one with 5 × 5 two; where it halves the map, one
    fewer above. A cell of block 3 depends on 10 pixels above it and 17 below, one of block 5 on 16
    and 24, and one of block 10 on 128. Of any other architecture the first stage sees less than 32
    pixels next to a cell.

    Args:
        arch: The architecture.
        channels: Channels of its four feature maps.
    """
    if arch == "efficientnet-lite0":
        return (
            EarlyPart(3, 1, (16, 24), 700_000, grain_px=8),
            EarlyPart(40, 8, (16, 32), 1_200_000, grain_px=16),
            EarlyPart(80, 16, (128, 128), 2_700_000, grain_px=16),
        )
    return (
        EarlyPart(3, 1, (32, 32), 640_000),
        EarlyPart(channels[0], 4, None, 0, 2),
    )
