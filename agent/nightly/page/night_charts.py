"""Gather what is watched over the nights: groups of specimens, control values, batch sizes."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.nightly.facts.order_status import iter_control_values
from agent.nightly.facts.snapshot import NightCharts, parse_batches, parse_groups
from agent.nightly.spc.batch_chart import BatchSize, average_batches, chart_batches
from agent.nightly.spc.change_alarm import (
    Group,
    list_open_alarms,
    list_reported,
    list_reviewed,
    watch_night,
)
from agent.nightly.spc.individuals_chart import (
    average_by_night,
    chart,
    compute_alarm_level,
    is_ready,
)
from agent.orders.judge.permissions import require_reason
from agent.site_time import night_of
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from agent.nightly.facts.snapshot import NightSettings
    from agent.store import MicrographView, Store

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
    groups = parse_groups(row.facts_json) if row else ()
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
        WrongUse: No such alarm is open, a later night was reported, or the reason is missing.
    """
    kept, (newest, alarms) = require_reason(reason), find_open_alarms(store)
    groups = [group for group in alarms if group.measure == measure]
    if night not in {None, str(newest)}:
        raise WrongUse(_("This alarm has changed since the page was opened. Reload the page."))
    if not groups:
        raise WrongUse(_("No alarm of this kind is open. The page Trends shows those that are."))
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
    return parse_groups(row.facts_json) if row else ()


def _list_batches(store: Store, night: date) -> list[tuple[date, tuple[BatchSize, ...]]]:
    return [
        (row.date, parse_batches(row.head))
        for row in store.nightly_reports.list_all()
        if row.date < night
    ]
