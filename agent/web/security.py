"""Protect the pages from other web sites: every request is checked first.

Without accounts the page needs no password on this PC, so a web site in another tab must not be
able to decide for the reviewer. The Host header must be one of ours (or else DNS could point a
foreign name here), and a request that changes something must come from one of our pages.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from reports import marked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
