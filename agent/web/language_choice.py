"""The language that each reviewer reads the pages in; without a choice it is the lab's.

The choice is kept in the browser. With accounts it is recorded for the account too: it applies in
every browser where the account logs in, and two reviewers of one PC do not change each other's
pages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.requests import HTTPConnection

import reports
from agent.web.authentication import who_is
from reports import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from agent.web.context import Desk
    from reports import Language


COOKIE = "language"
CHOSEN = "language"
"""Kind of the records of the choices of an account."""
YEAR_S = 365 * 24 * 3600


def router(desk: Desk) -> APIRouter:
    """Build the route that changes the language."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/language")
    def choose(request: Request, to: Annotated[str, Form()] = "") -> Response:
        answer = RedirectResponse(find_page_before(request) or "/review", 303)
        if to in LANGUAGES:
            _keep(answer, COOKIE, to)
            if who := who_is(request):
                _record(desk, who.name, to)
        return answer

    return routes


def read_choice(cookies: Mapping[str, str], default: Language) -> Language:
    """Return the language that a browser asks for, else the lab's."""
    wanted = cookies.get(COOKIE, "")
    return next((language for language in LANGUAGES if language == wanted), default)


def resume_choice(desk: Desk, answer: Response, name: str) -> None:
    """Set the language that an account chose, in whichever browser, as it logs in."""
    if chosen := _find_recorded(desk, name):
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


def _record(desk: Desk, name: str, language: str) -> None:
    if _find_recorded(desk, name) != language:
        facts = {"language": language}
        desk.store.records.add(CHOSEN, name, by=name, at=desk.now(), facts=facts)


def _find_recorded(desk: Desk, name: str) -> str:
    """Return the language that an account chose last, "" for none."""
    records = desk.store.records.all(CHOSEN, name)
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
