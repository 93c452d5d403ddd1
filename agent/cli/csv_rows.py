"""Read CSV files that a command names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from model import Taxonomy


def read_rows(file: Path, *columns: str) -> Iterable[tuple[int, dict[str, str]]]:
    """Read a CSV that has these columns; line number and cells, the first one never empty.

    Raises:
        WrongUse: Names the file and the line.
    """
    from agent.labelled_import import iter_rows

    def refuse(table_: Path, there: Sequence[str]) -> None:
        if missing := [one for one in columns if one not in there]:
            found = ", ".join(one for one in there if one) or "none"
            raise WrongUse(f"{table_}: needs a column {missing[0]!r}; found: {found}.")

    for number, row in iter_rows(file, refuse):
        if not row.get(columns[0]):
            raise WrongUse(f"{file}: line {number}: it names no {columns[0]}.")
        yield number, {**dict.fromkeys(columns, ""), **row}


def parse_code(text: str, file: Path, line: int, taxonomy: Taxonomy) -> str:
    """Read the structure code in a line of a file. Raises `WrongUse`, which names both."""
    from model import TaxonomyError  # brings torch

    try:
        return taxonomy.code(*taxonomy.parse(text))
    except TaxonomyError as error:
        raise WrongUse(f"{file}: line {line}: {error}") from error
