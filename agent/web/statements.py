"""Serve frozen statements by their hash: the PDF, and the document that was hashed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from fastapi import HTTPException, Response

import reports
from agent.orders.statement import plain
from agent.orders.statement_files import JSON, PDF, read_files
from reports import Link, statement_time
from reports import gettext as _

if TYPE_CHECKING:
    from agent.web.context import Desk

TYPES = {PDF: "application/pdf", JSON: "application/json"}


def statement_response(desk: Desk, name: str) -> Response:
    """Return a file of a statement.

    Args:
        desk: What the pages work on.
        name: Hash, a dot and "pdf" or "json".

    Raises:
        HTTPException: 404, there is no such statement or kind.
    """
    sha256, _dot, kind = name.partition(".")
    frozen = desk.store.statements.find(sha256) if kind in TYPES else None
    if frozen is None:
        raise HTTPException(404, _("There is no such statement."))
    content = read_files(desk.store, desk.archive, frozen, language=reports.language())[kind]
    safe = plain(frozen.order).encode("ascii", "replace").decode().replace("?", "_")
    shown = f'inline; filename="{safe}-{frozen.number}.{kind}"'
    return Response(content, media_type=TYPES[kind], headers={"Content-Disposition": shown})


def link_newest(desk: Desk, number: str) -> Link | None:
    """Return a link to the PDF of an order's newest statement, or None before the first."""
    frozen = desk.store.statements.newest([number]).get(number)
    if frozen is None:
        return None
    text = _("Statement {n} of {at} (PDF)").format(
        n=frozen.number, at=statement_time(frozen.at.astimezone(ZoneInfo(desk.zone)))
    )
    return Link(text, f"/statements/{frozen.sha256}.{PDF}")
