"""Pages of the model bundles: in use, waiting for a signature, in training; and of each bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

import reports
from agent.errors import AgentError, UnusableBundleError
from agent.nightly.page.embedded_images import parse_training_key
from agent.retrain.bundle_registry import (
    get_bundle,
    get_bundles_folder,
    get_record_folder,
    list_bundles,
    list_previous_bundles,
)
from agent.retrain.impact import find_newest_impact
from agent.retrain.promotion import SHADOW, GateFlip, has_evidence, load_gate_record
from agent.store import Promotion, Signature
from agent.store.people import auth
from agent.web import cookies
from agent.web.authentication import may_lead, who_is
from agent.web.context import UnknownMicrographError, WebContext
from agent.web.forms import read_form
from agent.web.models import model_acts
from agent.web.models.learning_page import MESSAGES, request_job
from agent.web.models.model_acts import write_card
from agent.web.pages import render_page
from model import ModelError
from reports import Fact, Picture, SignForm, Tone, marked
from reports import gettext as _

NAME = re.compile(r"\d{8}-[0-9a-f]{8}")
JOBS = {
    "retrain": marked("A candidate is being trained"),
    "shadow": marked("A candidate is being tried on the last days"),
    "reprocess": marked("Micrographs are being judged again"),
    "suggest": marked("Micrographs to label next are being chosen"),
}
CANCELLED = "retrain"
SHOWN = 50


def router(web: WebContext) -> APIRouter:
    """Build the routes of the bundles."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/models")
    def models(request: Request) -> Response:
        return _render(web, request)

    @routes.post("/models/cancel")
    def cancel(request: Request) -> Response:
        who = who_is(request)
        by = who.name if who else cookies.name_of(request) or _("a user of this PC")
        web.store.jobs.cancel(CANCELLED, by=by, at=web.now())
        return RedirectResponse("/models", 303)

    @routes.get("/models/{name}/card")
    def card(name: str) -> Response:
        path = get_record_folder(_folder(web, name)) / "card.html"
        if not path.is_file():  # added from another lab
            with suppress(UnusableBundleError, ModelError, OSError):
                write_card(web, name)
        return _record(path)

    @routes.get("/models/{name}/impact")
    def impact(name: str) -> Response:
        newest = find_newest_impact(_folder(web, name))
        if newest is None:
            raise UnknownMicrographError(name)
        return _record(newest)

    return routes


def _folder(web: WebContext, name: str) -> Path:
    if not NAME.fullmatch(name):
        raise UnknownMicrographError(name)
    return get_bundles_folder(web.archive.folder) / name


def _record(path: Path) -> Response:
    if not path.is_file():
        raise UnknownMicrographError(path.name)
    headers = {"Content-Security-Policy": reports.report_policy()}
    return HTMLResponse(path.read_bytes(), headers=headers)


def _render(web: WebContext, request: Request) -> Response:
    who, promotions = who_is(request), web.store.promotions.list_all()
    folders = list_bundles(web.archive.folder)[::-1]
    return render_page(
        web,
        request,
        "models",
        jobs=web.store.jobs.list_running(at=web.now()),
        is_requested=web.store.jobs.is_requested(CANCELLED, at=web.now()),
        titles=JOBS,
        cancelled=CANCELLED,
        is_lead=who is None or who.may("lead"),
        last=next(iter(web.store.jobs.list_ended(CANCELLED)[::-1]), None),
        bundles=[_describe_bundle(web, folder, promotions) for folder in folders[:SHOWN]],
        sets_classes=web.taxonomy_setup is not None and (who is None or who.may("admin")),
        measures_needles=web.measures_needles,
    )


def _describe_bundle(web: WebContext, folder: Path, promotions: list[Promotion]) -> dict[str, Any]:
    name = folder.name
    state, tone = name_state(web, name, promotions)
    return {
        "name": name,
        "state": state,
        "tone": tone,
        "promotion": next((act for act in promotions if act.bundle == name), None),
        "facts": list_facts(folder),
        "has_impact": find_newest_impact(folder) is not None,
    }


def name_state(web: WebContext, name: str, promotions: list[Promotion]) -> tuple[str, Tone | None]:
    """Return whether a bundle is in use, in words, and how urgently it needs action."""
    if promotions and promotions[0].bundle == name:
        return _("in use"), Tone.CALM
    if signed := web.store.promotions.list_signatures(name):
        said = _("proposed by {who}; another person has to sign")
        return said.format(who=signed[-1].by), Tone.ATTENTION
    if any(promotion.bundle == name for promotion in promotions):
        return _("was in use"), None
    return _("candidate"), None


def list_facts(folder: Path) -> list[Fact]:
    """Return when a bundle was trained, for what, and how good it is."""
    try:
        said: dict[str, Any] = json.loads((folder / "bundle.json").read_bytes())
        metrics, is_for_demo = said["metrics"], said["facts"].get("purpose") == "demo"
        taught, scheme = str(said["created_at"])[:16].replace("T", " "), str(said["scheme"])
    except (OSError, ValueError, KeyError, TypeError):
        return [Fact(_("Cannot be read"), "bundle.json")]
    facts = [Fact(_("Trained"), f"{taught} UTC"), Fact(_("Scheme"), scheme)]
    if is_for_demo:
        facts.insert(0, Fact(_("Purpose"), _("drawn, for the demo only")))
    if metrics.get("n"):
        found = metrics["accuracy"]
        shares = {key: reports.decimal(100 * found[key], ".1f") for key in ("value", "low", "high")}
        right = _("{value} % of {n} test micrographs (95 % interval {low} to {high} %)")
        facts.append(Fact(_("Codes right"), right.format(n=metrics["n"], **shares)))
        if lacking := [code for code, row in metrics["per_code"].items() if not row["n"]]:
            facts.append(Fact(_("Not tested"), ", ".join(lacking)))
    return facts


