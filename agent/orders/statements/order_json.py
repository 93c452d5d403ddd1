"""Convert an assessed order to JSON: `agent orders show --json`, the API, a frozen statement.

The keys are a contract (DESIGN.md).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.orders.lims.lost_conformity import HELD_BACK
from agent.orders.specifications.specification import find_limit
from agent.store import is_imported
from model import TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.orders.facts.specimen_facts import FieldFacts
    from agent.orders.judge.assessed import Assessed, AssessedSpecimen
    from agent.orders.statements.trace import Trace, TracedField, TracedOrder
    from agent.store import LabelView, MicrographView, TrailEntry


def order_to_json(assessed: Assessed) -> dict[str, Any]:
    """Return an assessed order as a JSON document."""
    view, wanted = assessed.view, assessed.specification
    return {
        "order": view.number,
        "conformity": str(assessed.statement.conformity),
        "missing": list(assessed.statement.missing),
        "because": list(assessed.statement.because),
        "customer": view.customer,
        "product": view.product,
        "material": assessed.material,
        "urgent": view.urgent,
        "specification": wanted.name if wanted else None,
        "specification_version": assessed.version or None,
        "demand": wanted.demand if wanted else None,
        "specimens": [_specimen_to_json(specimen, assessed) for specimen in assessed.specimens],
        "notes": list(assessed.notes),
        "unassigned": [
            {"id": stray.view.id, "file": stray.view.path, "reason": stray.reason}
            for stray in assessed.unassigned
        ],
        "unusable_files": [{"file": fate.path, "why": fate.said} for fate in assessed.lost],
        "decision_rule": assessed.decision_rule and assessed.decision_rule.to_json(),
        "needles": assessed.needles and assessed.needles.to_json(),
        **({} if assessed.held_back is None else {HELD_BACK: assessed.held_back}),
    }


def _specimen_to_json(specimen: AssessedSpecimen, assessed: Assessed) -> dict[str, Any]:
    wanted = assessed.specification
    views = {
        field.view.id: field.view
        for prepared in specimen.view.preparations
        for field in prepared.fields
    }
    old = (*specimen.facts.earlier, *(field for field in specimen.facts.fields if field.superseded))
    return {
        "specimen": specimen.view.name,
        "preparation": specimen.facts.preparation,
        "conformity": str(specimen.statement.conformity),
        "specification": wanted.name if wanted else None,
        "specification_version": assessed.version or None,
        "heat": specimen.view.heat,
        "batch": specimen.view.batch,
        "bundle": specimen.view.bundle,
        "fields": [
            field_to_json(field, views[field.id]) | {"limit": find_field_limit(field, assessed)}
            for field in specimen.facts.fields
            if not field.superseded
        ],
        "superseded": [field_to_json(field, views[field.id]) for field in old],
        "missing": list(specimen.statement.missing),
        "because": list(specimen.statement.because),
        "notes": list(specimen.notes),
    }


def find_field_limit(facts: FieldFacts, assessed: Assessed) -> str | None:
    """Return the limit that a field's code is held against, None where it has none."""
    decided, wanted, taxonomy = facts.decided, assessed.specification, assessed.taxonomy
    code = decided.said if decided and decided.kind == "code" else facts.code
    if wanted is None or not code:
        return None
    with suppress(TaxonomyError):
        subtype, _size = taxonomy.parse(code)
        limit = find_limit(wanted, subtype, taxonomy) if subtype in wanted.subtype else None
        return str(limit) if limit else None
    return None


def field_to_json(facts: FieldFacts, view: MicrographView) -> dict[str, Any]:
    """Return one field as the document of an order has it."""
    decided, gone = facts.decided, facts.superseded
    return {
        "id": facts.id,
        "field": facts.name,
        "file": view.path,
        "structure_code": facts.code,
        "prediction_set": list(facts.codes),
        "handling": view.result.handling,
        "reasons": list(facts.reasons),
        "awaits_review": facts.awaits,
        "decided": decided
        and {
            "kind": decided.kind,
            "said": decided.said,
            "by": decided.by,
            "criterion": decided.criterion,
        },
        "um_per_px": facts.um_per_px,
        "scale_traced_to": facts.scale_traced_to,
        "area_mm2": facts.area_mm2,
        "bundle": facts.bundle or None,
        "expected": view.result.expected or None,
        "superseded": gone
        and {
            "reason": gone.reason,
            "by": gone.by,
            "defect": gone.defect or None,
            "lead": gone.lead,
            "picture": gone.picture or None,
        },
    }


