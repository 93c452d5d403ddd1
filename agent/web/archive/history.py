"""The history of a site: decisions and every other act of the audit log, searched and exported.

A search within the facts does not match those that are hidden from the reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

import reports
from agent.files.csv_export import iter_csv
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.statements.statement import describe_after
from agent.site_time import local_full
from agent.store import SIGNED, HistoryQuery, MicrographView, TrailEntry
from agent.store.orders.statements import AFTER
from agent.store.results.needles import TIPS
from agent.web import cookies
from agent.web.context import ID, WebContext
from agent.web.orders.order_fields import is_blind, order_href
from agent.web.pages import describe_unknown, render_page
from reports import gettext as _
from reports import marked

ROWS = 100
MOST_CHANGED = 20
"""Changed settings that a row shows; the first start sets all of them."""
MOST_DRAWN = 100
"""Acts of a PDF, those of one page: a thousand take it seconds of a processor."""
BATCH, MOST_BATCHES = 1000, 20
"""Acts that a search within facts reads at once, and how often for one page."""
MOST_EXPORTED = 10_000
"""Acts of one CSV: a second of a processor, whoever asks. `agent export trail` writes all."""
LONGEST_PART = 120
KINDS = {
    "": marked("All acts"),
    "label.": marked("Decisions"),
    "order.": marked("Orders"),
    "field.": marked("Fields"),
    "campaign.": marked("Round robins"),
    "model.": marked("Models"),
    "account.": marked("Accounts"),
    "settings.": marked("Settings"),
    "archive.": marked("Archive"),
}
"""Beginning of the acts that are listed → its title."""
BEFORE = "before"
"""Number of the act before which a page begins."""
PARTS = ("who", "subject", "facts", "first", "last", "kind")
COLUMNS = ("number", "at", "actor", "act", "subject", "facts", "sha256")
SHA256, SHOWN_OF_HASH = re.compile(r"[0-9a-f]{64}"), 12
MOST_LISTED = 5
"""Entries of a list that a row shows."""
MOST_WRITTEN = 4000
"""Characters of an act in the machine's form; the export has all."""
HIDDEN_FACTS = ("code", "strange_kind", "why", "comment", "kind")
"""Facts of a decision that another reviewer of the same micrograph may not see yet."""
OF_NEEDLES = "needle."
HIDDEN_OF_NEEDLES = (*TIPS, "um_per_px", "length_um")
"""Facts of a measured needle that a reviewer who measures it too may not see."""
WRONG_DAY = marked("Write a day such as 2026-11-24.")


