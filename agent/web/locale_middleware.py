"""Answer pages in the lab's language, and programs in English."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import reports

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from reports import Language

FOR_PROGRAMS = re.compile(r"/(api/.*|healthz|readyz|metrics)")


class LocaleMiddleware:
    """Middleware that sets the language of each answer.

    Args:
        app: The application behind it.
        language: Language of the pages.
    """

    def __init__(self, app: ASGIApp, language: Language) -> None:
        self._app, self._language = app, language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        for_programs = FOR_PROGRAMS.fullmatch(scope.get("path", ""))
        with reports.speaking("en" if for_programs else self._language):
            await self._app(scope, receive, send)
