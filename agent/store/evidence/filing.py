"""Hashes of what a field was filed with: stored with each result, and sealed into the audit log.

A result stores hashes of the values that determine it and its micrograph, written in the
transaction that files both. Seals of the audit log contain a hash over those of many results, so
that a recomputed one is named by the next comparison.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Float, Integer

from agent.store.tables import (
    MicrographRow,
    NeedleFieldRow,
    OrderRow,
    PlaceRow,
    PreparationRow,
    ResultRow,
    SourceRow,
    SpecimenRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlmodel import Session

    from agent.store.tables import Row

OF_MICROGRAPH = (
    *("public_id", "sha256", "page", "relative", "origin", "taken_at", "width", "height"),
    *("um_per_px", "um_per_px_source", "recipe", "crop_facts", "warnings", "artefacts"),
    *("area_mm2", "plant", "microscope", "objective", "magnification", "operator"),
    *("process_extra", "site_id"),
)
"""Columns of a micrograph that never change once it is filed."""
OF_RESULT = (
    *("micrograph_id", "site_id", "bundle", "recipe", "role", "origin", "done_at", "subtype"),
    *("subtype_probabilities", "size", "size_min", "size_max", "size_probabilities"),
    *("structure_code", "probability", "probabilities", "prediction_set", "coarser_share"),
    *("p_value", "strangeness", "thresholds", "expected", "engine", "precision", "after_record"),
)
"""Columns of a result that never change."""
OF_NEEDLES = (
    *("site_id", "status", "reason", "network", "calibration", "pixel_um", "area_um2"),
    *("structure_share", "measured_share", "needles", "l50_um", "l90_um", "l99_um"),
    *("l50_number_um", "l90_number_um", "l99_number_um", "maximum_um", "anisotropy"),
    *("heterogeneity", "intercept_um", "expected_l50_um", "expected_error", "longest"),
    *("orientation", "histogram"),
)
"""Columns of the needles that were measured with a result; none of them ever changes."""
MOVED = ("order", "specimen", "preparation", "field", "heat", "batch", "material", "etchant")
"""Columns of a micrograph that an assignment changes."""
OF_SPECIMEN = ("bundle", "heat", "batch", "material")
"""Columns of a specimen that its first fields fill, once."""
ORIGINAL = "original"
"""Key of artefacts that pruning changes."""
AFTER = "after"
"""Key of an assignment's facts: the field's specimen since then, and its own keys."""
REPLACED = "result.replaced"
"""Act of a live result that counts from then on in the place of another one of its field."""
HINT = 4
"""Letters of a column's own hash: they only show which column differs."""


def describe(
    session: Session,
    result: ResultRow,
    micrograph: MicrographRow,
    needles: NeedleFieldRow | None = None,
) -> str:
    """Return what a result is filed with, as stored in its column `filed`.

    Args:
        session: Open; both rows are flushed.
        result: Just written.
        micrograph: That it is of.
        needles: Those measured with it, or None.
    """
    source = session.get(SourceRow, micrograph.source_id)
    place = session.get(PlaceRow, micrograph.id)
    of_micrograph, hints = digest(micrograph, OF_MICROGRAPH)
    of_result, more_hints = digest(result, OF_RESULT)
    document: dict[str, Any] = {
        "micrograph": of_micrograph,
        "result": of_result,
        "hints": hints + more_hints,
        "source": source.name if source else "",
        "handling": result.handling,
        "reasons": list(result.reasons),
        **describe_place(session, micrograph),
    }
    if micrograph.unassigned:
        document["unassigned"] = micrograph.unassigned
    if place is not None:
        document["landmarks"] = hash_landmarks(place.landmarks)
    if needles is not None:
        document["needles"] = digest(needles, OF_NEEDLES)[0]
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def describe_place(session: Session, micrograph: MicrographRow) -> dict[str, Any]:
    """Return the assignment and the keys of a field, as results and assignments store them.

    Args:
        session: Open; the row is flushed.
        micrograph: The field.
    """
    document: dict[str, Any] = {
        "names": {name: value for name in MOVED if (value := getattr(micrograph, name))}
    }
    if micrograph.specimen_id is None:
        return document
    specimen = session.get_one(SpecimenRow, micrograph.specimen_id)
    order = session.get_one(OrderRow, specimen.order_id)
    preparation = (
        session.get(PreparationRow, micrograph.preparation_id)
        if micrograph.preparation_id
        else None
    )
    document["place"] = [order.number, specimen.name, preparation.name if preparation else ""]
    document["judged"] = {name: value for name in OF_SPECIMEN if (value := getattr(specimen, name))}
    return document


def digest(row: Row, columns: Sequence[str]) -> tuple[str, str]:
    """Return the hash of some columns of a row, and the first letters of each column's own.

    Args:
        row: Of a table, as written or as read: both result in the same hash.
        columns: Their names, in this sequence.
    """
    table = row.__table__.columns  # type: ignore[attr-defined] # SQLModel adds it
    texts = [_plain(table[name], name, getattr(row, name)) for name in columns]
    hints = "".join(hashlib.sha256(text.encode()).hexdigest()[:HINT] for text in texts)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest(), hints


def find_changed(row: Row, columns: Sequence[str], hints: str) -> list[str]:
    """Return the names of the columns that differ from their hints."""
    now = digest(row, columns)[1]
    cut = range(0, len(now), HINT)
    return [
        name
        for name, start in zip(columns, cut, strict=True)
        if now[start : start + HINT] != hints[start : start + HINT]
    ]


def _plain(column: Any, name: str, value: Any) -> str:
    """Return a value as text that is the same before it is stored and after it is read."""
    if value is None:
        return "null"
    if hasattr(value, "timestamp"):
        value = round(value.timestamp() * 1_000_000)
    elif isinstance(column.type, Boolean):
        value = bool(value)
    elif isinstance(column.type, Float):
        value = float(value)
    elif isinstance(column.type, Integer):
        value = int(value)
    elif name == "artefacts":
        value = {key: kept for key, kept in value.items() if key != ORIGINAL}
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def hash_landmarks(landmarks: bytes | None) -> str:
    """Return the hash of landmarks, "" where there are none."""
    return hashlib.sha256(landmarks).hexdigest() if landmarks else ""


def read(filed: str) -> Mapping[str, Any]:
    """Return what `describe` wrote, {} where it cannot be read."""
    try:
        document = json.loads(filed)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
