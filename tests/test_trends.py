"""A trend alarms when something changed, and hardly ever when nothing did."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from lab import SETTINGS

from agent.night import write_report
from agent.night.facts import from_text, gather, tallies_of
from agent.night.trends import (
    BASELINE_NIGHTS,
    Point,
    Tally,
    Unit,
    chance_of_run,
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
def test_a_limit_is_exceeded_no_more_often_than_it_promises(bad, more, n, level):
    usual_n = bad + more
    most = limit(bad, usual_n, n, level)

    assert 0 <= most <= n
    assert limit(bad, usual_n, n, level / 10) >= most
    assert limit(bad + 1, usual_n, n, level) >= most


def test_an_exact_limit_agrees_with_a_count_by_hand():
    # Jeffreys' prior and 0 of 100: the chance of 1 of 1 is 0.5 / 101, just below one in 200.
    assert limit(0, 100, 1, 0.0050) == 0
    assert limit(0, 100, 1, 0.0049) == 1


@given(st.integers(0, 10), st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_a_longer_run_is_never_more_likely(bad, sizes):
    run = [Point(FIRST, n, n, 0) for n in sizes]

    assert chance_of_run(bad, 100, run) <= chance_of_run(bad, 100, run[1:]) + 1e-12


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

    (head,) = lab.store.nights()
    (counted,) = tallies_of(head.head)
    assert (counted.specimens, counted.strange) == (2, 1)
    assert "1 of 25 nights" in written.path.read_text("utf-8")
    assert [(one.measure, one.nights) for one in later.trends] == [("strange", 2), ("doubtful", 2)]


def test_facts_of_before_there_were_trends_are_still_read(lab):
    day = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    facts = gather(lab.store, day.date(), SETTINGS, now=day + timedelta(days=1))
    import json  # noqa: PLC0415 - only here

    from agent.night.facts import to_text  # noqa: PLC0415

    old = json.loads(to_text(facts))
    for key in ("tallies", "trends", "agreement"):
        del old[key]

    assert from_text(json.dumps(old)).trends == ()
    assert tallies_of(json.dumps(old)) == ()
