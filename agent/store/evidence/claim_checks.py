"""Compare claims on orders, and places that two fields share, with the audit log.

Each keeps an order undecided until a lead decides, so one that is deleted, or settled without an
act, would let the order conform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlmodel import col, select

from agent.store.evidence import audit_log
from agent.store.orders.order_claims import CLAIMED
from agent.store.results.places import FOUND
from agent.store.tables import MicrographRow, OrderClaimRow, OrderRow, SamePlaceRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlmodel import Session

    from agent.store.evidence.audit_log import TrailEntry

ASSIGNED = "field.assigned"


def find_differences(session: Session) -> Iterator[str]:
    """Yield a sentence for each claim and each pair of fields that no act explains."""
    yield from _compare_claims(session)
    yield from _compare_pairs(session)


# --- claims -------------------------------------------------------------------------------------


def _compare_claims(session: Session) -> Iterator[str]:
    left = {entry.facts.get("claim"): entry for entry in audit_log.entries(session, act=CLAIMED)}
    settling = {
        (entry.subject, entry.actor, entry.at)
        for entry in audit_log.entries(session, act=ASSIGNED)
        if entry.facts.get("lead")
    }
    wanted = (
        select(OrderClaimRow, MicrographRow.public_id, OrderRow.number)
        .join(MicrographRow, col(MicrographRow.id) == col(OrderClaimRow.micrograph_id))
        .join(OrderRow, col(OrderRow.id) == col(OrderClaimRow.order_id))
        .order_by(col(OrderClaimRow.id))
        .execution_options(yield_per=500)
    )
    for row, public_id, number in session.exec(wanted):
        entry = left.pop(row.id, None)
        what = f"claim {row.id} of field {public_id} on order {number}"
        if entry is None:
            yield f"{what}: is not in the trail"
        else:
            yield from _compare(what, row, public_id, number, entry)
        if row.settled_by and (public_id, row.settled_by, row.settled_at) not in settling:
            yield f"{what}: that {row.settled_by} settled it is not in the trail"
    for entry in left.values():
        yield (
            f"claim {entry.facts.get('claim')} of field {entry.facts.get('micrograph')} on order "
            f"{entry.subject} (trail number {entry.id}) was deleted"
        )


def _compare(
    what: str, row: OrderClaimRow, public_id: str, number: str, entry: TrailEntry
) -> Iterator[str]:
    was = {"order": entry.subject, "at": entry.at}
    was |= {name: entry.facts.get(name) for name in ("micrograph", "specimen", "origin", "file")}
    now = {"order": number, "at": row.at, "micrograph": public_id}
    now |= {"specimen": row.specimen, "origin": row.origin, "file": row.file}
    for name, value in was.items():
        if now[name] != value:
            yield f"{what}: {name} was {value!r} (trail number {entry.id}), is {now[name]!r}"


# --- places -------------------------------------------------------------------------------------


def _compare_pairs(session: Session) -> Iterator[str]:
    left = {
        frozenset((entry.subject, str(entry.facts.get("other")))): entry
        for entry in audit_log.entries(session, act=FOUND)
    }
    names = dict(session.exec(select(MicrographRow.id, MicrographRow.public_id)).all())
    wanted = select(SamePlaceRow).order_by(col(SamePlaceRow.id))
    for row in session.exec(wanted.execution_options(yield_per=500)):
        pair = frozenset((names.get(row.micrograph_id, ""), names.get(row.other_id, "")))
        entry = left.pop(pair, None)
        what = f"place of {' and '.join(sorted(pair))}"
        if entry is None:
            yield f"{what}: that they show one place is not in the trail"
            continue
        now = {"share": row.share, "area_px": row.area_px, "sha256": audit_log.sha256_of(row.facts)}
        for name, value in now.items():
            if entry.facts.get(name) != value:
                called = "how they lie on each other" if name == "sha256" else name
                yield f"{what}: {called} was changed (trail number {entry.id})"
    for pair, entry in left.items():
        yield (
            f"place of {' and '.join(sorted(pair))}: that they show one place (trail number "
            f"{entry.id}) was deleted"
        )
