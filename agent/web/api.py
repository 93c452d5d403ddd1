"""Serve the API for programs: results, the queue, decisions, health and metrics.

Its keys are those of `agent classify --json`, so that a script reads both in the same way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from agent.errors import AgentError, UsageError
from agent.orders.statements.order_json import order_to_json
from agent.settings import PROCESS_KEYS
from agent.store import LabelView, MicrographView, StoreFaultError
from agent.triage import is_provisional
from agent.web import cookies, metrics
from agent.web.archive.uploads import LONGEST_VALUE, EmptyUploadError, UploadsBusyError
from agent.web.authentication import may_lead, signing_name, who_is
from agent.web.context import LONGEST_NAME, WebContext, find
from agent.web.models.learning_page import find_use, use_to_json
from agent.web.orders import orders
from agent.web.orders.order_board import map_views
from agent.web.orders.order_fields import is_blind, remember_read
from agent.web.orders.orders import customer_report
from agent.web.pages import LONGEST_PART, MOST_NAMED
from agent.web.review import decisions
from agent.web.review.decisions import request_reason
from agent.web.schemas import FAULTS, Decided, Found, Micrograph, Order, Queue, Taken

log = structlog.get_logger()

LARGEST_FILE_BYTES = 250_000_000
TOO_LARGE = "a file may have {} bytes"
KINDS = ("code", "strange", "unusable", "cannot_tell")
Limit = Annotated[int, Query(ge=1, le=1000)]

CUSTOMER_FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {}, "application/pdf": {}}}
}
SENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary", "minLength": 1}
            }
        },
    },
    "parameters": [
        {
            "name": column,
            "in": "query",
            "required": False,
            "schema": {"type": "string", "maxLength": LONGEST_VALUE},
        }
        for column in PROCESS_KEYS
    ],
}
"""OpenAPI text that FastAPI cannot derive from `submit`: the body is the file, and any process data
may be sent.
"""


def _text(description: str, longest: int = decisions.LONGEST_WORD) -> Any:
    shape = {"type": "string", "minLength": 1, "maxLength": longest, "description": description}
    return WithJsonSchema(shape)


class DecisionIn(BaseModel):
    """One decision: exactly one of `code`, `strange`, `unusable`, `cannot_tell`."""

    model_config = ConfigDict(
        strict=True,  # as the OpenAPI document has it, "0" is not a number
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": [word]} for word in KINDS]},
    )

    by: str = Field(
        min_length=1, max_length=LONGEST_NAME, pattern=r"\S", description="Who decides."
    )
    code: Annotated[
        str | None, _text("Structure code of the lab's taxonomy.", decisions.LONGEST_CODE)
    ] = None
    strange: Annotated[str | None, _text("What kind of strange.")] = None
    unusable: Annotated[str | None, _text("Why it cannot be judged.")] = None
    cannot_tell: Annotated[
        bool, WithJsonSchema({"const": True, "description": "The person cannot tell."})
    ] = False
    criterion: Literal["mean", "max", "unrecorded"] = "unrecorded"
    unsure: bool = Field(default=False, strict=True, description="The person is not sure.")
    comment: str = Field(
        "",
        max_length=decisions.LONGEST_COMMENT,
        description="Needed where another decision holds, or where the lab requires a reason for "
        "another code than the model's (else 422).",
    )
    viewing_s: float | None = Field(None, ge=0, lt=86_400, description="Looked for how long (s).")
    result_seen: int | None = Field(None, description="`result` of the answer that was seen.")
    label_seen: int | None = Field(
        None, description="`label.id` that was seen; sent, a newer label is a conflict (409)."
    )
    decision_id: str = Field(
        "",
        max_length=64,
        pattern="^([0-9A-Za-z_-]{8,64})?$",
        description="Of this decision alone: sent again with it, the decision counts once.",
    )

    def said(self) -> str:
        """Return the decision as a form sends it, such as "code:G8".

        Raises:
            HTTPException: 422, not exactly one answer was given.
        """
        given = [
            f"code:{self.code}" if self.code else "",
            f"strange:{self.strange}" if self.strange else "",
            f"unusable:{self.unusable}" if self.unusable else "",
            "cannot_tell" if self.cannot_tell else "",
        ]
        chosen = [value for value in given if value]
        if len(chosen) != 1:
            raise HTTPException(422, "say exactly one of code, strange, unusable, cannot_tell")
        return chosen[0]


class UndoIn(BaseModel):
    """Who undoes a decision."""

    model_config = ConfigDict(strict=True, extra="forbid")

    by: str = Field(min_length=1, max_length=LONGEST_NAME, pattern=r"\S")


def router(web: WebContext) -> APIRouter:
    """Build the routes for programs."""
    routes = APIRouter(prefix="/api/v1", responses=FAULTS)

    @routes.get("/micrographs", response_model=Found)
    def micrographs(
        request: Request,
        *,
        sha256: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")] = None,
        path: Annotated[str | None, Query(description="Whole, or below its source.")] = None,
        order: str | None = None,
        specimen: str | None = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Find micrographs by content, by any path their file ever had, by order and specimen."""
        views = web.store.results.search(
            sha256=sha256, path=path, order=order, specimen=specimen, limit=limit
        )
        remember_read(web, views, cookies.name_of(request))
        return {"micrographs": list_as_json(web, views)}

    @routes.get("/micrographs/{public_id}", response_model=Micrograph)
    def micrograph(request: Request, public_id: str) -> dict[str, Any]:
        """Return one micrograph: its result, its decision and what the decision is used for."""
        view = find(web, public_id)
        remember_read(web, [view], cookies.name_of(request))
        own = web.store.needle_fields.list_of([view.result.id]).get(view.result.id)
        return as_json(view) | {
            "needles": own and own.to_json(),
            "learning": use_to_json(find_use(web, view)),
        }

    @routes.get("/queue", response_model=Queue)
    def queue(
        request: Request,
        *,
        reason: str | None = None,
        source: str | None = None,
        order: str | None = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """List the micrographs that wait for a reviewer, highest priority first."""
        views = web.store.review_queue.list_micrographs(
            reason=reason, source=source, order=order, limit=limit
        )
        remember_read(web, views, cookies.name_of(request))
        return {
            "waiting": web.store.review_queue.count(),
            "micrographs": list_as_json(web, views),
        }

    @routes.post("/micrographs/{public_id}/decisions", status_code=201, response_model=Decided)
    def decide(request: Request, public_id: str, body: DecisionIn) -> dict[str, Any]:
        """Append a decision; a newer label than `label_seen` is a conflict, never overwritten."""
        view = find(web, public_id)
        decision = decisions.read_decision(
            body.said(),
            taxonomy=web.taxonomy,
            by=signing_name(request, body.by),
            criterion=body.criterion,
            unsure=body.unsure,
            comment=body.comment,
            viewing_s=body.viewing_s,
            result_seen=body.result_seen,
            origin="api",
            decision_id=body.decision_id,
        )
        if missing := request_reason(web, view, decision, hides=is_blind(view)):
            raise UsageError(missing)
        told = "label_seen" in body.model_fields_set
        number = decisions.decide(
            web, public_id, decision, label_seen=body.label_seen if told else "any"
        )
        view = find(web, public_id)
        learning = use_to_json(find_use(web, view))
        return {"label": number, "micrograph": as_json(view) | {"learning": learning}}

    @routes.post("/micrographs/{public_id}/undo", status_code=201, response_model=Decided)
    def undo(request: Request, public_id: str, body: UndoIn) -> dict[str, Any]:
        """Undo the current decision; a new row records this and the history is kept."""
        number = decisions.undo(
            web, public_id, by=signing_name(request, body.by), any_ones=may_lead(request)
        )
        return {"label": number, "micrograph": as_json(find(web, public_id))}

    @routes.post("/micrographs", status_code=202, response_model=Taken, openapi_extra=SENT)
    async def submit(request: Request, name: Annotated[str, Query(min_length=1)]) -> dict[str, Any]:
        """Receive a file: the body is its content, `name` its name; other fields: process data."""
        return await _take_in(web, request, name)

    @routes.get("/status")
    def status() -> dict[str, Any]:
        """Return the state of the agent, as `agent status --json` prints it."""
        return web.status()

    _add_orders(routes, web)
    return routes


def _add_orders(routes: APIRouter, web: WebContext) -> None:
    @routes.get(
        "/orders/{number:path}/report.{kind}", response_class=Response, responses=CUSTOMER_FILES
    )
    def report(
        request: Request,
        number: str,
        kind: Literal["html", "pdf"],
        language: Annotated[
            Literal["en", "de"] | None, Query(description="Of the report; else the browser's.")
        ] = None,
        statement: Annotated[
            int | None, Query(description="Number of the statement; else the newest one.")
        ] = None,
    ) -> Response:
        """Return the report of an order for its customer: a frozen statement with pictures."""
        if orders.ends_in_report(request):
            return JSONResponse(order(request, f"{number}/report.{kind}"))
        who = cookies.name_of(request)
        return customer_report(web, number, kind, who=who, language=language, number=statement)

    @routes.get("/orders/{number:path}", response_model=Order)
    def order(request: Request, number: str) -> dict[str, Any]:
        """Return one order: its conformity, what is missing, and its specimens."""
        assessed = orders.assessed_of(web, number)
        remember_read(web, map_views(assessed).values(), cookies.name_of(request))
        return order_to_json(assessed)


async def refuse_unknown(request: Request) -> None:
    """Refuse a parameter that a route of the API does not know: a misspelt filter lists all.

    Raises:
        HTTPException: 422, names it and those that the route knows.
    """
    if not request.scope["path"].startswith("/api/"):
        return
    route = request.scope["route"]
    written = (route.openapi_extra or {}).get("parameters", ())
    known = [field.alias for field in route.dependant.query_params]
    known += [parameter["name"] for parameter in written]
    unknown = dict.fromkeys(name for name in request.query_params if name not in known)
    if unknown:
        names = ", ".join(f"“{name[:LONGEST_PART]}”" for name in list(unknown)[:MOST_NAMED])
        sentence = f"{request.scope['path']} does not know {names} in its address; it knows "
        raise HTTPException(422, f"{sentence}{', '.join(known) or 'none'}.")


async def _take_in(web: WebContext, request: Request, name: str) -> dict[str, Any]:
    if web.inbox is None:
        raise HTTPException(503, "this process takes no files; `agent run` does")
    if int(request.headers.get("content-length", "0")) > LARGEST_FILE_BYTES:
        raise HTTPException(413, TOO_LARGE.format(LARGEST_FILE_BYTES))
    given = dict(request.query_params)
    for key in given:
        if len(request.query_params.getlist(key)) > 1:  # the others would be lost unseen
            raise HTTPException(422, f"The address has {key!r} more than once. Send one value.")
    given.pop("name", None)
    try:
        who = who_is(request)
        sender = who.name if who else ""
        return await web.inbox.receive(name, _pieces(request), given, sender=sender)
    except UploadsBusyError as busy:
        raise HTTPException(503, str(busy), {"Retry-After": "10"}) from busy
    except EmptyUploadError as empty:
        raise HTTPException(422, str(empty)) from empty
    except OSError as error:
        log.warning("upload.unwritable", reason=str(error))
        raise HTTPException(503, "the data folder cannot be written now") from error


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the body in pieces; refuse a file above the size limit."""
    size_bytes = 0
    async for piece in request.stream():
        size_bytes += len(piece)
        if size_bytes > LARGEST_FILE_BYTES:
            raise HTTPException(413, TOO_LARGE.format(LARGEST_FILE_BYTES))
        yield piece


def health(web: WebContext) -> APIRouter:
    """Build the routes for monitoring."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/healthz")
    def healthz() -> JSONResponse:
        return JSONResponse({"status": "alive"})

    @routes.get("/readyz")
    def readyz() -> JSONResponse:
        try:
            web.store.review_queue.count()
        except (AgentError, StoreFaultError, OSError) as error:
            return JSONResponse({"status": "not ready", "reason": type(error).__name__}, 503)
        return JSONResponse({"status": "ready"})

    @routes.get("/metrics")
    def numbers() -> Response:
        return Response(metrics.written(web), media_type=metrics.KIND)

    return routes


