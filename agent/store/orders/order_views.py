"""Orders with specimens and fields as values, and how rows become them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, true
from sqlmodel import Session, col, select

from agent.store.engine import AgentIdentity
from agent.store.evidence import quality_records
from agent.store.orders import order_naming, specimens
from agent.store.orders.order_naming import OrderClaim
from agent.store.results.micrograph_views import MicrographView, of_micrographs
from agent.store.sites.sites import CLOCK_SET, find_steady_at
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    OrderRow,
    PathRow,
    PreparationRow,
    ResultRow,
    SpecimenRow,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field of a specimen.

    Args:
        view: The micrograph with its current result.
        superseded: Reason and author of its exclusion; empty where it counts.
        area_mm2: Area of steel in the crop, mm², or None without a scale.
        came_at: When its file was first listed, when with these bytes, and its time of change, no
            later than both; aware UTC. () where that was not read.
        steady_at: When it was first listed, by the clock as it was set since; None where it was not
            set within a day.
    """

    view: MicrographView
    superseded: dict[str, Any]
    area_mm2: float | None
    came_at: tuple[datetime, ...] = ()
    steady_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PreparationView:
    """A preparation; `facts["superseded"]` names the reason for a later one."""

    name: str
    etchant: str
    facts: dict[str, Any]
    fields: tuple[FieldView, ...]


