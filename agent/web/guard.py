"""Keep strangers' pages away from ours: every request is checked before anything else sees it.

In:  a request. Out: the application's answer with its headers, or a refusal.
The page needs no password on this PC, so a web site open in another tab must not be able to
decide for the reviewer: the Host must be ours (or its name could be made to point here), and
what changes something must come from our own page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
LARGEST_BODY_BYTES = 300_000_000
LARGEST_FORM_BYTES = 1_000_000
FOR_FILES = "/api/v1/micrographs"
TOO_LARGE = "That is too large."

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


class Guard:
    """Refuse foreign hosts and foreign senders; add the security headers to every answer.

    Args:
        app: What is guarded.
        hosts: Names this page may be called by, besides those of this PC.
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
        most = LARGEST_BODY_BYTES if scope["path"] == FOR_FILES else LARGEST_FORM_BYTES
        refusal = self._refusal(scope["method"], headers, most)
        if refusal is not None:
            await _said(scope["path"], *refusal)(scope, receive, _with_headers(send))
            return
        await self._app(scope, _counted(receive, most), _with_headers(send))

    def _refusal(self, method: str, headers: Headers, most: int) -> tuple[str, int] | None:
        host = headers.get("host", "")
        if _name_of(host) not in self._hosts:
            return "This page does not answer to that name.", 421
        if method not in SAFE_METHODS and not _from_here(headers, host):
            return "That did not come from this page, so nothing was changed.", 403
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            return TOO_LARGE, 413
        return None


def _said(path: str, sentence: str, code: int) -> Response:
    if path.startswith("/api/"):
        return JSONResponse({"detail": sentence}, code)
    return PlainTextResponse(f"{sentence}\n", code)


def _name_of(host: str) -> str:
    name = urlsplit(f"//{host}").hostname if host and "@" not in host else None
    return name or ""


def _from_here(headers: Headers, host: str) -> bool:
    # A browser says where a request comes from; a program that says nothing is no browser, and
    # no web site can make one speak for it.
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _counted(receive: Receive, most: int) -> Receive:
    # A sender need not say how long a body is, and need not tell the truth.
    left = most

    async def receiving() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, TOO_LARGE)
        return message

    return receiving


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Content-Security-Policy", PAGE_POLICY)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending
