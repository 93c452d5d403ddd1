"""Say an assessed order as JSON: `agent order --json`, the API, a statement kept for later.

In:  an `Assessed`. Out: one plain document, whose keys DESIGN.md lays down. Next: programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.orders.assessment import Assessed, AssessedSpecimen
    from agent.orders.facts import FieldFacts
    from agent.store import MicrographView


def document_of(assessed: Assessed) -> dict[str, Any]:
    """Say one order."""
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
        "specimens": [_specimen(one, assessed) for one in assessed.specimens],
        "unassigned": [
            {"id": one.view.id, "file": one.view.path, "reason": one.reason}
            for one in assessed.unassigned
        ],
        "unusable_files": [{"file": fate.path, "why": fate.said} for fate in assessed.lost],
    }


def _specimen(one: AssessedSpecimen, assessed: Assessed) -> dict[str, Any]:
    wanted = assessed.specification
    views = {
        field.view.id: field.view for prepared in one.view.preparations for field in prepared.fields
    }
    old = (*one.facts.earlier, *(field for field in one.facts.fields if field.superseded))
    return {
        "specimen": one.view.name,
        "preparation": one.facts.preparation,
        "conformity": str(one.statement.conformity),
        "specification": wanted.name if wanted else None,
        "specification_version": assessed.version or None,
        "heat": one.view.heat,
        "batch": one.view.batch,
        "bundle": one.view.bundle,
        "fields": [
            _field(field, views[field.id]) for field in one.facts.fields if not field.superseded
        ],
        "superseded": [_field(field, views[field.id]) for field in old],
        "missing": list(one.statement.missing),
        "because": list(one.statement.because),
        "notes": list(one.notes),
    }


def _field(facts: FieldFacts, view: MicrographView) -> dict[str, Any]:
    decided, gone = facts.decided, facts.superseded
    return {
        "id": facts.id,
        "field": facts.name,
        "file": view.path,
        "structure_code": facts.code,
        "prediction_set": list(facts.codes),
        "handling": view.handling,
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
        "area_mm2": facts.area_mm2,
        "bundle": facts.bundle or None,
        "expected": view.expected or None,
        "superseded": gone
        and {
            "reason": gone.reason,
            "by": gone.by,
            "defect": gone.defect or None,
            "lead": gone.lead,
        },
    }
