"""The order desk: orders in columns by their next step, for leads and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from agent.nightly.page.night_charts import acknowledge_alarm
from agent.orders.facts.specimen_facts import LONG_AGO, Conformity
from agent.orders.instruments.instrument_holds import (
    Affected,
    list_affected_orders,
    release_results,
)
from agent.orders.judge.assessment import assess
from agent.orders.judge.next_step import NextStep
from agent.orders.judge.permissions import LONGEST_REASON, require_lead
from agent.orders.lead_acts import PossibleAct, list_settling_acts
from agent.retrain.bundle_registry import list_bundles
from agent.web import cookies
from agent.web.authentication import may_decide, may_lead, signing_name, who_is
from agent.web.context import WebContext, order_rules
from agent.web.orders.order_acts import find_may_do
from agent.web.orders.order_board import SWEPT, Board, BoardOrder
from agent.web.orders.order_fields import confirm_href, order_href
from agent.web.orders.orders import assign_field, decide_pair, find_pair, list_loose
from agent.web.pages import render_page, request_name
from agent.web.review.decisions import LONGEST_COMMENT, LONGEST_WORD
from agent.web.schemas import FAULTS, Bundles, ListedOrders, Requested, SignedIn
from reports import Tone, marked
from reports import gettext as _

COLUMNS: Mapping[str, Tone] = {
    NextStep.PROBABLY_OUT: Tone.PROBLEM,
    NextStep.TO_CONFIRM: Tone.ATTENTION,
    NextStep.WAITING_FOR_IMAGES: Tone.CALM,
    NextStep.HELD: Tone.ATTENTION,
    Conformity.CONFORMS: Tone.CALM,
    Conformity.DOES_NOT_CONFORM: Tone.PROBLEM,
    Conformity.NOT_ASSESSED: Tone.ATTENTION,
}
"""Columns of the board, left to right, and how much each needs action."""
ALWAYS_SHOWN = 5
"""Columns that are shown also where they are empty."""
CARDS_SHOWN = 40
SORTS = {
    "age": marked("Oldest first"),
    "newest": marked("Newest first"),
    "number": marked("By number"),
}
LONGEST_SEARCH = 80
MOST_ORDERS_AT_ONCE = 500
KEPT = ("find", "sort", "state", "urgent")


def router(web: WebContext) -> APIRouter:
    """Build the routes of the order desk."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/orders")
    def orders(request: Request) -> Response:
        return _render(web, request)

    @routes.post("/orders/urgent")
    def urgent(
        request: Request,
        number: Annotated[list[str], Form(default_factory=list)],
        urgent: Annotated[str, Form()] = "1",
        by: Annotated[str, Form()] = "",
    ) -> Response:
        who = cookies.decides(request, {"by": by})
        fields = [*(("number", named) for named in number), ("urgent", urgent)]
        if page := request_name(web, request, who, "/orders/urgent", fields, then="/orders"):
            return page
        for named in number[:MOST_ORDERS_AT_ONCE]:
            web.store.order_corrections.set_urgent(
                named, urgent=urgent == "1", by=who.strip(), at=web.now()
            )
        if web.hasten:
            web.hasten()
        return _to_desk(who)

    @routes.post("/orders/release")
    def release(
        request: Request,
        source: Annotated[str, Form()] = "",
        reason: Annotated[str, Form()] = "",
        by: Annotated[str, Form()] = "",
    ) -> Response:
        who = cookies.decides(request, {"by": by})
        fields = [("source", source), ("reason", reason)]
        if page := request_name(web, request, who, "/orders/release", fields, then="/orders"):
            return page
        require_lead(order_rules(web), who.strip())
        release_hold(web, source, reason.strip(), by=who.strip())
        return _to_desk(who)

    return routes


def is_lead(web: WebContext, request: Request) -> bool:
    """Return whether a request has the rights of a lead, by its account or `[orders] leads`."""
    who, policy, name = who_is(request), order_rules(web), cookies.name_of(request)
    if who is not None:
        return who.may("lead") or (who.may("reviewer") and policy.is_lead(who.name))
    return not policy.has_leads() or (bool(name) and policy.is_lead(name))


