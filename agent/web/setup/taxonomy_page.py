"""Page where an administrator names the lab's classes, and where a reviewer proposes one.

Saving needs the hash of the preview. If the file or the form has changed since, a new preview is
shown instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from agent.errors import BadSettingsError, UsageError
from agent.files import shares
from agent.orders.specifications.specification_history import note_taxonomy
from agent.orders.specifications.taxonomy_changes import LONGEST_NAME as LONGEST_CLASS
from agent.orders.specifications.taxonomy_changes import (
    LONGEST_TEXT,
    close_proposal,
    find_effects,
    list_open,
    propose_class,
    write_taxonomy,
)
from agent.settings.writing import write_values
from agent.store import MicrographView
from agent.watch.listing import list_folder
from agent.web import cookies
from agent.web.authentication import may_decide, signing_name, who_is
from agent.web.context import LONGEST_NAME, TaxonomySetup, UnknownMicrographError, WebContext, find
from agent.web.forms import read_form
from agent.web.pages import render_page
from agent.web.schemas import FAULTS
from agent.web.setup.first_steps import (
    describe_restart,
    describe_unwritable,
    require_apart,
    resolve_folder,
)
from model import (
    ModelError,
    SubtypeDraft,
    Taxonomy,
    TaxonomyDraft,
    TaxonomyError,
    draft_from_taxonomy,
    format_taxonomy,
    has_several_subtypes,
    propose_draft,
)
from model.class_names import compose_name
from reports import gettext as _


class ProposalIn(BaseModel):
    """A class that the taxonomy lacks."""

    model_config = ConfigDict(strict=True, extra="forbid")

    by: str = Field(min_length=1, max_length=LONGEST_NAME, pattern=r"\S")
    name: str = Field(min_length=1, max_length=LONGEST_CLASS, description="Of the class.")
    text: str = Field("", max_length=LONGEST_TEXT, description="What it looks like.")


class Proposed(BaseModel):
    """A proposal that was recorded."""

    record: int = Field(description="Number of its record.")


def proposal_router(web: WebContext) -> APIRouter:
    """Build the routes of proposals."""
    routes = APIRouter()

    @routes.get("/review/{public_id}/propose", include_in_schema=False)
    def show(request: Request, public_id: str) -> Response:
        return _render(web, request, find(web, public_id))

    @routes.post("/review/{public_id}/propose", include_in_schema=False)
    async def propose(request: Request, public_id: str) -> Response:
        form = await read_form(request)
        return await run_in_threadpool(_propose, web, request, public_id, form)

    @routes.post(
        "/api/v1/micrographs/{public_id}/proposals",
        status_code=201,
        response_model=Proposed,
        responses=FAULTS,
    )
    def propose_(request: Request, public_id: str, body: ProposalIn) -> dict[str, int]:
        """Propose a class that the taxonomy lacks, shown by a micrograph; it decides nothing."""
        view, by = find(web, public_id), signing_name(request, body.by)
        record = propose_class(
            web.store, view.id, name=body.name, text=body.text, by=by, at=web.now()
        )
        return {"record": record}

    return routes


def _propose(
    web: WebContext, request: Request, public_id: str, form: Mapping[str, str]
) -> Response:
    view, who = find(web, public_id), cookies.decides(request, form)
    name, text = form.get("name", ""), form.get("text", "")
    try:
        if wrong := cookies.wrong_name(who):
            raise UsageError(wrong)  # noqa: TRY301 - shown like every other refusal
        propose_class(web.store, view.id, name=name, text=text, by=who, at=web.now())
    except UsageError as error:
        return _render(web, request, view, form, 422, wrong=str(error))
    answer = RedirectResponse(f"/review/{view.id}/propose", 303)
    cookies.keep(answer, cookies.NAME, who.strip())
    return answer


def _render(
    web: WebContext,
    request: Request,
    view: MicrographView,
    form: Mapping[str, str] | None = None,
    code: int = 200,
    *,
    wrong: str = "",
) -> Response:
    who = cookies.name_of(request)
    return render_page(
        web,
        request,
        "proposal",
        code,
        may_decide=may_decide(request),
        micrograph=view,
        form={"name": "", "text": ""} | dict(form or {}),
        own=[
            name
            for name, proposed in list_open(web.store).items()
            if any(own.facts["micrograph"] == view.id and own.by == who for own in proposed)
        ],
        wrong=wrong,
    )


PATH = "/setup/taxonomy"
MOST_LOOKED_AT = 20
"""Micrographs of a code among which an example with pixels is searched for."""
LONGEST_TITLE = 200
LISTING_S = 30.0
"""Longest time to list a folder while a browser waits for the answer."""
EMPTY_ROWS = 2
NOTHING = TaxonomyDraft("", ())
IMPORTED = "import "
"""Prefix of the source name of an imported folder."""


def router(web: WebContext) -> APIRouter:
    """Build the routes of the lab's classes."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(PATH)
    def show(request: Request, source: str = "") -> Response:
        _require(web)
        try:
            draft = _draft_of_set(web, source) if source else draft_from_taxonomy(web.taxonomy())
        except ModelError as error:
            return _answer(web, request, NOTHING, wrong=str(error))
        return _answer(web, request, draft)

    @routes.post(PATH)
    async def change(request: Request) -> Response:
        sent = await request.form()
        rows: dict[str, list[str]] = {}
        for key, value in sent.multi_items():
            if isinstance(value, str):
                rows.setdefault(key, []).append(value)
        return await run_in_threadpool(_change, web, request, rows)

    return routes


