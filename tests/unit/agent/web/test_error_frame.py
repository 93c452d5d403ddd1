"""An error is shown in the frame of the page, in the reviewer's language, with a way back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from labs.accounts import let_in
from labs.lab import HOME, NEXT_DAY, web_of

from agent.store.people import auth
from agent.web import create_app

BROWSER = {"accept": "text/html,application/xhtml+xml", "sec-fetch-site": "same-origin"}
FRAME = '<a class="mark" href="/">'


@pytest.fixture
def browser(lab):
    app = create_app(web_of(lab))
    with TestClient(app, base_url=HOME, raise_server_exceptions=False) as client:
        yield client


def from_page(path):
    return {**BROWSER, "referer": f"{HOME}{path}"}


def test_what_a_route_or_a_guard_refuses_keeps_the_frame_and_leads_back(browser):
    asked = [
        browser.get("/nowhere", headers=from_page("/orders")),
        browser.get("/review/blind/decide", headers=from_page("/orders")),
        browser.get("/", headers=from_page("/orders") | {"host": "elsewhere"}),
        browser.post("/review/blind", headers=from_page("/orders") | {"origin": "http://evil"}),
        browser.post("/review/name", headers=from_page("/orders"), content=b"x" * 1_000_001),
    ]

    assert [answer.status_code for answer in asked] == [404, 405, 421, 403, 413]
    for answer in asked:
        assert FRAME in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert int(answer.headers["content-length"]) == len(answer.content)
    assert 'href="/orders">Back to the page before' in asked[0].text
    assert "This address does not answer to such a request." in asked[1].text
    assert "so nothing was changed" in asked[3].text
    assert "Back to the page" not in asked[2].text  # it came from another host


def test_a_fault_of_ours_is_a_page_for_a_browser_and_json_for_a_program(lab):
    def broken():
        raise RuntimeError("out of order")

    app = create_app(replace(web_of(lab), taxonomy=broken), language="de")
    public_id = lab.take(reasons=("uncertain",))
    with TestClient(app, base_url=HOME, raise_server_exceptions=False) as browser:
        page = browser.get(f"/review/{public_id}", headers=from_page("/review"))
        program = browser.get("/api/v1/nothing", headers={"accept": "application/json"})

    assert page.status_code == 500
    assert FRAME in page.text
    assert "Zurück zur vorigen Seite" in page.text
    assert page.headers["x-frame-options"] == "DENY"
    assert "out of order" not in page.text
    assert program.json() == {"detail": "There is nothing of that name."}


def test_a_program_reads_the_same_sentence_as_before(browser):
    answer = browser.post("/review/blind", headers={"origin": "http://evil"})

    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == "That did not come from this page, so nothing was changed.\n"


def test_each_reviewer_reads_the_pages_in_the_chosen_language(lab):
    for name in ("Ann", "Bea"):
        hashed = auth.hash_password(f"a long pass phrase of {name}")
        lab.store.accounts.add(
            name, kind="person", role="reviewer", hashed=hashed, by="shell", at=NEXT_DAY
        )
    application = create_app(web_of(lab))
    with TestClient(application, base_url=HOME, headers=BROWSER) as browser:
        another_pc = TestClient(application, base_url=HOME, headers=BROWSER)

        def log_in(name, browser=browser):
            sent = {"name": name, "password": f"a long pass phrase of {name}"}
            assert browser.post("/login", data=sent).status_code == 200
            return browser.get("/review").text

        assert 'lang="en"' in log_in("Ann")
        answer = browser.post("/language", data={"to": "de"}, headers=from_page("/orders"))
        assert answer.url.path == "/orders"
        assert 'lang="de"' in answer.text
        assert 'lang="de"' in browser.get("/review").text
        assert '<html lang="en">' in log_in("Bea")
        assert '<html lang="de">' in log_in("Ann")
        assert '<html lang="de">' in log_in("Ann", another_pc)
        assert '<html lang="en">' in log_in("Bea", another_pc)
        browser.post("/language", data={"to": "xx"})
        assert '<html lang="de">' in browser.get("/review").text
        assert browser.get("/api/v1/none").json()["detail"] == "There is nothing of that name."


def test_the_language_can_be_chosen_before_a_login_and_leads_to_no_other_site(browser):
    answer = browser.post(
        "/language",
        data={"to": "de"},
        headers=BROWSER | {"referer": "http://evil/x"},
        follow_redirects=False,
    )

    assert answer.headers["location"] == "/review"
    assert '<html lang="de">' in browser.get("/review").text


def test_who_is_logged_in_is_named_where_the_role_is_refused(lab, browser_of):
    let_in(lab, "Vic", "viewer")

    answer = browser_of("Vic").get("/setup/taxonomy", headers=BROWSER)

    assert answer.status_code == 403
    assert "This needs the role admin; yours is viewer." in answer.text
    assert "<bdi>Vic</bdi>" in answer.text
