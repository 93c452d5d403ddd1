"""An order's page shows its needle lengths by field and together, marked as a trial."""

from dataclasses import replace

import pytest
from drawn.needle_samples import measured, not_measured
from fastapi.testclient import TestClient
from labs.lab import HOME, RING_A, TAXONOMY, web_of

from agent.needles import SizeRule, find_size_conflict
from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.store import NEEDLES_MESSAGE
from agent.web import create_app


def open_page(lab, wanted=RING_A, *, has_needles=True):
    policy = OrderPolicy(Specifications((wanted,)), TAXONOMY, has_needles=has_needles)
    web = replace(web_of(lab), lab=lambda: policy)
    with TestClient(create_app(web), base_url=HOME) as client:
        return client.get("/order/4711").text


def fill(lab, *needles, **given):
    for number, own in enumerate(needles, start=1):
        told = {"order": "4711", "specimen": "01", "field": str(number), "material": "100Cr6"}
        lab.take("G8", needles=own, **told, **given)


def test_fields_are_next_to_each_other_with_the_limit_and_all_together(lab):
    fields = [measured(seed) for seed in range(5)]
    fill(lab, *fields, not_measured("evidence_disagrees"))

    page = open_page(lab, RING_A.model_copy(update={"needle_limit": "L90 <= 25 µm"}))

    assert "Needle lengths" in page
    assert page.count("trial, not calibrated here") >= 2
    assert f"{fields[0].l90_um:.1f}" in page
    assert "an intercept of 2 µm corresponds to an L50 of 5.7 µm" in page
    assert ">together</th>" in page
    assert 'class="chart needles"' in page
    assert "25 µm" in page


def test_a_field_that_is_decided_without_the_answer_hides_its_lengths(lab):
    fill(lab, measured(1), reasons=("control_sample",))

    page = open_page(lab)

    assert "not measured: hidden until you decide" in page
    assert f"{measured(1).l90_um:.1f}" not in page


@pytest.mark.parametrize(
    ("demanded", "words"),
    [
        ({"needle_limit": "L90 <= 5 µm"}, "L90 of the needles at most 5 µm"),
        ({"longest_in_mm2": "100 mm²: 5 µm"}, "longest needle in 100 mm² at most 5 µm"),
    ],
)
def test_what_a_limit_leaves_open_names_no_length_while_a_field_hides_its_own(lab, demanded, words):
    fill(lab, *[measured(seed) for seed in range(19)])
    told = {"order": "4711", "specimen": "01", "field": "20", "material": "100Cr6"}
    lab.take("G8", needles=measured(19), reasons=("control_sample",), **told)

    page = open_page(lab, RING_A.model_copy(update=demanded))

    assert f"{words}: hidden until you decide" in page
    assert f"{words}: it is" not in page
    assert "is to be expected" not in page


@pytest.mark.parametrize(
    ("reasons", "is_shown"),
    [(("needles_disagree",), True), (("control_sample", "needles_disagree"), False)],
)
def test_the_review_page_names_size_and_length_only_where_the_answer_is_shown(
    lab, reasons, is_shown
):
    needles = replace(measured(1), l90_um=31.0)
    conflict = find_size_conflict(needles, "G8", TAXONOMY, SizeRule())
    public_id = lab.take(
        "G8", needles=needles, reasons=reasons, expected={NEEDLES_MESSAGE: conflict.to_json()}
    )

    with TestClient(create_app(web_of(lab)), base_url=HOME) as client:
        page = client.get(f"/review/{public_id}").text

    assert "Size number and needle lengths disagree" in page
    assert (
        "Size 8, but L90 = 31 µm, not calibrated here (expected 7 to 28 µm)" in page
    ) is is_shown


@pytest.mark.parametrize("needles", [measured(1), None])
def test_where_the_lab_does_not_want_them_there_are_none(lab, needles):
    fill(lab, needles)

    assert "Needle lengths" not in open_page(lab, has_needles=needles is None)
