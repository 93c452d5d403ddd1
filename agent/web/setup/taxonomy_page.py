"""Page where an administrator names the lab's classes, previews the effects, and saves.

Saving needs the hash of the preview. If the file or the form has changed since, a new preview is
shown instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

import reports
from agent.errors import BadSettings, WrongUse
from agent.orders.specifications.class_proposals import close_proposal, list_open
from agent.orders.specifications.taxonomy_effects import find_effects
from agent.orders.specifications.taxonomy_history import note_taxonomy
from agent.orders.specifications.taxonomy_writing import write_taxonomy
from agent.settings.writing import write_values
from agent.site_time import local
from agent.web import cookies
from agent.web.authentication import who_is
from agent.web.context import Unknown
from agent.web.setup.first_steps import RESTART
from agent.web.setup.taxonomy_form import (
    fill_sizes,
    fill_subtypes,
    list_folder_classes,
    list_names,
    read_draft,
)
from model import (
    ModelError,
    TaxonomyDraft,
    draft_from_taxonomy,
    format_taxonomy,
    has_several_subtypes,
    propose_draft,
)
from reports import Link, ShownProposal, ShownProposedClass
from reports import gettext as _
from reports.content.setup import TaxonomyPage, TaxonomyPreview

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.web.context import Desk, TaxonomySetup
    from model import Taxonomy

PATH = "/setup/taxonomy"
MOST_LOOKED_AT = 20
"""Micrographs of a code among which an example with pixels is searched for."""
IMPORTED = "import "
"""Prefix of the source name of an imported folder."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the page shows next to the form."""

    names: str = ""
    wrong: str = ""
    written: str = ""
    restart: str = ""
    preview: TaxonomyPreview | None = None


