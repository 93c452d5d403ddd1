"""Answer with a page of the site."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.responses import HTMLResponse

from agent.web import cookies
from reports import render

if TYPE_CHECKING:
    from fastapi import Request

    from agent.web.context import Desk


def render_page(
    desk: Desk, request: Request, template: str, *, code: int = 200, **facts: object
) -> HTMLResponse:
    """Return a page as an answer.

    Args:
        desk: Whose site it is.
        request: Its reader is named at the top.
        template: Name of the template in `reports`.
        code: HTTP status.
        facts: What the template shows.
    """
    who = {"site": desk.site, "reviewer": cookies.name_of(request)}
    return HTMLResponse(render(template, **who | facts), code)