def list_as_json(web: WebContext, views: Sequence[MicrographView]) -> list[dict[str, Any]]:
    """Return micrographs as `as_json` does, each with its needle lengths in brief, or null."""
    needles = web.store.needle_fields.list_of([view.result.id for view in views])
    briefs = {number: field.to_json(is_brief=True) for number, field in needles.items()}
    return [as_json(view) | {"needles": briefs.get(view.result.id)} for view in views]


def as_json(view: MicrographView) -> dict[str, Any]:
    """Return a micrograph as `agent classify --json` prints it, with its handling and its label."""
    result = view.result
    strange = result.strangeness
    return {
        **view.crop_facts.document,
        "file": view.path,
        "source": view.source,
        "done_at": result.done_at.isoformat(),
        "process_data": view.process_data,
        "subtype": result.subtype,
        "subtype_probabilities": result.subtype_probabilities,
        "size": result.size,
        "size_min": result.size_min,
        "size_max": result.size_max,
        "size_probabilities": result.size_probabilities,
        "structure_code": result.structure_code,
        "probability": result.probability,
        "probabilities": result.probabilities,
        "prediction_set": list(result.prediction_set),
        "strangeness": {
            "p_value": strange.p_value,
            "flagged": strange.is_flagged,
            "global": strange.whole,
            "local": strange.local,
            "where": strange.where and list(strange.where),
            "sentence": strange.sentence,
        }
        if strange
        else None,
        "handling": result.handling,
        "reasons": list(result.reasons),
        "provisional": is_provisional(result.reasons),
        "bundle": result.bundle or None,
        "engine": result.engine,
        "precision": result.precision,
        "result": result.id,
        "label": label_json(view.label) if view.label else None,
    }


def label_json(label: LabelView) -> dict[str, Any]:
    """Return one decision as JSON has it."""
    return {
        "id": label.id,
        "kind": label.kind,
        "code": label.code,
        "strange": label.strange_kind,
        "unusable": label.why,
        "criterion": label.criterion,
        "unsure": label.unsure,
        "comment": label.comment,
        "by": label.by,
        "at": label.at.isoformat(),
        "undone": label.undone,
    }
