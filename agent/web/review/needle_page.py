"""Page of measured needles: the program against people, per subtype and microscope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from agent.needle_truth import (
    WANTED_FIELDS,
    WANTED_NEEDLES,
    NeedleCalibration,
    Place,
    Ratio,
    TruthGroup,
    find_refusal,
    list_calibrations,
    load_groups,
    needle_calibration,
)
from agent.needle_truth.comparison import COMPARISON
from agent.web.pages import render_page
from model.needles.version import read_version
from reports import (
    Fact,
    NeedlePlot,
    agreement_chart,
    decimal,
)
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.needle_truth import Agreement
    from agent.web.context import Desk


def router(desk: Desk) -> APIRouter:
    """Build the route of the page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/needles")
    def show(request: Request) -> Response:
        record = desk.store.records.latest(COMPARISON, "")
        return render_page(
            desk,
            request,
            "needles",
            groups=[
                _build_group(desk, group, f"n{number}")
                for number, group in enumerate(load_groups(desk.store))
            ],
            calibrations=[
                (calibration, _format_ratio(calibration.ratio), _describe_state(desk, calibration))
                for calibration in reversed(list_calibrations(desk.store))
            ],
            compared_at=record.at if record else None,
        )

    return routes


def _build_group(desk: Desk, group: TruthGroup, name: str) -> dict[str, Any]:
    valid = needle_calibration(desk.store, group.subtype, group.microscope)
    return {
        "group": group,
        "calibration": valid,
        "refusal": find_refusal(group),
        "progress": _describe_progress(group),
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


def _describe_state(desk: Desk, calibration: NeedleCalibration) -> str:
    valid = needle_calibration(desk.store, calibration.subtype, calibration.microscope)
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
