"""The archive: every micrograph that was ever taken, searched, narrowed, and acted on together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

import reports
from agent.errors import SetupError
from agent.store import MicrographView, SearchPage, SearchQuery
from agent.store.search.search import NEWEST, SORTS
from agent.web import cookies
from agent.web.archive import archive_acts
from agent.web.archive.archive_acts import MOST_IMAGES
from agent.web.authentication import may_decide, may_lead
from agent.web.context import WebContext
from agent.web.orders.order_fields import is_blind, remember_shown
from agent.web.pages import render_page, request_name
from agent.web.review.decisions import list_subtypes
from reports import gettext as _
from reports import marked

Pairs = list[tuple[str, str]]
Ids = Annotated[list[str], Form(default_factory=list)]

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
DAYS = ("since", "until")
ADDRESS = (
    *("q", *FACETS, *DAYS, "sort", "before"),
    *("reviewed", "planned", "saved", "labelled", "assigned", "undone", "of", "act"),
)
"""What the address of the page may have: a search, and an act that was done."""
DAY = re.compile(r"\d{4}-\d\d-\d\d")
CHIPS = {
    "q": marked("Search"),
    "since": marked("From"),
    "until": marked("To"),
    "sort": marked("Sorted by"),
}
SORT_WORDS = {
    NEWEST: marked("date, newest first"),
    "oldest": marked("date, oldest first"),
    "code": marked("structure code"),
    "unusual": marked("most unusual first"),
    "uncertain": marked("least certain first"),
}
ANSWER_SORTS = ("code", "unusual", "uncertain")
"""Sequences by which the place of a micrograph tells something of its answer."""
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


def router(web: WebContext) -> APIRouter:
    """Build the routes of the archive."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/archive")
    def archive(request: Request) -> Response:
        return render_archive(web, request)

    @routes.post("/archive/review")
    def request_reviews(
        request: Request,
        micrograph: Ids,
        reason: Annotated[str, Form()] = "",
        back: Annotated[str, Form()] = "",
        by: Annotated[str, Form()] = "",
    ) -> Response:
        who = cookies.decides(request, {"by": by})
        fields = [("micrograph", public_id) for public_id in micrograph]
        fields += [("reason", reason), ("back", back)]
        if refused := _request_name(web, request, who, fields):
            return refused
        try:
            n = archive_acts.request_reviews(web, micrograph, reason, by=who.strip())
        except SetupError as error:
            return refuse(web, request, back, error)
        return go_back(back, who, reviewed=str(n))

    @routes.post("/archive/campaign")
    def plan_campaign(
        request: Request,
        micrograph: Ids,
        *,
        name: Annotated[str, Form()] = "",
        raters: Annotated[str, Form()] = "",
        back: Annotated[str, Form()] = "",
        by: Annotated[str, Form()] = "",
    ) -> Response:
        who = cookies.decides(request, {"by": by})
        fields = [("micrograph", public_id) for public_id in micrograph]
        fields += [("name", name), ("raters", raters), ("back", back)]
        if refused := _request_name(web, request, who, fields):
            return refused
        try:
            n = archive_acts.plan_campaign(web, micrograph, name, raters, by=who.strip())
        except SetupError as error:
            return refuse(web, request, back, error)
        return go_back(back, who, planned=str(n))

    @routes.post("/archive/export")
    def export(
        request: Request,
        micrograph: Ids,
        form: Annotated[str, Form(alias="as")] = "csv",
        back: Annotated[str, Form()] = "",
    ) -> Response:
        try:
            query, who = read_query(web, keep_known(back)), cookies.name_of(request)
            return archive_acts.export(web, micrograph, query, form, who=who)
        except SetupError as error:
            return refuse(web, request, back, error)

    _add_views(routes, web)
    return routes


def _add_views(routes: APIRouter, web: WebContext) -> None:
    @routes.post("/archive/views")
    def save_view(
        request: Request,
        name: Annotated[str, Form()] = "",
        query: Annotated[str, Form()] = "",
        by: Annotated[str, Form()] = "",
    ) -> Response:
        who = cookies.decides(request, {"by": by})
        if refused := _request_name(web, request, who, [("name", name), ("query", query)]):
            return refused
        kept = urlencode(keep_known(query))
        try:
            web.store.saved_views.save(who.strip(), name, kept, at=web.now())
        except SetupError as error:
            return refuse(web, request, query, error)
        return go_back(query, who, saved="1")

    @routes.post("/archive/views/delete")
    def delete_view(
        request: Request,
        name: Annotated[str, Form()] = "",
        query: Annotated[str, Form()] = "",
    ) -> Response:
        who = cookies.name_of(request)
        web.store.saved_views.delete(who, name)
        return go_back(query, who)


