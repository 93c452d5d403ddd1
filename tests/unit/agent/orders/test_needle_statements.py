"""A statement keeps the needle lengths of its day; they make no new statement by themselves."""

from __future__ import annotations

from dataclasses import replace

from drawn.needle_samples import measured
from labs.lab import DAY, RING_A
from labs.statements import RULES, freeze, label, newest, stated, take

import reports
from agent.orders import Specifications
from agent.orders.statements.customer_report import find_statement, render_customer_report
from agent.orders.statements.statement_page import build_statement_page

SHOWN = replace(RULES, has_needles=True)
LIMITED = RING_A.model_copy(update={"needle_limit": "L90 <= 100 µm"})
DEMANDED = replace(RULES, specifications=Specifications((LIMITED,)))


def fill(lab):
    for number in range(5):
        label(lab, take(lab, str(number + 1), needles=measured(number)))


def read_sections(lab):
    document = newest(lab)
    with reports.speaking("en"):
        page = build_statement_page(document, "ab" * 32, lambda _field: None)
    return {section.title: section.lines for section in page.sections}


def test_a_statement_holds_the_lengths_and_names_the_trial(lab):
    fill(lab)

    freeze(lab, rules=SHOWN)

    lines = read_sections(lab)["Needle lengths"]
    needles = newest(lab)["document"]["needles"]
    assert needles["fields_measured"] == 5
    assert f"L90 {needles['l90']['value_um']:.1f} µm" in lines[0]
    assert "(trial, not calibrated here)" in lines[0]
    assert "5 Gesichtsfelder gemessen" in newest(lab)["words"]["de"]["needles"][0]


def test_needles_that_are_switched_on_later_make_no_new_statement(lab):
    fill(lab)
    freeze(lab)

    freeze(lab, rules=SHOWN)

    assert stated(lab) == ["conforms"]
    assert newest(lab)["document"]["needles"] is None
    assert "Needle lengths" not in read_sections(lab)


def test_a_customer_reads_them_only_where_the_specification_limits_them(lab):
    fill(lab)
    freeze(lab, rules=SHOWN, at=DAY)
    shown = read_customer(lab)

    lab.store.labels.undo(next(lab.store.results.iter_all()).id, by="Ada", at=DAY)
    freeze(lab, rules=DEMANDED, at=DAY)

    assert "Needle lengths" not in shown
    assert "Needle lengths" in read_customer(lab)
    assert "trial, not calibrated here" in read_customer(lab)


def read_customer(lab):
    made = render_customer_report(
        lab.store, lab.archive, find_statement(lab.store, "4711"), language="en"
    )
    return made["html"].decode()
