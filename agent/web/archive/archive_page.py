"""Build the page of the archive: a search, its hits as a grid, and what they have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import reports
from agent.site_time import local_full
from agent.store import SearchQuery
from agent.web import cookies
from agent.web.archive.archive_acts import MOST_IMAGES
from agent.web.authentication import may_undo_any
from agent.web.orders.specimen_fields import is_blind, remember_shown
from reports import ArchiveItem, ArchivePage, Facet, FacetValue, Fact, Filter, Link, Picture, marked
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastapi import Request

    from agent.store import MicrographView, SearchPage
    from agent.web.context import Desk

    Pairs = list[tuple[str, str]]

ITEMS = 60
MOST_VALUES = 12
"""Values of a facet that are listed; more are reached by narrowing the search."""
WORD = re.compile(r"[^\W_]+")
LONGEST_VALUE, MOST_CHOSEN = 300, 40
FACETS = {
    "outcome": marked("Outcome"),
    "code": marked("Structure code"),
    "source": marked("Source"),
    "microscope": marked("Microscope"),
    "reviewer": marked("Reviewer"),
    "month": marked("Month"),
}
"""Facet → its title, in the sequence of the page."""
OUTCOMES = {
    "waiting": marked("waits for review"),
    "automatic": marked("automatic"),
    "confirmed": marked("confirmed"),
    "corrected": marked("corrected"),
    "labelled": marked("labelled"),
    "strange": marked("unusual"),
    "unusable": marked("unusable"),
    "cannot_tell": marked("cannot tell"),
    "not_assessed": marked("not assessed"),
}


def keep_known(query: str) -> Pairs:
    """Return the parts of an address that are a search, as pairs; everything else is left out."""
    try:
        pairs = parse_qsl(query, max_num_fields=200)
    except ValueError:
        return []
    return _keep(pairs)


def _keep(pairs: Sequence[tuple[str, str]]) -> Pairs:
    kept = [
        (key, value[:LONGEST_VALUE])
        for key, value in pairs
        if value.strip() and (key == "q" or key in FACETS)
    ]
    return list(dict.fromkeys(kept))[:MOST_CHOSEN]


def read_query(desk: Desk, asked: Pairs) -> SearchQuery:
    """Return the search of an address."""
    chosen: dict[str, list[str]] = {}
    for key, value in asked:
        if key in FACETS:
            chosen.setdefault(key, []).append(value)
    return SearchQuery(next((value for key, value in asked if key == "q"), ""), chosen, desk.zone)


def build_page(
    desk: Desk, request: Request, *, asked: Pairs | None = None, problem: str = ""
) -> ArchivePage:
    """Build the page of a search.

    Args:
        desk: What the pages work on.
        request: Of a reader.
        asked: The search; None: it is in the request's address.
        problem: Why an act was refused, "" for none.
    """
    sent = request.query_params
    asked = _keep(list(sent.multi_items())) if asked is None else asked
    query, who = read_query(desk, asked), cookies.name_of(request)
    before = cookies.number(sent.get("before", ""))
    found = desk.store.search.find_page(query, limit=ITEMS, before=before)
    blind_first = cookies.is_blind_first(request)
    waiting = [view for view in found.micrographs if view.awaits]
    remember_shown(
        desk,
        (
            view
            for view in waiting
            if not blind_first or _names_code(asked, view.result.structure_code)
        ),
        who,
    )
    has_waiting = bool(waiting or found.facets.get("outcome", {}).get("waiting"))
    views = desk.store.saved_views.list_all(who) if who else []
    return ArchivePage(
        site=desk.site,
        reviewer=who,
        query=query.text,
        items=tuple(build_item(desk, view, blind_first=blind_first) for view in found.micrographs),
        count=_count(found),
        counted_note=_("Counts are of the newest {n} micrographs.").format(
            n=reports.integer(found.count)
        )
        if found.is_cut
        else "",
        facets=tuple(
            facet
            for facet in _list_facets(found, asked)
            if facet.name != "code" or not (blind_first and has_waiting)
        ),
        chips=tuple(_list_chips(asked)),
        hidden=tuple(Fact(key, value) for key, value in asked if key != "q"),
        next_href=_href([*asked, ("before", str(found.next_before))]) if found.next_before else "",
        first_href=_href(asked) if before is not None else "",
        views=tuple(
            Link(view.name, f"/archive?{view.query}" if view.query else "/archive")
            for view in views
        ),
        view_query=urlencode(asked),
        notice=_find_notice(request),
        problem=problem,
        may_save=bool(who),
        may_act=may_undo_any(request),
        most_images=MOST_IMAGES,
    )


def _names_code(asked: Pairs, code: str | None) -> bool:
    """Return whether a search that finds a micrograph tells its structure code."""
    typed = " ".join(value for key, value in asked if key == "q").casefold()
    words = WORD.findall(typed)
    found_by_word = bool(code) and any(str(code).casefold().startswith(word) for word in words)
    return found_by_word or any(key == "code" for key, _value in asked)


def build_item(
    desk: Desk, view: MicrographView, *, blind_first: bool, hides: bool = False
) -> ArchiveItem:
    """Build an item of the grid.

    Args:
        desk: What the pages work on.
        view: The micrograph.
        blind_first: The reviewer asked for micrographs without the answer.
        hides: Its answer is hidden in any case.
    """
    is_hidden = hides or is_blind(view, asked=blind_first and view.awaits)
    process = view.process_data
    code = (view.label.code if view.label else view.result.structure_code) or ""
    about = (process.get(name, "") for name in ("order", "specimen", "heat"))
    return ArchiveItem(
        id=view.id,
        name=view.name,
        code="" if is_hidden else code,
        outcome=_(OUTCOMES[find_outcome(view)]),
        about=" · ".join(part for part in about if part),
        at=local_full(view.taken_at or view.result.done_at, desk.zone),
        thumbnail=Picture(
            f"/pictures/{view.id}/thumb.jpg",
            _("Thumbnail of {name}").format(name=view.name),
            320,
            240,
        ),
        href=f"/review/{view.id}",
    )


def find_outcome(view: MicrographView) -> str:
    """Return what became of a micrograph, as the search names it."""
    result = view.result
    if view.awaits:
        return "waiting"
    if view.label is None:
        if not result.structure_code:
            return "not_assessed"
        return "automatic" if result.handling == "automatic" else "waiting"
    if view.label.kind != "code":
        return view.label.kind
    if not result.structure_code:
        return "labelled"
    return "confirmed" if view.label.code == result.structure_code else "corrected"


def _count(found: SearchPage) -> str:
    n = reports.integer(found.count)
    if found.is_cut:
        return _("more than {n} micrographs").format(n=n)
    return reports.ngettext("{n} micrograph", "{n} micrographs", found.count).format(n=n)


def _href(asked: Sequence[tuple[str, str]]) -> str:
    return f"/archive?{urlencode(asked)}" if asked else "/archive"


def _list_facets(found: SearchPage, asked: Pairs) -> Iterator[Facet]:
    for name, title in FACETS.items():
        counts = found.facets.get(name, {})
        values = [value for value in counts if (name, value) not in asked][:MOST_VALUES]
        chosen = [value for key, value in asked if key == name]
        if not values and not chosen:
            continue
        yield Facet(
            name,
            _(title),
            tuple(
                _build_value(name, value, counts.get(value, 0), asked, is_on=value in chosen)
                for value in (*chosen, *values)
            ),
        )


def _build_value(name: str, value: str, n: int, asked: Pairs, *, is_on: bool) -> FacetValue:
    pair = (name, value)
    rest = [entry for entry in asked if entry != pair]
    href = _href(rest if is_on else [*asked, pair])
    return FacetValue(_word(name, value), reports.integer(n), href, is_on)


def _word(name: str, value: str) -> str:
    return _(OUTCOMES[value]) if name == "outcome" and value in OUTCOMES else value


def _list_chips(asked: Pairs) -> Iterator[Filter]:
    for pair in asked:
        name, value = pair
        title = _("Search") if name == "q" else _(FACETS[name])
        text = f"{title}: {_word(name, value)}"
        yield Filter(text, _href([entry for entry in asked if entry != pair]), on=True)


def _find_notice(request: Request) -> str:
    sent = request.query_params
    if n := cookies.number(sent.get("reviewed", "")):
        text = reports.ngettext(
            "Review of {n} micrograph requested.", "Review of {n} micrographs requested.", n
        )
        return text.format(n=n)
    if sent.get("reviewed") == "0":
        return _("Every one of them waits for review already.")
    if n := cookies.number(sent.get("planned", "")):
        return _(
            "Round robin with {n} micrographs planned. Open it with: agent roundrobin open"
        ).format(n=n)
    return _("View saved.") if sent.get("saved") == "1" else ""
