"""Pages of orders: conformity, every field, statements; fields without an order, or of one place.

Nothing is decided here; the rules of `agent.orders` are evaluated for every view.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

import reports
from agent.errors import SetupError, UsageError
from agent.files import pictures
from agent.orders.facts.possible_fields import load_settled
from agent.orders.facts.specimen_facts import Conformity, FieldDecision, FieldFacts, SpecimenFacts
from agent.orders.judge.assessed import Assessed, AssessedSpecimen
from agent.orders.judge.assessment import assess
from agent.orders.judge.next_step import NextStep, find_next_step
from agent.orders.judge.permissions import find_hidden, leave_unsaid, list_left, require_may_assign
from agent.orders.lead_acts import decide_places, dismiss_stray
from agent.orders.statements.customer_report import find_statement, render_customer_report
from agent.orders.statements.statement import plain
from agent.orders.statements.statement_files import JSON, PDF, read_files
from agent.orders.statements.trace_page import TONES
from agent.store import MicrographView, PlacePair, Unassigned
from agent.store.results.places import BELONGS, DIFFERENT, PlaceSide
from agent.store.work.file_states import chunks
from agent.web.authentication import may_decide
from agent.web.context import UNKNOWN_ORDER, UnknownMicrographError, WebContext, find, order_rules
from agent.web.cookies import NAME, decides, keep, name_of
from agent.web.forms import read_stripped_form
from agent.web.orders.order_acts import list_acts
from agent.web.orders.order_board import map_views
from agent.web.orders.order_fields import (
    list_order_queue,
    order_href,
    remember_read,
    remember_shown,
)
from agent.web.orders.order_timeline import list_events
from agent.web.pages import render_page, request_name
from agent.web.review.decisions import LONGEST_WORD
from agent.web.review.images import crop_of, jpeg
from agent.web.review.needle_page import build_needle_table, describe_order_needles
from reports import Fact, Link, Tone, marked, statement_time
from reports import gettext as _

STATED = (Conformity.CONFORMS, Conformity.DOES_NOT_CONFORM)
TYPES = {PDF: "application/pdf", JSON: "application/json"}
CUSTOMER_TYPES = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}


def statement_response(web: WebContext, name: str, who: str) -> Response:
    """Return a file of a statement.

    Args:
        web: What the pages work on.
        name: Hash, a dot and "pdf" or "json".
        who: The reader: a field that is still to be decided is not decided blind any more.

    Raises:
        HTTPException: 404, there is no such statement or kind.
    """
    sha256, _dot, kind = name.partition(".")
    frozen = web.store.statements.find(sha256) if kind in TYPES else None
    if frozen is None:
        raise HTTPException(404, _("There is no such statement."))
    content = read_files(web.store, web.archive, frozen, language=reports.language())[kind]
    _remember_fields(web, sha256, who)
    safe = _plain_ascii(frozen.order)
    shown = f'inline; filename="{safe}-{frozen.number}.{kind}"'
    return Response(content, media_type=TYPES[kind], headers={"Content-Disposition": shown})


def customer_report(
    web: WebContext,
    order: str,
    kind: str,
    *,
    who: str,
    language: reports.Language | None = None,
    number: int | None = None,
) -> Response:
    """Return the report of an order for its customer, "html" or "pdf".

    Args:
        web: What the pages work on.
        order: Its number.
        kind: Of the file.
        who: The reader, as for `statement_response`.
        language: Of the report, None for the page's.
        number: Of the statement, None for the newest one.

    Raises:
        HTTPException: 404, the order has no such statement; 409, the lab's layout is broken.
    """
    try:
        statement = find_statement(web.store, order, number)
        files = render_customer_report(
            web.store,
            web.archive,
            statement,
            language=language or reports.language(),
            folder=web.customer_templates,
        )
    except UsageError as fault:
        raise HTTPException(404, str(fault)) from fault
    except SetupError as fault:
        raise HTTPException(409, str(fault)) from fault
    _remember_fields(web, statement.sha256, who)
    name = f"{_plain_ascii(order)}-{statement.number}-customer.{kind}"
    headers = {
        "Content-Disposition": f'inline; filename="{name}"',
        "X-Statement": f"{statement.number}; sha256={statement.sha256}",
        "Content-Security-Policy": reports.report_policy(),
    }
    return Response(files[kind], media_type=CUSTOMER_TYPES[kind], headers=headers)


def _remember_fields(web: WebContext, sha256: str, who: str) -> None:
    """Record that a named reader gets the answers of a statement's fields, hidden ones too."""
    document = web.store.statements.document(sha256)["document"]
    ids = [
        field["id"]
        for specimen in document["specimens"]
        for field in (*specimen["fields"], *specimen["superseded"])
    ]
    for batch in chunks(ids):
        remember_read(web, web.store.search.list_micrographs(batch), who)


