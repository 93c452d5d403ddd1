"""A decision is kept while the server is away, is sent again, and counts once whatever happens."""

from __future__ import annotations

import socket
import threading

import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, minutes, web_of
from servers.browser import CHROMIUM, until, until_ready
from servers.pages import Server, decided

from agent.errors import UsageError
from agent.store import Decision
from agent.web import create_app

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")

UNSAVED = "Not saved; trying again"
ID = "3f0c9a7e-once"


def browser_of(lab):
    return TestClient(create_app(web_of(lab)), base_url=HOME, headers={"origin": HOME})


def sent(lab, public_id, *, code="G8", decision_id=ID, **more):
    view = lab.store.results.find(public_id)
    form = {"decision": f"code:{code}", "by": "Ann", "decision_id": decision_id}
    form |= {"result_id": str(view.result.id), "label_id": ""}
    return browser_of(lab).post(
        f"/review/{public_id}/decide", data=form | more, follow_redirects=False
    )


def test_a_decision_that_is_sent_twice_under_one_id_counts_once(lab):
    first, second = (lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(2))

    answers = [sent(lab, first) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 303]
    assert [answer.headers["location"] for answer in answers] == [f"/review/{second}"] * 2
    assert len(lab.store.results.find(first).labels) == 1
    acts = [act for act in lab.store.audit_log.iter_acts() if act.act == "label.given"]
    assert [act.facts["decision_id"] for act in acts] == [ID]
    assert lab.store.audit_log.find_problems() == []


def test_what_was_taken_back_is_not_appended_again_by_a_late_attempt(lab):
    public_id = lab.take("G8", reasons=("uncertain",))
    sent(lab, public_id)
    lab.store.labels.undo(public_id, by="Ann", at=minutes(2000))

    assert sent(lab, public_id).status_code == 303

    assert lab.store.results.find(public_id).label is None


def test_another_decision_under_the_same_id_is_refused(lab):
    public_id = lab.take("G8", reasons=("uncertain",))
    sent(lab, public_id)

    assert sent(lab, public_id, code="G7").status_code == 422
    with pytest.raises(UsageError, match="was used for another decision"):
        lab.store.labels.decide(
            public_id, Decision("code", "Bob", code="G8", decision_id=ID), at=minutes(2000)
        )

    assert [label.code for label in lab.store.results.find(public_id).labels] == ["G8"]


def test_a_decision_for_a_whole_specimen_counts_once_for_each_field(lab):
    told = {"order": "4711", "specimen": "01"}
    ids = [
        lab.take("G8", reasons=("uncertain",), at=minutes(n), field=str(n), **told)
        for n in range(3)
    ]

    for _ in range(2):
        sent(lab, ids[0], together="1")

    assert [len(lab.store.results.find(one).labels) for one in ids] == [1, 1, 1]


@pytest.mark.parametrize("wrong", ["short", "with blank!", "x" * 65])
def test_an_id_that_is_none_is_refused(lab, wrong):
    public_id = lab.take("G8", reasons=("uncertain",))

    assert sent(lab, public_id, decision_id=wrong).status_code == 422

    assert lab.store.results.find(public_id).labels == ()


