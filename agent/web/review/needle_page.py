"""Page of measured needles: the program against people, per subtype and microscope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from markupsafe import Markup

import reports
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
from agent.site_time import local
from agent.web import cookies
from model.needles.version import read_version
from reports import (
    CalibrationLine,
    Fact,
    NeedleGroup,
    NeedlePlot,
    NeedleTruthPage,
    Tone,
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
        return HTMLResponse(reports.render("needles", page=_build_page(desk, request)))

    return routes


def _build_page(desk: Desk, request: Request) -> NeedleTruthPage:
    record = desk.store.records.latest(COMPARISON, "")
    return NeedleTruthPage(
        site=desk.site,
        reviewer=cookies.name_of(request),
        groups=tuple(
            _build_group(desk, group, f"n{number}")
            for number, group in enumerate(load_groups(desk.store))
        ),
        calibrations=tuple(_iter_calibrations(desk)),
        compared=local(record.at, desk.zone) if record else "",
    )


def _build_group(desk: Desk, group: TruthGroup, name: str) -> NeedleGroup:
    valid = needle_calibration(desk.store, group.subtype, group.microscope)
    refusal = find_refusal(group)
    if valid:
        state = _("calibrated: version {version}").format(version=valid.version)
    else:
        state = _("not calibrated here")
    return NeedleGroup(
        title=_("{subtype} on {microscope}").format(
            subtype=group.subtype or _("no subtype"), microscope=group.microscope
        ),
        state=state,
        tone=Tone.CALM if valid else Tone.ATTENTION,
        progress=_describe_progress(group),
        facts=tuple(_iter_facts(group)),
        plot=_draw(group, name),
        note=refusal
        or ("" if valid else _("Ready to calibrate: a lead runs agent needles calibrate.")),
    )


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


def _iter_calibrations(desk: Desk) -> Iterator[CalibrationLine]:
    for calibration in reversed(list_calibrations(desk.store)):
        yield CalibrationLine(
            version=calibration.version,
            ratio=_format_ratio(calibration.ratio),
            source=_("{n} needles in {fields} fields").format(
                n=calibration.needles, fields=calibration.fields
            ),
            by=f"{calibration.by} · {local(calibration.at, desk.zone) if calibration.at else ''}",
            state=_describe_state(desk, calibration),
        )


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