def _plain_ascii(order: str) -> str:
    return plain(order).encode("ascii", "replace").decode().replace("?", "_")


def link_customer_reports(web: WebContext, order: str) -> tuple[Link, ...]:
    """Return links to the report for the customer in each language, () until a verdict is stated.

    "Undecided" and "not assessed" are interim states of the lab, not an answer to a customer.
    """
    newest = web.store.statements.newest([order]).get(order)
    if newest is None or newest.conformity not in STATED:
        return ()
    at = f"/order/{quote(order, safe='')}/report."
    names = {"en": _("English"), "de": _("German")}
    return tuple(
        Link(f"{kind.upper()}, {name}", f"{at}{kind}?language={language}")
        for language, name in names.items()
        for kind in CUSTOMER_TYPES
    )


def link_newest(web: WebContext, number: str) -> Link | None:
    """Return a link to the PDF of an order's newest statement, or None before the first."""
    frozen = web.store.statements.newest([number]).get(number)
    if frozen is None:
        return None
    text = _("Statement {n} of {at} (PDF)").format(
        n=frozen.number, at=statement_time(frozen.at.astimezone(ZoneInfo(web.zone)))
    )
    return Link(text, f"/statements/{frozen.sha256}.{PDF}")


LOOSE_SHOWN = 100


def assessed_of(web: WebContext, number: str) -> Assessed:
    """Assess an order.

    Raises:
        HTTPException: 404, the order is unknown.
    """
    found = assess(web.store, number, order_rules(web))
    if found is None:
        raise HTTPException(404, UNKNOWN_ORDER)
    return found


