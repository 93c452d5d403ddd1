"""Put a night into one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime

from agent.nightly.facts.order_status import OpenOrder, get_order_status
from agent.nightly.facts.snapshot import Outage, Summary
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.next_step import NextStep
from agent.site_time import local
from agent.store import FileFate, MicrographView, SourceHealth
from reports import gettext as _
from reports import ngettext


def build_summary(
    night: date,
    zone: str,
    *,
    orders: tuple[OpenOrder, ...],
    waits_before: int,
    reported: tuple[MicrographView, ...],
    unusable: tuple[FileFate, ...],
    sources: tuple[SourceHealth, ...],
    newest: datetime | None,
    away: tuple[Outage, ...],
    free: bool,
    has_calendar: bool,
    has_refusals: bool,
    is_drifting: bool,
) -> Summary:
    """Build the line of a night: its tone, headline and numbers."""
    empty = not reported and not unusable
    waiting = [micrograph for micrograph in reported if micrograph.is_undecided]
    offline = [source for source in sources if not source.online]
    needing = [order for order in orders if order.needs_a_person]
    broken = Conformity.DOES_NOT_CONFORM
    tone = (
        "problem"
        if offline
        or has_refusals
        or any("strange" in micrograph.result.reasons for micrograph in waiting)
        or any(order.conformity == broken for order in needing)
        else "attention"
        if waiting
        or waits_before
        or needing
        or unusable
        or away
        or is_drifting
        or any(source.problem for source in sources)
        # With a calendar of free days, an empty night on any other day needs attention.
        or (empty and has_calendar and not free)
        else "calm"
    )
    return Summary(
        night=night,
        tone=tone,
        headline=_empty(zone, newest, away, free=free)
        if empty and not needing
        else _headline(reported, waiting, unusable, needing, waits_before),
        taken=len(reported),
        review=sum(micrograph.is_flagged for micrograph in reported),
        unusable=len(unusable),
        planned=empty and free and not (away or has_refusals or needing or waits_before),
        broken=sum(order.conformity == broken for order in orders),
        undecided=sum(order.conformity != broken for order in orders),
    )


def _empty(zone: str, newest: datetime | None, away: tuple[Outage, ...], *, free: bool) -> str:
    if away:
        causes = "; ".join(
            _("{source} was {how}").format(source=outage.source, how=outage.said(zone))
            for outage in away
        )
        return _("Nothing came in this night: {why}").format(why=causes)
    if free:
        return _("Nothing came, as planned")
    if newest is None:
        return _("Nothing came in this night, and no file has come yet")
    return _("Nothing came in this night; the last file was done {at}").format(
        at=local(newest, zone)
    )


def _headline(
    reported: tuple[MicrographView, ...],
    waiting: list[MicrographView],
    unusable: tuple[FileFate, ...],
    orders: Sequence[OpenOrder],
    waits_before: int,
) -> str:
    parts = []
    if orders:
        text = ngettext("{n} order open", "{n} orders open", len(orders)).format(n=len(orders))
        parts.append(text + _why_pressing(orders))
    if waiting:
        n = len(waiting) + waits_before  # as the review queue counts them
        text = ngettext("{n} micrograph to review", "{n} micrographs to review", n)
        parts.append(text.format(n=n))
    if unusable:
        text = ngettext("{n} file failed", "{n} files failed", len(unusable))
        parts.append(text.format(n=len(unusable)))
    if parts:
        return " · ".join(parts)
    if waits_before:
        return ngettext(
            "Nothing new to review; {n} micrograph of an earlier night waits",
            "Nothing new to review; {n} micrographs of earlier nights wait",
            waits_before,
        ).format(n=waits_before)
    return _("Nothing to review: {micrographs}, all settled").format(
        micrographs=micrographs(len(reported))
    )


def _why_pressing(orders: Sequence[OpenOrder]) -> str:
    """Return " (3 urgent, 1 probably out of specification)", "" where no order presses."""
    urgent = sum(order.urgent for order in orders)
    statuses = Counter(map(get_order_status, orders))
    parts = [_("{n} urgent").format(n=urgent)] if urgent else []
    if n := statuses[Conformity.DOES_NOT_CONFORM]:
        text = ngettext("{n} does not conform", "{n} do not conform", n)
        parts.append(text.format(n=n))
    if n := statuses[NextStep.PROBABLY_OUT]:
        parts.append(f"{n} {NextStep.PROBABLY_OUT.words}")
    return f" ({', '.join(parts)})" if parts else ""


def micrographs(n: int) -> str:
    """Format a number of micrographs: "1 micrograph", "2 micrographs"."""
    return ngettext("{n} micrograph", "{n} micrographs", n).format(n=n)
