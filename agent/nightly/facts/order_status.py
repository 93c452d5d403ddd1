"""Collect the state of the lab's orders and instruments at the end of a night.

The rules are those of an order's page; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from agent.orders.facts.specimen_facts import Conformity
from agent.orders.instruments.instrument_checks import (
    CONTROL,
    GOOD_FOR,
    ControlPoint,
    list_control_points,
)
from agent.orders.instruments.instrument_holds import Holds, list_affected_orders, load_releases
from agent.orders.judge.assessed import Assessed, OrderPolicy
from agent.orders.judge.assessment import assess_recent, describe_open
from agent.orders.judge.next_step import NextStep, find_next_step
from agent.orders.judge.permissions import find_hidden, leave_unsaid
from agent.site_time import compute_age
from agent.store import Record, Store

MOST_ORDERS = 500
OPEN = (Conformity.DOES_NOT_CONFORM, Conformity.UNDECIDED)


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that does not conform, or is undecided.

    Args:
        number: Of the order.
        conformity: The stable word.
        said: Why, a sentence each.
        heard_at: When its number first appeared.
        waits_since: Since when its oldest field waits for a reviewer; None where no field waits.
        urgent: It goes first.
        next_step: What an undecided order needs next, "" for any other.
        model_alone: Why answers of the model alone do not prove it; not among `said`.
    """

    number: str
    conformity: str
    said: tuple[str, ...]
    heard_at: datetime | None
    waits_since: datetime | None
    urgent: bool = False
    next_step: str = ""
    model_alone: tuple[str, ...] = ()

    @property
    def needs_a_person(self) -> bool:
        """Whether a reviewer or a lead has to act; else it waits for images alone."""
        if self.conformity == Conformity.DOES_NOT_CONFORM or self.waits_since is not None:
            return True
        return self.next_step not in ("", NextStep.WAITING_FOR_IMAGES)


@dataclass(frozen=True, slots=True)
class Instrument:
    """State of the checks of one source.

    Args:
        source: Its name.
        checked_at: Of the last check with reference images, None for never.
        failed: What failed in it, "" where nothing did.
        overdue: It is too long ago.
        control_at: Of the newest control specimen, None for none.
        control_faults: What is out of limits.
        control_overdue: One is required, and none came in time.
        scale_doubts: Micrographs of the night whose scale is unknown or contradicted.
        affected: Numbers of the orders with results that a failed check holds.
    """

    source: str
    checked_at: datetime | None
    failed: str
    overdue: bool
    control_at: datetime | None
    control_faults: tuple[str, ...]
    control_overdue: bool
    scale_doubts: int
    affected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlMeasurement:
    """Brightness and focus of one control specimen's micrograph; None where not measured."""

    source: str
    at: datetime
    brightness: float | None
    focus: float | None


@dataclass(frozen=True, slots=True)
class StatedOrder:
    """A statement of an order that was frozen in the night.

    Args:
        number: Of the order.
        conformity: The stable word.
        at: When it was made.
        first: It is the order's first one that conforms or does not.
        imaged_at: When the order's first micrograph was read, None where there is none.
    """

    number: str
    conformity: str
    at: datetime
    first: bool
    imaged_at: datetime | None


def collect_stated(store: Store, after: datetime, until: datetime) -> tuple[StatedOrder, ...]:
    """Return the statements that were made in (after, until], oldest first."""
    final: set[str] = set()
    stated = []
    for statement in store.statements.every():
        is_first = statement.final and statement.order not in final
        if statement.final:
            final.add(statement.order)
        if after < statement.at <= until:
            stated.append(
                StatedOrder(
                    number=statement.order,
                    conformity=statement.conformity,
                    at=statement.at,
                    first=is_first,
                    imaged_at=_find_first_image(store, statement.order) if is_first else None,
                )
            )
    return tuple(stated)


def _find_first_image(store: Store, number: str) -> datetime | None:
    view = store.orders.order(number)
    times = [
        field.view.result.done_at
        for specimen in (view.specimens if view else ())
        for prepared in specimen.preparations
        for field in prepared.fields
    ]
    return min(times, default=None)


def collect_order_status(
    store: Store, lab: OrderPolicy, *, now: datetime
) -> tuple[tuple[OpenOrder, ...], int]:
    """Return the open orders of recent days, and how many conform.

    One without a specification is neither. Urgent ones come first, then by what presses most, then
    the oldest.
    """
    orders: list[OpenOrder] = []
    conforming = 0
    for assessed in islice(assess_recent(store, lab, now=now), MOST_ORDERS):
        if assessed.statement.conformity in OPEN:
            orders.append(_build_open_order(assessed, lab, exact_numbers=store.exact_numbers))
        conforming += assessed.statement.conformity is Conformity.CONFORMS
    orders.sort(key=lambda order: (_weight(order), order.heard_at or now, order.number))
    return tuple(orders), conforming