def _to_desk(who: str) -> Response:
    answer = RedirectResponse("/orders", 303)
    cookies.keep(answer, cookies.NAME, who.strip())
    return answer


def list_affected(web: WebContext) -> list[Affected]:
    """Return the orders whose results a failed check holds."""
    return list_affected_orders(web.store, web.holds(), now=web.now()) if web.holds else []


def release_hold(web: WebContext, source: str, reason: str, *, by: str) -> None:
    """Release what failed checks of a source hold until now.

    Raises:
        UsageError: The reason is missing, too long or not printable.
    """
    release_results(web.store, list_affected(web), source, by=by, reason=reason, at=web.now())


# --- the page -----------------------------------------------------------------------------------


def _render(web: WebContext, request: Request) -> Response:
    asked = {key: request.query_params.get(key, "").strip()[:LONGEST_SEARCH] for key in KEPT}
    who, now = cookies.name_of(request), web.now()
    board = web.board.look(web.store, lambda: order_rules(web), now=now, swept=SWEPT)
    shown = [order for order in board.orders if _fits(order, asked)]
    confirming = may_decide(request)
    may_do = find_may_do(web, request)

    def list_acts(order: BoardOrder) -> list[PossibleAct]:
        acts = list_settling_acts(web.store, order.waits) if order.waits else []
        return [entry for entry in acts if may_do(entry.act)]

    columns = list(_list_columns(_sort(shown, asked["sort"]), asked, now, confirming, list_acts))
    following = {order.number for order in board.following}
    cards = [card for column in columns for card in column["cards"]]
    start = next((card["href"] for card in cards if card["order"].number in following), "")
    is_held = any(order.state == NextStep.HELD for order in shown)
    return render_page(
        web,
        request,
        "order_desk",
        200,
        (*KEPT, "done", "together"),
        board=board,
        columns=columns,
        asked=asked | {"sort": asked["sort"] if asked["sort"] in SORTS else "age"},
        sorts=SORTS,
        filters=list(_list_filters(board, asked)),
        done=find_done(web, request),
        start=start if confirming else "",
        open_at=web.leases.others(who, at=now),
        may_act=may_lead(request),
        holds=_count_holds(web) if is_held and is_lead(web, request) else {},
        loose=list_loose(web),
        may_assign=confirming,
    )


def find_done(web: WebContext, request: Request) -> tuple[str, str] | None:
    """Return the last act, as the address of the page names it, and where it is undone."""
    number = request.query_params.get("done", "")
    assessed = assess(web.store, number, order_rules(web)) if number else None
    if assessed is None:
        return None
    text = _("Order {number} done: {word}.").format(
        number=assessed.view.number, word=assessed.statement.conformity.words
    )
    is_together = request.query_params.get("together") == "1"
    return text, confirm_href(assessed.view.number) if is_together else ""


def _fits(order: BoardOrder, asked: Mapping[str, str]) -> bool:
    if asked["state"] and order.state != asked["state"]:
        return False
    if asked["urgent"] and not order.urgent:
        return False
    text = " ".join((order.number, *order.facts, *order.sources)).casefold()
    return all(word in text for word in asked["find"].casefold().split())


def _sort(orders: Sequence[BoardOrder], sort: str) -> list[BoardOrder]:
    """Return the orders sorted, urgent ones always first."""
    found = list(orders)
    if sort == "number":
        found.sort(key=lambda one: one.number)
    elif sort == "newest":
        found.sort(key=lambda one: one.heard_at or LONG_AGO, reverse=True)
    return sorted(found, key=lambda one: not one.urgent)