def router(web: WebContext) -> APIRouter:
    """Build the routes of the history."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/history")
    def history(request: Request) -> Response:
        page = _read_page(web, request)
        code = 422 if page["problem"] else 200
        return render_page(web, request, "history", code, (*PARTS, BEFORE), **page)

    @routes.get("/history.csv")
    def export(request: Request) -> Response:
        query, problem = _read(web, _find_asked(request))
        _refuse(problem or describe_unknown(request, (*PARTS, BEFORE)))
        before = cookies.number(request.query_params.get(BEFORE, ""))
        headers = {"Content-Disposition": 'attachment; filename="history.csv"'}
        return StreamingResponse(
            iter_csv(COLUMNS, _iter_pages(web, query, before)),
            media_type="text/csv; charset=utf-8",
            headers=headers,
        )

    @routes.get("/history.pdf")
    def draw(request: Request) -> Response:
        now, page = web.now(), _read_page(web, request, most=MOST_DRAWN)
        _refuse(page["problem"] or describe_unknown(request, (*PARTS, BEFORE)))
        drawn = reports.render_history_pdf(
            page,
            site=web.site,
            at=now,
            generated=local_full(now, web.zone),
            sha256=web.store.audit_log.get_head().sha256,
        )
        headers = {"Content-Disposition": 'attachment; filename="history.pdf"'}
        return Response(drawn, media_type="application/pdf", headers=headers)

    return routes


def _refuse(problem: str) -> None:
    """Refuse a file of acts that were not asked for."""
    if problem:
        raise HTTPException(422, problem)


def build_query(
    web: WebContext,
    *,
    actor: str,
    subject: str,
    act: str,
    facts: str,
    first: str,
    last: str,
) -> HistoryQuery:
    """Return which acts are listed.

    Args:
        web: What the pages work on.
        actor: Part of a name.
        subject: Part of an object.
        act: Beginning of an act's name.
        facts: Words that its facts contain.
        first: First day at the site, such as "2026-11-24", "" for no limit.
        last: Last day.

    Raises:
        ValueError: A day is none.
    """
    return HistoryQuery(
        actor, subject, act, _begin(first, web.zone), _begin(last, web.zone, days=1), facts
    )


def _begin(day: str, zone: str, *, days: int = 0) -> datetime | None:
    if not day:
        return None
    try:
        begun = date.fromisoformat(day) + timedelta(days=days)
        return datetime.combine(begun, time.min, ZoneInfo(zone)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(day) from error


def find_page(
    web: WebContext, query: HistoryQuery, *, limit: int, before: int | None = None
) -> tuple[list[TrailEntry], int | None]:
    """Return acts, newest first, and the number before which older ones follow, None at the end.

    A search within facts reads a limited number of acts; older ones then follow although the page
    is not full.
    """
    if not query.facts:
        acts = web.store.history.list_page(query, limit=limit + 1, before=before)
        return acts[:limit], acts[limit - 1].id if len(acts) > limit else None
    found: list[TrailEntry] = []
    for size in (limit + 1, *(BATCH,) * MOST_BATCHES):  # mostly the first acts are enough
        batch = web.store.history.list_page(query, limit=size, before=before)
        found += _list_matching(web, batch, query)
        if len(found) > limit:
            return found[:limit], found[limit - 1].id
        if len(batch) < size:
            return found, None
        before = batch[-1].id
    return found, before


def _list_matching(
    web: WebContext, acts: Sequence[TrailEntry], query: HistoryQuery
) -> list[TrailEntry]:
    """Return the acts whose facts contain the words of a search where the reader may see them."""
    words = query.facts.casefold().split()
    if not words:
        return list(acts)
    hidden = find_hidden(web, acts)
    return [entry for entry in acts if _has_words(read_facts(entry, hidden), words)]


def _has_words(facts: Mapping[str, Any], words: Sequence[str]) -> bool:
    written = json.dumps(facts, ensure_ascii=False).casefold()
    return all(json.dumps(word, ensure_ascii=False)[1:-1] in written for word in words)


def find_hidden(web: WebContext, acts: Sequence[TrailEntry]) -> set[str]:
    """Return the micrographs of these acts whose decisions reviewers may not see yet.

    The search finds a code of most micrographs; only the others are loaded whole.
    """
    named = _list_named(acts)
    unsure = [] if not named else web.store.search.list_without_code(named)
    return {view.id for view in web.store.search.list_micrographs(unsure) if is_blind(view)}


def _list_named(acts: Sequence[TrailEntry]) -> list[str]:
    return list(dict.fromkeys(entry.subject for entry in acts if ID.fullmatch(entry.subject)))


def read_facts(entry: TrailEntry, hidden: Collection[str]) -> dict[str, Any]:
    """Return the facts of an act that a reader may see, without its signature."""
    left_out = {SIGNED, *(HIDDEN_FACTS if entry.subject in hidden else ())}
    if entry.act.startswith(OF_NEEDLES):
        left_out |= set(HIDDEN_OF_NEEDLES)
    return {key: value for key, value in entry.facts.items() if key not in left_out}


def _find_asked(request: Request) -> dict[str, str]:
    sent = request.query_params
    return {key: sent.get(key, "").strip()[:LONGEST_PART] for key in PARTS}


def _read(web: WebContext, asked: Mapping[str, str]) -> tuple[HistoryQuery, str]:
    """Return which acts are listed, and what of the search is not understood."""
    kind, wrong = asked["kind"], ""
    if kind not in KINDS:
        known = ", ".join(name for name in KINDS if name)
        wrong = _("There is no kind “{kind}”; there are {known}.").format(kind=kind, known=known)
        kind = ""
    who, subject, facts = (_keep_readable(asked[name]) for name in ("who", "subject", "facts"))
    try:
        query = build_query(
            web,
            actor=who,
            subject=subject,
            act=kind,
            facts=facts,
            first=asked["first"],
            last=asked["last"],
        )
    except ValueError:
        return HistoryQuery(who, subject, kind, facts=facts), _(WRONG_DAY)
    return query, wrong


def _keep_readable(text: str) -> str:
    """Return a text without what no database holds: NUL, and half of a pair of letters."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def _read_page(web: WebContext, request: Request, *, most: int = ROWS) -> dict[str, Any]:
    """Return the acts that a request asks for, and what page and PDF state of them."""
    asked = _find_asked(request)
    query, problem = _read(web, asked)
    before = cookies.number(request.query_params.get("before", ""))
    acts, following = ([], None) if problem else find_page(web, query, limit=most, before=before)
    others = (value for entry in acts for value in entry.facts.values() if isinstance(value, str))
    wanted = dict.fromkeys([*_list_named(acts), *filter(ID.fullmatch, others)])
    named = {view.id: view for view in web.store.search.list_micrographs(list(wanted))}
    kept = {key: value for key, value in asked.items() if value}
    shown = {} if before is None else {"before": str(before)}
    more = urlencode(kept | {"before": str(following)}) if following is not None else ""
    return {
        "asked": asked | {"kind": query.act},
        "kinds": KINDS,
        "rows": [_describe_act(web, entry, named) for entry in acts],
        "next_href": f"/history?{more}" if more else "",
        "first_href": f"/history?{urlencode(kept)}" if before is not None else "",
        "search": urlencode(kept | shown),
        "problem": problem,
    }


