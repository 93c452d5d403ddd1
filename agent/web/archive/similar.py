"""Micrographs that look like one, by what the frozen network saw of them: page and API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

import reports
from agent.imaging.crop import public_id as format_public_id
from agent.web import cookies
from agent.web.archive.archive_api import to_json
from agent.web.archive.archive_page import build_item
from agent.web.context import find
from agent.web.orders.specimen_fields import is_blind, remember_read, remember_shown
from agent.web.schemas import FAULTS, SimilarHits
from reports import SimilarItem, SimilarPage
from reports import gettext as _

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
        return HTMLResponse(reports.render("similar", page=_build_page(desk, request, public_id)))

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


def _build_page(desk: Desk, request: Request, public_id: str) -> SimilarPage:
    view, who = find(desk, public_id), cookies.name_of(request)
    blind_first = cookies.is_blind_first(request)
    hits = _find(desk, view, SHOWN)
    # The codes of what looks alike would tell the answer that is hidden.
    hides = is_blind(view, asked=blind_first and view.awaits)
    items = [
        (
            hit.is_same_scale,
            SimilarItem(
                build_item(desk, other, blind_first=blind_first, hides=hides),
                reports.decimal(hit.cosine, ".3f"),
                _format_scale(other.um_per_px),
            ),
        )
        for hit, other in hits or ()
    ]
    if not hides:
        waits = (other for _hit, other in hits or () if other.awaits and not blind_first)
        remember_shown(desk, waits, who)
    return SimilarPage(
        site=desk.site,
        reviewer=who,
        subject=build_item(desk, view, blind_first=blind_first),
        scale=_format_scale(view.um_per_px),
        same_scale=tuple(item for is_same, item in items if is_same),
        other_scale=tuple(item for is_same, item in items if not is_same),
        why_none=_explain_none(hits),
        note=_("The codes are hidden until this micrograph is decided.") if hides and hits else "",
    )


def _explain_none(hits: list[tuple[Similar, MicrographView]] | None) -> str:
    if hits is None:
        return _(
            "No features of this micrograph are kept yet. They are made every night, or with: "
            "agent models features --fill"
        )
    return "" if hits else _("No other micrograph has kept features yet.")


def _format_scale(um_per_px: float | None) -> str:
    if not um_per_px:
        return _("scale unknown")
    return f"{reports.decimal(um_per_px, '.3g')} µm/px"
