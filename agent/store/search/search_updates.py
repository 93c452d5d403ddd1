"""Keep the search in step with the rows it is computed from, in the same transaction.

A session notes the micrographs whose rows it writes and has their entries computed before it
commits. Tables are known by name here: a command that only reads makes none of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, event, inspect
from sqlmodel import Session

from agent.store.sites.site_scope import SiteSession

_MICROGRAPHS, _CONTENTS = "search_micrographs", "search_contents"
_NUMBERS = {"micrograph": "id", "result": "micrograph_id", "label": "micrograph_id"}
"""Table whose rows an entry is computed from → its column with the number of the micrograph."""


def note_contents(session: Session, content_ids: Iterable[int]) -> None:
    """Compute the entries of these contents' micrographs again when the session commits."""
    session.info.setdefault(_CONTENTS, set()).update(content_ids)


@event.listens_for(SiteSession, "after_flush")
def _note(session: SiteSession, _context: object) -> None:
    numbers = session.info.setdefault(_MICROGRAPHS, set())
    for row in (*session.new, *session.dirty):
        table = row.__tablename__
        if table in _NUMBERS:
            numbers.add(getattr(row, _NUMBERS[table]))
        elif table == "content" and row.duplicate_of is not None:
            note_contents(session, [row.duplicate_of])


@event.listens_for(SiteSession, "before_commit")
def _refresh_noted(session: SiteSession) -> None:
    session.flush()
    numbers = set(session.info.pop(_MICROGRAPHS, ()))
    contents = session.info.pop(_CONTENTS, ())
    if not numbers and not contents:
        return
    from agent.store.search import search_index  # noqa: PLC0415 - it makes tables that a reader does not need

    numbers.update(search_index.list_micrographs(session, contents))
    search_index.refresh(session, sorted(number for number in numbers if number))


WORDS: Final = "search_words"
"""Its name; its number of a row is the micrograph's."""
OWN_TABLES: Final = frozenset(
    {WORDS, *(f"{WORDS}_{end}" for end in ("data", "idx", "content", "docsize", "config"))}
)
"""That table and what FTS5 keeps it in."""


def is_laid(connection: Connection) -> bool:
    """Return whether the table of the text search is there."""
    return inspect(connection).has_table(WORDS)
