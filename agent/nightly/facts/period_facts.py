"""Sum up the nights of a week or a month, from their frozen facts alone.

So a week reads the same whenever it is written.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from agent.nightly.facts.order_status import get_order_status
from agent.orders.facts.specimen_facts import Conformity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.nightly.facts.order_status import OpenOrder, StatedOrder
    from agent.nightly.facts.snapshot import NightFacts


@dataclass(frozen=True, slots=True)
class Period:
    """A week or a month.

    Args:
        name: "2026-W48" or "2026-11".
        first, last: Its first and last night.
    """

    name: str
    first: date
    last: date

    @property
    def is_week(self) -> bool:
        """Whether it is an ISO week."""
        return "W" in self.name

    def nights(self) -> list[date]:
        """Return its nights, oldest first."""
        n = (self.last - self.first).days + 1
        return [self.first + timedelta(days=day) for day in range(n)]


def parse_period(name: str) -> Period | None:
    """Return the period of a name such as "2026-W48" or "2026-11", None for no such one."""
    match = re.fullmatch(r"(\d{4})-(W?)(\d{2})", name)
    if match is None:
        return None
    year, number = int(match[1]), int(match[3])
    try:
        if match[2]:
            first = date.fromisocalendar(year, number, 1)
            return Period(name, first, first + timedelta(days=6))
        first = date(year, number, 1)
    except ValueError:
        return None
    following = first + timedelta(days=31)
    return Period(name, first, following.replace(day=1) - timedelta(days=1))


def list_periods(night: date) -> tuple[Period, Period]:
    """Return the week and the month of a night."""
    year, week, _day = night.isocalendar()
    names = f"{year:04}-W{week:02}", f"{night:%Y-%m}"
    week_period, month = (parse_period(name) for name in names)
    if week_period is None or month is None:
        raise ValueError(f"{night}: a night without a week or a month")
    return week_period, month


@dataclass(frozen=True, slots=True)
class Review:
    """What waited for reviewers.

    Args:
        waited: When the period began.
        flagged: In the period.
        waiting: When it ended.
    """

    waited: int
    flagged: int
    waiting: int

    @property
    def decided(self) -> int:
        """How many were decided."""
        return max(0, self.waited + self.flagged - self.waiting)


def summarise_review(nights: Sequence[NightFacts]) -> Review:
    """Return what waited before, came and still waits; nights oldest first, at least one."""
    last = nights[-1]
    waiting = last.waits_before + sum(micrograph.is_undecided for micrograph in last.micrographs)
    flagged = sum(facts.summary.review for facts in nights)
    return Review(nights[0].waits_before, flagged, waiting)


def count_outcomes(nights: Sequence[NightFacts]) -> Counter[str]:
    """Return conformity → orders by their last statement in the period."""
    last = {stated.number: stated.conformity for stated in _list_stated(nights)}
    return Counter(
        word for word in last.values() if word in (Conformity.CONFORMS, Conformity.DOES_NOT_CONFORM)
    )


def list_open(nights: Sequence[NightFacts]) -> tuple[OpenOrder, ...]:
    """Return the orders that were open when the period ended."""
    return nights[-1].orders


def count_open(nights: Sequence[NightFacts]) -> Counter[str]:
    """Return next step → orders that were open when the period ended."""
    return Counter(map(get_order_status, list_open(nights)))


def list_times_h(nights: Sequence[NightFacts]) -> list[tuple[float, str]]:
    """Return hours from the first image of an order to its first result, and its number."""
    return sorted(
        ((stated.at - stated.imaged_at).total_seconds() / 3600, stated.number)
        for stated in _list_stated(nights)
        if stated.first and stated.imaged_at is not None
    )


def compute_median_h(times: Sequence[tuple[float, str]]) -> float:
    """Return the median of `list_times_h`, of at least one."""
    return median(hours for hours, _number in times)


def _list_stated(nights: Sequence[NightFacts]) -> Iterator[StatedOrder]:
    for facts in nights:
        yield from facts.stated


def count_codes(nights: Sequence[NightFacts]) -> dict[tuple[str, str], Counter[str]]:
    """Return (material, heat-treatment batch) → structure code → micrographs.

    A reviewer's code counts before the model's; "" stands for no code.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    for facts in nights:
        for micrograph in facts.micrographs:
            data, decision = micrograph.process_data, micrograph.label
            code = decision.code if decision and decision.kind == "code" else None
            key = data.get("material", ""), data.get("batch", "")
            counts.setdefault(key, Counter())[code or micrograph.result.structure_code or ""] += 1
    return dict(sorted(counts.items()))


@dataclass(frozen=True, slots=True)
class Checks:
    """Checks of one source over the period, in nights.

    Args:
        source: Its name.
        checks: Different checks with reference images.
        failed: Nights that ended with a failed check.
        overdue: Nights that ended without a recent one.
        off: Nights that ended with a control specimen out of limits.
    """

    source: str
    checks: int
    failed: int
    overdue: int
    off: int


def count_checks(nights: Sequence[NightFacts]) -> list[Checks]:
    """Return the checks of each source, by its name."""
    names = sorted({instrument.source for facts in nights for instrument in facts.instruments})
    counted = []
    for name in names:
        ends = [i for facts in nights for i in facts.instruments if i.source == name]
        first = nights[0].after
        times = {i.checked_at for i in ends if i.checked_at is not None and i.checked_at > first}
        counted.append(
            Checks(
                source=name,
                checks=len(times),
                failed=sum(bool(i.failed) for i in ends),
                overdue=sum(i.overdue for i in ends),
                off=sum(bool(i.control_faults) for i in ends),
            )
        )
    return counted


def list_promotions(nights: Sequence[NightFacts]) -> list[tuple[date, str, str]]:
    """Return night, bundle before and bundle after for each change of the active bundle."""
    before = nights[0].before.bundle if nights[0].before else nights[0].bundle
    bundles = [(nights[0].night, before), *((facts.night, facts.bundle) for facts in nights)]
    return [(day, was, now) for (_, was), (day, now) in pairwise(bundles) if was != now and now]
