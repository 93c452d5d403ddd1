"""Describe an imported micrograph differently: its process data, such as the specimen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.store.evidence import audit_log
from agent.store.evidence.declaration import CHANGEABLE
from agent.store.people import labels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.engine import AgentIdentity

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
        process_data: Column → new value, of `CHANGEABLE`; columns that are not named stay.
        by: Who.
        at: Now.

    Raises:
        WrongUse: No such micrograph, or it was not imported, or it belongs to an order's specimen,
            or a column never changes.
    """
    row = labels.micrograph_of(session, public_id)
    if row.origin != "import" or row.specimen_id is not None:
        raise WrongUse(
            f"{public_id} belongs to an order or was not imported; a lead changes its place: "
            "agent orders assign."
        )
    if fixed := sorted(process_data.keys() - {*CHANGEABLE}):
        raise WrongUse(
            f"{public_id}: {', '.join(fixed)} never changes once an image is filed; what may be "
            f"replaced is {', '.join(CHANGEABLE)}."
        )
    before = {name: getattr(row, name) for name in process_data}
    for name, text in process_data.items():
        setattr(row, name, text)
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
