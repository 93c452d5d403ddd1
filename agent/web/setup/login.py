"""Log users in and out; where the lab has no accounts, reviewers enter their name.

The store keeps only the hash of the session cookie. Wrong passwords are limited per account, per
browser and per address.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from agent.errors import UsageError
from agent.site_time import local
from agent.store import Account
from agent.store.people import auth
from agent.web import cookies
from agent.web.authentication import COOKIE, LONGEST_LOGIN, Tallies, Tries, Who, who_is
from agent.web.context import WebContext
from agent.web.models.model_acts import require_password
from agent.web.pages import render_page
from reports import gettext as _
from reports import marked

LAST_NAME, DEVICE, LOGIN = "last_name", "device", "/login"
YEAR_S = 365 * 24 * 3600
WRONG = marked("Wrong name or password.")
WAIT = marked("Too many wrong passwords. Wait until {at}, or ask an administrator.")
BUSY = marked("Many people log in right now; try again in a moment.")
WAIT_ADDRESS = marked("Too many wrong passwords from this PC; wait ten minutes.")


def router(web: WebContext) -> APIRouter:
    """Build the routes for logging in and out."""
    routes = APIRouter(include_in_schema=False)
    _give_login(routes, web)
    _give_name(routes, web)
    _give_account(routes, web)
    return routes


@dataclass(frozen=True, slots=True)
class _Door:
    """Counters of failed log-ins, and the password check."""

    tries: Tries = field(default_factory=Tries)
    unknown: Tallies = field(default_factory=Tallies)
    browsers: Tallies = field(default_factory=Tallies)
    check: auth.PasswordCheck = field(default_factory=auth.PasswordCheck)


def _give_login(routes: APIRouter, web: WebContext) -> None:
    door = _Door()

    @routes.get("/login")
    def login(request: Request) -> Response:
        then = request.query_params.get("then", "")
        if not web.store.accounts.are_there():
            return RedirectResponse(f"/review/name?then={quote(then, safe='')}", 303)
        return _render(web, request, then=then)

    @routes.post("/login")
    def come_in(
        request: Request,
        name: Annotated[str, Form()] = "",
        password: Annotated[str, Form()] = "",
        then: Annotated[str, Form()] = "",
    ) -> Response:
        address, at = request.client.host if request.client else "", web.now()
        if not door.tries.take(address, at=at):
            return _render(web, request, 429, name=name, then=then, wrong=_(WAIT_ADDRESS))
        browser = auth.hash_token(request.cookies.get(DEVICE, "") or "none")
        try:
            account, wrong = _checked(web, door, name, password, browser)
        except auth.PasswordCheckBusyError:
            door.tries.give_back(address)
            page = _render(web, request, 503, name=name, then=then, wrong=_(BUSY))
            page.headers["Retry-After"] = "5"
            return page
        if account is None:
            return _render(web, request, 401, name=name, then=then, wrong=wrong)
        door.tries.give_back(address)
        return _logged_in(web, request, account, then)

    @routes.post("/logout")
    def go(request: Request) -> Response:
        if cookie := request.cookies.get(COOKIE):
            web.store.accounts.end(auth.hash_token(cookie), at=web.now())
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer


def _give_name(routes: APIRouter, web: WebContext) -> None:
    @routes.get("/review/name")
    def name(request: Request) -> Response:
        then = local_path(request.query_params.get("then", ""))
        if who_is(request):
            return RedirectResponse("/account", 303)
        return render_page(
            web, request, "name", then=then, action="/review/name", fields=(), wrong=""
        )

    @routes.post("/review/name")
    def named(
        request: Request, by: Annotated[str, Form()] = "", then: Annotated[str, Form()] = ""
    ) -> Response:
        if wrong := cookies.wrong_name(by):
            facts = {"reviewer": by, "then": local_path(then), "action": "/review/name"}
            return render_page(web, request, "name", 422, fields=(), wrong=wrong, **facts)
        answer = RedirectResponse(local_path(then), 303)
        cookies.keep(answer, cookies.NAME, by.strip())
        return answer


def _give_account(routes: APIRouter, web: WebContext) -> None:
    check = auth.PasswordCheck()

    @routes.get("/account")
    def show(request: Request) -> Response:
        who = who_is(request)
        if who is None:
            return RedirectResponse("/review/name", 303)
        return _render_account(web, request, who)

    @routes.post("/account")
    def change(
        request: Request,
        own: Annotated[str, Form()] = "",
        password: Annotated[str, Form()] = "",
        again: Annotated[str, Form()] = "",
    ) -> Response:
        who = who_is(request)
        if who is None:
            return RedirectResponse("/review/name", 303)
        try:
            require_password(web, who.name, own, check)
            require_same(password, again)
            hashed = auth.hash_password(password, name=who.name)
            web.store.accounts.set_hash(who.name, hashed, by=who.name, at=web.now())
        except UsageError as error:
            return _render_account(web, request, who, 422, wrong=str(error))
        return RedirectResponse(f"/login?{urlencode({'then': '/account'})}", 303)


def require_same(password: str, again: str) -> None:
    """Raise `UsageError` unless a new password was typed twice alike."""
    if password != again:
        raise UsageError(_("The two passwords differ."))


def _render_account(
    web: WebContext, request: Request, who: Who, code: int = 200, *, wrong: str = ""
) -> Response:
    facts = {"reviewer": who.name, "role": who.role, "wrong": wrong}
    return render_page(web, request, "account", code, **facts)


def local_path(then: str) -> str:
    """Return a path on this site, else the queue: no redirect may lead to another site."""
    good = then.startswith("/") and not then.startswith(("//", "/\\")) and then.isprintable()
    return then if good else "/review"


def _checked(
    web: WebContext, door: _Door, name: str, password: str, browser: str
) -> tuple[Account | None, str]:
    """Return the account that the password belongs to, or None and the error message.

    Raises:
        PasswordCheckBusyError: Too many passwords are being checked.
    """
    known, at = web.store.accounts, web.now()
    name = auth.spelled(name)
    tried = known.begin_try(name, browser=browser, at=at)
    account, locked = tried.account, tried.locked_until
    if account is None:
        locked = door.unknown.take(name, at=at)
    elif tried.is_known_browser:
        locked = door.browsers.take(browser, at=at)
    if locked:
        return None, _(WAIT).format(at=local(locked, web.zone))
    comes_in = account is not None and account.kind == "person" and account.disabled_at is None
    if door.check.is_password(account.hashed if account and comes_in else None, password):
        door.browsers.clear(browser)
        return account, ""
    known.failed(_shown(name), at=at)
    return None, _(WRONG)


def _shown(name: str) -> str:
    # The input may contain any character; the audit log keeps the printable ones.
    kept = "".join(letter for letter in " ".join(name.split()) if letter.isprintable())
    return kept[: auth.LONGEST_NAME]


def _logged_in(web: WebContext, request: Request, account: Account, then: str) -> Response:
    if before := request.cookies.get(COOKIE):
        web.store.accounts.end(auth.hash_token(before), at=web.now())
    token = auth.make_token()
    web.store.accounts.begin(account.name, cookie=auth.hash_token(token), at=web.now())
    answer = RedirectResponse(local_path(then), 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE,
        token,
        max_age=int(LONGEST_LOGIN.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    # Proves an earlier log-in of this browser, so that others' tries do not lock it out.
    answer.set_cookie(
        DEVICE,
        token,
        max_age=YEAR_S,
        path=LOGIN,
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    answer.set_cookie(
        LAST_NAME, quote(account.name, safe=""), max_age=YEAR_S, httponly=True, samesite="strict"
    )
    cookies.resume_choice(web, answer, account.name)
    return answer


def _render(
    web: WebContext,
    request: Request,
    code: int = 200,
    *,
    then: str,
    name: str = "",
    wrong: str = "",
) -> Response:
    who = who_is(request)
    return render_page(
        web,
        request,
        "login",
        code,
        reviewer=who.name if who else "",
        name=name or unquote(request.cookies.get(LAST_NAME, "")),
        then=local_path(then),
        wrong=wrong,
    )
