"""Remember in the browser what is only the reviewer's own: name, criterion, how many today.

In:  a request. Out: what its cookies say, or cookies in an answer. Next: `pages`, `login`.
Who is logged in is not remembered here: `gate` proves that. A name in a cookie only saves typing,
where the lab has no accounts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import reports
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
    """Remember a value for a month, or until the browser is closed."""
    answer.set_cookie(
        name,
        quote(value, safe=""),
        max_age=MONTH_S if for_good else None,
        httponly=True,
        samesite="strict",
    )


def name_of(request: Request) -> str:
    """Say who reviews here: who is logged in, else who said so; "" for nobody yet."""
    if who := who_is(request):
        return who.name
    name = unquote(request.cookies.get(NAME, ""))
    return "" if wrong_name(name) else name


def decides(request: Request, form: Mapping[str, str]) -> str:
    """Say under which name a form decides: whoever is logged in, whatever it says."""
    said = "" if who_is(request) else form.get("by", "")
    return said or name_of(request)


def criterion_of(request: Request) -> str:
    """Say the criterion that was used last here."""
    kept = unquote(request.cookies.get(CRITERION, ""))
    return kept if kept in reports.CRITERIA else "unrecorded"


def is_blind_first(request: Request) -> bool:
    """Return whether the reviewer asked for micrographs without the model's answer."""
    return request.cookies.get(BLIND) == "1"


def count_of(request: Request) -> int:
    """Say how many were decided here since the browser was opened."""
    return number(request.cookies.get(COUNT, "")) or 0


def wrong_name(by: str) -> str:
    """Say what is wrong with a name, "" for nothing."""
    if not by.strip():
        return _("A decision needs the name of who takes it.")
    if len(by.strip()) > LONGEST_NAME or not by.isprintable():
        return _("A name has at most {n} letters.").format(n=LONGEST_NAME)
    return ""


def number(text: str) -> int | None:
    """Read a number that a browser sent back; None where it is none."""
    return int(text) if text.isdecimal() and len(text) < 16 else None  # noqa: PLR2004 - no bigint
