"""Content of a week's or a month's report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact, Link, Table
    from reports.content.night import NightLine, Verdict


@dataclass(frozen=True, slots=True)
class PeriodPage:
    """A week or a month, from the frozen reports of its nights.

    Args:
        site: The lab's name.
        title: Such as "Week 48, 2026".
        period: Its days.
        note: Which nights have no report, "" for none.
        verdict: At the top.
        numbers: The key numbers.
        orders: By outcome.
        codes: Per material and heat-treatment batch.
        checks: Of the instruments.
        alarms, learned, open: A sentence each.
        nights: Each night, oldest first.
        generated: When this page was written, local time.
        older: Link to the index.
    """

    site: str
    title: str
    period: str
    note: str
    verdict: Verdict
    numbers: tuple[Fact, ...]
    orders: Table
    codes: Table
    checks: Table
    alarms: tuple[str, ...]
    learned: tuple[str, ...]
    open: tuple[str, ...]
    nights: tuple[NightLine, ...]
    generated: str
    older: Link
