"""Build the table of needle lengths of a specimen's fields, next to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from agent.orders.facts.needle_lengths import describe_calibration, describe_pooled
from reports import NeedleBar, NeedleTable, needle_fields_chart
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Collection

    from agent.needles import NeedleField
    from agent.needles.pooling import PooledNeedles
    from agent.orders.facts.needle_lengths import SpecimenNeedles
    from agent.orders.facts.specimen_facts import FieldFacts
    from agent.orders.judge.assessed import Assessed
    from agent.orders.specifications.specification import Specification


def build_needle_table(
    needles: SpecimenNeedles | None,
    wanted: Specification | None,
    number: str,
    hidden: Collection[str] = (),
) -> NeedleTable | None:
    """Build the table of a specimen, None where nothing was to be measured.

    Args:
        needles: Of the specimen.
        wanted: What is demanded.
        number: Of the order.
        hidden: Public ids of fields whose answer must not show; their lengths do not either, nor
            those of all fields together.
    """
    if needles is None or not needles.has_any:
        return None
    pooled = needles.pooled
    bars = tuple(_build_bar(field, own, number, hidden) for field, own in needles.fields)
    has_hidden = any(field.id in hidden for field, _own in needles.fields)
    if pooled.l90 and pooled.measured > 1 and not has_hidden:
        bars = (*bars, _build_pooled(pooled))
    limit = wanted.needle_bound if wanted else None
    is_drawn = limit is not None and limit.quantile == "L90"
    return NeedleTable(
        status=describe_calibration(pooled.calibration),
        summary=_("hidden until you decide") if has_hidden else describe_pooled(pooled),
        bars=bars,
        chart=needle_fields_chart(bars, limit.most_um if limit and is_drawn else None),
    )


def describe_order_needles(assessed: Assessed, hidden: Collection[str]) -> str:
    """Return the needles of all specimens together, "" where there are none or one specimen."""
    needles = assessed.needles
    if needles is None or not needles.has_any:
        return ""
    members = [field.id for specimen in needles.specimens for field, _own in specimen.fields]
    if any(member in hidden for member in members):
        return ""
    is_repeated = len(needles.specimens) == 1 and needles.pooled.predicted is None
    return "" if is_repeated else describe_pooled(needles.pooled)


def _build_bar(
    field: FieldFacts, own: NeedleField | None, number: str, hidden: Collection[str]
) -> NeedleBar:
    href = f"/review/{field.id}?{urlencode({'order': number})}"
    if field.id in hidden:
        return NeedleBar(field.called, reason=_("hidden until you decide"), href=href)
    if own is None:
        return NeedleBar(field.called, reason=_("the measurement was off"), href=href)
    return NeedleBar(
        name=field.called,
        l50=own.l50_um,
        l90=own.l90_um,
        l99=own.l99_um,
        longest=own.maximum_um,
        reason=str(own.reason_message),
        href=href,
        needles=own.needles,
    )


def _build_pooled(pooled: PooledNeedles) -> NeedleBar:
    return NeedleBar(
        name=_("together"),
        l50=pooled.l50.value_um if pooled.l50 else None,
        l90=pooled.l90.value_um if pooled.l90 else None,
        l99=pooled.l99.value_um if pooled.l99 else None,
        longest=pooled.maximum_um,
        low=pooled.l90.low_um if pooled.l90 else None,
        high=pooled.l90.high_um if pooled.l90 else None,
        needles=pooled.needles,
    )
