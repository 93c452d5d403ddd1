"""Gather what is watched over the nights, in charts, and describe its alarms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime

import reports
from agent.errors import UsageError
from agent.nightly.facts.change_alarm import (
    MEASURES,
    Group,
    list_open_alarms,
    list_reported,
    list_reviewed,
    watch_night,
)
from agent.nightly.facts.control_charts import (
    BASELINE_BATCHES,
    DECISION_SIGMA,
    LIMIT_SIGMA,
    BatchChart,
    BatchSize,
    average_batches,
    average_by_night,
    chart,
    chart_batches,
    compute_alarm_level,
    is_ready,
)
from agent.nightly.facts.order_status import iter_control_values
from agent.nightly.facts.snapshot import (
    NightCharts,
    NightFacts,
    NightSettings,
    parse_batches,
    parse_groups,
)
from agent.orders.judge.permissions import require_reason
from agent.site_time import night_of
from agent.store import MicrographView, Store
from reports import ControlTrend, Tone, VerdictLine, decimal, ngettext
from reports import gettext as _

ACKNOWLEDGED = "alarm_acknowledged"
"""Kind of the records by which a lead ends the alarms of a measure; the subject is the measure."""


def gather_charts(
    store: Store,
    night: date,
    settings: NightSettings,
    reported: Sequence[MicrographView],
    period: tuple[datetime, datetime],
) -> NightCharts:
    """Gather the charts and alarms of a night from the nights reported before and its micrographs.

    Args:
        store: As of the end of the night.
        night: Its date.
        settings: Of the lab.
        reported: Its micrographs.
        period: After and until.
    """
    after, until = period
    batch_sizes = average_batches(reported)
    values = average_by_night(
        iter_control_values(store, settings.control),
        lambda at: night_of(at, settings.at, settings.zone),
        night,
    )
    level = compute_alarm_level(sum(map(is_ready, values.values())))
    bundle = store.promotions.find_current() or ""
    reviewed = store.labelled_micrographs.list_blind_since(after)
    return NightCharts(
        batch_sizes=batch_sizes,
        groups=watch_night(
            _find_groups(store, night),
            (*list_reported(reported, bundle), *list_reviewed(reviewed, after, until)),
            night,
            bundle=bundle,
            acknowledged=list_acknowledged(store),
        ),
        control_charts=tuple(chart(*key, series, night, level) for key, series in values.items()),
        batch_charts=chart_batches(_list_batches(store, night), night, batch_sizes),
    )


def list_acknowledged(store: Store) -> dict[str, date]:
    """Return measure → the newest night whose alarms a lead acknowledged."""
    newest = store.records.newest(ACKNOWLEDGED)
    return {m: date.fromisoformat(record.facts["night"]) for m, record in newest.items()}


def find_open_alarms(store: Store) -> tuple[date | None, list[Group]]:
    """Return the newest frozen night, and its alarms that no lead has acknowledged."""
    night = max((row.date for row in store.nightly_reports.list_all()), default=None)
    row = store.nightly_reports.find(night) if night else None
    groups = parse_groups(row.facts) if row else ()
    return night, list_open_alarms(groups, list_acknowledged(store))


def acknowledge_alarm(
    store: Store, measure: str, *, by: str, reason: str, at: datetime, night: str | None = None
) -> list[Group]:
    """Record that a lead has seen the alarms of a measure; its groups start from nothing.

    Args:
        store: Open.
        measure: One of `MEASURES`.
        by: A lead.
        reason: Why.
        at: Now, aware UTC.
        night: Whose alarms were shown; None: those that are open now.

    Returns:
        The groups whose alarms ended.

    Raises:
        UsageError: No such alarm is open, a later night was reported, or the reason is missing.
    """
    kept, (newest, alarms) = require_reason(reason), find_open_alarms(store)
    groups = [group for group in alarms if group.measure == measure]
    if night not in {None, str(newest)}:
        raise UsageError(_("This alarm has changed since the page was opened. Reload the page."))
    if not groups:
        raise UsageError(_("No alarm of this kind is open. The page Trends shows those that are."))
    facts = {
        "night": str(newest),
        "reason": kept,
        "groups": [f"{group.kind} {group.name}".strip() for group in groups],
    }
    store.records.add(ACKNOWLEDGED, measure, by=by, at=at, facts=facts)
    return groups


def _find_groups(store: Store, night: date) -> tuple[Group, ...]:
    """Return the groups after the newest night that was frozen before this one."""
    earlier = [row.date for row in store.nightly_reports.list_all() if row.date < night]
    row = store.nightly_reports.find(max(earlier)) if earlier else None
    return parse_groups(row.facts) if row else ()


def _list_batches(store: Store, night: date) -> list[tuple[date, tuple[BatchSize, ...]]]:
    return [
        (row.date, parse_batches(row.head))
        for row in store.nightly_reports.list_all()
        if row.date < night
    ]


NAMED = 6
"""Groups that one line names."""


def alarm_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    """Yield a line for each measure with an alarm, until a lead acknowledges it."""
    href = f"{facts.review_url}/trends" if facts.review_url else ""
    for _measure, n, text in describe_alarms(list_open_alarms(facts.charts.groups, {})):
        yield VerdictLine(Tone.ATTENTION, str(n), text, href)


def describe_alarms(alarms: Sequence[Group]) -> Iterator[tuple[str, int, str]]:
    """Yield measure, micrographs since the change and a text, once for all groups of a measure."""
    for measure in MEASURES:
        groups = [group for group in alarms if group.measure == measure]
        if groups:
            n = max(group.begin.micrographs for group in groups if group.begin)
            since = reports.short_day(min(group.begin.since for group in groups if group.begin))
            text = _word(measure, n).format(since=since, where=_name(groups))
            yield measure, n, text


def _word(measure: str, n: int) -> str:
    if measure == "unusual":
        return ngettext(
            "micrograph since {since} is more unusual than those before ({where}). A lead "
            "compares etching, preparation and microscope, and acknowledges the alarm",
            "micrographs since {since} are more unusual than those before ({where}). A lead "
            "compares etching, preparation and microscope, and acknowledges the alarm",
            n,
        )
    return ngettext(
        "blind decision since {since} agrees less often with the model than those before "
        "({where}). A lead checks it, and acknowledges the alarm",
        "blind decisions since {since} agree less often with the model than those before "
        "({where}). A lead checks them, retrains if they are right, and acknowledges the alarm",
        n,
    )


def _name(groups: Sequence[Group]) -> str:
    words = {
        "lab": _("the whole lab"),
        "source": _("source {name}"),
        "furnace": _("furnace {name}"),
        "class": _("code {name}"),
    }
    names = [words[group.kind].format(name=group.name) for group in groups]
    more = len(names) - NAMED
    shown = names[:NAMED] + ([_("and {n} more").format(n=more)] if more > 0 else [])
    return ", ".join(shown)


LEAST_DRAWN = 2
"""Batches of a furnace that make a chart."""


def furnace_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    """Yield a line for each furnace whose batches are beyond their limits tonight."""
    for furnace in facts.charts.batch_charts:
        if furnace.alarm:
            yield VerdictLine(Tone.ATTENTION, "1", _describe_alarm(furnace), "#furnaces")


def furnace_trends(facts: NightFacts) -> Iterator[ControlTrend]:
    """Yield the individuals chart of each furnace, and its sums where there are limits."""
    for furnace in facts.charts.batch_charts:
        if furnace.batches < LEAST_DRAWN:
            continue
        tone = Tone.ATTENTION if furnace.alarm else Tone.CALM
        reach = LIMIT_SIGMA * furnace.sigma
        yield ControlTrend(
            title=_("Size number per batch, {furnace}").format(furnace=_batch_name(furnace)),
            text=_describe(furnace),
            tone=tone,
            points=tuple((point.batch, point.size) for point in furnace.points),
            usual=furnace.usual,
            low=furnace.usual - reach,
            high=furnace.usual + reach,
        )
        if furnace.sigma:
            yield ControlTrend(
                title=_("Cumulative deviation, {furnace}").format(furnace=_batch_name(furnace)),
                text=_("Below 0 is coarser than usual. Beyond a line the batches drift."),
                tone=tone,
                points=tuple((point.batch, point.cusum) for point in furnace.points),
                usual=0.0,
                low=-DECISION_SIGMA * furnace.sigma,
                high=DECISION_SIGMA * furnace.sigma,
            )


def _batch_name(chart: BatchChart) -> str:
    material = chart.material or _("unnamed material")
    return f"{material}, {chart.furnace}" if chart.furnace else material


def _describe(chart: BatchChart) -> str:
    if not chart.sigma:
        text = _("{n} of {of} batches that set the limits.")
        return text.format(n=chart.batches, of=BASELINE_BATCHES)
    usual = _("Usual: {usual}, by the first {n} batches.").format(
        usual=decimal(chart.usual, ".1f"), n=BASELINE_BATCHES
    )
    tonight = f"{_describe_alarm(chart)}." if chart.alarm else _("As usual.")
    return f"{tonight} {usual}"


def _describe_alarm(chart: BatchChart) -> str:
    last = chart.points[-1]
    is_coarser = last.cusum < 0 if chart.alarm == "cusum" else last.size < chart.usual
    text = {
        ("value", True): _("batch {batch} ({furnace}) is coarser than usual: size {size}, usual "
                           "{usual}"),
        ("value", False): _("batch {batch} ({furnace}) is finer than usual: size {size}, usual "
                            "{usual}"),
        ("cusum", True): _("batches drift coarser ({furnace}), the last is {batch}: size {size}, "
                           "usual {usual}"),
        ("cusum", False): _("batches drift finer ({furnace}), the last is {batch}: size {size}, "
                            "usual {usual}"),
    }[chart.alarm, is_coarser]  # fmt: skip
    return text.format(
        batch=last.batch,
        furnace=_batch_name(chart),
        size=decimal(last.size, ".1f"),
        usual=decimal(chart.usual, ".1f"),
    )
