"""Serve frozen statements by their hash: the PDF, and the document that was hashed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import HTTPException, Response

import reports
from agent.errors import SetupError, WrongUse
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.statements.customer_report import find_statement, render_customer_report
from agent.orders.statements.statement import plain
from agent.orders.statements.statement_files import JSON, PDF, read_files
from agent.store.work.file_states import chunks
from agent.web.orders.specimen_fields import remember_read
from reports import Link, statement_time
from reports import gettext as _

if TYPE_CHECKING:
    from agent.web.context import Desk

STATED = (Conformity.CONFORMS, Conformity.DOES_NOT_CONFORM)
TYPES = {PDF: "application/pdf", JSON: "application/json"}
CUSTOMER_TYPES = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}


def statement_response(desk: Desk, name: str, who: str) -> Response:
    """Return a file of a statement.

    Args:
        desk: What the pages work on.
        name: Hash, a dot and "pdf" or "json".
        who: The reader: a field that is still to be decided is not decided blind any more.

    Raises:
        HTTPException: 404, there is no such statement or kind.
    """
    sha256, _dot, kind = name.partition(".")
    frozen = desk.store.statements.find(sha256) if kind in TYPES else None
    if frozen is None:
        raise HTTPException(404, _("There is no such statement."))
    content = read_files(desk.store, desk.archive, frozen, language=reports.language())[kind]
    _remember_fields(desk, sha256, who)
    safe = _plain_ascii(frozen.order)
    shown = f'inline; filename="{safe}-{frozen.number}.{kind}"'
    return Response(content, media_type=TYPES[kind], headers={"Content-Disposition": shown})


def customer_report(
    desk: Desk,
    order: str,
    kind: str,
    *,
    who: str,
    language: reports.Language | None = None,
    number: int | None = None,
) -> Response:
    """Return the report of an order for its customer, "html" or "pdf".

    Args:
        desk: What the pages work on.
        order: Its number.
        kind: Of the file.
        who: The reader, as for `statement_response`.
        language: Of the report, None for the page's.
        number: Of the statement, None for the newest one.

    Raises:
        HTTPException: 404, the order has no such statement; 409, the lab's layout is broken.
    """
    try:
        made = render_customer_report(
            desk.store,
            desk.archive,
            find_statement(desk.store, order, number),
            language=language or reports.language(),
            folder=desk.customer_templates,
        )
    except WrongUse as fault:
        raise HTTPException(404, str(fault)) from fault
    except SetupError as fault:
        raise HTTPException(409, str(fault)) from fault
    _remember_fields(desk, made.sha256, who)
    headers = {
        "Content-Disposition": f'inline; filename="{_plain_ascii(order)}-{made.statement}-customer'
        f'.{kind}"',
        "X-Statement": f"{made.statement}; sha256={made.sha256}",
        "Content-Security-Policy": reports.report_policy(),
    }
    return Response(made.files[kind], media_type=CUSTOMER_TYPES[kind], headers=headers)


def _remember_fields(desk: Desk, sha256: str, who: str) -> None:
    """Record that a named reader gets the answers of a statement's fields, hidden ones too."""
    document = desk.store.statements.document(sha256)["document"]
    ids = [
        field["id"]
        for specimen in document["specimens"]
        for field in (*specimen["fields"], *specimen["superseded"])
    ]
    for batch in chunks(ids):
        remember_read(desk, desk.store.search.list_micrographs(batch), who)


def _plain_ascii(order: str) -> str:
    return plain(order).encode("ascii", "replace").decode().replace("?", "_")


def link_customer_reports(desk: Desk, order: str) -> tuple[Link, ...]:
    """Return links to the report for the customer in each language, () until a verdict is stated.

    "Undecided" and "not assessed" are interim states of the lab, not an answer to a customer.
    """
    newest = desk.store.statements.newest([order]).get(order)
    if newest is None or newest.conformity not in STATED:
        return ()
    at = f"/order/{quote(order, safe='')}/report."
    names = {"en": _("English"), "de": _("German")}
    return tuple(
        Link(f"{kind.upper()}, {name}", f"{at}{kind}?language={language}")
        for language, name in names.items()
        for kind in CUSTOMER_TYPES
    )


def link_newest(desk: Desk, number: str) -> Link | None:
    """Return a link to the PDF of an order's newest statement, or None before the first."""
    frozen = desk.store.statements.newest([number]).get(number)
    if frozen is None:
        return None
    text = _("Statement {n} of {at} (PDF)").format(
        n=frozen.number, at=statement_time(frozen.at.astimezone(ZoneInfo(desk.zone)))
    )
    return Link(text, f"/statements/{frozen.sha256}.{PDF}")
