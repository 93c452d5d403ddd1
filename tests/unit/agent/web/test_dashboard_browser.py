"""In a real browser the dashboard follows the lab, and hides its numbers once it cannot."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from labs.lab import web_of
from servers.browser import CHROMIUM, until
from servers.pages import Server, served

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")

pytestmark = pytest.mark.slow

IS_LIVE = "document.querySelector('[data-live=yes]') !== null"
IS_LOST = "document.querySelector('[data-live=lost]') !== null"
TODAY = "document.querySelector('.tiles .number').textContent"


@pytest.fixture
def tab():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        browser.close()


def test_a_file_that_is_recorded_changes_the_numbers_without_a_reload(lab, tab):
    clock = lambda: datetime.now(UTC)  # noqa: E731 - the pages run on time
    with served(replace(web_of(lab), now=clock, stream_s=20.0)) as address:
        tab.goto(address)
        until(tab, IS_LIVE)
        before = tab.evaluate(TODAY)
        tab.evaluate("window.stays = true")

        lab.take("G8", at=clock())

        until(tab, f"{TODAY} === '1'")
    assert before == "0"
    assert tab.evaluate("window.stays") is True


def test_numbers_are_hidden_while_the_server_is_away_and_come_back_with_it(lab, tab):
    server = Server(lab.folder)
    try:
        tab.goto(server.url)
        until(tab, IS_LIVE)
        server.kill()

        until(tab, IS_LOST)
        text = tab.locator("[data-lost]").inner_text()
        assert "Connection lost since" in text
        assert not tab.locator("[data-figures]").is_visible()
        tab.get_by_role("button", name="Show the last numbers").click()
        assert tab.locator("[data-figures]").is_visible()

        server.start()
        until(tab, IS_LIVE)
        assert not tab.locator("[data-lost]").is_visible()
    finally:
        server.stop()


def test_six_dashboards_of_one_browser_leave_room_for_another_page(lab, tab):
    web = replace(web_of(lab), now=lambda: datetime.now(UTC), stream_s=60.0)
    with served(web) as address:
        tabs = [tab.context.new_page() for _ in range(6)]
        for one in tabs:
            one.goto(address)
            one.wait_for_selector("[data-live]")

        began_s = time.monotonic()
        tab.goto(f"{address}/review")

        assert time.monotonic() - began_s < 5
        states = {
            one.evaluate("document.querySelector('[data-today]').dataset.live") for one in tabs
        }
    assert states == {"yes", "asks"}
