"""Gather the control charts of a night: shares, control values and batch sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.nightly.facts.order_status import (
    iter_control_values,
)
from agent.nightly.facts.snapshot import NightCharts, parse_batches, parse_tallies
from agent.nightly.spc.batch_chart import BatchSize, average_batches, chart_batches
from agent.nightly.spc.individuals_chart import average_by_night, chart, is_ready
from agent.nightly.spc.p_chart import (
    CONTROL,
    Tally,
    Unit,
    compute_alarm_level,
    count_ready_charts,
    drifts,
    tally,
    trends,
)
from agent.site_time import night_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from agent.nightly.facts.snapshot import NightSettings
    from agent.store import MicrographView, Store


def gather_charts(
    store: Store, night: date, settings: NightSettings, reported: Sequence[MicrographView]
) -> NightCharts:
    """Gather the charts of a night from the nights reported before and its micrographs."""
    batch_sizes = average_batches(reported)
    tallies, earlier = tally(_units(reported)), _list_earlier(store, night)
    values = average_by_night(
        iter_control_values(store, settings.control),
        lambda at: night_of(at, settings.at, settings.zone),
        night,
    )
    level = compute_alarm_level(
        count_ready_charts(earlier, night, tallies)
        + sum(is_ready(series) for series in values.values())
    )
    return NightCharts(
        tallies=tallies,
        trends=trends(earlier, night, tallies, level),
        drifts=drifts(earlier, night, tallies),
        control_charts=tuple(chart(*key, series, night, level) for key, series in values.items()),
        batch_sizes=batch_sizes,
        batch_charts=chart_batches(_list_batches(store, night), night, batch_sizes),
    )


def _list_earlier(store: Store, night: date) -> list[tuple[date, tuple[Tally, ...]]]:
    return [
        (row.date, parse_tallies(row.head))
        for row in store.nightly_reports.list_all()
        if row.date < night
    ]


def _list_batches(store: Store, night: date) -> list[tuple[date, tuple[BatchSize, ...]]]:
    return [
        (row.date, parse_batches(row.head))
        for row in store.nightly_reports.list_all()
        if row.date < night
    ]


def _units(reported: Iterable[MicrographView]) -> Iterator[Unit]:
    for micrograph in reported:
        process_data, by_lot = micrograph.process_data, micrograph.result.reasons == CONTROL
        doubtful = (
            micrograph.is_flagged and not micrograph.result.strangeness.is_flagged and not by_lot
        )
        specimen = (
            f"{process_data.get('order', '')}\n{process_data['specimen']}"
            if process_data.get("specimen")
            else micrograph.id
        )
        code = micrograph.result.structure_code or ""
        yield Unit(
            specimen,
            process_data.get("material", ""),
            micrograph.result.bundle,
            micrograph.result.strangeness.is_flagged,
            doubtful,
            code,
        )
