"""A date in the future is no age: a clock that was wrong for an evening decides nothing later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.site_time import compute_age

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "age"),
    [
        (timedelta(hours=3), timedelta(hours=3)),
        (timedelta(minutes=-10), timedelta(0)),
        (timedelta(minutes=-10, seconds=-1), None),
        (timedelta(days=-365), None),
    ],
)
def test_what_another_clock_dates_a_little_later_is_new_and_what_is_later_has_no_age(
    before: timedelta, age: timedelta | None
) -> None:
    assert compute_age(NOW - before, NOW) == age
