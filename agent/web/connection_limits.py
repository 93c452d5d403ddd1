"""Limit how many requests are answered at once, and how many images and exports are made.

A request that sends something counts once its body is complete, so a slow sender takes no place
from others; one that only reads counts at once, whatever its headers say of a body.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from typing import TYPE_CHECKING

import anyio
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from agent.web.access import HEAVY, find_route
from agent.web.authentication import COOKIE, SAFE_METHODS, who_is
from agent.web.security import FOR_FILES, refuse
from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUSY = marked("The page is busy; try again in a moment.")
AGAIN = {"Retry-After": "2"}
ALWAYS = re.compile(r"/healthz")
STREAM = "/events"
"""Address of the stream of events; it stays open, and so has places of its own."""
STREAMS, STREAMS_PER_BROWSER = 32, 3
"""A browser opens six connections to a server: the other three are for its pages."""
HEAVY_ONCE = marked(
    "Your last export, map or document is still being made. Try again when it is complete."
)
FULL = "Too many dashboards are open; this one asks for its numbers now and then."
DRAWN = re.compile(r"/(pictures|rate|chart)/.+\.(jpg|png)")
"""Addresses that need processor time; one more than the limit waits."""


class Crowd:
    """Middleware that answers a limited number of requests at once, and refuses more with 503.

    Args:
        app: The application behind it.
        requests: How many are answered at once. The inbox counts the files that are being received.
    """

    def __init__(self, app: ASGIApp, requests: int) -> None:
        self._app, self._free = app, requests
        self._drawing = anyio.CapacityLimiter(max(2, os.cpu_count() or 2))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it with 503 and `Retry-After`."""
        if scope["type"] != "http" or ALWAYS.fullmatch(scope["path"]) or scope["path"] == STREAM:
            await self._app(scope, receive, send)
            return
        place = _Place(self)
        try:
            if scope["path"] == FOR_FILES and scope["method"] == "POST":
                await self._app(scope, receive, send)
            elif scope["method"] not in SAFE_METHODS and _has_body(Headers(scope=scope)):
                await self._app(scope, place.taken_when_whole(receive), send)
            elif not place.take():
                await refuse(scope["path"], BUSY, 503, AGAIN)(scope, receive, send)
            elif DRAWN.fullmatch(scope["path"]):
                async with self._drawing:
                    await self._app(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            place.leave()

    def enter(self) -> bool:
        """Occupy a free place; return whether there was one."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        """Free a place."""
        self._free += 1


class OwnLimits:
    """Middleware behind the authentication: limits what one person or browser has open at a time.

    Streams of events are limited per browser and in all, heavy requests to one for each person.

    Args:
        app: The application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: Counter[str] = Counter()
        self._heavy: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; one more stream or heavy request than may be is refused."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == STREAM:
            await self._answer_stream(scope, receive, send)
        elif find_route(scope) in HEAVY:
            await self._answer_heavy(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer_heavy(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        who = who_is(request)
        person = who.name if who else (request.client.host if request.client else "")
        if person in self._heavy:
            await refuse(scope["path"], _(HEAVY_ONCE), 429, AGAIN)(scope, receive, send)
            return
        self._heavy.add(person)
        try:
            await self._app(scope, receive, send)
        finally:
            self._heavy.discard(person)

    async def _answer_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        browser = _name_browser(scope)
        if self._open[browser] >= STREAMS_PER_BROWSER or self._open.total() >= STREAMS:
            await refuse(scope["path"], FULL, 503, {"Retry-After": "30"})(scope, receive, send)
            return
        self._open[browser] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[browser] -= 1
            self._open += Counter()  # without those that have none


class _Place:
    """The place of one request, occupied at most once."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd, self._is_taken = crowd, False

    def take(self) -> bool:
        self._is_taken = self._is_taken or self._crowd.enter()
        return self._is_taken

    def leave(self) -> None:
        if self._is_taken:
            self._crowd.leave()

    def taken_when_whole(self, receive: Receive) -> Receive:
        async def receiving() -> Message:
            message = await receive()
            if not message.get("more_body", False) and not self.take():
                raise HTTPException(503, BUSY, AGAIN)
            return message

        return receiving


def _name_browser(scope: Scope) -> str:
    """Return what counts as one browser: its log-in, or else the address of its PC."""
    request = Request(scope)
    if (who := who_is(request)) and not who.is_program:
        return hashlib.sha256(request.cookies[COOKIE].encode()).hexdigest()
    return request.client.host if request.client else ""


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
