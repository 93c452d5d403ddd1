"""Speak the lab's language on every page; programs are answered in English.

In:  a request. Out: the application's answer, made in that language. Next: `guard`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import reports

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from reports import Language

FOR_PROGRAMS = re.compile(r"/(api/.*|healthz|readyz|metrics)")


class LocaleMiddleware:
    """Answer in a language.

    Args:
        app: What is behind it.
        language: Of the pages.
    """

    def __init__(self, app: ASGIApp, language: Language) -> None:
        self._app, self._language = app, language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        for_programs = FOR_PROGRAMS.fullmatch(scope.get("path", ""))
        with reports.speaking("en" if for_programs else self._language):
            await self._app(scope, receive, send)
