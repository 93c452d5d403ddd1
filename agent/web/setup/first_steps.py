"""The first steps of a lab, each with its form: what they set is written into `agent.toml`."""

from __future__ import annotations

import math
import os
import zoneinfo
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

import reports
from agent.errors import AgentError, UsageError
from agent.files import shares
from agent.orders import read_specifications
from agent.settings import Settings, read
from agent.settings.writing import write_values
from agent.store.people import auth
from agent.watch.listing import list_folder
from agent.watch.path_metadata import Provenance, propose_pattern
from agent.web import cookies
from agent.web.authentication import who_is
from agent.web.context import UnknownMicrographError, WebContext
from agent.web.forms import read_stripped_form
from agent.web.models.learning_page import MESSAGES, RETRAIN, request_job
from agent.web.models.model_acts import require_password
from agent.web.setup.login import require_same
from reports import gettext as _

PATH = "/setup"
COUNTING_S = 10.0
"""For how long the micrographs of a new source are counted."""
ROLES = ("viewer", "reviewer", "lead", "admin")
RESTART = reports.marked("What was changed applies once the agent has restarted.")
RESTART_BY_HAND = reports.marked(
    "Start the agent again, so that it applies: Ctrl-C and agent run; as a service agent service "
    "stop, then agent service start."
)
LOOK_AGAIN_S = 2
"""How often a page asks whether the agent has restarted."""


def router(web: WebContext) -> APIRouter:
    """Build the routes of the first steps."""
    routes = APIRouter(include_in_schema=False)
    acts: dict[str, Callable[[WebContext, Request, Mapping[str, str]], str]] = {
        "zone": _set_zone,
        "source": _add_source,
        "account": partial(_add_account, auth.PasswordCheck()),
        "backup": _set_backup,
        "train": _train,
    }

    @routes.get(PATH)
    def show(request: Request, done: str = "", restarted: str = "") -> Response:
        if restarted and restarted != web.start_id:
            return _redirect(done=_("The agent has restarted. The settings apply."))
        page = build_page(web, request, done=done[:500], restarting=bool(restarted))
        refresh = {"Refresh": str(LOOK_AGAIN_S)} if restarted else None
        return HTMLResponse(reports.render("setup", **page), headers=refresh)

    @routes.post(PATH)
    async def change(request: Request) -> Response:
        form = await read_stripped_form(request)
        return await run_in_threadpool(_change, request, form)

    def _change(request: Request, form: Mapping[str, str]) -> Response:
        act = form.get("act", "")
        if act not in acts and (act != "restart" or not web.restart):
            raise UnknownMicrographError(act)
        had_accounts = web.store.accounts.are_there()
        try:
            if act not in acts:
                return _restart(web)
            done = acts[act](web, request, form)
        except (AgentError, OSError) as error:
            page = build_page(web, request, form=form, wrong=str(error))
            return HTMLResponse(reports.render("setup", **page), 422)
        if not had_accounts and web.store.accounts.are_there():
            return RedirectResponse(f"/login?{urlencode({'then': PATH})}", 303)
        return _redirect(act, done=done)

    return routes


def _redirect(act: str = "", **shown: str) -> Response:
    return RedirectResponse(f"{PATH}?{urlencode(shown)}{act and '#'}{act}", 303)


def _restart(web: WebContext) -> Response:
    """Request a restart; a file that cannot be read is refused while the agent still runs."""
    read(_require_file(web))
    if web.restart:
        web.restart()
    return _redirect(restarted=web.start_id)


def describe_restart(web: WebContext) -> str:
    """Return what has to be done so that written settings apply."""
    return _(RESTART if web.restart else RESTART_BY_HAND)


def _require_file(web: WebContext) -> Path:
    if web.settings_file is None:
        raise UsageError(_("There is no agent.toml. Write one in the shell: agent init."))
    return web.settings_file


def _write(
    web: WebContext, request: Request, values: Mapping[str, Mapping[str, str]], what: str
) -> Settings:
    """Write values into `agent.toml` with who did it, which the audit log keeps at the restart."""
    reason = f"{what}, {cookies.name_of(request) or 'a user of this PC'}"
    return write_values(
        _require_file(web),
        {**values, "site": {**values.get("site", {}), "change_reason": reason[:500]}},
    )


# --- what a form does -----------------------------------------------------------------------------


