"""Build the printable page of a trace: every number behind a statement, in words."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from agent import pictures
from agent.orders.given_scale import describe_givers
from agent.orders.reproduce import Sameness
from agent.orders.specimen_facts import Conformity
from reports import (
    Fact,
    Picture,
    Tone,
    TraceField,
    TraceList,
    TraceOrder,
    TracePage,
    TraceStatement,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from agent.archive import Archive
    from agent.orders.assessed import Assessed
    from agent.orders.instrument_checks import ControlPoint
    from agent.orders.specimen_facts import FieldFacts
    from agent.orders.statement import Made
    from agent.orders.trace import Trace, TracedField, TracedOrder
    from agent.orders.trace_folder import Pixels
    from agent.store import Answer, LabelView, Record, TrailEntry

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
OWN_ACTS = ("label.", "statement.")
"""Acts that are on the page already, as decisions and statements."""


class Paper:
    """Builds the page of a trace.

    Args:
        archive: Source of the pictures.
        pixels: Public id → its files in the folder.
        site: Name of the site.
        zone: Its time zone.
    """

    def __init__(
        self, archive: Archive, pixels: Mapping[str, Pixels], *, site: str, zone: str
    ) -> None:
        self._archive, self._pixels = archive, pixels
        self._site, self._zone = site, ZoneInfo(zone)

    def page(self, trace: Trace, *, by: str, software: str, at: datetime) -> TracePage:
        """Build the whole page."""
        match = trace.found
        return TracePage(
            site=self._site,
            title=f"Trace of {match.kind} {match.asked}",
            zone=str(self._zone),
            orders=tuple(self._order(order) for order in trace.orders),
            loose=tuple(self._field(field) for field in trace.loose),
            generated=f"{self._at(at)} by {by} with {software}",
        )

    def _at(self, at: datetime) -> str:
        return f"{at.astimezone(self._zone):%Y-%m-%d %H:%M:%S}"

    # --- the order ---

    def _order(self, traced: TracedOrder) -> TraceOrder:
        assessed = traced.assessed
        statement, wanted = assessed.statement, assessed.specification
        return TraceOrder(
            number=assessed.view.number,
            word=statement.conformity.words,
            tone=TONES[statement.conformity],
            demand=f"demanded: {wanted.demand}" if wanted else "",
            sentences=(*statement.because, *statement.missing),
            facts=tuple(_order_facts(assessed)),
            statements=tuple(
                self._statement(made, number)
                for number, made in enumerate(traced.statements, start=1)
            ),
            acts=tuple(map(self._act, _others(traced.acts))),
            fields=tuple(self._field(field) for field in traced.fields),
        )

    def _statement(self, made: Made, number: int) -> TraceStatement:
        word = Conformity(made.document["conformity"])
        return TraceStatement(
            title=f"Statement {number}",
            word=word.words,
            tone=TONES[word],
            said=f"{self._at(made.at)}, by {made.by}",
            reason=made.reason,
            changed=made.changed,
            sentences=(*made.document["because"], *made.document["missing"]),
            file=f"statements/{made.file}",
        )

    def _act(self, act: TrailEntry) -> str:
        words = act.act.replace(".", " ").replace("_", " ")
        reason = act.facts.get("reason")
        return f"{self._at(act.at)}, {act.actor}: {words}{f' ({reason})' if reason else ''}"

    # --- the field ---

    def _field(self, traced: TracedField) -> TraceField:
        view, again = traced.view, traced.rerun
        return TraceField(
            id=view.id,
            name=traced.facts.called,
            place=traced.place,
            code=_format_code(traced.facts),
            gone=_gone(traced.facts),
            again=f"{again.outcome.replace('_', ' ')}: {again.sentence}",
            again_tone=RERUN_TONES[again.outcome],
            picture=self._picture(traced),
            facts=tuple(self._facts(traced)),
            lists=tuple(traced_list for traced_list in self._lists(traced) if traced_list.lines),
        )

    def _picture(self, traced: TracedField) -> Picture | None:
        try:
            pixels, _ = self._archive.field(traced.view.sha256, traced.view.page)
        except (OSError, ValueError):
            return None
        shown = pictures.fit_within(pixels, SHOWN_PX)
        encoded = base64.b64encode(pictures.encode_jpeg(shown, quality=JPEG_QUALITY)).decode()
        height, width = shown.shape[:2]
        alt = f"Crop of {traced.facts.called}, {traced.place}"
        return Picture(f"data:image/jpeg;base64,{encoded}", alt, width, height)

    def _facts(self, traced: TracedField) -> Iterator[Fact]:
        view, facts = traced.view, traced.facts
        kept = self._pixels.get(view.id)
        values = {
            "File": view.path,
            "SHA-256": view.sha256,
            "Page": str(view.page + 1) if view.page else "",
            "Source": view.source,
            "Judged": self._at(view.done_at),
            "Pixels": kept.said if kept else "",
            "Crop": f"{_box(view.crop)} of {view.width} × {view.height} px, recipe {view.recipe}",
            "Area": f"{facts.area_mm2:.4f} mm²" if facts.area_mm2 is not None else "",
            "Answer": view.structure_code or "no model answered",
            "Probability": f"{view.probability:.4f}" if view.probability is not None else "",
            "Could be": ", ".join(view.prediction_set),
            "Strangeness": _describe_ood(view.strangeness),
            "Handling": ", ".join((view.handling, *(w.replace("_", " ") for w in view.reasons))),
            "Bundle": view.bundle,
            "Computed by": " ".join(filter(None, (view.engine, view.precision))),
            "Held": facts.held,
            "Outside": str(view.expected.get("outside") or ""),
            **{name.capitalize(): value for name, value in view.process_data.items()},
        }
        yield from (Fact(name, value) for name, value in values.items() if value)

    def _lists(self, traced: TracedField) -> Iterator[TraceList]:
        others = [answer for answer in traced.answers if not answer.current]
        yield TraceList("Scale and its checks", tuple(_iter_scale_facts(traced)))
        checks = (*map(self._check, traced.checks), *map(self._point, traced.control))
        yield TraceList("Control check of that day", checks or ("none is on record",))
        yield TraceList("Decisions", tuple(map(self._decision, traced.view.labels)))
        yield TraceList("Superseded results", tuple(map(self._answer, others)))
        yield TraceList("What was done to it", tuple(map(self._act, _others(traced.acts))))

    def _check(self, record: Record) -> str:
        findings = record.facts.get("findings", ())
        bad = [f"{name}: {sentence}" for name, sentence, is_good in findings if not is_good]
        word = "good" if record.facts.get("passed") else f"failed ({'; '.join(bad)})"
        using = record.facts.get("bundle") or "no bundle"
        return (
            f"{self._at(record.at)} on {record.subject}: {word}; {len(findings)} reference images, "
            f"{using}, Martensight {record.facts.get('software', '')}"
        )

    def _point(self, point: ControlPoint) -> str:
        words = "; ".join(point.faults) or "as usual"
        return f"{self._at(point.at)}, control specimen {point.id}: {point.code or '–'}, {words}"

    def _decision(self, label: LabelView) -> str:
        words = label.code or label.strange_kind or label.why or ""
        what = f"{label.kind.replace('_', ' ')} {words.replace('_', ' ')}".strip()
        more = (
            f"criterion {label.criterion}" if label.criterion != "unrecorded" else "",
            "without having seen the answer" if label.blind else "",
            f"“{label.comment}”" if label.comment else "",
            "taken back" if label.undone else "",
        )
        return ", ".join((f"{self._at(label.at)}, {label.by}: {what}", *filter(None, more)))

    def _answer(self, answer: Answer) -> str:
        code = answer.structure_code or "no code"
        sure = f", probability {answer.probability:.4f}" if answer.probability is not None else ""
        return (
            f"{self._at(answer.at)}, {answer.bundle or 'no bundle'} ({answer.role}): {code}{sure}"
        )


def _order_facts(assessed: Assessed) -> Iterator[Fact]:
    view, wanted = assessed.view, assessed.specification
    values = {
        "Customer": view.customer,
        "Product": view.product,
        "Material": assessed.material,
        "Specification": f"{wanted.name}, version {assessed.version}" if wanted else "",
        "Valid from": f"{wanted.valid_from}" if wanted else "",
        "Approved by": wanted.approved_by if wanted else "",
        "Chart": f"{wanted.chart} {wanted.chart_revision}".strip() if wanted else "",
        "Standard": wanted.standard if wanted else "",
        "Specimen rule": wanted.specimen_rule.replace("_", " ") if wanted else "",
        "Decision rule": assessed.decision_rule.text if assessed.decision_rule else "",
    }
    for specimen in assessed.specimens:
        named = (
            ("heat", specimen.view.heat),
            ("batch", specimen.view.batch),
            ("bundle", specimen.view.bundle),
        )
        more = ", ".join(f"{name} {value}" for name, value in named if value)
        word = specimen.statement.conformity.words
        values[f"Specimen {specimen.view.name}"] = f"{word}{f' ({more})' if more else ''}"
    values["Notes"] = "; ".join(assessed.notes)
    yield from (Fact(name, value) for name, value in values.items() if value)


def _others(acts: tuple[TrailEntry, ...]) -> tuple[TrailEntry, ...]:
    return tuple(act for act in acts if not act.act.startswith(OWN_ACTS))


def _format_code(facts: FieldFacts) -> str:
    decided = facts.decided
    if decided is None:
        return facts.code or "–"
    words = decided.said if decided.kind == "code" else decided.kind.replace("_", " ")
    return f"{words}, decided by {decided.by}"


def _gone(facts: FieldFacts) -> str:
    gone = facts.superseded
    if gone is None:
        return ""
    by = f" by {gone.by}" if gone.by else ""
    defect = f", defect {gone.defect.replace('_', ' ')}" if gone.defect else ""
    return f"superseded{by}: {gone.reason}{defect}{', approved by a lead' if gone.lead else ''}"


def _box(box: tuple[int, int, int, int] | None) -> str:
    return "({}, {}) to ({}, {})".format(*box) if box else "not recorded"


def _describe_ood(facts: Mapping[str, object]) -> str:
    p_value = facts.get("p_value")
    if not isinstance(p_value, int | float):
        return ""
    return f"p = {p_value:.3f}{', flagged' if facts.get('flagged') else ''}"


def _iter_scale_facts(traced: TracedField) -> Iterator[str]:
    """Yield the scale, each evidence of it, and the scale bar as it was read."""
    view = traced.view
    if traced.facts.scale_in_doubt:
        yield "in doubt: its witnesses disagree by more than 5 %"
    elif view.um_per_px is None:
        yield "no scale is known"
    else:
        given = describe_givers(view.thresholds)
        by = f"given by {given}" if given else f"by {_plain(view.um_per_px_source)}"
        yield f"{view.um_per_px:.5g} µm per pixel, {by}"
    if traced.facts.scale_traced_to:
        traced_to = traced.facts.scale_traced_to
        certificate = (
            f", certificate {traced_to['certificate']}" if traced_to["certificate"] else ""
        )
        measurement = f"{traced_to['at'][:10]}, record {traced_to['record']}"
        yield f"traced to the stage micrometer of {measurement}{certificate}"
    else:
        yield "not traced to a stage micrometer"
    for witness in view.crop_facts.get("scales") or ():
        yield f"{_plain(witness['source'])} says {witness['um_per_px']:.5g} µm per pixel"
    if bar := view.crop_facts.get("micron_bar"):
        yield f"micron bar {bar['label']!r}: {bar['um']:g} µm over {bar['line_px']:.1f} px"
    yield from (warning.replace("_", " ") for warning in view.warnings if "scale" in warning)


def _plain(word: str | None) -> str:
    return (word or "nobody").replace("_", " ")
