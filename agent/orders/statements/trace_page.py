"""Render the printable page of a trace: every number behind a statement, in words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import reports
from agent.files import pictures
from agent.orders.facts.given_scale import describe_givers
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.instruments.reproduce import Sameness
from agent.orders.statements.trace import TraceKind
from agent.store import is_imported
from reports import Fact, Tone, decimal, marked
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from agent.archive import Archive
    from agent.orders.facts.specimen_facts import FieldFacts
    from agent.orders.instruments.instrument_checks import ControlPoint
    from agent.orders.judge.assessed import Assessed
    from agent.orders.statements.trace import Trace, TracedField
    from agent.store import LabelView, Record, Result, StoredStrangeness

    FormatAt = Callable[[datetime], str]

TONES = {
    Conformity.CONFORMS: Tone.CALM,
    Conformity.DOES_NOT_CONFORM: Tone.PROBLEM,
    Conformity.UNDECIDED: Tone.ATTENTION,
    Conformity.NOT_ASSESSED: Tone.ATTENTION,
}
RERUN_TONES = {
    Sameness.SAME: Tone.CALM,
    Sameness.DIFFERENT: Tone.PROBLEM,
    Sameness.NOT_POSSIBLE: Tone.ATTENTION,
}
SHOWN_PX = 900
JPEG_QUALITY = 82  # on paper, at about 8 cm, more is not seen
TITLES = {
    TraceKind.ORDER: marked("Trace of order {asked}"),
    TraceKind.HEAT: marked("Trace of heat {asked}"),
    TraceKind.ID: marked("Trace of micrograph {asked}"),
}
COLUMNS = {
    "plant": marked("Plant"),
    "microscope": marked("Microscope"),
    "objective": marked("Objective"),
    "order": marked("Order"),
    "heat": marked("Heat"),
    "batch": marked("Batch"),
    "specimen": marked("Specimen"),
    "preparation": marked("Preparation"),
    "field": marked("Field"),
    "material": marked("Material"),
    "etchant": marked("Etchant"),
    "magnification": marked("Magnification"),
    "operator": marked("Operator"),
}
"""Columns of process data; another column is shown by its own name."""
RERUN = {
    Sameness.SAME: marked("same"),
    Sameness.DIFFERENT: marked("different"),
    Sameness.NOT_POSSIBLE: marked("not possible"),
}
OWN_ACTS = ("label.", "statement.")
"""Acts that are on the page already, as decisions and statements."""


def render_trace(
    trace: Trace,
    *,
    archive: Archive,
    pixels: Mapping[str, str],
    site: str,
    zone: str,
    by: str,
    software: str,
    at: datetime,
) -> str:
    """Render the printable page of a trace.

    Args:
        trace: The trace.
        archive: Source of the pictures.
        pixels: Public id → where the pixels in the folder come from, in words.
        site: Name of the site.
        zone: Its time zone.
        by: Author.
        software: That wrote it.
        at: Now, aware.
    """
    format_at = partial(_format_at, zone=ZoneInfo(zone))
    return reports.render(
        "trace",
        site=site,
        title=_(TITLES[trace.found.kind]).format(asked=trace.found.asked),
        zone=zone,
        format_at=format_at,
        orders=trace.orders,
        order_facts={
            order.assessed.view.number: _list_order_facts(order.assessed) for order in trace.orders
        },
        loose=trace.loose,
        fields={
            field.view.id: {
                "code": _format_code(field.facts),
                "gone": _gone(field.facts),
                "picture": _find_picture(field, archive),
                "facts": _list_facts(field, pixels.get(field.view.id, ""), format_at),
                "lists": _list_evidence(field, format_at),
            }
            for field in trace.fields
        },
        conformity=Conformity,
        tones=TONES,
        rerun_tones=RERUN_TONES,
        rerun=RERUN,
        own_acts=OWN_ACTS,
        generated=_("{at} by {by} with {software}").format(
            at=format_at(at), by=by, software=software
        ),
    )


def _format_at(at: datetime, *, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


# --- a field ------------------------------------------------------------------------------------


def _find_picture(traced: TracedField, archive: Archive) -> tuple[bytes, int, int] | None:
    """Return the crop as JPEG with its width and height, None where it is not archived."""
    try:
        pixels, _valid = archive.field(traced.view.sha256, traced.view.page)
    except (OSError, ValueError):
        return None
    shown = pictures.fit_within(pixels, SHOWN_PX)
    height, width = shown.shape[:2]
    return pictures.encode_jpeg(shown, quality=JPEG_QUALITY), width, height


def _list_facts(traced: TracedField, origin: str, format_at: FormatAt) -> list[Fact]:
    view, facts, result = traced.view, traced.facts, traced.view.result
    values = {
        _("File"): view.path,
        "SHA-256": view.sha256,
        _("Page"): str(view.page + 1) if view.page else "",
        _("Source"): view.source,
        _("Classified at"): format_at(result.done_at),
        _("Pixels"): origin,
        _("Crop"): _("{box} of {width} × {height} px, recipe {recipe}").format(
            box=_box(view.crop), width=view.width, height=view.height, recipe=view.recipe
        ),
        _("Area"): f"{decimal(facts.area_mm2, '.4f')} mm²" if facts.area_mm2 is not None else "",
        _("Answer"): result.structure_code or _("no model answered"),
        _("Probability"): decimal(result.probability, ".4f")
        if result.probability is not None
        else "",
        _("Prediction set"): ", ".join(result.prediction_set),
        _("Out-of-distribution check"): _describe_ood(result.strangeness),
        _("Handling"): ", ".join((result.handling, *(w.replace("_", " ") for w in result.reasons))),
        _("Bundle"): result.bundle,
        _("Computed by"): " ".join(filter(None, (result.engine, result.precision))),
        _("Held"): facts.held,
        _("Outside"): str(result.outside),
        **{
            _(COLUMNS.get(name, name.capitalize())): value
            for name, value in view.process_data.items()
        },
    }
    return [Fact(name, value) for name, value in values.items() if value]


def _list_evidence(traced: TracedField, format_at: FormatAt) -> dict[str, list[str]]:
    """Return what stands behind a field's result, a line each, by what it is about."""
    checks = [
        *(_describe_check(record, format_at) for record in traced.checks),
        *(_describe_point(point, format_at) for point in traced.control),
    ]
    return {
        _("Scale and its checks"): list(_iter_scale_facts(traced)),
        _("Control check of that day"): checks or [_("none is on record")],
        _("Decisions"): [_describe_decision(label, format_at) for label in traced.view.labels],
        _("Superseded results"): [
            _describe_answer(answer, format_at) for answer in traced.answers if not answer.current
        ],
    }


