"""Describe an imported micrograph differently: its process data, such as the specimen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.settings import PROCESS_COLUMNS
from agent.store.evidence import audit_log
from agent.store.people import labels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.repository import AgentIdentity

ACT = "micrograph.described"


def describe(
    session: Session,
    whose: AgentIdentity,
    public_id: str,
    process_data: Mapping[str, str],
    *,
    by: str,
    at: datetime,
) -> None:
    """Replace some process data of an imported micrograph; what was before is in the audit log.

    Args:
        session: Open for writing.
        whose: Site and agent.
        public_id: Of the micrograph.
        process_data: Column → new value; columns that are not named stay.
        by: Who.
        at: Now.

    Raises:
        WrongUse: No such micrograph, or it was not imported, or it belongs to an order's specimen.
    """
    row = labels.micrograph_of(session, public_id)
    if row.origin != "import" or row.specimen_id is not None:
        raise WrongUse(
            f"{public_id} belongs to an order or was not imported; a lead changes its place: "
            "agent orders assign."
        )
    columns = {name: text for name, text in process_data.items() if name in PROCESS_COLUMNS}
    extra = {name: text for name, text in process_data.items() if name not in PROCESS_COLUMNS}
    before = {name: getattr(row, name) for name in columns}
    before |= {name: row.process_extra.get(name, "") for name in extra}
    for name, text in columns.items():
        setattr(row, name, text)
    row.process_extra = {**row.process_extra, **extra}
    session.add(row)
    audit_log.append(
        session,
        whose.site_id,
        at=at,
        actor=by,
        act=ACT,
        subject=public_id,
        facts={"before": before, "after": dict(process_data)},
    )