def _request_name(
    web: WebContext, request: Request, who: str, fields: Sequence[tuple[str, str]]
) -> Response | None:
    return request_name(web, request, who, request.scope["path"], fields, then="/archive")


def refuse(web: WebContext, request: Request, back: str, error: SetupError) -> Response:
    """Show the search again, with the reason why nothing was done."""
    return render_archive(web, request, 422, asked=keep_known(back), problem=str(error))


def go_back(back: str, who: str, **done: str) -> Response:
    """Lead back to the search, with what was done."""
    query = urlencode([*keep_known(back), *done.items()])
    answer = RedirectResponse(f"/archive?{query}" if query else "/archive", 303)
    if who:
        cookies.keep(answer, cookies.NAME, who.strip())
    return answer


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
        if value.strip() and (key == "q" or key in FACETS or _is_chosen(key, value))
    ]
    return list(dict.fromkeys(kept))[:MOST_CHOSEN]


def _is_chosen(key: str, value: str) -> bool:
    """Return whether a pair is a day of the form, or a sequence of the hits but the usual one."""
    if key == "sort":
        return value in SORTS[1:]
    return key in DAYS and _is_day(value)


def _is_day(text: str) -> bool:
    try:
        return DAY.fullmatch(text) is not None and bool(date.fromisoformat(text))
    except ValueError:
        return False


def read_query(web: WebContext, asked: Pairs) -> SearchQuery:
    """Return the search of an address."""
    chosen: dict[str, list[str]] = {}
    for key, value in asked:
        if key in FACETS:
            chosen.setdefault(key, []).append(value)
    one = dict(reversed(asked))
    days = [f"{key}:{one[key]}" for key in DAYS if key in one]  # first: a long text is cut
    text = " ".join([*days, *([one["q"]] if "q" in one else [])])
    return SearchQuery(text, chosen, web.zone, one.get("sort", NEWEST))


def render_archive(
    web: WebContext,
    request: Request,
    code: int = 200,
    *,
    asked: Pairs | None = None,
    problem: str = "",
) -> Response:
    """Render the page of a search.

    Args:
        web: What the pages work on.
        request: Of a reader.
        code: HTTP status.
        asked: The search; None: it is in the request's address.
        problem: Why an act was refused, "" for none.
    """
    sent = request.query_params
    asked = _keep(list(sent.multi_items())) if asked is None else asked
    query, who = read_query(web, asked), cookies.name_of(request)
    before = cookies.number(sent.get("before", ""))
    blind_first = cookies.is_blind_first(request)
    if blind_first and query.sort in ANSWER_SORTS:  # the place of one tells its answer
        query = replace(query, sort=NEWEST)
    found = web.store.search.find_page(query, limit=ITEMS, before=before)
    waiting = [view for view in found.micrographs if view.awaits]
    remember_shown(
        web,
        (
            view
            for view in found.micrographs
            if view.label is None
            and not (
                blind_first and view.awaits and not _names_code(asked, view.result.structure_code)
            )
        ),
        who,
    )
    hides_codes = blind_first and bool(waiting or found.facets.get("outcome", {}).get("waiting"))
    return render_hits(
        web,
        request,
        found.micrographs,
        code,
        ADDRESS,
        query=next((value for key, value in asked if key == "q"), ""),
        asked=dict(reversed(asked)),
        others=[pair for pair in asked if pair[0] not in {*DAYS, "sort"}],
        sorts=[
            (word, text)
            for word, text in SORT_WORDS.items()
            if not (blind_first and word in ANSWER_SORTS)
        ],
        next_word=_("Older") if query.sort == NEWEST else _("Next page"),
        first_word=_("Newest") if query.sort == NEWEST else _("First page"),
        sorted_note=_("The newest {n} micrographs are sorted.").format(
            n=reports.integer(found.count)
        )
        if found.is_cut and query.sort in ANSWER_SORTS
        else "",
        found=min(found.count, archive_acts.MOST_DECIDED + 1),
        count=_count(found),
        counted_note=_("Counts are of the newest {n} micrographs.").format(
            n=reports.integer(found.count)
        )
        if found.is_cut
        else "",
        facets=[
            facet
            for facet in _list_facets(found, asked)
            if facet["name"] != "code" or not hides_codes
        ],
        chips=[_describe_chip(asked, pair) for pair in asked],
        next_href=build_href([*asked, ("before", str(found.next_before))])
        if found.next_before
        else "",
        first_href=build_href(asked) if before is not None else "",
        views=web.store.saved_views.list_all(who) if who else (),
        view_query=urlencode(asked),
        notice=_find_notice(request),
        undo=_find_undo(request),
        acts=list(archive_acts.list_undoable(web, who=who, is_lead=may_lead(request)))
        if may_decide(request)
        else (),
        problem=problem,
        may_save=bool(who),
    )


