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

from agent.store.evidence.declaration import ALL, CHANGEABLE, EVIDENCE
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
    from collections.abc import Mapping

    from sqlmodel import Session

    from agent.store.tables import Row

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
    of_micrograph, hints = digest(micrograph)
    of_result, more_hints = digest(result)
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
        document["needles"] = digest(needles)[0]
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def describe_place(session: Session, micrograph: MicrographRow) -> dict[str, Any]:
    """Return the assignment and the keys of a field, as results and assignments store them.

    Args:
        session: Open; the row is flushed.
        micrograph: The field.
    """
    document: dict[str, Any] = {
        "names": {name: value for name in CHANGEABLE if (value := getattr(micrograph, name))}
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
    document["judged"] = {
        name: value for name in EVIDENCE["specimen"].once if (value := getattr(specimen, name))
    }
    return document


def digest(row: Row) -> tuple[str, str]:
    """Return the hash of the filed columns of a row, and the first letters of each column's own.

    Args:
        row: Of a table, as written or as read: both result in the same hash.
    """
    columns = row.__table__.columns  # type: ignore[attr-defined] # SQLModel adds it
    texts = [write_plain(columns[name], getattr(row, name)) for name in list_filed(row)]
    hints = "".join(hashlib.sha256(text.encode()).hexdigest()[:HINT] for text in texts)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest(), hints


def list_filed(row: Row) -> tuple[str, ...]:
    """Return the names of the columns of a row that a result is filed with."""
    table = row.__table__  # type: ignore[attr-defined] # as above
    filed = EVIDENCE[table.name].filed
    if filed != ALL:
        return filed
    names = (column.name for column in table.columns)
    return tuple(name for name in names if name not in {"id", "result_id"})


def find_changed(row: Row, hints: str) -> list[str]:
    """Return the names of the columns that differ from their hints."""
    now = digest(row)[1]
    cut = range(0, len(now), HINT)
    return [
        name
        for name, start in zip(list_filed(row), cut, strict=True)
        if now[start : start + HINT] != hints[start : start + HINT]
    ]


def write_plain(column: Any, value: Any) -> str:
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
    elif isinstance(value, bytes):
        value = hash_landmarks(value)
    elif column.name == "artefacts":
        value = {key: kept for key, kept in value.items() if key != ORIGINAL}
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


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
