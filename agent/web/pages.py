"""Answer with a page of the site, or request the reviewer's name first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.responses import HTMLResponse

from agent.web import cookies
from reports import render

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import Request

    from agent.web.context import Desk


def render_page(
    desk: Desk, request: Request, template: str, code: int = 200, /, **facts: object
) -> HTMLResponse:
    """Return a page as an answer.

    Args:
        desk: Whose site it is.
        request: Its reader is named at the top.
        template: Name of the template in `reports`.
        code: HTTP status.
        facts: What the template shows.
    """
    shared = {"site": desk.site, "zone": desk.zone, "reviewer": cookies.name_of(request)}
    return HTMLResponse(render(template, **shared | facts), code)


def request_name(
    desk: Desk,
    request: Request,
    who: str,
    action: str,
    fields: Iterable[tuple[str, str]] = (),
    *,
    then: str = "",
) -> HTMLResponse | None:
    """Return the page that requests the reviewer's name, None where the name is good.

    Args:
        desk: Whose site it is.
        request: That needs a name.
        who: The name as entered, "" for none.
        action: Where the name is sent.
        fields: What is sent with it.
        then: Where to go afterwards.
    """
    wrong = cookies.wrong_name(who)
    if not wrong:
        return None
    facts = {"reviewer": who, "then": then, "action": action, "wrong": wrong if who else ""}
    return render_page(desk, request, "name", 422, fields=fields, **facts)
