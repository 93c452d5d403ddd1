"""Page of measured needles: fields to click, the program against people, the calibration, tables.

The fields are shown by the viewer, one after another; each is compared when it is left, so that the
plot is there as soon as the last one is done.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from agent.errors import AgentError, UsageError
from agent.needle_truth import (
    WANTED_FIELDS,
    WANTED_NEEDLES,
    NeedleCalibration,
    Place,
    Ratio,
    TruthGroup,
    calibrate,
    choose_field,
    compare_needles,
    find_refusal,
    list_calibrations,
    list_measurable,
    load_groups,
    needle_calibration,
)
from agent.needle_truth.comparison import COMPARISON
from agent.orders.facts.needle_lengths import SpecimenNeedles, describe_calibration, describe_pooled
from agent.orders.judge.permissions import require_reason
from agent.web import cookies
from agent.web.authentication import may_decide, may_lead, who_is
from agent.web.context import WebContext, order_rules
from agent.web.pages import render_page, request_name
from model.needles.version import read_version
from reports import (
    Fact,
    NeedleBar,
    NeedlePlot,
    NeedleTable,
    agreement_chart,
    decimal,
    needle_fields_chart,
)
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from agent.needle_truth import Agreement
    from agent.needles import NeedleField
    from agent.needles.pooling import PooledNeedles
    from agent.orders.facts.specimen_facts import FieldFacts
    from agent.orders.judge.assessed import Assessed
    from agent.orders.specifications.specification import Specification
    from agent.store import MicrographView
    from model.needles.needle_map import NeedleMapper


def build_needle_table(
    needles: SpecimenNeedles | None,
    wanted: Specification | None,
    number: str,
    hidden: Collection[str],
) -> NeedleTable | None:
    """Build the table of a specimen, None where nothing was to be measured.

    Args:
        needles: Of the specimen.
        wanted: What is demanded.
        number: Of the order.
        hidden: Public ids of fields whose answer must not show; their lengths do not either, nor
            those of all fields together.
    """
    if needles is None or not needles.has_any:
        return None
    pooled = needles.pooled
    bars = tuple(_build_bar(field, own, number, hidden) for field, own in needles.fields)
    has_hidden = any(field.id in hidden for field, _own in needles.fields)
    if pooled.l90 and pooled.measured > 1 and not has_hidden:
        bars = (*bars, _build_pooled(pooled))
    limit = wanted.needle_bound if wanted else None
    is_drawn = limit is not None and limit.quantile == "L90"
    return NeedleTable(
        status=describe_calibration(pooled.calibration),
        summary=_("hidden until you decide") if has_hidden else describe_pooled(pooled),
        bars=bars,
        chart=needle_fields_chart(bars, limit.most_um if limit and is_drawn else None),
    )


def describe_order_needles(assessed: Assessed, hidden: Collection[str]) -> str:
    """Return the needles of all specimens together, "" where there are none or one specimen."""
    needles = assessed.needles
    if needles is None or not needles.has_any:
        return ""
    members = [field.id for specimen in needles.specimens for field, _own in specimen.fields]
    if any(member in hidden for member in members):
        return ""
    is_repeated = len(needles.specimens) == 1 and needles.pooled.predicted is None
    return "" if is_repeated else describe_pooled(needles.pooled)


def _build_bar(
    field: FieldFacts, own: NeedleField | None, number: str, hidden: Collection[str]
) -> NeedleBar:
    href = f"/review/{field.id}?{urlencode({'order': number})}"
    if field.id in hidden:
        return NeedleBar(field.called, reason=_("hidden until you decide"), href=href)
    if own is None:
        return NeedleBar(field.called, reason=_("the measurement was off"), href=href)
    return NeedleBar(
        name=field.called,
        l50=own.l50_um,
        l90=own.l90_um,
        l99=own.l99_um,
        longest=own.maximum_um,
        reason=str(own.reason_message),
        href=href,
        needles=own.needles,
    )


def _build_pooled(pooled: PooledNeedles) -> NeedleBar:
    return NeedleBar(
        name=_("together"),
        l50=pooled.l50.value_um if pooled.l50 else None,
        l90=pooled.l90.value_um if pooled.l90 else None,
        l99=pooled.l99.value_um if pooled.l99 else None,
        longest=pooled.maximum_um,
        low=pooled.l90.low_um if pooled.l90 else None,
        high=pooled.l90.high_um if pooled.l90 else None,
        needles=pooled.needles,
    )


PAGE, NEXT = "/needles", "/needles/next"
MOST_SKIPPED = 50
Text = Annotated[str, Form()]


def router(web: WebContext) -> APIRouter:
    """Build the routes of the page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(PAGE)
    def show(
        request: Request, calibration: str = "", subtype: str = "", microscope: str = ""
    ) -> Response:
        return _render(web, request, new=calibration, finished=(subtype, microscope))

    @routes.post(NEXT)
    def go_on(
        request: Request, subtype: Text, microscope: Text, skip: Text = "", by: Text = ""
    ) -> Response:
        who = cookies.decides(request, {"by": by}).strip()
        fields = [("subtype", subtype), ("microscope", microscope), ("skip", skip)]
        if page := request_name(web, request, who, NEXT, fields):
            return page
        skipped = skip.split()[-MOST_SKIPPED:]
        _compare(web, who)
        answer = RedirectResponse(_find_next(web, (subtype, microscope), who, skipped), 303)
        cookies.keep(answer, cookies.NAME, who)
        return answer

    @routes.post("/needles/calibrate")
    def set_calibration(
        request: Request, subtype: Text, microscope: Text, reason: Text = "", by: Text = ""
    ) -> Response:
        who = cookies.decides(request, {"by": by}).strip()
        fields = [("subtype", subtype), ("microscope", microscope), ("reason", reason)]
        if page := request_name(web, request, who, "/needles/calibrate", fields):
            return page
        try:
            calibration = _calibrate(web, request, (subtype, microscope), who, reason)
        except AgentError as error:
            return _render(web, request, wrong=str(error), code=422)
        return RedirectResponse(f"{PAGE}?{urlencode({'calibration': calibration.version})}", 303)

    return routes


