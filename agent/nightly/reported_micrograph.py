"""Build the reported facts of a micrograph and of its decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.nightly.snapshot import ReportedDecision, ReportedMicrograph
from reports import read_message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.store import LabelView, MicrographView


def build_reported_micrograph(view: MicrographView) -> ReportedMicrograph:
    """Return the reported facts of a micrograph, from the store's view of it."""
    facts, strange = view.crop_facts, view.strangeness
    area = facts.get("specimen_area") or {}
    bar, where = facts.get("micron_bar"), strange.get("where")
    return ReportedMicrograph(
        id=view.id,
        sha256=view.sha256,
        page=view.page,
        path=view.path,
        source=view.source,
        done_at=view.done_at,
        width=view.width,
        height=view.height,
        um_per_px=view.um_per_px,
        um_per_px_source=view.um_per_px_source,
        crop=view.crop,
        polygon=() if area.get("whole_frame", True) else _corners(area.get("polygon")),
        marks=(_box(bar["bbox"]),) if bar else (),
        scales=tuple((s["source"], float(s["um_per_px"])) for s in facts.get("scales") or ()),
        recipe=view.recipe,
        warnings=(
            *view.warnings,
            *(f"input_defect:{defect}" for defect in strange.get("defects", ())),
        ),
        process_data=dict(view.process_data),
        process_extra={str(key): str(value) for key, value in view.process_extra.items()},
        subtype=view.subtype,
        subtype_probabilities=dict(view.subtype_probabilities),
        size=view.size,
        size_min=view.size_min,
        size_max=view.size_max,
        size_probabilities=dict(view.size_probabilities),
        structure_code=view.structure_code,
        probability=view.probability,
        probabilities=dict(view.probabilities),
        prediction_set=view.prediction_set,
        p_value=strange.get("p_value"),
        strange=bool(strange.get("flagged", False)),
        where=_box(where) if where else None,
        strangeness=str(strange.get("sentence", "")),
        nearest={code: tuple(keys) for code, keys in (strange.get("nearest") or {}).items()},
        handling=view.handling,
        reasons=view.reasons,
        thresholds=dict(view.thresholds),
        bundle=view.bundle,
        engine=view.engine,
        precision=view.precision,
        decision=build_reported_decision(view.label) if view.label else None,
        ordered=tuple(view.expected.get("subtypes") or ()),
        outside=str(view.expected.get("outside") or ""),
        strangeness_message=read_message(strange.get("message"), str(strange.get("sentence", ""))),
        outside_message=view.outside,
    )


def build_reported_decision(label: LabelView) -> ReportedDecision:
    """Return a reviewer's decision as reports and pages state it."""
    return ReportedDecision(
        kind=label.kind,
        code=label.code,
        strange_kind=label.strange_kind,
        why=label.why,
        criterion=label.criterion,
        unsure=label.unsure,
        comment=label.comment,
        by=label.by,
        at=label.at,
        undone=label.undone,
    )


def _corners(polygon: Iterable[Iterable[int]] | None) -> tuple[tuple[int, int], ...]:
    return tuple((int(x), int(y)) for x, y in polygon or ())


def _box(edges: Iterable[int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (int(edge) for edge in edges)
    return x0, y0, x1, y1
