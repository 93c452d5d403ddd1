"""The needles of a micrograph as a report keeps and shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import (
    FieldNeedles,
    LongNeedlePicture,
    Message,
    decimal,
    marked,
    needle_lengths_chart,
    ngettext,
)
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.needles import LongNeedle, NeedleField, NeedleHistogram
    from reports import Picture

KEPT_BINS = 40
"""Bins of a report's histogram; the store has 160."""
CHECK_NOTE = marked(
    "On drawings 59 to 86 % of the listed needles are right within 15 %: check each."
)


@dataclass(frozen=True, slots=True)
class ReportedNeedle:
    """One of the longest needles: length in µm, axis in pixels of the crop."""

    length_um: float
    line_px: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ReportedNeedles:
    """The needles of one micrograph.

    Args:
        status: "measured", or the stable reason why not, such as "too_few".
        reason: Why it was not measured, None where it was.
        calibration: Version of the site's calibration, None: not calibrated here.
        needles: Complete needles.
        l50_um, l90_um, l99_um: Weighted by area; None where it was not measured.
        limit_um: A limit of L90 that its order has to keep, or None.
        maximum_um: The longest complete needle, whether or not it is among `longest`.
        longest: The longest reliable needles, longest first.
        edges_um: Edges of the histogram.
        shares: Share of the needles' area in each of its bins.
    """

    status: str
    reason: Message | None = None
    calibration: str | None = None
    needles: int = 0
    l50_um: float | None = None
    l90_um: float | None = None
    l99_um: float | None = None
    limit_um: float | None = None
    maximum_um: float | None = None
    longest: tuple[ReportedNeedle, ...] = ()
    edges_um: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()


def build_reported_needles(field: NeedleField, limit_um: float | None = None) -> ReportedNeedles:
    """Return what a report keeps of measured needles.

    Args:
        field: As stored.
        limit_um: A limit of L90, or None.
    """
    edges, shares = _rebin(field.histogram) if field.histogram else ((), ())
    return ReportedNeedles(
        status=field.reason or str(field.status),
        reason=None if field.is_measured else field.reason_message,
        calibration=field.calibration,
        needles=field.needles,
        l50_um=field.l50_um,
        l90_um=field.l90_um,
        l99_um=field.l99_um,
        limit_um=limit_um,
        maximum_um=field.maximum_um,
        longest=tuple(_report_needle(needle) for needle in field.longest),
        edges_um=edges,
        shares=shares,
    )


def _report_needle(needle: LongNeedle) -> ReportedNeedle:
    return ReportedNeedle(needle.length_um, needle.line_px)


def _rebin(histogram: NeedleHistogram) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Join the bins of a histogram into fewer; return their edges, µm, and shares of the area."""
    step = max(histogram.bins // KEPT_BINS, 1)
    ratio = histogram.longest_um / histogram.shortest_um
    count = histogram.bins // step
    sums = [0.0] * count
    for number, area in enumerate(histogram.by_area, start=histogram.first):
        sums[min(number // step, count - 1)] += area
    total = sum(sums) or 1.0
    edges = (
        round(histogram.shortest_um * ratio ** (n * step / histogram.bins), 3)
        for n in range(count + 1)
    )
    return tuple(edges), tuple(round(area / total, 4) for area in sums)


def describe_needles(needles: ReportedNeedles) -> str:
    """Return the lengths in a line, or why there are none."""
    if needles.l90_um is None:
        why = str(needles.reason or "")
        return _("Needles not measured: {why}.").format(why=why)
    lengths = ", ".join(
        _("{name} {value} µm").format(name=name, value=decimal(um, ".1f"))
        for name, um in _list_quantiles(needles)
    )
    counted = ngettext("{n} complete needle", "{n} complete needles", needles.needles)
    return f"{lengths} ({counted.format(n=needles.needles)})"


def _list_quantiles(needles: ReportedNeedles) -> list[tuple[str, float]]:
    named = (("L50", needles.l50_um), ("L90", needles.l90_um), ("L99", needles.l99_um))
    return [(name, um) for name, um in named if um is not None]


def build_field_needles(
    needles: ReportedNeedles,
    draw: Callable[[ReportedNeedle], Picture | None],
    *,
    status: str,
) -> FieldNeedles:
    """Build the needles of a card.

    Args:
        needles: Of the micrograph.
        draw: Draws one needle over a part of the crop; None where there are no pixels.
        status: Whether the lengths are calibrated, in words.
    """
    drawn = ((needle.length_um, draw(needle)) for needle in needles.longest)
    pictures = tuple(
        LongNeedlePicture(_("{um} µm").format(um=decimal(length_um, ".1f")), picture)
        for length_um, picture in drawn
        if picture
    )
    return FieldNeedles(
        status=status,
        summary=describe_needles(needles),
        chart=needle_lengths_chart(
            needles.edges_um, needles.shares, _list_quantiles(needles), needles.limit_um
        ),
        longest=pictures,
        note=_(CHECK_NOTE) if pictures else "",
    )