def _require(web: WebContext) -> TaxonomySetup:
    if web.taxonomy_setup is None:
        raise UnknownMicrographError(_("This page needs the settings of a lab."))
    return web.taxonomy_setup


def _change(web: WebContext, request: Request, rows: Mapping[str, Sequence[str]]) -> Response:
    setup = _require(web)
    act = next(iter(rows.get("act", ())), "check")
    if act == "propose":
        names = next(iter(rows.get("names", ())), "")
        folder = next(iter(rows.get("folder", ())), "").strip()
        try:
            if folder:
                path = resolve_folder(web, folder)
                require_apart(web, path)
                names = "\n".join(_list_folder_classes(path))
            return _answer(web, request, propose_draft(_list_names(names)), names=names)
        except (ModelError, UsageError) as error:
            return _answer(web, request, NOTHING, 422, names=names, wrong=str(error))
    if act == "close":
        return _close(web, request, rows)
    draft = _read_draft(rows)
    current = _current(web)
    try:
        new = draft.build(current)
    except ModelError as error:
        return _answer(web, request, draft, 422, wrong=str(error))
    preview = _preview(setup, new, current)
    if act != "write" or rows.get("seen") != [preview["seen"]]:
        return _answer(web, request, draft, preview=preview)
    kept = _write(web, request, new)
    restart = _name_file(web, setup)
    may_restart = web.restart is not None and restart == describe_restart(web)
    shown = {"kept": kept, "restart": restart, "may_restart": may_restart}
    return _answer(web, request, draft, is_written=True, **shown)


def _close(web: WebContext, request: Request, rows: Mapping[str, Sequence[str]]) -> Response:
    name, reason = (next(iter(rows.get(key, ())), "") for key in ("proposed", "reason"))
    try:
        close_proposal(web.store, name, reason=reason, by=_name_author(request), at=web.now())
    except UsageError as error:
        return _answer(web, request, draft_from_taxonomy(web.taxonomy()), 422, wrong=str(error))
    return RedirectResponse(PATH, 303)


def _name_author(request: Request) -> str:
    who = who_is(request)
    return who.name if who else cookies.name_of(request) or "somebody at this PC"


def _current(web: WebContext) -> Taxonomy | None:
    try:
        return web.taxonomy()
    except ModelError:
        return None  # the file that is to be replaced cannot be read


def _write(web: WebContext, request: Request, new: Taxonomy) -> Path | None:
    setup, now = _require(web), web.now()
    copy = write_taxonomy(setup.file, new, now=now)
    if setup.is_named:
        note_taxonomy(web.store, new, now=now, by=_name_author(request))
    return copy


def _preview(setup: TaxonomySetup, new: Taxonomy, current: Taxonomy | None) -> dict[str, Any]:
    """Return what a form would write: codes, effects in words, the file, a hash of all of it."""
    text, effects = format_taxonomy(new), tuple(find_effects(new, current, setup.load_use()))
    before = setup.file.read_bytes() if setup.file.is_file() else None
    seen = hashlib.sha256("\0".join((text, *effects)).encode())
    seen.update(b"" if before is None else b"\0" + before)
    return {
        "codes": new.codes,
        "effects": effects,
        "text": text,
        "seen": seen.hexdigest(),
        "replaces": before is not None,
    }


# --- the page -----------------------------------------------------------------------------------


def _answer(
    web: WebContext, request: Request, draft: TaxonomyDraft, code: int = 200, /, **shown: object
) -> Response:
    """Return the form of a draft; `shown` is what is next to it: names, wrong, preview, kept."""
    setup = _require(web)
    facts: dict[str, object] = {
        "file": setup.file,
        "unwritable": describe_unwritable(setup.file),
        "names": "",
        "wrong": "",
        "is_written": False,
        "preview": None,
        "sets": {
            name: name.removeprefix(IMPORTED)
            for name in web.store.labelled_micrographs.list_imported_sources()
        },
        "draft": draft,
        "subtypes": (*draft.subtypes, *[SubtypeDraft("", ())] * EMPTY_ROWS),
        "titles": dict(draft.size_titles),
        "codes": _list_codes(draft),
        "labelled": setup.load_use().labelled,
        "examples": find_examples(web),
        "proposals": list_open(web.store),
    }
    return render_page(web, request, "taxonomy", code, **facts | shown)