FLIPS_SHOWN = 120
VERDICTS = {
    "recommended": (marked("recommended"), Tone.CALM),
    "not_recommended": (marked("not recommended"), Tone.PROBLEM),
    "not_enough_evidence": (marked("not enough evidence"), Tone.ATTENTION),
}


def bundle_router(web: WebContext) -> APIRouter:
    """Build the routes of one bundle."""
    routes = APIRouter(include_in_schema=False)
    signing = partial(_sign, web, auth.PasswordCheck())

    @routes.get("/models/{name}")
    def bundle(request: Request, name: str) -> Response:
        return _render_bundle(web, request, name, request.query_params.get("done", "")[:200])

    @routes.post("/models/rollback")
    async def rollback(request: Request) -> Response:
        form, act = await read_form(request), partial(model_acts.roll_back, web)
        current = web.store.promotions.find_current() or ""
        return await run_in_threadpool(signing, request, current, form, act=act)

    @routes.post("/models/{name}/sign")
    async def sign(request: Request, name: str) -> Response:
        form = await read_form(request)
        act = partial(model_acts.promote, web, name, is_sure=form.get("sure") == "1")
        return await run_in_threadpool(signing, request, name, form, act=act)

    @routes.post("/models/{name}/answers")
    def answers(request: Request, name: str) -> Response:
        _find_folder(web, name)
        by = cookies.name_of(request) or _("a user of this PC")
        done = request_job(web, SHADOW, by=by, facts={"bundle": name})
        return RedirectResponse(f"/models/{name}?{urlencode({'done': _(MESSAGES[done])})}", 303)

    @routes.post("/models/{name}/impact")
    def impact(request: Request, name: str) -> Response:
        _find_folder(web, name)
        try:
            model_acts.compute_and_save_impact(web, name)
        except (AgentError, ModelError, OSError) as error:
            return _render_bundle(web, request, name, str(error), 422)
        return RedirectResponse(f"/models/{name}/impact", 303)

    return routes


def _sign(
    web: WebContext,
    check: auth.PasswordCheck,
    request: Request,
    name: str,
    form: Mapping[str, str],
    *,
    act: Callable[[Signature], str],
) -> Response:
    _find_folder(web, name)

    def refuse(why: str) -> Response:
        return _render_bundle(web, request, name, why, 422)

    return model_acts.answer_signed(
        web, check, request, form, act=act, page=f"/models/{name}", refuse=refuse
    )


def _find_folder(web: WebContext, name: str) -> Path:
    try:
        return get_bundle(web.archive.folder, name if NAME.fullmatch(name) else "")
    except UnusableBundleError as error:
        raise UnknownMicrographError(name) from error


# --- the page -----------------------------------------------------------------------------------


def _render_bundle(
    web: WebContext, request: Request, name: str, message: str, code: int = 200
) -> Response:
    folder = _find_folder(web, name)
    promotions = web.store.promotions.list_all()
    state, tone = name_state(web, name, promotions)
    try:
        record, broken = load_gate_record(folder), ""
    except UnusableBundleError as error:
        record, broken = None, str(error)
    verdict, verdict_tone = VERDICTS.get(record.gate if record else "", ("", None))
    may_sign = may_lead(request)
    is_current = bool(promotions) and promotions[0].bundle == name
    flips = record.flips if record else ()
    return render_page(
        web,
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
        flips=[(flip, _find_picture(web, flip)) for flip in flips[:FLIPS_SHOWN]],
        more_flips=max(0, len(flips) - FLIPS_SHOWN),
        sign=_build_form(web, request, name, is_current=is_current) if may_sign else None,
        may_compute=may_sign and not is_current,
        message=message,
        is_refused=code >= HTTPStatus.BAD_REQUEST,
    )


def _find_picture(web: WebContext, flip: GateFlip) -> Picture | None:
    sha256, page = parse_training_key(flip.key)
    if not web.archive.may_have(web.archive.thumbnail_path(sha256, page)):
        return None
    alt = _("Reference image of {code}").format(code=flip.true)
    return Picture(f"/pictures/known/{flip.key}.jpg", alt, 320, 240)


def _build_form(
    web: WebContext, request: Request, name: str, *, is_current: bool
) -> SignForm | None:
    needs_password = who_is(request) is not None
    if not is_current:
        note = _("The signature keeps the verdict of the gate and the list of changed orders.")
        if web.learning.promoters > 1:
            note += " " + _("A second lead has to sign too.")
        return SignForm(
            action=f"/models/{name}/sign",
            title=_("Promote {name}").format(name=name),
            note=note,
            needs_password=needs_password,
            sure=""
            if has_evidence(_find_folder(web, name), web.store.promotions.find_current())
            else _("No gate recommends it; I sign all the same."),
        )
    before = next(iter(list_previous_bundles(web.store.promotions.list_all())), None)
    if before is None:
        return None
    return SignForm(
        action="/models/rollback",
        title=_("Roll back to {name}").format(name=before),
        note=_("One signature is enough. Results that exist keep their bundle."),
        needs_password=needs_password,
    )
