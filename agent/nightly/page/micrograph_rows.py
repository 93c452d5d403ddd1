"""Build rows of micrographs for other programs: the night's CSV, `agent export`, the page's JSON.

The integers `size_min` and `size_max` are next to the code, since a spreadsheet reads "9-10" as a
date.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import reports
from agent.files.csv_export import format_csv
from agent.nightly.page.hidden_answers import hide_answer
from agent.settings import PROCESS_COLUMNS
from agent.site_time import local

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent.needles import NeedleField
    from agent.nightly.facts.snapshot import NightFacts
    from agent.store import MicrographView

NEEDLE_COLUMNS = (
    "needles_status",
    "needles_calibration",
    "needles",
    "needle_l50_um",
    "needle_l90_um",
    "needle_l99_um",
    "needle_longest_um",
)
"""Needle lengths, a trial; empty where nothing was to be measured."""
NOT_CALIBRATED = "not calibrated here"

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
    *NEEDLE_COLUMNS,
)

IN_THE_PAGE = tuple(name for name in COLUMNS if name not in ("sha256", "page", "done_local"))
"""The first two follow from the public id, the third from `done_at`."""
MOST_IN_THE_PAGE = 10_000


def build_record(micrograph: MicrographView, zone: str) -> dict[str, object]:
    """Return one micrograph as a row: column → value, None where there is none.

    Args:
        micrograph: The micrograph.
        zone: Time zone of the site, for the column `done_local`.
    """
    result = micrograph.result
    decision = micrograph.label
    return {
        "id": micrograph.id,
        "sha256": micrograph.sha256,
        "page": micrograph.page,
        "file": micrograph.path,
        "source": micrograph.source,
        "done_at": result.done_at.astimezone(UTC).isoformat(timespec="seconds"),
        "done_local": local(result.done_at, zone),
        "structure_code": result.structure_code,
        "subtype": result.subtype,
        "size": result.size,
        "size_min": result.size_min,
        "size_max": result.size_max,
        "probability": result.probability,
        "prediction_set": "|".join(result.prediction_set),
        "p_value": result.strangeness.p_value,
        "strange": result.strangeness.is_flagged,
        "handling": result.handling,
        "reasons": "|".join(result.reasons),
        "um_per_px": micrograph.um_per_px,
        "um_per_px_source": micrograph.um_per_px_source,
        "warnings": "|".join(_list_warnings(micrograph)),
        "bundle": result.bundle,
        "engine": result.engine,
        "precision": result.precision,
        "decision": reports.describe_decision(decision) if decision else None,
        "decided_by": decision.by if decision else None,
        "decided_at": decision.at.astimezone(UTC).isoformat(timespec="seconds")
        if decision
        else None,
        **micrograph.process_data,
        **_build_needles(micrograph.needles),
    }


def _list_warnings(micrograph: MicrographView) -> tuple[str, ...]:
    defects = (f"input_defect:{defect}" for defect in micrograph.result.strangeness.defects)
    return (*micrograph.warnings, *defects)


def _build_needles(needles: NeedleField | None) -> dict[str, object]:
    if needles is None:
        return dict.fromkeys(NEEDLE_COLUMNS)
    is_measured = needles.l90_um is not None
    return {
        "needles_status": needles.reason or needles.status.value,
        "needles_calibration": needles.calibration or NOT_CALIBRATED,
        "needles": needles.needles if is_measured else None,
        "needle_l50_um": needles.l50_um,
        "needle_l90_um": needles.l90_um,
        "needle_l99_um": needles.l99_um,
        "needle_longest_um": needles.maximum_um,
    }


def records_to_csv(records: Iterable[Mapping[str, object]]) -> str:
    """Return rows of `build_record` as CSV that a spreadsheet neither runs nor misreads."""
    return format_csv(COLUMNS, records)


def night_to_json(facts: NightFacts) -> dict[str, object]:
    """Return a night as its page carries it for programs: JSON, in English, in few bytes."""
    shown = facts.micrographs[:MOST_IN_THE_PAGE]
    with reports.speaking("en"):
        records = [build_record(hide_answer(micrograph), facts.zone) for micrograph in shown]
    return {
        "site": facts.site,
        "night": facts.night.isoformat(),
        "after": facts.after.astimezone(UTC).isoformat(),
        "until": facts.until.astimezone(UTC).isoformat(),
        "taken": facts.summary.taken,
        "review": facts.summary.review,
        "unusable": [
            [file.path, file.source, file.state, file.known_code] for file in facts.unusable
        ],
        "micrographs": compact_records(records),
        "left_out": len(facts.micrographs) - len(shown),
    }


def compact_records(records: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Return rows of `build_record` in few bytes.

    Returns:
        `same`: column → the value that all rows have, where they have one.
        `columns` and `rows`: the columns that differ, and their values.
    """
    columns = {name: [record.get(name) for record in records] for name in IN_THE_PAGE}
    differing = [
        name for name, values in columns.items() if any(value != values[0] for value in values)
    ]
    same = {name: values[0] for name, values in columns.items() if values and name not in differing}
    return {
        "same": {name: value for name, value in same.items() if value is not None},
        "columns": differing,
        "rows": list(zip(*(columns[name] for name in differing), strict=True)),
    }
