"""Say micrographs as rows for other programs: the columns of the night's CSV and of `agent export`.

In:  `Seen` facts. Out: rows, and CSV text that a spreadsheet neither runs nor misreads.
Sizes stand as the integers `size_min` and `size_max` beside the code, since a spreadsheet takes
"9-10" for a date.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from agent import sheet
from agent.night.cards import said_of
from agent.night.period import local
from agent.settings import PROCESS_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.night.facts import Seen

COLUMNS = (
    "id",
    "sha256",
    "page",
    "file",
    "source",
    "done_at",
    "done_local",
    "structure_code",
    "subtype",
    "size",
    "size_min",
    "size_max",
    "probability",
    "prediction_set",
    "p_value",
    "strange",
    "handling",
    "reasons",
    "um_per_px",
    "um_per_px_source",
    "warnings",
    "bundle",
    "engine",
    "precision",
    "decision",
    "decided_by",
    "decided_at",
    *PROCESS_COLUMNS,
)


def record_of(seen: Seen, zone: str) -> dict[str, object]:
    """Say one micrograph as a row: column → value, None where there is none.

    Args:
        seen: What is known of it.
        zone: Time zone of the site, for the one column that a person reads.
    """
    said = seen.decision
    return {
        "id": seen.id,
        "sha256": seen.sha256,
        "page": seen.page,
        "file": seen.path,
        "source": seen.source,
        "done_at": seen.done_at.astimezone(UTC).isoformat(timespec="seconds"),
        "done_local": local(seen.done_at, zone),
        "structure_code": seen.structure_code,
        "subtype": seen.subtype,
        "size": seen.size,
        "size_min": seen.size_min,
        "size_max": seen.size_max,
        "probability": seen.probability,
        "prediction_set": "|".join(seen.prediction_set),
        "p_value": seen.p_value,
        "strange": seen.strange,
        "handling": seen.handling,
        "reasons": "|".join(seen.reasons),
        "um_per_px": seen.um_per_px,
        "um_per_px_source": seen.um_per_px_source,
        "warnings": "|".join(seen.warnings),
        "bundle": seen.bundle,
        "engine": seen.engine,
        "precision": seen.precision,
        "decision": said_of(said) if said else None,
        "decided_by": said.by if said else None,
        "decided_at": said.at.astimezone(UTC).isoformat(timespec="seconds") if said else None,
        **seen.process_data,
    }


def csv_of(records: Iterable[Mapping[str, object]]) -> str:
    """Write rows of `record_of` as CSV."""
    return sheet.csv_of(COLUMNS, records)
