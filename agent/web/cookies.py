"""Cookies of one reviewer: name, criterion, decisions of this session.

They do not authenticate; `authentication` does. Without accounts the name only saves typing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import reports
from agent.store import is_own_name
from agent.web.authentication import who_is
from agent.web.context import LONGEST_NAME
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request, Response

NAME, CRITERION, LAST, COUNT = "reviewer", "criterion", "last", "decided"
BLIND = "blind_first"
MONTH_S = 30 * 24 * 3600


def keep(answer: Response, name: str, value: str, *, for_good: bool = True) -> None:
    """Set a cookie for a month, or until the browser is closed.

    Args:
        answer: The response that sets it.
        name: Name of the cookie.
        value: Any text.
        for_good: Keep it for a month.
    """
    answer.set_cookie(
        name,
        quote(value, safe=""),
        max_age=MONTH_S if for_good else None,
        httponly=True,
        samesite="strict",
    )


def name_of(request: Request) -> str:
    """Return the reviewer: the account that is logged in, else the name entered; "" for none."""
    if who := who_is(request):
        return who.signature
    name = unquote(request.cookies.get(NAME, ""))
    return "" if wrong_name(name) else name


def decides(request: Request, form: Mapping[str, str]) -> str:
    """Return the name under which a form decides: of the account that is logged in, if any."""
    said = "" if who_is(request) else form.get("by", "")
    return said or name_of(request)


def criterion_of(request: Request) -> str:
    """Return the criterion that was last used in this browser."""
    kept = unquote(request.cookies.get(CRITERION, ""))
    return kept if kept in reports.CRITERIA else "unrecorded"


def is_blind_first(request: Request) -> bool:
    """Return whether the reviewer requested micrographs without the model's answer."""
    return request.cookies.get(BLIND) == "1"


def count_of(request: Request) -> int:
    """Return how many micrographs were decided since the browser was opened."""
    return number(request.cookies.get(COUNT, "")) or 0


def wrong_name(by: str) -> str:
    """Return what is wrong with a name, "" for nothing."""
    if not by.strip():
        return _("A decision needs the name of who takes it.")
    if len(by.strip()) > LONGEST_NAME or not by.isprintable():
        return _("A name has at most {n} letters.").format(n=LONGEST_NAME)
    if is_own_name(by):
        return _("{name} is a name of the program. Enter your own.").format(name=by.strip())
    return ""


def number(text: str) -> int | None:
    """Parse a number that a browser sent; None where it is not one."""
    return int(text) if text.isdecimal() and len(text) < 16 else None  # noqa: PLR2004 - no bigint