def build_series(
    web: WebContext, request: Request, view: MicrographView, asked: Mapping[str, str]
) -> dict[str, Any] | None:
    """Build what the viewer shows above a field of the ten; None where it shows a field alone.

    Args:
        web: Behind the pages.
        request: Of the viewer's page.
        view: The field.
        asked: Query of the page: `subtype`, `microscope`, `skip`.
    """
    key = asked.get("subtype", ""), asked.get("microscope", "")
    if not all(key) or not may_decide(request):
        return None
    done = sum(group.full_fields for group in _list_groups(web, key))
    return {
        "subtype": key[0],
        "microscope": key[1],
        "done": min(done, WANTED_FIELDS),
        "fields": WANTED_FIELDS,
        "needles": WANTED_NEEDLES,
        "skip": asked.get("skip", ""),
        "skip_this": f"{asked.get('skip', '')} {view.id}".strip(),
    }


def _list_groups(web: WebContext, key: tuple[str, str]) -> list[TruthGroup]:
    return [group for group in load_groups(web.store) if (group.subtype, group.microscope) == key]


def _has_crop(web: WebContext, view: MicrographView) -> bool:
    crop = web.archive.crop_path(view.sha256, view.page)
    return view.crop is not None and web.archive.may_have(crop)


def _compare(web: WebContext, who: str) -> None:
    """Compare what was measured since the latest comparison; a person's request is the cause."""
    if any(group.new or group.network != read_version() for group in load_groups(web.store)):
        steps = compare_needles(web.store, web.archive, _load_mapper(), by=who, at=web.now())
        for _step in steps:
            pass


@cache
def _load_mapper() -> NeedleMapper:
    from model.needles.needle_map import NeedleMapper  # noqa: PLC0415 - PyTorch takes seconds

    return NeedleMapper()


def _find_next(web: WebContext, key: tuple[str, str], who: str, skipped: list[str]) -> str:
    """Return the address of the next field to measure, or of the page with the plot."""
    groups = _list_groups(web, key)
    if groups and not groups[0].missing_fields:
        return PAGE
    fields = list_measurable(web.store, lambda view: _has_crop(web, view)).get(key, [])
    chosen = choose_field(web.store, fields, who, skipped=skipped)
    if chosen is None:
        return f"{PAGE}?{urlencode({'subtype': key[0], 'microscope': key[1]})}"
    asked = {"subtype": key[0], "microscope": key[1], "skip": " ".join(skipped)}
    return f"/review/{chosen.id}/viewer?{urlencode(asked)}"


def _calibrate(
    web: WebContext, request: Request, key: tuple[str, str], who: str, reason: str
) -> NeedleCalibration:
    if who_is(request) is None and not order_rules(web).is_lead(who):
        raise UsageError(
            _("{who} is not a lead. Name leads under [orders] leads in agent.toml.").format(who=who)
        )
    groups = _list_groups(web, key)
    if not groups:
        raise UsageError(_("No needle was measured yet."))
    kept = require_reason(reason)
    return calibrate(web.store, groups[0], by=who, reason=kept, at=web.now())


