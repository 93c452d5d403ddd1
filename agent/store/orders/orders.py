"""Orders with their specimens and fields, and the order lists and specifications that name them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, or_, update
from sqlmodel import Session, col, select

from agent.store.engine import reading, writing
from agent.store.evidence import audit_log, quality_records
from agent.store.evidence.acts import append_act
from agent.store.evidence.audit_log import TrailEntry
from agent.store.evidence.declaration import LATE, LIST_COLUMNS, LIST_FACTS
from agent.store.orders import order_naming, specimens
from agent.store.orders.order_views import (
    Entry,
    OrderLine,
    OrderView,
    Unassigned,
    build_order,
    list_lines,
)
from agent.store.orders.specimens import Ordered, OrderRepository, hasten
from agent.store.people import labels
from agent.store.results.micrograph_views import (
    Result,
    is_unassigned,
    of_micrographs,
    select_results,
)
from agent.store.sites.sites import CLOCK_SET, find_steady_at
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    OrderClaimRow,
    OrderRow,
    PathRow,
    ResultRow,
    SourceRow,
    SpecificationRow,
    SpecimenRow,
    TrailRow,
)
from agent.store.work.file_states import Lane, chunks


class SpecificationVersions(OrderRepository):
    """Repository of specification entries."""

    def note(
        self,
        entries: Sequence[tuple[str, date, str, str, dict[str, Any]]],
        *,
        zone: str,
        at: datetime,
        by: str = "agent",
        reason: str = "",
    ) -> dict[str, int]:
        """Record this PC's specifications if they changed; a changed entry is a new version.

        Args:
            entries: (name, valid from, approved by, sha256, the entry itself).
            zone: Time zone of the site, by which an entry's days begin.
            at: Now.
            by: Who changed them; the agent where it only read the file.
            reason: Why, where somebody signed the change: it is then recorded in any case.

        Returns:
            sha256 → version.
        """
        state = {"entries": [sha256 for _, _, _, sha256, _ in entries], "zone": zone}
        kind = quality_records.SPECIFICATIONS
        with reading(self._engine) as session:
            known = _versions(session)
            is_same = quality_records.has_state(session, self._whose, kind, state)
        if is_same and not reason and all(sha256 in known for sha256 in state["entries"]):
            return known
        with writing(self._engine) as session:
            quality_records.append_state(
                session, self._whose, kind, by=by, at=at, facts=state, reason=reason
            )
            for name, valid_from, approved_by, sha256, entry in entries:
                if sha256 in _versions(session):
                    continue
                newest = select(func.max(SpecificationRow.version)).where(
                    SpecificationRow.name == name
                )
                version = (session.exec(newest).one() or 0) + 1
                row = SpecificationRow(
                    name=name,
                    version=version,
                    valid_from=valid_from,
                    approved_by=approved_by,
                    sha256=sha256,
                    entry=entry,
                    seen_at=at,
                )
                append_act(session, "specification.seen", row)
            return _versions(session)

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return every entry that was ever noted, by its sha256."""
        wanted = select(SpecificationRow.sha256, SpecificationRow.entry)
        with reading(self._engine) as session:
            return {sha256: dict(entry) for sha256, entry in session.exec(wanted)}

    def versions(self) -> dict[str, int]:
        """Return sha256 of an entry → its version."""
        with reading(self._engine) as session:
            return _versions(session)


def _versions(session: Session) -> dict[str, int]:
    return dict(session.exec(select(SpecificationRow.sha256, SpecificationRow.version)).all())


PENDING, AMENDED = "pending", "amended"
"""Keys of an order's facts: changes that wait, decisions."""


def merge(
    row: OrderRow, entry: Entry, name: str, *, key: Callable[[str], str], has_fields: bool
) -> None:
    """Merge a list's entry into an order's row.

    Unknown values are filled in; specimens are added. Values that are received after the first
    field, or after an earlier list, are marked as late: they must not change the limit. A changed
    value, a removed specimen and a smaller number of specimens are stored as pending changes.

    Args:
        row: The order.
        entry: The list's entry.
        name: Of the list.
        key: Returns what all spellings of a number have in common.
        has_fields: The order has fields already.
    """
    facts = dict(row.facts)
    known = {column: getattr(row, column) for column in LIST_COLUMNS} | {
        name: facts.get(name) for name in LIST_FACTS
    }
    given = {column: getattr(entry, column) for column in LIST_COLUMNS} | {
        name: entry.facts.get(name) for name in LIST_FACTS
    }
    waiting = dict(facts.get(PENDING) or {})
    late = list(facts.get(LATE) or [])
    for what, value in given.items():
        if not value:
            continue
        if not known[what]:
            _set(row, facts, what, value)
            if (has_fields or facts.get("list")) and what not in late:
                late.append(what)
        elif _is_same(known[what], value):
            waiting.pop(what, None)
        else:
            waiting[what] = {"from": known[what], "to": value, "list": name}
    _merge_specimens(facts, entry, waiting, name, key=key)
    _merge_count(facts, entry, waiting, name)
    row.urgent = row.urgent or entry.urgent
    facts |= {PENDING: waiting, LATE: late, "list": facts.get("list") or name}
    row.facts = {what: value for what, value in facts.items() if value}


