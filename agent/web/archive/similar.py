"""Micrographs that look like one, by what the frozen network saw of them: page and API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from agent.imaging.crop import public_id as format_public_id
from agent.web import cookies
from agent.web.archive.archive import describe_hit
from agent.web.archive.archive_api import to_json
from agent.web.context import find
from agent.web.orders.specimen_fields import is_blind, remember_read, remember_shown
from agent.web.pages import render_page
from agent.web.schemas import FAULTS, SimilarHits

if TYPE_CHECKING:
    from agent.features import Similar
    from agent.store import MicrographView
    from agent.web.context import Desk

SHOWN, MOST = 24, 200
SPARE = 3
"""Times as many are looked for as are shown: some may be deleted, or of a set-aside row."""


def router(desk: Desk) -> APIRouter:
    """Build the routes of similar micrographs."""
    routes = APIRouter(responses=FAULTS)

    @routes.get("/archive/similar/{public_id}", include_in_schema=False)
    def show_similar(request: Request, public_id: str) -> Response:
        return _render(desk, request, public_id)

    @routes.get("/api/v1/micrographs/{public_id}/similar", response_model=SimilarHits)
    def list_similar(
        request: Request,
        public_id: str,
        *,
        limit: Annotated[int, Query(ge=1, le=MOST)] = SHOWN,
    ) -> dict[str, Any]:
        """List the micrographs that look most like one, those of its scale first."""
        view = find(desk, public_id)
        hits = _find(desk, view, limit)
        hides = is_blind(view)
        seen = [other for _hit, other in hits or () if not hides and not is_blind(other)]
        remember_read(desk, seen, cookies.name_of(request))
        return {
            "has_features": hits is not None,
            "similar": [
                {
                    "cosine": round(hit.cosine, 4),
                    "same_scale": hit.is_same_scale,
                    "micrograph": to_json(other, hides=hides),
                }
                for hit, other in hits or ()
            ],
        }

    return routes


def _find(desk: Desk, view: MicrographView, n: int) -> list[tuple[Similar, MicrographView]] | None:
    """Return similar micrographs that this site has, None where no features are kept."""
    found = desk.similar.find(view.sha256, view.page, n=n * SPARE) if desk.similar else None
    if found is None:
        return None
    hits = {format_public_id(hit.sha256, hit.page): hit for hit in found}
    views = desk.store.search.list_micrographs(list(hits))
    known = [(hits[other.id], other) for other in views if hits[other.id].sha256 == other.sha256]
    return known[:n]


def _render(desk: Desk, request: Request, public_id: str) -> Response:
    view, who = find(desk, public_id), cookies.name_of(request)
    blind_first = cookies.is_blind_first(request)
    hits = _find(desk, view, SHOWN)
    # The codes of what looks alike would tell the answer that is hidden.
    hides = is_blind(view, asked=blind_first and view.awaits)
    if not hides:
        waits = (other for _hit, other in hits or () if other.awaits and not blind_first)
        remember_shown(desk, waits, who)
    shown = [
        (hit, describe_hit(other, blind_first=blind_first, hides=hides))
        for hit, other in hits or ()
    ]
    return render_page(
        desk,
        request,
        "similar",
        subject=describe_hit(view, blind_first=blind_first),
        hits=shown,
        has_features=hits is not None,
        hides=hides,
    )
