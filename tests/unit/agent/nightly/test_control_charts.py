"""Coarsening of a furnace is seen before an order fails, and few furnaces are accused wrongly."""

from __future__ import annotations

import dataclasses
import random
from datetime import UTC, date, datetime, timedelta

import pytest
from labs.lab import DAY, SETTINGS

from agent.nightly import write_report
from agent.nightly.facts.control_charts import (
    BASELINE_BATCHES,
    BatchSize,
    average_batches,
    chart_batches,
)
from agent.nightly.facts.snapshot import from_text
from agent.store import Decision

FIRST = date(2026, 9, 1)


def nights(sizes, furnace="F1"):
    """Return a night per batch, with its mean size."""
    return [
        (FIRST + timedelta(days=n), (BatchSize("100Cr6", furnace, f"B{n}", 10, size),))
        for n, size in enumerate(sizes)
    ]


def chart(sizes):
    *earlier, (night, tonight) = nights(sizes)
    (found,) = chart_batches(earlier, night, tonight)
    return found


USUAL = [8.0, 8.2, 7.9, 8.1, 8.0] * 4


def test_the_first_batches_are_shown_without_limits():
    found = chart(USUAL[:3])

    assert [point.size for point in found.points] == [8.0, 8.2, 7.9]
    assert (found.sigma, found.alarm) == (0.0, "")


def test_a_coarse_batch_alarms_alone_and_a_slow_coarsening_by_its_sum():
    assert chart([*USUAL, 7.0]).alarm == "value"
    drifting = chart([*USUAL, *[7.75] * 8])
    assert drifting.alarm == "cusum"
    assert drifting.points[-1].cusum < 0
    assert chart([*USUAL, *[7.75] * 3]).alarm == ""


def test_a_furnace_without_change_rarely_alarms():
    rng = random.Random(3)
    alarms = 0
    for _ in range(100):
        sizes = [rng.gauss(8, 0.5) for _ in range(BASELINE_BATCHES + 20)]
        alarms += bool(chart(sizes).alarm)

    assert alarms <= 15  # at one of a furnace's batches, so short a baseline included


def test_a_batch_of_two_nights_is_one_point_of_all_its_fields():
    earlier = [(FIRST, (BatchSize("100Cr6", "F1", "B1", 1, 9.0),))]
    tonight = (BatchSize("100Cr6", "F1", "B1", 3, 7.0),)

    (found,) = chart_batches(earlier, FIRST + timedelta(days=1), tonight)

    assert [(point.batch, point.size) for point in found.points] == [("B1", 7.5)]


def test_furnaces_and_materials_are_apart():
    tonight = (BatchSize("100Cr6", "F1", "B1", 1, 8.0), BatchSize("100Cr6", "F2", "B2", 1, 6.0))

    found = chart_batches([], FIRST, tonight)

    assert [(one.furnace, one.points[0].size) for one in found] == [("F1", 8.0), ("F2", 6.0)]


def test_a_reviewers_code_counts_before_the_models(lab):
    view = lab.store.results.find(lab.take("G9-10", batch="B1", material="100Cr6"))
    lab.store.labels.decide(view.id, Decision("code", "Ann", code="G7"), at=DAY)
    decided = lab.store.results.find(view.id)

    assert [batch.size for batch in average_batches([view])] == [9.5]
    assert [batch.size for batch in average_batches([view, decided])] == [8.25]
    strange = dataclasses.replace(decided.label, kind="strange", code=None)
    assert average_batches([dataclasses.replace(view, label=strange)]) == ()


@pytest.fixture
def drifted(lab):
    """A furnace whose 21st batch is coarse."""
    lab.compares_places = False
    for number in range(BASELINE_BATCHES + 1):
        at = DAY - timedelta(days=BASELINE_BATCHES - number)
        code = "G7" if number == BASELINE_BATCHES else "G8"
        lab.take(code, at=at, batch=f"B{number}", material="100Cr6")
    lab.store.agents.record_start(at=DAY - timedelta(days=BASELINE_BATCHES, hours=1))
    return lab


def test_a_batch_that_is_coarser_than_usual_stands_on_the_first_screen(drifted):
    now = datetime(2026, 11, 25, 6, 0, tzinfo=UTC)

    written = write_report(
        drifted.store, drifted.archive, drifted.reports, DAY.date(), SETTINGS, now=now
    )

    page = written.path.read_text("utf-8")
    said = "batch B20 (100Cr6) is coarser than usual: size 7.0, usual 8.0"
    assert said in page[: page.index('class="jump')]
    assert 'id="furnaces"' in page
    assert written.summary.tone == "attention"
    facts = from_text(drifted.store.nightly_reports.find(DAY.date()).facts)
    assert [chart.alarm for chart in facts.charts.batch_charts] == ["value"]
