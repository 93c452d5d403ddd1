"""Needle lengths of fields next to each other, and of one field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

    from reports.content.components import Picture


@dataclass(frozen=True, slots=True)
class NeedleBar:
    """The lengths of one field or of several together, µm.

    Args:
        name: Such as "field 2".
        l50, l90, l99, longest: Lengths, None where it was not measured.
        reason: Why not, "" where it was.
        href: The field's own page, "" for none.
        low, high: 95 % interval of L90, None where there is none.
        needles: Complete needles.
    """

    name: str
    l50: float | None = None
    l90: float | None = None
    l99: float | None = None
    longest: float | None = None
    reason: str = ""
    href: str = ""
    low: float | None = None
    high: float | None = None
    needles: int = 0

    @property
    def is_measured(self) -> bool:
        """Whether it has lengths."""
        return self.l90 is not None


@dataclass(frozen=True, slots=True)
class NeedleTable:
    """Fields of a specimen next to each other.

    Args:
        status: "trial, not calibrated here".
        summary: All fields together, in words.
        bars: The fields, the last one all together where several were measured.
        chart: The bars drawn, empty where none was measured.
    """

    status: str
    summary: str
    bars: tuple[NeedleBar, ...]
    chart: Markup


@dataclass(frozen=True, slots=True)
class LongNeedlePicture:
    """A cut-out with one needle drawn."""

    length: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class FieldNeedles:
    """The needles of one micrograph on its card.

    Args:
        status: "trial, not calibrated here".
        summary: Its lengths, or why it was not measured, in words.
        chart: Its distribution, empty where it was not measured.
        longest: The longest needles, longest first.
        note: What to keep in mind, "" for none.
    """

    status: str
    summary: str
    chart: Markup
    longest: tuple[LongNeedlePicture, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class NeedlePlot:
    """The points and lines of one Bland-Altman plot.

    Args:
        name: Unique on the page, for the ids inside the drawing.
        points: Geometric mean of both lengths in µm, program over people, and whether both tips are
            at the same places.
        bias: Mean ratio and its interval.
        lower: Lower limit of agreement and its interval.
        upper: Upper limit of agreement and its interval.
    """

    name: str
    points: tuple[tuple[float, float, bool], ...]
    bias: tuple[float, float, float]
    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
