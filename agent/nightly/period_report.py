"""Write the report of a week or a month: one page that prints on one sheet."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import reports
from agent.files.whole_file import write_whole
from agent.nightly.facts.agreement_facts import format_share
from agent.nightly.facts.order_status import get_order_status
from agent.nightly.facts.period_facts import (
    Period,
    compute_median_h,
    count_checks,
    count_codes,
    count_open,
    count_outcomes,
    list_open,
    list_periods,
    list_promotions,
    list_times_h,
    summarise_review,
)
from agent.nightly.facts.snapshot import from_text
from agent.nightly.page import summary
from agent.nightly.page.alarm_lines import alarm_lines
from agent.nightly.page.furnace_view import furnace_lines
from agent.nightly.page.headline import micrographs
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.next_step import NextStep
from agent.site_time import compute_night_end, local, local_full
from reports import (
    Fact,
    Table,
    Tone,
    decimal,
    ngettext,
    percent,
)
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.nightly.facts.snapshot import NightFacts, NightSettings
    from agent.store import Store

ORDERS_SHOWN = 12
BATCHES_SHOWN = 12
ALARMS_SHOWN = 10
TONES = (Tone.CALM, Tone.ATTENTION, Tone.PROBLEM)
DAY_H = 24.0
RECENT = timedelta(days=31)
"""A period that ended earlier is written on request alone."""


def write_period(
    store: Store, folder: Path, period: Period, settings: NightSettings, *, now: datetime
) -> Path | None:
    """Write the report of a period from the frozen nights in it.

    Args:
        store: Open.
        folder: The reports folder.
        period: The week or month.
        settings: Of the lab.
        now: An aware instant.

    Returns:
        The page; None where no night of the period is frozen.

    Raises:
        OSError: The folder cannot be written.
    """
    rows = [
        row for night in period.nights() if (row := store.nightly_reports.find(night)) is not None
    ]
    if not rows:
        return None
    nights = [from_text(row.facts_json) for row in rows]
    path = folder / f"{period.name}.html"
    with reports.speaking(settings.language):
        page = _render(period, nights, folder, settings, now=now)
        write_whole({path: page.encode()})
    return path


def missing_periods(
    store: Store, folder: Path, settings: NightSettings, *, now: datetime
) -> list[Period]:
    """Return the weeks and months of late whose last night is frozen and that have no page."""
    since = (now - RECENT).date()
    frozen = {row.date for row in store.nightly_reports.list_all()}
    periods = {period for night in frozen for period in list_periods(night)}
    return sorted(
        (
            period
            for period in periods
            if period.last in frozen
            and period.last >= since
            and compute_night_end(period.last, settings.at, settings.zone) <= now
            and not (folder / f"{period.name}.html").is_file()
        ),
        key=lambda period: (period.last, period.name),
    )


def list_written(folder: Path) -> list[str]:
    """Return the names of the periods that have a page, the newest first."""
    weeks = (path.stem for path in folder.glob("[0-9][0-9][0-9][0-9]-W[0-9][0-9].html"))
    months = (path.stem for path in folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].html"))
    return [*sorted(weeks, reverse=True), *sorted(months, reverse=True)]


def format_period_title(period: Period) -> str:
    """Format a period's name, such as "Week 48, 2026" or "November 2026"."""
    if period.is_week:
        return _("Week {week}, {year}").format(week=int(period.name[-2:]), year=period.name[:4])
    return reports.month_and_year(period.first)


def _render(
    period: Period,
    nights: Sequence[NightFacts],
    folder: Path,
    settings: NightSettings,
    *,
    now: datetime,
) -> str:
    """Render the page of a period from its frozen nights, oldest first, at least one."""
    return reports.render(
        "period",
        site=settings.site,
        title=format_period_title(period),
        period=period,
        missing=len(period.nights()) - len(nights),
        tone=max((Tone(facts.summary.tone) for facts in nights), key=TONES.index),
        headline=_headline(nights),
        numbers=tuple(_numbers(nights)),
        orders=_orders(nights),
        codes=_codes(nights, settings),
        checks=_checks(nights),
        alarms=tuple(_alarms(nights))[:ALARMS_SHOWN],
        learned=tuple(_learned(nights)),
        open=tuple(_open(nights)),
        nights=[(facts.summary, (folder / f"{facts.night}.html").is_file()) for facts in nights],
        generated=local_full(now, settings.zone),
    )


def _headline(nights: Sequence[NightFacts]) -> str:
    taken = sum(facts.summary.taken for facts in nights)
    parts = [micrographs(taken)]
    outcomes = count_outcomes(nights)
    if outcomes is not None and (n := outcomes.total()):
        parts.append(ngettext("{n} order decided", "{n} orders decided", n).format(n=n))
    if n := len(list_open(nights)):
        parts.append(ngettext("{n} order open", "{n} orders open", n).format(n=n))
    if n := summarise_review(nights).waiting:
        text = ngettext("{n} micrograph to review", "{n} micrographs to review", n)
        parts.append(text.format(n=n))
    return " · ".join(parts)


