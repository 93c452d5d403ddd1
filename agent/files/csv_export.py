"""Write tables as CSV that a spreadsheet opens without running anything in it (RFC 4180).

This is the only CSV writer of the program. A spreadsheet runs a cell that begins like a formula,
and names of files, accounts and comments are free text, so an apostrophe goes before such a text;
`plain` removes it where a program reads what `agent` has written.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What begins a formula in a spreadsheet (OWASP, "CSV Injection"), the full-width forms too."""
_SUSPECT = re.compile("\0[" + re.escape("".join(("'", "[", "(", "{", *FORMULA_STARTS))) + "]")
"""Beginning of a cell that may need `_cell`: a text that a spreadsheet may run, a list, an object.
"""


def write_csv(
    file: TextIO,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, object]],
    *,
    spreadsheet: bool = False,
    line_end: str = "\r\n",
) -> int:
    """Write a first line of column names and a line for each row.

    Args:
        file: Opened as text with `newline=""`.
        columns: What is written, in this order; a row may lack some and have others.
        rows: Column to value. A list is written with spaces between, an object as JSON.
        spreadsheet: Semicolons between cells and a comma in numbers, as a spreadsheet with German
            settings expects.
        line_end: Between the lines.

    Returns:
        How many rows there were.
    """
    writer = csv.writer(file, lineterminator=line_end, delimiter=";" if spreadsheet else ",")
    writer.writerow(columns)
    count = 0
    for row in rows:
        cells = list(map(row.get, columns))
        # Most lines are plain: half a million calls, one for each cell, are half of the time.
        if spreadsheet or _SUSPECT.search("\0" + "\0".join(map(str, cells))):
            cells = [_cell(cell, decimal_comma=spreadsheet) for cell in cells]
        writer.writerow(cells)
        count += 1
    return count


def format_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return a table as CSV text; see `write_csv`."""
    buffer = io.StringIO(newline="")
    write_csv(buffer, columns, rows)
    return buffer.getvalue()


def iter_csv(
    columns: Sequence[str], pages: Iterable[Iterable[Mapping[str, object]]]
) -> Iterator[bytes]:
    """Yield a table as UTF-8 with its mark: the line of names, then each page of rows."""
    yield format_csv(columns, ()).encode("utf-8-sig")
    for rows in pages:
        yield format_csv(columns, rows).partition("\r\n")[2].encode()


def plain(cell: str) -> str:
    """Return a cell's text without the apostrophe that keeps a spreadsheet from running it."""
    return cell[1:] if cell[:1] == "'" and _runs(cell[1:]) else cell


def _cell(value: object, *, decimal_comma: bool) -> object:
    if isinstance(value, (list, tuple)):
        value = " ".join(str(item) for item in value)
    elif isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        return f"'{value}" if _runs(value) else value
    if isinstance(value, float) and decimal_comma:
        return str(value).replace(".", ",")
    return value


def _runs(text: str) -> bool:
    """Return whether a spreadsheet may run a text, or take its own apostrophe for ours."""
    return text.lstrip("'").startswith(FORMULA_STARTS)
