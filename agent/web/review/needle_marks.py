"""Routes by which the viewer keeps the needles that a reviewer measures."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from agent.errors import UsageError
from agent.store import MicrographView, NeedleMeasurement, NewNeedle, signed_by_program
from agent.web import cookies
from agent.web.authentication import may_lead, signing_name, who_is
from agent.web.context import LONGEST_NAME, UnknownMicrographError, WebContext, find
from agent.web.orders.order_desk import is_lead
from agent.web.review.decisions import NotYoursError
from agent.web.schemas import FAULTS
from reports import gettext as _

Tip = Annotated[
    tuple[float, float], Field(description="x and y in pixels of the crop, from its top left.")
]
By = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"\S", description="Who.")]


class NeedleIn(BaseModel):
    """A needle by its two tips."""

    model_config = ConfigDict(extra="forbid")

    by: By
    start: Tip
    end: Tip


class WithdrawIn(BaseModel):
    """Who withdraws a needle."""

    model_config = ConfigDict(extra="forbid")

    by: By


class Needle(BaseModel):
    """A measured needle."""

    id: int
    start: Tip
    end: Tip
    um_per_px: float = Field(description="The scale with which it was measured.")
    length_um: float
    by: str
    at: str


class KeptNeedles(BaseModel):
    """The valid measured needles of a micrograph, oldest first."""

    needles: list[Needle]
    hidden: int = Field(
        description="Needles of other reviewers that are shown once the reader has measured one."
    )


class Withdrawn(BaseModel):
    """Whether a needle was valid until now."""

    withdrawn: bool


def router(web: WebContext) -> APIRouter:
    """Build the routes of measured needles."""
    routes = APIRouter(prefix="/api/v1/micrographs/{public_id}/needles", responses=FAULTS)

    @routes.get("", response_model=KeptNeedles)
    def list_needles(request: Request, public_id: str, by: str = "") -> dict[str, Any]:
        """Return the needles that reviewers measured, or those of one reviewer.

        A reviewer who has not measured a needle on this micrograph gets none of other reviewers.
        """
        signed = _sign(request, by.strip())
        is_program = signed != by.strip()
        reader = signed if is_program else cookies.name_of(request) or signed
        valid = [
            needle
            for needle in web.store.needle_measurements.list_of(find(web, public_id).id)
            if not needle.withdrawn_by
        ]
        sees_all = is_lead(web, request) or any(needle.by == reader for needle in valid)
        wanted = [needle for needle in valid if not by or needle.by in (by, signed)]
        shown = [needle for needle in wanted if sees_all or needle.by == reader]
        return {
            "needles": [_to_json(needle) for needle in shown],
            "hidden": len(wanted) - len(shown),
        }

    @routes.post("", status_code=201, response_model=Needle)
    def measure_needle(request: Request, public_id: str, body: NeedleIn) -> dict[str, Any]:
        """Store a needle's length by its two tips; the scale has to be known."""
        view, by = find(web, public_id), signing_name(request, body.by)
        needle = NewNeedle(body.start, body.end, _require_scale(view))
        _require_inside(view, needle)
        number = web.store.needle_measurements.add(view.id, needle, by=by, at=web.now())
        return _to_json(_require(web, view, number))

    @routes.post("/{measurement_id}/withdraw", response_model=Withdrawn)
    def withdraw_needle(
        request: Request, public_id: str, measurement_id: int, body: WithdrawIn
    ) -> dict[str, bool]:
        """Withdraw a measured needle. It is kept and used no more."""
        view, by = find(web, public_id), signing_name(request, body.by)
        needle = _require(web, view, measurement_id)
        if needle.by != by and not may_lead(request):
            raise NotYoursError(
                _("{who} measured this needle; a lead may withdraw it").format(who=needle.by)
            )
        at = web.now()
        done = web.store.needle_measurements.withdraw(view.id, measurement_id, by=by, at=at)
        return {"withdrawn": done}

    return routes


def _sign(request: Request, by: str) -> str:
    """Return under which name a request measures for a reviewer; a program adds its own."""
    who = who_is(request)
    return signed_by_program(by, who.name) if by and who and who.is_program else by


def _require(web: WebContext, view: MicrographView, number: int) -> NeedleMeasurement:
    for needle in web.store.needle_measurements.list_of(view.id):
        if needle.id == number:
            return needle
    raise UnknownMicrographError(str(number))


def _require_scale(view: MicrographView) -> float:
    if view.um_per_px is None:
        raise UsageError(
            _("The scale of this micrograph is unknown, so no needle can be kept. Enter it first.")
        )
    return view.um_per_px


def _require_inside(view: MicrographView, needle: NewNeedle) -> None:
    left, top, right, bottom = view.crop or (0, 0, 0, 0)
    tips = (needle.start, needle.end)
    if not all(0 <= x <= right - left and 0 <= y <= bottom - top for x, y in tips):
        raise UsageError(_("A tip of the needle is outside of the crop."))


def _to_json(needle: NeedleMeasurement) -> dict[str, Any]:
    return {
        "id": needle.id,
        "start": needle.start,
        "end": needle.end,
        "um_per_px": needle.um_per_px,
        "length_um": needle.length_um,
        "by": needle.by,
        "at": needle.at.isoformat(),
    }
