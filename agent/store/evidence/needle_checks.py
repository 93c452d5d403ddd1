"""Compare the needles that reviewers measured with the audit log: calibrations rest on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.store.evidence import audit_log
from agent.store.results.needle_measurements import MEASURED, TIPS, WITHDRAWN
from agent.store.tables import MicrographRow, NeedleMeasurementRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlmodel import Session

    from agent.store.evidence.audit_log import TrailEntry


def find_differences(session: Session) -> Iterator[str]:
    """Yield a sentence for each measured needle that is not as the audit log has it."""
    left = {entry.facts.get("needle"): entry for entry in audit_log.entries(session, act=MEASURED)}
    withdrawn = {
        entry.facts.get("needle"): entry for entry in audit_log.entries(session, act=WITHDRAWN)
    }
    wanted = (
        select(NeedleMeasurementRow, MicrographRow.public_id)
        .join(MicrographRow, col(MicrographRow.id) == col(NeedleMeasurementRow.micrograph_id))
        .order_by(col(NeedleMeasurementRow.id))
        .execution_options(yield_per=500)
    )
    for row, public_id in session.exec(wanted):
        entry, what = left.pop(row.id, None), f"needle {row.id} of field {public_id}"
        if entry is None:
            yield f"{what}: by {row.by} is not in the trail"
            continue
        if _describe(row, public_id) != _describe_act(entry):
            yield f"{what}: is not what it was (trail number {entry.id})"
        act = withdrawn.pop(row.id, None)
        if (row.withdrawn_by, row.withdrawn_at) != ((act.actor, act.at) if act else ("", None)):
            state = "withdrawn" if row.withdrawn_by else "not withdrawn"
            yield f"{what}: that it is {state} is not in the trail"
    for number, entry in left.items():
        yield (f"needle {number} of field {entry.subject} (trail number {entry.id}) was deleted")


def _describe(row: NeedleMeasurementRow, public_id: str) -> dict[str, Any]:
    names = (*TIPS, "um_per_px", "length_um", "by", "at")
    return {name: getattr(row, name) for name in names} | {"field": public_id}


def _describe_act(entry: TrailEntry) -> dict[str, Any]:
    names = (*TIPS, "um_per_px", "length_um")
    values = {name: entry.facts.get(name) for name in names}
    return values | {"by": entry.actor, "at": entry.at, "field": entry.subject}
