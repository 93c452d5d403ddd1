"""Find the planes and channels of one file that show another place than the one that is judged.

Planes of one focus series differ in sharpness and are shifted by little. So they are correlated:
the sharp one is blurred step by step to what the other one may still show of it, and no landmark
has to survive the blur. Channels differ in contrast, as bright and dark field do, so their outlines
are correlated. What is the same pixel by pixel, such as a scale bar or an info band, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.places import SAME_PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from agent.imaging.page import Stored

    Grey = NDArray[np.float32]

LEAST_LIKE = 0.25
"""Least correlation of two planes of one place.

MEASURED by `tests/bench/planes.py`: one place blurred by 16 px of 645 at least 0.5, by 24 px 0.25.
"""

_AREA = 400 * 300  # pixels in which planes are compared
_BLURS = (0.0, 4.0, 2.0, 8.0)  # of the sharp plane; of these pixels, the likeliest first
_BANDS = ((1.0, 6.0), (2.0, 12.0))  # blurs between which structure is compared
_BLOCK = 8  # side of what is the same pixel by pixel
_SAME_GREY = 0.02  # largest difference there, as a share of the mean
_NO_CONTRAST = 0.006  # of the coarse structure, as a share of the mean: nothing is seen
_CUT = 3.0  # standard deviations; a scale bar or a scratch does not decide alone


@dataclass(frozen=True, slots=True)
class ReducedPlane:
    """A plane as it is compared.

    Attributes:
        grey: (h, w) float32, at most about `_AREA` pixels, its mean is 1.
        level: Mean of the plane as it is stored.
    """

    grey: Grey
    level: float = 1.0

    @classmethod
    def of(cls, plane: Stored, *, outlines: bool = False) -> ReducedPlane:
        """Reduce a plane.

        Args:
            plane: (h, w) or (h, w, channels), of any integer type.
            outlines: Keep how much neighbouring pixels differ, whichever of them is brighter.
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
        """Whether nothing is seen in it, as in a plane far out of focus."""
        return float(_filter(self.grey, *_BANDS[-1]).std()) < _NO_CONTRAST


def find_other_places(planes: Sequence[ReducedPlane], judged: int) -> list[int]:
    """Return which planes show another place than the one that is judged.

    Args:
        planes: Of one file, all of one size.
        judged: Which of them is judged.

    Returns:
        Their numbers from 0. A plane in which nothing is seen is none of them.
    """
    sharp = planes[judged]
    return [
        number
        for number, plane in enumerate(planes)
        if number != judged and not plane.is_empty and not is_one_place(sharp, plane)
    ]


def is_one_place(sharp: ReducedPlane, plane: ReducedPlane) -> bool:
    """Return whether two planes show one place, however blurred the second one is."""
    kept = _find_kept(sharp, plane)
    if kept is None:
        return True
    return any(like >= LEAST_LIKE for like in _iter_likeness(sharp.grey, plane.grey, kept))


def measure_likeness(sharp: ReducedPlane, plane: ReducedPlane) -> float:
    """Return the largest correlation of two planes, 1 for the same one."""
    kept = _find_kept(sharp, plane)
    return 1.0 if kept is None else max(_iter_likeness(sharp.grey, plane.grey, kept))


def _iter_likeness(sharp: Grey, plane: Grey, kept: Grey) -> Iterator[float]:
    """Yield the correlations at each blur and in each band."""
    theirs = [_transform(_cut(_filter(plane, *band), kept)) for band in _BANDS]
    for blur in _BLURS:
        blurred = cv2.GaussianBlur(sharp, (0, 0), blur) if blur else sharp
        for band, their in zip(_BANDS, theirs, strict=True):
            ours = _transform(_cut(_filter(np.asarray(blurred, np.float32), *band), kept))
            yield _correlate(ours, their, sharp.shape)


def _outline(grey: Grey) -> Grey:
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _find_kept(one: ReducedPlane, other: ReducedPlane) -> Grey | None:
    """Return 1 where two planes may be compared, None where they are one picture.

    Blocks that have structure and are the same pixel by pixel are drawn into both, unless they are
    as much as one place has in common.
    """
    sharp, plane = one.grey, other.grey * np.float32(other.level / one.level)
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
    """Return a band with mean 0 where it is compared, 0 elsewhere, and without its extremes."""
    count = max(float(kept.sum()), 1.0)
    centred = (band - (band * kept).sum() / count) * kept
    spread = float(np.sqrt((centred**2).sum() / count))
    cut: Grey = np.clip(centred, -_CUT * spread, _CUT * spread).astype(np.float32)
    return cut


@dataclass(frozen=True, slots=True)
class _Transform:
    """The Fourier transform of a band, filled up to twice its size, and its length."""

    values: NDArray[np.complex128]
    length: float


def _transform(band: Grey) -> _Transform:
    size = [cv2.getOptimalDFTSize(2 * side) for side in band.shape]
    return _Transform(np.fft.rfft2(band, size), float(np.linalg.norm(band)))


def _correlate(one: _Transform, other: _Transform, shape: tuple[int, ...]) -> float:
    """Return the largest correlation over all shifts."""
    if not one.length or not other.length:
        return 0.0
    size = [cv2.getOptimalDFTSize(2 * side) for side in shape]
    products = np.fft.irfft2(one.values * other.values.conj(), size)
    return float(products.max()) / (one.length * other.length)
