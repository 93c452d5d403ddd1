"""Cookies of one reviewer: name, criterion, decisions of this session, language of the pages.

They do not authenticate; `authentication` does. Without accounts the name only saves typing. The
language is kept in the browser. With accounts it is recorded for the account too: it applies in
every browser where the account logs in, and two reviewers of one PC do not change each other's
pages. Without a choice it is the lab's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

import reports
from agent.store import is_own_name
from agent.web.authentication import who_is
from agent.web.context import LONGEST_NAME, WebContext
from reports import LANGUAGES, Language
from reports import gettext as _

NAME, CRITERION, LAST, COUNT = "reviewer", "criterion", "last", "decided"
BLIND = "blind_first"
MONTH_S = 30 * 24 * 3600


def keep(answer: Response, name: str, value: str, *, for_good: bool = True) -> None:
    """Set a cookie for a month, or until the browser is closed.

    Args:
        answer: The response that sets it.
        name: Name of the cookie.
        value: Any text.
        for_good: Keep it for a month.
    """
    answer.set_cookie(
        name,
        quote(value, safe=""),
        max_age=MONTH_S if for_good else None,
        httponly=True,
        samesite="strict",
    )


def name_of(request: Request) -> str:
    """Return the reviewer: the account that is logged in, else the name entered; "" for none."""
    if who := who_is(request):
        return who.signature
    name = unquote(request.cookies.get(NAME, ""))
    return "" if wrong_name(name) else name


def decides(request: Request, form: Mapping[str, str]) -> str:
    """Return the name under which a form decides: of the account that is logged in, if any."""
    said = "" if who_is(request) else form.get("by", "")
    return said or name_of(request)


def criterion_of(request: Request) -> str:
    """Return the criterion that was last used in this browser."""
    kept = unquote(request.cookies.get(CRITERION, ""))
    return kept if kept in reports.CRITERIA else "unrecorded"


def is_blind_first(request: Request) -> bool:
    """Return whether the reviewer requested micrographs without the model's answer."""
    return request.cookies.get(BLIND) == "1"


def count_of(request: Request) -> int:
    """Return how many micrographs were decided since the browser was opened."""
    return number(request.cookies.get(COUNT, "")) or 0


def wrong_name(by: str) -> str:
    """Return what is wrong with a name, "" for nothing."""
    if not by.strip():
        return _("A decision needs the name of who takes it.")
    if len(by.strip()) > LONGEST_NAME or not by.isprintable():
        return _("A name has at most {n} letters.").format(n=LONGEST_NAME)
    if is_own_name(by):
        return _("{name} is a name of the program. Enter your own.").format(name=by.strip())
    return ""


def number(text: str) -> int | None:
    """Parse a number that a browser sent; None where it is not one."""
    return int(text) if text.isdecimal() and len(text) < 16 else None  # noqa: PLR2004 - no bigint


COOKIE = "language"
CHOSEN = "language"
"""Kind of the records of the choices of an account."""
YEAR_S = 365 * 24 * 3600


def router(web: WebContext) -> APIRouter:
    """Build the route that changes the language."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/language")
    def choose(request: Request, to: Annotated[str, Form()] = "") -> Response:
        answer = RedirectResponse(find_page_before(request) or "/review", 303)
        if to in LANGUAGES:
            _keep(answer, COOKIE, to)
            if who := who_is(request):
                _record(web, who.name, to)
        return answer

    return routes


def read_choice(cookies: Mapping[str, str], default: Language) -> Language:
    """Return the language that a browser asks for, else the lab's."""
    wanted = cookies.get(COOKIE, "")
    return next((language for language in LANGUAGES if language == wanted), default)


def resume_choice(web: WebContext, answer: Response, name: str) -> None:
    """Set the language that an account chose, in whichever browser, as it logs in."""
    if chosen := _find_recorded(web, name):
        _keep(answer, COOKIE, chosen)
    else:
        answer.delete_cookie(COOKIE)


def find_page_before(request: Request) -> str:
    """Return the page of this site that a request came from, "" where none is known."""
    before = urlsplit(request.headers.get("referer", ""))
    if before.netloc.lower() != request.headers.get("host", "").lower():
        return ""
    path = before.path.removesuffix("/decide").removesuffix("/undo")
    if not path.startswith("/") or path.startswith("//") or path == "/language":
        return ""
    return f"{path}?{before.query}" if before.query else path


def _record(web: WebContext, name: str, language: str) -> None:
    if _find_recorded(web, name) != language:
        facts = {"language": language}
        web.store.records.add(CHOSEN, name, by=name, at=web.now(), facts=facts)


def _find_recorded(web: WebContext, name: str) -> str:
    """Return the language that an account chose last, "" for none."""
    records = web.store.records.all(CHOSEN, name)
    chosen = str(records[-1].facts.get("language", "")) if records else ""
    return chosen if chosen in LANGUAGES else ""


def _keep(answer: Response, name: str, value: str) -> None:
    answer.set_cookie(name, value, max_age=YEAR_S, httponly=True, samesite="strict")


FOR_PROGRAMS = re.compile(r"/(api/.*|healthz|readyz|metrics)")


class LocaleMiddleware:
    """Middleware that sets the language of each answer.

    Args:
        app: The application behind it.
        language: Language of the pages where a browser asks for none.
    """

    def __init__(self, app: ASGIApp, language: Language) -> None:
        self._app, self._language = app, language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for_programs = FOR_PROGRAMS.fullmatch(scope["path"])
        chosen = read_choice(HTTPConnection(scope).cookies, self._language)
        with reports.speaking("en" if for_programs else chosen):
            await self._app(scope, receive, send)
