"""A real Chromium, where there is one, and what is waited for in it."""

from __future__ import annotations

import shutil
import time

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
GRAVE = ("serious", "critical")


@pytest.fixture
def tab():
    """A tab of a real browser that fails on anything it complains about."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else 0)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda one: left(one) or complaints.append(one.url))
        yield page
        browser.close()
    assert complaints == []


def left(request) -> bool:
    """Return whether a request may end early: fetched ahead, a stream, a download, a tab's icon."""
    may = "/pictures/" in request.url or "/static/icon.svg" in request.url
    return request.failure == "net::ERR_ABORTED" and (
        may or request.url.endswith(("/export", "/events"))
    )


def until_ready(tab, public_id):
    """Wait until a micrograph is on screen and takes keys."""
    tab.wait_for_url(f"**/{public_id}*")
    tab.wait_for_selector("[data-review][data-ready]")


def until(tab, holds):
    """Wait until something holds in a page whose policy lets no waiting be written into it."""
    until_s = time.monotonic() + 120
    while not tab.evaluate(holds):
        assert time.monotonic() < until_s


@pytest.fixture
def axe():
    pytest.importorskip("axe_playwright_python", reason="no axe-playwright-python")
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - of the dev extra

    return Axe()


def grave(axe, tab) -> list[str]:
    """Say what is serious or critical on the page that the tab shows, with the places."""
    found = axe.run(tab).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]