NO_SEARCH: dict[str, Any] = {
    "query": "",
    "facets": (),
    "chips": (),
    "next_href": "",
    "first_href": "",
    "views": (),
    "view_query": "",
    "notice": "",
    "undo": (),
    "acts": (),
    "problem": "",
    "may_save": False,
    "sorts": (),
    "found": 0,
}
"""What the page shows of micrographs that no search found."""


def render_hits(
    web: WebContext,
    request: Request,
    views: Sequence[MicrographView],
    code: int = 200,
    parts: Sequence[str] = (),
    /,
    **search: object,
) -> Response:
    """Render micrographs as a grid on which one can act.

    Args:
        web: What the pages work on.
        request: Of a reader.
        views: The micrographs.
        code: HTTP status.
        parts: As `render_page` takes them.
        search: What found them.
    """
    blind_first = cookies.is_blind_first(request)
    return render_page(
        web,
        request,
        "archive",
        code,
        parts,
        items=[describe_hit(view, blind_first=blind_first) for view in views],
        may_act=may_lead(request),
        may_decide=may_decide(request),
        codes=list(list_subtypes(web.taxonomy(), None)),
        most_decided=archive_acts.MOST_DECIDED,
        most_images=MOST_IMAGES,
        **NO_SEARCH | search,
    )


def _names_code(asked: Pairs, code: str | None) -> bool:
    """Return whether a search that finds a micrograph tells its structure code."""
    typed = " ".join(value for key, value in asked if key == "q").casefold()
    words = WORD.findall(typed)
    found_by_word = bool(code) and any(str(code).casefold().startswith(word) for word in words)
    return found_by_word or any(key == "code" for key, _value in asked)


def describe_hit(
    view: MicrographView, *, blind_first: bool, hides: bool = False
) -> tuple[MicrographView, str, str]:
    """Return a micrograph with its code, "" where it is hidden or none, and what became of it.

    Args:
        view: The micrograph.
        blind_first: The reviewer asked for micrographs without the answer.
        hides: Its answer is hidden in any case.
    """
    is_hidden = hides or is_blind(view, asked=blind_first and view.awaits)
    code = (view.label.code if view.label else view.result.structure_code) or ""
    return view, "" if is_hidden else code, OUTCOMES[find_outcome(view)]


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


def build_href(asked: Sequence[tuple[str, str]]) -> str:
    """Return the address of a search."""
    return f"/archive?{urlencode(asked)}" if asked else "/archive"


def _list_facets(found: SearchPage, asked: Pairs) -> Iterator[dict[str, Any]]:
    for name, title in FACETS.items():
        counts = found.facets.get(name, {})
        listed = [value for value in counts if (name, value) not in asked][:MOST_VALUES]
        chosen = [value for key, value in asked if key == name]
        hits = []
        for value in (*chosen, *listed):
            is_on, pair = value in chosen, (name, value)
            rest = [entry for entry in asked if entry != pair]
            href = build_href(rest if is_on else [*asked, pair])
            hits.append((_word(name, value), reports.integer(counts.get(value, 0)), href, is_on))
        if hits:
            yield {"name": name, "title": title, "hits": hits}


def _word(name: str, value: str) -> str:
    if name == "sort":
        return _(SORT_WORDS[value])
    return _(OUTCOMES[value]) if name == "outcome" and value in OUTCOMES else value


def _describe_chip(asked: Pairs, pair: tuple[str, str]) -> tuple[str, str]:
    """Return a part of the search in words, and the address of the search without it."""
    name, value = pair
    title = _((FACETS | CHIPS)[name])
    return f"{title}: {_word(name, value)}", build_href([entry for entry in asked if entry != pair])


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
    if text := _describe_bulk_act(sent):
        return text
    return _("View saved.") if sent.get("saved") == "1" else ""


def _describe_bulk_act(sent: Mapping[str, str]) -> str:
    if n := cookies.number(sent.get("labelled", "")):
        text = reports.ngettext("{n} micrograph labelled.", "{n} micrographs labelled.", n)
    elif n := cookies.number(sent.get("assigned", "")):
        text = reports.ngettext("{n} micrograph assigned.", "{n} micrographs assigned.", n)
    elif n := cookies.number(sent.get("undone", "")):
        text = reports.ngettext(
            "Taken back for {n} micrograph.", "Taken back for {n} micrographs.", n
        )
    else:
        return ""
    return text.format(n=n)


def _find_undo(request: Request) -> tuple[tuple[str, str], ...]:
    """Return what a form sends to undo the act that the address names, () for none."""
    sent = request.query_params
    what = next((key for key in ("labelled", "assigned") if sent.get(key)), "")
    if not what or not sent.get("act") or not may_decide(request):
        return ()
    return (("what", what), ("of", sent.get("of", "")), ("act", sent["act"]))
