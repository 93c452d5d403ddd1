"""The table of the database's text search, which no model describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect

if TYPE_CHECKING:
    from sqlalchemy import Connection

WORDS: Final = "search_words"
"""Its name; its number of a row is the micrograph's."""
OWN_TABLES: Final = frozenset(
    {WORDS, *(f"{WORDS}_{end}" for end in ("data", "idx", "content", "docsize", "config"))}
)
"""That table and what FTS5 keeps it in."""


def is_laid(connection: Connection) -> bool:
    """Return whether the table of the text search is there."""
    return inspect(connection).has_table(WORDS)
