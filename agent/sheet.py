"""Write a table as CSV that a spreadsheet opens without running anything in it.

In:  columns, rows. Out: text (RFC 4180). Next: a file beside a report.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def csv_of(columns: Sequence[str], records: Iterable[Mapping[str, object]]) -> str:
    """Write rows as CSV; what no column asks for is left out."""
    held = io.StringIO()
    writer = csv.DictWriter(held, columns, lineterminator="\r\n", extrasaction="ignore")
    writer.writeheader()
    for record in records:
        writer.writerow({key: _cell(value) for key, value in record.items()})
    return held.getvalue()


def _cell(value: object) -> object:
    # A spreadsheet would run a name that begins like a formula.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
