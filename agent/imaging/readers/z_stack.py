"""Select among the planes of a stack: which are fields, which is sharpest, which are colours.

Planes along z are one field, represented by the sharpest; channels are colours, never fields.
Where one of them shows another place, which is not evaluated, the field has the warning
`planes_differ`. Every other axis (time, position, tiles, pages) enumerates separate fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.places import SAME_PLACE
from agent.imaging.readers.page import Stored

Grey = NDArray[np.float32]
Position = Mapping[str, int]


# --- detect planes and channels of a file that show another place than the evaluated plane --------
# Planes of a focus series differ in sharpness and by a small shift, so they are correlated: the
# sharp plane is blurred step by step to match the other, and no landmark has to survive the blur.
# Channels differ in contrast, as bright and dark field do, so their outlines are correlated.
# Regions that are identical pixel by pixel, such as a scale bar or an info band, are excluded.


LEAST_LIKE = 0.25
"""Least correlation of two planes of one place.

MEASURED by `tests/bench/planes.py`: one place blurred by 16 px of 645 at least 0.5, by 24 px 0.25.
"""

_AREA = 400 * 300  # pixels in which planes are compared
_BLURS = (0.0, 4.0, 2.0, 8.0)  # sigmas in pixels for the sharp plane, the likeliest first
_BANDS = ((1.0, 6.0), (2.0, 12.0))  # blurs between which structure is compared
_BLOCK = 8  # pixels, side of blocks tested for identity
_SAME_GREY = 0.02  # largest difference of identical blocks, as a share of the mean
_NO_CONTRAST = 0.006  # standard deviation of the coarse band, as a share of the mean
_CUT = 3.0  # standard deviations; limits the weight of a scale bar or a scratch


@dataclass(frozen=True, slots=True)
class ReducedPlane:
    """A plane reduced for comparison.

    Attributes:
        grey: (h, w) float32, at most about `_AREA` pixels, mean 1.
        level: Mean grey value of the stored plane.
    """

    grey: Grey
    level: float = 1.0

    @classmethod
    def of(cls, plane: Stored, *, outlines: bool = False) -> ReducedPlane:
        """Build a reduced plane.

        Args:
            plane: (h, w) or (h, w, channels), any integer type.
            outlines: Replace grey values by gradient magnitudes, which ignore contrast reversal.
        """
        grey = plane.astype(np.float32)
        if grey.ndim == 3:  # noqa: PLR2004 - rows, columns, channels
            grey = grey.mean(axis=-1)
        height, width = grey.shape
        factor = min(1.0, (_AREA / (height * width)) ** 0.5)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        level = max(float(small.mean()), 1e-3)
        small = np.asarray(small, np.float32) / np.float32(level)
        return cls(_outline(small), level) if outlines else cls(small, level)

    @property
    def is_empty(self) -> bool:
        """Whether the plane has no contrast, as when far out of focus."""
        return float(_filter(self.grey, *_BANDS[-1]).std()) < _NO_CONTRAST


def find_other_places(planes: Sequence[ReducedPlane], judged: int) -> list[int]:
    """Return the planes that show another place than the evaluated one.

    Args:
        planes: Planes of one file, all of one size.
        judged: Index of the evaluated plane.

    Returns:
        Indices from 0. A plane without contrast is not listed.
    """
    sharp = planes[judged]
    return [
        number
        for number, plane in enumerate(planes)
        if number != judged and not plane.is_empty and not is_one_place(sharp, plane)
    ]


def is_one_place(sharp: ReducedPlane, plane: ReducedPlane) -> bool:
    """Return whether two planes show one place, however blurred the second one is."""
    return any(like >= LEAST_LIKE for like in iter_likeness(sharp, plane))


def iter_likeness(sharp: ReducedPlane, plane: ReducedPlane) -> Iterator[float]:
    """Yield the correlations of two planes at each blur and in each band; 1 for identical ones."""
    kept = _find_kept(sharp, plane)
    if kept is None:
        yield 1.0
    else:
        yield from _iter_correlations(sharp.grey, plane.grey, kept)


def _iter_correlations(sharp: Grey, plane: Grey, kept: Grey) -> Iterator[float]:
    plane_bands = [_transform(_cut(_filter(plane, *band), kept)) for band in _BANDS]
    for blur in _BLURS:
        blurred = cv2.GaussianBlur(sharp, (0, 0), blur) if blur else sharp
        for band, plane_band in zip(_BANDS, plane_bands, strict=True):
            sharp_band = _transform(_cut(_filter(np.asarray(blurred, np.float32), *band), kept))
            yield _correlate(sharp_band, plane_band, sharp.shape)


def _outline(grey: Grey) -> Grey:
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _find_kept(sharp_plane: ReducedPlane, other_plane: ReducedPlane) -> Grey | None:
    """Return a mask of what can be compared, or None if the planes are the same picture.

    Structured blocks that are identical pixel by pixel were drawn into both planes, unless they
    cover as much as two images of one place share.

    Args:
        sharp_plane: The evaluated plane.
        other_plane: The plane compared with it.

    Returns:
        (h, w) float32, 1 where planes can be compared, else 0.
    """
    sharp, plane = (
        sharp_plane.grey,
        other_plane.grey * np.float32(other_plane.level / sharp_plane.level),
    )
    height, width = (side // _BLOCK * _BLOCK for side in sharp.shape)
    if not height or not width:
        return np.ones_like(sharp)
    shape = (height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    blocks = sharp[:height, :width].reshape(shape)
    difference = np.abs(sharp - plane)[:height, :width].reshape(shape).max(axis=(1, 3))
    is_structured = blocks.std(axis=(1, 3)) > _SAME_GREY
    is_same = (difference <= _SAME_GREY) & is_structured
    if is_same.sum() >= SAME_PLACE * max(int(is_structured.sum()), 1):
        return None
    kept = np.ones_like(sharp)
    spread = cv2.dilate(is_same.astype(np.uint8), np.ones((3, 3), np.uint8))
    kept[:height, :width] = 1 - np.kron(spread, np.ones((_BLOCK, _BLOCK), np.uint8))
    return kept


def _filter(grey: Grey, fine: float, coarse: float) -> Grey:
    band = cv2.GaussianBlur(grey, (0, 0), fine) - cv2.GaussianBlur(grey, (0, 0), coarse)
    return np.asarray(band, np.float32)


def _cut(band: Grey, kept: Grey) -> Grey:
    """Return a band centred and clipped inside the mask, 0 outside."""
    count = max(float(kept.sum()), 1.0)
    centred = (band - (band * kept).sum() / count) * kept
    spread = float(np.sqrt((centred**2).sum() / count))
    cut: Grey = np.clip(centred, -_CUT * spread, _CUT * spread).astype(np.float32)
    return cut


@dataclass(frozen=True, slots=True)
class _Transform:
    """Fourier transform of a band padded to twice its size, and the norm of the band."""

    values: NDArray[np.complex128]
    length: float


def _transform(band: Grey) -> _Transform:
    size = [cv2.getOptimalDFTSize(2 * side) for side in band.shape]
    return _Transform(np.fft.rfft2(band, size), float(np.linalg.norm(band)))


def _correlate(sharp: _Transform, plane: _Transform, shape: tuple[int, ...]) -> float:
    """Return the largest correlation over all shifts.

    Args:
        sharp: Transform of the evaluated plane.
        plane: Transform of the other plane.
        shape: (h, w) of the bands before padding.
    """
    if not sharp.length or not plane.length:
        return 0.0
    size = [cv2.getOptimalDFTSize(2 * side) for side in shape]
    products = np.fft.irfft2(sharp.values * plane.values.conj(), size)
    return float(products.max()) / (sharp.length * plane.length)


# --- select among the planes of a stack: which are fields, which is sharpest, which are colours ---


DEPTH, CHANNEL = "Z", "C"
PLANES_DIFFER = "planes_differ"
"""Warning: the file has planes or channels of another place."""
COLOURS = 3


def list_fields(sizes: Mapping[str, int]) -> list[Position]:
    """Return the positions of a stack's fields, in the stack's order.

    Args:
        sizes: Axis → length, slowest first, without the picture's own axes.
    """
    axes = {axis: size for axis, size in sizes.items() if axis not in (DEPTH, CHANNEL)}
    return [
        dict(zip(axes, step, strict=True)) for step in product(*(range(n) for n in axes.values()))
    ]


def assemble_field(
    at: Position,
    sizes: Mapping[str, int],
    plane: Callable[[Position], Stored],
    *,
    three_are_rgb: bool,
) -> tuple[Stored, dict[str, str], tuple[str, ...]]:
    """Assemble one field's picture.

    Args:
        at: The field's position, from `list_fields`.
        sizes: As for `list_fields`.
        plane: Decodes the plane at a position.
        three_are_rgb: Whether three grey channels are red, green and blue, or dyes of which the
            first is used.

    Returns:
        The picture, its metadata, and warnings.
    """
    metadata: dict[str, str] = {}
    warnings: list[str] = []
    depth, channels = sizes.get(DEPTH, 1), sizes.get(CHANNEL, 1)
    others: list[str] = []
    if depth > 1:
        sharpest, elsewhere = _choose_plane(at, depth, plane)
        at = {**at, DEPTH: sharpest}
        metadata["plane"] = f"{sharpest + 1} of {depth}"
        warnings.append("sharpest_plane")
        others += [f"plane {z + 1}" for z in elsewhere]
    if channels > 1:
        reduced = [
            ReducedPlane.of(plane({**at, CHANNEL: channel}), outlines=True)
            for channel in range(channels)
        ]
        others += [f"channel {channel + 1}" for channel in find_other_places(reduced, 0)]
    different = (PLANES_DIFFER,) if others else ()
    metadata |= {"other_places": ", ".join(others)} if others else {}
    if channels == COLOURS and three_are_rgb:
        warnings.append("channels_as_rgb")
        shades = [plane({**at, CHANNEL: channel}) for channel in range(COLOURS)]
        return np.stack(shades, axis=-1), metadata, (*warnings, *different)
    if channels > 1:
        warnings.append("first_channel_only")
    return plane(at), metadata, (*warnings, *different)


def _choose_plane(
    at: Position, depth: int, plane: Callable[[Position], Stored]
) -> tuple[int, list[int]]:
    """Return the sharpest plane along z, and those that show another place."""
    sharpnesses: list[float] = []
    reduced: list[ReducedPlane] = []
    for z in range(depth):  # one at a time: a plane may have 200 megapixels
        decoded = plane({**at, DEPTH: z})
        sharpnesses.append(compute_sharpness(decoded))
        reduced.append(ReducedPlane.of(decoded))
    sharpest = int(np.argmax(sharpnesses))
    return sharpest, find_other_places(reduced, sharpest)


def compute_sharpness(plane: Stored) -> float:
    """Return the sharpness of a plane, to compare planes of one field; larger is sharper.

    Args:
        plane: (h, w) or (h, w, channels), any integer type.

    Returns:
        Variance of the Laplacian over the squared mean, no unit.
    """
    grey = plane.astype(np.float32)
    if grey.ndim == 3:  # noqa: PLR2004 - rows, columns, channels
        grey = grey.mean(axis=-1)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / max(float(grey.mean()), 1.0) ** 2)