def _describe_act(
    web: WebContext, entry: TrailEntry, named: Mapping[str, MicrographView]
) -> dict[str, Any]:
    """Return an act with what its reader may see, in the words of the page."""
    view = named.get(entry.subject)
    hidden = (entry.subject,) if view is not None and is_blind(view) else ()
    facts = read_facts(entry, hidden)
    return {
        "entry": entry,
        "at": local_full(entry.at, web.zone),
        "act": reports.act_title(entry.act) or entry.act,
        "subject": view.name if view else entry.subject,
        "href": _find_href(entry),
        "facts": " · ".join(_iter_words(entry.act, facts, named)),
        "written": _clip(json.dumps(facts, ensure_ascii=False)) if facts else "",
    }


def _iter_words(
    act: str, facts: Mapping[str, Any], named: Mapping[str, MicrographView]
) -> Iterator[str]:
    """Yield the facts of an act that have a name in words; the others are in the machine's form."""
    changed = _find_changed(act, facts)
    if act.startswith("statement.") and isinstance(facts.get(AFTER), dict):
        yield from describe_after(facts[AFTER])
    if facts.get("kind") == "cannot_tell":
        yield _("cannot tell")
    if act.startswith("settings.") and not facts.get("reason"):
        none = _("none given")
        yield f"{reports.fact_name('reason')}: {none}"
    for key, value in facts.items():
        is_row = key in ("order", "specimen", "field") and not isinstance(value, str)
        is_void = not value and (value is not False or act.startswith("label."))
        if not (is_row or is_void or key in changed) and (name := reports.fact_name(key)):
            view = named.get(value) if isinstance(value, str) else None
            if text := view.name if view else _describe_fact(key, value):
                yield f"{name}: {text}"
    for key, pair in list(changed.items())[:MOST_CHANGED]:
        first, last = (_describe_fact(key, value) for value in pair)
        if first or last:
            yield f"{reports.fact_name(key) or key}: {first or '–'} → {last or '–'}"
    if len(changed) > MOST_CHANGED:
        yield _("{n} more").format(n=len(changed) - MOST_CHANGED)


def _find_changed(act: str, facts: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Return what an act changed: name → value before and after."""
    before, after, changed = facts.get("before"), facts.get(AFTER), facts.get("changed")
    if isinstance(now := facts.get("now"), dict) and isinstance(before, dict):  # assigned
        after = {**before, **now}
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        return {key: (before.get(key), after.get(key)) for key in keys}
    if act == "order.listed":
        return {key: value for key, value in facts.items() if isinstance(value, list)}
    return changed if isinstance(changed, dict) else {}


def _describe_fact(key: str, value: Any) -> str:
    """Return a fact in words, "" for rows of a database and what is none in few words."""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        texts = [text for entry in value if (text := _describe_entry(entry))]
        more = _("{n} more").format(n=len(texts) - MOST_LISTED)
        return ", ".join([*texts[:MOST_LISTED], *([more] if len(texts) > MOST_LISTED else [])])
    if value is None or isinstance(value, dict):
        return ""
    if key == "conformity" and value in list(Conformity):
        return Conformity(value).words
    return reports.fact_value(key, value) if isinstance(value, str) else _format(value)


def _describe_entry(entry: Any) -> str:
    """Return an entry of a list; of a row its texts, such as the source and name of a file."""
    if isinstance(entry, list):
        return ": ".join(text for text in entry if isinstance(text, str))
    return "" if isinstance(entry, dict) else _format(entry)


def _clip(text: str) -> str:
    return text if len(text) <= MOST_WRITTEN else f"{text[:MOST_WRITTEN]} …"


def _find_href(entry: TrailEntry) -> str:
    if ID.fullmatch(entry.subject):
        return f"/review/{entry.subject}"
    if entry.act.startswith(("order.", "statement.")) and entry.subject:
        return order_href(entry.subject)
    if entry.act.startswith("model.") and entry.subject:
        return f"/models/{quote(entry.subject, safe='')}/card"
    return ""


def _format(value: Any) -> str:
    """Return a fact as the page shows it; the export keeps every digit."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004 - digits
    if isinstance(value, str):
        return f"{value[:SHOWN_OF_HASH]}…" if SHA256.fullmatch(value) else value
    return json.dumps(value, ensure_ascii=False)


def _iter_pages(
    web: WebContext, query: HistoryQuery, before: int | None
) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the acts as pages of rows, newest first, from the page that is shown on."""
    for page in web.store.history.iter_pages(query, limit=MOST_EXPORTED, before=before):
        acts = _list_matching(web, page, query)
        hidden = find_hidden(web, acts)
        yield (to_json(entry, hidden) for entry in acts)


def to_json(entry: TrailEntry, hidden: Collection[str]) -> dict[str, Any]:
    """Return an act as the API and the export have it."""
    return {
        "number": entry.id,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "act": entry.act,
        "subject": entry.subject,
        "facts": read_facts(entry, hidden),
        "sha256": entry.sha256,
    }
