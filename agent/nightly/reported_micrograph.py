"""Build the reported facts of a micrograph and of its decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.nightly.reported_needles import build_reported_needles
from agent.nightly.snapshot import ReportedDecision, ReportedMicrograph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.nightly.reported_needles import ReportedNeedles
    from agent.store import LabelView, MicrographView, Store


def build_reported_micrograph(
    view: MicrographView, needles: ReportedNeedles | None = None
) -> ReportedMicrograph:
    """Return the reported facts of a micrograph.

    Args:
        view: The store's view of it.
        needles: Those measured with its result, or None.
    """
    cropped, strange = view.crop_facts, view.strangeness
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
        polygon=cropped.polygon,
        marks=(cropped.micron_bar.box,) if cropped.micron_bar else (),
        scales=cropped.scales,
        recipe=view.recipe,
        warnings=(
            *view.warnings,
            *(f"input_defect:{defect}" for defect in strange.defects),
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
        p_value=strange.p_value,
        strange=strange.is_flagged,
        where=strange.where,
        strangeness=strange.sentence,
        nearest=dict(strange.nearest),
        handling=view.handling,
        reasons=view.reasons,
        thresholds=dict(view.thresholds),
        bundle=view.bundle,
        engine=view.engine,
        precision=view.precision,
        decision=build_reported_decision(view.label) if view.label else None,
        ordered=tuple(view.expected.get("subtypes") or ()),
        outside=str(view.expected.get("outside") or ""),
        strangeness_message=strange.message or None,
        outside_message=view.outside,
        needles_conflict=view.needles_conflict or None,
        needles=needles,
    )


def load_reported_needles(
    store: Store, views: Sequence[MicrographView]
) -> dict[int, ReportedNeedles]:
    """Return the needles of micrographs by the number of their result, without limits."""
    stored = store.needle_fields.list_of([view.result_id for view in views])
    return {number: build_reported_needles(field) for number, field in stored.items()}


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
