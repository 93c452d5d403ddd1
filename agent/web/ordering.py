"""Show an order: whether it conforms, what is missing, and each of its fields.

In:  an order's number. Out: a page, or the document of `agent order --json`. Next: the browser.
Nothing is decided here; the rules are those of `agent.orders`, asked anew for every view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

import reports
from agent.night import local
from agent.orders import Specifications
from agent.orders.assessment import Lab, assess
from agent.orders.document import document_of
from agent.orders.paper import TONES
from agent.web.memory import name_of
from reports import Fact, OrderField, OrderPage, OrderSpecimen, Picture, Tone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.orders.assessment import Assessed, AssessedSpecimen
    from agent.orders.facts import FieldFacts
    from agent.web.desk import Desk

NOT_HERE = "nobody has heard of this order"


def assessed_of(desk: Desk, number: str) -> Assessed:
    """Assess an order. Raises `HTTPException` 404 if nobody has heard of it."""
    lab = desk.lab() if desk.lab else Lab(Specifications(), desk.taxonomy())
    found = assess(desk.store, number, lab)
    if found is None:
        raise HTTPException(404, NOT_HERE)
    return found


def document(desk: Desk, number: str) -> dict[str, Any]:
    """Say an order as `agent order --json` does. Raises `HTTPException` 404."""
    return document_of(assessed_of(desk, number))


def router(desk: Desk) -> APIRouter:
    """Make the routes of the orders."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/order/{number:path}")
    def order(request: Request, number: str) -> Response:
        page = page_of(desk, assessed_of(desk, number), name_of(request))
        return HTMLResponse(reports.render_order(page))

    return routes


def page_of(desk: Desk, assessed: Assessed, reviewer: str) -> OrderPage:
    """Say an assessed order as its page does."""
    view, wanted = assessed.view, assessed.specification
    waiting = sum(field.awaits for one in assessed.specimens for field in one.facts.fields)
    loose = {f"specimen {one.view.name}: " for one in assessed.specimens}
    own = (*assessed.statement.because, *assessed.statement.missing)
    return OrderPage(
        site=desk.site,
        reviewer=reviewer,
        number=view.number,
        word=assessed.statement.conformity.words,
        tone=TONES[assessed.statement.conformity],
        demand=f"demanded: {wanted.demand}" if wanted else "",
        sentences=tuple(one for one in own if not any(one.startswith(said) for said in loose)),
        facts=tuple(_facts(assessed)),
        specimens=tuple(_specimen(one) for one in assessed.specimens),
        others=(
            *(f"{fate.path}: {fate.said}" for fate in assessed.lost),
            *(f"{one.view.path}: {one.reason}" for one in assessed.unassigned),
        ),
        queue_href=f"/review?order={quote(view.number, safe='')}" if waiting else "",
        waiting=waiting,
        generated=local(desk.now(), desk.zone),
    )


def _facts(assessed: Assessed) -> Iterator[Fact]:
    view, wanted = assessed.view, assessed.specification
    said = {
        "Customer": view.customer,
        "Product": view.product,
        "Material": assessed.material,
        "Urgent": "yes" if view.urgent else "",
        "Specification": f"{wanted.name}, version {assessed.version}" if wanted else "",
        "Chart": wanted.chart if wanted else "",
        "Approved by": wanted.approved_by if wanted else "",
    }
    yield from (Fact(name, value) for name, value in said.items() if value)


def _specimen(one: AssessedSpecimen) -> OrderSpecimen:
    said = {
        "Heat": one.view.heat,
        "Batch": one.view.batch,
        "Preparation": one.facts.preparation,
        "Bundle": one.view.bundle or "",
    }
    counted = [field for field in one.facts.fields if not field.superseded]
    old = [field for field in (*one.facts.fields, *one.facts.earlier) if field.superseded]
    return OrderSpecimen(
        name=one.view.name,
        word=one.statement.conformity.words,
        tone=TONES[one.statement.conformity],
        sentences=(*one.statement.because, *one.statement.missing),
        notes=one.notes,
        facts=tuple(Fact(name, value) for name, value in said.items() if value),
        fields=tuple(_field(field) for field in (*counted, *old)),
    )


def _field(field: FieldFacts) -> OrderField:
    code = field.code or ""
    if field.decided and field.decided.kind == "code":
        code = field.decided.said
    return OrderField(
        name=field.called,
        code=code,
        state=_state(field),
        tone=Tone.ATTENTION if field.awaits or field.scale_in_doubt else Tone.CALM,
        href=f"/review/{field.id}",
        thumbnail=Picture(
            f"/pictures/{field.id}/thumb.jpg", f"Thumbnail of {field.called}", 320, 240
        ),
        gone=field.superseded is not None,
    )


def _state(field: FieldFacts) -> str:
    if field.superseded:
        by = f" by {field.superseded.by}" if field.superseded.by else ""
        return f"superseded{by}: {field.superseded.reason}"
    if field.awaits:
        return "awaits review"
    if field.decided:
        said = "" if field.decided.kind == "code" else f": {field.decided.said.replace('_', ' ')}"
        return f"{field.decided.kind.replace('_', ' ')} by {field.decided.by}{said}"
    others = [code for code in field.codes if code != field.code]
    return f"could be {' or '.join(others)} too" if others else "the model's answer"
