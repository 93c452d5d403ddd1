"""Page of one bundle: the verdict of its gate, what would change, and the lead's signature."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from agent.errors import AgentError, BadBundle
from agent.nightly.page.embedded_images import parse_training_key
from agent.retrain.bundle_registry import get_bundle, list_previous_bundles
from agent.retrain.impact import find_newest_impact
from agent.retrain.promotion import SHADOW, GateFlip, has_evidence, load_gate_record
from agent.store.people import auth
from agent.web import cookies
from agent.web.authentication import may_lead, who_is
from agent.web.context import Desk, Unknown
from agent.web.forms import read_form
from agent.web.models import model_acts
from agent.web.models.learning_page import MESSAGES, request_job
from agent.web.models.models_page import NAME, list_facts, name_state
from agent.web.pages import render_page
from model import ModelError
from reports import Picture, SignForm, Tone, marked
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from agent.store import Signature

FLIPS_SHOWN = 120
VERDICTS = {
    "recommended": (marked("recommended"), Tone.CALM),
    "not_recommended": (marked("not recommended"), Tone.PROBLEM),
    "not_enough_evidence": (marked("not enough evidence"), Tone.ATTENTION),
}


def router(desk: Desk) -> APIRouter:
    """Build the routes of one bundle."""
    routes = APIRouter(include_in_schema=False)
    signing = partial(_sign, desk, auth.PasswordCheck())

    @routes.get("/models/{name}")
    def bundle(request: Request, name: str) -> Response:
        return _render(desk, request, name, request.query_params.get("done", "")[:200])

    @routes.post("/models/rollback")
    async def rollback(request: Request) -> Response:
        form, act = await read_form(request), partial(model_acts.roll_back, desk)
        current = desk.store.promotions.find_current() or ""
        return await run_in_threadpool(signing, request, current, form, act=act)

    @routes.post("/models/{name}/sign")
    async def sign(request: Request, name: str) -> Response:
        form = await read_form(request)
        act = partial(model_acts.promote, desk, name, is_sure=form.get("sure") == "1")
        return await run_in_threadpool(signing, request, name, form, act=act)

    @routes.post("/models/{name}/answers")
    def answers(request: Request, name: str) -> Response:
        _find_folder(desk, name)
        by = cookies.name_of(request) or _("a user of this PC")
        done = request_job(desk, SHADOW, by=by, facts={"bundle": name})
        return RedirectResponse(f"/models/{name}?{urlencode({'done': _(MESSAGES[done])})}", 303)

    @routes.post("/models/{name}/impact")
    def impact(request: Request, name: str) -> Response:
        _find_folder(desk, name)
        try:
            model_acts.compute_and_save_impact(desk, name)
        except (AgentError, ModelError, OSError) as error:
            return _render(desk, request, name, str(error), 422)
        return RedirectResponse(f"/models/{name}/impact", 303)

    return routes


def _sign(
    desk: Desk,
    check: auth.PasswordCheck,
    request: Request,
    name: str,
    form: Mapping[str, str],
    *,
    act: Callable[[Signature], str],
) -> Response:
    _find_folder(desk, name)

    def refuse(why: str) -> Response:
        return _render(desk, request, name, why, 422)

    return model_acts.answer_signed(
        desk, check, request, form, act=act, page=f"/models/{name}", refuse=refuse
    )


def _find_folder(desk: Desk, name: str) -> Path:
    try:
        return get_bundle(desk.archive.folder, name if NAME.fullmatch(name) else "")
    except BadBundle as error:
        raise Unknown(name) from error


# --- the page -----------------------------------------------------------------------------------


def _render(desk: Desk, request: Request, name: str, message: str, code: int = 200) -> Response:
    folder = _find_folder(desk, name)
    promotions = desk.store.promotions.list_all()
    state, tone = name_state(desk, name, promotions)
    try:
        record, broken = load_gate_record(folder), ""
    except BadBundle as error:
        record, broken = None, str(error)
    verdict, verdict_tone = VERDICTS.get(record.gate if record else "", ("", None))
    may_sign = may_lead(request)
    is_current = bool(promotions) and promotions[0].bundle == name
    flips = record.flips if record else ()
    return render_page(
        desk,
        request,
        "bundle",
        code,
        name=name,
        state=state,
        tone=tone,
        facts=list(list_facts(folder)),
        has_impact=find_newest_impact(folder) is not None,
        verdict=verdict,
        verdict_tone=verdict_tone,
        record=record,
        broken=broken,
        flips=[(flip, _find_picture(desk, flip)) for flip in flips[:FLIPS_SHOWN]],
        more_flips=max(0, len(flips) - FLIPS_SHOWN),
        sign=_build_form(desk, request, name, is_current=is_current) if may_sign else None,
        may_compute=may_sign and not is_current,
        message=message,
        is_refused=code >= HTTPStatus.BAD_REQUEST,
    )


def _find_picture(desk: Desk, flip: GateFlip) -> Picture | None:
    sha256, page = parse_training_key(flip.key)
    if not desk.archive.may_have(desk.archive.thumbnail_path(sha256, page)):
        return None
    alt = _("Reference image of {code}").format(code=flip.true)
    return Picture(f"/pictures/known/{flip.key}.jpg", alt, 320, 240)


def _build_form(desk: Desk, request: Request, name: str, *, is_current: bool) -> SignForm | None:
    needs_password = who_is(request) is not None
    if not is_current:
        note = _("The signature keeps the verdict of the gate and the list of changed orders.")
        if desk.learning.promoters > 1:
            note += " " + _("A second lead has to sign too.")
        return SignForm(
            action=f"/models/{name}/sign",
            title=_("Promote {name}").format(name=name),
            note=note,
            needs_password=needs_password,
            sure=""
            if has_evidence(_find_folder(desk, name), desk.store.promotions.find_current())
            else _("No gate recommends it; I sign all the same."),
        )
    before = next(iter(list_previous_bundles(desk.store.promotions.list_all())), None)
    if before is None:
        return None
    return SignForm(
        action="/models/rollback",
        title=_("Roll back to {name}").format(name=before),
        note=_("One signature is enough. Results that exist keep their bundle."),
        needs_password=needs_password,
    )
