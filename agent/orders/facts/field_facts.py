"""Turn a specimen's rows into the facts that the rules of conformity are applied to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.orders.facts.places import list_elsewhere, list_same_places
from agent.orders.facts.specimen_facts import (
    SLIP,
    FieldDecision,
    FieldFacts,
    LabelFacts,
    SpecimenFacts,
    Superseded,
)
from agent.store import KnownPlaces, is_imported
from agent.triage import Reason
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from agent.orders.facts.scale_tracing import ScaleMeasurement
    from agent.orders.specifications.specification_history import OrderTaxonomy
    from agent.store import FieldView, LabelView, MicrographView, PreparationView, SpecimenView

MM2_PER_UM2 = 1e-6


@dataclass(frozen=True, slots=True)
class FieldContext:
    """Facts of a field outside its own row.

    Attributes:
        held: Returns why the result of a micrograph is held, "" where it is not.
        is_lead: Returns whether a name is that of a lead.
        traced: Returns the stage-micrometer measurement that proves its scale, or None.
        places: Places of the order's micrographs.
        own: Public ids of the fields of its specimen that may show its place.
        taxonomy: By which its order is judged, None where that does not matter.
    """

    held: Callable[[MicrographView], str] = field(default=lambda _view: "")
    is_lead: Callable[[str], bool] = field(default=lambda _name: False)
    traced: Callable[[MicrographView], ScaleMeasurement | None] = field(default=lambda _view: None)
    places: KnownPlaces = field(default_factory=KnownPlaces)
    own: Collection[str] = ()
    taxonomy: OrderTaxonomy | None = None


def build_specimen_facts(
    view: SpecimenView, context: FieldContext, *, waiting: int
) -> SpecimenFacts:
    """Build the facts of a specimen; the last of its preparations counts.

    Grinding takes a place away: a field that shows one of an earlier preparation is in doubt.
    """
    *before, last = view.preparations or (None,)
    own = {row.view.id for prepared in view.preparations for row in prepared.fields}
    of_last = replace(context, own={row.view.id for row in last.fields} if last else ())
    context = replace(context, own=own)
    return SpecimenFacts(
        name=view.name,
        preparation=last.name if last else "",
        fields=tuple(build_field_facts(row, of_last) for row in (last.fields if last else ())),
        earlier=tuple(
            build_field_facts(row, context, gone=_build_superseded(prepared))
            for prepared in before
            if prepared
            for row in prepared.fields
        ),
        waiting=waiting,
        preparations=len(view.preparations),
        same_places=tuple(list_same_places(view, context.places)),
    )


def build_field_facts(
    row: FieldView, context: FieldContext, *, gone: Superseded | None = None
) -> FieldFacts:
    """Build the facts of one field.

    Args:
        row: Its micrograph with the current result.
        context: What is known outside the row.
        gone: Why its preparation no longer counts, or None where it does.
    """
    view, process_data = row.view, row.view.process_data
    own, label = row.superseded, row.view.order_label
    return FieldFacts(
        id=view.id,
        name=process_data.get("field", ""),
        code=view.result.structure_code,
        codes=view.result.prediction_set,
        probability=view.result.probability,
        decided=_build_decision(label) if label else None,
        awaits=view.awaits_decision,
        reasons=tuple(
            reason
            for reason in view.result.reasons
            if reason != Reason.DOUBTED_LABEL or view.awaits_decision
        ),
        um_per_px=view.um_per_px,
        scale_in_doubt="scale_conflict" in view.warnings,
        area_mm2=row.area_mm2 if row.area_mm2 is not None else _compute_area_mm2(view),
        bundle=view.result.bundle,
        coarser_share=view.result.coarser_share,
        material=process_data.get("material", ""),
        magnification=process_data.get("magnification", ""),
        etchant=process_data.get("etchant", ""),
        superseded=_from_json(own) if own else gone,
        held=context.held(view),
        outside=view.result.outside,
        done_at=view.result.done_at,
        came_at=row.came_at,
        scale_traced_to=measurement.to_json() if (measurement := context.traced(view)) else None,
        labels=tuple(_labels(view, context)),
        other_taxonomy=_describe_other_taxonomy(view, context.taxonomy),
        planes_differ="planes_differ" in view.warnings,
        is_compared=view.id not in context.places.pending,
        elsewhere=tuple(list_elsewhere(view, context.own, context.places)),
    )


def _build_decision(label: LabelView) -> FieldDecision:
    return FieldDecision(label.kind, _find_answer(label), label.by, label.criterion, label.unsure)


def _find_answer(label: LabelView) -> str:
    return label.code or label.strange_kind or label.why or ""


def _describe_other_taxonomy(view: MicrographView, own: OrderTaxonomy | None) -> str:
    """Return why the valid code is of another taxonomy than the order's, "" where it is not."""
    if own is None:
        return ""
    label = view.order_label
    return own.find_label_fault(label) if label else own.find_answer_fault(view)


def _labels(view: MicrographView, context: FieldContext) -> Iterator[LabelFacts]:
    """Yield a micrograph's labels, also those that were taken back; a slip of the key is none.

    A lead who takes a break back outweighs it by the code that holds, which the statement shows.
    """
    for label in view.labels:
        if label.undone and _is_slip(label):
            continue
        own = context.taxonomy
        yield LabelFacts(
            kind=label.kind,
            said=_find_answer(label),
            by=label.by,
            unsure=label.unsure or is_imported(label),
            lead=context.is_lead(label.by),
            withdrawn=label.undone,
            other_taxonomy=own is not None and bool(own.find_label_fault(label)),
        )


def _is_slip(label: LabelView) -> bool:
    at = label.undone_at
    if at is None or label.undone_by != label.by:
        return False
    return timedelta(0) <= at - label.at <= SLIP  # earlier: the clock was set back


def _build_superseded(prepared: PreparationView) -> Superseded:
    own = prepared.facts.get("superseded")
    return _from_json(own) if own else Superseded(_("a later preparation came"), "")


def _from_json(entry: Mapping[str, Any]) -> Superseded:
    return Superseded(
        reason=str(entry.get("reason", "")),
        by=str(entry.get("by", "")),
        defect=str(entry.get("defect", "")),
        lead=bool(entry.get("lead")),
        picture=str(entry.get("picture", "")),
    )


def _compute_area_mm2(view: MicrographView) -> float | None:
    """Return the area of the crop, for micrographs taken before its steel was counted."""
    if view.um_per_px is None or view.crop is None:
        return None
    x0, y0, x1, y1 = view.crop
    return (x1 - x0) * (y1 - y0) * view.um_per_px**2 * MM2_PER_UM2
