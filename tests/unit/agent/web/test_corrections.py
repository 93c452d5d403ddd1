"""Where the lab requires it, another code than the model's needs a reason, and confirming none."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, web_of
from labs.order_pages import form_of, labels, order_of, send, web_with
from servers.browser import until
from servers.pages import decided, served

from agent.web import create_app

BUILT_IN = "the crop shows an unusual part"


def browser_on(web):
    client = TestClient(create_app(web), base_url=HOME, follow_redirects=False)
    client.cookies.set("reviewer", "Ann")
    return client


@pytest.fixture
def browser(lab):
    return browser_on(replace(web_of(lab), correction_reasons=()))


def decide(browser, public_id, decision, **more):
    return browser.post(f"/review/{public_id}/decide", data={"decision": decision} | more)


def test_confirming_needs_no_reason_and_correcting_does(lab, browser):
    confirmed, corrected = (lab.take("G8", reasons=("uncertain",)) for _ in range(2))

    first = decide(browser, confirmed, "code:G8")
    refused = decide(browser, corrected, "code:G7", unsure="1")
    nothing = lab.store.results.find(corrected).label
    answers = re.findall(r'name="(\w+)" value="([^"]*)"', refused.text.partition("data-asks")[2])
    told = decide(browser, corrected, "code:G7", unsure="1", comment=BUILT_IN)

    assert first.status_code == told.status_code == 303
    assert refused.status_code == 422
    assert nothing is None
    assert "G7 instead of G8: give the reason for this correction." in refused.text
    assert {("decision", "code:G7"), ("unsure", "1"), ("comment", BUILT_IN)} <= set(answers)
    assert decided(lab, corrected).comment == BUILT_IN


@pytest.mark.parametrize("answer", ["cannot_tell", "strange:pearlite", "unusable:scratched"])
def test_an_answer_that_says_why_itself_needs_no_other_reason(lab, browser, answer):
    public_id = lab.take("G8", reasons=("uncertain",))

    assert decide(browser, public_id, answer).status_code == 303


def test_a_hidden_answer_is_not_revealed_by_a_request_for_a_reason(lab, browser):
    control = lab.take("G8", reasons=("control_sample",))
    hidden = lab.take("G8", reasons=("uncertain",))

    page = browser.get(f"/review/{control}").text
    answers = [decide(browser, control, "code:G7"), decide(browser, hidden, "code:G7", blind="1")]

    assert BUILT_IN not in page
    assert "data-model" not in page
    assert [answer.status_code for answer in answers] == [303, 303]


SHOW = {
    "its page": "/review/{0}",
    "the page of its order": "/order/4711",
    "the form of its order": "/confirm/4711",
    "the search of the API": "/api/v1/search",
    "its micrograph of the API": "/api/v1/micrographs/{0}",
    "its place in the archive": "/archive?q=order:4711",
}


@pytest.mark.parametrize(
    ("way", "by"),
    [*((way, "Ann") for way in SHOW), *(("its page", by) for by in (" Ann ", "ANN", "Ann."))],
)
def test_who_was_shown_the_answer_cannot_call_the_decision_blind(lab, way, by):
    browser = browser_on(replace(web_with(lab), correction_reasons=()))
    public_id = order_of(lab, "4711")[0]
    assert browser.get(SHOW[way].format(public_id)).status_code == 200

    answer = decide(browser, public_id, "code:G7", blind="1", by=by)

    assert answer.status_code == 422
    assert lab.store.results.find(public_id).label is None


def test_what_another_reviewer_was_shown_is_hidden_from_this_one(lab, browser):
    public_id = lab.take("G8", reasons=("uncertain",))
    browser.get(f"/review/{public_id}")

    answer = decide(browser, public_id, "code:G7", blind="1", by="Ben")

    assert (answer.status_code, decided(lab, public_id).blind) == (303, True)


def test_a_decision_for_a_specimen_is_never_blind(lab, browser):
    named = {"order": "4711", "specimen": "1", "reasons": ("uncertain",)}
    ids = [lab.take(code, field=str(n), **named) for n, code in enumerate(("G8", "G7"))]

    refused = decide(browser, ids[0], "code:G8", together="1", blind="1")
    told = decide(browser, ids[0], "code:G8", together="1", blind="1", comment=BUILT_IN)

    assert (refused.status_code, told.status_code) == (422, 303)
    assert [decided(lab, one).blind for one in ids] == [False, False]


def test_a_lab_names_its_own_reasons_and_without_the_setting_none_is_requested(lab):
    own = browser_on(replace(web_of(lab), correction_reasons=("<b>as the customer counts</b>",)))
    off = browser_on(web_of(lab))
    public_id = lab.take("G8", reasons=("uncertain",))

    assert "&lt;b&gt;as the customer counts&lt;/b&gt;" in own.get(f"/review/{public_id}").text
    assert "data-model" not in off.get(f"/review/{public_id}").text
    assert decide(off, public_id, "code:G7").status_code == 303


def test_a_decision_for_a_specimen_needs_a_reason_where_it_corrects_one_of_its_fields(lab, browser):
    named = {"order": "4711", "specimen": "1"}
    one = lab.take("G8", reasons=("uncertain",), field="1", **named)
    other = lab.take("G7", reasons=("uncertain",), field="2", **named)

    refused = decide(browser, one, "code:G8", together="1")
    told = decide(browser, one, "code:G8", together="1", comment="other fields confirm it")

    assert (refused.status_code, told.status_code) == (422, 303)
    assert "G8 instead of G7" in refused.text
    assert decided(lab, other).comment == "other fields confirm it"


def test_a_program_gets_the_sentence_that_it_has_to_send_a_comment(lab, browser):
    public_id = lab.take("G8", reasons=("uncertain",))
    address, body = f"/api/v1/micrographs/{public_id}/decisions", {"by": "Ann", "code": "G7"}

    refused = browser.post(address, json=body)
    told = browser.post(address, json=body | {"comment": "rim"})

    assert (refused.status_code, told.status_code) == (422, 201)
    assert refused.json()["detail"].startswith("G7 instead of G8")


def test_the_page_of_an_order_keeps_its_answers_while_it_requests_the_reason(lab):
    browser = browser_on(replace(web_with(lab), correction_reasons=()))
    ids = order_of(lab, "4711")
    form = form_of(browser, "4711") | {f"answer-{ids[1]}": "code:G7", "decision_id": "0badcafe01"}

    refused = send(browser, "4711", form)
    nothing = labels(lab, ids)
    again = form | {
        "reason": BUILT_IN,
        "state": re.search(r'name="state" value="([^"]+)"', refused.text)[1],
    }
    told = [send(browser, "4711", again) for _ in range(2)]  # the second one as after a reload

    assert refused.status_code == 422
    assert nothing == [None, None, None]
    assert '<option value="code:G7" selected>G7</option>' in refused.text
    assert "G7 instead of G8" in html.unescape(refused.text)
    assert [answer.status_code for answer in told] == [303, 303]
    assert [lab.store.results.find(one).label.comment for one in ids] == ["", BUILT_IN, ""]


# --- in a browser ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_correction_costs_one_key_more_and_a_confirmation_none(lab, tab):
    ids = [lab.take("G8", reasons=("uncertain",)) for _ in range(4)]
    ready = "document.querySelector('[data-ready]') !== null"
    with served(replace(web_of(lab), correction_reasons=("by hand", "by eye"))) as address:
        tab.goto(f"{address}/review/name?then=/review/{ids[0]}")
        tab.fill("#by", "Ann")
        with tab.expect_navigation():
            tab.keyboard.press("Enter")
        for n, keys in enumerate((["Enter"], ["g", "7", "2"], ["g", "8"])):
            until(tab, ready)
            for key in keys:
                tab.keyboard.press(key)
            tab.wait_for_url(f"**/{ids[n + 1]}")
        until(tab, ready)
        tab.click("button[value='code:G7']")
        tab.keyboard.press("Escape")  # and nothing is decided
        tab.click("button[value='code:G7']")
        tab.fill("#comment", "in my words")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/review")

    assert [decided(lab, one).code for one in ids] == ["G8", "G7", "G8", "G7"]
    assert [decided(lab, one).comment for one in ids] == ["", "by eye", "", "in my words"]


@pytest.mark.slow
def test_an_order_is_corrected_by_its_keys_and_the_number_of_a_reason(lab, tab):
    ids = order_of(lab, "4711")
    seen = "document.querySelectorAll('[data-seen]:not(:checked)').length === 0"
    with served(replace(web_with(lab), correction_reasons=("by hand", "by eye"))) as address:
        tab.goto(f"{address}/review/name?then=/confirm/4711")
        tab.fill("#by", "Ann")
        with tab.expect_navigation():
            tab.keyboard.press("Enter")
        until(tab, seen)
        for key in ("g", "7", "Enter"):
            tab.keyboard.press(key)
        asked = tab.locator("[data-say]").inner_text()
        nothing = labels(lab, ids)
        with tab.expect_navigation():
            tab.keyboard.press("1")

    assert asked.startswith("Not the model's code")
    assert nothing == [None, None, None]
    assert labels(lab, ids) == [("G7", "Ann"), ("G8", "Ann"), ("G8", "Ann")]
    assert [lab.store.results.find(one).label.comment for one in ids] == ["by hand", "", ""]
