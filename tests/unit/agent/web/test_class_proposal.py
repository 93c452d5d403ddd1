"""A reviewer proposes a class that is missing, and the administrator sees and answers it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from labs.accounts import let_in
from labs.lab import HOME, NEXT_DAY, web_of

from agent.orders.specifications.taxonomy_changes import (
    close_proposal,
    list_open,
    load_taxonomy_use,
    propose_class,
)
from agent.web import create_app
from agent.web.context import TaxonomySetup


@pytest.fixture
def browser(lab):
    setup = TaxonomySetup(
        lab.folder / "taxonomy.toml",
        is_named=True,
        load_use=lambda: load_taxonomy_use(
            lab.store, data=lab.folder, specifications=lab.folder / "none.toml"
        ),
    )
    app = create_app(replace(web_of(lab), taxonomy_setup=setup))
    client = TestClient(app, base_url=HOME, follow_redirects=False)
    client.cookies.set("reviewer", "Ann")
    return client


def propose(browser, public_id, **form):
    return browser.post(f"/review/{public_id}/propose", data=form)


def test_a_proposal_reaches_the_page_of_the_classes_and_decides_nothing(lab, browser):
    public_id = lab.take("G8", reasons=("uncertain",))

    link = f'href="/review/{public_id}/propose"' in browser.get(f"/review/{public_id}").text
    sent = propose(browser, public_id, name=" Widmannstätten  <1> ", text="plates\n at the rim")
    own = browser.get(f"/review/{public_id}/propose").text
    classes = browser.get("/setup/taxonomy").text

    assert link
    assert sent.status_code == 303
    assert "“Widmannstätten &lt;1&gt;” is proposed." in own
    assert "Widmannstätten &lt;1&gt;" in classes
    assert "plates at the rim" in classes
    assert lab.store.results.find(public_id).label is None
    assert lab.store.results.find(public_id).awaits


def test_an_answer_closes_all_proposals_of_a_name_and_a_later_one_opens_it_again(lab, browser):
    ids = [lab.take("G8", reasons=("uncertain",)) for _ in range(2)]
    for public_id in ids:
        propose(browser, public_id, name="pearlite")
    close = {"act": "close", "proposed": "pearlite", "reason": "covered by Unusual"}

    without = browser.post("/setup/taxonomy", data=close | {"reason": " "})
    opened = [(name, len(proposals)) for name, proposals in list_open(lab.store).items()]
    closed = browser.post("/setup/taxonomy", data=close)
    left = list_open(lab.store)
    propose(browser, ids[0], name="pearlite")

    assert (without.status_code, closed.status_code) == (422, 303)
    assert opened == [("pearlite", 2)]
    assert left == {}
    assert [len(proposals) for proposals in list_open(lab.store).values()] == [1]
    assert browser.post("/setup/taxonomy", data=close | {"proposed": "x"}).status_code == 422
    page = browser.get("/history").text
    assert "class proposed" in page
    assert "covered by Unusual" in page


def test_a_proposal_that_is_sent_many_times_at_once_is_recorded_once(lab):
    public_id = lab.take("G8")

    def send(_number):
        return propose_class(
            lab.store, public_id, name="ferrite", text="soft", by="Ann", at=NEXT_DAY
        )

    with ThreadPoolExecutor(12) as threads:
        numbers = set(threads.map(send, range(12)))
    other = propose_class(lab.store, public_id, name="ferrite", text="soft", by="Bob", at=NEXT_DAY)

    assert len(numbers) == 1
    assert other not in numbers
    assert [one.by for one in next(iter(list_open(lab.store).values()))] == [
        "Ann",
        "Bob",
    ]


@pytest.mark.parametrize(
    "form", [{"name": ""}, {"name": "x" * 41}, {"name": "a", "text": "x" * 501}, {"name": "\u200b"}]
)
def test_what_cannot_be_a_name_is_refused_in_a_sentence_and_kept_in_the_form(lab, browser, form):
    public_id = lab.take("G8", reasons=("uncertain",))

    answer = propose(browser, public_id, **form)

    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert list_open(lab.store) == {}


def test_a_program_proposes_a_class_too(lab, browser):
    public_id = lab.take("G8")

    answer = browser.post(
        f"/api/v1/micrographs/{public_id}/proposals", json={"by": "Ann", "name": "ferrite"}
    )

    assert answer.status_code == 201
    assert [*list_open(lab.store)] == ["ferrite"]


def test_a_reviewer_proposes_and_a_viewer_does_not(lab, browser_of):
    public_id = lab.take("G8")
    for name, role in (("Vic", "viewer"), ("Rob", "reviewer")):
        let_in(lab, name, role)

    answers = [propose(browser_of(name), public_id, name="ferrite") for name in ("Vic", "Rob")]

    assert [answer.status_code for answer in answers] == [403, 303]
    assert [one.by for one in next(iter(list_open(lab.store).values()))] == ["Rob"]


def test_a_proposal_on_a_blind_micrograph_is_shown_to_its_author_alone(lab, browser):
    public_id = lab.take("G8", reasons=("control_sample",))
    propose_class(lab.store, public_id, name="ferrite", text="", by="Bob", at=NEXT_DAY)

    page = browser.get(f"/review/{public_id}/propose").text

    assert "ferrite" not in page
    close_proposal(lab.store, "ferrite", reason="no", by="Ina", at=NEXT_DAY)
    assert list_open(lab.store) == {}
