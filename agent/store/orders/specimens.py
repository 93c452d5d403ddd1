"""Assign fields to preparations of specimens of orders, each to exactly one or to none.

Nothing is guessed: a field without order and specimen, or one that claims two, belongs to none and
stores the reason. A specimen is judged by one bundle: its first field writes the bundle's name, in
the transaction of the result itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from agent.errors import AgentError, UsageError
from agent.store.engine import AgentIdentity, Repository, insert_for
from agent.store.evidence import audit_log, quality_records
from agent.store.evidence.acts import append_act
from agent.store.evidence.declaration import NOT_BEFORE, RELEASED_AFTER
from agent.store.people.label_decisions import with_urgency
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    OrderRow,
    PathRow,
    PreparationRow,
    ResultRow,
    Row,
    SpecimenRow,
)
from reports import gettext as _
from reports import marked

CLOCK_OF_FILES = timedelta(days=1)
"""How long before a specimen's first field a file of it may have been changed."""
FIRST = "1"
"""Default name of a preparation."""
NO_RECORD = -1
"""Value of `RELEASED_AFTER` where there was none: a value of facts that is 0 would be left out."""
FROM_ORDER = ("heat", "batch", "material", "etchant")
"""Process data that travel with an order to each of its fields."""


class OtherBundleError(AgentError):
    """The specimen is judged by another bundle than the one that answered; nothing was written.

    Args:
        bundle: The one that judges it.
    """

    def __init__(self, specimen: str, bundle: str) -> None:
        text = _("specimen {specimen} is judged by the bundle {bundle}")
        super().__init__(text.format(specimen=specimen, bundle=bundle))
        self.bundle = bundle


@dataclass(frozen=True, slots=True)
class Ordered:
    """Requirements of an order for one of its specimens.

    Args:
        bundle: The bundle that judges the specimen, or None where nothing has judged it yet.
        told: Heat, batch, material, etchant, product, customer, specification; only what is known.
        subtypes: Ordered subtypes, () where the order names none.
        urgent: The order is processed first.
        day: Time of the order's first record, aware UTC, or None.
    """

    bundle: str | None
    told: dict[str, str]
    subtypes: tuple[str, ...]
    urgent: bool
    day: datetime | None


# --- rows -----------------------------------------------------------------------------------------


def _find_row(session: Session, table: type[Row], values: dict[str, Any]) -> bool:
    """Add a row unless it is there; another agent may be adding it at this moment.

    Returns:
        Whether it was added.
    """
    values = {"facts": {}, **values}
    insert = insert_for(session)(table).values(**values).on_conflict_do_nothing()
    return bool(session.connection().execute(insert).rowcount)


def order_row(session: Session, whose: AgentIdentity, number: str, *, at: datetime) -> OrderRow:
    """Find or make an order."""
    if row := find_order(session, whose, number):
        return row
    released_after = quality_records.find_newest_id(session, whose.site_id) or NO_RECORD
    later = audit_log.find_later(session, whose.site_id, at=at)
    values = {
        "site_id": whose.site_id,
        "number": number,
        "key": whose.key(number),
        "first_seen_at": at,
        "facts": {RELEASED_AFTER: released_after}
        | ({NOT_BEFORE: later.isoformat()} if later else {}),
    }
    blank = {"customer": "", "product": "", "material": "", "urgent": False, "legal_hold": False}
    audit_log.lock(session)  # before the row, as two agents may add two orders crosswise
    is_new = _find_row(session, OrderRow, values | blank)
    row = find_order(session, whose, number)
    if row is None:
        raise AgentError(f"order {number} could neither be found nor added")
    if is_new:
        append_act(session, "order.seen", row)
    return row


def find_order(session: Session, whose: AgentIdentity, number: str) -> OrderRow | None:
    """Return an order by any spelling of its number; an exact match takes precedence."""
    own = select(OrderRow).where(OrderRow.site_id == whose.site_id, OrderRow.number == number)
    if row := session.exec(own).first():
        return row
    same = select(OrderRow).where(
        OrderRow.site_id == whose.site_id, OrderRow.key == whose.key(number)
    )
    return session.exec(same).first()


def specimen_row(
    session: Session, whose: AgentIdentity, order: OrderRow, name: str, *, at: datetime
) -> SpecimenRow:
    """Find or create a specimen, and lock it until the transaction ends."""
    name = find_specimen_name(session, whose, order, name) or name
    query = (
        select(SpecimenRow)
        .where(SpecimenRow.order_id == order.id, SpecimenRow.name == name)
        .with_for_update()
    )
    if row := session.exec(query).first():
        return row
    values = {"site_id": whose.site_id, "order_id": order.id, "name": name, "first_seen_at": at}
    _find_row(session, SpecimenRow, values | {"heat": "", "batch": "", "material": ""})
    return session.exec(query).one()