def _set(row: OrderRow, facts: dict[str, Any], what: str, value: object) -> None:
    if what in LIST_COLUMNS:
        setattr(row, what, value)
    else:
        facts[what] = value


def _is_same(first: object, second: object) -> bool:
    def plain(value: object) -> object:
        if isinstance(value, str):
            return " ".join(value.casefold().split())
        return sorted(map(str, value)) if isinstance(value, list | tuple) else value

    return plain(first) == plain(second)


def _merge_specimens(
    facts: dict[str, Any],
    entry: Entry,
    waiting: dict[str, Any],
    name: str,
    *,
    key: Callable[[str], str],
) -> None:
    known: Sequence[str] = facts.get("specimens") or ()
    given: Sequence[str] = entry.facts.get("specimens") or ()
    if not given:
        return
    had, has = {key(name) for name in known}, {key(name) for name in given}
    facts["specimens"] = [*known, *(name for name in given if key(name) not in had)]
    if had - has:
        waiting["specimens"] = {"from": facts["specimens"], "to": list(given), "list": name}
    else:
        waiting.pop("specimens", None)


def _merge_count(facts: dict[str, Any], entry: Entry, waiting: dict[str, Any], name: str) -> None:
    known, given = facts.get("count"), entry.facts.get("count")
    if not given:
        return
    if known and given < known:
        waiting["count"] = {"from": known, "to": given, "list": name}
        return
    waiting.pop("count", None)
    facts["count"] = given