def _set_zone(web: WebContext, request: Request, form: Mapping[str, str]) -> str:
    zone = form.get("zone", "")
    if zone not in _list_zones():
        raise UsageError(
            _("{zone}: not a time zone; name one such as Europe/Berlin.").format(zone=zone)
        )
    _write(web, request, {"site": {"time_zone": zone}}, "time zone")
    return _("The time zone is {zone}.").format(zone=zone)


def _add_source(web: WebContext, request: Request, form: Mapping[str, str]) -> str:
    name, folder, pattern, material = (
        form.get(key, "") for key in ("name", "folder", "pattern", "material")
    )
    if not name or not folder:
        raise UsageError(_("A source needs a name and a folder."))
    path = resolve_folder(web, folder)
    require_apart(web, path)
    try:
        listing = shares.inspect(path, partial(list_folder, path), limit_s=COUNTING_S)
        files = sorted(listing.pictures)
    except OSError as error:
        text = _("{folder}: cannot be read ({error}). Name a folder that the agent may read.")
        raise UsageError(text.format(folder=path, error=error.strerror or error)) from error
    pattern = pattern or propose_pattern([file.rpartition("/")[2] for file in files])
    source = {"name": name, "folder": folder, "pattern": pattern, "material": material}
    _write(web, request, {"sources": {k: v for k, v in source.items() if v}}, f"source {name}")
    done = _("{name} is a source; its folder has {n} micrographs.").format(name=name, n=len(files))
    read_data = Provenance(pattern=pattern).process_data(files[0]) if files and pattern else {}
    if read_data:
        text = _("The name {file} reads as {facts}.")
        facts = ", ".join(f"{key} {value}" for key, value in read_data.items())
        done += " " + text.format(file=files[0], facts=facts)
    elif files:
        done += " " + _("No process data is read from the names of its files.")
    elif not pattern:
        done += " " + _(
            "So no pattern of their names could be proposed, and no order is known: once a "
            "micrograph is there, enter the source again."
        )
    return done


def _set_backup(web: WebContext, request: Request, form: Mapping[str, str]) -> str:
    folder = form.get("folder", "")
    if not folder:
        raise UsageError(_("Name a folder for the back-ups."))
    path = resolve_folder(web, folder)
    require_apart(web, path)
    if not shares.inspect(path.parent, path.parent.is_dir):
        text = _("{folder}: there is no such folder; only the last one is made.")
        raise UsageError(text.format(folder=path.parent))
    if not shares.inspect(path, partial(_is_writable, path)):
        raise UsageError(_("{folder}: the agent may not write there.").format(folder=path))
    _write(web, request, {"backup": {"folder": folder}}, "back-up folder")
    return _("A back-up is written into {folder} each night.").format(folder=path)


def _is_writable(path: Path) -> bool:
    """Return whether a folder is writable, or can be made where it is named."""
    at = path if path.exists() else path.parent
    return at.is_dir() and os.access(at, os.W_OK)


def _add_account(
    check: auth.PasswordCheck, web: WebContext, request: Request, form: Mapping[str, str]
) -> str:
    who, now = who_is(request), web.now()
    role = form.get("role", "")
    if who is None:
        role = "admin"  # the first account: another role could let no one else in
    else:
        require_password(web, who.name, form.get("own", ""), check)
    name, role = auth.require_name(form.get("name", "")), auth.require_role(role)
    require_same(form.get("password", ""), form.get("again", ""))
    hashed = auth.hash_password(form.get("password", ""), name=name)
    by = who.name if who else cookies.name_of(request) or name
    web.store.accounts.add(
        name, kind="person", role=role, hashed=hashed, by=by, at=now, only_first=who is None
    )
    return _("{name} may log in, with the role {role}.").format(name=name, role=role)


def _train(web: WebContext, request: Request, form: Mapping[str, str]) -> str:
    folder = form.get("folder", "")
    path = resolve_folder(web, folder)
    found = _describe_labelled(web, path) if folder else ""
    facts = {"folder": str(path)} if folder else {}
    by = cookies.name_of(request) or _("a user of this PC")
    return f"{_(MESSAGES[request_job(web, RETRAIN, by=by, facts=facts)])} {found}".strip()


