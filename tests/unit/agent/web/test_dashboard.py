"""The dashboard shows what came today and what waits for whom, and tells when it changes."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, NEXT_DAY, web_of
from labs.order_pages import order_of, web_with
from sqlalchemy import event

from agent.nightly.facts.order_status import Instrument
from agent.store import Decision
from agent.store.people import auth
from agent.web import create_app
from agent.web.authentication import COOKIE, Who
from agent.web.dashboard import iter_events
from agent.web.dashboard_figures import compute_usual, start_of
from agent.web.middleware import STREAMS, STREAMS_PER_BROWSER, Crowd, OwnLimits

MORNING = NEXT_DAY - timedelta(minutes=30)
"""Half an hour before the time of the pages."""


def browser_of(web):
    return TestClient(create_app(web), base_url=HOME, headers={"origin": HOME})


def today(web):
    return browser_of(web).get("/api/v1/today").json()


def test_an_empty_lab_is_told_its_first_steps_and_no_number_is_missing(lab):
    with browser_of(replace(web_of(lab), status=lambda: {"bundle": None})) as browser:
        page = browser.get("/").text

    assert "First steps" in page
    assert "Set the folder of a microscope as a source" in page
    assert "No micrograph has a structure code today." in page
    assert "not known: no decision in 90 days" in page


def test_what_came_today_is_counted_per_source_with_its_last_file_and_rate(lab):
    lab.take("G8", at=NEXT_DAY - timedelta(days=2))
    lab.take("G8", at=NEXT_DAY - timedelta(hours=5))
    lab.take("G7", at=MORNING, reasons=("uncertain",), name="new/ring_7.tif")
    lab.set_aside("cut.tif", "truncated", "it ends in the middle", at=MORNING)

    found = today(web_of(lab))

    source = found["sources"][0]
    assert (source["name"], source["today"], source["last_hour"]) == ("LOM-07", 2, 1)
    assert (source["last_file"], source["set_aside"]) == ("cut.tif", 1)
    assert (found["micrographs"], found["review_requested"], found["reviewed"]) == (2, 1, 0)
    assert {row["code"]: row["n"] for row in found["codes"]} == {"G7": 1, "G8": 1}


def test_the_number_of_the_last_hour_opens_that_hour(lab):
    lab.take("G8", at=NEXT_DAY - timedelta(hours=5), name="early.tif")
    lab.take("G7", at=MORNING, name="late.tif")
    browser = browser_of(web_of(lab))

    page = unescape(browser.get("/").text)
    href = re.search(
        r'<a href="(/archive[^"]*)"><b class="number">1</b><span class="what">within', page
    )
    archive = browser.get(href[1]).text

    assert "since%3A2026-11-25T07%3A00" in href[1]
    assert "late.tif" in archive
    assert "early.tif" not in archive


def test_a_day_begins_at_the_midnight_of_the_site():
    day = datetime(2026, 11, 25, tzinfo=UTC).date()

    assert start_of(day, "Europe/Berlin") == datetime(2026, 11, 24, 23, tzinfo=UTC)


def test_a_usual_share_needs_five_days_and_pools_them():
    days = [{"G8": 9, "G7": 1}, {"G8": 5, "G7": 5}, {"G8": 10}, {"G8": 10}]

    assert compute_usual(days) == ({}, 4)
    usual, n = compute_usual([*days, {"G7": 10}])
    assert n == 5
    assert usual == {"G7": (16 / 50, 0.0, 1.0), "G8": (34 / 50, 0.0, 1.0)}


def test_today_is_compared_with_the_days_before(lab):
    for day in range(1, 6):
        lab.take("G8", at=NEXT_DAY - timedelta(days=day))
    lab.take("G7", at=MORNING)

    codes = {row["code"]: row for row in today(web_of(lab))["codes"]}

    assert (codes["G7"]["share"], codes["G7"]["usual"]) == (1.0, 0.0)
    assert (codes["G8"]["n"], codes["G8"]["usual"]) == (0, 1.0)


def test_what_waits_has_its_role_and_one_link(lab):
    order_of(lab, "4711")
    lab.take("G8", reasons=("uncertain",), at=MORNING)
    instrument = Instrument("LOM-07", None, "", True, None, (), False, 0)  # noqa: FBT003
    web = replace(web_with(lab), instruments=lambda: [instrument])

    page = browser_of(web).get("/").text

    for href in ("/orders?state=to_confirm", "/review", "#lab", "/orders#loose"):
        assert f'href="{href}"' in page
    assert "instrument check due" in page


def test_a_failed_check_is_failed_and_not_due(lab):
    failed = Instrument("LOM-07", None, "focus", True, None, (), False, 0)  # noqa: FBT003
    web = replace(web_of(lab), instruments=lambda: [failed])

    page = browser_of(web).get("/").text

    assert "instrument check failed" in page
    assert "instrument check due" not in page


def test_a_source_that_was_never_checked_is_named_as_new(lab):
    new = Instrument("LOM-07", None, "", True, None, (), False, 0)  # noqa: FBT003
    web = replace(web_of(lab), instruments=lambda: [new])

    page = browser_of(web).get("/today").text

    assert "not checked yet: new source" in page
    assert "last one never" not in page


def test_agreement_counts_blind_decisions_alone_with_n_and_interval(lab):
    for n in range(10):
        public_id = lab.take("G8", reasons=("uncertain",), at=MORNING)
        decision = Decision("code", "Ann", code="G8" if n else "G7", blind=n < 8)
        lab.store.labels.decide(public_id, decision, at=MORNING)
    web = web_of(lab)

    assert today(web)["agreement"] == {"n": 8, "same": 7}
    assert "88 % of 8 decisions (95 % interval 53 to 98 %)" in browser_of(web).get("/today").text


def test_a_back_up_that_is_missing_and_a_full_disk_are_named(lab):
    status = {
        "backup": None,
        "disk": {"free_bytes": 5e9, "total_bytes": 100e9},
        "problems": ["LOM-07: /export cannot be reached"],
    }

    page = browser_of(replace(web_of(lab), status=lambda: status)).get("/").text

    assert "none: no folder for back-ups is set" in page
    assert "5 GB of 100 GB free" in page
    assert "LOM-07: /export cannot be reached" in page


def test_an_alarm_rate_that_is_uncertain_is_a_note_on_the_lab_and_no_problem(lab):
    note = "False alarms up to 3.2 % (target 2 %): add reference images, there are 144."
    status = {"bundle": "20261124-1f2e3d4c", "notes": [note], "problems": []}

    page = browser_of(replace(web_of(lab), status=lambda: status)).get("/").text

    assert "<h2>Problems" not in page
    assert "Problems" not in page
    assert note in page


def test_figures_are_read_once_for_many_pages(lab):
    asked = []
    web = replace(web_of(lab), status=lambda: asked.append(1) or {})

    with browser_of(web) as browser:
        versions = {browser.get("/today").headers["x-figures-version"] for _ in range(5)}

    assert len(versions) == len(asked) == 1


def test_a_stream_tells_a_change_and_ends_in_time(lab):
    now = [NEXT_DAY]
    web = replace(web_of(lab), now=lambda: now[0], stream_s=60.0)

    async def watch():
        told = []
        async for text in iter_events(web):
            if text.startswith("event: beat"):
                told.append(json.loads(text.partition("data: ")[2])["version"])
                if len(told) == 1:
                    lab.take("G8", at=MORNING)
                    now[0] += timedelta(seconds=10)
                else:
                    web.closing.set()
            last = text
        return told, last

    told, last = asyncio.run(watch())

    assert told[0] != told[1]
    assert last.startswith("event: end")


def test_streams_are_bounded_per_browser_and_take_no_place_from_pages():
    opened, refused = asyncio.Event(), []

    async def app(scope, receive, send):
        opened.set()
        await receive()

    async def open_one(crowd, until):
        async def send(message):
            if message["type"] == "http.response.start":
                refused.append(message["status"])

        scope = {"type": "http", "path": "/events", "method": "GET", "headers": [],
                 "client": ("10.0.0.1", 5)}  # fmt: skip
        await crowd(scope, until.wait, send)

    async def run():
        crowd, until = Crowd(OwnLimits(app), requests=1), asyncio.Event()
        streams = [asyncio.create_task(open_one(crowd, until)) for _ in range(STREAMS_PER_BROWSER)]
        await opened.wait()
        await open_one(crowd, until)
        assert crowd.enter()  # the one place of a page is free
        until.set()
        await asyncio.gather(*streams)
        count = len(refused)
        await open_one(crowd, until)
        return count, len(refused)

    assert asyncio.run(run()) == (1, 1)
    assert refused == [503]


def test_no_cookie_counts_as_a_browser_before_it_was_checked():
    answers = []

    async def app(scope, receive, send):
        await receive()

    async def open_one(limit, until, cookie, who, there):
        async def send(message):
            if message["type"] == "http.response.start":
                answers.append(message["status"])
                there.release()

        headers = [(b"cookie", f"{COOKIE}={cookie}".encode())]
        scope = {"type": "http", "path": "/events", "method": "GET", "headers": headers,
                 "client": ("10.0.0.1", 5), "state": {"who": who}}  # fmt: skip
        await limit(scope, until.wait, send)

    async def run():
        limit, until, there = OwnLimits(app), asyncio.Event(), asyncio.Semaphore(0)
        forged = [
            asyncio.create_task(open_one(limit, until, f"forged {n}", None, there))
            for n in range(STREAMS)
        ]
        for _ in range(STREAMS - STREAMS_PER_BROWSER):
            await there.acquire()
        ann = asyncio.create_task(open_one(limit, until, "kept", Who("Ann", "reviewer"), there))
        await asyncio.sleep(0)
        until.set()
        await asyncio.gather(*forged, ann)

    asyncio.run(run())

    assert answers == [503] * (STREAMS - STREAMS_PER_BROWSER)


def test_an_open_dashboard_keeps_no_one_logged_in(lab):
    now = [NEXT_DAY]
    lab.store.accounts.add(
        "Rea", kind="person", role="viewer", hashed=auth.hash_password("a long pass phrase"),
        by="x", at=NEXT_DAY,
    )  # fmt: skip
    web = replace(web_of(lab), now=lambda: now[0])
    with TestClient(create_app(web), base_url=HOME, follow_redirects=False) as browser:
        browser.headers["Sec-Fetch-Site"] = "same-origin"
        browser.post("/login", data={"name": "Rea", "password": "a long pass phrase"})
        statuses = []
        for _ in range(3):
            now[0] += timedelta(minutes=14)
            statuses.append((browser.get("/today").status_code, browser.get("/events").status_code))

    assert statuses == [(200, 200), (200, 200), (303, 303)]


def test_no_figure_reads_a_whole_table(lab):
    lab.take("G8", reasons=("uncertain",))
    statements = []
    engine_calls = []
    figures = lab.store.live_figures

    def remember(_connection, _cursor, statement, parameters, _context, _many):
        engine_calls.append((statement, parameters))

    from sqlalchemy import Engine  # noqa: PLC0415 - of this test alone

    event.listen(Engine, "before_cursor_execute", remember)
    try:
        start = NEXT_DAY - timedelta(days=1)
        figures.count_open_files()
        figures.list_last_files()
        figures.count_results(start, NEXT_DAY, recent_after=start)
        figures.count_codes(start, NEXT_DAY)
        figures.count_trend(start, NEXT_DAY, "furnace")
        figures.count_waiting_by_reason()
        figures.count_disagreed()
        figures.count_unassigned()
        lab.store.orders.unassigned()
        lab.store.labelled_micrographs.list_blind_since(start)
    finally:
        event.remove(Engine, "before_cursor_execute", remember)
    with sqlite3.connect(lab.folder / "martensight.db") as database:
        for statement, parameters in engine_calls:
            if statement.lstrip().startswith("SELECT"):
                plan = database.execute(f"EXPLAIN QUERY PLAN {statement}", tuple(parameters))
                statements += [(row[3], statement) for row in plan]

    assert len(engine_calls) >= 9
    wide = ("SCAN", "ix_micrograph_site_id_order")
    few = "ix_micrograph_unassigned"  # only of fields without a specimen
    assert [
        entry
        for entry in statements
        if any(word in entry[0] for word in wide) and few not in entry[0]
    ] == []


# --- files that need an operator ------------------------------------------------------------------


def test_files_that_were_set_aside_are_listed_with_the_reason_and_tried_again(lab):
    lab.set_aside("cut.tif", "truncated", "it ends in the middle of the picture")
    web = web_of(lab)

    with browser_of(web) as browser:
        listed = browser.get("/files?state=set_aside").text
        browser.cookies.set("language", "de")
        german = browser.get("/files?state=set_aside").text
        browser.cookies.delete("language")
        done = browser.post("/files/retry", data={"which": ""}).text

    assert "cut.tif" in listed
    assert "it ends in the middle of the picture" in listed
    assert "Abgeschnitten. Die Datei endet zu früh" in german
    assert "1 file is queued again." in done
    assert lab.store.files.count_by_state()["queued"] == 1


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("reviewer", 403), ("lead", 200)])
def test_only_a_lead_queues_files_again(lab, role, status):
    lab.store.accounts.add(
        "Rea", kind="person", role=role, hashed=auth.hash_password("a long pass phrase"),
        by="x", at=NEXT_DAY,
    )  # fmt: skip
    with TestClient(create_app(web_of(lab)), base_url=HOME) as browser:
        browser.headers["Sec-Fetch-Site"] = "same-origin"
        browser.post("/login", data={"name": "Rea", "password": "a long pass phrase"})
        assert browser.get("/files").status_code == 200
        assert browser.post("/files/retry").status_code == status
