"""Read CSV files that a command names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from model import Taxonomy


def read_rows(file: Path, *columns: str) -> Iterable[tuple[int, dict[str, str]]]:
    """Yield line number and cells of each row of a CSV.

    Args:
        file: CSV file.
        columns: Columns that must exist; the first one must have a value in each row.

    Raises:
        WrongUse: The file lacks a column or a value; the message names file and line.
    """
    from agent.labelled_import import iter_rows

    def refuse(table: Path, header: Sequence[str]) -> None:
        if missing := [column for column in columns if column not in header]:
            names = ", ".join(name for name in header if name) or "none"
            raise WrongUse(f"{table}: column {missing[0]!r} is missing. Columns: {names}.")

    for number, row in iter_rows(file, refuse):
        if not row.get(columns[0]):
            raise WrongUse(f"{file}: line {number}: {columns[0]} is missing.")
        yield number, {**dict.fromkeys(columns, ""), **row}


def parse_code(text: str, file: Path, line: int, taxonomy: Taxonomy) -> str:
    """Return the normalised structure code of a cell.

    Raises:
        WrongUse: The code is unknown; the message names file and line.
    """
    from model import TaxonomyError  # imports torch

    try:
        return taxonomy.code(*taxonomy.parse(text))
    except TaxonomyError as error:
        raise WrongUse(f"{file}: line {line}: {error}") from error
