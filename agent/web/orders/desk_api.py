"""Serve to programs what the order desk and the page of the bundles show and do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from agent.nightly.page.night_charts import acknowledge_alarm
from agent.orders.judge.permissions import LONGEST_REASON, require_lead
from agent.retrain.bundle_registry import list_bundles
from agent.web.authentication import signing_name
from agent.web.context import LONGEST_NAME, order_rules
from agent.web.orders.order_board import SWEPT
from agent.web.orders.order_desk import list_affected, release_hold
from agent.web.orders.orders import assign_field
from agent.web.orders.places import decide_pair, find_pair
from agent.web.review.decisions import LONGEST_COMMENT, LONGEST_WORD
from agent.web.schemas import FAULTS, Bundles, DeskOrders, Requested

if TYPE_CHECKING:
    from agent.web.context import Desk
    from agent.web.orders.order_board import BoardOrder


class _In(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    by: str = Field(min_length=1, max_length=LONGEST_NAME, pattern=r"\S", description="Who.")


class AssignIn(_In):
    """The order and the specimen that a field belongs to."""

    order: str = Field(min_length=1, max_length=LONGEST_WORD, pattern=r"\S")
    specimen: str = Field(min_length=1, max_length=LONGEST_WORD, pattern=r"\S")
    preparation: str = Field("", max_length=LONGEST_WORD)
    field: str = Field("", max_length=LONGEST_WORD)
    reason: str = Field("", max_length=LONGEST_WORD)


class PairIn(_In):
    """What a lead decides about two micrographs that seem to show one place."""

    verdict: str = Field(
        min_length=1,
        max_length=LONGEST_WORD,
        description="`different`, or the id of the micrograph that the place belongs to.",
    )
    reason: str = Field(min_length=1, max_length=LONGEST_REASON, pattern=r"\S")


class CancelIn(_In):
    """A job to cancel."""

    name: Literal["retrain"]


class AcknowledgeIn(_In):
    """An alarm that a lead has seen, and why it ends."""

    measure: Literal["unusual", "agreement"] = Field(description="What changed.")
    reason: str = Field(min_length=1, max_length=LONGEST_REASON, pattern=r"\S")


class ReleaseIn(_In):
    """A source whose held results are released, and why."""

    source: str = Field(min_length=1, max_length=LONGEST_WORD)
    reason: str = Field(min_length=1, max_length=LONGEST_COMMENT, pattern=r"\S")


def router(desk: Desk) -> APIRouter:
    """Build the routes of orders, fields and bundles for programs."""
    routes = APIRouter(prefix="/api/v1", responses=FAULTS)

    @routes.get("/orders", response_model=DeskOrders)
    def list_orders() -> dict[str, Any]:
        """List the orders of the order desk with their next step, urgent and oldest first."""
        board = desk.board.look(desk.store, lambda: order_rules(desk), now=desk.now(), swept=SWEPT)
        return {"orders": [_order_to_json(order) for order in board.orders], "unread": board.unread}

    @routes.post("/micrographs/{public_id}/assign", response_model=Requested, status_code=201)
    def assign(request: Request, public_id: str, body: AssignIn) -> dict[str, Any]:
        """Assign a field without a specimen to an order and a specimen."""
        by = signing_name(request, body.by)
        form = body.model_dump(exclude={"by"})
        assign_field(desk, public_id, {key: form[key].strip() for key in form}, by=by)
        return {"count": 1}

    @routes.post("/holds/release", response_model=Requested, status_code=201)
    def release(request: Request, body: ReleaseIn) -> dict[str, Any]:
        """Release the results that failed checks of a source hold."""
        by = signing_name(request, body.by)
        require_lead(order_rules(desk), by)
        held = [entry for entry in list_affected(desk) if entry.failure.source == body.source]
        release_hold(desk, body.source, body.reason.strip(), by=by)
        return {"count": len(held)}

    @routes.post("/alarms/acknowledge", response_model=Requested, status_code=201)
    def acknowledge(request: Request, body: AcknowledgeIn) -> dict[str, Any]:
        """Acknowledge the open alarms of a measure; `count` is that of the groups."""
        by = signing_name(request, body.by)
        require_lead(order_rules(desk), by)
        groups = acknowledge_alarm(
            desk.store, body.measure, by=by, reason=body.reason, at=desk.now()
        )
        return {"count": len(groups)}

    @routes.post("/places/{one}/{other}", response_model=Requested, status_code=201)
    def decide_place(request: Request, one: str, other: str, body: PairIn) -> dict[str, Any]:
        """Decide whether two micrographs show one place, and to which of them it belongs."""
        by, pair = signing_name(request, body.by), find_pair(desk, one, other)
        decide_pair(desk, pair, body.verdict, by=by, reason=body.reason.strip())
        return {"count": 1}

    @routes.post("/jobs/cancel", response_model=Requested)
    def cancel(request: Request, body: CancelIn) -> dict[str, Any]:
        """Cancel a training that runs or is requested; `count` is 0 where there is none."""
        by = signing_name(request, body.by)
        return {"count": desk.store.jobs.cancel(body.name, by=by, at=desk.now())}

    @routes.get("/bundles", response_model=Bundles)
    def bundles() -> dict[str, Any]:
        """List the model bundles, the newest first, with their state and signatures."""
        current, promotions = desk.store.promotions.find_current(), desk.store.promotions
        used = {promotion.bundle for promotion in promotions.list_all()}
        names = [folder.name for folder in list_bundles(desk.archive.folder)[::-1]]
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