def router(web: WebContext) -> APIRouter:
    """Build the routes of the orders."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/review/{public_id}/assign")
    async def assign(request: Request, public_id: str) -> Response:
        form = await read_stripped_form(request)
        return await run_in_threadpool(_assign, web, request, public_id, form)

    @routes.post("/review/{public_id}/dismiss")
    async def dismiss(request: Request, public_id: str) -> Response:
        form = await read_stripped_form(request)
        return await run_in_threadpool(_dismiss, web, request, public_id, form)

    @routes.get("/statements/{name}")
    def statement(request: Request, name: str) -> Response:
        return statement_response(web, name, name_of(request))

    @routes.get("/order/{number:path}/report.{kind}")
    def report(
        request: Request,
        number: str,
        kind: Literal["html", "pdf"],
        language: Literal["en", "de"] | None = None,
        statement: int | None = None,
    ) -> Response:
        if ends_in_report(request):
            return order(request, f"{number}/report.{kind}")
        who = name_of(request)
        return customer_report(web, number, kind, who=who, language=language, number=statement)

    @routes.get("/order/{number:path}")
    def order(request: Request, number: str) -> Response:
        who = name_of(request)
        confirming = list_order_queue(web, number, who) if may_decide(request) else []
        return _render(web, request, assessed_of(web, number), confirming)

    return routes


def ends_in_report(request: Request) -> bool:
    """Return whether "/report.pdf" belongs to the order number: its slash is sent as %2F."""
    sent: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return not sent.partition(b"?")[0].rpartition(b"/")[2].startswith(b"report.")


def list_loose(web: WebContext) -> list[tuple[Unassigned, str]]:
    """Return the fields that belong to no specimen, and who dismissed each; dismissed ones last."""
    dismissed = load_settled(web.store, "")
    fields = [
        (field, ", ".join(sorted(dismissed.get(field.view.id, ()))))
        for field in web.store.orders.unassigned()
    ]
    return sorted(fields, key=lambda entry: bool(entry[1]))[:LOOSE_SHOWN]


def _assign(web: WebContext, request: Request, public_id: str, form: Mapping[str, str]) -> Response:
    """Assign a field to an order; where no reviewer is known, request a name first."""
    who = decides(request, form)
    action = f"/review/{public_id}/assign"
    fields = [(key, value) for key, value in form.items() if key != "by"]
    if page := request_name(web, request, who, action, fields, then="/orders"):
        return page
    assign_field(web, public_id, form, by=who.strip())
    answer = RedirectResponse(order_href(form.get("order", "")), 303)
    keep(answer, NAME, who.strip())
    return answer


def _dismiss(
    web: WebContext, request: Request, public_id: str, form: Mapping[str, str]
) -> Response:
    """Decide that a field belongs to no order; where no reviewer is known, request a name first."""
    who, reason = decides(request, form), form.get("reason", "")
    action = f"/review/{public_id}/dismiss"
    if page := request_name(web, request, who, action, [("reason", reason)], then="/orders"):
        return page
    find(web, public_id)
    by = who.strip()
    dismiss_stray(web.store, order_rules(web), public_id, by=by, reason=reason, at=web.now())
    answer = RedirectResponse("/orders#loose", 303)
    keep(answer, NAME, by)
    return answer


def assign_field(web: WebContext, public_id: str, form: Mapping[str, str], *, by: str) -> None:
    """Assign a field to an order, unless it has this assignment already.

    Args:
        web: What the pages work on.
        public_id: Of the field.
        form: Order, specimen, preparation, field and reason.
        by: Who assigns it.

    Raises:
        UnknownMicrographError: There is no such field.
        UsageError: A value is too long, or it has another assignment.
    """
    find(web, public_id)
    keys = {key: form.get(key, "") for key in ("order", "specimen", "preparation", "field")}
    if not all(len(entry) <= LONGEST_WORD and entry.isprintable() for entry in form.values()):
        raise UsageError(
            _("A number, a name or a reason has at most {n} plain letters.").format(n=LONGEST_WORD)
        )
    if not _is_there(web, public_id, keys):
        lab = order_rules(web)
        require_may_assign(web.store, lab, public_id, keys, by=by)
        web.store.order_corrections.assign(
            public_id,
            keys,
            by=by,
            reason=form.get("reason", ""),
            at=web.now(),
            lead=lab.may_lead(by),
            left=list_left(web.store, [public_id], keys),
        )


def _is_there(web: WebContext, public_id: str, keys: Mapping[str, str]) -> bool:
    """Return whether a field has this assignment already, perhaps by the same form sent twice.

    Raises:
        UsageError: It has another assignment, made after the page was opened.
    """
    if web.store.orders.of_micrograph(public_id) is None:
        return False
    told = find(web, public_id).process_data
    if all(told.get(key) == keys[key] for key in ("order", "specimen")):
        return True
    said = _(
        "It has been assigned already: order {order}, specimen {specimen}. If that is wrong, "
        "move it with agent orders assign."
    )
    raise UsageError(said.format(order=told.get("order", ""), specimen=told.get("specimen", "")))


def _render(
    web: WebContext, request: Request, assessed: Assessed, confirming: Sequence[MicrographView]
) -> Response:
    """Render the page of an order; `confirming` are the fields that need the reader's answer."""
    number, wanted = assessed.view.number, assessed.specification
    hidden = find_hidden(assessed)
    remember_shown(web, map_views(assessed).values(), name_of(request))
    said, policy = assessed.statement, order_rules(web)
    own = leave_unsaid(assessed, policy, (*said.because, *said.missing))
    step = find_next_step(assessed, policy, hidden=hidden)  # as the board has it
    word, tone = said.conformity.words, TONES[said.conformity]
    loose = tuple(
        _("specimen {name}: {said}").format(name=specimen.view.name, said="")
        for specimen in assessed.specimens
    )
    return render_page(
        web,
        request,
        "order",
        assessed=assessed,
        number=number,
        word=f"{word}, {step.words}" if step else word,
        tone=Tone.PROBLEM if step is NextStep.PROBABLY_OUT else tone,
        tones=TONES,
        sentences=[sentence for sentence in own if not sentence.startswith(loose)],
        facts=list(_facts(assessed, hidden)),
        specimens=[
            {
                "specimen": specimen,
                "sentences": leave_unsaid(
                    assessed, policy, (*specimen.statement.because, *specimen.statement.missing)
                ),
                "facts": _list_specimen_facts(specimen),
                "fields": [
                    (field, _find_code(field, hidden), describe_field(field))
                    for field in _sort_fields(specimen)
                ],
                "places": list(list_links(specimen.facts)),
                "needles": build_needle_table(specimen.needles, wanted, number, hidden),
            }
            for specimen in assessed.specimens
        ],
        confirming=confirming,
        now=web.now(),
        statement=link_newest(web, number),
        customer=link_customer_reports(web, number),
        events=list_events(web.store, assessed, web.zone)
        if request.query_params.get("timeline")
        else None,
        acts=list_acts(web, request, assessed),
    )