PRESSING = (Conformity.DOES_NOT_CONFORM.value, *NextStep)
"""What an open order is sorted by, the most pressing first."""


def get_order_status(order: OpenOrder) -> str:
    """Return why an order is open: "does_not_conform", or the next step of an undecided one."""
    if order.conformity == Conformity.DOES_NOT_CONFORM:
        return order.conformity
    waits = NextStep.TO_CONFIRM if order.waits_since else NextStep.WAITING_FOR_IMAGES
    return order.next_step or waits.value


def _weight(order: OpenOrder) -> tuple[bool, int]:
    return not order.urgent, PRESSING.index(get_order_status(order))


def _build_open_order(assessed: Assessed, lab: OrderPolicy, *, exact_numbers: bool) -> OpenOrder:
    views = {
        field.view.id: field.view
        for specimen in assessed.view.specimens
        for prepared in specimen.preparations
        for field in prepared.fields
    }
    waiting = [
        views[field.id].result.done_at
        for assessment in assessed.specimens
        for field in assessment.facts.fields
        if field.awaits and not field.superseded
    ]
    statement = assessed.statement
    because, model_alone = statement.because, tuple[str, ...]()
    missing = statement.missing
    if statement.conformity is Conformity.UNDECIDED and assessed.specification:
        missing, model_alone = describe_open(assessed, lab, exact_numbers=exact_numbers)
    return OpenOrder(
        number=assessed.view.number,
        conformity=statement.conformity.value,
        said=tuple(leave_unsaid(assessed, lab, (*because, *missing))),
        model_alone=model_alone,
        heard_at=assessed.view.first_seen_at,
        waits_since=min(waiting, default=None),
        urgent=assessed.view.urgent,
        next_step=find_next_step(assessed, lab, hidden=find_hidden(assessed)) or "",
    )


def instruments(
    store: Store,
    sources: Iterable[str],
    scale_doubts: Mapping[str, int],
    *,
    control: Sequence[str],
    every: timedelta,
    now: datetime,
) -> tuple[Instrument, ...]:
    """Return the state of each source's checks.

    Args:
        store: Open.
        sources: Names of the watched ones.
        scale_doubts: Source → micrographs of the night whose scale is unknown or contradicted.
        control: Numbers of control orders.
        every: How often a control specimen is due; zero: never.
        now: Aware UTC.
    """
    checks = store.records.all(CONTROL)
    points = list_control_points(store, control) if control else {}
    holds = Holds(
        [check for check in checks if check.at <= now],
        points,
        load_releases(store),
        control=control,
    )
    affected: dict[str, set[str]] = {}
    for affected_order in list_affected_orders(store, holds, now=now):
        affected.setdefault(affected_order.failure.source, set()).update(affected_order.orders)
    return tuple(
        _instrument(
            name,
            checks,
            points.get(name, []),
            scale_doubts=scale_doubts.get(name, 0),
            affected=tuple(sorted(affected.get(name, ()))),
            every=every,
            now=now,
        )
        for name in sources
    )


def _instrument(
    name: str,
    checks: Sequence[Record],
    points: Sequence[ControlPoint],
    *,
    scale_doubts: int,
    affected: tuple[str, ...],
    every: timedelta,
    now: datetime,
) -> Instrument:
    mine = [check for check in checks if name in check.facts.get("sources", ()) and check.at <= now]
    last = mine[-1] if mine else None
    point = points[-1] if points else None
    age = compute_age(last.at, now) if last else None
    point_age = compute_age(point.at, now) if point else None
    return Instrument(
        source=name,
        checked_at=last.at if last else None,
        failed=_describe_failures(last) if last else "",
        overdue=age is None or age > GOOD_FOR,
        control_at=point.at if point else None,
        control_faults=point.faults if point else (),
        control_overdue=bool(every) and (point_age is None or point_age > every),
        scale_doubts=scale_doubts,
        affected=affected,
    )


def _describe_failures(check: Record) -> str:
    if check.facts.get("passed"):
        return ""
    bad = [
        f"{name}: {sentence}"
        for name, sentence, good in check.facts.get("findings", ())
        if not good
    ]
    return "; ".join(bad[:3]) or check.subject


def iter_control_values(store: Store, control: Sequence[str]) -> Iterator[ControlMeasurement]:
    """Yield brightness and focus of every control specimen's micrograph, oldest first."""
    for source, points in (list_control_points(store, control) if control else {}).items():
        for point in points:
            yield ControlMeasurement(source, point.at, point.brightness, point.focus)