@dataclass(frozen=True, slots=True)
class SpecimenView:
    """A specimen; the last of its preparations counts. `bundle` judges it, None: none has."""

    name: str
    heat: str
    batch: str
    material: str
    bundle: str | None
    preparations: tuple[PreparationView, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """An order as a list of orders names it; what is "" or empty is not specified.

    Args:
        number: Of the order.
        customer: "" where unknown.
        product: "" where unknown.
        material: "" where unknown.
        urgent: It is processed first.
        facts: Further values: heat, batch, etchant, subtype, specimens, count.
    """

    number: str
    customer: str = ""
    product: str = ""
    material: str = ""
    urgent: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderView(Entry):
    """An order with its specimens.

    Args:
        first_seen_at: Time of its first record, aware UTC.
        specimens: By name.
        claims: Micrographs that were named for the order and do not belong to it, or did not.
    """

    first_seen_at: datetime | None
    specimens: tuple[SpecimenView, ...]
    claims: tuple[OrderClaim, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine(Entry):
    """An order in a list: how many specimens and fields were received, how many wait for review."""

    first_seen_at: datetime | None
    specimens: int
    fields: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Unassigned:
    """A field that belongs to no specimen, and why.

    Attributes:
        view: The micrograph.
        reason: Why.
        names: Source and path under which the same file came to a watched folder, when, and when by
            the clock as it was set since, see `FieldView`.
    """

    view: MicrographView
    reason: str
    names: tuple[tuple[str, str, datetime, datetime | None], ...] = ()


def build_order(session: Session, row: OrderRow) -> OrderView:
    """Return an order with its specimens and fields."""
    query = (
        select(SpecimenRow).where(SpecimenRow.order_id == row.id).order_by(col(SpecimenRow.name))
    )
    rows = session.exec(query).all()
    fields = _fields(session, row.site_id, [specimen.id for specimen in rows])
    return OrderView(
        number=row.number,
        customer=row.customer,
        product=row.product,
        material=row.material,
        urgent=row.urgent,
        first_seen_at=row.first_seen_at,
        facts=row.facts,
        specimens=tuple(
            SpecimenView(
                name=specimen.name,
                heat=specimen.heat,
                batch=specimen.batch,
                material=specimen.material,
                bundle=specimen.bundle,
                preparations=tuple(
                    _preparation(prepared, fields)
                    for prepared in specimens.preparations(session, specimen.id)
                ),
            )
            for specimen in rows
        ),
        claims=order_naming.list_claims(session, row),
    )


def _preparation(row: PreparationRow, fields: Mapping[int, list[FieldView]]) -> PreparationView:
    return PreparationView(row.name, row.etchant, row.facts, tuple(fields.get(row.id, ())))


def _fields(
    session: Session, site_id: int, specimen_ids: Sequence[int]
) -> dict[int, list[FieldView]]:
    """Return preparation number → its fields, by name and then by time."""
    query = select(MicrographRow.id).where(col(MicrographRow.specimen_id).in_(specimen_ids))
    fields: dict[int, list[FieldView]] = {}
    ids = [number for number in session.exec(query) if number]
    came_at = _read_came_at(session, specimen_ids)
    steps = quality_records.every(session, site_id, CLOCK_SET)
    for row, view in of_micrographs(session, ids):
        came = came_at[row.m_content_id]
        steady_at = find_steady_at(steps, view.source, row.m_content_id, came[0])
        item = FieldView(view, row.m_superseded, row.m_area_mm2, came, steady_at)
        fields.setdefault(row.m_preparation_id, []).append(item)
    by_name: Callable[[FieldView], tuple[str, datetime]] = lambda item: (  # noqa: E731 - typed
        item.view.process_data.get("field", "").zfill(8),
        item.view.result.done_at,
    )
    return {number: sorted(batch, key=by_name) for number, batch in fields.items()}


def _read_came_at(session: Session, specimen_ids: Sequence[int]) -> dict[int, tuple[datetime, ...]]:
    """Return number of a content → the times at which it came, as in `FieldView`."""
    query = (
        select(
            col(ContentRow.id),
            col(ContentRow.first_seen_at),
            func.min(PathRow.seen_at),
            func.min(PathRow.mtime_ns),
        )
        .join(MicrographRow, col(MicrographRow.content_id) == col(ContentRow.id))
        .outerjoin(PathRow, col(PathRow.content_id) == col(ContentRow.id))
        .where(col(MicrographRow.specimen_id).in_(specimen_ids))
        .group_by(col(ContentRow.id), col(ContentRow.first_seen_at))
    )
    came_at: dict[int, tuple[datetime, ...]] = {}
    for number, first_at, seen_at, mtime_ns in session.exec(query):
        listed_at = seen_at or first_at
        microseconds = int(mtime_ns) // 1000 if mtime_ns is not None else None
        changed_at = listed_at if microseconds is None else _EPOCH + timedelta(0, 0, microseconds)
        came_at[number or 0] = (first_at, listed_at, min(changed_at, listed_at))
    return came_at


def list_lines(
    session: Session, whose: AgentIdentity, *, since: datetime | None = None
) -> list[OrderLine]:
    """Return the orders of a site as lines, urgent ones first, then the newest.

    Args:
        session: Open.
        whose: The site.
        since: Only orders first seen then or later, or at an unknown time.
    """
    first_seen_at = col(OrderRow.first_seen_at)
    is_wanted = or_(first_seen_at.is_(None), first_seen_at >= since) if since else true()
    counts = (  # apart from the order's columns: a view has no primary key to group them by
        select(
            col(OrderRow.id).label("order_id"),
            func.count(func.distinct(SpecimenRow.id)).label("specimens"),
            func.count(func.distinct(MicrographRow.id)).label("fields"),
            func.count(col(ResultRow.review_rank)).label("waiting"),
        )
        .outerjoin(SpecimenRow, col(SpecimenRow.order_id) == col(OrderRow.id))
        .outerjoin(MicrographRow, col(MicrographRow.specimen_id) == col(SpecimenRow.id))
        .outerjoin(
            ResultRow,
            (col(ResultRow.micrograph_id) == col(MicrographRow.id))
            & col(ResultRow.current).is_(True),
        )
        .where(OrderRow.site_id == whose.site_id, is_wanted)
        .group_by(col(OrderRow.id))
        .subquery()
    )
    query = (
        select(OrderRow, counts.c.specimens, counts.c.fields, counts.c.waiting)
        .join(counts, counts.c.order_id == col(OrderRow.id))
        .where(OrderRow.site_id == whose.site_id, is_wanted)
        .order_by(col(OrderRow.urgent).desc(), col(OrderRow.id).desc())
    )
    return [
        OrderLine(
            number=row.number,
            customer=row.customer,
            product=row.product,
            material=row.material,
            urgent=row.urgent,
            facts=row.facts,
            first_seen_at=row.first_seen_at,
            specimens=pieces,
            fields=fields,
            waiting=waiting,
        )
        for row, pieces, fields, waiting in session.exec(query)
    ]