def _describe_labelled(web: WebContext, path: Path) -> str:
    """Return how many labelled micrographs a folder has.

    Raises:
        UsageError: It cannot be listed, or has none; what was found there is named.
    """
    from agent.labelled_import import list_labelled_folder  # noqa: PLC0415 - brings torch

    require_apart(web, path)
    listed = partial(list_labelled_folder, path, web.taxonomy())
    try:
        listing = shares.inspect(path, listed, limit_s=COUNTING_S)
    except OSError as error:
        text = _("{folder}: cannot be read ({error}). Name a folder that the agent may read.")
        raise UsageError(text.format(folder=path, error=error.strerror or error)) from error
    if not listing.files:
        text = _("{folder}: no labelled micrograph; a folder per structure code is needed. {found}")
        found = " ".join(f"{entry.file}: {entry.sentence}" for entry in listing.unusable[:3])
        raise UsageError(text.format(folder=path, found=found))
    least = math.ceil(1 / read(_require_file(web)).strangeness.alpha) - 1
    known = len(web.store.labelled_micrographs.list_alike())
    if known + len(listing.files) < least:
        text = _(
            "{folder} has {n} labelled micrographs. The check for unusual fields needs at least "
            "{least} reference images, a good part more with those that test the bundle."
        )
        raise UsageError(text.format(folder=path, n=len(listing.files), least=least))
    codes = {file.code for file in listing.files}
    text = _("{folder} has {n} labelled micrographs of {k} structure codes.")
    return text.format(folder=path, n=len(listing.files), k=len(codes))


def require_apart(web: WebContext, path: Path) -> None:
    """Refuse a folder that contains the data folder or lies in it, before anything lists it."""
    data, real = web.archive.folder.resolve(), Path(os.path.realpath(path))
    if data in {real, *real.parents} or real in data.parents:
        text = _("{folder} contains the data folder {data} or is inside it. Name another folder.")
        raise UsageError(text.format(folder=path, data=data))


def resolve_folder(web: WebContext, folder: str) -> Path:
    """Return a folder as `agent.toml` means it: relative to that file."""
    return Path(os.path.normpath(_require_file(web).parent / Path(folder).expanduser()))


def describe_unwritable(file: Path) -> str:
    """Return what has to be done so that the agent may change a file, "" where it may."""
    if os.access(file.parent, os.W_OK) and (not file.exists() or os.access(file, os.W_OK)):
        return ""
    return _(
        "The agent may not write {file}, so nothing can be saved here. Give its account the right "
        "to write in {folder} (systemd: ReadWritePaths={folder} in the unit), or edit the file."
    ).format(file=file, folder=file.parent)


# --- the page -----------------------------------------------------------------------------------


@cache
def _list_zones() -> tuple[str, ...]:
    return (*sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone), "UTC")


def _list_specifications(web: WebContext) -> list[str]:
    """Return the names of the specifications, [] where their file cannot be read."""
    try:
        known = read_specifications(web.specifications) if web.specifications else None
    except AgentError:
        known = None
    return sorted({entry.name for entry in known.entries}) if known else []


def build_page(
    web: WebContext,
    request: Request,
    *,
    done: str = "",
    wrong: str = "",
    form: Mapping[str, str] | None = None,
    restarting: bool = False,
) -> dict[str, Any]:
    """Return the facts of the page: each step, whether it is done, and what its form holds."""
    form = form or {}
    file, settings, unreadable = web.settings_file, None, ""
    if file:
        try:
            settings = read(file)
        except AgentError as error:
            unreadable = str(error)
    labels = web.store.labelled_micrographs.list_alike()
    return {
        "site": web.site,
        "reviewer": cookies.name_of(request),
        "file": str(file or ""),
        "done": done,
        "wrong": wrong or unreadable,
        "unwritable": describe_unwritable(file) if file else "",
        "specifications": _list_specifications(web),
        "act": form.get("act", ""),
        "form": {
            key: value for key, value in form.items() if key not in {"password", "again", "own"}
        },
        "restart": describe_restart(web) if settings and web.is_outdated(settings) else "",
        "may_restart": web.restart is not None,
        "restarting": restarting,
        "zones": _list_zones(),
        "zone": settings.site.time_zone if settings else web.zone,
        "is_zone_set": settings is not None and "time_zone" in settings.site.model_fields_set,
        "sources": [
            {"name": source.name, "folder": str(source.folder), "pattern": source.pattern}
            for source in (settings.sources if settings else ())
        ],
        "classes": sorted({one.label.code for one, _ in labels if one.label.code}),
        "codes": web.taxonomy().codes,
        "names_taxonomy": bool(settings and settings.model.taxonomy),
        "accounts": [
            {"name": account.name, "role": account.role} for account in web.store.accounts.every()
        ],
        "roles": ROLES,
        "backup": settings.backup.folder if settings else "",
        "bundle": web.store.promotions.find_current() or "",
        "labelled": sum(len(alike) for _, alike in labels),
    }
