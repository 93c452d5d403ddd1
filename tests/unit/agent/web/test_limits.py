"""What anybody sends costs little, and is answered with a sentence, never with a traceback."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from zipfile import ZipFile

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from labs.lab import HOME, web_of
from labs.lab import NEXT_DAY as NOW

from agent.backup.maintenance import back_up
from agent.files import pictures
from agent.web import Inbox, create_app
from agent.web.access import HEAVY, NEEDED
from agent.web.archive.uploads import EmptyUploadError, UploadsBusyError
from agent.web.middleware import Crowd, OwnLimits


@pytest.fixture
def browser(lab):
    with TestClient(create_app(web_of(lab)), base_url=HOME, follow_redirects=False) as client:
        yield client


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "["},
        {"host": "[::1"},
        {"host": "127.0.0.1", "origin": "http://["},
        {"host": "127.0.0.1", "origin": "http://[::1"},
    ],
)
def test_a_header_that_names_no_host_is_refused_in_a_sentence(browser, headers):
    answer = browser.post("/review/name", data={"by": "Ann"}, headers=headers)

    assert answer.status_code == 400
    assert "cannot be read" in answer.text


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1/rate/x?",
        "127.0.0.1/static/x#",
        "127.0.0.1\\rate",
        "127.0.0.1:80/rate/x",
        "127.0.0.1 ",
    ],
)
def test_a_host_with_more_than_a_name_and_a_port_is_refused(browser, host):
    assert browser.get("/review", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8787", "LOCALHOST", "[::1]:8787"])
def test_a_host_with_a_name_and_a_port_is_answered(browser, host):
    assert browser.get("/healthz", headers={"host": host}).status_code == 200


WITH_NUL = [
    "/review/%00",
    "/orders/47%0011",
    "/api/v1/orders/47%0011",
    "/api/v1/micrographs?order=%00",
    "/api/v1/queue?source=a%00b",
    "/review?reason=%00",
]


def test_a_nul_in_an_address_is_refused(browser):
    for path in WITH_NUL:
        assert browser.get(path).status_code == 400, path


def test_a_nul_in_a_form_is_refused(lab, browser):
    public_id = lab.take(reasons=("uncertain",))
    form = {"by": "Ann", "decision": "code:G8", "comment": "fine\0needles"}

    answer = browser.post(f"/review/{public_id}/decide", data=form)

    assert answer.status_code == 400
    assert lab.store.results.find(public_id).labels == ()


@pytest.mark.parametrize("comment", ["a\0b", "\0"])
def test_a_nul_in_json_is_refused_however_it_is_cut_into_pieces(lab, browser, comment):
    public_id = lab.take(reasons=("uncertain",))
    whole = (
        b'{"by": "Ann", "code": "G8", "comment": "' + comment.encode().replace(b"\0", b"\\u0000")
    ) + b'"}'

    answer = browser.post(
        f"/api/v1/micrographs/{public_id}/decisions",
        content=iter([whole[i : i + 3] for i in range(0, len(whole), 3)]),
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 400
    assert lab.store.results.find(public_id).labels == ()


# --- what a request may cost --------------------------------------------------------------------


def test_a_window_far_larger_than_its_picture_costs_no_more_than_one_of_its_size():
    pixels = np.random.default_rng(1).integers(0, 255, (400, 500, 3), dtype=np.uint8)

    small = pictures.cut_window(pixels, (250, 200), 1_000, 320)
    large = pictures.cut_window(pixels, (250, 200), 10_000_000, 320)

    assert (small.shape, large.shape) == ((320, 320, 3), (320, 320, 3))
    assert (large == 128).mean() > 0.99


def test_a_window_that_would_take_minutes_is_drawn_at_once(lab, browser):
    pixels = np.random.default_rng(1).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    public_id = lab.take(pixels=pixels)
    began = os.times()

    answer = browser.get(f"/pictures/{public_id}/window.jpg?um=100000")

    spent = os.times()
    assert answer.status_code == 200
    assert spent.user + spent.system - began.user - began.system < 5


# --- files that programs send -------------------------------------------------------------------


@pytest.fixture
def inbox(lab):
    return Inbox(lab.folder / "inbox", lab.store, now=lambda: NOW, at_once=2)


@pytest.fixture
def program(lab, inbox):
    app = create_app(dataclasses.replace(web_of(lab), inbox=inbox))
    with TestClient(app, base_url=HOME) as client:
        yield client


def kept_in(lab):
    return [path for path in (lab.folder / "inbox").rglob("*") if path.is_file()]


def test_more_files_at_once_than_may_be_are_told_to_come_again(lab, inbox):
    async def never_ends():
        yield b"x"
        await asyncio.Event().wait()

    async def nothing():
        yield b""

    async def many():
        held = [asyncio.create_task(inbox.receive("a.tif", never_ends(), {})) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(UploadsBusyError):
            await inbox.receive("b.tif", nothing(), {})
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        with pytest.raises(EmptyUploadError):
            await inbox.receive("b.tif", nothing(), {})

    asyncio.run(many())

    assert kept_in(lab) == []


def test_what_was_half_received_when_the_page_ended_is_deleted_at_its_next_start(lab, inbox):
    part = lab.folder / "inbox" / ".parts" / "0.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")

    inbox.clear()

    assert kept_in(lab) == []


def test_a_file_that_says_it_is_too_large_is_refused_before_it_is_read(lab, program):
    def pieces():
        pytest.fail("it was read")
        yield b""

    answer = program.post(
        "/api/v1/micrographs?name=a.tif",
        content=pieces(),
        headers={"content-length": "260000000"},
    )

    assert answer.status_code == 413


def test_a_sender_sends_no_more_than_its_share_of_a_day_also_after_a_restart(lab):
    now, answers = [NOW], []
    for number, later in enumerate((0, 0, 1)):
        now[0] += timedelta(days=later)
        inbox = Inbox(lab.folder / "inbox", lab.store, now=lambda: now[0], quota_bytes=10)
        inbox.clear()
        app = create_app(dataclasses.replace(web_of(lab), inbox=inbox))
        with TestClient(app, base_url=HOME) as client:
            answers.append(
                client.post(f"/api/v1/micrographs?name={number}.tif", content=bytes([number]) * 8)
            )

    assert [answer.status_code for answer in answers] == [202, 503, 202]
    assert "as much as one sender may in a day" in answers[1].json()["detail"]
    assert len([path for path in kept_in(lab) if path.suffix == ".tif"]) == 2
    assert [path.name for path in kept_in(lab) if path.suffix == ".sent"] == ["2026-11-26.sent"]


def test_what_was_sent_is_deleted_once_it_is_archived_or_of_no_use_and_old(lab):
    now = [NOW]
    inbox = Inbox(lab.folder / "inbox", lab.store, now=lambda: now[0])
    told = {name: inbox.take(name, name.encode(), {})["sha256"] for name in ("a", "b", "c")}
    original = lab.folder / "originals" / told["a"][:2] / f"{told['a']}.tif"
    original.parent.mkdir(parents=True)
    original.write_bytes(b"a")
    claims = lab.store.work_queue.claim(3, at=NOW, lease_s=60)
    for claim in claims:
        if claim.relative.endswith("-b"):
            lab.store.work_queue.set_aside(claim, "unreadable", "no picture", at=NOW)

    inbox.clear()
    assert len(kept_in(lab)) == 3
    backed_up = lab.folder / "backup.zip"
    back_up(
        *(lab.store, lab.folder, backed_up),
        settings_files=[],
        pixels=False,
        at=NOW,
        progress=lambda *_: None,
    )
    with ZipFile(backed_up) as members:
        names = [name for name in members.namelist() if name.startswith("inbox")]
    assert [name[-1] for name in names] == ["c"]  # a is archived, b of no use
    now[0] += timedelta(days=31)
    inbox.clear()

    assert sorted(path.name[17:] for path in kept_in(lab)) == ["a", "c"]  # a is not done


def test_a_disk_that_takes_nothing_is_said_and_no_fault_of_the_file(lab, program):
    (lab.folder / "inbox").write_bytes(b"a file where the folder has to be")

    answer = program.post("/api/v1/micrographs?name=a.tif", content=b"x")

    assert answer.status_code == 503
    assert "cannot be written" in answer.json()["detail"]


# --- many at once -------------------------------------------------------------------------------


def test_one_request_more_than_are_answered_at_once_is_told_to_come_again(lab):
    let_go, there = threading.Event(), threading.Semaphore(0)

    def status():
        there.release()
        assert let_go.wait(120)
        return {}

    app = create_app(dataclasses.replace(web_of(lab), status=status), requests=2)
    with TestClient(app, base_url=HOME) as client, ThreadPoolExecutor(2) as others:
        held = [others.submit(client.get, "/api/v1/status") for _ in range(2)]
        for _ in held:
            assert there.acquire(timeout=120)

        refused, alive = client.get("/review"), client.get("/healthz")
        let_go.set()

        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert alive.status_code == 200
        assert [one.result().status_code for one in held] == [200, 200]
        assert client.get("/review").status_code == 200


def test_only_what_was_received_whole_takes_a_place():
    seen = []

    async def answered(scope, receive, send):
        if scope["method"] == "POST":
            await receive()
        seen.append(scope["method"])

    async def sent(message):
        seen.append(message)

    def scope_of(method, length):
        return {
            "type": "http",
            "method": method,
            "path": "/login",
            "headers": [(b"content-length", length)],
        }

    async def form_by_drops():
        crowd = Crowd(answered, requests=1)
        never = asyncio.Event()

        async def silent():
            await never.wait()

        slow = asyncio.create_task(crowd(scope_of("POST", b"20"), silent, sent))
        await asyncio.sleep(0)
        await crowd(scope_of("GET", b"0"), silent, sent)
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)

    asyncio.run(form_by_drops())

    assert seen == ["GET"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_only_reads_takes_a_place_whatever_it_says_of_a_body(method):
    answers = []

    async def run():
        let_go, there = asyncio.Event(), asyncio.Semaphore(0)

        async def working(scope, receive, send):
            answers.append("begun")
            there.release()
            await let_go.wait()

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            if message["type"] == "http.response.start":
                answers.append(message["status"])
                there.release()

        crowd = Crowd(working, requests=2)
        scope = {
            "type": "http",
            "method": method,
            "path": "/history.csv",
            "headers": [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        }
        asked = [asyncio.create_task(crowd(scope, receive, send)) for _ in range(4)]
        for _ in asked:
            await there.acquire()
        let_go.set()
        await asyncio.gather(*asked)

    asyncio.run(run())

    assert sorted(map(str, answers)) == ["503", "503", "begun", "begun"]


def test_a_person_has_one_heavy_request_answered_at_a_time_and_light_ones_next_to_it():
    let_go, there = threading.Event(), threading.Semaphore(0)
    app = FastAPI()

    @app.get("/history.csv")
    def export() -> str:
        there.release()
        assert let_go.wait(120)
        return "number"

    @app.get("/history")
    def history() -> str:
        return "acts"

    app.add_middleware(OwnLimits)
    with (
        TestClient(app, base_url=HOME) as client,
        TestClient(app, base_url=HOME, client=("10.0.0.7", 1)) as other,
        ThreadPoolExecutor(2) as others,
    ):
        held = others.submit(client.get, "/history.csv")
        assert there.acquire(timeout=120)
        second, light = client.get("/history.csv"), client.get("/history")
        elsewhere = others.submit(other.get, "/history.csv")
        assert there.acquire(timeout=120)
        let_go.set()
        first, again = held.result(30), client.get("/history.csv")
        codes = [a.status_code for a in (first, second, light, elsewhere.result(30), again)]

    assert codes == [200, 429, 200, 200, 200]
    assert "is still being made. Try again when it is complete." in second.text


def test_every_heavy_route_is_one_that_has_a_role():
    assert set(NEEDED) >= HEAVY
