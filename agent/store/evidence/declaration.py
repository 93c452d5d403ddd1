"""What each table of evidence fixes, declared once: guards, filing, seals and checks read it.

A migration that adds a table of evidence adds one entry to `EVIDENCE`, no SQL.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EvidenceTable:
    """What is evidence in a table. Its rows are never deleted.

    Attributes:
        table: Name of the table, whose first column is its primary key.
        fixed: Columns that never change; None: all of them.
        once: Columns that are filled once and then never change.
        filed: Columns whose hash a result is filed with, in this sequence; None: all but the row's
            number and its result's.
    """

    table: str
    fixed: tuple[str, ...] | None = None
    once: tuple[str, ...] = ()
    filed: tuple[str, ...] | None = ()


_MICROGRAPH = (
    *("public_id", "sha256", "page", "relative", "origin", "taken_at", "width", "height"),
    *("um_per_px", "um_per_px_source", "recipe", "crop_facts", "warnings", "area_mm2", "plant"),
    *("microscope", "objective", "magnification", "operator", "process_extra", "site_id"),
)
_RESULT = (
    *("micrograph_id", "site_id", "bundle", "recipe", "role", "origin", "done_at", "subtype"),
    *("subtype_probabilities", "size", "size_min", "size_max", "size_probabilities"),
    *("structure_code", "probability", "probabilities", "prediction_set", "coarser_share"),
    *("p_value", "strangeness", "thresholds", "expected", "engine", "precision", "after_record"),
)
_TIPS = ("start_x", "start_y", "end_x", "end_y")

EVIDENCE = {
    evidence.table: evidence
    for evidence in (
        EvidenceTable("trail"),
        EvidenceTable("label"),
        EvidenceTable("record"),
        EvidenceTable("promotion"),
        EvidenceTable("specification"),
        EvidenceTable("night"),
        EvidenceTable("rating"),
        EvidenceTable("measurement"),
        EvidenceTable("needle_field", filed=None),
        EvidenceTable(
            "needle_measurement",
            fixed=("site_id", "micrograph_id", *_TIPS, "um_per_px", "length_um", "by", "at"),
            once=("withdrawn_by", "withdrawn_at"),
        ),
        EvidenceTable("statement"),
        EvidenceTable("statement_file"),
        EvidenceTable("order", fixed=("site_id", "number", "first_seen_at")),
        EvidenceTable(
            "specimen",
            fixed=("site_id", "order_id", "name", "first_seen_at"),
            once=("bundle", "heat", "batch", "material"),
        ),
        EvidenceTable("preparation", fixed=("specimen_id", "name", "first_seen_at", "replaces")),
        # Pruning and process data change what else a micrograph holds, by acts.
        EvidenceTable(
            "micrograph", fixed=(*_MICROGRAPH, "source_id"), filed=(*_MICROGRAPH, "artefacts")
        ),
        EvidenceTable("result", fixed=_RESULT, once=("filed",), filed=_RESULT),
        EvidenceTable(
            "place", fixed=("micrograph_id", "site_id", "landmarks"), once=("compared_at",)
        ),
        EvidenceTable("source", fixed=("site_id", "name")),
        EvidenceTable(
            "same_place",
            fixed=("site_id", "micrograph_id", "other_id", "share", "area_px", "facts", "found_at"),
        ),
        EvidenceTable(
            "order_claim",
            fixed=("site_id", "micrograph_id", "order_id", "specimen", "origin", "file", "at"),
            once=("settled_by", "settled_reason", "settled_at"),
        ),
        EvidenceTable("account", fixed=("name", "kind", "created_at")),
        EvidenceTable(
            "login", fixed=("site_id", "sha256", "account_id", "began_at"), once=("ended_at",)
        ),
        EvidenceTable("campaign", fixed=("site_id", "name", "seed", "by", "created_at")),
        EvidenceTable(
            "campaign_image", fixed=("campaign_id", "number", "micrograph_id", "reference")
        ),
        EvidenceTable("campaign_rater", fixed=("campaign_id", "pseudonym", "name")),
    )
}
"""Name of each table of evidence → what it fixes."""
