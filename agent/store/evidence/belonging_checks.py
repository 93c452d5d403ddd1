"""Compare assignments of fields and requirements of orders with the audit log and the statements.

A field is moved by an act alone, and an order list changes requirements by an act alone: a row that
differs from the newest act, or from a statement where there was none, was changed without one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.store.evidence import audit_log
from agent.store.numbers import number_key
from agent.store.orders import order_lists
from agent.store.tables import (
    MicrographRow,
    OrderRow,
    PreparationRow,
    SiteRow,
    SpecimenRow,
    StatementRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlmodel import Session

    from agent.store.evidence.audit_log import TrailEntry

HOLDS = {"order.held": True, "order.released": False}
MOVED = ("field.assigned", "field.unassigned")
LISTED, AMENDED, PREPARED_AGAIN = "order.listed", "order.amended", "specimen.prepared_again"
DEMANDS = (*order_lists.COLUMNS, *order_lists.FACTS, "specimens", "count")
"""Values of an order list that the assessment of an order uses."""
SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class _Place:
    """Assignment of a field; all values are "" where it is unassigned."""

    order: str = ""
    specimen: str = ""
    preparation: str = ""

    def __str__(self) -> str:
        if not self.order:
            return "no order"
        named = f"order {self.order}, specimen {self.specimen}"
        return f"{named}, preparation {self.preparation}" if self.preparation else named

    def is_at(self, other: _Place) -> bool:
        """Return whether a row is at this place; a preparation that is not named matches any."""
        if self.preparation and self.preparation != other.preparation:
            return False
        mine, theirs = (self.order, self.specimen), (other.order, other.specimen)
        return mine == theirs or [*map(number_key, mine)] == [*map(number_key, theirs)]


@dataclass(slots=True)
class _Requirements:
    """Requirements of an order from lists and leads.

    Attributes:
        values: Requirement → its value.
        late: Keys that a list named late and no lead decided about.
    """

    values: dict[str, Any] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _AuditedValues:
    """Contents of the audit log.

    Attributes:
        moved: Id of a field → the newest act that moved it.
        held: Site and number of an order → whether it is on legal hold.
        demanded: Site and number of an order → its requirements.
        prepared: Site and "order/specimen" → the acts that began another preparation.
    """

    moved: dict[str, TrailEntry] = field(default_factory=dict)
    held: dict[tuple[str, str], bool] = field(default_factory=dict)
    demanded: dict[tuple[str, str], _Requirements] = field(
        default_factory=lambda: defaultdict(_Requirements)
    )
    prepared: dict[tuple[str, str], list[dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(list)
    )


def find_differences(session: Session) -> Iterator[str]:
    """Yield a sentence for each field, order and preparation that no act explains."""
    log = _gather(session)
    yield from _compare_fields(session, log)
    yield from _compare_orders(session, log)
    yield from _compare_preparations(session, log)


def _gather(session: Session) -> _AuditedValues:
    log = _AuditedValues()
    for entry in audit_log.entries(session):
        facts = entry.facts
        if entry.act in MOVED:
            log.moved[entry.subject] = entry
        elif entry.act in HOLDS:
            for spelling in (entry.subject, number_key(entry.subject)):  # earlier acts: as typed
                log.held[entry.site, spelling] = HOLDS[entry.act]
        elif entry.act == LISTED:
            _add_list(log.demanded[entry.site, entry.subject], facts)
        elif entry.act == AMENDED:
            _amend(log.demanded[entry.site, entry.subject], facts)
        elif entry.act == PREPARED_AGAIN:
            own = {
                key: v for key, v in facts.items() if key not in {"preparation", audit_log.SIGNED}
            }
            log.prepared[entry.site, entry.subject].append(own)
    return log


def _add_list(demanded: _Requirements, facts: Mapping[str, Any]) -> None:
    demanded.values |= {what: facts[what][1] for what in DEMANDS if what in facts}
    if order_lists.LATE in facts:
        demanded.late = list(facts[order_lists.LATE][1] or ())


def _amend(demanded: _Requirements, facts: Mapping[str, Any]) -> None:
    if facts.get("accepted"):
        changes = facts.get("changes") or {}
        demanded.values |= {
            what: change["to"] for what, change in changes.items() if "to" in change
        }
    else:
        demanded.values |= dict.fromkeys(demanded.late, None)
    demanded.late = []


# --- fields -------------------------------------------------------------------------------------


def _compare_fields(session: Session, log: _AuditedValues) -> Iterator[str]:
    places = _load_places(session)
    for public_id, entry in log.moved.items():
        place = places.get(public_id)
        if place is None:
            yield f"field {public_id} (trail number {entry.id}) was deleted"
            continue
        wanted = _get_target(entry)
        if not wanted.is_at(place):
            yield (
                f"field {public_id}: it belonged to {wanted} ({entry.act} by {entry.actor}, trail "
                f"number {entry.id}), is at {place}"
            )
    yield from _compare_statements(session, places, log)


def _get_target(entry: TrailEntry) -> _Place:
    if entry.act != "field.assigned":
        return _Place()
    now = entry.facts.get("now") or {}
    return _Place(*(str(now.get(name) or "") for name in ("order", "specimen", "preparation")))


def _load_places(session: Session) -> dict[str, _Place]:
    query = (
        select(MicrographRow.public_id, OrderRow.number, SpecimenRow.name, PreparationRow.name)
        .outerjoin(SpecimenRow, col(SpecimenRow.id) == col(MicrographRow.specimen_id))
        .outerjoin(OrderRow, col(OrderRow.id) == col(SpecimenRow.order_id))
        .outerjoin(PreparationRow, col(PreparationRow.id) == col(MicrographRow.preparation_id))
        .execution_options(yield_per=500)
    )
    return {
        public_id: _Place(order or "", specimen or "", preparation or "")
        for public_id, order, specimen, preparation in session.exec(query)
    }


def _compare_statements(
    session: Session, places: Mapping[str, _Place], log: _AuditedValues
) -> Iterator[str]:
    """Yield fields that no act moved and that are not where a statement has them."""
    query = (
        select(StatementRow.number, StatementRow.document)
        .order_by(col(StatementRow.id))
        .execution_options(yield_per=20)
    )
    named: set[str] = set()
    for number, text in session.exec(query):
        for public_id, stated in _iter_places(text):
            place = places.get(public_id)
            if public_id in log.moved or public_id in named or place is None:
                continue
            if not stated.is_at(place):
                named.add(public_id)
                yield (
                    f"field {public_id}: it belonged to {stated} (statement {number} of order "
                    f"{stated.order}), is at {place}, and no act moved it"
                )


def _iter_places(text: str) -> Iterator[tuple[str, _Place]]:
    try:
        document = json.loads(text).get("document") or {}
        for specimen in document.get("specimens", ()):
            at = (str(document["order"]), str(specimen["specimen"]))
            for listed in specimen.get("fields", ()):
                yield str(listed["id"]), _Place(*at, str(specimen.get("preparation") or ""))
            for listed in specimen.get(SUPERSEDED, ()):
                yield str(listed["id"]), _Place(*at)
    except (ValueError, AttributeError, TypeError, KeyError):
        return  # the statement itself was changed, which its hash shows


# --- orders -------------------------------------------------------------------------------------


def _compare_orders(session: Session, log: _AuditedValues) -> Iterator[str]:
    sites = dict(session.exec(select(SiteRow.id, SiteRow.name)).all())
    wanted = select(OrderRow).order_by(col(OrderRow.id)).execution_options(yield_per=500)
    for row in session.exec(wanted):
        key = (sites.get(row.site_id, ""), row.number)
        typed = log.held.get((key[0], number_key(row.number)), False)
        if row.legal_hold != (was_held := log.held.get(key, typed)):
            yield f"order {row.number}: legal_hold was {was_held} by the trail, is {row.legal_hold}"
        demanded = log.demanded.get(key, _Requirements())
        for what in DEMANDS:
            was = demanded.values.get(what) or None
            now = (
                getattr(row, what) if what in order_lists.COLUMNS else row.facts.get(what)
            ) or None
            if was != now:
                yield f"order {row.number}: {what} was {was!r} by the trail, is {now!r}"
        late = list(row.facts.get(order_lists.LATE) or ())
        if late != demanded.late:
            yield f"order {row.number}: {demanded.late} waited for a lead by the trail, now {late}"


def _compare_preparations(session: Session, log: _AuditedValues) -> Iterator[str]:
    sites = dict(session.exec(select(SiteRow.id, SiteRow.name)).all())
    query = (
        select(PreparationRow, SpecimenRow.name, OrderRow.number, OrderRow.site_id)
        .join(SpecimenRow, col(SpecimenRow.id) == col(PreparationRow.specimen_id))
        .join(OrderRow, col(OrderRow.id) == col(SpecimenRow.order_id))
        .order_by(col(PreparationRow.id))
        .execution_options(yield_per=500)
    )
    left = {key: list(acts) for key, acts in log.prepared.items()}
    for row, specimen, number, site_id in session.exec(query):
        superseded = row.facts.get(SUPERSEDED)
        if not superseded:
            continue
        acts = left.get((sites.get(site_id, ""), f"{number}/{specimen}"), [])
        if superseded in acts:
            acts.remove(superseded)
        else:
            yield (
                f"preparation {row.name} of order {number}, specimen {specimen}: that it is "
                f"superseded by {superseded.get('by')} is not in the trail as the row holds it"
            )
    for (_, subject), acts in left.items():
        for act in acts:
            yield f"specimen {subject}: a preparation superseded by {act.get('by')} is no longer so"