def _describe_check(record: Record, format_at: FormatAt) -> str:
    findings = record.facts.get("findings", ())
    bad = [f"{name}: {sentence}" for name, sentence, is_good in findings if not is_good]
    word = (
        _("good") if record.facts.get("passed") else _("failed ({why})").format(why="; ".join(bad))
    )
    return _(
        "{at} on {source}: {word}; {n} reference images, {bundle}, Martensight {version}"
    ).format(
        at=format_at(record.at),
        source=record.subject,
        word=word,
        n=len(findings),
        bundle=record.facts.get("bundle") or _("no bundle"),
        version=record.facts.get("software", ""),
    )


def _describe_point(point: ControlPoint, format_at: FormatAt) -> str:
    words = "; ".join(point.faults) or _("as usual")
    return _("{at}, control specimen {id}: {code}, {finding}").format(
        at=format_at(point.at), id=point.id, code=point.code or "–", finding=words
    )


def _describe_decision(label: LabelView, format_at: FormatAt) -> str:
    words = label.code or label.strange_kind or label.why or ""
    what = f"{label.kind.replace('_', ' ')} {words.replace('_', ' ')}".strip()
    more = (
        _("criterion {criterion}").format(criterion=label.criterion)
        if label.criterion != "unrecorded"
        else "",
        _("without having seen the answer") if label.blind else "",
        _("imported with a file") if is_imported(label) else "",
        f"“{label.comment}”" if label.comment else "",
        _("taken back") if label.undone else "",
    )
    return ", ".join((f"{format_at(label.at)}, {label.by}: {what}", *filter(None, more)))


def _describe_answer(answer: Result, format_at: FormatAt) -> str:
    code = answer.structure_code or _("no code")
    if answer.probability is not None:
        code = _("{code}, probability {probability}").format(
            code=code, probability=decimal(answer.probability, ".4f")
        )
    bundle = answer.bundle or _("no bundle")
    return f"{format_at(answer.done_at)}, {bundle} ({answer.role}): {code}"


# --- an order -----------------------------------------------------------------------------------