def _render(
    web: WebContext,
    request: Request,
    *,
    new: str = "",
    finished: tuple[str, str] = ("", ""),
    wrong: str = "",
    code: int = 200,
) -> Response:
    """Show the page.

    Args:
        web: Behind the pages.
        request: Of the page.
        new: Version of the calibration that was set just now.
        finished: Subtype and microscope of which no further field can be measured.
        wrong: Why an act was refused.
        code: HTTP status.
    """
    record = web.store.records.latest(COMPARISON, "")
    groups = load_groups(web.store)
    measurable = list_measurable(web.store, lambda view: _has_crop(web, view))
    begun = {(group.subtype, group.microscope) for group in groups}
    calibrations = list_calibrations(web.store)
    notice = ""
    if any(calibration.version == new for calibration in calibrations):
        notice = _("Calibration {version} is set.").format(version=new)
    elif finished in begun or finished in measurable:
        notice = _("No further field of {subtype} on {microscope} can be measured.").format(
            subtype=finished[0], microscope=finished[1]
        )
    return render_page(
        web,
        request,
        "needles",
        code,
        groups=[
            _build_group(web, group, f"n{number}", measurable)
            for number, group in enumerate(groups)
        ],
        others=[(*key, len(fields)) for key, fields in measurable.items() if key not in begun],
        calibrations=[
            (calibration, _format_ratio(calibration.ratio), _describe_state(web, calibration))
            for calibration in reversed(calibrations)
        ],
        compared_at=record.at if record else None,
        wanted=(WANTED_FIELDS, WANTED_NEEDLES),
        may_measure=may_decide(request) and web.measures_needles,
        may_calibrate=may_lead(request),
        notice=notice,
        wrong=wrong,
    )


def _build_group(
    web: WebContext,
    group: TruthGroup,
    name: str,
    measurable: Mapping[tuple[str, str], list[MicrographView]],
) -> dict[str, Any]:
    valid = needle_calibration(web.store, group.subtype, group.microscope)
    return {
        "group": group,
        "calibration": valid,
        "refusal": find_refusal(group),
        "progress": _describe_progress(group),
        "can_go_on": (group.subtype, group.microscope) in measurable and group.missing_fields,
        "facts": list(_iter_facts(group)),
        "plot": _draw(group, name),
    }


def _describe_progress(group: TruthGroup) -> str:
    measured = _("Measured needles: {n}; fields: {fields}; people: {people}.").format(
        n=group.needles, fields=group.fields, people=", ".join(group.people)
    )
    if not group.missing_fields:
        return measured
    missing = _(
        "{full} of {wanted} fields have {each} needles by one person; {needles} needles are "
        "missing."
    ).format(
        full=group.full_fields,
        wanted=WANTED_FIELDS,
        each=WANTED_NEEDLES,
        needles=group.missing_needles,
    )
    return f"{measured} {missing}"


def _iter_facts(group: TruthGroup) -> Iterator[Fact]:
    if not group.comparison:
        return
    matched, unmatched = group.counts[Place.MATCHED], group.counts[Place.UNMATCHED]
    if total := matched + unmatched:
        found = _("{n} of {total} needles").format(n=matched, total=total)
        yield Fact(_("Found by the program"), found)
    if other := group.counts[Place.NOT_MEASURED]:
        yield Fact(_("In fields that the program does not measure"), str(other))
    if gone := group.counts[Place.NO_PIXELS]:
        yield Fact(_("In fields without archived pixels"), str(gone))
    if group.new:
        yield Fact(_("Not compared yet"), str(group.new))
    if group.agreement is not None:
        yield from _iter_agreement(group.agreement)


def _iter_agreement(agreement: Agreement) -> Iterator[Fact]:
    yield Fact(_("Mean ratio"), _format_ratio(agreement.bias))
    yield Fact(_("Lower limit of agreement"), _format_ratio(agreement.lower))
    yield Fact(_("Upper limit of agreement"), _format_ratio(agreement.upper))
    yield Fact(
        _("Both tips within 15 %"),
        _("{n} of {total} needles").format(n=agreement.tips_agree, total=agreement.needles),
    )
    if agreement.people == 1:
        yield Fact(_("People"), _("1: differences between people are not part of the limits"))


def _draw(group: TruthGroup, name: str) -> Markup:
    agreement = group.agreement
    if agreement is None:
        return Markup()
    plot = NeedlePlot(
        name=name,
        points=tuple(
            (
                (pair.measured_um * pair.program_um) ** 0.5,
                pair.program_um / pair.measured_um,
                pair.tips_agree,
            )
            for pair in group.pairs
        ),
        bias=_to_triple(agreement.bias),
        lower=_to_triple(agreement.lower),
        upper=_to_triple(agreement.upper),
    )
    return agreement_chart(plot)


def _describe_state(web: WebContext, calibration: NeedleCalibration) -> str:
    valid = needle_calibration(web.store, calibration.subtype, calibration.microscope)
    if valid is not None and valid.record == calibration.record:
        return _("valid")
    if calibration.network != read_version():
        return _("for another version of the program")
    return _("replaced or withdrawn")


def _format_ratio(ratio: Ratio) -> str:
    value, low, high = (decimal(part, ".2f") for part in _to_triple(ratio))
    return _("{value} ({low} to {high})").format(value=value, low=low, high=high)


def _to_triple(ratio: Ratio) -> tuple[float, float, float]:
    return ratio.value, ratio.low, ratio.high