def find_specimen_name(
    session: Session, whose: AgentIdentity, order: OrderRow, name: str
) -> str | None:
    """Return how an order spells one of its specimens, None where it has no such specimen."""
    wanted = select(SpecimenRow.name).where(SpecimenRow.order_id == order.id)
    names = sorted(session.exec(wanted))
    if name in names:
        return name
    return next((spelling for spelling in names if whose.key(spelling) == whose.key(name)), None)


def preparations(session: Session, specimen_id: int) -> list[PreparationRow]:
    """Return a specimen's preparations, the latest last: by number, then by time."""
    query = select(PreparationRow).where(PreparationRow.specimen_id == specimen_id)
    return sorted(session.exec(query), key=lambda row: (number_of(row.name), row.id))


def number_of(name: str) -> int:
    """Return the number in a preparation's name, 0 where there is none."""
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else 0


def preparation_row(
    session: Session,
    specimen: SpecimenRow,
    name: str,
    *,
    etchant: str,
    at: datetime,
    shot_at: datetime | None = None,
) -> PreparationRow:
    """Find or make a preparation: the named one, else the latest, else the first.

    Args:
        session: Open for writing.
        specimen: Whose.
        name: Of the preparation, "" where none is named.
        etchant: Of a new one.
        at: Now.
        shot_at: When the field was there at the latest: one that began later does not show it.
    """
    known = preparations(session, specimen.id)
    begun = [
        row.name
        for row in known
        if not (shot_at and row.first_seen_at and row.first_seen_at > shot_at)
    ]
    wanted = name or (begun or [row.name for row in known[:1]] or [FIRST])[-1]
    for row in known:
        if row.name == wanted:
            return row
    values = {"specimen_id": specimen.id, "name": wanted, "etchant": etchant, "first_seen_at": at}
    before = known[-1].id if known else None
    _find_row(session, PreparationRow, values | {"replaces": before})
    query = select(PreparationRow).where(
        PreparationRow.specimen_id == specimen.id, PreparationRow.name == wanted
    )
    return session.exec(query).one()


# --- assignment of fields -------------------------------------------------------------------------


def attach(
    session: Session,
    whose: AgentIdentity,
    row: MicrographRow,
    bundle: str,
    *,
    at: datetime,
    content: ContentRow | None = None,
) -> OrderRow | None:
    """Assign a field to its specimen, or leave it unassigned with the reason.

    Args:
        session: Open for writing.
        whose: The site.
        row: The micrograph; `unassigned` already has the reason where it claims two specimens.
        bundle: The bundle that judged it, "" where there was none.
        at: Now.
        content: Its file; one from before a preparation began is of an earlier one. None: it is of
            the latest one.

    Returns:
        Its order, or None where it has none.

    Raises:
        OtherBundleError: The specimen is judged by another one; the transaction must be rolled
            back.
    """
    row.unassigned = row.unassigned or describe_lacking(row)
    if row.unassigned:
        row.specimen_id = row.preparation_id = None
        session.add(row)
        if not row.order:
            return None
        order = order_row(session, whose, row.order, at=at)
        row.order = order.number
        return order
    order = order_row(session, whose, row.order, at=at)
    specimen = specimen_row(session, whose, order, row.specimen, at=at)
    row.order, row.specimen = order.number, specimen.name
    judged_by(session, specimen, bundle)
    shot_at = _find_shot_at(session, specimen, content) if content else None
    preparation = preparation_row(
        session, specimen, row.preparation, etchant=row.etchant, at=at, shot_at=shot_at
    )
    row.specimen_id, row.preparation_id = specimen.id, preparation.id
    _fill_missing(session, row, order, specimen)
    session.add(row)
    return order


def _find_shot_at(session: Session, specimen: SpecimenRow, content: ContentRow) -> datetime:
    """Return when a file was there at the latest: its time of change, else when it was listed.

    A time of change long before the specimen is that of a wrong clock.
    """
    query = select(PathRow.mtime_ns).where(PathRow.content_id == content.id)
    earliest = (specimen.first_seen_at or content.first_seen_at) - CLOCK_OF_FILES
    changed = (int(mtime_ns) / 1e9 for mtime_ns in session.exec(query))
    listed_s = content.first_seen_at.timestamp()
    known_s = [at_s for at_s in changed if earliest.timestamp() <= at_s <= listed_s]
    return datetime.fromtimestamp(min(known_s, default=listed_s), UTC)


