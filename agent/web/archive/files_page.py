"""List of the files that wait, failed or were set aside, and the act that queues them again."""

from __future__ import annotations

from itertools import islice
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from agent.store import State
from agent.web import cookies
from agent.web.authentication import may_lead, signing_name
from agent.web.context import LONGEST_NAME, WebContext
from agent.web.pages import render_page
from agent.web.schemas import FAULTS, Queued, SignedIn
from reports import gettext as _
from reports import marked

GROUPS = {
    "failed": (State.FAILED,),
    "set_aside": (State.SET_ASIDE,),
    "waiting": (State.QUEUED, State.SETTLING, State.PROCESSING),
}
TITLES = {
    "failed": marked("Reading failed"),
    "set_aside": marked("Unusable"),
    "waiting": marked("In work"),
}
STATES = {
    State.FAILED: marked("Reading failed"),
    State.SET_ASIDE: marked("Unusable"),
    State.QUEUED: marked("Queued"),
    State.SETTLING: marked("Still being written"),
    State.PROCESSING: marked("Being processed"),
}
SHOWN = 200
MOST_COUNTED = 10_000


class RetryIn(SignedIn):
    """Which files are queued again."""

    files: list[str] | None = Field(
        None, max_length=SHOWN, description="Paths, hashes or numbers; null: every one."
    )


def router(web: WebContext) -> APIRouter:
    """Build the routes of the files."""
    routes = APIRouter()

    @routes.get("/files", include_in_schema=False)
    def files(request: Request) -> Response:
        return _render(web, request)

    @routes.post("/files/retry", include_in_schema=False)
    def retry(request: Request, which: Annotated[str, Form()] = "") -> Response:
        who = cookies.decides(request, {}) or _("a user of this PC")
        n = web.store.files.retry([which] if which else None, at=web.now(), by=who)
        return RedirectResponse(f"/files?{urlencode({'done': n})}", 303)

    @routes.post("/api/v1/files/retry", response_model=Queued, responses=FAULTS)
    def retry_some(request: Request, body: RetryIn) -> dict[str, int]:
        """Queue files again that failed or were set aside."""
        by = signing_name(request, body.by)
        return {"queued": web.store.files.retry(body.files, at=web.now(), by=by)}

    return routes


def _render(web: WebContext, request: Request) -> Response:
    state = request.query_params.get("state", "")
    source = request.query_params.get("source", "")[:LONGEST_NAME]
    states = GROUPS.get(state, tuple(each for group in GROUPS.values() for each in group))
    fates = islice(
        web.store.files.iter_status([each.value for each in states], source or None), MOST_COUNTED
    )
    return render_page(
        web,
        request,
        "files",
        200,
        ("state", "source", "done"),
        filters=[(_("All"), _href("", source))]
        + [(_(title), _href(state, source)) for state, title in TITLES.items()],
        chosen=_href(state if state in GROUPS else "", source),
        files=list(islice(fates, SHOWN)),
        states=STATES,
        more=sum(1 for _fate in fates),
        may_retry=may_lead(request),
        done=cookies.number(request.query_params.get("done", "")),
    )


def _href(state: str, source: str) -> str:
    asked = {key: value for key, value in (("state", state), ("source", source)) if value}
    return f"/files?{urlencode(asked)}" if asked else "/files"
