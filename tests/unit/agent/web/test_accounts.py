"""Who is not known comes not in, and nobody does more than their role may."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from hypothesis import given
from hypothesis import strategies as st
from labs.accounts import AT, PASSWORD, let_in
from labs.lab import web_of
from servers.pages import form_of
from typer.testing import CliRunner

from agent.cli.app import app
from agent.errors import BadSettingsError, UsageError
from agent.service import Pages
from agent.settings import WebSection
from agent.store import Decision
from agent.store.people import auth
from agent.web import create_app
from agent.web.authentication import Tries

# --- the door -----------------------------------------------------------------------------------


def test_without_accounts_whoever_sits_here_says_a_name(lab, browser_of):
    public_id = lab.take(reasons=("uncertain",))
    browser = browser_of()
    form = form_of(lab, public_id, "code:G8", by="Ann")

    assert browser.get("/review").status_code == 200
    assert browser.post(f"/review/{public_id}/decide", data=form).status_code == 303
    assert lab.store.results.find(public_id).label.by == "Ann"


@pytest.mark.parametrize("name", ["agent", "AGENT", "\uff41gent", "agent retrain", "Order List"])
def test_no_person_signs_as_the_program(lab, browser_of, name):
    public_id = lab.take(reasons=("uncertain",))
    browser = browser_of()

    by_form = browser.post(
        f"/review/{public_id}/decide", data=form_of(lab, public_id, "code:G8", by=name)
    )
    sent = {"code": "G8", "by": name}
    by_program = browser.post(f"/api/v1/micrographs/{public_id}/decisions", json=sent)

    assert (by_form.status_code, by_program.status_code) == (422, 422)
    assert lab.store.results.find(public_id).label is None
    with pytest.raises(UsageError, match="name of the program"):
        let_in(lab, name, "reviewer")


def test_the_first_account_closes_the_door_for_everybody_else(lab, browser_of):
    public_id = lab.take(reasons=("uncertain",))
    let_in(lab, "Ann", "reviewer")
    browser = browser_of()

    page = browser.get(f"/review/{public_id}?reason=uncertain")

    assert page.status_code == 303
    assert page.headers["location"] == f"/login?then=%2Freview%2F{public_id}%3Freason%3Duncertain"
    assert browser.get("/api/v1/queue").status_code == 401
    assert browser.get("/metrics").status_code == 401
    assert browser.get(f"/pictures/{public_id}/crop.jpg").status_code == 303
    assert browser.get("/healthz").status_code == 200


def test_a_right_password_leads_to_where_one_wanted_to_go(lab, browser_of):
    let_in(lab, "Ann", "reviewer")
    sent = {"name": " Ann ", "password": PASSWORD, "then": "/reports/index.html"}

    answer = browser_of().post("/login", data=sent)

    assert answer.headers["location"] == "/reports/index.html"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


@pytest.mark.parametrize("then", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_the_door_leads_to_no_other_site(lab, browser_of, then):
    let_in(lab, "Ann", "reviewer")

    answer = browser_of().post("/login", data={"name": "Ann", "password": PASSWORD, "then": then})

    assert answer.headers["location"] == "/review"


def test_a_password_is_hashed_as_rfc_9106_advises_also_where_there_is_no_account():
    script = (
        "from agent.store.people import auth\n"
        "assert not auth.is_password(None, 'x')\n"
        "print(auth.hash_password('four words nobody guesses'))\n"
        "print(auth.build_hash_of_nobody())"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    known, unknown = (extract_parameters(line) for line in done.stdout.splitlines())
    assert known == unknown
    assert (known.type, known.memory_cost, known.time_cost) == (Type.ID, 64 * 1024, 3)


@pytest.mark.parametrize("name", ["Ann", "Nobody", "<script>alert(1)</script>", "A" * 5000])
def test_a_wrong_password_and_a_wrong_name_are_told_alike(lab, browser_of, name):
    let_in(lab, "Ann", "reviewer")

    answer = browser_of().post("/login", data={"name": name, "password": "wrong"})

    assert answer.status_code == 401
    assert "Wrong name or password." in answer.text
    assert "<script>alert" not in answer.text


def test_five_wrong_passwords_lock_an_account_for_longer_and_longer(lab, browser_of, clock):
    let_in(lab, "Ann", "reviewer")
    browser = browser_of()
    for _ in range(5):
        browser.post("/login", data={"name": "Ann", "password": "wrong"})

    right = {"name": "Ann", "password": PASSWORD}
    assert "Wait until" in browser.post("/login", data=right).text
    clock.at += timedelta(seconds=61)
    assert browser.post("/login", data=right).status_code == 303


def test_one_pc_cannot_try_many_names(lab, browser_of, clock):
    let_in(lab, "Ann", "reviewer")
    browser = browser_of()
    for number in range(20):
        browser.post("/login", data={"name": f"name {number}", "password": "wrong"})

    right = {"name": "Ann", "password": PASSWORD}
    assert browser.post("/login", data=right).status_code == 429
    clock.at += timedelta(minutes=11)
    assert browser.post("/login", data=right).status_code == 303


@pytest.mark.parametrize("name", ["Ann", "Nobody"])
def test_a_lock_does_not_tell_whether_there_is_an_account(lab, browser_of, name):
    let_in(lab, "Ann", "reviewer")
    browser = browser_of()

    told = [browser.post("/login", data={"name": name, "password": "x"}) for _ in range(7)]

    assert [answer.status_code for answer in told] == [401] * 7
    assert ["Wait until" in answer.text for answer in told] == [False] * 5 + [True] * 2


def test_many_wrong_passwords_at_once_are_no_more_tries_than_one_by_one(lab, browser_of):
    let_in(lab, "Ann", "reviewer")
    browsers = [browser_of() for _ in range(20)]
    together = threading.Barrier(20)

    def guess(browser):
        together.wait(120)
        return browser.post("/login", data={"name": "Ann", "password": "wrong"}).text

    with ThreadPoolExecutor(20) as guessers:
        told = list(guessers.map(guess, browsers))

    evaluated = [
        page for page in told if "Wait until" not in page and "Many people log in" not in page
    ]
    assert len(evaluated) <= 5
    assert (
        len([entry for entry in lab.store.audit_log.iter_acts() if entry.act == "login.failed"])
        <= 5
    )


def test_no_more_than_two_passwords_are_hashed_at_once(monkeypatch):
    monkeypatch.setattr(auth, "PASSWORD_HASHER", PasswordHasher())  # long enough to meet
    check, hashed = auth.PasswordCheck(at_once=2, waiting=1), auth.hash_password(PASSWORD)
    together = threading.Barrier(12)

    def check_one(_):
        together.wait(120)
        try:
            return check.is_password(hashed, PASSWORD)
        except auth.PasswordCheckBusyError:
            return "busy"

    with ThreadPoolExecutor(12) as many:
        told = list(many.map(check_one, range(12)))

    assert set(told) == {True, "busy"}
    assert check.is_password(hashed, PASSWORD)


def test_a_wrong_password_an_hour_locks_nobody_out(lab, browser_of, clock):
    let_in(lab, "Ann", "reviewer")
    stranger = browser_of()
    for _ in range(12):
        stranger.post("/login", data={"name": "Ann", "password": "wrong"})
        stranger.post("/login", data={"name": "Ann", "password": "wrong"})
        clock.at += timedelta(minutes=11)
    for _ in range(48):
        clock.at += timedelta(hours=1)
        stranger.post("/login", data={"name": "Ann", "password": "wrong"})

    assert "session" in browser_of("Ann").cookies


def test_what_others_try_does_not_lock_out_a_browser_that_was_logged_in_before(lab, browser_of):
    let_in(lab, "Ann", "reviewer")
    anns, stranger = browser_of("Ann"), browser_of()
    anns.post("/logout")
    for _ in range(6):
        stranger.post("/login", data={"name": "Ann", "password": "wrong"})
    right = {"name": "Ann", "password": PASSWORD}

    assert "Wait until" in stranger.post("/login", data=right).text
    assert anns.post("/login", data=right).status_code == 303


def test_a_browser_that_was_logged_in_before_is_locked_by_its_own_tries(lab, browser_of):
    let_in(lab, "Ann", "reviewer")
    browser = browser_of("Ann")
    for _ in range(5):
        browser.post("/login", data={"name": "Ann", "password": "wrong"})

    told = browser.post("/login", data={"name": "Ann", "password": PASSWORD}).text

    assert "Wait until" in told


def test_that_a_browser_was_logged_in_before_opens_no_other_account(lab, browser_of):
    let_in(lab, "Ann", "reviewer")
    let_in(lab, "Eve", "reviewer")
    eves = browser_of("Eve")
    for _ in range(5):
        eves.post("/login", data={"name": "Ann", "password": "wrong"})

    assert "Wait until" in eves.post("/login", data={"name": "Ann", "password": PASSWORD}).text


@given(st.integers(0, 10_000))
def test_a_lock_never_gets_shorter_and_never_exceeds_an_hour(number):
    before, after = (auth.lock_after(5 + 2 * n) for n in (number, number + 1))

    assert timedelta(minutes=1) <= before <= after <= timedelta(hours=1)


@given(st.lists(st.integers(0, 7200), max_size=60))
def test_the_tally_of_an_account_never_falls_below_its_last_try(pauses):
    tally, at = auth.AttemptCounter(), AT
    for pause_s in pauses:
        at += timedelta(seconds=pause_s)
        if not tally.is_locked(at):
            tally = tally.counted(at)
            assert tally.failures >= 1
            assert AT <= at <= tally.until <= at + timedelta(hours=1)


def test_tries_are_forgotten():
    tries = Tries()
    assert all(tries.take("10.0.0.7", at=AT) for _ in range(20))

    assert not tries.take("10.0.0.7", at=AT)
    assert tries.take("10.0.0.8", at=AT)
    assert tries.take("10.0.0.7", at=AT + timedelta(minutes=10, seconds=1))


def test_the_addresses_that_one_pc_has_in_ipv6_are_one():
    tries = Tries()
    for number in range(20):
        tries.take(f"2001:db8::{number:x}", at=AT)

    assert not tries.take("2001:db8::ffff", at=AT)
    assert tries.take("2001:db8:0:1::1", at=AT)


# --- staying and going --------------------------------------------------------------------------


def test_a_silent_browser_is_locked_and_a_busy_one_is_not(lab, browser_of, clock):
    let_in(lab, "Ann", "reviewer")
    busy, silent = browser_of("Ann"), browser_of("Ann")

    for _ in range(3):
        clock.at += timedelta(minutes=20)
        assert busy.get("/review").status_code == 200

    assert silent.get("/review").status_code == 303


def test_after_twelve_hours_even_a_busy_browser_logs_in_again(lab, browser_of, clock):
    let_in(lab, "Ann", "reviewer")
    browser = browser_of("Ann")
    for _ in range(36):
        clock.at += timedelta(minutes=20)
        assert browser.get("/review").status_code == 200

    clock.at += timedelta(minutes=20)

    assert browser.get("/review").status_code == 303


def test_who_logs_out_is_out_even_with_the_old_cookie(lab, browser_of):
    let_in(lab, "Ann", "reviewer")
    browser = browser_of("Ann")
    kept = browser.cookies["session"]

    browser.post("/logout")
    browser.cookies.set("session", kept, domain="127.0.0.1")

    assert browser.get("/review").status_code == 303


def test_every_page_has_the_account_and_its_log_out_in_sight(lab, browser_of):
    let_in(lab, "Ann", "reviewer")
    page = browser_of("Ann").get("/").text

    assert 'action="/logout"' in page
    assert '<a href="/account"><b><bdi>Ann</bdi></b></a>' in page
    assert "Enter your name" not in page


def test_a_person_changes_the_own_password_and_every_browser_logs_in_again(lab, browser_of):
    let_in(lab, "Ann", "reviewer")
    browser, other = browser_of("Ann"), browser_of("Ann")
    new = {"password": "another long pass phrase", "again": "another long pass phrase"}

    account = browser.get("/account").text
    refused = browser.post("/account", data={**new, "own": "wrong"})
    differ = browser.post("/account", data={**new, "own": PASSWORD, "again": "x"})
    changed = browser.post("/account", data={**new, "own": PASSWORD})

    assert "Ann" in account
    assert "reviewer" in account
    assert [refused.status_code, differ.status_code, changed.status_code] == [422, 422, 303]
    assert other.get("/account").headers["location"].startswith("/login")
    (stored,) = lab.store.accounts.every()
    assert auth.is_password(stored.hashed, new["password"])


def test_a_forged_cookie_opens_nothing(lab, browser_of):
    let_in(lab, "Ann", "admin")
    hashed = auth.hash_token(browser_of("Ann").cookies["session"])
    browser = browser_of()

    for forged in ("Ann", "1", hashed, "' OR 1=1 --"):
        browser.cookies.set("session", forged, domain="127.0.0.1")
        assert browser.get("/review").status_code == 303


@pytest.mark.parametrize("act", ["disable", "password", "role"])
def test_a_change_of_the_account_ends_its_logins(lab, browser_of, act):
    let_in(lab, "Ann", "reviewer")
    browser, known = browser_of("Ann"), lab.store.accounts
    if act == "disable":
        known.disable("Ann", disabled=True, by="shell", at=AT)
    elif act == "password":
        known.set_hash("Ann", auth.hash_password("another pass phrase"), by="shell", at=AT)
    else:
        known.set_role("Ann", "viewer", by="shell", at=AT)

    assert browser.get("/review").status_code == 303


def test_a_disabled_account_comes_not_in(lab, browser_of):
    let_in(lab, "Ann", "reviewer")
    lab.store.accounts.disable("Ann", disabled=True, by="shell", at=AT)

    assert "session" not in browser_of("Ann").cookies


# --- what a role may do -------------------------------------------------------------------------


def test_a_viewer_looks_and_a_reviewer_decides_under_the_own_name(lab, browser_of):
    public_id = lab.take(reasons=("uncertain",))
    let_in(lab, "Vic", "viewer")
    let_in(lab, "Rob", "reviewer")
    form = form_of(lab, public_id, "code:G8", by="Somebody else")
    viewer, reviewer = browser_of("Vic"), browser_of("Rob")

    assert "Your account may look" in viewer.get(f"/review/{public_id}").text
    assert viewer.post(f"/review/{public_id}/decide", data=form).status_code == 403
    assert lab.store.results.find(public_id).labels == ()

    assert reviewer.post(f"/review/{public_id}/decide", data=form).status_code == 303
    assert lab.store.results.find(public_id).label.by == "Rob"


def test_what_somebody_else_decided_only_a_lead_takes_back(lab, browser_of):
    public_id = lab.take(reasons=("uncertain",))
    for name, role in (("Rob", "reviewer"), ("Eve", "reviewer"), ("Lea", "lead")):
        let_in(lab, name, role)
    browser_of("Rob").post(f"/review/{public_id}/decide", data=form_of(lab, public_id, "code:G8"))

    assert browser_of("Eve").post(f"/review/{public_id}/undo").status_code == 403
    assert lab.store.results.find(public_id).label.by == "Rob"
    assert browser_of("Lea").post(f"/review/{public_id}/undo").status_code == 303


@given(st.sampled_from(auth.ROLES), st.sampled_from(auth.ROLES))
def test_a_role_may_do_what_those_before_it_may(role, need):
    assert auth.may(role, need) == (auth.ROLES.index(role) >= auth.ROLES.index(need))
    assert not auth.may("root", need)


def test_a_cookie_alone_changes_nothing(lab, browser_of):
    public_id = lab.take(reasons=("uncertain",))
    let_in(lab, "Rob", "reviewer")
    browser = browser_of("Rob")
    del browser.headers["origin"]

    answer = browser.post(f"/review/{public_id}/decide", data=form_of(lab, public_id, "code:G8"))

    assert answer.status_code == 403
    assert lab.store.results.find(public_id).labels == ()


# --- programs -----------------------------------------------------------------------------------


def test_a_program_with_a_token_decides_for_a_person_and_is_named(lab, program):
    public_id = lab.take(reasons=("uncertain",))

    sent = {"by": "R. Stahl", "code": "G8"}
    answer = program.post(f"/api/v1/micrographs/{public_id}/decisions", json=sent)

    assert answer.status_code == 201
    assert lab.store.results.find(public_id).label.by == "R. Stahl (by Fiji-3)"
    assert program.get("/metrics").status_code == 200


@pytest.fixture
def program(lab, browser_of):
    """A browser that shows the token of the program Fiji-3."""
    token = auth.make_token()
    hashed = auth.hash_token(token)
    lab.store.accounts.add(
        "Fiji-3", kind="program", role="reviewer", hashed=hashed, by="shell", at=AT
    )
    program = browser_of()
    program.headers["authorization"] = f"Bearer {token}"
    return program


def origin_of(lab, act):
    """Return the origin that the newest act of this name keeps."""
    return list(lab.store.audit_log.iter_acts(act))[-1].facts["signed"]


def test_an_act_on_a_page_keeps_the_page_and_whoever_was_logged_in(lab, browser_of):
    public_id = lab.take(reasons=("uncertain",))
    let_in(lab, "Ann", "reviewer")
    browser = browser_of("Ann")

    form = form_of(lab, public_id, "code:G8", by="Ann")
    assert browser.post(f"/review/{public_id}/decide", data=form).status_code == 303

    assert origin_of(lab, "label.given") == {
        "kind": "web",
        "account": "Ann",
        "proof": "password",
        "address": "testclient",
    }


def test_an_act_of_a_program_keeps_its_account_and_that_it_showed_a_token(lab, program):
    public_id = lab.take(reasons=("uncertain",))

    sent = {"by": "leo", "code": "G8"}
    assert program.post(f"/api/v1/micrographs/{public_id}/decisions", json=sent).status_code == 201

    assert origin_of(lab, "label.given") == {
        "kind": "api",
        "account": "Fiji-3",
        "proof": "token",
        "address": "testclient",
    }


def test_an_act_outside_a_request_keeps_no_origin_of_one(lab, browser_of):
    public_id = lab.take(reasons=("uncertain",))
    browser_of().get("/review")

    lab.store.labels.decide(public_id, Decision("code", "Leo", code="G8"), at=AT)

    assert "signed" not in list(lab.store.audit_log.iter_acts("label.given"))[-1].facts


@pytest.mark.parametrize("padding", ["", " " * 60, " " * 77])
def test_a_program_signs_as_itself_however_a_name_is_padded(lab, program, padding):
    public_id = lab.take(reasons=("uncertain",))
    sent = {"by": "leo" + padding, "code": "G8"}

    answer = program.post(f"/api/v1/micrographs/{public_id}/decisions", json=sent)

    assert answer.status_code == 201
    assert lab.store.results.find(public_id).label.by == "leo (by Fiji-3)"


def test_a_program_that_would_hide_its_own_name_is_refused(lab, program):
    public_id = lab.take(reasons=("uncertain",))
    sent = {"by": "l" * 78, "code": "G8"}

    answer = program.post(f"/api/v1/micrographs/{public_id}/decisions", json=sent)

    assert answer.status_code == 422
    assert lab.store.results.find(public_id).label is None


@pytest.mark.parametrize(
    "by", ["x (by 1)", "R. Stahl", "Fiji-3 (program)", "Fiji-4 (program)", "y (by z) (by z)"]
)
def test_programs_are_no_second_reviewer_whomever_they_name(lab, browser_of, program, by):
    let_in(lab, "Ann", "reviewer")
    public_id = lab.take(reasons=("uncertain",), thresholds={"double_share": 1.0})
    form = form_of(lab, public_id, "code:G7", by="Ann")
    assert browser_of("Ann").post(f"/review/{public_id}/decide", data=form).status_code == 303

    for name in ("leo", by):
        sent = {"by": name, "code": "G7", "comment": "seen"}
        answer = program.post(f"/api/v1/micrographs/{public_id}/decisions", json=sent)
        assert answer.status_code == 201

    view = lab.store.results.find(public_id)
    assert (view.label, [vote.by for vote in view.votes]) == (None, ["Ann"])


def decide_by_token(lab, browser, program, field, by="Ann"):
    sent = {"by": by, "code": "G7", "comment": "seen"}
    answer = program.post(f"/api/v1/micrographs/{field}/decisions", json=sent)
    assert answer.status_code == 201


def show_both(lab, browser, program, field):
    """Show a token and the cookie of a person in one request, by the page and by the API."""
    both = {"authorization": program.headers["authorization"]}
    browser.post(
        f"/review/{field}/decide", data=form_of(lab, field, "code:G7", by="Ann"), headers=both
    )
    sent = {"by": "Eve", "code": "G7", "comment": "seen"}
    browser.post(f"/api/v1/micrographs/{field}/decisions", json=sent, headers=both)


def disable_the_first(lab, browser, program, field):
    lab.store.accounts.disable("Ann", disabled=True, by="shell", at=AT)
    decide_by_token(lab, browser, program, field)


def raise_the_program(lab, browser, program, field):
    lab.store.accounts.set_role("Fiji-3", "lead", by="shell", at=AT)
    decide_by_token(lab, browser, program, field, by="Eve")


def give_another_spelling(lab, browser, program, field):
    with pytest.raises(UsageError):
        let_in(lab, "ANN", "reviewer")
    decide_by_token(lab, browser, program, field, by="ANN")


def take_back_and_give_again(lab, browser, program, field):
    lab.store.labels.undo(field, by="Ann", at=AT)
    form = form_of(lab, field, "code:G7", by="Ann")
    assert browser.post(f"/review/{field}/decide", data=form).status_code == 303


@pytest.mark.parametrize(
    "again",
    [
        decide_by_token,
        show_both,
        disable_the_first,
        raise_the_program,
        give_another_spelling,
        take_back_and_give_again,
    ],
)
def test_one_account_has_one_vote_however_it_comes_again(lab, browser_of, program, again):
    let_in(lab, "Ann", "reviewer")
    field = lab.take(reasons=("uncertain",), thresholds={"double_share": 1.0})
    browser = browser_of("Ann")
    form = form_of(lab, field, "code:G7", by="Ann")
    assert browser.post(f"/review/{field}/decide", data=form).status_code == 303

    again(lab, browser, program, field)

    view = lab.store.results.find(field)
    assert (view.label, [vote.by for vote in view.votes]) == (None, ["Ann"])


def test_a_program_decides_through_the_api_alone(lab, program):
    public_id = lab.take(reasons=("uncertain",))

    answer = program.post(
        f"/review/{public_id}/decide", data=form_of(lab, public_id, "code:G7", by="Fiji-3")
    )

    assert (answer.status_code, "through the API alone" in answer.text) == (403, True)
    assert lab.store.results.find(public_id).labels == ()


def test_a_leads_token_does_nothing_by_form(lab, browser_of):
    lab.take(reasons=("uncertain",), order="4711", specimen="1")
    token = auth.make_token()
    lab.store.accounts.add(
        "Robot", kind="program", role="lead", hashed=auth.hash_token(token), by="shell", at=AT
    )
    robot = browser_of()
    robot.headers["authorization"] = f"Bearer {token}"

    answer = robot.post("/orders/urgent", data={"number": "4711", "urgent": "1"})

    assert answer.status_code == 403
    assert not lab.store.orders.order("4711").urgent


@pytest.mark.parametrize("shown", ["Bearer wrong", "Bearer ", "Basic QTpi", "Bearer \u00e4"])
def test_a_forged_token_opens_nothing(lab, browser_of, shown):
    let_in(lab, "Ann", "admin")
    program = browser_of()

    answer = program.get("/api/v1/queue", headers={"authorization": shown.encode("latin-1")})

    assert answer.status_code == 401


def test_a_person_decides_for_nobody_else_through_the_api(lab, browser_of):
    public_id = lab.take(reasons=("uncertain",))
    let_in(lab, "Rob", "reviewer")

    answer = browser_of("Rob").post(
        f"/api/v1/micrographs/{public_id}/decisions", json={"by": "Ann", "code": "G8"}
    )

    assert answer.status_code == 403
    assert lab.store.results.find(public_id).labels == ()


# --- what is kept -------------------------------------------------------------------------------


def test_the_trail_knows_every_coming_and_going_and_no_secret(lab, browser_of):
    let_in(lab, "Ann", "reviewer")
    browser = browser_of("Ann")
    token = browser.cookies["session"]
    browser.post("/logout")
    browser_of("Ann", password="wrong pass phrase")  # noqa: S106 - a test's

    entries = list(lab.store.audit_log.iter_acts())
    said = "".join(str(entry) for entry in entries)

    assert [e.act for e in entries if e.act.startswith(("account", "login"))] == [
        "account.added",
        "login.began",
        "login.ended",
        "login.failed",
    ]
    assert PASSWORD not in said
    assert token not in said
    assert "argon2" not in said
    assert lab.store.audit_log.find_problems() == []


def test_a_password_is_kept_as_an_argon2_hash_and_checked_by_it():
    hashed = auth.hash_password(PASSWORD)

    assert hashed.startswith("$argon2id$")
    assert auth.is_password(hashed, PASSWORD)
    assert not auth.is_password(hashed, PASSWORD + "!")
    assert not auth.is_password(None, PASSWORD)
    assert not auth.is_password("no hash at all", PASSWORD)


def test_a_password_that_is_too_easy_or_too_long_is_refused():
    for password in (
        "short",
        "x" * 201,
        "robert stahl",
        "aaaaaaaaaa",
        "martensite12",
        "qwertyuiop1",
        "1234567890",
    ):
        with pytest.raises(UsageError, match="password"):
            auth.hash_password(password, name="Robert Stahl")


# --- the shell ----------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path, monkeypatch):
    import agent.cli.review.users  # noqa: F401, PLC0415 - registers the commands

    (tmp_path / "agent.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *words, typed="": runner.invoke(app, words, input=typed)


def test_accounts_are_kept_from_the_shell(agent):
    typed = f"{PASSWORD}\n{PASSWORD}\n"

    added = agent("users", "add", "R. Stahl", "--role", "lead", typed=typed)
    token = agent("users", "add", "Fiji-3", "--program", "--role", "viewer")
    agent("users", "change", "R. Stahl", "--role", "admin")
    agent("users", "change", "Fiji-3", "--disable")
    listed = agent("users", "list").output

    assert added.exit_code == 0
    assert "Account R. Stahl added with role lead" in added.output
    assert re.search(r"^[\w-]{43}$", token.stdout, re.MULTILINE)
    assert re.search(r"R\. Stahl .* admin .* active", listed)
    assert re.search(r"Fiji-3 .* viewer .* disabled", listed)


@pytest.mark.parametrize(
    "words",
    [
        ("add", "Ann", "--role", "king", "--password-stdin"),
        ("add", "", "--password-stdin"),
        ("change", "Nobody", "--role", "lead"),
        ("change", "Nobody", "--disable"),
    ],
)
def test_a_mistake_at_the_shell_is_a_sentence(agent, words):
    assert isinstance(agent("users", *words, typed=f"{PASSWORD}\n").exception, UsageError)


def test_a_name_is_given_once(agent):
    agent("users", "add", "Ann", "--password-stdin", typed=f"{PASSWORD}\n")

    again = agent("users", "add", "Ann", "--password-stdin", typed=f"{PASSWORD}\n")

    assert isinstance(again.exception, UsageError)


ALIKE = [
    "ann illig",
    "ANN ILLIG",
    "Ann lllig",
    "Ann 1llig",
    "\u0410nn Illig",
    "\uff21nn Illig",
    "AnnIllig",
]


def test_a_name_that_reads_like_an_account_is_refused(agent):
    for alike in ALIKE:
        agent("users", "add", "Ann Illig", "--password-stdin", typed=f"{PASSWORD}\n")

        again = agent("users", "add", alike, "--password-stdin", typed=f"{PASSWORD}\n")

        assert isinstance(again.exception, UsageError), alike
        assert "reads like" in str(again.exception) or "already" in str(again.exception), alike


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate with")
    made, key = tmp_path / "page.pem", tmp_path / "page.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", key, "-out", made],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


def test_with_a_certificate_the_page_is_https_and_its_cookie_stays_there(lab, certificate):
    made, key = map(str, certificate)
    let_in(lab, "Ann", "reviewer")
    pages = Pages(create_app(web_of(lab)), WebSection(port=0, certificate=made, key=key))
    pages.start()
    sent = f"name=Ann&password={PASSWORD.replace(' ', '+')}".encode()
    request = urllib.request.Request(f"{pages.url}/login", sent)  # noqa: S310 - ours
    context = ssl.create_default_context(cafile=made)

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), Stay)
    try:
        opener.open(request, timeout=120)
        answered = None
    except urllib.error.HTTPError as error:
        answered = error
    finally:
        pages.stop()
        pages.join(60)

    assert pages.url.startswith("https://")
    assert answered is not None
    assert answered.code == 303
    assert "Secure" in answered.headers["set-cookie"]
    assert answered.headers["strict-transport-security"].startswith("max-age=")


FORWARDED = {"x-forwarded-for": "10.9.8.7", "x-forwarded-proto": "https"}


@pytest.mark.parametrize(
    ("proxies", "secure", "trusted"),
    [((), False, False), (("127.0.0.1",), True, True), (("10.0.0.1",), False, False)],
)
def test_only_a_proxy_of_the_settings_says_from_where_a_request_comes(
    lab, proxies, secure, trusted
):
    let_in(lab, "Ann", "reviewer")
    pages = Pages(create_app(web_of(lab)), WebSection(port=0, proxies=proxies))
    pages.start()
    try:
        for number in range(21):
            sent = f"name=name{number}&password=wrong".encode()
            request = urllib.request.Request(  # noqa: S310 - ours
                f"{pages.url}/login", sent, FORWARDED | {"x-forwarded-for": f"10.9.8.{number}"}
            )
            with pytest.raises(urllib.error.HTTPError) as answered:
                urllib.request.urlopen(request, timeout=120)  # noqa: S310 - ours
    finally:
        pages.stop()
        pages.join(60)

    assert ("strict-transport-security" in answered.value.headers) is secure
    assert answered.value.code == (401 if trusted else 429)


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_a_certificate_without_its_key_is_refused(lab, certificate, missing):
    given_ = dict(zip(("certificate", "key"), map(str, certificate), strict=True)) | {missing: ""}

    with pytest.raises(BadSettingsError, match="belong together"):
        Pages(create_app(web_of(lab)), WebSection(port=0, **given_))


def test_a_certificate_that_is_none_is_refused(lab, tmp_path):
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")

    with pytest.raises(BadSettingsError, match="cannot be used"):
        Pages(create_app(web_of(lab)), WebSection(port=0, certificate=str(wrong), key=str(wrong)))
