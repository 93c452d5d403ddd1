"""The role that each route needs, and whether other PCs can reach the page without accounts."""

from __future__ import annotations

import ipaddress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from starlette.routing import Match

from agent.errors import BadSettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from starlette.types import Scope

    from agent.settings import WebSection
    from agent.store import Accounts

OPEN = ""
"""No log-in is needed: `round_robin` checks the link of a rater itself."""
UNDECLARED = "undeclared"
"""No role includes it, so that a route is closed until its role is declared."""
DECLARED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        OPEN: (
            "GET /favicon.ico",
            "GET /healthz",
            "POST /language",
            "GET /login",
            "POST /login",
            "GET /rate/{key}",
            "GET /rate/{key}/{place}",
            "POST /rate/{key}/{place}",
            "GET /rate/{key}/{place}/picture.jpg",
            "GET /readyz",
            "GET /static/{name}",
        ),
        "viewer": (
            "GET /",
            "POST /api/v1/archive/export",
            "GET /api/v1/bundles",
            "GET /api/v1/history",
            "GET /api/v1/map",
            "GET /api/v1/micrographs",
            "GET /api/v1/micrographs/{public_id}",
            "GET /api/v1/micrographs/{public_id}/needles",
            "GET /api/v1/micrographs/{public_id}/similar",
            "GET /api/v1/openapi.json",
            "GET /api/v1/orders",
            "GET /api/v1/orders/{number:path}",
            "GET /api/v1/orders/{number:path}/report.{kind}",
            "GET /api/v1/queue",
            "GET /api/v1/rollout",
            "GET /api/v1/search",
            "GET /api/v1/status",
            "GET /api/v1/today",
            "GET /api/v1/views",
            "POST /api/v1/views",
            "POST /api/v1/views/delete",
            "GET /archive",
            "POST /archive/export",
            "GET /archive/map",
            "GET /archive/map/selection",
            "GET /archive/similar/{public_id}",
            "POST /archive/views",
            "POST /archive/views/delete",
            "GET /chart",
            "GET /chart/{key}.jpg",
            "GET /confirm/{number:path}",
            "GET /docs",
            "GET /events",
            "GET /files",
            "GET /fleet",
            "GET /help",
            "GET /help/pictures/{name}",
            "GET /help/{name}",
            "GET /history",
            "GET /history.csv",
            "GET /history.pdf",
            "GET /account",
            "POST /account",
            "POST /logout",
            "GET /metrics",
            "GET /models",
            "GET /models/{name}",
            "GET /models/{name}/card",
            "GET /models/{name}/impact",
            "GET /needles",
            "GET /order/{number:path}",
            "GET /order/{number:path}/report.{kind}",
            "GET /orders",
            "GET /pictures/known/{key}.jpg",
            "GET /pictures/{one}/over/{other}.jpg",
            "GET /pictures/{public_id}/crop.jpg",
            "GET /pictures/{public_id}/field.jpg",
            "GET /pictures/{public_id}/full.jpg",
            "GET /pictures/{public_id}/plain.jpg",
            "GET /pictures/{public_id}/thumb.jpg",
            "GET /pictures/{public_id}/whole.jpg",
            "GET /pictures/{public_id}/window.jpg",
            "GET /pictures/{public_id}/{which}.png",
            "GET /places/{one}/{other}",
            "GET /reports",
            "GET /reports/{name:path}",
            "GET /review",
            "GET /review/name",
            "GET /review/{public_id}",
            "GET /review/{public_id}/companions",
            "GET /review/{public_id}/propose",
            "GET /review/{public_id}/scale",
            "GET /review/{public_id}/viewer",
            "GET /roundrobin",
            "GET /specifications",
            "GET /statements/{name}",
            "GET /today",
            "GET /trends",
            "GET /trends.csv",
        ),
        "reviewer": (
            "POST /api/v1/alarms/acknowledge",
            "POST /api/v1/holds/release",
            "POST /api/v1/micrographs",
            "POST /api/v1/micrographs/{public_id}/assign",
            "POST /api/v1/micrographs/{public_id}/decisions",
            "POST /api/v1/micrographs/{public_id}/needles",
            "POST /api/v1/micrographs/{public_id}/needles/{measurement_id}/withdraw",
            "POST /api/v1/micrographs/{public_id}/proposals",
            "POST /api/v1/micrographs/{public_id}/scale",
            "POST /api/v1/micrographs/{public_id}/undo",
            "POST /api/v1/orders/{number:path}/acts",
            "POST /api/v1/places/{one}/{other}",
            "POST /api/v1/rollout/stop",
            "POST /archive/assign",
            "POST /archive/relabel",
            "POST /archive/undo",
            "POST /confirm/{number:path}",
            "POST /fleet/rollout/stop",
            "POST /needles/next",
            "POST /order/{number:path}",
            "POST /orders/release",
            "POST /places/{one}/{other}",
            "POST /review/blind",
            "POST /review/name",
            "POST /review/{public_id}/assign",
            "POST /review/{public_id}/decide",
            "POST /review/{public_id}/dismiss",
            "POST /review/{public_id}/propose",
            "POST /review/{public_id}/scale",
            "POST /review/{public_id}/undo",
            "POST /specifications",
            "POST /trends",
        ),
        "lead": (
            "GET /models/training",
            "POST /api/v1/archive/campaign",
            "POST /api/v1/archive/review",
            "POST /api/v1/files/retry",
            "POST /api/v1/jobs",
            "POST /api/v1/jobs/cancel",
            "POST /archive/campaign",
            "POST /archive/review",
            "POST /files/retry",
            "POST /fleet/rollout",
            "POST /fleet/rollout/continue",
            "POST /models/cancel",
            "POST /models/retrain",
            "POST /models/rollback",
            "POST /models/suggest",
            "POST /models/{name}/answers",
            "POST /models/{name}/impact",
            "POST /models/{name}/sign",
            "POST /needles/calibrate",
            "POST /orders/urgent",
        ),
        "admin": (
            "GET /setup",
            "POST /setup",
            "GET /setup/taxonomy",
            "POST /setup/taxonomy",
        ),
    }
)
"""Role → method and path of the routes that need it; a test holds that every route is here."""
HEAVY = frozenset(
    {
        "POST /api/v1/archive/export",
        "GET /api/v1/map",
        "GET /api/v1/micrographs/{public_id}/similar",
        "GET /api/v1/orders/{number:path}/report.{kind}",
        "POST /archive/export",
        "GET /archive/map",
        "GET /archive/map/selection",
        "GET /archive/similar/{public_id}",
        "GET /history.csv",
        "GET /history.pdf",
        "GET /models/training",
        "GET /order/{number:path}/report.{kind}",
        "GET /setup/taxonomy",
        "POST /needles/next",
        "POST /setup/taxonomy",
        "GET /trends",
        "GET /trends.csv",
    }
)
"""Routes that may take a second of a processor; each person has one answered at a time."""
NEEDED = MappingProxyType({route: role for role, routes in DECLARED.items() for route in routes})


