"""The report says first which orders and instruments need a person, and what changed."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from labs.lab import DAY, RING_A, SETTINGS, TAXONOMY, minutes

from agent.nightly import write_report
from agent.nightly.facts.control_charts import BASELINE_NIGHTS, average_by_night, chart
from agent.nightly.facts.order_status import ControlMeasurement
from agent.nightly.facts.snapshot import from_text
from agent.orders import Specifications
from agent.orders.instruments.instrument_checks import CONTROL
from agent.orders.judge.assessed import OrderPolicy
from agent.store import Decision
from reports import ControlTrend, Tone
from reports.charts import control_chart

NIGHT = date(2026, 11, 24)
AFTERWARDS = datetime(2026, 11, 25, 6, 0, tzinfo=UTC)
WITH_ORDERS = dataclasses.replace(SETTINGS, lab=OrderPolicy(Specifications((RING_A,)), TAXONOMY))


def write(lab, settings=WITH_ORDERS, *, night=NIGHT, now=AFTERWARDS):
    written = write_report(lab.store, lab.archive, lab.reports, night, settings, now=now)
    return written.path.read_text("utf-8"), from_text(lab.store.nightly_reports.find(night).facts)


def field_of(lab, order, code="G8", **given):
    return lab.take(code, order=order, specimen="1", field="1", material="100Cr6", **given)


def confirm(lab, public_id, code, at=DAY):
    lab.store.labels.decide(public_id, Decision("code", "Ada", code=code), at=at)


# --- orders -------------------------------------------------------------------------------------


def test_an_order_that_does_not_conform_stands_before_everything_else(lab):
    confirm(lab, field_of(lab, "4712"), "G8")
    confirm(lab, field_of(lab, "4711"), "G7")

    page, facts = write(lab)

    assert [(order.number, order.conformity) for order in facts.orders] == [
        ("4711", "does_not_conform")
    ]
    assert facts.summary.tone == "problem"
    assert facts.summary.headline == "1 order open (1 does not conform)"
    assert re.search(r"<b>1</b><span>order conforms</span>", page)
    assert "field 1 is G7, confirmed by Ada: 8 or finer is demanded" in page
    assert 'href="http://127.0.0.1:8787/order/4711"' in page
    assert page.index('id="orders"') < page.index('id="unusable"')
    assert "4712" not in page[: page.index('id="unusable"')]


def test_orders_that_do_not_conform_come_first_then_the_oldest(lab):
    field_of(lab, "1", at=minutes(1), reasons=("uncertain",))
    field_of(lab, "2", at=minutes(2), reasons=("uncertain",))
    confirm(lab, field_of(lab, "3", at=minutes(3)), "G7")

    _, facts = write(lab)

    assert [order.number for order in facts.orders] == ["3", "1", "2"]
    assert [order.waits_since for order in facts.orders] == [None, minutes(1), minutes(2)]


def test_an_order_that_only_waits_for_what_is_to_come_needs_nobody(lab):
    two = dataclasses.replace(WITH_ORDERS, lab=_with(fields=2))
    confirm(lab, field_of(lab, "4711"), "G8")

    page, facts = write(lab, two)

    assert facts.summary.headline == "Nothing to review: 1 micrograph, all settled"
    assert not any(order.needs_a_person for order in facts.orders)
    assert "1 of 2 fields" in page


def test_an_order_that_the_model_sees_out_of_its_limit_is_called_probably_out(lab):
    field_of(lab, "4711", "G7")
    field_of(lab, "4712", at=minutes(1))

    page, facts = write(lab)

    assert [(order.number, order.next_step) for order in facts.orders] == [
        ("4711", "probably_out"),
        ("4712", "to_confirm"),
    ]
    assert facts.summary.headline == "2 orders open (1 probably out of specification)"
    assert '<b>1</b><span><a href="#orders">order probably out of specification</a>' in page
    assert '<b>1</b><span><a href="#orders">order to confirm</a>' in page


def test_an_order_with_a_field_for_a_reviewer_is_to_confirm_though_images_are_missing(lab):
    two = dataclasses.replace(WITH_ORDERS, lab=_with(fields=2))
    field_of(lab, "4711", reasons=("uncertain",))
    field_of(lab, "4712", at=minutes(1))

    _, facts = write(lab, two)

    assert [(order.number, order.next_step) for order in facts.orders] == [
        ("4711", "to_confirm"),
        ("4712", "waiting_for_images"),  # confirmed once the second field is there
    ]


def test_an_order_whose_results_a_failed_check_holds_is_held(lab):
    held = dataclasses.replace(
        WITH_ORDERS, lab=dataclasses.replace(WITH_ORDERS.lab, held=lambda _view: "check failed")
    )
    confirm(lab, field_of(lab, "4711"), "G8")

    page, facts = write(lab, held)

    assert [order.next_step for order in facts.orders] == ["held"]
    assert "order held by a failed instrument check" in page


def test_an_urgent_order_is_named_in_the_verdict(lab):
    field_of(lab, "4711")
    field_of(lab, "4712", at=minutes(1))
    lab.store.order_corrections.set_urgent("4712", urgent=True, by="Leo", at=DAY)

    page, facts = write(lab)

    assert [order.number for order in facts.orders] == ["4712", "4711"]
    assert facts.summary.headline == "2 orders open (1 urgent)"
    assert "orders to confirm (urgent: 4712)" in page


def test_what_holds_for_nearly_every_order_is_said_once(lab):
    for n in range(4):
        field_of(lab, f"471{n}", at=minutes(n))

    page, _ = write(lab)

    assert page.count("automatic conformity is off for 100Cr6") == 1
    assert (
        "4 orders rest on the model alone in part, and automatic conformity is off for 100Cr6."
        in page
    )
    assert page.count("rests on the model alone, as named above") == 4  # no row is without a reason


def test_what_holds_for_two_orders_is_said_of_each(lab):
    for n in range(2):
        field_of(lab, f"471{n}", at=minutes(n))

    page, _ = write(lab)

    assert page.count("rests on the model alone, and automatic conformity is off") == 2


def _with(**given):
    return OrderPolicy(Specifications((RING_A.model_copy(update=given),)), TAXONOMY)


def test_limits_that_cannot_be_used_are_said_and_the_report_is_written(lab):
    lab.take("G8")
    broken = dataclasses.replace(SETTINGS, lab_fault="specifications.toml: not valid TOML")

    page, _ = write(lab, broken)

    assert "orders cannot be assessed: specifications.toml: not valid TOML" in page


def test_what_changed_since_the_last_report_is_said(lab):
    confirm(lab, field_of(lab, "4711"), "G7")
    field_of(lab, "4712", reasons=("uncertain",))
    write(lab)
    later = DAY + timedelta(days=1)
    confirm(lab, lab.store.orders.order("4712").specimens[0].preparations[0].fields[0].view.id,
            "G8", at=later)  # fmt: skip
    confirm(lab, field_of(lab, "4713", at=later), "G7", at=later)

    page, facts = write(lab, night=date(2026, 11, 25), now=later + timedelta(days=1))

    assert (facts.before.broken, facts.before.settled) == (("4713",), ("4712",))
    assert "Orders that do not conform since then: 4713." in page
    assert "Orders that are settled since then: 4712." in page
    assert (
        "1 micrograph processed, 0 of them to review; previous report (24 Nov): 2 micrographs, "
        "1 of them to review." in page
    )


def test_what_waits_from_an_earlier_night_is_not_forgotten(lab):
    lab.take("G8", at=DAY - timedelta(days=3), reasons=("uncertain",))
    lab.take("G8")

    page, facts = write(lab)

    assert (facts.waits_before, facts.summary.tone) == (1, "attention")
    assert facts.summary.headline == (
        "Nothing new to review; 1 micrograph of an earlier night waits"
    )
    assert "micrograph of an earlier night waits, since 21 Nov" in page


# --- instruments --------------------------------------------------------------------------------


def check(lab, at, *, passed=True, findings=()):
    facts = {"passed": passed, "sources": ["LOM-07"], "software": "1", "findings": list(findings)}
    lab.store.records.add(CONTROL, "PC", by="agent", at=at, facts=facts)


@pytest.mark.parametrize(
    ("hours", "passed", "said", "tone"),
    [
        (20, True, "good, 24 Nov", "calm"),
        (20, False, "failed: ring.tif: no scale was read", "problem"),
        (40, True, "overdue, the last check was 23 Nov", "attention"),
    ],
)
def test_a_check_of_an_instrument_is_done_failed_or_overdue(lab, hours, passed, said, tone):
    lab.take("G8")
    at = datetime(2026, 11, 24, 22, 30, tzinfo=UTC) - timedelta(hours=hours)
    check(lab, at, passed=passed, findings=[["ring.tif", "no scale was read", passed]])

    page, facts = write(lab)

    assert said in re.sub(r"\s+", " ", page[page.index('id="instruments"') :])
    assert [instrument.source for instrument in facts.instruments] == ["LOM-07"]
    row = page[page.index('id="instruments"') :].split("</section>")[0]
    assert f"tone-{tone}" in row


def test_a_source_that_was_never_checked_says_so(lab):
    lab.take("G8", reasons=("scale_unknown",))

    page, _ = write(lab)

    assert "not checked yet: new source" in page
    assert "unreliable for 1 micrograph" in page


# --- the control specimen over the nights -------------------------------------------------------


def nights(values):
    return [(date(2026, 1, 1) + timedelta(days=n), float(v)) for n, v in enumerate(values)]


def test_a_control_specimen_is_one_value_a_night():
    at = datetime(2026, 1, 1, 9, tzinfo=UTC)
    values = [
        ControlMeasurement("A", at, 100.0, None),
        ControlMeasurement("A", at + timedelta(hours=1), 110.0, 0.2),
        ControlMeasurement("A", at + timedelta(days=9), 1.0, 1.0),
    ]

    found = average_by_night(values, lambda when: when.date(), date(2026, 1, 3))

    assert found == {
        ("A", "brightness"): [(date(2026, 1, 1), 105.0)],
        ("A", "focus"): [(date(2026, 1, 1), 0.2)],
    }


def test_nothing_is_held_against_a_baseline_that_is_not_whole():
    series = nights([100] * BASELINE_NIGHTS)

    assert chart("A", "focus", series, series[-1][0], 0.01).points == ()


def test_a_dimmed_lamp_alarms_tonight_and_not_on_a_night_without_a_control_specimen():
    rng = np.random.default_rng(0)
    series = nights([*rng.normal(100, 1, 40), 90])
    night = series[-1][0]

    assert chart("A", "brightness", series, night, 0.001).alarm == "value"
    assert chart("A", "brightness", series, night + timedelta(days=1), 0.001).alarm == ""


def test_control_charts_keep_their_share_of_false_alarms():
    rng, alarms, level = np.random.default_rng(1), 0, 0.005
    for _lab in range(40):
        series = nights(rng.normal(100, 2, BASELINE_NIGHTS + 60))
        for end in range(BASELINE_NIGHTS + 1, len(series) + 1):
            alarms += chart("A", "b", series[:end], series[end - 1][0], level).alarm != ""

    # 40 labs of 60 nights: with 2 rules at 0.005 each at most 24 are to be expected.
    assert alarms <= 36


def test_the_limits_are_a_quantile_of_student_away_with_the_freedom_of_a_mean_moving_range():
    series = nights([100.0, 101.128] * 13)  # 25 nights: the mean moving range is 1.128, sigma 1

    found = chart("A", "b", series, series[-1][0], 0.002)

    # Tables: the quantile 0.999 of Student's t at 14.88 degrees of freedom is 3.739.
    usual = (13 * 100 + 12 * 101.128) / 25
    assert found.high == pytest.approx(usual + 3.739 * (1 + 1 / 25) ** 0.5, abs=2e-3)
    assert found.low == pytest.approx(2 * usual - found.high)


def test_a_control_chart_shows_what_lies_beyond():
    points = tuple((str(n), value) for n, value in enumerate((100.0, 101.0, 120.0)))
    trend = ControlTrend("t", "x", Tone.CALM, points, 100.0, 95.0, 105.0)

    assert "limits" in control_chart(trend)
    assert control_chart(dataclasses.replace(trend, points=())) == ""