def pending(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what waits for a lead: what → from, to, list; late keys have only `late`."""
    late = {what: {"late": True} for what in facts.get(LATE) or ()}
    return late | dict(facts.get(PENDING) or {})


def accept_changes(view: OrderView) -> OrderView:
    """Return an order as it would be if a lead accepted the pending changes."""
    gone = (PENDING, LATE)
    changed = {what: change["to"] for what, change in (view.facts.get(PENDING) or {}).items()}
    facts = {what: value for what, value in {**view.facts, **changed}.items() if what not in gone}
    columns = {column: facts.pop(column) for column in LIST_COLUMNS if column in facts}
    return replace(view, facts=facts, **columns)


def amend(
    row: OrderRow, *, accept: bool, by: str, reason: str, at: datetime, breaks: Sequence[str] = ()
) -> None:
    """Accept or dismiss pending changes; the decision is stored with the order."""
    facts = dict(row.facts)
    changes = dict(facts.pop(PENDING, None) or {})
    late = facts.pop(LATE, None) or []
    if accept:
        for what, change in changes.items():
            _set(row, facts, what, change["to"])
    else:
        for what in late:
            _set(row, facts, what, "")
    decision = {
        "accepted": accept,
        "by": by,
        "reason": reason,
        "at": at.isoformat(),
        "changes": changes,
        "late": late,
        "breaks": list(breaks),
    }
    facts[AMENDED] = [*(facts.get(AMENDED) or ()), decision]
    row.facts = {what: value for what, value in facts.items() if value}


class Orders(OrderRepository):
    """Repository of orders."""

    def expect(self, number: str, specimen: str) -> Ordered:
        """Return the requirements of an order for one of its specimens."""
        with reading(self._engine) as session:
            return specimens.expect(session, self._whose, number, specimen)

    def reserve(self, number: str, specimen: str, bundle: str, *, at: datetime) -> str:
        """Return the bundle that judges a specimen; `bundle` is assigned if there is none yet."""
        with writing(self._engine) as session:
            return specimens.reserve(session, self._whose, number, specimen, bundle, at=at)

    def order(self, number: str) -> OrderView | None:
        """Return an order, or None if it is unknown."""
        with reading(self._engine) as session:
            row = self._row(session, number)
            return build_order(session, row) if row else None

    def all(self, *, since: datetime | None = None) -> list[OrderLine]:
        """Return the orders of this site: urgent ones first, then the newest.

        Args:
            since: Only orders first seen then or later, or at an unknown time; None for all.
        """
        with reading(self._engine) as session:
            return list_lines(session, self._whose, since=since)

    def unassigned(
        self, naming: str | None = None, *, between: tuple[datetime, datetime] | None = None
    ) -> list[Unassigned]:
        """Return the fields that belong to no specimen, oldest first.

        Args:
            naming: Only fields that name this order; None for all.
            between: Only fields that were taken, or came again, from and to then; None for all.
        """
        query = select(MicrographRow.id, MicrographRow.unassigned, MicrographRow.order).where(
            is_unassigned(self._whose.site_id)
        )
        key = self._whose.key
        with reading(self._engine) as session:
            names = self._list_names(session, between)
            if between:
                taken = col(MicrographRow.taken_at).between(*between)
                query = query.where(or_(taken, col(MicrographRow.id).in_(names)))
            reasons = {
                number: reason
                for number, reason, order in session.exec(query)
                if number and (naming is None or key(order) == key(naming))
            }
            views = of_micrographs(session, list(reasons))
            return [
                Unassigned(view, reasons[row.m_id], tuple(names.get(row.m_id, ())))
                for row, view in views
            ]

    def _list_names(
        self, session: Session, between: tuple[datetime, datetime] | None
    ) -> dict[int, list[tuple[str, str, datetime, datetime | None]]]:
        """Return micrograph of no specimen → under which names its file came to a folder."""
        unassigned = select(MicrographRow.content_id, MicrographRow.id).where(
            is_unassigned(self._whose.site_id)
        )
        shown: dict[int, list[int]] = {}  # a file of several pages has several micrographs
        for content, number in session.exec(unassigned):
            shown.setdefault(content, []).append(number or 0)
        owners: dict[int, list[int]] = {}
        for part in chunks(list(shown)):
            for key in (col(ContentRow.id), col(ContentRow.duplicate_of)):
                same = select(ContentRow.id, key).where(
                    key.in_(part), ContentRow.origin != "import"
                )
                owners |= {content or 0: shown[of or 0] for content, of in session.exec(same)}
        found: list[tuple[PathRow, str]] = []
        for part in chunks(list(owners)):
            query = (
                select(PathRow, SourceRow.name)
                .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
                .where(col(PathRow.content_id).in_(part))
            )
            if between:
                query = query.where(col(PathRow.seen_at).between(*between))
            found += session.exec(query).all()
        steps = quality_records.every(session, self._whose.site_id, CLOCK_SET)
        names: dict[int, list[tuple[str, str, datetime, datetime | None]]] = {}
        for path, source in sorted(found, key=lambda row: row[0].id):
            steady_at = find_steady_at(steps, source, path.content_id, path.seen_at)
            for number in owners[path.content_id]:
                name = (source, path.relative, path.seen_at, steady_at)
                names.setdefault(number, []).append(name)
        return names

    def by(self, column: str, value: str) -> list[str]:
        """Return the numbers of the orders of a heat or batch, as their fields or lists name it."""
        where = {"heat": SpecimenRow.heat, "batch": SpecimenRow.batch}[column]
        query = (
            select(OrderRow.number)
            .join(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
            .where(OrderRow.site_id == self._whose.site_id, where == value)
            .distinct()
        )
        with reading(self._engine) as session:
            return sorted(session.exec(query))

    def of_micrograph(self, public_id: str) -> str | None:
        """Return the number of the order of a micrograph, or None."""
        query = (
            select(OrderRow.number)
            .join(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
            .join(MicrographRow, col(MicrographRow.specimen_id) == col(SpecimenRow.id))
            .where(MicrographRow.public_id == public_id)
        )
        with reading(self._engine) as session:
            return session.exec(query).first()

    def answers(self, public_id: str) -> list[Result]:
        """Return all bundles' results on a micrograph, oldest first, superseded ones included.

        A result is never overwritten, so the first answer can always be read.
        """
        query = select_results(col(MicrographRow.public_id) == public_id)
        own = query.where(ResultRow.site_id == self._whose.site_id)
        with reading(self._engine) as session:
            rows = session.execute(own.order_by(col(ResultRow.id)))
            return [Result.from_row(row) for row in rows]

    def list_answers(
        self, public_ids: Collection[str]
    ) -> dict[str, set[tuple[str | None, str | None]]]:
        """Return micrograph → bundle, None for none, and code of each result on it."""
        found: dict[str, set[tuple[str | None, str | None]]] = {}
        with reading(self._engine) as session:
            for batch in chunks(sorted(public_ids)):
                query = (
                    select(MicrographRow.public_id, ResultRow.bundle, ResultRow.structure_code)
                    .join(ResultRow, col(ResultRow.micrograph_id) == col(MicrographRow.id))
                    .where(col(MicrographRow.public_id).in_(batch))
                )
                for public_id, bundle, code in session.exec(query):
                    found.setdefault(public_id, set()).add((bundle or None, code))
        return found

    def acts(self, subjects: Collection[str], *, since: datetime | None = None) -> list[TrailEntry]:
        """Return the acts on orders, specimens or micrographs, oldest first.

        Args:
            subjects: As the audit log names them: a number, "number/specimen", a public id.
            since: Acts from then on, which an index finds; None: all, for which the log is read.
        """
        where = None if since is None else col(TrailRow.at) >= since
        with reading(self._engine) as session:
            known = [
                entry
                for batch in chunks(sorted(subjects))
                for entry in audit_log.entries(session, subjects=batch, where=where)
            ]
        return sorted(known, key=lambda entry: entry.id)

    def list_numbers(self, begin: str, *, most: int) -> list[str]:
        """Return the numbers of the newest orders that begin with a text."""
        query = (
            select(OrderRow.number)
            .where(
                OrderRow.site_id == self._whose.site_id,
                col(OrderRow.number).startswith(begin, autoescape=True),
            )
            .order_by(col(OrderRow.id).desc())
            .limit(most)
        )
        with reading(self._engine) as session:
            return list(session.exec(query))

    def list_known(self, numbers: Collection[str]) -> set[str]:
        """Return the keys of those numbers that an order has in any spelling."""
        keys = sorted({self._whose.key(number) for number in numbers if number})
        query = select(OrderRow.key).where(
            OrderRow.site_id == self._whose.site_id, col(OrderRow.key).in_(keys)
        )
        if not keys:
            return set()
        with reading(self._engine) as session:
            return set(session.exec(query))

    def urgent_numbers(self) -> set[str]:
        """Return the numbers of the urgent orders."""
        query = select(OrderRow.number).where(
            OrderRow.site_id == self._whose.site_id, col(OrderRow.urgent).is_(True)
        )
        with reading(self._engine) as session:
            return set(session.exec(query))

    def put_first(self, content_ids: Sequence[int]) -> None:
        """Move queued files into the urgent lane."""
        with writing(self._engine) as session:
            for batch in chunks(content_ids):
                session.execute(
                    update(ContentRow)
                    .where(
                        col(ContentRow.site_id) == self._whose.site_id,
                        col(ContentRow.id).in_(batch),
                    )
                    .values(lane=int(Lane.URGENT))
                )

    def take_list(self, entries: Iterable[Entry], name: str, *, by: str, at: datetime) -> list[str]:
        """Record an order list; values that it does not specify remain unchanged.

        Args:
            entries: One per order.
            name: Of the list.
            by: Who submitted it.
            at: Now.

        Returns:
            Numbers of the orders that are new or changed.
        """
        with writing(self._engine) as session:
            return [
                entry.number for entry in entries if self._take(session, entry, name, by=by, at=at)
            ]

    def _take(self, session: Session, entry: Entry, name: str, *, by: str, at: datetime) -> bool:
        is_new = self._row(session, entry.number) is None
        row = specimens.order_row(session, self._whose, entry.number, at=at)
        before = _list_values(row)
        has_fields = _has_fields(session, row)
        merge(row, entry, name, key=self._whose.key, has_fields=has_fields)
        after = _list_values(row)
        if before == after and not is_new:
            return False
        row.facts = {**row.facts, "list": name}
        session.add(row)
        session.flush()
        if row.urgent and not before["urgent"]:
            hasten(session, row)
        changed = {
            key: [before.get(key), after[key]] for key in after if before.get(key) != after[key]
        }
        self._remember(
            session,
            actor=by,
            at=at,
            act="order.listed",
            subject=row.number,
            facts={"list": name, **changed},
        )
        return True

    def claimed_elsewhere(
        self, public_id: str, number: str, specimen: str
    ) -> list[tuple[str, str]]:
        """Return the orders, or specimens of this order, that a micrograph is or was named for.

        Args:
            public_id: Of the micrograph.
            number: The order that it may belong to.
            specimen: Its specimen there.

        Returns:
            The other orders, each with the specimen, none twice.
        """
        key = self._whose.key
        with reading(self._engine) as session:
            row = labels.micrograph_of(session, public_id)
            named = {(row.order, row.specimen)}
            for order_id, claimed in order_naming.claimed_orders(session, row.id):
                order = session.get(OrderRow, order_id)
                named.add((order.number if order else "", claimed))
        return sorted(
            (order, claimed)
            for order, claimed in named
            if order and (key(order), key(claimed or specimen)) != (key(number), key(specimen))
        )


def _has_fields(session: Session, order: OrderRow) -> bool:
    """Return whether any micrograph belongs to an order, or was ever named for it."""
    own = (
        select(MicrographRow.id)
        .join(SpecimenRow, col(SpecimenRow.id) == col(MicrographRow.specimen_id))
        .where(SpecimenRow.order_id == order.id)
        .limit(1)
    )
    claimed = select(OrderClaimRow.id).where(OrderClaimRow.order_id == order.id).limit(1)
    return any(session.exec(wanted).first() is not None for wanted in (own, claimed))


def _list_values(row: OrderRow) -> dict[str, Any]:
    own = {key: getattr(row, key) for key in ("customer", "product", "material", "urgent")}
    return own | {key: value for key, value in row.facts.items() if key != "list"}