def _facts(assessed: Assessed, hidden: Collection[str]) -> Iterator[Fact]:
    view, wanted = assessed.view, assessed.specification
    said = {
        _("Customer"): view.customer,
        _("Product"): view.product,
        _("Material"): assessed.material,
        _("Urgent"): _("yes") if view.urgent else "",
        _("Specification"): _("{name}, version {n}").format(name=wanted.name, n=assessed.version)
        if wanted
        else "",
        _("Chart"): wanted.chart if wanted else "",
        _("Approved by"): wanted.approved_by if wanted else "",
        _("Decision rule"): assessed.decision_rule.text if assessed.decision_rule else "",
        _("Needle lengths"): describe_order_needles(assessed, hidden),
    }
    yield from (Fact(name, value) for name, value in said.items() if value)


def _list_specimen_facts(specimen: AssessedSpecimen) -> list[Fact]:
    said = {
        _("Heat"): specimen.view.heat,
        _("Batch"): specimen.view.batch,
        _("Preparation"): specimen.facts.preparation,
        _("Bundle"): specimen.view.bundle or "",
    }
    return [Fact(name, value) for name, value in said.items() if value]


def _sort_fields(specimen: AssessedSpecimen) -> list[FieldFacts]:
    """Return the fields of a specimen, those that no longer count last."""
    counted = [field for field in specimen.facts.fields if not field.superseded]
    every = (*specimen.facts.fields, *specimen.facts.earlier)
    return counted + [field for field in every if field.superseded]


def _find_code(field: FieldFacts, hidden: Collection[str]) -> str:
    """Return the code of a field, "" where it is hidden or none."""
    if field.id in hidden:
        return ""
    if field.decided and field.decided.kind == "code":
        return field.decided.said
    return field.code or ""


def describe_field(field: FieldFacts) -> str:
    """Return whose code a field has, or what it waits for."""
    if field.superseded:
        why = field.superseded.reason
        if not field.superseded.by:
            return _("superseded: {why}").format(why=why)
        return _("superseded by {who}: {why}").format(who=field.superseded.by, why=why)
    if field.awaits:
        return _("awaits review")
    if field.decided:
        return _of_a_person(field.decided)
    others = [code for code in field.codes if code != field.code]
    if others:
        return _("could be {codes} too").format(codes=_(" or ").join(others))
    return _("the model's answer")


def _of_a_person(decided: FieldDecision) -> str:
    if decided.kind == "strange":
        kind = reports.strange_kind(decided.said)
        return _("unusual by {who}: {kind}").format(who=decided.by, kind=kind)
    if decided.kind == "unusable":
        why = reports.unusable_why(decided.said)
        return _("unusable by {who}: {why}").format(who=decided.by, why=why)
    said = _("decided by {who}") if decided.kind == "code" else _("{who} cannot tell")
    return said.format(who=decided.by)


