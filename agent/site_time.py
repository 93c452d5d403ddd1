"""Compute when a night begins and ends, also on the two days when the clock is changed, and ages.

Each end is converted from the wall clock to UTC once, and is the next night's beginning, so every
instant is in exactly one night.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import reports

CLOCKS_DIFFER = timedelta(minutes=10)
"""How far ahead the clock of another PC, or of a share, may be; our choice."""


def compute_age(at: datetime, now: datetime) -> timedelta | None:
    """Return how old something is, None where its date is in the future and so proves nothing.

    A PC whose clock was wrong for an evening leaves dates of next year, which would be the newest
    for that year.

    Args:
        at: Its date, aware.
        now: Aware; for a date of another PC by the clock of the database.
    """
    age = now - at
    return None if age < -CLOCKS_DIFFER else max(age, timedelta(0))


def compute_night_end(night: date, at: time, zone: str) -> datetime:
    """Return when a night ends, aware UTC; a wall time that is skipped ends an hour later."""
    return datetime.combine(night, at, ZoneInfo(zone)).astimezone(UTC)


def compute_night_period(night: date, at: time, zone: str) -> tuple[datetime, datetime]:
    """Return a night's period (after, until], aware UTC."""
    return compute_night_end(night - timedelta(days=1), at, zone), compute_night_end(
        night, at, zone
    )


def night_of(instant: datetime, at: time, zone: str) -> date:
    """Return the night of an instant."""
    day = instant.astimezone(ZoneInfo(zone)).date()
    near = (day - timedelta(days=1), day, day + timedelta(days=1))
    return next(night for night in near if instant <= compute_night_end(night, at, zone))


def local(instant: datetime, zone: str) -> str:
    """Format an instant in the site's time zone, such as "24 Nov 02:14"."""
    return reports.day_and_time(instant.astimezone(ZoneInfo(zone)))


def local_full(instant: datetime, zone: str) -> str:
    """Format an instant in the site's time zone with its year and seconds."""
    return reports.with_seconds(instant.astimezone(ZoneInfo(zone)))


def format_night_title(night: date) -> str:
    """Format a night's name, such as "Tuesday 24 November 2026"."""
    return reports.whole_date(night)
