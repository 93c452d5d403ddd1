"""Bound how long a page waits for the object storage, and show what is still being fetched."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

from fastapi import Request, Response

from agent.objects import waiting_at_most
from agent.web.locale_middleware import FOR_PROGRAMS
from agent.web.authentication import SAFE_METHODS
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

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
