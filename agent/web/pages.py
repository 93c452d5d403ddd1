"""Answer with a page of the site, or request the reviewer's name first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.responses import HTMLResponse

from agent.web import cookies
from reports import gettext as _
from reports import render

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from fastapi import Request

    from agent.web.context import Desk


LONGEST_PART, MOST_NAMED = 40, 5


def render_page(
    desk: Desk,
    request: Request,
    template: str,
    code: int = 200,
    parts: Collection[str] = (),
    /,
    **facts: object,
) -> HTMLResponse:
    """Return a page as an answer.

    Args:
        desk: Whose site it is.
        request: Its reader is named at the top.
        template: Name of the template in `reports`.
        code: HTTP status.
        parts: What its address may have; () where nothing is looked at.
        facts: What the template shows.
    """
    shared = {
        "site": desk.site,
        "zone": desk.zone,
        "reviewer": cookies.name_of(request),
        "passed_over": describe_unknown(request, parts) if parts else "",
    }
    return HTMLResponse(render(template, **shared | facts), code)


def describe_unknown(request: Request, known: Collection[str]) -> str:
    """Return which parts of an address a page does not know, "" for none.

    Args:
        request: Of the page.
        known: The parts that it knows.
    """
    unknown = list(dict.fromkeys(name for name in request.query_params if name not in known))
    text = _("This page does not know {names} in its address; it knows {known}.")
    names = ", ".join(f"“{name[:LONGEST_PART]}”" for name in unknown[:MOST_NAMED])
    return text.format(names=names, known=", ".join(known)) if unknown else ""


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
