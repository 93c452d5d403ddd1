"""Answer pages in the reviewer's language, else the lab's, and programs in English."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

import reports
from agent.web.language_choice import read_choice

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from reports import Language

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