# --- two fields of one place ----------------------------------------------------------------------

SHOWN_PX = 1000
NOT_KNOWN = marked("these two micrographs are not known to share a place")


def place_router(web: WebContext) -> APIRouter:
    """Build the routes of pairs."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/places/{one}/{other}")
    def show(request: Request, one: str, other: str) -> Response:
        pair = find_pair(web, one, other)
        sides = {side.id: side for side in (pair.one, pair.other)}
        first, second = sides[pair.measured], sides[_other(pair)]
        who = decides(request, {})
        return render_page(
            web,
            request,
            "places",
            pair=pair,
            first=first,
            second=second,
            names={side.id: _name(side) for side in (first, second)},
            size=_measure(find(web, first.id)),
            different=DIFFERENT,
            belongs=BELONGS,
            may_decide=bool(who) and order_rules(web).may_lead(who),
        )

    @routes.post("/places/{one}/{other}")
    async def decide(request: Request, one: str, other: str) -> Response:
        form = await read_stripped_form(request)
        return await run_in_threadpool(_decide, web, request, find_pair(web, one, other), form)

    @routes.get("/pictures/{one}/over/{other}.jpg")
    def aligned(one: str, other: str) -> Response:
        pair = find_pair(web, one, other)
        first, second = find(web, pair.measured), find(web, _other(pair))
        own, theirs = (crop_of(web, view) for view in (first, second))
        if pair.transform is None:
            raise UnknownMicrographError(one)
        transform = np.array(pair.transform, np.float32)
        drawn = pictures.warp_to(theirs, transform, own.shape[:2])
        return jpeg(pictures.encode_jpeg(pictures.fit_within(drawn, SHOWN_PX), quality=88))

    return routes


def list_links(facts: SpecimenFacts) -> Iterator[tuple[str, str]]:
    """Yield text and address of the links to the pages of a specimen's pairs."""
    pairs = [pair for pair in facts.same_places if pair.is_same]
    pairs += [
        pair
        for field in facts.fields
        for pair in field.elsewhere
        if "/" not in pair.other_id  # of another site, whose pictures are not shown
    ]
    for pair in pairs:
        (own,) = pair.ids - {pair.other_id}
        text = _("Compare {field} and {other}").format(field=pair.field, other=pair.other)
        yield text, f"/places/{own}/{pair.other_id}"


def find_pair(web: WebContext, one: str, other: str) -> PlacePair:
    """Return what is known of two micrographs that may show one place.

    Raises:
        HTTPException: 404, they are not known to.
    """
    pair = web.store.places.find_pair(one, other)
    if pair is None:
        raise HTTPException(404, NOT_KNOWN)
    return pair


def _other(pair: PlacePair) -> str:
    return pair.other.id if pair.measured == pair.one.id else pair.one.id


def _measure(view: MicrographView) -> tuple[int, int]:
    """Return width and height of what is shown of a micrograph."""
    x0, y0, x1, y1 = view.crop or (0, 0, view.width, view.height)
    return x1 - x0, y1 - y0


def _name(side: PlaceSide) -> str:
    if not side.order:
        return side.id
    return _("field {name} of order {order}, specimen {specimen}").format(
        name=side.field or side.id, order=side.order, specimen=side.specimen
    )


def _decide(
    web: WebContext, request: Request, pair: PlacePair, form: Mapping[str, str]
) -> Response:
    verdict, reason = form.get("verdict", ""), form.get("reason", "")
    decide_pair(web, pair, verdict, by=decides(request, form), reason=reason)
    return RedirectResponse(f"/places/{pair.one.id}/{pair.other.id}", 303)


def decide_pair(web: WebContext, pair: PlacePair, verdict: str, *, by: str, reason: str) -> None:
    """Record a lead's decision about a pair; for parameters and errors see `decide_places`."""
    ids = (pair.one.id, pair.other.id)
    policy = order_rules(web)
    decide_places(web.store, policy, ids, verdict, by=by, reason=reason, at=web.now())