def router(desk: Desk) -> APIRouter:
    """Build the routes of the lab's classes."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(PATH)
    def show(request: Request, source: str = "") -> Response:
        _require(desk)
        try:
            draft = _draft_of_set(desk, source) if source else draft_from_taxonomy(desk.taxonomy())
        except ModelError as error:
            return _answer(desk, request, TaxonomyDraft("", ()), _Shown(wrong=str(error)))
        return _answer(desk, request, draft, _Shown())

    @routes.post(PATH)
    async def change(request: Request) -> Response:
        sent = await request.form()
        rows: dict[str, list[str]] = {}
        for key, value in sent.multi_items():
            if isinstance(value, str):
                rows.setdefault(key, []).append(value)
        return await run_in_threadpool(_change, desk, request, rows)

    return routes


def _require(desk: Desk) -> TaxonomySetup:
    if desk.taxonomy_setup is None:
        raise Unknown(_("This page needs the settings of a lab."))
    return desk.taxonomy_setup


def _change(desk: Desk, request: Request, rows: Mapping[str, Sequence[str]]) -> Response:
    setup = _require(desk)
    act = next(iter(rows.get("act", ())), "check")
    if act == "propose":
        names = next(iter(rows.get("names", ())), "")
        folder = next(iter(rows.get("folder", ())), "").strip()
        try:
            if folder:
                names = "\n".join(list_folder_classes(Path(folder).expanduser()))
            return _answer(desk, request, propose_draft(list_names(names)), _Shown(names))
        except (ModelError, WrongUse) as error:
            return _answer(
                desk, request, TaxonomyDraft("", ()), _Shown(names, wrong=str(error)), status=422
            )
    if act == "close":
        return _close(desk, request, rows)
    draft = read_draft(rows)
    current = _current(desk)
    try:
        new = draft.build(current)
    except ModelError as error:
        return _answer(desk, request, draft, _Shown(wrong=str(error)), status=422)
    preview = _preview(setup, new, current)
    if act != "write" or rows.get("seen") != [preview.seen]:
        return _answer(desk, request, draft, _Shown(preview=preview))
    copy = _write(desk, request, new)
    written = _("{file} is written.").format(file=setup.file.name)
    if copy:
        written += " " + _("The earlier file is {copy}.").format(copy=copy.name)
    return _answer(desk, request, draft, _Shown(written=written, restart=_name_file(desk, setup)))


def _close(desk: Desk, request: Request, rows: Mapping[str, Sequence[str]]) -> Response:
    name, reason = (next(iter(rows.get(key, ())), "") for key in ("proposed", "reason"))
    try:
        close_proposal(desk.store, name, reason=reason, by=_name_author(request), at=desk.now())
    except WrongUse as error:
        draft, shown = draft_from_taxonomy(desk.taxonomy()), _Shown(wrong=str(error))
        return _answer(desk, request, draft, shown, status=422)
    return RedirectResponse(PATH, 303)


def _name_author(request: Request) -> str:
    who = who_is(request)
    return who.name if who else cookies.name_of(request) or "somebody at this PC"


def _current(desk: Desk) -> Taxonomy | None:
    try:
        return desk.taxonomy()
    except ModelError:
        return None  # the file that is to be replaced cannot be read


def _write(desk: Desk, request: Request, new: Taxonomy) -> Path | None:
    setup, now = _require(desk), desk.now()
    copy = write_taxonomy(setup.file, new, now=now)
    if setup.is_named:
        note_taxonomy(desk.store, new, now=now, by=_name_author(request))
    return copy


def _preview(setup: TaxonomySetup, new: Taxonomy, current: Taxonomy | None) -> TaxonomyPreview:
    text, effects = format_taxonomy(new), tuple(find_effects(new, current, setup.load_use()))
    before = setup.file.read_bytes() if setup.file.is_file() else None
    seen = hashlib.sha256("\0".join((text, *effects)).encode())
    seen.update(b"" if before is None else b"\0" + before)
    return TaxonomyPreview(
        codes=new.codes,
        effects=effects,
        text=text,
        seen=seen.hexdigest(),
        copy=_("{file} is there; a copy of it is kept next to it.").format(file=setup.file.name)
        if before is not None
        else _("{file} is not there yet.").format(file=setup.file.name),
    )


# --- the page -----------------------------------------------------------------------------------


def _answer(
    desk: Desk, request: Request, draft: TaxonomyDraft, shown: _Shown, *, status: int = 200
) -> Response:
    setup = _require(desk)
    use, examples = setup.load_use(), _find_examples(desk)
    page = TaxonomyPage(
        site=desk.site,
        reviewer=cookies.name_of(request),
        file=str(setup.file),
        written=shown.written,
        wrong=shown.wrong,
        restart=shown.restart,
        sets=_list_sets(desk),
        names=shown.names,
        name=draft.name,
        several=draft.several_subtypes,
        subtypes=fill_subtypes(draft, use.labelled, lambda code: examples.get(code, "")),
        sizes=fill_sizes(draft),
        preview=shown.preview,
        proposed=tuple(_list_proposed(desk)),
    )
    return HTMLResponse(reports.render("taxonomy", page=page), status)


def _list_proposed(desk: Desk) -> Iterator[ShownProposedClass]:
    for proposed in list_open(desk.store):
        yield ShownProposedClass(
            proposed.name,
            tuple(
                ShownProposal(
                    thumbnail=f"/pictures/{one.micrograph}/thumb.jpg",
                    href=f"/review/{one.micrograph}",
                    text=one.text,
                    by=one.by,
                    at=local(one.at, desk.zone),
                )
                for one in proposed.proposals
            ),
        )


def _name_file(desk: Desk, setup: TaxonomySetup) -> str:
    """Name a new taxonomy.toml in agent.toml; return when it applies, or what is left to do."""
    if setup.is_named:
        return _("It applies from now on; orders that were released keep their sizes.")
    try:
        if desk.settings_file:
            write_values(desk.settings_file, {"model": {"taxonomy": setup.file.name}})
            return _(RESTART)
    except BadSettings as error:
        return str(error)
    return _(
        "It does not apply yet: write {line} under [model] in agent.toml and start the agent again."
    ).format(line=f'taxonomy = "{setup.file.name}"')


def _find_examples(desk: Desk) -> dict[str, str]:
    """Return structure code → a labelled micrograph whose pixels are archived."""
    examples: dict[str, str] = {}
    for entry in desk.store.labelled_micrographs.list_examples(MOST_LOOKED_AT):
        archived = desk.archive.thumbnail_path(entry.sha256, entry.page)
        if (
            entry.label.code
            and entry.label.code not in examples
            and desk.archive.may_have(archived)
        ):
            examples[entry.label.code] = entry.id
    return examples


def _list_sets(desk: Desk) -> tuple[Link, ...]:
    return tuple(
        Link(name.removeprefix(IMPORTED), f"{PATH}?source={quote(name, safe='')}")
        for name in desk.store.labelled_micrographs.list_imported_sources()
    )


def _draft_of_set(desk: Desk, source: str) -> TaxonomyDraft:
    """Return a draft of the codes that an imported set has, by the current classes."""
    specimens: dict[str, set[str]] = {}
    for entry in desk.store.labelled_micrographs.list_imported(source):
        if entry.label.code:
            specimens.setdefault(entry.group, set()).add(entry.label.code)
    codes = set().union(*specimens.values())
    if not codes:
        raise Unknown(source)
    own = desk.taxonomy()
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
