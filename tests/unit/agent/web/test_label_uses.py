"""A reviewer reads whether a decision is used for training, and the training does just that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, TAXONOMY, minutes, web_of
from servers.browser import until_ready
from servers.pages import decided, served

from agent.retrain.training_set import collect
from agent.store import Decision
from agent.web import create_app


@pytest.fixture
def web(lab):
    return web_of(lab)


def reviewer(web, name="Ann"):
    client = TestClient(
        create_app(web), base_url=HOME, headers={"origin": HOME}, follow_redirects=True
    )
    client.post("/review/name", data={"by": name})
    return client


def decide(lab, client, public_id, said="code:G8", *, blind=True):
    view = lab.store.results.find(public_id)
    form = {"decision": said, "result_id": str(view.result.id), "label_id": "", "comment": "x"}
    return client.post(f"/review/{public_id}/decide", data=form | ({"blind": "1"} if blind else {}))


def learned(lab, web):
    """Return public id → "trained" or "tested", as a training collects it; strange ones too."""
    found = collect(lab.store, lab.archive, TAXONOMY, learns_from=web.learns_from)
    ids = {key: public_id for key, (public_id, _label) in found.labels.items()}
    return {
        public_id: "tested" if key in found.control else "trained" for key, public_id in ids.items()
    }


CASES = [
    ("in view", ("uncertain",), "code:G8", False, "not used for training", "answer is in view"),
    ("hidden", ("uncertain",), "code:G8", True, "used for training", "is not in view"),
    ("control", ("control_sample",), "code:G8", True, "used for tests only", "control sample"),
    ("flagged", ("strange", "control_sample"), "code:G8", True, "used for tests only", "control"),
    ("no code", ("uncertain",), "unusable:out_of_focus", True, "not used for training", "names no"),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_the_page_says_what_the_training_does(lab, web, case):
    _name, reasons, said, blind, use, why = case
    public_id = lab.take("G8", reasons=reasons)
    lab.take("G8", reasons=("uncertain",), at=minutes(1))
    ann = reviewer(web)

    page = decide(lab, ann, public_id, said, blind=blind).text  # the next one, with what was done

    assert f"This decision is {use}: " in page
    assert why in page
    expected = {"used for training": "trained", "used for tests only": "tested"}.get(use)
    assert learned(lab, web) == ({public_id: expected} if expected else {})
    answer = ann.get(f"/api/v1/micrographs/{public_id}").json()["learning"]
    assert answer["use"] == (expected or "unused")
    assert why in answer["sentence"]


@pytest.mark.parametrize("reasons", [("control_sample",), ("strange", "control_sample")])
def test_a_control_sample_is_shown_without_the_answer_flagged_or_not(lab, web, reasons):
    public_id = lab.take("G9-10", reasons=reasons)

    page = reviewer(web).get(f"/review/{public_id}").text

    assert "hidden until you have decided" in page
    assert "Confirm" not in page
    assert "G9-10</span>" not in page


def test_the_setting_of_the_lab_is_what_the_page_goes_by(lab, web):
    public_id = lab.take("G8", reasons=("uncertain",))
    everything = replace(web, learns_from=("blind", "imported", "confirmed", "seen"))

    ahead = reviewer(everything).get(f"/review/{public_id}").text

    assert "A structure code that you give now is used for training: " in ahead
    decide(lab, reviewer(everything), public_id, blind=False)
    assert learned(lab, everything) == {public_id: "trained"}
    assert learned(lab, web) == {}


def test_an_answer_that_was_shown_cannot_be_hidden_afterwards(lab, web):
    public_id = lab.take("G8", reasons=("uncertain",))
    ann = reviewer(web)
    assert "Confirm G8" in ann.get(f"/review/{public_id}").text

    hidden = ann.post("/review/blind", data={"id": public_id}).text
    assert "Confirm G8" not in hidden
    assert "This page has shown it to you before." in hidden
    assert "is not used for training" in hidden
    decide(lab, ann, public_id)

    assert not lab.store.results.find(public_id).label.blind
    assert learned(lab, web) == {}


def test_two_who_are_asked_count_when_both_gave_the_same(lab, web):
    public_id = lab.take("G8", reasons=("uncertain",), thresholds={"double_share": 1.0})
    first = decide(lab, reviewer(web, "Ann"), public_id)
    assert "a second reviewer has to give the same code" in first.text

    second = decide(lab, reviewer(web, "Bea"), public_id)

    assert "This decision is used for training: " in second.text
    assert learned(lab, web) == {public_id: "trained"}


def test_hidden_answers_are_hidden_in_the_queue_and_beside_the_micrograph_too(lab, web):
    told = {"order": "4711", "specimen": "01"}
    ids = [
        lab.take("G9-10", reasons=("uncertain",), at=minutes(n), field=str(n), **told)
        for n in range(2)
    ]
    ann = reviewer(web)
    assert "G9-10</span>" in ann.get("/review").text

    ann.post("/review/blind")

    assert "G9-10</span>" not in ann.get("/review").text
    page = ann.get(f"/review/{ids[0]}").text
    assert "<b>G9-10</b>" not in page
    assert "Confirm G9-10" not in page
    assert "over-size" not in page


def test_a_control_sample_counts_for_the_accuracy_whether_it_is_flagged_or_not(lab, web):
    ids = [
        lab.take("G8", reasons=reasons, at=minutes(n))
        for n, reasons in enumerate([("control_sample",), ("strange", "control_sample")])
    ]
    chosen = lab.take("G8", reasons=("uncertain",))
    for one in (*ids, chosen):
        lab.store.labels.decide(one, Decision("code", "Ann", code="G8", blind=True), at=minutes(99))

    assert lab.store.labels.count_blind() == (2, 2)


def test_v_hides_the_answer_of_what_comes_next_and_it_counts(lab, web, tab):
    ids = [lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(3)]
    with served(web) as address:
        tab.goto(f"{address}/review/name")
        tab.fill("#by", "Ann")
        with tab.expect_navigation(url="**/review"):
            tab.keyboard.press("Enter")
        tab.goto(f"{address}/review/{ids[0]}")
        until_ready(tab, ids[0])
        tab.keyboard.press("v")
        tab.get_by_text("This page has shown it to you before.").wait_for()
        until_ready(tab, ids[0])
        tab.click("button[value='code:G8']")
        until_ready(tab, ids[1])
        assert tab.locator("[data-confirm]").count() == 0
        assert "is used for training" in tab.locator(".learning").inner_text()
        tab.click("button[value='code:G7']")
        until_ready(tab, ids[2])
        assert (
            "This decision is used for training" in tab.locator(".notice[role=status]").inner_text()
        )
        tab.keyboard.press("v")
        tab.locator("[data-confirm]").wait_for()

    assert [decided(lab, one).blind for one in ids[:2]] == [False, True]
    assert learned(lab, web) == {ids[1]: "trained"}
