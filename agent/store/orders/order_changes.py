"""Orders that changed since a position in the audit log, and orders by their age.

The lists are a shortcut: on PostgreSQL a result may be committed after a later number was read, so
a caller also sweeps through all orders.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, func
from sqlmodel import Session, col, select

from agent.store.engine import Repository, reading
from agent.store.evidence import audit_log, quality_records
from agent.store.orders.unread_names import may_be_alike
from agent.store.sites.sites import CLOCK_SET, find_steady_at
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    OrderRow,
    ResultRow,
    SourceRow,
    SpecimenRow,
    TrailRow,
)
from agent.store.work.file_states import chunks


@dataclass(frozen=True, slots=True)
class Heads:
    """Numbers of the newest row of the audit log and of the newest result."""

    trail: int
    result: int


@dataclass(frozen=True, slots=True)
class OrderAge:
    """An order and the time of its first record, aware UTC, or None."""

    id: int
    number: str
    first_seen_at: datetime | None
    urgent: bool


@dataclass(frozen=True, slots=True)
class ShotField:
    """A micrograph of any order or none, as it came.

    Attributes:
        order: Number of its order; the one that it names where it belongs to none, "" for none.
        specimen: Name of its specimen.
        field: Its field number.
        material: Its material, "" where it is not known.
        is_assigned: It belongs to a specimen of that order.
        is_listed: An order list names its order.
        source: Name of its source.
        path: Its path below the source's folder.
        taken_at: When it was recorded, aware UTC.
        steady_at: When it was first listed, by the clock as it was set since; None where it was not
            set within a day.
    """

    order: str
    specimen: str
    field: str
    material: str
    is_assigned: bool
    is_listed: bool
    source: str
    path: str
    taken_at: datetime
    steady_at: datetime | None


class OrderChanges(Repository):
    """Repository of changed and old orders."""

    def heads(self) -> Heads:
        """Return where the audit log and the results end now."""
        with reading(self._engine) as session:
            # Not max(): with the site in the statement SQLite would read the whole table.
            newest = session.exec(_newest(col(TrailRow.id))).first()
            result = session.exec(_newest(col(ResultRow.id))).first()
            return Heads(newest or 0, result or 0)

    def newest_content(self) -> int:
        """Return the number of the newest content that a file brought, 0 where there is none."""
        with reading(self._engine) as session:
            return session.exec(_newest(col(ContentRow.id))).first() or 0

    def since(
        self, heads: Heads, *, without: tuple[str, ...]
    ) -> tuple[set[str], dict[str, datetime]]:
        """Return the orders that changed after a position in the audit log.

        Args:
            heads: The position.
            without: Acts that begin with one of these are left out.

        Returns:
            Numbers of the orders that an act or a new result names; name of each act, such as
            "control.recorded" → its first time, aware UTC.
        """
        with reading(self._engine) as session:
            acts: dict[str, datetime] = {}
            words: set[str] = set()
            for entry in audit_log.entries(session, after=heads.trail):
                if entry.act.startswith(without):
                    continue
                acts[entry.act] = min(entry.at, acts.get(entry.act, entry.at))
                words |= {*_prefixes(entry.subject), *_iter_words(entry.facts)}
            numbers = {*self._of_results(session, heads.result), *self._find_named(session, words)}
        return numbers, acts

    def ages(self) -> list[OrderAge]:
        """Return every order of this site: urgent ones first, then the newest."""
        query = (
            select(OrderRow.id, OrderRow.number, OrderRow.first_seen_at, OrderRow.urgent)
            .where(OrderRow.site_id == self._whose.site_id)
            .order_by(col(OrderRow.urgent).desc(), col(OrderRow.id).desc())
        )
        with reading(self._engine) as session:
            return [OrderAge(key or 0, *rest) for key, *rest in session.exec(query)]

    def list_alike(self, number: str) -> list[str]:
        """Return the numbers that may differ from one in hyphens, slashes or dots alone.

        It is among them; of the others `letters_key` decides.
        """
        query = select(OrderRow.number).where(
            OrderRow.site_id == self._whose.site_id, may_be_alike(col(OrderRow.number), number)
        )
        with reading(self._engine) as session:
            return list(session.exec(query))

    def list_photographed(self, start: datetime, end: datetime) -> list[str]:
        """Return the numbers of the orders with fields that were taken from and to then."""
        query = (
            select(OrderRow.number)
            .join(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
            .join(MicrographRow, col(MicrographRow.specimen_id) == col(SpecimenRow.id))
            .where(
                MicrographRow.site_id == self._whose.site_id,
                col(MicrographRow.taken_at).between(start, end),
            )
            .distinct()
        )
        with reading(self._engine) as session:
            return list(session.exec(query))

    def any_awaits_field(self, numbers: Collection[str], start: datetime, end: datetime) -> bool:
        """Return whether an order has fields that were taken then, or is on a list and has none.

        Args:
            numbers: Of orders, in any spelling; numbers that no order has do not count.
            start: Aware UTC.
            end: Aware UTC.
        """
        query = (
            select(
                OrderRow.facts,
                func.count(col(MicrographRow.id)),
                func.sum(case((col(MicrographRow.taken_at).between(start, end), 1), else_=0)),
            )
            .select_from(OrderRow)
            .outerjoin(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
            .outerjoin(MicrographRow, col(MicrographRow.specimen_id) == col(SpecimenRow.id))
            .where(
                OrderRow.site_id == self._whose.site_id,
                col(OrderRow.key).in_([self._whose.key(number) for number in numbers]),
            )
            .group_by(col(OrderRow.id))
        )
        with reading(self._engine) as session:
            rows = session.exec(query).all()
        return any(then or (fields == 0 and facts.get("list")) for facts, fields, then in rows)

    def list_new_shots(self, after: int, *, within: timedelta) -> list[ShotField]:
        """Return the micrographs with a first result after a number.

        Args:
            after: Number of a result.
            within: A result that much later than its micrograph is no first one.
        """
        first = (
            select(ResultRow.id)
            .where(
                col(ResultRow.id) > after,
                ResultRow.micrograph_id == MicrographRow.id,
            )
            .exists()
        )
        newest = select(func.max(col(ResultRow.done_at))).where(col(ResultRow.id) > after)
        with reading(self._engine) as session:
            last_at = session.exec(newest).one()
            if last_at is None:
                return []
            since = col(MicrographRow.taken_at) >= last_at - within
            return self._list_shots(session, first, since)

    def list_shots_between(self, start: datetime, end: datetime) -> list[ShotField]:
        """Return the fields of orders that were taken from and to then."""
        with reading(self._engine) as session:
            return self._list_shots(
                session,
                col(MicrographRow.taken_at).between(start, end),
                col(MicrographRow.specimen_id).is_not(None),
            )

    def list_shots_of(self, numbers: Collection[str]) -> list[ShotField]:
        """Return the fields of some orders."""
        with reading(self._engine) as session:
            return [
                shot
                for batch in chunks(sorted(numbers))
                for shot in self._list_shots(session, col(OrderRow.number).in_(batch))
            ]

    def _list_shots(self, session: Session, *where: Any) -> list[ShotField]:
        columns: tuple[Any, ...] = (
            MicrographRow.order,
            MicrographRow.specimen,
            MicrographRow.field,
            MicrographRow.material,
            OrderRow.number,
            OrderRow.facts,
            SourceRow.name,
            MicrographRow.relative,
            MicrographRow.taken_at,
            ContentRow.id,
            ContentRow.first_seen_at,
        )
        query = (
            select(*columns)
            .join(ContentRow, col(ContentRow.id) == col(MicrographRow.content_id))
            .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
            .outerjoin(SpecimenRow, col(SpecimenRow.id) == col(MicrographRow.specimen_id))
            .outerjoin(OrderRow, col(OrderRow.id) == col(SpecimenRow.order_id))
            .where(MicrographRow.site_id == self._whose.site_id, *where)
            .order_by(col(MicrographRow.id))
        )
        steps = quality_records.every(session, self._whose.site_id, CLOCK_SET)
        return [
            ShotField(
                order=number or order,
                specimen=specimen,
                field=field,
                material=material,
                is_assigned=number is not None,
                is_listed=bool((facts or {}).get("list")),
                source=source,
                path=path,
                taken_at=taken_at,
                steady_at=find_steady_at(steps, source, content, seen_at),
            )
            for order, specimen, field, material, number, facts, source, path, taken_at, content, (
                seen_at
            ) in session.exec(query)
        ]

    def judged_between(
        self, source: str, start: datetime | None, end: datetime
    ) -> list[tuple[str, str, datetime]]:
        """Return order, id and time of the fields whose result of a source counts, by its time.

        Args:
            source: Its name.
            start: Results after it, None: from the beginning.
            end: And not after it.
        """
        query = (
            select(OrderRow.number, MicrographRow.public_id, ResultRow.done_at)
            .join(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
            .join(MicrographRow, col(MicrographRow.specimen_id) == col(SpecimenRow.id))
            .join(ResultRow, col(ResultRow.micrograph_id) == col(MicrographRow.id))
            .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
            .where(
                OrderRow.site_id == self._whose.site_id,
                col(ResultRow.current).is_(True),
                col(ResultRow.done_at) <= end,
                SourceRow.name == source,
            )
            .order_by(col(OrderRow.number), col(ResultRow.id))
        )
        if start is not None:
            query = query.where(col(ResultRow.done_at) > start)
        with reading(self._engine) as session:
            return list(session.exec(query))

    def _of_results(self, session: Session, after: int) -> Iterator[str]:
        query = (
            select(MicrographRow.order)
            .join(ResultRow, col(ResultRow.micrograph_id) == col(MicrographRow.id))
            .where(col(ResultRow.id) > after, MicrographRow.site_id == self._whose.site_id)
            .distinct()
        )
        yield from session.exec(query)

    def _find_named(self, session: Session, words: set[str]) -> Iterator[str]:
        """Yield the orders that subjects of acts name, by number or by the id of a field."""
        for batch in chunks(sorted(words)):
            own = select(OrderRow.number).where(
                OrderRow.site_id == self._whose.site_id, col(OrderRow.number).in_(batch)
            )
            yield from session.exec(own)
            fields = (
                select(MicrographRow.order, OrderRow.number)
                .outerjoin(SpecimenRow, col(SpecimenRow.id) == col(MicrographRow.specimen_id))
                .outerjoin(OrderRow, col(OrderRow.id) == col(SpecimenRow.order_id))
                .where(
                    MicrographRow.site_id == self._whose.site_id,
                    col(MicrographRow.public_id).in_(batch),
                )
            )
            for public_id, number in session.exec(fields):
                yield from (word for word in (public_id, number) if word)


def _newest(number: Any) -> Any:
    return select(number).order_by(number.desc()).limit(1)


def _prefixes(subject: str) -> Iterator[str]:
    """Yield a subject and its part before each slash: "a/b/1" may name the order "a/b"."""
    parts = subject.split("/")
    for n in range(1, len(parts) + 1):
        yield "/".join(parts[:n])


def _iter_words(facts: Any) -> Iterator[str]:
    """Yield every text in an act's facts, such as the order that a field was moved from."""
    if isinstance(facts, str):
        yield facts
    elif isinstance(facts, dict):
        for value in facts.values():
            yield from _iter_words(value)
    elif isinstance(facts, list):
        for value in facts:
            yield from _iter_words(value)
