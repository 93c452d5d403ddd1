"""A trend alarms when something changed, and hardly ever when nothing did."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labs.lab import SETTINGS

from agent.nightly import write_report
from agent.nightly.facts.collect import gather
from agent.nightly.facts.snapshot import parse_tallies
from agent.nightly.page.layout import lay_out
from agent.nightly.spc.baseline import fit_baseline
from agent.nightly.spc.p_chart import (
    BASELINE_NIGHTS,
    Tally,
    Unit,
    limit,
    tally,
    trends,
)

FIRST = date(2026, 1, 1)


def nights(counts, *, bundle="b", material="100Cr6"):
    """Make a history of nights: (specimens, strange) each."""
    return [
        (FIRST + timedelta(days=number), (Tally(material, bundle, n, strange, 0),))
        for number, (n, strange) in enumerate(counts)
    ]


def strange(history, tonight):
    (night, tallies) = nights([*((0, 0) for _ in history), tonight])[-1]
    return next(t for t in trends(history, night, tallies) if t.measure == "strange")


# --- counting -----------------------------------------------------------------------------------


def test_a_specimen_is_counted_once_however_many_fields_are_strange():
    units = [
        Unit(*one)
        for one in (
            ("1", "100Cr6", "b", True, False),
            ("1", "100Cr6", "b", True, False),
            ("1", "100Cr6", "b", False, True),
            ("2", "100Cr6", "b", False, False),
            ("3", "C56E2", "b", False, False),
            ("4", "C56E2", "", True, True),  # no bundle judged it
        )
    ]

    assert tally(units) == (
        Tally("100Cr6", "b", 2, 1, 1, (("", 2),)),
        Tally("C56E2", "b", 1, 0, 0, (("", 1),)),
    )


# --- the baseline -------------------------------------------------------------------------------


def test_nothing_is_drawn_before_it_is_known_what_is_usual():
    found = strange(nights([(8, 0)] * (BASELINE_NIGHTS - 1)), (8, 8))

    assert (found.points, found.alarm, found.nights) == ((), "", BASELINE_NIGHTS)


def test_the_baseline_stays_and_the_nights_after_it_do_not_change_it():
    usual = nights([(8, 0)] * 20 + [(8, 1)] * 5)

    for later in ([], [(8, 2)] * 30):
        found = strange([*usual, *nights([(8, 0)] * 25 + later)[25:]], (8, 1))
        assert (found.usual_bad, found.usual_n) == (5, 200)


def test_a_few_specimens_make_no_baseline_however_many_nights():
    assert strange(nights([(1, 0)] * 40), (1, 1)).usual_n == 0


def test_another_bundle_begins_anew():
    found = strange(nights([(8, 0)] * 60, bundle="old"), (8, 4))

    assert (found.nights, found.alarm) == (1, "")


# --- the alarms ---------------------------------------------------------------------------------


def test_a_night_far_above_the_usual_is_an_alarm():
    found = strange(nights([(8, 0)] * 20 + [(8, 1)] * 10), (8, 5))

    assert found.alarm == "night"
    assert found.points[-1].bad > found.points[-1].limit


def test_a_long_run_above_the_usual_is_an_alarm_though_no_night_is():
    usual = [(10, 1)] * BASELINE_NIGHTS

    found = strange(nights(usual + [(10, 2)] * 25), (10, 2))

    assert found.alarm == "run"
    assert found.run == 26
    assert strange(nights(usual + [(10, 2)] * 2), (10, 2)).alarm == ""


@given(st.integers(0, 20), st.integers(50, 400), st.integers(1, 30), st.floats(1e-4, 0.05))
@settings(max_examples=30)
def test_a_limit_is_exceeded_no_more_often_than_it_promises(bad, more, n, level):
    usual, worse = (fit_baseline(((one, bad + more),)) for one in (bad, bad + 1))
    most = limit(usual, n, level)

    assert 0 <= most <= n
    assert usual.chances(n)[most + 1 :].sum() < level
    assert usual.chances(n).sum() == pytest.approx(1.0)
    assert limit(usual, n, level / 10) >= most
    assert limit(worse, n, level) >= most


def test_where_nights_cannot_differ_a_limit_agrees_with_a_count_by_hand():
    # Jeffreys' prior and 0 of 100: the chance of 1 of 1 is 0.5 / 101, just below one in 200.
    usual = fit_baseline(((0, 100),), spreads=(0.0,))

    assert limit(usual, 1, 0.0050) == 0
    assert limit(usual, 1, 0.0049) == 1
    # Beta-binomial: of 2, both bad with a chance of 0.5 * 1.5 / (101 * 102).
    assert usual.chances(2)[2] == pytest.approx(0.75 / (101 * 102), rel=1e-3)


@given(st.integers(0, 10), st.lists(st.integers(1, 12), min_size=1, max_size=8))
@settings(max_examples=30)
def test_a_longer_run_is_never_more_likely(bad, sizes):
    usual, run = fit_baseline(((bad, 100),)), [(0, n) for n in sizes]

    assert usual.chance_of_run(run) <= usual.chance_of_run(run[1:]) + 1e-12


# --- nights that differ -------------------------------------------------------------------------


def test_a_lab_whose_nights_differ_has_wider_limits_than_one_whose_nights_are_alike():
    alike, different = ((2, 20),) * 25, ((0, 20),) * 15 + ((5, 20),) * 10

    even, uneven = fit_baseline(alike), fit_baseline(different)

    assert even.spread < 0.5
    assert uneven.spread > 1.0
    assert limit(even, 20, 0.0005) < limit(uneven, 20, 0.0005)


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_nights_that_differ_as_they_always_did_raise_hardly_an_alarm(spread):
    """Eight labs of 100 nights without a change: at most 1 % of 592 settled nights alarm."""
    alarms = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        share = np.minimum(0.9, 0.12 * np.exp(rng.normal(0, spread, 100)))
        history = nights([(8, int(rng.binomial(8, one))) for one in share])
        for number in range(26, 100):
            night, tallies = history[number]
            alarms += any(trend.alarm for trend in trends(history[:number], night, tallies))

    assert alarms <= 5


def test_a_share_that_grows_four_times_is_noticed_within_a_week_where_nights_are_alike():
    usual = [(10, 1)] * BASELINE_NIGHTS

    assert any(strange(nights(usual + [(10, 4)] * n), (10, 4)).alarm for n in range(7))


# --- in the report ------------------------------------------------------------------------------


def test_a_report_counts_its_specimens_and_a_later_one_finds_the_count(lab):
    day = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    for number in range(4):
        reasons = ("strange",) if number == 0 else ()
        process = {"order": "1", "specimen": str(number // 2), "material": "100Cr6"}
        lab.take(at=day, reasons=reasons, **process)
    lab.take(at=day + timedelta(days=1), material="100Cr6")

    written = write_report(
        lab.store, lab.archive, lab.reports, day.date(), SETTINGS, now=day + timedelta(days=1)
    )
    later = gather(lab.store, day.date() + timedelta(days=1), SETTINGS, now=day + timedelta(days=2))

    (head,) = lab.store.nightly_reports.list_all()
    (counted,) = parse_tallies(head.head)
    assert (counted.specimens, counted.strange) == (2, 1)
    assert "1 of 25 nights" in written.path.read_text("utf-8")
    assert [(trend.measure, trend.nights) for trend in later.charts.trends] == [
        ("strange", 2),
        ("doubtful", 2),
    ]


def test_a_chart_says_how_its_limits_were_computed(lab):
    now = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    facts = gather(lab.store, now.date(), SETTINGS, now=now)
    drawn, gathered = strange(nights([(8, 1)] * 26), (8, 1)), strange(nights([(8, 1)]), (8, 1))

    charts = replace(facts.charts, trends=(drawn, gathered))
    laid = lay_out(replace(facts, charts=charts), lab.archive, revision=1, generated=now)

    said, waiting = (trend.text for trend in laid.night.trends)
    assert f"nights that differ (log rate: standard deviation {drawn.spread:.2f}" in said
    assert "Limits" not in waiting