# --- a trace ------------------------------------------------------------------------------------


def trace_to_json(trace: Trace, files: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return a trace as a JSON document: `trace.json`, and `agent orders trace --json`.

    Args:
        trace: The trace.
        files: Public id → names of the files that hold its pixels.
    """
    return {
        "asked": trace.found.asked,
        "kind": str(trace.found.kind),
        "orders": [_traced_order_to_json(order) for order in trace.orders],
        "fields": [
            _traced_field_to_json(field, files.get(field.view.id, ())) for field in trace.fields
        ],
    }


def _traced_order_to_json(traced: TracedOrder) -> dict[str, Any]:
    wanted = traced.assessed.specification
    return order_to_json(traced.assessed) | {
        "specification_entry": wanted.entry if wanted else None,
        "statements": [
            {
                "record": made.record,
                "at": made.at.isoformat(),
                "changed": list(made.changed),
                "document": made.document,
                "sha256": made.sha256,
            }
            for made in traced.statements
        ],
        "acts": [act_to_json(act) for act in traced.acts],
    }


def _traced_field_to_json(traced: TracedField, files: Sequence[str]) -> dict[str, Any]:
    view, facts = traced.view, traced.facts
    return field_to_json(facts, view) | {
        "place": traced.place,
        "files": list(files),
        "sha256": view.sha256,
        "page": view.page,
        "source": view.source,
        "judged_at": view.result.done_at.isoformat(),
        "process_data": view.process_data,
        "crop": view.crop_facts.document,
        "recipe": view.recipe,
        "um_per_px_source": view.um_per_px_source,
        "scale_in_doubt": facts.scale_in_doubt,
        "held": facts.held or None,
        "probability": view.result.probability,
        "strangeness": view.result.strangeness,
        "engine": view.result.engine,
        "precision": view.result.precision,
        "thresholds": view.result.thresholds,
        "decisions": [label_to_json(label) for label in view.labels],
        "results": [
            {
                "bundle": answer.bundle or None,
                "recipe": answer.recipe,
                "role": answer.role,
                "counts": answer.current,
                "at": answer.done_at.isoformat(),
                "structure_code": answer.structure_code,
                "probability": answer.probability,
                "prediction_set": list(answer.prediction_set),
                "handling": answer.handling,
                "reasons": list(answer.reasons),
                "engine": answer.engine,
                "precision": answer.precision,
            }
            for answer in traced.answers
        ],
        "control_checks": [
            {"record": check.id, "on": check.subject, "at": check.at.isoformat()} | check.facts
            for check in traced.checks
        ],
        "control_specimens": [
            {"id": point.id, "at": point.at.isoformat(), "code": point.code}
            | {"faults": list(point.faults)}
            for point in traced.control
        ],
        "judged_again": {"outcome": str(traced.rerun.outcome), "sentence": traced.rerun.sentence},
        "acts": [act_to_json(act) for act in traced.acts],
    }


def label_to_json(label: LabelView) -> dict[str, Any]:
    """Return one decision of a reviewer."""
    return {
        "kind": label.kind,
        "said": label.code or label.strange_kind or label.why,
        "by": label.by,
        "at": label.at.isoformat(),
        "criterion": label.criterion,
        "comment": label.comment,
        "blind": label.blind,
        "imported": is_imported(label),
        "taken_back": label.undone,
    }


def act_to_json(act: TrailEntry) -> dict[str, Any]:
    """Return one row of the audit log."""
    return {"at": act.at.isoformat(), "by": act.actor, "act": act.act, "facts": act.facts}