def test_a_program_sends_its_decision_again_under_the_same_id(lab):
    public_id = lab.take("G8", reasons=("uncertain",))
    body = {"by": "Ann", "code": "G8", "decision_id": ID, "label_seen": None}

    answers = [
        browser_of(lab).post(f"/api/v1/micrographs/{public_id}/decisions", json=body)
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["label"] == answers[1].json()["label"]
    assert len(lab.store.results.find(public_id).labels) == 1


# --- in a browser, with a server that goes away ---------------------------------------------------


class LossyWire:
    """Passes on what a browser and a server send, and loses the answers to decisions on demand."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.left_to_lose = 0
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                browser, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(browser,), daemon=True).start()

    def _pass_on(self, browser: socket.socket) -> None:
        loses = threading.Event()
        with browser, socket.create_connection(self._server) as server:
            threading.Thread(
                target=self._answer, args=(server, browser, loses), daemon=True
            ).start()
            while part := _received(browser):
                if b"/decide " in part.split(b"\r\n", 1)[0] and self.left_to_lose:
                    self.left_to_lose -= 1
                    loses.set()
                server.sendall(part)

    def _answer(
        self, server: socket.socket, browser: socket.socket, loses: threading.Event
    ) -> None:
        while part := _received(server):
            if loses.is_set():  # it has done what it was asked, and no one hears of it
                self.lost += 1
                browser.shutdown(socket.SHUT_RDWR)
                return
            browser.sendall(part)

    def close(self) -> None:
        self._listener.close()


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(1_000_000)
    except OSError:
        return b""


@pytest.fixture
def server(lab, tmp_path):
    running = Server(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def page():
    """A tab whose console may name what it could not reach."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page
        browser.close()
    assert faults == []


def begun(page, address, public_id):
    page.goto(f"{address}/review/{public_id}")
    page.fill("#by", "Ann")
    page.fill("#comment", "fine needles")
    page.locator("h1").click()
    until_ready(page, public_id)


@pytest.mark.slow
def test_a_decision_outlives_the_server_that_it_was_sent_to(lab, server, page):
    first, second = (lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(2))
    begun(page, server.url, first)
    server.kill()

    page.click("button[value='code:G7']")
    page.get_by_text(UNSAVED).wait_for()
    page.keyboard.press("Enter")  # decides nothing more
    assert page.url.endswith(first)
    assert page.input_value("#comment") == "fine needles"
    assert page.input_value("#by") == "Ann"
    server.start()
    until_ready(page, second)

    (label,) = lab.store.results.find(first).labels
    assert (label.code, label.by, label.comment) == ("G7", "Ann", "fine needles")
    assert lab.store.results.find(second).labels == ()
    assert page.get_by_text(UNSAVED).count() == 0
    assert page.evaluate("sessionStorage.length") == 0


@pytest.mark.slow
def test_a_decision_outlives_a_reload_of_its_page(lab, server, page):
    first, second = (lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(2))
    begun(page, server.url, first)
    server.kill()
    page.keyboard.press("Enter")
    page.get_by_text(UNSAVED).wait_for()

    with pytest.raises(playwright.Error):
        page.reload()
    server.start()
    page.goto(f"{server.url}/review/{first}")
    until_ready(page, second)

    (label,) = lab.store.results.find(first).labels
    assert (label.code, label.by, label.comment) == ("G8", "Ann", "fine needles")


@pytest.mark.slow
def test_an_answer_that_is_lost_on_its_way_does_not_make_two_decisions(lab, server, page):
    first, second = (lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(2))
    wire = LossyWire(int(server.url.rpartition(":")[2]))
    wire.left_to_lose = 2
    begun(page, wire.url, first)

    page.keyboard.press("Enter")
    until_ready(page, second)
    wire.close()

    assert wire.lost == 2
    assert [label.code for label in lab.store.results.find(first).labels] == ["G8"]
    assert lab.store.results.find(second).labels == ()
    assert decided(lab, first).by == "Ann"


@pytest.mark.slow
def test_a_kept_decision_of_ann_is_not_sent_under_the_name_of_bob(lab, server, page):
    (first,) = (lab.take("G8", reasons=("uncertain",)),)
    page.goto(f"{server.url}/review/name")
    page.fill("#by", "Ann")
    with page.expect_navigation(url="**/review"):
        page.keyboard.press("Enter")
    page.goto(f"{server.url}/review/{first}")
    until_ready(page, first)
    server.kill()
    page.keyboard.press("Enter")
    page.get_by_text(UNSAVED).wait_for()
    page.context.clear_cookies()
    page.context.add_cookies([{"name": "reviewer", "value": "Bob", "url": server.url}])
    server.start()

    page.get_by_text("Ann gave this decision, and Bob uses this browser now").wait_for()
    page.goto(f"{server.url}/review/{first}")
    until_ready(page, first)
    page.get_by_text("A decision of Ann is kept in this tab").wait_for()

    assert [label.by for label in lab.store.results.find(first).labels] == []


@pytest.mark.slow
def test_a_way_to_the_next_waits_for_the_server_and_keeps_the_page(lab, server, page):
    first, second = (lab.take("G8", reasons=("uncertain",), at=minutes(n)) for n in range(2))
    begun(page, server.url, first)
    server.kill()

    page.keyboard.press("j")
    page.get_by_text("The server does not answer").wait_for()
    assert page.input_value("#comment") == "fine needles"
    server.start()
    until_ready(page, second)
    until(page, "document.querySelector('#comment').value === ''")
