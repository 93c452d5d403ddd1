"""Page of the model bundles: in use, waiting for a signature, in training."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

import reports
from agent.errors import BadBundle
from agent.retrain.bundle_registry import get_bundles_folder, get_record_folder, list_bundles
from agent.retrain.impact import find_newest_impact
from agent.web import cookies
from agent.web.authentication import who_is
from agent.web.context import Desk, Unknown
from agent.web.models.model_acts import write_card
from agent.web.pages import render_page
from model import ModelError
from reports import Fact, Tone, marked
from reports import gettext as _

if TYPE_CHECKING:
    from pathlib import Path

    from agent.store import Promotion

NAME = re.compile(r"\d{8}-[0-9a-f]{8}")
JOBS = {
    "retrain": marked("A candidate is being trained"),
    "shadow": marked("A candidate is being tried on the last days"),
    "reprocess": marked("Micrographs are being judged again"),
    "suggest": marked("Micrographs to label next are being chosen"),
}
CANCELLED = "retrain"
SHOWN = 50


def router(desk: Desk) -> APIRouter:
    """Build the routes of the bundles."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/models")
    def models(request: Request) -> Response:
        return _render(desk, request)

    @routes.post("/models/cancel")
    def cancel(request: Request) -> Response:
        who = who_is(request)
        by = who.name if who else cookies.name_of(request) or _("a user of this PC")
        desk.store.jobs.cancel(CANCELLED, by=by, at=desk.now())
        return RedirectResponse("/models", 303)

    @routes.get("/models/{name}/card")
    def card(name: str) -> Response:
        path = get_record_folder(_folder(desk, name)) / "card.html"
        if not path.is_file():  # added from another lab
            with suppress(BadBundle, ModelError, OSError):
                write_card(desk, name)
        return _record(path)

    @routes.get("/models/{name}/impact")
    def impact(name: str) -> Response:
        newest = find_newest_impact(_folder(desk, name))
        if newest is None:
            raise Unknown(name)
        return _record(newest)

    return routes


def _folder(desk: Desk, name: str) -> Path:
    if not NAME.fullmatch(name):
        raise Unknown(name)
    return get_bundles_folder(desk.archive.folder) / name


def _record(path: Path) -> Response:
    if not path.is_file():
        raise Unknown(path.name)
    headers = {"Content-Security-Policy": reports.report_policy()}
    return HTMLResponse(path.read_bytes(), headers=headers)


def _render(desk: Desk, request: Request) -> Response:
    who, promotions = who_is(request), desk.store.promotions.list_all()
    folders = list_bundles(desk.archive.folder)[::-1]
    return render_page(
        desk,
        request,
        "models",
        jobs=desk.store.jobs.list_running(at=desk.now()),
        titles=JOBS,
        cancelled=CANCELLED,
        is_lead=who is None or who.may("lead"),
        last=next(iter(desk.store.jobs.list_ended(CANCELLED)[::-1]), None),
        bundles=[_describe_bundle(desk, folder, promotions) for folder in folders[:SHOWN]],
        sets_classes=desk.taxonomy_setup is not None and (who is None or who.may("admin")),
        measures_needles=desk.measures_needles,
    )


def _describe_bundle(desk: Desk, folder: Path, promotions: list[Promotion]) -> dict[str, Any]:
    name = folder.name
    state, tone = name_state(desk, name, promotions)
    return {
        "name": name,
        "state": state,
        "tone": tone,
        "promotion": next((act for act in promotions if act.bundle == name), None),
        "facts": list_facts(folder),
        "has_impact": find_newest_impact(folder) is not None,
    }


def name_state(desk: Desk, name: str, promotions: list[Promotion]) -> tuple[str, Tone | None]:
    """Return whether a bundle is in use, in words, and how urgently it needs action."""
    if promotions and promotions[0].bundle == name:
        return _("in use"), Tone.CALM
    if signed := desk.store.promotions.list_signatures(name):
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