def _list_order_facts(assessed: Assessed) -> list[Fact]:
    view, wanted = assessed.view, assessed.specification
    values = {
        _("Customer"): view.customer,
        _("Product"): view.product,
        _("Material"): assessed.material,
        _("Specification"): _("{name}, version {version}").format(
            name=wanted.name, version=assessed.version
        )
        if wanted
        else "",
        _("Valid from"): f"{wanted.valid_from}" if wanted else "",
        _("Approved by"): wanted.approved_by if wanted else "",
        _("Chart"): f"{wanted.chart} {wanted.chart_revision}".strip() if wanted else "",
        _("Standard"): wanted.standard if wanted else "",
        _("Specimen rule"): wanted.specimen_rule.replace("_", " ") if wanted else "",
        _("Decision rule"): assessed.decision_rule.text if assessed.decision_rule else "",
    }
    for specimen in assessed.specimens:
        named = (
            (_("Heat"), specimen.view.heat),
            (_("Batch"), specimen.view.batch),
            (_("Bundle"), specimen.view.bundle),
        )
        more = ", ".join(f"{name} {value}" for name, value in named if value)
        word = specimen.statement.conformity.words
        values[_("Specimen {name}").format(name=specimen.view.name)] = (
            f"{word}{f' ({more})' if more else ''}"
        )
    values[_("Notes")] = "; ".join(assessed.notes)
    return [Fact(name, value) for name, value in values.items() if value]


def _format_code(facts: FieldFacts) -> str:
    decided = facts.decided
    if decided is None:
        return facts.code or "–"
    words = decided.said if decided.kind == "code" else decided.kind.replace("_", " ")
    return _("{code}, decided by {by}").format(code=words, by=decided.by)


def _gone(facts: FieldFacts) -> str:
    gone = facts.superseded
    if gone is None:
        return ""
    said = (
        _("superseded by {by}: {reason}").format(by=gone.by, reason=gone.reason)
        if gone.by
        else _("superseded: {reason}").format(reason=gone.reason)
    )
    defect = (
        _("defect {defect}").format(defect=gone.defect.replace("_", " ")) if gone.defect else ""
    )
    return ", ".join(filter(None, (said, defect, _("approved by a lead") if gone.lead else "")))


def _box(box: tuple[int, int, int, int] | None) -> str:
    return _("({0}, {1}) to ({2}, {3})").format(*box) if box else _("not recorded")


def _describe_ood(strangeness: StoredStrangeness) -> str:
    if strangeness.p_value is None:
        return ""
    shown = f"p = {decimal(strangeness.p_value, '.3f')}"
    return _("{p}, flagged").format(p=shown) if strangeness.is_flagged else shown


def _iter_scale_facts(traced: TracedField) -> Iterator[str]:
    """Yield the scale, each evidence of it, and the scale bar as it was read."""
    view = traced.view
    if traced.facts.scale_in_doubt:
        yield _("uncertain: its sources differ by more than 5 %")
    elif view.um_per_px is None:
        yield _("no scale is known")
    else:
        given = describe_givers(view.result.thresholds)
        by = (
            _("given by {people}").format(people=given)
            if given
            else _("by {source}").format(source=_plain(view.um_per_px_source))
        )
        yield _("{scale} µm per pixel, {by}").format(scale=decimal(view.um_per_px, ".5g"), by=by)
    if traced.facts.scale_traced_to:
        measured = traced.facts.scale_traced_to
        traced_to = _("traced to the stage micrometer of {date}, record {record}").format(
            date=measured["at"][:10], record=measured["record"]
        )
        if measured["certificate"]:
            certificate = measured["certificate"]
            traced_to += _(", certificate {certificate}").format(certificate=certificate)
        yield traced_to
    else:
        yield _("not traced to a stage micrometer")
    for source, um_per_px in view.crop_facts.scales:
        yield _("{source}: {scale} µm per pixel").format(
            source=_plain(source), scale=decimal(um_per_px, ".5g")
        )
    bar = view.crop_facts.micron_bar
    if bar and bar.um is not None:
        yield _("scale bar “{label}”: {um} µm over {px} px").format(
            label=bar.label, um=decimal(bar.um, "g"), px=decimal(bar.line_px, ".1f")
        )
    yield from (warning.replace("_", " ") for warning in view.warnings if "scale" in warning)


def _plain(word: str | None) -> str:
    return (word or _("unknown")).replace("_", " ")
