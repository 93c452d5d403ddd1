"""Pictures of a world in which it is known what each one truly shows.

A place is drawn once, and what an export makes of it (turned, mirrored, saved again, cropped) is a
variant of it. Landmarks and comparisons are computed once for all histories.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from labs import lab
from numpy.typing import NDArray

from agent.demo.micrograph import draw_micrograph
from agent.imaging import Crop, encode_landmarks
from agent.imaging.places import Landmarks, Overlap, register

Pixels = NDArray[np.uint8]

SIZE = (240, 180)
UM_PER_PX = 0.2
FINE, COARSE = "G8", "G7"
SETS = {
    FINE: (("G8", ("G8",)), ("G8", ("G8", "G9-10")), ("G8", ("G7", "G8")), ("G9-10", ("G9-10",))),
    COARSE: (("G7", ("G7",)), ("G8", ("G7", "G8")), ("G7", ("G7", "G8"))),
}
"""True code → honest answers of a model: its best code, and a prediction set that holds the truth.

The last answer to a fine place is for places that are truly G9-10.
"""


class PlaceOf(NamedTuple):
    """A place of a specimen: the specimen it is truly part of, and which of its places."""

    order: str
    specimen: str
    n: int


def _saved_again(pixels: Pixels) -> Pixels:
    held = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return np.asarray(cv2.imdecode(held, cv2.IMREAD_COLOR), np.uint8)


def _magnified(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    part = pixels[: int(height / 1.3), : int(width / 1.3)]
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


VARIANTS: dict[str, Callable[[Pixels], Pixels]] = {
    "as shot": lambda pixels: pixels,
    "turned": np.rot90,
    "mirrored": lambda pixels: pixels[:, ::-1],
    "brighter": lambda pixels: (
        np.clip(pixels.astype(int) + 3, 0, 255).astype(np.uint8) // np.uint8(4) * np.uint8(4)
    ),
    "saved again": _saved_again,
    "cropped": lambda pixels: pixels[:, SIZE[0] // 4 :],
    "magnified": _magnified,
}
"""What an export makes of a place; all of them show at least a quarter of it."""


@dataclass(frozen=True)
class Picture:
    """One file's content.

    Args:
        place: What it truly shows. variant: a key of `VARIANTS`.
        shot: Two pictures of one place and variant differ by it, in their bytes alone.
        truth: The true code. code, codes: what the model says of it.
        strange: The model calls it unlike its reference images.
    """

    place: PlaceOf
    variant: str
    shot: int
    truth: str
    code: str
    codes: tuple[str, ...]
    strange: bool = False

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def breaks(self) -> bool:
        """Whether it truly breaks the limit "8 or finer"."""
        return self.truth == COARSE

    @property
    def um_per_px(self) -> float:
        """Its scale."""
        return UM_PER_PX / 1.3 if self.variant == "magnified" else UM_PER_PX

    @property
    def area_mm2(self) -> float:
        """What it shows."""
        height, width = _crop(self.place, self.variant).pixels.shape[:2]
        return float(width * height) * self.um_per_px**2 * 1e-6

    def crop(self) -> Crop:
        """As the reader would crop it."""
        return replace(
            _crop(self.place, self.variant), sha256=self.sha256, um_per_px=self.um_per_px
        )

    def landmarks(self) -> bytes:
        """What its place is recognised by."""
        return _landmarks(self.place, self.variant)


@cache
def _crop(place: PlaceOf, variant: str) -> Crop:
    seed = int(hashlib.sha256(repr(tuple(place)).encode()).hexdigest()[:7], 16)
    drawn = draw_micrograph("G8", seed=seed, um_per_px=UM_PER_PX, size=SIZE, bar=None, border=False)
    return lab.crop_of("", np.ascontiguousarray(VARIANTS[variant](drawn.pixels)))


@cache
def _landmarks(place: PlaceOf, variant: str) -> bytes:
    return encode_landmarks(_crop(place, variant))


_compared: dict[tuple[bytes, bytes], Overlap | None] = {}


def compare(one: Landmarks, other: Landmarks) -> Overlap | None:
    """Register two pictures' landmarks, each pair once."""
    key = (one.to_bytes(), other.to_bytes())
    if key not in _compared:
        _compared[key] = register(one, other)
    return _compared[key]
