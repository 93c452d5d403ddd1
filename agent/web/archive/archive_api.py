"""Serve the archive and the history to programs; what needs eyes on pictures is its page's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from agent.store import MicrographView, SearchQuery
from agent.web import cookies
from agent.web.api import as_json
from agent.web.archive import archive_acts, history
from agent.web.archive.archive import FACETS, LONGEST_VALUE, MOST_CHOSEN
from agent.web.authentication import signing_name, who_is
from agent.web.context import LONGEST_NAME, WebContext
from agent.web.orders.order_fields import is_blind, remember_read
from agent.web.review.decisions import LONGEST_COMMENT
from agent.web.schemas import FAULTS, Acts, Hits, Requested, Views

Value = Annotated[
    str | None, Query(max_length=300, description="Sent several times: any of the values.")
]
Text = Annotated[str, Query(max_length=300)]
Part = Annotated[str, Query(max_length=120)]
Before = Annotated[int | None, Query(ge=1, lt=2**53)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Day = Annotated[str, Query(pattern=r"^(\d{4}-\d\d-\d\d)?$", description="First or last day.")]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"\S")]
FacetName = Literal["outcome", "code", "source", "microscope", "reviewer", "month"]
ANSWER = (
    *("subtype", "subtype_probabilities", "size", "size_min", "size_max", "size_probabilities"),
    *("structure_code", "probability", "strangeness", "label"),
)
"""Keys of a micrograph that are null while reviewers may not see the answer yet."""


class _In(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    by: Name


class ReviewIn(_In):
    """Micrographs that are reviewed again, and why."""

    micrographs: list[str] = Field(min_length=1, max_length=archive_acts.MOST_AT_ONCE)
    reason: str = Field(min_length=1, max_length=LONGEST_COMMENT, pattern=r"\S")


class CampaignIn(_In):
    """A round robin that is planned."""

    micrographs: list[str] = Field(min_length=1, max_length=archive_acts.MOST_AT_ONCE)
    name: str = Field(min_length=1, max_length=40)
    raters: list[str] = Field(min_length=2, max_length=50)


class ExportIn(BaseModel):
    """What is exported: these micrographs, or every hit of a search."""

    model_config = ConfigDict(strict=True, extra="forbid")

    micrographs: list[str] = Field(default=[], max_length=archive_acts.MOST_ROWS)
    q: str = Field("", max_length=300)
    facets: dict[FacetName, list[Annotated[str, Field(max_length=LONGEST_VALUE)]]] = Field(
        default={}, description="Facet → values, one of which each hit has, as in /search."
    )
    form: Literal["csv", "zip", "folders"] = Field(
        "csv", description="`folders`: a ZIP with the crops in one folder per structure code."
    )


class ViewIn(_In):
    """A search to keep under a name."""

    name: str = Field(min_length=1, max_length=60, pattern=r"\S")
    query: str = Field("", max_length=2000, description="As in the address of the page /archive.")


class ViewNameIn(_In):
    """A kept search to delete."""

    name: str = Field(min_length=1, max_length=60)


def router(web: WebContext) -> APIRouter:
    """Build the routes of the archive and the history for programs."""
    routes = APIRouter(prefix="/api/v1", responses=FAULTS)

    @routes.get("/search", response_model=Hits)
    def search(
        request: Request,
        *,
        q: Text = "",
        code: Value = None,  # noqa: ARG001 - each is read from the request with its repetitions
        outcome: Value = None,  # noqa: ARG001
        source: Value = None,  # noqa: ARG001
        microscope: Value = None,  # noqa: ARG001
        reviewer: Value = None,  # noqa: ARG001
        month: Value = None,  # noqa: ARG001
        sort: Literal["newest", "oldest", "code", "unusual", "uncertain"] = "newest",
        before: Before = None,
        limit: Limit = 60,
    ) -> dict[str, Any]:
        """Search every micrograph by words, `order:4711`, days such as 2026-11-27, and facets."""
        sent = request.query_params
        chosen = {
            name: values[:MOST_CHOSEN]
            for name in FACETS
            if (values := [value for value in sent.getlist(name) if value])
        }
        query = SearchQuery(q, chosen, web.zone, sort)
        found = web.store.search.find_page(query, limit=limit, before=before)
        seen = (view for view in found.micrographs if not is_blind(view))
        remember_read(web, seen, cookies.name_of(request))
        return {
            "count": found.count,
            "cut": found.is_cut,
            "facets": found.facets,
            "next_before": found.next_before,
            "micrographs": [to_json(view) for view in found.micrographs],
        }

    @routes.post("/archive/review", response_model=Requested, status_code=201)
    def request_reviews(request: Request, body: ReviewIn) -> dict[str, Any]:
        """Send micrographs back to review; those that wait already are left alone."""
        by = signing_name(request, body.by)
        n = archive_acts.request_reviews(web, body.micrographs, body.reason, by=by)
        return {"count": n}

    @routes.post("/archive/campaign", response_model=Requested, status_code=201)
    def plan_campaign(request: Request, body: CampaignIn) -> dict[str, Any]:
        """Plan a round robin of micrographs; `agent roundrobin open` opens it."""
        by, raters = signing_name(request, body.by), "\n".join(body.raters)
        n = archive_acts.plan_campaign(web, body.micrographs, body.name, raters, by=by)
        return {"count": n}

    @routes.post("/archive/export", response_class=Response, responses=EXPORTED)
    def export(request: Request, body: ExportIn) -> Response:
        """Export micrographs, or every hit of a search, as CSV or as ZIP with the images."""
        query = SearchQuery(
            body.q, {str(name): body.facets[name] for name in body.facets}, web.zone
        )
        who = cookies.name_of(request)
        return archive_acts.export(web, body.micrographs, query, body.form, who=who)

    _add_views(routes, web)
    _add_history(routes, web)
    return routes


EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
        }
    }
}


def _add_views(routes: APIRouter, web: WebContext) -> None:
    @routes.get("/views", response_model=Views)
    def list_views(
        request: Request, by: Annotated[str, Query(max_length=LONGEST_NAME)] = ""
    ) -> dict[str, Any]:
        """List the searches that the account keeps; without accounts, those of the name `by`."""
        who = who_is(request)
        kept = web.store.saved_views.list_all(who.name if who else by.strip())
        return {
            "views": [
                {"name": view.name, "query": view.query, "saved_at": view.saved_at.isoformat()}
                for view in kept
            ]
        }

    @routes.post("/views", response_model=Requested, status_code=201)
    def save_view(request: Request, body: ViewIn) -> dict[str, Any]:
        """Keep a search under a name; one of the same name is replaced."""
        owner = _find_owner(request, body.by)
        web.store.saved_views.save(owner, body.name, body.query, at=web.now())
        return {"count": 1}

    @routes.post("/views/delete", response_model=Requested)
    def delete_view(request: Request, body: ViewNameIn) -> dict[str, Any]:
        """Delete a kept search."""
        owner = _find_owner(request, body.by)
        return {"count": int(web.store.saved_views.delete(owner, body.name))}


def _add_history(routes: APIRouter, web: WebContext) -> None:
    @routes.get("/history", response_model=Acts)
    def list_acts(
        *,
        actor: Part = "",
        subject: Part = "",
        act: Part = "",
        facts: Part = "",
        first: Day = "",
        last: Day = "",
        before: Before = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """List acts of the audit log, newest first; `act` is the beginning of a name.

        `facts` are words that its facts contain; hidden answers do not match.
        """
        try:
            query = history.build_query(
                web, actor=actor, subject=subject, act=act, facts=facts, first=first, last=last
            )
        except ValueError as error:
            raise HTTPException(422, "write days such as 2026-11-24") from error
        acts, following = history.find_page(web, query, limit=limit, before=before)
        hidden = history.find_hidden(web, acts)
        return {
            "acts": [history.to_json(entry, hidden) for entry in acts],
            "next_before": following,
        }


def _find_owner(request: Request, by: str) -> str:
    """Return whose view it is: of the account that is logged in, a program too, else the name."""
    who = who_is(request)
    return who.name if who else by.strip()


def to_json(view: MicrographView, *, hides: bool = False) -> dict[str, Any]:
    """Return a micrograph as JSON values, without the answer where it is hidden.

    Args:
        view: The micrograph.
        hides: Its answer is hidden in any case.
    """
    document = as_json(view)
    if hides or is_blind(view):
        empty: dict[str, Any] = {"prediction_set": [], "probabilities": {}}
        document |= dict.fromkeys(ANSWER) | empty
    return document