def judged_by(session: Session, specimen: SpecimenRow, bundle: str) -> None:
    """Record which bundle judges a specimen. Raises `OtherBundleError` if another one does."""
    if not bundle or specimen.bundle == bundle:
        return
    if specimen.bundle:
        raise OtherBundleError(specimen.name, specimen.bundle)
    specimen.bundle = bundle
    session.add(specimen)
    session.flush()


_LACKING = {
    (True, True): "",
    (False, True): marked("no order number is known of it"),
    (True, False): marked("no specimen is known of it"),
    (False, False): marked("no order number and no specimen is known of it"),
}
"""Whether order number and specimen are known → the message id of why a field is unassigned."""


def describe_lacking(row: MicrographRow) -> str:
    """Return the message id of what a field lacks for its specimen, "" where it lacks nothing."""
    return _LACKING[bool(row.order), bool(row.specimen)]


def _fill_missing(
    session: Session, row: MicrographRow, order: OrderRow, specimen: SpecimenRow
) -> None:
    """Fill missing process data of the field from its order, and of the specimen from the field."""
    process_data = told_by(order)
    for name in FROM_ORDER:
        if not getattr(row, name) and process_data.get(name):
            setattr(row, name, process_data[name])
    for name in ("heat", "batch", "material"):
        if not getattr(specimen, name) and getattr(row, name):
            setattr(specimen, name, getattr(row, name))
    session.add(specimen)


def told_by(order: OrderRow) -> dict[str, str]:
    """Return the process data of an order, column → value, only what is known."""
    own = {"material": order.material, "product": order.product, "customer": order.customer}
    known = {key: str(order.facts.get(key) or "") for key in (*FROM_ORDER, "specification")}
    return {key: value for key, value in (known | own).items() if value}


# --- for workers, before inference ----------------------------------------------------------------


def expect(session: Session, whose: AgentIdentity, number: str, specimen: str) -> Ordered:
    """Return the requirements for a specimen, without writing anything."""
    order = find_order(session, whose, number)
    if order is None:
        return Ordered(None, {}, (), urgent=False, day=None)
    bundles = select(SpecimenRow.bundle).where(
        SpecimenRow.order_id == order.id,
        SpecimenRow.name == (find_specimen_name(session, whose, order, specimen) or specimen),
    )
    return Ordered(
        bundle=session.exec(bundles).first(),
        told=told_by(order),
        subtypes=tuple(order.facts.get("subtype") or ()),
        urgent=order.urgent,
        day=order.first_seen_at,
    )


def reserve(
    session: Session, whose: AgentIdentity, number: str, specimen: str, bundle: str, *, at: datetime
) -> str:
    """Return the bundle that judges a specimen; `bundle` is assigned if there is none yet."""
    order = order_row(session, whose, number, at=at)
    row = specimen_row(session, whose, order, specimen, at=at)
    if row.bundle:
        return row.bundle
    row.bundle = bundle
    session.add(row)
    return bundle


def is_urgent(session: Session, site_id: int, number: str) -> bool:
    """Return whether an order is urgent."""
    if not number:
        return False
    query = select(OrderRow.urgent).where(OrderRow.site_id == site_id, OrderRow.number == number)
    return bool(session.exec(query).first())


class OrderRepository(Repository):
    """Rows of orders at one site."""

    def _row(self, session: Session, number: str) -> OrderRow | None:
        return find_order(session, self._whose, number)

    def _get_known(self, session: Session, number: str) -> OrderRow:
        row = self._row(session, number)
        if row is None:
            raise UsageError(f"Unknown order {number!r}. Run `agent orders list`.")
        return row

    def _remember(self, session: Session, **said: Any) -> None:
        audit_log.append(session, self._whose.site_id, **said)


def hasten(session: Session, order: OrderRow) -> None:
    """Move micrographs of an order to the front of the review queue, or back."""
    query = (
        select(ResultRow)
        .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
        .where(
            MicrographRow.site_id == order.site_id,
            MicrographRow.order == order.number,
            col(ResultRow.review_rank).is_not(None),
        )
    )
    for row in session.exec(query):
        row.review_rank = with_urgency(row.review_rank or 0, urgent=order.urgent)
        session.add(row)
