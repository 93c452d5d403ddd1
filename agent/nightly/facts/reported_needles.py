"""The needles of a micrograph as a report keeps and shows them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.needles.field import LATHS
from reports import (
    FieldNeedles,
    LongNeedlePicture,
    decimal,
    marked,
    needle_lengths_chart,
    ngettext,
)
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.needles import LongNeedle, NeedleField, NeedleHistogram
    from agent.store import MicrographView, Store
    from reports import Picture

KEPT_BINS = 40
"""Bins of a report's histogram; the store has 160."""
CHECK_NOTE = marked("Dashed: length or tips are probably wrong. Check each line in the picture.")


def add_needles(store: Store, views: Sequence[MicrographView]) -> list[MicrographView]:
    """Return micrographs with the needles that were measured with their results.

    Of the histogram as many bins are kept as a report draws.
    """
    stored = store.needle_fields.list_of([view.result.id for view in views])
    return [replace(view, needles=_shorten(stored.get(view.result.id))) for view in views]


def _shorten(needles: NeedleField | None) -> NeedleField | None:
    if needles is None or needles.histogram is None:
        return needles
    return replace(needles, histogram=needles.histogram.join_bins(KEPT_BINS))


def _compute_shares(
    histogram: NeedleHistogram,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the edges of a histogram's bins, µm, and the share of the needles' area in each."""
    ratio = histogram.longest_um / histogram.shortest_um
    areas = [0.0] * histogram.bins
    for number, area in enumerate(histogram.by_area, start=histogram.first):
        areas[min(number, histogram.bins - 1)] += area
    total = sum(areas) or 1.0
    edges = (
        round(histogram.shortest_um * ratio ** (n / histogram.bins), 3)
        for n in range(histogram.bins + 1)
    )
    return tuple(edges), tuple(round(area / total, 4) for area in areas)


def describe_needles(needles: NeedleField) -> str:
    """Return the lengths in a line, or why there are none."""
    if needles.reason == LATHS:
        return _("Lath martensite: not measured.")
    if needles.l90_um is None:
        why = str(needles.reason_message)
        return _("Needles not measured: {why}.").format(why=why)
    lengths = ", ".join(
        _("{name} {value} µm").format(name=name, value=decimal(um, ".1f"))
        for name, um in _list_quantiles(needles)
    )
    counted = ngettext("{n} complete needle", "{n} complete needles", needles.needles)
    return f"{lengths} ({counted.format(n=needles.needles)})"


def _list_quantiles(needles: NeedleField) -> list[tuple[str, float]]:
    named = (("L50", needles.l50_um), ("L90", needles.l90_um), ("L99", needles.l99_um))
    return [(name, um) for name, um in named if um is not None]


def build_field_needles(
    needles: NeedleField,
    draw: Callable[[LongNeedle], Picture | None],
    *,
    status: str,
    limit_um: float | None = None,
) -> FieldNeedles:
    """Build the needles of a card.

    Args:
        needles: Of the micrograph.
        draw: Draws one needle over a part of the crop; None where there are no pixels.
        status: Whether the lengths are calibrated, in words.
        limit_um: A limit of L90, or None.
    """
    edges, shares = _compute_shares(needles.histogram) if needles.histogram else ((), ())
    drawn = ((needle.length_um, draw(needle)) for needle in needles.longest)
    pictures = tuple(
        LongNeedlePicture(_("{um} µm").format(um=decimal(length_um, ".1f")), picture)
        for length_um, picture in drawn
        if picture
    )
    return FieldNeedles(
        status=status,
        summary=describe_needles(needles),
        chart=needle_lengths_chart(edges, shares, _list_quantiles(needles), limit_um),
        longest=pictures,
        note=_(CHECK_NOTE) if pictures else "",
    )