def _name_file(web: WebContext, setup: TaxonomySetup) -> str:
    """Name a new taxonomy.toml in agent.toml; return when it applies, or what is left to do."""
    if setup.is_named:
        return _("It applies from now on; orders that were released keep their sizes.")
    try:
        if web.settings_file:
            write_values(web.settings_file, {"model": {"taxonomy": setup.file.name}})
            return describe_restart(web)
    except BadSettingsError as error:
        return str(error)
    return _(
        "It does not apply yet: write {line} under [model] in agent.toml and start the agent again."
    ).format(line=f'taxonomy = "{setup.file.name}"')


def find_examples(web: WebContext) -> dict[str, str]:
    """Return structure code → a labelled micrograph whose pixels are archived."""
    examples: dict[str, str] = {}
    for entry in web.store.labelled_micrographs.list_examples(MOST_LOOKED_AT):
        archived = web.archive.thumbnail_path(entry.sha256, entry.page)
        if entry.label.code and entry.label.code not in examples and web.archive.may_have(archived):
            examples[entry.label.code] = entry.id
    return examples


def _draft_of_set(web: WebContext, source: str) -> TaxonomyDraft:
    """Return a draft of the codes that an imported set has, by the current classes."""
    specimens: dict[str, set[str]] = {}
    for entry in web.store.labelled_micrographs.list_imported(source):
        if entry.label.code:
            specimens.setdefault(entry.group, set()).add(entry.label.code)
    codes = set().union(*specimens.values())
    if not codes:
        raise UnknownMicrographError(source)
    own = web.taxonomy()
    if codes - set(own.codes):  # labelled when other classes applied
        draft = propose_draft(sorted(codes), name=own.name)
        several = has_several_subtypes(draft.build(), specimens.values())
        return replace(draft, several_subtypes=several)
    several = own.several_subtypes or has_several_subtypes(own, specimens.values())
    draft = draft_from_taxonomy(own)
    kept = [
        (one, [size.name for size in subtype.sizes if subtype.code(size.name) in codes])
        for one, subtype in zip(draft.subtypes, own.subtypes, strict=True)
    ]
    subtypes = tuple(replace(one, sizes=tuple(filter(None, sizes))) for one, sizes in kept if sizes)
    return replace(draft, subtypes=subtypes, several_subtypes=several)


# --- the form -----------------------------------------------------------------------------------


def _read_draft(rows: Mapping[str, Sequence[str]]) -> TaxonomyDraft:
    """Parse a sent form to a draft; rows without a name are left out.

    Args:
        rows: Field → its values in the order of the page.
    """
    subtypes = zip_longest(
        *(rows.get(key, ()) for key in ("subtype", "sizes", "title", "title_de")), fillvalue=""
    )
    sizes = zip_longest(
        *(rows.get(key, ()) for key in ("size", "size_title", "size_title_de")), fillvalue=""
    )
    return TaxonomyDraft(
        name=_line(next(iter(rows.get("name", ())), "")),
        subtypes=tuple(
            SubtypeDraft(compose_name(name), _lines(listed), _line(title), _line(title_de))
            for name, listed, title, title_de in subtypes
            if compose_name(name)
        ),
        size_titles=tuple(
            (compose_name(name), (_line(title), _line(title_de))) for name, title, title_de in sizes
        ),
        several_subtypes=bool(rows.get("several")),
    )


def _list_names(written: str) -> list[str]:
    """Return the names that were typed, one a line."""
    return [name for line in written.splitlines() if (name := compose_name(line))]


def _list_folder_classes(folder: Path) -> list[str]:
    """Return the names of the subfolders with micrographs of a labelled folder.

    Raises:
        UsageError: The folder cannot be read, or has none.
    """
    try:
        pictures = shares.inspect(folder, partial(list_folder, folder), limit_s=LISTING_S).pictures
    except OSError as error:
        text = _("{folder}: cannot be read ({error}). Name a folder that the agent may read.")
        raise UsageError(text.format(folder=folder, error=error.strerror or error)) from error
    names = sorted({file.partition("/")[0] for file in pictures if "/" in file})
    if not names:
        text = _("{folder}: no labelled micrograph in it; make a subfolder per class in it.")
        raise UsageError(text.format(folder=folder))
    return names


def _list_codes(draft: TaxonomyDraft) -> dict[str, list[str]]:
    """Return the codes of each subtype; nothing where the draft is inconsistent."""
    try:
        taxonomy: Taxonomy = draft.build()
    except TaxonomyError:
        return {}
    return {
        subtype.name: [subtype.code(size.name) for size in subtype.sizes]
        for subtype in taxonomy.subtypes
    }


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_TITLE]


def _lines(text: str) -> tuple[str, ...]:
    return tuple(_list_names(text))
