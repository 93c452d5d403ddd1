"""A week and a month are one page each, from the frozen reports of their nights alone."""

from __future__ import annotations

import dataclasses
import re
import shutil
from datetime import UTC, date, datetime, timedelta

import pytest
from labs.lab import DAY, RING_A, SETTINGS, TAXONOMY, Lab

from agent.nightly import missing_periods, parse_period, write_index, write_period, write_report
from agent.nightly.facts.snapshot import from_text
from agent.nightly.period_report import (
    count_codes,
    count_outcomes,
    list_periods,
    list_promotions,
    list_times_h,
    summarise_review,
)
from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy as Rules
from agent.store import Decision, NewStatement

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WEEK = parse_period("2026-W48")
WITH_ORDERS = dataclasses.replace(SETTINGS, lab=Rules(Specifications((RING_A,)), TAXONOMY))
AFTERWARDS = datetime(2026, 11, 30, 6, 0, tzinfo=UTC)


def state(lab, order, number, conformity, *, at, previous=""):
    final = conformity != "undecided"
    document = {"order": order, "number": number}
    new = NewStatement(order, number, previous, conformity, str(number), final, document)
    return lab.store.statements.add(new, at=at)


@pytest.fixture
def lab(tmp_path):
    """A week in which one order conforms after a day and one does not after three hours."""
    lab = Lab(tmp_path)
    lab.compares_places = False
    lab.store.agents.record_start(at=DAY - timedelta(days=1))
    for number in range(3):
        day = DAY + timedelta(days=number)
        for field in range(4):
            public_id = lab.take(
                "G8",
                at=day + timedelta(minutes=field),
                reasons=("uncertain",) if field < 2 else (),
                order=f"471{number}",
                specimen="1",
                field=str(field),
                material="100Cr6",
                batch=f"B{number % 2}",
            )
            if field == 0:
                decision = Decision("code", "Ada", code="G9-10")
                lab.store.labels.decide(public_id, decision, at=day + timedelta(hours=1))
    first = state(lab, "4710", 1, "undecided", at=DAY + timedelta(hours=2))
    state(lab, "4710", 2, "conforms", at=DAY + timedelta(days=1), previous=first)
    state(lab, "4711", 1, "does_not_conform", at=DAY + timedelta(days=1, hours=3))
    promoted_at = DAY + timedelta(days=2)
    lab.store.promotions.promote(
        "20261120-0badcafe", by="Leo", reason="better", at=promoted_at, metrics={}
    )
    yield lab
    lab.store.close()


def freeze(lab, settings=WITH_ORDERS, now=AFTERWARDS):
    for day in WEEK.nights():
        write_report(lab.store, lab.archive, lab.reports, day, settings, now=now)
    return [from_text(lab.store.nightly_reports.find(day).facts) for day in WEEK.nights()]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("2026-W48", date(2026, 11, 23), date(2026, 11, 29)),
        ("2026-W53", date(2026, 12, 28), date(2027, 1, 3)),
        ("2026-11", date(2026, 11, 1), date(2026, 11, 30)),
        ("2028-02", date(2028, 2, 1), date(2028, 2, 29)),
    ],
)
def test_a_period_has_its_first_and_last_night(name, first, last):
    period = parse_period(name)

    assert (period.first, period.last) == (first, last)
    assert period in list_periods(last)


def test_there_is_no_period_of_another_name():
    for name in ("2025-W53", "2026-W00", "2026-13", "2026", "2026-W4", "x"):
        assert parse_period(name) is None, name


def test_a_week_counts_orders_codes_reviews_and_times(lab):
    nights = freeze(lab)

    assert count_outcomes(nights) == {"conforms": 1, "does_not_conform": 1}
    assert list_times_h(nights) == [(3.0, "4711"), (24.0, "4710")]
    review = summarise_review(nights)
    assert (review.waited, review.flagged, review.waiting, review.decided) == (0, 6, 3, 3)
    assert count_codes(nights) == {
        ("100Cr6", "B0"): {"G8": 6, "G9-10": 2},
        ("100Cr6", "B1"): {"G8": 3, "G9-10": 1},
    }
    assert list_promotions(nights) == [(date(2026, 11, 26), "", "20261120-0badcafe")]


def test_the_page_of_a_week_says_what_it_counts_and_links_its_nights(lab):
    freeze(lab)

    page = write_period(lab.store, lab.reports, WEEK, WITH_ORDERS, now=AFTERWARDS).read_text(
        "utf-8"
    )

    assert "Week 48, 2026" in page
    assert "12, flagged 6 (50 %)" in page
    assert "3 of 6 (50 %), 3 wait" in page
    assert "median 13.5 h, worst 24.0 h (order 4710), 2 orders" in page
    assert "bundle 20261120-0badcafe is in use, before none yet" in page
    assert 'href="2026-11-24.html"' in page
    assert "have no report" not in page


def test_a_week_is_the_same_whatever_happened_after_its_nights(lab):
    freeze(lab)
    first = write_period(lab.store, lab.reports, WEEK, WITH_ORDERS, now=AFTERWARDS).read_bytes()
    for view in lab.store.review_queue.list_micrographs():
        lab.store.labels.decide(view.id, Decision("code", "Ann", code="G7"), at=AFTERWARDS)

    second = write_period(lab.store, lab.reports, WEEK, WITH_ORDERS, now=AFTERWARDS).read_bytes()

    assert first == second


def test_a_week_is_missing_once_its_last_night_is_frozen_and_then_stands_in_the_index(lab):
    write_report(lab.store, lab.archive, lab.reports, DAY.date(), WITH_ORDERS, now=AFTERWARDS)
    assert missing_periods(lab.store, lab.reports, WITH_ORDERS, now=AFTERWARDS) == []
    freeze(lab)

    assert missing_periods(lab.store, lab.reports, WITH_ORDERS, now=AFTERWARDS) == [WEEK]
    write_period(lab.store, lab.reports, WEEK, WITH_ORDERS, now=AFTERWARDS)
    assert missing_periods(lab.store, lab.reports, WITH_ORDERS, now=AFTERWARDS) == []
    index = write_index(lab.store, lab.reports, WITH_ORDERS, now=AFTERWARDS).read_text("utf-8")
    assert '<a href="2026-W48.html">Week 48, 2026</a>' in index


def test_a_month_of_which_some_nights_have_no_report_says_so(lab):
    freeze(lab)
    month = parse_period("2026-11")

    page = write_period(lab.store, lab.reports, month, WITH_ORDERS, now=AFTERWARDS)

    assert "23 nights of the period have no report." in page.read_text("utf-8")
    assert "November 2026" in page.read_text("utf-8")


def test_a_period_without_a_report_has_no_page(lab):
    period = parse_period("2026-W40")

    assert write_period(lab.store, lab.reports, period, WITH_ORDERS, now=AFTERWARDS) is None


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "de"])
def test_a_week_prints_on_one_page(lab, tmp_path, language):
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    settings = dataclasses.replace(WITH_ORDERS, language=language)
    freeze(lab, settings)
    path = write_period(lab.store, lab.reports, WEEK, settings, now=AFTERWARDS)

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(path.as_uri())
        tab.pdf(path=tmp_path / "week.pdf", prefer_css_page_size=True)
        browser.close()

    assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "week.pdf").read_bytes())) == 1