def find_needed_role(scope: Scope) -> str:
    """Return the role that a request needs.

    Where no route answers, a log-in is needed, so that a refusal names no route.
    """
    route = find_route(scope)
    return NEEDED.get(route, UNDECLARED) if route else "viewer"


def find_route(scope: Scope) -> str:
    """Return method and path of the route that the application matches, "" where none answers.

    Only `path` and `method` count: an address may be made of headers, which the sender chooses.
    """
    for route in iter_routes(scope["app"].router.routes):
        match, _ = route.matches(scope)
        if match is Match.FULL:
            return f"{scope['method'].replace('HEAD', 'GET')} {route.path}"
    return ""


def iter_routes(routes: Iterable[Any]) -> Iterator[Any]:
    """Yield the routes of an application, those of its routers too, in their order."""
    for route in routes:
        inner = getattr(route, "original_router", route)
        if getattr(inner, "routes", None):
            yield from iter_routes(inner.routes)
        else:
            yield route


def refuse_strangers(web: WebSection, known: Accounts) -> None:
    """Refuse an address that other PCs reach, as long as there are no accounts.

    Args:
        web: Section `[web]` of the settings.
        known: The accounts.

    Raises:
        BadSettingsError: Other PCs reach the address and there are no accounts.
    """
    if not is_this_pc_alone(web.host) and not known.are_there():
        raise BadSettingsError(
            f"[web] host: {web.host} can be reached from other PCs, and there are no accounts; "
            'make one with agent users add NAME --role admin, or write host = "127.0.0.1".'
        )


def is_this_pc_alone(host: str) -> bool:
    """Return whether an address can only be reached from this PC."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
