"""Middleware: other web sites are refused, requests are limited, waits are bounded.

Without accounts the page needs no password on this PC, so a web site in another tab must not be
able to decide for the reviewer. The Host header must be one of ours (or else DNS could point a
foreign name here), and a request that changes something must come from one of our pages.

A request that sends something counts once its body is complete, so a slow sender takes no place
from others; one that only reads counts at once, whatever its headers say of a body.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Final
from urllib.parse import urlsplit

import anyio
from fastapi import Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.objects import waiting_at_most
from agent.web.access import HEAVY, find_route
from agent.web.authentication import COOKIE, SAFE_METHODS, who_is
from agent.web.cookies import FOR_PROGRAMS
from reports import gettext as _
from reports import marked

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST_BODY_BYTES = 300_000_000
LARGEST_FORM_BYTES = 1_000_000
LARGEST_LOGIN_BYTES = 20_000
FOR_LOGIN = "/login"
FOR_FILES = "/api/v1/micrographs"
TOO_LARGE = marked("That is too large.")
NO_HOST = marked("The name of this page in the request cannot be read.")
NUL = marked("A NUL character cannot be kept.")
WRONG_HOST = marked("This page does not answer to that name.")
NOT_FROM_HERE = marked("That did not come from this page, so nothing was changed.")
HOST = re.compile(r"(\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(:[0-9]{1,5})?")
"""A name or an address and a port: anything else could be read as a part of the path."""
NULS = (b"\0", b"%00", b"\\u0000")
"""NUL in a body, in a form's field and in JSON; PostgreSQL cannot store it in a text."""
LONGEST_NUL = max(map(len, NULS))
YEAR_S = 365 * 24 * 3600

PAGE_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class SecurityMiddleware:
    """Middleware that refuses foreign hosts and origins, and adds the security headers.

    Args:
        app: The application behind it.
        hosts: Host names that are accepted in addition to those of this PC.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = {host.lower().strip("[]") for host in (*LOOPBACK, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        most = _most(scope["path"])
        sending = _with_headers(send, is_https=scope["scheme"] == "https")
        refusal = _unreadable(scope) or self._refusal(scope["method"], headers, most)
        if refusal is not None:
            await refuse(scope["path"], *refusal)(scope, receive, sending)
            return
        receiving = _counted(receive, most)
        if scope["path"] != FOR_FILES:
            receiving = _without_nul(receiving)
        await self._app(scope, receiving, sending)

    def _refusal(self, method: str, headers: Headers, most: int) -> tuple[str, int] | None:
        host = headers.get("host", "")
        try:
            name, is_ours = _name_of(host), method in SAFE_METHODS or _from_here(headers, host)
        except ValueError:  # an address in brackets that is none
            return NO_HOST, 400
        if name not in self._hosts:
            return WRONG_HOST, 421
        if not is_ours:
            return NOT_FROM_HERE, 403
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            return TOO_LARGE, 413
        return None


def refuse(
    path: str, sentence: str, code: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Build the answer that refuses a request, as JSON where a program asks."""
    if path.startswith("/api/"):
        return JSONResponse({"detail": sentence}, code, headers)
    return PlainTextResponse(f"{sentence}\n", code, headers)


def _name_of(host: str) -> str:
    """Return the name in a Host header, "" where it holds anything but a name and a port.

    Raises:
        ValueError: It is an address in brackets that is none.
    """
    match = HOST.fullmatch(host)
    if match is None and host.startswith("["):
        raise ValueError(host)
    if match is None:
        return ""
    if match["address"]:
        ipaddress.IPv6Address(match["address"])
    return (match["address"] or match["name"]).lower()


def _from_here(headers: Headers, host: str) -> bool:
    # A browser names the origin of a request; a program that names none is no browser, and
    # no web site can send a request through one.
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _most(path: str) -> int:
    return {FOR_FILES: LARGEST_BODY_BYTES, FOR_LOGIN: LARGEST_LOGIN_BYTES}.get(
        path, LARGEST_FORM_BYTES
    )


def _unreadable(scope: Scope) -> tuple[str, int] | None:
    """Return why an address cannot be read and the status code, or None."""
    if "\0" in scope["path"] or any(nul in scope["query_string"] for nul in NULS[:2]):
        return NUL, 400
    return None


def _without_nul(receive: Receive) -> Receive:
    """Refuse a NUL in a form or in JSON, also when it is split over two pieces."""
    end = b""

    async def receiving() -> Message:
        nonlocal end
        message = await receive()
        seen = end + message.get("body", b"")
        if any(nul in seen for nul in NULS):
            raise HTTPException(400, NUL)
        end = seen[-LONGEST_NUL + 1 :]
        return message

    return receiving


def _counted(receive: Receive, most: int) -> Receive:
    # Content-Length may be absent or wrong.
    left = most

    async def receiving() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, TOO_LARGE)
        return message

    return receiving


def _with_headers(send: Send, *, is_https: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Content-Security-Policy", PAGE_POLICY)
            headers.setdefault("Cache-Control", "no-store")
            if is_https:  # here, or at a trusted proxy
                headers.setdefault("Strict-Transport-Security", f"max-age={YEAR_S}")
        await send(message)

    return sending


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


WAIT_S: Final = 3.0
"""How long all reads of one page may wait together."""
AGAIN_S: Final = 5
"""After which a browser loads a page again by itself."""
WITH_PLACEHOLDER: Final = re.compile(r"/pictures/.+\.(jpg|png)(?<!/full\.jpg)")
"""Not the one with all pixels: the viewer goes on showing the smaller one where it is missing."""
_WIDTH, _HEIGHT = 400, 300
_DRAWN: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    'viewBox="0 0 {width} {height}"><rect width="100%" height="100%" fill="#e8e8e8"/>'
    '<g font-family="sans-serif" font-size="18" text-anchor="middle" fill="#333">'
    '<text x="50%" y="46%">{first}</text><text x="50%" y="56%">{second}</text></g></svg>'
)


class StorageWait:
    """Middleware that bounds how long a page waits for the object storage; acts and programs wait.

    Args:
        app: The application behind it.
        wait_s: How long (s) all reads of a page may wait together, from its arrival on.
    """

    def __init__(self, app: ASGIApp, wait_s: float) -> None:
        self._app, self._wait_s = app, wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_page = scope["type"] == "http" and scope["method"] in SAFE_METHODS
        if not is_page or FOR_PROGRAMS.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        with waiting_at_most(self._wait_s):
            await self._app(scope, receive, send)


def build_fetch_handler(
    build_page: Callable[[Request, int, str, str], Response],
) -> Callable[[Request, Exception], Response]:
    """Return what answers a request whose files are still being fetched.

    Args:
        build_page: Builds the page of an error by status, title and sentence.
    """

    def answer(request: Request, _error: Exception) -> Response:
        if WITH_PLACEHOLDER.fullmatch(request.scope["path"]):
            return _draw_placeholder()
        page = build_page(
            request,
            503,
            _("Being fetched from the object storage"),
            _(
                "This page needs files that are only in the object storage. They are being "
                "fetched, and the page loads again by itself."
            ),
        )
        page.headers.update({"Refresh": str(AGAIN_S), "Retry-After": str(AGAIN_S)})
        return page

    return answer


def _draw_placeholder() -> Response:
    drawn = _DRAWN.format(
        width=_WIDTH,
        height=_HEIGHT,
        first=escape(_("Being fetched from the object storage.")),
        second=escape(_("Load the page again in a moment.")),
    )
    headers = {"Cache-Control": "no-store", "Retry-After": str(AGAIN_S)}
    return Response(drawn, 503, headers, media_type="image/svg+xml")