def _list_columns(
    orders: Sequence[BoardOrder],
    asked: Mapping[str, str],
    now: datetime,
    confirming: bool,
    list_acts: Callable[[BoardOrder], list[PossibleAct]],
) -> Iterator[dict[str, Any]]:
    for place, (word, tone) in enumerate(COLUMNS.items()):
        own = [order for order in orders if order.state == word]
        if not own and (place >= ALWAYS_SHOWN or asked["state"]):
            continue
        most = MOST_ORDERS_AT_ONCE if asked["state"] else CARDS_SHOWN
        kept = {key: value for key, value in asked.items() if value} | {"state": str(word)}
        yield {
            "word": str(word),
            "title": name_state(str(word)),
            "tone": tone,
            "cards": [
                {
                    "order": order,
                    "href": confirm_href(order.number)
                    if order.to_confirm and confirming
                    else order_href(order.number),
                    "age": format_age(order.heard_at, now),
                    "acts": list_acts(order),
                }
                for order in own[:most]
            ],
            "count": len(own),
            "all_href": f"/orders?{urlencode(kept)}" if len(own) > most else "",
        }


def name_state(word: str) -> str:
    """Return the title of a column."""
    if word in set(NextStep):
        return NextStep(word).words
    return Conformity(word).words


def format_age(since: datetime | None, now: datetime) -> str:
    """Return the age of an instant, such as "3 d" or "5 h"; "" where it is not known."""
    if since is None:
        return ""
    minutes = max(0, int((now - since).total_seconds() // 60))
    if minutes < 60:  # noqa: PLR2004 - minutes of an hour
        return _("{n} min").format(n=minutes)
    if minutes < 48 * 60:
        return _("{n} h").format(n=minutes // 60)
    return _("{n} d").format(n=minutes // 1440)


def _list_filters(board: Board, asked: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    kept = {key: asked[key] for key in ("find", "sort") if asked[key]}

    def href(**more: str) -> str:
        query = urlencode(kept | more)
        return f"/orders?{query}" if query else "/orders"

    yield _("All"), href(), not asked["state"] and not asked["urgent"]
    if any(order.urgent for order in board.orders):
        yield _("Urgent"), href(urgent="1"), asked["urgent"] == "1"
    for word in COLUMNS:
        n = sum(order.state == word for order in board.orders)
        if n:
            title = f"{name_state(str(word))} {n}"
            yield title, href(state=str(word)), asked["state"] == word


def _count_holds(web: WebContext) -> dict[str, int]:
    """Return how many orders the failed checks of each source hold."""
    found: dict[str, set[str]] = {}
    for entry in list_affected(web):
        found.setdefault(entry.failure.source, set()).update(entry.orders)
    return {source: len(numbers) for source, numbers in sorted(found.items())}


class AssignIn(SignedIn):
    """The order and the specimen that a field belongs to."""

    order: str = Field(min_length=1, max_length=LONGEST_WORD, pattern=r"\S")
    specimen: str = Field(min_length=1, max_length=LONGEST_WORD, pattern=r"\S")
    preparation: str = Field("", max_length=LONGEST_WORD)
    field: str = Field("", max_length=LONGEST_WORD)
    reason: str = Field("", max_length=LONGEST_WORD)


class PairIn(SignedIn):
    """What a lead decides about two micrographs that seem to show one place."""

    verdict: str = Field(
        min_length=1,
        max_length=LONGEST_WORD,
        description="`different`, or the id of the micrograph that the place belongs to.",
    )
    reason: str = Field(min_length=1, max_length=LONGEST_REASON, pattern=r"\S")


class CancelIn(SignedIn):
    """A job to cancel."""

    name: Literal["retrain"]


class AcknowledgeIn(SignedIn):
    """An alarm that a lead has seen, and why it ends."""

    measure: Literal["unusual", "agreement"] = Field(description="What changed.")
    reason: str = Field(min_length=1, max_length=LONGEST_REASON, pattern=r"\S")


class ReleaseIn(SignedIn):
    """A source whose held results are released, and why."""

    source: str = Field(min_length=1, max_length=LONGEST_WORD)
    reason: str = Field(min_length=1, max_length=LONGEST_COMMENT, pattern=r"\S")


def api_router(web: WebContext) -> APIRouter:
    """Build the routes of orders, fields and bundles for programs."""
    routes = APIRouter(prefix="/api/v1", responses=FAULTS)

    @routes.get("/orders", response_model=ListedOrders)
    def list_orders() -> dict[str, Any]:
        """List the orders of the order desk with their next step, urgent and oldest first."""
        board = web.board.look(web.store, lambda: order_rules(web), now=web.now(), swept=SWEPT)
        return {"orders": [_order_to_json(order) for order in board.orders], "unread": board.unread}

    @routes.post("/micrographs/{public_id}/assign", response_model=Requested, status_code=201)
    def assign(request: Request, public_id: str, body: AssignIn) -> dict[str, Any]:
        """Assign a field without a specimen to an order and a specimen."""
        by = signing_name(request, body.by)
        form = body.model_dump(exclude={"by"})
        assign_field(web, public_id, {key: form[key].strip() for key in form}, by=by)
        return {"count": 1}

    @routes.post("/holds/release", response_model=Requested, status_code=201)
    def release(request: Request, body: ReleaseIn) -> dict[str, Any]:
        """Release the results that failed checks of a source hold."""
        by = signing_name(request, body.by)
        require_lead(order_rules(web), by)
        held = [entry for entry in list_affected(web) if entry.failure.source == body.source]
        release_hold(web, body.source, body.reason.strip(), by=by)
        return {"count": len(held)}

    @routes.post("/alarms/acknowledge", response_model=Requested, status_code=201)
    def acknowledge(request: Request, body: AcknowledgeIn) -> dict[str, Any]:
        """Acknowledge the open alarms of a measure; `count` is that of the groups."""
        by = signing_name(request, body.by)
        require_lead(order_rules(web), by)
        groups = acknowledge_alarm(web.store, body.measure, by=by, reason=body.reason, at=web.now())
        return {"count": len(groups)}

    @routes.post("/places/{one}/{other}", response_model=Requested, status_code=201)
    def decide_place(request: Request, one: str, other: str, body: PairIn) -> dict[str, Any]:
        """Decide whether two micrographs show one place, and to which of them it belongs."""
        by, pair = signing_name(request, body.by), find_pair(web, one, other)
        decide_pair(web, pair, body.verdict, by=by, reason=body.reason.strip())
        return {"count": 1}

    @routes.post("/jobs/cancel", response_model=Requested)
    def cancel(request: Request, body: CancelIn) -> dict[str, Any]:
        """Cancel a training that runs or is requested; `count` is 0 where there is none."""
        by = signing_name(request, body.by)
        return {"count": web.store.jobs.cancel(body.name, by=by, at=web.now())}

    @routes.get("/bundles", response_model=Bundles)
    def bundles() -> dict[str, Any]:
        """List the model bundles, the newest first, with their state and signatures."""
        current, promotions = web.store.promotions.find_current(), web.store.promotions
        used = {promotion.bundle for promotion in promotions.list_all()}
        names = [folder.name for folder in list_bundles(web.archive.folder)[::-1]]
        return {
            "bundles": [
                {
                    "name": name,
                    "state": _name_state(name, current, used),
                    "signed_by": [sign.by for sign in promotions.list_signatures(name)],
                }
                for name in names
            ]
        }

    return routes


def _name_state(
    name: str, current: str | None, used: set[str]
) -> Literal["active", "retired", "candidate"]:
    if name == current:
        return "active"
    return "retired" if name in used else "candidate"


def _order_to_json(order: BoardOrder) -> dict[str, Any]:
    return {
        "order": order.number,
        "state": order.state,
        "lack": order.lack.words,
        "urgent": order.urgent,
        "fields": order.fields,
        "to_confirm": list(order.to_confirm),
        "heard_at": order.heard_at.isoformat() if order.heard_at else None,
        "sources": list(order.sources),
    }
