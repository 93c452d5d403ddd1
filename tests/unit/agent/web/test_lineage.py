"""The page of the bundles says what is at work, what waits, and how far a teaching is."""

import re
from datetime import timedelta

import pytest
from labs.accounts import AT, let_in
from labs.bundles import FIRST, SECOND

from agent.store import Signature


def part_of(page, name):
    return next(part for part in page.split("<section") if f">{name}</a> <" in part)


def test_every_bundle_is_there_with_its_state_its_card_and_how_good_it_is(bundles, browser_of):
    page = browser_of().get("/models").text

    first, second = part_of(page, FIRST), part_of(page, SECOND)
    assert "in use" in first
    assert "first bundle" in first
    assert "candidate" in second
    assert "91.3 % of 160 test micrographs (95 % interval 86.8 to 94.4 %)" in second
    assert re.search(r"Not tested\W.*M7", second, re.DOTALL)
    assert f'href="/models/{SECOND}/card"' in second


def test_who_has_signed_first_is_named_until_another_does(bundles, browser_of):
    signature = Signature("Bob", "better", AT + timedelta(hours=1))
    now = bundles.store.promotions.find_current()
    bundles.store.promotions.sign(SECOND, signature, metrics={}, promoters=2, instead_of=now)

    page = browser_of().get("/models").text

    assert "proposed by Bob; another person has to sign" in part_of(page, SECOND)


def test_how_far_a_teaching_is_stands_there_and_a_lead_ends_it(bundles, browser_of):
    let_in(bundles, "Rob", "reviewer")
    let_in(bundles, "Lea", "lead")
    job = bundles.store.jobs.begin("retrain", at=AT, facts={"by": "agent"})
    facts = {"stage": "subtype", "done": 3, "total": 12, "note": "epoch 3"}
    assert bundles.store.jobs.report(job, facts, at=AT) == ""
    reviewer, lead = browser_of("Rob"), browser_of("Lea")

    seen = reviewer.get("/models").text
    refused = reviewer.post("/models/cancel")
    untouched = bundles.store.jobs.report(job, facts, at=AT)
    asked = lead.post("/models/cancel")

    assert "3 of 12" in seen
    assert 'data-refresh="5"' in seen
    assert 'action="/models/cancel"' not in seen
    assert (refused.status_code, untouched) == (403, "")
    assert 'action="/models/cancel"' in lead.get("/models").text
    assert asked.status_code == 303
    assert bundles.store.jobs.report(job, facts, at=AT) == "Lea"


def test_a_training_that_has_not_begun_stands_there_and_the_page_waits_for_it(bundles, browser_of):
    before = browser_of().get("/models").text
    bundles.store.jobs.request("retrain", by="Lea", at=AT)

    requested = browser_of().get("/models").text
    bundles.store.jobs.take_request("retrain", at=AT)
    taken = browser_of().get("/models").text

    assert "data-refresh" not in before
    for page in (requested, taken):
        assert 'data-refresh="5"' in page
        assert "progress.js" in page
        assert "A training is requested" in page
        assert 'action="/models/cancel"' in page


def test_a_viewer_reads_the_card_and_who_is_nobody_does_not(bundles, browser_of):
    let_in(bundles, "Vic", "viewer")

    seen = browser_of("Vic").get(f"/models/{SECOND}/card")
    stranger = browser_of().get(f"/models/{SECOND}/card")

    assert seen.text == f"<p>card of {SECOND}</p>"
    assert "default-src 'none'" in seen.headers["Content-Security-Policy"]
    assert stranger.status_code == 303


@pytest.mark.parametrize(
    "path", ["x/card", "..%2F..%2Fsecret/card", f"{SECOND}/impact", "20260101-00000000/card"]
)
def test_what_is_not_there_is_said(bundles, browser_of, path):
    assert browser_of().get(f"/models/{path}").status_code == 404


def test_the_newest_list_of_what_would_change_is_shown(bundles, browser_of):
    record = bundles.folder / "bundles" / SECOND / "record"
    (record / "impact-0123456789ab.html").write_text("<p>one order</p>", "utf-8")

    page = browser_of()

    assert f'href="/models/{SECOND}/impact"' in part_of(page.get("/models").text, SECOND)
    assert page.get(f"/models/{SECOND}/impact").text == "<p>one order</p>"


def test_a_bundle_that_cannot_be_read_does_not_take_the_page_away(bundles, browser_of):
    (bundles.folder / "bundles" / SECOND / "bundle.json").write_text("{", "utf-8")

    page = browser_of().get("/models").text

    assert "Cannot be read" in part_of(page, SECOND)
    assert "in use" in part_of(page, FIRST)


def test_a_lab_without_a_bundle_is_told_how_to_begin(lab, browser_of):
    assert "Train the first bundle" in browser_of().get("/models").text
