"""Format times and yes or no as the page of a statement shows them."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from reports import gettext as _
from reports import statement_date, statement_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo


def format_at(at: datetime, zone: ZoneInfo) -> str:
    """Return an instant in a zone, with its year and minute."""
    return statement_time(at.astimezone(zone))


def format_date(text: str, zone: ZoneInfo | None) -> str:
    """Return the day of an ISO 8601 text: of an instant in a zone, or a day as it is."""
    if zone is None:
        return statement_date(date.fromisoformat(text))
    return statement_date(datetime.fromisoformat(text).astimezone(zone).date())


def name_fields(whole: Mapping[str, Any]) -> dict[str, str]:
    """Return public id → specimen and number of each field, such as "01/4"."""
    specimens = {
        field["id"]: specimen["specimen"]
        for specimen in whole["document"]["specimens"]
        for field in (*specimen["fields"], *specimen["superseded"])
    }
    return {
        field["id"]: f"{specimens.get(field['id'], '–')}/{field['field'] or '–'}"
        for field in whole["fields"]
    }


def yes_or_no(*, is_so: bool) -> str:
    """Return yes or no."""
    return _("yes") if is_so else _("no")
