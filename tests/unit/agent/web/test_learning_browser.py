"""In a real browser a lead follows a training and signs; API, keys and history are read."""

from __future__ import annotations

import pytest
from labs.bundles import FIRST, SECOND, judged, two_bundles
from labs.lab import DAY, NEXT_DAY, web_of
from servers.browser import until
from servers.pages import served

pytestmark = pytest.mark.slow


def test_the_progress_of_a_training_is_followed_without_a_reload(lab, tab):
    two_bundles(lab)
    job = lab.store.jobs.begin("retrain", at=NEXT_DAY, facts={"by": "agent"})
    facts = {"stage": "subtype", "total": 12, "note": ""}
    lab.store.jobs.report(job, facts | {"done": 3}, at=NEXT_DAY)
    with served(web_of(lab)) as address:
        tab.goto(f"{address}/models")
        before = tab.locator("main .value").inner_text()
        tab.evaluate("window.isTheSamePage = true")
        lab.store.jobs.report(job, facts | {"done": 7}, at=NEXT_DAY)
        until(tab, "document.querySelector('main .value').textContent.includes('7 of 12')")
        lab.store.jobs.end(job, "done", at=NEXT_DAY)
        until(tab, "document.querySelector('main[data-refresh]') === null")

        assert before == "3 of 12"
        assert tab.evaluate("window.isTheSamePage")


def test_a_verdict_is_a_table_and_a_signature_needs_its_reason(lab, tab):
    two_bundles(lab)
    judged(lab, gate="recommended")
    page = tab.context.browser.new_page()  # the refusal is an error of its console
    with served(web_of(lab)) as address:
        page.goto(f"{address}/models")
        page.click(f"a[href='/models/{SECOND}']")
        heads = page.locator(".gate thead th").all_inner_texts()
        checks = page.locator(".gate tbody tr").count()
        page.fill("#by", "Lea")
        page.click(".sign button")  # the reason is missing: the browser does not send it
        here = page.url
        page.fill("#reason", "better on G9-10")
        with page.expect_navigation():
            page.click(".sign button")

        assert heads == ["Check", "Required", "Found", "Limit", "Verdict"]
        assert checks == 4
        assert here.endswith(SECOND)
        assert page.locator("[role=alert]").count() == 1  # its files are not whole
        assert lab.store.promotions.find_current() == FIRST


def test_the_api_is_read_without_a_connection_and_without_a_script(lab, tab):
    asked = []
    with served(web_of(lab)) as address:
        page = tab.context.browser.new_context(java_script_enabled=False).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/docs")
        heads = page.locator("h3 code").all_inner_texts()
        page.click("a[href='#schema-Micrograph'] >> nth=0")

    assert "POST /api/v1/micrographs/{public_id}/decisions" in heads
    assert asked
    assert all(url.startswith(address) for url in asked)


def test_keys_are_listed_and_the_language_is_changed_in_place(lab, tab):
    public_id = lab.take("G8", reasons=("uncertain",))
    with served(web_of(lab)) as address:
        tab.goto(f"{address}/review/{public_id}")
        tab.keyboard.press("?")
        keys = tab.locator("dialog[open] dt").count()
        tab.keyboard.press("Escape")
        with tab.expect_navigation():
            tab.click(".tongue button")

        assert keys >= 20
        assert tab.url.endswith(f"/review/{public_id}")
        assert tab.evaluate("document.documentElement.lang") == "de"
        assert "bestätigen" in tab.locator("[data-confirm]").inner_text()


def test_acts_are_searched_by_their_facts_and_printed(lab, tab):
    for who, reason in (("Ada", "audit of spring"), ("Bob", "first bundle")):
        lab.store.promotions.promote(FIRST, by=who, reason=reason, at=DAY, metrics={})
    page = tab.context.browser.new_page()  # a download ends its request
    with served(web_of(lab)) as address:
        page.goto(f"{address}/history")
        page.fill("#facts", "SPRING audit")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        shown = page.locator(".acts-table tbody tr").all_inner_texts()
        with page.expect_download() as download:
            page.click("a[href^='/history.pdf']")

    assert len(shown) == 1
    assert "audit of spring" in shown[0]
    assert download.value.suggested_filename == "history.pdf"