def _numbers(nights: Sequence[NightFacts]) -> Iterator[Fact]:
    taken = sum(facts.summary.taken for facts in nights)
    review = summarise_review(nights)
    flagged = f"{review.flagged} ({percent(review.flagged / taken)})" if taken else "0"
    yield Fact(_("Micrographs"), _("{n}, flagged {flagged}").format(n=taken, flagged=flagged))
    due = review.waited + review.flagged
    if due:
        text = _("{decided} of {due} ({share}), {waiting} wait")
        yield Fact(
            _("Reviewed"),
            text.format(
                decided=review.decided,
                due=due,
                share=percent(review.decided / due),
                waiting=review.waiting,
            ),
        )
    unusable = sum(facts.summary.unusable for facts in nights)
    yield Fact(_("Files not used"), str(unusable))
    agreement = nights[-1].agreement
    if agreement and agreement.blind_n:
        yield Fact(_("Agreement"), format_share(agreement.blind_same, agreement.blind_n))
    elif agreement and agreement.n:
        text = _("{share}; the answer was in view")
        yield Fact(_("Agreement"), text.format(share=format_share(agreement.same, agreement.n)))
    yield Fact(_("Image to statement"), _times(nights))


def _times(nights: Sequence[NightFacts]) -> str:
    times = list_times_h(nights)
    if not times:
        return _("no order was decided")
    hours, number = times[-1]
    text = _("median {median}, worst {worst} (order {number}), {n} orders")
    return text.format(
        median=_hours(compute_median_h(times)), worst=_hours(hours), number=number, n=len(times)
    )


def _hours(hours: float) -> str:
    if hours >= 2 * DAY_H:
        return _("{n} days").format(n=decimal(hours / DAY_H, ".1f"))
    return _("{n} h").format(n=decimal(hours, ".1f"))


def _orders(nights: Sequence[NightFacts]) -> Table:
    outcomes = count_outcomes(nights)
    rows = [
        (word.words, str(outcomes[word]))
        for word in (Conformity.CONFORMS, Conformity.DOES_NOT_CONFORM)
    ]
    still = count_open(nights)
    rows += [
        (_("open: {status}").format(status=_status_words(status)), str(n))
        for status, n in sorted(still.items())
    ]
    return Table(_("Orders by outcome"), (_("Outcome"), _("Orders")), tuple(rows))


def _status_words(status: str) -> str:
    if status == Conformity.DOES_NOT_CONFORM:
        return Conformity(status).words
    return NextStep(status).words


def _codes(nights: Sequence[NightFacts], settings: NightSettings) -> Table:
    counts = count_codes(nights)
    found = {code for counter in counts.values() for code in counter}
    known = [code for code in settings.words if code in found]
    codes = (*known, *sorted(found - set(known)))
    ranked = sorted(counts.items(), key=lambda item: -item[1].total())
    rows = [
        (
            f"{material or '–'} · {batch or '–'}",
            *(str(counter[code] or "") for code in codes),
            str(counter.total()),
        )
        for (material, batch), counter in ranked[:BATCHES_SHOWN]
    ]
    if len(ranked) > BATCHES_SHOWN:
        rest = sum(
            (counter for _key, counter in ranked[BATCHES_SHOWN:]), start=type(ranked[0][1])()
        )
        text = _("{n} more batches").format(n=len(ranked) - BATCHES_SHOWN)
        rows.append((text, *(str(rest[code] or "") for code in codes), str(rest.total())))
    columns = (
        _("Material · heat-treatment batch"),
        *(code or _("no code") for code in codes),
        _("All"),
    )
    return Table(_("Structure codes"), columns, tuple(rows))


def _checks(nights: Sequence[NightFacts]) -> Table:
    rows = tuple(
        (c.source, str(c.checks), str(c.failed), str(c.overdue), str(c.off))
        for c in count_checks(nights)
    )
    columns = (_("Source"), _("Checks"), _("Failed"), _("Overdue"), _("Control off"))
    return Table(_("Instrument checks, in nights"), columns, rows)


def _alarms(nights: Sequence[NightFacts]) -> Iterator[str]:
    for facts in nights:
        day = reports.short_day(facts.night)
        lines = (
            *alarm_lines(facts),
            *furnace_lines(facts),
            *summary.instrument_lines(facts),
        )
        for line in lines:
            if line.tone is not Tone.CALM:
                yield (
                    f"{day}: {line.count} {line.text}"
                    if line.count != "1"
                    else f"{day}: {line.text}"
                )
        for message in facts.refusals:
            yield f"{day}: {message}"


def _learned(nights: Sequence[NightFacts]) -> Iterator[str]:
    for day, before, after in list_promotions(nights):
        text = _("{day}: bundle {after} is in use, before {before}.")
        yield text.format(day=reports.short_day(day), after=after, before=before or _("none yet"))
    shadow = nights[-1].shadow
    if shadow is not None and shadow.judged:
        text = _(
            "Candidate {bundle}: {flipped} of {judged} answers differ from those of {current}."
        )
        yield text.format(
            bundle=shadow.bundle,
            flipped=shadow.flipped,
            judged=shadow.judged,
            current=shadow.current,
        )


def _open(nights: Sequence[NightFacts]) -> Iterator[str]:
    last = nights[-1]
    orders = list_open(nights)
    for order in orders[:ORDERS_SHOWN]:
        urgent = _("urgent, ") if order.urgent else ""
        yield _("Order {number}: {urgent}{status}").format(
            number=order.number, urgent=urgent, status=_status_words(get_order_status(order))
        )
    if (more := len(orders) - ORDERS_SHOWN) > 0:
        yield ngettext("{n} more order", "{n} more orders", more).format(n=more)
    for source in last.sources:
        if not source.online and source.offline_since:
            yield _("Source {name}: not reachable since {at}").format(
                name=source.name, at=local(source.offline_since, last.zone)
            )
