"""The viewer alone, for a field of an order: nothing is decided there.

The pages of an order open it over themselves by the key V; the address also works as a page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

import reports
from agent.nightly import build_card
from agent.orders.specifications.class_texts import build_class_texts, describe_codes
from agent.web import cookies
from agent.web.context import find
from agent.web.orders.order_queue import order_href
from agent.web.orders.specimen_fields import is_blind
from agent.web.review.picture_links import Linked, iter_layers, ruler_of
from agent.web.review.viewer import build_viewer
from reports import ViewerPage
from reports import gettext as _

if TYPE_CHECKING:
    from agent.store import MicrographView
    from agent.web.context import Desk


def router(desk: Desk) -> APIRouter:
    """Build the route of the viewer's page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/review/{public_id}/viewer")
    def show(request: Request, public_id: str) -> Response:
        page = _build_page(desk, request, find(desk, public_id))
        return HTMLResponse(reports.render("viewer", page=page))

    return routes


def _build_page(desk: Desk, request: Request, view: MicrographView) -> ViewerPage:
    who, taxonomy = cookies.name_of(request), desk.taxonomy()
    texts = build_class_texts(taxonomy)
    card = build_card(
        view, Linked(), zone=desk.zone, words=describe_codes(taxonomy), review=None, texts=texts
    )
    is_hidden = is_blind(view, asked=cookies.is_blind_first(request))
    layers = () if is_hidden else tuple(iter_layers(desk, view, texts))
    if layers and view.result.structure_code:
        desk.shown.add(who, view.result.id)  # a map tells which code the model gave
    return ViewerPage(
        site=desk.site,
        reviewer=who,
        title=_name(view) or view.name,
        card=card,
        viewer=build_viewer(desk, view, reviewer=who) if card.crop.picture else None,
        layers=layers,
        ruler=ruler_of(view),
        order_href=order_href(view.process_data["order"]) if view.process_data.get("order") else "",
        review_href=f"/review/{view.id}",
    )


def _name(view: MicrographView) -> str:
    told = view.process_data
    if not (told.get("order") and told.get("specimen") and told.get("field")):
        return ""
    return _("Order {order}, specimen {specimen}, field {field}").format(
        order=told["order"], specimen=told["specimen"], field=told["field"]
    )
