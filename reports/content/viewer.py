"""Content of the viewer: where a micrograph's pixels are, its scale, and what is drawn over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Picture


Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture that is shown over the crop on request.

    Args:
        word: "subtype", "size" or "strangeness".
        title: Such as "Why size 8".
        caption: What to look for.
        note: Next to it, "" for none.
        picture: As large as the crop, see-through.
        scale: What its colours mean, in words.
    """

    word: str
    title: str
    caption: str
    note: str
    picture: Picture
    scale: str


@dataclass(frozen=True, slots=True)
class Ruler:
    """A scale bar over the crop.

    Args:
        label: Such as "20 µm".
        length: In pixels of the crop.
        width, height: Of the crop, in pixels.
        um_per_px: Scale of the crop, 0.0 where the page needs none.
    """

    label: str
    length: float
    width: int
    height: int
    um_per_px: float = 0.0


@dataclass(frozen=True, slots=True)
class Viewer:
    """What the viewer of one micrograph shows.

    Args:
        um_per_px: Scale of crop and field, None where it is unknown.
        full: Address of the crop with all its pixels, "" where they are deleted.
        companions: Address of the pictures to compare it with, as JSON.
        place: The most unusual place, x0, y0, x1, y1 in pixels of the crop; None for none.
        border: The crop, in pixels of the field; None where there is none.
        outline: The specimen's outline in pixels of the field.
        marks: Further areas that were left out, in pixels of the field.
        chart: Address of the wall of chart plates, "" where the lab has none.
        needles: Address of the needles that are measured here, "" where none can be kept.
        kept: Needles that the reader measured: number, x and y of both tips in pixels of the crop.
    """

    um_per_px: float | None
    full: str
    companions: str
    place: Box | None = None
    border: Box | None = None
    outline: tuple[tuple[int, int], ...] = ()
    marks: tuple[Box, ...] = ()
    chart: str = ""
    needles: str = ""
    kept: tuple[tuple[float, ...], ...] = ()
