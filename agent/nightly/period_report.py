"""Sum up the nights of a week or a month, and write the report: one page that prints on one sheet.

Only their frozen facts are summed up, so a week reads the same whenever it is written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median

import reports
from agent.files.whole_file import write_whole
from agent.nightly.facts.order_status import OpenOrder, StatedOrder, get_order_status
from agent.nightly.facts.snapshot import NightFacts, NightSettings, from_text
from agent.nightly.page import summary
from agent.nightly.page.headline import micrographs
from agent.nightly.page.night_charts import alarm_lines, furnace_lines
from agent.nightly.page.night_tables import format_share
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.next_step import NextStep
from agent.site_time import compute_night_end, local, local_full
from agent.store import Store
from reports import Fact, Table, Tone, decimal, ngettext, percent
from reports import gettext as _


@dataclass(frozen=True, slots=True)
class Period:
    """A week or a month.

    Args:
        name: "2026-W48" or "2026-11".
        first, last: Its first and last night.
    """

    name: str
    first: date
    last: date

    @property
    def is_week(self) -> bool:
        """Whether it is an ISO week."""
        return "W" in self.name

    def nights(self) -> list[date]:
        """Return its nights, oldest first."""
        n = (self.last - self.first).days + 1
        return [self.first + timedelta(days=day) for day in range(n)]


def parse_period(name: str) -> Period | None:
    """Return the period of a name such as "2026-W48" or "2026-11", None for no such one."""
    match = re.fullmatch(r"(\d{4})-(W?)(\d{2})", name)
    if match is None:
        return None
    year, number = int(match[1]), int(match[3])
    try:
        if match[2]:
            first = date.fromisocalendar(year, number, 1)
            return Period(name, first, first + timedelta(days=6))
        first = date(year, number, 1)
    except ValueError:
        return None
    following = first + timedelta(days=31)
    return Period(name, first, following.replace(day=1) - timedelta(days=1))


def list_periods(night: date) -> tuple[Period, Period]:
    """Return the week and the month of a night."""
    year, week, _day = night.isocalendar()
    names = f"{year:04}-W{week:02}", f"{night:%Y-%m}"
    week_period, month = (parse_period(name) for name in names)
    if week_period is None or month is None:
        raise ValueError(f"{night}: a night without a week or a month")
    return week_period, month


@dataclass(frozen=True, slots=True)
class Review:
    """What waited for reviewers.

    Args:
        waited: When the period began.
        flagged: In the period.
        waiting: When it ended.
    """

    waited: int
    flagged: int
    waiting: int

    @property
    def decided(self) -> int:
        """How many were decided."""
        return max(0, self.waited + self.flagged - self.waiting)


def summarise_review(nights: Sequence[NightFacts]) -> Review:
    """Return what waited before, came and still waits; nights oldest first, at least one."""
    last = nights[-1]
    waiting = last.waits_before + sum(micrograph.is_undecided for micrograph in last.micrographs)
    flagged = sum(facts.summary.review for facts in nights)
    return Review(nights[0].waits_before, flagged, waiting)


def count_outcomes(nights: Sequence[NightFacts]) -> Counter[str]:
    """Return conformity → orders by their last statement in the period."""
    last = {stated.number: stated.conformity for stated in _list_stated(nights)}
    return Counter(
        word for word in last.values() if word in (Conformity.CONFORMS, Conformity.DOES_NOT_CONFORM)
    )


def list_open(nights: Sequence[NightFacts]) -> tuple[OpenOrder, ...]:
    """Return the orders that were open when the period ended."""
    return nights[-1].orders


def count_open(nights: Sequence[NightFacts]) -> Counter[str]:
    """Return next step → orders that were open when the period ended."""
    return Counter(map(get_order_status, list_open(nights)))


def list_times_h(nights: Sequence[NightFacts]) -> list[tuple[float, str]]:
    """Return hours from the first image of an order to its first result, and its number."""
    return sorted(
        ((stated.at - stated.imaged_at).total_seconds() / 3600, stated.number)
        for stated in _list_stated(nights)
        if stated.first and stated.imaged_at is not None
    )


def compute_median_h(times: Sequence[tuple[float, str]]) -> float:
    """Return the median of `list_times_h`, of at least one."""
    return median(hours for hours, _number in times)


def _list_stated(nights: Sequence[NightFacts]) -> Iterator[StatedOrder]:
    for facts in nights:
        yield from facts.stated


def count_codes(nights: Sequence[NightFacts]) -> dict[tuple[str, str], Counter[str]]:
    """Return (material, heat-treatment batch) → structure code → micrographs.

    A reviewer's code counts before the model's; "" stands for no code.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    for facts in nights:
        for micrograph in facts.micrographs:
            data, decision = micrograph.process_data, micrograph.label
            code = decision.code if decision and decision.kind == "code" else None
            key = data.get("material", ""), data.get("batch", "")
            counts.setdefault(key, Counter())[code or micrograph.result.structure_code or ""] += 1
    return dict(sorted(counts.items()))


@dataclass(frozen=True, slots=True)
class Checks:
    """Checks of one source over the period, in nights.

    Args:
        source: Its name.
        checks: Different checks with reference images.
        failed: Nights that ended with a failed check.
        overdue: Nights that ended without a recent one.
        off: Nights that ended with a control specimen out of limits.
    """

    source: str
    checks: int
    failed: int
    overdue: int
    off: int


def count_checks(nights: Sequence[NightFacts]) -> list[Checks]:
    """Return the checks of each source, by its name."""
    names = sorted({instrument.source for facts in nights for instrument in facts.instruments})
    counted = []
    for name in names:
        ends = [i for facts in nights for i in facts.instruments if i.source == name]
        first = nights[0].after
        times = {i.checked_at for i in ends if i.checked_at is not None and i.checked_at > first}
        counted.append(
            Checks(
                source=name,
                checks=len(times),
                failed=sum(bool(i.failed) for i in ends),
                overdue=sum(i.overdue for i in ends),
                off=sum(bool(i.control_faults) for i in ends),
            )
        )
    return counted


def list_promotions(nights: Sequence[NightFacts]) -> list[tuple[date, str, str]]:
    """Return night, bundle before and bundle after for each change of the active bundle."""
    before = nights[0].before.bundle if nights[0].before else nights[0].bundle
    bundles = [(nights[0].night, before), *((facts.night, facts.bundle) for facts in nights)]
    return [(day, was, now) for (_, was), (day, now) in pairwise(bundles) if was != now and now]


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
    nights = [from_text(row.facts) for row in rows]
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
