"""Say from when to when a night goes, also on the two days when the clock is changed.

In:  a date, the time of day a night ends, a time zone. Out: two instants. Next: `facts`.
Each end is converted from the wall clock to UTC once, and is the next night's beginning, so no
instant is in two nights or in none.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import reports


def end_of(night: date, at: time, zone: str) -> datetime:
    """Say when a night ends, aware UTC; a wall time that is skipped ends an hour later by it."""
    return datetime.combine(night, at, ZoneInfo(zone)).astimezone(UTC)


def period_of(night: date, at: time, zone: str) -> tuple[datetime, datetime]:
    """Say a night's period (after, until], aware UTC."""
    return end_of(night - timedelta(days=1), at, zone), end_of(night, at, zone)


def night_of(instant: datetime, at: time, zone: str) -> date:
    """Say which night an instant belongs to."""
    day = instant.astimezone(ZoneInfo(zone)).date()
    near = (day - timedelta(days=1), day, day + timedelta(days=1))
    return next(night for night in near if instant <= end_of(night, at, zone))


def local(instant: datetime, zone: str) -> str:
    """Say an instant as a person at the site reads it, such as "24 Nov 02:14"."""
    return reports.day_and_time(instant.astimezone(ZoneInfo(zone)))


def local_full(instant: datetime, zone: str) -> str:
    """Say an instant with its year and seconds."""
    return reports.with_seconds(instant.astimezone(ZoneInfo(zone)))


def title_of(night: date) -> str:
    """Say a night's name, such as "Tuesday 24 November 2026"."""
    return reports.whole_date(night)
